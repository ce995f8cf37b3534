//! One writer: what waits is committed together, and nothing that goes wrong with one command is
//! felt by another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use atrium_tests::history::hush_asked_panics;
use atrium_tests::laws;
use atrium_tests::world::{World, body};
use commands::{Caller, Command, Committed, Error, Submission, WriterSettings};
use domain::UserId;
use domain::organization::Kind;
use eventstore::{Database, Engine};
use projections::finder::{self, Query, Scope};
use projections::views::OrganizationView;
use rand::Rng;
use serde_json::json;

use super::setting::{
    BOTH, at_once, create, create_user, events, id, keyed, provider, refused, rename, resource,
    sell, start, system,
};

async fn customers(database: &Database) -> Result<Vec<String>> {
    let query =
        Query { kind: Some("customer".to_owned()), limit: finder::LIST_MAX, ..Query::default() };
    let page = finder::list::<OrganizationView>(database, &Scope::catalogue(), &query).await?;
    Ok(page.items.into_iter().map(|(_, view)| view.details.name.clone()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_committed_together() -> Result<()> {
    for engine in BOTH {
        let commits = Arc::new(AtomicUsize::new(0));
        let counted = commits.clone();
        let world = World::with(
            engine,
            WriterSettings::default(),
            Box::new(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
            }),
        )
        .await?;
        let provider = provider(&world).await?;
        let before = (commits.load(Ordering::SeqCst), events(&world.database).await?);
        let wishes =
            (0..1_500).map(|n| system(create(Kind::Customer, &provider, &format!("c{n}"))));
        for answer in at_once(&world.writer, wishes).await {
            answer?;
        }
        let transactions = commits.load(Ordering::SeqCst) - before.0;
        assert!(transactions <= 8, "{engine:?}: 1,500 commands took {transactions} transactions");
        assert_eq!(events(&world.database).await? - before.1, 1_500);
        laws::check(&world.database).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_or_panicking_command_leaves_nothing_and_disturbs_no_neighbour() -> Result<()> {
    hush_asked_panics();
    for engine in BOTH {
        let world = World::new(engine).await?;
        let provider = provider(&world).await?;
        let before = events(&world.database).await?;
        let good = |n: usize| system(create(Kind::Customer, &provider, &format!("good {n}")));
        // A reseller is founded and then something about it is refused, all in one batch.
        let wishes = (0..60).map(|n| match n % 4 {
            0 => good(n),
            1 => keyed(Command::PanicForTests, &format!("panic {n}"), 1),
            2 => keyed(create(Kind::Customer, &provider, " "), &format!("refused {n}"), 1),
            _ => system(rename(&provider, "No customer")),
        });
        for (n, answer) in at_once(&world.writer, wishes).await.iter().enumerate() {
            match n % 4 {
                0 => assert!(answer.is_ok(), "{engine:?} {n}: {answer:?}"),
                1 => assert!(matches!(answer, Err(Error::Panicked)), "{engine:?} {n}: {answer:?}"),
                2 => assert_eq!(refused(answer), Some("invalid"), "{engine:?} {n}: {answer:?}"),
                _ => assert_eq!(refused(answer), Some("not_found"), "{engine:?} {n}: {answer:?}"),
            }
        }
        let expected: Vec<_> = (0..60).step_by(4).map(|n| format!("good {n}")).collect();
        let mut there = customers(&world.database).await?;
        there.sort_by_key(|name| name[5..].parse::<usize>().unwrap());
        assert_eq!(there, expected);
        assert_eq!(events(&world.database).await? - before, 15);
        // What was not done is kept under no key, and numbers are not used up.
        let kept = world.database.fetch("select key from reply", &[]).await?;
        assert!(kept.is_empty());
        let next = world.system(create(Kind::Customer, &provider, "next")).await?;
        assert_eq!(next["number"], 17);
        laws::check(&world.database).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_several_facts_that_is_refused_at_the_end_leaves_none() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        let before = events(&world.database).await?;
        // The provider is there already: nothing of a second one stays.
        let again = world.submit(Caller::SYSTEM, atrium_tests::world::install()).await;
        assert_eq!(refused(&again), Some("installed"));
        assert_eq!(events(&world.database).await?, before);
        laws::check(&world.database).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_effect() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        let provider = provider(&world).await?;
        let wish = |request| keyed(create(Kind::Customer, &provider, "Zoo"), "my key", request);

        // In one batch: the first is done, the same ones get its answer, the other one is refused.
        let answers = at_once(&world.writer, (0..40).map(|n| wish(u8::from(n % 4 == 3)))).await;
        let first = answers[0].as_ref().unwrap().clone();
        assert!(!first.replayed);
        for (n, answer) in answers.iter().enumerate().skip(1) {
            if n % 4 == 3 {
                assert!(matches!(answer, Err(Error::KeyReused)), "{engine:?} {n}: {answer:?}");
            } else {
                assert_same_reply(answer, &first);
            }
        }
        // Later, and by a writer that has just been started.
        assert_same_reply(&world.writer.submit(wish(0)).await, &first);
        let (fresh, _) = start(&world.database, &world.ambient).await?;
        assert_same_reply(&fresh.submit(wish(0)).await, &first);
        assert!(matches!(fresh.submit(wish(1)).await, Err(Error::KeyReused)));
        assert_eq!(customers(&world.database).await?, ["Zoo"]);
        laws::check(&world.database).await?;
    }
    Ok(())
}

fn assert_same_reply(answer: &Result<Committed, Error>, first: &Committed) {
    let answer = answer.as_ref().expect("the answer is given again");
    assert!(answer.replayed);
    let parts = |it: &Committed| {
        (it.reply.outcome, it.reply.location.clone(), it.reply.version, it.reply.body.to_string())
    };
    assert_eq!(parts(answer), parts(first));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_its_caller() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        let provider = provider(&world).await?;
        let roles = ["Provider Administrator"];
        let mut callers = vec![Caller::SYSTEM];
        for login in ["ann@example.com", "ben@example.com"] {
            let user = world.system(create_user(&provider, login, &roles)).await?;
            callers.push(Caller::user(id(&user).parse::<UserId>()?));
        }
        let wishes = callers.iter().enumerate().map(|(n, caller)| {
            let wish = create(Kind::Customer, &provider, &format!("of caller {n}"));
            Submission { caller: *caller, ..keyed(wish, "the same key", n as u8) }
        });
        for answer in at_once(&world.writer, wishes).await {
            assert!(!answer?.replayed);
        }
        assert_eq!(customers(&world.database).await?.len(), 3);
        laws::check(&world.database).await?;
    }
    Ok(())
}

/// A wish that is true already is answered under its key too, though it makes no event.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_an_event_is_kept_as_well() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        let provider = provider(&world).await?;
        let zoo = id(&world.system(create(Kind::Customer, &provider, "Zoo")).await?);
        let before = events(&world.database).await?;
        let first = world.writer.submit(keyed(rename(&zoo, "Zoo"), "no change", 1)).await?;
        assert_eq!(events(&world.database).await?, before);
        world.system(rename(&zoo, "Ark")).await?;
        let (fresh, _) = start(&world.database, &world.ambient).await?;
        for writer in [&world.writer, &fresh] {
            let again = writer.submit(keyed(rename(&zoo, "Zoo"), "no change", 1)).await;
            assert_same_reply(&again, &first);
            let other = writer.submit(keyed(rename(&zoo, "Pen"), "no change", 2)).await;
            assert!(matches!(other, Err(Error::KeyReused)));
        }
        laws::check(&world.database).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_go_away_leave_nothing_half_open() -> Result<()> {
    const GONE: usize = 1_000;
    for engine in BOTH {
        let world = World::new(engine).await?;
        let provider = provider(&world).await?;
        let before = events(&world.database).await?;
        for n in 0..GONE {
            let wish = system(create(Kind::Customer, &provider, &format!("gone {n}")));
            let writer = world.writer.clone();
            let micros = rand::rng().random_range(0..3_000);
            let waiting = tokio::spawn(async move { writer.submit(wish).await.map(|_| ()) });
            match n % 3 {
                0 => waiting.abort(),
                1 => {
                    tokio::select! {
                        _ = waiting => {}
                        () = tokio::time::sleep(Duration::from_micros(micros)) => {}
                    }
                }
                _ => {
                    tokio::time::sleep(Duration::from_micros(micros / 4)).await;
                    waiting.abort();
                }
            }
        }
        let last = world.system(create(Kind::Customer, &provider, "still here")).await?;
        let done = events(&world.database).await? - before;
        assert!(done as usize <= GONE + 1 && done > 1, "{engine:?}: {done} of {GONE}");
        // Each was done whole or not at all: the last number says how many there are.
        assert_eq!(last["number"].as_u64(), Some(done + 1));
        if engine == Engine::Postgres {
            let sql = "select count(*) from pg_stat_activity where datname = current_database() \
                       and state like 'idle in transaction%'";
            assert_eq!(world.database.fetch(sql, &[]).await?[0].int(0)?, 0);
        }
        laws::check(&world.database).await?;
    }
    Ok(())
}

/// Keeps every writer waiting, as long as it is held.
async fn hold_up(database: &Database) -> Result<eventstore::Connection> {
    let mut connection = database.writer_connection().await?;
    match database.engine() {
        Engine::Sqlite => connection.execute("begin immediate", &[]).await?,
        Engine::Postgres => {
            connection.execute("begin", &[]).await?;
            connection.execute("select 1 from head for update", &[]).await?
        }
    };
    Ok(connection)
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_can_wait_is_refused_at_once() -> Result<()> {
    for engine in BOTH {
        let settings = WriterSettings { queue_commands: 20, batch_commands: 10 };
        let world = World::with(engine, settings, Box::new(|_| ())).await?;
        let provider = provider(&world).await?;
        let mut held = hold_up(&world.database).await?;
        let wish = |n: usize| system(create(Kind::Customer, &provider, &format!("c{n}")));
        let mut waiting = Vec::new();
        for n in 0..60 {
            let (writer, wish) = (world.writer.clone(), wish(n));
            waiting.push(tokio::spawn(async move {
                let began = Instant::now();
                (writer.submit(wish).await, began.elapsed())
            }));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let refused_by_now = waiting.iter().filter(|it| it.is_finished()).count();
        // Twenty wait, a batch is being written, and the next is decided on top of it.
        assert!(
            refused_by_now >= 60 - 20 - 2 * 10,
            "{engine:?}: only {refused_by_now} were refused"
        );
        held.execute("rollback", &[]).await?;
        let (mut done, mut overloaded) = (0, 0);
        for answer in waiting {
            match answer.await? {
                (Ok(_), _) => done += 1,
                (Err(Error::Overloaded), after) => {
                    assert!(after < Duration::from_millis(50), "refused only after {after:?}");
                    overloaded += 1;
                }
                (Err(other), _) => panic!("{engine:?}: {other:?}"),
            }
        }
        assert_eq!((done + overloaded, overloaded), (60, refused_by_now));
        assert_eq!(customers(&world.database).await?.len(), done);
        // A moment later it goes on as before.
        world.system(create(Kind::Customer, &provider, "next")).await?;
        laws::check(&world.database).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_nobody_can_reach_answers_what_waits_and_ends() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        let provider = provider(&world).await?;
        let (writer, thread) = start(&world.database, &world.ambient).await?;
        let mut held = hold_up(&world.database).await?;
        let waiting: Vec<_> = (0..300)
            .map(|n| {
                let wish = system(create(Kind::Customer, &provider, &format!("c{n}")));
                let writer = writer.clone();
                tokio::spawn(async move { writer.submit(wish).await.map(|_| ()) })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(writer);
        assert!(!thread.is_finished());
        held.execute("rollback", &[]).await?;
        for answer in waiting {
            answer.await??;
        }
        tokio::task::spawn_blocking(move || thread.join()).await?.expect("the writer ends");
        assert_eq!(customers(&world.database).await?.len(), 300);
        laws::check(&world.database).await?;
    }
    Ok(())
}

/// Nobody waits for ever for a writer that a mistake in the program has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_has_ended_says_so() -> Result<()> {
    hush_asked_panics();
    for engine in BOTH {
        let world = World::new(engine).await?;
        let provider = provider(&world).await?;
        let (writer, thread) = commands::Writer::start(
            world.database.clone(),
            atrium_tests::world::vault(),
            world.ambient.clone(),
            WriterSettings::default(),
            Box::new(|_| panic!("the listener was asked to panic")),
        )
        .await?;
        let wish = |name: &str| system(create(Kind::Customer, &provider, name));
        let unknown = writer.submit(wish("committed")).await;
        assert!(matches!(unknown, Err(Error::OutcomeUnknown)), "{engine:?}: {unknown:?}");
        assert!(tokio::task::spawn_blocking(move || thread.join()).await?.is_err());
        let stopping = writer.submit(wish("too late")).await;
        assert!(matches!(stopping, Err(Error::Stopping)), "{engine:?}: {stopping:?}");
        assert_eq!(customers(&world.database).await?, ["committed"]);
        laws::check(&world.database).await?;
    }
    Ok(())
}

/// What one load shows names the next thing to load: in the deepest tree there is much to show.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_knows_nothing_yet_reaches_the_bottom_of_the_deepest_tree() -> Result<()> {
    for engine in BOTH {
        let world = World::new(engine).await?;
        sell(&world, "mail", "user").await?;
        let mut parent = provider(&world).await?;
        let mut depth = 1;
        let too_deep = loop {
            let kind = if depth == 15 { Kind::Customer } else { Kind::Reseller };
            let made = world.submit(Caller::SYSTEM, create(kind, &parent, "below")).await;
            let Ok(made) = made else { break refused(&made) };
            depth += 1;
            parent = id(&resource(&made));
            if depth == 16 {
                let deeper = world.submit(Caller::SYSTEM, create(kind, &parent, "below")).await;
                break refused(&deeper);
            }
        };
        assert_eq!((depth, too_deep), (16, Some("invalid")));
        let administrator = ["Customer Administrator"];
        let ann = world.system(create_user(&parent, "ann@example.com", &administrator)).await?;
        let (fresh, _) = start(&world.database, &world.ambient).await?;
        let sent = json!({ "service": "mail", "plan": "basic" });
        let command = Command::ProvisionToUser { user: id(&ann), body: body(sent) };
        let caller = Caller::user(id(&ann).parse()?);
        let mut answers = at_once(
            &fresh,
            [
                Submission { caller, command, idempotency: None },
                system(rename(&parent, "a neighbour")),
            ],
        )
        .await;
        answers.pop().expect("two answers")?;
        answers.pop().expect("two answers")?;
        laws::check(&world.database).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_whose_session_was_ended_goes_on_with_another() -> Result<()> {
    let world = World::new(Engine::Postgres).await?;
    let provider = provider(&world).await?;
    for round in 0..5_u8 {
        let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                   where datname = current_database() and pid <> pg_backend_pid()";
        world.database.fetch(sql, &[]).await?;
        let wish = || {
            keyed(
                create(Kind::Customer, &provider, &format!("c{round}")),
                &round.to_string(),
                round,
            )
        };
        let mut tries = 0;
        loop {
            tries += 1;
            match world.writer.submit(wish()).await {
                Ok(_) => break,
                Err(Error::OutcomeUnknown | Error::Storage(_)) if tries < 4 => {}
                Err(other) => panic!("round {round}, try {tries}: {other:?}"),
            }
        }
    }
    assert_eq!(customers(&world.database).await?.len(), 5);
    laws::check(&world.database).await?;
    Ok(())
}

/// What is decided while a batch is written stands on it, a refusal too. Where that batch fails, it is
/// decided again on what is really there.
#[tokio::test(flavor = "multi_thread")]
async fn what_stood_on_a_batch_that_failed_is_decided_again() -> Result<()> {
    let settings = WriterSettings { batch_commands: 1, ..WriterSettings::default() };
    let world = World::with(Engine::Postgres, settings, Box::new(|_| ())).await?;
    let provider = provider(&world).await?;
    let mut held = hold_up(&world.database).await?;
    let submit = |name: &str| {
        let sent = json!({ "name": name, "parentId": provider, "code": "ONE" });
        let wish = system(Command::CreateOrganization { kind: Kind::Customer, body: body(sent) });
        let writer = world.writer.clone();
        tokio::spawn(async move { writer.submit(wish).await })
    };
    let first = submit("the first");
    let ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                 where datname = current_database() and wait_event_type = 'Lock'";
    let waits = "select count(*) from pg_stat_activity \
                 where datname = current_database() and wait_event_type = 'Lock'";
    while world.database.fetch(waits, &[]).await?[0].int(0)? == 0 {
        tokio::task::yield_now().await;
    }
    // Its code is taken, by one that is being written.
    let second = submit("the second");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(
        !first.is_finished() && !second.is_finished(),
        "nothing is answered before it is written"
    );
    assert_eq!(world.database.fetch(ended, &[]).await?[0].int(0)?, 1);
    let first = first.await?;
    assert!(matches!(first, Err(Error::OutcomeUnknown | Error::Storage(_))), "{first:?}");
    held.execute("rollback", &[]).await?;
    second.await??;
    assert_eq!(customers(&world.database).await?.len(), 1);
    laws::check(&world.database).await?;
    Ok(())
}

/// What commands find missing is loaded in rounds, and each runs all of them again.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_change_of_a_subscription_needs_is_loaded_before_it_is_asked_for() -> Result<()> {
    let recorder = api::server::recorder();
    for engine in BOTH {
        let world = World::new(engine).await?;
        sell(&world, "mail", "user").await?;
        let provider = provider(&world).await?;
        let mut changes = Vec::new();
        for n in 0..40 {
            let reseller = create(Kind::Reseller, &provider, &format!("reseller {n}"));
            let reseller = id(&world.system(reseller).await?);
            let customer = create(Kind::Customer, &reseller, &format!("customer {n}"));
            let customer = id(&world.system(customer).await?);
            let roles = ["Customer Administrator"];
            let user = create_user(&customer, &format!("{n}@example.com"), &roles);
            let user = id(&world.system(user).await?);
            let sent = json!({ "service": "mail", "plan": "basic" });
            let provision = Command::ProvisionToUser { user: user.clone(), body: body(sent) };
            let subscription = id(&world.system(provision).await?);
            let sent = body(json!({ "plan": "plus" }));
            let command = Command::ChangeSubscription { id: subscription, body: sent };
            let caller = Caller::user(user.parse()?);
            changes.push(Submission { caller, command, idempotency: None });
        }
        let (fresh, _) = start(&world.database, &world.ambient).await?;
        let before = rounds(&recorder.render());
        for answer in at_once(&fresh, changes).await {
            answer?;
        }
        let after = rounds(&recorder.render());
        let (decisions, rounds) = (after.0 - before.0, after.1 - before.1);
        assert_eq!(rounds, decisions, "{engine:?}: rounds, and parts of batches");
    }
    Ok(())
}

/// How often a part of a batch was decided, and in how many rounds in all.
fn rounds(metrics: &str) -> (u64, u64) {
    let number = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.expect("it is counted").trim().parse::<u64>().expect("a number")
    };
    (number("atrium_decision_rounds_count"), number("atrium_decision_rounds_sum"))
}
