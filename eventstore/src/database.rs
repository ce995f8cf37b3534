//! SQLite or PostgreSQL: opening, checking and asking either with one text.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use domain::{Bug, planted};
use futures_util::TryStreamExt as _;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow};
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection as _, Executor, Row as _};

use crate::Error;
use crate::fault::failpoint;

/// What each SQLite file begins with.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";
/// The oldest SQLite that Atrium trusts with a ledger.
const SQLITE_MIN: (u32, u32, u32) = (3, 51, 3);
/// How long a statement waits for another process's lock on the SQLite file.
const SQLITE_BUSY_SECONDS: u64 = 10;
/// How often it is asked whether another process is done with bringing the file up to date.
const LOCK_RETRY: Duration = Duration::from_millis(20);
/// Page cache of the connection that writes: 64 MiB, in negative KiB as SQLite wants it.
const SQLITE_CACHE: &str = "-65536";
/// Page cache of each connection that reads: 2 MiB. The system keeps the file's pages for all of them.
const SQLITE_READERS_CACHE: &str = "-2048";
/// Connections that read.
const SQLITE_READERS: u32 = 8;
/// Pages of the write-ahead log after which it is folded into the file: 64 MiB. A page that is
/// written in many batches is then copied once, not once for each batch.
const SQLITE_CHECKPOINT_PAGES: &str = "16384";
/// Pages of the write-ahead log that are folded beside the one who writes, a part at a time: what is left to
/// him when he comes to [`SQLITE_CHECKPOINT_PAGES`] holds up his next commit.
const SQLITE_FOLD_PAGES: i64 = 2_048;
/// Rows that a query reads ahead of whoever takes them: with fewer, two threads wait for each other all the time.
const SQLITE_ROWS_AHEAD: usize = 1_000;
/// Prepared statements kept per connection: bulk inserts come in a few sizes for each table.
const STATEMENTS_CACHED: usize = 400;
/// Of every session. Compiling a statement takes longer than any of ours runs, and what decides about it is the estimated
/// cost, which for a table that was filled a moment ago says nothing.
const POSTGRES_OPTIONS: [(&str, &str); 2] = [("client_min_messages", "warning"), ("jit", "off")];
/// Bounds on the writer's statements (design.md, section 3).
const WRITER_TIMEOUTS: &str = "set statement_timeout = '60s'; set lock_timeout = '30s'; \
                               set idle_in_transaction_session_timeout = '60s'; \
                               set synchronous_commit = on";

/// Microseconds that a standby is behind; negative where there is no telling.
const BEHIND: &str = "select case \
    when not pg_is_in_recovery() then -1 \
    when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() \
        and exists (select from pg_stat_wal_receiver) then 0 \
    when pg_last_xact_replay_timestamp() is null then -1 \
    else greatest(0, extract(epoch from clock_timestamp() - \
        pg_last_xact_replay_timestamp()) * 1000000)::bigint end";

/// The log's tables, step by step.
static SQLITE_SCHEMA: Migrator = sqlx::migrate!("../migrations/sqlite");
/// The same for PostgreSQL.
static POSTGRES_SCHEMA: Migrator = sqlx::migrate!("../migrations/postgres");
/// Where the steps that were taken are noted.
pub const STEPS_TABLE: &str = "_sqlx_migrations";

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Embedded, one file.
    Sqlite,
    /// A server.
    Postgres,
}

impl Engine {
    /// The condition that a text column has one of the texts of a [`Value::Texts`] parameter.
    #[must_use]
    pub fn any_of(self, column: &str, parameter: usize) -> String {
        match self {
            Self::Sqlite => format!("{column} in (select value from json_each(${parameter}))"),
            Self::Postgres => format!("{column} = any(${parameter})"),
        }
    }

    /// The texts of a [`Value::Texts`] parameter as a table of one column.
    #[must_use]
    pub fn each_of(self, parameter: usize, table: &str, column: &str) -> String {
        match self {
            Self::Sqlite => {
                format!("(select value as {column} from json_each(${parameter})) as {table}")
            }
            Self::Postgres => format!("unnest(${parameter}::text[]) as {table}({column})"),
        }
    }

