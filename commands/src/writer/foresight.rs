//! What commands are about to ask for, so that it is loaded before they do: what they find missing is loaded in rounds,
//! and each round runs all commands of a batch again. A wrong guess costs a load for nothing.

use chrono::{DateTime, Utc};
use domain::billing_calendar::BillingCalendar;
use domain::organization::Organization;
use domain::service::Service;
use domain::subscription::Subscription;
use domain::user::User;
use domain::{Decider as _, OrganizationId};
use projections::views::{AccessView, OrganizationView, SubscriptionView};
use projections::{View, Wants};

use crate::cache::{self, Layer};
use crate::unit::{STREAMS, stream};

/// What one of the layers knows, the newest first, is not asked for.
pub(super) struct Foresight<'a> {
    pub layers: &'a [&'a Layer],
    /// What else is wanted.
    pub wants: Wants,
}

impl Foresight<'_> {
    /// Wants a stream.
    pub(super) fn stream(&mut self, stream: &str) {
        if !self.layers.iter().any(|layer| layer.states.knows(stream)) {
            self.wants.add(STREAMS, stream);
        }
    }

    /// Wants a document.
    fn document<V: View>(&mut self, key: &str) {
        if cache::document::<V>(self.layers.iter().copied(), key).is_none() {
            self.wants.add(V::TABLE, key);
        }
    }

    fn organization(&mut self, id: OrganizationId) {
        self.stream(&stream::<Organization>(id));
        self.stream(&stream::<BillingCalendar>(id));
    }

    /// Wants what the state of a stream leads to, once it is known: from a subscription to who has it and what of, from a
    /// user to where he is, from an organisation to who is above it.
    pub(super) fn follow(&mut self, of: &str) {
        let Some((category, id)) = of.split_once('-') else { return };
        match category {
            Organization::CATEGORY => {
                self.stream(&stream::<BillingCalendar>(id));
                self.document::<OrganizationView>(id);
                let state = cache::state::<Organization>(self.layers.iter().copied(), of);
                let founded = state.and_then(|state| state.decider.founded().ok());
                if let Some(parent) = founded.and_then(|founded| founded.parent) {
                    self.organization(parent);
                }
            }
            User::CATEGORY => {
                self.document::<AccessView>(id);
                let state = cache::state::<User>(self.layers.iter().copied(), of);
                let known = state.and_then(|state| state.decider.known().ok());
                if let Some(organization) = known.map(|known| known.organization) {
                    self.organization(organization);
                }
            }
            Subscription::CATEGORY => {
                let state = cache::state::<Subscription>(self.layers.iter().copied(), of);
                let last =
                    state.and_then(|it| it.decider.asked_at(DateTime::<Utc>::MAX_UTC).cloned());
                // A slot that was never used has no document.
                let Some(request) = last else { return };
                self.document::<SubscriptionView>(id);
                self.stream(&stream::<Service>(&request.service.key));
                self.organization(request.customer.id);
                if let Some(user) = &request.user {
                    self.stream(&stream::<User>(user.id));
                }
            }
            _ => {}
        }
    }
}
