//! What each table and its indexes grow by for a command of each kind, and how much is written for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use chrono::{DateTime, TimeDelta, Utc};
use commands::{Caller, Command, Idempotency, Submission};
use eventstore::{Database, Engine, Log};
use serde_json::json;

use super::{Figure, Size, Subject, made_id};
use crate::world::body;

/// Commands asked at the same time.
const IN_FLIGHT: usize = 256;

/// What is asked for, each as often as the commands come to events.
#[derive(Clone, Copy)]
enum Kind {
    /// A new instance for the next customer: three events in one row.
    Provision,
    /// Another quantity.
    Change,
    Deprovision,
    /// A new user of the next customer.
    User,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Provision, Self::Change, Self::Deprovision, Self::User];

    /// How the figures are called: bytes, bytes written, events.
    fn units(self) -> [&'static str; 3] {
        match self {
            Self::Provision => ["bytes/provision", "written/provision", "events/provision"],
            Self::Change => ["bytes/change", "written/change", "events/change"],
            Self::Deprovision => ["bytes/deprovision", "written/deprovision", "events/deprovision"],
            Self::User => ["bytes/user", "written/user", "events/user"],
        }
    }
}

/// Measures the growth of tables by commands that come to `size.events` events, from one customer after
/// another, each at most once a day, with idempotency keys.
///
/// # Errors
/// What the database says.
pub async fn space(engine: Engine, size: Size, tell: &mut impl FnMut(Figure)) -> Result<()> {
    let subject = Subject::new(engine, size.customers).await?;
    let database = &subject.world.database;
    let log = Log::new(database.clone());
    let mut ids = Arc::new(Vec::new());
    // Two thirds of the events are of provisionings, and every instance is then changed and ended.
    let commands = size.events * 2 / 9;
    for kind in Kind::ALL {
        let commands = if matches!(kind, Kind::User) { commands / 2 } else { commands };
        let before = (Sizes::of(database).await?, written(database).await?);
        let events = log.head().await?.position;
        let made = ask(&subject, kind, commands, ids.clone()).await?;
        let events = log.head().await?.position - events;
        let after = (Sizes::of(database).await?, written(database).await?);
        if matches!(kind, Kind::Provision) {
            ids = Arc::new(made);
        }
        let each = |bytes: u64| bytes as f64 / commands as f64;
        let [bytes, written, count] = kind.units();
        let mut all = 0;
        for (name, size) in after.0.0 {
            let grown = size.saturating_sub(before.0.0.get(&name).copied().unwrap_or(0));
            all += grown;
            if grown > 0 {
                tell(Figure::new(name.leak(), engine, each(grown), bytes));
            }
        }
        tell(Figure::new("all", engine, each(all), bytes));
        tell(Figure::new("log", engine, each(after.1 - before.1), written));
        tell(Figure::new("log", engine, each(events), count));
    }
    in_place(database, engine, tell).await
}

/// Has so many commands of a kind carried out; gives the ids of what was made.
async fn ask(
    subject: &Arc<Subject>,
    kind: Kind,
    commands: usize,
    ids: Arc<Vec<String>>,
) -> Result<Vec<String>> {
    let next = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (subject, next, ids) = (subject.clone(), next.clone(), ids.clone());
            tokio::spawn(async move {
                let mut made = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= commands {
                        return anyhow::Ok(made);
                    }
                    if number % subject.customers.len() == 0 {
                        tomorrow(&subject);
                    }
                    made.push((number, submit(&subject, kind, number, &ids).await?));
                }
            })
        })
        .collect();
    let mut made = Vec::with_capacity(commands);
    for client in clients {
        made.extend(client.await??);
    }
    made.sort_unstable();
    Ok(made.into_iter().map(|(_, id)| id).collect())
}

/// The next day begins: a customer's day is a document.
fn tomorrow(subject: &Subject) {
    let now: DateTime<Utc> = commands::Ambient::now(&*subject.world.ambient);
    subject.world.ambient.set(&(now + TimeDelta::days(1)).to_rfc3339());
}

