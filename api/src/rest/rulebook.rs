//! What sellers say about their bills beside prices: billable rules, and patterns that describe lines.

use std::sync::Arc;

use axum::extract::State;
use commands::Command;
use commands::resource::{PatternsResource, RulesResource, TaxRatesResource};
use commands::usecase::rulebook::{PreviewRules, SetPatterns, SetRules, SetTaxRates};
use domain::Refusal;
use domain::permission::Permission;
use projections::finder::{self, Scope};
use projections::views::{OrganizationView, RulebookView};

use super::Parameters;
use super::call::{Answer, Call, Reader, resource};
use super::closing::SellerParameters;
use super::rehearsal::{RehearsalResource, rehearsed};
use crate::app::App;
use crate::auth::Principal;
use crate::billing::find_organization;
use crate::billing::rehearsal::{Proposal, Rehearsing};
use crate::problem::Problem;

/// A seller whom the caller can see; his own organisation where none is named.
pub(super) async fn seller(
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

/// Shows what rules would change in a period, by customer, before they are set: nothing is stored. The same as
/// `POST /api/v2/billing/rehearsal` with these rules.
#[utoipa::path(post, path = "/api/v2/billing/rules/preview", tag = "Billing",
    request_body = PreviewRules, responses((status = 200, body = RehearsalResource)))]
pub async fn preview_rules(State(app): State<App>, call: Call) -> Answer {
    let body = call.input::<PreviewRules>()?;
    let principal = call.principal();
    principal.require(Permission::ManageBilling)?;
    let PreviewRules { organization_id, end_date, rules } = body.map_err(Refusal::from)?;
    let seller = seller(&app, principal, organization_id.as_deref()).await?;
    principal.permit(Permission::ManageBilling, &seller.path).await?;
    let proposal = Proposal { rules: Some(rules), ..Proposal::default() };
    rehearsed(&app, &call, Rehearsing { seller, end_date, proposal }).await
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
