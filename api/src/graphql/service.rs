//! Services: what is sold.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Object, SimpleObject};
use commands::usecase::definition::{OptionDocument, PropertyDocument, TypeText, ValueDocument};
use domain::billing;
use domain::billing::component::{self, Charge, Component, Rate, Tier};
use domain::permission::Permission;
use domain::property::{Property, Validation};
use domain::service::{self, Definition};
use domain::usage;
use domain::{PlanKey, ServiceKey};
use projections::finder::{Query as Wanted, Scope};
use projections::views::ServiceView;

use super::connection::{Order, Slice, ViewConnection, list};
use super::effective::{PropertyKind, PropertyScope};
use super::id::GlobalId;
use super::ledger::DayPolicy;
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

/// Who does the work that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "service::Process")]
pub(crate) enum Process {
    /// There is none: a request is done as soon as it is made.
    Immediate,
    /// Somebody outside, who reports what came of it.
    Reported,
}

/// Something that can be set for a service.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct ServiceProperty {
    /// Names it.
    key: String,
    /// As people read it.
    label: String,
    /// What to enter, for those who do.
    help: Option<String>,
    /// Groups properties in forms.
    category: Option<String>,
    /// Its place in forms, from low to high.
    sort: i32,
    /// The level that it is for.
    scope: PropertyScope,
    /// Who may set it.
    kind: PropertyKind,
    /// What its values are: `text`, `choice`, `quantity` and so on, as in the definition.
    #[graphql(name = "type")]
    value_type: String,
    /// Of a text: at least so many characters.
    min_length: Option<u32>,
    /// Of a text: at most so many characters.
    max_length: Option<u32>,
    /// Of a text: a regular expression that the whole of it matches.
    pattern: Option<String>,
    /// Of a number, an integer, a date or a quantity: the smallest.
    min: Option<String>,
    /// Of a number, an integer, a date or a quantity: the largest.
    max: Option<String>,
    /// What there is to choose from, where its values are chosen.
    options: Vec<PropertyOption>,
    /// Of a choice whose options are the instances that the customer holds: the key of their service. `subscriptions`,
    /// filtered by customer and service, lists them.
    options_from_instances_of: Option<String>,
    /// Of a list: at least so many items.
    min_items: Option<u32>,
    /// Of a list: at most so many items.
    max_items: Option<u32>,
    /// Of a quantity: the names of its units.
    units: Vec<String>,
    /// Of a quantity: whether `Unlimited` is a value.
    unlimited: bool,
    /// Of an address of the web: how it begins; none: `http` or `https`.
    schemes: Vec<String>,
    /// The named rule that its values pass, too.
    validation: Option<PropertyValidation>,
    /// What it is where nobody says.
    default: Option<String>,
    /// Whether there has to be a value.
    required: bool,
    /// Shown only to those who publish services.
    hidden: bool,
    /// Set by provisioning, and by nobody else.
    read_only: bool,
    /// Whether it drives a price component.
    priced: bool,
}

/// A rule for values, with a message of its own.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct PropertyValidation {
    /// A regular expression that the whole value matches.
    pattern: String,
    /// Told to those who entered something else.
    message: String,
}

/// One of the values that can be chosen.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct PropertyOption {
    /// What is stored.
    value: String,
    /// As people read it.
    label: String,
}

impl ServiceProperty {
    fn new(property: &Property, validations: &[Validation]) -> Self {
        let document = PropertyDocument::from(property);
        let named = validations.iter().find(|it| Some(&it.key) == property.validation.as_ref());
        let option = |option: OptionDocument| PropertyOption {
            label: option.label.unwrap_or_else(|| option.value.clone()),
            value: option.value,
        };
        Self {
            key: document.key,
            label: property.label.clone(),
            help: document.help,
            category: document.category,
            sort: property.sort,
            scope: property.scope.into(),
            kind: property.kind.into(),
            value_type: document.value_type.unwrap_or(TypeText::Text).name().to_owned(),
            min_length: document.min_length,
            max_length: document.max_length,
            pattern: document.pattern,
            min: document.min.as_ref().map(ValueDocument::text),
            max: document.max.as_ref().map(ValueDocument::text),
            options: document.options.into_iter().map(option).collect(),
            options_from_instances_of: document.options_from.map(|from| from.instances_of),
            min_items: document.min_items,
            max_items: document.max_items,
            units: document.units.into_iter().map(|unit| unit.name).collect(),
            unlimited: document.unlimited == Some(true),
            schemes: document.schemes,
            validation: named.map(|named| PropertyValidation {
                pattern: named.pattern.as_str().to_owned(),
                message: named.message.clone(),
            }),
            default: property.default.clone(),
            required: property.required,
            hidden: property.hidden,
            read_only: property.read_only,
            priced: property.priced,
        }
    }
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

/// What a service counts.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct ServiceMeter {
    /// Names it.
    key: String,
    /// As people read it.
    name: String,
    /// In which unit it counts.
    unit: String,
    /// What the readings of a billing period come to.
    aggregation: MeterAggregation,
}

