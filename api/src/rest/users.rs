//! Users, their roles and tokens.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use chrono::{DateTime, Duration, Utc};
use commands::Command;
use commands::resource::{SealedUserResource, TokenResource, UserResource};
use commands::usecase::organizations::Because;
use commands::usecase::users::{AssignRoles, CreateToken, CreateUser, EditUser, NewCredential};
use domain::lifecycle::Transition;
use domain::organization::Kind;
use domain::permission::Permission;
use domain::{TokenId, UserId};
use projections::finder;
use projections::views::{AccessView, OrganizationView, UserView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::call::{Answer, Call, Reader, json_response, resource, respond};
use super::list::{ListParameters, ListResource, page};
use super::{Parameters, Path};
use crate::app::App;
use crate::auth::Principal;
use crate::problem::Problem;
use crate::token::TokenKind;

/// The organisation of an id, where it is of the kind that the address says.
async fn find_organization(
    app: &App,
    reader: &Principal,
    id: &str,
    kind: Option<Kind>,
) -> Result<Arc<OrganizationView>, Problem> {
    let found = finder::find::<OrganizationView>(app.database(), &reader.scope(), id).await?;
    let found = found.filter(|view| kind.is_none_or(|kind| view.kind == kind));
    found.ok_or_else(Problem::not_found)
}

/// A user as he is shown.
async fn show(app: &App, user: SealedUserResource) -> Result<UserResource, Problem> {
    let opened = app.persons().unlock(app.database(), [user.id]).await?;
    let person = opened.person(user.id, user.person.as_ref());
    Ok(user.show(person))
}

/// Has a command about a user carried out, and answers with him as he is shown. Answers are kept sealed: one
/// that is given again after he was erased does not bring him back.
async fn command(app: &App, call: Call, command: Command) -> Answer {
    let committed = call.commit(app, command).await?;
    let kept = serde_json::from_str(committed.reply.body.get()).map_err(|_| Problem::internal())?;
    let shown = serde_json::to_string(&show(app, kept).await?);
    Ok(respond(committed, shown.expect("resources have text keys only")))
}

async fn list(
    app: &App,
    reader: &Reader,
    id: &str,
    kind: Option<Kind>,
    parameters: Parameters<ListParameters>,
) -> Answer {
    let organization = find_organization(app, &reader.0, id, kind).await?;
    reader.0.permit(Permission::ViewUsers, &organization.path).await?;
    let mut query = parameters.take()?.query()?;
    query.owner = Some(organization.id.to_string());
    let found = finder::list::<UserView>(app.database(), &reader.0.scope(), &query).await?;
    let users = found.items.iter().map(|(_, user)| user.id);
    let opened = app.persons().unlock(app.database(), users).await?;
    Ok(page(&found, |view| {
        let person = opened.person(view.id, view.person.as_ref());
        SealedUserResource::from(view).show(person)
    }))
}

async fn create(app: &App, organization: String, kind: Option<Kind>, call: Call) -> Answer {
    // Looked at before the command runs: a kind never changes, and only who is allowed to may make us
    // hash a password.
    let found = find_organization(app, &call.principal, &organization, kind).await?;
    call.principal.permit(Permission::ManageUsers, &found.path).await?;
    let body = call.input::<CreateUser>()?;
    let password = match body.as_ref().ok().and_then(|body| body.password.as_ref()) {
        // Only what will be accepted is worth the work of hashing.
        Some(password) if password.is_acceptable() => Some(app.passwords().hash(password).await?),
        _ => None,
    };
    command(app, call, Command::CreateUser { organization, body, password }).await
}

async fn step(app: App, id: String, step: Transition, call: Call) -> Answer {
    let body = call.input()?;
    command(&app, call, Command::TransitionUser { id, step, body }).await
}

/// Shows a user. Everybody sees himself.
#[utoipa::path(get, path = "/api/v2/users/{id}", tag = "Users",
    params(("id" = String, Path)), responses((status = 200, body = UserResource)))]
pub async fn get_user(State(app): State<App>, reader: Reader, Path(id): Path<String>) -> Answer {
    let view = finder::find::<UserView>(app.database(), &reader.0.scope(), &id).await?;
    let view = view.ok_or_else(Problem::not_found)?;
    if view.id != reader.0.user {
        reader.0.permit(Permission::ViewUsers, &view.path).await?;
    }
    Ok(resource(&show(&app, view.as_ref().into()).await?, view.version))
}

/// Changes who a user is; what is left out stays as it is.
#[utoipa::path(patch, path = "/api/v2/users/{id}", tag = "Users",
    params(("id" = String, Path)), request_body = EditUser,
    responses((status = 200, body = UserResource)))]
