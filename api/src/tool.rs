//! What operators do, a file for each command, and what those have in common.

pub(crate) mod backup;
pub(crate) mod checkpoint;
pub(crate) mod doctor;
pub(crate) mod export;
mod file;
pub(crate) mod import;
mod postgres;
pub(crate) mod purge;
pub(crate) mod rebuild;
pub(crate) mod restore;
pub(crate) mod seed;
pub(crate) mod service;
pub(crate) mod verify;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use api::config::{DataArguments, ServeArguments, Settings};
use api::keys::{CHECK, Keys, hex, read_or_make_master_key};
use api::server::open_database;
use clap::Args;
use eventstore::{Age, Database, Log, Verified};
use indicatif::{ProgressBar, ProgressStyle};
use projections::Rebuilt;
use serde_json::Value;

/// On which data, and how the outcome is told.
#[derive(Args)]
pub(crate) struct ToolArguments {
    #[command(flatten)]
    pub(crate) data: DataArguments,

    /// Print the outcome as one JSON line
    #[arg(long)]
    pub(crate) json: bool,
}

impl ToolArguments {
    /// Tells the outcome on standard output.
    fn tell(&self, line: &Value, text: &str) {
        if self.json { println!("{line}") } else { println!("{text}") }
    }
}

/// Settings of a command that needs only the data.
pub(crate) fn settings_of(data: &DataArguments) -> Result<Settings> {
    Settings::load(&ServeArguments { data: data.clone(), ..ServeArguments::default() })
}

/// Shows how far long work is, on a terminal.
pub(crate) fn progress(what: &'static str, template: &'static str, end: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("a valid template");
    let bar = ProgressBar::new(end).with_style(style).with_message(what);
    if std::io::stderr().is_terminal() { bar } else { ProgressBar::hidden() }
}

/// Rows that are named where more of them differ.
const NAMED_MAX: usize = 3;

const EVENTS: &str = "{msg} {bar:30} {human_pos} of {human_len} events, {per_sec}";

/// Opens the database of the settings, and brings it up to date; makes it where there is none.
pub(crate) async fn open(settings: &Settings) -> Result<Database> {
    let bar = progress("Making the views", "{msg}: {human_pos} events", 0);
    let database = open_database(settings, |position| bar.set_position(position)).await?;
    bar.finish_and_clear();
    Ok(database)
}

/// Refuses settings whose database is not there.
fn ensure_is_there(settings: &Settings) -> Result<()> {
    if settings.database.is_none() && !settings.sqlite_file().exists() {
        bail!("there is no database in {}; name its folder with --data", settings.data.display());
    }
    Ok(())
}

/// A database that is looked at and not changed, while others may be at work on it.
struct Look {
    database: Database,
    /// A SQLite file that nobody else had open, and how it looked then.
    alone: Option<(PathBuf, (u64, SystemTime))>,
}

impl Look {
    /// At the database of the settings, which must be there.
    async fn at(settings: &Settings) -> Result<Self> {
        match &settings.database {
            Some(url) => {
                let database = Database::look_postgres(url).await;
                let database = database.context("the PostgreSQL database cannot be used")?;
                Ok(Self { database, alone: None })
            }
            None => {
                ensure_is_there(settings)?;
                Self::at_file(&settings.sqlite_file()).await
            }
        }
    }

    /// At a SQLite file.
    async fn at_file(file: &Path) -> Result<Self> {
        let cannot = || format!("the database {} cannot be used", file.display());
        let alone = if eventstore::is_in_use(file) {
            None
        } else {
            Some((file.to_owned(), stamp(file).with_context(cannot)?))
        };
        let database = Database::look_sqlite(file).await.with_context(cannot)?;
        Ok(Self { database, alone })
    }

    /// Whether this program can read it.
    async fn age(&self) -> Result<Age> {
        Ok(self.database.age().await?)
    }

    /// Looks away.
    ///
    /// # Errors
    /// Where somebody began to write in the meantime: then what was seen may never have been so.
    async fn end(self) -> Result<()> {
        self.database.close().await;
        match self.alone {
            Some((file, before)) if eventstore::is_in_use(&file) || stamp(&file)? != before => {
                bail!("a server was started on {} in the meantime; try again", file.display())
            }
            _ => Ok(()),
        }
    }
}

/// Refuses a place where something has happened already, without changing anything there.
async fn ensure_is_empty(settings: &Settings) -> Result<()> {
    if settings.database.is_none() && !settings.sqlite_file().exists() {
        return Ok(());
    }
    let look = Look::at(settings).await?;
    let mut is_empty = look.database.tables().await?.is_empty();
    if !is_empty {
        look.age().await?;
        is_empty = Log::new(look.database.clone()).head().await?.position == 0;
    }
    look.end().await?;
    if !is_empty {
        bail!("there is an installation in the database already; choose an empty one");
    }
    Ok(())
}

