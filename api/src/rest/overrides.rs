//! Overrides of prices and plan properties.

use axum::extract::State;
use commands::Command;
use commands::resource::OverrideResource;
use commands::usecase::overrides::{OverridePrice, OverrideProperty};
use domain::permission::Permission;
use projections::finder;
use projections::views::{OrganizationView, OverrideView};

use super::call::{Answer, Call, Reader};
use super::list::{ListParameters, ListResource, page};
use super::{Parameters, Path};
use crate::app::App;
use crate::problem::Problem;

/// Lists what an organisation has set otherwise, and cleared, in the order of recording.
#[utoipa::path(get, path = "/api/v2/organizations/{id}/overrides", tag = "Overrides",
    params(("id" = String, Path), ListParameters),
    responses((status = 200, body = ListResource<OverrideResource>)))]
pub async fn list_overrides(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
    parameters: Parameters<ListParameters>,
) -> Answer {
    let scope = reader.0.scope();
    let found = finder::find::<OrganizationView>(app.database(), &scope, &id).await?;
    let organization = found.ok_or_else(Problem::not_found)?;
    reader.0.permit(Permission::ViewBilling, &organization.path).await?;
    let mut query = parameters.take()?.query()?;
    query.owner = Some(organization.id.to_string());
    let found = finder::list::<OverrideView>(app.database(), &scope, &query).await?;
    let sees_hidden = reader.0.sees_hidden();
    Ok(page(&found, |view| {
        let resource = OverrideResource::from(view);
        if sees_hidden { resource } else { resource.without_hidden() }
    }))
}

/// Sets a plan's property otherwise for an organisation and all below, or clears that.
#[utoipa::path(put, path = "/api/v2/organizations/{id}/overrides/{service}", tag = "Overrides",
    params(("id" = String, Path), ("service" = String, Path)), request_body = OverrideProperty,
    responses((status = 200, body = OverrideResource)))]
pub async fn override_property(
    State(app): State<App>,
    Path((organization, service)): Path<(String, String)>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::OverrideProperty { organization, service, body }).await
}

/// Sets a price otherwise for an organisation and all below, or clears that.
#[utoipa::path(put, path = "/api/v2/organizations/{id}/prices", tag = "Overrides",
    params(("id" = String, Path)), request_body = OverridePrice,
    responses((status = 200, body = OverrideResource)))]
pub async fn override_price(
    State(app): State<App>,
    Path(organization): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::OverridePrice { organization, body }).await
}
