//! Drafting and publishing services.

use std::collections::{BTreeMap, BTreeSet};

use domain::billing::BillingSettings;
use domain::money::Money;
use domain::permission::{AnyPermission, Permission};
use domain::role::{
    DECLARED_MAX, INCLUDES_MAX, OF_SERVICE_MAX, PERMISSIONS_MAX, ServicePermission, ServiceRole,
};
use domain::service::{
    Definition, Instancing, Level, PLANS_MAX, PROPERTIES_MAX, Plan, Property, Service,
    ServiceCommand,
};
use domain::text::{NAME_MAX_CHARS, line, name, note};
use domain::{
    Faults, PermissionKey, PlanKey, PropertyKey, Refusal, RoleKey, ServiceKey, TenantPath,
};
use projections::views::ServiceView;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{installation, offers, optional_moment, optional_reason};
use crate::error::Stop;
use crate::resource::ServiceResource;
use crate::unit::Unit;
use crate::{Input, Reply};

/// Longest SKU and property value, in characters.
const VALUE_MAX_CHARS: usize = 500;

/// The document that defines a service.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DefinitionDocument {
    /// Names the service; must be the key in the address where it is given.
    pub key: Option<String>,
    /// As people read it.
    pub name: String,
    /// What it is, for those who buy it.
    #[serde(default)]
    pub description: String,
    /// Where it stands in the catalogue.
    #[serde(default)]
    pub category: String,
    /// To whom it is provisioned.
    pub level: LevelText,
    /// How many a holder can have.
    pub instancing: InstancingText,
    /// What the plans differ in.
    #[serde(default)]
    pub properties: Vec<PropertyDocument>,
    /// What can be bought.
    pub plans: Vec<PlanDocument>,
    /// Custom permissions that it declares; the permission `export` of the service `crm` is called `crm:export`.
    #[serde(default)]
    pub permissions: Vec<ServicePermissionDocument>,
    /// Roles that come with it, and act on the customers that hold it.
    #[serde(default)]
    pub roles: Vec<ServiceRoleDocument>,
    /// Pattern of the line description.
    pub line_description: Option<String>,
    /// Pattern of the summary description.
    pub summary_description: Option<String>,
}

/// To whom a service is provisioned.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum LevelText {
    /// To a customer only.
    Customer,
    /// To a customer's users.
    User,
}

/// How many of a service one holder can have.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum InstancingText {
    /// On or off.
    Single,
    /// Any number of named instances.
    Multi,
}

/// A property whose value makes one plan differ from another.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PropertyDocument {
    /// Names it.
    pub key: String,
    /// As people read it; the key where it is left out.
    pub label: Option<String>,
}

/// A product option of a service.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanDocument {
    /// Names it.
    pub key: String,
    /// As people read it.
    pub name: String,
    /// Stock code; the key where it is left out.
    pub sku: Option<String>,
    /// Per month and unit, as a decimal text such as `100.00`, in the provider's currency.
    pub price: Option<String>,
    /// A value for each property of the service.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// Kept for what runs, not sold any more.
    #[serde(default)]
    pub retired: bool,
}

/// A custom permission that a service declares.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServicePermissionDocument {
    /// Names it.
    pub key: String,
    /// As people read it; the key where it is left out.
    pub name: Option<String>,
}

/// A role that comes with a service. The role `agent` of the service `crm` is called `crm:agent`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
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

/// From when a publication's prices hold, and why.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PublishService {
    /// A time or a date; now where it is left out. A plan's first price holds since ever.
    pub effective_at: Option<String>,
    /// Whether everybody is offered it from now on, with all its plans, also those who come later. Otherwise it
    /// has to be offered (`PUT /api/v2/organizations/{id}/offers/{service}`) before anybody can have it.
    pub roll_out: Option<bool>,
    /// Kept with the event.
    pub reason: Option<String>,
}

impl DefinitionDocument {
    fn parse(
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
        faults.ensure(
            self.plans.len() <= PLANS_MAX,
            "/plans",
            "too_many",
            "These are too many plans.",
        );
        faults.ensure(
            self.properties.len() <= PROPERTIES_MAX,
            "/properties",
            "too_many",
            "These are too many properties.",
        );
        let properties = self.properties.iter().enumerate().filter_map(|(index, document)| {
            document.parse(&format!("/properties/{index}"), faults)
        });
        let properties = properties.collect();
        let plans = self.plans.iter().enumerate().filter_map(|(index, document)| {
            document.parse(&format!("/plans/{index}"), settings, faults)
        });
        let plans = plans.collect();
        faults.ensure(
            self.permissions.len() <= DECLARED_MAX,
            "/permissions",
            "too_many",
            "These are too many permissions.",
        );
        faults.ensure(
            self.roles.len() <= OF_SERVICE_MAX,
            "/roles",
            "too_many",
            "These are too many roles.",
        );
        let permissions = self.permissions.iter().enumerate().filter_map(|(index, document)| {
            document.parse(&format!("/permissions/{index}"), faults)
        });
        let permissions = permissions.collect();
        let roles = self.roles.iter().enumerate();
        let roles = roles.filter_map(|(index, document)| document.parse(index, faults));
        let roles = roles.collect();
        Definition {
            permissions,
            plans,
            properties,
            roles,
            category: faults.take("/category", note(&self.category)).unwrap_or_default(),
            description: faults.take("/description", note(&self.description)).unwrap_or_default(),
            instancing: match self.instancing {
                InstancingText::Single => Instancing::Single,
                InstancingText::Multi => Instancing::Multi,
            },
            key,
            level: match self.level {
                LevelText::Customer => Level::Customer,
                LevelText::User => Level::User,
            },
            line_description: self.line_description.clone(),
            name: faults.take("/name", name(&self.name)).unwrap_or_default(),
            summary_description: self.summary_description.clone(),
        }
    }
}

