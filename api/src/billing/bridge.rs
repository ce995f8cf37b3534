//! The way from the last period's total to this one's, as rows: what it was, by how much each cause changed it, what it is.

use std::collections::BTreeMap;

use domain::billing::{Cause, Overflow, differences};
use domain::money::{Currency, Money};
use projections::ledger::Line;
use projections::views::OrganizationView;
use serde::Serialize;
use utoipa::ToSchema;

use super::export::{Column, Row, Table};

/// A step on the way from the last period's total to this one's.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BridgeResource {
    /// None where the row is for all customers.
    customer_id: Option<u32>,
    customer_code: Option<String>,
    customer_name: Option<String>,
    /// `lastPeriod`, then `new`, `removed`, `plan`, `quantity`, `override`, `exchangeRate`, `price`, `days`, `oneOff`,
    /// `term`, `adjustment`, `correction` and `waiver` as far as there are any, then `thisPeriod`, which is the sum of those before.
    step: &'static str,
    /// Subscriptions behind it; of totals, none.
    subscriptions: Option<u64>,
    currency: String,
    amount: String,
}

/// The way as a table. What it comes to is by how much more it is than last time.
pub(super) const BRIDGE: Table = Table {
    name: "bridge",
    columns: &[
        ("customerId", Column::Number),
        ("customerCode", Column::Text),
        ("customerName", Column::Text),
        ("step", Column::Text),
        ("subscriptions", Column::Number),
        ("currency", Column::Text),
        ("amount", Column::Number),
    ],
};

/// What a way leads over, in one currency.
#[derive(Debug)]
pub struct Way {
    /// The last period's total.
    pub last: Money,
    /// By cause, in their order: so much, of so many subscriptions.
    pub steps: Vec<(Cause, Money, u64)>,
    /// This period's total.
    pub this: Money,
}

/// The ways between two periods' lines, one for each currency.
///
/// # Errors
/// [`Overflow`].
pub fn ways<'a>(
    last: impl IntoIterator<Item = &'a Line> + Clone,
    this: impl IntoIterator<Item = &'a Line> + Clone,
) -> Result<Vec<Way>, Overflow> {
    let entries = |line: &'a Line| &line.entry;
    let differences =
        differences(last.clone().into_iter().map(entries), this.clone().into_iter().map(entries))?;
    let mut ways = BTreeMap::<Currency, Way>::new();
    let way = |currency| Way {
        last: Money::new(0, currency),
        steps: Vec::new(),
        this: Money::new(0, currency),
    };
    for line in last {
        let amount = line.entry.amount;
        let way = ways.entry(amount.currency).or_insert_with(|| way(amount.currency));
        way.last = way.last.checked_add(amount).ok_or(Overflow)?;
    }
    for line in this {
        let amount = line.entry.amount;
        let way = ways.entry(amount.currency).or_insert_with(|| way(amount.currency));
        way.this = way.this.checked_add(amount).ok_or(Overflow)?;
    }
    for (currency, way) in &mut ways {
        for cause in Cause::ALL {
            let of_cause = differences
                .iter()
                .filter(|it| it.cause == cause && it.amount.currency == *currency);
            let mut sum = Money::new(0, *currency);
            let mut subscriptions = std::collections::BTreeSet::new();
            for difference in of_cause {
                sum = sum.checked_add(difference.amount).ok_or(Overflow)?;
                subscriptions.insert(difference.subscription);
            }
            if !subscriptions.is_empty() {
                way.steps.push((cause, sum, subscriptions.len() as u64));
            }
        }
    }
    Ok(ways.into_values().collect())
}

/// The rows of the ways of one customer, or of all.
pub(super) fn rows(
    customer: Option<&OrganizationView>,
    ways: impl IntoIterator<Item = Way>,
) -> Vec<Row<BridgeResource>> {
    let row = |step, subscriptions, shown: Money, amount| Row {
        resource: BridgeResource {
            customer_id: customer.map(|customer| customer.number),
            customer_code: customer.map(|it| it.details.code.as_str().to_owned()),
            customer_name: customer.map(|customer| customer.details.name.clone()),
            step,
            subscriptions,
            currency: shown.currency.code().to_owned(),
            amount: shown.to_string(),
        },
        amount,
    };
    let of_way = |way: Way| {
        let nothing = Money::new(0, way.last.currency);
        let steps = way.steps.into_iter();
        let steps = steps.map(|(cause, sum, count)| row(cause.name(), Some(count), sum, sum));
        let last = row("lastPeriod", None, way.last, nothing);
        let this = row("thisPeriod", None, way.this, nothing);
        std::iter::once(last).chain(steps).chain([this]).collect::<Vec<_>>()
    };
    ways.into_iter().flat_map(of_way).collect()
}
