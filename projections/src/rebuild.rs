//! Folding the log again: into fresh tables beside the live ones, compared, and switched at one
//! position.

use std::sync::Arc;

use domain::event::Recorded;
use domain::{Bug, planted};
use eventstore::{Connection, Database, Engine, Error, Log, Value, failpoint};

use crate::document::{Below, View, Wants};
use crate::tables::{VIEWS_VERSION, all_tables, create_indexes, create_tables};
use crate::views::Views;

/// Events folded before their documents are written.
const FLUSH_EVENTS: usize = 50_000;
/// Documents kept in memory; beyond, the fold asks the fresh tables for what it needs.
const DOCUMENTS_MAX: usize = 1_000_000;
/// Events that the log is allowed to grow by before the last, locked, step.
const CATCH_UP_EVENTS: u64 = 1_000;

/// The version of the folds that the views were made by, as the installation remembers it.
const VERSION: &str = "views";
/// How often a rebuild began; sets the names of its tables and indexes apart.
const GENERATION: &str = "views_generation";

/// What a rebuild found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// How many events were folded.
    pub events: u64,
    /// Where fresh and live tables differed; empty as it should be.
    pub differences: Vec<Difference>,
}

/// A row that is not in both tables alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The live table.
    pub table: String,
    /// The row's key.
    pub key: String,
}

/// What has been folded so far.
struct Fold {
    /// Ends the names of the tables that are being filled.
    suffix: String,
    /// All documents folded so far, or, once there are too many, some of them.
    known: Views,
    /// Whether `known` still holds every document: then what it lacks is not there.
    complete: bool,
    /// Changed since the last write.
    changed: Views,
}

/// What is below a rebuild's layer.
struct Folded<'a> {
    known: &'a Views,
    complete: bool,
}

impl Below for Folded<'_> {
    fn document<V: View>(&self, key: &str) -> Option<Option<Arc<V>>> {
        match V::of(self.known).get(key) {
            Some(known) => Some(known.clone()),
            None if self.complete => Some(None),
            None => None,
        }
    }
}

/// Folds the whole log, compares with what is there, and puts the fresh tables in its place.
/// `progress` hears of the position now and then.
///
/// Commands go on meanwhile, but for the last moment, when the head of the log is locked. A rebuild
/// that begins ends one that is running.
///
/// # Errors
/// What the database says, and what cannot be decoded. Then the live tables are as they were.
pub async fn rebuild(database: &Database, mut progress: impl FnMut(u64)) -> Result<Rebuilt, Error> {
    let engine = database.engine();
    let log = Log::new(database.clone());
    let mut connection = database.writer_connection().await?;
    let generation = next_generation(&mut connection).await?;
    drop_tables(&mut connection, &suffix(generation - 1)).await?;
    let suffix = suffix(generation);
    create_tables(&mut connection, engine, &suffix).await?;
    let mut fold = Fold {
        suffix: suffix.clone(),
        known: Views::default(),
        complete: true,
        changed: Views::default(),
    };
    let mut position = 0;
    loop {
        let head = log.head().await?.position;
        position = fold.run(&mut connection, &log, position, head, &mut progress).await?;
        if log.head().await?.position - position <= CATCH_UP_EVENTS {
            break;
        }
    }
    create_indexes(&mut connection, &suffix, generation).await?;

    // From here on nobody appends: the head is locked until the switch is committed.
    lock_head(&mut connection, engine).await?;
    let switched = async {
        let head = connection.head().await?.position;
        position = fold.run(&mut connection, &log, position, head, &mut progress).await?;
        let differences = compare(&mut connection, &suffix).await?;
        switch(&mut connection, &suffix).await?;
        note_version(&mut connection).await?;
        Ok::<_, Error>(differences)
    }
    .await;
    match switched {
        Ok(differences) => {
            failpoint("projections::rebuild::commit")?;
            connection.execute("commit", &[]).await.map_err(Error::OutcomeUnknown)?;
            Ok(Rebuilt { events: position, differences })
        }
        Err(error) => {
            failpoint("projections::rebuild::rollback")?;
            connection.execute("rollback", &[]).await?;
            drop_tables(&mut connection, &suffix).await?;
            Err(error)
        }
    }
}

impl Fold {
    /// Folds the events after `position` up to `head`, and writes what came of it.
    async fn run(
        &mut self,
        connection: &mut Connection,
        log: &Log,
        mut position: u64,
        head: u64,
        progress: &mut impl FnMut(u64),
    ) -> Result<u64, Error> {
        failpoint("projections::rebuild::fold")?;
        // One less than there is.
        let forgotten = u64::from(planted(Bug::RebuildForgetsLast) && head > position);
        let mut pages = log.pages(position, head - forgotten);
        while position < head {
            let mut events = Vec::new();
            while events.len() < FLUSH_EVENTS
                && let Some(page) = pages.next().await?
            {
                events.extend(page);
            }
            position = events.last().map_or(head, |last| last.position + forgotten);
            self.fold(connection, &events).await?;
            let changed = std::mem::take(&mut self.changed);
            eventstore::write(connection, changed.rows(&self.suffix, position)).await?;
            self.known.absorb(changed);
            if self.known.len() > DOCUMENTS_MAX {
                self.known = Views::default();
                self.complete = false;
            }
            progress(position);
        }
        Ok(position)
    }

