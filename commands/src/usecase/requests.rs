//! Going on with what was asked: retry, cancel, reset; and reporting what came of it.

use domain::approval::Status;
use domain::bulk::{Bulk, BulkCommand};
use domain::permission::Permission;
use domain::service::Level;
use domain::subscription::{Act, Open, Progress, Subscription, SubscriptionCommand, Verb};
use domain::text::note;
use domain::{CommandId, Faults, Refusal, SubscriptionId, TenantPath};
use projections::views::{ApprovalView, Holder, RequestStatus, RequestView, SubscriptionView};
use serde::Deserialize;
use utoipa::ToSchema;

use super::organizations::Because;
use super::services::Sold;
use super::subscriptions::{self, Deprovision};
use super::{ensure_few, optional_reason, take_reason};
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
    let open = unit.load::<Subscription>(id).unfinished().first().map(|open| open.request);
    let request = open.ok_or_else(Refusal::not_found);
    unit.execute::<Subscription>(id, &path, SubscriptionCommand::Retry)?;
    let request = request?;
    go_on(unit, id, request)?;
    subscriptions::request_accepted(unit, request)
}

/// What is asked again and once waited for another request waits as long as that is not done.
fn go_on(unit: &mut Unit<'_>, id: SubscriptionId, request: CommandId) -> Result<(), Stop> {
    let state = unit.load::<Subscription>(id);
    let open = state.unfinished().iter().find(|open| open.request == request && open.waits);
    let (Some(open), Some(built)) = (open, &state.request) else { return Ok(()) };
    if open.verb != Verb::Provision {
        return settle(unit, request);
    }
    let slot = SubscriptionId::of_slot(built.customer.id.0, &built.service.key, None);
    let customers = unit.load::<Subscription>(slot);
    if customers.held_at(open.effective_at.max(unit.now())).is_some() {
        return release(unit, id, request);
    }
    let is_running =
        |open: &Open| open.verb == Verb::Provision && open.progress != Progress::Failed;
    let running = customers.unfinished().iter().any(is_running);
    if running { Ok(()) } else { Err(subscriptions::customer_lacks().into()) }
}

/// Gives the request up that failed or is stuck.
pub(crate) fn reset(unit: &mut Unit<'_>, id: &str, body: Input<Because>) -> Result<Reply, Stop> {
    let (id, path) = permit(unit, id, Act::Reset)?;
    let reason = take_reason(unit, body)?;
    unit.because(None, reason);
    let open = unit.load::<Subscription>(id).unfinished().first().map(|open| open.request);
    unit.execute::<Subscription>(id, &path, SubscriptionCommand::Reset)?;
    if let Some(request) = open {
        follow(unit, request)?;
    }
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
    let request = request.and_then(Result::ok);
    let now = unit.now();
    let first = state.standing_at(now).cancellable.map(|waiting| waiting.request);
    let command = SubscriptionCommand::Cancel(request);
    unit.execute::<Subscription>(subscription, &recipient.path, command)?;
    if let Some(request) = request.or(first) {
        follow(unit, request)?;
    }
    subscriptions::done(unit, subscription)
}

