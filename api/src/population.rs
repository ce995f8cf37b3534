//! A population: a managed service provider, resellers at several levels, and customers of many sizes who
//! live through months, made through the ordinary commands under a clock that runs ahead of the real one.
//!
//! The demo and `atrium seed` are both such a story. The same plan and the same master key give the same log, to
//! the byte: all that happens follows from one sequence of random numbers, the clock stands still while commands
//! are under way, and ids and keys are made of the places in the log that they are needed at.

mod cast;
mod customer;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Days, Months, NaiveDate, TimeDelta, TimeZone as _, Utc};
use commands::usecase::definition::DefinitionDocument;
use commands::usecase::organizations::CreateOrganization;
use commands::usecase::services::PublishService;
use commands::usecase::users::CreateUser;
use commands::{Ambient, Caller, Command, Submission, Writer, WriterSettings};
use domain::UserId;
use domain::billing::BillingSettings;
use domain::organization::Kind;
use domain::role::DefaultRole;
use domain::seal::RANDOM_BYTES;
use domain::user::Proof;
use eventstore::Database;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use self::customer::Customer;
use crate::keys::Keys;
pub use cast::{CUSTOMER_ADMINISTRATOR, PROVIDER_ADMINISTRATOR};

/// The services that are shipped, as their authors wrote them.
pub const SERVICES: [(&str, &str); 5] = [
    ("backup", include_str!("../../services/backup/definition.json")),
    ("mailbox", include_str!("../../services/mailbox/definition.json")),
    ("desktop", include_str!("../../services/desktop/definition.json")),
    ("website", include_str!("../../services/website/definition.json")),
    ("crm", include_str!("../../services/crm/definition.json")),
];

/// Most customers: what the story remembers of each stays in memory.
pub const CUSTOMERS_MAX: u32 = 1_000_000;
/// Most months.
pub const MONTHS_MAX: u32 = 600;

/// Commands that are under way at a time; the next ones wait for all of their answers.
const IN_FLIGHT: usize = 2_048;
/// Customers that are looked after together.
const VISITS: usize = 512;
/// Days within which they are.
const VISIT_DAYS: u32 = 7;
/// Customers for each reseller, beside those of the provider.
const CUSTOMERS_PER_RESELLER: u32 = 40;
/// Resellers below each.
const RESELLERS_BELOW: u32 = 3;
/// How much later each wave of commands is.
const WAVE: TimeDelta = TimeDelta::minutes(1);

/// What is to be made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many customers.
    pub customers: u32,
    /// Months of history.
    pub months: u32,
    /// Begins the random numbers.
    pub seed: u64,
    /// The day on which history ends; the first one that is not lived through.
    pub until: NaiveDate,
    /// How the administrators sign in; none: nobody signs in with a password.
    pub proof: Option<Proof>,
    /// How everybody bills.
    pub billing: BillingSettings,
}

impl Plan {
    /// The first day of the history.
    ///
    /// # Errors
    /// Where it is before the calendar's beginning.
    fn first(&self) -> Result<NaiveDate> {
        let first = self.until.checked_sub_months(Months::new(self.months));
        first.context("the history would begin before the calendar")
    }

    /// How many days it has.
    ///
    /// # Errors
    /// Where it would begin before the calendar.
    pub fn days(&self) -> Result<u32> {
        Ok(u32::try_from((self.until - self.first()?).num_days())?)
    }
}

/// What was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Made {
    /// Resellers.
    pub resellers: u32,
    /// Customers.
    pub customers: u32,
    /// Users of customers, who have left included.
    pub users: u64,
    /// Commands that it took.
    pub commands: u64,
}

/// Time that the story turns, and ids that follow from the seed and from where they are needed.
struct StoryAmbient {
    micros: AtomicI64,
    seed: u64,
    /// Without it nobody can tell what persons are sealed with.
    secret: [u8; RANDOM_BYTES],
}

impl std::fmt::Debug for StoryAmbient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoryAmbient(***)")
    }
}

impl StoryAmbient {
    fn turn_to(&self, time: DateTime<Utc>) {
        self.micros.fetch_max(time.timestamp_micros(), Ordering::SeqCst);
    }
}

