//! Finding views. Every finder for people takes a [`Scope`]: what lies outside does not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::event::{Event, KINDS, Recorded};
use domain::lifecycle::Status;
use domain::seal::Vault;
use domain::subscription::SubscriptionEvent;
use domain::text::Address;
use domain::{Bug, CommandId, TenantPath, UserId, planted};
use eventstore::{Database, Engine, Error, ROW_EVENTS_MAX, Row, Source, Stored, Value, failpoint};

use crate::document::{Documents, View};
use crate::tables;
use crate::views::{
    ApprovalView, Asked, DELETED, FormerView, NameView, OfferView, OrganizationView, RequestView,
    SubscriptionView, UserView, login_key,
};

/// Most documents that a list gives at once.
pub const LIST_MAX: usize = 500;

/// What a caller can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(pub TenantPath);

impl Scope {
    /// Of what belongs to no tenant, such as the services that are sold.
    #[must_use]
    pub fn catalogue() -> Self {
        Self(TenantPath::provider())
    }

    fn contains(&self, path: &str) -> bool {
        path.starts_with(self.0.as_str())
    }
}

/// Where a page begins or ends: behind or before this document.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// What the list is sorted by.
    #[serde(rename = "s")]
    pub sort: String,
    /// Sets those of one sort apart.
    #[serde(rename = "k")]
    pub key: String,
}

/// Which end of the list a page is taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum End {
    /// The first ones.
    #[default]
    First,
    /// The last ones; given in the list's order all the same.
    Last,
}

/// Which documents, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Query {
    /// Only those that belong to it.
    pub owner: Option<String>,
    /// Only those of this kind.
    pub kind: Option<String>,
    /// Only those whose document has this `status`.
    pub status: Option<String>,
    /// Only those that matter from before or after a moment on.
    pub since: Option<Since>,
    /// Only those that have not ended at a moment.
    pub running_at: Option<DateTime<Utc>>,
    /// Only those behind it.
    pub after: Option<Cursor>,
    /// Only those before it.
    pub before: Option<Cursor>,
    /// At most so many; never more than [`LIST_MAX`].
    pub limit: usize,
    /// Taken from which end.
    pub end: End,
}

/// On which side of a moment lies what something matters from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Since {
    /// It matters already.
    Until(DateTime<Utc>),
    /// It is to come.
    After(DateTime<Utc>),
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page<V> {
    /// In the list's order, each with where it stands.
    pub items: Vec<(Cursor, Arc<V>)>,
    /// Whether there is more beyond the end that was not asked for.
    pub more: bool,
}

impl<V> Default for Page<V> {
    fn default() -> Self {
        Self { items: Vec::new(), more: false }
    }
}

/// One document, if it is in scope.
///
/// # Errors
/// What the database says.
pub async fn find<V: View>(
    database: &Database,
    scope: &Scope,
    key: &str,
) -> Result<Option<Arc<V>>, Error> {
    let mut found = find_many(database, scope, BTreeSet::from([key.to_owned()])).await?;
    Ok(found.remove(key))
}

/// Who took a name. Names belong to no tenant: for signing in, never for showing.
///
/// # Errors
/// What the database says.
pub async fn find_name(database: &Database, key: &str) -> Result<Option<Arc<NameView>>, Error> {
    let mut documents = Documents::<NameView>::default();
    tables::load(&mut &*database, &mut documents, &BTreeSet::from([key.to_owned()]), "").await?;
    Ok(documents.get(key).cloned().flatten())
}

/// The user who has a login now, whoever he is: for signing in, and for whoever may see him.
///
/// # Errors
/// What the database says.
pub async fn find_login(
    database: &Database,
    vault: &Vault,
    login: &Address,
) -> Result<Option<Arc<UserView>>, Error> {
    let hashes = vault.logins(login);
    let mut names = Documents::<NameView>::default();
    let keys = hashes.iter().map(login_key).collect();
    tables::load(&mut &*database, &mut names, &keys, "").await?;
    let owners = names.iter().map(|(_, name)| UserId(name.owner).to_string()).collect();
    let users = find_many::<UserView>(database, &Scope::catalogue(), owners).await?;
    // The last who took it may have given it up since.
    let has_it = |user: &Arc<UserView>| {
        user.person.as_ref().is_some_and(|person| hashes.contains(&person.login))
    };
    Ok(users.into_values().find(has_it))
}

