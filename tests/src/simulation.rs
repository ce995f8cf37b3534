//! A whole installation in one process, from a seed: users of several tenants, processes that crash, commits whose
//! answers get lost, clocks that jump. Everything is the real one but for the clock, the ids and the faults, and runs
//! on one thread, so that a seed always gives the same trace.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use chrono::{DateTime, Utc};
use commands::{Command, Committed, Error, Reply, Submission, Writer, WriterSettings};
use domain::TenantPath;
use domain::billing::Period;
use domain::event::{Actor, Event, Recorded};
use domain::lifecycle::{Status, Transition};
use domain::organization::{Kind, OrganizationEvent};
use eventstore::{Chain, Database, Engine, Hash, Log};
use projections::finder::{self, Cursor, End, EventQuery, Query, Scope};
use projections::ledger::{self, Question, Side};
use projections::views::{
    ActivityView, DELETED, OrganizationView, OverrideView, RequestView, SubscriptionView, UserView,
};
use projections::{Below, View, Views, Wants};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

use crate::history::History;
use crate::laws;
use crate::world::{TestAmbient, TestDatabase, at_once, persons, vault};

/// Steps of a simulation that has no other number.
pub const STEPS: usize = 18;
/// Steps that must succeed for there to be anything to disturb.
const FIRST_STEPS: usize = 5;
/// Lines of the trace that are shown when something is wrong.
const TRACE_SHOWN: usize = 60;
/// Longest that a step may take: nothing here waits for anything but a local file.
const STEP_SECONDS: u64 = 60;
/// Periods that are billed when statements are compared.
const PERIODS: usize = 3;

/// What a simulation went through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Of everything that was asked, answered and stored: the same seed gives the same hash.
    pub hash: Hash,
    /// The last lines.
    pub end: VecDeque<String>,
    /// How often each sort of trouble really came.
    pub troubles: BTreeMap<&'static str, u64>,
    /// Commands that were asked.
    pub asked: u64,
    /// Commands whose outcome was unknown at first.
    pub unknown: u64,
    /// Events in the log at the end.
    pub events: u64,
}

impl Trace {
    fn tell(&mut self, line: String) {
        let mut hash = Sha256::new();
        hash.update(self.hash);
        hash.update(&line);
        self.hash = hash.finalize().into();
        self.end.push_back(line);
        if self.end.len() > TRACE_SHOWN {
            self.end.pop_front();
        }
    }
}

/// Runs a simulation to its end.
///
/// # Errors
/// What must not be, with the end of the trace.
pub async fn run(seed: u64, engine: Engine, steps: usize) -> Result<Trace> {
    let mut simulation = Simulation::new(seed, engine).await?;
    let outcome = simulation.run(steps).await;
    disarm();
    let shown = simulation.trace.end.iter().fold(String::new(), |mut text, line| {
        writeln!(text, "  {line}").expect("a String takes all");
        text
    });
    outcome.with_context(|| format!("the trace ends with\n{shown}"))?;
    Ok(simulation.trace)
}

/// What goes wrong while a burst of commands is carried out.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    name: &'static str,
    /// The failpoint and what it does; none where the process dies.
    fault: Option<(&'static str, &'static str)>,
}

/// Each is as likely as the others.
const TROUBLES: [Trouble; 14] = [
    fault("begin fails", "eventstore::append::begin", "1*return"),
    fault("the second begin fails", "eventstore::append::begin", "1*off->1*return"),
    fault("head fails", "eventstore::append::head", "1*return"),
    fault("a write fails", "eventstore::bulk::write", "1*return"),
    fault("a later write fails", "eventstore::bulk::write", "3*off->1*return"),
    fault("commit fails", "eventstore::append::commit", "1*return"),
    fault("the second commit fails", "eventstore::append::commit", "1*off->1*return"),
    fault("the answer is lost", "eventstore::append::committed", "1*return"),
    fault("the second answer is lost", "eventstore::append::committed", "1*off->1*return"),
    fault("a write panics", "eventstore::bulk::write", "1*panic"),
    fault("commit panics", "eventstore::append::commit", "1*panic"),
    fault("committed, and panics", "eventstore::append::committed", "1*panic"),
    fault("loading fails", "commands::load", "1*return"),
    Trouble { name: "the process dies after a commit", fault: None },
];

const fn fault(name: &'static str, point: &'static str, action: &'static str) -> Trouble {
    Trouble { name, fault: Some((point, action)) }
}

