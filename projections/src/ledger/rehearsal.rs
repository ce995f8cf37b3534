//! What a seller's period would come to if something were so that somebody thinks of: other prices, other rules, another
//! definition of a service; or, where nothing is proposed, what this program makes of a period that another has sealed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::billing::{Overflow, Period};
use domain::money::{Currency, Money};
use domain::{OrganizationId, TenantPath};
use eventstore::{Database, Error};

use super::rater::{Customers, Rater};
use super::supposed::Supposed;
use super::{Quarantined, Question, RATED_AT_A_TIME, Side, buyers, gone};
use crate::finder::{self, Scope};
use crate::views::{BooksView, Closed, OrganizationView};

/// Most customers that a rehearsal tells of.
const EFFECTS_MAX: usize = 1_000;
/// Most subscriptions that a rehearsal says cannot be rated.
const QUARANTINED_MAX: usize = 1_000;

/// What somebody thinks of.
#[derive(Clone, Debug, Default)]
pub struct Proposal {
    /// What would follow.
    pub supposed: Supposed,
    /// Whether it is about what something costs: then all prices that are known now count, of closed periods, too.
    pub prices: bool,
    /// Whether it is about billable rules: then all that are known now count, of closed periods, too.
    pub rules: bool,
}

/// What a period comes to, and what it would come to.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// How the period was closed, where it is: then what it comes to is what was sealed.
    pub closed: Option<Closed>,
    /// All customers together, one for each currency.
    pub totals: BTreeMap<Currency, Change>,
    /// The first of those customers for whom anything changes, by name; one for each currency.
    pub effects: Vec<CustomerEffect>,
    /// How many there are.
    pub effect_count: u64,
    /// The first of those that could not be rated any more.
    pub quarantined: Vec<Quarantined>,
    /// How many there are.
    pub quarantined_count: u64,
}

/// What changes for one customer, in one currency.
#[derive(Clone, Debug)]
pub struct CustomerEffect {
    /// Whom.
    pub customer: Arc<OrganizationView>,
    /// What.
    pub change: Change,
}

/// What something comes to, and would come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// As it is.
    pub now: Sum,
    /// As it would be.
    pub then: Sum,
}

/// What lines come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// So much.
    pub amount: Money,
    /// How many lines are not charged.
    pub waived: u64,
}

impl Sum {
    fn nothing(currency: Currency) -> Self {
        Self { amount: Money::new(0, currency), waived: 0 }
    }

    fn add(&mut self, other: Self) -> Result<(), Overflow> {
        self.amount = self.amount.checked_add(other.amount).ok_or(Overflow)?;
        self.waived += other.waived;
        Ok(())
    }
}

/// Rates a seller's period as it is, and as it would be. An open one as it is known now. A closed one as it was sealed,
/// against the facts that were known at its cutoff, and the prices and rules of its close; where prices or rules are
/// proposed, with these on top of all that are known now, as a rerate has it.
///
/// # Errors
/// What the database says; where a sum is beyond what can be held.
pub async fn rehearse(
    database: &Database,
    (seller, path): (OrganizationId, &TenantPath),
    period: Period,
    proposal: Proposal,
) -> Result<Rehearsal, Error> {
    let (everywhere, key) = (Scope::catalogue(), seller.to_string());
    let books = finder::find::<BooksView>(database, &everywhere, &key).await?;
    let closed = books.and_then(|books| books.closed(period.end, u64::MAX).cloned());
    let (scope, side) = (Scope(path.clone()), Side::Sells(seller));
    let question = Question { scope, as_of: None, known_at: None, side };
    let mut all = buyers(database, &question.scope).await?;
    all.extend(gone(database, &question.scope).await?);
    all.sort_by_cached_key(|it| (it.details.name.to_lowercase(), it.number));
    let as_it_is = Rater::begin(database, &question, &[period], &all).await?;
    let known_at = closed.as_ref().map(|closed| closed.cutoff);
    let question = Question { known_at, ..question };
    let mut as_proposed = Rater::begin(database, &question, &[period], &all).await?;
    as_proposed.propose(proposal);
    let mut rehearsal = Rehearsal {
        closed,
        totals: BTreeMap::new(),
        effects: Vec::new(),
        effect_count: 0,
        quarantined: Vec::new(),
        quarantined_count: 0,
    };
    for some in all.chunks(RATED_AT_A_TIME) {
        let now = rated(&as_it_is, &as_it_is.read(some.to_vec()).await?)?;
        let then = rated(&as_proposed, &as_proposed.read(some.to_vec()).await?)?;
        rehearsal.add(some, now, then).map_err(|it| Error::Unsuitable(it.to_string()))?;
    }
    Ok(rehearsal)
}

impl Rehearsal {
    /// Adds what some customers come to, and would come to.
    fn add(
        &mut self,
        customers: &[Arc<OrganizationView>],
        mut now: Rated,
        then: Rated,
    ) -> Result<(), Overflow> {
        let mut sums = then.sums;
        for customer in customers {
            let of_both = [now.sums.remove(&customer.id), sums.remove(&customer.id)];
            let [now, then] = of_both.map(Option::unwrap_or_default);
            for currency in now.keys().chain(then.keys()).copied().collect::<BTreeSet<_>>() {
                let nothing = Sum::nothing(currency);
                let of = |sums: &Sums| sums.get(&currency).copied().unwrap_or(nothing);
                let change = Change { now: of(&now), then: of(&then) };
                let total = Change { now: nothing, then: nothing };
                let total = self.totals.entry(currency).or_insert(total);
                total.now.add(change.now)?;
                total.then.add(change.then)?;
                if change.now == change.then {
                    continue;
                }
                self.effect_count += 1;
                if self.effects.len() < EFFECTS_MAX {
                    self.effects.push(CustomerEffect { customer: customer.clone(), change });
                }
            }
        }
        let before: BTreeSet<_> = now.quarantined.iter().map(|it| it.subscription).collect();
        for quarantined in then.quarantined {
            let id = quarantined.subscription;
            let was_deferred = |closed: &Closed| closed.deferred.contains(&id);
            if before.contains(&id) || self.closed.as_ref().is_some_and(was_deferred) {
                continue;
            }
            self.quarantined_count += 1;
            if self.quarantined.len() < QUARANTINED_MAX {
                self.quarantined.push(quarantined);
            }
        }
        Ok(())
    }
}

/// What one customer comes to.
type Sums = BTreeMap<Currency, Sum>;

/// What some customers come to.
#[derive(Default)]
struct Rated {
    sums: BTreeMap<OrganizationId, Sums>,
    quarantined: Vec<Quarantined>,
}

fn rated(rater: &Rater, read: &Customers) -> Result<Rated, Error> {
    let mut all = Rated::default();
    let mut is_too_large = false;
    rater.rate(read, |rated| match rated.outcome {
        Ok(entries) => {
            let sums = all.sums.entry(rated.customer.id).or_default();
            for entry in entries {
                let currency = entry.amount.currency;
                let own = Sum { amount: entry.amount, waived: u64::from(!entry.is_billable()) };
                let sum = sums.entry(currency).or_insert_with(|| Sum::nothing(currency));
                is_too_large |= sum.add(own).is_err();
            }
        }
        Err(cause) => all.quarantined.push(Quarantined {
            subscription: rated.slot.view.id,
            customer: rated.customer.id,
            service: rated.service.key.clone(),
            cause,
        }),
    });
    match is_too_large {
        true => Err(Error::Unsuitable(Overflow.to_string())),
        false => Ok(all),
    }
}
