//! The writer: one task that decides commands in batches, while its committer writes those before.

mod committer;
mod worker;

use std::sync::Arc;

use domain::event::Recorded;
use domain::seal::Vault;
use domain::{Bug, planted};
use eventstore::{Database, Error as StoreError, Hash};
use projections::Views;
use tokio::sync::{mpsc, oneshot, watch};

use self::worker::Worker;
use crate::error::{Error, Stop};
use crate::unit::{Caller, Unit};
use crate::{Ambient, Command, Reply};

/// Bounds of the writer.
#[derive(Clone, Copy, Debug)]
pub struct WriterSettings {
    /// Commands that may wait; one more is refused.
    pub queue_commands: usize,
    /// Commands that are decided together and committed once.
    pub batch_commands: usize,
}

impl Default for WriterSettings {
    fn default() -> Self {
        Self { queue_commands: 4_096, batch_commands: 512 }
    }
}

/// Makes the same command, sent twice, one effect.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The caller's key.
    pub key: String,
    /// Of what was asked.
    pub request: Hash,
}

/// A command on its way to the writer.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Who asks.
    pub caller: Caller,
    /// What for.
    pub command: Command,
    /// Under which key.
    pub idempotency: Option<Idempotency>,
}

/// An answer, and whether it was given before.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The answer.
    pub reply: Reply,
    /// Whether the command was done by an earlier request with the same key.
    pub replayed: bool,
}

/// What would follow from some commands, if they were carried out one after another.
#[derive(Debug)]
pub struct Rehearsed {
    /// What each would be answered.
    pub answers: Vec<Result<Reply, Error>>,
    /// What would happen, in order; the first at the position behind the log's end.
    pub events: Vec<Recorded>,
    /// The documents that would be changed, as they would be.
    pub views: Views,
}

struct Job {
    submission: Submission,
    answer: oneshot::Sender<Result<Committed, Error>>,
}

/// Hears of the events that were committed, before those who asked for them are answered.
pub type OnCommit = Box<dyn Fn(&[Recorded]) + Send + Sync>;

/// The way to the writer. Clones share it.
#[derive(Clone, Debug)]
pub struct Writer {
    queue: Queue,
    position: watch::Receiver<u64>,
    ambient: Arc<dyn AmbientDebug>,
}

/// Where commands wait to be decided.
#[derive(Clone, Debug)]
enum Queue {
    Open(mpsc::Sender<Job>),
    /// There is none: this process only reads.
    None {
        commands_at: Option<Arc<str>>,
    },
}

impl Queue {
    fn sender(&self) -> Result<&mpsc::Sender<Job>, Error> {
        match self {
            Self::Open(queue) => Ok(queue),
            Self::None { commands_at } => Err(Error::ReadOnly { commands_at: commands_at.clone() }),
        }
    }
}

/// [`Ambient`] that can be part of a printable struct.
trait AmbientDebug: Ambient + std::fmt::Debug {}
impl<T: Ambient + std::fmt::Debug> AmbientDebug for T {}

