//! The ledger: dated facts of every slot, and the entries that are computed from them.
//!
//! A slot's timeline is kept with the slot, in its [`SubscriptionView`]: a fact costs the same to record
//! whatever the history. Nothing is rolled over when a month begins: the entries of a period are
//! computed from the timelines that touch it (design.md, section 7).

mod in_force;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::billing::description::{self, Variables};
use domain::billing::{
    BillingSettings, Entry, Fact, Overflow, Override, Period, Prices, Quarantine, Rest, Subject,
    Timeline, rate,
};
use domain::event::{Event, Recorded};
use domain::money::{Currency, Money};
use domain::service::Level;
use domain::subscription::{Phase, SubscriptionEvent};
use domain::{OrganizationId, ServiceKey, SubscriptionId, TenantPath};
use eventstore::{Database, Error, Value, failpoint};
use tokio::task::JoinSet;

use crate::finder::{self, Query, Scope};
use crate::persons::Persons;
use crate::tables;
use crate::views::{
    CalendarView, Edge, Holder, OrganizationView, OverrideView, ServiceView, SubscriptionView,
    UserView,
};

pub use in_force::{Effect, InForce};

/// What an event says to the ledger, if anything: only outcomes bill (billing.md, section 2).
#[must_use]
pub fn fact(event: &Recorded) -> Option<Fact> {
    let Event::Subscription(happened) = &event.event else {
        return None;
    };
    Some(Fact {
        actor: event.actor.to_string(),
        change: happened.change()?,
        effective_at: event.effective_at,
        position: event.position,
        reason: event.reason.clone(),
        request: Some(happened.request()),
        values: happened.values(),
    })
}

/// What an event says about resting, if anything: only outcomes count.
#[must_use]
pub fn rest(event: &Recorded) -> Option<Rest> {
    let Event::Subscription(happened) = &event.event else {
        return None;
    };
    let suspended = match happened {
        SubscriptionEvent::Suspended { .. } => true,
        SubscriptionEvent::Resumed { .. } => false,
        _ => return None,
    };
    Some(Rest {
        actor: event.actor.to_string(),
        effective_at: event.effective_at,
        position: event.position,
        reason: event.reason.clone(),
        request: Some(happened.request()),
        suspended,
    })
}

/// The timeline that some events of one slot make, without what was taken back.
pub fn timeline<'a>(events: impl IntoIterator<Item = &'a Recorded>) -> Timeline {
    let mut facts: Vec<Fact> = Vec::new();
    let mut rests: Vec<Rest> = Vec::new();
    for event in events {
        if let Event::Subscription(happened) = &event.event
            && happened.phase() == Phase::Withdrawn
        {
            facts.retain(|fact| fact.request != Some(happened.request()));
            rests.retain(|rest| rest.request != Some(happened.request()));
        }
        facts.extend(fact(event));
        rests.extend(rest(event));
    }
    Timeline::new(facts).resting(rests)
}

/// Which lines.
#[derive(Clone, Debug)]
pub struct Question {
    /// Whose: a tenant and all below it.
    pub scope: Scope,
    /// As it was known at this position of the log; none: now.
    pub known_at: Option<u64>,
}

/// An entry with the names that people know it by.
#[derive(Clone, Debug)]
pub struct Line {
    /// What is charged, and why.
    pub entry: Entry,
    /// Who buys.
    pub customer: Arc<OrganizationView>,
    /// Where that one is in the tree, for who sells.
    pub place: TenantPath,
    /// The user who holds it, for a user service.
    pub user: Option<Arc<UserView>>,
    /// That one's name.
    pub user_name: Option<String>,
    /// The instance's name, where the service has many.
    pub instance: Option<String>,
    /// The service's name.
    pub service_name: String,
    /// The plan's name.
    pub plan_name: String,
    /// Stock code at the end of the period.
    pub sku: String,
    /// The service as it is sold now.
    pub service: Arc<ServiceView>,
    /// Up to which position that is known.
    pub known_at: u64,
    /// To whom the service is provisioned.
    pub level: Level,
    /// Who caused it to be as it is, by name.
    pub actor_name: String,
    /// Describes this line.
    pub line_description: String,
    /// Describes all lines that are summed up with it.
    pub summary_description: String,
}

