//! Closed periods and what is learned later: the worked cases of billing-cases.md (`closing_cases.json`), and the laws
//! of billing.md, section 8, that are about closing, as properties of random histories. A model that goes day by day,
//! as naively as it can be said, must agree to the cent.

#![expect(clippy::unwrap_used, reason = "what is drawn or written here fits, or the test fails")]

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use domain::billing::rule::{Condition, Field, Operator, Rule, Ruled, Test, waive};
use domain::billing::seal::{self, Seal, Sealing};
use domain::billing::{
    BillingSettings, CalendarRule, Change, Class, Entry, Fact, Period, PriceRow, Prices, Subject,
    Timeline, Values, correct, rate,
};
use domain::money::{Currency, Money};
use domain::{OrganizationId, PlanKey, RuleKey, ServiceKey, SubscriptionId};
use proptest::prelude::*;
use serde::Deserialize;
use uuid::Uuid;

fn subject() -> Subject {
    Subject {
        buyer: None,
        customer: OrganizationId(Uuid::from_u128(1)),
        seller: OrganizationId(Uuid::from_u128(2)),
        service: ServiceKey::parse("service").unwrap(),
        subscription: SubscriptionId(Uuid::from_u128(3)),
    }
}

fn plan(key: &str) -> PlanKey {
    PlanKey::parse(key).unwrap()
}

/// One thing that is recorded; its position is its place in the history, from 1.
#[derive(Clone, Debug)]
enum Step {
    Fact(DateTime<Utc>, Change),
    /// The facts that are true at this moment are taken back.
    Withdraw(DateTime<Utc>),
    Price(PriceRow),
    /// The next period is closed.
    Close,
    /// The periods that end from the one date to the other are rated again.
    Rerate(NaiveDate, NaiveDate),
}

/// A closed period, as it is kept.
#[derive(Clone, Debug)]
struct Closed {
    period: Period,
    cutoff: u64,
    /// The position up to which its prices count.
    prices: u64,
    lines: Vec<u8>,
    seal: Seal,
}

/// A seller's ledger of one slot, in memory.
struct Ledger {
    settings: BillingSettings,
    steps: Vec<Step>,
    first: Period,
    closed: Vec<Closed>,
    /// A rule that says what is not charged.
    rule: Option<Rule>,
}

impl Ledger {
    fn new(settings: BillingSettings, first: Period) -> Self {
        Self { settings, steps: Vec::new(), first, closed: Vec::new(), rule: None }
    }

    fn of(settings: &BillingSettings, first: Period, steps: &[Step]) -> Self {
        let mut ledger = Self::new(settings.clone(), first);
        steps.iter().for_each(|step| ledger.record(step.clone()));
        ledger
    }

    fn head(&self) -> u64 {
        self.steps.len() as u64
    }

    fn record(&mut self, step: Step) {
        match &step {
            Step::Close => self.close(),
            Step::Rerate(from, to) => {
                let known = self.head() + 1;
                let within = |closed: &&mut Closed| (*from..=*to).contains(&closed.period.end);
                self.closed.iter_mut().filter(within).for_each(|closed| closed.prices = known);
            }
            Step::Fact(..) | Step::Withdraw(_) | Step::Price(_) => {}
        }
        self.steps.push(step);
    }

    fn facts(&self, known: u64) -> Vec<Fact> {
        let mut facts: Vec<Fact> = Vec::new();
        for (position, step) in (1..=known).zip(&self.steps) {
            match step {
                Step::Fact(effective_at, change) => facts.push(Fact {
                    date: None,
                    actor: "Ann".to_owned(),
                    change: change.clone(),
                    effective_at: *effective_at,
                    position,
                    reason: None,
                    request: None,
                    values: Values::new(),
                }),
                Step::Withdraw(moment) => facts.retain(|fact| fact.effective_at != *moment),
                Step::Price(_) | Step::Close | Step::Rerate(..) => {}
            }
        }
        facts
    }

    fn prices(&self, known: u64) -> Prices {
        let numbered = (1..=known).zip(&self.steps);
        let rows = numbered.filter_map(|(position, step)| match step {
            Step::Price(row) => Some(PriceRow { position, ..row.clone() }),
            _ => None,
        });
        Prices { rows: rows.collect(), ..Prices::default() }
    }

    fn rated(&self, period: &Period, known: u64, prices: u64) -> Vec<Entry> {
        let timeline = Timeline::new(self.facts(known));
        let rated = rate(&subject(), &timeline, &self.prices(prices), &self.settings, period);
        let mut entries = rated.unwrap();
        if let Some(rule) = self.rule.iter().find(|rule| rule.is_valid_on(period.end)) {
            let end = self.settings.instants(period).1 - TimeDelta::microseconds(1);
            let held = timeline.state_at(end).map(|held| held.plan.as_str());
            waive(&mut entries, &[Ruled { position: 0, rule }], &|_| Some(held?.into()));
        }
        entries
    }

