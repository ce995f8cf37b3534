//! Roles: what people may do.

use std::sync::Arc;

use async_graphql::{Enum, ID, SimpleObject};
use commands::resource::{PermissionResource, RoleKind as Kind, RoleResource};
use domain::permission::Permission;
use projections::views::OrganizationView;
use uuid::Uuid;

use super::organization::find;
use super::reading::{Reading, Resolved};
use crate::rest::roles::{Explanation, explanation, had_by, own, permissions};

/// Where a role comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Kind")]
pub(crate) enum RoleKind {
    /// It is part of Atrium: it cannot be edited, only copied.
    Default,
    /// An organisation made it.
    Custom,
    /// A service brings it; it acts on the customers that hold the service.
    Service,
}

/// A set of permissions and of other roles.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct Role {
    /// What names it where roles are given: a default role's name, a custom role's id, `crm:agent` of a service.
    key: String,
    /// Its name.
    name: String,
    /// What it is for.
    description: String,
    /// Where it comes from.
    kind: RoleKind,
    /// The id of who made it, in the REST API.
    organization_uuid: Option<Uuid>,
    /// The key of the service that brings it.
    service_key: Option<String>,
    /// What its holder may do, apart from what comes with the roles that it includes.
    permissions: Vec<String>,
    /// Roles that are a part of it.
    includes: Vec<String>,
    /// The role that it was copied from.
    copied_from: Option<String>,
    /// The `ETag` in the REST API.
    version: u64,
}

impl From<RoleResource> for Role {
    fn from(role: RoleResource) -> Self {
        Self {
            key: role.id,
            name: role.name,
            description: role.description,
            kind: role.kind.into(),
            organization_uuid: role.organization_id,
            service_key: role.service,
            permissions: role.permissions,
            includes: role.includes,
            copied_from: role.copied_from,
            version: role.version,
        }
    }
}

/// What a role can hold: one thing that somebody may do.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(name = "Permission")]
pub(crate) struct PermissionOfRoles {
    /// What names it in roles.
    key: String,
    /// Its name.
    name: String,
    /// What it lets somebody do.
    description: String,
    /// Whether the provider or a service declared it; otherwise Atrium itself asks for it.
    custom: bool,
    /// The key of the service that declares it.
    service_key: Option<String>,
}

impl From<PermissionResource> for PermissionOfRoles {
    fn from(permission: PermissionResource) -> Self {
        Self {
            key: permission.key,
            name: permission.name,
            description: permission.description,
            custom: permission.custom,
            service_key: permission.service,
        }
    }
}

impl PermissionOfRoles {
    /// Every permission there is.
    pub(crate) async fn list(reading: &Reading) -> Resolved<Vec<Self>> {
        reading.require(Permission::ViewRoles)?;
        Ok(permissions(&reading.app).await?.into_iter().map(Self::from).collect())
    }
}

/// An organisation that the caller names, or his own.
async fn place(reading: &Reading, organization: Option<&ID>) -> Resolved<Arc<OrganizationView>> {
    match organization {
        Some(id) => find(reading, id).await,
        None => own(&reading.app, &reading.principal).await,
    }
}

impl Role {
    /// The roles that an organisation has.
    pub(crate) async fn list(reading: &Reading, organization: Option<&ID>) -> Resolved<Vec<Self>> {
        let organization = place(reading, organization).await?;
        reading.permit(Permission::ViewRoles, &organization.path).await?;
        let roles = had_by(&reading.app, &organization).await?;
        Ok(roles.into_iter().map(Self::from).collect())
    }
}

/// Whether the caller may do something at an organisation, and why or why not.
pub(crate) async fn may(
    reading: &Reading,
    permission: &str,
    organization: Option<&ID>,
) -> Resolved<Explanation> {
    let organization = place(reading, organization).await?;
    let place = (organization.id, &organization.path);
    explanation(&reading.app, &reading.principal, permission, place).await
}
