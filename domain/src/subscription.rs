//! Subscriptions: one service held by one customer or user; the *slot* that billing speaks of.

mod event;
mod history;
mod request;
mod standing;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::billing::{Change, Fact, Holding, Values};
use crate::decider::Decider;
use crate::overrides::ResolvedProperty;
use crate::service::Process;
use crate::{CommandId, PlanKey, Refusal};

use self::history::History;

pub use event::SubscriptionEvent;
pub use request::{Request, RequestCustomer, RequestPlan, RequestService, RequestUser};
pub use standing::{
    Act, Desk, Open, Phase, Progress, Ready, Standing, Status, Suspension, Suspensions, Verb,
    Waiting, cancellable, waiting,
};

/// Most units of one subscription.
pub const QUANTITY_MAX: u32 = 1_000_000;

/// A wish that needs no more than a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whether its moment was given; see [`Request::dated`].
    pub dated: bool,
    /// The request that it is a part of.
    pub parent: Option<CommandId>,
    /// Who does the work.
    pub process: Process,
    /// The command that asks; also names the request.
    pub request: CommandId,
    /// Whether it waits for others.
    pub waits: bool,
}

/// A wish about a subscription.
///
/// A service without work in the outside world has its requests started and completed at once, and all three are
/// facts. Where the work is done outside, it is only asked for here, and what comes of it is reported.
#[derive(Clone, Debug)]
pub enum SubscriptionCommand {
    /// Assign the service.
    Provision(Request),
    /// Go over to the request's plan and quantity.
    Change(Request),
    /// Take over the request's values, where what is held is as it says and its values are not. What is being worked
    /// on goes first.
    TakeOver(Request),
    /// Take the service away.
    Deprovision(Asked),
    /// Let it rest.
    Suspend(Asked),
    /// Let it go on.
    Resume(Asked),
    /// A request waits no longer.
    Release {
        /// Who does the work, where the request does not say so itself.
        process: Process,
        /// Which.
        request: CommandId,
    },
    /// Work on a request has begun.
    Start(CommandId),
    /// A request is done.
    Complete(CommandId),
    /// A request did not work.
    Fail {
        /// Which.
        request: CommandId,
        /// Why.
        detail: String,
    },
    /// Ask the request that failed again.
    Retry,
    /// Take back a request that has not begun: this one, or the one that stands first.
    Cancel(Option<CommandId>),
    /// Give up the request that failed or is stuck.
    Reset,
    /// Have what came of a request be true at another moment.
    Supersede {
        /// The place in the log of what is said of it so far.
        position: u64,
        /// Which.
        request: CommandId,
    },
}

/// What a request filled in, once it was done.
#[derive(Clone, Debug)]
struct FilledIn {
    from: DateTime<Utc>,
    inputs: Vec<ResolvedProperty>,
    request: CommandId,
}

/// A subscription as its stream tells.
#[derive(Clone, Debug, Default)]
pub struct Subscription {
    /// The latest request that said what is to be held.
    pub request: Option<Request>,
    /// What was asked last.
    pub last_verb: Option<Verb>,
    /// What each request filled in and from when, in business order; empty while none fills in anything.
    filled_in: Vec<Arc<FilledIn>>,
    /// The last requests that said what is to be held and from when, in business order.
    asked: Vec<(DateTime<Utc>, Arc<Request>)>,
    history: History,
    suspensions: Suspensions,
    desk: Desk,
    /// What the open requests are built from, where they say what is to be held.
    built: BTreeMap<CommandId, Request>,
    /// The request that was completed last.
    completed: Option<CommandId>,
    /// How many facts there are.
    length: u64,
}

/// Requests that a subscription remembers whole.
const ASKED_MAX: usize = 16;

impl Subscription {
    /// When it has to be ended so that nothing is held any more from `moment` on: then, if anything is, and
    /// whenever something is to begin later.
    #[must_use]
    pub fn ends_from(&self, moment: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let begins = |fact: &&Fact| matches!(fact.change, Change::Provisioned { .. });
        let later = self.history.facts_after(moment).filter(begins).map(|fact| fact.effective_at);
        let mut ends: Vec<_> =
            self.held_at(moment).map(|_| moment).into_iter().chain(later).collect();
        ends.dedup();
        ends
    }

