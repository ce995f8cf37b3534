//! The way from one period's total to the next one's, by cause (billing.md, section 9).

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Class, Entry, Kind, Overflow, PriceSource};
use crate::money::{Currency, Money};
use crate::{OrganizationId, SubscriptionId};

/// Why a period comes to something else than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// It was provisioned, in this period or in the course of the last.
    New,
    /// It was deprovisioned, in this period or in the course of the last.
    Removed,
    /// Another plan.
    Plan,
    /// Another quantity, or more or less of what is measured.
    Quantity,
    /// A price that somebody set otherwise for this buyer, or not any more.
    Override,
    /// Another exchange rate.
    ExchangeRate,
    /// Another price of the plan.
    Price,
    /// The same, on other days: some months are shorter, and of some only a part is charged.
    Days,
    /// What is charged once, now or in the last period.
    OneOff,
    /// What is charged for more than a period at a time, now or in the last period.
    Term,
    /// What was charged or given back by hand, now or in the last period.
    Adjustment,
    /// What was set right of closed periods, now or in the last period.
    Correction,
    /// A rule that says that it is not charged, now or in the last period.
    Waiver,
}

/// Most days that a period has: two months, where a calendar changes.
const PERIOD_DAYS_MAX: u32 = 62;

impl Cause {
    /// Every one, in the order in which they are told.
    pub const ALL: [Self; 13] = [
        Self::New,
        Self::Removed,
        Self::Plan,
        Self::Quantity,
        Self::Override,
        Self::ExchangeRate,
        Self::Price,
        Self::Days,
        Self::OneOff,
        Self::Term,
        Self::Adjustment,
        Self::Correction,
        Self::Waiver,
    ];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Removed => "removed",
            Self::Plan => "plan",
            Self::Quantity => "quantity",
            Self::Override => "override",
            Self::ExchangeRate => "exchangeRate",
            Self::Price => "price",
            Self::Days => "days",
            Self::OneOff => "oneOff",
            Self::Term => "term",
            Self::Adjustment => "adjustment",
            Self::Correction => "correction",
            Self::Waiver => "waiver",
        }
    }
}

/// By how much one subscription comes to something else, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// This period's amount less the last one's.
    pub amount: Money,
    /// The first cause that fits, in their order.
    pub cause: Cause,
    /// Who buys.
    pub customer: OrganizationId,
    /// Which subscription.
    pub subscription: SubscriptionId,
}

/// The part of what is charged that has one cause: a component of a subscription, from one seller to one buyer in one
/// currency.
type Part<'a> = (OrganizationId, OrganizationId, OrganizationId, SubscriptionId, &'a str, Currency);

/// The entries of a part, of both periods.
#[derive(Default)]
struct Both<'a> {
    last: Vec<&'a Entry>,
    this: Vec<&'a Entry>,
}

/// The differences between two periods, from their entries; those of nothing are left out. They add up to the
/// difference of the totals, exactly: each part of what is charged has one cause.
///
/// # Errors
/// [`Overflow`].
pub fn differences<'a>(
    last: impl IntoIterator<Item = &'a Entry>,
    this: impl IntoIterator<Item = &'a Entry>,
) -> Result<Vec<Difference>, Overflow> {
    let mut parts = BTreeMap::<Part<'a>, Both<'a>>::new();
    let mut apart_sums = BTreeMap::<_, Money>::new();
    for (is_this, entry) in last
        .into_iter()
        .map(|entry| (false, entry))
        .chain(this.into_iter().map(|entry| (true, entry)))
    {
        let currency = entry.amount.currency;
        let apart = match (entry.kind, entry.class) {
            (Kind::Manual, _) => Some(Cause::Adjustment),
            (_, Class::Correction) => Some(Cause::Correction),
            (_, Class::Normal) => None,
        };
        if let Some(cause) = apart {
            let sum = apart_sums
                .entry((entry.customer, entry.subscription, currency, cause))
                .or_insert(Money::new(0, currency));
            *sum = added(*sum, entry.amount, is_this)?;
            continue;
        }
        let Entry { customer, component, seller, subscription, .. } = entry;
        let (buyer, component) = (entry.bought_by(), component.as_str());
        let part = (*customer, *seller, buyer, *subscription, component, currency);
        let both = parts.entry(part).or_default();
        if is_this { both.this.push(entry) } else { both.last.push(entry) }
    }
    let mut differences = Vec::new();
    for ((customer, _, _, subscription, _, currency), both) in parts {
        let mut amount = Money::new(0, currency);
        for entry in &both.this {
            amount = added(amount, entry.amount, true)?;
        }
        for entry in &both.last {
            amount = added(amount, entry.amount, false)?;
        }
        differences.push(Difference { amount, cause: both.cause(), customer, subscription });
    }
    let apart = apart_sums.into_iter().map(|((customer, subscription, _, cause), amount)| {
        Difference { amount, cause, customer, subscription }
    });
    differences.extend(apart);
    differences.retain(|difference| difference.amount.minor != 0);
    Ok(differences)
}

