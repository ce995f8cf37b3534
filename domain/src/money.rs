//! Amounts, exactly: whole minor units, rationals between the roundings, percentages. No floating
//! point (billing.md, section 4, Rounding).

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Bug, Invalid, planted};

/// A currency of ISO 4217 that has a minor unit; stored as its code, such as `EUR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// The currency with this code.
    ///
    /// # Errors
    /// `currency_unknown` where the code is none of ISO 4217, or one without a minor unit (gold,
    /// test codes).
    pub fn parse(code: &str) -> Result<Self, Invalid> {
        iso_currency::Currency::from_code(code)
            .filter(|currency| currency.exponent().is_some())
            .map(Self)
            .ok_or_else(|| {
                Invalid::new("currency_unknown", "Give a currency code of ISO 4217, such as EUR.")
            })
    }

    /// The three letters.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// How many decimal digits the minor unit has: EUR 2, JPY 0, KWD 3.
    #[must_use]
    pub fn minor_digits(self) -> u32 {
        self.0.exponent().map_or(0, u32::from)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, Self::parse)
    }
}

/// An amount in a currency's minor unit (cents); shown as a plain decimal, such as `-0.05`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    /// What the amount is in.
    pub currency: Currency,
    /// How many minor units; may be negative.
    pub minor: i64,
}

impl Money {
    /// The largest price that can be entered, either side of zero, in minor units.
    pub const MAX_PRICE_MINOR: i64 = 1_000_000_000_000;

    /// An amount of `minor` units.
    #[must_use]
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { currency, minor }
    }

    /// The amount that a person or program wrote as a plain decimal, such as `12.5` or `-3`.
    ///
    /// # Errors
    /// `amount_malformed` (anything but digits, one point between digits, and a leading minus),
    /// `amount_too_precise` (more decimals than the currency has), `amount_too_large` (beyond
    /// [`Self::MAX_PRICE_MINOR`]).
    pub fn parse(decimal: &str, currency: Currency) -> Result<Self, Invalid> {
        let minor = scaled(decimal, currency.minor_digits()).map_err(|fault| match fault {
            Unscaled::Malformed => {
                Invalid::new("amount_malformed", "Write an amount as a plain decimal: 12.50")
            }
            Unscaled::TooPrecise => Invalid::new(
                "amount_too_precise",
                format!("{currency} has {} decimals.", currency.minor_digits()),
            ),
            Unscaled::TooLarge => too_large(),
        })?;
        if minor.unsigned_abs() > Self::MAX_PRICE_MINOR.unsigned_abs() {
            return Err(too_large());
        }
        Ok(Self { currency, minor })
    }

    /// The sum; none where the currencies differ or it is beyond what can be held.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        (self.currency == other.currency)
            .then(|| self.minor.checked_add(other.minor))?
            .map(|minor| Self { minor, ..self })
    }

    /// The difference; none where the currencies differ or it is beyond what can be held.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(other.checked_neg()?)
    }

    /// The amount with its sign turned, as a reversal books it; none for the one number without
    /// a negative.
    #[must_use]
    pub fn checked_neg(self) -> Option<Self> {
        self.minor.checked_neg().map(|minor| Self { minor, ..self })
    }
}

fn too_large() -> Invalid {
    Invalid::new("amount_too_large", "An amount has at most 1,000,000,000,000 minor units.")
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(self.minor.into(), self.currency.minor_digits()))
    }
}

/// An exact rational, always reduced, its denominator positive; stored as two texts, since JSON
/// numbers do not hold what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ratio {
    numerator: i128,
    denominator: i128,
}

impl Ratio {
    const SHOWN_DIGITS: u32 = 9;

    /// Nothing.
    pub const ZERO: Self = Self::whole(0);

    /// A whole number.
    #[must_use]
    pub const fn whole(number: i64) -> Self {
        // A cast, since `From` is not yet const; it widens.
        Self { numerator: number as i128, denominator: 1 }
    }

