//! Users, and the one who asks.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, Object};
use chrono::{DateTime, Utc};
use domain::UserId;
use domain::lifecycle::Status as InUse;
use domain::permission::Permission;
use domain::text::Address;
use domain::user::ERASED;
use projections::View as _;
use projections::finder::{self, Cursor, Query as Wanted};
use projections::views::{SubscriptionView, UserView};
use uuid::Uuid;

use super::connection::{Order, OrderDirection, Slice, ViewConnection, list, list_in_memory};
use super::effective::{EffectiveProperty, Whose, keys, properties};
use super::id::GlobalId;
use super::limits::{PROPERTIES_COST, STATEMENT_COST, page_cost};
use super::organization::{CustomField, Organization, Purpose, Status, find as find_organization};
use super::reading::{Reading, Resolved, reading};
use super::role::may;
use super::scalar::{AsOf, KnownAt};
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
#[expect(clippy::too_many_arguments, reason = "four of them say which page, as Relay has it")]
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

    /// First and last name; `Erased user` of somebody who was erased.
    async fn name(&self, context: &Context<'_>) -> Resolved<String> {
        let person = reading(context).person(&self.0).await?;
        Ok(person.map_or_else(|| ERASED.to_owned(), |person| person.full_name()))
    }

    /// First name; none of somebody who was erased.
    async fn first_name(&self, context: &Context<'_>) -> Resolved<Option<String>> {
        let person = reading(context).person(&self.0).await?;
        Ok(person.map(|person| person.first_name.clone()))
    }

    /// Last name; none of somebody who was erased.
    async fn last_name(&self, context: &Context<'_>) -> Resolved<Option<String>> {
        let person = reading(context).person(&self.0).await?;
        Ok(person.map(|person| person.last_name.clone()))
    }

    /// Mail address; none of somebody who was erased.
    async fn email(&self, context: &Context<'_>) -> Resolved<Option<String>> {
        let person = reading(context).person(&self.0).await?;
        Ok(person.map(|person| person.email.to_string()))
    }

    /// Unique name to sign in with; none of somebody who was erased.
    async fn login(&self, context: &Context<'_>) -> Resolved<Option<String>> {
        let person = reading(context).person(&self.0).await?;
        Ok(person.map(|person| person.login.to_string()))
    }

    /// Where in the organisation; none of somebody who was erased.
    async fn department(&self, context: &Context<'_>) -> Resolved<Option<String>> {
        let person = reading(context).person(&self.0).await?;
        Ok(person.and_then(|person| person.department.clone()))
    }

    /// Where in the world; none of somebody who was erased.
    async fn location(&self, context: &Context<'_>) -> Resolved<Option<String>> {
        let person = reading(context).person(&self.0).await?;
        Ok(person.and_then(|person| person.location.clone()))
    }

    /// What the installation keeps of this user for its own systems, by name; none of somebody who was erased.
    async fn custom_fields(&self, context: &Context<'_>) -> Resolved<Option<Vec<CustomField>>> {
        let person = reading(context).person(&self.0).await?;
        Ok(person.map(|person| CustomField::all(&person.custom_fields)))
    }

    /// What this user may do: default roles by name, custom ones by id, those of services as `crm:agent`.
    async fn roles(&self) -> Vec<String> {
        self.0.roles.iter().map(ToString::to_string).collect()
    }

    /// Who this user's manager is, if the caller can see him.
    async fn manager(&self, context: &Context<'_>) -> Resolved<Option<User>> {
        match self.0.manager {
            None => Ok(None),
            Some(id) => User::of(reading(context), id).await,
        }
    }

    /// Why this user is there; none of somebody who was erased.
    #[graphql(name = "type")]
    async fn purpose(&self) -> Option<Purpose> {
        self.0.person.as_ref().map(|person| person.purpose.into())
    }

    /// Where this user is in his life; he signs in where he is active.
    async fn status(&self) -> Status {
        self.0.status.into()
    }

    /// When this user was added.
    async fn created_at(&self) -> DateTime<Utc> {
        self.0.created_at
    }

    /// When this user was erased.
    async fn erased_at(&self) -> Option<DateTime<Utc>> {
        self.0.erased_at
    }

    /// When this user was deleted, where he is.
    async fn deleted_at(&self) -> Option<DateTime<Utc>> {
        self.0.deleted_at
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
            reading.permit(Permission::ViewSubscriptions, &self.0.path).await?;
        }
        let (service, plan) = keys(&service, plan.as_deref())?;
        let whose = Whose { path: &self.0.path, plan, service, subscription: None };
        properties(reading, whose, as_of, known_at).await
    }

    /// What this user holds, by service, or held then (`asOf`), as it was known then (`knownAt`). Everybody sees his own.
    #[graphql(complexity = "page_cost(first, last, child_complexity)")]
    async fn subscriptions(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "What was held at that moment of the business.")] as_of: Option<AsOf>,
        #[graphql(desc = "As it was known then.")] known_at: Option<KnownAt>,
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
        let own = (self.0.id, &self.0.path);
        Subscription::list_of(reading, own, (as_of, known_at), &slice).await
    }
}

