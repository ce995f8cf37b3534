//! One call of the API: who makes it, with which body and headers; and how it is answered.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use commands::{Command, Committed, Idempotency, Input, Outcome, ShapeFault, Submission};
use domain::{Fault, Reason};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Parameters;
use crate::app::App;
use crate::auth::Principal;
use crate::body;
use crate::problem::Problem;

/// Largest body, in bytes.
const BODY_MAX_BYTES: usize = 1024 * 1024;
/// Longest idempotency key, in characters.
const KEY_MAX_CHARS: usize = 128;
/// Longest that a command may wait for its outcome.
const WAIT_MAX_SECONDS: u64 = 30;
/// A version that nothing has.
const NO_VERSION: u64 = u64::MAX;

/// What a handler gives back.
pub type Answer = Result<Response, Problem>;

/// A reading call: who makes it.
#[derive(Debug)]
pub struct Reader(pub Principal);

impl FromRequestParts<App> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Principal::from_request_parts(parts, app).await.map(Self)
    }
}

/// A commanding call: who makes it, and what was sent.
#[derive(Debug)]
pub struct Call {
    /// Who makes it.
    pub principal: Principal,
    /// The version that the caller has seen (`If-Match`).
    pub if_match: Option<u64>,
    sent: Sent,
}

/// The body of a request, with what belongs to it.
#[derive(Debug)]
pub struct Sent {
    body: Bytes,
    is_json: bool,
    is_csv: bool,
    idempotency: Option<Idempotency>,
    /// What is wrong with the parameters of the address.
    faults: Vec<Fault>,
}

/// The parameters of a command.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CommandParameters {
    /// Seconds, up to 30, that the caller is willing to wait for the outcome. What is not reported is known at once;
    /// what is reported is not waited for yet.
    #[param(value_type = Option<u32>)]
    wait: Option<String>,
}

impl CommandParameters {
    fn faults(parameters: Parameters<Self>) -> Vec<Fault> {
        let fault = |pointer: &str, detail| {
            vec![Fault { pointer: pointer.to_owned(), code: "bad_parameter", detail }]
        };
        match parameters.take() {
            Err(problem) => fault("?", problem.detail),
            Ok(Self { wait: Some(wait) })
                if wait.parse().map_or(true, |seconds: u64| seconds > WAIT_MAX_SECONDS) =>
            {
                fault("?wait", format!("This is a number of seconds from 0 to {WAIT_MAX_SECONDS}."))
            }
            Ok(_) => Vec::new(),
        }
    }
}

impl Sent {
    async fn read(request: Request, app: &App) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let faults = CommandParameters::faults(Parameters::of(&parts));
        let body = read_body(body).await?;
        let key = idempotency_key(&parts.headers)?;
        let idempotency = key.map(|key| {
            let (method, path) = (parts.method.as_str(), parts.uri.path());
            let asked = [method.as_bytes(), path.as_bytes(), &body];
            Idempotency { key, request: app.persons().vault().request(asked) }
        });
        let (is_json, is_csv) = (is_json(&parts.headers), is_csv(&parts.headers));
        Ok(Self { is_json, is_csv, body, idempotency, faults })
    }

    /// The body as `T`, or what is wrong with it.
    ///
    /// # Errors
    /// 415 where it is not JSON.
    pub fn input<T: DeserializeOwned + ToSchema>(&self) -> Result<Input<T>, Problem> {
        if !self.body.is_empty() && !self.is_json {
            return Err(Problem::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let input = body::parse(&self.body);
        if self.faults.is_empty() {
            return Ok(input);
        }
        let mut faults = self.faults.clone();
        faults.extend(input.err().into_iter().flat_map(|fault| fault.faults));
        Ok(Err(ShapeFault { reason: Reason::Malformed, faults }))
    }
}

impl FromRequest<App> for Sent {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        Self::read(request, app).await
    }
}

impl FromRequest<App> for Call {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let principal = Principal::from_request_parts(&mut parts, app).await?;
        app.writer().takes_commands()?;
        let if_match = if_match(&parts.headers);
        let sent = Sent::read(Request::from_parts(parts, body), app).await?;
        Ok(Self { principal, if_match, sent })
    }
}

impl Call {
    /// The body as `T`, or what is wrong with it.
    ///
    /// # Errors
    /// 415 where it is not JSON.
    pub fn input<T: DeserializeOwned + ToSchema>(&self) -> Result<Input<T>, Problem> {
        self.sent.input()
    }

