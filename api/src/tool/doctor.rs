//! `atrium doctor`: one look at an installation.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use api::config::Settings;
use api::keys::hex;
use clap::Args;
use commands::{Ambient as _, SystemAmbient};
use eventstore::{Age, Database, Engine, Log, Verified};
use serde::Serialize;
use serde_json::json;

use super::file::PARTIAL;
use super::{
    EVENTS, Look, ToolArguments, check_of, compare_views, counted, ensure_is_there, ensure_sound,
    keys, not_as_the_log, place_of_key, progress, settings_of,
};

/// Events at the log's end that are looked at without `--deep`.
const LAST_EVENTS: u64 = 1_000;
/// A write-ahead log that is larger holds up reading, in bytes.
const WAL_MAX_BYTES: u64 = 512 << 20;
/// With less free disk space writes soon fail, in bytes.
const FREE_MIN_BYTES: u64 = 256 << 20;
/// How far the clock may be behind the last event.
const CLOCK_MICROS: i64 = 1_000_000;
/// The oldest PostgreSQL that Atrium is tested with.
const POSTGRES_MIN: u32 = 14;

/// Look at an installation, and say what is wrong with it and what to do
///
/// Files and who can read them, the master key, the version, what the database promises about durability, room on the disk, the clock, the last thousand events, the views. It changes nothing, and can be run beside a server.
///
/// Exit code 0: no fault, though perhaps warnings. 1: faults. 2: it could not look.
#[derive(Args)]
pub(crate) struct DoctorArguments {
    /// Also walk the whole chain, check every page of a SQLite file, and fold the log into a scratch
    /// database in the temporary folder to compare the views with it
    #[arg(long)]
    deep: bool,

    #[command(flatten)]
    tool: ToolArguments,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Fault,
}

/// One thing that was looked at.
#[derive(Serialize)]
struct Check {
    check: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do about it; empty where there is nothing to do.
    remedy: String,
}

/// All that was looked at.
#[derive(Default)]
struct Report(Vec<Check>);

impl Report {
    fn note(
        &mut self,
        verdict: Verdict,
        check: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.0.push(Check { check, verdict, found: found.into(), remedy: remedy.into() });
    }

    fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.note(Verdict::Ok, check, found, "");
    }

    fn warn(&mut self, check: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.note(Verdict::Warning, check, found, remedy);
    }

    fn fault(&mut self, check: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.note(Verdict::Fault, check, found, remedy);
    }

    fn count(&self, verdict: Verdict) -> u64 {
        self.0.iter().filter(|check| check.verdict == verdict).count() as u64
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for Check { check, verdict, found, remedy } in &self.0 {
            let verdict = match verdict {
                Verdict::Ok => "ok",
                Verdict::Warning => "warning",
                Verdict::Fault => "FAULT",
            };
            let _ = writeln!(text, "{verdict:8} {check:16} {found}");
            if !remedy.is_empty() {
                let _ = writeln!(text, "{:25} -> {remedy}", "");
            }
        }
        let (faults, warnings) = (self.count(Verdict::Fault), self.count(Verdict::Warning));
        let faults = counted(faults, "fault", "faults");
        let warnings = counted(warnings, "warning", "warnings");
        let _ = write!(text, "{faults}, {warnings}");
        text
    }
}