/// No failpoint does anything any more.
fn disarm() {
    fail::list().iter().for_each(|(name, _)| fail::remove(name));
}

/// A process: its connections and its writer.
struct Process {
    database: Database,
    writer: Writer,
    task: JoinHandle<()>,
    dies: Arc<AtomicBool>,
}

impl Process {
    async fn start(place: &TestDatabase, ambient: &Arc<TestAmbient>) -> Result<Self> {
        let database = place.open().await?;
        let dies = Arc::new(AtomicBool::new(false));
        let dying = dies.clone();
        let on_commit = move |_: &[Recorded]| {
            assert!(!dying.load(Ordering::SeqCst), "the process was asked to panic");
        };
        let settings = WriterSettings { batch_commands: 16, ..WriterSettings::default() };
        let (writer, task) = Writer::start_here(
            database.clone(),
            vault(),
            ambient.clone(),
            settings,
            Box::new(on_commit),
        )
        .await?;
        Ok(Self { database, writer, task, dies })
    }

    /// Ends as it should.
    async fn stop(self) {
        drop(self.writer);
        let _ = self.task.await;
        self.database.close().await;
    }

    /// Ends as by `kill -9`: nobody says good-bye.
    async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// What the log says, folded one event after the other: what readers must be shown.
#[derive(Default)]
struct Model {
    events: Vec<Recorded>,
    views: Views,
    /// The last version of each stream.
    versions: HashMap<String, u64>,
    /// The last version of what the streams are about.
    subjects: HashMap<String, u64>,
    chain: Option<Chain>,
}

struct Known<'a>(&'a Views);

impl Below for Known<'_> {
    fn document<V: View>(&self, key: &str) -> Option<Option<Arc<V>>> {
        Some(V::of(self.0).get(key).cloned().flatten())
    }

    fn keys_at<V: View>(&self, path: &TenantPath, _wants: &mut Wants) -> BTreeSet<String> {
        V::of(self.0).keys_at(path).collect()
    }
}

impl Model {
    fn take(&mut self, event: Recorded, body: &[u8]) -> Result<()> {
        let at = format!("position {}", event.position);
        ensure!(event.position == self.events.len() as u64 + 1, "{at} is out of order");
        let before = self.events.last().map(|last| last.recorded_at);
        ensure!(before.is_none_or(|it| it <= event.recorded_at), "{at} goes back in time");
        let version = self.versions.entry(event.stream.clone()).or_default();
        *version += 1;
        let subject = event.stream.split_once('-').map_or("", |(_, subject)| subject);
        self.subjects.insert(subject.to_owned(), *version);
        ensure!(event.version == *version, "{at} is not version {version} of {}", event.stream);
        self.chain.get_or_insert(Chain(eventstore::GENESIS)).extend(body);
        let mut changed = Views::default();
        changed.fold(&event, &Known(&self.views), &mut Wants::default());
        self.views.absorb(changed);
        self.events.push(event);
        Ok(())
    }

    /// Whether somebody, or an organisation above him, is disabled.
    fn is_shut_out(&self, actor: Actor) -> bool {
        let Actor::User(id) = actor else { return false };
        let user = self.views.users.get(&id.to_string()).cloned().flatten();
        let Some(user) = user else { return true };
        let mut next = Some(user.organization);
        let mut is_shut_out = user.status != Status::Active;
        while let Some(id) = next {
            let organization = self.views.organizations.get(&id.to_string()).cloned().flatten();
            is_shut_out |= organization.as_ref().is_none_or(|it| it.status != Status::Active);
            next = organization.and_then(|it| it.parent);
        }
        is_shut_out
    }

    fn documents<V: View>(&self, scope: &TenantPath) -> Vec<(Cursor, Arc<V>)> {
        let of_scope = V::of(&self.views).iter().filter_map(|(key, document)| {
            let index = document.index();
            let cursor = Cursor { sort: index.sort, key: key.clone() };
            index.path.starts_with(scope.as_str()).then(|| (cursor, document.clone()))
        });
        let mut documents: Vec<_> = of_scope.collect();
        documents.sort_by(|(a, _), (b, _)| (&a.sort, &a.key).cmp(&(&b.sort, &b.key)));
        documents
    }
}

/// Whose key it is, and which.
type Key = (String, String);

