//! Readers that follow the log see every event, once, in order, whoever writes at the time.

use std::time::Duration;

use anyhow::{Result, ensure};
use atrium_tests::laws;
use atrium_tests::world::{TestDatabase, World};
use commands::Writer;
use domain::organization::Kind;
use domain::{OrganizationId, TenantPath};
use eventstore::{Database, Engine, Log};
use projections::finder::{self, End, EventQuery, Scope};
use rand::Rng;

use super::setting::{BOTH, another_writer, at_once, create, events, id, provider, rename, system};

const SUBMITTERS: u64 = 32;
const EACH: u64 = 40;
const READERS: usize = 4;

/// Follows the log to its end, in pages of any size.
async fn follow(database: Database, from: u64, to: u64) -> Result<()> {
    let log = Log::new(database);
    let mut position = from;
    while position < to {
        let limit = rand::rng().random_range(1..200);
        for stored in log.read(position, u64::MAX, limit).await? {
            ensure!(stored.position == position + 1, "after {position} came {}", stored.position);
            stored.decode()?;
            position = stored.position;
        }
        pause(2_000).await;
    }
    ensure!(log.read(position, u64::MAX, 10).await?.is_empty(), "there is more than was written");
    Ok(())
}

async fn pause(micros_max: u64) {
    let micros = rand::rng().random_range(0..micros_max);
    tokio::time::sleep(Duration::from_micros(micros)).await;
}

async fn submit(writer: Writer, provider: String, submitter: u64) -> Result<()> {
    for n in 0..EACH {
        pause(8_000).await;
        let wish = create(Kind::Customer, &provider, &format!("c{submitter} {n}"));
        writer.submit(system(wish)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_never_skips_an_event() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        let provider = provider(&world).await?;
        let (other, another) = another_writer(&world).await?;
        let begin = events(&world.database).await?;
        let end = begin + SUBMITTERS * EACH;
        let readers: Vec<_> = (0..READERS)
            .map(|n| {
                let database = if n % 2 == 0 { &world.database } else { &other };
                tokio::spawn(follow(database.clone(), begin, end))
            })
            .collect();
        let submitters: Vec<_> = (0..SUBMITTERS)
            .map(|n| {
                let writer = if n % 2 == 0 { &world.writer } else { &another };
                tokio::spawn(submit(writer.clone(), provider.clone(), n))
            })
            .collect();
        for submitter in submitters {
            submitter.await??;
        }
        for reader in readers {
            tokio::time::timeout(Duration::from_secs(30), reader).await???;
        }
        assert_eq!(events(&world.database).await?, end);
        laws::check(&world.database).await?;
    }
    Ok(())
}

/// What the writer announces can be read, and what is answered has been announced.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_announced_is_there() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        let provider = provider(&world).await?;
        let log = Log::new(world.database.clone());
        let mut announced = world.writer.position();
        let follower = {
            let log = log.clone();
            let mut announced = world.writer.position();
            tokio::spawn(async move {
                let mut seen = 0;
                while announced.changed().await.is_ok() {
                    let position = *announced.borrow_and_update();
                    ensure!(position >= seen, "{position} was announced after {seen}");
                    ensure!(log.head().await?.position >= position, "{position} is not there yet");
                    let last = log.read(position - 1, position, 1).await?;
                    ensure!(last.len() == 1, "{position} cannot be read yet");
                    seen = position;
                }
                Ok(())
            })
        };
        for n in 0..100 {
            let wish = create(Kind::Customer, &provider, &format!("c{n}"));
            world.writer.submit(system(wish)).await?;
            assert_eq!(*announced.borrow_and_update(), log.head().await?.position);
        }
        laws::check(&world.database).await?;
        drop(world);
        follower.await??;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_by_tenant_and_by_time() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        let provider = provider(&world).await?;
        let log = Log::new(world.database.clone());
        world.ambient.set("2019-02-01T00:00:00Z");
        let east = world.system(create(Kind::Reseller, &provider, "East")).await?;
        let west = world.system(create(Kind::Reseller, &provider, "West")).await?;
        world.ambient.set("2019-03-01T00:00:00Z");
        let zoo = world.system(create(Kind::Customer, &id(&east), "Zoo")).await?;
        let wishes = (0..7).map(|n| system(rename(&id(&zoo), &format!("Zoo {n}"))));
        for answer in at_once(&world.writer, wishes).await {
            answer?;
        }
        let number = |it: &serde_json::Value| it["number"].as_u64().unwrap() as u32;
        let east_path = TenantPath::provider().child(number(&east));
        let west_path = TenantPath::provider().child(number(&west));
        let below = log.below(&east_path, &[], (0, u64::MAX), 100).await?;
        assert_eq!(below.len(), 1 + 1 + 7);
        for stored in &below {
            assert!(east_path.contains(&stored.decode()?.path));
        }
        let page = log.below(&east_path, &[], (below[1].position, below[4].position), 2).await?;
        assert_eq!(page, below[2..4]);
        assert_eq!(log.below(&west_path, &[], (0, u64::MAX), 100).await?.len(), 1);

        let stream = format!("organization-{}", id(&zoo).parse::<OrganizationId>()?);
        let own = eventstore::streams(&mut &world.database, vec![stream]).await?;
        assert_eq!(
            own.iter().map(|it| it.version).collect::<Vec<_>>(),
            (1..=8).collect::<Vec<_>>()
        );

        let at = |time: &str| time.parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        let before = |time: &str| at(time).timestamp_micros();
        let first_in_march = own[0].position;
        let known = async |time| log.position_at(before(time)).await;
        assert_eq!(known("2018-12-31T00:00:00Z").await?, 0);
        assert_eq!(known("2019-02-01T00:00:00Z").await?, first_in_march - 1);
        assert_eq!(known("2019-02-28T23:59:59Z").await?, first_in_march - 1);
        assert_eq!(known("2019-03-01T00:00:00Z").await?, first_in_march + 7);
        assert_eq!(known("2030-01-01T00:00:00Z").await?, first_in_march + 7);
        laws::check(&world.database).await?;
    }
    Ok(())
}

