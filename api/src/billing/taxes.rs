//! Tax on bills, where it is computed here: a row for each buyer, category and rate.

use std::collections::HashMap;
use std::sync::Arc;

use domain::billing::tax::{Taxable, tax};
use domain::billing::{Kind, Overflow};
use domain::money::{Money, Percent};
use domain::{OrganizationId, TaxCategory};
use projections::ledger::Line;
use projections::views::OrganizationView;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::export::{Column, Row, Table};

/// What one buyer is charged that is taxed alike, and the tax on it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaxResource {
    /// Who buys: a customer, or a reseller.
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

/// What one buyer is charged that is taxed alike, and the tax on it.
pub(crate) struct Tax {
    /// Who buys: a customer, or a reseller.
    pub(crate) buyer: Arc<OrganizationView>,
    pub(crate) seller: OrganizationId,
    /// How it is taxed; none: nothing says so.
    pub(crate) category: Option<TaxCategory>,
    /// How much the seller adds; none: it is computed elsewhere.
    pub(crate) percent: Option<Percent>,
    /// What the lines come to.
    pub(crate) net: Money,
    /// So much is added; none: it is computed elsewhere.
    pub(crate) tax: Option<Money>,
    /// Both together; none where there is no tax here.
    pub(crate) gross: Option<Money>,
    /// How many lines there are.
    pub(crate) lines: u64,
}

/// What is taxed, gathered: who buys may have lines of many customers.
#[derive(Default)]
pub(crate) struct Taxed {
    /// Who buys, in the order in which they came.
    buyers: HashMap<OrganizationId, (usize, Arc<OrganizationView>)>,
    lines: Vec<Taxable>,
}

impl Taxed {
    /// Adds lines.
    pub(crate) fn add<'a>(&mut self, lines: impl Iterator<Item = &'a Line>) {
        // A commission is what the seller pays, and the reseller's to tax.
        for line in lines.filter(|line| line.entry.kind != Kind::Commission) {
            let next = self.buyers.len();
            let view = line.buyer.as_ref().map_or(&line.customer, |buyer| &buyer.view);
            let buyer = line.entry.bought_by();
            self.buyers.entry(buyer).or_insert_with(|| (next, view.clone()));
            self.lines.push(Taxable {
                amount: line.entry.amount,
                buyer,
                category: line.tax_category.clone(),
                percent: line.tax_percent,
                seller: line.entry.seller,
            });
        }
    }

    /// The taxes, by buyer.
    pub(crate) fn taxes(self) -> Result<Vec<Tax>, Overflow> {
        let Self { buyers, lines } = self;
        let mut groups = tax(lines)?;
        groups.sort_by_key(|group| buyers.get(&group.buyer).map_or(0, |(place, _)| *place));
        let mut taxes = Vec::new();
        for group in groups {
            let Some((_, buyer)) = buyers.get(&group.buyer) else { continue };
            let gross = match group.tax {
                Some(tax) => Some(group.net.checked_add(tax).ok_or(Overflow)?),
                None => None,
            };
            taxes.push(Tax {
                buyer: buyer.clone(),
                seller: group.seller,
                category: group.category,
                percent: group.percent,
                net: group.net,
                tax: group.tax,
                gross,
                lines: group.lines,
            });
        }
        Ok(taxes)
    }

    /// The same as rows.
    pub(super) fn rows(self) -> Result<Vec<Row<TaxResource>>, Overflow> {
        let row = |tax: Tax| {
            let resource = TaxResource {
                customer_id: tax.buyer.number,
                customer_code: tax.buyer.details.code.as_str().to_owned(),
                customer_name: tax.buyer.details.name.clone(),
                customer_account_code: tax.buyer.details.billing_identifier.clone(),
                seller_id: tax.seller.0,
                tax_category: tax.category.map(|category| category.to_string()),
                tax_percent: tax.percent.map(|percent| percent.to_string()),
                currency: tax.net.currency.code().to_owned(),
                net: tax.net.to_string(),
                tax: tax.tax.map(|tax| tax.to_string()),
                gross: tax.gross.map(|gross| gross.to_string()),
                line_count: tax.lines,
            };
            let amount = tax.tax.unwrap_or(Money::new(0, tax.net.currency));
            Row { resource, amount }
        };
        Ok(self.taxes()?.into_iter().map(row).collect())
    }
}
