//! Approvals (service-model.md, section 5): who is asked before a service is provisioned, changed or taken away, and
//! how far a wish is that waits for them.

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};

use crate::decider::Decider;
use crate::role::RoleRef;
use crate::{CommandId, OrganizationId, Refusal, ServiceKey, SubscriptionId, UserId};

/// Most users that a policy names.
pub const APPROVERS_MAX: usize = 50;
/// Most managers that are asked, one after another.
pub const LEVELS_MAX: u32 = 5;
/// Most hours that a wish waits, or that pass between two reminders: a year.
pub const HOURS_MAX: u32 = 8_760;
/// Most policies of one organisation.
pub const POLICIES_MAX: usize = 200;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Asking {
    /// Assign a service.
    Provision,
    /// Other settings.
    Change,
    /// Take a service away.
    Deprovision,
}

impl Asking {
    /// Everything that can be asked for.
    pub const ALL: [Self; 3] = [Self::Provision, Self::Change, Self::Deprovision];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Provision => "provision",
            Self::Change => "change",
            Self::Deprovision => "deprovision",
        }
    }
}

/// Who has to agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Approvers {
    /// The manager, then his manager, and so on.
    Managers {
        /// How many, one after another.
        levels: u32,
    },
    /// So many of those who hold a role at the organisation that set the policy.
    Role {
        /// How many of them.
        needed: u32,
        /// Which role.
        role: RoleRef,
    },
    /// So many of these.
    Users {
        /// How many of them.
        needed: u32,
        /// Who.
        users: BTreeSet<UserId>,
    },
}

/// Who is asked first, at an organisation and below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Who has to agree.
    pub approvers: Approvers,
    /// For what.
    pub asking: BTreeSet<Asking>,
    /// After how long a wish is rejected that nobody has answered.
    pub expires_after_hours: u32,
    /// How long it is until those who are asked are reminded, again and again.
    pub remind_after_hours: u32,
}

/// A property as it is wished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WishedProperty {
    /// Whether only those see it who publish services.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// Which.
    pub key: String,
    /// As it was written; null takes it back.
    pub value: serde_json::Value,
}

/// All that was asked, as it was written: what is decided about later is just this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    /// What is asked for.
    pub asking: Asking,
    /// The customer who holds it, or whose user does.
    pub customer: OrganizationId,
    /// From when; as of the day of the last approval where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective_at: Option<String>,
    /// The instance's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The plan's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// What is filled in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<WishedProperty>,
    /// Units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity: Option<i64>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which service.
    pub service: ServiceKey,
    /// Its slot.
    pub subscription: SubscriptionId,
    /// The user who holds it, for a user service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
}

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requester {
    /// Who really did, where he acted as the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impersonator: Option<UserId>,
    /// As whom it was asked.
    pub user: UserId,
}

impl Requester {
    /// Whether it is he, or the one as whom he acted.
    #[must_use]
    pub fn is(&self, user: UserId) -> bool {
        self.user == user || self.impersonator == Some(user)
    }
}

/// A step: those who are asked together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// How many have to agree.
    pub needed: u32,
    /// The organisation whose policy it is.
    pub organization: OrganizationId,
    /// Whoever holds this role there may answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleRef>,
    /// These may answer.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub users: BTreeSet<UserId>,
}

impl Step {
    /// Whether somebody is asked in it.
    #[must_use]
    pub fn asks(&self, answering: &Answering) -> bool {
        let holds = |role| answering.roles.contains(role);
        self.users.contains(&answering.user)
            || (answering.organization == self.organization
                && self.role.as_ref().is_some_and(holds))
    }
}

/// Who answers, as he is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answering {
    /// Who.
    pub user: UserId,
    /// Who really does, where he acts as the other.
    pub impersonator: Option<UserId>,
    /// Whose user.
    pub organization: OrganizationId,
    /// What he is.
    pub roles: Vec<RoleRef>,
}

/// Why a wish that was approved could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The refusal's stable code.
    pub code: String,
    /// The refusal, for people.
    pub detail: String,
}

/// A wish about an approval.
#[derive(Clone, Debug)]
pub enum ApprovalCommand {
    /// Ask.
    Ask(Box<Asked>),
    /// Agree.
    Approve(Answering),
    /// Disagree.
    Reject(Answering),
    /// Take it back.
    Withdraw(Requester),
    /// Do what is due: remind, or reject what nobody has answered.
    Due,
    /// What was approved is done.
    Grant,
    /// What was approved cannot be done.
    Fail(Failure),
}

