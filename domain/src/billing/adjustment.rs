//! Adjustments: what somebody charges once, or gives back, by hand (billing.md, sections 2 and 5).
//!
//! Each is a stream of its own, so that making one costs the same whatever was made before. It is of a customer's account,
//! of one of its subscriptions, or of the account that a reseller has with who sells to it, and is billed as it is: no price,
//! no days, no count.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::calendar::following;
use super::merkle::Hash;
use super::{
    Action, BillingSettings, Class, ComponentKey, Correction, DayPolicy, Entry, Kind, Period,
};
use crate::decider::Decider;
use crate::money::{Money, Ratio, UnitPrice};
use crate::{
    AdjustmentId, Bug, OrganizationId, PlanKey, Refusal, ServiceKey, SubscriptionId, planted,
};

/// Longest description of an adjustment, in characters.
pub const DESCRIPTION_MAX_CHARS: usize = 200;

/// What is charged or given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Adjusted {
    /// So much; less than nothing is given back.
    pub amount: Money,
    /// The reseller who is charged, on the edge to it; none: the customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buyer: Option<OrganizationId>,
    /// Whom: a customer, or that reseller.
    pub customer: OrganizationId,
    /// As who is charged reads it.
    pub description: String,
    /// What it is about; none: the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<AdjustedSubscription>,
    /// The earlier one that it takes back, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverses: Option<AdjustmentId>,
    /// By whom.
    pub seller: OrganizationId,
}

/// The subscription that an adjustment is about, as it was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdjustedSubscription {
    /// The plan held.
    pub plan: PlanKey,
    /// What is held.
    pub service: ServiceKey,
    /// The slot.
    pub subscription: SubscriptionId,
}

/// A wish about an adjustment.
#[derive(Clone, Debug)]
pub enum AdjustmentCommand {
    /// Make it.
    Make(Box<Adjusted>),
    /// Note that another one takes it back.
    Reverse(AdjustmentId),
}

/// A fact about an adjustment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AdjustmentEvent {
    /// It was made.
    #[serde(rename = "adjustment.made")]
    Made(Adjusted),
    /// Another one took it back.
    #[serde(rename = "adjustment.reversed")]
    Reversed {
        /// Which.
        by: AdjustmentId,
    },
}

/// An adjustment as its stream tells.
#[derive(Clone, Debug, Default)]
pub struct Adjustment {
    /// What it is; none: there is none.
    pub made: Option<Adjusted>,
    /// What took it back, if anything did.
    pub reversed_by: Option<AdjustmentId>,
}

impl Decider for Adjustment {
    const CATEGORY: &'static str = "adjustment";
    type Command = AdjustmentCommand;
    type Event = AdjustmentEvent;

    fn decide(
        &self,
        command: Self::Command,
        _effective_at: DateTime<Utc>,
    ) -> Result<Vec<Self::Event>, Refusal> {
        match (&self.made, command) {
            (None, AdjustmentCommand::Make(adjusted)) => Ok(vec![AdjustmentEvent::Made(*adjusted)]),
            (Some(_), AdjustmentCommand::Make(_)) => Ok(vec![]),
            (None, AdjustmentCommand::Reverse(_)) => Err(Refusal::not_found()),
            (Some(Adjusted { reverses: Some(_), .. }), AdjustmentCommand::Reverse(_)) => {
                let detail = "It takes another one back itself; make a new one instead.";
                Err(Refusal::conflict("is_reversal", detail))
            }
            (Some(_), AdjustmentCommand::Reverse(_))
                if self.reversed_by.is_some() && !planted(Bug::AdjustmentReversedTwice) =>
            {
                Err(Refusal::conflict("already_reversed", "It was taken back before."))
            }
            (Some(_), AdjustmentCommand::Reverse(by)) => Ok(vec![AdjustmentEvent::Reversed { by }]),
        }
    }

    fn evolve(self, event: &Self::Event, _effective_at: DateTime<Utc>) -> Self {
        match event {
            AdjustmentEvent::Made(adjusted) => Self { made: Some(adjusted.clone()), ..self },
            AdjustmentEvent::Reversed { by } => Self { reversed_by: Some(*by), ..self },
        }
    }
}

/// What an entry that was made by hand says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manual {
    /// Of which adjustment it is.
    pub adjustment: AdjustmentId,
    /// As the customer reads it.
    pub description: String,
    /// The entry of the adjustment that it takes back, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverses: Option<String>,
}

/// An adjustment with all that is known about its making.
#[derive(Clone, Copy, Debug)]
pub struct ManualCharge<'a> {
    /// Who made it, as people read it.
    pub actor: &'a str,
    /// What it is.
    pub adjusted: &'a Adjusted,
    /// When it is true.
    pub effective_at: DateTime<Utc>,
    /// Which.
    pub id: AdjustmentId,
    /// The place of its making in the log.
    pub position: u64,
    /// Why.
    pub reason: Option<&'a str>,
}

