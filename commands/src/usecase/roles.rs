//! Roles that organisations make, give and take away; and permissions of the installation's own.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::authority::{Authority, Begin, Dormant, Known};
use domain::organization::{Organization, OrganizationCommand};
use domain::permission::{
    AnyPermission, CustomPermission, Declaration, Permission, PermissionCommand,
};
use domain::role::{
    DEPTH_MAX, DefaultRole, INCLUDES_MAX, MADE_MAX, PERMISSIONS_MAX, Role, RoleCommand,
    RoleContent, RoleRef, longest_chain,
};
use domain::text::{name, note};
use domain::{Faults, OrganizationId, PermissionKey, Refusal, RoleId, RoleKey, TenantPath};
use projections::views::{
    NameView, OrganizationView, PermissionView, RoleView, ServiceView, role_name_key,
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::organizations::{Because, own_organization, taken};
use super::{ensure_seen, parent, take_reason};
use crate::error::Stop;
use crate::resource::{PermissionResource, RoleResource};
use crate::unit::Unit;
use crate::{Input, Reply};

/// A new role.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateRole {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// What its holder may do, e.g. `users.view`.
    #[serde(default)]
    pub permissions: Vec<String>,
    /// Roles that are a part of it: default roles by name, custom ones by id, those of services as `crm:agent`.
    #[serde(default)]
    pub includes: Vec<String>,
    /// Who makes it; the caller's own organisation where it is left out.
    pub organization_id: Option<String>,
}

/// Changes to a role: what is left out stays as it is.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EditRole {
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What its holder may do: all of it.
    pub permissions: Option<Vec<String>>,
    /// Roles that are a part of it: all of them.
    pub includes: Option<Vec<String>>,
}

/// A role like another one.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CopyRole {
    /// The copy's name.
    pub name: String,
    /// Who makes it; the caller's own organisation where it is left out.
    pub organization_id: Option<String>,
}

/// A custom permission.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeclarePermission {
    /// As people read it.
    pub name: String,
    /// What it lets somebody do.
    #[serde(default)]
    pub description: String,
}

/// Whether the caller sees a role: it is not some other tenant's.
pub(crate) fn is_seen(unit: &mut Unit<'_>, role: &RoleRef) -> Result<bool, Stop> {
    let RoleRef::Custom(id) = role else { return Ok(true) };
    let Some(view) = unit.view::<RoleView>(&id.to_string()).filter(|view| !view.ended) else {
        return Ok(false);
    };
    let Some(authority) = unit.authority()? else { return Ok(true) };
    if authority.path.contains(&view.path) {
        return Ok(true);
    }
    let own = own_organization(unit)?;
    let mut known = unit.roles_at(own)?;
    Ok(unit.follow(&mut known, std::slice::from_ref(role), Begin::Had).dormant().is_empty())
}

/// A role that an organisation made, for who may change it. Others that the caller sees cannot be changed.
fn find(unit: &mut Unit<'_>, id: &str) -> Result<(RoleId, OrganizationId, TenantPath), Stop> {
    let role = RoleRef::parse(id).ok_or_else(Refusal::not_found)?;
    let id = match &role {
        RoleRef::Custom(id) => *id,
        RoleRef::Default(_) => {
            unit.require(Permission::ManageRoles)?;
            let detail = "Default roles cannot be edited or deleted; copy this one.";
            return Err(Refusal::conflict("default_role", detail).into());
        }
        RoleRef::OfService(service, _) => {
            unit.require(Permission::ManageRoles)?;
            service_role(unit, &role).ok_or_else(Refusal::not_found)?;
            let detail =
                format!("This role is a part of the definition of {service}; change that.");
            return Err(Refusal::conflict("role_of_service", detail).into());
        }
    };
    let made = unit.load::<Role>(id).made()?.organization;
    let path = unit.path_of(&made.to_string())?;
    if is_seen(unit, &role)? && unit.authority()?.is_some_and(|it| !it.path.contains(&path)) {
        let detail = "This role was made by an organisation above yours, and is edited there.";
        return Err(Refusal::forbidden(detail).into());
    }
    unit.permit(Permission::ManageRoles, &path)?;
    Ok((id, made, path))
}

