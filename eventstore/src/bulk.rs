//! Many rows in few statements: the one place where the two databases are written differently.

use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe};

use crate::database::Value;
use crate::fault::failpoint;
use crate::log::Head;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellKind {
    /// `bigint`.
    Int,
    /// `text`.
    Text,
    /// `bytea`, `blob`.
    Bytes,
}

/// What becomes of a row whose key is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nothing is written at all: what is never changed is never taken for what should be written.
    Refuse,
    /// It stays as it is.
    Keep,
    /// It is replaced, but for these columns, which are the same whenever the key is. (SQLite would write the
    /// entries of their indexes again all the same.)
    Replace(&'static [&'static str]),
    /// It is taken away, and nothing is written: the layout is the key alone. SQLite writes over what was there.
    Remove,
}

/// How a table looks to a bulk insert.
#[derive(Debug)]
pub struct Layout {
    /// Name and kind of each column.
    pub columns: &'static [(&'static str, CellKind)],
    /// The first columns that make the key.
    pub key: usize,
    /// What becomes of a row whose key is there already.
    pub taken: Taken,
}

/// The values of one column.
#[derive(Clone, Debug)]
pub enum Cells {
    /// `bigint`.
    Int(Vec<i64>),
    /// `text`.
    Text(Vec<String>),
    /// `bytea`, `blob`.
    Bytes(Vec<Vec<u8>>),
}

/// Rows for one table, column by column.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The table.
    pub table: String,
    /// Its columns.
    pub layout: &'static Layout,
    /// One for each column, all of one length.
    pub cells: Vec<Cells>,
}

