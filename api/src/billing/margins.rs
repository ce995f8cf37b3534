//! What a seller earns: what its customers pay, less what it pays itself (billing.md, section 8, law 8).

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use domain::billing::{Kind, Overflow, RateRow, exchanged};
use domain::money::{Currency, Money};
use eventstore::Database;
use projections::ledger::{self, Line, Seller};
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
    /// What the seller pays for it, exchanged by the rate for the period; none where no rate is known, and for the provider,
    /// to whom nobody in the tree sells.
    cost: Option<String>,
    /// What the seller is paid of it by somebody above who bills the customer.
    commission_earned: String,
    /// What the seller pays of it to resellers below.
    commission_paid: String,
    /// What is left; none where the cost is not known.
    margin: Option<String>,
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
    ],
};

/// What a seller earns by one customer's having one thing, in the seller's currency.
pub(crate) struct Margin {
    pub(crate) customer: Arc<OrganizationView>,
    pub(crate) sku: String,
    /// What the seller bills for it.
    pub(crate) revenue: Money,
    /// What the seller pays for it; none where no rate is known, and where nobody in the tree sells to the seller.
    pub(crate) cost: Option<Money>,
    /// What the seller is paid of it by somebody above.
    pub(crate) earned: Money,
    /// What the seller pays of it to resellers below.
    pub(crate) paid: Money,
    /// What is left; none where the cost is not known.
    pub(crate) left: Option<Money>,
}

/// How the seller bills, and by which rates.
pub(crate) struct Terms {
    currency: Currency,
    end: NaiveDate,
    rates: Vec<RateRow>,
    /// Whether somebody in the tree sells to the seller.
    buys: bool,
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
        let (currency, buys) = (seller.settings.currency, seller.path.parent().is_some());
        Ok(Self { currency, end, rates, buys })
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
    sells: &[Line],
    buys: &[Line],
    terms: &Terms,
) -> Result<Vec<Margin>, Overflow> {
    let mut sums = BTreeMap::<(String, u32, String), Sums>::new();
    for (is_sold, line) in
        sells.iter().map(|line| (true, line)).chain(buys.iter().map(|line| (false, line)))
    {
        let customer = &line.customer;
        let name = customer.details.name.to_lowercase();
        let of = sums.entry((name, customer.number, line.sku.clone())).or_default();
        of.customer.get_or_insert_with(|| customer.clone());
        let amount = line.entry.amount;
        let less = || amount.checked_neg().ok_or(Overflow);
        match (is_sold, line.entry.kind == Kind::Commission) {
            (true, false) => of.sold.add(amount)?,
            (true, true) => of.paid.add(less()?)?,
            (false, false) => of.bought.add(amount)?,
            (false, true) => of.earned.add(less()?)?,
        }
    }
    let mut margins = Vec::new();
    for ((_, _, sku), of) in sums {
        let Some(customer) = of.customer else { continue };
        let [sold, paid, bought, earned] =
            [&of.sold, &of.paid, &of.bought, &of.earned].map(|it| it.exchanged(terms));
        let cost = bought.filter(|_| terms.buys);
        let left = || {
            let costs = cost?.checked_add(paid?)?;
            sold?.checked_add(earned?)?.checked_sub(costs)
        };
        let left = left();
        let [revenue, paid, earned] =
            [sold, paid, earned].map(|it| it.unwrap_or(Money::new(0, terms.currency)));
        margins.push(Margin { customer, sku, revenue, cost, earned, paid, left });
    }
    Ok(margins)
}

/// The same as rows.
pub(super) fn rows(margins: Vec<Margin>) -> Vec<Row<MarginResource>> {
    let row = |margin: Margin| {
        let Margin { customer, sku, revenue, cost, earned, paid, left } = margin;
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
            },
            amount: left.unwrap_or(Money::new(0, revenue.currency)),
        }
    };
    margins.into_iter().map(row).collect()
}
