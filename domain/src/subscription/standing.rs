//! The status machine: how a subscription stands at a moment, and which verbs are possible then. Commands ask it,
//! and so do those who show which buttons there are (docs/adr/0019-requests-are-reported.md).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Request, SubscriptionEvent};
use crate::billing::{Change, Fact};
use crate::permission::Permission;
use crate::service::Level;
use crate::{CommandId, PlanKey, Refusal};

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// Assign a service.
    Provision,
    /// Another plan, quantity or other inputs.
    Change,
    /// Let it rest.
    Suspend,
    /// Let it go on.
    Resume,
    /// Take a service away.
    Deprovision,
}

/// What can be done to a subscription: ask for something, or go on with what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Ask for something.
    Ask(Verb),
    /// Ask a failed request again.
    Retry,
    /// Take a request back that has not begun.
    Cancel,
    /// Give a request up that failed or is stuck.
    Reset,
}

impl Act {
    /// Everything that can be done.
    pub const ALL: [Self; 8] = [
        Self::Ask(Verb::Provision),
        Self::Ask(Verb::Change),
        Self::Ask(Verb::Suspend),
        Self::Ask(Verb::Resume),
        Self::Ask(Verb::Deprovision),
        Self::Retry,
        Self::Cancel,
        Self::Reset,
    ];

    /// As programs write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ask(Verb::Provision) => "provision",
            Self::Ask(Verb::Change) => "change",
            Self::Ask(Verb::Suspend) => "suspend",
            Self::Ask(Verb::Resume) => "resume",
            Self::Ask(Verb::Deprovision) => "deprovision",
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Reset => "reset",
        }
    }
}

impl Verb {
    /// The permission to ask for it, or to go on with what somebody asked, by the level of who holds the service.
    #[must_use]
    pub fn permission(self, level: Level) -> Permission {
        match (self, level) {
            (Self::Provision, Level::Customer) => Permission::AssignToCustomers,
            (Self::Change, Level::Customer) => Permission::ChangeOfCustomers,
            (Self::Deprovision, Level::Customer) => Permission::RemoveFromCustomers,
            (Self::Provision, Level::User) => Permission::AssignToUsers,
            (Self::Change, Level::User) => Permission::ChangeOfUsers,
            (Self::Deprovision, Level::User) => Permission::RemoveFromUsers,
            (Self::Suspend | Self::Resume, _) => Permission::SuspendSubscriptions,
        }
    }
}

/// How far an unfinished request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Progress {
    /// Work has not begun.
    Requested,
    /// Being worked on.
    InProgress,
    /// It did not work.
    Failed,
}

/// A request that nobody has finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Open {
    /// Whether its moment was given; otherwise its outcome counts from when it is reported.
    pub dated: bool,
    /// When it is to be true in the business.
    pub effective_at: DateTime<Utc>,
    /// Its place in the order of recording.
    pub position: u64,
    /// How far it is.
    pub progress: Progress,
    /// Which.
    pub request: CommandId,
    /// What was asked.
    pub verb: Verb,
    /// Whether it waits for another request, about another subscription.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
    /// What will be held, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<(PlanKey, u32)>,
}

impl Open {
    fn stands_in_the_way_at(&self, moment: DateTime<Utc>) -> bool {
        self.progress != Progress::Requested || self.effective_at <= moment
    }
}

/// What an event says about its request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Phase<'a> {
    /// It was asked.
    Asked {
        /// What.
        verb: Verb,
        /// See [`Open::dated`].
        dated: bool,
        /// All that it was built from, where it says what is to be held.
        built: Option<&'a Request>,
        /// The request that it is a part of.
        parent: Option<CommandId>,
        /// See [`Open::waits`].
        waits: bool,
    },
    /// It waits no longer.
    Released,
    /// Work began.
    Started,
    /// It is done.
    Done,
    /// It did not work.
    Failed,
    /// It is asked again.
    Retried,
    /// It is as if it had never been asked: taken back, or given up.
    Withdrawn,
    /// What came of it was true at another moment.
    Superseded,
}

/// The requests of a subscription that nobody has finished, in the order in which they are to be true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Desk(Vec<Open>);

