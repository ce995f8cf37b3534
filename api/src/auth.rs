//! Who is calling (api.md, section 1).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use commands::Caller;
use domain::authority::{Authority, Begin, Known, Place};
use domain::event::{Event, Recorded};
use domain::lifecycle::Status;
use domain::organization::OrganizationEvent;
use domain::permission::{AnyPermission, Permission};
use domain::role::{RoleEvent, RoleRef};
use domain::seal::Vault;
use domain::service::ServiceEvent;
use domain::user::Credential;
use domain::{Bug, OrganizationId, TenantPath, TokenId, UserId, planted};
use eventstore::{Database, Error, Log, failpoint};
use moka::sync::Cache;
use projections::Persons;
use projections::finder::{self, Scope};
use projections::ledger::Seller;
use projections::views::{
    AccessView, HoldingView, OrganizationView, PermissionView, RoleView, ServiceView,
};
use tokio::sync::watch;

use crate::app::App;
use crate::problem::Problem;
use crate::rate::{Asker, Network};
use crate::token::{TokenKind, Verified};

/// Places whose sellers are kept in memory.
const SELLERS_KEPT: u64 = 10_000;
/// Users whose access is remembered.
const REMEMBERED_MAX: u64 = 50_000;
/// How often the log is looked at for what other processes wrote: a revocation must be felt within
/// a second.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);

/// Somebody who has shown a valid credential.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Who; as whom, where he impersonates.
    pub user: UserId,
    /// Who it really is, where he acts as somebody else.
    pub real: Option<UserId>,
    /// Whose user.
    pub organization: OrganizationId,
    /// What he may do, and where.
    pub authority: Arc<Authority>,
    /// The token or session that was shown.
    pub credential: TokenId,
    /// Which of the two.
    pub kind: TokenKind,
    /// The moment at which it was shown.
    now: DateTime<Utc>,
    /// What his own organisation holds, where his roles ask for it.
    own: Option<Arc<HoldingView>>,
    app: App,
}

impl Principal {
    /// What he can see.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope(self.authority.path.clone())
    }

    /// When the call came in.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// As whom commands run.
    #[must_use]
    pub fn caller(&self) -> Caller {
        match self.real {
            None => Caller::user(self.user),
            Some(real) => Caller::impersonating(real, self.user),
        }
    }

    /// The person who sits there.
    #[must_use]
    pub fn person(&self) -> UserId {
        self.real.unwrap_or(self.user)
    }

    /// Lets him do something to a tenant, or says why not. Only a role of a service asks for more than is in
    /// memory, and only the first time.
    ///
    /// # Errors
    /// See [`Authority::permit`].
    pub async fn permit(
        &self,
        permission: impl Into<AnyPermission>,
        target: &TenantPath,
    ) -> Result<(), Problem> {
        let permission = permission.into();
        let holding = match self.authority.asks_for_services(&permission) {
            true => self.app.gate().holding(self.app.database(), target).await?,
            false => None,
        };
        let held = |service: &_| holding.as_ref().is_some_and(|it| it.holds(service, self.now));
        Ok(self.authority.permit(permission, target, held)?)
    }

    /// Lets him do something that concerns no single tenant, or says why not.
    ///
    /// # Errors
    /// See [`Authority::require`].
    pub fn require(&self, permission: Permission) -> Result<(), Problem> {
        let held = |service: &_| self.own.as_ref().is_some_and(|it| it.holds(service, self.now));
        Ok(self.authority.require(permission, held)?)
    }

    /// Whether he may do something in his whole scope.
    #[must_use]
    pub fn holds(&self, permission: Permission) -> bool {
        let held = |service: &_| self.own.as_ref().is_some_and(|it| it.holds(service, self.now));
        self.authority.may(&permission.into(), held)
    }

    /// Whether what services hide is for him, too.
    #[must_use]
    pub fn sees_hidden(&self) -> bool {
        self.holds(Permission::PublishServices)
    }

    /// Somebody else as he would be if he had signed in here himself, whoever sits there; none where he cannot, as he or
    /// an organisation above him is not in use.
    ///
    /// # Errors
    /// What the database says.
    pub async fn another(&self, user: UserId) -> Result<Option<Self>, Error> {
        let access = self.app.gate().access(self.app.database(), user).await?;
        let Some(access) = access.filter(|access| access.enabled) else { return Ok(None) };
        let authority = access.authority.clone();
        let own = match authority.has_roles_of_services() {
            true => self.app.gate().holding(self.app.database(), &authority.path).await?,
            false => None,
        };
        let organization = access.view.organization;
        Ok(Some(Self { user, real: None, organization, authority, own, ..self.clone() }))
    }

    /// What he holds now; none where his credential is not in force any more.
    ///
    /// # Errors
    /// What the database says.
    pub async fn renewed(&self, app: &App) -> Result<Option<Self>, Error> {
        in_force(app, self.user, self.kind, |record| record.id == self.credential).await
    }
}

