//! The server: from settings to a listening socket, and a graceful end.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::{DateTime, TimeDelta, Utc};
use commands::due::{self, LOOK_EVERY};
use commands::{Ambient, Writer, WriterSettings};
use eventstore::{Age, Database};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::Instrument;

use crate::app::App;
use crate::auth::{Gate, identify};
use crate::config::{RETENTION_DAYS, Settings};
use crate::keys::{CHECK, Keys, read_or_make_master_key};
use crate::problem::Problem;
use crate::{graphql, rest};

/// Longest that a request may take.
const REQUEST_SECONDS: u64 = 30;
/// Longest address, in bytes.
const URI_MAX_BYTES: usize = 8_192;
/// Most that all headers together may have, in bytes.
const HEADERS_MAX_BYTES: usize = 16 * 1024;
/// How long a stopping server waits for the requests that are being served.
const GRACE: Duration = Duration::from_secs(20);
/// Longest request id that is taken over from the caller, in characters.
const REQUEST_ID_MAX_CHARS: usize = 64;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A running installation, without its socket.
#[derive(Debug)]
pub struct Installation {
    /// What requests reach.
    pub app: App,
    /// How often it looks for what is due.
    pub look_every: Duration,
    /// Days in which who was deleted can be restored.
    pub retention_days: u32,
    /// Up to when all is done that was due.
    done_until: watch::Sender<DateTime<Utc>>,
    /// None where there is no writer.
    writer_thread: Option<std::thread::JoinHandle<()>>,
}

/// Opens the database of the settings and brings it up to date.
///
/// # Errors
/// Where it cannot be opened, is damaged, or is newer than this program.
pub async fn open_database(settings: &Settings, progress: impl FnMut(u64)) -> Result<Database> {
    let database = open_log(settings).await?;
    projections::prepare(&database, progress).await.context("the views cannot be made")?;
    Ok(database)
}

/// Opens the database of the settings and brings the log's tables up to date, and not the views.
///
/// # Errors
/// Where it cannot be opened, is damaged, or is newer than this program.
pub async fn open_log(settings: &Settings) -> Result<Database> {
    Ok(match &settings.database {
        Some(url) => Database::connect_postgres(url)
            .await
            .context("the PostgreSQL database cannot be used")?,
        None => {
            let file = settings.sqlite_file();
            Database::open_sqlite(&file)
                .await
                .with_context(|| format!("the database {} cannot be used", file.display()))?
        }
    })
}

/// Opens the database of the settings only to read it, as long as others like to write.
///
/// # Errors
/// Where it cannot be opened, holds no installation, or has not been brought up to date by a server that
/// writes.
pub async fn open_to_read(settings: &Settings) -> Result<Database> {
    let database = match &settings.database {
        Some(url) => {
            Database::look_postgres(url).await.context("the PostgreSQL database cannot be used")?
        }
        None => {
            let file = settings.sqlite_file();
            if !file.exists() {
                let folder = settings.data.display();
                bail!("there is no database in {folder}; name its folder with --data");
            }
            Database::follow_sqlite(&file)
                .await
                .with_context(|| format!("the database {} cannot be used", file.display()))?
        }
    };
    if database.age().await? == Age::Older || !projections::is_prepared(&database).await? {
        bail!(
            "the database is of another version of Atrium, and a server that only reads does not change \
             it: start one of this version that writes first (`atrium serve` without --read-only)"
        );
    }
    if database.installation(CHECK).await?.is_none() {
        bail!(
            "there is no installation in the database yet, and a server that only reads makes none"
        );
    }
    Ok(database)
}

/// The master key of the settings; a new installation gets a new one.
///
/// # Errors
/// Where there is none although the database was made with one.
pub async fn master_key(settings: &Settings, database: &Database) -> Result<[u8; 32]> {
    if let Some(key) = settings.master_key {
        return Ok(key);
    }
    let is_new = database.installation("master_key_check").await?.is_none();
    read_or_make_master_key(&settings.master_key_file, is_new)
}

