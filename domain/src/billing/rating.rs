//! Rating: one slot, one period, one edge; the entries that follow from the facts (billing.md,
//! sections 4 to 6).

use std::fmt::Write as _;
use std::ops::Range;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::calendar::{days_between, following};
use super::price::PriceSource;
use super::{
    BillingSettings, Fact, Holding, Overridden, Override, Period, Priced, Prices, Quarantine,
    QuarantineReason, Run, Setting, Timeline,
};

use crate::money::{Money, Ratio, UnitPrice};
use crate::{Bug, PlanKey, planted};
use crate::{OrganizationId, PropertyKey, ServiceKey, SubscriptionId};

/// Whose charges are rated, and between whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Who buys.
    pub customer: OrganizationId,
    /// Who sells, by its own prices, calendar, zone and currency.
    pub seller: OrganizationId,
    /// What is sold.
    pub service: ServiceKey,
    /// The slot.
    pub subscription: SubscriptionId,
}

/// One line of the ledger (billing.md, section 5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// What happened to the run that the line is of.
    pub action: Action,
    /// Who caused the line as it is, as people read it.
    pub actor: String,
    /// Who provisioned what the line is of.
    pub added_by: String,
    /// What is charged.
    pub amount: Money,
    /// The positions of the events that the line follows from, in order.
    pub causes: Vec<u64>,
    /// Whether it is the charge itself.
    pub class: Class,
    /// What the line adds to its plan's count at the period's end.
    pub count_after: u32,
    /// What the line adds to its plan's count at the previous period's end.
    pub count_before: u32,
    /// Who buys.
    pub customer: OrganizationId,
    /// How many days are charged.
    pub days: u32,
    /// When what caused the line became true.
    pub effective_at: DateTime<Utc>,
    /// SHA-256, in hex, over what the line is and what it was computed from: the same facts give
    /// the same id.
    pub entry_id: String,
    /// What is charged before rounding, in minor units.
    pub exact: Ratio,
    /// What sort of charge it is.
    pub kind: Kind,
    /// How many days a full period has.
    pub period_days: u32,
    /// The service period's name: its last date.
    pub period_end: NaiveDate,
    /// The plan held.
    pub plan: PlanKey,
    /// What said another price and lost.
    pub price_losers: Vec<PriceSource>,
    /// What said the price; after a percentage, what it was taken of. Empty for a line without a
    /// price.
    pub price_sources: Vec<PriceSource>,
    /// On a line that shows the override of a property without a price: what was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub property_change: Option<PropertyChange>,
    /// How many are held.
    pub quantity: u32,
    /// Why, where who caused the line said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who deprovisioned it, where that was in this period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed_by: Option<String>,
    /// Who sells.
    pub seller: OrganizationId,
    /// What is sold.
    pub service: ServiceKey,
    /// The first date charged, in the seller's zone.
    pub service_from: NaiveDate,
    /// The first date not charged any more.
    pub service_to: NaiveDate,
    /// The slot.
    pub subscription: SubscriptionId,
    /// Per unit and full period.
    pub unit_price: UnitPrice,
}

/// What happened in the period; the first that fits (billing.md, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// It was deprovisioned.
    Removed,
    /// It was provisioned.
    Added,
    /// Its plan, quantity or price is not what it was the day before.
    Changed,
    /// Nothing.
    Carried,
}

/// What sort of charge an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// For holding the plan, monthly, in arrears.
    Recurring,
}

/// Whether an entry is the charge itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Class {
    /// It is.
    Normal,
}

/// What a property was overridden with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PropertyChange {
    /// Which property.
    pub property: PropertyKey,
    /// Its value; none: the override was cleared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// The entries of one slot for one service period, in order of their first date. Pure: the same
/// facts and prices always give the same entries, and only facts that are true before the period's
/// end count.
///
/// Rules: days 1 to 4 and 8, rounding (billing.md, section 4); actions and counts (section 6).
///
/// # Errors
/// [`Quarantine`] where a date that is held has no price, or an amount is beyond what the ledger
/// holds. Nothing of the slot is charged then.
pub fn rate(
    subject: &Subject,
    timeline: &Timeline,
    prices: &Prices,
    settings: &BillingSettings,
    period: &Period,
) -> Result<Vec<Entry>, Quarantine> {
    let (begin, end) = settings.instants(period);
    let rating = Rating { begin, end, period, prices, settings, subject };
    let mut lines = Vec::new();
    let mut runs = timeline.runs().peekable();
    while let Some(run) = runs.next() {
        if let Some(stay) = rating.stay(run, runs.peek()) {
            rating.add_lines(&stay, &mut lines)?;
        }
    }
    lines.sort_by_key(|line| line.dates.start);
    rating.entries(lines)
}