impl FromRequestParts<App> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Problem> {
        let identity = parts.extensions.get::<Identity>();
        identity.map_or_else(|| Err(Problem::unauthenticated()), |identity| identity.0.clone())
    }
}

/// Who makes a request, or why he is nobody.
#[derive(Clone, Debug)]
struct Identity(Result<Principal, Problem>);

/// Finds out, once for each request, who makes it, and whether he makes too many.
pub async fn identify(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let principal = authenticate(&app, request.headers()).await;
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let network = Network::from(peer);
    let asker = principal.as_ref().map_or(Asker::Network(network), |it| Asker::User(it.person()));
    request.extensions_mut().insert(network);
    request.extensions_mut().insert(Identity(principal));
    let Some(rate) = app.requests().map(|requests| requests.count(asker)) else {
        return next.run(request).await;
    };
    let mut response = match rate.check("rate_limited", "These are too many requests") {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            metrics::counter!("atrium_rate_limited_total").increment(1);
            problem.into_response()
        }
    };
    rate.tell(response.headers_mut());
    response
}

/// A user's record, whether he and all above him are in use, and what he may do.
#[derive(Debug)]
struct Access {
    view: Arc<AccessView>,
    enabled: bool,
    authority: Arc<Authority>,
}

/// Remembers who may come in, and what persons are opened with; forgets at once what has changed.
#[derive(Debug)]
pub struct Gate {
    known: Cache<UserId, Arc<Access>>,
    /// What customers hold, by path, for the roles of services.
    holdings: Cache<TenantPath, Option<Arc<HoldingView>>>,
    persons: Persons,
    /// Who sells at a place, and how he bills.
    sellers: Cache<TenantPath, Arc<Seller>>,
    /// Grows with every change, so that what was read before it is not remembered after it.
    changes: AtomicU64,
    /// The same of what customers hold; it changes far more often.
    holding_changes: AtomicU64,
    /// Whether anybody has asked what customers hold.
    asks_holdings: AtomicBool,
    /// Where the log ends, as far as is known.
    end: watch::Sender<u64>,
}

impl Gate {
    /// That of an installation with these keys.
    #[must_use]
    pub fn new(vault: Vault) -> Self {
        Self {
            known: Cache::new(REMEMBERED_MAX),
            holdings: Cache::new(REMEMBERED_MAX),
            persons: Persons::new(vault),
            sellers: Cache::new(SELLERS_KEPT),
            changes: AtomicU64::new(0),
            holding_changes: AtomicU64::new(0),
            asks_holdings: AtomicBool::new(false),
            end: watch::Sender::new(0),
        }
    }

    /// Opens persons.
    #[must_use]
    pub fn persons(&self) -> &Persons {
        &self.persons
    }

    /// Hears what this process has committed, and forgets what has changed by it.
    pub fn hear(&self, events: &[Recorded]) {
        events.iter().for_each(|event| self.forget(event));
        if let Some(last) = events.last() {
            self.log_reaches(last.position);
        }
    }