    /// What is held at a moment; none where nothing is.
    #[must_use]
    pub fn held_at(&self, moment: DateTime<Utc>) -> Option<Holding<'_>> {
        self.history.held_at(moment)
    }

    /// What is filled in at a moment.
    #[must_use]
    pub fn inputs_at(&self, moment: DateTime<Utc>) -> &[ResolvedProperty] {
        let until = self.filled_in.partition_point(|it| it.from <= moment);
        self.filled_in[..until].last().map_or(&[], |it| &it.inputs)
    }

    /// The requests that nobody has finished.
    #[must_use]
    pub fn unfinished(&self) -> &[Open] {
        self.desk.all()
    }

    /// From when the outcome of a request is true that is reported at `now`; none where it is not open.
    #[must_use]
    pub fn outcome_at(&self, request: CommandId, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let open = self.desk.get(request)?;
        Some(if open.dated { open.effective_at } else { now })
    }

    /// How it stands at a moment.
    #[must_use]
    pub fn standing_at(&self, moment: DateTime<Utc>) -> Standing<'_> {
        let began = self.history.began_at(moment);
        let since = began.map(|fact| (fact.effective_at, fact.position));
        Standing {
            moment,
            held: since.is_some(),
            ended: since.is_none() && self.history.has_ended_by(moment),
            suspended: since.is_some_and(|since| self.suspensions.rests_at(moment, since)),
            open: self.desk.in_the_way_at(moment),
            cancellable: cancellable(&self.desk, self.scheduled_after(moment), moment),
            last_verb: self.last_verb.unwrap_or(Verb::Provision),
        }
    }

    /// A request that has not begun, if it is one.
    #[must_use]
    pub fn waiting(&self, request: CommandId, now: DateTime<Utc>) -> Option<Waiting> {
        self.all_waiting(now).find(|it| it.request == request)
    }

    /// The requests that have not begun.
    pub fn all_waiting(&self, now: DateTime<Utc>) -> impl Iterator<Item = Waiting> + '_ {
        waiting(&self.desk, self.scheduled_after(now))
    }

    /// The requests that have facts which are to come.
    pub fn scheduled_after(&self, moment: DateTime<Utc>) -> impl Iterator<Item = Waiting> + '_ {
        let facts = self.history.facts_after(moment);
        let rests = self.suspensions.all().iter().filter(move |it| it.effective_at > moment);
        facts.filter_map(Waiting::of_fact).chain(rests.map(Waiting::from))
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
        said(self.inputs_at(moment).iter()) == said(request.inputs())
    }

    /// Whether a wish is true already, or is what is being worked on.
    fn is_wished(&self, verb: Verb, request: &Request, moment: DateTime<Utc>) -> bool {
        match self.desk.in_the_way_at(moment) {
            Some(open) => {
                let built = self.built.get(&open.request);
                let is_same = |built: &Request| {
                    built.holding() == request.holding()
                        && said(built.inputs()) == said(request.inputs())
                };
                open.verb == verb && open.progress != Progress::Failed && built.is_some_and(is_same)
            }
            None => {
                self.held_at(moment) == Some(request.holding())
                    && self.has_inputs_of(request, moment)
            }
        }
    }

    fn fill_in(&mut self, request: &Request, from: DateTime<Utc>) {
        let inputs: Vec<_> = request.inputs().cloned().collect();
        if !(inputs.is_empty() && self.filled_in.is_empty()) {
            let place = self.filled_in.partition_point(|other| other.from <= from);
            self.filled_in.insert(place, Arc::new(FilledIn { from, inputs, request: request.id }));
        }
        let place = self.asked.partition_point(|(other, _)| *other <= from);
        self.asked.insert(place, (from, Arc::new(request.clone())));
        if self.asked.len() > ASKED_MAX {
            self.asked.remove(0);
        }
    }

    /// The request that somebody reports about: the one whose turn it is, and it is its day.
    fn reported(&self, request: CommandId, now: DateTime<Utc>) -> Result<&Open, Refusal> {
        let open = self.desk.get(request).ok_or_else(|| {
            Refusal::conflict("not_open", "This request is completed, or was taken back.")
        })?;
        if open.effective_at > now {
            let day = open.effective_at.to_rfc3339();
            let detail = format!("This request is to be begun on {day}, and not before.");
            return Err(Refusal::conflict("not_due", detail));
        }
        match self.desk.in_the_way_at(now) {
            Some(first) if first.request != request => Err(Refusal::conflict(
                "not_its_turn",
                "An earlier request about the same subscription is still open.",
            )),
            _ => Ok(open),
        }
    }

    /// What follows for a request that has waited for another.
    fn release(&self, request: CommandId, process: Process) -> Vec<SubscriptionEvent> {
        use SubscriptionEvent as E;
        let Some(open) = self.desk.get(request).filter(|open| open.waits) else { return vec![] };
        let process = self.built.get(&request).map_or(process, |built| built.service.process);
        let rest = match &open.wish {
            Some((plan, quantity)) => {
                let done =
                    done(open.verb, request, (plan.clone(), *quantity), self.values(request));
                [E::ProvisionStarted { request }, done]
            }
            None => [E::DeprovisionStarted { request }, E::Deprovisioned { request }],
        };
        match open.progress {
            Progress::Requested => asked(process, E::RequestReleased { request }, rest),
            Progress::InProgress | Progress::Failed => vec![E::RequestReleased { request }],
        }
    }

    fn start(
        &self,
        request: CommandId,
        now: DateTime<Utc>,
    ) -> Result<Vec<SubscriptionEvent>, Refusal> {
        use SubscriptionEvent as E;
        let open = self.reported(request, now)?;
        if open.waits {
            return Err(Refusal::conflict(
                "waits",
                "This request waits for another one: the customer's, or those of its users.",
            ));
        }
        match open.progress {
            Progress::InProgress => return Ok(vec![]),
            Progress::Failed => return Err(failed()),
            Progress::Requested => {}
        }
        let standing = self.standing_at(now);
        let is_there = match open.verb {
            Verb::Provision | Verb::Deprovision => true,
            Verb::Change | Verb::Suspend | Verb::Resume => standing.held,
        };
        if !is_there {
            return Err(Refusal::conflict(
                "not_provisioned",
                "What this request is about is not provisioned any more; it can only be cancelled.",
            ));
        }
        Ok(vec![match open.verb {
            Verb::Provision => E::ProvisionStarted { request },
            Verb::Change => E::ChangeStarted { request },
            Verb::Suspend => E::SuspendStarted { request },
            Verb::Resume => E::ResumeStarted { request },
            Verb::Deprovision => E::DeprovisionStarted { request },
        }])
    }

    /// What an open request says of the properties that drive a price.
    fn values(&self, request: CommandId) -> Values {
        self.built.get(&request).map(Request::priced_values).unwrap_or_default()
    }

    /// What came of a request, at another moment. The order in which things happened stays.
    fn supersede(
        &self,
        request: CommandId,
        position: u64,
        at: DateTime<Utc>,
    ) -> Result<Vec<SubscriptionEvent>, Refusal> {
        use SubscriptionEvent as E;
        if self.desk.get(request).is_some() {
            let detail = "This request is not finished: cancel or reset it, and ask anew.";
            return Err(Refusal::conflict("not_finished", detail));
        }
        let facts = || self.history.facts();
        let rests = || self.suspensions.all().iter();
        let of_fact = |fact: &Fact| {
            let values = fact.values.clone();
            match &fact.change {
                Change::Provisioned { plan, quantity } => {
                    E::Provisioned { plan: plan.clone(), quantity: *quantity, request, values }
                }
                Change::Changed { plan, quantity } => {
                    E::Changed { plan: plan.clone(), quantity: *quantity, request, values }
                }
                Change::Deprovisioned => {
                    E::DeprovisionRequested { parent: None, request, waits: false }
                }
            }
        };
        let own = facts().find(|fact| fact.request == Some(request));
        let own = own.map(|fact| (of_fact(fact), (fact.effective_at, fact.position)));
        let own = own.or_else(|| {
            let rest = rests().find(|rest| rest.request == request)?;
            let event =
                if rest.suspended { E::Suspended { request } } else { E::Resumed { request } };
            Some((event, (rest.effective_at, rest.position)))
        });
        let Some((fact, was)) = own else {
            return Err(Refusal::conflict("no_fact", "Nothing of this request is true any more."));
        };
        if was.0 == at {
            return Ok(vec![]);
        }
        let others = facts().map(|fact| (fact.effective_at, fact.position));
        let mut others = others.chain(rests().map(|rest| (rest.effective_at, rest.position)));
        // What is recorded later comes behind what is true at the same moment.
        let is_between = |other: (DateTime<Utc>, u64)| {
            (other > was && other.0 <= at) || (other < was && other.0 > at)
        };
        if others.any(is_between) {
            let detail = "Something else happened to this subscription between the two moments; \
                          the order in which things happened stays.";
            return Err(Refusal::conflict("order_would_change", detail));
        }
        Ok(vec![E::Superseded { fact: Box::new(fact), position, was_at: was.0 }])
    }

    /// What a request said and filled in counts from another moment on.
    fn move_to(&mut self, request: CommandId, from: DateTime<Utc>) {
        if let Some(place) = self.filled_in.iter().position(|it| it.request == request) {
            let moved = FilledIn { from, ..Arc::unwrap_or_clone(self.filled_in.remove(place)) };
            let place = self.filled_in.partition_point(|other| other.from <= from);
            self.filled_in.insert(place, Arc::new(moved));
        }
        if let Some(place) = self.asked.iter().position(|(_, asked)| asked.id == request) {
            let (_, asked) = self.asked.remove(place);
            let place = self.asked.partition_point(|(other, _)| *other <= from);
            self.asked.insert(place, (from, asked));
        }
    }

    /// The outcome of a request that was started.
    fn complete(
        &self,
        request: CommandId,
        now: DateTime<Utc>,
    ) -> Result<Vec<SubscriptionEvent>, Refusal> {
        if self.completed == Some(request) {
            return Ok(vec![]);
        }
        let open = match self.desk.get(request) {
            // Its outcome is true from the day that was given, which may be before others.
            Some(open) if open.progress == Progress::InProgress => open,
            _ => self.reported(request, now)?,
        };
        match open.progress {
            Progress::InProgress => {}
            Progress::Failed => return Err(failed()),
            Progress::Requested => {
                return Err(Refusal::conflict(
                    "not_started",
                    "Work on this request has not begun.",
                ));
            }
        }
        Ok(vec![match (open.verb, &open.wish) {
            (verb, Some((plan, quantity))) => {
                done(verb, request, (plan.clone(), *quantity), self.values(request))
            }
            (Verb::Suspend, None) => SubscriptionEvent::Suspended { request },
            (Verb::Resume, None) => SubscriptionEvent::Resumed { request },
            (Verb::Provision | Verb::Change | Verb::Deprovision, None) => {
                SubscriptionEvent::Deprovisioned { request }
            }
        }])
    }
}

