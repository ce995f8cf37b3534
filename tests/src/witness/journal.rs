//! The witness's own file: what it is about to ask, and what it was answered.

use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::wish::Kind;

/// Lines that are written and synced together.
const GROUP_LINES: usize = 1_024;

/// A line of the journal. Times are nanoseconds since the journal was begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Record {
    /// A server is about to be started.
    Starting {
        /// When.
        at: u64,
    },
    /// Nothing that was asked before is still on its way.
    Fence {
        /// When.
        at: u64,
    },
    /// A command is about to be sent, for the first time.
    Intent(Intent),
    /// What became of one request of a command.
    Outcome {
        /// The command's.
        key: String,
        /// Just before its first byte was sent.
        sent_at: u64,
        /// Just after the last byte of its answer had come, or it was given up.
        ended_at: u64,
        /// What came.
        answer: Answer,
    },
}

/// What is about to be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// Names the command; no other has the same, and its events hold it.
    pub key: String,
    /// What it is.
    pub kind: Kind,
    /// Whom it concerns.
    pub tenant: String,
    /// Whose history it belongs to, where that is known before.
    pub stream: Option<String>,
    /// The number that its event has to hold.
    pub mark: Option<u64>,
    /// Of the body: SHA-256, in hexadecimal.
    pub hash: String,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Answer {
    /// Done: 2xx.
    Acknowledged {
        /// The HTTP status.
        status: u16,
        /// The `ETag`.
        version: Option<u64>,
        /// The resource's id.
        id: Option<String>,
        /// The request that the resource names: the command that was last carried out on it.
        request: Option<String>,
        /// Of the body: SHA-256, in hexadecimal.
        hash: String,
        /// Whether it says that an earlier request with the same key did it.
        replayed: bool,
    },
    /// Not done, and never will be: 4xx, or never sent whole.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The problem's code.
        code: String,
    },
    /// Nobody knows: no answer, or 5xx.
    Unknown {
        /// Why.
        what: String,
    },
}

/// Writes the file. A record is on disk when [`Journal::write`] returns.
#[derive(Debug)]
pub struct Journal {
    lines: mpsc::Sender<Line>,
    began: Instant,
}

struct Line {
    json: String,
    durable: oneshot::Sender<()>,
}

impl Journal {
    /// Begins a new file.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create_new(path)
            .with_context(|| format!("the journal {} cannot be made", path.display()))?;
        let (lines, waiting) = mpsc::channel();
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || keep(file, &waiting))
            .context("no thread for the journal")?;
        Ok(Self { lines, began: Instant::now() })
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Appends a record; it is on disk when this returns.
    ///
    /// # Errors
    /// Where it could not be written.
    pub async fn write(&self, record: &Record) -> Result<()> {
        let (durable, is_durable) = oneshot::channel();
        let mut json = serde_json::to_string(record)?;
        json.push('\n');
        self.lines.send(Line { json, durable }).ok().context("the journal has ended")?;
        is_durable.await.context("the journal could not be written")
    }
}

/// Writes what waits, syncs once, tells all who waited; then the next. Ends at the first failure.
fn keep(mut file: File, waiting: &mpsc::Receiver<Line>) {
    while let Ok(first) = waiting.recv() {
        let mut group = vec![first];
        group.extend(waiting.try_iter().take(GROUP_LINES - 1));
        let text: String = group.iter().map(|line| line.json.as_str()).collect();
        if file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).is_err() {
            return;
        }
        for line in group {
            let _ = line.durable.send(());
        }
    }
}

/// Reads the file again.
///
/// # Errors
/// Where it is not one that [`Journal`] wrote.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    let lines = BufReader::new(File::open(path)?).lines();
    lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}