/// What the readings of a meter in a billing period come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "usage::Aggregation")]
pub(crate) enum MeterAggregation {
    /// All of them together.
    Sum,
    /// The largest.
    Max,
    /// The last.
    Last,
    /// How many different things were seen.
    Unique,
}

/// A part of what a plan costs, beside its own price.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct PlanComponent {
    /// Names it.
    key: String,
    /// As people read it.
    name: String,
    /// What is charged.
    kind: ComponentKind,
    /// The key of the meter that counts what is charged.
    meter: Option<String>,
    /// The property whose value is charged, above what is included.
    property: Option<String>,
    /// In which unit it is counted.
    unit: Option<String>,
    /// So many units cost nothing.
    included: Option<String>,
    /// How often, where it is charged again and again.
    interval: Option<ComponentInterval>,
    /// At which end, where it is charged again and again.
    timing: Option<ComponentTiming>,
    /// How units are priced.
    rate: ComponentRate,
    /// What a unit costs, or a package; none where that is said by tiers.
    price: Option<Money>,
    /// From how many units on each costs what; empty where they are not priced so.
    tiers: Vec<ComponentTier>,
    /// How many units a package has, where they are priced by packages.
    package_size: Option<String>,
    /// How it is taxed, where that is not as the plan is.
    tax_category: Option<String>,
}

/// What is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(crate) enum ComponentKind {
    /// What the other charges of a month lack to come to this.
    Minimum,
    /// Once for each subscription, with its first day.
    OneOff,
    /// By the month, for what a property is above what is included.
    Property,
    /// Again and again, for each unit held.
    Recurring,
    /// For what was used in a billing period, above what is included.
    Usage,
}

/// What the days cost on which a subscription is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "billing::Suspended")]
pub(crate) enum SuspendedDays {
    /// As if it were not.
    Billed,
    /// Nothing.
    Free,
}

/// How often something is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "component::Interval")]
pub(crate) enum ComponentInterval {
    /// By the month.
    Month,
    /// By the year.
    Year,
}

/// At which end something is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "component::Timing")]
pub(crate) enum ComponentTiming {
    /// When it begins.
    Advance,
    /// When it is over.
    Arrears,
}

/// How units are priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(crate) enum ComponentRate {
    /// Each by the price of the tier that it lies in.
    Graduated,
    /// By packages; one that is begun costs all of it.
    Package,
    /// Each the same.
    Unit,
    /// All by the price of the tier that their number lies in.
    Volume,
}

/// A price from a number of units on.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct ComponentTier {
    /// It begins above so many units.
    above: String,
    /// What a unit costs.
    price: Money,
}

