//! Subscriptions as people see them.

use chrono::{DateTime, Utc};
use domain::billing::{Change, Fact, Holding, Rest, begun_by, held_at};
use domain::event::{Event, Recorded};
use domain::service::Level;
use domain::subscription::{
    Desk, Phase, Request, Standing, Status, Subscription, SubscriptionEvent, Suspensions, Verb,
    Waiting, cancellable,
};
use domain::{
    Bug, CommandId, Decider, OrganizationId, PlanKey, ServiceKey, SubscriptionId, TenantPath,
    UserId, planted,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::held_in;
use crate::document::{Index, Touch, View};

/// Latest facts kept in the document: it stays small, whatever the history. All are in the log.
const FACTS_KEPT: usize = 32;
/// Latest facts kept that were taken back.
const WITHDRAWN_KEPT: usize = 16;

/// Latest times of resting kept. All are in the log.
const RESTS_KEPT: usize = 32;

/// A change that is still to come.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduled {
    /// When.
    pub effective_at: DateTime<Utc>,
    /// The request.
    pub request: Option<CommandId>,
    /// What was asked.
    pub verb: Verb,
    /// The plan and the units held from then on, where it says so.
    pub wish: Option<(PlanKey, u32)>,
}

impl Scheduled {
    fn at(
        effective_at: DateTime<Utc>,
        request: Option<CommandId>,
        wish: Option<(PlanKey, u32)>,
    ) -> Self {
        Self { effective_at, request, verb: Verb::Deprovision, wish }
    }
}

fn verb_of(change: &Change) -> Verb {
    match change {
        Change::Provisioned { .. } => Verb::Provision,
        Change::Changed { .. } => Verb::Change,
        Change::Deprovisioned => Verb::Deprovision,
    }
}

fn is_empty(desk: &Desk) -> bool {
    desk.all().is_empty()
}

fn rests_never(suspensions: &Suspensions) -> bool {
    suspensions.all().is_empty()
}

/// Who holds a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Holder {
    /// A customer.
    Customer(OrganizationId),
    /// A customer's user.
    User(UserId),
}

impl Holder {
    /// The customer's or the user's id.
    #[must_use]
    pub fn id(self) -> Uuid {
        match self {
            Self::Customer(id) => id.0,
            Self::User(id) => id.0,
        }
    }
}

/// A fact that was taken back: it was true as far as was known until then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Withdrawn {
    /// The place in the log of what took it back.
    pub at: u64,
    /// It.
    pub fact: Fact,
}

/// It rested from some moment on, or went on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rested {
    /// It.
    pub rest: Rest,
    /// The place in the log of what took it back, if anything did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_at: Option<u64>,
}

/// A service held by a customer or a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionView {
    /// Its slot's id.
    pub id: SubscriptionId,
    /// Who holds it.
    pub holder: Holder,
    /// The customer who holds it, or whose user does.
    pub customer: OrganizationId,
    /// The customer's place in the tree.
    pub path: TenantPath,
    /// What is held.
    pub service: ServiceKey,
    /// The instance's name, where the service has many.
    pub instance: Option<String>,
    /// The latest request.
    pub request: CommandId,
    /// What that asks for.
    pub verb: Verb,
    /// The requests that nobody has finished.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub desk: Desk,
    /// When it rested, as far as that matters still.
    #[serde(default, skip_serializing_if = "rests_never")]
    pub suspensions: Suspensions,
    /// The slot's timeline: its latest facts, in business order.
    pub facts: Vec<Fact>,
    /// Facts that were taken back, in the order of that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withdrawn: Vec<Withdrawn>,
    /// When it rested and went on: the latest, in the order of recording.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rests: Vec<Rested>,
    /// Whether there are more of these, which only the log has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_more_rests: bool,
    /// Whether there are more facts, which only the log has.
    pub is_abridged: bool,
    /// The first moment at which anything was held.
    pub since: Option<DateTime<Utc>>,
    /// The same, as far as was ever known.
    pub earliest: Option<DateTime<Utc>>,
    /// Of its stream.
    pub version: u64,
}

