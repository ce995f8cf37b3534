//! One request's view of the data: who asks, when, and what was loaded for it already.
//!
//! What many fields ask for one by one is loaded together: a field notes its key and waits, and when
//! no field can go on, each kind of key becomes one statement. No timer is involved, so that the
//! number of statements depends on the shape of a document and not on the speed of the machine.

use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll, Wake, Waker};
use std::time::Duration;

use async_graphql::Context;
use async_graphql::dataloader::{DataLoader, HashMapCache, Loader};
use chrono::{DateTime, Utc};
use commands::resource::OfferResource;
use domain::billing::{BillingSettings, Period};
use domain::organization::Contact;
use domain::overrides::ResolvedProperty;
use domain::permission::Permission;
use domain::seal::Sealed;
use domain::user::Person;
use domain::{OrganizationId, TenantPath};
use futures_util::future::BoxFuture;
use futures_util::task::AtomicWaker;
use projections::View;
use projections::effective::{self, EffectiveProperty};
use projections::finder::{self, Page, Query, Scope};
use projections::ledger::{self, Question, Side, Statement, Total};
use projections::past::{self, Past};
use projections::views::{OrganizationView, RequestView, UserView};

use super::limits::COMPLEXITY_MAX;
use crate::app::App;
use crate::auth::Principal;
use crate::problem::Problem;
use crate::rest::events::shown_request;
use crate::rest::offers::{self, Place};
use crate::travel::Then;

/// What a field gives: never an error that was not meant for callers.
pub(crate) type Resolved<T> = Result<T, Problem>;

impl From<Problem> for async_graphql::Error {
    fn from(problem: Problem) -> Self {
        let mut error = Self::new(problem.detail);
        let extensions = error.extensions.get_or_insert_default();
        extensions.set("code", problem.code);
        if let Some(lacking) = &problem.lacking {
            let lacking = async_graphql::to_value(lacking.as_ref());
            extensions.set("lacking", lacking.unwrap_or_default());
        }
        error
    }
}

/// One request's view of the data.
pub(crate) struct Reading {
    /// What can be reached.
    pub(crate) app: App,
    /// Who asks.
    pub(crate) principal: Principal,
    /// The moment that the whole answer is about.
    pub(crate) now: DateTime<Utc>,
    loader: DataLoader<Source, HashMapCache>,
}

/// What a field can reach.
pub(crate) fn reading<'a>(context: &Context<'a>) -> &'a Reading {
    context.data_unchecked()
}

impl Reading {
    /// For one request, with the loads that it will ask for.
    pub(crate) fn new(app: App, principal: Principal) -> (Self, Loads) {
        let loads = Loads::default();
        let asked = loads.clone();
        let sees_hidden = principal.sees_hidden();
        let source = Source { app: app.clone(), scope: principal.scope(), sees_hidden };
        let loader =
            DataLoader::with_cache(source, move |load| asked.push(load), HashMapCache::default());
        let loader = loader.delay(Duration::ZERO).max_batch_size(COMPLEXITY_MAX);
        let now = app.now();
        (Self { app, principal, now, loader }, loads)
    }

    /// What the caller can see.
    pub(crate) fn scope(&self) -> Scope {
        self.principal.scope()
    }

    /// See [`Principal::permit`].
    pub(crate) async fn permit(&self, permission: Permission, target: &TenantPath) -> Resolved<()> {
        self.principal.permit(permission, target).await
    }

    /// See [`Principal::require`].
    pub(crate) fn require(&self, permission: Permission) -> Resolved<()> {
        self.principal.require(permission)
    }

    /// Whether one of the caller's roles has it.
    pub(crate) fn holds(&self, permission: Permission) -> bool {
        self.principal.holds(permission)
    }

    /// One document, if it is in scope; many at a time.
    pub(crate) async fn find<V: View>(&self, key: impl ToString) -> Resolved<Option<Arc<V>>> {
        let found = self.loader.load_one((Of::<V>::ALL, key.to_string())).await?;
        Ok(found.flatten())
    }

