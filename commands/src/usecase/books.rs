//! Closing a seller's periods.

use std::sync::Arc;

use chrono::NaiveDate;
use domain::billing::books::{Ask, Books, BooksCommand, Kept, Person};
use domain::billing::seal::Seal;
use domain::organization::{Kind, Organization};
use domain::permission::Permission;
use domain::{Bug, Faults, OrganizationId, Refusal, SubscriptionId, TenantPath, planted};
use eventstore::SealedSlot;
use projections::views::{AccessView, BooksView, SubscriptionView};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{billing_settings, optional_reason};
use crate::error::Stop;
use crate::resource::{PeriodResource, RerateResource};
use crate::unit::{Caller, Unit};
use crate::{Input, Reply};

/// Whose period, and why.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClosePeriod {
    /// The seller; the caller's own organisation where it is left out.
    pub organization_id: Option<String>,
    /// Kept with the event.
    pub reason: Option<String>,
}

/// An instance that is left out of a period.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeferInstance {
    /// The seller; the caller's own organisation where it is left out.
    pub organization_id: Option<String>,
    /// Which.
    pub subscription_id: String,
    /// Why; whoever approves the period will read it.
    pub reason: String,
}

/// Closed periods that are to be rated again.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RerateClosed {
    /// The seller; the caller's own organisation where it is left out.
    pub organization_id: Option<String>,
    /// The first of the periods: its last date.
    pub from_end_date: String,
    /// The last of them.
    pub to_end_date: String,
    /// Kept with the event.
    pub reason: Option<String>,
}

/// What is known of a period's readiness by whoever approves it.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// Whose period.
    pub seller: OrganizationId,
    /// As far as the log went.
    pub cutoff: u64,
    /// What has to be deferred.
    pub unready: Vec<SubscriptionId>,
}

pub(crate) fn ask(unit: &mut Unit<'_>, end: &str, body: Input<ClosePeriod>) -> Result<Reply, Stop> {
    unit.require(Permission::ClosePeriods)?;
    let ClosePeriod { organization_id, reason } = unit.take(body)?;
    let (id, path) = seller(unit, organization_id.as_deref())?;
    let end = period(end)?;
    take_reason(unit, reason.as_deref())?;
    let ask = Ask {
        by: person(unit),
        cutoff: unit.last_position() - u64::from(planted(Bug::CutoffMissesLast)),
        end,
        now: unit.now(),
        settings: billing_settings(unit, id)?,
    };
    unit.execute::<Books>(id, &path, BooksCommand::Ask(Box::new(ask)))?;
    Ok(Reply::unversioned(&shown(unit, id, end)))
}

pub(crate) fn defer(
    unit: &mut Unit<'_>,
    end: &str,
    body: Input<DeferInstance>,
) -> Result<Reply, Stop> {
    unit.require(Permission::ClosePeriods)?;
    let DeferInstance { organization_id, subscription_id, reason } = unit.take(body)?;
    let (id, path) = seller(unit, organization_id.as_deref())?;
    let end = period(end)?;
    let mut faults = Faults::default();
    let reason = optional_reason(&mut faults, Some(&reason));
    faults.ensure(reason.is_some(), "/reason", "required", "Say why.");
    let subscription = subscription_id.parse::<SubscriptionId>().ok();
    let found = match subscription {
        Some(subscription) => unit.view::<SubscriptionView>(&subscription.to_string()),
        None => None,
    };
    let is_there = found.is_some_and(|view| path.contains(&view.path));
    faults.ensure(is_there, "/subscriptionId", "unknown", "There is no such subscription.");
    faults.check()?;
    let Some(subscription) = subscription else { unreachable!("checked above") };
    unit.because(None, reason);
    unit.execute::<Books>(id, &path, BooksCommand::Defer { end, subscription })?;
    Ok(Reply::unversioned(&shown(unit, id, end)))
}

pub(crate) fn approve(
    unit: &mut Unit<'_>,
    end: &str,
    body: Input<ClosePeriod>,
    readiness: Option<Readiness>,
) -> Result<Reply, Stop> {
    unit.require(Permission::ClosePeriods)?;
    let ClosePeriod { organization_id, reason } = unit.take(body)?;
    let (id, path) = seller(unit, organization_id.as_deref())?;
    let end = period(end)?;
    take_reason(unit, reason.as_deref())?;
    // What nobody looked at is not approved.
    let (cutoff, unready) = match readiness.filter(|it| it.seller == id) {
        Some(readiness) => (readiness.cutoff, readiness.unready),
        None => (0, Vec::new()),
    };
    let approve = BooksCommand::Approve { by: person(unit), cutoff, end, unready };
    unit.execute::<Books>(id, &path, approve)?;
    Ok(Reply::accepted(format!("/billing/{end}/close"), &shown(unit, id, end)))
}

