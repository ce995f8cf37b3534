//! Saying that something happened at another moment than was recorded.

use axum::extract::State;
use commands::resource::SubscriptionResource;
use commands::usecase::supersede::{Found, Supersede};
use commands::{Command, Input};
use domain::event::Event;
use projections::ledger;

use super::call::{Answer, Call};
use crate::app::App;
use crate::problem::Problem;

/// Has an outcome be true at another moment than was recorded. The log keeps both; the subscription's timeline has the new one,
/// and what was billed otherwise is corrected. What reaches further back than 35 days takes `billing.adjust`, too.
#[utoipa::path(post, path = "/api/v2/billing/supersede", tag = "Billing", request_body = Supersede,
    responses((status = 200, body = SubscriptionResource)))]
pub async fn supersede(State(app): State<App>, call: Call) -> Answer {
    let body = call.input()?;
    let found = find(&app, &body).await?;
    call.command(&app, Command::Supersede { body, found }).await
}

/// What is at the place that is named: the log never changes, so it is looked up here.
pub(super) async fn find(app: &App, body: &Input<Supersede>) -> Result<Option<Found>, Problem> {
    let Some(before) = body.as_ref().ok().and_then(|body| body.position.checked_sub(1)) else {
        return Ok(None);
    };
    if i64::try_from(before).is_err() {
        return Ok(None);
    }
    let events = app.log().read(before, before.saturating_add(1), 1).await?;
    let Some(event) = events.into_iter().next() else { return Ok(None) };
    let event = event.decode()?;
    let (Event::Subscription(happened), Some((_, id))) =
        (&event.event, event.stream.split_once('-'))
    else {
        return Ok(None);
    };
    let is_outcome = ledger::fact(&event).is_some() || ledger::rest(&event).is_some();
    let outcome_of = is_outcome.then(|| happened.request());
    let Ok(subscription) = id.parse() else { return Ok(None) };
    Ok(Some(Found { subscription, outcome_of, effective_at: event.effective_at }))
}
