//! Every step that can fail fails once: with an error, with a panic, and by taking long. A small installation
//! goes on as its users and its operator would have it go on, and nothing is lost, doubled or left hanging.
//!
//! The failpoints are those of the sources (`failpoint("...")`). One that nothing here comes to fails a test, and
//! so does a function that asks the database or the file system for something and has none.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use api::app::App;
use api::config::{DataArguments, ServeArguments, Settings};
use api::keys::Keys;
use api::server::{Installation, master_key, open_database};
use api::setup;
use atrium_tests::history::hush_asked_panics;
use atrium_tests::http::TestApp;
use atrium_tests::laws;
use atrium_tests::world::{Place, TestAmbient, TestDatabase, at_once, body, install};
use chrono::{DateTime, Utc};
use commands::closing;
use commands::due::{self, Sort, Watch};
use commands::usecase::books::Readiness;
use commands::usecase::users::NewCredential;
use commands::{
    Ambient, Caller, Command, Committed, Error, Idempotency, Submission, Writer, WriterSettings,
};
use domain::lifecycle::Transition;
use domain::organization::Kind;
use domain::seal::Vault;
use domain::user::Proof;
use domain::{OrganizationId, TenantPath, TokenId, UserId};
use eventstore::{Database, Engine, Log, SealsVerified, Verified};
use fail::FailScenario;
use futures_util::FutureExt as _;
use projections::Persons;
use projections::effective;
use projections::finder::{self, EventQuery, Query, Scope};
use projections::ledger::{self, InForce, Question};
use projections::views::{Asked, BooksView, OrganizationView, SubscriptionView, UserView};
use serde_json::{Value, json};
use uuid::Uuid;

/// Longest that one start of the process may take, whatever fails in it.
const PROCESS_SECONDS: u64 = 20;
/// How often the process is started until everything has worked: the fault happens once.
const STARTS_MAX: usize = 3;
/// How often a command is asked again within one process.
const TRIES_MAX: usize = 3;

/// What a failpoint does, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Error,
    Panic,
    Delay,
}

impl Fault {
    fn action(self) -> &'static str {
        match self {
            Self::Error => "1*return",
            Self::Panic => "1*panic",
            Self::Delay => "1*sleep(30)",
        }
    }
}

/// What is done in a life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Commands, questions, a rebuild.
    Whole,
    /// Commands.
    OnlyAsked,
}

/// Failpoints that only come into play when another step has failed before.
const AFTER_ANOTHER: [(&str, &str); 1] =
    [("projections::rebuild::rollback", "projections::rebuild::note_version")];

/// Steps that only one of the databases has.
const ON_SQLITE_ONLY: [&str; 7] = [
    "eventstore::append::head",
    "eventstore::append::rollback",
    "eventstore::fold_log",
    "eventstore::open::check_sqlite",
    "eventstore::open::folder",
    "eventstore::open::lock",
    "eventstore::open::look",
];

/// Steps that only what operators do comes to: tried apart, and on both databases but for those that only one
/// has. (What is in the binary's `api/src/tool` is tried from outside: `tests/tests/operations`.)
const OF_OPERATORS: [&str; 13] = [
    "eventstore::import::begin",
    "eventstore::import::commit",
    "eventstore::import::forget",
    "eventstore::import::head",
    "eventstore::import::write",
    "eventstore::look::age",
    "eventstore::look::postgres",
    "eventstore::look::sqlite",
    "eventstore::look::tables",
    "eventstore::snapshot::rows",
    "eventstore::snapshot::share",
    "eventstore::verify_end",
    "projections::compare_apart",
];
/// Comes after a thousand rows, which nobody has here.
const FAR: &str = "projections::compare_apart::advance";

/// Belongs to the making of the demo, and is tried apart.
const DEMO: &str = "api::setup::demo";
/// Workbooks are written for who asks for them, and tried apart.
const WORKBOOK: &str = "api::billing::workbook";
/// Follows what other processes write, a moment later.
const FOLLOWING: &str = "api::gate::catch_up";

/// Something that is due, and is found again: its key is what keeps it from being done again.
const CUSTOMERS: Sort = Sort {
    name: "customer",
    after: chrono::TimeDelta::zero(),
    find: |database, question| {
        Box::pin(due::of_view::<OrganizationView>(database, "customer", question, |view| {
            let sent = json!({ "contact": { "name": "Ann" } });
            let (id, kind) = (view.id.to_string(), Kind::Customer);
            Command::EditOrganization { id, kind, body: body(sent), if_match: None }
        }))
    },
};

/// An installation: its place, and what its users know of it.
struct Trial {
    place: TestDatabase,
    files: tempfile::TempDir,
    ambient: Arc<TestAmbient>,
    /// What was acknowledged: key and resource.
    acknowledged: Arc<Mutex<BTreeMap<String, String>>>,
    /// What must never be, whatever else fails.
    broken: Mutex<Vec<String>>,
    follows: bool,
}

impl Trial {
    async fn new(engine: Engine) -> Result<Self> {
        Ok(Self {
            place: TestDatabase::volatile(engine).await?,
            files: tempfile::tempdir()?,
            ambient: TestAmbient::at("2019-03-31T00:30:00Z"),
            acknowledged: Arc::default(),
            broken: Mutex::default(),
            follows: false,
        })
    }

    fn arguments(&self) -> Result<ServeArguments> {
        let config = self.files.path().join("atrium.toml");
        std::fs::write(&config, "currency = \"EUR\"\n")?;
        let (data, database) = match &self.place.place {
            Place::Folder(folder) => (folder.clone(), None),
            Place::Url(url) => (self.files.path().to_owned(), Some(url.clone())),
        };
        let data = DataArguments {
            data: Some(data),
            database,
            config: Some(config),
            ..DataArguments::default()
        };
        Ok(ServeArguments { data, ..ServeArguments::default() })
    }

    /// One life of the process: it starts, serves everybody, and stops.
    async fn process(&self, life: Life) -> Result<()> {
        let settings = Settings::load(&self.arguments()?)?;
        let database = open_database(&settings, |_| ()).await?;
        let keys = Keys::derive(&master_key(&settings, &database).await?);
        let installation = Installation::start(database, keys, self.ambient.clone(), None).await?;
        let served = self.serve(&installation, life).await;
        installation.close().await;
        served
    }

