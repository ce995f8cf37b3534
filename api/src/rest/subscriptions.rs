//! Subscriptions and requests.

use axum::extract::State;
use commands::Command;
use commands::resource::{ApprovalResource, RequestResource, SubscriptionResource};
use commands::usecase::subscriptions::{ChangeSubscription, Deprovision, Provision};
use domain::organization::Kind;
use domain::permission::Permission;
use projections::finder;
use projections::views::{OrganizationView, RequestView, SubscriptionView, UserView};
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{Answer, Call, CommandParameters, Reader, resource};
use super::events::shown_request;
use super::list::{ListParameters, ListResource, page};
use super::{Parameters, Path};
use crate::app::App;
use crate::problem::Problem;

async fn list(
    app: &App,
    reader: &Reader,
    holder: String,
    parameters: Parameters<ListParameters>,
) -> Answer {
    let mut query = parameters.take()?.query()?;
    query.owner = Some(holder);
    let scope = reader.0.scope();
    let found = finder::list::<SubscriptionView>(app.database(), &scope, &query).await?;
    let now = app.now();
    Ok(page(&found, |view| SubscriptionResource::new(view, now)))
}

/// Lists what a customer itself holds.
#[utoipa::path(get, path = "/api/v2/customers/{id}/subscriptions", tag = "Subscriptions",
    params(("id" = String, Path), ListParameters),
    responses((status = 200, body = ListResource<SubscriptionResource>)))]
pub async fn list_of_customer(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
    parameters: Parameters<ListParameters>,
) -> Answer {
    let found = finder::find::<OrganizationView>(app.database(), &reader.0.scope(), &id).await?;
    let found = found.filter(|view| view.kind == Kind::Customer);
    let customer = found.ok_or_else(Problem::not_found)?;
    reader.0.permit(Permission::ViewSubscriptions, &customer.path).await?;
    list(&app, &reader, customer.id.to_string(), parameters).await
}

/// Lists what a user holds. Everybody sees his own.
#[utoipa::path(get, path = "/api/v2/users/{id}/subscriptions", tag = "Subscriptions",
    params(("id" = String, Path), ListParameters),
    responses((status = 200, body = ListResource<SubscriptionResource>)))]
pub async fn list_of_user(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
    parameters: Parameters<ListParameters>,
) -> Answer {
    let found = finder::find::<UserView>(app.database(), &reader.0.scope(), &id).await?;
    let user = found.ok_or_else(Problem::not_found)?;
    if user.id != reader.0.user {
        reader.0.permit(Permission::ViewSubscriptions, &user.path).await?;
    }
    list(&app, &reader, user.id.to_string(), parameters).await
}

/// Provisions a service to a customer.
#[utoipa::path(post, path = "/api/v2/customers/{id}/subscriptions", tag = "Subscriptions",
    params(("id" = String, Path), CommandParameters), request_body = Provision,
    responses(
        (status = 201, body = SubscriptionResource, description = "Provisioned"),
        (status = 202, body = ApprovalResource, description = "Waits for approval"),
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
        (status = 202, body = ApprovalResource, description = "Waits for approval"),
        (status = 200, body = SubscriptionResource, description = "It was so already")))]
pub async fn provision_to_user(
    State(app): State<App>,
    Path(user): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::ProvisionToUser { user, body }).await
}

/// Shows a subscription.
#[utoipa::path(get, path = "/api/v2/subscriptions/{id}", tag = "Subscriptions",
    params(("id" = String, Path)), responses((status = 200, body = SubscriptionResource)))]
pub async fn get_subscription(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
) -> Answer {
    let found = finder::find::<SubscriptionView>(app.database(), &reader.0.scope(), &id).await?;
    let view = found.ok_or_else(Problem::not_found)?;
    if view.holder.id() != reader.0.user.0 {
        reader.0.permit(Permission::ViewSubscriptions, &view.path).await?;
    }
    Ok(resource(&SubscriptionResource::new(&view, app.now()), view.version))
}

/// Goes over to another plan or quantity.
#[utoipa::path(post, path = "/api/v2/subscriptions/{id}/change", tag = "Subscriptions",
    params(("id" = String, Path), CommandParameters), request_body = ChangeSubscription,
    responses(
        (status = 200, body = SubscriptionResource),
        (status = 202, body = ApprovalResource, description = "Waits for approval")))]
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
        (status = 202, body = ApprovalResource, description = "Waits for approval")))]
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
    Request(RequestResource),
    /// What was asked for, and waits for approval or waited in vain.
    Approval(Box<ApprovalResource>),
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
    let request = RequestResource::new(&view, ingredients);
    Ok(resource(&RequestOrApproval::Request(request), 1))
}
