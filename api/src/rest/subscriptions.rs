//! Subscriptions and requests.

use std::collections::HashMap;

use axum::extract::State;
use axum::http::StatusCode;
use commands::Command;
use commands::resource::{
    ApprovalResource, RequestResource, SubRequestResource, SubscriptionResource, WhyNot,
};
use commands::usecase::bulk::{Many, ProvisionToMany};
use commands::usecase::organizations::Because;
use commands::usecase::requests::{CancelRequest, FailRequest, Report};
use commands::usecase::subscriptions::{ChangeSubscription, Deprovision, Provision};
use domain::TenantPath;
use domain::organization::Kind;
use domain::permission::Permission;
use projections::views::{Holder, OrganizationView, RequestView, SubscriptionView, UserView};
use projections::{finder, past};
use serde::Serialize;
use utoipa::ToSchema;

use super::approvals::waiting;
use super::call::{Answer, Call, CommandParameters, Reader, json_response, resource};
use super::events::shown_request;
use super::list::{ListParameters, ListResource, PastListParameters, PastParameters, page};
use super::{Parameters, Path, table};
use crate::actions;
use crate::app::App;
use crate::problem::Problem;
use crate::travel::{self, Then};

/// As of when somebody asks, where he does not ask about now.
async fn then(
    app: &App,
    path: &TenantPath,
    parameters: PastParameters,
) -> Result<Option<past::Then>, Problem> {
    let asked = (parameters.as_of.as_deref(), parameters.known_at.as_deref());
    let settings = &app.seller_at(path).await?.settings;
    Ok(Then::parse(app, asked, settings).await?.of_holding(app.now()))
}

async fn list(
    app: &App,
    reader: &Reader,
    (holder, path): (String, &TenantPath),
    parameters: Parameters<PastListParameters>,
) -> Answer {
    let PastListParameters { limit, after, as_of, known_at } = parameters.take()?;
    let mut query = ListParameters { limit, after }.query()?;
    query.owner = Some(holder);
    let scope = reader.0.scope();
    if let Some(then) = then(app, path, PastParameters { as_of, known_at }).await? {
        let found = past::list(app.database(), &scope, &query, then).await?;
        let found = found.ok_or_else(travel::too_much_between)?;
        return Ok(page(&found, SubscriptionResource::of_past));
    }
    let found = finder::list::<SubscriptionView>(app.database(), &scope, &query).await?;
    // All are one's.
    let unfit = match found.items.first() {
        Some((_, view)) => unfit(app, reader, view).await?,
        None => None,
    };
    let mut possible = HashMap::new();
    for (_, view) in &found.items {
        possible.insert(view.id, actions::possible(&reader.0, view, unfit.as_ref()).await?);
    }
    let waiting = waiting(app, reader, found.items.iter().map(|(_, view)| view.id)).await?;
    let now = app.now();
    Ok(page(&found, |view| SubscriptionResource {
        approval_pending: Some(waiting.contains(&view.id)),
        possible_actions: possible.get(&view.id).cloned(),
        ..SubscriptionResource::new(view, now)
    }))
}

/// Why the holder of a subscription cannot hold anything now, if that is so.
async fn unfit(
    app: &App,
    reader: &Reader,
    view: &SubscriptionView,
) -> Result<Option<WhyNot>, Problem> {
    let scope = reader.0.scope();
    let mut above = Vec::new();
    let mut next = Some(view.customer);
    while let Some(id) = next {
        let key = id.to_string();
        let found = finder::find::<OrganizationView>(app.database(), &scope, &key).await?;
        let Some(organization) = found else { break };
        next = organization.parent;
        above.push(organization);
    }
    let user = match view.holder {
        Holder::User(id) => {
            finder::find::<UserView>(app.database(), &scope, &id.to_string()).await?
        }
        Holder::Customer(_) => None,
    };
    Ok(actions::unfit(&above, user.as_deref()))
}

