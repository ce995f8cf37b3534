//! The laws about closed periods and what is learned later, on random histories: facts, withdrawals, other dates, prices,
//! price books, exchange rates and closes in any order.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Days, NaiveDate, Utc};
use domain::RuleKey;
use domain::billing::rule::{Condition, Field, Operator, Rule, Test};
use domain::billing::{
    BillingSettings, BookRow, Class, ComponentKey, Correction, Entry, Fact, Period, PriceRow,
    Prices, RateRow,
};
use domain::money::{Money, Ratio};
use proptest::prelude::*;

use crate::drawn::{FIRST, change, components, list_prices, minute, moment, plan, settings};
use crate::ledger::{Ledger, Step};
use crate::naive::Model;
use crate::sellers::{Way, mixed_way};
use crate::{histories, sum};

/// What is recorded of a slot, and what prices there are before.
#[derive(Clone, Debug)]
struct History {
    given: Prices,
    settings: BillingSettings,
    steps: Vec<Step>,
}

impl History {
    fn empty_ledger(&self) -> Ledger {
        let first = self.settings.period_containing(FIRST);
        Ledger::new(self.settings.clone(), self.given.clone(), first)
    }

    fn ledger(&self, steps: usize) -> Ledger {
        let mut ledger = self.empty_ledger();
        self.steps[..steps].iter().for_each(|step| ledger.record(step.clone()));
        ledger
    }

    fn whole(&self) -> Ledger {
        self.ledger(self.steps.len())
    }
}

fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    minute().prop_map(moment)
}

fn step() -> impl Strategy<Value = Step> {
    let price = (0..3_usize, 0..20_000_i64, instant()).prop_map(|(index, minor, from)| {
        Step::Price(PriceRow { from: Some(from), minor, plan: plan(index), position: 0 })
    });
    prop_oneof![
        6 => (instant(), change()).prop_map(|(moment, change)| Step::Fact(moment, change)),
        1 => price,
        1 => instant().prop_map(Step::Withdraw),
        1 => (instant(), instant()).prop_map(|(was, is)| Step::Supersede(was, is)),
        3 => Just(Step::Close),
    ]
}

/// Anything in any order; closed periods are sometimes rated again, and often there are sellers above.
fn history() -> impl Strategy<Value = History> {
    let drawn = prop::collection::vec(step(), 1..18);
    let rerate = prop::option::weighted(0.2, any::<u16>());
    let way = prop::option::weighted(0.4, mixed_way());
    let components = prop::option::weighted(0.25, components());
    (settings(), drawn, rerate, way, components).prop_map(
        |(settings, mut steps, rerate, way, components)| {
            name_facts(&mut steps);
            let mut given = Prices {
                components: components.unwrap_or_default(),
                rows: list_prices(),
                ..Prices::default()
            };
            if let Some(way) = way {
                record_way(way, &mut given, &mut steps);
            }
            if let Some(place) = rerate {
                let step = Step::Rerate(FIRST, FIRST + Days::new(60));
                steps.insert(usize::from(place) % (steps.len() + 1), step);
            }
            History { given, settings, steps }
        },
    )
}

/// What is withdrawn or superseded is mostly something that there was.
fn name_facts(steps: &mut [Step]) {
    let mut known = Vec::new();
    for step in steps {
        let named = |was: &DateTime<Utc>, known: &[DateTime<Utc>]| {
            let place = usize::try_from(was.timestamp() / 60).unwrap() % known.len().max(1);
            known.get(place).copied()
        };
        match step {
            Step::Fact(moment, _) => known.push(*moment),
            Step::Withdraw(moment) => *moment = named(moment, &known).unwrap_or(*moment),
            Step::Supersede(was, is) => {
                *was = named(was, &known).unwrap_or(*was);
                known.push(*is);
            }
            _ => {}
        }
    }
}

/// Half of what sellers say, and what rates there are since ever, is there from the beginning; the rest is said later.
fn record_way(way: Way, given: &mut Prices, steps: &mut Vec<Step>) {
    let currencies: HashSet<_> = way.sellers.iter().map(|it| it.currency).collect();
    given.chain = way.sellers;
    let mut later = Vec::new();
    for (place, seller) in given.chain.iter_mut().enumerate() {
        let is_later = |row: &BookRow| row.position >= 1_000 && row.position % 2 == 1;
        let rows = std::mem::take(&mut seller.rows);
        let (said, kept): (Vec<_>, Vec<_>) = rows.into_iter().partition(is_later);
        seller.rows = kept;
        later.extend(said.into_iter().map(|row| (row.position, Step::Book(place, row))));
    }
    let ever = NaiveDate::from_ymd_opt(2000, 1, 1).unwrap();
    let (kept, others): (Vec<_>, Vec<_>) = way.rates.into_iter().partition(|it| it.since == ever);
    given.rates = kept;
    let is_used = |it: &RateRow| currencies.contains(&it.from);
    let others = others.into_iter().filter(is_used).take(4);
    later.extend(others.map(|row| (row.position, Step::Rate(row))));
    for (position, step) in later {
        let place = usize::try_from(position * 31).unwrap() % (steps.len() + 1);
        steps.insert(place, step);
    }
}

