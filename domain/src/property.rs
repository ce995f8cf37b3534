//! Properties of a service: where each is set and by whom, what it may be, and what it is where nobody
//! says (service-model.md, section 3).
//!
//! A value is a text in its type's canonical form, so that equal values are equal texts: `1 TB`, `true`,
//! `2019-11-30`, a list with one item on a line. No number of it was ever a float.

mod value;

use serde::{Deserialize, Serialize};

use crate::text::line;
use crate::{Faults, Invalid, PropertyKey};

pub use value::{Choice, Given, ITEMS_MAX, Pattern, Unit, ValueType, amount_in, exact, items_of};

/// Longest value of a property, in characters.
pub const VALUE_MAX_CHARS: usize = 2_000;

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

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
        let is_listed = matches!(self.value_type, ValueType::ChoiceOf { .. });
        let is_of_holder = matches!(self.scope, Scope::Customer | Scope::User);
        faults.ensure(
            !is_listed || self.kind == Kind::Input && is_of_holder,
            &format!("{at}/optionsFrom"),
            "options_of_holder",
            "What can be chosen differs from customer to customer, so it is filled in for one: make it an input of \
             the scope customer or user.",
        );
        faults.ensure(
            !is_listed || self.default.is_none(),
            &format!("{at}/default"),
            "options_of_holder",
            "What can be chosen differs from customer to customer, so nothing can be the default.",
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

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use rust_decimal::Decimal;

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
        noted(faults)
    }

    fn noted(faults: Faults) -> Vec<(String, &'static str)> {
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
            (&ValueType::Hostname, "mail-1.example.com", "mail-1.example.com"),
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
    fn only_quantities_have_units_and_a_pattern_is_what_was_written() {
        let (units, unlimited) = (bytes(), false);
        let quantity = ValueType::Quantity { max: None, min: None, unlimited, units };
        assert_eq!(quantity.units(), bytes());
        assert_eq!(ValueType::Boolean.units(), []);
        assert_eq!(Pattern::new("a|b".to_owned()).as_str(), "a|b");
        // What a few kilobytes compile to is little.
        assert!(Pattern::new("[a-z0-9]{1,63}@([a-z]{1,9}[.])+".to_owned()).check().is_ok());
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
            (&ValueType::Hostname, "a-.example", "not_a_hostname"),
            (&ValueType::Hostname, "a..example", "not_a_hostname"),
            (&ValueType::Hostname, "a_b.example", "not_a_hostname"),
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
        let own = ValueType::Text { max_length: None, min_length: 0, pattern: Some(named.pattern) };
        assert_eq!(super::tests::parse(&own, "abc").as_deref(), Ok("abc"));
        assert_eq!(super::tests::parse(&own, "abcd"), Err("does_not_match"));
    }

    #[test]
    fn a_scheme_is_small_letters_and_what_may_follow_them() {
        let faults = |scheme: &str| problems(ValueType::Url { schemes: vec![scheme.to_owned()] });
        for scheme in ["https", "git+ssh", "z39.50r", "ms-settings"] {
            assert_eq!(faults(scheme), [], "{scheme}");
        }
        for scheme in ["", "HTTPS", "4http", "a b", "http:"] {
            assert_eq!(faults(scheme).len(), 1, "{scheme}");
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
    fn a_named_validation_is_a_pattern_and_its_own_words() {
        let found = |pattern: &str, message: &str| {
            let validation = Validation {
                key: PropertyKey::parse("user").unwrap(),
                message: message.to_owned(),
                pattern: Pattern::new(pattern.to_owned()),
            };
            let mut faults = Faults::default();
            validation.problems("/validations/0", &mut faults);
            noted(faults).into_iter().map(|(pointer, _)| pointer).collect::<Vec<_>>()
        };
        assert!(found("[a-z]+", "Small letters.").is_empty());
        assert_eq!(found("[a-z", "Small letters."), ["/validations/0/pattern"]);
        assert_eq!(found("[a-z]+", ""), ["/validations/0/message"]);
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
