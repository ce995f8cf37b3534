//! An installation that lived through everything, beside twins that were only ever told of some of it.
//!
//! Random facts are recorded in any order: some of the past, some of the future, some that are said to have been true at
//! another moment later on, and now and then a period is closed. A bill as of a moment, as it was known at a position,
//! has to be what a twin says that was told up to there, and only of what was true by then (billing.md, section 1). And
//! whatever was closed in between, all that is booked for a period has to come to what a twin says that never closed
//! anything (section 8, law 2).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use atrium_tests::books::close;
use atrium_tests::laws;
use atrium_tests::world::{World, body, persons};
use chrono::{DateTime, Duration, NaiveDate, Utc};
use commands::usecase::supersede::Found;
use commands::{Caller, Command, WriterSettings};
use domain::billing::Entry;
use domain::event::Event;
use domain::organization::Kind;
use domain::{OrganizationId, TenantPath};
use eventstore::{Engine, Log};
use projections::finder::{self, Scope};
use projections::ledger::{self, Question, Side};
use projections::views::BooksView;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::setting::{BOTH, provider};

/// Facts that are recorded.
const FACTS: usize = 36;
/// Moments that are asked about, each with a position.
const MOMENTS: usize = 4;
/// The last dates of the periods that are asked about.
const ENDS: [&str; 6] =
    ["2018-11-30", "2018-12-31", "2019-01-31", "2019-02-28", "2019-03-31", "2019-04-30"];

