//! What commands would book, without carrying them out.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::StatusCode;
use commands::Outcome;
use domain::Refusal;
use domain::money::Money;
use domain::permission::Permission;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::call::{Answer, Call, json_response};
use crate::app::App;
use crate::billing::preview::{Previewed, PreviewedCommand, difference, preview as previewed};
use crate::billing::{EntryResource, find_organization};
use crate::problem::Problem;

/// Commands, one after another, each as it would be sent.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Preview {
    /// Up to 50, each on top of those before it.
    commands: Vec<PreviewedCommand>,
    /// Whose bills are shown: the seller's, by its id or its number; the caller's own organisation's where it is left out, and
    /// for a customer what it buys.
    seller_id: Option<String>,
    /// Up to the period that this date lies in. Where it is left out: up to the one after the last that anything begins
    /// in.
    until: Option<String>,
}

/// What some commands would book.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewResource {
    /// What each would be answered: `done`, `created`, `nothing`, or `accepted`, which books nothing before somebody has
    /// approved it or reported that it is done.
    outcomes: Vec<&'static str>,
    /// The periods that would come to something else, ascending.
    periods: Vec<PreviewedPeriodResource>,
    /// Whether there are more entries than are shown.
    more: bool,
}

/// A period that would come to something else.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewedPeriodResource {
    /// Its last date.
    end_date: String,
    /// What those come to altogether whom it is about.
    totals: Vec<PreviewedTotal>,
    /// The same of each customer for whom it would be something else, by name; at most 1,000.
    customers: Vec<PreviewedCustomerResource>,
    /// The entries that would be there, and are not now.
    booked: Vec<EntryResource>,
    /// The entries that are there now, and would not be.
    dropped: Vec<EntryResource>,
    /// Subscriptions that could not be rated then.
    quarantined: BTreeSet<Uuid>,
}

/// What a period comes to for one customer, and would come to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewedCustomerResource {
    /// The customer's number.
    customer_id: u32,
    customer_name: String,
    #[serde(flatten)]
    total: PreviewedTotal,
}

/// What a period comes to, and would come to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewedTotal {
    /// The amounts' currency.
    currency: &'static str,
    /// As things are.
    without: String,
    /// As they would be.
    with: String,
    /// By how much that is more.
    difference: String,
}

impl PreviewedTotal {
    fn of([without, with]: [Money; 2]) -> Result<Self, Problem> {
        let difference = difference([without, with])?;
        Ok(Self {
            currency: with.currency.code(),
            without: without.to_string(),
            with: with.to_string(),
            difference: difference.to_string(),
        })
    }
}

impl PreviewResource {
    fn new(Previewed { outcomes, periods, more }: Previewed) -> Result<Self, Problem> {
        let outcomes = outcomes.into_iter().map(|outcome| match outcome {
            Outcome::Done => "done",
            Outcome::Created => "created",
            Outcome::Accepted => "accepted",
            Outcome::Nothing => "nothing",
        });
        let periods = periods.into_iter().map(|it| {
            let customers = it.customers.into_iter().map(|customer| {
                Ok(PreviewedCustomerResource {
                    customer_id: customer.number,
                    customer_name: customer.name,
                    total: PreviewedTotal::of(customer.sums)?,
                })
            });
            Ok(PreviewedPeriodResource {
                end_date: it.period.label(),
                totals: it.totals.into_iter().map(PreviewedTotal::of).collect::<Result<_, _>>()?,
                customers: customers.collect::<Result<_, Problem>>()?,
                booked: it.booked.into_iter().map(EntryResource::from).collect(),
                dropped: it.dropped.into_iter().map(EntryResource::from).collect(),
                quarantined: it.quarantined,
            })
        });
        let periods = periods.collect::<Result<_, Problem>>()?;
        Ok(Self { outcomes: outcomes.collect(), periods, more })
    }
}

/// Says what commands would book, against what is booked without them; records nothing. Each is allowed or refused as if it
/// were sent.
#[utoipa::path(post, path = "/api/v2/billing/preview", tag = "Billing", request_body = Preview,
    responses((status = 200, body = PreviewResource)))]
pub async fn preview(State(app): State<App>, call: Call) -> Answer {
    let principal = call.principal().clone();
    principal.require(Permission::ViewBilling)?;
    let body = call.input::<Preview>()?.map_err(|fault| Problem::from(Refusal::from(fault)))?;
    let Preview { commands, seller_id, until } = body;
    let seller = match &seller_id {
        None => None,
        Some(id) => {
            let found = find_organization(&app, &principal.scope(), id).await?;
            Some(found.ok_or_else(Problem::not_found)?)
        }
    };
    // It keeps a connection and what it shows in memory, as documents do.
    let _turn = app.turn().await;
    let shown = previewed(&app, &principal, seller, (commands, until)).await?;
    let shown = PreviewResource::new(shown)?;
    let json = serde_json::to_string(&shown).expect("resources have text keys only");
    Ok(json_response(StatusCode::OK, json))
}
