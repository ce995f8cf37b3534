//! Sealing: what a closed period comes to, and the hash over all its entries (billing.md, section 7).

use std::collections::{BTreeMap, BTreeSet};

use chrono_tz::IANA_TZDB_VERSION;
use serde::{Deserialize, Serialize};

use super::merkle::{Hash, Proof, Tree};
use super::{Entry, Kind};
use crate::OrganizationId;
use crate::money::{Currency, Money};

/// Which rating this program does. Another number rates something otherwise.
pub const ENGINE: u32 = 1;

/// What a seller's closed period comes to. Never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seal {
    /// Each buyer's part, in the order of their ids.
    pub buyers: Vec<Buyer>,
    /// By which rating the entries were made.
    pub engine: u32,
    /// How many entries there are.
    pub entries: u64,
    /// Of the tree whose leaves are the buyers' parts.
    pub root: Hash,
    /// How many slots they are of: as many rows keep them.
    pub slots: u64,
    /// The sums, for each currency and kind.
    pub totals: Vec<Total>,
    /// By which edition of the time zones days began.
    pub zones: String,
}

/// One buyer's part of a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Buyer {
    /// Who buys.
    pub customer: OrganizationId,
    /// How many entries he has.
    pub entries: u64,
    /// Of the tree whose leaves are his entries.
    pub root: Hash,
}

impl Buyer {
    /// His leaf of the whole tree.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        let mut content = [0; 56];
        content[..16].copy_from_slice(self.customer.0.as_bytes());
        content[16..24].copy_from_slice(&self.entries.to_be_bytes());
        content[24..].copy_from_slice(&self.root.0);
        Hash::leaf(&content)
    }
}

/// What the entries of one kind and currency come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Total {
    /// Their sum.
    pub amount: Money,
    /// How many there are.
    pub entries: u64,
    /// Of which kind.
    pub kind: Kind,
}

impl Seal {
    /// The first thing in which other entries come to something else; by which rating and time zones they were made does
    /// not count.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        let ours: BTreeMap<_, _> = self.buyers.iter().map(|it| (it.customer, it)).collect();
        let theirs: BTreeMap<_, _> = other.buyers.iter().map(|it| (it.customer, it)).collect();
        for customer in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
            match (ours.get(customer), theirs.get(customer)) {
                (Some(ours), Some(theirs)) if ours == theirs => {}
                (Some(Buyer { entries, .. }), Some(theirs)) if *entries != theirs.entries => {
                    let there = theirs.entries;
                    return Some(format!(
                        "seal has {entries} entries of the customer {customer}, and {there} are there"
                    ));
                }
                (Some(_), Some(_)) => {
                    return Some(format!("entries of the customer {customer} were changed"));
                }
                (Some(_), None) => {
                    return Some(format!("entries of the customer {customer} are missing"));
                }
                (None, _) => {
                    return Some(format!("seal has no entries of the customer {customer}"));
                }
            }
        }
        if (self.entries, self.slots) != (other.entries, other.slots) {
            return Some("seal counts other entries than are there".to_owned());
        }
        if self.totals != other.totals {
            return Some("seal has other totals than the entries come to".to_owned());
        }
        (self.root != other.root).then(|| "seal has another root than its buyers".to_owned())
    }

    /// Shows that a buyer's part is in the books; none where he has none.
    #[must_use]
    pub fn prove(&self, customer: OrganizationId) -> Option<(&Buyer, Proof)> {
        let place = self.buyers.iter().position(|buyer| buyer.customer == customer)?;
        let leaves: Vec<_> = self.buyers.iter().map(Buyer::leaf).collect();
        Some((&self.buyers[place], Proof::of(&leaves, place)?))
    }
}

/// Why entries cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum Unsealable {
    /// A row is no entry.
    #[error("a row is no entry: {0}")]
    Unreadable(#[source] serde_json::Error),
    /// Rows are not in the order of their keys.
    #[error("the entries are not in order")]
    Disorder,
    /// A sum is beyond what can be held.
    #[error("a total is too large")]
    TooLarge,
}

