//! Subscriptions, and the requests that made them what they are.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, Json, Object, SimpleObject};
use chrono::{DateTime, Utc};
use domain::permission::Permission;
use domain::subscription::{Act, Verb};
use domain::{CommandId, OrganizationId, PlanKey, ServiceKey, SubscriptionId, TenantPath, UserId};
use projections::finder::{Query as Wanted, Scope, Since};
use projections::past::{self, Past};
use projections::views::{self, Holder, OrganizationView, RequestView, SubscriptionView, UserView};
use uuid::Uuid;

use super::approval::Approval;
use super::connection::{Slice, ViewConnection, list, list_of, list_of_past};
use super::effective::{EffectiveProperty, Whose, properties};
use super::id::GlobalId;
use super::limits::PROPERTIES_COST;
use super::organization::{Organization, narrowed};
use super::reading::{Reading, Resolved, reading};
use super::scalar::{Asked, KnownAt, Position, then};
use super::service::{Plan, Service};
use super::user::User;
use crate::actions;
use crate::problem::Problem;

/// How it stands with a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "views::SubscriptionStatus")]
pub(crate) enum SubscriptionStatus {
    /// Nothing is held: not yet, or not any more.
    NotProvisioned,
    /// Asked for; work has not begun.
    Requested,
    /// Being worked on.
    InProgress,
    /// Held.
    Provisioned,
    /// What was asked for did not work.
    Failed,
    /// Held; other settings were asked for and are not applied yet.
    Pending,
    /// Held, and rests.
    Suspended,
}

/// Something that can be done to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(crate) enum SubscriptionAction {
    /// Assign the service.
    Provision,
    /// Another plan, quantity or other inputs.
    Change,
    /// Let it rest.
    Suspend,
    /// Let it go on.
    Resume,
    /// Take it away.
    Deprovision,
    /// Ask a failed request again.
    Retry,
    /// Take a request back that has not begun.
    Cancel,
    /// Give a request up that failed or is stuck.
    Reset,
}

impl SubscriptionAction {
    /// As the REST API writes it.
    fn of(act: Act) -> Self {
        match act {
            Act::Ask(Verb::Provision) => Self::Provision,
            Act::Ask(Verb::Change) => Self::Change,
            Act::Ask(Verb::Suspend) => Self::Suspend,
            Act::Ask(Verb::Resume) => Self::Resume,
            Act::Ask(Verb::Deprovision) => Self::Deprovision,
            Act::Retry => Self::Retry,
            Act::Cancel => Self::Cancel,
            Act::Reset => Self::Reset,
        }
    }
}

/// Why something cannot be done.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct WhyNot {
    /// For programs: the code of the answer to the command.
    code: String,
    /// For people.
    detail: String,
}

/// Something that can be done to a subscription, or why it cannot.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct PossibleAction {
    /// What.
    action: SubscriptionAction,
    /// Whether the caller may do it now.
    possible: bool,
    /// Every reason why not.
    reasons: Vec<WhyNot>,
}

/// A change that is still to come.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct ScheduledChange {
    /// When.
    effective_at: DateTime<Utc>,
    /// What was asked.
    verb: RequestVerb,
    /// The request's global id. It can be cancelled until then.
    request_id: Option<ID>,
    /// The plan held from then on; none where nothing is, or where it stays as it is.
    plan_key: Option<String>,
    /// Units held from then on.
    quantity: Option<u32>,
}

/// A service held by a customer or a user.
#[derive(Clone)]
pub(crate) struct Subscription {
    view: Arc<SubscriptionView>,
    /// As it was, where that was asked for.
    past: Option<Arc<Past>>,
}

impl From<Arc<SubscriptionView>> for Subscription {
    fn from(view: Arc<SubscriptionView>) -> Self {
        Self { view, past: None }
    }
}

impl From<Arc<Past>> for Subscription {
    fn from(past: Arc<Past>) -> Self {
        Self { view: past.view.clone(), past: Some(past) }
    }
}

impl Subscription {
    /// The plan and the units that are held, or were then.
    fn held(&self, now: DateTime<Utc>) -> Option<(&PlanKey, u32)> {
        match &self.past {
            None => self.view.held_at(now).map(|held| (held.plan, held.quantity)),
            Some(past) => past.held.as_ref().map(|held| (&held.plan, held.quantity)),
        }
    }