    /// A page of what belongs to somebody; many owners at a time.
    pub(crate) async fn page_of<V: View>(
        &self,
        owner: impl ToString,
        query: Query,
    ) -> Resolved<Arc<Page<V>>> {
        let key = (Of::<V>::ALL, Owner(owner.to_string()), query);
        Ok(self.loader.load_one(key).await?.unwrap_or_default())
    }

    /// A page of what somebody held then; none where nobody can look so far. Many owners at a time.
    pub(crate) async fn past_of(
        &self,
        owner: impl ToString,
        query: Query,
        then: past::Then,
    ) -> Resolved<Option<Arc<Page<Past>>>> {
        let key = (Owner(owner.to_string()), query, then);
        Ok(self.loader.load_one(key).await?.unwrap_or_else(|| Some(Arc::default())))
    }

    /// Who a user is; none where he was erased. Many users at a time.
    pub(crate) async fn person(&self, user: &Arc<UserView>) -> Resolved<Option<Arc<Person>>> {
        let found = self.loader.load_one(Who(user.clone())).await?;
        Ok(found.flatten())
    }

    /// How an organisation is reached. Many organisations at a time.
    pub(crate) async fn contact(
        &self,
        organization: &Arc<OrganizationView>,
    ) -> Resolved<Arc<Contact>> {
        match &organization.details.contact {
            Sealed::Clear(contact) => Ok(Arc::new(contact.as_ref().clone())),
            Sealed::Text(_) => {
                let found = self.loader.load_one(Reached(organization.clone())).await?;
                Ok(found.unwrap_or_default())
            }
        }
    }

    /// What a request was built from; many requests at a time.
    pub(crate) async fn ingredients(
        &self,
        request: &Arc<RequestView>,
    ) -> Resolved<Option<Arc<Built>>> {
        let found = self.loader.load_one(Ingredients(request.clone())).await?;
        Ok(found.flatten())
    }

    /// How much belongs to somebody; many owners at a time.
    pub(crate) async fn count_of<V: View>(&self, owner: impl ToString) -> Resolved<u64> {
        let key = (Of::<V>::ALL, Owner(owner.to_string()));
        Ok(self.loader.load_one(key).await?.unwrap_or_default())
    }

    /// A page of the days of an organisation, the oldest first; of many organisations at a time.
    pub(crate) async fn activity_at(
        &self,
        path: &TenantPath,
        query: Query,
    ) -> Resolved<Arc<Page<projections::views::ActivityView>>> {
        Ok(self.loader.load_one((At(path.clone()), query)).await?.unwrap_or_default())
    }

    /// On how many days something happened at an organisation; of many organisations at a time.
    pub(crate) async fn days_at(&self, path: &TenantPath) -> Resolved<u64> {
        Ok(self.loader.load_one(At(path.clone())).await?.unwrap_or_default())
    }

    /// How it stands with every service at an organisation; at many organisations at a time.
    pub(crate) async fn offers_at(
        &self,
        organization: OrganizationId,
        path: &TenantPath,
    ) -> Resolved<Arc<Vec<OfferResource>>> {
        let key = OffersAt((organization, path.clone()));
        Ok(self.loader.load_one(key).await?.unwrap_or_default())
    }

    /// The statement of a period; many periods in one pass.
    pub(crate) async fn statement(&self, key: StatementKey) -> Resolved<Arc<Statement>> {
        self.loader.load_one(key).await?.ok_or_else(Problem::internal)
    }

    /// What a period comes to; many periods in one pass.
    pub(crate) async fn total(&self, key: StatementKey) -> Resolved<Arc<Total>> {
        self.loader.load_one(TotalKey(key)).await?.ok_or_else(Problem::internal)
    }

    /// What somebody's properties are; of many holders at a time.
    pub(crate) async fn properties(
        &self,
        question: effective::Question,
    ) -> Resolved<Arc<Vec<EffectiveProperty>>> {
        Ok(self.loader.load_one(question).await?.unwrap_or_default())
    }

