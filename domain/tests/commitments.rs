//! What a buyer lacks to what it is committed to: case 13c of billing-cases.md and others, a record per case in
//! `commitment_cases.json`; and that the parts are right whatever is charged.
//!
//! In a record the slots stand in the order of their ids, each of a customer of its own, and are held from before the period where
//! no `from` says otherwise. `parts` are what each has of what is lacking, in November 2019.

#![expect(clippy::unwrap_used, reason = "a record that does not fit fails its test")]

use chrono::NaiveDate;
use domain::billing::{
    BillingSettings, CalendarRule, Change, Commitment, DayPolicy, Entry, Fact, Kind, PriceRow,
    PriceSource, Prices, QuarantineReason, RateRow, Sharing, Subject, Timeline, Values, rate,
};
use domain::money::{Currency, Money, Ratio};
use domain::{OrganizationId, PlanKey, ServiceKey, SubscriptionId};
use proptest::prelude::*;
use serde::Deserialize;
use uuid::Uuid;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    title: String,
    currency: Option<Currency>,
    commitments: Vec<CaseCommitment>,
    rate: Option<String>,
    slots: Vec<CaseSlot>,
    parts: Vec<Option<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseCommitment {
    amount: String,
    currency: Option<Currency>,
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseSlot {
    price: String,
    from: Option<NaiveDate>,
}

fn settings(currency: Currency) -> BillingSettings {
    BillingSettings::new(currency, CalendarRule::CalendarMonth, chrono_tz::UTC)
}

fn eur() -> Currency {
    Currency::parse("EUR").unwrap()
}

fn date(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2019, 11, day).unwrap()
}

/// What a slot charges in November, for so much a month.
fn charged(place: usize, minor: i64, from: NaiveDate, settings: &BillingSettings) -> Vec<Entry> {
    let plan = PlanKey::parse("plan").unwrap();
    let id = Uuid::from_u128(100 + place as u128);
    let subject = Subject {
        buyer: Some(OrganizationId(Uuid::from_u128(2))),
        customer: OrganizationId(id),
        seller: OrganizationId(Uuid::from_u128(1)),
        service: ServiceKey::parse("service").unwrap(),
        subscription: SubscriptionId(id),
    };
    let timeline = Timeline::new([Fact {
        date: None,
        actor: "Ann".to_owned(),
        change: Change::Provisioned { plan: plan.clone(), quantity: 1 },
        effective_at: settings.midnight(from),
        position: 10 + place as u64,
        reason: None,
        request: None,
        values: Values::new(),
    }]);
    let rows = vec![PriceRow { from: None, minor, plan, position: 1 }];
    let prices = Prices { rows, ..Prices::default() };
    rate(&subject, &timeline, &prices, settings, &settings.period_containing(date(1))).unwrap()
}

fn commitment(amount: Money, from: NaiveDate, position: u64) -> Commitment {
    Commitment { amount, from: settings(eur()).midnight(from), position, to: None }
}

fn shared(charges: &[Vec<Entry>], commitments: &[Commitment]) -> Vec<Entry> {
    let settings = settings(eur());
    let mut sharing = Sharing::new(settings.period_containing(date(1)));
    charges.iter().flatten().for_each(|entry| sharing.add(entry));
    sharing.share(commitments, &[], &settings).unwrap()
}

#[test]
fn every_case_of_commitments_holds_to_the_cent() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("commitment_cases.json")).unwrap();
    assert!(cases.iter().any(|it| it.case == "13c"));
    let before = NaiveDate::from_ymd_opt(2019, 10, 1).unwrap();
    for case in cases {
        let currency = case.currency.unwrap_or(eur());
        let settings = settings(currency);
        let minor = |text: &str| Money::parse(text, currency).unwrap().minor;
        let mut sharing = Sharing::new(settings.period_containing(date(1)));
        for (place, slot) in case.slots.iter().enumerate() {
            let from = slot.from.unwrap_or(before);
            let charged = charged(place, minor(&slot.price), from, &settings);
            charged.iter().for_each(|entry| sharing.add(entry));
        }
        let commitments = case.commitments.iter().zip(900..).map(|(it, position)| Commitment {
            amount: Money::parse(&it.amount, it.currency.unwrap_or(currency)).unwrap(),
            from: settings.midnight(it.from.unwrap_or(before)),
            position,
            to: it.to.map(|date| settings.midnight(date)),
        });
        let commitments: Vec<_> = commitments.collect();
        let rates = case.rate.iter().map(|rate| RateRow {
            from: Currency::parse("USD").unwrap(),
            position: 5,
            rate: domain::pricing::rate(rate).unwrap(),
            since: before,
            to: currency,
        });
        let rates: Vec<_> = rates.collect();
        let entries = sharing.share(&commitments, &rates, &settings).unwrap();
        let part = |place: usize| {
            let id = SubscriptionId(Uuid::from_u128(100 + place as u128));
            let entry = entries.iter().find(|entry| entry.subscription == id)?;
            assert_eq!((entry.kind, entry.component.as_str()), (Kind::Minimum, "commitment"));
            assert_eq!((entry.count_before, entry.count_after), (0, 0));
            Some(entry.amount.to_string())
        };
        let parts: Vec<_> = (0..case.slots.len()).map(part).collect();
        assert_eq!(parts, case.parts, "{}: {}", case.case, case.title);
        if !rates.is_empty() {
            let unknown = sharing.share(&commitments, &[], &settings);
            assert_eq!(unknown, Err(QuarantineReason::NoExchangeRate));
        }
    }
}

