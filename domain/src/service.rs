//! Services: what is sold, defined once by the provider, as versioned documents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::billing::component::{Component, ComponentKey};
use crate::billing::{DayPolicy, Suspended, description};
use crate::decider::Decider;
use crate::money::Money;
use crate::property::{Given, Kind, Property, Scope, Validation};
use crate::role::{ServicePermission, ServiceRole, check_of_service};
use crate::usage::Meter;
use crate::{Faults, MeterKey, PlanKey, PropertyKey, Refusal, ServiceKey, TaxCategory};

/// Most plans of one service.
pub const PLANS_MAX: usize = 100;
/// Most properties of one service.
pub const PROPERTIES_MAX: usize = 200;
/// Most meters of one service.
pub const METERS_MAX: usize = 50;
/// Most named validations of one service.
pub const VALIDATIONS_MAX: usize = 100;

/// Most instances that a service can be limited to.
pub const INSTANCES_MAX: u32 = 10_000;

/// To whom a service is provisioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// To a customer only: a database, a website, a router.
    Customer,
    /// To a customer's users: a mailbox, a licence, a desktop.
    User,
}

/// How many of a service one holder can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Instancing {
    /// On or off.
    Single,
    /// Any number of named instances.
    Multi,
}

/// Who does the work that a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Process {
    /// There is none: a request is done as soon as it is made.
    #[default]
    Immediate,
    /// Somebody outside, a person or a program, who reports when it has begun and what came of it.
    Reported,
}

impl Process {
    /// Whether there is nothing to be done.
    #[must_use]
    pub fn is_immediate(&self) -> bool {
        *self == Self::Immediate
    }
}

/// A product option of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What it costs beside its own price.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
    /// How the days are charged on which it is held.
    #[serde(default, skip_serializing_if = "DayPolicy::is_default")]
    pub day_policy: DayPolicy,
    /// Names it; never changes.
    pub key: PlanKey,
    /// For whom it is, where that is not whom the service is provisioned to: of a service for users, a plan that the
    /// customer holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// As people read it.
    pub name: String,
    /// Per month and unit, in arrears. None, where there is no component either: what is provisioned goes to quarantine
    /// until priced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Money>,
    /// Values of the properties that are the plan's, in their canonical form.
    pub properties: BTreeMap<PropertyKey, String>,
    /// Kept for what runs, not sold any more.
    pub retired: bool,
    /// Stock code: free text, may change without splitting history.
    pub sku: String,
    /// What the days cost on which it rests.
    #[serde(default, skip_serializing_if = "Suspended::is_default")]
    pub suspended: Suspended,
    /// How it is taxed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_category: Option<TaxCategory>,
}

impl Plan {
    /// The component of that key.
    #[must_use]
    pub fn component(&self, key: &ComponentKey) -> Option<&Component> {
        self.components.iter().find(|component| component.key == *key)
    }
}

/// The document that defines a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Definition {
    /// Where it stands in the catalogue.
    pub category: String,
    /// What it is, for those who buy it.
    pub description: String,
    /// A picture for catalogues: the name of one that screens know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// How many a holder can have.
    pub instancing: Instancing,
    /// Names it; never changes.
    pub key: ServiceKey,
    /// To whom it is provisioned.
    pub level: Level,
    /// Pattern of the line description; none: the default (billing.md, section 6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_description: Option<String>,
    /// Most instances that one holder can have at a time, where there can be many; none: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_instances: Option<u32>,
    /// What it counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meters: Vec<Meter>,
    /// As people read it.
    pub name: String,
    /// Custom permissions that it declares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<ServicePermission>,
    /// What can be bought.
    pub plans: Vec<Plan>,
    /// Who does the work of provisioning.
    #[serde(default, skip_serializing_if = "Process::is_immediate")]
    pub process: Process,
    /// What can be set.
    pub properties: Vec<Property>,
    /// Roles that come with it, and act where it is held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<ServiceRole>,
    /// Pattern of the summary description; none: the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary_description: Option<String>,
    /// Rules that properties name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validations: Vec<Validation>,
}