impl Writer {
    /// Starts the writer on a thread of its own: deciding is work for a processor, and must not
    /// hold up the tasks that serve requests.
    ///
    /// It ends when the last [`Writer`] is gone and everything that waited is answered.
    ///
    /// # Errors
    /// Where the database cannot be reached.
    pub async fn start(
        database: Database,
        vault: Vault,
        ambient: Arc<impl Ambient + std::fmt::Debug>,
        settings: WriterSettings,
        on_commit: OnCommit,
    ) -> Result<(Self, std::thread::JoinHandle<()>), StoreError> {
        let (queue, jobs) = mpsc::channel(settings.queue_commands);
        let (announce, position) = watch::channel(0);
        let (ready, is_ready) = oneshot::channel();
        let worker_ambient: Arc<dyn AmbientDebug> = ambient.clone();
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || {
                // This thread decides, the runtime's one worker commits.
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .thread_name("committer")
                    .enable_all()
                    .build()
                    .expect("a runtime needs nothing but memory");
                runtime.block_on(async move {
                    let worker = Worker::connect(
                        database,
                        vault,
                        worker_ambient,
                        settings,
                        on_commit,
                        announce,
                    );
                    match worker.await {
                        Ok(worker) => {
                            let _ = ready.send(Ok(()));
                            worker.run(jobs).await;
                        }
                        Err(error) => {
                            let _ = ready.send(Err(error));
                        }
                    }
                });
            })
            .map_err(|error| {
                StoreError::Unsuitable(format!("no thread for the writer: {error}"))
            })?;
        is_ready.await.map_err(|_| StoreError::Unsuitable("the writer ended at once".into()))??;
        Ok((Self { queue: Queue::Open(queue), position, ambient }, thread))
    }

    /// The way to no writer, in a process that only reads: every command is refused, and who asks is told
    /// where commands go.
    #[must_use]
    pub fn none(ambient: Arc<impl Ambient + std::fmt::Debug>, commands_at: Option<&str>) -> Self {
        let commands_at = commands_at.map(Arc::from);
        Self { queue: Queue::None { commands_at }, position: watch::channel(0).1, ambient }
    }

    /// Whether commands are taken at all, whatever they say.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] where they are not.
    pub fn takes_commands(&self) -> Result<(), Error> {
        self.queue.sender().map(|_| ())
    }

    /// Hands a command over and waits for its answer. The command goes on even if nobody waits.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn submit(&self, submission: Submission) -> Result<Committed, Error> {
        self.hand_over(submission)?.await
    }

    /// Hands a command over; its answer comes later. Commands are decided in the order of these calls.
    ///
    /// # Errors
    /// Where it is not taken.
    pub fn hand_over(
        &self,
        submission: Submission,
    ) -> Result<impl Future<Output = Result<Committed, Error>> + Send + use<>, Error> {
        let queue = self.queue.sender()?;
        let (answer, answered) = oneshot::channel();
        queue.try_send(Job { submission, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Error::Stopping,
        })?;
        Ok(async { answered.await.map_err(|_| Error::OutcomeUnknown)? })
    }

    /// Decides commands as they would be decided now, one after another, and forgets what was decided: nothing is recorded.
    /// It stands on what is committed, beside the writer, and holds it up by nothing.
    ///
    /// # Errors
    /// What the database says; where this process takes no commands.
    pub async fn rehearse(
        &self,
        database: &Database,
        vault: &Vault,
        submissions: Vec<Submission>,
    ) -> Result<Rehearsed, Error> {
        self.takes_commands()?;
        let storage = |error| Error::Storage(Arc::new(error));
        let worker = Worker::beside(database.clone(), vault.clone(), self.ambient.clone());
        let worker = worker.await.map_err(storage)?;
        worker.rehearse(submissions).await.map_err(storage)
    }

    /// The same as a task of the caller's runtime: for a simulation, in which one thread does everything and
    /// so does it in the same order every time.
    ///
    /// # Errors
    /// See [`Writer::start`].
    pub async fn start_here(
        database: Database,
        vault: Vault,
        ambient: Arc<impl Ambient + std::fmt::Debug>,
        settings: WriterSettings,
        on_commit: OnCommit,
    ) -> Result<(Self, tokio::task::JoinHandle<()>), StoreError> {
        let (queue, jobs) = mpsc::channel(settings.queue_commands);
        let (announce, position) = watch::channel(0);
        let worker =
            Worker::connect(database, vault, ambient.clone(), settings, on_commit, announce)
                .await?;
        let writer = Self { queue: Queue::Open(queue), position, ambient };
        Ok((writer, tokio::spawn(worker.run(jobs))))
    }

    /// Whether nothing can be asked of it any more: a mistake in the program has ended it. It does not come
    /// back; the process should end, too, and be started again.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(&self.queue, Queue::Open(queue) if queue.is_closed())
    }

    /// Waits until it [has ended](Self::has_ended).
    pub async fn ended(&self) {
        match &self.queue {
            Queue::Open(queue) => queue.closed().await,
            Queue::None { .. } => std::future::pending().await,
        }
    }

    /// The position of the last event that this process committed or caught up with.
    #[must_use]
    pub fn position(&self) -> watch::Receiver<u64> {
        self.position.clone()
    }

    /// Where the writer takes time and ids from.
    #[must_use]
    pub fn ambient(&self) -> &dyn Ambient {
        self.ambient.as_ref()
    }
}

/// What a command answers, or answered when it came with the same key before.
pub(crate) enum Answer {
    New(Reply),
    Kept(Reply),
}

/// Why a command has no answer of its own.
pub(crate) enum Failure {
    KeyReused,
    Stopped(Stop),
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

/// Carries a command out, or gives the answer that is kept under its key.
pub(crate) fn answer(unit: &mut Unit<'_>, submission: &Submission) -> Result<Answer, Failure> {
    if let Some(idempotency) = &submission.idempotency {
        let key = reply_key(submission.caller, &idempotency.key);
        if let Some(kept) = unit.kept_reply(&key) {
            let is_same = kept.request == idempotency.request;
            if !is_same && !planted(Bug::ReplayWithoutComparing) {
                return Err(Failure::KeyReused);
            }
            let reply = serde_json::from_slice(&kept.answer).expect("a kept reply is readable");
            return Ok(Answer::Kept(reply));
        }
    }
    Ok(submission.command.run(unit).map(Answer::New)?)
}

/// A key belongs to its caller: two callers may use the same.
pub(crate) fn reply_key(caller: Caller, key: &str) -> String {
    if planted(Bug::KeyWithoutCaller) {
        return key.to_owned();
    }
    match caller.on_behalf_of {
        None => format!("{}:{key}", caller.actor),
        // Whoever acts as another is not the same caller.
        Some(user) => format!("{}>{user}:{key}", caller.actor),
    }
}