    /// `numerator / denominator`, reduced; none where the denominator is zero or a number is
    /// beyond what can be held.
    #[must_use]
    pub fn new(numerator: i128, denominator: i128) -> Option<Self> {
        if denominator == 0 || numerator == i128::MIN || denominator == i128::MIN {
            return None;
        }
        let common = greatest_common_divisor(numerator.unsigned_abs(), denominator.unsigned_abs());
        let common = i128::try_from(common).ok()? * denominator.signum();
        Some(Self { numerator: numerator / common, denominator: denominator / common })
    }

    /// Above the line; carries the sign.
    #[must_use]
    pub const fn numerator(self) -> i128 {
        self.numerator
    }

    /// Below the line; positive.
    #[must_use]
    pub const fn denominator(self) -> i128 {
        self.denominator
    }

    /// The sum; none where a number is beyond what can be held.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        if self.denominator == other.denominator {
            return Self::new(self.numerator.checked_add(other.numerator)?, self.denominator);
        }
        // By the least denominator that both have, so that nothing on the way is larger than it has to be.
        let common = common_divisor(self.denominator, other.denominator)?;
        let (own, its) = (other.denominator / common, self.denominator / common);
        let (left, right) = (self.numerator.checked_mul(own)?, other.numerator.checked_mul(its)?);
        Self::new(left.checked_add(right)?, self.denominator.checked_mul(own)?)
    }

    /// The difference; none where a number is beyond what can be held.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.checked_add(Self { numerator: other.numerator.checked_neg()?, ..other })
    }

    /// The product; none where a number is beyond what can be held.
    #[must_use]
    pub fn checked_mul(self, other: Self) -> Option<Self> {
        // Reduced crosswise first, for the same reason.
        let down = common_divisor(self.numerator, other.denominator)?;
        let up = common_divisor(other.numerator, self.denominator)?;
        Self::new(
            (self.numerator / down).checked_mul(other.numerator / up)?,
            (self.denominator / up).checked_mul(other.denominator / down)?,
        )
    }

    /// The quotient; none where `other` is zero or a number is beyond what can be held.
    #[must_use]
    pub fn checked_div(self, other: Self) -> Option<Self> {
        self.checked_mul(Self::new(other.denominator, other.numerator)?)
    }

    /// As a plain decimal, rounded to `digits` after the point where it has more, without zeros at its end; none beyond what
    /// can be held.
    #[must_use]
    pub fn decimal(self, digits: u32) -> Option<String> {
        let shift = Self::new(10_i128.checked_pow(digits)?, 1)?;
        let rounded = self.checked_mul(shift)?.round_half_away()?;
        Some(without_trailing_zeros(decimal(rounded.into(), digits), digits, 0))
    }

    /// For people: as a plain decimal of up to nine digits after the point, or as the fraction that it is where that is beyond
    /// what can be held.
    #[must_use]
    pub fn shown(self) -> String {
        self.decimal(Self::SHOWN_DIGITS).unwrap_or_else(|| self.to_string())
    }

    /// The least whole number that is not below; none beyond what can be held.
    #[must_use]
    pub fn checked_ceil(self) -> Option<Self> {
        let whole = self.numerator.div_euclid(self.denominator);
        let more = i128::from(self.numerator.rem_euclid(self.denominator) != 0);
        Some(Self { numerator: whole.checked_add(more)?, denominator: 1 })
    }

    /// The nearest whole number, halves away from zero; none beyond `i64`.
    #[must_use]
    pub fn round_half_away(self) -> Option<i64> {
        if planted(Bug::FloatMoney) {
            return Some(self.as_float());
        }
        if planted(Bug::HalfUp) {
            return self.half_up();
        }
        let magnitude = self.numerator.unsigned_abs();
        let denominator = self.denominator.unsigned_abs();
        let (quotient, remainder) = (magnitude / denominator, magnitude % denominator);
        let half_or_more = remainder >= denominator - remainder;
        let rounded = i128::try_from(quotient + u128::from(half_or_more)).ok()?;
        i64::try_from(rounded * self.numerator.signum()).ok()
    }
}