impl Definition {
    /// As those see it who do not publish services.
    #[must_use]
    pub fn without_hidden(mut self) -> Self {
        let properties = std::mem::take(&mut self.properties);
        let (hidden, shown): (Vec<_>, _) = properties.into_iter().partition(|it| it.hidden);
        for plan in &mut self.plans {
            plan.properties.retain(|key, _| hidden.iter().all(|property| property.key != *key));
        }
        self.properties = shown;
        self
    }

    /// For whom a plan is.
    #[must_use]
    pub fn level_of(&self, plan: &Plan) -> Level {
        plan.level.unwrap_or(self.level)
    }

    /// Whether a customer has to hold it before its users can: where there is a plan for that.
    #[must_use]
    pub fn needs_customer(&self) -> bool {
        self.level == Level::User
            && self.plans.iter().any(|plan| self.level_of(plan) == Level::Customer)
    }

    /// The plan of that key.
    #[must_use]
    pub fn plan(&self, key: &PlanKey) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.key == *key)
    }

    /// The meter of that key.
    #[must_use]
    pub fn meter(&self, key: &MeterKey) -> Option<&Meter> {
        self.meters.iter().find(|meter| meter.key == *key)
    }

    /// The property of that key.
    #[must_use]
    pub fn property(&self, key: &PropertyKey) -> Option<&Property> {
        self.properties.iter().find(|property| property.key == *key)
    }

    /// Every reason not to publish this after `published`, as JSON pointers into the document.
    #[must_use]
    pub fn problems(&self, published: Option<&Self>) -> Faults {
        let mut faults = Faults::default();
        faults.ensure(
            self.plans.iter().any(|plan| !plan.retired && self.level_of(plan) == self.level),
            "/plans",
            "no_plan",
            "A service needs at least one plan that is not retired.",
        );
        faults.ensure(
            self.max_instances.is_none() || self.instancing == Instancing::Multi,
            "/maxInstances",
            "single_instance",
            "There is only one of this service for each holder; leave this out.",
        );
        let mut seen = BTreeSet::new();
        for (index, meter) in self.meters.iter().enumerate() {
            faults.ensure(
                seen.insert(&meter.key),
                &format!("/meters/{index}/key"),
                "duplicate",
                "Another meter has this key.",
            );
        }
        self.check_properties(&mut faults);
        self.check_plans(&mut faults);
        check_of_service(&self.key, &self.roles, &self.permissions, &mut faults);
        for (pointer, pattern) in [
            ("/lineDescription", &self.line_description),
            ("/summaryDescription", &self.summary_description),
        ] {
            if let Some(pattern) = pattern {
                faults.take(pointer, description::check(pattern));
            }
        }
        if let Some(published) = published {
            self.check_against(published, &mut faults);
        }
        faults
    }

    fn check_properties(&self, faults: &mut Faults) {
        let mut seen = BTreeSet::new();
        for (index, validation) in self.validations.iter().enumerate() {
            let at = format!("/validations/{index}");
            faults.ensure(
                seen.insert(&validation.key),
                &format!("{at}/key"),
                "duplicate",
                "Another validation has this key.",
            );
            validation.problems(&at, faults);
        }
        let mut seen = BTreeSet::new();
        for (index, property) in self.properties.iter().enumerate() {
            let at = format!("/properties/{index}");
            faults.ensure(
                seen.insert(&property.key),
                &format!("{at}/key"),
                "duplicate",
                "Another property has this key.",
            );
            property.problems(&self.validations, &at, faults);
            faults.ensure(
                property.scope != Scope::User || self.level == Level::User,
                &format!("{at}/scope"),
                "no_users",
                "A service that is provisioned to customers has no values for users.",
            );
            faults.ensure(
                !(property.required && property.kind == Kind::Configuration)
                    || property.default.is_some()
                    || property.read_only
                    || property.scope != Scope::Service,
                &format!("{at}/default"),
                "missing_value",
                "This is required and nobody fills it in, so it needs a default.",
            );
        }
    }

    fn check_plans(&self, faults: &mut Faults) {
        let (mut keys, mut skus) = (BTreeSet::new(), BTreeSet::new());
        for (index, plan) in self.plans.iter().enumerate() {
            let at = format!("/plans/{index}");
            faults.ensure(
                keys.insert(&plan.key),
                &format!("{at}/key"),
                "duplicate",
                "Another plan has this key.",
            );
            faults.ensure(
                skus.insert(&plan.sku),
                &format!("{at}/sku"),
                "duplicate",
                "Another plan has this SKU.",
            );
            faults.ensure(
                self.level == Level::User || self.level_of(plan) == Level::Customer,
                &format!("{at}/level"),
                "no_users",
                "A service that is provisioned to customers has no plans for users.",
            );
            faults.ensure(
                plan.day_policy != DayPolicy::None || plan.price.is_none(),
                &format!("{at}/price"),
                "counted_only",
                "A plan whose days are not charged has no price.",
            );
            self.check_components(plan, &at, faults);
            self.check_values(plan, &at, faults);
        }
    }

    fn check_components(&self, plan: &Plan, at: &str, faults: &mut Faults) {
        let mut keys = BTreeSet::new();
        for (index, component) in plan.components.iter().enumerate() {
            let at = format!("{at}/components/{index}");
            faults.ensure(
                keys.insert(&component.key),
                &format!("{at}/key"),
                "duplicate",
                "Another component of the plan has this key.",
            );
            faults.ensure(
                plan.day_policy != DayPolicy::None || !component.charge.goes_by_days(),
                &at,
                "counted_only",
                "A plan whose days are not charged has no component that goes by days.",
            );
            component.problems(&self.properties, &self.meters, &at, faults);
        }
    }

    /// A plan has a value of the right form for each of its properties, and no others.
    fn check_values(&self, plan: &Plan, at: &str, faults: &mut Faults) {
        for (key, value) in &plan.properties {
            let at = format!("{at}/properties/{key}");
            let property = self.property(key);
            faults.ensure(
                property.is_some(),
                &at,
                "unknown_property",
                "The service has no property of this name.",
            );
            let Some(property) = property else { continue };
            faults.ensure(
                property.scope == Scope::Plan,
                &at,
                "not_the_plan_s",
                "This property is not set by plans; see its scope.",
            );
            let parsed = property.parse(&Given::Text(value.clone()), &self.validations);
            if faults.take(&at, parsed).is_some_and(|canonical| canonical != *value) {
                faults.add(&at, "not_canonical", "This value is written otherwise.");
            }
        }
        for property in self.properties.iter().filter(|it| it.scope == Scope::Plan) {
            let is_there = plan.properties.contains_key(&property.key)
                || property.default.is_some()
                || property.read_only;
            faults.ensure(
                is_there,
                &format!("{at}/properties"),
                "missing_value",
                &format!("The plan has no value for the property {}.", property.key),
            );
        }
    }

    fn check_against(&self, published: &Self, faults: &mut Faults) {
        faults.ensure(
            self.level == published.level,
            "/level",
            "fixed",
            "The level is fixed once a service is published; define another service.",
        );
        faults.ensure(
            self.instancing == published.instancing,
            "/instancing",
            "fixed",
            "The instancing is fixed once a service is published; define another service.",
        );
        for plan in &published.plans {
            let own = self.plan(&plan.key).map(|own| self.level_of(own));
            faults.ensure(
                self.level != published.level
                    || own.is_none_or(|level| level == published.level_of(plan)),
                "/plans",
                "fixed",
                &format!("The level of the plan {} is fixed once it is published.", plan.key),
            );
            faults.ensure(
                self.plan(&plan.key).is_some(),
                "/plans",
                "plan_gone",
                &format!("The published plan {} is missing; retire it instead.", plan.key),
            );
        }
    }
}