/// Keeps entries of a period that is approved; by Atrium itself.
pub(crate) fn keep(
    unit: &mut Unit<'_>,
    id: OrganizationId,
    cutoff: u64,
    kept: Kept,
    slots: &Arc<Vec<SealedSlot>>,
) -> Result<Reply, Stop> {
    let path = as_atrium(unit, id)?;
    unit.execute::<Books>(id, &path, BooksCommand::Keep { cutoff, kept })?;
    unit.keep_entries(slots.clone());
    Ok(Reply::nothing())
}

/// Closes a period all of whose entries are kept; by Atrium itself.
pub(crate) fn close(
    unit: &mut Unit<'_>,
    id: OrganizationId,
    cutoff: u64,
    seal: Box<Seal>,
) -> Result<Reply, Stop> {
    let path = as_atrium(unit, id)?;
    unit.execute::<Books>(id, &path, BooksCommand::Close { cutoff, seal })?;
    Ok(Reply::nothing())
}

pub(crate) fn ask_rerate(unit: &mut Unit<'_>, body: Input<RerateClosed>) -> Result<Reply, Stop> {
    unit.require(Permission::ClosePeriods)?;
    let RerateClosed { organization_id, from_end_date, to_end_date, reason } = unit.take(body)?;
    let (id, path) = seller(unit, organization_id.as_deref())?;
    let mut faults = Faults::default();
    let from_end = faults.take("/fromEndDate", super::billing::date(&from_end_date));
    let to_end = faults.take("/toEndDate", super::billing::date(&to_end_date));
    let reason = optional_reason(&mut faults, reason.as_deref());
    faults.check()?;
    let (Some(from_end), Some(to_end)) = (from_end, to_end) else { unreachable!("checked above") };
    unit.because(None, reason);
    let by = person(unit);
    unit.execute::<Books>(id, &path, BooksCommand::AskRerate { by, from_end, to_end })?;
    Ok(Reply::unversioned(&RerateResource::asked(id, by, from_end, to_end)))
}

pub(crate) fn approve_rerate(unit: &mut Unit<'_>, body: Input<ClosePeriod>) -> Result<Reply, Stop> {
    unit.require(Permission::ClosePeriods)?;
    let ClosePeriod { organization_id, reason } = unit.take(body)?;
    let (id, path) = seller(unit, organization_id.as_deref())?;
    take_reason(unit, reason.as_deref())?;
    let asked = unit.load::<Books>(id).rerate;
    let by = person(unit);
    unit.execute::<Books>(id, &path, BooksCommand::ApproveRerate { by })?;
    let Some((asked_by, from_end, to_end)) = asked else { return Ok(Reply::nothing()) };
    let shown = RerateResource::asked(id, asked_by, from_end, to_end).approved(by);
    Ok(Reply::unversioned(&shown))
}

/// The seller whose books it is about, and his place in the tree.
fn seller(
    unit: &mut Unit<'_>,
    organization: Option<&str>,
) -> Result<(OrganizationId, TenantPath), Stop> {
    seller_where(unit, Permission::ClosePeriods, organization)
}

/// A seller where the caller may do something, and his place in the tree: the caller's own organisation where none is named.
pub(super) fn seller_where(
    unit: &mut Unit<'_>,
    permission: Permission,
    organization: Option<&str>,
) -> Result<(OrganizationId, TenantPath), Stop> {
    let own = match (organization, unit.caller().acts_as()) {
        (Some(id), _) => Some(id.to_owned()),
        (None, Some(user)) => {
            let access = unit.view::<AccessView>(&user.to_string());
            access.map(|access| access.organization.to_string())
        }
        (None, None) => None,
    };
    let own = own.ok_or_else(Refusal::not_found)?;
    let path = unit.path_of(&own)?;
    unit.permit(permission, &path)?;
    let id = own.parse().map_err(|_| Refusal::not_found())?;
    if unit.load::<Organization>(id).founded()?.kind == Kind::Customer {
        let detail = "A customer sells nothing, and so has no books.";
        return Err(Refusal::conflict("no_books", detail).into());
    }
    Ok((id, path))
}

fn as_atrium(unit: &mut Unit<'_>, id: OrganizationId) -> Result<TenantPath, Stop> {
    match unit.caller() == Caller::SYSTEM {
        true => unit.path_of(&id.to_string()),
        false => Err(Refusal::not_found().into()),
    }
}

/// The last date of a period; what is none names no period.
fn period(text: &str) -> Result<NaiveDate, Refusal> {
    let date = text.parse().ok().filter(|_| text.len() == "2020-01-31".len());
    date.ok_or_else(Refusal::not_found)
}

fn person(unit: &Unit<'_>) -> Person {
    let Caller { actor, on_behalf_of } = unit.caller();
    Person { actor, on_behalf_of }
}

fn take_reason(unit: &mut Unit<'_>, reason: Option<&str>) -> Result<(), Stop> {
    let mut faults = Faults::default();
    let reason = optional_reason(&mut faults, reason);
    faults.check()?;
    unit.because(None, reason);
    Ok(())
}

fn shown(unit: &mut Unit<'_>, seller: OrganizationId, end: NaiveDate) -> PeriodResource {
    let view = unit.view::<BooksView>(&seller.to_string());
    PeriodResource::new(seller, end, view.as_deref())
}
