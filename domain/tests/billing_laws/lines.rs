//! What is beside rating: taxes on the lines of bills, and what is charged or given back by hand.

use std::collections::HashSet;

use chrono::{Days, TimeDelta};
use domain::billing::adjustment::{Adjusted, ManualCharge};
use domain::billing::tax::{TaxKey, TaxRate, Taxable, rate_on, tax};
use domain::billing::{Class, Kind};
use domain::money::{Currency, Money, Percent};
use domain::{AdjustmentId, OrganizationId, TaxCategory};
use proptest::prelude::*;
use uuid::Uuid;

use crate::drawn::{FIRST, minute, moment, periods, settings};
use crate::histories;

/// With so many ten-thousandths.
const PERCENTS: [(&str, i128); 5] =
    [("15", 150_000), ("7.5", 75_000), ("19", 190_000), ("0", 0), ("0.0001", 1)];

fn organization(number: u128) -> OrganizationId {
    OrganizationId(Uuid::from_u128(number))
}

fn line() -> impl Strategy<Value = (Taxable, Option<i128>)> {
    let amount = prop_oneof![-200_000..200_000_i64, -60..60_i64];
    let category = prop::option::of(prop::sample::select(vec!["standard", "reduced"]));
    let percent = prop::option::of(prop::sample::select(PERCENTS.to_vec()));
    let currency = prop::sample::select(vec!["EUR", "JPY"]);
    (amount, category, percent, currency, 1..3_u128, 3..5_u128).prop_map(
        |(minor, category, percent, currency, seller, buyer)| {
            let taxable = Taxable {
                amount: Money::new(minor, Currency::parse(currency).unwrap()),
                category: category.map(|it| TaxCategory::parse(it).unwrap()),
                buyer: organization(buyer),
                percent: percent.map(|(text, _)| Percent::parse(text).unwrap()),
                seller: organization(seller),
            };
            (taxable, percent.map(|(_, part)| part))
        },
    )
}

