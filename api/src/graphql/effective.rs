//! Effective values: what a property is for somebody, and why.

use std::sync::Arc;

use async_graphql::{Context, Enum, Object};
use chrono::{DateTime, Utc};
use domain::property::{self, items_of};
use domain::{PlanKey, ServiceKey, SubscriptionId, TenantPath};
use projections::effective::{self, EffectiveProperty as Property, Question, SetValue};

use super::organization::Organization;
use super::reading::{Reading, Resolved, reading};
use super::scalar::KnownAt;
use crate::problem::Problem;

/// The level that a property is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "property::Scope")]
pub(crate) enum PropertyScope {
    /// One value for everybody.
    Service,
    /// A value for each reseller.
    Reseller,
    /// A value for each customer.
    Customer,
    /// A value for each user.
    User,
    /// A value for each plan.
    Plan,
}

/// Who may set a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "property::Kind")]
pub(crate) enum PropertyKind {
    /// The provider's administrators.
    Configuration,
    /// Who provisions.
    Input,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "effective::Origin")]
pub(crate) enum ValueOrigin {
    /// The service's definition.
    Default,
    /// An organisation above.
    Inherited,
    /// Filled in when it was provisioned.
    Input,
    /// The very organisation asked about.
    Override,
    /// The plan.
    Plan,
}

/// A property of somebody: what it is, and why.
#[derive(Clone)]
pub(crate) struct EffectiveProperty {
    all: Arc<Vec<Property>>,
    place: usize,
}

impl EffectiveProperty {
    fn get(&self) -> &Property {
        &self.all[self.place]
    }
}

/// A property of somebody: what it is, and why.
#[Object]
impl EffectiveProperty {
    /// Names it within its service.
    async fn key(&self) -> &str {
        self.get().property.key.as_str()
    }

    /// As people read it.
    async fn label(&self) -> &str {
        &self.get().property.label
    }

    /// The level that it is for.
    async fn scope(&self) -> PropertyScope {
        self.get().property.scope.into()
    }

    /// Who may set it.
    async fn kind(&self) -> PropertyKind {
        self.get().property.kind.into()
    }

    /// The value; none where nobody says anything.
    async fn value(&self) -> Option<&str> {
        Some(&self.get().winner.as_ref()?.value)
    }

    /// The value as a list: the items of a list, and one item of everything else.
    async fn values(&self) -> Vec<&str> {
        let winner = self.get().winner.as_ref();
        winner.map(|winner| items_of(&winner.value).collect()).unwrap_or_default()
    }

    /// Where the value comes from.
    async fn set(&self) -> Option<PropertyValue> {
        self.get().winner.clone().map(PropertyValue)
    }

    /// The values that lost against it, the nearer first.
    async fn losers(&self) -> Vec<PropertyValue> {
        self.get().losers.iter().cloned().map(PropertyValue).collect()
    }
}

/// A value that somebody set for a property.
#[derive(Clone)]
pub(crate) struct PropertyValue(SetValue);

impl PropertyValue {
    /// What was set where the caller cannot see is nobody's for him.
    fn is_seen(&self, reading: &Reading) -> bool {
        let place = self.0.organization.as_ref();
        place.is_some_and(|(_, path)| reading.scope().0.contains(path))
            || place.is_none() && reading.principal.sees_hidden()
            || self.0.origin == effective::Origin::Input
    }
}

/// A value that somebody set for a property.
#[Object]
impl PropertyValue {
    /// It.
    async fn value(&self) -> &str {
        &self.0.value
    }

    /// Where it comes from.
    async fn origin(&self) -> ValueOrigin {
        self.0.origin.into()
    }

    /// The organisation that it is set at, if the caller can see it.
    async fn organization(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        match &self.0.organization {
            None => Ok(None),
            Some((id, _)) => Organization::of(reading(context), *id).await,
        }
    }

    /// Since when.
    async fn since(&self) -> Option<DateTime<Utc>> {
        self.0.since
    }

    /// Until when, where it ends by itself.
    async fn until(&self) -> Option<DateTime<Utc>> {
        self.0.until
    }

    /// Who set it, `user:<id>` or `system`, if the caller can see where.
    async fn actor(&self, context: &Context<'_>) -> Option<String> {
        let actor = self.0.actor.filter(|_| self.is_seen(reading(context)));
        actor.map(|actor| actor.to_string())
    }

    /// Why, if the caller can see where.
    async fn reason(&self, context: &Context<'_>) -> Option<&str> {
        self.0.reason.as_deref().filter(|_| self.is_seen(reading(context)))
    }

    /// Whether nobody below can set another.
    async fn locked(&self) -> bool {
        self.0.locked
    }

    /// What the property would be if this had not been set.
    async fn without(&self) -> Option<&str> {
        self.0.without.as_deref()
    }
}

/// Whose properties: where, and of which service.
pub(crate) struct Whose<'a> {
    /// The organisation, or that of the user.
    pub(crate) path: &'a TenantPath,
    /// The plan that is thought of.
    pub(crate) plan: Option<PlanKey>,
    /// The service.
    pub(crate) service: ServiceKey,
    /// What is held.
    pub(crate) subscription: Option<SubscriptionId>,
}

/// What somebody's properties are or were; hidden ones only for those who publish services.
pub(crate) async fn properties(
    reading: &Reading,
    holder: Whose<'_>,
    as_of: Option<DateTime<Utc>>,
    known_at: Option<KnownAt>,
) -> Resolved<Vec<EffectiveProperty>> {
    let known_at = match known_at {
        None => None,
        Some(known_at) => Some(known_at.position(reading).await?),
    };
    let question = Question {
        as_of: as_of.unwrap_or(reading.now),
        known_at,
        path: holder.path.clone(),
        place_then: None,
        plan: holder.plan,
        service: holder.service,
        subscription: holder.subscription,
    };
    let all = reading.properties(question).await?;
    let sees_all = reading.principal.sees_hidden();
    let shown = (0..all.len()).filter(|place| sees_all || !all[*place].property.hidden);
    Ok(shown.map(|place| EffectiveProperty { all: all.clone(), place }).collect())
}

/// The keys of a service and a plan as callers write them.
pub(crate) fn keys(service: &str, plan: Option<&str>) -> Resolved<(ServiceKey, Option<PlanKey>)> {
    let service = ServiceKey::parse(service)
        .ok_or_else(|| Problem::bad_parameter("service", "This is the key of a service."))?;
    let plan = plan.map(|plan| {
        PlanKey::parse(plan)
            .ok_or_else(|| Problem::bad_parameter("plan", "This is the key of a plan."))
    });
    Ok((service, plan.transpose()?))
}
