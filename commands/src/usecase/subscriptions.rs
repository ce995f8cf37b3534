//! Provisioning, changing and deprovisioning.

mod renewal;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::effective::{self, Effective, resolve};
use domain::organization::{Kind, Organization};
use domain::overrides::ResolvedProperty;
use domain::permission::Permission;
use domain::property::{self, Given, Property, Scope, Validation, ValueType};
use domain::service::{Definition, Instancing, Level, Plan, Process};
use domain::subscription::{
    Asked, Progress, QUANTITY_MAX, Request, RequestCustomer, RequestPlan, RequestService,
    RequestUser, Subscription, SubscriptionCommand, Verb,
};
use domain::text::line;
use domain::user::User;
use domain::{
    CommandId, Faults, Invalid, OrganizationId, PlanKey, PropertyKey, Refusal, ServiceKey,
    SubscriptionId, TenantPath, UserId, pointer_token,
};
use projections::views::{Holder, RequestView, SubscriptionView};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::definition::InputDocument;
use super::organizations::ensure_active;
use super::overrides::Above;
use super::services::Sold;
use super::users::ensure_user_active;
use super::{
    billing_settings, ensure_few, lineage, offers, optional_day, optional_reason, some_of,
};
use crate::error::Stop;
use crate::resource::{RequestResource, SubscriptionResource};
use crate::unit::{Unit, stream};
use crate::{Input, Reply};

pub(crate) use renewal::take_over;

/// Longest name of an instance, in characters.
const INSTANCE_MAX_CHARS: usize = 64;

/// A service for a customer or a user.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provision {
    /// The service's key.
    pub service: String,
    /// The plan's key.
    pub plan: String,
    /// Units, 1 to 1,000,000; 1 where it is left out.
    pub quantity: Option<i64>,
    /// The instance's name, for a service that one holder can have many of.
    pub instance: Option<String>,
    /// What is filled in: a value for each of the service's inputs.
    #[serde(default)]
    pub properties: BTreeMap<String, InputDocument>,
    /// A time, or a date, which means its first moment at the seller; now where it is left out.
    pub effective_at: Option<String>,
    /// Kept with the events.
    pub reason: Option<String>,
}

/// Another plan or quantity: what is left out stays as it is.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeSubscription {
    /// The new plan's key.
    pub plan: Option<String>,
    /// The new number of units.
    pub quantity: Option<i64>,
    /// Inputs that are filled in anew; `null` takes one back.
    #[serde(default)]
    pub properties: BTreeMap<String, InputDocument>,
    /// A time, or a date, which means its first moment at the seller; now where it is left out.
    pub effective_at: Option<String>,
    /// Kept with the events.
    pub reason: Option<String>,
}

/// From when, and why.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deprovision {
    /// A time, or a date, which means its first moment at the seller; now where it is left out.
    pub effective_at: Option<String>,
    /// Kept with the events.
    pub reason: Option<String>,
}

/// Who is to hold a service, with all that is above him.
pub(super) struct Recipient {
    holder: Holder,
    pub(super) customer: OrganizationId,
    pub(super) path: TenantPath,
    lineage: Vec<OrganizationId>,
    /// Whether the caller may also set what is configured.
    configures: bool,
    /// Whether the caller sees what is hidden.
    sees_hidden: bool,
}

impl Recipient {
    pub(super) fn level(&self) -> Level {
        match self.holder {
            Holder::Customer(_) => Level::Customer,
            Holder::User(_) => Level::User,
        }
    }

    /// The permission to do something with what he holds.
    pub(super) fn permission(&self, verb: Verb) -> Permission {
        verb.permission(self.level())
    }

    fn new(unit: &mut Unit<'_>, holder: Holder) -> Result<Self, Stop> {
        let customer = match holder {
            Holder::Customer(id) => id,
            Holder::User(id) => unit.load::<User>(id).known()?.organization,
        };
        let path = unit.load::<Organization>(customer).founded()?.path.clone();
        let lineage = lineage(unit, customer)?;
        let configures = unit.is_of_provider()? && unit.holds(Permission::OverrideProperties)?;
        let sees_hidden = unit.holds(Permission::PublishServices)?;
        Ok(Self { holder, customer, path, lineage, configures, sees_hidden })
    }