    /// Where the log ends: what this process commits is known at once, what others do soon after.
    #[must_use]
    pub fn end_of_log(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    fn log_reaches(&self, position: u64) {
        self.end.send_if_modified(|end| {
            let is_news = position > *end;
            *end = position.max(*end);
            is_news
        });
    }

    fn forget(&self, event: &Recorded) {
        if planted(Bug::GateForgetsNothing) {
            return;
        }
        match &event.event {
            Event::User(_) => {
                if let Some(id) = event.stream.split_once('-').and_then(|(_, id)| id.parse().ok()) {
                    self.forget_user(id);
                }
            }
            Event::Organization(OrganizationEvent::ContactErased {}) => {
                if let Some(id) = event.stream.split_once('-').and_then(|(_, id)| id.parse().ok()) {
                    self.persons.forget(OrganizationId(id));
                }
            }
            Event::Organization(
                OrganizationEvent::Disabled {}
                | OrganizationEvent::Enabled {}
                | OrganizationEvent::Moved { .. }
                | OrganizationEvent::RoleGiven { .. }
                | OrganizationEvent::RoleTaken { .. },
            )
            | Event::Role(RoleEvent::Edited { .. } | RoleEvent::Deleted { .. })
            | Event::Service(ServiceEvent::Published { .. })
            | Event::CustomPermission(_) => self.forget_all(),
            Event::Subscription(_) => self.forget_holding(&event.path),
            Event::BillingCalendar(_) => self.forget_all(),
            Event::Organization(_)
            | Event::Role(RoleEvent::Created { .. })
            | Event::Service(ServiceEvent::Drafted { .. })
            | Event::Approval(_)
            | Event::Books(_)
            | Event::Pricing(_)
            | Event::Adjustment(_)
            | Event::Rulebook(_)
            | Event::Bulk(_)
            | Event::Usage(_) => {}
        }
    }

    fn forget_holding(&self, path: &TenantPath) {
        if self.asks_holdings.load(Ordering::SeqCst) {
            self.holding_changes.fetch_add(1, Ordering::SeqCst);
            self.holdings.invalidate(path);
        }
    }

    fn forget_user(&self, id: UserId) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.known.invalidate(&id);
        self.persons.forget(id);
    }

    fn forget_all(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.known.invalidate_all();
        self.sellers.invalidate_all();
        self.holding_changes.fetch_add(1, Ordering::SeqCst);
        self.holdings.invalidate_all();
    }

    /// The seller at a place in the tree, or the nearest above it, and how he bills.
    ///
    /// # Errors
    /// What the database says; where there is no provider yet.
    pub async fn seller_at(
        &self,
        database: &Database,
        path: &TenantPath,
    ) -> Result<Arc<Seller>, Error> {
        if let Some(known) = self.sellers.get(path) {
            return Ok(known);
        }
        let before = self.changes.load(Ordering::SeqCst);
        let found = projections::ledger::seller_at(database, path).await?;
        if self.changes.load(Ordering::SeqCst) == before {
            self.sellers.insert(path.clone(), found.clone());
        }
        Ok(found)
    }

    /// What a customer holds; none where it never held anything.
    ///
    /// # Errors
    /// What the database says.
    pub async fn holding(
        &self,
        database: &Database,
        path: &TenantPath,
    ) -> Result<Option<Arc<HoldingView>>, Error> {
        if let Some(known) = self.holdings.get(path) {
            return Ok(known);
        }
        self.asks_holdings.store(true, Ordering::SeqCst);
        let before = self.holding_changes.load(Ordering::SeqCst);
        let found = finder::find(database, &Scope::catalogue(), path.as_str()).await?;
        if self.holding_changes.load(Ordering::SeqCst) == before {
            self.holdings.insert(path.clone(), found.clone());
        }
        Ok(found)
    }

    async fn access(
        &self,
        database: &Database,
        user: UserId,
    ) -> Result<Option<Arc<Access>>, Error> {
        if let Some(known) = self.known.get(&user) {
            return Ok(Some(known));
        }
        let before = self.changes.load(Ordering::SeqCst);
        let everything = Scope::catalogue();
        let view = finder::find::<AccessView>(database, &everything, &user.to_string()).await?;
        let Some(view) = view else { return Ok(None) };
        let Some(organizations) = above(database, view.organization).await? else {
            return Ok(None);
        };
        let enabled = view.status == Status::Active
            && organizations.iter().all(|it| it.status == Status::Active);
        let mut known = known(&view.path, &organizations);
        let authority = follow(database, &mut known, &view.roles, Begin::Given).await?;
        let access = Arc::new(Access { view, enabled, authority: Arc::new(authority) });
        if self.changes.load(Ordering::SeqCst) == before {
            self.known.insert(user, access.clone());
        }
        Ok(Some(access))
    }

