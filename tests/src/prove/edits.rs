//! History is edited behind Atrium's back, in every way that is open to somebody with all rights to the database.
//! `atrium verify` finds it and names the place; what a chain alone cannot tell, with the checkpoints that were made on
//! the way and kept elsewhere.

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use api::keys::{Keys, hex};
use commands::{Ambient as _, SystemAmbient, Writer, WriterSettings};
use eventstore::{Chain, Database, Engine, GENESIS, Log, Value};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde::Deserialize;
use sqlx::{AssertSqlSafe, Connection as _};
use tempfile::TempDir;

use super::Trial;
use crate::history::{History, hush_asked_panics};
use crate::witness::Report;
use crate::world::{POSTGRES_VARIABLE, Place, TestAmbient, TestDatabase, at_once};

/// After each day there is a checkpoint, and a copy of the database.
const DAYS: usize = 4;
/// Events that a day has at least.
const DAY_EVENTS: u64 = 80;
/// How often it is looked whether those have left who were told to.
const LOOKS_MAX: usize = 50;
/// How long it is waited in between.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What is taken for the beginning and the end of a row. Every event is longer.
const EDGE_BYTES: usize = 20;
/// Of nobody.
const ANOTHER_STREAM: &str = "organization-x";

/// What became of the edits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// How many were made.
    pub made: u32,
    /// How many of them were found, where they were.
    pub found: u32,
    /// The others, and what was said instead.
    pub missed: Vec<String>,
}

pub(super) async fn run(trial: &Trial) -> Result<Report> {
    let edits = edits(trial.engine, trial.seed, &trial.binary, trial.count).await?;
    let mut report = Report::default();
    report.count("edits", edits.made.into());
    report.count("edits found", edits.found.into());
    report.unlawful = edits.missed;
    Ok(report)
}

/// Makes some history, and so many copies of it with an edit each, which the program has to find: of every kind the
/// same number, if there are enough of them.
///
/// # Errors
/// Where that cannot be tried: the program, or the database, cannot be used; and where the program finds fault with
/// history that was not edited.
pub async fn edits(engine: Engine, seed: u64, binary: &Path, count: u32) -> Result<Edits> {
    hush_asked_panics();
    let made = Made::new(engine, seed, binary).await?;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut edits = Edits::default();
    for (number, kind) in (0..count).zip(Kind::ALL.iter().cycle()) {
        let edit = made.edit(*kind, &mut rng)?;
        let said = made.said_of(&edit).await.with_context(|| edit.what.clone())?;
        edits.made += 1;
        match edit.found_in(&said) {
            true => edits.found += 1,
            false => edits.missed.push(format!(
                "{engine:?}, seed {seed}, edit {number}: {}, to be found at {}..={}{}; it was said: {}",
                edit.what,
                edit.place.start(),
                edit.place.end(),
                if edit.only_noted { " by a checkpoint" } else { "" },
                said.text
            )),
        }
    }
    made.remove().await?;
    Ok(edits)
}

/// A row of the log.
#[derive(Clone, Debug)]
struct Line {
    position: u64,
    body: Vec<u8>,
    hash: Vec<u8>,
}

impl Line {
    fn first(&self) -> u64 {
        self.position + 1 - self.events().count() as u64
    }

    fn all(&self) -> RangeInclusive<u64> {
        self.first()..=self.position
    }

    fn events(&self) -> impl Iterator<Item = &[u8]> {
        self.body.split(|byte| *byte == b'\n')
    }

    /// Hashes it again, behind what the chain ends with.
    fn hash_again(&mut self, chain: &mut Chain) {
        self.hash = self.events().flat_map(|event| chain.extend(event)).collect();
    }
}

/// An installation, as it was at the end of each day, and what was kept elsewhere.
struct Made {
    binary: PathBuf,
    /// The master key, and the checkpoints.
    folder: TempDir,
    /// The installation itself.
    living: TestDatabase,
    days: Vec<Replica>,
    /// Where the log ended each day.
    ends: Vec<u64>,
    /// The whole log.
    log: Vec<Line>,
}

