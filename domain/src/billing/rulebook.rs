//! What a seller says about his bills beside prices: what is not charged, and how lines are described (billing.md,
//! section 6).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::ComponentKey;
use super::rule::Rule;
use super::tax::{TaxKey, TaxRate};
use crate::decider::Decider;
use crate::{PlanKey, Refusal, RuleKey, ServiceKey};

/// Most patterns of one seller.
pub const PATTERNS_MAX: usize = 500;

/// A wish about a seller's rulebook.
#[derive(Clone, Debug)]
pub enum RulebookCommand {
    /// Go by exactly these rules.
    SetRules(Vec<Rule>),
    /// Describe by exactly these patterns.
    SetPatterns(Vec<Pattern>),
    /// Add exactly these taxes.
    SetTaxRates(Vec<TaxRate>),
}

/// What can be billed: a service, one of its plans, or a component of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Element {
    /// Which component; none: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<ComponentKey>,
    /// Of which plan; none: of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanKey>,
    /// Of which service.
    pub service: ServiceKey,
}

impl Element {
    /// How narrow it is, where it takes something in: the narrowest counts.
    #[must_use]
    pub fn takes_in(
        &self,
        service: &ServiceKey,
        plan: &PlanKey,
        component: &ComponentKey,
    ) -> Option<u8> {
        let fits = self.service == *service
            && self.plan.as_ref().is_none_or(|own| own == plan)
            && self.component.as_ref().is_none_or(|own| own == component);
        fits.then(|| u8::from(self.plan.is_some()) + 2 * u8::from(self.component.is_some()))
    }
}

/// How an element is described.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pattern {
    /// Which.
    pub element: Element,
    /// Describes a line; none: as it is described without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// Describes what lines are summed up by; none: as it is described without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// A fact about a seller's rulebook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum RulebookEvent {
    /// A rule was set, or changed.
    #[serde(rename = "rulebook.rule_set")]
    RuleSet(Box<Rule>),
    /// A rule was taken away.
    #[serde(rename = "rulebook.rule_removed")]
    RuleRemoved {
        /// Which.
        key: RuleKey,
    },
    /// A pattern was set, or changed.
    #[serde(rename = "rulebook.pattern_set")]
    PatternSet(Box<Pattern>),
    /// A pattern was taken away.
    #[serde(rename = "rulebook.pattern_removed")]
    PatternRemoved {
        /// Of what.
        element: Element,
    },
    /// A tax rate was set, or changed.
    #[serde(rename = "rulebook.tax_rate_set")]
    TaxRateSet(TaxRate),
    /// A tax rate was taken away.
    #[serde(rename = "rulebook.tax_rate_removed")]
    TaxRateRemoved(TaxKey),
}

/// A seller's rulebook as its stream tells.
#[derive(Clone, Debug, Default)]
pub struct Rulebook {
    /// By key.
    pub rules: BTreeMap<RuleKey, Rule>,
    /// By element.
    pub patterns: BTreeMap<Element, Pattern>,
    /// By category and first date.
    pub tax_rates: BTreeMap<TaxKey, TaxRate>,
}

impl Decider for Rulebook {
    const CATEGORY: &'static str = "rulebook";
    type Command = RulebookCommand;
    type Event = RulebookEvent;

    fn decide(
        &self,
        command: Self::Command,
        _effective_at: DateTime<Utc>,
    ) -> Result<Vec<Self::Event>, Refusal> {
        match command {
            RulebookCommand::SetRules(rules) => {
                let gone = self.rules.keys().filter(|key| rules.iter().all(|it| it.key != **key));
                let gone: Vec<_> =
                    gone.map(|key| RulebookEvent::RuleRemoved { key: key.clone() }).collect();
                let new = rules.into_iter().filter(|it| self.rules.get(&it.key) != Some(it));
                let set = new.map(|rule| RulebookEvent::RuleSet(Box::new(rule)));
                Ok(set.chain(gone).collect())
            }
            RulebookCommand::SetPatterns(patterns) => {
                let is_gone =
                    |element: &&Element| patterns.iter().all(|it| it.element != **element);
                let gone = self.patterns.keys().filter(is_gone).cloned();
                let gone: Vec<_> =
                    gone.map(|element| RulebookEvent::PatternRemoved { element }).collect();
                let new = patterns.into_iter();
                let new = new.filter(|it| self.patterns.get(&it.element) != Some(it));
                let set = new.map(|pattern| RulebookEvent::PatternSet(Box::new(pattern)));
                Ok(set.chain(gone).collect())
            }
            RulebookCommand::SetTaxRates(rates) => {
                let is_gone = |key: &&TaxKey| rates.iter().all(|it| it.key != **key);
                let gone = self.tax_rates.keys().filter(is_gone).cloned();
                let gone: Vec<_> = gone.map(RulebookEvent::TaxRateRemoved).collect();
                let new = rates.into_iter().filter(|it| self.tax_rates.get(&it.key) != Some(it));
                Ok(new.map(RulebookEvent::TaxRateSet).chain(gone).collect())
            }
        }
    }

