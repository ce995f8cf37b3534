//! How sellers bill.

use chrono::NaiveDate;
use domain::billing::{CalendarRule, RuleChange};
use domain::billing_calendar::{BillingCalendar, BillingCalendarCommand};
use domain::organization::{Kind, Organization};
use domain::permission::Permission;
use domain::{Faults, Invalid, OrganizationId, Refusal};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{billing_settings, optional_reason};
use crate::error::Stop;
use crate::resource::BillingSettingsResource;
use crate::unit::Unit;
use crate::{Input, Reply};

/// Another calendar, from a date on.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeCalendar {
    /// `calendar_month`, `fixed_day(d)` with d from 1 to 31 (the month's last where it has no such day), or
    /// `days_before_month_end(n)` with n from 0 to 27.
    pub calendar: String,
    /// The first date of a period that has not begun, such as `2020-03-01`. The rest of the new calendar's period is
    /// a transition period, charged by days of the old one's.
    pub effective_from: String,
    /// Kept with the event.
    pub reason: Option<String>,
}

pub(crate) fn change_calendar(
    unit: &mut Unit<'_>,
    organization: &str,
    body: Input<ChangeCalendar>,
) -> Result<Reply, Stop> {
    let path = unit.path_of(organization)?;
    unit.permit(Permission::ManageBilling, &path)?;
    let body = unit.take(body)?;
    let id: OrganizationId = organization.parse().map_err(|_| Refusal::not_found())?;
    let mut faults = Faults::default();
    let rule = faults.take("/calendar", body.calendar.parse::<CalendarRule>());
    let from = faults.take("/effectiveFrom", date(&body.effective_from));
    let reason = optional_reason(&mut faults, body.reason.as_deref());
    faults.check()?;
    let (Some(rule), Some(from)) = (rule, from) else { unreachable!("checked above") };
    if unit.load::<Organization>(id).founded()?.kind != Kind::Provider {
        let detail = "Everybody bills by the provider's calendar; change that.";
        return Err(Refusal::conflict("no_own_calendar", detail).into());
    }
    let settings = billing_settings(unit, id)?;
    let open = settings.period_containing(settings.local_date(unit.now()));
    if from <= open.end {
        let detail = format!(
            "The period up to {} has begun; the first that has not begins on {}.",
            open.label(),
            open.after()
        );
        return Err(Refusal::invalid("/effectiveFrom", "period_has_begun", detail).into());
    }
    unit.because(None, reason);
    let change = BillingCalendarCommand::ChangeRule(RuleChange { from, rule });
    unit.execute::<BillingCalendar>(id, &path, change)?;
    let resource = BillingSettingsResource::new(id, &billing_settings(unit, id)?);
    let version = 1 + resource.changes.len() as u64;
    Ok(Reply::done(&resource, version))
}

pub(super) fn date(text: &str) -> Result<NaiveDate, Invalid> {
    text.parse().map_err(|_| Invalid::new("not_a_date", "This must be a date such as 2020-03-01."))
}