impl Ambient for StoryAmbient {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.micros.load(Ordering::SeqCst)).unwrap_or_default()
    }

    fn id(&self) -> Uuid {
        unreachable!("commands take their ids from where they are in the log")
    }

    fn id_at(&self, position: u64, nth: u32) -> Uuid {
        let mut hash = Sha256::new();
        for part in [self.seed, position, u64::from(nth)] {
            hash.update(part.to_be_bytes());
        }
        let (random, _) = hash
            .finalize()
            .split_first_chunk::<10>()
            .map_or_else(|| unreachable!("32 bytes have 10"), |(first, rest)| (*first, rest.len()));
        // Spread over the time until the next wave: ids of one moment would be neighbours in every index,
        // and in the real world there are no two thousand of them.
        let wave = u64::try_from(WAVE.num_milliseconds()).unwrap_or(1);
        let millis = u64::try_from(self.now().timestamp_millis()).unwrap_or(0) + position % wave;
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    fn random_at(&self, position: u64, nth: u32) -> [u8; RANDOM_BYTES] {
        let mut hash = Sha256::new();
        hash.update(self.secret);
        for part in [self.seed, position, u64::from(nth)] {
            hash.update(part.to_be_bytes());
        }
        hash.finalize().into()
    }
}

/// Makes a population in an empty database. `progress` hears of how many days have been lived through.
///
/// # Errors
/// Where the database fails.
pub async fn populate(
    database: &Database,
    keys: &Keys,
    plan: Plan,
    progress: impl FnMut(u64),
) -> Result<Made> {
    ensure!((1..=CUSTOMERS_MAX).contains(&plan.customers), "1 to {CUSTOMERS_MAX} customers");
    let first = plan.first()?;
    let ambient = Arc::new(StoryAmbient {
        micros: morning(first).timestamp_micros().into(),
        seed: plan.seed,
        secret: keys.story,
    });
    let settings = WriterSettings::default();
    let hears = Box::new(|_: &[_]| ());
    let (writer, thread) =
        Writer::start(database.clone(), keys.vault(), ambient.clone(), settings, hears).await?;
    let mut story = Story {
        writer,
        ambient,
        random: StdRng::seed_from_u64(plan.seed),
        first,
        days: plan.days()?,
        proof: plan.proof.clone(),
        administrator: Caller::SYSTEM,
        resellers: Vec::new(),
        customers: Vec::new(),
        made: Made::default(),
    };
    let told = story.tell(&plan, progress).await;
    let made = story.made;
    drop(story);
    ended(thread).await?;
    told.map(|()| made)
}

