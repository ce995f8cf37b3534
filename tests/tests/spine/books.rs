//! Sellers close their books in the middle of random histories (`src/books.rs`): what was told of bills is told again,
//! what is sealed follows from the log, and both databases say the same.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use atrium_tests::books;
use atrium_tests::history::hush_asked_panics;
use eventstore::Engine;

/// Steps of a history.
const STEPS: usize = 44;
/// Histories where `ATRIUM_SEEDS` does not say how many.
const SEEDS: u64 = 1;

#[tokio::test(flavor = "multi_thread")]
async fn books_are_closed_in_the_middle_of_histories_and_tell_the_same_for_ever() -> Result<()> {
    hush_asked_panics();
    let wished = std::env::var("ATRIUM_SEEDS").ok().and_then(|text| text.parse().ok());
    let mut counts = BTreeMap::<_, usize>::new();
    for seed in 1..=wished.unwrap_or(SEEDS) {
        let mut runs = Vec::new();
        for engine in [Engine::Sqlite, Engine::Postgres] {
            let run = books::run(seed, engine, STEPS).await;
            runs.push(run.with_context(|| format!("seed {seed} on {engine:?}"))?);
        }
        ensure!(runs[0].told == runs[1].told, "seed {seed}: bills differ");
        ensure!(runs[0].sealed == runs[1].sealed, "seed {seed}: what is sealed differs");
        ensure!(runs[0] == runs[1], "seed {seed}: the logs differ");
        for (what, how_often) in &runs[0].counts {
            *counts.entry(*what).or_default() += how_often;
        }
    }
    // What never happens proves nothing.
    for what in [
        "asked again as of a moment",
        "closed by a reseller",
        "corrections",
        "deferred",
        "rehearsed",
        "rerated",
        "superseded",
    ] {
        ensure!(counts.contains_key(what), "nothing was {what}: {counts:?}");
    }
    Ok(())
}
