//! A customer's life: it is founded, hires, changes what it has, and lets people go.

use std::collections::BTreeMap;

use commands::usecase::definition::{InputDocument, ValueDocument};
use commands::usecase::organizations::{Because, CreateOrganization};
use commands::usecase::overrides::{ApplyText, OverridePrice, OverrideProperty};
use commands::usecase::subscriptions::{ChangeSubscription, Deprovision, Provision};
use commands::usecase::users::CreateUser;
use commands::{Caller, Command};
use domain::lifecycle::Transition;
use domain::organization::Kind;
use domain::role::DefaultRole;
use domain::{ServiceKey, SubscriptionId, UserId};
use rand::rngs::StdRng;
use rand::{Rng as _, seq::IndexedRandom as _};
use uuid::Uuid;

use super::{Deed, Story, Then, VISIT_DAYS, cast, person};

/// People that a customer begins with, where it has so many.
const FIRST_STAFF: u32 = 5;
/// Most people of a customer, but for the few that the cast knows: one in a thousand has as many.
const STAFF_MAX: u32 = 1_000;
/// Days that a fact may be told too late.
const LATE_DAYS: u32 = 6;
/// Most CRM instances of a customer.
const CRM_MAX: u16 = 4;
/// Plans of the backup service.
const BACKUP_PLANS: [&str; 3] = ["BU001", "BU010", "IA003"];

/// What the story remembers of a customer: little, as there may be a million.
pub(super) struct Customer {
    id: Uuid,
    /// How many people it grows to.
    size: u32,
    /// How many it ever had.
    hired: u32,
    administrator: Option<UserId>,
    staff: Vec<Employee>,
    /// Of [`BACKUP_PLANS`].
    backup: u8,
    website: Option<bool>,
    /// Ever made; the last one may be gone.
    crm: u16,
    crm_is_there: bool,
    has_terms: bool,
}

/// Somebody who works there.
struct Employee {
    id: UserId,
    /// Day of the last change.
    since: u32,
    archive: bool,
    desktop: Option<bool>,
    /// Whether he is on leave.
    away: bool,
}

impl Customer {
    pub(super) fn new(number: u32, random: &mut StdRng) -> Self {
        // Few are large, many are small: half of them have no more than four people.
        let drawn = 2 + STAFF_MAX / random.random_range(1..=STAFF_MAX);
        Self {
            id: Uuid::nil(),
            size: cast::staff(number).unwrap_or(drawn),
            hired: 0,
            administrator: None,
            staff: Vec::new(),
            backup: 0,
            website: None,
            crm: 0,
            crm_is_there: false,
            has_terms: false,
        }
    }

    /// Days until it is looked after again.
    pub(super) fn gap(&self, random: &mut StdRng) -> u32 {
        let mean = match self.size {
            ..10 => 20,
            10..100 => 8,
            _ => 3,
        };
        random.random_range(1..2 * mean)
    }

    fn slot(&self, service: &str, instance: Option<u16>) -> String {
        slot(self.id, service, instance)
    }
}

/// The id of what a holder holds.
fn slot(holder: Uuid, service: &str, instance: Option<u16>) -> String {
    let service = ServiceKey::parse(service).expect("the services that are shipped have keys");
    let instance = instance.map(instance_name);
    SubscriptionId::of_slot(holder, &service, instance.as_deref()).to_string()
}

fn instance_name(number: u16) -> String {
    match number {
        1 => "production".to_owned(),
        2 => "staging".to_owned(),
        _ => format!("project {number}"),
    }
}

fn mailbox_plan(archive: bool) -> &'static str {
    if archive { "archive" } else { "standard" }
}

fn desktop_plan(power: bool) -> &'static str {
    if power { "power" } else { "office" }
}

fn website_plan(large: bool) -> &'static str {
    if large { "large" } else { "small" }
}

/// What is provisioned.
struct Wish<'a> {
    service: &'a str,
    plan: &'a str,
    quantity: Option<i64>,
    instance: Option<String>,
    properties: BTreeMap<String, InputDocument>,
    effective_at: Option<String>,
}

impl<'a> Wish<'a> {
    fn new(service: &'a str, plan: &'a str) -> Self {
        let properties = BTreeMap::new();
        Self { service, plan, quantity: None, instance: None, properties, effective_at: None }
    }