    fn open(&self) -> Period {
        self.closed.last().map_or(self.first, |last| self.settings.next(last.period))
    }

    /// What closed periods have, as it was kept.
    fn booked(&self) -> Vec<Entry> {
        let lines = self.closed.iter().filter(|closed| !closed.lines.is_empty());
        lines.flat_map(|closed| seal::entries(&closed.lines).unwrap()).collect()
    }

    /// What the open period has: its own charges, and corrections of closed ones.
    fn computed(&self, known: u64) -> Vec<Entry> {
        let (open, booked) = (self.open(), self.booked());
        let mut entries = Vec::new();
        for closed in &self.closed {
            let of_period = |entry: &&Entry| entry.period_end == closed.period.end;
            let booked: Vec<_> = booked.iter().filter(of_period).cloned().collect();
            let now = self.rated(&closed.period, known, closed.prices);
            entries.extend(correct(&booked, &now, &open));
        }
        entries.extend(self.rated(&open, known, known));
        entries
    }

    fn close(&mut self) {
        let (cutoff, period) = (self.head(), self.open());
        let mut entries = self.computed(cutoff);
        let mut sealing = Sealing::default();
        let mut lines = Vec::new();
        if !entries.is_empty() {
            lines = seal::lines(&mut entries);
            sealing.add(subject().customer, &lines).unwrap();
        }
        let seal = sealing.seal();
        self.closed.push(Closed { period, cutoff, prices: cutoff, lines, seal });
    }
}

fn sum<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> i64 {
    entries.into_iter().map(|entry| entry.amount.minor).sum()
}

// The worked cases.

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

fn euro() -> Currency {
    Currency::parse("EUR").unwrap()
}