impl Made {
    async fn new(engine: Engine, seed: u64, binary: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("atrium-edits-").tempdir()?;
        let key = [7; 32];
        std::fs::write(folder.path().join("master.key"), hex(&key))?;
        let living = TestDatabase::volatile(engine).await?;
        let (days, ends, log) = (Vec::new(), Vec::new(), Vec::new());
        let mut made = Self { binary: binary.to_owned(), folder, living, days, ends, log };
        let (mut history, ambient) = (History::new(seed), TestAmbient::at("2019-01-01T00:00:00Z"));
        for day in 0..DAYS {
            made.live(&mut history, &ambient, &Keys::derive(&key)).await?;
            let name = made.checkpoint(day);
            let said = made.run("checkpoint", &made.living.place, &[&name])?;
            ensure!(said.code == Some(0), "no checkpoint was made: {}", said.text);
            let copy = Replica::of(&made.living.place, &format!("day{day}")).await?;
            let unedited = made.verify(&copy.place, &(0..=day).collect::<Vec<_>>())?;
            ensure!(unedited.code == Some(0), "nothing was edited: {}", unedited.text);
            made.days.push(copy);
        }
        Ok(made)
    }

    /// A day of an installation: commands of every kind.
    async fn live(
        &mut self,
        history: &mut History,
        ambient: &Arc<TestAmbient>,
        keys: &Keys,
    ) -> Result<()> {
        let database = self.living.open().await?;
        keys.check(&database).await?;
        let log = Log::new(database.clone());
        let end = log.head().await?.position + DAY_EVENTS;
        let (writer, thread) = Writer::start(
            database.clone(),
            keys.vault(),
            ambient.clone(),
            WriterSettings::default(),
            Box::new(|_| ()),
        )
        .await?;
        while log.head().await?.position < end {
            let step = history.step();
            ambient.set(&step.now.to_rfc3339());
            let answers = at_once(&writer, step.submissions.iter().cloned()).await;
            history.learn(&step, &answers);
        }
        drop(writer);
        let ended = tokio::task::spawn_blocking(move || thread.join()).await?;
        ensure!(ended.is_ok(), "the writer has a mistake");
        self.ends.push(log.head().await?.position);
        let sql = "select position, body, hash from event order by position";
        let rows = database.fetch(sql, &[]).await?;
        let line = |row: &eventstore::Row| {
            let (body, hash) = (row.bytes(1)?.to_vec(), row.bytes(2)?.to_vec());
            anyhow::Ok(Line { position: row.unsigned(0)?, body, hash })
        };
        self.log = rows.iter().map(line).collect::<Result<_>>()?;
        database.close().await;
        Ok(())
    }

    fn checkpoint(&self, day: usize) -> PathBuf {
        self.folder.path().join(format!("checkpoint{day}.json"))
    }

    /// What `atrium verify` says of an edit, of which nothing is left then.
    async fn said_of(&self, edit: &Edit) -> Result<Said> {
        let day = &self.days[edit.day];
        if let Place::Folder(_) = day.place {
            let copy = Replica::of(&day.place, "edited").await?;
            carry_out(&copy, &edit.steps).await?;
            let said = self.verify(&copy.place, &edit.kept)?;
            copy.remove().await?;
            return Ok(said);
        }
        // To copy a PostgreSQL database takes half a second.
        carry_out(day, &edit.steps).await?;
        let said = self.verify(&day.place, &edit.kept)?;
        if !edit.steps.is_empty() {
            let mut connection = day.connection().await?;
            sqlx::raw_sql(PUT_BACK).execute(&mut connection).await?;
            connection.close().await?;
        }
        Ok(said)
    }

    /// What `atrium verify` says of a database, given the checkpoints of some days.
    fn verify(&self, place: &Place, days: &[usize]) -> Result<Said> {
        let files: Vec<_> = days.iter().map(|day| self.checkpoint(*day)).collect();
        let option = PathBuf::from("--checkpoint");
        let arguments: Vec<_> = files.iter().flat_map(|file| [&option, file]).collect();
        self.run("verify", place, &arguments)
    }

    fn run(&self, name: &str, place: &Place, arguments: &[&PathBuf]) -> Result<Said> {
        let mut command = Command::new(&self.binary);
        for (name, _) in std::env::vars_os() {
            // A mistake that is planted is to be made everywhere.
            if name.to_string_lossy().starts_with("ATRIUM_") && name != "ATRIUM_PLANTED" {
                command.env_remove(name);
            }
        }
        command.arg(name).arg("--json").args(arguments);
        command.arg("--master-key-file").arg(self.folder.path().join("master.key"));
        match place {
            Place::Folder(folder) => command.arg("--data").arg(folder),
            Place::Url(url) => command.args(["--database", url]),
        };
        let output = command.stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("{} cannot be run", self.binary.display()))?;
        Ok(Said {
            code: output.status.code(),
            finding: serde_json::from_slice(&output.stdout).ok(),
            text: format!(
                "{}, {}{}",
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
        })
    }

