//! The writer: one task that owns the write connection and runs commands in batches.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::event::Recorded;
use domain::subscription::Subscription;
use eventstore::{
    Connection, Database, EVENT_LAYOUT, Error as StoreError, Hash, Head, Log, REPLY_LAYOUT, Rows,
    SHAPE_LAYOUT, Value,
};
use projections::Wants;
use tokio::sync::{mpsc, oneshot, watch};

use crate::cache::{self, Cache, KeptReply, Layer};
use crate::error::{Error, Stop};
use crate::unit::{Caller, Decided, Ground, REPLIES, STREAMS, Unit, stream};
use crate::usecase::organizations::DEPTH_MAX;
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

/// Rounds of loading what a command needs before it is given up: what one load shows may name the
/// next thing to load. Four walks up the deepest tree, and a few more.
const LOADS_MAX: usize = 4 * DEPTH_MAX + 16;
/// Rounds of loading after which only the commands that miss nothing go on. Those behind them may
/// build on what they decide, and would miss something new in every round.
const LOADS_TOGETHER: usize = 4;
/// Times that a batch is decided again because another process was faster.
const RACES_MAX: usize = 1_000;
/// Times that it is decided again because a row stood in its way: only a kept answer to a command
/// without events can, which does not move the head of the log.
const TAKEN_MAX: usize = 3;
/// Events of other processes that are looked at one by one; beyond, all that is known is forgotten.
const CATCH_UP_MAX: u64 = 10_000;

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

struct Job {
    submission: Submission,
    answer: oneshot::Sender<Result<Committed, Error>>,
}

/// Hears of the events that were committed, before those who asked for them are answered.
pub type OnCommit = Box<dyn Fn(&[Recorded]) + Send + Sync>;

/// The way to the writer. Clones share it.
#[derive(Clone, Debug)]
pub struct Writer {
    queue: mpsc::Sender<Job>,
    position: watch::Receiver<u64>,
    ambient: Arc<dyn AmbientDebug>,
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
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime needs nothing but memory");
                runtime.block_on(async move {
                    let worker =
                        Worker::connect(database, worker_ambient, settings, on_commit, announce)
                            .await;
                    match worker {
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
        Ok((Self { queue, position, ambient }, thread))
    }

    /// Hands a command over and waits for its answer. The command goes on even if nobody waits.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn submit(&self, submission: Submission) -> Result<Committed, Error> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Job { submission, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Error::Stopping,
        })?;
        answered.await.map_err(|_| Error::OutcomeUnknown)?
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

/// A batch that has been decided and not yet written.
#[derive(Default)]
struct Batch {
    /// What was loaded for it.
    loaded: Layer,
    /// What it decided.
    overlay: Layer,
    events: Vec<Recorded>,
    kept: Vec<(String, Hash, Vec<u8>)>,
    answers: Vec<Result<Committed, Error>>,
}

struct Worker {
    database: Database,
    log: Log,
    connection: Option<Connection>,
    ambient: Arc<dyn AmbientDebug>,
    settings: WriterSettings,
    on_commit: OnCommit,
    announce: watch::Sender<u64>,
    head: Head,
    cache: Cache,
    /// Kinds and schemas that are known to be in `event_shape`.
    shapes: BTreeSet<(String, u32)>,
}

impl Worker {
    async fn connect(
        database: Database,
        ambient: Arc<dyn AmbientDebug>,
        settings: WriterSettings,
        on_commit: OnCommit,
        announce: watch::Sender<u64>,
    ) -> Result<Self, StoreError> {
        // The pool belongs to the runtime that serves requests; this is another one.
        let database = database.apart();
        let mut connection = database.writer_connection().await?;
        let head = connection.head().await?;
        announce.send_replace(head.position);
        Ok(Self {
            log: Log::new(database.clone()),
            database,
            connection: Some(connection),
            ambient,
            settings,
            on_commit,
            announce,
            head,
            cache: Cache::default(),
            shapes: BTreeSet::new(),
        })
    }

    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut waiting = Vec::with_capacity(self.settings.batch_commands);
        // No timer: while one batch commits, the next fills by itself.
        while jobs.recv_many(&mut waiting, self.settings.batch_commands).await > 0 {
            metrics::histogram!("atrium_batch_commands").record(waiting.len() as f64);
            while !waiting.is_empty() {
                let answers = match self.process(&waiting).await {
                    Ok(answers) => answers,
                    Err(error) => self.failed(error, waiting.len()).await,
                };
                for (job, answer) in waiting.drain(..answers.len()).zip(answers) {
                    // A caller that has gone away does not hear; the command is done all the same.
                    let _ = job.answer.send(answer);
                }
            }
        }
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
        self.database.close().await;
    }

    /// Every command of a batch that could not be written gets the same error, and what was known
    /// is forgotten: the database may be another one than we think.
    async fn failed(
        &mut self,
        error: StoreError,
        commands: usize,
    ) -> Vec<Result<Committed, Error>> {
        let cause: &dyn std::error::Error = &error;
        tracing::error!(error = cause, commands, "a batch of commands could not be written");
        self.cache.clear();
        self.shapes.clear();
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
        let unknown = matches!(error, StoreError::OutcomeUnknown(_));
        let error = Arc::new(error);
        let same = || {
            if unknown { Error::OutcomeUnknown } else { Error::Storage(error.clone()) }
        };
        (0..commands).map(|_| Err(same())).collect()
    }

