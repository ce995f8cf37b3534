//! Services: what is sold.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Object, SimpleObject};
use domain::permission::Permission;
use domain::service::{self, Definition};
use domain::{PlanKey, ServiceKey};
use projections::finder::{Query as Wanted, Scope};
use projections::views::ServiceView;

use super::connection::{Order, Slice, ViewConnection, list};
use super::id::GlobalId;
use super::reading::{Reading, Resolved, reading};
use super::scalar::Money;
use crate::problem::Problem;

/// To whom a service is provisioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "service::Level")]
pub(crate) enum Level {
    /// To a customer only.
    Customer,
    /// To a customer's users.
    User,
}

/// How many of a service one holder can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "service::Instancing")]
pub(crate) enum Instancing {
    /// On or off.
    Single,
    /// Any number of named instances.
    Multi,
}

/// A property whose value makes one plan differ from another.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct ServiceProperty {
    /// Names it.
    key: String,
    /// As people read it.
    label: String,
}

/// A property's value in a plan.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct PlanProperty {
    /// Names the property.
    key: String,
    /// As people read the property's name.
    label: String,
    /// Its value.
    value: String,
}

/// A product option of a service.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct Plan {
    /// Names it within its service.
    key: String,
    /// As people read it.
    name: String,
    /// Stock code.
    sku: String,
    /// Per month and unit, in the provider's currency; none: not priced yet.
    price: Option<Money>,
    /// A value for each property of the service.
    properties: Vec<PlanProperty>,
    /// Not sold any more.
    retired: bool,
}

impl Plan {
    fn all_of(definition: &Definition) -> Vec<Self> {
        definition.plans.iter().map(|plan| Self::new(definition, plan)).collect()
    }

    fn new(definition: &Definition, plan: &service::Plan) -> Self {
        let label = |key: &domain::PropertyKey| {
            let known = definition.properties.iter().find(|property| property.key == *key);
            known.map_or(key.as_str(), |property| &property.label).to_owned()
        };
        let properties = plan.properties.iter().map(|(key, value)| PlanProperty {
            key: key.to_string(),
            label: label(key),
            value: value.clone(),
        });
        Self {
            key: plan.key.to_string(),
            name: plan.name.clone(),
            sku: plan.sku.clone(),
            price: plan.price.map(Money::from),
            properties: properties.collect(),
            retired: plan.retired,
        }
    }
}

/// What a service is: one state of its definition.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct ServiceDefinition {
    /// As people read it.
    name: String,
    /// What it is, for those who buy it.
    description: String,
    /// Where it stands in the catalogue.
    category: String,
    /// To whom it is provisioned.
    level: Level,
    /// How many of it one holder can have.
    instancing: Instancing,
    /// What the plans differ in.
    properties: Vec<ServiceProperty>,
    /// What can be bought.
    plans: Vec<Plan>,
    /// Pattern of the line description; none: the default.
    line_description: Option<String>,
    /// Pattern of the summary description; none: the default.
    summary_description: Option<String>,
}

impl From<&Definition> for ServiceDefinition {
    fn from(definition: &Definition) -> Self {
        let properties = definition.properties.iter().map(|property| ServiceProperty {
            key: property.key.to_string(),
            label: property.label.clone(),
        });
        Self {
            name: definition.name.clone(),
            description: definition.description.clone(),
            category: definition.category.clone(),
            level: definition.level.into(),
            instancing: definition.instancing.into(),
            properties: properties.collect(),
            plans: Plan::all_of(definition),
            line_description: definition.line_description.clone(),
            summary_description: definition.summary_description.clone(),
        }
    }
}

/// A service: what is sold, defined once by the provider.
#[derive(Clone)]
pub(crate) struct Service(Arc<ServiceView>);

impl From<Arc<ServiceView>> for Service {
    fn from(view: Arc<ServiceView>) -> Self {
        Self(view)
    }
}

/// A service: what is sold, defined once by the provider.
#[Object]
impl Service {
    /// The global id.
    pub(crate) async fn id(&self) -> ID {
        GlobalId::Service(self.0.key.clone()).encode()
    }

    /// Names it; never changes.
    async fn key(&self) -> &str {
        self.0.key.as_str()
    }

    /// As people read it.
    async fn name(&self) -> &str {
        self.definition().map_or(self.0.key.as_str(), |definition| &definition.name)
    }

    /// To whom it is provisioned.
    async fn level(&self) -> Option<Level> {
        self.definition().map(|definition| definition.level.into())
    }

    /// How many of it one holder can have.
    async fn instancing(&self) -> Option<Instancing> {
        self.definition().map(|definition| definition.instancing.into())
    }

    /// What can be bought.
    async fn plans(&self) -> Vec<Plan> {
        self.definition().map(Plan::all_of).unwrap_or_default()
    }

    /// Of what is sold: 1, 2, 3, ...; 0 before the first publication.
    async fn published_version(&self) -> u32 {
        self.0.published_version
    }

    /// What is sold; none before the first publication.
    async fn published(&self) -> Option<ServiceDefinition> {
        self.0.published.as_ref().map(ServiceDefinition::from)
    }

    /// What is being edited; only for those who publish services.
    async fn draft(&self, context: &Context<'_>) -> Resolved<Option<ServiceDefinition>> {
        reading(context).require(Permission::PublishServices)?;
        Ok(self.0.draft.as_ref().map(ServiceDefinition::from))
    }

    /// The `ETag` in the REST API.
    async fn version(&self) -> u64 {
        self.0.version
    }
}

impl Service {
    /// What is sold; of a service that never was published, what is being edited.
    fn definition(&self) -> Option<&Definition> {
        self.0.published.as_ref().or(self.0.draft.as_ref())
    }

    /// A service, if the caller may see it: drafts are for those who publish.
    pub(crate) async fn get(reading: &Reading, key: &ServiceKey) -> Resolved<Self> {
        Self::of(reading, key).await?.ok_or_else(Problem::not_found)
    }

    /// The service that something is about.
    pub(crate) async fn of(reading: &Reading, key: &ServiceKey) -> Resolved<Option<Self>> {
        reading.require(Permission::ViewServices)?;
        let publishes = reading.holds(Permission::PublishServices);
        let view = reading.find::<ServiceView>(key).await?;
        Ok(view.filter(|view| publishes || view.published.is_some()).map(Self))
    }

    /// A plan of the service.
    pub(crate) fn plan(&self, key: &PlanKey) -> Option<Plan> {
        let definition = self.definition()?;
        Some(Plan::new(definition, definition.plan(key)?))
    }

    /// The services that are sold, and for those who publish, those that will be.
    pub(crate) async fn list(
        reading: &Reading,
        order: Option<Order>,
        slice: &Slice,
    ) -> Resolved<Option<ViewConnection<ServiceView, Self>>> {
        reading.require(Permission::ViewServices)?;
        let publishes = reading.holds(Permission::PublishServices);
        let kind = (!publishes).then(|| "published".to_owned());
        let query = Wanted { kind, ..Wanted::default() };
        list(reading, Scope::catalogue(), query, order, slice).await
    }
}
