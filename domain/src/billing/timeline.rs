//! A slot's timeline: its facts in business order, and the runs that they make (billing.md,
//! section 2).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::BillingSettings;
use crate::{Bug, CommandId, MeterKey, PlanKey, PropertyKey, planted};

/// One dated fact about a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fact {
    /// Who caused it, as people read it.
    pub actor: String,
    /// What became true.
    pub change: Change,
    /// The date that was meant, where one was: each seller sees it from its own midnight on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<NaiveDate>,
    /// When it became true in the business.
    pub effective_at: DateTime<Utc>,
    /// The event's place in the log.
    pub position: u64,
    /// Why, where somebody said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The request that it came of, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<CommandId>,
    /// What the properties are that drive a price, where it says what is held.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub values: Values,
}

/// The values of properties that drive a price.
pub type Values = BTreeMap<PropertyKey, String>;

/// What is held rests from some moment on, or goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rest {
    /// Who caused it, as people read it.
    pub actor: String,
    /// The date that was meant, where one was: each seller sees it from its own midnight on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<NaiveDate>,
    /// When it became true in the business.
    pub effective_at: DateTime<Utc>,
    /// The event's place in the log.
    pub position: u64,
    /// Why, where somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The request that it came of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<CommandId>,
    /// Whether it rests from then on.
    pub suspended: bool,
}

/// A reading of a meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Who recorded it, as people read it.
    pub actor: String,
    /// When it was so in the business.
    pub effective_at: DateTime<Utc>,
    /// Which meter.
    pub meter: MeterKey,
    /// The event's place in the log.
    pub position: u64,
    /// How much.
    pub quantity: Decimal,
    /// Why, where somebody said so.
    pub reason: Option<String>,
    /// What was seen, where different things are counted.
    pub unique: Option<String>,
}

/// What a fact does to the slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Change {
    /// The slot is held from now on; where it is already, with this plan and quantity.
    Provisioned {
        /// The plan held.
        plan: PlanKey,
        /// How many are held.
        quantity: u32,
    },
    /// What is held is now this. Without effect where nothing is held.
    Changed {
        /// The plan held.
        plan: PlanKey,
        /// How many are held.
        quantity: u32,
    },
    /// The slot is held no longer.
    Deprovisioned,
}

/// What is held at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding<'a> {
    /// The plan held.
    pub plan: &'a PlanKey,
    /// How many are held.
    pub quantity: u32,
}

/// A moment from which another seller bills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Turn {
    /// Who saw to it, as people read it.
    pub actor: String,
    /// When.
    pub at: DateTime<Utc>,
    /// The date that was meant, where one was: each seller sees it from its own midnight on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<NaiveDate>,
    /// The event's place in the log.
    pub position: u64,
    /// Why, where somebody said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Turn {
    /// As a seller sees it.
    #[must_use]
    pub fn seen_by(&self, seller: &BillingSettings) -> Self {
        Self { at: self.date.map_or(self.at, |date| seller.midnight(date)), ..self.clone() }
    }
}

/// One unbroken time of holding a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// The fact that ended it; none while it goes on.
    pub ended: Option<&'a Fact>,
    /// The facts that say what was held, in order: the first began the run. Never empty.
    pub facts: &'a [Fact],
}

/// The facts of one slot in the order in which they are true: by moment, then by position, so that
/// of two at one moment the later recorded wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    facts: Vec<Fact>,
    /// When what is held rests, in the same order.
    rests: Vec<Rest>,
    /// What was used, in the same order.
    readings: Vec<Reading>,
    /// Of each run, the facts that say what was held; the one after them ended it.
    runs: Vec<Range<usize>>,
    /// The moment and the fact that made another the seller of what is held at its beginning, if it begins so.
    taken_over: Option<(DateTime<Utc>, u64)>,
}

impl Timeline {
    /// Puts the facts in order, however they arrived.
    #[must_use]
    pub fn new(facts: impl IntoIterator<Item = Fact>) -> Self {
        let mut facts: Vec<_> = facts.into_iter().collect();
        facts.sort_by_key(Fact::order);
        let mut timeline = Self::default();
        facts.into_iter().for_each(|fact| timeline.push(fact));
        timeline
    }

    /// With when what is held rests and goes on, however that arrived.
    #[must_use]
    pub fn resting(mut self, rests: impl IntoIterator<Item = Rest>) -> Self {
        self.rests = rests.into_iter().collect();
        self.rests.sort_by_key(|rest| (rest.effective_at, rest.position));
        self
    }

