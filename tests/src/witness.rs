//! The witness: drives load over HTTP against the real `atrium`, and compares what it was told with what the log
//! says.
//!
//! It keeps a file of its own ([`journal`]), in which every command is before its request is sent, and every answer
//! before it counts. What it found is a [`Verdict`]. What happens to the server meanwhile is up to whoever has it
//! ([`crate::prove`]).

pub mod client;
pub mod journal;
pub mod server;
pub mod verdict;
pub mod wish;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use domain::event::Recorded;
use eventstore::{Database, Engine, Log};
use projections::Persons;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::laws;
use crate::world::{Place, TestDatabase};
use client::{Client, Leaving};
use journal::{Answer, Journal, Record};
use server::{Program, Server};
use verdict::{Loss, Verdict, judge};
use wish::{Effect, Wish, Wishes};

/// Clients at a time.
pub const CLIENTS: usize = 16;
/// Longest that a client stays after sending, where it goes away.
const LEAVE_MICROS: u64 = 5_000;
/// Acknowledged commands that are asked again after each fault, the latest first.
const ASKED_AGAIN: usize = 32;
/// Times that an unknown outcome is asked for.
const TRIES_MAX: u32 = 200;
/// Times that all outcomes that nobody knows are asked for.
const ROUNDS_MAX: u32 = 3;
/// Between two requests for one outcome.
const TRY_EVERY: Duration = Duration::from_millis(100);
/// Longest that a client waits before it goes on after it got no answer, in milliseconds.
const PAUSE_MILLIS: u64 = 40;

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Plan {
    /// On which database.
    pub engine: Engine,
    /// Begins all that is random. What happens depends on the timing too.
    pub seed: u64,
    /// The `atrium` binary.
    pub binary: PathBuf,
}

/// What was done, and what came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was done, and how often.
    pub done: BTreeMap<&'static str, u64>,
    /// Longest start of a server after a fault.
    pub slowest_start: Duration,
    /// Whether everything is there.
    pub verdict: Verdict,
    /// What else is wrong: a law that does not hold, a server that did not come back.
    pub unlawful: Vec<String>,
    /// What could not be tried on this machine, and why.
    pub skipped: Vec<String>,
}

impl Report {
    /// Of a trial that could not be brought to its end.
    #[must_use]
    pub fn of_failure(error: &anyhow::Error) -> Self {
        Self { unlawful: vec![format!("{error:#}")], ..Self::default() }
    }

    /// Counts something that was done.
    pub fn count(&mut self, what: &'static str, times: u64) {
        *self.done.entry(what).or_default() += times;
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.verdict.is_clean() && self.unlawful.is_empty()
    }

    /// Adds another one.
    pub fn absorb(&mut self, other: Self) {
        for (what, times) in other.done {
            self.count(what, times);
        }
        self.slowest_start = self.slowest_start.max(other.slowest_start);
        self.verdict.absorb(other.verdict);
        self.unlawful.extend(other.unlawful);
        self.skipped.extend(other.skipped);
    }

    /// What is wrong, in words; nothing where all is well.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.verdict.told.iter().chain(&self.unlawful).cloned().collect()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let done: Vec<_> =
            self.done.iter().map(|(what, times)| format!("{what} {times}")).collect();
        let verdict = &self.verdict;
        write!(f, "{}", done.join(", "))?;
        if verdict.commands > 0 {
            write!(
                f,
                "; commands {}: acknowledged {}, refused {}; unknown for a while {}, of which done {}; events {}\n ",
                verdict.commands,
                verdict.acknowledged,
                verdict.refused,
                verdict.unknown,
                verdict.unknown_and_done,
                verdict.events,
            )?;
            for loss in Loss::ALL {
                write!(f, " {} {}", format!("{loss:?}").to_lowercase(), verdict.count(loss))?;
            }
        }
        if !self.slowest_start.is_zero() {
            write!(f, "; slowest start {:.1?}", self.slowest_start)?;
        }
        for complaint in self.complaints() {
            write!(f, "\n  WRONG: {complaint}")?;
        }
        for skipped in &self.skipped {
            write!(f, "\n  NOT TRIED: {skipped}")?;
        }
        Ok(())
    }
}