/// A wish about a service.
#[derive(Clone, Debug)]
pub enum ServiceCommand {
    /// Replace the draft.
    Draft(Box<Definition>),
    /// Make the draft the version that is sold.
    Publish,
}

/// A fact about a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum ServiceEvent {
    /// The draft was replaced.
    #[serde(rename = "service.drafted")]
    Drafted {
        /// As it is now.
        definition: Definition,
    },
    /// A version was published; its prices hold from the event's effective time, a plan's first
    /// price since ever.
    #[serde(rename = "service.published")]
    Published {
        /// What is sold.
        definition: Definition,
        /// 1, 2, 3, ...
        version: u32,
    },
}

/// A service as its stream tells.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// What is being edited.
    pub draft: Option<Definition>,
    /// What is sold, and its version.
    pub published: Option<(u32, Arc<Definition>)>,
}

impl Decider for Service {
    const CATEGORY: &'static str = "service";
    type Command = ServiceCommand;
    type Event = ServiceEvent;

    fn decide(
        &self,
        command: Self::Command,
        _effective_at: DateTime<Utc>,
    ) -> Result<Vec<Self::Event>, Refusal> {
        let published = self.published.as_ref().map(|(_, definition)| definition.as_ref());
        match (command, &self.draft) {
            (ServiceCommand::Draft(definition), Some(draft)) if *definition == *draft => Ok(vec![]),
            (ServiceCommand::Draft(definition), _) => {
                Ok(vec![ServiceEvent::Drafted { definition: *definition }])
            }
            (ServiceCommand::Publish, None) => Err(Refusal::not_found()),
            (ServiceCommand::Publish, Some(draft)) if published == Some(draft) => Ok(vec![]),
            (ServiceCommand::Publish, Some(draft)) => {
                draft.problems(published).check()?;
                let version = self.published.as_ref().map_or(0, |(version, _)| *version) + 1;
                Ok(vec![ServiceEvent::Published { definition: draft.clone(), version }])
            }
        }
    }

