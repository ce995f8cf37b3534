//! What is not charged, by rules: against an evaluation of its own.

use std::borrow::Cow;

use chrono::{Days, NaiveDate};
use domain::RuleKey;
use domain::billing::rule::{Condition, Field, Operator, Rule, Ruled, Test, waive};
use domain::billing::{Entry, Timeline, rate};
use proptest::prelude::*;

use crate::drawn::{FIRST, facts, periods, prices, settings, subject};
use crate::histories;

/// What rules look at.
#[derive(Clone, Debug)]
struct World {
    plan: &'static str,
    quantity: u32,
    /// In gigabytes.
    quota: Option<u32>,
    sku: Option<&'static str>,
}

const PLANS: [&str; 3] = ["gold", "golden", "silver"];
const SKUS: [&str; 3] = ["S-1", "S-10", ""];

impl World {
    fn look(&self, field: &Field) -> Option<Cow<'_, str>> {
        match field {
            Field::Plan => Some(self.plan.into()),
            Field::Quantity => Some(self.quantity.to_string().into()),
            Field::Property(_) => self.quota.map(|it| format!("{it} GB").into()),
            Field::Sku => self.sku.map(Into::into),
            _ => None,
        }
    }

    /// Whether something is so, said again.
    fn is_so(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Not(other) => !self.is_so(other),
            Condition::All(all) => all.iter().filter(|it| self.is_so(it)).count() == all.len(),
            Condition::Any(any) => any.iter().filter(|it| self.is_so(it)).count() > 0,
            Condition::Test(test) => self.passes(test),
        }
    }

    fn passes(&self, Test { field, operator, values }: &Test) -> bool {
        let number = match field {
            Field::Quantity => Some(self.quantity),
            Field::Property(_) => self.quota,
            _ => None,
        };
        let text = match field {
            Field::Plan => self.plan.to_owned(),
            Field::Sku => match self.sku {
                Some(sku) => sku.to_owned(),
                None => return false,
            },
            Field::Quantity => self.quantity.to_string(),
            Field::Property(_) => match self.quota {
                Some(quota) => format!("{quota} GB"),
                None => return false,
            },
            other => panic!("{other} is not drawn"),
        };
        let mut found = false;
        for value in values {
            // The 5 of `5 GB`.
            let than = value.split(' ').next().unwrap().parse::<u32>();
            found |= match operator {
                Operator::Is => text == *value,
                Operator::StartsWith => text.get(..value.len()) == Some(value),
                Operator::Contains => (0..=text.len()).any(|at| text[at..].starts_with(value)),
                Operator::AtLeast => number.zip(than.ok()).is_some_and(|(own, than)| own >= than),
                Operator::AtMost => number.zip(than.ok()).is_some_and(|(own, than)| own <= than),
                Operator::IsSet => false,
            };
        }
        if *operator == Operator::IsSet { !text.is_empty() } else { found }
    }
}

fn world() -> impl Strategy<Value = World> {
    let sku = prop::option::of(prop::sample::select(SKUS.to_vec()));
    (prop::sample::select(PLANS.to_vec()), 1..12_u32, prop::option::of(0..12_u32), sku)
        .prop_map(|(plan, quantity, quota, sku)| World { plan, quantity, quota, sku })
}

fn condition() -> impl Strategy<Value = Condition> {
    let values = vec!["gold", "silver", "old", "S-1", "", "3", "5", "7", "5 GB", "x"];
    let values = prop::collection::vec(prop::sample::select(values), 0..4);
    let field = prop::sample::select(vec!["plan", "quantity", "sku", "properties.Quota"]);
    let operator = prop::sample::select(Operator::ALL.to_vec());
    let test = (field, operator, values).prop_map(|(field, operator, values)| {
        let field = field.parse().unwrap();
        let values = values.into_iter().map(str::to_owned).collect();
        Condition::Test(Test { field, operator, values })
    });
    test.prop_recursive(3, 8, 3, |inner| {
        let some = || prop::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            some().prop_map(Condition::All),
            some().prop_map(Condition::Any),
            inner.clone().prop_map(|it| Condition::Not(Box::new(it))),
        ]
    })
}

/// Rules with dates about those of the periods, each with another key and reason.
fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let date = || (0..110_u64).prop_map(|day| FIRST + Days::new(day));
    let one = (condition(), date(), prop::option::of(date()), 0..3_u32);
    prop::collection::vec(one, 0..6).prop_map(|drawn| {
        let rule = |(place, (condition, from, to, order)): (usize, (_, _, _, _))| Rule {
            condition,
            description: String::new(),
            from,
            key: RuleKey::parse(&format!("rule-{place}")).unwrap(),
            order,
            reason: format!("Because of {place}"),
            to,
        };
        drawn.into_iter().enumerate().map(rule).collect()
    })
}

/// Whether a date is one of those of a rule, counted through.
fn is_of_its_time(rule: &Rule, date: NaiveDate) -> bool {
    rule.from
        .iter_days()
        .take_while(|it| rule.to.is_none_or(|to| *it < to))
        .take_while(|it| *it <= date)
        .any(|it| it == date)
}

proptest! {
    #![proptest_config(histories())]

    /// The last rule that is valid when the period ends and says so gives the reason; all those are named; what is waived is
    /// what would be charged.
    #[test]
    fn what_rules_say_is_not_charged_and_nothing_else(
        facts in facts(),
        prices in prices(),
        mut rules in rules(),
        world in world(),
        settings in settings(),
    ) {
        rules.sort_by_key(|it| (it.order, it.key.clone()));
        let timeline = Timeline::new(facts);
        for period in periods(&settings).skip(1).take(2) {
            let rated = rate(&subject(), &timeline, &prices, &settings, &period).unwrap();
            let ruled: Vec<_> = (9_000..)
                .zip(&rules)
                .filter(|(_, rule)| rule.is_valid_on(period.end))
                .map(|(position, rule)| Ruled { position, rule })
                .collect();
            let mut entries = rated.clone();
            waive(&mut entries, &ruled, &|field| world.look(field));
            let mut expected = Vec::new();
            for (position, rule) in (9_000..).zip(&rules) {
                if is_of_its_time(rule, period.end) && world.is_so(&rule.condition) {
                    expected.push((position, rule));
                }
            }
            let Some((_, last)) = expected.last() else {
                prop_assert_eq!(entries, rated);
                continue;
            };
            prop_assert_eq!(entries.len(), rated.len());
            for (entry, rated) in entries.iter().zip(&rated) {
                let waiver = entry.waiver.as_ref().unwrap();
                prop_assert_eq!((entry.amount.minor, waiver.amount), (0, rated.amount));
                prop_assert!(!entry.is_billable() && entry.due() == rated.amount);
                prop_assert_eq!(&waiver.reason, &last.reason);
                let keys: Vec<_> = expected.iter().map(|(_, rule)| rule.key.clone()).collect();
                prop_assert_eq!(&waiver.rules, &keys);
                let mut causes: Vec<_> = rated.causes.clone();
                causes.extend(expected.iter().map(|(position, _)| *position));
                causes.sort_unstable();
                prop_assert_eq!(&entry.causes, &causes);
                prop_assert!(entry.entry_id != rated.entry_id);
                // Beside these it is what it was.
                let again = Entry {
                    amount: rated.amount,
                    causes: rated.causes.clone(),
                    entry_id: rated.entry_id.clone(),
                    waiver: None,
                    ..entry.clone()
                };
                prop_assert_eq!(&again, rated);
            }
        }
    }
}
