//! `atrium import service`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use api::body;
use api::keys::Keys;
use api::server::{Installation, master_key};
use clap::Args;
use commands::usecase::definition::DefinitionDocument;
use commands::usecase::services::PublishService;
use commands::{Caller, Command, Error, Submission, SystemAmbient, Writer};
use domain::{Fault, Refusal, ServiceKey};
use serde_json::json;

use super::{ToolArguments, ensure_is_there, open, settings_of};

/// Draft and publish a service from its definition
///
/// The document is checked first, and everything that is wrong with it is told at once, each with where it stands. A server on the same data may go on meanwhile. The same definition again changes nothing. `docs/service.schema.json` lets editors complete it; `services/` has examples.
///
/// Exit code 0: it is sold now, to those who are offered it; with --draft, it is drafted. 2: it is not, and why; a definition that can be read and not be sold is kept as the draft.
#[derive(Args)]
pub(crate) struct ImportServiceArguments {
    /// The definition, as JSON
    #[arg(value_name = "FILE")]
    definition: PathBuf,

    /// Only draft it
    #[arg(long)]
    draft: bool,

    /// Offer it to everybody, with all its plans, also those who come later
    #[arg(long, conflicts_with = "draft")]
    roll_out: bool,

    #[command(flatten)]
    tool: ToolArguments,
}

/// Largest definition that is read, in bytes: as much as a request may have.
const DEFINITION_MAX_BYTES: u64 = 1024 * 1024;

pub(crate) async fn run(arguments: &ImportServiceArguments) -> Result<ExitCode> {
    let file = arguments.definition.display();
    let document = read(&arguments.definition)?;
    let key = document.key.clone().unwrap_or_default();
    if ServiceKey::parse(&key).is_none() {
        bail!("{file} has no `key` that names a service, such as \"backup\"");
    }
    let settings = settings_of(&arguments.tool.data)?;
    ensure_is_there(&settings)?;
    let database = open(&settings).await?;
    let keys = Keys::derive(&master_key(&settings, &database).await?);
    let installation = Installation::start(database, keys, Arc::new(SystemAmbient), None).await?;
    let imported = import(installation.app.writer(), &key, document, arguments).await;
    installation.close().await;
    let what = match imported? {
        Outcome::Published => "sold",
        Outcome::Drafted => "drafted",
        Outcome::NotDrafted(refusal) => {
            bail!("{file} is refused, and nothing is changed: {}", told(&refusal))
        }
        Outcome::NotPublished(refusal) => {
            bail!("{file} is drafted, and not sold: {}", told(&refusal))
        }
    };
    arguments.tool.tell(
        &json!({ "service": key, "published": !arguments.draft }),
        &format!("The service {key} is {what} now."),
    );
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<DefinitionDocument> {
    let cannot = || format!("the definition {} cannot be read", file.display());
    let mut bytes = Vec::new();
    let opened = File::open(file).with_context(cannot)?;
    opened.take(DEFINITION_MAX_BYTES + 1).read_to_end(&mut bytes).with_context(cannot)?;
    if bytes.len() as u64 > DEFINITION_MAX_BYTES {
        bail!("{} is larger than a definition can be (1 MiB)", file.display());
    }
    body::parse(&bytes).map_err(|shape| {
        anyhow!("{} is no definition of a service:{}", file.display(), list(&shape.faults))
    })
}

/// How far an import came.
enum Outcome {
    Published,
    Drafted,
    NotDrafted(Refusal),
    NotPublished(Refusal),
}

async fn import(
    writer: &Writer,
    key: &str,
    document: DefinitionDocument,
    arguments: &ImportServiceArguments,
) -> Result<Outcome> {
    let submit = async |command| {
        let submission = Submission { caller: Caller::SYSTEM, command, idempotency: None };
        match writer.submit(submission).await {
            Ok(_) => Ok(None),
            Err(Error::Refused(refusal)) => Ok(Some(refusal)),
            Err(error) => Err(anyhow::Error::from(error)),
        }
    };
    let draft = Command::DraftService { key: key.to_owned(), body: Ok(document), if_match: None };
    if let Some(refusal) = submit(draft).await? {
        return Ok(Outcome::NotDrafted(refusal));
    }
    if arguments.draft {
        return Ok(Outcome::Drafted);
    }
    let body = PublishService {
        roll_out: arguments.roll_out.then_some(true),
        ..PublishService::default()
    };
    let publish = Command::PublishService { key: key.to_owned(), body: Ok(body) };
    Ok(submit(publish).await?.map_or(Outcome::Published, Outcome::NotPublished))
}

fn told(refusal: &Refusal) -> String {
    format!("{}{}", refusal.detail, list(&refusal.faults))
}

/// Each fault on a line of its own.
fn list(faults: &[Fault]) -> String {
    let line = |fault: &Fault| format!("\n  {}: {}", fault.pointer, fault.detail);
    faults.iter().map(line).collect()
}
