//! Price books: what sellers say of prices, exchange rates, and what buyers are committed to.

use chrono::{DateTime, Utc};
use domain::TenantPath;
use domain::billing::{BookRow, Commitment, RateRow};
use domain::event::{Actor, Event, Recorded};
use domain::pricing::{CommitmentSetting, PriceSetting, PricingEvent, RateSetting};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// A row of a price book: never changed, only followed by others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PriceView {
    /// The position of the fact.
    pub position: u64,
    /// The seller's place in the tree.
    pub path: TenantPath,
    /// What was set.
    #[serde(flatten)]
    pub setting: PriceSetting,
    /// From when on.
    pub effective_from: DateTime<Utc>,
    /// Who set it.
    pub actor: Actor,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl PriceView {
    /// As rating wants it.
    #[must_use]
    pub fn for_rating(&self) -> BookRow {
        let PriceSetting { buyer, component, from_quantity, plan, says, service, .. } =
            &self.setting;
        let PriceSetting { subscription, to, .. } = &self.setting;
        BookRow {
            actor: self.actor.to_string(),
            component: component.clone(),
            from: Some(self.effective_from),
            from_quantity: *from_quantity,
            is_for_buyer: buyer.is_some(),
            is_for_instance: subscription.is_some(),
            is_for_service: service.is_some(),
            plan: plan.clone(),
            position: self.position,
            reason: self.reason.clone(),
            says: *says,
            to: *to,
        }
    }
}

impl View for PriceView {
    const TABLE: &'static str = "view_price";
    const INDEXES: &'static [&'static str] = &["path, sort, key", "owner, sort, key"];
    held_in!(prices);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match &event.event {
            Event::Pricing(PricingEvent::PriceSet(_)) => {
                vec![Touch::fresh(format_args!("{:020}", event.position))]
            }
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let Event::Pricing(PricingEvent::PriceSet(setting)) = &event.event else {
            return before;
        };
        Some(Self {
            position: event.position,
            path: event.path.clone(),
            setting: setting.clone(),
            effective_from: event.effective_at,
            actor: event.actor,
            reason: event.reason.clone(),
        })
    }

    fn index(&self) -> Index {
        Index {
            path: self.path.to_string(),
            owner: self.setting.seller.to_string(),
            kind: self.setting.service.as_ref().map(ToString::to_string).unwrap_or_default(),
            sort: format!("{:020}", self.position),
            ..Index::default()
        }
    }
}

/// An exchange rate: never changed, only followed by others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateView {
    /// The position of the fact.
    pub position: u64,
    /// The seller's place in the tree.
    pub path: TenantPath,
    /// What was set.
    #[serde(flatten)]
    pub setting: RateSetting,
    /// Who set it.
    pub actor: Actor,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl RateView {
    /// As rating wants it.
    #[must_use]
    pub fn for_rating(&self) -> RateRow {
        let RateSetting { from, rate, since, to, .. } = &self.setting;
        RateRow { from: *from, position: self.position, rate: *rate, since: *since, to: *to }
    }
}

impl View for RateView {
    const TABLE: &'static str = "view_rate";
    const INDEXES: &'static [&'static str] = &["path, sort, key", "owner, sort, key"];
    held_in!(rates);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match &event.event {
            Event::Pricing(PricingEvent::RateSet(_)) => {
                vec![Touch::fresh(format_args!("{:020}", event.position))]
            }
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let Event::Pricing(PricingEvent::RateSet(setting)) = &event.event else {
            return before;
        };
        Some(Self {
            position: event.position,
            path: event.path.clone(),
            setting: setting.clone(),
            actor: event.actor,
            reason: event.reason.clone(),
        })
    }

    fn index(&self) -> Index {
        Index {
            path: self.path.to_string(),
            owner: self.setting.seller.to_string(),
            sort: format!("{:020}", self.position),
            ..Index::default()
        }
    }
}

/// What a buyer is committed to: never changed, only followed by others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitmentView {
    /// The position of the fact.
    pub position: u64,
    /// The seller's place in the tree.
    pub path: TenantPath,
    /// What was set.
    #[serde(flatten)]
    pub setting: CommitmentSetting,
    /// From when on.
    pub effective_from: DateTime<Utc>,
    /// Who set it.
    pub actor: Actor,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl CommitmentView {
    /// As rating wants it.
    #[must_use]
    pub fn for_rating(&self) -> Commitment {
        let CommitmentSetting { amount, to, .. } = self.setting;
        Commitment { amount, from: self.effective_from, position: self.position, to }
    }
}

impl View for CommitmentView {
    const TABLE: &'static str = "view_commitment";
    const INDEXES: &'static [&'static str] = &["path, sort, key", "owner, sort, key"];
    held_in!(commitments);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match &event.event {
            Event::Pricing(PricingEvent::CommitmentSet(_)) => {
                vec![Touch::fresh(format_args!("{:020}", event.position))]
            }
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let Event::Pricing(PricingEvent::CommitmentSet(setting)) = &event.event else {
            return before;
        };
        Some(Self {
            position: event.position,
            path: event.path.clone(),
            setting: setting.clone(),
            effective_from: event.effective_at,
            actor: event.actor,
            reason: event.reason.clone(),
        })
    }

    fn index(&self) -> Index {
        Index {
            path: self.path.to_string(),
            owner: self.setting.seller.to_string(),
            kind: self.setting.service.to_string(),
            sort: format!("{:020}", self.position),
            ..Index::default()
        }
    }
}
