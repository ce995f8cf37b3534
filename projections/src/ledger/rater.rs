//! Rating customers: what each of their slots comes to in some periods, on each edge. Closed periods are read as they
//! were sealed; open ones are computed, and the first open one has the corrections of those that are closed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use domain::billing::{
    BillingSettings, Entry, Period, Prices, Quarantine, QuarantineReason, Subject, correct, rate,
    seal,
};
use domain::event::Actor;
use domain::{OrganizationId, SubscriptionId};
use eventstore::{Database, Error, SealedSlot};

use super::accounts::{self, Accounts};
use super::booked::{Books, Late, Sealed};
use super::rules::{self, Own, Rules, Then};
use super::slots::{self, Slot};
use super::supposed::Supposed;
use super::{PriceBook, Question, sees};
use crate::document::View as _;
use crate::views::{Edge, OrganizationView, ServiceView};

/// What it takes to rate the customers of a question.
#[derive(Debug)]
pub(super) struct Rater {
    pub(super) database: Database,
    pub(super) question: Question,
    pub(super) settings: BillingSettings,
    pub(super) periods: Vec<Period>,
    /// Only what this seller bills, where he is named.
    pub(super) seller: Option<OrganizationId>,
    /// What is not charged.
    pub(super) rules: Rules,
    prices: PriceBook,
    books: Books,
    supposed: Supposed,
    /// Stands for a service where an entry is of none.
    no_service: Arc<ServiceView>,
    known_at: u64,
}

/// Some customers with all that their lines are made of.
pub(super) struct Customers {
    customers: Vec<Buyer>,
    /// By the customer's path, in the order of service and instance.
    slots: HashMap<String, Vec<Slot>>,
    sealed: Sealed,
    late: Late,
    accounts: Accounts,
    then: Then,
}

/// A customer, and who bills it.
struct Buyer {
    view: Arc<OrganizationView>,
    edges: Vec<Edge>,
}

impl Customers {
    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> + Clone {
        self.slots.values().flatten()
    }

    /// Who charged them, or gave back, by hand.
    pub(super) fn actors(&self) -> impl Iterator<Item = Actor> {
        self.accounts.actors()
    }

    /// All that closed periods have of them and was read.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.sealed.entries()
    }
}

/// What a slot comes to in one period, on one edge.
pub(super) struct Rated<'a> {
    pub(super) customer: &'a Arc<OrganizationView>,
    pub(super) edge: &'a Edge,
    pub(super) slot: &'a Slot,
    /// The slot in whose row it is sealed: mostly the same.
    pub(super) row: SubscriptionId,
    pub(super) service: &'a Arc<ServiceView>,
    /// Which of the periods.
    pub(super) period: usize,
    /// Up to which position it is known.
    pub(super) known_at: u64,
    pub(super) outcome: Result<Vec<Entry>, Quarantine>,
}

/// Prices of one customer's services: by service, edge and position.
type KnownPrices<'a> = HashMap<(&'a str, usize, u64), Prices>;

impl Rater {
    pub(super) async fn begin(
        database: &Database,
        question: &Question,
        settings: &BillingSettings,
        periods: &[Period],
        customers: &[Arc<OrganizationView>],
    ) -> Result<Self, Error> {
        let known_at = question.known_at.unwrap_or(u64::MAX);
        let turned = customers.iter().filter(|customer| !customer.edges.is_empty());
        let places: BTreeSet<_> = turned
            .flat_map(|customer| customer.edges_known_at(known_at))
            .flat_map(|edge| edge.path.lineage())
            .collect();
        let edges = customers.iter().flat_map(|customer| customer.edges_known_at(known_at));
        let sellers: BTreeSet<_> = edges.map(|edge| edge.seller).collect();
        Ok(Self {
            database: database.clone(),
            question: question.clone(),
            settings: settings.clone(),
            periods: periods.to_vec(),
            seller: None,
            rules: Rules::load(database, &sellers, known_at).await?,
            prices: PriceBook::load(database, question, places).await?,
            books: Books::load(database, sellers, known_at).await?,
            supposed: Supposed::default(),
            no_service: Arc::new(accounts::service()),
            known_at,
        })
    }

    /// Goes by what would be.
    pub(super) fn suppose(&mut self, supposed: Supposed) {
        for view in supposed.overrides() {
            self.prices.overrides.entry(view.path.to_string()).or_default().push(view);
        }
        self.supposed = supposed;
    }

