//! The document that defines a service, as it is sent and shown.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use domain::billing::component::COMPONENTS_MAX;
use domain::billing::{BillingSettings, DayPolicy, Suspended};
use domain::money::Money;
use domain::permission::AnyPermission;
use domain::property::{
    Choice, Given, Kind, Pattern, Property, Scope, Unit, Validation, ValueType,
};
use domain::role::{
    DECLARED_MAX, INCLUDES_MAX, OF_SERVICE_MAX, PERMISSIONS_MAX, ServicePermission, ServiceRole,
};
use domain::service::{
    Definition, INSTANCES_MAX, Instancing, Level, METERS_MAX, PLANS_MAX, PROPERTIES_MAX, Plan,
    Process, VALIDATIONS_MAX,
};
use domain::text::{NAME_MAX_CHARS, line, name, note};
use domain::{
    Faults, Invalid, PermissionKey, PlanKey, PropertyKey, RoleKey, ServiceKey, TaxCategory,
    pointer_token,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Declares how a word of a document stands for one of the domain.
macro_rules! words {
    ($($text:ident => $meaning:ident { $($word:ident),* })*) => {
        $(impl From<$text> for $meaning {
            fn from(text: $text) -> Self {
                match text { $($text::$word => Self::$word),* }
            }
        }

        impl From<$meaning> for $text {
            fn from(meaning: $meaning) -> Self {
                match meaning { $($meaning::$word => Self::$word),* }
            }
        })*
    };
}

mod component;

pub use component::{
    AggregationText, ChargeText, ComponentDocument, IntervalText, MeterDocument, RateText,
    TierDocument, TimingText,
};

/// Longest SKU, in characters.
const SKU_MAX_CHARS: usize = 500;
/// Longest name of a category or icon, in characters.
const WORD_MAX_CHARS: usize = 100;

/// The document that defines a service.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DefinitionDocument {
    /// Where an editor finds what can be written here; it says nothing about the service.
    #[serde(default, rename = "$schema", skip_serializing_if = "Option::is_none")]
    #[schema(rename = "$schema")]
    pub schema: Option<String>,
    /// Names the service; must be the key in the address where it is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// As people read it.
    pub name: String,
    /// What it is, for those who buy it.
    #[serde(default)]
    pub description: String,
    /// Where it stands in the catalogue.
    #[serde(default)]
    pub category: String,
    /// A picture for catalogues: the name of one that screens know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// To whom it is provisioned.
    pub level: LevelText,
    /// How many a holder can have.
    pub instancing: InstancingText,
    /// Most instances that one holder can have at a time, where there can be many; any number where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_instances: Option<u32>,
    /// Who does the work of provisioning; `immediate` where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessText>,
    /// What can be set.
    #[serde(default)]
    pub properties: Vec<PropertyDocument>,
    /// What it counts; recorded with `POST /api/v2/billing/usage`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meters: Vec<MeterDocument>,
    /// Rules that properties name, each with its own message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub validations: Vec<ValidationDocument>,
    /// What can be bought.
    pub plans: Vec<PlanDocument>,
    /// Custom permissions that it declares; the permission `export` of the service `crm` is called `crm:export`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<ServicePermissionDocument>,
    /// Roles that come with it, and act on the customers that hold it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<ServiceRoleDocument>,
    /// Pattern of the line description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_description: Option<String>,
    /// Pattern of the summary description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary_description: Option<String>,
}

/// To whom a service is provisioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum LevelText {
    /// To a customer only.
    Customer,
    /// To a customer's users.
    User,
}

/// How many of a service one holder can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum InstancingText {
    /// On or off.
    Single,
    /// Any number of named instances.
    Multi,
}

/// Who does the work that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ProcessText {
    /// There is none: a request is done as soon as it is made.
    Immediate,
    /// Somebody outside, a person or a program, who reports when it has begun and what came of it.
    Reported,
}