    /// The settings that those bill by who are at the caller's place, or the nearest above it.
    pub(crate) async fn settings(&self) -> Resolved<Arc<BillingSettings>> {
        Ok(self.app.seller_at(&self.scope().0).await?.settings.clone())
    }
}

/// All documents of a view.
pub(crate) struct Of<V>(PhantomData<fn() -> V>);

impl<V> Of<V> {
    const ALL: Self = Self(PhantomData);
}

impl<V> Clone for Of<V> {
    fn clone(&self) -> Self {
        Self::ALL
    }
}

impl<V> PartialEq for Of<V> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<V> Eq for Of<V> {}

impl<V> Hash for Of<V> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// To whom documents belong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner(String);

/// At which organisation something happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct At(TenantPath);

/// At which organisation something is offered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OffersAt(Place);

/// Which statement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StatementKey {
    /// Of a tenant and all below it.
    pub(crate) path: TenantPath,
    /// As of when.
    pub(crate) then: Then,
    /// Of which period.
    pub(crate) period: Period,
    /// Who bills, or who buys.
    pub(crate) side: Side,
}

/// Where a request's data come from: the caller's scope, and nothing beyond it.
struct Source {
    app: App,
    scope: Scope,
    sees_hidden: bool,
}

impl Source {
    /// Services belong to no tenant; everything else is bounded by the caller's scope.
    fn scope_of<V: View>(&self) -> Scope {
        if V::TABLE == projections::views::ServiceView::TABLE {
            Scope::catalogue()
        } else {
            self.scope.clone()
        }
    }
}

impl<V: View> Loader<(Of<V>, String)> for Source {
    type Value = Option<Arc<V>>;
    type Error = Problem;

    async fn load(
        &self,
        keys: &[(Of<V>, String)],
    ) -> Result<HashMap<(Of<V>, String), Self::Value>, Problem> {
        let wanted = keys.iter().map(|(_, key)| key.clone()).collect();
        let found =
            finder::find_many::<V>(self.app.database(), &self.scope_of::<V>(), wanted).await?;
        Ok(keys.iter().map(|key| (key.clone(), found.get(&key.1).cloned())).collect())
    }
}

impl<V: View> Loader<(Of<V>, Owner, Query)> for Source {
    type Value = Arc<Page<V>>;
    type Error = Problem;

    async fn load(
        &self,
        keys: &[(Of<V>, Owner, Query)],
    ) -> Result<HashMap<(Of<V>, Owner, Query), Self::Value>, Problem> {
        let mut queries = HashMap::<&Query, BTreeSet<String>>::new();
        for (_, owner, query) in keys {
            queries.entry(query).or_default().insert(owner.0.clone());
        }
        let mut pages = HashMap::new();
        let scope = self.scope_of::<V>();
        for (query, owners) in queries {
            let found =
                finder::list_of_owners::<V>(self.app.database(), &scope, owners, query).await?;
            pages.extend(
                found
                    .into_iter()
                    .map(|(owner, page)| ((Of::ALL, Owner(owner), query.clone()), Arc::new(page))),
            );
        }
        Ok(pages)
    }
}

impl Loader<(Owner, Query, past::Then)> for Source {
    type Value = Option<Arc<Page<Past>>>;
    type Error = Problem;

    async fn load(
        &self,
        keys: &[(Owner, Query, past::Then)],
    ) -> Result<HashMap<(Owner, Query, past::Then), Self::Value>, Problem> {
        let mut queries = HashMap::<(&Query, past::Then), BTreeSet<String>>::new();
        for (owner, query, then) in keys {
            queries.entry((query, *then)).or_default().insert(owner.0.clone());
        }
        let (database, mut pages) = (self.app.database(), HashMap::new());
        for ((query, then), owners) in queries {
            let found = past::list_of_owners(database, &self.scope, owners, query, then).await?;
            pages.extend(
                found
                    .into_iter()
                    .map(|(owner, page)| ((Owner(owner), query.clone(), then), page.map(Arc::new))),
            );
        }
        Ok(pages)
    }
}

