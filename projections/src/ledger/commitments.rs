//! What buyers lack to what they are committed to: shared among all that they hold of a service, whoever has it in the end. What one
//! slot has of it follows from what the others charge, so all of them are rated before any is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use domain::billing::{Commitment, Entry, Kind, Period, QuarantineReason, Sharing};
use domain::organization::Kind as OrganizationKind;
use domain::{OrganizationId, ServiceKey, SubscriptionId};
use eventstore::{Database, Error};
use tokio::sync::OnceCell;

use super::rater::{Buyer, Customers, KnownPrices, Of, Rater};
use super::sellers::{Link, Role, Seller};
use super::{Question, RATED_AT_A_TIME, Side, customers, gone};
use crate::finder::{self, Scope};
use crate::views::OrganizationView;

/// All that a buyer holds of a service, bought from one seller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Pool {
    seller: OrganizationId,
    buyer: OrganizationId,
    service: ServiceKey,
}

impl Pool {
    fn of(link: &Link, customer: OrganizationId, service: &ServiceKey) -> Self {
        let buyer = link.bought_by(customer);
        Self { seller: link.seller.id, buyer, service: service.clone() }
    }
}

/// What each slot has of what is lacking in a period; or why nobody can say.
type Parts = Result<HashMap<SubscriptionId, Entry>, QuarantineReason>;

/// What buyers lack to what they are committed to.
#[derive(Debug, Default)]
pub(super) struct Pools {
    /// Closed periods, by their last dates, of which something was learned later: all that is in the pool is compared.
    compared: HashMap<Pool, BTreeSet<NaiveDate>>,
    /// By the last dates of open periods, and of those that are compared.
    parts: HashMap<Pool, BTreeMap<NaiveDate, Parts>>,
}

impl Pools {
    /// Those that anybody is in who is asked about.
    pub(super) fn of(
        rater: &Rater,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<Self>, Error>> + Send + '_>> {
        Box::pin(async move {
            let mut pools = Self::default();
            for (seller, committed) in committed(rater) {
                let members = members(&rater.database, &committed).await?;
                pools.rate(rater, &seller, committed, &members).await?;
            }
            Ok(Arc::new(pools))
        })
    }

    /// What a slot has of what its buyer lacks in a period; none where that is nothing.
    pub(super) fn part(
        &self,
        link: &Link,
        customer: OrganizationId,
        (service, subscription): (&ServiceKey, SubscriptionId),
        end: NaiveDate,
    ) -> Option<Result<&Entry, QuarantineReason>> {
        if self.parts.is_empty() {
            return None;
        }
        match self.parts.get(&Pool::of(link, customer, service))?.get(&end)? {
            Ok(parts) => parts.get(&subscription).map(Ok),
            Err(reason) => Some(Err(*reason)),
        }
    }

    /// The closed periods in which all that a customer buys of a service is compared.
    pub(super) fn compared(
        &self,
        link: &Link,
        customer: OrganizationId,
        service: &ServiceKey,
    ) -> impl Iterator<Item = NaiveDate> {
        let ends = match self.compared.is_empty() {
            true => None,
            false => self.compared.get(&Pool::of(link, customer, service)),
        };
        ends.into_iter().flatten().copied()
    }

