//! Offering services down the tree, and withdrawing offers.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::offer::{Offering, Plans, Reach, Withdrawal, reaching};
use domain::organization::{Organization, OrganizationCommand};
use domain::permission::Permission;
use domain::service::{Definition, Service};
use domain::{Faults, OrganizationId, PlanKey, Refusal, ServiceKey, TenantPath};
use projections::views::OfferView;
use serde::Deserialize;
use utoipa::ToSchema;

use super::organizations::Because;
use super::{ensure_few, installation, lineage, optional_reason, take_reason};
use crate::error::Stop;
use crate::resource::OfferResource;
use crate::unit::Unit;
use crate::{Input, Reply};

/// Which plans of a service, and how far.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OfferService {
    /// Exactly these plans, by their keys; all that there are and will be where this and `addPlans` are left out.
    pub plans: Option<Vec<String>>,
    /// These plans beside those that are offered already. With `subtree`, they join every offer below that names
    /// its plans.
    pub add_plans: Option<Vec<String>>,
    /// To all below, too, also to those who come later.
    pub subtree: Option<bool>,
    /// Kept with the events.
    pub reason: Option<String>,
}

/// Where an offer is made, and by whom, as seen from there.
struct Place {
    id: OrganizationId,
    path: TenantPath,
    /// The caller stands there himself: what it is offered is for those above to say.
    is_own: bool,
}

impl Place {
    fn find(unit: &mut Unit<'_>, organization: &str) -> Result<Self, Stop> {
        let path = unit.path_of(organization)?;
        unit.permit(Permission::OfferServices, &path)?;
        let id = organization.parse().map_err(|_| Refusal::not_found())?;
        let stands_there = unit.authority()?.is_some_and(|authority| authority.path == path);
        let is_own = stands_there || path == TenantPath::provider();
        Ok(Self { id, path, is_own })
    }

    /// How far an offer goes from here.
    fn reach(&self, subtree: bool, faults: &mut Faults) -> Reach {
        match (self.is_own, subtree) {
            (false, false) => Reach::Itself,
            (false, true) => Reach::Subtree,
            (true, true) => Reach::Below,
            (true, false) => {
                let detail = "Nobody offers himself a service. To offer it to all below, say `subtree: true`; \
                              to offer it to one, name that organisation in the address.";
                faults.add("/subtree", "own_organization", detail);
                Reach::Below
            }
        }
    }

    /// What can be passed on from where the offer comes from.
    fn passable(&self, unit: &mut Unit<'_>, service: &ServiceKey) -> Result<Option<Plans>, Stop> {
        let mut chain = lineage(unit, self.id)?;
        if !self.is_own {
            chain.pop();
        }
        plans_reaching(unit, &chain, service)
    }
}

pub(crate) fn offer(
    unit: &mut Unit<'_>,
    organization: &str,
    service: &str,
    body: Input<OfferService>,
) -> Result<Reply, Stop> {
    let place = Place::find(unit, organization)?;
    let (key, definition) = published(unit, service)?;
    let body = unit.take(body)?;
    let mut faults = Faults::default();
    let reason = optional_reason(&mut faults, body.reason.as_deref());
    let subtree = body.subtree == Some(true);
    let reach = place.reach(subtree, &mut faults);
    let Some(passable) = place.passable(unit, &key)? else {
        faults.check()?;
        return Err(Refusal::conflict(
            "not_offered",
            "This service is not offered to the organisation that it would come from; that has to come first.",
        )
        .into());
    };
    let mut named = |pointer: &str, keys: Option<&[String]>| {
        keys.map(|keys| plans(pointer, keys, &definition, &passable, &mut faults))
    };
    let exactly = named("/plans", body.plans.as_deref());
    let more = named("/addPlans", body.add_plans.as_deref());
    if exactly.is_some() && more.is_some() {
        faults.add("/addPlans", "one_of_two", "Give either all plans or those to be added.");
    }
    faults.check()?;
    unit.because(None, reason);
    match more {
        None => {
            let offering = Offering {
                plans: exactly.map_or(Plans::All, Plans::These),
                reach,
                service: key.clone(),
            };
            let command = OrganizationCommand::Offer(offering);
            unit.execute::<Organization>(place.id, &place.path, command)?;
        }
        Some(more) => add_plans(unit, &place, &key, &Plans::These(more), subtree)?,
    }
    done(unit, place.id, &key)
}

