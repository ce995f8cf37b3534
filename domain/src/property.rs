//! Properties of a service: where each is set and by whom, what it may be, and what it is where nobody
//! says (service-model.md, section 3).
//!
//! A value is a text in its type's canonical form, so that equal values are equal texts: `1 TB`, `true`,
//! `2019-11-30`, a list with one item on a line. No number of it was ever a float.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::OnceLock;

use chrono::NaiveDate;
use regex::{Regex, RegexBuilder};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::text::{Address, line};
use crate::{Faults, Invalid, PropertyKey};

/// Longest value of a property, in characters.
pub const VALUE_MAX_CHARS: usize = 2_000;
/// Most items of a list, and most options of a choice.
pub const ITEMS_MAX: usize = 200;
/// Longest regular expression, in characters.
const PATTERN_MAX_CHARS: usize = 500;
/// Largest compiled regular expression, in bytes: `x{1000}{1000}` is short to write.
const PATTERN_MAX_BYTES: usize = 256 * 1024;
/// How a quantity without a bound is written.
const UNLIMITED: &str = "Unlimited";

/// The level that a property is for. Whoever stands there may set it, and everybody above, for all below.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub enum Scope {
    /// One value for everybody.
    Service,
    /// A value for each reseller.
    Reseller,
    /// A value for each customer.
    Customer,
    /// A value for each user.
    User,
    /// A value for each plan.
    #[default]
    Plan,
}

/// Who may set a property.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// The provider's administrators.
    #[default]
    Configuration,
    /// Who provisions.
    Input,
}

/// A property of a service. What is left out of its stored form is as it was before the field was known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Property {
    /// Groups properties in forms.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub category: String,
    /// What it is where nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// What to enter, for those who do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
    /// Shown only to those who publish services.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hidden: bool,
    /// Names it; never changes.
    pub key: PropertyKey,
    /// Who may set it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: Kind,
    /// As people read it.
    pub label: String,
    /// Whether it drives a price component.
    #[serde(default, skip_serializing_if = "is_false")]
    pub priced: bool,
    /// Set by provisioning, and by nobody else.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Whether there has to be a value.
    #[serde(default, skip_serializing_if = "is_false")]
    pub required: bool,
    /// The level that it is for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scope: Scope,
    /// Its place in forms, from low to high.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sort: i32,
    /// What its values are.
    #[serde(default, rename = "type", skip_serializing_if = "is_default")]
    pub value_type: ValueType,
    /// The service's [`Validation`] that its values pass, beside what their type asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<PropertyKey>,
}

