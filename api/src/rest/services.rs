//! Services: what is sold.

use axum::extract::State;
use commands::Command;
use commands::resource::ServiceResource;
use commands::usecase::services::{DefinitionDocument, PublishService};
use domain::permission::Permission;
use projections::finder::{self, Scope};
use projections::views::ServiceView;

use super::call::{Answer, Call, Reader, resource};
use super::list::{ListParameters, ListResource, page};
use super::{Parameters, Path};
use crate::app::App;
use crate::problem::Problem;

/// What a reader sees of a service: drafts are for those who publish.
fn shown(reader: &Reader, view: &ServiceView) -> ServiceResource {
    let mut shown = ServiceResource::from(view);
    if !reader.0.holds(Permission::PublishServices) {
        shown.draft = None;
    }
    shown
}

/// Lists the services, by name.
#[utoipa::path(get, path = "/api/v2/services", tag = "Services", params(ListParameters),
    responses((status = 200, body = ListResource<ServiceResource>)))]
pub async fn list_services(
    State(app): State<App>,
    reader: Reader,
    parameters: Parameters<ListParameters>,
) -> Answer {
    reader.0.require(Permission::ViewServices)?;
    let mut query = parameters.take()?.query()?;
    if !reader.0.holds(Permission::PublishServices) {
        query.kind = Some("published".to_owned());
    }
    let found = finder::list::<ServiceView>(app.database(), &Scope::catalogue(), &query).await?;
    Ok(page(&found, |view| shown(&reader, view)))
}

/// Shows a service.
#[utoipa::path(get, path = "/api/v2/services/{key}", tag = "Services",
    params(("key" = String, Path)), responses((status = 200, body = ServiceResource)))]
pub async fn get_service(
    State(app): State<App>,
    reader: Reader,
    Path(key): Path<String>,
) -> Answer {
    reader.0.require(Permission::ViewServices)?;
    let view = finder::find::<ServiceView>(app.database(), &Scope::catalogue(), &key).await?;
    let publishes = reader.0.holds(Permission::PublishServices);
    let view = view.filter(|view| publishes || view.published.is_some());
    let view = view.ok_or_else(Problem::not_found)?;
    Ok(resource(&shown(&reader, &view), view.version))
}

/// Replaces a service's draft.
#[utoipa::path(put, path = "/api/v2/services/{key}/draft", tag = "Services",
    params(("key" = String, Path)), request_body = DefinitionDocument,
    responses((status = 200, body = ServiceResource)))]
pub async fn draft_service(State(app): State<App>, Path(key): Path<String>, call: Call) -> Answer {
    let (body, if_match) = (call.input()?, call.if_match);
    call.command(&app, Command::DraftService { key, body, if_match }).await
}

/// Sells the draft from now on. Refused with every problem of the draft at once.
#[utoipa::path(post, path = "/api/v2/services/{key}/publish", tag = "Services",
    params(("key" = String, Path)), request_body = PublishService,
    responses((status = 200, body = ServiceResource)))]
pub async fn publish_service(
    State(app): State<App>,
    Path(key): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::PublishService { key, body }).await
}
