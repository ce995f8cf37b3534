//! A model that rates day by day, as naively as it can be said.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, Months, NaiveDate, Utc};
use domain::PlanKey;
use domain::billing::component::{Charge, Interval, Rate, Timing};
use domain::billing::{
    BillingSettings, Change, ComponentKey, DayPolicy, Fact, Period, Prices, Reading, Rest,
    Suspended,
};
use domain::money::Currency;

mod sellers;

pub(crate) use sellers::{Asked, Lack};

/// What is held, since when, and for which value of the property that drives a price.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    began: (DateTime<Utc>, u64),
    /// How many are held.
    pub(crate) count: u32,
    pub(crate) plan: PlanKey,
    size: Option<u32>,
    /// How many are charged.
    units: u32,
}

impl Held {
    fn of(fact: &Fact, began: (DateTime<Utc>, u64)) -> Option<Self> {
        let (Change::Provisioned { plan, quantity } | Change::Changed { plan, quantity }) =
            &fact.change
        else {
            return None;
        };
        let size = fact.values.values().next();
        let size = size.map(|text| text.split_once(' ').unwrap().0.parse().unwrap());
        Some(Self { began, count: *quantity, plan: plan.clone(), size, units: *quantity })
    }
}

/// What is known, and how it is billed.
pub(crate) struct Model<'a> {
    pub(crate) readings: &'a [Reading],
    pub(crate) rests: &'a [Rest],
    pub(crate) facts: &'a [Fact],
    pub(crate) prices: &'a Prices,
    pub(crate) settings: &'a BillingSettings,
}

/// An exact fraction, as a child would keep it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fraction(pub(crate) i128, pub(crate) i128);

impl Fraction {
    fn reduced(self) -> Self {
        let (mut a, mut b) = (self.0.abs(), self.1);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Self(self.0 / a.max(1), self.1 / a.max(1))
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        // By the least denominator that both have.
        let Self(_, common) = Self(self.1, other.1).reduced();
        let both = self.1 * common;
        Self(self.0 * common + other.0 * (both / other.1), both).reduced()
    }

    fn by(self, other: Self) -> Self {
        // Across first, so that numbers stay small.
        let (Self(a, d), Self(b, c)) = (Self(self.0, other.1), Self(other.0, self.1));
        let ((a, d), (b, c)) = (Self(a, d).reduced().pair(), Self(b, c).reduced().pair());
        Self(a * b, c * d)
    }

    fn pair(self) -> (i128, i128) {
        (self.0, self.1)
    }

    pub(crate) fn times(self, numerator: i128, denominator: i128) -> Self {
        Self(self.0 * numerator, self.1 * denominator).reduced()
    }

    /// Half away from zero.
    pub(crate) fn rounded(self) -> i128 {
        let magnitude = (2 * self.0.abs() + self.1) / (2 * self.1);
        magnitude * self.0.signum()
    }
}

/// What is billed on one date, day by day: what is held when the date ends; if nothing is, the last
/// of those that came and went within it.
pub(crate) fn billed_on(facts: &[Fact], begin: DateTime<Utc>, end: DateTime<Utc>) -> Option<Held> {
    let mut facts: Vec<_> = facts.iter().filter(|fact| fact.effective_at < end).collect();
    facts.sort_by_key(|fact| (fact.effective_at, fact.position));
    let mut held: Option<Held> = None;
    let mut began_today = false;
    let mut came_and_went = None;
    for fact in facts {
        match &fact.change {
            Change::Provisioned { .. } => {
                if held.is_none() {
                    began_today = fact.effective_at >= begin;
                }
                let began = held.map_or((fact.effective_at, fact.position), |it| it.began);
                held = Held::of(fact, began);
            }
            Change::Changed { .. } => {
                held = held.and_then(|it| Held::of(fact, it.began));
            }
            Change::Deprovisioned => {
                if began_today && held.is_some() {
                    came_and_went = held.clone();
                }
                held = None;
                began_today = false;
            }
        }
    }
    held.or(came_and_went)
}

