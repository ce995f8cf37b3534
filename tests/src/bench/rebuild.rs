//! Reading the log again: scanning, decoding, verifying, folding.

use std::time::Instant;

use anyhow::{Result, ensure};
use eventstore::{Engine, Log, Verified};

use super::{Figure, Size, Subject, machine, median, rate};

/// Measures a scan of the log, reading it decoded, walking its chain, and folding all views again.
///
/// # Errors
/// What the database says; where the rebuilt views differ, or the chain does not fit.
pub async fn rebuild(engine: Engine, size: Size, tell: &mut impl FnMut(Figure)) -> Result<()> {
    let subject = Subject::new(engine, size.customers).await?;
    subject.load(256, size.events / 3).await?;
    let database = &subject.world.database;
    let log = Log::new(database.clone());
    let events = usize::try_from(log.head().await?.position)?;

    let mut times = [const { Vec::new() }; 4];
    let mut peak = None;
    for _ in 0..size.runs {
        let began = Instant::now();
        let sql = "select max(position), sum(length(body)), sum(length(hash)) from event";
        let rows = database.fetch(sql, &[]).await?;
        ensure!(usize::try_from(rows[0].unsigned(0)?)? == events, "the log grows meanwhile");
        times[0].push(rate(events, began.elapsed()));

        let began = Instant::now();
        let (mut pages, mut decoded) = (log.pages(0, events as u64), 0);
        while let Some(page) = pages.next().await? {
            decoded += std::hint::black_box(page).len();
        }
        ensure!(decoded == events, "{decoded} of {events} events were read");
        times[1].push(rate(events, began.elapsed()));

        let began = Instant::now();
        let verified = eventstore::verify(database, |_| ()).await?;
        ensure!(matches!(verified, Verified::Whole { .. }), "the chain is broken: {verified:?}");
        times[2].push(rate(events, began.elapsed()));

        machine::forget_peak();
        let look = machine::Look::at("rebuild", std::process::id())?;
        let began = Instant::now();
        let rebuilt = projections::rebuild(database, |_| ()).await?;
        ensure!(rebuilt.differences.is_empty(), "the views differ: {:?}", rebuilt.differences);
        times[3].push(rate(events, began.elapsed()));
        drop(look);
        peak = peak.max(machine::peak_mib());
    }
    let [scan, read, verify, rebuild] = times.map(|times| median(times, |value| *value));
    tell(Figure::new("scan", engine, scan, "events/s"));
    tell(Figure::new("read", engine, read, "events/s").beside(scan));
    tell(Figure::new("verify", engine, verify, "events/s").beside(scan));
    let figure = Figure::new("rebuild", engine, rebuild, "events/s").beside(scan);
    tell(Figure { peak_mib: peak, ..figure });
    Ok(())
}