    /// Reads what some customers have: in a number of statements that does not depend on how many they are.
    pub(super) async fn read(
        &self,
        customers: Vec<Arc<OrganizationView>>,
    ) -> Result<Customers, Error> {
        let (database, settings) = (&self.database, &self.settings);
        let mut open = Vec::new();
        let mut prefixes = BTreeSet::new();
        let mut corrected = BTreeSet::new();
        let mut buyers = Vec::with_capacity(customers.len());
        for customer in &customers {
            let edges = customer.edges_known_at(self.known_at);
            for seller in edges.iter().map(|edge| edge.seller).filter(|it| self.is_asked(*it)) {
                for period in &self.periods {
                    match self.books.sealed(seller, period.end) {
                        Some(closed) => {
                            prefixes.insert(SealedSlot::of_buyer(closed.cutoff, customer.id));
                        }
                        None => open.push(*period),
                    }
                    if self.books.corrects(seller, period, settings) {
                        corrected.insert(seller);
                    }
                }
            }
            buyers.push(Buyer { view: customer.clone(), edges });
        }
        let first = open.iter().map(|period| period.start).min();
        let first = first.map(|start| (settings.midnight(start), self.books.booked_until()));
        let mut accounts = Accounts::read(database, &customers, first, self.known_at).await?;
        accounts.suppose(self.supposed.adjustments());
        let mut late = Late::default();
        if !corrected.is_empty() {
            late = self.books.late(database, &corrected, &customers, settings).await?;
            late.suppose(self.supposed.backdated(&customers));
            let whole = late.buyers();
            prefixes.extend(whole.map(|(cutoff, buyer)| SealedSlot::of_buyer(cutoff, buyer)));
            open.extend(late.periods());
        }
        let mut slots = HashMap::<_, Vec<_>>::new();
        let first = open.iter().min_by_key(|period| period.start);
        let last = open.iter().max_by_key(|period| period.end);
        let span = first.zip(last);
        let span =
            span.map(|(first, last)| (settings.instants(first).0, settings.instants(last).1));
        let metered = self.prices.metered();
        if let Some(span) = span {
            let known_at = self.question.known_at;
            slots = slots::in_span(database, known_at, span, &metered, &customers).await?;
        }
        let known_at = self.known_at;
        self.supposed.replace(database, known_at, span, &metered, &customers, &mut slots).await?;
        let mut sealed = Sealed::of_buyers(database, prefixes).await?;
        let there: BTreeSet<_> = slots.values().flatten().map(|slot| slot.view.id).collect();
        let of_accounts = sealed.entries().filter(|entry| entry.manual.is_some());
        let of_accounts = of_accounts.map(|entry| entry.subscription);
        let of_accounts = of_accounts.chain(accounts.subscriptions());
        let wanted: BTreeSet<_> = sealed.slots().chain(late.slots()).chain(of_accounts).collect();
        let missing = &wanted - &there;
        let missing = slots::of_ids(database, missing, self.known_at, span, &metered).await?;
        for slot in missing {
            let of_customer: &mut Vec<_> = slots.entry(slot.view.path.to_string()).or_default();
            of_customer.push(slot);
            of_customer.sort_by_cached_key(|slot| (slot.view.index().sort, slot.view.id));
        }
        if !corrected.is_empty() {
            for customer in &customers {
                for slot in slots.get(customer.path.as_str()).into_iter().flatten() {
                    late.touch(&self.books, (customer.id, slot), &corrected, settings);
                }
            }
            let closed = |end| Some(settings.instants(&settings.period_ending(end)?).0);
            let first = late.compared().filter_map(|(_, end)| closed(end)).min();
            if let Some((first, span)) = first.zip(span) {
                let compared = late.compared().map(|(subscription, _)| subscription).collect();
                let (span, known) = ((first.min(span.0), span.1), (self.known_at, &metered));
                slots::meter_from(database, &mut slots, &compared, span, known).await?;
            }
            sealed.add_booked(database, &self.books, &late).await?;
        }
        let then = self.then(&buyers, &slots, &late).await?;
        Ok(Customers { customers: buyers, slots, sealed, late, then, accounts })
    }

    /// What rules look at.
    async fn then(
        &self,
        buyers: &[Buyer],
        slots: &HashMap<String, Vec<Slot>>,
        late: &Late,
    ) -> Result<Then, Error> {
        let asked = buyers.iter().map(|Buyer { view, edges }| {
            let slots = slots.get(view.path.as_str()).map_or(&[][..], Vec::as_slice);
            let sellers: BTreeSet<_> = edges.iter().map(|edge| edge.seller).collect();
            let periods = sellers.into_iter().map(|seller| {
                let open = self.periods.iter().copied();
                let open = open.filter(|it| self.books.sealed(seller, it.end).is_none());
                let late = slots.iter().flat_map(|slot| late.ends(slot.view.id, seller));
                let late = late.filter_map(|end| self.settings.period_ending(end));
                (seller, open.chain(late).collect())
            });
            rules::Asked { customer: view, edges, slots, periods: periods.collect() }
        });
        let asked: Vec<_> = asked.collect();
        let known_at = self.question.known_at;
        Then::read(&self.database, &self.rules, &self.settings, known_at, &asked).await
    }