impl<V: View> Loader<(Of<V>, Owner)> for Source {
    type Value = u64;
    type Error = Problem;

    async fn load(&self, keys: &[(Of<V>, Owner)]) -> Result<HashMap<(Of<V>, Owner), u64>, Problem> {
        let owners = keys.iter().map(|(_, owner)| owner.0.clone()).collect();
        let scope = self.scope_of::<V>();
        let counts = finder::count_of_owners::<V>(self.app.database(), &scope, owners).await?;
        Ok(counts.into_iter().map(|(owner, count)| ((Of::ALL, Owner(owner)), count)).collect())
    }
}

impl Loader<effective::Question> for Source {
    type Value = Arc<Vec<EffectiveProperty>>;
    type Error = Problem;

    async fn load(
        &self,
        questions: &[effective::Question],
    ) -> Result<HashMap<effective::Question, Self::Value>, Problem> {
        let answers = effective::properties(self.app.database(), questions).await?;
        Ok(questions.iter().cloned().zip(answers.into_iter().map(Arc::new)).collect())
    }
}

impl Loader<OffersAt> for Source {
    type Value = Arc<Vec<OfferResource>>;
    type Error = Problem;

    async fn load(&self, keys: &[OffersAt]) -> Result<HashMap<OffersAt, Self::Value>, Problem> {
        let places: Vec<_> = keys.iter().map(|key| key.0.clone()).collect();
        let found = offers::at(&self.app, &places).await?;
        Ok(found.into_iter().map(|(place, offers)| (OffersAt(place), Arc::new(offers))).collect())
    }
}

/// What this request was built from.
#[derive(Clone)]
struct Ingredients(Arc<RequestView>);

impl PartialEq for Ingredients {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Ingredients {}

impl Hash for Ingredients {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

/// What a request was built from.
pub(crate) struct Built {
    /// The plan's properties.
    pub(crate) properties: Vec<ResolvedProperty>,
    /// All of it, as it is shown.
    pub(crate) shown: serde_json::Value,
}

impl Loader<Ingredients> for Source {
    type Value = Option<Arc<Built>>;
    type Error = Problem;

    async fn load(
        &self,
        keys: &[Ingredients],
    ) -> Result<HashMap<Ingredients, Self::Value>, Problem> {
        let requests = keys.iter().map(|key| key.0.as_ref());
        let mut found = finder::ingredients(self.app.database(), requests).await?;
        if !self.sees_hidden {
            let all = found.into_iter();
            found = all.map(|(id, request)| (id, request.without_hidden())).collect();
        }
        let holders = found.values().filter_map(|request| Some(request.user.as_ref()?.id));
        let opened = self.app.persons().unlock(self.app.database(), holders).await?;
        let built = |key: &Ingredients| {
            let request = found.get(&key.0.id)?;
            let shown = shown_request(request, &opened);
            Some(Arc::new(Built { properties: request.plan.properties.clone(), shown }))
        };
        Ok(keys.iter().map(|key| (key.clone(), built(key))).collect())
    }
}

/// Who this user is.
#[derive(Clone)]
struct Who(Arc<UserView>);

impl PartialEq for Who {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Who {}

impl Hash for Who {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl Loader<Who> for Source {
    type Value = Option<Arc<Person>>;
    type Error = Problem;

    async fn load(&self, keys: &[Who]) -> Result<HashMap<Who, Self::Value>, Problem> {
        let users = keys.iter().map(|key| key.0.id);
        let opened = self.app.persons().unlock(self.app.database(), users).await?;
        let person = |user: &UserView| opened.person(user.id, user.person.as_ref()).map(Arc::new);
        Ok(keys.iter().map(|key| (key.clone(), person(&key.0))).collect())
    }
}

/// How this organisation is reached.
#[derive(Clone)]
struct Reached(Arc<OrganizationView>);

impl PartialEq for Reached {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Reached {}

impl Hash for Reached {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl Loader<Reached> for Source {
    type Value = Arc<Contact>;
    type Error = Problem;

