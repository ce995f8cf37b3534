//! Reading the log, and appending to it.

use std::borrow::Cow;
use std::collections::VecDeque;

use domain::TenantPath;
use domain::event::{Heading, Recorded};
use tokio::task::JoinHandle;

use crate::Error;
use crate::bulk::{self, CellKind, Layout, Rows, Taken};
use crate::chain::{GENESIS, Hash};
use crate::database::{Connection, Database, Row, Source, Value};
use crate::fault::failpoint;

/// Most events that one read gives.
pub const READ_MAX: u64 = 10_000;

/// Most events in one row of the log.
pub const ROW_EVENTS_MAX: usize = 100;

/// The table of events. A row has the events that one command added to one stream: their bytes, a line
/// each, their hashes one behind the other, and the last one's position and version.
pub static EVENT_LAYOUT: Layout = Layout {
    columns: &[
        ("position", CellKind::Int),
        ("stream", CellKind::Text),
        ("version", CellKind::Int),
        ("path", CellKind::Text),
        ("body", CellKind::Bytes),
        ("hash", CellKind::Bytes),
    ],
    key: 1,
    taken: Taken::Refuse,
};

/// The table of every kind and schema that was ever stored.
pub static SHAPE_LAYOUT: Layout = Layout {
    columns: &[("kind", CellKind::Text), ("schema", CellKind::Int)],
    key: 2,
    taken: Taken::Keep,
};

/// The table of answers that were given under an idempotency key.
pub static REPLY_LAYOUT: Layout = Layout {
    columns: &[
        ("key", CellKind::Text),
        ("request", CellKind::Bytes),
        ("answer", CellKind::Bytes),
        ("recorded_at", CellKind::Int),
    ],
    key: 1,
    taken: Taken::Refuse,
};

/// The table of the keys that persons are sealed under.
pub const PERSON_KEYS: &str = "person_key";

/// Keys of persons that are made.
pub static PERSON_KEY_LAYOUT: Layout = Layout {
    columns: &[("subject_id", CellKind::Text), ("sealed", CellKind::Bytes)],
    key: 1,
    taken: Taken::Refuse,
};

/// Keys of persons that are taken away.
pub static GONE_PERSON_KEY_LAYOUT: Layout =
    Layout { columns: &[("subject_id", CellKind::Text)], key: 1, taken: Taken::Remove };

/// Where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Of the last event; 0: none yet.
    pub position: u64,
    /// When it was stored, in microseconds since 1970.
    pub recorded_at: i64,
    /// Its hash.
    pub hash: Hash,
}

impl Head {
    /// Of an empty log.
    pub const START: Self = Self { position: 0, recorded_at: 0, hash: GENESIS };
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place.
    pub position: u64,
    /// Its bytes.
    pub body: Vec<u8>,
}

impl Stored {
    /// What the bytes say.
    ///
    /// # Errors
    /// Where this program cannot read them.
    pub fn decode(&self) -> Result<Recorded, Error> {
        decode(self.position, &self.body)
    }

    /// Of which kind it is, without reading all of it.
    ///
    /// # Errors
    /// [`Error::Undecodable`] where the bytes are no event.
    pub fn kind(&self) -> Result<Cow<'_, str>, Error> {
        let heading = Heading::from_bytes(&self.body);
        heading
            .map(|heading| heading.kind)
            .map_err(|source| Error::Undecodable { position: self.position, source })
    }

    /// The events of a row of the log, of which position and body were asked for.
    ///
    /// # Errors
    /// Where the row has other columns.
    pub fn of_row(row: &Row) -> Result<impl Iterator<Item = Self>, Error> {
        Ok(lines(row.unsigned(0)?, row.bytes(1)?)
            .map(|(position, body)| Self { position, body: body.to_vec() }))
    }
}

/// The events of a row, each with its position, given that of the last one. Canonical JSON has no line
/// breaks.
pub(crate) fn lines(last: u64, body: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let before_last = body.iter().filter(|byte| **byte == b'\n').count() as u64;
    (last.saturating_sub(before_last)..).zip(body.split(|byte| *byte == b'\n'))
}

fn decode(position: u64, body: &[u8]) -> Result<Recorded, Error> {
    Recorded::from_bytes(position, body).map_err(|source| Error::Undecodable { position, source })
}

/// The log, for reading.
#[derive(Clone, Debug)]
pub struct Log {
    database: Database,
}

impl Log {
    /// The log of a database.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Where it ends now.
    ///
    /// # Errors
    /// What the database says.
    pub async fn head(&self) -> Result<Head, Error> {
        failpoint("eventstore::log::head")?;
        let rows = self.database.fetch(SELECT_HEAD, &[]).await?;
        head_from(&rows)
    }

