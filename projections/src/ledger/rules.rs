//! What rules say is not charged: with everything as it was when the period ended.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use domain::billing::rule::{Field, Rule, Ruled, waive};
use domain::billing::rulebook::Pattern;
use domain::billing::tax::{TaxRate, rate_on};
use domain::billing::{BillingSettings, Entry, Holding, Period, Timeline};
use domain::event::{Event, Recorded};
use domain::lifecycle::Status;
use domain::money::Percent;
use domain::organization::{Details, Organization, OrganizationEvent};
use domain::{Decider, OrganizationId, PropertyKey, SubscriptionId, TaxCategory, TenantPath};
use eventstore::{Database, Error};

use super::as_of::just_after;
use super::sellers::{Link, Role, Sellers};
use super::slots::Slot;
use crate::effective;
use crate::finder::{self, Scope};
use crate::views::{
    Described, Holder, OrganizationView, RulebookView, ServiceView, UserView, described,
};

/// The rules of some sellers.
#[derive(Debug)]
pub(super) struct Rules {
    books: HashMap<OrganizationId, Book>,
    known_at: u64,
    /// By which moment something has to be true so that it counts, if not all does.
    as_of: Option<DateTime<Utc>>,
}

/// A seller's rulebook, and what it says as far as is known: looked up once, and not for every line.
#[derive(Debug)]
struct Book {
    view: Arc<RulebookView>,
    /// In their order, each with the position of what said it.
    rules: Vec<(u64, Rule)>,
    patterns: Vec<Pattern>,
    tax_rates: Vec<TaxRate>,
}

impl Book {
    fn new(view: Arc<RulebookView>, known_at: u64) -> Self {
        let rules = view.rules_known_at(known_at);
        Self {
            rules: rules.iter().map(|it| (it.position, it.rule.clone())).collect(),
            patterns: view.patterns_known_at(known_at).cloned().collect(),
            tax_rates: view.tax_rates_known_at(known_at).cloned().collect(),
            view,
        }
    }
}

impl Rules {
    pub(super) async fn load(
        database: &Database,
        sellers: &BTreeSet<OrganizationId>,
        known_at: u64,
    ) -> Result<Self, Error> {
        let keys = sellers.iter().map(ToString::to_string).collect();
        let found = finder::find_many::<RulebookView>(database, &Scope::catalogue(), keys).await?;
        let books = found.into_values().map(|view| (view.seller, Book::new(view, known_at)));
        let books = books.collect();
        Ok(Self { books, known_at, as_of: None })
    }

    /// Without what counts only later than a moment.
    pub(super) fn until(mut self, as_of: Option<DateTime<Utc>>, sellers: &Sellers) -> Self {
        for seller in sellers.all() {
            let Some((as_of, book)) = as_of.zip(self.books.get_mut(&seller.id)) else { continue };
            let today = seller.settings.local_date(as_of);
            book.rules.retain(|(_, rule)| rule.from <= today);
            book.tax_rates.retain(|rate| rate.key.from <= today);
        }
        Self { as_of, ..self }
    }

    /// The first moment after a period, or after all that counts.
    pub(super) fn end_of(&self, period: &Period, settings: &BillingSettings) -> DateTime<Utc> {
        let end = settings.instants(period).1;
        self.as_of.map_or(end, |as_of| end.min(just_after(as_of)))
    }

    /// Goes by what sellers would say, in periods that are not closed.
    pub(super) fn suppose(&mut self, rulebooks: impl Iterator<Item = Arc<RulebookView>>) {
        for view in rulebooks {
            self.books.insert(view.seller, Book::new(view, u64::MAX));
        }
    }

    /// Goes by all that was ever said, in periods that are not closed.
    pub(super) fn as_known_now(&mut self) {
        for book in self.books.values_mut() {
            *book = Book::new(book.view.clone(), u64::MAX);
        }
    }