/// Lets the caller go on with what was asked, or says why not.
fn permit(unit: &mut Unit<'_>, id: &str, act: Act) -> Result<(SubscriptionId, TenantPath), Stop> {
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
    let now = unit.now();
    let id = view.subscription.ok_or_else(|| {
        Refusal::conflict("for_many", "This request is for many; report about its parts.")
    })?;
    let (command, from, reason) = match report {
        Report::Started(body) => {
            (SubscriptionCommand::Start(request), None, take_reason(unit, body)?)
        }
        Report::Completed(body) => {
            // Where no moment was given, it counts from now.
            let from = unit.load::<Subscription>(id).outcome_at(request, now);
            unit.means(view.effective_at, view.effective_date);
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
    if unit.has_decided() {
        follow(unit, request)?;
    }
    let view = unit.view::<RequestView>(&key).ok_or_else(Refusal::not_found)?;
    Ok(Reply::unversioned(&RequestResource::new(&view, None, now)))
}

/// Goes on with the requests that waited for one that has come to an end.
fn follow(unit: &mut Unit<'_>, request: CommandId) -> Result<(), Stop> {
    let Some(view) = unit.view::<RequestView>(&request.to_string()) else { return Ok(()) };
    let Some(subscription) = view.subscription else { return Ok(()) };
    let Some(slot) = unit.view::<SubscriptionView>(&subscription.to_string()) else {
        return Ok(());
    };
    let is_customers = matches!(slot.holder, Holder::Customer(_));
    if view.verb == Verb::Provision && is_customers {
        match view.status {
            RequestStatus::Completed => {
                for (id, waiting) in users_who_wait(unit, &slot)? {
                    release(unit, id, waiting)?;
                }
            }
            RequestStatus::Failed | RequestStatus::Cancelled => {
                let is_over = view.status == RequestStatus::Cancelled;
                for (id, waiting) in users_who_wait(unit, &slot)? {
                    go_without(unit, id, waiting, is_over)?;
                }
            }
            _ => {}
        }
    }
    if view.verb == Verb::Deprovision && view.status == RequestStatus::Cancelled {
        // What is taken back as a whole is taken back in its parts, as far as they have not begun.
        for part in &view.sub_requests {
            let Some(part) = unit.view::<RequestView>(&part.to_string()) else { continue };
            let Some(id) = part.subscription else { continue };
            let now = unit.now();
            if unit.load::<Subscription>(id).waiting(part.id, now).is_some() {
                let command = SubscriptionCommand::Cancel(Some(part.id));
                unit.because(None, None);
                unit.execute::<Subscription>(id, &part.path, command)?;
            }
        }
    }
    match view.parent {
        Some(parent) => settle(unit, parent),
        None => Ok(()),
    }
}

/// The requests of a customer's users that wait for the customer's, or for their day, on which it was to be there.
fn users_who_wait(
    unit: &mut Unit<'_>,
    customers: &SubscriptionView,
) -> Result<Vec<(SubscriptionId, CommandId)>, Stop> {
    let sold = Sold::find(unit, customers.service.as_str());
    if !sold.is_some_and(|sold| sold.definition.level == Level::User) {
        return Ok(Vec::new());
    }
    let now = unit.now();
    let mut slots = unit.below::<SubscriptionView>(&customers.path);
    slots.retain(|view| view.service == customers.service && view.id != customers.id);
    slots.sort_by_key(|view| (view.holder.id(), view.instance.clone()));
    let mut waiting = Vec::new();
    for view in slots {
        let state = unit.load::<Subscription>(view.id);
        let theirs = state.all_waiting(now).filter(|it| it.verb == Verb::Provision);
        waiting.extend(theirs.map(|it| (view.id, it.request)));
    }
    ensure_few(waiting.len(), "users' requests that wait", "cancel some of them first")?;
    Ok(waiting)
}

/// The customer's request failed, or is over: so is that of a user which waits for it.
fn go_without(
    unit: &mut Unit<'_>,
    id: SubscriptionId,
    request: CommandId,
    is_over: bool,
) -> Result<(), Stop> {
    let Some(view) = unit.view::<SubscriptionView>(&id.to_string()) else { return Ok(()) };
    let now = unit.now();
    let due = unit.load::<Subscription>(id).standing_at(now).open.map(|open| open.request);
    let detail = "The customer did not get the service.".to_owned();
    let command = match (due == Some(request), is_over) {
        (true, _) => SubscriptionCommand::Fail { request, detail },
        (false, true) => SubscriptionCommand::Cancel(Some(request)),
        // Until its day the customer's may be done after all.
        (false, false) => return Ok(()),
    };
    unit.because(None, None);
    unit.execute::<Subscription>(id, &view.path, command)
}

/// Lets a request go on that has waited for another.
fn release(unit: &mut Unit<'_>, id: SubscriptionId, request: CommandId) -> Result<(), Stop> {
    let Some(view) = unit.view::<SubscriptionView>(&id.to_string()) else { return Ok(()) };
    let (now, process) = (unit.now(), subscriptions::process(unit, &view.service));
    let from = unit.load::<Subscription>(id).outcome_at(request, now);
    if let Some(asked) = unit.view::<RequestView>(&request.to_string()) {
        unit.means(asked.effective_at, asked.effective_date);
    }
    unit.because(from, None);
    let command = SubscriptionCommand::Release { process, request };
    unit.execute::<Subscription>(id, &view.path, command)
}

/// Lets a request go on once all of its parts are done; it fails where one was given up.
pub(super) fn settle(unit: &mut Unit<'_>, request: CommandId) -> Result<(), Stop> {
    let Some(view) = unit.view::<RequestView>(&request.to_string()) else { return Ok(()) };
    let is_for_many = view.subscription.is_none() && view.status == RequestStatus::InProgress;
    if !(is_for_many || view.waits && view.status == RequestStatus::Requested) {
        return Ok(());
    }
    let mut is_done = true;
    let mut is_given_up = false;
    for part in &view.approvals {
        let part = unit.view::<ApprovalView>(&part.to_string());
        is_done &= part.is_none_or(|part| part.progress.status != Status::Waiting);
    }
    for part in &view.sub_requests {
        let Some(part) = unit.view::<RequestView>(&part.to_string()) else { continue };
        let is_cancelled = part.status == RequestStatus::Cancelled;
        is_done &= part.status == RequestStatus::Completed || is_for_many && is_cancelled;
        is_given_up |= is_cancelled;
    }
    let Some(subscription) = view.subscription else {
        if is_done {
            unit.because(None, None);
            unit.execute::<Bulk>(request, &view.path, BulkCommand::Complete)?;
        }
        return Ok(());
    };
    if is_given_up {
        let detail = "A part of this request was given up: somebody still has the service.";
        let command = match view.effective_at <= unit.now() {
            true => SubscriptionCommand::Fail { request, detail: detail.to_owned() },
            false => SubscriptionCommand::Cancel(Some(request)),
        };
        unit.because(None, None);
        return unit.execute::<Subscription>(subscription, &view.path, command);
    }
    if is_done { release(unit, subscription, request) } else { Ok(()) }
}
