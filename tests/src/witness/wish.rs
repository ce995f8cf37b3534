//! What the witness asks for. Every command says its key somewhere in what it wants recorded, so that
//! its events can be found in the log.

use domain::event::{Event, Recorded};
use domain::organization::OrganizationEvent;
use domain::service::ServiceEvent;
use domain::subscription::SubscriptionEvent;
use domain::user::UserEvent;
use domain::{ServiceKey, SubscriptionId};
use projections::Opened;
use rand::Rng as _;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::journal::{Answer, Intent};

/// All keys begin so.
const PREFIX: &str = "w-";
/// Customers that commands are about.
const CUSTOMERS: usize = 6;
/// Users of each customer that commands are about.
const USERS: usize = 3;
/// Instances of a service of which a customer can have many.
const INSTANCES: u32 = 8;

/// Services, their plans and a property; the first ones are for customers.
const SERVICES: [(&str, &str, [&str; 2], &str); 5] = [
    ("backup", BACKUP, ["BU001", "BU010"], "Storage"),
    ("website", WEBSITE, ["small", "large"], "Visitors"),
    ("crm", CRM, ["team", "company"], "Users"),
    ("mailbox", MAILBOX, ["standard", "archive"], "Quota"),
    ("desktop", DESKTOP, ["office", "power"], "Cores"),
];
const BACKUP: &str = include_str!("../../../services/backup/definition.json");
const WEBSITE: &str = include_str!("../../../services/website/definition.json");
const CRM: &str = include_str!("../../../services/crm/definition.json");
const MAILBOX: &str = include_str!("../../../services/mailbox/definition.json");
const DESKTOP: &str = include_str!("../../../services/desktop/definition.json");
/// Those for customers.
const CUSTOMER_SERVICES: usize = 3;
/// The one that a customer can have many of.
const MANY: usize = 2;

/// What a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Replace a service's draft.
    Draft,
    /// Sell it.
    Publish,
    /// Found a customer.
    Found,
    /// Change a customer's details.
    Edit,
    /// Add a user.
    Hire,
    /// Change who a user is.
    EditUser,
    /// Block a user.
    Disable,
    /// Undo that.
    Enable,
    /// Assign a service.
    Provision,
    /// Another plan or quantity.
    Change,
    /// Take a service away.
    Deprovision,
    /// Set a price or property otherwise.
    Override,
}

impl Kind {
    /// The events that it makes, all of them, in this order.
    #[must_use]
    pub fn effect(self) -> &'static [&'static str] {
        match self {
            Self::Draft => &["service.drafted"],
            Self::Publish => &["service.published"],
            Self::Found => &["organization.created"],
            Self::Edit => &["organization.edited"],
            Self::Hire => &["user.created"],
            Self::EditUser => &["user.edited"],
            Self::Disable => &["user.disabled"],
            Self::Enable => &["user.enabled"],
            Self::Provision => &[
                "subscription.provision_requested",
                "subscription.provision_started",
                "subscription.provisioned",
            ],
            Self::Change => &[
                "subscription.change_requested",
                "subscription.change_started",
                "subscription.changed",
            ],
            Self::Deprovision => &[
                "subscription.deprovision_requested",
                "subscription.deprovision_started",
                "subscription.deprovisioned",
            ],
            Self::Override => &["organization.overridden"],
        }
    }

    /// Whether it may have been true already, so that it makes no event. All others ask for a
    /// number or text that nothing else asks for.
    #[must_use]
    pub fn may_be_true_already(self) -> bool {
        match self {
            Self::Publish | Self::Disable | Self::Enable | Self::Deprovision => true,
            Self::Draft
            | Self::Found
            | Self::Edit
            | Self::Hire
            | Self::EditUser
            | Self::Provision
            | Self::Change
            | Self::Override => false,
        }
    }
}

/// A request, and what it is to bring about.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What goes into the journal.
    pub intent: Intent,
    /// `POST`, `PUT` or `PATCH`.
    pub method: &'static str,
    /// With the leading slash.
    pub path: String,
    /// JSON.
    pub body: String,
    /// The `Idempotency-Key`: the intent's key, but for those that take another's on purpose.
    pub idempotency_key: String,
    /// The `If-Match`.
    pub if_match: Option<u64>,
    /// Whether the token is sent.
    pub signed: bool,
}

/// An event, as far as the witness looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Of the command that asked for it, if it was the witness's.
    pub key: Option<String>,
    /// Of the event.
    pub kind: String,
    /// The stream.
    pub stream: String,
    /// In the stream.
    pub version: u64,
    /// In the log.
    pub position: u64,
    /// The id that the server gave the command.
    pub command: String,
    /// The number that was asked for, where the event has one.
    pub mark: Option<u64>,
    /// Whether the server makes such an event by itself when it starts.
    pub is_of_start: bool,
}

