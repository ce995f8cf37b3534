//! What waits for approval, and what came of it.

use std::sync::Arc;

use async_graphql::connection::{Connection, Edge, OpaqueCursor};
use async_graphql::{Context, Enum, ID, Json, Object, SimpleObject};
use chrono::{DateTime, Utc};
use commands::resource::ApprovalResource;
use domain::approval::{self, Asking};
use domain::{CommandId, SubscriptionId, UserId};
use projections::finder::{self, Cursor, Query as Wanted};
use projections::views::{ApprovalView, Asked, AskedView};
use uuid::Uuid;

use super::connection::{Slice, check, has_more};
use super::id::GlobalId;
use super::organization::Organization;
use super::reading::{Reading, Resolved, reading};
use super::subscription::Request;
use super::user::User;
use crate::problem::Problem;
use crate::rest::approvals::{permit, shown_to};

/// How far something is that has to be approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "approval::Status")]
pub(crate) enum ApprovalStatus {
    /// Somebody has to answer.
    Waiting,
    /// Approved, and carried out.
    Granted,
    /// Somebody disagreed.
    Rejected,
    /// Nobody answered in time.
    Expired,
    /// Taken back.
    Withdrawn,
    /// Approved, and refused when it was to be carried out.
    Failed,
}

/// What has to be approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Asking")]
pub(crate) enum ApprovalVerb {
    /// Assign a service.
    Provision,
    /// Another plan, quantity or properties.
    Change,
    /// Take a service away.
    Deprovision,
}

/// Why something could not be carried out.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct ApprovalFailure {
    /// The code of the refusal.
    code: String,
    /// The refusal.
    detail: String,
}

/// Somebody has agreed.
#[derive(Clone)]
pub(crate) struct ApprovalAnswer(approval::Approved);

/// Somebody has agreed.
#[Object]
impl ApprovalAnswer {
    /// When.
    async fn at(&self) -> DateTime<Utc> {
        self.0.at
    }

    /// Who, in the REST API.
    async fn user_uuid(&self) -> Uuid {
        self.0.by.0
    }

    /// Who, if the caller can see him.
    async fn user(&self, context: &Context<'_>) -> Resolved<Option<User>> {
        User::of(reading(context), self.0.by).await
    }
}

/// Those who are asked together.
#[derive(Clone)]
pub(crate) struct ApprovalStep {
    step: approval::Step,
    answers: Vec<ApprovalAnswer>,
}

/// Those who are asked together.
#[Object]
impl ApprovalStep {
    /// How many have to agree.
    async fn needed(&self) -> u32 {
        self.step.needed
    }

    /// Whoever holds this role at the organisation whose policy it is can agree.
    async fn role(&self) -> Option<String> {
        self.step.role.as_ref().map(ToString::to_string)
    }

    /// Who can agree, in the REST API.
    async fn user_uuids(&self) -> Vec<Uuid> {
        self.step.users.iter().map(|id| id.0).collect()
    }

    /// Who can agree, as far as the caller can see them.
    async fn users(&self, context: &Context<'_>) -> Resolved<Option<Vec<User>>> {
        let users = self.step.users.iter().map(|id| User::of(reading(context), *id));
        let users = futures_util::future::try_join_all(users).await?;
        Ok(Some(users.into_iter().flatten().collect()))
    }

    /// Who has agreed.
    async fn answers(&self) -> &[ApprovalAnswer] {
        &self.answers
    }
}

/// Something that was asked for and has to be approved, or had to be.
#[derive(Clone)]
pub(crate) struct Approval {
    view: Arc<ApprovalView>,
    shown: ApprovalResource,
}

/// Something that was asked for and has to be approved, or had to be.
#[Object]
impl Approval {
    /// The id in the REST API; when it is granted, the request has it, too.
    async fn uuid(&self) -> Uuid {
        self.shown.id
    }

    /// How far it is.
    async fn status(&self) -> ApprovalStatus {
        self.view.progress.status.into()
    }

    /// The request for many that it is a part of.
    async fn parent(&self, context: &Context<'_>) -> Resolved<Option<Request>> {
        match self.shown.parent_id {
            None => Ok(None),
            Some(id) => Request::of(reading(context), CommandId(id)).await,
        }
    }

    /// What is asked for.
    async fn verb(&self) -> ApprovalVerb {
        self.shown.verb.into()
    }

    /// The id of the subscription that it is about, or will be, in the REST API.
    async fn subscription_uuid(&self) -> Uuid {
        self.shown.subscription_id
    }

    /// The key of the service.
    async fn service_key(&self) -> &str {
        &self.shown.service
    }

    /// The key of the plan, as it was asked for.
    async fn plan_key(&self) -> Option<&str> {
        self.shown.plan.as_deref()
    }

    /// Units, as they were asked for.
    async fn quantity(&self) -> Option<i64> {
        self.shown.quantity
    }

    /// The instance's name.
    async fn instance(&self) -> Option<&str> {
        self.shown.instance.as_deref()
    }

    /// What was filled in, by property; what services hide only for those who publish them.
    async fn properties(&self) -> Json<serde_json::Value> {
        Json(serde_json::to_value(&self.shown.properties).unwrap_or_default())
    }

    /// From when, as it was asked for; as of the last approval where there is none.
    async fn effective_at(&self) -> Option<&str> {
        self.shown.effective_at.as_deref()
    }

    /// Why.
    async fn reason(&self) -> Option<&str> {
        self.shown.reason.as_deref()
    }

    /// The customer for whom, or for whose user, it is.
    async fn customer(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        Organization::of(reading(context), self.view.progress.asked.wish.customer).await
    }

