//! How sellers bill.

use axum::extract::State;
use axum::http::StatusCode;
use commands::Command;
use commands::resource::BillingSettingsResource;
use commands::usecase::billing::ChangeBillingSettings;
use commands::usecase::commitments::{CommitmentResource, CommitmentsResource, SetCommitments};
use commands::usecase::pricing::{
    ExchangeRateResource, ExchangeRatesResource, PriceRowResource, PriceRowsResource,
    SetExchangeRates, SetPrices,
};
use domain::permission::Permission;
use projections::finder::{self, Query, Scope};
use projections::views::{CommitmentView, OrganizationView, PriceView, RateView};

use super::call::{Answer, Call, Reader, json_response};
use super::list::{ListParameters, ListResource, page};
use super::{Parameters, Path};
use crate::app::App;
use crate::billing::{find_organization, seller_of_list};
use crate::problem::Problem;

/// Shows how an organisation bills: its calendar, time zone and currency. A reseller who has none of its own bills as the seller above does, and a customer is billed so.
#[utoipa::path(get, path = "/api/v2/organizations/{id}/billing-settings", tag = "Billing",
    params(("id" = String, Path)), responses((status = 200, body = BillingSettingsResource)))]
pub async fn get_billing_settings(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
) -> Answer {
    let view = finder::find::<OrganizationView>(app.database(), &reader.0.scope(), &id).await?;
    let view = view.ok_or_else(Problem::not_found)?;
    reader.0.permit(Permission::ViewBilling, &view.path).await?;
    let settings =
        BillingSettingsResource::new(view.id, &app.seller_at(&view.path).await?.settings);
    let json = serde_json::to_string(&settings).expect("resources have text keys only");
    Ok(json_response(StatusCode::OK, json))
}

/// Has a seller bill otherwise: by another calendar from a period on that has not begun, or, as long as a reseller has closed
/// no period, by another calendar, time zone or currency at once.
///
/// What is left of the new calendar's period then is a transition period: it is charged by days, of those that the
/// period of the old calendar would have had.
#[utoipa::path(put, path = "/api/v2/organizations/{id}/billing-settings", tag = "Billing",
    params(("id" = String, Path)), request_body = ChangeBillingSettings,
    responses((status = 200, body = BillingSettingsResource)))]
pub async fn change_billing_settings(
    State(app): State<App>,
    Path(organization): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::ChangeBillingSettings { organization, body }).await
}

/// Sets rows of a seller's price book: dated prices, for everybody or for one buyer or subscription, and rules by which they
/// follow from the list price or from what the seller pays.
#[utoipa::path(put, path = "/api/v2/organizations/{id}/price-book", tag = "Billing",
    params(("id" = String, Path)), request_body = SetPrices,
    responses((status = 200, body = PriceRowsResource)))]
pub async fn set_price_book(
    State(app): State<App>,
    Path(organization): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::SetPrices { organization, body }).await
}

/// Lists the rows of a seller's price book, in the order of recording.
#[utoipa::path(get, path = "/api/v2/organizations/{id}/price-book", tag = "Billing",
    params(("id" = String, Path), ListParameters),
    responses((status = 200, body = ListResource<PriceRowResource>)))]
pub async fn list_price_book(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
    parameters: Parameters<ListParameters>,
) -> Answer {
    let view = finder::find::<OrganizationView>(app.database(), &reader.0.scope(), &id).await?;
    let view = view.ok_or_else(Problem::not_found)?;
    reader.0.permit(Permission::ViewBilling, &view.path).await?;
    let mut query = parameters.take()?.query()?;
    query.owner = Some(view.id.to_string());
    let found = finder::list::<PriceView>(app.database(), &Scope::catalogue(), &query).await?;
    Ok(page(&found, |view: &PriceView| PriceRowResource::from(view)))
}

/// Sets exchange rates.
#[utoipa::path(put, path = "/api/v2/billing/exchange-rates", tag = "Billing", request_body = SetExchangeRates,
    responses((status = 200, body = ExchangeRatesResource)))]
pub async fn set_exchange_rates(State(app): State<App>, call: Call) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::SetRates { body }).await
}

/// Lists the exchange rates that a seller has set, in the order of recording.
#[utoipa::path(get, path = "/api/v2/billing/exchange-rates", tag = "Billing",
    params(SellerParameters),
    responses((status = 200, body = ListResource<ExchangeRateResource>)))]
pub async fn list_exchange_rates(
    State(app): State<App>,
    reader: Reader,
    parameters: Parameters<SellerParameters>,
) -> Answer {
    let query = of_seller(&app, &reader, parameters.take()?).await?;
    let found = finder::list::<RateView>(app.database(), &Scope::catalogue(), &query).await?;
    Ok(page(&found, |view: &RateView| ExchangeRateResource::from(view)))
}

/// Commits buyers to what all that they hold of a service comes to at least, in a period.
#[utoipa::path(put, path = "/api/v2/billing/commitments", tag = "Billing", request_body = SetCommitments,
    responses((status = 200, body = CommitmentsResource)))]
pub async fn set_commitments(State(app): State<App>, call: Call) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::SetCommitments { body }).await
}

/// Lists what buyers are committed to at a seller, in the order of recording.
#[utoipa::path(get, path = "/api/v2/billing/commitments", tag = "Billing",
    params(SellerParameters),
    responses((status = 200, body = ListResource<CommitmentResource>)))]
pub async fn list_commitments(
    State(app): State<App>,
    reader: Reader,
    parameters: Parameters<SellerParameters>,
) -> Answer {
    let query = of_seller(&app, &reader, parameters.take()?).await?;
    let found = finder::list::<CommitmentView>(app.database(), &Scope::catalogue(), &query).await?;
    Ok(page(&found, |view: &CommitmentView| CommitmentResource::from(view)))
}

/// What a seller has set.
async fn of_seller(
    app: &App,
    reader: &Reader,
    parameters: SellerParameters,
) -> Result<Query, Problem> {
    reader.0.require(Permission::ViewBilling)?;
    let SellerParameters { organization_id, limit, after } = parameters;
    let own = reader.0.scope();
    let named = match organization_id {
        Some(id) => Some(find_organization(app, &own, &id).await?.ok_or_else(Problem::not_found)?),
        None => None,
    };
    let seller = seller_of_list(app, &own, named).await?;
    let mut query = ListParameters { limit, after }.query()?;
    query.owner = Some(seller.to_string());
    Ok(query)
}

/// Whose, and which of them.
#[derive(Clone, Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SellerParameters {
    /// The seller: his id, or his number; the caller's own organisation where it is left out.
    organization_id: Option<String>,
    /// At most so many.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
    /// Behind this cursor.
    after: Option<String>,
}
