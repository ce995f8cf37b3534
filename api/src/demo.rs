//! The demo: a small MSP with two years of history, made through the ordinary commands under a
//! clock that runs ahead of the real one.

mod cast;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result};
use aws_lc_rs::hmac;
use chrono::{DateTime, Datelike, Days, Duration, Months, NaiveDate, TimeZone as _, Utc};
use commands::usecase::organizations::{Because, CreateOrganization};
use commands::usecase::overrides::{OverridePrice, OverrideProperty};
use commands::usecase::services::{DefinitionDocument, PublishService};
use commands::usecase::subscriptions::{ChangeSubscription, Deprovision, Provision};
use commands::usecase::users::CreateUser;
use commands::{
    Ambient, Caller, Command, Password, Submission, SystemAmbient, Writer, WriterSettings,
};
use domain::UserId;
use domain::billing::BillingSettings;
use domain::organization::Kind;
use domain::permission::Role;
use domain::user::Proof;
use eventstore::Database;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde::Deserialize;
use uuid::Uuid;

use crate::keys::{Keys, hex};
use crate::password::Passwords;

/// Months of history.
const MONTHS: u32 = 24;
/// The same demo every time, but for the dates.
const SEED: u64 = 2019;

/// The provider's administrator.
pub const ADMINISTRATOR: &str = "admin@northwind.example";
/// The administrator of a customer.
pub const CUSTOMER_ADMINISTRATOR: &str = "olivia.ward@aanimals.example";

/// The services that are shipped, as their authors wrote them.
pub const SERVICES: [(&str, &str); 5] = [
    ("backup", include_str!("../../services/backup/definition.json")),
    ("mailbox", include_str!("../../services/mailbox/definition.json")),
    ("desktop", include_str!("../../services/desktop/definition.json")),
    ("website", include_str!("../../services/website/definition.json")),
    ("crm", include_str!("../../services/crm/definition.json")),
];

/// The password of the demo's people: follows from the master key, so that it need not be stored,
/// is the same at the next start, and is another one in every installation.
#[must_use]
pub fn password(keys: &Keys) -> Password {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &keys.pepper);
    Password(hex(&hmac::sign(&key, b"the demo's password").as_ref()[..8]))
}

/// A clock that the story turns; ids carry its time.
#[derive(Debug)]
struct StoryClock(AtomicI64);

impl StoryClock {
    fn set(&self, time: DateTime<Utc>) {
        self.0.fetch_max(time.timestamp_micros(), Ordering::SeqCst);
    }
}