/// Pages of any size, from either end, of all kinds or of some: together they are the log.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_events_leave_nothing_out_and_repeat_nothing() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        let provider = provider(&world).await?;
        for n in 0..6 {
            world.system(create(Kind::Customer, &provider, &format!("c{n}"))).await?;
        }
        let (database, scope) = (&world.database, Scope::catalogue());
        let head = events(database).await?;
        for kinds in [vec![], vec!["organization.created"], vec!["user.created", "no.kind"]] {
            let kinds: Vec<_> = kinds.into_iter().map(str::to_owned).collect();
            let query = EventQuery { kinds: kinds.clone(), limit: 500, ..EventQuery::default() };
            let all = finder::list_events(database, &scope, &query).await?;
            let all: Vec<_> = all.items.iter().map(|event| event.position).collect();
            ensure!(all.len() == head as usize || !kinds.is_empty(), "{all:?}");
            for after in [0, 1, 2, 3] {
                let behind = all.iter().filter(|position| **position > after).count() as u64;
                assert_eq!(finder::count_events(database, &scope, &kinds, after).await?, behind);
            }
            for limit in [1, 2, 3, 7] {
                for end in [End::First, End::Last] {
                    let mut found = Vec::new();
                    let mut query =
                        EventQuery { kinds: kinds.clone(), limit, end, ..query.clone() };
                    loop {
                        let page = finder::list_events(database, &scope, &query).await?;
                        let positions: Vec<_> = page.items.iter().map(|it| it.position).collect();
                        match end {
                            End::First => {
                                found.extend(&positions);
                                query.after = positions.last().copied();
                            }
                            End::Last => {
                                found.splice(0..0, positions.iter().copied());
                                query.before = positions.first().copied();
                            }
                        }
                        if !page.more {
                            break;
                        }
                        ensure!(found.len() < all.len(), "{end:?} by {limit}: {found:?}");
                    }
                    assert_eq!(found, all, "{engine:?}: {kinds:?} by {limit} from {end:?}");
                }
            }
        }
    }
    Ok(())
}

/// PostgreSQL has no statistics of a table that was filled a moment ago, and takes a few hundred streams for most of it: told
/// to sort them, it would read the whole log in its order instead.
#[tokio::test(flavor = "multi_thread")]
async fn streams_are_found_by_their_names_in_a_log_that_was_never_analysed() -> Result<()> {
    let place = TestDatabase::new(Engine::Postgres).await?;
    let database = place.open().await?;
    let mut connection = database.batch_connection().await?;
    connection.execute("alter table event set (autovacuum_enabled = false)", &[]).await?;
    let fill = "insert into event (position, stream, version, path, body, hash) \
                select n, 'filled-' || n, 1, '/1/', '', '' from generate_series(1, 20000) as n";
    connection.execute(fill, &[]).await?;
    let names: Vec<_> = (0..256).map(|n| format!("none-{n}")).collect();
    ensure!(
        eventstore::streams(&mut connection, names).await?.is_empty(),
        "nothing has such a name"
    );
    connection.execute("select pg_stat_force_next_flush()", &[]).await?;
    let rows = connection
        .fetch(
            "select idx_tup_read from pg_stat_user_indexes where indexrelname = 'event_pkey'",
            &[],
        )
        .await?;
    assert_eq!(rows[0].int(0)?, 0, "rows of the log were read in its order");
    Ok(())
}

/// A gap is corruption: a reader stops and says so, and never goes on behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_stops_at_a_gap() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        let provider = provider(&world).await?;
        for n in 0..5 {
            world.system(create(Kind::Customer, &provider, &format!("c{n}"))).await?;
        }
        let mut forger = world.database.writer_connection().await?;
        super::protection::disarm(&mut forger).await?;
        forger.execute("delete from event where position = 6", &[]).await?;
        let log = Log::new(world.database.clone());
        assert_eq!(log.read(3, 5, 10).await?.len(), 2);
        for after in [3, 5] {
            let read = log.read(after, u64::MAX, 10).await;
            assert!(
                matches!(read, Err(eventstore::Error::Gap { expected: 6, found: 7 })),
                "{engine:?} after {after}: {read:?}"
            );
        }
    }
    Ok(())
}