    async fn load(&self, keys: &[Reached]) -> Result<HashMap<Reached, Self::Value>, Problem> {
        let organizations = keys.iter().map(|key| key.0.id);
        let opened = self.app.persons().unlock(self.app.database(), organizations).await?;
        let contact = |of: &OrganizationView| Arc::new(opened.contact(of.id, &of.details.contact));
        Ok(keys.iter().map(|key| (key.clone(), contact(&key.0))).collect())
    }
}

/// Which total.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct TotalKey(StatementKey);

/// Statements that one pass over the facts makes: whose, known when, and which periods.
type Pass = (Question, Vec<Period>);

impl Source {
    fn passes<'a>(
        &self,
        keys: impl Iterator<Item = &'a StatementKey>,
    ) -> Result<Vec<Pass>, Problem> {
        let mut passes = HashMap::<_, Vec<Period>>::new();
        for key in keys {
            if !self.scope.0.contains(&key.path) {
                return Err(Problem::not_found());
            }
            passes.entry((&key.path, key.then, key.side)).or_default().push(key.period);
        }
        let passes = passes.into_iter().map(|((path, then, side), periods)| {
            let Then { as_of, known_at } = then;
            (Question { scope: Scope(path.clone()), as_of, known_at, side }, periods)
        });
        Ok(passes.collect())
    }
}

impl StatementKey {
    fn new(question: &Question, period: Period) -> Self {
        let then = Then { as_of: question.as_of, known_at: question.known_at };
        Self { path: question.scope.0.clone(), then, period, side: question.side }
    }
}

impl Loader<StatementKey> for Source {
    type Value = Arc<Statement>;
    type Error = Problem;

    async fn load(
        &self,
        keys: &[StatementKey],
    ) -> Result<HashMap<StatementKey, Arc<Statement>>, Problem> {
        let database = self.app.database();
        let mut found = HashMap::new();
        for (question, periods) in self.passes(keys.iter())? {
            let persons = self.app.persons();
            let made = ledger::statements(database, persons, &question, &periods).await?;
            let made = made.into_iter().map(|statement| {
                (StatementKey::new(&question, statement.period), Arc::new(statement))
            });
            found.extend(made);
        }
        Ok(found)
    }
}

impl Loader<TotalKey> for Source {
    type Value = Arc<Total>;
    type Error = Problem;

    async fn load(&self, keys: &[TotalKey]) -> Result<HashMap<TotalKey, Arc<Total>>, Problem> {
        let database = self.app.database();
        let mut found = HashMap::new();
        for (question, periods) in self.passes(keys.iter().map(|key| &key.0))? {
            let persons = self.app.persons();
            let made = ledger::totals(database, persons, &question, &periods).await?;
            let made = made.into_iter().map(|total| {
                (TotalKey(StatementKey::new(&question, total.period)), Arc::new(total))
            });
            found.extend(made);
        }
        Ok(found)
    }
}

impl Loader<(At, Query)> for Source {
    type Value = Arc<Page<projections::views::ActivityView>>;
    type Error = Problem;

    async fn load(
        &self,
        keys: &[(At, Query)],
    ) -> Result<HashMap<(At, Query), Self::Value>, Problem> {
        let mut queries = HashMap::<&Query, Vec<TenantPath>>::new();
        for (at, query) in keys {
            queries.entry(query).or_default().push(at.0.clone());
        }
        let mut pages = HashMap::new();
        for (query, paths) in queries {
            let mut found =
                projections::activity::days(self.app.database(), &self.scope, &paths, query)
                    .await?;
            pages.extend(paths.into_iter().filter_map(|path| {
                let page = found.remove(path.as_str())?;
                Some(((At(path), query.clone()), Arc::new(page)))
            }));
        }
        Ok(pages)
    }
}

impl Loader<At> for Source {
    type Value = u64;
    type Error = Problem;

