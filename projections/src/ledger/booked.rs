//! What closed periods have: as it was sealed, and what has been learned of it since.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use domain::billing::books::Place;
use domain::billing::{BillingSettings, Entry, Period, seal};
use domain::{Bug, OrganizationId, SubscriptionId, planted};
use eventstore::{Database, Error, SealedSlot, Value, failpoint};

use super::as_of::just_after;
use super::commitments::Pools;
use super::rater::Buyer;
use super::sellers::Seller;
use super::slots::{DATE_MAX, Slot};
use crate::finder::{self, Scope};
use crate::tables;
use crate::views::{BackdatedView, BooksView, Closed, Subject, SubscriptionView};

/// The books of some sellers, as they were known at a position.
#[derive(Debug)]
pub(super) struct Books {
    views: HashMap<OrganizationId, Arc<BooksView>>,
    known_at: u64,
    /// By which moment something has to be true so that it counts, if not all does.
    as_of: Option<DateTime<Utc>>,
    /// What was left out of closed periods: by the customer's path.
    deferred: HashMap<String, Vec<Deferred>>,
}

/// A slot that was left out of a closed period.
#[derive(Clone, Copy, Debug)]
struct Deferred {
    seller: OrganizationId,
    end: NaiveDate,
    subscription: SubscriptionId,
}

impl Books {
    pub(super) async fn load(
        database: &Database,
        sellers: BTreeSet<OrganizationId>,
        known_at: u64,
    ) -> Result<Self, Error> {
        let keys = sellers.iter().map(ToString::to_string).collect();
        let found = finder::find_many::<BooksView>(database, &Scope::catalogue(), keys).await?;
        let views: HashMap<_, _> = found.into_values().map(|view| (view.seller, view)).collect();
        let mut books = Self { views, known_at, as_of: None, deferred: HashMap::new() };
        let deferred = books.all_deferred();
        if !deferred.is_empty() {
            let keys = deferred.iter().map(|it| it.subscription.to_string()).collect();
            let found =
                finder::find_many::<SubscriptionView>(database, &Scope::catalogue(), keys).await?;
            for it in deferred {
                if let Some(view) = found.get(&it.subscription.to_string()) {
                    books.deferred.entry(view.path.to_string()).or_default().push(it);
                }
            }
        }
        Ok(books)
    }

    /// As far as the periods go that were over at a moment: those that were not are not set right.
    pub(super) fn until(self, as_of: Option<DateTime<Utc>>) -> Self {
        Self { as_of, ..self }
    }

    /// Whether a seller's period that ends on a date was over at the moment that is asked about.
    fn was_over(&self, settings: &BillingSettings, end: NaiveDate) -> bool {
        let first_after = settings.midnight(end.succ_opt().unwrap_or(end));
        self.as_of.is_none_or(|as_of| first_after <= just_after(as_of))
    }

    fn all_deferred(&self) -> Vec<Deferred> {
        let views = self.views.values();
        let closed = views.flat_map(|view| {
            view.closed_known_at(self.known_at).iter().map(move |closed| (view.seller, closed))
        });
        closed
            .flat_map(|(seller, closed)| {
                closed.deferred.iter().map(move |subscription| Deferred {
                    seller,
                    end: closed.end,
                    subscription: *subscription,
                })
            })
            .collect()
    }

    /// A seller's closed periods, the first one first.
    pub(super) fn closed(&self, seller: OrganizationId) -> &[Closed] {
        self.views.get(&seller).map_or(&[], |view| view.closed_known_at(self.known_at))
    }

    /// Up to which position all that was recorded is in periods that are closed, whoever closed them.
    pub(super) fn booked_until(&self) -> u64 {
        let closed = self.views.values().map(|view| view.closed_known_at(self.known_at));
        let cutoffs = closed.filter_map(|closed| Some(closed.last()?.cutoff));
        cutoffs.min().unwrap_or(u64::MAX)
    }

    /// A seller's period, where it is closed.
    pub(super) fn sealed(&self, seller: OrganizationId, end: NaiveDate) -> Option<&Closed> {
        self.views.get(&seller)?.closed(end, self.known_at)
    }

    /// Whether a period is the one in which corrections of closed ones are booked.
    pub(super) fn corrects(&self, seller: &Seller, period: &Period) -> bool {
        let open = self.views.get(&seller.id);
        let open = open.and_then(|view| view.open(self.known_at, &seller.settings));
        open.is_some_and(|it| it == *period)
    }

