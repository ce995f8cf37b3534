//! Which services a customer holds, itself or by one of its users: where the roles of services act.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::event::{Event, Recorded};
use domain::subscription::SubscriptionEvent;
use domain::{Bug, ServiceKey, TenantPath, planted};
use serde::{Deserialize, Serialize};

use super::{SubscriptionView, Views, held_in};
use crate::document::{Below, Index, Touch, View, Wants};

/// A customer's services: how many hold each, and from which moments on that changes. Its size depends on the
/// number of services and of what is still to come, not on how many hold them.
///
/// It cannot be folded from its events alone: whether a provisioning adds to what is held depends on the slot.
/// So what the slot's own document ([`SubscriptionView`]) holds is taken out of the counts before the event and
/// added after it ([`count`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldingView {
    /// The customer's place in the tree.
    pub path: TenantPath,
    /// The moment that the counts are of, in microseconds since 1970: that of the latest event.
    pub as_of: i64,
    /// The services that somebody holds or will hold.
    pub services: BTreeMap<ServiceKey, Count>,
}

/// How many hold a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Count {
    /// At the moment that the document is of.
    pub held: i64,
    /// Later moments, in microseconds since 1970, with how many more or less hold it from then on.
    pub changes: BTreeMap<i64, i64>,
}

impl HoldingView {
    /// Whether somebody holds a service at a moment.
    #[must_use]
    pub fn holds(&self, service: &ServiceKey, moment: DateTime<Utc>) -> bool {
        let Some(count) = self.services.get(service) else { return false };
        let until = count.changes.range(..=moment.timestamp_micros());
        count.held + until.map(|(_, change)| change).sum::<i64>() > 0
    }

    /// Adds what a slot holds, `times` (1 or -1).
    fn count(&mut self, slot: &SubscriptionView, times: i64) {
        let as_of = DateTime::from_timestamp_micros(self.as_of).unwrap_or(DateTime::UNIX_EPOCH);
        let count = self.services.entry(slot.service.clone()).or_default();
        let mut held = slot.held_at(as_of).is_some();
        count.held += times * i64::from(held);
        for fact in slot.scheduled_after(as_of) {
            let holds = slot.held_at(fact.effective_at).is_some();
            if holds != held {
                let change = if holds { times } else { -times };
                *count.changes.entry(fact.effective_at.timestamp_micros()).or_default() += change;
                held = holds;
            }
        }
    }

    /// Goes on to a later moment.
    fn go_on(&mut self, to: DateTime<Utc>) {
        self.as_of = self.as_of.max(to.timestamp_micros());
        for count in self.services.values_mut() {
            let later = count.changes.split_off(&(self.as_of + 1));
            count.held += std::mem::replace(&mut count.changes, later).values().sum::<i64>();
        }
    }

    /// Forgets what is nothing.
    fn tidy(&mut self) {
        self.services.retain(|_, count| {
            count.changes.retain(|_, change| *change != 0);
            count.held != 0 || !count.changes.is_empty()
        });
    }
}

/// Takes what a slot holds out of its customer's counts before the views are folded (`times` -1), or adds it
/// after that (1).
pub(super) fn count(
    event: &Recorded,
    times: i64,
    top: &mut Views,
    below: &impl Below,
    wants: &mut Wants,
) {
    for touch in HoldingView::touched(event) {
        let slot = SubscriptionView::touched(event).into_iter().next().and_then(|slot| {
            let known = SubscriptionView::of(top).get(&slot.key).cloned();
            // Where nothing is known of it, its own fold asks for it.
            known.or_else(|| below.document::<SubscriptionView>(&slot.key)).flatten()
        });
        crate::document::fold_with::<HoldingView>(&touch, top, below, wants, |before| {
            let mut view = before.unwrap_or_else(|| HoldingView {
                path: event.path.clone(),
                as_of: event.recorded_at.timestamp_micros(),
                services: BTreeMap::new(),
            });
            view.go_on(event.recorded_at);
            if let Some(slot) = &slot
                && !(times < 0 && planted(Bug::HoldingCountsTwice))
            {
                view.count(slot, times);
            }
            if times > 0 {
                view.tidy();
            }
            Some(view)
        });
    }
}

/// Takes what a customer holds along: what was counted at one place is counted at the other.
pub(super) fn relocate(
    from: &TenantPath,
    to: &TenantPath,
    top: &mut Views,
    below: &impl Below,
    wants: &mut Wants,
) {
    let mut held = None;
    crate::document::fold_with::<HoldingView>(
        &Touch::existing(from),
        top,
        below,
        wants,
        |before| {
            let mut view = before?;
            let services = std::mem::take(&mut view.services);
            held = Some(HoldingView { path: to.clone(), as_of: view.as_of, services });
            Some(view)
        },
    );
    crate::document::fold_with::<HoldingView>(&Touch::existing(to), top, below, wants, |before| {
        held.or(before)
    });
}

/// Forgets what is counted at two places.
pub(super) fn forget(from: &TenantPath, to: &TenantPath, views: &mut Views) {
    for path in [from, to] {
        HoldingView::of_mut(views).forget(path.as_str());
    }
}

/// Notes what is counted at two places, where nothing is known of it.
pub(super) fn miss(from: &TenantPath, to: &TenantPath, views: &Views, wants: &mut Wants) {
    for path in [from, to] {
        if HoldingView::of(views).get(path.as_str()).is_none() {
            wants.add(HoldingView::TABLE, path.as_str());
        }
    }
}

impl View for HoldingView {
    const TABLE: &'static str = "view_holding";
    const INDEXES: &'static [&'static str] = &[];
    held_in!(holdings);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match &event.event {
            Event::Subscription(
                SubscriptionEvent::Provisioned { .. }
                | SubscriptionEvent::DeprovisionRequested { .. }
                | SubscriptionEvent::RequestCancelled { .. }
                | SubscriptionEvent::RequestReset { .. }
                | SubscriptionEvent::Superseded { .. },
            ) => vec![Touch::existing(&event.path)],
            _ => vec![],
        }
    }

    /// Not from the event alone: see [`count`].
    fn evolve(before: Option<Self>, _event: &Recorded) -> Option<Self> {
        before
    }

    fn index(&self) -> Index {
        Index { path: self.path.to_string(), ..Index::default() }
    }
}
