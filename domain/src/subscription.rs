//! Subscriptions: one service held by one customer or user; the *slot* that billing speaks of.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::billing::{Change, Fact, Holding, Timeline};
use crate::decider::Decider;
use crate::overrides::ResolvedProperty;
use crate::seal::Sealed;
use crate::service::Level;
use crate::text::Code;
use crate::{CommandId, OrganizationId, PlanKey, Refusal, ServiceKey, SubscriptionId, UserId};

/// Most units of one subscription.
pub const QUANTITY_MAX: u32 = 1_000_000;

/// Everything that a wish is built from, as it was when it was made: what is changed later does not
/// change what was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The customer who holds it, or whose user does.
    pub customer: RequestCustomer,
    /// The command that asked; also names the request.
    pub id: CommandId,
    /// The instance's name, where the service has many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The plan with its properties, overrides resolved.
    pub plan: RequestPlan,
    /// Units.
    pub quantity: u32,
    /// The service, and the version of its definition that is used.
    pub service: RequestService,
    /// Its slot.
    pub subscription: SubscriptionId,
    /// The user who holds it, for a user service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<RequestUser>,
}

/// The customer of a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestCustomer {
    /// Short name.
    pub code: Code,
    /// Id.
    pub id: OrganizationId,
    /// Name.
    pub name: String,
    /// The billing API's id.
    pub number: u32,
}

/// The plan of a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestPlan {
    /// Names it.
    pub key: PlanKey,
    /// As people read it.
    pub name: String,
    /// Each with where its value comes from.
    pub properties: Vec<ResolvedProperty>,
    /// Stock code.
    pub sku: String,
}

/// The service of a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestService {
    /// Names it.
    pub key: ServiceKey,
    /// To whom it is provisioned.
    pub level: Level,
    /// As people read it.
    pub name: String,
    /// Of the definition.
    pub version: u32,
}

/// The user of a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestUser {
    /// Id.
    pub id: UserId,
    /// Who it was then.
    pub person: Sealed,
}

/// A wish about a subscription.
///
/// A service without rules has nothing to do in the outside world: its request is started and
/// completed at once, and all three are facts.
#[derive(Clone, Debug)]
pub enum SubscriptionCommand {
    /// Assign the service.
    Provision(Request),
    /// Go over to the request's plan and quantity.
    Change(Request),
    /// Take the service away. The request is named by its command.
    Deprovision(CommandId),
}

/// A fact about a subscription. Outcomes bill; requests and their starts do not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum SubscriptionEvent {
    /// The service was asked for.
    #[serde(rename = "subscription.provision_requested")]
    ProvisionRequested {
        /// All that was asked.
        request: Box<Request>,
    },
    /// Work on it began.
    #[serde(rename = "subscription.provision_started")]
    ProvisionStarted {
        /// Of which request.
        request: CommandId,
    },
    /// The service is there: a billable event has occurred.
    #[serde(rename = "subscription.provisioned")]
    Provisioned {
        /// The plan that is held from now on.
        plan: PlanKey,
        /// How many of it.
        quantity: u32,
        /// Which request is done.
        request: CommandId,
    },
    /// Another plan or quantity was asked for.
    #[serde(rename = "subscription.change_requested")]
    ChangeRequested {
        /// All that was asked.
        request: Box<Request>,
    },
    /// Work on it began.
    #[serde(rename = "subscription.change_started")]
    ChangeStarted {
        /// Of which request.
        request: CommandId,
    },
    /// The change is made.
    #[serde(rename = "subscription.changed")]
    Changed {
        /// The plan that is held from now on.
        plan: PlanKey,
        /// How many of it.
        quantity: u32,
        /// Which request is done.
        request: CommandId,
    },
    /// The service was asked to be taken away.
    #[serde(rename = "subscription.deprovision_requested")]
    DeprovisionRequested {
        /// The request.
        request: CommandId,
    },
    /// Work on it began.
    #[serde(rename = "subscription.deprovision_started")]
    DeprovisionStarted {
        /// Of which request.
        request: CommandId,
    },
    /// The service is gone.
    #[serde(rename = "subscription.deprovisioned")]
    Deprovisioned {
        /// Which request is done.
        request: CommandId,
    },
}

