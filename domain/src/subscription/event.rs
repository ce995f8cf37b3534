//! Facts about subscriptions.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Phase, Request, Verb};
use crate::billing::{Change, Values};
use crate::{CommandId, PlanKey};

/// A fact about a subscription. Outcomes bill; requests and their starts do not, but for taking a service away: that
/// ends what is charged when it is accepted (billing.md, section 2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum SubscriptionEvent {
    /// The service was asked for.
    #[serde(rename = "subscription.provision_requested")]
    ProvisionRequested {
        /// All that was asked.
        request: Box<Request>,
    },
    /// Work on it began.
    #[serde(rename = "subscription.provision_started")]
    ProvisionStarted {
        /// Of which request.
        request: CommandId,
    },
    /// The service is there: a billable event has occurred.
    #[serde(rename = "subscription.provisioned")]
    Provisioned {
        /// The plan that is held from now on.
        plan: PlanKey,
        /// How many of it.
        quantity: u32,
        /// Which request is done.
        request: CommandId,
        /// What the properties are that drive a price.
        #[serde(default, skip_serializing_if = "Values::is_empty")]
        values: Values,
    },
    /// Another plan or quantity was asked for.
    #[serde(rename = "subscription.change_requested")]
    ChangeRequested {
        /// All that was asked.
        request: Box<Request>,
    },
    /// Work on it began.
    #[serde(rename = "subscription.change_started")]
    ChangeStarted {
        /// Of which request.
        request: CommandId,
    },
    /// The change is made.
    #[serde(rename = "subscription.changed")]
    Changed {
        /// The plan that is held from now on.
        plan: PlanKey,
        /// How many of it.
        quantity: u32,
        /// Which request is done.
        request: CommandId,
        /// What the properties are that drive a price.
        #[serde(default, skip_serializing_if = "Values::is_empty")]
        values: Values,
    },
    /// The service was asked to be taken away.
    #[serde(rename = "subscription.deprovision_requested")]
    DeprovisionRequested {
        /// The request that it is a part of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<CommandId>,
        /// The request.
        request: CommandId,
        /// Whether it waits until its users have lost the service.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        waits: bool,
    },
    /// Work on it began.
    #[serde(rename = "subscription.deprovision_started")]
    DeprovisionStarted {
        /// Of which request.
        request: CommandId,
    },
    /// The service is gone.
    #[serde(rename = "subscription.deprovisioned")]
    Deprovisioned {
        /// Which request is done.
        request: CommandId,
    },
    /// The service was asked to rest.
    #[serde(rename = "subscription.suspend_requested")]
    SuspendRequested {
        /// See [`Request::dated`].
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        dated: bool,
        /// The request.
        request: CommandId,
    },
    /// Work on it began.
    #[serde(rename = "subscription.suspend_started")]
    SuspendStarted {
        /// Of which request.
        request: CommandId,
    },
    /// The service rests. It is charged all the same.
    #[serde(rename = "subscription.suspended")]
    Suspended {
        /// Which request is done.
        request: CommandId,
    },
    /// The service was asked to go on.
    #[serde(rename = "subscription.resume_requested")]
    ResumeRequested {
        /// See [`Request::dated`].
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        dated: bool,
        /// The request.
        request: CommandId,
    },
    /// Work on it began.
    #[serde(rename = "subscription.resume_started")]
    ResumeStarted {
        /// Of which request.
        request: CommandId,
    },
    /// The service goes on.
    #[serde(rename = "subscription.resumed")]
    Resumed {
        /// Which request is done.
        request: CommandId,
    },
    /// A request did not work. What was held is still held.
    #[serde(rename = "subscription.request_failed")]
    RequestFailed {
        /// Why, for those who look after it.
        detail: String,
        /// Which.
        request: CommandId,
    },
    /// A request waits no longer for another.
    #[serde(rename = "subscription.request_released")]
    RequestReleased {
        /// Which.
        request: CommandId,
    },
    /// A request that had failed is asked again.
    #[serde(rename = "subscription.request_retried")]
    RequestRetried {
        /// Which.
        request: CommandId,
    },
    /// A request that had not begun was taken back: its facts are no longer true.
    #[serde(rename = "subscription.request_cancelled")]
    RequestCancelled {
        /// Which.
        request: CommandId,
    },
    /// A request that had failed or was stuck was given up: its facts are no longer true.
    #[serde(rename = "subscription.request_reset")]
    RequestReset {
        /// Which.
        request: CommandId,
    },
    /// An outcome was true at another moment, that of this event: the fact that said otherwise is no longer true, and
    /// `fact` is.
    #[serde(rename = "subscription.superseded")]
    Superseded {
        /// It, as it was recorded.
        fact: Box<SubscriptionEvent>,
        /// The position of what is no longer true.
        position: u64,
        /// When that was said to be true.
        was_at: DateTime<Utc>,
    },
}

