//! Roles and permissions: who has which, and why somebody may do something or not.

use std::collections::BTreeSet;

use async_graphql::SimpleObject;
use axum::extract::State;
use axum::http::StatusCode;
use commands::Command;
use commands::resource::{PermissionResource, RoleResource};
use commands::usecase::organizations::Because;
use commands::usecase::roles::{CopyRole, CreateRole, DeclarePermission, EditRole};
use domain::authority::{Begin, Way};
use domain::permission::{AnyPermission, Permission};
use domain::role::{DefaultRole, RoleRef};
use domain::{OrganizationId, TenantPath};
use projections::finder::{self, Cursor, LIST_MAX, Query, Scope};
use projections::views::{OrganizationView, PermissionView, RoleView, ServiceView, UserView};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::call::{Answer, Call, Reader, json_response, resource};
use super::list::{ListParameters, ListResource, encode_cursor};
use super::{Parameters, Path};
use crate::app::App;
use crate::auth::{Principal, roles_at};
use crate::problem::Problem;

/// Begins the cursors of roles that nobody made or that were made above: they stand before all others, whose
/// names have no such character.
const OF_OTHERS: &str = "\u{1}";

/// All services that are sold.
async fn sold(app: &App) -> Result<Vec<std::sync::Arc<ServiceView>>, Problem> {
    let mut query =
        Query { kind: Some("published".to_owned()), limit: LIST_MAX, ..Query::default() };
    let mut all = Vec::new();
    loop {
        let page = finder::list::<ServiceView>(app.database(), &Scope::catalogue(), &query).await?;
        query.after = page.items.last().map(|(cursor, _)| cursor.clone());
        all.extend(page.items.into_iter().map(|(_, view)| view));
        if !page.more {
            return Ok(all);
        }
    }
}

/// The roles that an organisation has and did not make: default ones, those of services, and those that it was
/// given.
async fn of_others(app: &App, view: &OrganizationView) -> Result<Vec<RoleResource>, Problem> {
    let fitting = DefaultRole::ALL.into_iter().filter(|role| role.fits_below(view.kind));
    let mut roles: Vec<_> = fitting.map(RoleResource::from).collect();
    for service in sold(app).await? {
        let published = service.published.iter().flat_map(|it| &it.roles);
        roles.extend(published.map(|role| RoleResource::of_service(&service.key, role)));
    }
    let given: Vec<_> = view.given.iter().map(|id| RoleRef::Custom(*id)).collect();
    let had = roles_at(app, view.id, &given, Begin::Had).await?;
    let dormant: BTreeSet<_> = had.dormant().iter().map(|(role, _)| role.to_string()).collect();
    let keys = given.iter().map(ToString::to_string).filter(|it| !dormant.contains(it)).collect();
    let found = finder::find_many::<RoleView>(app.database(), &Scope::catalogue(), keys).await?;
    roles.extend(found.values().map(|view| RoleResource::from(view.as_ref())));
    Ok(roles)
}

/// Every role that an organisation has: they can be given to its people, if they fit.
pub(crate) async fn had_by(
    app: &App,
    view: &OrganizationView,
) -> Result<Vec<RoleResource>, Problem> {
    let mut roles = of_others(app, view).await?;
    let owner = Some(view.id.to_string());
    let query = Query { owner, kind: Some("made".to_owned()), limit: LIST_MAX, ..Query::default() };
    let scope = Scope(view.path.clone());
    let made = finder::list::<RoleView>(app.database(), &scope, &query).await?;
    roles.extend(made.items.iter().map(|(_, view)| RoleResource::from(view.as_ref())));
    Ok(roles)
}

/// The caller's organisation.
pub(crate) async fn own(
    app: &App,
    principal: &Principal,
) -> Result<std::sync::Arc<OrganizationView>, Problem> {
    let id = principal.organization.to_string();
    let found = finder::find::<OrganizationView>(app.database(), &principal.scope(), &id).await?;
    found.ok_or_else(Problem::not_found)
}