    /// The events after a position and up to another (inclusive), at most `limit` of them and never
    /// more than [`READ_MAX`].
    ///
    /// # Errors
    /// What the database says; [`Error::Gap`] where a position is missing.
    pub async fn read(&self, after: u64, up_to: u64, limit: u64) -> Result<Vec<Stored>, Error> {
        failpoint("eventstore::log::read")?;
        let limit = limit.min(READ_MAX);
        let end = up_to.min(after.saturating_add(limit));
        let last_row = end.saturating_add(ROW_EVENTS_MAX as u64);
        let rows = self
            .database
            .fetch(
                "select position, body from event where position > $1 and position < $2 \
                 order by position limit $3",
                &[after.into(), last_row.into(), limit.into()],
            )
            .await?;
        let events = between(&rows, after, end)?;
        for (expected, event) in (after + 1..).zip(&events) {
            if event.position != expected {
                return Err(Error::Gap { expected, found: event.position });
            }
        }
        Ok(events)
    }

    /// All events after a position and up to another, which is no later than the head.
    #[must_use]
    pub fn pages(&self, after: u64, up_to: u64) -> Pages {
        Pages { log: self.clone(), after, up_to, ahead: VecDeque::new() }
    }

    /// Exactly the events after a position and up to another.
    async fn page(&self, after: u64, up_to: u64) -> Result<Vec<Recorded>, Error> {
        let events = self.read(after, up_to, up_to - after).await?;
        match after + events.len() as u64 {
            last if last < up_to => Err(Error::Gap { expected: last + 1, found: up_to }),
            _ => events.iter().map(Stored::decode).collect(),
        }
    }

    /// The events of a tenant and all below it, and those recorded at places that it has `left`, after a position and up
    /// to another (inclusive), at most `limit` of them and never more than [`READ_MAX`].
    ///
    /// # Errors
    /// What the database says.
    pub async fn below(
        &self,
        path: &TenantPath,
        left: &[TenantPath],
        (after, up_to): (u64, u64),
        limit: u64,
    ) -> Result<Vec<Stored>, Error> {
        let limit = limit.min(READ_MAX);
        let last_row = up_to.saturating_add(ROW_EVENTS_MAX as u64);
        let mut values = vec![
            path.as_str().into(),
            path.end().into(),
            after.into(),
            last_row.into(),
            limit.into(),
        ];
        let mut places = String::new();
        for place in left {
            values.push(place.as_str().into());
            places.push_str(&format!(" or path = ${}", values.len()));
        }
        let sql = format!(
            "select position, body from event \
             where (path >= $1 and path < $2{places}) and position > $3 and position < $4 \
             order by position limit $5"
        );
        failpoint("eventstore::log::below")?;
        let rows = self.database.fetch(&sql, &values).await?;
        let mut events = between(&rows, after, up_to)?;
        events.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(events)
    }

    /// The last position recorded at or before a time (microseconds since 1970): what was known
    /// then. Found by halving, because recorded times never decrease along the log.
    ///
    /// # Errors
    /// What the database says, and what cannot be decoded.
    pub async fn position_at(&self, recorded_at: i64) -> Result<u64, Error> {
        let (mut known, mut later) = (0, self.head().await?.position + 1);
        while later - known > 1 {
            let middle = known + (later - known) / 2;
            let events = self.read(middle - 1, middle, 1).await?;
            let event =
                events.first().ok_or(Error::Gap { expected: middle, found: later })?.decode()?;
            if event.recorded_at.timestamp_micros() <= recorded_at {
                known = middle;
            } else {
                later = middle;
            }
        }
        Ok(known)
    }
}

/// The events of a stretch of the log, page by page: while one is looked at, the next ones are read and
/// decoded on other threads.
pub struct Pages {
    log: Log,
    after: u64,
    up_to: u64,
    ahead: VecDeque<JoinHandle<Result<Vec<Recorded>, Error>>>,
}

/// Pages that are read before they are asked for.
const PAGES_AHEAD: usize = 4;

impl Pages {
    /// The next events; none at the end of the stretch.
    ///
    /// # Errors
    /// What the database says, and what cannot be decoded; [`Error::Gap`] where a position is missing.
    pub async fn next(&mut self) -> Result<Option<Vec<Recorded>>, Error> {
        while self.ahead.len() < PAGES_AHEAD && self.after < self.up_to {
            let (log, after) = (self.log.clone(), self.after);
            let up_to = self.up_to.min(after + READ_MAX);
            self.after = up_to;
            self.ahead.push_back(tokio::spawn(async move { log.page(after, up_to).await }));
        }
        let Some(page) = self.ahead.pop_front() else { return Ok(None) };
        page.await.map_err(|error| Error::Unsuitable(error.to_string()))?.map(Some)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.ahead.iter().for_each(JoinHandle::abort);
    }
}

/// The events of some rows that lie after a position and up to another: a row may begin before the one or
/// end behind the other.
fn between(rows: &[Row], after: u64, up_to: u64) -> Result<Vec<Stored>, Error> {
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        let within = |event: &Stored| event.position > after && event.position <= up_to;
        events.extend(Stored::of_row(row)?.filter(within));
    }
    Ok(events)
}

const SELECT_HEAD: &str = "select position, recorded_at, hash from head where id = 1";

