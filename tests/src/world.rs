//! A small installation to test on: a database of its own, a clock that tests turn, seeded ids.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use commands::usecase::installation::Install;
use commands::{Ambient, Caller, Command, Committed, OnCommit, Submission, Writer, WriterSettings};
use domain::billing::{BillingSettings, CalendarRule};
use domain::money::Currency;
use domain::seal::{RANDOM_BYTES, Vault};
use domain::text::Address;
use domain::user::{Person, Proof};
use eventstore::{Database, Engine};
use projections::Persons;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::Connection as _;
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

/// Where `scripts/postgres run` says that its server is.
pub const POSTGRES_VARIABLE: &str = "ATRIUM_TEST_POSTGRES";
/// How long a test waits for its database to go.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(10);

/// Time and ids that depend on nothing but the test.
#[derive(Debug)]
pub struct TestAmbient {
    now: AtomicI64,
    ids: AtomicU64,
    jumps: watch::Sender<()>,
}

impl TestAmbient {
    /// A clock that stands at a time such as `2019-11-01T00:00:00Z`.
    ///
    /// # Panics
    /// Where the text is no time.
    #[must_use]
    pub fn at(time: &str) -> Arc<Self> {
        let (now, ids) = (AtomicI64::new(0), AtomicU64::new(1));
        let ambient = Self { now, ids, jumps: watch::Sender::new(()) };
        ambient.set(time);
        Arc::new(ambient)
    }

    /// Turns the clock.
    ///
    /// # Panics
    /// Where the text is no time.
    pub fn set(&self, time: &str) {
        let time: DateTime<Utc> = time.parse().expect("an RFC 3339 time");
        self.now.store(time.timestamp_micros(), Ordering::SeqCst);
        self.jumps.send_replace(());
    }
}

impl Ambient for TestAmbient {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.now.load(Ordering::SeqCst)).expect("a time")
    }

    fn jumps(&self) -> Option<watch::Receiver<()>> {
        Some(self.jumps.subscribe())
    }

    fn id(&self) -> Uuid {
        let id = self.ids.fetch_add(1, Ordering::SeqCst);
        let millis = u64::try_from(self.now().timestamp_millis()).unwrap_or(0);
        let mut random = [0; 10];
        random[2..].copy_from_slice(&id.to_be_bytes());
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// Whoever decides, and however often: at one place in the log it is the same.
    fn random_at(&self, position: u64, nth: u32) -> [u8; RANDOM_BYTES] {
        let mut hash = Sha256::new();
        hash.update(position.to_be_bytes());
        hash.update(nth.to_be_bytes());
        hash.finalize().into()
    }
}

/// What seals persons in tests.
#[must_use]
pub fn vault() -> Vault {
    api::keys::Keys::derive(&crate::http::MASTER_KEY).vault()
}

/// Opens them.
#[must_use]
pub fn persons() -> Persons {
    Persons::new(vault())
}

/// A database of its own: a SQLite file in a temporary folder, or a fresh PostgreSQL database. Goes when this is dropped.
#[derive(Debug)]
pub struct TestDatabase {
    /// For [`Database`] and the `atrium` binary: the folder, or the URL.
    pub place: Place,
    made: Option<Made>,
}

/// What was made for a test, and goes with it.
#[derive(Debug)]
enum Made {
    Folder(TempDir),
    Database(MadeDatabase),
}

/// A database that was made on the server with this URL.
#[derive(Debug)]
struct MadeDatabase {
    server: String,
    name: String,
}

impl MadeDatabase {
    async fn remove(&self) -> Result<(), sqlx::Error> {
        let mut connection = sqlx::PgConnection::connect(&self.server).await?;
        let sql = format!("drop database if exists {} with (force)", self.name);
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await?;
        connection.close().await
    }
}

impl Drop for MadeDatabase {
    /// Hundreds of tests on one server would fill its disk. Where the server is away already, so is the database.
    fn drop(&mut self) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let removal = async { tokio::time::timeout(REMOVAL_PATIENCE, self.remove()).await };
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.map(|runtime| runtime.block_on(removal))
            });
        });
    }
}

/// Where a database is.
#[derive(Clone, Debug)]
pub enum Place {
    /// A folder with the SQLite file in it.
    Folder(std::path::PathBuf),
    /// A PostgreSQL database.
    Url(String),
}

impl TestDatabase {
    /// A new, empty one.
    ///
    /// # Errors
    /// Where there is no PostgreSQL: run under `scripts/postgres run --`.
    pub async fn new(engine: Engine) -> Result<Self> {
        Self::below(&std::env::temp_dir(), engine).await
    }