struct Simulation {
    rng: StdRng,
    place: TestDatabase,
    ambient: Arc<TestAmbient>,
    history: History,
    processes: Vec<Process>,
    model: Model,
    /// What was answered under a key, to which request.
    answered: BTreeMap<Key, (Submission, String)>,
    /// What was asked under a key and never answered: each of these requests may have been done.
    unknown: BTreeMap<Key, Vec<Submission>>,
    /// A bill of before, as it was known then, and what it came to.
    bill: Option<(Question, Vec<Period>, Vec<String>)>,
    trace: Trace,
}

/// What a burst may have added to the log.
#[derive(Default)]
struct Bounds {
    least: usize,
    most: usize,
    /// Versions that were acknowledged: of what, and which.
    versions: Vec<(String, u64)>,
}

impl Simulation {
    async fn new(seed: u64, engine: Engine) -> Result<Self> {
        let place = TestDatabase::volatile(engine).await?;
        let ambient = TestAmbient::at("2019-01-01T00:00:00Z");
        let processes = vec![Process::start(&place, &ambient).await?];
        Ok(Self {
            // Another one than the history's, so that a fault does not change what is asked.
            rng: StdRng::seed_from_u64(seed.wrapping_add(1 << 40)),
            place,
            ambient,
            history: History::wild(seed),
            processes,
            model: Model::default(),
            answered: BTreeMap::new(),
            unknown: BTreeMap::new(),
            bill: None,
            trace: Trace::default(),
        })
    }

    async fn run(&mut self, steps: usize) -> Result<()> {
        for number in 1..=steps {
            let limit = Duration::from_secs(STEP_SECONDS);
            let step = tokio::time::timeout(limit, self.step(number, steps)).await;
            step.map_err(|_| anyhow!("it hangs"))
                .flatten()
                .with_context(|| format!("step {number}"))?;
        }
        self.settle().await.context("when everything should have settled")
    }

    async fn step(&mut self, number: usize, steps: usize) -> Result<()> {
        let is_first = number <= FIRST_STEPS;
        let step = self.history.step();
        self.ambient.set(&step.now.to_rfc3339());
        let at = self.rng.random_range(0..self.processes.len());
        self.trace.tell(format!("step {number} at {}, process {at}", step.now));
        let trouble = (!is_first && self.rng.random_bool(0.4)).then(|| self.begin_trouble(at));
        let answers = self.ask(at, step.submissions.clone()).await;
        let bounds = self.judge(&step.submissions, &answers)?;
        self.history.learn(&step, &answers);
        disarm();
        if let Some(trouble) = trouble.transpose()? {
            let came = answers
                .iter()
                .any(|answer| matches!(answer, Err(Error::OutcomeUnknown | Error::Storage(_))));
            if came {
                *self.trace.troubles.entry(trouble.name).or_default() += 1;
            }
        }
        if self.processes[at].writer.has_ended() {
            self.trace.tell(format!("process {at} is started again"));
            self.replace(at, Process::crash).await?;
        }
        self.processes[at].dies.store(false, Ordering::SeqCst);
        self.look(&bounds).await?;
        ensure!(!is_first || self.unknown.is_empty(), "nothing went wrong yet");
        self.happen(number == steps / 2).await?;
        self.read().await
    }

    fn begin_trouble(&mut self, at: usize) -> Result<Trouble> {
        let trouble = TROUBLES.choose(&mut self.rng).copied().context("there are troubles")?;
        self.trace.tell(trouble.name.to_owned());
        match trouble.fault {
            None => self.processes[at].dies.store(true, Ordering::SeqCst),
            Some((point, action)) => {
                fail::cfg(point, action).map_err(|error| anyhow!(error))?;
            }
        }
        Ok(trouble)
    }

    async fn ask(&mut self, at: usize, asked: Vec<Submission>) -> Vec<Result<Committed, Error>> {
        let answers = at_once(&self.processes[at].writer, asked.iter().cloned()).await;
        self.trace.asked += asked.len() as u64;
        for (submission, answer) in asked.iter().zip(&answers) {
            let what = format!("{:?}", submission.command);
            let what = what.split([' ', '{', '(']).next().unwrap_or_default();
            let key = submission.idempotency.as_ref().map_or("no key", |it| &it.key);
            let answer = match answer {
                Ok(Committed { reply, replayed }) => {
                    let replayed = if *replayed { " again" } else { "" };
                    format!("{:?}{replayed} {}", reply.outcome, reply.body)
                }
                Err(Error::Refused(refusal)) => format!("refused: {}", refusal.code),
                Err(error) => error.to_string(),
            };
            self.trace.tell(format!("{} {what} ({key}): {answer}", submission.caller.actor));
        }
        answers
    }