    /// The backup of a customer, with an account of its own.
    fn backup(number: u32, plan: &'a str) -> Self {
        let properties = [
            ("Username", format!("customer-{number}")),
            ("AdminEmailAddress", format!("backup@customer-{number}.example")),
            ("ContractDuration", (1 + number % 3).to_string()),
        ];
        let properties = properties
            .map(|(key, value)| (key.to_owned(), InputDocument::Value(ValueDocument::Text(value))))
            .into();
        Self { properties, ..Self::new("backup", plan) }
    }

    fn body(self) -> Provision {
        Provision {
            service: self.service.to_owned(),
            plan: self.plan.to_owned(),
            quantity: self.quantity,
            instance: self.instance,
            properties: self.properties,
            effective_at: self.effective_at,
            reason: None,
        }
    }
}

fn change(id: String, plan: &str) -> Command {
    let body = ChangeSubscription {
        plan: Some(plan.to_owned()),
        quantity: None,
        properties: BTreeMap::new(),
        effective_at: None,
        reason: None,
    };
    Command::ChangeSubscription { id, body: Ok(body) }
}

impl Story {
    /// What happens at a customer on a day when it is looked after.
    pub(super) fn visit(&mut self, number: u32, day: u32) -> Vec<Deed> {
        let customer = &self.customers[number as usize];
        if customer.id.is_nil() {
            return vec![self.found_customer(number)];
        }
        let grows = customer.hired < customer.size || customer.staff.len() < 3;
        match self.random.random_range(0..100) {
            0..35 if grows => self.hire_some(number),
            0..50 => self.change_somebody(number, day),
            50..65 => self.somebody_leaves(number, day),
            65..73 => self.change_backup(number),
            73..80 => self.crm(number, day),
            80..85 => self.website(number),
            85..92 => self.special_terms(number, day),
            92..96 => self.somebody_goes_on_leave(number),
            _ => self.change_somebody(number, day),
        }
    }

    fn found_customer(&self, number: u32) -> Deed {
        let (reseller, seller) = self.seller(number);
        let body = CreateOrganization {
            name: cast::customer_name(number),
            parent_id: reseller.map(|reseller| reseller.id.to_string()),
            code: None,
            billing_identifier: Some(format!("ACC-{}", 1001 + number)),
            purpose: None,
            contact: None,
            currency: None,
            custom_fields: None,
        };
        let command = Command::CreateOrganization { kind: Kind::Customer, body: Ok(body) };
        Deed::new(seller, command).then(Then::CustomerFounded(number))
    }

    /// It begins with some people, and what a customer usually has.
    pub(super) fn customer_founded(&mut self, number: u32, id: Uuid) -> Vec<Deed> {
        self.customers[number as usize].id = id;
        let size = self.customers[number as usize].size;
        let first_staff = FIRST_STAFF.max(size / 3).min(size);
        let mut deeds: Vec<_> = (0..first_staff).map(|_| self.hire(number)).collect();
        let (_, seller) = self.seller(number);
        let plan = self.random.random_range(0..10) / 7;
        self.customers[number as usize].backup = plan;
        deeds.push(self.to_customer(
            seller,
            number,
            Wish::backup(number, BACKUP_PLANS[usize::from(plan)]),
        ));
        if number.is_multiple_of(2) {
            self.customers[number as usize].website = Some(false);
            deeds.push(self.to_customer(seller, number, Wish::new("website", "small")));
        }
        if number.is_multiple_of(3) {
            for _ in 0..2 {
                deeds.push(self.new_crm(number));
            }
        }
        deeds
    }

    /// Who looks after a customer's users: its own administrator, or who sells to it.
    fn administrator_of(&self, number: u32) -> Caller {
        let own = self.customers[number as usize].administrator.map(Caller::user);
        own.unwrap_or_else(|| self.seller(number).1)
    }

    fn hire_some(&mut self, number: u32) -> Vec<Deed> {
        let most = 1 + self.customers[number as usize].size / 20;
        let some = self.random.random_range(1..=most);
        (0..some).map(|_| self.hire(number)).collect()
    }

    fn hire(&mut self, number: u32) -> Deed {
        let by = self.administrator_of(number);
        let customer = &mut self.customers[number as usize];
        let nth = customer.hired;
        customer.hired += 1;
        let (first_name, last_name, namesakes) = cast::employee(number, nth);
        let mut body = person(first_name, last_name, &cast::customer_domain(number), namesakes);
        let is_first = nth == 0;
        if is_first && number == 0 {
            let roles = [DefaultRole::CustomerAdministrator, DefaultRole::ServiceProviderDeveloper];
            body.roles = Some(roles.map(|role| role.name().to_owned()).to_vec());
        }
        let command = Command::CreateUser {
            organization: customer.id.to_string(),
            body: Ok(CreateUser { ..body }),
            password: self.proof.clone().filter(|_| is_first),
        };
        let by = if is_first { self.administrator } else { by };
        Deed::new(by, command).then(Then::Hired(number))
    }

