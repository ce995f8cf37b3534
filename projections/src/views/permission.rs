//! Permissions of the installation's own.

use domain::TenantPath;
use domain::event::{Event, Recorded};
use domain::permission::{Declaration, PermissionEvent};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// A permission that the provider declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionView {
    /// What it is.
    #[serde(flatten)]
    pub declaration: Declaration,
    /// Of its stream; its `ETag`.
    pub version: u64,
}

impl View for PermissionView {
    const TABLE: &'static str = "view_permission";
    const INDEXES: &'static [&'static str] = &["path, sort, key"];
    held_in!(permissions);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match (&event.event, event.stream.split_once('-')) {
            (Event::CustomPermission(_), Some((_, key))) => vec![Touch::own(key, event)],
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        match &event.event {
            Event::CustomPermission(PermissionEvent::Declared { declaration }) => {
                Some(Self { declaration: declaration.clone(), version: event.version })
            }
            _ => before,
        }
    }

    fn index(&self) -> Index {
        Index {
            path: TenantPath::provider().to_string(),
            sort: self.declaration.key.to_string(),
            ..Index::default()
        }
    }
}