/// Asks for prices, in the currency of who bills.
#[derive(Clone, Copy)]
struct Asker<'a> {
    currency: Currency,
    prices: &'a Prices,
    /// The last date of the billing period whose exchange rates count.
    rates_on: NaiveDate,
}

impl Asker<'_> {
    /// What so many units of a component cost together on the date that ends at `end`, where it is charged as `is_meant`.
    fn cost(
        &self,
        key: &ComponentKey,
        held: &Held,
        end: DateTime<Utc>,
        is_meant: impl Fn(&Charge) -> bool,
    ) -> Option<Fraction> {
        let Self { currency, prices, rates_on } = *self;
        let (plan, mut units) = (&held.plan, held.units);
        let mut each = 1;
        let defined = if *key == ComponentKey::RECURRING {
            let rows = prices.rows.iter().filter(|row| row.plan == *plan);
            let begun = rows.filter(|row| row.from.is_none_or(|from| from < end));
            let row = begun.max_by_key(|row| (row.from, row.position)).unwrap();
            Fraction(row.minor.into(), 1).times(units.into(), 1)
        } else {
            let rows = prices.components.iter().filter(|row| {
                row.component == *key && row.plan == *plan && row.from.is_none_or(|from| from < end)
            });
            let charge = rows.max_by_key(|row| (row.from, row.position))?.charge.as_ref()?;
            if !is_meant(charge) {
                return None;
            }
            if let Charge::Property { included, .. } = charge {
                // The plan has three where nobody says.
                let included: u32 = included.to_string().parse().unwrap();
                (each, units) = (units, held.size.unwrap_or(3).saturating_sub(included));
                if units == 0 {
                    return None;
                }
            }
            if let Charge::Usage { included, .. } = charge {
                let included: u32 = included.to_string().parse().unwrap();
                units = units.saturating_sub(included);
            }
            if charge.is_minimum() {
                units = 1;
            }
            rated(charge, units).times(each.into(), 1)
        };
        let (count, defined, units) = (held.count, Some(defined), units * each);
        let asked = Asked { count, defined, end, key, plan, prices, rates_on, units };
        Some(asked.costs(currency).unwrap())
    }
}

/// What units cost, one by one.
fn rated(charge: &Charge, units: u32) -> Fraction {
    let rate = match charge {
        Charge::OneOff { price } | Charge::Minimum { price } => {
            return Fraction(price.minor.into(), 1);
        }
        Charge::Recurring { rate, .. }
        | Charge::Property { rate, .. }
        | Charge::Usage { rate, .. } => rate,
    };
    let tier_of = |tiers: &[domain::billing::component::Tier], unit: u32| -> i128 {
        let mut begun = tiers.iter().filter(|tier| tier.above < unit.into());
        begun.next_back().map_or(0, |tier| i128::from(tier.price.minor))
    };
    let sum = match rate {
        Rate::Unit(price) => i128::from(price.minor) * i128::from(units),
        Rate::Volume(tiers) => tier_of(tiers, units) * i128::from(units),
        Rate::Graduated(tiers) => (1..=units).map(|unit| tier_of(tiers, unit)).sum(),
        Rate::Package { price, size } => {
            let mut packages = 0;
            while *size * rust_decimal::Decimal::from(packages) < units.into() {
                packages += 1;
            }
            i128::from(price.minor) * i128::from(packages)
        }
    };
    Fraction(sum, 1)
}

