//! Deciding: what the writer's thread does, while the committer writes what was decided before.

mod foresight;
mod loading;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::seal::Vault;
use domain::{Bug, planted};
use eventstore::{Connection, Database, Engine, Error as StoreError, Head, Log};
use projections::Wants;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};

use super::committer::{Batch, Committer, Written};
use super::{
    AmbientDebug, Answer, Committed, Failure, Job, OnCommit, Rehearsed, Submission, WriterSettings,
    answer, reply_key,
};
use crate::cache::{Cache, Layer};
use crate::error::{Error, Stop};
use crate::unit::{Ground, Unit};
use crate::usecase::organizations::DEPTH_MAX;

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
/// A batch is decided in about so many parts while the one before it is written.
const DECIDED_IN_PARTS: usize = 4;
/// Events of other processes that are looked at one by one; beyond, all that is known is forgotten.
const CATCH_UP_MAX: u64 = 10_000;

/// Commands that were decided one after another, and what they decided: written together.
#[derive(Default)]
struct Prepared {
    jobs: Vec<Job>,
    /// As many as there are jobs.
    answers: Vec<Result<Committed, Error>>,
    batch: Batch,
}

impl Prepared {
    /// Adds commands that were decided on top of it.
    fn extend(&mut self, newer: Self) {
        self.jobs.extend(newer.jobs);
        self.answers.extend(newer.answers);
        self.batch.extend(newer.batch);
    }

    /// Tells everybody. A caller that has gone away does not hear; his command is done all the same.
    fn answer(self) {
        for (job, answer) in self.jobs.into_iter().zip(self.answers) {
            let _ = job.answer.send(answer);
        }
    }
}

/// A batch on its way into the database.
struct Writing {
    jobs: Vec<Job>,
    answers: Vec<Result<Committed, Error>>,
    /// What is decided next stands on it already.
    batch: Arc<Batch>,
    task: JoinHandle<(Committer, Result<Written, StoreError>)>,
}

/// Decides, hands over to the committer, and answers.
pub(super) struct Worker {
    database: Database,
    log: Log,
    /// Reads what the commands ask for; the committer's connection is busy writing.
    reader: Option<Connection>,
    vault: Vault,
    ambient: Arc<dyn AmbientDebug>,
    settings: WriterSettings,
    on_commit: OnCommit,
    announce: watch::Sender<u64>,
    cache: Cache,
    /// Not yet decided, the oldest first.
    waiting: VecDeque<Job>,
    /// Decided; written as soon as the batch before it is.
    next: Prepared,
    writing: Option<Writing>,
    /// Stands for what is being written while nothing is.
    nothing: Layer,
    /// Away while it writes.
    committer: Option<Committer>,
    /// Where the log ends with all that has been decided.
    end: End,
    /// Times in a row that a batch had to be decided again: another process was faster, or a row stood
    /// in its way.
    races: usize,
    taken: usize,
}

/// Where the log ends, or will.
#[derive(Clone, Copy)]
struct End {
    position: u64,
    /// Microseconds since 1970.
    recorded_at: i64,
}

impl From<Head> for End {
    fn from(head: Head) -> Self {
        Self { position: head.position, recorded_at: head.recorded_at }
    }
}

impl Worker {
    pub(super) async fn connect(
        database: Database,
        vault: Vault,
        ambient: Arc<dyn AmbientDebug>,
        settings: WriterSettings,
        on_commit: OnCommit,
        announce: watch::Sender<u64>,
    ) -> Result<Self, StoreError> {
        // The pool belongs to the runtime that serves requests; this is another one.
        let database = database.apart();
        let committer = Committer::connect(&database).await?;
        announce.send_replace(committer.head().position);
        Ok(Self {
            log: Log::new(database.clone()),
            reader: Some(database.batch_connection().await?),
            database,
            vault,
            ambient,
            settings,
            on_commit,
            announce,
            cache: Cache::default(),
            waiting: VecDeque::new(),
            next: Prepared::default(),
            writing: None,
            nothing: Layer::default(),
            end: committer.head().into(),
            committer: Some(committer),
            races: 0,
            taken: 0,
        })
    }

    /// One that decides on top of what is committed, and writes nothing.
    pub(super) async fn beside(
        database: Database,
        vault: Vault,
        ambient: Arc<dyn AmbientDebug>,
    ) -> Result<Self, StoreError> {
        let log = Log::new(database.clone());
        Ok(Self {
            end: log.head().await?.into(),
            log,
            reader: Some(database.batch_connection().await?),
            database,
            vault,
            ambient,
            settings: WriterSettings::default(),
            on_commit: Box::new(|_| ()),
            announce: watch::channel(0).0,
            cache: Cache::default(),
            waiting: VecDeque::new(),
            next: Prepared::default(),
            writing: None,
            nothing: Layer::default(),
            committer: None,
            races: 0,
            taken: 0,
        })
    }

