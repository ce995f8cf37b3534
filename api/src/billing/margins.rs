//! What a seller earns: what its customers pay, less what it pays itself (billing.md, section 8, law 8).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use domain::SubscriptionId;
use domain::billing::{Kind, Overflow, QuarantineReason, RateRow, exchanged};
use domain::money::{Currency, Money};
use eventstore::Database;
use projections::ledger::{self, Seller, Statement};
use projections::views::OrganizationView;
use serde::Serialize;
use utoipa::ToSchema;

use super::export::{Column, Row, Table};

/// What a seller earns by one customer's having one thing, in the seller's currency.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarginResource {
    customer_id: u32,
    customer_code: String,
    customer_name: String,
    product_sku: String,
    currency: String,
    /// What the seller bills for it.
    revenue: String,
    /// What the seller pays for it, exchanged by the rate for the period; the provider, by its cost prices. None where that
    /// cannot be said.
    cost: Option<String>,
    /// What the seller is paid of it by somebody above who bills the customer.
    commission_earned: String,
    /// What the seller pays of it to resellers below.
    commission_paid: String,
    /// What is left; none where that cannot be said.
    margin: Option<String>,
    /// Of how many subscriptions it cannot be said what they are sold for, or what the seller pays for them.
    unrated_count: usize,
    /// Why: `no_price` (of the provider, no cost price is in force), `no_exchange_rate` or `too_large`; none where all is
    /// said.
    unrated_reason: Option<&'static str>,
}

/// The margins as a table. What it comes to is by what is left, as far as that is known.
pub(super) const MARGINS: Table = Table {
    name: "margins",
    columns: &[
        ("customerId", Column::Number),
        ("customerCode", Column::Text),
        ("customerName", Column::Text),
        ("productSku", Column::Text),
        ("currency", Column::Text),
        ("revenue", Column::Number),
        ("cost", Column::Number),
        ("commissionEarned", Column::Number),
        ("commissionPaid", Column::Number),
        ("margin", Column::Number),
        ("unratedCount", Column::Number),
        ("unratedReason", Column::Text),
    ],
};

/// What a seller earns by one customer's having one thing, in the seller's currency.
pub(crate) struct Margin {
    pub(crate) customer: Arc<OrganizationView>,
    pub(crate) sku: String,
    /// What the seller bills for it.
    pub(crate) revenue: Money,
    /// What the seller pays for it; none where that cannot be said.
    pub(crate) cost: Option<Money>,
    /// What the seller is paid of it by somebody above.
    pub(crate) earned: Money,
    /// What the seller pays of it to resellers below.
    pub(crate) paid: Money,
    /// What is left; none where that cannot be said.
    pub(crate) left: Option<Money>,
    /// Of how many subscriptions it cannot be said what they are sold for, or what the seller pays for them.
    pub(crate) unrated: usize,
    /// Why something cannot be said.
    pub(crate) reason: Option<QuarantineReason>,
}

/// How the seller bills, and by which rates.
pub(crate) struct Terms {
    currency: Currency,
    end: NaiveDate,
    rates: Vec<RateRow>,
}

impl Terms {
    /// A seller's for the period that ends on a date, as of a moment, and as they were known at a position.
    pub(crate) async fn of(
        database: &Database,
        seller: &Seller,
        end: NaiveDate,
        known: (Option<DateTime<Utc>>, Option<u64>),
    ) -> Result<Self, eventstore::Error> {
        let rates = ledger::rates(database, seller, end, known).await?;
        Ok(Self { currency: seller.settings.currency, end, rates })
    }
}

/// What one customer's having one thing comes to, by currency.
#[derive(Default)]
struct Sums {
    customer: Option<Arc<OrganizationView>>,
    sold: Amounts,
    paid: Amounts,
    bought: Amounts,
    earned: Amounts,
    /// Whose lines these are.
    subscriptions: BTreeSet<SubscriptionId>,
}

/// Sums, one for each currency.
#[derive(Default)]
struct Amounts(BTreeMap<Currency, Money>);

impl Amounts {
    fn add(&mut self, amount: Money) -> Result<(), Overflow> {
        let sum = self.0.entry(amount.currency).or_insert(Money::new(0, amount.currency));
        *sum = sum.checked_add(amount).ok_or(Overflow)?;
        Ok(())
    }

