//! What a user signs in with, and what he may do. Never shown to anybody.

use domain::event::{Event, Recorded};
use domain::lifecycle::Status;
use domain::role::RoleRef;
use domain::user::{
    Credential, Impersonation, Proof, UserEvent, begin_impersonation, begin_session,
};
use domain::{OrganizationId, TenantPath, UserId};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// A user's password, sessions, tokens and roles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessView {
    /// Whose.
    pub user: UserId,
    /// Whose user.
    pub organization: OrganizationId,
    /// That organisation's place in the tree.
    pub path: TenantPath,
    /// Whether he may sign in.
    pub status: Status,
    /// What he may do.
    pub roles: Vec<RoleRef>,
    /// Argon2id; none: he cannot sign in yet.
    pub password: Option<Proof>,
    /// API tokens.
    pub tokens: Vec<Credential>,
    /// Open sessions.
    pub sessions: Vec<Credential>,
    /// Those who act as him.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub impersonations: Vec<Impersonation>,
}

impl View for AccessView {
    const TABLE: &'static str = "view_access";
    const INDEXES: &'static [&'static str] = &[];
    const MOVES: bool = true;
    held_in!(access);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match (&event.event, event.stream.split_once('-')) {
            (
                Event::User(
                    UserEvent::Edited { .. }
                    | UserEvent::ManagerSet { .. }
                    | UserEvent::ManagerCleared {},
                ),
                _,
            ) => vec![],
            (Event::User(_), Some((_, id))) => vec![Touch::own(id, event)],
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let Event::User(happened) = &event.event else {
            return before;
        };
        if let UserEvent::Created { id, organization, person: _, roles } = happened {
            return Some(Self {
                user: *id,
                organization: *organization,
                path: event.path.clone(),
                status: Status::Active,
                roles: roles.clone(),
                password: None,
                tokens: Vec::new(),
                sessions: Vec::new(),
                impersonations: Vec::new(),
            });
        }
        let mut view = before?;
        view.status = happened.status(view.status);
        match happened {
            UserEvent::RolesAssigned { roles } => view.roles.clone_from(roles),
            UserEvent::Erased {} => {
                view.roles.clear();
                view.password = None;
                view.tokens.clear();
                view.sessions.clear();
                view.impersonations.clear();
            }
            UserEvent::PasswordSet { proof } => {
                view.password = Some(proof.clone());
                view.sessions.clear();
                view.impersonations.clear();
            }
            UserEvent::TokenCreated(token) => view.tokens.push(token.clone()),
            UserEvent::TokenDeleted { id } => view.tokens.retain(|token| token.id != *id),
            UserEvent::SignedIn(session) => begin_session(&mut view.sessions, session.clone()),
            UserEvent::SignedOut { id } => {
                view.sessions.retain(|session| session.id != *id);
                view.impersonations.clear();
            }
            UserEvent::Impersonated(new) => {
                begin_impersonation(&mut view.impersonations, new.clone());
            }
            UserEvent::ImpersonationEnded { id } => {
                view.impersonations.retain(|it| it.credential.id != *id);
            }
            UserEvent::Created { .. }
            | UserEvent::Edited { .. }
            | UserEvent::ManagerSet { .. }
            | UserEvent::ManagerCleared {}
            | UserEvent::Disabled {}
            | UserEvent::Enabled {}
            | UserEvent::Deprovisioned {}
            | UserEvent::Deleted {}
            | UserEvent::Restored {}
            | UserEvent::Purged {} => {}
        }
        Some(view)
    }

    fn relocate(&mut self, to: &TenantPath) {
        self.path = to.clone();
    }

    fn index(&self) -> Index {
        Index {
            path: self.path.to_string(),
            owner: self.organization.to_string(),
            ..Index::default()
        }
    }
}
