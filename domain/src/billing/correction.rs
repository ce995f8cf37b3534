//! Corrections: what is booked in an open period because more is known now of a closed one (billing.md, section 7).

use std::collections::{BTreeSet, HashSet};

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::merkle::Hash;
use super::{Class, Entry, Period, Prices, Waiver};
use crate::money::{Money, Ratio};
use crate::{Bug, planted};

/// What a correction corrects, and where it is booked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Correction {
    /// What all corrections of one slot have in common that are booked in one period.
    pub adjustment_id: String,
    /// The period that it is booked in: its last date.
    pub booked_end: NaiveDate,
    /// On a rebooking: the entry in whose place it is, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebooks: Option<String>,
    /// On a reversal: the entry that it takes back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverses: Option<String>,
}

impl Entry {
    /// The period that the entry is booked in: its last date. Of a correction it is another one than the service period.
    #[must_use]
    pub fn booked_end(&self) -> NaiveDate {
        self.correction.as_ref().map_or(self.period_end, |correction| correction.booked_end)
    }

    /// Whether it sets right what a closed period has.
    #[must_use]
    pub fn is_correction(&self) -> bool {
        self.class == Class::Correction
    }

    /// Whether it takes another one back.
    #[must_use]
    pub fn is_reversal(&self) -> bool {
        self.correction.as_ref().is_some_and(|correction| correction.reverses.is_some())
    }

    /// Whether it is about money: it charges days, or an amount. Others tell of a count or of a property.
    pub(super) fn charges(&self) -> bool {
        self.days > 0 || self.due().minor != 0
    }

    /// Whether what another entry charges is just the same.
    fn agrees_with(&self, other: &Self) -> bool {
        !planted(Bug::AgreeingIsReversed)
            && self.component == other.component
            && self.buyer == other.buyer
            && self.kind == other.kind
            && self.amount == other.amount
            && self.plan == other.plan
            && self.quantity == other.quantity
            && self.days == other.days
            && self.measured == other.measured
            && self.unit_price.exact == other.unit_price.exact
            && self.property_change == other.property_change
            && self.waiver == other.waiver
    }
}