    async fn serve(&self, installation: &Installation, life: Life) -> Result<()> {
        let app = &installation.app;
        self.ask(app).await?;
        if life == Life::OnlyAsked {
            return Ok(());
        }
        let persons = Persons::new(vault_of(app));
        persist("reading", || read(app.database(), &persons)).await?;
        let watch = Watch::new(app.database().clone(), app.writer().clone(), [CUSTOMERS]);
        let look = async || Ok(watch.look(self.ambient.now()).await?);
        persist("looking for what is due", look).await?;
        drop(watch);
        let rebuild = async || Ok(projections::rebuild(app.database(), |_| ()).await?);
        let rebuilt = persist("rebuilding", rebuild).await?;
        self.expect(rebuilt.differences.is_empty(), || format!("other rows: {rebuilt:?}"));
        if self.follows {
            self.follow(installation).await?;
        }
        Ok(())
    }

    /// All that users ask for. What builds on an answer waits for it.
    async fn ask(&self, app: &App) -> Result<()> {
        let writer = app.writer();
        let mut made = BTreeMap::new();
        self.burst(writer, &mut made, |_| vec![("provider", install())]).await?;
        self.burst(writer, &mut made, first_organizations).await?;
        self.burst(writer, &mut made, first_users).await?;
        // Somebody else writes, and this process has to catch up.
        let another = || another_writer(app.database(), vault_of(app), &self.ambient);
        let (other, thread) = persist("another writer", another).await?;
        let asked = self.burst(&other, &mut made, elsewhere).await;
        drop(other);
        let ended = ended(thread).await;
        asked?;
        ended?;
        self.burst(writer, &mut made, provisioning).await?;
        let close = async || self.close(app, &made).await;
        persist("closing a period", close).await?;
        self.burst(writer, &mut made, overriding).await?;
        self.burst(writer, &mut made, changes).await
    }

    /// Closes February, by two who are not the same, and looks at what is in the way before.
    async fn close(&self, app: &App, made: &BTreeMap<&'static str, Value>) -> Result<()> {
        let (database, writer) = (app.database(), app.writer());
        let provider = text(&made["provider"], "organizationId");
        let seller: OrganizationId = provider.parse()?;
        let end = || "2019-02-28".to_owned();
        let wish = || body(json!({ "organizationId": provider }));
        let submit = async |submission| {
            writer.submit(submission).await.map(|_| ()).map_err(|error| anyhow!("{error:?}"))
        };
        submit(keyed("ask close", Command::AskClose { end: end(), body: wish() })).await?;
        let scope = Scope::catalogue();
        let books = finder::find::<BooksView>(database, &scope, &provider).await?;
        let books = books.context("the books")?;
        let mut readiness = None;
        if let Some(closing) = &books.closing {
            let provider = ledger::seller_at(database, &TenantPath::provider()).await?;
            let settings = provider.settings.as_ref();
            let period = settings.period_ending(closing.end).context("the period")?;
            let (cutoff, path) = (closing.cutoff, TenantPath::provider());
            let of = (seller, &path);
            let unready = closing::readiness(database, of, settings, period, cutoff).await?;
            let unready = closing::subscriptions(&unready);
            readiness = Some(Readiness { seller, cutoff, unready });
        }
        let approve = Command::ApproveClose { end: end(), body: wish(), readiness };
        let ada = Caller::user(id(made, "provider").parse()?);
        submit(Submission { caller: ada, ..keyed("approve close", approve) }).await?;
        let closed = closing::close(database, writer, seller).await;
        closed.map_err(|error| anyhow!("{error:?}"))
    }

    /// Hands commands over at once, each under its own key, and asks again for what got no answer.
    async fn burst(
        &self,
        writer: &Writer,
        made: &mut BTreeMap<&'static str, Value>,
        commands: impl Fn(&BTreeMap<&'static str, Value>) -> Vec<(&'static str, Command)>,
    ) -> Result<()> {
        let mut open = commands(made);
        for _ in 0..TRIES_MAX {
            let submissions = open.iter().map(|(key, command)| keyed(key, command.clone()));
            let answers = at_once(writer, submissions.collect::<Vec<_>>()).await;
            let mut again = Vec::new();
            for ((key, command), answer) in open.into_iter().zip(answers) {
                match answer {
                    Ok(committed) => {
                        made.insert(key, self.acknowledge(key, &committed)?);
                    }
                    Err(Error::OutcomeUnknown | Error::Storage(_)) => again.push((key, command)),
                    Err(Error::Stopping) => bail!("the writer has ended"),
                    Err(error) => bail!("{key}: {error:?}"),
                }
            }
            open = again;
            if open.is_empty() {
                return Ok(());
            }
            ensure!(!writer.has_ended(), "the writer has ended");
        }
        bail!("asked {TRIES_MAX} times and never answered: {open:?}")
    }

    /// The same key gives the same answer, whichever process is asked.
    fn acknowledge(&self, key: &str, committed: &Committed) -> Result<Value> {
        let resource = committed.reply.body.get();
        let mut acknowledged = self.acknowledged.lock().expect("nobody panics while holding it");
        if let Some(before) = acknowledged.insert(key.to_owned(), resource.to_owned()) {
            self.expect(committed.replayed, || format!("{key} was acknowledged, and done again"));
            self.expect(before == resource, || format!("{key} was answered otherwise before"));
        }
        Ok(serde_json::from_str(resource)?)
    }