/// Exit code 0: no faults. 1: faults.
pub(crate) async fn run(arguments: &DoctorArguments) -> Result<ExitCode> {
    let settings = settings_of(&arguments.tool.data)?;
    ensure_is_there(&settings)?;
    let mut report = Report::default();
    look_at_files(&mut report, &settings)?;
    match open(&mut report, &settings).await? {
        None => {}
        Some(look) => {
            look_at_key(&mut report, &settings, &look.database).await?;
            look_at_server(&mut report, &settings, &look.database).await?;
            look_at_clock(&mut report, &look.database).await?;
            look_at_log(&mut report, &look.database, arguments.deep).await?;
            look_at_views(&mut report, &look.database, arguments.deep).await?;
            look_at_persons(&mut report, &look.database).await?;
            look.end().await?;
        }
    }
    let line = json!({
        "faults": report.count(Verdict::Fault),
        "warnings": report.count(Verdict::Warning),
        "checks": report.0,
    });
    arguments.tool.tell(&line, &report.text());
    let healthy = report.count(Verdict::Fault) == 0;
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Who can read and write a file, besides its owner.
fn others(file: &Path) -> Result<u32> {
    let data = std::fs::metadata(file).with_context(|| file.display().to_string())?;
    Ok(data.permissions().mode() & 0o077)
}

fn look_at_files(report: &mut Report, settings: &Settings) -> Result<()> {
    const FOLDER: &str = "data folder";
    let shown = settings.data.display();
    if settings.data.exists() {
        let leftovers = std::fs::read_dir(&settings.data)
            .with_context(|| format!("the folder {shown}"))?
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().ends_with(PARTIAL))
            .count();
        if others(&settings.data)? & 0o022 != 0 {
            let remedy = format!("chmod go-w {shown}");
            report.fault(FOLDER, format!("others can write in {shown}"), remedy);
        } else if leftovers > 0 {
            let lie = counted(leftovers as u64, "file", "files");
            let found = format!("{lie} of interrupted commands in {shown}");
            report.warn(FOLDER, found, format!("delete the files that end in {PARTIAL}"));
        } else {
            report.ok(FOLDER, shown.to_string());
        }
    }
    let file = settings.sqlite_file();
    if settings.database.is_none() {
        if others(&file)? & 0o022 != 0 {
            let found = format!("others can write to {}", file.display());
            report.fault("database file", found, format!("chmod go-w {}", file.display()));
        } else if others(&file)? != 0 && others(&settings.data)? & 0o011 != 0 {
            let found = format!("others can read {}", file.display());
            let remedy = format!("chmod go-rwx {shown}, unless you want that");
            report.warn("database file", found, remedy);
        } else {
            report.ok("database file", format!("only its owner can read {}", file.display()));
        }
    }
    const KEY: &str = "master key";
    let (place, key) = (place_of_key(settings), &settings.master_key_file);
    if settings.master_key.is_some() {
        report.ok(KEY, format!("it is in {place}"));
    } else if !key.exists() {
        let remedy = "put it back, or name it with --master-key-file: the database does not open \
                      without it";
        report.fault(KEY, format!("there is none in {place}"), remedy);
    } else if others(key)? != 0 {
        let remedy =
            format!("chmod 600 {place}; if others may have read it, all tokens are theirs");
        report.fault(KEY, format!("others can read {place}"), remedy);
    } else {
        report.ok(KEY, format!("only its owner can read {place}"));
    }
    Ok(())
}

/// Opens the database; that it cannot be used is a fault and ends the look.
async fn open(report: &mut Report, settings: &Settings) -> Result<Option<Look>> {
    const DATABASE: &str = "database";
    let look = match (&settings.database, Look::at(settings).await) {
        (_, Ok(look)) => look,
        // A server that does not answer may be none of Atrium's.
        (Some(_), Err(error)) => return Err(error),
        (None, Err(error)) => {
            report.fault(DATABASE, format!("{error:#}"), "restore a backup");
            return Ok(None);
        }
    };
    match look.age().await {
        Ok(Age::Current) => {
            report.ok(DATABASE, "it opens, and is of this program's version");
            Ok(Some(look))
        }
        Ok(Age::Older) => {
            let remedy = "back it up; `atrium migrate`, or the next start, brings it up to date";
            report.warn(DATABASE, "it is of an older version than this program", remedy);
            Ok(Some(look))
        }
        Err(error) => {
            report.fault(
                DATABASE,
                format!("{error:#}"),
                "name the right database, or use the \
                program that belongs to it",
            );
            look.end().await?;
            Ok(None)
        }
    }
}

async fn look_at_key(report: &mut Report, settings: &Settings, database: &Database) -> Result<()> {
    const FITS: &str = "master key fits";
    let check = check_of(database).await?;
    match (keys(settings), check) {
        (Err(error), _) => report.fault(FITS, format!("{error:#}"), "put the right one back"),
        // That there is none was told already.
        (Ok(None), _) => {}
        (Ok(Some(_)), None) => {
            report.ok(FITS, "the database was not made with one yet");
        }
        (Ok(Some(keys)), Some(check)) if keys.fit(&check) => {
            report.ok(FITS, "the database was made with it");
        }
        (Ok(Some(_)), Some(_)) => {
            let found =
                format!("the database was made with another than {}", place_of_key(settings));
            report.fault(FITS, found, "put the right one back, or name it with --master-key-file");
        }
    }
    Ok(())
}

