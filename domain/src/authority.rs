//! Who may do what, and where: the roles that somebody was given, followed to what they permit
//! (docs/adr/0015-roles.md).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::organization::Kind;
use crate::permission::{AnyPermission, Permission};
use crate::role::{DEPTH_MAX, DefaultRole, Made, RoleRef, ServicePermission, ServiceRole};
use crate::{
    Bug, Lacking, OrganizationId, PermissionKey, Refusal, RoleId, RoleLacking, ServiceKey,
    TenantPath, planted,
};

/// Most roles that are followed for one person; what lies beyond is not in force.
const FOLLOWED_MAX: usize = 1_000;

/// An organisation on the way from the provider down.
#[derive(Clone, Debug)]
pub struct Place {
    /// Which.
    pub id: OrganizationId,
    /// What it is.
    pub kind: Kind,
    /// The custom roles that it was given.
    pub given: BTreeSet<RoleId>,
}

/// What roles are followed through: the organisations from the provider down to somebody's own, and what has
/// been looked up so far.
#[derive(Clone, Debug)]
pub struct Known {
    path: TenantPath,
    lineage: Vec<Place>,
    roles: BTreeMap<RoleId, Option<Arc<Made>>>,
    services: BTreeMap<ServiceKey, Brought>,
    declared: BTreeMap<PermissionKey, bool>,
}

/// What a service's definition brings.
#[derive(Clone, Debug)]
struct Brought {
    roles: Arc<[ServiceRole]>,
    permissions: BTreeSet<PermissionKey>,
}

/// What has to be looked up before roles can be followed to their ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Custom roles.
    pub roles: BTreeSet<RoleId>,
    /// Services, for the roles and permissions that they bring.
    pub services: BTreeSet<ServiceKey>,
    /// Permissions of the installation's own.
    pub permissions: BTreeSet<PermissionKey>,
}

impl Needs {
    /// Whether nothing is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.services.is_empty() && self.permissions.is_empty()
    }
}

/// Why a role that somebody was given does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dormant {
    /// It is for people of another kind of organisation.
    OtherKind,
    /// An organisation, by its number, was not given it, or it was taken away.
    NotGiven(u32),
    /// It has ended, or never was.
    Ended,
}

impl Dormant {
    /// In words.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::OtherKind => "it is for another kind of organisation".to_owned(),
            Self::NotGiven(number) => {
                format!("organisation {number} was not given it, or it was taken away")
            }
            Self::Ended => "there is no such role any more".to_owned(),
        }
    }
}

/// A role that is in force, and how it was come by.
#[derive(Clone, Debug)]
struct Reached {
    role: RoleRef,
    /// The place of the role that includes it; none: it was given itself.
    through: Option<usize>,
    links: usize,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Default(DefaultRole),
    /// With the place of its maker in the lineage.
    Made(Arc<Made>, usize),
    /// With its place among those of its service.
    OfService(Arc<[ServiceRole]>, usize),
}

impl Reached {
    fn name(&self) -> &str {
        match &self.what {
            What::Default(role) => role.name(),
            What::Made(made, _) => &made.content.name,
            What::OfService(roles, place) => &roles[*place].name,
        }
    }

    /// The service where it is in force; none: wherever its holder is.
    fn service(&self) -> Option<&ServiceKey> {
        match &self.role {
            RoleRef::OfService(service, _) => Some(service),
            RoleRef::Default(_) | RoleRef::Custom(_) => None,
        }
    }

    fn has(&self, permission: &AnyPermission) -> bool {
        match &self.what {
            What::Default(role) => role.has(permission),
            What::Made(made, _) => made.content.permissions.contains(permission),
            What::OfService(roles, place) => roles[*place].permissions.contains(permission),
        }
    }

    /// Those of Atrium's own permissions that it has itself.
    fn known(&self) -> Vec<Permission> {
        let of = |all: &BTreeSet<AnyPermission>| {
            let known = all.iter().filter_map(|permission| match permission {
                AnyPermission::Known(known) => Some(*known),
                AnyPermission::Declared(_) | AnyPermission::OfService(..) => None,
            });
            known.collect()
        };
        match &self.what {
            What::Default(role) => role.permissions().to_vec(),
            What::Made(made, _) => of(&made.content.permissions),
            What::OfService(roles, place) => of(&roles[*place].permissions),
        }
    }

    /// What it permits itself, but for the custom permissions that a provider's administrator has anyway.
    fn permissions(&self) -> Vec<AnyPermission> {
        match &self.what {
            What::Default(role) => role.permissions().iter().map(|it| (*it).into()).collect(),
            What::Made(made, _) => made.content.permissions.iter().cloned().collect(),
            What::OfService(roles, place) => roles[*place].permissions.iter().cloned().collect(),
        }
    }