    /// The body, where it is a table: of a call that takes one.
    #[must_use]
    pub fn csv(&self) -> Option<&[u8]> {
        self.sent.is_csv.then_some(&self.sent.body)
    }

    /// Who calls.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Has a command carried out, and answers with what came of it.
    ///
    /// # Errors
    /// The refusal.
    pub async fn command(self, app: &App, command: Command) -> Answer {
        self.command_then(app, command, |body| body.to_owned()).await
    }

    /// The same, where the answer shows more than is kept: `complete` turns the kept resource into
    /// the shown one.
    ///
    /// # Errors
    /// The refusal.
    pub async fn command_then(
        self,
        app: &App,
        command: Command,
        complete: impl FnOnce(&str) -> String,
    ) -> Answer {
        let committed = self.commit(app, command).await?;
        let shown = complete(committed.reply.body.get());
        Ok(respond(committed, shown))
    }

    /// Has a command carried out; what came of it is shown by [`respond`].
    ///
    /// # Errors
    /// The refusal.
    pub async fn commit(self, app: &App, command: Command) -> Result<Committed, Problem> {
        let caller = self.principal.caller();
        let idempotency = self.sent.idempotency;
        Ok(app.writer().submit(Submission { caller, command, idempotency }).await?)
    }
}

/// The answer to a command that was carried out, with its resource as it is shown.
#[must_use]
pub fn respond(committed: Committed, shown: String) -> Response {
    let reply = committed.reply;
    let mut response = match reply.outcome {
        Outcome::Done => json_response(StatusCode::OK, shown),
        Outcome::Created => json_response(StatusCode::CREATED, shown),
        Outcome::Accepted => json_response(StatusCode::ACCEPTED, shown),
        Outcome::Nothing => StatusCode::NO_CONTENT.into_response(),
    };
    let headers = response.headers_mut();
    if let Some(location) = reply.location {
        insert(headers, header::LOCATION, &format!("/api/v2{location}"));
    }
    if let Some(version) = reply.version {
        insert(headers, header::ETAG, &etag(version));
    }
    if committed.replayed {
        insert(headers, header::HeaderName::from_static("idempotent-replay"), "true");
    }
    response
}

/// A resource, with its version as `ETag`.
#[must_use]
pub fn resource(resource: &impl Serialize, version: u64) -> Response {
    let json = serde_json::to_string(resource).expect("resources have text keys only");
    let mut response = json_response(StatusCode::OK, json);
    insert(response.headers_mut(), header::ETAG, &etag(version));
    response
}

/// JSON, as it stands.
#[must_use]
pub fn json_response(status: StatusCode, json: String) -> Response {
    let mut response = (status, json).into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

/// The version in `If-Match`. `*` and an absent header ask for none in particular; what is no version
/// that we gave is one that nothing has, which is told only to who may change it.
fn if_match(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(header::IF_MATCH)?.to_str().unwrap_or_default().trim();
    if text == "*" {
        return None;
    }
    let version = text.strip_prefix("W/").unwrap_or(text).trim_matches('"').parse();
    Some(version.unwrap_or(NO_VERSION))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().unwrap_or_default().trim();
    let fits = (1..=KEY_MAX_CHARS).contains(&key.len());
    if fits {
        return Ok(Some(key.to_owned()));
    }
    Err(Problem::malformed(format!(
        "An Idempotency-Key has 1 to {KEY_MAX_CHARS} ASCII characters."
    )))
}

/// What the body is said to be.
fn content_type(headers: &HeaderMap) -> &str {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim()
}

/// Whether the body is said to be a table (RFC 4180).
fn is_csv(headers: &HeaderMap) -> bool {
    content_type(headers).eq_ignore_ascii_case("text/csv")
}

/// Whether the body is said to be JSON.
#[must_use]
pub fn is_json(headers: &HeaderMap) -> bool {
    let essence = content_type(headers);
    essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 5
            && essence.is_char_boundary(essence.len() - 5)
            && essence[essence.len() - 5..].eq_ignore_ascii_case("+json"))
}

/// A body within the bound.
///
/// # Errors
/// 413 where it is larger; 400 where it does not arrive whole.
pub async fn read_body(body: Body) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, BODY_MAX_BYTES).await.map_err(|error| {
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(source) = cause {
            if source.is::<http_body_util::LengthLimitError>() {
                return Problem::of_status(StatusCode::PAYLOAD_TOO_LARGE);
            }
            cause = source.source();
        }
        Problem::malformed("The body did not arrive whole.")
    })
}
