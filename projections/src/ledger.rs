//! The ledger: dated facts of every slot, and the entries that are computed from them.
//!
//! A slot's timeline is kept with the slot, in its [`SubscriptionView`]: a fact costs the same to record
//! whatever the history. Nothing is rolled over when a month begins: the entries of a period are
//! computed from the timelines that touch it (design.md, section 7).

mod accounts;
mod as_of;
mod booked;
mod commitments;
mod draft;
mod in_force;
mod names;
mod prices;
mod rater;
mod rehearsal;
mod rules;
mod sellers;
mod slots;
mod supposed;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use domain::billing::{
    BillingSettings, Entry, Fact, Overflow, Period, Quarantine, RateRow, Rest, Timeline,
};
use domain::event::{Event, Recorded};
use domain::money::{Currency, Money, Percent};
use domain::service::Level;
use domain::subscription::Phase;
use domain::{OrganizationId, ServiceKey, SubscriptionId, TaxCategory, TenantPath};
use eventstore::{Database, Error, Value, failpoint};
use tokio_util::task::AbortOnDropHandle;

use self::as_of::Pass;
use self::names::Names;
use self::prices::PriceBook;
use self::slots::{DATE_MAX, histories};
use crate::finder::{self, Scope};
use crate::persons::Persons;
use crate::tables;
use crate::views::{BooksView, OrganizationView, ServiceView, SubscriptionView, UserView};

pub use draft::{Draft, Drafted, compare_sealed};
pub use in_force::{Effect, InForce};
pub use rehearsal::{Change, CustomerEffect, Proposal, Rehearsal, Sum, rehearse};
pub use sellers::Seller;
use sellers::Sellers;
pub use supposed::Supposed;

/// What an event says to the ledger, if anything: only outcomes bill (billing.md, section 2).
#[must_use]
pub fn fact(event: &Recorded) -> Option<Fact> {
    let Event::Subscription(happened) = &event.event else {
        return None;
    };
    Some(Fact {
        actor: event.actor.to_string(),
        change: happened.change()?,
        date: event.effective_date,
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
    Some(Rest {
        actor: event.actor.to_string(),
        date: event.effective_date,
        effective_at: event.effective_at,
        position: event.position,
        reason: event.reason.clone(),
        request: Some(happened.request()),
        suspended: happened.suspended()?,
    })
}

/// The timeline that some events of one slot make, without what was taken back.
pub fn timeline<'a>(events: impl IntoIterator<Item = &'a Recorded>) -> Timeline {
    let mut facts: Vec<Fact> = Vec::new();
    let mut rests: Vec<Rest> = Vec::new();
    for event in events {
        if let Event::Subscription(happened) = &event.event
            && matches!(happened.phase(), Phase::Withdrawn | Phase::Superseded)
        {
            facts.retain(|fact| fact.request != Some(happened.request()));
            rests.retain(|rest| rest.request != Some(happened.request()));
        }
        facts.extend(fact(event));
        rests.extend(rest(event));
    }
    Timeline::new(facts).resting(rests)
}

/// The timelines of some slots, in their order, as they were known at a position: with one statement at most, for those
/// whose documents do not keep them whole.
///
/// # Errors
/// What the database says.
pub async fn timelines(
    database: &Database,
    views: Vec<Arc<SubscriptionView>>,
    known_at: u64,
) -> Result<Vec<(Arc<SubscriptionView>, Timeline)>, Error> {
    let slots = slots::with_facts(database, views, (known_at, &[]), None, &HashSet::new()).await?;
    Ok(slots.into_iter().map(|slot| (slot.view, slot.timeline)).collect())
}

/// Which lines.
#[derive(Clone, Debug)]
pub struct Question {
    /// Whose: a tenant and all below it.
    pub scope: Scope,
    /// As if of all that is known only that counted which was true by this moment, and what was held then went on; none:
    /// all counts.
    pub as_of: Option<DateTime<Utc>>,
    /// As it was known at this position of the log; none: now.
    pub known_at: Option<u64>,
    /// Between whom.
    pub side: Side,
}

/// Whose charges are meant: what is charged is rated anew between each seller and the next (billing.md, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// What somebody buys, or is paid.
    Buys(OrganizationId),
    /// What somebody bills, and pays.
    Sells(OrganizationId),
}