impl SubscriptionEvent {
    /// What it does to what is held, if anything: the only thing that billing hears of.
    #[must_use]
    pub fn change(&self) -> Option<Change> {
        match self {
            Self::Provisioned { plan, quantity, .. } => {
                Some(Change::Provisioned { plan: plan.clone(), quantity: *quantity })
            }
            Self::Changed { plan, quantity, .. } => {
                Some(Change::Changed { plan: plan.clone(), quantity: *quantity })
            }
            Self::Deprovisioned { .. } => Some(Change::Deprovisioned),
            Self::ProvisionRequested { .. }
            | Self::ProvisionStarted { .. }
            | Self::ChangeRequested { .. }
            | Self::ChangeStarted { .. }
            | Self::DeprovisionRequested { .. }
            | Self::DeprovisionStarted { .. } => None,
        }
    }
}

/// A subscription as its stream tells.
#[derive(Clone, Debug, Default)]
pub struct Subscription {
    /// The latest request that said what is to be held.
    pub request: Option<Request>,
    timeline: Timeline,
}

impl Subscription {
    /// When it has to be ended so that nothing is held any more from `moment` on: then, if anything is, and
    /// whenever something is to begin later.
    #[must_use]
    pub fn ends_from(&self, moment: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let begins = |fact: &&Fact| {
            fact.effective_at > moment && matches!(fact.change, Change::Provisioned { .. })
        };
        let later = self.timeline.facts().iter().filter(begins).map(|fact| fact.effective_at);
        let mut ends: Vec<_> =
            self.held_at(moment).map(|_| moment).into_iter().chain(later).collect();
        ends.dedup();
        ends
    }

    /// What is held at a moment; none where nothing is.
    #[must_use]
    pub fn held_at(&self, moment: DateTime<Utc>) -> Option<Holding<'_>> {
        self.timeline.state_at(moment)
    }

    /// Whether it was taken away at a moment or before.
    fn ended_by(&self, moment: DateTime<Utc>) -> bool {
        let mut until = self.timeline.facts().iter().take_while(|fact| fact.effective_at <= moment);
        until.any(|fact| fact.change == Change::Deprovisioned)
    }
}

impl Decider for Subscription {
    const CATEGORY: &'static str = "subscription";
    type Command = SubscriptionCommand;
    type Event = SubscriptionEvent;

    fn decide(
        &self,
        command: Self::Command,
        effective_at: DateTime<Utc>,
    ) -> Result<Vec<Self::Event>, Refusal> {
        use SubscriptionCommand as C;
        use SubscriptionEvent as E;
        match (self.held_at(effective_at), command) {
            (Some(held), C::Provision(request) | C::Change(request))
                if held == request.holding() =>
            {
                Ok(vec![])
            }
            (Some(_), C::Provision(_)) => Err(Refusal::conflict(
                "already_provisioned",
                "This service is provisioned with other settings; use change.",
            )),
            (None, C::Provision(request)) => Ok(vec![
                E::ProvisionRequested { request: Box::new(request.clone()) },
                E::ProvisionStarted { request: request.id },
                E::Provisioned {
                    plan: request.plan.key,
                    quantity: request.quantity,
                    request: request.id,
                },
            ]),
            (Some(_), C::Change(request)) => Ok(vec![
                E::ChangeRequested { request: Box::new(request.clone()) },
                E::ChangeStarted { request: request.id },
                E::Changed {
                    plan: request.plan.key,
                    quantity: request.quantity,
                    request: request.id,
                },
            ]),
            (Some(_), C::Deprovision(request)) => Ok(vec![
                E::DeprovisionRequested { request },
                E::DeprovisionStarted { request },
                E::Deprovisioned { request },
            ]),
            (None, C::Deprovision(_)) if self.ended_by(effective_at) => Ok(vec![]),
            (None, C::Change(_) | C::Deprovision(_)) => Err(Refusal::conflict(
                "not_provisioned",
                format!("Nothing is provisioned here on {}.", effective_at.to_rfc3339()),
            )),
        }
    }

    fn evolve(mut self, event: &Self::Event, effective_at: DateTime<Utc>) -> Self {
        match event {
            SubscriptionEvent::ProvisionRequested { request }
            | SubscriptionEvent::ChangeRequested { request } => {
                self.request = Some(request.as_ref().clone());
            }
            SubscriptionEvent::ProvisionStarted { .. }
            | SubscriptionEvent::ChangeStarted { .. }
            | SubscriptionEvent::DeprovisionRequested { .. }
            | SubscriptionEvent::DeprovisionStarted { .. }
            | SubscriptionEvent::Provisioned { .. }
            | SubscriptionEvent::Changed { .. }
            | SubscriptionEvent::Deprovisioned { .. } => {}
        }
        if let Some(change) = event.change() {
            let position = self.timeline.facts().len() as u64 + 1;
            let fact = Fact { actor: String::new(), change, effective_at, position, reason: None };
            self.timeline.record(fact);
        }
        self
    }
}

