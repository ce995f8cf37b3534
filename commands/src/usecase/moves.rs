//! Customers who go to another seller, and who bills them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::billing::BillingSettings;
use domain::organization::{Founded, Kind, Organization, OrganizationCommand};
use domain::permission::Permission;
use domain::role::{Role, RoleRef};
use domain::{Faults, OrganizationId, PlanKey, Refusal, ServiceKey, TenantPath};
use projections::views::{OrganizationView, SubscriptionView, UserView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::organizations::{DEPTH_MAX, done, ensure_active, find};
use super::subscriptions::take_over;
use super::{billing_settings, lineage, offers, optional_moment, optional_reason};
use crate::error::Stop;
use crate::resource::SealedOrganizationResource;
use crate::unit::Unit;
use crate::{Input, Reply};

/// Most documents that go along with a customer: they are written at once, and everybody waits for it.
const MOVED_MAX: usize = 50_000;

/// Another seller for a customer.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MoveCustomer {
    /// The seller that it goes to.
    pub parent_id: String,
    /// The date from which that one bills it: today, which it is where this is left out, or an earlier one. A time means
    /// its date at the seller.
    pub effective_from: Option<String>,
    /// Only look whether it can go there.
    pub check: Option<bool>,
    /// Why; finance will read it.
    pub reason: String,
}

/// Another seller to bill a customer.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BillCustomer {
    /// One of the sellers above it.
    pub seller_id: String,
    /// The date from which that one bills it: today, which it is where this is left out, or an earlier one. A time means
    /// its date at the seller.
    pub effective_from: Option<String>,
    /// Why; finance will read it.
    pub reason: String,
}

/// A customer, and whether it has moved; as answers are kept, with the contact sealed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedMovedCustomer {
    /// The customer as it is now.
    #[serde(flatten)]
    pub customer: SealedOrganizationResource,
    /// Whether it went to another seller by this command.
    pub moved: bool,
    /// Change requests that carry what its new sellers have set to what runs.
    pub change_requests: usize,
}

pub(crate) fn customer(
    unit: &mut Unit<'_>,
    id: &str,
    body: Input<MoveCustomer>,
) -> Result<Reply, Stop> {
    let (id, from) = find(unit, id, Kind::Customer)?;
    unit.permit(Permission::ManageCustomers, &from)?;
    // Where a malformed body names no seller that could be read, there is none to be judged.
    let target = match &body {
        Ok(body) => {
            let place = unit.path_of(&body.parent_id)?;
            unit.permit(Permission::ManageCustomers, &place)?;
            let target: OrganizationId =
                body.parent_id.parse().map_err(|_| Refusal::not_found())?;
            Some((target, place))
        }
        Err(_) => None,
    };
    let body = unit.take(body)?;
    let (parent, place) = target.ok_or_else(Refusal::not_found)?;
    let customer = unit.load::<Organization>(id);
    let customer = customer.founded()?.clone();
    let settings = billing_settings(unit, parent)?;
    let mut faults = Faults::default();
    let at = "/effectiveFrom";
    let moment = day(unit, &customer, at, body.effective_from.as_deref(), &settings, &mut faults);
    let reason = said(&body.reason, &mut faults);
    let seller = unit.load::<Organization>(parent).founded()?.kind;
    if seller == Kind::Customer || from.contains(&place) {
        let detail = "A customer has no organisations below it.";
        faults.add("/parentId", "not_a_seller", detail);
    }
    if place.depth() >= DEPTH_MAX {
        faults.add("/parentId", "too_deep", "The tree of organisations is too deep here.");
    }
    let chain = lineage(unit, parent)?;
    if customer.parent != Some(parent) {
        missing(unit, &customer, &chain, moment, &mut faults)?;
    }
    faults.check()?;
    ensure_active(unit, &chain)?;
    let count = unit.moving(&from);
    if count > MOVED_MAX {
        let detail = format!(
            "It has {count} users, subscriptions, requests and the like, more than {MOVED_MAX} at once."
        );
        return Err(Refusal::conflict("too_many", detail).into());
    }
    let (mut moved, mut change_requests) = (false, 0);
    if body.check != Some(true) && customer.parent != Some(parent) {
        let path = place.child(customer.number);
        unit.because(Some(moment), Some(reason.clone()));
        let command = OrganizationCommand::Move { parent, path: path.clone() };
        unit.execute::<Organization>(id, &path, command)?;
        if let Some((old, place)) = customer.parent.zip(from.parent()) {
            unit.execute::<Organization>(old, &place, OrganizationCommand::LetGo(id))?;
        }
        for service in in_use(unit, &path, moment).into_keys() {
            change_requests += take_over(unit, &service, &path, moment, Some(&reason))?;
        }
        moved = true;
    }
    let view = unit.view::<OrganizationView>(&id.to_string()).ok_or_else(Refusal::not_found)?;
    let customer = SealedOrganizationResource::from(view.as_ref());
    Ok(Reply::done(&SealedMovedCustomer { customer, moved, change_requests }, view.version))
}

