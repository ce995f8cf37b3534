//! The ledger: billing periods, their lines, and what these come to.

mod entries;
mod periods;
mod summary;

use async_graphql::{ID, InputObject};
use chrono::NaiveDate;
use domain::billing::Period;
use projections::ledger;

pub(crate) use self::entries::{DayPolicy, LedgerEntry, LedgerEntryConnection, LedgerEntryFilter};
pub(crate) use self::periods::{BillingPeriod, BillingPeriodConnection};
pub(crate) use self::summary::{Grouping, SummaryConnection, SummaryRow};
use super::organization::find as find_organization;
use super::reading::{Reading, Resolved, StatementKey};
use crate::billing::{Whose, Wish};
use crate::problem::Problem;
use crate::travel::Then;

/// Whose bills.
#[derive(Clone, Debug, Default, InputObject)]
pub(crate) struct BillingFilter {
    /// Only this customer: its id here, in the REST or in the billing API.
    customer_id: Option<ID>,
    /// What this seller bills, by whose calendar; the caller's own organisation where it is left out, and for a customer
    /// what it buys.
    seller_id: Option<ID>,
    /// What this reseller or customer buys.
    buyer_id: Option<ID>,
}

impl BillingFilter {
    /// Whose charges are meant.
    pub(super) async fn whose(&self, reading: &Reading) -> Resolved<Whose> {
        let mut found = [None, None, None];
        let wanted = [&self.seller_id, &self.customer_id, &self.buyer_id];
        for (found, wanted) in found.iter_mut().zip(wanted) {
            if let Some(id) = wanted {
                *found = Some(find_organization(reading, id).await?);
            }
        }
        let [seller, customer, buyer] = found;
        Whose::find(&reading.app, &reading.scope(), Wish { seller, customer, buyer }).await
    }
}

/// The statement of a period.
pub(super) fn statement_of(whose: &Whose, then: Then, period: Period) -> StatementKey {
    StatementKey { path: whose.scope.0.clone(), then, period, side: whose.side }
}

/// The code of a period that there is not.
const NO_SUCH_PERIOD: &str = "no_such_period";
/// How many periods are named instead of one that there is not.
const NEAREST: usize = 3;

/// The period that ends on a date, of those of the caller's scope, by the calendar of the seller who is meant.
pub(super) async fn find_period(
    reading: &Reading,
    whose: &Whose,
    end: NaiveDate,
) -> Resolved<Period> {
    let (scope, settings) = (reading.scope(), &whose.seller.settings);
    let periods = ledger::periods(reading.app.database(), &scope, settings, reading.now).await?;
    if let Some(period) = periods.iter().find(|period| period.end == end) {
        return Ok(*period);
    }
    let mut nearest = periods;
    nearest.sort_by_key(|period| (period.end - end).abs());
    let mut nearest: Vec<_> = nearest.iter().take(NEAREST).map(Period::label).collect();
    nearest.sort();
    let detail = format!("No period ends on {end}. The nearest end on {}.", nearest.join(", "));
    Err(Problem { code: NO_SUCH_PERIOD, detail, ..Problem::not_found() })
}
