//! Typed ids. A customer's id cannot be passed where a user's is wanted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Declares one id type over a UUID.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// A provider, reseller or customer.
    OrganizationId
);
uuid_id!(
    /// A person who belongs to one organisation.
    UserId
);
uuid_id!(
    /// A service held by one holder; its *slot* (billing.md, section 2).
    SubscriptionId
);
uuid_id!(
    /// An API token or a session, as people see it. Not the secret.
    TokenId
);
uuid_id!(
    /// One command, and the request that it may have started.
    CommandId
);
uuid_id!(
    /// A role that an organisation made.
    RoleId
);

uuid_id!(
    /// Something that was charged or given back by hand.
    AdjustmentId
);
uuid_id!(
    /// Somebody who is stored sealed: a user, or whom an organisation names as its contact.
    SubjectId
);

impl From<UserId> for SubjectId {
    fn from(user: UserId) -> Self {
        Self(user.0)
    }
}

impl From<OrganizationId> for SubjectId {
    fn from(contact_of: OrganizationId) -> Self {
        Self(contact_of.0)
    }
}

impl SubscriptionId {
    /// So many characters of a slot's id, written as text, are those of its holder's id.
    pub const OF_HOLDER: usize = 14;

    /// The slot of the account of a customer or a reseller: of what it is charged or given back for nothing that is held.
    #[must_use]
    pub fn of_account(buyer: OrganizationId) -> Self {
        Self::of_slot(buyer.0, &ServiceKey::account(), None)
    }

    /// The slot's id: the same holder, service and instance name always give the same id, so that
    /// "a second wish for the same thing" is found without a look-up.
    ///
    /// A UUIDv8 (RFC 9562, section 5.8): the holder's first 48 bits (its time of creation), so that
    /// a holder's slots are neighbours in an index, then bits of SHA-256 over the slot's name.
    #[must_use]
    pub fn of_slot(holder: Uuid, service: &ServiceKey, instance: Option<&str>) -> Self {
        let mut hash = Sha256::new();
        hash.update(holder.as_bytes());
        hash.update([0]);
        hash.update(service.as_str().as_bytes());
        if let Some(instance) = instance {
            hash.update([0]);
            hash.update(instance.as_bytes());
        }
        let digest = hash.finalize();
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&holder.as_bytes()[..6]);
        bytes[6..].copy_from_slice(&digest[..10]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }
}

/// Declares one key type over a short text.
macro_rules! text_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Longest key, in characters.
            pub const MAX_CHARS: usize = 64;

            /// The key, if `text` is one: ASCII letters, digits, `-`, `_` and `.`, beginning with a
            /// letter or digit.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
                (text.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && text.chars().all(allowed)
                    && text.len() <= Self::MAX_CHARS)
                    .then(|| Self(text.to_owned()))
            }

            /// The key as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_key!(
    /// Names a service; never changes.
    ServiceKey
);
text_key!(
    /// Names a plan within its service; never changes (its SKU may).
    PlanKey
);
impl ServiceKey {
    /// Stands for a customer's account where a service is named: no service is called that, and all come before it.
    #[must_use]
    pub fn account() -> Self {
        Self("~account".to_owned())
    }
}

impl PlanKey {
    /// Stands for what is charged to an account where a plan is named: no plan is called that.
    #[must_use]
    pub fn adjustment() -> Self {
        Self("~adjustment".to_owned())
    }
}

text_key!(
    /// Names a property within its service.
    PropertyKey
);
text_key!(
    /// Names a meter within its service.
    MeterKey
);
text_key!(
    /// Names a role within its service.
    RoleKey
);
text_key!(
    /// Names a billable rule of a seller.
    RuleKey
);
text_key!(
    /// Names a way in which something is taxed.
    TaxCategory
);
text_key!(
    /// Names a custom permission, within its service where it is one of a service.
    PermissionKey
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_has_one_id_and_other_slots_have_others() {
        let holder = Uuid::from_u128(0x0192_3456_789a_7000_8000_0000_0000_0001);
        let crm = ServiceKey::parse("crm").expect("a key");
        let production = SubscriptionId::of_slot(holder, &crm, Some("production"));
        assert_eq!(production, SubscriptionId::of_slot(holder, &crm, Some("production")));
        assert_ne!(production, SubscriptionId::of_slot(holder, &crm, Some("staging")));
        assert_ne!(production, SubscriptionId::of_slot(holder, &crm, None));
        assert_eq!(production.0.get_version_num(), 8);
        let shared = ..SubscriptionId::OF_HOLDER;
        assert_eq!(production.to_string()[shared], holder.to_string()[shared]);
    }

    #[test]
    fn nothing_that_is_sold_is_called_as_accounts_are() {
        assert!(ServiceKey::parse(ServiceKey::account().as_str()).is_none());
        assert!(PlanKey::parse(PlanKey::adjustment().as_str()).is_none());
    }

    #[test]
    fn a_key_is_short_and_plain() {
        assert!(ServiceKey::parse("backup-2.x_y").is_some());
        for bad in ["", "-a", "a b", "ä", "a/b", &"x".repeat(65)] {
            assert!(ServiceKey::parse(bad).is_none(), "{bad}");
        }
    }
}