pub(crate) fn billed_by(
    unit: &mut Unit<'_>,
    id: &str,
    body: Input<BillCustomer>,
) -> Result<Reply, Stop> {
    let (id, path) = find(unit, id, Kind::Customer)?;
    unit.permit(Permission::ManageCustomers, &path)?;
    let target = match &body {
        Ok(body) => {
            let place = unit.path_of(&body.seller_id)?;
            unit.permit(Permission::ManageCustomers, &place)?;
            Some(body.seller_id.parse::<OrganizationId>().map_err(|_| Refusal::not_found())?)
        }
        Err(_) => None,
    };
    let body = unit.take(body)?;
    let seller = target.ok_or_else(Refusal::not_found)?;
    let customer = unit.load::<Organization>(id);
    let customer = customer.founded()?.clone();
    let settings = billing_settings(unit, id)?;
    let mut faults = Faults::default();
    let at = "/effectiveFrom";
    let moment = day(unit, &customer, at, body.effective_from.as_deref(), &settings, &mut faults);
    let reason = said(&body.reason, &mut faults);
    let mut above = lineage(unit, id)?;
    above.pop();
    faults.ensure(
        above.contains(&seller),
        "/sellerId",
        "not_above",
        "A customer is billed by a seller above it.",
    );
    faults.check()?;
    unit.because(Some(moment), Some(reason));
    unit.execute::<Organization>(id, &path, OrganizationCommand::BillBy(seller))?;
    done(unit, id)
}

/// The first moment of the date that is meant: a seller bills whole days.
fn day(
    unit: &mut Unit<'_>,
    customer: &Founded,
    pointer: &str,
    text: Option<&str>,
    settings: &BillingSettings,
    faults: &mut Faults,
) -> DateTime<Utc> {
    let meant = optional_moment(faults, pointer, text, settings).unwrap_or(unit.now());
    let date = settings.local_date(meant);
    faults.ensure(
        date <= settings.local_date(unit.now()),
        pointer,
        "in_the_future",
        "This is done now; the date is today or an earlier one.",
    );
    let moment = settings.midnight(date);
    unit.means(moment, Some(date));
    faults.ensure(
        customer.billed_since.is_none_or(|since| since <= moment),
        pointer,
        "billed_otherwise_since",
        "Who bills it was changed from a later date already; only from that date on can it be changed.",
    );
    moment
}

fn said(text: &str, faults: &mut Faults) -> String {
    let reason = optional_reason(faults, Some(text));
    let is_blank = text.trim().is_empty();
    faults.ensure(!is_blank, "/reason", "empty", "Finance will ask: say why.");
    reason.unwrap_or_default()
}

/// The plans that are held at a place, now or later, from a moment on: by service.
fn in_use(
    unit: &mut Unit<'_>,
    path: &TenantPath,
    from: DateTime<Utc>,
) -> BTreeMap<ServiceKey, BTreeSet<PlanKey>> {
    let mut used = BTreeMap::<_, BTreeSet<_>>::new();
    let now = unit.now();
    for view in unit.below::<SubscriptionView>(path) {
        let until = view.scheduled_after(now).map(|fact| fact.effective_at);
        for moment in [from.max(now)].into_iter().chain(until) {
            if let Some(held) = view.held_at(moment) {
                used.entry(view.service.clone()).or_default().insert(held.plan.clone());
            }
        }
    }
    used
}

/// Notes everything that the customer has and the sellers at its new place do not give it, all at once.
fn missing(
    unit: &mut Unit<'_>,
    customer: &Founded,
    chain: &[OrganizationId],
    moment: DateTime<Utc>,
    faults: &mut Faults,
) -> Result<(), Stop> {
    let at = "/parentId";
    let new: Vec<_> = chain.iter().copied().chain([customer.id]).collect();
    for (service, plans) in in_use(unit, &customer.path, moment) {
        match offers::plans_reaching(unit, &new, &service)? {
            None => faults.add(
                at,
                "not_offered",
                format!("It has {service}, which is not offered there."),
            ),
            Some(offered) => {
                for plan in plans.iter().filter(|plan| !offered.contain(plan)) {
                    let detail =
                        format!("It has the plan {plan} of {service}, which is not offered there.");
                    faults.add(at, "plan_not_offered", detail);
                }
            }
        }
    }
    let given = unit.load::<Organization>(customer.id).given.clone();
    let users: Vec<Arc<UserView>> = unit.below::<UserView>(&customer.path);
    let assigned = users.iter().flat_map(|user| &user.roles).filter_map(|role| match role {
        RoleRef::Custom(id) => Some(*id),
        RoleRef::Default(_) | RoleRef::OfService(..) => None,
    });
    for id in assigned.chain(given).collect::<BTreeSet<_>>() {
        let role = unit.load::<Role>(id);
        if let Ok(made) = role.made()
            && !new.contains(&made.organization)
        {
            let detail = format!(
                "The role {} is made by a seller that it leaves; take it away first.",
                made.content.name
            );
            faults.add(at, "role_not_there", detail);
        }
    }
    Ok(())
}