    /// What would follow from some commands, each on top of those before it.
    pub(super) async fn rehearse(
        mut self,
        submissions: Vec<Submission>,
    ) -> Result<Rehearsed, StoreError> {
        let job = |submission| Job { submission, answer: tokio::sync::oneshot::channel().0 };
        let jobs: Vec<_> = submissions.into_iter().map(job).collect();
        let mut left = &jobs[..];
        while !left.is_empty() {
            let (answers, batch) = self.decide(left).await?;
            left = &left[answers.len()..];
            self.stand_on(&batch);
            self.next.extend(Prepared { jobs: Vec::new(), answers, batch });
        }
        if let Some(reader) = self.reader.take() {
            reader.close().await;
        }
        let Prepared { answers, batch, .. } = self.next;
        let answers = answers.into_iter().map(|answer| answer.map(|it| it.reply)).collect();
        Ok(Rehearsed { answers, events: batch.events, views: batch.layer.views })
    }

    /// What is decided next comes behind a batch.
    fn stand_on(&mut self, batch: &Batch) {
        self.end.position += batch.events.len() as u64;
        if let Some(last) = batch.events.last() {
            self.end.recorded_at = last.recorded_at.timestamp_micros();
        }
    }

    /// Folds SQLite's write-ahead log into the file now and then, after something was committed.
    fn fold_log(&self) -> JoinHandle<()> {
        let (database, mut committed) = (self.database.clone(), self.announce.subscribe());
        tokio::spawn(async move {
            if database.engine() != Engine::Sqlite {
                return;
            }
            let mut connection = None;
            while committed.changed().await.is_ok() {
                let folded = async {
                    let connection = match &mut connection {
                        Some(connection) => connection,
                        none => none.insert(database.writer_connection().await?),
                    };
                    connection.fold_log().await
                };
                if let Err(error) = folded.await {
                    let cause: &dyn std::error::Error = &error;
                    tracing::warn!(error = cause, "the write-ahead log could not be folded");
                    connection = None;
                }
            }
        })
    }

