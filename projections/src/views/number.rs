//! The last number that was given out.

use domain::event::{Event, Recorded};
use domain::organization::OrganizationEvent;
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// The key under which the numbers of organisations are counted.
pub const ORGANIZATION_NUMBERS: &str = "organization";

/// The highest number ever assigned; numbers are never reused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberView {
    /// That number.
    pub last: u32,
}

impl View for NumberView {
    const TABLE: &'static str = "view_number";
    const INDEXES: &'static [&'static str] = &[];
    held_in!(numbers);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match &event.event {
            Event::Organization(OrganizationEvent::Created { .. }) => {
                vec![Touch::existing(ORGANIZATION_NUMBERS)]
            }
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let Event::Organization(OrganizationEvent::Created { number, .. }) = &event.event else {
            return before;
        };
        Some(Self { last: before.map_or(0, |view| view.last).max(*number) })
    }

    fn index(&self) -> Index {
        Index::default()
    }
}
