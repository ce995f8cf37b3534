//! Sellers' rulebooks: what they do not charge, and how they describe lines; as it is, and as it was known before.

use std::collections::BTreeMap;

use domain::billing::ComponentKey;
use domain::billing::rule::{Rule, Ruled};
use domain::billing::rulebook::{Element, Pattern, RulebookEvent};
use domain::billing::tax::{TaxKey, TaxRate};
use domain::event::{Event, Recorded};
use domain::{OrganizationId, PlanKey, RuleKey, ServiceKey, TenantPath};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// What a seller says about his bills beside prices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RulebookView {
    /// Whose.
    pub seller: OrganizationId,
    /// His place in the tree.
    pub path: TenantPath,
    /// What was said of rules, in the order of recording.
    pub rules: Vec<Said<RuleKey, Rule>>,
    /// The stream's version after what was last said of rules; their `ETag`.
    pub rules_version: u64,
    /// What was said of patterns, in the order of recording.
    pub patterns: Vec<Said<Element, Pattern>>,
    /// The stream's version after what was last said of patterns; their `ETag`.
    pub patterns_version: u64,
    /// What was said of tax rates, in the order of recording.
    pub tax_rates: Vec<Said<TaxKey, TaxRate>>,
    /// The stream's version after what was last said of tax rates; their `ETag`.
    pub tax_rates_version: u64,
}

/// That something was set, or taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Said<K, T> {
    /// What it is about.
    pub key: K,
    /// The event's place in the log.
    pub position: u64,
    /// What was set; none: it was taken away.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub value: Option<T>,
}

/// How a seller describes something, where he says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Described<'a> {
    /// A line.
    pub line: Option<&'a str>,
    /// Whether that is for one component only: then nobody needs to be told which.
    pub names_component: bool,
    /// What lines are summed up by.
    pub summary: Option<&'a str>,
}

/// The last that was known at a position of each.
fn known_at<K: Ord, T>(said: &[Said<K, T>], position: u64) -> impl Iterator<Item = (u64, &T)> {
    let known = said.iter().take_while(move |it| it.position <= position);
    let last: BTreeMap<_, _> = known.map(|it| (&it.key, it)).collect();
    last.into_values().filter_map(|it| Some((it.position, it.value.as_ref()?)))
}

impl RulebookView {
    /// The rules as they were known at a position, in their order.
    #[must_use]
    pub fn rules_known_at(&self, position: u64) -> Vec<Ruled<'_>> {
        let known = known_at(&self.rules, position);
        let mut rules: Vec<_> = known.map(|(position, rule)| Ruled { position, rule }).collect();
        rules.sort_by_key(|it| (it.rule.order, &it.rule.key));
        rules
    }

    /// The patterns as they were known at a position.
    pub fn patterns_known_at(&self, position: u64) -> impl Iterator<Item = &Pattern> {
        known_at(&self.patterns, position).map(|(_, pattern)| pattern)
    }

    /// The tax rates as they were known at a position.
    pub fn tax_rates_known_at(&self, position: u64) -> impl Iterator<Item = &TaxRate> {
        known_at(&self.tax_rates, position).map(|(_, rate)| rate)
    }
}

/// How a line and what it is summed up by are described, where a seller's patterns say so: the narrowest counts.
#[must_use]
pub fn described<'a>(
    patterns: &'a [Pattern],
    (service, plan, component): (&ServiceKey, &PlanKey, &ComponentKey),
) -> Described<'a> {
    let (mut line, mut summary) = (None, None);
    for pattern in patterns {
        let Some(narrow) = pattern.element.takes_in(service, plan, component) else { continue };
        if pattern.line.is_some() && line.is_none_or(|(other, _)| narrow > other) {
            line = Some((narrow, pattern));
        }
        if pattern.summary.is_some() && summary.is_none_or(|(other, _)| narrow > other) {
            summary = Some((narrow, pattern));
        }
    }
    Described {
        line: line.and_then(|(_, it)| it.line.as_deref()),
        names_component: line.is_some_and(|(_, it)| it.element.component.is_some()),
        summary: summary.and_then(|(_, it)| it.summary.as_deref()),
    }
}

impl View for RulebookView {
    const TABLE: &'static str = "view_rulebook";
    const INDEXES: &'static [&'static str] = &[];
    held_in!(rulebooks);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match (&event.event, event.stream.split_once('-')) {
            (Event::Rulebook(_), Some((_, id))) => vec![Touch::own(id, event)],
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let Event::Rulebook(happened) = &event.event else {
            return before;
        };
        let seller = event.stream.split_once('-')?.1.parse().ok()?;
        let mut view = before.unwrap_or_else(|| Self {
            seller,
            path: event.path.clone(),
            rules: Vec::new(),
            rules_version: 0,
            patterns: Vec::new(),
            patterns_version: 0,
            tax_rates: Vec::new(),
            tax_rates_version: 0,
        });
        let position = event.position;
        let mut rule = |key: &RuleKey, value| {
            view.rules.push(Said { key: key.clone(), position, value });
            view.rules_version = event.version;
        };
        let mut pattern = |key: &Element, value| {
            view.patterns.push(Said { key: key.clone(), position, value });
            view.patterns_version = event.version;
        };
        let mut tax_rate = |key: &TaxKey, value| {
            view.tax_rates.push(Said { key: key.clone(), position, value });
            view.tax_rates_version = event.version;
        };
        match happened {
            RulebookEvent::RuleSet(it) => rule(&it.key, Some(it.as_ref().clone())),
            RulebookEvent::RuleRemoved { key } => rule(key, None),
            RulebookEvent::PatternSet(it) => pattern(&it.element, Some(it.as_ref().clone())),
            RulebookEvent::PatternRemoved { element } => pattern(element, None),
            RulebookEvent::TaxRateSet(rate) => tax_rate(&rate.key, Some(rate.clone())),
            RulebookEvent::TaxRateRemoved(key) => tax_rate(key, None),
        }
        Some(view)
    }

    fn index(&self) -> Index {
        Index { path: self.path.to_string(), owner: self.seller.to_string(), ..Index::default() }
    }
}