impl Installation {
    /// Starts the writer on a database. Callers make at most so many requests in a minute, if there
    /// is a limit.
    ///
    /// # Errors
    /// Where the master key does not fit, or the database cannot be reached.
    pub async fn start(
        database: Database,
        keys: Keys,
        ambient: Arc<impl Ambient + std::fmt::Debug>,
        requests_per_minute: Option<NonZeroU32>,
    ) -> Result<Self> {
        keys.check(&database).await?;
        let gate = Arc::new(Gate::new(keys.vault()));
        let hears = gate.clone();
        let (writer, writer_thread) = Writer::start(
            database.clone(),
            keys.vault(),
            ambient,
            WriterSettings::default(),
            Box::new(move |events| hears.hear(events)),
        )
        .await?;
        let app = App::new(database, writer, gate, keys, requests_per_minute);
        Ok(Self::of(app, Some(writer_thread)))
    }

    /// Starts on a database that is only read, and perhaps written to by others. Nothing is written, and
    /// every command is refused.
    ///
    /// # Errors
    /// Where the master key does not fit, or the database cannot be reached.
    pub async fn start_to_read(
        database: Database,
        keys: Keys,
        ambient: Arc<impl Ambient + std::fmt::Debug>,
        requests_per_minute: Option<NonZeroU32>,
        commands_at: Option<&str>,
    ) -> Result<Self> {
        keys.belong_to(&database).await?;
        let writer = Writer::none(ambient, commands_at);
        let gate = Arc::new(Gate::new(keys.vault()));
        let app = App::new(database, writer, gate, keys, requests_per_minute);
        Ok(Self::of(app, None))
    }

    fn of(app: App, writer_thread: Option<std::thread::JoinHandle<()>>) -> Self {
        let done_until = watch::Sender::new(DateTime::UNIX_EPOCH);
        let (look_every, retention_days) = (LOOK_EVERY, RETENTION_DAYS);
        Self { app, look_every, retention_days, done_until, writer_thread }
    }

    /// Hears up to when all is done that was due.
    #[must_use]
    pub fn done_until(&self) -> watch::Receiver<DateTime<Utc>> {
        self.done_until.subscribe()
    }