/// The keys of the subscriptions of some holders, also of those that have ended: each with its holder's id.
///
/// # Errors
/// What the database says.
pub async fn held_by(
    source: &mut impl Source,
    holders: Vec<String>,
) -> Result<Vec<(String, String)>, Error> {
    let owners = source.engine().each_of(1, "owners", "id");
    let sql = format!(
        "select owners.id, key from {owners} cross join {} where owner = owners.id and {}",
        SubscriptionView::TABLE,
        key_of::<SubscriptionView>("owners.id")
    );
    failpoint("projections::finder::held_by")?;
    let rows = source.rows(&sql, &[Value::Texts(holders)]).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).collect()
}

/// The keys of the first subscriptions of a service that run after a moment (in microseconds since 1970), at a tenant
/// and those below it.
///
/// # Errors
/// What the database says.
pub async fn running(
    source: &mut impl Source,
    path: &TenantPath,
    service: &str,
    after: i64,
    limit: usize,
) -> Result<Vec<String>, Error> {
    let sql = format!(
        "select key from {} where sort >= $1 and sort < $2 and kind = $3 and until > $4 \
         order by sort, key limit $5",
        SubscriptionView::TABLE
    );
    let values = [
        path.as_str().into(),
        path.end().into(),
        service.into(),
        Value::Int(after),
        (limit as u64).into(),
    ];
    failpoint("projections::finder::running")?;
    let rows = source.rows(&sql, &values).await?;
    rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
}

/// The organisation at a place in the tree.
///
/// # Errors
/// What the database says.
pub async fn find_at(
    database: &Database,
    path: &TenantPath,
) -> Result<Option<Arc<OrganizationView>>, Error> {
    match path.number() {
        Some(number) => find_by_number(database, &Scope(path.clone()), number).await,
        None => Ok(None),
    }
}

/// Places in a scope that organisations have left.
///
/// # Errors
/// What the database says.
pub async fn left(database: &Database, scope: &Scope) -> Result<Vec<Arc<FormerView>>, Error> {
    // Nobody has left the provider's own tree.
    if scope.0 == TenantPath::provider() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "select key, document from {} where path >= $1 and path < $2 order by path",
        FormerView::TABLE
    );
    failpoint("projections::finder::left")?;
    let rows = database.fetch(&sql, &[scope.0.as_str().into(), scope.0.end().into()]).await?;
    rows.iter().map(|row| tables::read(row.text(0)?, row.bytes(1)?)).collect()
}

/// The places that the organisation at a path has left.
///
/// # Errors
/// What the database says.
pub async fn former_places(
    database: &Database,
    path: &TenantPath,
) -> Result<Vec<TenantPath>, Error> {
    let Some(number) = path.number().filter(|_| *path != TenantPath::provider()) else {
        return Ok(Vec::new());
    };
    let sql = format!("select key, document from {} where kind = $1", FormerView::TABLE);
    failpoint("projections::finder::former_places")?;
    let rows = database.fetch(&sql, &[number.to_string().as_str().into()]).await?;
    let mut places = Vec::new();
    for row in &rows {
        let view: Arc<FormerView> = tables::read(row.text(0)?, row.bytes(1)?)?;
        if view.path != *path {
            places.push(view.path.clone());
        }
    }
    Ok(places)
}

