//! The tables that keep views. They can be thrown away and folded again, so they are made here, not
//! by migrations.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::TenantPath;
use eventstore::{CellKind, Connection, Engine, Layout, Rows, Source, Taken, Value, failpoint};

use crate::document::{Documents, ToWrite, View, Written};
use crate::views::TABLES;

/// Changes whenever a view's fold or form does; then the views are rebuilt at the next start.
pub const VIEWS_VERSION: &str = "18";

/// The columns of each view's table.
const COLUMNS: &[(&str, CellKind)] = &[
    ("key", CellKind::Text),
    ("path", CellKind::Text),
    ("owner", CellKind::Text),
    ("kind", CellKind::Text),
    ("sort", CellKind::Text),
    ("since", CellKind::Int),
    ("until", CellKind::Int),
    ("position", CellKind::Int),
    ("document", CellKind::Bytes),
];

/// Documents that are not there yet: looking for them first would cost as much as an index.
static NEW: Layout = Layout { columns: COLUMNS, key: 1, taken: Taken::Refuse };

/// Documents that may be there.
static CHANGED: Layout = Layout { columns: COLUMNS, key: 1, taken: Taken::Replace(&[]) };

/// The same, of a view that [never sorts anew](View::SORT_STAYS).
static CHANGED_IN_PLACE: Layout =
    Layout { columns: COLUMNS, key: 1, taken: Taken::Replace(&["path", "owner", "sort"]) };

/// A table's definition, without its indexes: that on the key is one of them, because it is quicker made of all
/// keys at once.
fn definition(engine: Engine, table: &str, layout: &Layout) -> String {
    let columns = layout.columns.iter().map(|(name, kind)| {
        let kind = match (engine, kind) {
            (Engine::Sqlite, CellKind::Int) => "integer",
            (Engine::Postgres, CellKind::Int) => "bigint",
            (Engine::Sqlite, CellKind::Text) => "text",
            (Engine::Postgres, CellKind::Text) => "text collate \"C\"",
            (Engine::Sqlite, CellKind::Bytes) => "blob",
            (Engine::Postgres, CellKind::Bytes) => "bytea",
        };
        format!("{name} {kind} not null")
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    // On SQLite too the rows stand in the order of writing, which fills one page after another; in the order
    // of their keys they would be spread over as many pages as there are customers.
    let strict = if engine == Engine::Sqlite { " strict" } else { "" };
    format!("create table if not exists {table} ({columns}){strict}")
}

/// Makes the tables whose names end in `suffix`, where they are not there.
///
/// # Errors
/// What the database says.
pub(crate) async fn create_tables(
    connection: &mut Connection,
    engine: Engine,
    suffix: &str,
) -> Result<(), sqlx::Error> {
    for (table, _) in TABLES {
        failpoint("projections::create_tables")?;
        let sql = definition(engine, &format!("{table}{suffix}"), &CHANGED);
        connection.execute(&sql, &[]).await?;
    }
    Ok(())
}

/// Makes the indexes on the keys of those tables. Names carry a number that sets those of a rebuild apart.
///
/// # Errors
/// What the database says.
pub(crate) async fn create_keys(
    connection: &mut Connection,
    suffix: &str,
    generation: u64,
) -> Result<(), sqlx::Error> {
    for (table, _) in TABLES {
        failpoint("projections::create_keys")?;
        let sql = format!(
            "create unique index if not exists {table}_{generation}_key on {table}{suffix} (key)"
        );
        connection.execute(&sql, &[]).await?;
    }
    Ok(())
}

/// Makes the other indexes of those tables.
///
/// # Errors
/// What the database says.
pub(crate) async fn create_indexes(
    connection: &mut Connection,
    suffix: &str,
    generation: u64,
) -> Result<(), sqlx::Error> {
    for (table, indexes) in TABLES {
        for (number, columns) in indexes.iter().enumerate() {
            failpoint("projections::create_indexes")?;
            let sql = format!(
                "create index if not exists {table}_{generation}_{number} \
                 on {table}{suffix} ({columns})"
            );
            connection.execute(&sql, &[]).await?;
        }
    }
    Ok(())
}

/// Every table that is folded from the log.
pub(crate) fn all_tables() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|(table, _)| *table)
}