/// Lists what a customer itself holds, or held then (`asOf`), as it was known then (`knownAt`).
#[utoipa::path(get, path = "/api/v2/customers/{id}/subscriptions", tag = "Subscriptions",
    params(("id" = String, Path), PastListParameters),
    responses((status = 200, body = ListResource<SubscriptionResource>)))]
pub async fn list_of_customer(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
    parameters: Parameters<PastListParameters>,
) -> Answer {
    let found = finder::find::<OrganizationView>(app.database(), &reader.0.scope(), &id).await?;
    let found = found.filter(|view| view.kind == Kind::Customer);
    let customer = found.ok_or_else(Problem::not_found)?;
    reader.0.permit(Permission::ViewSubscriptions, &customer.path).await?;
    list(&app, &reader, (customer.id.to_string(), &customer.path), parameters).await
}

/// Lists what a user holds, or held then (`asOf`), as it was known then (`knownAt`). Everybody sees his own.
#[utoipa::path(get, path = "/api/v2/users/{id}/subscriptions", tag = "Subscriptions",
    params(("id" = String, Path), PastListParameters),
    responses((status = 200, body = ListResource<SubscriptionResource>)))]
pub async fn list_of_user(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
    parameters: Parameters<PastListParameters>,
) -> Answer {
    let found = finder::find::<UserView>(app.database(), &reader.0.scope(), &id).await?;
    let user = found.ok_or_else(Problem::not_found)?;
    if user.id != reader.0.user {
        reader.0.permit(Permission::ViewSubscriptions, &user.path).await?;
    }
    list(&app, &reader, (user.id.to_string(), &user.path), parameters).await
}

/// Provisions a service to a customer.
#[utoipa::path(post, path = "/api/v2/customers/{id}/subscriptions", tag = "Subscriptions",
    params(("id" = String, Path), CommandParameters), request_body = Provision,
    responses(
        (status = 201, body = SubscriptionResource, description = "Provisioned"),
        (status = 202, body = RequestOrApproval, description = "Asked for; what comes of it is reported, or it waits for approval"),
        (status = 200, body = SubscriptionResource, description = "It was so already")))]
pub async fn provision_to_customer(
    State(app): State<App>,
    Path(customer): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::ProvisionToCustomer { customer, body }).await
}

/// Provisions a user service to a user.
#[utoipa::path(post, path = "/api/v2/users/{id}/subscriptions", tag = "Subscriptions",
    params(("id" = String, Path), CommandParameters), request_body = Provision,
    responses(
        (status = 201, body = SubscriptionResource, description = "Provisioned"),
        (status = 202, body = RequestOrApproval, description = "Asked for; what comes of it is reported, or it waits for approval"),
        (status = 200, body = SubscriptionResource, description = "It was so already")))]
pub async fn provision_to_user(
    State(app): State<App>,
    Path(user): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::ProvisionToUser { user, body }).await
}

/// Provisions a user service to many users of a customer, or to none of them where one cannot have it: one request, with a
/// part for each. As a body of the type `text/csv` each line says what one user is to have: its first line names the
/// columns, which are `user`, `service`, `plan`, and as needed `quantity`, `instance`, `effectiveAt`, `reason` and
/// `properties.KEY`.
#[utoipa::path(post, path = "/api/v2/customers/{id}/users/subscriptions", tag = "Subscriptions",
    params(("id" = String, Path), CommandParameters),
    request_body(content((ProvisionToMany = "application/json"), (String = "text/csv"))),
    responses(
        (status = 201, body = RequestResource, description = "Provisioned"),
        (status = 202, body = RequestResource, description = "Asked for; what comes of it is reported")))]
pub async fn provision_to_many(
    State(app): State<App>,
    Path(customer): Path<String>,
    call: Call,
) -> Answer {
    let body = match call.csv() {
        Some(text) => table::many(text),
        None => call.input::<ProvisionToMany>()?.map(Many::from),
    };
    call.command(&app, Command::ProvisionToMany { customer, body }).await
}