/// A wish that waits, and for whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// When it is rejected, if nobody has answered by then.
    #[serde(with = "chrono::serde::ts_microseconds")]
    pub expires_at: DateTime<Utc>,
    /// Its id, which is also that of the request that it becomes.
    pub id: CommandId,
    /// The request for many that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<CommandId>,
    /// How long it is between reminders.
    pub remind_after_hours: u32,
    /// Who asked.
    pub requester: Requester,
    /// Who has to agree, one step after another.
    pub steps: Vec<Step>,
    /// What was asked.
    pub wish: Wish,
}

/// A fact about an approval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum ApprovalEvent {
    /// A wish waits for approval.
    #[serde(rename = "approval.asked")]
    Asked(Box<Asked>),
    /// Somebody agreed.
    #[serde(rename = "approval.approved")]
    Approved {
        /// Who.
        by: UserId,
        /// In which steps it counts, from 0.
        steps: BTreeSet<u32>,
    },
    /// Somebody disagreed: it is over.
    #[serde(rename = "approval.rejected")]
    Rejected {
        /// Who.
        by: UserId,
    },
    /// Those who are asked were reminded.
    #[serde(rename = "approval.reminded")]
    Reminded {
        /// When they are next.
        #[serde(with = "chrono::serde::ts_microseconds")]
        next: DateTime<Utc>,
    },
    /// Nobody answered in time: it is over.
    #[serde(rename = "approval.expired")]
    Expired {},
    /// It was taken back.
    #[serde(rename = "approval.withdrawn")]
    Withdrawn {},
    /// Everybody agreed, and it was carried out.
    #[serde(rename = "approval.granted")]
    Granted {},
    /// Everybody agreed, and it could not be carried out any more.
    #[serde(rename = "approval.failed")]
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// How far a wish is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// Somebody has to answer.
    #[default]
    Waiting,
    /// Carried out.
    Granted,
    /// Somebody disagreed.
    Rejected,
    /// Nobody answered in time.
    Expired,
    /// Taken back.
    Withdrawn,
    /// Approved, and refused when it was to be carried out.
    Failed,
}

impl Status {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Granted => "granted",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::Failed => "failed",
        }
    }
}

/// Somebody agreed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approved {
    /// Who.
    pub by: UserId,
    /// In which steps it counts.
    pub steps: BTreeSet<u32>,
    /// When.
    pub at: DateTime<Utc>,
}

/// How far a wish is that waits or waited, as its facts tell: what is decided on, and what is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What was asked, by whom, and who has to agree.
    pub asked: Asked,
    /// When it was asked.
    pub asked_at: DateTime<Utc>,
    /// Who has agreed.
    pub approved: Vec<Approved>,
    /// Who disagreed.
    pub rejected_by: Option<UserId>,
    /// How often those who are asked were reminded.
    pub reminders: u32,
    /// When they are reminded next.
    pub reminder_at: DateTime<Utc>,
    /// How far it is.
    pub status: Status,
    /// Since when it waits no more.
    pub decided_at: Option<DateTime<Utc>>,
    /// Why it could not be carried out.
    pub failure: Option<Failure>,
}

impl Progress {
    /// What begins with a wish that waits.
    #[must_use]
    pub fn new(asked: Asked, at: DateTime<Utc>) -> Self {
        Self {
            reminder_at: at + hours(asked.remind_after_hours),
            asked,
            asked_at: at,
            approved: Vec::new(),
            rejected_by: None,
            reminders: 0,
            status: Status::Waiting,
            decided_at: None,
            failure: None,
        }
    }

    /// Who has agreed in a step.
    pub fn approved_in(&self, step: usize) -> impl Iterator<Item = &Approved> {
        let counts =
            move |approved: &&Approved| approved.steps.iter().any(|it| *it as usize == step);
        self.approved.iter().filter(counts)
    }

    /// The first step in which somebody has to agree still; none where all have.
    #[must_use]
    pub fn step(&self) -> Option<usize> {
        let lacks = |(index, step): (usize, &Step)| {
            (self.approved_in(index).count() < step.needed as usize).then_some(index)
        };
        self.asked.steps.iter().enumerate().find_map(lacks)
    }

