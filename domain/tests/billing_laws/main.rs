//! The laws of billing.md, section 8, as properties of random histories; and an independent model
//! that rates day by day, as naively as it can be said, and must agree to the cent.

#![expect(clippy::unwrap_used, reason = "what is drawn here fits, or the test fails")]

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use domain::billing::component::{Charge, Interval, Rate, Tier, Timing};
use domain::billing::{
    BillingSettings, CalendarRule, Change, ComponentKey, ComponentRow, DayPolicy, Entry, Fact,
    Kind, Measure, Overridden, Override, Period, PolicyRow, PriceOverride, PriceRow, Prices,
    Reading, Rest, RuleChange, Setting, Subject, Suspended, Timeline, Values, rate,
};
use domain::money::{Currency, Money, Percent, Ratio};
use domain::property::Unit;
use domain::usage::Aggregation;
use domain::{MeterKey, OrganizationId, PlanKey, PropertyKey, ServiceKey, SubscriptionId};
use proptest::prelude::*;
use uuid::Uuid;

mod naive;

use naive::Model;

/// Components that plans may have.
const KEYS: [&str; 3] = ["alpha", "setup", "yearly"];
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
        buyer: None,
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
        values: Values::new(),
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

/// A value of the property that drives prices, or none.
fn size() -> impl Strategy<Value = Values> {
    prop::option::of(0..6_u32).prop_map(|size| {
        let value = |size: u32| (PropertyKey::parse("Size").unwrap(), format!("{size} GB"));
        size.map(value).into_iter().collect()
    })
}

/// When what is held rests and goes on.
fn rests() -> impl Strategy<Value = Vec<Rest>> {
    prop::collection::btree_map(minute(), any::<bool>(), 0..5).prop_map(|drawn| {
        let rest = |(position, (minute, suspended)): (u64, (i64, bool))| Rest {
            actor: "Cyd".to_owned(),
            effective_at: moment(minute),
            position,
            reason: None,
            request: None,
            suspended,
        };
        (200..).zip(drawn).map(rest).collect()
    })
}

/// What was used, while something was held and before and after it.
fn readings() -> impl Strategy<Value = Vec<Reading>> {
    prop::collection::btree_map(minute(), 0..6_u32, 0..8).prop_map(|drawn| {
        let reading = |(position, (minute, quantity)): (u64, (i64, u32))| Reading {
            actor: "Dan".to_owned(),
            effective_at: moment(minute),
            meter: MeterKey::parse("calls").unwrap(),
            position,
            quantity: quantity.into(),
            reason: None,
            unique: None,
        };
        (300..).zip(drawn).map(reading).collect()
    })
}