/// What a period costs, date by date: each date that is billed costs its part of the price.
fn by_days(
    model: &Model<'_>,
    dates: &[(Option<Held>, DateTime<Utc>)],
    key: &ComponentKey,
    period: &Period,
    is_meant: impl Fn(&Charge) -> bool,
) -> Fraction {
    let Model { facts, prices, .. } = model;
    let asker = model.asker(period);
    let policy_of = |plan: &PlanKey| {
        let row = prices.policies.iter().find(|row| row.plan == *plan);
        row.map_or(DayPolicy::Daily, |row| row.policy)
    };
    let costs = |held: &Held, end: DateTime<Utc>| {
        asker.cost(key, held, end, &is_meant).filter(|_| !model.rests(held, end))
    };
    let is_full = |(billed, end): &(Option<Held>, DateTime<Utc>)| {
        billed.as_ref().is_some_and(|held| {
            policy_of(&held.plan) == DayPolicy::Full && costs(held, *end).is_some()
        })
    };
    let last_full = dates.iter().rposition(is_full);
    let days = dates.len();
    let full_days = i128::from(period.full_days());
    let mut total = Fraction(0, 1);
    for (index, (billed, end)) in dates.iter().enumerate() {
        let Some(held) = billed else { continue };
        let by_days = (1, full_days);
        let all = |all: bool| (i128::from(all), 1);
        let (part, of) = match policy_of(&held.plan) {
            DayPolicy::None => continue,
            _ if period.nominal_days.is_some() => by_days,
            DayPolicy::Daily => by_days,
            DayPolicy::Fixed30 if index + 1 == days && days < 30 => (31 - days as i128, 30),
            DayPolicy::Fixed30 => (i128::from(index < 30), 30),
            DayPolicy::Full => all(last_full == Some(index)),
            DayPolicy::NextPeriod => {
                let first = (0..=index).rev().take_while(|it| dates[*it].0.is_some()).last();
                if first == Some(0) { by_days } else { (0, 1) }
            }
            DayPolicy::Snapshot => all(index + 1 == days && is_held_before(facts, *end)),
        };
        let Some(price) = costs(held, *end) else { continue };
        total = total.plus(price.times(part, of));
    }
    total
}

/// Whether anything is held right before a moment.
fn is_held_before(facts: &[Fact], moment: DateTime<Utc>) -> bool {
    let mut facts: Vec<_> = facts.iter().filter(|fact| fact.effective_at < moment).collect();
    facts.sort_by_key(|fact| (fact.effective_at, fact.position));
    facts.iter().fold(false, |held, fact| match fact.change {
        Change::Provisioned { .. } => true,
        Change::Changed { .. } => held,
        Change::Deprovisioned => false,
    })
}

/// An unbroken time of holding something.
struct Stretch<'a> {
    /// What was held, from each fact on.
    facts: Vec<&'a Fact>,
    ended: Option<&'a Fact>,
}