/// Adds plans to the offers at a place, and below it where that is wished.
fn add_plans(
    unit: &mut Unit<'_>,
    place: &Place,
    service: &ServiceKey,
    plans: &Plans,
    subtree: bool,
) -> Result<(), Stop> {
    let mut places = vec![(place.id, place.path.clone())];
    if subtree {
        let below = unit.below::<OfferView>(&place.path);
        let below = below.iter().filter(|it| it.service == *service && it.path != place.path);
        places.extend(below.map(|it| (it.organization, it.path.clone())));
    }
    ensure_few(
        places.len(),
        "organisations with an offer of their own",
        "do it for a part of them",
    )?;
    for (id, path) in places {
        let command = OrganizationCommand::AddPlans(service.clone(), plans.clone());
        unit.execute::<Organization>(id, &path, command)?;
    }
    Ok(())
}

/// The plans that a list names: each is one of the service's, and can be passed on.
fn plans(
    pointer: &str,
    keys: &[String],
    definition: &Definition,
    passable: &Plans,
    faults: &mut Faults,
) -> BTreeSet<PlanKey> {
    let mut plans = BTreeSet::new();
    for (index, text) in keys.iter().enumerate() {
        let at = format!("{pointer}/{index}");
        match PlanKey::parse(text).filter(|key| definition.plan(key).is_some()) {
            None => faults.add(&at, "unknown_plan", "The service has no such plan."),
            Some(key) if !passable.contain(&key) => {
                let detail =
                    "This plan is not offered to the organisation that it would come from.";
                faults.add(&at, "plan_not_offered", detail);
            }
            Some(key) => {
                plans.insert(key);
            }
        }
    }
    plans
}

pub(crate) fn withdraw(
    unit: &mut Unit<'_>,
    organization: &str,
    service: &str,
    body: Input<Because>,
) -> Result<Reply, Stop> {
    let place = Place::find(unit, organization)?;
    let key = ServiceKey::parse(service).ok_or_else(Refusal::not_found)?;
    unit.load::<Service>(&key).published.as_ref().ok_or_else(Refusal::not_found)?;
    let reason = take_reason(unit, body)?;
    unit.because(None, reason);
    let reach = if place.is_own { Reach::Below } else { Reach::Subtree };
    let withdrawal = Withdrawal { reach, service: key.clone() };
    let command = OrganizationCommand::Withdraw(withdrawal);
    unit.execute::<Organization>(place.id, &place.path, command)?;
    done(unit, place.id, &key)
}

/// Offers a service to everybody, also to those who come later.
pub(crate) fn roll_out(unit: &mut Unit<'_>, service: &ServiceKey) -> Result<(), Stop> {
    let provider = installation::provider(unit)?;
    let offering = Offering { plans: Plans::All, reach: Reach::Below, service: service.clone() };
    let command = OrganizationCommand::Offer(offering);
    unit.execute::<Organization>(provider, &TenantPath::provider(), command)
}

/// The plans of a service that reach the last of these organisations, the provider first.
pub(crate) fn plans_reaching(
    unit: &mut Unit<'_>,
    chain: &[OrganizationId],
    service: &ServiceKey,
) -> Result<Option<Plans>, Stop> {
    let organizations: Vec<_> = chain.iter().map(|id| unit.load::<Organization>(*id)).collect();
    Ok(reaching(organizations.iter().map(|organization| organization.offers.get(service))))
}

fn published(unit: &mut Unit<'_>, service: &str) -> Result<(ServiceKey, Arc<Definition>), Stop> {
    let key = ServiceKey::parse(service).ok_or_else(Refusal::not_found)?;
    let published = unit.load::<Service>(&key).published.clone();
    let (_, definition) = published.ok_or_else(Refusal::not_found)?;
    Ok((key, definition))
}

fn done(unit: &mut Unit<'_>, id: OrganizationId, service: &ServiceKey) -> Result<Reply, Stop> {
    let chain = lineage(unit, id)?;
    let reaching = plans_reaching(unit, &chain, service)?;
    let organization = unit.load::<Organization>(id);
    let offer = organization.offers.get(service);
    let published = unit.load::<Service>(service).published.clone();
    let (_, definition) = published.ok_or_else(Refusal::not_found)?;
    let resource = OfferResource::new(id, &definition, offer, reaching.as_ref());
    let version = unit.version::<Organization>(id);
    Ok(Reply::done(&resource, version))
}