    /// With what was used, however that arrived.
    #[must_use]
    pub fn metered(mut self, readings: impl IntoIterator<Item = Reading>) -> Self {
        self.readings = readings.into_iter().collect();
        self.readings.sort_by_key(|reading| (reading.effective_at, reading.position));
        self
    }

    /// What was used, in order.
    #[must_use]
    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }

    /// When what is held rests and goes on, in order.
    #[must_use]
    pub fn rests(&self) -> &[Rest] {
        &self.rests
    }

    /// Whether what a run holds rests right before `instant`.
    #[must_use]
    pub(super) fn rests_before(&self, instant: DateTime<Utc>, run: &Run<'_>) -> bool {
        let until = self.rests.partition_point(|rest| rest.effective_at < instant);
        self.rests[..until].last().is_some_and(|rest| {
            rest.suspended && (rest.effective_at, rest.position) > run.began().order()
        })
    }

    /// Whether something is held at `instant`, and rests.
    #[must_use]
    pub fn rests_at(&self, instant: DateTime<Utc>) -> bool {
        let run = self.run_at(instant);
        run.is_some_and(|run| self.rests_before(instant + TimeDelta::microseconds(1), &run))
    }

    /// As it would be if nothing were true that begins after a moment: what is held then goes on.
    #[must_use]
    pub fn until(mut self, moment: DateTime<Utc>) -> Self {
        let moment = match planted(Bug::AsOfLeavesOutMoment) {
            true => moment - TimeDelta::microseconds(1),
            false => moment,
        };
        if self.facts.last().is_some_and(|last| last.effective_at > moment) {
            let facts = std::mem::take(&mut self.facts);
            self.remake(facts.into_iter().filter(|fact| fact.effective_at <= moment));
        }
        self.rests.retain(|rest| rest.effective_at <= moment);
        self.readings.retain(|reading| reading.effective_at <= moment);
        self
    }

    fn remake(&mut self, facts: impl Iterator<Item = Fact>) {
        let (rests, readings) =
            (std::mem::take(&mut self.rests), std::mem::take(&mut self.readings));
        *self = Self { rests, readings, ..Self::new(facts) };
    }

    /// Appends a fact that comes after all there are.
    fn push(&mut self, fact: Fact) {
        let index = self.facts.len();
        let running = self.runs.last_mut().filter(|run| run.end == index);
        match (&fact.change, running) {
            (Change::Provisioned { .. }, None) => self.runs.push(index..index + 1),
            (Change::Provisioned { .. } | Change::Changed { .. }, Some(run)) => run.end += 1,
            // A run whose end has a fact is over.
            (Change::Deprovisioned, _) | (Change::Changed { .. }, None) => {}
        }
        self.facts.push(fact);
    }

    /// As a seller sees it: what was said of a date is true from the seller's own midnight on (billing.md, section 2).
    #[must_use]
    pub fn seen_by(&self, seller: &BillingSettings) -> Cow<'_, Self> {
        let is_his = |date: Option<NaiveDate>, at| date.is_none_or(|it| seller.midnight(it) == at);
        let is_all_his = self.facts.iter().all(|it| is_his(it.date, it.effective_at))
            && self.rests.iter().all(|it| is_his(it.date, it.effective_at));
        if is_all_his || planted(Bug::DateIsMoment) {
            return Cow::Borrowed(self);
        }
        let at = |date: Option<NaiveDate>, at| date.map_or(at, |date| seller.midnight(date));
        let facts = self
            .facts
            .iter()
            .map(|fact| Fact { effective_at: at(fact.date, fact.effective_at), ..fact.clone() });
        let rests = self
            .rests
            .iter()
            .map(|rest| Rest { effective_at: at(rest.date, rest.effective_at), ..rest.clone() });
        Cow::Owned(Self::new(facts).resting(rests).metered(self.readings.iter().cloned()))
    }

    /// The part of it that one seller bills, from the fact that made him the seller and up to the one that made
    /// another the seller: what is held at such a moment begins or ends there.
    #[must_use]
    pub fn between(&self, from: Option<&Turn>, until: Option<&Turn>) -> Self {
        let is_inside = |fact: &&Fact| {
            from.is_none_or(|turn| fact.effective_at >= turn.at)
                && until.is_none_or(|turn| fact.effective_at < turn.at)
        };
        let turned = |turn: &Turn, change| Fact {
            actor: turn.actor.clone(),
            change,
            date: None,
            effective_at: turn.at,
            position: turn.position,
            reason: turn.reason.clone(),
            request: None,
            values: Values::new(),
        };
        let before = |turn: &Turn| self.run_at(turn.at - TimeDelta::microseconds(1));
        let own: Vec<_> = self.facts.iter().filter(is_inside).cloned().collect();
        let begins = from.and_then(|turn| {
            let held = before(turn)?.last_before(turn.at)?;
            let Holding { plan, quantity } = held.holding()?;
            let change = Change::Provisioned { plan: plan.clone(), quantity };
            // Before all that happens at that moment.
            let then = own.first().filter(|first| first.effective_at == turn.at);
            let position = then.map_or(turn.position, |first| first.position.min(turn.position));
            Some(Fact { position, values: held.values.clone(), ..turned(turn, change) })
        });
        let ends = until
            .filter(|turn| before(turn).is_some())
            .map(|turn| turned(turn, Change::Deprovisioned));
        let taken_over = begins.as_ref().map(Fact::order);
        // What rested goes on resting with another seller.
        let rests = self.rests.iter().filter(|rest| {
            until.is_none_or(|turn| rest.effective_at < turn.at)
                && from.is_none_or(|turn| rest.effective_at >= turn.at)
        });
        let resting = from.and_then(|turn| {
            let until = self.rests.partition_point(|rest| rest.effective_at < turn.at);
            let last = self.rests[..until].last().filter(|rest| rest.suspended)?;
            let run = before(turn)?;
            let is_its = (last.effective_at, last.position) > run.began().order();
            // Right behind the fact that begins it.
            is_its.then(|| Rest {
                date: None,
                effective_at: turn.at,
                position: begins.as_ref().map_or(last.position, |it| it.position + 1),
                ..last.clone()
            })
        });
        let rests: Vec<_> = resting.into_iter().chain(rests.cloned()).collect();
        let readings = self.readings.iter().filter(|reading| {
            until.is_none_or(|turn| reading.effective_at < turn.at)
                && from.is_none_or(|turn| reading.effective_at >= turn.at)
        });
        let readings: Vec<_> = readings.cloned().collect();
        let own = Self::new(begins.into_iter().chain(own).chain(ends));
        Self { taken_over, ..own.resting(rests).metered(readings) }
    }

    /// Whether a fact is that another became the seller of what was held before.
    pub(super) fn took_over(&self, fact: &Fact) -> bool {
        self.taken_over == Some(fact.order())
    }

    /// The facts in order.
    #[must_use]
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// What is held at `instant`; none where nothing is.
    #[must_use]
    pub fn state_at(&self, instant: DateTime<Utc>) -> Option<Holding<'_>> {
        let last =
            self.facts.partition_point(|fact| fact.effective_at <= instant).checked_sub(1)?;
        let run = self.runs.partition_point(|run| run.start <= last).checked_sub(1)?;
        if self.runs[run].contains(&last) { self.facts[last].holding() } else { None }
    }

    /// The run that `instant` lies in; none where nothing is held.
    #[must_use]
    pub fn run_at(&self, instant: DateTime<Utc>) -> Option<Run<'_>> {
        let last =
            self.facts.partition_point(|fact| fact.effective_at <= instant).checked_sub(1)?;
        let run = self.runs.partition_point(|run| run.start <= last).checked_sub(1)?;
        let facts = self.runs[run].clone();
        facts
            .contains(&last)
            .then(|| Run { ended: self.facts.get(facts.end), facts: &self.facts[facts] })
    }

    /// The runs, the oldest first.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = Run<'_>> + ExactSizeIterator {
        self.runs
            .iter()
            .map(|run| Run { ended: self.facts.get(run.end), facts: &self.facts[run.clone()] })
    }
}

