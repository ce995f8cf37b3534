//! Rating customers: what each of their slots comes to in some periods, between whom. Closed periods are read as they
//! were sealed; open ones are computed, and the first open one has the corrections of those that are closed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use domain::billing::component::Timing;
use domain::billing::{
    Entry, Payer, Period, Pinned, Prices, Quarantine, QuarantineReason, Subject, Timeline,
    commissions, correct, rate_after, seal,
};
use domain::event::Actor;
use domain::organization::Kind;
use domain::{OrganizationId, SubscriptionId, TenantPath};
use eventstore::{Database, Error, SealedSlot};
use tokio::sync::OnceCell;

use super::accounts::{self, Accounts};
use super::booked::{Books, Late, Sealed};
use super::commitments::Pools;
use super::prices::Way;
use super::rehearsal::Proposal;
use super::rules::{self, Own, Rules, Then};
use super::sellers::{self, Link, Role, Seller};
use super::slots::{self, Slot};
use super::supposed::Supposed;
use super::{PriceBook, Question, Side};
use crate::document::View as _;
use crate::views::{Closed, OrganizationView, ServiceView};

/// No term is longer.
const TERM_MAX: TimeDelta = TimeDelta::days(366);

/// What it takes to rate the customers of a question.
#[derive(Debug)]
pub(super) struct Rater {
    pub(super) database: Database,
    pub(super) question: Question,
    /// The periods, as who asks names them; each seller has his own of that name, if any.
    pub(super) periods: Vec<Period>,
    /// What is not charged.
    pub(super) rules: Rules,
    pub(super) prices: PriceBook,
    pub(super) books: Books,
    /// Whose charges they are: customers, and resellers, who have accounts.
    pub(super) customers: Vec<Arc<OrganizationView>>,
    /// What buyers lack to what they are committed to: once somebody is read.
    pub(super) pools: OnceCell<Arc<Pools>>,
    pub(super) supposed: Supposed,
    /// Up to which position prices count of what is not closed.
    pub(super) prices_at: u64,
    /// Whether all rules that were ever set count for that.
    knows_all_rules: bool,
    /// Stands for a service where an entry is of none.
    no_service: Arc<ServiceView>,
    pub(super) known_at: u64,
}

/// Some customers with all that their lines are made of.
pub(super) struct Customers {
    customers: Vec<Buyer>,
    /// By the customer's path, in the order of service and instance.
    slots: HashMap<String, Vec<Slot>>,
    sealed: Sealed,
    pub(super) late: Late,
    accounts: Accounts,
    pools: Arc<Pools>,
    then: Then,
    /// Of what the provider pays, and what is compared of it in closed periods: as it was known when the last one was closed.
    before: HashMap<SubscriptionId, Slot>,
}

/// A customer, and between whom its services are charged.
pub(super) struct Buyer {
    pub(super) view: Arc<OrganizationView>,
    pub(super) links: Vec<Link>,
}

