//! Saying that something happened at another moment than was recorded.

use chrono::{DateTime, TimeDelta, Utc};
use domain::permission::Permission;
use domain::subscription::{Subscription, SubscriptionCommand};
use domain::{CommandId, Faults, Refusal, SubscriptionId};
use projections::views::SubscriptionView;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{billing_settings, optional_day, optional_reason};
use crate::error::Stop;
use crate::unit::Unit;
use crate::{Input, Reply};

/// How far back whoever does not adjust bills may reach.
const DEPTH: TimeDelta = TimeDelta::days(35);

/// A fact, and when it was true.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Supersede {
    /// The position of the event: an outcome of a subscription's, or the request to take it away.
    pub position: u64,
    /// When it was true: a time, or a date, which means its first moment at the seller. Not later than now.
    pub effective_at: String,
    /// Why; finance will read it.
    pub reason: String,
}

/// What is at a place in the log.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Of which subscription.
    pub subscription: SubscriptionId,
    /// The request that it came of, where it is an outcome.
    pub outcome_of: Option<CommandId>,
    /// When it is said to be true.
    pub effective_at: DateTime<Utc>,
}

pub(crate) fn supersede(
    unit: &mut Unit<'_>,
    body: Input<Supersede>,
    found: Option<Found>,
) -> Result<Reply, Stop> {
    unit.require(Permission::SupersedeFacts)?;
    let Supersede { position, effective_at, reason } = unit.take(body)?;
    let found = found.ok_or_else(Refusal::not_found)?;
    let (id, _, recipient) = super::subscriptions::find(unit, &found.subscription.to_string())?;
    unit.permit(Permission::SupersedeFacts, &recipient.path)?;

    let settings = billing_settings(unit, recipient.customer)?;
    let mut faults = Faults::default();
    let at = optional_day(unit, &mut faults, "/effectiveAt", Some(&effective_at), &settings);
    let now = unit.now();
    let is_over = at.is_none_or(|at| at <= now) && found.effective_at <= now;
    let detail = "What is to come is cancelled and asked anew.";
    faults.ensure(is_over, "/effectiveAt", "not_yet", detail);
    let reason = optional_reason(&mut faults, Some(&reason));
    faults.ensure(reason.is_some(), "/reason", "required", "Say why.");
    let detail = "This event says nothing of what is held, from when on.";
    faults.ensure(found.outcome_of.is_some(), "/position", "no_outcome", detail);
    faults.check()?;
    let (Some(at), Some(request)) = (at, found.outcome_of) else {
        unreachable!("a fault was noted")
    };
    if at.min(found.effective_at) < now - DEPTH {
        unit.permit(Permission::AdjustBilling, &recipient.path)?;
    }
    let view = unit.view::<SubscriptionView>(&id.to_string()).ok_or_else(Refusal::not_found)?;
    let is_its = |of: Option<CommandId>, place: u64| of == Some(request) && place != position;
    let mut facts = view.facts.iter().map(|fact| (fact.request, fact.position));
    let mut rests = view.rests_known_at(u64::MAX).map(|rest| (rest.request, rest.position));
    if facts.any(|(of, place)| is_its(of, place)) || rests.any(|(of, place)| is_its(of, place)) {
        let detail = "Something else is said of this by now; look at the subscription's events.";
        return Err(Refusal::conflict("superseded", detail).into());
    }
    unit.because(Some(at), reason);
    let command = SubscriptionCommand::Supersede { position, request };
    unit.execute::<Subscription>(id, &recipient.path, command)?;
    super::subscriptions::done(unit, id)
}