/// The name of a role that a service brings.
fn service_role(unit: &mut Unit<'_>, role: &RoleRef) -> Option<String> {
    let RoleRef::OfService(service, key) = role else { return None };
    let view = unit.view::<ServiceView>(service.as_str())?;
    let role = view.published.as_ref()?.roles.iter().find(|role| role.key == *key)?;
    Some(role.name.clone())
}

/// Whether there is a custom permission of that name.
fn is_declared(unit: &mut Unit<'_>, permission: &AnyPermission) -> bool {
    match permission {
        AnyPermission::Known(_) => true,
        AnyPermission::Declared(key) => {
            unit.view::<PermissionView>(key.as_str()).is_some_and(|view| !view.withdrawn)
        }
        AnyPermission::OfService(service, key) => {
            let view = unit.view::<ServiceView>(service.as_str());
            let published = view.as_ref().and_then(|view| view.published.as_ref());
            published.is_some_and(|it| it.permissions.iter().any(|declared| declared.key == *key))
        }
    }
}

/// What a role is to be, checked against what its maker has.
struct Wish<'a> {
    /// Whose role it is.
    known: Known,
    /// Who wishes it; none: Atrium itself.
    authority: Option<Arc<Authority>>,
    /// The role, where it is there already.
    role: Option<RoleId>,
    /// What it is now.
    before: RoleContent,
    faults: &'a mut Faults,
}

impl<'a> Wish<'a> {
    fn new(
        unit: &mut Unit<'_>,
        organization: OrganizationId,
        (role, before): (Option<RoleId>, RoleContent),
        faults: &'a mut Faults,
    ) -> Result<Self, Stop> {
        let (known, authority) = (unit.roles_at(organization)?, unit.authority()?);
        Ok(Self { known, authority, role, before, faults })
    }

    fn permissions(&mut self, unit: &mut Unit<'_>, names: &[String]) -> BTreeSet<AnyPermission> {
        let detail = "These are too many permissions.";
        self.faults.ensure(names.len() <= PERMISSIONS_MAX, "/permissions", "too_many", detail);
        let mut permissions = BTreeSet::new();
        for (index, name) in names.iter().take(PERMISSIONS_MAX).enumerate() {
            let at = format!("/permissions/{index}");
            let parsed = AnyPermission::parse(name);
            // What it names already may stay, also what was withdrawn meanwhile.
            let has = |it: &AnyPermission| self.before.permissions.contains(it);
            let parsed = parsed.filter(|parsed| has(parsed) || is_declared(unit, parsed));
            let Some(permission) = parsed else {
                let detail = "There is no such permission; GET /api/v2/permissions lists them.";
                self.faults.add(&at, "unknown_permission", detail);
                continue;
            };
            let lacks = self.authority.as_ref().is_some_and(|mine| mine.lacks(&permission));
            if lacks && !has(&permission) {
                let detail =
                    format!("You cannot grant what you do not hold yourself: {permission}.");
                self.faults.add(&at, "beyond_your_own", detail);
            }
            permissions.insert(permission);
        }
        permissions
    }

    fn includes(
        &mut self,
        unit: &mut Unit<'_>,
        names: &[String],
    ) -> Result<BTreeSet<RoleRef>, Stop> {
        let detail = "These are too many roles.";
        self.faults.ensure(names.len() <= INCLUDES_MAX, "/includes", "too_many", detail);
        let mut includes = BTreeSet::new();
        for (index, name) in names.iter().take(INCLUDES_MAX).enumerate() {
            let at = format!("/includes/{index}");
            let Some(include) = RoleRef::parse(name) else {
                self.faults.add(&at, "unknown_role", "There is no such role.");
                continue;
            };
            if !self.before.includes.contains(&include) {
                self.include(unit, &at, &include)?;
            }
            let below = BTreeSet::from([include.clone()]);
            match longest_chain(self.role, &below, |role| included_in(unit, role)) {
                None => self.faults.add(&at, "circle", "The role would be a part of itself."),
                Some(links) if links > DEPTH_MAX => {
                    let detail = format!("A chain of roles has at most {DEPTH_MAX} links.");
                    self.faults.add(&at, "too_deep", detail);
                }
                Some(_) => {}
            }
            includes.insert(include);
        }
        Ok(includes)
    }

