//! Several processes on one database: each has a writer of its own, and none has a leader.

use std::collections::BTreeSet;

use anyhow::Result;
use atrium_tests::laws;
use atrium_tests::world::{TestAmbient, TestDatabase, World, body};
use commands::{Caller, Command, Committed, Error, Submission, Writer};
use domain::UserId;
use domain::lifecycle::Transition;
use domain::organization::Kind;
use eventstore::{Database, Engine};
use futures_util::future::join_all;
use projections::finder::{self, Scope};
use projections::views::OrganizationView;
use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::json;

use super::setting::{
    BOTH, another_writer, at_once, create, create_user, events, id, keyed, provider, refused,
    rename, resource, sell, start, system,
};

/// A world with so many writers, each with its own connections.
async fn writers(engine: Engine, count: usize) -> Result<(World, Vec<Writer>)> {
    let world = World::new(engine).await?;
    let mut writers = vec![world.writer.clone()];
    while writers.len() < count {
        writers.push(another_writer(&world).await?.1);
    }
    Ok((world, writers))
}

async fn organization(database: &Database, id: &str) -> Result<OrganizationView> {
    let found = finder::find::<OrganizationView>(database, &Scope::catalogue(), id).await?;
    Ok(found.expect("it was founded").as_ref().clone())
}

