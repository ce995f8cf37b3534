//! Overriding prices and plan properties for one organisation and all below it.

use domain::billing::{Overridden, PriceOverride, Setting};
use domain::money::{Money, Percent};
use domain::organization::{Organization, OrganizationCommand};
use domain::overrides::Overriding;
use domain::permission::Permission;
use domain::service::{Definition, Service};
use domain::text::line;
use domain::{Faults, OrganizationId, PlanKey, PropertyKey, Refusal, ServiceKey};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{billing_settings, optional_moment, optional_reason};
use crate::error::Stop;
use crate::resource::OverrideResource;
use crate::unit::Unit;
use crate::{Input, Reply};

/// Longest value of a property, in characters.
const VALUE_MAX_CHARS: usize = 500;

/// Another value of a plan's property, or the end of one.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OverrideProperty {
    /// Of which plan; of every plan where it is left out.
    pub plan: Option<String>,
    /// Which property.
    pub property: String,
    /// Its value from then on. Either this or `clear`.
    pub value: Option<String>,
    /// Ends the overrides recorded before. Either this or `value`.
    pub clear: Option<bool>,
    /// A time, or a date, which means its first moment at the seller; now where it is left out.
    pub effective_from: Option<String>,
    /// Until when (exclusive); until it is cleared where it is left out.
    pub effective_to: Option<String>,
    /// Why; finance will read it.
    pub reason: String,
}

/// Another price of a plan, or the end of one.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OverridePrice {
    /// Of which service.
    pub service: String,
    /// Of which plan; of every plan where it is left out.
    pub plan: Option<String>,
    /// Per month and unit, such as `80.00`. One of this, `percent` and `clear`.
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

pub(crate) fn property(
    unit: &mut Unit<'_>,
    organization: &str,
    service: &str,
    body: Input<OverrideProperty>,
) -> Result<Reply, Stop> {
    let path = unit.path_of(organization)?;
    unit.permit(Permission::OverrideProperties, &path)?;
    let sold = published(unit, service)?.ok_or_else(Refusal::not_found)?;
    let body = unit.take(body)?;
    let mut faults = Faults::default();
    let key = PropertyKey::parse(&body.property)
        .filter(|key| sold.properties.iter().any(|property| property.key == *key));
    if key.is_none() {
        let known: Vec<_> = sold.properties.iter().map(|property| property.key.as_str()).collect();
        let detail = format!("The service has no such property; it has: {}.", known.join(", "));
        faults.add("/property", "unknown_property", detail);
    }
    let value = match (&body.value, body.clear == Some(true)) {
        (Some(value), false) => faults.take("/value", line(value, VALUE_MAX_CHARS)),
        (None, true) => None,
        (_, _) => {
            faults.add("/value", "value_or_clear", "Give either a value or `clear: true`.");
            None
        }
    };
    let common = Common {
        organization,
        service,
        plan: body.plan.as_deref(),
        from: body.effective_from.as_deref(),
        to: body.effective_to.as_deref(),
        reason: &body.reason,
    };
    record(unit, &common, &sold, faults, |to| {
        key.map(|key| Overridden::Property {
            key,
            setting: value.map_or(Setting::Cleared, |value| Setting::Set { to, value }),
        })
    })
}

pub(crate) fn price(
    unit: &mut Unit<'_>,
    organization: &str,
    body: Input<OverridePrice>,
) -> Result<Reply, Stop> {
    let path = unit.path_of(organization)?;
    unit.permit(Permission::OverridePrices, &path)?;
    let body = unit.take(body)?;
    let id: OrganizationId = organization.parse().map_err(|_| Refusal::not_found())?;
    let settings = billing_settings(unit, id)?;
    let mut faults = Faults::default();
    let Some(sold) = published(unit, &body.service)? else {
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
    let common = Common {
        organization,
        service: &body.service,
        plan: body.plan.as_deref(),
        from: body.effective_from.as_deref(),
        to: body.effective_to.as_deref(),
        reason: &body.reason,
    };
    record(unit, &common, &sold, faults, |to| {
        Some(Overridden::Price(value.map_or(Setting::Cleared, |value| Setting::Set { to, value })))
    })
}

/// Checks what both kinds have in common, and records the fact. `overridden` is asked only once
/// there is no fault.
fn record(
    unit: &mut Unit<'_>,
    common: &Common<'_>,
    sold: &Definition,
    mut faults: Faults,
    overridden: impl FnOnce(Option<chrono::DateTime<chrono::Utc>>) -> Option<Overridden>,
) -> Result<Reply, Stop> {
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
    let overridden = overridden(to).ok_or_else(Refusal::not_found)?;
    unit.because(from, reason.clone());
    let overriding = Overriding { overridden, plan, service };
    let resource =
        OverrideResource::new(id, &overriding, unit.effective_at(), reason, unit.caller().actor);
    let command = OrganizationCommand::Override(overriding);
    unit.execute::<Organization>(id, &path, command)?;
    let version = unit.version::<Organization>(id);
    Ok(Reply::done(&resource, version))
}

fn published(unit: &mut Unit<'_>, service: &str) -> Result<Option<Definition>, Stop> {
    let Some(key) = ServiceKey::parse(service) else {
        return Ok(None);
    };
    Ok(unit.load::<Service>(&key).published.clone().map(|(_, definition)| definition))
}
