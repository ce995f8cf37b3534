//! `atrium verify`.

use std::process::ExitCode;

use anyhow::Result;
use eventstore::Verified;
use serde_json::json;

use super::{EVENTS, Look, ToolArguments, progress, settings_of};

/// Looks only, and tells what it found.
pub(crate) async fn run(arguments: &ToolArguments) -> Result<ExitCode> {
    let look = Look::at(&settings_of(&arguments.data)?).await?;
    look.age().await?;
    let head = eventstore::Log::new(look.database.clone()).head().await?.position;
    let bar = progress("Walking the chain", EVENTS, head);
    let verified =
        eventstore::verify(&look.database, |position| bar.set_position(position)).await?;
    bar.finish_and_clear();
    look.end().await?;
    let (line, text, code) = match verified {
        Verified::Whole { events, hash } => (
            json!({ "whole": true, "events": events, "hash": hash }),
            format!("PASS: {events} events, every one as it was written. The last hash is {hash}"),
            ExitCode::SUCCESS,
        ),
        Verified::Broken(finding) => (
            json!({ "whole": false, "position": finding.position, "what": finding.what }),
            format!("FAIL: the event at position {} {}.", finding.position, finding.what),
            ExitCode::FAILURE,
        ),
    };
    arguments.tell(&line, &text);
    Ok(code)
}
