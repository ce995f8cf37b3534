//! What is charged for the days of a period, in arrears: lines that tile the dates on which something is held, with
//! their counts (billing.md, sections 4 and 6).

use std::ops::Range;

use chrono::NaiveDate;

use super::super::policy::{Share, Stretch};
use super::super::{
    ComponentKey, DayPolicy, Fact, Holding, Overridden, Priced, Quarantine, QuarantineReason,
    Setting,
};
use super::stay::Stay;
use super::{Action, Cause, Entry, Kind, Line, PropertyChange, Rating};
use crate::PlanKey;
use crate::money::{Money, Ratio, UnitPrice};

/// Dates on which the same was held for the same price.
struct Segment<'a> {
    dates: Range<NaiveDate>,
    /// What said what was held.
    fact: &'a Fact,
    held: Holding<'a>,
    priced: Priced,
}

impl<'a> Rating<'a> {
    pub(super) fn add_lines(
        &self,
        stay: &Stay<'a>,
        lines: &mut Vec<Line<'a>>,
    ) -> Result<(), Quarantine> {
        let cuts = self.cuts(stay);
        let segments = self.segments(stay, &cuts)?;
        let before = self.day_before(stay, &cuts);
        let changed_first = match (&before, segments.first()) {
            (Some((held, minor)), Some(first)) => {
                *held != first.held || *minor != Some(first.priced.minor)
            }
            _ => false,
        };
        let action = if stay.removal.is_some() {
            Action::Removed
        } else if stay.before.is_none() {
            Action::Added
        } else if changed_first || segments.len() > 1 {
            Action::Changed
        } else {
            Action::Carried
        };
        let line = |dates, fact, held, priced, cause| Line {
            action,
            added_by: stay.run.began(),
            cause,
            component: ComponentKey::RECURRING,
            count_after: 0,
            count_before: 0,
            dates,
            fact,
            held,
            is_first_partial: stay.is_first_partial,
            kind: Kind::Recurring,
            policy: self.policy(held.plan),
            priced: Some(priced),
            property_change: None,
            removal: stay.removal,
        };
        let own = lines.len();
        let mut previous = before;
        for segment in segments {
            let Segment { dates, fact, held, priced } = segment;
            let cause = match stay.removal {
                Some(removal) => removal.into(),
                None => self.cause(stay, &dates, fact, held, &priced, previous.as_ref()),
            };
            previous = Some((held, Some(priced.minor)));
            lines.push(line(dates, fact, held, priced, cause));
        }
        if let Some(fact) = self.uncharged(stay, &lines[own..])
            && let Some(held) = fact.holding()
        {
            let date = stay.dates.start;
            let cause = match (lines.get(own), stay.removal) {
                (_, Some(removal)) => removal.into(),
                (Some(first), None) => first.cause,
                (None, None) => fact.into(),
            };
            let priced = self.priced(date, held.plan)?;
            lines.insert(own, line(date..date, fact, held, priced, cause));
        }
        self.count(stay, &mut lines[own..]);
        self.add_property_lines(stay, lines);
        Ok(())
    }

    /// The dates in the stay on which what is held, or its price, may differ from the day before;
    /// in order.
    fn cuts(&self, stay: &Stay<'a>) -> Vec<NaiveDate> {
        let facts = stay.run.facts.iter().map(|fact| fact.effective_at);
        let facts = facts.filter(|moment| (self.begin..self.end).contains(moment));
        let mut cuts: Vec<_> = facts
            .chain(self.prices.moments(self.begin, self.end))
            .map(|moment| self.settings.local_date(moment))
            .filter(|date| stay.dates.contains(date))
            .collect();
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }

    /// The stay, split only where plan, quantity or price changes (days 8).
    fn segments(
        &self,
        stay: &Stay<'a>,
        cuts: &[NaiveDate],
    ) -> Result<Vec<Segment<'a>>, Quarantine> {
        let mut segments: Vec<Segment<'a>> = Vec::new();
        let mut from = stay.dates.start;
        let later = cuts.iter().copied().filter(|cut| *cut > stay.dates.start);
        for to in later.chain([stay.dates.end]).filter(|_| !stay.dates.is_empty()) {
            if let Some((fact, held)) = self.held_on(stay, from) {
                let priced = self.priced(from, held.plan)?;
                match segments.last_mut() {
                    Some(last) if last.held == held && last.priced.minor == priced.minor => {
                        last.dates.end = to;
                    }
                    _ => segments.push(Segment { dates: from..to, fact, held, priced }),
                }
            }
            from = to;
        }
        Ok(segments)
    }

    pub(super) fn policy(&self, plan: &PlanKey) -> DayPolicy {
        self.prices.policy(plan, self.period, self.settings)
    }

    /// What one unit of a plan costs on a date; nothing where it is only counted.
    fn priced(&self, date: NaiveDate, plan: &PlanKey) -> Result<Priced, Quarantine> {
        match self.policy(plan) {
            DayPolicy::None => Ok(Priced::default()),
            _ => self.prices.on(date, plan, self.settings),
        }
    }

    /// What was held on the day before the period, and its price if there was one; none where the
    /// run began in the period.
    fn day_before(
        &self,
        stay: &Stay<'a>,
        cuts: &[NaiveDate],
    ) -> Option<(Holding<'a>, Option<Ratio>)> {
        let held = stay.before?.holding()?;
        let start = self.period.start;
        // Where nothing happened on the first day, its price is yesterday's.
        let date = match cuts.first() {
            Some(first) if *first == start => start.pred_opt().unwrap_or(start),
            _ => start,
        };
        let minor = self.priced(date, held.plan).ok().map(|it| it.minor);
        Some((held, minor))
    }

    /// Who made a segment what it is: who provisioned, or who changed what is held or its price.
    fn cause(
        &self,
        stay: &Stay<'a>,
        dates: &Range<NaiveDate>,
        fact: &'a Fact,
        held: Holding<'a>,
        priced: &Priced,
        previous: Option<&(Holding<'a>, Option<Ratio>)>,
    ) -> Cause<'a> {
        match previous {
            None => stay.run.began().into(),
            Some((before, minor)) if *before == held && *minor != Some(priced.minor) => {
                let by = self.prices.cause_of(priced, dates.start, held.plan, self.settings);
                by.map_or_else(|| fact.into(), Cause::from)
            }
            Some(_) => fact.into(),
        }
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
            let value = match setting {
                Setting::Set { value, .. } if self.prices.in_force(it, self.day_end(date)) => {
                    Some(value.clone())
                }
                Setting::Set { .. } => continue,
                Setting::Cleared => None,
            };
            if it.is_for(held.plan) {
                lines.push(Line {
                    action: Action::Changed,
                    added_by: stay.run.began(),
                    cause: it.into(),
                    component: ComponentKey::RECURRING,
                    count_after: 0,
                    count_before: 0,
                    dates: date..date,
                    fact,
                    held,
                    is_first_partial: stay.is_first_partial,
                    kind: Kind::Recurring,
                    policy: self.policy(held.plan),
                    priced: None,
                    property_change: Some(PropertyChange { property: key.clone(), value }),
                    removal: stay.removal,
                });
            }
        }
    }

    /// Prices the lines, in order: each is the rounded sum up to it less the rounded sum before it,
    /// so that the parts of an unchanged period add up to the price (billing.md, Rounding).
    pub(super) fn entries(&self, lines: Vec<Line<'a>>) -> Result<Vec<Entry>, Quarantine> {
        let mut exact_sum = Ratio::ZERO;
        let mut rounded_sum = 0_i64;
        let is_by_touch = |line: &Line<'_>| {
            line.policy == DayPolicy::Full && line.priced.is_some() && !line.dates.is_empty()
        };
        let last = lines.iter().rposition(is_by_touch);
        lines
            .into_iter()
            .enumerate()
            .map(|(index, line)| {
                let too_large = || Quarantine {
                    date: line.dates.start,
                    plan: line.held.plan.clone(),
                    reason: QuarantineReason::TooLarge,
                };
                let share = self.share(&line, last == Some(index));
                let exact = exact(&line, share).ok_or_else(too_large)?;
                exact_sum = exact_sum.checked_add(exact).ok_or_else(too_large)?;
                let rounded = exact_sum.round_half_away().ok_or_else(too_large)?;
                let minor = rounded.checked_sub(rounded_sum).ok_or_else(too_large)?;
                rounded_sum = rounded;
                let unit_minor = line.priced.as_ref().map_or(Ratio::ZERO, |priced| priced.minor);
                let currency = self.settings.currency;
                let unit_price = UnitPrice::new(unit_minor, currency).ok_or_else(too_large)?;
                Ok(self.entry(line, share, exact, Money::new(minor, currency), unit_price))
            })
            .collect()
    }

    /// What part of the period's price a line is.
    fn share(&self, line: &Line<'a>, is_last: bool) -> Share {
        let stretch = Stretch {
            is_first_partial: line.is_first_partial,
            is_held_at_end: line.removal.is_none(),
            is_last,
        };
        line.policy.share(&line.dates, self.period, stretch)
    }
}

/// Price x quantity x part of the period (days 2 and 7), in minor units.
fn exact(line: &Line<'_>, share: Share) -> Option<Ratio> {
    let Some(priced) = &line.priced else {
        return Some(Ratio::ZERO);
    };
    let units = Ratio::whole(line.held.quantity.into());
    priced.minor.checked_mul(units)?.checked_mul(share.part?)
}