fn provision(customer: &str, service: &str, quantity: u32) -> Command {
    let sent = json!({ "service": service, "plan": "basic", "quantity": quantity });
    Command::ProvisionToCustomer { customer: customer.to_owned(), body: body(sent) }
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_meet_in_the_same_streams_lose_nothing_and_do_nothing_twice() -> Result<()> {
    const ROUNDS: usize = 150;
    for (engine, count) in [(Engine::Postgres, 2), (Engine::Postgres, 3), (Engine::Sqlite, 2)] {
        let (world, writers) = writers(engine, count).await?;
        sell(&world, "backup", "customer").await?;
        let provider = provider(&world).await?;
        let mut customers = Vec::new();
        for n in 0..4 {
            let made = world.system(create(Kind::Customer, &provider, &format!("c{n}"))).await?;
            customers.push(id(&made));
        }
        let before = events(&world.database).await?;

        // Everybody adds users to the same customers, renames them, and takes the same logins,
        // codes and slots.
        let work: Vec<_> = (0..8)
            .map(|submitter: usize| {
                let writer = writers[submitter % count].clone();
                let customers = customers.clone();
                tokio::spawn(async move {
                    let mut done = Vec::new();
                    for n in 0..ROUNDS / 8 * 3 {
                        let customer = customers.choose(&mut rand::rng()).unwrap().clone();
                        let wish = match n % 4 {
                            0 => {
                                create_user(&customer, &format!("u{submitter}.{n}@x.example"), &[])
                            }
                            1 => create_user(&customer, &format!("shared{n}@x.example"), &[]),
                            2 => rename(&customer, &format!("by {submitter} at {n}")),
                            _ => provision(&customer, "backup", 1),
                        };
                        let answer = writer.submit(system(wish)).await;
                        done.push((n % 4, n, customer, answer));
                    }
                    done
                })
            })
            .collect();
        let (mut users, mut shared, mut provisioned) = (0_u64, BTreeSet::new(), BTreeSet::new());
        let mut renamed = 0;
        for submitter in work {
            for (what, n, customer, answer) in submitter.await? {
                let told = format!("{engine:?} x {count}: {answer:?}");
                match what {
                    0 => {
                        assert!(answer.is_ok(), "{told}");
                        users += 1;
                    }
                    1 if answer.is_ok() => {
                        assert!(shared.insert(n), "two users took one login: {told}");
                        users += 1;
                    }
                    1 => assert_eq!(refused(&answer), Some("name_taken"), "{told}"),
                    2 => {
                        assert!(answer.is_ok(), "{told}");
                        renamed += 1;
                    }
                    _ => {
                        assert!(answer.is_ok(), "{told}");
                        provisioned.insert(customer);
                    }
                }
            }
        }
        let mut added = 0;
        for customer in &customers {
            added += u64::from(organization(&world.database, customer).await?.users_added);
        }
        assert_eq!(added, users, "{engine:?} x {count}: users were lost or counted twice");
        // Three facts for each slot, however often it was asked for.
        let log = events(&world.database).await? - before;
        assert_eq!(log, users + renamed + 3 * provisioned.len() as u64, "{engine:?} x {count}");
        laws::check(&world.database).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_judged_on_what_others_have_just_written() -> Result<()> {
    for engine in BOTH {
        let (world, writers) = writers(engine, 2).await?;
        sell(&world, "backup", "customer").await?;
        let provider = provider(&world).await?;
        let zoo = id(&world.system(create(Kind::Customer, &provider, "Zoo")).await?);
        let roles = ["Provider Administrator"];
        let ann = world.system(create_user(&provider, "ann@example.com", &roles)).await?;
        let ann = id(&ann).parse::<UserId>()?;
        let because = || body(json!({}));
        for round in 0..10 {
            let (here, there) = (&writers[round % 2], &writers[(round + 1) % 2]);
            let as_ann =
                |command| Submission { caller: Caller::user(ann), command, idempotency: None };
            // Both know Ann, the customer and the slot.
            for writer in [here, there] {
                writer.submit(as_ann(rename(&zoo, &format!("Zoo {round}")))).await?;
            }
            let disable = Command::TransitionUser {
                step: Transition::Disable,
                id: ann.to_string(),
                body: because(),
            };
            here.submit(system(disable)).await?;
            let answer = there.submit(as_ann(rename(&zoo, "by nobody"))).await;
            assert!(matches!(answer, Err(Error::Unauthenticated)), "{engine:?}: {answer:?}");
            let enable = Command::TransitionUser {
                step: Transition::Enable,
                id: ann.to_string(),
                body: because(),
            };
            there.submit(system(enable)).await?;
            here.submit(as_ann(rename(&zoo, "by Ann"))).await?;

            // The customer is disabled here, and provisioning is refused there.
            let kind = Kind::Customer;
            let disable = Command::TransitionOrganization {
                step: Transition::Disable,
                id: zoo.clone(),
                kind,
                body: because(),
            };
            here.submit(system(disable)).await?;
            let answer = there.submit(as_ann(provision(&zoo, "backup", 1))).await;
            assert_eq!(refused(&answer), Some("organization_disabled"), "{engine:?}");
            let enable = Command::TransitionOrganization {
                step: Transition::Enable,
                id: zoo.clone(),
                kind,
                body: because(),
            };
            there.submit(system(enable)).await?;

            // What is provisioned here cannot be provisioned otherwise there.
            let made = here.submit(as_ann(provision(&zoo, "backup", 1))).await?;
            let answer = there.submit(as_ann(provision(&zoo, "backup", 2))).await;
            assert_eq!(refused(&answer), Some("already_provisioned"), "{engine:?}");
            let id = id(&resource(&made));
            let gone = Command::Deprovision { id, body: body(json!({})) };
            there.submit(as_ann(gone)).await?;
            world.ambient.set(&format!("2019-02-{:02}T00:00:00Z", round + 1));
        }
        laws::check(&world.database).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_effect_whichever_writer_is_asked() -> Result<()> {
    for engine in BOTH {
        let (world, writers) = writers(engine, 2).await?;
        let provider = provider(&world).await?;
        let mut made = 1;
        for round in 0..25_u8 {
            let wish = |n: usize| {
                let wish = create(Kind::Customer, &provider, &format!("c{round}"));
                (writers[n % 2].clone(), keyed(wish, &format!("key {round}"), round))
            };
            let asked: Vec<_> = (0..6)
                .map(|n| {
                    let (writer, wish) = wish(n);
                    tokio::spawn(async move {
                        let micros = rand::rng().random_range(0..1_500);
                        tokio::time::sleep(std::time::Duration::from_micros(micros)).await;
                        writer.submit(wish).await
                    })
                })
                .collect();
            let mut answers = Vec::new();
            for answer in asked {
                answers.push(answer.await??);
            }
            assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
            let bodies: BTreeSet<_> = answers.iter().map(|it| it.reply.body.to_string()).collect();
            assert_eq!(bodies.len(), 1, "{engine:?}: {bodies:?}");
            made += 1;
        }
        let next = world.system(create(Kind::Customer, &provider, "next")).await?;
        assert_eq!(next["number"], made + 1);
        laws::check(&world.database).await?;
    }
    Ok(())
}

/// A writer that once refused under a key must not remember that nothing was done under it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_refused_here_and_done_there_is_not_done_again_here() -> Result<()> {
    for engine in BOTH {
        let (world, writers) = writers(engine, 2).await?;
        let provider = provider(&world).await?;
        let east = id(&world.system(create(Kind::Reseller, &provider, "East")).await?);
        let kind = Kind::Reseller;
        let roles = ["Reseller Administrator"];
        let ann = id(&world.system(create_user(&east, "ann@example.com", &roles)).await?);
        let wish = || Submission {
            caller: Caller::user(ann.parse().expect("a user")),
            ..keyed(create(Kind::Customer, &east, "Zoo"), "my key", 1)
        };
        let disable = Command::TransitionOrganization {
            step: Transition::Disable,
            id: east.clone(),
            kind,
            body: body(json!({})),
        };
        world.system(disable).await?;
        let early = writers[0].submit(wish()).await;
        assert!(matches!(early, Err(Error::Unauthenticated)), "{engine:?}: {early:?}");
        let enable = Command::TransitionOrganization {
            step: Transition::Enable,
            id: east.clone(),
            kind,
            body: body(json!({})),
        };
        writers[1].submit(system(enable)).await?;
        let done = writers[1].submit(wish()).await?;
        let again = writers[0].submit(wish()).await?;
        assert!(!done.replayed && again.replayed, "{engine:?}: it was done twice");
        assert_eq!(done.reply.body.get(), again.reply.body.get());
        laws::check(&world.database).await?;
    }
    Ok(())
}

/// A wish that is true already makes no event, and so the head of the log does not tell others of
/// it; its key is used all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_answer_made_no_event_is_used_for_everybody() -> Result<()> {
    for engine in BOTH {
        let (world, writers) = writers(engine, 2).await?;
        let provider = provider(&world).await?;
        let zoo = id(&world.system(create(Kind::Customer, &provider, "Zoo")).await?);
        // The second writer has looked for the key and found nothing: the wish was refused.
        let refused_wish = keyed(rename(&zoo, " "), "my key", 3);
        assert_eq!(refused(&writers[1].submit(refused_wish).await), Some("invalid"));
        writers[0].submit(keyed(rename(&zoo, "Zoo"), "my key", 1)).await?;
        let again = writers[1].submit(keyed(rename(&zoo, "Zoo"), "my key", 1)).await?;
        assert!(again.replayed, "{engine:?}");
        let other = writers[1].submit(keyed(rename(&zoo, "Ark"), "my key", 2)).await;
        assert!(matches!(other, Err(Error::KeyReused)), "{engine:?}: {other:?}");
        laws::check(&world.database).await?;
    }
    Ok(())
}

/// The same, at the same moment.
#[tokio::test(flavor = "multi_thread")]
async fn two_requests_under_one_key_at_one_moment_are_never_both_done() -> Result<()> {
    for engine in BOTH {
        let (world, writers) = writers(engine, 2).await?;
        let provider = provider(&world).await?;
        let zoo = id(&world.system(create(Kind::Customer, &provider, "Zoo")).await?);
        for round in 0..40 {
            let key = format!("key {round}");
            // One is true already, the other is not.
            world.system(rename(&zoo, "Zoo")).await?;
            let nothing = keyed(rename(&zoo, "Zoo"), &key, 1);
            let something = keyed(rename(&zoo, "Ark"), &key, 2);
            let (nothing, something) =
                tokio::join!(writers[0].submit(nothing), writers[1].submit(something));
            let used = |answer: &Result<Committed, Error>| matches!(answer, Err(Error::KeyReused));
            let told = format!("{engine:?}, {key}: {nothing:?}, {something:?}");
            assert!(used(&nothing) != used(&something), "{told}");
            let name = organization(&world.database, &zoo).await?.details.name;
            assert_eq!(name, if something.is_ok() { "Ark" } else { "Zoo" }, "{told}");
        }
        laws::check(&world.database).await?;
    }
    Ok(())
}

/// Commands go on while everything is folded again, and nothing is lost at the switch.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_while_others_write_gives_what_is_there() -> Result<()> {
    for engine in BOTH {
        let (world, writers) = writers(engine, 2).await?;
        sell(&world, "backup", "customer").await?;
        let provider = provider(&world).await?;
        let work: Vec<_> = (0..4_usize)
            .map(|submitter| {
                let (writer, provider) = (writers[submitter % 2].clone(), provider.clone());
                tokio::spawn(async move {
                    for n in 0..60 {
                        let name = format!("c{submitter} {n}");
                        let wish = system(create(Kind::Customer, &provider, &name));
                        let made = writer.submit(wish).await?;
                        let slot = provision(&id(&resource(&made)), "backup", 1);
                        writer.submit(system(slot)).await?;
                    }
                    Ok::<_, Error>(())
                })
            })
            .collect();
        let mut rebuilds = 0;
        while rebuilds < 3 || !work.iter().all(tokio::task::JoinHandle::is_finished) {
            let rebuilt = projections::rebuild(&world.database, |_| ()).await?;
            assert_eq!(rebuilt.differences, [], "{engine:?}, rebuild {rebuilds}");
            rebuilds += 1;
        }
        for submitter in work {
            submitter.await??;
        }
        laws::check(&world.database).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_may_start_at_the_same_moment() -> Result<()> {
    for engine in BOTH {
        let place = TestDatabase::new(engine).await?;
        let opened = tokio::join!(place.open(), place.open(), place.open());
        let databases = [opened.0?, opened.1?, opened.2?];
        let ambient = TestAmbient::at("2019-01-01T00:00:00Z");
        let mut installed = 0;
        for database in &databases {
            let (writer, _) = start(database, &ambient).await?;
            let answers = at_once(&writer, [system(atrium_tests::world::install())]).await;
            installed += answers.iter().filter(|answer| answer.is_ok()).count();
        }
        assert_eq!(installed, 1);
        laws::check(&databases[0]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_open_a_folder_without_a_file_none_is_told_that_it_is_locked() -> Result<()> {
    for _ in 0..20 {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("atrium.db");
        let opened = join_all((0..4).map(|_| Database::open_sqlite(&file))).await;
        for database in opened {
            database?;
        }
    }
    Ok(())
}
