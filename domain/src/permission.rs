//! What somebody may do, one thing at a time.

use std::cmp::Ordering;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::decider::Decider;
use crate::{PermissionKey, Refusal, ServiceKey};

/// One thing that somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// See organisations.
    ViewOrganizations,
    /// Create, edit, disable and enable resellers below.
    ManageResellers,
    /// Create, edit, disable and enable customers below.
    ManageCustomers,
    /// See users.
    ViewUsers,
    /// Create, edit, disable and enable users, and give them roles.
    ManageUsers,
    /// Act as a user of an organisation below.
    ImpersonateUsers,
    /// See roles.
    ViewRoles,
    /// Make, edit and delete roles; give them to organisations below, and take them away.
    ManageRoles,
    /// Declare permissions of the installation's own: the provider's.
    DeclarePermissions,
    /// See services and their plans.
    ViewServices,
    /// Draft and publish services: the provider's.
    PublishServices,
    /// Offer services to those below, and withdraw offers.
    OfferServices,
    /// See who has what.
    ViewSubscriptions,
    /// Provision to customers.
    AssignToCustomers,
    /// Change what customers hold.
    ChangeOfCustomers,
    /// Deprovision what customers hold.
    RemoveFromCustomers,
    /// Provision to users.
    AssignToUsers,
    /// Change what users hold.
    ChangeOfUsers,
    /// Deprovision what users hold.
    RemoveFromUsers,
    /// Say who is asked before services are provisioned, changed and taken away.
    SetApprovals,
    /// Suspend and resume what customers and users hold.
    SuspendSubscriptions,
    /// Report what comes of requests.
    ReportRequests,
    /// Override plan properties.
    OverrideProperties,
    /// Override prices.
    OverridePrices,
    /// Record what was used.
    RecordUsage,
    /// See bills and the ledger.
    ViewBilling,
    /// Say how a seller bills.
    ManageBilling,
    /// Close billing periods.
    ClosePeriods,
    /// Charge and give back by hand.
    AdjustBilling,
    /// Say that something happened at another moment than was recorded.
    SupersedeFacts,
    /// See the raw events.
    ViewEvents,
    /// Hold API tokens.
    HoldTokens,
}

impl Permission {
    /// Every permission that Atrium itself asks for.
    pub const ALL: [Self; 32] = [
        Self::ViewOrganizations,
        Self::ManageResellers,
        Self::ManageCustomers,
        Self::ViewUsers,
        Self::ManageUsers,
        Self::ImpersonateUsers,
        Self::ViewRoles,
        Self::ManageRoles,
        Self::DeclarePermissions,
        Self::ViewServices,
        Self::PublishServices,
        Self::OfferServices,
        Self::ViewSubscriptions,
        Self::AssignToCustomers,
        Self::ChangeOfCustomers,
        Self::RemoveFromCustomers,
        Self::AssignToUsers,
        Self::ChangeOfUsers,
        Self::RemoveFromUsers,
        Self::SetApprovals,
        Self::SuspendSubscriptions,
        Self::ReportRequests,
        Self::OverrideProperties,
        Self::OverridePrices,
        Self::RecordUsage,
        Self::ViewBilling,
        Self::ManageBilling,
        Self::ClosePeriods,
        Self::AdjustBilling,
        Self::SupersedeFacts,
        Self::ViewEvents,
        Self::HoldTokens,
    ];