    /// The latest request; of the past the one that said what was held.
    fn latest_request(&self) -> Option<CommandId> {
        match &self.past {
            None => Some(self.view.request),
            Some(past) => past.held.as_ref().and_then(|held| held.request),
        }
    }
}

/// A service held by a customer or a user.
#[Object]
impl Subscription {
    /// The global id. The same holder, service and instance name have the same one again later.
    pub(crate) async fn id(&self) -> ID {
        GlobalId::Subscription(self.view.id).encode()
    }

    /// The id in the REST API.
    async fn uuid(&self) -> Uuid {
        self.view.id.0
    }

    /// How it stands now; as of another moment whether it was held, and rested.
    async fn status(&self, context: &Context<'_>) -> SubscriptionStatus {
        match &self.past {
            None => self.view.status_at(reading(context).now).into(),
            Some(past) => past.status().into(),
        }
    }

    /// The key of the plan held; none where nothing is.
    async fn plan_key(&self, context: &Context<'_>) -> Option<String> {
        Some(self.held(reading(context).now)?.0.to_string())
    }

    /// The plan held, as it is sold now; none where nothing is.
    async fn plan(&self, context: &Context<'_>) -> Resolved<Option<Plan>> {
        let reading = reading(context);
        let Some((plan, _)) = self.held(reading.now) else { return Ok(None) };
        let service = Service::of(reading, &self.view.service).await?;
        Ok(service.and_then(|service| service.plan(plan)))
    }

    /// Units held; none where nothing is.
    async fn quantity(&self, context: &Context<'_>) -> Option<u32> {
        Some(self.held(reading(context).now)?.1)
    }

    /// The moment of the business that it is shown as of, where that was asked for.
    async fn as_of(&self) -> Option<DateTime<Utc>> {
        Some(self.past.as_ref()?.then.as_of)
    }

    /// The position up to which it was known then, where that was asked for.
    async fn known_at(&self) -> Option<Position> {
        self.past.as_ref()?.then.known_at.map(Position)
    }

    /// The instance's name, where the service has many.
    async fn instance(&self) -> Option<&str> {
        self.view.instance.as_deref()
    }

    /// The service's key.
    async fn service_key(&self) -> &str {
        self.view.service.as_str()
    }

    /// What is held.
    async fn service(&self, context: &Context<'_>) -> Resolved<Option<Service>> {
        Service::of(reading(context), &self.view.service).await
    }

    /// The customer who holds it, or whose user does.
    async fn customer(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        Organization::of(reading(context), self.view.customer).await
    }

    /// The user who holds it, for a user service.
    async fn user(&self, context: &Context<'_>) -> Resolved<Option<User>> {
        match self.view.holder {
            Holder::Customer(_) => Ok(None),
            Holder::User(id) => User::of(reading(context), id).await,
        }
    }

    /// The first moment at which anything was held.
    async fn since(&self) -> Option<DateTime<Utc>> {
        self.past.as_ref().map_or(self.view.since, |past| past.since)
    }

    /// What is still to come, by date. Null where it is shown as of another moment: it is not known of the past.
    async fn scheduled(&self, context: &Context<'_>) -> Option<Vec<ScheduledChange>> {
        if self.past.is_some() {
            return None;
        }
        let scheduled = self.view.scheduled(reading(context).now).into_iter();
        let scheduled = scheduled
            .map(|it| ScheduledChange {
                effective_at: it.effective_at,
                verb: it.verb.into(),
                request_id: it.request.map(|request| GlobalId::Request(request).encode()),
                plan_key: it.wish.as_ref().map(|(plan, _)| plan.to_string()),
                quantity: it.wish.map(|(_, quantity)| quantity),
            })
            .collect();
        Some(scheduled)
    }

