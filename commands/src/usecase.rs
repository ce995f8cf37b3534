//! Use cases: each reads as a recipe, *open, look, decide, commit*; the writer opens and commits.

pub mod adjustments;
pub mod approvals;
pub mod billing;
pub mod books;
pub mod bulk;
pub mod commitments;
pub mod definition;
pub mod installation;
pub(crate) mod lifecycle;
pub(crate) mod managers;
pub mod moves;
pub mod offers;
pub mod organizations;
pub mod overrides;
pub mod pricing;
pub mod requests;
pub mod roles;
pub mod rulebook;
pub mod services;
pub mod subscriptions;
pub mod supersede;
pub mod usage;
pub mod users;

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use domain::billing::BillingSettings;
use domain::billing_calendar::BillingCalendar;
use domain::organization::Organization;
use domain::text::note;
use domain::{Bug, Faults, Invalid, OrganizationId, Reason, Refusal, planted};

use crate::Input;
use crate::error::Stop;
use crate::unit::Unit;

/// First year that anything can be effective in.
const YEAR_MIN: i32 = 1990;
/// Last year that anything can be effective in.
const YEAR_MAX: i32 = 2199;

/// The settings that a seller bills by: its own, or those of the nearest seller above.
pub(crate) fn billing_settings(
    unit: &mut Unit<'_>,
    seller: OrganizationId,
) -> Result<BillingSettings, Stop> {
    let mut lineage = lineage(unit, seller)?;
    if planted(Bug::DateAtProvider) {
        lineage.truncate(1);
    }
    for id in lineage.into_iter().rev() {
        if let Some(settings) = &unit.load::<BillingCalendar>(id).settings {
            return Ok(settings.clone());
        }
    }
    Err(Refusal::conflict("no_calendar", "The provider has no billing calendar yet.").into())
}

/// An organisation and those above it, the provider first.
pub(crate) fn lineage(
    unit: &mut Unit<'_>,
    organization: OrganizationId,
) -> Result<Vec<OrganizationId>, Stop> {
    let mut ids = vec![organization];
    let mut next = parent(unit, organization)?;
    while let Some(id) = next {
        ids.push(id);
        next = parent(unit, id)?;
    }
    ids.reverse();
    Ok(ids)
}

/// The organisation directly above.
pub(crate) fn parent(
    unit: &mut Unit<'_>,
    organization: OrganizationId,
) -> Result<Option<OrganizationId>, Stop> {
    Ok(unit.load::<Organization>(organization).founded()?.parent)
}

/// Refuses an edit of another version than the caller has seen (`If-Match`): of what he sees, that is,
/// which not every event of the stream changes.
pub(crate) fn ensure_seen(seen: Option<u64>, version: Option<u64>) -> Result<(), Stop> {
    match version {
        Some(version) if seen.is_none_or(|seen| seen == version) => Ok(()),
        Some(_) if planted(Bug::VersionNotChecked) => Ok(()),
        None => Err(Refusal::not_found().into()),
        Some(version) => Err(Refusal {
            reason: Reason::Stale,
            code: "stale_version",
            detail: format!(
                "It has been changed since you read it; it is at version {version} now."
            ),
            faults: Vec::new(),
            lacking: None,
        }
        .into()),
    }
}

/// A moment in the business as callers write it: an RFC 3339 time, or a date, which means local
/// midnight at the seller (billing.md, section 2).
fn moment(text: &str, settings: &BillingSettings) -> Result<DateTime<Utc>, Invalid> {
    let parsed = match DateTime::parse_from_rfc3339(text) {
        Ok(time) => Some(time.to_utc()),
        Err(_) => text.parse::<NaiveDate>().ok().map(|date| settings.midnight(date)),
    };
    let Some(moment) = parsed else {
        return Err(Invalid::new(
            "not_a_time",
            "This must be a date such as 2019-11-30 or a time such as 2019-11-30T10:00:00Z.",
        ));
    };
    if (YEAR_MIN..=YEAR_MAX).contains(&moment.year()) {
        Ok(chrono::SubsecRound::trunc_subsecs(moment, 6))
    } else {
        let detail = format!("This must lie in the years {YEAR_MIN} to {YEAR_MAX}.");
        Err(Invalid::new("out_of_range", detail))
    }
}

/// Takes a moment out of a body's field, if it has one.
pub(crate) fn optional_moment(
    faults: &mut Faults,
    pointer: &str,
    text: Option<&str>,
    settings: &BillingSettings,
) -> Option<DateTime<Utc>> {
    text.and_then(|text| faults.take(pointer, moment(text, settings)))
}

/// The same of something that a customer has: where it is a date, each seller sees it from its own midnight on.
pub(crate) fn optional_day(
    unit: &mut Unit<'_>,
    faults: &mut Faults,
    pointer: &str,
    text: Option<&str>,
    settings: &BillingSettings,
) -> Option<DateTime<Utc>> {
    let moment = optional_moment(faults, pointer, text, settings)?;
    unit.means(moment, text.and_then(|text| text.parse().ok()));
    Some(moment)
}

/// Takes a reason out of a body's field, if it has one.
pub(crate) fn optional_reason(faults: &mut Faults, text: Option<&str>) -> Option<String> {
    let reason = text.and_then(|text| faults.take("/reason", note(text)));
    reason.filter(|reason| !reason.is_empty())
}

/// Takes the reason out of a body that says nothing else.
pub(crate) fn take_reason(
    unit: &mut Unit<'_>,
    body: Input<organizations::Because>,
) -> Result<Option<String>, Stop> {
    let body = unit.take(body)?;
    let mut faults = Faults::default();
    let reason = optional_reason(&mut faults, body.reason.as_deref());
    faults.check()?;
    Ok(reason)
}

/// How many are named of those in the way of something.
const NAMED_MAX: usize = 5;

/// The first few of some names, and how many there are beside them.
pub(crate) fn some_of(names: &[String]) -> String {
    let named = names[..names.len().min(NAMED_MAX)].join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Most subscriptions, users or offers that one command changes: what is decided at once is written at once, and
/// everybody waits for it.
pub(crate) const AT_ONCE_MAX: usize = 10_000;

/// Refuses what would change too much at once; `instead` says what to do.
pub(crate) fn ensure_few(count: usize, what: &str, instead: &str) -> Result<(), Stop> {
    if count <= AT_ONCE_MAX {
        return Ok(());
    }
    let detail = format!("It has {count} {what}, more than {AT_ONCE_MAX} at once: {instead}.");
    Err(Refusal::conflict("too_many", detail).into())
}