    /// A seller's rules that count for a period, in their order; of a closed one, those that were known at its cutoff.
    fn of(&self, seller: OrganizationId, end: NaiveDate, cutoff: Option<u64>) -> Vec<Ruled<'_>> {
        let Some(book) = self.books.get(&seller) else { return Vec::new() };
        let mut rules = match cutoff {
            None => book
                .rules
                .iter()
                .map(|(position, rule)| Ruled { position: *position, rule })
                .collect(),
            Some(cutoff) => book.view.rules_known_at(cutoff),
        };
        rules.retain(|it| it.rule.is_valid_on(end));
        rules
    }

    /// Whether any rule that a seller ever had looks at something of that sort.
    fn look_at(&self, seller: OrganizationId, sort: fn(&Field) -> bool) -> bool {
        let own = self.books.get(&seller).into_iter().flat_map(|book| &book.view.rules);
        let mut own = own.filter_map(|said| said.value.as_ref());
        own.any(|rule| rule.condition.fields().into_iter().any(sort))
    }

    /// How an entry and what it is summed up by is described, where its seller says so.
    pub(super) fn described(&self, entry: &Entry) -> Described<'_> {
        let Some(book) = self.books.get(&entry.seller) else { return Described::default() };
        described(&book.patterns, (&entry.service, &entry.plan, &entry.component))
    }

    /// How much tax a seller adds for a category in what ends on a date, as it was known at a position.
    pub(super) fn tax_percent(
        &self,
        seller: OrganizationId,
        category: &TaxCategory,
        end: NaiveDate,
        known_at: u64,
    ) -> Option<Percent> {
        let book = self.books.get(&seller)?;
        match known_at == self.known_at {
            true => rate_on(&book.tax_rates, category, end),
            false => rate_on(book.view.tax_rates_known_at(known_at), category, end),
        }
    }

    fn are_none(&self) -> bool {
        self.books.is_empty()
    }

    /// Takes off what is not charged of a slot's entries of one period and link.
    pub(super) fn waive(&self, entries: &mut [Entry], of: &Of<'_>, then: &Then) {
        if entries.is_empty() || self.are_none() {
            return;
        }
        let rules = self.of(of.link.seller.id, of.period.end, of.cutoff);
        if !rules.is_empty() {
            let held = held_last(of.timeline, of.end);
            waive(entries, &rules, &|field| then.look(field, of, held, self.known_at));
        }
    }
}

/// What the seller of an entry says about it.
#[derive(Clone, Copy)]
pub(super) struct Own<'a> {
    pub(super) described: Described<'a>,
    pub(super) tax_category: Option<&'a TaxCategory>,
    pub(super) tax_percent: Option<Percent>,
}

/// What is looked at: a slot, in one period and between two.
pub(super) struct Of<'a> {
    pub(super) customer: &'a OrganizationView,
    pub(super) link: &'a Link,
    pub(super) slot: &'a Slot,
    pub(super) service: &'a ServiceView,
    /// As far as the link goes.
    pub(super) timeline: &'a Timeline,
    pub(super) period: &'a Period,
    /// The first moment after the period, or after all that counts.
    pub(super) end: DateTime<Utc>,
    /// Of a closed period, as far as the log counted.
    pub(super) cutoff: Option<u64>,
}

/// What is held when a period ends; or was at last, where nothing is.
fn held_last(timeline: &Timeline, end: DateTime<Utc>) -> Option<Holding<'_>> {
    let last = || {
        let before = timeline.facts().iter().rev().filter(|fact| fact.effective_at < end);
        before.filter_map(|fact| fact.holding()).next()
    };
    timeline.state_at(just_before(end)).or_else(last)
}

fn just_before(end: DateTime<Utc>) -> DateTime<Utc> {
    end - TimeDelta::microseconds(1)
}

/// What customers, users and properties were, as far as rules look at it.
#[derive(Default)]
pub(super) struct Then {
    customers: HashMap<OrganizationId, Vec<Customer>>,
    users: HashMap<String, Arc<UserView>>,
    properties: HashMap<(SubscriptionId, TenantPath, NaiveDate), Properties>,
}

type Properties = HashMap<PropertyKey, String>;

/// What a customer was, from when on.
struct Customer {
    at: DateTime<Utc>,
    details: Details,
    status: Status,
}

/// A customer with all its slots, between whom they are charged, and which periods are rated of each of these.
pub(super) struct Asked<'a> {
    pub(super) customer: &'a Arc<OrganizationView>,
    pub(super) links: &'a [Link],
    pub(super) slots: &'a [Slot],
    pub(super) periods: Vec<(OrganizationId, BTreeSet<Period>)>,
}

impl Then {
    /// Reads what rules look at of some customers: in a number of statements that does not depend on how many they are.
    pub(super) async fn read(
        mut database: &Database,
        rules: &Rules,
        known_at: Option<u64>,
        asked: &[Asked<'_>],
    ) -> Result<Self, Error> {
        let mut then = Self::default();
        if rules.are_none() {
            return Ok(then);
        }
        let look_at = |it: &Asked<'_>, sort: fn(&Field) -> bool| {
            it.links.iter().any(|link| rules.look_at(link.seller.id, sort))
        };
        let stream = |id: OrganizationId| format!("{}-{id}", Organization::CATEGORY);
        // Of most customers nothing has ever changed.
        let changed = asked.iter().filter(|it| it.customer.version > 1);
        let changed = changed.filter(|it| look_at(it, Field::is_of_customer));
        let streams: Vec<_> = changed.map(|it| stream(it.customer.id)).collect();
        if !streams.is_empty() {
            let mut histories = HashMap::<_, Vec<_>>::new();
            for event in eventstore::streams(&mut database, streams).await? {
                if event.position <= rules.known_at {
                    histories.entry(event.stream.clone()).or_default().push(event);
                }
            }
            for it in asked {
                if let Some(events) = histories.get(&stream(it.customer.id)) {
                    then.customers.insert(it.customer.id, customers(events));
                }
            }
        }
        let of_users = asked.iter().filter(|it| look_at(it, Field::is_of_user));
        let holders = of_users.flat_map(|it| it.slots).filter_map(|slot| match slot.view.holder {
            Holder::User(id) => Some(id.to_string()),
            Holder::Customer(_) => None,
        });
        let holders: BTreeSet<_> = holders.collect();
        if !holders.is_empty() {
            let holders = holders.into_iter().collect();
            then.users = finder::find_many(database, &Scope::catalogue(), holders)
                .await?
                .into_iter()
                .collect();
        }
        then.properties = properties(database, rules, known_at, asked).await?;
        Ok(then)
    }

