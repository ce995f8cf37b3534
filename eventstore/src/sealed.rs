//! The entries of closed periods, kept beside the log: a row for each slot of each closing, written by the same batch as
//! the event that tells of it, never changed, and sealed by the event that closes the period
//! (docs/adr/0024-sealed-entries-are-kept-beside-the-log.md).

use std::collections::BTreeMap;

use domain::billing::books::{BooksEvent, Place};
use domain::billing::seal::{Seal, Sealing};
use domain::event::{Event, Recorded};

use crate::Error;
use crate::bulk::{CellKind, Layout, Rows, Taken};
use crate::database::{Database, Source, Value};
use crate::fault::failpoint;
use crate::log::Stored;
use crate::verify::Finding;

/// The table of sealed entries.
pub const SEALED_SLOTS: &str = "sealed_slot";

/// Rows of sealed entries that are written.
pub static SEALED_SLOT_LAYOUT: Layout = Layout {
    columns: &[
        ("key", CellKind::Text),
        ("subscription", CellKind::Text),
        ("corrections", CellKind::Int),
        ("body", CellKind::Bytes),
    ],
    key: 1,
    taken: Taken::Refuse,
};

/// Rows that are read at a time.
const PAGE_ROWS: u64 = 1_000;
/// Events of books that are read at a time.
const PAGE_EVENTS: u64 = 1_000;

/// The sealed entries of one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSlot {
    /// Of which closing: its cutoff.
    pub cutoff: u64,
    /// Whose, and which slot.
    pub place: Place,
    /// How many of the entries are corrections.
    pub corrections: u64,
    /// The entries, each a line.
    pub body: Vec<u8>,
}

impl SealedSlot {
    /// The row's key: rows stand in the order in which they are sealed.
    #[must_use]
    pub fn key(&self) -> String {
        let Place { buyer, customer, subscription } = self.place;
        format!("{}{subscription}", Self::of_customer(self.cutoff, buyer, customer))
    }

    /// What the keys of a buyer's rows of a closing begin with.
    #[must_use]
    pub fn of_buyer(cutoff: u64, buyer: domain::OrganizationId) -> String {
        format!("{cutoff:020}/{buyer}/")
    }

    /// What the keys of rows begin with that are about one customer's slots: bought by the customer, or by a reseller.
    #[must_use]
    pub fn of_customer(
        cutoff: u64,
        buyer: Option<domain::OrganizationId>,
        customer: domain::OrganizationId,
    ) -> String {
        match buyer {
            None => Self::of_buyer(cutoff, customer),
            Some(buyer) => format!("{}{customer}/", Self::of_buyer(cutoff, buyer)),
        }
    }

    /// Rows to be written.
    pub fn rows<'a>(slots: impl IntoIterator<Item = &'a Self>) -> Rows {
        let mut rows = Rows::new(SEALED_SLOTS, &SEALED_SLOT_LAYOUT);
        for slot in slots {
            rows.push([
                Value::Text(slot.key()),
                Value::Text(slot.place.subscription.to_string()),
                Value::Int(slot.corrections.cast_signed()),
                Value::Bytes(slot.body.clone()),
            ]);
        }
        rows
    }

    /// Of which closing, whose and which slot a row is.
    ///
    /// # Errors
    /// Where the key is none.
    pub fn place_of(key: &str) -> Result<(u64, Place), Error> {
        let place = || {
            let parts: Vec<_> = key.split('/').collect();
            let (buyer, cutoff, customer, subscription) = match parts[..] {
                [cutoff, customer, subscription] => (None, cutoff, customer, subscription),
                [cutoff, buyer, customer, subscription] => {
                    (Some(buyer.parse().ok()?), cutoff, customer, subscription)
                }
                _ => return None,
            };
            let (customer, subscription) = (customer.parse().ok()?, subscription.parse().ok()?);
            Some((cutoff.parse().ok()?, Place { buyer, customer, subscription }))
        };
        place().ok_or_else(|| Error::Unsuitable(format!("the key {key} of sealed entries is none")))
    }
}