    /// Whether somebody has agreed.
    #[must_use]
    pub fn has_agreed(&self, user: UserId) -> bool {
        self.approved.iter().any(|approved| approved.by == user)
    }

    /// When something is to be done about it, if nobody does anything.
    #[must_use]
    pub fn due_at(&self) -> DateTime<Utc> {
        self.reminder_at.min(self.asked.expires_at)
    }

    /// Takes in a fact that follows.
    pub fn take_in(&mut self, event: &ApprovalEvent, at: DateTime<Utc>) {
        let status = match event {
            ApprovalEvent::Asked(_) => return,
            ApprovalEvent::Approved { by, steps } => {
                self.approved.push(Approved { by: *by, steps: steps.clone(), at });
                return;
            }
            ApprovalEvent::Reminded { next } => {
                self.reminders += 1;
                self.reminder_at = *next;
                return;
            }
            ApprovalEvent::Rejected { by } => {
                self.rejected_by = Some(*by);
                Status::Rejected
            }
            ApprovalEvent::Expired {} => Status::Expired,
            ApprovalEvent::Withdrawn {} => Status::Withdrawn,
            ApprovalEvent::Granted {} => Status::Granted,
            ApprovalEvent::Failed { failure } => {
                self.failure = Some(failure.clone());
                Status::Failed
            }
        };
        (self.status, self.decided_at) = (status, Some(at));
    }

    /// Lets somebody answer, or says why not; gives the steps in which his answer counts.
    ///
    /// # Errors
    /// Where he is not asked, or asks himself.
    pub fn ensure_asked(&self, answering: &Answering) -> Result<BTreeSet<u32>, Refusal> {
        let requester = &self.asked.requester;
        if requester.is(answering.user) || answering.impersonator.is_some_and(|it| requester.is(it))
        {
            let detail = "Nobody answers his own request; somebody else has to.";
            return Err(Refusal::conflict("own_request", detail));
        }
        let asks = |(index, step): (usize, &Step)| {
            let index = u32::try_from(index).ok()?;
            step.asks(answering).then_some(index)
        };
        let steps: BTreeSet<u32> = self.asked.steps.iter().enumerate().filter_map(asks).collect();
        if steps.is_empty() {
            let detail = "You are not one of those who are asked to approve this.";
            return Err(Refusal::forbidden(detail));
        }
        Ok(steps)
    }

    /// Lets somebody take it back, or says why not.
    ///
    /// # Errors
    /// Where he did not ask for it.
    pub fn ensure_requester(&self, by: &Requester) -> Result<(), Refusal> {
        if self.asked.requester.user == by.user {
            return Ok(());
        }
        let detail = "Only who asked for this can withdraw it; those who are asked reject it.";
        Err(Refusal::forbidden(detail))
    }

    /// Somebody who is asked answers while it is his turn.
    fn ensure_turn(&self, steps: &BTreeSet<u32>) -> Result<(), Refusal> {
        if self.status != Status::Waiting {
            return Err(self.not_waiting());
        }
        let is_turn = |step: usize| steps.iter().any(|it| *it as usize == step);
        if self.step().is_some_and(is_turn) {
            return Ok(());
        }
        let detail = "Others are asked before you; it is not your turn yet.";
        Err(Refusal::conflict("not_your_turn", detail))
    }

    fn not_waiting(&self) -> Refusal {
        let detail =
            format!("This request waits for nobody any more; it is {}.", self.status.name());
        Refusal::conflict("not_waiting", detail)
    }
}

fn hours(hours: u32) -> Duration {
    Duration::hours(i64::from(hours))
}

/// A wish that waits for approval, as its stream tells.
#[derive(Clone, Debug, Default)]
pub struct Approval {
    progress: Option<Progress>,
}

impl Approval {
    /// How far it is.
    ///
    /// # Errors
    /// Not found where nothing was asked.
    pub fn progress(&self) -> Result<&Progress, Refusal> {
        self.progress.as_ref().ok_or_else(Refusal::not_found)
    }
}

impl Decider for Approval {
    const CATEGORY: &'static str = "approval";
    type Command = ApprovalCommand;
    type Event = ApprovalEvent;

