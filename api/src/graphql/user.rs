//! Users, and the one who asks.

use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, Object};
use chrono::{DateTime, Utc};
use domain::UserId;
use domain::permission::{Permission, Role};
use projections::finder::Query as Wanted;
use projections::views::{SubscriptionView, UserView};
use uuid::Uuid;

use super::connection::{Order, Slice, ViewConnection, list, list_of};
use super::effective::{EffectiveProperty, Whose, keys, properties};
use super::id::GlobalId;
use super::limits::{PROPERTIES_COST, page_cost};
use super::organization::{Organization, Status, find as find_organization};
use super::reading::{Reading, Resolved, reading};
use super::scalar::KnownAt;
use super::subscription::Subscription;
use crate::problem::Problem;

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

    /// What this user may do.
    async fn roles(&self) -> Vec<&'static str> {
        self.0.roles.iter().map(|role| role.name()).collect()
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

    /// What a service's properties would be for this user, with a plan or before one is chosen; now, or at a
    /// moment (`asOf`, of the business), as was known then (`knownAt`).
    #[graphql(complexity = "PROPERTIES_COST * child_complexity")]
    async fn effective_properties(
        &self,
        context: &Context<'_>,
        service: String,
        plan: Option<String>,
        as_of: Option<DateTime<Utc>>,
        known_at: Option<KnownAt>,
    ) -> Resolved<Vec<EffectiveProperty>> {
        let reading = reading(context);
        if self.0.id != reading.principal.user {
            reading.permit(Permission::ViewSubscriptions, &self.0.path)?;
        }
        let (service, plan) = keys(&service, plan.as_deref())?;
        let whose = Whose { path: &self.0.path, plan, service, subscription: None };
        properties(reading, whose, as_of, known_at).await
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
            reading.permit(Permission::ViewSubscriptions, &self.0.path)?;
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
            reading.permit(Permission::ViewUsers, &view.path)?;
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

    /// The user's roles.
    async fn roles(&self, context: &Context<'_>) -> Vec<&'static str> {
        let roles = reading(context).principal.authority.roles.iter();
        roles.map(|role| role.name()).collect()
    }

    /// What the roles permit, such as `organizations.view`.
    async fn permissions(&self, context: &Context<'_>) -> Vec<&'static str> {
        let roles: &[Role] = &reading(context).principal.authority.roles;
        let mut names: Vec<_> = roles
            .iter()
            .flat_map(|role| role.permissions())
            .map(|permission| permission.name())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