    /// He and all above him are in use, and he is somebody who can hold services.
    fn ensure_can_hold(&self, unit: &mut Unit<'_>) -> Result<(), Stop> {
        if unit.load::<Organization>(self.customer).founded()?.kind != Kind::Customer {
            return Err(Refusal::conflict(
                "not_a_customer",
                "Only customers and their users hold services.",
            )
            .into());
        }
        ensure_active(unit, &self.lineage)?;
        match self.holder {
            Holder::User(id) => ensure_user_active(unit, id),
            Holder::Customer(_) => Ok(()),
        }
    }

    /// He has not as many instances of a service as he can have, this one left out: those that are held at the moment
    /// or later, and those that are asked for.
    fn ensure_room(
        &self,
        unit: &mut Unit<'_>,
        id: SubscriptionId,
        service: &ServiceKey,
        max: u32,
    ) -> Result<(), Stop> {
        let moment = unit.effective_at();
        let mut others = unit.held_by_holder(self.holder);
        others.retain(|view| view.id != id && view.service == *service);
        let mut taken = Vec::new();
        for view in others {
            let other = unit.load::<Subscription>(view.id);
            let mut open = other.unfinished().iter();
            let is_asked = open.any(|open| open.verb == Verb::Provision);
            if is_asked || !other.ends_from(moment).is_empty() {
                taken.push(view.instance.clone().unwrap_or_default());
            }
        }
        if taken.len() < max as usize {
            return Ok(());
        }
        let detail = format!(
            "There can be {max} of this service here at a time; there are {}.",
            some_of(&taken)
        );
        Err(Refusal::conflict("too_many_instances", detail).into())
    }