    fn includes(&self) -> Vec<RoleRef> {
        match (&self.what, &self.role) {
            (What::Made(made, _), _) => made.content.includes.iter().cloned().collect(),
            (What::OfService(roles, place), RoleRef::OfService(service, _)) => {
                let includes = roles[*place].includes.iter();
                includes.map(|key| RoleRef::OfService(service.clone(), key.clone())).collect()
            }
            _ => vec![],
        }
    }
}

/// Where following begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With roles that somebody of the organisation was given.
    Given,
    /// With roles that the organisation has: it can pass them on to those below, too.
    Had,
}

/// What following roles leads to.
#[derive(Default)]
struct Followed {
    reached: Vec<Reached>,
    dormant: Vec<(RoleRef, Dormant)>,
    needs: Needs,
}

impl Known {
    /// Of somebody of the last of these organisations, the provider being the first.
    #[must_use]
    pub fn new(path: TenantPath, lineage: Vec<Place>) -> Self {
        let (roles, services) = (BTreeMap::new(), BTreeMap::new());
        Self { path, lineage, roles, services, declared: BTreeMap::new() }
    }

    /// Notes a custom role that was looked up; none where it has ended or never was.
    pub fn add_role(&mut self, id: RoleId, made: Option<Arc<Made>>) {
        self.roles.insert(id, made);
    }

    /// Notes what a service brings; nothing where it is not sold.
    pub fn add_service(
        &mut self,
        service: ServiceKey,
        roles: &[ServiceRole],
        permissions: &[ServicePermission],
    ) {
        let permissions = permissions.iter().map(|it| it.key.clone()).collect();
        self.services.insert(service, Brought { roles: roles.into(), permissions });
    }

    /// Notes whether a permission is declared: it never was, or it was withdrawn, where it is not.
    pub fn add_permission(&mut self, key: PermissionKey, is_declared: bool) {
        self.declared.insert(key, is_declared);
    }

    /// What these roles permit.
    ///
    /// # Errors
    /// What has to be looked up first.
    pub fn authority(&self, roles: &[RoleRef], begin: Begin) -> Result<Authority, Needs> {
        let Followed { reached, dormant, needs } = self.follow(roles, begin);
        if !needs.is_empty() {
            return Err(needs);
        }
        let held = reached.iter().filter(|it| it.service().is_none()).flat_map(Reached::known);
        Ok(Authority {
            path: self.path.clone(),
            roles: roles.to_vec(),
            everywhere: held.fold(0, |all, permission| all | bit(permission)),
            reached,
            dormant,
            real: None,
        })
    }