impl Line {
    /// The stock code just before a moment.
    #[must_use]
    pub fn sku_before(&self, moment: DateTime<Utc>) -> &str {
        let sku = self.service.sku_before(&self.entry.plan, moment, self.known_at);
        sku.unwrap_or(self.entry.plan.as_str())
    }
}

/// A subscription that could not be rated: reported, never zero by silence.
#[derive(Clone, Debug)]
pub struct Quarantined {
    /// Which.
    pub subscription: SubscriptionId,
    /// Whose.
    pub customer: OrganizationId,
    /// Of which service.
    pub service: ServiceKey,
    /// Why.
    pub cause: Quarantine,
}

/// A period's lines.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Which period.
    pub period: Period,
    /// By customer name, then by service and instance, then by date.
    pub lines: Vec<Line>,
    /// What could not be rated.
    pub quarantined: Vec<Quarantined>,
}

impl Statement {
    fn empty(period: Period) -> Self {
        Self { period, lines: Vec::new(), quarantined: Vec::new() }
    }

    /// The sum of what is billable.
    ///
    /// # Errors
    /// Where it is beyond what can be held.
    pub fn total(&self, currency: Currency) -> Result<Money, Overflow> {
        self.lines.iter().try_fold(Money::new(0, currency), |sum, line| {
            sum.checked_add(line.entry.amount).ok_or(Overflow)
        })
    }
}

/// The settings that everybody bills by.
///
/// # Errors
/// What the database says; where there is no provider yet.
pub async fn settings(database: &Database) -> Result<BillingSettings, Error> {
    let query = Query { limit: 1, ..Query::default() };
    let page = finder::list::<CalendarView>(database, &Scope::catalogue(), &query).await?;
    let (_, calendar) = page.items.first().ok_or_else(|| {
        Error::Unsuitable("there is no provider yet; start `atrium serve` or `demo` once".into())
    })?;
    Ok(calendar.settings.clone())
}

/// All billing periods of a scope, ascending: from the first that anything was held in to the one
/// that `now` lies in.
///
/// # Errors
/// What the database says.
pub async fn periods(
    database: &Database,
    scope: &Scope,
    settings: &BillingSettings,
    now: DateTime<Utc>,
) -> Result<Vec<Period>, Error> {
    let here = (scope.0.as_str().to_owned(), scope.0.end());
    let elsewhere = gone(database, scope).await?;
    let elsewhere = elsewhere.iter().map(|it| (it.path.to_string(), it.path.end()));
    let mut values = vec![now.timestamp_micros().into()];
    let mut ranges = Vec::new();
    for (first, end) in std::iter::once(here).chain(elsewhere) {
        ranges.push(format!("sort >= ${} and sort < ${}", values.len() + 1, values.len() + 2));
        values.extend([Value::Text(first), Value::Text(end)]);
    }
    let sql = format!(
        "select coalesce(min(since), $1) from view_subscription where ({}) and since < $1",
        ranges.join(" or ")
    );
    failpoint("projections::ledger::periods")?;
    let rows = database.fetch(&sql, &values).await?;
    let since = DateTime::from_timestamp_micros(rows[0].int(0)?).unwrap_or(now);
    let open = settings.period_containing(settings.local_date(now));
    let first = settings.period_containing(settings.local_date(since));
    Ok(std::iter::successors(Some(first), |period| Some(settings.next(*period)))
        .take_while(|period| period.end <= open.end)
        .take(PERIODS_MAX)
        .collect())
}

/// Most periods that are listed: more than a hundred years.
const PERIODS_MAX: usize = 2_400;
/// Customers that are found at a time.
const CUSTOMERS_AT_A_TIME: u64 = 2_000;
/// More slots than a customer with all his users can have.
const SLOTS_OF_CUSTOMER_MAX: u64 = 1_000_000_000;
/// Customers whose slots are read at a time.
const RATED_AT_A_TIME: usize = 50;

