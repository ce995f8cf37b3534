//! Durable commands: decided, appended, folded into views and committed, beside the bare insert of
//! the same rows.

use std::time::{Duration, Instant};

use anyhow::Result;
use eventstore::{Database, Engine};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::{Figure, Size, Subject, machine, median, percentile, rate};
use crate::world::{Place, TestDatabase};

/// Commands asked at the same time.
const IN_FLIGHT: [usize; 5] = [1, 16, 64, 256, 1_024];

/// Measures commands with so many in flight, or with 1 to 1,024 in turn; `tell` hears each figure when it
/// is known.
///
/// # Errors
/// What the database says.
pub async fn append(
    engine: Engine,
    size: Size,
    in_flight: Option<usize>,
    tell: &mut impl FnMut(Figure),
) -> Result<()> {
    let fsync = machine::fsync(&std::env::temp_dir())?;
    tell(Figure::new("fsync", engine, fsync.as_secs_f64() * 1e3, "ms"));
    let subject = Subject::new(engine, size.customers).await?;
    for in_flight in in_flight.map_or(IN_FLIGHT.to_vec(), |only| vec![only]) {
        let commands = (size.commands * in_flight / 256).clamp(size.commands / 20, size.commands);
        let mut runs = Vec::new();
        for _ in 0..size.runs {
            let before = subject.world.writer.position();
            let before = *before.borrow();
            machine::forget_peak();
            let busy = machine::busy_seconds();
            let look = machine::Look::at("append", std::process::id())?;
            let (took, times) = subject.load(in_flight, commands).await?;
            drop(look);
            let busy = busy.zip(machine::busy_seconds()).map(|(from, to)| to - from);
            let peak_mib = machine::peak_mib();
            let raw = bare_inserts(engine, &subject.world.database, before, commands, in_flight);
            let figure = Figure {
                in_flight: Some(in_flight),
                p50_ms: Some(percentile(&times, 50)),
                p99_ms: Some(percentile(&times, 99)),
                peak_mib,
                ..Figure::new("append", engine, rate(commands, took), "commands/s")
                    .beside(rate(commands, raw.await?))
            };
            runs.push((figure, busy.map(|busy| busy * 1e3 / commands as f64)));
        }
        let (figure, busy) = median(runs, |(figure, _)| figure.value);
        if let (1, Some(p50)) = (in_flight, figure.p50_ms) {
            tell(Figure::new("alone", engine, p50, "ms").beside(least_ms(&subject).await?));
        }
        tell(figure);
        if let Some(busy) = busy {
            let figure = Figure::new("append-cpu", engine, busy, "cpu-s/1,000 commands");
            tell(Figure { in_flight: Some(in_flight), ..figure });
        }
    }
    Ok(())
}

/// Questions to a server for one provisioning alone: its slot is loaded, then everything is written.
const ROUND_TRIPS: u32 = 2;

/// The least that one durable command can take, in milliseconds: the disk's part, and that of the way to a
/// server and back.
async fn least_ms(subject: &Subject) -> Result<f64> {
    let fsync = machine::fsync(&std::env::temp_dir())?;
    let round_trip = match &subject.world.place.place {
        Place::Folder(_) => Duration::ZERO,
        Place::Url(url) => {
            let mut connection = sqlx::PgConnection::connect(url).await?;
            let mut times = Vec::new();
            for _ in 0..1_000 {
                let began = Instant::now();
                sqlx::query("select 1").fetch_one(&mut connection).await?;
                times.push(began.elapsed());
            }
            connection.close().await?;
            median(times, Duration::as_secs_f64)
        }
    };
    Ok((fsync + ROUND_TRIPS * round_trip).as_secs_f64() * 1e3)
}

/// The tables that a provisioning writes to, with their columns and how they are bound.
const TABLES: [(&str, &str, &str); 4] = [
    ("event", "position, stream, version, path, body, hash", "ititbb"),
    ("view_subscription", VIEW, "tttttiiib"),
    ("view_request", VIEW, "tttttiiib"),
    ("view_activity", VIEW, "tttttiiib"),
];
const VIEW: &str = "key, path, owner, kind, sort, since, until, position, document";

/// One column of some rows.
enum Cells {
    Int(Vec<i64>),
    Text(Vec<String>),
    Bytes(Vec<Vec<u8>>),
}

/// The rows of one table.
struct Copied {
    table: &'static str,
    columns: &'static str,
    cells: Vec<Cells>,
    rows: usize,
}

