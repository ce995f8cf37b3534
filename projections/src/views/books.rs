//! Sellers' books: which of their periods are closed.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use domain::billing::books::{BooksEvent, Person, Place};
use domain::billing::{BillingSettings, Period};
use domain::event::{Event, Recorded};
use domain::{OrganizationId, SubscriptionId, TenantPath};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// A seller's books.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BooksView {
    /// Whose.
    pub seller: OrganizationId,
    /// His place in the tree.
    pub path: TenantPath,
    /// The closed periods, the first one first.
    pub closed: Vec<Closed>,
    /// The one that is being closed.
    pub closing: Option<ClosingPeriod>,
    /// Closed periods that somebody wants to have rated again.
    pub rerate: Option<Rerate>,
    /// Closed periods that are rated again with other prices, in the order of recording.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rerated: Vec<Rerate>,
    /// Of its stream.
    pub version: u64,
}

/// A closed period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    /// Its last date.
    pub end: NaiveDate,
    /// How much of the log counted.
    pub cutoff: u64,
    /// The position of the event that closed it, which has the seal.
    pub position: u64,
    /// How many entries it has.
    pub entries: u64,
    /// What was left out; it is booked as a correction once it has a price.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub deferred: BTreeSet<SubscriptionId>,
}

/// A period that is being closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClosingPeriod {
    /// Its last date.
    pub end: NaiveDate,
    /// How much of the log counts.
    pub cutoff: u64,
    /// Who asked.
    pub asked_by: Person,
    /// When.
    pub asked_at: DateTime<Utc>,
    /// Who approved, once somebody did.
    pub approved_by: Option<Person>,
    /// What is left out.
    pub deferred: BTreeSet<SubscriptionId>,
    /// How many entries are kept.
    pub entries: u64,
    /// The last of the rows that are kept.
    pub last: Option<Place>,
}

/// Closed periods that are rated again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rerate {
    /// Who asked.
    pub asked_by: Person,
    /// The position up to which prices count: where it was asked.
    pub prices: u64,
    /// The position of the approval; 0 before it.
    pub position: u64,
    /// The first of the periods: its last date.
    pub from_end: NaiveDate,
    /// The last of them.
    pub to_end: NaiveDate,
}

impl BooksView {
    /// The kind of those in which a close is approved and not done.
    pub const APPROVED: &'static str = "approved";

    /// The closed periods as they were known at a position.
    #[must_use]
    pub fn closed_known_at(&self, position: u64) -> &[Closed] {
        let known = self.closed.partition_point(|closed| closed.position <= position);
        &self.closed[..known]
    }

    /// A closed period, as it was known at a position.
    #[must_use]
    pub fn closed(&self, end: NaiveDate, known_at: u64) -> Option<&Closed> {
        let known = self.closed_known_at(known_at);
        let place = known.binary_search_by_key(&end, |closed| closed.end).ok()?;
        Some(&known[place])
    }

    /// The first period that was not closed, as it was known at a position; none where none was closed.
    #[must_use]
    pub fn open(&self, known_at: u64, settings: &BillingSettings) -> Option<Period> {
        let last = self.closed_known_at(known_at).last()?;
        Some(settings.next(settings.period_containing(last.end)))
    }

    /// The position up to which the prices of a closed period count, as it was known at a position.
    #[must_use]
    pub fn prices_of(&self, closed: &Closed, known_at: u64) -> u64 {
        let again =
            self.rerated.iter().rev().find(|it| {
                it.position <= known_at && (it.from_end..=it.to_end).contains(&closed.end)
            });
        again.map_or(closed.cutoff, |again| again.prices)
    }
}

impl View for BooksView {
    const TABLE: &'static str = "view_books";
    const INDEXES: &'static [&'static str] = &["kind, sort, key"];
    held_in!(books);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match (&event.event, event.stream.split_once('-')) {
            (Event::Books(_), Some((_, id))) => vec![Touch::own(id, event)],
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let Event::Books(happened) = &event.event else {
            return before;
        };
        let seller = event.stream.split_once('-')?.1.parse().ok()?;
        let mut view = before.unwrap_or_else(|| Self {
            seller,
            path: event.path.clone(),
            closed: Vec::new(),
            closing: None,
            rerate: None,
            rerated: Vec::new(),
            version: 0,
        });
        view.version = event.version;
        match happened {
            BooksEvent::CloseAsked { by, cutoff, end, .. } => {
                let before = view.closing.take().filter(|closing| closing.end == *end);
                view.closing = Some(ClosingPeriod {
                    end: *end,
                    cutoff: *cutoff,
                    asked_by: *by,
                    asked_at: event.recorded_at,
                    approved_by: None,
                    deferred: before.map(|closing| closing.deferred).unwrap_or_default(),
                    entries: 0,
                    last: None,
                });
            }
            BooksEvent::Deferred { subscription, .. } => {
                if let Some(closing) = &mut view.closing {
                    closing.deferred.insert(*subscription);
                }
            }
            BooksEvent::CloseApproved { by, .. } => {
                if let Some(closing) = &mut view.closing {
                    closing.approved_by = Some(*by);
                }
            }
            BooksEvent::EntriesKept { entries, last, .. } => {
                if let Some(closing) = &mut view.closing {
                    closing.last = Some(*last);
                    closing.entries += entries;
                }
            }
            BooksEvent::PeriodClosed { cutoff, deferred, end, seal, .. } => {
                view.closing = None;
                view.closed.push(Closed {
                    end: *end,
                    cutoff: *cutoff,
                    position: event.position,
                    entries: seal.entries,
                    deferred: deferred.clone(),
                });
            }
            BooksEvent::RerateAsked { by, from_end, to_end } => {
                view.rerate = Some(Rerate {
                    asked_by: *by,
                    prices: event.position,
                    position: 0,
                    from_end: *from_end,
                    to_end: *to_end,
                });
            }
            BooksEvent::RerateApproved { .. } => {
                let asked = view.rerate.take();
                view.rerated.extend(asked.map(|it| Rerate { position: event.position, ..it }));
            }
        }
        Some(view)
    }

    fn index(&self) -> Index {
        let is_approved = self.closing.as_ref().is_some_and(|it| it.approved_by.is_some());
        Index {
            path: self.path.to_string(),
            owner: self.seller.to_string(),
            kind: if is_approved { Self::APPROVED } else { "" }.to_owned(),
            sort: self.path.to_string(),
            ..Index::default()
        }
    }
}
