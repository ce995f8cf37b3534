//! Values of their own kind: money, dates, positions.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, SimpleObject, Value};
use chrono::{DateTime, NaiveDate, Utc};
use domain::billing::BillingSettings;
use domain::money::{Money as Exact, UnitPrice as ExactPrice};

use super::reading::{Reading, Resolved};
use crate::travel::{self, Then};

/// A calendar date: `2019-11-30`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Date(pub(crate) NaiveDate);

/// A calendar date: `2019-11-30`.
#[Scalar]
impl ScalarType for Date {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) if text.len() == "2019-11-30".len() => match text.parse() {
                Ok(date) => Ok(Self(date)),
                Err(_) => Err(InputValueError::custom("This is a date such as 2019-11-30.")),
            },
            _ => Err(InputValueError::custom("This is a date such as 2019-11-30.")),
        }
    }

    fn is_valid(value: &Value) -> bool {
        Self::parse(value.clone()).is_ok()
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// A whole number that may be larger than an Int can be, as text: `"1234"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BigInt(pub(crate) i64);

/// A whole number that may be larger than an Int can be, as text: `"1234"`.
#[Scalar]
impl ScalarType for BigInt {
    fn parse(value: Value) -> InputValueResult<Self> {
        let number = match &value {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.as_i64(),
            _ => None,
        };
        number.map(Self).ok_or_else(|| InputValueError::custom("This is a whole number."))
    }

    fn is_valid(value: &Value) -> bool {
        Self::parse(value.clone()).is_ok()
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// A place in the log: 1, 2, 3, ... as text: `"1234"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position(pub(crate) u64);

/// A place in the log: 1, 2, 3, ... as text: `"1234"`.
#[Scalar]
impl ScalarType for Position {
    fn parse(value: Value) -> InputValueResult<Self> {
        let number = match &value {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.as_u64(),
            _ => None,
        };
        number.map(Self).ok_or_else(|| InputValueError::custom("This is a position in the log."))
    }

    fn is_valid(value: &Value) -> bool {
        Self::parse(value.clone()).is_ok()
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// What was known when: a position in the log (`"1234"`), or a time (`"2019-11-30T10:00:00Z"`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KnownAt {
    /// After this event.
    Position(u64),
    /// At this time.
    Time(DateTime<Utc>),
}

/// What was known when: a position in the log (`"1234"`), or a time (`"2019-11-30T10:00:00Z"`).
#[Scalar]
impl ScalarType for KnownAt {
    fn parse(value: Value) -> InputValueResult<Self> {
        let known_at = match &value {
            Value::Number(number) => number.as_u64().map(Self::Position),
            Value::String(text) => text.parse().map(Self::Position).ok().or_else(|| {
                let time = DateTime::parse_from_rfc3339(text).ok()?;
                Some(Self::Time(time.to_utc()))
            }),
            _ => None,
        };
        known_at.ok_or_else(|| {
            InputValueError::custom("This is a position, or a time such as 2019-11-30T10:00:00Z.")
        })
    }

    fn is_valid(value: &Value) -> bool {
        Self::parse(value.clone()).is_ok()
    }

    fn to_value(&self) -> Value {
        Value::String(match self {
            Self::Position(position) => position.to_string(),
            Self::Time(time) => time.to_rfc3339(),
        })
    }
}

impl KnownAt {
    /// The last position that was known.
    pub(crate) async fn position(self, reading: &Reading) -> Resolved<u64> {
        match self {
            Self::Position(position) => Ok(position),
            Self::Time(time) => Ok(reading.app.log().position_at(time.timestamp_micros()).await?),
        }
    }
}

/// As of which moment of the business: a time (`"2019-11-30T10:00:00Z"`), or a date (`"2019-11-30"`: its midnight where the
/// seller is).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AsOf(pub(crate) travel::AsOf);

/// As of which moment of the business: a time (`"2019-11-30T10:00:00Z"`), or a date (`"2019-11-30"`: its midnight where the
/// seller is).
#[Scalar]
impl ScalarType for AsOf {
    fn parse(value: Value) -> InputValueResult<Self> {
        let as_of = match &value {
            Value::String(text) => travel::AsOf::parse(text),
            _ => None,
        };
        as_of.map(Self).ok_or_else(|| InputValueError::custom(travel::AsOf::IS))
    }

    fn is_valid(value: &Value) -> bool {
        Self::parse(value.clone()).is_ok()
    }

    fn to_value(&self) -> Value {
        Value::String(match self.0 {
            travel::AsOf::Date(date) => date.to_string(),
            travel::AsOf::Time(time) => time.to_rfc3339(),
        })
    }
}

/// When a question is about, as it was asked for.
pub(crate) type Asked = (Option<AsOf>, Option<KnownAt>);

/// When a question is about, where somebody bills by these settings.
pub(crate) async fn then(
    reading: &Reading,
    (as_of, known_at): Asked,
    settings: &BillingSettings,
) -> Resolved<Then> {
    let as_of = as_of.map(|as_of| as_of.0.moment(settings));
    let known_at = match known_at {
        None => None,
        Some(known_at) => Some(known_at.position(reading).await?),
    };
    Ok(Then { as_of, known_at })
}

/// An amount of money. Never a floating-point number.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct Money {
    /// A plain decimal, such as `-66.67`.
    pub(crate) amount: String,
    /// The same in minor units, such as cents.
    pub(crate) minor: BigInt,
    /// The code of ISO 4217, such as `EUR`.
    pub(crate) currency: String,
}

impl From<Exact> for Money {
    fn from(money: Exact) -> Self {
        Self {
            amount: money.to_string(),
            minor: BigInt(money.minor),
            currency: money.currency.code().to_owned(),
        }
    }
}

/// A price per unit and full period.
#[derive(Clone, Debug, SimpleObject)]
pub(crate) struct UnitPrice {
    /// A plain decimal, rounded to two digits more than the currency has.
    pub(crate) amount: String,
    /// In minor units, exactly: a fraction such as `4000/3`.
    pub(crate) exact: String,
}

impl From<&ExactPrice> for UnitPrice {
    fn from(price: &ExactPrice) -> Self {
        Self { amount: price.decimal.clone(), exact: price.exact.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_known_is_named_by_position_or_time() {
        let parse = |text: &str| KnownAt::parse(Value::String(text.to_owned())).ok();
        assert_eq!(parse("12"), Some(KnownAt::Position(12)));
        let time = "2019-11-30T10:00:00Z".parse().unwrap();
        assert_eq!(parse("2019-11-30T11:00:00+01:00"), Some(KnownAt::Time(time)));
        for bad in ["", "-1", "yesterday", "2019-11-30"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_moment_is_a_time_or_a_date() {
        let parse = |text: &str| AsOf::parse(Value::String(text.to_owned())).is_ok();
        for good in ["2019-11-30", "2019-11-30T10:00:00Z", "2019-11-30T10:00:00.123456789+01:00"] {
            assert!(parse(good), "{good}");
        }
        for bad in ["", "12", "yesterday", "2019-11-31", "2019-11-30T10:00:00", "2019-1-1"] {
            assert!(!parse(bad), "{bad}");
        }
        assert!(AsOf::parse(Value::Number(12.into())).is_err());
    }

    #[test]
    fn a_date_is_written_in_one_way() {
        let parse = |text: &str| Date::parse(Value::String(text.to_owned())).is_ok();
        assert!(parse("2019-11-30"));
        for bad in ["2019-11-31", "2019-1-1", "+2019-11-30", "30.11.2019", ""] {
            assert!(!parse(bad), "{bad}");
        }
    }
}
