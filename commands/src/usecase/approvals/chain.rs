//! Who has to approve something: the policies on the way down to whoever it is for, and the people they lead to.

use std::collections::BTreeSet;

use domain::approval::{Approvers, Asking, Policy, Requester, Step, Wish};
use domain::lifecycle::Status;
use domain::organization::Organization;
use domain::user::User;
use domain::{OrganizationId, Refusal, ServiceKey, TenantPath, UserId};

use crate::error::Stop;
use crate::unit::Unit;
use crate::usecase::managers::CHAIN_MAX;

/// The policies that apply, that of the nearest organisation first: of each organisation, the one for the service,
/// and where it has none, the one for all services.
pub(crate) fn policies(
    unit: &mut Unit<'_>,
    lineage: &[OrganizationId],
    service: &ServiceKey,
    asking: Asking,
) -> Vec<(OrganizationId, Policy)> {
    let of = |id: &OrganizationId| {
        let organization = unit.load::<Organization>(*id);
        let policies = &organization.approvals;
        let own = policies.get(&Some(service.clone())).or_else(|| policies.get(&None))?;
        own.asking.contains(&asking).then(|| (*id, own.clone()))
    };
    lineage.iter().rev().filter_map(of).collect()
}

/// Who is asked, one step after another.
pub(crate) fn steps(
    unit: &mut Unit<'_>,
    policies: &[(OrganizationId, Policy)],
    wish: &Wish,
    requester: &Requester,
    path: &TenantPath,
) -> Result<Vec<Step>, Stop> {
    let mut steps = Vec::new();
    for (organization, policy) in policies {
        let organization = *organization;
        let step = |needed, users| Step { needed, organization, role: None, users };
        match &policy.approvers {
            Approvers::Managers { levels } => {
                let of = wish.user.unwrap_or(requester.user);
                let managers = managers(unit, of, *levels, requester, path);
                if managers.is_empty() {
                    let detail = "A manager has to approve this, and there is none who could: set one first \
                                  (PATCH /api/v2/users/{id} with managerId).";
                    return Err(Refusal::conflict("no_approver", detail).into());
                }
                steps.extend(managers.into_iter().map(|it| step(1, BTreeSet::from([it]))));
            }
            Approvers::Users { needed, users } => {
                let can = users.iter().filter(|user| can_answer(unit, **user, requester, path));
                let users: BTreeSet<_> = can.copied().collect();
                if users.len() < *needed as usize {
                    let detail = format!(
                        "{needed} of those whom the policy names have to approve this, and only {} of them could.",
                        users.len()
                    );
                    return Err(Refusal::conflict("no_approver", detail).into());
                }
                steps.push(step(*needed, users));
            }
            Approvers::Role { needed, role } => {
                steps.push(Step { role: Some(role.clone()), ..step(*needed, BTreeSet::new()) });
            }
        }
    }
    Ok(steps)
}

/// The managers above somebody, the nearest first. Those who cannot answer are passed over: who is not in use or was
/// erased, who is not above any more, and who asks himself.
fn managers(
    unit: &mut Unit<'_>,
    of: UserId,
    levels: u32,
    requester: &Requester,
    path: &TenantPath,
) -> Vec<UserId> {
    let mut found = Vec::new();
    let mut next = unit.load::<User>(of).manager;
    for _ in 0..CHAIN_MAX {
        let Some(manager) = next.filter(|_| found.len() < levels as usize) else { break };
        if can_answer(unit, manager, requester, path) {
            found.push(manager);
        }
        next = unit.load::<User>(manager).manager;
    }
    found
}

/// Whether somebody can be asked about something at a place.
fn can_answer(unit: &mut Unit<'_>, user: UserId, requester: &Requester, path: &TenantPath) -> bool {
    let known = unit.load::<User>(user);
    let Ok(organization) = known.known().map(|it| it.organization) else { return false };
    let is_active = known.status == Status::Active && known.person().is_ok();
    let organization = unit.load::<Organization>(organization);
    let is_above = organization.founded().is_ok_and(|it| it.path.contains(path));
    is_active && is_above && organization.status == Status::Active && !requester.is(user)
}
