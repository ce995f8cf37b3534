//! Who is calling (api.md, section 1).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use commands::Caller;
use domain::event::{Event, Recorded};
use domain::organization::{OrganizationEvent, Status};
use domain::permission::{Authority, Permission};
use domain::seal::Vault;
use domain::user::Credential;
use domain::{Bug, OrganizationId, TenantPath, TokenId, UserId, planted};
use eventstore::{Database, Error, Log, failpoint};
use moka::sync::Cache;
use projections::Persons;
use projections::finder::{self, Scope};
use projections::views::{AccessView, OrganizationView};
use tokio::sync::watch;

use crate::app::App;
use crate::problem::Problem;
use crate::rate::{Asker, Network};
use crate::token::{TokenKind, Verified};

/// Users whose access is remembered.
const REMEMBERED_MAX: u64 = 50_000;
/// How often the log is looked at for what other processes wrote: a revocation must be felt within
/// a second.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);

/// Somebody who has shown a valid credential.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Who.
    pub user: UserId,
    /// Whose user.
    pub organization: OrganizationId,
    /// What he holds, and where.
    pub authority: Authority,
    /// The token or session that was shown.
    pub credential: TokenId,
    /// Which of the two.
    pub kind: TokenKind,
}

impl Principal {
    /// What he can see.
    #[must_use]
    pub fn scope(&self) -> Scope {
        Scope(self.authority.path.clone())
    }

    /// As whom commands run.
    #[must_use]
    pub fn caller(&self) -> Caller {
        Caller::user(self.user)
    }

    /// Lets him do something to a tenant, or says why not.
    ///
    /// # Errors
    /// See [`Authority::permit`].
    pub fn permit(&self, permission: Permission, target: &TenantPath) -> Result<(), Problem> {
        Ok(self.authority.permit(permission, target)?)
    }

    /// Lets him do something that concerns no single tenant, or says why not.
    ///
    /// # Errors
    /// See [`Authority::require`].
    pub fn require(&self, permission: Permission) -> Result<(), Problem> {
        Ok(self.authority.require(permission)?)
    }

    /// Whether what services hide is for him, too.
    #[must_use]
    pub fn sees_hidden(&self) -> bool {
        self.authority.holds(Permission::PublishServices)
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
    let asker = principal.as_ref().map_or(Asker::Network(network), |it| Asker::User(it.user));
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

/// A user's record, and whether he and all above him are in use.
#[derive(Debug)]
struct Access {
    view: Arc<AccessView>,
    enabled: bool,
}

/// Remembers who may come in, and what persons are opened with; forgets at once what has changed.
#[derive(Debug)]
pub struct Gate {
    known: Cache<UserId, Arc<Access>>,
    persons: Persons,
    /// Grows with every change, so that what was read before it is not remembered after it.
    changes: AtomicU64,
    /// Where the log ends, as far as is known.
    end: watch::Sender<u64>,
}

impl Gate {
    /// That of an installation with these keys.
    #[must_use]
    pub fn new(vault: Vault) -> Self {
        Self {
            known: Cache::new(REMEMBERED_MAX),
            persons: Persons::new(vault),
            changes: AtomicU64::new(0),
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
            Event::Organization(OrganizationEvent::Disabled {} | OrganizationEvent::Enabled {}) => {
                self.forget_all()
            }
            Event::Organization(_)
            | Event::Service(_)
            | Event::Subscription(_)
            | Event::BillingCalendar(_) => {}
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
        let mut enabled = view.status == Status::Active;
        let mut next = Some(view.organization);
        while let (true, Some(id)) = (enabled, next) {
            let organization =
                finder::find::<OrganizationView>(database, &everything, &id.to_string()).await?;
            enabled = organization.as_ref().is_some_and(|it| it.status == Status::Active);
            next = organization.and_then(|it| it.parent);
        }
        let access = Arc::new(Access { view, enabled });
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
                 and ((stream >= 'organization-' and stream < 'organization.') \
                 or (stream >= 'user-' and stream < 'user.'))",
                &[seen.into(), head.into()],
            )
            .await?;
        let streams: BTreeSet<_> =
            rows.iter().map(|row| row.text(0).map(str::to_owned)).collect::<Result<_, _>>()?;
        for stream in streams.iter().filter(|_| !planted(Bug::GateForgetsNothing)) {
            match stream.split_once('-') {
                Some(("user", id)) => {
                    if let Ok(id) = id.parse() {
                        self.forget_user(id);
                    }
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
    let records = match kind {
        TokenKind::Api => &access.view.tokens,
        TokenKind::Session => &access.view.sessions,
    };
    let record = records.iter().find(|record| is_it(record) && record.expires_at > now);
    let Some(record) = record.filter(|_| access.enabled) else { return Ok(None) };
    let authority = access.view.authority();
    if kind == TokenKind::Api && !authority.holds(Permission::HoldTokens) {
        return Ok(None);
    }
    Ok(Some(Principal {
        user,
        organization: access.view.organization,
        authority,
        credential: record.id,
        kind,
    }))
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
