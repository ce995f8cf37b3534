//! Roles: sets of permissions and of other roles, and what names them. Where they act is said in
//! [`crate::authority`].

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::decider::Decider;
use crate::organization::Kind;
use crate::permission::{AnyPermission, Permission};
use crate::{Faults, OrganizationId, PermissionKey, Refusal, RoleId, RoleKey, ServiceKey};

/// Most links of a chain of roles, the first one included; what lies deeper is not in force.
pub const DEPTH_MAX: usize = 8;
/// Most permissions that a role names itself.
pub const PERMISSIONS_MAX: usize = 200;
/// Most roles that a role includes itself.
pub const INCLUDES_MAX: usize = 50;
/// Most roles that an organisation makes.
pub const MADE_MAX: u32 = 200;
/// Most roles that an organisation is given.
pub const GIVEN_MAX: usize = 200;
/// Most roles of one service.
pub const OF_SERVICE_MAX: usize = 50;
/// Most permissions that one service declares.
pub const DECLARED_MAX: usize = 100;

/// A role that is part of the program: it cannot be edited, only copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DefaultRole {
    /// Everything at the provider.
    ProviderAdministrator,
    /// Everything that a reseller does for his customers.
    ResellerAdministrator,
    /// A customer's own users and what they hold.
    CustomerAdministrator,
    /// May hold API tokens.
    ServiceProviderDeveloper,
    /// Assigns services to users, and takes none away.
    L1HelpDesk,
    /// Does the work that requests ask for, or is the program that does, and reports what comes of it.
    ProvisioningEngineer,
}

impl DefaultRole {
    /// Every default role there is.
    pub const ALL: [Self; 6] = [
        Self::ProviderAdministrator,
        Self::ResellerAdministrator,
        Self::CustomerAdministrator,
        Self::ServiceProviderDeveloper,
        Self::L1HelpDesk,
        Self::ProvisioningEngineer,
    ];