/// Lists the roles that the caller's organisation has, and those that organisations below it made.
#[utoipa::path(get, path = "/api/v2/roles", tag = "Roles", params(ListParameters),
    responses((status = 200, body = ListResource<RoleResource>)))]
pub async fn list_roles(
    State(app): State<App>,
    reader: Reader,
    parameters: Parameters<ListParameters>,
) -> Answer {
    reader.0.require(Permission::ViewRoles)?;
    let mut query = parameters.take()?.query()?;
    query.kind = Some("made".to_owned());
    let limit = query.limit;
    let mut entries: Vec<(Cursor, RoleResource)> = Vec::new();
    let mut more = false;
    if query.after.as_ref().is_none_or(|after| after.sort == OF_OTHERS) {
        let seen = query.after.take();
        let organization = own(&app, &reader.0).await?;
        let others = of_others(&app, &organization).await?;
        let mut others: Vec<_> = others
            .into_iter()
            .map(|role| (Cursor { sort: OF_OTHERS.to_owned(), key: role.id.clone() }, role))
            .filter(|(cursor, _)| seen.as_ref().is_none_or(|seen| cursor.key > seen.key))
            .collect();
        others.sort_by(|(a, _), (b, _)| a.key.cmp(&b.key));
        more = others.len() > limit;
        others.truncate(limit);
        entries = others;
    }
    if !more {
        query.limit = limit - entries.len();
        let found = finder::list::<RoleView>(app.database(), &reader.0.scope(), &query).await?;
        more = found.more;
        let made = found.items.into_iter();
        entries.extend(made.map(|(cursor, view)| (cursor, RoleResource::from(view.as_ref()))));
    }
    let next = entries.last().filter(|_| more).map(|(cursor, _)| encode_cursor(cursor));
    let data = entries.into_iter().map(|(_, role)| role).collect();
    let json = serde_json::to_string(&ListResource { data, next });
    Ok(json_response(StatusCode::OK, json.expect("resources have text keys only")))
}

/// Makes a role.
#[utoipa::path(post, path = "/api/v2/roles", tag = "Roles", request_body = CreateRole,
    responses((status = 201, body = RoleResource)))]
pub async fn create_role(State(app): State<App>, call: Call) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::CreateRole { body }).await
}

/// Shows a role: a default one by its name, a custom one by its id, one of a service as `crm:agent`.
#[utoipa::path(get, path = "/api/v2/roles/{id}", tag = "Roles", params(("id" = String, Path)),
    responses((status = 200, body = RoleResource)))]
pub async fn get_role(State(app): State<App>, reader: Reader, Path(id): Path<String>) -> Answer {
    let role = match RoleRef::parse(&id).ok_or_else(Problem::not_found)? {
        RoleRef::Default(role) => {
            reader.0.require(Permission::ViewRoles)?;
            RoleResource::from(role)
        }
        RoleRef::OfService(service, key) => {
            reader.0.require(Permission::ViewRoles)?;
            let everything = Scope::catalogue();
            let view = finder::find::<ServiceView>(app.database(), &everything, service.as_str());
            let view = view.await?;
            let published = view.as_ref().and_then(|view| view.published.as_ref());
            let role = published.and_then(|it| it.roles.iter().find(|role| role.key == key));
            RoleResource::of_service(&service, role.ok_or_else(Problem::not_found)?)
        }
        role @ RoleRef::Custom(_) => {
            let everything = Scope::catalogue();
            let key = role.to_string();
            let view = finder::find::<RoleView>(app.database(), &everything, &key).await?;
            let view = view.filter(|view| !view.ended).ok_or_else(Problem::not_found)?;
            if reader.0.scope().0.contains(&view.path) {
                reader.0.permit(Permission::ViewRoles, &view.path).await?;
            } else {
                let had = roles_at(&app, reader.0.organization, &[role], Begin::Had).await?;
                if !had.dormant().is_empty() {
                    return Err(Problem::not_found());
                }
                reader.0.require(Permission::ViewRoles)?;
            }
            RoleResource::from(view.as_ref())
        }
    };
    Ok(resource(&role, role.version))
}

