//! Who may do what. A role is a set of permissions; it acts on its holder's organisation and all
//! below it.

use serde::{Deserialize, Serialize};

use crate::Refusal;
use crate::TenantPath;
use crate::organization::Kind;

/// One thing that somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    /// See organisations.
    ViewOrganizations,
    /// Create, edit, disable and enable resellers below.
    ManageResellers,
    /// Create, edit, disable and enable customers below.
    ManageCustomers,
    /// See users.
    ViewUsers,
    /// Create, edit, disable and enable users.
    ManageUsers,
    /// See services and their plans.
    ViewServices,
    /// Draft and publish services: the provider's.
    PublishServices,
    /// Offer services to those below, and withdraw offers.
    OfferServices,
    /// See who has what.
    ViewSubscriptions,
    /// Provision, change and deprovision what customers hold.
    ProvisionToCustomers,
    /// Provision, change and deprovision what users hold.
    ProvisionToUsers,
    /// Override plan properties.
    OverrideProperties,
    /// Override prices.
    OverridePrices,
    /// See bills and the ledger.
    ViewBilling,
    /// See the raw events.
    ViewEvents,
    /// Hold API tokens.
    HoldTokens,
}

impl Permission {
    /// As it is called in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ViewOrganizations => "organizations.view",
            Self::ManageResellers => "resellers.manage",
            Self::ManageCustomers => "customers.manage",
            Self::ViewUsers => "users.view",
            Self::ManageUsers => "users.manage",
            Self::ViewServices => "services.view",
            Self::PublishServices => "services.publish",
            Self::OfferServices => "services.offer",
            Self::ViewSubscriptions => "subscriptions.view",
            Self::ProvisionToCustomers => "subscriptions.provision_to_customers",
            Self::ProvisionToUsers => "subscriptions.provision_to_users",
            Self::OverrideProperties => "overrides.set_properties",
            Self::OverridePrices => "overrides.set_prices",
            Self::ViewBilling => "billing.view",
            Self::ViewEvents => "events.view",
            Self::HoldTokens => "tokens.hold",
        }
    }
}

/// A named set of permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// Everything at the provider.
    #[serde(rename = "Provider Administrator")]
    ProviderAdministrator,
    /// Everything that a reseller does for his customers.
    #[serde(rename = "Reseller Administrator")]
    ResellerAdministrator,
    /// A customer's own users and what they hold.
    #[serde(rename = "Customer Administrator")]
    CustomerAdministrator,
    /// May hold API tokens.
    #[serde(rename = "Service Provider Developer")]
    ServiceProviderDeveloper,
}

impl Role {
    /// Every role there is.
    pub const ALL: [Self; 4] = [
        Self::ProviderAdministrator,
        Self::ResellerAdministrator,
        Self::CustomerAdministrator,
        Self::ServiceProviderDeveloper,
    ];

    /// As people and programs write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ProviderAdministrator => "Provider Administrator",
            Self::ResellerAdministrator => "Reseller Administrator",
            Self::CustomerAdministrator => "Customer Administrator",
            Self::ServiceProviderDeveloper => "Service Provider Developer",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// What its holder may do.
    #[must_use]
    pub fn permissions(self) -> &'static [Permission] {
        use Permission as P;
        match self {
            Self::ProviderAdministrator => &[
                P::ViewOrganizations,
                P::ManageResellers,
                P::ManageCustomers,
                P::ViewUsers,
                P::ManageUsers,
                P::ViewServices,
                P::PublishServices,
                P::OfferServices,
                P::ViewSubscriptions,
                P::ProvisionToCustomers,
                P::ProvisionToUsers,
                P::OverrideProperties,
                P::OverridePrices,
                P::ViewBilling,
                P::ViewEvents,
                P::HoldTokens,
            ],
            Self::ResellerAdministrator => &[
                P::ViewOrganizations,
                P::ManageResellers,
                P::ManageCustomers,
                P::ViewUsers,
                P::ManageUsers,
                P::ViewServices,
                P::OfferServices,
                P::ViewSubscriptions,
                P::ProvisionToCustomers,
                P::ProvisionToUsers,
                P::OverrideProperties,
                P::OverridePrices,
                P::ViewBilling,
                P::ViewEvents,
            ],
            Self::CustomerAdministrator => &[
                P::ViewOrganizations,
                P::ViewUsers,
                P::ManageUsers,
                P::ViewServices,
                P::ViewSubscriptions,
                P::ProvisionToUsers,
                P::ViewBilling,
                P::ViewEvents,
            ],
            Self::ServiceProviderDeveloper => &[P::HoldTokens],
        }
    }

    /// Whether somebody of such an organisation can have the role.
    #[must_use]
    pub fn fits(self, kind: Kind) -> bool {
        match self {
            Self::ProviderAdministrator => kind == Kind::Provider,
            Self::ResellerAdministrator => kind == Kind::Reseller,
            Self::CustomerAdministrator => kind == Kind::Customer,
            Self::ServiceProviderDeveloper => true,
        }
    }
}