    /// For each row of `outer`, the first rows of a table: as many as `inner`, the rest of a query that may name
    /// what `outer` has, lets through. In no order.
    #[must_use]
    pub fn first_of_each(self, outer: &str, columns: &str, table: &str, inner: &str) -> String {
        match self {
            Self::Sqlite => format!(
                "select {columns} from {outer} cross join {table} \
                 where {table}.rowid in (select rowid from {table} {inner})"
            ),
            Self::Postgres => format!(
                "select {columns} from {outer} cross join lateral \
                 (select {columns} from {table} {inner}) as own"
            ),
        }
    }

    /// The condition that a column of bytes has those of a [`Value::Bytes`] parameter somewhere in it.
    #[must_use]
    pub fn contains(self, column: &str, parameter: usize) -> String {
        match self {
            Self::Sqlite => format!("instr({column}, ${parameter}) > 0"),
            Self::Postgres => format!("position(${parameter} in {column}) > 0"),
        }
    }
}

/// Where rows come from: any connection of the pool, or one connection of its own.
pub trait Source: Send {
    /// Which of the two databases it is.
    fn engine(&self) -> Engine;

    /// The rows that a query gives.
    ///
    /// # Errors
    /// What the database says.
    fn rows(
        &mut self,
        sql: &str,
        values: &[Value],
    ) -> impl Future<Output = Result<Vec<Row>, sqlx::Error>> + Send;
}

impl Source for &Database {
    fn engine(&self) -> Engine {
        Database::engine(self)
    }

    async fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, sqlx::Error> {
        self.fetch(sql, values).await
    }
}

impl Source for Connection {
    fn engine(&self) -> Engine {
        match self {
            Self::Sqlite(_) => Engine::Sqlite,
            Self::Postgres(_) => Engine::Postgres,
        }
    }

    async fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, sqlx::Error> {
        self.fetch(sql, values).await
    }
}

/// One of the two databases, for reading: a pool of connections.
#[derive(Clone, Debug)]
pub enum Database {
    /// Embedded, one file.
    Sqlite(SqlitePool, SqliteConnectOptions),
    /// A server.
    Postgres(PgPool, PgConnectOptions),
}

/// How old a database is that has taken these steps, each with its checksum.
///
/// # Errors
/// Where it has taken some that this program does not know.
pub fn age_of(engine: Engine, taken: &[(i64, Vec<u8>)]) -> Result<Age, Error> {
    let known = match engine {
        Engine::Sqlite => &SQLITE_SCHEMA,
        Engine::Postgres => &POSTGRES_SCHEMA,
    };
    for (version, checksum) in taken {
        let Some(ours) = known.iter().find(|known| known.version == *version) else {
            return Err(migration(MigrateError::VersionMissing(*version)));
        };
        if ours.checksum[..] != checksum[..] {
            return Err(migration(MigrateError::VersionMismatch(*version)));
        }
    }
    Ok(if taken.len() < known.iter().count() { Age::Older } else { Age::Current })
}

/// How old a database is that this program can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// As this program makes it.
    Current,
    /// As an earlier one made it; the next start brings it up to date.
    Older,
}

/// A value bound to a statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `bigint`.
    Int(i64),
    /// `text`.
    Text(String),
    /// `bytea`, `blob`.
    Bytes(Vec<u8>),
    /// A set of texts, for [`Database::any_of`].
    Texts(Vec<String>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(number.try_into().unwrap_or(i64::MAX))
    }
}

/// A row of either database; columns are taken by their place.
#[derive(Debug)]
pub enum Row {
    /// From SQLite.
    Sqlite(SqliteRow),
    /// From PostgreSQL.
    Postgres(PgRow),
}