/// What is said about offers at some organisations and at those above them: by service, and by the place in the
/// tree.
///
/// # Errors
/// What the database says.
pub async fn offers_on_the_way_to(
    database: &Database,
    paths: impl IntoIterator<Item = &TenantPath>,
) -> Result<BTreeMap<String, BTreeMap<TenantPath, Arc<OfferView>>>, Error> {
    let places: BTreeSet<_> = paths.into_iter().flat_map(TenantPath::lineage).collect();
    let places = places.iter().map(ToString::to_string).collect();
    let sql = format!(
        "select key, document from {} where {}",
        OfferView::TABLE,
        database.engine().any_of("path", 1)
    );
    failpoint("projections::finder::offers")?;
    let mut found = BTreeMap::<_, BTreeMap<_, _>>::new();
    for row in database.fetch(&sql, &[Value::Texts(places)]).await? {
        let view: Arc<OfferView> = tables::read(row.text(0)?, row.bytes(1)?)?;
        found.entry(view.service.to_string()).or_default().insert(view.path.clone(), view);
    }
    Ok(found)
}

/// The organisation of a number, if it is in scope. Its path ends with it.
///
/// # Errors
/// What the database says.
pub async fn find_by_number(
    database: &Database,
    scope: &Scope,
    number: u32,
) -> Result<Option<Arc<OrganizationView>>, Error> {
    failpoint("projections::finder::find_by_number")?;
    let everything = Scope::catalogue();
    let scope = if planted(Bug::ScopeForgotten) { &everything } else { scope };
    let rows = database
        .fetch(
            "select key, document from view_organization \
             where path >= $1 and path < $2 and path like $3",
            &[scope.0.as_str().into(), scope.0.end().into(), format!("%/{number}/").into()],
        )
        .await?;
    rows.first().map(|row| tables::read(row.text(0)?, row.bytes(1)?)).transpose()
}

/// Several documents by key, in one statement; those out of scope are left out.
///
/// # Errors
/// What the database says.
pub async fn find_many<V: View>(
    database: &Database,
    scope: &Scope,
    mut keys: BTreeSet<String>,
) -> Result<BTreeMap<String, Arc<V>>, Error> {
    let mut documents = Documents::<V>::default();
    // No key has a NUL, and PostgreSQL refuses to be asked for one.
    keys.retain(|key| !key.contains('\0'));
    if !keys.is_empty() {
        tables::load(&mut &*database, &mut documents, &keys, "").await?;
    }
    Ok(documents
        .iter()
        .filter(|(_, document)| scope.contains(&document.index().path))
        .map(|(key, document)| (key.clone(), document.clone()))
        .collect())
}

/// The conditions of a query, and the values bound to them.
struct Conditions {
    text: String,
    values: Vec<Value>,
}

impl Conditions {
    /// Of the log: of a tenant and those below it, and of what was recorded at places that it has left.
    fn of_log(scope: &Scope, left: &[TenantPath]) -> Self {
        let mut conditions = Self::within(scope, "path");
        if !left.is_empty() {
            let places =
                left.iter().map(|place| conditions.bind(place.as_str())).collect::<Vec<_>>();
            let places = places.iter().map(|it| format!("${it}")).collect::<Vec<_>>().join(", ");
            conditions.text = format!("({} or path in ({places}))", conditions.text);
        }
        conditions
    }

    fn of<V: View>(scope: &Scope) -> Self {
        Self::within(scope, if V::SORTS_BY_TENANT { "sort" } else { "path" })
    }

    fn within(scope: &Scope, column: &str) -> Self {
        // The provider's scope is everything: saying so would only mislead the planner.
        if scope.0 == TenantPath::provider() {
            return Self { text: "true".to_owned(), values: Vec::new() };
        }
        Self {
            text: format!("{column} >= $1 and {column} < $2"),
            values: vec![scope.0.as_str().into(), scope.0.end().into()],
        }
    }

    fn bind(&mut self, value: impl Into<Value>) -> usize {
        self.values.push(value.into());
        self.values.len()
    }

    fn equal(&mut self, column: impl AsRef<str>, value: Option<&String>) {
        if let Some(value) = value {
            let parameter = self.bind(value.as_str());
            let column = column.as_ref();
            self.text.push_str(&format!(" and {column} = ${parameter}"));
        }
    }

