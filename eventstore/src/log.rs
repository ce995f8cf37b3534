//! Reading the log, and appending to it.

use domain::TenantPath;
use domain::event::Recorded;

use crate::Error;
use crate::bulk::{self, CellKind, Layout, Rows, Taken};
use crate::chain::{GENESIS, Hash};
use crate::database::{Connection, Database, Row, Source, Value};

/// Most events that one read gives.
pub const READ_MAX: u64 = 10_000;

/// The table of events.
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
        Recorded::from_bytes(self.position, &self.body)
            .map_err(|source| Error::Undecodable { position: self.position, source })
    }

    fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self { position: row.unsigned(0)?, body: row.bytes(1)?.to_vec() })
    }
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
        let rows = self.database.fetch(SELECT_HEAD, &[]).await?;
        head_from(&rows)
    }

    /// The events after a position and up to another (inclusive), at most `limit` of them and never
    /// more than [`READ_MAX`].
    ///
    /// # Errors
    /// What the database says; [`Error::Gap`] where a position is missing.
    pub async fn read(&self, after: u64, up_to: u64, limit: u64) -> Result<Vec<Stored>, Error> {
        let end = up_to.min(after.saturating_add(limit.min(READ_MAX)));
        let rows = self
            .database
            .fetch(
                "select position, body from event where position > $1 and position <= $2 \
                 order by position",
                &[after.into(), end.into()],
            )
            .await?;
        let events = rows.iter().map(Stored::from_row).collect::<Result<Vec<_>, _>>()?;
        for (expected, event) in (after + 1..).zip(&events) {
            if event.position != expected {
                return Err(Error::Gap { expected, found: event.position });
            }
        }
        Ok(events)
    }

    /// The events of a tenant and all below it, after a position and up to another (inclusive), at
    /// most `limit` of them and never more than [`READ_MAX`].
    ///
    /// # Errors
    /// What the database says.
    pub async fn below(
        &self,
        path: &TenantPath,
        after: u64,
        up_to: u64,
        limit: u64,
    ) -> Result<Vec<Stored>, Error> {
        let rows = self
            .database
            .fetch(
                "select position, body from event \
                 where path >= $1 and path < $2 and position > $3 and position <= $4 \
                 order by position limit $5",
                &[
                    path.as_str().into(),
                    path.end().into(),
                    after.into(),
                    up_to.into(),
                    limit.min(READ_MAX).into(),
                ],
            )
            .await?;
        rows.iter().map(Stored::from_row).collect()
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
    let of_names = source.engine().any_of("stream", 1);
    let sql = format!("select position, body from event where {of_names} order by position");
    let rows = source.rows(&sql, &[Value::Texts(names)]).await?;
    rows.iter().map(|row| Stored::from_row(row)?.decode()).collect()
}

impl Connection {
    /// Where the log ends now, as this connection sees it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn head(&mut self) -> Result<Head, Error> {
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
    match connection {
        Connection::Postgres(connection) => {
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
                    connection.execute("commit", &[]).await.map_err(Error::OutcomeUnknown)?;
                    Ok(true)
                }
                Ok(false) => {
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
    }
}

async fn write_in_transaction(
    connection: &mut Connection,
    base: Head,
    head: Head,
    rows: Vec<Rows>,
) -> Result<bool, sqlx::Error> {
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
    match connection {
        Connection::Postgres(connection) => {
            bulk::write_postgres(connection, None, &rows).await?;
        }
        Connection::Sqlite(connection) => {
            bulk::write_sqlite(connection, rows).await?;
        }
    }
    Ok(())
}
