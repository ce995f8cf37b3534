//! What the values of a property are: types with bounds, and the one text that each value is.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::OnceLock;

use chrono::NaiveDate;
use regex::{Regex, RegexBuilder};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{VALUE_MAX_CHARS, is_default, is_false};
use crate::money::Ratio;
use crate::text::{Address, line};
use crate::{Faults, Invalid, PropertyKey, ServiceKey};

/// Most items of a list, and most options of a choice.
pub const ITEMS_MAX: usize = 200;
/// Longest regular expression, in characters.
const PATTERN_MAX_CHARS: usize = 500;
/// Largest compiled regular expression, in bytes: `x{1000}{1000}` is short to write.
const PATTERN_MAX_BYTES: usize = 256 * 1024;
/// How a quantity without a bound is written.
const UNLIMITED: &str = "Unlimited";

/// What the values of a property are, and within which bounds. Bounds are inclusive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ValueType {
    /// `true` or `false`.
    Boolean,
    /// One of these.
    Choice {
        /// In the order in which they are offered.
        options: Vec<Choice>,
    },
    /// One of what a query lists for the holder when it is filled in.
    ChoiceOf {
        /// The customer's instances of this service, by name: those that are held then.
        instances_of: ServiceKey,
    },
    /// A day, such as `2019-11-30`.
    Date {
        /// The last.
        #[serde(skip_serializing_if = "Option::is_none")]
        max: Option<NaiveDate>,
        /// The first.
        #[serde(skip_serializing_if = "Option::is_none")]
        min: Option<NaiveDate>,
    },
    /// A mail address.
    Email,
    /// A host's name (RFC 1123, section 2.1).
    Hostname,
    /// A whole number.
    Integer {
        /// The largest.
        #[serde(skip_serializing_if = "Option::is_none")]
        max: Option<i64>,
        /// The smallest.
        #[serde(skip_serializing_if = "Option::is_none")]
        min: Option<i64>,
    },
    /// An address of the internet protocol, version 4 or 6.
    Ip,
    /// Several texts, each once.
    List {
        /// At most so many.
        #[serde(skip_serializing_if = "Option::is_none")]
        max_items: Option<usize>,
        /// At least so many.
        #[serde(default, skip_serializing_if = "is_default")]
        min_items: usize,
        /// Each is one of these; none: any text.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<Choice>,
    },
    /// A decimal number.
    Number {
        /// The largest.
        #[serde(skip_serializing_if = "Option::is_none")]
        max: Option<Decimal>,
        /// The smallest.
        #[serde(skip_serializing_if = "Option::is_none")]
        min: Option<Decimal>,
    },
    /// So much of a unit, such as `100 GB`.
    Quantity {
        /// The most.
        #[serde(skip_serializing_if = "Option::is_none")]
        max: Option<String>,
        /// The least.
        #[serde(skip_serializing_if = "Option::is_none")]
        min: Option<String>,
        /// In which it can be given.
        units: Vec<Unit>,
        /// Whether `Unlimited` is a value.
        #[serde(default, skip_serializing_if = "is_false")]
        unlimited: bool,
    },
    /// The name of a secret.
    SecretRef,
    /// A line of text.
    Text {
        /// At most so many characters.
        #[serde(skip_serializing_if = "Option::is_none")]
        max_length: Option<usize>,
        /// At least so many characters.
        #[serde(default, skip_serializing_if = "is_default")]
        min_length: usize,
        /// What the whole text looks like.
        #[serde(skip_serializing_if = "Option::is_none")]
        pattern: Option<Pattern>,
    },
    /// An absolute address of the web.
    Url {
        /// `https` and the like; none: `http` and `https`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        schemes: Vec<String>,
    },
}

/// One of the values that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// As people read it; none: the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What is stored.
    pub value: String,
}

/// A unit of a quantity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// How many of the smallest unit it is.
    pub factor: u64,
    /// `GB`.
    pub name: String,
}

/// A regular expression that matches whole values, in time linear in their length.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern {
    text: String,
    #[serde(skip)]
    compiled: OnceLock<Option<Regex>>,
}