/// The statements of some periods, each rated from the facts of the slots that touch it: one pass
/// over the facts, whatever the number of periods.
///
/// # Errors
/// What the database says.
pub async fn statements(
    database: &Database,
    persons: &Persons,
    question: &Question,
    settings: &BillingSettings,
    periods: &[Period],
) -> Result<Vec<Statement>, Error> {
    let mut statements: Vec<_> = periods.iter().map(|period| Statement::empty(*period)).collect();
    let mut parts = Parts::begin(database, persons, question, settings, periods).await?;
    while let Some(part) = parts.next().await? {
        for (statement, mut part) in statements.iter_mut().zip(part) {
            statement.lines.append(&mut part.lines);
            statement.quarantined.append(&mut part.quarantined);
        }
    }
    Ok(statements)
}

/// The statements of some periods, some customers at a time: who goes through them needs little memory,
/// whatever there is.
#[derive(Debug)]
pub struct Parts {
    database: Database,
    persons: Persons,
    question: Question,
    settings: BillingSettings,
    periods: Vec<Period>,
    prices: PriceBook,
    /// Those who are still to come, in the order of the statements.
    customers: std::vec::IntoIter<Arc<OrganizationView>>,
    /// The next ones, who are read while those before them are rated.
    reading: JoinSet<Result<Customers, Error>>,
}

/// Some customers with all that their lines are made of.
struct Customers {
    customers: Vec<Arc<OrganizationView>>,
    /// By the customer's path.
    slots: HashMap<String, Vec<Slot>>,
    names: Names,
}

impl Parts {
    /// Finds whose statements they are.
    ///
    /// # Errors
    /// What the database says.
    pub async fn begin(
        database: &Database,
        persons: &Persons,
        question: &Question,
        settings: &BillingSettings,
        periods: &[Period],
    ) -> Result<Self, Error> {
        let mut customers = customers(database, &question.scope).await?;
        customers.extend(gone(database, &question.scope).await?);
        let known_at = question.known_at.unwrap_or(u64::MAX);
        let turned = customers.iter().filter(|customer| !customer.edges.is_empty());
        let places: BTreeSet<_> = turned
            .flat_map(|customer| customer.edges_known_at(known_at))
            .flat_map(|edge| edge.path.lineage())
            .collect();
        customers.sort_by_cached_key(|it| (it.details.name.to_lowercase(), it.number));
        Ok(Self {
            database: database.clone(),
            persons: persons.clone(),
            question: question.clone(),
            settings: settings.clone(),
            periods: periods.to_vec(),
            prices: PriceBook::load(database, question, places).await?,
            customers: customers.into_iter(),
            reading: JoinSet::new(),
        })
    }

    /// Begins to read what the next customers have, if there are any.
    fn read_on(&mut self) {
        let customers: Vec<_> = self.customers.by_ref().take(RATED_AT_A_TIME).collect();
        let periods = || self.periods.iter();
        let (Some(first), Some(last), false) = (
            periods().min_by_key(|it| it.start),
            periods().max_by_key(|it| it.end),
            customers.is_empty(),
        ) else {
            return;
        };
        let span = (self.settings.instants(first).0, self.settings.instants(last).1);
        let (database, question) = (self.database.clone(), self.question.clone());
        let persons = self.persons.clone();
        self.reading.spawn(async move {
            let slots = slots(&database, &question, span, &customers).await?;
            let slots_of_all = slots.values().flatten();
            let names = Names::load(&database, &persons, &question.scope, slots_of_all).await?;
            Ok(Customers { customers, slots, names })
        });
    }