    /// The service and its plan reach him through an unbroken chain of offers.
    fn ensure_offered(
        &self,
        unit: &mut Unit<'_>,
        sold: &Sold,
        plan: Option<&Plan>,
        faults: &mut Faults,
    ) -> Result<(), Stop> {
        let is_retired = plan.is_some_and(|plan| plan.retired);
        faults.ensure(!is_retired, "/plan", "plan_retired", "This plan is not sold any more.");
        match offers::plans_reaching(unit, &self.lineage, &sold.definition.key)? {
            None => {
                let detail =
                    "This service is not offered here: each organisation above has to offer it on.";
                faults.add("/service", "not_offered", detail);
            }
            Some(plans) if plan.is_some_and(|plan| !plan.retired && !plans.contain(&plan.key)) => {
                let offered = sold.on_sale().filter(|plan| plans.contain(&plan.key));
                let offered: Vec<_> = offered.map(|plan| plan.key.as_str()).collect();
                let detail = match &offered[..] {
                    [] => "No plan of this service is offered here.".to_owned(),
                    offered => {
                        format!("This plan is not offered here; these are: {}.", offered.join(", "))
                    }
                };
                faults.add("/plan", "plan_not_offered", detail);
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Packages all that a wish is built from, or notes which properties keep it from being granted.
    fn request(
        &self,
        unit: &mut Unit<'_>,
        wish: Wish<'_>,
        faults: &mut Faults,
    ) -> Result<Request, Stop> {
        let Wish { sold, plan, instance, quantity, inputs, wished, dated } = wish;
        let definition = &sold.definition;
        let key = &definition.key;
        let above = Above::of(unit, &self.lineage);
        let overrides = above.overrides(key);
        let filled_in: Vec<_> = inputs.iter().map(|(key, input)| input.of(key)).collect();
        let resolved = resolve(definition, Some(plan), &overrides, &filled_in, unit.effective_at());
        for effective in &resolved {
            self.check(&definition.validations, effective, wished, faults);
        }
        let of_plan = |effective: &&Effective<'_>| effective.property.scope == Scope::Plan;
        let (of_plan, others): (Vec<_>, Vec<_>) = resolved.iter().partition(of_plan);
        let properties = |resolved: Vec<&Effective<'_>>| {
            let mut properties: Vec<_> =
                resolved.into_iter().filter_map(ResolvedProperty::of).collect();
            properties.sort_by(|a, b| a.key.cmp(&b.key));
            properties
        };
        let customer = unit.load::<Organization>(self.customer);
        let customer = customer.founded()?;
        let user = match self.holder {
            Holder::Customer(_) => None,
            Holder::User(id) => {
                let person = unit.load::<User>(id).person()?.sealed.clone();
                Some(RequestUser { id, person })
            }
        };
        Ok(Request {
            customer: RequestCustomer {
                code: customer.details.code.clone(),
                id: customer.id,
                name: customer.details.name.clone(),
                number: customer.number,
            },
            dated: dated && definition.process == Process::Reported,
            id: unit.command_id(),
            subscription: SubscriptionId::of_slot(self.holder.id(), key, instance.as_deref()),
            instance,
            parent: None,
            plan: RequestPlan {
                key: plan.key.clone(),
                name: plan.name.clone(),
                properties: properties(of_plan),
                sku: plan.sku.clone(),
            },
            properties: properties(others),
            quantity,
            shadowed: resolved.iter().filter_map(ResolvedProperty::shadowed).collect(),
            service: RequestService {
                key: key.clone(),
                level: definition.level,
                name: definition.name.clone(),
                process: definition.process,
                version: sold.version,
            },
            user,
            waits_for: None,
        })
    }

    /// Where a user's service needs that the customer holds it: the request that this one waits for, if the customer's
    /// is still running.
    fn customers_request(
        &self,
        unit: &mut Unit<'_>,
        sold: &Sold,
    ) -> Result<Option<CommandId>, Stop> {
        if !(self.level() == Level::User && sold.definition.needs_customer()) {
            return Ok(None);
        }
        let moment = unit.effective_at();
        let slot = SubscriptionId::of_slot(self.customer.0, &sold.definition.key, None);
        let customers = unit.load::<Subscription>(slot);
        if customers.held_at(moment).is_some() {
            return Ok(None);
        }
        let open = customers.standing_at(moment).open;
        let running =
            open.filter(|it| it.verb == Verb::Provision && it.progress != Progress::Failed);
        match running {
            Some(open) => Ok(Some(open.request)),
            None => Err(customer_lacks().into()),
        }
    }

    /// Whether a property is one of what this holder has: one that a subscription can have a value of.
    fn has(&self, property: &Property) -> bool {
        let scope = match self.level() {
            Level::Customer => Scope::Customer,
            Level::User => Scope::User,
        };
        property.scope == scope && !property.read_only
    }

    /// Whether the caller fills in a property.
    fn fills_in(&self, property: &Property) -> bool {
        let may = property.kind == property::Kind::Input || self.configures;
        self.has(property) && may && (!property.hidden || self.sees_hidden)
    }

    /// Notes what keeps a property from being what it has to be. `wished` are those that the caller gave a value,
    /// acceptable or not.
    fn check(
        &self,
        validations: &[Validation],
        effective: &Effective<'_>,
        wished: &Wishes,
        faults: &mut Faults,
    ) {
        let property = effective.property;
        let at = format!("/properties/{}", pointer_token(property.key.as_str()));
        if wished.get(property.key.as_str()).is_some_and(|it| it.value().is_some()) {
            let is_locked = effective.lock_above(effective::Level::Subscription).is_some();
            faults.ensure(
                !(is_locked && self.fills_in(property)),
                &at,
                "locked",
                "An organisation above has locked this property; leave it out.",
            );
            return;
        }
        let lacking = match effective.winner() {
            // What was set before the service was published anew may not be acceptable any more.
            Some(winner) if winner.level > effective::Level::Plan => {
                property.parse(&winner.value.into(), validations).err()
            }
            None if property.required && !property.read_only && self.fills_in(property) => {
                Some(Invalid::new("missing", format!("{}: fill this in.", property.label)))
            }
            None if property.required && !property.read_only => {
                let detail =
                    format!("The property {} has to be set first, for this holder.", property.key);
                Some(Invalid::new("not_configured", detail))
            }
            Some(_) | None => None,
        };
        match lacking {
            Some(_) if property.hidden && !self.sees_hidden => {
                let detail = "The provider has not configured this service for this holder yet.";
                faults.add("/service", "not_configured", detail);
            }
            Some(Invalid { code, detail }) => faults.add(&at, code, detail),
            None => {}
        }
    }

    /// What is filled in: what was before, but for what is wished otherwise.
    fn fill_in(
        &self,
        unit: &mut Unit<'_>,
        definition: &Definition,
        before: &[ResolvedProperty],
        wished: &Wishes,
        moment: DateTime<Utc>,
        faults: &mut Faults,
    ) -> Inputs {
        let mut inputs: Inputs = before
            .iter()
            .filter(|it| definition.property(&it.key).is_some_and(|it| self.has(it)))
            .map(|it| (it.key.clone(), FilledIn { since: it.since, value: it.value.clone() }))
            .collect();
        for (text, value) in wished {
            let at = format!("/properties/{}", pointer_token(text));
            let property = PropertyKey::parse(text).and_then(|key| definition.property(&key));
            let property = property.filter(|property| self.fills_in(property));
            let Some(property) = property else {
                let here = definition.properties.iter().filter(|property| self.fills_in(property));
                let known: Vec<_> = here.map(|property| property.key.as_str()).collect();
                let detail = match known.as_slice() {
                    [] => "Nothing is filled in here for this service.".to_owned(),
                    _ => format!("This is not filled in here; there are: {}.", known.join(", ")),
                };
                faults.add(&at, "not_an_input", detail);
                continue;
            };
            let Some(value) = value.value() else {
                inputs.remove(&property.key);
                continue;
            };
            let parsed = property.parse(&Given::from(value), &definition.validations);
            let Some(value) = faults.take(&at, parsed) else { continue };
            let is_new = inputs.get(&property.key).is_none_or(|input| input.value != value);
            if is_new {
                if let ValueType::ChoiceOf { instances_of } = &property.value_type {
                    let slot = SubscriptionId::of_slot(self.customer.0, instances_of, Some(&value));
                    let is_there = unit.load::<Subscription>(slot).held_at(moment).is_some();
                    let detail =
                        format!("The customer holds no instance {value} of {instances_of}.");
                    faults.ensure(is_there, &at, "not_a_choice", &detail);
                }
                inputs.insert(property.key.clone(), FilledIn { since: Some(moment), value });
            }
        }
        inputs
    }
}

/// What a wish is built from, beside who has it.
struct Wish<'a> {
    sold: &'a Sold,
    plan: &'a Plan,
    instance: Option<String>,
    quantity: u32,
    inputs: Inputs,
    wished: &'a Wishes,
    /// Whether its moment was given.
    dated: bool,
}

/// A user's service needs the customer's.
pub(super) fn customer_lacks() -> Refusal {
    Refusal::conflict(
        "customer_lacks",
        "The customer has to hold this service before its users can; provision it to the customer first.",
    )
}

/// What the caller wants to be filled in, by property.
type Wishes = BTreeMap<String, InputDocument>;

/// What was filled in, by property.
type Inputs = BTreeMap<PropertyKey, FilledIn>;

/// A value that was filled in.
struct FilledIn {
    since: Option<DateTime<Utc>>,
    value: String,
}

impl FilledIn {
    fn of<'a>(&'a self, key: &'a PropertyKey) -> effective::Input<'a> {
        let from = self.since.unwrap_or(DateTime::UNIX_EPOCH);
        effective::Input { from, key, value: &self.value }
    }
}

/// The stream of the slot that a provisioning is about; none where it says none.
pub(crate) fn slot_stream(holder: Uuid, wish: &Input<Provision>) -> Option<String> {
    let wish = wish.as_ref().ok()?;
    let instance = wish.instance.as_deref().map(|text| line(text, INSTANCE_MAX_CHARS)).transpose();
    let service = ServiceKey::parse(&wish.service)?;
    let slot = SubscriptionId::of_slot(holder, &service, instance.ok()?.as_deref());
    Some(stream::<Subscription>(slot))
}

impl Sold {
    /// A plan of this key that is for sale to somebody of a level.
    fn plan(&self, key: &str, level: Level, faults: &mut Faults) -> Option<&Plan> {
        let plan = PlanKey::parse(key).and_then(|key| self.definition.plan(&key));
        let known = || {
            let fitting = self.on_sale().filter(|plan| self.definition.level_of(plan) == level);
            fitting.map(|plan| plan.key.as_str()).collect::<Vec<_>>().join(", ")
        };
        if plan.is_none() {
            let detail = format!("The service has no such plan; it has: {}.", known());
            faults.add("/plan", "unknown_plan", detail);
        } else if plan.is_some_and(|plan| self.definition.level_of(plan) != level) {
            let detail = match level {
                Level::Customer => {
                    format!("This plan is for users; for customers there are: {}.", known())
                }
                Level::User => {
                    format!("This plan is for customers; for users there are: {}.", known())
                }
            };
            faults.add("/plan", "other_level", detail);
        }
        plan
    }