impl Request {
    /// What will be held when it is done.
    #[must_use]
    pub fn holding(&self) -> Holding<'_> {
        Holding { plan: &self.plan.key, quantity: self.quantity }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::decider::testing::{given, november};

    const NAMES: CommandId = CommandId(Uuid::from_u128(9));

    fn request(plan: &str, quantity: u32) -> Request {
        let service = ServiceKey::parse("mailbox").unwrap();
        let customer = OrganizationId(Uuid::from_u128(30));
        Request {
            customer: RequestCustomer {
                code: Code::parse("AAN").unwrap(),
                id: customer,
                name: "Aanimals Inc".to_owned(),
                number: 30,
            },
            id: NAMES,
            instance: None,
            plan: RequestPlan {
                key: PlanKey::parse(plan).unwrap(),
                name: plan.to_owned(),
                properties: vec![],
                sku: plan.to_owned(),
            },
            quantity,
            subscription: SubscriptionId::of_slot(customer.0, &service, None),
            service: RequestService {
                key: service,
                level: Level::Customer,
                name: "Mailbox".to_owned(),
                version: 1,
            },
            user: None,
        }
    }

    fn provisioned(plan: &str, quantity: u32) -> SubscriptionEvent {
        SubscriptionEvent::Provisioned {
            plan: PlanKey::parse(plan).unwrap(),
            quantity,
            request: NAMES,
        }
    }

    fn changed(plan: &str, quantity: u32) -> SubscriptionEvent {
        SubscriptionEvent::Changed { plan: PlanKey::parse(plan).unwrap(), quantity, request: NAMES }
    }

    fn deprovisioned() -> SubscriptionEvent {
        SubscriptionEvent::Deprovisioned { request: NAMES }
    }

    fn deprovision() -> SubscriptionCommand {
        SubscriptionCommand::Deprovision(NAMES)
    }

    #[test]
    fn what_is_provisioned_is_requested_started_and_there() {
        given::<Subscription>([]).when(1, SubscriptionCommand::Provision(request("a", 2))).then([
            SubscriptionEvent::ProvisionRequested { request: Box::new(request("a", 2)) },
            SubscriptionEvent::ProvisionStarted { request: NAMES },
            provisioned("a", 2),
        ]);
    }

    #[test]
    fn a_mailbox_is_billed_once_however_often_it_is_asked_for() {
        given::<Subscription>([(1, provisioned("a", 2))])
            .when(2, SubscriptionCommand::Provision(request("a", 2)))
            .then_nothing();
        given::<Subscription>([(1, provisioned("a", 2))])
            .when(2, SubscriptionCommand::Change(request("a", 2)))
            .then_nothing();
    }

    #[test]
    fn provisioning_does_not_change_what_is_held() {
        for other in [request("b", 2), request("a", 3)] {
            given::<Subscription>([(1, provisioned("a", 2))])
                .when(2, SubscriptionCommand::Provision(other))
                .then_refused("already_provisioned");
        }
    }

    #[test]
    fn a_change_is_requested_started_and_made() {
        for (plan, quantity) in [("b", 2), ("a", 3)] {
            let wish = request(plan, quantity);
            given::<Subscription>([(1, provisioned("a", 2))])
                .when(2, SubscriptionCommand::Change(wish.clone()))
                .then([
                    SubscriptionEvent::ChangeRequested { request: Box::new(wish) },
                    SubscriptionEvent::ChangeStarted { request: NAMES },
                    changed(plan, quantity),
                ]);
        }
    }

    #[test]
    fn what_is_not_held_cannot_be_changed_or_taken_away() {
        let change = SubscriptionCommand::Change(request("a", 1));
        given::<Subscription>([]).when(1, change.clone()).then_refused("not_provisioned");
        given::<Subscription>([]).when(1, deprovision()).then_refused("not_provisioned");
        given::<Subscription>([(1, provisioned("a", 1)), (2, deprovisioned())])
            .when(3, change)
            .then_refused("not_provisioned");
    }