impl Row {
    /// A `bigint`.
    ///
    /// # Errors
    /// Where the column holds something else.
    pub fn int(&self, column: usize) -> Result<i64, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }

    /// A `bigint` that cannot be negative: a position, a version, a count.
    ///
    /// # Errors
    /// Where the column holds something else.
    pub fn unsigned(&self, column: usize) -> Result<u64, sqlx::Error> {
        let number = self.int(column)?;
        number.try_into().map_err(|source| sqlx::Error::ColumnDecode {
            index: column.to_string(),
            source: Box::new(source),
        })
    }

    /// A `text`.
    ///
    /// # Errors
    /// Where the column holds something else.
    pub fn text(&self, column: usize) -> Result<&str, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }

    /// A `bytea` or `blob`.
    ///
    /// # Errors
    /// Where the column holds something else.
    pub fn bytes(&self, column: usize) -> Result<&[u8], sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }
}

pub(crate) fn sqlite_arguments(values: &[Value]) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Int(number) => arguments.add(*number),
            Value::Text(text) => arguments.add(text.clone()),
            Value::Bytes(bytes) => arguments.add(bytes.clone()),
            Value::Texts(texts) => {
                arguments.add(serde_json::to_string(texts).expect("texts have a JSON form"))
            }
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

pub(crate) fn postgres_arguments(values: &[Value]) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for value in values {
        match value {
            Value::Int(number) => arguments.add(number),
            Value::Text(text) => arguments.add(text),
            Value::Bytes(bytes) => arguments.add(bytes),
            Value::Texts(texts) => arguments.add(texts),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

impl Database {
    /// Opens the SQLite file, making it and its folder where there is none (which only its owner can
    /// enter), and brings its schema up to date.
    ///
    /// # Errors
    /// Where the file cannot be opened, is no Atrium database, or is a newer one.
    pub async fn open_sqlite(file: &Path) -> Result<Self, Error> {
        if let Some(folder) = file.parent() {
            failpoint("eventstore::open::folder")?;
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(if planted(Bug::NormalForFull) {
                SqliteSynchronous::Normal
            } else {
                SqliteSynchronous::Full
            })
            .busy_timeout(Duration::from_secs(SQLITE_BUSY_SECONDS))
            .pragma("recursive_triggers", "on")
            .pragma("cache_size", SQLITE_CACHE)
            .pragma("wal_autocheckpoint", SQLITE_CHECKPOINT_PAGES)
            .statement_cache_capacity(STATEMENTS_CACHED)
            .row_buffer_size(SQLITE_ROWS_AHEAD)
            .disable_statement_logging();
        ensure_sqlite_or_new(file)?;
        let alone = alone_with(file).await?;
        failpoint("eventstore::open::connect")?;
        let mut first = options.connect().await?;
        check_sqlite(&mut first).await?;
        failpoint("eventstore::open::migrate")?;
        SQLITE_SCHEMA.run(&mut first).await.map_err(migration)?;
        first.close().await?;
        drop(alone);
        failpoint("eventstore::open::pool")?;
        let reading = options.clone().pragma("cache_size", SQLITE_READERS_CACHE);
        let pool =
            SqlitePoolOptions::new().max_connections(SQLITE_READERS).connect_with(reading).await?;
        let database = Self::Sqlite(pool, options);
        database.check_shapes().await?;
        Ok(database)
    }

    /// Connects to a PostgreSQL server and brings the schema up to date.
    ///
    /// # Errors
    /// Where the server cannot be reached or is a standby, or holds a newer Atrium database.
    pub async fn connect_postgres(url: &str) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url)?
            .application_name("atrium")
            .options(POSTGRES_OPTIONS)
            .statement_cache_capacity(STATEMENTS_CACHED)
            .disable_statement_logging();
        failpoint("eventstore::open::connect")?;
        let mut first = options.connect().await?;
        if sqlx::query_scalar("select pg_is_in_recovery()").fetch_one(&mut first).await? {
            return Err(Error::Unsuitable(
                "the server is a standby, which only reads: `atrium serve --read-only` answers questions from \
                 it; whatever writes needs the primary"
                    .to_owned(),
            ));
        }
        failpoint("eventstore::open::migrate")?;
        POSTGRES_SCHEMA.run(&mut first).await.map_err(migration)?;
        first.close().await?;
        failpoint("eventstore::open::pool")?;
        let pool = PgPoolOptions::new()
            .max_connections(16)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options.clone())
            .await?;
        let database = Self::Postgres(pool, options);
        database.check_shapes().await?;
        Ok(database)
    }

    /// Looks at a SQLite file and changes nothing: the schema is not brought up to date, and where nobody
    /// has the file open, no other is made beside it either. (Nobody may open it meanwhile, then.)
    ///
    /// # Errors
    /// Where the file cannot be opened, or is no SQLite database.
    pub async fn look_sqlite(file: &Path) -> Result<Self, Error> {
        Self::look_with(for_looking(file).immutable(!is_in_use(file))).await
    }

    /// The same for long: others may begin to write at any time, and that is seen. For it SQLite needs files
    /// beside the one; where none can be made, nobody writes, and the file is taken as it is.
    ///
    /// # Errors
    /// Where the file cannot be opened, or is no SQLite database.
    pub async fn follow_sqlite(file: &Path) -> Result<Self, Error> {
        match Self::look_with(for_looking(file)).await {
            Err(_) if !is_in_use(file) => Self::look_with(for_looking(file).immutable(true)).await,
            followed => followed,
        }
    }

    async fn look_with(options: SqliteConnectOptions) -> Result<Self, Error> {
        failpoint("eventstore::look::sqlite")?;
        let pool =
            SqlitePoolOptions::new().max_connections(SQLITE_READERS).connect_with(options.clone());
        let database = Self::Sqlite(pool.await?, options);
        // The first thing that is read: SQLite does not look at the file before.
        database.tables().await?;
        Ok(database)
    }

    /// Looks at a PostgreSQL database and changes nothing.
    ///
    /// # Errors
    /// Where the server cannot be reached.
    pub async fn look_postgres(url: &str) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url)?
            .application_name("atrium")
            .options(POSTGRES_OPTIONS)
            .options([("default_transaction_read_only", "on")])
            .statement_cache_capacity(STATEMENTS_CACHED)
            .disable_statement_logging();
        failpoint("eventstore::look::postgres")?;
        let pool = PgPoolOptions::new()
            .max_connections(16)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options.clone());
        Ok(Self::Postgres(pool.await?, options))
    }

    /// The names of all tables, whoever made them.
    ///
    /// # Errors
    /// What the database says.
    pub async fn tables(&self) -> Result<Vec<String>, Error> {
        let sql = match self.engine() {
            Engine::Sqlite => "select name from sqlite_schema where type = 'table' order by name",
            Engine::Postgres => {
                "select tablename::text from pg_tables \
                 where schemaname not in ('pg_catalog', 'information_schema') order by tablename"
            }
        };
        failpoint("eventstore::look::tables")?;
        let rows = self.fetch(sql, &[]).await?;
        rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
    }

    /// Whether this program can read what it looks at: every step of its schema, and every shape of
    /// event.
    ///
    /// # Errors
    /// Where it is no Atrium database, or one of a newer version.
    pub async fn age(&self) -> Result<Age, Error> {
        if !self.tables().await?.iter().any(|table| table == STEPS_TABLE) {
            return Err(Error::Unsuitable("there is no Atrium database in it".to_owned()));
        }
        let sql = format!("select version, checksum from {STEPS_TABLE} order by version");
        failpoint("eventstore::look::age")?;
        let rows = self.fetch(&sql, &[]).await?;
        let taken = rows.iter().map(|row| Ok((row.int(0)?, row.bytes(1)?.to_vec())));
        let taken = taken.collect::<Result<Vec<_>, sqlx::Error>>()?;
        let age = age_of(self.engine(), &taken)?;
        self.check_shapes().await?;
        Ok(age)
    }

    /// The same database through connections of its own, for another runtime: a connection is driven
    /// by the runtime that made it, waits for it, and ends with it.
    #[must_use]
    pub fn apart(&self) -> Self {
        match self {
            Self::Sqlite(pool, options) => Self::Sqlite(
                pool.options().clone().connect_lazy_with(options.clone()),
                options.clone(),
            ),
            Self::Postgres(pool, options) => Self::Postgres(
                pool.options().clone().connect_lazy_with(options.clone()),
                options.clone(),
            ),
        }
    }

    /// Which of the two this is.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self {
            Self::Sqlite(..) => Engine::Sqlite,
            Self::Postgres(..) => Engine::Postgres,
        }
    }

    /// A connection of its own, without the writer's bounds.
    ///
    /// # Errors
    /// Where the database cannot be reached.
    pub(crate) async fn own_connection(&self) -> Result<Connection, Error> {
        Ok(match self {
            Self::Sqlite(_, options) => Connection::Sqlite(options.connect().await?),
            Self::Postgres(_, options) => Connection::Postgres(options.connect().await?),
        })
    }

    /// A connection of its own, for the writer: durable, and bounded in time.
    ///
    /// # Errors
    /// Where the database cannot be reached or does not promise durability.
    pub async fn writer_connection(&self) -> Result<Connection, Error> {
        failpoint("eventstore::writer_connection")?;
        match self {
            Self::Sqlite(_, options) => {
                let mut connection = options.connect().await?;
                check_sqlite(&mut connection).await?;
                Ok(Connection::Sqlite(connection))
            }
            Self::Postgres(_, options) => {
                let mut connection = options.connect().await?;
                connection.execute(WRITER_TIMEOUTS).await?;
                if planted(Bug::NormalForFull) {
                    connection.execute("set synchronous_commit = off").await?;
                }
                Ok(Connection::Postgres(connection))
            }
        }
    }

    /// The same, for who looks up or writes a few rows at a time, batch after batch.
    ///
    /// # Errors
    /// See [`Database::writer_connection`].
    pub async fn batch_connection(&self) -> Result<Connection, Error> {
        let mut connection = self.writer_connection().await?;
        failpoint("eventstore::batch_connection")?;
        let setting = match connection {
            // What would undo a single statement; else it goes into a new file with many a batch. (What makes an
            // index must not have it: it sorts more than memory holds.)
            Connection::Sqlite(_) => "pragma temp_store = memory",
            // A table that was filled a moment ago is taken for a small one until it is analysed, and would be read
            // from end to end for a few keys.
            Connection::Postgres(_) => "set enable_seqscan = off",
        };
        connection.execute(setting, &[]).await?;
        Ok(connection)
    }

    /// The rows that a query gives.
    ///
    /// # Errors
    /// What the database says.
    pub async fn fetch(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, sqlx::Error> {
        failpoint("eventstore::database::fetch")?;
        let sql = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(pool, _) => {
                let query = sqlx::query_with(sql, sqlite_arguments(values)?);
                Ok(query.fetch_all(pool).await?.into_iter().map(Row::Sqlite).collect())
            }
            Self::Postgres(pool, _) => {
                let query = sqlx::query_with(sql, postgres_arguments(values)?);
                Ok(query.fetch_all(pool).await?.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// What the installation remembers under a name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn installation(&self, name: &str) -> Result<Option<String>, Error> {
        failpoint("eventstore::installation")?;
        let rows =
            self.fetch("select value from installation where name = $1", &[name.into()]).await?;
        rows.first().map(|row| row.text(0).map(str::to_owned)).transpose().map_err(Error::from)
    }

    /// How far a PostgreSQL standby may be behind its primary: nothing if it is connected and has replayed all
    /// that came, otherwise the age of the last transaction that it has replayed. None where that is not known,
    /// and where the database is no standby.
    ///
    /// # Errors
    /// What the database says.
    pub async fn behind(&self) -> Result<Option<Duration>, Error> {
        failpoint("eventstore::behind")?;
        if self.engine() == Engine::Sqlite {
            return Ok(None);
        }
        let rows = self.fetch(BEHIND, &[]).await?;
        let micros = rows.first().map_or(Ok(-1), |row| row.int(0))?;
        Ok(u64::try_from(micros).ok().map(Duration::from_micros))
    }

    /// Closes every connection; SQLite then folds its write-ahead log into the file.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(pool, _) => pool.close().await,
            Self::Postgres(pool, _) => pool.close().await,
        }
    }

    /// Every kind and schema ever stored must be readable by this program.
    async fn check_shapes(&self) -> Result<(), Error> {
        failpoint("eventstore::open::check_shapes")?;
        for row in self.fetch("select kind, schema from event_shape", &[]).await? {
            let (kind, schema) = (row.text(0)?, row.int(1)?);
            domain::event::readable(kind, u32::try_from(schema).unwrap_or(u32::MAX))
                .map_err(Error::Newer)?;
        }
        Ok(())
    }
}

