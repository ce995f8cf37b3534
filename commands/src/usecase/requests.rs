//! Going on with what was asked: retry, cancel, reset; and reporting what came of it.

use domain::permission::Permission;
use domain::subscription::{Act, Subscription, SubscriptionCommand, Verb};
use domain::text::note;
use domain::{CommandId, Faults, Refusal, SubscriptionId, TenantPath};
use projections::views::RequestView;
use serde::Deserialize;
use utoipa::ToSchema;

use super::organizations::Because;
use super::subscriptions::{self, Deprovision};
use super::{optional_reason, take_reason};
use crate::error::Stop;
use crate::resource::RequestResource;
use crate::unit::Unit;
use crate::{Input, Reply};

/// Which request, and why.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CancelRequest {
    /// One that has not begun. Where it is left out: the one that stands first, or else the one that was asked last
    /// of those whose day is to come.
    pub request_id: Option<String>,
    /// Kept with the event.
    pub reason: Option<String>,
}

/// Why a request failed.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailRequest {
    /// What went wrong, for those who look after it.
    pub detail: String,
}

/// What is reported about a request.
#[derive(Clone, Debug)]
pub enum Report {
    /// Work has begun.
    Started(Input<Because>),
    /// It is done.
    Completed(Input<Because>),
    /// It did not work.
    Failed(Input<FailRequest>),
}

pub(crate) fn suspend(
    unit: &mut Unit<'_>,
    id: &str,
    body: Input<Deprovision>,
) -> Result<Reply, Stop> {
    subscriptions::plainly(unit, id, Verb::Suspend, body)
}

pub(crate) fn resume(
    unit: &mut Unit<'_>,
    id: &str,
    body: Input<Deprovision>,
) -> Result<Reply, Stop> {
    subscriptions::plainly(unit, id, Verb::Resume, body)
}

/// Asks the request that failed again.
pub(crate) fn retry(unit: &mut Unit<'_>, id: &str, body: Input<Because>) -> Result<Reply, Stop> {
    let (id, path) = permit(unit, id, Act::Retry)?;
    let reason = take_reason(unit, body)?;
    unit.because(None, reason);
    let open = unit.load::<Subscription>(id).open().first().map(|open| open.request);
    unit.execute::<Subscription>(id, &path, SubscriptionCommand::Retry)?;
    subscriptions::request_accepted(unit, open.ok_or_else(Refusal::not_found)?)
}

/// Gives the request up that failed or is stuck.
pub(crate) fn reset(unit: &mut Unit<'_>, id: &str, body: Input<Because>) -> Result<Reply, Stop> {
    let (id, path) = permit(unit, id, Act::Reset)?;
    let reason = take_reason(unit, body)?;
    unit.because(None, reason);
    unit.execute::<Subscription>(id, &path, SubscriptionCommand::Reset)?;
    subscriptions::done(unit, id)
}

/// Takes a request back that has not begun.
pub(crate) fn cancel(
    unit: &mut Unit<'_>,
    id: &str,
    body: Input<CancelRequest>,
) -> Result<Reply, Stop> {
    let (subscription, _, recipient) = subscriptions::find(unit, id)?;
    let state = unit.load::<Subscription>(subscription);
    let named = body.as_ref().ok().and_then(|body| body.request_id.as_deref());
    let waiting = named.and_then(|named| state.waiting(named.parse().ok()?, unit.now()));
    // It takes the permission for what was asked.
    match waiting {
        Some(waiting) => unit.permit(recipient.permission(waiting.verb), &recipient.path)?,
        None => permit(unit, id, Act::Cancel).map(|_| ())?,
    }
    let body = unit.take(body)?;
    let mut faults = Faults::default();
    let reason = optional_reason(&mut faults, body.reason.as_deref());
    let request = body.request_id.as_deref().map(str::parse::<CommandId>);
    if matches!(request, Some(Err(_))) {
        faults.add("/requestId", "not_an_id", "This is no id of a request.");
    }
    faults.check()?;
    unit.because(None, reason);
    let command = SubscriptionCommand::Cancel(request.and_then(Result::ok));
    unit.execute::<Subscription>(subscription, &recipient.path, command)?;
    subscriptions::done(unit, subscription)
}

/// Lets the caller go on with what was asked, or says why not.
fn permit(
    unit: &mut Unit<'_>,
    id: &str,
    act: Act,
) -> Result<(SubscriptionId, TenantPath), Stop> {
    let (id, _, recipient) = subscriptions::find(unit, id)?;
    let verb = unit.load::<Subscription>(id).standing_at(unit.now()).verb_of(act);
    unit.permit(recipient.permission(verb), &recipient.path)?;
    Ok((id, recipient.path))
}

/// Takes in what came of a request.
pub(crate) fn report(unit: &mut Unit<'_>, request: &str, report: Report) -> Result<Reply, Stop> {
    let request: CommandId = request.parse().map_err(|_| Refusal::not_found())?;
    let key = request.to_string();
    let view = unit.view::<RequestView>(&key).ok_or_else(Refusal::not_found)?;
    unit.permit(Permission::ReportRequests, &view.path)?;
    let (id, now) = (view.subscription, unit.now());
    let (command, from, reason) = match report {
        Report::Started(body) => {
            (SubscriptionCommand::Start(request), None, take_reason(unit, body)?)
        }
        Report::Completed(body) => {
            // Where no moment was given, it counts from now.
            let from = unit.load::<Subscription>(id).outcome_at(request, now);
            (SubscriptionCommand::Complete(request), from, take_reason(unit, body)?)
        }
        Report::Failed(body) => {
            let body = unit.take(body)?;
            let mut faults = Faults::default();
            let detail = faults.take("/detail", note(&body.detail)).unwrap_or_default();
            faults.ensure(!detail.is_empty(), "/detail", "empty", "Say what went wrong.");
            faults.check()?;
            (SubscriptionCommand::Fail { request, detail }, None, None)
        }
    };
    unit.because(from, reason);
    unit.execute::<Subscription>(id, &view.path, command)?;
    let view = unit.view::<RequestView>(&key).ok_or_else(Refusal::not_found)?;
    Ok(Reply::unversioned(&RequestResource::new(&view, None, now)))
}