fn head_from(rows: &[Row]) -> Result<Head, Error> {
    let damaged = || {
        Error::Unsuitable(
            "the database has no readable head of the log; restore a backup".to_owned(),
        )
    };
    let row = rows.first().ok_or_else(damaged)?;
    let hash = row.bytes(2)?.try_into().map_err(|_| damaged())?;
    Ok(Head { position: row.unsigned(0)?, recorded_at: row.int(1)?, hash })
}

/// Whole streams, in one statement: the events of all of them in the log's order.
///
/// # Errors
/// What the database says, and what cannot be decoded.
pub async fn streams(source: &mut impl Source, names: Vec<String>) -> Result<Vec<Recorded>, Error> {
    failpoint("eventstore::streams")?;
    let of_names = source.engine().any_of("stream", 1);
    // Sorted here: told to sort them, PostgreSQL reads the whole log in its order wherever it takes the streams for a large
    // part of it, as it does of a table that was not analysed yet.
    let sql = format!("select position, body from event where {of_names}");
    let rows = source.rows(&sql, &[Value::Texts(names)]).await?;
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        for (position, body) in lines(row.unsigned(0)?, row.bytes(1)?) {
            events.push(decode(position, body)?);
        }
    }
    events.sort_unstable_by_key(|event| event.position);
    Ok(events)
}

impl Connection {
    /// Where the log ends now, as this connection sees it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn head(&mut self) -> Result<Head, Error> {
        failpoint("eventstore::connection::head")?;
        head_from(&self.fetch(SELECT_HEAD, &[]).await?)
    }
}

/// Writes rows and moves the head from `base` to `head`, all or nothing, durable when it returns.
///
/// False, and nothing written, where the log has grown past `base` in the meantime: another process
/// was faster; catch up and decide again.
///
/// # Errors
/// What the database says; [`Error::OutcomeUnknown`] where it may have been committed.
pub async fn append(
    connection: &mut Connection,
    base: Head,
    head: Head,
    rows: Vec<Rows>,
) -> Result<bool, Error> {
    failpoint("eventstore::append::begin")?;
    let appended = match connection {
        Connection::Postgres(connection) => {
            // One statement: its beginning is that of its commit.
            failpoint("eventstore::append::commit").map_err(Error::outcome_unknown)?;
            bulk::write_postgres(connection, Some((base, head)), &rows).await.map_err(|error| {
                match error {
                    // The server refused the statement: nothing was committed.
                    sqlx::Error::Database(_) => Error::Database(error),
                    _ => Error::OutcomeUnknown(error),
                }
            })
        }
        Connection::Sqlite(_) => {
            connection.execute("begin immediate", &[]).await?;
            match write_in_transaction(connection, base, head, rows).await {
                Ok(true) => {
                    failpoint("eventstore::append::commit").map_err(Error::outcome_unknown)?;
                    connection.execute("commit", &[]).await.map_err(Error::OutcomeUnknown)?;
                    Ok(true)
                }
                Ok(false) => {
                    failpoint("eventstore::append::rollback")?;
                    connection.execute("rollback", &[]).await?;
                    Ok(false)
                }
                Err(error) => {
                    // SQLite may have rolled back by itself, as it does when the disk is full.
                    let _ = connection.execute("rollback", &[]).await;
                    Err(error.into())
                }
            }
        }
    };
    if let Ok(true) = appended {
        // The answer can get lost on its way.
        failpoint("eventstore::append::committed").map_err(Error::outcome_unknown)?;
    }
    appended
}

async fn write_in_transaction(
    connection: &mut Connection,
    base: Head,
    head: Head,
    rows: Vec<Rows>,
) -> Result<bool, sqlx::Error> {
    failpoint("eventstore::append::head")?;
    let moved = connection
        .execute(
            "update head set position = $1, recorded_at = $2, hash = $3 where position = $4",
            &[
                head.position.into(),
                head.recorded_at.into(),
                Value::Bytes(head.hash.to_vec()),
                base.position.into(),
            ],
        )
        .await?;
    if let (1, Connection::Sqlite(connection)) = (moved, connection) {
        bulk::write_sqlite(connection, rows).await?;
        return Ok(true);
    }
    Ok(false)
}

/// Writes rows of tables that are no part of the log, all or nothing.
///
/// # Errors
/// What the database says.
pub async fn write(connection: &mut Connection, rows: Vec<Rows>) -> Result<(), Error> {
    failpoint("eventstore::write")?;
    match connection {
        Connection::Postgres(connection) => match rows.as_slice() {
            [new] if new.are_worth_a_copy() => {
                bulk::copy_postgres(connection, new).await?;
            }
            rows => {
                bulk::write_postgres(connection, None, rows).await?;
            }
        },
        Connection::Sqlite(_) => {
            // Inside a transaction or not: each statement by itself would wait for the disk.
            connection.execute("savepoint bulk", &[]).await?;
            if let Connection::Sqlite(connection) = connection {
                bulk::write_sqlite(connection, rows).await?;
            }
            connection.execute("release bulk", &[]).await?;
        }
    }
    Ok(())
}
