//! `atrium checkpoint`: where the log ended at some time, signed, to be kept elsewhere.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use api::config::Settings;
use api::keys::{Keys, has_signed, hex, unhex};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use commands::{Ambient as _, SystemAmbient};
use eventstore::{Database, Note, Verified};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::file::Partial;
use super::{Look, ToolArguments, check_of, fitting_keys, place_of_key, settings_of};

/// The form that is written and read.
const FORM: u32 = 1;
/// Events at the log's end that must be as they were written before its last one is signed.
const LAST_EVENTS: u64 = 1_000;
/// Most that a checkpoint's file has, in bytes.
const FILE_MAX_BYTES: u64 = 4_096;
/// How often the server makes one.
const EVERY: Duration = Duration::from_hours(1);

/// Sign where the log ends now, in a small file to be kept elsewhere
///
/// With it, `atrium verify --checkpoint FILE` finds what the log alone cannot tell: that yesterday's database was put back, that its end was cut off, or that all of it was written again. The signature (Ed25519) is made with a key that follows from the master key. Looks only; a server may be at work on the database. `atrium serve --checkpoints DIR` makes one each hour.
///
/// Exit code 0: the file is there. 2: there is none, and why.
#[derive(Args)]
pub(crate) struct CheckpointArguments {
    /// The file to make; one that exists is never replaced
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    tool: ToolArguments,
}

pub(crate) async fn run(arguments: &CheckpointArguments) -> Result<ExitCode> {
    let settings = settings_of(&arguments.tool.data)?;
    let look = Look::at(&settings).await?;
    look.age().await?;
    let keys = fitting_keys(&settings, check_of(&look.database).await?.as_deref())?;
    let keys = keys.with_context(|| {
        let place = place_of_key(&settings);
        format!(
            "there is no master key in {place}; a checkpoint is signed with what follows from it"
        )
    })?;
    let file = Partial::beside(&arguments.file)?;
    let checkpoint = Checkpoint::of(&look.database, &keys).await?;
    look.end().await?;
    checkpoint.write(file)?;
    let Checkpoint { position, hash, public_key, .. } = &checkpoint;
    arguments.tool.tell(
        &json!({
            "file": arguments.file,
            "position": position,
            "hash": hash,
            "time": checkpoint.time,
            "publicKey": public_key,
        }),
        &format!(
            "{} has the event at position {position}, whose hash is {hash}.\n\
             It is signed with the key {public_key}. Keep it where nobody who can change the \
             database can change it.",
            arguments.file.display(),
        ),
    );
    Ok(ExitCode::SUCCESS)
}

/// Where a log ended, signed. The fields are those of the file; what is signed are their texts.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Checkpoint {
    /// [`FORM`]; tells that it is a checkpoint.
    checkpoint: u32,
    /// Of the last event.
    pub(crate) position: u64,
    /// Its hash, in hexadecimal.
    hash: String,
    /// When it was signed (RFC 3339).
    pub(crate) time: String,
    /// In hexadecimal.
    pub(crate) public_key: String,
    signature: String,
}

impl Checkpoint {
    /// Of where a log ends now.
    ///
    /// # Errors
    /// Where there is no event yet, and where the last ones are not as they were written.
    async fn of(database: &Database, keys: &Keys) -> Result<Self> {
        match eventstore::verify_end(database, LAST_EVENTS).await? {
            Verified::Whole { head, .. } if head.position == 0 => {
                bail!("nothing has happened yet: there is no event to make a checkpoint of")
            }
            Verified::Whole { head, .. } => {
                Ok(Self::signed(head.position, hex(&head.hash), SystemAmbient.now(), keys))
            }
            Verified::Broken(finding) => bail!(
                "the event at position {} {}; nothing is signed that was edited",
                finding.position,
                finding.what
            ),
        }
    }

    fn signed(position: u64, hash: String, time: DateTime<Utc>, keys: &Keys) -> Self {
        let signer = signer(keys);
        let mut checkpoint = Self {
            checkpoint: FORM,
            position,
            hash,
            time: time.to_rfc3339_opts(SecondsFormat::Millis, true),
            public_key: public_key(keys),
            signature: String::new(),
        };
        checkpoint.signature = hex(signer.sign(checkpoint.message().as_bytes()).as_ref());
        checkpoint
    }