const KEY_RULE: &str =
    "A key has up to 64 letters A-Z, digits, `-`, `_` and `.`, and begins with a letter or digit.";

impl PropertyDocument {
    fn parse(&self, at: &str, faults: &mut Faults) -> Option<Property> {
        let key = PropertyKey::parse(&self.key);
        faults.ensure(key.is_some(), &format!("{at}/key"), "not_a_key", KEY_RULE);
        let label = self.label.as_deref().unwrap_or(&self.key);
        let label = faults.take(&format!("{at}/label"), name(label));
        Some(Property { key: key?, label: label? })
    }
}

impl PlanDocument {
    fn parse(&self, at: &str, settings: &BillingSettings, faults: &mut Faults) -> Option<Plan> {
        let key = PlanKey::parse(&self.key);
        faults.ensure(key.is_some(), &format!("{at}/key"), "not_a_key", KEY_RULE);
        let name = faults.take(&format!("{at}/name"), name(&self.name));
        let sku = self.sku.as_deref().unwrap_or(&self.key);
        let sku = faults.take(&format!("{at}/sku"), line(sku, VALUE_MAX_CHARS));
        let price = self.price.as_deref().and_then(|text| {
            faults.take(&format!("{at}/price"), Money::parse(text, settings.currency))
        });
        let at_price = format!("{at}/price");
        let negative = price.is_some_and(|price| price.minor < 0);
        faults.ensure(!negative, &at_price, "negative", "A price is not negative.");
        let mut properties = BTreeMap::new();
        for (text, value) in &self.properties {
            let at = format!("{at}/properties/{}", pointer_token(text));
            let key = PropertyKey::parse(text);
            faults.ensure(key.is_some(), &at, "not_a_key", KEY_RULE);
            let value = faults.take(&at, line(value, VALUE_MAX_CHARS));
            properties.extend(key.zip(value));
        }
        Some(Plan { key: key?, name: name?, price, properties, retired: self.retired, sku: sku? })
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

/// Nobody grants what he lacks: what is new in a service's roles, whoever drafts it has to hold.
fn ensure_within_own(
    unit: &mut Unit<'_>,
    definition: &Definition,
    faults: &mut Faults,
) -> Result<(), Stop> {
    let Some(authority) = unit.authority()? else { return Ok(()) };
    let service = unit.load::<Service>(&definition.key);
    let before = service.published.as_ref().map_or(&[][..], |(_, before)| &before.roles);
    for (index, role) in definition.roles.iter().enumerate() {
        let same = before.iter().find(|old| old.key == role.key);
        let is_new = |it: &&AnyPermission| same.is_none_or(|old| !old.permissions.contains(it));
        if let Some(lacking) = role.permissions.iter().filter(is_new).find(|it| authority.lacks(it))
        {
            let detail = format!("You cannot grant what you do not hold yourself: {lacking}.");
            faults.add(&format!("/roles/{index}/permissions"), "beyond_your_own", detail);
        }
    }
    Ok(())
}

/// A key as a part of a JSON pointer (RFC 6901, section 3).
fn pointer_token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

pub(crate) fn draft(
    unit: &mut Unit<'_>,
    key: &str,
    body: Input<DefinitionDocument>,
    if_match: Option<u64>,
) -> Result<Reply, Stop> {
    unit.require(Permission::PublishServices)?;
    let key = ServiceKey::parse(key).ok_or_else(Refusal::not_found)?;
    let body = unit.take(body)?;
    unit.expect_version::<Service>(&key, if_match)?;
    let settings = installation::settings(unit)?;
    let mut faults = Faults::default();
    let definition = body.parse(key.clone(), &settings, &mut faults);
    ensure_within_own(unit, &definition, &mut faults)?;
    faults.check()?;
    let command = ServiceCommand::Draft(Box::new(definition));
    unit.execute::<Service>(&key, &TenantPath::provider(), command)?;
    done(unit, &key)
}

pub(crate) fn publish(
    unit: &mut Unit<'_>,
    key: &str,
    body: Input<PublishService>,
) -> Result<Reply, Stop> {
    unit.require(Permission::PublishServices)?;
    if body.as_ref().is_ok_and(|body| body.roll_out == Some(true)) {
        unit.require(Permission::OfferServices)?;
    }
    let key = ServiceKey::parse(key).ok_or_else(Refusal::not_found)?;
    let body = unit.take(body)?;
    let settings = installation::settings(unit)?;
    let mut faults = Faults::default();
    let from =
        optional_moment(&mut faults, "/effectiveAt", body.effective_at.as_deref(), &settings);
    let reason = optional_reason(&mut faults, body.reason.as_deref());
    faults.check()?;
    unit.because(from, reason.clone());
    unit.execute::<Service>(&key, &TenantPath::provider(), ServiceCommand::Publish)?;
    if body.roll_out == Some(true) {
        unit.because(None, reason);
        offers::roll_out(unit, &key)?;
    }
    done(unit, &key)
}

fn done(unit: &mut Unit<'_>, key: &ServiceKey) -> Result<Reply, Stop> {
    let view = unit.view::<ServiceView>(key.as_str()).ok_or_else(Refusal::not_found)?;
    let resource = ServiceResource::from(view.as_ref());
    Ok(Reply::done(&resource, resource.version))
}