/// A value as a caller gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// `true` or `false`.
    Boolean(bool),
    /// Several texts.
    List(Vec<String>),
    /// A number as it was written.
    Number(String),
    /// A text; of every type there is one.
    Text(String),
}

impl Default for ValueType {
    fn default() -> Self {
        Self::Text { max_length: None, min_length: 0, pattern: None }
    }
}

impl Eq for Pattern {}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Unit {
    /// Of data, in steps of a thousand.
    #[must_use]
    pub fn of_data() -> Vec<Self> {
        let unit = |(name, factor): (&str, u64)| Self { factor, name: name.to_owned() };
        [("MB", 1), ("GB", 1_000), ("TB", 1_000_000), ("PB", 1_000_000_000)].map(unit).to_vec()
    }
}

impl Pattern {
    /// A regular expression, which [`Pattern::check`] may find to be none.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { text, compiled: OnceLock::new() }
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is one that can be used.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.text.chars().count() > PATTERN_MAX_CHARS {
            let detail =
                format!("A regular expression has at most {PATTERN_MAX_CHARS} characters.");
            return Err(Invalid::new("too_long", detail));
        }
        match self.compile() {
            Ok(_) => Ok(()),
            Err(regex::Error::CompiledTooBig(_)) => Err(Invalid::new(
                "pattern_too_large",
                "This regular expression repeats too much; make it simpler.",
            )),
            Err(error) => {
                let detail = error.to_string();
                let last = detail.lines().last().unwrap_or_default();
                let detail = format!("This is no regular expression: {last}.");
                Err(Invalid::new("not_a_pattern", detail))
            }
        }
    }

    fn compile(&self) -> Result<Regex, regex::Error> {
        // The pattern by itself first, so that it cannot end the group that it is put into.
        let build = |text: &str| RegexBuilder::new(text).size_limit(PATTERN_MAX_BYTES).build();
        build(&self.text)?;
        build(&format!("^(?:{})$", self.text))
    }

    /// Whether the whole of `value` looks like it. What is no regular expression matches nothing.
    pub(super) fn matches(&self, value: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| self.compile().ok());
        compiled.as_ref().is_some_and(|regex| regex.is_match(value))
    }
}

impl Given {
    /// As a text: what most types are read from.
    fn text(&self) -> Result<String, Invalid> {
        match self {
            Self::Boolean(value) => Ok(value.to_string()),
            Self::Number(text) | Self::Text(text) => Ok(text.clone()),
            Self::List(_) => Err(Invalid::new("wrong_type", "This is one value, not a list.")),
        }
    }

    fn items(&self) -> Vec<String> {
        match self {
            Self::List(items) => items.clone(),
            Self::Text(text) if text.trim().is_empty() => Vec::new(),
            Self::Text(text) => text.lines().map(str::to_owned).collect(),
            Self::Boolean(value) => vec![value.to_string()],
            Self::Number(text) => vec![text.clone()],
        }
    }
}