impl Ratio {
    #[expect(clippy::float_arithmetic, reason = "a planted bug")]
    fn as_float(self) -> i64 {
        (self.numerator as f64 / self.denominator as f64).round() as i64
    }

    /// A planted bug.
    fn half_up(self) -> Option<i64> {
        let doubled = self.numerator.checked_mul(2)?.checked_add(self.denominator)?;
        i64::try_from(doubled.div_euclid(self.denominator.checked_mul(2)?)).ok()
    }
}

impl Default for Ratio {
    fn default() -> Self {
        Self::ZERO
    }
}

impl PartialOrd for Ratio {
    /// None where the comparison is beyond what can be computed.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.checked_sub(*other).map(|difference| difference.numerator.cmp(&0))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.numerator, self.denominator)
    }
}

/// How a [`Ratio`] is stored.
#[derive(Serialize, Deserialize)]
struct StoredRatio {
    denominator: String,
    numerator: String,
}

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        StoredRatio {
            denominator: self.denominator.to_string(),
            numerator: self.numerator.to_string(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = StoredRatio::deserialize(deserializer)?;
        let numerator = stored.numerator.parse().map_err(de::Error::custom)?;
        let denominator = stored.denominator.parse().map_err(de::Error::custom)?;
        Self::new(numerator, denominator).ok_or_else(|| de::Error::custom("not a ratio"))
    }
}

fn common_divisor(a: i128, b: i128) -> Option<i128> {
    i128::try_from(greatest_common_divisor(a.unsigned_abs(), b.unsigned_abs())).ok()
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        // Division of 64 bits is an instruction, of 128 a loop.
        if let (Ok(mut small_a), Ok(mut small_b)) = (u64::try_from(a), u64::try_from(b)) {
            while small_b != 0 {
                (small_a, small_b) = (small_b, small_a % small_b);
            }
            return small_a.into();
        }
        (a, b) = (b, a % b);
    }
    a
}

/// A signed percentage with at most four decimals, from -100 to 1000; stored as text, such as
/// `-20` or `12.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent {
    ten_thousandths: i64,
}

impl Percent {
    const DECIMALS: u32 = 4;
    const ONE: i64 = 10_000;
    /// The lowest, in percent: the price falls to nothing.
    pub const MIN: i64 = -100;
    /// The highest, in percent.
    pub const MAX: i64 = 1000;

    /// The percentage that a person or program wrote as a plain decimal.
    ///
    /// # Errors
    /// `percent_malformed`, `percent_too_precise`, `percent_out_of_range`.
    pub fn parse(decimal: &str) -> Result<Self, Invalid> {
        let range =
            || Invalid::new("percent_out_of_range", "A percentage lies between -100 and 1000.");
        let ten_thousandths = scaled(decimal, Self::DECIMALS).map_err(|fault| match fault {
            Unscaled::Malformed => Invalid::new(
                "percent_malformed",
                "Write a percentage as a plain decimal, without a percent sign: -12.5",
            ),
            Unscaled::TooPrecise => {
                Invalid::new("percent_too_precise", "A percentage has at most 4 decimals.")
            }
            Unscaled::TooLarge => range(),
        })?;
        if !(Self::MIN * Self::ONE..=Self::MAX * Self::ONE).contains(&ten_thousandths) {
            return Err(range());
        }
        Ok(Self { ten_thousandths })
    }

    /// This many percent of `amount`: `15` of 200 gives 30. None where a number is beyond what can be held.
    #[must_use]
    pub fn of(self, amount: Ratio) -> Option<Ratio> {
        let whole = 100 * Self::ONE;
        amount.checked_mul(Ratio::new(self.ten_thousandths.into(), whole.into())?)
    }