/// Changes a role for everybody who holds it, at once; what is left out stays as it is.
#[utoipa::path(patch, path = "/api/v2/roles/{id}", tag = "Roles", params(("id" = String, Path)),
    request_body = EditRole, responses((status = 200, body = RoleResource)))]
pub async fn edit_role(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    let (body, if_match) = (call.input()?, call.if_match);
    call.command(&app, Command::EditRole { id, body, if_match }).await
}

/// Ends a role, for everybody who holds it, at once.
#[utoipa::path(delete, path = "/api/v2/roles/{id}", tag = "Roles", params(("id" = String, Path)),
    responses((status = 204)))]
pub async fn delete_role(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    call.command(&app, Command::DeleteRole { id }).await
}

/// Makes a role like another one, which can then be edited.
#[utoipa::path(post, path = "/api/v2/roles/{id}/copy", tag = "Roles", params(("id" = String, Path)),
    request_body = CopyRole, responses((status = 201, body = RoleResource)))]
pub async fn copy_role(State(app): State<App>, Path(id): Path<String>, call: Call) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::CopyRole { id, body }).await
}

/// All of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Whole<T> {
    /// The entries.
    data: Vec<T>,
}

fn whole<T: Serialize>(data: Vec<T>) -> Answer {
    let json = serde_json::to_string(&Whole { data }).expect("resources have text keys only");
    Ok(json_response(StatusCode::OK, json))
}

/// Lists the roles that an organisation has: default ones, those of services, those that it made, those that it
/// was given.
#[utoipa::path(get, path = "/api/v2/organizations/{id}/roles", tag = "Roles",
    params(("id" = String, Path)), responses((status = 200, body = Whole<RoleResource>)))]
pub async fn list_of_organization(
    State(app): State<App>,
    reader: Reader,
    Path(id): Path<String>,
) -> Answer {
    let scope = reader.0.scope();
    let found = finder::find::<OrganizationView>(app.database(), &scope, &id).await?;
    let organization = found.ok_or_else(Problem::not_found)?;
    reader.0.permit(Permission::ViewRoles, &organization.path).await?;
    whole(had_by(&app, &organization).await?)
}

/// Gives an organisation below a role, for its people and to be passed on to those below it.
#[utoipa::path(put, path = "/api/v2/organizations/{id}/roles/{role}", tag = "Roles",
    params(("id" = String, Path), ("role" = String, Path)), request_body = Because,
    responses((status = 204)))]
pub async fn give_role(
    State(app): State<App>,
    Path((organization, role)): Path<(String, String)>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::GiveRole { organization, role, body }).await
}

/// Takes a role away from an organisation, and from all below it, at once.
#[utoipa::path(delete, path = "/api/v2/organizations/{id}/roles/{role}", tag = "Roles",
    params(("id" = String, Path), ("role" = String, Path)), responses((status = 204)))]
pub async fn take_role(
    State(app): State<App>,
    Path((organization, role)): Path<(String, String)>,
    call: Call,
) -> Answer {
    call.command(&app, Command::TakeRole { organization, role }).await
}

/// Every permission there is: Atrium's own, those that the provider declared, those of services.
pub(crate) async fn permissions(app: &App) -> Result<Vec<PermissionResource>, Problem> {
    let mut all: Vec<_> = Permission::ALL.into_iter().map(PermissionResource::from).collect();
    let mut query =
        Query { kind: Some("declared".to_owned()), limit: LIST_MAX, ..Query::default() };
    loop {
        let scope = Scope::catalogue();
        let page = finder::list::<PermissionView>(app.database(), &scope, &query).await?;
        query.after = page.items.last().map(|(cursor, _)| cursor.clone());
        all.extend(page.items.iter().map(|(_, view)| PermissionResource::from(view.as_ref())));
        if !page.more {
            break;
        }
    }
    for service in sold(app).await? {
        let declared = service.published.iter().flat_map(|it| &it.permissions);
        all.extend(declared.map(|it| PermissionResource::of_service(&service.key, it)));
    }
    Ok(all)
}

/// Lists every permission there is: what roles can hold.
#[utoipa::path(get, path = "/api/v2/permissions", tag = "Roles",
    responses((status = 200, body = Whole<PermissionResource>)))]