impl From<&str> for Given {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl ValueType {
    /// The canonical form of a value, if it is one of this type.
    pub(super) fn parse(&self, given: &Given) -> Result<String, Invalid> {
        if let Self::List { max_items, min_items, options } = self {
            return list(&given.items(), *min_items, *max_items, options);
        }
        let text = given.text()?;
        let text = text.trim();
        match self {
            Self::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" => Ok("true".to_owned()),
                "false" => Ok("false".to_owned()),
                _ => Err(Invalid::new("not_a_boolean", "This must be true or false.")),
            },
            Self::Choice { options } => chosen(text, options),
            // Whether it is listed is looked up where it is filled in.
            Self::ChoiceOf { .. } => line(text, VALUE_MAX_CHARS),
            Self::Date { max, min } => {
                let date = NaiveDate::from_str(text).map_err(|_| {
                    Invalid::new("not_a_date", "This must be a date such as 2019-11-30.")
                })?;
                within(date, min.as_ref(), max.as_ref()).map(|()| date.to_string())
            }
            Self::Email => Address::parse(text).map(|address| address.to_string()),
            Self::Hostname => hostname(text),
            Self::Integer { max, min } => {
                let number = i64::from_str(text)
                    .map_err(|_| Invalid::new("not_an_integer", "This must be a whole number."))?;
                within(number, min.as_ref(), max.as_ref()).map(|()| number.to_string())
            }
            Self::Ip => IpAddr::from_str(text).map(|address| address.to_string()).map_err(|_| {
                Invalid::new(
                    "not_an_ip",
                    "This must be an address such as 192.0.2.1 or 2001:db8::1.",
                )
            }),
            Self::List { .. } => unreachable!("read above"),
            Self::Number { max, min } => {
                let number = decimal(text)?;
                within(number, min.as_ref(), max.as_ref()).map(|()| number.to_string())
            }
            Self::Quantity { max, min, unlimited, units } => {
                quantity(text, min.as_deref(), max.as_deref(), *unlimited, units)
            }
            Self::SecretRef => {
                PropertyKey::parse(text).map(|key| key.to_string()).ok_or_else(|| {
                    Invalid::new(
                        "not_a_secret_name",
                        "This names a secret: letters A-Z, digits, `-`, `_` and `.`.",
                    )
                })
            }
            Self::Text { max_length, min_length, pattern } => {
                if *min_length == 0 && text.is_empty() {
                    return Ok(String::new());
                }
                let text = line(text, max_length.unwrap_or(VALUE_MAX_CHARS))?;
                if text.chars().count() < *min_length {
                    let detail = format!("This must have at least {min_length} characters.");
                    return Err(Invalid::new("too_short", detail));
                }
                match pattern {
                    Some(pattern) if !pattern.matches(&text) => {
                        let detail = format!("This must look like {}.", pattern.as_str());
                        Err(Invalid::new("does_not_match", detail))
                    }
                    _ => Ok(text),
                }
            }
            Self::Url { schemes } => web_address(text, schemes),
        }
    }

    /// Whether a price can be had by multiplying with its values.
    pub(super) fn is_counted(&self) -> bool {
        matches!(
            self,
            Self::Integer { .. } | Self::Number { .. } | Self::Quantity { unlimited: false, .. }
        )
    }

    /// The units of its values, where they have any.
    #[must_use]
    pub fn units(&self) -> &[Unit] {
        match self {
            Self::Quantity { units, .. } => units,
            _ => &[],
        }
    }

    /// Notes what is wrong with its bounds; `at` points to the property, which has them as fields.
    pub(super) fn problems(&self, at: &str, faults: &mut Faults) {
        let at = |field: &str| format!("{at}/{field}");
        let (bound, fits) = match self {
            Self::Boolean
            | Self::ChoiceOf { .. }
            | Self::Email
            | Self::Hostname
            | Self::Ip
            | Self::SecretRef => return,
            Self::Choice { options } => {
                check_options(options, &at("options"), faults);
                faults.ensure(
                    !options.is_empty(),
                    &at("options"),
                    "no_option",
                    "A choice has at least one option.",
                );
                return;
            }
            Self::List { max_items, min_items, options } => {
                check_options(options, &at("options"), faults);
                ("maxItems", holds(*min_items, *max_items, ITEMS_MAX))
            }
            Self::Date { max, min } => ("max", ordered(min.as_ref(), max.as_ref())),
            Self::Integer { max, min } => ("max", ordered(min.as_ref(), max.as_ref())),
            Self::Number { max, min } => ("max", ordered(min.as_ref(), max.as_ref())),
            Self::Quantity { max, min, units, .. } => {
                check_units(units, &at("units"), faults);
                let mut bound = |field: &str, text: &Option<String>| {
                    let size = text.as_deref().map(|text| Size::parse(text, units));
                    size.and_then(|size| faults.take(&at(field), size)).map(|size| size.smallest)
                };
                let (min, max) = (bound("min", min), bound("max", max));
                ("max", ordered(min.as_ref(), max.as_ref()))
            }
            Self::Text { max_length, min_length, pattern } => {
                if let Some(pattern) = pattern {
                    faults.take(&at("pattern"), pattern.check());
                }
                ("maxLength", holds(*min_length, *max_length, VALUE_MAX_CHARS))
            }
            Self::Url { schemes } => ("schemes", schemes.iter().all(|scheme| is_scheme(scheme))),
        };
        faults.ensure(
            fits,
            &at(bound),
            "bad_bounds",
            "These bounds leave no value, or are beyond what values can be.",
        );
    }
}