impl From<&Component> for PlanComponent {
    fn from(component: &Component) -> Self {
        let charge = &component.charge;
        let (kind, again) = match charge {
            Charge::Minimum { .. } => (ComponentKind::Minimum, None),
            Charge::Usage { .. } => (ComponentKind::Usage, None),
            Charge::OneOff { .. } => (ComponentKind::OneOff, None),
            Charge::Property { .. } => (ComponentKind::Property, None),
            Charge::Recurring { interval, timing, .. } => {
                (ComponentKind::Recurring, Some((*interval, *timing)))
            }
        };
        let rate = charge.rate();
        let (rate, price, tiers, package_size) = match rate.as_ref() {
            Rate::Unit(price) => (ComponentRate::Unit, Some(*price), &[][..], None),
            Rate::Package { price, size } => {
                (ComponentRate::Package, Some(*price), &[][..], Some(size.to_string()))
            }
            Rate::Graduated(tiers) => (ComponentRate::Graduated, None, &tiers[..], None),
            Rate::Volume(tiers) => (ComponentRate::Volume, None, &tiers[..], None),
        };
        let (property, unit, included) = match charge {
            Charge::Property { included, property, unit, .. } => {
                (Some(property.to_string()), unit.clone(), Some(included.to_string()))
            }
            Charge::Usage { included, .. } => (None, None, Some(included.to_string())),
            Charge::Minimum { .. } | Charge::OneOff { .. } | Charge::Recurring { .. } => {
                (None, None, None)
            }
        };
        let tier =
            |tier: &Tier| ComponentTier { above: tier.above.to_string(), price: tier.price.into() };
        Self {
            key: component.key.to_string(),
            name: component.name.clone(),
            kind,
            meter: match charge {
                Charge::Usage { meter, .. } => Some(meter.to_string()),
                _ => None,
            },
            property,
            unit,
            included,
            interval: again.map(|(interval, _)| interval.into()),
            timing: again.map(|(_, timing)| timing.into()),
            rate,
            price: price.map(Money::from),
            tiers: tiers.iter().map(tier).collect(),
            package_size,
            tax_category: component.tax_category.as_ref().map(ToString::to_string),
        }
    }
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

    /// A picture for catalogues: the name of one that screens know.
    async fn icon(&self) -> Option<&str> {
        self.definition().icon.as_deref()
    }

    /// To whom it is provisioned.
    async fn level(&self) -> Level {
        self.definition().level.into()
    }

    /// How many of it one holder can have.
    async fn instancing(&self) -> Instancing {
        self.definition().instancing.into()
    }

    /// Most instances that one holder can have at a time; none: any number.
    async fn max_instances(&self) -> Option<u32> {
        self.definition().max_instances
    }

    /// Who does the work of provisioning.
    async fn process(&self) -> Process {
        self.definition().process.into()
    }

    /// What can be set, in the order of forms; hidden ones only for those who publish services.
    async fn properties(&self, context: &Context<'_>) -> Vec<ServiceProperty> {
        let sees_all = reading(context).principal.sees_hidden();
        let definition = self.definition();
        let mut seen: Vec<_> =
            definition.properties.iter().filter(|it| sees_all || !it.hidden).collect();
        seen.sort_by_key(|property| property.sort);
        let shown = |property| ServiceProperty::new(property, &definition.validations);
        seen.into_iter().map(shown).collect()
    }

    /// What it counts.
    async fn meters(&self) -> Vec<ServiceMeter> {
        let meters = self.definition().meters.iter().map(|meter| ServiceMeter {
            key: meter.key.to_string(),
            name: meter.name.clone(),
            unit: meter.unit.clone(),
            aggregation: meter.aggregation.into(),
        });
        meters.collect()
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

    /// What it costs beside that price.
    async fn components(&self) -> Vec<PlanComponent> {
        self.plan().components.iter().map(PlanComponent::from).collect()
    }

    /// How the days of a period are charged on which it is held.
    async fn day_policy(&self) -> DayPolicy {
        self.plan().day_policy.into()
    }

    /// What the days cost on which it is suspended.
    async fn suspended(&self) -> SuspendedDays {
        self.plan().suspended.into()
    }

    /// Its values of the properties that are the plan's; hidden ones only for those who publish services.
    async fn properties(&self, context: &Context<'_>) -> Vec<PlanProperty> {
        let sees_all = reading(context).principal.sees_hidden();
        let definition = self.definition.definition();
        let properties = self.plan().properties.iter().filter_map(|(key, value)| {
            let known = definition.property(key);
            known.is_none_or(|known| sees_all || !known.hidden).then(|| PlanProperty {
                key: key.to_string(),
                label: known.map_or(key.as_str(), |property| &property.label).to_owned(),
                value: value.clone(),
            })
        });
        properties.collect()
    }

    /// How it is taxed.
    async fn tax_category(&self) -> Option<&str> {
        self.plan().tax_category.as_ref().map(|category| category.as_str())
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

    /// Who does the work of provisioning.
    async fn process(&self) -> Option<Process> {
        self.definition().map(|definition| definition.process.into())
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