/// What facts that are in order say is held at `instant`; none where nothing is. The same as
/// [`Timeline::state_at`], where nothing else is asked of the facts.
#[must_use]
pub fn held_at(facts: &[Fact], instant: DateTime<Utc>) -> Option<Holding<'_>> {
    let known = facts.iter().take_while(|fact| fact.effective_at <= instant);
    known.fold(None, |held, fact| match fact.change {
        // Without effect where nothing is held.
        Change::Changed { .. } if held.is_none() => None,
        _ => fact.holding(),
    })
}

/// What facts that are in order say about `instant`: the fact that began the run that it lies in; none where nothing
/// is held. The same as [`Timeline::run_at`], where nothing else is asked of the facts.
#[must_use]
pub fn begun_by(facts: &[Fact], instant: DateTime<Utc>) -> Option<&Fact> {
    let known = facts.iter().take_while(|fact| fact.effective_at <= instant);
    known.fold(None, |began, fact| match fact.change {
        Change::Provisioned { .. } => began.or(Some(fact)),
        Change::Changed { .. } => began,
        Change::Deprovisioned => None,
    })
}

impl Fact {
    /// Its place among the slot's facts: by moment, then the later recorded later.
    pub(crate) fn order(&self) -> (DateTime<Utc>, u64) {
        if planted(Bug::EarlierRecordedWins) {
            return (self.effective_at, u64::MAX - self.position);
        }
        (self.effective_at, self.position)
    }