    /// The same, where nothing has to outlive the machine: in memory, if the system has a place for files there.
    ///
    /// # Errors
    /// See [`TestDatabase::new`].
    pub async fn volatile(engine: Engine) -> Result<Self> {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::below(memory, engine).await } else { Self::new(engine).await }
    }

    async fn below(folder: &Path, engine: Engine) -> Result<Self> {
        match engine {
            Engine::Sqlite => {
                let folder = tempfile::Builder::new().prefix("atrium-test-").tempdir_in(folder)?;
                Ok(Self {
                    place: Place::Folder(folder.path().to_owned()),
                    made: Some(Made::Folder(folder)),
                })
            }
            Engine::Postgres => {
                let server = std::env::var(POSTGRES_VARIABLE).with_context(|| {
                    format!("{POSTGRES_VARIABLE} is not set; run `scripts/postgres run -- ...`")
                })?;
                let name = format!("t{}", commands::SystemAmbient.id().simple());
                let mut connection = sqlx::PgConnection::connect(&server).await?;
                sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {name}")))
                    .execute(&mut connection)
                    .await?;
                connection.close().await?;
                let (base, _) = server.rsplit_once('/').context("the URL names a database")?;
                let place = Place::Url(format!("{base}/{name}"));
                Ok(Self { place, made: Some(Made::Database(MadeDatabase { server, name })) })
            }
        }
    }

    /// One that is somewhere already, and stays there.
    #[must_use]
    pub fn at(place: Place) -> Self {
        Self { place, made: None }
    }

    /// Opens it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn open(&self) -> Result<Database> {
        let database = match &self.place {
            Place::Folder(folder) => Database::open_sqlite(&folder.join("atrium.db")).await?,
            Place::Url(url) => Database::connect_postgres(url).await?,
        };
        projections::prepare(&database, |_| ()).await?;
        Ok(database)
    }

    /// Keeps it when this is dropped, to look at it.
    pub fn keep(&mut self) {
        match self.made.take() {
            Some(Made::Folder(folder)) => drop(folder.keep()),
            Some(Made::Database(database)) => std::mem::forget(database),
            None => {}
        }
    }
}

/// A database with a provider in it, and a writer.
#[derive(Debug)]
pub struct World {
    /// Its database.
    pub database: Database,
    /// Its clock.
    pub ambient: Arc<TestAmbient>,
    /// Its writer.
    pub writer: Writer,
    /// Where the database is; kept as long as the world is.
    pub place: TestDatabase,
}

impl World {
    /// A new world, with a provider and nothing else, on 1 January 2019.
    ///
    /// # Errors
    /// Where there is no database.
    pub async fn new(engine: Engine) -> Result<Self> {
        Self::with(engine, WriterSettings::default(), Box::new(|_| ())).await
    }

    /// The same, with another writer.
    ///
    /// # Errors
    /// Where there is no database.
    pub async fn with(
        engine: Engine,
        settings: WriterSettings,
        on_commit: OnCommit,
    ) -> Result<Self> {
        Self::begin(TestDatabase::new(engine).await?, settings, on_commit).await
    }

    /// The same, in a database that is empty.
    ///
    /// # Errors
    /// What the database says.
    pub async fn begin(
        place: TestDatabase,
        settings: WriterSettings,
        on_commit: OnCommit,
    ) -> Result<Self> {
        let world = Self::open(place, "2019-01-01T00:00:00Z", settings, on_commit).await?;
        world.system(install()).await?;
        Ok(world)
    }

    /// The world that is in a database, at a time that it has not seen yet.
    ///
    /// # Errors
    /// Where there is no database.
    pub async fn open(
        place: TestDatabase,
        time: &str,
        settings: WriterSettings,
        on_commit: OnCommit,
    ) -> Result<Self> {
        let database = place.open().await?;
        let ambient = TestAmbient::at(time);
        let (writer, _) =
            Writer::start(database.clone(), vault(), ambient.clone(), settings, on_commit).await?;
        Ok(Self { database, ambient, writer, place })
    }

    /// Has Atrium itself do something, which must be granted; gives the resource.
    ///
    /// # Errors
    /// The refusal.
    pub async fn system(&self, command: Command) -> Result<Value> {
        let committed = self.submit(Caller::SYSTEM, command).await?;
        Ok(serde_json::from_str(committed.reply.body.get())?)
    }

    /// Has somebody do something.
    ///
    /// # Errors
    /// The refusal.
    pub async fn submit(
        &self,
        caller: Caller,
        command: Command,
    ) -> Result<Committed, commands::Error> {
        self.writer.submit(Submission { caller, command, idempotency: None }).await
    }
}

/// The beginning of every installation: the provider, its calendar, and Ada, its administrator.
///
/// # Panics
/// Never: the values are right.
#[must_use]
pub fn install() -> Command {
    let address = || Address::parse("admin@example.com").expect("an address");
    Command::Install(Box::new(Install {
        name: "Northwind Managed Services".to_owned(),
        settings: BillingSettings::new(
            Currency::parse("EUR").expect("a currency"),
            CalendarRule::CalendarMonth,
            chrono_tz::UTC,
        ),
        administrator: Person::new("Ada", "Admin", address(), address()),
        password: Proof("no password".to_owned()),
    }))
}

/// A body as it would have been sent.
///
/// # Panics
/// Where it does not fit.
pub fn body<T: serde::de::DeserializeOwned>(json: Value) -> commands::Input<T> {
    Ok(serde_json::from_value(json).expect("the test's own body fits"))
}

/// Answers to several submissions that are handed over at once, in this order.
pub async fn at_once(
    writer: &Writer,
    submissions: impl IntoIterator<Item = Submission>,
) -> Vec<Result<Committed, commands::Error>> {
    let waiting: Vec<_> = submissions
        .into_iter()
        .map(|submission| {
            let writer = writer.clone();
            Box::pin(async move { writer.submit(submission).await })
        })
        .collect();
    join_in_order(waiting).await
}

/// Polls all of them in order before it waits for any.
async fn join_in_order<F: Future + Unpin>(mut waiting: Vec<F>) -> Vec<F::Output> {
    let mut done: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        let mut pending = false;
        for (future, done) in waiting.iter_mut().zip(&mut done) {
            if done.is_none() {
                match std::pin::Pin::new(future).poll(context) {
                    std::task::Poll::Ready(output) => *done = Some(output),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            return std::task::Poll::Pending;
        }
        std::task::Poll::Ready(done.iter_mut().filter_map(Option::take).collect())
    })
    .await
}