    /// As it is called in answers and stored in roles, so never renamed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ViewOrganizations => "organizations.view",
            Self::ManageResellers => "resellers.manage",
            Self::ManageCustomers => "customers.manage",
            Self::ViewUsers => "users.view",
            Self::ManageUsers => "users.manage",
            Self::ImpersonateUsers => "users.impersonate",
            Self::ViewRoles => "roles.view",
            Self::ManageRoles => "roles.manage",
            Self::DeclarePermissions => "permissions.declare",
            Self::ViewServices => "services.view",
            Self::PublishServices => "services.publish",
            Self::OfferServices => "services.offer",
            Self::ViewSubscriptions => "subscriptions.view",
            Self::AssignToCustomers => "subscriptions.assign_to_customers",
            Self::ChangeOfCustomers => "subscriptions.change_of_customers",
            Self::RemoveFromCustomers => "subscriptions.remove_from_customers",
            Self::AssignToUsers => "subscriptions.assign_to_users",
            Self::ChangeOfUsers => "subscriptions.change_of_users",
            Self::RemoveFromUsers => "subscriptions.remove_from_users",
            Self::SetApprovals => "approvals.set",
            Self::SuspendSubscriptions => "subscriptions.suspend",
            Self::ReportRequests => "requests.report",
            Self::OverrideProperties => "overrides.set_properties",
            Self::OverridePrices => "overrides.set_prices",
            Self::RecordUsage => "usage.record",
            Self::ViewBilling => "billing.view",
            Self::ManageBilling => "billing.manage",
            Self::ClosePeriods => "billing.close",
            Self::AdjustBilling => "billing.adjust",
            Self::SupersedeFacts => "billing.supersede",
            Self::ViewEvents => "events.view",
            Self::HoldTokens => "tokens.hold",
        }
    }

    /// What it lets somebody do, for people who put roles together.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::ViewOrganizations => "See organisations.",
            Self::ManageResellers => "Create, edit, disable and enable resellers below.",
            Self::ManageCustomers => "Create, edit, disable and enable customers below.",
            Self::ViewUsers => "See users.",
            Self::ManageUsers => "Create, edit, disable and enable users, and give them roles.",
            Self::ImpersonateUsers => "Act as a user of an organisation below.",
            Self::ViewRoles => "See roles and permissions.",
            Self::ManageRoles => {
                "Make, edit and delete roles; give them to organisations below and take them away."
            }
            Self::DeclarePermissions => "Declare permissions of the installation's own.",
            Self::ViewServices => "See services and their plans.",
            Self::PublishServices => "Draft and publish services.",
            Self::OfferServices => "Offer services to those below, and withdraw offers.",
            Self::ViewSubscriptions => "See who has what.",
            Self::AssignToCustomers => "Provision services to customers.",
            Self::ChangeOfCustomers => "Change what customers hold.",
            Self::RemoveFromCustomers => "Deprovision what customers hold.",
            Self::AssignToUsers => "Provision services to users.",
            Self::ChangeOfUsers => "Change what users hold.",
            Self::RemoveFromUsers => "Deprovision what users hold.",
            Self::SetApprovals => {
                "Say who is asked before services are provisioned, changed and taken away."
            }
            Self::SuspendSubscriptions => "Suspend and resume what customers and users hold.",
            Self::ReportRequests => {
                "Report what comes of requests: that work has begun, is done, or failed."
            }
            Self::OverrideProperties => "Override plan properties.",
            Self::OverridePrices => "Override prices.",
            Self::RecordUsage => "Record what was used",
            Self::ViewBilling => "See bills and the ledger.",
            Self::ManageBilling => "Say how a seller bills.",
            Self::ClosePeriods => {
                "Ask to close a seller's billing periods, and approve what others ask."
            }
            Self::AdjustBilling => "Charge customers and resellers once, or give back, by hand.",
            Self::SupersedeFacts => {
                "Say that something happened at another moment than was recorded."
            }
            Self::ViewEvents => "See the raw events.",
            Self::HoldTokens => "Hold API tokens.",
        }
    }
}

/// By name, so that a stored set of them stays in its order whatever is added to this list.
impl Ord for Permission {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name().cmp(other.name())
    }
}

impl PartialOrd for Permission {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a role can hold: one of Atrium's own permissions, or a custom one, which pages and programs ask for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AnyPermission {
    /// One that Atrium itself asks for.
    Known(Permission),
    /// One that the provider declared.
    Declared(PermissionKey),
    /// One that a service's definition declares.
    OfService(ServiceKey, PermissionKey),
}

impl AnyPermission {
    /// The permission of that name: `users.view`, `reports.monthly`, or `crm:export` of the service `crm`.
    /// Whether anybody has declared it is another question.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(known) = Permission::ALL.into_iter().find(|known| known.name() == name) {
            return Some(Self::Known(known));
        }
        match name.split_once(':') {
            None => PermissionKey::parse(name).map(Self::Declared),
            Some((service, key)) => {
                Some(Self::OfService(ServiceKey::parse(service)?, PermissionKey::parse(key)?))
            }
        }
    }
}

impl From<Permission> for AnyPermission {
    fn from(permission: Permission) -> Self {
        Self::Known(permission)
    }
}

impl fmt::Display for AnyPermission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(permission) => f.write_str(permission.name()),
            Self::Declared(key) => key.fmt(f),
            Self::OfService(service, key) => write!(f, "{service}:{key}"),
        }
    }
}

impl Serialize for AnyPermission {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AnyPermission {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&name).ok_or_else(|| serde::de::Error::custom("this names no permission"))
    }
}

