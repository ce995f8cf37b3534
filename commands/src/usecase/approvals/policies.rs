//! Who is asked first: policies of organisations.

use std::collections::BTreeSet;

use domain::approval::{APPROVERS_MAX, Approvers, Asking, HOURS_MAX, LEVELS_MAX, Policy};
use domain::authority::Begin;
use domain::lifecycle::Status;
use domain::organization::{Organization, OrganizationCommand};
use domain::permission::Permission;
use domain::role::RoleRef;
use domain::service::Service;
use domain::user::User;
use domain::{Faults, OrganizationId, Refusal, ServiceKey, TenantPath, UserId};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::error::Stop;
use crate::resource::ApprovalPolicyResource;
use crate::unit::Unit;
use crate::usecase::organizations::Because;
use crate::usecase::{optional_reason, take_reason};
use crate::{Input, Reply};

/// In an address: all services.
pub const ALL_SERVICES: &str = "*";
/// Hours until those who are asked are reminded, where nobody says otherwise.
const REMIND_AFTER_HOURS: i64 = 24;
/// Hours until a wish is rejected that nobody answers, where nobody says otherwise.
const EXPIRES_AFTER_HOURS: i64 = 168;

/// Who has to approve what. One of `managers`, `users` and `role`.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetApprovalPolicy {
    /// What has to be approved, of `provision`, `change` and `deprovision`; all three where it is left out.
    pub verbs: Option<Vec<String>>,
    /// So many managers, 1 to 5, one after another: of the user for whom it is, or of who asks where it is for a
    /// customer.
    pub managers: Option<i64>,
    /// `needed` of these users, at most 50, by their ids: of this organisation, or of one above it.
    pub users: Option<Vec<String>>,
    /// `needed` of the users of this organisation who hold this role, named as where roles are given.
    pub role: Option<String>,
    /// How many of the users, or of those with the role; 1 where it is left out.
    pub needed: Option<i64>,
    /// Hours until those who are asked are reminded, again and again; 24 where it is left out.
    pub remind_after_hours: Option<i64>,
    /// Hours until a wish is rejected that nobody has answered; 168 where it is left out.
    pub expires_after_hours: Option<i64>,
    /// Kept with the event.
    pub reason: Option<String>,
}

/// Where a policy is set, and for which service.
struct Place {
    id: OrganizationId,
    path: TenantPath,
    service: Option<ServiceKey>,
}

impl Place {
    fn find(unit: &mut Unit<'_>, organization: &str, service: &str) -> Result<Self, Stop> {
        let path = unit.path_of(organization)?;
        unit.permit(Permission::SetApprovals, &path)?;
        let id = organization.parse().map_err(|_| Refusal::not_found())?;
        if service == ALL_SERVICES {
            return Ok(Self { id, path, service: None });
        }
        let key = ServiceKey::parse(service).ok_or_else(Refusal::not_found)?;
        unit.load::<Service>(&key).published.as_ref().ok_or_else(Refusal::not_found)?;
        Ok(Self { id, path, service: Some(key) })
    }
}

pub(crate) fn set(
    unit: &mut Unit<'_>,
    organization: &str,
    service: &str,
    body: Input<SetApprovalPolicy>,
) -> Result<Reply, Stop> {
    let place = Place::find(unit, organization, service)?;
    let body = unit.take(body)?;
    let mut faults = Faults::default();
    let reason = optional_reason(&mut faults, body.reason.as_deref());
    let asking = asking(body.verbs.as_deref(), &mut faults);
    let approvers = approvers(unit, &place, &body, &mut faults)?;
    let mut hours = |pointer, hours: Option<i64>, otherwise| {
        number(pointer, hours.unwrap_or(otherwise), HOURS_MAX, &mut faults)
    };
    let remind_after_hours =
        hours("/remindAfterHours", body.remind_after_hours, REMIND_AFTER_HOURS);
    let expires_after_hours =
        hours("/expiresAfterHours", body.expires_after_hours, EXPIRES_AFTER_HOURS);
    faults.check()?;
    let Some(approvers) = approvers else { unreachable!("none of them is a fault") };
    unit.because(None, reason);
    let policy = Policy { approvers, asking, expires_after_hours, remind_after_hours };
    let command = OrganizationCommand::SetApprovals(place.service.clone(), policy.clone());
    unit.execute::<Organization>(place.id, &place.path, command)?;
    let version = unit.version::<Organization>(place.id);
    let resource = ApprovalPolicyResource::new(place.id, place.service.as_ref(), &policy);
    Ok(Reply::done(&resource, version))
}

pub(crate) fn clear(
    unit: &mut Unit<'_>,
    organization: &str,
    service: &str,
    body: Input<Because>,
) -> Result<Reply, Stop> {
    let place = Place::find(unit, organization, service)?;
    let reason = take_reason(unit, body)?;
    unit.because(None, reason);
    let command = OrganizationCommand::ClearApprovals(place.service);
    unit.execute::<Organization>(place.id, &place.path, command)?;
    Ok(Reply::nothing())
}