    /// One more role that is to be a part of it.
    fn include(&mut self, unit: &mut Unit<'_>, at: &str, include: &RoleRef) -> Result<(), Stop> {
        let had = unit.follow(&mut self.known, std::slice::from_ref(include), Begin::Had);
        if let Some((_, dormant)) = had.dormant().first() {
            let is_there = *dormant != Dormant::Ended && is_seen(unit, include)?;
            let (code, detail) = if is_there {
                let detail =
                    format!("The organisation does not have this role: {}.", dormant.why());
                ("role_not_given", detail)
            } else {
                ("unknown_role", "There is no such role.".to_owned())
            };
            self.faults.add(at, code, detail);
            return Ok(());
        }
        if let Some(lacking) = self.authority.as_ref().and_then(|mine| mine.lacks_of(&had)) {
            let detail = format!("You cannot grant what you do not hold yourself: {lacking}.");
            self.faults.add(at, "beyond_your_own", detail);
        }
        Ok(())
    }
}

/// The roles that are a part of a role.
fn included_in(unit: &mut Unit<'_>, role: &RoleRef) -> BTreeSet<RoleRef> {
    match role {
        RoleRef::Default(_) => BTreeSet::new(),
        RoleRef::Custom(id) => {
            let view = unit.view::<RoleView>(&id.to_string()).filter(|view| !view.ended);
            view.map(|view| view.content.includes.clone()).unwrap_or_default()
        }
        RoleRef::OfService(service, key) => {
            let view = unit.view::<ServiceView>(service.as_str());
            let published = view.as_ref().and_then(|view| view.published.as_ref());
            let roles = published.into_iter().flat_map(|it| &it.roles).filter(|it| it.key == *key);
            let of_service = |key: &_| RoleRef::OfService(service.clone(), RoleKey::clone(key));
            roles.flat_map(|role| &role.includes).map(of_service).collect()
        }
    }
}

/// Where a new role is made, and that the caller may make one there.
fn place(
    unit: &mut Unit<'_>,
    wished: Option<String>,
) -> Result<(OrganizationId, TenantPath), Stop> {
    let organization = match wished {
        Some(id) => id,
        None => own_organization(unit)?.to_string(),
    };
    let path = unit.path_of(&organization)?;
    unit.permit(Permission::ManageRoles, &path)?;
    Ok((organization.parse().map_err(|_| Refusal::not_found())?, path))
}

fn make(
    unit: &mut Unit<'_>,
    (organization, path): (OrganizationId, TenantPath),
    copied_from: Option<RoleRef>,
    content: RoleContent,
) -> Result<Reply, Stop> {
    let maker = unit.view::<OrganizationView>(&organization.to_string());
    if maker.is_some_and(|maker| maker.roles_made >= MADE_MAX) {
        let detail = format!("An organisation makes at most {MADE_MAX} roles; delete one first.");
        return Err(Refusal::conflict("too_many_roles", detail).into());
    }
    let id = RoleId(unit.id());
    ensure_name_is_free(unit, id, organization, &content.name)?;
    unit.begin::<Role>(id);
    let command = RoleCommand::Create { copied_from, id, organization, content };
    unit.execute::<Role>(id, &path, command)?;
    let resource = resource(unit, id)?;
    Ok(Reply::created(format!("/roles/{id}"), &resource, resource.version))
}

/// Roles are told apart by their names: those that an organisation makes, and the default ones.
fn ensure_name_is_free(
    unit: &mut Unit<'_>,
    id: RoleId,
    organization: OrganizationId,
    name: &str,
) -> Result<(), Stop> {
    let is_it = |other: &str| other.to_lowercase() == name.to_lowercase();
    if DefaultRole::ALL.into_iter().any(|role| is_it(role.name())) {
        return Err(taken("name", "A default role has this name."));
    }
    let Some(last) = unit.view::<NameView>(&role_name_key(organization, name)) else {
        return Ok(());
    };
    let other = RoleId(last.owner);
    let role = unit.load::<Role>(other);
    if other != id && role.made().is_ok_and(|made| is_it(&made.content.name)) {
        let detail = "Another role that this organisation made has this name; a role's name is its \
                      own within the organisation that makes it.";
        return Err(taken("name", detail));
    }
    Ok(())
}

