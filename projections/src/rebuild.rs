//! Folding the log again: into fresh tables beside the live ones, compared, and switched at one
//! position. Or somewhere else, only to compare.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use domain::{Bug, TenantPath, planted};
use eventstore::{
    Cells, Connection, Database, Engine, Error, Log, Row, Rows, Snapshot, Source, Value, failpoint,
};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::document::{Below, View, Wants};
use crate::tables::{VIEWS_VERSION, all_tables, create_indexes, create_keys, create_tables};
use crate::views::Views;

/// Parts of the rows that are made before they are written.
const ROWS_AHEAD: usize = 2;
/// Events folded before their documents are written, where those before them are written already.
const FLUSH_EVENTS: usize = 50_000;
/// Documents kept in memory; beyond, the fold asks the fresh tables for what it needs.
const DOCUMENTS_MAX: usize = 1_000_000;
/// Events that the log is allowed to grow by before the last, locked, step.
const CATCH_UP_EVENTS: u64 = 1_000;

/// The version of the folds that the views were made by, as the installation remembers it.
pub const VERSION: &str = "views";
/// How often a rebuild began; sets the names of its tables and indexes apart. Remembered under this name.
pub const GENERATION: &str = "views_generation";
/// What the name of a table ends in that a rebuild fills, before that number.
const REBUILDING: &str = "_rebuild_";

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
    log: Log,
    /// Ends the names of the tables that are being filled.
    suffix: String,
    generation: u64,
    documents_max: usize,
    /// Of the last event.
    position: u64,
    /// All documents folded so far, or, once there are too many, some of them.
    known: Views,
    /// Whether `known` still holds every document: then what it lacks is not there.
    complete: bool,
    /// What is in the tables, where each document was written once.
    written: Option<Vec<Digest>>,
}

/// What is below a layer in which nothing is missing but what is not there.
struct Nothing;

impl Below for Nothing {
    fn document<V: View>(&self, _key: &str) -> Option<Option<Arc<V>>> {
        Some(None)
    }

    fn keys_at<V: View>(&self, _path: &TenantPath, _wants: &mut Wants) -> BTreeSet<String> {
        BTreeSet::new()
    }
}

/// What is below a layer that is being changed.
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

    /// What an event moves was loaded before it is folded.
    fn keys_at<V: View>(&self, path: &TenantPath, _wants: &mut Wants) -> BTreeSet<String> {
        V::of(self.known).keys_at(path).collect()
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
pub async fn rebuild(database: &Database, progress: impl FnMut(u64)) -> Result<Rebuilt, Error> {
    rebuild_within(database, DOCUMENTS_MAX, progress).await
}

/// The same, with another bound on the documents that are kept in memory.
///
/// # Errors
/// See [`rebuild`].
pub async fn rebuild_within(
    database: &Database,
    documents_max: usize,
    mut progress: impl FnMut(u64),
) -> Result<Rebuilt, Error> {
    let engine = database.engine();
    let log = Log::new(database.clone());
    let mut connection = database.writer_connection().await?;
    let generation = next_generation(&mut connection).await?;
    drop_tables(&mut connection, &suffix(generation - 1)).await?;
    let suffix = suffix(generation);
    create_tables(&mut connection, engine, &suffix).await?;
    // One that somebody took away differs in all its rows.
    create_tables(&mut connection, engine, "").await?;

    // What is live, as it is after one event. It is read while the log is folded up to that one.
    let live = Snapshot::of(database).await?;
    let head = live.head().position;
    let mut digests = JoinSet::new();
    digests.spawn(async move { digest(live, "").await });

    let mut fold = Fold::new(log.clone(), suffix.clone(), generation, documents_max);
    fold.all(&mut connection, head, &mut progress).await?;
    let written = fold.written.take();
    if written.is_none() {
        let (fresh, fresh_suffix) = (Snapshot::of(database).await?, suffix.clone());
        digests.spawn(async move { digest(fresh, &fresh_suffix).await });
    }
    create_indexes(&mut connection, &suffix, generation).await?;
    let mut digests = digests.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    digests.extend(written);
    let is_same = digests.windows(2).all(|pair| pair[0] == pair[1]);

    // Documents that have changed since.
    let mut touched = Wants::default();
    loop {
        let head = log.head().await?.position;
        if head - fold.position <= CATCH_UP_EVENTS {
            break;
        }
        fold.more(&mut connection, head, &mut touched, &mut progress).await?;
    }

    // From here on nobody appends: the head is locked until the switch is committed.
    lock_head(&mut connection, engine).await?;
    let switched = async {
        let head = connection.head().await?.position;
        fold.more(&mut connection, head, &mut touched, &mut progress).await?;
        let among = is_same.then_some(&touched);
        let differences = compare(&mut connection, &suffix, among).await?;
        switch(&mut connection, &suffix).await?;
        note_version(&mut connection).await?;
        Ok::<_, Error>(differences)
    }
    .await;
    match switched {
        Ok(differences) => {
            failpoint("projections::rebuild::commit")?;
            connection.execute("commit", &[]).await.map_err(Error::OutcomeUnknown)?;
            connection.close().await;
            Ok(Rebuilt { events: fold.position, differences })
        }
        Err(error) => {
            failpoint("projections::rebuild::rollback")?;
            connection.execute("rollback", &[]).await?;
            drop_tables(&mut connection, &suffix).await?;
            connection.close().await;
            Err(error)
        }
    }
}

/// Folds the whole log into a scratch database of its own, and compares with what is there at one moment.
/// Changes nothing: the scratch is a new file, which is the caller's to remove. `progress` hears of the
/// position now and then.
///
/// # Errors
/// What the databases say, and what cannot be decoded.
pub async fn compare_with_log(
    database: &Database,
    scratch: &Path,
    mut progress: impl FnMut(u64),
) -> Result<Rebuilt, Error> {
    let mut live = Snapshot::of(database).await?;
    let scratch = Database::open_sqlite(scratch).await?;
    let mut fresh = scratch.writer_connection().await?;
    create_tables(&mut fresh, scratch.engine(), "").await?;
    let head = live.head().position;
    let mut fold = Fold::new(Log::new(database.clone()), String::new(), 0, DOCUMENTS_MAX);
    fold.all(&mut fresh, head, &mut progress).await?;
    let mut differences = Vec::new();
    for table in all_tables() {
        differences.extend(compare_apart(&mut live, &mut fresh, table).await?);
    }
    live.end().await;
    fresh.close().await;
    scratch.close().await;
    Ok(Rebuilt { events: head, differences })
}

/// The columns of a view's table in which what is folded must be the same. The position at which a
/// document was written differs, of course.
const COMPARED: [&str; 7] = ["path", "owner", "kind", "sort", "since", "until", "document"];

/// Rows of two tables in different databases that are read at a time.
const COMPARED_ROWS: u64 = 1_000;

/// A table, row by row in the order of the keys.
struct InOrder<'a, S> {
    source: &'a mut S,
    sql: String,
    rows: std::vec::IntoIter<Row>,
    next: Option<Row>,
}