    /// The kind of the last organisation; none where there is no organisation at all.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.lineage.last().map(|place| place.kind)
    }

    /// Whether a role is in force at an organisation of the lineage. None where a document is missing.
    fn look(
        &self,
        role: &RoleRef,
        level: usize,
        begin: Begin,
        needs: &mut Needs,
    ) -> Option<Result<What, Dormant>> {
        match role {
            RoleRef::Default(role) => {
                let kind = self.lineage[level].kind;
                let fits = match begin {
                    Begin::Given => role.fits(kind),
                    Begin::Had => role.fits_below(kind),
                };
                Some(if fits { Ok(What::Default(*role)) } else { Err(Dormant::OtherKind) })
            }
            RoleRef::Custom(id) => {
                let Some(found) = self.roles.get(id) else {
                    needs.roles.insert(*id);
                    return None;
                };
                let Some(made) = found else { return Some(Err(Dormant::Ended)) };
                let maker = self.lineage.iter().position(|it| it.id == made.organization);
                let Some(maker) = maker.filter(|maker| *maker <= level) else {
                    return Some(Err(Dormant::NotGiven(self.number(level))));
                };
                let gap =
                    (maker + 1..=level).find(|place| !self.lineage[*place].given.contains(id));
                if let Some(place) = gap.filter(|_| !planted(Bug::RoleNotGiven)) {
                    return Some(Err(Dormant::NotGiven(self.number(place))));
                }
                Some(Ok(What::Made(self.without_undeclared(made, needs)?, maker)))
            }
            RoleRef::OfService(service, key) => {
                let roles = &self.brought_by(service, needs)?.roles;
                let place = roles.iter().position(|role| role.key == *key);
                Some(match place {
                    Some(place) => Ok(What::OfService(roles.clone(), place)),
                    None => Err(Dormant::Ended),
                })
            }
        }
    }

    fn brought_by(&self, service: &ServiceKey, needs: &mut Needs) -> Option<&Brought> {
        let brought = self.services.get(service);
        if brought.is_none() {
            needs.services.insert(service.clone());
        }
        brought
    }

    /// A role as it is in force: a permission that is not declared any more is held by nobody. None where a
    /// document is missing.
    fn without_undeclared(&self, made: &Arc<Made>, needs: &mut Needs) -> Option<Arc<Made>> {
        let mut undeclared = Vec::new();
        let mut is_missing = false;
        for permission in &made.content.permissions {
            let is_declared = match permission {
                AnyPermission::Known(_) => Some(true),
                AnyPermission::Declared(key) => {
                    let is_declared = self.declared.get(key).copied();
                    if is_declared.is_none() {
                        needs.permissions.insert(key.clone());
                    }
                    is_declared
                }
                AnyPermission::OfService(service, key) => {
                    let brought = self.brought_by(service, needs);
                    brought.map(|brought| brought.permissions.contains(key))
                }
            };
            is_missing |= is_declared.is_none();
            if is_declared == Some(false) {
                undeclared.push(permission);
            }
        }
        if is_missing {
            return None;
        }
        if undeclared.is_empty() {
            return Some(made.clone());
        }
        let mut in_force = Made::clone(made);
        in_force.content.permissions.retain(|it| !undeclared.contains(&it));
        Some(Arc::new(in_force))
    }

    fn number(&self, level: usize) -> u32 {
        self.path.numbers().nth(level).unwrap_or_default()
    }

    /// Breadth first, so that a role is met by its shortest chain, and then left alone.
    fn follow(&self, roles: &[RoleRef], begin: Begin) -> Followed {
        let mut followed = Followed::default();
        let Some(own) = self.lineage.len().checked_sub(1) else { return followed };
        let mut seen = BTreeSet::new();
        for role in roles {
            match self.look(role, own, begin, &mut followed.needs) {
                Some(Ok(what)) if seen.insert(role.clone()) => followed.reached.push(Reached {
                    role: role.clone(),
                    through: None,
                    links: 1,
                    what,
                }),
                Some(Err(dormant)) => followed.dormant.push((role.clone(), dormant)),
                Some(Ok(_)) | None => {}
            }
        }
        let mut next = 0;
        while let Some(including) = followed.reached.get(next).cloned() {
            let level = if let What::Made(_, maker) = &including.what { *maker } else { own };
            for role in including.includes() {
                let is_too_far = including.links == DEPTH_MAX
                    || followed.reached.len() >= FOLLOWED_MAX
                    || seen.contains(&role);
                if is_too_far {
                    continue;
                }
                if let Some(Ok(what)) = self.look(&role, level, Begin::Had, &mut followed.needs) {
                    seen.insert(role.clone());
                    let (through, links) = (Some(next), including.links + 1);
                    followed.reached.push(Reached { role, through, links, what });
                }
            }
            next += 1;
        }
        followed
    }
}

fn bit(permission: Permission) -> u64 {
    1_u64 << (permission as u8)
}

/// A link of a chain of roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What names the role.
    pub role: RoleRef,
    /// As people read it.
    pub name: String,
}

/// How somebody comes by a permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The role that he was given, the one that it includes, and so on to the one that has the permission.
    pub chain: Vec<Link>,
    /// The service where that is so; none: wherever he is.
    pub service: Option<ServiceKey>,
}

/// What somebody may do, and where.
#[derive(Clone, Debug)]
pub struct Authority {
    /// The organisation that he belongs to: his scope is it and all below.
    pub path: TenantPath,
    /// The roles that he was given.
    pub roles: Vec<RoleRef>,
    /// Atrium's own permissions that he has everywhere in his scope, a bit for each.
    everywhere: u64,
    reached: Vec<Reached>,
    dormant: Vec<(RoleRef, Dormant)>,
    /// Who acts as him: nothing can be done that this one may not do himself.
    real: Option<Box<Authority>>,
}

impl Authority {
    /// The same, exercised by somebody who impersonates him.
    #[must_use]
    pub fn exercised_by(self, real: Self) -> Self {
        let real = Some(Box::new(real)).filter(|_| !planted(Bug::ImpersonatorUnbounded));
        Self { real, ..self }
    }

    /// Whether he may act as somebody who may do this: strictly below his own organisation.
    #[must_use]
    pub fn may_act_as(&self, other: &Self) -> bool {
        self.path != other.path
            && self.path.contains(&other.path)
            && self.holds(Permission::ImpersonateUsers)
    }

    /// Whether somebody else exercises it.
    #[must_use]
    pub fn is_impersonated(&self) -> bool {
        self.real.is_some()
    }

    /// Whether he has one of Atrium's permissions everywhere in his scope, whatever services are held there.
    #[must_use]
    pub fn holds(&self, permission: Permission) -> bool {
        self.everywhere & bit(permission) != 0
            && self.real.as_ref().is_none_or(|real| real.holds(permission))
    }