    fn decide(
        &self,
        command: Self::Command,
        now: DateTime<Utc>,
    ) -> Result<Vec<Self::Event>, Refusal> {
        use ApprovalCommand as C;
        use ApprovalEvent as E;
        match (&self.progress, command) {
            (None, C::Ask(asked)) => Ok(vec![E::Asked(asked)]),
            (Some(_), C::Ask(_)) => Err(Refusal::conflict("exists", "This was asked already.")),
            (None, _) => Err(Refusal::not_found()),
            (Some(progress), C::Approve(answering)) => {
                let steps = progress.ensure_asked(&answering)?;
                if progress.has_agreed(answering.user) {
                    return Ok(vec![]);
                }
                progress.ensure_turn(&steps)?;
                Ok(vec![E::Approved { by: answering.user, steps }])
            }
            (Some(progress), C::Reject(answering)) => {
                let steps = progress.ensure_asked(&answering)?;
                if progress.rejected_by == Some(answering.user) {
                    return Ok(vec![]);
                }
                progress.ensure_turn(&steps)?;
                Ok(vec![E::Rejected { by: answering.user }])
            }
            (Some(progress), C::Withdraw(by)) => {
                progress.ensure_requester(&by)?;
                match progress.status {
                    Status::Waiting => Ok(vec![E::Withdrawn {}]),
                    Status::Withdrawn => Ok(vec![]),
                    _ => Err(progress.not_waiting()),
                }
            }
            (Some(progress), _) if progress.status != Status::Waiting => Ok(vec![]),
            (Some(progress), C::Due) if progress.asked.expires_at <= now => Ok(vec![E::Expired {}]),
            (Some(progress), C::Due) if progress.reminder_at <= now => {
                // One for all that were missed while nobody looked.
                let next = now + hours(progress.asked.remind_after_hours);
                Ok(vec![E::Reminded { next }])
            }
            (Some(_), C::Due) => Ok(vec![]),
            (Some(_), C::Grant) => Ok(vec![E::Granted {}]),
            (Some(_), C::Fail(failure)) => Ok(vec![E::Failed { failure }]),
        }
    }