impl<'a, S: Source> InOrder<'a, S> {
    async fn new(source: &'a mut S, table: &str) -> Result<Self, Error> {
        let columns = COMPARED.join(", ");
        let sql =
            format!("select key, {columns} from {table} where key > $1 order by key limit $2");
        failpoint("projections::compare_apart")?;
        let mut rows = source.rows(&sql, &["".into(), COMPARED_ROWS.into()]).await?.into_iter();
        Ok(Self { source, sql, next: rows.next(), rows })
    }

    fn key(&self) -> Result<Option<&str>, Error> {
        Ok(self.next.as_ref().map(|row| row.text(0)).transpose()?)
    }

    async fn advance(&mut self) -> Result<(), Error> {
        let Some(passed) = self.next.take() else { return Ok(()) };
        if self.rows.len() == 0 {
            failpoint("projections::compare_apart::advance")?;
            let after = passed.text(0)?.into();
            let rows = self.source.rows(&self.sql, &[after, COMPARED_ROWS.into()]).await?;
            self.rows = rows.into_iter();
        }
        self.next = self.rows.next();
        Ok(())
    }
}

/// What a row says, whichever database it is from.
#[derive(PartialEq)]
struct Said<'a> {
    texts: Vec<&'a str>,
    since_and_until: [i64; 2],
    document: &'a [u8],
}

fn said(row: Option<&Row>) -> Result<Option<Said<'_>>, Error> {
    let Some(row) = row else { return Ok(None) };
    let texts = (1..=4).map(|column| row.text(column)).collect::<Result<_, _>>()?;
    let since_and_until = [row.int(5)?, row.int(6)?];
    Ok(Some(Said { texts, since_and_until, document: row.bytes(7)? }))
}

/// Rows of a table that are in one database and not alike in the other.
async fn compare_apart(
    live: &mut impl Source,
    fresh: &mut impl Source,
    table: &'static str,
) -> Result<Vec<Difference>, Error> {
    let mut live = InOrder::new(live, table).await?;
    let mut fresh = InOrder::new(fresh, table).await?;
    let mut differences = Vec::new();
    while differences.len() < DIFFERENCES_MAX as usize {
        let (ours, theirs) = (live.key()?, fresh.key()?);
        // The one that comes first; a table at its end comes after all.
        let key = match (ours, theirs) {
            (None, None) => break,
            (Some(key), None) | (None, Some(key)) => key,
            (Some(ours), Some(theirs)) => ours.min(theirs),
        };
        let (in_live, in_fresh) = (ours == Some(key), theirs == Some(key));
        if !(in_live && in_fresh && said(live.next.as_ref())? == said(fresh.next.as_ref())?) {
            differences.push(Difference { table: table.to_owned(), key: key.to_owned() });
        }
        if in_live {
            live.advance().await?;
        }
        if in_fresh {
            fresh.advance().await?;
        }
    }
    Ok(differences)
}

