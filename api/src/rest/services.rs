//! Services: what is sold.

use std::sync::LazyLock;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use commands::Command;
use commands::resource::ServiceResource;
use commands::usecase::definition::DefinitionDocument;
use commands::usecase::services::PublishService;
use domain::Fault;
use domain::permission::Permission;
use projections::finder::{self, Scope};
use projections::views::ServiceView;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{Answer, Call, Reader, json_response, resource};
use super::list::{ListParameters, ListResource, page};
use super::{Parameters, Path};
use crate::app::App;
use crate::problem::Problem;

/// What a reader sees of a service: drafts and hidden properties are for those who publish.
fn shown(reader: &Reader, view: &ServiceView) -> ServiceResource {
    if reader.0.sees_hidden() { ServiceResource::whole(view) } else { ServiceResource::shown(view) }
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

/// What keeps the draft from being published: everything at once, and nothing where it can be.
#[utoipa::path(get, path = "/api/v2/services/{key}/problems", tag = "Services",
    params(("key" = String, Path)), responses((status = 200, body = ProblemsResource)))]
pub async fn check_service(
    State(app): State<App>,
    reader: Reader,
    Path(key): Path<String>,
) -> Answer {
    reader.0.require(Permission::PublishServices)?;
    let view = finder::find::<ServiceView>(app.database(), &Scope::catalogue(), &key).await?;
    let view = view.ok_or_else(Problem::not_found)?;
    let problems = view.draft.as_ref().map(|draft| draft.problems(view.published.as_ref()));
    let refusal = problems.and_then(|problems| problems.check().err());
    let data = refusal.map(|refusal| refusal.faults).unwrap_or_default();
    let data = data.into_iter().map(FaultResource::from).collect();
    Ok(resource(&ProblemsResource { data }, view.version))
}

/// Gives the JSON Schema of the document that defines a service, for editors.
#[utoipa::path(get, path = "/api/v2/schemas/service", tag = "Services", security(()),
    responses((status = 200, body = Object, content_type = "application/schema+json")))]
pub async fn schema_of_definition() -> Response {
    static SCHEMA: LazyLock<String> = LazyLock::new(|| crate::schema::definition().to_string());
    let mut response = json_response(StatusCode::OK, SCHEMA.clone());
    let kind = HeaderValue::from_static("application/schema+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// What is wrong with a draft.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProblemsResource {
    /// Each problem.
    data: Vec<FaultResource>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct FaultResource {
    /// Where: a JSON pointer into the document.
    pointer: String,
    /// For programs.
    code: &'static str,
    /// For people.
    detail: String,
}

impl From<Fault> for FaultResource {
    fn from(fault: Fault) -> Self {
        Self { pointer: fault.pointer, code: fault.code, detail: fault.detail }
    }
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
