//! What sellers say about their bills beside prices: what is not charged, and how lines are described.

use std::collections::BTreeSet;

use domain::billing::ComponentKey;
use domain::billing::description;
use domain::billing::rule::{
    Condition, DEPTH_MAX, Field, Operator, RULES_MAX, Rule, TESTS_MAX, Test, VALUE_MAX_CHARS,
    VALUES_MAX, number,
};
use domain::billing::rulebook::{Element, PATTERNS_MAX, Pattern, Rulebook, RulebookCommand};
use domain::billing::tax::{RATES_MAX, TaxKey, TaxRate};
use domain::money::Percent;
use domain::permission::Permission;
use domain::service::Service;
use domain::text::{line, note};
use domain::{Faults, PlanKey, RuleKey, ServiceKey, TaxCategory};
use projections::views::RulebookView;
use serde::Deserialize;
use utoipa::ToSchema;

use super::billing::date;
use super::books::seller_where;
use super::{ensure_seen, optional_reason};
use crate::error::Stop;
use crate::resource::{PatternsResource, RulesResource, TaxRatesResource};
use crate::unit::Unit;
use crate::{Input, Reply};

/// Highest number in the order of rules.
const ORDER_MAX: i64 = 1_000_000;
/// Longest reason that bills say, in characters.
const SHOWN_MAX_CHARS: usize = 200;

/// All billable rules of a seller: those that are left out are taken away.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetRules {
    /// The seller; the caller's own organisation where it is left out.
    pub organization_id: Option<String>,
    /// At most 100.
    pub rules: Vec<RuleText>,
    /// Kept with the events.
    pub reason: Option<String>,
}

/// Rules that somebody thinks of.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreviewRules {
    /// The seller: his id, or his number; the caller's own organisation where it is left out.
    pub organization_id: Option<String>,
    /// The period: its last date; the one that goes on now where it is left out.
    pub end_date: Option<String>,
    /// In place of those that he has.
    pub rules: Vec<RuleText>,
}

/// What a seller does not charge, and why.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleText {
    /// Names it: letters, digits, `-`, `_` and `.`.
    pub key: String,
    /// What it is for.
    pub description: Option<String>,
    /// Why it is not charged, as bills say it.
    pub reason: String,
    /// Rules are gone through by this number, then by key; 0 where it is left out. The last one that fits says the reason.
    pub order: Option<i64>,
    /// The first date of its time: it counts for periods that end in it.
    pub valid_from: String,
    /// The first date after its time; it goes on where this is left out.
    pub valid_to: Option<String>,
    /// Of what.
    pub condition: ConditionText,
}

/// What has to be so when the period ends: one of `all`, `any`, `not` and `field`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConditionText {
    /// All of these.
    #[schema(no_recursion)]
    pub all: Option<Vec<Self>>,
    /// One of these, or more.
    #[schema(no_recursion)]
    pub any: Option<Vec<Self>>,
    /// Not this.
    #[schema(no_recursion)]
    pub not: Option<Box<Self>>,
    /// What is looked at: `customer.` with `billingIdentifier`, `code`, `id`, `name`, `number`, `status`, `type` or
    /// `customFields.<name>`; `user.id`, `user.status` or `user.type`; `service`, `plan`, `sku`, `level`, `instance` or
    /// `quantity`; `properties.<key>`.
    pub field: Option<String>,
    /// `is`, `startsWith`, `contains`, `atLeast`, `atMost` or `isSet`; `is` where it is left out.
    pub operator: Option<String>,
    /// With what it is compared, at most 50: one of these is enough. Of `atLeast` and `atMost` one number; none of `isSet`.
    pub values: Option<Vec<String>>,
}

/// All patterns of a seller: those that are left out are taken away.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetPatterns {
    /// The seller; the caller's own organisation where it is left out.
    pub organization_id: Option<String>,
    /// At most 500.
    pub patterns: Vec<PatternText>,
    /// Kept with the events.
    pub reason: Option<String>,
}

/// How something that is billed is described: `line`, `summary` or both.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PatternText {
    /// Of which service.
    pub service: String,
    /// Of which plan; of all where it is left out.
    pub plan: Option<String>,
    /// Which component, such as `recurring`; all where it is left out. The narrowest pattern counts.
    pub component: Option<String>,
    /// Describes a line, such as `{ServiceName} for {UserFullName}`.
    pub line: Option<String>,
    /// Describes what lines are summed up by, such as `{ServiceName}`.
    pub summary: Option<String>,
}

