//! Who plays in the demo.

use anyhow::{Result, anyhow};
use commands::usecase::installation::Install;
use domain::billing::BillingSettings;
use domain::text::Address;
use domain::user::{Person, Proof};

use super::ADMINISTRATOR;

/// A reseller; each is below the one before it.
pub(super) struct Reseller {
    pub(super) name: &'static str,
    pub(super) domain: &'static str,
    pub(super) administrator: (&'static str, &'static str),
}

pub(super) const RESELLERS: [Reseller; 2] = [
    Reseller {
        name: "Contoso Channel Partners",
        domain: "contoso.example",
        administrator: ("Ruth", "Keller"),
    },
    Reseller {
        name: "Fabrikam Regional IT",
        domain: "fabrikam.example",
        administrator: ("Jonas", "Brandt"),
    },
];

/// A customer.
pub(super) struct Cast {
    pub(super) name: &'static str,
    pub(super) domain: &'static str,
}

const fn customer(name: &'static str, domain: &'static str) -> Cast {
    Cast { name, domain }
}

pub(super) const CUSTOMERS: [Cast; 12] = [
    customer("Aanimals Inc", "aanimals.example"),
    customer("Abacus Computing Group", "abacus.example"),
    customer("Bluebird Dental", "bluebird.example"),
    customer("Cedar & Stone Architects", "cedarstone.example"),
    customer("Delta Freight", "deltafreight.example"),
    customer("Evergreen Legal", "evergreen.example"),
    customer("Foxglove Pharmacy", "foxglove.example"),
    customer("Granite Works", "granite.example"),
    customer("Harbour Hotels", "harbour.example"),
    customer("Ironbridge Museum", "ironbridge.example"),
    customer("Juniper Schools", "juniper.example"),
    customer("Kestrel Aviation", "kestrel.example"),
];

/// How many people each customer grows to.
pub(super) const STAFF: [usize; 12] = [18, 14, 11, 15, 17, 12, 10, 14, 16, 9, 18, 11];

pub(super) const FIRST_CUSTOMER_ADMINISTRATOR: (&str, &str) = ("Olivia", "Ward");

const FIRST: [&str; 26] = [
    "Amelia", "Ben", "Clara", "David", "Elena", "Felix", "Grace", "Hugo", "Ines", "Jack", "Kira",
    "Liam", "Maya", "Noah", "Nora", "Oscar", "Paula", "Quinn", "Rosa", "Samir", "Tara", "Umar",
    "Vera", "Will", "Yara", "Zoe",
];
const LAST: [&str; 23] = [
    "Adler", "Bauer", "Castro", "Dietz", "Ekman", "Fischer", "Garcia", "Hansen", "Ito", "Jansen",
    "Kowalski", "Larsen", "Moreau", "Novak", "Olsen", "Petrov", "Quist", "Rossi", "Sato", "Tanaka",
    "Ueda", "Vogel", "Weber",
];

/// The `number`-th person; 598 before a name comes again.
pub(super) fn person(number: usize) -> (&'static str, &'static str) {
    (FIRST[number % FIRST.len()], LAST[number % LAST.len()])
}

/// The provider and its administrator.
pub(super) fn install(settings: BillingSettings, password: Proof) -> Result<Install> {
    let address = || Address::parse(ADMINISTRATOR).map_err(|fault| anyhow!(fault.detail));
    Ok(Install {
        name: "Northwind Managed Services".to_owned(),
        settings,
        administrator: Person {
            email: address()?,
            first_name: "Ada".to_owned(),
            last_name: "North".to_owned(),
            login: address()?,
        },
        password,
    })
}
