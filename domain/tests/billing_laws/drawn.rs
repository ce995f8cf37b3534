//! What the histories are drawn from: facts, prices and calendars.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use domain::billing::component::{Charge, Interval, Rate, Tier, Timing};
use domain::billing::{
    BillingSettings, CalendarRule, Change, ComponentKey, ComponentRow, DayPolicy, Fact, Measure,
    Overridden, Override, Period, PolicyRow, PriceOverride, PriceRow, Prices, Reading, Rest,
    RuleChange, Setting, Subject, Suspended, Values,
};
use domain::money::{Currency, Money, Percent};
use domain::property::Unit;
use domain::usage::Aggregation;
use domain::{MeterKey, OrganizationId, PlanKey, PropertyKey, ServiceKey, SubscriptionId};
use proptest::prelude::*;
use uuid::Uuid;

use crate::sellers::mixed_way;

/// Components that plans may have.
pub(crate) const KEYS: [&str; 3] = ["alpha", "setup", "yearly"];
pub(crate) const PLANS: [(&str, i64); 3] = [("a", 10_000), ("b", 18_000), ("c", 745)];
/// The first day of what is drawn; everything happens in the 150 days from here.
pub(crate) const FIRST: NaiveDate = NaiveDate::from_ymd_opt(2018, 9, 10).unwrap();
pub(crate) const MINUTES: i64 = 150 * 24 * 60;

pub(crate) fn plan(index: usize) -> PlanKey {
    PlanKey::parse(PLANS[index].0).unwrap()
}

pub(crate) fn moment(minute: i64) -> DateTime<Utc> {
    FIRST.and_hms_opt(0, 0, 0).unwrap().and_utc() + TimeDelta::minutes(minute)
}

/// Sellers in many zones, by every rule of periods; some take up another rule.
pub(crate) fn settings() -> impl Strategy<Value = BillingSettings> {
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

pub(crate) fn subject() -> Subject {
    Subject {
        buyer: None,
        customer: OrganizationId(Uuid::from_u128(1)),
        seller: OrganizationId(Uuid::from_u128(2)),
        service: ServiceKey::parse("service").unwrap(),
        subscription: SubscriptionId(Uuid::from_u128(3)),
    }
}

pub(crate) fn fact(position: u64, minute: i64, change: Change) -> Fact {
    Fact {
        date: None,
        actor: "Ann".to_owned(),
        change,
        effective_at: moment(minute),
        position,
        reason: None,
        request: None,
        values: Values::new(),
    }
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (0..3_usize, 1..4_u32)
            .prop_map(|(index, quantity)| Change::Provisioned { plan: plan(index), quantity }),
        3 => (0..3_usize, 1..4_u32)
            .prop_map(|(index, quantity)| Change::Changed { plan: plan(index), quantity }),
        3 => Just(Change::Deprovisioned),
    ]
}

/// A minute; often midnight, where dates begin and end, or in one busy week.
pub(crate) fn minute() -> impl Strategy<Value = i64> {
    prop_oneof![0..MINUTES, (0..150_i64).prop_map(|day| day * 24 * 60), 40_000..43_000_i64]
}

/// A value of the property that drives prices, or none.
pub(crate) fn size() -> impl Strategy<Value = Values> {
    prop::option::of(0..6_u32).prop_map(|size| {
        let value = |size: u32| (PropertyKey::parse("Size").unwrap(), format!("{size} GB"));
        size.map(value).into_iter().collect()
    })
}

/// When what is held rests and goes on.
pub(crate) fn rests() -> impl Strategy<Value = Vec<Rest>> {
    prop::collection::btree_map(minute(), any::<bool>(), 0..5).prop_map(|drawn| {
        let rest = |(position, (minute, suspended)): (u64, (i64, bool))| Rest {
            date: None,
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
pub(crate) fn readings() -> impl Strategy<Value = Vec<Reading>> {
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
pub(crate) fn facts() -> impl Strategy<Value = Vec<Fact>> {
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

pub(crate) fn price_override() -> impl Strategy<Value = Override> {
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
    (setting, 1..6_usize, minute(), prop::option::of(0..3_usize), key).prop_map(
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
pub(crate) fn components() -> impl Strategy<Value = Vec<ComponentRow>> {
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

pub(crate) fn measure() -> Measure {
    let unit = |(name, factor): (&str, u64)| Unit { factor, name: name.to_owned() };
    let units = [("MB", 1), ("GB", 1_000)].map(unit).to_vec();
    let (aggregation, unit) = (Some(Aggregation::Sum), None);
    Measure { aggregation, unit, units, value: Some("3 GB".to_owned()) }
}

pub(crate) fn charge() -> impl Strategy<Value = Charge> {
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

pub(crate) fn unit_rate() -> impl Strategy<Value = Rate> {
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

pub(crate) fn euro(minor: i64) -> Money {
    Money::new(minor, Currency::parse("EUR").unwrap())
}

pub(crate) fn component(key: &str) -> ComponentKey {
    ComponentKey::parse(key).unwrap()
}

pub(crate) fn prices() -> impl Strategy<Value = Prices> {
    let policies = [policy(), policy(), policy()];
    let way = prop::option::weighted(0.3, mixed_way());
    (overrides(), policies, components(), way).prop_map(|(overrides, drawn, components, way)| {
        let drawn = drawn.into_iter().enumerate();
        let policies = drawn.map(policy_row).collect();
        let (chain, rates) = way.map(|it| (it.sellers, it.rates)).unwrap_or_default();
        let rows = list_prices();
        Prices { chain, components, overrides, policies, rates, rows, ..Prices::default() }
    })
}

pub(crate) fn overrides() -> impl Strategy<Value = Vec<Override>> {
    prop::collection::vec(price_override(), 0..6).prop_map(|mut overrides| {
        for (position, it) in (100..).zip(&mut overrides) {
            it.position = position;
        }
        overrides
    })
}

pub(crate) fn policy() -> impl Strategy<Value = DayPolicy> {
    prop_oneof![
        4 => Just(DayPolicy::Daily),
        1 => Just(DayPolicy::None),
        4 => charging_policy(),
    ]
}

pub(crate) fn charging_policy() -> impl Strategy<Value = DayPolicy> {
    prop::sample::select(vec![
        DayPolicy::Daily,
        DayPolicy::Fixed30,
        DayPolicy::Full,
        DayPolicy::NextPeriod,
        DayPolicy::Snapshot,
    ])
}

pub(crate) fn policy_row((index, policy): (usize, DayPolicy)) -> PolicyRow {
    let suspended = if index == 1 { Suspended::Billed } else { Suspended::Free };
    PolicyRow { from: None, plan: plan(index), policy, position: 1, suspended }
}

pub(crate) fn list_prices() -> Vec<PriceRow> {
    let row = |(index, (_, minor)): (usize, &(&str, i64))| PriceRow {
        from: None,
        minor: *minor,
        plan: plan(index),
        position: 1,
    };
    PLANS.iter().enumerate().map(row).collect()
}

/// The periods that what is drawn lies in.
pub(crate) fn periods(settings: &BillingSettings) -> impl Iterator<Item = Period> {
    // West of UTC the first moments are of the date before.
    let first = settings.period_containing(FIRST - Days::new(1));
    std::iter::successors(Some(first), |it| Some(settings.next(*it))).take(8)
}