    /// All of it in the seller's currency; none where no rate is known.
    fn exchanged(&self, terms: &Terms) -> Option<Money> {
        let nothing = Money::new(0, terms.currency);
        self.0.values().try_fold(nothing, |sum, amount| {
            sum.checked_add(exchanged(*amount, terms.currency, &terms.rates, terms.end)?)
        })
    }
}

/// The margins of a period, by customer and product, from what the seller bills and what it buys.
pub(crate) fn margins(
    sells: &Statement,
    buys: &Statement,
    terms: &Terms,
) -> Result<Vec<Margin>, Overflow> {
    let mut sums = BTreeMap::<(String, u32, String), Sums>::new();
    let sold = sells.lines.iter().map(|line| (true, line));
    for (is_sold, line) in sold.chain(buys.lines.iter().map(|line| (false, line))) {
        let customer = &line.customer;
        let name = customer.details.name.to_lowercase();
        let of = sums.entry((name, customer.number, line.sku.clone())).or_default();
        of.customer.get_or_insert_with(|| customer.clone());
        of.subscriptions.insert(line.entry.subscription);
        let amount = line.entry.amount;
        let less = || amount.checked_neg().ok_or(Overflow);
        match (is_sold, line.entry.kind == Kind::Commission) {
            (true, false) => of.sold.add(amount)?,
            (true, true) => of.paid.add(less()?)?,
            (false, false) => of.bought.add(amount)?,
            (false, true) => of.earned.add(less()?)?,
        }
    }
    let [not_sold, not_bought] = [sells, buys].map(|statement| {
        let unrated = statement.quarantined.iter().map(|it| (it.subscription, it.cause.reason));
        unrated.collect::<HashMap<_, _>>()
    });
    let mut margins = Vec::new();
    for ((_, _, sku), of) in sums {
        let Some(customer) = of.customer else { continue };
        let [sold, paid, bought, earned] =
            [&of.sold, &of.paid, &of.bought, &of.earned].map(|it| it.exchanged(terms));
        let within = |known: &HashMap<SubscriptionId, QuarantineReason>| {
            of.subscriptions.iter().find_map(|id| known.get(id).copied())
        };
        let cost = bought.filter(|_| within(&not_bought).is_none());
        let left = || {
            let costs = cost?.checked_add(paid?)?;
            sold?.checked_add(earned?)?.checked_sub(costs)
        };
        let left = left().filter(|_| within(&not_sold).is_none());
        let is_unrated =
            |id: &&SubscriptionId| not_bought.contains_key(*id) || not_sold.contains_key(*id);
        let unrated = of.subscriptions.iter().filter(is_unrated).count();
        // What is rated, and yet not said, is in another currency.
        let other = left.is_none().then_some(QuarantineReason::NoExchangeRate);
        let reason = within(&not_bought).or_else(|| within(&not_sold)).or(other);
        let [revenue, paid, earned] =
            [sold, paid, earned].map(|it| it.unwrap_or(Money::new(0, terms.currency)));
        margins.push(Margin { customer, sku, revenue, cost, earned, paid, left, unrated, reason });
    }
    Ok(margins)
}

/// The same as rows.
pub(super) fn rows(margins: Vec<Margin>) -> Vec<Row<MarginResource>> {
    let row = |margin: Margin| {
        let Margin { customer, sku, revenue, cost, earned, paid, left, unrated, reason } = margin;
        Row {
            resource: MarginResource {
                customer_id: customer.number,
                customer_code: customer.details.code.as_str().to_owned(),
                customer_name: customer.details.name.clone(),
                product_sku: sku,
                currency: revenue.currency.code().to_owned(),
                revenue: revenue.to_string(),
                cost: cost.map(|money| money.to_string()),
                commission_earned: earned.to_string(),
                commission_paid: paid.to_string(),
                margin: left.map(|money| money.to_string()),
                unrated_count: unrated,
                unrated_reason: reason.map(QuarantineReason::code),
            },
            amount: left.unwrap_or(Money::new(0, revenue.currency)),
        }
    };
    margins.into_iter().map(row).collect()
}