    /// Everybody gets a mailbox, and every third a desktop.
    pub(super) fn hired(&mut self, number: u32, id: UserId) -> Vec<Deed> {
        let since = self.today();
        let archive = self.random.random_ratio(1, 4);
        let desktop = self.random.random_ratio(1, 3).then_some(false);
        let customer = &mut self.customers[number as usize];
        customer.administrator = customer.administrator.or(Some(id));
        customer.staff.push(Employee { id, since, archive, desktop, away: false });
        let by = self.administrator_of(number);
        let mut deeds = vec![to_user(by, id, Wish::new("mailbox", mailbox_plan(archive)))];
        if desktop.is_some() {
            deeds.push(to_user(by, id, Wish::new("desktop", "office")));
        }
        deeds
    }

    /// Somebody gets more: an archive, a desktop, a faster one.
    fn change_somebody(&mut self, number: u32, day: u32) -> Vec<Deed> {
        let by = self.administrator_of(number);
        let (today, first) = (self.today().max(day), self.first);
        let customer = &mut self.customers[number as usize];
        if customer.staff.is_empty() {
            return Vec::new();
        }
        let chosen = self.random.random_range(0..customer.staff.len());
        let late = self.random.random_ratio(1, 4);
        let employee = &mut customer.staff[chosen];
        if employee.away {
            return Vec::new();
        }
        let id = employee.id.0;
        let deed = if !employee.archive {
            employee.archive = true;
            Deed::new(by, change(slot(id, "mailbox", None), mailbox_plan(true)))
        } else if employee.desktop.is_none() {
            employee.desktop = Some(false);
            // It has been there for some days when it is told.
            let date = first + chrono::Days::new(u64::from(day));
            let effective_at = (late && employee.since < day).then(|| date.to_string());
            to_user(by, employee.id, Wish { effective_at, ..Wish::new("desktop", "office") })
        } else {
            let power = employee.desktop != Some(true);
            employee.desktop = Some(power);
            Deed::new(by, change(slot(id, "desktop", None), desktop_plan(power)))
        };
        // The clock will not have gone further when it is done.
        employee.since = today + VISIT_DAYS;
        vec![deed]
    }

    /// Somebody has left, and the service desk may hear of it some days later.
    fn somebody_leaves(&mut self, number: u32, day: u32) -> Vec<Deed> {
        let by = self.administrator_of(number);
        let late = self.random.random_range(0..=LATE_DAYS);
        let customer = &mut self.customers[number as usize];
        if customer.staff.len() < 4 {
            return Vec::new();
        }
        // The administrator stays.
        let chosen = self.random.random_range(1..customer.staff.len());
        let employee = customer.staff.remove(chosen);
        let left = day.saturating_sub(late);
        let effective_at = (late > 0 && left > employee.since).then(|| self.date(left).to_string());
        let id = employee.id.0;
        let held = [Some("mailbox"), employee.desktop.map(|_| "desktop")];
        let mut deeds: Vec<_> = held
            .into_iter()
            .flatten()
            .map(|service| {
                let body = Deprovision {
                    effective_at: effective_at.clone(),
                    reason: Some("Left the company".to_owned()),
                };
                let id = slot(id, service, None);
                Deed::new(by, Command::Deprovision { id, body: Ok(body) })
            })
            .collect();
        if !employee.away {
            let body = Ok(Because { reason: Some("Left the company".to_owned()) });
            deeds.push(Deed::new(
                by,
                Command::TransitionUser { step: Transition::Disable, id: id.to_string(), body },
            ));
        }
        deeds
    }

    fn somebody_goes_on_leave(&mut self, number: u32) -> Vec<Deed> {
        let by = self.administrator_of(number);
        let customer = &mut self.customers[number as usize];
        if customer.staff.len() < 2 {
            return Vec::new();
        }
        let chosen = self.random.random_range(1..customer.staff.len());
        let employee = &mut customer.staff[chosen];
        employee.away = !employee.away;
        let id = employee.id.to_string();
        let command = if employee.away {
            let body = Ok(Because { reason: Some("Long leave".to_owned()) });
            Command::TransitionUser { step: Transition::Disable, id, body }
        } else {
            Command::TransitionUser { step: Transition::Enable, id, body: Ok(Because::default()) }
        };
        vec![Deed::new(by, command)]
    }