    /// As people and programs write it. Stored in events, so never renamed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ProviderAdministrator => "Provider Administrator",
            Self::ResellerAdministrator => "Reseller Administrator",
            Self::CustomerAdministrator => "Customer Administrator",
            Self::ServiceProviderDeveloper => "Service Provider Developer",
            Self::L1HelpDesk => "L1 Help Desk",
            Self::ProvisioningEngineer => "Provisioning Engineer",
        }
    }

    /// What it is for.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::ProviderAdministrator => "Everything at the provider.",
            Self::ResellerAdministrator => "Everything that a reseller does for his customers.",
            Self::CustomerAdministrator => "A customer's own users and what they hold.",
            Self::ServiceProviderDeveloper => "May hold API tokens.",
            Self::L1HelpDesk => "Assigns services to users, and takes none away.",
            Self::ProvisioningEngineer => {
                "Does the work that requests ask for, and reports what comes of it."
            }
        }
    }

    /// What its holder may do. [`DefaultRole::ProviderAdministrator`] has every custom permission too.
    #[must_use]
    pub fn permissions(self) -> &'static [Permission] {
        use Permission as P;
        match self {
            Self::ProviderAdministrator => &Permission::ALL,
            Self::ResellerAdministrator => &[
                P::ViewOrganizations,
                P::ManageResellers,
                P::ManageCustomers,
                P::ViewUsers,
                P::ManageUsers,
                P::ImpersonateUsers,
                P::ViewRoles,
                P::ManageRoles,
                P::ViewServices,
                P::OfferServices,
                P::ViewSubscriptions,
                P::AssignToCustomers,
                P::ChangeOfCustomers,
                P::RemoveFromCustomers,
                P::AssignToUsers,
                P::ChangeOfUsers,
                P::RemoveFromUsers,
                P::SetApprovals,
                P::SuspendSubscriptions,
                P::OverrideProperties,
                P::OverridePrices,
                P::RecordUsage,
                P::ViewBilling,
                P::ManageBilling,
                P::ClosePeriods,
                P::AdjustBilling,
                P::SupersedeFacts,
                P::ViewEvents,
            ],
            Self::CustomerAdministrator => &[
                P::ViewOrganizations,
                P::ViewUsers,
                P::ManageUsers,
                P::ViewRoles,
                P::ManageRoles,
                P::ViewServices,
                P::ViewSubscriptions,
                P::AssignToUsers,
                P::ChangeOfUsers,
                P::RemoveFromUsers,
                P::SetApprovals,
                P::SuspendSubscriptions,
                P::ViewBilling,
                P::ViewEvents,
            ],
            Self::ServiceProviderDeveloper => &[P::HoldTokens],
            Self::L1HelpDesk => &[
                P::ViewOrganizations,
                P::ViewUsers,
                P::ViewRoles,
                P::ViewServices,
                P::ViewSubscriptions,
                P::AssignToUsers,
            ],
            Self::ProvisioningEngineer => &[
                P::ViewOrganizations,
                P::ViewUsers,
                P::ViewServices,
                P::ViewSubscriptions,
                P::ReportRequests,
            ],
        }
    }

    /// Whether it has a permission.
    #[must_use]
    pub fn has(self, permission: &AnyPermission) -> bool {
        match permission {
            AnyPermission::Known(known) => self.permissions().contains(known),
            AnyPermission::Declared(_) | AnyPermission::OfService(..) => {
                self == Self::ProviderAdministrator
            }
        }
    }

    /// Whether somebody of such an organisation can have the role.
    #[must_use]
    pub fn fits(self, kind: Kind) -> bool {
        match self {
            Self::ProviderAdministrator | Self::ProvisioningEngineer => kind == Kind::Provider,
            Self::ResellerAdministrator => kind == Kind::Reseller,
            Self::CustomerAdministrator => kind == Kind::Customer,
            Self::ServiceProviderDeveloper | Self::L1HelpDesk => true,
        }
    }

    /// Whether somebody of such an organisation, or of one below it, can have the role.
    #[must_use]
    pub fn fits_below(self, kind: Kind) -> bool {
        let below: &[Kind] = match kind {
            Kind::Provider => &[Kind::Provider, Kind::Reseller, Kind::Customer],
            Kind::Reseller => &[Kind::Reseller, Kind::Customer],
            Kind::Customer => &[Kind::Customer],
        };
        below.iter().any(|kind| self.fits(*kind))
    }
}

/// By name, so that a stored set of them stays in its order whatever is added to this list.
impl Ord for DefaultRole {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}

impl PartialOrd for DefaultRole {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What names a role, wherever it comes from. Stored in events as one text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RoleRef {
    /// Part of the program: its name.
    Default(DefaultRole),
    /// Made by an organisation: its id.
    Custom(RoleId),
    /// Brought by a service: `crm:agent`.
    OfService(ServiceKey, RoleKey),
}

impl RoleRef {
    /// The role that a text names; whether there is one is another question.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(role) = DefaultRole::ALL.into_iter().find(|role| role.name() == text) {
            return Some(Self::Default(role));
        }
        match text.split_once(':') {
            None => text.parse().ok().map(Self::Custom),
            Some((service, key)) => {
                Some(Self::OfService(ServiceKey::parse(service)?, RoleKey::parse(key)?))
            }
        }
    }
}

impl From<DefaultRole> for RoleRef {
    fn from(role: DefaultRole) -> Self {
        Self::Default(role)
    }
}

impl fmt::Display for RoleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default(role) => f.write_str(role.name()),
            Self::Custom(id) => id.fmt(f),
            Self::OfService(service, key) => write!(f, "{service}:{key}"),
        }
    }
}

impl Serialize for RoleRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RoleRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("this names no role"))
    }
}

/// What a role is: the part that can be edited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleContent {
    /// What it is for.
    pub description: String,
    /// Other roles that are a part of it.
    pub includes: BTreeSet<RoleRef>,
    /// As people read it.
    pub name: String,
    /// What its holder may do.
    pub permissions: BTreeSet<AnyPermission>,
}