    /// Follows the log for what other processes write, until the server stops.
    pub async fn follow(self: Arc<Self>, app: App) {
        let log = app.log();
        let mut seen = log.head().await.map_or(0, |head| head.position);
        self.log_reaches(seen);
        while !app.is_stopping() {
            tokio::time::sleep(FOLLOW_EVERY).await;
            match self.catch_up(app.database(), &log, seen).await {
                Ok(position) => {
                    seen = position;
                    self.log_reaches(seen);
                }
                Err(error) => {
                    // What cannot be followed must not be trusted.
                    tracing::warn!(%error, "the log cannot be followed");
                    self.forget_all();
                    self.persons.forget_all();
                }
            }
        }
    }

    async fn catch_up(&self, database: &Database, log: &Log, seen: u64) -> Result<u64, Error> {
        let head = log.head().await?.position;
        if head == seen {
            return Ok(head);
        }
        failpoint("api::gate::catch_up")?;
        // Only names of streams: no event is decoded here.
        let rows = database
            .fetch(
                "select distinct stream from event where position > $1 and position <= $2 \
                 and ((stream >= 'billing_calendar-' and stream < 'billing_calendar.') \
                 or (stream >= 'organization-' and stream < 'organization.') \
                 or (stream >= 'permission-' and stream < 'permission.') \
                 or (stream >= 'role-' and stream < 'role.') \
                 or (stream >= 'service-' and stream < 'service.') \
                 or (stream >= 'user-' and stream < 'user.'))",
                &[seen.into(), head.into()],
            )
            .await?;
        if self.asks_holdings.load(Ordering::SeqCst) {
            let paths = database
                .fetch(
                    "select distinct path from event where position > $1 and position <= $2 \
                     and stream >= 'subscription-' and stream < 'subscription.'",
                    &[seen.into(), head.into()],
                )
                .await?;
            for row in &paths {
                if let Some(path) = TenantPath::parse(row.text(0)?) {
                    self.forget_holding(&path);
                }
            }
        }
        let streams: BTreeSet<_> =
            rows.iter().map(|row| row.text(0).map(str::to_owned)).collect::<Result<_, _>>()?;
        for stream in streams.iter().filter(|_| !planted(Bug::GateForgetsNothing)) {
            match stream.split_once('-') {
                Some(("user", id)) => {
                    if let Ok(id) = id.parse() {
                        self.forget_user(id);
                    }
                }
                Some(("organization", id)) => {
                    if let Ok(id) = id.parse::<OrganizationId>() {
                        self.persons.forget(id);
                    }
                    self.forget_all();
                }
                _ => self.forget_all(),
            }
        }
        Ok(head)
    }
}

/// The principal behind a token that was shown, if it is in force.
async fn principal(app: &App, token: &str) -> Result<Option<Principal>, Error> {
    let Some(Verified { user, kind, proof }) = app.tokens().verify(token, app.now()) else {
        return Ok(None);
    };
    in_force(app, user, kind, |record| record.proof == proof).await
}

/// The principal behind one of a user's credentials, if it is in force.
async fn in_force(
    app: &App,
    user: UserId,
    kind: TokenKind,
    is_it: impl Fn(&Credential) -> bool,
) -> Result<Option<Principal>, Error> {
    let now = app.now();
    let Some(access) = app.gate().access(app.database(), user).await? else { return Ok(None) };
    let is_good = |record: &Credential| is_it(record) && record.expires_at > now;
    let record = match kind {
        TokenKind::Api => access.view.tokens.iter().find(|record| is_good(record)),
        TokenKind::Session => access.view.sessions.iter().find(|record| is_good(record)),
        TokenKind::Impersonation => {
            access.view.impersonations.iter().map(|it| &it.credential).find(|it| is_good(it))
        }
    };
    let Some(record) = record.filter(|_| access.enabled) else { return Ok(None) };
    let mut authority = access.authority.clone();
    let mut real = None;
    if kind == TokenKind::Impersonation {
        let it = access.view.impersonations.iter().find(|it| it.credential.id == record.id);
        let Some(it) = it else { return Ok(None) };
        let Some(own) = app.gate().access(app.database(), it.by).await? else { return Ok(None) };
        // What he began with is still in force, and he may still do it.
        let mut own_records = own.view.tokens.iter().chain(&own.view.sessions);
        let is_in = own_records.any(|old| old.id == it.began_with && old.expires_at > now);
        if !is_in || !own.enabled || !own.authority.may_act_as(&access.authority) {
            return Ok(None);
        }
        let both = access.authority.as_ref().clone();
        authority = Arc::new(both.exercised_by(own.authority.as_ref().clone()));
        real = Some(it.by);
    }
    let own = match authority.has_roles_of_services() {
        true => app.gate().holding(app.database(), &authority.path).await?,
        false => None,
    };
    let principal = Principal {
        user,
        real,
        organization: access.view.organization,
        authority,
        credential: record.id,
        kind,
        now,
        own,
        app: app.clone(),
    };
    Ok(Some(principal).filter(|it| kind != TokenKind::Api || it.holds(Permission::HoldTokens)))
}

