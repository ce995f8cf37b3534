//! Users as people see them.

use chrono::{DateTime, TimeDelta, Utc};
use domain::event::{Event, Recorded};
use domain::lifecycle::Status;
use domain::organization::Purpose;
use domain::role::RoleRef;
use domain::seal::{Identity, Sealed};
use domain::user::UserEvent;
use domain::{OrganizationId, TenantPath, UserId};
use serde::{Deserialize, Serialize};

use super::{deleted_at, held_in, kept_as};
use crate::document::{Index, Touch, View};

/// A person who belongs to an organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserView {
    /// The user's id.
    pub id: UserId,
    /// Whose user.
    pub organization: OrganizationId,
    /// That organisation's place in the tree.
    pub path: TenantPath,
    /// The position of the event that added him: what lists are sorted by.
    pub added: u64,
    /// Who it is, sealed; none: he was erased.
    pub person: Option<Identity>,
    /// What he may do.
    pub roles: Vec<RoleRef>,
    /// Who his manager is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<UserId>,
    /// Whether he may sign in.
    pub status: Status,
    /// How he stood, from when on, where that was ever anything but active and for business: also once he was erased.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stood: Vec<Stood>,
    /// When he was added.
    pub created_at: DateTime<Utc>,
    /// When he was erased.
    pub erased_at: Option<DateTime<Utc>>,
    /// When he was deleted, where he is.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Of the stream; its `ETag`.
    pub version: u64,
}

/// How a user stood from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stood {
    /// From when on.
    pub at: DateTime<Utc>,
    /// The event's place in the log.
    pub position: u64,
    /// Why he was there.
    pub purpose: Purpose,
    /// Where he was in his life.
    pub status: Status,
}

impl UserView {
    /// Why he was there, and where he was in his life, just before a moment, as it was known at a position.
    #[must_use]
    pub fn stood_before(&self, moment: DateTime<Utc>, known_at: u64) -> (Purpose, Status) {
        // Before he was added, he had been nothing else than what he was then.
        let moment = moment.max(self.created_at + TimeDelta::microseconds(1));
        let mut known = self.stood.iter().filter(|it| it.position <= known_at);
        let last = known.rfind(|it| it.at < moment);
        last.map_or((Purpose::Standard, Status::Active), |it| (it.purpose, it.status))
    }

    fn stand(&mut self, event: &Recorded) {
        let last = self.stood.last().map(|it| (it.purpose, it.status));
        let last = last.unwrap_or((Purpose::Standard, Status::Active));
        // Why he was there is known as long as he is not erased.
        let purpose = self.person.as_ref().map_or(last.0, |person| person.purpose);
        if (purpose, self.status) != last {
            let (at, position, status) = (event.effective_at, event.position, self.status);
            self.stood.push(Stood { at, position, purpose, status });
        }
    }
}

/// Whether an event changes how people see the user; signing in does not.
fn shows(event: &UserEvent) -> bool {
    match event {
        UserEvent::Created { .. }
        | UserEvent::Edited { .. }
        | UserEvent::ManagerSet { .. }
        | UserEvent::ManagerCleared {}
        | UserEvent::Erased {}
        | UserEvent::Disabled {}
        | UserEvent::Enabled {}
        | UserEvent::Deprovisioned {}
        | UserEvent::Deleted {}
        | UserEvent::Restored {}
        | UserEvent::Purged {}
        | UserEvent::RolesAssigned { .. } => true,
        UserEvent::PasswordSet { .. }
        | UserEvent::TokenCreated(_)
        | UserEvent::TokenDeleted { .. }
        | UserEvent::SignedIn(_)
        | UserEvent::SignedOut { .. }
        | UserEvent::Impersonated(_)
        | UserEvent::ImpersonationEnded { .. } => false,
    }
}

impl View for UserView {
    const TABLE: &'static str = "view_user";
    const INDEXES: &'static [&'static str] = &["owner, sort, key", "path, sort, key"];
    const SORT_STAYS: bool = true;
    const CAN_BE_DELETED: bool = true;
    const MOVES: bool = true;
    held_in!(users);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match (&event.event, event.stream.split_once('-')) {
            (Event::User(happened), Some((_, id))) if shows(happened) => {
                vec![Touch::own(id, event)]
            }
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let Event::User(happened) = &event.event else {
            return before;
        };
        if let UserEvent::Created { id, organization, person, roles } = happened {
            let mut view = Self {
                id: *id,
                organization: *organization,
                path: event.path.clone(),
                added: event.position,
                person: Some(person.clone()),
                roles: roles.clone(),
                manager: None,
                status: Status::Active,
                stood: Vec::new(),
                created_at: event.effective_at,
                erased_at: None,
                deleted_at: None,
                version: event.version,
            };
            view.stand(event);
            return Some(view);
        }
        let mut view = before?;
        view.version = event.version;
        view.status = happened.status(view.status);
        view.deleted_at = deleted_at(view.status, view.deleted_at, event);
        match happened {
            UserEvent::Edited { person } => view.person = Some(person.clone()),
            UserEvent::ManagerSet { manager } => view.manager = Some(*manager),
            UserEvent::ManagerCleared {} => view.manager = None,
            UserEvent::Erased {} => {
                view.person = None;
                view.erased_at = Some(event.recorded_at);
                view.roles.clear();
            }
            UserEvent::RolesAssigned { roles } => view.roles.clone_from(roles),
            UserEvent::Created { .. }
            | UserEvent::Disabled {}
            | UserEvent::Enabled {}
            | UserEvent::Deprovisioned {}
            | UserEvent::Deleted {}
            | UserEvent::Restored {}
            | UserEvent::Purged {}
            | UserEvent::PasswordSet { .. }
            | UserEvent::TokenCreated(_)
            | UserEvent::TokenDeleted { .. }
            | UserEvent::SignedIn(_)
            | UserEvent::SignedOut { .. }
            | UserEvent::Impersonated(_)
            | UserEvent::ImpersonationEnded { .. } => {}
        }
        view.stand(event);
        Some(view)
    }

    fn relocate(&mut self, to: &TenantPath) {
        self.path = to.clone();
    }

    fn index(&self) -> Index {
        Index {
            path: self.path.to_string(),
            owner: self.organization.to_string(),
            kind: kept_as(
                match self.person.as_ref().map(|person| &person.sealed) {
                    Some(Sealed::Text(_)) => "sealed",
                    Some(Sealed::Clear(_)) => "clear",
                    None => "erased",
                },
                self.status,
            ),
            sort: format!("{:020}", self.added),
            ..Index::default()
        }
    }
}
