//! `atrium backup`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use eventstore::{Database, Engine, Snapshot, Value};
use serde_json::json;

use super::file::Partial;
use super::postgres::Server;
use super::{
    Look, ToolArguments, ensure_not_cut_off, ensure_sound, ensure_whole, key_is_apart,
    place_of_key, settings_of,
};

/// Copy the database into one file while the server goes on, and check the copy
///
/// SQLite: the copy is a SQLite file; it is checked page by page, its hash chain is walked, it is written to disk, and only then gets its name. PostgreSQL: the file is what `pg_dump` writes (custom form); the chain is walked up to where the dump ends, and `pg_restore` reads the file to its end.
///
/// All that was acknowledged before the command began is in it. The master key is not: keep a copy of it apart.
///
/// Exit code 0: the backup is there and whole. 2: there is none, and why.
#[derive(Args)]
pub(crate) struct BackupArguments {
    /// The file to make; one that exists is never replaced
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    tool: ToolArguments,
}

/// What a backup holds.
struct Held {
    events: u64,
    hash: String,
}

pub(crate) async fn run(arguments: &BackupArguments) -> Result<ExitCode> {
    let settings = settings_of(&arguments.tool.data)?;
    let look = Look::at(&settings).await?;
    look.age().await?;
    let file = Partial::beside(&arguments.file)?;
    let held = match (look.database.engine(), &settings.database) {
        (Engine::Postgres, Some(url)) => dump(url, &look.database, file.path()).await?,
        _ => copy(&look.database, file.path()).await?,
    };
    look.end().await?;
    let bytes = file.finish()?;
    let Held { events, hash } = held;
    arguments.tool.tell(
        &json!({
            "file": arguments.file,
            "bytes": bytes,
            "events": events,
            "hash": hash,
            "masterKey": place_of_key(&settings),
        }),
        &format!(
            "{events} events are in {}, every one as it was written. The last hash is {hash}\n{}",
            arguments.file.display(),
            key_is_apart(&settings)
        ),
    );
    Ok(ExitCode::SUCCESS)
}

/// Copies a SQLite database as it is now, while others write, and looks at the copy.
async fn copy(database: &Database, to: &Path) -> Result<Held> {
    let name = to.to_str().context("the name of the backup must be readable (UTF-8)")?;
    database
        .fetch("vacuum into $1", &[Value::from(name)])
        .await
        .context("the database cannot be copied")?;
    let copy = Look::at_file(to).await?;
    ensure_not_cut_off(&copy.database, to).await?;
    ensure_sound(&copy.database).await?;
    let (events, hash) = ensure_whole(&copy.database).await?;
    copy.end().await?;
    Ok(Held { events, hash })
}

/// Has `pg_dump` write what it sees at one moment, and walks the chain up to there meanwhile.
async fn dump(url: &str, database: &Database, to: &Path) -> Result<Held> {
    let server = Server::of(url, database).await?;
    let mut snapshot = Snapshot::of(database).await?;
    let head = snapshot.head();
    let name = snapshot.share().await?;
    let arguments = [
        "--format=custom".to_owned(),
        format!("--snapshot={name}"),
        "--no-owner".to_owned(),
        "--no-privileges".to_owned(),
        format!("--file={}", to.display()),
    ];
    let (dumped, walked) = tokio::join!(server.run("pg_dump", &arguments), ensure_whole(database));
    dumped?;
    walked?;
    snapshot.end().await;
    // Reads all of it: a disk that was full would show.
    server.read_all(to).await?;
    Ok(Held { events: head.position, hash: api::keys::hex(&head.hash) })
}