    /// What is held from this fact on; none where it ends the holding.
    #[must_use]
    pub fn holding(&self) -> Option<Holding<'_>> {
        match &self.change {
            Change::Provisioned { plan, quantity } | Change::Changed { plan, quantity } => {
                Some(Holding { plan, quantity: *quantity })
            }
            Change::Deprovisioned => None,
        }
    }
}

impl<'a> Run<'a> {
    /// The fact that began it.
    #[must_use]
    pub fn began(&self) -> &'a Fact {
        &self.facts[0]
    }

    /// The last fact that took effect before `instant`; none where the run had not begun.
    #[must_use]
    pub(super) fn last_before(&self, instant: DateTime<Utc>) -> Option<&'a Fact> {
        let is_late = planted(Bug::MidnightIsYesterday);
        let before =
            |fact: &Fact| fact.effective_at < instant || is_late && fact.effective_at == instant;
        let count = self.facts.partition_point(before);
        Some(&self.facts[count.checked_sub(1)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn fact(second: i64, position: u64, change: Change) -> Fact {
        Fact {
            date: None,
            actor: "Ann".to_owned(),
            change,
            effective_at: instant(second),
            position,
            reason: None,
            request: None,
            values: Values::new(),
        }
    }

    fn plan(key: &str) -> PlanKey {
        PlanKey::parse(key).unwrap()
    }

    fn provisioned(key: &str) -> Change {
        Change::Provisioned { plan: plan(key), quantity: 1 }
    }

    fn changed(key: &str, quantity: u32) -> Change {
        Change::Changed { plan: plan(key), quantity }
    }

    fn held(timeline: &Timeline, second: i64) -> Option<(String, u32)> {
        let holding = timeline.state_at(instant(second));
        assert_eq!(holding, held_at(timeline.facts(), instant(second)));
        let holding = holding?;
        Some((holding.plan.to_string(), holding.quantity))
    }

    #[test]
    fn what_was_said_of_a_date_begins_at_each_seller_s_own_midnight() {
        let date = |day| NaiveDate::from_ymd_opt(2019, 11, day);
        let moment = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let euro = crate::money::Currency::parse("EUR").unwrap();
        let by = |zone| BillingSettings::new(euro, super::super::CalendarRule::CalendarMonth, zone);
        let (at_utc, in_berlin) = (by(chrono_tz::UTC), by(chrono_tz::Europe::Berlin));
        let (midnight, night) = (moment("2019-11-11T00:00:00Z"), moment("2019-11-10T23:00:00Z"));
        let dated = Fact { date: date(11), effective_at: midnight, ..fact(0, 1, provisioned("a")) };
        let exact = Fact { effective_at: midnight, ..fact(0, 2, changed("a", 2)) };
        let rest = Rest {
            actor: "Ann".to_owned(),
            date: date(11),
            effective_at: midnight,
            position: 3,
            reason: None,
            request: None,
            suspended: true,
        };
        let timeline = Timeline::new([dated, exact]).resting([rest]);
        assert!(matches!(timeline.seen_by(&at_utc), Cow::Borrowed(seen) if *seen == timeline));
        let seen = timeline.seen_by(&in_berlin);
        let moments: Vec<_> = seen.facts().iter().map(|it| it.effective_at).collect();
        assert_eq!(moments, [night, midnight]);
        assert_eq!(seen.rests()[0].effective_at, night);
        // A rest alone is reason enough.
        let rests = timeline.rests().iter().cloned();
        let seen_rests = Timeline::new([]).resting(rests).seen_by(&in_berlin).into_owned();
        assert_eq!(seen_rests.rests()[0].effective_at, night);
        let turn = Turn {
            actor: "Ann".to_owned(),
            at: midnight,
            date: date(11),
            position: 4,
            reason: None,
        };
        assert_eq!(turn.seen_by(&in_berlin), Turn { at: night, ..turn.clone() });
        assert_eq!(Turn { date: None, ..turn.clone() }.seen_by(&in_berlin).at, midnight);
    }

    #[test]
    fn a_fact_holds_from_its_moment_on() {
        let timeline = Timeline::new([
            fact(30, 3, Change::Deprovisioned),
            fact(10, 1, provisioned("a")),
            fact(20, 2, changed("b", 3)),
        ]);
        assert_eq!(held(&timeline, 9), None);
        assert_eq!(held(&timeline, 10), Some(("a".to_owned(), 1)));
        assert_eq!(held(&timeline, 29), Some(("b".to_owned(), 3)));
        assert_eq!(held(&timeline, 30), None);
    }

    #[test]
    fn at_one_moment_the_later_recorded_wins() {
        let timeline = Timeline::new([
            fact(10, 1, provisioned("a")),
            fact(20, 3, changed("c", 1)),
            fact(20, 2, changed("b", 1)),
        ]);
        assert_eq!(held(&timeline, 20), Some(("c".to_owned(), 1)));
    }

    #[test]
    fn what_happens_to_nothing_has_no_effect() {
        let timeline = Timeline::new([
            fact(5, 4, changed("a", 1)),
            fact(6, 5, Change::Deprovisioned),
            fact(10, 1, provisioned("a")),
            fact(15, 6, provisioned("b")),
            fact(20, 2, Change::Deprovisioned),
            fact(25, 3, changed("c", 1)),
            fact(26, 7, Change::Deprovisioned),
        ]);
        assert_eq!(held(&timeline, 7), None);
        assert_eq!(held(&timeline, 15), Some(("b".to_owned(), 1)));
        assert_eq!(held(&timeline, 25), None);
        let runs: Vec<_> = timeline.runs().collect();
        assert_eq!(runs.len(), 1);
        assert_eq!(runs[0].began().position, 1);
        assert_eq!(runs[0].ended.map(|fact| fact.position), Some(2));
    }

    fn rest(second: i64, position: u64, suspended: bool) -> Rest {
        Rest {
            date: None,
            actor: "Cyd".to_owned(),
            effective_at: instant(second),
            position,
            reason: None,
            request: None,
            suspended,
        }
    }

    fn rests_at(timeline: &Timeline, second: i64) -> bool {
        let run = timeline.run_at(instant(second)).unwrap();
        timeline.rests_before(instant(second), &run)
    }

    #[test]
    fn what_is_held_rests_until_it_goes_on_and_never_from_before_it_began() {
        let facts = [
            fact(10, 1, provisioned("a")),
            fact(40, 4, Change::Deprovisioned),
            fact(50, 5, provisioned("a")),
        ];
        let rests = [rest(20, 2, true), rest(30, 3, false), rest(35, 6, true)];
        let timeline = Timeline::new(facts).resting(rests);
        assert_eq!(
            [20, 21, 30, 31, 39].map(|at| rests_at(&timeline, at)),
            [false, true, true, false, true]
        );
        assert!(!rests_at(&timeline, 60), "provisioned anew");
        // However the rest arrives.
        let again = Timeline::new(timeline.facts().iter().rev().cloned());
        assert_eq!(again.resting(timeline.rests().iter().rev().cloned()), timeline);
    }

    #[test]
    fn what_is_held_at_a_moment_goes_on_where_nothing_later_counts() {
        let facts = [
            fact(10, 1, provisioned("a")),
            fact(20, 2, changed("b", 3)),
            fact(30, 3, changed("a", 4)),
            fact(40, 4, Change::Deprovisioned),
        ];
        let timeline = Timeline::new(facts).resting([rest(15, 5, true), rest(25, 6, false)]);
        let held_then = |moment| held(&timeline.clone().until(instant(moment)), 99);
        assert_eq!(held_then(9), None);
        assert_eq!(held_then(10), Some(("a".to_owned(), 1)));
        assert_eq!(
            held_then(20),
            Some(("b".to_owned(), 3)),
            "what is true at that very moment counts"
        );
        assert_eq!(held_then(39), Some(("a".to_owned(), 4)));
        assert_eq!(held_then(40), None);
        assert_eq!(timeline.clone().until(instant(40)), timeline);
        let rests = |moment, at| timeline.clone().until(instant(moment)).rests_at(instant(at));
        assert_eq!([rests(14, 30), rests(15, 30), rests(25, 30)], [false, true, false]);
        assert_eq!(
            [14, 15, 24, 25, 40].map(|at| timeline.rests_at(instant(at))),
            [false, true, true, false, false]
        );
    }

    #[test]
    fn what_rests_does_so_with_another_seller_too_and_each_has_the_readings_of_his_time() {
        let turn = |second, position| Turn {
            date: None,
            actor: "Max".to_owned(),
            at: instant(second),
            position,
            reason: None,
        };
        let reading = |second, position| Reading {
            actor: "Dan".to_owned(),
            effective_at: instant(second),
            meter: MeterKey::parse("calls").unwrap(),
            position,
            quantity: Decimal::ONE,
            reason: None,
            unique: None,
        };
        let timeline = Timeline::new([fact(10, 1, provisioned("a"))])
            .resting([rest(20, 2, true), rest(50, 3, false)])
            .metered([reading(40, 6), reading(15, 5), reading(30, 7)]);
        let (first, second) = (turn(30, 8), turn(60, 9));
        let before = timeline.between(None, Some(&first));
        let after = timeline.between(Some(&first), Some(&second));
        assert_eq!([25, 29].map(|at| rests_at(&before, at)), [true, true]);
        assert_eq!([31, 50, 51].map(|at| rests_at(&after, at)), [true, true, false]);
        let read = |timeline: &Timeline| {
            timeline.readings().iter().map(|it| it.position).collect::<Vec<_>>()
        };
        assert_eq!((read(&before), read(&after)), (vec![5], vec![7, 6]));
        // Who took it over sets nothing up.
        assert!(after.took_over(after.runs().next().unwrap().began()));
        assert!(!before.took_over(before.runs().next().unwrap().began()));
    }

    #[test]
    fn what_one_seller_bills_begins_and_ends_with_him() {
        let turn = |second, position| Turn {
            date: None,
            actor: "Max".to_owned(),
            at: instant(second),
            position,
            reason: Some("Sold".to_owned()),
        };
        let timeline = Timeline::new([
            fact(10, 1, provisioned("a")),
            fact(30, 2, changed("b", 2)),
            fact(50, 3, Change::Deprovisioned),
        ]);
        let (first, second) = (turn(20, 7), turn(40, 9));
        let before = timeline.between(None, Some(&first));
        assert_eq!((held(&before, 19), held(&before, 20)), (Some(("a".to_owned(), 1)), None));
        let ended = before.runs().next().unwrap().ended.unwrap();
        assert_eq!((ended.actor.as_str(), ended.position), ("Max", 7));
        let middle = timeline.between(Some(&first), Some(&second));
        assert_eq!(held(&middle, 19), None);
        assert_eq!(held(&middle, 20), Some(("a".to_owned(), 1)));
        assert_eq!(held(&middle, 39), Some(("b".to_owned(), 2)));
        assert_eq!(held(&middle, 40), None);
        assert_eq!(middle.runs().next().unwrap().began().reason.as_deref(), Some("Sold"));
        let after = timeline.between(Some(&second), None);
        assert_eq!((held(&after, 40), held(&after, 50)), (Some(("b".to_owned(), 2)), None));
        // What was not held at the turn neither ends nor begins there; what begins there does so once.
        let late = Timeline::new([fact(20, 1, provisioned("a"))]);
        assert!(late.between(None, Some(&first)).facts().is_empty());
        assert_eq!(late.between(Some(&first), None), late);
        let swapped = Timeline::new([fact(10, 1, provisioned("a")), fact(20, 2, changed("b", 1))]);
        let after = swapped.between(Some(&first), None);
        assert_eq!(held(&after, 20), Some(("b".to_owned(), 1)));
    }

    #[test]
    fn a_fact_is_stored_with_its_keys_in_order() {
        let fact = fact(10, 1, changed("a", 2));
        let stored = serde_json::to_string(&fact).unwrap();
        assert_eq!(
            stored,
            r#"{"actor":"Ann","change":{"kind":"changed","plan":"a","quantity":2},"effectiveAt":"1970-01-01T00:00:10Z","position":1}"#
        );
        assert_eq!(serde_json::from_str::<Fact>(&stored).unwrap(), fact);
    }
}