pub async fn list_permissions(State(app): State<App>, reader: Reader) -> Answer {
    reader.0.require(Permission::ViewRoles)?;
    whole(permissions(&app).await?)
}

/// Declares a permission of the installation's own, which pages and programs ask for, or describes it anew.
#[utoipa::path(put, path = "/api/v2/permissions/{key}", tag = "Roles",
    params(("key" = String, Path)), request_body = DeclarePermission,
    responses((status = 200, body = PermissionResource)))]
pub async fn declare_permission(
    State(app): State<App>,
    Path(key): Path<String>,
    call: Call,
) -> Answer {
    let body = call.input()?;
    call.command(&app, Command::DeclarePermission { key, body }).await
}

/// Withdraws a permission of the installation's own: nobody holds it any more, at once. Roles keep its name, and
/// hold it again if it is declared again.
#[utoipa::path(delete, path = "/api/v2/permissions/{key}", tag = "Roles",
    params(("key" = String, Path)), responses((status = 204)))]
pub async fn withdraw_permission(
    State(app): State<App>,
    Path(key): Path<String>,
    call: Call,
) -> Answer {
    call.command(&app, Command::WithdrawPermission { key }).await
}

/// Which permission, and where.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExplainParameters {
    /// Its name, e.g. `users.view`, `reports.monthly`, `crm:export`.
    pub permission: String,
    /// At which organisation; the user's own where it is left out.
    pub organization_id: Option<String>,
    /// For which user, of the caller's organisation or below; for the caller himself where it is left out. Asking for
    /// somebody else takes `roles.view`.
    pub user_id: Option<String>,
}

/// Whether the caller may do something, and why or why not.
#[derive(Clone, Debug, Serialize, SimpleObject, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The permission's name.
    pub permission: String,
    /// At which organisation.
    pub organization_id: Uuid,
    /// That organisation's id in the billing API.
    pub organization_number: u32,
    /// Whether he may.
    pub allowed: bool,
    /// Why, or why not.
    pub reason: String,
    /// Each role that has it, with the chain that leads there.
    pub ways: Vec<PermissionWay>,
    /// Where he may not: each of his roles, and why it does not give it.
    pub lacking: Vec<RoleWithout>,
}

/// How somebody comes by a permission.
#[derive(Clone, Debug, Serialize, SimpleObject, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PermissionWay {
    /// The role that he was given, the one that it includes, and so on to the one that has the permission.
    pub chain: Vec<RoleLink>,
    /// The service where that is so; none: wherever his organisation's scope reaches.
    pub service: Option<String>,
}

/// A link of a chain of roles.
#[derive(Clone, Debug, Serialize, SimpleObject, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleLink {
    /// What names the role.
    pub role: String,
    /// As people read it.
    pub name: String,
}

/// A role that does not give a permission.
#[derive(Clone, Debug, Serialize, SimpleObject, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoleWithout {
    /// What names the role.
    pub role: String,
    /// As people read it.
    pub name: String,
    /// Why it does not give it.
    pub why: String,
}

impl From<&Way> for PermissionWay {
    fn from(way: &Way) -> Self {
        let link = |link: &domain::authority::Link| RoleLink {
            role: link.role.to_string(),
            name: link.name.clone(),
        };
        Self {
            chain: way.chain.iter().map(link).collect(),
            service: way.service.as_ref().map(ToString::to_string),
        }
    }
}