fn run(case: &Case) {
    let settings = BillingSettings::new(euro(), CalendarRule::CalendarMonth, chrono_tz::UTC);
    let first = case.steps.iter().find_map(|step| step.close.or(step.expect)).unwrap();
    let mut ledger = Ledger::new(settings.clone(), settings.period_ending(first).unwrap());
    let price = |amount: &str, from, key: &str| {
        let minor = Money::parse(amount, euro()).unwrap().minor;
        Step::Price(PriceRow { from, minor, plan: plan(key), position: 0 })
    };
    case.prices.iter().for_each(|(key, amount)| ledger.record(price(amount, None, key)));
    for step in &case.steps {
        if let Some(fact) = &step.fact {
            let held = || plan(fact.plan.as_deref().unwrap());
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
            let total = Money::new(sum(entries), euro()).to_string();
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
    let cases: Vec<Case> = serde_json::from_str(include_str!("closing_cases.json")).unwrap();
    assert_eq!(cases.len(), 6);
    cases.iter().for_each(run);
}

// The laws.

const PLANS: [(&str, i64); 3] = [("a", 10_000), ("b", 18_000), ("c", 745)];
/// The first day of what is drawn; everything happens in the 120 days from here.
const FIRST: NaiveDate = NaiveDate::from_ymd_opt(2018, 9, 10).unwrap();
const MINUTES: i64 = 120 * 24 * 60;

fn moment(minute: i64) -> DateTime<Utc> {
    midnight(FIRST) + TimeDelta::minutes(minute)
}

fn settings() -> impl Strategy<Value = BillingSettings> {
    let zones = [chrono_tz::UTC, chrono_tz::Pacific::Auckland, chrono_tz::America::Sao_Paulo];
    let rule = prop_oneof![
        2 => Just(CalendarRule::CalendarMonth),
        1 => (1..=31_u8).prop_map(CalendarRule::FixedDay),
    ];
    (prop::sample::select(zones.to_vec()), rule)
        .prop_map(|(zone, rule)| BillingSettings::new(euro(), rule, zone))
}

/// A moment; often midnight, or in one busy week.
fn drawn_moment() -> impl Strategy<Value = DateTime<Utc>> {
    prop_oneof![0..MINUTES, (0..120_i64).prop_map(|day| day * 24 * 60), 30_000..33_000_i64]
        .prop_map(moment)
}

fn held() -> impl Strategy<Value = (PlanKey, u32)> {
    (0..3_usize, 1..4_u32).prop_map(|(index, quantity)| (plan(PLANS[index].0), quantity))
}

fn step() -> impl Strategy<Value = Step> {
    let change = prop_oneof![
        3 => held().prop_map(|(plan, quantity)| Change::Provisioned { plan, quantity }),
        2 => held().prop_map(|(plan, quantity)| Change::Changed { plan, quantity }),
        3 => Just(Change::Deprovisioned),
    ];
    let price = (0..3_usize, 0..20_000_i64, drawn_moment()).prop_map(|(index, minor, from)| {
        PriceRow { from: Some(from), minor, plan: plan(PLANS[index].0), position: 0 }
    });
    prop_oneof![
        6 => (drawn_moment(), change).prop_map(|(moment, change)| Step::Fact(moment, change)),
        1 => price.prop_map(Step::Price),
        3 => Just(Step::Close),
    ]
}

/// A history: list prices first, then anything in any order; closed periods are sometimes rated again.
fn history() -> impl Strategy<Value = (BillingSettings, Vec<Step>)> {
    let drawn = prop::collection::vec(step(), 1..18);
    let rerate = prop::option::weighted(0.2, 0..18_usize);
    (settings(), drawn, rerate).prop_map(|(settings, drawn, rerate)| {
        let list = PLANS.iter().map(|(key, minor)| {
            Step::Price(PriceRow { from: None, minor: *minor, plan: plan(key), position: 0 })
        });
        let mut steps: Vec<_> = list.chain(drawn).collect();
        if let Some(place) = rerate {
            let last = FIRST + Days::new(60);
            steps.insert((place + 3).min(steps.len()), Step::Rerate(FIRST, last));
        }
        (settings, steps)
    })
}

/// What is billed on one date: what is held when the date ends; if nothing is, the last of those that came and went
/// within it.
fn billed_on(facts: &[Fact], begin: DateTime<Utc>, end: DateTime<Utc>) -> Option<(PlanKey, u32)> {
    let mut facts: Vec<_> = facts.iter().filter(|fact| fact.effective_at < end).collect();
    facts.sort_by_key(|fact| (fact.effective_at, fact.position));
    let (mut held, mut began_today, mut came_and_went) = (None, false, None);
    for fact in facts {
        match &fact.change {
            Change::Provisioned { plan, quantity } => {
                began_today = if held.is_none() { fact.effective_at >= begin } else { began_today };
                held = Some((plan.clone(), *quantity));
            }
            Change::Changed { plan, quantity } if held.is_some() => {
                held = Some((plan.clone(), *quantity));
            }
            Change::Changed { .. } => {}
            Change::Deprovisioned => {
                if began_today && held.is_some() {
                    came_and_went = held.clone();
                }
                (held, began_today) = (None, false);
            }
        }
    }
    held.or(came_and_went)
}

/// What a period costs, date by date, in minor units.
fn naive(facts: &[Fact], prices: &Prices, settings: &BillingSettings, period: &Period) -> i64 {
    let mut total: i128 = 0;
    let mut date = period.start;
    while date <= period.end {
        let (begin, end) = (settings.midnight(date), settings.midnight(date + Days::new(1)));
        if let Some((plan, quantity)) = billed_on(facts, begin, end) {
            let begun = |row: &&PriceRow| row.from.is_none_or(|from| from < end);
            let rows = prices.rows.iter().filter(|row| row.plan == plan).filter(begun);
            let row = rows.max_by_key(|row| (row.from, row.position)).unwrap();
            total += i128::from(row.minor) * i128::from(quantity);
        }
        date = date + Days::new(1);
    }
    // Half away from zero; no amount is negative here.
    let days = i128::from(period.days());
    i64::try_from((2 * total + days) / (2 * days)).unwrap()
}

/// 10,000 histories, or as many as `PROPTEST_CASES` says.
fn histories() -> ProptestConfig {
    let config = ProptestConfig::default();
    let cases = std::env::var_os("PROPTEST_CASES").map_or(10_000, |_| config.cases);
    ProptestConfig { cases, ..config }
}

proptest! {
    #![proptest_config(histories())]

    /// Law 1, and law 9: what was seen before a close is what it kept, and what a replay up to its cutoff gives.
    #[test]
    fn a_replay_up_to_the_cutoff_gives_the_sealed_root((settings, steps) in history()) {
        let first = settings.period_containing(FIRST);
        let ledger = Ledger::of(&settings, first, &steps);
        for (index, closed) in ledger.closed.iter().enumerate() {
            let cutoff = usize::try_from(closed.cutoff).unwrap();
            let mut again = Ledger::of(&settings, first, &steps[..cutoff]);
            prop_assert_eq!(again.closed.len(), index);
            let preview = again.computed(closed.cutoff);
            again.record(Step::Close);
            let replayed = again.closed.last().unwrap();
            prop_assert_eq!(&replayed.lines, &closed.lines);
            prop_assert_eq!(&replayed.seal, &closed.seal);
            prop_assert_eq!(closed.seal.entries, preview.len() as u64);
            let sealed: i64 = closed.seal.totals.iter().map(|total| total.amount.minor).sum();
            prop_assert_eq!(sealed, sum(&preview));
        }
    }

    /// Law 2.
    #[test]
    fn what_is_booked_for_a_service_period_is_what_is_known_now((settings, steps) in history()) {
        let first = settings.period_containing(FIRST);
        let ledger = Ledger::of(&settings, first, &steps);
        let known = ledger.head();
        let mut booked = ledger.booked();
        booked.extend(ledger.computed(known));
        let of = |end: NaiveDate| sum(booked.iter().filter(|entry| entry.period_end == end));
        for closed in &ledger.closed {
            let prices = ledger.prices(closed.prices);
            let expected = naive(&ledger.facts(known), &prices, &settings, &closed.period);
            prop_assert_eq!(of(closed.period.end), expected, "{:?}", closed.period);
        }
        let open = ledger.open();
        let expected = naive(&ledger.facts(known), &ledger.prices(known), &settings, &open);
        prop_assert_eq!(of(open.end), expected, "{:?}", open);
    }

    /// Law 2, where a rule says that one of the plans is not charged: what is booked is what is known now, in money and in
    /// what is waived.
    #[test]
    fn what_is_not_charged_is_booked_as_such_whatever_is_learned((settings, steps) in history()) {
        let first = settings.period_containing(FIRST);
        let condition = Condition::Test(Test {
            field: Field::Plan, operator: Operator::Is, values: vec![PLANS[0].0.to_owned()],
        });
        let mut ledger = Ledger::new(settings.clone(), first);
        ledger.rule = Some(Rule {
            condition, description: String::new(), from: FIRST, key: RuleKey::parse("a").unwrap(),
            order: 0, reason: "Agreed".to_owned(), to: None,
        });
        steps.into_iter().for_each(|step| ledger.record(step));
        let known = ledger.head();
        let mut booked = ledger.booked();
        booked.extend(ledger.computed(known));
        let due = |entries: &[&Entry]| entries.iter().map(|it| it.due().minor).sum::<i64>();
        for closed in &ledger.closed {
            let of: Vec<_> =
                booked.iter().filter(|entry| entry.period_end == closed.period.end).collect();
            let now = ledger.rated(&closed.period, known, closed.prices);
            let now: Vec<_> = now.iter().collect();
            prop_assert_eq!(sum(of.iter().copied()), sum(now.iter().copied()));
            prop_assert_eq!(due(&of), due(&now));
            let waived = of.iter().filter(|entry| !entry.is_billable());
            prop_assert!(waived.into_iter().all(|entry| entry.amount.minor == 0));
        }
    }

    /// Law 3.
    #[test]
    fn a_reversal_is_an_exact_negation_made_once_and_sealed_rows_stay((settings, steps) in history()) {
        let mut ledger = Ledger::new(settings.clone(), settings.period_containing(FIRST));
        for step in &steps {
            let before = ledger.closed.clone();
            ledger.record(step.clone());
            for (before, after) in before.iter().zip(&ledger.closed) {
                prop_assert_eq!((&before.lines, &before.seal), (&after.lines, &after.seal));
            }
        }
        let closed = ledger.booked();
        let open = ledger.computed(ledger.head());
        let mut ids = HashSet::new();
        let mut reversed = HashSet::new();
        for entry in closed.iter().chain(&open) {
            prop_assert!(ids.insert(&entry.entry_id), "an entry is booked twice: {:?}", entry);
            let Some(correction) = &entry.correction else {
                prop_assert_eq!(entry.class, Class::Normal);
                continue;
            };
            prop_assert_eq!(entry.class, Class::Correction);
            prop_assert!(entry.period_end < correction.booked_end);
            let Some(id) = &correction.reverses else { continue };
            prop_assert!(reversed.insert(id), "reversed twice: {}", id);
            // Only what a closed period has is taken back, and no reversal is.
            let taken_back = closed.iter().find(|it| it.entry_id == *id).unwrap();
            prop_assert!(!taken_back.is_reversal());
            prop_assert!(taken_back.booked_end() < entry.booked_end());
            prop_assert_eq!(entry.amount.minor, -taken_back.amount.minor);
            prop_assert_eq!(entry.period_end, taken_back.period_end);
            prop_assert!(taken_back.exact.checked_add(entry.exact).unwrap().numerator() == 0);
        }
    }

    /// Nothing learned, nothing corrected; and what was corrected once and sealed is not corrected again.
    #[test]
    fn what_has_been_corrected_stays_corrected((settings, steps) in history()) {
        let mut ledger = Ledger::of(&settings, settings.period_containing(FIRST), &steps);
        ledger.record(Step::Close);
        let open = ledger.computed(ledger.head());
        prop_assert!(open.iter().all(|entry| entry.class == Class::Normal), "{:#?}", open);
    }
}