    fn holds_any(&self, permission: &AnyPermission) -> bool {
        match permission {
            AnyPermission::Known(known) => self.everywhere & bit(*known) != 0,
            AnyPermission::Declared(_) | AnyPermission::OfService(..) => {
                self.reached.iter().any(|it| it.service().is_none() && it.has(permission))
            }
        }
    }

    /// Whether the answer depends on which services the target holds.
    #[must_use]
    pub fn asks_for_services(&self, permission: &AnyPermission) -> bool {
        let depends = !self.holds_any(permission)
            && self.reached.iter().any(|it| it.service().is_some() && it.has(permission));
        depends || self.real.as_ref().is_some_and(|real| real.asks_for_services(permission))
    }

    /// Whether any of the roles is one of a service.
    #[must_use]
    pub fn has_roles_of_services(&self) -> bool {
        self.reached.iter().any(|it| it.service().is_some())
            || self.real.as_ref().is_some_and(|real| real.has_roles_of_services())
    }

    fn has_where(&self, permission: &AnyPermission, held: &dyn Fn(&ServiceKey) -> bool) -> bool {
        let acts = |service: &ServiceKey| held(service) || planted(Bug::ServiceRoleEverywhere);
        self.holds_any(permission)
            || self.reached.iter().any(|it| it.service().is_some_and(acts) && it.has(permission))
    }

    /// Whether he may do something at an organisation in his scope that holds these services.
    #[must_use]
    pub fn may(&self, permission: &AnyPermission, held: impl Fn(&ServiceKey) -> bool) -> bool {
        self.has_where(permission, &held)
            && self.real.as_ref().is_none_or(|real| real.has_where(permission, &held))
    }

    /// Lets it pass, or says why not. `held` says which services the target holds; it is asked only where
    /// [`Authority::asks_for_services`] says so.
    ///
    /// # Errors
    /// Not found where `target` is out of scope (it does not exist for this caller); forbidden where
    /// it is in scope and no role has the permission there.
    pub fn permit(
        &self,
        permission: impl Into<AnyPermission>,
        target: &TenantPath,
        held: impl Fn(&ServiceKey) -> bool,
    ) -> Result<(), Refusal> {
        if !self.path.contains(target) {
            return Err(Refusal::not_found());
        }
        let permission = permission.into();
        if !self.has_where(&permission, &held) {
            return Err(Refusal::lacking(self.lacking(&permission, target)));
        }
        match &self.real {
            Some(real) if !real.has_where(&permission, &held) => {
                let mut refusal = Refusal::lacking(real.lacking(&permission, target));
                refusal.detail.push_str(
                    " You act as somebody else, and can do only what you may do yourself.",
                );
                Err(refusal)
            }
            _ => Ok(()),
        }
    }

    /// Lets it pass at `target`, unless that is his own organisation: what an organisation pays, those say who sell to it. To
    /// the provider nobody does.
    ///
    /// # Errors
    /// See [`Self::permit`].
    pub fn permit_to_sell(
        &self,
        permission: impl Into<AnyPermission>,
        target: &TenantPath,
        held: impl Fn(&ServiceKey) -> bool,
    ) -> Result<(), Refusal> {
        let permission = permission.into();
        self.permit(permission.clone(), target, held)?;
        if self.path == *target && target.parent().is_some() {
            let mut refusal = Refusal::lacking(self.lacking(&permission, target));
            refusal.detail.push_str(" What your own organisation pays is said by who sells to it.");
            return Err(refusal);
        }
        Ok(())
    }

    /// Lets it pass in his whole scope: for what belongs to no tenant, such as a service, and for lists.
    /// `held` says which services his own organisation holds.
    ///
    /// # Errors
    /// Forbidden where no role has the permission.
    pub fn require(
        &self,
        permission: impl Into<AnyPermission>,
        held: impl Fn(&ServiceKey) -> bool,
    ) -> Result<(), Refusal> {
        self.permit(permission, &self.path, held)
    }

    /// Which permission is missing, where, and what is with each role.
    fn lacking(&self, permission: &AnyPermission, target: &TenantPath) -> Lacking {
        let roles = self.roles.iter().map(|role| {
            let dormant = self.dormant.iter().find(|(dormant, _)| dormant == role);
            let of_services = self.ways(permission).into_iter().find_map(|way| {
                let is_it = way.chain.first().is_some_and(|first| first.role == *role);
                way.service.filter(|_| is_it)
            });
            let why = match (dormant, of_services) {
                // What lies above is out of his sight.
                (Some((_, Dormant::NotGiven(number))), _)
                    if self.path.numbers().last() != Some(*number) =>
                {
                    "an organisation above was not given it, or it was taken away".to_owned()
                }
                (Some((_, dormant)), _) => dormant.why(),
                (None, Some(service)) => format!("has it only where {service} is held"),
                (None, None) => "does not have it".to_owned(),
            };
            let reached = self.reached.iter().find(|it| it.role == *role);
            let name = reached.map_or_else(|| role.to_string(), |it| it.name().to_owned());
            RoleLacking { role: role.to_string(), name, why }
        });
        Lacking {
            permission: permission.to_string(),
            organization: target.numbers().last().unwrap_or_default(),
            roles: roles.collect(),
        }
    }

