//! Who took a name that only one may have.

use domain::event::{Event, Recorded};
use domain::organization::OrganizationEvent;
use domain::role::RoleEvent;
use domain::seal::LoginHash;
use domain::text::Code;
use domain::user::UserEvent;
use domain::{OrganizationId, TenantPath};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::held_in;
use crate::document::{Index, Touch, View};

/// The last one who took a name. He may have given it up since: his own stream says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameView {
    /// A user, an organisation or a role.
    pub owner: Uuid,
}

/// The key under which the provider is found.
pub const PROVIDER_KEY: &str = "provider";

/// The key of a login.
#[must_use]
pub fn login_key(login: &LoginHash) -> String {
    format!("login:{}", login.as_str())
}

/// The key of an organisation's code.
#[must_use]
pub fn code_key(code: &Code) -> String {
    format!("code:{}", code.as_str())
}

/// The key of an organisation's account code in the accounting system.
#[must_use]
pub fn billing_identifier_key(identifier: &str) -> String {
    format!("account:{}", identifier.to_lowercase())
}

/// The key of a role's name among those that an organisation makes.
#[must_use]
pub fn role_name_key(organization: OrganizationId, name: &str) -> String {
    format!("role:{organization}:{}", name.to_lowercase())
}

impl View for NameView {
    const TABLE: &'static str = "view_name";
    const INDEXES: &'static [&'static str] = &[];
    held_in!(names);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match &event.event {
            Event::Organization(
                OrganizationEvent::Created { details, .. } | OrganizationEvent::Edited { details },
            ) => std::iter::once(Touch::existing(code_key(&details.code)))
                .chain(
                    (event.path == TenantPath::provider()).then(|| Touch::existing(PROVIDER_KEY)),
                )
                .chain(
                    details
                        .billing_identifier
                        .as_deref()
                        .map(|identifier| Touch::existing(billing_identifier_key(identifier))),
                )
                .collect(),
            Event::User(UserEvent::Created { person, .. } | UserEvent::Edited { person }) => {
                vec![Touch::existing(login_key(&person.login))]
            }
            Event::Role(
                RoleEvent::Created { content, organization, .. }
                | RoleEvent::Edited { content, organization },
            ) => vec![Touch::existing(role_name_key(*organization, &content.name))],
            Event::Organization(_)
            | Event::User(_)
            | Event::Service(_)
            | Event::Subscription(_)
            | Event::BillingCalendar(_)
            | Event::Bulk(_)
            | Event::Usage(_)
            | Event::Role(RoleEvent::Deleted { .. })
            | Event::CustomPermission(_)
            | Event::Approval(_)
            | Event::Books(_)
            | Event::Pricing(_)
            | Event::Rulebook(_) => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let owner = event.stream.split_once('-').and_then(|(_, id)| Uuid::try_parse(id).ok());
        owner.map(|owner| Self { owner }).or(before)
    }

    fn index(&self) -> Index {
        Index { owner: self.owner.to_string(), ..Index::default() }
    }
}