/// Something that can be set for a service: where, by whom, and to what.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PropertyDocument {
    /// Names it; never changes.
    pub key: String,
    /// As people read it; the key where it is left out.
    pub label: Option<String>,
    /// What to enter, for those who do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Groups properties in forms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Its place in forms, from low to high; 0 where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<i32>,
    /// The level that it is for; `plan` where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<ScopeText>,
    /// Who may set it; `configuration` where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<KindText>,
    /// What its values are; `text` where it is left out.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub value_type: Option<TypeText>,
    /// Of a text: at least so many characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_length: Option<u32>,
    /// Of a text: at most so many characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
    /// Of a text: a regular expression that the whole of it matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Of a number, an integer, a date or a quantity: the smallest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<ValueDocument>,
    /// Of a number, an integer, a date or a quantity: the largest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<ValueDocument>,
    /// Of a choice or a list: what there is to choose from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<OptionDocument>,
    /// Of a choice, instead of options: the query that lists them for the holder when it is filled in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options_from: Option<OptionsFromDocument>,
    /// Of a list: at least so many items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_items: Option<u32>,
    /// Of a list: at most so many items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_items: Option<u32>,
    /// Of a quantity: its units; MB, GB, TB and PB where they are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<UnitDocument>,
    /// Of a quantity: whether `Unlimited` is a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unlimited: Option<bool>,
    /// Of an address of the web: how it begins; `http` and `https` where they are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemes: Vec<String>,
    /// The name of one of the service's validations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<String>,
    /// What it is where nobody says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<ValueDocument>,
    /// Whether there has to be a value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Shown only to those who publish services.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// Set by provisioning, and by nobody else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Whether it drives a price component.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub priced: bool,
}

/// The level that a property is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ScopeText {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum KindText {
    /// The provider's administrators.
    Configuration,
    /// Who provisions.
    Input,
}

/// What the values of a property are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum TypeText {
    /// `true` or `false`.
    Boolean,
    /// One of some options.
    Choice,
    /// A day, such as `2019-11-30`.
    Date,
    /// A mail address.
    Email,
    /// A host's name.
    Hostname,
    /// A whole number.
    Integer,
    /// An address of the internet protocol.
    Ip,
    /// Several texts, each once.
    List,
    /// A decimal number.
    Number,
    /// So much of a unit, such as `100 GB`.
    Quantity,
    /// The name of a secret.
    SecretRef,
    /// A line of text.
    Text,
    /// An absolute address of the web.
    Url,
}

impl TypeText {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Choice => "choice",
            Self::Date => "date",
            Self::Email => "email",
            Self::Hostname => "hostname",
            Self::Integer => "integer",
            Self::Ip => "ip",
            Self::List => "list",
            Self::Number => "number",
            Self::Quantity => "quantity",
            Self::SecretRef => "secretRef",
            Self::Text => "text",
            Self::Url => "url",
        }
    }
}

/// A value: a text, a number, `true` or `false`, or a list of texts. It may always be written as a text.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ValueDocument {
    /// `true` or `false`.
    Boolean(bool),
    /// A number.
    #[schema(value_type = f64)]
    Number(serde_json::Number),
    /// A text.
    Text(String),
    /// Several texts.
    List(Vec<String>),
}

/// A value that is filled in.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum InputDocument {
    /// It.
    Value(ValueDocument),
    /// `null`: none, or not any more.
    Nothing,
}

impl InputDocument {
    /// It, if there is one.
    #[must_use]
    pub fn value(&self) -> Option<&ValueDocument> {
        match self {
            Self::Value(value) => Some(value),
            Self::Nothing => None,
        }
    }
}

/// Where the options of a choice come from.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OptionsFromDocument {
    /// A service's key: the options are the names of the instances of it that the customer holds.
    pub instances_of: String,
}

/// One of the values that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OptionDocument {
    /// What is stored.
    pub value: String,
    /// As people read it; the value where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A unit of a quantity.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnitDocument {
    /// `GB`.
    pub name: String,
    /// How many of the smallest unit it is.
    pub factor: u64,
}

/// A rule with a message of its own, for any number of properties.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValidationDocument {
    /// Names it.
    pub key: String,
    /// A regular expression that the whole value matches. It is matched in linear time, so it has no look-around
    /// and no back-references.
    pub pattern: String,
    /// Told to those who entered something else.
    pub message: String,
}