/// How to look at a SQLite file.
fn for_looking(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .busy_timeout(Duration::from_secs(SQLITE_BUSY_SECONDS))
        .pragma("cache_size", SQLITE_READERS_CACHE)
        .statement_cache_capacity(STATEMENTS_CACHED)
        .row_buffer_size(SQLITE_ROWS_AHEAD)
        .disable_statement_logging()
}

/// Whether somebody has a SQLite file open, or had it when he was killed: its write-ahead log lies
/// beside it.
#[must_use]
pub fn is_in_use(file: &Path) -> bool {
    write_ahead_log(file).exists()
}

/// Where SQLite keeps the write-ahead log of a file.
#[must_use]
pub fn write_ahead_log(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Refuses what is another kind of file, before anything is made beside it.
fn ensure_sqlite_or_new(file: &Path) -> Result<(), Error> {
    failpoint("eventstore::open::look")?;
    let mut start = Vec::new();
    match File::open(file) {
        Ok(file) => file.take(SQLITE_MAGIC.len() as u64).read_to_end(&mut start)?,
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(error.into()),
    };
    if start.is_empty() || start == SQLITE_MAGIC { Ok(()) } else { Err(Error::not_a_database()) }
}

/// Waits until no other process is making the same SQLite file or bringing it up to date. (On PostgreSQL
/// the migrations themselves take a lock.) Making it is part of that: of two that turn a new file over to
/// the write-ahead log, one is told at once that it is locked, whatever it would wait. The lock is on a file beside it: closing any handle of the
/// database's own file would end the locks that SQLite holds on it.
async fn alone_with(file: &Path) -> Result<File, Error> {
    let beside = file.with_extension("lock");
    failpoint("eventstore::open::lock")?;
    let lock = File::options().create(true).append(true).open(beside)?;
    let give_up = Instant::now() + Duration::from_secs(SQLITE_BUSY_SECONDS);
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Err(TryLockError::WouldBlock) if Instant::now() > give_up => {
                return Err(Error::Unsuitable(
                    "another process keeps bringing this database up to date; try again".to_owned(),
                ));
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_RETRY).await,
        }
    }
}