    /// The position up to which the prices of a closed period count.
    pub(super) fn prices_of(&self, seller: OrganizationId, closed: &Closed) -> u64 {
        self.prices_known_at(seller, closed, self.known_at)
    }

    /// The same, as it was known at a position.
    pub(super) fn prices_known_at(
        &self,
        seller: OrganizationId,
        closed: &Closed,
        known_at: u64,
    ) -> u64 {
        if planted(Bug::LatePriceReachesBack) {
            return self.known_at;
        }
        let view = self.views.get(&seller);
        view.map_or(closed.cutoff, |view| view.prices_of(closed, known_at))
    }

    /// Those closed periods that are to be compared because some are rated again with other prices, which their last close
    /// did not know.
    fn rerated(&self, seller: OrganizationId) -> impl Iterator<Item = &Closed> {
        let view = self.views.get(&seller);
        let closed = self.closed(seller);
        let last = closed.last().map_or(0, |last| last.cutoff);
        let ranges = view.into_iter().flat_map(|view| &view.rerated);
        let new = ranges.filter(|it| it.position > last && it.position <= self.known_at);
        let first = new.map(|it| it.from_end).min();
        // Those after them as well, though by the prices of their close: what is paid in advance goes on in them.
        closed.iter().filter(move |closed| first.is_some_and(|first| closed.end >= first))
    }

    /// What some customers' slots have that the last closes of these sellers did not know.
    pub(super) async fn late(
        &self,
        database: &Database,
        sellers: &HashMap<OrganizationId, Arc<Seller>>,
        buyers: &[Buyer],
    ) -> Result<Late, Error> {
        let last =
            || sellers.values().filter_map(|seller| Some((seller, self.closed(seller.id).last()?)));
        let cutoff = last().map(|(_, last)| last.cutoff).min().unwrap_or(0);
        let end = |(seller, last): (&Arc<Seller>, &Closed)| {
            seller.settings.midnight(last.end.succ_opt().unwrap_or(last.end))
        };
        let end = last().map(end).max().map(|end| end + DATE_MAX);
        let end = end.unwrap_or(DateTime::<Utc>::MIN_UTC);
        let paths = buyers.iter().map(|buyer| buyer.view.path.to_string()).collect();
        failpoint("projections::ledger::late")?;
        let sql = format!(
            "select key, document from view_backdated \
             where {} and sort > $2 and sort <= $3 and since < $4 order by key",
            database.engine().any_of("path", 1)
        );
        let values = [
            Value::Texts(paths),
            Value::Text(format!("{cutoff:020}")),
            Value::Text(format!("{:020}", self.known_at)),
            end.timestamp_micros().into(),
        ];
        let rows = database.fetch(&sql, &values).await?;
        let facts = rows
            .iter()
            .map(|row| tables::read(row.text(0)?, row.bytes(1)?))
            .collect::<Result<Vec<Arc<BackdatedView>>, Error>>()?;
        let deferred = buyers
            .iter()
            .filter_map(|buyer| self.deferred.get(buyer.view.path.as_str()))
            .flatten()
            .filter(|it| sellers.contains_key(&it.seller));
        let turned = facts.iter().filter_map(|fact| match fact.subject {
            Subject::Customer(customer) => Some((customer, fact.from?)),
            Subject::Subscription(_) => None,
        });
        let turned = turned.fold(HashMap::new(), |mut first, (customer, from)| {
            let known = first.entry(customer).or_insert(from);
            *known = from.min(*known);
            first
        });
        let mut late = Late {
            deferred: deferred.copied().collect(),
            whole: BTreeSet::new(),
            spans: Vec::new(),
            touched: BTreeMap::new(),
            facts: Vec::new(),
        };
        for buyer in buyers {
            let customer = buyer.view.id;
            for link in buyer.links.iter().filter(|link| sellers.contains_key(&link.seller.id)) {
                let Seller { id, settings, .. } = link.seller.as_ref();
                let again: Vec<_> = self.rerated(*id).collect();
                let since = turned.get(&customer).map(|from| {
                    let first = settings.period_containing(settings.local_date(*from - DATE_MAX));
                    late.spans.push(settings.instants(&first));
                    first.end
                });
                for closed in self.closed(*id) {
                    let is_again = again.iter().any(|it| it.end == closed.end);
                    if is_again && let Some(period) = settings.period_ending(closed.end) {
                        late.spans.push(settings.instants(&period));
                    }
                    if is_again || since.is_some_and(|since| closed.end >= since) {
                        let prefix = SealedSlot::of_customer(closed.cutoff, link.buyer, customer);
                        late.whole.insert(prefix);
                    }
                }
            }
        }
        Ok(Late { facts, ..late })
    }
}