/// Shows a subscription, as it is or as it was then (`asOf`), as that was known then (`knownAt`).
#[utoipa::path(get, path = "/api/v2/subscriptions/{id}", tag = "Subscriptions",
    params(("id" = String, Path), PastParameters), responses((status = 200, body = SubscriptionResource)))]
pub async fn get_subscription(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
    parameters: Parameters<PastParameters>,
) -> Answer {
    let found = finder::find::<SubscriptionView>(app.database(), &reader.0.scope(), &id).await?;
    let view = found.ok_or_else(Problem::not_found)?;
    if view.holder.id() != reader.0.user.0 {
        reader.0.permit(Permission::ViewSubscriptions, &view.path).await?;
    }
    if let Some(then) = then(&app, &view.path, parameters.take()?).await? {
        let past = past::of(app.database(), vec![view], then).await?.remove(0);
        let json = serde_json::to_string(&SubscriptionResource::of_past(&past));
        let json = json.expect("resources have text keys only");
        return Ok(json_response(StatusCode::OK, json));
    }
    let unfit = unfit(&app, &reader, &view).await?;
    let possible = actions::possible(&reader.0, &view, unfit.as_ref()).await?;
    let waiting = waiting(&app, &reader, [view.id]).await?;
    let shown = SubscriptionResource {
        approval_pending: Some(waiting.contains(&view.id)),
        possible_actions: Some(possible),
        ..SubscriptionResource::new(&view, app.now())
    };
    Ok(resource(&shown, view.version))
}

/// Goes over to another plan or quantity.
#[utoipa::path(post, path = "/api/v2/subscriptions/{id}/change", tag = "Subscriptions",
    params(("id" = String, Path), CommandParameters), request_body = ChangeSubscription,
    responses(
        (status = 200, body = SubscriptionResource),
        (status = 202, body = RequestOrApproval, description = "Asked for; what comes of it is reported, or it waits for approval")))]
pub async fn change_subscription(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::ChangeSubscription { id, body }).await
}

/// Takes a service away.
#[utoipa::path(post, path = "/api/v2/subscriptions/{id}/deprovision", tag = "Subscriptions",
    params(("id" = String, Path), CommandParameters), request_body = Deprovision,
    responses(
        (status = 200, body = SubscriptionResource),
        (status = 202, body = RequestOrApproval, description = "Asked for; what comes of it is reported, or it waits for approval")))]
pub async fn deprovision_subscription(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::Deprovision { id, body }).await
}

/// A request, or something that has to be approved before it becomes one: that has an `approvalStatus`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum RequestOrApproval {
    /// A request.
    Request(Box<RequestResource>),
    /// What was asked for, and waits for approval or waited in vain.
    Approval(Box<ApprovalResource>),
}

/// Lets a service rest. It is charged all the same.
#[utoipa::path(post, path = "/api/v2/subscriptions/{id}/suspend", tag = "Subscriptions",
    params(("id" = String, Path), CommandParameters), request_body = Deprovision,
    responses(
        (status = 200, body = SubscriptionResource),
        (status = 202, body = RequestResource, description = "Asked for; what comes of it is reported")))]
pub async fn suspend_subscription(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::Suspend { id, body }).await
}

/// Lets a service go on that was suspended.
#[utoipa::path(post, path = "/api/v2/subscriptions/{id}/resume", tag = "Subscriptions",
    params(("id" = String, Path), CommandParameters), request_body = Deprovision,
    responses(
        (status = 200, body = SubscriptionResource),
        (status = 202, body = RequestResource, description = "Asked for; what comes of it is reported")))]
pub async fn resume_subscription(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::Resume { id, body }).await
}

/// Asks a request that failed again.
#[utoipa::path(post, path = "/api/v2/subscriptions/{id}/retry", tag = "Subscriptions",
    params(("id" = String, Path), CommandParameters), request_body = Because,
    responses((status = 202, body = RequestResource)))]