    fn evolve(mut self, event: &Self::Event, _effective_at: DateTime<Utc>) -> Self {
        match event {
            ServiceEvent::Drafted { definition } => self.draft = Some(definition.clone()),
            ServiceEvent::Published { definition, version } => {
                self.published = Some((*version, Arc::new(definition.clone())));
            }
        }
        self
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::decider::testing::given;

    /// A service with one plan, whose one property is the plan's.
    pub(crate) fn backup() -> Definition {
        let bandwidth = PropertyKey::parse("Bandwidth").unwrap();
        Definition {
            category: "Backup".to_owned(),
            description: String::new(),
            icon: None,
            instancing: Instancing::Single,
            key: ServiceKey::parse("backup").unwrap(),
            level: Level::Customer,
            line_description: None,
            max_instances: None,
            meters: vec![],
            name: "Backup".to_owned(),
            permissions: vec![],
            plans: vec![Plan {
                components: vec![],
                day_policy: DayPolicy::Daily,
                key: PlanKey::parse("BU001").unwrap(),
                level: None,
                name: "Backup Standard".to_owned(),
                price: None,
                properties: BTreeMap::from([(bandwidth.clone(), "100 GB".to_owned())]),
                retired: false,
                sku: "BU001".to_owned(),
                suspended: Suspended::Billed,
                tax_category: None,
            }],
            process: Process::Immediate,
            properties: vec![Property::of_plan(bandwidth, "Bandwidth")],
            roles: vec![],
            summary_description: None,
            validations: vec![],
        }
    }

    #[test]
    fn a_draft_is_published_as_the_next_version() {
        let drafted = (1, ServiceEvent::Drafted { definition: backup() });
        let published = ServiceEvent::Published { definition: backup(), version: 1 };
        given::<Service>([drafted.clone()])
            .when(2, ServiceCommand::Publish)
            .then([published.clone()]);
        given::<Service>([drafted.clone(), (2, published.clone())])
            .when(3, ServiceCommand::Publish)
            .then_nothing();
        let mut renamed = backup();
        renamed.name = "Safe".to_owned();
        given::<Service>([
            drafted,
            (2, published),
            (3, ServiceEvent::Drafted { definition: renamed.clone() }),
        ])
        .when(4, ServiceCommand::Publish)
        .then([ServiceEvent::Published { definition: renamed, version: 2 }]);
    }

    #[test]
    fn publishing_is_refused_with_every_problem_at_once() {
        let mut broken = backup();
        broken.summary_description = Some("{Nonsense}".to_owned());
        broken.plans.push(broken.plans[0].clone());
        broken.plans[1].properties.clear();
        let refusal = Service { draft: Some(broken), published: None }
            .decide(ServiceCommand::Publish, DateTime::UNIX_EPOCH)
            .unwrap_err();
        let pointers: Vec<_> = refusal.faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            ["/plans/1/key", "/plans/1/sku", "/plans/1/properties", "/summaryDescription"]
        );
    }

