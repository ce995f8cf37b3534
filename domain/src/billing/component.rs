//! The parts of what a plan costs (billing.md, section 4, Components): set-up fees, prices by the month or the year,
//! for priced properties and for what is used, and least amounts.

use std::borrow::Cow;
use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::money::{Money, Ratio};
use crate::property::{Property, exact};
use crate::usage::Meter;
use crate::{Faults, Invalid, MeterKey, PlanKey, PropertyKey, TaxCategory};

/// Most components of one plan.
pub const COMPONENTS_MAX: usize = 20;
/// Most tiers of one price.
pub const TIERS_MAX: usize = 20;
/// Most decimals of a number of units.
const UNITS_MAX_DECIMALS: u32 = 9;
/// The largest number of units that can be written.
const UNITS_MAX: u64 = 1_000_000_000_000;

/// Names a part of what a plan costs; never changes. Plans that have it in common exchange it when one is changed for
/// the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ComponentKey(Cow<'static, str>);

impl ComponentKey {
    /// The plan's own price, by the month and in arrears: of every plan, whatever else it costs.
    pub const RECURRING: Self = Self(Cow::Borrowed(Self::OWN));
    /// Of what is lacking to what a buyer is committed to.
    pub(super) const COMMITMENT: Self = Self(Cow::Borrowed("commitment"));
    /// Of what somebody charges or gives back by hand.
    pub(super) const MANUAL: Self = Self(Cow::Borrowed("manual"));
    pub(super) const OWN: &'static str = "recurring";

    /// The same, for those who want to point to it.
    #[must_use]
    pub fn recurring() -> &'static Self {
        static RECURRING: ComponentKey = ComponentKey::RECURRING;
        &RECURRING
    }

    /// The key, if `text` is one: made like other keys.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        PlanKey::parse(text).map(|_| Self(Cow::Owned(text.to_owned())))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the plan's own price.
    #[must_use]
    pub fn is_recurring(&self) -> bool {
        *self == Self::RECURRING
    }
}

impl Default for ComponentKey {
    fn default() -> Self {
        Self::RECURRING
    }
}

impl fmt::Display for ComponentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part of what a plan costs, beside its own price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// What is charged.
    pub charge: Charge,
    /// Names it.
    pub key: ComponentKey,
    /// As people read it.
    pub name: String,
    /// How it is taxed, where that is not as the plan is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_category: Option<TaxCategory>,
}

/// What is charged, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Charge {
    /// By the month: what the other charges of the period lack to come to this, for each subscription; by the days on
    /// which it is held.
    Minimum {
        /// The least that a full month costs.
        price: Money,
    },
    /// Once for each subscription, with its first day; never by days.
    OneOff {
        /// What.
        price: Money,
    },
    /// By the month in arrears, for what a property is above what is included; for each unit that is held.
    Property {
        /// So much of it costs nothing.
        included: Decimal,
        /// Which.
        property: PropertyKey,
        /// What a unit of it costs.
        rate: Rate,
        /// In which unit it is counted, where its values have units.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
    },
    /// Again and again, for each unit that is held.
    Recurring {
        /// How often.
        interval: Interval,
        /// What a unit costs.
        rate: Rate,
        /// At which end.
        timing: Timing,
    },
    /// For what was used in a billing period, above what is included; never by days.
    Usage {
        /// So much costs nothing.
        included: Decimal,
        /// What counts it.
        meter: MeterKey,
        /// What a unit costs.
        rate: Rate,
    },
}

/// How often something is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Interval {
    /// By the month: in arrears by billing periods, in advance by terms.
    Month,
    /// By the year, by terms.
    Year,
}

impl Interval {
    /// How many months it has.
    #[must_use]
    pub(super) const fn months(self) -> u32 {
        match self {
            Self::Month => 1,
            Self::Year => 12,
        }
    }
}

/// At which end of a term or period something is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Timing {
    /// When it begins; what changes later is settled when it does.
    Advance,
    /// When it is over.
    Arrears,
}

/// What some units cost together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Rate {
    /// Each unit by the price of the tier that it lies in.
    Graduated(Vec<Tier>),
    /// So much for each package that is begun.
    Package {
        /// For one.
        price: Money,
        /// How many units it has.
        size: Decimal,
    },
    /// Each unit the same.
    Unit(Money),
    /// All units by the price of the tier that their number lies in.
    Volume(Vec<Tier>),
}