    /// Not an error, which would only be tried again.
    fn expect(&self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.broken.lock().expect("nobody panics while holding it").push(otherwise());
        }
    }

    fn is_unbroken(&self) -> Result<()> {
        let broken = self.broken.lock().expect("nobody panics while holding it");
        ensure!(broken.is_empty(), "{broken:?}");
        Ok(())
    }

    /// Lets the gate notice what another process has written.
    async fn follow(&self, installation: &Installation) -> Result<()> {
        let app = &installation.app;
        let follower = tokio::spawn(app.gate().clone().follow(app.clone()));
        let mut end = app.gate().end_of_log();
        let (other, thread) = another_writer(app.database(), vault_of(app), &self.ambient).await?;
        // Where the follower begins.
        let head = Log::new(app.database().clone()).head().await?.position;
        end.wait_for(|position| *position >= head).await?;
        // A wish that is new in each life of the process.
        let name = app.ambient().id().to_string();
        let sent = json!({ "name": "Followed", "parentId": self.provider()?, "code": name[30..] });
        let wish = Command::CreateOrganization { kind: Kind::Customer, body: body(sent) };
        let wish = Submission { caller: Caller::SYSTEM, command: wish, idempotency: None };
        other.submit(wish).await.map_err(|error| anyhow!("{error:?}"))?;
        drop(other);
        ended(thread).await?;
        tokio::select! {
            noticed = end.wait_for(|position| *position > head) => { noticed?; }
            () = async { while !follower.is_finished() { tokio::time::sleep(Duration::from_millis(10)).await } } => {
                bail!("the follower has ended, and the server ends with it");
            }
        }
        follower.abort();
        let _ = follower.await;
        Ok(())
    }

    fn provider(&self) -> Result<String> {
        let acknowledged = self.acknowledged.lock().expect("nobody panics while holding it");
        let administrator: Value = serde_json::from_str(&acknowledged["provider"])?;
        Ok(administrator["organizationId"].as_str().context("an id")?.to_owned())
    }

    /// Starts the process until everything has worked; gives how often.
    async fn settle(&self) -> Result<usize> {
        let mut last = None;
        for start in 1..=STARTS_MAX {
            let life = unless_panicked(self.process(Life::Whole));
            match tokio::time::timeout(Duration::from_secs(PROCESS_SECONDS), life).await {
                Err(_) => bail!("start {start} hangs"),
                Ok(Ok(())) => {
                    self.is_unbroken()?;
                    return Ok(start);
                }
                Ok(Err(error)) => last = Some(error),
            }
        }
        Err(last.context("there was a start")?).context("it failed at every start")
    }

    /// How many events the log has, of which all laws hold.
    async fn lawful_events(&self) -> Result<u64> {
        let database = self.place.open().await?;
        laws::check(&database).await?;
        let head = Log::new(database.clone()).head().await?;
        database.close().await;
        Ok(head.position)
    }

    /// How many events the log has.
    async fn events(&self) -> Result<u64> {
        Ok(Log::new(self.place.open().await?).head().await?.position)
    }
}

/// A panic as an error, as it is to whoever hears of it.
async fn unless_panicked<T>(what: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(what).catch_unwind().await.unwrap_or_else(|cause| {
        let literal = cause.downcast_ref::<&str>().copied();
        let cause = literal.or_else(|| cause.downcast_ref::<String>().map(String::as_str));
        Err(anyhow!("it panicked: {}", cause.unwrap_or("for no reason")))
    })
}

