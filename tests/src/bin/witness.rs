//! The witness on the command line; `scripts/witness` builds and runs it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use atrium_tests::witness::verdict::Loss;
use atrium_tests::witness::{Plan, Report, kill, leave, server};
use clap::{Parser, ValueEnum};
use eventstore::Engine;

/// Kills the real `atrium` under load, and says what is lost: nothing, if all is well.
#[derive(Parser)]
#[command(max_term_width = 100)]
struct Arguments {
    /// Times that the server is killed, on each database
    #[arg(long, default_value_t = 100)]
    cycles: u32,
    /// Clients that go away 0 to 5 ms after sending, on each database
    #[arg(long, default_value_t = 1_000)]
    leaving: u32,
    /// On which
    #[arg(long, value_enum, default_value_t = Databases::Both)]
    database: Databases,
    /// Begins all that is random; another one every time where it is left out
    #[arg(long)]
    seed: Option<u64>,
    /// Three cycles, a hundred clients
    #[arg(long)]
    quick: bool,
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
    fn engines(self) -> &'static [Engine] {
        match self {
            Self::Sqlite => &[Engine::Sqlite],
            Self::Postgres => &[Engine::Postgres],
            Self::Both => &[Engine::Sqlite, Engine::Postgres],
        }
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let (cycles, leaving) =
        if arguments.quick { (3, 100) } else { (arguments.cycles, arguments.leaving) };
    let seed = arguments.seed.unwrap_or_else(|| rand::random_range(1..1_000_000));
    let binary = match arguments.binary {
        Some(binary) => binary,
        None => server::built()?,
    };
    let mut rows = Vec::new();
    for engine in arguments.database.engines() {
        let plan = Plan { engine: *engine, seed, binary: binary.clone(), keep: true };
        let began = Instant::now();
        println!("{engine:?}, seed {seed}: {cycles} times kill -9 under load");
        let killed = kill(&plan, cycles, |told| println!("  {told}")).await;
        let killed = killed.unwrap_or_else(|error| Report::of_failure(&error));
        println!("  {killed}\n  {:.0?}", began.elapsed());
        rows.push((*engine, "killed", killed));
        let began = Instant::now();
        println!("{engine:?}, seed {seed}: {leaving} clients that go away");
        let left = leave(&plan, leaving).await;
        let left = left.unwrap_or_else(|error| Report::of_failure(&error));
        println!("  {left}\n  {:.0?}", began.elapsed());
        rows.push((*engine, "clients gone", left));
    }
    println!("\n{}", table(&rows));
    if rows.iter().all(|(.., report)| report.is_clean()) {
        println!("PASS: nothing is lost (seed {seed}).");
        return Ok(ExitCode::SUCCESS);
    }
    println!("FAIL (seed {seed}):");
    for (engine, what, report) in &rows {
        for complaint in report.complaints() {
            println!("  {engine:?}, {what}: {complaint}");
        }
    }
    Ok(ExitCode::FAILURE)
}

fn table(rows: &[(Engine, &str, Report)]) -> String {
    let mut table = format!(
        "{:<9} {:<12} {:>6} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "database", "fault", "kills", "gone", "commands", "acked", "refused", "unknown", "events"
    );
    for loss in Loss::ALL {
        table.push_str(&format!(" {:>10}", format!("{loss:?}").to_lowercase()));
    }
    table.push_str("  laws");
    for (engine, what, report) in rows {
        let verdict = &report.verdict;
        table.push_str(&format!(
            "\n{:<9} {what:<12} {:>6} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8}",
            format!("{engine:?}"),
            report.kills + report.kills_at_start,
            report.gone,
            verdict.commands,
            verdict.acknowledged,
            verdict.refused,
            verdict.unknown,
            verdict.events,
        ));
        for loss in Loss::ALL {
            table.push_str(&format!(" {:>10}", verdict.count(loss)));
        }
        table.push_str(if report.unlawful.is_none() { "  hold" } else { "  BROKEN" });
    }
    table
}
