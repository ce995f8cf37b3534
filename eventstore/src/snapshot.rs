//! The database at one moment: what is long to read is read as if nobody wrote meanwhile.

use crate::Error;
use crate::database::{Connection, Database, Engine, Row, Source, Value};
use crate::fault::failpoint;
use crate::log::Head;

/// The whole database as it was at one moment, for reading. Others go on writing: SQLite keeps its
/// write-ahead log, PostgreSQL the old versions of rows, as long as this is held.
#[derive(Debug)]
pub struct Snapshot {
    connection: Connection,
    head: Head,
}

impl Snapshot {
    /// As it is now.
    ///
    /// # Errors
    /// Where the database cannot be reached.
    pub async fn of(database: &Database) -> Result<Self, Error> {
        let mut connection = database.own_connection().await?;
        let begin = match database.engine() {
            Engine::Sqlite => "begin",
            Engine::Postgres => {
                "begin transaction isolation level repeatable read read only; \
                 set local idle_in_transaction_session_timeout = 0"
            }
        };
        failpoint("eventstore::snapshot::begin")?;
        connection.execute(begin, &[]).await?;
        // The first question is what fixes the moment.
        let head = connection.head().await?;
        Ok(Self { connection, head })
    }

    /// Where the log ended at that moment.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Under which name other PostgreSQL sessions can look at the same moment, as long as this is held.
    ///
    /// # Errors
    /// What the server says; SQLite has no such thing.
    pub async fn share(&mut self) -> Result<String, Error> {
        failpoint("eventstore::snapshot::share")?;
        let rows = self.connection.fetch("select pg_export_snapshot()", &[]).await?;
        Ok(rows[0].text(0)?.to_owned())
    }

    /// Hands the rows that a query gives over one by one: there may be more of them than memory holds.
    ///
    /// # Errors
    /// What the database says, and what `take` says.
    pub async fn for_each<E: From<sqlx::Error>>(
        &mut self,
        sql: &str,
        take: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        self.connection.for_each(sql, &[], take).await
    }

    /// Lets go of it.
    pub async fn end(self) {
        self.connection.close().await;
    }
}

impl Source for Snapshot {
    fn engine(&self) -> Engine {
        self.connection.engine()
    }

    async fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, sqlx::Error> {
        failpoint("eventstore::snapshot::rows")?;
        self.connection.fetch(sql, values).await
    }
}
