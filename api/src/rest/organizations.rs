//! Resellers and customers.

use axum::extract::State;
use commands::Command;
use commands::resource::{OrganizationResource, SealedOrganizationResource};
use commands::usecase::moves::{BillCustomer, MoveCustomer, SealedMovedCustomer};
use commands::usecase::organizations::{Because, CreateOrganization, EditOrganization};
use domain::OrganizationId;
use domain::lifecycle::Transition;
use domain::organization::Kind;
use domain::permission::Permission;
use projections::finder;
use projections::views::OrganizationView;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{Answer, Call, Reader, resource, respond};
use super::list::{ListParameters, ListResource, page};
use super::{Parameters, Path};
use crate::app::App;
use crate::problem::Problem;

async fn list(
    app: &App,
    reader: &Reader,
    kind: Kind,
    parameters: Parameters<ListParameters>,
) -> Answer {
    reader.0.require(Permission::ViewOrganizations)?;
    let mut query = parameters.take()?.query()?;
    query.kind = Some(kind.name().to_owned());
    let found = finder::list::<OrganizationView>(app.database(), &reader.0.scope(), &query).await?;
    let named = found.items.iter().filter(|(_, view)| view.details.contact.is_sealed());
    let opened = app.persons().unlock(app.database(), named.map(|(_, view)| view.id)).await?;
    Ok(page(&found, |view| {
        let contact = opened.contact(view.id, &view.details.contact);
        SealedOrganizationResource::from(view).show(contact)
    }))
}

/// An organisation as it is shown.
async fn show(
    app: &App,
    organization: SealedOrganizationResource,
) -> Result<OrganizationResource, Problem> {
    let id = OrganizationId(organization.organization.id);
    let named = Some(id).filter(|_| organization.sealed_contact.is_sealed());
    let opened = app.persons().unlock(app.database(), named).await?;
    let contact = opened.contact(id, &organization.sealed_contact);
    Ok(organization.show(contact))
}

/// Has a command about an organisation carried out, and answers with it as it is shown. Answers are kept
/// sealed: one that is given again after the contact was erased does not bring him back.
async fn command(app: &App, call: Call, command: Command) -> Answer {
    let committed = call.commit(app, command).await?;
    let kept = serde_json::from_str(committed.reply.body.get()).map_err(|_| Problem::internal())?;
    let shown = serde_json::to_string(&show(app, kept).await?);
    Ok(respond(committed, shown.expect("resources have text keys only")))
}

/// The organisation of this id, of this kind if one is given.
async fn get(app: &App, reader: &Reader, id: &str, kind: Option<Kind>) -> Answer {
    let view = finder::find::<OrganizationView>(app.database(), &reader.0.scope(), id).await?;
    let view = view.filter(|view| kind.is_none_or(|kind| view.kind == kind));
    let view = view.ok_or_else(Problem::not_found)?;
    reader.0.permit(Permission::ViewOrganizations, &view.path).await?;
    Ok(resource(&show(app, view.as_ref().into()).await?, view.version))
}

async fn step(app: App, id: String, kind: Kind, step: Transition, call: Call) -> Answer {
    let body = call.input()?;
    command(&app, call, Command::TransitionOrganization { id, kind, step, body }).await
}

/// Shows any organisation.
#[utoipa::path(get, path = "/api/v2/organizations/{id}", tag = "Organisations",
    params(("id" = String, Path)), responses((status = 200, body = OrganizationResource)))]
pub async fn get_organization(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
) -> Answer {
    get(&app, &reader, &id, None).await
}

/// Lists the resellers in the caller's scope, by name.
#[utoipa::path(get, path = "/api/v2/resellers", tag = "Organisations",
    params(ListParameters), responses((status = 200, body = ListResource<OrganizationResource>)))]
pub async fn list_resellers(
    State(app): State<App>,
    reader: Reader,
    parameters: Parameters<ListParameters>,
) -> Answer {
    list(&app, &reader, Kind::Reseller, parameters).await
}

/// Founds a reseller.
#[utoipa::path(post, path = "/api/v2/resellers", tag = "Organisations",
    request_body = CreateOrganization, responses((status = 201, body = OrganizationResource)))]
