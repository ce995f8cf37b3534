//! Users as people see them.

use chrono::{DateTime, Utc};
use domain::event::{Event, Recorded};
use domain::organization::Status;
use domain::role::RoleRef;
use domain::user::{Person, UserEvent};
use domain::{OrganizationId, TenantPath, UserId};
use serde::{Deserialize, Serialize};

use super::held_in;
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
    /// Who it is.
    #[serde(flatten)]
    pub person: Person,
    /// What he may do.
    pub roles: Vec<RoleRef>,
    /// Whether he may sign in.
    pub status: Status,
    /// When he was added.
    pub created_at: DateTime<Utc>,
    /// Of the stream; its `ETag`.
    pub version: u64,
}

/// Whether an event changes how people see the user; signing in does not.
fn shows(event: &UserEvent) -> bool {
    match event {
        UserEvent::Created { .. }
        | UserEvent::Edited { .. }
        | UserEvent::Disabled {}
        | UserEvent::Enabled {}
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
            return Some(Self {
                id: *id,
                organization: *organization,
                path: event.path.clone(),
                person: person.clone(),
                roles: roles.clone(),
                status: Status::Active,
                created_at: event.effective_at,
                version: event.version,
            });
        }
        let mut view = before?;
        view.version = event.version;
        match happened {
            UserEvent::Edited { person } => view.person = person.clone(),
            UserEvent::Disabled {} => view.status = Status::Disabled,
            UserEvent::Enabled {} => view.status = Status::Active,
            UserEvent::RolesAssigned { roles } => view.roles.clone_from(roles),
            UserEvent::Created { .. }
            | UserEvent::PasswordSet { .. }
            | UserEvent::TokenCreated(_)
            | UserEvent::TokenDeleted { .. }
            | UserEvent::SignedIn(_)
            | UserEvent::SignedOut { .. }
            | UserEvent::Impersonated(_)
            | UserEvent::ImpersonationEnded { .. } => {}
        }
        Some(view)
    }

    fn index(&self) -> Index {
        Index {
            path: self.path.to_string(),
            owner: self.organization.to_string(),
            sort: self.person.full_name().to_lowercase(),
            ..Index::default()
        }
    }
}
