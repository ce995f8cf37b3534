//! Keeps what was measured, and writes the tables of `docs/PERFORMANCE.md` from what was kept. Nobody copies
//! a number by hand; a test compares the document with the kept figures.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use commands::{Ambient as _, SystemAmbient};
use serde::{Deserialize, Serialize};

use super::{Figure, Size};

/// Under which circumstances some figures were measured: the first line of what is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    /// Of the program; with a `+` where files were changed since.
    commit: String,
    /// Which day it was.
    date: String,
    /// What the machine computes with.
    processor: String,
    /// How many of it.
    processors: usize,
    /// Measurements that each figure is the median of.
    runs: usize,
    /// What else there was to do in the minute before: the system's load, in processes.
    load: f64,
}

impl About {
    /// These circumstances.
    ///
    /// # Errors
    /// Where git cannot say which commit this is.
    pub fn now(size: Size) -> Result<Self> {
        let git = |arguments: &[&str]| -> Result<String> {
            let output = Command::new("git").current_dir(project()).args(arguments).output()?;
            ensure!(output.status.success(), "git {arguments:?} failed");
            Ok(String::from_utf8(output.stdout)?.trim().to_owned())
        };
        let is_changed =
            !git(&["status", "--porcelain", "--untracked-files=no", "--", ":!docs"])?.is_empty();
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            commit: git(&["rev-parse", "--short", "HEAD"])? + if is_changed { "+" } else { "" },
            date: SystemAmbient.now().date_naive().to_string(),
            processor: model.map_or("unknown", |(_, model)| model).to_owned(),
            processors: std::thread::available_parallelism()?.get(),
            runs: size.runs,
            load: load(),
        })
    }
}

fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

/// Keeps figures of one benchmark on one database, in the place of those that were kept before.
///
/// # Errors
/// Where the file cannot be written.
pub fn keep(name: &str, about: &About, figures: &[Figure]) -> Result<()> {
    let database = figures.first().context("there are figures to keep")?.database;
    let mut text = serde_json::to_string(about)? + "\n";
    for figure in figures {
        text += &(serde_json::to_string(figure)? + "\n");
    }
    let folder = kept_in();
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::write(folder.join(format!("{name}-{database}.jsonl")), text)?)
}

/// Writes the document's tables anew.
///
/// # Errors
/// Where a file cannot be read or written, or is not as it should be.
pub fn report() -> Result<()> {
    let path = document();
    let text = std::fs::read_to_string(&path)?;
    Ok(std::fs::write(path, with_tables(&text, &Kept::read()?)?)?)
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is in the project")
}

fn kept_in() -> PathBuf {
    project().join("docs/performance")
}

fn document() -> PathBuf {
    project().join("docs/PERFORMANCE.md")
}

/// A figure as it was kept.
#[derive(Clone, Debug, Deserialize)]
struct Measured {
    name: String,
    in_flight: Option<usize>,
    value: f64,
    raw: Option<f64>,
    ratio: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    peak_mib: Option<u64>,
    size: Option<usize>,
}

/// Everything that is kept.
struct Kept(Vec<File>);

struct File {
    benchmark: &'static str,
    database: &'static str,
    about: About,
    figures: Vec<Measured>,
}

const BENCHMARKS: [&str; 7] =
    ["append", "rebuild", "properties", "served", "growth", "close", "facts"];
const DATABASES: [&str; 2] = ["sqlite", "postgres"];

impl Kept {
    fn read() -> Result<Self> {
        let mut files = Vec::new();
        for benchmark in BENCHMARKS {
            for database in DATABASES {
                let path = kept_in().join(format!("{benchmark}-{database}.jsonl"));
                let Ok(text) = std::fs::read_to_string(&path) else { continue };
                let mut lines = text.lines();
                let about = lines.next().with_context(|| format!("{path:?} is empty"))?;
                files.push(File {
                    benchmark,
                    database,
                    about: serde_json::from_str(about)?,
                    figures: lines.map(serde_json::from_str).collect::<Result<_, _>>()?,
                });
            }
        }
        Ok(Self(files))
    }

    fn all(&self, benchmark: &str, database: &str) -> impl Iterator<Item = &Measured> {
        let files = self.0.iter();
        files
            .filter(move |file| file.benchmark == benchmark && file.database == database)
            .flat_map(|file| &file.figures)
    }

