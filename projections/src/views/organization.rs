//! Organisations as people see them.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use domain::billing::Turn;
use domain::custom_fields::CustomFields;
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
    /// Who bills it, from when; empty: the seller directly above, ever since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<Edge>,
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

/// A seller who bills an organisation, and the place in the tree at which he does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// Where the organisation is then.
    pub path: TenantPath,
    /// Who bills it.
    pub seller: OrganizationId,
    /// What made it so; none: ever since.
    pub turn: Option<Turn>,
}

impl OrganizationView {
    /// Who bills it now; nobody bills the provider.
    #[must_use]
    pub fn seller(&self) -> Option<OrganizationId> {
        self.edges.last().map(|edge| edge.seller).or(self.parent)
    }

    /// Who bills it from when, as it was known at a position, the first one first.
    #[must_use]
    pub fn edges_known_at(&self, position: u64) -> Vec<Edge> {
        let known = |edge: &&Edge| edge.turn.as_ref().is_none_or(|turn| turn.position <= position);
        let edges: Vec<_> = self.edges.iter().filter(known).cloned().collect();
        if edges.is_empty() { vec![self.first_edge()] } else { edges }
    }

    fn first_edge(&self) -> Edge {
        let seller = self.parent.unwrap_or(self.id);
        Edge { path: self.path.clone(), seller, turn: None }
    }

    /// Has it billed otherwise from an event on.
    fn turn(&mut self, seller: OrganizationId, path: &TenantPath, event: &Recorded) {
        if self.edges.is_empty() {
            self.edges.push(self.first_edge());
        }
        let turn = Turn {
            actor: event.actor.to_string(),
            at: event.effective_at,
            date: event.effective_date,
            position: event.position,
            reason: event.reason.clone(),
        };
        self.edges.push(Edge { path: path.clone(), seller, turn: Some(turn) });
    }
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
                | OrganizationEvent::ApprovalsCleared { .. }
                | OrganizationEvent::CustomerLeft { .. },
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
            | Event::Bulk(_)
            | Event::Usage(_)
            | Event::Role(_)
            | Event::CustomPermission(_)
            | Event::Approval(_)
            | Event::Books(_)
            | Event::Pricing(_)
            | Event::Adjustment(_)
            | Event::Rulebook(_) => vec![],
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
                edges: Vec::new(),
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
                    OrganizationEvent::ContactErased {} => {
                        view.details.contact = Sealed::default();
                    }
                    // What other systems keep may be about people, too.
                    OrganizationEvent::Purged {} => {
                        view.details.custom_fields = CustomFields::default();
                    }
                    OrganizationEvent::Edited { details } => view.details = details.clone(),
                    OrganizationEvent::Moved { parent, path, .. } => {
                        view.turn(*parent, path, event);
                        view.parent = Some(*parent);
                        view.path = path.clone();
                    }
                    OrganizationEvent::BilledBy { seller } => {
                        let path = view.path.clone();
                        view.turn(*seller, &path, event);
                    }
                    OrganizationEvent::Created { .. }
                    | OrganizationEvent::Disabled {}
                    | OrganizationEvent::Enabled {}
                    | OrganizationEvent::Deprovisioned {}
                    | OrganizationEvent::Deleted {}
                    | OrganizationEvent::Restored {}
                    | OrganizationEvent::Overridden(_)
                    | OrganizationEvent::RoleGiven { .. }
                    | OrganizationEvent::RoleTaken { .. }
                    | OrganizationEvent::Offered(_)
                    | OrganizationEvent::OfferWithdrawn(_)
                    | OrganizationEvent::ApprovalsSet { .. }
                    | OrganizationEvent::ApprovalsCleared { .. }
                    | OrganizationEvent::CustomerLeft { .. } => {}
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
            | Event::Bulk(_)
            | Event::Usage(_)
            | Event::Role(_)
            | Event::CustomPermission(_)
            | Event::Approval(_)
            | Event::Books(_)
            | Event::Pricing(_)
            | Event::Adjustment(_)
            | Event::Rulebook(_) => {}
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
