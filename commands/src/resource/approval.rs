//! What waits for approval, and the policies that have it wait.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::approval::{Approvers, Asking, Policy, Status, WishedProperty};
use domain::{OrganizationId, ServiceKey};
use projections::views::ApprovalView;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::usecase::approvals::policies::ALL_SERVICES;

/// Who has to approve what, at an organisation and below it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalPolicyResource {
    /// The organisation that set it.
    pub organization_id: Uuid,
    /// The service's key; `*` for all services that have no policy of their own there.
    pub service: String,
    /// What has to be approved, of `provision`, `change` and `deprovision`.
    #[schema(value_type = Vec<String>)]
    pub verbs: Vec<Asking>,
    /// So many managers, one after another.
    pub managers: Option<u32>,
    /// So many of `users`, or of those with the role.
    pub needed: Option<u32>,
    /// The users who can approve.
    pub users: Option<Vec<Uuid>>,
    /// The role whose holders at the organisation can approve.
    pub role: Option<String>,
    /// Hours until those who are asked are reminded, again and again.
    pub remind_after_hours: u32,
    /// Hours until a wish is rejected that nobody has answered.
    pub expires_after_hours: u32,
}

impl ApprovalPolicyResource {
    /// The resource of a policy.
    #[must_use]
    pub fn new(
        organization: OrganizationId,
        service: Option<&ServiceKey>,
        policy: &Policy,
    ) -> Self {
        let (managers, needed, users, role) = match &policy.approvers {
            Approvers::Managers { levels } => (Some(*levels), None, None, None),
            Approvers::Users { needed, users } => {
                (None, Some(*needed), Some(users.iter().map(|id| id.0).collect()), None)
            }
            Approvers::Role { needed, role } => (None, Some(*needed), None, Some(role.to_string())),
        };
        Self {
            organization_id: organization.0,
            service: service.map_or_else(|| ALL_SERVICES.to_owned(), ToString::to_string),
            verbs: policy.asking.iter().copied().collect(),
            managers,
            needed,
            users,
            role,
            remind_after_hours: policy.remind_after_hours,
            expires_after_hours: policy.expires_after_hours,
        }
    }
}

/// Something that was asked for, and waits for approval or waited.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalResource {
    /// Names it. When it is granted, it is the request of this id.
    pub id: Uuid,
    /// `waiting`, `granted`, `rejected`, `expired`, `withdrawn` or `failed`.
    #[schema(value_type = String)]
    pub approval_status: Status,
    /// The request for many that it is a part of.
    pub parent_id: Option<Uuid>,
    /// `provision`, `change` or `deprovision`.
    #[schema(value_type = String)]
    pub verb: Asking,
    /// The customer for whom, or for whose user, it is.
    pub customer_id: Uuid,
    /// The user for whom it is, for a user service.
    pub user_id: Option<Uuid>,
    /// The subscription that it is about, or will be.
    pub subscription_id: Uuid,
    /// The service's key.
    pub service: String,
    /// The plan's key, as it was asked for.
    pub plan: Option<String>,
    /// Units, as they were asked for.
    pub quantity: Option<i64>,
    /// The instance's name.
    pub instance: Option<String>,
    /// What was filled in.
    #[schema(value_type = Object)]
    pub properties: BTreeMap<String, serde_json::Value>,
    /// From when, as it was asked for; as of the last approval where it is left out.
    pub effective_at: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who asked.
    pub requested_by: Uuid,
    /// Who asked as that user, where somebody impersonated him.
    pub impersonated_by: Option<Uuid>,
    /// When it was asked.
    pub requested_at: DateTime<Utc>,
    /// Who has to agree, one step after another.
    pub steps: Vec<ApprovalStepResource>,
    /// The step that is waited for, from 0; none where nobody has to answer any more.
    pub step: Option<usize>,
    /// When it is rejected by itself, if nobody has answered.
    pub expires_at: DateTime<Utc>,
    /// How often those who are asked were reminded.
    pub reminders: u32,
    /// When they are reminded next; none where nobody has to answer any more.
    pub next_reminder_at: Option<DateTime<Utc>>,
    /// Who rejected it.
    pub rejected_by: Option<Uuid>,
    /// Since when it does not wait any more.
    pub decided_at: Option<DateTime<Utc>>,
    /// Why it could not be carried out although it was approved.
    pub failure: Option<ApprovalFailureResource>,
    /// Its `ETag`.
    pub version: u64,
}

/// Those who are asked together.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalStepResource {
    /// The organisation whose policy it is.
    pub organization_id: Uuid,
    /// How many have to agree.
    pub needed: u32,
    /// Who can.
    pub users: Vec<Uuid>,
    /// Whoever holds this role at the organisation can.
    pub role: Option<String>,
    /// Who has agreed, and when.
    pub approved: Vec<ApprovedResource>,
}

/// Somebody has agreed.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovedResource {
    /// Who.
    pub user_id: Uuid,
    /// When.
    pub at: DateTime<Utc>,
}

/// Why something could not be carried out.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalFailureResource {
    /// The code of the refusal.
    pub code: String,
    /// The refusal.
    pub detail: String,
}

impl ApprovalResource {
    /// As those see it who publish services.
    #[must_use]
    pub fn whole(view: &ApprovalView) -> Self {
        Self::of(view, |_| true)
    }

    /// As everybody else sees it: nothing hidden.
    #[must_use]
    pub fn shown(view: &ApprovalView) -> Self {
        Self::of(view, |property| !property.hidden)
    }

    fn of(view: &ApprovalView, is_shown: fn(&WishedProperty) -> bool) -> Self {
        let progress = &view.progress;
        let (asked, wish) = (&progress.asked, &progress.asked.wish);
        let waits = progress.status == Status::Waiting;
        let properties = wish.properties.iter().filter(|property| is_shown(property));
        let step = |(index, step): (usize, &domain::approval::Step)| ApprovalStepResource {
            organization_id: step.organization.0,
            needed: step.needed,
            users: step.users.iter().map(|id| id.0).collect(),
            role: step.role.as_ref().map(ToString::to_string),
            approved: progress
                .approved_in(index)
                .map(|approved| ApprovedResource { user_id: approved.by.0, at: approved.at })
                .collect(),
        };
        Self {
            id: view.id.0,
            approval_status: progress.status,
            parent_id: progress.asked.part_of.map(|id| id.0),
            verb: wish.asking,
            customer_id: wish.customer.0,
            user_id: wish.user.map(|id| id.0),
            subscription_id: wish.subscription.0,
            service: wish.service.to_string(),
            plan: wish.plan.clone(),
            quantity: wish.quantity,
            instance: wish.instance.clone(),
            properties: properties.map(|it| (it.key.clone(), it.value.clone())).collect(),
            effective_at: wish.effective_at.clone(),
            reason: wish.reason.clone(),
            requested_by: asked.requester.user.0,
            impersonated_by: asked.requester.impersonator.map(|id| id.0),
            requested_at: progress.asked_at,
            steps: asked.steps.iter().enumerate().map(step).collect(),
            step: progress.step().filter(|_| waits),
            expires_at: asked.expires_at,
            reminders: progress.reminders,
            next_reminder_at: waits.then_some(progress.reminder_at),
            rejected_by: progress.rejected_by.map(|id| id.0),
            decided_at: progress.decided_at,
            failure: progress.failure.as_ref().map(|failure| ApprovalFailureResource {
                code: failure.code.clone(),
                detail: failure.detail.clone(),
            }),
            version: view.version,
        }
    }
}
