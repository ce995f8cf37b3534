//! Random histories: commands of every kind, sensible and not, from a seed. The same seed and the
//! same answers give the same commands, whatever carries them out.

mod adjusted;
mod aside;
mod metered;
mod priced;
mod ruled;

use std::sync::Once;

use chrono::{DateTime, Duration, Utc};
use commands::usecase::bulk::{Many, ProvisionToMany};
use commands::usecase::organizations::Because;
use commands::usecase::requests::Report;
use commands::usecase::users::NewCredential;
use commands::{Caller, Command, Committed, Error, Idempotency, Input, ShapeFault, Submission};
use domain::lifecycle::Transition;
use domain::organization::Kind;
use domain::user::Proof;
use domain::{Fault, Reason, TokenId, UserId};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::install;

/// The step in which some go all the way down and come back.
const LIVES_END: usize = 24;
/// The steps in which some requests go through everything that can come of one.
const STORY: std::ops::RangeInclusive<usize> = 12..=18;
/// Most commands that are handed over at once.
const BURST_MAX: usize = 24;
/// The same in a simulation.
const WILD_BURST_MAX: usize = 9;
/// Where simulated installations bill.
const ZONES: [chrono_tz::Tz; 5] = [
    chrono_tz::UTC,
    chrono_tz::Europe::Berlin,
    chrono_tz::America::New_York,
    chrono_tz::Asia::Kolkata,
    chrono_tz::Pacific::Auckland,
];
/// Within a year: ends of months, a leap day, and around the changes of the clocks in these zones.
const ODD_MOMENTS: [&str; 10] = [
    "01-31T23:59:59.999999Z",
    "02-28T23:30:00Z",
    "02-29T12:00:00Z",
    "03-10T06:59:59Z",
    "03-31T00:59:59Z",
    "03-31T22:00:00Z",
    "04-30T22:00:00Z",
    "09-28T14:00:00Z",
    "10-27T01:00:00Z",
    "12-31T23:00:00Z",
];
/// Most earlier commands that are remembered, to be asked again.
const REMEMBERED_MAX: usize = 64;

const SERVICES: [&str; 5] = ["backup", "mail", "crm", "desktop", "router"];
const PLANS: [&str; 3] = ["basic", "plus", "old"];
const PROPERTIES: [&str; 2] = ["size", "region"];
/// What is filled in for the services of users: a whole number up to 3.
const LABEL: &str = "label";
const ROLES: [&str; 6] = [
    "Provider Administrator",
    "Reseller Administrator",
    "Customer Administrator",
    "Service Provider Developer",
    "L1 Help Desk",
    "Root",
];

/// What is done at one time of the clock, all at once and in this order.
#[derive(Debug)]
pub struct Step {
    /// What the clock shows.
    pub now: DateTime<Utc>,
    /// What is asked.
    pub submissions: Vec<Submission>,
}

/// A way through a history, with what it has learned from the answers so far.
#[derive(Debug)]
pub struct History {
    rng: StdRng,
    /// Where what is drawn aside comes from.
    aside: StdRng,
    /// Where what is used comes from.
    metered: StdRng,
    priced: StdRng,
    /// Where what sellers say about their bills comes from.
    ruled: StdRng,
    /// Where what is charged by hand comes from.
    adjusted: StdRng,
    now: DateTime<Utc>,
    steps: usize,
    keys: usize,
    organizations: Vec<(String, Kind)>,
    users: Vec<UserId>,
    /// Whose each of them is.
    homes: Vec<(String, UserId)>,
    subscriptions: Vec<String>,
    /// What was charged or given back by hand.
    adjustments: Vec<String>,
    /// Those whose work somebody has to report, each with its subscription.
    requests: Vec<(String, String)>,
    credentials: Vec<(UserId, TokenId)>,
    roles: Vec<String>,
    /// To whom which role was to be given.
    given: Vec<(String, String)>,
    /// What had to be approved.
    approvals: Vec<String>,
    /// Whom policies name.
    approvers: Vec<UserId>,
    /// Who acts as somebody else, and in which session.
    impersonations: Vec<(Caller, TokenId)>,
    remembered: Vec<Submission>,
    /// Where it is made for a simulation: the zone that everybody bills in.
    zone: Option<chrono_tz::Tz>,
}