    /// What the seller of an entry says about it, with what was known when its period was closed, if it is.
    pub(super) fn own<'a>(
        &'a self,
        entry: &Entry,
        service: &'a ServiceView,
        end: DateTime<Utc>,
        known_at: u64,
    ) -> Own<'a> {
        let closed = self.books.sealed(entry.seller, entry.period_end);
        let known_at = closed.map_or(known_at, |closed| closed.cutoff);
        let of = (&entry.plan, &entry.component);
        let tax_category = service.taxed_before(of, end, known_at);
        Own {
            described: self.rules.described(entry),
            tax_percent: tax_category.and_then(|category| {
                self.rules.tax_percent(entry.seller, category, entry.period_end, known_at)
            }),
            tax_category,
        }
    }

    fn is_asked(&self, seller: OrganizationId) -> bool {
        self.seller.is_none_or(|asked| asked == seller)
    }

    /// Rates some customers, in their order.
    pub(super) fn rate<'a>(&'a self, read: &'a Customers, mut take: impl FnMut(Rated<'a>)) {
        for Buyer { view, edges } in &read.customers {
            let mut prices = KnownPrices::default();
            let mut by_hand = self.by_hand(read, view, edges);
            for slot in read.slots.get(view.path.as_str()).into_iter().flatten() {
                if let Some(service) = self.prices.services.get(slot.view.service.as_str()) {
                    let of = Of { rater: self, read, customer: view, edges, slot, service };
                    of.rate(&mut prices, &mut take);
                    by_hand.remove(&slot.view.id).into_iter().flatten().for_each(|by_hand| {
                        take(Rated { slot, service, ..by_hand });
                    });
                }
            }
            by_hand.into_values().flatten().for_each(&mut take);
        }
    }

    /// What a customer was charged or given back by hand, by subscription.
    fn by_hand<'a>(
        &'a self,
        read: &'a Customers,
        customer: &'a Arc<OrganizationView>,
        edges: &'a [Edge],
    ) -> BTreeMap<SubscriptionId, Vec<Rated<'a>>> {
        let mut all = BTreeMap::<_, Vec<_>>::new();
        let Some(account) = read.accounts.of(customer.id) else { return all };
        let slot = account.slot();
        for (place, edge) in edges.iter().enumerate() {
            let is_last = !edges[place + 1..].iter().any(|it| it.seller == edge.seller);
            let is_asked = self.is_asked(edge.seller) && sees(&self.question.scope, customer, edge);
            if !(is_last && is_asked) {
                continue;
            }
            let booked = (&self.books, &read.sealed);
            let entries = account.entries(edge.seller, &self.periods, booked, &self.settings);
            for (subscription, by_period) in entries {
                let rated = by_period.into_iter().map(|(period, entries)| {
                    let closed = self.books.sealed(edge.seller, self.periods[period].end);
                    Rated {
                        customer,
                        edge,
                        slot,
                        row: slot.view.id,
                        service: &self.no_service,
                        period,
                        known_at: closed.map_or(self.known_at, |closed| closed.cutoff),
                        outcome: Ok(entries),
                    }
                });
                all.entry(subscription).or_default().extend(rated);
            }
        }
        all
    }
}

/// One slot of one customer.
struct Of<'a> {
    rater: &'a Rater,
    read: &'a Customers,
    customer: &'a Arc<OrganizationView>,
    edges: &'a [Edge],
    slot: &'a Slot,
    service: &'a Arc<ServiceView>,
}