/// A product option of a service.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanDocument {
    /// Names it.
    pub key: String,
    /// As people read it.
    pub name: String,
    /// For whom it is; to whom the service is provisioned where it is left out. `customer` in a service for users: the
    /// customer has to hold the service, with such a plan, before its users can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<LevelText>,
    /// Stock code; the key where it is left out.
    pub sku: Option<String>,
    /// Per month and unit, as a decimal text such as `100.00`, in the provider's currency.
    pub price: Option<String>,
    /// What it costs beside that price: set-up fees, other prices by the month or the year, and so on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<ComponentDocument>,
    /// How the days of a period are charged; `daily` where it is left out.
    pub day_policy: Option<DayPolicyText>,
    /// What the days cost on which it is suspended; `billed` where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended: Option<SuspendedText>,
    /// A value for each property whose scope is the plan.
    #[serde(default)]
    pub properties: BTreeMap<String, ValueDocument>,
    /// Kept for what runs, not sold any more.
    #[serde(default)]
    pub retired: bool,
    /// How it is taxed: a name that the accounting system knows, such as `standard`. Components can say another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tax_category: Option<String>,
}

/// How the days are charged on which a plan is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DayPolicyText {
    /// By days: those held, of those that the period has.
    Daily,
    /// By days of months that all have 30.
    #[serde(rename = "fixed_30")]
    Fixed30,
    /// One full price for any touch, that of the last state in the period.
    Full,
    /// By days, and the first partial period is free.
    NextPeriod,
    /// One full price for what is held when the period ends, nothing for what is not.
    Snapshot,
    /// Nothing: it is only counted.
    None,
}

/// What the days cost on which a subscription is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum SuspendedText {
    /// As if it were not.
    Billed,
    /// Nothing.
    Free,
}

impl From<DayPolicyText> for DayPolicy {
    fn from(text: DayPolicyText) -> Self {
        match text {
            DayPolicyText::Daily => Self::Daily,
            DayPolicyText::Fixed30 => Self::Fixed30,
            DayPolicyText::Full => Self::Full,
            DayPolicyText::NextPeriod => Self::NextPeriod,
            DayPolicyText::Snapshot => Self::Snapshot,
            DayPolicyText::None => Self::None,
        }
    }
}

impl From<DayPolicy> for DayPolicyText {
    fn from(policy: DayPolicy) -> Self {
        match policy {
            DayPolicy::Daily => Self::Daily,
            DayPolicy::Fixed30 => Self::Fixed30,
            DayPolicy::Full => Self::Full,
            DayPolicy::NextPeriod => Self::NextPeriod,
            DayPolicy::Snapshot => Self::Snapshot,
            DayPolicy::None => Self::None,
        }
    }
}

/// A custom permission that a service declares.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServicePermissionDocument {
    /// Names it.
    pub key: String,
    /// As people read it; the key where it is left out.
    pub name: Option<String>,
}

/// A role that comes with a service. The role `agent` of the service `crm` is called `crm:agent`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceRoleDocument {
    /// Names it.
    pub key: String,
    /// As people read it; the key where it is left out.
    pub name: Option<String>,
    /// What its holder may do where the service is held: permissions of Atrium and of this service.
    #[serde(default)]
    pub permissions: Vec<String>,
    /// Keys of other roles of this service that are a part of it.
    #[serde(default)]
    pub includes: Vec<String>,
}

words! {
    LevelText => Level { Customer, User }
    InstancingText => Instancing { Single, Multi }
    ProcessText => Process { Immediate, Reported }
    ScopeText => Scope { Service, Reseller, Customer, User, Plan }
    KindText => Kind { Configuration, Input }
    SuspendedText => Suspended { Billed, Free }
}

impl From<&ValueDocument> for Given {
    fn from(document: &ValueDocument) -> Self {
        match document {
            ValueDocument::Boolean(value) => Self::Boolean(*value),
            ValueDocument::Number(number) => Self::Number(number.to_string()),
            ValueDocument::Text(text) => Self::Text(text.clone()),
            ValueDocument::List(items) => Self::List(items.clone()),
        }
    }
}

impl ValueDocument {
    /// As a text, which of every value there is.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Boolean(value) => value.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.trim().to_owned(),
            Self::List(items) => items.join("\n"),
        }
    }
}

const KEY_RULE: &str =
    "A key has up to 64 letters A-Z, digits, `-`, `_` and `.`, and begins with a letter or digit.";