    /// What is wrong with publishing `draft` where `published` is sold: pointers and codes.
    fn problems(draft: Definition, published: Option<Definition>) -> Vec<(String, &'static str)> {
        let published = published.map(|definition| (1, Arc::new(definition)));
        let decided = Service { draft: Some(draft), published }
            .decide(ServiceCommand::Publish, DateTime::UNIX_EPOCH);
        let faults = decided.err().map(|refusal| refusal.faults).unwrap_or_default();
        faults.into_iter().map(|fault| (fault.pointer, fault.code)).collect()
    }

    #[test]
    fn a_draft_without_a_difference_is_no_fact() {
        let drafted = ServiceEvent::Drafted { definition: backup() };
        let draft = || ServiceCommand::Draft(Box::new(backup()));
        given::<Service>([]).when(1, draft()).then([drafted.clone()]);
        given::<Service>([(1, drafted.clone())]).when(2, draft()).then_nothing();
        let mut renamed = backup();
        renamed.name = "Safe".to_owned();
        given::<Service>([(1, ServiceEvent::Drafted { definition: renamed })])
            .when(2, draft())
            .then([drafted]);
    }

    #[test]
    fn a_service_has_a_plan_that_is_sold() {
        let mut retired = backup();
        retired.plans[0].retired = true;
        assert_eq!(problems(retired.clone(), None), [("/plans".to_owned(), "no_plan")]);
        retired.plans.push(Plan {
            day_policy: DayPolicy::Daily,
            key: PlanKey::parse("BU002").unwrap(),
            sku: "BU002".to_owned(),
            ..backup().plans[0].clone()
        });
        assert_eq!(problems(retired, None), []);
    }

    #[test]
    fn a_property_is_named_once_and_has_a_value_in_every_plan_and_no_plan_has_others() {
        let mut twice = backup();
        twice.properties.push(twice.properties[0].clone());
        assert_eq!(problems(twice, None), [("/properties/1/key".to_owned(), "duplicate")]);
        let mut other = backup();
        other.properties[0].key = PropertyKey::parse("Speed").unwrap();
        assert_eq!(
            problems(other, None),
            [
                ("/plans/0/properties/Bandwidth".to_owned(), "unknown_property"),
                ("/plans/0/properties".to_owned(), "missing_value"),
            ]
        );
    }

    #[test]
    fn only_what_users_have_has_values_for_users() {
        let mut definition = backup();
        let mailbox = PropertyKey::parse("Mailbox").unwrap();
        let property = Property { scope: Scope::User, ..Property::of_plan(mailbox, "Mailbox") };
        definition.properties.push(property);
        let told = problems(definition.clone(), None);
        assert_eq!(told, [("/properties/1/scope".to_owned(), "no_users")]);
        definition.level = Level::User;
        assert_eq!(problems(definition, None), []);
    }

    #[test]
    fn what_nobody_fills_in_and_has_to_be_there_has_a_default() {
        let needed = Property {
            required: true,
            scope: Scope::Service,
            ..Property::of_plan(PropertyKey::parse("Region").unwrap(), "Region")
        };
        let told = |property: &Property| {
            let properties = vec![backup().properties[0].clone(), property.clone()];
            problems(Definition { properties, ..backup() }, None)
        };
        let missing = [("/properties/1/default".to_owned(), "missing_value")];
        assert_eq!(told(&needed), missing);
        let default = Some("de".to_owned());
        for fine in [
            Property { required: false, ..needed.clone() },
            Property { kind: Kind::Input, ..needed.clone() },
            Property { default, ..needed.clone() },
            Property { read_only: true, ..needed },
        ] {
            assert_eq!(told(&fine), [], "{fine:?}");
        }
    }

