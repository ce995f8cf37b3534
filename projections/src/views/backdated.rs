//! Facts that are true earlier than they were recorded, or that take such facts back: what may touch closed periods.

use chrono::{DateTime, Utc};
use domain::event::{Event, Recorded};
use domain::organization::OrganizationEvent;
use domain::subscription::{Phase, SubscriptionEvent};
use domain::usage::UsageEvent;
use domain::{OrganizationId, SubscriptionId, TenantPath};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// One such fact: never changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackdatedView {
    /// The position of the fact.
    pub position: u64,
    /// The customer's place in the tree.
    pub path: TenantPath,
    /// What it is about.
    pub subject: Subject,
    /// From when on it is true; none: it takes back others, which the slot tells of.
    pub from: Option<DateTime<Utc>>,
}

/// What such a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Subject {
    /// One slot.
    Subscription(SubscriptionId),
    /// All that a customer has: somebody else bills it.
    Customer(OrganizationId),
}

/// What an event says about the past, if anything.
fn said(event: &Recorded) -> Option<BackdatedView> {
    let backdated = (event.effective_at < event.recorded_at).then_some(event.effective_at);
    let (from, path, is_about_slot) = match &event.event {
        Event::Subscription(happened) if happened.phase() == Phase::Withdrawn => {
            (None, &event.path, true)
        }
        Event::Subscription(SubscriptionEvent::Superseded { was_at, .. }) => {
            (Some((*was_at).min(event.effective_at)), &event.path, true)
        }
        Event::Subscription(_) => {
            let from = backdated?;
            let is_about_money =
                crate::ledger::fact(event).is_some() || crate::ledger::rest(event).is_some();
            (Some(is_about_money.then_some(from)?), &event.path, true)
        }
        Event::Usage(_) => (Some(backdated?), &event.path, true),
        Event::Organization(OrganizationEvent::Moved { path, .. }) => {
            (Some(backdated?), path, false)
        }
        Event::Organization(OrganizationEvent::BilledBy { .. }) => {
            (Some(backdated?), &event.path, false)
        }
        _ => return None,
    };
    let id = match &event.event {
        Event::Usage(UsageEvent::Recorded(reading)) => &reading.subscription.to_string(),
        _ => event.stream.split_once('-')?.1,
    };
    let subject = match is_about_slot {
        true => Subject::Subscription(id.parse().ok()?),
        false => Subject::Customer(id.parse().ok()?),
    };
    Some(BackdatedView { position: event.position, path: path.clone(), subject, from })
}

impl View for BackdatedView {
    const TABLE: &'static str = "view_backdated";
    const INDEXES: &'static [&'static str] = &["path, sort"];
    const MOVES: bool = true;
    held_in!(backdated);

    fn touched(event: &Recorded) -> Vec<Touch> {
        let is_there = said(event).is_some();
        is_there.then(|| Touch::fresh(format_args!("{:020}", event.position))).into_iter().collect()
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        said(event).or(before)
    }

    fn relocate(&mut self, to: &TenantPath) {
        self.path = to.clone();
    }

    fn index(&self) -> Index {
        Index {
            path: self.path.to_string(),
            sort: format!("{:020}", self.position),
            since: self.from.map_or(i64::MIN, |from| from.timestamp_micros()),
            ..Index::default()
        }
    }
}
