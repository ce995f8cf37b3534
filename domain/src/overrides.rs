//! Overrides: a price or a plan's property, set otherwise for one organisation and all below it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::billing::{BillingSettings, Overridden, Override, Prices};
use crate::service::Plan;
use crate::{OrganizationId, PlanKey, PropertyKey, ServiceKey};

/// What an organisation sets otherwise, or clears.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overriding {
    /// What, and to what.
    pub overridden: Overridden,
    /// Of which plan; none: of every plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanKey>,
    /// Of which service.
    pub service: ServiceKey,
}

/// The overrides of one organisation on the way down to a holder.
#[derive(Clone, Copy, Debug)]
pub struct Level<'a> {
    /// Who set them.
    pub organization: OrganizationId,
    /// Each with when it is from, in the order of recording.
    pub overrides: &'a [(DateTime<Utc>, Overriding)],
}

/// A property's value, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedProperty {
    /// Which.
    pub key: PropertyKey,
    /// The organisation that overrides it; none: it is the plan's own value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overridden_by: Option<OrganizationId>,
    /// Its value.
    pub value: String,
}

/// The plan's properties as they are at a moment for somebody below `levels` (the provider first).
#[must_use]
pub fn resolve(
    service: &ServiceKey,
    plan: &Plan,
    levels: &[Level<'_>],
    moment: DateTime<Utc>,
    settings: &BillingSettings,
) -> Vec<ResolvedProperty> {
    let overrides = levels.iter().enumerate().flat_map(|(above, level)| {
        let of_service = level.overrides.iter().filter(|(_, it)| it.service == *service);
        of_service.zip(1..).map(move |((from, it), order)| Override {
            actor: String::new(),
            depth: above + 1,
            from: *from,
            overridden: it.overridden.clone(),
            plan: it.plan.clone(),
            position: order,
            reason: None,
        })
    });
    let prices = Prices { overrides: overrides.collect(), rows: Vec::new() };
    let date = settings.local_date(moment);
    plan.properties
        .iter()
        .map(|(key, value)| match prices.property_on(date, &plan.key, key, settings) {
            Some((by, value)) => ResolvedProperty {
                key: key.clone(),
                overridden_by: Some(levels[by.depth - 1].organization),
                value: value.to_owned(),
            },
            None => {
                ResolvedProperty { key: key.clone(), overridden_by: None, value: value.clone() }
            }
        })
        .collect()
}