    /// Those who are asked now stand in the owner of what waits for them.
    fn asks(&mut self, asked: &Asked<'_>) {
        let mut has = |mark: String| {
            let parameter = self.bind(mark);
            format!("replace(owner, ${parameter}, '') <> owner")
        };
        let any: Vec<_> = asked.marks().into_iter().map(&mut has).collect();
        let not = has(asked.not_asked());
        self.text.push_str(&format!(" and ({}) and not {not}", any.join(" or ")));
    }

    /// Which of the documents it is about, apart from where a page begins.
    fn filter<V: View>(&mut self, database: &Database, query: &Query) {
        self.equal("owner", query.owner.as_ref());
        if let Some(owner) = query.owner.as_ref().filter(|_| V::OWNER_IN_KEY > 0) {
            let parameter = self.bind(owner.as_str());
            self.text.push_str(&format!(" and {}", key_of::<V>(&format!("${parameter}"))));
        }
        let deleted = query.status.as_deref() == Some(Status::Deleted.name());
        match &query.kind {
            Some(kind) if deleted => self.equal("kind", Some(&format!("{DELETED}{kind}"))),
            None if V::CAN_BE_DELETED && !deleted => {
                self.text.push_str(&format!(" and kind not like '{DELETED}%'"));
            }
            kind => self.equal("kind", kind.as_ref()),
        }
        self.equal(field(database, "document", "status"), query.status.as_ref());
        if let Some(since) = query.since {
            let (sign, moment) = match since {
                Since::Until(moment) => ("<=", moment),
                Since::After(moment) => (">", moment),
            };
            let parameter = self.bind(moment.timestamp_micros());
            self.text.push_str(&format!(" and since {sign} ${parameter}"));
        }
        if let Some(moment) = query.running_at {
            let parameter = self.bind(moment.timestamp_micros());
            self.text.push_str(&format!(" and until > ${parameter}"));
        }
    }

    /// All of a page: which documents, where it begins, and one more than it has, so that it is known whether
    /// there are more; gives the parameter of that number.
    fn page<V: View>(&mut self, database: &Database, query: &Query, limit: usize) -> usize {
        self.filter::<V>(database, query);
        self.beyond(">", query.after.as_ref());
        self.beyond("<", query.before.as_ref());
        self.bind(limit as u64 + 1)
    }

    fn beyond(&mut self, sign: &str, cursor: Option<&Cursor>) {
        let sign = if planted(Bug::PageOverlaps) && sign == ">" { ">=" } else { sign };
        if let Some(cursor) = cursor {
            let sort = self.bind(cursor.sort.as_str());
            let key = self.bind(cursor.key.as_str());
            self.text.push_str(&format!(" and (sort, key) {sign} (${sort}, ${key})"));
        }
    }
}

/// The condition that a key begins as an owner's keys do.
fn key_of<V: View>(owner: &str) -> String {
    let begins = format!("substr({owner}, 1, {})", V::OWNER_IN_KEY);
    // Behind every character of an id.
    format!("key >= {begins} and key < {begins} || 'g'")
}

/// Where the documents of some owners are: a table, joined with the owners where their ids lead to the
/// keys, and the condition that a document is theirs.
fn of_owners<V: View>(database: &Database, parameter: usize) -> (String, String) {
    let engine = database.engine();
    if V::OWNER_IN_KEY == 0 {
        return (V::TABLE.to_owned(), engine.any_of("owner", parameter));
    }
    let owners = engine.each_of(parameter, "owners", "id");
    let theirs = format!("owner = owners.id and {}", key_of::<V>("owners.id"));
    (format!("{owners} cross join {}", V::TABLE), theirs)
}

/// A field of a column that keeps a JSON object as bytes, as text.
fn field(database: &Database, column: &str, name: &str) -> String {
    match database.engine() {
        Engine::Sqlite => format!("json_extract(cast({column} as text), '$.{name}')"),
        Engine::Postgres => format!("convert_from({column}, 'UTF8')::json ->> '{name}'"),
    }
}

fn item<V: View>(row: &Row) -> Result<(Cursor, Arc<V>), Error> {
    let key = row.text(0)?;
    let cursor = Cursor { sort: row.text(1)?.to_owned(), key: key.to_owned() };
    Ok((cursor, tables::read(key, row.bytes(2)?)?))
}