/// Does it again if it fails, as somebody would who was told to try again.
async fn persist<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut failures = Vec::new();
    for _ in 0..TRIES_MAX {
        match unless_panicked(attempt()).await {
            Ok(done) => return Ok(done),
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    bail!("{what} fails again and again: {failures:?}")
}

type Thread = std::thread::JoinHandle<()>;

fn vault_of(app: &App) -> Vault {
    app.persons().vault().clone()
}

/// A writer as another process would have it.
async fn another_writer(
    database: &Database,
    vault: Vault,
    ambient: &Arc<TestAmbient>,
) -> Result<(Writer, Thread)> {
    let settings = WriterSettings::default();
    Ok(Writer::start(database.clone(), vault, ambient.clone(), settings, Box::new(|_| ())).await?)
}

/// Waits until a writer has ended that nobody can reach any more.
async fn ended(thread: Thread) -> Result<()> {
    let ended = tokio::task::spawn_blocking(move || thread.join()).await?;
    ended.map_err(|_| anyhow!("the writer has panicked"))
}

fn keyed(key: &str, command: Command) -> Submission {
    let idempotency = Idempotency { key: key.to_owned(), request: [1; 32] };
    Submission { caller: Caller::SYSTEM, command, idempotency: Some(idempotency) }
}

fn text(resource: &Value, field: &str) -> String {
    resource[field].as_str().unwrap_or_else(|| panic!("no {field} in {resource}")).to_owned()
}

fn id(made: &BTreeMap<&'static str, Value>, key: &str) -> String {
    text(&made[key], "id")
}

fn found(kind: Kind, parent: &str, name: &str) -> Command {
    let sent = json!({ "name": name, "parentId": parent });
    Command::CreateOrganization { kind, body: body(sent) }
}

fn user(organization: String, login: &str) -> Command {
    let sent = json!({ "firstName": "Ann", "lastName": "Lee", "email": login });
    Command::CreateUser { organization, body: body(sent), password: None }
}

fn draft(key: &str, level: &str) -> Command {
    let sent = json!({
        "name": key, "level": level, "instancing": "single",
        "properties": [{ "key": "size" }],
        "meters": [{ "key": "calls" }],
        "plans": [
            { "key": "basic", "name": "Basic", "price": "10.00", "properties": { "size": "1 GB" },
              "components": [{ "key": "calls", "kind": "usage", "meter": "calls", "price": "0.10" }] },
            { "key": "plus", "name": "Plus", "price": "20.00", "properties": { "size": "2 GB" } },
        ],
    });
    Command::DraftService { key: key.to_owned(), body: body(sent), if_match: None }
}

fn publish(key: &str) -> Command {
    Command::PublishService { key: key.to_owned(), body: body(json!({ "rollOut": true })) }
}

fn first_organizations(made: &BTreeMap<&'static str, Value>) -> Vec<(&'static str, Command)> {
    let provider = text(&made["provider"], "organizationId");
    vec![
        ("reseller", found(Kind::Reseller, &provider, "East")),
        ("customer", found(Kind::Customer, &provider, "Zoo")),
        ("draft 1", draft("backup", "customer")),
        ("draft 2", draft("mail", "user")),
        ("publish 1", publish("backup")),
        ("publish 2", publish("mail")),
    ]
}

fn first_users(made: &BTreeMap<&'static str, Value>) -> Vec<(&'static str, Command)> {
    let reseller = id(made, "reseller");
    vec![
        ("ann", user(id(made, "customer"), "ann@example.com")),
        ("ben", user(id(made, "customer"), "ben@example.com")),
        ("below", found(Kind::Customer, &reseller, "Ark")),
    ]
}

fn elsewhere(made: &BTreeMap<&'static str, Value>) -> Vec<(&'static str, Command)> {
    vec![("eve", user(id(made, "customer"), "eve@example.com"))]
}

/// The same at every start: what is asked again must be the same.
const TOKEN: TokenId = TokenId(Uuid::from_u128(1));

fn provisioning(made: &BTreeMap<&'static str, Value>) -> Vec<(&'static str, Command)> {
    let (customer, ann) = (id(made, "customer"), id(made, "ann"));
    let credential = |id| NewCredential {
        id,
        proof: Proof("no password".to_owned()),
        expires_at: DateTime::<Utc>::MAX_UTC,
    };
    let provision = |service: &str| json!({ "service": service, "plan": "basic" });
    // In a period that is closed afterwards.
    let earlier = json!({ "service": "mail", "plan": "basic", "effectiveAt": "2019-02-10" });
    let roles = json!({ "roles": ["Provider Administrator"] });
    vec![
        (
            "backup",
            Command::ProvisionToCustomer {
                customer: customer.clone(),
                body: body(provision("backup")),
            },
        ),
        ("mail", Command::ProvisionToUser { user: ann.clone(), body: body(earlier) }),
        ("roles", Command::AssignRoles { id: ann.clone(), body: body(json!({ "roles": [] })) }),
        (
            "price",
            Command::OverridePrice {
                organization: customer.clone(),
                body: body(json!({ "service": "backup", "price": "8.00", "reason": "a contract" })),
            },
        ),
        ("admin", Command::AssignRoles { id: text(&made["provider"], "id"), body: body(roles) }),
        (
            "token",
            Command::CreateToken {
                user: text(&made["provider"], "id"),
                body: body(json!({ "name": "script", "days": 30 })),
                token: credential(TOKEN),
            },
        ),
        (
            "rename",
            Command::EditOrganization {
                id: customer,
                kind: Kind::Customer,
                body: body(json!({ "name": "Zoological Garden" })),
                if_match: None,
            },
        ),
    ]
}

/// By itself: it reaches the backup as it is by then.
fn overriding(made: &BTreeMap<&'static str, Value>) -> Vec<(&'static str, Command)> {
    vec![(
        "property",
        Command::OverrideProperty {
            organization: id(made, "customer"),
            service: "backup".to_owned(),
            body: body(json!({ "property": "size", "value": "3 GB", "reason": "a contract" })),
        },
    )]
}

fn changes(made: &BTreeMap<&'static str, Value>) -> Vec<(&'static str, Command)> {
    let because = || body(json!({ "reason": "asked by phone" }));
    let (customer, kind) = (id(made, "customer"), Kind::Customer);
    let late = json!({ "plan": "plus", "effectiveAt": "2019-02-20" });
    vec![
        ("late", Command::ChangeSubscription { id: id(made, "mail"), body: body(late) }),
        (
            "adjusted",
            Command::Adjust {
                body: body(json!({
                    "subscriptionId": id(made, "backup"), "amount": "-1.50",
                    "description": "A credit", "reason": "an outage",
                })),
            },
        ),
        (
            "used",
            Command::RecordUsage {
                body: body(json!({
                    "subscriptionId": id(made, "backup"), "meter": "calls", "quantity": 3,
                })),
            },
        ),
        (
            "change",
            Command::ChangeSubscription {
                id: id(made, "backup"),
                body: body(json!({ "plan": "plus", "quantity": 3 })),
            },
        ),
        ("deprovision", Command::Deprovision { id: id(made, "mail"), body: body(json!({})) }),
        (
            "disable ben",
            Command::TransitionUser {
                step: Transition::Disable,
                id: id(made, "ben"),
                body: because(),
            },
        ),
        (
            "enable ben",
            Command::TransitionUser {
                step: Transition::Enable,
                id: id(made, "ben"),
                body: because(),
            },
        ),
        (
            "edit ben",
            Command::EditUser {
                id: id(made, "ben"),
                body: body(json!({ "firstName": "Benjamin" })),
                if_match: None,
            },
        ),
        ("erase eve", Command::EraseUser { id: id(made, "eve"), body: because() }),
        (
            "delete token",
            Command::DeleteToken { user: text(&made["provider"], "id"), token: TOKEN.to_string() },
        ),
        (
            "disable",
            Command::TransitionOrganization {
                step: Transition::Disable,
                id: customer.clone(),
                kind,
                body: because(),
            },
        ),
        (
            "enable",
            Command::TransitionOrganization {
                step: Transition::Enable,
                id: customer.clone(),
                kind,
                body: because(),
            },
        ),
        (
            "offer",
            Command::OfferService {
                organization: customer,
                service: "backup".to_owned(),
                body: body(json!({ "plans": ["basic"] })),
            },
        ),
        (
            "roll a plan out",
            Command::OfferService {
                organization: text(&made["provider"], "organizationId"),
                service: "backup".to_owned(),
                body: body(json!({ "addPlans": ["plus"], "subtree": true })),
            },
        ),
        (
            "move",
            Command::MoveCustomer {
                id: id(made, "below"),
                body: body(json!({
                    "parentId": text(&made["provider"], "organizationId"), "reason": "sold",
                })),
            },
        ),
    ]
}

/// What users look at.
async fn read(database: &Database, persons: &Persons) -> Result<()> {
    let everything = Scope(TenantPath::provider());
    let query = Query { limit: finder::LIST_MAX, ..Query::default() };
    let page = finder::list::<OrganizationView>(database, &everything, &query).await?;
    let (_, customer) = page
        .items
        .iter()
        .find(|(_, it)| it.details.name == "Zoological Garden")
        .context("the customer")?;
    let scope = Scope(customer.path.clone());
    let owners = || BTreeSet::from([customer.id.to_string()]);
    ensure!(finder::count::<UserView>(database, &scope, &query).await? == 3);
    let users = finder::list_of_owners::<UserView>(database, &scope, owners(), &query).await?;
    ensure!(users.values().map(|page| page.items.len()).sum::<usize>() == 3);
    finder::count_of_owners::<UserView>(database, &scope, owners()).await?;
    let number = customer.number;
    ensure!(finder::find_by_number(database, &scope, number).await?.is_some());
    ensure!(
        !finder::list_events(database, &scope, &EventQuery { limit: 5, ..EventQuery::default() })
            .await?
            .items
            .is_empty()
    );
    ensure!(finder::count_events(database, &scope, &[], 0).await? > 5);
    let asked = Asked { user: UserId(Uuid::nil()), organization: customer.id, roles: &[] };
    ensure!(finder::waiting_for(database, &scope, &asked, &query).await?.items.is_empty());
    ensure!(finder::count_waiting_for(database, &scope, &asked).await? == 0);
    let slots = finder::list::<SubscriptionView>(database, &scope, &query).await?;
    ensure!(slots.items.len() == 2);
    let whose = |(_, slot): &(_, Arc<SubscriptionView>)| effective::Question {
        as_of: DateTime::<Utc>::MAX_UTC,
        known_at: None,
        path: slot.path.clone(),
        place_then: None,
        plan: None,
        service: slot.service.clone(),
        subscription: Some(slot.id),
    };
    let whose: Vec<_> = slots.items.iter().map(whose).collect();
    let properties = effective::properties(database, &whose).await?;
    let sizes = properties.iter().flatten().filter_map(|property| property.winner.as_ref());
    ensure!(sizes.filter(|winner| winner.value == "3 GB").count() == 1, "{properties:?}");
    let paths = [customer.path.clone()];
    let offers = finder::offers_on_the_way_to(database, &paths).await?;
    ensure!(offers["backup"].len() == 2, "the provider's, and the customer's");
    projections::activity::days(database, &scope, &paths, &query).await?;
    projections::activity::count_days(database, &scope, &paths).await?;
    let provider = ledger::seller_at(database, &TenantPath::provider()).await?;
    let settings = provider.settings.as_ref();
    let now = "2019-03-31T00:30:00Z".parse()?;
    let periods = ledger::periods(database, &scope, settings, now).await?;
    let side = ledger::Side::Sells(provider.id);
    let question = Question { scope: scope.clone(), as_of: None, known_at: None, side };
    let statements = ledger::statements(database, persons, &question, &periods).await?;
    ensure!(statements.iter().any(|statement| !statement.lines.is_empty()));
    let lines = statements.iter().flat_map(|statement| &statement.lines);
    let corrections = lines.filter(|line| line.entry.is_correction()).count();
    ensure!(corrections == 3, "one reversal and two rebookings: {corrections}");
    let books = finder::list::<BooksView>(database, &everything, &query).await?;
    let closed = books.items[0].1.closed.first().context("a closed period")?;
    let sealed = eventstore::sealed_lines(database, closed.cutoff, customer.id).await?;
    ensure!(sealed.len() == 1, "{sealed:?}");
    let package = eventstore::export_package(database, closed.position, std::io::sink()).await?;
    ensure!(package.events == closed.position && package.sealed == 1, "{package:?}");
    let verified = eventstore::verify_sealed(database).await?;
    ensure!(matches!(verified, SealsVerified::Whole { periods: 1, entries: 1 }), "{verified:?}");
    let in_force = InForce::on(database, &scope, settings, settings.local_date(now)).await?;
    let effects = in_force.effects(database, in_force.overrides()).await?;
    ensure!(effects.len() == 2 && effects.iter().all(|it| it.subscriptions == 1), "{effects:?}");
    let log = Log::new(database.clone());
    ensure!(!log.below(&customer.path, &[], (0, u64::MAX), 5).await?.is_empty());
    log.position_at(i64::MAX).await?;
    ensure!(database.behind().await?.is_none(), "it is no standby");
    let verified = eventstore::verify(database, |_| ()).await?;
    ensure!(matches!(verified, Verified::Whole { .. }), "{verified:?}");
    Ok(())
}

/// How many events the installation has when nothing fails; and what it came to.
async fn without_faults(engine: Engine) -> Result<(u64, BTreeSet<&'static str>)> {
    let trial = Trial::new(engine).await?;
    ensure!(trial.settle().await? == 1, "it does not even work without faults");
    let met = eventstore::failpoints_met();
    Ok((trial.lawful_events().await?, met))
}

/// The standard scenario, in which one step fails once.
async fn with_fault(engine: Engine, point: &str, fault: Fault, events: u64) -> Result<()> {
    let mut trial = Trial::new(engine).await?;
    trial.follows = point == FOLLOWING;
    for (later, first) in AFTER_ANOTHER {
        if later == point {
            fail::cfg(first, "1*return").map_err(|error| anyhow!(error))?;
        }
    }
    fail::cfg(point, fault.action()).map_err(|error| anyhow!(error))?;
    let starts = trial.settle().await;
    fail::list().iter().for_each(|(name, _)| fail::remove(name));
    let starts = starts?;
    let is_alone = AFTER_ANOTHER.iter().all(|(later, _)| *later != point);
    ensure!(fault != Fault::Delay || starts == 1 || !is_alone, "what was only late was an error");
    // Everything is asked again, and done no second time.
    trial.process(Life::OnlyAsked).await.context("it does not go on as before")?;
    trial.is_unbroken()?;
    let there = trial.lawful_events().await?;
    ensure!(trial.follows || there == events, "{there} events, and not {events}");
    Ok(())
}

async fn sweep(engine: Engine, fault: Fault) -> Result<()> {
    let scenario = FailScenario::setup();
    hush_asked_panics();
    let (events, met) = without_faults(engine).await?;
    let wished = std::env::var("ATRIUM_FAILPOINT").ok();
    let mut failures = Vec::new();
    let began = std::time::Instant::now();
    let points = failpoints();
    let points = points.iter().filter(|(point, _)| {
        let elsewhere = [DEMO, FAR, WORKBOOK].contains(&point.as_str())
            || OF_OPERATORS.contains(&point.as_str())
            || engine == Engine::Postgres && ON_SQLITE_ONLY.contains(&point.as_str());
        !elsewhere && wished.as_ref().is_none_or(|wished| point.contains(wished))
    });
    let mut runs = 0;
    for (point, place) in points {
        let special = point == FOLLOWING || AFTER_ANOTHER.iter().any(|(later, _)| later == point);
        if !special && !met.contains(point.as_str()) {
            failures
                .push(format!("{point} ({place}): nothing in the standard scenario comes to it"));
            continue;
        }
        runs += 1;
        if let Err(error) = with_fault(engine, point, fault, events).await {
            failures.push(format!("{point} ({place}): {error:#}"));
        }
    }
    println!("{engine:?}, {fault:?}: {runs} runs in {} ms", began.elapsed().as_millis());
    scenario.teardown();
    assert!(
        failures.is_empty(),
        "{engine:?}, {fault:?}: {} of {runs} (one alone: ATRIUM_FAILPOINT=name)\n{}",
        failures.len(),
        failures.join("\n")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_every_step_may_end_in_an_error() -> Result<()> {
    sweep(Engine::Sqlite, Fault::Error).await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_every_step_may_panic() -> Result<()> {
    sweep(Engine::Sqlite, Fault::Panic).await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_every_step_may_take_long() -> Result<()> {
    sweep(Engine::Sqlite, Fault::Delay).await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_every_step_may_end_in_an_error() -> Result<()> {
    sweep(Engine::Postgres, Fault::Error).await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_every_step_may_panic() -> Result<()> {
    sweep(Engine::Postgres, Fault::Panic).await
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_every_step_may_take_long() -> Result<()> {
    sweep(Engine::Postgres, Fault::Delay).await
}

/// A demo whose making was interrupted says so at the next start, and is left as it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_demo_that_could_not_be_finished_says_so() -> Result<()> {
    let scenario = FailScenario::setup();
    hush_asked_panics();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        for fault in [Fault::Error, Fault::Panic] {
            let trial = Trial::new(engine).await?;
            let settings = Settings::load(&trial.arguments()?)?;
            let database = open_database(&settings, |_| ()).await?;
            let keys = Keys::derive(&master_key(&settings, &database).await?);
            let make = || {
                let (database, keys, billing) =
                    (database.clone(), keys.clone(), settings.billing.clone());
                tokio::spawn(
                    async move { setup::demo(&database, &keys, &billing, true, |_| ()).await },
                )
            };
            fail::cfg(DEMO, fault.action()).map_err(|error| anyhow!(error))?;
            let interrupted = make().await;
            assert!(!matches!(interrupted, Ok(Ok(_))), "{engine:?}, {fault:?}");
            let error = make().await?.expect_err("it is no demo").to_string();
            assert!(error.contains("interrupted"), "{error}");
            laws::check(&database).await?;
        }
    }
    scenario.teardown();
    Ok(())
}

/// Looks at an installation in every way that operators do, and carries it over into an empty database.
async fn operate(place: &TestDatabase, empty: &TestDatabase) -> Result<()> {
    let looked = match &place.place {
        Place::Folder(folder) => Database::look_sqlite(&folder.join("atrium.db")).await?,
        Place::Url(url) => Database::look_postgres(url).await?,
    };
    looked.tables().await?;
    looked.age().await?;
    eventstore::verify_end(&looked, 10).await?;
    if looked.engine() == Engine::Postgres {
        eventstore::Snapshot::of(&looked).await?.share().await?;
    }
    let files = tempfile::tempdir()?;
    let compared =
        projections::compare_with_log(&looked, &files.path().join("scratch.db"), |_| ()).await?;
    ensure!(compared.differences.is_empty(), "{:?}", compared.differences);
    let path = files.path().join("export");
    let out = std::fs::File::create(&path)?;
    eventstore::export(&looked, &[projections::VERSION], out, |_| ()).await?;
    looked.close().await;
    let arrival = eventstore::Arrival::open(std::io::BufReader::new(std::fs::File::open(&path)?))?;
    let into = match &empty.place {
        Place::Folder(folder) => Database::open_sqlite(&folder.join("atrium.db")).await?,
        Place::Url(url) => Database::connect_postgres(url).await?,
    };
    let settled = arrival.settle(&into, &[projections::VERSION], |_| ()).await;
    into.close().await;
    settled?;
    Ok(())
}

/// Where a step of theirs fails, operators hear of it, and both databases are as they were: the same again
/// does what was wanted.
#[tokio::test(flavor = "multi_thread")]
async fn what_operators_do_may_fail_and_leaves_everything_as_it_was() -> Result<()> {
    let scenario = FailScenario::setup();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let trial = Trial::new(engine).await?;
        trial.process(Life::Whole).await?;
        let events = trial.events().await?;
        for point in OF_OPERATORS {
            let other = if engine == Engine::Sqlite { "postgres" } else { "sqlite" };
            let only_one = point.contains(other)
                || engine == Engine::Sqlite && point == "eventstore::snapshot::share";
            if only_one {
                continue;
            }
            let empty = TestDatabase::volatile(engine).await?;
            fail::cfg(point, "1*return").map_err(|error| anyhow!(error))?;
            let failed = operate(&trial.place, &empty).await;
            fail::remove(point);
            ensure!(failed.is_err(), "{engine:?}: nothing comes to {point}");
            ensure!(trial.events().await? == events, "{engine:?}, {point}: the log has changed");
            operate(&trial.place, &empty).await.with_context(|| format!("{engine:?}, {point}"))?;
            laws::check(&empty.open().await?).await.with_context(|| point.to_owned())?;
        }
        laws::check(&trial.place.open().await?).await?;
    }
    scenario.teardown();
    Ok(())
}

/// What a query answers, and the statements that it costs.
async fn statements_of(app: &TestApp, query: &str) -> Result<(usize, Value)> {
    let statements = Arc::new(AtomicUsize::new(0));
    // Those of reading; the follower of other processes asks for something now and then, too.
    let reading =
        |point: &String| point.starts_with("projections::") || point == "eventstore::streams";
    let points: Vec<_> = failpoints().into_iter().map(|(name, _)| name).filter(reading).collect();
    for point in &points {
        let statements = statements.clone();
        let count = move || {
            statements.fetch_add(1, Ordering::SeqCst);
        };
        fail::cfg_callback(point, count).map_err(|error| anyhow!(error))?;
    }
    let answer = app.post("/graphql", json!({ "query": query })).await?;
    points.iter().for_each(fail::remove);
    Ok((statements.load(Ordering::SeqCst), answer))
}

/// Statements that a page of so many subscriptions with their properties costs.
async fn statements_of_page(app: &TestApp, holders: usize) -> Result<usize> {
    let query = format!(
        "{{ subscriptions(first: {holders}) {{ nodes {{ customer {{ name }} effectiveProperties {{ \
         key value set {{ origin organization {{ name }} }} losers {{ value without }} }} }} }} }}"
    );
    let (statements, answer) = statements_of(app, &query).await?;
    let shown = answer["data"]["subscriptions"]["nodes"].as_array().context("a page")?;
    ensure!(shown.len() == holders, "{} of {holders} holders", shown.len());
    for subscription in shown {
        let properties = subscription["effectiveProperties"].as_array().context("properties")?;
        let storage = properties.iter().find(|property| property["key"] == "Storage");
        let storage = storage.context("one of them")?;
        let (value, losers) = (&storage["value"], storage["losers"].as_array().map(Vec::len));
        ensure!(value == "3 TB" && losers == Some(2), "{storage}");
    }
    Ok(statements)
}

/// Statements that a page of so many overrides in force costs.
async fn statements_of_report(app: &TestApp, overrides: usize) -> Result<usize> {
    let query = format!(
        "{{ overridesInForce(first: {overrides}) {{ nodes {{ subscriptionCount without override {{ \
         organization {{ name }} service {{ key }} }} }} }} }}"
    );
    let (statements, answer) = statements_of(app, &query).await?;
    let shown = answer["data"]["overridesInForce"]["nodes"].as_array().context("a page")?;
    ensure!(shown.len() == overrides, "{} of {overrides}: {answer}", shown.len());
    let felt = shown.iter().filter(|it| it["subscriptionCount"] == 1).count();
    ensure!(felt * 2 == overrides, "each customer's is felt, his seller's is not: {shown:?}");
    Ok(statements)
}

/// A failpoint stands before every statement, so these can be counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_properties_costs_as_many_statements_however_many_holders_it_has() -> Result<()> {
    let scenario = FailScenario::setup();
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let app = TestApp::new(engine, "2019-11-10T09:00:00Z").await?;
        app.publish("backup").await?;
        let set = async |organization: &str, value: &str| {
            let path = format!("/api/v2/organizations/{organization}/overrides/backup");
            app.put(&path, json!({ "property": "Storage", "value": value, "reason": "agreed" }))
                .await
        };
        for number in 0..20 {
            let seller = app.reseller(&format!("Seller {number}")).await?;
            let customer = app.customer(&format!("Customer {number}"), Some(&seller)).await?;
            set(&seller, "2 TB").await?;
            set(&customer, "3 TB").await?;
            let wish = json!({ "service": "backup", "plan": "BU001" });
            app.post(&format!("/api/v2/customers/{customer}/subscriptions"), wish).await?;
        }
        // The server itself asks now and then, whether others have written: the least of some pages is a page's own.
        let (mut few, mut many) = (usize::MAX, usize::MAX);
        let mut report = (usize::MAX, usize::MAX);
        for _ in 0..5 {
            few = few.min(statements_of_page(&app, 2).await?);
            many = many.min(statements_of_page(&app, 20).await?);
            report.0 = report.0.min(statements_of_report(&app, 2).await?);
            report.1 = report.1.min(statements_of_report(&app, 40).await?);
        }
        ensure!(few > 1 && few == many, "{engine:?}: {few} for two holders, {many} for twenty");
        let (few, many) = report;
        ensure!(few > 1 && few == many, "{engine:?}: {few} for two overrides, {many} for forty");
        app.finish().await?;
    }
    scenario.teardown();
    Ok(())
}

/// A process must not look as if it served when it cannot write any more: it says that it is not ready, and
/// ends, so that whoever started it starts it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_writer_has_ended_is_not_ready_and_ends() -> Result<()> {
    let scenario = FailScenario::setup();
    hush_asked_panics();
    for (engine, point) in [
        (Engine::Sqlite, "commands::load"),
        (Engine::Postgres, "commands::load"),
        (Engine::Sqlite, FOLLOWING),
    ] {
        let trial = Trial::new(engine).await?;
        let settings = Settings::load(&trial.arguments()?)?;
        let database = open_database(&settings, |_| ()).await?;
        let keys = Keys::derive(&master_key(&settings, &database).await?);
        let start = Installation::start(database.clone(), keys, trial.ambient.clone(), None);
        let installation = start.await?;
        let app = installation.app.clone();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let served = tokio::spawn(installation.serve(listener, std::future::pending()));
        fail::cfg(point, "1*panic").map_err(|error| anyhow!(error))?;
        if point == FOLLOWING {
            // Only another process's events are looked for, from when the follower began.
            let (other, thread) = another_writer(&database, vault_of(&app), &trial.ambient).await?;
            let made = other.submit(keyed("provider", install())).await;
            let made = made.map_err(|error| anyhow!("{error:?}"))?;
            let provider = text(&serde_json::from_str(made.reply.body.get())?, "organizationId");
            let mut number = 0;
            while !app.is_stopping() {
                number += 1;
                let wish = found(Kind::Customer, &provider, &format!("c{number}"));
                let done = other.submit(keyed(&number.to_string(), wish)).await;
                done.map_err(|error| anyhow!("{error:?}"))?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            drop(other);
            ended(thread).await?;
        } else {
            let answer = app.writer().submit(keyed("provider", install())).await;
            assert!(matches!(answer, Err(Error::OutcomeUnknown)), "{engine:?}: {answer:?}");
            let request = axum::http::Request::get("/readyz").body(axum::body::Body::empty())?;
            let ready = tower::ServiceExt::oneshot(api::server::service(app.clone()), request);
            assert_eq!(ready.await?.status(), 503, "{engine:?}: it is not ready");
        }
        drop(app);
        let ended = tokio::time::timeout(Duration::from_secs(PROCESS_SECONDS), served).await??;
        let error = ended.expect_err("it failed").to_string();
        assert!(error.contains("start Atrium again"), "{error}");
        // Started again, it goes on.
        fail::remove(point);
        trial.settle().await?;
    }
    scenario.teardown();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workbook_that_cannot_be_written_is_a_problem_and_the_next_one_is_there() -> Result<()> {
    hush_asked_panics();
    let scenario = FailScenario::setup();
    let app = TestApp::new(Engine::Sqlite, "2019-11-01T00:00:00Z").await?;
    let workbook = async || {
        let path = "/api/Billing/2019-11-30/detail.xlsx";
        let request = app.request(&app.token, reqwest::Method::GET, path);
        anyhow::Ok(request.send().await?.status().as_u16())
    };
    for fault in [Fault::Error, Fault::Panic, Fault::Delay] {
        fail::cfg(WORKBOOK, fault.action()).map_err(|error| anyhow!(error))?;
        let expected = match fault {
            Fault::Error => 503,
            Fault::Panic => 500,
            Fault::Delay => 200,
        };
        assert_eq!(workbook().await?, expected, "{fault:?}");
        assert_eq!(workbook().await?, 200, "{fault:?}: the next one");
    }
    scenario.teardown();
    app.finish().await
}

// What the sources say.

/// The sources of the crates that ask databases and files for anything.
fn sources() -> Vec<(PathBuf, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder");
    let mut open: Vec<_> = ["eventstore", "projections", "commands", "api"]
        .map(|name| top.join(name).join("src"))
        .into();
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !is_tool(&path) {
                let text = std::fs::read_to_string(&path).expect("a source is text");
                // Tests may fail as they like.
                let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                files.push((path.strip_prefix(top).expect("it is below").to_owned(), code));
            }
        }
    }
    files.sort();
    files
}

/// Whether a source is a command of the binary, which is tried from outside.
fn is_tool(path: &Path) -> bool {
    path.ends_with("api/src/tool.rs")
        || path.parent().is_some_and(|it| it.ends_with("api/src/tool"))
}

/// Every failpoint, and where it is.
fn failpoints() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            for name in line.split("failpoint(\"").skip(1).filter_map(|rest| rest.split('"').next())
            {
                found.push((name.to_owned(), format!("{}:{}", path.display(), number + 1)));
            }
        }
    }
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    found
}