    /// Every role that has a permission, with the chain that leads to it.
    #[must_use]
    pub fn ways(&self, permission: &AnyPermission) -> Vec<Way> {
        let having = self.reached.iter().filter(|it| it.has(permission));
        having
            .map(|last| {
                let before = |it: &&Reached| it.through.map(|place| &self.reached[place]);
                let links = std::iter::successors(Some(last), before);
                let link =
                    |it: &Reached| Link { role: it.role.clone(), name: it.name().to_owned() };
                let mut chain: Vec<_> = links.map(link).collect();
                chain.reverse();
                Way { chain, service: last.service().cloned() }
            })
            .collect()
    }

    /// The roles that were given and do nothing, and why.
    #[must_use]
    pub fn dormant(&self) -> &[(RoleRef, Dormant)] {
        &self.dormant
    }

    /// Every permission that he has somewhere, by name; those of a service's role only where the service is
    /// held.
    #[must_use]
    pub fn permissions(&self) -> BTreeSet<AnyPermission> {
        let all = self.reached.iter().flat_map(Reached::permissions);
        let may =
            |it: &AnyPermission| self.real.as_ref().is_none_or(|real| !real.ways(it).is_empty());
        all.filter(may).collect()
    }

    /// The first thing that another one may do and he may not, by name: nobody grants what he lacks. What is
    /// allowed only where a service is held is covered by the same, too.
    #[must_use]
    pub fn lacks_of(&self, other: &Self) -> Option<String> {
        if planted(Bug::GrantsWhatHeLacks) {
            return None;
        }
        let real = self.real.as_ref();
        for it in &other.reached {
            let lacking = it.permissions().into_iter().find(|permission| {
                let of_service = |mine: &Reached| {
                    mine.service().is_some()
                        && mine.service() == it.service()
                        && mine.has(permission)
                };
                !self.holds_any(permission) && !self.reached.iter().any(of_service)
            });
            if let Some(lacking) = lacking {
                return Some(lacking.to_string());
            }
            let everything = DefaultRole::ProviderAdministrator.into();
            if it.role == everything && !self.reached.iter().any(|mine| mine.role == everything) {
                return Some("every custom permission".to_owned());
            }
        }
        real.and_then(|real| real.lacks_of(other))
    }

    /// Whether he lacks a permission, which he then cannot put into a role. What he has only where a service is
    /// held does not count: the role would act elsewhere, too.
    #[must_use]
    pub fn lacks(&self, permission: &AnyPermission) -> bool {
        !self.holds_any(permission) || self.real.as_ref().is_some_and(|real| real.lacks(permission))
    }

