//! The way from one period's total to the next one's, by cause.

use async_graphql::{Enum, SimpleObject};
use domain::billing;
use domain::permission::Permission;

use super::ledger::{BillingFilter, find_period, statement_of};
use super::reading::{Reading, Resolved};
use super::scalar::{Asked, Date, Money, then};
use crate::billing::bridge::ways;
use crate::problem::Problem;

/// Why a period comes to something else than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "billing::Cause")]
pub(crate) enum BridgeCause {
    /// It was provisioned, in this period or in the course of the last.
    New,
    /// It was deprovisioned, in this period or in the course of the last.
    Removed,
    /// Another plan.
    Plan,
    /// Another quantity, or more or less of what is measured.
    Quantity,
    /// A price that somebody set otherwise for this buyer, or not any more.
    Override,
    /// Another exchange rate.
    ExchangeRate,
    /// Another price of the plan.
    Price,
    /// The same, on other days.
    Days,
    /// What is charged once, now or in the last period.
    OneOff,
    /// What is charged for more than a period at a time, now or in the last period.
    Term,
    /// What was charged or given back by hand, now or in the last period.
    Adjustment,
    /// What was set right of closed periods, now or in the last period.
    Correction,
    /// A rule that says that it is not charged, now or in the last period.
    Waiver,
}

/// By how much one cause changes the total.
#[derive(Clone, SimpleObject)]
pub(crate) struct BridgeStep {
    /// Why.
    cause: BridgeCause,
    /// By how much.
    amount: Money,
    /// Subscriptions behind it.
    subscriptions: u64,
}

/// The way from the last period's total to this one's, in one currency.
#[derive(Clone, SimpleObject)]
pub(crate) struct Bridge {
    /// The last period's total.
    last_amount: Money,
    /// By cause; they add up to the difference, exactly.
    steps: Vec<BridgeStep>,
    /// This period's total.
    amount: Money,
}

impl Bridge {
    /// Those between a period and the one before it.
    pub(crate) async fn list(
        reading: &Reading,
        end_date: Date,
        filter: BillingFilter,
        asked: Asked,
    ) -> Resolved<Option<Vec<Self>>> {
        reading.require(Permission::ViewBilling)?;
        let whose = filter.whose(reading).await?;
        let period = find_period(reading, &whose, end_date.0).await?;
        let then = then(reading, asked, &whose.seller.settings).await?;
        let settings = whose.seller.settings.clone();
        let key = |period| statement_of(&whose, then, period);
        let (last, this) = futures_util::try_join!(
            reading.statement(key(settings.previous(period))),
            reading.statement(key(period)),
        )?;
        let ways = ways(&last.lines, &this.lines).map_err(|_| Problem::internal())?;
        let bridge = |way: crate::billing::bridge::Way| {
            let step =
                |(cause, amount, subscriptions): (billing::Cause, domain::money::Money, u64)| {
                    BridgeStep { cause: cause.into(), amount: amount.into(), subscriptions }
                };
            Self {
                last_amount: way.last.into(),
                steps: way.steps.into_iter().map(step).collect(),
                amount: way.this.into(),
            }
        };
        Ok(Some(ways.into_iter().map(bridge).collect()))
    }
}