    /// Whether these answers can be true; what they say that must be in the log, and what may be.
    fn judge(
        &mut self,
        asked: &[Submission],
        answers: &[Result<Committed, Error>],
    ) -> Result<Bounds> {
        let mut bounds = Bounds::default();
        let enables = |it: &Submission| {
            matches!(
                it.command,
                Command::TransitionUser { step: Transition::Enable, .. }
                    | Command::TransitionOrganization { step: Transition::Enable, .. }
            )
        };
        let may_be_enabled = asked.iter().any(enables);
        for (submission, answer) in asked.iter().zip(answers) {
            if let Ok(Committed { replayed: false, .. }) = answer {
                let shut = !may_be_enabled && self.model.is_shut_out(submission.caller.actor);
                ensure!(!shut, "{} is disabled, and goes on", submission.caller.actor);
            }
            let idempotency = submission.idempotency.as_ref();
            let key = idempotency.map(|it| (submission.caller.actor.to_string(), it.key.clone()));
            let same_request = |before: &Submission| {
                before.idempotency.as_ref().map(|it| it.request) == idempotency.map(|it| it.request)
            };
            let before = key.as_ref().and_then(|key| self.answered.get(key));
            let told = || format!("{key:?} was answered {before:?} before, and is {answer:?} now");
            match answer {
                Ok(Committed { reply, replayed }) => {
                    if let Some((submission, body)) = before {
                        ensure!(same_request(submission), "{}: another request", told());
                        ensure!(*replayed, "{}: it is done twice", told());
                        ensure!(body == reply.body.get(), "{}: another answer", told());
                    } else if *replayed {
                        let known = key.as_ref().and_then(|key| self.unknown.get(key));
                        let is_known = known.is_some_and(|all| all.iter().any(same_request));
                        ensure!(is_known, "{}: it was never asked", told());
                    }
                    if !replayed {
                        bounds.most += 1;
                        bounds.least += usize::from(reply.outcome == commands::Outcome::Created);
                        bounds.versions.extend(version(reply));
                    }
                    if let Some(key) = key {
                        self.unknown.remove(&key);
                        let answer = (submission.clone(), reply.body.get().to_owned());
                        self.answered.entry(key).or_insert(answer);
                    }
                }
                Err(Error::KeyReused) => {
                    let unknown = key.as_ref().and_then(|key| self.unknown.get(key));
                    let is_other = match before {
                        Some((submission, _)) => !same_request(submission),
                        None => unknown.is_some_and(|all| !all.iter().all(same_request)),
                    };
                    ensure!(is_other, "{}: the key is nobody else's", told());
                }
                Err(Error::OutcomeUnknown) => {
                    self.trace.unknown += 1;
                    bounds.most += 1;
                    if let Some(key) = key
                        && before.is_none()
                    {
                        let all = self.unknown.entry(key).or_default();
                        if !all.iter().any(same_request) {
                            all.push(submission.clone());
                        }
                    }
                }
                Err(Error::Storage(_) | Error::Stopping) => {}
                Err(Error::Overloaded) => bail!("nobody else asks"),
                Err(Error::ReadOnly { .. }) => bail!("this writer writes"),
                Err(Error::Refused(_) | Error::Unauthenticated | Error::Panicked) => {
                    ensure!(before.is_none(), "{}: it was done", told());
                }
            }
        }
        Ok(bounds)
    }

    /// What has been added to the log, and whether it can be.
    async fn look(&mut self, bounds: &Bounds) -> Result<()> {
        let log = Log::new(self.processes[0].database.clone());
        let mut commands = BTreeSet::new();
        let known = self.model.events.len() as u64;
        for stored in log.read(known, u64::MAX, eventstore::READ_MAX).await? {
            let event = stored.decode()?;
            commands.insert(event.command_id);
            self.trace.tell(String::from_utf8(stored.body.clone())?);
            self.model.take(event, &stored.body)?;
        }
        let head = log.head().await?;
        ensure!(head.position == self.model.events.len() as u64, "the log ends before its head");
        let chain = self.model.chain.map_or(eventstore::GENESIS, |chain| chain.0);
        ensure!(head.hash == chain, "the head has another hash than its event");
        let (Bounds { least, most, .. }, done) = (bounds, commands.len());
        ensure!(done >= *least, "lost: {least} were acknowledged, {done} are in the log");
        ensure!(done <= *most, "ghosts: at most {most} can be in the log, {done} are");
        for (subject, version) in &bounds.versions {
            let there = self.model.subjects.get(subject).copied().unwrap_or(0);
            ensure!(there >= *version, "lost: {subject} was at version {version}, and is {there}");
        }
        self.trace.events = head.position;
        Ok(())
    }