/// What there is of the views, as a first look tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Whether they were folded by the folds of this program.
    pub is_current: bool,
    /// Tables that are not there.
    pub missing: Vec<&'static str>,
    /// Tables of a rebuild that is at work, or was interrupted.
    pub leftover: Vec<String>,
}

/// Looks whether the views' tables are there, and only they.
///
/// # Errors
/// What the database says.
pub async fn condition(database: &Database) -> Result<Condition, Error> {
    let tables = database.tables().await?;
    let is_there = |table: &&str| tables.iter().any(|there| there == table);
    let is_leftover = |name: &&String| {
        all_tables().any(|table| name.starts_with(&format!("{table}{REBUILDING}")))
    };
    Ok(Condition {
        is_current: is_prepared(database).await?,
        missing: all_tables().filter(|table| !is_there(table)).collect(),
        leftover: tables.iter().filter(is_leftover).cloned().collect(),
    })
}

impl Fold {
    fn new(log: Log, suffix: String, generation: u64, documents_max: usize) -> Self {
        let known = Views::default();
        let (complete, written) = (true, None);
        Self { log, suffix, generation, documents_max, position: 0, known, complete, written }
    }

    /// Folds the log from its beginning up to `head`, and writes each document once; where there are too
    /// many of them, some of them several times.
    async fn all(
        &mut self,
        connection: &mut Connection,
        head: u64,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), Error> {
        failpoint("projections::rebuild::fold")?;
        // One less than there is.
        let forgotten = u64::from(planted(Bug::RebuildForgetsLast) && head > 0);
        let mut pages = self.log.pages(0, head - forgotten);
        while self.known.len() <= self.documents_max
            && let Some(page) = pages.next().await?
        {
            let mut wants = Wants::default();
            for event in &page {
                self.known.fold(event, &Nothing, &mut wants);
                self.position = event.position;
                if self.known.len() > self.documents_max {
                    break;
                }
            }
            progress(self.position);
        }
        self.position += forgotten;
        self.write_known(connection).await?;
        create_keys(connection, &self.suffix, self.generation).await?;
        if self.position < head {
            (self.known, self.complete, self.written) = (Views::default(), false, None);
            self.more(connection, head, &mut Wants::default(), progress).await?;
        }
        Ok(())
    }

    /// Writes all that is known; the next rows are made and hashed while some are written.
    async fn write_known(&mut self, connection: &mut Connection) -> Result<(), Error> {
        failpoint("projections::rebuild::write")?;
        let mut known = std::mem::take(&mut self.known);
        let (suffix, position) = (self.suffix.clone(), self.position);
        let (rows, mut made) = mpsc::channel(ROWS_AHEAD);
        let making = tokio::task::spawn_blocking(move || {
            let mut written = vec![Digest::default(); all_tables().count()];
            // Nobody takes them any more where one could not be written.
            let _ = known.rows(&suffix, position).try_for_each(|part| {
                let table = part.table.strip_suffix(suffix.as_str());
                let place = all_tables().position(|known| Some(known) == table);
                written[place.expect("these rows are for one of the tables")].add_all(&part);
                rows.blocking_send(part)
            });
            (known, written)
        });
        while let Some(part) = made.recv().await {
            eventstore::write(connection, vec![part]).await?;
        }
        let (known, written) =
            making.await.map_err(|error| Error::Unsuitable(error.to_string()))?;
        (self.known, self.written) = (known, Some(written));
        Ok(())
    }

    /// Folds the events up to `head` on top of what is written, and notes which documents they touch.
    async fn more(
        &mut self,
        connection: &mut Connection,
        head: u64,
        touched: &mut Wants,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), Error> {
        failpoint("projections::rebuild::fold_more")?;
        let mut pages = self.log.pages(self.position, head);
        while self.position < head {
            let mut events = Vec::new();
            while events.len() < FLUSH_EVENTS
                && let Some(page) = pages.next().await?
            {
                events.extend(page);
            }
            let mut missing = Wants::default();
            for event in &events {
                Views::default().miss(event, touched);
                self.known.miss(event, &mut missing);
            }
            if !self.complete {
                // One statement for each table fetches what these events will need.
                self.known.load(connection, &missing, &self.suffix).await?;
                for event in &events {
                    self.known.load_moved(connection, event, &self.suffix).await?;
                }
            }
            let (mut changed, mut wants) = (Views::default(), Wants::default());
            for event in &events {
                let below = Folded { known: &self.known, complete: self.complete };
                changed.fold(event, &below, &mut wants);
            }
            debug_assert!(wants.is_empty(), "everything that these events need has been loaded");
            changed.note(touched);
            self.position = events.last().map_or(head, |last| last.position);
            let rows = changed.rows(&self.suffix, self.position).collect();
            eventstore::write(connection, rows).await?;
            self.known.absorb(changed);
            if self.known.len() > self.documents_max {
                (self.known, self.complete) = (Views::default(), false);
            }
            progress(self.position);
        }
        Ok(())
    }
}

