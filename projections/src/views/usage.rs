//! Readings of meters.

use chrono::{DateTime, Utc};
use domain::billing::Reading;
use domain::event::{Actor, Event, Recorded};
use domain::usage::{MeterReading, UsageEvent};
use domain::{SubscriptionId, TenantPath};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// One reading: never changed, only followed by others.
///
/// It belongs to its subscription, and is found by who sees that; so it stays where it is when a customer moves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageView {
    /// The position of the fact.
    pub position: u64,
    /// What was read.
    #[serde(flatten)]
    pub reading: MeterReading,
    /// When it was so.
    pub effective_at: DateTime<Utc>,
    /// Who recorded it.
    pub actor: Actor,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl UsageView {
    /// Whose usage it is.
    #[must_use]
    pub fn subscription(&self) -> SubscriptionId {
        self.reading.subscription
    }

    /// As rating wants it.
    #[must_use]
    pub fn for_rating(&self) -> Reading {
        Reading {
            actor: self.actor.to_string(),
            effective_at: self.effective_at,
            meter: self.reading.meter.clone(),
            position: self.position,
            quantity: self.reading.quantity,
            reason: self.reason.clone(),
            unique: self.reading.unique.clone(),
        }
    }

    /// What readings are sorted by that are true from a moment on.
    #[must_use]
    pub fn sort_of(moment: DateTime<Utc>) -> String {
        format!("{:020}", moment.timestamp_micros())
    }
}

impl View for UsageView {
    const TABLE: &'static str = "view_usage";
    const INDEXES: &'static [&'static str] = &["owner, sort, key"];
    held_in!(usage);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match &event.event {
            Event::Usage(UsageEvent::Recorded(_)) => {
                vec![Touch::fresh(format_args!("{:020}", event.position))]
            }
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let Event::Usage(UsageEvent::Recorded(reading)) = &event.event else {
            return before;
        };
        Some(Self {
            position: event.position,
            reading: reading.clone(),
            effective_at: event.effective_at,
            actor: event.actor,
            reason: event.reason.clone(),
        })
    }

    fn index(&self) -> Index {
        Index {
            path: TenantPath::provider().to_string(),
            owner: self.reading.subscription.to_string(),
            kind: self.reading.meter.to_string(),
            sort: Self::sort_of(self.effective_at),
            ..Index::default()
        }
    }
}