    /// What is signed.
    fn message(&self) -> String {
        let Self { position, hash, time, .. } = self;
        format!("atrium checkpoint {FORM} {position} {hash} {time}")
    }

    fn write(&self, file: Partial) -> Result<()> {
        let mut writer = file.writer()?;
        writeln!(writer, "{}", serde_json::to_string(self)?).context("it cannot be written")?;
        file.finish()?;
        Ok(())
    }

    /// Reads one, whose signature must fit.
    ///
    /// # Errors
    /// Where the file cannot be used.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let shown = file.display();
        let cannot = || format!("the checkpoint {shown} cannot be read");
        let mut text = Vec::new();
        let open = File::open(file).with_context(cannot)?;
        open.take(FILE_MAX_BYTES + 1).read_to_end(&mut text).with_context(cannot)?;
        let is_none = || {
            format!("{shown} is no checkpoint of Atrium; they are made with `atrium checkpoint`")
        };
        ensure!(text.len() as u64 <= FILE_MAX_BYTES, is_none());
        let Form { checkpoint: form } = serde_json::from_slice(&text).with_context(is_none)?;
        ensure!(
            form == FORM,
            "the checkpoint {shown} has the form {form}, and this program reads the form {FORM}; use a \
             newer Atrium"
        );
        let read: Self = serde_json::from_slice(&text).with_context(is_none)?;
        ensure!(
            read.fits().unwrap_or(false),
            "the checkpoint {shown} was changed: its signature does not fit"
        );
        Ok(read)
    }

    /// Whether all of it is what was signed; none where a field is not what it should be.
    fn fits(&self) -> Option<bool> {
        unhex::<32>(&self.hash)?;
        DateTime::parse_from_rfc3339(&self.time).ok()?;
        let is_signed = has_signed(&self.public_key, &self.message(), &self.signature)?;
        Some(self.position > 0 && is_signed)
    }

    /// What it says of the log.
    pub(crate) fn note(&self, file: &Path) -> Note {
        Note {
            position: self.position,
            hash: unhex(&self.hash).expect("what is not hexadecimal does not fit"),
            place: format!("the checkpoint {}", file.display()),
        }
    }
}

/// What the first field of every form says.
#[derive(Deserialize)]
struct Form {
    checkpoint: u32,
}

fn signer(keys: &Keys) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&keys.checkpoint).expect("every 32 bytes are a seed")
}

/// The key, in hexadecimal, that the checkpoints of an installation are signed with.
pub(crate) fn public_key(keys: &Keys) -> String {
    hex(signer(keys).public_key().as_ref())
}

/// Makes checkpoints while a server runs, and one when it has stopped.
pub(crate) struct Schedule {
    folder: PathBuf,
    settings: Settings,
    keys: Keys,
    task: JoinHandle<()>,
}

impl Schedule {
    /// Makes the folder, where the settings name one for them.
    ///
    /// # Errors
    /// Where there can be no such folder.
    pub(crate) fn make_folder(settings: &Settings) -> Result<()> {
        let Some(folder) = &settings.checkpoints else { return Ok(()) };
        std::fs::create_dir_all(folder)
            .with_context(|| format!("the folder {} cannot be made", folder.display()))
    }

    /// Begins, where the settings name a folder for them.
    pub(crate) fn begin(settings: &Settings, keys: &Keys, database: &Database) -> Option<Self> {
        let folder = settings.checkpoints.clone()?;
        let task = tokio::spawn(every(EVERY, database.clone(), keys.clone(), folder.clone()));
        Some(Self { folder, settings: settings.clone(), keys: keys.clone(), task })
    }

    /// Makes the last one, of a server that has stopped.
    pub(crate) async fn end(self) {
        self.task.abort();
        let last = async {
            let look = Look::at(&self.settings).await?;
            make(&look.database, &self.keys, &self.folder).await?;
            look.end().await
        };
        tell(last.await);
    }
}

