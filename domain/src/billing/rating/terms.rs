//! What is charged by terms: they begin with what is held, whatever the billing periods are, and a change of plans
//! exchanges the rest (billing.md, section 4).

use std::collections::BTreeSet;
use std::ops::Range;

use chrono::{Months, NaiveDate};

use super::super::calendar::{days_between, following};
use super::super::component::{Charge, Interval, Timing};
use super::super::{ComponentKey, Fact, Holding, Priced, Prices, Quarantine, Run};
use super::line::{Cause, Line, Span};
use super::{Action, Kind, Rating};

/// A component as long as it is charged in the same way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Course {
    key: ComponentKey,
    interval: Interval,
    timing: Timing,
}

/// The dates that a run is charged for, as far as is known in the period.
struct Spell<'a> {
    /// The first date not charged any more; none while it goes on.
    after: Option<NaiveDate>,
    first: NaiveDate,
    /// What ended it, and on which date.
    removal: Option<(&'a Fact, NaiveDate)>,
    run: Run<'a>,
}

/// One term of a spell.
struct Term<'a> {
    course: &'a Course,
    dates: Range<NaiveDate>,
    /// Whether the spell begins with it.
    is_first: bool,
    /// The first date of it that is not known yet, or that nothing is held on any more.
    until: NaiveDate,
}

/// What is held on a date of a term, for a price.
#[derive(Clone)]
struct State<'a> {
    fact: &'a Fact,
    held: Holding<'a>,
    priced: Priced,
}

impl State<'_> {
    fn costs_like(&self, other: &Self) -> bool {
        self.held == other.held && self.priced.minor == other.priced.minor
    }
}

impl<'a> Rating<'a> {
    /// Adds the lines of what is charged by terms.
    pub(super) fn add_term_lines(&self, lines: &mut Vec<Line<'a>>) -> Result<(), Quarantine> {
        let courses = self.courses();
        if courses.is_empty() {
            return Ok(());
        }
        let mut runs = self.timeline.runs().peekable();
        while let Some(run) = runs.next() {
            let Some(spell) = self.spell(run, runs.peek()) else { continue };
            for course in &courses {
                for term in self.terms(course, &spell) {
                    match course.timing {
                        Timing::Advance => self.add_in_advance(&spell, &term, lines)?,
                        Timing::Arrears => self.add_in_arrears(&spell, &term, lines)?,
                    }
                }
            }
        }
        Ok(())
    }

    fn courses(&self) -> BTreeSet<Course> {
        let rows = self.prices.components.iter();
        let course = rows.filter_map(|row| {
            let (interval, timing) = row.charge.as_ref()?.term()?;
            Some(Course { key: row.component.clone(), interval, timing })
        });
        course.collect()
    }