/// An entry with the names that people know it by.
#[derive(Clone, Debug)]
pub struct Line {
    /// What is charged, and why.
    pub entry: Entry,
    /// Who buys.
    pub customer: Arc<OrganizationView>,
    /// Who sells.
    pub seller: Arc<Seller>,
    /// The reseller who buys, or is paid a commission; none: the customer buys.
    pub buyer: Option<Arc<Seller>>,
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
    /// How it is taxed.
    pub tax_category: Option<TaxCategory>,
    /// How much tax its seller adds; none: it is computed elsewhere.
    pub tax_percent: Option<Percent>,
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

/// How a seller at a place bills: a customer stands for the one above it.
///
/// # Errors
/// What the database says; where there is no provider yet.
pub async fn seller_at(database: &Database, path: &TenantPath) -> Result<Arc<Seller>, Error> {
    let own = Scope(path.clone());
    let sellers = Sellers::load(database, &own, []).await?;
    let nearest = path.lineage().into_iter().rev().find_map(|path| sellers.at(&path).cloned());
    nearest.ok_or_else(|| {
        Error::Unsuitable("there is no provider yet; start `atrium serve` or `demo` once".into())
    })
}

/// The exchange rates that a seller goes by for a period that ends on a date: those known at a position, and at most those
/// that were known when he closed it; of them those that counted by a moment.
///
/// # Errors
/// What the database says.
pub async fn rates(
    database: &Database,
    seller: &Seller,
    end: NaiveDate,
    (as_of, known_at): (Option<DateTime<Utc>>, Option<u64>),
) -> Result<Vec<RateRow>, Error> {
    let known_at = known_at.unwrap_or(u64::MAX);
    let key = seller.id.to_string();
    let books = finder::find::<BooksView>(database, &Scope::catalogue(), &key).await?;
    let closed = books.as_ref().and_then(|books| books.closed(end, known_at));
    let known_at = closed.map_or(known_at, |closed| closed.cutoff);
    let own = Scope(seller.path.clone());
    let book = PriceBook::load(database, &own, known_at, BTreeSet::new()).await?.until(as_of);
    Ok(book.rates_of(seller, known_at))
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
    let since = rows[0].int(0)?;
    failpoint("projections::ledger::accounts_begin")?;
    let sql = sql.replace("sort", "path").replace("view_subscription", "view_adjustment");
    let rows = database.fetch(&sql, &values).await?;
    let since = DateTime::from_timestamp_micros(since.min(rows[0].int(0)?)).unwrap_or(now);
    let open = settings.period_containing(settings.local_date(now));
    let mut first = settings.period_containing(settings.local_date(since));
    let is_at_edge = settings.instants(&first).0 > since - DATE_MAX;
    let calendars = if is_at_edge { sellers::calendars(database).await? } else { BTreeMap::new() };
    if calendars.values().any(|of| of.zone != settings.zone) {
        // What began on a date began here with that date, although it was another one already where the customer's seller is.
        let last = values.len() + 1;
        let sql = format!(
            "select key, document from view_subscription where ({}) and since < $1 and since <= ${last} \
             order by since limit ${}",
            ranges.join(" or "),
            last + 1
        );
        values.extend([(since + DATE_MAX).timestamp_micros().into(), FIRST_SLOTS_MAX.into()]);
        for row in database.fetch(&sql, &values).await? {
            let view: Arc<SubscriptionView> = tables::read(row.text(0)?, row.bytes(1)?)?;
            let mut dates = view.facts.iter().filter_map(|fact| fact.date);
            if dates.any(|date| date < first.start) {
                first = settings.previous(first);
                break;
            }
        }
    }
    Ok(std::iter::successors(Some(first), |period| Some(settings.next(*period)))
        .take_while(|period| period.end <= open.end)
        .take(PERIODS_MAX)
        .collect())
}

/// Of the first slots, so many at most are looked at for the date on which they began.
const FIRST_SLOTS_MAX: u64 = 500;
/// Most periods that are listed: more than a hundred years.
const PERIODS_MAX: usize = 2_400;
/// Customers that are found at a time.
const CUSTOMERS_AT_A_TIME: u64 = 2_000;
/// More slots than a customer with all his users can have.
const SLOTS_OF_CUSTOMER_MAX: u64 = 1_000_000_000;
/// Customers whose slots are read at a time.
const RATED_AT_A_TIME: usize = 20;
/// Parts of statements that are made while others are used: while one waits for the database, the other is rated.
const PARTS_AHEAD: usize = 2;

/// The statements of some periods, each rated from the facts of the slots that touch it: one pass
/// over the facts, whatever the number of periods.
///
/// # Errors
/// What the database says.
pub async fn statements(
    database: &Database,
    persons: &Persons,
    question: &Question,
    periods: &[Period],
) -> Result<Vec<Statement>, Error> {
    let mut statements: Vec<_> = periods.iter().map(|period| Statement::empty(*period)).collect();
    let mut parts = Parts::begin(database, persons, question, periods).await?;
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
    persons: Persons,
    /// Who reads them: people of his are named.
    reader: Scope,
    periods: Arc<[Period]>,
    passes: Arc<Vec<Pass>>,
    /// Those who are still to come, in the order of the statements.
    customers: std::vec::IntoIter<Arc<OrganizationView>>,
    /// The next parts, made beside each other and beside the use of those before them.
    ahead: VecDeque<AbortOnDropHandle<Result<Vec<Statement>, Error>>>,
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
        periods: &[Period],
    ) -> Result<Self, Error> {
        Self::suppose(database, persons, question, (periods, Supposed::default())).await
    }

