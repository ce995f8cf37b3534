//! What somebody may do to a subscription now, and why not the rest.

use std::sync::Arc;

use axum::http::StatusCode;
use commands::resource::{PossibleAction, WhyNot};
use commands::usecase::{organizations, users};
use domain::subscription::Act;
use projections::views::{OrganizationView, SubscriptionView, UserView};

use crate::auth::Principal;
use crate::problem::Problem;

/// Why a holder cannot hold anything now, if that is so: the organisations are those from his own upwards, as far as
/// the caller sees them (those above the caller are in use, or he would not be here).
#[must_use]
pub fn unfit(above: &[Arc<OrganizationView>], user: Option<&UserView>) -> Option<WhyNot> {
    // Nobody is left to be asked about; the commands say that first, too.
    let erased = user.filter(|user| user.erased_at.is_some()).map(|_| domain::user::erased());
    let organizations = above.iter().rev().map(|view| organizations::not_in_use(view.status));
    let user = user.map(|user| users::not_in_use(user.status));
    let why_not = erased.into_iter().chain(organizations.chain(user).flatten()).next()?;
    Some(WhyNot::new(why_not.code, &why_not.detail))
}

/// Each verb with whether it is possible. The status machine that the commands ask says so, too.
///
/// # Errors
/// What the database says.
pub async fn possible(
    principal: &Principal,
    view: &SubscriptionView,
    unfit: Option<&WhyNot>,
) -> Result<Vec<PossibleAction>, Problem> {
    let standing = view.standing_at(principal.now());
    let mut actions = Vec::with_capacity(Act::ALL.len());
    for act in Act::ALL {
        let action = PossibleAction::new(&standing, act, unfit);
        let permission = standing.verb_of(act).permission(view.level());
        actions.push(match principal.permit(permission, &view.path).await {
            Ok(()) => action,
            Err(problem) if problem.status == StatusCode::FORBIDDEN => {
                action.without_permission(WhyNot::new(problem.code, &problem.detail))
            }
            Err(problem) => return Err(problem),
        });
    }
    Ok(actions)
}
