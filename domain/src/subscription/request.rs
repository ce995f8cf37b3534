//! What a wish about a subscription is built from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Phase, Verb};
use crate::billing::{Holding, Values};
use crate::effective::{Candidate, Effective, Level as At};
use crate::overrides::{ResolvedProperty, Source};
use crate::property::Scope;
use crate::seal::Sealed;
use crate::service::{Level, Process};
use crate::text::Code;
use crate::{CommandId, OrganizationId, PlanKey, PropertyKey, ServiceKey, SubscriptionId, UserId};

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
    /// What was filled in and does not hold: an organisation above has locked it. It holds again once it is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadowed: Vec<ResolvedProperty>,
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
        let holding = self.properties.iter().filter(|it| it.source == Some(Source::Input));
        holding.chain(&self.shadowed)
    }

    /// The value of every property.
    pub(super) fn values(&self) -> BTreeMap<&PropertyKey, &str> {
        let all = self.plan.properties.iter().chain(&self.properties);
        all.map(|it| (&it.key, it.value.as_str())).collect()
    }

    /// The values of the properties that drive a price.
    #[must_use]
    pub fn priced_values(&self) -> Values {
        let all = self.plan.properties.iter().chain(&self.properties);
        let priced = all.filter(|it| it.priced && !it.hidden);
        priced.map(|it| (it.key.clone(), it.value.clone())).collect()
    }

    /// The same request with what organisations above set otherwise by now: of `resolved`, what one of them says, and
    /// what one of them said and says no more. All the rest is as it was asked for.
    #[must_use]
    pub fn overridden_by(&self, id: CommandId, resolved: &[Effective<'_>]) -> Self {
        let mut renewed = Self { dated: false, id, parent: None, waits_for: None, ..self.clone() };
        for effective in resolved {
            let property = effective.property;
            let list = match property.scope {
                Scope::Plan => &mut renewed.plan.properties,
                _ => &mut renewed.properties,
            };
            let place = list.iter().position(|it| it.key == property.key);
            let is_set = |winner: &Candidate<'_>| matches!(winner.level, At::Organization { .. });
            let was_set = place.is_some_and(|place| list[place].overridden_by.is_some());
            if !was_set && !effective.winner().is_some_and(is_set) {
                continue;
            }
            let new = ResolvedProperty::of(effective);
            let same = place.zip(new.as_ref());
            if same.is_some_and(|(place, new)| list[place].value == new.value) {
                continue;
            }
            let old = place.map(|place| list.remove(place));
            let shadowed = &mut renewed.shadowed;
            match &new {
                Some(new) if new.source == Some(Source::Input) => {
                    shadowed.retain(|it| it.key != new.key);
                }
                _ => shadowed.extend(old.filter(|old| old.source == Some(Source::Input))),
            }
            list.extend(new);
        }
        for list in [&mut renewed.plan.properties, &mut renewed.properties, &mut renewed.shadowed] {
            list.sort_by(|a, b| a.key.cmp(&b.key));
        }
        renewed
    }

    /// As those see it who do not publish services.
    #[must_use]
    pub fn without_hidden(mut self) -> Self {
        self.plan.properties.retain(|property| !property.hidden);
        self.properties.retain(|property| !property.hidden);
        self.shadowed.retain(|property| !property.hidden);
        self
    }

    /// What will be held when it is done.
    #[must_use]
    pub fn holding(&self) -> Holding<'_> {
        Holding { plan: &self.plan.key, quantity: self.quantity }
    }
}
