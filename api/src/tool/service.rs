//! `atrium import service`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use api::body;
use api::keys::Keys;
use api::server::{Installation, master_key};
use clap::Args;
use commands::usecase::definition::DefinitionDocument;
use commands::usecase::services::PublishService;
use commands::{Caller, Command, Error, Submission, SystemAmbient};
use domain::{Fault, ServiceKey};
use serde_json::json;

use super::{ToolArguments, ensure_is_there, open, settings_of};

/// Draft and publish a service from its definition
///
/// The document is checked first, and everything that is wrong with it is told at once, each with where it stands. A server on the same data may go on meanwhile. The same definition again changes nothing. `docs/service.schema.json` lets editors complete it; `services/` has examples.
///
/// Exit code 0: it is sold now; with --draft, it is drafted. 2: it is not, and why; a definition that can be read and not be sold is kept as the draft.
#[derive(Args)]
pub(crate) struct ImportServiceArguments {
    /// The definition, as JSON
    #[arg(value_name = "FILE")]
    definition: PathBuf,

    /// Only draft it
    #[arg(long)]
    draft: bool,

    #[command(flatten)]
    tool: ToolArguments,
}

pub(crate) async fn run(arguments: &ImportServiceArguments) -> Result<ExitCode> {
    let file = &arguments.definition;
    let cannot = || format!("the definition {} cannot be read", file.display());
    let bytes = std::fs::read(file).with_context(cannot)?;
    let document = match body::parse::<DefinitionDocument>(&bytes) {
        Ok(document) => document,
        Err(shape) => {
            bail!("{} is no definition of a service:{}", file.display(), list(&shape.faults))
        }
    };
    let key = document.key.clone().unwrap_or_default();
    if ServiceKey::parse(&key).is_none() {
        bail!("{} has no `key` that names a service, such as \"backup\"", file.display());
    }
    let settings = settings_of(&arguments.tool.data)?;
    ensure_is_there(&settings)?;
    let database = open(&settings).await?;
    let keys = Keys::derive(&master_key(&settings, &database).await?);
    let installation = Installation::start(database, keys, Arc::new(SystemAmbient), None).await?;
    let mut wishes =
        vec![Command::DraftService { key: key.clone(), body: Ok(document), if_match: None }];
    if !arguments.draft {
        let body = Ok(PublishService::default());
        wishes.push(Command::PublishService { key: key.clone(), body });
    }
    let mut outcome = Ok(None);
    for command in wishes {
        let submission = Submission { caller: Caller::SYSTEM, command, idempotency: None };
        outcome = installation.app.writer().submit(submission).await.map(Some);
        if outcome.is_err() {
            break;
        }
    }
    installation.close().await;
    match outcome {
        Ok(_) => {}
        Err(Error::Refused(refusal)) => {
            let drafted = "it is drafted, and not sold";
            bail!("{}: {drafted}: {}{}", file.display(), refusal.detail, list(&refusal.faults))
        }
        Err(error) => return Err(error.into()),
    }
    let published = !arguments.draft;
    let what = if published { "sold" } else { "drafted" };
    arguments.tool.tell(
        &json!({ "service": key, "published": published }),
        &format!("The service {key} is {what} now."),
    );
    Ok(ExitCode::SUCCESS)
}

/// Each fault on a line of its own.
fn list(faults: &[Fault]) -> String {
    let line = |fault: &Fault| format!("\n  {}: {}", fault.pointer, fault.detail);
    faults.iter().map(line).collect()
}
