//! Answers when something is wrong (api.md, section 4; RFC 9457).

use async_graphql::ServerError;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::{Fault, Lacking, Reason, Refusal};
use serde::Serialize;

/// Seconds after which an overloaded or restarting server is worth another try.
const RETRY_AFTER_SECONDS: u64 = 1;
/// The same, where another server is the one to ask.
const RETRY_ELSEWHERE_SECONDS: u64 = 10;

/// What is wrong, for people and for programs. Never a stack trace, SQL, a file path or a secret.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// For programs; never changes its meaning.
    pub code: &'static str,
    /// For people: what is wrong with this request.
    pub detail: String,
    /// Each faulty field.
    pub errors: Vec<Fault>,
    /// What is wrong with a GraphQL document, for which clients look in `errors` too.
    pub graphql: Box<[ServerError]>,
    /// Which permission is missing, where, and what is with the caller's roles.
    pub lacking: Option<Box<Lacking>>,
    /// Headers that belong to the status.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem without fields or headers.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            graphql: Box::default(),
            lacking: None,
            headers: Vec::new(),
        }
    }

    /// No, bad, expired or revoked credentials: one answer for all causes.
    #[must_use]
    pub fn unauthenticated() -> Self {
        let mut problem = Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "Send a valid token: `Authorization: Bearer <token>`.",
        );
        problem.headers.push((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        problem
    }

    /// Not there, or not for this caller.
    #[must_use]
    pub fn not_found() -> Self {
        Refusal::not_found().into()
    }

    /// The request cannot be understood.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// A parameter of the address cannot be understood.
    #[must_use]
    pub fn bad_parameter(name: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let mut problem = Self::new(StatusCode::BAD_REQUEST, "bad_parameter", detail.clone());
        problem.errors.push(Fault { pointer: format!("?{name}"), code: "bad_parameter", detail });
        problem
    }

    /// Not now; try again.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        problem.headers.push((header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS)));
        problem
    }

    /// A server that only reads was sent a command. Not the request's fault, and it is right to send it again:
    /// elsewhere, or here when a standby has become the primary.
    #[must_use]
    pub fn read_only(commands_at: Option<&str>) -> Self {
        let place = commands_at.unwrap_or("the installation's server that takes them");
        let detail = format!("This server only reads; send commands to {place}.");
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "read_only", detail);
        problem.headers.push((header::RETRY_AFTER, HeaderValue::from(RETRY_ELSEWHERE_SECONDS)));
        problem
    }

    /// A mistake in the program; what it was is in the log.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong on our side. The request id leads to it in the server's log.",
        )
    }

    /// The problem that a bare status stands for.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        let (code, detail) = match status {
            StatusCode::UNAUTHORIZED => return Self::unauthenticated(),
            StatusCode::NOT_FOUND => return Self::not_found(),
            StatusCode::SERVICE_UNAVAILABLE => {
                return Self::unavailable("The server is busy or stopping; try again.");
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method_not_allowed", "This address does not take this method; see Allow.")
            }
            StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "The body is larger than 1 MiB."),
            StatusCode::URI_TOO_LONG => ("uri_too_long", "The address is too long."),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                ("unsupported_media_type", "Send JSON: `Content-Type: application/json`.")
            }
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                ("headers_too_large", "The headers are too large.")
            }
            status if status.is_client_error() => {
                ("malformed", "The request cannot be understood.")
            }
            _ => return Self::internal(),
        };
        Self::new(status, code, detail)
    }

    /// The body, for the request with this id.
    #[must_use]
    pub fn body<'a>(&'a self, instance: &'a str) -> ProblemBody<'a> {
        ProblemBody {
            kind: format!("urn:atrium:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Problem"),
            status: self.status.as_u16(),
            detail: &self.detail,
            code: self.code,
            instance,
            lacking: self.lacking.as_deref(),
            errors: match &*self.graphql {
                [] => Errors::OfFields(&self.errors),
                errors => Errors::OfGraphql(errors.iter().map(GraphqlFault::from).collect()),
            },
        }
    }
}

/// A problem as it is sent.
#[derive(Debug, Serialize)]
pub struct ProblemBody<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    instance: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lacking: Option<&'a Lacking>,
    #[serde(skip_serializing_if = "Errors::is_empty")]
    errors: Errors<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Errors<'a> {
    OfFields(&'a [Fault]),
    OfGraphql(Vec<GraphqlFault<'a>>),
}

impl Errors<'_> {
    fn is_empty(&self) -> bool {
        matches!(self, Self::OfFields([]))
    }
}

/// A fault of a GraphQL document: as of any field, and as GraphQL clients know it.
#[derive(Debug, Serialize)]
struct GraphqlFault<'a> {
    pointer: &'static str,
    code: Option<&'a async_graphql::Value>,
    detail: &'a str,
    #[serde(flatten)]
    error: &'a ServerError,
}

impl<'a> From<&'a ServerError> for GraphqlFault<'a> {
    fn from(error: &'a ServerError) -> Self {
        let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
        Self { pointer: "/query", code, detail: &error.message, error }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.reason {
            Reason::Malformed => StatusCode::BAD_REQUEST,
            Reason::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Reason::Conflict => StatusCode::CONFLICT,
            Reason::Stale => StatusCode::PRECONDITION_FAILED,
            Reason::NotFound => StatusCode::NOT_FOUND,
            Reason::Forbidden => StatusCode::FORBIDDEN,
        };
        Self {
            errors: refusal.faults,
            lacking: refusal.lacking,
            ..Self::new(status, refusal.code, refusal.detail)
        }
    }
}

impl From<commands::Error> for Problem {
    fn from(error: commands::Error) -> Self {
        match error {
            commands::Error::Refused(refusal) => refusal.into(),
            commands::Error::Unauthenticated => Self::unauthenticated(),
            commands::Error::KeyReused => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "This Idempotency-Key was used before with another request; take a new one.",
            ),
            commands::Error::Overloaded => {
                Self::unavailable("Too many commands are waiting; try again.")
            }
            commands::Error::Stopping => Self::unavailable("The server is stopping; try again."),
            commands::Error::ReadOnly { commands_at } => Self::read_only(commands_at.as_deref()),
            commands::Error::OutcomeUnknown => Self {
                code: "outcome_unknown",
                ..Self::unavailable(
                    "Whether this took effect is not known. Send it again with the same \
                     Idempotency-Key to find out.",
                )
            },
            commands::Error::Storage(_) => {
                Self::unavailable("The storage does not take commands now; try again.")
            }
            commands::Error::Panicked => Self::internal(),
        }
    }
}

impl From<eventstore::Error> for Problem {
    fn from(error: eventstore::Error) -> Self {
        let cause: &dyn std::error::Error = &error;
        tracing::error!(error = cause, "a query failed");
        Self::unavailable("The storage does not answer now; try again.")
    }
}

impl IntoResponse for Problem {
    /// The body is written by [`crate::server`], which knows the request's id.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        for (name, value) in &self.headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}