fn property_key(text: &str, at: &str, faults: &mut Faults) -> Option<PropertyKey> {
    let key = PropertyKey::parse(text);
    faults.ensure(key.is_some(), at, "not_a_key", KEY_RULE);
    key
}

impl DefinitionDocument {
    /// What the document says. What is only wrong to sell is found when it is published.
    pub(crate) fn parse(
        &self,
        key: ServiceKey,
        settings: &BillingSettings,
        faults: &mut Faults,
    ) -> Definition {
        faults.ensure(
            self.key.as_deref().is_none_or(|own| own == key.as_str()),
            "/key",
            "other_key",
            "The document has another key than the address.",
        );
        for (pointer, count, max) in [
            ("/plans", self.plans.len(), PLANS_MAX),
            ("/properties", self.properties.len(), PROPERTIES_MAX),
            ("/meters", self.meters.len(), METERS_MAX),
            ("/validations", self.validations.len(), VALIDATIONS_MAX),
            ("/permissions", self.permissions.len(), DECLARED_MAX),
            ("/roles", self.roles.len(), OF_SERVICE_MAX),
        ] {
            faults.ensure(count <= max, pointer, "too_many", &format!("There can be {max}."));
        }
        let validations = self.validations.iter().enumerate().filter_map(|(index, document)| {
            document.parse(&format!("/validations/{index}"), faults)
        });
        let validations: Vec<_> = validations.collect();
        let properties = self.properties.iter().enumerate().filter_map(|(index, document)| {
            document.parse(&format!("/properties/{index}"), &validations, faults)
        });
        let properties: Vec<_> = properties.collect();
        let meters = self.meters.iter().enumerate();
        let meters =
            meters.filter_map(|(index, meter)| meter.parse(&format!("/meters/{index}"), faults));
        let meters = meters.collect();
        let plans = self.plans.iter().enumerate().filter_map(|(index, document)| {
            let at = format!("/plans/{index}");
            document.parse(&at, &properties, &validations, settings, faults)
        });
        let plans = plans.collect();
        let permissions = self.permissions.iter().enumerate().filter_map(|(index, document)| {
            document.parse(&format!("/permissions/{index}"), faults)
        });
        let permissions = permissions.collect();
        let roles = self.roles.iter().enumerate();
        let roles = roles.filter_map(|(index, document)| document.parse(index, faults));
        let roles = roles.collect();
        let icon = self.icon.as_deref();
        faults.ensure(
            self.max_instances.is_none_or(|max| (1..=INSTANCES_MAX).contains(&max)),
            "/maxInstances",
            "out_of_range",
            &format!("This is a number from 1 to {INSTANCES_MAX}."),
        );
        Definition {
            category: faults.take("/category", note(&self.category)).unwrap_or_default(),
            description: faults.take("/description", note(&self.description)).unwrap_or_default(),
            icon: icon.and_then(|icon| faults.take("/icon", line(icon, WORD_MAX_CHARS))),
            instancing: self.instancing.into(),
            key,
            level: self.level.into(),
            line_description: self.line_description.clone(),
            max_instances: self.max_instances,
            meters,
            name: faults.take("/name", name(&self.name)).unwrap_or_default(),
            permissions,
            plans,
            process: self.process.map(Process::from).unwrap_or_default(),
            properties,
            roles,
            summary_description: self.summary_description.clone(),
            validations,
        }
    }
}

impl ServicePermissionDocument {
    fn parse(&self, at: &str, faults: &mut Faults) -> Option<ServicePermission> {
        let key = PermissionKey::parse(&self.key);
        faults.ensure(key.is_some(), &format!("{at}/key"), "not_a_key", KEY_RULE);
        let name = self.name.as_deref().unwrap_or(&self.key);
        let name = faults.take(&format!("{at}/name"), line(name, NAME_MAX_CHARS));
        Some(ServicePermission { key: key?, name: name? })
    }
}

