//! States of deciders, as they are known: a file's worth of map for each.

use std::collections::HashMap;
use std::sync::Arc;

use domain::Decider;
use domain::approval::Approval;
use domain::billing::adjustment::Adjustment;
use domain::billing::books::Books;
use domain::billing::rulebook::Rulebook;
use domain::billing_calendar::BillingCalendar;
use domain::bulk::Bulk;
use domain::event::{Event, Recorded};
use domain::organization::Organization;
use domain::permission::CustomPermission;
use domain::pricing::Pricing;
use domain::role::Role;
use domain::service::Service;
use domain::subscription::Subscription;
use domain::usage::Usage;
use domain::user::User;

/// A decider's state, and the version of the stream that it was folded from. Version 0: no events.
#[derive(Clone, Debug, Default)]
pub(crate) struct State<D> {
    /// Of the last event.
    pub version: u64,
    /// The state after it.
    pub decider: Arc<D>,
}

/// States of one decider, by stream.
pub(crate) type Known<D> = HashMap<String, State<D>>;

/// A decider whose states are kept among those of all.
pub(crate) trait Held: Decider {
    /// Its states.
    fn of(states: &States) -> &Known<Self>;
    /// Its states, to change them.
    fn of_mut(states: &mut States) -> &mut Known<Self>;
}

/// Declares the deciders: the struct that holds their states, and what is done for each in turn.
macro_rules! deciders {
    ($($field:ident: $decider:ident,)*) => {
        /// States of every decider: a layer of an overlay, or a cache.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct States {
            $($field: Known<$decider>,)*
        }

        $(impl Held for $decider {
            fn of(states: &States) -> &Known<Self> {
                &states.$field
            }

            fn of_mut(states: &mut States) -> &mut Known<Self> {
                &mut states.$field
            }
        })*

        impl States {
            /// Takes over what a newer layer knows.
            pub(crate) fn absorb(&mut self, newer: Self) {
                $(if self.$field.is_empty() {
                    self.$field = newer.$field;
                } else {
                    self.$field.extend(newer.$field);
                })*
            }

            /// Forgets a stream.
            pub(crate) fn forget(&mut self, stream: &str) {
                $(self.$field.remove(stream);)*
            }

            /// How many states are known.
            #[must_use]
            pub(crate) fn len(&self) -> usize {
                0 $(+ self.$field.len())*
            }

            /// Whether the state of a stream is known.
            #[must_use]
            pub(crate) fn knows(&self, stream: &str) -> bool {
                let category = category(stream);
                $((category == $decider::CATEGORY && self.$field.contains_key(stream)))||*
            }

            /// Notes that a stream has no events, until some are folded.
            pub(crate) fn begin(&mut self, stream: &str) {
                let category = category(stream);
                $(if category == $decider::CATEGORY {
                    self.$field.insert(stream.to_owned(), State::default());
                })*
            }

            /// Folds a stored event into its stream's state.
            pub(crate) fn fold(&mut self, event: &Recorded) {
                match &event.event {
                    $(Event::$decider(happened) => {
                        let state = self.$field.entry(event.stream.clone()).or_default();
                        let decider = Arc::unwrap_or_clone(std::mem::take(&mut state.decider));
                        state.decider = Arc::new(decider.evolve(happened, event.effective_at));
                        state.version = event.version;
                    })*
                }
            }
        }
    };
}

fn category(stream: &str) -> &str {
    stream.split_once('-').map_or(stream, |(category, _)| category)
}

deciders! {
    adjustments: Adjustment,
    approvals: Approval,
    billing_calendars: BillingCalendar,
    books: Books,
    bulks: Bulk,
    organizations: Organization,
    permissions: CustomPermission,
    pricing: Pricing,
    roles: Role,
    rulebooks: Rulebook,
    services: Service,
    subscriptions: Subscription,
    usage: Usage,
    users: User,
}
