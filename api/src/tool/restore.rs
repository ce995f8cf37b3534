//! `atrium restore`.

use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use api::config::Settings;
use api::keys::CHECK;
use clap::Args;
use eventstore::{Database, Engine, STEPS_TABLE};
use serde_json::json;

use super::file::{Begun, Partial, beside_sqlite};
use super::postgres::Server;
use super::{
    Look, ToolArguments, check_of, compare_views, ensure_not_cut_off, ensure_sound, ensure_whole,
    fitting_keys, key_is_needed, not_as_the_log, settings_of,
};

/// What SQLite puts at the beginning of its files.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";
/// What `pg_dump --format=custom` puts at the beginning of its files.
const DUMP_MAGIC: &[u8] = b"PGDMP";

/// Put a backup into an empty place, checked
///
/// SQLite: into a data folder without a database (it may hold the master key, which must be the right one then). PostgreSQL: into a database without tables, in one transaction, with `pg_restore`.
///
/// A file that is no backup, is damaged, cut off or of a newer version is refused before anything is written; then the hash chain is walked, and the log is folded into a scratch database in the temporary folder to compare the views with it. Exit code 0: it is there. 1: it is there, but views are not as the log says; `atrium rebuild` makes them so. 2: nothing was changed, and why.
#[derive(Args)]
pub(crate) struct RestoreArguments {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    tool: ToolArguments,
}

/// What was restored.
struct Restored {
    events: u64,
    hash: String,
    /// Whether there is a master key; then it fits.
    has_key: bool,
    views: Views,
}

/// How the views of a backup are.
enum Views {
    AsTheLogSays,
    /// And how.
    Other(String),
    /// Of another version: the first start folds them again.
    Outdated,
    /// And why.
    NotCompared(String),
}

impl Views {
    async fn of(database: &Database) -> Self {
        let compared = async {
            let condition = projections::condition(database).await?;
            if !condition.missing.is_empty() {
                return Ok(Self::Other(format!("{} are not there", condition.missing.join(", "))));
            }
            if !condition.is_current {
                return Ok(Self::Outdated);
            }
            let compared = compare_views(database).await?;
            anyhow::Ok(match compared.differences.is_empty() {
                true => Self::AsTheLogSays,
                false => Self::Other(not_as_the_log(&compared)),
            })
        };
        // The log is whole, and all else follows from it.
        compared.await.unwrap_or_else(|error| Self::NotCompared(format!("{error:#}")))
    }

    fn text(&self) -> String {
        match self {
            Self::AsTheLogSays => "The views are as the log says.".to_owned(),
            Self::Other(how) => {
                format!(
                    "FAULT: of the views, {how}. Run `atrium rebuild` before you start the server."
                )
            }
            Self::Outdated => {
                "The views are of an earlier version: the first start folds them again.".to_owned()
            }
            Self::NotCompared(why) => format!(
                "The views were not compared with the log ({why}); `atrium doctor --deep` does it."
            ),
        }
    }

    /// For scripts.
    fn word(&self) -> &'static str {
        match self {
            Self::AsTheLogSays => "asTheLogSays",
            Self::Other(_) => "other",
            Self::Outdated => "outdated",
            Self::NotCompared(_) => "notCompared",
        }
    }
}