    /// The next customers' part of each statement; none where everybody has been.
    ///
    /// # Errors
    /// What the database says.
    pub async fn next(&mut self) -> Result<Option<Vec<Statement>>, Error> {
        if self.reading.is_empty() {
            self.read_on();
        }
        let Some(read) = self.reading.join_next().await else { return Ok(None) };
        // Nobody cancels it, so it has panicked, which is not for us to hide.
        let read = read.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()));
        let Customers { customers, mut slots, names } = read?;
        self.read_on();
        let mut statements: Vec<_> =
            self.periods.iter().map(|period| Statement::empty(*period)).collect();
        for customer in &customers {
            let slots = slots.remove(customer.path.as_str()).unwrap_or_default();
            self.rate(customer, &slots, &names, &mut statements);
        }
        Ok(Some(statements))
    }

    /// Adds a customer's lines.
    fn rate(
        &self,
        customer: &Arc<OrganizationView>,
        slots: &[Slot],
        names: &Names,
        statements: &mut [Statement],
    ) {
        let edges = customer.edges_known_at(self.question.known_at.unwrap_or(u64::MAX));
        let mut known = HashMap::new();
        for slot in slots {
            let Some(service) = self.prices.services.get(slot.view.service.as_str()) else {
                continue;
            };
            let sold = |end| (service, self.prices.known_at, end);
            for (place, edge) in edges.iter().enumerate() {
                if !sees(&self.question.scope, customer, edge) {
                    continue;
                }
                let until = edges.get(place + 1).and_then(|next| next.turn.as_ref());
                let own;
                let timeline = if edge.turn.is_none() && until.is_none() {
                    &slot.timeline
                } else {
                    own = slot.timeline.between(edge.turn.as_ref(), until);
                    &own
                };
                let prices = known
                    .entry((&service.key, place))
                    .or_insert_with(|| self.prices.at(service, &edge.path, &customer.path));
                let subject = Subject {
                    customer: customer.id,
                    seller: edge.seller,
                    service: service.key.clone(),
                    subscription: slot.view.id,
                };
                for statement in &mut *statements {
                    let end = self.settings.instants(&statement.period).1;
                    match rate(&subject, timeline, prices, &self.settings, &statement.period) {
                        Ok(entries) => {
                            let line =
                                |entry| names.line(entry, slot, (customer, &edge.path), sold(end));
                            statement.lines.extend(entries.into_iter().map(line));
                        }
                        Err(cause) => statement.quarantined.push(Quarantined {
                            subscription: slot.view.id,
                            customer: customer.id,
                            service: service.key.clone(),
                            cause,
                        }),
                    }
                }
            }
        }
    }
}

/// Whether what a seller bills a customer is for those to see who ask: he or somebody above him, or the customer.
fn sees(scope: &Scope, customer: &OrganizationView, edge: &Edge) -> bool {
    scope.0.contains(&edge.path) || customer.path == scope.0
}

/// The customers that were in scope and are elsewhere now: they were billed here.
async fn gone(database: &Database, scope: &Scope) -> Result<Vec<Arc<OrganizationView>>, Error> {
    let left = finder::left(database, scope).await?;
    if left.is_empty() {
        return Ok(Vec::new());
    }
    let ids = left.iter().map(|it| it.organization.to_string()).collect();
    let all = finder::find_many::<OrganizationView>(database, &Scope::catalogue(), ids).await?;
    Ok(all.into_values().filter(|it| !scope.0.contains(&it.path)).collect())
}

/// What a period comes to, without its lines.
#[derive(Clone, Debug)]
pub struct Total {
    /// Which period.
    pub period: Period,
    /// The sums, one for each currency.
    pub amounts: BTreeMap<Currency, Money>,
    /// How many lines there are.
    pub lines: u64,
    /// What could not be rated.
    pub quarantined: Vec<Quarantined>,
}

impl Total {
    /// Adds a part of its statement.
    fn add(&mut self, mut part: Statement) -> Result<(), Error> {
        self.lines += part.lines.len() as u64;
        self.quarantined.append(&mut part.quarantined);
        for line in part.lines {
            let amount = line.entry.amount;
            let sum = self.amounts.entry(amount.currency).or_insert(Money::new(0, amount.currency));
            *sum = sum.checked_add(amount).ok_or_else(|| {
                Error::Unsuitable(format!("the total of {} is too large", self.period.label()))
            })?;
        }
        Ok(())
    }
}

