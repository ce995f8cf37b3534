//! Drafting and publishing services.

use std::sync::Arc;

use domain::permission::{AnyPermission, Permission};
use domain::service::{Definition, Service, ServiceCommand};
use domain::{Faults, Refusal, ServiceKey, TenantPath};
use projections::views::ServiceView;
use serde::Deserialize;
use utoipa::ToSchema;

use super::definition::DefinitionDocument;
use super::{installation, offers, optional_moment, optional_reason};
use crate::error::Stop;
use crate::resource::ServiceResource;
use crate::unit::Unit;
use crate::{Input, Reply};

/// A service as it is sold now.
pub(crate) struct Sold {
    pub(crate) version: u32,
    pub(crate) definition: Arc<Definition>,
}

impl Sold {
    /// The service of that key, if it is sold.
    pub(crate) fn find(unit: &mut Unit<'_>, service: &str) -> Option<Self> {
        let service = unit.load::<Service>(ServiceKey::parse(service)?);
        let (version, definition) = service.published.clone()?;
        Some(Self { version, definition })
    }
}

/// From when a publication's prices hold, and why.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublishService {
    /// A time or a date; now where it is left out. A plan's first price holds since ever.
    pub effective_at: Option<String>,
    /// Whether everybody is offered it from now on, with all its plans, also those who come later. Otherwise it
    /// has to be offered (`PUT /api/v2/organizations/{id}/offers/{service}`) before anybody can have it.
    pub roll_out: Option<bool>,
    /// Kept with the event.
    pub reason: Option<String>,
}

/// Nobody grants what he lacks: what is new in a service's roles, whoever drafts it has to hold.
fn ensure_within_own(
    unit: &mut Unit<'_>,
    definition: &Definition,
    faults: &mut Faults,
) -> Result<(), Stop> {
    let Some(authority) = unit.authority()? else { return Ok(()) };
    let service = unit.load::<Service>(&definition.key);
    let before = service.published.as_ref().map_or(&[][..], |(_, before)| &before.roles[..]);
    for (index, role) in definition.roles.iter().enumerate() {
        let same = before.iter().find(|old| old.key == role.key);
        let is_new = |it: &&AnyPermission| same.is_none_or(|old| !old.permissions.contains(it));
        if let Some(lacking) = role.permissions.iter().filter(is_new).find(|it| authority.lacks(it))
        {
            let detail = format!("You cannot grant what you do not hold yourself: {lacking}.");
            faults.add(&format!("/roles/{index}/permissions"), "beyond_your_own", detail);
        }
    }
    Ok(())
}

pub(crate) fn draft(
    unit: &mut Unit<'_>,
    key: &str,
    body: Input<DefinitionDocument>,
    if_match: Option<u64>,
) -> Result<Reply, Stop> {
    unit.require(Permission::PublishServices)?;
    let key = ServiceKey::parse(key).ok_or_else(Refusal::not_found)?;
    let body = unit.take(body)?;
    unit.expect_version::<Service>(&key, if_match)?;
    let settings = installation::settings(unit)?;
    let mut faults = Faults::default();
    let definition = body.parse(key.clone(), &settings, &mut faults);
    ensure_within_own(unit, &definition, &mut faults)?;
    faults.check()?;
    let command = ServiceCommand::Draft(Box::new(definition));
    unit.execute::<Service>(&key, &TenantPath::provider(), command)?;
    done(unit, &key)
}

pub(crate) fn publish(
    unit: &mut Unit<'_>,
    key: &str,
    body: Input<PublishService>,
) -> Result<Reply, Stop> {
    unit.require(Permission::PublishServices)?;
    if body.as_ref().is_ok_and(|body| body.roll_out == Some(true)) {
        unit.require(Permission::OfferServices)?;
    }
    let key = ServiceKey::parse(key).ok_or_else(Refusal::not_found)?;
    let body = unit.take(body)?;
    let settings = installation::settings(unit)?;
    let mut faults = Faults::default();
    let from =
        optional_moment(&mut faults, "/effectiveAt", body.effective_at.as_deref(), &settings);
    let reason = optional_reason(&mut faults, body.reason.as_deref());
    faults.check()?;
    unit.because(from, reason.clone());
    unit.execute::<Service>(&key, &TenantPath::provider(), ServiceCommand::Publish)?;
    if body.roll_out == Some(true) {
        unit.because(None, reason);
        offers::roll_out(unit, &key)?;
    }
    done(unit, &key)
}

fn done(unit: &mut Unit<'_>, key: &ServiceKey) -> Result<Reply, Stop> {
    let view = unit.view::<ServiceView>(key.as_str()).ok_or_else(Refusal::not_found)?;
    let resource = ServiceResource::whole(&view);
    Ok(Reply::done(&resource, resource.version))
}