/// A page of a list.
///
/// # Errors
/// What the database says.
pub async fn list<V: View>(
    database: &Database,
    scope: &Scope,
    query: &Query,
) -> Result<Page<V>, Error> {
    let limit = query.limit.min(LIST_MAX);
    let mut conditions = Conditions::of::<V>(scope);
    let one_more = conditions.page::<V>(database, query, limit);
    let order = match query.end {
        End::First => "sort, key",
        End::Last => "sort desc, key desc",
    };
    let sql = format!(
        "select key, sort, document from {} where {} order by {order} limit ${one_more}",
        V::TABLE,
        conditions.text
    );
    failpoint("projections::finder::list")?;
    let rows = database.fetch(&sql, &conditions.values).await?;
    let mut items = rows.iter().take(limit).map(item).collect::<Result<Vec<_>, _>>()?;
    if query.end == End::Last {
        items.reverse();
    }
    Ok(Page { items, more: rows.len() > limit })
}

/// A page of what waits for somebody's approval, in the order of tenants.
///
/// # Errors
/// What the database says.
pub async fn waiting_for(
    database: &Database,
    scope: &Scope,
    asked: &Asked<'_>,
    query: &Query,
) -> Result<Page<ApprovalView>, Error> {
    let limit = query.limit.min(LIST_MAX);
    let mut conditions = Conditions::of::<ApprovalView>(scope);
    conditions.asks(asked);
    let kind = Some(ApprovalView::WAITING.to_owned());
    let query = Query { kind, owner: None, ..query.clone() };
    let one_more = conditions.page::<ApprovalView>(database, &query, limit);
    let order = match query.end {
        End::First => "sort, key",
        End::Last => "sort desc, key desc",
    };
    let sql = format!(
        "select key, sort, document from {} where {} order by {order} limit ${one_more}",
        ApprovalView::TABLE,
        conditions.text
    );
    failpoint("projections::finder::waiting_for")?;
    let rows = database.fetch(&sql, &conditions.values).await?;
    let mut items = rows.iter().take(limit).map(item).collect::<Result<Vec<_>, _>>()?;
    if query.end == End::Last {
        items.reverse();
    }
    Ok(Page { items, more: rows.len() > limit })
}

/// How much waits for somebody's approval.
///
/// # Errors
/// What the database says.
pub async fn count_waiting_for(
    database: &Database,
    scope: &Scope,
    asked: &Asked<'_>,
) -> Result<u64, Error> {
    let mut conditions = Conditions::of::<ApprovalView>(scope);
    conditions.asks(asked);
    let kind = Some(ApprovalView::WAITING.to_owned());
    conditions.filter::<ApprovalView>(database, &Query { kind, ..Query::default() });
    let sql = format!("select count(*) from {} where {}", ApprovalView::TABLE, conditions.text);
    failpoint("projections::finder::count_waiting_for")?;
    let rows = database.fetch(&sql, &conditions.values).await?;
    Ok(rows[0].unsigned(0)?)
}

/// How many documents a list has altogether.
///
/// # Errors
/// What the database says.
pub async fn count<V: View>(
    database: &Database,
    scope: &Scope,
    query: &Query,
) -> Result<u64, Error> {
    let mut conditions = Conditions::of::<V>(scope);
    conditions.filter::<V>(database, query);
    let sql = format!("select count(*) from {} where {}", V::TABLE, conditions.text);
    failpoint("projections::finder::count")?;
    let rows = database.fetch(&sql, &conditions.values).await?;
    Ok(rows[0].unsigned(0)?)
}