impl History {
    /// The beginning of the history of a seed.
    ///
    /// # Panics
    /// Never: the time is one.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            aside: StdRng::seed_from_u64(!seed),
            metered: StdRng::seed_from_u64(seed.rotate_left(32)),
            priced: StdRng::seed_from_u64(seed.rotate_left(48)),
            ruled: StdRng::seed_from_u64(seed.rotate_left(16)),
            adjusted: StdRng::seed_from_u64(seed.rotate_left(48)),
            now: "2019-01-01T00:00:00Z".parse().expect("a time"),
            steps: 0,
            keys: 0,
            organizations: Vec::new(),
            users: Vec::new(),
            homes: Vec::new(),
            subscriptions: Vec::new(),
            adjustments: Vec::new(),
            requests: Vec::new(),
            credentials: Vec::new(),
            roles: Vec::new(),
            given: Vec::new(),
            approvals: Vec::new(),
            approvers: Vec::new(),
            impersonations: Vec::new(),
            remembered: Vec::new(),
            zone: None,
        }
    }

    /// The same for a simulation: nearly everybody gives a key and asks again, and the clock likes to stand
    /// where calendars are odd: at the ends of months, leap days, daylight saving. Installed in one of some zones.
    #[must_use]
    pub fn wild(seed: u64) -> Self {
        let mut history = Self::new(seed);
        history.zone = ZONES.choose(&mut history.rng).copied();
        history
    }

    /// What is asked next. Nothing in a step depends on another's answer in that step.
    pub fn step(&mut self) -> Step {
        self.steps += 1;
        let submissions = match self.steps {
            1 => vec![system(self.install())],
            2 => SERVICES.iter().map(|key| system(draft(key, first_plans(key)))).collect(),
            3 => SERVICES
                .iter()
                .map(|key| system(publish(key, json!({ "rollOut": true }))))
                .collect(),
            4 => self.first_organizations(),
            5 => self.first_users(),
            LIVES_END => self.lives(),
            number if STORY.contains(&number) && self.zone.is_none() => {
                self.story(number - STORY.start())
            }
            _ => {
                self.turn_the_clock();
                let most = if self.zone.is_some() { WILD_BURST_MAX } else { BURST_MAX };
                let burst =
                    if self.rng.random_bool(0.3) { 1 } else { self.rng.random_range(2..=most) };
                let mut drawn: Vec<_> = (0..burst).map(|_| self.submission()).collect();
                drawn.extend(self.aside());
                // Simulations catch mistakes of other sorts, by seeds that are known to.
                if self.zone.is_none() {
                    drawn.extend(self.readings());
                    drawn.extend(self.prices());
                    drawn.extend(self.rulebooks());
                    drawn.extend(self.adjusted());
                }
                drawn
            }
        };
        Step { now: self.now, submissions }
    }

    /// Lets time pass before the next step.
    pub fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// Takes in the answers to a step, in its order.
    pub fn learn(&mut self, step: &Step, answers: &[Result<Committed, Error>]) {
        for (submission, answer) in step.submissions.iter().zip(answers) {
            if let (Command::GiveRole { organization, role, .. }, Ok(_)) =
                (&submission.command, answer)
            {
                self.given.push((organization.clone(), role.clone()));
            }
            if let Ok(Committed { reply, replayed: false }) = answer
                && let Some(location) = &reply.location
            {
                let body: Value = serde_json::from_str(reply.body.get()).unwrap_or_default();
                self.learn_one(submission, location, &body);
            }
            if submission.idempotency.is_some() {
                self.remembered.truncate(REMEMBERED_MAX - 1);
                self.remembered.insert(0, submission.clone());
            }
        }
    }

    fn learn_one(&mut self, submission: &Submission, location: &str, body: &Value) {
        let parts: Vec<_> = location.split('/').skip(1).collect();
        match (&parts[..], submission.caller.actor) {
            (["users", id], _) => {
                if self.organizations.is_empty() {
                    let provider = body["organizationId"].as_str().unwrap_or_default();
                    self.organizations.push((provider.to_owned(), Kind::Provider));
                }
                let home = body["organizationId"].as_str().unwrap_or_default().to_owned();
                self.homes.extend(id.parse().map(|id| (home, id)));
                self.users.extend(id.parse::<UserId>());
            }
            (["users", user, "tokens", token], _) => {
                let user = user.parse::<UserId>();
                self.credentials.extend(user.ok().zip(token.parse().ok()));
            }
            (["session"], domain::event::Actor::User(actor)) => {
                let session = body["id"].as_str().and_then(|id| id.parse().ok());
                if let Command::Impersonate { user, .. } = &submission.command {
                    let caller = user.parse().ok().map(|user| Caller::impersonating(actor, user));
                    self.impersonations.extend(caller.zip(session));
                } else {
                    self.credentials.extend(session.map(|session| (actor, session)));
                }
            }
            (["customers", id], _) => self.organizations.push(((*id).to_owned(), Kind::Customer)),
            (["resellers", id], _) => self.organizations.push(((*id).to_owned(), Kind::Reseller)),
            (["billing", "adjustments"], _) => {
                self.adjustments.extend(body["id"].as_str().map(str::to_owned));
            }
            (["subscriptions", id], _) => self.subscriptions.push((*id).to_owned()),
            (["requests", id], _) if body["approvalStatus"].is_string() => {
                self.approvals.push((*id).to_owned());
            }
            (["requests", id], _) => {
                if let Some(subscription) = body["subscriptionId"].as_str().map(str::to_owned) {
                    self.subscriptions.push(subscription.clone());
                    self.requests.push(((*id).to_owned(), subscription));
                }
            }
            (["roles", id], _) => self.roles.push((*id).to_owned()),
            _ => {}
        }
    }

    fn first_organizations(&self) -> Vec<Submission> {
        let provider = &self.organizations[0].0;
        let create = |kind, name: &str| {
            let body = json!({ "name": name, "parentId": provider });
            system(Command::CreateOrganization { kind, body: input(body) })
        };
        vec![
            create(Kind::Reseller, "Eastern Resale"),
            create(Kind::Reseller, "Western Resale"),
            create(Kind::Customer, "Abacus Computing Group"),
            create(Kind::Customer, "Zoo"),
        ]
    }

    fn first_users(&self) -> Vec<Submission> {
        let users = self.organizations.iter().enumerate().flat_map(|(number, (id, kind))| {
            let role = match kind {
                Kind::Provider => ROLES[0],
                Kind::Reseller => ROLES[1],
                Kind::Customer => ROLES[2],
            };
            let user = |name: &str, roles: Value| {
                let email = format!("{name}{number}@example.com");
                let body = json!({
                    "firstName": name, "lastName": "Lee", "email": email, "roles": roles
                });
                let organization = id.clone();
                system(Command::CreateUser { organization, body: input(body), password: None })
            };
            [user("ann", json!([role, "Service Provider Developer"])), user("ben", json!([]))]
        });
        users.collect()
    }

    /// A user and a customer are taken all the way down, and come back.
    fn lives(&mut self) -> Vec<Submission> {
        let (user, customers) = (self.user(), self.organizations.clone());
        let mut customers = customers.into_iter().filter(|(_, kind)| *kind == Kind::Customer);
        let customer = customers.next().map(|(id, _)| id).unwrap_or_default();
        let steps =
            [Transition::Deprovision, Transition::Delete, Transition::Restore, Transition::Enable];
        // Others go and do not come back; and a seller's customer is sold, and billed by the provider.
        let last = customers.next_back().map(|(id, _)| id);
        let ben = self.users.iter().rev().nth(1).copied();
        let over = [Transition::Deprovision, Transition::Delete];
        let ends = over.into_iter().flat_map(|step| {
            let (customer, ben) = (last.clone(), ben);
            let organization = customer.map(|id| {
                let (kind, body) = (Kind::Customer, Ok(Because::default()));
                Command::TransitionOrganization { id, kind, step, body }
            });
            let user = ben.map(|id| {
                let (id, body) = (id.to_string(), Ok(Because::default()));
                Command::TransitionUser { id, step, body }
            });
            organization.into_iter().chain(user)
        });
        let streams = [
            last.as_ref().map(|id| format!("organization-{id}")),
            ben.map(|id| format!("user-{id}")),
        ];
        let deleted_by = self.now + Duration::days(400);
        let purges = streams.into_iter().flatten();
        let purges = purges.map(|stream| Command::Purge { stream, deleted_by });
        let provider = self.organizations.first().map(|(id, _)| id.clone()).unwrap_or_default();
        let seller = self.organizations.iter().find(|(_, kind)| *kind == Kind::Reseller);
        let seller = seller.map(|(id, _)| id.clone()).unwrap_or_default();
        let sold = json!({ "parentId": seller, "reason": "sold" });
        let billed = json!({ "sellerId": provider, "reason": "agreed" });
        let sale = [
            Command::MoveCustomer { id: customer.clone(), body: input(sold) },
            Command::BillCustomer { id: customer.clone(), body: input(billed) },
        ];
        let ends: Vec<_> = ends.chain(purges).chain(sale).collect();
        let lives = steps.into_iter().flat_map(|step| {
            let (id, kind) = (customer.clone(), Kind::Customer);
            [
                Command::TransitionUser { id: user.clone(), step, body: Ok(Because::default()) },
                Command::TransitionOrganization { id, kind, step, body: Ok(Because::default()) },
            ]
        });
        lives.chain(ends).map(system).collect()
    }

    /// A customer and its user ask for a service whose work is reported; it fails, is asked again and done. What is
    /// held is suspended and goes on.
    fn story(&mut self, chapter: usize) -> Vec<Submission> {
        let late = |all: usize| all.saturating_sub(3);
        let requests = self.requests[late(self.requests.len())..].to_vec();
        let held = self.subscriptions[late(self.subscriptions.len())..].to_vec();
        let report = |what: fn(Input<Because>) -> Report| {
            let of = move |(id, _): &(String, String)| Command::ReportRequest {
                id: id.clone(),
                report: what(Ok(Because::default())),
            };
            requests.iter().map(of).collect::<Vec<_>>()
        };
        let because = || Ok(Because::default());
        let commands = match chapter {
            0 => {
                let mut homes = self.homes.iter();
                let customers: Vec<_> =
                    self.organizations.iter().filter(|it| it.1 == Kind::Customer).collect();
                let home = homes.find(|(home, _)| customers.iter().any(|it| it.0 == *home));
                let Some((customer, user)) = home.cloned() else { return vec![] };
                let wish =
                    |service: &str, plan: &str| input(json!({ "service": service, "plan": plan }));
                let user = user.to_string();
                vec![
                    Command::ProvisionToCustomer {
                        customer: customer.clone(),
                        body: wish("backup", "basic"),
                    },
                    Command::ProvisionToCustomer { customer, body: wish("desktop", "base") },
                    Command::ProvisionToUser { user, body: wish("desktop", "basic") },
                ]
            }
            1 => report(Report::Started),
            2 => {
                let fail = |(id, _): &(String, String)| Command::ReportRequest {
                    id: id.clone(),
                    report: Report::Failed(input(json!({ "detail": "No rack." }))),
                };
                requests.iter().map(fail).collect()
            }
            3 => {
                let retry = |(_, id): &(String, String)| Command::RetryRequest {
                    id: id.clone(),
                    body: because(),
                };
                requests.iter().map(retry).collect()
            }
            4 => [report(Report::Started), report(Report::Completed)].concat(),
            5 => {
                let suspend =
                    |id: &String| Command::Suspend { id: id.clone(), body: input(json!({})) };
                held.iter().map(suspend).collect()
            }
            _ => {
                let done = [report(Report::Started), report(Report::Completed)].concat();
                let resume =
                    |id: &String| Command::Resume { id: id.clone(), body: input(json!({})) };
                done.into_iter().chain(held.iter().map(resume)).collect()
            }
        };
        commands.into_iter().map(system).collect()
    }

    fn install(&self) -> Command {
        let mut command = install();
        if let (Command::Install(install), Some(zone)) = (&mut command, self.zone) {
            install.settings.zone = zone;
        }
        command
    }

    /// Mostly forward, sometimes not at all, sometimes back.
    fn turn_the_clock(&mut self) {
        if self.zone.is_some() && self.rng.random_bool(0.4) {
            return self.jump();
        }
        let micros = match self.rng.random_range(0..10) {
            0 => -self.rng.random_range(0..Duration::days(2).num_microseconds().unwrap_or(0)),
            1..=3 => 0,
            _ => self.rng.random_range(0..Duration::days(3).num_microseconds().unwrap_or(0)),
        };
        self.now += Duration::microseconds(micros);
    }

    /// To where a calendar is odd.
    fn jump(&mut self) {
        let odd = self.one_of(&ODD_MOMENTS);
        let year = chrono::Datelike::year(&self.now) + self.rng.random_range(0..2);
        let text =
            if odd.starts_with("02-29") { format!("2020-{odd}") } else { format!("{year}-{odd}") };
        let odd = text.parse::<DateTime<Utc>>().expect("a time");
        // Back by some weeks at the most: a clock that is years behind would only stand still.
        let is_far_back = odd < self.now - Duration::weeks(6);
        self.now = if is_far_back { self.now + Duration::days(31) } else { odd };
    }

    fn submission(&mut self) -> Submission {
        if let Some(again) = self.again() {
            return again;
        }
        let (command, caller) = match self.impersonations.choose(&mut self.rng).copied() {
            Some((caller, session)) if self.rng.random_bool(0.03) => {
                (Command::EndImpersonation { session }, caller)
            }
            _ => (self.command(), self.caller()),
        };
        let idempotency =
            self.rng.random_bool(if self.zone.is_some() { 0.9 } else { 0.4 }).then(|| {
                self.keys += 1;
                Idempotency { key: format!("key-{}", self.keys), request: [self.keys as u8; 32] }
            });
        Submission { caller, command, idempotency }
    }

    /// An earlier command with its key: the same, another one, or by another caller.
    fn again(&mut self) -> Option<Submission> {
        if !self.rng.random_bool(0.12) {
            return None;
        }
        let mut again = self.remembered.choose(&mut self.rng)?.clone();
        match self.rng.random_range(0..6) {
            0 => {
                again.command = self.command();
                again.idempotency.as_mut()?.request = [0xff; 32];
            }
            1 => again.caller = self.caller(),
            _ => {}
        }
        Some(again)
    }

    fn caller(&mut self) -> Caller {
        if self.rng.random_bool(0.03) {
            return Caller::user(UserId(Uuid::from_u128(self.rng.random())));
        }
        if self.rng.random_bool(0.05)
            && let Some((caller, _)) = self.impersonations.choose(&mut self.rng)
        {
            return *caller;
        }
        match self.users.choose(&mut self.rng) {
            Some(user) if self.rng.random_bool(if self.zone.is_some() { 0.35 } else { 0.6 }) => {
                Caller::user(*user)
            }
            _ => Caller::SYSTEM,
        }
    }

    fn step_down(&mut self) -> Transition {
        match self.rng.random_range(0..10) {
            0..6 => Transition::Disable,
            6..8 => Transition::Deprovision,
            _ => Transition::Delete,
        }
    }

    fn step_up(&mut self) -> Transition {
        if self.rng.random_bool(0.2) { Transition::Restore } else { Transition::Enable }
    }

    fn command(&mut self) -> Command {
        if self.rng.random_bool(0.1) {
            return self.about_roles();
        }
        match self.rng.random_range(0..1_000) {
            0..80 => self.create_organization(),
            80..93 => self.move_customer(),
            93..100 => self.bill_customer(),
            100..150 => self.edit_organization(),
            150..156 => {
                let (id, kind, body) = self.organization_and_reason();
                Command::EraseContact { id, kind, body }
            }
            156..160 => self.change_calendar(),
            160..185 => {
                let (id, kind, body) = self.organization_and_reason();
                Command::TransitionOrganization { step: self.step_down(), id, kind, body }
            }
            185..235 => {
                let (id, kind, body) = self.organization_and_reason();
                Command::TransitionOrganization { step: self.step_up(), id, kind, body }
            }
            235..310 => self.create_user(),
            310..350 => self.edit_user(),
            350..364 => Command::TransitionUser {
                step: self.step_down(),
                id: self.user(),
                body: self.because(),
            },
            364..370 => Command::EraseUser { id: self.user(), body: self.because() },
            406..410 => self.purge(),
            370..410 => Command::TransitionUser {
                step: self.step_up(),
                id: self.user(),
                body: self.because(),
            },
            410..450 => self.assign_roles(),
            450..490 => self.create_token(),
            490..515 => {
                let (user, token) = self.credential();
                Command::DeleteToken { user: user.to_string(), token: token.to_string() }
            }
            515..550 => Command::SignIn { session: self.new_credential() },
            550..575 => Command::SignOut { session: self.credential().1 },
            575..605 => self.draft(),
            605..630 => {
                let body = json!({
                    "effectiveAt": self.moment(), "reason": self.reason(),
                    "rollOut": self.rng.random_bool(0.5),
                });
                publish(self.service(), body)
            }
            630..720 => Command::ProvisionToCustomer {
                customer: self.organization().0,
                body: self.provision(false),
            },
            720..810 => Command::ProvisionToUser { user: self.user(), body: self.provision(true) },
            810..835 => self.change(),
            835..875 => self.report(),
            875..930 => self.go_on(),
            930..955 => self.override_property(),
            955..975 => self.override_price(),
            975..985 => self.offer(),
            985..989 => {
                let (organization, service) = (self.organization().0, self.service().to_owned());
                Command::ApplyOverrides { organization, service, body: self.because() }
            }
            989..993 => Command::PanicForTests,
            _ => self.install(),
        }
    }

    /// What was sent, or now and then a body without the promised shape.
    fn perhaps<T: DeserializeOwned>(&mut self, body: Value) -> Input<T> {
        if self.rng.random_bool(0.03) {
            let detail = "This is missing.".to_owned();
            let fault = Fault { pointer: "/name".to_owned(), code: "missing", detail };
            return Err(ShapeFault { reason: Reason::Malformed, faults: vec![fault] });
        }
        input(body)
    }

    fn one_of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts.choose(&mut self.rng).copied().unwrap_or_default()
    }

    /// One of the texts, or nothing.
    fn perhaps_of(&mut self, chance: f64, texts: &[&str]) -> Value {
        if self.rng.random_bool(chance) { self.one_of(texts).into() } else { Value::Null }
    }

    /// Texts that people type: most are good.
    fn name(&mut self) -> &'static str {
        self.one_of(&[
            "Abacus Computing Group",
            "Zoo",
            "  Ünal & Söhne \"GmbH\" ",
            "東京",
            "Backslash \\ Ltd",
            "a",
            "Müller\u{7f}",
            "Emoji \u{1f680} Inc",
            "Line\u{2028}separator",
            "x",
            "",
            "two\nlines",
        ])
    }

    fn reason(&mut self) -> Value {
        self.perhaps_of(0.4, &["asked by phone", " ", "ticket\t\"42\"\n", "bad\u{1}"])
    }

    fn because(&mut self) -> Input<Because> {
        let body = json!({ "reason": self.reason() });
        self.perhaps(body)
    }

    /// A moment in the business: now, past, future, or none.
    fn moment(&mut self) -> Value {
        let days = self.rng.random_range(-60..60);
        let moment = self.now + Duration::days(days);
        match self.rng.random_range(0..12) {
            0..6 => Value::Null,
            6..8 => moment.date_naive().to_string().into(),
            8..10 => moment.to_rfc3339().into(),
            10 => (self.now - Duration::days(days)).format("%Y-%m-01").to_string().into(),
            _ => self.one_of(&["yesterday", "1066-10-14", "2019-02-30", ""]).into(),
        }
    }

    fn organization(&mut self) -> (String, Kind) {
        if self.rng.random_bool(0.04) {
            return (self.one_of(&["nobody", "", "1"]).to_owned(), Kind::Customer);
        }
        let unknown = (Uuid::from_u128(7).to_string(), Kind::Customer);
        self.organizations.choose(&mut self.rng).cloned().unwrap_or(unknown)
    }

    fn user(&mut self) -> String {
        if self.rng.random_bool(0.04) {
            return self.one_of(&["nobody", "", "1"]).to_owned();
        }
        self.users.choose(&mut self.rng).map(ToString::to_string).unwrap_or_default()
    }

    fn subscription(&mut self) -> String {
        if self.rng.random_bool(0.03) {
            return Uuid::from_u128(self.rng.random()).to_string();
        }
        self.subscriptions.choose(&mut self.rng).cloned().unwrap_or_default()
    }

    fn credential(&mut self) -> (UserId, TokenId) {
        let unknown = (UserId(Uuid::from_u128(8)), TokenId(Uuid::from_u128(9)));
        self.credentials.choose(&mut self.rng).copied().unwrap_or(unknown)
    }

    fn service(&mut self) -> &'static str {
        if self.rng.random_bool(0.04) {
            return self.one_of(&["unsold", "no key", ""]);
        }
        self.one_of(&SERVICES)
    }

    fn organization_and_reason(&mut self) -> (String, Kind, Input<Because>) {
        let (id, kind) = self.organization();
        let kind = if self.rng.random_bool(0.05) { Kind::Customer } else { kind };
        (id, kind, self.because())
    }

    fn change_calendar(&mut self) -> Command {
        let calendar =
            self.one_of(&["calendar_month", "fixed_day(15)", "days_before_month_end(3)"]);
        let first = self.organizations.first().map(|(id, _)| id.clone());
        let months = chrono::Months::new(self.rng.random_range(1..4));
        let day = self.one_of(&["01", "16", "29", "31"]);
        let month = (self.now + months).format("%Y-%m");
        let body = json!({ "calendar": calendar, "effectiveFrom": format!("{month}-{day}") });
        let organization = first.filter(|_| self.rng.random_bool(0.8));
        let organization = organization.unwrap_or_else(|| self.organization().0);
        Command::ChangeBillingSettings { organization, body: self.perhaps(body) }
    }

    fn contact(&mut self) -> Value {
        if self.rng.random_bool(0.5) {
            return Value::Null;
        }
        json!({
            "name": self.perhaps_of(0.5, &["Ann Lee", "Ben Poe", ""]),
            "email": self.perhaps_of(0.5, &["ann@example.com", "ben@example.com", "ann"]),
            "phone": self.perhaps_of(0.5, &["+49 30 1234"]),
        })
    }

    fn create_organization(&mut self) -> Command {
        let kind = if self.rng.random_bool(0.3) { Kind::Reseller } else { Kind::Customer };
        let parent =
            if self.rng.random_bool(0.2) { Value::Null } else { self.organization().0.into() };
        let body = json!({
            "name": self.name(),
            "parentId": parent,
            "code": self.perhaps_of(0.3, &["AA", "bb", "C1", "D D", "ABACUS"]),
            "billingIdentifier": self.perhaps_of(0.3, &["4711", "Ä-1", "ä-1", "4712", ""]),
            "type": self.perhaps_of(0.3, &["standard", "test", "demo"]),
            "contact": self.contact(),
            "currency": self.perhaps_of(0.1, &["EUR", "USD"]),
        });
        Command::CreateOrganization { kind, body: self.perhaps(body) }
    }

    fn edit_organization(&mut self) -> Command {
        let (id, kind) = self.organization();
        let mut body = json!({
            "name": self.perhaps_of(0.5, &["Abacus", "Zoo", "Renamed", ""]),
            "code": self.perhaps_of(0.4, &["AA", "BB", "C1", "ZZ", "-"]),
            "type": self.perhaps_of(0.2, &["standard", "test"]),
            "contact": self.contact(),
        });
        if self.rng.random_bool(0.4) {
            body["billingIdentifier"] = self.perhaps_of(0.6, &["4711", "ä-1", "4713"]);
        }
        let if_match = self.rng.random_bool(0.2).then(|| self.rng.random_range(1..4));
        Command::EditOrganization { id, kind, body: self.perhaps(body), if_match }
    }

    fn login(&mut self) -> String {
        let number = self.rng.random_range(0..40);
        match self.rng.random_range(0..20) {
            0 => format!("Somebody{number}@Example.com"),
            1 => "no address".to_owned(),
            _ => format!("somebody{number}@example.com"),
        }
    }

    fn create_user(&mut self) -> Command {
        let roles = self.roles();
        let body = json!({
            "firstName": self.name(),
            "lastName": self.name(),
            "email": self.login(),
            "login": if self.rng.random_bool(0.3) { self.login().into() } else { Value::Null },
            "roles": if self.rng.random_bool(0.5) { roles } else { Value::Null },
            "password": self.perhaps_of(0.3, &["correct horse", "short"]),
        });
        let password = self.rng.random_bool(0.3).then(|| self.proof());
        let organization = self.organization().0;
        Command::CreateUser { organization, body: self.perhaps(body), password }
    }

    fn edit_user(&mut self) -> Command {
        let body = json!({
            "firstName": self.perhaps_of(0.4, &["Ann", "Ben", ""]),
            "lastName": self.perhaps_of(0.4, &["Lee", "O'Neill"]),
            "email": if self.rng.random_bool(0.3) { self.login().into() } else { Value::Null },
            "login": if self.rng.random_bool(0.4) { self.login().into() } else { Value::Null },
        });
        let if_match = self.rng.random_bool(0.2).then(|| self.rng.random_range(1..4));
        Command::EditUser { id: self.user(), body: self.perhaps(body), if_match }
    }

    fn roles(&mut self) -> Value {
        let count = self.rng.random_range(0..3);
        (0..count).map(|_| self.role()).collect::<Vec<_>>().into()
    }

    /// A default role, a custom one, one of a service, or none.
    fn role(&mut self) -> String {
        match self.rng.random_range(0..10) {
            0..4 => self.roles.choose(&mut self.rng).cloned().unwrap_or_default(),
            4 => self.one_of(&["mail:agent", "mail:lead", "crm:agent", "mail:none"]).to_owned(),
            _ => self.one_of(&ROLES).to_owned(),
        }
    }

    /// A role that somebody made, most often.
    fn made_role(&mut self) -> String {
        match self.roles.choose(&mut self.rng) {
            Some(role) if self.rng.random_bool(0.85) => role.clone(),
            _ => self.role(),
        }
    }

    /// Most are good.
    fn permissions(&mut self) -> Value {
        const GOOD: [&str; 5] = [
            "users.view",
            "users.manage",
            "users.impersonate",
            "subscriptions.assign_to_users",
            "events.view",
        ];
        const OTHERS: [&str; 3] = ["reports.daily", "mail:export", "nonsense"];
        let count = self.rng.random_range(0..4);
        let mut name = || match self.rng.random_bool(0.15) {
            true => self.one_of(&OTHERS),
            false => self.one_of(&GOOD),
        };
        (0..count).map(|_| name()).collect::<Vec<_>>().into()
    }

    /// Who makes a role: the provider, most often, whose roles can be given to everybody.
    fn maker(&mut self) -> String {
        match self.organizations.first() {
            Some((provider, _)) if self.rng.random_bool(0.6) => provider.clone(),
            _ => self.organization().0,
        }
    }

    fn about_roles(&mut self) -> Command {
        match self.rng.random_range(0..24) {
            0..5 => {
                let includes = if self.rng.random_bool(0.3) { self.roles() } else { json!([]) };
                let body = json!({
                    "name": self.name(),
                    "permissions": self.permissions(),
                    "includes": includes,
                    "organizationId": self.maker(),
                });
                Command::CreateRole { body: self.perhaps(body) }
            }
            5..9 => {
                let mut body = json!({ "name": self.perhaps_of(0.3, &["Clerk", "Lead"]) });
                if self.rng.random_bool(0.8) {
                    body["permissions"] = self.permissions();
                }
                if self.rng.random_bool(0.3) {
                    body["includes"] = self.roles();
                }
                let if_match = self.rng.random_bool(0.2).then(|| self.rng.random_range(1..4));
                Command::EditRole { id: self.made_role(), body: self.perhaps(body), if_match }
            }
            9 => Command::DeleteRole { id: self.made_role() },
            10..14 => {
                let (organization, role) = (self.organization().0, self.made_role());
                Command::GiveRole { organization, role, body: self.because() }
            }
            14..18 => {
                let known = self.given.choose(&mut self.rng).cloned();
                let (organization, role) =
                    known.unwrap_or_else(|| (self.organization().0, self.made_role()));
                Command::TakeRole { organization, role }
            }
            18 => {
                let body = json!({ "name": self.name(), "organizationId": self.maker() });
                Command::CopyRole { id: self.role(), body: self.perhaps(body) }
            }
            19..21 => {
                const KEYS: [&str; 4] = ["reports.daily", "reports.daily", "users.view", "no key"];
                let key = self.one_of(&KEYS).to_owned();
                if self.rng.random_bool(0.4) {
                    return Command::WithdrawPermission { key };
                }
                let body = json!({ "name": self.name() });
                Command::DeclarePermission { key, body: self.perhaps(body) }
            }
            _ => Command::Impersonate {
                user: self.user(),
                body: self.because(),
                began_with: self.credential().1,
                session: self.new_credential(),
            },
        }
    }

    fn assign_roles(&mut self) -> Command {
        let body = json!({ "roles": self.roles(), "reason": self.reason() });
        Command::AssignRoles { id: self.user(), body: self.perhaps(body) }
    }

    fn proof(&mut self) -> Proof {
        Proof(format!("{:064x}", self.rng.random::<u128>()))
    }

    fn new_credential(&mut self) -> NewCredential {
        NewCredential {
            id: TokenId(Uuid::from_u128(self.rng.random())),
            proof: self.proof(),
            expires_at: self.now + Duration::hours(self.rng.random_range(1..200)),
        }
    }

    fn create_token(&mut self) -> Command {
        let body = json!({
            "name": self.name(),
            "days": if self.rng.random_bool(0.5) { self.rng.random_range(0..400).into() }
                    else { Value::Null },
        });
        let token = self.new_credential();
        Command::CreateToken { user: self.user(), body: self.perhaps(body), token }
    }

    fn draft(&mut self) -> Command {
        let key = self.service();
        let mut body = first_plans(key);
        body["name"] = self.name().into();
        for plan in 0..PLANS.len() {
            body["plans"][plan]["price"] =
                self.perhaps_of(0.9, &["10.00", "12.5", "0", "100", "-1", "1.234"]);
        }
        body["plans"][2]["retired"] = self.rng.random_bool(0.8).into();
        body["lineDescription"] = self.perhaps_of(0.2, &["{ServiceName}", "{Nonsense}"]);
        if self.rng.random_bool(0.1) {
            body["plans"][1]["key"] = self.one_of(&["basic", "new", "ä"]).into();
        }
        if self.rng.random_bool(0.05) {
            body["level"] = "user".into();
        }
        if self.rng.random_bool(0.1) {
            body["process"] = self.one_of(&["immediate", "reported"]).into();
        }
        let if_match = self.rng.random_bool(0.2).then(|| self.rng.random_range(1..6));
        Command::DraftService { key: key.to_owned(), body: self.perhaps(body), if_match }
    }

    fn quantity(&mut self) -> Value {
        match self.rng.random_range(0..20) {
            0 => self.rng.random_range(-1..=0).into(),
            1 => 1_000_001.into(),
            2..9 => Value::Null,
            _ => self.rng.random_range(1..5).into(),
        }
    }

    /// Mostly of a service that is provisioned to users, or is not.
    fn provision(&mut self, to_user: bool) -> Input<commands::usecase::subscriptions::Provision> {
        let mut service = self.service();
        if is_of_users(service) != to_user && self.rng.random_bool(0.9) {
            service = if to_user { "mail" } else { "backup" };
        }
        let chance = if is_multi(service) { 0.9 } else { 0.05 };
        let mut plan = self.one_of(&["basic", "basic", "plus", "plus", "old", "none"]);
        if !to_user && self.rng.random_bool(0.2) {
            (service, plan) = ("desktop", "base");
        }
        let quantity = self.quantity();
        let body = json!({
            "service": service,
            "plan": plan,
            "quantity": quantity,
            "properties": if is_of_users(service) && to_user { json!({ LABEL: quantity }) } else { json!({}) },
            "instance": self.perhaps_of(chance, &["production", "staging", "tests ä", ""]),
            "effectiveAt": self.moment(),
            "reason": self.reason(),
        });
        self.perhaps(body)
    }

    fn change(&mut self) -> Command {
        let body = json!({
            "plan": self.perhaps_of(0.6, &["basic", "plus", "old", "none"]),
            "quantity": self.quantity(),
            "effectiveAt": self.moment(),
            "reason": self.reason(),
        });
        Command::ChangeSubscription { id: self.subscription(), body: self.perhaps(body) }
    }

    /// What comes of a request, mostly of a late one.
    fn report(&mut self) -> Command {
        let id = self.late_request().0;
        let report = match self.rng.random_range(0..10) {
            0..4 => Report::Started(self.because()),
            4..8 => Report::Completed(self.because()),
            _ => {
                let body = json!({ "detail": self.one_of(&["No disk.", ""]) });
                Report::Failed(self.perhaps(body))
            }
        };
        Command::ReportRequest { id, report }
    }

    /// A request and its subscription: mostly one of the latest.
    fn late_request(&mut self) -> (String, String) {
        let late = self.requests.len().saturating_sub(4);
        let known = match self.rng.random_bool(0.8) {
            true => self.requests[late..].choose(&mut self.rng),
            false => self.requests.choose(&mut self.rng),
        };
        known.cloned().unwrap_or_default()
    }

    /// One of the latest subscriptions, or any.
    fn late_subscription(&mut self) -> String {
        let late = self.subscriptions.len().saturating_sub(3);
        match self.subscriptions[late..].choose(&mut self.rng) {
            Some(id) if self.rng.random_bool(0.6) => id.clone(),
            _ => self.subscription(),
        }
    }

    /// What else is done to what somebody has.
    fn go_on(&mut self) -> Command {
        let id = self.late_subscription();
        let body = json!({ "effectiveAt": self.moment(), "reason": self.reason() });
        match self.rng.random_range(0..50) {
            0..18 => Command::Deprovision { id, body: self.perhaps(body) },
            18..24 => Command::Suspend { id, body: self.perhaps(body) },
            24..31 => Command::Resume { id, body: self.perhaps(body) },
            31..36 => Command::RetryRequest { id: self.late_request().1, body: self.because() },
            36..40 => {
                let (named, id) = self.late_request();
                let named = Some(named).filter(|_| self.rng.random_bool(0.3));
                let body = json!({ "requestId": named, "reason": self.reason() });
                Command::CancelRequest { id, body: self.perhaps(body) }
            }
            40..44 => Command::ResetRequest { id: self.late_request().1, body: self.because() },
            _ => self.provision_to_many(),
        }
    }

    fn provision_to_many(&mut self) -> Command {
        let known = self.homes.choose(&mut self.rng).cloned();
        let customer = known.map(|(home, _)| home).unwrap_or_default();
        let theirs = self.homes.iter().filter(|(home, _)| *home == customer);
        let count = self.rng.random_range(1..4);
        let users: Vec<_> = theirs.take(count).map(|(_, user)| user.to_string()).collect();
        let body = json!({
            "users": users,
            "service": self.one_of(&["mail", "mail", "desktop", "backup"]),
            "plan": self.one_of(&["basic", "plus"]),
            "effectiveAt": self.moment(),
            "reason": self.reason(),
        });
        let body: Input<ProvisionToMany> = self.perhaps(body);
        Command::ProvisionToMany { customer, body: body.map(Many::from) }
    }

    fn offer(&mut self) -> Command {
        let (organization, service) = (self.organization().0, self.service().to_owned());
        if self.rng.random_bool(0.1) {
            return Command::WithdrawOffer { organization, service, body: self.because() };
        }
        let plans = match self.rng.random_range(0..3) {
            0 => Value::Null,
            1 => json!([self.one_of(&["basic", "plus", "none"])]),
            _ => json!(["basic", "plus"]),
        };
        let named = if self.rng.random_bool(0.3) { "addPlans" } else { "plans" };
        let body =
            json!({ named: plans, "subtree": self.rng.random_bool(0.5), "reason": self.reason() });
        Command::OfferService { organization, service, body: self.perhaps(body) }
    }

    /// A customer, or now and then something else.
    fn customer(&mut self) -> String {
        let all = self.organizations.iter().filter(|(_, kind)| *kind == Kind::Customer);
        let customers: Vec<_> = all.map(|(id, _)| id.clone()).collect();
        match customers.choose(&mut self.rng) {
            Some(id) if self.rng.random_bool(0.95) => id.clone(),
            _ => self.organization().0,
        }
    }

    /// A seller, or now and then something else.
    fn seller(&mut self) -> String {
        let all = self.organizations.iter().filter(|(_, kind)| *kind != Kind::Customer);
        let sellers: Vec<_> = all.map(|(id, _)| id.clone()).collect();
        match sellers.choose(&mut self.rng) {
            Some(id) if self.rng.random_bool(0.9) => id.clone(),
            _ => self.organization().0,
        }
    }

    /// Today mostly, otherwise on any day.
    fn day(&mut self) -> Value {
        if self.rng.random_bool(0.7) { Value::Null } else { self.moment() }
    }

    fn move_customer(&mut self) -> Command {
        let body = json!({
            "parentId": self.seller(),
            "effectiveFrom": self.day(),
            "check": if self.rng.random_bool(0.1) { json!(true) } else { Value::Null },
            "reason": self.one_of(&["sold", "sold", "sold", ""]),
        });
        Command::MoveCustomer { id: self.customer(), body: self.perhaps(body) }
    }

    fn bill_customer(&mut self) -> Command {
        let body = json!({
            "sellerId": self.seller(),
            "effectiveFrom": self.day(),
            "reason": self.one_of(&["agreed", "agreed", "agreed", ""]),
        });
        Command::BillCustomer { id: self.customer(), body: self.perhaps(body) }
    }

    fn purge(&mut self) -> Command {
        let stream = match self.rng.random_range(0..8) {
            0 => "nobody".to_owned(),
            1..5 => format!("user-{}", self.user()),
            _ => format!("organization-{}", self.organization().0),
        };
        let days = self.rng.random_range(-1..20);
        Command::Purge { stream, deleted_by: self.now - Duration::days(days) }
    }

    fn override_property(&mut self) -> Command {
        let plan = self.perhaps_of(0.5, &["basic", "plus", "none"]);
        let property = self.one_of(&["size", "region", "colour"]);
        let value = self.perhaps_of(0.8, &["200 GB", "eu", ""]);
        let body = json!({
            "locked": plan == "plus" && value == "eu",
            "plan": plan,
            "property": property,
            "value": value,
            "clear": self.rng.random_bool(0.25),
            "effectiveFrom": self.moment(),
            "effectiveTo": if self.rng.random_bool(0.3) { self.moment() } else { Value::Null },
            "apply": self.perhaps_of(0.4, &["later", "now"]),
            "reason": self.one_of(&["contract 7", ""]),
        });
        let (organization, service) = (self.organization().0, self.service().to_owned());
        Command::OverrideProperty { organization, service, body: self.perhaps(body) }
    }

    fn override_price(&mut self) -> Command {
        let (price, percent, clear) = match self.rng.random_range(0..4) {
            0 => (Value::Null, Value::Null, true),
            1 => (Value::Null, self.one_of(&["-20", "12.5", "-100", "x"]).into(), false),
            _ => (self.one_of(&["8.00", "0", "-1", "9999.99"]).into(), Value::Null, false),
        };
        let body = json!({
            "service": self.service(),
            "plan": self.perhaps_of(0.6, &["basic", "plus", "none"]),
            "price": price,
            "percent": percent,
            "clear": clear,
            "effectiveFrom": self.moment(),
            "effectiveTo": if self.rng.random_bool(0.3) { self.moment() } else { Value::Null },
            "reason": self.one_of(&["contract 7", "", "goodwill"]),
        });
        Command::OverridePrice { organization: self.organization().0, body: self.perhaps(body) }
    }
}