/// A wish about a role that an organisation makes.
#[derive(Clone, Debug)]
pub enum RoleCommand {
    /// Make it.
    Create {
        /// The role it is a copy of, if it is one.
        copied_from: Option<RoleRef>,
        /// Its id.
        id: RoleId,
        /// Who makes it.
        organization: OrganizationId,
        /// What it is.
        content: RoleContent,
    },
    /// Change what it is.
    Edit(RoleContent),
    /// End it, for everybody who holds it.
    Delete,
}

/// A fact about a role that an organisation makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum RoleEvent {
    /// It was made.
    #[serde(rename = "role.created")]
    Created {
        /// What it is.
        content: RoleContent,
        /// The role it is a copy of, if it is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        copied_from: Option<RoleRef>,
        /// Its id.
        id: RoleId,
        /// Who made it.
        organization: OrganizationId,
    },
    /// What it is was changed.
    #[serde(rename = "role.edited")]
    Edited {
        /// All of it, as it is now.
        content: RoleContent,
        /// Who had made it.
        organization: OrganizationId,
    },
    /// It ended.
    #[serde(rename = "role.deleted")]
    Deleted {
        /// Who had made it.
        organization: OrganizationId,
    },
}

/// A role that an organisation made, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Who made it.
    pub organization: OrganizationId,
    /// What it is.
    pub content: RoleContent,
}

/// A custom role as its stream tells.
#[derive(Clone, Debug, Default)]
pub struct Role {
    is_begun: bool,
    made: Option<Made>,
}

impl Role {
    /// What it is.
    ///
    /// # Errors
    /// Not found where it was never made, or has ended.
    pub fn made(&self) -> Result<&Made, Refusal> {
        self.made.as_ref().ok_or_else(Refusal::not_found)
    }
}

impl Decider for Role {
    const CATEGORY: &'static str = "role";
    type Command = RoleCommand;
    type Event = RoleEvent;

    fn decide(
        &self,
        command: Self::Command,
        _effective_at: DateTime<Utc>,
    ) -> Result<Vec<Self::Event>, Refusal> {
        use RoleCommand as C;
        match (&self.made, command) {
            (None, C::Create { copied_from, id, organization, content }) if !self.is_begun => {
                Ok(vec![RoleEvent::Created { content, copied_from, id, organization }])
            }
            (_, C::Create { .. }) => {
                Err(Refusal::conflict("exists", "This role exists already, or did."))
            }
            (None, C::Edit(_) | C::Delete) => Err(Refusal::not_found()),
            (Some(made), C::Edit(content)) if made.content == content => Ok(vec![]),
            (Some(made), C::Edit(content)) => {
                Ok(vec![RoleEvent::Edited { content, organization: made.organization }])
            }
            (Some(made), C::Delete) => {
                Ok(vec![RoleEvent::Deleted { organization: made.organization }])
            }
        }
    }

    fn evolve(mut self, event: &Self::Event, _effective_at: DateTime<Utc>) -> Self {
        match event {
            RoleEvent::Created { content, copied_from: _, id: _, organization } => {
                self.is_begun = true;
                let organization = *organization;
                self.made = Some(Made { organization, content: content.clone() });
            }
            RoleEvent::Edited { content, organization: _ } => {
                if let Some(made) = &mut self.made {
                    made.content = content.clone();
                }
            }
            RoleEvent::Deleted { .. } => self.made = None,
        }
        self
    }
}

/// A role that a service brings: a part of its definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRole {
    /// Other roles of the same service that are a part of it.
    pub includes: BTreeSet<RoleKey>,
    /// Names it within its service; never changes.
    pub key: RoleKey,
    /// As people read it.
    pub name: String,
    /// What its holder may do where the service is held.
    pub permissions: BTreeSet<AnyPermission>,
}

/// A permission that a service declares: a part of its definition. It is called `crm:export`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePermission {
    /// Names it within its service; never changes.
    pub key: PermissionKey,
    /// As people read it.
    pub name: String,
}

