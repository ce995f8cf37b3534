//! Permissions of the installation's own.

use domain::TenantPath;
use domain::event::{Event, Recorded};
use domain::permission::{Declaration, PermissionEvent};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// A permission that the provider declared; kept after it was withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PermissionView {
    /// What it is.
    #[serde(flatten)]
    pub declaration: Declaration,
    /// Whether it was withdrawn: then nobody holds it.
    pub withdrawn: bool,
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
        let Event::CustomPermission(happened) = &event.event else {
            return before;
        };
        let version = event.version;
        match happened {
            PermissionEvent::Declared { declaration } => {
                Some(Self { declaration: declaration.clone(), withdrawn: false, version })
            }
            PermissionEvent::Withdrawn {} => {
                before.map(|view| Self { withdrawn: true, version, ..view })
            }
        }
    }

    fn index(&self) -> Index {
        Index {
            path: TenantPath::provider().to_string(),
            kind: if self.withdrawn { "withdrawn" } else { "declared" }.to_owned(),
            sort: self.declaration.key.to_string(),
            ..Index::default()
        }
    }
}