/// What the database promises, and what room it has.
async fn look_at_server(
    report: &mut Report,
    settings: &Settings,
    database: &Database,
) -> Result<()> {
    match database.engine() {
        Engine::Sqlite => look_at_sqlite(report, settings, database).await,
        Engine::Postgres => look_at_postgres(report, database).await,
    }
}

async fn look_at_sqlite(
    report: &mut Report,
    settings: &Settings,
    database: &Database,
) -> Result<()> {
    let rows = database.fetch("select sqlite_version()", &[]).await?;
    let version = rows[0].text(0)?;
    let found = format!("SQLite {version}; every commit is on disk before it is acknowledged");
    report.ok("durability", found);

    let file = settings.sqlite_file();
    let size = std::fs::metadata(&file)?.len();
    let space = rustix::fs::statvfs(&settings.data).context("the data folder's disk")?;
    let free = space.f_bavail * space.f_frsize;
    let found = format!("{} free, the database has {}", mib(free), mib(size));
    if free < FREE_MIN_BYTES {
        report.fault("disk space", found, "make room: writes fail when it is full");
    } else if free < 2 * size {
        let remedy = "make room: a backup beside it, or a rebuild, needs as much as the database";
        report.warn("disk space", found, remedy);
    } else {
        report.ok("disk space", found);
    }

    let wal = std::fs::metadata(eventstore::write_ahead_log(&file)).map_or(0, |data| data.len());
    let found = format!("{} in the write-ahead log", mib(wal));
    if wal > WAL_MAX_BYTES {
        let remedy = "something reads for very long (an export?), or the server was killed: start it \
                      again";
        report.warn("write-ahead log", found, remedy);
    } else {
        report.ok("write-ahead log", found);
    }
    Ok(())
}