pub async fn edit_user(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    let (body, if_match) = (call.input()?, call.if_match);
    command(&app, call, Command::EditUser { id, body, if_match }).await
}

/// Stops a user's sign-in, sessions and tokens; felt within a second.
#[utoipa::path(post, path = "/api/v2/users/{id}/disable", tag = "Users",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = UserResource)))]
pub async fn disable_user(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    step(app, id, Transition::Disable, call).await
}

/// Has a user in use again who was disabled or deprovisioned.
#[utoipa::path(post, path = "/api/v2/users/{id}/enable", tag = "Users",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = UserResource)))]
pub async fn enable_user(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    step(app, id, Transition::Enable, call).await
}

/// Takes a user's services away, now and those that are to begin later. The record is kept.
#[utoipa::path(post, path = "/api/v2/users/{id}/deprovision", tag = "Users",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = UserResource)))]
pub async fn deprovision_user(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    step(app, id, Transition::Deprovision, call).await
}

/// Restores a user who was deleted; he is deprovisioned then.
#[utoipa::path(post, path = "/api/v2/users/{id}/restore", tag = "Users",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = UserResource)))]
pub async fn restore_user(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    step(app, id, Transition::Restore, call).await
}

/// Deletes a user who is deprovisioned: lists leave him out, and he can be restored.
#[utoipa::path(delete, path = "/api/v2/users/{id}", tag = "Users",
    params(("id" = String, Path)), responses((status = 200, body = UserResource)))]
pub async fn delete_user(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    step(app, id, Transition::Delete, call).await
}

/// Forgets who a user is, for good. He must hold no services any more.
///
/// Names, mail address and login cannot be read any more, not in history either; the login is free. Sessions and
/// tokens end, and the password is gone. What was charged for him stays as it is. It cannot be undone.
#[utoipa::path(post, path = "/api/v2/users/{id}/erase", tag = "Users",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = UserResource)))]
pub async fn erase_user(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    let body = call.input()?;
    command(&app, call, Command::EraseUser { id, body }).await
}

/// Gives a user exactly these roles.
#[utoipa::path(put, path = "/api/v2/users/{id}/roles", tag = "Users",
    params(("id" = String, Path)), request_body = AssignRoles,
    responses((status = 200, body = UserResource)))]
pub async fn assign_roles(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    let body = call.input()?;
    command(&app, call, Command::AssignRoles { id, body }).await
}

/// A user's tokens.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenList {
    /// Newest last. Never with their secret.
    data: Vec<TokenResource>,
}

/// Lists a user's API tokens: to himself, and to those who manage him.
#[utoipa::path(get, path = "/api/v2/users/{id}/tokens", tag = "Users",
    params(("id" = String, Path)), responses((status = 200, body = TokenList)))]
pub async fn list_tokens(State(app): State<App>, reader: Reader, Path(id): Path<String>) -> Answer {
    let view = finder::find::<AccessView>(app.database(), &reader.0.scope(), &id).await?;
    let view = view.ok_or_else(Problem::not_found)?;
    if view.user != reader.0.user {
        reader.0.permit(Permission::ManageUsers, &view.path).await?;
    }
    let now = app.now();
    let live = view.tokens.iter().filter(|token| token.expires_at > now);
    let list = TokenList { data: live.map(TokenResource::from).collect() };
    let json = serde_json::to_string(&list).expect("resources have text keys only");
    Ok(json_response(StatusCode::OK, json))
}

/// An API token with its secret: shown this once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewTokenResource {
    /// Names it.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
    /// To be sent as `Authorization: Bearer <token>`.
    #[serde(default)]
    pub token: String,
}

impl NewTokenResource {
    /// The kept resource with its token, which is not kept but signed anew.
    ///
    /// # Panics
    /// Never: the kept resource is our own.
    #[must_use]
    pub fn complete(app: &App, kind: TokenKind, user: UserId, kept: &str) -> String {
        let mut token: Self = serde_json::from_str(kept).expect("the kept resource is our own");
        let id = TokenId(token.id);
        token.token = app.tokens().sign(kind, user, id, token.created_at, token.expires_at);
        serde_json::to_string(&token).expect("resources have text keys only")
    }
}

/// Makes an API token, shown this once. Only for oneself, with the role Service Provider Developer.
#[utoipa::path(post, path = "/api/v2/users/{id}/tokens", tag = "Users",
    params(("id" = String, Path)), request_body = CreateToken,
    responses((status = 201, body = NewTokenResource)))]
