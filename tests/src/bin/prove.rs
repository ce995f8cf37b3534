//! The promises under fire on the command line; `scripts/prove` builds and runs it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use atrium_tests::prove::{Suite, Tier, Trial};
use atrium_tests::witness::verdict::Loss;
use atrium_tests::witness::{Report, server};
use clap::{Parser, ValueEnum};
use eventstore::Engine;
use futures_util::{StreamExt as _, stream};

/// Does to a running Atrium what happens to servers, and says what is lost: nothing, if all is well.
#[derive(Parser)]
#[command(max_term_width = 100)]
struct Arguments {
    /// How long it goes on
    tier: Tier,
    /// Which suites; all of them where none is named
    suites: Vec<Suite>,
    /// On which database
    #[arg(long, value_enum, default_value_t = Databases::Both)]
    database: Databases,
    /// Begins all that is random; another one every time where it is left out
    #[arg(long)]
    seed: Option<u64>,
    /// How often, instead of what the tier says
    #[arg(long)]
    count: Option<u32>,
    /// An `atrium` to test instead of the one that is built from here
    #[arg(long)]
    binary: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Databases {
    Sqlite,
    Postgres,
    Both,
}

impl Databases {
    fn contains(self, engine: Engine) -> bool {
        match self {
            Self::Sqlite => engine == Engine::Sqlite,
            Self::Postgres => engine == Engine::Postgres,
            Self::Both => true,
        }
    }
}

/// What came of one suite on one database.
struct Row {
    suite: String,
    engine: Engine,
    report: Report,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| rand::random_range(1..1_000_000));
    let has_faults = arguments.binary.is_none() && cfg!(feature = "faults");
    let binary = match arguments.binary {
        Some(binary) => binary,
        None => server::built()?,
    };
    let all = Suite::value_variants();
    let suites = if arguments.suites.is_empty() { all } else { &arguments.suites };
    let mut rows = Vec::new();
    for suite in suites {
        let count = arguments.count.unwrap_or_else(|| suite.count(arguments.tier));
        println!("{}: {count} times, seed {seed}", name(*suite));
        let trial = |engine: Engine| Trial {
            engine,
            seed,
            count,
            binary: binary.clone(),
            has_faults,
            progress: |engine, told| println!("  {engine:?}: {told}"),
        };
        let trials = suite.engines().iter().copied().filter(|it| arguments.database.contains(*it));
        // Most of the time they wait, so the databases go side by side.
        let at_a_time = if suite.is_timed() { 1 } else { suite.engines().len() };
        let mut done =
            stream::iter(trials.map(trial)).map(|trial| run(*suite, trial)).buffered(at_a_time);
        while let Some(row) = done.next().await {
            rows.push(row);
        }
    }
    ensure!(!rows.is_empty(), "these suites have nothing to do on this database");
    println!("\n{}", table(&rows));
    for Row { suite, engine, report } in &rows {
        for skipped in &report.skipped {
            println!("NOT TRIED: {suite} on {engine:?}: {skipped}");
        }
    }
    if rows.iter().all(|row| row.report.is_clean()) {
        let all = rows.iter().all(|row| row.report.skipped.is_empty());
        let but = if all { "" } else { ", of what could be tried here" };
        println!("PASS: nothing is lost{but} (seed {seed}).");
        return Ok(ExitCode::SUCCESS);
    }
    println!("FAIL (seed {seed}):");
    for Row { suite, engine, report } in &rows {
        for complaint in report.complaints() {
            println!("  {suite} on {engine:?}: {complaint}");
        }
    }
    Ok(ExitCode::FAILURE)
}

async fn run(suite: Suite, trial: Trial) -> Row {
    let began = Instant::now();
    let report = suite.run(&trial).await;
    println!("  {:?}: {report}; {:.0?}", trial.engine, began.elapsed());
    Row { suite: name(suite), engine: trial.engine, report }
}

fn name(suite: Suite) -> String {
    suite.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

fn table(rows: &[Row]) -> String {
    let mut table = format!(
        "{:<9} {:<9} {:>8} {:>8} {:>8} {:>8}",
        "suite", "database", "commands", "acked", "unknown", "events"
    );
    for loss in Loss::ALL {
        table.push_str(&format!(" {:>10}", format!("{loss:?}").to_lowercase()));
    }
    table.push_str("  else   what was done");
    for Row { suite, engine, report } in rows {
        let verdict = &report.verdict;
        table.push_str(&format!(
            "\n{suite:<9} {:<9} {:>8} {:>8} {:>8} {:>8}",
            format!("{engine:?}"),
            verdict.commands,
            verdict.acknowledged,
            verdict.unknown,
            verdict.events,
        ));
        for loss in Loss::ALL {
            table.push_str(&format!(" {:>10}", verdict.count(loss)));
        }
        let done: Vec<_> =
            report.done.iter().map(|(what, times)| format!("{what} {times}")).collect();
        let rest = match (report.unlawful.is_empty(), report.done.is_empty()) {
            (true, true) => "none ",
            (true, false) => "well ",
            (false, _) => "WRONG",
        };
        table.push_str(&format!("  {rest}  {}", done.join(", ")));
    }
    table
}
