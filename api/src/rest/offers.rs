//! Offers: which services and plans reach an organisation.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use commands::Command;
use commands::resource::OfferResource;
use commands::usecase::offers::OfferService;
use domain::offer::reaching;
use domain::permission::Permission;
use domain::service::Definition;
use domain::{OrganizationId, TenantPath};
use projections::finder::{self, Query, Scope};
use projections::views::{OrganizationView, ServiceView};
use serde::Serialize;
use utoipa::ToSchema;

use super::Path;
use super::call::{Answer, Call, Reader, json_response};
use crate::app::App;
use crate::problem::Problem;

/// How it stands with all services that are sold.
#[derive(Debug, Serialize, ToSchema)]
pub struct OfferList {
    /// By key.
    data: Vec<OfferResource>,
}

/// An organisation, and its place in the tree.
pub(crate) type Place = (OrganizationId, TenantPath);

/// How it stands with every service that is sold, at each of some organisations.
///
/// # Errors
/// What the database says.
pub(crate) async fn at(
    app: &App,
    places: &[Place],
) -> Result<HashMap<Place, Vec<OfferResource>>, Problem> {
    let paths = places.iter().map(|(_, path)| path);
    let said = finder::offers_on_the_way_to(app.database(), paths).await?;
    let services = services(app).await?;
    let offers = |(id, path): &Place| {
        let lineage = path.lineage();
        let resource = |definition: &Definition| {
            let of_service = said.get(definition.key.as_str());
            let at = |path| of_service.and_then(|it| it.get(path)).map(|view| &view.offer);
            let reaching = reaching(lineage.iter().map(at));
            OfferResource::new(*id, definition, at(path), reaching.as_ref())
        };
        let sold = services.iter().filter_map(|service| service.published.as_ref());
        sold.map(resource).collect()
    };
    Ok(places.iter().map(|place| (place.clone(), offers(place))).collect())
}

/// All services that are sold.
async fn services(app: &App) -> Result<Vec<Arc<ServiceView>>, Problem> {
    let kind = Some("published".to_owned());
    let mut query = Query { kind, limit: finder::LIST_MAX, ..Query::default() };
    let mut services = Vec::new();
    loop {
        let page = finder::list::<ServiceView>(app.database(), &Scope::catalogue(), &query).await?;
        query.after = page.items.last().map(|(cursor, _)| cursor.clone());
        services.extend(page.items.into_iter().map(|(_, service)| service));
        if !page.more {
            return Ok(services);
        }
    }
}

/// Lists all services that are sold, with the plans that can be had at an organisation.
#[utoipa::path(get, path = "/api/v2/organizations/{id}/offers", tag = "Offers",
    params(("id" = String, Path)), responses((status = 200, body = OfferList)))]
pub async fn list_offers(State(app): State<App>, reader: Reader, Path(id): Path<String>) -> Answer {
    let scope = reader.0.scope();
    let found = finder::find::<OrganizationView>(app.database(), &scope, &id).await?;
    let organization = found.ok_or_else(Problem::not_found)?;
    reader.0.permit(Permission::ViewServices, &organization.path).await?;
    let place = (organization.id, organization.path.clone());
    let data = at(&app, std::slice::from_ref(&place)).await?.remove(&place).unwrap_or_default();
    let list = OfferList { data };
    let json = serde_json::to_string(&list).expect("resources have text keys only");
    Ok(json_response(StatusCode::OK, json))
}

/// Offers a service to an organisation, or rolls it out to all below: which of its plans, and how far.
///
/// A service reaches a customer through an unbroken chain of offers from the provider down, and of its plans those
/// that every organisation on the way passes on. `{"subtree": true}` offers it to all below, too, also to those who
/// come later; at the caller's own organisation only that can be said. `addPlans` with `subtree` rolls a new plan
/// out, also to those below who chose their plans.
#[utoipa::path(put, path = "/api/v2/organizations/{id}/offers/{service}", tag = "Offers",
    params(("id" = String, Path), ("service" = String, Path)), request_body = OfferService,
    responses((status = 200, body = OfferResource)))]
pub async fn offer_service(
    State(app): State<App>,
    Path((organization, service)): Path<(String, String)>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::OfferService { organization, service, body }).await
}

/// Offers a service to an organisation and all below no more. What they have stays; nothing new is sold.
#[utoipa::path(delete, path = "/api/v2/organizations/{id}/offers/{service}", tag = "Offers",
    params(("id" = String, Path), ("service" = String, Path)),
    responses((status = 200, body = OfferResource)))]
pub async fn withdraw_offer(
    State(app): State<App>,
    Path((organization, service)): Path<(String, String)>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::WithdrawOffer { organization, service, body }).await
}