/// What some periods come to, in one pass like [`statements`], but without keeping the lines.
///
/// # Errors
/// What the database says; where a total is beyond what can be held.
pub async fn totals(
    database: &Database,
    persons: &Persons,
    question: &Question,
    settings: &BillingSettings,
    periods: &[Period],
) -> Result<Vec<Total>, Error> {
    let empty = |period: &Period| Total {
        period: *period,
        amounts: BTreeMap::new(),
        lines: 0,
        quarantined: Vec::new(),
    };
    let mut totals: Vec<_> = periods.iter().map(empty).collect();
    let mut parts = Parts::begin(database, persons, question, settings, periods).await?;
    while let Some(part) = parts.next().await? {
        totals.iter_mut().zip(part).try_for_each(|(total, statement)| total.add(statement))?;
    }
    Ok(totals)
}

/// The customers in scope, in the order of their paths.
async fn customers(
    database: &Database,
    scope: &Scope,
) -> Result<Vec<Arc<OrganizationView>>, Error> {
    let mut customers: Vec<Arc<OrganizationView>> = Vec::new();
    loop {
        let after = customers.last().map_or("", |last| last.path.as_str());
        failpoint("projections::ledger::customers")?;
        let rows = database
            .fetch(
                "select key, document from view_organization \
                 where path >= $1 and path < $2 and path > $3 and kind in ('customer', 'deleted customer', 'deleted and purged customer') \
                 order by path limit $4",
                &[
                    scope.0.as_str().into(),
                    scope.0.end().into(),
                    after.into(),
                    CUSTOMERS_AT_A_TIME.into(),
                ],
            )
            .await?;
        for row in &rows {
            customers.push(tables::read(row.text(0)?, row.bytes(1)?)?);
        }
        if (rows.len() as u64) < CUSTOMERS_AT_A_TIME {
            return Ok(customers);
        }
    }
}

/// A slot and its facts.
#[derive(Debug)]
struct Slot {
    view: Arc<SubscriptionView>,
    timeline: Timeline,
}

/// The slots of some customers and their users that are held at any time of a span, with their facts: by the
/// customer's path, in the order of service and instance.
async fn slots(
    database: &Database,
    question: &Question,
    span: (DateTime<Utc>, DateTime<Utc>),
    customers: &[Arc<OrganizationView>],
) -> Result<HashMap<String, Vec<Slot>>, Error> {
    // What was learned since may have ended a slot earlier than was known then.
    let held_until = question.known_at.map_or(span.0.timestamp_micros(), |_| i64::MIN);
    let paths = customers.iter().map(|customer| customer.path.to_string()).collect();
    let engine = database.engine();
    // Behind a path there are letters, digits, `-`, `_` and `.` only: `~` comes after all of them. The bound is
    // beyond what a customer has: PostgreSQL goes by the index for each of them only where there is one.
    let sql = engine.first_of_each(
        &engine.each_of(1, "tenants", "path"),
        "key, document, sort",
        "view_subscription",
        "where sort >= tenants.path and sort < tenants.path || '~' and since < $2 and until >= $3 \
         order by sort, key limit $4",
    ) + " order by sort, key";
    let values = [
        Value::Texts(paths),
        span.1.timestamp_micros().into(),
        held_until.into(),
        SLOTS_OF_CUSTOMER_MAX.into(),
    ];
    failpoint("projections::ledger::slots")?;
    let rows = database.fetch(&sql, &values).await?;
    let views = rows
        .iter()
        .map(|row| tables::read::<SubscriptionView>(row.text(0)?, row.bytes(1)?))
        .collect::<Result<Vec<_>, Error>>()?;
    let known_at = question.known_at.unwrap_or(u64::MAX);
    let mut histories = histories(database, &views, known_at).await?;
    let mut slots = HashMap::<_, Vec<_>>::new();
    for view in views {
        let known = || {
            let facts = view.facts_known_at(known_at).cloned();
            Timeline::new(facts).resting(view.rests_known_at(known_at).cloned())
        };
        let timeline = histories.remove(&view.stream()).unwrap_or_else(known);
        slots.entry(view.path.to_string()).or_default().push(Slot { view, timeline });
    }
    Ok(slots)
}

