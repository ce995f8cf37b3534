//! `atrium rebuild`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use super::{EVENTS, ToolArguments, ensure_is_there, open, progress, settings_of};

/// Folds, compares, switches, and tells what differed.
pub(crate) async fn run(arguments: &ToolArguments) -> Result<ExitCode> {
    let settings = settings_of(&arguments.data)?;
    ensure_is_there(&settings)?;
    let database = open(&settings).await?;
    let head = eventstore::Log::new(database.clone()).head().await?.position;
    let bar = progress("Folding", EVENTS, head);
    let rebuilt = projections::rebuild(&database, |position| bar.set_position(position)).await?;
    bar.finish_and_clear();
    database.close().await;
    let differences: Vec<_> = rebuilt
        .differences
        .iter()
        .map(|difference| format!("{} {}", difference.table, difference.key))
        .collect();
    let text = if differences.is_empty() {
        format!("{} events folded; the views and the ledger were as they are.", rebuilt.events)
    } else {
        format!(
            "{} events folded; these rows were not as the log says, and are now:\n  {}",
            rebuilt.events,
            differences.join("\n  ")
        )
    };
    arguments.tell(&json!({ "events": rebuilt.events, "differences": differences }), &text);
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