/// What is booked for a service period, and would be if the open period were closed, by component.
fn booked_for(entries: &[Entry], end: NaiveDate) -> BTreeMap<ComponentKey, i128> {
    let mut sums = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.period_end == end) {
        *sums.entry(entry.component.clone()).or_default() += i128::from(entry.amount.minor);
    }
    sums.retain(|_, sum| *sum != 0);
    sums
}

/// What is booked for a service period and not taken back.
fn in_force(booked: &[Entry], end: NaiveDate) -> Vec<String> {
    let reverses = |it: &Entry| it.correction.as_ref()?.reverses.clone();
    let reversed: HashSet<_> = booked.iter().filter_map(reverses).collect();
    charges(booked.iter().filter(|entry| {
        entry.period_end == end && !entry.is_reversal() && !reversed.contains(&entry.entry_id)
    }))
}

/// What entries charge, and for what, in an order of its own.
fn charges<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<String> {
    let charging = entries.filter(|it| it.days > 0 || it.amount.minor != 0);
    let mut charges: Vec<_> = charging
        .map(|it| {
            let Entry { component, kind, plan, quantity, days, amount, measured, .. } = it;
            let price = it.unit_price.exact;
            format!("{component} {kind:?} {plan} {quantity} {days} {amount} {price} {measured:?}")
        })
        .collect();
    charges.sort_unstable();
    charges
}

fn naive(
    facts: &[Fact],
    prices: &Prices,
    settings: &BillingSettings,
    period: &Period,
) -> BTreeMap<ComponentKey, i128> {
    let model = Model { facts, prices, readings: &[], rests: &[], settings };
    let mut booked = model.booked(period);
    booked.retain(|_, sum| *sum != 0);
    booked
}

fn negated(ratio: Ratio) -> Ratio {
    Ratio::ZERO.checked_sub(ratio).unwrap()
}