impl Customers {
    pub(super) fn buyers(&self) -> &[Buyer] {
        &self.customers
    }

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

/// What a slot comes to in one period, between two.
pub(super) struct Rated<'a> {
    pub(super) customer: &'a Arc<OrganizationView>,
    /// The last of their links.
    pub(super) link: &'a Link,
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

/// What is known of one customer's prices: by service, the number of sellers on the way, link, position, and subscription where
/// there are rows for it alone.
pub(super) type KnownPrices<'a> =
    HashMap<(&'a str, usize, usize, u64, Option<SubscriptionId>), Prices>;

impl Rater {
    pub(super) async fn begin(
        database: &Database,
        question: &Question,
        periods: &[Period],
        customers: &[Arc<OrganizationView>],
    ) -> Result<Self, Error> {
        let known_at = question.known_at.unwrap_or(u64::MAX);
        let places = sellers::places(customers, known_at);
        let prices = PriceBook::load(database, &question.scope, known_at, places).await?;
        let prices = prices.until(question.as_of);
        let sellers = match question.side {
            Side::Sells(seller) => BTreeSet::from([seller]),
            Side::Buys(_) => prices.sellers.all().map(|seller| seller.id).collect(),
        };
        Ok(Self {
            database: database.clone(),
            question: question.clone(),
            periods: periods.to_vec(),
            rules: Rules::load(database, &sellers, known_at)
                .await?
                .until(question.as_of, &prices.sellers),
            prices,
            books: Books::load(database, sellers, known_at).await?.until(question.as_of),
            customers: customers.to_vec(),
            pools: OnceCell::new(),
            supposed: Supposed::default(),
            prices_at: known_at,
            knows_all_rules: false,
            no_service: Arc::new(accounts::service()),
            known_at,
        })
    }

    /// Goes by what would be.
    pub(super) fn suppose(&mut self, supposed: Supposed) {
        self.prices.suppose(&supposed);
        self.rules.suppose(supposed.rulebooks());
        self.supposed = supposed;
    }

    /// Goes by what somebody proposes, and by all that is known now of what that is about.
    pub(super) fn propose(&mut self, Proposal { supposed, prices, rules }: Proposal) {
        self.suppose(supposed);
        if prices {
            self.prices_at = u64::MAX;
        }
        if rules {
            self.rules.as_known_now();
        }
        self.knows_all_rules = rules;
    }

    /// Goes by the same as another.
    pub(super) fn go_by(&mut self, other: &Self) {
        let prices = other.prices_at > other.known_at;
        let (supposed, rules) = (other.supposed.clone(), other.knows_all_rules);
        self.propose(Proposal { supposed, prices, rules });
    }

    /// Between whom a customer's services are charged.
    pub(super) fn links(&self, customer: &OrganizationView) -> Vec<Link> {
        self.links_known_at(customer, self.known_at)
    }

    fn links_known_at(&self, customer: &OrganizationView, known_at: u64) -> Vec<Link> {
        let Question { as_of, side, .. } = self.question;
        self.prices.sellers.links(customer, (as_of, known_at), side)
    }

    /// Whether it is asked what the provider itself pays.
    pub(super) fn is_of_supply(&self) -> bool {
        let provider = self.prices.sellers.at(&TenantPath::provider());
        provider.is_some_and(|provider| self.question.side == Side::Buys(provider.id))
    }

    /// The reseller who buys, or is paid, where that is not the customer.
    pub(super) fn reseller(&self, link: &Link) -> Option<Arc<Seller>> {
        let buyer = link.buyer?;
        let lineage = link.path.lineage();
        let mut above = lineage.iter().filter_map(|path| self.prices.sellers.at(path));
        above.find(|seller| seller.id == buyer).cloned()
    }

    /// A seller's period of that name, if he has one.
    pub(super) fn period_of(seller: &Seller, period: &Period) -> Option<Period> {
        seller.settings.period_ending(period.end)
    }

    /// Reads what some customers have: in a number of statements that does not depend on how many they are.
    pub(super) async fn read(
        &self,
        customers: Vec<Arc<OrganizationView>>,
    ) -> Result<Customers, Error> {
        let database = &self.database;
        let pools = self.pools.get_or_try_init(|| Pools::of(self)).await?.clone();
        let mut spans = Vec::new();
        let mut prefixes = BTreeSet::new();
        let mut corrected = HashMap::<OrganizationId, Arc<Seller>>::new();
        let mut buyers = Vec::with_capacity(customers.len());
        for customer in &customers {
            let links = self.links(customer);
            for link in links.iter().filter(|link| self.is_asked(link, customer.id)) {
                let Link { seller, buyer, .. } = link;
                for period in &self.periods {
                    let Some(period) = Self::period_of(seller, period) else { continue };
                    match self.books.sealed(seller.id, period.end) {
                        Some(closed) => {
                            let cutoff = closed.cutoff;
                            let prefix = SealedSlot::of_customer(cutoff, *buyer, customer.id);
                            prefixes.insert(prefix);
                        }
                        None => spans.push(seller.settings.instants(&period)),
                    }
                    if self.books.corrects(seller, &period) {
                        corrected.insert(seller.id, seller.clone());
                    }
                }
            }
            buyers.push(Buyer { view: customer.clone(), links });
        }
        let first = spans.iter().map(|span| span.0).min();
        let first = first.map(|start| (start, self.books.booked_until()));
        let mut accounts = Accounts::read(database, &customers, first, self.known_at).await?;
        accounts.suppose(self.supposed.adjustments());
        let as_of = self.question.as_of;
        accounts.until(as_of);
        let mut late = Late::default();
        if !corrected.is_empty() {
            late = self.books.late(database, &corrected, &buyers).await?;
            late.suppose(self.supposed.backdated(&customers));
            prefixes.extend(late.whole().cloned());
            spans.extend(late.spans());
            spans.extend(pools.spans(&buyers));
        }
        let mut slots = HashMap::<_, Vec<_>>::new();
        let first = spans.iter().map(|span| span.0).min();
        let last = spans.iter().map(|span| span.1).max();
        let span = first.zip(last);
        let metered = self.prices.metered();
        if let Some(span) = span {
            // What ended it may count no more.
            let known_at = self.question.known_at.or(as_of.map(|_| u64::MAX));
            // Below a reseller's place is what its customers hold.
            let holders = customers.iter().filter(|it| it.kind == Kind::Customer).cloned();
            let holders: Vec<_> = holders.collect();
            slots = slots::in_span(database, known_at, span, &metered, &holders).await?;
        }
        let known_at = self.known_at;
        self.supposed.replace(database, known_at, span, &metered, &customers, &mut slots).await?;
        let mut before = HashMap::new();
        let mut sealed = Sealed::of(database, prefixes).await?;
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
            for buyer in &buyers {
                for slot in slots.get(buyer.view.path.as_str()).into_iter().flatten() {
                    late.touch(&self.books, &pools, (buyer, slot), &corrected);
                }
            }
            let first = late.compared().filter_map(|(_, seller, end)| {
                let settings = &corrected.get(&seller)?.settings;
                Some(settings.instants(&settings.period_ending(end)?).0)
            });
            let first = first.min();
            if let Some((first, span)) = first.zip(span) {
                let compared = late.compared().map(|(subscription, ..)| subscription).collect();
                let (span, known) = ((first.min(span.0), span.1), (self.known_at, &metered));
                slots::meter_from(database, &mut slots, &compared, span, known).await?;
                if self.is_of_supply() {
                    let last = corrected.keys().filter_map(|id| self.books.closed(*id).last());
                    let last = last.map(|closed| closed.cutoff).max().unwrap_or(0);
                    let slots =
                        slots::of_ids(database, compared, last, Some(span), &metered).await?;
                    before.extend(slots.into_iter().map(|slot| (slot.view.id, slot)));
                }
            }
            sealed.add_booked(database, &self.books, &late).await?;
        }
        let then = self.then(&buyers, &slots, &late).await?;
        Ok(Customers { customers: buyers, slots, sealed, late, then, accounts, pools, before })
    }

    /// What rules look at.
    async fn then(
        &self,
        buyers: &[Buyer],
        slots: &HashMap<String, Vec<Slot>>,
        late: &Late,
    ) -> Result<Then, Error> {
        let asked = buyers.iter().map(|Buyer { view, links }| {
            let slots = slots.get(view.path.as_str()).map_or(&[][..], Vec::as_slice);
            let asked = links.iter().filter(|link| self.is_asked(link, view.id));
            let sellers: BTreeMap<_, _> =
                asked.map(|link| (link.seller.id, &link.seller)).collect();
            let periods = sellers.into_iter().map(|(id, seller)| {
                let open = self.periods.iter().filter_map(|it| Self::period_of(seller, it));
                let open = open.filter(|it| self.books.sealed(id, it.end).is_none());
                let late = slots.iter().flat_map(|slot| late.ends(slot.view.id, id));
                let late = late.filter_map(|end| seller.settings.period_ending(end));
                (id, open.chain(late).collect())
            });
            rules::Asked { customer: view, links, slots, periods: periods.collect() }
        });
        let asked: Vec<_> = asked.collect();
        Then::read(&self.database, &self.rules, self.question.known_at, &asked).await
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

    pub(super) fn is_asked(&self, link: &Link, customer: OrganizationId) -> bool {
        match self.question.side {
            Side::Sells(seller) => link.seller.id == seller,
            Side::Buys(buyer) => link.bought_by(customer) == buyer,
        }
    }

    /// Rates some customers, in their order.
    pub(super) fn rate<'a>(&'a self, read: &'a Customers, mut take: impl FnMut(Rated<'a>)) {
        for buyer in &read.customers {
            let mut prices = KnownPrices::default();
            let mut by_hand = self.by_hand(read, &buyer.view, &buyer.links);
            for of in self.slots_of(read, buyer) {
                let Of { slot, service, .. } = of;
                of.rate(&mut prices, &mut take);
                by_hand.remove(&slot.view.id).into_iter().flatten().for_each(|by_hand| {
                    take(Rated { slot, service, ..by_hand });
                });
            }
            by_hand.into_values().flatten().for_each(&mut take);
        }
    }