pub async fn create_reseller(State(app): State<App>, call: Call) -> Answer {
    let body = call.input()?;
    command(&app, call, Command::CreateOrganization { kind: Kind::Reseller, body }).await
}

/// Shows a reseller.
#[utoipa::path(get, path = "/api/v2/resellers/{id}", tag = "Organisations",
    params(("id" = String, Path)), responses((status = 200, body = OrganizationResource)))]
pub async fn get_reseller(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
) -> Answer {
    get(&app, &reader, &id, Some(Kind::Reseller)).await
}

/// Changes a reseller's details; what is left out stays as it is.
#[utoipa::path(patch, path = "/api/v2/resellers/{id}", tag = "Organisations",
    params(("id" = String, Path)), request_body = EditOrganization,
    responses((status = 200, body = OrganizationResource)))]
pub async fn edit_reseller(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    let (body, if_match) = (call.input::<EditOrganization>()?, call.if_match);
    command(&app, call, Command::EditOrganization { id, kind: Kind::Reseller, body, if_match })
        .await
}

/// Blocks sign-in, tokens and changes at a reseller and below.
#[utoipa::path(post, path = "/api/v2/resellers/{id}/disable", tag = "Organisations",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = OrganizationResource)))]
pub async fn disable_reseller(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    step(app, id, Kind::Reseller, Transition::Disable, call).await
}

/// Has a reseller in use again that was disabled or deprovisioned.
#[utoipa::path(post, path = "/api/v2/resellers/{id}/enable", tag = "Organisations",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = OrganizationResource)))]
pub async fn enable_reseller(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    step(app, id, Kind::Reseller, Transition::Enable, call).await
}

/// Deprovisions a reseller and its users. Everybody below it has to be deprovisioned before.
///
/// The record is kept. What is to begin later is taken away, too; what was charged stays.
#[utoipa::path(post, path = "/api/v2/resellers/{id}/deprovision", tag = "Organisations",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = OrganizationResource)))]
pub async fn deprovision_reseller(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    step(app, id, Kind::Reseller, Transition::Deprovision, call).await
}

/// Restores a reseller that was deleted, and the users who were deleted with it; it is deprovisioned then.
#[utoipa::path(post, path = "/api/v2/resellers/{id}/restore", tag = "Organisations",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = OrganizationResource)))]
pub async fn restore_reseller(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    step(app, id, Kind::Reseller, Transition::Restore, call).await
}

/// Forgets whom a reseller named as its contact, now or before, for good: nobody can read it any more.
#[utoipa::path(post, path = "/api/v2/resellers/{id}/erase-contact", tag = "Organisations",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = OrganizationResource)))]
pub async fn erase_reseller_contact(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    command(&app, call, Command::EraseContact { id, kind: Kind::Reseller, body }).await
}

/// Deletes a reseller that is deprovisioned, and its users: lists leave it out, and it can be restored.
#[utoipa::path(delete, path = "/api/v2/resellers/{id}", tag = "Organisations",
    params(("id" = String, Path)), responses((status = 200, body = OrganizationResource)))]
pub async fn delete_reseller(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    step(app, id, Kind::Reseller, Transition::Delete, call).await
}

/// Lists the customers in the caller's scope, by name.
#[utoipa::path(get, path = "/api/v2/customers", tag = "Organisations",
    params(ListParameters), responses((status = 200, body = ListResource<OrganizationResource>)))]
pub async fn list_customers(
    State(app): State<App>,
    reader: Reader,
    parameters: Parameters<ListParameters>,
) -> Answer {
    list(&app, &reader, Kind::Customer, parameters).await
}

/// Founds a customer.
#[utoipa::path(post, path = "/api/v2/customers", tag = "Organisations",
    request_body = CreateOrganization, responses((status = 201, body = OrganizationResource)))]
pub async fn create_customer(State(app): State<App>, call: Call) -> Answer {
    let body = call.input()?;
    command(&app, call, Command::CreateOrganization { kind: Kind::Customer, body }).await
}

/// Shows a customer.
#[utoipa::path(get, path = "/api/v2/customers/{id}", tag = "Organisations",
    params(("id" = String, Path)), responses((status = 200, body = OrganizationResource)))]
pub async fn get_customer(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
) -> Answer {
    get(&app, &reader, &id, Some(Kind::Customer)).await
}

