//! Summaries: detail lines counted and summed up (billing.md, section 6).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::OrganizationId;
use crate::money::{Currency, Money};

/// What a summary needs of one detail line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// The line's amount.
    pub amount: Money,
    /// Whether it is charged.
    pub billable: bool,
    /// What it adds to the count at the period's end.
    pub count_after: i64,
    /// What it adds to the count at the previous period's end.
    pub count_before: i64,
    /// Whose line it is.
    pub customer: OrganizationId,
    /// The customer's name.
    pub customer_name: String,
    /// The customer's number.
    pub customer_number: u32,
    /// The product's stock keeping unit.
    pub sku: String,
    /// The rendered summary description.
    pub summary: String,
}

/// The lines of one customer with the same SKU and summary description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SummaryRow {
    /// This period's sum.
    pub amount: Money,
    /// Whether the lines are charged.
    pub billable: bool,
    /// How many there are at this period's end.
    pub count: i64,
    /// The customer.
    pub customer: OrganizationId,
    /// The customer's name.
    pub customer_name: String,
    /// The customer's number.
    pub customer_number: u32,
    /// By how much the count has grown.
    pub difference: i64,
    /// The previous period's sum.
    pub last_amount: Money,
    /// How many there were at the previous period's end.
    pub last_count: i64,
    /// How many of this period's lines are behind the row.
    pub result_count: u64,
    /// The product's stock keeping unit.
    pub sku: String,
    /// The summary description.
    pub summary: String,
}

/// All that one customer is charged in one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomerSummary {
    /// This period's sum.
    pub amount: Money,
    /// Whether any of it is charged.
    pub billable: bool,
    /// How many there are at this period's end, of whatever.
    pub count: i64,
    /// The customer.
    pub customer: OrganizationId,
    /// The customer's name.
    pub customer_name: String,
    /// The customer's number.
    pub customer_number: u32,
    /// By how much the count has grown.
    pub difference: i64,
    /// The previous period's sum.
    pub last_amount: Money,
    /// How many there were at the previous period's end.
    pub last_count: i64,
    /// How many of this period's lines are behind the row.
    pub result_count: u64,
}

/// A row for the whole customer: it has no SKU and no description.
impl From<CustomerSummary> for SummaryRow {
    fn from(customer: CustomerSummary) -> Self {
        Self {
            amount: customer.amount,
            billable: customer.billable,
            count: customer.count,
            customer: customer.customer,
            customer_name: customer.customer_name,
            customer_number: customer.customer_number,
            difference: customer.difference,
            last_amount: customer.last_amount,
            last_count: customer.last_count,
            result_count: customer.result_count,
            sku: String::new(),
            summary: String::new(),
        }
    }
}

/// A total is beyond what can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a total is too large")]
pub struct Overflow;

/// Sums up `lines` of a period by customer, SKU, summary description and whether they are charged;
/// beside it what `last_lines`, those of the period before, came to. A row that only the last
/// period had is there too. Sorted by customer name, SKU, description.
///
/// Last period's count is told by this period's lines (their count before), so that it is comparable
/// where a description or SKU has changed.
///
/// # Errors
/// [`Overflow`].
pub fn summarize<'a>(
    lines: impl IntoIterator<Item = &'a Detail>,
    last_lines: impl IntoIterator<Item = &'a Detail>,
) -> Result<Vec<SummaryRow>, Overflow> {
    let mut rows: BTreeMap<_, SummaryRow> = BTreeMap::new();
    for line in lines {
        let row = rows.entry(RowKey::of(line)).or_insert_with(|| empty_row(line));
        row.amount = row.amount.checked_add(line.amount).ok_or(Overflow)?;
        row.count = row.count.checked_add(line.count_after).ok_or(Overflow)?;
        row.last_count = row.last_count.checked_add(line.count_before).ok_or(Overflow)?;
        row.difference = row.count.checked_sub(row.last_count).ok_or(Overflow)?;
        row.result_count += 1;
    }
    for line in last_lines {
        let row = rows.entry(RowKey::of(line)).or_insert_with(|| empty_row(line));
        row.last_amount = row.last_amount.checked_add(line.amount).ok_or(Overflow)?;
    }
    Ok(rows.into_values().collect())
}

