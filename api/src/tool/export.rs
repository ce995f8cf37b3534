//! `atrium export`.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use api::keys::hex;
use clap::Args;
use eventstore::{Age, Head, Transferred};
use projections::{GENERATION, VERSION};
use serde_json::json;

use super::file::Partial;
use super::{EVENTS, Look, ToolArguments, key_is_apart, progress, settings_of};

/// Standard input, or standard output.
pub(super) const STANDARD: &str = "-";

/// Bytes that are written at a time.
const BUFFER_BYTES: usize = 1 << 20;

/// Write a whole installation as lines of JSON, to import it into the other database
///
/// Everything that cannot be folded from something else, as it is at one moment, while the server goes on: the log row by row, the answers kept for idempotency keys, the keys that persons are sealed under (themselves sealed under the master key), what the installation remembers. Positions and hashes are those of the log. docs/EXPORT.md describes the form. Equal installations have equal exports.
///
/// The master key is not in it. Exit code 0: the export is there and whole. 2: there is none, and why.
#[derive(Args)]
pub(crate) struct ExportArguments {
    /// The file to make, one that exists is never replaced; `-` for standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    tool: ToolArguments,
}

pub(crate) async fn run(arguments: &ExportArguments) -> Result<ExitCode> {
    let settings = settings_of(&arguments.tool.data)?;
    let look = Look::at(&settings).await?;
    if look.age().await? == Age::Older {
        bail!(
            "the database is of an older version; bring it up to date with `atrium migrate` first"
        );
    }
    let to_standard = arguments.file == Path::new(STANDARD);
    let (head, transferred) = if to_standard {
        let exported = write(&look, std::io::stdout()).await?;
        look.end().await?;
        exported
    } else {
        let file = Partial::beside(&arguments.file)?;
        let exported = write(&look, file.writer()?).await?;
        look.end().await?;
        file.finish()?;
        exported
    };
    let Transferred { events, rows, replies, keys, sealed } = transferred;
    let line = json!({
        "file": arguments.file,
        "events": events,
        "rows": rows,
        "replies": replies,
        "keys": keys,
        "sealedSlots": sealed,
        "hash": hex(&head.hash),
    });
    let text = format!(
        "{events} events, {replies} kept answers and the keys of {keys} persons are in {}. The last hash is {}\n{}",
        if to_standard { "the export".to_owned() } else { arguments.file.display().to_string() },
        hex(&head.hash),
        key_is_apart(&settings),
    );
    if to_standard {
        // The export itself is on standard output.
        let outcome = if arguments.tool.json { line.to_string() } else { text };
        writeln!(std::io::stderr(), "{outcome}")?;
    } else {
        arguments.tool.tell(&line, &text);
    }
    Ok(ExitCode::SUCCESS)
}

async fn write(look: &Look, out: impl Write + Send + 'static) -> Result<(Head, Transferred)> {
    let end = eventstore::Log::new(look.database.clone()).head().await?.position;
    let bar = progress("Exporting", EVENTS, end);
    let out = BufWriter::with_capacity(BUFFER_BYTES, out);
    let leave_out = [VERSION, GENERATION];
    let exported = eventstore::export(&look.database, &leave_out, out, |position| {
        bar.set_position(position);
    });
    let exported = exported.await?;
    bar.finish_and_clear();
    Ok(exported)
}