    /// What is charged of a run; none where that is nothing, or nothing of it can be booked in the period any more.
    fn spell(&self, run: Run<'a>, next: Option<&Run<'a>>) -> Option<Spell<'a>> {
        if run.began().effective_at >= self.end {
            return None;
        }
        let first = self.settings.local_date(run.began().effective_at);
        let removal = run.ended.filter(|ended| ended.effective_at < self.end);
        let removal = removal.map(|fact| (fact, self.settings.local_date(fact.effective_at)));
        let mut after = removal.map(|(_, date)| date);
        // Days 3, as for what is charged by periods.
        let begins_then = |next: &Run<'_>| next.began().effective_at < self.day_end(first);
        if after == Some(first) && !next.is_some_and(begins_then) {
            after = Some(following(first));
        }
        let is_over = removal.is_some_and(|(_, date)| date < self.period.start);
        let is_charged = after.is_none_or(|after| after > first);
        (is_charged && !is_over).then_some(Spell { after, first, removal, run })
    }

    /// The terms of a spell of which something may be booked in the period.
    fn terms<'c>(&self, course: &'c Course, spell: &Spell<'_>) -> Vec<Term<'c>> {
        let begin = |nth: u32| {
            let months = Months::new(nth.saturating_mul(course.interval.months()));
            spell.first.checked_add_months(months)
        };
        let held_until = spell.after.unwrap_or(NaiveDate::MAX);
        // Not before the one that the period begins in: a term is longer than a day and shorter than a year and a day.
        let days = days_between(spell.first, self.period.start);
        let first = (days / (31 * course.interval.months())).saturating_sub(1);
        let mut terms = Vec::new();
        for nth in first.. {
            let (Some(from), Some(to)) = (begin(nth), begin(nth.saturating_add(1))) else { break };
            if from > self.period.end || from >= held_until {
                break;
            }
            if to < self.period.start {
                continue;
            }
            let until = to.min(held_until).min(self.period.after());
            terms.push(Term { course, dates: from..to, is_first: nth == 0, until });
        }
        terms
    }

    /// The dates of a term that are known, each from which something else may be held or cost something else.
    fn cuts_of(&self, spell: &Spell<'a>, term: &Term<'_>) -> BTreeSet<NaiveDate> {
        let facts = spell.run.facts.iter().map(|fact| fact.effective_at);
        let rests = self.timeline.rests().iter().map(|rest| rest.effective_at);
        let facts = facts.chain(rests).filter(|moment| *moment < self.end);
        let all = self.pinned.iter().map(|it| &it.prices).chain([self.prices]);
        let prices = all.flat_map(|prices| prices.component_moments(&term.course.key));
        let dates = facts.chain(prices).map(|moment| self.settings.local_date(moment));
        // Where other prices are known.
        let dates = dates.chain(self.pinned.iter().map(|it| it.period.after()));
        let inside = dates.filter(|date| (term.dates.start..term.until).contains(date));
        inside.chain([term.dates.start]).collect()
    }

    fn state_on(
        &self,
        spell: &Spell<'a>,
        term: &Term<'_>,
        date: NaiveDate,
    ) -> Result<Option<State<'a>>, Quarantine> {
        let course = term.course;
        let Some(fact) = spell.run.last_before(self.day_end(date)) else { return Ok(None) };
        let Some(held) = fact.holding() else { return Ok(None) };
        if self.rests_for_nothing(&spell.run, held.plan, self.day_end(date)) {
            return Ok(None);
        }
        let is_meant = |it: &Charge| it.term() == Some((course.interval, course.timing));
        let priced = |prices, booked_in| {
            let by = (prices, Some(booked_in));
            self.charged_by(by, &course.key, date, (fact, held), is_meant)
        };
        // A term has one exchange rate: that of the period that it is booked in.
        let priced = match course.timing {
            Timing::Arrears => priced(self.prices, (*self.period, &[][..])),
            Timing::Advance => {
                let period = self.settings.period_containing(term.dates.start);
                let rates = self.pinned_since(term.dates.start).next();
                let booked_in = (period, rates.map_or(&[][..], |it| &it.rates));
                // What had no price yet has the first that was known.
                let earlier = self.pinned_since(date).map(|prices| priced(prices, booked_in));
                let first = earlier.flat_map(Result::ok).next();
                first.map_or_else(|| priced(self.prices, booked_in), Ok)
            }
        };
        Ok(priced?.map(|priced| State { fact, held, priced }))
    }

    /// If the period of a date was closed with other prices: these, and those of the periods after it.
    fn pinned_since(&self, date: NaiveDate) -> impl Iterator<Item = &'a Prices> {
        let begin = self.pinned.iter().position(|it| it.period.contains(date));
        let since = begin.map_or(&[][..], |begin| &self.pinned[begin..]);
        since.iter().map(|it| &it.prices)
    }

    /// Who made something else of a term on a date.
    fn turned_by(
        &self,
        course: &Course,
        before: Option<&State<'a>>,
        now: Option<&State<'a>>,
        date: NaiveDate,
    ) -> Option<Cause<'a>> {
        let state = now.or(before)?;
        let is_held_anew = match (before, now) {
            (Some(before), Some(now)) => before.held != now.held,
            _ => self.settings.local_date(state.fact.effective_at) == date,
        };
        if let Some(rest) = self.rest_on(date, state.held.plan).filter(|_| !is_held_anew) {
            return Some(rest.into());
        }
        let by =
            self.prices.cause_of(&state.priced, date, state.held.plan, &course.key, self.settings);
        Some(by.filter(|_| !is_held_anew).map_or_else(|| state.fact.into(), Cause::from))
    }

    /// In advance: the whole term as it begins, and the rest of it given back and charged anew whenever it changes.
    fn add_in_advance(
        &self,
        spell: &Spell<'a>,
        term: &Term<'_>,
        lines: &mut Vec<Line<'a>>,
    ) -> Result<(), Quarantine> {
        let mut before: Option<State<'a>> = None;
        for date in self.cuts_of(spell, term) {
            let now = self.state_on(spell, term, date)?;
            let is_same = match (&before, &now) {
                (Some(before), Some(now)) => before.costs_like(now),
                (None, None) => true,
                _ => false,
            };
            if is_same {
                continue;
            }
            let action = match date == term.dates.start {
                true if term.is_first => Action::Added,
                true => Action::Carried,
                false => Action::Changed,
            };
            let cause = match action {
                Action::Added => Some(spell.run.began().into()),
                _ => {
                    // What is gone is due to what is held instead.
                    let gone = now.is_none().then(|| spell.run.last_before(self.day_end(date)));
                    let gone = gone
                        .flatten()
                        .filter(|fact| self.settings.local_date(fact.effective_at) == date);
                    gone.map(Cause::from).or_else(|| {
                        self.turned_by(term.course, before.as_ref(), now.as_ref(), date)
                    })
                }
            };
            let Some(cause) = cause else { continue };
            let rest = date..term.dates.end;
            let line = |state: State<'a>, is_credit| {
                let is_booked = self.period.contains(date);
                self.of_term(
                    spell,
                    term,
                    state,
                    rest.clone(),
                    (action, cause),
                    is_credit,
                    is_booked,
                )
            };
            lines.extend(before.take().map(|state| line(state, true)));
            lines.extend(now.clone().map(|state| line(state, false)));
            before = now;
        }
        if let (Some(state), Some(after), Some((removal, date))) =
            (before, spell.after, spell.removal)
            && after < term.dates.end
        {
            let is_booked = self.period.contains(date);
            let rest = after..term.dates.end;
            let because = (Action::Removed, removal.into());
            lines.push(self.of_term(spell, term, state, rest, because, true, is_booked));
        }
        Ok(())
    }

    /// In arrears: what was held of the term, once it is over.
    fn add_in_arrears(
        &self,
        spell: &Spell<'a>,
        term: &Term<'_>,
        lines: &mut Vec<Line<'a>>,
    ) -> Result<(), Quarantine> {
        let removal = spell.removal.filter(|_| spell.after.is_some_and(|it| it < term.dates.end));
        let over_on = match removal {
            Some((_, date)) => Some(date),
            None => term.dates.end.pred_opt(),
        };
        if !over_on.is_some_and(|date| self.period.contains(date)) {
            return Ok(());
        }
        let mut segments: Vec<(Range<NaiveDate>, State<'a>, Cause<'a>)> = Vec::new();
        let cuts: Vec<_> = self.cuts_of(spell, term).into_iter().collect();
        let ends = cuts.iter().skip(1).copied().chain([term.until]);
        for (from, to) in cuts.iter().copied().zip(ends) {
            let Some(now) = self.state_on(spell, term, from)? else { continue };
            match segments.last_mut() {
                Some((dates, state, _)) if dates.end == from && state.costs_like(&now) => {
                    dates.end = to;
                }
                last => {
                    let before = last.map(|(_, state, _)| &*state);
                    let cause = self.turned_by(term.course, before, Some(&now), from);
                    let cause = cause.unwrap_or_else(|| now.fact.into());
                    segments.push((from..to, now, cause));
                }
            }
        }
        let action = match removal {
            Some(_) => Action::Removed,
            None if segments.len() > 1 => Action::Changed,
            None if term.is_first => Action::Added,
            None => Action::Carried,
        };
        for (dates, state, cause) in segments {
            let cause = removal.map_or(cause, |(fact, _)| fact.into());
            lines.push(self.of_term(spell, term, state, dates, (action, cause), false, true));
        }
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "each is of another kind, and it is called three times"
    )]
    fn of_term(
        &self,
        spell: &Spell<'a>,
        term: &Term<'_>,
        state: State<'a>,
        dates: Range<NaiveDate>,
        (action, cause): (Action, Cause<'a>),
        is_credit: bool,
        is_booked: bool,
    ) -> Line<'a> {
        let of = days_between(term.dates.start, term.dates.end);
        let way = (term.course.interval, term.course.timing);
        let removal = spell.removal.filter(|_| action == Action::Removed);
        Line {
            action,
            added_by: spell.run.began(),
            cause,
            component: term.course.key.clone(),
            count_after: 0,
            count_before: 0,
            dates,
            fact: state.fact,
            held: state.held,
            kind: Kind::Recurring,
            policy: Default::default(),
            priced: state.priced,
            property_change: None,
            removal: removal.map(|(fact, _)| fact),
            span: Span::Term { way, begin: term.dates.start, is_credit, is_booked, of },
        }
    }
}