/// Seals entries, one slot after the other, in the order of buyers and slots. Keeps no entry: however many there are,
/// it needs little memory.
#[derive(Debug, Default)]
pub struct Sealing {
    buyers: Vec<Buyer>,
    buyer: Option<(OrganizationId, Tree)>,
    entries: u64,
    slots: u64,
    totals: BTreeMap<(Currency, String), Total>,
}

/// What sums need of an entry.
#[derive(Deserialize)]
struct Summand {
    amount: Money,
    kind: Kind,
}

impl Sealing {
    /// Adds a slot's entries as they are stored, each a line.
    ///
    /// # Errors
    /// [`Unsealable`].
    pub fn add(&mut self, customer: OrganizationId, lines: &[u8]) -> Result<(), Unsealable> {
        self.slots += 1;
        for line in lines.split(|byte| *byte == b'\n') {
            let summand = serde_json::from_slice(line).map_err(Unsealable::Unreadable)?;
            self.add_up(&summand)?;
            self.tree(customer)?.push(Hash::leaf(line));
        }
        Ok(())
    }

    /// All of it.
    #[must_use]
    pub fn seal(mut self) -> Seal {
        self.end_buyer();
        let mut books = Tree::default();
        self.buyers.iter().for_each(|buyer| books.push(buyer.leaf()));
        Seal {
            buyers: self.buyers,
            engine: ENGINE,
            entries: self.entries,
            root: books.root(),
            slots: self.slots,
            totals: self.totals.into_values().collect(),
            zones: IANA_TZDB_VERSION.to_owned(),
        }
    }

    fn add_up(&mut self, Summand { amount, kind }: &Summand) -> Result<(), Unsealable> {
        let name = serde_json::to_string(kind).map_err(Unsealable::Unreadable)?;
        let nothing = Money::new(0, amount.currency);
        let total = self.totals.entry((amount.currency, name)).or_insert(Total {
            amount: nothing,
            entries: 0,
            kind: *kind,
        });
        total.amount = total.amount.checked_add(*amount).ok_or(Unsealable::TooLarge)?;
        total.entries += 1;
        self.entries += 1;
        Ok(())
    }

    /// The tree of a buyer, who comes after all before.
    fn tree(&mut self, customer: OrganizationId) -> Result<&mut Tree, Unsealable> {
        match &self.buyer {
            Some((buyer, _)) if *buyer == customer => {}
            Some((buyer, _)) if *buyer > customer => return Err(Unsealable::Disorder),
            _ => self.end_buyer(),
        }
        let (_, tree) = self.buyer.get_or_insert_with(|| (customer, Tree::default()));
        Ok(tree)
    }

    fn end_buyer(&mut self) {
        if let Some((customer, tree)) = self.buyer.take() {
            self.buyers.push(Buyer { customer, entries: tree.size(), root: tree.root() });
        }
    }
}

/// Puts a slot's entries in the order in which they are kept: by component, then by first date; corrections before what
/// the period itself has, and reversals before what is booked in their place.
pub fn sort(entries: &mut [Entry]) {
    entries.sort_by(|a, b| (&a.component, a.service_from).cmp(&(&b.component, b.service_from)));
}

/// A slot's entries as they are stored: sorted, each a line of canonical JSON.
#[must_use]
pub fn lines(entries: &mut [Entry]) -> Vec<u8> {
    sort(entries);
    let mut lines = Vec::new();
    for entry in &*entries {
        if !lines.is_empty() {
            lines.push(b'\n');
        }
        serde_json::to_writer(&mut lines, entry).expect("an entry has a JSON form");
    }
    lines
}