    fn on_sale(&self) -> impl Iterator<Item = &Plan> {
        self.definition.plans.iter().filter(|plan| !plan.retired)
    }

    fn instance(
        &self,
        instance: Option<&str>,
        level: Level,
        faults: &mut Faults,
    ) -> Option<String> {
        // What a customer holds for its users is one.
        let is_for_users = level != self.definition.level;
        let instancing = if is_for_users { Instancing::Single } else { self.definition.instancing };
        match (instancing, instance) {
            (Instancing::Single, None) => None,
            (Instancing::Single, Some(_)) => {
                let detail = "There is only one of this service for each holder; leave this out.";
                faults.add("/instance", "single_instance", detail);
                None
            }
            (Instancing::Multi, None) => {
                let detail = "A holder can have many of this service; name this one.";
                faults.add("/instance", "missing", detail);
                None
            }
            (Instancing::Multi, Some(text)) => {
                faults.take("/instance", line(text, INSTANCE_MAX_CHARS))
            }
        }
    }
}

fn quantity(wished: Option<i64>, otherwise: u32, faults: &mut Faults) -> u32 {
    let Some(wished) = wished else {
        return otherwise;
    };
    let quantity = u32::try_from(wished).ok().filter(|units| (1..=QUANTITY_MAX).contains(units));
    if quantity.is_none() {
        let detail = format!("The quantity is a whole number from 1 to {QUANTITY_MAX}.");
        faults.add("/quantity", "out_of_range", detail);
    }
    quantity.unwrap_or(otherwise)
}

pub(crate) fn provision_to_customer(
    unit: &mut Unit<'_>,
    customer: &str,
    body: Input<Provision>,
) -> Result<Reply, Stop> {
    let id: OrganizationId = customer.parse().map_err(|_| Refusal::not_found())?;
    provision(unit, Holder::Customer(id), body)
}

pub(crate) fn provision_to_user(
    unit: &mut Unit<'_>,
    user: &str,
    body: Input<Provision>,
) -> Result<Reply, Stop> {
    let id: UserId = user.parse().map_err(|_| Refusal::not_found())?;
    provision(unit, Holder::User(id), body)
}

fn provision(unit: &mut Unit<'_>, holder: Holder, body: Input<Provision>) -> Result<Reply, Stop> {
    provision_part(unit, holder, body, None)
}

/// A part of a request for many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Names it; it is a request of its own.
    pub id: CommandId,
    /// The request for many.
    pub of: CommandId,
}