    /// The user for whom it is, for a user service.
    async fn user(&self, context: &Context<'_>) -> Resolved<Option<User>> {
        match self.view.progress.asked.wish.user {
            None => Ok(None),
            Some(id) => User::of(reading(context), id).await,
        }
    }

    /// Who asked, in the REST API.
    async fn requested_by_uuid(&self) -> Uuid {
        self.shown.requested_by
    }

    /// Who asked, if the caller can see him.
    async fn requested_by(&self, context: &Context<'_>) -> Resolved<Option<User>> {
        User::of(reading(context), UserId(self.shown.requested_by)).await
    }

    /// When it was asked.
    async fn requested_at(&self) -> DateTime<Utc> {
        self.shown.requested_at
    }

    /// Who has to agree, one step after another.
    async fn steps(&self) -> Vec<ApprovalStep> {
        let progress = &self.view.progress;
        let step = |(index, step): (usize, &approval::Step)| ApprovalStep {
            step: step.clone(),
            answers: progress.approved_in(index).cloned().map(ApprovalAnswer).collect(),
        };
        progress.asked.steps.iter().enumerate().map(step).collect()
    }

    /// The step that is waited for, from 0; none where nobody has to answer any more.
    async fn step(&self) -> Option<usize> {
        self.shown.step
    }

    /// When it is rejected by itself, if nobody has answered.
    async fn expires_at(&self) -> DateTime<Utc> {
        self.shown.expires_at
    }

    /// How often those who are asked were reminded.
    async fn reminders(&self) -> u32 {
        self.shown.reminders
    }

    /// When they are reminded next.
    async fn next_reminder_at(&self) -> Option<DateTime<Utc>> {
        self.shown.next_reminder_at
    }

    /// Who rejected it, in the REST API.
    async fn rejected_by_uuid(&self) -> Option<Uuid> {
        self.shown.rejected_by
    }

    /// Since when it does not wait any more.
    async fn decided_at(&self) -> Option<DateTime<Utc>> {
        self.shown.decided_at
    }

    /// Why it could not be carried out although it was approved.
    async fn failure(&self) -> Option<ApprovalFailure> {
        let failure = self.shown.failure.clone()?;
        Some(ApprovalFailure { code: failure.code, detail: failure.detail })
    }

    /// The `ETag` in the REST API.
    async fn version(&self) -> u64 {
        self.shown.version
    }
}

/// How much waits; counted only where somebody asks.
pub(crate) struct CountedApprovals;

#[Object]
impl CountedApprovals {
    /// How many nodes there are altogether.
    async fn total_count(&self, context: &Context<'_>) -> Resolved<Option<u64>> {
        let reading = reading(context);
        let database = reading.app.database();
        let count = finder::count_waiting_for(database, &reading.scope(), &asked(reading)).await?;
        Ok(Some(count))
    }
}

/// What waits, in the order of tenants.
pub(crate) type ApprovalConnection = Connection<OpaqueCursor<Cursor>, Approval, CountedApprovals>;

fn asked(reading: &Reading) -> Asked<'_> {
    let principal = &reading.principal;
    let (user, organization) = (principal.user, principal.organization);
    Asked { user, organization, roles: &principal.authority.roles }
}

impl Approval {
    fn shown(reading: &Reading, view: Arc<ApprovalView>) -> Self {
        Self { shown: shown_to(&reading.principal, &view), view }
    }

    /// Something that has to be approved, if the caller may see it.
    pub(crate) async fn get(reading: &Reading, id: &ID) -> Resolved<Self> {
        let id = match GlobalId::decode(id) {
            Some(GlobalId::Request(id)) => Some(id),
            _ => id.parse::<CommandId>().ok(),
        };
        let id = id.ok_or_else(Problem::not_found)?;
        let view = reading.find::<ApprovalView>(id).await?.ok_or_else(Problem::not_found)?;
        permit(&reading.principal, &view).await?;
        Ok(Self::shown(reading, view))
    }

    /// The approval that a request had, if it needed one.
    pub(crate) async fn of(reading: &Reading, id: CommandId) -> Resolved<Option<Self>> {
        let view = reading.find::<ApprovalView>(id).await?;
        Ok(view.map(|view| Self::shown(reading, view)))
    }

    /// What waits about a subscription.
    pub(crate) async fn waiting(reading: &Reading, id: SubscriptionId) -> Resolved<Option<Self>> {
        let Some(asked) = reading.find::<AskedView>(id).await? else { return Ok(None) };
        let found = Self::of(reading, asked.approval).await?;
        Ok(found.filter(|it| it.view.progress.status == approval::Status::Waiting))
    }

    /// What waits for the caller.
    pub(crate) async fn list(
        reading: &Reading,
        slice: &Slice,
    ) -> Resolved<Option<ApprovalConnection>> {
        let window = slice.window::<Cursor>()?;
        check(&window)?;
        let query = Wanted {
            after: window.after.clone(),
            before: window.before.clone(),
            limit: window.limit,
            end: window.end,
            ..Wanted::default()
        };
        let (database, scope) = (reading.app.database(), reading.scope());
        let page = finder::waiting_for(database, &scope, &asked(reading), &query).await?;
        let (has_previous, has_next) = has_more(&window, page.more);
        let mut connection =
            Connection::with_additional_fields(has_previous, has_next, CountedApprovals);
        connection.edges.extend(
            page.items
                .into_iter()
                .map(|(cursor, view)| Edge::new(OpaqueCursor(cursor), Self::shown(reading, view))),
        );
        Ok(Some(connection))
    }
}