/// All rows of the tables, in whatever order: how many there are, and the sum of their hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Digest {
    rows: u64,
    sum: u128,
}

impl Digest {
    fn add(&mut self, texts: &str, document: &[u8]) {
        let mut hash = Sha256::new();
        hash.update(texts);
        hash.update([0]);
        hash.update(document);
        let hash = hash.finalize();
        let half = hash.first_chunk().expect("a hash is longer than a number");
        self.rows += 1;
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(*half));
    }

    /// Adds rows that are about to be written.
    fn add_all(&mut self, rows: &Rows) {
        let columns = rows.layout.columns.iter().zip(&rows.cells);
        let compared = columns.filter(|((name, _), _)| *name == "key" || COMPARED.contains(name));
        let cells: Vec<_> = compared.map(|(_, cells)| cells).collect();
        let mut texts = String::new();
        for row in 0..rows.len() {
            texts.clear();
            for (place, cells) in cells.iter().enumerate() {
                let separator = if place > 0 { SEPARATOR } else { "" };
                match cells {
                    Cells::Text(values) => texts.extend([separator, values[row].as_str()]),
                    Cells::Int(values) => {
                        texts.extend([separator, values[row].to_string().as_str()]);
                    }
                    // The last column.
                    Cells::Bytes(values) => self.add(&texts, &values[row]),
                }
            }
        }
    }
}

/// Between the columns of a row that is hashed.
const SEPARATOR: &str = "\u{1f}";

/// What there is in the tables whose names end in `suffix`, but for the positions at which documents were
/// written, which differ, of course.
async fn digest(mut snapshot: Snapshot, suffix: &str) -> Result<Vec<Digest>, Error> {
    failpoint("projections::rebuild::digest")?;
    let mut digests = Vec::new();
    for table in all_tables() {
        let mut digest = Digest::default();
        let texts = &COMPARED[..COMPARED.len() - 1];
        // The fewer columns, the faster.
        let texts = texts.join(&format!(" || '{SEPARATOR}' || "));
        let sql = format!("select key || '{SEPARATOR}' || {texts}, document from {table}{suffix}");
        snapshot
            .for_each(&sql, |row| {
                digest.add(row.text(0)?, row.bytes(1)?);
                Ok::<_, Error>(())
            })
            .await?;
        digests.push(digest);
    }
    snapshot.end().await;
    Ok(digests)
}

fn suffix(generation: u64) -> String {
    format!("{REBUILDING}{generation}")
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

/// Rows that are in one table and not alike in the other: among all of them, or only those of some keys.
async fn compare(
    connection: &mut Connection,
    suffix: &str,
    among: Option<&Wants>,
) -> Result<Vec<Difference>, Error> {
    failpoint("projections::rebuild::compare")?;
    let mut differences = Vec::new();
    for table in all_tables().filter(|_| !planted(Bug::RebuildComparesNothing)) {
        let mut values = vec![Value::from(DIFFERENCES_MAX)];
        let narrowed = match among {
            None => String::new(),
            Some(wants) => {
                let Some(keys) = wants.0.get(table) else { continue };
                values.push(Value::Texts(keys.iter().cloned().collect()));
                format!("where {}", connection.engine().any_of("key", 2))
            }
        };
        let columns = |name: &str| COMPARED.map(|column| format!("{name}.{column}")).join(", ");
        let sql = format!(
            "select coalesce(live.key, fresh.key) as key \
             from (select * from {table} {narrowed}) as live \
             full join (select * from {table}{suffix} {narrowed}) as fresh \
             on fresh.key = live.key \
             where live.key is null or fresh.key is null or ({}) <> ({}) order by 1 limit $1",
            columns("live"),
            columns("fresh"),
        );
        for row in connection.fetch(&sql, &values).await? {
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

/// Whether the views are those that this program makes.
///
/// # Errors
/// What the database says.
pub async fn is_prepared(database: &Database) -> Result<bool, Error> {
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
        create_keys(connection, "", 0).await?;
        create_indexes(connection, "", 0).await?;
        note_version(connection).await?;
    }
    Ok(())
}
