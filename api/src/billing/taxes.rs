//! Tax on bills, where it is computed here: a row for each buyer, category and rate.

use std::collections::HashMap;

use domain::billing::Overflow;
use domain::billing::tax::{Taxable, tax};
use domain::money::Money;
use projections::ledger::Line;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::export::{Column, Row, Table};

/// What one buyer is charged that is taxed alike, and the tax on it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaxResource {
    customer_id: u32,
    customer_code: String,
    customer_name: String,
    customer_account_code: Option<String>,
    seller_id: Uuid,
    /// How it is taxed, as plans and components say; none: none says so.
    tax_category: Option<String>,
    /// How much the seller adds; none: it is computed elsewhere.
    tax_percent: Option<String>,
    currency: String,
    /// What the lines come to.
    net: String,
    /// So much is added; none: it is computed elsewhere.
    tax: Option<String>,
    /// Both together; none where there is no tax here.
    gross: Option<String>,
    /// How many lines there are.
    line_count: u64,
}

/// The tax as a table. What it comes to is the tax.
pub(super) const TAX: Table = Table {
    name: "tax",
    columns: &[
        ("customerId", Column::Number),
        ("customerCode", Column::Text),
        ("customerName", Column::Text),
        ("customerAccountCode", Column::Text),
        ("sellerId", Column::Text),
        ("taxCategory", Column::Text),
        ("taxPercent", Column::Number),
        ("currency", Column::Text),
        ("net", Column::Number),
        ("tax", Column::Number),
        ("gross", Column::Number),
        ("lineCount", Column::Number),
    ],
};

/// The rows of some customers, all of whose lines these are; in their order.
pub(super) fn rows(lines: &[&Line]) -> Result<Vec<Row<TaxResource>>, Overflow> {
    let taxable = |line: &&Line| Taxable {
        amount: line.entry.amount,
        category: line.tax_category.clone(),
        customer: line.entry.customer,
        percent: line.tax_percent,
        seller: line.entry.seller,
    };
    let mut places = HashMap::new();
    for line in lines {
        let next = places.len();
        places.entry(line.entry.customer).or_insert((next, &line.customer));
    }
    let mut groups = tax(lines.iter().map(taxable))?;
    groups.sort_by_key(|group| places.get(&group.customer).map_or(0, |(place, _)| *place));
    let mut rows = Vec::new();
    for group in groups {
        let Some((_, customer)) = places.get(&group.customer) else { continue };
        let gross = match group.tax {
            Some(tax) => Some(group.net.checked_add(tax).ok_or(Overflow)?),
            None => None,
        };
        let resource = TaxResource {
            customer_id: customer.number,
            customer_code: customer.details.code.as_str().to_owned(),
            customer_name: customer.details.name.clone(),
            customer_account_code: customer.details.billing_identifier.clone(),
            seller_id: group.seller.0,
            tax_category: group.category.map(|category| category.to_string()),
            tax_percent: group.percent.map(|percent| percent.to_string()),
            currency: group.net.currency.code().to_owned(),
            net: group.net.to_string(),
            tax: group.tax.map(|tax| tax.to_string()),
            gross: gross.map(|gross| gross.to_string()),
            line_count: group.lines,
        };
        let amount = group.tax.unwrap_or(Money::new(0, group.net.currency));
        rows.push(Row { resource, amount });
    }
    Ok(rows)
}
