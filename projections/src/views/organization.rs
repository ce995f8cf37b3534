//! Organisations as people see them.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use domain::event::{Event, Recorded};
use domain::lifecycle::Status;
use domain::organization::{Details, Kind, OrganizationEvent};
use domain::role::RoleEvent;
use domain::seal::Sealed;
use domain::user::UserEvent;
use domain::{OrganizationId, RoleId, TenantPath};
use serde::{Deserialize, Serialize};

use super::{deleted_at, held_in, kept_as};
use crate::document::{Index, Touch, View};

/// A provider, reseller or customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrganizationView {
    /// Its id.
    pub id: OrganizationId,
    /// What it is.
    pub kind: Kind,
    /// The billing API's id.
    pub number: u32,
    /// Name, code, contact and the like.
    #[serde(flatten)]
    pub details: Details,
    /// Directly above.
    pub parent: Option<OrganizationId>,
    /// Where it is in the tree.
    pub path: TenantPath,
    /// Whether it is in use.
    pub status: Status,
    /// How many users were ever added.
    pub users_added: u32,
    /// How many roles it has made that have not ended.
    pub roles_made: u32,
    /// Roles made above that it was given.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub given: BTreeSet<RoleId>,
    /// When it was founded.
    pub created_at: DateTime<Utc>,
    /// When it was deleted, where it is.
    pub deleted_at: Option<DateTime<Utc>>,
    /// Of its stream; its `ETag`.
    pub version: u64,
}

impl View for OrganizationView {
    const TABLE: &'static str = "view_organization";
    const INDEXES: &'static [&'static str] = &["owner, sort, key", "path", "kind, sort, key"];
    const CAN_BE_DELETED: bool = true;
    held_in!(organizations);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match &event.event {
            Event::Organization(
                OrganizationEvent::Overridden(_)
                | OrganizationEvent::Offered(_)
                | OrganizationEvent::OfferWithdrawn(_)
                | OrganizationEvent::ApprovalsSet { .. }
                | OrganizationEvent::ApprovalsCleared { .. },
            ) => vec![],
            Event::Organization(_) => match event.stream.split_once('-') {
                Some((_, id)) => vec![Touch::own(id, event)],
                None => vec![],
            },
            Event::User(UserEvent::Created { organization, .. })
            | Event::Role(
                RoleEvent::Created { organization, .. } | RoleEvent::Deleted { organization },
            ) => {
                vec![Touch::existing(organization)]
            }
            Event::User(_)
            | Event::Service(_)
            | Event::Subscription(_)
            | Event::BillingCalendar(_)
            | Event::Role(_)
            | Event::CustomPermission(_)
            | Event::Approval(_) => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        if let Event::Organization(OrganizationEvent::Created {
            details,
            id,
            kind,
            number,
            parent,
            path,
        }) = &event.event
        {
            return Some(Self {
                id: *id,
                kind: *kind,
                number: *number,
                details: details.clone(),
                parent: *parent,
                path: path.clone(),
                status: Status::Active,
                users_added: 0,
                roles_made: 0,
                given: BTreeSet::new(),
                created_at: event.effective_at,
                deleted_at: None,
                version: event.version,
            });
        }
        let mut view = before?;
        match &event.event {
            // What does not show leaves the version that people know.
            Event::Organization(OrganizationEvent::RoleGiven { role }) => {
                view.given.insert(*role);
            }
            Event::Organization(OrganizationEvent::RoleTaken { role }) => {
                view.given.remove(role);
            }
            Event::Organization(happened) => {
                view.version = event.version;
                view.status = happened.status(view.status);
                view.deleted_at = deleted_at(view.status, view.deleted_at, event);
                match happened {
                    OrganizationEvent::Edited { details } => view.details = details.clone(),
                    OrganizationEvent::ContactErased {} => {
                        view.details.contact = Sealed::default();
                    }
                    _ => {}
                }
            }
            Event::User(UserEvent::Created { .. }) => view.users_added += 1,
            Event::Role(RoleEvent::Created { .. }) => view.roles_made += 1,
            Event::Role(RoleEvent::Deleted { .. }) => {
                view.roles_made = view.roles_made.saturating_sub(1);
            }
            Event::User(_)
            | Event::Service(_)
            | Event::Subscription(_)
            | Event::BillingCalendar(_)
            | Event::Role(_)
            | Event::CustomPermission(_)
            | Event::Approval(_) => {}
        }
        Some(view)
    }

    fn index(&self) -> Index {
        Index {
            path: self.path.to_string(),
            owner: self.parent.map(|parent| parent.to_string()).unwrap_or_default(),
            kind: kept_as(self.kind.name(), self.status),
            sort: self.details.name.to_lowercase(),
            ..Index::default()
        }
    }
}