pub async fn retry_subscription(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::RetryRequest { id, body }).await
}

/// Takes a request back that has not begun: it is as if it had never been asked.
#[utoipa::path(post, path = "/api/v2/subscriptions/{id}/cancel", tag = "Subscriptions",
    params(("id" = String, Path), CommandParameters), request_body = CancelRequest,
    responses((status = 200, body = SubscriptionResource)))]
pub async fn cancel_subscription(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::CancelRequest { id, body }).await
}

/// Gives up a request that failed or is stuck: it is as if it had never been asked.
#[utoipa::path(post, path = "/api/v2/subscriptions/{id}/reset", tag = "Subscriptions",
    params(("id" = String, Path), CommandParameters), request_body = Because,
    responses((status = 200, body = SubscriptionResource)))]
pub async fn reset_subscription(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::ResetRequest { id, body }).await
}

/// Shows a request and how far it is; or what has to be approved before it becomes a request, with who has to
/// answer, who has answered, and until when.
#[utoipa::path(get, path = "/api/v2/requests/{id}", tag = "Subscriptions",
    params(("id" = String, Path)), responses((status = 200, body = RequestOrApproval)))]
pub async fn get_request(State(app): State<App>, reader: Reader, Path(id): Path<String>) -> Answer {
    let found = finder::find::<RequestView>(app.database(), &reader.0.scope(), &id).await?;
    let Some(view) = found else { return super::approvals::shown(&app, &reader.0, &id).await };
    reader.0.permit(Permission::ViewSubscriptions, &view.path).await?;
    let mut ingredients = finder::ingredients(app.database(), [view.as_ref()]).await?;
    let ingredients = match ingredients.remove(&view.id) {
        None => None,
        Some(mut request) => {
            if !reader.0.sees_hidden() {
                request = request.without_hidden();
            }
            let holder = request.user.as_ref().map(|user| user.id);
            let opened = app.persons().unlock(app.database(), holder).await?;
            Some(shown_request(&request, &opened))
        }
    };
    let parts = view.sub_requests.iter().map(ToString::to_string).collect();
    let parts = finder::find_many::<RequestView>(app.database(), &reader.0.scope(), parts).await?;
    let now = app.now();
    let parts = view.sub_requests.iter().filter_map(|id| parts.get(&id.to_string()));
    let shown = RequestResource {
        sub_requests: parts.map(|part| SubRequestResource::new(part, now)).collect(),
        ..RequestResource::new(&view, ingredients, now)
    };
    Ok(resource(&RequestOrApproval::Request(Box::new(shown)), 1))
}

/// Says that work on a request has begun.
#[utoipa::path(post, path = "/api/v2/requests/{id}/start", tag = "Subscriptions",
    params(("id" = String, Path), CommandParameters), request_body = Because,
    responses((status = 200, body = RequestResource)))]
pub async fn start_request(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    let report = Report::Started(call.input()?);
    call.command(&app, Command::ReportRequest { id, report }).await
}

/// Says that a request is done. Where no moment was given when it was asked, it counts from now.
#[utoipa::path(post, path = "/api/v2/requests/{id}/complete", tag = "Subscriptions",
    params(("id" = String, Path), CommandParameters), request_body = Because,
    responses((status = 200, body = RequestResource)))]
pub async fn complete_request(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    let report = Report::Completed(call.input()?);
    call.command(&app, Command::ReportRequest { id, report }).await
}

/// Says that a request did not work. What was held is still held.
#[utoipa::path(post, path = "/api/v2/requests/{id}/fail", tag = "Subscriptions",
    params(("id" = String, Path), CommandParameters), request_body = FailRequest,
    responses((status = 200, body = RequestResource)))]
pub async fn fail_request(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    let report = Report::Failed(call.input()?);
    call.command(&app, Command::ReportRequest { id, report }).await
}
