//! Places in the tree that organisations have left: what was recorded there still belongs to them.

use domain::event::{Event, Recorded};
use domain::organization::OrganizationEvent;
use domain::{OrganizationId, TenantPath};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// A place that an organisation has left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FormerView {
    /// Which organisation.
    pub organization: OrganizationId,
    /// Where it was.
    pub path: TenantPath,
}

impl View for FormerView {
    const TABLE: &'static str = "view_former";
    const INDEXES: &'static [&'static str] = &["path", "kind"];
    held_in!(former);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match &event.event {
            Event::Organization(OrganizationEvent::Moved { from, .. }) => {
                vec![Touch::existing(from)]
            }
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let Event::Organization(OrganizationEvent::Moved { from, .. }) = &event.event else {
            return before;
        };
        let organization = event.stream.split_once('-')?.1.parse().ok()?;
        Some(Self { organization, path: from.clone() })
    }

    fn index(&self) -> Index {
        Index {
            path: self.path.to_string(),
            owner: self.organization.to_string(),
            kind: self.path.number().map(|number| number.to_string()).unwrap_or_default(),
            sort: self.path.to_string(),
            ..Index::default()
        }
    }
}