/// Something that is recorded, of a slot: a customer's place, and a service.
#[derive(Clone, Debug)]
enum What {
    Provision(&'static str),
    Change(&'static str, u32),
    Deprovision,
    Use(u32),
    Charge(String),
    Price(&'static str),
}

/// What was recorded, when, and what was said of its moment.
#[derive(Clone, Debug)]
struct Told {
    recorded: DateTime<Utc>,
    slot: usize,
    what: What,
    /// Each moment at which it was said to be true, and up to which position of the log that was said: the last holds.
    moments: Vec<(u64, DateTime<Utc>)>,
    /// The place in the log of what says so now.
    position: u64,
}

impl Told {
    /// When it was true, as that was known at a position; none: it was not known.
    fn at(&self, known_at: u64) -> Option<DateTime<Utc>> {
        let known = self.moments.iter().rev().find(|(position, _)| *position <= known_at);
        known.map(|(_, moment)| *moment)
    }
}

/// Customers and what they can have.
struct Stage {
    world: World,
    /// The provider, and a reseller.
    sellers: [(OrganizationId, TenantPath); 2],
    customers: Vec<String>,
    /// The ids of what was provisioned, by slot.
    slots: BTreeMap<usize, String>,
}

const SERVICES: [&str; 2] = ["backup", "calls"];

impl Stage {
    async fn new(engine: Engine) -> Result<Self> {
        // One by one: so twins have the same ids.
        let settings = WriterSettings { batch_commands: 1, ..WriterSettings::default() };
        let world = World::with(engine, settings, Box::new(|_| ())).await?;
        let root = provider(&world).await?;
        let year = json!([{
            "key": "year", "kind": "recurring", "interval": "year", "timing": "advance",
            "price": "365.00",
        }]);
        let backup = json!({
            "name": "Backup", "level": "customer", "instancing": "single",
            "plans": [
                { "key": "basic", "name": "Basic", "price": "31.00" },
                { "key": "plus", "name": "Plus", "price": "100.00", "components": year },
            ],
        });
        let calls = json!({
            "name": "Calls", "level": "customer", "instancing": "single",
            "meters": [{ "key": "calls", "name": "Calls", "unit": "calls", "aggregation": "sum" }],
            "plans": [
                { "key": "basic", "name": "Basic", "price": "7.45", "components": [{
                    "key": "calls", "kind": "usage", "meter": "calls", "rate": "volume",
                    "tiers": [{ "above": 0, "price": "1.00" }, { "above": 50, "price": "0.90" }],
                }] },
                { "key": "plus", "name": "Plus", "price": "10.00" },
            ],
        });
        for (key, sold) in SERVICES.into_iter().zip([backup, calls]) {
            let key = key.to_owned();
            let draft =
                Command::DraftService { key: key.clone(), body: body(sold), if_match: None };
            world.system(draft).await?;
            let publish = body(json!({ "rollOut": true }));
            world.system(Command::PublishService { key, body: publish }).await?;
        }
        let found = async |kind, parent: &str, name: &str| -> Result<String> {
            let sent = json!({ "name": name, "parentId": parent });
            let made = world.system(Command::CreateOrganization { kind, body: body(sent) }).await?;
            Ok(made["id"].as_str().context("an id")?.to_owned())
        };
        let east = found(Kind::Reseller, &root, "East").await?;
        let markup = json!({
            "rows": [{ "percentOnCost": "10", "effectiveFrom": "2018-01-01" }], "reason": "ours",
        });
        world.system(Command::SetPrices { organization: east.clone(), body: body(markup) }).await?;
        let mut customers = Vec::new();
        for parent in [&root, &east, &east] {
            customers.push(found(Kind::Customer, parent, &format!("c{}", customers.len())).await?);
        }
        let reseller = TenantPath::provider().child(2);
        let sellers = [(root.parse()?, TenantPath::provider()), (east.parse()?, reseller)];
        Ok(Self { world, sellers, customers, slots: BTreeMap::new() })
    }

    async fn head(&self) -> Result<u64> {
        Ok(Log::new(self.world.database.clone()).head().await?.position)
    }

    /// Has it be told; whether that was granted.
    async fn tell(&mut self, told: &Told, at: DateTime<Utc>) -> Result<bool> {
        self.world.ambient.set(&told.recorded.to_rfc3339());
        let customer = self.customers[told.slot / SERVICES.len()].clone();
        let service = SERVICES[told.slot % SERVICES.len()];
        let id = self.slots.get(&told.slot).cloned();
        let at = at.to_rfc3339();
        let reason = "it was so";
        let command = match &told.what {
            What::Provision(plan) => {
                let sent = json!({
                    "service": service, "plan": plan, "effectiveAt": at, "reason": reason,
                });
                Command::ProvisionToCustomer { customer, body: body(sent) }
            }
            What::Charge(amount) => {
                let sent = json!({
                    "customerId": customer, "amount": amount, "description": "By hand",
                    "effectiveAt": at, "reason": reason,
                });
                Command::Adjust { body: body(sent) }
            }
            What::Price(price) => {
                let sent = json!({
                    "service": service, "price": price, "effectiveFrom": at, "reason": reason,
                });
                Command::OverridePrice { organization: customer, body: body(sent) }
            }
            of_slot => {
                let Some(id) = id else { return Ok(false) };
                match of_slot {
                    What::Change(plan, quantity) => {
                        let sent = json!({
                            "plan": plan, "quantity": quantity, "effectiveAt": at, "reason": reason,
                        });
                        Command::ChangeSubscription { id, body: body(sent) }
                    }
                    What::Use(quantity) => {
                        let sent = json!({
                            "subscriptionId": id, "meter": "calls", "effectiveAt": at,
                            "quantity": quantity.to_string(),
                        });
                        Command::RecordUsage { body: body(sent) }
                    }
                    _ => {
                        let sent = json!({ "effectiveAt": at, "reason": reason });
                        Command::Deprovision { id, body: body(sent) }
                    }
                }
            }
        };
        match self.world.submit(Caller::SYSTEM, command).await {
            Ok(committed) => {
                let made: Value = serde_json::from_str(committed.reply.body.get())?;
                if let (What::Provision(_), Some(id)) = (&told.what, made["id"].as_str()) {
                    self.slots.insert(told.slot, id.to_owned());
                }
                Ok(true)
            }
            Err(commands::Error::Refused(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What is told of all periods, by whom, as of a moment and as it was known then.
    async fn bills(
        &self,
        side: usize,
        (as_of, known_at): (Option<DateTime<Utc>>, Option<u64>),
    ) -> Result<Vec<(NaiveDate, Entry)>> {
        let (seller, path) = &self.sellers[side.min(1)];
        // The third side: what the reseller buys.
        let side = if side == 2 { Side::Buys(*seller) } else { Side::Sells(*seller) };
        let database = &self.world.database;
        let settings = ledger::seller_at(database, path).await?.settings.clone();
        let mut periods = Vec::new();
        for end in ENDS {
            periods.push(settings.period_ending(end.parse()?).context("a period")?);
        }
        let question = Question { scope: Scope(path.clone()), as_of, known_at, side };
        let bills = ledger::statements(database, &persons(), &question, &periods).await?;
        let entries = bills.into_iter().flat_map(|bill| {
            assert!(bill.quarantined.is_empty(), "{:?}", bill.quarantined);
            bill.lines.into_iter().map(move |line| (bill.period.end, line.entry))
        });
        Ok(entries.collect())
    }
}

/// What an entry says, without what depends on places in the log.
fn said(entry: &Entry) -> String {
    format!(
        "{} {} {:?} {} {:?} {} x{} {} to {}, {} days {:?}: {}",
        entry.period_end,
        entry.subscription,
        entry.buyer,
        entry.component,
        entry.kind,
        entry.plan,
        entry.quantity,
        entry.service_from,
        entry.service_to,
        entry.days,
        entry.action,
        entry.amount.minor
    )
}

/// The lines of some periods that charge something, apart from corrections.
fn normal(bills: &[(NaiveDate, Entry)], wanted: impl Fn(NaiveDate) -> bool) -> Vec<String> {
    let own = bills.iter().filter(|(end, entry)| wanted(*end) && !entry.is_correction());
    let mut lines: Vec<_> = own.map(|(_, entry)| said(entry)).collect();
    lines.sort();
    lines
}

/// What is booked for each period, slot, component and buyer, in whichever period it is booked.
fn booked(bills: &[(NaiveDate, Entry)]) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    for (_, entry) in bills {
        let Entry { period_end, subscription, buyer, component, .. } = entry;
        let key = format!("{period_end} {subscription} {buyer:?} {component}");
        *sums.entry(key).or_insert(0) += entry.amount.minor;
    }
    sums.retain(|_, sum| *sum != 0);
    sums
}

/// A random life, and what was told in it.
struct Life {
    stage: Stage,
    rng: StdRng,
    now: DateTime<Utc>,
    told: Vec<Told>,
    /// How often a fact was said to have been true at another moment.
    superseded: usize,
    closed: usize,
}

impl Life {
    async fn of(seed: u64, engine: Engine, with_prices: bool) -> Result<Self> {
        let mut life = Self {
            stage: Stage::new(engine).await?,
            rng: StdRng::seed_from_u64(seed),
            now: "2019-01-03T08:00:00Z".parse()?,
            told: Vec::new(),
            superseded: 0,
            closed: 0,
        };
        for number in 0..FACTS {
            life.now += Duration::minutes(life.rng.random_range(1..5 * 24 * 60));
            match life.rng.random_range(0..10) {
                0 | 1 if number > 4 => life.supersede().await?,
                2 => life.close().await?,
                _ => life.record(with_prices).await?,
            }
        }
        Ok(life)
    }

    /// No two moments are the same.
    fn moment(&mut self, days: std::ops::Range<i64>) -> DateTime<Utc> {
        let minutes = self.rng.random_range(days.start * 24 * 60..days.end * 24 * 60);
        self.now + Duration::minutes(minutes) + Duration::microseconds(self.told.len() as i64 + 1)
    }

    async fn record(&mut self, with_prices: bool) -> Result<()> {
        let slot = self.rng.random_range(0..self.stage.customers.len() * SERVICES.len());
        let plan = *["basic", "plus"].choose(&mut self.rng).context("a plan")?;
        let (what, days) = match self.rng.random_range(0..12) {
            0..4 => (What::Provision(plan), -40..15),
            4..7 => (What::Change(plan, self.rng.random_range(1..4)), -30..25),
            7 => (What::Deprovision, -30..25),
            8 | 9 => (What::Use(self.rng.random_range(1..70)), -40..-1),
            10 => (What::Charge(format!("{}.05", self.rng.random_range(-9..20))), -30..25),
            _ if with_prices => (What::Price("12.34"), -30..25),
            _ => return Ok(()),
        };
        let at = self.moment(days);
        let recorded = self.now;
        let (moments, position) = (Vec::new(), 0);
        let mut told = Told { recorded, slot, what, moments, position };
        let before = self.stage.head().await?;
        if !self.stage.tell(&told, at).await? {
            return Ok(());
        }
        // Already so: nothing was recorded, and that is nothing.
        if self.stage.head().await? == before {
            return Ok(());
        }
        let log = Log::new(self.stage.world.database.clone());
        for stored in log.read(before, u64::MAX, eventstore::READ_MAX).await? {
            let event = stored.decode()?;
            if ledger::fact(&event).is_some() {
                told.position = event.position;
            }
        }
        told.moments.push((self.stage.head().await?, at));
        self.told.push(told);
        Ok(())
    }

    /// Has some fact be true at another moment.
    async fn supersede(&mut self) -> Result<()> {
        // What a removal took back with it, it would have taken back at another moment, too.
        let is_meant = |it: &Told| it.position > 0 && !matches!(it.what, What::Deprovision);
        let facts: Vec<_> = (0..self.told.len()).filter(|it| is_meant(&self.told[*it])).collect();
        let Some(number) = facts.choose(&mut self.rng).copied() else { return Ok(()) };
        let (_, before) = *self.told[number].moments.last().context("a moment")?;
        let minutes = self.rng.random_range(-9 * 24 * 60..9 * 24 * 60);
        let at = (before + Duration::minutes(minutes)).max("2018-11-02T00:00:00Z".parse()?);
        let position = self.told[number].position;
        let log = Log::new(self.stage.world.database.clone());
        let event = log.read(position - 1, position, 1).await?[0].decode()?;
        let Event::Subscription(happened) = &event.event else { bail!("it is {event:?}") };
        let found = Found {
            subscription: event.stream.split_once('-').context("a slot")?.1.parse()?,
            outcome_of: Some(happened.request()),
            effective_at: event.effective_at,
        };
        let sent = json!({
            "position": position, "effectiveAt": at.to_rfc3339(), "reason": "it was so",
        });
        let command = Command::Supersede { body: body(sent), found: Some(found) };
        self.stage.world.ambient.set(&self.now.to_rfc3339());
        match self.stage.world.submit(Caller::SYSTEM, command).await {
            Ok(_) => {
                let head = self.stage.head().await?;
                if head > position {
                    self.told[number].moments.push((head, at));
                    self.told[number].position = head;
                    self.superseded += 1;
                }
                Ok(())
            }
            Err(commands::Error::Refused(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn books(&self, side: usize) -> Result<Option<BooksView>> {
        let (scope, key) = (Scope::catalogue(), self.stage.sellers[side].0.to_string());
        let database = &self.stage.world.database;
        let books = finder::find::<BooksView>(database, &scope, &key).await?;
        Ok(books.map(|books| books.as_ref().clone()))
    }

    /// Closes the next period of one of the sellers, if it is over.
    async fn close(&mut self) -> Result<()> {
        let side = self.rng.random_range(0..2);
        let closed = self.books(side).await?.map_or(0, |books| books.closed.len());
        let Some(end) = ENDS.get(closed) else { return Ok(()) };
        let over = end.parse::<NaiveDate>()? + Duration::days(1);
        if self.now.date_naive() < over {
            return Ok(());
        }
        let (seller, _) = &self.stage.sellers[side];
        self.stage.world.ambient.set(&self.now.to_rfc3339());
        close(&self.stage.world, &seller.to_string(), end).await?;
        self.closed += 1;
        Ok(())
    }

    /// One who was told up to a position, and only of what was true by a moment.
    async fn twin(&self, as_of: Option<DateTime<Utc>>, known_at: u64) -> Result<Stage> {
        let mut twin = Stage::new(Engine::Sqlite).await?;
        twin.slots = self.stage.slots.clone();
        for told in &self.told {
            let Some(at) = told.at(known_at) else { continue };
            if as_of.is_some_and(|as_of| at > as_of) {
                continue;
            }
            // Of what is not there yet nothing can have been used.
            let is_told = twin.tell(told, at).await? || matches!(told.what, What::Use(_));
            ensure!(is_told, "a twin was not told: {told:?}");
        }
        Ok(twin)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_as_of_a_moment_is_that_of_a_twin_who_was_told_of_nothing_else() -> Result<()> {
    let wished = std::env::var("ATRIUM_SEEDS").ok().and_then(|text| text.parse().ok());
    let (mut superseded, mut compared, mut again) = (0, 0, 0);
    for seed in 1..=wished.unwrap_or(2_u64) {
        for engine in BOTH {
            let mut life = Life::of(seed, engine, true).await?;
            superseded += life.superseded;
            for _ in 0..MOMENTS {
                let span = life.now - "2019-01-01T00:00:00Z".parse::<DateTime<Utc>>()?;
                let minutes = life.rng.random_range(0..span.num_minutes());
                let as_of = life.now - Duration::minutes(minutes);
                let head = life.stage.head().await?;
                let known_at = match life.rng.random_bool(0.5) {
                    true => head,
                    false => life.told[life.rng.random_range(0..life.told.len())].moments[0].0,
                };
                let twin = life.twin(Some(as_of), known_at).await?;
                for side in 0..3 {
                    let asked = (Some(as_of), Some(known_at));
                    let bills = life.stage.bills(side, asked).await?;
                    let expected = twin.bills(side, (None, None)).await?;
                    // The provider's books are where the reseller buys.
                    let books = life.books(usize::from(side == 1)).await?;
                    let closed = |end: NaiveDate| {
                        books.as_ref().and_then(|books| books.closed(end, known_at).cloned())
                    };
                    let of = normal(&bills, |end| closed(end).is_none());
                    let expected = normal(&expected, |end| closed(end).is_none());
                    let context = || {
                        format!("seed {seed}, {engine:?}, side {side}, as of {as_of} at {known_at}")
                    };
                    ensure!(of == expected, "{}: {of:#?}\nand {expected:#?}", context());
                    compared += of.len();
                    // What is closed, and was not over by then, is as far as the log went at its cutoff.
                    for end in ENDS {
                        let end = end.parse::<NaiveDate>()?;
                        let Some(closed) = closed(end) else { continue };
                        if as_of.date_naive() > end {
                            continue;
                        }
                        let twin = life.twin(Some(as_of), closed.cutoff).await?;
                        let expected =
                            normal(&twin.bills(side, (None, None)).await?, |it| it == end);
                        let of = normal(&bills, |it| it == end);
                        ensure!(of == expected, "{}, {end}: {of:#?}\nand {expected:#?}", context());
                        again += of.len();
                    }
                }
            }
            laws::check(&life.stage.world.database).await?;
        }
    }
    ensure!(superseded > 0 && compared > 0 && again > 0, "{superseded}, {compared}, {again}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_booked_is_what_a_twin_bills_who_never_closed_a_period() -> Result<()> {
    let wished = std::env::var("ATRIUM_SEEDS").ok().and_then(|text| text.parse().ok());
    let (mut corrections, mut closed) = (0, 0);
    for seed in 1..=wished.unwrap_or(4_u64) {
        for engine in BOTH {
            // A price that is set for the past reaches behind no close.
            let life = Life::of(seed, engine, false).await?;
            closed += life.closed;
            let twin = life.twin(None, u64::MAX).await?;
            for side in 0..3 {
                let bills = life.stage.bills(side, (None, None)).await?;
                corrections += bills.iter().filter(|(_, entry)| entry.is_correction()).count();
                let expected = booked(&twin.bills(side, (None, None)).await?);
                let booked = booked(&bills);
                ensure!(
                    booked == expected,
                    "seed {seed}, {engine:?}, side {side}: {booked:#?}\nand {expected:#?}"
                );
            }
            for (side, (seller, path)) in life.stage.sellers.iter().enumerate() {
                for closed in life.books(side).await?.iter().flat_map(|books| &books.closed) {
                    let database = &life.stage.world.database;
                    let settings = ledger::seller_at(database, path).await?.settings.clone();
                    let period = settings.period_ending(closed.end).context("a period")?;
                    let of = (*seller, path);
                    let cutoff = closed.cutoff;
                    let differs = ledger::compare_sealed(database, of, period, cutoff).await?;
                    ensure!(differs.is_none(), "seed {seed}, {engine:?}, {path}: {differs:?}");
                }
            }
            laws::check(&life.stage.world.database).await?;
        }
    }
    ensure!(corrections > 0 && closed > 0, "{corrections} corrections, {closed} closed");
    Ok(())
}