/// The same page of many owners' lists, in one statement: pages by owner.
///
/// # Errors
/// What the database says.
pub async fn list_of_owners<V: View>(
    database: &Database,
    scope: &Scope,
    owners: BTreeSet<String>,
    query: &Query,
) -> Result<BTreeMap<String, Page<V>>, Error> {
    let limit = query.limit.min(LIST_MAX);
    let mut conditions = Conditions::of::<V>(scope);
    let parameter = conditions.bind(Value::Texts(owners.into_iter().collect()));
    let order = match query.end {
        End::First => "sort, key",
        End::Last => "sort desc, key desc",
    };
    let sql = if leads_to_owners::<V>() {
        // Each owner's first ones by themselves: what he has beyond them costs nothing.
        conditions.text.push_str(" and owner = owners.id");
        if V::OWNER_IN_KEY > 0 {
            conditions.text.push_str(&format!(" and {}", key_of::<V>("owners.id")));
        }
        let one_more = conditions.page::<V>(database, query, limit);
        database.engine().first_of_each(
            &database.engine().each_of(parameter, "owners", "id"),
            "key, sort, document, owner",
            V::TABLE,
            &format!("where {} order by {order} limit ${one_more}", conditions.text),
        )
    } else {
        let theirs = database.engine().any_of("owner", parameter);
        conditions.text.push_str(&format!(" and {theirs}"));
        let one_more = conditions.page::<V>(database, query, limit);
        format!(
            "select key, sort, document, owner from (select key, sort, document, owner, \
             row_number() over (partition by owner order by {order}) as place from {} where {}) \
             as own where place <= ${one_more}",
            V::TABLE,
            conditions.text
        )
    };
    failpoint("projections::finder::list_of_owners")?;
    let rows = database.fetch(&sql, &conditions.values).await?;
    let mut pages = BTreeMap::<String, Page<V>>::new();
    for row in &rows {
        let items = match pages.get_mut(row.text(3)?) {
            Some(page) => &mut page.items,
            None => &mut pages.entry(row.text(3)?.to_owned()).or_default().items,
        };
        items.push(item(row)?);
    }
    for page in pages.values_mut() {
        page.items.sort_by(|(a, _), (b, _)| (&a.sort, &a.key).cmp(&(&b.sort, &b.key)));
        page.more = page.items.len() > limit;
        match (page.more, query.end) {
            (false, _) => {}
            (true, End::First) => page.items.truncate(limit),
            (true, End::Last) => {
                page.items.drain(..page.items.len() - limit);
            }
        }
    }
    Ok(pages)
}

/// Whether an index leads from an owner to what is his.
fn leads_to_owners<V: View>() -> bool {
    V::OWNER_IN_KEY > 0 || V::INDEXES.iter().any(|columns| columns.starts_with("owner,"))
}

/// How many documents each owner's list has altogether, in one statement; none where there is none.
///
/// # Errors
/// What the database says.
pub async fn count_of_owners<V: View>(
    database: &Database,
    scope: &Scope,
    owners: BTreeSet<String>,
) -> Result<BTreeMap<String, u64>, Error> {
    let mut conditions = Conditions::of::<V>(scope);
    conditions.filter::<V>(database, &Query::default());
    let parameter = conditions.bind(Value::Texts(owners.into_iter().collect()));
    let (source, theirs) = of_owners::<V>(database, parameter);
    let sql = format!(
        "select owner, count(*) from {source} where {} and {theirs} group by owner",
        conditions.text
    );
    failpoint("projections::finder::count_of_owners")?;
    let rows = database.fetch(&sql, &conditions.values).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.unsigned(1)?))).collect()
}

/// Where something stands among what is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueBehind {
    /// Since when it is due.
    pub since: DateTime<Utc>,
    /// Its document's key.
    pub key: String,
}