fn migration(error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(version) => Error::Unsuitable(format!(
            "the database has been upgraded by a newer Atrium (schema {version}); start that \
             version, or restore a backup made before the upgrade"
        )),
        MigrateError::VersionMismatch(version) => Error::Unsuitable(format!(
            "schema {version} in the database is not the one that this Atrium knows; this file \
             belongs to another program or build"
        )),
        other => Error::Migration(other),
    }
}

/// The version of the library, and that the settings really are in force.
async fn check_sqlite(connection: &mut SqliteConnection) -> Result<(), Error> {
    failpoint("eventstore::open::check_sqlite")?;
    let mut ask = async |sql: &'static str| -> Result<String, sqlx::Error> {
        let row = sqlx::query(sql).fetch_one(&mut *connection).await?;
        row.try_get_unchecked::<String, _>(0)
    };
    let version = ask("select sqlite_version()").await?;
    let numbers: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    let found = match numbers[..] {
        [major, minor, patch, ..] => (major, minor, patch),
        _ => (0, 0, 0),
    };
    if found < SQLITE_MIN {
        let (major, minor, patch) = SQLITE_MIN;
        return Err(Error::Unsuitable(format!(
            "this program was built with SQLite {version}; Atrium needs {major}.{minor}.{patch} or \
             newer: build it with the bundled library"
        )));
    }
    let journal = ask("pragma journal_mode").await?;
    let synchronous = ask("select cast(synchronous as text) from pragma_synchronous").await?;
    let is_full = synchronous == "2" || planted(Bug::NormalForFull);
    if journal != "wal" || !is_full {
        return Err(Error::Unsuitable(format!(
            "SQLite does not promise durability here (journal_mode {journal}, synchronous \
             {synchronous}); the folder's file system must support write-ahead logging"
        )));
    }
    Ok(())
}