/// A rule with a message of its own, for any number of properties.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Validation {
    /// Names it within its service.
    pub key: PropertyKey,
    /// What to enter, told to those who entered something else.
    pub message: String,
    /// What the whole value looks like.
    pub pattern: Pattern,
}

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

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
    fn matches(&self, value: &str) -> bool {
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

impl Property {
    /// A text that each plan says, and nothing more.
    #[must_use]
    pub fn of_plan(key: PropertyKey, label: &str) -> Self {
        Self {
            category: String::new(),
            default: None,
            help: String::new(),
            hidden: false,
            key,
            kind: Kind::Configuration,
            label: label.to_owned(),
            priced: false,
            read_only: false,
            required: false,
            scope: Scope::Plan,
            sort: 0,
            value_type: ValueType::default(),
            validation: None,
        }
    }

    /// The canonical form of a value, if it is one of this property.
    ///
    /// # Errors
    /// What a value has to be.
    pub fn parse(&self, given: &Given, validations: &[Validation]) -> Result<String, Invalid> {
        let value = self.value_type.parse(given)?;
        if value.chars().count() > VALUE_MAX_CHARS {
            let detail = format!("A value has at most {VALUE_MAX_CHARS} characters.");
            return Err(Invalid::new("too_long", detail));
        }
        if self.required && value.is_empty() {
            return Err(Invalid::new("empty", "There has to be a value."));
        }
        let named = validations.iter().find(|it| Some(&it.key) == self.validation.as_ref());
        match named {
            Some(rule) if !self.items(&value).all(|item| rule.pattern.matches(item)) => {
                Err(Invalid::new("does_not_match", rule.message.clone()))
            }
            _ => Ok(value),
        }
    }

    /// The items of a list, and everything else as it is.
    fn items<'a>(&self, value: &'a str) -> impl Iterator<Item = &'a str> {
        let is_list = matches!(self.value_type, ValueType::List { .. });
        let (items, one) = if is_list { (value, None) } else { ("", Some(value)) };
        items_of(items).chain(one)
    }

    /// Notes what is wrong with its definition; `at` points to it.
    pub(crate) fn problems(&self, validations: &[Validation], at: &str, faults: &mut Faults) {
        self.value_type.problems(at, faults);
        if let Some(key) = &self.validation {
            faults.ensure(
                validations.iter().any(|validation| validation.key == *key),
                &format!("{at}/validation"),
                "unknown_validation",
                "The service has no validation of this name.",
            );
        }
        if let Some(default) = &self.default {
            let parsed = self.parse(&Given::Text(default.clone()), validations);
            faults.take(&format!("{at}/default"), parsed);
        }
        faults.ensure(
            !(self.read_only && self.kind == Kind::Input),
            &format!("{at}/readOnly"),
            "input_is_written",
            "What is filled in cannot be read-only; make it a configuration.",
        );
        faults.ensure(
            !(self.hidden && self.kind == Kind::Input),
            &format!("{at}/hidden"),
            "input_is_shown",
            "What is filled in cannot be hidden from those who do; make it a configuration.",
        );
        faults.ensure(
            !self.priced || self.value_type.is_counted(),
            &format!("{at}/priced"),
            "not_counted",
            "Only an integer, a number or a quantity that is never unlimited drives a price.",
        );
        faults.ensure(
            !(self.scope == Scope::Plan && self.kind == Kind::Input),
            &format!("{at}/kind"),
            "plan_is_configured",
            "The plan says what this is, so nobody fills it in; make it a configuration.",
        );
    }
}

impl Validation {
    /// Notes what is wrong with it; `at` points to it.
    pub(crate) fn problems(&self, at: &str, faults: &mut Faults) {
        faults.take(&format!("{at}/pattern"), self.pattern.check());
        faults.take(&format!("{at}/message"), line(&self.message, VALUE_MAX_CHARS));
    }
}