/// The entries that were stored as lines.
///
/// # Errors
/// Where they do not fit.
pub fn entries(lines: &[u8]) -> Result<Vec<Entry>, serde_json::Error> {
    lines.split(|byte| *byte == b'\n').map(serde_json::from_slice).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::merkle;
    use super::*;

    fn line(kind: &str, minor: i64) -> String {
        format!(r#"{{"amount":{{"currency":"EUR","minor":{minor}}},"kind":"{kind}"}}"#)
    }

    fn customer(number: u128) -> OrganizationId {
        OrganizationId(Uuid::from_u128(number))
    }

    /// A buyer, and what each entry of one of his slots comes to.
    type Slot<'a> = (u128, &'a [i64]);

    fn sealed(slots: &[Slot<'_>]) -> Seal {
        let mut sealing = Sealing::default();
        for (buyer, amounts) in slots {
            let lines: Vec<_> = amounts.iter().map(|minor| line("recurring", *minor)).collect();
            sealing.add(customer(*buyer), lines.join("\n").as_bytes()).unwrap();
        }
        sealing.seal()
    }

    #[test]
    fn each_buyer_has_a_subtree_and_can_be_shown_to_be_in_the_books() {
        let seal = sealed(&[(1, &[100, -5]), (1, &[7]), (2, &[1]), (3, &[2, 3])]);
        assert_eq!((seal.entries, seal.slots, seal.buyers.len()), (6, 4, 3));
        assert_eq!(seal.totals.len(), 1);
        assert_eq!((seal.totals[0].amount.minor, seal.totals[0].entries), (108, 6));
        let own = [100, -5, 7].map(|minor| Hash::leaf(line("recurring", minor).as_bytes()));
        assert_eq!(seal.buyers[0].root, merkle::root(&own));
        for number in 1..=3 {
            let (buyer, proof) = seal.prove(customer(number)).unwrap();
            assert_eq!(proof.root(buyer.leaf()), seal.root);
            let more = Buyer { entries: buyer.entries + 1, ..buyer.clone() };
            assert_ne!(proof.root(more.leaf()), seal.root);
        }
        assert!(seal.prove(customer(4)).is_none());
    }

    #[test]
    fn what_differs_from_a_seal_is_named() {
        let seal = sealed(&[(1, &[100, -5]), (2, &[1])]);
        assert_eq!(seal.difference(&sealed(&[(1, &[100, -5]), (2, &[1])])), None);
        let others: [(&[Slot<'_>], &str); 5] = [
            (&[(1, &[100, -5, 1]), (2, &[1])], "seal has 2 entries of the customer"),
            (&[(1, &[100, -4]), (2, &[1])], "were changed"),
            (&[(1, &[100, -5])], "are missing"),
            (&[(1, &[100, -5]), (2, &[1]), (3, &[0])], "seal has no entries of the customer"),
            (&[(1, &[100]), (1, &[-5]), (2, &[1])], "seal counts other entries"),
        ];
        for (slots, says) in others {
            let told = seal.difference(&sealed(slots)).unwrap();
            assert!(told.contains(says), "{told}");
        }
        let mut other = seal.clone();
        other.totals[0].amount.minor += 1;
        assert!(seal.difference(&other).unwrap().contains("other totals"));
        let other = Seal { root: Hash::leaf(b""), ..seal.clone() };
        assert!(seal.difference(&other).unwrap().contains("another root"));
    }

    #[test]
    fn what_is_out_of_order_unreadable_or_too_much_is_not_sealed() {
        let mut sealing = Sealing::default();
        sealing.add(customer(2), line("recurring", i64::MAX).as_bytes()).unwrap();
        let refused = sealing.add(customer(2), line("recurring", 1).as_bytes());
        assert!(matches!(refused, Err(Unsealable::TooLarge)));
        let refused = sealing.add(customer(1), line("recurring", -1).as_bytes());
        assert!(matches!(refused, Err(Unsealable::Disorder)));
        let refused = sealing.add(customer(3), b"");
        assert!(matches!(refused, Err(Unsealable::Unreadable(_))));
    }
}