/// Provisions, as a part of a request for many where one is named.
pub(super) fn provision_part(
    unit: &mut Unit<'_>,
    holder: Holder,
    body: Input<Provision>,
    part: Option<Part>,
) -> Result<Reply, Stop> {
    let recipient = Recipient::new(unit, holder)?;
    unit.permit(recipient.permission(Verb::Provision), &recipient.path)?;
    let body = unit.take(body)?;

    let settings = billing_settings(unit, recipient.customer)?;
    let mut faults = Faults::default();
    let from =
        optional_day(unit, &mut faults, "/effectiveAt", body.effective_at.as_deref(), &settings);
    let reason = optional_reason(&mut faults, body.reason.as_deref());
    let quantity = quantity(body.quantity, 1, &mut faults);
    let Some(sold) = Sold::find(unit, &body.service) else {
        faults.add("/service", "unknown_service", "No such service is sold.");
        faults.check()?;
        unreachable!("a fault was noted")
    };
    let is_for_users = recipient.level() == Level::Customer && sold.definition.needs_customer();
    if sold.definition.level != recipient.level() && !is_for_users {
        let detail = match sold.definition.level {
            Level::Customer => "This service is provisioned to customers, not to users.",
            Level::User => "This service is provisioned to users, not to customers.",
        };
        faults.add("/service", "other_level", detail);
    }
    let level = if is_for_users { Level::Customer } else { sold.definition.level };
    let plan = sold.plan(&body.plan, level, &mut faults).cloned();
    let instance = sold.instance(body.instance.as_deref(), level, &mut faults);
    unit.because(from, reason);
    let moment = unit.effective_at();
    let slot = SubscriptionId::of_slot(holder.id(), &sold.definition.key, instance.as_deref());
    let held = unit.load::<Subscription>(slot);
    let held = held.held_at(moment);
    if held.map(|held| held.plan) != plan.as_ref().map(|plan| &plan.key) {
        recipient.ensure_offered(unit, &sold, plan.as_ref(), &mut faults)?;
    }
    let is_held = held.is_some();
    let inputs =
        recipient.fill_in(unit, &sold.definition, &[], &body.properties, moment, &mut faults);
    let Some(plan) = plan else {
        faults.check()?;
        unreachable!("an unknown plan is a fault")
    };
    let wished = &body.properties;
    let dated = from.is_some();
    let wish = Wish { sold: &sold, plan: &plan, instance, quantity, inputs, wished, dated };
    let mut request = recipient.request(unit, wish, &mut faults)?;
    faults.check()?;
    if let Some(Part { id, of }) = part {
        (request.id, request.parent) = (id, Some(of));
    }
    recipient.ensure_can_hold(unit)?;
    if !is_held && let Some(customers) = recipient.customers_request(unit, &sold)? {
        request.waits_for = Some(customers);
        request.dated = dated;
    }
    let id = request.subscription;
    if let Some(max) = sold.definition.max_instances {
        recipient.ensure_room(unit, id, &sold.definition.key, max)?;
    }

    let command = SubscriptionCommand::Provision(request);
    ask(unit, id, &recipient.path, command)?;
    if let Some(accepted) = accepted(unit, id)? {
        return Ok(accepted);
    }
    let (resource, version) = resource(unit, id)?;
    Ok(if unit.has_decided() {
        Reply::created(format!("/subscriptions/{id}"), &resource, version)
    } else {
        Reply::done(&resource, version)
    })
}