/// Facts at distinct moments, many of them within a day, in a random order of recording.
fn facts() -> impl Strategy<Value = Vec<Fact>> {
    prop::collection::btree_map(minute(), (change(), size()), 0..14)
        .prop_map(|drawn| drawn.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
        .prop_map(|drawn| {
            let numbered = (1..).zip(drawn);
            let sized = |(position, (minute, (change, values)))| Fact {
                values,
                ..fact(position, minute, change)
            };
            numbered.map(sized).collect()
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
    let key = prop::option::of(prop::sample::select(KEYS.to_vec()));
    (setting, 1..4_usize, minute(), prop::option::of(0..3_usize), key).prop_map(
        |(setting, depth, from, of, key)| Override {
            actor: "Bob".to_owned(),
            depth,
            from: moment(from),
            overridden: match key {
                None => Overridden::Price(setting),
                Some(key) => Overridden::Component { key: component(key), setting },
            },
            plan: of.map(plan),
            position: 0,
            reason: None,
        },
    )
}

/// What the plans cost beside their own prices: charges of every sort, each from a date on, or until one.
fn components() -> impl Strategy<Value = Vec<ComponentRow>> {
    let row = (
        0..3_usize,
        prop::sample::select(KEYS.to_vec()),
        prop::option::weighted(0.8, charge()),
        prop::option::weighted(0.4, minute()),
    );
    prop::collection::vec(row, 0..8).prop_map(|rows| {
        let row = |(position, (of, key, charge, from)): (u64, (usize, &str, Option<Charge>, _))| {
            ComponentRow {
                measure: charge.as_ref().map(|_| measure()),
                charge,
                component: component(key),
                from: Option::map(from, moment),
                plan: plan(of),
                position,
            }
        };
        (50..).zip(rows).map(row).collect()
    })
}

fn measure() -> Measure {
    let unit = |(name, factor): (&str, u64)| Unit { factor, name: name.to_owned() };
    let units = [("MB", 1), ("GB", 1_000)].map(unit).to_vec();
    let (aggregation, unit) = (Some(Aggregation::Sum), None);
    Measure { aggregation, unit, units, value: Some("3 GB".to_owned()) }
}

fn charge() -> impl Strategy<Value = Charge> {
    let interval = prop::sample::select(vec![Interval::Month, Interval::Year]);
    let timing = prop::sample::select(vec![Timing::Advance, Timing::Arrears]);
    prop_oneof![
        1 => (0..5_000_i64).prop_map(|minor| Charge::OneOff { price: euro(minor) }),
        1 => (0..40_000_i64).prop_map(|minor| Charge::Minimum { price: euro(minor) }),
        1 => (0..9_u32, unit_rate()).prop_map(|(included, rate)| Charge::Usage {
            included: included.into(),
            meter: MeterKey::parse("calls").unwrap(),
            rate,
        }),
        1 => (0..4_u32, unit_rate()).prop_map(|(included, rate)| Charge::Property {
            included: included.into(),
            property: PropertyKey::parse("Size").unwrap(),
            rate,
            unit: Some("GB".to_owned()),
        }),
        4 => (interval, unit_rate(), timing)
            .prop_map(|(interval, rate, timing)| Charge::Recurring { interval, rate, timing }),
    ]
}

fn unit_rate() -> impl Strategy<Value = Rate> {
    let tiers = || {
        (0..5_000_i64, 1..3_u32, 0..5_000_i64).prop_map(|(first, above, second)| {
            let tier = |above: u32, minor| Tier { above: above.into(), price: euro(minor) };
            vec![tier(0, first), tier(above, second)]
        })
    };
    prop_oneof![
        3 => (0..120_000_i64).prop_map(|minor| Rate::Unit(euro(minor))),
        1 => tiers().prop_map(Rate::Graduated),
        1 => tiers().prop_map(Rate::Volume),
        1 => (0..5_000_i64, 1..3_u32)
            .prop_map(|(minor, size)| Rate::Package { price: euro(minor), size: size.into() }),
    ]
}

fn euro(minor: i64) -> Money {
    Money::new(minor, Currency::parse("EUR").unwrap())
}

fn component(key: &str) -> ComponentKey {
    ComponentKey::parse(key).unwrap()
}

fn prices() -> impl Strategy<Value = Prices> {
    let policies = [policy(), policy(), policy()];
    let overrides = prop::collection::vec(price_override(), 0..6);
    (overrides, policies, components()).prop_map(|(mut overrides, drawn, components)| {
        for (position, it) in (100..).zip(&mut overrides) {
            it.position = position;
        }
        let drawn = drawn.into_iter().enumerate();
        let policies = drawn.map(policy_row).collect();
        Prices { components, overrides, policies, rows: list_prices(), ..Prices::default() }
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
    let suspended = if index == 1 { Suspended::Billed } else { Suspended::Free };
    PolicyRow { from: None, plan: plan(index), policy, position: 1, suspended }
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
    rested(facts, &[], prices, settings, period)
}

fn rested(
    facts: &[Fact],
    rests: &[Rest],
    prices: &Prices,
    settings: &BillingSettings,
    period: &Period,
) -> Vec<Entry> {
    let timeline = Timeline::new(facts.iter().cloned()).resting(rests.iter().cloned());
    rate(&subject(), &timeline, prices, settings, period).unwrap()
}

fn sum(entries: &[Entry]) -> i64 {
    entries.iter().map(|entry| entry.amount.minor).sum()
}

/// Whether something that is charged by terms is called so.
fn is_by_term(prices: &Prices, key: &ComponentKey) -> bool {
    let rows = prices.components.iter().filter(|row| row.component == *key);
    rows.filter_map(|row| row.charge.as_ref()).any(|charge| charge.term().is_some())
}

/// 10,000 histories, or as many as `PROPTEST_CASES` says.
fn histories() -> ProptestConfig {
    let config = ProptestConfig::default();
    let cases = std::env::var_os("PROPTEST_CASES").map_or(10_000, |_| config.cases);
    ProptestConfig { cases, ..config }
}

proptest! {
    #![proptest_config(histories())]

    #[test]
    fn the_naive_model_agrees_to_the_cent(
        facts in facts(), rests in rests(), readings in readings(), prices in prices(), settings in settings(),
    ) {
        for period in periods(&settings) {
            let timeline = Timeline::new(facts.iter().cloned()).resting(rests.iter().cloned());
            let timeline = timeline.metered(readings.iter().cloned());
            let entries = rate(&subject(), &timeline, &prices, &settings, &period).unwrap();
            let of = |key: &ComponentKey| {
                entries.iter().filter(|it| it.component == *key).map(|it| it.amount.minor).sum::<i64>()
            };
            let model = Model {
                facts: &facts,
                prices: &prices,
                readings: &readings,
                rests: &rests,
                settings: &settings,
            };
            let expected = model.booked(&period);
            for (key, expected) in &expected {
                prop_assert_eq!(i128::from(of(key)), *expected, "{}: {:?} {:#?}", key, period, entries);
            }
            prop_assert!(entries.iter().all(|it| expected.contains_key(&it.component)));
            let places: Vec<_> = entries.iter().map(|it| (&it.component, it.service_from)).collect();
            prop_assert!(places.is_sorted(), "{places:?}");
        }
    }

    /// Law 4.
    #[test]
    fn segments_tile_and_days_never_exceed_the_period(
        facts in facts(), rests in rests(), prices in prices(), settings in settings(),
    ) {
        for period in periods(&settings) {
            let entries = rested(&facts, &rests, &prices, &settings, &period);
            for key in KEYS.map(component).into_iter().chain([ComponentKey::RECURRING]) {
                // What is charged by terms lies where its terms do, and is given back where it was charged.
                let is_by_period = |entry: &&Entry| {
                    entry.kind == Kind::Recurring && entry.component == key && !is_by_term(&prices, &key)
                };
                let charged = entries.iter().filter(is_by_period).filter(|entry| entry.days > 0);
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
    }

    /// Law 4, of what is charged by terms: over all periods, what is charged less what is given back is on no date more
    /// than once.
    #[test]
    fn a_term_is_charged_once_for_each_of_its_dates(
        facts in facts(), rests in rests(), prices in prices(), settings in settings(),
    ) {
        let mut charged = std::collections::BTreeMap::<_, i64>::new();
        for period in periods(&settings) {
            for entry in rested(&facts, &rests, &prices, &settings, &period) {
                let is_by_term = entry.kind == Kind::Recurring && is_by_term(&prices, &entry.component);
                if !is_by_term || entry.exact == Ratio::ZERO {
                    continue;
                }
                let times = if entry.exact < Ratio::ZERO { -1 } else { 1 };
                let dates = entry.service_from.iter_days().take_while(|it| *it < entry.service_to);
                for date in dates {
                    *charged.entry((entry.component.clone(), date)).or_default() += times;
                }
            }
        }
        prop_assert!(charged.values().all(|times| (0..=1).contains(times)), "{charged:?}");
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
        let prices = Prices { policies, rows: list_prices(), ..Prices::default() };
        for period in periods(&settings).skip(1).filter(|it| it.nominal_days.is_none()) {
            let entries = rated(&facts, &prices, &settings, &period);
            prop_assert_eq!(entries.len(), 1);
            prop_assert_eq!(sum(&entries), PLANS[index].1 * i64::from(quantity));
        }
    }

    /// Law 5, of terms: each costs its price, in a leap year, too.
    #[test]
    fn an_unchanged_term_costs_the_price(
        day in 0..800_u64,
        quantity in 1..40_u32,
        minor in 0..1_000_000_i64,
        way in prop::sample::select(vec![
            (Interval::Month, Timing::Advance),
            (Interval::Year, Timing::Advance),
            (Interval::Year, Timing::Arrears),
        ]),
        settings in settings(),
    ) {
        let (interval, timing) = way;
        let rate = Rate::Unit(euro(minor));
        let row = ComponentRow {
            charge: Some(Charge::Recurring { interval, rate, timing }),
            component: component("term"),
            from: None,
            measure: None,
            plan: plan(0),
            position: 50,
        };
        let prices = Prices { components: vec![row], rows: list_prices(), ..Prices::default() };
        let begin = FIRST + Days::new(day);
        let effective_at = settings.midnight(begin);
        let provisioned = Change::Provisioned { plan: plan(0), quantity };
        let facts = [Fact { effective_at, ..fact(1, 0, provisioned) }];
        let first = settings.period_containing(begin);
        let periods = std::iter::successors(Some(first), |it| Some(settings.next(*it))).take(26);
        let mut booked = Vec::new();
        for period in periods {
            let entries = rated(&facts, &prices, &settings, &period);
            booked.extend(entries.into_iter().filter(|it| it.component == component("term")));
        }
        prop_assert!(booked.iter().all(|it| it.amount.minor == minor * i64::from(quantity)));
        prop_assert!(booked.iter().all(|it| it.days == it.period_days));
        // One after the other, whatever the months are; none is left out.
        prop_assert!(booked.windows(2).all(|pair| pair[0].service_to == pair[1].service_from));
        prop_assert_eq!(booked[0].service_from, begin);
        let least = if interval == Interval::Month { 24 } else { 1 };
        prop_assert!(booked.len() >= least, "{}", booked.len());
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
    fn no_completion_no_money(
        facts in facts(), rests in rests(), prices in prices(), settings in settings(),
    ) {
        let never = |fact: &Fact| !matches!(fact.change, Change::Provisioned { .. });
        let facts: Vec<_> = facts.into_iter().filter(never).collect();
        for period in periods(&settings) {
            prop_assert!(rested(&facts, &rests, &prices, &settings, &period).is_empty());
        }
    }
}