    /// Who exercises it, where that is somebody else.
    #[must_use]
    pub fn real(&self) -> Option<&Self> {
        self.real.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::role::RoleContent;
    use crate::{Reason, RoleKey};

    const PROVIDER: OrganizationId = OrganizationId(Uuid::from_u128(1));
    const RESELLER: OrganizationId = OrganizationId(Uuid::from_u128(4));
    const CUSTOMER: OrganizationId = OrganizationId(Uuid::from_u128(30));

    fn id(number: u128) -> RoleId {
        RoleId(Uuid::from_u128(100 + number))
    }

    fn custom(number: u128) -> RoleRef {
        RoleRef::Custom(id(number))
    }

    fn path(depth: usize) -> TenantPath {
        [4, 30].into_iter().take(depth).fold(TenantPath::provider(), |path, it| path.child(it))
    }

    /// Of the provider, the reseller or the customer; the last two were given these roles.
    fn known(depth: usize, given: [&[u128]; 2]) -> Known {
        let place = |id, kind, given: &[u128]| Place {
            id,
            kind,
            given: given.iter().map(|it| super::tests::id(*it)).collect(),
        };
        let mut lineage = vec![
            place(PROVIDER, Kind::Provider, &[]),
            place(RESELLER, Kind::Reseller, given[0]),
            place(CUSTOMER, Kind::Customer, given[1]),
        ];
        lineage.truncate(depth + 1);
        Known::new(path(depth), lineage)
    }

    fn made(organization: OrganizationId, has: &[Permission], of: &[RoleRef]) -> Option<Arc<Made>> {
        let content = RoleContent {
            name: format!("made with {}", has.len()),
            permissions: has.iter().map(|it| (*it).into()).collect(),
            includes: of.iter().cloned().collect(),
            ..RoleContent::default()
        };
        Some(Arc::new(Made { organization, content }))
    }

    fn given(known: &Known, roles: &[RoleRef]) -> Authority {
        known.authority(roles, Begin::Given).expect("everything is known")
    }

    fn nowhere(_: &ServiceKey) -> bool {
        false
    }

    #[test]
    fn outside_the_scope_is_not_found_and_inside_without_the_role_is_forbidden() {
        let admin = given(&known(1, [&[], &[]]), &[DefaultRole::ResellerAdministrator.into()]);
        assert_eq!(admin.permit(Permission::ManageUsers, &path(2), nowhere), Ok(()));
        let outside = TenantPath::provider().child(3);
        for permission in [Permission::ManageUsers, Permission::PublishServices] {
            let refused = admin.permit(permission, &outside, nowhere).unwrap_err();
            assert_eq!(refused.reason, Reason::NotFound);
        }
        assert_eq!(admin.require(Permission::ManageUsers, nowhere), Ok(()));
        let refused = admin.require(Permission::PublishServices, nowhere).unwrap_err();
        assert_eq!(refused.reason, Reason::Forbidden);
        let refused = admin.permit(Permission::PublishServices, &path(2), nowhere).unwrap_err();
        assert_eq!(refused.reason, Reason::Forbidden);
        assert!(refused.detail.contains("services.publish at organisation 30"), "{refused}");
        let lacking = refused.lacking.unwrap();
        assert_eq!(lacking.organization, 30);
        assert_eq!(lacking.roles[0].why, "does not have it");
    }

    #[test]
    fn one_acts_only_as_somebody_strictly_below_and_only_where_one_may() {
        let at = |depth, role: DefaultRole| given(&known(depth, [&[], &[]]), &[role.into()]);
        let reseller = at(1, DefaultRole::ResellerAdministrator);
        let customer = at(2, DefaultRole::CustomerAdministrator);
        assert!(reseller.may_act_as(&customer));
        assert!(!reseller.may_act_as(&at(1, DefaultRole::L1HelpDesk)));
        assert!(!reseller.may_act_as(&at(0, DefaultRole::L1HelpDesk)));
        assert!(!at(1, DefaultRole::L1HelpDesk).may_act_as(&customer));
    }

    #[test]
    fn what_an_organisation_pays_is_not_said_by_its_own_but_to_the_provider_nobody_sells() {
        let roles = [DefaultRole::ResellerAdministrator.into()];
        let reseller = given(&known(1, [&[], &[]]), &roles);
        let price = Permission::OverridePrices;
        assert_eq!(reseller.permit(price, &path(1), nowhere), Ok(()));
        let refused = reseller.permit_to_sell(price, &path(1), nowhere).unwrap_err();
        assert_eq!(refused.reason, Reason::Forbidden);
        assert_eq!(reseller.permit_to_sell(price, &path(2), nowhere), Ok(()));
        let provider = given(&known(0, [&[], &[]]), &[DefaultRole::ProviderAdministrator.into()]);
        assert_eq!(provider.permit_to_sell(price, &path(0), nowhere), Ok(()));
        assert_eq!(provider.permit_to_sell(price, &path(1), nowhere), Ok(()));
    }

    #[test]
    fn a_custom_role_is_in_force_where_each_on_the_way_was_given_it() {
        let holds = |given: [&[u128]; 2]| {
            let mut known = known(2, given);
            let needs = known.authority(&[custom(1)], Begin::Given).unwrap_err();
            assert_eq!(needs.roles, BTreeSet::from([id(1)]));
            known.add_role(id(1), made(PROVIDER, &[Permission::ViewBilling], &[]));
            let authority = super::tests::given(&known, &[custom(1)]);
            (authority.holds(Permission::ViewBilling), authority.dormant().to_vec())
        };
        assert_eq!(holds([&[1], &[1]]), (true, vec![]));
        assert_eq!(holds([&[], &[1]]), (false, vec![(custom(1), Dormant::NotGiven(4))]));
        assert_eq!(holds([&[1], &[]]), (false, vec![(custom(1), Dormant::NotGiven(30))]));
        let mut ended = known(2, [&[1], &[1]]);
        ended.add_role(id(1), None);
        assert_eq!(
            super::tests::given(&ended, &[custom(1)]).dormant(),
            [(custom(1), Dormant::Ended)]
        );
    }

    #[test]
    fn an_included_role_counts_while_the_maker_of_the_including_one_has_it() {
        let holds = |given: [&[u128]; 2]| {
            let mut known = known(2, given);
            known.add_role(id(1), made(PROVIDER, &[Permission::ViewBilling], &[]));
            known.add_role(id(2), made(RESELLER, &[], &[custom(1)]));
            super::tests::given(&known, &[custom(2)]).holds(Permission::ViewBilling)
        };
        // The customer needs only what it was given; its seller needs what is in it.
        assert!(holds([&[1], &[2]]));
        assert!(!holds([&[], &[2]]));
        assert!(!holds([&[1], &[1]]));
    }

    #[test]
    fn a_chain_is_followed_to_its_end_and_no_further_than_allowed() {
        let mut known = known(0, [&[], &[]]);
        let last = DEPTH_MAX as u128 + 1;
        for number in 1..=last {
            let has =
                if number >= last - 1 { vec![Permission::ALL[number as usize]] } else { vec![] };
            let next = if number == last { vec![] } else { vec![custom(number + 1)] };
            known.add_role(id(number), made(PROVIDER, &has, &next));
        }
        let authority = given(&known, &[custom(1)]);
        let (near, far) = (Permission::ALL[DEPTH_MAX], Permission::ALL[DEPTH_MAX + 1]);
        assert!(authority.holds(near) && !authority.holds(far));
        let ways = authority.ways(&near.into());
        assert_eq!(ways.len(), 1);
        let chain: Vec<_> = ways[0].chain.iter().map(|link| link.role.clone()).collect();
        assert_eq!(chain, (1..last).map(custom).collect::<Vec<_>>());
        // A circle in stored roles cannot be, and would do no harm.
        known.add_role(id(3), made(PROVIDER, &[Permission::ViewBilling], &[custom(1)]));
        assert!(given(&known, &[custom(1)]).holds(Permission::ViewBilling));
    }

    #[test]
    fn a_services_role_acts_where_the_service_is_held() {
        let mut known = known(1, [&[], &[]]);
        let (crm, agent) = (ServiceKey::parse("crm").unwrap(), RoleKey::parse("agent").unwrap());
        let agent = RoleRef::OfService(crm.clone(), agent);
        let needs = known.authority(std::slice::from_ref(&agent), Begin::Given).unwrap_err();
        assert_eq!(needs.services, BTreeSet::from([crm.clone()]));
        let roles = [
            crate::role::tests::of_service("agent", &["users.view"], &["lead"]),
            crate::role::tests::of_service("lead", &["crm:export"], &[]),
        ];
        known.add_service(crm.clone(), &roles, &[]);
        let authority = given(&known, std::slice::from_ref(&agent));
        assert!(authority.has_roles_of_services());
        let admin = given(&known, &[DefaultRole::ResellerAdministrator.into()]);
        assert!(!admin.has_roles_of_services());
        assert!(!authority.holds(Permission::ViewUsers));
        assert!(authority.asks_for_services(&Permission::ViewUsers.into()));
        assert!(!authority.asks_for_services(&Permission::ViewBilling.into()));
        let there = |service: &ServiceKey| *service == crm;
        assert_eq!(authority.permit(Permission::ViewUsers, &path(2), there), Ok(()));
        let export = AnyPermission::parse("crm:export").unwrap();
        assert_eq!(authority.permit(export.clone(), &path(2), there), Ok(()));
        let refused = authority.permit(export.clone(), &path(2), nowhere).unwrap_err();
        assert!(refused.detail.contains("only where crm is held"), "{refused}");
        assert_eq!(authority.ways(&export)[0].service, Some(crm.clone()));
        assert!(authority.permit(Permission::ViewBilling, &path(2), there).is_err());
        let help_desk = DefaultRole::L1HelpDesk;
        let both = given(&known, &[agent.clone(), help_desk.into()]);
        let lacking = both.permit(export, &path(2), nowhere).unwrap_err().lacking.unwrap();
        let roles = lacking.roles.iter().map(|it| (it.name.as_str(), it.why.as_str()));
        assert_eq!(
            roles.collect::<Vec<_>>(),
            [("agent", "has it only where crm is held"), (help_desk.name(), "does not have it")]
        );
        known.add_service(crm, &[], &[]);
        let authority = given(&known, std::slice::from_ref(&agent));
        assert_eq!(authority.dormant(), [(agent, Dormant::Ended)]);
    }

    #[test]
    fn a_permission_that_is_not_declared_any_more_is_held_by_nobody() {
        let monthly = AnyPermission::parse("reports.monthly").unwrap();
        let export = AnyPermission::parse("crm:export").unwrap();
        let content = RoleContent {
            permissions: BTreeSet::from([
                monthly.clone(),
                export.clone(),
                Permission::ViewUsers.into(),
            ]),
            ..RoleContent::default()
        };
        let made = Arc::new(Made { organization: PROVIDER, content });
        let (crm, key) =
            (ServiceKey::parse("crm").unwrap(), |key| PermissionKey::parse(key).unwrap());
        for (is_declared, brings) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut known = known(0, [&[], &[]]);
            known.add_role(id(1), Some(made.clone()));
            let needs = known.authority(&[custom(1)], Begin::Given).unwrap_err();
            assert_eq!(needs.permissions, BTreeSet::from([key("reports.monthly")]));
            assert_eq!(needs.services, BTreeSet::from([crm.clone()]));
            known.add_permission(key("reports.monthly"), is_declared);
            let export_of_crm = ServicePermission { key: key("export"), name: String::new() };
            let brought = if brings { vec![export_of_crm] } else { vec![] };
            known.add_service(crm.clone(), &[], &brought);
            let authority = given(&known, &[custom(1)]);
            let may = |permission: &AnyPermission| authority.may(permission, nowhere);
            assert_eq!((may(&monthly), may(&export)), (is_declared, brings));
            assert!(authority.holds(Permission::ViewUsers));
            assert_eq!(authority.lacks(&monthly), !is_declared);
            assert_eq!(authority.permissions().contains(&export), brings);
            assert_eq!(authority.ways(&monthly).is_empty(), !is_declared);
        }
    }