pub(crate) fn change(
    unit: &mut Unit<'_>,
    id: &str,
    body: Input<ChangeSubscription>,
) -> Result<Reply, Stop> {
    let (id, held, recipient) = find(unit, id)?;
    unit.permit(recipient.permission(Verb::Change), &recipient.path)?;
    let body = unit.take(body)?;

    let settings = billing_settings(unit, recipient.customer)?;
    let mut faults = Faults::default();
    let from =
        optional_day(unit, &mut faults, "/effectiveAt", body.effective_at.as_deref(), &settings);
    let reason = optional_reason(&mut faults, body.reason.as_deref());
    unit.because(from, reason);
    let subscription = unit.load::<Subscription>(id);
    let now_held = subscription.held_at(unit.effective_at());
    let quantity = quantity(body.quantity, now_held.map_or(1, |held| held.quantity), &mut faults);
    let sold = Sold::find(unit, held.service.key.as_str()).ok_or_else(Refusal::not_found)?;
    let plan = match (&body.plan, now_held) {
        (Some(plan), _) => sold.plan(plan, recipient.level(), &mut faults),
        (None, Some(now_held)) => sold.definition.plan(now_held.plan),
        (None, None) => sold.definition.plan(&held.plan.key),
    };
    if body.plan.is_none() && body.quantity.is_none() && body.properties.is_empty() {
        let detail = "Say which plan, quantity or properties it is to have.";
        faults.add("", "nothing_to_change", detail);
    }
    let plan = plan.cloned();
    let moment = unit.effective_at();
    // What runs goes on, whoever has withdrawn what.
    if now_held.map(|held| held.plan) != plan.as_ref().map(|plan| &plan.key) {
        recipient.ensure_offered(unit, &sold, plan.as_ref(), &mut faults)?;
    }
    let before = subscription.inputs_at(moment);
    let inputs =
        recipient.fill_in(unit, &sold.definition, before, &body.properties, moment, &mut faults);
    let Some(plan) = plan else {
        faults.check()?;
        return Err(Refusal::not_found().into());
    };
    let instance = held.instance.clone();
    let wished = &body.properties;
    let dated = from.is_some();
    let wish = Wish { sold: &sold, plan: &plan, instance, quantity, inputs, wished, dated };
    let request = recipient.request(unit, wish, &mut faults)?;
    faults.check()?;
    recipient.ensure_can_hold(unit)?;

    ask(unit, id, &recipient.path, SubscriptionCommand::Change(request))?;
    asked(unit, id)
}

pub(crate) fn deprovision(
    unit: &mut Unit<'_>,
    id: &str,
    body: Input<Deprovision>,
) -> Result<Reply, Stop> {
    plainly(unit, id, Verb::Deprovision, body)
}

