//! Tax: on the summed net of one buyer's bill, for each category and rate, rounded once (billing.md, section 4, Rounding).
//!
//! What is taxed how is decided elsewhere: plans and components only carry a category. Where a seller has said what a
//! category takes, it is computed here; it is a sum over the lines of a bill, so it is stored nowhere.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::Overflow;
use crate::money::{Currency, Money, Percent, Ratio};
use crate::{Bug, OrganizationId, TaxCategory, planted};

/// Most rates that one seller has said.
pub const RATES_MAX: usize = 500;

/// Which tax a seller adds for a category, from a date on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaxRate {
    /// From when on, and for what.
    #[serde(flatten)]
    pub key: TaxKey,
    /// How much; none: from then on it is computed elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Percent>,
}

/// What a tax rate is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaxKey {
    /// Which category.
    pub category: TaxCategory,
    /// The first date: it is for service periods that end then or later.
    pub from: NaiveDate,
}

/// The rate for what ends on a date, of those that there are.
#[must_use]
pub fn rate_on<'a>(
    rates: impl IntoIterator<Item = &'a TaxRate>,
    category: &TaxCategory,
    end: NaiveDate,
) -> Option<Percent> {
    let begun = rates.into_iter().filter(|it| it.key.category == *category && it.key.from <= end);
    begun.max_by_key(|it| it.key.from)?.percent
}

/// A line of a bill, as far as tax goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taxable {
    /// What it comes to.
    pub amount: Money,
    /// How it is taxed.
    pub category: Option<TaxCategory>,
    /// Who buys.
    pub buyer: OrganizationId,
    /// How much; none: it is computed elsewhere.
    pub percent: Option<Percent>,
    /// Who sells.
    pub seller: OrganizationId,
}

/// The lines of one buyer that are taxed alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaxGroup {
    /// How they are taxed.
    pub category: Option<TaxCategory>,
    /// Who buys.
    pub buyer: OrganizationId,
    /// How many they are.
    pub lines: u64,
    /// What they come to.
    pub net: Money,
    /// How much is added; none: it is computed elsewhere.
    pub percent: Option<Percent>,
    /// Who sells.
    pub seller: OrganizationId,
    /// So much; none: it is computed elsewhere.
    pub tax: Option<Money>,
}

type GroupKey = (OrganizationId, OrganizationId, Currency, Option<TaxCategory>, Option<Percent>);

/// Sums the lines of bills up by seller, buyer, currency, category and rate, and taxes each sum.
///
/// # Errors
/// [`Overflow`].
pub fn tax(lines: impl IntoIterator<Item = Taxable>) -> Result<Vec<TaxGroup>, Overflow> {
    let mut groups = BTreeMap::<GroupKey, TaxGroup>::new();
    for line in lines {
        let Taxable { amount, buyer, category, percent, seller } = line;
        let key = (seller, buyer, amount.currency, category.clone(), percent);
        let group = groups.entry(key).or_insert_with(|| TaxGroup {
            category,
            buyer,
            lines: 0,
            net: Money::new(0, amount.currency),
            percent,
            seller,
            tax: None,
        });
        if let Some(percent) = percent.filter(|_| planted(Bug::TaxByLine)) {
            let exact = percent.of(Ratio::whole(amount.minor)).ok_or(Overflow)?;
            let so_far = group.tax.map_or(0, |tax| tax.minor);
            let minor = exact.round_half_away().and_then(|it| it.checked_add(so_far));
            group.tax = Some(Money::new(minor.ok_or(Overflow)?, amount.currency));
        }
        group.net = group.net.checked_add(amount).ok_or(Overflow)?;
        group.lines += 1;
    }
    for group in groups.values_mut().filter(|_| !planted(Bug::TaxByLine)) {
        if let Some(percent) = group.percent {
            let exact = percent.of(Ratio::whole(group.net.minor)).ok_or(Overflow)?;
            let minor = exact.round_half_away().ok_or(Overflow)?;
            group.tax = Some(Money::new(minor, group.net.currency));
        }
    }
    Ok(groups.into_values().collect())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn line(minor: i64, category: &str, percent: Option<&str>) -> Taxable {
        Taxable {
            amount: Money::new(minor, Currency::parse("EUR").unwrap()),
            category: TaxCategory::parse(category),
            buyer: OrganizationId(Uuid::from_u128(30)),
            percent: percent.map(|percent| Percent::parse(percent).unwrap()),
            seller: OrganizationId(Uuid::from_u128(1)),
        }
    }

    fn taxes(lines: impl IntoIterator<Item = Taxable>) -> Vec<(i64, Option<i64>)> {
        let groups = tax(lines).unwrap().into_iter();
        groups.map(|it| (it.net.minor, it.tax.map(|tax| tax.minor))).collect()
    }

    #[test]
    fn case_24_tax_is_rounded_once_on_the_sum() {
        let lines = || (0..3).map(|_| line(1_003, "standard", Some("15")));
        // One by one it would be three times 1.50.
        assert_eq!(taxes(lines()), [(3_009, Some(451))]);
        // Half a cent goes away from zero, also where it is given back.
        assert_eq!(taxes([line(10, "standard", Some("15"))]), [(10, Some(2))]);
        assert_eq!(taxes([line(-10, "standard", Some("15"))]), [(-10, Some(-2))]);
    }

    #[test]
    fn each_category_and_rate_is_a_group_of_its_own() {
        let mut other = line(700, "standard", Some("15"));
        other.buyer = OrganizationId(Uuid::from_u128(31));
        let lines = [
            line(1_000, "standard", Some("15")),
            line(500, "reduced", Some("7")),
            line(-200, "standard", Some("15")),
            // Another rate of the same: of a service period before it was changed.
            line(100, "standard", Some("14")),
            line(300, "elsewhere", None),
            line(400, "", None),
            other,
        ];
        assert_eq!(
            taxes(lines),
            [
                (400, None),
                (300, None),
                (500, Some(35)),
                (100, Some(14)),
                (800, Some(120)),
                (700, Some(105)),
            ]
        );
        let huge = [line(i64::MAX, "a", Some("1")), line(1, "a", Some("1"))];
        assert_eq!(tax(huge), Err(Overflow));
    }

    #[test]
    fn the_last_rate_that_has_begun_counts() {
        let category = |name: &str| TaxCategory::parse(name).unwrap();
        let rate = |name, from: &str, percent: Option<&str>| TaxRate {
            key: TaxKey { category: category(name), from: from.parse().unwrap() },
            percent: percent.map(|percent| Percent::parse(percent).unwrap()),
        };
        let rates = [
            rate("standard", "2020-07-01", Some("16")),
            rate("standard", "2019-01-01", Some("19")),
            rate("standard", "2021-01-01", None),
            rate("reduced", "2019-01-01", Some("7")),
        ];
        let on = |end: &str| {
            let percent = rate_on(&rates, &category("standard"), end.parse().unwrap());
            percent.map(|it| it.to_string())
        };
        assert_eq!(on("2018-12-31"), None);
        assert_eq!(on("2019-01-01").as_deref(), Some("19"));
        assert_eq!(on("2020-06-30").as_deref(), Some("19"));
        assert_eq!(on("2020-07-01").as_deref(), Some("16"));
        assert_eq!(on("2021-01-31"), None, "computed elsewhere from then on");
    }
}
