//! Signing in and out.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use chrono::Duration;
use commands::usecase::users::NewCredential;
use commands::{Caller, Command, Password, Submission};
use domain::TokenId;
use domain::text::Address;
use projections::finder::{self, Scope};
use projections::views::AccessView;
use serde::Deserialize;
use utoipa::ToSchema;

use super::call::{Answer, Call, Sent, json_response};
use super::users::NewTokenResource;
use crate::app::App;
use crate::problem::Problem;
use crate::rate::Network;
use crate::token::TokenKind;

/// Hours that a session lasts; sign in again to renew it.
const SESSION_HOURS: i64 = 12;

/// Who signs in.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The user's login.
    pub login: String,
    /// His password.
    pub password: Password,
}

/// Signs in: gives a session token for 12 hours. Wrong login, wrong password, disabled: one answer.
#[utoipa::path(post, path = "/api/v2/session", tag = "Session", request_body = SignIn,
    responses((status = 201, body = NewTokenResource)), security(()))]
pub async fn sign_in(
    State(app): State<App>,
    Extension(network): Extension<Network>,
    sent: Sent,
) -> Answer {
    app.writer().takes_commands()?;
    let body =
        sent.input::<SignIn>()?.map_err(|fault| Problem::from(domain::Refusal::from(fault)))?;
    let access = match Address::parse(&body.login) {
        Ok(login) => {
            // Counted before it is known to be wrong: or a guesser need not mind the answer to wrong
            // ones. By network, so that nobody can keep somebody else out.
            let tries = (login.folded(), network);
            app.tries().count(tries.clone()).check("too_many_tries", "Too many wrong passwords")?;
            let access = access(&app, &login).await?;
            let proof = access.as_ref().and_then(|access| access.password.clone());
            let is_right = app.passwords().verify(&body.password.0, proof).await?;
            if is_right {
                app.tries().forget(&tries);
            }
            access.filter(|_| is_right)
        }
        Err(_) => {
            app.passwords().verify(&body.password.0, None).await?;
            None
        }
    };
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

/// The record of the user who has this login now.
async fn access(app: &App, login: &Address) -> Result<Option<std::sync::Arc<AccessView>>, Problem> {
    let (database, everything) = (app.database(), Scope::catalogue());
    let found = finder::find_login(database, app.persons().vault(), login).await?;
    let Some(user) = found else { return Ok(None) };
    Ok(finder::find::<AccessView>(database, &everything, &user.id.to_string()).await?)
}

/// Signs out: ends the session whose token is sent.
#[utoipa::path(delete, path = "/api/v2/session", tag = "Session", responses((status = 204)))]
pub async fn sign_out(State(app): State<App>, call: Call) -> Answer {
    let session = call.principal.credential;
    let command = match call.principal.kind {
        TokenKind::Session => Command::SignOut { session },
        TokenKind::Impersonation => Command::EndImpersonation { session },
        TokenKind::Api => {
            let detail =
                "This is an API token, not a session; delete it at /api/v2/users/{id}/tokens.";
            return Err(Problem::new(StatusCode::CONFLICT, "not_a_session", detail));
        }
    };
    call.command(&app, command).await
}