/// Asks for what needs no more than a moment and a reason.
pub(super) fn plainly(
    unit: &mut Unit<'_>,
    id: &str,
    verb: Verb,
    body: Input<Deprovision>,
) -> Result<Reply, Stop> {
    let (id, held, recipient) = find(unit, id)?;
    unit.permit(recipient.permission(verb), &recipient.path)?;
    let body = unit.take(body)?;

    let settings = billing_settings(unit, recipient.customer)?;
    let mut faults = Faults::default();
    let from =
        optional_day(unit, &mut faults, "/effectiveAt", body.effective_at.as_deref(), &settings);
    let reason = optional_reason(&mut faults, body.reason.as_deref());
    faults.check()?;
    unit.because(from, reason);
    let process = process(unit, &held.service.key);
    let dated = from.is_some() && process == Process::Reported;
    let request = unit.command_id();
    let wish = Asked { dated, parent: None, process, request, waits: false };
    let command = match verb {
        Verb::Suspend => SubscriptionCommand::Suspend(wish),
        Verb::Resume => SubscriptionCommand::Resume(wish),
        Verb::Deprovision | Verb::Provision | Verb::Change => {
            let moment = unit.effective_at();
            let users = users_of(unit, &recipient, &held.service.key, moment)?;
            if !users.is_empty() {
                return deprovision_with_users(unit, id, &recipient, wish, &users);
            }
            SubscriptionCommand::Deprovision(wish)
        }
    };
    ask(unit, id, &recipient.path, command)?;
    asked(unit, id)
}

/// What a customer's users have of a service at a moment or later, or have asked for, where they have it by the
/// customer's.
fn users_of(
    unit: &mut Unit<'_>,
    recipient: &Recipient,
    service: &ServiceKey,
    moment: DateTime<Utc>,
) -> Result<Vec<Arc<SubscriptionView>>, Stop> {
    let is_by_customer =
        Sold::find(unit, service.as_str()).is_some_and(|sold| sold.definition.level == Level::User);
    if !(recipient.level() == Level::Customer && is_by_customer) {
        return Ok(Vec::new());
    }
    let mut held = unit.below::<SubscriptionView>(&recipient.path);
    held.retain(|view| {
        view.service == *service
            && matches!(view.holder, Holder::User(_))
            && is_to_end_from(unit, view, moment)
    });
    held.sort_by_key(|view| (view.holder.id(), view.instance.clone()));
    ensure_few(held.len(), "users' subscriptions", "deprovision those of some users first")?;
    Ok(held)
}

/// Takes a service away from a customer's users first, and then from the customer: one request, with a part for each.
fn deprovision_with_users(
    unit: &mut Unit<'_>,
    id: SubscriptionId,
    recipient: &Recipient,
    wish: Asked,
    users: &[Arc<SubscriptionView>],
) -> Result<Reply, Stop> {
    unit.permit(Permission::RemoveFromUsers, &recipient.path)?;
    let (moment, reason) = (unit.effective_at(), unit.reason().cloned());
    let command = SubscriptionCommand::Deprovision(Asked { waits: true, ..wish });
    ask(unit, id, &recipient.path, command)?;
    if unit.has_decided() {
        for view in users {
            end_from(unit, view, moment, Some(wish.request), reason.as_ref())?;
        }
        unit.because(Some(moment), reason);
        super::requests::settle(unit, wish.request)?;
    }
    asked(unit, id)
}

/// Who does the work of a service, as it is sold now.
pub(super) fn process(unit: &mut Unit<'_>, service: &ServiceKey) -> Process {
    Sold::find(unit, service.as_str()).map(|sold| sold.definition.process).unwrap_or_default()
}

/// Most requests of one subscription whose day is to come.
const SCHEDULED_MAX: usize = 100;

/// Has something asked for.
fn ask(
    unit: &mut Unit<'_>,
    id: SubscriptionId,
    path: &TenantPath,
    command: SubscriptionCommand,
) -> Result<(), Stop> {
    let now = unit.now();
    let subscription = unit.load::<Subscription>(id);
    let scheduled = subscription.scheduled_after(now).count() + subscription.unfinished().len();
    if unit.effective_at() > now && scheduled >= SCHEDULED_MAX {
        let detail = format!(
            "There are {SCHEDULED_MAX} requests about this subscription that are to come; cancel some first."
        );
        return Err(Refusal::conflict("too_many_scheduled", detail).into());
    }
    unit.execute::<Subscription>(id, path, command)
}

/// The answer where work follows: the request.
fn accepted(unit: &mut Unit<'_>, id: SubscriptionId) -> Result<Option<Reply>, Stop> {
    let subscription = unit.load::<Subscription>(id);
    let own = subscription.unfinished().iter().find(|open| open.request == unit.command_id());
    // Who asks again for what is being worked on hears of that.
    let moment = unit.effective_at();
    let same = Some(()).filter(|()| !unit.has_decided());
    let same = same.and_then(|()| subscription.standing_at(moment).open);
    let Some(open) = own.or(same) else { return Ok(None) };
    request_accepted(unit, open.request).map(Some)
}

