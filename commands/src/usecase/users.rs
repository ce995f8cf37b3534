//! Users, their roles, tokens and sessions.

use chrono::{DateTime, Utc};
use domain::authority::{Begin, Dormant};
use domain::custom_fields::CustomFields;
use domain::event::Actor;
use domain::lifecycle::Status;
use domain::organization::{Kind, Organization, Purpose};
use domain::permission::Permission;
use domain::role::{DefaultRole, RoleRef};
use domain::seal::{Identity, LoginHash};
use domain::text::{Address, name};
use domain::user::{Credential, Impersonation, Person, Proof, User, UserCommand};
use domain::{Faults, OrganizationId, Refusal, TenantPath, TokenId, UserId};
use projections::views::{NameView, OrganizationView, UserView, login_key};
use serde::Deserialize;
use utoipa::ToSchema;

use super::organizations::{
    Because, CustomFieldsText, PurposeText, change_fields, ensure_active, taken,
};
use super::{ensure_seen, managers, optional_reason, roles, some_of, subscriptions, take_reason};
use crate::body::present;
use crate::error::Stop;
use crate::resource::{SealedUserResource, TokenResource};
use crate::unit::Unit;
use crate::{Input, Password, Reply};

/// Days that a token lives where its maker does not say.
const TOKEN_DAYS: i64 = 365;
/// Most days that a token can live.
const TOKEN_DAYS_MAX: i64 = 3_650;
/// Longest name of a token, in characters.
const TOKEN_NAME_MAX_CHARS: usize = 100;
/// Most roles that a user is given.
const ROLES_MAX: usize = 50;

/// A new user.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateUser {
    /// First name.
    pub first_name: String,
    /// Last name.
    pub last_name: String,
    /// Mail address.
    pub email: String,
    /// Unique name to sign in with; the mail address where it is left out.
    pub login: Option<String>,
    /// Where in the organisation.
    pub department: Option<String>,
    /// Where in the world.
    pub location: Option<String>,
    /// What your own systems keep of the user: up to 50 texts by the names of their fields.
    pub custom_fields: Option<CustomFieldsText>,
    /// What he may do: default roles by name, custom ones by id, those of services as `crm:agent`. The first user of
    /// a customer is its administrator
    /// where this is left out.
    pub roles: Option<Vec<String>>,
    /// The id of his manager: a user of the same organisation, or of one above it.
    pub manager_id: Option<String>,
    /// Why he is there; `standard` where it is left out. Nothing personal: billable rules can look at it.
    #[serde(rename = "type")]
    pub purpose: Option<PurposeText>,
    /// How he signs in: 10 to 200 characters. Without it he cannot, yet.
    pub password: Option<Password>,
}

/// Changes to a user: what is left out stays as it is.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EditUser {
    /// First name.
    pub first_name: Option<String>,
    /// Last name.
    pub last_name: Option<String>,
    /// Mail address.
    pub email: Option<String>,
    /// Unique name to sign in with.
    pub login: Option<String>,
    /// Where in the organisation; `null` removes it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub department: Option<Option<String>>,
    /// Where in the world; `null` removes it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub location: Option<Option<String>>,
    /// These fields are set; `null` removes one, and the others stay as they are.
    pub custom_fields: Option<CustomFieldsText>,
    /// The id of his manager: a user of the same organisation, or of one above it; `null`: nobody.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub manager_id: Option<Option<String>>,
    /// Why he is there.
    #[serde(rename = "type")]
    pub purpose: Option<PurposeText>,
}

/// What would be printed of a person ends up in a log.
macro_rules! never_printed {
    ($($body:ident),*) => {
        $(impl std::fmt::Debug for $body {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($body), "(***)"))
            }
        })*
    };
}

never_printed!(CreateUser, EditUser);

/// Exactly these roles.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AssignRoles {
    /// Default roles by name, e.g. `Customer Administrator`; custom ones by id; those of services as `crm:agent`.
    pub roles: Vec<String>,
    /// Kept with the event.
    pub reason: Option<String>,
}

