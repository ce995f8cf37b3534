//! Overriding prices and properties for one organisation and all below it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::billing::{ComponentKey, Overridden, PriceOverride, Setting};
use domain::effective::{Level, OverrideAt, resolve};
use domain::money::{Money, Percent};
use domain::organization::{self, Organization, OrganizationCommand};
use domain::overrides::Overriding;
use domain::permission::Permission;
use domain::property::{Given, Kind, Property, Scope, ValueType};
use domain::service::Definition;
use domain::{Faults, OrganizationId, PlanKey, Refusal, ServiceKey};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::definition::ValueDocument;
use super::organizations::Because;
use super::services::Sold;
use super::subscriptions::take_over;
use super::{billing_settings, lineage, optional_moment, optional_reason, parent, take_reason};
use crate::error::Stop;
use crate::resource::OverrideResource;
use crate::unit::Unit;
use crate::{Input, Reply};

/// Another value of a property, or the end of one.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OverrideProperty {
    /// Of which plan; of every plan where it is left out.
    pub plan: Option<String>,
    /// Which property.
    pub property: String,
    /// Its value from then on. Either this or `clear`.
    pub value: Option<ValueDocument>,
    /// Whether nobody below can set another value; only with `value`.
    pub locked: Option<bool>,
    /// Ends the overrides recorded before. Either this or `value`.
    pub clear: Option<bool>,
    /// A time, or a date, which means its first moment at the seller; now where it is left out.
    pub effective_from: Option<String>,
    /// Until when (exclusive); until it is cleared where it is left out.
    pub effective_to: Option<String>,
    /// When what runs takes it over, by a change request for each subscription that would be built otherwise: `now`
    /// (which it is where this is left out), or `later`, on request.
    pub apply: Option<ApplyText>,
    /// Why; finance will read it.
    pub reason: String,
}

/// When what runs takes an override over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ApplyText {
    /// At once.
    Now,
    /// On request.
    Later,
}

/// A property that was set otherwise, and what became of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverriddenProperty {
    /// What was set.
    #[serde(flatten)]
    pub what: OverrideResource,
    /// Change requests that carry it to what runs.
    pub change_requests: usize,
}

/// What became of applying overrides.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliedOverrides {
    /// For whom, and all below.
    pub organization_id: Uuid,
    /// Of which service.
    pub service: String,
    /// Change requests that carry what is set to what runs.
    pub change_requests: usize,
}

/// Another price of a plan, or the end of one.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OverridePrice {
    /// Of which service.
    pub service: String,
    /// Of which plan; of every plan where it is left out.
    pub plan: Option<String>,
    /// Of which component: its key; the plan's own price where it is left out.
    pub component: Option<String>,
    /// Per month and unit, or as the component says, such as `80.00`. One of this, `percent` and `clear`.
    pub price: Option<String>,
    /// On the price without this override, such as `-20`. One of this, `price` and `clear`.
    pub percent: Option<String>,
    /// Ends the overrides recorded before. One of this, `price` and `percent`.
    pub clear: Option<bool>,
    /// A time, or a date, which means its first moment at the seller; now where it is left out.
    pub effective_from: Option<String>,
    /// Until when (exclusive); until it is cleared where it is left out.
    pub effective_to: Option<String>,
    /// Why; finance will read it.
    pub reason: String,
}

/// What both kinds have in common.
struct Common<'a> {
    organization: &'a str,
    service: &'a str,
    plan: Option<&'a str>,
    from: Option<&'a str>,
    to: Option<&'a str>,
    reason: &'a str,
}

/// The organisations on the way down to somebody, with what each of them has set otherwise.
pub(crate) struct Above(Vec<(OrganizationId, Arc<Organization>)>);

impl Above {
    /// Of these organisations, the provider first.
    pub(crate) fn of(unit: &mut Unit<'_>, lineage: &[OrganizationId]) -> Self {
        Self(lineage.iter().map(|id| (*id, unit.load::<Organization>(*id))).collect())
    }

    /// Their overrides of one service.
    pub(crate) fn overrides(&self, service: &ServiceKey) -> Vec<OverrideAt<'_>> {
        let levels = self.0.iter().enumerate();
        let all = levels.flat_map(|(depth, (id, organization))| {
            organization.overrides.iter().zip(1..).map(move |((from, overriding), position)| {
                OverrideAt { depth, from: *from, organization: *id, overriding, position }
            })
        });
        all.filter(|it| it.overriding.service == *service).collect()
    }

    /// The level of the last of them.
    fn level(&self) -> Option<Level> {
        let (id, _) = self.0.last()?;
        Some(Level::Organization { depth: self.0.len() - 1, id: *id })
    }
}

