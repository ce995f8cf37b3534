//! Managers of users, and the chain of them that leads up.

use domain::lifecycle::Status;
use domain::organization::Organization;
use domain::user::User;
use domain::{Faults, TenantPath, UserId};

use crate::error::Stop;
use crate::unit::Unit;

/// Most managers above one another: longer chains are neither made nor followed.
pub(crate) const CHAIN_MAX: usize = 20;

/// The manager whom a body names for somebody of an organisation; `of`: who it is, where he is there already.
pub(crate) fn named(
    unit: &mut Unit<'_>,
    text: &str,
    of: Option<UserId>,
    path: &TenantPath,
    faults: &mut Faults,
) -> Result<Option<UserId>, Stop> {
    let at = "/managerId";
    let Some(manager) = text.parse().ok() else {
        faults.add(at, "unknown_user", "This is the id of a user.");
        return Ok(None);
    };
    // As he is already, however it stands with him now.
    if of.is_some_and(|of| unit.load::<User>(of).manager == Some(manager)) {
        return Ok(Some(manager));
    }
    let mine = unit.authority()?;
    let place = place(unit, manager);
    let sees = |place: &&TenantPath| mine.is_none_or(|mine| mine.path.contains(place));
    let Some(place) = place.as_ref().filter(sees) else {
        faults.add(at, "unknown_user", "There is no such user.");
        return Ok(None);
    };
    if !place.contains(path) {
        let detail = "A manager is a user of the same organisation, or of one above it.";
        faults.add(at, "not_above", detail);
    } else if unit.load::<User>(manager).status != Status::Active {
        faults.add(at, "user_disabled", "This user is not active.");
    } else if let Some(of) = of {
        ensure_ends(unit, manager, of, faults);
    }
    Ok(Some(manager))
}

/// Notes what keeps the chain above a new manager from ending.
fn ensure_ends(unit: &mut Unit<'_>, manager: UserId, of: UserId, faults: &mut Faults) {
    let mut next = Some(manager);
    for _ in 0..CHAIN_MAX {
        let Some(above) = next else { return };
        if above == of {
            let detail = "This user would be above himself.";
            faults.add("/managerId", "cycle", detail);
            return;
        }
        next = unit.load::<User>(above).manager;
    }
    if next.is_some() {
        let detail = format!("There would be more than {CHAIN_MAX} managers above one another.");
        faults.add("/managerId", "too_many_managers", detail);
    }
}

/// Where a user's organisation is in the tree; none where there is no such user.
fn place(unit: &mut Unit<'_>, user: UserId) -> Option<TenantPath> {
    let organization = unit.load::<User>(user).known().ok()?.organization;
    Some(unit.load::<Organization>(organization).founded().ok()?.path.clone())
}
