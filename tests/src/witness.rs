//! The witness: drives load over HTTP against the real `atrium`, takes it away under it, and compares
//! what it was told with what the log says.
//!
//! It keeps a file of its own ([`journal`]), in which every command is before its request is sent, and
//! every answer before it counts. What it found is a [`Verdict`].

pub mod client;
pub mod journal;
pub mod server;
pub mod verdict;
pub mod wish;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use eventstore::{Database, Engine, Log};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sqlx::Connection as _;
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
const CLIENTS: usize = 16;
/// How long the load goes on before the server is killed, in milliseconds.
const LOAD_MILLIS: std::ops::Range<u64> = 300..1_300;
/// How long a server lives that is killed while it starts, in milliseconds.
const IN_VAIN_MILLIS: std::ops::Range<u64> = 0..400;
/// Longest that a client stays after sending, where it goes away.
const LEAVE_MICROS: u64 = 5_000;
/// Acknowledged commands that are asked again after each restart, the latest first.
const ASKED_AGAIN: usize = 32;
/// Times that an unknown outcome is asked for.
const TRIES_MAX: u32 = 50;
/// Between two of them.
const TRY_EVERY: Duration = Duration::from_millis(100);
/// Cycles on one database; then what it holds is judged, and the next begins with an empty one.
const CYCLES_PER_ROUND: u32 = 20;
/// Longest that a server may take for one request when a thousand clients have gone away.
const QUICK: Duration = Duration::from_secs(2);
/// Most sockets that a server with no load holds: to its database, and to clients that idle.
const SOCKETS_MAX: usize = 64;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// On which database.
    pub engine: Engine,
    /// Begins all that is random. What happens depends on the timing too.
    pub seed: u64,
    /// The `atrium` binary.
    pub binary: PathBuf,
    /// Whether what is on the disk stays there when something is wrong.
    pub keep: bool,
}

/// What was done, and what came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Servers killed under load.
    pub kills: u32,
    /// Servers killed while they started.
    pub kills_at_start: u32,
    /// Clients that went away after sending a whole command.
    pub gone: u64,
    /// Longest start after a kill.
    pub slowest_start: Duration,
    /// Whether everything is there.
    pub verdict: Verdict,
    /// What else is wrong: a law that does not hold.
    pub unlawful: Option<String>,
}

impl Report {
    /// Of a trial that could not be brought to its end.
    #[must_use]
    pub fn of_failure(error: &anyhow::Error) -> Self {
        Self { unlawful: Some(format!("{error:#}")), ..Self::default() }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.verdict.is_clean() && self.unlawful.is_none()
    }

    /// Adds another one.
    pub fn absorb(&mut self, other: Self) {
        self.kills += other.kills;
        self.kills_at_start += other.kills_at_start;
        self.gone += other.gone;
        self.slowest_start = self.slowest_start.max(other.slowest_start);
        self.verdict.absorb(other.verdict);
        self.unlawful = self.unlawful.take().or(other.unlawful);
    }

    /// What is wrong, in words; nothing where all is well.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.verdict.told.iter().chain(&self.unlawful).cloned().collect()
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = &self.verdict;
        write!(
            f,
            "kills {}, and {} at start; clients gone {}; commands {}: acknowledged {}, refused {}; \
             unknown for a while {}, of which done {}; events {}; slowest start {:.1?}\n ",
            self.kills,
            self.kills_at_start,
            self.gone,
            verdict.commands,
            verdict.acknowledged,
            verdict.refused,
            verdict.unknown,
            verdict.unknown_and_done,
            verdict.events,
            self.slowest_start,
        )?;
        for loss in Loss::ALL {
            write!(f, " {} {}", format!("{loss:?}").to_lowercase(), verdict.count(loss))?;
        }
        for complaint in self.complaints() {
            write!(f, "\n  {complaint}")?;
        }
        Ok(())
    }
}

