//! Signing in and out.

use std::num::NonZeroU32;
use std::sync::LazyLock;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use chrono::Duration;
use commands::usecase::users::NewCredential;
use commands::{Caller, Command, Password, Submission};
use domain::text::Address;
use domain::{TokenId, UserId};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use projections::finder::{self, Scope};
use projections::views::{AccessView, UserView, login_key};
use serde::Deserialize;
use utoipa::ToSchema;

use super::call::{Answer, Call, Sent, json_response};
use super::users::NewTokenResource;
use crate::app::App;
use crate::problem::Problem;
use crate::token::TokenKind;

/// Hours that a session lasts; sign in again to renew it.
const SESSION_HOURS: i64 = 12;
/// Wrong passwords in a row that a login bears before it has to wait.
const WRONG_AT_ONCE: NonZeroU32 = NonZeroU32::new(10).expect("not zero");
/// Seconds after which one more try is allowed.
const SECONDS_PER_TRY: u64 = 6;
/// Logins whose wrong passwords are counted; beyond, the counts begin anew.
const COUNTED_MAX: usize = 100_000;

/// Who signs in.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The user's login.
    pub login: String,
    /// His password.
    pub password: Password,
}

/// Counts wrong passwords by login, so that nobody can try many.
static WRONG: LazyLock<DefaultKeyedRateLimiter<String>> = LazyLock::new(|| {
    let every = std::time::Duration::from_secs(SECONDS_PER_TRY);
    let quota = Quota::with_period(every).expect("not zero").allow_burst(WRONG_AT_ONCE);
    RateLimiter::keyed(quota)
});

/// Signs in: gives a session token for 12 hours. Wrong login, wrong password, disabled: one answer.
#[utoipa::path(post, path = "/api/v2/session", tag = "Session", request_body = SignIn,
    responses((status = 201, body = NewTokenResource)), security(()))]
pub async fn sign_in(State(app): State<App>, sent: Sent) -> Answer {
    let body =
        sent.input::<SignIn>()?.map_err(|fault| Problem::from(domain::Refusal::from(fault)))?;
    let login = Address::parse(&body.login).ok();
    let access = match &login {
        Some(login) => access(&app, login).await?,
        None => None,
    };
    let key = body.login.to_lowercase();
    let proof = access.as_ref().and_then(|access| access.password.clone());
    if !app.passwords().verify(&body.password.0, proof).await? {
        return Err(wrong(key));
    }
    let Some(access) = access else { return Err(Problem::unauthenticated()) };
    let id = TokenId(app.ambient().id());
    let expires_at = app.now() + Duration::hours(SESSION_HOURS);
    let session = NewCredential { id, proof: app.tokens().proof_of(id), expires_at };
    let submission = Submission {
        caller: Caller::user(access.user),
        command: Command::SignIn { session },
        idempotency: None,
    };
    let committed = app.writer().submit(submission).await?;
    let kept = committed.reply.body.get();
    let json = NewTokenResource::complete(&app, TokenKind::Session, access.user, kept);
    let mut response = json_response(StatusCode::CREATED, json);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Counts a wrong password; too many are told to wait.
fn wrong(login: String) -> Problem {
    if WRONG.len() > COUNTED_MAX {
        WRONG.retain_recent();
    }
    if WRONG.check_key(&login).is_ok() {
        return Problem::unauthenticated();
    }
    let mut problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "too_many_tries",
        "Too many wrong passwords; wait and try again.",
    );
    problem.headers.push((header::RETRY_AFTER, HeaderValue::from(SECONDS_PER_TRY)));
    problem
}

/// The record of the user who has this login now.
async fn access(app: &App, login: &Address) -> Result<Option<std::sync::Arc<AccessView>>, Problem> {
    let (database, everything) = (app.database(), Scope::catalogue());
    let Some(name) = finder::find_name(database, &login_key(login)).await? else { return Ok(None) };
    let id = UserId(name.owner).to_string();
    let user = finder::find::<UserView>(database, &everything, &id).await?;
    if user.is_none_or(|user| user.person.login.folded() != login.folded()) {
        return Ok(None);
    }
    Ok(finder::find::<AccessView>(database, &everything, &id).await?)
}

/// Signs out: ends the session whose token is sent.
#[utoipa::path(delete, path = "/api/v2/session", tag = "Session", responses((status = 204)))]
pub async fn sign_out(State(app): State<App>, call: Call) -> Answer {
    if call.principal.kind != TokenKind::Session {
        let detail = "This is an API token, not a session; delete it at /api/v2/users/{id}/tokens.";
        return Err(Problem::new(StatusCode::CONFLICT, "not_a_session", detail));
    }
    let session = call.principal.credential;
    call.command(&app, Command::SignOut { session }).await
}
