//! Closing a period: rating it, keeping its entries, and sealing them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use commands::usecase::books::Readiness;
use commands::{Caller, Command, Submission, WriterSettings, closing};
use domain::{OrganizationId, TenantPath, UserId};
use eventstore::{Database, Engine, Rows, SEALED_SLOT_LAYOUT, SealsVerified, Value};
use projections::finder::{self, Scope};
use projections::ledger;
use projections::views::{BooksView, PROVIDER_KEY};
use serde_json::json;

use super::{Figure, Size, Subject, machine, rate};
use crate::world::{Place, TestDatabase, World, body};

/// Entries of each customer.
const OF_CUSTOMER: usize = 100;
/// Rows that the raw inserts write at a time, as the close does.
const ROWS_AT_A_TIME: u64 = 5_000;

/// Records what [`close`] closes: so many entries, into an empty database, of which the folder or the URL is said. In a process of its own, so that what a close
/// needs of memory is not what recording has left there.
///
/// # Errors
/// What the database says.
pub async fn record(place: &str, size: Size) -> Result<()> {
    let place = match place.contains("://") {
        true => Place::Url(place.to_owned()),
        false => Place::Folder(place.into()),
    };
    let world =
        World::begin(TestDatabase::at(place), WriterSettings::default(), Box::new(|_| ())).await?;
    let subject = Subject::of(world, size.entries.div_ceil(OF_CUSTOMER)).await?;
    subject.load(256, size.entries).await?;
    Ok(())
}

/// Measures what it takes to see what is in the way of a close, to close, to verify the seal, and to rate the closed period from its
/// events again; once, however many runs are asked for: a period is closed once.
///
/// # Errors
/// What the database says; where the period is not closed, or its seal does not fit.
pub async fn close(engine: Engine, size: Size, tell: &mut impl FnMut(Figure)) -> Result<()> {
    let place = TestDatabase::new(engine).await?;
    let mut recorder = std::process::Command::new(std::env::current_exe()?);
    recorder.arg("--record");
    match &place.place {
        Place::Folder(folder) => recorder.arg(folder),
        Place::Url(url) => recorder.arg(url),
    };
    let recorded = recorder.arg(size.entries.to_string()).status()?;
    ensure!(recorded.success(), "nothing could be recorded");
    let (settings, time) = (WriterSettings::default(), "2019-03-01T08:00:00Z");
    let world = World::open(place, time, settings, Box::new(|_| ())).await?;
    let (database, writer) = (&world.database, &world.writer);
    let provider = finder::find_name(database, PROVIDER_KEY).await?.context("a provider")?.owner;
    let provider = provider.to_string();
    let seller: OrganizationId = provider.parse()?;
    let end = "2019-02-28";
    let wish = || body(json!({ "organizationId": provider }));
    world.system(Command::AskClose { end: end.to_owned(), body: wish() }).await?;
    let books = finder::find::<BooksView>(database, &Scope::catalogue(), &provider).await?;
    let closing = books.and_then(|books| books.closing.clone()).context("a closing")?;
    let provider = ledger::seller_at(database, &TenantPath::provider()).await?;
    let settings = provider.settings.as_ref();
    let period = settings.period_ending(closing.end).context("a period")?;
    let of = (seller, &TenantPath::provider());

    machine::forget_peak();
    let began = Instant::now();
    let unready = closing::readiness(database, of, settings, period, closing.cutoff).await?;
    let readiness = rate(size.entries, began.elapsed());
    ensure!(unready.is_empty(), "{} are not ready", unready.len());
    let figure = Figure::new("readiness", engine, readiness, "entries/s");
    tell(Figure { peak_mib: machine::peak_mib(), size: Some(size.entries), ..figure });

    let ada = database.fetch("select key from view_user", &[]).await?;
    let caller = Caller::user(ada[0].text(0)?.parse::<UserId>()?);
    let readiness = Some(Readiness { seller, cutoff: closing.cutoff, unready: Vec::new() });
    let command = Command::ApproveClose { end: end.to_owned(), body: wish(), readiness };
    writer.submit(Submission { caller, command, idempotency: None }).await?;
    machine::forget_peak();
    let held_mib = machine::peak_mib().unwrap_or_default() as f64;
    let look = machine::Look::at("close", std::process::id())?;
    let began = Instant::now();
    closing::close(database, writer, seller).await?;
    let closed = rate(size.entries, began.elapsed());
    drop(look);
    let peak_mib = machine::peak_mib();

    let began = Instant::now();
    let verified = eventstore::verify_sealed(database).await?;
    let verify = rate(size.entries, began.elapsed());
    let entries = size.entries as u64;
    let is_whole = verified == SealsVerified::Whole { periods: 1, entries };
    ensure!(is_whole, "it is not closed as it should be: {verified:?}");

    let began = Instant::now();
    let difference = ledger::compare_sealed(database, of, period, closing.cutoff).await?;
    let replay = rate(size.entries, began.elapsed());
    ensure!(difference.is_none(), "it is not what was sealed: {difference:?}");

    let raw = rate(size.entries, raw(engine, database).await?);
    let figure = Figure::new("close", engine, closed, "entries/s").beside(raw);
    tell(Figure { peak_mib, size: Some(size.entries), ..figure });
    let held = Figure::new("close-held", engine, held_mib, "MiB before");
    for figure in [
        held,
        Figure::new("close-verify", engine, verify, "entries/s"),
        Figure::new("replay", engine, replay, "entries/s"),
    ] {
        tell(Figure { size: Some(size.entries), ..figure });
    }
    Ok(())
}

/// The same rows, into a table that looks the same, by nothing but inserts: how long these take.
async fn raw(engine: Engine, database: &Database) -> Result<Duration> {
    let mut connection = database.writer_connection().await?;
    let (text, int, bytes) = match engine {
        Engine::Sqlite => ("text", "integer", "blob"),
        Engine::Postgres => ("text collate \"C\"", "bigint", "bytea"),
    };
    let sql = format!(
        "create table raw_slot (key {text} primary key, subscription {text} not null, \
         corrections {int} not null, body {bytes} not null)"
    );
    connection.execute(&sql, &[]).await?;
    let (mut took, mut after) = (Duration::ZERO, String::new());
    loop {
        let sql = "select key, subscription, corrections, body from sealed_slot where key > $1 \
                   order by key limit $2";
        let values = [after.as_str().into(), ROWS_AT_A_TIME.into()];
        let found = database.fetch(sql, &values).await?;
        let Some(last) = found.last() else { break };
        last.text(0)?.clone_into(&mut after);
        let mut rows = Rows::new("raw_slot", &SEALED_SLOT_LAYOUT);
        for row in &found {
            rows.push([
                Value::Text(row.text(0)?.to_owned()),
                Value::Text(row.text(1)?.to_owned()),
                Value::Int(row.int(2)?),
                Value::Bytes(row.bytes(3)?.to_vec()),
            ]);
        }
        let began = Instant::now();
        eventstore::write(&mut connection, vec![rows]).await?;
        took += began.elapsed();
    }
    connection.close().await;
    Ok(took)
}