/// All taxes that a seller adds: those that are left out are taken away.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetTaxRates {
    /// The seller; the caller's own organisation where it is left out.
    pub organization_id: Option<String>,
    /// At most 500.
    pub rates: Vec<TaxRateText>,
    /// Kept with the events.
    pub reason: Option<String>,
}

/// Which tax a seller adds for a category, from a date on.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaxRateText {
    /// The category, as plans and components of services carry it.
    pub category: String,
    /// The first date: it is for service periods that end then or later.
    pub valid_from: String,
    /// A decimal text from 0 to 100, such as `15`; left out: from then on it is computed elsewhere.
    pub percent: Option<String>,
}

pub(crate) fn set_rules(
    unit: &mut Unit<'_>,
    body: Input<SetRules>,
    if_match: Option<u64>,
) -> Result<Reply, Stop> {
    unit.require(Permission::ManageBilling)?;
    let SetRules { organization_id, rules, reason } = unit.take(body)?;
    let (id, path) = seller_where(unit, Permission::ManageBilling, organization_id.as_deref())?;
    let seen = unit.view::<RulebookView>(&id.to_string());
    ensure_seen(if_match, Some(seen.map_or(0, |view| view.rules_version)))?;
    let mut faults = Faults::default();
    let reason = optional_reason(&mut faults, reason.as_deref());
    let rules = read_rules(&rules, &mut faults);
    faults.check()?;
    unit.because(None, reason);
    unit.execute::<Rulebook>(id, &path, RulebookCommand::SetRules(rules))?;
    let view = unit.view::<RulebookView>(&id.to_string());
    let resource = RulesResource::new(id, view.as_deref());
    Ok(Reply::done(&resource, resource.version))
}

pub(crate) fn set_patterns(
    unit: &mut Unit<'_>,
    body: Input<SetPatterns>,
    if_match: Option<u64>,
) -> Result<Reply, Stop> {
    unit.require(Permission::ManageBilling)?;
    let SetPatterns { organization_id, patterns, reason } = unit.take(body)?;
    let (id, path) = seller_where(unit, Permission::ManageBilling, organization_id.as_deref())?;
    let seen = unit.view::<RulebookView>(&id.to_string());
    ensure_seen(if_match, Some(seen.map_or(0, |view| view.patterns_version)))?;
    let mut faults = Faults::default();
    let reason = optional_reason(&mut faults, reason.as_deref());
    let patterns = read_patterns(unit, &patterns, &mut faults);
    faults.check()?;
    unit.because(None, reason);
    unit.execute::<Rulebook>(id, &path, RulebookCommand::SetPatterns(patterns))?;
    let view = unit.view::<RulebookView>(&id.to_string());
    let resource = PatternsResource::new(id, view.as_deref());
    Ok(Reply::done(&resource, resource.version))
}

pub(crate) fn set_tax_rates(
    unit: &mut Unit<'_>,
    body: Input<SetTaxRates>,
    if_match: Option<u64>,
) -> Result<Reply, Stop> {
    unit.require(Permission::ManageBilling)?;
    let SetTaxRates { organization_id, rates, reason } = unit.take(body)?;
    let (id, path) = seller_where(unit, Permission::ManageBilling, organization_id.as_deref())?;
    let seen = unit.view::<RulebookView>(&id.to_string());
    ensure_seen(if_match, Some(seen.map_or(0, |view| view.tax_rates_version)))?;
    let mut faults = Faults::default();
    let reason = optional_reason(&mut faults, reason.as_deref());
    let rates = read_tax_rates(&rates, &mut faults);
    faults.check()?;
    unit.because(None, reason);
    unit.execute::<Rulebook>(id, &path, RulebookCommand::SetTaxRates(rates))?;
    let view = unit.view::<RulebookView>(&id.to_string());
    let resource = TaxRatesResource::new(id, view.as_deref());
    Ok(Reply::done(&resource, resource.version))
}

