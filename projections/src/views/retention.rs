//! What is deleted and can still be restored: it is purged when its days are over.

use chrono::{DateTime, Utc};
use domain::TenantPath;
use domain::event::{Event, Recorded};
use domain::organization::OrganizationEvent;
use domain::user::UserEvent;
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// An organisation or a user that was ever deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionView {
    /// The stream that it is told in.
    pub stream: String,
    /// Its place in the tree.
    pub path: TenantPath,
    /// When it was deleted; none: it was restored, or purged.
    pub deleted_at: Option<DateTime<Utc>>,
}

/// Whether an event hides something that can be restored, or ends that.
fn hides(event: &Event) -> Option<bool> {
    match event {
        Event::Organization(OrganizationEvent::Deleted {}) | Event::User(UserEvent::Deleted {}) => {
            Some(true)
        }
        Event::Organization(OrganizationEvent::Restored {} | OrganizationEvent::Purged {})
        | Event::User(UserEvent::Restored {} | UserEvent::Purged {}) => Some(false),
        _ => None,
    }
}

impl RetentionView {
    /// The kind of those that can still be restored.
    pub const DELETED: &'static str = "deleted";
}

impl View for RetentionView {
    const TABLE: &'static str = "view_retention";
    const INDEXES: &'static [&'static str] = &["kind, since, key"];
    const MOVES: bool = true;
    held_in!(retained);

    fn touched(event: &Recorded) -> Vec<Touch> {
        hides(&event.event).map(|_| Touch::existing(&event.stream)).into_iter().collect()
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let Some(hides) = hides(&event.event) else { return before };
        let deleted_at = hides.then_some(event.recorded_at);
        Some(Self { stream: event.stream.clone(), path: event.path.clone(), deleted_at })
    }

    fn relocate(&mut self, to: &TenantPath) {
        self.path = to.clone();
    }

    fn index(&self) -> Index {
        Index {
            path: self.path.to_string(),
            kind: self.deleted_at.map_or("", |_| Self::DELETED).to_owned(),
            sort: self.stream.clone(),
            since: self.deleted_at.map_or(i64::MAX, |moment| moment.timestamp_micros()),
            ..Index::default()
        }
    }
}
