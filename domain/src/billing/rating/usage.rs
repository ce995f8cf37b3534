//! What was used: the readings of a period, with the plan and price in force at the last of them (billing.md, section 4).

use std::collections::BTreeSet;

use super::super::component::Charge;
use super::super::{
    ComponentKey, Fact, Holding, Measured, Priced, Quarantine, QuarantineReason, Reading, Run,
};
use super::line::{Line, Span};
use super::{Action, Kind, Rating};
use crate::money::Ratio;
use crate::property::exact;
use crate::usage::Aggregation;

impl<'a> Rating<'a> {
    /// Adds the line of what was used in the period and is charged by a component.
    pub(super) fn add_usage_line(
        &self,
        key: &ComponentKey,
        lines: &mut Vec<Line<'a>>,
    ) -> Result<(), Quarantine> {
        let readings = self.timeline.readings();
        let from = readings.partition_point(|reading| reading.effective_at < self.begin);
        let to = readings.partition_point(|reading| reading.effective_at < self.end);
        // Each meter goes by its own last reading, so the last one that the component is for decides.
        let last = readings[from..to].iter().rev().find_map(|reading| {
            let (run, fact) = self.held_by(reading)?;
            let held = fact.holding()?;
            let date = self.settings.local_date(reading.effective_at);
            let tariff =
                self.prices.component_on(date, held.plan, key, held.quantity, self.settings)?;
            let is_its =
                matches!(tariff.charge, Charge::Usage { meter, .. } if *meter == reading.meter);
            let is_last = readings[from..to].iter().rfind(|it| it.meter == reading.meter);
            (is_its && is_last == Some(reading)).then_some((reading, run, fact, held, tariff))
        });
        let Some((reading, run, fact, held, tariff)) = last else { return Ok(()) };
        let Charge::Usage { included, .. } = tariff.charge else { return Ok(()) };
        let date = self.settings.local_date(reading.effective_at);
        let quarantine = |reason| Quarantine { date, plan: held.plan.clone(), reason };
        let too_large = || quarantine(QuarantineReason::TooLarge);
        let aggregation = tariff.measure.and_then(|it| it.aggregation).unwrap_or_default();
        let own: Vec<_> =
            readings[from..to].iter().filter(|it| it.meter == reading.meter).collect();
        let used = aggregation.of(&own).ok_or_else(too_large)?;
        let more = exact(*included).and_then(|included| used.checked_sub(included));
        let more = more.ok_or_else(too_large)?;
        let more = if more > Ratio::ZERO { more } else { Ratio::ZERO };
        let unit = tariff.measure.and_then(|it| it.unit.clone());
        let priced = tariff.price(more, 1).map_err(quarantine)?;
        let removal = run.ended.filter(|ended| ended.effective_at < self.end);
        lines.push(Line {
            action: match removal {
                Some(_) => Action::Removed,
                None if run.began().effective_at >= self.begin => Action::Added,
                None => Action::Carried,
            },
            added_by: run.began(),
            cause: reading.into(),
            component: key.clone(),
            count_after: 0,
            count_before: 0,
            dates: self.period.start..self.period.after(),
            fact,
            held: Holding { quantity: 1, ..held },
            kind: Kind::Usage,
            policy: Default::default(),
            priced: Priced { measured: Some(Measured { amount: more, unit }), ..priced },
            property_change: None,
            removal,
            span: Span::Once,
        });
        Ok(())
    }

    /// The run in which something was used, or the last one before it, and what was held then; none where nothing was
    /// held by then, or not any more when the period began.
    fn held_by(&self, reading: &Reading) -> Option<(Run<'a>, &'a Fact)> {
        let mut runs = self.timeline.runs();
        let run = runs.rfind(|run| run.began().effective_at <= reading.effective_at)?;
        if run.ended.is_some_and(|ended| ended.effective_at < self.begin) {
            return None;
        }
        let until = run.facts.partition_point(|fact| fact.effective_at <= reading.effective_at);
        Some((run, &run.facts[until.checked_sub(1)?]))
    }
}

impl Aggregation {
    /// What readings come to, which are in order; none beyond what can be held.
    fn of(self, readings: &[&Reading]) -> Option<Ratio> {
        let mut amounts = readings.iter().map(|reading| exact(reading.quantity));
        match self {
            Self::Sum => amounts.try_fold(Ratio::ZERO, |sum, amount| sum.checked_add(amount?)),
            Self::Max => amounts.try_fold(Ratio::ZERO, |most, amount| {
                let amount = amount?;
                Some(if amount > most { amount } else { most })
            }),
            Self::Last => amounts.next_back().flatten(),
            Self::Unique => {
                let seen: BTreeSet<_> = readings.iter().map(|it| it.unique.as_deref()).collect();
                Some(Ratio::whole(i64::try_from(seen.len()).ok()?))
            }
        }
    }
}