/// Changes a customer's details; what is left out stays as it is.
#[utoipa::path(patch, path = "/api/v2/customers/{id}", tag = "Organisations",
    params(("id" = String, Path)), request_body = EditOrganization,
    responses((status = 200, body = OrganizationResource)))]
pub async fn edit_customer(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    let (body, if_match) = (call.input::<EditOrganization>()?, call.if_match);
    command(&app, call, Command::EditOrganization { id, kind: Kind::Customer, body, if_match })
        .await
}

/// A customer, and whether it has moved.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MovedCustomer {
    /// The customer as it is now.
    #[serde(flatten)]
    customer: OrganizationResource,
    /// Whether it went to another seller by this command.
    moved: bool,
    /// Change requests that carry what its new sellers have set to what runs.
    change_requests: usize,
}

/// Puts a customer below another seller, who bills it from a date on.
///
/// Refused with all that is missing there: every service and plan that it has must be offered, and the roles of its
/// people must come from sellers that it keeps. What was recorded before stays with the seller that it leaves, and so
/// do his bills.
#[utoipa::path(post, path = "/api/v2/customers/{id}/move", tag = "Organisations",
    params(("id" = String, Path)), request_body = MoveCustomer,
    responses((status = 200, body = MovedCustomer)))]
pub async fn move_customer(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    let body = call.input()?;
    let committed = call.commit(&app, Command::MoveCustomer { id, body }).await?;
    let kept = serde_json::from_str(committed.reply.body.get()).map_err(|_| Problem::internal())?;
    let SealedMovedCustomer { customer, moved, change_requests } = kept;
    let customer = show(&app, customer).await?;
    let shown = serde_json::to_string(&MovedCustomer { customer, moved, change_requests });
    Ok(respond(committed, shown.expect("resources have text keys only")))
}

/// Has a customer billed by a seller above it, from a date on.
#[utoipa::path(put, path = "/api/v2/customers/{id}/billed-by", tag = "Organisations",
    params(("id" = String, Path)), request_body = BillCustomer,
    responses((status = 200, body = OrganizationResource)))]
pub async fn bill_customer(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    let body = call.input()?;
    command(&app, call, Command::BillCustomer { id, body }).await
}

/// Blocks sign-in, tokens and changes at a customer and below.
#[utoipa::path(post, path = "/api/v2/customers/{id}/disable", tag = "Organisations",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = OrganizationResource)))]
pub async fn disable_customer(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    step(app, id, Kind::Customer, Transition::Disable, call).await
}

/// Has a customer in use again that was disabled or deprovisioned.
#[utoipa::path(post, path = "/api/v2/customers/{id}/enable", tag = "Organisations",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = OrganizationResource)))]
pub async fn enable_customer(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    step(app, id, Kind::Customer, Transition::Enable, call).await
}

/// Deprovisions a customer and its users. Takes its users' services away, then its own.
///
/// The record is kept. What is to begin later is taken away, too; what was charged stays.
#[utoipa::path(post, path = "/api/v2/customers/{id}/deprovision", tag = "Organisations",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = OrganizationResource)))]
pub async fn deprovision_customer(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    step(app, id, Kind::Customer, Transition::Deprovision, call).await
}

/// Restores a customer that was deleted, and the users who were deleted with it; it is deprovisioned then.
#[utoipa::path(post, path = "/api/v2/customers/{id}/restore", tag = "Organisations",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = OrganizationResource)))]
pub async fn restore_customer(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    step(app, id, Kind::Customer, Transition::Restore, call).await
}

/// Forgets whom a customer named as its contact, now or before, for good: nobody can read it any more.
#[utoipa::path(post, path = "/api/v2/customers/{id}/erase-contact", tag = "Organisations",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = OrganizationResource)))]
pub async fn erase_customer_contact(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    command(&app, call, Command::EraseContact { id, kind: Kind::Customer, body }).await
}

/// Deletes a customer that is deprovisioned, and its users: lists leave it out, and it can be restored.
#[utoipa::path(delete, path = "/api/v2/customers/{id}", tag = "Organisations",
    params(("id" = String, Path)), responses((status = 200, body = OrganizationResource)))]
pub async fn delete_customer(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    step(app, id, Kind::Customer, Transition::Delete, call).await
}
