//! Billable rules: what a seller does not charge, and why (billing.md, section 6).
//!
//! A condition is looked at once for each slot and period, with what there is when the period ends. It names nothing that
//! is sealed: what it finds has to be found again when the period is rated again, also once somebody was erased.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use chrono::NaiveDate;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::Entry;
use crate::money::Money;
use crate::{Bug, PropertyKey, RuleKey, planted};

/// Most rules of one seller.
pub const RULES_MAX: usize = 100;
/// Most tests in one condition.
pub const TESTS_MAX: usize = 50;
/// Most values that one test names.
pub const VALUES_MAX: usize = 50;
/// Longest value, in characters.
pub const VALUE_MAX_CHARS: usize = 500;
/// How deep conditions stand in each other, at most.
pub const DEPTH_MAX: usize = 5;

/// What a seller does not charge, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Of what.
    pub condition: Condition,
    /// What the rule is for.
    pub description: String,
    /// The first date of its time: it counts for periods that end in it.
    pub from: NaiveDate,
    /// Names it.
    pub key: RuleKey,
    /// Rules are gone through by this number, then by key.
    pub order: u32,
    /// Why it is not charged, as bills say it.
    pub reason: String,
    /// The first date after its time; none: it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<NaiveDate>,
}

impl Rule {
    /// Whether it counts for a period that ends on a date.
    #[must_use]
    pub fn is_valid_on(&self, end: NaiveDate) -> bool {
        self.from <= end
            && self.to.is_none_or(|to| end < to || (end == to && planted(Bug::RuleEndInclusive)))
    }
}

/// What has to be so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Condition {
    /// All of these.
    All(Vec<Self>),
    /// One of these, or more.
    Any(Vec<Self>),
    /// Not this.
    Not(Box<Self>),
    /// Something is as it is named.
    Test(Test),
}

/// One thing that has to be as it is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Test {
    /// What is looked at.
    pub field: Field,
    /// How it is compared.
    pub operator: Operator,
    /// With what: one of these is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a text is compared with values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operator {
    /// It is one of them.
    Is,
    /// It begins with one of them.
    StartsWith,
    /// One of them is in it.
    Contains,
    /// It begins with a number, which is at least the value.
    AtLeast,
    /// It begins with a number, which is at most the value.
    AtMost,
    /// There is one.
    IsSet,
}

impl Operator {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Is, Self::StartsWith, Self::Contains, Self::AtLeast, Self::AtMost, Self::IsSet];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Is => "is",
            Self::StartsWith => "startsWith",
            Self::Contains => "contains",
            Self::AtLeast => "atLeast",
            Self::AtMost => "atMost",
            Self::IsSet => "isSet",
        }
    }

    /// Whether values are numbers, of which there is one.
    #[must_use]
    pub fn is_numeric(self) -> bool {
        matches!(self, Self::AtLeast | Self::AtMost)
    }
}

/// What conditions look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// The customer's account code in the accounting system.
    CustomerBillingIdentifier,
    /// The customer's short name.
    CustomerCode,
    /// One of the customer's custom fields.
    CustomerField(String),
    /// The customer's id.
    CustomerId,
    /// The customer's name.
    CustomerName,
    /// The customer's number.
    CustomerNumber,
    /// Where the customer is in its life.
    CustomerStatus,
    /// Why the customer is there.
    CustomerType,
    /// The instance's name.
    Instance,
    /// Who holds it: a customer or a user.
    Level,
    /// The plan's key.
    Plan,
    /// The value of a property.
    Property(PropertyKey),
    /// How many are held.
    Quantity,
    /// The service's key.
    Service,
    /// The plan's stock code.
    Sku,
    /// The user's id.
    UserId,
    /// Where the user is in his life.
    UserStatus,
    /// Why the user is there.
    UserType,
}

/// In front of the name of a custom field.
const CUSTOM_FIELD: &str = "customer.customFields.";
/// In front of a property's key.
const PROPERTY: &str = "properties.";