/// From how many units on which price is that of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tier {
    /// It begins above so many units; the first above none.
    pub above: Decimal,
    /// Of a unit.
    pub price: Money,
}

impl Charge {
    /// How it is priced.
    #[must_use]
    pub fn rate(&self) -> Cow<'_, Rate> {
        match self {
            Self::Minimum { price } | Self::OneOff { price } => Cow::Owned(Rate::Unit(*price)),
            Self::Property { rate, .. }
            | Self::Recurring { rate, .. }
            | Self::Usage { rate, .. } => Cow::Borrowed(rate),
        }
    }

    /// Whether it is charged by terms, which begin with what is held, and not by billing periods.
    #[must_use]
    pub fn term(&self) -> Option<(Interval, Timing)> {
        match self {
            Self::Recurring { interval: Interval::Month, timing: Timing::Arrears, .. }
            | Self::Minimum { .. }
            | Self::OneOff { .. }
            | Self::Property { .. }
            | Self::Usage { .. } => None,
            Self::Recurring { interval, timing, .. } => Some((*interval, *timing)),
        }
    }

    /// Whether it goes by the days on which something is held.
    #[must_use]
    pub fn goes_by_days(&self) -> bool {
        match self {
            Self::OneOff { .. } | Self::Usage { .. } => false,
            Self::Minimum { .. } | Self::Property { .. } | Self::Recurring { .. } => true,
        }
    }

    /// Whether it is charged by the days of the billing period.
    #[must_use]
    pub fn is_by_period(&self) -> bool {
        self.goes_by_days() && self.term().is_none() && !self.is_minimum()
    }

    /// Whether it is a least amount.
    #[must_use]
    pub fn is_minimum(&self) -> bool {
        matches!(self, Self::Minimum { .. })
    }
}

impl Rate {
    /// What so many units cost, in minor units; none beyond what can be held.
    #[must_use]
    pub fn cost(&self, units: Ratio) -> Option<Ratio> {
        let price = |price: &Money| Ratio::whole(price.minor);
        match self {
            Self::Unit(unit) => units.checked_mul(price(unit)),
            Self::Package { price: package, size } => {
                price(package).checked_mul(units.checked_div(exact(*size)?)?.checked_ceil()?)
            }
            Self::Volume(tiers) => {
                let begun = |tier: &&Tier| exact(tier.above).is_some_and(|above| units > above);
                match tiers.iter().rfind(begun) {
                    Some(tier) => units.checked_mul(price(&tier.price)),
                    None => Some(Ratio::ZERO),
                }
            }
            Self::Graduated(tiers) => {
                let ends = tiers.iter().skip(1).map(|tier| Some(tier.above)).chain([None]);
                tiers.iter().zip(ends).try_fold(Ratio::ZERO, |sum, (tier, end)| {
                    let above = exact(tier.above)?;
                    let until = match end {
                        Some(end) => exact(end).filter(|end| *end < units).unwrap_or(units),
                        None => units,
                    };
                    let within = until.checked_sub(above)?;
                    if within <= Ratio::ZERO {
                        return Some(sum);
                    }
                    sum.checked_add(within.checked_mul(price(&tier.price))?)
                })
            }
        }
    }

    fn prices(&self) -> impl Iterator<Item = &Money> {
        let (one, tiers): (Option<&Money>, &[Tier]) = match self {
            Self::Unit(price) | Self::Package { price, .. } => (Some(price), &[]),
            Self::Volume(tiers) | Self::Graduated(tiers) => (None, tiers),
        };
        one.into_iter().chain(tiers.iter().map(|tier| &tier.price))
    }

    fn problems(&self, at: &str, faults: &mut Faults) {
        faults.ensure(
            self.prices().all(|price| price.minor >= 0),
            &format!("{at}/price"),
            "negative",
            "A price is not negative.",
        );
        match self {
            Self::Unit(_) => {}
            Self::Package { size, .. } => faults.ensure(
                *size > Decimal::ZERO,
                &format!("{at}/packageSize"),
                "out_of_range",
                "A package has some units.",
            ),
            Self::Volume(tiers) | Self::Graduated(tiers) => {
                let begins_at_nothing = tiers.first().is_some_and(|it| it.above == Decimal::ZERO);
                faults.ensure(
                    begins_at_nothing && tiers.is_sorted_by(|a, b| a.above < b.above),
                    &format!("{at}/tiers"),
                    "bad_tiers",
                    "The first tier begins above 0, and each of the others above more than the one before.",
                );
            }
        }
    }
}