impl Copied {
    async fn of(
        database: &Database,
        (table, columns, kinds): (&'static str, &'static str, &'static str),
        after: u64,
    ) -> Result<Self> {
        let sql = format!("select {columns} from {table} where position > $1 order by position");
        let rows = database.fetch(&sql, &[after.into()]).await?;
        let mut cells = Vec::new();
        for (place, kind) in kinds.chars().enumerate() {
            cells.push(match kind {
                'i' => Cells::Int(rows.iter().map(|row| row.int(place)).collect::<Result<_, _>>()?),
                't' => Cells::Text(
                    rows.iter()
                        .map(|row| Ok(row.text(place)?.to_owned()))
                        .collect::<Result<_, sqlx::Error>>()?,
                ),
                _ => Cells::Bytes(
                    rows.iter()
                        .map(|row| Ok(row.bytes(place)?.to_vec()))
                        .collect::<Result<_, sqlx::Error>>()?,
                ),
            });
        }
        Ok(Self { table, columns, cells, rows: rows.len() })
    }

    /// Its share of the rows of one of several batches.
    fn share(&self, batch: usize, batches: usize) -> std::ops::Range<usize> {
        self.rows * batch / batches..self.rows * (batch + 1) / batches
    }
}

/// Inserts the rows that the last commands wrote into an empty database with the same tables: as
/// many commands' rows at a time as were in flight, one multi-row insert for each table, durably.
/// (A row that several commands wrote, such as a customer's activity, is inserted only once: what is
/// compared with is rather too fast than too slow.)
async fn bare_inserts(
    engine: Engine,
    database: &Database,
    after: u64,
    commands: usize,
    in_flight: usize,
) -> Result<Duration> {
    let mut tables = Vec::new();
    for table in TABLES {
        tables.push(Copied::of(database, table, after).await?);
    }
    let place = TestDatabase::new(engine).await?;
    place.open().await?.close().await;
    let batches = commands.div_ceil(in_flight);
    match &place.place {
        Place::Folder(folder) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new()
                .filename(folder.join("atrium.db"))
                .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
                .synchronous(sqlx::sqlite::SqliteSynchronous::Full)
                .pragma("cache_size", "-65536")
                .pragma("wal_autocheckpoint", "16384")
                .statement_cache_capacity(400);
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await?;
            let began = Instant::now();
            for batch in 0..batches {
                let mut transaction = connection.begin_with("begin immediate").await?;
                for table in &tables {
                    insert_sqlite(&mut transaction, table, table.share(batch, batches)).await?;
                }
                transaction.commit().await?;
            }
            let took = began.elapsed();
            connection.close().await?;
            Ok(took)
        }
        Place::Url(url) => {
            let mut connection = sqlx::PgConnection::connect(url).await?;
            let durable = sqlx::query("show fsync").fetch_one(&mut connection).await?;
            let durable: String = durable.try_get(0)?;
            anyhow::ensure!(durable == "on", "run under `scripts/postgres run --durable --`");
            let began = Instant::now();
            for batch in 0..batches {
                let mut transaction = connection.begin().await?;
                for table in &tables {
                    insert_postgres(&mut transaction, table, table.share(batch, batches)).await?;
                }
                transaction.commit().await?;
            }
            let took = began.elapsed();
            connection.close().await?;
            Ok(took)
        }
    }
}

/// Values that SQLite takes in one statement.
const SQLITE_VALUES_MAX: usize = 32_000;

async fn insert_sqlite(
    connection: &mut sqlx::SqliteConnection,
    table: &Copied,
    rows: std::ops::Range<usize>,
) -> Result<()> {
    let width = table.cells.len();
    let mut first = rows.start;
    while first < rows.end {
        let end = rows.end.min(first + SQLITE_VALUES_MAX / width);
        let row = format!("({})", vec!["?"; width].join(","));
        let values = vec![row; end - first].join(",");
        let sql = format!("insert into {} ({}) values {values}", table.table, table.columns);
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for row in first..end {
            for cells in &table.cells {
                query = match cells {
                    Cells::Int(values) => query.bind(values[row]),
                    Cells::Text(values) => query.bind(&values[row]),
                    Cells::Bytes(values) => query.bind(&values[row]),
                };
            }
        }
        query.execute(&mut *connection).await?;
        first = end;
    }
    Ok(())
}

async fn insert_postgres(
    connection: &mut sqlx::PgConnection,
    table: &Copied,
    rows: std::ops::Range<usize>,
) -> Result<()> {
    let arrays: Vec<_> = (1..)
        .zip(&table.cells)
        .map(|(parameter, cells)| match cells {
            Cells::Int(_) => format!("${parameter}::bigint[]"),
            Cells::Text(_) => format!("${parameter}::text[]"),
            Cells::Bytes(_) => format!("${parameter}::bytea[]"),
        })
        .collect();
    let sql = format!(
        "insert into {} ({}) select * from unnest({})",
        table.table,
        table.columns,
        arrays.join(", ")
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for cells in &table.cells {
        query = match cells {
            Cells::Int(values) => query.bind(&values[rows.clone()]),
            Cells::Text(values) => query.bind(&values[rows.clone()]),
            Cells::Bytes(values) => query.bind(&values[rows.clone()]),
        };
    }
    query.execute(connection).await?;
    Ok(())
}