    async fn replace(&mut self, at: usize, end: impl AsyncFnOnce(Process)) -> Result<()> {
        let process = self.processes.remove(at);
        end(process).await;
        let again = Process::start(&self.place, &self.ambient).await?;
        self.processes.insert(at, again);
        Ok(())
    }

    /// What happens between bursts.
    async fn happen(&mut self, is_middle: bool) -> Result<()> {
        if is_middle {
            self.remember_bill().await?;
        }
        match self.rng.random_range(0..20) {
            0 => {
                self.trace.tell("restart".to_owned());
                self.replace(0, Process::stop).await?;
            }
            1 => {
                self.trace.tell("kill".to_owned());
                self.replace(0, Process::crash).await?;
            }
            2..8 if self.processes.len() == 1 => {
                self.trace.tell("a second process".to_owned());
                self.processes.push(Process::start(&self.place, &self.ambient).await?);
            }
            2 if self.processes.len() > 1 => {
                self.trace.tell("one process less".to_owned());
                let process = self.processes.remove(1);
                process.stop().await;
            }
            8 => self.rebuild().await?,
            _ => {}
        }
        Ok(())
    }

    async fn rebuild(&mut self) -> Result<()> {
        let failing = [
            "projections::rebuild::fold",
            "projections::rebuild::switch",
            "projections::rebuild::commit",
        ];
        if let (true, Some(point)) = (self.rng.random_bool(0.3), failing.choose(&mut self.rng)) {
            self.trace.tell(format!("a rebuild fails at {point}"));
            fail::cfg(*point, "1*return").map_err(|error| anyhow!(error))?;
            let rebuilt = projections::rebuild(&self.processes[0].database, |_| ()).await;
            disarm();
            ensure!(rebuilt.is_err(), "{point} is on the way of every rebuild");
        }
        self.trace.tell("rebuild".to_owned());
        let rebuilt = projections::rebuild(&self.processes[0].database, |_| ()).await?;
        ensure!(rebuilt.differences.is_empty(), "other rows than there are: {rebuilt:?}");
        ensure!(rebuilt.events == self.model.events.len() as u64, "{rebuilt:?}");
        Ok(())
    }

    /// Somebody of some organisation looks at something: he sees all of his own, and nothing else.
    async fn read(&mut self) -> Result<()> {
        let organizations = self.model.documents::<OrganizationView>(&TenantPath::provider());
        let Some((_, reader)) = organizations.choose(&mut self.rng) else { return Ok(()) };
        let path = reader.path.clone();
        match self.rng.random_range(0..9) {
            0 => self.read_list::<OrganizationView>(&path).await,
            1 => self.read_list::<UserView>(&path).await,
            2 => self.read_list::<SubscriptionView>(&path).await,
            3 => self.read_list::<RequestView>(&path).await,
            4 => self.read_list::<OverrideView>(&path).await,
            5 => self.read_activity(&path, &organizations).await,
            6 => self.read_events(&path).await,
            7 => self.read_numbers(&path, &organizations).await,
            _ => self.read_bills(&path).await,
        }
        .with_context(|| format!("as {} of {path}", reader.details.name))
    }

    fn reading(&mut self) -> Database {
        let process = self.processes.choose(&mut self.rng).expect("there is always one");
        process.database.clone()
    }