impl Rows {
    /// No rows yet.
    #[must_use]
    pub fn new(table: impl Into<String>, layout: &'static Layout) -> Self {
        let cells = layout
            .columns
            .iter()
            .map(|(_, kind)| match kind {
                CellKind::Int => Cells::Int(Vec::new()),
                CellKind::Text => Cells::Text(Vec::new()),
                CellKind::Bytes => Cells::Bytes(Vec::new()),
            })
            .collect();
        Self { table: table.into(), layout, cells }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// Where the values are not those of the layout: a mistake in the program.
    pub fn push<const N: usize>(&mut self, values: [Value; N]) {
        assert_eq!(N, self.cells.len(), "a row has a value for each column of {}", self.table);
        for (cells, value) in self.cells.iter_mut().zip(values) {
            match (cells, value) {
                (Cells::Int(cells), Value::Int(value)) => cells.push(value),
                (Cells::Text(cells), Value::Text(value)) => cells.push(value),
                (Cells::Bytes(cells), Value::Bytes(value)) => cells.push(value),
                (cells, value) => panic!("{value:?} does not belong into {cells:?}"),
            }
        }
    }

    /// How many rows there are to write.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.first().map_or(0, |cells| match cells {
            Cells::Int(values) => values.len(),
            Cells::Text(values) => values.len(),
            Cells::Bytes(values) => values.len(),
        })
    }

    /// Whether a copy is quicker than an insert: see [`COPY_BYTES_MIN`].
    pub(crate) fn are_worth_a_copy(&self) -> bool {
        self.layout.taken == Taken::Refuse && self.bytes() >= COPY_BYTES_MIN
    }

    /// About how large they are on their way to PostgreSQL: each value with its length.
    fn bytes(&self) -> usize {
        self.cells
            .iter()
            .map(|cells| match cells {
                Cells::Int(values) => 12 * values.len(),
                Cells::Text(values) => values.iter().map(|text| text.len() + 4).sum(),
                Cells::Bytes(values) => values.iter().map(|bytes| bytes.len() + 4).sum(),
            })
            .sum()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn names(&self) -> String {
        self.layout.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// What happens to a row whose key is there already.
    fn on_conflict(&self) -> String {
        let (key, rest) = self.layout.columns.split_at(self.layout.key);
        let key = key.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        match self.layout.taken {
            Taken::Refuse | Taken::Remove => String::new(),
            Taken::Keep => format!("on conflict ({key}) do nothing"),
            Taken::Replace(same) => {
                let changing = rest.iter().filter(|(name, _)| !same.contains(name));
                let updates: Vec<_> =
                    changing.map(|(name, _)| format!("{name} = excluded.{name}")).collect();
                format!("on conflict ({key}) do update set {}", updates.join(", "))
            }
        }
    }
}

/// Writes everything, and moves the head where it is given, in one statement, which is its own
/// transaction: one round trip. False, and nothing written, where the head is not where it should be
/// moved from: another process was faster.
pub(crate) async fn write_postgres(
    connection: &mut PgConnection,
    head: Option<(Head, Head)>,
    tables: &[Rows],
) -> Result<bool, sqlx::Error> {
    failpoint("eventstore::bulk::write")?;
    let mut arguments = PgArguments::default();
    // Else the buffer is copied again and again while it grows.
    let columns = tables.iter().map(|rows| rows.cells.len()).sum::<usize>();
    arguments.reserve(columns + 4, tables.iter().map(Rows::bytes).sum());
    let mut parts = Vec::new();
    let mut parameters = 1..;
    let mut next = || parameters.next().expect("there is always a next number");
    let guard = match head {
        None => "",
        Some((base, head)) => {
            parts.push(format!(
                "moved as (update head set position = ${}, recorded_at = ${}, hash = ${} \
                 where position = ${} returning 1)",
                next(),
                next(),
                next(),
                next()
            ));
            add(&mut arguments, head.position.cast_signed())?;
            add(&mut arguments, head.recorded_at)?;
            add(&mut arguments, head.hash.to_vec())?;
            add(&mut arguments, base.position.cast_signed())?;
            "where exists (select 1 from moved)"
        }
    };
    for (number, rows) in tables.iter().enumerate() {
        let mut arrays = Vec::with_capacity(rows.cells.len());
        for cells in &rows.cells {
            let parameter = next();
            arrays.push(match cells {
                Cells::Int(values) => {
                    add(&mut arguments, values)?;
                    format!("unnest(${parameter}::bigint[])")
                }
                Cells::Text(values) => {
                    add(&mut arguments, values)?;
                    format!("unnest(${parameter}::text[])")
                }
                Cells::Bytes(values) => {
                    add(&mut arguments, values)?;
                    format!("unnest(${parameter}::bytea[])")
                }
            });
        }
        parts.push(match rows.layout.taken {
            Taken::Remove => format!(
                "put_{number} as (delete from {} where ({}) in (select {} {guard}))",
                rows.table,
                rows.names(),
                arrays.join(", "),
            ),
            Taken::Refuse | Taken::Keep | Taken::Replace(_) => format!(
                "put_{number} as (insert into {} ({}) select {} {guard} {})",
                rows.table,
                rows.names(),
                arrays.join(", "),
                rows.on_conflict(),
            ),
        });
    }
    let moved = if head.is_some() { "select count(*) from moved" } else { "select 1::bigint" };
    let sql = format!("with {} {moved}", parts.join(", "));
    if parts.is_empty() {
        return Ok(true);
    }
    let moved: i64 =
        sqlx::query_scalar_with(AssertSqlSafe(sql), arguments).fetch_one(connection).await?;
    Ok(moved == 1)
}

/// Less is inserted. A copy's end is a message of its own, and the library leaves Nagle's algorithm on
/// (<https://github.com/transact-rs/sqlx/issues/4335>), so that message waits until the server acknowledges the data
/// before it, which takes 40 ms on Linux where the server has nothing to say.
const COPY_BYTES_MIN: usize = 1 << 20;

/// What a binary copy begins with (PostgreSQL's manual, `COPY`): its signature, no flags, nothing more.
const COPY_BEGINS: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with, where the number of a row's columns would be.
const COPY_ENDS: [u8; 2] = (-1_i16).to_be_bytes();

/// Writes rows of one table whose keys are not there yet: all or nothing, and quicker than any insert.
pub(crate) async fn copy_postgres(
    connection: &mut PgConnection,
    rows: &Rows,
) -> Result<(), sqlx::Error> {
    failpoint("eventstore::bulk::write")?;
    let width = i16::try_from(rows.cells.len()).expect("few columns").to_be_bytes();
    let mut data = Vec::with_capacity(rows.bytes() + 2 * rows.len() + COPY_BEGINS.len() + 2);
    data.extend(COPY_BEGINS);
    let put = |data: &mut Vec<u8>, value: &[u8]| {
        let length = i32::try_from(value.len())
            .map_err(|_| sqlx::Error::Encode("a value is too large for PostgreSQL".into()))?;
        data.extend(length.to_be_bytes());
        data.extend(value);
        Ok::<_, sqlx::Error>(())
    };
    for row in 0..rows.len() {
        data.extend(width);
        for cells in &rows.cells {
            match cells {
                Cells::Int(values) => put(&mut data, &values[row].to_be_bytes())?,
                Cells::Text(values) => put(&mut data, values[row].as_bytes())?,
                Cells::Bytes(values) => put(&mut data, &values[row])?,
            }
        }
    }
    data.extend(COPY_ENDS);
    let sql = format!("copy {} ({}) from stdin (format binary)", rows.table, rows.names());
    let mut copy = connection.copy_in_raw(&sql).await?;
    copy.send(data).await?;
    copy.finish().await?;
    Ok(())
}

/// Most rows of one insert on SQLite, as a power of two: it takes 32,766 values.
const SQLITE_ROWS_LOG2: u32 = 10;

/// Writes everything inside the transaction that the caller has begun.
pub(crate) async fn write_sqlite(
    connection: &mut SqliteConnection,
    tables: Vec<Rows>,
) -> Result<(), sqlx::Error> {
    for rows in tables {
        failpoint("eventstore::bulk::write")?;
        let (names, on_conflict, mut left) = (rows.names(), rows.on_conflict(), rows.len());
        let is_removal = rows.layout.taken == Taken::Remove;
        if is_removal {
            // What is only forgotten would still stand in the file.
            sqlx::raw_sql("pragma secure_delete = on").execute(&mut *connection).await?;
        }
        let width = rows.cells.len();
        let mut columns: Vec<_> = rows.cells.into_iter().map(Column::new).collect();
        while left > 0 {
            // Powers of two: few statements, and few sizes of them to keep prepared.
            let chunk = 1 << left.ilog2().min(SQLITE_ROWS_LOG2);
            left -= chunk;
            let mut arguments = SqliteArguments::default();
            for _ in 0..chunk {
                for column in &mut columns {
                    column.bind(&mut arguments)?;
                }
            }
            let row = format!("({})", vec!["?"; width].join(", "));
            // Without `or rollback` SQLite keeps a journal of every insert of several rows, to undo only
            // that one; here all of the transaction is undone anyway.
            let values = vec![row; chunk].join(", ");
            let table = &rows.table;
            let sql = if is_removal {
                format!("delete from {table} where ({names}) in (values {values})")
            } else {
                format!("insert or rollback into {table} ({names}) values {values} {on_conflict}")
            };
            sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut *connection).await?;
        }
        if is_removal {
            sqlx::raw_sql("pragma secure_delete = off").execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// A column whose values are taken one by one.
enum Column {
    Int(std::vec::IntoIter<i64>),
    Text(std::vec::IntoIter<String>),
    Bytes(std::vec::IntoIter<Vec<u8>>),
}

impl Column {
    fn new(cells: Cells) -> Self {
        match cells {
            Cells::Int(values) => Self::Int(values.into_iter()),
            Cells::Text(values) => Self::Text(values.into_iter()),
            Cells::Bytes(values) => Self::Bytes(values.into_iter()),
        }
    }

    fn bind(&mut self, arguments: &mut SqliteArguments) -> Result<(), sqlx::Error> {
        const EQUAL: &str = "all columns of rows have one length";
        match self {
            Self::Int(values) => arguments.add(values.next().expect(EQUAL)),
            Self::Text(values) => arguments.add(values.next().expect(EQUAL)),
            Self::Bytes(values) => arguments.add(values.next().expect(EQUAL)),
        }
        .map_err(sqlx::Error::Encode)
    }
}

fn add<'q, T>(arguments: &mut PgArguments, value: T) -> Result<(), sqlx::Error>
where
    T: sqlx::Encode<'q, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    arguments.add(value).map_err(sqlx::Error::Encode)
}