fn number(pointer: &str, number: i64, most: u32, faults: &mut Faults) -> u32 {
    match u32::try_from(number).ok().filter(|number| (1..=most).contains(number)) {
        Some(number) => number,
        None => {
            let detail = format!("This is a whole number from 1 to {most}.");
            faults.add(pointer, "out_of_range", detail);
            1
        }
    }
}

fn asking(verbs: Option<&[String]>, faults: &mut Faults) -> BTreeSet<Asking> {
    let Some(verbs) = verbs else { return Asking::ALL.into() };
    faults.ensure(
        !verbs.is_empty() && verbs.len() <= Asking::ALL.len(),
        "/verbs",
        "out_of_range",
        "Name one to three of provision, change and deprovision.",
    );
    let mut asking = BTreeSet::new();
    for (index, verb) in verbs.iter().take(Asking::ALL.len()).enumerate() {
        match Asking::ALL.into_iter().find(|known| known.name() == verb) {
            Some(known) => {
                asking.insert(known);
            }
            None => {
                let detail = "This is one of provision, change and deprovision.";
                faults.add(&format!("/verbs/{index}"), "unknown_verb", detail);
            }
        }
    }
    asking
}

fn approvers(
    unit: &mut Unit<'_>,
    place: &Place,
    body: &SetApprovalPolicy,
    faults: &mut Faults,
) -> Result<Option<Approvers>, Stop> {
    let needed =
        |most, faults: &mut Faults| number("/needed", body.needed.unwrap_or(1), most, faults);
    let most = APPROVERS_MAX as u32;
    match (body.managers, &body.users, &body.role) {
        (Some(levels), None, None) => {
            if body.needed.is_some() {
                let detail = "Every manager has to approve; leave this out.";
                faults.add("/needed", "not_with_managers", detail);
            }
            let levels = number("/managers", levels, LEVELS_MAX, faults);
            Ok(Some(Approvers::Managers { levels }))
        }
        (None, Some(texts), None) => {
            let detail = format!("Name 1 to {APPROVERS_MAX} users.");
            let fits = (1..=APPROVERS_MAX).contains(&texts.len());
            faults.ensure(fits, "/users", "out_of_range", &detail);
            let mut users = BTreeSet::new();
            for (index, text) in texts.iter().take(APPROVERS_MAX).enumerate() {
                users.extend(user(unit, place, text, &format!("/users/{index}"), faults)?);
            }
            let most = u32::try_from(texts.len()).unwrap_or(most).clamp(1, most);
            Ok(Some(Approvers::Users { needed: needed(most, faults), users }))
        }
        (None, None, Some(text)) => {
            let role = role(unit, place, text, faults)?;
            let needed = needed(most, faults);
            Ok(role.map(|role| Approvers::Role { needed, role }))
        }
        _ => {
            faults.add("", "one_of_three", "Give one of managers, users and role.");
            Ok(None)
        }
    }
}

/// Somebody who can be asked: in use, of the organisation or of one above it, and seen by the caller.
fn user(
    unit: &mut Unit<'_>,
    place: &Place,
    text: &str,
    pointer: &str,
    faults: &mut Faults,
) -> Result<Option<UserId>, Stop> {
    let mine = unit.authority()?;
    let known = text.parse::<UserId>().ok().and_then(|id| {
        let user = unit.load::<User>(id);
        let organization = user.known().ok()?.organization;
        let path = unit.load::<Organization>(organization).founded().ok()?.path.clone();
        mine.is_none_or(|mine| mine.path.contains(&path)).then_some((id, user.status, path))
    });
    match known {
        None => faults.add(pointer, "unknown_user", "There is no such user."),
        Some((_, _, path)) if !path.contains(&place.path) => {
            let detail = "This user is neither of this organisation nor of one above it.";
            faults.add(pointer, "not_above", detail);
        }
        Some((_, status, _)) if status != Status::Active => {
            faults.add(pointer, "user_disabled", "This user is not active.");
        }
        Some((id, ..)) => return Ok(Some(id)),
    }
    Ok(None)
}

/// A role that people of the organisation can have.
fn role(
    unit: &mut Unit<'_>,
    place: &Place,
    text: &str,
    faults: &mut Faults,
) -> Result<Option<RoleRef>, Stop> {
    let mut known = unit.roles_at(place.id)?;
    let role = RoleRef::parse(text).filter(|role| {
        let follows = unit.follow(&mut known, std::slice::from_ref(role), Begin::Given);
        follows.dormant().is_empty()
    });
    if role.is_none() {
        let detail = "There is no such role that people of this organisation can have.";
        faults.add("/role", "unknown_role", detail);
    }
    Ok(role)
}
