//! What a seller's period comes to, slot by slot, in the order in which it is sealed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::billing::books::Place;
use domain::billing::merkle::Hash;
use domain::billing::{Entry, Period, Quarantine, seal};
use domain::{OrganizationId, ServiceKey, TenantPath};
use eventstore::{Database, Error};
use tokio::task::JoinSet;

use super::rater::{Customers, Rated, Rater};
use super::{Question, RATED_AT_A_TIME, Side, buyers, gone};
use crate::finder::Scope;
use crate::views::OrganizationView;

/// A seller's period as far as the log went at a cutoff, some customers at a time.
pub struct Draft {
    rater: Arc<Rater>,
    /// Who is still to come: who buys, and for which customer, in that order.
    purchases: std::vec::IntoIter<Purchase>,
    /// Only what comes behind it.
    after: Option<Place>,
    /// The next ones, who are read while those before them are sealed.
    reading: JoinSet<Result<(Wanted, Customers), Error>>,
}

/// Who buys, and what has it in the end.
type Purchase = (OrganizationId, Arc<OrganizationView>);

/// Whose purchases are meant, of what is read: who buys, and the customer.
type Wanted = BTreeSet<(OrganizationId, OrganizationId)>;

/// A slot, and what it comes to.
#[derive(Debug)]
pub struct Drafted {
    /// Whose, and which.
    pub place: Place,
    /// Of which service.
    pub service: ServiceKey,
    /// Its entries, or why it cannot be rated.
    pub outcome: Result<Vec<Entry>, Quarantine>,
}

impl Draft {
    /// Finds whom the seller billed.
    ///
    /// # Errors
    /// What the database says.
    pub async fn begin(
        database: &Database,
        (seller, path): (OrganizationId, &TenantPath),
        period: Period,
        cutoff: u64,
        after: Option<Place>,
    ) -> Result<Self, Error> {
        let (scope, side) = (Scope(path.clone()), Side::Sells(seller));
        let question = Question { scope, as_of: None, known_at: Some(cutoff), side };
        let mut all = buyers(database, &question.scope).await?;
        all.extend(gone(database, &question.scope).await?);
        let rater = Rater::begin(database, &question, &[period], &all).await?;
        let mut purchases = Vec::with_capacity(all.len());
        for customer in all {
            let links = rater.links(&customer);
            let his = links.iter().filter(|link| link.seller.id == seller);
            let buyers: BTreeSet<_> = his.map(|link| link.bought_by(customer.id)).collect();
            let buyers = buyers.into_iter().filter(|buyer| {
                let place = (*buyer, customer.id);
                after.is_none_or(|after| place >= (after.bought_by(), after.customer))
            });
            purchases.extend(buyers.map(|buyer| (buyer, customer.clone())));
        }
        purchases.sort_by_key(|(buyer, customer)| (*buyer, customer.id));
        let (rater, purchases) = (Arc::new(rater), purchases.into_iter());
        Ok(Self { rater, purchases, after, reading: JoinSet::new() })
    }

    /// The places in the tree of the customers that are still to come.
    #[must_use]
    pub fn customers(&self) -> BTreeSet<TenantPath> {
        self.purchases.as_slice().iter().map(|(_, customer)| customer.path.clone()).collect()
    }

    fn read_on(&mut self) {
        let purchases: Vec<_> = self.purchases.by_ref().take(RATED_AT_A_TIME).collect();
        if purchases.is_empty() {
            return;
        }
        let wanted = purchases.iter().map(|(buyer, customer)| (*buyer, customer.id)).collect();
        let customers: BTreeMap<_, _> =
            purchases.into_iter().map(|(_, customer)| (customer.id, customer)).collect();
        let rater = self.rater.clone();
        self.reading.spawn(async move {
            Ok((wanted, rater.read(customers.into_values().collect()).await?))
        });
    }

    /// What the next customers have; none where everybody has been.
    ///
    /// # Errors
    /// What the database says.
    pub async fn next(&mut self) -> Result<Option<Vec<Drafted>>, Error> {
        if self.reading.is_empty() {
            self.read_on();
        }
        let Some(read) = self.reading.join_next().await else { return Ok(None) };
        // Nobody cancels it, so it has panicked, which is not for us to hide.
        let read = read.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()));
        let (wanted, read) = read?;
        self.read_on();
        let mut drafted = BTreeMap::new();
        self.rater.rate(&read, |rated| {
            let Rated { customer, link, row, .. } = &rated;
            if !wanted.contains(&(link.bought_by(customer.id), customer.id)) {
                return;
            }
            let (customer, subscription) = (customer.id, *row);
            let place = Place { buyer: link.buyer, customer, subscription };
            let slot = drafted.entry(place).or_insert_with(|| Drafted {
                place,
                service: rated.service.key.clone(),
                outcome: Ok(Vec::new()),
            });
            match (&mut slot.outcome, rated.outcome) {
                (Ok(entries), Ok(more)) => entries.extend(more),
                (outcome @ Ok(_), Err(cause)) => *outcome = Err(cause),
                (Err(_), _) => {}
            }
        });
        let is_new = |place: &Place| self.after.is_none_or(|after| *place > after);
        Ok(Some(drafted.into_values().filter(|slot| is_new(&slot.place)).collect()))
    }
}

/// Rates a closed period again, as far as the log went at its cutoff, and compares it with what is sealed, byte for byte.
/// Gives the first difference, for people.
///
/// # Errors
/// What the database says.
pub async fn compare_sealed(
    database: &Database,
    seller: (OrganizationId, &TenantPath),
    period: Period,
    cutoff: u64,
) -> Result<Option<String>, Error> {
    let mut sealed = BTreeMap::new();
    eventstore::for_each_sealed(&mut &*database, cutoff, |place, body| {
        sealed.insert(place, Hash::leaf(body));
        Ok(())
    })
    .await?;
    let mut draft = Draft::begin(database, seller, period, cutoff, None).await?;
    while let Some(part) = draft.next().await? {
        for slot in part {
            // What cannot be rated was deferred.
            let mut entries = slot.outcome.unwrap_or_default();
            if entries.is_empty() {
                continue;
            }
            let id = slot.place.subscription;
            match sealed.remove(&slot.place) {
                None => {
                    return Ok(Some(format!("entries of the subscription {id} are not sealed")));
                }
                Some(hash) if hash != Hash::leaf(&seal::lines(&mut entries)) => {
                    let what = "the sealed entries of the subscription";
                    return Ok(Some(format!("{what} {id} are not what the log gives")));
                }
                Some(_) => {}
            }
        }
    }
    let more = sealed.keys().next().map(|place| place.subscription);
    Ok(more.map(|id| format!("the log gives no entries of the subscription {id}")))
}
