//! Carrying overrides to what runs: a change request for each subscription that would be built otherwise now
//! (service-model.md, section 4).

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::billing::{Overridden, Setting};
use domain::effective::{self, OverrideAt, resolve};
use domain::subscription::{Request, Subscription, SubscriptionCommand};
use domain::{CommandId, ServiceKey, TenantPath};
use projections::views::SubscriptionView;

use super::super::ensure_few;
use super::super::overrides::Above;
use super::super::services::Sold;
use super::Recipient;
use crate::error::Stop;
use crate::unit::Unit;

/// Has everything of a service that runs at a place or below take over what is set above it: at `from`, and at every
/// moment after it at which that changes. Plan, quantity and what was filled in stay, and so does the version of the
/// service. Gives how many requests that took.
pub(crate) fn take_over(
    unit: &mut Unit<'_>,
    service: &ServiceKey,
    path: &TenantPath,
    from: DateTime<Utc>,
    reason: Option<&String>,
) -> Result<usize, Stop> {
    let Some(sold) = Sold::find(unit, service.as_str()) else { return Ok(0) };
    let running = unit.running(path, service);
    ensure_few(
        running.len(),
        "subscriptions of this service",
        "set it with `apply: later`, and apply it to a part of them at a time",
    )?;
    let mut requests = 0;
    for key in running {
        let Some(view) = unit.view::<SubscriptionView>(&key) else { continue };
        // What the database lists may have gone elsewhere since.
        if !path.contains(&view.path) {
            continue;
        }
        let recipient = Recipient::new(unit, view.holder)?;
        // What is frozen is asked for once its holder is in use again.
        match recipient.ensure_can_hold(unit) {
            Ok(()) => {}
            Err(Stop::Refused(_)) => continue,
            Err(stop) => return Err(stop),
        }
        let above = Above::of(unit, &recipient.lineage);
        let overrides = above.overrides(service);
        let subscription = unit.load::<Subscription>(view.id);
        let mut moments: BTreeSet<_> = subscription.asked_between(from, unit.now()).collect();
        moments.insert(from);
        moments.extend(boundaries(&overrides).filter(|moment| *moment > from));
        for moment in moments {
            if let Some(request) = renewed(unit, &view, &sold, &overrides, moment) {
                unit.because(Some(moment), reason.cloned());
                let command = SubscriptionCommand::TakeOver(request);
                let before = unit.version::<Subscription>(view.id);
                unit.execute::<Subscription>(view.id, &view.path, command)?;
                requests += usize::from(unit.version::<Subscription>(view.id) > before);
            }
        }
    }
    Ok(requests)
}

/// The moments at which values that are set begin or end.
fn boundaries(overrides: &[OverrideAt<'_>]) -> impl Iterator<Item = DateTime<Utc>> {
    overrides
        .iter()
        .flat_map(|it| match &it.overriding.overridden {
            Overridden::Price(_) | Overridden::Component { .. } => [None, None],
            Overridden::Property { setting: Setting::Cleared, .. } => [Some(it.from), None],
            Overridden::Property { setting: Setting::Set { to, .. }, .. } => [Some(it.from), *to],
        })
        .flatten()
}

/// The request that says what is held at a moment, with what is set above by then; none where nothing is held, or that
/// request is too old to be remembered.
fn renewed(
    unit: &mut Unit<'_>,
    view: &SubscriptionView,
    sold: &Sold,
    overrides: &[OverrideAt<'_>],
    moment: DateTime<Utc>,
) -> Option<Request> {
    let subscription = unit.load::<Subscription>(view.id);
    let held = subscription.held_at(moment)?;
    let asked: &Arc<Request> = subscription.asked_at(moment)?;
    let inputs: Vec<_> = asked.inputs().map(effective::Input::from).collect();
    let plan = sold.definition.plan(held.plan);
    let resolved = resolve(&sold.definition, plan, overrides, &inputs, moment);
    Some(asked.overridden_by(CommandId(unit.id()), &resolved))
}
