//! What sellers say about their bills beside prices: billable rules, and patterns that describe lines.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use chrono::NaiveDate;
use commands::Command;
use commands::resource::{PatternsResource, RulesResource, TaxRatesResource};
use commands::usecase::rulebook::{PreviewRules, SetPatterns, SetRules, SetTaxRates, rules};
use domain::Refusal;
use domain::organization::Kind;
use domain::permission::Permission;
use projections::finder::{self, Scope};
use projections::ledger::{RuleEffect, rehearse_rules};
use projections::views::{OrganizationView, RulebookView};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Parameters;
use super::call::{Answer, Call, Reader, json_response, resource};
use super::closing::SellerParameters;
use crate::app::App;
use crate::auth::Principal;
use crate::billing::{end_date_of, find_organization};
use crate::problem::Problem;

/// What other rules would change in a period.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RulesPreviewResource {
    /// The seller.
    organization_id: Uuid,
    /// The period: its last date.
    end_date: NaiveDate,
    /// The customers for whom anything changes, by name, one for each currency.
    customers: Vec<RuleEffectResource>,
}

/// What other rules would change for a customer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleEffectResource {
    customer_id: u32,
    customer_code: String,
    customer_name: String,
    currency: String,
    /// What the period comes to now.
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

impl RuleEffectResource {
    fn new(effect: &RuleEffect) -> Result<Self, Problem> {
        let less = effect.now.checked_neg().and_then(|less| effect.then.checked_add(less));
        Ok(Self {
            customer_id: effect.customer.number,
            customer_code: effect.customer.details.code.as_str().to_owned(),
            customer_name: effect.customer.details.name.clone(),
            currency: effect.now.currency.code().to_owned(),
            amount: effect.now.to_string(),
            new_amount: effect.then.to_string(),
            difference: less.ok_or_else(Problem::internal)?.to_string(),
            waived_lines: effect.waived_now,
            new_waived_lines: effect.waived_then,
        })
    }
}

/// A seller whom the caller can see; his own organisation where none is named.
async fn seller(
    app: &App,
    principal: &Principal,
    organization: Option<&str>,
) -> Result<Arc<OrganizationView>, Problem> {
    let own = principal.organization.to_string();
    let found = find_organization(app, &principal.scope(), organization.unwrap_or(&own)).await?;
    found.ok_or_else(Problem::not_found)
}

async fn rulebook(
    app: &App,
    reader: &Reader,
    parameters: Parameters<SellerParameters>,
) -> Result<(Arc<OrganizationView>, Option<Arc<RulebookView>>), Problem> {
    reader.0.require(Permission::ViewBilling)?;
    let organization = parameters.take()?.organization_id;
    let seller = seller(app, &reader.0, organization.as_deref()).await?;
    reader.0.permit(Permission::ViewBilling, &seller.path).await?;
    let scope = Scope::catalogue();
    let found = finder::find(app.database(), &scope, &seller.id.to_string()).await?;
    Ok((seller, found))
}

/// Shows what a seller does not charge, and why. A customer has no rules.
#[utoipa::path(get, path = "/api/v2/billing/rules", tag = "Billing", params(SellerParameters),
    responses((status = 200, body = RulesResource)))]
pub async fn get_rules(
    State(app): State<App>,
    reader: Reader,
    parameters: Parameters<SellerParameters>,
) -> Answer {
    let (seller, view) = rulebook(&app, &reader, parameters).await?;
    let rules = RulesResource::new(seller.id, view.as_deref());
    Ok(resource(&rules, rules.version))
}

/// Says all that a seller does not charge, and why: on what he bills himself. Rules are gone through in their order; what
/// one or more of them fit is charged with nothing, and says what it would have come to, the rules, and the reason of the
/// last. Open periods follow at once; closed ones keep the rules of their close.
#[utoipa::path(put, path = "/api/v2/billing/rules", tag = "Billing", request_body = SetRules,
    responses((status = 200, body = RulesResource)))]
pub async fn set_rules(State(app): State<App>, call: Call) -> Answer {
    let (body, if_match) = (call.input()?, call.if_match);
    call.command(&app, Command::SetBillableRules { body, if_match }).await
}