/// Every reason not to publish a service with these roles and permissions.
pub(crate) fn check_of_service(
    service: &ServiceKey,
    roles: &[ServiceRole],
    permissions: &[ServicePermission],
    faults: &mut Faults,
) {
    let mut seen = BTreeSet::new();
    for (index, permission) in permissions.iter().enumerate() {
        faults.ensure(
            seen.insert(&permission.key),
            &format!("/permissions/{index}/key"),
            "duplicate",
            "Another permission has this key.",
        );
    }
    let mut seen = BTreeSet::new();
    for (index, role) in roles.iter().enumerate() {
        let at = format!("/roles/{index}");
        faults.ensure(
            seen.insert(&role.key),
            &format!("{at}/key"),
            "duplicate",
            "Another role has this key.",
        );
        for (place, permission) in role.permissions.iter().enumerate() {
            let is_known = match permission {
                AnyPermission::Known(_) => true,
                AnyPermission::Declared(_) => false,
                AnyPermission::OfService(of, key) => {
                    of == service && permissions.iter().any(|declared| declared.key == *key)
                }
            };
            faults.ensure(
                is_known,
                &format!("{at}/permissions/{place}"),
                "unknown_permission",
                &format!("{permission} is not one of Atrium's, nor of this very service."),
            );
        }
        for (place, include) in role.includes.iter().enumerate() {
            let at = format!("{at}/includes/{place}");
            let is_there = roles.iter().any(|other| other.key == *include);
            faults.ensure(is_there, &at, "unknown_role", "The service has no role of this key.");
            if is_there && leads_to(roles, include, &role.key) {
                faults.add(&at, "circle", "This role would be a part of itself.");
            }
        }
    }
}

/// How many links the longest chain has that a role with these includes begins; none where it would include
/// itself. `included_in` says what a role includes.
pub fn longest_chain(
    role: Option<RoleId>,
    includes: &BTreeSet<RoleRef>,
    mut included_in: impl FnMut(&RoleRef) -> BTreeSet<RoleRef>,
) -> Option<usize> {
    let (mut links, mut layer) = (1, includes.clone());
    while !layer.is_empty() && links <= DEPTH_MAX {
        if role.is_some_and(|role| layer.contains(&RoleRef::Custom(role))) {
            return None;
        }
        links += 1;
        layer = layer.iter().flat_map(&mut included_in).collect();
    }
    Some(links)
}

/// Whether a service's role is another one, or includes it.
fn leads_to(roles: &[ServiceRole], from: &RoleKey, to: &RoleKey) -> bool {
    let mut reached = BTreeSet::from([from]);
    let mut next = vec![from];
    while let Some(key) = next.pop() {
        if key == to {
            return true;
        }
        let role = roles.iter().find(|role| role.key == *key);
        for include in role.iter().flat_map(|role| &role.includes) {
            if reached.insert(include) {
                next.push(include);
            }
        }
    }
    false
}

