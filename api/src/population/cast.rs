//! Who plays in a population: the first ones by name, all others put together from words.

use anyhow::{Result, anyhow};
use commands::usecase::installation::Install;
use domain::billing::BillingSettings;
use domain::text::Address;
use domain::user::{Person, Proof};

/// The provider's administrator.
pub const PROVIDER_ADMINISTRATOR: &str = "admin@northwind.example";
/// The administrator of the first customer.
pub const CUSTOMER_ADMINISTRATOR: &str = "olivia.ward@aanimals.example";

/// Somebody who has a name and a domain of his own.
struct Named {
    name: &'static str,
    domain: &'static str,
}

const fn named(name: &'static str, domain: &'static str) -> Named {
    Named { name, domain }
}

const RESELLERS: [(Named, (&str, &str)); 2] = [
    (named("Contoso Channel Partners", "contoso.example"), ("Ruth", "Keller")),
    (named("Fabrikam Regional IT", "fabrikam.example"), ("Jonas", "Brandt")),
];

/// Customers, each with how many people it grows to.
const CUSTOMERS: [(Named, u32); 12] = [
    (named("Aanimals Inc", "aanimals.example"), 18),
    (named("Abacus Computing Group", "abacus.example"), 14),
    (named("Bluebird Dental", "bluebird.example"), 11),
    (named("Cedar & Stone Architects", "cedarstone.example"), 15),
    (named("Delta Freight", "deltafreight.example"), 17),
    (named("Evergreen Legal", "evergreen.example"), 12),
    (named("Foxglove Pharmacy", "foxglove.example"), 10),
    (named("Granite Works", "granite.example"), 14),
    (named("Harbour Hotels", "harbour.example"), 16),
    (named("Ironbridge Museum", "ironbridge.example"), 9),
    (named("Juniper Schools", "juniper.example"), 18),
    (named("Kestrel Aviation", "kestrel.example"), 11),
];

const FIRST_CUSTOMER_ADMINISTRATOR: (&str, &str) = ("Olivia", "Ward");

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
/// Before a name comes again: the two lists have lengths without a common factor.
const NAMES: usize = FIRST.len() * LAST.len();

const PLACES: [&str; 29] = [
    "Alder", "Birch", "Brook", "Castle", "Cliff", "Coral", "Dune", "Elm", "Fjord", "Glen",
    "Harbour", "Hazel", "Hill", "Island", "Lake", "Linden", "Maple", "Meadow", "Mill", "North",
    "Oak", "Pine", "River", "Rowan", "South", "Spring", "Thorn", "Valley", "Willow",
];
const TRADES: [&str; 31] = [
    "Accounting",
    "Architects",
    "Bakery",
    "Books",
    "Brewery",
    "Chemicals",
    "Clinic",
    "Clothing",
    "Dairy",
    "Dental",
    "Design",
    "Electric",
    "Engineering",
    "Film",
    "Foods",
    "Freight",
    "Furniture",
    "Glass",
    "Hotels",
    "Insurance",
    "Legal",
    "Logistics",
    "Machines",
    "Optics",
    "Paper",
    "Pharmacy",
    "Printing",
    "Schools",
    "Software",
    "Steel",
    "Textiles",
];

/// What the words of a number are.
fn words(number: u32) -> (&'static str, &'static str) {
    let number = number as usize;
    (PLACES[number % PLACES.len()], TRADES[number % TRADES.len()])
}

pub(super) fn reseller_name(number: u32) -> String {
    match RESELLERS.get(number as usize) {
        Some((reseller, _)) => reseller.name.to_owned(),
        None => format!("{} IT Partners {number}", words(number).0),
    }
}

pub(super) fn reseller_domain(number: u32) -> String {
    match RESELLERS.get(number as usize) {
        Some((reseller, _)) => reseller.domain.to_owned(),
        None => format!("partner{number}.example"),
    }
}

pub(super) fn reseller_administrator(number: u32) -> (&'static str, &'static str) {
    RESELLERS.get(number as usize).map_or_else(|| name(number as usize), |(_, person)| *person)
}

pub(super) fn customer_name(number: u32) -> String {
    match CUSTOMERS.get(number as usize) {
        Some((customer, _)) => customer.name.to_owned(),
        None => {
            let (place, trade) = words(number);
            format!("{place} {trade} {number}")
        }
    }
}

pub(super) fn customer_domain(number: u32) -> String {
    match CUSTOMERS.get(number as usize) {
        Some((customer, _)) => customer.domain.to_owned(),
        None => {
            let (place, trade) = words(number);
            format!("{place}{trade}{number}.example").to_lowercase()
        }
    }
}

/// How many people a customer of the cast grows to.
pub(super) fn staff(number: u32) -> Option<u32> {
    CUSTOMERS.get(number as usize).map(|(_, staff)| *staff)
}

/// The `nth` person of a customer, and how many of the same name were there before.
pub(super) fn employee(customer: u32, nth: u32) -> (&'static str, &'static str, usize) {
    if (customer, nth) == (0, 0) {
        let (first, last) = FIRST_CUSTOMER_ADMINISTRATOR;
        return (first, last, 0);
    }
    let nth = nth as usize;
    let (first, last) = name(customer as usize * 13 + nth);
    (first, last, nth / NAMES)
}

/// The `number`-th name; all are different before the first comes again.
fn name(number: usize) -> (&'static str, &'static str) {
    (FIRST[number % FIRST.len()], LAST[number % LAST.len()])
}

/// The provider and its administrator.
pub(super) fn install(settings: BillingSettings, password: Proof) -> Result<Install> {
    let address = || Address::parse(PROVIDER_ADMINISTRATOR).map_err(|fault| anyhow!(fault.detail));
    Ok(Install {
        name: "Northwind Managed Services".to_owned(),
        settings,
        administrator: Person::new("Ada", "North", address()?, address()?),
        password,
    })
}
