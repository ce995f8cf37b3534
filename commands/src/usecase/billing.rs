//! How sellers bill.

use chrono::NaiveDate;
use domain::billing::books::Books;
use domain::billing::{BillingSettings, CalendarRule, RuleChange};
use domain::billing_calendar::{BillingCalendar, BillingCalendarCommand};
use domain::money::Currency;
use domain::organization::{Kind, Organization};
use domain::permission::Permission;
use domain::{Faults, Invalid, OrganizationId, Refusal, TenantPath};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{billing_settings, optional_reason};
use crate::error::Stop;
use crate::resource::BillingSettingsResource;
use crate::unit::Unit;
use crate::{Input, Reply};

/// Other billing settings.
///
/// Another calendar alone may begin with any period that has not begun. A reseller who has closed no period yet may have
/// all of it otherwise at once, by leaving out `effectiveFrom`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeBillingSettings {
    /// `calendar_month`, `fixed_day(d)` with d from 1 to 31 (the month's last where it has no such day), or
    /// `days_before_month_end(n)` with n from 0 to 27.
    pub calendar: Option<String>,
    /// The zone in which days begin, by its IANA name, such as `Pacific/Auckland`.
    pub time_zone: Option<String>,
    /// By ISO 4217.
    pub currency: Option<String>,
    /// The first date of a period that has not begun, such as `2020-03-01`. The rest of the new calendar's period is
    /// a transition period, charged by days of the old one's.
    pub effective_from: Option<String>,
    /// Kept with the event.
    pub reason: Option<String>,
}

/// What somebody wants to have otherwise, understood.
struct Wish {
    rule: Option<CalendarRule>,
    zone: Option<chrono_tz::Tz>,
    currency: Option<Currency>,
    from: Option<NaiveDate>,
}

pub(crate) fn change_settings(
    unit: &mut Unit<'_>,
    organization: &str,
    body: Input<ChangeBillingSettings>,
) -> Result<Reply, Stop> {
    let path = unit.path_of(organization)?;
    unit.permit(Permission::ManageBilling, &path)?;
    let body = unit.take(body)?;
    let id: OrganizationId = organization.parse().map_err(|_| Refusal::not_found())?;
    let mut faults = Faults::default();
    let calendar = body.calendar.as_deref();
    let from = body.effective_from.as_deref();
    let wish = Wish {
        rule: calendar.and_then(|text| faults.take("/calendar", text.parse::<CalendarRule>())),
        zone: body.time_zone.as_deref().and_then(|text| faults.take("/timeZone", zone(text))),
        currency: body
            .currency
            .as_deref()
            .and_then(|text| faults.take("/currency", Currency::parse(text))),
        from: from.and_then(|text| faults.take("/effectiveFrom", date(text))),
    };
    let reason = optional_reason(&mut faults, body.reason.as_deref());
    let is_all_at_once = body.time_zone.is_some() || body.currency.is_some();
    faults.ensure(
        calendar.is_some() || is_all_at_once,
        "/calendar",
        "missing",
        "Say what is to be otherwise: the calendar, the time zone or the currency.",
    );
    faults.ensure(
        !is_all_at_once || from.is_none(),
        "/effectiveFrom",
        "not_dated",
        "A time zone and a currency are set for all that is open, or not at all.",
    );
    faults.check()?;
    let kind = unit.load::<Organization>(id).founded()?.kind;
    if kind == Kind::Customer {
        let detail = "A customer bills nobody; its seller's calendar counts.";
        return Err(Refusal::conflict("no_own_calendar", detail).into());
    }
    let settings = billing_settings(unit, id)?;
    unit.because(None, reason);
    match wish.from {
        None => replace(unit, (id, kind, &path), &settings, &wish)?,
        Some(from) => change_calendar(unit, (id, &path), settings, from, wish.rule)?,
    }
    let resource = BillingSettingsResource::new(id, &billing_settings(unit, id)?);
    let version = unit.version::<BillingCalendar>(id);
    Ok(Reply::done(&resource, version))
}

/// Has all that is open billed otherwise.
fn replace(
    unit: &mut Unit<'_>,
    (id, kind, path): (OrganizationId, Kind, &TenantPath),
    settings: &BillingSettings,
    wish: &Wish,
) -> Result<(), Stop> {
    if kind == Kind::Provider {
        let detail = "The provider's calendar is changed from a period on: say from which.";
        return Err(Refusal::invalid("/effectiveFrom", "missing", detail).into());
    }
    let books = unit.load::<Books>(id);
    if books.closed.is_some() || books.closing.is_some() {
        let detail = "Periods have been closed by these settings; another calendar can begin with a period that has not begun.";
        return Err(Refusal::conflict("books_have_begun", detail).into());
    }
    let mut settings = settings.clone();
    if let Some(rule) = wish.rule {
        (settings.rule, settings.rule_changes) = (rule, Vec::new());
    }
    settings.zone = wish.zone.unwrap_or(settings.zone);
    settings.currency = wish.currency.unwrap_or(settings.currency);
    let command = BillingCalendarCommand::Replace(settings);
    unit.execute::<BillingCalendar>(id, path, command)
}

/// Goes over to another calendar, from a period on.
fn change_calendar(
    unit: &mut Unit<'_>,
    (id, path): (OrganizationId, &TenantPath),
    settings: BillingSettings,
    from: NaiveDate,
    rule: Option<CalendarRule>,
) -> Result<(), Stop> {
    let Some(rule) = rule else { return Ok(()) };
    let open = settings.period_containing(settings.local_date(unit.now()));
    if from <= open.end {
        let detail = format!(
            "The period up to {} has begun; the first that has not begins on {}.",
            open.label(),
            open.after()
        );
        return Err(Refusal::invalid("/effectiveFrom", "period_has_begun", detail).into());
    }
    // Who billed as those above do goes on so until then.
    if unit.load::<BillingCalendar>(id).settings.is_none() {
        unit.execute::<BillingCalendar>(id, path, BillingCalendarCommand::Replace(settings))?;
    }
    let change = BillingCalendarCommand::ChangeRule(RuleChange { from, rule });
    unit.execute::<BillingCalendar>(id, path, change)
}

fn zone(text: &str) -> Result<chrono_tz::Tz, Invalid> {
    let detail = "This is the IANA name of a time zone, such as Pacific/Auckland.";
    text.parse().map_err(|_| Invalid::new("not_a_time_zone", detail))
}

pub(super) fn date(text: &str) -> Result<NaiveDate, Invalid> {
    text.parse().map_err(|_| Invalid::new("not_a_date", "This must be a date such as 2020-03-01."))
}
