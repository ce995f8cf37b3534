//! The laws of billing.md, section 8, as properties of random histories; and an independent model
//! that rates day by day, as naively as it can be said, and must agree to the cent.

#![expect(clippy::unwrap_used, reason = "what is drawn here fits, or the test fails")]

use std::collections::BTreeMap;

use chrono::Days;
use domain::billing::component::{Charge, Interval, Rate, Timing};
use domain::billing::{
    BillingSettings, Change, ComponentKey, ComponentRow, DayPolicy, Entry, Fact, Kind, Period,
    Prices, Rest, Timeline, rate,
};
use domain::money::Ratio;
use proptest::prelude::*;
use proptest::test_runner::RngAlgorithm;

mod chain;
mod closing;
mod closing_cases;
mod drawn;
mod ledger;
mod lines;
mod naive;
mod rules;
mod sellers;

use drawn::{
    FIRST, KEYS, MINUTES, PLANS, charging_policy, component, euro, fact, facts, list_prices,
    periods, plan, policy_row, prices, readings, rests, settings, subject,
};
use naive::Model;

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

fn of_component(entries: &[Entry], key: &ComponentKey) -> i64 {
    entries.iter().filter(|it| it.component == *key).map(|it| it.amount.minor).sum()
}

/// Whether entries come to what the model has booked, by component.
fn assert_agreed(
    entries: &[Entry],
    booked: &BTreeMap<ComponentKey, i128>,
    period: &Period,
) -> Result<(), TestCaseError> {
    for (key, booked) in booked {
        let of_key = i128::from(of_component(entries, key));
        prop_assert_eq!(of_key, *booked, "{}: {:?} {:#?}", key, period, entries);
    }
    prop_assert!(entries.iter().all(|it| booked.contains_key(&it.component)));
    Ok(())
}

/// Whether something that is charged by terms is called so.
fn is_by_term(prices: &Prices, key: &ComponentKey) -> bool {
    let rows = prices.components.iter().filter(|row| row.component == *key);
    rows.filter_map(|row| row.charge.as_ref()).any(|charge| charge.term().is_some())
}

/// 10,000 histories, or as many as `PROPTEST_CASES` says; drawn by the quick one of the generators, which is enough here.
fn histories() -> ProptestConfig {
    let config = ProptestConfig::default();
    let cases = std::env::var_os("PROPTEST_CASES").map_or(10_000, |_| config.cases);
    ProptestConfig { cases, rng_algorithm: RngAlgorithm::XorShift, ..config }
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
            let model = Model {
                facts: &facts,
                prices: &prices,
                readings: &readings,
                rests: &rests,
                settings: &settings,
            };
            let expected = model.booked(&period);
            assert_agreed(&entries, &expected, &period)?;
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
