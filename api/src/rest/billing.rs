//! How sellers bill.

use axum::extract::State;
use axum::http::StatusCode;
use commands::Command;
use commands::resource::BillingSettingsResource;
use commands::usecase::billing::ChangeCalendar;
use domain::permission::Permission;
use projections::finder;
use projections::views::OrganizationView;

use super::Path;
use super::call::{Answer, Call, Reader, json_response};
use crate::app::App;
use crate::problem::Problem;

/// Shows how an organisation bills: its calendar, time zone and currency. So far everybody bills as the provider does.
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
    let settings = BillingSettingsResource::new(view.id, &*app.billing_settings().await?);
    let json = serde_json::to_string(&settings).expect("resources have text keys only");
    Ok(json_response(StatusCode::OK, json))
}

/// Has a seller bill by another calendar, from a period on that has not begun.
///
/// What is left of the new calendar's period then is a transition period: it is charged by days, of those that the
/// period of the old calendar would have had.
#[utoipa::path(put, path = "/api/v2/organizations/{id}/billing-settings", tag = "Billing",
    params(("id" = String, Path)), request_body = ChangeCalendar,
    responses((status = 200, body = BillingSettingsResource)))]
pub async fn change_calendar(
    State(app): State<App>,
    Path(organization): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::ChangeCalendar { organization, body }).await
}