pub(super) fn request_accepted(unit: &mut Unit<'_>, request: CommandId) -> Result<Reply, Stop> {
    let view = unit.view::<RequestView>(&request.to_string()).ok_or_else(Refusal::not_found)?;
    let resource = RequestResource::new(&view, None, unit.now());
    Ok(Reply::accepted(format!("/requests/{request}"), &resource))
}

fn asked(unit: &mut Unit<'_>, id: SubscriptionId) -> Result<Reply, Stop> {
    match accepted(unit, id)? {
        Some(accepted) => Ok(accepted),
        None => done(unit, id),
    }
}

/// Whether anything is held, is to be held later, or is asked for.
pub(crate) fn is_to_end(unit: &mut Unit<'_>, view: &SubscriptionView) -> bool {
    let now = unit.now();
    is_to_end_from(unit, view, now)
}

fn is_to_end_from(unit: &mut Unit<'_>, view: &SubscriptionView, moment: DateTime<Utc>) -> bool {
    let subscription = unit.load::<Subscription>(view.id);
    !subscription.ends_from(moment).is_empty() || !subscription.unfinished().is_empty()
}

/// Takes away what is held and what is to be held later, each by a request of its own; what is only asked for is taken
/// back or given up.
pub(crate) fn end(
    unit: &mut Unit<'_>,
    view: &SubscriptionView,
    reason: Option<&String>,
) -> Result<(), Stop> {
    let now = unit.now();
    end_from(unit, view, now, None, reason)
}

/// The same from a moment on, as parts of a request.
fn end_from(
    unit: &mut Unit<'_>,
    view: &SubscriptionView,
    from: DateTime<Utc>,
    parent: Option<CommandId>,
    reason: Option<&String>,
) -> Result<(), Stop> {
    unit.because(None, reason.cloned());
    for open in unit.load::<Subscription>(view.id).unfinished() {
        let is_removal = open.verb == Verb::Deprovision && open.effective_at <= from;
        let command = match open.progress {
            _ if is_removal => continue,
            Progress::Requested => SubscriptionCommand::Cancel(Some(open.request)),
            Progress::Failed => SubscriptionCommand::Reset,
            Progress::InProgress => {
                let detail = format!(
                    "A request about the service {} is being worked on ({}); wait for it, or reset it first.",
                    view.service, open.request
                );
                return Err(Refusal::conflict("work_in_progress", detail).into());
            }
        };
        unit.execute::<Subscription>(view.id, &view.path, command)?;
    }
    let process = process(unit, &view.service);
    for moment in unit.load::<Subscription>(view.id).ends_from(from) {
        unit.because(Some(moment), reason.cloned());
        // Where it ended before that by a change of plans, there is nothing to take away.
        if unit.load::<Subscription>(view.id).held_at(moment).is_some() {
            let request = CommandId(unit.id());
            let wish = Asked { dated: true, parent, process, request, waits: false };
            let command = SubscriptionCommand::Deprovision(wish);
            unit.execute::<Subscription>(view.id, &view.path, command)?;
        }
    }
    Ok(())
}

/// A subscription, the latest request that says what it is, and who holds it.
pub(super) fn find(
    unit: &mut Unit<'_>,
    id: &str,
) -> Result<(SubscriptionId, Request, Recipient), Stop> {
    let id: SubscriptionId = id.parse().map_err(|_| Refusal::not_found())?;
    let subscription = unit.load::<Subscription>(id);
    let request = subscription.request.clone().ok_or_else(Refusal::not_found)?;
    let holder = match &request.user {
        Some(user) => Holder::User(user.id),
        None => Holder::Customer(request.customer.id),
    };
    let recipient = Recipient::new(unit, holder)?;
    Ok((id, request, recipient))
}

/// As it is shown, and its version.
fn resource(unit: &mut Unit<'_>, id: SubscriptionId) -> Result<(SubscriptionResource, u64), Stop> {
    let view = unit.view::<SubscriptionView>(&id.to_string()).ok_or_else(Refusal::not_found)?;
    Ok((SubscriptionResource::new(&view, unit.now()), view.version))
}

pub(super) fn done(unit: &mut Unit<'_>, id: SubscriptionId) -> Result<Reply, Stop> {
    let (resource, version) = resource(unit, id)?;
    Ok(Reply::done(&resource, version))
}
