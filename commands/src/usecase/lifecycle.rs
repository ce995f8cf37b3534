//! The life of organisations and users: disabled, deprovisioned, deleted, and back.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::lifecycle::{Status, Transition};
use domain::organization::{Kind, Organization, OrganizationCommand};
use domain::permission::Permission;
use domain::user::{User, UserCommand};
use domain::{Decider, OrganizationId, Refusal, TenantPath, UserId};
use projections::views::{Holder, OrganizationView, RetentionView, SubscriptionView, UserView};

use super::organizations::{self, Because};
use super::{ensure_few, some_of, subscriptions, take_reason, users};
use crate::error::Stop;
use crate::unit::Unit;
use crate::{Input, Reply};

/// Takes an organisation to its next status, and what belongs to it along: services before those who hold them,
/// users before their organisation.
pub(crate) fn organization(
    unit: &mut Unit<'_>,
    id: &str,
    kind: Kind,
    step: Transition,
    body: Input<Because>,
) -> Result<Reply, Stop> {
    let (id, path) = organizations::find(unit, id, kind)?;
    unit.permit(organizations::manage(kind), &path)?;
    let is_own = unit.authority()?.is_some_and(|authority| authority.path == path);
    if is_own && shuts_out(step) {
        return Err(Refusal::conflict(
            "yourself",
            "You cannot do this to your own organisation: nobody in it could undo it.",
        )
        .into());
    }
    let reason = take_reason(unit, body)?;
    match step {
        Transition::Deprovision => {
            ensure_none_below(unit, kind, &path, step, |status| {
                matches!(status, Status::Active | Status::Disabled)
            })?;
            let held = unit.below::<SubscriptionView>(&path);
            take_away(unit, &path, held, reason.as_ref())?;
            unit.because(None, reason);
            each_user(unit, &path, step, |_| true)?;
        }
        Transition::Delete => {
            ensure_none_below(unit, kind, &path, step, |status| !status.is_gone())?;
            unit.because(None, reason);
            each_user(unit, &path, step, |user| user.status == Status::Deprovisioned)?;
        }
        Transition::Restore => {
            // Who was deleted with it.
            let view = unit.view::<OrganizationView>(&id.to_string());
            let deleted_at = view.and_then(|view| view.deleted_at);
            unit.because(None, reason);
            let came_along =
                |user: &UserView| deleted_at.is_some() && user.deleted_at == deleted_at;
            each_user(unit, &path, step, came_along)?;
        }
        Transition::Disable | Transition::Enable | Transition::Purge => {
            unit.because(None, reason);
        }
    }
    unit.execute::<Organization>(id, &path, OrganizationCommand::Transition(step))?;
    organizations::done(unit, id)
}

/// Takes a user to his next status; his services go first.
pub(crate) fn user(
    unit: &mut Unit<'_>,
    id: &str,
    step: Transition,
    body: Input<Because>,
) -> Result<Reply, Stop> {
    let (id, path) = users::find(unit, id)?;
    unit.permit(Permission::ManageUsers, &path)?;
    if unit.caller().acts_as() == Some(id) && shuts_out(step) {
        return Err(Refusal::conflict(
            "yourself",
            "You cannot do this to yourself: you could not undo it.",
        )
        .into());
    }
    let reason = take_reason(unit, body)?;
    if step == Transition::Deprovision {
        let held = unit.held_by(id);
        take_away(unit, &path, held, reason.as_ref())?;
    }
    if step == Transition::Restore {
        let organization = unit.load::<User>(id).known()?.organization;
        if unit.load::<Organization>(organization).status.is_gone() {
            return Err(Refusal::conflict(
                "organization_deleted",
                "The user's organisation is deleted; restore that first.",
            )
            .into());
        }
    }
    unit.because(None, reason);
    unit.execute::<User>(id, &path, UserCommand::Transition(step))?;
    users::done(unit, id)
}

