//! Subscriptions: one service held by one customer or user; the *slot* that billing speaks of.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::billing::{Change, Fact, Holding, Timeline};
use crate::decider::Decider;
use crate::effective::{Candidate, Effective, Level as At};
use crate::overrides::{ResolvedProperty, Source};
use crate::property::Scope;
use crate::seal::Sealed;
use crate::service::Level;
use crate::text::Code;
use crate::{
    CommandId, OrganizationId, PlanKey, PropertyKey, Refusal, ServiceKey, SubscriptionId, UserId,
};

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
    /// The properties of all other levels, resolved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<ResolvedProperty>,
    /// Units.
    pub quantity: u32,
    /// The service, and the version of its definition that is used.
    pub service: RequestService,
    /// What was filled in and does not hold: an organisation above has locked it. It holds again once it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadowed: Vec<ResolvedProperty>,
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
    /// Take over the request's values, where what is held is as it says and its values are not.
    TakeOver(Request),
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
    /// What each request filled in and from when, in business order; empty while none fills in anything.
    filled_in: Vec<(DateTime<Utc>, Vec<ResolvedProperty>)>,
    /// The last requests that said what is to be held and from when, in business order.
    asked: Vec<(DateTime<Utc>, Arc<Request>)>,
    timeline: Timeline,
}