    /// From when to when slots of some customers are compared.
    pub(super) fn spans(&self, buyers: &[Buyer]) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
        let mut spans = Vec::new();
        for (pool, ends) in &self.compared {
            let is_its = |buyer: &Buyer, link: &Link| {
                link.seller.id == pool.seller && link.bought_by(buyer.view.id) == pool.buyer
            };
            let links =
                buyers.iter().find_map(|buyer| buyer.links.iter().find(|link| is_its(buyer, link)));
            let Some(Seller { settings, .. }) = links.map(|link| link.seller.as_ref()) else {
                continue;
            };
            let periods = ends.iter().filter_map(|end| settings.period_ending(*end));
            spans.extend(periods.map(|period| settings.instants(&period)));
        }
        spans
    }

    /// Rates all that is in a seller's pools.
    async fn rate(
        &mut self,
        asked: &Rater,
        seller: &Arc<Seller>,
        committed: Committed,
        members: &[Arc<OrganizationView>],
    ) -> Result<(), Error> {
        let (scope, side) = (Scope(seller.path.clone()), Side::Sells(seller.id));
        let question = Question { scope, side, ..asked.question.clone() };
        let periods = &asked.periods;
        let mut rater = Rater::begin(&asked.database, &question, periods, members).await?;
        rater.go_by(asked);
        let mut rating = Rating { committed, sharing: HashMap::new(), seller: seller.clone() };
        // What is lacking does not count itself.
        rater.pools = OnceCell::from(Arc::new(Self::default()));
        let mut compared = HashMap::<_, BTreeSet<_>>::new();
        for some in members.chunks(RATED_AT_A_TIME) {
            let read = rater.read(some.to_vec()).await?;
            rating.each(&rater, &read, |rating, of, prices, (pool, pair)| {
                let late = read.late.ends(of.slot.view.id, pool.seller);
                let late: Vec<_> = late.collect();
                if !late.is_empty() {
                    compared.entry(pool.clone()).or_default().extend(late);
                }
                let open = periods.iter().filter_map(|it| Rater::period_of(&rating.seller, it));
                let open = open.filter(|it| rater.books.sealed(pool.seller, it.end).is_none());
                for period in open.collect::<Vec<_>>() {
                    let entries = of.rated(prices, pair, &period, rater.prices_at);
                    rating.add(of, prices, (pool, pair), period, (entries, rater.prices_at));
                }
            });
        }
        if !compared.is_empty() {
            let pools = Self { compared: compared.clone(), parts: HashMap::new() };
            rater.pools = OnceCell::from(Arc::new(pools));
            for some in members.chunks(RATED_AT_A_TIME) {
                let read = rater.read(some.to_vec()).await?;
                rating.each(&rater, &read, |rating, of, prices, (pool, pair)| {
                    for end in compared.get(pool).into_iter().flatten() {
                        let entries = of.closed_as_known_now(prices, pair, *end);
                        let period = rating.seller.settings.period_ending(*end);
                        let closed = rater.books.sealed(pool.seller, *end);
                        let Some((period, closed)) = period.zip(closed) else { continue };
                        let pinned = rater.books.prices_of(pool.seller, closed);
                        rating.add(of, prices, (pool, pair), period, (entries, pinned));
                    }
                });
            }
        }
        self.compared.extend(compared);
        for (pool, by_end) in rating.sharing {
            let rows = rating.committed.get(&pool).map_or(&[][..], Vec::as_slice);
            let parts = self.parts.entry(pool).or_default();
            for (end, (sharing, known_at)) in by_end {
                let known = rows.iter().filter(|row| row.position <= known_at);
                let known: Vec<_> = known.cloned().collect();
                let rates = rater.prices.rates_of(seller, known_at);
                let entries = sharing.share(&known, &rates, &seller.settings);
                let by_slot = |entries: Vec<Entry>| {
                    entries.into_iter().map(|entry| (entry.subscription, entry)).collect()
                };
                parts.insert(end, entries.map(by_slot));
            }
        }
        Ok(())
    }
}

type Committed = HashMap<Pool, Vec<Commitment>>;

