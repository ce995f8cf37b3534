//! The laws of billing.md, section 8, as properties of random histories; and an independent model
//! that rates day by day, as naively as it can be said, and must agree to the cent.

#![expect(clippy::unwrap_used, reason = "what is drawn here fits, or the test fails")]

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use domain::billing::{
    BillingSettings, CalendarRule, Change, Entry, Fact, Overridden, Override, Period,
    PriceOverride, PriceRow, Prices, Setting, Subject, Timeline, rate,
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

fn settings(zone: usize) -> BillingSettings {
    // Midnight is skipped in Sao Paulo when summer time begins; Auckland and Kolkata are far from
    // UTC; all change within what is drawn, or never.
    let zones = [
        chrono_tz::UTC,
        chrono_tz::Pacific::Auckland,
        chrono_tz::America::Sao_Paulo,
        chrono_tz::Asia::Kolkata,
    ];
    BillingSettings {
        currency: Currency::parse("EUR").unwrap(),
        rule: CalendarRule::CalendarMonth,
        zone: zones[zone],
    }
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
    prop::collection::vec(price_override(), 0..6).prop_map(|mut overrides| {
        for (position, it) in (100..).zip(&mut overrides) {
            it.position = position;
        }
        Prices { overrides, rows: list_prices() }
    })
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
fn periods() -> impl Iterator<Item = Period> {
    let rule = CalendarRule::CalendarMonth;
    std::iter::successors(Some(rule.period_containing(FIRST)), move |it| Some(rule.next(*it)))
        .take(7)
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

fn naive(facts: &[Fact], prices: &Prices, settings: &BillingSettings, period: &Period) -> i128 {
    let mut total = Fraction(0, 1);
    let mut date = period.start;
    while date <= period.end {
        let (begin, end) = (settings.midnight(date), settings.midnight(date + Days::new(1)));
        if let Some((plan, quantity)) = billed_on(facts, begin, end) {
            let days = i128::from(period.days());
            total = total.plus(unit_price(prices, &plan, end).times(quantity.into(), days));
        }
        date = date + Days::new(1);
    }
    total.rounded()
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
    fn the_naive_model_agrees_to_the_cent(facts in facts(), prices in prices(), zone in 0..4_usize) {
        let settings = settings(zone);
        for period in periods() {
            let entries = rated(&facts, &prices, &settings, &period);
            let expected = naive(&facts, &prices, &settings, &period);
            prop_assert_eq!(i128::from(sum(&entries)), expected, "{:?} {:#?}", period, entries);
        }
    }

    /// Law 4.
    #[test]
    fn segments_tile_and_days_never_exceed_the_period(
        facts in facts(), prices in prices(), zone in 0..4_usize,
    ) {
        let settings = settings(zone);
        for period in periods() {
            let entries = rated(&facts, &prices, &settings, &period);
            let charged = entries.iter().filter(|entry| entry.days > 0);
            let mut spans: Vec<_> = charged
                .map(|entry| (entry.service_from, entry.service_to, entry.days))
                .collect();
            spans.sort();
            for (from, to, days) in &spans {
                prop_assert_eq!(to.signed_duration_since(*from).num_days(), i64::from(*days));
                prop_assert!(*from >= period.start && *to <= period.after());
            }
            for pair in spans.windows(2) {
                prop_assert!(pair[0].1 <= pair[1].0, "{:?} overlaps {:?}", pair[0], pair[1]);
            }
            prop_assert!(spans.iter().map(|span| span.2).sum::<u32>() <= period.days());
        }
    }

    /// Law 5.
    #[test]
    fn an_unchanged_full_period_costs_the_price(
        index in 0..3_usize,
        quantity in 1..40_u32,
        restated in prop::collection::btree_set(1..MINUTES, 0..12),
        zone in 0..4_usize,
    ) {
        let settings = settings(zone);
        let held = |minute, position| {
            fact(position, minute, Change::Changed { plan: plan(index), quantity })
        };
        let provisioned = Change::Provisioned { plan: plan(index), quantity };
        let begin = fact(1, 0, provisioned);
        let restated = (2..).zip(restated).map(|(position, minute)| held(minute, position));
        let facts: Vec<_> = std::iter::once(begin).chain(restated).collect();
        let prices = Prices { overrides: Vec::new(), rows: list_prices() };
        for period in periods().skip(1) {
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
        zone in 0..4_usize,
    ) {
        let settings = settings(zone);
        let other: Vec<_> =
            (1..).zip(other).map(|(position, fact)| Fact { position, ..fact }).collect();
        for period in periods() {
            let sums = [&facts, &other].map(|facts| sum(&rated(facts, &prices, &settings, &period)));
            prop_assert_eq!(sums[0], sums[1]);
        }
    }

    /// Law 7.
    #[test]
    fn no_completion_no_money(facts in facts(), prices in prices(), zone in 0..4_usize) {
        let never = |fact: &Fact| !matches!(fact.change, Change::Provisioned { .. });
        let facts: Vec<_> = facts.into_iter().filter(never).collect();
        for period in periods() {
            prop_assert!(rated(&facts, &prices, &settings(zone), &period).is_empty());
        }
    }
}