/// One connection, for writing.
#[derive(Debug)]
pub enum Connection {
    /// To the SQLite file.
    Sqlite(SqliteConnection),
    /// To the server.
    Postgres(PgConnection),
}

impl Connection {
    /// Says good-bye to the database.
    pub async fn close(self) {
        // A connection that is broken already is closed enough.
        let _ = match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
        };
    }

    /// Folds part of SQLite's write-ahead log into the file, if there is enough of it, while others read
    /// and write: on a connection that is used for nothing else. PostgreSQL sees to that itself.
    ///
    /// # Errors
    /// What the database says.
    pub async fn fold_log(&mut self) -> Result<(), Error> {
        if let Self::Sqlite(_) = self {
            failpoint("eventstore::fold_log")?;
            // Whether somebody else is at it, how many pages the log has, how many of them are folded.
            let rows = self.fetch("pragma wal_checkpoint(noop)", &[]).await?;
            if rows[0].int(1)? - rows[0].int(2)? >= SQLITE_FOLD_PAGES {
                self.fetch("pragma wal_checkpoint(passive)", &[]).await?;
            }
        }
        Ok(())
    }

    /// Runs a statement, or several without parameters.
    ///
    /// # Errors
    /// What the database says.
    pub async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, sqlx::Error> {
        failpoint("eventstore::connection::execute")?;
        let text = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(connection) if values.is_empty() => {
                Ok(connection.execute(sqlx::raw_sql(text)).await?.rows_affected())
            }
            Self::Postgres(connection) if values.is_empty() => {
                Ok(connection.execute(sqlx::raw_sql(text)).await?.rows_affected())
            }
            Self::Sqlite(connection) => {
                let query = sqlx::query_with(text, sqlite_arguments(values)?);
                Ok(query.execute(connection).await?.rows_affected())
            }
            Self::Postgres(connection) => {
                let query = sqlx::query_with(text, postgres_arguments(values)?);
                Ok(query.execute(connection).await?.rows_affected())
            }
        }
    }

    /// Hands the rows that a query gives over one by one: there may be more of them than memory holds.
    ///
    /// # Errors
    /// What the database says.
    pub async fn for_each<E: From<sqlx::Error>>(
        &mut self,
        sql: &str,
        values: &[Value],
        mut take: impl FnMut(Row) -> Result<(), E>,
    ) -> Result<(), E> {
        failpoint("eventstore::connection::for_each").map_err(sqlx::Error::Io)?;
        let sql = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(connection) => {
                let query = sqlx::query_with(sql, sqlite_arguments(values)?);
                let mut rows = query.fetch(connection);
                while let Some(row) = rows.try_next().await? {
                    take(Row::Sqlite(row))?;
                }
            }
            Self::Postgres(connection) => {
                let query = sqlx::query_with(sql, postgres_arguments(values)?);
                let mut rows = query.fetch(connection);
                while let Some(row) = rows.try_next().await? {
                    take(Row::Postgres(row))?;
                }
            }
        }
        Ok(())
    }

    /// The rows that a query gives.
    ///
    /// # Errors
    /// What the database says.
    pub async fn fetch(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, sqlx::Error> {
        failpoint("eventstore::connection::fetch")?;
        let sql = AssertSqlSafe(sql);
        match self {
            Self::Sqlite(connection) => {
                let query = sqlx::query_with(sql, sqlite_arguments(values)?);
                Ok(query.fetch_all(connection).await?.into_iter().map(Row::Sqlite).collect())
            }
            Self::Postgres(connection) => {
                let query = sqlx::query_with(sql, postgres_arguments(values)?);
                Ok(query.fetch_all(connection).await?.into_iter().map(Row::Postgres).collect())
            }
        }
    }
}