    fn find(&self, benchmark: &str, database: &str, name: &str) -> Option<&Measured> {
        self.all(benchmark, database).find(|figure| figure.name == name)
    }

    fn in_flight(&self, database: &str, name: &str, in_flight: usize) -> Option<&Measured> {
        let mut all = self.all("append", database);
        all.find(|figure| figure.name == name && figure.in_flight == Some(in_flight))
    }

    /// Of the histories, the smallest first.
    fn grown(&self, database: &str, name: &str) -> Vec<&Measured> {
        self.all("growth", database).filter(|figure| figure.name == name).collect()
    }
}

/// The document, with what is between the marks of each table written anew.
fn with_tables(document: &str, kept: &Kept) -> Result<String> {
    let mut text = document.to_owned();
    for (name, table) in [
        ("circumstances", circumstances(kept)),
        ("promises", promises(kept)),
        ("append", append(kept)),
        ("rebuild", rebuild(kept)),
        ("served", served(kept)),
        ("growth", growth(kept)),
    ] {
        let (begin, end) =
            (format!("<!-- {name}: written by scripts/bench report -->\n"), "<!-- end -->");
        let from = text.find(&begin).with_context(|| format!("the document has no {begin}"))?;
        let from = from + begin.len();
        let length = text[from..].find(end).with_context(|| format!("{name} has no {end}"))?;
        text.replace_range(from..from + length, &format!("\n{table}\n"));
    }
    Ok(text)
}

/// Rows of texts as a table; the first is its heading.
fn table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if number == 0 {
            let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
        }
    }
    text
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// A number with as many digits as say something.
fn number(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => whole(&format!("{value:.0}")),
    }
}

/// Digits, thousands apart.
fn whole(digits: &str) -> String {
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn or_none(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), number)
}

fn circumstances(kept: &Kept) -> String {
    let mut rows =
        vec![row(&["Benchmark", "Database", "Commit", "Date", "Machine", "Runs", "Load before"])];
    for File { benchmark, database, about, .. } in &kept.0 {
        let machine = format!("{} x {}", about.processors, about.processor);
        let (commit, runs) = (about.commit.clone(), about.runs.to_string());
        let (benchmark, database) = ((*benchmark).to_owned(), (*database).to_owned());
        let (date, load) = (about.date.clone(), number(about.load));
        rows.push(vec![benchmark, database, commit, date, machine, runs, load]);
    }
    table(&rows)
}

/// What is promised of a figure.
#[derive(Clone, Copy, Default)]
struct Target {
    at_least: Option<f64>,
    at_most: Option<f64>,
    ratio_at_least: Option<f64>,
    ratio_at_most: Option<f64>,
    p99_ms: Option<f64>,
    peak_mib: Option<u64>,
}

/// A promise, and what it is measured by.
struct Promise {
    what: &'static str,
    promised: &'static str,
    benchmark: &'static str,
    figure: &'static str,
    in_flight: Option<usize>,
    unit: &'static str,
    targets: [Target; 2],
}