impl SubscriptionView {
    /// What is held at a moment.
    #[must_use]
    pub fn held_at(&self, moment: DateTime<Utc>) -> Option<Holding<'_>> {
        held_at(&self.facts, moment)
    }

    /// How it stands at a moment, in one word.
    #[must_use]
    pub fn status_at(&self, moment: DateTime<Utc>) -> Status {
        self.standing_at(moment).status()
    }

    /// How it stands at a moment that is not before the latest event: the same as the decider says
    /// ([`Subscription::standing_at`]).
    #[must_use]
    pub fn standing_at(&self, moment: DateTime<Utc>) -> Standing<'_> {
        let since = begun_by(&self.facts, moment).map(|fact| (fact.effective_at, fact.position));
        let facts = self.scheduled_after(moment).filter_map(Waiting::of_fact);
        let rests = self.suspensions.all().iter().filter(|it| it.effective_at > moment);
        let scheduled = facts.chain(rests.map(Waiting::from));
        let mut until = self.facts.iter().take_while(|fact| fact.effective_at <= moment);
        Standing {
            moment,
            held: since.is_some(),
            ended: since.is_none() && until.any(|fact| fact.change == Change::Deprovisioned),
            suspended: since.is_some_and(|since| self.suspensions.rests_at(moment, since)),
            open: self.desk.in_the_way_at(moment),
            cancellable: cancellable(&self.desk, scheduled, moment),
            last_verb: self.verb,
        }
    }

    /// What is still to come after a moment, by date.
    #[must_use]
    pub fn scheduled(&self, moment: DateTime<Utc>) -> Vec<Scheduled> {
        let of_fact = |fact: &Fact| {
            let wish = fact.holding().map(|held| (held.plan.clone(), held.quantity));
            let verb = verb_of(&fact.change);
            Scheduled { verb, ..Scheduled::at(fact.effective_at, fact.request, wish) }
        };
        let mut scheduled: Vec<_> = self.scheduled_after(moment).map(of_fact).collect();
        let rests = self.suspensions.all().iter().filter(|it| it.effective_at > moment);
        scheduled.extend(rests.map(|it| {
            let verb = if it.suspended { Verb::Suspend } else { Verb::Resume };
            Scheduled { verb, ..Scheduled::at(it.effective_at, Some(it.request), None) }
        }));
        // What takes the service away is a fact as soon as it is asked.
        let open = self.desk.all().iter();
        let open = open.filter(|it| it.effective_at > moment && it.verb != Verb::Deprovision);
        scheduled.extend(open.map(|it| {
            let wish = it.wish.clone();
            Scheduled { verb: it.verb, ..Scheduled::at(it.effective_at, Some(it.request), wish) }
        }));
        scheduled.sort_by_key(|it| it.effective_at);
        scheduled
    }

    /// The level of who holds it.
    #[must_use]
    pub fn level(&self) -> Level {
        match self.holder {
            Holder::Customer(_) => Level::Customer,
            Holder::User(_) => Level::User,
        }
    }

    /// The facts that are still to come after a moment.
    pub fn scheduled_after(&self, moment: DateTime<Utc>) -> impl Iterator<Item = &Fact> {
        self.facts.iter().filter(move |fact| fact.effective_at > moment)
    }

    fn of(request: &Request, event: &Recorded) -> Self {
        let whose = (request.customer.id, &event.path);
        Self {
            holder: match &request.user {
                Some(user) => Holder::User(user.id),
                None => Holder::Customer(request.customer.id),
            },
            instance: request.instance.clone(),
            request: request.id,
            version: event.version,
            ..Self::nothing_held(request.subscription, whose, request.service.key.clone())
        }
    }

    /// A slot of a customer in which nothing was ever held.
    pub(crate) fn nothing_held(
        id: SubscriptionId,
        (customer, path): (OrganizationId, &TenantPath),
        service: ServiceKey,
    ) -> Self {
        Self {
            id,
            holder: Holder::Customer(customer),
            customer,
            path: path.clone(),
            service,
            instance: None,
            request: CommandId(Uuid::nil()),
            verb: Verb::Provision,
            desk: Desk::default(),
            suspensions: Suspensions::default(),
            facts: Vec::new(),
            withdrawn: Vec::new(),
            rests: Vec::new(),
            has_more_rests: false,
            is_abridged: false,
            since: None,
            earliest: None,
            version: 0,
        }
    }

    /// Puts a fact in its place. Of what is older than the facts kept, there stays only what says
    /// how it stood with them: the last beginning or end, what began that time, and the last fact. What may be taken
    /// back stays.
    fn record(&mut self, fact: Fact, now: DateTime<Utc>) {
        if !matches!(fact.change, Change::Deprovisioned) {
            let first = |since: Option<DateTime<Utc>>| {
                Some(since.map_or(fact.effective_at, |since| since.min(fact.effective_at)))
            };
            (self.since, self.earliest) = (first(self.since), first(self.earliest));
        }
        let place = self.facts.partition_point(|old| {
            (old.effective_at, old.position) <= (fact.effective_at, fact.position)
        });
        self.facts.insert(place, fact);
        self.abridge(now);
    }

    fn abridge(&mut self, now: DateTime<Utc>) {
        let is_over = |fact: &Fact| {
            let open = fact.request.and_then(|request| self.desk.get(request));
            fact.effective_at <= now && open.is_none()
        };
        let over = self.facts.iter().take_while(|fact| is_over(fact)).count();
        let older = self.facts.len().saturating_sub(FACTS_KEPT).min(over);
        let older_facts = &self.facts[..older];
        let is_turn = |fact: &Fact| !matches!(fact.change, Change::Changed { .. });
        // A fact that comes later and is true earlier can make a beginning of what is none yet.
        let last_turn = older_facts.iter().rposition(is_turn);
        let began = older_facts.last().and_then(|last| begun_by(older_facts, last.effective_at));
        let began = began.map(|fact| fact.position);
        let mut place = 0;
        self.facts.retain(|fact| {
            let keep =
                place + 1 >= older || Some(place) == last_turn || Some(fact.position) == began;
            place += 1;
            keep
        });
        self.is_abridged |= self.facts.len() < place;
    }

    /// Takes the facts of a request back.
    fn withdraw(&mut self, request: CommandId, at: u64) {
        let is_its = |fact: &Fact| fact.request == Some(request);
        let gone = self.facts.extract_if(.., |fact| is_its(fact));
        self.withdrawn.extend(gone.map(|fact| Withdrawn { at, fact }));
        let more = self.withdrawn.len().saturating_sub(WITHDRAWN_KEPT);
        self.withdrawn.drain(..more);
        self.is_abridged |= more > 0;
        if !self.is_abridged {
            let mut begins = self.facts.iter().filter(|fact| fact.change != Change::Deprovisioned);
            self.since = begins.next().map(|fact| fact.effective_at);
        }
    }

    /// The facts as they were known at a position of the log, where it has them all.
    pub fn facts_known_at(&self, position: u64) -> impl Iterator<Item = &Fact> {
        let all = planted(Bug::SupersededCounts);
        let taken_back = self.withdrawn.iter().filter(move |it| it.at > position || all);
        let facts = self.facts.iter().chain(taken_back.map(|it| &it.fact));
        facts.filter(move |fact| fact.position <= position)
    }

    /// When it rested and went on, as that was known at a position of the log, where it has all of that.
    pub fn rests_known_at(&self, position: u64) -> impl Iterator<Item = &Rest> {
        let is_known = move |it: &&Rested| {
            it.rest.position <= position && it.withdrawn_at.is_none_or(|at| at > position)
        };
        self.rests.iter().filter(is_known).map(|it| &it.rest)
    }

    /// The stream that its facts come from.
    #[must_use]
    pub fn stream(&self) -> String {
        format!("{}-{}", Subscription::CATEGORY, self.id)
    }
}

