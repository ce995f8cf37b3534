//! `atrium import`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use api::config::Settings;
use api::keys::{CHECK, hex};
use api::server::open_log;
use clap::{Args, Subcommand};
use eventstore::{Arrival, Transferred};
use projections::VERSION;
use serde_json::json;

use super::export::STANDARD;
use super::file::Begun;
use super::service::ImportServiceArguments;
use super::{
    EVENTS, ToolArguments, ensure_is_empty, fitting_keys, key_is_needed, progress, settings_of,
};

/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Read an export into an empty database, SQLite or PostgreSQL
///
/// The hash chain is checked event by event, and everything is written in one transaction: damaged, cut off, edited or of another version, nothing of it is there afterwards, also after a kill. Then the views are folded. Put the master key of the installation into place before you start the server.
///
/// Exit code 0: it is there. 2: nothing was changed, and why.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct ImportArguments {
    #[command(subcommand)]
    part: Option<Part>,

    /// The export; `-` for standard input
    #[arg(value_name = "FILE", required = true)]
    file: Option<PathBuf>,

    #[command(flatten)]
    tool: ToolArguments,
}

/// What can be imported into an installation that is there.
#[derive(Subcommand)]
enum Part {
    Service(ImportServiceArguments),
}

pub(crate) async fn run(arguments: &ImportArguments) -> Result<ExitCode> {
    if let Some(Part::Service(arguments)) = &arguments.part {
        return super::service::run(arguments).await;
    }
    let file = arguments.file.as_deref().context("name the export that is to be imported")?;
    if file == Path::new(STANDARD) {
        return import(file, &arguments.tool, std::io::stdin()).await;
    }
    let opened = File::open(file)
        .with_context(|| format!("the export {} cannot be read", file.display()))?;
    import(file, &arguments.tool, opened).await
}

async fn import(
    file: &Path,
    tool: &ToolArguments,
    input: impl std::io::Read + Send + 'static,
) -> Result<ExitCode> {
    let settings = settings_of(&tool.data)?;
    let this = || format!("the export {}", file.display());
    let input = BufReader::with_capacity(BUFFER_BYTES, input);
    // On a thread of its own: standard input may be slow.
    let arrival = tokio::task::spawn_blocking(move || Arrival::open(input)).await?;
    let arrival = arrival.with_context(this)?;
    let has_key = fitting_keys(&settings, arrival.installation(CHECK))?.is_some();
    ensure_is_empty(&settings).await?;
    let head = arrival.head();
    let transferred = settle(&settings, arrival).await.with_context(this)?;
    let Transferred { events, rows, replies, keys, sealed } = transferred;
    tool.tell(
        &json!({
            "events": events,
            "rows": rows,
            "replies": replies,
            "keys": keys,
            "sealedSlots": sealed,
            "hash": hex(&head.hash),
            "masterKeyFits": has_key,
        }),
        &format!(
            "{events} events, {replies} kept answers and the keys of {keys} persons are there now, the \
             events at their positions and with their hashes. The last hash is {}\n{}",
            hex(&head.hash),
            key_is_needed(&settings, has_key)
        ),
    );
    Ok(ExitCode::SUCCESS)
}

async fn settle(
    settings: &Settings,
    arrival: Arrival<impl BufRead + Send + 'static>,
) -> Result<Transferred> {
    let end = arrival.head().position;
    let begun = match &settings.database {
        Some(_) => None,
        None => Some(Begun::with_sqlite(&settings.data, &settings.sqlite_file())),
    };
    let database = open_log(settings).await?;
    let bar = progress("Importing", EVENTS, end);
    let settled = arrival.settle(&database, &[VERSION], |position| bar.set_position(position));
    let settled = settled.await;
    bar.finish_and_clear();
    if settled.is_ok() {
        // All of the log is there. Where this is interrupted, the next start folds it.
        if let Some(begun) = begun {
            begun.keep();
        }
        let bar = progress("Folding", EVENTS, end);
        projections::prepare(&database, |position| bar.set_position(position)).await?;
        bar.finish_and_clear();
    }
    database.close().await;
    Ok(settled?)
}
