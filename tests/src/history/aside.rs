//! What is drawn aside: from randomness of its own, so that the rest of a history is drawn as it would be without.

use commands::{Caller, Command, Submission};
use domain::organization::Kind;
use domain::{CommandId, UserId};
use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{History, system};

/// Most commands that are drawn aside in a step.
const ASIDE_MAX: usize = 4;
/// The provider's: its administrator, and two more.
const FIRST_USERS: usize = 3;
/// Answers are to one of the latest wishes, most often.
const LATEST: usize = 4;
/// What has to be approved, if anything: most of what happens in a history has not.
const APPROVED: [&str; 4] = ["desktop", "desktop", "desktop", "no key"];

impl History {
    /// Commands that are handed over after those of a step.
    pub(super) fn aside(&mut self) -> Vec<Submission> {
        std::mem::swap(&mut self.rng, &mut self.aside);
        let count = self.rng.random_range(0..=ASIDE_MAX);
        let mut drawn: Vec<_> = (0..count).flat_map(|_| self.drawn_aside()).collect();
        if self.approvers.is_empty() {
            drawn.extend(self.first_policy());
        }
        std::mem::swap(&mut self.rng, &mut self.aside);
        drawn
    }

    fn drawn_aside(&mut self) -> Vec<Submission> {
        match self.rng.random_range(0..10) {
            0..2 => {
                let command = self.about_managers();
                vec![self.by_somebody(command)]
            }
            2..4 => {
                let command = self.policy();
                vec![self.by_somebody(command)]
            }
            4..6 => self.wish_of_somebody(),
            _ => vec![self.answer()],
        }
    }

    /// Somebody wants a user to have what his customer is given first.
    fn wish_of_somebody(&mut self) -> Vec<Submission> {
        let is_customer =
            |id: &String| self.organizations.iter().any(|it| it.0 == *id && it.1 == Kind::Customer);
        let homes: Vec<_> = self.homes.iter().filter(|(home, _)| is_customer(home)).collect();
        let Some((customer, user)) = homes.choose(&mut self.rng).map(|it| (*it).clone()) else {
            return Vec::new();
        };
        let caller = match self.first_user() {
            Some(user) if self.rng.random_bool(0.8) => Caller::user(user),
            _ => self.somebody(),
        };
        let body = |plan| json!({ "service": "desktop", "plan": plan });
        let first = self.perhaps(body("base"));
        let command =
            Command::ProvisionToUser { user: user.to_string(), body: self.perhaps(body("basic")) };
        let first = system(Command::ProvisionToCustomer { customer, body: first });
        vec![first, Submission { caller, command, idempotency: None }]
    }

    /// One of the first users: they are the provider's, and can be asked about everybody.
    fn first_user(&mut self) -> Option<UserId> {
        self.users[..self.users.len().min(FIRST_USERS)].choose(&mut self.rng).copied()
    }

    fn by_somebody(&mut self, command: Command) -> Submission {
        if self.rng.random_bool(0.7) {
            return system(command);
        }
        Submission { caller: self.caller(), command, idempotency: None }
    }

    /// A person, not Atrium itself: it asks nobody.
    fn somebody(&mut self) -> Caller {
        self.users.choose(&mut self.rng).map_or(Caller::SYSTEM, |user| Caller::user(*user))
    }

    /// Somebody has a manager, another one, or none any more.
    fn about_managers(&mut self) -> Command {
        let manager: Value =
            if self.rng.random_bool(0.2) { Value::Null } else { self.user().into() };
        let body = json!({ "managerId": manager });
        Command::EditUser { id: self.user(), body: self.perhaps(body), if_match: None }
    }

    /// One of the provider's people has to approve what most of what is wanted aside is about.
    fn first_policy(&mut self) -> Option<Submission> {
        let (provider, _) = self.organizations.first()?.clone();
        self.approvers = self.users[..self.users.len().min(FIRST_USERS)].to_vec();
        let users: Vec<_> = self.approvers.iter().map(ToString::to_string).collect();
        let body = json!({
            "users": users, "needed": 1, "remindAfterHours": self.rng.random_range(1..30),
            "expiresAfterHours": self.rng.random_range(10..200), "reason": self.reason(),
        });
        let (organization, service) = (provider, APPROVED[0].to_owned());
        let body = self.perhaps(body);
        Some(system(Command::SetApprovalPolicy { organization, service, body }))
    }

    /// Who has to approve what, or nobody any more.
    fn policy(&mut self) -> Command {
        let is_at_the_top = self.rng.random_bool(0.6);
        let organization = match self.organizations.first() {
            Some((provider, _)) if is_at_the_top => provider.clone(),
            _ => self.organization().0,
        };
        let service = self.one_of(&APPROVED).to_owned();
        if self.rng.random_bool(0.15) {
            return Command::ClearApprovalPolicy { organization, service, body: self.because() };
        }
        let mut body = json!({
            "verbs": if self.rng.random_bool(0.1) { json!(["provision", "sell"]) } else { Value::Null },
            "remindAfterHours": self.rng.random_range(1..30),
            "expiresAfterHours": self.rng.random_range(10..200),
            "reason": self.reason(),
        });
        match self.rng.random_range(0..4) {
            0 => body["managers"] = self.rng.random_range(1..4).into(),
            1 => body["role"] = self.role().into(),
            _ => {
                let count = self.rng.random_range(1..4);
                let mut named = || match self.first_user() {
                    Some(user) if is_at_the_top => user.to_string(),
                    _ => self.user(),
                };
                let users: Vec<_> = (0..count).map(|_| named()).collect();
                self.approvers.extend(users.iter().filter_map(|user| user.parse::<UserId>().ok()));
                body["users"] = users.into();
                body["needed"] = self.rng.random_range(1..3).into();
            }
        }
        Command::SetApprovalPolicy { organization, service, body: self.perhaps(body) }
    }

    /// An answer to something that was asked: most often by somebody whom a policy names.
    fn answer(&mut self) -> Submission {
        let unknown = || Uuid::from_u128(7).to_string();
        let latest = match self.rng.random_bool(0.8) {
            true => self.approvals.len().saturating_sub(LATEST),
            false => 0,
        };
        let id = self.approvals[latest..].choose(&mut self.rng);
        let id = id.cloned().unwrap_or_else(unknown);
        let caller = match self.approvers.choose(&mut self.rng) {
            Some(user) if self.rng.random_bool(0.7) => Caller::user(*user),
            _ => self.somebody(),
        };
        let (command, caller) = match self.rng.random_range(0..10) {
            0..5 => (Command::ApproveRequest { id, body: self.because() }, caller),
            5 => (Command::RejectRequest { id, body: self.because() }, caller),
            6 => (Command::WithdrawRequest { id, body: self.because() }, self.caller()),
            _ => {
                let id = CommandId(id.parse().unwrap_or_default());
                let is_due = self.rng.random_bool(0.9);
                (Command::ApprovalDue { id }, if is_due { Caller::SYSTEM } else { caller })
            }
        };
        Submission { caller, command, idempotency: None }
    }
}