impl View for SubscriptionView {
    const TABLE: &'static str = "view_subscription";
    const INDEXES: &'static [&'static str] = &["sort, key"];
    const SORTS_BY_TENANT: bool = true;
    const OWNER_IN_KEY: usize = SubscriptionId::OF_HOLDER;
    const MOVES: bool = true;
    held_in!(subscriptions);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match (&event.event, event.stream.split_once('-')) {
            (Event::Subscription(_), Some((_, id))) => vec![Touch::own(id, event)],
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        use SubscriptionEvent as E;
        let Event::Subscription(happened) = &event.event else {
            return before;
        };
        let mut view = match (before, happened) {
            (Some(view), _) => view,
            (None, E::ProvisionRequested { request }) => Self::of(request, event),
            (None, _) => return None,
        };
        view.version = event.version;
        let request = happened.request();
        match happened.phase() {
            Phase::Asked { verb, .. } => (view.request, view.verb) = (request, verb),
            Phase::Withdrawn | Phase::Superseded => {
                view.withdraw(request, event.position);
                let its = view.rests.iter_mut().filter(|it| it.rest.request == Some(request));
                its.for_each(|it| it.withdrawn_at = Some(event.position));
            }
            Phase::Released | Phase::Started | Phase::Done | Phase::Failed | Phase::Retried => {}
        }
        view.desk.take_in(happened, event.effective_at, event.position);
        view.suspensions.take_in(happened, event.effective_at, event.position);
        view.suspensions.forget_before(event.recorded_at);
        if let Some(fact) = crate::ledger::fact(event) {
            view.record(fact, event.recorded_at);
        }
        if let Some(rest) = crate::ledger::rest(event) {
            view.rests.push(Rested { rest, withdrawn_at: None });
            if view.rests.len() > RESTS_KEPT {
                view.rests.remove(0);
                view.has_more_rests = true;
            }
        }
        Some(view)
    }

    fn relocate(&mut self, to: &TenantPath) {
        self.path = to.clone();
    }

    fn index(&self) -> Index {
        let ended = self
            .facts
            .last()
            .filter(|last| last.change == Change::Deprovisioned)
            .map(|last| last.effective_at);
        Index {
            path: self.path.to_string(),
            owner: self.holder.id().to_string(),
            kind: self.service.to_string(),
            sort: format!(
                "{}{}/{}",
                self.path,
                self.service,
                self.instance.as_deref().unwrap_or_default()
            ),
            since: self.earliest.map_or(i64::MAX, |since| since.timestamp_micros()),
            until: ended.map_or(i64::MAX, |until| until.timestamp_micros()),
        }
    }
}