pub(crate) fn create(unit: &mut Unit<'_>, body: Input<CreateRole>) -> Result<Reply, Stop> {
    // Where a malformed body names no organisation that could be read, the caller's own is judged.
    let wished = body.as_ref().ok().and_then(|body| body.organization_id.clone());
    let place = place(unit, wished)?;
    let body = unit.take(body)?;
    let mut faults = Faults::default();
    let mut content = RoleContent {
        description: faults.take("/description", note(&body.description)).unwrap_or_default(),
        name: faults.take("/name", name(&body.name)).unwrap_or_default(),
        ..RoleContent::default()
    };
    let mut wish = Wish::new(unit, place.0, (None, RoleContent::default()), &mut faults)?;
    content.permissions = wish.permissions(unit, &body.permissions);
    content.includes = wish.includes(unit, &body.includes)?;
    faults.check()?;
    make(unit, place, None, content)
}

pub(crate) fn copy(unit: &mut Unit<'_>, id: &str, body: Input<CopyRole>) -> Result<Reply, Stop> {
    let source = RoleRef::parse(id).ok_or_else(Refusal::not_found)?;
    if !is_seen(unit, &source)? {
        return Err(Refusal::not_found().into());
    }
    let wished = body.as_ref().ok().and_then(|body| body.organization_id.clone());
    let place = place(unit, wished)?;
    let (description, permissions, includes) = match &source {
        RoleRef::Default(role) => {
            let permissions = role.permissions().iter().map(|it| it.name().to_owned()).collect();
            (role.description().to_owned(), permissions, vec![])
        }
        RoleRef::Custom(role) => {
            let content = &unit.load::<Role>(role).made()?.content.clone();
            let declared = content.permissions.iter().filter(|it| is_declared(unit, it));
            let permissions = declared.map(ToString::to_string).collect();
            let includes = content.includes.iter().map(ToString::to_string).collect();
            (content.description.clone(), permissions, includes)
        }
        // Its permissions by themselves would act where the service is not held.
        RoleRef::OfService(..) => {
            let description = service_role(unit, &source).ok_or_else(Refusal::not_found)?;
            (description, vec![], vec![source.to_string()])
        }
    };
    let body = unit.take(body)?;
    let mut faults = Faults::default();
    let mut content = RoleContent {
        description,
        name: faults.take("/name", name(&body.name)).unwrap_or_default(),
        ..RoleContent::default()
    };
    let mut wish = Wish::new(unit, place.0, (None, RoleContent::default()), &mut faults)?;
    content.permissions = wish.permissions(unit, &permissions);
    content.includes = wish.includes(unit, &includes)?;
    faults.check()?;
    make(unit, place, Some(source), content)
}

pub(crate) fn edit(
    unit: &mut Unit<'_>,
    id: &str,
    body: Input<EditRole>,
    if_match: Option<u64>,
) -> Result<Reply, Stop> {
    let (id, organization, path) = find(unit, id)?;
    let body = unit.take(body)?;
    let seen = unit.view::<RoleView>(&id.to_string());
    ensure_seen(if_match, seen.map(|view| view.version))?;
    let before = unit.load::<Role>(id).made()?.content.clone();
    let mut content = before.clone();
    let mut faults = Faults::default();
    if let Some(text) = &body.name {
        content.name = faults.take("/name", name(text)).unwrap_or_default();
    }
    if let Some(text) = &body.description {
        content.description = faults.take("/description", note(text)).unwrap_or_default();
    }
    let mut wish = Wish::new(unit, organization, (Some(id), before), &mut faults)?;
    if let Some(names) = &body.permissions {
        content.permissions = wish.permissions(unit, names);
    }
    if let Some(names) = &body.includes {
        content.includes = wish.includes(unit, names)?;
    }
    faults.check()?;
    ensure_name_is_free(unit, id, organization, &content.name)?;
    unit.execute::<Role>(id, &path, RoleCommand::Edit(content))?;
    let resource = resource(unit, id)?;
    Ok(Reply::done(&resource, resource.version))
}

pub(crate) fn delete(unit: &mut Unit<'_>, id: &str) -> Result<Reply, Stop> {
    let (id, _, path) = find(unit, id)?;
    unit.execute::<Role>(id, &path, RoleCommand::Delete)?;
    Ok(Reply::nothing())
}