/// What every step of rating looks at.
struct Rating<'a> {
    /// The period's first instant.
    begin: DateTime<Utc>,
    /// The first instant after the period.
    end: DateTime<Utc>,
    period: &'a Period,
    prices: &'a Prices,
    settings: &'a BillingSettings,
    subject: &'a Subject,
}

/// What the period sees of a run.
struct Stay<'a> {
    /// What said what was held when the previous period ended; none: the run began in this one.
    before: Option<&'a Fact>,
    /// The dates that are charged.
    dates: Range<NaiveDate>,
    /// What ended the run in this period.
    removal: Option<&'a Fact>,
    run: Run<'a>,
}

/// Dates on which the same was held for the same price.
struct Segment<'a> {
    dates: Range<NaiveDate>,
    /// What said what was held.
    fact: &'a Fact,
    held: Holding<'a>,
    priced: Priced,
}

/// An entry before its amount.
struct Line<'a> {
    action: Action,
    added_by: &'a Fact,
    cause: Cause<'a>,
    count_after: u32,
    count_before: u32,
    dates: Range<NaiveDate>,
    fact: &'a Fact,
    held: Holding<'a>,
    priced: Option<Priced>,
    property_change: Option<PropertyChange>,
    removal: Option<&'a Fact>,
}

/// Who did what caused a line, when and why.
#[derive(Clone, Copy)]
struct Cause<'a> {
    actor: &'a str,
    effective_at: DateTime<Utc>,
    position: u64,
    reason: Option<&'a str>,
}

impl<'a> From<&'a Fact> for Cause<'a> {
    fn from(fact: &'a Fact) -> Self {
        Self {
            actor: &fact.actor,
            effective_at: fact.effective_at,
            position: fact.position,
            reason: fact.reason.as_deref(),
        }
    }
}

impl<'a> From<&'a Override> for Cause<'a> {
    fn from(it: &'a Override) -> Self {
        Self {
            actor: &it.actor,
            effective_at: it.from,
            position: it.position,
            reason: it.reason.as_deref(),
        }
    }
}

