//! What other rules would change, before anybody saves them.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::billing::rule::Rule;
use domain::billing::{Overflow, Period};
use domain::money::{Currency, Money};
use domain::{OrganizationId, TenantPath};
use eventstore::{Database, Error};

use super::rater::{Customers, Rater};
use super::{Question, RATED_AT_A_TIME, Side, customers, gone};
use crate::finder::Scope;
use crate::views::OrganizationView;

/// What other rules change for one customer, in one currency.
#[derive(Clone, Debug)]
pub struct RuleEffect {
    /// Whom.
    pub customer: Arc<OrganizationView>,
    /// What the period comes to now.
    pub now: Money,
    /// What it would come to.
    pub then: Money,
    /// How many lines are not charged now.
    pub waived_now: u64,
    /// How many would not be.
    pub waived_then: u64,
}

/// What a period comes to of one customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sum {
    amount: Money,
    waived: u64,
}

type Sums = BTreeMap<(OrganizationId, Currency), Sum>;

/// What a seller's period would come to with these rules in place of his own: the customers for whom that is something
/// else, or other lines are not charged; by name.
///
/// # Errors
/// What the database says; where a sum is beyond what can be held.
pub async fn rehearse_rules(
    database: &Database,
    (seller, path): (OrganizationId, &TenantPath),
    period: Period,
    rules: Vec<Rule>,
) -> Result<Vec<RuleEffect>, Error> {
    let (scope, side) = (Scope(path.clone()), Side::Sells(seller));
    let question = Question { scope, as_of: None, known_at: None, side };
    let mut all = customers(database, &question.scope).await?;
    all.extend(gone(database, &question.scope).await?);
    all.sort_by_cached_key(|it| (it.details.name.to_lowercase(), it.number));
    let mut rater = Rater::begin(database, &question, &[period], &all).await?;
    rater.rules.propose(seller, rules);
    let mut effects = Vec::new();
    for some in all.chunks(RATED_AT_A_TIME) {
        let read = rater.read(some.to_vec()).await?;
        rater.rules.is_proposing = false;
        let now = sums(&rater, &read)?;
        rater.rules.is_proposing = true;
        let then = sums(&rater, &read)?;
        let customers: BTreeMap<_, _> = some.iter().map(|it| (it.id, it)).collect();
        for (key @ (id, currency), now) in now {
            let nothing = Sum { amount: Money::new(0, currency), waived: 0 };
            let then = then.get(&key).copied().unwrap_or(nothing);
            let Some(customer) = customers.get(&id).filter(|_| now != then) else { continue };
            effects.push(RuleEffect {
                customer: (*customer).clone(),
                now: now.amount,
                then: then.amount,
                waived_now: now.waived,
                waived_then: then.waived,
            });
        }
    }
    effects.sort_by_cached_key(|it| (it.customer.details.name.to_lowercase(), it.customer.number));
    Ok(effects)
}

fn sums(rater: &Rater, read: &Customers) -> Result<Sums, Error> {
    let mut sums = Sums::new();
    let mut is_too_large = false;
    rater.rate(read, |rated| {
        for entry in rated.outcome.iter().flatten() {
            let currency = entry.amount.currency;
            let nothing = Sum { amount: Money::new(0, currency), waived: 0 };
            let sum = sums.entry((rated.customer.id, currency)).or_insert(nothing);
            match sum.amount.checked_add(entry.amount) {
                Some(amount) => sum.amount = amount,
                None => is_too_large = true,
            }
            sum.waived += u64::from(!entry.is_billable());
        }
    });
    match is_too_large {
        true => Err(Error::Unsuitable(Overflow.to_string())),
        false => Ok(sums),
    }
}
