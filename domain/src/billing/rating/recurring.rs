//! What is charged for the days of a period, in arrears: lines that tile the dates on which something is held, with
//! their counts (billing.md, sections 4 and 6).

use std::ops::Range;

use chrono::{DateTime, NaiveDate, Utc};

use super::super::component::Charge;
use super::super::price::Of;
use super::super::{
    ComponentKey, DayPolicy, Fact, Holding, Measured, Overridden, Period, Priced, Prices,
    Quarantine, QuarantineReason, RateRow, Rest, Run, Setting,
};
use super::line::{Cause, Line, Span};
use super::stay::Stay;
use super::{Action, Kind, PropertyChange, Rating};
use crate::PlanKey;
use crate::money::Ratio;
use crate::property::{amount_in, exact};

/// Dates on which the same was held for the same price.
struct Segment<'a> {
    dates: Range<NaiveDate>,
    /// What said what was held.
    fact: &'a Fact,
    held: Holding<'a>,
    priced: Priced,
}

impl<'a> Rating<'a> {
    /// Adds the lines of the plan's own price, which have the counts.
    pub(super) fn add_recurring_lines(
        &self,
        stay: &Stay<'a>,
        lines: &mut Vec<Line<'a>>,
    ) -> Result<(), Quarantine> {
        let key = ComponentKey::RECURRING;
        let cuts = self.cuts(stay, self.prices.moments(self.begin, self.end));
        let (action, mut own) = self.lines_of(stay, &key, &cuts, Charge::is_by_period)?;
        if let Some(fact) = self.uncharged(stay, &own)
            && let Some(held) = fact.holding()
        {
            let date = stay.dates.start;
            let cause = match (own.first(), stay.removal) {
                (_, Some(removal)) => removal.into(),
                (Some(first), None) => first.cause,
                (None, None) => fact.into(),
            };
            let priced = self.priced(date, held)?;
            let line = self.line(stay, &key, Segment { dates: date..date, fact, held, priced });
            own.insert(0, Line { action, cause, ..line });
        }
        self.count(stay, &mut own);
        lines.append(&mut own);
        self.add_property_lines(stay, lines);
        Ok(())
    }

    /// Adds the lines of another component that is charged by the days of the period, as far as it `is_meant`.
    pub(super) fn add_component_lines(
        &self,
        stay: &Stay<'a>,
        key: &ComponentKey,
        is_meant: fn(&Charge) -> bool,
        lines: &mut Vec<Line<'a>>,
    ) -> Result<(), Quarantine> {
        let cuts = self.cuts(stay, self.prices.component_moments(key));
        lines.append(&mut self.lines_of(stay, key, &cuts, is_meant)?.1);
        Ok(())
    }

    /// What is charged for a component, by dates, and what happened to it.
    fn lines_of(
        &self,
        stay: &Stay<'a>,
        key: &ComponentKey,
        cuts: &[NaiveDate],
        is_meant: fn(&Charge) -> bool,
    ) -> Result<(Action, Vec<Line<'a>>), Quarantine> {
        let segments = self.segments(stay, key, cuts, is_meant)?;
        let before = self.day_before(stay, key, cuts, is_meant);
        let changed_first = match (&before, segments.first()) {
            (Some((held, minor)), Some(first)) => {
                *held != first.held || *minor != Some(first.priced.minor)
            }
            _ => false,
        };
        let reaches_end = segments.last().is_none_or(|last| last.dates.end == stay.dates.end);
        let action = if stay.removal.is_some() {
            Action::Removed
        } else if stay.before.is_none() {
            Action::Added
        } else if changed_first || segments.len() > 1 || !reaches_end {
            Action::Changed
        } else {
            Action::Carried
        };
        let mut lines = Vec::with_capacity(segments.len());
        let mut previous = before;
        for segment in segments {
            let cause = match stay.removal {
                Some(removal) => removal.into(),
                None => self.cause(stay, key, &segment, previous.as_ref()),
            };
            previous = Some((segment.held, Some(segment.priced.minor)));
            lines.push(Line { action, cause, ..self.line(stay, key, segment) });
        }
        Ok((action, lines))
    }

