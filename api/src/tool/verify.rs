//! `atrium verify`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use api::config::Settings;
use api::keys::hex;
use clap::Args;
use eventstore::{Log, Verified};
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

    #[command(flatten)]
    tool: ToolArguments,
}

/// Looks only, and tells what it found.
pub(crate) async fn run(arguments: &VerifyArguments) -> Result<ExitCode> {
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
    look.end().await?;
    let (mut line, text, code) = match verified {
        Verified::Whole { events, head } => {
            let hash = hex(&head.hash);
            let text = format!(
                "PASS: {events} events, every one as it was written. The last hash is {hash}{}",
                checkpoints.text()
            );
            (json!({ "whole": true, "events": events, "hash": hash }), text, ExitCode::SUCCESS)
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