impl ServiceRoleDocument {
    fn parse(&self, index: usize, faults: &mut Faults) -> Option<ServiceRole> {
        let at = format!("/roles/{index}");
        let key = RoleKey::parse(&self.key);
        faults.ensure(key.is_some(), &format!("{at}/key"), "not_a_key", KEY_RULE);
        let name = self.name.as_deref().unwrap_or(&self.key);
        let name = faults.take(&format!("{at}/name"), line(name, NAME_MAX_CHARS));
        for (field, count, most) in [
            ("permissions", self.permissions.len(), PERMISSIONS_MAX),
            ("includes", self.includes.len(), INCLUDES_MAX),
        ] {
            faults.ensure(
                count <= most,
                &format!("{at}/{field}"),
                "too_many",
                "These are too many.",
            );
        }
        let mut permissions = BTreeSet::new();
        for (place, text) in self.permissions.iter().enumerate() {
            let permission = AnyPermission::parse(text);
            let at = format!("{at}/permissions/{place}");
            faults.ensure(
                permission.is_some(),
                &at,
                "not_a_permission",
                "This names no permission.",
            );
            permissions.extend(permission);
        }
        let mut includes = BTreeSet::new();
        for (place, text) in self.includes.iter().enumerate() {
            let include = RoleKey::parse(text);
            let at = format!("{at}/includes/{place}");
            faults.ensure(include.is_some(), &at, "not_a_key", KEY_RULE);
            includes.extend(include);
        }
        Some(ServiceRole { includes, key: key?, name: name?, permissions })
    }
}

impl ValidationDocument {
    fn parse(&self, at: &str, faults: &mut Faults) -> Option<Validation> {
        let key = property_key(&self.key, &format!("{at}/key"), faults)?;
        let pattern = Pattern::new(self.pattern.clone());
        Some(Validation { key, message: self.message.trim().to_owned(), pattern })
    }
}

impl PropertyDocument {
    fn parse(&self, at: &str, validations: &[Validation], faults: &mut Faults) -> Option<Property> {
        let key = property_key(&self.key, &format!("{at}/key"), faults);
        let label = self.label.as_deref().unwrap_or(&self.key);
        let label = faults.take(&format!("{at}/label"), name(label));
        let help = self.help.as_deref().map(note);
        let help = help.and_then(|help| faults.take(&format!("{at}/help"), help));
        let category = self.category.as_deref().map(|text| line(text, WORD_MAX_CHARS));
        let category =
            category.and_then(|category| faults.take(&format!("{at}/category"), category));
        let validation = self.validation.as_deref();
        let validation = validation
            .and_then(|validation| property_key(validation, &format!("{at}/validation"), faults));
        let value_type = self.value_type(at, faults);
        let mut property = Property {
            category: category.unwrap_or_default(),
            default: None,
            help: help.unwrap_or_default(),
            hidden: self.hidden,
            key: key?,
            kind: self.kind.map_or(Kind::default(), Kind::from),
            label: label?,
            priced: self.priced,
            read_only: self.read_only,
            required: self.required,
            scope: self.scope.map_or(Scope::default(), Scope::from),
            sort: self.sort.unwrap_or(0),
            value_type: value_type?,
            validation,
        };
        property.default = self.default.as_ref().map(|it| canonical(&property, validations, it));
        Some(property)
    }