fn ordered<T: PartialOrd>(min: Option<&T>, max: Option<&T>) -> bool {
    min.zip(max).is_none_or(|(min, max)| min <= max)
}

/// Whether there are sizes from `min` to `max`, none of them beyond `most`.
fn holds(min: usize, max: Option<usize>, most: usize) -> bool {
    let max = max.unwrap_or(most);
    min <= max && max <= most
}

fn within<T: PartialOrd + std::fmt::Display>(
    value: T,
    min: Option<&T>,
    max: Option<&T>,
) -> Result<(), Invalid> {
    let detail = match (min, max) {
        (Some(min), _) if value < *min => format!("This must be at least {min}."),
        (_, Some(max)) if value > *max => format!("This must be at most {max}."),
        _ => return Ok(()),
    };
    Err(Invalid::new("out_of_range", detail))
}

fn decimal(text: &str) -> Result<Decimal, Invalid> {
    // As people write it: no exponent, no blanks or underscores between.
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
    let number = plain.then(|| Decimal::from_str_exact(text).ok()).flatten();
    let number = number
        .ok_or_else(|| Invalid::new("not_a_number", "This must be a number such as 12.5."))?;
    Ok(number.normalize())
}

fn chosen(text: &str, options: &[Choice]) -> Result<String, Invalid> {
    if let Some(option) = options.iter().find(|option| option.value == text) {
        return Ok(option.value.clone());
    }
    let known: Vec<_> = options.iter().map(|option| option.value.as_str()).collect();
    Err(Invalid::new("not_a_choice", format!("This must be one of: {}.", known.join(", "))))
}

fn list(
    items: &[String],
    min_items: usize,
    max_items: Option<usize>,
    options: &[Choice],
) -> Result<String, Invalid> {
    let mut texts = Vec::with_capacity(items.len().min(ITEMS_MAX));
    within(items.len(), Some(&min_items), Some(&max_items.unwrap_or(ITEMS_MAX))).map_err(
        |Invalid { detail, .. }| Invalid::new("wrong_count", format!("Items: {detail}")),
    )?;
    for item in items {
        let text = line(item, VALUE_MAX_CHARS)?;
        let text = if options.is_empty() { text } else { chosen(&text, options)? };
        if texts.contains(&text) {
            return Err(Invalid::new("duplicate", format!("{text} is there twice.")));
        }
        texts.push(text);
    }
    Ok(texts.join("\n"))
}

/// The items of a list's value.
pub fn items_of(value: &str) -> impl Iterator<Item = &str> {
    value.lines()
}

/// A host's name in lower case: labels of letters, digits and inner hyphens (RFC 1123, section 2.1).
fn hostname(text: &str) -> Result<String, Invalid> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(label) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(Invalid::new("not_a_hostname", "This must be a host's name such as mail.example.com."))
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.')
        })
}

/// An absolute address with a host, without a user in it (RFC 3986, section 3).
fn web_address(text: &str, schemes: &[String]) -> Result<String, Invalid> {
    let allowed = |scheme: &str| match schemes {
        [] => matches!(scheme, "http" | "https"),
        _ => schemes.iter().any(|known| known == scheme),
    };
    let wanted = || {
        let known = if schemes.is_empty() { "http, https".to_owned() } else { schemes.join(", ") };
        let detail = format!(
            "This must be an address such as https://example.com/path, beginning with: {known}."
        );
        Invalid::new("not_a_url", detail)
    };
    let parsed = url::Url::parse(text).map_err(|_| wanted())?;
    let fits = allowed(parsed.scheme())
        && parsed.has_host()
        && parsed.username().is_empty()
        && parsed.password().is_none();
    if fits { Ok(parsed.to_string()) } else { Err(wanted()) }
}