pub(crate) fn property(
    unit: &mut Unit<'_>,
    organization: &str,
    service: &str,
    body: Input<OverrideProperty>,
) -> Result<Reply, Stop> {
    let path = unit.path_of(organization)?;
    unit.permit(Permission::OverrideProperties, &path)?;
    let sold = Sold::find(unit, service).ok_or_else(Refusal::not_found)?.definition;
    let body = unit.take(body)?;
    let id: OrganizationId = organization.parse().map_err(|_| Refusal::not_found())?;
    let mut faults = Faults::default();
    let sees_hidden = unit.holds(Permission::PublishServices)?;
    let seen = sold.properties.iter().filter(|it| sees_hidden || !it.hidden);
    let property = seen.clone().find(|property| property.key.as_str() == body.property);
    match property {
        Some(property) => ensure_settable(unit, property, id, &mut faults)?,
        None => {
            let known: Vec<_> = seen.map(|property| property.key.as_str()).collect();
            let detail = format!("The service has no such property; it has: {}.", known.join(", "));
            faults.add("/property", "unknown_property", detail);
        }
    }
    let value = match (&body.value, body.clear == Some(true), property) {
        (Some(value), false, Some(property)) => {
            faults.take("/value", property.parse(&Given::from(value), &sold.validations))
        }
        (None, true, _) | (Some(_), false, None) => None,
        (_, _, _) => {
            faults.add("/value", "value_or_clear", "Give either a value or `clear: true`.");
            None
        }
    };
    let locked = body.locked == Some(true);
    faults.ensure(
        !(locked && body.clear == Some(true)),
        "/locked",
        "value_or_clear",
        "Only a value can be locked.",
    );
    let common = Common {
        organization,
        service,
        plan: body.plan.as_deref(),
        from: body.effective_from.as_deref(),
        to: body.effective_to.as_deref(),
        reason: &body.reason,
    };
    let (what, version) = record(unit, &common, &sold, faults, |unit, plan, to| {
        let property = property.ok_or_else(Refusal::not_found)?;
        let setting = match value {
            Some(value) => {
                ensure_unlocked(unit, &sold, property, plan, id)?;
                Setting::Set { to, value }
            }
            None => Setting::Cleared,
        };
        Ok(Overridden::Property {
            hidden: property.hidden,
            key: property.key.clone(),
            locked,
            setting,
        })
    })?;
    let change_requests = match body.apply {
        None | Some(ApplyText::Now) => {
            let from = unit.effective_at();
            take_over(unit, &sold.key, &path, from, what.reason.as_ref())?
        }
        Some(ApplyText::Later) => 0,
    };
    Ok(Reply::done(&OverriddenProperty { what, change_requests }, version))
}

/// Carries all that is set for a service to what runs at an organisation and below.
pub(crate) fn apply(
    unit: &mut Unit<'_>,
    organization: &str,
    service: &str,
    body: Input<Because>,
) -> Result<Reply, Stop> {
    let path = unit.path_of(organization)?;
    unit.permit(Permission::OverrideProperties, &path)?;
    let sold = Sold::find(unit, service).ok_or_else(Refusal::not_found)?.definition;
    let reason = take_reason(unit, body)?;
    let id: OrganizationId = organization.parse().map_err(|_| Refusal::not_found())?;
    let now = unit.now();
    let change_requests = take_over(unit, &sold.key, &path, now, reason.as_ref())?;
    let applied =
        AppliedOverrides { organization_id: id.0, service: sold.key.to_string(), change_requests };
    let version = unit.version::<Organization>(id);
    Ok(Reply::done(&applied, version))
}

/// Whether a property is one that an organisation may set, and this caller for it.
fn ensure_settable(
    unit: &mut Unit<'_>,
    property: &Property,
    organization: OrganizationId,
    faults: &mut Faults,
) -> Result<(), Stop> {
    let kind = unit.load::<Organization>(organization).founded()?.kind;
    let is_for = match property.scope {
        Scope::Service => kind == organization::Kind::Provider,
        Scope::Reseller => kind != organization::Kind::Customer,
        Scope::Customer | Scope::User | Scope::Plan => true,
    };
    faults.ensure(
        is_for,
        "/property",
        "out_of_scope",
        "This property is set further up, for all below; see its scope.",
    );
    faults.ensure(
        !property.read_only,
        "/property",
        "read_only",
        "This property is set by provisioning, and by nobody else.",
    );
    faults.ensure(
        !matches!(property.value_type, ValueType::ChoiceOf { .. }),
        "/property",
        "options_of_holder",
        "What can be chosen here differs from holder to holder, so it is filled in for each.",
    );
    // What a plan says can be overridden by whoever may override; what is configured elsewhere is the provider's.
    let is_configured = property.kind == Kind::Configuration && property.scope != Scope::Plan;
    faults.ensure(
        !is_configured || unit.is_of_provider()?,
        "/property",
        "configuration",
        "This is a configuration, which only the provider's administrators set.",
    );
    Ok(())
}

/// Whether nobody above has locked a property at the moment that the command is about.
fn ensure_unlocked(
    unit: &mut Unit<'_>,
    sold: &Definition,
    property: &Property,
    plan: Option<&PlanKey>,
    organization: OrganizationId,
) -> Result<(), Stop> {
    let lineage = lineage(unit, organization)?;
    let above = Above::of(unit, &lineage);
    let overrides = above.overrides(&sold.key);
    let plan = plan.and_then(|plan| sold.plan(plan));
    let resolved = resolve(sold, plan, &overrides, &[], unit.effective_at());
    let effective = resolved.iter().find(|effective| effective.property.key == property.key);
    let is_locked = effective
        .zip(above.level())
        .is_some_and(|(effective, level)| effective.lock_above(level).is_some());
    if is_locked {
        return Err(Refusal::conflict(
            "locked",
            "An organisation above has locked this property; only there can it be changed.",
        )
        .into());
    }
    Ok(())
}