    /// `amount` plus this many percent of it: `-20` of 100 gives 80. None where a number is beyond
    /// what can be held.
    #[must_use]
    pub fn apply(self, amount: Ratio) -> Option<Ratio> {
        let whole = 100 * Self::ONE;
        amount.checked_mul(Ratio::new((whole + self.ten_thousandths).into(), whole.into())?)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_trailing_zeros(
            decimal(self.ten_thousandths.into(), Self::DECIMALS),
            Self::DECIMALS,
            0,
        ))
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, Self::parse)
    }
}

/// A price of one unit for one month, in minor units: exact, and as people read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitPrice {
    /// In major units, rounded once to the minor unit plus two digits; zeros beyond the minor
    /// unit are left out (billing.md, section 4, Rounding).
    pub decimal: String,
    /// In minor units.
    pub exact: Ratio,
}

impl UnitPrice {
    const EXTRA_DIGITS: u32 = 2;

    /// A price of `minor` units; none where it is beyond what can be held.
    #[must_use]
    pub fn new(minor: Ratio, currency: Currency) -> Option<Self> {
        let digits = currency.minor_digits() + Self::EXTRA_DIGITS;
        let shift = Ratio::whole(10_i64.pow(Self::EXTRA_DIGITS));
        let rounded = minor.checked_mul(shift)?.round_half_away()?;
        let decimal = without_trailing_zeros(
            decimal(rounded.into(), digits),
            digits,
            currency.minor_digits(),
        );
        Some(Self { decimal, exact: minor })
    }
}

/// Why a text is not a decimal of so many digits.
enum Unscaled {
    Malformed,
    TooPrecise,
    TooLarge,
}

/// The number that a plain decimal writes, times `10^decimals`.
fn scaled(text: &str, decimals: u32) -> Result<i64, Unscaled> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((_, "")) => return Err(Unscaled::Malformed),
        Some(parts) => parts,
        None => (unsigned, ""),
    };
    let plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) {
        return Err(Unscaled::Malformed);
    }
    let missing = u32::try_from(fraction.len())
        .ok()
        .and_then(|given| decimals.checked_sub(given))
        .ok_or(Unscaled::TooPrecise)?;
    let digits = whole.bytes().chain(fraction.bytes()).map(|byte| i64::from(byte - b'0'));
    let magnitude = digits
        .chain((0..missing).map(|_| 0))
        .try_fold(0_i64, |number, digit| number.checked_mul(10)?.checked_add(digit))
        .ok_or(Unscaled::TooLarge)?;
    Ok(if negative { -magnitude } else { magnitude })
}

/// `number / 10^decimals` as a plain decimal.
fn decimal(number: i128, decimals: u32) -> String {
    let sign = if number < 0 { "-" } else { "" };
    let magnitude = number.unsigned_abs();
    if decimals == 0 {
        return format!("{sign}{magnitude}");
    }
    let unit = 10_u128.pow(decimals);
    let width = decimals as usize;
    format!("{sign}{}.{:0width$}", magnitude / unit, magnitude % unit)
}

/// A decimal of `decimals` digits without the zeros at its end, of which `keep` stay.
fn without_trailing_zeros(mut text: String, decimals: u32, keep: u32) -> String {
    for _ in keep..decimals {
        if text.ends_with('0') {
            text.pop();
        } else {
            return text;
        }
    }
    if text.ends_with('.') {
        text.pop();
    }
    text
}