impl Desk {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Open] {
        &self.0
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, request: CommandId) -> Option<&Open> {
        self.0.iter().find(|open| open.request == request)
    }

    /// The one that is to be finished before anything else is asked for that moment: what comes of it decides what
    /// that would be asked of.
    #[must_use]
    pub fn in_the_way_at(&self, moment: DateTime<Utc>) -> Option<&Open> {
        self.0.iter().find(|open| open.stands_in_the_way_at(moment))
    }

    /// Takes in what happened.
    pub fn take_in(
        &mut self,
        event: &SubscriptionEvent,
        effective_at: DateTime<Utc>,
        position: u64,
    ) {
        let request = event.request();
        let progress = match event.phase() {
            Phase::Asked { verb, dated, built, waits, .. } => {
                let wish = built.map(|built| (built.plan.key.clone(), built.quantity));
                let progress = Progress::Requested;
                let open =
                    Open { dated, effective_at, position, progress, request, verb, waits, wish };
                let place = self.0.partition_point(|other| other.effective_at <= effective_at);
                self.0.insert(place, open);
                return;
            }
            Phase::Done | Phase::Withdrawn => {
                self.0.retain(|open| open.request != request);
                return;
            }
            Phase::Released => {
                if let Some(open) = self.0.iter_mut().find(|open| open.request == request) {
                    open.waits = false;
                }
                return;
            }
            Phase::Superseded => return,
            Phase::Started => Progress::InProgress,
            Phase::Failed => Progress::Failed,
            Phase::Retried => Progress::Requested,
        };
        if let Some(open) = self.0.iter_mut().find(|open| open.request == request) {
            open.progress = progress;
        }
    }
}

/// A subscription was suspended or resumed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suspension {
    /// From when.
    pub effective_at: DateTime<Utc>,
    /// Its place in the order of recording.
    pub position: u64,
    /// By which request.
    pub request: CommandId,
    /// Whether it rests from then on.
    pub suspended: bool,
}

/// When a subscription rested and when it went on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Suspensions(Vec<Suspension>);

impl Suspensions {
    /// All of them, in business order.
    #[must_use]
    pub fn all(&self) -> &[Suspension] {
        &self.0
    }

    /// Takes in what happened.
    pub fn take_in(
        &mut self,
        event: &SubscriptionEvent,
        effective_at: DateTime<Utc>,
        position: u64,
    ) {
        let request = event.request();
        if matches!(event.phase(), Phase::Withdrawn | Phase::Superseded) {
            self.0.retain(|it| it.request != request);
        }
        let Some(suspended) = event.suspended() else { return };
        let place = self.0.partition_point(|other| other.effective_at <= effective_at);
        self.0.insert(place, Suspension { effective_at, position, request, suspended });
    }

    /// Forgets what is over and says nothing any more about `moment` and later.
    pub fn forget_before(&mut self, moment: DateTime<Utc>) {
        let over = self.0.partition_point(|it| it.effective_at <= moment);
        self.0.drain(..over.saturating_sub(1));
    }

    /// Whether what is held since `since` (a moment and a place in the order of recording) rests at a moment.
    #[must_use]
    pub fn rests_at(&self, moment: DateTime<Utc>, since: (DateTime<Utc>, u64)) -> bool {
        let until = self.0.partition_point(|it| it.effective_at <= moment);
        let last = self.0[..until].last();
        last.is_some_and(|it| it.suspended && (it.effective_at, it.position) > since)
    }
}

/// How it stands with a subscription (service-model.md, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Status {
    /// Nothing is held: not yet, or not any more.
    NotProvisioned,
    /// Asked for; work has not begun.
    Requested,
    /// Being worked on.
    InProgress,
    /// Held.
    Provisioned,
    /// What was asked for did not work.
    Failed,
    /// Held; other settings were asked for and are not applied yet.
    Pending,
    /// Held, and rests.
    Suspended,
}

/// Whether something can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It can.
    Go,
    /// It is so already: asking adds nothing.
    Already(Refusal),
    /// It cannot.
    No(Refusal),
}

impl Ready {
    /// Why it does nothing; none where it can be done.
    #[must_use]
    pub fn why_not(self) -> Option<Refusal> {
        match self {
            Self::Go => None,
            Self::Already(why) | Self::No(why) => Some(why),
        }
    }
}

/// How it stands with a subscription at a moment: all that decides which verbs are possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing<'a> {
    /// The moment.
    pub moment: DateTime<Utc>,
    /// Whether something is held.
    pub held: bool,
    /// Whether it was taken away then or before, and is not held.
    pub ended: bool,
    /// Whether it rests.
    pub suspended: bool,
    /// The request that has to be finished first.
    pub open: Option<&'a Open>,
    /// The request that would be taken back.
    pub cancellable: Option<Waiting>,
    /// What was asked last.
    pub last_verb: Verb,
}

/// A request that has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its place in the order of recording.
    pub position: u64,
    /// Which.
    pub request: CommandId,
    /// What was asked.
    pub verb: Verb,
}

impl Waiting {
    /// The one that a fact came of.
    #[must_use]
    pub fn of_fact(fact: &Fact) -> Option<Self> {
        let verb = match fact.change {
            Change::Provisioned { .. } => Verb::Provision,
            Change::Changed { .. } => Verb::Change,
            Change::Deprovisioned => Verb::Deprovision,
        };
        Some(Self { position: fact.position, request: fact.request?, verb })
    }

    fn of_open(open: &Open) -> Self {
        Self { position: open.position, request: open.request, verb: open.verb }
    }
}

