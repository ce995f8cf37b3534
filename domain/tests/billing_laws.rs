//! The laws of billing.md, section 8, as properties of random histories; and an independent model
//! that rates day by day, as naively as it can be said, and must agree to the cent.

#![expect(clippy::unwrap_used, reason = "what is drawn here fits, or the test fails")]

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use domain::billing::{
    BillingSettings, CalendarRule, Change, DayPolicy, Entry, Fact, Overridden, Override, Period,
    PolicyRow, PriceOverride, PriceRow, Prices, RuleChange, Setting, Subject, Timeline, rate,
};
use domain::money::{Currency, Percent};
use domain::{OrganizationId, PlanKey, ServiceKey, SubscriptionId};
use proptest::prelude::*;
use uuid::Uuid;

const PLANS: [(&str, i64); 3] = [("a", 10_000), ("b", 18_000), ("c", 745)];
/// The first day of what is drawn; everything happens in the 150 days from here.
const FIRST: NaiveDate = NaiveDate::from_ymd_opt(2018, 9, 10).unwrap();
const MINUTES: i64 = 150 * 24 * 60;

fn plan(index: usize) -> PlanKey {
    PlanKey::parse(PLANS[index].0).unwrap()
}

fn moment(minute: i64) -> DateTime<Utc> {
    FIRST.and_hms_opt(0, 0, 0).unwrap().and_utc() + TimeDelta::minutes(minute)
}

/// Sellers in many zones, by every rule of periods; some take up another rule.
fn settings() -> impl Strategy<Value = BillingSettings> {
    // Midnight is skipped in Sao Paulo when summer time begins; Auckland and Kolkata are far from
    // UTC; all change within what is drawn, or never.
    let zones = [
        chrono_tz::UTC,
        chrono_tz::Pacific::Auckland,
        chrono_tz::America::Sao_Paulo,
        chrono_tz::Asia::Kolkata,
    ];
    let rule = || {
        prop_oneof![
            2 => Just(CalendarRule::CalendarMonth),
            1 => (1..=31_u8).prop_map(CalendarRule::FixedDay),
            1 => (0..=27_u8).prop_map(CalendarRule::DaysBeforeMonthEnd),
        ]
    };
    let change = prop::option::weighted(0.3, (0..150_u64, rule()));
    (prop::sample::select(zones.to_vec()), rule(), change).prop_map(|(zone, rule, change)| {
        let euro = Currency::parse("EUR").unwrap();
        let mut settings = BillingSettings::new(euro, rule, zone);
        if let Some((days, rule)) = change {
            let from = settings.period_containing(FIRST + Days::new(days)).after();
            settings.rule_changes.push(RuleChange { from, rule });
        }
        settings
    })
}

fn subject() -> Subject {
    Subject {
        customer: OrganizationId(Uuid::from_u128(1)),
        seller: OrganizationId(Uuid::from_u128(2)),
        service: ServiceKey::parse("service").unwrap(),
        subscription: SubscriptionId(Uuid::from_u128(3)),
    }
}

fn fact(position: u64, minute: i64, change: Change) -> Fact {
    Fact {
        actor: "Ann".to_owned(),
        change,
        effective_at: moment(minute),
        position,
        reason: None,
        request: None,
    }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0..3_usize, 1..4_u32)
            .prop_map(|(index, quantity)| Change::Provisioned { plan: plan(index), quantity }),
        3 => (0..3_usize, 1..4_u32)
            .prop_map(|(index, quantity)| Change::Changed { plan: plan(index), quantity }),
        3 => Just(Change::Deprovisioned),
    ]
}

/// A minute; often midnight, where dates begin and end, or in one busy week.
fn minute() -> impl Strategy<Value = i64> {
    prop_oneof![0..MINUTES, (0..150_i64).prop_map(|day| day * 24 * 60), 40_000..43_000_i64]
}

