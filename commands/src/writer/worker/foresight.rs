//! What commands are about to ask for, so that it is loaded before they do: what they find missing is loaded in rounds,
//! and each round runs all commands of a batch again. A wrong guess costs a load for nothing.

use chrono::{DateTime, Utc};
use domain::billing_calendar::BillingCalendar;
use domain::organization::Organization;
use domain::service::Service;
use domain::subscription::Subscription;
use domain::user::User;
use domain::{Decider, OrganizationId};
use projections::views::{AccessView, ActivityView, OrganizationView, SubscriptionView};
use projections::{View, Wants};

use crate::cache::{self, Layer};
use crate::state::Held;
use crate::unit::{REPLIES, STREAMS, stream};

/// What one of the layers knows, the newest first, is not asked for.
pub(super) struct Foresight<'a> {
    pub layers: &'a [&'a Layer],
    /// What else is wanted.
    pub wants: Wants,
}

impl<'a> Foresight<'a> {
    /// Wants a stream.
    pub(super) fn stream(&mut self, stream: &str) {
        if !self.layers.iter().any(|layer| layer.states.knows(stream)) {
            self.wants.add(STREAMS, stream);
        }
    }

    /// Wants the answer that is kept under a key.
    pub(super) fn reply(&mut self, key: &str) {
        if cache::reply(self.layers.iter().copied(), key).is_none() {
            self.wants.add(REPLIES, key);
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

    /// Wants what happened on the day of a moment at an organisation whose document is known: the command will add to it.
    pub(super) fn day(&mut self, organization: &str, moment: DateTime<Utc>) {
        let layers = self.layers.iter().copied();
        let document = cache::document::<OrganizationView>(layers, organization);
        if let Some(Some(organization)) = document {
            self.document::<ActivityView>(&ActivityView::key(&organization.path, moment));
        }
    }

    fn state<D: Held + Decider>(&self, stream: &str) -> Option<&'a D> {
        let state = cache::state::<D>(self.layers.iter().copied(), stream)?;
        Some(&state.decider)
    }

    /// Wants what the state of a stream leads to, once it is known: from a subscription to who has it and what of, from a
    /// user to where he is, from an organisation to who is above it.
    pub(super) fn follow(&mut self, of: &str) {
        let Some((category, id)) = of.split_once('-') else { return };
        match category {
            Organization::CATEGORY => {
                self.stream(&stream::<BillingCalendar>(id));
                self.document::<OrganizationView>(id);
                let founded = self.state::<Organization>(of).and_then(|it| it.founded().ok());
                if let Some(parent) = founded.and_then(|founded| founded.parent) {
                    self.organization(parent);
                }
            }
            User::CATEGORY => {
                self.document::<AccessView>(id);
                let known = self.state::<User>(of).and_then(|it| it.known().ok());
                if let Some(known) = known {
                    self.organization(known.organization);
                }
            }
            Subscription::CATEGORY => {
                let slot = self.state::<Subscription>(of);
                // A slot that was never used has no document.
                let Some(request) = slot.and_then(|it| it.asked_at(DateTime::<Utc>::MAX_UTC))
                else {
                    return;
                };
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