fn promised() -> Vec<Promise> {
    let both = |target: Target| [target, target];
    let at_least = |value| Target { at_least: Some(value), ..Target::default() };
    let at_most = |value| Target { at_most: Some(value), ..Target::default() };
    let p99 = |target: Target, ms| Target { p99_ms: Some(ms), ..target };
    let append = |value| Target { ratio_at_least: Some(0.5), ..p99(at_least(value), 25.0) };
    vec![
        Promise {
            what: "Durable commands, 256 in flight",
            promised: "SQLite 15,000/s, PostgreSQL 25,000/s; half of raw; p99 25 ms",
            benchmark: "append",
            figure: "append",
            in_flight: Some(256),
            unit: "/s",
            targets: [append(15_000.0), append(25_000.0)],
        },
        Promise {
            what: "The same over HTTP",
            promised: "8,000/s; p99 50 ms",
            benchmark: "served",
            figure: "http-commands",
            in_flight: None,
            unit: "/s",
            targets: both(p99(at_least(8_000.0), 50.0)),
        },
        Promise {
            what: "One command alone",
            promised: "1.5 x (fsync + round trips)",
            benchmark: "append",
            figure: "alone",
            in_flight: None,
            unit: " ms",
            targets: both(Target { ratio_at_most: Some(1.5), ..Target::default() }),
        },
        Promise {
            what: "Rebuild of all views",
            promised: "250,000 events/s",
            benchmark: "rebuild",
            figure: "rebuild",
            in_flight: None,
            unit: "/s",
            targets: both(at_least(250_000.0)),
        },
        Promise {
            what: "Log read and decoded",
            promised: "SQLite 450,000, PostgreSQL 800,000 events/s",
            benchmark: "rebuild",
            figure: "read",
            in_flight: None,
            unit: "/s",
            targets: [at_least(450_000.0), at_least(800_000.0)],
        },
        Promise {
            what: "GraphQL page, 20 customers with 5 subscriptions each",
            promised: "5,000/s; p99 15 ms",
            benchmark: "served",
            figure: "graphql-page",
            in_flight: None,
            unit: "/s",
            targets: both(p99(at_least(5_000.0), 15.0)),
        },
        Promise {
            what: "Bill of 100,000 rows, to the last byte",
            promised: "1 s; 64 MiB",
            benchmark: "served",
            figure: "billing-ms",
            in_flight: None,
            unit: " ms",
            targets: both(Target { peak_mib: Some(64), ..at_most(1_000.0) }),
        },
        Promise {
            what: "Closing a period of 1,000,000 entries",
            promised: "60 s; 500 MiB",
            benchmark: "close",
            figure: "close",
            in_flight: None,
            unit: " entries/s",
            targets: both(Target { peak_mib: Some(500), ..at_least(1_000_000.0 / 60.0) }),
        },
        Promise {
            what: "Replay of a closed period, 100,000 instances",
            promised: "2 s",
            benchmark: "close",
            figure: "replay",
            in_flight: None,
            unit: " entries/s",
            targets: both(at_least(50_000.0)),
        },
        Promise {
            what: "Recording a fact, with 4,000 facts of its slot or 120 open periods before it",
            promised: "within 15 %",
            benchmark: "facts",
            figure: "facts-left",
            in_flight: None,
            unit: " of the rate without",
            targets: both(at_least(0.85)),
        },
        Promise {
            what: "30 properties of a holder with 60 overrides, once loaded",
            promised: "100 us",
            benchmark: "properties",
            figure: "resolve-30",
            in_flight: None,
            unit: " us",
            targets: both(at_most(100.0)),
        },
        Promise {
            what: "50 properties with 200 overrides, six levels down",
            promised: "100 us",
            benchmark: "properties",
            figure: "resolve-50",
            in_flight: None,
            unit: " us",
            targets: both(at_most(100.0)),
        },
        Promise {
            what: "Ready after a kill, 10 million events",
            promised: "2 s",
            benchmark: "growth",
            figure: "start",
            in_flight: None,
            unit: " ms",
            targets: both(at_most(2_000.0)),
        },
        Promise {
            what: "Idle memory",
            promised: "40 MiB",
            benchmark: "served",
            figure: "idle",
            in_flight: None,
            unit: " MiB",
            targets: both(at_most(40.0)),
        },
    ]
}