impl ManualCharge<'_> {
    /// The period of its date.
    #[must_use]
    pub fn period(&self, settings: &BillingSettings) -> Period {
        settings.period_containing(settings.local_date(self.effective_at))
    }

    /// Its entry, booked in the period `into`: where that is not the period of its date, which is closed then, it is a
    /// correction.
    #[must_use]
    pub fn entry(&self, settings: &BillingSettings, into: &Period) -> Entry {
        let Adjusted { amount, buyer, customer, description, of, reverses, seller } = self.adjusted;
        let (customer, seller) = (*customer, *seller);
        let date = settings.local_date(self.effective_at);
        let period = self.period(settings);
        let is_late = period.end != into.end;
        let exact = Ratio::whole(amount.minor);
        let unit_price = UnitPrice::new(exact, amount.currency);
        let (plan, service, subscription) = match of {
            Some(of) => (of.plan.clone(), of.service.clone(), of.subscription),
            None => {
                (PlanKey::adjustment(), ServiceKey::account(), SubscriptionId::of_account(customer))
            }
        };
        Entry {
            action: Action::Added,
            actor: self.actor.to_owned(),
            added_by: self.actor.to_owned(),
            amount: *amount,
            buyer: *buyer,
            causes: vec![self.position],
            class: if is_late { Class::Correction } else { Class::Normal },
            component: ComponentKey::MANUAL,
            correction: is_late.then(|| Correction {
                adjustment_id: self.id.to_string(),
                booked_end: into.end,
                rebooks: None,
                reverses: None,
            }),
            count_after: 0,
            count_before: 0,
            customer,
            days: 1,
            effective_at: self.effective_at,
            entry_id: entry_id(self.id),
            exact,
            exchange: Vec::new(),
            kind: Kind::Manual,
            manual: Some(Manual {
                adjustment: self.id,
                description: description.clone(),
                reverses: reverses.map(entry_id),
            }),
            measured: None,
            period_days: 1,
            period_end: period.end,
            plan,
            policy: DayPolicy::default(),
            price_losers: Vec::new(),
            price_sources: Vec::new(),
            property_change: None,
            quantity: 1,
            reason: self.reason.map(str::to_owned),
            removed_by: None,
            seller,
            service,
            service_from: date,
            service_to: following(date),
            subscription,
            unit_price: unit_price.expect("an amount that was entered is within the bounds"),
            waiver: None,
        }
    }
}

impl Entry {
    /// Whether it is of an account, and of no subscription.
    #[must_use]
    pub fn is_of_account(&self) -> bool {
        self.subscription == SubscriptionId::of_account(self.customer)
    }
}

/// An adjustment has one entry, wherever it is booked.
fn entry_id(adjustment: AdjustmentId) -> String {
    Hash(Sha256::digest(format!("manual {adjustment}")).into()).to_string()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::CalendarRule;
    use super::*;
    use crate::decider::testing::given;
    use crate::money::Currency;

    fn id(number: u128) -> AdjustmentId {
        AdjustmentId(Uuid::from_u128(number))
    }

    fn credit(reverses: Option<AdjustmentId>) -> Adjusted {
        Adjusted {
            amount: Money::new(-1_250, Currency::parse("EUR").unwrap()),
            buyer: None,
            customer: OrganizationId(Uuid::from_u128(30)),
            description: "Goodwill".to_owned(),
            of: None,
            reverses,
            seller: OrganizationId(Uuid::from_u128(1)),
        }
    }

    #[test]
    fn an_adjustment_is_made_once_and_taken_back_once() {
        let make = || AdjustmentCommand::Make(Box::new(credit(None)));
        let made = AdjustmentEvent::Made(credit(None));
        given::<Adjustment>([]).when(1, make()).then([made.clone()]);
        given::<Adjustment>([(1, made.clone())]).when(2, make()).then_nothing();
        let reversed = AdjustmentEvent::Reversed { by: id(5) };
        given::<Adjustment>([(1, made.clone())])
            .when(2, AdjustmentCommand::Reverse(id(5)))
            .then([reversed.clone()]);
        given::<Adjustment>([(1, made), (2, reversed)])
            .when(3, AdjustmentCommand::Reverse(id(6)))
            .then_refused("already_reversed");
        given::<Adjustment>([])
            .when(1, AdjustmentCommand::Reverse(id(5)))
            .then_refused("not_found");
        given::<Adjustment>([(1, AdjustmentEvent::Made(credit(Some(id(4)))))])
            .when(2, AdjustmentCommand::Reverse(id(5)))
            .then_refused("is_reversal");
    }

    #[test]
    fn an_adjustment_is_booked_in_the_period_of_its_date_or_in_a_later_one_as_a_correction() {
        let settings = BillingSettings::new(
            Currency::parse("EUR").unwrap(),
            CalendarRule::CalendarMonth,
            chrono_tz::UTC,
        );
        let adjusted = credit(None);
        let charge = ManualCharge {
            actor: "system",
            adjusted: &adjusted,
            effective_at: "2020-01-20T10:00:00Z".parse().unwrap(),
            id: id(9),
            position: 77,
            reason: Some("an outage"),
        };
        let january = charge.period(&settings);
        assert_eq!(january.label(), "2020-01-31");
        let own = charge.entry(&settings, &january);
        assert_eq!((own.class, own.booked_end()), (Class::Normal, january.end));
        assert_eq!((own.count_before, own.count_after, own.quantity), (0, 0, 1));
        assert!(own.is_of_account() && own.correction.is_none());
        let february = settings.next(january);
        let late = charge.entry(&settings, &february);
        assert_eq!((late.class, late.booked_end()), (Class::Correction, february.end));
        assert_eq!((late.period_end, late.amount), (january.end, own.amount));
        assert_eq!(late.entry_id, own.entry_id, "it is one entry, wherever it is booked");
        let stored = serde_json::to_string(&late).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&stored).unwrap(), late);
        // A reseller has it for itself: it stands in his part of the books.
        let reseller = adjusted.customer;
        let adjusted = Adjusted { buyer: Some(reseller), ..adjusted.clone() };
        let wholesale = ManualCharge { adjusted: &adjusted, ..charge }.entry(&settings, &january);
        assert_eq!((wholesale.buyer, wholesale.bought_by()), (Some(reseller), reseller));
        assert!(wholesale.is_of_account());
    }
}