#[cfg(test)]
pub(crate) mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::decider::testing::given;

    const ID: RoleId = RoleId(Uuid::from_u128(5));
    const MAKER: OrganizationId = OrganizationId(Uuid::from_u128(30));

    fn content(name: &str) -> RoleContent {
        RoleContent {
            name: name.to_owned(),
            includes: BTreeSet::from([
                DefaultRole::L1HelpDesk.into(),
                RoleRef::Custom(RoleId(Uuid::from_u128(6))),
                RoleRef::parse("crm:agent").unwrap(),
            ]),
            permissions: BTreeSet::from([
                Permission::ViewBilling.into(),
                AnyPermission::parse("reports.monthly").unwrap(),
            ]),
            ..RoleContent::default()
        }
    }

    fn created() -> (u32, RoleEvent) {
        let (content, copied_from) = (content("Clerk"), Some(DefaultRole::L1HelpDesk.into()));
        (1, RoleEvent::Created { content, copied_from, id: ID, organization: MAKER })
    }

    fn create() -> RoleCommand {
        let copied_from = Some(DefaultRole::L1HelpDesk.into());
        RoleCommand::Create { copied_from, id: ID, organization: MAKER, content: content("Clerk") }
    }

    #[test]
    fn every_default_role_says_what_it_is_for() {
        let said: BTreeSet<_> = DefaultRole::ALL.iter().map(|it| it.description()).collect();
        assert_eq!(said.len(), DefaultRole::ALL.len());
        assert!(said.iter().all(|text| text.ends_with('.')), "{said:?}");
    }

    #[test]
    fn a_role_is_made_once_even_after_its_end() {
        let deleted = (2, RoleEvent::Deleted { organization: MAKER });
        given::<Role>([]).when(1, create()).then([created().1]);
        given::<Role>([created()]).when(2, create()).then_refused("exists");
        given::<Role>([created(), deleted]).when(3, create()).then_refused("exists");
    }

    #[test]
    fn editing_without_a_difference_is_no_fact() {
        let edit = |name| RoleCommand::Edit(content(name));
        let edited = RoleEvent::Edited { content: content("Scribe"), organization: MAKER };
        given::<Role>([created()]).when(2, edit("Clerk")).then_nothing();
        given::<Role>([created()]).when(2, edit("Scribe")).then([edited.clone()]);
        given::<Role>([created(), (2, edited)]).when(3, edit("Scribe")).then_nothing();
    }

    #[test]
    fn a_role_that_ended_is_not_there() {
        let deleted = RoleEvent::Deleted { organization: MAKER };
        given::<Role>([created()]).when(2, RoleCommand::Delete).then([deleted.clone()]);
        for command in [RoleCommand::Delete, RoleCommand::Edit(content("Scribe"))] {
            given::<Role>([]).when(2, command.clone()).then_refused("not_found");
            given::<Role>([created(), (2, deleted.clone())])
                .when(3, command)
                .then_refused("not_found");
        }
        assert!(Role::default().made().is_err());
    }

    #[test]
    fn a_default_role_is_for_its_kind_of_organisation() {
        let kinds = [Kind::Provider, Kind::Reseller, Kind::Customer];
        let fits = |role: DefaultRole| kinds.map(|kind| role.fits(kind));
        assert_eq!(fits(DefaultRole::ProviderAdministrator), [true, false, false]);
        assert_eq!(fits(DefaultRole::ResellerAdministrator), [false, true, false]);
        assert_eq!(fits(DefaultRole::CustomerAdministrator), [false, false, true]);
        assert_eq!(fits(DefaultRole::ServiceProviderDeveloper), [true, true, true]);
        assert_eq!(fits(DefaultRole::L1HelpDesk), [true, true, true]);
        let below = |role: DefaultRole| kinds.map(|kind| role.fits_below(kind));
        assert_eq!(below(DefaultRole::ProviderAdministrator), [true, false, false]);
        assert_eq!(below(DefaultRole::ResellerAdministrator), [true, true, false]);
        assert_eq!(below(DefaultRole::CustomerAdministrator), [true, true, true]);
    }

    #[test]
    fn a_default_role_has_no_more_than_those_above_it() {
        use DefaultRole as D;
        let of = |role: D| role.permissions();
        assert!(of(D::CustomerAdministrator).contains(&Permission::ManageUsers));
        for (below, above) in [
            (D::CustomerAdministrator, D::ResellerAdministrator),
            (D::ResellerAdministrator, D::ProviderAdministrator),
            (D::ServiceProviderDeveloper, D::ProviderAdministrator),
            (D::L1HelpDesk, D::CustomerAdministrator),
        ] {
            assert!(of(below).iter().all(|permission| of(above).contains(permission)), "{below:?}");
            assert!(of(below).len() < of(above).len(), "{below:?}");
        }
    }

    #[test]
    fn the_help_desk_assigns_and_does_not_remove() {
        let has = |permission: Permission| DefaultRole::L1HelpDesk.has(&permission.into());
        assert!(has(Permission::AssignToUsers));
        assert!(!has(Permission::ChangeOfUsers) && !has(Permission::RemoveFromUsers));
        let custom = AnyPermission::parse("reports.monthly").unwrap();
        assert!(DefaultRole::ProviderAdministrator.has(&custom));
        assert!(!DefaultRole::ResellerAdministrator.has(&custom));
    }

    #[test]
    fn a_role_is_named_by_one_text() {
        for role in DefaultRole::ALL {
            assert_eq!(RoleRef::parse(role.name()), Some(RoleRef::Default(role)));
            assert_eq!(serde_json::to_value(RoleRef::Default(role)).unwrap(), role.name());
        }
        for text in ["crm:agent", "00000000-0000-0000-0000-000000000005"] {
            assert_eq!(RoleRef::parse(text).unwrap().to_string(), text);
        }
        for bad in ["Root", "", ":", "crm:", "customer administrator", "a:b:c"] {
            assert_eq!(RoleRef::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_chain_has_as_many_links_as_its_longest_branch_and_never_closes() {
        let custom = |number| RoleRef::Custom(RoleId(Uuid::from_u128(number)));
        // 1 includes 2 and 3, 2 includes 3, 3 includes 4.
        let included_in = |role: &RoleRef| match role {
            role if *role == custom(1) => BTreeSet::from([custom(2), custom(3)]),
            role if *role == custom(2) => BTreeSet::from([custom(3)]),
            role if *role == custom(3) => BTreeSet::from([custom(4)]),
            _ => BTreeSet::new(),
        };
        let longest = |role: Option<u128>, includes: &[u128]| {
            let includes = includes.iter().map(|it| custom(*it)).collect();
            longest_chain(role.map(|it| RoleId(Uuid::from_u128(it))), &includes, included_in)
        };
        assert_eq!(longest(None, &[]), Some(1));
        assert_eq!(longest(None, &[4]), Some(2));
        assert_eq!(longest(None, &[1, 4]), Some(5));
        assert_eq!(longest(Some(4), &[1]), None);
        assert_eq!(longest(Some(1), &[2]), Some(4));
        assert_eq!(longest(Some(1), &[1]), None);
        let endless = |_: &RoleRef| BTreeSet::from([custom(7)]);
        assert_eq!(longest_chain(None, &BTreeSet::from([custom(7)]), endless), Some(DEPTH_MAX + 1));
    }

    pub(crate) fn of_service(key: &str, permissions: &[&str], includes: &[&str]) -> ServiceRole {
        ServiceRole {
            includes: includes.iter().map(|key| RoleKey::parse(key).unwrap()).collect(),
            key: RoleKey::parse(key).unwrap(),
            name: key.to_owned(),
            permissions: permissions.iter().map(|it| AnyPermission::parse(it).unwrap()).collect(),
        }
    }

    #[test]
    fn every_fault_of_a_services_roles_is_told_at_once() {
        let crm = ServiceKey::parse("crm").unwrap();
        let export = ServicePermission {
            key: PermissionKey::parse("export").unwrap(),
            name: "Export".to_owned(),
        };
        let check = |roles: &[ServiceRole]| {
            let mut faults = Faults::default();
            check_of_service(&crm, roles, &[export.clone(), export.clone()], &mut faults);
            let told = faults.check().unwrap_err().faults;
            told.into_iter().map(|fault| format!("{} {}", fault.pointer, fault.code)).collect()
        };
        let told: Vec<String> = check(&[
            of_service("agent", &["users.view", "crm:export", "crm:no", "mail:x"], &["lead"]),
            of_service("lead", &["reports.monthly"], &["boss", "none"]),
            of_service("boss", &[], &["agent"]),
            of_service("boss", &[], &[]),
        ]);
        let expected = [
            "/permissions/1/key duplicate",
            "/roles/0/permissions/2 unknown_permission",
            "/roles/0/permissions/3 unknown_permission",
            "/roles/0/includes/0 circle",
            "/roles/1/permissions/0 unknown_permission",
            "/roles/1/includes/0 circle",
            "/roles/1/includes/1 unknown_role",
            "/roles/2/includes/0 circle",
            "/roles/3/key duplicate",
        ];
        assert_eq!(told, expected);
    }
}