/// Facts at distinct moments, many of them within a day, in a random order of recording.
fn facts() -> impl Strategy<Value = Vec<Fact>> {
    prop::collection::btree_map(minute(), change(), 0..14)
        .prop_map(|drawn| drawn.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
        .prop_map(|drawn| {
            let numbered = (1..).zip(drawn);
            numbered.map(|(position, (minute, change))| fact(position, minute, change)).collect()
        })
}

fn price_override() -> impl Strategy<Value = Override> {
    let setting = prop_oneof![
        1 => Just(Setting::Cleared),
        3 => (0..20_000_i64, prop::option::of(minute())).prop_map(|(minor, to)| Setting::Set {
            to: to.map(moment),
            value: PriceOverride::Amount(minor),
        }),
        3 => (-100..=50_i64, prop::option::of(minute())).prop_map(|(percent, to)| Setting::Set {
            to: to.map(moment),
            value: PriceOverride::Percent(Percent::parse(&percent.to_string()).unwrap()),
        }),
    ];
    (setting, 1..4_usize, minute(), prop::option::of(0..3_usize)).prop_map(
        |(setting, depth, from, of)| Override {
            actor: "Bob".to_owned(),
            depth,
            from: moment(from),
            overridden: Overridden::Price(setting),
            plan: of.map(plan),
            position: 0,
            reason: None,
        },
    )
}

fn prices() -> impl Strategy<Value = Prices> {
    let policies = [policy(), policy(), policy()];
    (prop::collection::vec(price_override(), 0..6), policies).prop_map(|(mut overrides, drawn)| {
        for (position, it) in (100..).zip(&mut overrides) {
            it.position = position;
        }
        let drawn = drawn.into_iter().enumerate();
        Prices { overrides, policies: drawn.map(policy_row).collect(), rows: list_prices() }
    })
}

fn policy() -> impl Strategy<Value = DayPolicy> {
    prop_oneof![
        4 => Just(DayPolicy::Daily),
        1 => Just(DayPolicy::None),
        4 => charging_policy(),
    ]
}

fn charging_policy() -> impl Strategy<Value = DayPolicy> {
    prop::sample::select(vec![
        DayPolicy::Daily,
        DayPolicy::Fixed30,
        DayPolicy::Full,
        DayPolicy::NextPeriod,
        DayPolicy::Snapshot,
    ])
}

fn policy_row((index, policy): (usize, DayPolicy)) -> PolicyRow {
    PolicyRow { from: None, plan: plan(index), policy, position: 1 }
}

fn list_prices() -> Vec<PriceRow> {
    let row = |(index, (_, minor)): (usize, &(&str, i64))| PriceRow {
        from: None,
        minor: *minor,
        plan: plan(index),
        position: 1,
    };
    PLANS.iter().enumerate().map(row).collect()
}

/// The periods that what is drawn lies in.
fn periods(settings: &BillingSettings) -> impl Iterator<Item = Period> {
    let first = settings.period_containing(FIRST);
    std::iter::successors(Some(first), |it| Some(settings.next(*it))).take(8)
}

fn rated(
    facts: &[Fact],
    prices: &Prices,
    settings: &BillingSettings,
    period: &Period,
) -> Vec<Entry> {
    let timeline = Timeline::new(facts.iter().cloned());
    rate(&subject(), &timeline, prices, settings, period).unwrap()
}

fn sum(entries: &[Entry]) -> i64 {
    entries.iter().map(|entry| entry.amount.minor).sum()
}

/// An exact fraction, as a child would keep it.
#[derive(Clone, Copy)]
struct Fraction(i128, i128);

impl Fraction {
    fn reduced(self) -> Self {
        let (mut a, mut b) = (self.0.abs(), self.1);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Self(self.0 / a.max(1), self.1 / a.max(1))
    }

    fn plus(self, other: Self) -> Self {
        Self(self.0 * other.1 + other.0 * self.1, self.1 * other.1).reduced()
    }

    fn times(self, numerator: i128, denominator: i128) -> Self {
        Self(self.0 * numerator, self.1 * denominator).reduced()
    }

    /// Half away from zero.
    fn rounded(self) -> i128 {
        let magnitude = (2 * self.0.abs() + self.1) / (2 * self.1);
        magnitude * self.0.signum()
    }
}

/// What is billed on one date, day by day: what is held when the date ends; if nothing is, the last
/// of those that came and went within it.
fn billed_on(facts: &[Fact], begin: DateTime<Utc>, end: DateTime<Utc>) -> Option<(PlanKey, u32)> {
    let mut facts: Vec<_> = facts.iter().filter(|fact| fact.effective_at < end).collect();
    facts.sort_by_key(|fact| (fact.effective_at, fact.position));
    let mut held = None;
    let mut began_today = false;
    let mut came_and_went = None;
    for fact in facts {
        match &fact.change {
            Change::Provisioned { plan, quantity } => {
                if held.is_none() {
                    began_today = fact.effective_at >= begin;
                }
                held = Some((plan.clone(), *quantity));
            }
            Change::Changed { plan, quantity } => {
                if held.is_some() {
                    held = Some((plan.clone(), *quantity));
                }
            }
            Change::Deprovisioned => {
                if began_today && held.is_some() {
                    came_and_went = held.clone();
                }
                held = None;
                began_today = false;
            }
        }
    }
    held.or(came_and_went)
}

/// What one unit costs on the date that ends at `end`, asked level by level.
fn unit_price(prices: &Prices, plan: &PlanKey, end: DateTime<Utc>) -> Fraction {
    let mut percents = Vec::new();
    for depth in (1..=4).rev() {
        let at_level: Vec<_> = prices.overrides.iter().filter(|it| it.depth == depth).collect();
        let mut best: Option<(&Override, PriceOverride)> = None;
        for it in &at_level {
            let Overridden::Price(Setting::Set { to, value }) = &it.overridden else { continue };
            let cleared = at_level.iter().any(|by| {
                by.overridden == Overridden::Price(Setting::Cleared)
                    && by.plan == it.plan
                    && by.from < end
                    && by.position > it.position
            });
            let fits = it.plan.is_none() || it.plan.as_ref() == Some(plan);
            let runs = it.from < end && to.is_none_or(|to| to >= end);
            if cleared || !fits || !runs {
                continue;
            }
            let key = |it: &Override| (it.plan.is_some(), it.from, it.position);
            if best.is_none_or(|(so_far, _)| key(it) > key(so_far)) {
                best = Some((it, *value));
            }
        }
        match best {
            Some((_, PriceOverride::Amount(minor))) => {
                return with_percents(Fraction(minor.into(), 1), &percents);
            }
            Some((_, PriceOverride::Percent(percent))) => percents.push(percent),
            None => {}
        }
    }
    let row = prices.rows.iter().find(|row| row.plan == *plan).unwrap();
    with_percents(Fraction(row.minor.into(), 1), &percents)
}

fn with_percents(price: Fraction, percents: &[Percent]) -> Fraction {
    percents.iter().fold(price, |price, percent| {
        let whole: i128 = percent.to_string().parse().unwrap();
        price.times(100 + whole, 100)
    })
}

/// What a period costs, date by date: each date that is billed costs its part of the price.
fn naive(facts: &[Fact], prices: &Prices, settings: &BillingSettings, period: &Period) -> i128 {
    let mut dates = Vec::new();
    let mut date = period.start;
    while date <= period.end {
        let (begin, end) = (settings.midnight(date), settings.midnight(date + Days::new(1)));
        dates.push((billed_on(facts, begin, end), end));
        date = date + Days::new(1);
    }
    let policy_of = |plan: &PlanKey| {
        let row = prices.policies.iter().find(|row| row.plan == *plan);
        row.map_or(DayPolicy::Daily, |row| row.policy)
    };
    let is_full = |billed: &Option<(PlanKey, u32)>| {
        billed.as_ref().is_some_and(|(plan, _)| policy_of(plan) == DayPolicy::Full)
    };
    let last_full = dates.iter().rposition(|(billed, _)| is_full(billed));
    let days = dates.len();
    let full_days = i128::from(period.full_days());
    let mut total = Fraction(0, 1);
    for (index, (billed, end)) in dates.iter().enumerate() {
        let Some((plan, quantity)) = billed else { continue };
        let by_days = (1, full_days);
        let all = |all: bool| (i128::from(all), 1);
        let (part, of) = match policy_of(plan) {
            DayPolicy::None => continue,
            _ if period.nominal_days.is_some() => by_days,
            DayPolicy::Daily => by_days,
            DayPolicy::Fixed30 if index + 1 == days && days < 30 => (31 - days as i128, 30),
            DayPolicy::Fixed30 => (i128::from(index < 30), 30),
            DayPolicy::Full => all(last_full == Some(index)),
            DayPolicy::NextPeriod => {
                let first = (0..=index).rev().take_while(|it| dates[*it].0.is_some()).last();
                if first == Some(0) { by_days } else { (0, 1) }
            }
            DayPolicy::Snapshot => all(index + 1 == days && is_held_before(facts, *end)),
        };
        let price = unit_price(prices, plan, *end).times((*quantity).into(), 1);
        total = total.plus(price.times(part, of));
    }
    total.rounded()
}

/// Whether anything is held right before a moment.
fn is_held_before(facts: &[Fact], moment: DateTime<Utc>) -> bool {
    let mut facts: Vec<_> = facts.iter().filter(|fact| fact.effective_at < moment).collect();
    facts.sort_by_key(|fact| (fact.effective_at, fact.position));
    facts.iter().fold(false, |held, fact| match fact.change {
        Change::Provisioned { .. } => true,
        Change::Changed { .. } => held,
        Change::Deprovisioned => false,
    })
}

/// 2,000 histories, or as many as `PROPTEST_CASES` says.
fn histories() -> ProptestConfig {
    let config = ProptestConfig::default();
    let cases = std::env::var_os("PROPTEST_CASES").map_or(2_000, |_| config.cases);
    ProptestConfig { cases, ..config }
}

proptest! {
    #![proptest_config(histories())]

    #[test]
    fn the_naive_model_agrees_to_the_cent(facts in facts(), prices in prices(), settings in settings()) {
        for period in periods(&settings) {
            let entries = rated(&facts, &prices, &settings, &period);
            let expected = naive(&facts, &prices, &settings, &period);
            prop_assert_eq!(i128::from(sum(&entries)), expected, "{:?} {:#?}", period, entries);
        }
    }

    /// Law 4.
    #[test]
    fn segments_tile_and_days_never_exceed_the_period(
        facts in facts(), prices in prices(), settings in settings(),
    ) {
        for period in periods(&settings) {
            let entries = rated(&facts, &prices, &settings, &period);
            let charged = entries.iter().filter(|entry| entry.days > 0);
            let mut spans = Vec::new();
            for entry in charged {
                let (from, to) = (entry.service_from, entry.service_to);
                let dates = to.signed_duration_since(from).num_days();
                prop_assert!(
                    entry.policy == DayPolicy::Fixed30 || dates == i64::from(entry.days),
                    "{entry:?}",
                );
                prop_assert!(from >= period.start && to <= period.after());
                prop_assert!(entry.days <= entry.period_days || period.nominal_days.is_some());
                spans.push((from, to));
            }
            spans.sort();
            for pair in spans.windows(2) {
                prop_assert!(pair[0].1 <= pair[1].0, "{:?} overlaps {:?}", pair[0], pair[1]);
            }
        }
    }

    /// Law 5.
    #[test]
    fn an_unchanged_full_period_costs_the_price(
        index in 0..3_usize,
        quantity in 1..40_u32,
        policy in charging_policy(),
        restated in prop::collection::btree_set(1..MINUTES, 0..12),
        settings in settings(),
    ) {
        let held = |minute, position| {
            fact(position, minute, Change::Changed { plan: plan(index), quantity })
        };
        let provisioned = Change::Provisioned { plan: plan(index), quantity };
        let begin = fact(1, 0, provisioned);
        let restated = (2..).zip(restated).map(|(position, minute)| held(minute, position));
        let facts: Vec<_> = std::iter::once(begin).chain(restated).collect();
        let policies = vec![policy_row((index, policy))];
        let prices = Prices { overrides: Vec::new(), policies, rows: list_prices() };
        for period in periods(&settings).skip(1).filter(|it| it.nominal_days.is_none()) {
            let entries = rated(&facts, &prices, &settings, &period);
            prop_assert_eq!(entries.len(), 1);
            prop_assert_eq!(sum(&entries), PLANS[index].1 * i64::from(quantity));
        }
    }

    /// Law 6. (No two facts at one instant; prices do not depend on the order here.)
    #[test]
    fn the_same_facts_in_another_order_end_at_the_same_sums(
        (facts, other) in facts().prop_flat_map(|facts| {
            (Just(facts.clone()), Just(facts).prop_shuffle())
        }),
        prices in prices(),
        settings in settings(),
    ) {
        let other: Vec<_> =
            (1..).zip(other).map(|(position, fact)| Fact { position, ..fact }).collect();
        for period in periods(&settings) {
            let sums = [&facts, &other].map(|facts| sum(&rated(facts, &prices, &settings, &period)));
            prop_assert_eq!(sums[0], sums[1]);
        }
    }

    /// Law 7.
    #[test]
    fn no_completion_no_money(facts in facts(), prices in prices(), settings in settings()) {
        let never = |fact: &Fact| !matches!(fact.change, Change::Provisioned { .. });
        let facts: Vec<_> = facts.into_iter().filter(never).collect();
        for period in periods(&settings) {
            prop_assert!(rated(&facts, &prices, &settings, &period).is_empty());
        }
    }
}
