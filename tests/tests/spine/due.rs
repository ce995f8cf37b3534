//! What falls due is done once, however many processes look for it.

use anyhow::Result;
use atrium_tests::laws;
use atrium_tests::world::{World, body};
use commands::due::{self, Sort, Watch};
use commands::{Ambient, Command};
use domain::organization::Kind;
use eventstore::Engine;
use projections::views::OrganizationView;
use serde_json::json;

use super::setting::{BOTH, another_writer, create, events, id, provider, sell};

/// Customers are due as soon as they are there, and nothing that is done to them changes it; what is done is a new
/// fact each time. So only the keys keep it from being done again.
static CUSTOMERS: &[Sort] = &[Sort {
    name: "customer",
    after: chrono::TimeDelta::zero(),
    find: |database, question| {
        Box::pin(due::of_view::<OrganizationView>(database, "customer", question, |view| {
            let sent = json!({
                "service": "backup", "price": "9.00",
                "reason": if view.details.name == "refused" { "" } else { "it was due" },
            });
            let organization = view.id.to_string();
            Command::OverridePrice { organization, body: body(sent) }
        }))
    },
}];

/// Enough for more than one batch.
const CUSTOMERS_MADE: u64 = 230;

async fn customers(engine: Engine) -> Result<World> {
    let world = World::new(engine).await?;
    sell(&world, "backup", "customer").await?;
    let provider = provider(&world).await?;
    for n in 0..CUSTOMERS_MADE {
        world.system(create(Kind::Customer, &provider, &format!("c{n}"))).await?;
    }
    Ok(world)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_processes_find_due_at_the_same_time_is_done_once() -> Result<()> {
    for engine in BOTH {
        let world = customers(engine).await?;
        let (database, writer) = another_writer(&world).await?;
        let here = Watch::new(world.database.clone(), world.writer.clone(), CUSTOMERS);
        let there = Watch::new(database, writer, CUSTOMERS);
        let before = events(&world.database).await?;
        let now = world.ambient.now();
        let (first, second) = tokio::join!(here.look(now), there.look(now));
        let (first, second) = (first? as u64, second? as u64);
        assert_eq!(first + second, CUSTOMERS_MADE, "{engine:?}: {first} here, {second} there");
        assert_eq!(events(&world.database).await? - before, CUSTOMERS_MADE, "{engine:?}");
        assert_eq!(here.look(now).await? + there.look(now).await?, 0, "{engine:?}: done again");
        assert_eq!(events(&world.database).await? - before, CUSTOMERS_MADE, "{engine:?}");
        laws::check(&world.database).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_keeps_nothing_else_waiting_and_is_tried_again() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        sell(&world, "backup", "customer").await?;
        let provider = provider(&world).await?;
        let refused = world.system(create(Kind::Customer, &provider, "refused")).await?;
        world.system(create(Kind::Customer, &provider, "Zoo")).await?;
        let watch = Watch::new(world.database.clone(), world.writer.clone(), CUSTOMERS);
        let now = world.ambient.now();
        assert_eq!(watch.look(now).await?, 1, "{engine:?}: only one of the two is granted");
        assert_eq!(watch.look(now).await?, 0, "{engine:?}: it is refused again");
        world.system(super::setting::rename(&id(&refused), "Ark")).await?;
        assert_eq!(watch.look(now).await?, 1, "{engine:?}: it is granted now");
        laws::check(&world.database).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_of_the_clock_is_looked_after_at_once() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        let watch = Watch::new(world.database.clone(), world.writer.clone(), CUSTOMERS);
        let done_until = tokio::sync::watch::Sender::new(chrono::DateTime::UNIX_EPOCH);
        let mut heard = done_until.subscribe();
        // It would not look again by itself while this test runs.
        let hour = std::time::Duration::from_secs(3_600);
        let looking = tokio::spawn(watch.run(hour, done_until));
        let start = world.ambient.now();
        heard.wait_for(|until| *until >= start).await?;
        sell(&world, "backup", "customer").await?;
        let provider = provider(&world).await?;
        world.system(create(Kind::Customer, &provider, "Zoo")).await?;
        let before = events(&world.database).await?;
        world.ambient.set("2019-01-02T00:00:00Z");
        let now = world.ambient.now();
        heard.wait_for(|until| *until >= now).await?;
        assert_eq!(events(&world.database).await? - before, 1, "{engine:?}");
        looking.abort();
        let _ = looking.await;
        laws::check(&world.database).await?;
    }
    Ok(())
}