impl Model<'_> {
    fn asker(&self, rates_of: &Period) -> Asker<'_> {
        let Self { prices, settings, .. } = self;
        Asker { currency: settings.currency, prices, rates_on: rates_of.end }
    }

    /// What is booked in a period, by component.
    pub(crate) fn booked(&self, period: &Period) -> BTreeMap<ComponentKey, i128> {
        let dates = self.dates(period);
        let is_by_days = |charge: &Charge| match charge {
            Charge::Property { .. } => true,
            Charge::Recurring { interval, timing, .. } => {
                (*interval, *timing) == (Interval::Month, Timing::Arrears)
            }
            Charge::Minimum { .. } | Charge::OneOff { .. } | Charge::Usage { .. } => false,
        };
        let own = |key: &ComponentKey| by_days(self, &dates, key, period, is_by_days).rounded();
        let recurring = own(&ComponentKey::RECURRING);
        let mut booked = BTreeMap::from([(ComponentKey::RECURRING, recurring)]);
        let keys: BTreeSet<_> = self.prices.components.iter().map(|row| &row.component).collect();
        for key in &keys {
            let of_period = own(key) + self.once(key, period) + self.used(key, period);
            booked.insert((*key).clone(), of_period);
        }
        // What the charges of the period lack, those of the keys before included; what goes by terms is not of the period.
        let mut charged: i128 = booked.values().sum();
        for key in keys {
            let least = by_days(self, &dates, key, period, Charge::is_minimum).rounded();
            let lacks = (least - charged).max(0);
            charged += lacks;
            *booked.entry(key.clone()).or_default() += lacks + self.by_terms(key, period);
        }
        booked
    }

    /// What is billed on each date of a period, with the moment at which the date ends.
    fn dates(&self, period: &Period) -> Vec<(Option<Held>, DateTime<Utc>)> {
        let dates = period.start.iter_days().take_while(|date| *date <= period.end);
        let billed = |date: NaiveDate| {
            let (begin, end) = (self.settings.midnight(date), self.midnight_after(date));
            (billed_on(self.facts, begin, end), end)
        };
        dates.map(billed).collect()
    }

    /// What was used, where the plan held at the last reading charges for it.
    fn used(&self, key: &ComponentKey, period: &Period) -> i128 {
        let inside = |at: DateTime<Utc>| period.contains(self.settings.local_date(at));
        let mut readings: Vec<_> =
            self.readings.iter().filter(|it| inside(it.effective_at)).collect();
        readings.sort_by_key(|it| (it.effective_at, it.position));
        let Some(last) = readings.last() else { return 0 };
        let until = last.effective_at + chrono::TimeDelta::microseconds(1);
        let stretches = self.stretches(until);
        let Some(stretch) = stretches.last() else { return 0 };
        let begin = self.settings.midnight(period.start);
        if stretch.ended.is_some_and(|ended| ended.effective_at < begin) {
            return 0;
        }
        let first = stretch.facts[0];
        let fact = stretch.facts.last().unwrap();
        let held = Held::of(fact, (first.effective_at, first.position)).unwrap();
        let amounts = readings.iter().map(|it| it.quantity.to_string().parse::<u32>().unwrap());
        let end = self.midnight_after(self.settings.local_date(last.effective_at));
        let is_meant = |charge: &Charge| matches!(charge, Charge::Usage { .. });
        let held = Held { units: amounts.sum(), ..held };
        self.asker(period).cost(key, &held, end, is_meant).map_or(0, Fraction::rounded)
    }

    fn stretches(&self, until: DateTime<Utc>) -> Vec<Stretch<'_>> {
        let mut facts: Vec<_> = self.facts.iter().filter(|it| it.effective_at < until).collect();
        facts.sort_by_key(|fact| (fact.effective_at, fact.position));
        let mut stretches: Vec<Stretch<'_>> = Vec::new();
        for fact in facts {
            let open = stretches.last_mut().filter(|it| it.ended.is_none());
            match (&fact.change, open) {
                (Change::Provisioned { .. }, None) => {
                    stretches.push(Stretch { facts: vec![fact], ended: None });
                }
                (Change::Deprovisioned, Some(open)) => open.ended = Some(fact),
                (Change::Provisioned { .. } | Change::Changed { .. }, Some(open)) => {
                    open.facts.push(fact);
                }
                (Change::Changed { .. } | Change::Deprovisioned, None) => {}
            }
        }
        stretches
    }

    fn midnight_after(&self, date: NaiveDate) -> DateTime<Utc> {
        self.settings.midnight(date + Days::new(1))
    }

    fn held_on(&self, stretch: &Stretch<'_>, date: NaiveDate) -> Option<Held> {
        let end = self.midnight_after(date);
        let last = stretch.facts.iter().rfind(|fact| fact.effective_at < end)?;
        let first = stretch.facts[0];
        Held::of(last, (first.effective_at, first.position))
    }

    /// Whether what is held rests when the date ends, and that costs nothing.
    fn rests(&self, held: &Held, end: DateTime<Utc>) -> bool {
        let until = self.rests.iter().filter(|it| it.effective_at < end);
        let last = until.max_by_key(|it| (it.effective_at, it.position));
        let row = self.prices.policies.iter().find(|row| row.plan == held.plan);
        last.is_some_and(|it| it.suspended && (it.effective_at, it.position) > held.began)
            && row.is_some_and(|row| row.suspended == Suspended::Free)
    }

    fn once(&self, key: &ComponentKey, period: &Period) -> i128 {
        let stretches = self.stretches(self.midnight_after(period.end));
        let mut total = Fraction(0, 1);
        for (index, stretch) in stretches.iter().enumerate() {
            let date = self.settings.local_date(stretch.facts[0].effective_at);
            let goes_on = stretches[..index].iter().any(|other| {
                other.ended.is_some_and(|it| self.settings.local_date(it.effective_at) == date)
            });
            if goes_on || !period.contains(date) {
                continue;
            }
            let Some(held) = self.held_on(stretch, date) else { continue };
            let held = Held { units: 1, ..held };
            let is_meant = |charge: &Charge| matches!(charge, Charge::OneOff { .. });
            let end = self.midnight_after(date);
            let price = self.asker(period).cost(key, &held, end, is_meant);
            total = total.plus(price.unwrap_or(Fraction(0, 1)));
        }
        total.rounded()
    }

    fn by_terms(&self, key: &ComponentKey, period: &Period) -> i128 {
        let stretches = self.stretches(self.midnight_after(period.end));
        let before = self.settings.previous(*period);
        let mut total = 0;
        for (index, stretch) in stretches.iter().enumerate() {
            let first = self.settings.local_date(stretch.facts[0].effective_at);
            let ended = stretch.ended.map(|it| self.settings.local_date(it.effective_at));
            let goes_on = stretches[index + 1..]
                .iter()
                .any(|other| self.settings.local_date(other.facts[0].effective_at) == first);
            let after =
                ended.map(|it| if it == first && !goes_on { it + Days::new(1) } else { it });
            if after == Some(first) {
                continue;
            }
            for (interval, timing) in [
                (Interval::Month, Timing::Advance),
                (Interval::Year, Timing::Advance),
                (Interval::Year, Timing::Arrears),
            ] {
                let mut rows = self.prices.components.iter().filter(|row| row.component == *key);
                let way = Some((interval, timing));
                if !rows.any(|row| row.charge.as_ref().and_then(Charge::term) == way) {
                    continue;
                }
                let months = if interval == Interval::Month { 1 } else { 12 };
                for nth in 0.. {
                    let dates =
                        first + Months::new(nth * months)..first + Months::new((nth + 1) * months);
                    if dates.start > period.end || after.is_some_and(|after| dates.start >= after) {
                        break;
                    }
                    // A term has one rate of exchange: that of the period that it is booked in.
                    let rates_of = match timing {
                        Timing::Advance => self.settings.period_containing(dates.start),
                        Timing::Arrears => *period,
                    };
                    let asker = self.asker(&rates_of);
                    let value = |known: &Period| {
                        // What ended later was not known to end.
                        let after = after.filter(|_| ended.is_some_and(|it| it <= known.end));
                        let of = (key, (interval, timing));
                        self.value(asker, of, stretch, &dates, after, known.end)
                    };
                    let cut = after.filter(|after| *after < dates.end);
                    let over_on = cut.and(ended).unwrap_or(dates.end - Days::new(1));
                    total += match timing {
                        Timing::Advance if dates.start > before.end => value(period).rounded(),
                        Timing::Advance => value(period).rounded() - value(&before).rounded(),
                        Timing::Arrears if period.contains(over_on) => value(period).rounded(),
                        Timing::Arrears => 0,
                    };
                }
            }
        }
        total
    }

    /// What a term costs, date by date, if nothing happens after `known`.
    fn value(
        &self,
        asker: Asker<'_>,
        (key, way): (&ComponentKey, (Interval, Timing)),
        stretch: &Stretch<'_>,
        dates: &std::ops::Range<NaiveDate>,
        after: Option<NaiveDate>,
        known: NaiveDate,
    ) -> Fraction {
        let of = dates.end.signed_duration_since(dates.start).num_days();
        let mut total = Fraction(0, 1);
        let mut known_cost = None;
        let all = dates.start.iter_days().take_while(|it| *it < dates.end);
        for date in all.take_while(|it| after.is_none_or(|after| *it < after)) {
            let cost = match (date > known, known_cost) {
                (true, Some(cost)) => cost,
                _ => {
                    let date = date.min(known);
                    let held = self.held_on(stretch, date);
                    let end = self.midnight_after(date);
                    held.filter(|held| !self.rests(held, end))
                        .and_then(|held| asker.cost(key, &held, end, |it| it.term() == Some(way)))
                }
            };
            if date > known {
                known_cost = Some(cost);
            }
            if let Some(cost) = cost {
                total = total.plus(cost.times(1, of.into()));
            }
        }
        total
    }
}
