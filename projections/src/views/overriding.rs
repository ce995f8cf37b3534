//! Overrides: prices and properties that an organisation sets otherwise.

use chrono::{DateTime, Utc};
use domain::billing::Override;
use domain::event::{Actor, Event, Recorded};
use domain::organization::OrganizationEvent;
use domain::overrides::Overriding;
use domain::{OrganizationId, TenantPath};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// One override, or the clearing of one: never changed, only followed by another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OverrideView {
    /// The position of the fact.
    pub position: u64,
    /// Who sets it otherwise.
    pub organization: OrganizationId,
    /// That organisation's place in the tree.
    pub path: TenantPath,
    /// What, and to what.
    #[serde(flatten)]
    pub overriding: Overriding,
    /// From when.
    pub effective_from: DateTime<Utc>,
    /// Who did it.
    pub actor: Actor,
    /// Why.
    pub reason: Option<String>,
}

impl OverrideView {
    /// As rating wants it.
    #[must_use]
    pub fn for_rating(&self) -> Override {
        Override {
            actor: self.actor.to_string(),
            depth: self.path.depth(),
            from: self.effective_from,
            overridden: self.overriding.overridden.clone(),
            plan: self.overriding.plan.clone(),
            position: self.position,
            reason: self.reason.clone(),
        }
    }
}

impl View for OverrideView {
    const TABLE: &'static str = "view_override";
    const INDEXES: &'static [&'static str] = &["path, sort, key"];
    const MOVES: bool = true;
    held_in!(overrides);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match &event.event {
            Event::Organization(OrganizationEvent::Overridden(_)) => {
                vec![Touch::fresh(format_args!("{:020}", event.position))]
            }
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let Event::Organization(OrganizationEvent::Overridden(overriding)) = &event.event else {
            return before;
        };
        let organization = event.stream.split_once('-')?.1.parse().ok()?;
        Some(Self {
            position: event.position,
            organization,
            path: event.path.clone(),
            overriding: overriding.clone(),
            effective_from: event.effective_at,
            actor: event.actor,
            reason: event.reason.clone(),
        })
    }

    fn relocate(&mut self, to: &TenantPath) {
        self.path = to.clone();
    }

    fn index(&self) -> Index {
        Index {
            path: self.path.to_string(),
            owner: self.organization.to_string(),
            kind: self.overriding.service.to_string(),
            sort: format!("{:020}", self.position),
            ..Index::default()
        }
    }
}