impl Prices {
    /// The positions after another one at which a price was set, in their order.
    #[must_use]
    pub fn positions_after(&self, position: u64) -> Vec<u64> {
        let rows = self.rows.iter().map(|row| row.position);
        let components = self.components.iter().map(|row| row.position);
        let policies = self.policies.iter().map(|row| row.position);
        let overrides = self.overrides.iter().map(|it| it.position);
        let book = self.chain.iter().flat_map(|seller| &seller.rows).map(|row| row.position);
        let rates = self.rates.iter().map(|it| it.position);
        let all = rows.chain(components).chain(policies).chain(overrides).chain(book).chain(rates);
        let later = all.filter(|it| *it > position);
        later.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// What is to be booked in the period `into`, so that what is booked for one service period of a slot on one edge is what
/// it should be: of the entries in force that differ from those rated `now`, the reversals; of what is rated now and is
/// not booked, the rebookings. Entries that agree are left alone.
///
/// `booked` is all that closed periods have of the service period, corrections too.
#[must_use]
pub fn correct(booked: &[Entry], now: &[Entry], into: &Period) -> Vec<Entry> {
    let reversed: HashSet<_> =
        booked.iter().filter_map(|entry| entry.correction.as_ref()?.reverses.as_deref()).collect();
    let is_in_force = |entry: &&Entry| {
        let is_reversed = reversed.contains(entry.entry_id.as_str());
        !entry.is_reversal() && (!is_reversed || planted(Bug::ReversedTwice))
    };
    let mut wrong: Vec<_> =
        booked.iter().filter(is_in_force).filter(|entry| entry.charges()).collect();
    let mut missing = Vec::new();
    for entry in now.iter().filter(|entry| entry.charges()) {
        match wrong.iter().position(|booked| booked.agrees_with(entry)) {
            Some(place) => drop(wrong.remove(place)),
            None => missing.push(entry),
        }
    }
    let reversals = wrong.iter().map(|entry| reversal(entry, into));
    let rebookings = missing.iter().enumerate().map(|(place, entry)| {
        let replaced = wrong.get(place).or(wrong.last());
        rebooking(entry, replaced.map(|entry| entry.entry_id.clone()), into)
    });
    reversals.chain(rebookings).collect()
}

/// An entry taken back: all of it, to the cent that was booked.
fn reversal(entry: &Entry, into: &Period) -> Entry {
    let negated = Ratio::ZERO.checked_sub(entry.exact);
    let less = |amount: Money| Money::new(amount.minor.saturating_neg(), amount.currency);
    Entry {
        amount: less(entry.amount),
        exact: negated.expect("what is held exactly has a negative"),
        waiver: entry.waiver.clone().map(|it| Waiver { amount: less(it.amount), ..it }),
        ..corrected(entry, "reversal", into, |correction| {
            correction.reverses = Some(entry.entry_id.clone());
        })
    }
}

/// An entry as it should have been.
fn rebooking(entry: &Entry, rebooks: Option<String>, into: &Period) -> Entry {
    corrected(entry, "rebooking", into, |correction| correction.rebooks = rebooks)
}

fn corrected(
    entry: &Entry,
    what: &str,
    into: &Period,
    link: impl FnOnce(&mut Correction),
) -> Entry {
    let mut correction = Correction {
        adjustment_id: adjustment_id(entry, into),
        booked_end: into.end,
        rebooks: None,
        reverses: None,
    };
    link(&mut correction);
    Entry {
        class: Class::Correction,
        correction: Some(correction),
        // What there is at the period's end, its own lines tell.
        count_after: 0,
        count_before: 0,
        entry_id: id(&format!("{what} {} {}", entry.entry_id, into.end)),
        ..entry.clone()
    }
}

fn adjustment_id(entry: &Entry, into: &Period) -> String {
    let Entry { seller, customer, subscription, .. } = entry;
    id(&format!("adjustment {seller} {customer} {subscription} {}", into.end))
}

fn id(text: &str) -> String {
    Hash(Sha256::digest(text).into()).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::bridge::tests::entry;
    use super::super::{BillingSettings, CalendarRule, DayPolicy, PolicyRow, PriceRow, Suspended};
    use super::*;
    use crate::money::Currency;

    #[test]
    fn what_was_priced_later_is_found_wherever_it_was_said() {
        let plan = crate::PlanKey::parse("a").unwrap();
        let row = |position| PriceRow { from: None, minor: 1, plan: plan.clone(), position };
        let policy = |position| PolicyRow {
            from: None,
            plan: plan.clone(),
            policy: DayPolicy::Daily,
            position,
            suspended: Suspended::Billed,
        };
        let prices = Prices {
            policies: vec![policy(9), policy(4)],
            rows: vec![row(7), row(9), row(5)],
            ..Prices::default()
        };
        assert_eq!(prices.positions_after(3), [4, 5, 7, 9]);
        assert_eq!(prices.positions_after(5), [7, 9]);
        assert!(prices.positions_after(9).is_empty());
    }

    #[test]
    fn what_only_tells_of_a_property_is_neither_taken_back_nor_booked_again() {
        let currency = Currency::parse("EUR").unwrap();
        let settings = BillingSettings::new(currency, CalendarRule::CalendarMonth, chrono_tz::UTC);
        let into = settings.period_ending("2019-12-31".parse().unwrap()).unwrap();
        let told = |quantity: u32| {
            let nothing = json!({ "minor": 0, "currency": "EUR" });
            entry(json!({ "amount": nothing, "days": 0, "quantity": quantity }))
        };
        assert_eq!(correct(&[told(1)], &[told(2)], &into), []);
    }

    #[test]
    fn what_differs_only_in_how_many_what_was_measured_or_who_buys_is_reversed_and_rebooked() {
        let currency = Currency::parse("EUR").unwrap();
        let settings = BillingSettings::new(currency, CalendarRule::CalendarMonth, chrono_tz::UTC);
        let into = settings.period_ending("2019-12-31".parse().unwrap()).unwrap();
        let measured = |amount: &str| {
            let amount = json!({ "numerator": amount, "denominator": "1" });
            entry(json!({ "measured": { "amount": amount } }))
        };
        let booked = measured("3");
        assert_eq!(correct(std::slice::from_ref(&booked), &[measured("3")], &into), []);
        let bought =
            entry(json!({ "measured": booked.measured, "buyer": uuid::Uuid::from_u128(4) }));
        let more = entry(json!({ "measured": booked.measured, "quantity": 2 }));
        for now in [measured("4"), bought, more] {
            let corrections = correct(std::slice::from_ref(&booked), &[now], &into);
            let minor: Vec<_> = corrections.iter().map(|it| it.amount.minor).collect();
            assert_eq!(minor, [-3_000, 3_000]);
        }
    }
}
