//! Requests: what came of asking.

use chrono::{DateTime, Utc};
use domain::event::{Actor, Event, Recorded};
use domain::subscription::{Request, Subscription, SubscriptionEvent};
use domain::{CommandId, Decider, PlanKey, SubscriptionId, TenantPath};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verb {
    /// Assign a service.
    Provision,
    /// Another plan or quantity.
    Change,
    /// Take a service away.
    Deprovision,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestStatus {
    /// Work has not begun.
    Requested,
    /// Being worked on.
    InProgress,
    /// Done.
    Completed,
}

/// A request and how far it is. What it was built from is in its first event, and nowhere else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestView {
    /// The command that asked.
    pub id: CommandId,
    /// What was asked for.
    pub verb: Verb,
    /// How far it is.
    pub status: RequestStatus,
    /// Of which slot.
    pub subscription: SubscriptionId,
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
    /// When work began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was done.
    pub completed_at: Option<DateTime<Utc>>,
}

impl RequestView {
    fn asked(
        verb: Verb,
        id: CommandId,
        request: Option<&Request>,
        event: &Recorded,
    ) -> Option<Self> {
        let subscription = event.stream.split_once('-')?.1.parse().ok()?;
        Some(Self {
            id,
            verb,
            status: RequestStatus::Requested,
            subscription,
            path: event.path.clone(),
            plan: request.map(|request| request.plan.key.clone()),
            quantity: request.map(|request| request.quantity),
            requested_by: event.actor,
            reason: event.reason.clone(),
            requested_at: event.recorded_at,
            effective_at: event.effective_at,
            started_at: None,
            completed_at: None,
        })
    }

    /// The stream that has its events.
    #[must_use]
    pub fn stream(&self) -> String {
        format!("{}-{}", Subscription::CATEGORY, self.subscription)
    }
}

impl View for RequestView {
    const TABLE: &'static str = "view_request";
    const INDEXES: &'static [&'static str] = &["sort, key"];
    const SORTS_BY_TENANT: bool = true;
    const MOVES: bool = true;
    held_in!(requests);

    fn touched(event: &Recorded) -> Vec<Touch> {
        use SubscriptionEvent as E;
        let Event::Subscription(happened) = &event.event else {
            return vec![];
        };
        vec![match happened {
            E::ProvisionRequested { request } | E::ChangeRequested { request } => {
                Touch::fresh(request.id)
            }
            E::DeprovisionRequested { request } => Touch::fresh(request),
            E::ProvisionStarted { request }
            | E::Provisioned { request, .. }
            | E::ChangeStarted { request }
            | E::Changed { request, .. }
            | E::DeprovisionStarted { request }
            | E::Deprovisioned { request } => Touch::existing(request),
        }]
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        use SubscriptionEvent as E;
        let Event::Subscription(happened) = &event.event else {
            return before;
        };
        match happened {
            E::ProvisionRequested { request } => {
                Self::asked(Verb::Provision, request.id, Some(request), event)
            }
            E::ChangeRequested { request } => {
                Self::asked(Verb::Change, request.id, Some(request), event)
            }
            E::DeprovisionRequested { request } => {
                Self::asked(Verb::Deprovision, *request, None, event)
            }
            E::ProvisionStarted { .. } | E::ChangeStarted { .. } | E::DeprovisionStarted { .. } => {
                before.map(|view| Self {
                    status: RequestStatus::InProgress,
                    started_at: Some(event.recorded_at),
                    ..view
                })
            }
            E::Provisioned { .. } | E::Changed { .. } | E::Deprovisioned { .. } => {
                before.map(|view| Self {
                    status: RequestStatus::Completed,
                    completed_at: Some(event.recorded_at),
                    ..view
                })
            }
        }
    }

    fn relocate(&mut self, to: &TenantPath) {
        self.path = to.clone();
    }

    fn index(&self) -> Index {
        let status = match self.status {
            RequestStatus::Requested => "requested",
            RequestStatus::InProgress => "inProgress",
            RequestStatus::Completed => "completed",
        };
        Index {
            path: self.path.to_string(),
            owner: self.subscription.to_string(),
            kind: status.to_owned(),
            sort: format!("{}{}", self.path, self.id),
            ..Index::default()
        }
    }
}
