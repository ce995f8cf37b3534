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

/// A custom permission that a service declares: `export` of the service `crm` is called `crm:export`.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct ServicePermission {
    /// Names it.
    key: String,
    /// As people read it.
    name: String,
}

/// A role that comes with a service: `agent` of the service `crm` is called `crm:agent`.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct ServiceRole {
    /// Names it.
    key: String,
    /// As people read it.
    name: String,
    /// What its holder may do where the service is held.
    permissions: Vec<String>,
    /// Keys of other roles of the service that are a part of it.
    includes: Vec<String>,
}

/// Which state of a definition.
#[derive(Clone, Copy, Debug)]
enum State {
    Published,
    Draft,
}

/// What a service is: one state of its definition.
#[derive(Clone)]
pub(crate) struct ServiceDefinition {
    service: Arc<ServiceView>,
    state: State,
}

impl ServiceDefinition {
    /// None where the service has no such state.
    fn new(service: &Arc<ServiceView>, state: State) -> Option<Self> {
        let definition = Self { service: service.clone(), state };
        definition.get().is_some().then_some(definition)
    }

    fn get(&self) -> Option<&Definition> {
        match self.state {
            State::Published => self.service.published.as_ref(),
            State::Draft => self.service.draft.as_ref(),
        }
    }

    fn definition(&self) -> &Definition {
        self.get().expect("made only where there is one")
    }

    fn all_plans(&self) -> Vec<Plan> {
        let places = 0..self.definition().plans.len();
        places.map(|place| Plan { definition: self.clone(), place }).collect()
    }

    fn plan(&self, key: &PlanKey) -> Option<Plan> {
        let place = self.definition().plans.iter().position(|plan| plan.key == *key)?;
        Some(Plan { definition: self.clone(), place })
    }
}

/// What a service is: one state of its definition.
#[Object]
impl ServiceDefinition {
    /// As people read it.
    async fn name(&self) -> &str {
        &self.definition().name
    }

    /// What it is, for those who buy it.
    async fn description(&self) -> &str {
        &self.definition().description
    }

    /// Where it stands in the catalogue.
    async fn category(&self) -> &str {
        &self.definition().category
    }

    /// To whom it is provisioned.
    async fn level(&self) -> Level {
        self.definition().level.into()
    }

    /// How many of it one holder can have.
    async fn instancing(&self) -> Instancing {
        self.definition().instancing.into()
    }

    /// What the plans differ in.
    async fn properties(&self) -> Vec<ServiceProperty> {
        let properties = self.definition().properties.iter().map(|property| ServiceProperty {
            key: property.key.to_string(),
            label: property.label.clone(),
        });
        properties.collect()
    }

    /// What can be bought.
    async fn plans(&self) -> Vec<Plan> {
        self.all_plans()
    }

    /// Custom permissions that it declares.
    async fn permissions(&self) -> Vec<ServicePermission> {
        let permissions = self.definition().permissions.iter();
        let shown = permissions
            .map(|it| ServicePermission { key: it.key.to_string(), name: it.name.clone() });
        shown.collect()
    }

    /// Roles that come with it, and act on the customers that hold it.
    async fn roles(&self) -> Vec<ServiceRole> {
        let roles = self.definition().roles.iter().map(|role| ServiceRole {
            key: role.key.to_string(),
            name: role.name.clone(),
            permissions: role.permissions.iter().map(ToString::to_string).collect(),
            includes: role.includes.iter().map(ToString::to_string).collect(),
        });
        roles.collect()
    }

    /// Pattern of the line description; none: the default.
    async fn line_description(&self) -> Option<&str> {
        self.definition().line_description.as_deref()
    }

    /// Pattern of the summary description; none: the default.
    async fn summary_description(&self) -> Option<&str> {
        self.definition().summary_description.as_deref()
    }
}

/// A product option of a service.
#[derive(Clone)]
pub(crate) struct Plan {
    definition: ServiceDefinition,
    place: usize,
}

impl Plan {
    fn plan(&self) -> &service::Plan {
        &self.definition.definition().plans[self.place]
    }
}

/// A product option of a service.
#[Object]
impl Plan {
    /// Names it within its service.
    async fn key(&self) -> &str {
        self.plan().key.as_str()
    }

    /// As people read it.
    async fn name(&self) -> &str {
        &self.plan().name
    }

    /// Stock code.
    async fn sku(&self) -> &str {
        &self.plan().sku
    }

    /// Per month and unit, in the provider's currency; none: not priced yet.
    async fn price(&self) -> Option<Money> {
        self.plan().price.map(Money::from)
    }

    /// A value for each property of the service.
    async fn properties(&self) -> Vec<PlanProperty> {
        let known = &self.definition.definition().properties;
        let properties = self.plan().properties.iter().map(|(key, value)| {
            let known = known.iter().find(|property| property.key == *key);
            PlanProperty {
                key: key.to_string(),
                label: known.map_or(key.as_str(), |property| &property.label).to_owned(),
                value: value.clone(),
            }
        });
        properties.collect()
    }

    /// Not sold any more.
    async fn retired(&self) -> bool {
        self.plan().retired
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
        self.state().map(|state| state.all_plans()).unwrap_or_default()
    }

    /// Of what is sold: 1, 2, 3, ...; 0 before the first publication.
    async fn published_version(&self) -> u32 {
        self.0.published_version
    }

    /// What is sold; none before the first publication.
    async fn published(&self) -> Option<ServiceDefinition> {
        ServiceDefinition::new(&self.0, State::Published)
    }

    /// What is being edited; only for those who publish services.
    async fn draft(&self, context: &Context<'_>) -> Resolved<Option<ServiceDefinition>> {
        reading(context).require(Permission::PublishServices)?;
        Ok(ServiceDefinition::new(&self.0, State::Draft))
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

    /// The same, to be shown.
    fn state(&self) -> Option<ServiceDefinition> {
        let of = |state| ServiceDefinition::new(&self.0, state);
        of(State::Published).or_else(|| of(State::Draft))
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
        self.state()?.plan(key)
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