/// What changes when a file does.
fn stamp(file: &Path) -> Result<(u64, SystemTime)> {
    let data = std::fs::metadata(file)?;
    Ok((data.len(), data.modified()?))
}

/// Walks the whole chain of a database, which must be as it was written; gives how many events there
/// are, and the last one's hash.
async fn ensure_whole(database: &Database) -> Result<(u64, String)> {
    let head = Log::new(database.clone()).head().await?.position;
    let bar = progress("Walking the chain", EVENTS, head);
    let verified = eventstore::verify(database, |position| bar.set_position(position)).await?;
    bar.finish_and_clear();
    match verified {
        Verified::Whole { events, head } => Ok((events, hex(&head.hash))),
        Verified::Broken(finding) => {
            bail!("the event at position {} {}", finding.position, finding.what)
        }
    }
}

/// Whether a SQLite file that nobody has open is as long as it says. (SQLite takes what is missing for
/// zeros.)
async fn ensure_not_cut_off(database: &Database, file: &Path) -> Result<()> {
    let sql = "select page_count * page_size from pragma_page_count, pragma_page_size";
    let told = database.fetch(sql, &[]).await?[0].unsigned(0)?;
    let bytes = std::fs::metadata(file)?.len();
    if bytes != told {
        bail!("the SQLite file is damaged: it has {bytes} bytes, and says that it has {told}");
    }
    Ok(())
}

/// Whether every page of a SQLite file is what the others say it is.
async fn ensure_sound(database: &Database) -> Result<()> {
    let rows = database.fetch("pragma integrity_check(1)", &[]).await?;
    match rows.first().map(|row| row.text(0)).transpose()? {
        Some("ok") => Ok(()),
        fault => bail!("the SQLite file is damaged: {}", fault.unwrap_or_default()),
    }
}

/// Folds the log into a scratch database in the temporary folder, and names the rows of the views that are not as it
/// says.
async fn compare_views(database: &Database) -> Result<Rebuilt> {
    let scratch = tempfile::tempdir().context("no scratch folder can be made")?;
    let head = Log::new(database.clone()).head().await?.position;
    let bar = progress("Folding", EVENTS, head);
    let file = scratch.path().join("scratch.db");
    let compared =
        projections::compare_with_log(database, &file, |position| bar.set_position(position)).await;
    bar.finish_and_clear();
    Ok(compared?)
}

/// Which rows of the views are not as the log says.
fn not_as_the_log(compared: &Rebuilt) -> String {
    let named = compared.differences.iter().take(NAMED_MAX);
    let named: Vec<_> =
        named.map(|difference| format!("{} {}", difference.table, difference.key)).collect();
    let rows = counted(compared.differences.len() as u64, "row is", "rows are");
    format!("{rows} not as the log says: {}", named.join(", "))
}

/// So many of something, in words.
fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// The keys, where there is a master key.
fn keys(settings: &Settings) -> Result<Option<Keys>> {
    if let Some(key) = &settings.master_key {
        return Ok(Some(Keys::derive(key)));
    }
    if !settings.master_key_file.exists() {
        return Ok(None);
    }
    let key = read_or_make_master_key(&settings.master_key_file, false)?;
    Ok(Some(Keys::derive(&key)))
}

/// The keys, where there is a master key and it is the one that an installation was made with.
///
/// # Errors
/// Where it is another.
fn fitting_keys(settings: &Settings, check: Option<&str>) -> Result<Option<Keys>> {
    match (keys(settings)?, check) {
        (Some(keys), Some(check)) if !keys.fit(check) => bail!(
            "the master key in {} is not the one that this installation was made with; put the right \
             one there, or move it away",
            place_of_key(settings)
        ),
        (keys, _) => Ok(keys),
    }
}

/// What a database remembers of its master key.
async fn check_of(database: &Database) -> Result<Option<String>> {
    Ok(database.installation(CHECK).await?)
}

/// Where the master key is looked for.
fn place_of_key(settings: &Settings) -> String {
    match settings.master_key {
        Some(_) => "the environment (ATRIUM_MASTER_KEY)".to_owned(),
        None => settings.master_key_file.display().to_string(),
    }
}

/// What somebody who copied an installation has to know.
fn key_is_apart(settings: &Settings) -> String {
    format!(
        "The master key is not in it: keep a copy of {} apart; without it the database does not open.",
        place_of_key(settings)
    )
}

/// What somebody who put an installation into place has to know.
fn key_is_needed(settings: &Settings, is_there: bool) -> String {
    let place = place_of_key(settings);
    if is_there {
        format!("The master key in {place} fits.")
    } else {
        format!("The master key was not in it: put it into {place} before you start the server.")
    }
}
