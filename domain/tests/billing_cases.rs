//! The worked cases of billing-cases.md that this engine covers, to the cent: `billing_cases.json`
//! holds one record per case.
//!
//! In a record, a bare date is the seller's midnight; facts are recorded in the order given.

#![expect(clippy::unwrap_used, reason = "a record that does not fit fails its test")]

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use domain::billing::component::{Component, units};
use domain::billing::description::{self, Variables};
use domain::billing::rule::{Rule, Ruled, waive};
use domain::billing::{
    Action, BillingSettings, CalendarRule, Change, ComponentKey, ComponentRow, DayPolicy, Detail,
    Entry, Fact, Measure, Overridden, Override, Period, PolicyRow, PriceOverride, PriceRow, Prices,
    Reading, Rest, RuleChange, Setting, Subject, Suspended, Timeline, Values, rate, summarize,
};
use domain::money::{Currency, Money, Percent};
use domain::{MeterKey, OrganizationId, PlanKey, PropertyKey, ServiceKey, SubscriptionId};
use serde::Deserialize;
use uuid::Uuid;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    /// `calendar_month` where it is left out.
    calendar: Option<CalendarRule>,
    case: String,
    /// What plans cost beside their own prices.
    #[serde(default)]
    components: BTreeMap<String, Vec<Component>>,
    currency: Currency,
    /// How the properties are counted that drive components.
    #[serde(default)]
    measures: BTreeMap<ComponentKey, Measure>,
    overrides: Vec<CaseOverride>,
    periods: Vec<CasePeriod>,
    /// `daily` for plans that are left out.
    #[serde(default)]
    policies: BTreeMap<String, DayPolicy>,
    prices: BTreeMap<String, String>,
    #[serde(default)]
    rule_changes: Vec<RuleChange>,
    /// What is not charged.
    #[serde(default)]
    rules: Vec<Rule>,
    /// What rules look at, by field.
    #[serde(default)]
    then: BTreeMap<String, String>,
    slots: Vec<Vec<CaseFact>>,
    /// What the days cost on which a plan rests, where that is not as if it did not.
    #[serde(default)]
    suspended: BTreeMap<String, Suspended>,
    summary: Option<CaseSummary>,
    title: String,
    zone: chrono_tz::Tz,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CaseFact {
    actor: String,
    at: String,
    change: String,
    plan: Option<String>,
    quantity: Option<u32>,
    reason: Option<String>,
    /// Of what was used.
    meter: Option<MeterKey>,
    /// Of what was used.
    used: Option<String>,
    #[serde(default)]
    values: Values,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CaseOverride {
    actor: String,
    depth: usize,
    from: String,
    percent: Option<Percent>,
    property: Option<String>,
    reason: Option<String>,
    value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CasePeriod {
    end: NaiveDate,
    entries: Vec<CaseEntry>,
    total: String,
}

/// What is expected of an entry; what is left out is not compared.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CaseEntry {
    action: Action,
    actor: Option<String>,
    amount: String,
    /// The plan's own price where it is left out.
    #[serde(default)]
    component: ComponentKey,
    count_after: u32,
    count_before: u32,
    days: u32,
    from: NaiveDate,
    measured: Option<String>,
    plan: String,
    property: Option<String>,
    reason: Option<String>,
    to: NaiveDate,
    unit_price: Option<String>,
    value: Option<String>,
    /// The amount that is not charged.
    waived: Option<String>,
    /// Why it is not.
    waive_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CaseSummary {
    pattern: String,
    rows: Vec<CaseSummaryRow>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CaseSummaryRow {
    amount: String,
    count: i64,
    difference: i64,
    last_amount: String,
    last_count: i64,
    result_count: u64,
}

impl Case {
    fn settings(&self) -> BillingSettings {
        let rule = self.calendar.unwrap_or(CalendarRule::CalendarMonth);
        let settings = BillingSettings::new(self.currency, rule, self.zone);
        BillingSettings { rule_changes: self.rule_changes.clone(), ..settings }
    }

    fn prices(&self) -> Prices {
        let rows = self.prices.iter().map(|(plan, price)| PriceRow {
            from: None,
            minor: Money::parse(price, self.currency).unwrap().minor,
            plan: PlanKey::parse(plan).unwrap(),
            position: 1,
        });
        let plans = self.policies.keys().chain(self.suspended.keys());
        let policies = plans.map(|plan| PolicyRow {
            from: None,
            plan: PlanKey::parse(plan).unwrap(),
            policy: self.policies.get(plan).copied().unwrap_or_default(),
            position: 1,
            suspended: self.suspended.get(plan).copied().unwrap_or_default(),
        });
        let overrides = self.overrides.iter().zip(100..).map(|(it, position)| Override {
            actor: it.actor.clone(),
            depth: it.depth,
            from: instant(&it.from, &self.settings()),
            overridden: match (it.percent, &it.property) {
                (Some(percent), None) => Overridden::Price(Setting::Set {
                    to: None,
                    value: PriceOverride::Percent(percent),
                }),
                (None, Some(property)) => Overridden::Property {
                    hidden: false,
                    key: PropertyKey::parse(property).unwrap(),
                    locked: false,
                    setting: Setting::Set { to: None, value: it.value.clone().unwrap() },
                },
                _ => panic!("case {}: an override is of a price or a property", self.case),
            },
            plan: None,
            position,
            reason: it.reason.clone(),
        });
        let components = self.components.iter().flat_map(|(plan, components)| {
            components.iter().map(|component| ComponentRow {
                charge: Some(component.charge.clone()),
                component: component.key.clone(),
                from: None,
                measure: self.measures.get(&component.key).cloned(),
                plan: PlanKey::parse(plan).unwrap(),
                position: 1,
            })
        });
        Prices {
            components: components.collect(),
            overrides: overrides.collect(),
            policies: policies.collect(),
            rows: rows.collect(),
            ..Prices::default()
        }
    }

    fn timelines(&self) -> Vec<Timeline> {
        let timeline = |facts: &Vec<CaseFact>| {
            let (readings, facts): (Vec<_>, Vec<_>) =
                facts.iter().zip(10..).partition(|(fact, _)| fact.change == "used");
            let readings = readings.into_iter().map(|(fact, position)| Reading {
                actor: fact.actor.clone(),
                effective_at: instant(&fact.at, &self.settings()),
                meter: fact.meter.clone().unwrap(),
                position,
                quantity: units(fact.used.as_deref().unwrap()).unwrap(),
                reason: fact.reason.clone(),
                unique: None,
            });
            let (rests, facts): (Vec<_>, Vec<_>) = facts
                .into_iter()
                .partition(|(fact, _)| matches!(fact.change.as_str(), "suspended" | "resumed"));
            let rests = rests.into_iter().map(|(fact, position)| Rest {
                date: None,
                actor: fact.actor.clone(),
                effective_at: instant(&fact.at, &self.settings()),
                position,
                reason: fact.reason.clone(),
                request: None,
                suspended: fact.change == "suspended",
            });
            Timeline::new(facts.into_iter().map(|(fact, position)| {
                let plan = || PlanKey::parse(fact.plan.as_deref().unwrap()).unwrap();
                let quantity = || fact.quantity.unwrap();
                Fact {
                    date: None,
                    actor: fact.actor.clone(),
                    change: match fact.change.as_str() {
                        "provisioned" => Change::Provisioned { plan: plan(), quantity: quantity() },
                        "changed" => Change::Changed { plan: plan(), quantity: quantity() },
                        "deprovisioned" => Change::Deprovisioned,
                        other => panic!("case {}: {other}", self.case),
                    },
                    effective_at: instant(&fact.at, &self.settings()),
                    position,
                    reason: fact.reason.clone(),
                    request: None,
                    values: fact.values.clone(),
                }
            }))
            .resting(rests)
            .metered(readings)
        };
        self.slots.iter().map(timeline).collect()
    }

    fn entries(&self, period: &Period) -> Vec<Entry> {
        let prices = self.prices();
        let slots = self.timelines().into_iter().zip(1..);
        slots
            .flat_map(|(timeline, slot)| {
                let subject = Subject {
                    buyer: None,
                    customer: OrganizationId(Uuid::from_u128(30)),
                    seller: OrganizationId(Uuid::from_u128(1)),
                    service: ServiceKey::parse("service").unwrap(),
                    subscription: SubscriptionId(Uuid::from_u128(slot)),
                };
                let rated = rate(&subject, &timeline, &prices, &self.settings(), period);
                let mut entries = rated.unwrap();
                let rules = self.rules.iter().filter(|rule| rule.is_valid_on(period.end));
                let rules: Vec<_> =
                    rules.zip(200..).map(|(rule, position)| Ruled { position, rule }).collect();
                waive(&mut entries, &rules, &|field| {
                    self.then.get(&field.to_string()).map(|text| text.as_str().into())
                });
                entries
            })
            .collect()
    }

    fn details(&self, pattern: &str, period: &Period) -> Vec<Detail> {
        let variables = Variables { service_name: "CRM", ..Variables::default() };
        let detail = |entry: Entry| Detail {
            amount: entry.amount,
            billable: entry.is_billable(),
            count_after: entry.count_after.into(),
            count_before: entry.count_before.into(),
            customer: entry.customer,
            customer_name: "Customer".to_owned(),
            customer_number: 30,
            sku: entry.plan.to_string(),
            summary: description::render(pattern, &variables),
        };
        self.entries(period).into_iter().map(detail).collect()
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("billing_cases.json")).unwrap()
}

fn instant(text: &str, settings: &BillingSettings) -> DateTime<Utc> {
    match text.parse::<NaiveDate>() {
        Ok(date) => settings.midnight(date),
        Err(_) => text.parse().unwrap(),
    }
}

fn assert_entry(entry: &Entry, expected: &CaseEntry, at: &str) {
    assert_eq!(entry.component, expected.component, "{at}: component");
    assert_eq!(entry.plan.as_str(), expected.plan, "{at}: plan");
    assert_eq!(entry.amount.to_string(), expected.amount, "{at}: amount");
    assert_eq!(entry.action, expected.action, "{at}: action");
    assert_eq!(entry.days, expected.days, "{at}: days");
    assert_eq!((entry.service_from, entry.service_to), (expected.from, expected.to), "{at}: dates");
    let measured = entry.measured.as_ref().and_then(|it| it.amount.decimal(6));
    assert_eq!(measured, expected.measured, "{at}: measured");
    let counts = (entry.count_before, entry.count_after);
    assert_eq!(counts, (expected.count_before, expected.count_after), "{at}: counts");
    let change = entry.property_change.as_ref();
    let property = change.map(|change| change.property.to_string());
    assert_eq!(property, expected.property, "{at}: property");
    assert_eq!(change.and_then(|change| change.value.clone()), expected.value, "{at}: value");
    let waiver = entry.waiver.as_ref();
    let waived = waiver.map(|waiver| waiver.amount.to_string());
    assert_eq!(waived, expected.waived, "{at}: waived");
    assert_eq!(entry.is_billable(), expected.waived.is_none(), "{at}: billable");
    let why = waiver.map(|waiver| waiver.reason.clone());
    assert_eq!(why, expected.waive_reason, "{at}: why");
    if let Some(actor) = &expected.actor {
        assert_eq!(&entry.actor, actor, "{at}: actor");
    }
    if expected.reason.is_some() {
        assert_eq!(entry.reason, expected.reason, "{at}: reason");
    }
    if let Some(unit_price) = &expected.unit_price {
        assert_eq!(&entry.unit_price.decimal, unit_price, "{at}: unit price");
    }
}

#[test]
fn every_case_is_right_to_the_cent() {
    for case in cases() {
        for expected in &case.periods {
            let period = case.settings().period_ending(expected.end).unwrap();
            let entries = case.entries(&period);
            let at = format!("case {} ({}), {}", case.case, case.title, period.label());
            assert_eq!(entries.len(), expected.entries.len(), "{at}: {entries:#?}");
            for (index, (entry, expected)) in entries.iter().zip(&expected.entries).enumerate() {
                assert_entry(entry, expected, &format!("{at}, entry {index}"));
            }
            let total = entries.iter().map(|entry| entry.amount.minor).sum();
            assert_eq!(Money::new(total, case.currency).to_string(), expected.total, "{at}: total");
        }
    }
}

#[test]
fn a_case_with_a_summary_is_summed_up_as_it_says() {
    let mut compared = 0;
    for case in cases() {
        let Some(summary) = &case.summary else {
            continue;
        };
        let rule = case.settings();
        let period = rule.period_ending(case.periods[0].end).unwrap();
        let rows = summarize(
            &case.details(&summary.pattern, &period),
            &case.details(&summary.pattern, &rule.previous(period)),
        );
        let rows = rows.unwrap().into_iter().map(|row| CaseSummaryRow {
            amount: row.amount.to_string(),
            count: row.count,
            difference: row.difference,
            last_amount: row.last_amount.to_string(),
            last_count: row.last_count,
            result_count: row.result_count,
        });
        assert_eq!(rows.collect::<Vec<_>>(), summary.rows, "case {}", case.case);
        compared += 1;
    }
    assert_eq!(compared, 1);
}

#[test]
fn the_cases_are_those_of_the_first_cut() {
    let cases = cases();
    let mut numbers: Vec<_> =
        cases.iter().map(|case| case.case.split(' ').next().unwrap_or_default()).collect();
    numbers.dedup();
    assert_eq!(
        numbers,
        [
            "1",
            "2",
            "3",
            "4a",
            "4b",
            "4c",
            "6a",
            "6b",
            "6c",
            "7",
            "8b",
            "10a",
            "10b",
            "10d",
            "11a",
            "11b",
            "11c",
            "12a",
            "12b",
            "13a",
            "13b",
            "14",
            "15",
            "18",
            "20",
            "21",
            "22",
            "23",
            "minimum",
            "advance",
            "fixed_30",
            "full",
            "next_period",
            "snapshot",
            "none"
        ]
    );
}
