//! Wishes that wait for approval, or waited.

use domain::approval::{ApprovalEvent, Progress, Status};
use domain::event::{Event, Recorded};
use domain::role::RoleRef;
use domain::{CommandId, OrganizationId, TenantPath, UserId};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// A wish, who has to agree to it, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalView {
    /// Its id, which is also that of the request that it becomes.
    pub id: CommandId,
    /// Whose it is.
    pub path: TenantPath,
    /// How far it is.
    pub progress: Progress,
    /// Of its stream; its `ETag`.
    pub version: u64,
}

/// How those are written who are asked now, in [`Index::owner`].
fn user_mark(user: UserId) -> String {
    format!("|user:{user}|")
}

fn role_mark(organization: OrganizationId, role: &RoleRef) -> String {
    format!("|role:{organization}:{role}|")
}

/// Who is not asked although he has a role.
fn not_asked_mark(user: UserId) -> String {
    format!("|not:{user}|")
}

/// Who looks for what waits for him.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// Who.
    pub user: UserId,
    /// Whose user.
    pub organization: OrganizationId,
    /// What he is.
    pub roles: &'a [RoleRef],
}

impl Asked<'_> {
    /// What the owner of a document has one of that waits for him.
    pub(crate) fn marks(&self) -> Vec<String> {
        let roles = self.roles.iter().map(|role| role_mark(self.organization, role));
        std::iter::once(user_mark(self.user)).chain(roles).collect()
    }

    /// What it has not.
    pub(crate) fn not_asked(&self) -> String {
        not_asked_mark(self.user)
    }
}

impl ApprovalView {
    /// The kind of those that wait.
    pub const WAITING: &'static str = "waiting";

    /// Those who have to answer now.
    fn asked_now(&self) -> String {
        let Some(step) = self.progress.step().filter(|_| self.progress.status == Status::Waiting)
        else {
            return String::new();
        };
        let step = &self.progress.asked.steps[step];
        let open = step.users.iter().filter(|user| !self.progress.has_agreed(**user));
        let mut asked: String = open.map(|user| user_mark(*user)).collect();
        if let Some(role) = &step.role {
            asked.push_str(&role_mark(step.organization, role));
            let requester = &self.progress.asked.requester;
            let own = [Some(requester.user), requester.impersonator];
            let agreed = self.progress.approved.iter().map(|it| it.by);
            asked.extend(own.into_iter().flatten().chain(agreed).map(not_asked_mark));
        }
        asked
    }
}

impl View for ApprovalView {
    const TABLE: &'static str = "view_approval";
    const INDEXES: &'static [&'static str] = &["kind, since, key", "kind, sort, key", "sort, key"];
    const SORTS_BY_TENANT: bool = true;
    // Who is asked changes.
    const SORT_STAYS: bool = false;
    const MOVES: bool = true;
    held_in!(approvals);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match (&event.event, event.stream.split_once('-')) {
            (Event::Approval(_), Some((_, id))) => vec![Touch::own(id, event)],
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let Event::Approval(happened) = &event.event else {
            return before;
        };
        if let ApprovalEvent::Asked(asked) = happened {
            return Some(Self {
                id: asked.id,
                path: event.path.clone(),
                progress: Progress::new(asked.as_ref().clone(), event.effective_at),
                version: event.version,
            });
        }
        let mut view = before?;
        view.progress.take_in(happened, event.effective_at);
        view.version = event.version;
        Some(view)
    }

    fn relocate(&mut self, to: &TenantPath) {
        self.path = to.clone();
    }

    fn index(&self) -> Index {
        let waits = self.progress.status == Status::Waiting;
        Index {
            path: self.path.to_string(),
            owner: self.asked_now(),
            kind: self.progress.status.name().to_owned(),
            sort: format!("{}{}", self.path, self.id),
            since: if waits { self.progress.due_at().timestamp_micros() } else { i64::MAX },
            ..Index::default()
        }
    }
}