    fn line(&self, stay: &Stay<'a>, key: &ComponentKey, segment: Segment<'a>) -> Line<'a> {
        let Segment { dates, fact, held, priced } = segment;
        Line {
            action: Action::Carried,
            added_by: stay.run.began(),
            cause: fact.into(),
            component: key.clone(),
            count_after: 0,
            count_before: 0,
            dates,
            fact,
            held,
            kind: Kind::Recurring,
            policy: self.policy(held.plan),
            priced,
            property_change: None,
            removal: stay.removal,
            span: Span::Days { is_first_partial: stay.is_first_partial },
        }
    }

    /// The dates in the stay on which what is held, or its price, may differ from the day before;
    /// in order.
    fn cuts(&self, stay: &Stay<'a>, prices: impl Iterator<Item = DateTime<Utc>>) -> Vec<NaiveDate> {
        let facts = stay.run.facts.iter().map(|fact| fact.effective_at);
        let rests = self.timeline.rests().iter().map(|rest| rest.effective_at);
        let mut cuts: Vec<_> = facts
            .chain(prices)
            .chain(rests)
            .filter(|moment| (self.begin..self.end).contains(moment))
            .map(|moment| self.settings.local_date(moment))
            .filter(|date| stay.dates.contains(date))
            .collect();
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }

    /// The stay, split only where plan, quantity or price changes (days 8), and without the dates on which the component
    /// is not charged.
    fn segments(
        &self,
        stay: &Stay<'a>,
        key: &ComponentKey,
        cuts: &[NaiveDate],
        is_meant: fn(&Charge) -> bool,
    ) -> Result<Vec<Segment<'a>>, Quarantine> {
        let mut segments: Vec<Segment<'a>> = Vec::new();
        let mut from = stay.dates.start;
        let later = cuts.iter().copied().filter(|cut| *cut > stay.dates.start);
        for to in later.chain([stay.dates.end]).filter(|_| !stay.dates.is_empty()) {
            if let Some((fact, held)) = self.held_on(stay, from)
                && !self.rests_for_nothing(&stay.run, held.plan, self.day_end(from))
                && let Some(priced) = self.charged(key, from, (fact, held), is_meant)?
            {
                match segments.last_mut() {
                    Some(last)
                        if last.dates.end == from
                            && last.held == held
                            && last.priced.minor == priced.minor
                            && last.priced.measured == priced.measured =>
                    {
                        last.dates.end = to;
                    }
                    _ => segments.push(Segment { dates: from..to, fact, held, priced }),
                }
            }
            from = to;
        }
        Ok(segments)
    }

    /// What one unit costs on a date for a component, as far as it `is_meant`; none where it is not charged.
    fn charged(
        &self,
        key: &ComponentKey,
        date: NaiveDate,
        held: (&Fact, Holding<'a>),
        is_meant: impl Fn(&Charge) -> bool,
    ) -> Result<Option<Priced>, Quarantine> {
        if key.is_recurring() {
            return self.priced(date, held.1).map(Some);
        }
        self.charged_by((self.prices, None), key, date, held, is_meant)
    }

    /// The same of a component beside the plan's own price, by some prices, exchanged by the rates of some period.
    pub(super) fn charged_by(
        &self,
        (prices, exchanged_in): (&Prices, Option<(Period, &[RateRow])>),
        key: &ComponentKey,
        date: NaiveDate,
        (fact, held): (&Fact, Holding<'a>),
        is_meant: impl Fn(&Charge) -> bool,
    ) -> Result<Option<Priced>, Quarantine> {
        let (plan, quantity, settings) = (held.plan, held.quantity, self.settings);
        let tariff = prices.tariff(&Of { date, exchanged_in, key, plan, quantity, settings });
        let Some(tariff) = tariff.filter(|it| is_meant(it.charge)) else { return Ok(None) };
        let quarantine = |reason| Quarantine { date, plan: held.plan.clone(), reason };
        let Charge::Property { included, property, unit, .. } = tariff.charge else {
            // The least that a subscription costs is not for each unit.
            let units = if tariff.charge.is_minimum() { 1 } else { held.quantity };
            let units = Ratio::whole(units.into());
            return tariff.price(units, held.quantity).map(Some).map_err(quarantine);
        };
        let of_plan = tariff.measure.and_then(|measure| measure.value.as_ref());
        let Some(value) = fact.values.get(property).or(of_plan) else { return Ok(None) };
        let units = tariff.measure.map_or(&[][..], |measure| &measure.units);
        let amount = amount_in(value, units, unit.as_deref());
        let amount = amount.ok_or_else(|| quarantine(QuarantineReason::NoPrice))?;
        let more = exact(*included).and_then(|included| amount.checked_sub(included));
        let more = more.ok_or_else(|| quarantine(QuarantineReason::TooLarge))?;
        if more <= Ratio::ZERO {
            return Ok(None);
        }
        let measured = Some(Measured { amount: more, unit: unit.clone() });
        let priced = tariff.price(more, 1).map_err(quarantine)?;
        Ok(Some(Priced { measured, ..priced }))
    }

    /// Whether what a run holds rests on the day that ends at `day_end`, and that costs nothing.
    pub(super) fn rests_for_nothing(
        &self,
        run: &Run<'_>,
        plan: &PlanKey,
        day_end: DateTime<Utc>,
    ) -> bool {
        !self.timeline.rests().is_empty()
            && self.prices.rests_for_nothing(plan, self.period, self.settings)
            && self.timeline.rests_before(day_end, run)
    }

    /// What let a plan rest, or go on, on a date, where that is charged otherwise.
    pub(super) fn rest_on(&self, date: NaiveDate, plan: &PlanKey) -> Option<&'a Rest> {
        let mut rests = self.timeline.rests().iter();
        let rest = rests.rfind(|rest| self.settings.local_date(rest.effective_at) == date)?;
        let is_free = self.prices.rests_for_nothing(plan, self.period, self.settings);
        is_free.then_some(rest)
    }

    pub(super) fn policy(&self, plan: &PlanKey) -> DayPolicy {
        self.prices.policy(plan, self.period, self.settings)
    }

    /// What one unit of a plan costs on a date by its own price; nothing where it is only counted, or has only other
    /// components.
    fn priced(&self, date: NaiveDate, held: Holding<'_>) -> Result<Priced, Quarantine> {
        let Holding { plan, quantity } = held;
        if self.policy(plan) == DayPolicy::None {
            return Ok(Priced::default());
        }
        let priced = self.prices.on(date, plan, quantity, self.settings);
        match priced {
            Err(Quarantine { reason: QuarantineReason::NoPrice, .. })
                if self.prices.has_components(date, plan, self.settings) =>
            {
                Ok(Priced::default())
            }
            priced => priced,
        }
    }

    /// What was held on the day before the period, and what it cost if anything; none where the
    /// run began in the period.
    fn day_before(
        &self,
        stay: &Stay<'a>,
        key: &ComponentKey,
        cuts: &[NaiveDate],
        is_meant: fn(&Charge) -> bool,
    ) -> Option<(Holding<'a>, Option<Ratio>)> {
        let fact = stay.before?;
        let held = fact.holding()?;
        let start = self.period.start;
        if self.rests_for_nothing(&stay.run, held.plan, self.begin) {
            return Some((held, None));
        }
        // Where nothing happened on the first day, its price is yesterday's.
        let date = match cuts.first() {
            Some(first) if *first == start => start.pred_opt().unwrap_or(start),
            _ => start,
        };
        let priced = self.charged(key, date, (fact, held), is_meant).ok().flatten();
        Some((held, priced.map(|it| it.minor)))
    }

    /// Who made a segment what it is: who provisioned, or who changed what is held or its price.
    fn cause(
        &self,
        stay: &Stay<'a>,
        key: &ComponentKey,
        segment: &Segment<'a>,
        previous: Option<&(Holding<'a>, Option<Ratio>)>,
    ) -> Cause<'a> {
        let Segment { dates, fact, held, priced } = segment;
        let is_new_fact = self.settings.local_date(fact.effective_at) == dates.start;
        if let Some(rest) = self.rest_on(dates.start, held.plan).filter(|_| !is_new_fact) {
            return rest.into();
        }
        let is_new_price = match previous {
            None if dates.start == stay.dates.start => return stay.run.began().into(),
            None => !is_new_fact,
            Some((before, minor)) => before == held && *minor != Some(priced.minor),
        };
        if !is_new_price {
            return (*fact).into();
        }
        let by = self.prices.cause_of(priced, dates.start, held.plan, key, self.settings);
        by.unwrap_or_else(|| (*fact).into())
    }

    /// What has to be shown without being charged: what was held when the last period ended, and
    /// is of no charged plan; or a run of which no date is charged.
    fn uncharged(&self, stay: &Stay<'a>, charged: &[Line<'a>]) -> Option<&'a Fact> {
        match stay.before {
            Some(before) => {
                let plan = before.holding()?.plan;
                charged.iter().all(|line| line.held.plan != plan).then_some(before)
            }
            None if charged.is_empty() => stay.run.facts.last(),
            None => None,
        }
    }

    /// Puts each plan's counts on its last line.
    fn count(&self, stay: &Stay<'a>, lines: &mut [Line<'a>]) {
        let last_of = |lines: &[Line<'a>], held: Holding<'a>| {
            lines.iter().rposition(|line| line.held.plan == held.plan)
        };
        if let Some(before) = stay.before.and_then(Fact::holding)
            && let Some(index) = last_of(lines, before)
        {
            lines[index].count_before = before.quantity;
        }
        let after = match stay.removal {
            Some(_) => None,
            None => stay.run.last_before(self.end).and_then(Fact::holding),
        };
        if let Some(after) = after
            && let Some(index) = last_of(lines, after)
        {
            lines[index].count_after = after.quantity;
        }
    }

    /// A line of nothing for each override of a property while the slot is held, so that finance
    /// sees it (billing.md, section 2). A bill does not tell what is hidden.
    fn add_property_lines(&self, stay: &Stay<'a>, lines: &mut Vec<Line<'a>>) {
        for it in &self.prices.overrides {
            let Overridden::Property { hidden: false, key, setting, .. } = &it.overridden else {
                continue;
            };
            if !(self.begin..self.end).contains(&it.from) {
                continue;
            }
            let date = self.settings.local_date(it.from);
            if !stay.dates.contains(&date) {
                continue;
            }
            let Some((fact, held)) = self.held_on(stay, date) else {
                continue;
            };
            // What drives a price is on a line of its own.
            if self.prices.is_priced(date, held.plan, key, self.settings) {
                continue;
            }
            let value = match setting {
                Setting::Set { value, .. } if self.prices.in_force(it, self.day_end(date)) => {
                    Some(value.clone())
                }
                Setting::Set { .. } => continue,
                Setting::Cleared => None,
            };
            if it.is_for(held.plan) {
                let priced = Priced::default();
                let segment = Segment { dates: date..date, fact, held, priced };
                lines.push(Line {
                    action: Action::Changed,
                    cause: it.into(),
                    property_change: Some(PropertyChange { property: key.clone(), value }),
                    ..self.line(stay, &ComponentKey::RECURRING, segment)
                });
            }
        }
    }
}