fn read_tax_rates(texts: &[TaxRateText], faults: &mut Faults) -> Vec<TaxRate> {
    let detail = format!("A seller has at most {RATES_MAX} tax rates.");
    faults.ensure(texts.len() <= RATES_MAX, "/rates", "too_many", &detail);
    let mut known = BTreeSet::new();
    let mut rates = Vec::new();
    for (index, text) in texts.iter().take(RATES_MAX).enumerate() {
        let at = |field: &str| format!("/rates/{index}/{field}");
        let category = TaxCategory::parse(&text.category);
        if category.is_none() {
            let detail = "This has letters, digits, `-`, `_` and `.`.";
            faults.add(&at("category"), "invalid_key", detail);
        }
        let from = faults.take(&at("validFrom"), date(&text.valid_from));
        let percent = text.percent.as_deref();
        let percent = percent.and_then(|text| faults.take(&at("percent"), Percent::parse(text)));
        let range = Percent::parse("0").ok()..=Percent::parse("100").ok();
        if percent.is_some() && !range.contains(&percent) {
            let detail = "A tax is from 0 to 100 percent.";
            faults.add(&at("percent"), "out_of_range", detail);
        }
        if let (Some(category), Some(from)) = (category, from) {
            let key = TaxKey { category, from };
            if !known.insert(key.clone()) {
                let detail = "Another rate is of the same category and date.";
                faults.add(&format!("/rates/{index}"), "twice", detail);
            }
            rates.push(TaxRate { key, percent });
        }
    }
    rates
}

fn read_rules(texts: &[RuleText], faults: &mut Faults) -> Vec<Rule> {
    let detail = format!("A seller has at most {RULES_MAX} rules.");
    faults.ensure(texts.len() <= RULES_MAX, "/rules", "too_many", &detail);
    let mut known = BTreeSet::new();
    let mut rules = Vec::new();
    for (index, text) in texts.iter().take(RULES_MAX).enumerate() {
        let at = |field: &str| format!("/rules/{index}/{field}");
        let key = RuleKey::parse(&text.key);
        if key.is_none() {
            faults.add(&at("key"), "invalid_key", "This has letters, digits, `-`, `_` and `.`.");
        }
        if key.as_ref().is_some_and(|key| !known.insert(key.clone())) {
            faults.add(&at("key"), "twice", "Another rule has this key.");
        }
        let description = text.description.as_deref().unwrap_or_default();
        let description = faults.take(&at("description"), note(description));
        let reason = faults.take(&at("reason"), line(&text.reason, SHOWN_MAX_CHARS));
        let order = text.order.unwrap_or(0);
        let detail = format!("This is a whole number from 0 to {ORDER_MAX}.");
        faults.ensure((0..=ORDER_MAX).contains(&order), &at("order"), "out_of_range", &detail);
        let from = faults.take(&at("validFrom"), date(&text.valid_from));
        let to = text.valid_to.as_deref().map(|text| faults.take(&at("validTo"), date(text)));
        if let (Some(from), Some(Some(to))) = (from, to)
            && to <= from
        {
            faults.add(&at("validTo"), "not_after", "A rule ends after it begins.");
        }
        let mut tests = 0;
        let condition = condition(&text.condition, &at("condition"), 1, &mut tests, faults);
        let detail = format!("A condition has at most {TESTS_MAX} comparisons.");
        faults.ensure(tests <= TESTS_MAX, &at("condition"), "too_many", &detail);
        if let (Some(key), Some(description), Some(reason), Some(from), Some(condition)) =
            (key, description, reason, from, condition)
        {
            let order = u32::try_from(order).unwrap_or(0);
            let to = to.flatten();
            rules.push(Rule { condition, description, from, key, order, reason, to });
        }
    }
    rules
}

fn condition(
    text: &ConditionText,
    at: &str,
    depth: usize,
    tests: &mut usize,
    faults: &mut Faults,
) -> Option<Condition> {
    let ConditionText { all, any, not, field, operator, values } = text;
    if depth > DEPTH_MAX {
        let detail = format!("Conditions stand at most {DEPTH_MAX} deep in each other.");
        faults.add(at, "too_deep", detail);
        return None;
    }
    let mut some = |name: &str, all: &[ConditionText], faults: &mut Faults| {
        let at = format!("{at}/{name}");
        // Of nothing, everything would be so.
        faults.ensure(!all.is_empty(), &at, "empty", "Give one condition at least.");
        let read = all.iter().take(TESTS_MAX + 1).enumerate().map(|(index, text)| {
            condition(text, &format!("{at}/{index}"), depth + 1, tests, faults)
        });
        let read: Vec<_> = read.collect();
        read.into_iter().collect::<Option<Vec<_>>>()
    };
    let compares = field.is_some() || operator.is_some() || values.is_some();
    match (all, any, not, compares) {
        (Some(all), None, None, false) => some("all", all, faults).map(Condition::All),
        (None, Some(any), None, false) => some("any", any, faults).map(Condition::Any),
        (None, None, Some(not), false) => {
            let not = condition(not, &format!("{at}/not"), depth + 1, tests, faults)?;
            Some(Condition::Not(Box::new(not)))
        }
        (None, None, None, true) => {
            *tests += 1;
            test(field.as_deref(), operator.as_deref(), values.as_deref(), at, faults)
                .map(Condition::Test)
        }
        _ => {
            faults.add(at, "one_of_four", "Give one of all, any, not and field.");
            None
        }
    }
}