    async fn fold(
        &mut self,
        connection: &mut Connection,
        events: &[Recorded],
    ) -> Result<(), Error> {
        if !self.complete {
            // One statement for each table fetches what these events will need.
            let mut wants = Wants::default();
            for event in events {
                let below = Folded { known: &self.known, complete: false };
                Views::default().fold(event, &below, &mut wants);
            }
            self.known.load(connection, &wants, &self.suffix).await?;
        }
        let mut wants = Wants::default();
        for event in events {
            let below = Folded { known: &self.known, complete: self.complete };
            self.changed.fold(event, &below, &mut wants);
        }
        debug_assert!(wants.is_empty(), "everything that these events need has been loaded");
        Ok(())
    }
}

fn suffix(generation: u64) -> String {
    format!("_rebuild_{generation}")
}

/// Counts this rebuild.
async fn next_generation(connection: &mut Connection) -> Result<u64, Error> {
    failpoint("projections::rebuild::next_generation")?;
    let rows = connection
        .fetch(
            "insert into installation (name, value) values ($1, '1') on conflict (name) do update \
             set value = cast(cast(installation.value as bigint) + 1 as text) \
             returning cast(value as bigint)",
            &[GENERATION.into()],
        )
        .await?;
    Ok(rows[0].unsigned(0)?)
}

async fn note_version(connection: &mut Connection) -> Result<(), Error> {
    failpoint("projections::rebuild::note_version")?;
    connection
        .execute(
            "insert into installation (name, value) values ($1, $2) \
             on conflict (name) do update set value = excluded.value",
            &[VERSION.into(), VIEWS_VERSION.into()],
        )
        .await?;
    Ok(())
}

/// Begins a transaction in which nobody else appends.
async fn lock_head(connection: &mut Connection, engine: Engine) -> Result<(), Error> {
    failpoint("projections::rebuild::lock_head")?;
    match engine {
        Engine::Sqlite => connection.execute("begin immediate", &[]).await?,
        Engine::Postgres => {
            connection.execute("begin", &[]).await?;
            // A writer's statement locks its tables, in this order, before it comes to the head.
            let tables = all_tables().collect::<Vec<_>>().join(", ");
            let lock = format!("lock table {tables} in share row exclusive mode");
            connection.execute(&lock, &[]).await?;
            connection.execute("select 1 from head where id = 1 for update", &[]).await?
        }
    };
    Ok(())
}

async fn drop_tables(connection: &mut Connection, suffix: &str) -> Result<(), Error> {
    failpoint("projections::rebuild::drop_tables")?;
    for table in all_tables() {
        connection.execute(&format!("drop table if exists {table}{suffix}"), &[]).await?;
    }
    Ok(())
}

/// Differences named at the most for each table.
const DIFFERENCES_MAX: u64 = 20;

/// Rows that are in one table and not alike in the other. The position at which a document was
/// written differs, of course, and is not compared.
async fn compare(connection: &mut Connection, suffix: &str) -> Result<Vec<Difference>, Error> {
    failpoint("projections::rebuild::compare")?;
    let mut differences = Vec::new();
    for table in all_tables().filter(|_| !planted(Bug::RebuildComparesNothing)) {
        let columns = |name: &str| {
            let columns = ["path", "owner", "kind", "sort", "since", "until", "document"];
            columns.map(|column| format!("{name}.{column}")).join(", ")
        };
        let sql = format!(
            "select coalesce(live.key, fresh.key) as key from {table} as live \
             full join {table}{suffix} as fresh on fresh.key = live.key \
             where live.key is null or fresh.key is null or ({}) <> ({}) order by 1 limit $1",
            columns("live"),
            columns("fresh"),
        );
        for row in connection.fetch(&sql, &[Value::from(DIFFERENCES_MAX)]).await? {
            differences.push(Difference { table: table.to_owned(), key: row.text(0)?.to_owned() });
        }
    }
    Ok(differences)
}

async fn switch(connection: &mut Connection, suffix: &str) -> Result<(), Error> {
    for table in all_tables() {
        failpoint("projections::rebuild::switch")?;
        connection.execute(&format!("drop table {table}"), &[]).await?;
        connection.execute(&format!("alter table {table}{suffix} rename to {table}"), &[]).await?;
    }
    Ok(())
}

/// Makes the tables of a new installation, and rebuilds those of an older program.
///
/// # Errors
/// See [`rebuild`].
pub async fn prepare(database: &Database, progress: impl FnMut(u64)) -> Result<(), Error> {
    if is_prepared(database).await? {
        return Ok(());
    }
    let mut connection = database.writer_connection().await?;
    begin_alone(&mut connection, database.engine()).await?;
    let made = make_if_new(&mut connection, database.engine()).await;
    failpoint("projections::prepare::commit")?;
    connection.execute(if made.is_ok() { "commit" } else { "rollback" }, &[]).await?;
    connection.close().await;
    made?;
    if is_prepared(database).await? {
        return Ok(());
    }
    rebuild(database, progress).await.map(|_| ())
}

async fn is_prepared(database: &Database) -> Result<bool, Error> {
    Ok(database.installation(VERSION).await?.as_deref() == Some(VIEWS_VERSION))
}

/// Begins a transaction that another process, starting at the same moment, waits for.
async fn begin_alone(connection: &mut Connection, engine: Engine) -> Result<(), Error> {
    failpoint("projections::prepare::begin")?;
    match engine {
        Engine::Sqlite => connection.execute("begin immediate", &[]).await?,
        Engine::Postgres => {
            connection.execute("begin", &[]).await?;
            connection.execute("select 1 from head where id = 1 for update", &[]).await?
        }
    };
    Ok(())
}

/// Makes the tables where they are missing; where the log is empty, that is all there is to do.
async fn make_if_new(connection: &mut Connection, engine: Engine) -> Result<(), Error> {
    create_tables(connection, engine, "").await?;
    if connection.head().await?.position == 0 {
        create_indexes(connection, "", 0).await?;
        note_version(connection).await?;
    }
    Ok(())
}