impl ValueType {
    /// The canonical form of a value, if it is one of this type.
    fn parse(&self, given: &Given) -> Result<String, Invalid> {
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
    fn is_counted(&self) -> bool {
        matches!(
            self,
            Self::Integer { .. } | Self::Number { .. } | Self::Quantity { unlimited: false, .. }
        )
    }

    /// Notes what is wrong with its bounds; `at` points to the property, which has them as fields.
    fn problems(&self, at: &str, faults: &mut Faults) {
        let at = |field: &str| format!("{at}/{field}");
        let (bound, fits) = match self {
            Self::Boolean | Self::Email | Self::Hostname | Self::Ip | Self::SecretRef => return,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value_type: &ValueType, text: &str) -> Result<String, &'static str> {
        value_type.parse(&text.into()).map_err(|invalid| invalid.code)
    }

    fn options(values: &[&str]) -> Vec<Choice> {
        values.iter().map(|value| Choice { label: None, value: (*value).to_owned() }).collect()
    }

    fn bytes() -> Vec<Unit> {
        [("GB", 1), ("TB", 1_000)]
            .map(|(name, factor)| Unit { factor, name: name.to_owned() })
            .to_vec()
    }

    fn problems(value_type: ValueType) -> Vec<(String, &'static str)> {
        let property = Property { value_type, ..blank() };
        let mut faults = Faults::default();
        property.problems(&[], "", &mut faults);
        let refusal = faults.check().err();
        let faults = refusal.map(|refusal| refusal.faults).unwrap_or_default();
        faults.into_iter().map(|fault| (fault.pointer, fault.code)).collect()
    }

    fn blank() -> Property {
        let key = PropertyKey::parse("Blank").unwrap();
        Property { scope: Scope::Customer, ..Property::of_plan(key, "Blank") }
    }

    #[test]
    fn equal_values_are_equal_texts() {
        let integer = ValueType::Integer { max: None, min: None };
        let number = ValueType::Number { max: None, min: None };
        let quantity =
            ValueType::Quantity { max: None, min: None, unlimited: true, units: bytes() };
        for (value_type, text, canonical) in [
            (&ValueType::Boolean, " TRUE ", "true"),
            (&integer, "+007", "7"),
            (&integer, "-0", "0"),
            (&number, "1.50", "1.5"),
            (&number, "-0.0", "0"),
            (&quantity, "1.0tb", "1 TB"),
            (&quantity, "100   GB", "100 GB"),
            (&quantity, "unlimited", "Unlimited"),
            (&ValueType::Ip, "2001:DB8:0::1", "2001:db8::1"),
            (&ValueType::Hostname, "Mail.Example.COM", "mail.example.com"),
            (&ValueType::Url { schemes: vec![] }, "HTTPS://Example.com", "https://example.com/"),
            (&ValueType::Date { max: None, min: None }, "2019-11-30", "2019-11-30"),
            (&ValueType::SecretRef, "backup.token", "backup.token"),
            (&ValueType::Email, "Ann@Example.com", "Ann@Example.com"),
            (&ValueType::default(), "  two words ", "two words"),
        ] {
            assert_eq!(parse(value_type, text).as_deref(), Ok(canonical), "{value_type:?} {text}");
            assert_eq!(
                parse(value_type, canonical).as_deref(),
                Ok(canonical),
                "again: {canonical}"
            );
        }
    }

    #[test]
    fn what_is_no_value_is_told_by_its_type() {
        let integer = ValueType::Integer { max: Some(9), min: Some(1) };
        let number = ValueType::Number { max: Some(Decimal::TEN), min: None };
        let day = |day| NaiveDate::from_ymd_opt(2019, 11, day);
        let date = ValueType::Date { max: day(30), min: day(2) };
        let quantity = ValueType::Quantity {
            max: Some("2 TB".to_owned()),
            min: Some("10 GB".to_owned()),
            unlimited: false,
            units: bytes(),
        };
        let short = ValueType::Text { max_length: Some(4), min_length: 2, pattern: None };
        for (value_type, text, code) in [
            (&ValueType::Boolean, "yes", "not_a_boolean"),
            (&integer, "1.0", "not_an_integer"),
            (&integer, "0", "out_of_range"),
            (&integer, "10", "out_of_range"),
            (&number, "1e3", "not_a_number"),
            (&number, "1_000", "not_a_number"),
            (&number, "10.01", "out_of_range"),
            (&date, "2019-11-31", "not_a_date"),
            (&date, "2019-11-01", "out_of_range"),
            (&date, "2019-12-01", "out_of_range"),
            (&quantity, "100", "not_a_quantity"),
            (&quantity, "100 MB", "not_a_quantity"),
            (&quantity, "-1 GB", "not_a_quantity"),
            (&quantity, "9.9 GB", "out_of_range"),
            (&quantity, "2001 GB", "out_of_range"),
            (&quantity, "Unlimited", "not_a_quantity"),
            (&ValueType::Ip, "192.0.2.256", "not_an_ip"),
            (&ValueType::Hostname, "-a.example", "not_a_hostname"),
            (&ValueType::Hostname, "a..example", "not_a_hostname"),
            (&ValueType::Url { schemes: vec![] }, "ftp://example.com", "not_a_url"),
            (&ValueType::Url { schemes: vec![] }, "https://ann:secret@example.com", "not_a_url"),
            (
                &ValueType::Url { schemes: vec!["ftp".to_owned()] },
                "https://example.com",
                "not_a_url",
            ),
            (&ValueType::Email, "ann", "not_an_address"),
            (&ValueType::SecretRef, "a b", "not_a_secret_name"),
            (&short, "a", "too_short"),
            (&short, "abcde", "too_long"),
            (&short, "a\u{7}b", "control_character"),
            (&ValueType::Choice { options: options(&["1", "2"]) }, "3", "not_a_choice"),
        ] {
            assert_eq!(parse(value_type, text), Err(code), "{value_type:?} {text}");
        }
    }

    #[test]
    fn a_list_has_each_item_once_and_not_too_many() {
        let list = ValueType::List { max_items: Some(2), min_items: 1, options: vec![] };
        let given = |items: &[&str]| Given::List(items.iter().map(|it| (*it).to_owned()).collect());
        let parse = |items: &[&str]| list.parse(&given(items)).map_err(|invalid| invalid.code);
        assert_eq!(parse(&["b", " a "]).as_deref(), Ok("b\na"));
        assert_eq!(list.parse(&"b\na".into()).as_deref(), Ok("b\na"));
        assert_eq!(parse(&[]), Err("wrong_count"));
        assert_eq!(parse(&["a", "b", "c"]), Err("wrong_count"));
        assert_eq!(parse(&["a", "a"]), Err("duplicate"));
        assert_eq!(parse(&["a\nb"]), Err("control_character"));
        let of = ValueType::List { max_items: None, min_items: 0, options: options(&["x", "y"]) };
        assert_eq!(of.parse(&given(&["x", "z"])).unwrap_err().code, "not_a_choice");
        assert_eq!(of.parse(&given(&[])).as_deref(), Ok(""));
        assert_eq!(items_of("b\na").collect::<Vec<_>>(), ["b", "a"]);
    }

    #[test]
    fn a_pattern_matches_the_whole_value_and_a_named_one_has_its_own_words() {
        let named = Validation {
            key: PropertyKey::parse("user").unwrap(),
            message: "Three letters, please.".to_owned(),
            pattern: Pattern::new("[a-z]{3}|admin".to_owned()),
        };
        let property = Property { validation: Some(named.key.clone()), ..blank() };
        let parse = |text: &str| property.parse(&text.into(), std::slice::from_ref(&named));
        assert_eq!(parse("abc").as_deref(), Ok("abc"));
        assert_eq!(parse("admin").as_deref(), Ok("admin"));
        for bad in ["abcd", "xadmin", "ab", "abc\u{e9}"] {
            let invalid = parse(bad).unwrap_err();
            assert_eq!(
                (invalid.code, invalid.detail.as_str()),
                ("does_not_match", "Three letters, please.")
            );
        }
    }

    #[test]
    fn a_named_validation_is_for_each_item_of_a_list() {
        let named = Validation {
            key: PropertyKey::parse("user").unwrap(),
            message: "Three letters, please.".to_owned(),
            pattern: Pattern::new("[a-z]{3}".to_owned()),
        };
        let value_type = ValueType::List { max_items: None, min_items: 0, options: vec![] };
        let property = Property { validation: Some(named.key.clone()), value_type, ..blank() };
        let parse = |text: &str| property.parse(&text.into(), std::slice::from_ref(&named));
        assert_eq!(parse("abc\ndef").as_deref(), Ok("abc\ndef"));
        assert_eq!(parse("").as_deref(), Ok(""));
        assert_eq!(parse("abc\nde").unwrap_err().code, "does_not_match");
    }

    #[test]
    fn what_is_required_is_not_empty() {
        let list = ValueType::List { max_items: None, min_items: 0, options: vec![] };
        for value_type in [ValueType::default(), list] {
            let mut property = Property { value_type, ..blank() };
            assert_eq!(property.parse(&" ".into(), &[]).as_deref(), Ok(""));
            property.required = true;
            assert_eq!(property.parse(&" ".into(), &[]).unwrap_err().code, "empty");
            assert_eq!(property.parse(&"a".into(), &[]).as_deref(), Ok("a"));
        }
    }

    #[test]
    fn what_is_filled_in_is_seen_and_what_is_priced_is_counted() {
        let of = |property: Property| {
            let mut faults = Faults::default();
            property.problems(&[], "", &mut faults);
            let refusal = faults.check().err();
            let faults = refusal.map(|refusal| refusal.faults).unwrap_or_default();
            faults.into_iter().map(|fault| (fault.pointer, fault.code)).collect::<Vec<_>>()
        };
        let at = |pointer: &str, code| vec![(pointer.to_owned(), code)];
        let input = Property { kind: Kind::Input, ..blank() };
        assert_eq!(of(input.clone()), []);
        let hidden = Property { hidden: true, ..input.clone() };
        assert_eq!(of(hidden.clone()), at("/hidden", "input_is_shown"));
        assert_eq!(of(Property { kind: Kind::Configuration, ..hidden }), []);
        let read_only = Property { read_only: true, ..input.clone() };
        assert_eq!(of(read_only), at("/readOnly", "input_is_written"));
        let of_plan = Property { scope: Scope::Plan, ..input };
        assert_eq!(of(of_plan), at("/kind", "plan_is_configured"));
        let quantity = |unlimited| ValueType::Quantity {
            max: None,
            min: None,
            unlimited,
            units: Unit::of_data(),
        };
        for (value_type, is_counted) in [
            (ValueType::Integer { max: None, min: None }, true),
            (ValueType::Number { max: None, min: None }, true),
            (quantity(false), true),
            (quantity(true), false),
            (ValueType::Boolean, false),
            (ValueType::default(), false),
        ] {
            let expected = if is_counted { vec![] } else { at("/priced", "not_counted") };
            let property = Property { priced: true, value_type: value_type.clone(), ..blank() };
            assert_eq!(of(property), expected, "{value_type:?}");
        }
    }

    #[test]
    fn a_pattern_cannot_leave_its_group_or_grow_without_bound() {
        for (pattern, code) in [
            ("a)(b", "not_a_pattern"),
            ("(", "not_a_pattern"),
            ("(?:a{1000}){1000}", "pattern_too_large"),
            (&*"a".repeat(501), "too_long"),
        ] {
            let checked = Pattern::new(pattern.to_owned()).check();
            assert_eq!(checked.unwrap_err().code, code, "{pattern}");
        }
        let evil = Pattern::new("(a+)+b".to_owned());
        assert_eq!(evil.check(), Ok(()));
        assert!(!evil.matches(&"a".repeat(VALUE_MAX_CHARS)));
    }

    #[test]
    fn bounds_that_leave_nothing_are_found() {
        let at = |pointer: &str, code| vec![(pointer.to_owned(), code)];
        let integer = ValueType::Integer { max: Some(1), min: Some(2) };
        assert_eq!(problems(integer), at("/max", "bad_bounds"));
        let text = ValueType::Text { max_length: Some(1), min_length: 2, pattern: None };
        assert_eq!(problems(text), at("/maxLength", "bad_bounds"));
        let list = ValueType::List { max_items: Some(201), min_items: 0, options: vec![] };
        assert_eq!(problems(list), at("/maxItems", "bad_bounds"));
        let url = ValueType::Url { schemes: vec!["https".to_owned(), "HTTP".to_owned()] };
        assert_eq!(problems(url), at("/schemes", "bad_bounds"));
        let none = ValueType::Choice { options: vec![] };
        assert_eq!(problems(none), at("/options", "no_option"));
        let twice = ValueType::Choice { options: options(&["a", "a"]) };
        assert_eq!(problems(twice), at("/options/1/value", "duplicate"));
        let quantity = ValueType::Quantity {
            max: Some("1 GB".to_owned()),
            min: Some("1 TB".to_owned()),
            unlimited: false,
            units: bytes(),
        };
        assert_eq!(problems(quantity), at("/max", "bad_bounds"));
        let unknown = ValueType::Quantity {
            max: Some("1 PB".to_owned()),
            min: None,
            unlimited: false,
            units: bytes(),
        };
        assert_eq!(problems(unknown), at("/max", "not_a_quantity"));
        let free = ValueType::Quantity { max: None, min: None, unlimited: false, units: vec![] };
        assert_eq!(problems(free), at("/units", "no_unit"));
    }

    #[test]
    fn a_default_passes_its_own_validation() {
        let mut property = Property { default: Some("x".to_owned()), ..blank() };
        property.value_type = ValueType::Boolean;
        let mut faults = Faults::default();
        property.problems(&[], "/properties/0", &mut faults);
        let faults = faults.check().unwrap_err().faults;
        assert_eq!(faults[0].pointer, "/properties/0/default");
    }

    #[test]
    fn a_property_of_before_is_one_of_the_plan_s_texts() {
        let stored = r#"{"key":"Bandwidth","label":"Bandwidth"}"#;
        let read: Property = serde_json::from_str(stored).unwrap();
        assert_eq!((read.scope, read.kind), (Scope::Plan, Kind::Configuration));
        assert_eq!(serde_json::to_string(&read).unwrap(), stored);
    }
}