/// Documents of a kind that matter since a moment or before ([`Index::since`](crate::Index::since)), behind one of
/// them, the earliest first: for Atrium itself, whoever they belong to.
///
/// # Errors
/// What the database says.
pub async fn due<V: View>(
    database: &Database,
    kind: &str,
    by: DateTime<Utc>,
    behind: Option<&DueBehind>,
    limit: usize,
) -> Result<Vec<(DueBehind, Arc<V>)>, Error> {
    let (since, key) = behind.map_or((i64::MIN, ""), |it| (it.since.timestamp_micros(), &it.key));
    let sql = format!(
        "select key, since, document from {} where kind = $1 and since <= $2 and (since, key) > ($3, $4) \
         order by since, key limit $5",
        V::TABLE
    );
    let values = [
        kind.into(),
        by.timestamp_micros().into(),
        since.into(),
        key.into(),
        (limit as u64).into(),
    ];
    failpoint("projections::finder::due")?;
    let rows = database.fetch(&sql, &values).await?;
    let item = |row: &Row| {
        let key = row.text(0)?;
        let since = DateTime::from_timestamp_micros(row.int(1)?).unwrap_or(DateTime::UNIX_EPOCH);
        Ok((DueBehind { since, key: key.to_owned() }, tables::read(key, row.bytes(2)?)?))
    };
    rows.iter().map(item).collect()
}

/// Everything that requests were built from, in one statement; nothing of a deprovisioning.
///
/// # Errors
/// What the database says, and what cannot be decoded.
pub async fn ingredients(
    mut database: &Database,
    requests: impl IntoIterator<Item = &RequestView>,
) -> Result<BTreeMap<CommandId, domain::subscription::Request>, Error> {
    let wanted: BTreeMap<_, _> = requests.into_iter().map(|it| (it.id, it.stream())).collect();
    let streams: BTreeSet<_> = wanted.values().cloned().collect();
    let mut found = BTreeMap::new();
    for event in eventstore::streams(&mut database, streams.into_iter().collect()).await? {
        if let Event::Subscription(
            SubscriptionEvent::ProvisionRequested { request }
            | SubscriptionEvent::ChangeRequested { request },
        ) = event.event
            && wanted.contains_key(&request.id)
        {
            found.insert(request.id, *request);
        }
    }
    Ok(found)
}

/// Which events, and how many.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Only those of these kinds, such as `subscription.provisioned`; none: of all.
    pub kinds: Vec<String>,
    /// Only those behind this position.
    pub after: Option<u64>,
    /// Only those before this position.
    pub before: Option<u64>,
    /// At most so many; never more than [`LIST_MAX`].
    pub limit: usize,
    /// Taken from which end.
    pub end: End,
}

/// A part of the log.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// In the log's order.
    pub items: Vec<Recorded>,
    /// Whether there is more beyond the end that was not asked for.
    pub more: bool,
}

/// Events in the log's order or against it, those of other kinds left out.
struct Walk<'a> {
    database: &'a Database,
    scope: &'a Scope,
    /// Places that the tenant has left.
    left: Vec<TenantPath>,
    /// Known ones only; none: all.
    kinds: Vec<&'a str>,
    after: u64,
    before: u64,
    end: End,
}

impl Walk<'_> {
    /// The next events, from at most so many rows of the log; none where there are no more rows.
    async fn step(&mut self, rows: usize) -> Result<Option<Vec<Stored>>, Error> {
        let mut conditions = Conditions::of_log(self.scope, &self.left);
        // A row is found by its last event; one that ends behind `before` may begin before it.
        let (after, before) = (self.after, self.before.saturating_add(ROW_EVENTS_MAX as u64));
        for (sign, position) in [(">", after), ("<", before)] {
            let parameter = conditions.bind(position);
            conditions.text.push_str(&format!(" and position {sign} ${parameter}"));
        }
        // Exactly; the bound above is for the index.
        let parameter = conditions.bind(self.before);
        conditions.text.push_str(&format!(" and position - length(hash) / 32 + 1 < ${parameter}"));
        // The kind stands in the bytes. It may stand there as somebody's text too, and other events
        // of the row are of other kinds: so each is looked at again.
        let any = self.kinds.iter().map(|kind| {
            let written = format!("\"kind\":\"{kind}\"");
            let parameter = conditions.bind(Value::Bytes(written.into_bytes()));
            self.database.engine().contains("body", parameter)
        });
        let any = any.collect::<Vec<_>>().join(" or ");
        if !any.is_empty() {
            conditions.text.push_str(&format!(" and ({any})"));
        }
        let limit = conditions.bind(rows as u64);
        let order = match self.end {
            End::First => "position",
            End::Last => "position desc",
        };
        let sql = format!(
            "select position, body from event where {} order by {order} limit ${limit}",
            conditions.text
        );
        failpoint("projections::finder::step")?;
        let rows = self.database.fetch(&sql, &conditions.values).await?;
        let Some(last) = rows.last() else { return Ok(None) };
        let mut events = Vec::new();
        for row in &rows {
            let mut of_row: Vec<_> = Stored::of_row(row)?.collect();
            if self.end == End::Last {
                of_row.reverse();
            }
            for event in of_row {
                let within = event.position > self.after && event.position < self.before;
                if within && (self.kinds.is_empty() || self.kinds.contains(&&*event.kind()?)) {
                    events.push(event);
                }
            }
        }
        match self.end {
            End::First => self.after = last.unsigned(0)?,
            End::Last => {
                let first = Stored::of_row(last)?.next();
                self.before = first.map_or(0, |event| event.position);
            }
        }
        Ok(Some(events))
    }
}