/// Makes one now, and then again and again.
async fn every(time: Duration, database: Database, keys: Keys, folder: PathBuf) {
    let mut ticks = tokio::time::interval(time);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tell(make(&database, &keys, &folder).await);
    }
}

/// Makes one in the folder; none where there is one already of this end of the log.
async fn make(database: &Database, keys: &Keys, folder: &Path) -> Result<()> {
    let checkpoint = Checkpoint::of(database, keys).await?;
    let Checkpoint { position, hash, .. } = &checkpoint;
    // In the log's order; and of two histories that end at one position, both.
    let file = folder.join(format!("{position:012}-{}.json", &hash[..8]));
    if !file.exists() {
        checkpoint.write(Partial::beside(&file)?)?;
    }
    metrics::gauge!("atrium_checkpoint_position").set(*position as f64);
    Ok(())
}

/// That there is none is no reason not to serve.
fn tell(made: Result<()>) {
    if let Err(error) = made {
        tracing::error!(error = format!("{error:#}"), "no checkpoint could be made");
    }
}

#[cfg(test)]
mod tests {
    use api::config::ServeArguments;
    use api::server::Installation;
    use api::setup;

    use super::*;

    fn time() -> DateTime<Utc> {
        "2019-11-30T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_checkpoint_is_the_same_from_the_same_key_and_every_field_is_signed() {
        let keys = Keys::derive(&[7; 32]);
        let sign = || Checkpoint::signed(12, "ab".repeat(32), time(), &keys);
        assert_eq!(sign(), sign());
        assert_eq!(sign().message(), {
            format!("atrium checkpoint 1 12 {} 2019-11-30T12:00:00.000Z", "ab".repeat(32))
        });
        assert_eq!(sign().fits(), Some(true));
        type Change = (&'static str, fn(&mut Checkpoint));
        let changes: [Change; 6] = [
            ("the position", |it| it.position = 13),
            ("the hash", |it| it.hash.replace_range(..1, "b")),
            ("the time", |it| it.time = it.time.replace("2019", "2018")),
            ("the key", |it| it.public_key = public_key(&Keys::derive(&[8; 32]))),
            ("the signature", |it| {
                let other = if it.signature.starts_with('0') { "1" } else { "0" };
                it.signature.replace_range(..1, other);
            }),
            ("a digit", |it| it.signature.replace_range(..1, "g")),
        ];
        for (what, change) in changes {
            let mut checkpoint = sign();
            change(&mut checkpoint);
            assert_ne!(checkpoint.fits(), Some(true), "{what}");
        }
    }

    #[tokio::test]
    async fn checkpoints_are_made_again_and_again() {
        let data = tempfile::tempdir().unwrap();
        let database = Database::open_sqlite(&data.path().join("atrium.db")).await.unwrap();
        projections::prepare(&database, |_| ()).await.unwrap();
        let (keys, folder) = (Keys::derive(&[7; 32]), data.path().join("checkpoints"));
        std::fs::create_dir(&folder).unwrap();
        let often = Duration::from_millis(5);
        let task = tokio::spawn(every(often, database.clone(), keys.clone(), folder.clone()));
        let ambient = std::sync::Arc::new(SystemAmbient);
        let installation =
            Installation::start(database.clone(), keys.clone(), ambient, None).await.unwrap();
        let settings = Settings::load(&ServeArguments::default()).unwrap();
        let password = commands::Password("no password at all".to_owned());
        // Of nothing there is no checkpoint; it is made when there is something.
        setup::first(&installation.app, &settings.billing, &password).await.unwrap();
        let first = loop {
            let mut made = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
            match made.find(|path| path.extension().is_some_and(|end| end == "json")) {
                Some(first) => break first,
                None => tokio::time::sleep(often).await,
            }
        };
        let head = eventstore::Log::new(database.clone()).head().await.unwrap();
        let read = Checkpoint::read(&first).unwrap();
        assert_eq!(read.note(&first).hash, head.hash);
        assert!(!task.is_finished());
        task.abort();
        installation.close().await;
    }

    #[test]
    fn another_master_key_signs_with_another_key() {
        assert_ne!(public_key(&Keys::derive(&[7; 32])), public_key(&Keys::derive(&[8; 32])));
    }
}