/// The timelines of those slots that have more than their documents keep, from the log, as they were known at a position:
/// by stream.
async fn histories(
    mut database: &Database,
    views: &[Arc<SubscriptionView>],
    known_at: u64,
) -> Result<HashMap<String, Timeline>, Error> {
    let is_long = |view: &&Arc<SubscriptionView>| view.is_abridged || view.has_more_rests;
    let long = views.iter().filter(is_long).map(|view| view.stream()).collect();
    let mut histories = HashMap::<_, Vec<_>>::new();
    for event in eventstore::streams(&mut database, long).await? {
        if event.position <= known_at {
            histories.entry(event.stream.clone()).or_default().push(event);
        }
    }
    Ok(histories.into_iter().map(|(stream, events)| (stream, timeline(&events))).collect())
}

/// What services cost, and who set what otherwise.
#[derive(Debug)]
struct PriceBook {
    services: BTreeMap<String, Arc<ServiceView>>,
    /// By the path of who set them, in the order of recording.
    overrides: HashMap<String, Vec<Arc<OverrideView>>>,
    known_at: u64,
}

impl PriceBook {
    /// For what is in scope, and for some places beside it.
    async fn load(
        database: &Database,
        question: &Question,
        places: BTreeSet<TenantPath>,
    ) -> Result<Self, Error> {
        let known_at = question.known_at.unwrap_or(u64::MAX);
        let mut services = BTreeMap::new();
        let mut query = Query { limit: finder::LIST_MAX, ..Query::default() };
        loop {
            let page = finder::list(database, &Scope::catalogue(), &query).await?;
            query.after = page.items.last().map(|(cursor, _)| cursor.clone());
            services.extend(
                page.items
                    .into_iter()
                    .map(|(cursor, view): (_, Arc<ServiceView>)| (cursor.key, view)),
            );
            if !page.more {
                break;
            }
        }
        let above = question.scope.0.lineage();
        let above = above.iter().chain(&places).map(ToString::to_string).collect();
        let sql = format!(
            "select key, document from view_override where (path >= $1 and path < $2) or {} \
             order by key",
            database.engine().any_of("path", 3)
        );
        let scope = &question.scope.0;
        let values = [scope.as_str().into(), scope.end().into(), Value::Texts(above)];
        failpoint("projections::ledger::prices")?;
        let rows = database.fetch(&sql, &values).await?;
        let mut overrides = HashMap::<_, Vec<_>>::new();
        for row in &rows {
            let view: Arc<OverrideView> = tables::read(row.text(0)?, row.bytes(1)?)?;
            overrides.entry(view.path.to_string()).or_default().push(view);
        }
        Ok(Self { services, overrides, known_at })
    }

    /// What says the price of a service for somebody at `path`.
    fn of(&self, service: &ServiceView, path: &TenantPath) -> Prices {
        self.at(service, path, path)
    }

    /// What says the price of a service for somebody who is at `own` now and was at `path` then.
    fn at(&self, service: &ServiceView, path: &TenantPath, own: &TenantPath) -> Prices {
        let mut above = path.lineage();
        above.pop();
        above.push(own.clone());
        let overrides = above.iter().zip(1..).flat_map(|(path, depth)| {
            let views = self.overrides.get(path.as_str()).into_iter().flatten();
            let views = views.filter(move |it| {
                it.position <= self.known_at && it.overriding.service == service.key
            });
            views.map(move |it| Override { depth, ..it.for_rating() })
        });
        let rows = service.prices.iter().filter(|row| row.position <= self.known_at);
        let components = service.components.iter().filter(|row| row.position <= self.known_at);
        let policies = service.policies.iter().filter(|row| row.position <= self.known_at);
        Prices {
            components: components.cloned().collect(),
            overrides: overrides.collect(),
            policies: policies.cloned().collect(),
            rows: rows.cloned().collect(),
        }
    }
}

/// The names of the people who have to do with some slots.
struct Names {
    users: BTreeMap<String, (Arc<UserView>, String)>,
}

/// How somebody is called who is not in the reader's scope.
const OUTSIDER: &str = "Service provider";