    /// Looks for what is due, where there is a writer to do it; ends only by a mistake.
    fn look_for_due(&self) -> impl Future<Output = ()> + Send + use<> {
        let (database, writer) = (self.app.database().clone(), self.app.writer().clone());
        let (every, done_until) = (self.look_every, self.done_until.clone());
        let sorts = due::sorts(TimeDelta::days(self.retention_days.into()));
        async move {
            match writer.takes_commands() {
                Ok(()) => due::Watch::new(database, writer, sorts).run(every, done_until).await,
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Serves until `stopped` is done, then lets what is being served finish.
    ///
    /// # Errors
    /// Where the socket fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        stopped: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        let app = self.app.clone();
        let mut follower = tokio::spawn(app.gate().clone().follow(app.clone()));
        let mut looker = tokio::spawn(self.look_for_due());
        let (begin_stop, stop_begun) = tokio::sync::oneshot::channel();
        let (has_failed, failed) = tokio::sync::oneshot::channel();
        let stopping = {
            let app = app.clone();
            async move {
                // What has ended by a mistake does not come back. A process that only seems to serve is worse
                // than one that is started again.
                let failure = tokio::select! {
                    () = stopped => None,
                    () = app.writer().ended() => Some("the writer"),
                    _ = &mut follower => Some("what follows the log"),
                    _ = &mut looker => Some("what looks for what is due"),
                };
                app.stop();
                let _ = has_failed.send(failure);
                for task in [follower, looker] {
                    if !task.is_finished() {
                        task.abort();
                        let _ = task.await;
                    }
                }
                let _ = begin_stop.send(());
            }
        };
        let service = service(app).into_make_service_with_connect_info::<SocketAddr>();
        let server = axum::serve(listener, service).with_graceful_shutdown(stopping);
        let server = tokio::spawn(async move { server.await });
        let abort = server.abort_handle();
        tokio::spawn(async move {
            if stop_begun.await.is_ok() {
                tokio::time::sleep(GRACE).await;
                abort.abort();
            }
        });
        match server.await {
            Ok(served) => served.context("the socket failed")?,
            Err(_) => tracing::warn!("requests were still being served when the server stopped"),
        }
        self.close().await;
        match failed.await {
            Ok(Some(what)) => bail!(
                "{what} has ended by a mistake in the program, which the log tells of; nothing that was \
                 acknowledged is lost: start Atrium again"
            ),
            _ => Ok(()),
        }
    }

    /// Ends the writer when everything that waited is answered, then closes the database.
    pub async fn close(self) {
        let Self { app, writer_thread, .. } = self;
        let database = app.database().clone();
        drop(app);
        // The writer ends when nobody can reach it any more.
        let ended =
            tokio::task::spawn_blocking(move || writer_thread.map(std::thread::JoinHandle::join));
        if tokio::time::timeout(GRACE, ended).await.is_err() {
            tracing::warn!("the writer was still at work when the server stopped");
        }
        database.close().await;
    }
}

/// The whole HTTP interface.
///
/// Everything passes the outer layers, what no route matches too: so every answer has a request id,
/// and every refusal is a problem.
pub fn service(app: App) -> Router {
    let counted = Router::new()
        .merge(rest::router())
        .merge(graphql::router())
        .layer(middleware::from_fn_with_state(app.clone(), identify))
        .with_state(app.clone());
    // What watches the server must get an answer however many others ask.
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(app.clone())
        .fallback_service(counted)
        .layer(CatchPanicLayer::custom(panicked));
    Router::new()
        .fallback_service(routes)
        .layer(middleware::from_fn(billing_as_written))
        .layer(CompressionLayer::new())
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .layer(middleware::from_fn_with_state(app, answer))
}

/// What a request is answered whose handler has a mistake.
fn panicked(cause: Box<dyn std::any::Any + Send>) -> Response {
    let literal = cause.downcast_ref::<&str>().copied();
    let cause = literal.or_else(|| cause.downcast_ref::<String>().map(String::as_str));
    tracing::error!(cause, "a request panicked");
    Problem::internal().into_response()
}

/// Serves one request: gives it an id, bounds it, and says what is wrong in one form.
async fn answer(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = request_id(&app, &request);
    if let Ok(value) = HeaderValue::from_str(&id) {
        request.headers_mut().insert(REQUEST_ID, value);
    }
    let trace = TraceParent::of(request.headers());
    // Of the level of what is logged within it: a warning must tell its request.
    let span = tracing::error_span!(
        "request",
        id,
        trace = trace.map(|trace| trace.trace),
        parent = trace.map(|trace| trace.parent),
        method = %request.method(),
        path = request.uri().path(),
        status = tracing::field::Empty,
    );
    let response = bounded(&app, request, next).instrument(span.clone()).await;
    let mut response = as_problem(response, &id);
    span.record("status", response.status().as_u16());
    metrics::counter!("atrium_requests_total", "status" => response.status().as_str().to_owned())
        .increment(1);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

async fn bounded(app: &App, request: Request, next: Next) -> Response {
    let address = request.uri().path_and_query().map_or(0, |whole| whole.as_str().len());
    if address > URI_MAX_BYTES {
        return Problem::of_status(StatusCode::URI_TOO_LONG).into_response();
    }
    let headers = request.headers().iter();
    let headers: usize = headers.map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers > HEADERS_MAX_BYTES {
        return Problem::of_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE).into_response();
    }
    let Some(place) = app.place() else {
        return Problem::unavailable("The server is busy; try again.").into_response();
    };
    let served = tokio::time::timeout(Duration::from_secs(REQUEST_SECONDS), next.run(request));
    let response = served.await.unwrap_or_else(|_| {
        Problem::unavailable("This took too long; try again, or ask for less.").into_response()
    });
    drop(place);
    response
}

/// Of which trace a request is a part, as its caller says (W3C Trace Context, `traceparent`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TraceParent<'a> {
    trace: &'a str,
    parent: &'a str,
}

impl<'a> TraceParent<'a> {
    /// None where there is no such header, or it is not to be trusted to be one.
    fn of(headers: &'a HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("traceparent").iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        Self::parse(value.to_str().ok()?)
    }

    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut part = |digits: usize| {
            parts.next().filter(|part| {
                let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                part.len() == digits && part.bytes().all(is_digit)
            })
        };
        let (version, trace, parent, _flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        // Later versions may add parts; this one has none.
        let fits = version != "ff" && (version != "00" || parts.next().is_none());
        let is_none = |id: &str| id.bytes().all(|byte| byte == b'0');
        (fits && !is_none(trace) && !is_none(parent)).then_some(Self { trace, parent })
    }
}

/// What the caller says the request is called, or a new id.
fn request_id(app: &App, request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let fits = |id: &&str| {
        (1..=REQUEST_ID_MAX_CHARS).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    given.filter(fits).map_or_else(|| app.ambient().id().to_string(), str::to_owned)
}

/// Writes the body of a problem, also of those that only have a status.
fn as_problem(response: Response, id: &str) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    let problem = parts.extensions.remove::<Problem>();
    let problem = problem.unwrap_or_else(|| Problem::of_status(status));
    let json = serde_json::to_string(&problem.body(id)).expect("a problem has text keys only");
    parts.status = problem.status;
    for (name, value) in &problem.headers {
        parts.headers.insert(name.clone(), value.clone());
    }
    let kind = HeaderValue::from_static("application/problem+json");
    parts.headers.insert(header::CONTENT_TYPE, kind);
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_ENCODING);
    Response::from_parts(parts, Body::from(json))
}