/// Kills the server again and again under load. `progress` hears of every cycle.
///
/// # Errors
/// Where a server or its log is of no use any more. What is lost is in the report.
pub async fn kill(plan: &Plan, cycles: u32, mut progress: impl FnMut(String)) -> Result<Report> {
    let mut report = Report::default();
    let mut left = cycles;
    let mut seed = plan.seed;
    while left > 0 && report.is_clean() {
        let round = left.min(CYCLES_PER_ROUND);
        let mut witness = Witness::new(plan, seed).await?;
        let progress = |cycle: u32, told: String| {
            progress(format!("cycle {} of {cycles}: {told}", cycles - left + cycle));
        };
        let judged = witness.round(round, progress).await;
        report.absorb(witness.kept_unless_clean(judged)?);
        left -= round;
        seed += 1;
    }
    Ok(report)
}

/// Has many clients go away 0 to 5 ms after they have sent a command, and looks for what they left
/// behind.
///
/// # Errors
/// Where they left something behind that is no matter of the log.
pub async fn leave(plan: &Plan, clients: u32) -> Result<Report> {
    let mut witness = Witness::new(plan, plan.seed).await?;
    let judged = async {
        witness.leave(clients).await?;
        witness.judge().await
    };
    let judged = judged.await;
    witness.kept_unless_clean(judged)
}

/// One database, its journal, and the server that runs on it.
struct Witness {
    plan: Plan,
    dice: StdRng,
    database: TestDatabase,
    /// For the journal, the server's log, and the master key where the database has no folder.
    folder: Option<TempDir>,
    program: Program,
    server: Option<Server>,
    shared: Arc<Shared>,
    report: Report,
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