    async fn remove(self) -> Result<()> {
        for day in self.days {
            day.remove().await?;
        }
        Ok(())
    }
}

/// What a command printed, and how it ended.
struct Said {
    code: Option<i32>,
    finding: Option<Finding>,
    text: String,
}

/// What `atrium verify` has found.
#[derive(Deserialize)]
struct Finding {
    position: u64,
    what: String,
}

/// A database that can be spoilt.
struct Replica {
    place: Place,
}

impl Replica {
    /// Of a database that nobody uses.
    async fn of(place: &Place, name: &str) -> Result<Self> {
        match place {
            Place::Folder(folder) => {
                // In the one that goes when the installation does.
                let copy = folder.join(name);
                std::fs::create_dir(&copy)?;
                let file = folder.join("atrium.db");
                // Whoever leaves last folds the write-ahead log into the file.
                once_left(async || Ok(!eventstore::is_in_use(&file))).await?;
                std::fs::copy(&file, copy.join("atrium.db"))?;
                Ok(Self { place: Place::Folder(copy) })
            }
            Place::Url(url) => {
                let (base, from) = url.rsplit_once('/').context("the URL names a database")?;
                let to = format!("t{}_{name}", SystemAmbient.id().simple());
                let sql = format!("create database {to} template {from}");
                let make = async || match on_server(&sql).await {
                    Err(error) if format!("{error:#}").contains("accessed by other users") => {
                        Ok(false)
                    }
                    made => made.map(|()| true),
                };
                once_left(make).await?;
                let copy = Self { place: Place::Url(format!("{base}/{to}")) };
                let mut connection = copy.connection().await?;
                sqlx::raw_sql(SAVE).execute(&mut connection).await?;
                connection.close().await?;
                Ok(copy)
            }
        }
    }

    async fn open(&self) -> Result<Database> {
        Ok(match &self.place {
            Place::Folder(folder) => Database::open_sqlite(&folder.join("atrium.db")).await?,
            Place::Url(url) => Database::connect_postgres(url).await?,
        })
    }

    /// To a PostgreSQL database.
    async fn connection(&self) -> Result<sqlx::PgConnection> {
        match &self.place {
            Place::Folder(folder) => bail!("{} is a SQLite database", folder.display()),
            Place::Url(url) => Ok(sqlx::PgConnection::connect(url).await?),
        }
    }

    async fn remove(self) -> Result<()> {
        match &self.place {
            Place::Folder(folder) => Ok(std::fs::remove_dir_all(folder)?),
            Place::Url(url) => {
                let (_, name) = url.rsplit_once('/').context("the URL names a database")?;
                on_server(&format!("drop database {name} with (force)")).await
            }
        }
    }
}