    /// A list from both ends, page by page; counts; single documents; lists by owner.
    async fn read_list<V: View>(&mut self, path: &TenantPath) -> Result<()> {
        let scope = Scope(path.clone());
        let expected = self.model.documents::<V>(path);
        let everything = self.model.documents::<V>(&TenantPath::provider());
        // What is deleted is found by its key, and in no list.
        let is_listed = |(_, it): &&(Cursor, Arc<V>)| !it.index().kind.starts_with(DELETED);
        let listed: Vec<_> = expected.iter().filter(is_listed).cloned().collect();
        let (database, limit) = (self.reading(), self.rng.random_range(1..6));
        for end in [End::First, End::Last] {
            let mut query = Query { limit, end, ..Query::default() };
            let mut found = Vec::new();
            loop {
                let mut page = finder::list::<V>(&database, &scope, &query).await?;
                ensure!(page.items.len() <= limit, "{} of {limit}", page.items.len());
                match end {
                    End::First => {
                        query.after = page.items.last().map(|(cursor, _)| cursor.clone());
                        found.append(&mut page.items);
                    }
                    End::Last => {
                        query.before = page.items.first().map(|(cursor, _)| cursor.clone());
                        page.items.append(&mut found);
                        found = page.items;
                    }
                }
                let (shown, there) = (found.len(), listed.len());
                ensure!(shown <= there, "{}: {shown} of {there} are shown", V::TABLE);
                if !page.more {
                    break;
                }
            }
            same(V::TABLE, &found, &listed)?;
        }
        let query = Query { limit, ..Query::default() };
        let count = finder::count::<V>(&database, &scope, &query).await?;
        ensure!(count == listed.len() as u64, "{count} of {} were counted", V::TABLE);

        let keys = everything.iter().map(|(cursor, _)| cursor.key.clone());
        let keys: BTreeSet<_> = keys.choose_multiple(&mut self.rng, 5).into_iter().collect();
        let found = finder::find_many::<V>(&database, &scope, keys.clone()).await?;
        let ours = expected.iter().map(|(cursor, _)| &cursor.key).filter(|key| keys.contains(*key));
        let (found, ours) = (found.keys().collect::<BTreeSet<_>>(), ours.collect::<BTreeSet<_>>());
        ensure!(found == ours, "{}: found {found:?} by key, and not {ours:?}", V::TABLE);

        let owners = everything.iter().map(|(_, document)| document.index().owner);
        let owners: BTreeSet<_> = owners.choose_multiple(&mut self.rng, 4).into_iter().collect();
        let query = Query { limit: finder::LIST_MAX, ..Query::default() };
        let pages = finder::list_of_owners::<V>(&database, &scope, owners.clone(), &query).await?;
        let counts = finder::count_of_owners::<V>(&database, &scope, owners.clone()).await?;
        for owner in owners {
            let of_owner = |(_, document): &&(Cursor, Arc<V>)| document.index().owner == owner;
            let expected: Vec<_> = listed.iter().filter(of_owner).cloned().collect();
            let found = pages.get(&owner).map(|page| page.items.as_slice()).unwrap_or_default();
            same(V::TABLE, found, &expected)?;
            let count = counts.get(&owner).copied().unwrap_or(0);
            ensure!(count == expected.len() as u64, "{count} of {owner}'s {}", V::TABLE);
        }
        Ok(())
    }

    async fn read_activity(
        &mut self,
        path: &TenantPath,
        organizations: &[(Cursor, Arc<OrganizationView>)],
    ) -> Result<()> {
        let (database, scope) = (self.reading(), Scope(path.clone()));
        let paths: Vec<_> = organizations.iter().map(|(_, it)| it.path.clone()).collect();
        let query = Query { limit: finder::LIST_MAX, ..Query::default() };
        let pages = projections::activity::days(&database, &scope, &paths, &query).await?;
        let counts = projections::activity::count_days(&database, &scope, &paths).await?;
        let all = self.model.documents::<ActivityView>(path);
        for of in paths {
            let expected: Vec<_> =
                all.iter().filter(|(_, it)| it.index().path == of.as_str()).cloned().collect();
            let found = pages.get(of.as_str()).map(|page| page.items.as_slice());
            same(ActivityView::TABLE, found.unwrap_or_default(), &expected)?;
            let count = counts.get(of.as_str()).copied().unwrap_or(0);
            ensure!(count == expected.len() as u64, "{count} days of {of}");
        }
        Ok(())
    }

    async fn read_events(&mut self, path: &TenantPath) -> Result<()> {
        let (database, scope) = (self.reading(), Scope(path.clone()));
        let after = self.rng.random_range(0..=self.model.events.len() as u64);
        // What happened where one was before is one's own, and nobody else's.
        let moves = self.model.events.iter().filter_map(|event| match &event.event {
            Event::Organization(OrganizationEvent::Moved { from, .. }) => Some(from),
            _ => None,
        });
        let left: Vec<_> = moves.filter(|from| from.number() == path.number()).cloned().collect();
        let ours = |event: &&Recorded| {
            let is_ours = path.contains(&event.path) || left.contains(&event.path);
            is_ours && event.position > after
        };
        let expected: Vec<_> =
            self.model.events.iter().filter(ours).map(|event| event.position).collect();
        let limit = finder::LIST_MAX;
        let query = EventQuery { after: Some(after), limit, ..EventQuery::default() };
        let found = finder::list_events(&database, &scope, &query).await?;
        let found: Vec<_> = found.items.iter().map(|event| event.position).collect();
        ensure!(found == *expected.get(..limit).unwrap_or(&expected), "listed {found:?}");
        let count = finder::count_events(&database, &scope, &[], after).await?;
        ensure!(count == expected.len() as u64, "counted {count}, and not {}", expected.len());
        let left = finder::former_places(&database, path).await?;
        let below = Log::new(database).below(path, &left, (after, u64::MAX), limit as u64).await?;
        let below: Vec<_> = below.iter().map(|event| event.position).collect();
        ensure!(below == found, "read {below:?}");
        Ok(())
    }