fn input<T: DeserializeOwned>(body: Value) -> Input<T> {
    crate::world::body(body)
}

fn system(command: Command) -> Submission {
    Submission { caller: Caller::SYSTEM, command, idempotency: None }
}

fn is_multi(service: &str) -> bool {
    matches!(service, "crm" | "router")
}

/// Whose work somebody does and reports.
fn is_reported(service: &str) -> bool {
    matches!(service, "router" | "desktop")
}

fn is_of_users(service: &str) -> bool {
    matches!(service, "mail" | "desktop" | "crm")
}

fn first_plans(key: &str) -> Value {
    // What plans cost beside their prices; the same key is the same component.
    let components = |plan: &str| {
        let mut components = vec![json!({
            "key": "calls", "kind": "usage", "meter": "calls", "rate": "volume",
            "tiers": [{ "above": 0, "price": "0.10" }, { "above": 100, "price": "0.09" }],
        })];
        match plan {
            "basic" => components.extend([
                json!({ "key": "setup", "kind": "oneOff", "price": "25.00" }),
                json!({
                    "key": "year", "kind": "recurring", "interval": "year", "timing": "advance",
                    "price": "120.00",
                }),
                json!({ "key": "least", "kind": "minimum", "price": "15.00" }),
            ]),
            "plus" => components.extend([
                json!({
                    "key": "year", "kind": "recurring", "interval": "year", "timing": "advance",
                    "price": "200.00",
                }),
                json!({
                    "key": "month", "kind": "recurring", "interval": "month", "timing": "advance",
                    "rate": "graduated",
                    "tiers": [{ "above": 0, "price": "3.00" }, { "above": 2, "price": "2.00" }],
                }),
            ]),
            _ => components.push(json!({
                "key": "devices", "kind": "usage", "meter": "devices", "included": 1, "price": "4.00",
            })),
        }
        if is_of_users(key) {
            components.push(json!({
                "key": "labels", "kind": "property", "property": LABEL, "included": 1,
                "price": "0.50",
            }));
        }
        components
    };
    let plan = |plan: &str, price: &str| {
        json!({
            "components": components(plan),
            "suspended": if plan == "plus" { "free" } else { "billed" },
            "key": plan, "name": format!("{key} {plan}"), "sku": format!("{key}-{plan}"),
            "price": price,
            "properties": { PROPERTIES[0]: "100 GB", PROPERTIES[1]: "de" },
        })
    };
    let mut properties =
        vec![json!({ "key": PROPERTIES[0] }), json!({ "key": PROPERTIES[1], "label": "Region" })];
    if is_of_users(key) {
        properties.push(json!({
            "key": LABEL, "scope": "user", "kind": "input", "type": "integer", "min": 1, "max": 3,
            "priced": true,
        }));
    }
    // One of the services brings roles.
    let (permissions, roles) = match key {
        "mail" => (
            json!([{ "key": "export" }]),
            json!([
                { "key": "agent", "permissions": ["users.view", "subscriptions.view"] },
                { "key": "lead", "permissions": ["mail:export"], "includes": ["agent"] },
            ]),
        ),
        _ => (json!([]), json!([])),
    };
    let mut plans = vec![plan(PLANS[0], "10.00"), plan(PLANS[1], "20.00"), plan(PLANS[2], "5.00")];
    if key == "desktop" {
        // Its users have it where their customer does.
        let mut base = plan("base", "50.00");
        base["level"] = "customer".into();
        plans.push(base);
    }
    let max = if key == "router" { json!(2) } else { Value::Null };
    json!({
        "maxInstances": max,
        "process": if is_reported(key) { "reported" } else { "immediate" },
        "permissions": permissions,
        "roles": roles,
        "name": key,
        "level": if is_of_users(key) { "user" } else { "customer" },
        "instancing": if is_multi(key) { "multi" } else { "single" },
        "properties": properties,
        "meters": [{ "key": "calls" }, { "key": "devices", "aggregation": "unique" }],
        "plans": plans,
    })
}

fn draft(key: &str, body: Value) -> Command {
    Command::DraftService { key: key.to_owned(), body: input(body), if_match: None }
}

fn publish(key: &str, body: Value) -> Command {
    Command::PublishService { key: key.to_owned(), body: input(body) }
}

/// Keeps panics that a test has asked for, of commands and of failpoints, from filling its output; others show.
pub fn hush_asked_panics() {
    static HUSHED: Once = Once::new();
    HUSHED.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload_as_str().unwrap_or_default();
            if !text.contains("asked to panic") && !text.starts_with("failpoint ") {
                shown(info);
            }
        }));
    });
}