/// Goes through the rows of a closing, in their order, some at a time.
///
/// # Errors
/// What the database says, and what `take` says.
pub async fn for_each_sealed(
    source: &mut impl Source,
    cutoff: u64,
    mut take: impl FnMut(Place, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let (mut after, end) = (format!("{cutoff:020}/"), format!("{cutoff:020}0"));
    loop {
        failpoint("eventstore::sealed::page")?;
        let values = [after.as_str().into(), end.as_str().into(), PAGE_ROWS.into()];
        let sql = "select key, body from sealed_slot where key > $1 and key < $2 \
                   order by key limit $3";
        let rows = source.rows(sql, &values).await?;
        for row in &rows {
            take(SealedSlot::place_of(row.text(0)?)?.1, row.bytes(1)?)?;
        }
        match rows.last() {
            Some(last) => last.text(0)?.clone_into(&mut after),
            None => return Ok(()),
        }
    }
}

/// A buyer's entries of a closing, in their order: the text of each.
///
/// # Errors
/// What the database says.
pub async fn sealed_lines(
    database: &Database,
    cutoff: u64,
    customer: domain::OrganizationId,
) -> Result<Vec<String>, Error> {
    failpoint("eventstore::sealed::lines")?;
    let sql = "select body from sealed_slot where key >= $1 and key < $2 order by key";
    let prefix = SealedSlot::of_buyer(cutoff, customer);
    let end = format!("{prefix}~");
    let rows = database.fetch(sql, &[Value::Text(prefix), Value::Text(end)]).await?;
    let mut lines = Vec::new();
    for row in &rows {
        let body = std::str::from_utf8(row.bytes(0)?);
        let body = body.map_err(|error| Error::Unsuitable(error.to_string()))?;
        lines.extend(body.split('\n').map(str::to_owned));
    }
    Ok(lines)
}

/// What the rows of a closing come to.
///
/// # Errors
/// What the database says; where the rows cannot be sealed.
pub async fn seal_of(source: &mut impl Source, cutoff: u64) -> Result<Seal, Error> {
    let mut sealing = Sealing::default();
    for_each_sealed(source, cutoff, |place, body| {
        let added = sealing.add(place.bought_by(), body);
        added.map_err(|error| Error::Unsuitable(error.to_string()))
    })
    .await?;
    Ok(sealing.seal())
}

/// Whether sealed entries are as they were sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealsVerified {
    /// All of them.
    Whole {
        /// Closed periods, of all sellers.
        periods: u64,
        /// Entries in them.
        entries: u64,
    },
    /// They were edited. The position is that of the event that closed the period.
    Broken(Finding),
}

/// Compares the sealed entries with what the log says of them: every closed period with its seal.
///
/// # Errors
/// What the database says; edited entries are no error but the answer.
pub async fn verify_sealed(mut database: &Database) -> Result<SealsVerified, Error> {
    let (mut periods, mut entries) = (0, 0);
    // Rows of each closing that the log tells of.
    let mut kept = BTreeMap::<u64, u64>::new();
    let mut after = 0;
    loop {
        let events = books(database, after).await?;
        let Some(last) = events.last() else { break };
        after = last.position;
        for event in &events {
            match &event.event {
                Event::Books(BooksEvent::EntriesKept { cutoff, slots, .. }) => {
                    *kept.entry(*cutoff).or_default() += slots;
                }
                Event::Books(BooksEvent::PeriodClosed { cutoff, end, seal, .. }) => {
                    let now = seal_of(&mut database, *cutoff).await;
                    let difference = match &now {
                        Ok(now) => seal.difference(now),
                        Err(Error::Unsuitable(what)) => Some(what.clone()),
                        Err(_) => None,
                    };
                    if let Some(difference) = difference {
                        let what = format!("closed the period {end}, whose {difference}");
                        let position = event.position;
                        return Ok(SealsVerified::Broken(Finding { position, what }));
                    }
                    now?;
                    periods += 1;
                    entries += seal.entries;
                }
                _ => {}
            }
        }
    }
    failpoint("eventstore::sealed::count")?;
    let rows = database.fetch("select count(*) from sealed_slot", &[]).await?;
    let (there, told) = (rows[0].unsigned(0)?, kept.values().sum::<u64>());
    if there != told {
        let what = format!(
            "is the last of the books, which tell of {told} rows of sealed entries, and {there} are there"
        );
        return Ok(SealsVerified::Broken(Finding { position: after, what }));
    }
    Ok(SealsVerified::Whole { periods, entries })
}

/// Events of all books after a position.
async fn books(database: &Database, after: u64) -> Result<Vec<Recorded>, Error> {
    failpoint("eventstore::sealed::books")?;
    // In the order of ASCII `.` comes behind `-`.
    let sql = "select position, body from event where stream >= 'books-' and stream < 'books.' \
               and position > $1 order by position limit $2";
    let rows = database.fetch(sql, &[after.into(), PAGE_EVENTS.into()]).await?;
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        for stored in Stored::of_row(row)? {
            events.push(stored.decode()?);
        }
    }
    Ok(events)
}