    async fn load(&self, keys: &[At]) -> Result<HashMap<At, u64>, Problem> {
        let paths: Vec<_> = keys.iter().map(|at| at.0.clone()).collect();
        let counts =
            projections::activity::count_days(self.app.database(), &self.scope, &paths).await?;
        let count = |at: &At| Some((at.clone(), *counts.get(at.0.as_str())?));
        Ok(keys.iter().filter_map(count).collect())
    }
}

/// Loads that a request has asked for: never more than it has kinds of keys at a time.
#[derive(Clone, Default)]
pub(crate) struct Loads(Arc<Mutex<Vec<BoxFuture<'static, ()>>>>);

impl Loads {
    fn push(&self, load: BoxFuture<'static, ()>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(load);
    }

    fn take(&self) -> Vec<BoxFuture<'static, ()>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers a request, and carries out its loads whenever it cannot go on without. They end with
    /// it.
    pub(crate) async fn serve<T>(self, request: impl Future<Output = T>) -> T {
        let mut request = std::pin::pin!(request);
        let mut running = Vec::new();
        let turn = Arc::new(Turn::default());
        let waker = Waker::from(turn.clone());
        std::future::poll_fn(move |context| {
            turn.task.register(context.waker());
            loop {
                turn.is_wanted.store(false, Ordering::SeqCst);
                let answer = request.as_mut().poll(&mut task::Context::from_waker(&waker));
                if answer.is_ready() {
                    return answer;
                }
                // A long list lets others have a turn before it has asked for all that it needs.
                let is_waiting = !turn.is_wanted.load(Ordering::SeqCst);
                if is_waiting && running.is_empty() {
                    running = self.take();
                }
                let unfinished = running.len();
                running.retain_mut(|load| load.as_mut().poll(context).is_pending());
                if running.len() == unfinished {
                    return Poll::Pending;
                }
            }
        })
        .await
    }
}

/// Wakes the task of a request, and notes that the request itself wants to go on.
#[derive(Default)]
struct Turn {
    is_wanted: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_wanted.store(true, Ordering::SeqCst);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::future::join_all;
    use futures_util::stream::{FuturesUnordered, StreamExt as _};

    use super::*;

    struct Counting(Arc<AtomicUsize>);

    impl Loader<u32> for Counting {
        type Value = u32;
        type Error = Problem;

        async fn load(&self, keys: &[u32]) -> Result<HashMap<u32, u32>, Problem> {
            self.0.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok(keys.iter().map(|key| (*key, key / 2)).collect())
        }
    }

    async fn loads_for(parents: u32) -> usize {
        let statements = Arc::new(AtomicUsize::new(0));
        let loads = Loads::default();
        let asked = loads.clone();
        let source = Counting(statements.clone());
        let loader =
            DataLoader::with_cache(source, move |load| asked.push(load), HashMapCache::default());
        let loader = loader.delay(Duration::ZERO).max_batch_size(COMPLEXITY_MAX);
        // As the library does it: objects side by side, and the fields of each side by side.
        let field = async |field: u32, parent: u32| {
            let child = loader.load_one(1_000_000 + 2 * (3 * parent + field)).await.unwrap();
            loader.load_one(child.unwrap()).await.unwrap().unwrap()
        };
        let object = async |parent: u32| {
            let fields: FuturesUnordered<_> = (0..3).map(|it| field(it, parent)).collect();
            fields.count().await
        };
        let answers = loads.serve(join_all((0..parents).map(object))).await;
        assert_eq!(answers, vec![3; parents as usize]);
        statements.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn many_parents_take_as_many_loads_as_one() {
        assert_eq!(loads_for(1).await, 2);
        for parents in [20, 31, 500, 5_000] {
            assert_eq!(loads_for(parents).await, 2, "{parents} parents");
        }
    }
}
