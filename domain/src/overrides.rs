//! Overrides: a price or a property, set otherwise for one organisation and all below it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::billing::Overridden;
use crate::effective::{Effective, Level};
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

/// Where a value comes from that is neither the plan's nor an organisation's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// The service's definition.
    Default,
    /// Who provisioned filled it in.
    Input,
}

/// A property's value, and where it comes from, as a request keeps them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedProperty {
    /// Whether only those who publish services see it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// Which.
    pub key: PropertyKey,
    /// The organisation that set it; none: it is the plan's own value, or see `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overridden_by: Option<OrganizationId>,
    /// Whether it drives a price component.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub priced: bool,
    /// Since when, where somebody set it.
    #[serde(
        default,
        with = "chrono::serde::ts_microseconds_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub since: Option<DateTime<Utc>>,
    /// Where it comes from otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Its value.
    pub value: String,
}

impl ResolvedProperty {
    /// What was filled in and does not hold, as it is locked further up.
    #[must_use]
    pub fn shadowed(effective: &Effective<'_>) -> Option<Self> {
        let input = effective.losers().iter().find(|it| it.level == Level::Subscription)?;
        Some(Self {
            hidden: effective.property.hidden,
            key: effective.property.key.clone(),
            overridden_by: None,
            priced: effective.property.priced,
            since: input.since,
            source: Some(Source::Input),
            value: input.value.to_owned(),
        })
    }

    /// What wins, with where it comes from; none where nobody says anything.
    #[must_use]
    pub fn of(effective: &Effective<'_>) -> Option<Self> {
        let winner = effective.winner()?;
        let (overridden_by, source) = match winner.level {
            Level::Organization { id, .. } => (Some(id), None),
            Level::Plan => (None, None),
            Level::Default => (None, Some(Source::Default)),
            Level::Subscription => (None, Some(Source::Input)),
        };
        Some(Self {
            hidden: effective.property.hidden,
            key: effective.property.key.clone(),
            overridden_by,
            priced: effective.property.priced,
            since: winner.since,
            source,
            value: winner.value.to_owned(),
        })
    }
}