/// A wish about a permission of the installation's own.
#[derive(Clone, Debug)]
pub enum PermissionCommand {
    /// Declare it, or describe it anew.
    Declare(Declaration),
    /// Withdraw it: nobody holds it any more.
    Withdraw,
}

/// What a custom permission is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Declaration {
    /// What it lets somebody do.
    pub description: String,
    /// Names it; never changes.
    pub key: PermissionKey,
    /// As people read it.
    pub name: String,
}

/// A fact about a permission of the installation's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum PermissionEvent {
    /// It was declared, or described anew.
    #[serde(rename = "permission.declared")]
    Declared {
        /// As it is now.
        declaration: Declaration,
    },
    /// It was withdrawn: whatever roles name it, nobody holds it until it is declared again.
    #[serde(rename = "permission.withdrawn")]
    Withdrawn {},
}

/// A permission of the installation's own, as its stream tells.
#[derive(Clone, Debug, Default)]
pub struct CustomPermission {
    /// None: nobody has declared it, or it was withdrawn.
    pub declaration: Option<Declaration>,
}

impl Decider for CustomPermission {
    const CATEGORY: &'static str = "permission";
    type Command = PermissionCommand;
    type Event = PermissionEvent;

    fn decide(
        &self,
        command: Self::Command,
        _effective_at: DateTime<Utc>,
    ) -> Result<Vec<Self::Event>, Refusal> {
        match (&self.declaration, command) {
            (Some(known), PermissionCommand::Declare(declaration)) if *known == declaration => {
                Ok(vec![])
            }
            (_, PermissionCommand::Declare(declaration)) => {
                Ok(vec![PermissionEvent::Declared { declaration }])
            }
            (Some(_), PermissionCommand::Withdraw) => Ok(vec![PermissionEvent::Withdrawn {}]),
            (None, PermissionCommand::Withdraw) => Err(Refusal::not_found()),
        }
    }

    fn evolve(self, event: &Self::Event, _effective_at: DateTime<Utc>) -> Self {
        match event {
            PermissionEvent::Declared { declaration } => {
                Self { declaration: Some(declaration.clone()) }
            }
            PermissionEvent::Withdrawn {} => Self { declaration: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decider::testing::given;

    #[test]
    fn a_permission_is_found_by_its_name_and_nothing_else_is_one() {
        for known in Permission::ALL {
            assert_eq!(AnyPermission::parse(known.name()), Some(AnyPermission::Known(known)));
        }
        for custom in ["reports.monthly", "crm:export", "users.forget"] {
            let permission = AnyPermission::parse(custom).unwrap();
            assert!(!matches!(permission, AnyPermission::Known(_)));
            assert_eq!(permission.to_string(), custom);
            let json = serde_json::to_string(&permission).unwrap();
            assert_eq!(serde_json::from_str::<AnyPermission>(&json).unwrap(), permission);
        }
        for bad in ["", "a b", ":", "crm:", ":export", "a:b:c"] {
            assert_eq!(AnyPermission::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_permission_is_declared_once_and_described_anew() {
        let declaration = |name: &str| Declaration {
            description: String::new(),
            key: PermissionKey::parse("reports.monthly").unwrap(),
            name: name.to_owned(),
        };
        let declared = |name| PermissionEvent::Declared { declaration: declaration(name) };
        let declare = |name| PermissionCommand::Declare(declaration(name));
        given::<CustomPermission>([]).when(1, declare("Reports")).then([declared("Reports")]);
        let reports = || given::<CustomPermission>([(1, declared("Reports"))]);
        reports().when(2, declare("Reports")).then_nothing();
        reports().when(2, declare("Monthly")).then([declared("Monthly")]);
    }

    #[test]
    fn a_permission_that_was_withdrawn_is_not_there_until_it_is_declared_again() {
        let declaration = Declaration {
            description: String::new(),
            key: PermissionKey::parse("reports.monthly").unwrap(),
            name: "Reports".to_owned(),
        };
        let declared = (1, PermissionEvent::Declared { declaration: declaration.clone() });
        let withdrawn = (2, PermissionEvent::Withdrawn {});
        let gone = || given::<CustomPermission>([declared.clone(), withdrawn.clone()]);
        given::<CustomPermission>([declared.clone()])
            .when(2, PermissionCommand::Withdraw)
            .then([withdrawn.1.clone()]);
        given::<CustomPermission>([])
            .when(2, PermissionCommand::Withdraw)
            .then_refused("not_found");
        gone().when(3, PermissionCommand::Withdraw).then_refused("not_found");
        gone().when(3, PermissionCommand::Declare(declaration)).then([declared.1.clone()]);
    }
}