    #[test]
    fn nobody_grants_what_he_lacks() {
        let reseller = known(1, [&[], &[]]);
        let admin = given(&reseller, &[DefaultRole::ResellerAdministrator.into()]);
        let had = |role: DefaultRole| reseller.authority(&[role.into()], Begin::Had).unwrap();
        let customers = had(DefaultRole::CustomerAdministrator);
        assert_eq!(admin.lacks_of(&customers), None);
        assert_eq!(customers.lacks_of(&admin).as_deref(), Some("resellers.manage"));
        let developer = had(DefaultRole::ServiceProviderDeveloper);
        assert_eq!(admin.lacks_of(&developer).as_deref(), Some("tokens.hold"));
        let above = had(DefaultRole::ProviderAdministrator);
        assert_eq!(above.dormant()[0].1, Dormant::OtherKind);
        // Whoever has every permission of Atrium has not every custom one.
        let mut provider = known(0, [&[], &[]]);
        provider.add_role(id(1), made(PROVIDER, &Permission::ALL, &[]));
        let everything = given(&provider, &[custom(1)]);
        let administrator = given(&provider, &[DefaultRole::ProviderAdministrator.into()]);
        assert!(everything.lacks_of(&administrator).is_some());
        assert_eq!(administrator.lacks_of(&everything), None);
    }