/// What somebody holds, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The organisation that he belongs to: his scope is it and all below.
    pub path: TenantPath,
    /// His roles.
    pub roles: Vec<Role>,
}

impl Authority {
    /// Whether one of the roles has it, wherever that may be.
    #[must_use]
    pub fn holds(&self, permission: Permission) -> bool {
        self.roles.iter().any(|role| role.permissions().contains(&permission))
    }

    /// Lets it pass, or says why not.
    ///
    /// # Errors
    /// Not found where `target` is out of scope (it does not exist for this caller); forbidden where
    /// it is in scope and no role has the permission.
    pub fn permit(&self, permission: Permission, target: &TenantPath) -> Result<(), Refusal> {
        if !self.path.contains(target) {
            return Err(Refusal::not_found());
        }
        self.require(permission)
    }

    /// Lets it pass wherever the target is: for what belongs to no tenant, such as a service.
    ///
    /// # Errors
    /// Forbidden where no role has the permission.
    pub fn require(&self, permission: Permission) -> Result<(), Refusal> {
        if self.holds(permission) { Ok(()) } else { Err(Refusal::forbidden(permission.name())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;

    #[test]
    fn outside_the_scope_is_not_found_and_inside_without_the_role_is_forbidden() {
        let reseller = TenantPath::provider().child(2);
        let admin = Authority { path: reseller.clone(), roles: vec![Role::ResellerAdministrator] };
        let customer = reseller.child(30);
        assert_eq!(admin.permit(Permission::ManageUsers, &customer), Ok(()));
        let outside = TenantPath::provider().child(3);
        for permission in [Permission::ManageUsers, Permission::PublishServices] {
            let refused = admin.permit(permission, &outside).unwrap_err();
            assert_eq!(refused.reason, Reason::NotFound);
        }
        let refused = admin.permit(Permission::PublishServices, &customer).unwrap_err();
        assert_eq!(refused.reason, Reason::Forbidden);
        assert!(refused.detail.contains("services.publish"));
    }

    #[test]
    fn a_role_is_for_its_kind_of_organisation_and_a_developer_s_for_every_kind() {
        let kinds = [Kind::Provider, Kind::Reseller, Kind::Customer];
        let fits = |role: Role| kinds.map(|kind| role.fits(kind));
        assert_eq!(fits(Role::ProviderAdministrator), [true, false, false]);
        assert_eq!(fits(Role::ResellerAdministrator), [false, true, false]);
        assert_eq!(fits(Role::CustomerAdministrator), [false, false, true]);
        assert_eq!(fits(Role::ServiceProviderDeveloper), [true, true, true]);
    }

    #[test]
    fn nobody_holds_what_those_above_him_do_not() {
        let of = |role: Role| role.permissions();
        assert!(of(Role::CustomerAdministrator).contains(&Permission::ManageUsers));
        for (below, above) in [
            (Role::CustomerAdministrator, Role::ResellerAdministrator),
            (Role::ResellerAdministrator, Role::ProviderAdministrator),
            (Role::ServiceProviderDeveloper, Role::ProviderAdministrator),
        ] {
            assert!(of(below).iter().all(|permission| of(above).contains(permission)), "{below:?}");
            assert!(of(below).len() < of(above).len(), "{below:?}");
        }
    }

    #[test]
    fn several_roles_hold_what_each_of_them_holds() {
        let roles = vec![Role::CustomerAdministrator, Role::ServiceProviderDeveloper];
        let both = Authority { path: TenantPath::provider().child(30), roles };
        assert!(both.holds(Permission::ManageUsers) && both.holds(Permission::HoldTokens));
        assert!(!both.holds(Permission::PublishServices));
        assert_eq!(both.require(Permission::HoldTokens), Ok(()));
        let refused = both.require(Permission::OverridePrices).unwrap_err();
        assert_eq!(refused.reason, Reason::Forbidden);
        assert!(refused.detail.contains("overrides.set_prices"));
    }

    #[test]
    fn a_role_is_found_by_its_name() {
        for role in Role::ALL {
            assert_eq!(Role::named(role.name()), Some(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.name());
        }
        assert_eq!(Role::named("Root"), None);
    }
}