    fn evolve(mut self, event: &Self::Event, _effective_at: DateTime<Utc>) -> Self {
        match event {
            RulebookEvent::RuleSet(rule) => {
                self.rules.insert(rule.key.clone(), rule.as_ref().clone());
            }
            RulebookEvent::RuleRemoved { key } => {
                self.rules.remove(key);
            }
            RulebookEvent::PatternSet(pattern) => {
                self.patterns.insert(pattern.element.clone(), pattern.as_ref().clone());
            }
            RulebookEvent::PatternRemoved { element } => {
                self.patterns.remove(element);
            }
            RulebookEvent::TaxRateSet(rate) => {
                self.tax_rates.insert(rate.key.clone(), rate.clone());
            }
            RulebookEvent::TaxRateRemoved(key) => {
                self.tax_rates.remove(key);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::{Condition, Operator, Test};
    use super::*;
    use crate::decider::testing::given;

    fn rule(key: &str, reason: &str) -> Rule {
        Rule {
            condition: Condition::Test(Test {
                field: "customer.type".parse().unwrap(),
                operator: Operator::Is,
                values: vec!["test".to_owned()],
            }),
            description: "Whoever tries".to_owned(),
            from: "2019-11-01".parse().unwrap(),
            key: RuleKey::parse(key).unwrap(),
            order: 1,
            reason: reason.to_owned(),
            to: None,
        }
    }

    fn set(key: &str, reason: &str) -> RulebookEvent {
        RulebookEvent::RuleSet(Box::new(rule(key, reason)))
    }

    #[test]
    fn only_what_differs_is_said() {
        let rules = |of: &[(&str, &str)]| {
            RulebookCommand::SetRules(of.iter().map(|(key, why)| rule(key, why)).collect())
        };
        let removed = |key: &str| RulebookEvent::RuleRemoved { key: RuleKey::parse(key).unwrap() };
        given::<Rulebook>([])
            .when(1, rules(&[("b", "x"), ("a", "y")]))
            .then([set("b", "x"), set("a", "y")]);
        let both = || given::<Rulebook>([(1, set("a", "x")), (1, set("b", "y"))]);
        both().when(2, rules(&[("b", "y"), ("a", "x")])).then_nothing();
        both().when(2, rules(&[("a", "x"), ("b", "z")])).then([set("b", "z")]);
        both().when(2, rules(&[("c", "x")])).then([set("c", "x"), removed("a"), removed("b")]);
        given::<Rulebook>([(1, set("a", "x")), (2, removed("a"))])
            .when(3, rules(&[]))
            .then_nothing();
    }

    #[test]
    fn patterns_are_set_and_taken_away_one_by_one() {
        let element = |plan: Option<&str>| Element {
            component: None,
            plan: plan.map(|plan| PlanKey::parse(plan).unwrap()),
            service: ServiceKey::parse("crm").unwrap(),
        };
        let pattern = |plan, summary: &str| Pattern {
            element: element(plan),
            line: None,
            summary: Some(summary.to_owned()),
        };
        let set = |plan, summary| RulebookEvent::PatternSet(Box::new(pattern(plan, summary)));
        let all = (1, set(None, "{ServiceName}"));
        given::<Rulebook>([all.clone()])
            .when(2, RulebookCommand::SetPatterns(vec![pattern(None, "{ServiceName}")]))
            .then_nothing();
        let removed = RulebookEvent::PatternRemoved { element: element(None) };
        given::<Rulebook>([all.clone()])
            .when(2, RulebookCommand::SetPatterns(vec![pattern(Some("gold"), "{PlanName}")]))
            .then([set(Some("gold"), "{PlanName}"), removed.clone()]);
        given::<Rulebook>([all, (2, removed)])
            .when(3, RulebookCommand::SetPatterns(vec![]))
            .then_nothing();
    }

    #[test]
    fn tax_rates_are_set_and_taken_away_one_by_one() {
        let key = |from: &str| TaxKey {
            category: crate::TaxCategory::parse("standard").unwrap(),
            from: from.parse().unwrap(),
        };
        let rate = |from, percent: &str| TaxRate {
            key: key(from),
            percent: Some(crate::money::Percent::parse(percent).unwrap()),
        };
        let set = |from, percent| RulebookEvent::TaxRateSet(rate(from, percent));
        let both =
            || given::<Rulebook>([(1, set("2019-01-01", "19")), (1, set("2020-07-01", "16"))]);
        let wish = |rates: &[TaxRate]| RulebookCommand::SetTaxRates(rates.to_vec());
        both().when(2, wish(&[rate("2020-07-01", "16"), rate("2019-01-01", "19")])).then_nothing();
        let removed = RulebookEvent::TaxRateRemoved(key("2020-07-01"));
        both()
            .when(2, wish(&[rate("2019-01-01", "20")]))
            .then([set("2019-01-01", "20"), removed.clone()]);
        given::<Rulebook>([(1, set("2020-07-01", "16")), (2, removed)])
            .when(3, wish(&[]))
            .then_nothing();
    }

    #[test]
    fn the_narrowest_element_counts() {
        let element = |plan: Option<&str>, component: Option<&str>| Element {
            component: component.map(|it| ComponentKey::parse(it).unwrap()),
            plan: plan.map(|it| PlanKey::parse(it).unwrap()),
            service: ServiceKey::parse("crm").unwrap(),
        };
        let (crm, gold) = (ServiceKey::parse("crm").unwrap(), PlanKey::parse("gold").unwrap());
        let setup = ComponentKey::parse("setup").unwrap();
        let narrow = |it: Element| it.takes_in(&crm, &gold, &setup);
        assert_eq!(narrow(element(None, None)), Some(0));
        assert_eq!(narrow(element(Some("gold"), None)), Some(1));
        assert_eq!(narrow(element(None, Some("setup"))), Some(2));
        assert_eq!(narrow(element(Some("gold"), Some("setup"))), Some(3));
        assert_eq!(narrow(element(Some("silver"), None)), None);
        assert_eq!(narrow(element(None, Some("calls"))), None);
        let other = ServiceKey::parse("mailbox").unwrap();
        assert_eq!(element(None, None).takes_in(&other, &gold, &setup), None);
    }
}