/// Reads a text and parses it.
fn parsed<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: impl Fn(&str) -> Result<T, Invalid>,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(|invalid| de::Error::custom(invalid.detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    #[test]
    fn money_reads_and_shows_the_decimals_of_its_currency() {
        for (text, code, minor, shown) in [
            ("123.45", "EUR", 12_345, "123.45"),
            ("12.5", "EUR", 1_250, "12.50"),
            ("-0.05", "EUR", -5, "-0.05"),
            ("-0", "EUR", 0, "0.00"),
            ("9800", "JPY", 9_800, "9800"),
            ("31.5", "KWD", 31_500, "31.500"),
            ("10000000000.00", "EUR", 1_000_000_000_000, "10000000000.00"),
        ] {
            let money = Money::parse(text, currency(code)).unwrap();
            assert_eq!((money.minor, money.to_string().as_str()), (minor, shown), "{text} {code}");
        }
    }

    #[test]
    fn an_amount_that_is_not_a_plain_decimal_is_refused() {
        let refused = |text: &str, code| Money::parse(text, currency(code)).unwrap_err().code;
        for text in [
            "", "-", "+1", " 1", "1 ", "1e2", ".5", "5.", "1.2.3", "1,5", "--1", "1.-5", "٣", "0x1",
        ] {
            assert_eq!(refused(text, "EUR"), "amount_malformed", "{text}");
        }
        assert_eq!(refused("1.234", "EUR"), "amount_too_precise");
        assert_eq!(refused("1.0", "JPY"), "amount_too_precise");
        assert_eq!(refused("10000000000.01", "EUR"), "amount_too_large");
        assert_eq!(refused(&"9".repeat(4000), "EUR"), "amount_too_large");
    }

    #[test]
    fn money_of_two_currencies_has_no_sum() {
        let (euro, yen) = (Money::new(1, currency("EUR")), Money::new(1, currency("JPY")));
        assert_eq!(euro.checked_add(yen), None);
        assert_eq!(euro.checked_sub(euro), Some(Money::new(0, currency("EUR"))));
        assert_eq!(Money::new(i64::MAX, currency("EUR")).checked_add(euro), None);
        assert_eq!(Money::new(i64::MIN, currency("EUR")).checked_neg(), None);
    }

    #[test]
    fn halves_round_away_from_zero() {
        for (numerator, denominator, rounded) in
            [(5, 2, 3), (-5, 2, -3), (9, 4, 2), (-9, 4, -2), (7, 3, 2), (8, 3, 3), (0, 7, 0)]
        {
            let ratio = Ratio::new(numerator, denominator).unwrap();
            assert_eq!(ratio.round_half_away(), Some(rounded), "{ratio}");
        }
    }

    #[test]
    fn what_is_not_whole_is_raised_to_the_next_whole_number() {
        for (numerator, denominator, whole) in [(4, 2, 2), (5, 2, 3), (-5, 2, -2), (0, 3, 0)] {
            let raised = Ratio::new(numerator, denominator).unwrap().checked_ceil();
            assert_eq!(raised, Some(Ratio::whole(whole)));
        }
    }

    #[test]
    fn a_ratio_is_shown_as_a_plain_decimal() {
        for (numerator, denominator, shown) in
            [(2, 1, "2"), (3, 2, "1.5"), (-1, 8, "-0.125"), (1, 3, "0.333333"), (0, 1, "0")]
        {
            assert_eq!(Ratio::new(numerator, denominator).unwrap().decimal(6).unwrap(), shown);
        }
    }

    #[test]
    fn a_ratio_is_reduced_and_never_wraps() {
        assert_eq!(Ratio::new(6, -4), Ratio::new(-3, 2));
        assert_eq!(Ratio::new(1, 0), None);
        let huge = Ratio::new(i128::MAX, 1).unwrap();
        assert_eq!(huge.checked_add(huge), None);
        assert_eq!(huge.checked_mul(huge), None);
        assert_eq!(huge.round_half_away(), None);
        assert_eq!(Ratio::ZERO.checked_div(Ratio::ZERO), None);
        let third = Ratio::new(1, 3).unwrap();
        assert_eq!(third.checked_sub(third), Some(Ratio::ZERO));
        assert_eq!(third.checked_div(third), Some(Ratio::whole(1)));
        assert!(third < Ratio::whole(1));
    }

    /// As amounts are that went through two exchange rates of ten decimals, and by the days of two months.
    #[test]
    fn what_is_held_can_be_added_and_multiplied_where_the_result_is_held() {
        let fine = 10_i128.pow(20);
        let (a, b) = (Ratio::new(1, 30 * fine).unwrap(), Ratio::new(1, 31 * fine).unwrap());
        assert_eq!(a.checked_add(b), Ratio::new(61, 930 * fine));
        let (a, b) = (Ratio::new(7 * fine, 3).unwrap(), Ratio::new(3 * fine, 7 * fine).unwrap());
        assert_eq!(a.checked_mul(b), Ratio::new(fine, 1));
        assert_eq!(a.checked_div(a), Some(Ratio::whole(1)));
        assert_eq!(Ratio::ZERO.checked_mul(a), Some(Ratio::ZERO));
    }

    #[test]
    fn a_ratio_says_what_is_above_and_below_the_line() {
        let ratio = Ratio::new(20, -6).unwrap();
        assert_eq!((ratio.numerator(), ratio.denominator()), (-10, 3));
        assert_eq!(ratio.to_string(), "-10/3");
    }

    #[test]
    fn a_currency_is_shown_by_its_code_and_says_how_many_decimals_it_has() {
        for (code, digits) in [("EUR", 2), ("JPY", 0), ("KWD", 3)] {
            assert_eq!(currency(code).to_string(), code);
            assert_eq!(currency(code).minor_digits(), digits);
        }
    }

    #[test]
    fn a_percentage_keeps_its_decimals() {
        for text in ["-20", "12.5", "0.0001", "-100", "1000", "0"] {
            let percent = Percent::parse(text).unwrap();
            assert_eq!(percent.to_string(), text);
            let stored = serde_json::to_string(&percent).unwrap();
            assert_eq!(stored, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Percent>(&stored).unwrap(), percent);
        }
        for (text, code) in [
            ("-100.0001", "percent_out_of_range"),
            ("1000.5", "percent_out_of_range"),
            ("1.00001", "percent_too_precise"),
            ("20%", "percent_malformed"),
        ] {
            assert_eq!(Percent::parse(text).unwrap_err().code, code);
        }
        let reduced = Percent::parse("-20").unwrap().apply(Ratio::whole(10_000));
        assert_eq!(reduced, Some(Ratio::whole(8_000)));
    }

    #[test]
    fn a_unit_price_shows_two_digits_more_than_money_where_it_has_them() {
        let shown = |numerator, denominator, code| {
            let exact = Ratio::new(numerator, denominator).unwrap();
            UnitPrice::new(exact, currency(code)).unwrap().decimal
        };
        assert_eq!(shown(8_000, 1, "EUR"), "80.00");
        assert_eq!(shown(10_000, 3, "EUR"), "33.3333");
        assert_eq!(shown(101, 10, "EUR"), "0.101");
        assert_eq!(shown(980, 1, "JPY"), "980");
        assert_eq!(shown(1, 200, "EUR"), "0.0001");
    }

    #[test]
    fn what_is_stored_reads_back_with_its_keys_in_order() {
        let money = Money::new(12_345, currency("EUR"));
        let stored = serde_json::to_string(&money).unwrap();
        assert_eq!(stored, r#"{"currency":"EUR","minor":12345}"#);
        assert_eq!(serde_json::from_str::<Money>(&stored).unwrap(), money);
        let ratio = Ratio::new(-20_000, 3).unwrap();
        let stored = serde_json::to_string(&ratio).unwrap();
        assert_eq!(stored, r#"{"denominator":"3","numerator":"-20000"}"#);
        assert_eq!(serde_json::from_str::<Ratio>(&stored).unwrap(), ratio);
        assert!(serde_json::from_str::<Currency>("\"XXX\"").is_err());
        assert!(serde_json::from_str::<Currency>("\"eur\"").is_err());
    }
}
