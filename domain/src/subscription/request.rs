//! What a wish about a subscription is built from.

use serde::{Deserialize, Serialize};

use super::{Phase, Verb};
use crate::billing::Holding;
use crate::overrides::{ResolvedProperty, Source};
use crate::seal::Sealed;
use crate::service::{Level, Process};
use crate::text::Code;
use crate::{CommandId, OrganizationId, PlanKey, ServiceKey, SubscriptionId, UserId};

/// Everything that a wish is built from, as it was when it was made: what is changed later does not
/// change what was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The customer who holds it, or whose user does.
    pub customer: RequestCustomer,
    /// Whether its moment was given, where its outcome is reported; otherwise that counts from the report.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dated: bool,
    /// The command that asked; also names the request.
    pub id: CommandId,
    /// The instance's name, where the service has many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The request that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<CommandId>,
    /// The plan with its properties, overrides resolved.
    pub plan: RequestPlan,
    /// The properties of all other levels, resolved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<ResolvedProperty>,
    /// Units.
    pub quantity: u32,
    /// The service, and the version of its definition that is used.
    pub service: RequestService,
    /// Its slot.
    pub subscription: SubscriptionId,
    /// The user who holds it, for a user service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<RequestUser>,
    /// The request that it waits for: the customer's, where the user's service needs that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<CommandId>,
}

/// The customer of a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestCustomer {
    /// Short name.
    pub code: Code,
    /// Id.
    pub id: OrganizationId,
    /// Name.
    pub name: String,
    /// The billing API's id.
    pub number: u32,
}

/// The plan of a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestPlan {
    /// Names it.
    pub key: PlanKey,
    /// As people read it.
    pub name: String,
    /// Each with where its value comes from.
    pub properties: Vec<ResolvedProperty>,
    /// Stock code.
    pub sku: String,
}

/// The service of a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestService {
    /// Names it.
    pub key: ServiceKey,
    /// To whom it is provisioned.
    pub level: Level,
    /// As people read it.
    pub name: String,
    /// Who does the work.
    #[serde(default, skip_serializing_if = "Process::is_immediate")]
    pub process: Process,
    /// Of the definition.
    pub version: u32,
}

/// The user of a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestUser {
    /// Id.
    pub id: UserId,
    /// Who it was then.
    pub person: Sealed,
}

impl Request {
    pub(super) fn asked_for(&self, verb: Verb) -> Phase<'_> {
        Phase::Asked {
            verb,
            dated: self.dated,
            built: Some(self),
            parent: self.parent,
            waits: self.waits_for.is_some(),
        }
    }

    /// What was filled in.
    pub fn inputs(&self) -> impl Iterator<Item = &ResolvedProperty> {
        self.properties.iter().filter(|it| it.source == Some(Source::Input))
    }

    /// As those see it who do not publish services.
    #[must_use]
    pub fn without_hidden(mut self) -> Self {
        self.plan.properties.retain(|property| !property.hidden);
        self.properties.retain(|property| !property.hidden);
        self
    }

    /// What will be held when it is done.
    #[must_use]
    pub fn holding(&self) -> Holding<'_> {
        Holding { plan: &self.plan.key, quantity: self.quantity }
    }
}