    #[test]
    fn what_a_services_role_allows_is_granted_only_by_who_has_it_of_the_same_service() {
        let mut known = known(1, [&[], &[]]);
        let agent = |service: &str| {
            let key = ServiceKey::parse(service).unwrap();
            RoleRef::OfService(key, RoleKey::parse("agent").unwrap())
        };
        for service in ["crm", "wiki"] {
            let role = crate::role::tests::of_service("agent", &["users.view"], &[]);
            known.add_service(ServiceKey::parse(service).unwrap(), &[role], &[]);
        }
        let [of_crm, of_wiki] = ["crm", "wiki"].map(|service| given(&known, &[agent(service)]));
        assert_eq!(of_crm.lacks_of(&of_crm), None);
        assert_eq!(of_crm.lacks_of(&of_wiki).as_deref(), Some("users.view"));
    }

    #[test]
    fn whoever_acts_as_another_does_only_what_both_may() {
        let customer = given(&known(2, [&[], &[]]), &[DefaultRole::CustomerAdministrator.into()]);
        let mut provider = known(0, [&[], &[]]);
        let has = [Permission::ViewUsers, Permission::ViewEvents, Permission::PublishServices];
        provider.add_role(id(1), made(PROVIDER, &has, &[]));
        let real = given(&provider, &[custom(1)]);
        let both = customer.clone().exercised_by(real);
        assert!(both.is_impersonated() && !customer.is_impersonated());
        assert_eq!(both.permit(Permission::ViewUsers, &path(2), nowhere), Ok(()));
        assert!(both.holds(Permission::ViewEvents) && !both.holds(Permission::ViewBilling));
        let refused = both.permit(Permission::ViewBilling, &path(2), nowhere).unwrap_err();
        assert!(refused.detail.contains("act as somebody else"), "{refused}");
        let refused = both.permit(Permission::PublishServices, &path(2), nowhere).unwrap_err();
        assert_eq!(refused.reason, Reason::Forbidden);
        assert_eq!(
            both.permit(Permission::ViewUsers, &path(1), nowhere),
            Err(Refusal::not_found())
        );
        assert_eq!(both.lacks_of(&customer).as_deref(), Some("organizations.view"));
        let names: Vec<_> = both.permissions().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["events.view", "users.view"]);
    }
}