/// What inputs say, whatever they come from.
fn said<'a>(inputs: impl Iterator<Item = &'a ResolvedProperty>) -> BTreeMap<&'a str, &'a str> {
    inputs.map(|it| (it.key.as_str(), it.value.as_str())).collect()
}

fn failed() -> Refusal {
    Refusal::conflict("failed", "This request failed; it has to be asked again first (retry).")
}

/// The fact that something is held as it was asked for.
fn done(
    verb: Verb,
    request: CommandId,
    (plan, quantity): (PlanKey, u32),
    values: Values,
) -> SubscriptionEvent {
    match verb {
        Verb::Change => SubscriptionEvent::Changed { plan, quantity, request, values },
        _ => SubscriptionEvent::Provisioned { plan, quantity, request, values },
    }
}

/// The fact that a request that was just asked is done.
fn outcome(verb: Verb, request: &Request) -> SubscriptionEvent {
    let held = (request.plan.key.clone(), request.quantity);
    done(verb, request.id, held, request.priced_values())
}

/// What follows from asking: a request, and where the work is no work, also that it is done.
fn asked(
    process: Process,
    requested: SubscriptionEvent,
    rest: [SubscriptionEvent; 2],
) -> Vec<SubscriptionEvent> {
    let rest = rest.into_iter().filter(|_| process.is_immediate());
    std::iter::once(requested).chain(rest).collect()
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
        let standing = self.standing_at(effective_at);
        let act = match &command {
            C::Provision(request) if self.is_wished(Verb::Provision, request, effective_at) => {
                return Ok(vec![]);
            }
            C::Change(request) if self.is_wished(Verb::Change, request, effective_at) => {
                return Ok(vec![]);
            }
            C::TakeOver(request)
                if standing.open.is_some()
                    || self.held_at(effective_at) != Some(request.holding())
                    || self.has_values_of(request, effective_at) =>
            {
                return Ok(vec![]);
            }
            C::Provision(_) => Act::Ask(Verb::Provision),
            C::Change(_) | C::TakeOver(_) => Act::Ask(Verb::Change),
            C::Deprovision(_) => Act::Ask(Verb::Deprovision),
            C::Suspend(_) => Act::Ask(Verb::Suspend),
            C::Resume(_) => Act::Ask(Verb::Resume),
            C::Retry => Act::Retry,
            C::Cancel(None) => Act::Cancel,
            C::Reset => Act::Reset,
            C::Supersede { position, request } => {
                return self.supersede(*request, *position, effective_at);
            }
            C::Release { process, request } => return Ok(self.release(*request, *process)),
            C::Start(request) => return self.start(*request, effective_at),
            C::Complete(request) => return self.complete(*request, effective_at),
            C::Fail { request, detail } => {
                let open = self.reported(*request, effective_at)?;
                let detail = detail.clone();
                return Ok(match open.progress {
                    Progress::Failed => vec![],
                    Progress::Requested | Progress::InProgress => {
                        vec![E::RequestFailed { detail, request: *request }]
                    }
                });
            }
            C::Cancel(Some(request)) => {
                return match self.waiting(*request, effective_at) {
                    Some(Waiting { request, .. }) => Ok(vec![E::RequestCancelled { request }]),
                    None => Err(Refusal::conflict(
                        "begun",
                        "Only a request that has not begun can be cancelled.",
                    )),
                };
            }
        };
        match standing.ready(act) {
            Ready::Go => {}
            Ready::Already(_) => return Ok(vec![]),
            Ready::No(refusal) => return Err(refusal),
        }
        let open = standing.open.map(|open| open.request);
        Ok(match command {
            C::Provision(request) => {
                let id = request.id;
                // What waits is begun later.
                let process = match request.waits_for {
                    Some(_) => Process::Reported,
                    None => request.service.process,
                };
                let rest =
                    [E::ProvisionStarted { request: id }, outcome(Verb::Provision, &request)];
                asked(process, E::ProvisionRequested { request: Box::new(request) }, rest)
            }
            C::Change(request) | C::TakeOver(request) => {
                let (id, process) = (request.id, request.service.process);
                let rest = [E::ChangeStarted { request: id }, outcome(Verb::Change, &request)];
                asked(process, E::ChangeRequested { request: Box::new(request) }, rest)
            }
            C::Deprovision(Asked { parent, process, request, waits, .. }) => asked(
                if waits { Process::Reported } else { process },
                E::DeprovisionRequested { parent, request, waits },
                [E::DeprovisionStarted { request }, E::Deprovisioned { request }],
            ),
            C::Suspend(Asked { dated, process, request, .. }) => asked(
                process,
                E::SuspendRequested { dated, request },
                [E::SuspendStarted { request }, E::Suspended { request }],
            ),
            C::Resume(Asked { dated, process, request, .. }) => asked(
                process,
                E::ResumeRequested { dated, request },
                [E::ResumeStarted { request }, E::Resumed { request }],
            ),
            C::Retry => open.map(|request| E::RequestRetried { request }).into_iter().collect(),
            C::Reset => open.map(|request| E::RequestReset { request }).into_iter().collect(),
            C::Cancel(_) => {
                let waiting = standing.cancellable.map(|it| it.request);
                waiting.map(|request| E::RequestCancelled { request }).into_iter().collect()
            }
            C::Release { .. }
            | C::Start(_)
            | C::Complete(_)
            | C::Fail { .. }
            | C::Supersede { .. } => vec![],
        })
    }

    fn evolve(mut self, event: &Self::Event, effective_at: DateTime<Utc>) -> Self {
        self.length += 1;
        let (request, position) = (event.request(), self.length);
        match event.phase() {
            Phase::Asked { verb, built, .. } => {
                self.last_verb = Some(verb);
                if let Some(built) = built {
                    self.request = Some(built.clone());
                    self.built.insert(request, built.clone());
                }
            }
            Phase::Done => {
                self.completed = Some(request);
                if let Some(built) = self.built.remove(&request) {
                    self.fill_in(&built, effective_at);
                }
            }
            Phase::Withdrawn => {
                self.built.remove(&request);
                self.filled_in.retain(|it| it.request != request);
                self.asked.retain(|(_, asked)| asked.id != request);
                self.history.withdraw(request);
            }
            Phase::Superseded => {
                self.move_to(request, effective_at);
                self.history.withdraw(request);
            }
            Phase::Released | Phase::Started | Phase::Failed | Phase::Retried => {}
        }
        self.desk.take_in(event, effective_at, position);
        self.suspensions.take_in(event, effective_at, position);
        if let Some(change) = event.change() {
            let actor = String::new();
            let request = Some(request);
            self.history.record(Fact {
                date: None,
                actor,
                change,
                effective_at,
                position,
                reason: None,
                request,
                values: event.values(),
            });
        }
        self
    }
}

#[cfg(test)]
mod tests;