impl Target {
    /// What is not as it was promised.
    fn missed(&self, figure: &Measured) -> Vec<&'static str> {
        let above = |value: Option<f64>, most: Option<f64>| match (value, most) {
            (Some(value), Some(most)) => value > most,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let below = |value: Option<f64>, least: Option<f64>| match (value, least) {
            (Some(value), Some(least)) => value < least,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let peak = figure.peak_mib.map(|mib| mib as f64);
        [
            (below(Some(figure.value), self.at_least), "number"),
            (above(Some(figure.value), self.at_most), "number"),
            (below(figure.ratio, self.ratio_at_least), "ratio"),
            (above(figure.ratio, self.ratio_at_most), "ratio"),
            (above(figure.p99_ms, self.p99_ms), "p99"),
            (above(peak, self.peak_mib.map(|mib| mib as f64)), "memory"),
        ]
        .into_iter()
        .filter_map(|(is_missed, what)| is_missed.then_some(what))
        .collect()
    }
}

fn promises(kept: &Kept) -> String {
    let mut rows = vec![row(&["What", "Promised", "SQLite", "", "PostgreSQL", ""])];
    for promise in promised() {
        let mut cells = row(&[promise.what, promise.promised]);
        for (database, target) in DATABASES.iter().zip(promise.targets) {
            // Of several histories, the longest.
            let figure = kept.all(promise.benchmark, database).filter(|figure| {
                figure.name == promise.figure
                    && promise.in_flight.is_none_or(|it| figure.in_flight == Some(it))
            });
            let Some(figure) = figure.last() else {
                cells.extend(row(&["not measured", ""]));
                continue;
            };
            let mut text = format!("{}{}", number(figure.value), promise.unit);
            if target.ratio_at_least.or(target.ratio_at_most).is_some() {
                let _ = write!(text, ", {} of raw", or_none(figure.ratio));
            }
            if target.p99_ms.is_some() {
                let _ = write!(text, ", p99 {} ms", or_none(figure.p99_ms));
            }
            if let (Some(_), Some(mib)) = (target.peak_mib, figure.peak_mib) {
                let _ = write!(text, ", {mib} MiB");
            }
            if let (Some(size), "billing-ms" | "start") = (figure.size, promise.figure) {
                let what = if promise.figure == "start" { "events" } else { "rows" };
                let _ = write!(text, " ({} {what})", whole(&size.to_string()));
            }
            let missed = target.missed(figure);
            let verdict = match missed[..] {
                [] => "met".to_owned(),
                _ => format!("**missed**: {}", missed.join(", ")),
            };
            cells.extend([text, verdict]);
        }
        rows.push(cells);
    }
    rows.push(flatness(kept));
    table(&rows)
}

/// How much slower anything may be with the longest history than with the shortest.
const FLAT_PERCENT: f64 = 15.0;
/// What is measured of each history: its figure, what it is, and whether more is better.
const GROWN: [(&str, &str); 5] = [
    ("commands", "commands/s in process, 256 in flight"),
    ("slot", "one slot's stream loaded, a second"),
    ("http-commands", "commands/s over HTTP"),
    ("json-page", "JSON pages/s"),
    ("graphql-page", "GraphQL pages/s"),
];

fn flatness(kept: &Kept) -> Vec<String> {
    let mut cells = row(&["Flat while the history grows", "within 15 %"]);
    for database in DATABASES {
        let changes: Vec<_> = GROWN
            .iter()
            .filter_map(|(name, _)| {
                let grown = kept.grown(database, name);
                let (first, last) = (grown.first()?, grown.last()?);
                (grown.len() > 1).then(|| (last.value / first.value - 1.0) * 100.0)
            })
            .collect();
        let Some(worst) = changes.into_iter().min_by(f64::total_cmp) else {
            cells.extend(row(&["not measured", ""]));
            continue;
        };
        let verdict = if worst < -FLAT_PERCENT { "**missed**" } else { "met" };
        cells.extend([format!("worst {worst:+.0} %"), verdict.to_owned()]);
    }
    cells
}

fn append(kept: &Kept) -> String {
    let heading = ["In flight", "SQLite /s", "of raw", "p50 ms", "p99 ms", "CPU s/1,000"];
    let mut heading = row(&heading);
    heading.extend(row(&["PostgreSQL /s", "of raw", "p50 ms", "p99 ms", "CPU s/1,000"]));
    let mut rows = vec![heading];
    for in_flight in [1, 16, 64, 256, 1_024] {
        let mut cells = vec![whole(&in_flight.to_string())];
        for database in DATABASES {
            let figure = kept.in_flight(database, "append", in_flight);
            let cpu = kept.in_flight(database, "append-cpu", in_flight);
            cells.extend([
                or_none(figure.map(|it| it.value)),
                or_none(figure.and_then(|it| it.ratio)),
                or_none(figure.and_then(|it| it.p50_ms)),
                or_none(figure.and_then(|it| it.p99_ms)),
                or_none(cpu.map(|it| it.value)),
            ]);
        }
        rows.push(cells);
    }
    let mut text = table(&rows);
    for (database, name) in DATABASES.iter().zip(["SQLite", "PostgreSQL"]) {
        if let (Some(alone), Some(fsync)) =
            (kept.find("append", database, "alone"), kept.find("append", database, "fsync"))
        {
            let _ = write!(
                text,
                "\n{name}: one command alone {} ms, fsync and round trips {} ms in the same run \
                 (fsync of 4 KiB at its beginning {} ms).\n",
                number(alone.value),
                or_none(alone.raw),
                number(fsync.value),
            );
        }
    }
    text
}

fn rebuild(kept: &Kept) -> String {
    let mut rows = vec![row(&["Events/s", "SQLite", "PostgreSQL"])];
    for (name, what) in [
        ("scan", "scanned by the database alone"),
        ("read", "read and decoded"),
        ("verify", "verified"),
        ("rebuild", "views rebuilt, compared, switched"),
    ] {
        let figure = |database| or_none(kept.find("rebuild", database, name).map(|it| it.value));
        rows.push(vec![what.to_owned(), figure("sqlite"), figure("postgres")]);
    }
    table(&rows)
}

fn served(kept: &Kept) -> String {
    let mut rows = vec![row(&[
        "",
        "SQLite",
        "p50 ms",
        "p99 ms",
        "peak MiB",
        "PostgreSQL",
        "p50 ms",
        "p99 ms",
        "peak MiB",
    ])];
    for (name, what) in [
        ("http-commands", "commands/s"),
        ("http-commands-cpu", "CPU s for 1,000 of them"),
        ("json-page", "JSON pages/s"),
        ("json-page-cpu", "CPU s for 1,000 of them"),
        ("graphql-page", "GraphQL pages/s"),
        ("graphql-page-cpu", "CPU s for 1,000 of them"),
        ("billing", "rows/s of a bill"),
        ("seed", "events/s of `atrium seed`"),
        ("idle", "MiB when nobody asks"),
        ("start", "ms to be ready after a kill"),
        ("first-command", "ms for the first command of a process"),
    ] {
        let mut cells = vec![what.to_owned()];
        for database in DATABASES {
            let figure = kept.find("served", database, name);
            let peak = figure.and_then(|it| it.peak_mib);
            cells.extend([
                or_none(figure.map(|it| it.value)),
                or_none(figure.and_then(|it| it.p50_ms)),
                or_none(figure.and_then(|it| it.p99_ms)),
                peak.map_or_else(|| "-".to_owned(), |mib| mib.to_string()),
            ]);
        }
        rows.push(cells);
    }
    table(&rows)
}

fn growth(kept: &Kept) -> String {
    let mut text = String::new();
    for (database, title) in DATABASES.iter().zip(["SQLite", "PostgreSQL"]) {
        let sizes: Vec<_> =
            kept.grown(database, "commands").iter().filter_map(|figure| figure.size).collect();
        if sizes.is_empty() {
            continue;
        }
        let mut heading = vec![format!("{title}, events")];
        heading.extend(sizes.iter().map(|size| whole(&size.to_string())));
        heading.push("change".to_owned());
        let mut rows = vec![heading];
        let others =
            [("seed", "`atrium seed`, events/s"), ("start", "ms to be ready after a kill")];
        for (name, what) in GROWN.iter().chain(&others) {
            let values: Vec<_> = kept.grown(database, name).iter().map(|it| it.value).collect();
            let mut cells = vec![(*what).to_owned()];
            cells.extend(values.iter().map(|value| number(*value)));
            let change = match (values.first(), values.last()) {
                (Some(first), Some(last)) if values.len() == sizes.len() => {
                    format!("{:+.0} %", (last / first - 1.0) * 100.0)
                }
                _ => String::new(),
            };
            cells.resize(sizes.len() + 1, "-".to_owned());
            cells.push(change);
            rows.push(cells);
        }
        let _ = writeln!(text, "{}", table(&rows));
    }
    text.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_shows_what_was_measured() -> Result<()> {
        let text = std::fs::read_to_string(document())?;
        let ours = with_tables(&text, &Kept::read()?)?;
        assert!(
            text == ours,
            "docs/PERFORMANCE.md is not from docs/performance: scripts/bench report"
        );
        Ok(())
    }

    #[test]
    fn what_is_worse_than_promised_is_said_to_be_missed() {
        let figure: Measured = serde_json::from_str(
            r#"{"name":"x","in_flight":1,"value":10.0,"raw":20.0,"ratio":0.5,"p50_ms":1.0,
                "p99_ms":30.0,"peak_mib":50,"size":null}"#,
        )
        .unwrap();
        let target =
            Target { at_least: Some(10.0), ratio_at_least: Some(0.5), ..Target::default() };
        assert!(target.missed(&figure).is_empty());
        let target = Target { peak_mib: Some(49), p99_ms: Some(29.9), ..target };
        assert_eq!(target.missed(&figure), ["p99", "memory"]);
        let target = Target { at_most: Some(9.9), ratio_at_most: Some(0.4), ..Target::default() };
        assert_eq!(target.missed(&figure), ["number", "ratio"]);
        assert_eq!(number(1_234_567.4), "1,234,567");
        assert_eq!(number(12.34), "12.3");
    }
}