/// Waits until something is done that needs a database which nobody uses: threads and sessions end a little after they
/// were told to.
async fn once_left(mut is_done: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..LOOKS_MAX {
        if is_done().await? {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("somebody still uses the database")
}

async fn on_server(sql: &str) -> Result<()> {
    let server = std::env::var(POSTGRES_VARIABLE)?;
    let mut connection = sqlx::PgConnection::connect(&server).await?;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// In PostgreSQL: what is edited, to be put back.
const SAVE: &str = "create table saved_event as select * from event; \
                    create table saved_head as select * from head";
const PUT_BACK: &str = "begin; delete from event; insert into event select * from saved_event; \
                        delete from head; insert into head select * from saved_head; commit";

/// A statement, and its values.
type Step = (String, Vec<Value>);

/// Takes away what keeps the log from being edited, and edits it.
async fn carry_out(copy: &Replica, steps: &[Step]) -> Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    let database = copy.open().await?;
    let mut connection = database.writer_connection().await?;
    let disarm = match database.engine() {
        Engine::Sqlite => {
            "drop trigger if exists event_is_never_updated; \
             drop trigger if exists event_is_never_deleted"
        }
        Engine::Postgres => "drop trigger if exists event_is_never_changed on event",
    };
    connection.execute(disarm, &[]).await?;
    connection.execute("begin", &[]).await?;
    for (sql, values) in steps {
        let changed = connection.execute(sql, values).await.with_context(|| sql.clone())?;
        ensure!(changed > 0, "`{sql}` changes nothing");
    }
    connection.execute("commit", &[]).await?;
    connection.close().await;
    database.close().await;
    Ok(())
}

/// An edit of a copy, and where it has to be found.
struct Edit {
    what: String,
    /// Of the copy of this day.
    day: usize,
    steps: Vec<Step>,
    /// The days whose checkpoints were kept.
    kept: Vec<usize>,
    /// Positions of which one has to be named.
    place: RangeInclusive<u64>,
    /// Whether the log by itself is as a log should be.
    only_noted: bool,
}

impl Edit {
    fn found_in(&self, said: &Said) -> bool {
        let Some(finding) = &said.finding else { return false };
        said.code == Some(1)
            && self.place.contains(&finding.position)
            && (!self.only_noted || finding.what.contains("checkpoint"))
    }
}

/// What somebody with all rights can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Ends are where something is easily forgotten.
    BeginningChanged,
    EndChanged,
    BodyChanged,
    TimeChanged,
    BodyEmptied,
    HashChanged,
    HashCut,
    PathChanged,
    StreamChanged,
    VersionChanged,
    PositionChanged,
    Deleted,
    Inserted,
    Appended,
    Swapped,
    HeadChanged,
    HeadMoved,
    /// And hashed again, but nothing behind it.
    HashedAgain,
    TailCutOff,
    TailCutOffHeadMoved,
    YesterdaysDatabase,
    TakenOutAndRewritten,
    RewrittenFromSomewhere,
    AllRewritten,
}

impl Kind {
    const ALL: &'static [Self] = &[
        Self::BeginningChanged,
        Self::EndChanged,
        Self::BodyChanged,
        Self::TimeChanged,
        Self::BodyEmptied,
        Self::HashChanged,
        Self::HashCut,
        Self::PathChanged,
        Self::StreamChanged,
        Self::VersionChanged,
        Self::PositionChanged,
        Self::Deleted,
        Self::Inserted,
        Self::Appended,
        Self::Swapped,
        Self::HeadChanged,
        Self::HeadMoved,
        Self::HashedAgain,
        Self::TailCutOff,
        Self::TailCutOffHeadMoved,
        Self::YesterdaysDatabase,
        Self::TakenOutAndRewritten,
        Self::RewrittenFromSomewhere,
        Self::AllRewritten,
    ];
}