/// Requests that a subscription remembers whole.
const ASKED_MAX: usize = 16;

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

    /// What is filled in at a moment.
    #[must_use]
    pub fn inputs_at(&self, moment: DateTime<Utc>) -> &[ResolvedProperty] {
        let until = self.filled_in.partition_point(|(from, _)| *from <= moment);
        self.filled_in[..until].last().map_or(&[], |(_, inputs)| inputs)
    }

    /// The request that says what is held at a moment, as far as it is remembered.
    #[must_use]
    pub fn asked_at(&self, moment: DateTime<Utc>) -> Option<&Arc<Request>> {
        let until = self.asked.partition_point(|(from, _)| *from <= moment);
        self.asked[..until].last().map(|(_, request)| request)
    }

    /// From when requests said something else, after one moment and up to another.
    pub fn asked_between(
        &self,
        after: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> impl Iterator<Item = DateTime<Utc>> {
        let asked = self.asked.iter().map(|(from, _)| *from);
        asked.filter(move |from| *from > after && *from <= until)
    }

    /// Whether a request's values are those of the one that says what is held at a moment.
    fn has_values_of(&self, request: &Request, moment: DateTime<Utc>) -> bool {
        self.asked_at(moment).is_some_and(|asked| asked.values() == request.values())
    }

    /// Whether a request fills in what is filled in at a moment.
    fn has_inputs_of(&self, request: &Request, moment: DateTime<Utc>) -> bool {
        let said = |it: &ResolvedProperty| (it.key.clone(), it.value.clone());
        let held: BTreeMap<_, _> = self.inputs_at(moment).iter().map(said).collect();
        held == request.inputs().map(said).collect()
    }

    fn fill_in(&mut self, request: &Request, from: DateTime<Utc>) {
        let inputs: Vec<_> = request.inputs().cloned().collect();
        if !(inputs.is_empty() && self.filled_in.is_empty()) {
            let place = self.filled_in.partition_point(|(other, _)| *other <= from);
            self.filled_in.insert(place, (from, inputs));
        }
        let place = self.asked.partition_point(|(other, _)| *other <= from);
        self.asked.insert(place, (from, Arc::new(request.clone())));
        if self.asked.len() > ASKED_MAX {
            self.asked.remove(0);
        }
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
                if held == request.holding() && self.has_inputs_of(&request, effective_at) =>
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
            (Some(held), C::TakeOver(request))
                if held != request.holding() || self.has_values_of(&request, effective_at) =>
            {
                Ok(vec![])
            }
            (None, C::TakeOver(_)) => Ok(vec![]),
            (Some(_), C::Change(request) | C::TakeOver(request)) => Ok(vec![
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
                self.fill_in(request, effective_at);
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
    /// What was filled in.
    pub fn inputs(&self) -> impl Iterator<Item = &ResolvedProperty> {
        let holding = self.properties.iter().filter(|it| it.source == Some(Source::Input));
        holding.chain(&self.shadowed)
    }

    /// The value of every property.
    fn values(&self) -> BTreeMap<&PropertyKey, &str> {
        let all = self.plan.properties.iter().chain(&self.properties);
        all.map(|it| (&it.key, it.value.as_str())).collect()
    }

    /// The same request with what organisations above set otherwise by now: of `resolved`, what one of them says, and
    /// what one of them said and says no more. All the rest is as it was asked for.
    #[must_use]
    pub fn overridden_by(&self, id: CommandId, resolved: &[Effective<'_>]) -> Self {
        let mut renewed = Self { id, ..self.clone() };
        for effective in resolved {
            let property = effective.property;
            let list = match property.scope {
                Scope::Plan => &mut renewed.plan.properties,
                _ => &mut renewed.properties,
            };
            let place = list.iter().position(|it| it.key == property.key);
            let is_set = |winner: &Candidate<'_>| matches!(winner.level, At::Organization { .. });
            let was_set = place.is_some_and(|place| list[place].overridden_by.is_some());
            if !was_set && !effective.winner().is_some_and(is_set) {
                continue;
            }
            let new = ResolvedProperty::of(effective);
            let same = place.zip(new.as_ref());
            if same.is_some_and(|(place, new)| list[place].value == new.value) {
                continue;
            }
            let old = place.map(|place| list.remove(place));
            let shadowed = &mut renewed.shadowed;
            match &new {
                Some(new) if new.source == Some(Source::Input) => {
                    shadowed.retain(|it| it.key != new.key);
                }
                _ => shadowed.extend(old.filter(|old| old.source == Some(Source::Input))),
            }
            list.extend(new);
        }
        for list in [&mut renewed.plan.properties, &mut renewed.properties, &mut renewed.shadowed] {
            list.sort_by(|a, b| a.key.cmp(&b.key));
        }
        renewed
    }

    /// As those see it who do not publish services.
    #[must_use]
    pub fn without_hidden(mut self) -> Self {
        self.plan.properties.retain(|property| !property.hidden);
        self.properties.retain(|property| !property.hidden);
        self.shadowed.retain(|property| !property.hidden);
        self
    }

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
            properties: vec![],
            quantity,
            shadowed: vec![],
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

    fn resolved(
        key: &str,
        value: &str,
        by: Option<u128>,
        source: Option<Source>,
    ) -> ResolvedProperty {
        ResolvedProperty {
            hidden: false,
            key: PropertyKey::parse(key).unwrap(),
            overridden_by: by.map(|by| OrganizationId(Uuid::from_u128(by))),
            since: None,
            source,
            value: value.to_owned(),
        }
    }

    fn with_size(size: &str) -> Request {
        let mut request = request("a", 2);
        request.plan.properties = vec![resolved("size", size, Some(7), None)];
        request
    }

    #[test]
    fn other_values_are_taken_over_where_the_same_is_held() {
        let held = |size| {
            let asked =
                SubscriptionEvent::ProvisionRequested { request: Box::new(with_size(size)) };
            given::<Subscription>([(1, asked), (1, provisioned("a", 2))])
        };
        let wish = || SubscriptionCommand::TakeOver(with_size("2 TB"));
        held("1 TB").when(2, wish()).then([
            SubscriptionEvent::ChangeRequested { request: Box::new(with_size("2 TB")) },
            SubscriptionEvent::ChangeStarted { request: NAMES },
            changed("a", 2),
        ]);
        held("2 TB").when(2, wish()).then_nothing();
        let mut other = with_size("2 TB");
        other.quantity = 3;
        held("1 TB").when(2, SubscriptionCommand::TakeOver(other)).then_nothing();
        given::<Subscription>([]).when(2, wish()).then_nothing();
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

    /// A request with something filled in.
    fn filling_in(name: &str) -> Request {
        let input = ResolvedProperty {
            hidden: false,
            key: PropertyKey::parse("Name").unwrap(),
            overridden_by: None,
            since: None,
            source: Some(Source::Input),
            value: name.to_owned(),
        };
        Request { properties: vec![input], ..request("a", 1) }
    }

    #[test]
    fn the_same_filled_in_again_is_nothing_and_other_things_are_a_change() {
        let held = || {
            let asked = |name| Box::new(filling_in(name));
            given::<Subscription>([
                (1, SubscriptionEvent::ProvisionRequested { request: asked("ann") }),
                (1, provisioned("a", 1)),
                (9, SubscriptionEvent::ChangeRequested { request: asked("zoe") }),
                (9, changed("a", 1)),
            ])
        };
        held().when(5, SubscriptionCommand::Provision(filling_in("ann"))).then_nothing();
        held().when(5, SubscriptionCommand::Change(filling_in("ann"))).then_nothing();
        held().when(9, SubscriptionCommand::Change(filling_in("zoe"))).then_nothing();
        for other in [filling_in("zoe"), request("a", 1)] {
            held()
                .when(5, SubscriptionCommand::Provision(other.clone()))
                .then_refused("already_provisioned");
            held().when(5, SubscriptionCommand::Change(other.clone())).then([
                SubscriptionEvent::ChangeRequested { request: Box::new(other) },
                SubscriptionEvent::ChangeStarted { request: NAMES },
                changed("a", 1),
            ]);
        }
    }

    #[test]
    fn what_is_filled_in_is_so_from_its_day_whenever_it_was_recorded() {
        let asked =
            |name| SubscriptionEvent::ChangeRequested { request: Box::new(filling_in(name)) };
        let empty = SubscriptionEvent::ChangeRequested { request: Box::new(request("a", 1)) };
        let state = Subscription::default()
            .evolve(&empty, november(1))
            .evolve(&asked("zoe"), november(20))
            .evolve(&asked("ann"), november(10))
            .evolve(&asked("eve"), november(10))
            .evolve(&empty, november(25));
        let names = |day| {
            let inputs = state.inputs_at(november(day)).iter();
            inputs.map(|input| input.value.as_str()).collect::<Vec<_>>()
        };
        assert_eq!([names(1), names(9), names(25)], [[""; 0]; 3]);
        assert_eq!(
            [names(10), names(19), names(20), names(24)],
            [["eve"], ["eve"], ["zoe"], ["zoe"]]
        );
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