    /// While one batch is written, the next is decided on top of it. No timer: what comes meanwhile fills
    /// it by itself.
    pub(super) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let folding = self.fold_log();
        let mut is_open = true;
        loop {
            let room = self.settings.batch_commands - self.next.jobs.len();
            while self.waiting.len() < room
                && let Ok(job) = jobs.try_recv()
            {
                self.waiting.push_back(job);
            }
            if self.writing.is_none() && !self.next.jobs.is_empty() {
                self.write_next();
            } else if room > 0 && self.waiting.len() >= self.worth_deciding() {
                self.decide_waiting(room).await;
            } else if let Some(writing) = &mut self.writing {
                tokio::select! {
                    written = &mut writing.task => self.written(written).await,
                    job = jobs.recv(), if is_open && self.waiting.len() < room => match job {
                        Some(job) => self.waiting.push_back(job),
                        None => is_open = false,
                    },
                }
            } else {
                match jobs.recv().await {
                    Some(job) => self.waiting.push_back(job),
                    None => break,
                }
            }
        }
        folding.abort();
        if let Some(reader) = self.reader.take() {
            reader.close().await;
        }
        if let Some(committer) = self.committer.take() {
            committer.close().await;
        }
        self.database.close().await;
    }

    /// How many commands have to wait before they are decided: each time costs a question to the
    /// database, so a batch is not made of ones and twos while there is time.
    fn worth_deciding(&self) -> usize {
        self.writing.as_ref().map_or(1, |writing| writing.jobs.len().div_ceil(DECIDED_IN_PARTS))
    }

    /// Hands the next batch to the committer.
    fn write_next(&mut self) {
        let Prepared { jobs, answers, mut batch } = std::mem::take(&mut self.next);
        metrics::histogram!("atrium_batch_commands").record(jobs.len() as f64);
        let documents = batch.take_rows();
        let batch = Arc::new(batch);
        let (jobs, answers) = if planted(Bug::AcknowledgeBeforeCommit) {
            let silent = |job: &Job| Job {
                submission: job.submission.clone(),
                answer: tokio::sync::oneshot::channel().0,
            };
            let unheard = jobs.iter().map(silent).collect();
            let nothing = jobs.iter().map(|_| Err(Error::Stopping)).collect();
            Prepared { jobs, answers, batch: Batch::default() }.answer();
            (unheard, nothing)
        } else {
            (jobs, answers)
        };
        let mut committer = self.committer.take().expect("nothing is being written");
        let to_write = batch.clone();
        let task = tokio::spawn(async move {
            let written = committer.write(&to_write, documents).await;
            (committer, written)
        });
        self.writing = Some(Writing { jobs, answers, batch, task });
    }

    /// Hears what became of the batch that was being written.
    async fn written(
        &mut self,
        written: Result<(Committer, Result<Written, StoreError>), JoinError>,
    ) {
        let Writing { jobs, answers, batch, .. } =
            self.writing.take().expect("only what is being written is heard of");
        let (mut committer, written) = written.unwrap_or_else(|panicked| {
            // A mistake in the program, and its connection went with it. What became of the batch, only the
            // log knows.
            let unknown = StoreError::outcome_unknown(panicked.into());
            (Committer::disconnected(&self.database), Err(unknown))
        });
        let again = match written {
            Ok(Written::Committed) => {
                (self.races, self.taken) = (0, 0);
                let head = committer.head();
                self.committer = Some(committer);
                let Batch { layer, events, .. } =
                    Arc::into_inner(batch).expect("the committer has let go of it");
                self.cache.remember(layer);
                metrics::counter!("atrium_events_total").increment(events.len() as u64);
                (self.on_commit)(&events);
                self.announce.send_replace(head.position);
                Prepared { jobs, answers, batch: Batch::default() }.answer();
                return;
            }
            Ok(Written::Outrun) if self.races < RACES_MAX => {
                self.races += 1;
                metrics::counter!("atrium_batches_outrun_total").increment(1);
                Ok(())
            }
            Ok(Written::Outrun) => {
                let what = "other processes were faster every time";
                Err(StoreError::Unsuitable(what.to_owned()))
            }
            Err(error) if error.is_taken() && self.taken < TAKEN_MAX => {
                self.taken += 1;
                Ok(())
            }
            Err(error) => Err(error),
        };
        let again = match again {
            Ok(()) => self.catch_up(&mut committer).await,
            Err(error) => Err(error),
        };
        // All that was decided stood on what has not become true: it is decided again.
        for job in std::mem::take(&mut self.next).jobs.into_iter().rev() {
            self.waiting.push_front(job);
        }
        match again {
            Ok(()) => {
                for job in jobs.into_iter().rev() {
                    self.waiting.push_front(job);
                }
            }
            Err(error) => {
                (self.races, self.taken) = (0, 0);
                committer.disconnect().await;
                self.fail(jobs, error);
            }
        }
        self.end = committer.head().into();
        self.committer = Some(committer);
    }

    /// Every one of these commands gets the same error, and what was known is forgotten: the database
    /// may be another one than we think.
    fn fail(&mut self, jobs: Vec<Job>, error: StoreError) {
        let cause: &dyn std::error::Error = &error;
        tracing::error!(error = cause, commands = jobs.len(), "commands could not be written");
        self.cache.clear();
        let unknown = matches!(error, StoreError::OutcomeUnknown(_));
        let unknown = unknown && !planted(Bug::UnknownIsNotDone);
        let error = Arc::new(error);
        for job in jobs {
            let same = if unknown { Error::OutcomeUnknown } else { Error::Storage(error.clone()) };
            let _ = job.answer.send(Err(same));
        }
    }

    /// Decides what waits, on top of what is decided and being written.
    async fn decide_waiting(&mut self, room: usize) {
        // Where nothing is written yet, a part is enough to begin with; the rest is decided meanwhile.
        let parts = if self.writing.is_none() { DECIDED_IN_PARTS } else { 1 };
        let part = self.waiting.len().div_ceil(parts).min(room);
        let jobs: Vec<_> = self.waiting.drain(..part).collect();
        match self.decide(&jobs).await {
            Ok((answers, batch)) => {
                self.stand_on(&batch);
                let mut jobs = jobs;
                for job in jobs.split_off(answers.len()).into_iter().rev() {
                    self.waiting.push_front(job);
                }
                self.next.extend(Prepared { jobs, answers, batch });
            }
            Err(error) => {
                self.reader = None;
                self.fail(jobs, error);
            }
        }
    }

    /// Runs every command, one after another; where something is missing, loads it with one
    /// statement for each table and runs them all again. It may end up with only the first ones of the
    /// commands: mostly all, always at least one.
    async fn decide(
        &mut self,
        mut jobs: &[Job],
    ) -> Result<(Vec<Result<Committed, Error>>, Batch), StoreError> {
        self.connect_again().await?;
        let mut loaded = Layer::default();
        self.load(&mut loaded, self.foreseen(jobs)).await?;
        for round in 1..=LOADS_MAX {
            let mut batch = Batch::default();
            let mut answers = Vec::with_capacity(jobs.len());
            let now = self.now();
            let mut wants = Wants::default();
            let mut first_to_miss = None;
            for (index, job) in jobs.iter().enumerate() {
                answers.push(self.run_one(&mut batch, &loaded, &job.submission, now, &mut wants));
                if !wants.is_empty() {
                    first_to_miss = first_to_miss.or(Some(index));
                }
            }
            match first_to_miss {
                None => {
                    metrics::histogram!("atrium_decision_rounds").record(round as f64);
                    self.cache.remember(loaded);
                    batch.write_down();
                    return Ok((answers, batch));
                }
                Some(index) if round >= LOADS_TOGETHER && index > 0 => jobs = &jobs[..index],
                Some(_) => {}
            }
            self.load(&mut loaded, wants).await?;
        }
        Err(StoreError::Unsuitable("a command keeps asking for more to be loaded".to_owned()))
    }

    /// When what is decided now is recorded. Recorded times never decrease, even where clocks do.
    fn now(&self) -> DateTime<Utc> {
        let now = self.ambient.now();
        if planted(Bug::TimeGoesBack) { now } else { now.max(time(self.end.recorded_at)) }
    }

    /// What is known before a part of a batch is decided, the newest first: what is decided, what is being
    /// written, what is in the database.
    fn layers(&self) -> [&Layer; 4] {
        let [young, old] = self.cache.layers();
        let writing = self.writing.as_ref().map_or(&self.nothing, |it| &it.batch.layer);
        [&self.next.batch.layer, writing, young, old]
    }

    fn run_one(
        &self,
        batch: &mut Batch,
        loaded: &Layer,
        submission: &Submission,
        now: DateTime<Utc>,
        wants: &mut Wants,
    ) -> Result<Committed, Error> {
        let [newest, newer, young, old] = self.layers();
        let ground = Ground {
            layers: &[&batch.layer, loaded, newest, newer, young, old],
            next_position: self.end.position + 1 + batch.events.len() as u64,
            now,
            ambient: self.ambient.as_ref(),
            vault: &self.vault,
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
            Ok(Err(Failure::Stopped(Stop::Refused(refusal)))) => {
                if let Some(idempotency) = &submission.idempotency
                    && planted(Bug::RefusalUsesKey)
                    && !was_rehearsal
                {
                    let key = reply_key(submission.caller, &idempotency.key);
                    let answer = serde_json::to_vec(&crate::Reply::nothing()).unwrap_or_default();
                    batch.take_in(unit.decided(), Some((key, idempotency.request, answer)));
                }
                Err(Error::Refused(refusal))
            }
            Ok(Err(Failure::Stopped(Stop::Unauthenticated))) => Err(Error::Unauthenticated),
            Err(_) => {
                if planted(Bug::PanicTakesNeighbours) {
                    *batch = Batch::default();
                }
                if !was_rehearsal {
                    tracing::error!(command = ?submission.command, "a command panicked");
                }
                Err(Error::Panicked)
            }
        }
    }

    /// Connects to a database that was away.
    async fn connect_again(&mut self) -> Result<(), StoreError> {
        if self.reader.is_none() {
            self.reader = Some(self.database.batch_connection().await?);
        }
        if let Some(committer) = &mut self.committer
            && !committer.is_connected()
        {
            committer.connect_again().await?;
            self.end = committer.head().into();
        }
        Ok(())
    }

    /// Learns what other processes have written since.
    async fn catch_up(&mut self, committer: &mut Committer) -> Result<(), StoreError> {
        let after = committer.head().position;
        let head = committer.look().await?.position;
        if head - after > CATCH_UP_MAX {
            self.cache.clear();
        } else {
            let after = after + u64::from(planted(Bug::CatchUpSkipsOne) && after < head);
            let mut pages = self.log.pages(after, head);
            while let Some(events) = pages.next().await? {
                events.iter().for_each(|event| self.cache.forget(event));
            }
        }
        self.announce.send_replace(head);
        Ok(())
    }
}

fn time(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or(DateTime::UNIX_EPOCH)
}