/// Whether the caller may do something at an organisation that he sees, and why or why not.
pub(crate) async fn explanation(
    app: &App,
    principal: &Principal,
    permission: &str,
    (organization, path): (OrganizationId, &TenantPath),
) -> Result<Explanation, Problem> {
    let asked = known(app, permission).await?;
    let ways = principal.authority.ways(&asked);
    let place = (organization, path);
    let denied = match principal.permit(asked.clone(), path).await {
        Ok(()) => {
            let mut allowed = Explanation::denied(asked, place, given_by(&ways), vec![]);
            allowed.allowed = true;
            allowed
        }
        Err(problem) if problem.status == StatusCode::FORBIDDEN => {
            let roles = problem.lacking.into_iter().flat_map(|lacking| lacking.roles);
            let without = roles.map(|it| RoleWithout { role: it.role, name: it.name, why: it.why });
            Explanation::denied(asked, place, problem.detail, without.collect())
        }
        // Whoever asks sees it; he for whom it is asked does not.
        Err(problem) if problem.status == StatusCode::NOT_FOUND => {
            let reason =
                "The organisation is neither his own nor below it: for him, it is not there.";
            Explanation::denied(asked, place, reason.to_owned(), vec![])
        }
        Err(problem) => return Err(problem),
    };
    Ok(Explanation { ways: ways.iter().map(PermissionWay::from).collect(), ..denied })
}

/// The permission of a name.
async fn known(app: &App, permission: &str) -> Result<AnyPermission, Problem> {
    let none = || Problem::bad_parameter("permission", "There is no such permission.");
    let asked = AnyPermission::parse(permission).ok_or_else(none)?;
    if !matches!(asked, AnyPermission::Known(_)) {
        let is_it = |known: &PermissionResource| known.key == permission;
        if !permissions(app).await?.iter().any(is_it) {
            return Err(none());
        }
    }
    Ok(asked)
}

impl Explanation {
    fn denied(
        permission: AnyPermission,
        (organization, path): (OrganizationId, &TenantPath),
        reason: String,
        lacking: Vec<RoleWithout>,
    ) -> Self {
        Self {
            permission: permission.to_string(),
            organization_id: organization.0,
            organization_number: path.number().unwrap_or_default(),
            allowed: false,
            reason,
            ways: vec![],
            lacking,
        }
    }
}

/// Which roles give it, in words.
fn given_by(ways: &[Way]) -> String {
    let said = ways.iter().map(|way| {
        let names: Vec<_> = way.chain.iter().map(|link| link.name.as_str()).collect();
        let chain = names.join(", which includes ");
        match &way.service {
            Some(service) => format!("{chain}, where {service} is held"),
            None => chain,
        }
    });
    format!("It comes with {}.", said.collect::<Vec<_>>().join("; and with "))
}

/// Says whether somebody, the caller or a user below, may do something at an organisation, and which role gives it
/// through which chain, or what is missing.
#[utoipa::path(get, path = "/api/v2/explain", tag = "Roles", params(ExplainParameters),
    responses((status = 200, body = Explanation)))]
pub async fn explain(
    State(app): State<App>,
    reader: Reader,
    parameters: Parameters<ExplainParameters>,
) -> Answer {
    let parameters = parameters.take()?;
    let principal = &reader.0;
    let scope = principal.scope();
    let user = match &parameters.user_id {
        None => None,
        Some(id) => {
            let found = finder::find::<UserView>(app.database(), &scope, id).await?;
            let user = found.ok_or_else(Problem::not_found)?;
            principal.permit(Permission::ViewRoles, &user.path).await?;
            Some(user)
        }
    };
    let organization = match (&parameters.organization_id, &user) {
        (None, None) => own(&app, principal).await?,
        (Some(id), _) => {
            let found = finder::find::<OrganizationView>(app.database(), &scope, id).await?;
            found.ok_or_else(Problem::not_found)?
        }
        (None, Some(user)) => {
            let id = user.organization.to_string();
            let found = finder::find::<OrganizationView>(app.database(), &scope, &id).await?;
            found.ok_or_else(Problem::not_found)?
        }
    };
    let place = (organization.id, &organization.path);
    let permission = &parameters.permission;
    let explanation = match user {
        None => explanation(&app, principal, permission, place).await?,
        Some(user) => match principal.another(user.id).await? {
            Some(other) => explanation(&app, &other, permission, place).await?,
            None => {
                let reason = format!(
                    "The user, or an organisation above, is not in use: he is {}.",
                    user.status.name()
                );
                Explanation::denied(known(&app, permission).await?, place, reason, vec![])
            }
        },
    };
    let json = serde_json::to_string(&explanation).expect("resources have text keys only");
    Ok(json_response(StatusCode::OK, json))
}