fn added(sum: Money, amount: Money, is_more: bool) -> Result<Money, Overflow> {
    let amount = if is_more { Some(amount) } else { amount.checked_neg() };
    amount.and_then(|amount| sum.checked_add(amount)).ok_or(Overflow)
}

impl Both<'_> {
    /// The first cause that fits.
    fn cause(&self) -> Cause {
        let is_waived = |entries: &[&Entry]| entries.iter().any(|entry| !entry.is_billable());
        let are_there = !self.last.is_empty() && !self.this.is_empty();
        if are_there && is_waived(&self.last) != is_waived(&self.this) {
            return Cause::Waiver;
        }
        let mut all = self.last.iter().chain(&self.this);
        if all.clone().all(|entry| entry.kind == Kind::OneOff) {
            return Cause::OneOff;
        }
        if all.all(|entry| entry.period_days > PERIOD_DAYS_MAX) {
            return Cause::Term;
        }
        let this = |action| self.this.iter().any(|entry| entry.action == action);
        let last = |action| self.last.iter().any(|entry| entry.action == action);
        if self.last.is_empty() || this(Action::Added) {
            return Cause::New;
        }
        if self.this.is_empty() || this(Action::Removed) {
            return Cause::Removed;
        }
        // What was only shown, and not charged, says nothing about the amount.
        let charged = || self.last.iter().chain(&self.this).filter(|entry| entry.days > 0);
        let plans: BTreeSet<_> = charged().map(|entry| &entry.plan).collect();
        let quantities: BTreeSet<_> = charged().map(|entry| entry.quantity).collect();
        let prices: BTreeSet<_> = charged().map(|entry| &entry.unit_price.decimal).collect();
        if plans.len() > 1 {
            return Cause::Plan;
        }
        let mut measured = charged().map(|entry| entry.measured.as_ref());
        let first = measured.next();
        let is_other = measured.any(|measured| Some(measured) != first);
        if quantities.len() > 1 || is_other {
            return Cause::Quantity;
        }
        if prices.len() > 1 {
            let is_override = |source: &PriceSource| matches!(source, PriceSource::Override(_));
            let overridden = |entry: &&Entry| entry.price_sources.iter().any(is_override);
            if charged().any(overridden) {
                return Cause::Override;
            }
            let rates: BTreeSet<_> = charged()
                .flat_map(|entry| entry.exchange.iter().map(|it| it.rate.to_string()))
                .collect();
            let is_exchanged = charged().all(|entry| !entry.exchange.is_empty());
            return if is_exchanged && rates.len() > 1 {
                Cause::ExchangeRate
            } else {
                Cause::Price
            };
        }
        if last(Action::Added) { Cause::New } else { Cause::Days }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// An entry of 30.00 for November, but for what is said otherwise.
    pub(in crate::billing) fn entry(more: Value) -> Entry {
        let mut entry = json!({
            "action": "carried", "actor": "system", "addedBy": "system",
            "amount": { "minor": 3_000, "currency": "EUR" }, "causes": [], "class": "normal",
            "countAfter": 1, "countBefore": 1, "customer": uuid::Uuid::from_u128(30), "days": 30,
            "effectiveAt": "2019-11-01T00:00:00Z", "entryId": "", "exact": { "denominator": "1", "numerator": "3000" }, "kind": "recurring",
            "periodDays": 30, "periodEnd": "2019-11-30", "plan": "a", "priceLosers": [],
            "priceSources": [{ "row": 1 }], "quantity": 1, "seller": uuid::Uuid::from_u128(1),
            "service": "mailbox", "serviceFrom": "2019-11-01", "serviceTo": "2019-12-01",
            "subscription": uuid::Uuid::from_u128(5), "unitPrice": { "decimal": "30.00", "exact": { "denominator": "1", "numerator": "3000" } },
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            entry[key] = value.clone();
        }
        serde_json::from_value(entry).unwrap()
    }

    fn minor(minor: i64) -> Value {
        json!({ "minor": minor, "currency": "EUR" })
    }

    fn told(last: &[Entry], this: &[Entry]) -> Vec<(Cause, i64)> {
        let differences = differences(last, this).unwrap();
        differences.iter().map(|it| (it.cause, it.amount.minor)).collect()
    }

    #[test]
    fn each_difference_has_the_first_cause_that_fits() {
        let carried = || entry(json!({}));
        let dearer =
            json!({ "decimal": "40.00", "exact": { "denominator": "1", "numerator": "4000" } });
        let waiver = json!({ "amount": minor(3_000), "reason": "Test", "rules": ["tests"] });
        let waived = || entry(json!({ "amount": minor(0), "waiver": waiver }));
        let cases: [(&[Entry], &[Entry], Cause); 17] = [
            (&[], &[carried()], Cause::New),
            (
                &[entry(json!({ "amount": minor(100), "days": 1 }))],
                &[entry(json!({ "action": "added" }))],
                Cause::New,
            ),
            (&[carried()], &[waived()], Cause::Waiver),
            (&[waived()], &[carried()], Cause::Waiver),
            (&[], &[entry(json!({ "action": "added" }))], Cause::New),
            (
                &[entry(json!({ "action": "added", "amount": minor(100), "days": 1 }))],
                &[carried()],
                Cause::New,
            ),
            (&[carried()], &[], Cause::Removed),
            (
                &[carried()],
                &[entry(json!({ "action": "removed", "amount": minor(0), "days": 0 }))],
                Cause::Removed,
            ),
            (
                &[carried()],
                &[entry(json!({ "plan": "b", "quantity": 2, "amount": minor(9) }))],
                Cause::Plan,
            ),
            (
                &[carried()],
                &[entry(json!({ "quantity": 2, "unitPrice": dearer, "amount": minor(9) }))],
                Cause::Quantity,
            ),
            (
                &[carried()],
                &[entry(json!({ "unitPrice": dearer, "amount": minor(4_000) }))],
                Cause::Price,
            ),
            (
                &[carried()],
                &[entry(
                    json!({ "unitPrice": dearer, "amount": minor(4_000), "priceSources": [{ "override": 7 }] }),
                )],
                Cause::Override,
            ),
            (&[carried()], &[entry(json!({ "days": 10, "amount": minor(1_000) }))], Cause::Days),
            (&[entry(json!({ "kind": "oneOff" }))], &[], Cause::OneOff),
            (&[entry(json!({ "periodDays": 366 }))], &[], Cause::Term),
            (
                &[carried()],
                &[carried(), entry(json!({ "class": "correction", "kind": "manual" }))],
                Cause::Adjustment,
            ),
            (
                &[carried()],
                &[carried(), entry(json!({ "class": "correction" }))],
                Cause::Correction,
            ),
        ];
        for (last, this, cause) in cases {
            let told = told(last, this);
            assert_eq!(told.len(), 1, "{cause:?}: {told:?}");
            assert_eq!(told[0].0, cause);
        }
    }

    #[test]
    fn what_is_the_same_is_left_out_and_what_was_only_shown_says_nothing() {
        let shown = entry(json!({ "plan": "b", "days": 0, "amount": minor(0) }));
        assert_eq!(told(&[entry(json!({}))], &[entry(json!({})), shown.clone()]), []);
        let shorter = entry(json!({ "days": 10, "amount": minor(1_000) }));
        assert_eq!(told(&[entry(json!({})), shown], &[shorter]), [(Cause::Days, -2_000)]);
    }

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let one = (0..4_u128, 0..2_u128, -500..500_i64, 0..3_usize, 0..2_usize, 0..2_usize).prop_map(
            |(slot, seller, amount, action, class, currency)| {
                entry(json!({
                    "subscription": uuid::Uuid::from_u128(slot), "seller": uuid::Uuid::from_u128(seller),
                    "amount": { "minor": amount, "currency": (["EUR", "USD"][currency]) },
                    "action": (["carried", "added", "removed"][action]),
                    "class": (["normal", "correction"][class]),
                }))
            },
        );
        proptest::collection::vec(one, 0..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn it_sums_exactly(last in entries(), this in entries()) {
            for code in ["EUR", "USD"] {
                let currency = Currency::parse(code).unwrap();
                let of = |entries: &[Entry]| -> i64 {
                    let own = entries.iter().filter(|entry| entry.amount.currency == currency);
                    own.map(|entry| entry.amount.minor).sum()
                };
                let told = differences(&last, &this).unwrap();
                let told = told.iter().filter(|it| it.amount.currency == currency);
                prop_assert_eq!(told.map(|it| it.amount.minor).sum::<i64>(), of(&this) - of(&last));
            }
        }
    }
}