impl Ambient for StoryClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0.load(Ordering::SeqCst)).unwrap_or_default()
    }

    fn id(&self) -> Uuid {
        let millis = u64::try_from(self.now().timestamp_millis()).unwrap_or(0);
        let random = crate::keys::random_bytes();
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

/// Tells the story into an empty database. `progress` hears how far it is, from 0 to 100.
///
/// # Errors
/// Where the database fails.
pub async fn seed(
    database: &Database,
    keys: &Keys,
    billing: &BillingSettings,
    now: DateTime<Utc>,
    mut progress: impl FnMut(u64),
) -> Result<()> {
    let today = now.date_naive();
    let first = today
        .with_day(1)
        .and_then(|first| first.checked_sub_months(Months::new(MONTHS)))
        .context("the clock is out of range")?;
    let clock = Arc::new(StoryClock(AtomicI64::new(morning(first).timestamp_micros())));
    let (writer, thread) =
        Writer::start(database.clone(), clock.clone(), WriterSettings::default(), Box::new(|_| ()))
            .await?;
    let mut story = Story {
        writer,
        clock,
        proof: proof(keys).await?,
        random: StdRng::seed_from_u64(SEED),
        customers: Vec::new(),
        administrator: Caller::SYSTEM,
    };
    story.begin(billing).await?;
    let days = (today - first).num_days().max(1);
    let mut date = first;
    while date < today {
        story.live_through(date, first).await?;
        date = date + Days::new(1);
        progress(100 * u64::try_from((date - first).num_days()).unwrap_or(0) / days.unsigned_abs());
    }
    drop(story);
    ended(thread).await
}

/// Makes only the provider and its administrator.
///
/// # Errors
/// Where the database fails.
pub async fn install(database: &Database, keys: &Keys, billing: &BillingSettings) -> Result<()> {
    let (writer, thread) = Writer::start(
        database.clone(),
        Arc::new(SystemAmbient),
        WriterSettings::default(),
        Box::new(|_| ()),
    )
    .await?;
    let install = cast::install(billing.clone(), proof(keys).await?)?;
    let command = Command::Install(Box::new(install));
    writer.submit(Submission { caller: Caller::SYSTEM, command, idempotency: None }).await?;
    drop(writer);
    ended(thread).await
}

async fn proof(keys: &Keys) -> Result<Proof> {
    let hashed = Passwords::new(&keys.pepper).hash(&password(keys)).await;
    hashed.map_err(|problem| anyhow::anyhow!(problem.detail))
}

/// Waits for a writer that nobody can reach any more.
async fn ended(thread: std::thread::JoinHandle<()>) -> Result<()> {
    let ended = tokio::task::spawn_blocking(move || thread.join()).await?;
    ended.map_err(|_| anyhow::anyhow!("the writer failed"))
}

/// Nine o'clock.
fn morning(date: NaiveDate) -> DateTime<Utc> {
    Utc.from_utc_datetime(&date.and_hms_opt(9, 0, 0).expect("nine is a time"))
}

/// The one field of an answer that the story goes on with.
#[derive(Deserialize)]
struct Made {
    id: String,
}

struct Customer {
    id: String,
    domain: String,
    /// Who provisions to it.
    seller: Caller,
    administrator: Option<Caller>,
    staff: Vec<Employee>,
    names: usize,
    plan: &'static str,
    backup: Option<String>,
    crm: Vec<String>,
}

struct Employee {
    id: String,
    mailbox: Option<String>,
    archive: bool,
    desktop: Option<String>,
    power: bool,
}

struct Story {
    writer: Writer,
    clock: Arc<StoryClock>,
    proof: Proof,
    random: StdRng,
    customers: Vec<Customer>,
    administrator: Caller,
}

impl Story {
    async fn submit(&self, caller: Caller, command: Command) -> Result<String> {
        let submission = Submission { caller, command, idempotency: None };
        let committed = self.writer.submit(submission).await?;
        let made: Result<Made, _> = serde_json::from_str(committed.reply.body.get());
        Ok(made.map(|made| made.id).unwrap_or_default())
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.random.random_ratio(1, many)
    }

    /// The provider, its services, two resellers and twelve customers to be.
    async fn begin(&mut self, billing: &BillingSettings) -> Result<()> {
        let install = cast::install(billing.clone(), self.proof.clone())?;
        let id = self.submit(Caller::SYSTEM, Command::Install(Box::new(install))).await?;
        self.administrator = caller(&id)?;
        for (key, text) in SERVICES {
            let document: DefinitionDocument =
                serde_json::from_str(text).with_context(|| format!("services/{key}"))?;
            let key = key.to_owned();
            let draft =
                Command::DraftService { key: key.clone(), body: Ok(document), if_match: None };
            self.submit(self.administrator, draft).await?;
            let body = Ok(PublishService::default());
            self.submit(self.administrator, Command::PublishService { key, body }).await?;
        }
        let mut sellers = vec![(None, self.administrator)];
        for reseller in cast::RESELLERS {
            let (parent, _) = sellers.last().cloned().unwrap_or((None, self.administrator));
            let id =
                self.found(Kind::Reseller, reseller.name, parent, self.administrator, None).await?;
            let roles = vec![Role::ResellerAdministrator.name().to_owned()];
            let person = reseller.administrator;
            let user = self.hire(&id, person, reseller.domain, Some(roles), true).await?;
            sellers.push((Some(id), caller(&user)?));
        }
        for (index, customer) in cast::CUSTOMERS.iter().enumerate() {
            let (parent, seller) = sellers[index % sellers.len()].clone();
            let account = format!("ACC-{}", 1001 + index);
            let id =
                self.found(Kind::Customer, customer.name, parent, seller, Some(account)).await?;
            self.customers.push(Customer {
                id,
                domain: customer.domain.to_owned(),
                seller,
                administrator: None,
                staff: Vec::new(),
                names: index * 13,
                plan: "BU001",
                backup: None,
                crm: Vec::new(),
            });
        }
        Ok(())
    }

    async fn found(
        &self,
        kind: Kind,
        name: &str,
        parent_id: Option<String>,
        by: Caller,
        billing_identifier: Option<String>,
    ) -> Result<String> {
        let body = CreateOrganization {
            name: name.to_owned(),
            parent_id,
            code: None,
            billing_identifier,
            purpose: None,
            contact: None,
            currency: None,
        };
        self.submit(by, Command::CreateOrganization { kind, body: Ok(body) }).await
    }

    async fn hire(
        &self,
        organization: &str,
        (first_name, last_name): (&str, &str),
        domain: &str,
        roles: Option<Vec<String>>,
        signs_in: bool,
    ) -> Result<String> {
        let email = format!("{first_name}.{last_name}@{domain}").to_lowercase();
        let body = CreateUser {
            first_name: first_name.to_owned(),
            last_name: last_name.to_owned(),
            email,
            login: None,
            roles,
            password: None,
        };
        let command = Command::CreateUser {
            organization: organization.to_owned(),
            body: Ok(body),
            password: signs_in.then(|| self.proof.clone()),
        };
        self.submit(self.administrator, command).await
    }

    /// One day at all customers.
    async fn live_through(&mut self, date: NaiveDate, first: NaiveDate) -> Result<()> {
        self.clock.set(morning(date));
        let day = u32::try_from((date - first).num_days()).unwrap_or(0);
        for index in 0..self.customers.len() {
            // A new customer every ten days; each then grows, changes and shrinks a little.
            let begins = 10 * u32::try_from(index).unwrap_or(0);
            if day < begins {
                continue;
            }
            self.clock.set(self.clock.now() + Duration::minutes(3));
            if day == begins {
                self.onboard(index).await?;
            } else if day == begins + 45 {
                self.special_terms(index, date).await?;
            } else {
                self.ordinary_day(index, date).await?;
            }
        }
        Ok(())
    }

    async fn onboard(&mut self, index: usize) -> Result<()> {
        for _ in 0..5 {
            self.hire_somebody(index).await?;
        }
        let customer = &self.customers[index];
        let (id, seller) = (customer.id.clone(), customer.seller);
        let plan = *["BU001", "BU001", "BU010"].choose(&mut self.random).expect("not empty");
        let backup = self.to_customer(seller, &id, "backup", plan, None, None).await?;
        if index.is_multiple_of(2) {
            self.to_customer(seller, &id, "website", "small", None, None).await?;
        }
        let mut crm = Vec::new();
        if index.is_multiple_of(3) {
            for instance in ["production", "staging"] {
                crm.push(self.to_customer(seller, &id, "crm", "team", Some(instance), None).await?);
            }
        }
        let customer = &mut self.customers[index];
        (customer.backup, customer.plan, customer.crm) = (Some(backup), plan, crm);
        Ok(())
    }

    /// Prices and properties that were agreed on.
    async fn special_terms(&mut self, index: usize, date: NaiveDate) -> Result<()> {
        let (organization, seller) =
            (self.customers[index].id.clone(), self.customers[index].seller);
        if index.is_multiple_of(3) {
            let body = OverridePrice {
                service: "backup".to_owned(),
                plan: None,
                price: None,
                percent: Some("-20".to_owned()),
                clear: None,
                effective_from: Some(date.to_string()),
                effective_to: (date + Months::new(12)).to_string().into(),
                reason: "Agreed with the yearly contract".to_owned(),
            };
            let command =
                Command::OverridePrice { organization: organization.clone(), body: Ok(body) };
            self.submit(seller, command).await?;
        }
        if index.is_multiple_of(4) {
            let body = OverrideProperty {
                plan: None,
                property: "SupportLevel".to_owned(),
                value: Some("24x7 phone and email".to_owned()),
                clear: None,
                effective_from: Some(date.to_string()),
                effective_to: None,
                reason: "Goodwill after the outage".to_owned(),
            };
            let command = Command::OverrideProperty {
                organization,
                service: "backup".to_owned(),
                body: Ok(body),
            };
            self.submit(seller, command).await?;
        }
        Ok(())
    }

    async fn ordinary_day(&mut self, index: usize, date: NaiveDate) -> Result<()> {
        let people = self.customers[index].staff.len();
        if people < cast::STAFF[index] && self.one_in(50) {
            self.hire_somebody(index).await?;
        }
        if self.one_in(150) {
            self.change_backup(index).await?;
        }
        if people > 6 && self.one_in(160) {
            self.somebody_leaves(index, date).await?;
        }
        if people > 0 && self.one_in(70) {
            self.change_somebody(index).await?;
        }
        if index == 2 && people > 3 && date.day() == 17 && date.month() == 3 {
            let id = self.customers[index].staff[1].id.clone();
            let body = Ok(Because { reason: Some("Long leave".to_owned()) });
            self.submit(self.customers[index].seller, Command::DisableUser { id, body }).await?;
        }
        if self.one_in(200)
            && let Some(id) = self.customers[index].crm.pop()
        {
            let body = Ok(Deprovision { effective_at: None, reason: Some("Not needed".into()) });
            self.submit(self.customers[index].seller, Command::Deprovision { id, body }).await?;
        }
        Ok(())
    }

    async fn hire_somebody(&mut self, index: usize) -> Result<()> {
        let customer = &mut self.customers[index];
        let person = if index == 0 && customer.staff.is_empty() {
            cast::FIRST_CUSTOMER_ADMINISTRATOR
        } else {
            customer.names += 1;
            cast::person(customer.names)
        };
        let (organization, domain) = (customer.id.clone(), customer.domain.clone());
        let is_first = customer.staff.is_empty();
        let roles = (index == 0 && is_first).then(|| {
            [Role::CustomerAdministrator, Role::ServiceProviderDeveloper]
                .map(|role| role.name().to_owned())
                .to_vec()
        });
        let id = self.hire(&organization, person, &domain, roles, is_first).await?;
        if is_first {
            self.customers[index].administrator = Some(caller(&id)?);
        }
        let by = self.customers[index].administrator.unwrap_or(self.administrator);
        let archive = self.one_in(4);
        let plan = if archive { "archive" } else { "standard" };
        let mailbox = Some(self.to_user(by, &id, "mailbox", plan, None).await?);
        let desktop = if self.one_in(3) {
            Some(self.to_user(by, &id, "desktop", "office", None).await?)
        } else {
            None
        };
        let employee = Employee { id, mailbox, archive, desktop, power: false };
        self.customers[index].staff.push(employee);
        Ok(())
    }

    async fn change_backup(&mut self, index: usize) -> Result<()> {
        let customer = &self.customers[index];
        let (Some(id), seller) = (customer.backup.clone(), customer.seller) else { return Ok(()) };
        let other: Vec<_> =
            ["BU001", "BU010", "IA003"].into_iter().filter(|plan| *plan != customer.plan).collect();
        let plan = *other.choose(&mut self.random).expect("two are left");
        self.change(seller, id, plan).await?;
        self.customers[index].plan = plan;
        Ok(())
    }

    /// Somebody gets more: an archive, a faster desktop, a desktop at all.
    async fn change_somebody(&mut self, index: usize) -> Result<()> {
        let by = self.customers[index].administrator.unwrap_or(self.administrator);
        let chosen = self.random.random_range(0..self.customers[index].staff.len());
        let employee = &self.customers[index].staff[chosen];
        let id = employee.id.clone();
        match (&employee.mailbox, employee.archive, &employee.desktop, employee.power) {
            (Some(mailbox), false, _, _) => {
                self.change_of_user(by, mailbox.clone(), "archive").await?;
                self.customers[index].staff[chosen].archive = true;
            }
            (_, _, Some(desktop), false) => {
                self.change_of_user(by, desktop.clone(), "power").await?;
                self.customers[index].staff[chosen].power = true;
            }
            (_, _, None, _) => {
                let desktop = self.to_user(by, &id, "desktop", "office", None).await;
                self.customers[index].staff[chosen].desktop = desktop.ok();
            }
            _ => {}
        }
        Ok(())
    }

    /// Somebody left, and the service desk heard of it some days later.
    async fn somebody_leaves(&mut self, index: usize, date: NaiveDate) -> Result<()> {
        let by = self.customers[index].administrator.unwrap_or(self.administrator);
        // The administrator and the one on leave stay.
        let chosen = self.random.random_range(2..self.customers[index].staff.len());
        let employee = self.customers[index].staff.remove(chosen);
        let left = date - Days::new(self.random.random_range(0..6));
        for id in [employee.mailbox, employee.desktop].into_iter().flatten() {
            let body = Deprovision {
                effective_at: Some(left.to_string()),
                reason: Some("Left the company".to_owned()),
            };
            // What was provisioned only after that day is refused; then it just stays.
            let _ = self.submit(by, Command::Deprovision { id, body: Ok(body) }).await;
        }
        Ok(())
    }

    async fn change(&self, by: Caller, id: String, plan: &str) -> Result<()> {
        let body = ChangeSubscription {
            plan: Some(plan.to_owned()),
            quantity: None,
            effective_at: None,
            reason: None,
        };
        self.submit(by, Command::ChangeSubscription { id, body: Ok(body) }).await.map(|_| ())
    }

    /// A change for a user; one who is disabled is passed over.
    async fn change_of_user(&self, by: Caller, id: String, plan: &str) -> Result<()> {
        match self.change(by, id, plan).await {
            Err(error) if error.is::<commands::Error>() => Ok(()),
            other => other,
        }
    }

    async fn to_customer(
        &self,
        by: Caller,
        customer: &str,
        service: &str,
        plan: &str,
        instance: Option<&str>,
        effective_at: Option<String>,
    ) -> Result<String> {
        let body = Ok(provision(service, plan, instance, effective_at));
        let customer = customer.to_owned();
        self.submit(by, Command::ProvisionToCustomer { customer, body }).await
    }

    async fn to_user(
        &self,
        by: Caller,
        user: &str,
        service: &str,
        plan: &str,
        effective_at: Option<String>,
    ) -> Result<String> {
        let body = Ok(provision(service, plan, None, effective_at));
        let user = user.to_owned();
        self.submit(by, Command::ProvisionToUser { user, body }).await
    }
}

fn provision(
    service: &str,
    plan: &str,
    instance: Option<&str>,
    effective_at: Option<String>,
) -> Provision {
    Provision {
        service: service.to_owned(),
        plan: plan.to_owned(),
        quantity: None,
        instance: instance.map(str::to_owned),
        effective_at,
        reason: None,
    }
}

fn caller(user: &str) -> Result<Caller> {
    Ok(Caller::user(user.parse::<UserId>().context("a new user has an id")?))
}