impl Made {
    fn edit(&self, kind: Kind, rng: &mut StdRng) -> Result<Edit> {
        let today = DAYS - 1;
        let end = self.ends[today];
        // All that there are, or only the newest.
        let kept = if rng.random() { (0..DAYS).collect() } else { vec![today] };
        let number = rng.random_range(0..self.log.len());
        let line = &self.log[number];
        let at = Value::from(line.position);
        let (mut day, mut place, mut what) = (today, line.all(), format!("{kind:?}"));
        let is_rewritten = matches!(
            kind,
            Kind::TailCutOffHeadMoved
                | Kind::YesterdaysDatabase
                | Kind::TakenOutAndRewritten
                | Kind::RewrittenFromSomewhere
                | Kind::AllRewritten
        );
        let steps = match kind {
            Kind::BeginningChanged | Kind::EndChanged | Kind::BodyChanged => {
                let (body, length) = (&line.body, line.body.len());
                let (body, place) = match kind {
                    Kind::BeginningChanged => flipped(body, 0..EDGE_BYTES, rng),
                    Kind::EndChanged => flipped(body, length - EDGE_BYTES..length, rng),
                    _ => flipped(body, 0..length, rng),
                };
                what = format!("byte {place} of the body at {}", line.position);
                vec![update("body", Value::Bytes(body), &at)]
            }
            Kind::TimeChanged => {
                vec![update("body", Value::Bytes(at_another_time(&line.body, rng)?), &at)]
            }
            Kind::BodyEmptied => vec![update("body", Value::Bytes(Vec::new()), &at)],
            Kind::HashChanged => {
                let (hash, place) = flipped(&line.hash, 0..line.hash.len(), rng);
                what = format!("byte {place} of the hash at {}", line.position);
                vec![update("hash", Value::Bytes(hash), &at)]
            }
            Kind::HashCut => {
                let rest = line.hash[..rng.random_range(0..line.hash.len())].to_vec();
                vec![update("hash", Value::Bytes(rest), &at)]
            }
            Kind::PathChanged => {
                let number = rng.random_range(1_000_000..9_000_000);
                vec![update("path", format!("/{number}/").into(), &at)]
            }
            Kind::StreamChanged => {
                vec![update("stream", ANOTHER_STREAM.into(), &at)]
            }
            Kind::VersionChanged => {
                let version = rng.random_range(1_000_000..9_000_000_u64);
                vec![update("version", version.into(), &at)]
            }
            Kind::PositionChanged => vec![update("position", (2 * end).into(), &at)],
            Kind::Deleted => vec![delete(&at)],
            Kind::Inserted => self.insert_again(number, rng.random_range(0..self.log.len())),
            Kind::Appended => {
                place = end + 1..=end + 1;
                let behind = end + line.events().count() as u64;
                vec![insert_copy(behind, line.position)]
            }
            Kind::Swapped => {
                ensure!(self.log.len() > 1, "there is only one row");
                let other = (number + rng.random_range(1..self.log.len())) % self.log.len();
                place = self.log[number.min(other)].all();
                let other = self.log[other].position;
                what = format!("the rows at {} and {other} swapped", line.position);
                let far = Value::from(2 * end);
                vec![
                    update("position", far.clone(), &at),
                    update("position", at, &other.into()),
                    update("position", other.into(), &far),
                ]
            }
            Kind::HeadChanged => {
                place = end..=end;
                let hash = self.chain_before(self.log.len()).0;
                let (hash, _) = flipped(&hash, 0..hash.len(), rng);
                vec![("update head set hash = $1".to_owned(), vec![Value::Bytes(hash)])]
            }
            Kind::HeadMoved => {
                place = self.log[self.log.len() - 1].first()..=end + 1;
                let to = if rng.random() { end + 1 } else { end - 1 };
                what = format!("the head moved from {end} to {to}");
                vec![("update head set position = $1".to_owned(), vec![to.into()])]
            }
            Kind::HashedAgain => {
                // By the next event, or by what was noted of this one.
                place = line.position..=(line.position + 1).min(end);
                let mut forged = line.clone();
                forged.body = at_another_time(&line.body, rng)?;
                forged.hash_again(&mut self.chain_before(number));
                forged_rows(&[forged])
            }
            Kind::TailCutOff => {
                place = line.first()..=line.first();
                vec![delete_from(line)]
            }
            Kind::TailCutOffHeadMoved => {
                what = format!("the log cut off before {}, and its head moved", line.first());
                place = line.first()..=line.first();
                vec![delete_from(line), self.head_after(number)]
            }
            Kind::YesterdaysDatabase => {
                day = rng.random_range(0..today);
                what = format!("the database of day {day} put back");
                place = self.ends[day] + 1..=self.ends[day] + 1;
                Vec::new()
            }
            Kind::TakenOutAndRewritten => {
                what =
                    format!("the row at {} taken out, and all behind it rewritten", line.position);
                let events = line.events().count() as u64;
                let noted = self.noted_from(line.first(), &kept).min(end - events + 1);
                place = noted..=noted;
                self.take_out(number)
            }
            Kind::RewrittenFromSomewhere => {
                what =
                    format!("the row at {} edited, and all behind it hashed again", line.position);
                let mut rows = self.log[number..].to_vec();
                rows[0].body = at_another_time(&line.body, rng)?;
                let changed = rows[0].events().zip(line.events()).position(|(a, b)| a != b);
                let changed = line.first() + changed.context("nothing was changed")? as u64;
                let noted = self.noted_from(changed, &kept);
                place = noted..=noted;
                self.rewritten(number, rows)
            }
            Kind::AllRewritten => {
                let noted = self.noted_from(1, &kept);
                place = noted..=noted;
                let mut rows = self.log.clone();
                for row in &mut rows {
                    row.body = at_another_time(&row.body, rng)?;
                }
                self.rewritten(0, rows)
            }
        };
        Ok(Edit { what, day, steps, kept, place, only_noted: is_rewritten })
    }

    /// The position of the first kept checkpoint that is not before a position.
    fn noted_from(&self, position: u64, kept: &[usize]) -> u64 {
        let mut ends = kept.iter().map(|day| self.ends[*day]);
        ends.find(|end| *end >= position).expect("today's is always kept")
    }

