//! The benchmarks on the command line; `scripts/bench` builds and runs them.

use anyhow::{Context as _, Result, ensure};
use atrium_tests::bench::{self, About, Figure, Size};
use clap::{Parser, ValueEnum};
use eventstore::Engine;

/// The one that the `atrium` binary has: what is measured is what is shipped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How fast Atrium is here, beside the raw limit of the database.
#[derive(Parser)]
#[command(max_term_width = 100)]
struct Arguments {
    /// What to measure; everything where it is left out
    #[arg(value_enum)]
    names: Vec<Name>,
    /// On which
    #[arg(long, value_enum, default_value_t = Databases::Both)]
    database: Databases,
    /// One JSON object a line and figure instead of a table
    #[arg(long)]
    json: bool,
    /// Keep the figures in docs/performance, for `report`
    #[arg(long, conflicts_with_all = ["quick", "in_flight"])]
    keep: bool,
    /// Once, and little: to see that it works, not how fast it is
    #[arg(long)]
    quick: bool,
    /// Take the populations of `growth` on SQLite from there, where there is a folder that is called as many as their
    /// events are, such as 10000000: made by `atrium seed`, used up by this
    #[arg(long, value_name = "DIR")]
    populations: Option<std::path::PathBuf>,
    /// Have `perf` look into what measures a figure, such as `graphql-page=FILE`; its numbers are worth nothing
    /// then. `scripts/profile` draws what it saw
    #[arg(long, value_name = "FIGURE=FILE", conflicts_with = "keep")]
    look: Option<String>,
    /// How many commands are asked at the same time; each of 1, 16, 64, 256 and 1,024 in turn where
    /// it is left out
    #[arg(long)]
    in_flight: Option<usize>,
    /// Only record so many entries in the folder or the PostgreSQL database that is named, for `close`
    #[arg(long, hide = true, value_name = "PLACE ENTRIES", num_args = 2)]
    record: Option<Vec<String>>,
    /// How many times everything is measured; the median is told
    #[arg(long)]
    runs: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Durable commands/s with 1 to 1,024 in flight
    Append,
    /// Scanning, decoding, verifying and rebuilding
    Rebuild,
    /// Effective values: of one holder once all is loaded, and of a page of twenty
    Properties,
    /// The real server over HTTP: commands, pages, a bill, its memory, its start after a kill
    Served,
    /// Histories of 100,000 to 10 million events: commands, slots, pages, the start after a kill
    Growth,
    /// One, two and four servers on one PostgreSQL
    Several,
    /// What tables and indexes grow by for each command
    Space,
    /// Closing a period of a million entries
    Close,
    /// Recording a fact, whatever was before it
    Facts,
    /// Measures nothing: writes the tables of docs/PERFORMANCE.md from what was kept
    Report,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Databases {
    Sqlite,
    Postgres,
    Both,
}

const FULL: Size = Size {
    customers: 2_000,
    population: 8_200,
    commands: 20_000,
    runs: 3,
    entries: 1_000_000,
    events: 300_000,
    growth: [100_000, 1_000_000, 10_000_000],
};
const QUICK: Size = Size {
    customers: 100,
    population: 100,
    commands: 1_000,
    runs: 1,
    entries: 3_000,
    events: 6_000,
    growth: [5_000, 10_000, 20_000],
};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let size = if arguments.quick { QUICK } else { FULL };
    let size = Size { runs: arguments.runs.unwrap_or(size.runs).max(1), ..size };
    let names = match &arguments.names[..] {
        [] => &[
            Name::Append,
            Name::Rebuild,
            Name::Properties,
            Name::Served,
            Name::Growth,
            Name::Several,
            Name::Space,
            Name::Close,
            Name::Facts,
        ],
        names => names,
    };
    if let Some([place, entries]) = arguments.record.as_deref() {
        return bench::record(place, Size { entries: entries.parse()?, ..size }).await;
    }
    if let Some(look) = &arguments.look {
        let (figure, file) = look.split_once('=').context("--look FIGURE=FILE")?;
        bench::look_into(figure.to_owned(), file.into());
    }
    if names.contains(&Name::Report) {
        ensure!(names.len() == 1, "a report is written after everything was measured");
        return bench::report();
    }
    if !arguments.json {
        println!("{HEADING}");
    }
    for (engine, chosen) in
        [(Engine::Sqlite, Databases::Sqlite), (Engine::Postgres, Databases::Postgres)]
    {
        if arguments.database != Databases::Both && arguments.database != chosen {
            continue;
        }
        for name in names {
            let mut told = Vec::new();
            let about = About::now(size)?;
            let mut tell = |figure: Figure| {
                if arguments.json {
                    let json = serde_json::to_string(&figure);
                    println!("{}", json.expect("a figure has a JSON form"));
                } else {
                    println!("{}", line(&figure));
                }
                told.push(figure);
            };
            match name {
                Name::Append => bench::append(engine, size, arguments.in_flight, &mut tell).await?,
                Name::Rebuild => bench::rebuild(engine, size, &mut tell).await?,
                Name::Properties => bench::properties(engine, size, &mut tell).await?,
                Name::Served => bench::served(engine, size, &mut tell).await?,
                Name::Growth => {
                    let made = arguments.populations.as_deref();
                    bench::growth(engine, size, made, &mut tell).await?;
                }
                Name::Several if engine == Engine::Postgres => {
                    bench::several(size, &mut tell).await?;
                }
                Name::Several => {}
                Name::Space => bench::space(engine, size, &mut tell).await?,
                Name::Close => bench::close(engine, size, &mut tell).await?,
                Name::Facts => bench::facts(engine, size, &mut tell).await?,
                Name::Report => unreachable!("it stands alone"),
            }
            if arguments.keep && !told.is_empty() {
                let value = name.to_possible_value().expect("every benchmark has a name");
                bench::keep(value.get_name(), &about, &told)?;
            }
        }
    }
    Ok(())
}

const HEADING: &str = "what          database   in flight         value  unit                         raw  \
                       ratio   p50 ms   p99 ms  peak MiB";

fn line(figure: &Figure) -> String {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let whole = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |it| it.to_string());
    let digits = if figure.value < 100.0 { 2 } else { 0 };
    format!(
        "{:<13} {:<9} {:>10} {:>13} {:<22} {:>9} {:>6} {:>8} {:>8} {:>9}",
        figure.name,
        figure.database,
        whole(figure.in_flight.map(|it| it as u64)),
        number(Some(figure.value), digits),
        figure.unit,
        number(figure.raw, 0),
        number(figure.ratio, 2),
        number(figure.p50_ms, 1),
        number(figure.p99_ms, 1),
        whole(figure.peak_mib),
    )
}