/// Shows what rules would change in an open period, by customer, before they are set: nothing is stored.
#[utoipa::path(post, path = "/api/v2/billing/rules/preview", tag = "Billing",
    request_body = PreviewRules, responses((status = 200, body = RulesPreviewResource)))]
pub async fn preview_rules(State(app): State<App>, call: Call) -> Answer {
    let body = call.input::<PreviewRules>()?;
    let principal = call.principal();
    principal.require(Permission::ManageBilling)?;
    let PreviewRules { organization_id, end_date, rules: texts } = body.map_err(Refusal::from)?;
    let seller = seller(&app, principal, organization_id.as_deref()).await?;
    principal.permit(Permission::ManageBilling, &seller.path).await?;
    if seller.kind == Kind::Customer {
        let detail = "A customer sells nothing, and so has no rules.";
        return Err(Refusal::conflict("no_books", detail).into());
    }
    let rules = rules(&texts)?;
    let settings = app.seller_at(&seller.path).await?.settings.clone();
    let period = match end_date.as_deref() {
        None => Some(settings.period_containing(settings.local_date(app.now()))),
        Some(text) => end_date_of(text).and_then(|end| settings.period_ending(end)),
    };
    let period = period.ok_or_else(|| {
        Refusal::invalid("/endDate", "no_such_period", "No period ends on this date.")
    })?;
    let of = (seller.id, &seller.path);
    let effects = rehearse_rules(app.database(), of, period, rules).await?;
    let customers = effects.iter().map(RuleEffectResource::new).collect::<Result<_, _>>()?;
    let preview =
        RulesPreviewResource { organization_id: seller.id.0, end_date: period.end, customers };
    let json = serde_json::to_string(&preview).expect("resources have text keys only");
    Ok(json_response(StatusCode::OK, json))
}

/// Shows how a seller describes what he bills, where that is not as the services' definitions say.
#[utoipa::path(get, path = "/api/v2/billing/patterns", tag = "Billing", params(SellerParameters),
    responses((status = 200, body = PatternsResource)))]
pub async fn get_patterns(
    State(app): State<App>,
    reader: Reader,
    parameters: Parameters<SellerParameters>,
) -> Answer {
    let (seller, view) = rulebook(&app, &reader, parameters).await?;
    let patterns = PatternsResource::new(seller.id, view.as_deref());
    Ok(resource(&patterns, patterns.version))
}

/// Says how a seller describes what he bills: a pattern for a line and one for what lines are summed up by, of a service,
/// of one of its plans, or of a component. Descriptions are made when a bill is shown: all that he bills follows at once,
/// closed periods too.
#[utoipa::path(put, path = "/api/v2/billing/patterns", tag = "Billing", request_body = SetPatterns,
    responses((status = 200, body = PatternsResource)))]
pub async fn set_patterns(State(app): State<App>, call: Call) -> Answer {
    let (body, if_match) = (call.input()?, call.if_match);
    call.command(&app, Command::SetPatterns { body, if_match }).await
}

/// Shows the taxes that a seller adds. What no rate is of is computed elsewhere.
#[utoipa::path(get, path = "/api/v2/billing/tax-rates", tag = "Billing", params(SellerParameters),
    responses((status = 200, body = TaxRatesResource)))]
pub async fn get_tax_rates(
    State(app): State<App>,
    reader: Reader,
    parameters: Parameters<SellerParameters>,
) -> Answer {
    let (seller, view) = rulebook(&app, &reader, parameters).await?;
    let rates = TaxRatesResource::new(seller.id, view.as_deref());
    Ok(resource(&rates, rates.version))
}

/// Says all taxes that a seller adds, by the categories that plans and components carry. Each is computed on the summed net of one
/// buyer's bill, and rounded once. Closed periods keep the rates that were known when they were closed.
#[utoipa::path(put, path = "/api/v2/billing/tax-rates", tag = "Billing", request_body = SetTaxRates,
    responses((status = 200, body = TaxRatesResource)))]
pub async fn set_tax_rates(State(app): State<App>, call: Call) -> Answer {
    let (body, if_match) = (call.input()?, call.if_match);
    call.command(&app, Command::SetTaxRates { body, if_match }).await
}