    /// What the caller may do with it now, and why not the rest. Null where it is shown as of another moment.
    async fn possible_actions(
        &self,
        context: &Context<'_>,
    ) -> Resolved<Option<Vec<PossibleAction>>> {
        if self.past.is_some() {
            return Ok(None);
        }
        let reading = reading(context);
        let mut above = Vec::new();
        let mut next = Some(self.view.customer);
        while let Some(id) = next {
            let Some(view) = reading.find::<OrganizationView>(id).await? else { break };
            next = view.parent;
            above.push(view);
        }
        let user = match self.view.holder {
            Holder::User(id) => reading.find::<UserView>(id).await?,
            Holder::Customer(_) => None,
        };
        let unfit = actions::unfit(&above, user.as_deref());
        let possible = actions::possible(&reading.principal, &self.view, unfit.as_ref()).await?;
        let shown = Act::ALL.into_iter().zip(possible).map(|(act, it)| PossibleAction {
            action: SubscriptionAction::of(act),
            possible: it.possible,
            reasons: it
                .reasons
                .into_iter()
                .map(|why| WhyNot { code: why.code, detail: why.detail })
                .collect(),
        });
        Ok(Some(shown.collect()))
    }

    /// The latest request; as of another moment the one that said what was held then.
    async fn request(&self, context: &Context<'_>) -> Resolved<Option<Request>> {
        match self.latest_request() {
            Some(request) => Request::of(reading(context), request).await,
            None => Ok(None),
        }
    }

    /// The plan's properties as they were resolved for the latest request (as of another moment for the one that said what
    /// was held then), overrides included; none where that took the service away.
    async fn properties(&self, context: &Context<'_>) -> Resolved<Option<Vec<ResolvedProperty>>> {
        let reading = reading(context);
        let Some(request) = self.latest_request() else { return Ok(None) };
        match Request::of(reading, request).await? {
            Some(request) => Ok(Some(request.resolved(reading).await?)),
            None => Ok(None),
        }
    }

    /// What its properties are, or were at a moment (`asOf`, of the business), as was known then (`knownAt`):
    /// each with where it comes from, and what lost. Where neither is said, as of when the subscription is shown.
    #[graphql(complexity = "PROPERTIES_COST * child_complexity")]
    async fn effective_properties(
        &self,
        context: &Context<'_>,
        as_of: Option<DateTime<Utc>>,
        known_at: Option<KnownAt>,
    ) -> Resolved<Vec<EffectiveProperty>> {
        let whose = Whose {
            path: &self.view.path,
            plan: None,
            service: self.view.service.clone(),
            subscription: Some(self.view.id),
        };
        let then = self.past.as_ref().map(|past| past.then);
        let (as_of, known_at) = match (as_of, known_at, then) {
            (None, None, Some(then)) => (Some(then.as_of), then.known_at.map(KnownAt::Position)),
            (as_of, known_at, _) => (as_of, known_at),
        };
        properties(reading(context), whose, as_of, known_at).await
    }

    /// Whether something waits for approval that was asked for here. Null where it is shown as of another moment.
    async fn approval_pending(&self, context: &Context<'_>) -> Resolved<Option<bool>> {
        if self.past.is_some() {
            return Ok(None);
        }
        Ok(Some(Approval::waiting(reading(context), self.view.id).await?.is_some()))
    }

    /// What waits for approval that was asked for here: who has to answer, who has answered, and until when. Null where it
    /// is shown as of another moment.
    async fn approval(&self, context: &Context<'_>) -> Resolved<Option<Approval>> {
        if self.past.is_some() {
            return Ok(None);
        }
        Approval::waiting(reading(context), self.view.id).await
    }

    /// The `ETag` in the REST API. Null where it is shown as of another moment.
    async fn version(&self) -> Option<u64> {
        self.past.is_none().then_some(self.view.version)
    }
}

/// Which subscriptions.
#[derive(Clone, Debug, Default, InputObject)]
pub(crate) struct SubscriptionFilter {
    /// Only those of this customer and of its users.
    customer_id: Option<ID>,
    /// Only those of this user.
    user_id: Option<ID>,
    /// Only those of this service: its key.
    service: Option<String>,
}

impl Subscription {
    /// A subscription, if the caller may see it. Everybody sees his own.
    pub(crate) async fn get(reading: &Reading, id: SubscriptionId) -> Resolved<Self> {
        let view = reading.find::<SubscriptionView>(id).await?.ok_or_else(Problem::not_found)?;
        if view.holder.id() != reading.principal.user.0 {
            reading.permit(Permission::ViewSubscriptions, &view.path).await?;
        }
        Ok(view.into())
    }

