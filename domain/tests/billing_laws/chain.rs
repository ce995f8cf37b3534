//! The laws where there are sellers on the way: each has a price book of its own, and often a currency.

use domain::billing::{
    BillingSettings, Change, ComponentKey, Entry, Fact, Kind, Payer, Prices, QuarantineReason,
    Subject, Timeline, commissions, rate,
};
use domain::money::Ratio;
use domain::{OrganizationId, PlanKey};
use proptest::prelude::*;
use uuid::Uuid;

use crate::drawn::{
    components, facts, list_prices, minute, moment, overrides, periods, prices, rests, settings,
    subject,
};
use crate::naive::{Asked, Fraction, Lack, Model, billed_on};
use crate::sellers::{Way, mixed_way, way};
use crate::{assert_agreed, histories, of_component, sum};

/// What leads to whoever is below so many sellers.
fn leading(way: &Way, sellers: usize, all: &Prices) -> Prices {
    let overrides = all.overrides.iter().filter(|it| it.depth <= sellers + 1);
    Prices {
        chain: way.sellers[..sellers].to_vec(),
        overrides: overrides.cloned().collect(),
        rates: way.rates.clone(),
        ..all.clone()
    }
}

/// What the provider itself pays.
fn supplying(way: &Way, all: &Prices) -> Prices {
    Prices { payer: Payer::Provider, ..leading(way, 1, all) }
}

/// A reseller who buys, or is paid: the first stands below one seller.
fn bought_by(reseller: usize) -> Subject {
    let buyer = OrganizationId(Uuid::from_u128(100 + reseller as u128));
    Subject { buyer: Some(buyer), ..subject() }
}

fn model<'a>(facts: &'a [Fact], prices: &'a Prices, settings: &'a BillingSettings) -> Model<'a> {
    Model { facts, prices, readings: &[], rests: &[], settings }
}