impl Names {
    async fn load<'a>(
        database: &Database,
        persons: &Persons,
        scope: &Scope,
        slots: impl Iterator<Item = &'a Slot> + Clone,
    ) -> Result<Self, Error> {
        let holders = slots.clone().filter_map(|slot| match slot.view.holder {
            Holder::User(id) => Some(id.to_string()),
            Holder::Customer(_) => None,
        });
        let actors = slots
            .flat_map(|slot| slot.timeline.facts())
            .filter_map(|fact| fact.actor.strip_prefix("user:").map(str::to_owned));
        let holders: BTreeSet<_> = holders.collect();
        let people = holders.iter().cloned().chain(actors).collect();
        let mut users =
            finder::find_many::<UserView>(database, &Scope::catalogue(), people).await?;
        // Who holds what is billed is named, also where he is elsewhere by now.
        users.retain(|id, user| scope.0.contains(&user.path) || holders.contains(id));
        let opened = persons.unlock(database, users.values().map(|user| user.id)).await?;
        let users = users.into_iter().map(|(key, user)| {
            let name = opened.name(user.id, user.person.as_ref());
            (key, (user, name))
        });
        Ok(Self { users: users.collect() })
    }

    fn actor(&self, actor: &str) -> String {
        match actor.strip_prefix("user:") {
            None => "Atrium".to_owned(),
            Some(id) => {
                self.users.get(id).map_or_else(|| OUTSIDER.to_owned(), |(_, name)| name.clone())
            }
        }
    }

    fn line(
        &self,
        entry: Entry,
        slot: &Slot,
        (customer, place): (&Arc<OrganizationView>, &TenantPath),
        (service, known_at, end): (&Arc<ServiceView>, u64, DateTime<Utc>),
    ) -> Line {
        let definition = service.published.as_ref();
        let plan = definition.and_then(|definition| definition.plan(&entry.plan));
        let (user, user_name) = match slot.view.holder {
            Holder::User(id) => self.users.get(&id.to_string()).cloned().unzip(),
            Holder::Customer(_) => (None, None),
        };
        let level = match slot.view.holder {
            Holder::User(_) => Level::User,
            Holder::Customer(_) => Level::Customer,
        };
        let defaults = match (&slot.view.instance, level) {
            (Some(_), _) => description::INSTANCE,
            (None, Level::Customer) => description::CUSTOMER_SERVICE,
            (None, Level::User) => description::USER_SERVICE,
        };
        let service_name = definition.map_or(service.key.as_str(), |it| it.name.as_str());
        let plan_name = plan.map_or(entry.plan.as_str(), |plan| plan.name.as_str());
        let sku = service.sku_before(&entry.plan, end, known_at);
        let sku = sku.unwrap_or(entry.plan.as_str());
        let variables = Variables {
            added_by_user_name: &self.actor(&entry.added_by),
            customer_name: &customer.details.name,
            instance_name: slot.view.instance.as_deref().unwrap_or_default(),
            plan_name,
            product_sku: sku,
            removed_by_user_name: &entry
                .removed_by
                .as_deref()
                .map(|actor| self.actor(actor))
                .unwrap_or_default(),
            service_name,
            user_full_name: user_name.as_deref().unwrap_or_default(),
        };
        let line = definition.and_then(|it| it.line_description.as_deref());
        let summary = definition.and_then(|it| it.summary_description.as_deref());
        let component = plan.and_then(|plan| plan.component(&entry.component));
        let mut line_description = description::render(line.unwrap_or(defaults.line), &variables);
        if !entry.component.is_recurring() {
            let name = component.map_or(entry.component.as_str(), |it| &it.name);
            line_description = format!("{line_description}: {name}");
        }
        Line {
            line_description,
            summary_description: description::render(
                summary.unwrap_or(defaults.summary),
                &variables,
            ),
            actor_name: self.actor(&entry.actor),
            service_name: service_name.to_owned(),
            plan_name: plan_name.to_owned(),
            sku: sku.to_owned(),
            service: service.clone(),
            known_at,
            instance: slot.view.instance.clone(),
            customer: customer.clone(),
            place: place.clone(),
            level,
            user,
            user_name,
            entry,
        }
    }
}