    /// The type with its bounds; a bound of another type is a fault.
    fn value_type(&self, at: &str, faults: &mut Faults) -> Option<ValueType> {
        let value_type = self.value_type.unwrap_or(TypeText::Text);
        let here: &[&str] = match value_type {
            TypeText::Text => &["minLength", "maxLength", "pattern"],
            TypeText::Integer | TypeText::Number | TypeText::Date => &["min", "max"],
            TypeText::Quantity => &["min", "max", "units", "unlimited"],
            TypeText::Choice if self.options_from.is_some() => &["optionsFrom"],
            TypeText::Choice => &["options"],
            TypeText::List => &["options", "minItems", "maxItems"],
            TypeText::Url => &["schemes"],
            TypeText::Boolean
            | TypeText::Email
            | TypeText::Hostname
            | TypeText::Ip
            | TypeText::SecretRef => &[],
        };
        for (field, given) in [
            ("minLength", self.min_length.is_some()),
            ("maxLength", self.max_length.is_some()),
            ("pattern", self.pattern.is_some()),
            ("min", self.min.is_some()),
            ("max", self.max.is_some()),
            ("options", !self.options.is_empty()),
            ("optionsFrom", self.options_from.is_some()),
            ("minItems", self.min_items.is_some()),
            ("maxItems", self.max_items.is_some()),
            ("units", !self.units.is_empty()),
            ("unlimited", self.unlimited.is_some()),
            ("schemes", !self.schemes.is_empty()),
        ] {
            faults.ensure(
                !given || here.contains(&field),
                &format!("{at}/{field}"),
                "other_type",
                "Values of this property's type have no such bound.",
            );
        }
        let options = || self.options.iter().map(Choice::from).collect();
        let (min, max) = (&self.min, &self.max);
        let mut bounds = Bounds { at, faults };
        Some(match value_type {
            TypeText::Boolean => ValueType::Boolean,
            TypeText::Choice => match &self.options_from {
                Some(OptionsFromDocument { instances_of }) => {
                    let service = ServiceKey::parse(instances_of);
                    let at = format!("{}/optionsFrom/instancesOf", bounds.at);
                    bounds.faults.ensure(service.is_some(), &at, "not_a_key", KEY_RULE);
                    ValueType::ChoiceOf { instances_of: service? }
                }
                None => ValueType::Choice { options: options() },
            },
            TypeText::Date => {
                ValueType::Date { max: bounds.read("max", max)?, min: bounds.read("min", min)? }
            }
            TypeText::Email => ValueType::Email,
            TypeText::Hostname => ValueType::Hostname,
            TypeText::Integer => {
                ValueType::Integer { max: bounds.read("max", max)?, min: bounds.read("min", min)? }
            }
            TypeText::Ip => ValueType::Ip,
            TypeText::List => ValueType::List {
                max_items: self.max_items.map(|items| items as usize),
                min_items: self.min_items.unwrap_or(0) as usize,
                options: options(),
            },
            TypeText::Number => {
                ValueType::Number { max: bounds.read("max", max)?, min: bounds.read("min", min)? }
            }
            TypeText::Quantity => ValueType::Quantity {
                max: max.as_ref().map(ValueDocument::text),
                min: min.as_ref().map(ValueDocument::text),
                unlimited: self.unlimited == Some(true),
                units: if self.units.is_empty() {
                    Unit::of_data()
                } else {
                    self.units.iter().map(Unit::from).collect()
                },
            },
            TypeText::SecretRef => ValueType::SecretRef,
            TypeText::Text => ValueType::Text {
                max_length: self.max_length.map(|length| length as usize),
                min_length: self.min_length.unwrap_or(0) as usize,
                pattern: self.pattern.clone().map(Pattern::new),
            },
            TypeText::Url => ValueType::Url { schemes: self.schemes.clone() },
        })
    }
}

/// Reads the bounds of a property.
struct Bounds<'a> {
    at: &'a str,
    faults: &'a mut Faults,
}

impl Bounds<'_> {
    /// A bound, if there is one; nothing at all where it is none of its type.
    fn read<T: FromStr>(
        &mut self,
        field: &str,
        bound: &Option<ValueDocument>,
    ) -> Option<Option<T>> {
        let Some(bound) = bound else { return Some(None) };
        let parsed = bound.text().parse().map_err(|_| {
            Invalid::new("wrong_type", "This bound is no value of the property's type.")
        });
        self.faults.take(&format!("{}/{field}", self.at), parsed).map(Some)
    }
}

/// A value in its canonical form; one that is not acceptable as it is: publishing tells why not.
fn canonical(property: &Property, validations: &[Validation], document: &ValueDocument) -> String {
    property.parse(&document.into(), validations).unwrap_or_else(|_| document.text())
}