async fn look_at_postgres(report: &mut Report, database: &Database) -> Result<()> {
    let sql = "select current_setting('server_version'), current_setting('server_version_num'), \
               current_setting('fsync'), current_setting('full_page_writes'), \
               current_setting('synchronous_commit'), \
               pg_database_size(current_database()), \
               (select count(*) from pg_replication_slots where not active)";
    let rows = database.fetch(sql, &[]).await?;
    let row = &rows[0];
    let version: u32 = row.text(1)?.parse()?;
    let found = format!("PostgreSQL {}", row.text(0)?);
    if version / 10_000 < POSTGRES_MIN {
        report.warn("version", found, format!("Atrium is tested with {POSTGRES_MIN} and newer"));
    } else {
        report.ok("version", found);
    }
    let (fsync, pages, commit) = (row.text(2)?, row.text(3)?, row.text(4)?);
    let found = format!("fsync {fsync}, full_page_writes {pages}, synchronous_commit {commit}");
    if fsync != "on" || pages != "on" {
        let remedy = "set both to on in postgresql.conf: else a crash can lose what was acknowledged, \
                      or everything";
        report.fault("durability", found, remedy);
    } else if commit == "off" {
        let remedy =
            "Atrium sets it to on for its own writes; other programs lose their last commits";
        report.warn("durability", found, remedy);
    } else {
        report.ok("durability", found);
    }
    let size = mib(row.unsigned(5)?);
    report.ok("disk space", format!("the database has {size}; watch the server's disk there"));
    match row.unsigned(6)? {
        0 => report.ok("write-ahead log", "no replication slot holds it back"),
        idle => {
            let slots = counted(idle, "unused replication slot", "unused replication slots");
            let found = format!("it is held back by {slots}");
            let remedy = "start the standby, or drop the slot, before the disk is full";
            report.warn("write-ahead log", found, remedy);
        }
    }
    Ok(())
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

async fn look_at_clock(report: &mut Report, database: &Database) -> Result<()> {
    let last = Log::new(database.clone()).head().await?.recorded_at;
    let ahead = last - SystemAmbient.now().timestamp_micros();
    if ahead > CLOCK_MICROS {
        let seconds = ahead / 1_000_000;
        let found = format!("the last event is {seconds} s later than this machine's clock");
        let remedy = "set the clock: until it has caught up, everything is recorded at that time";
        report.fault("clock", found, remedy);
    } else {
        report.ok("clock", "not before the last event");
    }
    Ok(())
}

async fn look_at_log(report: &mut Report, database: &Database, deep: bool) -> Result<()> {
    const LOG: &str = "log";
    let remedy = "keep a copy of it as it is, and restore a backup";
    if deep && database.engine() == Engine::Sqlite {
        match ensure_sound(database).await {
            Ok(()) => report.ok("pages", "every page is what the others say it is"),
            Err(error) => report.fault("pages", format!("{error:#}"), remedy),
        }
    }
    let verified = if deep {
        let head = Log::new(database.clone()).head().await?.position;
        let bar = progress("Walking the chain", EVENTS, head);
        let verified = eventstore::verify(database, |position| bar.set_position(position)).await;
        bar.finish_and_clear();
        verified
    } else {
        eventstore::verify_end(database, LAST_EVENTS).await
    };
    match verified {
        Ok(Verified::Whole { events, head }) => {
            let which = if deep { "all" } else { "the last" };
            let hash = hex(&head.hash);
            report
                .ok(LOG, format!("{which} {events} events are as they were written, up to {hash}"));
        }
        Ok(Verified::Broken(finding)) => {
            let found = format!("the event at position {} {}", finding.position, finding.what);
            report.fault(LOG, found, remedy);
        }
        Err(error) => {
            let error = anyhow::Error::from(error);
            report.fault(LOG, format!("{error:#}"), remedy);
        }
    }
    Ok(())
}

async fn look_at_views(report: &mut Report, database: &Database, deep: bool) -> Result<()> {
    const VIEWS: &str = "views";
    let condition = projections::condition(database).await?;
    if condition.leftover.is_empty() {
        report.ok("rebuild", "no tables of an interrupted one are there");
    } else {
        let found =
            format!("{} tables of one that runs or was interrupted", condition.leftover.len());
        report.warn("rebuild", found, "if none runs, `atrium rebuild` takes them away");
    }
    if !condition.missing.is_empty() {
        let found = format!("{} are not there", condition.missing.join(", "));
        report.fault(VIEWS, found, "stop the server, and run `atrium rebuild`");
        return Ok(());
    }
    if !condition.is_current {
        let found = "they were folded by another version";
        report.warn(VIEWS, found, "the next start, or `atrium migrate`, folds them again");
        return Ok(());
    }
    if !deep {
        report.ok(VIEWS, "of this version; --deep compares them with the log");
        return Ok(());
    }
    match compare_views(database).await {
        Ok(compared) if compared.differences.is_empty() => {
            report.ok(VIEWS, format!("they are what {} events give", compared.events));
        }
        Ok(compared) => {
            let found = not_as_the_log(&compared);
            report.fault(VIEWS, found, "run `atrium rebuild`, and report it: this is a mistake");
        }
        Err(error) => {
            report.fault(VIEWS, format!("they cannot be compared: {error:#}"), "see the log above");
        }
    }
    Ok(())
}

async fn look_at_persons(report: &mut Report, database: &Database) -> Result<()> {
    const PERSONS: &str = "persons";
    let condition = projections::condition(database).await?;
    if !condition.missing.is_empty() || !condition.is_current {
        return Ok(());
    }
    let sql = "select (select count(*) from view_user where kind in ('sealed', 'deleted sealed')), \
               (select count(*) from view_user where kind in ('sealed', 'deleted sealed') and not exists \
               (select 1 from person_key where person_key.subject_id = view_user.key)), \
               (select count(*) from person_key where exists (select 1 from view_user \
               where view_user.key = person_key.subject_id \
               and view_user.kind in ('erased', 'deleted erased', 'deleted and purged erased')))";
    let row = &database.fetch(sql, &[]).await?[0];
    let (sealed, lost, left) = (row.unsigned(0)?, row.unsigned(1)?, row.unsigned(2)?);
    if lost > 0 {
        let lost = counted(lost, "person has", "persons have");
        let found = format!("{lost} no key: who they are cannot be read");
        report.fault(PERSONS, found, "restore a backup that was made before the keys were lost");
    } else if left > 0 {
        let left = counted(left, "person", "persons");
        let found = format!("the keys of {left} who were erased are still there");
        report.fault(PERSONS, found, "keep a copy, and report it: this is a mistake");
    } else {
        let sealed = counted(sealed, "person is", "persons are");
        report.ok(PERSONS, format!("{sealed} sealed, each with a key"));
    }
    Ok(())
}