impl Component {
    /// Notes why it cannot be a part of what a plan of a service with these properties and meters costs.
    pub(crate) fn problems(
        &self,
        properties: &[Property],
        meters: &[Meter],
        at: &str,
        faults: &mut Faults,
    ) {
        faults.ensure(
            !self.key.is_recurring(),
            &format!("{at}/key"),
            "reserved",
            "This is the key of the plan's own price; give that as the plan's `price`.",
        );
        faults.ensure(
            self.key != ComponentKey::COMMITMENT,
            &format!("{at}/key"),
            "reserved",
            "This is the key of what buyers are committed to.",
        );
        self.charge.rate().problems(at, faults);
        if let Charge::Usage { meter, .. } = &self.charge {
            faults.ensure(
                meters.iter().any(|known| known.key == *meter),
                &format!("{at}/meter"),
                "unknown_meter",
                "The service has no meter of this name.",
            );
        }
        let Charge::Property { property: key, unit, .. } = &self.charge else { return };
        let property = properties.iter().find(|property| property.key == *key);
        let at_property = format!("{at}/property");
        faults.ensure(
            property.is_some(),
            &at_property,
            "unknown_property",
            "The service has no property of this name.",
        );
        let Some(property) = property else { return };
        faults.ensure(
            property.priced && !property.hidden,
            &at_property,
            "not_priced",
            "This property does not drive a price (`priced`), or is hidden, which no bill shows.",
        );
        let units = property.value_type.units();
        let is_known = match unit {
            Some(unit) => units.iter().any(|known| known.name == *unit),
            None => units.is_empty(),
        };
        faults.ensure(
            is_known,
            &format!("{at}/unit"),
            "unknown_unit",
            "This is one of the units of the property's values; left out where these have none.",
        );
    }
}