impl From<&Suspension> for Waiting {
    fn from(rest: &Suspension) -> Self {
        let verb = if rest.suspended { Verb::Suspend } else { Verb::Resume };
        Self { position: rest.position, request: rest.request, verb }
    }
}

impl Standing<'_> {
    /// In one word.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.open.map(|open| (open.progress, open.verb)) {
            Some((Progress::Failed, _)) => Status::Failed,
            Some((Progress::InProgress, _)) => Status::InProgress,
            Some((Progress::Requested, Verb::Change)) => Status::Pending,
            Some((Progress::Requested, _)) => Status::Requested,
            None if self.held && self.suspended => Status::Suspended,
            None if self.held => Status::Provisioned,
            None => Status::NotProvisioned,
        }
    }

    /// What somebody asks for, or goes on with, who does this: it takes the permission for that.
    #[must_use]
    pub fn verb_of(&self, act: Act) -> Verb {
        let open = || self.open.map(|open| open.verb);
        match act {
            Act::Ask(verb) => Some(verb),
            Act::Retry | Act::Reset => open(),
            Act::Cancel => self.cancellable.map(|it| it.verb).or_else(open),
        }
        .unwrap_or(self.last_verb)
    }

    /// Whether something can be done.
    #[must_use]
    pub fn ready(&self, act: Act) -> Ready {
        match act {
            Act::Ask(verb) => self.ready_for(verb),
            Act::Retry => match self.open.map(|open| open.progress) {
                Some(Progress::Failed) => Ready::Go,
                _ => no("not_failed", "There is no request that failed."),
            },
            Act::Cancel if self.cancellable.is_some() => Ready::Go,
            Act::Cancel if self.open.is_some() => {
                no("begun", "Work on the request has begun; reset gives it up.")
            }
            Act::Cancel => no("nothing_to_cancel", "There is no request that has not begun."),
            Act::Reset => match self.open.map(|open| open.progress) {
                Some(Progress::Failed | Progress::InProgress) => Ready::Go,
                Some(Progress::Requested) => {
                    no("not_begun", "Work on the request has not begun; cancel it.")
                }
                None => no("nothing_to_reset", "There is no request that failed or is stuck."),
            },
        }
    }

    fn ready_for(&self, verb: Verb) -> Ready {
        match self.open.map(|open| open.progress) {
            Some(Progress::Failed) => {
                return no(
                    "request_failed",
                    "A request failed: retry it, or give it up with reset.",
                );
            }
            Some(_) => {
                return no(
                    "request_open",
                    "A request is still open; wait for it, or take it back.",
                );
            }
            None => {}
        }
        let nothing = || {
            let moment = self.moment.to_rfc3339();
            Refusal::conflict(
                "not_provisioned",
                format!("Nothing is provisioned here on {moment}."),
            )
        };
        match verb {
            Verb::Provision if self.held => no(
                "already_provisioned",
                "This service is provisioned with other settings; use change.",
            ),
            Verb::Provision => Ready::Go,
            Verb::Deprovision if !self.held && self.ended => Ready::Already(nothing()),
            Verb::Change | Verb::Suspend | Verb::Resume | Verb::Deprovision if !self.held => {
                Ready::No(nothing())
            }
            Verb::Suspend if self.suspended => {
                already("already_suspended", "It is suspended already.")
            }
            Verb::Resume if !self.suspended => already("not_suspended", "It is not suspended."),
            Verb::Change | Verb::Suspend | Verb::Resume | Verb::Deprovision => Ready::Go,
        }
    }
}

fn no(code: &'static str, detail: &str) -> Ready {
    Ready::No(Refusal::conflict(code, detail))
}

fn already(code: &'static str, detail: &str) -> Ready {
    Ready::Already(Refusal::conflict(code, detail))
}

/// The requests that have not begun: those on the desk, and those of `scheduled`, which are done and whose day is to
/// come.
pub fn waiting(
    desk: &Desk,
    scheduled: impl Iterator<Item = Waiting>,
) -> impl Iterator<Item = Waiting> {
    let open = desk.all().iter().filter(|open| open.progress == Progress::Requested);
    // What is worked on has facts that are to come, too, where it takes the service away.
    open.map(Waiting::of_open).chain(scheduled.filter(move |it| desk.get(it.request).is_none()))
}

/// The request that is taken back where none is named: the one that is to be finished first, or else the one that
/// was asked last of those whose day is to come.
#[must_use]
pub fn cancellable(
    desk: &Desk,
    scheduled: impl Iterator<Item = Waiting>,
    moment: DateTime<Utc>,
) -> Option<Waiting> {
    let first = desk.in_the_way_at(moment);
    if let Some(open) = first.filter(|open| open.progress == Progress::Requested) {
        return Some(Waiting::of_open(open));
    }
    waiting(desk, scheduled).max_by_key(|it| it.position)
}