    /// Asks once, asks twice at the same time, or goes away, and then perhaps asks again at once.
    async fn pursue(&self, client: &Client, wish: &Wish, dice: &mut StdRng) -> Result<()> {
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
        Ok(())
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
            self.pursue(&client, &wish, &mut dice).await?;
        }
        Ok(())
    }

    /// Asks until there is an answer. Nothing that was asked before may be on its way.
    async fn settle(self: Arc<Self>, client: Client, wish: Wish) -> Result<()> {
        for _ in 0..TRIES_MAX {
            let answer = self.ask(&client, &wish).await?;
            if !matches!(answer, Answer::Unknown { .. }) {
                self.conclude(&wish, &[answer]);
                return Ok(());
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
        // The verdict will tell that it was never answered.
        Ok(())
    }
}

impl Witness {
    /// With an empty database.
    async fn new(plan: &Plan, seed: u64) -> Result<Self> {
        let database = TestDatabase::new(plan.engine).await?;
        let folder = tempfile::Builder::new().prefix("atrium-witness-").tempdir()?;
        let path = folder.path();
        let journal = Journal::create(&path.join("journal"))?;
        let program = Program {
            binary: plan.binary.clone(),
            place: database.place.clone(),
            folder: path.to_owned(),
        };
        let known =
            Known { wishes: Wishes::new(seed), open: Vec::new(), done: Vec::new(), gone: 0 };
        Ok(Self {
            plan: plan.clone(),
            dice: StdRng::seed_from_u64(seed),
            database,
            folder: Some(folder),
            program,
            server: None,
            shared: Arc::new(Shared {
                journal,
                known: Mutex::new(known),
                stopping: AtomicBool::new(false),
            }),
            report: Report::default(),
        })
    }

    /// Starts a server, and makes something to ask about.
    async fn prepare(&mut self) -> Result<()> {
        let client = self.start().await?;
        loop {
            let wish = self.shared.known().wishes.preparation();
            let Some(wish) = wish else { return Ok(()) };
            self.shared.intend(&wish).await?;
            let answer = self.shared.ask(&client, &wish).await?;
            let granted = matches!(answer, Answer::Acknowledged { .. });
            ensure!(granted, "{} {} was not granted: {answer:?}", wish.method, wish.path);
            self.shared.conclude(&wish, &[answer]);
        }
    }

    async fn start(&mut self) -> Result<Client> {
        let at = self.shared.journal.now();
        self.shared.journal.write(&Record::Starting { at }).await?;
        let server = self.program.start().await?;
        let client = Client::new(&server.url, &server.token)?;
        self.report.slowest_start = self.report.slowest_start.max(server.started_in);
        self.server = Some(server);
        Ok(client)
    }

    fn client(&self) -> Result<Client> {
        let server = self.server.as_ref().context("the server runs")?;
        Client::new(&server.url, &server.token)
    }

    /// Notes that nothing that was asked before is on its way any more.
    async fn fence(&self) -> Result<()> {
        let at = self.shared.journal.now();
        self.shared.journal.write(&Record::Fence { at }).await
    }

    /// Some cycles, and what came of them.
    async fn round(
        &mut self,
        cycles: u32,
        mut progress: impl FnMut(u32, String),
    ) -> Result<Report> {
        self.prepare().await?;
        for cycle in 1..=cycles {
            progress(cycle, self.cycle().await?);
        }
        self.judge().await
    }

    /// Load, `kill -9`, restart, recovery.
    async fn cycle(&mut self) -> Result<String> {
        let client = self.client()?;
        self.shared.stopping.store(false, Ordering::SeqCst);
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(self.shared.clone().drive(client.clone(), self.dice.random()));
        }
        let load = Duration::from_millis(self.dice.random_range(LOAD_MILLIS));
        tokio::time::sleep(load).await;
        if let Some(server) = self.server.take() {
            server.kill();
        }
        self.shared.stopping.store(true, Ordering::SeqCst);
        while let Some(client) = clients.join_next().await {
            client??;
        }
        self.report.kills += 1;
        self.fence().await?;

        while self.dice.random_range(0..4) == 0 {
            let at = self.shared.journal.now();
            self.shared.journal.write(&Record::Starting { at }).await?;
            let alive = Duration::from_millis(self.dice.random_range(IN_VAIN_MILLIS));
            self.program.start_in_vain(alive).await?;
            self.report.kills_at_start += 1;
        }
        let client = self.start().await?;
        let (open, done) = {
            let mut known = self.shared.known();
            (std::mem::take(&mut known.open), std::mem::take(&mut known.done))
        };
        let told = format!(
            "{} acknowledged and {} unknown in {load:?}; ready again after {:.0?}",
            done.len(),
            open.len(),
            self.server.as_ref().map(|server| server.started_in).unwrap_or_default(),
        );
        self.settle_all(&client, open).await?;
        let latest = done.into_iter().rev().take(ASKED_AGAIN).collect();
        self.settle_all(&client, latest).await?;
        self.shared.known().done.clear();
        Ok(told)
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

    /// Clients that go away, and what they must not leave behind.
    async fn leave(&mut self, clients: u32) -> Result<()> {
        self.prepare().await?;
        let client = self.client()?;
        let mut leaving = JoinSet::new();
        while self.shared.known().gone < u64::from(clients) {
            if leaving.len() == CLIENTS
                && let Some(left) = leaving.join_next().await
            {
                left??;
            }
            let (shared, client) = (self.shared.clone(), client.clone());
            let seed = self.dice.random();
            leaving.spawn(async move {
                let wish = shared.known().wishes.any();
                shared.intend(&wish).await?;
                let mut dice = StdRng::seed_from_u64(seed);
                let answer = shared.leave(&client, &wish, &mut dice).await?;
                shared.conclude(&wish, &[answer]);
                anyhow::Ok(())
            });
        }
        while let Some(left) = leaving.join_next().await {
            left??;
        }

        for _ in 0..10 {
            let wish = self.shared.known().wishes.any();
            self.shared.intend(&wish).await?;
            let began = Instant::now();
            let answer = self.shared.ask(&client, &wish).await?;
            let took = began.elapsed();
            ensure!(took < QUICK, "{answer:?} took {took:?}");
            self.shared.conclude(&wish, &[answer]);
        }
        self.until_quiet(&client).await?;
        self.fence().await?;
        self.no_session_is_left().await?;
        let open = std::mem::take(&mut self.shared.known().open);
        self.settle_all(&client, open).await?;
        self.no_socket_is_left().await
    }

    /// Waits until what was sent has been carried out: the log does not grow any more.
    async fn until_quiet(&self, client: &Client) -> Result<()> {
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

    /// No connection is in the middle of a transaction, and nobody holds a lock on the log.
    async fn no_session_is_left(&self) -> Result<()> {
        match &self.database.place {
            Place::Url(url) => {
                let mut connection = sqlx::PgConnection::connect(url).await?;
                let sessions: Vec<String> = sqlx::query_scalar(
                    "select state || ': ' || query from pg_stat_activity \
                     where datname = current_database() and pid <> pg_backend_pid() \
                     and state <> 'idle'",
                )
                .fetch_all(&mut connection)
                .await?;
                let held: Vec<_> =
                    sessions.iter().filter(|it| it.starts_with("idle in transaction")).collect();
                ensure!(held.is_empty(), "sessions are left: {held:?}");
                sqlx::query("select 1 from head where id = 1 for update nowait")
                    .execute(&mut connection)
                    .await
                    .context("somebody holds the head of the log")?;
                connection.close().await?;
            }
            Place::Folder(_) => {
                let database = self.database.open().await?;
                let mut connection = database.writer_connection().await?;
                let free = async {
                    connection.execute("pragma busy_timeout = 0", &[]).await?;
                    connection.execute("begin immediate", &[]).await?;
                    connection.execute("rollback", &[]).await
                };
                free.await.context("somebody holds the database")?;
                connection.close().await;
                database.close().await;
            }
        }
        Ok(())
    }

    /// The connections of those who went away are closed.
    async fn no_socket_is_left(&self) -> Result<()> {
        let server = self.server.as_ref().context("the server runs")?;
        let mut sockets = server.sockets()?;
        for _ in 0..50 {
            if sockets <= SOCKETS_MAX {
                return Ok(());
            }
            tokio::time::sleep(TRY_EVERY).await;
            sockets = server.sockets()?;
        }
        bail!("the server holds {sockets} sockets although hardly anybody is connected")
    }

    /// Stops the server in order, reads the whole log, compares it with the journal, and checks the
    /// laws.
    async fn judge(&mut self) -> Result<Report> {
        self.server.take().context("the server runs")?.stop().await?;
        let journal = journal::read(&self.program.folder.join("journal"))?;
        let database = self.database.open().await?;
        let log = read(&database).await?;
        let mut report = std::mem::take(&mut self.report);
        report.gone = self.shared.known().gone;
        report.verdict = judge(&journal, &log);
        report.unlawful = laws::check(&database).await.err().map(|error| format!("{error:#}"));
        database.close().await;
        Ok(report)
    }

    /// Keeps what is on the disk where something is wrong, and says where it is.
    fn kept_unless_clean(mut self, judged: Result<Report>) -> Result<Report> {
        if !self.plan.keep || judged.as_ref().is_ok_and(Report::is_clean) {
            return judged;
        }
        self.database.keep();
        let folder = self.program.folder.clone();
        if let Some(folder) = self.folder.take() {
            let _ = folder.keep();
        }
        let (place, folder) = (&self.program.place, folder.display());
        let place = format!("kept: {place:?}; journal and server's log in {folder}");
        match judged {
            Ok(mut report) => {
                report.verdict.told.push(place);
                Ok(report)
            }
            Err(error) => Err(error.context(place)),
        }
    }
}

/// The whole log.
async fn read(database: &Database) -> Result<Vec<Effect>> {
    let log = Log::new(database.clone());
    let mut effects = Vec::new();
    loop {
        let page = log.read(effects.len() as u64, u64::MAX, eventstore::READ_MAX).await?;
        if page.is_empty() {
            return Ok(effects);
        }
        for stored in page {
            effects.push(Effect::from(&stored.decode()?));
        }
    }
}
