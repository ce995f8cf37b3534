//! `atrium verify`.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use api::config::Settings;
use api::keys::hex;
use api::seals::{ProofResource, SealResource};
use clap::Args;
use eventstore::{Arrival, Database, Error as StoreError, Finding, Log, SealsVerified, Verified};
use projections::finder::{self, Query, Scope};
use projections::ledger;
use projections::views::BooksView;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::checkpoint::{Checkpoint, public_key};
use super::{EVENTS, Look, ToolArguments, counted, keys, place_of_key, progress, settings_of};

/// Walk the hash chain from the first event to the last
///
/// The chain tells by itself whether an event was changed, taken out or put in between. That all of it is an earlier or another history is told by the checkpoints that were made with `atrium checkpoint` and kept elsewhere. Looks only.
///
/// Exit code 0: whole, and as noted. 1: edited, or not as noted; the first event that does not fit is named. 2: it could not look, or a checkpoint cannot be used.
#[derive(Args)]
pub(crate) struct VerifyArguments {
    /// Checkpoints that the history must agree with
    #[arg(long = "checkpoint", value_name = "FILE", num_args = 1..)]
    checkpoints: Vec<PathBuf>,

    /// The package of a closed period, instead of a database: the log in it is walked, folded and rated again, offline
    #[arg(long, value_name = "FILE", conflicts_with = "checkpoints")]
    package: Option<PathBuf>,

    /// What `GET /api/Billing/{endDate}/proof` answered, instead of a database: are the lines in it those that were sealed?
    #[arg(long, value_name = "FILE", conflicts_with_all = ["checkpoints", "package"])]
    proof: Option<PathBuf>,

    /// With --proof: the seal that it must agree with, as `GET /api/Billing/{endDate}/seal` answered and was kept
    #[arg(long, value_name = "FILE", requires = "proof")]
    seal: Option<PathBuf>,

    #[command(flatten)]
    tool: ToolArguments,
}

/// Looks only, and tells what it found.
pub(crate) async fn run(arguments: &VerifyArguments) -> Result<ExitCode> {
    if let Some(file) = &arguments.package {
        return package(file, &arguments.tool).await;
    }
    if let Some(file) = &arguments.proof {
        return proof(file, arguments.seal.as_deref(), &arguments.tool);
    }
    let settings = settings_of(&arguments.tool.data)?;
    let checkpoints = Checkpoints::read(&settings, &arguments.checkpoints)?;
    let look = Look::at(&settings).await?;
    look.age().await?;
    let head = Log::new(look.database.clone()).head().await?.position;
    let bar = progress("Walking the chain", EVENTS, head);
    let notes = checkpoints.read.iter().map(|(file, read)| read.note(file)).collect();
    let verified =
        eventstore::verify_noted(&look.database, notes, |position| bar.set_position(position))
            .await?;
    bar.finish_and_clear();
    let seals = match verified {
        Verified::Whole { .. } => Some(eventstore::verify_sealed(&look.database).await?),
        Verified::Broken(_) => None,
    };
    look.end().await?;
    let (verified, sealed) = match (verified, seals) {
        (_, Some(SealsVerified::Broken(finding))) => (Verified::Broken(finding), (0, 0)),
        (verified, Some(SealsVerified::Whole { periods, entries })) => {
            (verified, (periods, entries))
        }
        (verified, None) => (verified, (0, 0)),
    };
    let (mut line, text, code) = match verified {
        Verified::Whole { events, head } => {
            let hash = hex(&head.hash);
            let text = format!(
                "PASS: {events} events, every one as it was written. The last hash is {hash}{}{}",
                checkpoints.text(),
                seals_text(sealed),
            );
            let line = json!({
                "whole": true,
                "events": events,
                "hash": hash,
                "closedPeriods": sealed.0,
                "sealedEntries": sealed.1,
            });
            (line, text, ExitCode::SUCCESS)
        }
        Verified::Broken(finding) => (
            json!({ "whole": false, "position": finding.position, "what": finding.what }),
            format!("FAIL: the event at position {} {}.", finding.position, finding.what),
            ExitCode::FAILURE,
        ),
    };
    if let Some(told) = checkpoints.line() {
        line["checkpoints"] = told;
    }
    arguments.tool.tell(&line, &text);
    Ok(code)
}

