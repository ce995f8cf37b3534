//! Users, and the one who asks.

use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, Object};
use chrono::{DateTime, Utc};
use domain::UserId;
use domain::permission::Permission;
use projections::finder::Query as Wanted;
use projections::views::{SubscriptionView, UserView};
use uuid::Uuid;

use super::connection::{Order, Slice, ViewConnection, list, list_of};
use super::id::GlobalId;
use super::limits::{STATEMENT_COST, page_cost};
use super::organization::{Organization, Status, find as find_organization};
use super::reading::{Reading, Resolved, reading};
use super::role::may;
use super::subscription::Subscription;
use crate::problem::Problem;
use crate::rest::roles::Explanation;

/// A person who belongs to an organisation.
#[derive(Clone)]
pub(crate) struct User(Arc<UserView>);

impl From<Arc<UserView>> for User {
    fn from(view: Arc<UserView>) -> Self {
        Self(view)
    }
}

/// A person who belongs to an organisation.
#[Object]
impl User {
    /// The global id.
    pub(crate) async fn id(&self) -> ID {
        GlobalId::User(self.0.id).encode()
    }

    /// The id in the REST API.
    async fn uuid(&self) -> Uuid {
        self.0.id.0
    }

    /// Whose user.
    async fn organization(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        Organization::of(reading(context), self.0.organization).await
    }

    /// First and last name.
    async fn name(&self) -> String {
        self.0.person.full_name()
    }

    /// First name.
    async fn first_name(&self) -> &str {
        &self.0.person.first_name
    }

    /// Last name.
    async fn last_name(&self) -> &str {
        &self.0.person.last_name
    }

    /// Mail address.
    async fn email(&self) -> String {
        self.0.person.email.to_string()
    }

    /// Unique name to sign in with.
    async fn login(&self) -> String {
        self.0.person.login.to_string()
    }

    /// What this user may do: default roles by name, custom ones by id, those of services as `crm:agent`.
    async fn roles(&self) -> Vec<String> {
        self.0.roles.iter().map(ToString::to_string).collect()
    }

    /// Whether this user may sign in.
    async fn status(&self) -> Status {
        self.0.status.into()
    }

    /// When this user was added.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// The `ETag` in the REST API.
    async fn version(&self) -> u64 {
        self.0.version
    }

    /// What this user holds, by service. Everybody sees his own.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn subscriptions(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Resolved<Option<ViewConnection<SubscriptionView, Subscription>>> {
        let reading = reading(context);
        if self.0.id != reading.principal.user {
            reading.permit(Permission::ViewSubscriptions, &self.0.path).await?;
        }
        let slice = Slice { first, after, last, before };
        list_of(reading, self.0.id, &slice).await
    }
}

/// Which users.
#[derive(Clone, Debug, Default, InputObject)]
pub(crate) struct UserFilter {
    /// Only those of this very organisation.
    organization_id: Option<ID>,
    /// Only those of this status.
    status: Option<Status>,
}

impl User {
    /// A user, if the caller may see him. Everybody sees himself.
    pub(crate) async fn get(reading: &Reading, id: UserId) -> Resolved<Self> {
        let view = reading.find::<UserView>(id).await?.ok_or_else(Problem::not_found)?;
        if id != reading.principal.user {
            reading.permit(Permission::ViewUsers, &view.path).await?;
        }
        Ok(Self(view))
    }

    /// The user whom something belongs to; nothing where he is out of the caller's scope.
    pub(crate) async fn of(reading: &Reading, id: UserId) -> Resolved<Option<Self>> {
        if id != reading.principal.user {
            reading.require(Permission::ViewUsers)?;
        }
        Ok(reading.find::<UserView>(id).await?.map(Self))
    }

    /// The users in scope.
    pub(crate) async fn list(
        reading: &Reading,
        filter: UserFilter,
        order: Option<Order>,
        slice: &Slice,
    ) -> Resolved<Option<ViewConnection<UserView, Self>>> {
        reading.require(Permission::ViewUsers)?;
        let owner = match &filter.organization_id {
            None => None,
            Some(id) => Some(find_organization(reading, id).await?.id.to_string()),
        };
        let status = filter.status.map(|status| status.name().to_owned());
        let query = Wanted { owner, status, ..Wanted::default() };
        list(reading, reading.scope(), query, order, slice).await
    }
}

/// Who asks.
pub(crate) struct Viewer;

/// Who asks.
#[Object]
impl Viewer {
    /// The user.
    async fn user(&self, context: &Context<'_>) -> Resolved<Option<User>> {
        let reading = reading(context);
        Ok(Some(User::get(reading, reading.principal.user).await?))
    }

    /// The organisation to which the user belongs: what lies outside of it and all below it is not
    /// seen.
    async fn organization(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        Organization::of(reading(context), reading(context).principal.organization).await
    }

    /// The user's roles: default ones by name, custom ones by id, those of services as `crm:agent`.
    async fn roles(&self, context: &Context<'_>) -> Vec<String> {
        let roles = reading(context).principal.authority.roles.iter();
        roles.map(ToString::to_string).collect()
    }

    /// What the roles permit, such as `organizations.view`; those of services only where the service is held.
    async fn permissions(&self, context: &Context<'_>) -> Vec<String> {
        let permissions = reading(context).principal.authority.permissions();
        permissions.iter().map(ToString::to_string).collect()
    }

    /// Whether the user may do something at an organisation, the user's own where it is left out; and why, or
    /// why not.
    #[graphql(complexity = "STATEMENT_COST + child_complexity")]
    async fn may(
        &self,
        context: &Context<'_>,
        permission: String,
        organization: Option<ID>,
    ) -> Resolved<Option<Explanation>> {
        Ok(Some(may(reading(context), &permission, organization.as_ref()).await?))
    }

    /// The id of the person who acts as the user, in the REST API; none where that is the user himself.
    async fn impersonated_by(&self, context: &Context<'_>) -> Option<Uuid> {
        reading(context).principal.real.map(|real| real.0)
    }
}