    /// The subscription that something is about.
    pub(crate) async fn of(reading: &Reading, id: SubscriptionId) -> Resolved<Option<Self>> {
        reading.require(Permission::ViewSubscriptions)?;
        Ok(reading.find::<SubscriptionView>(id).await?.map(Self::from))
    }

    /// What somebody holds who is at a place, or held then.
    pub(crate) async fn list_of(
        reading: &Reading,
        (owner, path): (impl ToString, &TenantPath),
        asked: Asked,
        slice: &Slice,
    ) -> Resolved<Option<ViewConnection<SubscriptionView, Self>>> {
        match past_then(reading, asked, path).await? {
            None => list_of(reading, owner, slice).await,
            Some(then) => {
                let query = Wanted { owner: Some(owner.to_string()), ..Wanted::default() };
                list_of_past(reading, reading.scope(), query, then, slice).await
            }
        }
    }

    /// The subscriptions in scope, by service.
    pub(crate) async fn list(
        reading: &Reading,
        filter: SubscriptionFilter,
        asked: Asked,
        slice: &Slice,
    ) -> Resolved<Option<ViewConnection<SubscriptionView, Self>>> {
        reading.require(Permission::ViewSubscriptions)?;
        let scope = narrowed(reading, filter.customer_id.as_ref()).await?;
        let owner = match &filter.user_id {
            None => None,
            Some(id) => Some(find_user(reading, id).await?.id.to_string()),
        };
        let query = Wanted { owner, kind: service_key(filter.service)?, ..Wanted::default() };
        match past_then(reading, asked, &scope.0).await? {
            None => list(reading, scope, query, None, slice).await,
            Some(then) => list_of_past(reading, scope, query, then, slice).await,
        }
    }
}

/// When something was held, as it is asked for at a place; none where that is now.
async fn past_then(
    reading: &Reading,
    asked: Asked,
    path: &TenantPath,
) -> Resolved<Option<past::Then>> {
    if matches!(asked, (None, None)) {
        return Ok(None);
    }
    let settings = &reading.app.seller_at(path).await?.settings;
    Ok(then(reading, asked, settings).await?.of_holding(reading.now))
}

/// A service's key, if the text is one.
pub(crate) fn service_key(text: Option<String>) -> Resolved<Option<String>> {
    let Some(text) = text else { return Ok(None) };
    let key = ServiceKey::parse(&text);
    let key = key.ok_or_else(|| Problem::bad_parameter("service", "This is the key of a service."));
    key.map(|key| Some(key.to_string()))
}

/// The user of an id as it is here or in the REST API.
async fn find_user(reading: &Reading, id: &str) -> Resolved<Arc<UserView>> {
    let id = match GlobalId::decode(id) {
        Some(GlobalId::User(id)) => Some(id),
        _ => id.parse::<UserId>().ok(),
    };
    let found = match id {
        Some(id) => reading.find::<UserView>(id).await?,
        None => None,
    };
    found.ok_or_else(Problem::not_found)
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "views::Verb")]
pub(crate) enum RequestVerb {
    /// Assign a service.
    Provision,
    /// Another plan, quantity or other inputs.
    Change,
    /// Let it rest.
    Suspend,
    /// Let it go on.
    Resume,
    /// Take a service away.
    Deprovision,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "views::RequestStatus")]
pub(crate) enum RequestStatus {
    /// Work has not begun.
    Requested,
    /// Being worked on.
    InProgress,
    /// Done.
    Completed,
    /// It did not work.
    Failed,
    /// Taken back before work had begun, or given up.
    Cancelled,
    /// Its day is to come.
    Scheduled,
}

impl RequestStatus {
    /// As the view's index writes it, and on which side of now its day lies.
    fn of_index(self, now: DateTime<Utc>) -> (Option<&'static str>, Since) {
        match self {
            Self::Requested => (Some("requested"), Since::Until(now)),
            Self::InProgress => (Some("inProgress"), Since::Until(now)),
            Self::Completed => (Some("completed"), Since::Until(now)),
            Self::Failed => (Some("failed"), Since::Until(now)),
            Self::Cancelled => (Some("cancelled"), Since::Until(now)),
            Self::Scheduled => (None, Since::After(now)),
        }
    }
}