/// Sums up a summary's rows by customer (and currency), in the same order.
///
/// # Errors
/// [`Overflow`].
pub fn total_by_customer(rows: &[SummaryRow]) -> Result<Vec<CustomerSummary>, Overflow> {
    let mut customers: BTreeMap<_, CustomerSummary> = BTreeMap::new();
    for row in rows {
        let key = (row.customer_name.as_str(), row.customer, row.amount.currency);
        let customer = customers.entry(key).or_insert_with(|| CustomerSummary {
            amount: Money::new(0, row.amount.currency),
            billable: false,
            count: 0,
            customer: row.customer,
            customer_name: row.customer_name.clone(),
            customer_number: row.customer_number,
            difference: 0,
            last_amount: Money::new(0, row.amount.currency),
            last_count: 0,
            result_count: 0,
        });
        customer.amount = customer.amount.checked_add(row.amount).ok_or(Overflow)?;
        customer.billable |= row.billable;
        customer.last_amount = customer.last_amount.checked_add(row.last_amount).ok_or(Overflow)?;
        customer.count = customer.count.checked_add(row.count).ok_or(Overflow)?;
        customer.last_count = customer.last_count.checked_add(row.last_count).ok_or(Overflow)?;
        customer.difference = customer.difference.checked_add(row.difference).ok_or(Overflow)?;
        customer.result_count += row.result_count;
    }
    Ok(customers.into_values().collect())
}

/// What the lines of one row have in common, in the order of the rows.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct RowKey<'a> {
    customer_name: &'a str,
    customer: OrganizationId,
    sku: &'a str,
    summary: &'a str,
    billable: bool,
    currency: Currency,
}

impl<'a> RowKey<'a> {
    fn of(line: &'a Detail) -> Self {
        Self {
            customer_name: &line.customer_name,
            customer: line.customer,
            sku: &line.sku,
            summary: &line.summary,
            billable: line.billable,
            currency: line.amount.currency,
        }
    }
}

fn empty_row(line: &Detail) -> SummaryRow {
    let nothing = Money::new(0, line.amount.currency);
    SummaryRow {
        amount: nothing,
        billable: line.billable,
        count: 0,
        customer: line.customer,
        customer_name: line.customer_name.clone(),
        customer_number: line.customer_number,
        difference: 0,
        last_amount: nothing,
        last_count: 0,
        result_count: 0,
        sku: line.sku.clone(),
        summary: line.summary.clone(),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn line(customer: u32, sku: &str, minor: i64, counts: (i64, i64)) -> Detail {
        Detail {
            amount: Money::new(minor, Currency::parse("EUR").unwrap()),
            billable: true,
            count_after: counts.1,
            count_before: counts.0,
            customer: OrganizationId(Uuid::from_u128(customer.into())),
            customer_name: format!("Customer {customer}"),
            customer_number: customer,
            sku: sku.to_owned(),
            summary: "CRM".to_owned(),
        }
    }

    #[test]
    fn lines_are_summed_up_by_customer_and_sku_in_order() {
        let lines = [
            line(2, "A", 100, (0, 1)),
            line(1, "B", 4_000, (1, 1)),
            line(1, "B", 2_667, (0, 1)),
            line(1, "B", 1_333, (0, 0)),
            line(1, "A", 0, (1, 0)),
        ];
        let last_lines = [line(1, "B", 4_000, (1, 1)), line(1, "C", 7, (0, 0))];
        let rows = summarize(&lines, &last_lines).unwrap();
        let shown: Vec<_> = rows
            .iter()
            .map(|row| {
                let counts = (row.last_count, row.difference, row.count, row.result_count);
                let amounts = (row.last_amount.minor, row.amount.minor);
                (row.customer_number, row.sku.as_str(), counts, amounts)
            })
            .collect();
        assert_eq!(
            shown,
            [
                (1, "A", (1, -1, 0, 1), (0, 0)),
                (1, "B", (1, 1, 2, 3), (4_000, 8_000)),
                (1, "C", (0, 0, 0, 0), (7, 0)),
                (2, "A", (0, 1, 1, 1), (0, 100)),
            ]
        );
        let customers = total_by_customer(&rows).unwrap();
        assert_eq!(customers.len(), 2);
        assert_eq!((customers[0].amount.minor, customers[0].last_amount.minor), (8_000, 4_007));
        assert_eq!((customers[0].last_count, customers[0].count), (2, 2));
        assert_eq!(customers[0].result_count, 4);
    }

    #[test]
    fn a_total_that_cannot_be_held_is_an_error() {
        let lines = [line(1, "A", i64::MAX, (0, 0)), line(1, "A", 1, (0, 0))];
        assert_eq!(summarize(&lines, &[]), Err(Overflow));
    }
}
