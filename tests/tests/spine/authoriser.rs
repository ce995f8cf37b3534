//! An authoriser of its own, as naive as can be, agrees with the real one on random trees and roles.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::authority::{Authority, Begin, Known, Place};
use domain::organization::Kind;
use domain::permission::{AnyPermission, Permission};
use domain::role::{
    DEPTH_MAX, DefaultRole, Made, RoleContent, RoleRef, ServicePermission, ServiceRole,
};
use domain::{OrganizationId, PermissionKey, Reason, RoleId, RoleKey, ServiceKey, TenantPath};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use uuid::Uuid;

const WORLDS: u64 = 500;
const TRIPLES_OF_WORLD: usize = 200;

// ---- The naive one: it knows nothing of the real one but the default roles' permissions. ----

#[derive(Clone, Copy, PartialEq, Debug)]
enum R {
    Default(DefaultRole),
    Custom(usize),
    OfService(usize, usize),
}

#[derive(Debug)]
struct Organization {
    above: Option<usize>,
    kind: Kind,
    given: BTreeSet<usize>,
    holds: BTreeSet<usize>,
}

#[derive(Debug)]
struct Custom {
    maker: usize,
    ended: bool,
    has: Vec<AnyPermission>,
    includes: Vec<R>,
}

#[derive(Debug, Default)]
struct World {
    organizations: Vec<Organization>,
    customs: Vec<Custom>,
    /// Of each service, its roles, with the places of those that they include.
    services: Vec<Vec<(Vec<AnyPermission>, Vec<usize>)>>,
    /// The custom permissions that there are; others were withdrawn.
    declared: BTreeSet<AnyPermission>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Says {
    Yes,
    Forbidden,
    NotFound,
}

impl World {
    fn is_below_or_at(&self, low: usize, high: usize) -> bool {
        low == high
            || self.organizations[low].above.is_some_and(|above| self.is_below_or_at(above, high))
    }

    fn has_custom(&self, organization: usize, role: usize) -> bool {
        if self.customs[role].ended {
            return false;
        }
        if self.customs[role].maker == organization {
            return true;
        }
        let place = &self.organizations[organization];
        place.given.contains(&role) && place.above.is_some_and(|above| self.has_custom(above, role))
    }

    fn is_for(&self, role: DefaultRole, organization: usize, is_part: bool) -> bool {
        let rank = |kind| match kind {
            Kind::Provider => 0,
            Kind::Reseller => 1,
            Kind::Customer => 2,
        };
        let own = rank(self.organizations[organization].kind);
        let meant = match role {
            DefaultRole::ProviderAdministrator | DefaultRole::ProvisioningEngineer => 0,
            DefaultRole::ResellerAdministrator => 1,
            DefaultRole::CustomerAdministrator => 2,
            DefaultRole::ServiceProviderDeveloper | DefaultRole::L1HelpDesk => return true,
        };
        own == meant || (is_part && own < meant)
    }

    fn is_there(&self, permission: &AnyPermission) -> bool {
        matches!(permission, AnyPermission::Known(_)) || self.declared.contains(permission)
    }

    fn gives(&self, role: R, at: usize, asked: (&AnyPermission, usize), links: usize) -> bool {
        if links > DEPTH_MAX {
            return false;
        }
        let (permission, target) = asked;
        match role {
            R::Default(role) => {
                let has = match permission {
                    AnyPermission::Known(known) => role.permissions().contains(known),
                    _ => role == DefaultRole::ProviderAdministrator,
                };
                has && self.is_for(role, at, links > 1)
            }
            R::Custom(number) => {
                let custom = &self.customs[number];
                self.has_custom(at, number)
                    && ((custom.has.contains(permission) && self.is_there(permission))
                        || custom
                            .includes
                            .iter()
                            .any(|part| self.gives(*part, custom.maker, asked, links + 1)))
            }
            R::OfService(service, number) => {
                let (has, includes) = &self.services[service][number];
                self.organizations[target].holds.contains(&service)
                    && (has.contains(permission)
                        || includes.iter().any(|part| {
                            self.gives(R::OfService(service, *part), at, asked, links + 1)
                        }))
            }
        }
    }