impl PlanDocument {
    fn parse(
        &self,
        at: &str,
        properties: &[Property],
        validations: &[Validation],
        settings: &BillingSettings,
        faults: &mut Faults,
    ) -> Option<Plan> {
        let key = PlanKey::parse(&self.key);
        faults.ensure(key.is_some(), &format!("{at}/key"), "not_a_key", KEY_RULE);
        let name = faults.take(&format!("{at}/name"), name(&self.name));
        let sku = self.sku.as_deref().unwrap_or(&self.key);
        let sku = faults.take(&format!("{at}/sku"), line(sku, SKU_MAX_CHARS));
        let price = self.price.as_deref().and_then(|text| {
            faults.take(&format!("{at}/price"), Money::parse(text, settings.currency))
        });
        let at_price = format!("{at}/price");
        let negative = price.is_some_and(|price| price.minor < 0);
        faults.ensure(!negative, &at_price, "negative", "A price is not negative.");
        let mut values = BTreeMap::new();
        for (text, document) in &self.properties {
            let at = format!("{at}/properties/{}", pointer_token(text));
            let Some(key) = property_key(text, &at, faults) else { continue };
            let value = match properties.iter().find(|property| property.key == key) {
                Some(property) => canonical(property, validations, document),
                None => document.text(),
            };
            values.insert(key, value);
        }
        let properties = values;
        let components = self.components.iter().enumerate().filter_map(|(index, component)| {
            component.parse(&format!("{at}/components/{index}"), settings, faults)
        });
        let components = components.collect();
        faults.ensure(
            self.components.len() <= COMPONENTS_MAX,
            &format!("{at}/components"),
            "too_many",
            &format!("A plan has at most {COMPONENTS_MAX} components."),
        );
        let tax_category = tax_category(self.tax_category.as_deref(), at, faults);
        Some(Plan {
            components,
            day_policy: self.day_policy.map(DayPolicy::from).unwrap_or_default(),
            key: key?,
            level: self.level.map(Level::from),
            name: name?,
            price,
            properties,
            retired: self.retired,
            sku: sku?,
            suspended: self.suspended.map(Suspended::from).unwrap_or_default(),
            tax_category,
        })
    }
}

impl From<&OptionDocument> for Choice {
    fn from(document: &OptionDocument) -> Self {
        Self { label: document.label.clone(), value: document.value.trim().to_owned() }
    }
}

impl From<&Choice> for OptionDocument {
    fn from(choice: &Choice) -> Self {
        Self { label: choice.label.clone(), value: choice.value.clone() }
    }
}

impl From<&UnitDocument> for Unit {
    fn from(document: &UnitDocument) -> Self {
        Self { factor: document.factor, name: document.name.clone() }
    }
}

impl From<&Unit> for UnitDocument {
    fn from(unit: &Unit) -> Self {
        Self { factor: unit.factor, name: unit.name.clone() }
    }
}

impl From<&Definition> for DefinitionDocument {
    fn from(definition: &Definition) -> Self {
        Self {
            schema: None,
            key: Some(definition.key.to_string()),
            name: definition.name.clone(),
            description: definition.description.clone(),
            category: definition.category.clone(),
            icon: definition.icon.clone(),
            level: definition.level.into(),
            instancing: definition.instancing.into(),
            max_instances: definition.max_instances,
            process: Some(definition.process.into()).filter(|_| !definition.process.is_immediate()),
            properties: definition.properties.iter().map(PropertyDocument::from).collect(),
            meters: definition.meters.iter().map(MeterDocument::from).collect(),
            validations: definition.validations.iter().map(ValidationDocument::from).collect(),
            plans: definition.plans.iter().map(PlanDocument::from).collect(),
            permissions: definition
                .permissions
                .iter()
                .map(|it| ServicePermissionDocument {
                    key: it.key.to_string(),
                    name: Some(it.name.clone()),
                })
                .collect(),
            roles: definition
                .roles
                .iter()
                .map(|role| ServiceRoleDocument {
                    key: role.key.to_string(),
                    name: Some(role.name.clone()),
                    permissions: role.permissions.iter().map(ToString::to_string).collect(),
                    includes: role.includes.iter().map(ToString::to_string).collect(),
                })
                .collect(),
            line_description: definition.line_description.clone(),
            summary_description: definition.summary_description.clone(),
        }
    }
}

impl From<&Validation> for ValidationDocument {
    fn from(validation: &Validation) -> Self {
        Self {
            key: validation.key.to_string(),
            pattern: validation.pattern.as_str().to_owned(),
            message: validation.message.clone(),
        }
    }
}

