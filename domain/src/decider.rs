//! What every decider has in common.

use chrono::{DateTime, Utc};

use crate::Refusal;
use crate::event::Event;

/// Rebuilds itself from its stream, and turns a command into facts.
pub trait Decider: Default + Clone + Send + Sync + 'static {
    /// Prefix of the stream's name. Stored, so never renamed.
    const CATEGORY: &'static str;
    /// A wish.
    type Command;
    /// A fact of this decider.
    type Event: Into<Event> + TryFrom<Event>;

    /// The facts that follow; none if the wish is already true.
    ///
    /// `effective_at` is when the wish is to be true in the business: a command is judged against
    /// the state at that moment, not at now (billing.md, section 2).
    ///
    /// # Errors
    /// The refusal, where the wish cannot be granted.
    fn decide(
        &self,
        command: Self::Command,
        effective_at: DateTime<Utc>,
    ) -> Result<Vec<Self::Event>, Refusal>;

    /// The state after a fact that is true from `effective_at`. Total: history cannot be refused.
    #[must_use]
    fn evolve(self, event: &Self::Event, effective_at: DateTime<Utc>) -> Self;
}

/// Lets a decider's events travel as [`Event`]s.
macro_rules! events_of {
    ($variant:ident, $event:ty) => {
        impl From<$event> for Event {
            fn from(event: $event) -> Self {
                Self::$variant(event)
            }
        }

        impl TryFrom<Event> for $event {
            type Error = Event;

            fn try_from(event: Event) -> Result<Self, Event> {
                match event {
                    Event::$variant(event) => Ok(event),
                    other => Err(other),
                }
            }
        }
    };
}

events_of!(Organization, crate::organization::OrganizationEvent);
events_of!(User, crate::user::UserEvent);
events_of!(Service, crate::service::ServiceEvent);
events_of!(Role, crate::role::RoleEvent);
events_of!(CustomPermission, crate::permission::PermissionEvent);
events_of!(Subscription, crate::subscription::SubscriptionEvent);
events_of!(Approval, crate::approval::ApprovalEvent);
events_of!(Books, crate::billing::books::BooksEvent);
events_of!(Rulebook, crate::billing::rulebook::RulebookEvent);
events_of!(Bulk, crate::bulk::BulkEvent);
events_of!(Usage, crate::usage::UsageEvent);
events_of!(Pricing, crate::pricing::PricingEvent);
events_of!(BillingCalendar, crate::billing_calendar::BillingCalendarEvent);

/// `given(facts).when(command).then(facts)`: how a decider is tested. Every fact also goes through
/// its stored form and back.
#[cfg(test)]
pub(crate) mod testing {
    use std::fmt::Debug;

    use super::*;
    use crate::event::Event;

    /// Midnight of a day in November 2019, when all tests of deciders happen.
    pub(crate) fn november(day: u32) -> DateTime<Utc> {
        chrono::NaiveDate::from_ymd_opt(2019, 11, day)
            .and_then(|date| date.and_hms_opt(0, 0, 0))
            .expect("a day of November")
            .and_utc()
    }

    pub(crate) struct Given<D: Decider>(D);

    pub(crate) struct Then<D: Decider>(Result<Vec<D::Event>, Refusal>);

    pub(crate) fn given<D: Decider>(facts: impl IntoIterator<Item = (u32, D::Event)>) -> Given<D>
    where
        D::Event: Clone,
    {
        Given(facts.into_iter().fold(D::default(), |state, (day, fact)| {
            state.evolve(&stored_and_read::<D>(fact), november(day))
        }))
    }

    fn stored_and_read<D: Decider>(fact: D::Event) -> D::Event {
        let event: Event = fact.into();
        let shape = event.encode();
        let read = Event::decode(&shape.kind, shape.schema, &shape.payload).expect("reads back");
        assert_eq!(read, event);
        D::Event::try_from(read).ok().expect("its own kind")
    }

    impl<D: Decider> Given<D> {
        pub(crate) fn when(self, day: u32, command: D::Command) -> Then<D> {
            Then(self.0.decide(command, november(day)))
        }
    }

    impl<D: Decider> Then<D>
    where
        D::Event: Clone + PartialEq + Debug,
    {
        pub(crate) fn then(self, expected: impl IntoIterator<Item = D::Event>) {
            let facts = self.0.expect("granted");
            for fact in &facts {
                stored_and_read::<D>(fact.clone());
            }
            assert_eq!(facts, expected.into_iter().collect::<Vec<_>>());
        }

        pub(crate) fn then_nothing(self) {
            self.then([]);
        }

        pub(crate) fn then_refused(self, code: &str) {
            assert_eq!(self.0.expect_err("refused").code, code);
        }
    }
}