/// One installation, the journal of what it was asked, and those who ask.
pub struct Witness {
    /// Throws what is random.
    pub dice: StdRng,
    /// Starts servers on it.
    pub program: Program,
    /// What was done so far.
    pub report: Report,
    database: TestDatabase,
    /// For the journal, the servers' logs, and the master key where the database has no folder.
    folder: Option<TempDir>,
    shared: Arc<Shared>,
}

/// Clients that ask for one thing after another, until they are told to end.
#[must_use = "those who are not told to end go on"]
pub struct Load {
    clients: JoinSet<Result<()>>,
    shared: Arc<Shared>,
}

impl Load {
    /// Tells the clients to end, and waits for what they have asked.
    ///
    /// # Errors
    /// Where the journal could not be written.
    pub async fn end(mut self) -> Result<()> {
        self.shared.stopping.store(true, Ordering::SeqCst);
        while let Some(client) = self.clients.join_next().await {
            client??;
        }
        Ok(())
    }

    /// Commands that were acknowledged since the last recovery.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.shared.known().done.len()
    }

    /// Waits until so many more commands have been acknowledged.
    ///
    /// # Errors
    /// Where that takes longer than it may.
    pub async fn until_acknowledged(&self, more: usize, within: Duration) -> Result<()> {
        let enough = self.acknowledged() + more;
        let waiting = async {
            while self.acknowledged() < enough {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(within, waiting).await;
        waited.with_context(|| format!("no {more} commands were acknowledged within {within:?}"))
    }
}

/// What the clients share.
struct Shared {
    journal: Journal,
    known: Mutex<Known>,
    stopping: AtomicBool,
}

/// What the clients know together.
struct Known {
    wishes: Wishes,
    /// Commands whose outcome nobody knows.
    open: Vec<Wish>,
    /// The latest commands that were acknowledged.
    done: Vec<Wish>,
    gone: u64,
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one request of a command whose intent is in the journal; notes the outcome.
    async fn ask(&self, client: &Client, wish: &Wish) -> Result<Answer> {
        let sent_at = self.journal.now();
        let answer = client.ask(wish).await;
        self.note(wish, sent_at, answer).await
    }

    async fn note(&self, wish: &Wish, sent_at: u64, answer: Answer) -> Result<Answer> {
        let (key, ended_at) = (wish.intent.key.clone(), self.journal.now());
        let outcome = Record::Outcome { key, sent_at, ended_at, answer: answer.clone() };
        self.journal.write(&outcome).await?;
        Ok(answer)
    }

    async fn intend(&self, wish: &Wish) -> Result<()> {
        self.journal.write(&Record::Intent(wish.intent.clone())).await
    }

    /// Asks once, asks twice at the same time, or goes away, and then perhaps asks again at once; says whether
    /// there was an answer.
    async fn pursue(&self, client: &Client, wish: &Wish, dice: &mut StdRng) -> Result<bool> {
        self.intend(wish).await?;
        let mut answers = Vec::new();
        match dice.random_range(0..20) {
            0 => {
                let both = tokio::join!(self.ask(client, wish), self.ask(client, wish));
                answers.extend([both.0?, both.1?]);
            }
            1..4 => {
                answers.push(self.leave(client, wish, dice).await?);
                if dice.random() {
                    answers.push(self.ask(client, wish).await?);
                }
            }
            _ => answers.push(self.ask(client, wish).await?),
        }
        self.conclude(wish, &answers);
        Ok(!matches!(answers.last(), Some(Answer::Unknown { .. })))
    }

    async fn leave(&self, client: &Client, wish: &Wish, dice: &mut StdRng) -> Result<Answer> {
        let leaving = match dice.random_range(0..5) {
            0 => Leaving::HalfSent,
            1 => Leaving::Reset,
            _ => Leaving::Close,
        };
        let after = Duration::from_micros(dice.random_range(0..=LEAVE_MICROS));
        let sent_at = self.journal.now();
        let answer = client.leave(wish, leaving, after).await;
        self.known().gone += u64::from(leaving != Leaving::HalfSent);
        self.note(wish, sent_at, answer).await
    }

    fn conclude(&self, wish: &Wish, answers: &[Answer]) {
        let mut known = self.known();
        let done = answers.iter().find(|answer| matches!(answer, Answer::Acknowledged { .. }));
        if let Some(done) = done {
            known.wishes.learn(wish, done);
            known.done.push(wish.clone());
        } else if answers.iter().any(|answer| matches!(answer, Answer::Unknown { .. })) {
            known.open.push(wish.clone());
        }
    }

    /// One client: one command after another until the witness stops.
    async fn drive(self: Arc<Self>, client: Client, seed: u64) -> Result<()> {
        let mut dice = StdRng::seed_from_u64(seed);
        while !self.stopping.load(Ordering::SeqCst) {
            let wish = self.known().wishes.any();
            if !self.pursue(&client, &wish, &mut dice).await? {
                tokio::time::sleep(Duration::from_millis(dice.random_range(1..=PAUSE_MILLIS)))
                    .await;
            }
        }
        Ok(())
    }

    /// One client that asks for each thing until it has an answer.
    async fn insist(self: Arc<Self>, client: Client) -> Result<()> {
        while !self.stopping.load(Ordering::SeqCst) {
            let wish = self.known().wishes.any();
            self.intend(&wish).await?;
            self.clone().settle(client.clone(), wish).await?;
        }
        Ok(())
    }

    /// Asks until there is an answer.
    async fn settle(self: Arc<Self>, client: Client, wish: Wish) -> Result<()> {
        let mut was_unknown = false;
        for _ in 0..TRIES_MAX {
            let answer = self.ask(&client, &wish).await?;
            let is_unknown = matches!(answer, Answer::Unknown { .. });
            if !is_unknown {
                let is_refused = matches!(answer, Answer::Refused { .. });
                self.conclude(&wish, &[answer]);
                if was_unknown && is_refused {
                    // The request without an answer may still be on its way.
                    self.known().open.push(wish);
                }
                return Ok(());
            }
            was_unknown = true;
            tokio::time::sleep(TRY_EVERY).await;
        }
        // Unless it is asked again, the verdict will tell that it was never answered.
        self.known().open.push(wish);
        Ok(())
    }
}

impl Witness {
    /// With an empty database of its own.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn new(plan: &Plan) -> Result<Self> {
        Self::on(plan, TestDatabase::new(plan.engine).await?)
    }

    /// On a database.
    ///
    /// # Errors
    /// Where there is no room for the journal.
    pub fn on(plan: &Plan, database: TestDatabase) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("atrium-witness-").tempdir()?;
        let path = folder.path().to_owned();
        let journal = Journal::create(&path.join("journal"))?;
        let program = Program::new(plan.binary.clone(), database.place.clone(), path);
        let wishes = Wishes::new(plan.seed);
        let known = Known { wishes, open: Vec::new(), done: Vec::new(), gone: 0 };
        Ok(Self {
            dice: StdRng::seed_from_u64(plan.seed),
            program,
            report: Report::default(),
            database,
            folder: Some(folder),
            shared: Arc::new(Shared {
                journal,
                known: Mutex::new(known),
                stopping: AtomicBool::new(false),
            }),
        })
    }

    /// Where the journal and the servers' logs are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.program.folder
    }

    /// Starts a server, and makes something to ask about.
    ///
    /// # Errors
    /// Where it does not get ready.
    pub async fn prepare(&mut self) -> Result<Server> {
        let server = self.start().await?;
        let client = Client::to(&server)?;
        loop {
            let wish = self.shared.known().wishes.preparation();
            let Some(wish) = wish else { return Ok(server) };
            self.shared.intend(&wish).await?;
            let answer = self.shared.ask(&client, &wish).await?;
            let granted = matches!(answer, Answer::Acknowledged { .. });
            ensure!(granted, "{} {} was not granted: {answer:?}", wish.method, wish.path);
            self.shared.conclude(&wish, &[answer]);
        }
    }

    /// Starts a server, after a fault for instance.
    ///
    /// # Errors
    /// Where it does not get ready.
    pub async fn start(&mut self) -> Result<Server> {
        self.note_start().await?;
        let server = self.program.start().await?;
        self.report.slowest_start = self.report.slowest_start.max(server.started_in);
        Ok(server)
    }

    /// Starts a server, and kills it before it can be ready, or a little after.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub async fn start_in_vain(&mut self, alive: Duration) -> Result<()> {
        self.note_start().await?;
        self.program.start_in_vain(alive).await
    }

    async fn note_start(&self) -> Result<()> {
        let at = self.shared.journal.now();
        self.shared.journal.write(&Record::Starting { at }).await
    }

    /// Has clients ask for all kinds of things, in all ways: once, twice at a time, and going away.
    pub fn load(&mut self, clients: &[Client]) -> Load {
        self.drive_with(clients, Shared::drive)
    }

    /// Has clients ask for one thing after another, each until there is an answer.
    pub fn insisting_load(&mut self, clients: &[Client]) -> Load {
        self.drive_with(clients, |shared, client, _| shared.insist(client))
    }

    fn drive_with<F>(
        &mut self,
        clients: &[Client],
        drive: impl Fn(Arc<Shared>, Client, u64) -> F,
    ) -> Load
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.shared.stopping.store(false, Ordering::SeqCst);
        let mut driven = JoinSet::new();
        for client in clients.iter().cycle().take(CLIENTS.max(clients.len())) {
            driven.spawn(drive(self.shared.clone(), client.clone(), self.dice.random()));
        }
        Load { clients: driven, shared: self.shared.clone() }
    }

    /// Has so many clients go away a moment after they have sent a command.
    ///
    /// # Errors
    /// Where the journal could not be written.
    pub async fn leave(&mut self, client: &Client, clients: u64) -> Result<()> {
        let enough = self.gone() + clients;
        let mut leaving = JoinSet::new();
        while self.gone() < enough {
            if leaving.len() == CLIENTS
                && let Some(left) = leaving.join_next().await
            {
                left??;
            }
            let (shared, client) = (self.shared.clone(), client.clone());
            let mut dice = StdRng::seed_from_u64(self.dice.random());
            leaving.spawn(async move {
                let wish = shared.known().wishes.any();
                shared.intend(&wish).await?;
                let answer = shared.leave(&client, &wish, &mut dice).await?;
                shared.conclude(&wish, &[answer]);
                anyhow::Ok(())
            });
        }
        while let Some(left) = leaving.join_next().await {
            left??;
        }
        Ok(())
    }

    fn gone(&self) -> u64 {
        self.shared.known().gone
    }

    /// One more thing to ask for, which is not in the journal.
    #[must_use]
    pub fn wish(&self) -> Wish {
        self.shared.known().wishes.any()
    }

    /// Asks for one more thing.
    ///
    /// # Errors
    /// Where the journal could not be written.
    pub async fn ask(&self, client: &Client) -> Result<Answer> {
        let wish = self.shared.known().wishes.any();
        self.shared.intend(&wish).await?;
        let answer = self.shared.ask(client, &wish).await?;
        self.shared.conclude(&wish, std::slice::from_ref(&answer));
        Ok(answer)
    }

    /// Notes that nothing that was asked before is on its way any more, asks again for every outcome that nobody
    /// knows, and for the latest that were acknowledged. Gives how many were acknowledged and unknown.
    ///
    /// # Errors
    /// Where the journal could not be written.
    pub async fn recover(&self, client: &Client) -> Result<(usize, usize)> {
        let done = std::mem::take(&mut self.shared.known().done);
        let mut counts = (done.len(), 0);
        for _ in 0..ROUNDS_MAX {
            let at = self.shared.journal.now();
            self.shared.journal.write(&Record::Fence { at }).await?;
            let open = std::mem::take(&mut self.shared.known().open);
            counts.1 = open.len().max(counts.1);
            self.settle_all(client, open).await?;
            if self.shared.known().open.is_empty() {
                break;
            }
        }
        let latest = done.into_iter().rev().take(ASKED_AGAIN).collect();
        self.settle_all(client, latest).await?;
        self.shared.known().done.clear();
        Ok(counts)
    }

    /// Asks for the outcome of many commands, some at a time.
    async fn settle_all(&self, client: &Client, wishes: Vec<Wish>) -> Result<()> {
        let mut asking = JoinSet::new();
        for wish in wishes {
            if asking.len() == CLIENTS
                && let Some(asked) = asking.join_next().await
            {
                asked??;
            }
            asking.spawn(self.shared.clone().settle(client.clone(), wish));
        }
        while let Some(asked) = asking.join_next().await {
            asked??;
        }
        Ok(())
    }

    /// Waits until what was sent has been carried out: the log does not grow any more.
    ///
    /// # Errors
    /// Where it does not end.
    pub async fn until_quiet(&self, client: &Client) -> Result<()> {
        let mut before = None;
        for _ in 0..100 {
            let metrics = client.get("/metrics").await?;
            let position = metrics.lines().find(|line| line.starts_with("atrium_log_position "));
            let position = Some(position.context("the server tells its position")?.to_owned());
            if position == before {
                return Ok(());
            }
            before = position;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        bail!("the log grows although nobody asks for anything")
    }

    /// Opens the database, beside the servers or after them.
    ///
    /// # Errors
    /// What it says.
    pub async fn open(&self) -> Result<Database> {
        self.database.open().await
    }

    /// The database is somewhere else from now on.
    pub fn move_to(&mut self, place: Place) {
        self.program.place = place.clone();
        self.database.place = place;
    }

    /// Opens the persons of the installation, with its master key.
    pub(crate) fn persons(&self) -> Result<Persons> {
        let folder = match &self.program.place {
            Place::Folder(folder) => folder,
            Place::Url(_) => &self.program.folder,
        };
        let key = api::keys::read_or_make_master_key(&folder.join("master.key"), false)?;
        Ok(Persons::new(api::keys::Keys::derive(&key).vault()))
    }

    /// Reads the whole log, compares it with the journal, and checks the laws. No server runs any more.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn judge(&mut self) -> Result<Report> {
        let journal = journal::read(&self.folder().join("journal"))?;
        let database = self.open().await?;
        let log = read(&database, &self.persons()?).await?;
        let mut report = std::mem::take(&mut self.report);
        let gone = self.gone();
        if gone > 0 {
            report.count("clients gone", gone);
        }
        report.verdict = judge(&journal, &log);
        report
            .unlawful
            .extend(laws::check(&database).await.err().map(|error| format!("{error:#}")));
        database.close().await;
        Ok(report)
    }

    /// Keeps what is on the disk where something is wrong, and says where it is.
    ///
    /// # Errors
    /// The error that it is given.
    pub fn kept_unless_clean(mut self, judged: Result<Report>) -> Result<Report> {
        if judged.as_ref().is_ok_and(Report::is_clean) {
            return judged;
        }
        self.database.keep();
        let folder = self.program.folder.clone();
        if let Some(folder) = self.folder.take() {
            let _ = folder.keep();
        }
        let (place, folder) = (&self.program.place, folder.display());
        let place = format!("kept: {place:?}; journal and servers' logs in {folder}");
        match judged {
            Ok(mut report) => {
                report.unlawful.push(place);
                Ok(report)
            }
            Err(error) => Err(error.context(place)),
        }
    }
}

/// The whole log.
///
/// # Errors
/// Where it cannot be read.
pub async fn read(database: &Database, persons: &Persons) -> Result<Vec<Effect>> {
    let log = Log::new(database.clone());
    let mut effects = Vec::new();
    loop {
        let page = log.read(effects.len() as u64, u64::MAX, eventstore::READ_MAX).await?;
        if page.is_empty() {
            return Ok(effects);
        }
        let events = page.iter().map(eventstore::Stored::decode).collect::<Result<Vec<_>, _>>()?;
        let subjects = events.iter().filter_map(Recorded::subject);
        let opened = persons.unlock(database, subjects).await?;
        effects.extend(events.iter().map(|event| Effect::new(event, &opened)));
    }
}