impl Effect {
    /// What the witness sees of an event, whose person is opened.
    #[must_use]
    pub fn new(event: &Recorded, opened: &Opened) -> Self {
        let reason = event.reason.as_deref();
        let person = event.person().and_then(|(user, sealed)| opened.past(user, sealed));
        let person = person.as_ref();
        let contact = event.contact().and_then(|(id, sealed)| opened.past(id, sealed));
        let (key, mark) = match &event.event {
            Event::Organization(OrganizationEvent::Created { details, .. }) => {
                (Some(details.name.as_str()), None)
            }
            Event::Organization(OrganizationEvent::Edited { .. }) => {
                (contact.as_ref().and_then(|contact| contact.name.as_deref()), None)
            }
            Event::User(UserEvent::Created { .. }) => {
                (person.map(|person| person.first_name.as_str()), None)
            }
            Event::User(UserEvent::Edited { .. }) => {
                (person.map(|person| person.last_name.as_str()), None)
            }
            Event::Service(ServiceEvent::Drafted { definition }) => {
                (Some(definition.description.as_str()), None)
            }
            Event::Subscription(
                SubscriptionEvent::Provisioned { quantity, .. }
                | SubscriptionEvent::Changed { quantity, .. },
            ) => (reason, Some(u64::from(*quantity))),
            _ => (reason, None),
        };
        let kind = event.event.encode().kind;
        let is_token = matches!(kind.as_str(), "user.token_created" | "user.token_deleted");
        Self {
            key: key.filter(|key| key.starts_with(PREFIX)).map(str::to_owned),
            is_of_start: event.actor == domain::event::Actor::System || is_token,
            kind,
            stream: event.stream.clone(),
            version: event.version,
            position: event.position,
            command: event.command_id.to_string(),
            mark,
        }
    }
}

/// What there is to ask something about; makes wishes.
#[derive(Debug)]
pub struct Wishes {
    dice: StdRng,
    seed: u64,
    made: u64,
    customers: Vec<String>,
    users: Vec<Person>,
    /// The latest keys that were acknowledged, to be taken again.
    used_keys: Vec<String>,
}

#[derive(Clone, Debug)]
struct Person {
    id: String,
    customer: String,
    login: String,
}

/// Somebody or something that can hold a service.
struct Slot {
    holder: String,
    customer: String,
    /// `customers` or `users`.
    plural: &'static str,
    service: usize,
    instance: Option<String>,
}

impl Slot {
    fn id(&self) -> String {
        let holder: Uuid = self.holder.parse().expect("the server names holders by UUIDs");
        let service = ServiceKey::parse(SERVICES[self.service].0).expect("a service's key");
        SubscriptionId::of_slot(holder, &service, self.instance.as_deref()).to_string()
    }
}

