//! A seller's ledger of one slot, in memory: what was recorded, and what is closed.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use domain::billing::rule::{Rule, Ruled, waive};
use domain::billing::seal::{self, Seal, Sealing};
use domain::billing::{
    BillingSettings, BookRow, Change, Entry, Fact, Period, PriceRow, Prices, RateRow, Timeline,
    Values, correct, rate,
};

use crate::drawn::subject;

/// One thing that is recorded; its position is its place in the history, from 1.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Fact(DateTime<Utc>, Change),
    /// The facts that are true at this moment are taken back.
    Withdraw(DateTime<Utc>),
    /// What was said to be true at the one moment was true at the other.
    Supersede(DateTime<Utc>, DateTime<Utc>),
    Price(PriceRow),
    /// A row of the price book of one of the sellers on the way.
    Book(usize, BookRow),
    Rate(RateRow),
    /// The next period is closed.
    Close,
    /// The periods that end from the one date to the other are rated again.
    Rerate(NaiveDate, NaiveDate),
}

/// A closed period, as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Closed {
    pub(crate) period: Period,
    pub(crate) cutoff: u64,
    /// The position up to which its prices count.
    pub(crate) prices: u64,
    pub(crate) lines: Vec<u8>,
    pub(crate) seal: Seal,
}

/// A seller's ledger of one slot.
pub(crate) struct Ledger {
    pub(crate) settings: BillingSettings,
    /// What says prices from the beginning.
    given: Prices,
    steps: Vec<Step>,
    first: Period,
    pub(crate) closed: Vec<Closed>,
    /// A rule that says what is not charged.
    pub(crate) rule: Option<Rule>,
}

/// Prices that are recorded come after those from the beginning.
const LATER: u64 = 100_000;

impl Ledger {
    pub(crate) fn new(settings: BillingSettings, given: Prices, first: Period) -> Self {
        Self { settings, given, steps: Vec::new(), first, closed: Vec::new(), rule: None }
    }

    pub(crate) fn head(&self) -> u64 {
        self.steps.len() as u64
    }

    pub(crate) fn record(&mut self, step: Step) {
        match &step {
            Step::Close => self.close(),
            Step::Rerate(from, to) => {
                let known = self.head() + 1;
                let within = |closed: &&mut Closed| (*from..=*to).contains(&closed.period.end);
                self.closed.iter_mut().filter(within).for_each(|closed| closed.prices = known);
            }
            Step::Fact(..)
            | Step::Withdraw(_)
            | Step::Supersede(..)
            | Step::Price(_)
            | Step::Book(..)
            | Step::Rate(_) => {}
        }
        self.steps.push(step);
    }

    pub(crate) fn facts(&self, known: u64) -> Vec<Fact> {
        let mut facts: Vec<Fact> = Vec::new();
        let fact = |position, effective_at, change| Fact {
            date: None,
            actor: "Ann".to_owned(),
            change,
            effective_at,
            position,
            reason: None,
            request: None,
            values: Values::new(),
        };
        for (position, step) in (1..=known).zip(&self.steps) {
            match step {
                Step::Fact(effective_at, change) => {
                    facts.push(fact(position, *effective_at, change.clone()));
                }
                Step::Withdraw(moment) => facts.retain(|fact| fact.effective_at != *moment),
                Step::Supersede(was, is) => {
                    if let Some(place) = facts.iter().rposition(|it| it.effective_at == *was) {
                        let replaced = facts.remove(place);
                        facts.push(fact(position, *is, replaced.change));
                    }
                }
                Step::Price(_) | Step::Book(..) | Step::Rate(_) => {}
                Step::Close | Step::Rerate(..) => {}
            }
        }
        facts
    }

    pub(crate) fn prices(&self, known: u64) -> Prices {
        let mut prices = self.given.clone();
        for (position, step) in (LATER + 1..=LATER + known).zip(&self.steps) {
            match step.clone() {
                Step::Price(row) => prices.rows.push(PriceRow { position, ..row }),
                Step::Rate(row) => prices.rates.push(RateRow { position, ..row }),
                Step::Book(place, row) => {
                    prices.chain[place].rows.push(BookRow { position, ..row });
                }
                _ => {}
            }
        }
        prices
    }

    pub(crate) fn rated(&self, period: &Period, known: u64, prices: u64) -> Vec<Entry> {
        let timeline = Timeline::new(self.facts(known));
        let rated = rate(&subject(), &timeline, &self.prices(prices), &self.settings, period);
        let mut entries = rated.unwrap();
        if let Some(rule) = self.rule.iter().find(|rule| rule.is_valid_on(period.end)) {
            let end = self.settings.instants(period).1 - TimeDelta::microseconds(1);
            let held = timeline.state_at(end).map(|held| held.plan.as_str());
            waive(&mut entries, &[Ruled { position: 0, rule }], &|_| Some(held?.into()));
        }
        entries
    }

    pub(crate) fn open(&self) -> Period {
        self.closed.last().map_or(self.first, |last| self.settings.next(last.period))
    }

    /// What closed periods have, as it was kept.
    pub(crate) fn booked(&self) -> Vec<Entry> {
        let lines = self.closed.iter().filter(|closed| !closed.lines.is_empty());
        lines.flat_map(|closed| seal::entries(&closed.lines).unwrap()).collect()
    }

    /// What the open period has: its own charges, and corrections of closed ones.
    pub(crate) fn computed(&self, known: u64) -> Vec<Entry> {
        let (open, booked) = (self.open(), self.booked());
        let mut entries = Vec::new();
        for closed in &self.closed {
            let of_period = |entry: &&Entry| entry.period_end == closed.period.end;
            let booked: Vec<_> = booked.iter().filter(of_period).cloned().collect();
            let now = self.rated(&closed.period, known, closed.prices);
            entries.extend(correct(&booked, &now, &open));
        }
        entries.extend(self.rated(&open, known, known));
        entries
    }

    fn close(&mut self) {
        let (cutoff, period) = (self.head(), self.open());
        let mut entries = self.computed(cutoff);
        let mut sealing = Sealing::default();
        let mut lines = Vec::new();
        if !entries.is_empty() {
            lines = seal::lines(&mut entries);
            sealing.add(subject().customer, &lines).unwrap();
        }
        let seal = sealing.seal();
        self.closed.push(Closed { period, cutoff, prices: cutoff, lines, seal });
    }
}