impl<'a> Walk<'a> {
    /// None where no event can be of these kinds.
    async fn begin(
        database: &'a Database,
        scope: &'a Scope,
        kinds: &'a [String],
        (after, before): (Option<u64>, Option<u64>),
        end: End,
    ) -> Result<Option<Self>, Error> {
        let known: Vec<_> =
            kinds.iter().map(String::as_str).filter(|it| KINDS.contains(it)).collect();
        let (after, before) = (after.unwrap_or(0), before.unwrap_or(u64::MAX));
        if known.is_empty() && !kinds.is_empty() {
            return Ok(None);
        }
        let left = former_places(database, &scope.0).await?;
        Ok(Some(Self { database, scope, left, kinds: known, after, before, end }))
    }
}

/// The events of a tenant and all below it.
///
/// # Errors
/// What the database says, and what cannot be decoded.
pub async fn list_events(
    database: &Database,
    scope: &Scope,
    query: &EventQuery,
) -> Result<Events, Error> {
    let limit = query.limit.min(LIST_MAX);
    let bounds = (query.after, query.before);
    let walk = Walk::begin(database, scope, &query.kinds, bounds, query.end).await?;
    let Some(mut walk) = walk else {
        return Ok(Events::default());
    };
    let mut found = Vec::new();
    while found.len() <= limit {
        match walk.step(limit + 1).await? {
            Some(events) => found.extend(events),
            None => break,
        }
    }
    let more = found.len() > limit;
    let mut items = found.iter().take(limit).map(Stored::decode).collect::<Result<Vec<_>, _>>()?;
    if query.end == End::Last {
        items.reverse();
    }
    Ok(Events { items, more })
}

/// Rows of the log that are looked at together when events of some kinds are counted.
const COUNT_ROWS: usize = 2_000;

/// How many events there are of a tenant and all below it: of some kinds, or all, behind a position.
///
/// # Errors
/// What the database says.
pub async fn count_events(
    database: &Database,
    scope: &Scope,
    kinds: &[String],
    after: u64,
) -> Result<u64, Error> {
    if kinds.is_empty() {
        let left = former_places(database, &scope.0).await?;
        let mut conditions = Conditions::of_log(scope, &left);
        let parameter = conditions.bind(after);
        // A row has as many events as hashes; the first one behind `after` may begin before it.
        let sql = format!(
            "select cast(coalesce(sum(case when position - length(hash) / 32 < ${parameter} \
             then position - ${parameter} else length(hash) / 32 end), 0) as bigint) \
             from event where {} and position > ${parameter}",
            conditions.text
        );
        failpoint("projections::finder::count_events")?;
        let rows = database.fetch(&sql, &conditions.values).await?;
        return Ok(rows[0].unsigned(0)?);
    }
    let mut count = 0;
    let bounds = (Some(after), None);
    if let Some(mut walk) = Walk::begin(database, scope, kinds, bounds, End::First).await? {
        while let Some(events) = walk.step(COUNT_ROWS).await? {
            count += events.len() as u64;
        }
    }
    Ok(count)
}