pub(crate) async fn run(arguments: &RestoreArguments) -> Result<ExitCode> {
    let settings = settings_of(&arguments.tool.data)?;
    let file = &arguments.file;
    let engine = engine_of(file)?;
    let restored = match (engine, &settings.database) {
        (Engine::Sqlite, None) => restore_sqlite(&settings, file).await?,
        (Engine::Postgres, Some(url)) => restore_postgres(&settings, url, file).await?,
        (Engine::Sqlite, Some(_)) => bail!(
            "{} is a backup of a SQLite database: restore it with --data, and go over to PostgreSQL \
             with `atrium export` and `atrium import`",
            file.display()
        ),
        (Engine::Postgres, None) => bail!(
            "{} is a backup of a PostgreSQL database: restore it with --database, and go over to \
             SQLite with `atrium export` and `atrium import`",
            file.display()
        ),
    };
    let Restored { events, hash, has_key, views } = restored;
    let place = match &settings.database {
        Some(_) => "The PostgreSQL database".to_owned(),
        None => settings.data.display().to_string(),
    };
    arguments.tool.tell(
        &json!({
            "events": events,
            "hash": hash,
            "masterKeyFits": has_key,
            "views": views.word(),
        }),
        &format!(
            "{place} has {events} events now, every one as it was written. The last hash is {hash}\n\
             {}\n{}",
            views.text(),
            key_is_needed(&settings, has_key)
        ),
    );
    Ok(match views {
        Views::Other(_) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

/// Of which database a file is a backup.
fn engine_of(file: &Path) -> Result<Engine> {
    use std::io::Read as _;
    let mut begin = Vec::new();
    let cannot = || format!("the backup {} cannot be read", file.display());
    let open = File::open(file).with_context(cannot)?;
    open.take(SQLITE_MAGIC.len() as u64).read_to_end(&mut begin).with_context(cannot)?;
    if begin == SQLITE_MAGIC {
        Ok(Engine::Sqlite)
    } else if begin.starts_with(DUMP_MAGIC) {
        Ok(Engine::Postgres)
    } else {
        bail!("{} is no backup of Atrium; they are made with `atrium backup`", file.display())
    }
}

async fn restore_sqlite(settings: &Settings, file: &Path) -> Result<Restored> {
    ensure!(
        !eventstore::is_in_use(file),
        "{} is a database in use, or one whose write-ahead log was not folded into it; make a backup \
         of it with `atrium backup`",
        file.display()
    );
    let target = settings.sqlite_file();
    for name in beside_sqlite(&target) {
        ensure!(
            !name.exists(),
            "{} is there already; restore into a folder without a database",
            name.display()
        );
    }
    // Everything that can be known without writing.
    let this = || format!("the backup {}", file.display());
    let look = Look::at_file(file).await?;
    ensure_not_cut_off(&look.database, file).await.with_context(this)?;
    look.age().await.with_context(this)?;
    let has_key = fitting_keys(settings, check_of(&look.database).await?.as_deref())?.is_some();
    look.end().await?;

    let begun = Begun::with_folder(&settings.data);
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&settings.data)
        .with_context(|| format!("the folder {} cannot be made", settings.data.display()))?;
    let copy = Partial::beside(&target)?;
    let (from, to) = (file.to_owned(), copy.path().to_owned());
    tokio::task::spawn_blocking(move || std::fs::copy(from, to)).await?.context("copying")?;
    let look = Look::at_file(copy.path()).await?;
    let held = async {
        ensure_sound(&look.database).await?;
        look.age().await?;
        ensure_whole(&look.database).await
    };
    let (events, hash) = held.await.with_context(this)?;
    let views = Views::of(&look.database).await;
    look.end().await?;
    copy.finish()?;
    begun.keep();
    Ok(Restored { events, hash, has_key, views })
}

async fn restore_postgres(settings: &Settings, url: &str, file: &Path) -> Result<Restored> {
    let database = Database::look_postgres(url).await?;
    ensure!(
        database.tables().await?.is_empty(),
        "the PostgreSQL database has tables already; restore into an empty one (create database ...)"
    );
    let server = Server::of(url, &database).await?;
    let this = || format!("the backup {}", file.display());
    server.read_all(file).await.with_context(this)?;
    let has_key = look_into(&server, settings, file).await.with_context(this)?;
    let arguments = [
        "--single-transaction".to_owned(),
        "--exit-on-error".to_owned(),
        "--no-owner".to_owned(),
        "--no-privileges".to_owned(),
        file.display().to_string(),
    ];
    server.run("pg_restore", &arguments).await?;
    let held = async {
        database.age().await?;
        ensure_whole(&database).await
    };
    let held = held.await;
    if held.is_err() {
        empty_again(&database).await?;
    }
    let (events, hash) = held.with_context(this)?;
    let views = Views::of(&database).await;
    database.close().await;
    Ok(Restored { events, hash, has_key, views })
}

/// Whether a backup holds what this program can read, as far as can be known without restoring it; whether
/// there is a master key, which must fit.
async fn look_into(server: &Server, settings: &Settings, file: &Path) -> Result<bool> {
    let steps = server.rows(file, STEPS_TABLE).await?;
    ensure!(!steps.is_empty(), "there is no Atrium database in it");
    // Version, description, when, success, checksum.
    let taken = steps.iter().map(|step| {
        let checksum = step.get(4).and_then(|text| text.strip_prefix(r"\\x")).and_then(unhex);
        Some((step.first()?.parse().ok()?, checksum?))
    });
    let taken = taken.collect::<Option<Vec<_>>>().context("there is no Atrium database in it")?;
    eventstore::age_of(Engine::Postgres, &taken)?;
    for shape in server.rows(file, "event_shape").await? {
        if let [kind, schema] = &shape[..] {
            let schema = schema.parse().unwrap_or(u32::MAX);
            domain::event::readable(kind, schema).map_err(eventstore::Error::Newer)?;
        }
    }
    let remembered = server.rows(file, "installation").await?;
    let check = remembered.iter().find(|row| row.first().is_some_and(|name| name == CHECK));
    let keys = fitting_keys(settings, check.and_then(|row| row.get(1)).map(String::as_str))?;
    Ok(keys.is_some())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Takes away what was restored into a database that had nothing.
async fn empty_again(database: &Database) -> Result<()> {
    let tables = database.tables().await?;
    let drops = tables.iter().map(|table| format!("drop table if exists \"{table}\" cascade; "));
    let drops = drops.collect::<String>();
    let sql = format!(
        "begin read write; {drops} drop function if exists event_is_immutable cascade; \
         drop function if exists sealed_slot_is_immutable cascade; commit"
    );
    let mut connection = database.writer_connection().await?;
    connection.execute(&sql, &[]).await?;
    connection.close().await;
    Ok(())
}