/// What has been learned since the last closes.
#[derive(Default)]
pub(super) struct Late {
    facts: Vec<Arc<BackdatedView>>,
    deferred: Vec<Deferred>,
    /// What the keys of rows begin with, all of which are compared.
    whole: BTreeSet<String>,
    /// From when to when all slots are compared.
    spans: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    /// The closed periods of a seller that have to be compared with what is known now: by slot.
    touched: BTreeMap<(SubscriptionId, OrganizationId), Touched>,
}

/// What has to be compared of a slot.
struct Touched {
    /// Between whom: the customer, and who buys.
    places: BTreeSet<(OrganizationId, Option<OrganizationId>)>,
    ends: BTreeSet<NaiveDate>,
}

impl Late {
    /// Adds what would be learned.
    pub(super) fn suppose(&mut self, facts: impl Iterator<Item = Arc<BackdatedView>>) {
        self.facts.extend(facts);
    }

    pub(super) fn whole(&self) -> impl Iterator<Item = &String> {
        self.whole.iter()
    }

    pub(super) fn spans(&self) -> impl Iterator<Item = (DateTime<Utc>, DateTime<Utc>)> {
        self.spans.iter().copied()
    }

    /// Slots that have to be there, whenever they were held.
    pub(super) fn slots(&self) -> impl Iterator<Item = SubscriptionId> {
        let late = self.facts.iter().filter_map(|fact| match fact.subject {
            Subject::Subscription(id) => Some(id),
            Subject::Customer(_) => None,
        });
        late.chain(self.deferred.iter().map(|it| it.subscription))
    }

    /// Finds which closed periods of a customer's slot have to be compared.
    pub(super) fn touch(
        &mut self,
        books: &Books,
        pools: &Pools,
        (buyer, slot): (&Buyer, &Slot),
        sellers: &HashMap<OrganizationId, Arc<Seller>>,
    ) {
        let (id, customer) = (slot.view.id, buyer.view.id);
        for (seller, Seller { settings, .. }) in sellers.iter().map(|(id, it)| (id, it.as_ref())) {
            let closed = books.closed(*seller);
            let cutoff = closed.last().map_or(0, |last| last.cutoff);
            let late = self.facts.iter().filter(|fact| fact.position > cutoff);
            let from = late
                .filter_map(|fact| match fact.subject {
                    Subject::Subscription(of) if of == id => {
                        Some(fact.from.unwrap_or_else(|| withdrawn_from(&slot.view, fact.position)))
                    }
                    Subject::Customer(of) if of == customer => fact.from,
                    Subject::Subscription(_) | Subject::Customer(_) => None,
                })
                .min();
            let mut ends: BTreeSet<_> = books.rerated(*seller).map(|closed| closed.end).collect();
            if let Some(from) = from {
                let from = from.checked_sub_signed(DATE_MAX).unwrap_or(from);
                let first = settings.period_containing(settings.local_date(from)).end;
                ends.extend(closed.iter().map(|closed| closed.end).filter(|end| *end >= first));
            }
            let deferred = self.deferred.iter();
            let deferred = deferred.filter(|it| it.seller == *seller && it.subscription == id);
            ends.extend(deferred.map(|it| it.end));
            let links = buyer.links.iter().filter(|link| link.seller.id == *seller);
            let service = &slot.view.service;
            ends.extend(links.clone().flat_map(|link| pools.compared(link, customer, service)));
            ends.retain(|end| books.was_over(settings, *end));
            if !ends.is_empty() {
                let places = links.map(|link| (customer, link.buyer)).collect();
                self.touched.insert((id, *seller), Touched { places, ends });
            }
        }
    }

    /// Every slot that has to be compared in a closed period of a seller, with its last date.
    pub(super) fn compared(
        &self,
    ) -> impl Iterator<Item = (SubscriptionId, OrganizationId, NaiveDate)> {
        self.touched.iter().flat_map(|((subscription, seller), touched)| {
            touched.ends.iter().map(|end| (*subscription, *seller, *end))
        })
    }

    /// The closed periods of a seller in which a slot has to be compared.
    pub(super) fn ends(
        &self,
        subscription: SubscriptionId,
        seller: OrganizationId,
    ) -> impl Iterator<Item = NaiveDate> {
        self.touched.get(&(subscription, seller)).into_iter().flat_map(|it| it.ends.iter().copied())
    }
}