    /// Decides a batch, writes it with a handful of statements, commits once. Gives the answers to
    /// the first commands of it: mostly all, always at least one.
    async fn process(&mut self, jobs: &[Job]) -> Result<Vec<Result<Committed, Error>>, StoreError> {
        if self.connection.is_none() {
            let mut connection = self.database.writer_connection().await?;
            self.head = connection.head().await?;
            self.connection = Some(connection);
        }
        let mut taken = 0;
        for _ in 0..RACES_MAX {
            let batch = self.decide(jobs).await?;
            let (head, rows) = self.rows(&batch);
            let connection = self.connection.as_mut().expect("connected above");
            let written = if rows.is_empty() {
                // Nothing to write, but a refusal must not come from a state that is past.
                connection.head().await? == self.head
            } else {
                match eventstore::append(connection, self.head, head, rows).await {
                    Err(error) if error.is_taken() && taken < TAKEN_MAX => {
                        taken += 1;
                        false
                    }
                    written => written?,
                }
            };
            if written {
                return Ok(self.committed(batch, head));
            }
            self.catch_up().await?;
        }
        Err(StoreError::Unsuitable("other processes were faster every time".to_owned()))
    }

    /// Runs every command, one after another; where something is missing, loads it with one
    /// statement for each table and runs them all again. The batch may end up with only the first
    /// ones of the commands.
    async fn decide(&mut self, mut jobs: &[Job]) -> Result<Batch, StoreError> {
        let mut loaded = Layer::default();
        self.load(&mut loaded, &self.foreseen(jobs)).await?;
        for round in 1..=LOADS_MAX {
            let mut batch = Batch { loaded, ..Batch::default() };
            // Recorded times never decrease, even where clocks do.
            let now = self.ambient.now().max(time(self.head.recorded_at));
            let mut wants = Wants::default();
            let mut first_to_miss = None;
            for (index, job) in jobs.iter().enumerate() {
                let answer = self.run_one(&mut batch, &job.submission, now, &mut wants);
                batch.answers.push(answer);
                if !wants.is_empty() {
                    first_to_miss = first_to_miss.or(Some(index));
                }
            }
            loaded = match first_to_miss {
                None => return Ok(batch),
                Some(index) => {
                    if round >= LOADS_TOGETHER && index > 0 {
                        jobs = &jobs[..index];
                    }
                    batch.loaded
                }
            };
            self.load(&mut loaded, &wants).await?;
        }
        Err(StoreError::Unsuitable("a command keeps asking for more to be loaded".to_owned()))
    }

    /// What these commands are likely to ask for and is not known: what is new in most batches. All
    /// the rest is found out by running them.
    fn foreseen(&self, jobs: &[Job]) -> Wants {
        let mut wants = Wants::default();
        let layers = self.cache.layers();
        for Job { submission, .. } in jobs {
            if let Some(slot) = submission.command.slot() {
                let stream = stream::<Subscription>(slot);
                if cache::state::<Subscription>(layers, &stream).is_none() {
                    wants.add(STREAMS, &stream);
                }
            }
            if let Some(idempotency) = &submission.idempotency {
                let key = reply_key(submission.caller, &idempotency.key);
                if cache::reply(layers, &key).is_none() {
                    wants.add(REPLIES, &key);
                }
            }
        }
        wants
    }

    fn run_one(
        &self,
        batch: &mut Batch,
        submission: &Submission,
        now: DateTime<Utc>,
        wants: &mut Wants,
    ) -> Result<Committed, Error> {
        let [young, old] = self.cache.layers();
        let ground = Ground {
            layers: [&batch.overlay, &batch.loaded, young, old],
            next_position: self.head.position + 1 + batch.events.len() as u64,
            now,
            ambient: self.ambient.as_ref(),
        };
        let mut unit = Unit::new(ground, submission.caller);
        let ran = catch_unwind(AssertUnwindSafe(|| answer(&mut unit, submission)));
        let missed = unit.wants();
        let was_rehearsal = !missed.is_empty();
        wants.absorb(missed);
        match ran {
            Ok(Ok(Answer::New(reply))) => {
                let kept = submission.idempotency.as_ref().map(|idempotency| {
                    let key = reply_key(submission.caller, &idempotency.key);
                    let answer = serde_json::to_vec(&reply).expect("a reply has a JSON form");
                    (key, idempotency.request, answer)
                });
                batch.take_in(unit.decided(), kept);
                Ok(Committed { reply, replayed: false })
            }
            Ok(Ok(Answer::Kept(reply))) => Ok(Committed { reply, replayed: true }),
            Ok(Err(Failure::KeyReused)) => Err(Error::KeyReused),
            Ok(Err(Failure::Stopped(Stop::Refused(refusal)))) => Err(Error::Refused(refusal)),
            Ok(Err(Failure::Stopped(Stop::Unauthenticated))) => Err(Error::Unauthenticated),
            Err(_) => {
                if !was_rehearsal {
                    tracing::error!(command = ?submission.command, "a command panicked");
                }
                Err(Error::Panicked)
            }
        }
    }