/// Which users.
#[derive(Clone, Debug, Default, InputObject)]
pub(crate) struct UserFilter {
    /// Only those of this very organisation.
    organization_id: Option<ID>,
    /// Only those of this status; where it is left out, all but those deleted.
    status: Option<Status>,
    /// Only those whose first and last name has this in it, upper and lower case alike. Among at most 2,000 users.
    name: Option<String>,
    /// Only the one with this login, upper and lower case alike.
    login: Option<String>,
}

/// What a list of users is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enum)]
pub(crate) enum UserOrderField {
    /// By when they were added.
    #[default]
    Added,
    /// By first and last name, upper and lower case alike. At most 2,000 users.
    Name,
}

/// How a list of users is sorted.
#[derive(Clone, Copy, Debug, Default, InputObject)]
pub(crate) struct UserOrder {
    /// By what.
    #[graphql(default)]
    field: UserOrderField,
    /// Which way.
    #[graphql(default)]
    direction: OrderDirection,
}

/// Most users who are opened to be sorted or looked through by name.
const NAMED_MAX: usize = 2_000;

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
        order: Option<UserOrder>,
        slice: &Slice,
    ) -> Resolved<Option<ViewConnection<UserView, Self>>> {
        reading.require(Permission::ViewUsers)?;
        let order = order.unwrap_or_default();
        let owner = match &filter.organization_id {
            None => None,
            Some(id) => Some(find_organization(reading, id).await?.id.to_string()),
        };
        let status = filter.status.map(|status| status.name().to_owned());
        let query = Wanted { owner, status, ..Wanted::default() };
        if filter.name.is_none() && filter.login.is_none() && order.field == UserOrderField::Added {
            let order = Some(Order::way(order.direction));
            return list(reading, reading.scope(), query, order, slice).await;
        }
        let users = match &filter.login {
            Some(login) => Self::with_login(reading, login, &query).await?,
            None => Self::all(reading, query).await?,
        };
        let opened = reading.app.persons();
        let opened = opened.unlock(reading.app.database(), users.iter().map(|it| it.id)).await?;
        let wanted = filter.name.map(|name| name.to_lowercase());
        let mut found = Vec::new();
        for user in users {
            let name = opened.name(user.id, user.person.as_ref()).to_lowercase();
            if wanted.as_ref().is_none_or(|wanted| name.contains(wanted)) {
                let sort = match order.field {
                    UserOrderField::Added => user.index().sort,
                    UserOrderField::Name => name,
                };
                found.push((Cursor { sort, key: user.id.to_string() }, user));
            }
        }
        found.sort_by(|(a, _), (b, _)| (&a.sort, &a.key).cmp(&(&b.sort, &b.key)));
        list_in_memory(reading, found, order.direction, slice)
    }

    /// The user who has a login, if he is among those who are asked for.
    async fn with_login(
        reading: &Reading,
        login: &str,
        among: &Wanted,
    ) -> Resolved<Vec<Arc<UserView>>> {
        let Ok(login) = Address::parse(login) else { return Ok(Vec::new()) };
        let (database, vault) = (reading.app.database(), reading.app.persons().vault());
        let found = finder::find_login(database, vault, &login).await?;
        let is_wanted = |user: &Arc<UserView>| {
            let status = user.status.name();
            reading.scope().0.contains(&user.path)
                && among.owner.as_ref().is_none_or(|it| *it == user.organization.to_string())
                && match &among.status {
                    Some(wanted) => wanted == status,
                    None => user.status != InUse::Deleted,
                }
        };
        Ok(found.into_iter().filter(is_wanted).collect())
    }

    /// All who are asked for.
    ///
    /// # Errors
    /// Where there are too many to be opened at once.
    async fn all(reading: &Reading, query: Wanted) -> Resolved<Vec<Arc<UserView>>> {
        let mut query = Wanted { limit: finder::LIST_MAX, ..query };
        let mut users = Vec::new();
        loop {
            let database = reading.app.database();
            let page = finder::list::<UserView>(database, &reading.scope(), &query).await?;
            query.after = page.items.last().map(|(cursor, _)| cursor.clone());
            users.extend(page.items.into_iter().map(|(_, user)| user));
            if users.len() > NAMED_MAX {
                let detail = format!(
                    "These are more than {NAMED_MAX} users, too many to be sorted or looked through by name: \
                     ask for those of one organization (organizationId), or for one login."
                );
                return Err(Problem::bad_parameter("filter", detail));
            }
            if !page.more {
                return Ok(users);
            }
        }
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
