//! Benchmarks: how fast Atrium is here, beside the raw limit of the database in the same run
//! (promises.md, section 4).
#![expect(clippy::float_arithmetic, reason = "rates and ratios, nothing near money")]

mod append;
mod close;
mod facts;
mod growth;
mod machine;
mod properties;
mod rebuild;
mod report;
mod served;
mod several;
mod space;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use commands::{Caller, Command};
use domain::organization::Kind;
use eventstore::Engine;
use projections::finder;
use projections::views::PROVIDER_KEY;
use serde::Serialize;
use serde_json::{Value, json};

use crate::world::{World, body};

pub use append::append;
pub use close::{close, record};
pub use facts::facts;
pub use growth::growth;
pub use machine::look_into;
pub use properties::properties;
pub use rebuild::rebuild;
pub use report::{About, keep, report};
pub use served::served;
pub use several::several;
pub use space::space;

/// One measured number, as `--json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: &'static str,
    /// `sqlite` or `postgres`.
    pub database: &'static str,
    /// Commands that were asked at the same time; none where nothing was asked.
    pub in_flight: Option<usize>,
    /// The number.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// What the database does by itself, in the same unit.
    pub raw: Option<f64>,
    /// `value` by `raw`.
    pub ratio: Option<f64>,
    /// Half of the answers came within.
    pub p50_ms: Option<f64>,
    /// All but one in a hundred answers came within.
    pub p99_ms: Option<f64>,
    /// Most memory that the process ever held while it was measured.
    pub peak_mib: Option<u64>,
    /// How much there was: events in the log, rows of the bill.
    pub size: Option<usize>,
}

impl Figure {
    fn new(name: &'static str, engine: Engine, value: f64, unit: &'static str) -> Self {
        Self {
            name,
            database: match engine {
                Engine::Sqlite => "sqlite",
                Engine::Postgres => "postgres",
            },
            in_flight: None,
            value,
            unit,
            raw: None,
            ratio: None,
            p50_ms: None,
            p99_ms: None,
            peak_mib: None,
            size: None,
        }
    }

    fn beside(self, raw: f64) -> Self {
        Self { raw: Some(raw), ratio: Some(self.value / raw), ..self }
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Customers that the commands in process are spread over.
    pub customers: usize,
    /// Customers of the server that is asked over HTTP.
    pub population: usize,
    /// Commands of one measurement with 256 and more in flight; fewer with fewer.
    pub commands: usize,
    /// Measurements, of which the median is told.
    pub runs: usize,
    /// Entries of the period that is closed.
    pub entries: usize,
    /// Events in the log that is rebuilt.
    pub events: usize,
    /// Events in the logs that are compared with each other.
    pub growth: [usize; 3],
}

/// Per second.
fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// The value in the middle.
fn median<T: Clone>(mut values: Vec<T>, key: impl Fn(&T) -> f64) -> T {
    values.sort_by(|a, b| key(a).total_cmp(&key(b)));
    values[values.len() / 2].clone()
}

/// What is under load: a published service and customers to provision it to.
struct Subject {
    world: World,
    customers: Vec<String>,
    /// Numbers the instances, so that every provisioning is a new one.
    provisioned: AtomicUsize,
}

/// Customers that are created at the same time; each group a second later than the one before it.
const GROUP: usize = 50;

impl Subject {
    async fn new(engine: Engine, customers: usize) -> Result<Arc<Self>> {
        Self::of(World::new(engine).await?, customers).await
    }

    /// In a world that has a provider and nothing else.
    async fn of(world: World, customers: usize) -> Result<Arc<Self>> {
        let definition = include_str!("../../services/crm/definition.json");
        let draft = body(serde_json::from_str(definition)?);
        world
            .system(Command::DraftService { key: "crm".into(), body: draft, if_match: None })
            .await?;
        world
            .system(Command::PublishService {
                key: "crm".into(),
                body: body(json!({ "rollOut": true })),
            })
            .await?;
        let provider = finder::find_name(&world.database, PROVIDER_KEY)
            .await?
            .context("the world has a provider")?
            .owner;
        let mut subject =
            Self { world, customers: Vec::with_capacity(customers), provisioned: 0.into() };
        let mut second = chrono::DateTime::parse_from_rfc3339("2019-02-01T00:00:00Z")?;
        while subject.customers.len() < customers {
            second += chrono::TimeDelta::seconds(1);
            subject.world.ambient.set(&second.to_rfc3339());
            let first = subject.customers.len();
            let group = (first..customers.min(first + GROUP)).map(|number| {
                subject.world.system(Command::CreateOrganization {
                    kind: Kind::Customer,
                    body: body(json!({
                        "name": format!("Customer {number}"),
                        "parentId": provider.to_string(),
                        "code": format!("C{number}"),
                    })),
                })
            });
            for created in futures_util::future::try_join_all(group).await? {
                let id = created["id"].as_str().context("a created customer has an id")?;
                subject.customers.push(id.to_owned());
            }
        }
        Ok(Arc::new(subject))
    }

    /// One command of the load: a new instance for the next customer.
    async fn provision(&self) -> Result<()> {
        let number = self.provisioned.fetch_add(1, Ordering::Relaxed);
        let command = Command::ProvisionToCustomer {
            customer: self.customers[number % self.customers.len()].clone(),
            body: body(json!({
                "service": "crm",
                "plan": "team",
                "instance": format!("instance {number}"),
            })),
        };
        self.world.submit(Caller::SYSTEM, command).await?;
        Ok(())
    }

    /// Has `in_flight` clients provision, each one after another; gives the time of every answer.
    async fn load(
        self: &Arc<Self>,
        in_flight: usize,
        commands: usize,
    ) -> Result<(Duration, Vec<Duration>)> {
        closed_loop(in_flight, commands, |_, left| {
            let subject = self.clone();
            async move {
                let mut times = Vec::new();
                while left.take() {
                    let asked = Instant::now();
                    subject.provision().await?;
                    times.push(asked.elapsed());
                }
                Ok(times)
            }
        })
        .await
    }
}

/// The slot that was made or changed; of what is no slot, what was made.
fn made_id(made: &Value) -> Result<String> {
    let id = made["subscriptionId"].as_str().or(made["id"].as_str());
    Ok(id.context("what was made has an id")?.to_owned())
}

/// What the clients of a closed loop have left to ask together. Clones share it.
#[derive(Clone)]
struct Left(Arc<AtomicUsize>);

impl Left {
    /// Whether there is one more, which is the caller's then.
    fn take(&self) -> bool {
        let next = |left: usize| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// Has clients, which know their number, ask `count` times together, each one question after another. They give the
/// times that their answers took; gives how long all of it took, and all of those, sorted.
async fn closed_loop<F>(
    clients: usize,
    count: usize,
    client: impl Fn(usize, Left) -> F,
) -> Result<(Duration, Vec<Duration>)>
where
    F: Future<Output = Result<Vec<Duration>>> + Send + 'static,
{
    let left = Left(Arc::new(AtomicUsize::new(count)));
    let began = Instant::now();
    let asking: Vec<_> =
        (0..clients).map(|number| tokio::spawn(client(number, left.clone()))).collect();
    let mut times = Vec::with_capacity(count);
    for client in asking {
        times.extend(client.await??);
    }
    let took = began.elapsed();
    times.sort_unstable();
    Ok((took, times))
}

/// The answer that so many of a hundred came before, in milliseconds.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let place = (sorted.len() * percent / 100).min(sorted.len() - 1);
    sorted[place].as_secs_f64() * 1e3
}