impl From<&Plan> for PlanDocument {
    fn from(plan: &Plan) -> Self {
        let value = |(key, value): (&PropertyKey, &String)| {
            (key.to_string(), ValueDocument::Text(value.clone()))
        };
        Self {
            key: plan.key.to_string(),
            name: plan.name.clone(),
            level: plan.level.map(LevelText::from),
            sku: Some(plan.sku.clone()),
            price: plan.price.map(|price| price.to_string()),
            components: plan.components.iter().map(ComponentDocument::from).collect(),
            day_policy: Some(plan.day_policy).filter(|it| !it.is_default()).map(Into::into),
            suspended: Some(plan.suspended).filter(|it| !it.is_default()).map(Into::into),
            properties: plan.properties.iter().map(value).collect(),
            retired: plan.retired,
            tax_category: plan.tax_category.as_ref().map(ToString::to_string),
        }
    }
}

fn tax_category(text: Option<&str>, at: &str, faults: &mut Faults) -> Option<TaxCategory> {
    let category = TaxCategory::parse(text?);
    faults.ensure(category.is_some(), &format!("{at}/taxCategory"), "not_a_key", KEY_RULE);
    category
}

fn some_unless_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl From<&Property> for PropertyDocument {
    fn from(property: &Property) -> Self {
        let text = |text: &String| ValueDocument::Text(text.clone());
        let length = |length: usize| u32::try_from(length).ok();
        let mut document = Self {
            key: property.key.to_string(),
            label: Some(property.label.clone()),
            help: some_unless_empty(&property.help),
            category: some_unless_empty(&property.category),
            sort: (property.sort != 0).then_some(property.sort),
            scope: (property.scope != Scope::default()).then(|| property.scope.into()),
            kind: (property.kind != Kind::default()).then(|| property.kind.into()),
            value_type: None,
            min_length: None,
            max_length: None,
            pattern: None,
            min: None,
            max: None,
            options: Vec::new(),
            options_from: None,
            min_items: None,
            max_items: None,
            units: Vec::new(),
            unlimited: None,
            schemes: Vec::new(),
            validation: property.validation.as_ref().map(ToString::to_string),
            default: property.default.as_ref().map(text),
            required: property.required,
            hidden: property.hidden,
            read_only: property.read_only,
            priced: property.priced,
        };
        let mut bounds = |min: Option<String>, max: Option<String>| {
            (document.min, document.max) =
                (min.map(ValueDocument::Text), max.map(ValueDocument::Text));
        };
        document.value_type = Some(match &property.value_type {
            ValueType::Boolean => TypeText::Boolean,
            ValueType::Choice { options } => {
                document.options = options.iter().map(OptionDocument::from).collect();
                TypeText::Choice
            }
            ValueType::ChoiceOf { instances_of } => {
                let instances_of = instances_of.to_string();
                document.options_from = Some(OptionsFromDocument { instances_of });
                TypeText::Choice
            }
            ValueType::Date { max, min } => {
                bounds(min.map(|it| it.to_string()), max.map(|it| it.to_string()));
                TypeText::Date
            }
            ValueType::Email => TypeText::Email,
            ValueType::Hostname => TypeText::Hostname,
            ValueType::Integer { max, min } => {
                bounds(min.map(|it| it.to_string()), max.map(|it| it.to_string()));
                TypeText::Integer
            }
            ValueType::Ip => TypeText::Ip,
            ValueType::List { max_items, min_items, options } => {
                document.options = options.iter().map(OptionDocument::from).collect();
                document.max_items = max_items.and_then(length);
                document.min_items = length(*min_items).filter(|items| *items > 0);
                TypeText::List
            }
            ValueType::Number { max, min } => {
                bounds(min.map(|it| it.to_string()), max.map(|it| it.to_string()));
                TypeText::Number
            }
            ValueType::Quantity { max, min, unlimited, units } => {
                bounds(min.clone(), max.clone());
                document.units = units.iter().map(UnitDocument::from).collect();
                document.unlimited = unlimited.then_some(true);
                TypeText::Quantity
            }
            ValueType::SecretRef => TypeText::SecretRef,
            ValueType::Text { max_length, min_length, pattern } => {
                document.max_length = max_length.and_then(length);
                document.min_length = length(*min_length).filter(|length| *length > 0);
                document.pattern = pattern.as_ref().map(|pattern| pattern.as_str().to_owned());
                TypeText::Text
            }
            ValueType::Url { schemes } => {
                document.schemes.clone_from(schemes);
                TypeText::Url
            }
        });
        document
    }
}
