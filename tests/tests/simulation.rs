//! Whole installations with crashes, lost answers and jumping clocks, each from a seed: see
//! `tests/src/simulation.rs`. Seeds that failed once are kept in `tests/seeds` and always run.
//!
//! `ATRIUM_SIMULATIONS=5000`: so many seeds, instead of 500. `ATRIUM_SIMULATION=42`: only that one, twice as long as
//! needed to see whether it is the same every time.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use atrium_tests::history::hush_asked_panics;
use atrium_tests::simulation::{self, STEPS, Trace};
use eventstore::Engine;

/// Seeds where nobody says how many.
const SEEDS: u64 = 500;
/// Tests that share them: so they run on several processors.
const PARTS: u64 = 4;

/// The one seed that somebody wants to look at.
fn only() -> Option<u64> {
    std::env::var("ATRIUM_SIMULATION").ok().and_then(|text| text.parse().ok())
}

fn run(seed: u64, engine: Engine) -> Result<Trace> {
    hush_asked_panics();
    let scenario = fail::FailScenario::setup();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let trace = runtime.block_on(simulation::run(seed, engine, STEPS)).with_context(|| {
        format!(
            "seed {seed} on {engine:?} fails; it alone:\n\n    ATRIUM_SIMULATION={seed} cargo nextest run -p \
             atrium-tests --features faults --test simulation {}\n\nand once it is understood, a line in \
             tests/seeds",
            if engine == Engine::Sqlite { "seed" } else { "postgres" },
        )
    });
    scenario.teardown();
    trace
}

fn part(part: u64) -> Result<()> {
    let seeds = std::env::var("ATRIUM_SIMULATIONS").ok().and_then(|text| text.parse().ok());
    let all = 1..=seeds.unwrap_or(SEEDS);
    let seeds: Vec<_> = match only() {
        Some(seed) => {
            if part == 0 {
                vec![seed]
            } else {
                Vec::new()
            }
        }
        None => all.filter(|seed| seed % PARTS == part).collect(),
    };
    let began = Instant::now();
    let (mut asked, mut unknown, mut events) = (0, 0, 0);
    let mut troubles = BTreeMap::<_, u64>::new();
    for seed in &seeds {
        let trace = run(*seed, Engine::Sqlite)?;
        asked += trace.asked;
        unknown += trace.unknown;
        events += trace.events;
        trace
            .troubles
            .into_iter()
            .for_each(|(name, times)| *troubles.entry(name).or_default() += times);
    }
    println!(
        "{} seeds in {} ms: {asked} commands, {unknown} unknown outcomes, {events} events, 0 losses; {troubles:?}",
        seeds.len(),
        began.elapsed().as_millis()
    );
    ensure!(seeds.len() < 50 || unknown > seeds.len() as u64, "that was no trial");
    Ok(())
}

#[test]
fn seeds_hold_1_of_4() -> Result<()> {
    part(0)
}

#[test]
fn seeds_hold_2_of_4() -> Result<()> {
    part(1)
}

#[test]
fn seeds_hold_3_of_4() -> Result<()> {
    part(2)
}

#[test]
fn seeds_hold_4_of_4() -> Result<()> {
    part(3)
}

/// Each was a mistake once.
#[test]
fn kept_seeds_hold() -> Result<()> {
    for line in include_str!("../seeds").lines() {
        let seed = line.split('#').next().unwrap_or_default().trim();
        if !seed.is_empty() {
            run(seed.parse().with_context(|| format!("`{line}` in tests/seeds"))?, Engine::Sqlite)?;
        }
    }
    Ok(())
}

#[test]
fn a_few_seeds_hold_on_postgres() -> Result<()> {
    let seeds = only().map_or(1..=4, |seed| seed..=seed);
    seeds.into_iter().try_for_each(|seed| run(seed, Engine::Postgres).map(|_| ()))
}

#[test]
fn the_same_seed_gives_the_same_trace() -> Result<()> {
    let seeds = only().map_or(1..=12, |seed| seed..=seed);
    let mut all = std::collections::BTreeSet::new();
    for seed in seeds {
        let (once, again) = (run(seed, Engine::Sqlite)?, run(seed, Engine::Sqlite)?);
        for (once, again) in once.end.iter().zip(&again.end) {
            assert_eq!(once, again, "seed {seed}");
        }
        assert_eq!(once, again, "seed {seed}");
        assert!(all.insert(once.hash), "seed {seed} is like another");
    }
    Ok(())
}