    /// The same, as they would be if something were so.
    ///
    /// # Errors
    /// What the database says.
    pub async fn suppose(
        database: &Database,
        persons: &Persons,
        question: &Question,
        (periods, supposed): (&[Period], Supposed),
    ) -> Result<Self, Error> {
        let mut customers = buyers(database, &question.scope).await?;
        customers.extend(gone(database, &question.scope).await?);
        customers.sort_by_cached_key(|it| (it.details.name.to_lowercase(), it.number));
        let passes = as_of::passes(database, question, (periods, supposed), &customers).await?;
        if passes.is_empty() {
            customers.clear();
        }
        Ok(Self {
            persons: persons.clone(),
            reader: question.scope.clone(),
            periods: periods.into(),
            passes: Arc::new(passes),
            customers: customers.into_iter(),
            ahead: VecDeque::new(),
        })
    }

    /// The same, for who sees more than whom they are about: others are named to him, too.
    #[must_use]
    pub fn seen_by(self, reader: &Scope) -> Self {
        Self { reader: reader.clone(), ..self }
    }

    /// Begins the next parts, as far as there are any.
    fn go_ahead(&mut self) {
        while self.ahead.len() < PARTS_AHEAD && self.customers.len() > 0 {
            let customers: Vec<_> = self.customers.by_ref().take(RATED_AT_A_TIME).collect();
            let (passes, periods) = (self.passes.clone(), self.periods.clone());
            let (persons, reader) = (self.persons.clone(), self.reader.clone());
            let part = async move {
                let mut statements: Vec<_> =
                    periods.iter().copied().map(Statement::empty).collect();
                for pass in passes.iter() {
                    let read = pass.rater.read(customers.clone()).await?;
                    let (slots, named) = (read.slots(), (read.entries(), read.actors()));
                    let database = &pass.rater.database;
                    let names = Names::load(database, &persons, &reader, slots, named).await?;
                    pass.add(&read, &names, &mut statements);
                }
                if passes.len() > 1 {
                    statements.iter_mut().for_each(Statement::sort);
                }
                Ok(statements)
            };
            self.ahead.push_back(AbortOnDropHandle::new(tokio::spawn(part)));
        }
    }

    /// The next customers' part of each statement; none where everybody has been.
    ///
    /// # Errors
    /// What the database says.
    pub async fn next(&mut self) -> Result<Option<Vec<Statement>>, Error> {
        self.go_ahead();
        let Some(part) = self.ahead.pop_front() else { return Ok(None) };
        // Nobody cancels it, so it has panicked, which is not for us to hide.
        let part = part.await.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()));
        self.go_ahead();
        part.map(Some)
    }
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
    periods: &[Period],
) -> Result<Vec<Total>, Error> {
    let empty = |period: &Period| Total {
        period: *period,
        amounts: BTreeMap::new(),
        lines: 0,
        quarantined: Vec::new(),
    };
    let mut totals: Vec<_> = periods.iter().map(empty).collect();
    let mut parts = Parts::begin(database, persons, question, periods).await?;
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
    of_kinds(database, scope, &["customer"]).await
}

/// All who may be charged for something, in the order of their paths: customers, and resellers, who have accounts.
async fn buyers(database: &Database, scope: &Scope) -> Result<Vec<Arc<OrganizationView>>, Error> {
    of_kinds(database, scope, &["customer", "reseller"]).await
}

/// The organisations of some kinds in scope, however long they are gone, in the order of their paths.
async fn of_kinds(
    database: &Database,
    scope: &Scope,
    kinds: &[&str],
) -> Result<Vec<Arc<OrganizationView>>, Error> {
    let all = kinds.iter().flat_map(|kind| {
        ["", "deleted ", "deleted and purged "].map(|gone| format!("'{gone}{kind}'"))
    });
    let kinds = all.collect::<Vec<_>>().join(", ");
    let sql = format!(
        "select key, document from view_organization \
         where path >= $1 and path < $2 and path > $3 and kind in ({kinds}) order by path limit $4"
    );
    let mut found: Vec<Arc<OrganizationView>> = Vec::new();
    loop {
        let after = found.last().map_or("", |last| last.path.as_str());
        failpoint("projections::ledger::customers")?;
        let values = [
            scope.0.as_str().into(),
            scope.0.end().into(),
            after.into(),
            CUSTOMERS_AT_A_TIME.into(),
        ];
        let rows = database.fetch(&sql, &values).await?;
        for row in &rows {
            found.push(tables::read(row.text(0)?, row.bytes(1)?)?);
        }
        if (rows.len() as u64) < CUSTOMERS_AT_A_TIME {
            return Ok(found);
        }
    }
}
