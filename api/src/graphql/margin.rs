//! What a seller earns in a billing period, and the tax on what it bills.

use async_graphql::connection::{Connection, OpaqueCursor};
use async_graphql::{Context, Object};
use domain::billing::QuarantineReason;
use domain::permission::Permission;
use projections::ledger::Side;
use uuid::Uuid;

use super::connection::{Known, Slice, cut};
use super::ledger::{BillingFilter, find_period, statement_of};
use super::organization::Organization;
use super::reading::{Reading, Resolved, reading};
use super::scalar::{Asked, Date, Money, then};
use crate::billing::Whose;
use crate::billing::margins::{Margin, Terms, margins};
use crate::billing::taxes::{Tax, Taxed};
use crate::problem::Problem;

/// What a seller earns by one customer's having one thing, in the seller's currency.
pub(crate) struct MarginRow(Margin);

/// What a seller earns by one customer's having one thing, in the seller's currency.
#[Object]
impl MarginRow {
    /// Whose it is in the end.
    async fn customer(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        Organization::of(reading(context), self.0.customer.id).await
    }

    /// The customer's id in the billing API.
    async fn customer_number(&self) -> u32 {
        self.0.customer.number
    }

    /// The customer's code.
    async fn customer_code(&self) -> &str {
        self.0.customer.details.code.as_str()
    }

    /// The customer's name.
    async fn customer_name(&self) -> &str {
        &self.0.customer.details.name
    }

    /// Stock code.
    async fn product_sku(&self) -> &str {
        &self.0.sku
    }

    /// What the seller bills for it.
    async fn revenue(&self) -> Money {
        self.0.revenue.into()
    }

    /// What the seller pays for it, exchanged by the rate for the period; the provider, by its cost prices. None where that
    /// cannot be said.
    async fn cost(&self) -> Option<Money> {
        self.0.cost.map(Money::from)
    }

    /// What the seller is paid of it by somebody above who bills the customer.
    async fn commission_earned(&self) -> Money {
        self.0.earned.into()
    }

    /// What the seller pays of it to resellers below.
    async fn commission_paid(&self) -> Money {
        self.0.paid.into()
    }

    /// What is left; none where that cannot be said.
    async fn margin(&self) -> Option<Money> {
        self.0.left.map(Money::from)
    }

    /// Of how many subscriptions it cannot be said what they are sold for, or what the seller pays for them.
    async fn unrated_count(&self) -> usize {
        self.0.unrated
    }

    /// Why: `no_price` (of the provider, no cost price is in force), `no_exchange_rate` or `too_large`; none where all is
    /// said.
    async fn unrated_reason(&self) -> Option<&'static str> {
        self.0.reason.map(QuarantineReason::code)
    }
}

/// A row's place: the customer's name in lower case and number, and the product.
pub(crate) type MarginPlace = (String, u32, String);

/// Margins by customer name and product.
pub(crate) type MarginConnection = Connection<OpaqueCursor<MarginPlace>, MarginRow, Known>;

impl MarginRow {
    /// The margins of a period.
    pub(crate) async fn list(
        reading: &Reading,
        end_date: Date,
        filter: BillingFilter,
        asked: Asked,
        slice: &Slice,
    ) -> Resolved<Option<MarginConnection>> {
        reading.require(Permission::ViewBilling)?;
        let whose = filter.whose(reading).await?;
        let Side::Sells(seller) = whose.side else {
            let detail = "Who buys earns nothing by it; ask for a seller's margins.";
            return Err(Problem::bad_parameter("sellerId", detail));
        };
        let period = find_period(reading, &whose, end_date.0).await?;
        let then = then(reading, asked, &whose.seller.settings).await?;
        let bought = Whose { side: Side::Buys(seller), ..whose.clone() };
        let (sells, buys) = futures_util::try_join!(
            reading.statement(statement_of(&whose, then, period)),
            reading.statement(statement_of(&bought, then, period)),
        )?;
        let database = reading.app.database();
        let terms =
            Terms::of(database, &whose.seller, period.end, (then.as_of, then.known_at)).await?;
        let rows = margins(&sells, &buys, &terms).map_err(|_| Problem::internal())?;
        let rows = rows.into_iter().map(|row| {
            let name = row.customer.details.name.to_lowercase();
            ((name, row.customer.number, row.sku.clone()), Self(row))
        });
        cut(rows.collect(), slice)
    }
}