pub(crate) fn price(
    unit: &mut Unit<'_>,
    organization: &str,
    body: Input<OverridePrice>,
) -> Result<Reply, Stop> {
    let path = unit.path_of(organization)?;
    unit.permit_to_sell(Permission::OverridePrices, &path)?;
    let body = unit.take(body)?;
    let id: OrganizationId = organization.parse().map_err(|_| Refusal::not_found())?;
    // What a reseller pays is in the currency of who sells to it.
    let seller = parent(unit, id)?.unwrap_or(id);
    let settings = billing_settings(unit, seller)?;
    let mut faults = Faults::default();
    let Some(Sold { definition: sold, .. }) = Sold::find(unit, &body.service) else {
        return Err(
            Refusal::invalid("/service", "unknown_service", "No such service is sold.").into()
        );
    };
    let value = match (&body.price, &body.percent, body.clear == Some(true)) {
        (Some(text), None, false) => {
            let price = faults.take("/price", Money::parse(text, settings.currency));
            let negative = price.is_some_and(|price| price.minor < 0);
            faults.ensure(!negative, "/price", "negative", "A price is not negative.");
            price.map(|price| PriceOverride::Amount(price.minor))
        }
        (None, Some(text), false) => {
            faults.take("/percent", Percent::parse(text)).map(PriceOverride::Percent)
        }
        (None, None, true) => None,
        (_, _, _) => {
            let detail = "Give one of a price, a percentage, or `clear: true`.";
            faults.add("/price", "price_percent_or_clear", detail);
            None
        }
    };
    let component = body.component.as_deref().and_then(ComponentKey::parse);
    let component = component.filter(|key| !key.is_recurring());
    let is_known = |key: &ComponentKey| sold.plans.iter().any(|plan| plan.component(key).is_some());
    let names_own = body.component.as_deref() == Some(ComponentKey::RECURRING.as_str());
    faults.ensure(
        body.component.is_none() || names_own || component.as_ref().is_some_and(is_known),
        "/component",
        "unknown_component",
        "No plan of the service has such a component.",
    );
    let common = Common {
        organization,
        service: &body.service,
        plan: body.plan.as_deref(),
        from: body.effective_from.as_deref(),
        to: body.effective_to.as_deref(),
        reason: &body.reason,
    };
    let (what, version) = record(unit, &common, &sold, faults, |_, _, to| {
        let setting = value.map_or(Setting::Cleared, |value| Setting::Set { to, value });
        Ok(match component {
            Some(key) => Overridden::Component { key, setting },
            None => Overridden::Price(setting),
        })
    })?;
    Ok(Reply::done(&what, version))
}

/// Checks what both kinds have in common, and records the fact. `overridden` is asked, of which plan and until
/// when, only once there is no fault.
fn record(
    unit: &mut Unit<'_>,
    common: &Common<'_>,
    sold: &Definition,
    mut faults: Faults,
    overridden: impl FnOnce(
        &mut Unit<'_>,
        Option<&PlanKey>,
        Option<DateTime<Utc>>,
    ) -> Result<Overridden, Stop>,
) -> Result<(OverrideResource, u64), Stop> {
    let id: OrganizationId = common.organization.parse().map_err(|_| Refusal::not_found())?;
    let path = unit.path_of(common.organization)?;
    let settings = billing_settings(unit, id)?;
    let plan = common.plan.and_then(PlanKey::parse);
    let known = plan.as_ref().is_some_and(|plan| sold.plan(plan).is_some());
    faults.ensure(
        common.plan.is_none() || known,
        "/plan",
        "unknown_plan",
        "The service has no such plan.",
    );
    let from = optional_moment(&mut faults, "/effectiveFrom", common.from, &settings);
    let to = optional_moment(&mut faults, "/effectiveTo", common.to, &settings);
    let reason = optional_reason(&mut faults, Some(common.reason));
    faults.ensure(
        !common.reason.trim().is_empty(),
        "/reason",
        "empty",
        "Finance will ask: say why.",
    );
    let begins = from.unwrap_or(unit.now());
    faults.ensure(
        to.is_none_or(|to| to > begins),
        "/effectiveTo",
        "not_after",
        "An override ends after it begins.",
    );
    faults.check()?;
    let service = ServiceKey::parse(common.service).ok_or_else(Refusal::not_found)?;
    unit.because(from, reason.clone());
    let overridden = overridden(unit, plan.as_ref(), to)?;
    let overriding = Overriding { overridden, plan, service };
    let resource =
        OverrideResource::new(id, &overriding, unit.effective_at(), reason, unit.caller().actor);
    let command = OrganizationCommand::Override(overriding);
    unit.execute::<Organization>(id, &path, command)?;
    Ok((resource, unit.version::<Organization>(id)))
}