impl Wishes {
    /// Of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            dice: rand::SeedableRng::seed_from_u64(seed),
            seed,
            made: 0,
            customers: Vec::new(),
            users: Vec::new(),
            used_keys: Vec::new(),
        }
    }

    /// The next wish that prepares a new installation; none once it is prepared. Each must be
    /// granted and learned from before the next is made.
    pub fn preparation(&mut self) -> Option<Wish> {
        let step = usize::try_from(self.made).expect("few steps");
        if let Some((service, ..)) = SERVICES.get(step / 2) {
            let kind = if step % 2 == 0 { Kind::Draft } else { Kind::Publish };
            return Some(self.of_service(kind, service));
        }
        if self.customers.len() < CUSTOMERS {
            return Some(self.found());
        }
        let customer = self.customers.get(self.users.len() / USERS).cloned()?;
        Some(self.hire(&customer, None))
    }

    /// Hears what was answered: what the preparation made can be asked about from then on.
    pub fn learn(&mut self, wish: &Wish, answer: &Answer) {
        let Answer::Acknowledged { id, .. } = answer else { return };
        match (wish.intent.kind, id) {
            (Kind::Found, Some(id)) if self.customers.len() < CUSTOMERS => {
                self.customers.push(id.clone());
            }
            (Kind::Hire, Some(id)) if self.users.len() < CUSTOMERS * USERS => {
                let (id, customer) = (id.clone(), wish.intent.tenant.clone());
                let login = login(&wish.intent.key);
                self.users.push(Person { id, customer, login });
            }
            _ => {}
        }
        self.used_keys.push(wish.idempotency_key.clone());
        if self.used_keys.len() > 200 {
            self.used_keys.drain(..100);
        }
    }

    /// Something that will probably be granted, now and then something that must be refused.
    pub fn any(&mut self) -> Wish {
        let customer = self.pick_customer();
        let person = self.pick_person();
        match self.dice.random_range(0..100) {
            0..28 => self.provision(),
            28..54 => self.change(),
            54..66 => self.deprovision(),
            66..72 => self.price(&customer),
            72..75 => self.property(&customer),
            75..78 => self.found(),
            78..82 => self.hire(&customer, None),
            82..86 => self.edit(&customer),
            86..89 => self.edit_user(&person),
            89 => self.set_status(Kind::Disable, &person),
            90 => self.set_status(Kind::Enable, &person),
            91 => {
                let service = SERVICES[self.dice.random_range(0..SERVICES.len())].0;
                let kind = if self.dice.random() { Kind::Draft } else { Kind::Publish };
                self.of_service(kind, service)
            }
            _ => self.refused(),
        }
    }

    /// Something that must be refused.
    fn refused(&mut self) -> Wish {
        let customer = self.pick_customer();
        let person = self.pick_person();
        match self.dice.random_range(0..9) {
            0 => with(self.provision(), "plan", json!("no-such-plan")),
            1 => {
                let mut wish = self.found();
                wish.path = "/api/v2/customers/none/subscriptions".to_owned();
                wish
            }
            2 => with(self.change(), "quantity", json!(0)),
            3 => self.hire(&customer, Some(&person.login)),
            4 => Wish { if_match: Some(1_000_000), ..self.edit(&customer) },
            5 => with(self.provision(), "noSuchField", json!(true)),
            6 => Wish { signed: false, ..self.deprovision() },
            7 => with(self.property(&customer), "property", json!("NoSuchProperty")),
            _ => {
                // Another's key with this body: the body's key must never be in the log.
                let wish = self.found();
                let key = self.dice.random_range(0..self.used_keys.len());
                Wish { idempotency_key: self.used_keys[key].clone(), ..wish }
            }
        }
    }

    fn pick_customer(&mut self) -> String {
        self.customers[self.dice.random_range(0..self.customers.len())].clone()
    }

    fn pick_person(&mut self) -> Person {
        self.users[self.dice.random_range(0..self.users.len())].clone()
    }

    fn pick_slot(&mut self) -> Slot {
        let service = self.dice.random_range(0..SERVICES.len());
        if service < CUSTOMER_SERVICES {
            let customer = self.pick_customer();
            let instance =
                (service == MANY).then(|| format!("i{}", self.dice.random_range(0..INSTANCES)));
            let holder = customer.clone();
            return Slot { holder, customer, plural: "customers", service, instance };
        }
        let Person { id: holder, customer, .. } = self.pick_person();
        Slot { holder, customer, plural: "users", service, instance: None }
    }

    /// A number that nothing else asks for.
    fn mark(&self) -> u64 {
        self.made + 1
    }

    fn wish(
        &mut self,
        kind: Kind,
        tenant: &str,
        stream: Option<String>,
        (method, path): (&'static str, String),
        body: impl FnOnce(&str) -> Value,
    ) -> Wish {
        self.made += 1;
        let key = format!("{PREFIX}{}-{}", self.seed, self.made);
        let body = body(&key).to_string();
        let tenant = tenant.to_owned();
        let hash = sha256(body.as_bytes());
        let idempotency_key = key.clone();
        let intent = Intent { key, kind, tenant, stream, mark: None, hash };
        Wish { intent, method, path, body, idempotency_key, if_match: None, signed: true }
    }

    fn of_service(&mut self, kind: Kind, service: &str) -> Wish {
        let stream = Some(format!("service-{service}"));
        if kind == Kind::Publish {
            let path = format!("/api/v2/services/{service}/publish");
            let body = |key: &str| json!({ "reason": key, "rollOut": true });
            return self.wish(kind, "", stream, ("POST", path), body);
        }
        let path = format!("/api/v2/services/{service}/draft");
        let text = SERVICES.iter().find(|it| it.0 == service).map_or("{}", |it| it.1);
        self.wish(kind, "", stream, ("PUT", path), |key| {
            let mut definition: Value = serde_json::from_str(text).expect("ours is JSON");
            definition["description"] = json!(key);
            definition
        })
    }

    fn found(&mut self) -> Wish {
        let to = ("POST", "/api/v2/customers".to_owned());
        self.wish(Kind::Found, "", None, to, |key| json!({ "name": key }))
    }

    fn edit(&mut self, customer: &str) -> Wish {
        let stream = Some(format!("organization-{customer}"));
        let to = ("PATCH", format!("/api/v2/customers/{customer}"));
        self.wish(Kind::Edit, customer, stream, to, |key| json!({ "contact": { "name": key } }))
    }

    fn hire(&mut self, customer: &str, taken: Option<&str>) -> Wish {
        let to = ("POST", format!("/api/v2/customers/{customer}/users"));
        self.wish(Kind::Hire, customer, None, to, |key| {
            let login = taken.map_or_else(|| login(key), str::to_owned);
            json!({ "firstName": key, "lastName": "Witness", "email": login })
        })
    }

    fn edit_user(&mut self, person: &Person) -> Wish {
        let stream = Some(format!("user-{}", person.id));
        let to = ("PATCH", format!("/api/v2/users/{}", person.id));
        let body = |key: &str| json!({ "lastName": key });
        self.wish(Kind::EditUser, &person.customer, stream, to, body)
    }

    fn set_status(&mut self, kind: Kind, person: &Person) -> Wish {
        let verb = if kind == Kind::Disable { "disable" } else { "enable" };
        let stream = Some(format!("user-{}", person.id));
        let to = ("POST", format!("/api/v2/users/{}/{verb}", person.id));
        self.wish(kind, &person.customer, stream, to, |key| json!({ "reason": key }))
    }

    fn of_slot(&mut self, kind: Kind, slot: &Slot, body: impl FnOnce(&str) -> Value) -> Wish {
        let id = slot.id();
        let path = match kind {
            Kind::Provision => format!("/api/v2/{}/{}/subscriptions", slot.plural, slot.holder),
            Kind::Change => format!("/api/v2/subscriptions/{id}/change"),
            _ => format!("/api/v2/subscriptions/{id}/deprovision"),
        };
        let stream = Some(format!("subscription-{id}"));
        self.wish(kind, &slot.customer, stream, ("POST", path), body)
    }

    fn provision(&mut self) -> Wish {
        let slot = self.pick_slot();
        let (service, _, plans, _) = SERVICES[slot.service];
        let plan = plans[self.dice.random_range(0..plans.len())];
        let (mark, date) = (self.mark(), self.date());
        let body = |key: &str| {
            json!({ "service": service, "plan": plan, "quantity": mark, "instance": slot.instance,
                "effectiveAt": date, "reason": key })
        };
        marked(self.of_slot(Kind::Provision, &slot, body), mark)
    }

    fn change(&mut self) -> Wish {
        let slot = self.pick_slot();
        let plans = SERVICES[slot.service].2;
        let plan = plans.get(self.dice.random_range(0..=plans.len()));
        let (mark, date) = (self.mark(), self.date());
        let body = |key: &str| json!({ "plan": plan, "quantity": mark, "effectiveAt": date, "reason": key });
        marked(self.of_slot(Kind::Change, &slot, body), mark)
    }

    fn deprovision(&mut self) -> Wish {
        let slot = self.pick_slot();
        self.of_slot(Kind::Deprovision, &slot, |key| json!({ "reason": key }))
    }

    /// Mostly now, sometimes in the past or in the future.
    fn date(&mut self) -> Option<String> {
        let (month, day) = (self.dice.random_range(1..=12), self.dice.random_range(1..=28));
        match self.dice.random_range(0..10) {
            0 => Some(format!("2024-{month:02}-{day:02}")),
            1 => Some(format!("2150-{month:02}-{day:02}T10:00:00Z")),
            _ => None,
        }
    }

    fn price(&mut self, customer: &str) -> Wish {
        let (service, _, plans, _) = SERVICES[self.dice.random_range(0..SERVICES.len())];
        let stream = Some(format!("organization-{customer}"));
        let to = ("PUT", format!("/api/v2/organizations/{customer}/prices"));
        let price = format!("{}.50", self.mark());
        self.wish(
            Kind::Override,
            customer,
            stream,
            to,
            |key| json!({ "service": service, "plan": plans[0], "price": price, "reason": key }),
        )
    }

    fn property(&mut self, customer: &str) -> Wish {
        let (service, _, _, property) = SERVICES[self.dice.random_range(0..SERVICES.len())];
        let stream = Some(format!("organization-{customer}"));
        let to = ("PUT", format!("/api/v2/organizations/{customer}/overrides/{service}"));
        self.wish(
            Kind::Override,
            customer,
            stream,
            to,
            // What runs takes it over on request only: how many requests that would be, the witness does not know.
            |key| json!({ "property": property, "value": key, "reason": key, "apply": "later" }),
        )
    }
}

fn marked(mut wish: Wish, mark: u64) -> Wish {
    wish.intent.mark = Some(mark);
    wish
}

/// The same wish with another value in its body.
fn with(mut wish: Wish, field: &str, value: Value) -> Wish {
    let mut body: Value = serde_json::from_str(&wish.body).expect("our own body is JSON");
    body[field] = value;
    wish.body = body.to_string();
    wish.intent.hash = sha256(wish.body.as_bytes());
    wish
}

fn login(key: &str) -> String {
    format!("{key}@example.com")
}

/// In hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all");
        text
    })
}