    async fn read_numbers(
        &mut self,
        path: &TenantPath,
        organizations: &[(Cursor, Arc<OrganizationView>)],
    ) -> Result<()> {
        let (database, scope) = (self.reading(), Scope(path.clone()));
        for (_, organization) in organizations {
            let number = organization.number;
            let found = finder::find_by_number(&database, &scope, number).await?;
            let is_ours = path.contains(&organization.path);
            let found = found.map(|it| it.id);
            ensure!(found == is_ours.then_some(organization.id), "number {number}: {found:?}");
        }
        Ok(())
    }

    /// A tenant's bill is the part of the provider's that is his.
    async fn read_bills(&mut self, path: &TenantPath) -> Result<()> {
        let database = self.reading();
        let provider = ledger::seller_at(&database, &TenantPath::provider()).await?;
        let settings = provider.settings.as_ref();
        let everything = Scope(TenantPath::provider());
        let now = self.model.events.last().map_or(DateTime::UNIX_EPOCH, |last| last.recorded_at);
        let mut periods = ledger::periods(&database, &everything, settings, now).await?;
        periods.drain(..periods.len().saturating_sub(PERIODS));
        let own = finder::find_at(&database, path).await?.context("it is there")?;
        let side = match own.kind {
            Kind::Customer => Side::Buys(own.id),
            Kind::Provider | Kind::Reseller => Side::Sells(own.id),
        };
        let all = question(everything, None, side);
        let persons = persons();
        let all = ledger::statements(&database, &persons, &all, &periods).await?;
        let ours = question(Scope(path.clone()), None, side);
        let totals = ledger::totals(&database, &persons, &ours, &periods).await?;
        let ours = ledger::statements(&database, &persons, &ours, &periods).await?;
        for ((all, ours), total) in all.iter().zip(&ours).zip(&totals) {
            let entries = |lines: &[ledger::Line]| {
                lines.iter().map(|line| format!("{:?}", line.entry)).collect::<Vec<_>>()
            };
            let is_his = |line: &ledger::Line| match side {
                Side::Buys(buyer) => line.entry.bought_by() == buyer,
                Side::Sells(seller) => line.entry.seller == seller,
            };
            ensure!(ours.lines.iter().all(is_his), "others' lines are shown");
            ensure!(entries(&ours.lines) == entries(&all.lines), "{:?} is not his", all.period);
            ensure!(total.lines == ours.lines.len() as u64, "{} lines", total.lines);
            for (currency, amount) in &total.amounts {
                ensure!(Ok(*amount) == ours.total(*currency), "{:?}: {amount:?}", all.period);
            }
        }
        Ok(())
    }

    /// Bills as they are known now.
    async fn remember_bill(&mut self) -> Result<()> {
        let database = self.processes[0].database.clone();
        let provider = ledger::seller_at(&database, &TenantPath::provider()).await?;
        let settings = provider.settings.as_ref();
        let everything = Scope(TenantPath::provider());
        let now: DateTime<Utc> = self.model.events.last().context("there are events")?.recorded_at;
        let periods = ledger::periods(&database, &everything, settings, now).await?;
        let known_at = self.model.events.len() as u64;
        let question = question(everything, Some(known_at), Side::Sells(provider.id));
        let entries = entries(&database, &question, &periods).await?;
        self.trace.tell(format!("bills: {entries:?}"));
        self.bill = Some((question, periods, entries));
        Ok(())
    }

