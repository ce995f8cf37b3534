//! What a period sees of a run, and which of its dates are charged (billing.md, section 4, Days 1 and 3).

use std::ops::Range;

use chrono::NaiveDate;

use super::super::calendar::following;
use super::super::{Fact, Holding, Run};
use super::Rating;
use crate::{Bug, planted};

/// What the period sees of a run.
pub(super) struct Stay<'a> {
    /// What said what was held when the previous period ended; none: the run began in this one.
    pub before: Option<&'a Fact>,
    /// Whether it, or what it goes on from without a day between, began in this period and not with it.
    pub is_first_partial: bool,
    /// The dates that are charged.
    pub dates: Range<NaiveDate>,
    /// What ended the run in this period.
    pub removal: Option<&'a Fact>,
    pub run: Run<'a>,
}

impl<'a> Rating<'a> {
    /// What the period sees of `run`; none where it lies outside.
    pub(super) fn stay(
        &self,
        run: Run<'a>,
        next: Option<&Run<'a>>,
        previous: Option<&Stay<'a>>,
    ) -> Option<Stay<'a>> {
        let ended_before = run.ended.is_some_and(|ended| ended.effective_at < self.begin);
        if ended_before || run.began().effective_at >= self.end {
            return None;
        }
        let before = run.last_before(self.begin);
        let removal = run.ended.filter(|ended| ended.effective_at < self.end);
        let first = match before {
            Some(_) => self.period.start,
            None => self.settings.local_date(run.began().effective_at),
        };
        let mut after = match removal {
            Some(removal) => self.settings.local_date(removal.effective_at),
            None => self.period.after(),
        };
        if planted(Bug::EndDateInclusive) && removal.is_some() {
            after = following(after);
        }
        // Days 3: on and off within one date pays that date, unless a later run of the slot does.
        // (An earlier run has ended by then, and its last date is not its own.)
        let within_one_date = before.is_none() && first == after;
        let begins_then = |next: &Run<'_>| next.began().effective_at < self.day_end(first);
        if within_one_date && !next.is_some_and(begins_then) {
            after = following(first);
        }
        let goes_on = previous.filter(|previous| previous.dates.end == first);
        let is_first_partial = match goes_on {
            Some(previous) => previous.is_first_partial,
            None => before.is_none() && first > self.period.start,
        };
        Some(Stay { before, dates: first..after, is_first_partial, removal, run })
    }

    /// What the run holds on `date`: the effective day belongs to the new state (days 1).
    pub(super) fn held_on(
        &self,
        stay: &Stay<'a>,
        date: NaiveDate,
    ) -> Option<(&'a Fact, Holding<'a>)> {
        let fact = stay.run.last_before(self.day_end(date))?;
        Some((fact, fact.holding()?))
    }
}