proptest! {
    #![proptest_config(histories())]

    /// Law 1, and law 9: what was seen before a close is what it kept, and what a replay up to its cutoff gives.
    #[test]
    fn a_replay_up_to_the_cutoff_gives_the_sealed_root(history in history()) {
        let ledger = history.whole();
        for (index, closed) in ledger.closed.iter().enumerate() {
            let mut again = history.ledger(usize::try_from(closed.cutoff).unwrap());
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
    fn what_is_booked_for_a_service_period_is_what_is_known_now(history in history()) {
        let ledger = history.whole();
        let settings = &history.settings;
        let known = ledger.head();
        let facts = ledger.facts(known);
        let mut booked = ledger.booked();
        booked.extend(ledger.computed(known));
        for closed in &ledger.closed {
            let prices = ledger.prices(closed.prices);
            let expected = naive(&facts, &prices, settings, &closed.period);
            let of_period = booked_for(&booked, closed.period.end);
            prop_assert_eq!(of_period, expected, "{:?}", closed.period);
            // And what is not taken back is what is known now, entry by entry.
            let now = ledger.rated(&closed.period, known, closed.prices);
            prop_assert_eq!(in_force(&booked, closed.period.end), charges(now.iter()));
        }
        let open = ledger.open();
        let expected = naive(&facts, &ledger.prices(known), settings, &open);
        prop_assert_eq!(booked_for(&booked, open.end), expected, "{:?}", open);
    }

    /// Law 2, where a rule says that one of the plans is not charged: what is booked is what is known now, in money and in
    /// what is waived.
    #[test]
    fn what_is_not_charged_is_booked_as_such_whatever_is_learned(
        history in history(), until in prop::option::of(0..120_u64),
    ) {
        let condition = Condition::Test(Test {
            field: Field::Plan, operator: Operator::Is, values: vec![plan(0).to_string()],
        });
        let mut ledger = history.empty_ledger();
        ledger.rule = Some(Rule {
            condition, description: String::new(), from: FIRST, key: RuleKey::parse("a").unwrap(),
            order: 0, reason: "Agreed".to_owned(), to: until.map(|days| FIRST + Days::new(days)),
        });
        history.steps.iter().for_each(|step| ledger.record(step.clone()));
        let known = ledger.head();
        let mut booked = ledger.booked();
        booked.extend(ledger.computed(known));
        let due = |entries: &[Entry]| entries.iter().map(|it| it.due().minor).sum::<i64>();
        for closed in &ledger.closed {
            let of = booked.iter().filter(|entry| entry.period_end == closed.period.end);
            let of: Vec<_> = of.cloned().collect();
            let now = ledger.rated(&closed.period, known, closed.prices);
            prop_assert_eq!((sum(&of), due(&of)), (sum(&now), due(&now)));
            let mut waived = of.iter().filter(|entry| !entry.is_billable());
            prop_assert!(waived.all(|entry| entry.amount.minor == 0));
        }
    }

    /// Law 3: what takes an entry back is that entry with its amounts negated; nothing is taken back twice; what agrees is left
    /// alone; and what is sealed stays.
    #[test]
    fn a_reversal_is_an_exact_negation_made_once_and_sealed_rows_stay(history in history()) {
        let mut ledger = history.empty_ledger();
        for step in &history.steps {
            let before = ledger.closed.clone();
            ledger.record(step.clone());
            for (before, after) in before.iter().zip(&ledger.closed) {
                prop_assert_eq!((&before.lines, &before.seal), (&after.lines, &after.seal));
            }
        }
        let closed = ledger.booked();
        let open = ledger.computed(ledger.head());
        let all: Vec<_> = closed.iter().chain(&open).collect();
        let mut ids = HashSet::new();
        let mut reversed = HashMap::new();
        let mut adjustments = HashMap::new();
        for entry in &all {
            prop_assert!(ids.insert(&entry.entry_id), "an entry is booked twice: {:?}", entry);
            let Some(correction) = &entry.correction else {
                prop_assert_eq!(entry.class, Class::Normal);
                continue;
            };
            prop_assert_eq!(entry.class, Class::Correction);
            prop_assert!(entry.period_end < correction.booked_end);
            let adjustment = &correction.adjustment_id;
            let one = adjustments.entry(correction.booked_end).or_insert(adjustment);
            prop_assert_eq!(*one, adjustment, "one adjustment for each period");
            let Some(id) = &correction.reverses else { continue };
            prop_assert!(reversed.insert(id, *entry).is_none(), "reversed twice: {}", id);
            // Only what a closed period has is taken back, and no reversal is.
            let taken_back = closed.iter().find(|it| it.entry_id == *id).unwrap();
            prop_assert!(!taken_back.is_reversal());
            prop_assert!(taken_back.booked_end() < entry.booked_end());
            let correction =
                Correction { rebooks: None, reverses: Some(id.clone()), ..correction.clone() };
            let less = Money::new(-taken_back.amount.minor, taken_back.amount.currency);
            let expected = Entry {
                amount: less,
                class: Class::Correction,
                correction: Some(correction),
                count_after: 0,
                count_before: 0,
                entry_id: entry.entry_id.clone(),
                exact: negated(taken_back.exact),
                ..taken_back.clone()
            };
            prop_assert_eq!(*entry, &expected);
        }
        prop_assert_eq!(adjustments.values().collect::<HashSet<_>>().len(), adjustments.len());
        for entry in &all {
            let Some(Correction { rebooks, reverses: None, .. }) = &entry.correction else {
                continue;
            };
            if let Some(id) = rebooks {
                let reversal = reversed.get(id);
                prop_assert!(reversal.is_some_and(|it| it.booked_end() == entry.booked_end()));
            }
            // What is booked again differs from all that is taken back for it.
            let differs = |it: &&Entry| {
                let of = |it: &Entry| (it.plan.clone(), it.quantity, it.days, it.component.clone());
                of(it) != of(entry)
                    || it.amount.minor != -entry.amount.minor
                    || it.unit_price.exact != entry.unit_price.exact
                    || it.measured != entry.measured
                    || it.kind != entry.kind
            };
            let with_it = reversed.values().filter(|it| {
                (it.booked_end(), it.period_end) == (entry.booked_end(), entry.period_end)
            });
            prop_assert!(with_it.copied().all(|it| differs(&it)), "{:?} agrees", entry);
        }
    }

    /// Law 6, over closes: whenever each fact becomes known, every service period comes to the same.
    #[test]
    fn facts_that_are_learned_in_another_order_come_to_the_same(
        (facts, other) in prop::collection::btree_map(minute(), change(), 0..10)
            .prop_flat_map(|facts| {
                let facts: Vec<_> = facts.into_iter().collect();
                (Just(facts.clone()).prop_shuffle(), Just(facts).prop_shuffle())
            }),
        closes in prop::collection::vec(any::<[u8; 2]>(), 0..5),
        drawn in history(),
    ) {
        let facts = [facts, other];
        let sums = [0, 1].map(|side: usize| {
            let fact = |(minute, change): &(i64, _)| Step::Fact(moment(*minute), Clone::clone(change));
            let mut steps: Vec<_> = facts[side].iter().map(fact).collect();
            for close in &closes {
                let place = usize::from(close[side]) % (steps.len() + 1);
                steps.insert(place, Step::Close);
            }
            let history = History { steps, ..drawn.clone() };
            let ledger = history.whole();
            let mut booked = ledger.booked();
            booked.extend(ledger.computed(ledger.head()));
            let ends = ledger.closed.iter().map(|it| it.period.end).chain([ledger.open().end]);
            ends.map(|end| (end, booked_for(&booked, end))).collect::<Vec<_>>()
        });
        prop_assert_eq!(&sums[0], &sums[1]);
    }

    /// Nothing learned, nothing corrected; and what was corrected once and sealed is not corrected again.
    #[test]
    fn what_has_been_corrected_stays_corrected(history in history()) {
        let mut ledger = history.whole();
        ledger.record(Step::Close);
        let open = ledger.computed(ledger.head());
        prop_assert!(open.iter().all(|entry| entry.class == Class::Normal), "{:#?}", open);
    }
}
