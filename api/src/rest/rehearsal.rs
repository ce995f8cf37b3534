//! What a period would come to if something were so that somebody thinks of, by customer.

use axum::extract::State;
use axum::http::StatusCode;
use chrono::NaiveDate;
use domain::Refusal;
use domain::billing::seal::ENGINE;
use domain::money::Money;
use domain::permission::Permission;
use projections::ledger::{Change, CustomerEffect, Quarantined};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::call::{Answer, Call, json_response};
use super::rulebook::seller;
use crate::app::App;
use crate::billing::preview::difference;
use crate::billing::rehearsal::{Rehearse, Rehearsing, Shown};
use crate::problem::Problem;

/// What a period comes to, and would come to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RehearsalResource {
    /// The seller.
    organization_id: Uuid,
    /// The period: its last date.
    end_date: NaiveDate,
    /// Whether it is closed. Then what it comes to is what was sealed, and what it would come to is of the facts that were
    /// known when it was closed.
    closed: bool,
    /// By which rating the entries of a closed period were made.
    sealed_engine_version: Option<u32>,
    /// Which rating this program does.
    engine_version: u32,
    /// All customers of the seller together, one for each currency.
    totals: Vec<EffectResource>,
    /// The customers for whom anything changes, by name, one for each currency; at most 1,000.
    customers: Vec<CustomerEffectResource>,
    /// How many there are.
    customer_count: u64,
    /// Subscriptions that could not be rated any more, at most 1,000 of them.
    quarantined: Vec<QuarantinedResource>,
    /// How many there are.
    quarantined_count: u64,
}

/// What something comes to, and would come to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EffectResource {
    currency: &'static str,
    /// What it comes to now.
    amount: String,
    /// What it would come to.
    new_amount: String,
    /// By how much that is more.
    difference: String,
    /// Lines that are not charged now.
    waived_lines: u64,
    /// Lines that would not be.
    new_waived_lines: u64,
}

/// What would change for a customer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomerEffectResource {
    customer_id: u32,
    customer_code: String,
    customer_name: String,
    #[serde(flatten)]
    effect: EffectResource,
}

/// A subscription that could not be rated any more.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuarantinedResource {
    /// Which.
    subscription_id: Uuid,
    /// `no_price`, `no_exchange_rate` or `too_large`.
    code: &'static str,
    /// The same, for people.
    detail: String,
}

/// Two amounts as they are shown.
fn amounts(Change { now, then }: &Change) -> [Money; 2] {
    [now.amount, then.amount]
}

impl EffectResource {
    fn new(change: &Change) -> Result<Self, Problem> {
        let [now, then] = amounts(change);
        Ok(Self {
            currency: now.currency.code(),
            amount: now.to_string(),
            new_amount: then.to_string(),
            difference: difference([now, then])?.to_string(),
            waived_lines: change.now.waived,
            new_waived_lines: change.then.waived,
        })
    }
}

impl CustomerEffectResource {
    fn new(CustomerEffect { customer, change }: &CustomerEffect) -> Result<Self, Problem> {
        Ok(Self {
            customer_id: customer.number,
            customer_code: customer.details.code.as_str().to_owned(),
            customer_name: customer.details.name.clone(),
            effect: EffectResource::new(change)?,
        })
    }
}

impl RehearsalResource {
    fn new(organization_id: Uuid, shown: &Shown) -> Result<Self, Problem> {
        let Shown { period, rehearsal, sealed_engine } = shown;
        let quarantined = |it: &Quarantined| QuarantinedResource {
            subscription_id: it.subscription.0,
            code: it.cause.reason.code(),
            detail: it.cause.to_string(),
        };
        let customers = rehearsal.effects.iter().map(CustomerEffectResource::new);
        Ok(Self {
            organization_id,
            end_date: period.end,
            closed: rehearsal.closed.is_some(),
            sealed_engine_version: *sealed_engine,
            engine_version: ENGINE,
            totals: rehearsal.totals.values().map(EffectResource::new).collect::<Result<_, _>>()?,
            customers: customers.collect::<Result<_, _>>()?,
            customer_count: rehearsal.effect_count,
            quarantined: rehearsal.quarantined.iter().map(quarantined).collect(),
            quarantined_count: rehearsal.quarantined_count,
        })
    }
}

/// Rehearses a proposal, and shows what came of it.
pub(super) async fn rehearsed(app: &App, call: &Call, wish: Rehearsing) -> Answer {
    let id = wish.seller.id.0;
    // It keeps a connection and what it shows in memory, as documents do.
    let _turn = app.turn().await;
    let shown = wish.carry_out(app, call.principal()).await?;
    let json = serde_json::to_string(&RehearsalResource::new(id, &shown)?);
    Ok(json_response(StatusCode::OK, json.expect("resources have text keys only")))
}

/// Says what a period would come to with another definition of a service, other prices or other rules, by customer; or,
/// of a closed one with nothing proposed, what this program makes of it. Nothing is recorded. What is proposed is allowed
/// and refused as if it were sent. Of a closed period the facts that were known when it was closed count; proposed prices
/// stand on top of those that are known now, as a rerate would take them.
#[utoipa::path(post, path = "/api/v2/billing/rehearsal", tag = "Billing", request_body = Rehearse,
    responses((status = 200, body = RehearsalResource)))]
pub async fn rehearse(State(app): State<App>, call: Call) -> Answer {
    let body = call.input::<Rehearse>()?;
    let principal = call.principal();
    principal.require(Permission::ViewBilling)?;
    let body = body.map_err(|fault| Problem::from(Refusal::from(fault)))?;
    let Rehearse { organization_id, end_date, .. } = &body;
    let (organization, end_date) = (organization_id.as_deref(), end_date.clone());
    let seller = seller(&app, principal, organization).await?;
    let proposal = body.into();
    rehearsed(&app, &call, Rehearsing { seller, end_date, proposal }).await
}