/// A property's value, and where it comes from.
#[derive(Clone)]
pub(crate) struct ResolvedProperty {
    key: String,
    value: String,
    overridden_by: Option<OrganizationId>,
}

/// A property's value, and where it comes from.
#[Object]
impl ResolvedProperty {
    /// Which property.
    async fn key(&self) -> &str {
        &self.key
    }

    /// Its value.
    async fn value(&self) -> &str {
        &self.value
    }

    /// Whether it is not the plan's own value.
    async fn overridden(&self) -> bool {
        self.overridden_by.is_some()
    }

    /// The organisation that overrides it, if the caller can see it.
    async fn overridden_by(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        match self.overridden_by {
            None => Ok(None),
            Some(id) => Organization::of(reading(context), id).await,
        }
    }
}

/// A request and how far it is.
#[derive(Clone)]
pub(crate) struct Request(Arc<RequestView>);

impl From<Arc<RequestView>> for Request {
    fn from(view: Arc<RequestView>) -> Self {
        Self(view)
    }
}

/// A request and how far it is.
#[Object]
impl Request {
    /// The global id.
    pub(crate) async fn id(&self) -> ID {
        GlobalId::Request(self.0.id).encode()
    }

    /// The id in the REST API.
    async fn uuid(&self) -> Uuid {
        self.0.id.0
    }

    /// What was asked for.
    async fn verb(&self) -> RequestVerb {
        self.0.verb.into()
    }

    /// How far it is.
    async fn status(&self, context: &Context<'_>) -> RequestStatus {
        self.0.status_at(reading(context).now).into()
    }

    /// Why it failed, where it did.
    async fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// Whether it waits for another request: the customer's, or those of its users.
    async fn waits(&self) -> bool {
        self.0.waits
    }

    /// The request that it is a part of.
    async fn parent(&self, context: &Context<'_>) -> Resolved<Option<Request>> {
        match self.0.parent {
            None => Ok(None),
            Some(id) => Request::of(reading(context), id).await,
        }
    }

    /// How many parts it has.
    async fn sub_request_count(&self) -> usize {
        self.0.sub_requests.len()
    }