    /// What a field is; none where there is nothing.
    fn look<'a>(
        &'a self,
        field: &Field,
        of: &Of<'a>,
        held: Option<Holding<'a>>,
        known_at: u64,
    ) -> Option<Cow<'a, str>> {
        let now = &of.customer.details;
        let own = || {
            let history = self.customers.get(&of.customer.id)?;
            // What was made later had been nothing else before.
            history.iter().rev().find(|it| it.at < of.end).or(history.first())
        };
        let details = || own().map_or(now, |it| &it.details);
        let user = match of.slot.view.holder {
            Holder::User(id) => Some(id),
            Holder::Customer(_) => None,
        };
        let stood = || {
            let view = self.users.get(&user?.to_string())?;
            Some(view.stood_before(of.end, known_at))
        };
        Some(match field {
            Field::CustomerBillingIdentifier => details().billing_identifier.as_deref()?.into(),
            Field::CustomerCode => details().code.as_str().into(),
            Field::CustomerField(name) => details().custom_fields.all().get(name)?.as_str().into(),
            Field::CustomerId => of.customer.id.to_string().into(),
            Field::CustomerName => details().name.as_str().into(),
            Field::CustomerNumber => of.customer.number.to_string().into(),
            Field::CustomerStatus => own().map_or(of.customer.status, |it| it.status).name().into(),
            Field::CustomerType => details().purpose.name().into(),
            Field::Instance => of.slot.view.instance.as_deref()?.into(),
            Field::Level => if user.is_some() { "user" } else { "customer" }.into(),
            Field::Plan => held?.plan.as_str().into(),
            Field::Property(key) => {
                let place = (of.slot.view.id, of.link.path.clone(), of.period.end);
                self.properties.get(&place)?.get(key)?.as_str().into()
            }
            Field::Quantity => held?.quantity.to_string().into(),
            Field::Service => of.service.key.as_str().into(),
            Field::Sku => of.service.sku_before(held?.plan, of.end, known_at)?.into(),
            Field::UserId => user?.to_string().into(),
            Field::UserStatus => stood()?.1.name().into(),
            Field::UserType => stood()?.0.name().into(),
        })
    }
}

/// What a customer was, from when on, as its events tell.
fn customers(events: &[Recorded]) -> Vec<Customer> {
    let mut history: Vec<Customer> = Vec::new();
    for event in events {
        let Event::Organization(happened) = &event.event else { continue };
        let before = history.last();
        let status = happened.status(before.map(|it| it.status).unwrap_or_default());
        let details = match happened {
            OrganizationEvent::Created { details, .. } | OrganizationEvent::Edited { details } => {
                details
            }
            _ => match before {
                Some(before) if before.status != status => &before.details,
                _ => continue,
            },
        };
        let details = details.clone();
        history.push(Customer { at: event.effective_at, details, status });
    }
    history
}

/// What properties were when periods ended: those that everybody may know of.
async fn properties(
    database: &Database,
    rules: &Rules,
    known_at: Option<u64>,
    asked: &[Asked<'_>],
) -> Result<HashMap<(SubscriptionId, TenantPath, NaiveDate), Properties>, Error> {
    let mut places = Vec::new();
    let mut questions = Vec::new();
    for it in asked {
        let looked_at = it.links.iter().filter(|link| {
            link.role == Role::Sale && rules.look_at(link.seller.id, Field::is_property)
        });
        for link in looked_at {
            let Link { seller, path, .. } = link;
            let periods = it.periods.iter().filter(|(id, _)| *id == seller.id);
            for period in periods.flat_map(|(_, periods)| periods) {
                let end = rules.end_of(period, &seller.settings);
                for slot in it.slots {
                    let held = held_last(&slot.timeline, end);
                    places.push((slot.view.id, path.clone(), period.end));
                    questions.push(effective::Question {
                        as_of: just_before(end),
                        known_at,
                        path: it.customer.path.clone(),
                        place_then: Some(path.clone()),
                        plan: held.map(|held| held.plan.clone()),
                        service: slot.view.service.clone(),
                        subscription: Some(slot.view.id),
                    });
                }
            }
        }
    }
    if questions.is_empty() {
        return Ok(HashMap::new());
    }
    let answers = effective::properties(database, &questions).await?;
    let values = answers.into_iter().map(|answer| {
        let known = answer.into_iter().filter(|it| !it.property.hidden);
        known.filter_map(|it| Some((it.property.key, it.winner?.value))).collect()
    });
    Ok(places.into_iter().zip(values).collect())
}