impl SubscriptionEvent {
    /// What it does to what is held, if anything: the only thing that billing hears of.
    #[must_use]
    pub fn change(&self) -> Option<Change> {
        match self {
            Self::Provisioned { plan, quantity, .. } => {
                Some(Change::Provisioned { plan: plan.clone(), quantity: *quantity })
            }
            Self::Changed { plan, quantity, .. } => {
                Some(Change::Changed { plan: plan.clone(), quantity: *quantity })
            }
            Self::DeprovisionRequested { .. } => Some(Change::Deprovisioned),
            Self::Superseded { fact, .. } => fact.change(),
            Self::ProvisionRequested { .. }
            | Self::ProvisionStarted { .. }
            | Self::ChangeRequested { .. }
            | Self::ChangeStarted { .. }
            | Self::DeprovisionStarted { .. }
            | Self::Deprovisioned { .. }
            | Self::SuspendRequested { .. }
            | Self::SuspendStarted { .. }
            | Self::Suspended { .. }
            | Self::ResumeRequested { .. }
            | Self::ResumeStarted { .. }
            | Self::Resumed { .. }
            | Self::RequestFailed { .. }
            | Self::RequestReleased { .. }
            | Self::RequestRetried { .. }
            | Self::RequestCancelled { .. }
            | Self::RequestReset { .. } => None,
        }
    }

    /// What the properties are that drive a price, where it says what is held.
    #[must_use]
    pub fn values(&self) -> Values {
        match self {
            Self::Provisioned { values, .. } | Self::Changed { values, .. } => values.clone(),
            Self::Superseded { fact, .. } => fact.values(),
            _ => Values::new(),
        }
    }

    /// Whether it says that what is held rests, or that it goes on; none where it is about neither.
    #[must_use]
    pub fn suspended(&self) -> Option<bool> {
        match self {
            Self::Suspended { .. } => Some(true),
            Self::Resumed { .. } => Some(false),
            Self::Superseded { fact, .. } => fact.suspended(),
            _ => None,
        }
    }

    /// The request that it is about.
    #[must_use]
    pub fn request(&self) -> CommandId {
        match self {
            Self::ProvisionRequested { request } | Self::ChangeRequested { request } => request.id,
            Self::ProvisionStarted { request }
            | Self::Provisioned { request, .. }
            | Self::ChangeStarted { request }
            | Self::Changed { request, .. }
            | Self::DeprovisionRequested { request, .. }
            | Self::DeprovisionStarted { request }
            | Self::Deprovisioned { request }
            | Self::SuspendRequested { request, .. }
            | Self::SuspendStarted { request }
            | Self::Suspended { request }
            | Self::ResumeRequested { request, .. }
            | Self::ResumeStarted { request }
            | Self::Resumed { request }
            | Self::RequestFailed { request, .. }
            | Self::RequestReleased { request }
            | Self::RequestRetried { request }
            | Self::RequestCancelled { request }
            | Self::RequestReset { request } => *request,
            Self::Superseded { fact, .. } => fact.request(),
        }
    }

    /// Why a request failed, where it says so.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::RequestFailed { detail, .. } => Some(detail),
            _ => None,
        }
    }

    /// What it says about that request.
    #[must_use]
    pub fn phase(&self) -> Phase<'_> {
        let asked =
            |verb, dated| Phase::Asked { verb, dated, built: None, parent: None, waits: false };
        match self {
            Self::ProvisionRequested { request: built } => built.asked_for(Verb::Provision),
            Self::ChangeRequested { request: built } => built.asked_for(Verb::Change),
            Self::DeprovisionRequested { parent, waits, .. } => Phase::Asked {
                verb: Verb::Deprovision,
                dated: true,
                built: None,
                parent: *parent,
                waits: *waits,
            },
            Self::SuspendRequested { dated, .. } => asked(Verb::Suspend, *dated),
            Self::ResumeRequested { dated, .. } => asked(Verb::Resume, *dated),
            Self::ProvisionStarted { .. }
            | Self::ChangeStarted { .. }
            | Self::DeprovisionStarted { .. }
            | Self::SuspendStarted { .. }
            | Self::ResumeStarted { .. } => Phase::Started,
            Self::Provisioned { .. }
            | Self::Changed { .. }
            | Self::Deprovisioned { .. }
            | Self::Suspended { .. }
            | Self::Resumed { .. } => Phase::Done,
            Self::RequestFailed { .. } => Phase::Failed,
            Self::RequestReleased { .. } => Phase::Released,
            Self::RequestRetried { .. } => Phase::Retried,
            Self::RequestCancelled { .. } | Self::RequestReset { .. } => Phase::Withdrawn,
            Self::Superseded { .. } => Phase::Superseded,
        }
    }
}