/// From when on something was true that was taken back at a position.
fn withdrawn_from(view: &SubscriptionView, position: u64) -> DateTime<Utc> {
    let gone = view.withdrawn.iter().filter(|it| it.at == position);
    let from = gone.map(|it| it.fact.effective_at).min();
    from.or(view.earliest).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// Sealed entries, by closing, buyer and slot.
#[derive(Default)]
pub(super) struct Sealed(BTreeMap<(u64, OrganizationId, SubscriptionId), Vec<Entry>>);

impl Sealed {
    /// All that is bought for these customers in these closings: each named by what the keys of its rows begin with.
    pub(super) async fn of(database: &Database, prefixes: BTreeSet<String>) -> Result<Self, Error> {
        let mut sealed = Self::default();
        if prefixes.is_empty() {
            return Ok(sealed);
        }
        // Behind them there are digits, letters and `-` only: `~` comes after all of them. The bound is beyond what
        // a buyer has: PostgreSQL goes by the index for each of them only where there is one.
        let engine = database.engine();
        let sql = engine.first_of_each(
            &engine.each_of(1, "buyers", "prefix"),
            "key, body",
            "sealed_slot",
            "where key >= buyers.prefix and key < buyers.prefix || '~' order by key limit $2",
        );
        failpoint("projections::ledger::sealed")?;
        let prefixes = prefixes.into_iter().collect();
        let values = [Value::Texts(prefixes), super::SLOTS_OF_CUSTOMER_MAX.into()];
        for row in database.fetch(&sql, &values).await? {
            sealed.add(row.text(0)?, row.bytes(1)?)?;
        }
        Ok(sealed)
    }

    /// Adds what closed periods have of those slots that have to be compared: the periods themselves, and the
    /// corrections of them, wherever they are booked.
    pub(super) async fn add_booked(
        &mut self,
        database: &Database,
        books: &Books,
        late: &Late,
    ) -> Result<(), Error> {
        if late.touched.is_empty() {
            return Ok(());
        }
        let mut keys = BTreeSet::new();
        let mut slots = BTreeSet::new();
        for ((subscription, seller), touched) in &late.touched {
            for (customer, buyer) in touched.places.iter().copied() {
                let place = Place { buyer, customer, subscription: *subscription };
                let closed = touched.ends.iter().filter_map(|end| books.sealed(*seller, *end));
                let unread = closed.map(|closed| closed.cutoff).filter(|cutoff| {
                    !self.0.contains_key(&(*cutoff, place.bought_by(), *subscription))
                });
                keys.extend(unread.map(|cutoff| {
                    SealedSlot { cutoff, place, corrections: 0, body: Vec::new() }.key()
                }));
            }
            slots.insert(subscription.to_string());
        }
        let engine = database.engine();
        for (condition, texts) in [
            (engine.any_of("key", 1), keys),
            (format!("{} and corrections > 0", engine.any_of("subscription", 1)), slots),
        ] {
            failpoint("projections::ledger::booked")?;
            let sql = format!("select key, body from sealed_slot where {condition}");
            let values = [Value::Texts(texts.into_iter().collect())];
            for row in database.fetch(&sql, &values).await? {
                self.add(row.text(0)?, row.bytes(1)?)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, key: &str, body: &[u8]) -> Result<(), Error> {
        let (cutoff, place) = SealedSlot::place_of(key)?;
        let entries = seal::entries(body).map_err(|error| {
            Error::Unsuitable(format!("the sealed entries {key} cannot be read: {error}"))
        })?;
        self.0.insert((cutoff, place.bought_by(), place.subscription), entries);
        Ok(())
    }

    /// Every slot that has any.
    pub(super) fn slots(&self) -> impl Iterator<Item = SubscriptionId> {
        self.0.keys().map(|(_, _, subscription)| *subscription)
    }

    /// All of them.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.values().flatten()
    }

    /// What a closing has of a slot that somebody buys.
    pub(super) fn bought(
        &self,
        closed: &Closed,
        buyer: OrganizationId,
        subscription: SubscriptionId,
    ) -> &[Entry] {
        self.0.get(&(closed.cutoff, buyer, subscription)).map_or(&[], Vec::as_slice)
    }

    /// All that a seller's closed periods have for one service period of a slot that somebody buys.
    pub(super) fn booked(
        &self,
        closed: &[Closed],
        buyer: OrganizationId,
        subscription: SubscriptionId,
        end: NaiveDate,
    ) -> Vec<Entry> {
        let entries = closed.iter().flat_map(|closed| self.bought(closed, buyer, subscription));
        entries.filter(|entry| entry.period_end == end).cloned().collect()
    }
}