/// Hides for good who was deleted by a moment and was not restored since; what is personal is forgotten
/// with that. Done by Atrium itself, and by nobody else. Whoever was restored meanwhile stays.
pub(crate) fn purge(
    unit: &mut Unit<'_>,
    stream: &str,
    deleted_by: DateTime<Utc>,
) -> Result<Reply, Stop> {
    if unit.caller().acts_as().is_some() {
        return Err(Refusal::not_found().into());
    }
    let retained = unit.view::<RetentionView>(stream);
    let is_due = |view: &Arc<RetentionView>| view.deleted_at.is_some_and(|at| at <= deleted_by);
    let Some(retained) = retained.filter(is_due) else { return Ok(Reply::nothing()) };
    let step = Transition::Purge;
    unit.because(None, Some("The days to restore it are over.".to_owned()));
    match stream.split_once('-') {
        Some((User::CATEGORY, id)) => {
            let id: UserId = id.parse().map_err(|_| Refusal::not_found())?;
            unit.execute::<User>(id, &retained.path, UserCommand::Transition(step))?;
            unit.take_key_away(id);
        }
        Some((Organization::CATEGORY, id)) => {
            let id: OrganizationId = id.parse().map_err(|_| Refusal::not_found())?;
            let command = OrganizationCommand::Transition(step);
            unit.execute::<Organization>(id, &retained.path, command)?;
            unit.take_key_away(id);
        }
        _ => {}
    }
    Ok(Reply::nothing())
}

/// Whether somebody it is done to cannot sign in any more.
fn shuts_out(step: Transition) -> bool {
    matches!(
        step,
        Transition::Disable | Transition::Deprovision | Transition::Delete | Transition::Purge
    )
}

/// A reseller goes after those whom it sells to.
fn ensure_none_below(
    unit: &mut Unit<'_>,
    kind: Kind,
    path: &TenantPath,
    step: Transition,
    is_in_the_way: impl Fn(Status) -> bool,
) -> Result<(), Stop> {
    if kind == Kind::Customer {
        return Ok(());
    }
    let below = unit.below::<OrganizationView>(path);
    let in_the_way = below.iter().filter(|it| it.path != *path && is_in_the_way(it.status));
    let in_the_way: Vec<_> = in_the_way.map(|it| it.details.name.clone()).collect();
    if in_the_way.is_empty() {
        return Ok(());
    }
    let verb = if step == Transition::Delete { "delete" } else { "deprovision" };
    let detail =
        format!("There are organisations below it: {verb} {} first.", some_of(&in_the_way));
    Err(Refusal::conflict("has_organizations", detail).into())
}

/// Takes away what is held, now and later: first from users, then from customers.
fn take_away(
    unit: &mut Unit<'_>,
    path: &TenantPath,
    mut held: Vec<Arc<SubscriptionView>>,
    reason: Option<&String>,
) -> Result<(), Stop> {
    held.retain(|view| subscriptions::is_to_end(unit, view));
    let is_of_user = |view: &SubscriptionView| matches!(view.holder, Holder::User(_));
    for (permission, of_user) in
        [(Permission::RemoveFromUsers, true), (Permission::RemoveFromCustomers, false)]
    {
        if held.iter().any(|view| is_of_user(view) == of_user) {
            unit.permit(permission, path)?;
        }
    }
    ensure_few(held.len(), "subscriptions", "deprovision the users one by one, and then this")?;
    held.sort_by_key(|view| {
        (!is_of_user(view), view.holder.id(), view.service.clone(), view.instance.clone())
    });
    for view in held {
        subscriptions::end(unit, &view, reason)?;
    }
    Ok(())
}

/// Takes the users of an organisation (not of those below it) along.
fn each_user(
    unit: &mut Unit<'_>,
    path: &TenantPath,
    step: Transition,
    is_meant: impl Fn(&UserView) -> bool,
) -> Result<(), Stop> {
    let users = unit.below::<UserView>(path);
    let users: Vec<_> = users.iter().filter(|it| it.path == *path && is_meant(it)).collect();
    ensure_few(users.len(), "users", "take its users first, one by one")?;
    for user in users {
        let id: UserId = user.id;
        let follows = unit.load::<User>(id).status.after(step).is_ok();
        if follows {
            unit.execute::<User>(id, path, UserCommand::Transition(step))?;
        }
    }
    Ok(())
}
