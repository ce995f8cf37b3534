//! What was asked for last about a slot, where it had to be approved.

use domain::approval::ApprovalEvent;
use domain::event::{Event, Recorded};
use domain::{CommandId, TenantPath};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// The latest wish about a slot that had to be approved: it may wait still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AskedView {
    /// Which.
    pub approval: CommandId,
    /// Whose slot it is.
    pub path: TenantPath,
}

impl View for AskedView {
    const TABLE: &'static str = "view_asked";
    const INDEXES: &'static [&'static str] = &[];
    const MOVES: bool = true;
    held_in!(asked);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match &event.event {
            Event::Approval(ApprovalEvent::Asked(asked)) => {
                vec![Touch::existing(asked.wish.subscription)]
            }
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        match &event.event {
            Event::Approval(ApprovalEvent::Asked(asked)) => {
                Some(Self { approval: asked.id, path: event.path.clone() })
            }
            _ => before,
        }
    }

    fn relocate(&mut self, to: &TenantPath) {
        self.path = to.clone();
    }

    fn index(&self) -> Index {
        Index { path: self.path.to_string(), ..Index::default() }
    }
}
