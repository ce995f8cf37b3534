//! What things cost while the history grows, and how soon a server with a long one is ready after a kill.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use commands::{Command, Writer, WriterSettings};
use domain::organization::Kind;
use eventstore::{Database, Engine, Log};
use projections::finder::{self, LIST_MAX, Query, Scope};
use projections::views::{OrganizationView, PROVIDER_KEY, SubscriptionView};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use serde_json::json;

use super::served::{Asked, populate};
use super::{Figure, Size, Subject, machine, median, percentile, rate};
use crate::witness::server::Program;
use crate::world::{Place, TestAmbient, TestDatabase, World, body, vault};

/// Events that `atrium seed` makes for each customer in twelve months, about.
const EVENTS_PER_CUSTOMER: usize = 90;
/// Customers that commands are spread over, at most.
const SPREAD_MAX: usize = 50_000;
/// Commands that are under way at a time.
const IN_FLIGHT: usize = 256;
/// Customers whose page is asked for, first by their names.
const SHOWN: usize = 20;
/// Subscriptions of each of them.
const SHOWN_EACH: usize = 5;
/// Slots that are loaded, one after another.
const SLOTS: usize = 2_000;
/// How long a server is under load before it is killed.
const LOADED: Duration = Duration::from_secs(2);

/// For each size of the history: commands in process, one slot's stream, commands and pages over HTTP, and
/// the start after a kill under load. Each history is a population of its own, made by `atrium seed`
/// through the ordinary commands; twenty customers with the same few subscriptions are added, so that a
/// page shows as much whatever the size. Populations for SQLite that lie in the folder `made`, each in a folder
/// that is called as many as its events are, are taken from there.
///
/// # Errors
/// What the database says, and where the server does not do as it should.
pub async fn growth(
    engine: Engine,
    size: Size,
    made: Option<&Path>,
    tell: &mut impl FnMut(Figure),
) -> Result<()> {
    for events in size.growth {
        let made = made.map(|folder| folder.join(events.to_string())).filter(|it| it.is_dir());
        let made = made.filter(|_| engine == Engine::Sqlite);
        let database = match &made {
            Some(folder) => TestDatabase::at(Place::Folder(folder.clone())),
            None => TestDatabase::new(engine).await?,
        };
        let folder = tempfile::Builder::new().prefix("atrium-bench-").tempdir()?;
        let binary = std::env::current_exe()?.with_file_name("atrium");
        ensure!(
            binary.exists(),
            "{} is not there: build it, as scripts/bench does",
            binary.display()
        );
        let place = database.place.clone();
        let program = Program::new(binary, place, folder.path().to_owned());
        let events = if made.is_some() {
            length(&database).await?
        } else {
            let began = Instant::now();
            let events = populate(&program, events.div_ceil(EVENTS_PER_CUSTOMER))?;
            let seed = Figure::new("seed", engine, rate(events, began.elapsed()), "events/s");
            tell(Figure { size: Some(events), ..seed });
            events
        };

        let (customers, database) = in_process(engine, size, database, events, tell).await?;
        served(engine, size, &program, customers, events, tell).await?;
        drop(database); // it is large
    }
    Ok(())
}

/// Events in the log.
async fn length(place: &TestDatabase) -> Result<usize> {
    let database = match &place.place {
        Place::Folder(folder) => Database::look_sqlite(&folder.join("atrium.db")).await?,
        Place::Url(url) => Database::look_postgres(url).await?,
    };
    let head = Log::new(database.clone()).head().await?;
    database.close().await;
    Ok(usize::try_from(head.position)?)
}

/// Commands and slots, without HTTP; gives the customers that they were spread over.
async fn in_process(
    engine: Engine,
    size: Size,
    place: TestDatabase,
    events: usize,
    tell: &mut impl FnMut(Figure),
) -> Result<(Vec<String>, TestDatabase)> {
    let database = place.open().await?;
    let mut customers = customers(&database).await?;
    customers.shuffle(&mut rand::rngs::StdRng::seed_from_u64(1));
    let ambient = TestAmbient::at("2026-01-01T00:00:00Z");
    let (writer, thread) = Writer::start(
        database.clone(),
        vault(),
        ambient.clone(),
        WriterSettings::default(),
        Box::new(|_| ()),
    )
    .await?;
    let world = World { database, ambient, writer, place };
    show(&world).await?;
    let subject = Arc::new(Subject { world, customers, provisioned: 0.into() });

    let mut runs = Vec::new();
    for _ in 0..size.runs {
        machine::forget_peak();
        let (took, times) = subject.load(IN_FLIGHT, size.commands).await?;
        runs.push(Figure {
            in_flight: Some(IN_FLIGHT),
            p50_ms: Some(percentile(&times, 50)),
            p99_ms: Some(percentile(&times, 99)),
            peak_mib: machine::peak_mib(),
            size: Some(events),
            ..Figure::new("commands", engine, rate(size.commands, took), "commands/s")
        });
    }
    tell(median(runs, |figure| figure.value));
    tell(slots(engine, &subject, events).await?);

    let subject = Arc::into_inner(subject).context("every client has ended")?;
    let World { database, writer, place, .. } = subject.world;
    drop(writer);
    let ended = tokio::task::spawn_blocking(move || thread.join()).await?;
    ended.ok().context("the writer ends")?;
    database.close().await;
    Ok((subject.customers, place))
}