/// A new API token.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateToken {
    /// What it is for.
    pub name: String,
    /// Days until it ends by itself, 1 to 3650; 365 where it is left out.
    pub days: Option<i64>,
}

/// What the edge makes for a token or session. The secret itself does not come here.
#[derive(Clone, Debug)]
pub struct NewCredential {
    /// As people see it.
    pub id: TokenId,
    /// Of its secret part.
    pub proof: Proof,
    /// When it ends by itself, for a session.
    pub expires_at: DateTime<Utc>,
}

/// The roles that these texts name, for somebody of an organisation who has some already.
fn granted(
    names: &[String],
    unit: &mut Unit<'_>,
    organization: OrganizationId,
    has: &[RoleRef],
    faults: &mut Faults,
) -> Result<Vec<RoleRef>, Stop> {
    let authority = unit.authority()?;
    let mut known = unit.roles_at(organization)?;
    let kind = known.kind().map_or("place", Kind::name);
    let mut roles = Vec::new();
    faults.ensure(names.len() <= ROLES_MAX, "/roles", "too_many", "These are too many roles.");
    for (index, name) in names.iter().take(ROLES_MAX).enumerate() {
        let pointer = format!("/roles/{index}");
        let Some(role) = RoleRef::parse(name) else {
            faults.add(&pointer, "unknown_role", unknown_role());
            continue;
        };
        // What somebody has already, nobody grants.
        if !has.contains(&role) {
            let granted = unit.follow(&mut known, std::slice::from_ref(&role), Begin::Given);
            match granted.dormant().first().map(|(_, dormant)| dormant) {
                Some(Dormant::OtherKind) => {
                    let detail = format!("Nobody in a {kind} can have this role.");
                    faults.add(&pointer, "role_does_not_fit", detail);
                }
                Some(Dormant::NotGiven(number)) if roles::is_seen(unit, &role)? => {
                    let detail = format!("Organisation {number} was not given this role.");
                    faults.add(&pointer, "role_not_given", detail);
                }
                Some(Dormant::NotGiven(_) | Dormant::Ended) => {
                    faults.add(&pointer, "unknown_role", unknown_role());
                    continue;
                }
                None => {}
            }
            let lacking = authority.as_ref().and_then(|mine| mine.lacks_of(&granted));
            if let Some(lacking) = lacking {
                let detail = format!("You cannot grant what you do not hold yourself: {lacking}.");
                faults.add(&pointer, "beyond_your_own", detail);
            }
        }
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    roles.sort();
    Ok(roles)
}

fn unknown_role() -> String {
    let known: Vec<_> = DefaultRole::ALL.into_iter().map(DefaultRole::name).collect();
    format!(
        "There is no such role; there are {}, custom roles by id, and those of services.",
        known.join(", ")
    )
}

pub(crate) fn create(
    unit: &mut Unit<'_>,
    organization: &str,
    body: Input<CreateUser>,
    password: Option<Proof>,
) -> Result<Reply, Stop> {
    let path = unit.path_of(organization)?;
    unit.permit(Permission::ManageUsers, &path)?;
    let body = unit.take(body)?;
    let organization: OrganizationId = organization.parse().map_err(|_| Refusal::not_found())?;
    let lineage = super::lineage(unit, organization)?;
    ensure_active(unit, &lineage)?;

    let kind = unit.load::<Organization>(organization).founded()?.kind;
    let mut faults = Faults::default();
    let first_name = faults.take("/firstName", name(&body.first_name));
    let last_name = faults.take("/lastName", name(&body.last_name));
    let email = faults.take("/email", Address::parse(&body.email));
    let login = match &body.login {
        Some(login) => faults.take("/login", Address::parse(login)),
        None => email.clone(),
    };
    let department = optional_line(&mut faults, "/department", body.department.as_deref());
    let location = optional_line(&mut faults, "/location", body.location.as_deref());
    let mut custom_fields = CustomFields::default();
    change_fields(&mut custom_fields, body.custom_fields.as_ref(), &mut faults);
    let roles = match &body.roles {
        Some(names) => granted(names, unit, organization, &[], &mut faults)?,
        None => first_users_roles(unit, organization, kind)?,
    };
    let manager = match &body.manager_id {
        Some(text) => managers::named(unit, text, None, &path, &mut faults)?,
        None => None,
    };
    if body.password.as_ref().is_some_and(|password| !password.is_acceptable()) {
        faults.add("/password", "bad_password", "A password has 10 to 200 characters.");
    }
    faults.check()?;
    let (Some(first_name), Some(last_name), Some(email), Some(login)) =
        (first_name, last_name, email, login)
    else {
        unreachable!("checked above")
    };
    let person = Person {
        department,
        location,
        custom_fields,
        ..Person::new(&first_name, &last_name, email, login)
    };

    let id = UserId(unit.id());
    unit.begin::<User>(id);
    ensure_login_is_free(unit, id, &person.login)?;
    let purpose = body.purpose.map(Purpose::from).unwrap_or_default();
    let person = Identity { purpose, ..unit.seal_anew(id, &person) };
    let command = UserCommand::Create { id, organization, person, roles, manager, password };
    unit.execute::<User>(id, &path, command)?;
    let resource = resource(unit, id)?;
    Ok(Reply::created(format!("/users/{id}"), &resource, resource.version))
}

/// The first user of a customer is its administrator (service-model.md, section 8), if whoever adds him could
/// make him that.
fn first_users_roles(
    unit: &mut Unit<'_>,
    organization: OrganizationId,
    kind: Kind,
) -> Result<Vec<RoleRef>, Stop> {
    let view = unit.view::<OrganizationView>(&organization.to_string());
    if kind != Kind::Customer || view.is_none_or(|view| view.users_added > 0) {
        return Ok(vec![]);
    }
    let roles = vec![RoleRef::from(DefaultRole::CustomerAdministrator)];
    let mut known = unit.roles_at(organization)?;
    let granted = unit.follow(&mut known, &roles, Begin::Given);
    let lacking = unit.authority()?.and_then(|mine| mine.lacks_of(&granted));
    Ok(if lacking.is_none() { roles } else { vec![] })
}

/// A line of a body's field, if it has one.
fn optional_line(faults: &mut Faults, pointer: &str, text: Option<&str>) -> Option<String> {
    text.and_then(|text| faults.take(pointer, name(text)))
}

pub(crate) fn edit(
    unit: &mut Unit<'_>,
    id: &str,
    body: Input<EditUser>,
    if_match: Option<u64>,
) -> Result<Reply, Stop> {
    let (id, path) = find(unit, id)?;
    unit.permit(Permission::ManageUsers, &path)?;
    let body = unit.take(body)?;
    let seen = unit.view::<UserView>(&id.to_string());
    ensure_seen(if_match, seen.map(|view| view.version))?;

    let known = unit.load::<User>(id).person()?.clone();
    let before = unit.open(id, &known.sealed)?;
    let mut person = before.clone();
    let mut faults = Faults::default();
    let mut set = |field: &mut String, pointer, text: &Option<String>| {
        if let Some(name) = text.as_deref().and_then(|text| faults.take(pointer, name(text))) {
            *field = name;
        }
    };
    set(&mut person.first_name, "/firstName", &body.first_name);
    set(&mut person.last_name, "/lastName", &body.last_name);
    let mut set = |field: &mut Address, pointer, text: &Option<String>| {
        let parsed = text.as_deref().map(Address::parse);
        if let Some(address) = parsed.and_then(|parsed| faults.take(pointer, parsed)) {
            *field = address;
        }
    };
    set(&mut person.email, "/email", &body.email);
    set(&mut person.login, "/login", &body.login);
    if let Some(department) = &body.department {
        person.department = optional_line(&mut faults, "/department", department.as_deref());
    }
    if let Some(location) = &body.location {
        person.location = optional_line(&mut faults, "/location", location.as_deref());
    }
    change_fields(&mut person.custom_fields, body.custom_fields.as_ref(), &mut faults);
    let manager = match &body.manager_id {
        Some(Some(text)) => Some(managers::named(unit, text, Some(id), &path, &mut faults)?),
        Some(None) => Some(None),
        None => None,
    };
    faults.check()?;
    ensure_login_is_free(unit, id, &person.login)?;
    // Sealed once more, the same person would look like another one.
    let purpose = body.purpose.map_or(known.purpose, Purpose::from);
    let identity = if person == before { known } else { unit.seal(id, &person) };
    let identity = Identity { purpose, ..identity };
    unit.execute::<User>(id, &path, UserCommand::Edit(identity))?;
    if let Some(manager) = manager {
        unit.execute::<User>(id, &path, UserCommand::SetManager(manager))?;
    }
    done(unit, id)
}

/// Forgets who somebody is, for good: what is stored of him can be read no more, and what he held stays in the
/// ledger as it is.
pub(crate) fn erase(unit: &mut Unit<'_>, id: &str, body: Input<Because>) -> Result<Reply, Stop> {
    let (id, path) = find(unit, id)?;
    unit.permit(Permission::ManageUsers, &path)?;
    if unit.caller().acts_as() == Some(id) {
        return Err(Refusal::conflict(
            "yourself",
            "You cannot erase yourself; somebody else who manages users can.",
        )
        .into());
    }
    let reason = take_reason(unit, body)?;
    ensure_holds_nothing(unit, id)?;
    unit.because(None, reason);
    unit.execute::<User>(id, &path, UserCommand::Erase)?;
    if unit.has_decided() {
        unit.take_key_away(id);
    }
    done(unit, id)
}

/// Nobody is erased for whom something is still to be done or charged.
fn ensure_holds_nothing(unit: &mut Unit<'_>, id: UserId) -> Result<(), Stop> {
    let mut left = unit.held_by(id);
    left.retain(|view| subscriptions::is_to_end(unit, view));
    if left.is_empty() {
        return Ok(());
    }
    let left: Vec<_> = left.iter().map(|view| format!("{} ({})", view.service, view.id)).collect();
    Err(Refusal::conflict(
        "holds_services",
        format!(
            "The user still holds {}; deprovision these first \
             (POST /api/v2/subscriptions/{{id}}/deprovision), as of now or earlier.",
            some_of(&left)
        ),
    )
    .into())
}

pub(crate) fn assign_roles(
    unit: &mut Unit<'_>,
    id: &str,
    body: Input<AssignRoles>,
) -> Result<Reply, Stop> {
    let (id, path) = find(unit, id)?;
    unit.permit(Permission::ManageUsers, &path)?;
    let body = unit.take(body)?;
    let organization = unit.load::<User>(id).known()?.organization;
    let has = unit.load::<User>(id).roles.clone();
    let mut faults = Faults::default();
    let roles = granted(&body.roles, unit, organization, &has, &mut faults)?;
    let reason = optional_reason(&mut faults, body.reason.as_deref());
    faults.check()?;
    unit.because(None, reason);
    unit.execute::<User>(id, &path, UserCommand::AssignRoles(roles))?;
    done(unit, id)
}

pub(crate) fn create_token(
    unit: &mut Unit<'_>,
    user: &str,
    body: Input<CreateToken>,
    token: NewCredential,
) -> Result<Reply, Stop> {
    let (id, path) = own(unit, user)?;
    unit.require(Permission::HoldTokens)?;
    let mine = unit.authority()?;
    if let Some(lacking) = mine.and_then(|mine| mine.real()?.lacks_of(&mine)) {
        // The token would outlive the impersonation, and with it the bounds of whoever made it.
        return Err(Refusal::forbidden(format!(
            "You act as somebody who may do more than you ({lacking}), so you cannot make tokens for him."
        ))
        .into());
    }
    let body = unit.take(body)?;
    let mut faults = Faults::default();
    let name = faults.take("/name", domain::text::line(&body.name, TOKEN_NAME_MAX_CHARS));
    let days = body.days.unwrap_or(TOKEN_DAYS);
    if !(1..=TOKEN_DAYS_MAX).contains(&days) {
        faults.add("/days", "out_of_range", format!("A token lives 1 to {TOKEN_DAYS_MAX} days."));
    }
    faults.check()?;
    let credential = Credential {
        created_at: unit.now(),
        expires_at: unit.now() + chrono::Duration::days(days),
        id: token.id,
        name: name.unwrap_or_default(),
        proof: token.proof,
    };
    let resource = TokenResource::from(&credential);
    unit.execute::<User>(id, &path, UserCommand::CreateToken(credential))?;
    Ok(Reply::created(format!("/users/{id}/tokens/{}", resource.id), &resource, 1))
}

pub(crate) fn delete_token(unit: &mut Unit<'_>, user: &str, token: &str) -> Result<Reply, Stop> {
    let (id, path) = own(unit, user)?;
    let token: TokenId = token.parse().map_err(|_| Refusal::not_found())?;
    unit.execute::<User>(id, &path, UserCommand::DeleteToken(token))?;
    Ok(Reply::nothing())
}

pub(crate) fn sign_in(unit: &mut Unit<'_>, session: NewCredential) -> Result<Reply, Stop> {
    let (id, path) = myself(unit)?;
    let credential = Credential {
        created_at: unit.now(),
        expires_at: session.expires_at,
        id: session.id,
        name: "session".to_owned(),
        proof: session.proof,
    };
    let resource = TokenResource::from(&credential);
    unit.execute::<User>(id, &path, UserCommand::SignIn(credential))?;
    Ok(Reply::created("/session".to_owned(), &resource, 1))
}

pub(crate) fn sign_out(unit: &mut Unit<'_>, session: TokenId) -> Result<Reply, Stop> {
    let (id, path) = myself(unit)?;
    unit.execute::<User>(id, &path, UserCommand::SignOut(session))?;
    Ok(Reply::nothing())
}

/// Lets somebody of an organisation above act as a user for a while.
pub(crate) fn impersonate(
    unit: &mut Unit<'_>,
    user: &str,
    body: Input<Because>,
    began_with: TokenId,
    session: NewCredential,
) -> Result<Reply, Stop> {
    let (id, path) = find(unit, user)?;
    unit.permit(Permission::ImpersonateUsers, &path)?;
    let Actor::User(by) = unit.caller().actor else { return Err(Stop::Unauthenticated) };
    let authority = unit.authority()?.ok_or(Stop::Unauthenticated)?;
    // Not where it comes with a service: what is held may change while he acts.
    if authority.path == path || !authority.holds(Permission::ImpersonateUsers) {
        let detail = "Only users of organisations below your own can be impersonated, whatever your \
                      roles: this takes users.impersonate at an organisation above.";
        return Err(Refusal::forbidden(detail).into());
    }
    let body = unit.take(body)?;
    if authority.is_impersonated() {
        let detail = "You act as somebody else already; stop that first.";
        return Err(Refusal::conflict("already_impersonating", detail).into());
    }
    let mut faults = Faults::default();
    let reason = optional_reason(&mut faults, body.reason.as_deref());
    faults.check()?;
    let organization = unit.load::<User>(id).known()?.organization;
    let lineage = super::lineage(unit, organization)?;
    ensure_active(unit, &lineage)?;
    unit.because(None, reason);
    let credential = Credential {
        created_at: unit.now(),
        expires_at: session.expires_at,
        id: session.id,
        name: "impersonation".to_owned(),
        proof: session.proof,
    };
    let resource = TokenResource::from(&credential);
    let command = UserCommand::Impersonate(Impersonation { began_with, by, credential });
    unit.execute::<User>(id, &path, command)?;
    Ok(Reply::created("/session".to_owned(), &resource, 1))
}

/// Stops acting as the one as whom the caller acts.
pub(crate) fn end_impersonation(unit: &mut Unit<'_>, session: TokenId) -> Result<Reply, Stop> {
    let (id, path) = myself(unit)?;
    unit.execute::<User>(id, &path, UserCommand::EndImpersonation(session))?;
    Ok(Reply::nothing())
}

fn myself(unit: &mut Unit<'_>) -> Result<(UserId, TenantPath), Stop> {
    unit.authority()?;
    match unit.caller().acts_as() {
        Some(id) => find(unit, &id.to_string()),
        None => Err(Stop::Unauthenticated),
    }
}

/// A user's tokens are his own affair: others see that he is there, and may not touch them.
fn own(unit: &mut Unit<'_>, user: &str) -> Result<(UserId, TenantPath), Stop> {
    let (id, path) = find(unit, user)?;
    unit.permit(Permission::HoldTokens, &path)?;
    match unit.caller().acts_as() {
        Some(caller) if caller != id => {
            Err(Refusal::forbidden("This takes the permission tokens.hold, as that user himself.")
                .into())
        }
        Some(_) | None => Ok((id, path)),
    }
}

/// A user, and the path of his organisation.
pub(crate) fn find(unit: &mut Unit<'_>, id: &str) -> Result<(UserId, TenantPath), Stop> {
    let id: UserId = id.parse().map_err(|_| Refusal::not_found())?;
    let organization = unit.load::<User>(id).known()?.organization;
    let path = unit.load::<Organization>(organization).founded()?.path.clone();
    Ok((id, path))
}

fn ensure_login_is_free(unit: &mut Unit<'_>, id: UserId, login: &Address) -> Result<(), Stop> {
    let hashes = unit.vault().logins(login);
    for hash in &hashes {
        let Some(name) = unit.view::<NameView>(&login_key(hash)) else {
            continue;
        };
        let owner = UserId(name.owner);
        if owner != id && has_login(unit, owner, &hashes)? {
            return Err(taken("login", "Another user has this login."));
        }
    }
    Ok(())
}

/// The user who has a login.
pub(super) fn by_login(unit: &mut Unit<'_>, login: &Address) -> Result<Option<UserId>, Stop> {
    let hashes = unit.vault().logins(login);
    for hash in &hashes {
        let Some(name) = unit.view::<NameView>(&login_key(hash)) else { continue };
        let owner = UserId(name.owner);
        if has_login(unit, owner, &hashes)? {
            return Ok(Some(owner));
        }
    }
    Ok(None)
}

/// Whether somebody who took a login once has it still.
fn has_login(unit: &mut Unit<'_>, id: UserId, hashes: &[LoginHash]) -> Result<bool, Stop> {
    let user = unit.load::<User>(id);
    let has_it = |person: &Identity| hashes.contains(&person.login);
    Ok(user.known()?.person.as_ref().is_some_and(has_it))
}

fn resource(unit: &mut Unit<'_>, id: UserId) -> Result<SealedUserResource, Stop> {
    let view = unit.view::<UserView>(&id.to_string());
    Ok(SealedUserResource::from(view.ok_or_else(Refusal::not_found)?.as_ref()))
}

pub(crate) fn done(unit: &mut Unit<'_>, id: UserId) -> Result<Reply, Stop> {
    let resource = resource(unit, id)?;
    Ok(Reply::done(&resource, resource.version))
}

/// Why nothing can be provisioned to a user of that status, if that is so.
#[must_use]
pub fn not_in_use(status: Status) -> Option<Refusal> {
    if status == Status::Active {
        return None;
    }
    let undo = if status == Status::Deleted { "restore and enable" } else { "enable" };
    let detail = format!("The user is {}; {undo} him first.", status.name());
    Some(Refusal::conflict("user_disabled", detail))
}

/// Whether a user is in use.
pub(crate) fn ensure_user_active(unit: &mut Unit<'_>, id: UserId) -> Result<(), Stop> {
    let user = unit.load::<User>(id);
    user.person()?;
    not_in_use(user.status).map_or(Ok(()), |refusal| Err(refusal.into()))
}
