//! What happened at an organisation, day by day.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::TenantPath;
use domain::event::{Event, Recorded};
use domain::organization::OrganizationEvent;
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// One organisation's day (UTC, by recorded time): how much of what. The events themselves are in
/// the log, between the two positions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActivityView {
    /// The organisation's place in the tree.
    pub path: TenantPath,
    /// `2019-11-30`.
    pub day: String,
    /// How many events of each category.
    pub counts: BTreeMap<String, u32>,
    /// The day's first position.
    pub first: u64,
    /// The day's last position.
    pub last: u64,
}

impl ActivityView {
    /// The key of what happens at an organisation's place on the day of a moment.
    #[must_use]
    pub fn key(path: &TenantPath, recorded_at: DateTime<Utc>) -> String {
        format!("{path}{}", day(recorded_at))
    }
}

fn day(recorded_at: DateTime<Utc>) -> String {
    recorded_at.date_naive().to_string()
}

impl View for ActivityView {
    const TABLE: &'static str = "view_activity";
    const INDEXES: &'static [&'static str] = &["path, sort, key"];
    const SORT_STAYS: bool = true;
    held_in!(activity);

    fn touched(event: &Recorded) -> Vec<Touch> {
        let key = Self::key(&event.path, event.recorded_at);
        // Nothing can have happened at an organisation before it was founded.
        let founded = matches!(event.event, Event::Organization(OrganizationEvent::Created { .. }));
        vec![if founded { Touch::fresh(key) } else { Touch::existing(key) }]
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let mut view = before.unwrap_or_else(|| Self {
            path: event.path.clone(),
            day: day(event.recorded_at),
            counts: BTreeMap::new(),
            first: event.position,
            last: event.position,
        });
        let category = event.stream.split_once('-').map_or("", |(category, _)| category);
        match view.counts.get_mut(category) {
            Some(count) => *count += 1,
            None => {
                view.counts.insert(category.to_owned(), 1);
            }
        }
        view.last = event.position;
        Some(view)
    }

    fn index(&self) -> Index {
        Index { path: self.path.to_string(), sort: self.day.clone(), ..Index::default() }
    }
}