/// Loads the streams of slots all over the log, as the writer does before it decides about one.
async fn slots(engine: Engine, subject: &Subject, events: usize) -> Result<Figure> {
    let database = &subject.world.database;
    let mut ids = Vec::with_capacity(SLOTS);
    for owners in subject.customers.chunks(LIST_MAX) {
        let query = Query { limit: SHOWN_EACH, ..Query::default() };
        let scope = Scope::catalogue();
        let owners = owners.iter().cloned().collect();
        let pages =
            finder::list_of_owners::<SubscriptionView>(database, &scope, owners, &query).await?;
        let views = pages.into_values().flat_map(|page| page.items);
        ids.extend(views.map(|(_, view)| view.stream()));
        if ids.len() >= SLOTS {
            break;
        }
    }
    ensure!(!ids.is_empty(), "there are slots");
    let mut times = Vec::with_capacity(SLOTS);
    let began = Instant::now();
    for stream in ids.iter().cycle().take(SLOTS) {
        let asked = Instant::now();
        let mut source = database;
        let loaded = eventstore::streams(&mut source, vec![stream.clone()]).await?;
        ensure!(!loaded.is_empty(), "{stream} has events");
        times.push(asked.elapsed());
    }
    let took = began.elapsed();
    times.sort_unstable();
    Ok(Figure {
        in_flight: Some(1),
        p50_ms: Some(percentile(&times, 50)),
        p99_ms: Some(percentile(&times, 99)),
        size: Some(events),
        ..Figure::new("slot", engine, rate(SLOTS, took), "loads/s")
    })
}

/// The ids of the customers, up to a number.
async fn customers(database: &Database) -> Result<Vec<String>> {
    let kind = Some(Kind::Customer.name().to_owned());
    let mut query = Query { kind, limit: LIST_MAX, ..Query::default() };
    let mut ids = Vec::new();
    loop {
        let page = finder::list::<OrganizationView>(database, &Scope::catalogue(), &query).await?;
        query.after = page.items.last().map(|(cursor, _)| cursor.clone());
        ids.extend(page.items.into_iter().map(|(cursor, _)| cursor.key));
        if !page.more || ids.len() >= SPREAD_MAX {
            return Ok(ids);
        }
    }
}

/// Founds the customers whose page is asked for.
async fn show(world: &World) -> Result<()> {
    let provider = finder::find_name(&world.database, PROVIDER_KEY).await?;
    let provider = provider.context("the population has a provider")?.owner;
    for number in 1..=SHOWN {
        let founded = world.system(Command::CreateOrganization {
            kind: Kind::Customer,
            body: body(json!({
                "name": format!("00 Shown {number}"),
                "parentId": provider.to_string(),
                "code": format!("SHOWN{number}"),
            })),
        });
        let founded = founded.await?;
        let customer = founded["id"].as_str().context("a customer has an id")?;
        for instance in 1..=SHOWN_EACH {
            world
                .system(Command::ProvisionToCustomer {
                    customer: customer.to_owned(),
                    body: body(json!({
                        "service": "crm",
                        "plan": "team",
                        "instance": format!("instance {instance}"),
                    })),
                })
                .await?;
        }
    }
    Ok(())
}

/// Commands and pages over HTTP, then a kill under load and the start after it.
async fn served(
    engine: Engine,
    size: Size,
    program: &Program,
    customers: Vec<String>,
    events: usize,
    tell: &mut impl FnMut(Figure),
) -> Result<()> {
    let server = program.start().await?;
    let asked = Asked { server, engine, size, events: Some(events) };
    asked.pages(tell).await?;
    asked.commands(customers.clone(), tell).await?;
    let mut starts = Vec::new();
    let Asked { mut server, .. } = asked;
    for _ in 0..size.runs {
        let asked = Asked { server, engine, size, events: Some(events) };
        asked.keep_busy(customers.clone());
        tokio::time::sleep(LOADED).await;
        asked.server.kill();
        server = program.start().await?;
        starts.push(server.started_in.as_secs_f64() * 1e3);
    }
    let start = Figure::new("start", engine, median(starts, |it| *it), "ms, after a kill");
    tell(Figure { size: Some(events), ..start });
    server.stop().await
}