/// An organisation below the caller's own, and a role that he sees, to be given or taken away.
fn passed_on(
    unit: &mut Unit<'_>,
    organization: &str,
    role: &str,
) -> Result<(OrganizationId, TenantPath, RoleId), Stop> {
    let path = unit.path_of(organization)?;
    unit.permit(Permission::ManageRoles, &path)?;
    if unit.authority()?.is_some_and(|authority| authority.path == path) {
        let detail = "An organisation is given roles, and they are taken away, by one above: this \
                      takes roles.manage there.";
        return Err(Refusal::forbidden(detail).into());
    }
    let role = RoleRef::parse(role).ok_or_else(Refusal::not_found)?;
    if !is_seen(unit, &role)? {
        return Err(Refusal::not_found().into());
    }
    let RoleRef::Custom(id) = role else {
        let detail = "Every organisation has the default roles that fit, and those of services.";
        return Err(Refusal::conflict("not_to_be_given", detail).into());
    };
    Ok((organization.parse().map_err(|_| Refusal::not_found())?, path, id))
}

pub(crate) fn give(
    unit: &mut Unit<'_>,
    organization: &str,
    role: &str,
    body: Input<Because>,
) -> Result<Reply, Stop> {
    let (organization, path, id) = passed_on(unit, organization, role)?;
    let reason = take_reason(unit, body)?;
    let above = parent(unit, organization)?.ok_or_else(Refusal::not_found)?;
    let mut known = unit.roles_at(above)?;
    let granted = unit.follow(&mut known, &[RoleRef::Custom(id)], Begin::Had);
    if let Some((_, dormant)) = granted.dormant().first() {
        let detail = format!("The organisation above does not have this role: {}.", dormant.why());
        return Err(Refusal::conflict("role_not_given", detail).into());
    }
    if let Some(lacking) = unit.authority()?.and_then(|mine| mine.lacks_of(&granted)) {
        let detail = format!("You cannot grant what you do not hold yourself: {lacking}.");
        return Err(Refusal::forbidden(detail).into());
    }
    unit.because(None, reason);
    unit.execute::<Organization>(organization, &path, OrganizationCommand::GiveRole(id))?;
    Ok(Reply::nothing())
}

pub(crate) fn take(unit: &mut Unit<'_>, organization: &str, role: &str) -> Result<Reply, Stop> {
    let (organization, path, id) = passed_on(unit, organization, role)?;
    unit.execute::<Organization>(organization, &path, OrganizationCommand::TakeRole(id))?;
    Ok(Reply::nothing())
}

pub(crate) fn declare(
    unit: &mut Unit<'_>,
    key: &str,
    body: Input<DeclarePermission>,
) -> Result<Reply, Stop> {
    unit.require(Permission::DeclarePermissions)?;
    let key = PermissionKey::parse(key).ok_or_else(Refusal::not_found)?;
    let body = unit.take(body)?;
    if matches!(AnyPermission::parse(key.as_str()), Some(AnyPermission::Known(_))) {
        let detail = "This is a permission of Atrium itself.";
        return Err(Refusal::conflict("permission_taken", detail).into());
    }
    let mut faults = Faults::default();
    let declaration = Declaration {
        description: faults.take("/description", note(&body.description)).unwrap_or_default(),
        name: faults.take("/name", name(&body.name)).unwrap_or_default(),
        key: key.clone(),
    };
    faults.check()?;
    let command = PermissionCommand::Declare(declaration);
    unit.execute::<CustomPermission>(&key, &TenantPath::provider(), command)?;
    let view = unit.view::<PermissionView>(key.as_str()).ok_or_else(Refusal::not_found)?;
    Ok(Reply::done(&PermissionResource::from(view.as_ref()), view.version))
}

pub(crate) fn withdraw(unit: &mut Unit<'_>, key: &str) -> Result<Reply, Stop> {
    unit.require(Permission::DeclarePermissions)?;
    let key = PermissionKey::parse(key).ok_or_else(Refusal::not_found)?;
    let command = PermissionCommand::Withdraw;
    unit.execute::<CustomPermission>(&key, &TenantPath::provider(), command)?;
    Ok(Reply::nothing())
}

fn resource(unit: &mut Unit<'_>, id: RoleId) -> Result<RoleResource, Stop> {
    let view = unit.view::<RoleView>(&id.to_string());
    Ok(RoleResource::from(view.ok_or_else(Refusal::not_found)?.as_ref()))
}