/// Documents whose rows are made at a time.
const ROWS_AT_A_TIME: usize = 10_000;

/// The rows that keep a view's documents, some at a time.
pub(crate) fn rows<V: View>(
    documents: &mut Documents<V>,
    suffix: &str,
    position: u64,
) -> impl Iterator<Item = Rows> {
    let [new, changed, moved] = documents.take_changes();
    let layout = if V::SORT_STAYS { &CHANGED_IN_PLACE } else { &CHANGED };
    [(&NEW, new), (layout, changed), (&CHANGED, moved)].into_iter().flat_map(
        move |(layout, documents)| {
            let mut left = documents.into_iter();
            std::iter::from_fn(move || {
                let part = left.by_ref().take(ROWS_AT_A_TIME);
                let mut rows = Rows::new(format!("{}{suffix}", V::TABLE), layout);
                part.for_each(|document| rows.push(row(document, position)));
                (!rows.is_empty()).then_some(rows)
            })
        },
    )
}

fn row<V: View>((key, document, written): ToWrite<'_, V>, position: u64) -> [Value; 9] {
    let written = written.map_or_else(|| Written::new(document.as_ref()), |written| *written);
    let Written { index, json } = written;
    [
        Value::from(key.as_str()),
        Value::Text(index.path),
        Value::Text(index.owner),
        Value::Text(index.kind),
        Value::Text(index.sort),
        Value::Int(index.since),
        Value::Int(index.until),
        Value::Int(position.cast_signed()),
        Value::Bytes(json),
    ]
}

/// Reads a stored document.
///
/// # Errors
/// Where it does not fit: the view's form changed and [`VIEWS_VERSION`] did not.
pub(crate) fn read<V: View>(key: &str, document: &[u8]) -> Result<Arc<V>, eventstore::Error> {
    serde_json::from_slice(document).map(Arc::new).map_err(|source| {
        eventstore::Error::Unsuitable(format!(
            "the document {key} in {} does not fit ({source}); run `atrium rebuild`",
            V::TABLE
        ))
    })
}

/// Loads the documents of a tenant and of those below it that are not known yet.
pub(crate) async fn load_below<V: View>(
    source: &mut impl Source,
    documents: &mut Documents<V>,
    path: &TenantPath,
    suffix: &str,
) -> Result<(), eventstore::Error> {
    failpoint("projections::load")?;
    let column = if V::SORTS_BY_TENANT { "sort" } else { "path" };
    let sql = format!(
        "select key, document from {}{suffix} where {column} >= $1 and {column} < $2",
        V::TABLE
    );
    for row in source.rows(&sql, &[path.as_str().into(), path.end().into()]).await? {
        let key = row.text(0)?;
        if documents.get(key).is_none() {
            documents.put(key.to_owned(), Some(read(key, row.bytes(1)?)?));
        }
    }
    Ok(())
}

/// The keys of all documents of a tenant and of those below it.
pub(crate) async fn keys_below<V: View>(
    source: &mut impl Source,
    path: &TenantPath,
) -> Result<Vec<String>, eventstore::Error> {
    failpoint("projections::keys_below")?;
    let column = if V::SORTS_BY_TENANT { "sort" } else { "path" };
    let sql = format!("select key from {} where {column} >= $1 and {column} < $2", V::TABLE);
    let rows = source.rows(&sql, &[path.as_str().into(), path.end().into()]).await?;
    rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
}

/// Loads documents by key, in one statement; those that are not there are noted as such.
pub(crate) async fn load<V: View>(
    source: &mut impl Source,
    documents: &mut Documents<V>,
    keys: &BTreeSet<String>,
    suffix: &str,
) -> Result<(), eventstore::Error> {
    failpoint("projections::load")?;
    let sql = format!(
        "select key, document from {}{suffix} where {}",
        V::TABLE,
        source.engine().any_of("key", 1)
    );
    let rows = source.rows(&sql, &[Value::Texts(keys.iter().cloned().collect())]).await?;
    for key in keys {
        documents.put(key.clone(), None);
    }
    for row in rows {
        let key = row.text(0)?;
        documents.put(key.to_owned(), Some(read(key, row.bytes(1)?)?));
    }
    Ok(())
}