/// Checks that somebody's lines are in sealed books, with nothing but the answer that shows it.
fn proof(file: &Path, kept: Option<&Path>, tool: &ToolArguments) -> Result<ExitCode> {
    let proof: ProofResource = read_json(file, "proof")?;
    let kept = kept.map(|file| read_json::<SealResource>(file, "seal")).transpose()?;
    let ProofResource { seal, buyer, lines, .. } = &proof;
    let SealResource { end_date, root, public_key, .. } = seal;
    let (mut line, text, code) = match proof.check(kept.as_ref()) {
        Ok(()) => {
            let entries = counted(lines.len() as u64, "entry", "entries");
            let customer = buyer.customer_id;
            let known = match kept {
                Some(_) => "It is the seal that was kept.".to_owned(),
                None => format!(
                    "The seal's root is {root}, and the key that signed it {public_key}: whether these are the seller's, \
                     --seal FILE compares with the seal that was kept."
                ),
            };
            (
                json!({ "whole": true, "entries": lines.len(), "customerId": customer }),
                format!(
                    "PASS: {entries} of {customer} in the period {end_date}, as they were sealed.\n{known}"
                ),
                ExitCode::SUCCESS,
            )
        }
        Err(what) => {
            (json!({ "whole": false, "what": what }), format!("FAIL: {what}."), ExitCode::FAILURE)
        }
    };
    line["root"] = json!(root);
    line["publicKey"] = json!(public_key);
    tool.tell(&line, &text);
    Ok(code)
}

/// What the server answered, from a file.
fn read_json<T: DeserializeOwned>(file: &Path, what: &str) -> Result<T> {
    let shown = file.display();
    let opened = File::open(file).with_context(|| format!("the {what} {shown} cannot be read"))?;
    serde_json::from_reader(BufReader::new(opened)).with_context(|| {
        format!("{shown} is no {what}: it has to be what the server answered, as it is")
    })
}

/// Computes all closed periods of a package again, in a scratch database of its own.
async fn package(file: &Path, tool: &ToolArguments) -> Result<ExitCode> {
    let shown = file.display();
    let opened = File::open(file).with_context(|| format!("the package {shown} cannot be read"))?;
    let arrival = tokio::task::spawn_blocking(move || Arrival::open(BufReader::new(opened)));
    let arrival = arrival.await?.with_context(|| format!("the package {shown}"))?;
    let scratch = tempfile::tempdir().context("no scratch folder can be made")?;
    let database = Database::open_sqlite(&scratch.path().join("package.db")).await?;
    let checked = recompute(&database, arrival).await;
    database.close().await;
    let (line, text, code) = match checked? {
        Ok((events, periods, entries)) => (
            json!({ "whole": true, "events": events, "closedPeriods": periods, "sealedEntries": entries }),
            format!(
                "PASS: {} in {}, computed again from {events} events, are as they were sealed.",
                counted(entries, "entry", "entries"),
                counted(periods, "closed period", "closed periods"),
            ),
            ExitCode::SUCCESS,
        ),
        Err(what) => {
            (json!({ "whole": false, "what": what }), format!("FAIL: {what}."), ExitCode::FAILURE)
        }
    };
    tool.tell(&line, &text);
    Ok(code)
}