/// Calls that can fail because of the database or the file system.
const FALLIBLE: [&str; 15] = [
    ".acquire(",
    ".begin().await",
    ".connect().await",
    ".connect_with(",
    ".execute(",
    ".fetch(",
    ".fetch_all(",
    ".fetch_one(",
    ".open(",
    ".rows(&",
    ".sync_all(",
    ".try_lock(",
    "fs::",
    "sqlx::migrate!",
    "File::open(",
];

/// Lines that look like one and are none.
fn is_no_call(line: &str) -> bool {
    // GraphQL executes, too.
    line.trim_start().starts_with("//")
        || line.trim_start().starts_with("use ")
        || line.contains("schema_for(")
        // One name for the two that have failpoints.
        || line.trim() == "self.fetch(sql, values).await"
}

#[test]
fn every_function_that_asks_a_database_or_a_file_has_a_failpoint() {
    let mut without = Vec::new();
    let (mut calls, mut functions) = (0, 0);
    for (path, text) in sources() {
        let lines: Vec<_> = text.lines().collect();
        let mut at = 0;
        while at < lines.len() {
            let line = lines[at];
            let indent = line.len() - line.trim_start().len();
            let is_function = line.trim_start().split('(').next().is_some_and(|head| {
                head.split_whitespace().any(|word| word == "fn") && !head.contains("//")
            });
            if !is_function {
                at += 1;
                continue;
            }
            // rustfmt has the closing brace of a function under its first letter.
            let end = lines[at..].iter().position(|line| {
                line.trim_end().ends_with('}') && line.len() - line.trim_start().len() == indent
                    || line.trim_end().ends_with(';')
                        && line.len() - line.trim_start().len() == indent
            });
            let end = at + end.unwrap_or(0);
            let body = &lines[at..=end];
            let asking: Vec<_> = body
                .iter()
                .enumerate()
                .filter(|(_, line)| {
                    !is_no_call(line) && FALLIBLE.iter().any(|call| line.contains(call))
                })
                .collect();
            if !asking.is_empty() {
                functions += 1;
                calls += asking.len();
                if !body.iter().any(|line| line.contains("failpoint(\"")) {
                    let (number, call) = asking[0];
                    without.push(format!(
                        "{}:{}: {}",
                        path.display(),
                        at + number + 1,
                        call.trim()
                    ));
                }
            }
            at = end + 1;
        }
    }
    assert!(calls > 40 && functions > 30, "only {calls} calls were found in {functions} functions");
    assert!(
        without.is_empty(),
        "A function that asks the database or the file system for something has a failpoint of its own before \
         that, so that the sweep can have it fail:\n\n    failpoint(\"crate::module::step\")?;\n\n\
         (see docs/adr/0013-failpoints-and-planted-bugs.md). These have none:\n{}",
        without.join("\n")
    );
}

#[test]
fn every_failpoint_has_one_name_and_that_tells_its_crate() {
    let names: Vec<_> = failpoints().into_iter().collect();
    assert!(names.len() > 40, "{names:?}");
    for (name, place) in names {
        let place = place.split('/').next().unwrap_or_default();
        assert_eq!(name.split("::").next(), Some(place), "{name}");
    }
}
