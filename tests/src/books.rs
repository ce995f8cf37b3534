//! Random histories in which sellers close their periods: what their commands are, whatever else goes on.
//!
//! A history (`history.rs`) is carried out command by command, and between its steps the provider and the resellers close
//! what is over, leave out what cannot be billed, are told that facts were true at other moments, and have closed periods
//! rated again. What is asked about their bills on the way is kept: asked again as it was known then, it has to be told
//! again, whatever has happened since. The same seed is the same on every database.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use api::billing::summary_detail;
use chrono::Duration;
use commands::closing::{self, readiness};
use commands::usecase::books::Readiness;
use commands::usecase::supersede::Found;
use commands::{
    Ambient as _, Caller, Command, Committed, Error, Submission, Writer, WriterSettings,
};
use domain::billing::{BillingSettings, Entry, Period, seal, summarize};
use domain::event::Event;
use domain::{OrganizationId, TenantPath, UserId};
use eventstore::{Database, Engine, Log, for_each_sealed};
use projections::finder::{self, Scope};
use projections::ledger::{self, Proposal, Question, Side, Statement};
use projections::views::{BooksView, CalendarView, OrganizationView};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::history::History;
use crate::laws;
use crate::world::{TestAmbient, TestDatabase, World, at_once, body, persons, vault};

/// Steps after which the books are looked at.
const STEPS_BETWEEN: usize = 3;
/// Periods that are asked about: those that ended last, and the open one.
const PERIODS_ASKED: usize = 3;
/// Sellers that are asked about at a time.
const SELLERS_ASKED: usize = 2;
/// Earlier answers that are asked for again at a time.
const ASKED_AGAIN: usize = 3;
/// Events among which one is looked for that was true at another moment.
const SUPERSEDED_AMONG: u64 = 300;

/// Has a seller's period closed in which everything can be billed: Atrium asks, and Ada approves.
///
/// # Errors
/// The refusal; where something cannot be billed.
pub async fn close(world: &World, seller: &str, end: &str) -> Result<()> {
    let database = &world.database;
    let wish = || body(json!({ "organizationId": seller }));
    world.system(Command::AskClose { end: end.to_owned(), body: wish() }).await?;
    let seller: OrganizationId = seller.parse()?;
    let (everything, key) = (Scope::catalogue(), seller.to_string());
    let books = finder::find::<BooksView>(database, &everything, &key).await?.context("books")?;
    let cutoff = books.closing.as_ref().context("a closing")?.cutoff;
    let settings = ledger::seller_at(database, &books.path).await?.settings.clone();
    let period = settings.period_ending(end.parse()?).context("a period")?;
    let of = (seller, &books.path);
    let unready = readiness(database, of, &settings, period, cutoff).await?;
    ensure!(unready.is_empty(), "{unready:?}");
    let readiness = Some(Readiness { seller, cutoff, unready: Vec::new() });
    let approve = Command::ApproveClose { end: end.to_owned(), body: wish(), readiness };
    let ada = database.fetch("select key from view_user order by key limit 1", &[]).await?;
    world.submit(Caller::user(ada[0].text(0)?.parse::<UserId>()?), approve).await?;
    closing::close(database, &world.writer, seller).await?;
    Ok(())
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// The hash of the last event: where it is the same, the whole log is.
    pub hash: eventstore::Hash,
    /// All that was told of bills, in the order of the questions.
    pub told: Vec<String>,
    /// All sealed rows: their places, and their bytes.
    pub sealed: Vec<(String, String)>,
    /// What happened, and how often.
    pub counts: BTreeMap<&'static str, usize>,
}

/// Carries out the history of a seed.
///
/// # Errors
/// What does not hold.
pub async fn run(seed: u64, engine: Engine, steps: usize) -> Result<Run> {
    let mut office = Office::new(seed, engine).await?;
    for number in 1..=steps {
        office.step().await?;
        if number > SETTLED && number % STEPS_BETWEEN == 0 {
            let days = office.rng.random_range(0..25);
            office.history.wait(Duration::days(days));
            office.look().await.with_context(|| format!("step {number}"))?;
        }
    }
    office.finish().await
}

/// Steps after which there is something to bill.
const SETTLED: usize = 8;

/// A seller, with what his bills are asked by.
#[derive(Clone, Debug)]
struct Seller {
    id: OrganizationId,
    path: TenantPath,
    settings: Arc<BillingSettings>,
}

/// A question about bills, and its answer.
struct Told {
    question: Question,
    periods: Vec<Period>,
    /// How all sellers billed then: that is no part of what a question can go back to.
    settings: Vec<CalendarView>,
    answer: String,
}

