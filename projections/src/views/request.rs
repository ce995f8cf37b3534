//! Requests: what came of asking.

use chrono::{DateTime, NaiveDate, Utc};
use domain::approval::ApprovalEvent;
use domain::bulk::{Bulk, BulkEvent};
use domain::event::{Actor, Event, Recorded};
use domain::subscription::{Phase, Subscription, Verb};
use domain::{CommandId, Decider, PlanKey, SubscriptionId, TenantPath};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestStatus {
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

/// A request and how far it is. What it was built from is in its first event, and nowhere else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestView {
    /// The command that asked.
    pub id: CommandId,
    /// What was asked for.
    pub verb: Verb,
    /// How far it is, once its day has come; see [`RequestView::status_at`].
    pub status: RequestStatus,
    /// Why it failed, where it did.
    pub detail: Option<String>,
    /// The request that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<CommandId>,
    /// Its parts, in the order of asking.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sub_requests: Vec<CommandId>,
    /// Of its parts, those that have to be approved first, in the order of asking: whatever came of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<CommandId>,
    /// Whether it waits for another request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
    /// Of which slot; none where it is for many.
    pub subscription: Option<SubscriptionId>,
    /// Whose.
    pub path: TenantPath,
    /// The plan that was asked for; none for a deprovisioning.
    pub plan: Option<PlanKey>,
    /// Units that were asked for; none for a deprovisioning.
    pub quantity: Option<u32>,
    /// Who asked.
    pub requested_by: Actor,
    /// Why.
    pub reason: Option<String>,
    /// When it was asked.
    pub requested_at: DateTime<Utc>,
    /// When it is to be true in the business.
    pub effective_at: DateTime<Utc>,
    /// The date that was meant, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_date: Option<NaiveDate>,
    /// When work began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was done.
    pub completed_at: Option<DateTime<Utc>>,
}

impl RequestView {
    /// How far it is at a moment.
    #[must_use]
    pub fn status_at(&self, moment: DateTime<Utc>) -> RequestStatus {
        match self.status {
            RequestStatus::Requested | RequestStatus::Completed if self.effective_at > moment => {
                RequestStatus::Scheduled
            }
            status => status,
        }
    }

    /// The stream that has its events.
    #[must_use]
    pub fn stream(&self) -> String {
        match self.subscription {
            Some(id) => format!("{}-{id}", Subscription::CATEGORY),
            None => format!("{}-{}", Bulk::CATEGORY, self.id),
        }
    }

    fn of_many(id: CommandId, event: &Recorded) -> Self {
        Self {
            id,
            verb: Verb::Provision,
            status: RequestStatus::InProgress,
            detail: None,
            parent: None,
            sub_requests: Vec::new(),
            approvals: Vec::new(),
            waits: false,
            subscription: None,
            path: event.path.clone(),
            plan: None,
            quantity: None,
            requested_by: event.actor,
            reason: event.reason.clone(),
            requested_at: event.recorded_at,
            effective_at: event.effective_at,
            effective_date: event.effective_date,
            started_at: Some(event.recorded_at),
            completed_at: None,
        }
    }
}

impl View for RequestView {
    const TABLE: &'static str = "view_request";
    const INDEXES: &'static [&'static str] = &["sort, key"];
    const SORTS_BY_TENANT: bool = true;
    const MOVES: bool = true;
    held_in!(requests);

    fn touched(event: &Recorded) -> Vec<Touch> {
        let happened = match &event.event {
            Event::Subscription(happened) => happened,
            Event::Bulk(BulkEvent::Requested { request }) => return vec![Touch::fresh(request)],
            Event::Bulk(BulkEvent::Completed { request }) => return vec![Touch::existing(request)],
            Event::Approval(ApprovalEvent::Asked(asked)) => {
                return asked.part_of.map(Touch::existing).into_iter().collect();
            }
            _ => return vec![],
        };
        match happened.phase() {
            Phase::Asked { parent, .. } => {
                let own = Touch::fresh(happened.request());
                std::iter::once(own).chain(parent.map(Touch::existing)).collect()
            }
            _ => vec![Touch::existing(happened.request())],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let happened = match (&event.event, before.is_some()) {
            (Event::Subscription(happened), _) => happened,
            (Event::Bulk(BulkEvent::Requested { request }), _) => {
                return Some(Self::of_many(*request, event));
            }
            (Event::Bulk(BulkEvent::Completed { .. }), true) => {
                return before.map(|view| Self {
                    status: RequestStatus::Completed,
                    completed_at: Some(event.recorded_at),
                    ..view
                });
            }
            (Event::Approval(ApprovalEvent::Asked(asked)), true) => {
                let mut many = before?;
                many.approvals.push(asked.id);
                return Some(many);
            }
            _ => return before,
        };
        let view = match (happened.phase(), before) {
            // What it is a part of is there already.
            (Phase::Asked { .. }, Some(mut parent)) => {
                parent.sub_requests.push(happened.request());
                return Some(parent);
            }
            (Phase::Asked { verb, built, parent, waits, .. }, None) => {
                return Some(Self {
                    id: happened.request(),
                    verb,
                    status: RequestStatus::Requested,
                    detail: None,
                    parent,
                    sub_requests: Vec::new(),
                    approvals: Vec::new(),
                    waits,
                    subscription: Some(event.stream.split_once('-')?.1.parse().ok()?),
                    path: event.path.clone(),
                    plan: built.map(|built| built.plan.key.clone()),
                    quantity: built.map(|built| built.quantity),
                    requested_by: event.actor,
                    reason: event.reason.clone(),
                    requested_at: event.recorded_at,
                    effective_at: event.effective_at,
                    effective_date: event.effective_date,
                    started_at: None,
                    completed_at: None,
                });
            }
            (_, before) => before?,
        };
        Some(match happened.phase() {
            Phase::Asked { .. } => view,
            Phase::Released => Self { waits: false, ..view },
            Phase::Started => Self {
                status: RequestStatus::InProgress,
                started_at: Some(event.recorded_at.max(view.effective_at)),
                ..view
            },
            Phase::Done => Self {
                status: RequestStatus::Completed,
                completed_at: Some(event.recorded_at.max(view.effective_at)),
                ..view
            },
            Phase::Failed => Self {
                status: RequestStatus::Failed,
                detail: happened.detail().map(str::to_owned),
                ..view
            },
            Phase::Retried => {
                Self { status: RequestStatus::Requested, detail: None, started_at: None, ..view }
            }
            Phase::Superseded => Self {
                effective_at: event.effective_at,
                effective_date: event.effective_date,
                ..view
            },
            Phase::Withdrawn => {
                Self { status: RequestStatus::Cancelled, completed_at: None, ..view }
            }
        })
    }

    fn relocate(&mut self, to: &TenantPath) {
        self.path = to.clone();
    }

    fn index(&self) -> Index {
        let status = match self.status {
            RequestStatus::Requested => "requested",
            RequestStatus::InProgress => "inProgress",
            RequestStatus::Completed => "completed",
            RequestStatus::Failed => "failed",
            RequestStatus::Cancelled => "cancelled",
            RequestStatus::Scheduled => "scheduled",
        };
        // Until then it is scheduled, whatever else is said of it.
        let since = match self.status {
            RequestStatus::Requested | RequestStatus::Completed => self.effective_at,
            _ => DateTime::UNIX_EPOCH,
        };
        Index {
            path: self.path.to_string(),
            owner: self.subscription.map(|id| id.to_string()).unwrap_or_default(),
            kind: status.to_owned(),
            sort: format!("{}{}", self.path, self.id),
            since: since.timestamp_micros(),
            ..Index::default()
        }
    }
}