impl Field {
    /// Those with one name.
    const PLAIN: [(&'static str, Self); 16] = [
        ("customer.billingIdentifier", Self::CustomerBillingIdentifier),
        ("customer.code", Self::CustomerCode),
        ("customer.id", Self::CustomerId),
        ("customer.name", Self::CustomerName),
        ("customer.number", Self::CustomerNumber),
        ("customer.status", Self::CustomerStatus),
        ("customer.type", Self::CustomerType),
        ("instance", Self::Instance),
        ("level", Self::Level),
        ("plan", Self::Plan),
        ("quantity", Self::Quantity),
        ("service", Self::Service),
        ("sku", Self::Sku),
        ("user.id", Self::UserId),
        ("user.status", Self::UserStatus),
        ("user.type", Self::UserType),
    ];

    /// What can be named, for people.
    #[must_use]
    pub fn known() -> String {
        let plain: Vec<_> = Self::PLAIN.iter().map(|(name, _)| *name).collect();
        format!("{}, {CUSTOM_FIELD}<name>, {PROPERTY}<key>", plain.join(", "))
    }

    /// The only values that it has, where they are known.
    #[must_use]
    pub fn choices(&self) -> Option<&'static [&'static str]> {
        match self {
            Self::CustomerType | Self::UserType => Some(&["standard", "test", "demo"]),
            Self::CustomerStatus | Self::UserStatus => {
                Some(&["active", "disabled", "deprovisioned", "deleted", "purged"])
            }
            Self::Level => Some(&["customer", "user"]),
            _ => None,
        }
    }

    /// Whether it takes the customer's history to know it.
    #[must_use]
    pub fn is_of_customer(&self) -> bool {
        matches!(
            self,
            Self::CustomerBillingIdentifier
                | Self::CustomerCode
                | Self::CustomerField(_)
                | Self::CustomerName
                | Self::CustomerStatus
                | Self::CustomerType
        )
    }

    /// Whether it takes the user's history to know it.
    #[must_use]
    pub fn is_of_user(&self) -> bool {
        matches!(self, Self::UserStatus | Self::UserType)
    }

    /// Whether it is a property's value.
    #[must_use]
    pub fn is_property(&self) -> bool {
        matches!(self, Self::Property(_))
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CustomerField(name) => write!(f, "{CUSTOM_FIELD}{name}"),
            Self::Property(key) => write!(f, "{PROPERTY}{key}"),
            plain => {
                let named = Self::PLAIN.iter().find(|(_, field)| field == plain);
                f.write_str(named.map_or("", |(name, _)| name))
            }
        }
    }
}

impl FromStr for Field {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(name) = text.strip_prefix(CUSTOM_FIELD).filter(|name| !name.is_empty()) {
            return Ok(Self::CustomerField(name.to_owned()));
        }
        let property = text.strip_prefix(PROPERTY).and_then(PropertyKey::parse);
        let plain = Self::PLAIN.into_iter().find(|(name, _)| *name == text).map(|(_, field)| field);
        property.map(Self::Property).or(plain).ok_or("there is no such field")
    }
}

impl Serialize for Field {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a field is; none where there is nothing.
pub type Look<'a> = dyn Fn(&Field) -> Option<Cow<'a, str>> + 'a;

impl Condition {
    /// Whether it is so.
    #[must_use]
    pub fn holds(&self, look: &Look<'_>) -> bool {
        match self {
            Self::All(all) => all.iter().all(|condition| condition.holds(look)),
            Self::Any(any) => any.iter().any(|condition| condition.holds(look)),
            Self::Not(condition) => !condition.holds(look),
            Self::Test(test) => test.holds(look),
        }
    }

    /// Every field that it looks at.
    #[must_use]
    pub fn fields(&self) -> Vec<&Field> {
        match self {
            Self::All(some) | Self::Any(some) => some.iter().flat_map(Self::fields).collect(),
            Self::Not(condition) => condition.fields(),
            Self::Test(test) => vec![&test.field],
        }
    }
}

impl Test {
    fn holds(&self, look: &Look<'_>) -> bool {
        let Some(text) = look(&self.field) else { return false };
        let text = text.as_ref();
        let compare = |value: &String| match self.operator {
            Operator::Is => text == value,
            Operator::StartsWith => text.starts_with(value.as_str()),
            Operator::Contains => text.contains(value.as_str()),
            Operator::AtLeast => number(text).zip(number(value)).is_some_and(|(a, b)| a >= b),
            Operator::AtMost => number(text).zip(number(value)).is_some_and(|(a, b)| a <= b),
            Operator::IsSet => true,
        };
        match self.operator {
            Operator::IsSet => !text.is_empty(),
            _ => self.values.iter().any(compare),
        }
    }
}

/// The number that a text begins with, up to a blank: `10`, or the 10 of `10 GB`.
#[must_use]
pub fn number(text: &str) -> Option<Decimal> {
    text.split(' ').next()?.parse().ok()
}

/// A rule as it is known, and the position of the event that said so.
#[derive(Clone, Copy, Debug)]
pub struct Ruled<'a> {
    /// The event's place in the log.
    pub position: u64,
    /// The rule.
    pub rule: &'a Rule,
}