/// What those who are asked about are committed to, by seller.
fn committed(rater: &Rater) -> Vec<(Arc<Seller>, Committed)> {
    let views = rater.prices.commitments.iter().filter(|it| it.position <= rater.prices_at);
    let mut all = Committed::new();
    for view in views {
        let setting = &view.setting;
        let (seller, buyer) = (setting.seller, setting.buyer);
        let pool = Pool { seller, buyer, service: setting.service.clone() };
        all.entry(pool).or_default().push(view.for_rating());
    }
    if all.is_empty() {
        return Vec::new();
    }
    let mut pairs = HashSet::new();
    for customer in &rater.customers {
        let links = rater.links(customer).into_iter();
        let asked = links.filter(|link| rater.is_asked(link, customer.id));
        pairs.extend(asked.map(|link| (link.seller.id, link.bought_by(customer.id))));
    }
    all.retain(|pool, _| pairs.contains(&(pool.seller, pool.buyer)));
    let mut by_seller = BTreeMap::<_, Committed>::new();
    for (pool, rows) in all {
        by_seller.entry(pool.seller).or_default().insert(pool, rows);
    }
    let sellers = by_seller.into_iter().filter_map(|(id, committed)| {
        let seller = rater.prices.sellers.all().find(|seller| seller.id == id)?;
        Some((seller.clone(), committed))
    });
    sellers.collect()
}

/// The customers who have what the buyers buy, or had it.
async fn members(
    database: &Database,
    committed: &Committed,
) -> Result<Vec<Arc<OrganizationView>>, Error> {
    let buyers: BTreeSet<_> = committed.keys().map(|pool| pool.buyer.to_string()).collect();
    let everywhere = Scope::catalogue();
    let keys = buyers.into_iter().collect();
    let buyers = finder::find_many::<OrganizationView>(database, &everywhere, keys).await?;
    let mut members = BTreeMap::new();
    for buyer in buyers.into_values() {
        if buyer.kind == OrganizationKind::Customer {
            members.insert(buyer.id, buyer);
            continue;
        }
        let below = Scope(buyer.path.clone());
        let mut all = customers(database, &below).await?;
        all.extend(gone(database, &below).await?);
        members.extend(all.into_iter().map(|customer| (customer.id, customer)));
    }
    Ok(members.into_values().collect())
}

/// A seller's pools while what is in them is rated.
struct Rating {
    committed: Committed,
    seller: Arc<Seller>,
    /// What is charged in a period, and up to which position what is committed to counts for it.
    sharing: HashMap<Pool, BTreeMap<NaiveDate, (Sharing, u64)>>,
}

impl Rating {
    /// Goes through those slots of some customers that are in a pool.
    fn each<'a>(
        &mut self,
        rater: &'a Rater,
        read: &'a Customers,
        mut take: impl FnMut(&mut Self, &Of<'a>, &mut KnownPrices<'a>, (&Pool, &[usize])),
    ) {
        for buyer in read.buyers() {
            let mut prices = KnownPrices::default();
            for of in rater.slots_of(read, buyer) {
                for pair in of.pairs() {
                    let Some(link) = pair.last().map(|place| &of.links[*place]) else { continue };
                    let pool = Pool::of(link, of.customer.id, &of.service.key);
                    if self.committed.contains_key(&pool) {
                        take(self, &of, &mut prices, (&pool, &pair));
                    }
                }
            }
        }
    }

    /// Adds what a slot charges of a period. One that cannot be rated shares nothing, as if it were not there.
    fn add<'a>(
        &mut self,
        of: &Of<'a>,
        prices: &mut KnownPrices<'a>,
        (pool, pair): (&Pool, &[usize]),
        period: Period,
        (entries, known_at): (Result<Vec<Entry>, domain::billing::Quarantine>, u64),
    ) {
        let sale = pair.iter().rfind(|place| of.links[**place].role == Role::Sale);
        let (Ok(entries), Some(place)) = (entries, sale) else { return };
        let sellers = of.links[*place].way.len();
        let prices = of.prices(prices, (*place, sellers), known_at);
        let of_period = entries.iter().filter(|entry| {
            entry.kind != Kind::Commission && !prices.is_by_terms(&entry.component)
        });
        let by_end = self.sharing.entry(pool.clone()).or_default();
        let new = || (Sharing::new(period), known_at);
        let (sharing, _) = by_end.entry(period.end).or_insert_with(new);
        of_period.for_each(|entry| sharing.add(entry));
    }
}