impl<'a> Rating<'a> {
    /// What the period sees of `run`; none where it lies outside.
    fn stay(&self, run: Run<'a>, next: Option<&Run<'a>>) -> Option<Stay<'a>> {
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
        Some(Stay { before, dates: first..after, removal, run })
    }

    fn add_lines(&self, stay: &Stay<'a>, lines: &mut Vec<Line<'a>>) -> Result<(), Quarantine> {
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
            count_after: 0,
            count_before: 0,
            dates,
            fact,
            held,
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
            let priced = self.prices.on(date, held.plan, self.settings)?;
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
                let priced = self.prices.on(from, held.plan, self.settings)?;
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

    /// What the run holds on `date`: the effective day belongs to the new state (days 1).
    fn held_on(&self, stay: &Stay<'a>, date: NaiveDate) -> Option<(&'a Fact, Holding<'a>)> {
        let fact = stay.run.last_before(self.day_end(date))?;
        Some((fact, fact.holding()?))
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
        let minor = self.prices.on(date, held.plan, self.settings).ok().map(|it| it.minor);
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
    /// sees it (billing.md, section 2).
    fn add_property_lines(&self, stay: &Stay<'a>, lines: &mut Vec<Line<'a>>) {
        for it in &self.prices.overrides {
            let Overridden::Property { key, setting } = &it.overridden else {
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
                    count_after: 0,
                    count_before: 0,
                    dates: date..date,
                    fact,
                    held,
                    priced: None,
                    property_change: Some(PropertyChange { property: key.clone(), value }),
                    removal: stay.removal,
                });
            }
        }
    }

    /// Prices the lines, in order: each is the rounded sum up to it less the rounded sum before it,
    /// so that the parts of an unchanged period add up to the price (billing.md, Rounding).
    fn entries(&self, lines: Vec<Line<'a>>) -> Result<Vec<Entry>, Quarantine> {
        let mut exact_sum = Ratio::ZERO;
        let mut rounded_sum = 0_i64;
        lines
            .into_iter()
            .map(|line| {
                let too_large = || Quarantine {
                    date: line.dates.start,
                    plan: line.held.plan.clone(),
                    reason: QuarantineReason::TooLarge,
                };
                let exact = self.exact(&line).ok_or_else(too_large)?;
                exact_sum = exact_sum.checked_add(exact).ok_or_else(too_large)?;
                let rounded = exact_sum.round_half_away().ok_or_else(too_large)?;
                let minor = rounded.checked_sub(rounded_sum).ok_or_else(too_large)?;
                rounded_sum = rounded;
                let unit_minor = line.priced.as_ref().map_or(Ratio::ZERO, |priced| priced.minor);
                let currency = self.settings.currency;
                let unit_price = UnitPrice::new(unit_minor, currency).ok_or_else(too_large)?;
                Ok(self.entry(line, exact, Money::new(minor, currency), unit_price))
            })
            .collect()
    }

    /// Price x quantity x days / days of the period (days 2), in minor units.
    fn exact(&self, line: &Line<'a>) -> Option<Ratio> {
        let Some(priced) = &line.priced else {
            return Some(Ratio::ZERO);
        };
        let days = days_between(line.dates.start, line.dates.end);
        let unit_days = i128::from(line.held.quantity) * i128::from(days);
        priced.minor.checked_mul(Ratio::new(unit_days, self.period.days().into())?)
    }

    fn entry(&self, line: Line<'a>, exact: Ratio, amount: Money, unit_price: UnitPrice) -> Entry {
        let (price_sources, price_losers) =
            line.priced.map(|priced| (priced.sources, priced.losers)).unwrap_or_default();
        let mut causes = vec![line.fact.position, line.cause.position];
        causes.extend(price_sources.iter().map(|source| source.position()));
        causes.sort_unstable();
        causes.dedup();
        let mut entry = Entry {
            action: line.action,
            actor: line.cause.actor.to_owned(),
            added_by: line.added_by.actor.clone(),
            amount,
            causes,
            class: Class::Normal,
            count_after: line.count_after,
            count_before: line.count_before,
            customer: self.subject.customer,
            days: days_between(line.dates.start, line.dates.end),
            effective_at: line.cause.effective_at,
            entry_id: String::new(),
            exact,
            kind: Kind::Recurring,
            period_days: self.period.days(),
            period_end: self.period.end,
            plan: line.held.plan.clone(),
            price_losers,
            price_sources,
            property_change: line.property_change,
            quantity: line.held.quantity,
            reason: line.cause.reason.map(str::to_owned),
            removed_by: line.removal.map(|removal| removal.actor.clone()),
            seller: self.subject.seller,
            service: self.subject.service.clone(),
            service_from: line.dates.start,
            service_to: line.dates.end,
            subscription: self.subject.subscription,
            unit_price,
        };
        entry.entry_id = entry_id(&entry);
        entry
    }

    /// The first instant after the local `date`.
    fn day_end(&self, date: NaiveDate) -> DateTime<Utc> {
        self.settings.midnight(following(date))
    }
}

/// The id of an entry: what it is of, and what it was computed from. Texts that people wrote are
/// not in it; the positions name the events that hold them.
fn entry_id(entry: &Entry) -> String {
    let mut text = String::with_capacity(512);
    let property = entry.property_change.as_ref().map_or("", |change| change.property.as_str());
    // Writing to a `String` cannot fail. No field holds a space.
    let _ = write!(
        text,
        "{} {} {} {} {:?} {:?} {:?} {} {} {} {} {} {} {} {} {} {:?} {:?}",
        entry.seller,
        entry.customer,
        entry.subscription,
        entry.service,
        entry.kind,
        entry.class,
        entry.action,
        entry.period_end,
        entry.service_from,
        entry.service_to,
        entry.plan,
        entry.quantity,
        entry.period_days,
        entry.unit_price.exact,
        entry.amount.currency,
        entry.amount.minor,
        property,
        entry.causes,
    );
    let digits = |byte: u8| {
        [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
    };
    Sha256::digest(text).into_iter().flat_map(digits).collect()
}
