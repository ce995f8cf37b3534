//! Roles that organisations made.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::event::{Event, Recorded};
use domain::role::{Made, RoleContent, RoleEvent, RoleRef};
use domain::{OrganizationId, RoleId, TenantPath};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// A role that an organisation made; kept after its end, so that its name can be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleView {
    /// Its id.
    pub id: RoleId,
    /// Who made it.
    pub organization: OrganizationId,
    /// That organisation's place in the tree.
    pub path: TenantPath,
    /// What it is.
    pub content: RoleContent,
    /// The role it was copied from.
    pub copied_from: Option<RoleRef>,
    /// Whether it has ended.
    pub ended: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Of its stream; its `ETag`.
    pub version: u64,
}

impl RoleView {
    /// As it is followed; none where it has ended.
    #[must_use]
    pub fn made(&self) -> Option<Arc<Made>> {
        let made = || Made { organization: self.organization, content: self.content.clone() };
        (!self.ended).then(|| Arc::new(made()))
    }
}

impl View for RoleView {
    const TABLE: &'static str = "view_role";
    const INDEXES: &'static [&'static str] = &["owner, sort, key", "path, sort, key"];
    const MOVES: bool = true;
    held_in!(roles);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match (&event.event, event.stream.split_once('-')) {
            (Event::Role(_), Some((_, id))) => vec![Touch::own(id, event)],
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let Event::Role(happened) = &event.event else {
            return before;
        };
        if let RoleEvent::Created { content, copied_from, id, organization } = happened {
            return Some(Self {
                id: *id,
                organization: *organization,
                path: event.path.clone(),
                content: content.clone(),
                copied_from: copied_from.clone(),
                ended: false,
                created_at: event.effective_at,
                version: event.version,
            });
        }
        let mut view = before?;
        view.version = event.version;
        match happened {
            RoleEvent::Edited { content, .. } => view.content = content.clone(),
            RoleEvent::Deleted { .. } => view.ended = true,
            RoleEvent::Created { .. } => {}
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
            kind: if self.ended { "ended" } else { "made" }.to_owned(),
            sort: self.content.name.to_lowercase(),
            ..Index::default()
        }
    }
}
