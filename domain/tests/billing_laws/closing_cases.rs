//! Closed periods and what is learned later: the worked cases of billing-cases.md (`closing_cases.json`).

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use domain::PlanKey;
use domain::billing::{
    BillingSettings, CalendarRule, Change, Class, Entry, PriceRow, Prices, seal,
};
use domain::money::{Currency, Money};
use serde::Deserialize;

use crate::ledger::{Ledger, Step};
use crate::sum;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    prices: BTreeMap<String, String>,
    steps: Vec<CaseStep>,
    title: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseStep {
    /// When it is recorded; here only the order counts.
    #[expect(dead_code, reason = "it is for those who tell the cases to a server")]
    on: NaiveDate,
    close: Option<NaiveDate>,
    expect: Option<NaiveDate>,
    #[serde(default)]
    entries: Vec<CaseEntry>,
    fact: Option<CaseFact>,
    price: Option<CasePrice>,
    rerate: Option<(NaiveDate, NaiveDate)>,
    total: Option<String>,
    withdraw: Option<NaiveDate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFact {
    at: NaiveDate,
    change: String,
    plan: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CasePrice {
    amount: String,
    from: NaiveDate,
    plan: String,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseEntry {
    amount: String,
    class: Class,
    service: NaiveDate,
}

fn midnight(date: NaiveDate) -> DateTime<Utc> {
    date.and_hms_opt(0, 0, 0).unwrap().and_utc()
}

fn currency() -> Currency {
    Currency::parse("EUR").unwrap()
}

fn run(case: &Case) {
    let settings = BillingSettings::new(currency(), CalendarRule::CalendarMonth, chrono_tz::UTC);
    let first = case.steps.iter().find_map(|step| step.close.or(step.expect)).unwrap();
    let first = settings.period_ending(first).unwrap();
    let mut ledger = Ledger::new(settings, Prices::default(), first);
    let price = |amount: &str, from, key: &str| {
        let minor = Money::parse(amount, currency()).unwrap().minor;
        Step::Price(PriceRow { from, minor, plan: PlanKey::parse(key).unwrap(), position: 0 })
    };
    case.prices.iter().for_each(|(key, amount)| ledger.record(price(amount, None, key)));
    for step in &case.steps {
        if let Some(fact) = &step.fact {
            let held = || PlanKey::parse(fact.plan.as_deref().unwrap()).unwrap();
            let change = match fact.change.as_str() {
                "provisioned" => Change::Provisioned { plan: held(), quantity: 1 },
                "changed" => Change::Changed { plan: held(), quantity: 1 },
                "deprovisioned" => Change::Deprovisioned,
                other => panic!("case {}: {other}", case.case),
            };
            ledger.record(Step::Fact(midnight(fact.at), change));
        }
        if let Some(CasePrice { amount, from, plan }) = &step.price {
            ledger.record(price(amount, Some(midnight(*from)), plan));
        }
        if let Some(date) = step.withdraw {
            ledger.record(Step::Withdraw(midnight(date)));
        }
        if let Some((from, to)) = step.rerate {
            ledger.record(Step::Rerate(from, to));
        }
        let told = format!("case {}, {}", case.case, case.title);
        let is_total = |entries: &[Entry]| {
            let total = Money::new(sum(entries), currency()).to_string();
            assert_eq!(Some(&total), step.total.as_ref(), "{told}: {entries:#?}");
        };
        if let Some(end) = step.close {
            let before = ledger.closed.clone();
            ledger.record(Step::Close);
            let last = ledger.closed.last().unwrap();
            assert_eq!(last.period.end, end, "{told}");
            is_total(&seal::entries(&last.lines).unwrap());
            for (before, after) in before.iter().zip(&ledger.closed) {
                assert_eq!(before.seal, after.seal, "{told}: a seal has changed");
            }
        }
        if let Some(end) = step.expect {
            let entries = ledger.computed(ledger.head());
            assert_eq!(ledger.open().end, end, "{told}");
            let booked = |entry: &Entry| CaseEntry {
                amount: entry.amount.to_string(),
                class: entry.class,
                service: entry.period_end,
            };
            let told_of: Vec<_> = entries.iter().map(booked).collect();
            assert_eq!(told_of, step.entries, "{told}");
            is_total(&entries);
            assert!(entries.iter().all(|entry| entry.booked_end() == end), "{told}");
            let adjustments: HashSet<_> = entries
                .iter()
                .filter_map(|entry| Some(&entry.correction.as_ref()?.adjustment_id))
                .collect();
            assert!(adjustments.len() <= 1, "{told}: one adjustment");
        }
    }
}

#[test]
fn closed_periods_are_corrected_as_in_the_worked_cases() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../closing_cases.json")).unwrap();
    assert_eq!(cases.len(), 6);
    cases.iter().for_each(run);
}