    #[test]
    fn what_is_held_and_what_is_to_begin_has_to_be_ended() {
        let history = |facts: &[(u32, SubscriptionEvent)]| {
            let facts = facts.iter().cloned();
            facts.fold(Subscription::default(), |it, (day, fact)| it.evolve(&fact, november(day)))
        };
        assert!(history(&[]).ends_from(november(5)).is_empty());
        let held = [(1, provisioned("a", 1)), (9, changed("b", 1))];
        assert_eq!(history(&held).ends_from(november(5)), [november(5)]);
        let to_come = [(9, provisioned("a", 1)), (9, changed("b", 1)), (12, deprovisioned())];
        assert_eq!(history(&to_come).ends_from(november(5)), [november(9)]);
        let both = [(1, provisioned("a", 1)), (7, deprovisioned()), (9, provisioned("a", 2))];
        assert_eq!(history(&both).ends_from(november(5)), [november(5), november(9)]);
        assert_eq!(history(&both).ends_from(november(8)), [november(9)]);
    }

    #[test]
    fn taking_away_twice_is_one_fact() {
        given::<Subscription>([(1, provisioned("a", 1))]).when(2, deprovision()).then([
            SubscriptionEvent::DeprovisionRequested { request: NAMES },
            SubscriptionEvent::DeprovisionStarted { request: NAMES },
            deprovisioned(),
        ]);
        given::<Subscription>([(1, provisioned("a", 1)), (3, deprovisioned())])
            .when(3, deprovision())
            .then_nothing();
    }

    #[test]
    fn what_changed_nothing_ended_nothing() {
        given::<Subscription>([(1, changed("a", 1))])
            .when(2, deprovision())
            .then_refused("not_provisioned");
    }

    #[test]
    fn a_wish_is_judged_by_what_is_held_at_its_moment() {
        let history = || {
            given::<Subscription>([
                (5, provisioned("a", 1)),
                (10, changed("b", 1)),
                (20, deprovisioned()),
            ])
        };
        history().when(4, deprovision()).then_refused("not_provisioned");
        history().when(9, SubscriptionCommand::Provision(request("a", 1))).then_nothing();
        history()
            .when(10, SubscriptionCommand::Provision(request("a", 1)))
            .then_refused("already_provisioned");
        history().when(21, deprovision()).then_nothing();
        given::<Subscription>([(5, provisioned("a", 1)), (20, deprovisioned())])
            .when(25, SubscriptionCommand::Provision(request("a", 1)))
            .then([
                SubscriptionEvent::ProvisionRequested { request: Box::new(request("a", 1)) },
                SubscriptionEvent::ProvisionStarted { request: NAMES },
                provisioned("a", 1),
            ]);
    }

    #[test]
    fn only_outcomes_bill() {
        let plan = || PlanKey::parse("a").unwrap();
        let billed = [
            (provisioned("a", 2), Change::Provisioned { plan: plan(), quantity: 2 }),
            (changed("a", 3), Change::Changed { plan: plan(), quantity: 3 }),
            (deprovisioned(), Change::Deprovisioned),
        ];
        for (event, change) in billed {
            assert_eq!(event.change(), Some(change));
        }
        let asked = || Box::new(request("a", 2));
        for event in [
            SubscriptionEvent::ProvisionRequested { request: asked() },
            SubscriptionEvent::ProvisionStarted { request: NAMES },
            SubscriptionEvent::ChangeRequested { request: asked() },
            SubscriptionEvent::ChangeStarted { request: NAMES },
            SubscriptionEvent::DeprovisionRequested { request: NAMES },
            SubscriptionEvent::DeprovisionStarted { request: NAMES },
        ] {
            assert_eq!(event.change(), None, "{event:?}");
            let state = Subscription::default().evolve(&event, november(1));
            assert_eq!(state.held_at(november(1)), None, "{event:?}");
        }
    }

    #[test]
    fn the_latest_request_is_remembered() {
        let asked = SubscriptionEvent::ProvisionRequested { request: Box::new(request("a", 2)) };
        let changed = SubscriptionEvent::ChangeRequested { request: Box::new(request("b", 2)) };
        let state = Subscription::default().evolve(&asked, november(1));
        assert_eq!(state.request, Some(request("a", 2)));
        assert_eq!(state.evolve(&changed, november(2)).request, Some(request("b", 2)));
    }
}