/// An installation, its history, and two who close its books.
struct Office {
    ambient: Arc<TestAmbient>,
    database: Database,
    writer: Writer,
    history: History,
    rng: StdRng,
    /// Who approves.
    second: Option<UserId>,
    told: Vec<Told>,
    counts: BTreeMap<&'static str, usize>,
    /// Kept as long as the office is.
    _place: TestDatabase,
}

impl Office {
    async fn new(seed: u64, engine: Engine) -> Result<Self> {
        let place = TestDatabase::volatile(engine).await?;
        let database = place.open().await?;
        let ambient = TestAmbient::at("2019-01-01T00:00:00Z");
        // One by one: so ids are the same on every database.
        let settings = WriterSettings { batch_commands: 1, ..WriterSettings::default() };
        let started =
            Writer::start(database.clone(), vault(), ambient.clone(), settings, Box::new(|_| ()));
        let (writer, _) = started.await?;
        Ok(Self {
            ambient,
            database,
            writer,
            history: History::new(seed),
            rng: StdRng::seed_from_u64(seed ^ 0x000b_00c5),
            second: None,
            told: Vec::new(),
            counts: BTreeMap::new(),
            _place: place,
        })
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// The next step of the history.
    async fn step(&mut self) -> Result<()> {
        let step = self.history.step();
        self.ambient.set(&step.now.to_rfc3339());
        let answers = at_once(&self.writer, step.submissions.iter().cloned()).await;
        self.history.learn(&step, &answers);
        if self.second.is_none() {
            let provider = self.sellers().await?[0].id.to_string();
            let sent = json!({
                "firstName": "Fay", "lastName": "Nance", "email": "fay@books.test",
                "roles": ["Provider Administrator"],
            });
            let fay =
                Command::CreateUser { organization: provider, body: body(sent), password: None };
            let made = self.submit(Caller::SYSTEM, fay).await?;
            let made: Value = serde_json::from_str(made.reply.body.get())?;
            self.second = Some(made["id"].as_str().context("an id")?.parse()?);
        }
        Ok(())
    }

    async fn submit(&self, caller: Caller, command: Command) -> Result<Committed, Error> {
        self.writer.submit(Submission { caller, command, idempotency: None }).await
    }

    /// Whether it was granted; where it was not, whether that is one of the refusals that may be.
    async fn may(&mut self, caller: Caller, command: Command, what: &'static str) -> Result<bool> {
        match self.submit(caller, command).await {
            Ok(_) => {
                self.count(what);
                Ok(true)
            }
            Err(Error::Refused(_)) => Ok(false),
            Err(error) => Err(error).context(what),
        }
    }

    async fn calendars(&self) -> Result<Vec<CalendarView>> {
        let sql = "select document from view_calendar order by key";
        let rows = self.database.fetch(sql, &[]).await?;
        rows.iter().map(|row| Ok(serde_json::from_slice(row.bytes(0)?)?)).collect()
    }

    /// The provider, and every reseller.
    async fn sellers(&self) -> Result<Vec<Seller>> {
        let sql = "select document from view_organization \
                   where kind in ('provider', 'reseller') order by path";
        let mut sellers = Vec::new();
        for row in self.database.fetch(sql, &[]).await? {
            let OrganizationView { id, path, .. } = serde_json::from_slice(row.bytes(0)?)?;
            let settings = ledger::seller_at(&self.database, &path).await?.settings.clone();
            sellers.push(Seller { id, path, settings });
        }
        Ok(sellers)
    }

    async fn books(&self, seller: OrganizationId) -> Result<Option<Arc<BooksView>>> {
        let (scope, key) = (Scope::catalogue(), seller.to_string());
        Ok(finder::find(&self.database, &scope, &key).await?)
    }

    async fn head(&self) -> Result<u64> {
        Ok(Log::new(self.database.clone()).head().await?.position)
    }

    /// Closes what can be closed, sets right what was wrong, and asks.
    async fn look(&mut self) -> Result<()> {
        for _ in 0..2 {
            self.supersede().await?;
        }
        let sellers = self.sellers().await?;
        for (number, seller) in sellers.iter().enumerate() {
            // The provider more often than others: everybody is on his bills.
            if number == 0 || self.rng.random_bool(0.4) {
                self.close(seller).await.with_context(|| format!("closing for {}", seller.path))?;
            }
        }
        if self.rng.random_bool(0.3) {
            self.rerate(&sellers[0]).await?;
        }
        self.tell().await?;
        self.ask_again().await?;
        self.rehearse().await
    }

    /// Closes a seller's next period, if it is over: one asks, what cannot be billed is left out, and another approves.
    async fn close(&mut self, seller: &Seller) -> Result<()> {
        let Seller { id, path, settings } = seller;
        let books = self.books(*id).await?;
        let now = self.ambient.now();
        let open = settings.period_containing(settings.local_date(now));
        let next = books.as_ref().and_then(|books| books.open(u64::MAX, settings));
        let period = next.unwrap_or_else(|| settings.previous(open));
        let end = || period.label();
        let wish = || body(json!({ "organizationId": id.to_string() }));
        let ask = Command::AskClose { end: end(), body: wish() };
        if !self.may(Caller::SYSTEM, ask, "asked to close").await? {
            return Ok(());
        }
        if self.rng.random_bool(0.5) {
            // What happens meanwhile is late.
            self.step().await?;
        }
        let books = self.books(*id).await?.context("books")?;
        let closing = books.closing.as_ref().context("a closing")?;
        let cutoff = closing.cutoff;
        let unready = readiness(&self.database, (*id, path), settings, period, cutoff).await?;
        let unready = closing::subscriptions(&unready);
        let readiness = || Some(Readiness { seller: *id, cutoff, unready: unready.clone() });
        let approve = || Command::ApproveClose { end: end(), body: wish(), readiness: readiness() };
        let second = Caller::user(self.second.context("a second person")?);
        let own = self.may(Caller::SYSTEM, approve(), "approved by who asked").await?;
        ensure!(!own, "who asked has approved");
        let missing: Vec<_> =
            unready.iter().filter(|it| !closing.deferred.contains(it)).copied().collect();
        if !missing.is_empty() {
            let early = self.may(second, approve(), "approved unready").await?;
            ensure!(!early, "it was approved without {missing:?}");
        }
        for subscription in missing {
            let sent = json!({
                "organizationId": id.to_string(), "subscriptionId": subscription.to_string(),
                "reason": "later",
            });
            let defer = Command::DeferInstance { end: end(), body: body(sent) };
            let deferred = self.may(Caller::SYSTEM, defer, "deferred").await?;
            ensure!(deferred, "{subscription} of {path} cannot be deferred in {}", period.label());
        }
        self.submit(second, approve()).await.context("it was not approved")?;
        closing::close_within(&self.database, &self.writer, *id, 3).await?;
        self.count("closed");
        let is_reseller = *path != TenantPath::provider();
        if is_reseller {
            self.count("closed by a reseller");
        }
        let closed = self.books(*id).await?.context("books")?;
        ensure!(closed.closed(period.end, u64::MAX).is_some(), "it is not closed");
        Ok(())
    }

    /// Has some fact be true at another moment.
    async fn supersede(&mut self) -> Result<()> {
        let head = self.head().await?;
        let after = head.saturating_sub(SUPERSEDED_AMONG);
        let log = Log::new(self.database.clone());
        let mut outcomes = Vec::new();
        for stored in log.read(after, u64::MAX, eventstore::READ_MAX).await? {
            let event = stored.decode()?;
            let is_outcome = ledger::fact(&event).is_some() || ledger::rest(&event).is_some();
            if let Event::Subscription(happened) = &event.event
                && let Some((_, id)) = event.stream.split_once('-')
                && is_outcome
            {
                let found = Found {
                    subscription: id.parse()?,
                    outcome_of: Some(happened.request()),
                    effective_at: event.effective_at,
                };
                outcomes.push((event.position, found));
            }
        }
        let Some((position, found)) = outcomes.choose(&mut self.rng).copied() else {
            return Ok(());
        };
        let hours = self.rng.random_range(-40 * 24..10 * 24);
        let at = found.effective_at + Duration::hours(hours);
        let at = match self.rng.random_bool(0.5) {
            true => at.to_rfc3339(),
            false => at.date_naive().to_string(),
        };
        let sent = json!({ "position": position, "effectiveAt": at, "reason": "it was so" });
        let command = Command::Supersede { body: body(sent), found: Some(found) };
        self.may(Caller::SYSTEM, command, "superseded").await?;
        Ok(())
    }

    /// Has a seller's closed periods rated again with the prices that are known now.
    async fn rerate(&mut self, seller: &Seller) -> Result<()> {
        let Some(books) = self.books(seller.id).await? else { return Ok(()) };
        let Some((first, last)) = books.closed.first().zip(books.closed.last()) else {
            return Ok(());
        };
        let id = seller.id.to_string();
        let sent = json!({
            "organizationId": id, "fromEndDate": first.end, "toEndDate": last.end,
            "reason": "agreed",
        });
        let ask = Command::AskRerate { body: body(sent) };
        if self.may(Caller::SYSTEM, ask, "asked to rerate").await? {
            let second = Caller::user(self.second.context("a second person")?);
            let approve = Command::ApproveRerate { body: body(json!({ "organizationId": id })) };
            self.may(second, approve, "rerated").await?;
        }
        Ok(())
    }

    /// The last periods of a seller, and the open one.
    fn periods(&self, seller: &Seller) -> Vec<Period> {
        let Seller { settings, .. } = seller;
        let open = settings.period_containing(settings.local_date(self.ambient.now()));
        let before = std::iter::successors(Some(open), |period| Some(settings.previous(*period)));
        let mut periods: Vec<_> = before.take(PERIODS_ASKED).collect();
        periods.reverse();
        periods
    }

    async fn answer(&self, question: &Question, periods: &[Period]) -> Result<String> {
        let bills = ledger::statements(&self.database, &persons(), question, periods).await?;
        Ok(bills.iter().map(written).collect())
    }

    /// Asks about bills, as they are and as of some earlier moment, and keeps what is told.
    async fn tell(&mut self) -> Result<()> {
        let all = self.sellers().await?;
        let settings = self.calendars().await?;
        let some: Vec<_> = all.choose_multiple(&mut self.rng, SELLERS_ASKED).cloned().collect();
        for seller in some {
            let periods = self.periods(&seller);
            let is_reseller = seller.id != all[0].id;
            let side = match is_reseller && self.rng.random_bool(0.4) {
                true => Side::Buys(seller.id),
                false => Side::Sells(seller.id),
            };
            let hours = self.rng.random_range(-24 * 80..24 * 20);
            let moment = self.ambient.now() + Duration::hours(hours);
            for as_of in [None, Some(moment)] {
                let scope = Scope(seller.path.clone());
                let known_at = None;
                let question = Question { scope, as_of, known_at, side };
                let answer = self.answer(&question, &periods).await?;
                let known_at = Some(self.head().await?);
                let question = Question { known_at, ..question };
                let same = self.answer(&question, &periods).await?;
                ensure!(answer == same, "{question:?}: {answer}\nknown now: {same}");
                let (periods, settings) = (periods.clone(), settings.clone());
                self.told.push(Told { question, periods, settings, answer });
            }
        }
        Ok(())
    }

    /// What was told once is told again by who asks as it was known then.
    async fn ask_again(&mut self) -> Result<()> {
        let settings = self.calendars().await?;
        let numbers: Vec<_> = (0..self.told.len()).collect();
        let some: Vec<_> = numbers.choose_multiple(&mut self.rng, ASKED_AGAIN).copied().collect();
        for number in some {
            let Told { question, periods, settings: before, answer } = &self.told[number];
            if *before != settings {
                continue;
            }
            let again = self.answer(question, periods).await?;
            ensure!(again == *answer, "{question:?}: {answer}\nnow it is: {again}");
            let has_lines = answer.contains('{');
            let of_a_moment = question.as_of.is_some();
            self.count("asked again");
            if has_lines && of_a_moment {
                self.count("asked again as of a moment");
            }
        }
        Ok(())
    }

    /// Every closed period, rated again with nothing proposed, is what was sealed.
    async fn rehearse(&mut self) -> Result<()> {
        for Seller { id, path, settings } in self.sellers().await? {
            let Some(books) = self.books(id).await? else { continue };
            for closed in &books.closed {
                let period = settings.period_ending(closed.end).context("a period")?;
                let of = (id, &path);
                let nothing = Proposal::default();
                let rehearsed = ledger::rehearse(&self.database, of, period, nothing).await?;
                ensure!(
                    rehearsed.effect_count == 0 && rehearsed.quarantined_count == 0,
                    "{path}, {}: {rehearsed:?}",
                    closed.end
                );
                self.count("rehearsed");
            }
        }
        Ok(())
    }

    /// The laws.
    async fn finish(mut self) -> Result<Run> {
        self.rehearse().await?;
        let mut sealed = Vec::new();
        for seller in self.sellers().await? {
            let Seller { id, path, settings } = &seller;
            let Some(books) = self.books(*id).await? else { continue };
            let mut booked = Vec::new();
            for closed in &books.closed {
                let period = settings.period_ending(closed.end).context("a period")?;
                let of = (*id, path);
                // Law 1.
                let cutoff = closed.cutoff;
                let differs = ledger::compare_sealed(&self.database, of, period, cutoff).await?;
                ensure!(differs.is_none(), "{path}, {}: {differs:?}", closed.end);
                let rows = &mut Vec::new();
                for_each_sealed(&mut &self.database, cutoff, |place, body| {
                    rows.push((format!("{place:?}"), body.to_vec()));
                    Ok(())
                })
                .await?;
                for (place, body) in rows.drain(..) {
                    booked.extend(seal::entries(&body)?);
                    sealed.push((format!("{cutoff} {place}"), String::from_utf8(body)?));
                }
            }
            if let Some(open) = books.open(u64::MAX, settings) {
                let open = self.told_to_the_end(&seller, open).await?;
                booked.extend(open.lines.into_iter().map(|line| line.entry));
            }
            let corrections = reversed_once(&booked).with_context(|| path.to_string())?;
            *self.counts.entry("corrections").or_default() += corrections;
        }
        laws::check(&self.database).await?;
        let told = self.told.into_iter().map(|told| told.answer).collect();
        let hash = Log::new(self.database.clone()).head().await?.hash;
        Ok(Run { hash, told, sealed, counts: self.counts })
    }

    /// The detail of a seller's period, which its totals and its summary are sums of (law 10).
    async fn told_to_the_end(&self, seller: &Seller, period: Period) -> Result<Statement> {
        let scope = Scope(seller.path.clone());
        let side = Side::Sells(seller.id);
        let question = Question { scope, as_of: None, known_at: None, side };
        let (database, persons) = (&self.database, persons());
        let periods = [period];
        let mut bills = ledger::statements(database, &persons, &question, &periods).await?;
        let bill = bills.pop().context("a bill")?;
        let totals = ledger::totals(database, &persons, &question, &periods).await?;
        ensure!(totals[0].lines == bill.lines.len() as u64, "{totals:?}");
        for (currency, total) in &totals[0].amounts {
            let of = bill.lines.iter().filter(|line| line.entry.amount.currency == *currency);
            let sum: i64 = of.map(|line| line.entry.amount.minor).sum();
            ensure!(sum == total.minor, "{sum} and {total:?}");
        }
        let end = seller.settings.instants(&period).1;
        let details: Vec<_> = bill.lines.iter().map(|line| summary_detail(line, end)).collect();
        let mut summed = BTreeMap::<_, i64>::new();
        for row in summarize(&details, &[])? {
            *summed.entry(row.amount.currency).or_default() += row.amount.minor;
        }
        let amounts = totals[0].amounts.iter().map(|(currency, total)| (*currency, total.minor));
        ensure!(summed == amounts.collect(), "the summary comes to {summed:?}: {totals:?}");
        Ok(bill)
    }
}

/// A reversal is an exact negation of what is booked, and made at most once (law 3). Gives how many corrections there are.
fn reversed_once(booked: &[Entry]) -> Result<usize> {
    let mut by_id = HashMap::<&str, Vec<&Entry>>::new();
    for entry in booked {
        by_id.entry(&entry.entry_id).or_default().push(entry);
    }
    let mut reversed = BTreeSet::new();
    for entry in booked {
        let reverses = entry.correction.as_ref().and_then(|it| it.reverses.as_deref());
        let Some(reverses) = reverses else { continue };
        ensure!(reversed.insert(reverses), "{reverses} is taken back twice");
        let before = by_id.get(reverses).and_then(|all| all.first());
        let before = before.with_context(|| format!("{reverses} is booked nowhere"))?;
        let is_negation = before.amount.minor == -entry.amount.minor
            && before.amount.currency == entry.amount.currency
            && before.period_end == entry.period_end;
        ensure!(is_negation, "{before:?} is taken back by {entry:?}");
    }
    Ok(booked.iter().filter(|entry| entry.is_correction()).count())
}

/// A bill, to the byte.
fn written(bill: &Statement) -> String {
    let mut slots = BTreeMap::<_, Vec<Entry>>::new();
    for line in &bill.lines {
        let place = (line.customer.id, line.entry.subscription);
        slots.entry(place).or_default().push(line.entry.clone());
    }
    let mut text = format!("{}\n", bill.period.label());
    for mut entries in slots.into_values() {
        text += &String::from_utf8_lossy(&seal::lines(&mut entries));
        text.push('\n');
    }
    let mut quarantined: Vec<_> =
        bill.quarantined.iter().map(|it| format!("{} {}\n", it.subscription, it.cause)).collect();
    quarantined.sort();
    text + &quarantined.concat()
}