proptest! {
    #![proptest_config(histories())]

    /// A tax is on the sum of all lines that are alike, and rounded once, half away from zero.
    #[test]
    fn tax_is_rounded_once_for_each_category_and_rate(
        lines in prop::collection::vec(line(), 0..24),
    ) {
        let groups = tax(lines.iter().map(|(line, _)| line.clone())).unwrap();
        let mut left: Vec<_> = lines.iter().collect();
        for group in &groups {
            let is_alike = |line: &Taxable| {
                line.amount.currency == group.net.currency
                    && (&line.category, line.percent) == (&group.category, group.percent)
                    && (line.seller, line.buyer) == (group.seller, group.buyer)
            };
            let (own, others): (Vec<_>, Vec<_>) =
                left.iter().partition(|(line, _)| is_alike(line));
            left = others;
            prop_assert!(!own.is_empty(), "two groups of the same: {:?}", group);
            prop_assert_eq!(own.len() as u64, group.lines);
            let net: i64 = own.iter().map(|(line, _)| line.amount.minor).sum();
            prop_assert_eq!(net, group.net.minor);
            let expected = own[0].1.map(|part| {
                // One cent after the other is added until less than half a cent is missing.
                let exact = i128::from(net.abs()) * part;
                let mut cents = exact / 1_000_000;
                if 2 * (exact - cents * 1_000_000) >= 1_000_000 {
                    cents += 1;
                }
                i64::try_from(cents).unwrap() * net.signum()
            });
            prop_assert_eq!(group.tax.map(|it| it.minor), expected);
            prop_assert!(group.tax.is_none_or(|it| it.currency == group.net.currency));
        }
        prop_assert!(left.is_empty(), "in no group: {:?}", left);
    }

    /// The rate of a category is that which began last before the date, also where it is that there is none.
    #[test]
    fn the_last_rate_that_has_begun_counts(
        drawn in prop::collection::vec((any::<bool>(), 0..12_u64, prop::option::of(0..5_usize)), 0..8),
        asked in 0..14_u64,
    ) {
        let category = |is_standard: bool| {
            TaxCategory::parse(if is_standard { "standard" } else { "reduced" }).unwrap()
        };
        let mut taken = HashSet::new();
        let drawn: Vec<_> = drawn.into_iter().filter(|it| taken.insert((it.0, it.1))).collect();
        let rates = drawn.iter().map(|(is_standard, day, percent)| TaxRate {
            key: TaxKey { category: category(*is_standard), from: FIRST + Days::new(*day) },
            percent: percent.map(|it| Percent::parse(PERCENTS[it].0).unwrap()),
        });
        let rates: Vec<_> = rates.collect();
        let mut expected = None;
        for day in 0..=asked {
            if let Some(rate) = drawn.iter().find(|it| it.0 && it.1 == day) {
                expected = rate.2.map(|it| PERCENTS[it].0.to_owned());
            }
        }
        let found = rate_on(&rates, &category(true), FIRST + Days::new(asked));
        prop_assert_eq!(found.map(|it| it.to_string()), expected);
    }

    /// What is charged by hand is booked as it is: in the period of its date, or, where that is closed, in a later one as a
    /// correction; it is one entry wherever that is; and taken back it comes to nothing.
    #[test]
    fn what_is_charged_by_hand_is_booked_once_and_taken_back_whole(
        minutes in prop::collection::vec((minute(), -50_000..50_000_i64), 1..5),
        of_reseller in any::<bool>(),
        closed in 0..5_usize,
        settings in settings(),
    ) {
        let periods: Vec<_> = periods(&settings).collect();
        let open = &periods[closed];
        let mut ids = HashSet::new();
        let mut total = 0;
        for (place, (minute, minor)) in minutes.iter().enumerate() {
            let id = |number: usize| AdjustmentId(Uuid::from_u128(number as u128));
            let adjusted = |minor, reverses| Adjusted {
                amount: Money::new(minor, settings.currency),
                buyer: of_reseller.then(|| organization(30)),
                customer: organization(30),
                description: "Goodwill".to_owned(),
                of: None,
                reverses,
                seller: organization(1),
            };
            let (made, taken_back) =
                (adjusted(*minor, None), adjusted(-minor, Some(id(place))));
            let at = moment(*minute);
            let both = [(&made, id(place), at), (&taken_back, id(100 + place), at + TimeDelta::days(20))];
            let both = both.map(|(adjusted, id, effective_at)| {
                let charge = ManualCharge {
                    actor: "Ann",
                    adjusted,
                    effective_at,
                    id,
                    position: 77,
                    reason: None,
                };
                let own = charge.period(&settings);
                assert!(settings.instants(&own).0 <= effective_at);
                assert!(effective_at < settings.instants(&own).1);
                let into = if own.end < open.end { *open } else { own };
                (charge.entry(&settings, &into), charge.entry(&settings, &own), own, into)
            });
            for (booked, at_once, own, into) in &both {
                prop_assert_eq!(booked.kind, Kind::Manual);
                prop_assert_eq!(booked.bought_by(), organization(30));
                prop_assert_eq!(booked.buyer.is_some(), of_reseller);
                prop_assert_eq!((booked.period_end, booked.booked_end()), (own.end, into.end));
                prop_assert_eq!(booked.class == Class::Correction, own.end != into.end);
                prop_assert_eq!(booked.is_correction(), booked.correction.is_some());
                prop_assert!(!booked.is_reversal());
                prop_assert_eq!(&booked.entry_id, &at_once.entry_id);
                prop_assert_eq!(booked.amount, at_once.amount);
                prop_assert!(own.contains(booked.service_from) && booked.days == 1);
                prop_assert!(ids.insert(booked.entry_id.clone()), "two have one id");
            }
            let [(first, ..), (second, ..)] = &both;
            total += first.amount.minor + second.amount.minor;
            let reverses = second.manual.as_ref().unwrap().reverses.as_ref();
            prop_assert_eq!(reverses, Some(&first.entry_id));
        }
        prop_assert_eq!(total, 0);
    }
}