/// What one buyer is charged that is taxed alike, and the tax on it.
pub(crate) struct TaxRow(Tax);

/// What one buyer is charged that is taxed alike, and the tax on it.
#[Object]
impl TaxRow {
    /// Who buys: a customer, or a reseller.
    async fn buyer(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        Organization::of(reading(context), self.0.buyer.id).await
    }

    /// The buyer's id in the billing API.
    async fn buyer_number(&self) -> u32 {
        self.0.buyer.number
    }

    /// The buyer's code.
    async fn buyer_code(&self) -> &str {
        self.0.buyer.details.code.as_str()
    }

    /// The buyer's name.
    async fn buyer_name(&self) -> &str {
        &self.0.buyer.details.name
    }

    /// The buyer's account code in the accounting system.
    async fn buyer_account_code(&self) -> Option<&str> {
        self.0.buyer.details.billing_identifier.as_deref()
    }

    /// Who sells: the id in the REST API.
    async fn seller_uuid(&self) -> Uuid {
        self.0.seller.0
    }

    /// How it is taxed, as plans and components say; none: none says so.
    async fn tax_category(&self) -> Option<&str> {
        self.0.category.as_ref().map(|category| category.as_str())
    }

    /// How much the seller adds, in percent; none: it is computed elsewhere.
    async fn tax_percent(&self) -> Option<String> {
        self.0.percent.map(|percent| percent.to_string())
    }

    /// What the lines come to.
    async fn net(&self) -> Money {
        self.0.net.into()
    }

    /// So much is added; none: it is computed elsewhere.
    async fn tax(&self) -> Option<Money> {
        self.0.tax.map(Money::from)
    }

    /// Both together; none where there is no tax here.
    async fn gross(&self) -> Option<Money> {
        self.0.gross.map(Money::from)
    }

    /// How many lines there are.
    async fn line_count(&self) -> u64 {
        self.0.lines
    }
}

/// A row's place: the buyer's name in lower case and number, who sells, the currency, the category and the rate.
pub(crate) type TaxPlace = (String, u32, Uuid, String, String, String);

/// Taxes by buyer.
pub(crate) type TaxConnection = Connection<OpaqueCursor<TaxPlace>, TaxRow, Known>;

impl TaxRow {
    /// The taxes of a period.
    pub(crate) async fn list(
        reading: &Reading,
        end_date: Date,
        filter: BillingFilter,
        asked: Asked,
        slice: &Slice,
    ) -> Resolved<Option<TaxConnection>> {
        reading.require(Permission::ViewBilling)?;
        let whose = filter.whose(reading).await?;
        let period = find_period(reading, &whose, end_date.0).await?;
        let then = then(reading, asked, &whose.seller.settings).await?;
        let statement = reading.statement(statement_of(&whose, then, period)).await?;
        let mut taxed = Taxed::default();
        taxed.add(statement.lines.iter());
        let taxes = taxed.taxes().map_err(|_| Problem::internal())?;
        let mut rows: Vec<_> = taxes
            .into_iter()
            .map(|row| {
                let place = (
                    row.buyer.details.name.to_lowercase(),
                    row.buyer.number,
                    row.seller.0,
                    row.net.currency.code().to_owned(),
                    row.category.as_ref().map(ToString::to_string).unwrap_or_default(),
                    row.percent.map(|percent| percent.to_string()).unwrap_or_default(),
                );
                (place, Self(row))
            })
            .collect();
        rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        cut(rows, slice)
    }
}
