//! By which calendar a seller bills.

use domain::billing::BillingSettings;
use domain::billing_calendar::BillingCalendarEvent;
use domain::event::{Event, Recorded};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// A seller's billing settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalendarView {
    /// Rule, zone and currency.
    pub settings: BillingSettings,
    /// The seller's place in the tree.
    pub path: String,
}

impl View for CalendarView {
    const TABLE: &'static str = "view_calendar";
    const INDEXES: &'static [&'static str] = &[];
    held_in!(calendars);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match (&event.event, event.stream.split_once('-')) {
            (Event::BillingCalendar(_), Some((_, id))) => vec![Touch::own(id, event)],
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        match &event.event {
            Event::BillingCalendar(BillingCalendarEvent::Set { settings }) => {
                Some(Self { settings: settings.clone(), path: event.path.to_string() })
            }
            Event::BillingCalendar(BillingCalendarEvent::RuleChanged(change)) => {
                before.map(|mut view| {
                    view.settings.rule_changes.push(*change);
                    view
                })
            }
            _ => before,
        }
    }

    fn index(&self) -> Index {
        Index { path: self.path.clone(), ..Index::default() }
    }
}