    fn evolve(mut self, event: &Self::Event, at: DateTime<Utc>) -> Self {
        match (event, &mut self.progress) {
            (ApprovalEvent::Asked(asked), _) => {
                self.progress = Some(Progress::new(asked.as_ref().clone(), at));
            }
            (event, Some(progress)) => progress.take_in(event, at),
            (_, None) => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::decider::testing::{given, november};
    use crate::role::DefaultRole;

    const ID: CommandId = CommandId(Uuid::from_u128(1));
    const AT: OrganizationId = OrganizationId(Uuid::from_u128(30));
    const ASKS: u128 = 7;

    fn user(id: u128) -> UserId {
        UserId(Uuid::from_u128(id))
    }

    fn of_users(needed: u32, users: &[u128]) -> Step {
        let users = users.iter().map(|id| user(*id)).collect();
        Step { needed, organization: AT, role: None, users }
    }

    fn of_role(needed: u32) -> Step {
        let role = Some(DefaultRole::CustomerAdministrator.into());
        Step { role, ..of_users(needed, &[]) }
    }

    fn asked(steps: impl Into<Vec<Step>>) -> Asked {
        let service = ServiceKey::parse("mailbox").unwrap();
        Asked {
            expires_at: november(8),
            id: ID,
            part_of: None,
            remind_after_hours: 24,
            requester: Requester { impersonator: Some(user(70)), user: user(ASKS) },
            steps: steps.into(),
            wish: Wish {
                asking: Asking::Provision,
                customer: AT,
                effective_at: Some("2019-12-01".to_owned()),
                instance: None,
                plan: Some("basic".to_owned()),
                properties: vec![WishedProperty {
                    hidden: true,
                    key: "Server".to_owned(),
                    value: serde_json::json!("a.example"),
                }],
                quantity: Some(2),
                reason: None,
                subscription: SubscriptionId::of_slot(AT.0, &service, None),
                service,
                user: None,
            },
        }
    }

    fn asks(steps: impl Into<Vec<Step>>) -> (u32, ApprovalEvent) {
        (1, ApprovalEvent::Asked(Box::new(asked(steps))))
    }

    fn somebody(id: u128) -> Answering {
        Answering { user: user(id), impersonator: None, organization: AT, roles: vec![] }
    }

    fn administrator(id: u128) -> Answering {
        Answering { roles: vec![DefaultRole::CustomerAdministrator.into()], ..somebody(id) }
    }

    fn approved(by: u128, steps: &[u32]) -> ApprovalEvent {
        ApprovalEvent::Approved { by: user(by), steps: steps.iter().copied().collect() }
    }

    fn approve(id: u128) -> ApprovalCommand {
        ApprovalCommand::Approve(somebody(id))
    }

    fn progress(facts: impl IntoIterator<Item = (u32, ApprovalEvent)>) -> Progress {
        let state = facts
            .into_iter()
            .fold(Approval::default(), |state, (day, fact)| state.evolve(&fact, november(day)));
        state.progress().expect("it was asked").clone()
    }

    #[test]
    fn a_wish_is_asked_once_and_nothing_is_answered_that_nobody_asked() {
        let ask = || ApprovalCommand::Ask(Box::new(asked([of_users(1, &[8])])));
        given::<Approval>([]).when(1, ask()).then([asks([of_users(1, &[8])]).1]);
        given::<Approval>([asks([of_users(1, &[8])])]).when(2, ask()).then_refused("exists");
        given::<Approval>([]).when(1, approve(8)).then_refused("not_found");
        given::<Approval>([]).when(1, ApprovalCommand::Due).then_refused("not_found");
    }

    #[test]
    fn those_who_are_asked_approve_and_nobody_else() {
        let waits = || given::<Approval>([asks([of_users(2, &[8, 9, 10])])]);
        waits().when(2, approve(8)).then([approved(8, &[0])]);
        waits().when(2, approve(11)).then_refused("forbidden");
        given::<Approval>([asks([of_users(2, &[8, 9])]), (2, approved(8, &[0]))])
            .when(2, approve(8))
            .then_nothing();
    }

    #[test]
    fn nobody_approves_or_rejects_what_he_asked_for_whoever_he_acts_as() {
        for answering in [
            somebody(ASKS),
            somebody(70),
            Answering { impersonator: Some(user(70)), ..somebody(8) },
            Answering { impersonator: Some(user(ASKS)), ..somebody(8) },
        ] {
            for command in
                [ApprovalCommand::Approve(answering.clone()), ApprovalCommand::Reject(answering)]
            {
                given::<Approval>([asks([of_users(1, &[ASKS, 70, 8])])])
                    .when(2, command)
                    .then_refused("own_request");
            }
        }
        let another = Answering { impersonator: Some(user(71)), ..somebody(8) };
        given::<Approval>([asks([of_users(1, &[8])])])
            .when(2, ApprovalCommand::Approve(another))
            .then([approved(8, &[0])]);
    }

    #[test]
    fn a_step_is_over_when_enough_have_agreed_and_then_the_next_are_asked() {
        let steps = || [of_users(2, &[8, 9, 10]), of_users(1, &[11])];
        assert_eq!(progress([asks(steps())]).step(), Some(0));
        given::<Approval>([asks(steps())]).when(2, approve(11)).then_refused("not_your_turn");
        let one = [asks(steps()), (2, approved(8, &[0]))];
        assert_eq!(progress(one).step(), Some(0));
        let both = || [asks(steps()), (2, approved(8, &[0])), (2, approved(9, &[0]))];
        assert_eq!(progress(both()).step(), Some(1));
        given::<Approval>(both()).when(3, approve(10)).then_refused("not_your_turn");
        given::<Approval>(both()).when(3, approve(11)).then([approved(11, &[1])]);
        let all = both().into_iter().chain([(3, approved(11, &[1]))]);
        assert_eq!(progress(all).step(), None);
    }

    #[test]
    fn who_is_asked_in_several_steps_answers_once() {
        let steps = || [of_users(1, &[8]), of_users(2, &[9, 10]), of_users(1, &[8, 11])];
        given::<Approval>([asks(steps())]).when(2, approve(8)).then([approved(8, &[0, 2])]);
        let state = progress([asks(steps()), (2, approved(8, &[0, 2])), (2, approved(9, &[1]))]);
        assert_eq!(state.step(), Some(1));
        assert_eq!(state.approved_in(2).count(), 1);
    }

    #[test]
    fn those_who_hold_a_role_at_the_organisation_are_asked() {
        let waits = || given::<Approval>([asks([of_role(1)])]);
        let elsewhere =
            Answering { organization: OrganizationId(Uuid::from_u128(31)), ..administrator(8) };
        waits().when(2, ApprovalCommand::Approve(administrator(8))).then([approved(8, &[0])]);
        waits().when(2, approve(8)).then_refused("forbidden");
        waits().when(2, ApprovalCommand::Approve(elsewhere)).then_refused("forbidden");
    }

    #[test]
    fn one_who_rejects_is_enough_and_then_it_is_over() {
        let steps = || asks([of_users(2, &[8, 9])]);
        let reject = |id| ApprovalCommand::Reject(somebody(id));
        let rejected = ApprovalEvent::Rejected { by: user(9) };
        given::<Approval>([steps(), (2, approved(8, &[0]))])
            .when(3, reject(9))
            .then([rejected.clone()]);
        let over = || given::<Approval>([steps(), (2, rejected.clone())]);
        over().when(3, reject(9)).then_nothing();
        over().when(3, reject(8)).then_refused("not_waiting");
        over().when(3, approve(8)).then_refused("not_waiting");
        over().when(9, ApprovalCommand::Due).then_nothing();
    }

    #[test]
    fn only_who_asked_withdraws_and_only_while_it_waits() {
        let withdraw =
            |id| ApprovalCommand::Withdraw(Requester { impersonator: None, user: user(id) });
        let waits = || given::<Approval>([asks([of_users(1, &[8])])]);
        waits().when(2, withdraw(ASKS)).then([ApprovalEvent::Withdrawn {}]);
        waits().when(2, withdraw(8)).then_refused("forbidden");
        given::<Approval>([asks([of_users(1, &[8])]), (2, ApprovalEvent::Withdrawn {})])
            .when(3, withdraw(ASKS))
            .then_nothing();
        given::<Approval>([asks([of_users(1, &[8])]), (2, ApprovalEvent::Expired {})])
            .when(3, withdraw(ASKS))
            .then_refused("not_waiting");
    }

    #[test]
    fn those_who_are_asked_are_reminded_every_day_until_it_is_over() {
        let steps = || asks([of_users(1, &[8])]);
        let reminded = |day| ApprovalEvent::Reminded { next: november(day) };
        let due = || ApprovalCommand::Due;
        given::<Approval>([steps()]).when(1, due()).then_nothing();
        given::<Approval>([steps()]).when(2, due()).then([reminded(3)]);
        given::<Approval>([steps(), (2, reminded(3))]).when(2, due()).then_nothing();
        // Nobody looked for some days: one reminder stands for all that were missed.
        given::<Approval>([steps(), (2, reminded(3))]).when(6, due()).then([reminded(7)]);
        given::<Approval>([steps()]).when(8, due()).then([ApprovalEvent::Expired {}]);
        given::<Approval>([steps(), (8, ApprovalEvent::Expired {})]).when(9, due()).then_nothing();
        let state = progress([steps(), (2, reminded(3)), (3, reminded(4))]);
        assert_eq!((state.reminders, state.due_at()), (2, november(4)));
        assert_eq!(progress([steps(), (7, reminded(9))]).due_at(), november(8));
    }

    #[test]
    fn what_was_approved_is_granted_or_has_failed() {
        let steps = || asks([of_users(1, &[8])]);
        let failure =
            || Failure { code: "not_offered".to_owned(), detail: "It is not offered.".to_owned() };
        let all = || [steps(), (2, approved(8, &[0]))];
        given::<Approval>(all()).when(2, ApprovalCommand::Grant).then([ApprovalEvent::Granted {}]);
        given::<Approval>(all())
            .when(2, ApprovalCommand::Fail(failure()))
            .then([ApprovalEvent::Failed { failure: failure() }]);
        let failed = all().into_iter().chain([(2, ApprovalEvent::Failed { failure: failure() })]);
        let state = progress(failed.clone());
        assert_eq!((state.status, state.failure), (Status::Failed, Some(failure())));
        assert_eq!(state.decided_at, Some(november(2)));
        given::<Approval>(failed).when(3, ApprovalCommand::Grant).then_nothing();
    }

    #[test]
    fn a_status_has_the_name_that_it_is_stored_by() {
        for status in [
            Status::Waiting,
            Status::Granted,
            Status::Rejected,
            Status::Expired,
            Status::Withdrawn,
            Status::Failed,
        ] {
            assert_eq!(serde_json::to_value(status).unwrap(), status.name());
        }
        for asking in Asking::ALL {
            assert_eq!(serde_json::to_value(asking).unwrap(), asking.name());
        }
    }
}