/// What an entry would charge if no rule said that it is not charged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiver {
    /// So much.
    pub amount: Money,
    /// Why it is not: the last rule's reason.
    pub reason: String,
    /// The rules that say so, in their order.
    pub rules: Vec<RuleKey>,
}

/// Takes the amounts off the entries of one slot, period and edge, where rules say so. `rules` are those of the seller that
/// count for the period, in their order.
pub fn waive(entries: &mut [Entry], rules: &[Ruled<'_>], look: &Look<'_>) {
    if entries.is_empty() {
        return;
    }
    let found: Vec<_> = rules.iter().filter(|it| it.rule.condition.holds(look)).collect();
    let last = if planted(Bug::FirstRuleSaysWhy) { found.first() } else { found.last() };
    let Some(last) = last else { return };
    let keys: Vec<_> = found.iter().map(|it| it.rule.key.clone()).collect();
    for entry in entries {
        let waiver =
            Waiver { amount: entry.amount, reason: last.rule.reason.clone(), rules: keys.clone() };
        super::rating::waive(entry, waiver, found.iter().map(|it| it.position));
    }
}

#[cfg(test)]
mod tests {
    use super::super::bridge::tests::entry;
    use super::*;

    fn look(field: &Field) -> Option<Cow<'static, str>> {
        Some(match field {
            Field::CustomerType => "test".into(),
            Field::CustomerField(name) if name == "region" => "west".into(),
            Field::Plan => "gold".into(),
            Field::Quantity => "12".into(),
            Field::Property(key) if key.as_str() == "Quota" => "60 GB".into(),
            Field::Instance => "".into(),
            _ => return None,
        })
    }

    fn test(field: &str, operator: Operator, values: &[&str]) -> Condition {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Condition::Test(Test { field: field.parse().unwrap(), operator, values })
    }

    #[test]
    fn a_field_says_whose_history_it_takes_and_what_it_can_be() {
        let types = &["standard", "test", "demo"][..];
        let stages = &["active", "disabled", "deprovisioned", "deleted", "purged"][..];
        for (field, of_customer, of_user, is_property, choices) in [
            ("customer.billingIdentifier", true, false, false, None),
            ("customer.customFields.region", true, false, false, None),
            ("customer.id", false, false, false, None),
            ("customer.status", true, false, false, Some(stages)),
            ("customer.type", true, false, false, Some(types)),
            ("level", false, false, false, Some(&["customer", "user"][..])),
            ("properties.Quota", false, false, true, None),
            ("user.id", false, false, false, None),
            ("user.status", false, true, false, Some(stages)),
            ("user.type", false, true, false, Some(types)),
        ] {
            let it: Field = field.parse().unwrap();
            let told = (it.is_of_customer(), it.is_of_user(), it.is_property(), it.choices());
            assert_eq!(told, (of_customer, of_user, is_property, choices), "{field}");
        }
        let numeric: Vec<_> = Operator::ALL.into_iter().filter(|it| it.is_numeric()).collect();
        assert_eq!(numeric, [Operator::AtLeast, Operator::AtMost]);
    }

    #[test]
    fn every_operator_compares() {
        for (field, operator, values, holds) in [
            ("customer.type", Operator::Is, &["demo", "test"][..], true),
            ("customer.type", Operator::Is, &["standard"], false),
            ("customer.customFields.region", Operator::StartsWith, &["we"], true),
            ("customer.customFields.region", Operator::StartsWith, &["est"], false),
            ("customer.customFields.region", Operator::Contains, &["es"], true),
            ("customer.customFields.other", Operator::Contains, &[""], false),
            ("quantity", Operator::AtLeast, &["12"], true),
            ("quantity", Operator::AtLeast, &["12.5"], false),
            ("quantity", Operator::AtMost, &["12"], true),
            ("quantity", Operator::AtMost, &["11"], false),
            ("properties.Quota", Operator::AtLeast, &["60"], true),
            ("plan", Operator::AtLeast, &["0"], false),
            ("user.id", Operator::IsSet, &[], false),
            ("instance", Operator::IsSet, &[], false),
            ("plan", Operator::IsSet, &[], true),
            // Of what is not there, nothing is so.
            ("user.type", Operator::Is, &["standard"], false),
        ] {
            assert_eq!(test(field, operator, values).holds(&look), holds, "{field} {operator:?}");
        }
    }

    #[test]
    fn conditions_are_put_together() {
        let yes = || test("plan", Operator::Is, &["gold"]);
        let no = || test("plan", Operator::Is, &["silver"]);
        for (condition, holds) in [
            (Condition::All(vec![yes(), yes()]), true),
            (Condition::All(vec![yes(), no()]), false),
            (Condition::Any(vec![no(), yes()]), true),
            (Condition::Any(vec![no(), no()]), false),
            (Condition::Not(Box::new(no())), true),
            (Condition::Not(Box::new(Condition::Any(vec![no(), yes()]))), false),
        ] {
            assert_eq!(condition.holds(&look), holds, "{condition:?}");
        }
    }

    #[test]
    fn a_field_is_written_as_it_is_read_and_nothing_else_is_one() {
        let plain = Field::PLAIN.iter().map(|(name, _)| *name);
        for name in plain.chain(["customer.customFields.a b", "properties.Quota"]) {
            assert_eq!(name.parse::<Field>().unwrap().to_string(), name);
        }
        let sealed = ["user.name", "user.login", "user.department", "user.customFields.x"];
        let odd = ["", "customer", "customer.customFields.", "properties.", "properties.a b"];
        for bad in sealed.into_iter().chain(odd) {
            assert!(bad.parse::<Field>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rule_counts_for_periods_that_end_in_its_time() {
        let date = |text: &str| text.parse::<NaiveDate>().unwrap();
        let rule = |to: Option<&str>| Rule {
            condition: test("plan", Operator::IsSet, &[]),
            description: String::new(),
            from: date("2019-11-30"),
            key: RuleKey::parse("tests").unwrap(),
            order: 1,
            reason: "Test".to_owned(),
            to: to.map(date),
        };
        assert!(rule(None).is_valid_on(date("2019-11-30")));
        assert!(rule(None).is_valid_on(date("2199-12-31")));
        assert!(!rule(None).is_valid_on(date("2019-11-29")));
        assert!(rule(Some("2019-12-01")).is_valid_on(date("2019-11-30")));
        assert!(!rule(Some("2019-12-31")).is_valid_on(date("2019-12-31")), "`to` is exclusive");
    }

    #[test]
    fn the_last_rule_that_holds_says_why_and_all_that_hold_are_named() {
        let rule = |key: &str, plan: &str| Rule {
            condition: test("plan", Operator::Is, &[plan]),
            description: String::new(),
            from: "2019-11-01".parse().unwrap(),
            key: RuleKey::parse(key).unwrap(),
            order: 1,
            reason: format!("Because of {key}"),
            to: None,
        };
        let rules = [rule("first", "gold"), rule("second", "gold"), rule("third", "silver")];
        let ruled: Vec<_> = rules.iter().map(|rule| Ruled { position: 7, rule }).collect();
        let mut entries = [entry(serde_json::json!({}))];
        waive(&mut entries, &ruled, &look);
        let waiver = entries[0].waiver.as_ref().unwrap();
        assert_eq!((entries[0].amount.minor, waiver.amount.minor), (0, 3_000));
        assert_eq!(waiver.reason, "Because of second");
        let keys: Vec<_> = waiver.rules.iter().map(ToString::to_string).collect();
        assert_eq!(keys, ["first", "second"]);
    }
}