    fn change_backup(&mut self, number: u32) -> Vec<Deed> {
        let (_, seller) = self.seller(number);
        let customer = &mut self.customers[number as usize];
        let others: Vec<_> = (0..3).filter(|plan| *plan != customer.backup).collect();
        customer.backup = *others.choose(&mut self.random).expect("two are left");
        let plan = BACKUP_PLANS[usize::from(customer.backup)];
        vec![Deed::new(seller, change(customer.slot("backup", None), plan))]
    }

    fn website(&mut self, number: u32) -> Vec<Deed> {
        let (_, seller) = self.seller(number);
        let customer = &mut self.customers[number as usize];
        let large = customer.website.is_some_and(|large| !large);
        match customer.website.replace(large) {
            None => vec![self.to_customer(seller, number, Wish::new("website", "small"))],
            Some(_) => {
                let id = customer.slot("website", None);
                vec![Deed::new(seller, change(id, website_plan(large)))]
            }
        }
    }

    fn new_crm(&mut self, number: u32) -> Deed {
        let (_, seller) = self.seller(number);
        let quantity = Some(self.random.random_range(1..=3));
        let customer = &mut self.customers[number as usize];
        customer.crm += 1;
        customer.crm_is_there = true;
        let instance = Some(instance_name(customer.crm));
        let wish = Wish { quantity, instance, ..Wish::new("crm", "team") };
        self.to_customer(seller, number, wish)
    }

    /// One more, more of one, or one less.
    fn crm(&mut self, number: u32, day: u32) -> Vec<Deed> {
        let (_, seller) = self.seller(number);
        let roll = self.random.random_range(0..3);
        let quantity = Some(self.random.random_range(4..=40));
        let reason = Some(format!("Asked for on {}", self.date(day)));
        let customer = &mut self.customers[number as usize];
        if !customer.crm_is_there || (roll == 0 && customer.crm < CRM_MAX) {
            return vec![self.new_crm(number)];
        }
        let id = customer.slot("crm", Some(customer.crm));
        let command = if roll == 1 {
            customer.crm_is_there = false;
            Command::Deprovision { id, body: Ok(Deprovision { effective_at: None, reason }) }
        } else {
            let body = ChangeSubscription {
                plan: None,
                quantity,
                properties: BTreeMap::new(),
                effective_at: None,
                reason,
            };
            Command::ChangeSubscription { id, body: Ok(body) }
        };
        vec![Deed::new(seller, command)]
    }

    /// Prices and properties that were agreed on; the second time it is for the better.
    fn special_terms(&mut self, number: u32, day: u32) -> Vec<Deed> {
        let (_, seller) = self.seller(number);
        let (from, until) = (self.date(day), self.date(day) + chrono::Months::new(12));
        let percent = self.random.random_range(5..=25);
        let customer = &mut self.customers[number as usize];
        let organization = customer.id.to_string();
        let is_first = !std::mem::replace(&mut customer.has_terms, true);
        let command = if is_first {
            let body = OverridePrice {
                component: None,
                service: "backup".to_owned(),
                plan: None,
                price: None,
                percent: Some(format!("-{percent}")),
                clear: None,
                effective_from: Some(from.to_string()),
                effective_to: Some(until.to_string()),
                reason: "Agreed with the yearly contract".to_owned(),
            };
            Command::OverridePrice { organization, body: Ok(body) }
        } else {
            let body = OverrideProperty {
                plan: None,
                property: "SupportLevel".to_owned(),
                value: Some(ValueDocument::Text("24x7 phone and email".to_owned())),
                locked: None,
                clear: None,
                effective_from: Some(from.to_string()),
                effective_to: None,
                apply: Some(ApplyText::Later),
                reason: "Goodwill after the outage".to_owned(),
            };
            Command::OverrideProperty { organization, service: "backup".to_owned(), body: Ok(body) }
        };
        vec![Deed::new(seller, command)]
    }

    fn to_customer(&self, by: Caller, number: u32, wish: Wish<'_>) -> Deed {
        let customer = self.customers[number as usize].id.to_string();
        Deed::new(by, Command::ProvisionToCustomer { customer, body: Ok(wish.body()) })
    }
}

fn to_user(by: Caller, user: UserId, wish: Wish<'_>) -> Deed {
    Deed::new(by, Command::ProvisionToUser { user: user.to_string(), body: Ok(wish.body()) })
}