/// Makes only the provider and its administrator.
///
/// # Errors
/// Where the database fails.
pub async fn install(
    database: &Database,
    keys: &Keys,
    billing: &BillingSettings,
    proof: Proof,
) -> Result<()> {
    let ambient = Arc::new(commands::SystemAmbient);
    let settings = WriterSettings::default();
    let (writer, thread) =
        Writer::start(database.clone(), keys.vault(), ambient, settings, Box::new(|_| ())).await?;
    let command = Command::Install(Box::new(cast::install(billing.clone(), proof)?));
    writer.submit(Submission { caller: Caller::SYSTEM, command, idempotency: None }).await?;
    drop(writer);
    ended(thread).await
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

/// Something that somebody does.
struct Deed {
    by: Caller,
    command: Command,
    then: Then,
}

impl Deed {
    fn new(by: Caller, command: Command) -> Self {
        Self { by, command, then: Then::Nothing }
    }

    fn then(self, then: Then) -> Self {
        Self { then, ..self }
    }
}

/// What follows once it is done.
#[derive(Clone, Copy)]
enum Then {
    Nothing,
    /// Of the provider's administrator.
    Installed,
    ResellerFounded(u32),
    ResellerStaffed(u32),
    CustomerFounded(u32),
    /// Somebody for this customer.
    Hired(u32),
}

/// The one field of an answer that the story goes on with.
#[derive(Deserialize)]
struct New {
    id: Uuid,
}

#[derive(Default)]
struct Reseller {
    id: Uuid,
    administrator: Option<Caller>,
}

struct Story {
    writer: Writer,
    ambient: Arc<StoryAmbient>,
    random: StdRng,
    first: NaiveDate,
    days: u32,
    proof: Option<Proof>,
    /// The provider's.
    administrator: Caller,
    resellers: Vec<Reseller>,
    customers: Vec<Customer>,
    made: Made,
}

impl Story {
    async fn tell(&mut self, plan: &Plan, mut progress: impl FnMut(u64)) -> Result<()> {
        // What no password fits to.
        let locked = || Proof("nobody signs in with a password".to_owned());
        let proof = plan.proof.clone().unwrap_or_else(locked);
        let install = Command::Install(Box::new(cast::install(plan.billing.clone(), proof)?));
        self.carry_out(vec![Deed::new(Caller::SYSTEM, install).then(Then::Installed)]).await?;
        self.publish_services().await?;
        let resellers = 2 + (plan.customers / CUSTOMERS_PER_RESELLER);
        self.resellers.resize_with(resellers as usize, Reseller::default);
        // The others follow, level by level.
        let first = self.found_reseller(0);
        self.carry_out(vec![first]).await?;

        let mut due = BinaryHeap::with_capacity(plan.customers as usize);
        for number in 0..plan.customers {
            self.customers.push(Customer::new(number, &mut self.random));
            due.push(Reverse((self.day_of_founding(number, plan.customers), number)));
        }
        while let Some(Reverse((day, _))) = due.peek().copied() {
            let (mut deeds, mut again) = (Vec::new(), Vec::new());
            let (mut visits, mut last) = (0, day);
            while visits < VISITS
                && let Some(Reverse((day_due, number))) = due.peek().copied()
                && day_due <= day + VISIT_DAYS
            {
                due.pop();
                if day_due >= self.days {
                    continue;
                }
                (visits, last) = (visits + 1, last.max(day_due));
                deeds.extend(self.visit(number, day_due));
                let next = day_due + self.customers[number as usize].gap(&mut self.random);
                // Not before all of this is done.
                again.push(Reverse((next, number)));
            }
            due.extend(again);
            // Nobody's day has come yet when he is looked after; somebody's is some days ago.
            self.ambient.turn_to(morning(self.date(last)));
            self.carry_out(deeds).await?;
            progress(u64::from(day));
        }
        Ok(())
    }

    fn date(&self, day: u32) -> NaiveDate {
        self.first + Days::new(u64::from(day))
    }

    /// The day that the clock shows.
    fn today(&self) -> u32 {
        let days = (self.ambient.now().date_naive() - self.first).num_days();
        u32::try_from(days).unwrap_or(0)
    }

    /// Many at first, then fewer and fewer, until a tenth of the time is left.
    fn day_of_founding(&self, number: u32, customers: u32) -> u32 {
        let (number, customers) = (u64::from(number), u64::from(customers));
        let day = u64::from(self.days) * 9 * number * number / (10 * customers * customers);
        u32::try_from(day).unwrap_or(0)
    }

    /// Has everything done, wave after wave: first this, then what follows from it.
    async fn carry_out(&mut self, deeds: Vec<Deed>) -> Result<()> {
        let mut deeds = deeds;
        while !deeds.is_empty() {
            let mut following = Vec::new();
            let mut waiting = deeds.into_iter().peekable();
            while waiting.peek().is_some() {
                self.ambient.turn_to(self.ambient.now() + WAVE);
                let mut under_way = Vec::new();
                for Deed { by: caller, command, then } in waiting.by_ref().take(IN_FLIGHT) {
                    let submission = Submission { caller, command, idempotency: None };
                    under_way.push((then, self.writer.hand_over(submission)?));
                }
                self.made.commands += under_way.len() as u64;
                // All of them, before the clock is turned again.
                for (then, answer) in under_way {
                    let committed = answer.await?;
                    following.extend(self.follow(then, committed.reply.body.get())?);
                }
            }
            deeds = following;
        }
        Ok(())
    }

    fn follow(&mut self, then: Then, answer: &str) -> Result<Vec<Deed>> {
        if matches!(then, Then::Nothing) {
            return Ok(Vec::new());
        }
        let New { id } = serde_json::from_str(answer).context("what is new has an id")?;
        Ok(match then {
            Then::Nothing => Vec::new(),
            Then::Installed => {
                self.administrator = Caller::user(UserId(id));
                Vec::new()
            }
            Then::ResellerFounded(number) => {
                self.resellers[number as usize].id = id;
                self.made.resellers += 1;
                vec![self.staff_reseller(number)]
            }
            Then::ResellerStaffed(number) => {
                self.resellers[number as usize].administrator = Some(Caller::user(UserId(id)));
                let below = number * RESELLERS_BELOW + 1..=(number + 1) * RESELLERS_BELOW;
                let below = below.filter(|number| self.resellers.len() > *number as usize);
                below.map(|number| self.found_reseller(number)).collect()
            }
            Then::CustomerFounded(number) => {
                self.made.customers += 1;
                self.customer_founded(number, id)
            }
            Then::Hired(number) => {
                self.made.users += 1;
                self.hired(number, UserId(id))
            }
        })
    }

    async fn publish_services(&mut self) -> Result<()> {
        for (key, text) in SERVICES {
            let document: DefinitionDocument =
                serde_json::from_str(text).with_context(|| format!("services/{key}"))?;
            let key = key.to_owned();
            let draft =
                Command::DraftService { key: key.clone(), body: Ok(document), if_match: None };
            let body = PublishService { roll_out: Some(true), ..PublishService::default() };
            let publish = Command::PublishService { key, body: Ok(body) };
            for command in [draft, publish] {
                self.carry_out(vec![Deed::new(self.administrator, command)]).await?;
            }
        }
        Ok(())
    }

    fn found_reseller(&self, number: u32) -> Deed {
        let above = number.checked_sub(1).map(|number| number / RESELLERS_BELOW);
        let parent_id = above.map(|above| self.resellers[above as usize].id.to_string());
        let body = CreateOrganization {
            name: cast::reseller_name(number),
            parent_id,
            code: None,
            billing_identifier: None,
            purpose: None,
            contact: None,
            currency: None,
            custom_fields: None,
        };
        let command = Command::CreateOrganization { kind: Kind::Reseller, body: Ok(body) };
        Deed::new(self.administrator, command).then(Then::ResellerFounded(number))
    }

    fn staff_reseller(&self, number: u32) -> Deed {
        let (first_name, last_name) = cast::reseller_administrator(number);
        let body = person(first_name, last_name, &cast::reseller_domain(number), 0);
        let roles = vec![DefaultRole::ResellerAdministrator.name().to_owned()];
        let command = Command::CreateUser {
            organization: self.resellers[number as usize].id.to_string(),
            body: Ok(CreateUser { roles: Some(roles), ..body }),
            password: self.proof.clone(),
        };
        Deed::new(self.administrator, command).then(Then::ResellerStaffed(number))
    }

    /// Who sells to a customer, and below whom it is: each in turn, the provider too.
    fn seller(&self, number: u32) -> (Option<&Reseller>, Caller) {
        let turn = number as usize % (self.resellers.len() + 1);
        let reseller = turn.checked_sub(1).map(|index| &self.resellers[index]);
        let seller = reseller.and_then(|reseller| reseller.administrator);
        (reseller, seller.unwrap_or(self.administrator))
    }
}

/// A person of this name at this domain; `namesakes` were there before.
fn person(first_name: &str, last_name: &str, domain: &str, namesakes: usize) -> CreateUser {
    let number = if namesakes == 0 { String::new() } else { (namesakes + 1).to_string() };
    CreateUser {
        custom_fields: None,
        department: None,
        location: None,
        first_name: first_name.to_owned(),
        last_name: last_name.to_owned(),
        email: format!("{first_name}.{last_name}{number}@{domain}").to_lowercase(),
        login: None,
        roles: None,
        manager_id: None,
        purpose: None,
        password: None,
    }
}
