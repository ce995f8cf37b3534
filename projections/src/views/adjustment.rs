//! What was charged or given back by hand.

use chrono::{DateTime, Utc};
use domain::billing::adjustment::{Adjusted, AdjustmentEvent, ManualCharge};
use domain::event::{Actor, Event, Recorded};
use domain::{AdjustmentId, TenantPath};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// One adjustment. It stays where it was made when its customer moves: it is the business of who made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdjustmentView {
    /// Its id.
    pub id: AdjustmentId,
    /// The customer's place in the tree when it was made.
    pub path: TenantPath,
    /// The position of its making.
    pub position: u64,
    /// What it is.
    pub adjusted: Adjusted,
    /// When it is true.
    pub effective_at: DateTime<Utc>,
    /// When it was made.
    pub recorded_at: DateTime<Utc>,
    /// Who made it.
    pub actor: Actor,
    /// Why.
    pub reason: Option<String>,
    /// The one that took it back, if any did.
    pub reversed_by: Option<AdjustmentId>,
    /// Of its stream.
    pub version: u64,
}

impl AdjustmentView {
    /// Has something done with it as billing wants it.
    pub fn with_charge<T>(&self, take: impl FnOnce(&ManualCharge<'_>) -> T) -> T {
        take(&ManualCharge {
            actor: &self.actor.to_string(),
            adjusted: &self.adjusted,
            effective_at: self.effective_at,
            id: self.id,
            position: self.position,
            reason: self.reason.as_deref(),
        })
    }
}

impl View for AdjustmentView {
    const TABLE: &'static str = "view_adjustment";
    const INDEXES: &'static [&'static str] = &["owner, sort, key", "sort, key"];
    held_in!(adjustments);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match (&event.event, event.stream.split_once('-')) {
            (Event::Adjustment(_), Some((_, id))) => vec![Touch::own(id, event)],
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        match &event.event {
            Event::Adjustment(AdjustmentEvent::Made(adjusted)) => Some(Self {
                id: event.stream.split_once('-')?.1.parse().ok()?,
                path: event.path.clone(),
                position: event.position,
                adjusted: adjusted.clone(),
                effective_at: event.effective_at,
                recorded_at: event.recorded_at,
                actor: event.actor,
                reason: event.reason.clone(),
                reversed_by: None,
                version: event.version,
            }),
            Event::Adjustment(AdjustmentEvent::Reversed { by }) => {
                before.map(|view| Self { reversed_by: Some(*by), version: event.version, ..view })
            }
            _ => before,
        }
    }

    fn index(&self) -> Index {
        Index {
            path: self.path.to_string(),
            owner: self.adjusted.customer.to_string(),
            sort: format!("{:020}", self.position),
            since: self.effective_at.timestamp_micros(),
            ..Index::default()
        }
    }
}