    /// No faults any more: every process starts anew, everything that is open is asked again, and all laws hold.
    async fn settle(&mut self) -> Result<()> {
        self.trace.tell("no more faults".to_owned());
        while let Some(process) = self.processes.pop() {
            process.stop().await;
        }
        self.processes.push(Process::start(&self.place, &self.ambient).await?);
        for submission in self.unknown.clone().into_values().flatten() {
            let key = submission.idempotency.as_ref().map(|it| it.key.clone());
            let twice = vec![submission.clone()];
            let first = self.settled(&twice).await?;
            let second = self.settled(&twice).await?;
            match (&first, &second) {
                (Ok(first), Ok(second)) => ensure!(
                    second.replayed && first.reply.body.get() == second.reply.body.get(),
                    "{key:?} is done again"
                ),
                (Err(first), Err(second)) => {
                    ensure!(first.to_string() == second.to_string(), "{key:?}: {first}, {second}");
                }
                _ => bail!("{key:?} is answered {first:?} and then {second:?}"),
            }
        }
        let everything: Vec<_> = self.answered.values().map(|(it, _)| it.clone()).collect();
        let before = self.model.events.len();
        for some in everything.chunks(50) {
            for answer in self.ask(0, some.to_vec()).await {
                let answer = answer.map_err(|error| anyhow!("it was done: {error:?}"))?;
                ensure!(answer.replayed, "it was acknowledged, and is done again");
            }
        }
        self.look(&Bounds::default()).await?;
        ensure!(self.model.events.len() == before, "what is asked again has another effect");
        if let Some((question, periods, before)) = &self.bill {
            let now = entries(&self.processes[0].database, question, periods).await?;
            ensure!(*before == now, "bills as they were known: {before:?}\nare now {now:?}");
        }
        for path in [TenantPath::provider()] {
            self.read_list::<OrganizationView>(&path).await?;
            self.read_list::<UserView>(&path).await?;
            self.read_list::<SubscriptionView>(&path).await?;
            self.read_bills(&path).await?;
        }
        laws::check(&self.processes[0].database).await?;
        while let Some(process) = self.processes.pop() {
            process.stop().await;
        }
        Ok(())
    }

    /// One answer that must be a real one.
    async fn settled(&mut self, one: &[Submission]) -> Result<Result<Committed, Error>> {
        let mut answers = self.ask(0, one.to_vec()).await;
        let bounds = self.judge(one, &answers)?;
        self.look(&bounds).await?;
        let answer = answers.pop().context("one answer")?;
        let is_real =
            !matches!(answer, Err(Error::OutcomeUnknown | Error::Storage(_) | Error::Stopping));
        ensure!(is_real, "nothing fails any more: {answer:?}");
        Ok(answer)
    }
}

fn question(scope: Scope, known_at: Option<u64>, side: Side) -> Question {
    Question { scope, as_of: None, known_at, side }
}

async fn entries(
    database: &Database,
    question: &Question,
    periods: &[Period],
) -> Result<Vec<String>> {
    let statements = ledger::statements(database, &persons(), question, periods).await?;
    let mut entries: Vec<_> = statements
        .iter()
        .flat_map(|statement| &statement.lines)
        .map(|line| format!("{:?}", line.entry))
        .collect();
    // Customers may have been renamed, and stand elsewhere in the list.
    entries.sort();
    Ok(entries)
}

/// What an answer says about the version of what it is about.
fn version(reply: &Reply) -> Option<(String, u64)> {
    // A token or session: the version is its user's.
    if reply.location.as_ref().is_some_and(|it| it.contains("/tokens/") || it.contains("session")) {
        return None;
    }
    let body: serde_json::Value = serde_json::from_str(reply.body.get()).ok()?;
    let subject = body.get("id").or_else(|| body.get("key"))?.as_str()?;
    Some((subject.to_owned(), reply.version?))
}

/// Two lists of the same documents.
fn same<V: View>(
    table: &str,
    found: &[(Cursor, Arc<V>)],
    expected: &[(Cursor, Arc<V>)],
) -> Result<()> {
    let keys = |list: &[(Cursor, Arc<V>)]| {
        list.iter().map(|(cursor, _)| cursor.key.clone()).collect::<Vec<_>>()
    };
    let (ours, theirs) = (keys(found), keys(expected));
    ensure!(ours == theirs, "{table}: shown {ours:?}, and not {theirs:?}");
    for ((cursor, ours), (_, theirs)) in found.iter().zip(expected) {
        let (ours, theirs) = (serde_json::to_string(ours)?, serde_json::to_string(theirs)?);
        ensure!(ours == theirs, "{table}, {}: {ours}, and not {theirs}", cursor.key);
    }
    Ok(())
}