    fn says(&self, own: usize, roles: &[R], asked: (&AnyPermission, usize)) -> Says {
        if !self.is_below_or_at(asked.1, own) {
            Says::NotFound
        } else if roles.iter().any(|role| self.gives(*role, own, asked, 1)) {
            Says::Yes
        } else {
            Says::Forbidden
        }
    }
}

// ---- Random worlds, and the real one in them. ----

fn some<T: Clone>(rng: &mut StdRng, all: &[T], most: usize) -> Vec<T> {
    let count = rng.random_range(0..=most);
    all.choose_multiple(rng, count).cloned().collect()
}

/// Of the installation's own, and one of each service.
fn custom_permissions() -> [AnyPermission; 4] {
    let named = |name| AnyPermission::parse(name).expect("a name");
    ["reports.daily", "reports.yearly", "s0:export", "s1:export"].map(named)
}

fn all_permissions() -> Vec<AnyPermission> {
    Permission::ALL.into_iter().map(AnyPermission::from).chain(custom_permissions()).collect()
}

fn world(rng: &mut StdRng) -> World {
    let declared = some(rng, &custom_permissions(), 4).into_iter().collect();
    let mut world = World { declared, ..World::default() };
    for number in 0..rng.random_range(1..14) {
        let sellers: Vec<_> = (0..number)
            .filter(|it: &usize| world.organizations[*it].kind != Kind::Customer)
            .collect();
        let above = sellers.choose(rng).copied();
        let kind = match above {
            None => Kind::Provider,
            Some(_) if rng.random_bool(0.5) => Kind::Reseller,
            Some(_) => Kind::Customer,
        };
        let holds = match kind {
            Kind::Customer => (0..2).filter(|_| rng.random_bool(0.5)).collect(),
            Kind::Provider | Kind::Reseller => BTreeSet::new(),
        };
        world.organizations.push(Organization { above, kind, given: BTreeSet::new(), holds });
    }
    for service in 0..2 {
        let mut roles = Vec::new();
        // A service's roles name permissions of Atrium and of the service.
        let mut all = all_permissions();
        all.truncate(Permission::ALL.len());
        all.extend(world.declared.iter().filter(|it| is_of(service, it)).cloned());
        for number in 0..rng.random_range(0..4) {
            let before: Vec<_> = (0..number).collect();
            roles.push((some(rng, &all, 3), some(rng, &before, 2)));
        }
        world.services.push(roles);
    }
    let long = rng.random_bool(0.2);
    for number in 0..rng.random_range(0..16) {
        let maker = if long { 0 } else { rng.random_range(0..world.organizations.len()) };
        let mut includes = some(rng, &all_roles(&world), 3);
        if long && number > 0 {
            // Longer chains than are followed.
            includes.push(R::Custom(number - 1));
        }
        let (ended, has) = (rng.random_bool(0.1), some(rng, &all_permissions(), 4));
        world.customs.push(Custom { maker, ended: ended && !long, has, includes });
    }
    for role in 0..world.customs.len() {
        for organization in 0..world.organizations.len() {
            if rng.random_bool(0.8) {
                world.organizations[organization].given.insert(role);
            }
            // And taken away again.
            if rng.random_bool(0.15) {
                world.organizations[organization].given.remove(&role);
            }
        }
    }
    world
}

fn all_roles(world: &World) -> Vec<R> {
    let defaults = DefaultRole::ALL.into_iter().map(R::Default);
    let customs = (0..world.customs.len()).map(R::Custom);
    let of_services = world.services.iter().enumerate();
    let of_services = of_services
        .flat_map(|(service, roles)| (0..roles.len()).map(move |it| R::OfService(service, it)));
    defaults.chain(customs).chain(of_services).collect()
}

fn id(number: usize) -> Uuid {
    Uuid::from_u128(number as u128 + 1)
}

fn service(number: usize) -> ServiceKey {
    ServiceKey::parse(&format!("s{number}")).expect("a key")
}

fn key(number: usize) -> RoleKey {
    RoleKey::parse(&format!("r{number}")).expect("a key")
}

fn named(role: R) -> RoleRef {
    match role {
        R::Default(role) => RoleRef::Default(role),
        R::Custom(number) => RoleRef::Custom(RoleId(id(number))),
        R::OfService(of, number) => RoleRef::OfService(service(of), key(number)),
    }
}

fn lineage(world: &World, organization: usize) -> Vec<usize> {
    let mut all: Vec<_> =
        std::iter::successors(Some(organization), |it| world.organizations[*it].above).collect();
    all.reverse();
    all
}

fn path(world: &World, organization: usize) -> TenantPath {
    let below = lineage(world, organization).into_iter().skip(1);
    below.fold(TenantPath::provider(), |path, it| path.child(u32::try_from(it).expect("few") + 1))
}

fn is_of(number: usize, permission: &AnyPermission) -> bool {
    matches!(permission, AnyPermission::OfService(of, _) if *of == service(number))
}

/// What the real one makes of somebody's roles, asked as the unit and the gate ask it.
fn authority(world: &World, own: usize, roles: &[R]) -> Authority {
    let place = |it: usize| Place {
        id: OrganizationId(id(it)),
        kind: world.organizations[it].kind,
        given: world.organizations[it].given.iter().map(|it| RoleId(id(*it))).collect(),
    };
    let places = lineage(world, own).into_iter().map(place).collect();
    let mut known = Known::new(path(world, own), places);
    let roles: Vec<_> = roles.iter().map(|role| named(*role)).collect();
    loop {
        let needs = match known.authority(&roles, Begin::Given) {
            Ok(authority) => return authority,
            Err(needs) => needs,
        };
        for (number, custom) in world.customs.iter().enumerate() {
            if needs.roles.contains(&RoleId(id(number))) {
                let content = RoleContent {
                    includes: custom.includes.iter().map(|it| named(*it)).collect(),
                    permissions: custom.has.iter().cloned().collect(),
                    ..RoleContent::default()
                };
                let made = Made { organization: OrganizationId(id(custom.maker)), content };
                known.add_role(RoleId(id(number)), (!custom.ended).then(|| Arc::new(made)));
            }
        }
        for (number, roles) in world.services.iter().enumerate() {
            let roles = roles.iter().enumerate().map(|(place, (has, includes))| ServiceRole {
                includes: includes.iter().map(|it| key(*it)).collect(),
                key: key(place),
                name: String::new(),
                permissions: has.iter().cloned().collect(),
            });
            let declared = world.declared.iter().filter(|it| is_of(number, it)).map(|_| {
                let key = PermissionKey::parse("export").expect("a key");
                ServicePermission { key, name: String::new() }
            });
            let (roles, declared): (Vec<_>, Vec<_>) = (roles.collect(), declared.collect());
            known.add_service(service(number), &roles, &declared);
        }
        for key in needs.permissions {
            let is_declared = world.declared.contains(&AnyPermission::Declared(key.clone()));
            known.add_permission(key, is_declared);
        }
    }
}

#[test]
fn the_naive_authoriser_agrees_with_the_real_one() {
    let mut said = [0; 3];
    let permissions = all_permissions();
    for seed in 0..WORLDS {
        let mut rng = StdRng::seed_from_u64(seed);
        let world = world(&mut rng);
        let organizations: Vec<_> = (0..world.organizations.len()).collect();
        for _ in 0..TRIPLES_OF_WORLD {
            let own = *organizations.choose(&mut rng).expect("there is a provider");
            let roles = some(&mut rng, &all_roles(&world), 3);
            let target = *organizations.choose(&mut rng).expect("there is a provider");
            let permission = permissions.choose(&mut rng).expect("there are some");
            let expected = world.says(own, &roles, (permission, target));
            let authority = authority(&world, own, &roles);
            let holds = &world.organizations[target].holds;
            let held = |asked: &ServiceKey| holds.iter().any(|it| service(*it) == *asked);
            let target_path = path(&world, target);
            let found = match authority.permit(permission.clone(), &target_path, held) {
                Ok(()) => Says::Yes,
                Err(refusal) if refusal.reason == Reason::NotFound => Says::NotFound,
                Err(_) => Says::Forbidden,
            };
            let place = || format!("seed {seed}: {own} with {roles:?}, {permission:?} at {target}");
            assert_eq!(found, expected, "{}\n{world:#?}", place());
            // The same by the other questions that are asked of it.
            if expected != Says::NotFound {
                let may = authority.may(permission, held);
                assert_eq!(may, expected == Says::Yes, "{}", place());
                let ways = authority.ways(permission);
                let acts = ways.iter().any(|way| way.service.as_ref().is_none_or(held));
                assert_eq!(acts, expected == Says::Yes, "{}", place());
            }
            said[expected as usize] += 1;
        }
    }
    assert!(said.iter().sum::<usize>() >= 100_000);
    // None of the answers is a rarity.
    assert!(said.iter().all(|count| *count > 5_000), "{said:?}");
}