    #[test]
    fn level_and_instancing_are_fixed_once_published() {
        let mut other = backup();
        other.level = Level::User;
        other.instancing = Instancing::Multi;
        assert_eq!(problems(other.clone(), None), []);
        assert_eq!(
            problems(other, Some(backup())),
            [("/level".to_owned(), "fixed"), ("/instancing".to_owned(), "fixed")]
        );
    }

    #[test]
    fn only_what_can_be_had_many_times_has_a_maximum() {
        let mut limited = backup();
        limited.max_instances = Some(3);
        assert_eq!(
            problems(limited.clone(), None),
            [("/maxInstances".to_owned(), "single_instance")]
        );
        limited.instancing = Instancing::Multi;
        assert_eq!(problems(limited.clone(), None), []);
        let drafted = ServiceEvent::Drafted { definition: limited.clone() };
        given::<Service>([(1, drafted)])
            .when(2, ServiceCommand::Publish)
            .then([ServiceEvent::Published { definition: limited, version: 1 }]);
    }

    #[test]
    fn a_service_for_users_can_have_plans_that_the_customer_holds_first() {
        let mut definition = Definition { level: Level::User, ..backup() };
        assert!(!definition.needs_customer());
        let base = Plan {
            key: PlanKey::parse("base").unwrap(),
            level: Some(Level::Customer),
            sku: "base".to_owned(),
            ..definition.plans[0].clone()
        };
        definition.plans.push(base);
        assert!(definition.needs_customer());
        assert_eq!(problems(definition.clone(), None), []);
        // Its level is fixed, and somebody has to be able to have it.
        let mut other = definition.clone();
        other.plans[1].level = None;
        assert_eq!(problems(other, Some(definition.clone())), [("/plans".to_owned(), "fixed")]);
        definition.plans[0].retired = true;
        assert_eq!(problems(definition.clone(), None), [("/plans".to_owned(), "no_plan")]);
        let mut customers = backup();
        customers.plans[0].level = Some(Level::User);
        let told = problems(customers, None);
        assert!(told.contains(&("/plans/0/level".to_owned(), "no_users")), "{told:?}");
    }

    #[test]
    fn a_plan_is_found_by_its_key() {
        let mut definition = backup();
        let other = Plan { key: PlanKey::parse("BU002").unwrap(), ..definition.plans[0].clone() };
        definition.plans.push(other.clone());
        assert_eq!(definition.plan(&other.key), Some(&other));
        assert_eq!(definition.plan(&PlanKey::parse("BU003").unwrap()), None);
    }

    #[test]
    fn what_is_hidden_is_gone_from_properties_and_plans() {
        let speed = Property::of_plan(PropertyKey::parse("Speed").unwrap(), "Speed");
        let mut definition = backup();
        definition.plans[0].properties.insert(speed.key.clone(), "fast".to_owned());
        definition.properties.insert(0, Property { hidden: true, ..speed });
        assert_eq!(definition.without_hidden(), backup());
    }

    #[test]
    fn a_published_plan_cannot_disappear() {
        let mut other = backup();
        other.plans[0].key = PlanKey::parse("other").unwrap();
        given::<Service>([
            (1, ServiceEvent::Published { definition: backup(), version: 1 }),
            (2, ServiceEvent::Drafted { definition: other.clone() }),
        ])
        .when(3, ServiceCommand::Publish)
        .then_refused("invalid");
        assert_eq!(problems(other, Some(backup())), [("/plans".to_owned(), "plan_gone")]);
    }

    #[test]
    fn there_is_nothing_to_publish_before_a_draft() {
        given::<Service>([]).when(1, ServiceCommand::Publish).then_refused("not_found");
    }
}
