//! Sealing: what a closed period comes to, and the hash over all its entries (billing.md, section 7).

use std::collections::BTreeMap;

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

/// A slot's entries as they are stored: sorted, each a line of canonical JSON.
#[must_use]
pub fn lines(mut entries: Vec<Entry>) -> Vec<u8> {
    entries.sort_by(|a, b| {
        let dates = |entry: &Entry| (entry.service_from, entry.service_to, entry.period_end);
        // A reversal comes before what is booked in its place.
        let order = |entry: &Entry| (dates(entry), !entry.is_reversal());
        let by_component = a.component.cmp(&b.component);
        by_component.then(order(a).cmp(&order(b))).then_with(|| a.entry_id.cmp(&b.entry_id))
    });
    let mut lines = Vec::new();
    for entry in &entries {
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

    #[test]
    fn each_buyer_has_a_subtree_and_can_be_shown_to_be_in_the_books() {
        let mut sealing = Sealing::default();
        let slots = [(1, vec![100, -5]), (1, vec![7]), (2, vec![1]), (3, vec![2, 3])];
        for (buyer, amounts) in &slots {
            let lines: Vec<_> = amounts.iter().map(|minor| line("recurring", *minor)).collect();
            sealing.add(customer(*buyer), lines.join("\n").as_bytes()).unwrap();
        }
        let seal = sealing.seal();
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