#[test]
fn what_a_rule_waives_counts_as_charged() {
    let mut waived = charged(0, 3_000, date(1), &settings(eur()));
    for entry in &mut waived {
        let (amount, nothing) = (entry.amount, Money::new(0, eur()));
        entry.amount = nothing;
        entry.waiver =
            Some(domain::billing::Waiver { amount, reason: "A test".to_owned(), rules: vec![] });
    }
    let least = [commitment(Money::new(5_000, eur()), date(1), 900)];
    let [entry] = &shared(&[waived], &least)[..] else { panic!("one part") };
    assert_eq!(entry.amount.minor, 2_000);
    assert_eq!(entry.price_sources, [PriceSource::Commitment(900)]);
    assert!(entry.causes.contains(&900) && entry.causes.contains(&10));
}

#[test]
fn a_part_is_for_all_dates_on_which_its_slot_is_held() {
    let settings = settings(eur());
    let mut entries = charged(0, 1_000, date(1), &settings);
    let mut later = entries[0].clone();
    (entries[0].service_to, entries[0].days) = (date(16), 15);
    (later.service_from, later.days) = (date(16), 15);
    entries.push(later);
    let least = [commitment(Money::new(5_000, eur()), date(1), 900)];
    let [part] = &shared(&[entries], &least)[..] else { panic!("one part") };
    let december = NaiveDate::from_ymd_opt(2019, 12, 1).unwrap();
    assert_eq!((part.service_from, part.service_to, part.days), (date(1), december, 30));

    // Whoever pays for the whole month however long he holds it is committed for all of it.
    let held_late = |policy| {
        let mut entries = charged(0, 1_000, date(16), &settings);
        for entry in &mut entries {
            (entry.policy, entry.days) = (policy, 30);
        }
        let [part] = &shared(&[entries], &least)[..] else { panic!("one part") };
        (part.service_from, part.days)
    };
    assert_eq!(held_late(DayPolicy::Full), (date(1), 30));
    assert_eq!(held_late(DayPolicy::Daily), (date(16), 15));
}

#[test]
fn of_commitments_that_begin_together_the_later_recorded_counts() {
    let charges = [charged(0, 1_000, date(1), &settings(eur()))];
    let [early, late] = [(5_000, 900), (3_000, 901)]
        .map(|(minor, position)| commitment(Money::new(minor, eur()), date(1), position));
    for commitments in [[early.clone(), late.clone()], [late, early]] {
        let [entry] = &shared(&charges, &commitments)[..] else { panic!("one part") };
        assert_eq!(entry.amount.minor, 2_000);
    }
}

proptest! {
    /// Billing.md: a shared amount is split by largest remainder, ties to the lowest id. Told by handing out cent after cent.
    #[test]
    fn the_parts_are_those_of_the_largest_remainder(
        prices in proptest::collection::vec((0_i64..20_000, 1_u32..31), 1..7),
        amount in 0_i64..200_000,
    ) {
        let charges: Vec<_> = prices
            .iter()
            .enumerate()
            .map(|(place, (minor, day))| charged(place, *minor, date(*day), &settings(eur())))
            .collect();
        let least = [commitment(Money::new(amount, eur()), date(1), 900)];
        let parts = shared(&charges, &least);
        let sums: Vec<i64> =
            charges.iter().map(|of| of.iter().map(|entry| entry.amount.minor).sum()).collect();
        let charged: i64 = sums.iter().sum();
        let first = prices.iter().map(|(_, day)| *day).min().unwrap();
        let days = i64::from(31 - first);
        let owed = Ratio::new((amount * days).into(), 30).unwrap().round_half_away().unwrap();
        let lacking = (owed - charged).max(0);
        let total: i64 = parts.iter().map(|entry| entry.amount.minor).sum();
        prop_assert_eq!(total, lacking);
        let weights: Vec<i64> = match charged > 0 {
            true => sums,
            false => prices.iter().map(|(_, day)| i64::from(31 - day)).collect(),
        };
        let whole: i64 = weights.iter().sum();
        let mut naive: Vec<i64> = weights.iter().map(|weight| lacking * weight / whole).collect();
        let mut left = lacking - naive.iter().sum::<i64>();
        let mut had = vec![false; weights.len()];
        while left > 0 {
            let rest = |place: usize| lacking * weights[place] % whole;
            let mut best: Option<usize> = None;
            for place in (0..weights.len()).filter(|place| !had[*place]) {
                if best.is_none_or(|best| rest(place) > rest(best)) {
                    best = Some(place);
                }
            }
            let best = best.unwrap();
            (naive[best], had[best], left) = (naive[best] + 1, true, left - 1);
        }
        let part = |place: usize| {
            let id = SubscriptionId(Uuid::from_u128(100 + place as u128));
            let of = parts.iter().filter(|entry| entry.subscription == id);
            of.map(|entry| entry.amount.minor).sum::<i64>()
        };
        let parts: Vec<_> = (0..weights.len()).map(part).collect();
        prop_assert_eq!(parts, naive);
    }
}