/// A quantity that was read.
struct Size {
    /// As it is written.
    text: String,
    /// In the smallest unit.
    smallest: Decimal,
}

impl Size {
    fn parse(text: &str, units: &[Unit]) -> Result<Self, Invalid> {
        let wanted = || {
            let known: Vec<_> = units.iter().map(|unit| unit.name.as_str()).collect();
            let example = known.first().unwrap_or(&"units");
            let detail = format!(
                "This must be a number and a unit such as 100 {example}; units: {}.",
                known.join(", ")
            );
            Invalid::new("not_a_quantity", detail)
        };
        let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(wanted)?;
        let (number, name) = text.split_at(split);
        let number = decimal(number).map_err(|_| wanted())?;
        let unit = units.iter().find(|unit| unit.name.eq_ignore_ascii_case(name.trim()));
        let unit = unit.ok_or_else(wanted)?;
        let smallest = number.checked_mul(Decimal::from(unit.factor)).ok_or_else(wanted)?;
        Ok(Self { text: format!("{number} {}", unit.name), smallest })
    }
}

/// How many of `unit` a value is, of a property whose values have these units; of a plain number, that. None where it is
/// no such number.
#[must_use]
pub fn amount_in(value: &str, units: &[Unit], unit: Option<&str>) -> Option<Ratio> {
    let Some(unit) = unit else { return exact(decimal(value).ok()?) };
    let factor = units.iter().find(|known| known.name == unit)?.factor;
    let size = Size::parse(value, units).ok()?;
    exact(size.smallest)?.checked_div(Ratio::new(factor.into(), 1)?)
}

/// A decimal as a fraction.
#[must_use]
pub fn exact(number: Decimal) -> Option<Ratio> {
    Ratio::new(number.mantissa(), 10_i128.checked_pow(number.scale())?)
}

fn quantity(
    text: &str,
    min: Option<&str>,
    max: Option<&str>,
    unlimited: bool,
    units: &[Unit],
) -> Result<String, Invalid> {
    if unlimited && text.eq_ignore_ascii_case(UNLIMITED) {
        return Ok(UNLIMITED.to_owned());
    }
    let size = Size::parse(text, units)?;
    let bound = |text: Option<&str>| text.and_then(|text| Size::parse(text, units).ok());
    let detail = match (bound(min), bound(max)) {
        (Some(min), _) if size.smallest < min.smallest => {
            format!("This must be at least {}.", min.text)
        }
        (_, Some(max)) if size.smallest > max.smallest => {
            format!("This must be at most {}.", max.text)
        }
        _ => return Ok(size.text),
    };
    Err(Invalid::new("out_of_range", detail))
}

fn check_options(options: &[Choice], at: &str, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    faults.ensure(options.len() <= ITEMS_MAX, at, "too_many", "These are too many options.");
    for (index, option) in options.iter().enumerate() {
        faults.ensure(
            seen.insert(&option.value),
            &format!("{at}/{index}/value"),
            "duplicate",
            "Another option has this value.",
        );
        let at = format!("{at}/{index}/value");
        if faults
            .take(&at, line(&option.value, VALUE_MAX_CHARS))
            .is_some_and(|it| it != option.value)
        {
            faults.add(&at, "blanks_around", "An option has no blanks around it.");
        }
    }
}

fn check_units(units: &[Unit], at: &str, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    faults.ensure(!units.is_empty(), at, "no_unit", "A quantity has at least one unit.");
    for (index, unit) in units.iter().enumerate() {
        let name = unit.name.to_ascii_lowercase();
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphabetic() || c == '/');
        faults.ensure(
            is_name,
            &format!("{at}/{index}/name"),
            "not_a_unit",
            "A unit is named by letters, such as GB or users/month.",
        );
        faults.ensure(
            seen.insert(name),
            &format!("{at}/{index}/name"),
            "duplicate",
            "Another unit has this name.",
        );
        faults.ensure(
            unit.factor > 0,
            &format!("{at}/{index}/factor"),
            "out_of_range",
            "A unit is at least one of the smallest.",
        );
    }
}