pub async fn create_token(State(app): State<App>, Path(user): Path<String>, call: Call) -> Answer {
    let body = call.input()?;
    let id = TokenId(app.ambient().id());
    // When an API token expires is decided with its body, not here.
    let token = NewCredential { id, proof: app.tokens().proof_of(id), expires_at: app.now() };
    let owner = call.principal.user;
    let command = Command::CreateToken { user, body, token };
    let complete = |kept: &str| NewTokenResource::complete(&app, TokenKind::Api, owner, kept);
    let mut response = call.command_then(&app, command, complete).await?;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Minutes that somebody may act as somebody else before he has to begin again.
const IMPERSONATION_MINUTES: i64 = 60;

/// Lets the caller act as a user of an organisation below his own, for an hour at most: gives a session token,
/// shown this once. Events carry both people. It ends with `DELETE /api/v2/session`, and when either signs out
/// or is disabled.
#[utoipa::path(post, path = "/api/v2/users/{id}/impersonate", tag = "Users",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 201, body = NewTokenResource)))]
pub async fn impersonate(State(app): State<App>, Path(user): Path<String>, call: Call) -> Answer {
    let body = call.input()?;
    let id = TokenId(app.ambient().id());
    let expires_at = app.now() + Duration::minutes(IMPERSONATION_MINUTES);
    let session = NewCredential { id, proof: app.tokens().proof_of(id), expires_at };
    let began_with = call.principal.credential;
    // One that is none is not found, and no token is made.
    let other = user.parse().unwrap_or(call.principal.user);
    let command = Command::Impersonate { user, body, began_with, session };
    let complete =
        |kept: &str| NewTokenResource::complete(&app, TokenKind::Impersonation, other, kept);
    let mut response = call.command_then(&app, command, complete).await?;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Ends an API token; felt at once.
#[utoipa::path(delete, path = "/api/v2/users/{id}/tokens/{token}", tag = "Users",
    params(("id" = String, Path), ("token" = String, Path)), responses((status = 204)))]
pub async fn delete_token(
    State(app): State<App>,
    Path((user, token)): Path<(String, String)>,
    call: Call,
) -> Answer {
    call.command(&app, Command::DeleteToken { user, token }).await
}

/// Lists the users of a customer, in the order in which they were added.
#[utoipa::path(get, path = "/api/v2/customers/{id}/users", tag = "Users",
    params(("id" = String, Path), ListParameters),
    responses((status = 200, body = ListResource<UserResource>)))]
pub async fn list_of_customer(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
    parameters: Parameters<ListParameters>,
) -> Answer {
    list(&app, &reader, &id, Some(Kind::Customer), parameters).await
}

/// Adds a person to a customer.
#[utoipa::path(post, path = "/api/v2/customers/{id}/users", tag = "Users",
    params(("id" = String, Path)), request_body = CreateUser,
    responses((status = 201, body = UserResource)))]
pub async fn create_in_customer(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    create(&app, id, Some(Kind::Customer), call).await
}

/// Lists the users of a reseller, in the order in which they were added.
#[utoipa::path(get, path = "/api/v2/resellers/{id}/users", tag = "Users",
    params(("id" = String, Path), ListParameters),
    responses((status = 200, body = ListResource<UserResource>)))]
pub async fn list_of_reseller(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
    parameters: Parameters<ListParameters>,
) -> Answer {
    list(&app, &reader, &id, Some(Kind::Reseller), parameters).await
}

/// Adds a person to a reseller.
#[utoipa::path(post, path = "/api/v2/resellers/{id}/users", tag = "Users",
    params(("id" = String, Path)), request_body = CreateUser,
    responses((status = 201, body = UserResource)))]
pub async fn create_in_reseller(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    create(&app, id, Some(Kind::Reseller), call).await
}

/// Lists the users of an organisation, in the order in which they were added.
#[utoipa::path(get, path = "/api/v2/organizations/{id}/users", tag = "Users",
    params(("id" = String, Path), ListParameters),
    responses((status = 200, body = ListResource<UserResource>)))]
pub async fn list_of_organization(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
    parameters: Parameters<ListParameters>,
) -> Answer {
    list(&app, &reader, &id, None, parameters).await
}

/// Adds a person to an organisation.
#[utoipa::path(post, path = "/api/v2/organizations/{id}/users", tag = "Users",
    params(("id" = String, Path)), request_body = CreateUser,
    responses((status = 201, body = UserResource)))]
pub async fn create_in_organization(
    State(app): State<App>,
    Path(id): Path<String>,
    call: Call,
) -> Answer {
    create(&app, id, None, call).await
}