    fn chain_before(&self, number: usize) -> Chain {
        let mut chain = Chain(GENESIS);
        for line in &self.log[..number] {
            line.events().for_each(|event| {
                chain.extend(event);
            });
        }
        chain
    }

    /// Moves the head to the end of the row before.
    fn head_after(&self, number: usize) -> Step {
        let position = number.checked_sub(1).map_or(0, |before| self.log[before].position);
        head(position, &self.chain_before(number))
    }

    /// A row a second time, under another name, where another is, and that one and all behind it moved up.
    fn insert_again(&self, at: usize, copied: usize) -> Vec<Step> {
        let by = self.log[copied].events().count() as u64;
        let moved = self.log[at..].iter().rev();
        let mut steps: Vec<_> = moved
            .map(|line| update("position", (line.position + by).into(), &line.position.into()))
            .collect();
        let source = self.log[copied].position + if copied >= at { by } else { 0 };
        steps.push(insert_copy(self.log[at].first() - 1 + by, source));
        steps
    }

    /// Rows from one on in another form, hashed again to the end.
    fn rewritten(&self, from: usize, mut rows: Vec<Line>) -> Vec<Step> {
        let mut chain = self.chain_before(from);
        rows.iter_mut().for_each(|row| row.hash_again(&mut chain));
        let mut steps = forged_rows(&rows);
        steps.push(head(self.ends[DAYS - 1], &chain));
        steps
    }

    /// A row taken out as if it had never been: those behind it moved up and hashed again.
    fn take_out(&self, number: usize) -> Vec<Step> {
        let line = &self.log[number];
        let by = line.events().count() as u64;
        let mut steps = vec![delete(&line.position.into())];
        let mut chain = self.chain_before(number);
        for line in &self.log[number + 1..] {
            let mut moved = line.clone();
            moved.position -= by;
            moved.hash_again(&mut chain);
            steps.push(update("position", moved.position.into(), &line.position.into()));
            steps.extend(forged_rows(&[moved]));
        }
        steps.push(head(self.ends[DAYS - 1] - by, &chain));
        steps
    }
}

fn update(column: &str, value: Value, at: &Value) -> Step {
    (format!("update event set {column} = $1 where position = $2"), vec![value, at.clone()])
}

fn delete(at: &Value) -> Step {
    ("delete from event where position = $1".to_owned(), vec![at.clone()])
}

fn delete_from(line: &Line) -> Step {
    ("delete from event where position >= $1".to_owned(), vec![line.position.into()])
}

fn insert_copy(to: u64, from: u64) -> Step {
    (
        "insert into event (position, stream, version, path, body, hash) \
         select $1, $2, version, path, body, hash from event where position = $3"
            .to_owned(),
        vec![to.into(), ANOTHER_STREAM.into(), from.into()],
    )
}

fn head(position: u64, chain: &Chain) -> Step {
    let sql = "update head set position = $1, hash = $2";
    (sql.to_owned(), vec![position.into(), Value::Bytes(chain.0.to_vec())])
}

fn forged_rows(rows: &[Line]) -> Vec<Step> {
    let sql = "update event set body = $1, hash = $2 where position = $3";
    let values = |row: &Line| {
        let (body, hash) = (Value::Bytes(row.body.clone()), Value::Bytes(row.hash.clone()));
        vec![body, hash, row.position.into()]
    };
    rows.iter().map(|row| (sql.to_owned(), values(row))).collect()
}

/// Bytes with a bit of one of them turned, and which.
fn flipped(bytes: &[u8], among: Range<usize>, rng: &mut StdRng) -> (Vec<u8>, usize) {
    let (mut bytes, place) = (bytes.to_vec(), rng.random_range(among));
    bytes[place] ^= 1 << rng.random_range(0..8);
    (bytes, place)
}

/// An event's bytes with another time in it.
fn at_another_time(body: &[u8], rng: &mut StdRng) -> Result<Vec<u8>> {
    let field = *[&b"\"effectiveAt\":"[..], b"\"recordedAt\":"].choose(rng).context("two")?;
    let mut places = body.windows(field.len()).enumerate().filter(|(_, part)| *part == field);
    let (place, _) = places.next().context("every event has its times")?;
    let digits = body[place + field.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    // The first ones would make another century of it.
    let digit = place + field.len() + rng.random_range(4..digits.count());
    let mut body = body.to_vec();
    body[digit] = b'0' + (body[digit] - b'0' + rng.random_range(1..10)) % 10;
    Ok(body)
}