    /// Its parts, in the order of asking: `first` (at most 500) of them, behind so many that are skipped.
    #[graphql(complexity = "first as usize * child_complexity")]
    async fn sub_requests(
        &self,
        context: &Context<'_>,
        #[graphql(default = 50, validator(maximum = 500))] first: u32,
        #[graphql(default = 0)] skip: u32,
    ) -> Resolved<Vec<Request>> {
        let wanted = self.0.sub_requests.iter().skip(skip as usize).take(first as usize);
        let found = wanted.map(|id| Request::of(reading(context), *id));
        let found = futures_util::future::try_join_all(found).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Of its parts, those that have to be approved first, whatever came of it, in the order of asking: `first` (at
    /// most 500) of them, behind so many that are skipped.
    #[graphql(complexity = "first as usize * child_complexity")]
    async fn approvals(
        &self,
        context: &Context<'_>,
        #[graphql(default = 50, validator(maximum = 500))] first: u32,
        #[graphql(default = 0)] skip: u32,
    ) -> Resolved<Vec<Approval>> {
        let wanted = self.0.approvals.iter().skip(skip as usize).take(first as usize);
        let found = wanted.map(|id| Approval::of(reading(context), *id));
        let found = futures_util::future::try_join_all(found).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Of which subscription.
    async fn subscription(&self, context: &Context<'_>) -> Resolved<Option<Subscription>> {
        match self.0.subscription {
            Some(id) => Subscription::of(reading(context), id).await,
            None => Ok(None),
        }
    }

    /// The key of the plan that was asked for; none where it says nothing about plans.
    async fn plan_key(&self) -> Option<&str> {
        self.0.plan.as_ref().map(PlanKey::as_str)
    }

    /// Units that were asked for; none where it says nothing about plans.
    async fn quantity(&self) -> Option<u32> {
        self.0.quantity
    }

    /// The plan's properties as they were resolved, overrides included; none where it says nothing about plans.
    async fn properties(&self, context: &Context<'_>) -> Resolved<Vec<ResolvedProperty>> {
        self.resolved(reading(context)).await
    }

    /// Everything it was built from, as it was when it was asked; none where it says nothing about plans. Its user's `person`
    /// is null if he was erased since.
    async fn ingredients(
        &self,
        context: &Context<'_>,
    ) -> Resolved<Option<Json<serde_json::Value>>> {
        let built = reading(context).ingredients(&self.0).await?;
        Ok(built.map(|built| Json(built.shown.clone())))
    }

    /// Who approved it; none where nobody had to.
    async fn approval(&self, context: &Context<'_>) -> Resolved<Option<Approval>> {
        Approval::of(reading(context), self.0.id).await
    }

    /// Who asked: `user:<id>` or `system`.
    async fn requested_by(&self) -> String {
        self.0.requested_by.to_string()
    }

    /// Why.
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// When it was asked.
    async fn requested_at(&self) -> DateTime<Utc> {
        self.0.requested_at
    }

    /// When it is to be true in the business.
    async fn effective_at(&self) -> DateTime<Utc> {
        self.0.effective_at
    }

    /// When work began.
    async fn started_at(&self, context: &Context<'_>) -> Option<DateTime<Utc>> {
        self.0.started_at.filter(|at| *at <= reading(context).now)
    }

    /// When it was done.
    async fn completed_at(&self, context: &Context<'_>) -> Option<DateTime<Utc>> {
        self.0.completed_at.filter(|at| *at <= reading(context).now)
    }
}

/// Which requests.
#[derive(Clone, Debug, Default, InputObject)]
pub(crate) struct RequestFilter {
    /// Only those of this customer and of its users.
    customer_id: Option<ID>,
    /// Only those of this subscription.
    subscription_id: Option<ID>,
    /// Only those that are so far.
    status: Option<RequestStatus>,
}

impl Request {
    /// A request, if the caller may see it.
    pub(crate) async fn get(reading: &Reading, id: CommandId) -> Resolved<Self> {
        let view = reading.find::<RequestView>(id).await?.ok_or_else(Problem::not_found)?;
        reading.permit(Permission::ViewSubscriptions, &view.path).await?;
        Ok(Self(view))
    }

    /// The request that something is about.
    pub(super) async fn of(reading: &Reading, id: CommandId) -> Resolved<Option<Self>> {
        reading.require(Permission::ViewSubscriptions)?;
        Ok(reading.find::<RequestView>(id).await?.map(Self))
    }

    async fn resolved(&self, reading: &Reading) -> Resolved<Vec<ResolvedProperty>> {
        let ingredients = reading.ingredients(&self.0).await?;
        let properties = ingredients.iter().flat_map(|built| &built.properties);
        Ok(properties
            .map(|property| ResolvedProperty {
                key: property.key.to_string(),
                value: property.value.clone(),
                overridden_by: property.overridden_by,
            })
            .collect())
    }

    /// The requests in scope, in the order of asking.
    pub(crate) async fn list(
        reading: &Reading,
        filter: RequestFilter,
        slice: &Slice,
    ) -> Resolved<Option<ViewConnection<RequestView, Self>>> {
        reading.require(Permission::ViewSubscriptions)?;
        let mut scope = narrowed(reading, filter.customer_id.as_ref()).await?;
        let owner = match filter.subscription_id.as_deref() {
            None => None,
            Some(id) => {
                let id = match GlobalId::decode(id) {
                    Some(GlobalId::Subscription(id)) => Some(id),
                    _ => id.parse().ok(),
                };
                let id = id.ok_or_else(Problem::not_found)?;
                let found = reading.find::<SubscriptionView>(id).await?;
                let subscription = found.ok_or_else(Problem::not_found)?;
                // Its tenant's stretch of the list is all that has to be looked at.
                if scope.0.contains(&subscription.path) {
                    scope = Scope(subscription.path.clone());
                }
                Some(id.to_string())
            }
        };
        let (kind, since) = match filter.status.map(|status| status.of_index(reading.now)) {
            None => (None, None),
            Some((kind, since)) => (kind.map(str::to_owned), Some(since)),
        };
        list(reading, scope, Wanted { owner, kind, since, ..Wanted::default() }, None, slice).await
    }
}