impl<'a> Of<'a> {
    fn rate(&self, prices: &mut KnownPrices<'a>, take: &mut impl FnMut(Rated<'a>)) {
        let Rater { question, settings, periods, books, known_at, .. } = self.rater;
        let is_asked = |edge: &Edge| {
            self.rater.is_asked(edge.seller) && sees(&question.scope, self.customer, edge)
        };
        for (place, edge) in self.edges.iter().enumerate().filter(|(_, edge)| is_asked(edge)) {
            // What a seller has altogether goes with the last of his edges.
            let later = &self.edges[place + 1..];
            let is_last = !later.iter().any(|it| it.seller == edge.seller && is_asked(it));
            for (index, period) in periods.iter().enumerate() {
                let (known_at, outcome) = match books.sealed(edge.seller, period.end) {
                    Some(_) if !is_last => continue,
                    Some(closed) => {
                        let entries = self.read.sealed.of(closed, self.slot.view.id);
                        (closed.cutoff, Ok(entries.to_vec()))
                    }
                    None => {
                        let own = self.rated(prices, place, period, *known_at);
                        let is_corrected = is_last && books.corrects(edge.seller, period, settings);
                        let outcome = match is_corrected {
                            false => own,
                            true => self.with_corrections(prices, edge.seller, period, own),
                        };
                        (*known_at, outcome)
                    }
                };
                if outcome.as_ref().map_or(true, |entries| !entries.is_empty()) {
                    take(Rated {
                        customer: self.customer,
                        edge,
                        slot: self.slot,
                        row: self.slot.view.id,
                        service: self.service,
                        period: index,
                        known_at,
                        outcome,
                    });
                }
            }
        }
    }

    /// The entries of one period on one edge, with the prices as they were known at a position.
    fn rated(
        &self,
        known: &mut KnownPrices<'a>,
        place: usize,
        period: &Period,
        prices_at: u64,
    ) -> Result<Vec<Entry>, Quarantine> {
        let Rater { settings, prices, .. } = self.rater;
        let edge = &self.edges[place];
        let until = self.edges.get(place + 1).and_then(|next| next.turn.as_ref());
        let own;
        let timeline = if edge.turn.is_none() && until.is_none() {
            &self.slot.timeline
        } else {
            own = self.slot.timeline.between(edge.turn.as_ref(), until);
            &own
        };
        let key = (self.service.key.as_str(), place, prices_at);
        let prices = known.entry(key).or_insert_with(|| {
            prices.at(self.service, (&edge.path, &self.customer.path), prices_at)
        });
        let subject = Subject {
            customer: self.customer.id,
            seller: edge.seller,
            service: self.service.key.clone(),
            subscription: self.slot.view.id,
        };
        let mut entries = rate(&subject, timeline, prices, settings, period)?;
        let of = rules::Of {
            customer: self.customer,
            edge,
            slot: self.slot,
            service: self.service,
            timeline,
            period,
            end: settings.instants(period).1,
            cutoff: self.rater.books.sealed(edge.seller, period.end).map(|closed| closed.cutoff),
        };
        self.rater.rules.waive(&mut entries, &of, &self.read.then);
        Ok(entries)
    }

    /// What a seller's first open period has beside its own charges: what sets right those that are closed.
    fn with_corrections(
        &self,
        known: &mut KnownPrices<'a>,
        seller: OrganizationId,
        into: &Period,
        own: Result<Vec<Entry>, Quarantine>,
    ) -> Result<Vec<Entry>, Quarantine> {
        let subscription = self.slot.view.id;
        let closed = self.rater.books.closed(seller);
        let mut entries = Vec::new();
        for end in self.read.late.ends(subscription, seller) {
            let booked = self.read.sealed.booked(closed, subscription, end);
            let is_deferred = || {
                let sealed = self.rater.books.sealed(seller, end);
                sealed.is_some_and(|closed| closed.deferred.contains(&subscription))
            };
            let now = match self.closed_as_known_now(known, seller, end) {
                Ok(now) => now,
                // It was left out, and still cannot be rated: what it charges now is charged all the same.
                Err(_) if is_deferred() => continue,
                Err(cause) => return Err(cause),
            };
            entries.extend(correct(&booked, &now, into));
        }
        let own = own?;
        if entries.is_empty() {
            return Ok(own);
        }
        entries.extend(own);
        seal::sort(&mut entries);
        Ok(entries)
    }

    /// A closed period rated as is known now, with the prices pinned for it; where they do not say what something
    /// costs, with the first that do.
    fn closed_as_known_now(
        &self,
        known: &mut KnownPrices<'a>,
        seller: OrganizationId,
        end: NaiveDate,
    ) -> Result<Vec<Entry>, Quarantine> {
        let Rater { settings, books, known_at, prices, .. } = self.rater;
        let (Some(closed), Some(period)) = (books.sealed(seller, end), settings.period_ending(end))
        else {
            return Ok(Vec::new());
        };
        let pinned = books.prices_of(seller, closed);
        let mut entries = Vec::new();
        let of_seller = self.edges.iter().enumerate().filter(|(_, edge)| edge.seller == seller);
        for (place, edge) in of_seller {
            let mut rated = self.rated(known, place, &period, pinned);
            let lacks_price = |rated: &Result<_, Quarantine>| {
                matches!(rated, Err(Quarantine { reason: QuarantineReason::NoPrice, .. }))
            };
            if lacks_price(&rated) {
                let all = prices.at(self.service, (&edge.path, &self.customer.path), *known_at);
                for later in all.positions_after(pinned) {
                    rated = self.rated(known, place, &period, later);
                    if !lacks_price(&rated) {
                        break;
                    }
                }
            }
            entries.extend(rated?);
        }
        Ok(entries)
    }
}