/// How many events, closed periods and entries there are; or the first thing that does not fit.
async fn recompute(
    database: &Database,
    arrival: Arrival<BufReader<File>>,
) -> Result<Result<(u64, u64, u64), String>> {
    // Every event is checked against the chain on the way in.
    let events = match arrival.settle(database, &[], |_| ()).await {
        Ok(transferred) => transferred.events,
        Err(StoreError::Unsuitable(what)) => return Ok(Err(what)),
        Err(error) => return Err(error.into()),
    };
    projections::rebuild(database, |_| ()).await?;
    let (periods, entries) = match eventstore::verify_sealed(database).await? {
        SealsVerified::Whole { periods, entries } => (periods, entries),
        SealsVerified::Broken(Finding { position, what }) => {
            return Ok(Err(format!("the event at position {position} {what}")));
        }
    };
    let query = Query { limit: finder::LIST_MAX, ..Query::default() };
    let all = finder::list::<BooksView>(database, &Scope::catalogue(), &query).await?;
    for (_, books) in &all.items {
        let billing = ledger::seller_at(database, &books.path).await?;
        for closed in &books.closed {
            let Some(period) = billing.settings.period_ending(closed.end) else {
                return Ok(Err(format!("no period ends on {}", closed.end)));
            };
            let seller = (books.seller, &books.path);
            let compared = ledger::compare_sealed(database, seller, period, closed.cutoff).await?;
            if let Some(what) = compared {
                return Ok(Err(format!("in the period {}, {what}", closed.end)));
            }
        }
    }
    Ok(Ok((events, periods, entries)))
}

/// What is told of closed periods, where there are any.
fn seals_text((periods, entries): (u64, u64)) -> String {
    if periods == 0 {
        return String::new();
    }
    let periods = counted(periods, "closed period", "closed periods");
    let entries = counted(entries, "entry", "entries");
    format!("\n{periods}: {entries}, every one as it was sealed.")
}

/// Those that the history is compared with.
struct Checkpoints {
    read: Vec<(PathBuf, Checkpoint)>,
    /// Where there is no master key to compare theirs with: where it was looked for.
    key_is_not_in: Option<String>,
}

impl Checkpoints {
    /// From these files; all of one installation: of this one, where its master key is at hand.
    fn read(settings: &Settings, files: &[PathBuf]) -> Result<Self> {
        let read = files.iter().map(|file| Ok((file.clone(), Checkpoint::read(file)?)));
        let read = read.collect::<Result<Vec<_>>>()?;
        let mut key_is_not_in = None;
        let Some((first, checkpoint)) = read.first() else {
            return Ok(Self { read, key_is_not_in });
        };
        let (expected, whose) = match keys(settings)? {
            Some(keys) => (
                public_key(&keys),
                format!(
                    "the master key in {} gives: it is another installation's, or somebody else made \
                     it",
                    place_of_key(settings)
                ),
            ),
            None => {
                key_is_not_in = Some(place_of_key(settings));
                let shown = first.display();
                let whose = format!("the checkpoint {shown}: one is another installation's");
                (checkpoint.public_key.to_lowercase(), whose)
            }
        };
        for (file, checkpoint) in &read {
            ensure!(
                checkpoint.public_key.to_lowercase() == expected,
                "the checkpoint {} was signed with another key than {whose}",
                file.display()
            );
        }
        Ok(Self { read, key_is_not_in })
    }

    /// The one that vouches for most.
    fn last(&self) -> Option<&Checkpoint> {
        self.read.iter().map(|(_, checkpoint)| checkpoint).max_by_key(|it| it.position)
    }

    fn text(&self) -> String {
        let Some(Checkpoint { position, time, public_key, .. }) = self.last() else {
            return String::new();
        };
        let noted = counted(self.read.len() as u64, "checkpoint", "checkpoints");
        let whose = match &self.key_is_not_in {
            None => "which is this installation's".to_owned(),
            Some(place) => {
                format!("which was compared with no other: there is no master key in {place}")
            }
        };
        format!(
            "\nUp to position {position} it is as noted in {noted}, the last on {time}, signed with \
             the key {public_key}, {whose}."
        )
    }

    fn line(&self) -> Option<Value> {
        let Checkpoint { position, time, public_key, .. } = self.last()?;
        Some(json!({
            "count": self.read.len(),
            "position": position,
            "time": time,
            "publicKey": public_key,
            "keyCompared": self.key_is_not_in.is_none(),
        }))
    }
}