async fn submit(subject: &Subject, kind: Kind, number: usize, ids: &[String]) -> Result<String> {
    let customer = || subject.customers[number % subject.customers.len()].clone();
    let (name, command) = match kind {
        Kind::Provision => {
            let instance = format!("instance {number}");
            let sent = json!({ "service": "crm", "plan": "team", "instance": instance });
            ("p", Command::ProvisionToCustomer { customer: customer(), body: body(sent) })
        }
        Kind::Change => {
            let (id, sent) = (ids[number].clone(), json!({ "quantity": 7 }));
            ("c", Command::ChangeSubscription { id, body: body(sent) })
        }
        Kind::Deprovision => {
            let (id, sent) = (ids[number].clone(), json!({}));
            ("d", Command::Deprovision { id, body: body(sent) })
        }
        Kind::User => {
            let email = format!("user{number}@customer.example");
            let sent = json!({ "firstName": "Ann", "lastName": "Lee", "email": email });
            let organization = customer();
            ("u", Command::CreateUser { organization, body: body(sent), password: None })
        }
    };
    // As long as the keys that clients make of random numbers.
    let key = format!("{name}-{number:034}");
    let idempotency = Some(Idempotency { key, request: [1; 32] });
    let submission = Submission { caller: Caller::SYSTEM, command, idempotency };
    let committed = subject.world.writer.submit(submission).await?;
    made_id(&serde_json::from_str(committed.reply.body.get())?)
}

/// Bytes of each table, and of its indexes together.
struct Sizes(BTreeMap<String, u64>);

impl Sizes {
    async fn of(database: &Database) -> Result<Self> {
        let sql = match database.engine() {
            Engine::Sqlite => {
                "select tbl_name || case when type = 'index' then ' indexes' else '' end, sum(pgsize) \
                 from dbstat join sqlite_schema using (name) where aggregate = 1 group by 1"
            }
            Engine::Postgres => {
                "select relname::text, pg_table_size(oid)::bigint from pg_class \
                 where relkind = 'r' and relnamespace = 'public'::regnamespace \
                 union all select relname || ' indexes', pg_indexes_size(oid)::bigint from pg_class \
                 where relkind = 'r' and relnamespace = 'public'::regnamespace"
            }
        };
        let rows = database.fetch(sql, &[]).await?;
        let sizes = rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.unsigned(1)?)));
        Ok(Self(sizes.collect::<Result<_>>()?))
    }
}

/// Bytes that were written so far: PostgreSQL's write-ahead log; all files on SQLite, where every page goes into
/// the write-ahead log and, often many changes later, into the file.
async fn written(database: &Database) -> Result<u64> {
    match database.engine() {
        Engine::Postgres => {
            let sql = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
            Ok(database.fetch(sql, &[]).await?[0].unsigned(0)?)
        }
        Engine::Sqlite => {
            let io = std::fs::read_to_string("/proc/self/io")?;
            let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
            Ok(line.context("Linux tells this")?.parse()?)
        }
    }
}

/// How many documents that were changed stayed on their page, so that no index had to change.
async fn in_place(
    database: &Database,
    engine: Engine,
    tell: &mut impl FnMut(Figure),
) -> Result<()> {
    if engine == Engine::Sqlite {
        return Ok(());
    }
    // The statistics come in with a delay.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let sql = "select relname::text, n_tup_upd, n_tup_hot_upd, n_dead_tup from pg_stat_user_tables \
               where n_tup_upd > 1000 order by relname";
    for row in database.fetch(sql, &[]).await? {
        let (updated, in_place, dead) = (row.unsigned(1)?, row.unsigned(2)?, row.unsigned(3)?);
        let name: &'static str = row.text(0)?.to_owned().leak();
        tell(Figure::new(name, engine, updated as f64, "rows changed"));
        let share = in_place as f64 / updated as f64 * 100.0;
        tell(Figure::new(name, engine, share, "% of them in place"));
        tell(Figure::new(name, engine, dead as f64, "dead rows left"));
    }
    Ok(())
}
