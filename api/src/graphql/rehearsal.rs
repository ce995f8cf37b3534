//! What a period would come to if something were so that somebody thinks of, by customer.

use async_graphql::{ID, InputObject, Json, SimpleObject};
use domain::Refusal;
use domain::billing::seal::ENGINE;
use domain::permission::Permission;
use projections::ledger::{Change, CustomerEffect};
use serde_json::{Map, Value};

use super::ledger::QuarantinedSubscription;
use super::organization::find as find_organization;
use super::reading::{Reading, Resolved};
use super::scalar::{Date, Money};
use crate::billing::preview::difference;
use crate::billing::rehearsal::{Rehearse, Rehearsing, Shown};
use crate::body;
use crate::problem::Problem;

/// A service as it would be sold.
#[derive(Clone, Debug, InputObject)]
pub(crate) struct ServiceProposal {
    /// The service's key.
    key: String,
    /// Its definition, as `PUT /api/v2/services/{key}/draft` takes it; the draft that is saved now where it is left out.
    definition: Option<Json<Value>>,
    /// From when it would be sold so: a time or a date; from the first moment of the period where it is left out.
    effective_at: Option<String>,
}

/// What somebody thinks of: any of it, all at once.
#[derive(Clone, Debug, Default, InputObject)]
pub(crate) struct Proposal {
    /// A service as it would be sold.
    service: Option<ServiceProposal>,
    /// Rows for the seller's price book, as `PUT /api/v2/organizations/{id}/price-book` takes them. Those that do not say
    /// from when are from the first moment of the period.
    prices: Option<Vec<Json<Value>>>,
    /// All billable rules of the seller, as `PUT /api/v2/billing/rules` takes them, in place of those that he has.
    rules: Option<Vec<Json<Value>>>,
}

impl Proposal {
    /// As it would be sent to the REST API, where its form is checked.
    fn body(self) -> Value {
        let Self { service, prices, rules } = self;
        let mut body = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            value.map(|value| body.insert(name.to_owned(), value));
        };
        let all = |all: Vec<Json<Value>>| Value::Array(all.into_iter().map(|it| it.0).collect());
        put("prices", prices.map(all));
        put("rules", rules.map(all));
        put(
            "service",
            service.map(|ServiceProposal { key, definition, effective_at }| {
                let mut service = Map::from_iter([("key".to_owned(), Value::String(key))]);
                let definition = definition.map(|it| ("definition".to_owned(), it.0));
                service.extend(definition);
                service
                    .extend(effective_at.map(|at| ("effectiveAt".to_owned(), Value::String(at))));
                Value::Object(service)
            }),
        );
        Value::Object(body)
    }
}

/// What a period comes to, and would come to.
#[derive(SimpleObject)]
pub(crate) struct Rehearsal {
    /// The period: its last date.
    end_date: Date,
    /// Whether it is closed. Then what it comes to is what was sealed, and what it would come to is of the facts that were
    /// known when it was closed.
    closed: bool,
    /// By which rating the entries of a closed period were made.
    sealed_engine_version: Option<u32>,
    /// Which rating this program does.
    engine_version: u32,
    /// All customers of the seller together, for each currency.
    totals: Vec<RehearsedTotal>,
    /// The customers for whom anything changes, by name, one for each currency; at most 1,000.
    customers: Vec<RehearsedCustomer>,
    /// How many there are.
    customer_count: u64,
    /// Subscriptions that could not be rated any more, at most 1,000 of them.
    quarantined: Vec<QuarantinedSubscription>,
    /// How many there are.
    quarantined_count: u64,
}

/// What something comes to, and would come to, in one currency.
#[derive(Clone, SimpleObject)]
pub(crate) struct RehearsedTotal {
    /// What it comes to now.
    amount: Money,
    /// What it would come to.
    new_amount: Money,
    /// By how much that is more.
    difference: Money,
    /// Lines that are not charged now.
    waived_lines: u64,
    /// Lines that would not be.
    new_waived_lines: u64,
}

impl RehearsedTotal {
    fn of(Change { now, then }: &Change) -> Resolved<Self> {
        Ok(Self {
            amount: now.amount.into(),
            new_amount: then.amount.into(),
            difference: difference([now.amount, then.amount])?.into(),
            waived_lines: now.waived,
            new_waived_lines: then.waived,
        })
    }
}

/// What would change for a customer, in one currency.
#[derive(Clone, SimpleObject)]
pub(crate) struct RehearsedCustomer {
    /// The customer's id in the billing API.
    customer_number: u32,
    /// The customer's code.
    customer_code: String,
    /// The customer's name.
    customer_name: String,
    /// What.
    #[graphql(flatten)]
    total: RehearsedTotal,
}

impl RehearsedCustomer {
    fn new(CustomerEffect { customer, change }: &CustomerEffect) -> Resolved<Self> {
        Ok(Self {
            customer_number: customer.number,
            customer_code: customer.details.code.as_str().to_owned(),
            customer_name: customer.details.name.clone(),
            total: RehearsedTotal::of(change)?,
        })
    }
}

impl Rehearsal {
    /// What a seller's period would come to; of the caller's own organisation where no seller is named.
    pub(crate) async fn of(
        reading: &Reading,
        seller: Option<&ID>,
        end_date: Option<Date>,
        proposal: Proposal,
    ) -> Resolved<Option<Self>> {
        reading.require(Permission::ViewBilling)?;
        let sent = proposal.body().to_string();
        let sent = body::parse::<Rehearse>(sent.as_bytes());
        let sent = sent.map_err(|fault| Problem::from(Refusal::from(fault)))?;
        let own = reading.principal.organization.to_string();
        let seller = find_organization(reading, seller.map_or(&own, |id| &id.0)).await?;
        let end_date = end_date.map(|date| date.0.to_string());
        let wish = Rehearsing { seller, end_date, proposal: sent.into() };
        let shown = wish.carry_out(&reading.app, &reading.principal).await?;
        let Shown { period, rehearsal, sealed_engine } = shown;
        let customers = rehearsal.effects.iter().map(RehearsedCustomer::new);
        let totals = rehearsal.totals.values().map(RehearsedTotal::of);
        Ok(Some(Self {
            end_date: Date(period.end),
            closed: rehearsal.closed.is_some(),
            sealed_engine_version: sealed_engine,
            engine_version: ENGINE,
            totals: totals.collect::<Resolved<_>>()?,
            customers: customers.collect::<Resolved<_>>()?,
            customer_count: rehearsal.effect_count,
            quarantined: rehearsal.quarantined.into_iter().map(Into::into).collect(),
            quarantined_count: rehearsal.quarantined_count,
        }))
    }
}