/// A number of units as somebody wrote it: not negative, without an exponent.
///
/// # Errors
/// `not_a_number`, `out_of_range`.
pub fn units(text: &str) -> Result<Decimal, Invalid> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number = plain.then(|| Decimal::from_str_exact(text).ok()).flatten();
    let number = number
        .ok_or_else(|| Invalid::new("not_a_number", "This must be a number such as 12.5."))?;
    let number = number.normalize();
    if number > Decimal::from(UNITS_MAX) || number.scale() > UNITS_MAX_DECIMALS {
        let detail =
            format!("This is at most {UNITS_MAX}, with at most {UNITS_MAX_DECIMALS} decimals.");
        return Err(Invalid::new("out_of_range", detail));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Currency;
    use crate::usage::Aggregation;

    fn euro(minor: i64) -> Money {
        Money::new(minor, Currency::parse("EUR").unwrap())
    }

    fn tiers(tiers: &[(&str, i64)]) -> Vec<Tier> {
        let tier = |(above, minor): &(&str, i64)| Tier {
            above: units(above).unwrap(),
            price: euro(*minor),
        };
        tiers.iter().map(tier).collect()
    }

    fn cost(rate: &Rate, number: &str) -> Ratio {
        rate.cost(exact(units(number).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn a_volume_price_is_that_of_the_tier_for_all_units() {
        let seats = Rate::Volume(tiers(&[("0", 500), ("14", 400)]));
        for (number, minor) in [("0", 0), ("1", 500), ("14", 7_000), ("15", 6_000)] {
            assert_eq!(cost(&seats, number), Ratio::whole(minor), "{number}");
        }
        // The fifteenth unit has begun.
        assert_eq!(cost(&seats, "14.5"), Ratio::whole(5_800));
    }

    #[test]
    fn a_graduated_price_is_that_of_each_unit_s_own_tier() {
        let calls = Rate::Graduated(tiers(&[("0", 1_000), ("100", 900), ("200", 0)]));
        for (number, minor) in
            [("0", 0), ("90", 90_000), ("100", 100_000), ("150", 145_000), ("1000", 190_000)]
        {
            assert_eq!(cost(&calls, number), Ratio::whole(minor), "{number}");
        }
        assert_eq!(cost(&calls, "100.5"), Ratio::whole(100_450));
    }

    #[test]
    fn a_package_that_is_begun_costs_all_of_it() {
        let mails = Rate::Package { price: euro(250), size: units("1000").unwrap() };
        for (number, minor) in [("0", 0), ("0.5", 250), ("1000", 250), ("1000.1", 500)] {
            assert_eq!(cost(&mails, number), Ratio::whole(minor), "{number}");
        }
    }

    #[test]
    fn a_cost_beyond_what_can_be_held_is_none() {
        let rate = Rate::Unit(euro(i64::MAX));
        let huge = Ratio::new(i128::MAX, 1).unwrap();
        assert_eq!(rate.cost(huge), None);
    }

    #[test]
    fn tiers_begin_at_nothing_and_rise() {
        let codes = |rate: Rate| {
            let charge =
                Charge::Recurring { interval: Interval::Month, rate, timing: Timing::Arrears };
            let key = ComponentKey::parse("seats").unwrap();
            let mut faults = Faults::default();
            Component { charge, key, name: "Seats".to_owned(), tax_category: None }.problems(
                &[],
                &[],
                "/c",
                &mut faults,
            );
            let refused = faults.check().err();
            refused.map(|it| it.faults.into_iter().map(|it| it.pointer).collect::<Vec<_>>())
        };
        assert_eq!(codes(Rate::Volume(tiers(&[("0", 1), ("5", 2)]))), None);
        let at_tiers = Some(vec!["/c/tiers".to_owned()]);
        assert_eq!(codes(Rate::Volume(tiers(&[("1", 1)]))), at_tiers);
        assert_eq!(codes(Rate::Graduated(tiers(&[("0", 1), ("5", 2), ("5", 3)]))), at_tiers);
        assert_eq!(codes(Rate::Graduated(vec![])), at_tiers);
        assert_eq!(codes(Rate::Unit(euro(-1))), Some(vec!["/c/price".to_owned()]));
        let size = Decimal::ZERO;
        let empty = codes(Rate::Package { price: euro(1), size });
        assert_eq!(empty, Some(vec!["/c/packageSize".to_owned()]));
        let size = units("1000").unwrap();
        assert_eq!(codes(Rate::Package { price: euro(1), size }), None);
    }

    #[test]
    fn usage_is_counted_by_a_meter_of_the_service() {
        let meter = |key: &str| Meter {
            aggregation: Aggregation::Sum,
            key: MeterKey::parse(key).unwrap(),
            name: key.to_owned(),
            unit: "GB".to_owned(),
        };
        let counted = Component {
            charge: Charge::Usage {
                included: Decimal::ZERO,
                meter: meter("traffic").key,
                rate: Rate::Unit(euro(5)),
            },
            key: ComponentKey::parse("traffic").unwrap(),
            name: "Traffic".to_owned(),
            tax_category: None,
        };
        let told = |meters: &[Meter]| {
            let mut faults = Faults::default();
            counted.problems(&[], meters, "/c", &mut faults);
            let refused = faults.check().err();
            refused.map(|it| it.faults.into_iter().map(|it| it.code).collect::<Vec<_>>())
        };
        assert_eq!(told(&[meter("traffic"), meter("storage")]), None);
        assert_eq!(told(&[meter("storage")]), Some(vec!["unknown_meter"]));
    }

    #[test]
    fn a_number_of_units_is_plain_and_bounded() {
        assert_eq!(units("12.50").unwrap().to_string(), "12.5");
        for (text, code) in [
            ("-1", "not_a_number"),
            ("1e3", "not_a_number"),
            ("", "not_a_number"),
            ("1000000000001", "out_of_range"),
            ("0.0000000001", "out_of_range"),
        ] {
            assert_eq!(units(text).unwrap_err().code, code, "{text}");
        }
    }

    #[test]
    fn what_is_stored_has_its_keys_in_order() {
        let component = Component {
            charge: Charge::Recurring {
                interval: Interval::Year,
                rate: Rate::Volume(tiers(&[("0", 500), ("14.5", 400)])),
                timing: Timing::Advance,
            },
            key: ComponentKey::parse("seats").unwrap(),
            name: "Seats".to_owned(),
            tax_category: None,
        };
        let stored = serde_json::to_string(&component).unwrap();
        assert_eq!(
            stored,
            r#"{"charge":{"recurring":{"interval":"year","rate":{"volume":[{"above":"0","price":{"currency":"EUR","minor":500}},{"above":"14.5","price":{"currency":"EUR","minor":400}}]},"timing":"advance"}},"key":"seats","name":"Seats"}"#
        );
        assert_eq!(serde_json::from_str::<Component>(&stored).unwrap(), component);
    }
}