    /// Loads through the connection that writes: it alone changes the pages that it keeps in
    /// memory, so they stay good, which those of SQLite's other connections do not.
    async fn load(&mut self, layer: &mut Layer, wants: &Wants) -> Result<(), StoreError> {
        let connection = self.connection.as_mut().expect("connected before deciding");
        if let Some(streams) = wants.0.get(STREAMS) {
            let events = eventstore::streams(connection, streams.iter().cloned().collect()).await?;
            for stream in streams {
                layer.states.begin(stream);
            }
            for event in &events {
                layer.states.fold(event);
            }
        }
        if let Some(keys) = wants.0.get(REPLIES) {
            let sql = format!(
                "select key, request, answer from reply where {}",
                self.database.engine().any_of("key", 1)
            );
            let keys: Vec<_> = keys.iter().cloned().collect();
            let rows = connection.fetch(&sql, &[Value::Texts(keys.clone())]).await?;
            layer.replies.extend(keys.into_iter().map(|key| (key, None)));
            for row in rows {
                let request = row.bytes(1)?.try_into().map_err(|_| {
                    StoreError::Unsuitable("a kept reply's hash has another length".to_owned())
                })?;
                let kept = KeptReply { request, answer: row.bytes(2)?.into() };
                layer.replies.insert(row.text(0)?.to_owned(), Some(kept));
            }
        }
        layer.views.load(connection, wants, "").await
    }

    /// The rows of a batch, and the head after it.
    fn rows(&mut self, batch: &Batch) -> (Head, Vec<Rows>) {
        let mut chain = eventstore::Chain(self.head.hash);
        let mut head = self.head;
        let mut all = Vec::new();
        let mut events = Rows::new("event", &EVENT_LAYOUT);
        let mut shapes = Rows::new("event_shape", &SHAPE_LAYOUT);
        for event in &batch.events {
            let stored = event.to_stored();
            head = Head {
                position: event.position,
                recorded_at: event.recorded_at.timestamp_micros(),
                hash: chain.extend(&stored.body),
            };
            if self.shapes.insert((stored.kind.clone(), stored.schema)) {
                shapes.push([Value::Text(stored.kind), Value::Int(stored.schema.into())]);
            }
            events.push([
                Value::from(event.position),
                Value::Text(event.stream.clone()),
                Value::from(event.version),
                Value::Text(event.path.to_string()),
                Value::Bytes(stored.body),
                Value::Bytes(head.hash.to_vec()),
            ]);
        }
        let mut replies = Rows::new("reply", &REPLY_LAYOUT);
        for (key, request, answer) in &batch.kept {
            replies.push([
                Value::Text(key.clone()),
                Value::Bytes(request.to_vec()),
                Value::Bytes(answer.clone()),
                Value::Int(head.recorded_at),
            ]);
        }
        all.extend([events, shapes, replies].into_iter().filter(|rows| !rows.is_empty()));
        all.extend(batch.overlay.views.rows("", head.position));
        (head, all)
    }

    fn committed(&mut self, batch: Batch, head: Head) -> Vec<Result<Committed, Error>> {
        self.head = head;
        let mut known = batch.loaded;
        known.absorb(batch.overlay);
        self.cache.remember(known);
        metrics::counter!("atrium_events_total").increment(batch.events.len() as u64);
        (self.on_commit)(&batch.events);
        self.announce.send_replace(head.position);
        batch.answers
    }

    /// Learns what other processes have written since.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        // What the batch that lost the race would have added is not there.
        self.shapes.clear();
        let connection = self.connection.as_mut().expect("a batch has just been tried");
        let head = connection.head().await?;
        if head.position - self.head.position > CATCH_UP_MAX {
            self.cache.clear();
        } else {
            let mut after = self.head.position;
            while after < head.position {
                let page = self.log.read(after, head.position, eventstore::READ_MAX).await?;
                let Some(last) = page.last() else {
                    return Err(StoreError::Gap { expected: after + 1, found: head.position });
                };
                after = last.position;
                for stored in &page {
                    self.cache.forget(&stored.decode()?);
                }
            }
        }
        self.head = head;
        self.announce.send_replace(head.position);
        Ok(())
    }
}

impl Batch {
    fn take_in(&mut self, decided: Decided, kept: Option<(String, Hash, Vec<u8>)>) {
        self.overlay.absorb(decided.layer);
        self.events.extend(decided.events);
        if let Some((key, request, answer)) = kept {
            let reply = KeptReply { request, answer: answer.as_slice().into() };
            self.overlay.replies.insert(key.clone(), Some(reply));
            self.kept.push((key, request, answer));
        }
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
            if kept.request != idempotency.request {
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
    format!("{}:{key}", caller.actor)
}

fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::UNIX_EPOCH)
}
