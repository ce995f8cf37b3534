//! Nobody edits the log: the database refuses it, and where it was done all the same, the walk
//! along the chain finds and names the first position that does not fit. And a program does not
//! start on a database that it does not understand.

use anyhow::{Context, Result};
use atrium_tests::laws;
use atrium_tests::world::{Place, TestDatabase, World};
use domain::organization::Kind;
use eventstore::{Connection, Database, Engine, Error, Finding, Verified};

use super::setting::{BOTH, create, events, provider};

/// How many events the forged logs have.
const EVENTS: u64 = 12;

async fn world_with_history(engine: Engine) -> Result<World> {
    let world = World::new(engine).await?;
    let provider = provider(&world).await?;
    while events(&world.database).await? < EVENTS {
        world.system(create(Kind::Customer, &provider, "somebody")).await?;
    }
    Ok(world)
}

/// Takes away what keeps the log from being edited, as somebody with all rights could.
pub(super) async fn disarm(connection: &mut Connection) -> Result<()> {
    let sql = match connection {
        Connection::Sqlite(_) => {
            "drop trigger event_is_never_updated; drop trigger event_is_never_deleted"
        }
        Connection::Postgres(_) => "drop trigger event_is_never_changed on event",
    };
    connection.execute(sql, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_refuses_to_change_or_delete_an_event() -> Result<()> {
    for engine in BOTH {
        let world = world_with_history(engine).await?;
        let before = world.database.fetch("select body, hash from event", &[]).await?;
        let mut connection = world.database.writer_connection().await?;
        let mut attempts = vec![
            "update event set body = body",
            "update event set path = '/1/' where position = 6",
            "update event set position = 99 where position = 6",
            "delete from event",
            "delete from event where position = 12",
            "insert into event select * from event where position = 6 \
             on conflict (position) do update set body = excluded.body",
        ];
        match engine {
            Engine::Sqlite => attempts.extend([
                "insert or replace into event select * from event where position = 6",
                "replace into event (position, stream, version, path, body, hash) \
                 select 12, 'x', 1, path, body, hash from event where position = 6",
                "update or replace event set position = 4 where position = 6",
            ]),
            Engine::Postgres => attempts.extend(["truncate event", "truncate event cascade"]),
        }
        for attempt in attempts {
            let refused = connection.execute(attempt, &[]).await;
            let refused = refused.expect_err(attempt).to_string();
            assert!(refused.contains("never"), "{engine:?}: {attempt}: {refused}");
        }
        let after = world.database.fetch("select body, hash from event", &[]).await?;
        assert_eq!(after.len(), before.len());
        laws::check(&world.database).await?;
    }
    Ok(())
}

/// An edit of the log, and what the walk along the chain says of it.
struct Forgery {
    what: &'static str,
    sql: &'static str,
    found_at: u64,
    found: &'static str,
}

const CHANGED: &str = "was changed, or its hash was";
const MISSING: &str = "is missing";

#[rustfmt::skip]
const FORGERIES: &[Forgery] = &[
    Forgery { what: "a changed body", found_at: 5, found: CHANGED,
        sql: "update event set body = (select body from event where position = 6) \
              where position = 5" },
    Forgery { what: "a changed first event", found_at: 1, found: CHANGED,
        sql: "update event set body = (select body from event where position = 6) \
              where position = 1" },
    Forgery { what: "a changed last event", found_at: 12, found: CHANGED,
        sql: "update event set body = (select body from event where position = 6) \
              where position = 12" },
    Forgery { what: "a changed hash", found_at: 7, found: CHANGED,
        sql: "update event set hash = (select hash from event where position = 6) \
              where position = 7" },
    Forgery { what: "a deleted event", found_at: 5, found: MISSING,
        sql: "delete from event where position = 5" },
    Forgery { what: "a deleted first event", found_at: 1, found: MISSING,
        sql: "delete from event where position = 1" },
    Forgery { what: "two deleted events", found_at: 5, found: MISSING,
        sql: "delete from event where position in (5, 9)" },
    Forgery { what: "a deleted event, and those behind it moved up", found_at: 5, found: CHANGED,
        sql: "delete from event where position = 5; \
              update event set position = 1000 + position where position > 5; \
              update event set position = position - 1001 where position > 1000" },
    Forgery { what: "two swapped events", found_at: 5, found: CHANGED,
        sql: "update event set position = 1000 where position = 5; \
              update event set position = 5 where position = 9; \
              update event set position = 9 where position = 1000" },
    Forgery { what: "an inserted event", found_at: 5, found: CHANGED,
        sql: "update event set position = 1000 + position where position >= 5; \
              update event set position = position - 999 where position >= 1000; \
              insert into event (position, stream, version, path, body, hash) \
              select 5, 'organization-x', 1, path, body, hash from event where position = 9" },
    Forgery { what: "an appended event", found_at: 13, found: "lies behind the head of the log",
        sql: "insert into event (position, stream, version, path, body, hash) \
              select 13, 'organization-x', 1, path, body, hash from event where position = 9" },
    Forgery { what: "a truncated tail", found_at: 10, found: MISSING,
        sql: "delete from event where position >= 10" },
    Forgery { what: "a truncated tail, and the head moved back", found_at: 9,
        found: "is not the event that the head of the log names",
        sql: "delete from event where position >= 10; update head set position = 9" },
    Forgery { what: "everything deleted", found_at: 1, found: MISSING,
        sql: "delete from event" },
    Forgery { what: "an event put into another stream", found_at: 6,
        found: "stands in another stream, version or path than it says",
        sql: "update event set stream = 'organization-x' where position = 6" },
    Forgery { what: "an event put under another tenant", found_at: 8,
        found: "stands in another stream, version or path than it says",
        sql: "update event set path = '/1/99/' where position = 8" },
    Forgery { what: "an event with another version", found_at: 8,
        found: "stands in another stream, version or path than it says",
        sql: "update event set version = 77 where position = 8" },
];

#[tokio::test(flavor = "multi_thread")]
async fn the_first_position_that_was_edited_is_found_and_named() -> Result<()> {
    for engine in BOTH {
        let world = world_with_history(engine).await?;
        let mut connection = world.database.writer_connection().await?;
        disarm(&mut connection).await?;
        for forgery in FORGERIES {
            connection.execute("create table saved_event as select * from event", &[]).await?;
            connection.execute("create table saved_head as select * from head", &[]).await?;
            connection.execute(forgery.sql, &[]).await?;
            let verified = eventstore::verify(&world.database, |_| ()).await?;
            let Verified::Broken(finding) = verified else {
                panic!("{engine:?}: {} was not found", forgery.what)
            };
            assert_eq!(
                (finding.position, finding.what.as_str()),
                (forgery.found_at, forgery.found),
                "{engine:?}: {}",
                forgery.what
            );
            let restore = "delete from event; insert into event select * from saved_event; \
                           delete from head; insert into head select * from saved_head; \
                           drop table saved_event; drop table saved_head";
            connection.execute(restore, &[]).await?;
            let whole = eventstore::verify(&world.database, |_| ()).await?;
            assert!(matches!(whole, Verified::Whole { events: EVENTS, .. }), "{whole:?}");
        }
    }
    Ok(())
}

/// A command's events on one stream share a row; an edit of one of them is found at that one.
#[tokio::test(flavor = "multi_thread")]
async fn an_edited_event_is_named_wherever_in_its_row_it_stands() -> Result<()> {
    for engine in BOTH {
        let world = world_with_history(engine).await?;
        let mut connection = world.database.writer_connection().await?;
        disarm(&mut connection).await?;
        let sql = "select position, body, hash from event where length(hash) > 32";
        let rows = world.database.fetch(sql, &[]).await?;
        let row = rows.first().context("some command adds several events to one stream")?;
        let (last, body, hash) = (row.unsigned(0)?, row.bytes(1)?, row.bytes(2)?);
        let lines: Vec<_> = body.split(|byte| *byte == b'\n').collect();
        assert_eq!(hash.len(), 32 * lines.len());
        let first = last + 1 - lines.len() as u64;
        let mut write = async |body: &[u8], hash: &[u8]| {
            let values = [body, hash].map(|bytes| eventstore::Value::Bytes(bytes.to_vec()));
            let values = [&values[..], &[last.into()]].concat();
            let sql = "update event set body = $1, hash = $2 where position = $3";
            connection.execute(sql, &values).await?;
            eventstore::verify(&world.database, |_| ()).await.map_err(anyhow::Error::from)
        };
        for (at, line) in lines.iter().enumerate() {
            let position = first + at as u64;
            let mut forged = body.to_vec();
            let place = line.as_ptr() as usize - body.as_ptr() as usize + line.len() / 2;
            forged[place] ^= 1;
            let found = Finding { position, what: CHANGED.to_owned() };
            assert_eq!(write(&forged, hash).await?, Verified::Broken(found.clone()));
            let mut forged = hash.to_vec();
            forged[32 * at] ^= 1;
            assert_eq!(write(body, &forged).await?, Verified::Broken(found));
        }
        // An event taken off the row's front, its back, or put on it.
        let found =
            |position, what: &str| Verified::Broken(Finding { position, what: what.into() });
        let without_first = &body[lines[0].len() + 1..];
        assert_eq!(write(without_first, &hash[32..]).await?, found(first, MISSING));
        let without_last = &body[..body.len() - lines[lines.len() - 1].len() - 1];
        let shorter = write(without_last, &hash[..hash.len() - 32]).await?;
        assert!(matches!(shorter, Verified::Broken(it) if it.position == first));
        let more_hashes = [hash, &hash[..32]].concat();
        assert_eq!(write(body, &more_hashes).await?, found(last, CHANGED));
        assert!(matches!(write(body, hash).await?, Verified::Whole { events: EVENTS, .. }));
    }
    Ok(())
}

/// A forger who knows how the chain is made and hashes his event again is found at the next one; one
/// who hashes everything again is found at the head.
#[tokio::test(flavor = "multi_thread")]
async fn hashing_a_forged_event_again_does_not_help() -> Result<()> {
    for engine in BOTH {
        let world = world_with_history(engine).await?;
        let mut connection = world.database.writer_connection().await?;
        disarm(&mut connection).await?;
        let sql = "select position, body from event order by position";
        let rows = world.database.fetch(sql, &[]).await?;
        let mut chain = eventstore::Chain(eventstore::GENESIS);
        for row in &rows {
            let (position, mut body) = (row.unsigned(0)?, row.bytes(1)?.to_vec());
            if position == 7 {
                let text = String::from_utf8(body)?;
                body = text.replace("somebody", "nobody").into_bytes();
            }
            if position >= 7 {
                let hash = chain.extend(&body).to_vec();
                let values = [
                    eventstore::Value::Bytes(body),
                    eventstore::Value::Bytes(hash),
                    position.into(),
                ];
                let sql = "update event set body = $1, hash = $2 where position = $3";
                connection.execute(sql, &values).await?;
            } else {
                for event in body.split(|byte| *byte == b'\n') {
                    chain.extend(event);
                }
            }
            let found = match eventstore::verify(&world.database, |_| ()).await? {
                Verified::Whole { .. } => None,
                Verified::Broken(finding) => Some(finding.position),
            };
            let expected = match position {
                ..7 => None,
                EVENTS.. => Some(EVENTS),
                _ => Some(position + 1),
            };
            assert_eq!(found, expected, "{engine:?}: forged up to {position}");
        }
    }
    Ok(())
}

/// What stands in the way of an append is never taken for the event that should be written.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_not_acknowledged_where_another_event_has_its_place() -> Result<()> {
    for engine in BOTH {
        let world = world_with_history(engine).await?;
        let provider = provider(&world).await?;
        let mut connection = world.database.writer_connection().await?;
        let sql = "insert into event (position, stream, version, path, body, hash) \
                   select 13, 'organization-x', 1, path, body, hash from event where position = 9";
        connection.execute(sql, &[]).await?;
        let answer = world
            .submit(commands::Caller::SYSTEM, create(Kind::Customer, &provider, "in its way"))
            .await;
        assert!(
            matches!(answer, Err(commands::Error::Storage(_))),
            "{engine:?}: it was acknowledged and is not in the log: {answer:?}"
        );
        assert_eq!(events(&world.database).await?, EVENTS);
        // Once that is gone, all goes on.
        disarm(&mut connection).await?;
        connection.execute("delete from event where position = 13", &[]).await?;
        world.system(create(Kind::Customer, &provider, "in its place")).await?;
        laws::check(&world.database).await?;
    }
    Ok(())
}

async fn reopened(place: &TestDatabase) -> Result<Database, Error> {
    match &place.place {
        Place::Folder(folder) => Database::open_sqlite(&folder.join("atrium.db")).await,
        Place::Url(url) => Database::connect_postgres(url).await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_does_not_start_on_events_that_it_cannot_read() -> Result<()> {
    for engine in BOTH {
        let world = world_with_history(engine).await?;
        reopened(&world.place).await?;
        for (kind, schema) in
            [("subscription.teleported", 1), ("organization.created", 99), ("x", 1)]
        {
            let mut connection = world.database.writer_connection().await?;
            let insert =
                format!("insert into event_shape (kind, schema) values ('{kind}', {schema})");
            connection.execute(&insert, &[]).await?;
            let error = reopened(&world.place).await.expect_err("a newer log");
            assert!(matches!(error, Error::Newer(_)), "{engine:?}: {error:?}");
            let text = error.to_string();
            assert!(text.contains(kind) && text.contains("newer"), "{engine:?}: {text}");
            let delete =
                format!("delete from event_shape where kind = '{kind}' and schema = {schema}");
            connection.execute(&delete, &[]).await?;
        }
        reopened(&world.place).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_does_not_start_on_a_newer_schema() -> Result<()> {
    for engine in BOTH {
        let world = world_with_history(engine).await?;
        let mut connection = world.database.writer_connection().await?;
        let insert = match engine {
            Engine::Sqlite => {
                "insert into _sqlx_migrations \
                 (version, description, success, checksum, execution_time) \
                 values (9001, 'from tomorrow', true, x'00', 1)"
            }
            Engine::Postgres => {
                "insert into _sqlx_migrations \
                 (version, description, success, checksum, execution_time) \
                 values (9001, 'from tomorrow', true, '\\x00', 1)"
            }
        };
        connection.execute(insert, &[]).await?;
        let error = reopened(&world.place).await.expect_err("a newer schema").to_string();
        assert!(error.contains("newer Atrium") && error.contains("9001"), "{engine:?}: {error}");
        connection.execute("delete from _sqlx_migrations where version = 9001", &[]).await?;
        reopened(&world.place).await?;

        // Nor on one that calls itself ours and is another.
        let checksum = if engine == Engine::Sqlite { "x'00'" } else { "'\\x00'" };
        let update = format!("update _sqlx_migrations set checksum = {checksum} where version = 1");
        connection.execute(&update, &[]).await?;
        let error = reopened(&world.place).await.expect_err("another schema").to_string();
        assert!(error.contains("belongs to another program"), "{engine:?}: {error}");
    }
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_as_it_is() -> Result<()> {
    let long = "This is a letter, and no database. ".repeat(1_000);
    for content in ["Dear Ann,\n", long.as_str(), "SQLite format 3 is not what this is"] {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("atrium.db");
        std::fs::write(&file, content)?;
        let error = Database::open_sqlite(&file).await.expect_err("no database").to_string();
        assert!(error.contains("not a SQLite database"), "{error}");
        assert_eq!(std::fs::read_to_string(&file)?, content);
        let names: Vec<_> = std::fs::read_dir(folder.path())?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<_>>()?;
        assert_eq!(names, ["atrium.db"]);
    }
    Ok(())
}