    /// A customer's slots.
    pub(super) fn slots_of<'a>(
        &'a self,
        read: &'a Customers,
        Buyer { view: customer, links }: &'a Buyer,
    ) -> impl Iterator<Item = Of<'a>> {
        let slots = read.slots.get(customer.path.as_str()).into_iter().flatten();
        slots.filter_map(move |slot| {
            let service = self.prices.services.get(slot.view.service.as_str())?;
            Some(Of { rater: self, read, customer, links, slot, service })
        })
    }

    /// What a customer or reseller was charged or given back by hand, by subscription.
    fn by_hand<'a>(
        &'a self,
        read: &'a Customers,
        customer: &'a Arc<OrganizationView>,
        links: &'a [Link],
    ) -> BTreeMap<SubscriptionId, Vec<Rated<'a>>> {
        let mut all = BTreeMap::<_, Vec<_>>::new();
        let Some(account) = read.accounts.of(customer.id) else { return all };
        let slot = account.slot();
        let own = links.iter().enumerate().filter(|(_, link)| link.is_last(customer.id));
        for (place, link) in own {
            let seller = &link.seller;
            let is_his = |it: &Link| it.is_last(customer.id) && it.seller.id == seller.id;
            if links[place + 1..].iter().any(is_his) || !self.is_asked(link, customer.id) {
                continue;
            }
            let entries = account.entries(seller, &self.periods, (&self.books, &read.sealed));
            for (subscription, by_period) in entries {
                let rated = by_period.into_iter().map(|(period, entries)| {
                    let closed = self.books.sealed(seller.id, self.periods[period].end);
                    Rated {
                        customer,
                        link,
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
pub(super) struct Of<'a> {
    rater: &'a Rater,
    read: &'a Customers,
    pub(super) customer: &'a Arc<OrganizationView>,
    pub(super) links: &'a [Link],
    pub(super) slot: &'a Slot,
    pub(super) service: &'a Arc<ServiceView>,
}

/// The links between two: their places among the customer's, in the order of time.
type Pair = Vec<usize>;

impl<'a> Of<'a> {
    fn rate(&self, prices: &mut KnownPrices<'a>, take: &mut impl FnMut(Rated<'a>)) {
        let Rater { periods, books, known_at, prices_at, .. } = self.rater;
        for pair in self.pairs() {
            let Some(link) = pair.last().map(|place| &self.links[*place]) else { continue };
            let seller = &link.seller;
            for (index, period) in periods.iter().enumerate() {
                let Some(period) = Rater::period_of(seller, period) else { continue };
                let (known_at, outcome) = match books.sealed(seller.id, period.end) {
                    Some(closed) => {
                        let buyer = link.bought_by(self.customer.id);
                        let entries = self.read.sealed.bought(closed, buyer, self.slot.view.id);
                        (closed.cutoff, Ok(entries.to_vec()))
                    }
                    None => {
                        let own = self.rated(prices, &pair, &period, *prices_at);
                        let outcome = match books.corrects(seller, &period) {
                            false => own,
                            true => self.with_corrections(prices, &pair, &period, own),
                        };
                        (*known_at, outcome)
                    }
                };
                if outcome.as_ref().map_or(true, |entries| !entries.is_empty()) {
                    take(Rated {
                        customer: self.customer,
                        link,
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

    /// The links that are asked about, those between the same two together.
    pub(super) fn pairs(&self) -> Vec<Pair> {
        let mut pairs: Vec<Pair> = Vec::new();
        for (place, link) in self.links.iter().enumerate() {
            if !self.rater.is_asked(link, self.customer.id) {
                continue;
            }
            let of = |place: usize| (self.links[place].seller.id, self.links[place].buyer);
            match pairs.iter_mut().find(|pair| of(pair[0]) == of(place)) {
                Some(pair) => pair.push(place),
                None => pairs.push(vec![place]),
            }
        }
        pairs
    }

    /// The entries of one period between two, with the prices as they were known at a position.
    pub(super) fn rated(
        &self,
        known: &mut KnownPrices<'a>,
        pair: &[usize],
        period: &Period,
        prices_at: u64,
    ) -> Result<Vec<Entry>, Quarantine> {
        let mut entries = Vec::new();
        for place in pair {
            let mut of_link = self.of_link(known, *place, period, prices_at)?;
            if entries.is_empty() { entries = of_link } else { entries.append(&mut of_link) }
        }
        self.commit(pair, period, &mut entries)?;
        Ok(entries)
    }

    /// Adds what the slot has of what its buyer lacks to what he is committed to.
    fn commit(
        &self,
        pair: &[usize],
        period: &Period,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Quarantine> {
        let sale = pair.iter().rfind(|place| self.links[**place].role == Role::Sale);
        let Some((link, last)) = sale.map(|place| &self.links[*place]).zip(entries.last()) else {
            return Ok(());
        };
        let slot = (&self.service.key, self.slot.view.id);
        let Some(part) = self.read.pools.part(link, self.customer.id, slot, period.end) else {
            return Ok(());
        };
        let plan = &last.plan;
        let part =
            part.map_err(|reason| Quarantine { date: period.start, plan: plan.clone(), reason })?;
        let mut part = [part.clone()];
        self.waive(link, &self.timeline(link), period, &mut part);
        entries.extend(part);
        seal::sort(entries);
        Ok(())
    }

    fn of_link(
        &self,
        known: &mut KnownPrices<'a>,
        place: usize,
        period: &Period,
        prices_at: u64,
    ) -> Result<Vec<Entry>, Quarantine> {
        let link = &self.links[place];
        let timeline = self.timeline(link);
        let subject = Subject {
            buyer: link.buyer,
            customer: self.customer.id,
            seller: link.seller.id,
            service: self.service.key.clone(),
            subscription: self.slot.view.id,
        };
        let settings = &link.seller.settings;
        let mut rated = |sellers: usize| {
            let pinned = self.pinned(known, (place, sellers), period, prices_at);
            let prices = self.prices(known, (place, sellers), prices_at);
            rate_after(&pinned, &subject, &timeline, prices, settings, period)
        };
        match link.role {
            Role::Sale => {
                let mut entries = rated(link.way.len())?;
                self.waive(link, &timeline, period, &mut entries);
                Ok(entries)
            }
            Role::Supply => rated(link.way.len()),
            Role::Commission => {
                let (sold, bought) = (rated(link.way.len())?, rated(link.way.len() - 1)?);
                commissions(&subject, &sold, &bought)
            }
        }
    }

    /// The closed periods before another one that other prices were known of than are now, where that makes a difference: of
    /// what is paid in advance for longer than a period.
    fn pinned(
        &self,
        known: &mut KnownPrices<'a>,
        way: (usize, usize),
        period: &Period,
        prices_at: u64,
    ) -> Vec<Pinned> {
        let mut terms =
            self.service.components.iter().filter_map(|row| row.charge.as_ref()?.term());
        if !terms.any(|(_, timing)| timing == Timing::Advance) {
            return Vec::new();
        }
        let seller = &self.links[way.0].seller;
        let books = &self.rater.books;
        let since = period.start - TERM_MAX;
        let before = |it: &&Closed| since <= it.end && it.end < period.start;
        let closed: Vec<_> = books.closed(seller.id).iter().filter(before).collect();
        let pins = || closed.iter().map(|it| books.prices_of(seller.id, it)).chain([prices_at]);
        let (first, last) = (pins().min().unwrap_or(prices_at), pins().max().unwrap_or(prices_at));
        if first == last || self.prices(known, way, last).positions_after(first).is_empty() {
            return Vec::new();
        }
        let pinned = closed.into_iter().filter_map(|it| {
            let period = seller.settings.period_ending(it.end)?;
            let at = books.prices_of(seller.id, it);
            Some(Pinned { period, prices: self.prices(known, way, at).clone() })
        });
        pinned.collect()
    }

    /// The facts of the slot as the seller sees them, as long as the link was; of a question as of a moment, those that
    /// were true for him by then.
    fn timeline(&self, link: &Link) -> Cow<'a, Timeline> {
        let seller = link.seller.settings.as_ref();
        let mut own = self.slot.timeline.seen_by(seller);
        if let Some(as_of) = self.rater.question.as_of {
            own = Cow::Owned(own.into_owned().until(as_of));
        }
        match (&link.from, &link.until) {
            (None, None) => own,
            (from, until) => {
                let [from, until] =
                    [from, until].map(|turn| turn.as_ref().map(|turn| turn.seen_by(seller)));
                Cow::Owned(own.between(from.as_ref(), until.as_ref()))
            }
        }
    }

    /// Has entries not charged that a rule says so of.
    fn waive(&self, link: &Link, timeline: &Timeline, period: &Period, entries: &mut [Entry]) {
        let Rater { books, rules, .. } = self.rater;
        let of = rules::Of {
            customer: self.customer,
            link,
            slot: self.slot,
            service: self.service,
            timeline,
            period,
            end: rules.end_of(period, &link.seller.settings),
            cutoff: books.sealed(link.seller.id, period.end).map(|closed| closed.cutoff),
        };
        rules.waive(entries, &of, &self.read.then);
    }

    /// What says the prices of the slot, as far as so many sellers on the way of a link have a say.
    pub(super) fn prices<'k>(
        &self,
        known: &'k mut KnownPrices<'a>,
        (place, sellers): (usize, usize),
        prices_at: u64,
    ) -> &'k Prices {
        let book = &self.rater.prices;
        let subscription = Some(self.slot.view.id).filter(|id| book.is_for_instance(*id));
        let key = (self.service.key.as_str(), sellers, place, prices_at, subscription);
        known.entry(key).or_insert_with(|| {
            let link = &self.links[place];
            let reseller = link.below(sellers).and_then(|path| book.sellers.at(&path));
            let payer = match link.role {
                Role::Sale | Role::Commission => Payer::Buyer,
                Role::Supply => Payer::Provider,
            };
            let way = Way {
                sellers: &link.way[..sellers],
                buyer: reseller.map_or(self.customer.id, |reseller| reseller.id),
                payer,
                then: &link.path,
                now: &self.customer.path,
                biller: &link.seller,
                subscription,
            };
            book.at(self.service, &way, prices_at)
        })
    }

    /// What a seller's first open period has beside its own charges: what sets right those that are closed.
    fn with_corrections(
        &self,
        known: &mut KnownPrices<'a>,
        pair: &[usize],
        into: &Period,
        own: Result<Vec<Entry>, Quarantine>,
    ) -> Result<Vec<Entry>, Quarantine> {
        let subscription = self.slot.view.id;
        let link = &self.links[pair[0]];
        let (seller, buyer) = (&link.seller, link.bought_by(self.customer.id));
        let closed = self.rater.books.closed(seller.id);
        let mut entries = Vec::new();
        for end in self.read.late.ends(subscription, seller.id) {
            let booked = match link.role {
                Role::Supply => self.supplied_before(end),
                Role::Sale | Role::Commission => {
                    self.read.sealed.booked(closed, buyer, subscription, end)
                }
            };
            let is_deferred = || {
                let sealed = self.rater.books.sealed(seller.id, end);
                sealed.is_some_and(|closed| closed.deferred.contains(&subscription))
            };
            let now = match self.closed_as_known_now(known, pair, end) {
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

    /// What the provider pays of a closed period, as it was known when the last one was closed: no books have it. What could
    /// not be said then is not there.
    fn supplied_before(&self, end: NaiveDate) -> Vec<Entry> {
        let Rater { books, .. } = self.rater;
        let entries = || {
            let slot = self.read.before.get(&self.slot.view.id)?;
            let seller = self.links.iter().find(|link| link.role == Role::Supply)?.seller.id;
            let known_at = books.closed(seller).last()?.cutoff;
            let pinned = books.prices_known_at(seller, books.sealed(seller, end)?, known_at);
            let links = self.rater.links_known_at(self.customer, known_at);
            let of = Of { slot, links: &links, ..*self };
            let pair = of.pairs().pop()?;
            let period = links[pair[0]].seller.settings.period_ending(end)?;
            of.rated(&mut KnownPrices::default(), &pair, &period, pinned).ok()
        };
        entries().unwrap_or_default()
    }

    /// A closed period rated as is known now, with the prices pinned for it; where they do not say what something
    /// costs, with the first that do. What the provider pays no close waits for: it is what was known of it then.
    pub(super) fn closed_as_known_now(
        &self,
        known: &mut KnownPrices<'a>,
        pair: &[usize],
        end: NaiveDate,
    ) -> Result<Vec<Entry>, Quarantine> {
        let Rater { books, known_at, .. } = self.rater;
        let seller = &self.links[pair[0]].seller;
        let closed = books.sealed(seller.id, end);
        let (Some(closed), Some(period)) = (closed, seller.settings.period_ending(end)) else {
            return Ok(Vec::new());
        };
        let pinned = books.prices_of(seller.id, closed);
        let mut entries = Vec::new();
        for place in pair {
            let mut rated = self.of_link(known, *place, &period, pinned);
            if lacks_price(&rated) && self.links[*place].role != Role::Supply {
                let sellers = self.links[*place].way.len();
                let all = self.prices(known, (*place, sellers), *known_at).positions_after(pinned);
                for later in all {
                    rated = self.of_link(known, *place, &period, later);
                    if !lacks_price(&rated) {
                        break;
                    }
                }
            }
            entries.extend(rated?);
        }
        self.commit(pair, &period, &mut entries)?;
        Ok(entries)
    }
}

/// Whether something cannot be rated as long as nobody says what it costs.
fn lacks_price(rated: &Result<Vec<Entry>, Quarantine>) -> bool {
    use QuarantineReason::{NoExchangeRate, NoPrice};
    matches!(rated, Err(Quarantine { reason: NoPrice | NoExchangeRate, .. }))
}
