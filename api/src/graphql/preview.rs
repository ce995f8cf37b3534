//! What commands would book, without carrying them out.

use std::sync::Arc;

use async_graphql::{Enum, ID, InputObject, Json, Object, SimpleObject};
use domain::money::Money as Exact;
use projections::ledger::{Line, Statement};
use uuid::Uuid;

use super::ledger::LedgerEntry;
use super::limits::PAGE_MAX;
use super::organization::find as find_organization;
use super::reading::{Reading, Resolved};
use super::scalar::{Date, Money};
use crate::billing::preview::{self, PreviewedCommand, difference};

/// A command as it would be sent to the REST API.
#[derive(Clone, Debug, InputObject)]
pub(crate) struct CommandInput {
    /// Where to: what can be previewed is what `POST /api/v2/billing/preview` names.
    path: String,
    /// What would be sent.
    body: Option<Json<serde_json::Value>>,
}

impl From<CommandInput> for PreviewedCommand {
    fn from(CommandInput { path, body }: CommandInput) -> Self {
        Self { path, body: body.map(|body| body.0) }
    }
}

/// What a command would be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "commands::Outcome")]
pub(crate) enum CommandOutcome {
    /// It is done, or was so already.
    Done,
    /// Something is there that was not.
    Created,
    /// It books nothing before somebody has approved it or reported that it is done.
    Accepted,
    /// There is nothing to show.
    Nothing,
}

/// What commands would book.
#[derive(SimpleObject)]
pub(crate) struct Preview {
    /// What each would be answered.
    outcomes: Vec<CommandOutcome>,
    /// The periods that would come to something else, ascending.
    periods: Vec<PreviewedPeriod>,
    /// Whether there are more entries than are shown.
    more: bool,
}

/// A period that would come to something else.
pub(crate) struct PreviewedPeriod {
    end_date: Date,
    totals: Vec<PreviewedTotal>,
    customers: Vec<PreviewedCustomer>,
    booked: Arc<Statement>,
    dropped: Arc<Statement>,
    quarantined: Vec<Uuid>,
}

/// A period that would come to something else.
#[Object]
impl PreviewedPeriod {
    /// Its last date.
    async fn end_date(&self) -> Date {
        self.end_date
    }

    /// What those come to altogether whom it is about, for each currency.
    async fn totals(&self) -> &[PreviewedTotal] {
        &self.totals
    }

    /// The same of each customer for whom it would be something else, by name; at most 1,000.
    async fn customers(&self) -> &[PreviewedCustomer] {
        &self.customers
    }

    /// The lines that would be there, and are not now.
    #[graphql(complexity = "PAGE_MAX * child_complexity.max(1)")]
    async fn booked(&self) -> Vec<LedgerEntry> {
        LedgerEntry::all(&self.booked)
    }

    /// The lines that are there now, and would not be.
    #[graphql(complexity = "PAGE_MAX * child_complexity.max(1)")]
    async fn dropped(&self) -> Vec<LedgerEntry> {
        LedgerEntry::all(&self.dropped)
    }

    /// Subscriptions that could not be rated then: their ids in the REST API.
    async fn quarantined_uuids(&self) -> &[Uuid] {
        &self.quarantined
    }
}

/// What a period comes to, and would come to, in one currency.
#[derive(Clone, SimpleObject)]
pub(crate) struct PreviewedTotal {
    /// As things are.
    without: Money,
    /// As they would be.
    with: Money,
    /// By how much that is more.
    difference: Money,
}

impl PreviewedTotal {
    fn of(sums: [Exact; 2]) -> Resolved<Self> {
        let [without, with] = sums.map(Money::from);
        Ok(Self { without, with, difference: difference(sums)?.into() })
    }
}

/// What a period comes to for one customer, and would come to.
#[derive(Clone, SimpleObject)]
pub(crate) struct PreviewedCustomer {
    /// The customer's id in the billing API.
    customer_number: u32,
    /// The customer's name.
    customer_name: String,
    /// What.
    #[graphql(flatten)]
    total: PreviewedTotal,
}

impl Preview {
    /// What some commands would book.
    pub(crate) async fn of(
        reading: &Reading,
        commands: Vec<CommandInput>,
        seller: Option<&ID>,
        until: Option<Date>,
    ) -> Resolved<Option<Self>> {
        reading.require(domain::permission::Permission::ViewBilling)?;
        let seller = match seller {
            None => None,
            Some(id) => Some(find_organization(reading, id).await?),
        };
        let commands = commands.into_iter().map(PreviewedCommand::from).collect();
        let wanted = (commands, until.map(|date| date.0.to_string()));
        let shown = preview::preview(&reading.app, &reading.principal, seller, wanted).await?;
        let outcomes = shown.outcomes.into_iter().map(CommandOutcome::from).collect();
        let periods = shown.periods.into_iter().map(PreviewedPeriod::new);
        let periods = periods.collect::<Resolved<_>>()?;
        Ok(Some(Self { outcomes, periods, more: shown.more }))
    }
}

impl PreviewedPeriod {
    fn new(shown: preview::PreviewedPeriod) -> Resolved<Self> {
        let period = shown.period;
        let statement = |lines: Vec<Line>| Statement { period, lines, quarantined: Vec::new() };
        let customers = shown.customers.into_iter().map(|customer| {
            Ok(PreviewedCustomer {
                customer_number: customer.number,
                customer_name: customer.name,
                total: PreviewedTotal::of(customer.sums)?,
            })
        });
        Ok(Self {
            end_date: Date(period.end),
            totals: shown.totals.into_iter().map(PreviewedTotal::of).collect::<Resolved<_>>()?,
            customers: customers.collect::<Resolved<_>>()?,
            booked: Arc::new(statement(shown.booked)),
            dropped: Arc::new(statement(shown.dropped)),
            quarantined: shown.quarantined.into_iter().collect(),
        })
    }
}
