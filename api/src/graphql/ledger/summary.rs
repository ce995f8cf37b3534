//! The summary of a billing period: what each customer has of each thing.

use async_graphql::connection::{Connection, OpaqueCursor};
use async_graphql::{Context, Enum, Object};
use domain::billing::{self, summarize, total_by_customer};
use domain::permission::Permission;
use projections::ledger::Statement;
use uuid::Uuid;

use super::{BillingFilter, find_period, statement_of};
use crate::billing::summary_detail;
use crate::graphql::connection::{Known, Slice, cut};
use crate::graphql::organization::Organization;
use crate::graphql::reading::{Reading, Resolved, reading};
use crate::graphql::scalar::{Asked, Date, Money, then};
use crate::problem::Problem;

/// A row of the summary: what one customer has of one thing.
#[derive(Clone)]
pub(crate) struct SummaryRow(billing::SummaryRow, Grouping);

/// What the rows of a summary are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum)]
#[graphql(name = "SummaryGrouping")]
pub(crate) enum Grouping {
    /// A row for each customer, product and summary description.
    #[default]
    Product,
    /// A row for each customer.
    Customer,
}

/// A row of the summary: what one customer has of one thing.
#[Object]
impl SummaryRow {
    /// Who buys.
    async fn customer(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        Organization::of(reading(context), self.0.customer).await
    }

    /// The customer's id in the billing API.
    async fn customer_number(&self) -> u32 {
        self.0.customer_number
    }

    /// The customer's name.
    async fn customer_name(&self) -> &str {
        &self.0.customer_name
    }

    /// Stock code; none where the row is for the whole customer.
    async fn product_sku(&self) -> Option<&str> {
        (self.1 == Grouping::Product).then_some(&self.0.sku)
    }

    /// The summary description; none where the row is for the whole customer.
    async fn summary_grouping(&self) -> Option<&str> {
        (self.1 == Grouping::Product).then_some(&self.0.summary)
    }

    /// Whether the lines are charged.
    async fn billable(&self) -> bool {
        self.0.billable
    }

    /// How many there were at the previous period's end.
    async fn last_month_count(&self) -> i64 {
        self.0.last_count
    }

    /// By how much the count has grown.
    async fn difference(&self) -> i64 {
        self.0.difference
    }

    /// How many there are at this period's end.
    async fn this_month_count(&self) -> i64 {
        self.0.count
    }

    /// This period's sum.
    async fn amount(&self) -> Money {
        self.0.amount.into()
    }

    /// The previous period's sum.
    async fn last_month_amount(&self) -> Money {
        self.0.last_amount.into()
    }

    /// How many of this period's lines are behind the row.
    async fn result_count(&self) -> u64 {
        self.0.result_count
    }
}

/// A row's place: customer's name and id, product, description, whether it is charged, currency.
pub(crate) type RowPlace = (String, Uuid, String, String, bool, String);

/// Rows by customer name, product and description.
pub(crate) type SummaryConnection = Connection<OpaqueCursor<RowPlace>, SummaryRow, Known>;

impl SummaryRow {
    /// The summary of a period, beside what the one before came to.
    pub(crate) async fn list(
        reading: &Reading,
        end_date: Date,
        filter: BillingFilter,
        grouping: Grouping,
        asked: Asked,
        slice: &Slice,
    ) -> Resolved<Option<SummaryConnection>> {
        reading.require(Permission::ViewBilling)?;
        let whose = filter.whose(reading).await?;
        let period = find_period(reading, &whose, end_date.0).await?;
        let then = then(reading, asked, &whose.seller.settings).await?;
        let settings = whose.seller.settings.clone();
        let end = settings.instants(&period).1;
        let key = |period| statement_of(&whose, then, period);
        let (this, last) = futures_util::try_join!(
            reading.statement(key(period)),
            reading.statement(key(settings.previous(period))),
        )?;
        let details = |statement: &Statement| -> Vec<_> {
            statement.lines.iter().map(|line| summary_detail(line, end)).collect()
        };
        let too_large = |_| Problem::internal();
        let rows = summarize(&details(&this), &details(&last)).map_err(too_large)?;
        let rows = match grouping {
            Grouping::Product => rows,
            Grouping::Customer => {
                let customers = total_by_customer(&rows).map_err(too_large)?.into_iter();
                customers.map(billing::SummaryRow::from).collect()
            }
        };
        let rows = rows.into_iter().map(|row| {
            let place = (
                row.customer_name.clone(),
                row.customer.0,
                row.sku.clone(),
                row.summary.clone(),
                row.billable,
                row.amount.currency.code().to_owned(),
            );
            (place, Self(row, grouping))
        });
        cut(rows.collect(), slice)
    }
}
