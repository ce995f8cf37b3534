//! Finding what happened at organisations, day by day. A day belongs to the very path of its
//! organisation, and not to those above it.

use std::collections::BTreeMap;

use domain::TenantPath;
use eventstore::{Database, Error, Value, failpoint};

use crate::document::View as _;
use crate::finder::{Cursor, End, LIST_MAX, Page, Query, Scope};
use crate::tables;
use crate::views::ActivityView;

/// Those of the paths that are in scope, to be bound.
fn in_scope(scope: &Scope, paths: &[TenantPath]) -> Value {
    let seen = paths.iter().filter(|path| scope.0.contains(path));
    Value::Texts(seen.map(ToString::to_string).collect())
}

/// The same page of the days of many organisations, the oldest day first, in one statement: pages by
/// path. Of the query, only the page is looked at.
///
/// # Errors
/// What the database says.
pub async fn days(
    database: &Database,
    scope: &Scope,
    paths: &[TenantPath],
    query: &Query,
) -> Result<BTreeMap<String, Page<ActivityView>>, Error> {
    let limit = query.limit.min(LIST_MAX);
    let mut values = vec![in_scope(scope, paths)];
    let mut wanted = database.engine().any_of("path", values.len());
    for (sign, cursor) in [(">", &query.after), ("<", &query.before)] {
        if let Some(cursor) = cursor {
            values.extend([cursor.sort.as_str(), cursor.key.as_str()].map(Value::from));
            let (sort, key) = (values.len() - 1, values.len());
            wanted.push_str(&format!(" and (sort, key) {sign} (${sort}, ${key})"));
        }
    }
    let order = match query.end {
        End::First => "sort, key",
        End::Last => "sort desc, key desc",
    };
    values.push(Value::from(limit as u64 + 1));
    let sql = format!(
        "select path, key, sort, document from (select path, key, sort, document, \
         row_number() over (partition by path order by {order}) as place from {} where {wanted}) \
         as own where place <= ${} order by path, place",
        ActivityView::TABLE,
        values.len()
    );
    let mut pages = BTreeMap::<String, Page<ActivityView>>::new();
    failpoint("projections::activity::days")?;
    for row in database.fetch(&sql, &values).await? {
        let page = pages.entry(row.text(0)?.to_owned()).or_default();
        if page.items.len() == limit {
            page.more = true;
            continue;
        }
        let (key, sort) = (row.text(1)?, row.text(2)?.to_owned());
        let cursor = Cursor { sort, key: key.to_owned() };
        page.items.push((cursor, tables::read(key, row.bytes(3)?)?));
    }
    if query.end == End::Last {
        pages.values_mut().for_each(|page| page.items.reverse());
    }
    Ok(pages)
}

/// On how many days something happened at each of many organisations, in one statement, by path; nothing
/// of those where nothing did.
///
/// # Errors
/// What the database says.
pub async fn count_days(
    database: &Database,
    scope: &Scope,
    paths: &[TenantPath],
) -> Result<BTreeMap<String, u64>, Error> {
    let sql = format!(
        "select path, count(*) from {} where {} group by path",
        ActivityView::TABLE,
        database.engine().any_of("path", 1)
    );
    failpoint("projections::activity::count_days")?;
    let rows = database.fetch(&sql, &[in_scope(scope, paths)]).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.unsigned(1)?))).collect()
}