/// Where the billing API is, as it is documented.
const BILLING: &str = "/api/Billing";

/// What addresses of the billing API may end with to say in which form the answer is wanted.
const FORMS: [&str; 3] = [".csv", ".xlsx", ".jsonl"];

/// Existing integrations write the billing paths in any case, and spreadsheets like addresses that end like files (api.md,
/// section 2).
async fn billing_as_written(mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let (head, rest) = path.split_at_checked(BILLING.len()).unwrap_or((path, ""));
    if head.eq_ignore_ascii_case(BILLING) {
        let rest = rest.to_ascii_lowercase();
        let form = FORMS.iter().find_map(|form| Some((rest.strip_suffix(form)?, &form[1..])));
        let (rest, form) = form.map_or((rest.as_str(), None), |(rest, form)| (rest, Some(form)));
        let mut address = format!("{BILLING}{rest}");
        let form = form.map(|form| format!("format={form}"));
        let parameters = [request.uri().query(), form.as_deref()];
        for (parameter, sign) in parameters.into_iter().flatten().zip(['?', '&']) {
            address.push(sign);
            address.push_str(parameter);
        }
        if let Ok(uri) = address.parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    next.run(request).await
}

/// Whether the server can serve: the database answers, the writer writes, and nobody is stopping it. One that
/// only reads tells how far it may be behind.
async fn ready(State(app): State<App>) -> Result<String, Problem> {
    if app.is_stopping() {
        return Err(Problem::unavailable("The server is stopping."));
    }
    if app.writer().has_ended() {
        return Err(Problem::unavailable("The server is about to end."));
    }
    app.log().head().await?;
    if app.writer().takes_commands().is_ok() {
        return Ok("ready\n".to_owned());
    }
    Ok(match app.database().behind().await? {
        Some(behind) => format!("ready, only reads, {:.3} s behind\n", behind.as_secs_f64()),
        None => "ready, only reads\n".to_owned(),
    })
}

/// Counts and times, for Prometheus.
async fn metrics(State(app): State<App>) -> Response {
    metrics::gauge!("atrium_log_position").set(*app.gate().end_of_log().borrow() as f64);
    if app.writer().takes_commands().is_err() {
        let behind = app.database().behind().await.ok().flatten();
        let seconds = behind.map_or(f64::NAN, |behind| behind.as_secs_f64());
        metrics::gauge!("atrium_behind_seconds").set(seconds);
    }
    let text = recorder().render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// The one recorder of this process.
pub fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| {
        PrometheusBuilder::new().install_recorder().expect("nobody else installs a recorder")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_joined_by_the_letter_of_its_header() {
        let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let good = TraceParent { trace, parent };
        for text in [
            format!("00-{trace}-{parent}-01"),
            format!("00-{trace}-{parent}-00"),
            format!("cc-{trace}-{parent}-01-what-the-future-will-be-like"),
        ] {
            assert_eq!(TraceParent::parse(&text), Some(good), "{text}");
        }
        for bad in [
            String::new(),
            "00".to_owned(),
            format!("ff-{trace}-{parent}-01"),
            format!("00-{trace}-{parent}"),
            format!("00-{trace}-{parent}-01-"),
            format!("00-{}-{parent}-01", trace.to_uppercase()),
            format!("00-{}-{parent}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{trace}\n-{parent}-01"),
            format!("00-{}-{parent}-01", "é".repeat(16)),
        ] {
            assert_eq!(TraceParent::parse(&bad), None, "{bad}");
        }
        let mut twice = HeaderMap::new();
        for _ in 0..2 {
            let value = format!("00-{trace}-{parent}-01").parse().unwrap();
            twice.append("traceparent", value);
        }
        assert_eq!(TraceParent::of(&twice), None);
    }
}