proptest! {
    #![proptest_config(histories())]

    /// What is charged to whoever is at the end, and to the reseller before; what the provider pays itself; and what a
    /// reseller earns whose customer is billed by another: whatever price books, overrides and exchange rates there are.
    #[test]
    fn each_edge_costs_what_the_sellers_above_it_say(
        facts in facts(),
        overrides in overrides(),
        components in prop::option::weighted(0.4, components()),
        way in mixed_way(),
        biller in 0..4_usize,
        first in 0..4_usize,
        settings in settings(),
    ) {
        let sellers = way.sellers.len();
        let currency = way.sellers[biller.min(sellers - 1)].currency;
        let settings = BillingSettings { currency, ..settings };
        let components = components.unwrap_or_default();
        let all = Prices { components, overrides, rows: list_prices(), ..Prices::default() };
        let timeline = Timeline::new(facts.iter().cloned());
        let to_end = leading(&way, sellers, &all);
        let to_last = (sellers > 1).then(|| leading(&way, sellers - 1, &all));
        let supplied = supplying(&way, &all);
        let of_provider = BillingSettings { currency: way.sellers[0].currency, ..settings.clone() };
        for period in periods(&settings).skip(first).take(2) {
            let bought = rate(&subject(), &timeline, &supplied, &of_provider, &period).unwrap();
            let cost = model(&facts, &supplied, &of_provider).booked(&period);
            assert_agreed(&bought, &cost, &period)?;
            let sold = rate(&subject(), &timeline, &to_end, &settings, &period).unwrap();
            let paid = model(&facts, &to_end, &settings).booked(&period);
            assert_agreed(&sold, &paid, &period)?;
            let Some(to_last) = &to_last else { continue };
            let bought = rate(&bought_by(sellers - 1), &timeline, to_last, &settings, &period);
            let bought = bought.unwrap();
            let cost = model(&facts, to_last, &settings).booked(&period);
            assert_agreed(&bought, &cost, &period)?;
            let earned = commissions(&bought_by(sellers - 1), &sold, &bought).unwrap();
            for (key, paid) in paid {
                let earned = i128::from(of_component(&earned, &key));
                prop_assert_eq!(earned, cost[&key] - paid, "{} {:?}", key, period);
            }
        }
    }

    /// Law 8: what the provider pays, its own margin and all others are what the customer pays, whoever bills the customer;
    /// and what a reseller earns is the same.
    #[test]
    fn margins_telescope_whoever_bills(
        facts in facts(),
        rests in rests(),
        drawn in prices(),
        way in way(),
        first in 0..4_usize,
        settings in settings(),
    ) {
        let timeline = Timeline::new(facts).resting(rests);
        let last = way.sellers.len() - 1;
        for period in periods(&settings).skip(first).take(2) {
            // What is charged below each seller; the last of them sells to the customer.
            let edges: Vec<Vec<Entry>> = (0..=last)
                .map(|place| {
                    let prices = leading(&way, place + 1, &drawn);
                    let subject = if place == last { subject() } else { bought_by(place + 1) };
                    rate(&subject, &timeline, &prices, &settings, &period).unwrap()
                })
                .collect();
            let customer = sum(&edges[last]);
            let supplied = supplying(&way, &drawn);
            let supplied = rate(&subject(), &timeline, &supplied, &settings, &period).unwrap();
            // The provider pays for just what it sells, on the same dates.
            let charged = |entries: &[Entry]| {
                let charged = entries.iter().filter(|it| it.days > 0 && it.component.is_recurring());
                charged.map(|it| it.days).sum::<u32>()
            };
            prop_assert_eq!(charged(&supplied), charged(&edges[0]));
            for biller in 0..=last {
                // From the provider down: what each keeps of what it is paid.
                let cost = sum(&supplied);
                let mut kept = vec![cost, sum(&edges[0]) - cost];
                for reseller in 1..=last {
                    let margin = sum(&edges[reseller]) - sum(&edges[reseller - 1]);
                    if reseller <= biller {
                        kept.push(margin);
                        continue;
                    }
                    let subject = bought_by(reseller);
                    let (sold, bought) = (&edges[reseller], &edges[reseller - 1]);
                    let paid = commissions(&subject, sold, bought).unwrap();
                    prop_assert_eq!(-sum(&paid), margin);
                    kept.push(-sum(&paid));
                    for entry in &paid {
                        prop_assert_eq!((entry.kind, entry.buyer), (Kind::Commission, subject.buyer));
                        prop_assert_eq!((entry.count_before, entry.count_after), (0, 0));
                        prop_assert!(entry.amount.minor != 0);
                        prop_assert_eq!(entry.period_end, period.end);
                    }
                    for pair in paid.windows(2) {
                        let of = |it: &Entry| (it.component.clone(), it.service_from);
                        prop_assert!(of(&pair[0]) <= of(&pair[1]));
                        // One for each stretch of dates, however the prices of both edges split it.
                        let is_own = |it: &Entry| it.component.is_recurring();
                        let overlaps = pair[1].service_from < pair[0].service_to;
                        prop_assert!(!(is_own(&pair[0]) && is_own(&pair[1]) && overlaps));
                    }
                    let exact = |entries: &[Entry]| {
                        let charged = entries.iter().filter(|it| it.days > 0 || it.amount.minor != 0);
                        charged.fold(Ratio::ZERO, |sum, it| sum.checked_add(it.exact).unwrap())
                    };
                    let same = exact(sold).checked_sub(exact(bought)).unwrap();
                    // Beside what comes to nothing once it is rounded, and is not paid.
                    if sold.len() == paid.len() {
                        prop_assert_eq!(Ratio::ZERO.checked_sub(exact(&paid)).unwrap(), same);
                    }
                }
                prop_assert_eq!(kept.iter().sum::<i64>(), customer);
            }
        }
    }

    /// Law 5: who says of something again what it is already changes nothing, in no period and on no edge.
    #[test]
    fn what_is_said_again_changes_nothing(
        facts in facts(),
        rests in rests(),
        prices in prices(),
        minutes in prop::collection::btree_set(minute(), 1..6),
        settings in settings(),
    ) {
        let timeline = Timeline::new(facts.iter().cloned()).resting(rests);
        let taken = |at| {
            facts.iter().any(|it| it.effective_at == at)
                || timeline.rests().iter().any(|it| it.effective_at == at)
        };
        let moments = minutes.into_iter().map(moment).filter(|at| !taken(*at));
        let again = moments.zip(500..).filter_map(|(at, position)| {
            let run = timeline.run_at(at)?;
            let held = run.facts.iter().rfind(|it| it.effective_at <= at)?;
            let (Change::Provisioned { plan, quantity } | Change::Changed { plan, quantity }) =
                held.change.clone()
            else {
                return None;
            };
            let change = Change::Changed { plan, quantity };
            Some(Fact { change, effective_at: at, position, ..held.clone() })
        });
        let facts = facts.iter().cloned().chain(again);
        let other = Timeline::new(facts).resting(timeline.rests().to_vec());
        for period in periods(&settings).take(6) {
            let rated = |timeline| rate(&subject(), timeline, &prices, &settings, &period).unwrap();
            let (before, after) = (rated(&timeline), rated(&other));
            let keys = before.iter().chain(&after).map(|it| &it.component);
            for key in keys {
                let of = [&before, &after].map(|entries| of_component(entries, key));
                prop_assert_eq!(of[0], of[1], "{} {:?}", key, period);
            }
            let counts = |entries: &[Entry]| {
                let counts = entries.iter().map(|it| (it.count_before, it.count_after));
                counts.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
            };
            prop_assert_eq!(counts(&before), counts(&after));
        }
    }

    /// Law 11: what nothing says the price or the exchange rate of is quarantined, on the edges that need it and on no
    /// other, and then nothing of it is charged.
    #[test]
    fn what_lacks_a_price_or_a_rate_is_quarantined_and_nothing_else(
        facts in facts(),
        overrides in overrides(),
        way in mixed_way(),
        gone in any::<[bool; 3]>(),
        known in any::<u64>(),
        has_costs in any::<bool>(),
        settings in settings(),
    ) {
        let mut way = way;
        way.rates.retain(|it| known >> (it.position % 64) & 3 > 0);
        way.sellers[0].rows.retain(|it| has_costs || it.position >= 1_000);
        let rows = list_prices().into_iter().zip(gone).filter(|(_, gone)| !gone);
        let rows = rows.map(|(row, _)| row).collect();
        let all = Prices { overrides, rows, ..Prices::default() };
        let timeline = Timeline::new(facts.iter().cloned());
        let edges = (1..=way.sellers.len()).map(|sellers| (sellers, leading(&way, sellers, &all)));
        for (sellers, prices) in edges.chain([(1, supplying(&way, &all))]) {
            let currency = way.sellers[sellers - 1].currency;
            let settings = BillingSettings { currency, ..settings.clone() };
            for period in periods(&settings).skip(1).take(2) {
                let unit = |plan: &PlanKey, count, date| {
                    let row = prices.rows.iter().find(|row| row.plan == *plan);
                    let asked = Asked {
                        count,
                        defined: row.map(|row| Fraction(row.minor.into(), 1)),
                        end: settings.midnight(date + chrono::Days::new(1)),
                        key: &ComponentKey::RECURRING,
                        plan,
                        prices: &prices,
                        rates_on: period.end,
                        units: 1,
                    };
                    asked.costs(currency)
                };
                let dates = period.start.iter_days().take_while(|date| *date <= period.end);
                let costs = dates.filter_map(|date| {
                    let end = settings.midnight(date + chrono::Days::new(1));
                    let held = billed_on(&facts, settings.midnight(date), end)?;
                    let cost = unit(&held.plan, held.count, date);
                    Some(cost.map(|it| it.times(held.count.into(), period.full_days().into())))
                });
                let total = costs.collect::<Result<Vec<_>, Lack>>().map(|costs| {
                    costs.into_iter().fold(Fraction(0, 1), Fraction::plus).rounded()
                });
                match (rate(&subject(), &timeline, &prices, &settings, &period), total) {
                    (Ok(entries), Ok(total)) => prop_assert_eq!(i128::from(sum(&entries)), total),
                    (Err(quarantine), total) => {
                        let reason = |lack| match lack {
                            Lack::Price => QuarantineReason::NoPrice,
                            Lack::Rate => QuarantineReason::NoExchangeRate,
                        };
                        // Also what is held for a part of a date only, which charges nothing, has to have a price.
                        let mut lacks = (1..4).filter_map(|count| {
                            unit(&quarantine.plan, count, quarantine.date).err()
                        });
                        prop_assert!(lacks.any(|it| reason(it) == quarantine.reason), "{quarantine}");
                        prop_assert!(period.contains(quarantine.date));
                        let is_touched = |it: &Fact| {
                            settings.local_date(it.effective_at) == quarantine.date
                        };
                        prop_assert!(total.is_err() || facts.iter().any(is_touched));
                    }
                    (Ok(entries), Err(lack)) => prop_assert!(false, "{lack:?}: {entries:#?}"),
                }
            }
        }
    }
}