fn test(
    field: Option<&str>,
    operator: Option<&str>,
    values: Option<&[String]>,
    at: &str,
    faults: &mut Faults,
) -> Option<Test> {
    let known = field.unwrap_or_default().parse::<Field>().ok();
    if known.is_none() {
        let detail = format!("There is no such field; there are {}.", Field::known());
        faults.add(&format!("{at}/field"), "unknown_field", detail);
    }
    let named = operator.unwrap_or(Operator::Is.name());
    let operator = Operator::ALL.into_iter().find(|it| it.name() == named);
    if operator.is_none() {
        let all: Vec<_> = Operator::ALL.into_iter().map(Operator::name).collect();
        let detail = format!("This is one of {}.", all.join(", "));
        faults.add(&format!("{at}/operator"), "unknown_operator", detail);
    }
    let (field, operator) = (known?, operator?);
    let values = values.unwrap_or_default();
    let wanted = match operator {
        Operator::IsSet => 0..=0,
        _ if operator.is_numeric() => 1..=1,
        _ => 1..=VALUES_MAX,
    };
    let pointer = format!("{at}/values");
    let detail = format!("Give {} to {} values.", wanted.start(), wanted.end());
    faults.ensure(wanted.contains(&values.len()), &pointer, "out_of_range", &detail);
    for (index, value) in values.iter().take(VALUES_MAX).enumerate() {
        let at = format!("{pointer}/{index}");
        faults.take(&at, line(value, VALUE_MAX_CHARS));
        if operator.is_numeric() && number(value).is_none() {
            faults.add(&at, "not_a_number", "This is a number such as 12.5.");
        }
        let choices = field.choices().filter(|_| operator == Operator::Is);
        if let Some(choices) = choices.filter(|choices| !choices.contains(&value.as_str())) {
            faults.add(&at, "not_a_choice", format!("This is one of {}.", choices.join(", ")));
        }
    }
    Some(Test { field, operator, values: values.to_vec() })
}

fn read_patterns(unit: &mut Unit<'_>, texts: &[PatternText], faults: &mut Faults) -> Vec<Pattern> {
    let detail = format!("A seller has at most {PATTERNS_MAX} patterns.");
    faults.ensure(texts.len() <= PATTERNS_MAX, "/patterns", "too_many", &detail);
    let mut known = BTreeSet::new();
    let mut patterns = Vec::new();
    for (index, text) in texts.iter().take(PATTERNS_MAX).enumerate() {
        let at = |field: &str| format!("/patterns/{index}/{field}");
        let service = ServiceKey::parse(&text.service).filter(|key| {
            let service = unit.load::<Service>(key);
            service.published.is_some()
        });
        if service.is_none() {
            faults.add(&at("service"), "unknown_service", "There is no such service.");
        }
        let plan = text.plan.as_deref().map(PlanKey::parse);
        if plan == Some(None) {
            faults.add(&at("plan"), "unknown_plan", "There is no such plan.");
        }
        let component = text.component.as_deref().map(ComponentKey::parse);
        if component == Some(None) {
            faults.add(&at("component"), "unknown_component", "There is no such component.");
        }
        let mut read = |field: &str, pattern: Option<&str>| {
            let pattern = pattern?;
            let fits = description::check(pattern);
            faults.take(&at(field), fits.map(|()| pattern.to_owned()))
        };
        let line = read("line", text.line.as_deref());
        let summary = read("summary", text.summary.as_deref());
        if text.line.is_none() && text.summary.is_none() {
            let detail = "Give a line, a summary, or both.";
            faults.add(&format!("/patterns/{index}"), "empty", detail);
        }
        if let (Some(service), plan, component) = (service, plan.flatten(), component.flatten()) {
            let element = Element { component, plan, service };
            if !known.insert(element.clone()) {
                let detail = "Another pattern is of the same.";
                faults.add(&format!("/patterns/{index}"), "twice", detail);
            }
            patterns.push(Pattern { element, line, summary });
        }
    }
    patterns
}
