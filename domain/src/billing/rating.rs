//! Rating: one slot, one period, one edge; the entries that follow from the facts (billing.md,
//! sections 4 to 6).

use std::fmt::Write as _;
use std::ops::Range;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Correction;
use super::calendar::following;
use super::policy::{Share, Stretch};
use super::price::PriceSource;
use super::{
    BillingSettings, DayPolicy, Fact, Holding, Overridden, Override, Period, Priced, Prices,
    Quarantine, QuarantineReason, Run, Setting, Timeline,
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
    /// What it corrects, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<Correction>,
    /// What the line adds to its plan's count at the period's end.
    pub count_after: u32,
    /// What the line adds to its plan's count at the previous period's end.
    pub count_before: u32,
    /// Who buys.
    pub customer: OrganizationId,
    /// How many days are charged; of months of 30 days where the policy says so.
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
    /// How its days are charged.
    #[serde(default, skip_serializing_if = "DayPolicy::is_default")]
    pub policy: DayPolicy,
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
    /// It sets right what a closed period has.
    Correction,
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
/// Rules: days 1 to 4, 7 and 8, rounding (billing.md, section 4); actions and counts (section 6).
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
    let mut before: Option<Stay<'_>> = None;
    while let Some(run) = runs.next() {
        if let Some(stay) = rating.stay(run, runs.peek(), before.as_ref()) {
            rating.add_lines(&stay, &mut lines)?;
            before = Some(stay);
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
    /// Whether it, or what it goes on from without a day between, began in this period and not with it.
    is_first_partial: bool,
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
    is_first_partial: bool,
    policy: DayPolicy,
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
    fn stay(
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
            is_first_partial: stay.is_first_partial,
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

    fn policy(&self, plan: &PlanKey) -> DayPolicy {
        self.prices.policy(plan, self.period, self.settings)
    }

    /// What one unit of a plan costs on a date; nothing where it is only counted.
    fn priced(&self, date: NaiveDate, plan: &PlanKey) -> Result<Priced, Quarantine> {
        match self.policy(plan) {
            DayPolicy::None => Ok(Priced::default()),
            _ => self.prices.on(date, plan, self.settings),
        }
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
                    count_after: 0,
                    count_before: 0,
                    dates: date..date,
                    fact,
                    held,
                    is_first_partial: stay.is_first_partial,
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
    fn entries(&self, lines: Vec<Line<'a>>) -> Result<Vec<Entry>, Quarantine> {
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

    fn entry(
        &self,
        line: Line<'a>,
        share: Share,
        exact: Ratio,
        amount: Money,
        unit_price: UnitPrice,
    ) -> Entry {
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
            correction: None,
            count_after: line.count_after,
            count_before: line.count_before,
            customer: self.subject.customer,
            days: share.days,
            effective_at: line.cause.effective_at,
            entry_id: String::new(),
            exact,
            kind: Kind::Recurring,
            period_days: share.of,
            period_end: self.period.end,
            plan: line.held.plan.clone(),
            policy: line.policy,
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

/// Price x quantity x part of the period (days 2 and 7), in minor units.
fn exact(line: &Line<'_>, share: Share) -> Option<Ratio> {
    let Some(priced) = &line.priced else {
        return Some(Ratio::ZERO);
    };
    let units = Ratio::whole(line.held.quantity.into());
    priced.minor.checked_mul(units)?.checked_mul(share.part?)
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
    if !entry.policy.is_default() {
        let _ = write!(text, " {}", entry.policy.name());
    }
    let digits = |byte: u8| {
        [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
    };
    Sha256::digest(text).into_iter().flat_map(digits).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::{CalendarRule, Change, PriceOverride, PriceRow};
    use super::*;
    use crate::decider::testing::november;
    use crate::money::Currency;

    fn plan(key: &str) -> PlanKey {
        PlanKey::parse(key).unwrap()
    }

    fn date(day: u32) -> NaiveDate {
        november(day).date_naive()
    }

    /// The first instant of December.
    fn december() -> DateTime<Utc> {
        november(30) + chrono::TimeDelta::days(1)
    }

    /// Something before November.
    fn october() -> DateTime<Utc> {
        november(1) - chrono::TimeDelta::days(10)
    }

    fn fact(position: u64, effective_at: DateTime<Utc>, change: Change) -> Fact {
        let (actor, reason) = (format!("Ann {position}"), Some(format!("because {position}")));
        Fact { actor, change, effective_at, position, reason, request: None }
    }

    fn provisioned(key: &str, quantity: u32) -> Change {
        Change::Provisioned { plan: plan(key), quantity }
    }

    fn changed(key: &str, quantity: u32) -> Change {
        Change::Changed { plan: plan(key), quantity }
    }

    fn override_of(position: u64, from: DateTime<Utc>, overridden: Overridden) -> Override {
        Override {
            actor: format!("Bob {position}"),
            depth: 3,
            from,
            overridden,
            plan: None,
            position,
            reason: Some(format!("because {position}")),
        }
    }

    fn price(minor: i64) -> Overridden {
        Overridden::Price(Setting::Set { to: None, value: PriceOverride::Amount(minor) })
    }

    fn quota(setting: Setting<String>) -> Overridden {
        let key = PropertyKey::parse("Quota").unwrap();
        Overridden::Property { hidden: false, key, locked: false, setting }
    }

    fn to(value: &str) -> Setting<String> {
        Setting::Set { to: None, value: value.to_owned() }
    }

    /// `a` costs 30.00 (event 1), `b` 60.00 (event 2), and `c` as much as `a` (event 3).
    fn rows() -> Vec<PriceRow> {
        let row =
            |(position, key, minor)| PriceRow { from: None, minor, plan: plan(key), position };
        [(1, "a", 3_000), (2, "b", 6_000), (3, "c", 3_000)].map(row).to_vec()
    }

    fn november_rated(facts: Vec<Fact>, prices: &Prices) -> Result<Vec<Entry>, Quarantine> {
        let subject = Subject {
            customer: OrganizationId(Uuid::from_u128(30)),
            seller: OrganizationId(Uuid::from_u128(1)),
            service: ServiceKey::parse("mailbox").unwrap(),
            subscription: SubscriptionId(Uuid::from_u128(5)),
        };
        let settings = BillingSettings::new(
            Currency::parse("EUR").unwrap(),
            CalendarRule::CalendarMonth,
            chrono_tz::UTC,
        );
        let period = settings.period_containing(date(1));
        rate(&subject, &Timeline::new(facts), prices, &settings, &period)
    }

    fn rated(facts: impl Into<Vec<Fact>>, overrides: impl Into<Vec<Override>>) -> Vec<Entry> {
        november_rated(
            facts.into(),
            &Prices { overrides: overrides.into(), policies: vec![], rows: rows() },
        )
        .unwrap()
    }

    /// Of each line: what happened, days, cents, counts before and after.
    fn shown(entries: &[Entry]) -> Vec<(Action, u32, i64, (u32, u32))> {
        let counts = |entry: &Entry| (entry.count_before, entry.count_after);
        let line = |it: &Entry| (it.action, it.days, it.amount.minor, counts(it));
        entries.iter().map(line).collect()
    }

    #[test]
    fn a_line_says_what_it_follows_from() {
        let entries = rated([fact(10, october(), provisioned("a", 2))], []);
        let [line] = entries.as_slice() else { panic!("one line: {entries:#?}") };
        assert_eq!((line.action, line.days, line.amount.minor), (Action::Carried, 30, 6_000));
        assert_eq!((line.count_before, line.count_after, line.quantity), (2, 2, 2));
        assert_eq!((line.service_from, line.service_to), (date(1), december().date_naive()));
        assert_eq!((line.actor.as_str(), line.added_by.as_str()), ("Ann 10", "Ann 10"));
        assert_eq!((line.reason.as_deref(), &line.removed_by), (Some("because 10"), &None));
        assert_eq!(line.effective_at, october());
        assert_eq!(line.causes, [1, 10]);
        assert_eq!(line.price_sources, [PriceSource::Row(1)]);
        assert_eq!(line.price_losers, []);
        assert_eq!(line.exact, Ratio::whole(6_000));
        assert_eq!(line.unit_price.decimal, "30.00");
        assert_eq!((line.period_days, line.period_end), (30, date(30)));
    }

    #[test]
    fn a_removed_line_says_who_added_and_who_removed_it() {
        let facts = [
            fact(10, october(), provisioned("a", 1)),
            fact(11, november(11), Change::Deprovisioned),
        ];
        let entries = rated(facts, []);
        assert_eq!(shown(&entries), [(Action::Removed, 10, 1_000, (1, 0))]);
        let line = &entries[0];
        assert_eq!((line.actor.as_str(), line.added_by.as_str()), ("Ann 11", "Ann 10"));
        assert_eq!(line.removed_by.as_deref(), Some("Ann 11"));
        assert_eq!((line.effective_at, &line.causes[..]), (november(11), &[1, 10, 11][..]));
    }

    #[test]
    fn what_ends_with_the_month_is_carried_and_what_begins_with_the_next_is_not_there() {
        let ends =
            [fact(10, october(), provisioned("a", 1)), fact(11, december(), Change::Deprovisioned)];
        assert_eq!(shown(&rated(ends, [])), [(Action::Carried, 30, 3_000, (1, 1))]);
        assert_eq!(rated([fact(10, december(), provisioned("a", 1))], []), []);
    }

    #[test]
    fn what_ended_at_the_first_instant_is_removed_in_this_month_for_nothing() {
        let ended_at = |moment| {
            let facts =
                [fact(10, october(), provisioned("a", 1)), fact(11, moment, Change::Deprovisioned)];
            shown(&rated(facts, []))
        };
        assert_eq!(ended_at(november(1)), [(Action::Removed, 0, 0, (1, 0))]);
        assert_eq!(ended_at(november(1) - chrono::TimeDelta::seconds(1)), []);
    }

    #[test]
    fn a_run_within_one_date_pays_it_unless_a_later_one_of_that_date_does() {
        let at = |hour| november(10) + chrono::TimeDelta::hours(hour);
        let on_and_off =
            || vec![fact(10, at(1), provisioned("a", 1)), fact(11, at(2), Change::Deprovisioned)];
        assert_eq!(shown(&rated(on_and_off(), [])), [(Action::Removed, 1, 100, (0, 0))]);
        let then_at = |moment| {
            let again = fact(12, moment, provisioned("a", 1));
            shown(&rated([on_and_off(), vec![again]].concat(), []))
        };
        assert_eq!(
            then_at(at(23)),
            [(Action::Removed, 0, 0, (0, 0)), (Action::Added, 21, 2_100, (0, 1))]
        );
        assert_eq!(
            then_at(at(24)),
            [(Action::Removed, 1, 100, (0, 0)), (Action::Added, 20, 2_000, (0, 1))]
        );
    }

    #[test]
    fn a_change_to_a_plan_at_the_same_price_is_a_segment_of_its_own() {
        let facts =
            [fact(10, october(), provisioned("a", 1)), fact(11, november(11), changed("c", 1))];
        let entries = rated(facts, []);
        assert_eq!(
            shown(&entries),
            [(Action::Changed, 10, 1_000, (1, 0)), (Action::Changed, 20, 2_000, (0, 1))]
        );
        assert_eq!((entries[0].actor.as_str(), entries[1].actor.as_str()), ("Ann 10", "Ann 11"));
    }

    #[test]
    fn what_is_said_again_is_no_segment() {
        let facts =
            [fact(10, october(), provisioned("a", 1)), fact(11, november(11), changed("a", 1))];
        let entries = rated(facts, []);
        assert_eq!(shown(&entries), [(Action::Carried, 30, 3_000, (1, 1))]);
        assert_eq!(entries[0].causes, [1, 10]);
    }

    #[test]
    fn a_change_on_the_first_day_is_a_change_and_one_of_the_last_month_is_not() {
        let changed_at = |moment| {
            let facts =
                [fact(10, october(), provisioned("a", 1)), fact(11, moment, changed("a", 2))];
            shown(&rated(facts, []))
        };
        assert_eq!(changed_at(november(1)), [(Action::Changed, 30, 6_000, (1, 2))]);
        let before = november(1) - chrono::TimeDelta::seconds(1);
        assert_eq!(changed_at(before), [(Action::Carried, 30, 6_000, (2, 2))]);
    }

    #[test]
    fn a_new_price_is_shown_with_who_made_it() {
        let held = [fact(10, october(), provisioned("a", 1))];
        let entries = rated(held.clone(), [override_of(20, november(11), price(1_500))]);
        assert_eq!(
            shown(&entries),
            [(Action::Changed, 10, 1_000, (0, 0)), (Action::Changed, 20, 1_000, (1, 1))]
        );
        assert_eq!(entries[1].actor, "Bob 20");
        assert_eq!(entries[1].reason.as_deref(), Some("because 20"));
        assert_eq!(entries[1].effective_at, november(11));
        assert_eq!(entries[1].causes, [10, 20]);
        assert_eq!(entries[1].price_losers, [PriceSource::Row(1)]);

        // From the first day on: one segment, and yet a change.
        let entries = rated(held.clone(), [override_of(20, november(1), price(1_500))]);
        assert_eq!(shown(&entries), [(Action::Changed, 30, 1_500, (1, 1))]);
        assert_eq!(entries[0].actor, "Bob 20");
        // An override that was there before, or changes nothing, is none.
        for nothing in
            [override_of(20, october(), price(1_500)), override_of(20, november(1), price(3_000))]
        {
            let entries = rated(held.clone(), [nothing]);
            assert_eq!(entries[0].action, Action::Carried);
            assert_eq!(entries[0].actor, "Ann 10");
        }
    }

    #[test]
    fn a_new_price_of_a_new_plan_is_due_to_who_changed_the_plan() {
        let facts =
            [fact(10, october(), provisioned("a", 1)), fact(11, november(11), changed("b", 1))];
        let entries = rated(facts, [override_of(20, november(11), price(1_500))]);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[1].actor, "Ann 11");
    }

    #[test]
    fn a_new_price_without_an_override_is_due_to_who_provisioned() {
        let mut prices = Prices { overrides: vec![], policies: vec![], rows: rows() };
        prices.rows.push(PriceRow {
            from: Some(november(11)),
            minor: 6_000,
            plan: plan("a"),
            position: 4,
        });
        let entries =
            november_rated(vec![fact(10, october(), provisioned("a", 1))], &prices).unwrap();
        assert_eq!(
            shown(&entries),
            [(Action::Changed, 10, 1_000, (0, 0)), (Action::Changed, 20, 4_000, (1, 1))]
        );
        assert_eq!(entries[1].actor, "Ann 10");
        assert_eq!(entries[1].causes, [4, 10]);
    }

    #[test]
    fn what_was_held_on_the_last_day_before_is_shown_though_nothing_of_it_is_charged() {
        let facts =
            [fact(10, october(), provisioned("a", 2)), fact(11, november(1), changed("b", 1))];
        let entries = rated(facts, []);
        assert_eq!(
            shown(&entries),
            [(Action::Changed, 0, 0, (2, 0)), (Action::Changed, 30, 6_000, (0, 1))]
        );
        assert_eq!((&entries[0].plan, &entries[1].plan), (&plan("a"), &plan("b")));
        assert_eq!((entries[0].service_from, entries[0].service_to), (date(1), date(1)));
        assert_eq!(entries[0].actor, "Ann 11");
    }

    #[test]
    fn counts_are_on_the_last_line_of_their_plan() {
        let facts = [
            fact(10, october(), provisioned("a", 2)),
            fact(11, november(6), changed("b", 1)),
            fact(12, november(11), changed("a", 3)),
        ];
        assert_eq!(
            shown(&rated(facts, [])),
            [
                (Action::Changed, 5, 1_000, (0, 0)),
                (Action::Changed, 5, 1_000, (0, 0)),
                (Action::Changed, 20, 6_000, (2, 3)),
            ]
        );
    }

    #[test]
    fn an_overridden_property_is_a_line_of_nothing_while_the_slot_is_held() {
        let facts = [
            fact(10, november(5), provisioned("a", 1)),
            fact(11, november(20), Change::Deprovisioned),
        ];
        let other_plan =
            Override { plan: Some(plan("b")), ..override_of(24, november(10), quota(to("5 GB"))) };
        let overrides = [
            override_of(20, november(4), quota(to("1 GB"))),
            override_of(21, november(5), quota(to("2 GB"))),
            override_of(22, november(10), quota(Setting::Cleared)),
            override_of(23, november(20), quota(to("4 GB"))),
            other_plan,
            override_of(25, december(), quota(to("6 GB"))),
            override_of(26, october(), quota(to("7 GB"))),
        ];
        let entries = rated(facts, overrides);
        let changes: Vec<_> = entries
            .iter()
            .filter_map(|line| Some((line.property_change.as_ref()?, line)))
            .map(|(change, line)| (line.service_from, change.value.as_deref(), line.actor.as_str()))
            .collect();
        // The one of the fifth was cleared by a later one, but only from the tenth on.
        assert_eq!(changes, [(date(5), Some("2 GB"), "Bob 21"), (date(10), None, "Bob 22")]);
        let line = entries.iter().find(|line| line.property_change.is_some()).unwrap();
        assert_eq!((line.action, line.days, line.amount.minor), (Action::Changed, 0, 0));
        assert_eq!((&line.price_sources[..], line.unit_price.decimal.as_str()), (&[][..], "0.00"));
        assert_eq!(line.causes, [10, 21]);
    }

    #[test]
    fn a_hidden_property_is_on_no_bill() {
        let key = PropertyKey::parse("Server").unwrap();
        let hidden = |setting| Overridden::Property {
            hidden: true,
            key: key.clone(),
            locked: false,
            setting,
        };
        let held = [fact(10, october(), provisioned("a", 1))];
        let overrides = [
            override_of(20, november(10), hidden(to("https://a.test"))),
            override_of(21, november(12), hidden(Setting::Cleared)),
        ];
        let entries = rated(held, overrides);
        assert!(entries.iter().all(|line| line.property_change.is_none()), "{entries:?}");
        assert_eq!(entries.len(), 1);
    }

    #[test]
    fn a_property_set_and_cleared_on_one_day_is_shown_as_cleared() {
        let held = [fact(10, october(), provisioned("a", 1))];
        let overrides = [
            override_of(20, november(10), quota(to("1 GB"))),
            override_of(21, november(10), quota(Setting::Cleared)),
        ];
        let entries = rated(held, overrides);
        let changes: Vec<_> =
            entries.iter().filter_map(|line| line.property_change.as_ref()).collect();
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].value, None);
    }

    #[test]
    fn the_same_facts_have_the_same_id_and_other_facts_another() {
        let id = |facts: Vec<Fact>| rated(facts, [])[0].entry_id.clone();
        let base = || fact(10, october(), provisioned("a", 1));
        let same = id(vec![base()]);
        assert_eq!(same.len(), 64);
        assert!(same.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
        assert_eq!(id(vec![Fact { actor: "Anne".to_owned(), reason: None, ..base() }]), same);
        for other in [
            Fact { position: 11, ..base() },
            fact(10, october(), provisioned("a", 2)),
            fact(10, october(), provisioned("c", 1)),
            fact(10, november(2), provisioned("a", 1)),
        ] {
            assert_ne!(id(vec![other.clone()]), same, "{other:?}");
        }
    }

    #[test]
    fn an_id_never_changes() {
        // Whoever has been shown an entry knows it by its id, whatever becomes of this program.
        let entries = rated([fact(10, october(), provisioned("a", 2))], []);
        assert_eq!(
            entries[0].entry_id,
            "87151d2962c65c58fe535fa45f262ef5a548d2f981fe7f19a4a20e0042042250"
        );
    }

    #[test]
    fn what_has_no_price_or_one_too_large_is_quarantined() {
        let prices = Prices { overrides: vec![], policies: vec![], rows: rows() };
        let refused =
            november_rated(vec![fact(10, november(7), provisioned("d", 1))], &prices).unwrap_err();
        assert_eq!((refused.date, refused.plan), (date(7), plan("d")));
        assert_eq!(refused.reason, QuarantineReason::NoPrice);
        let mut prices = prices;
        prices.rows[0].minor = i64::MAX;
        let held = vec![fact(10, november(7), provisioned("a", 1_000))];
        let refused = november_rated(held, &prices).unwrap_err();
        assert_eq!((refused.date, refused.reason), (date(7), QuarantineReason::TooLarge));
    }
}