/// An organisation and those above it, the provider first; none where one of them is not there.
async fn above(
    database: &Database,
    organization: OrganizationId,
) -> Result<Option<Vec<Arc<OrganizationView>>>, Error> {
    let everything = Scope::catalogue();
    let mut all = Vec::new();
    let mut next = Some(organization);
    while let Some(id) = next {
        let key = id.to_string();
        let found = finder::find::<OrganizationView>(database, &everything, &key).await?;
        let Some(view) = found else { return Ok(None) };
        next = view.parent;
        all.push(view);
    }
    all.reverse();
    Ok(Some(all))
}

/// What roles are followed through, for people of the last of these organisations.
fn known(path: &TenantPath, organizations: &[Arc<OrganizationView>]) -> Known {
    let place = |view: &Arc<OrganizationView>| Place {
        id: view.id,
        kind: view.kind,
        given: view.given.clone(),
    };
    Known::new(path.clone(), organizations.iter().map(place).collect())
}

/// What roles permit, with whatever has to be looked up for that.
async fn follow(
    database: &Database,
    known: &mut Known,
    roles: &[RoleRef],
    begin: Begin,
) -> Result<Authority, Error> {
    let everything = Scope::catalogue();
    loop {
        let needs = match known.authority(roles, begin) {
            Ok(authority) => return Ok(authority),
            Err(needs) => needs,
        };
        let keys = needs.roles.iter().map(ToString::to_string).collect();
        let found = finder::find_many::<RoleView>(database, &everything, keys).await?;
        for id in needs.roles {
            known.add_role(id, found.get(&id.to_string()).and_then(|view| view.made()));
        }
        let keys = needs.services.iter().map(ToString::to_string).collect();
        let found = finder::find_many::<ServiceView>(database, &everything, keys).await?;
        for service in needs.services {
            let view = found.get(service.as_str());
            let published = view.and_then(|view| view.published.as_ref());
            let roles = published.map_or(&[][..], |it| &it.roles);
            known.add_service(service, roles, published.map_or(&[], |it| &it.permissions));
        }
        let keys = needs.permissions.iter().map(ToString::to_string).collect();
        let found = finder::find_many::<PermissionView>(database, &everything, keys).await?;
        for key in needs.permissions {
            let is_declared = found.get(key.as_str()).is_some_and(|view| !view.withdrawn);
            known.add_permission(key, is_declared);
        }
    }
}

/// What somebody of an organisation who is given roles may do, or what comes with roles that the organisation
/// has.
///
/// # Errors
/// Not found where there is no such organisation.
pub async fn roles_at(
    app: &App,
    organization: OrganizationId,
    roles: &[RoleRef],
    begin: Begin,
) -> Result<Authority, Problem> {
    let organizations =
        above(app.database(), organization).await?.ok_or_else(Problem::not_found)?;
    let path = organizations.last().map(|last| last.path.clone());
    let mut known = known(&path.ok_or_else(Problem::not_found)?, &organizations);
    Ok(follow(app.database(), &mut known, roles, begin).await?)
}

/// The principal behind a request's headers.
///
/// # Errors
/// One and the same 401 for everything that is not a credential in force.
async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Principal, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Problem::unauthenticated());
    };
    let token = value.to_str().ok().and_then(|value| value.split_once(' '));
    let Some((scheme, token)) = token else { return Err(Problem::unauthenticated()) };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Problem::unauthenticated());
    }
    principal(app, token.trim()).await?.ok_or_else(Problem::unauthenticated)
}
