//! Lines, and what they come to: a line is an entry before its amount.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::ops::Range;

use chrono::{DateTime, NaiveDate, Utc};
use sha2::{Digest, Sha256};

use super::super::calendar::days_between;
use super::super::component::{Interval, Timing};
use super::super::policy::{Share, Stretch};
use super::super::{
    ComponentKey, DayPolicy, Fact, Holding, Override, Priced, Quarantine, QuarantineReason,
    Reading, Rest,
};
use super::{Action, Class, Entry, Kind, PropertyChange, Rating};
use crate::money::{Money, Ratio, UnitPrice};

/// An entry before its amount.
pub(super) struct Line<'a> {
    pub action: Action,
    pub added_by: &'a Fact,
    pub cause: Cause<'a>,
    pub component: ComponentKey,
    pub count_after: u32,
    pub count_before: u32,
    pub dates: Range<NaiveDate>,
    pub fact: &'a Fact,
    pub held: Holding<'a>,
    pub kind: Kind,
    pub policy: DayPolicy,
    pub priced: Priced,
    pub property_change: Option<PropertyChange>,
    pub removal: Option<&'a Fact>,
    pub span: Span,
}

/// What part of the price a line costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// By its dates, as the plan's policy says.
    Days {
        /// Whether it, or what it goes on from without a day between, began in this period and not with it.
        is_first_partial: bool,
    },
    /// All of it.
    Once,
    /// The dates' part of a term.
    Term {
        /// How often there is one, and when it is charged.
        way: (Interval, Timing),
        /// The term's first date.
        begin: NaiveDate,
        /// Whether it is given back.
        is_credit: bool,
        /// Whether it is booked in this period; otherwise it is only what the others are rounded after.
        is_booked: bool,
        /// How many days the term has.
        of: u32,
    },
}

/// Who did what caused a line, when and why.
#[derive(Clone, Copy)]
pub(in crate::billing) struct Cause<'a> {
    pub actor: &'a str,
    pub effective_at: DateTime<Utc>,
    pub position: u64,
    pub reason: Option<&'a str>,
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

impl<'a> From<&'a Reading> for Cause<'a> {
    fn from(reading: &'a Reading) -> Self {
        Self {
            actor: &reading.actor,
            effective_at: reading.effective_at,
            position: reading.position,
            reason: reading.reason.as_deref(),
        }
    }
}

impl<'a> From<&'a Rest> for Cause<'a> {
    fn from(rest: &'a Rest) -> Self {
        Self {
            actor: &rest.actor,
            effective_at: rest.effective_at,
            position: rest.position,
            reason: rest.reason.as_deref(),
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

impl Line<'_> {
    /// What it is rounded with, of its component: the days of the period, what is charged once, or a term.
    pub(super) fn whole(&self) -> (Kind, Option<(Interval, Timing, NaiveDate)>) {
        match self.span {
            Span::Days { .. } | Span::Once => (self.kind, None),
            Span::Term { way: (interval, timing), begin, .. } => {
                (self.kind, Some((interval, timing, begin)))
            }
        }
    }

    /// Lines that are rounded together, one after the other, by their dates.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        let place = |line: &Self| (line.whole(), line.dates.start);
        self.component.cmp(&other.component).then_with(|| place(self).cmp(&place(other)))
    }

    fn is_booked(&self) -> bool {
        !matches!(self.span, Span::Term { is_booked: false, .. })
    }

    /// Whether it touches the period for a price that any touch costs.
    fn is_touch(&self) -> bool {
        self.policy == DayPolicy::Full
            && !self.dates.is_empty()
            && matches!(self.span, Span::Days { .. })
    }

    fn too_large(&self) -> Quarantine {
        Quarantine {
            date: self.dates.start,
            plan: self.held.plan.clone(),
            reason: QuarantineReason::TooLarge,
        }
    }
}

impl Rating<'_> {
    /// Prices the lines, which are in the order of their components and what they are rounded with: of each of these, a line is the rounded
    /// sum up to it less the rounded sum before it, so that the parts of an unchanged period add up to the price
    /// (billing.md, Rounding).
    pub(super) fn entries(&self, lines: Vec<Line<'_>>) -> Result<Vec<Entry>, Quarantine> {
        let mut last_touches = Vec::new();
        for (index, line) in lines.iter().enumerate().rev().filter(|(_, line)| line.is_touch()) {
            let is_later = |other: &usize| lines[*other].component == line.component;
            if !last_touches.last().is_some_and(is_later) {
                last_touches.push(index);
            }
        }
        let mut of = None;
        let (mut exact_sum, mut rounded_sum) = (Ratio::ZERO, 0_i64);
        let mut entries = Vec::with_capacity(lines.len());
        for (index, line) in lines.into_iter().enumerate() {
            let is_same = of.as_ref().is_some_and(|(component, whole)| {
                *component == line.component && *whole == line.whole()
            });
            if !is_same {
                of = Some((line.component.clone(), line.whole()));
                (exact_sum, rounded_sum) = (Ratio::ZERO, 0);
            }
            let too_large = || line.too_large();
            let share = self.share(&line, last_touches.contains(&index));
            let exact = exact(&line, share).ok_or_else(too_large)?;
            exact_sum = exact_sum.checked_add(exact).ok_or_else(too_large)?;
            let rounded = exact_sum.round_half_away().ok_or_else(too_large)?;
            let minor = rounded.checked_sub(rounded_sum).ok_or_else(too_large)?;
            rounded_sum = rounded;
            if !line.is_booked() {
                continue;
            }
            let unit_minor = line.priced.of_unit().ok_or_else(too_large)?;
            let currency = self.settings.currency;
            let unit_price = UnitPrice::new(unit_minor, currency).ok_or_else(too_large)?;
            entries.push(self.entry(line, share, exact, Money::new(minor, currency), unit_price));
        }
        Ok(entries)
    }

    /// What part of the price a line is.
    fn share(&self, line: &Line<'_>, is_last: bool) -> Share {
        match line.span {
            Span::Days { is_first_partial } => {
                let is_held_at_end = line.removal.is_none();
                let stretch = Stretch { is_first_partial, is_held_at_end, is_last };
                line.policy.share(&line.dates, self.period, stretch)
            }
            Span::Once => {
                let days = days_between(line.dates.start, line.dates.end);
                Share { days, of: days, part: Some(Ratio::whole(1)) }
            }
            Span::Term { of, is_credit, .. } => {
                let days = days_between(line.dates.start, line.dates.end);
                let sign = if is_credit { -1 } else { 1 };
                Share { days, of, part: Ratio::new(sign * i128::from(days), of.into()) }
            }
        }
    }

    fn entry(
        &self,
        line: Line<'_>,
        share: Share,
        exact: Ratio,
        amount: Money,
        unit_price: UnitPrice,
    ) -> Entry {
        let Priced { exchange, losers: price_losers, measured, sources: price_sources, .. } =
            line.priced;
        let mut causes = vec![line.fact.position, line.cause.position];
        causes.extend(price_sources.iter().map(|source| source.position()));
        causes.sort_unstable();
        causes.dedup();
        let mut entry = Entry {
            action: line.action,
            actor: line.cause.actor.to_owned(),
            added_by: line.added_by.actor.clone(),
            amount,
            buyer: self.subject.buyer,
            causes,
            class: Class::Normal,
            component: line.component,
            correction: None,
            count_after: line.count_after,
            count_before: line.count_before,
            customer: self.subject.customer,
            days: share.days,
            effective_at: line.cause.effective_at,
            entry_id: String::new(),
            exact,
            exchange,
            kind: line.kind,
            manual: None,
            measured,
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
            waiver: None,
        };
        entry.entry_id = entry_id(&entry);
        entry
    }
}

/// Price x quantity x part of the period (days 2 and 7), in minor units.
fn exact(line: &Line<'_>, share: Share) -> Option<Ratio> {
    let units = Ratio::whole(line.held.quantity.into());
    line.priced.minor.checked_mul(units)?.checked_mul(share.part?)
}

/// The id of an entry: what it is of, and what it was computed from. Texts that people wrote are
/// not in it; the positions name the events that hold them.
pub(super) fn entry_id(entry: &Entry) -> String {
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
    if !entry.component.is_recurring() {
        let _ = write!(text, " {}", entry.component);
    }
    if let Some(measured) = &entry.measured {
        let _ = write!(text, " {}", measured.amount);
    }
    if let Some(buyer) = entry.buyer {
        let _ = write!(text, " {buyer}");
    }
    if let Some(waiver) = &entry.waiver {
        let _ = write!(text, " waived {}", waiver.amount.minor);
        for rule in &waiver.rules {
            let _ = write!(text, " {rule}");
        }
    }
    let digits = |byte: u8| {
        [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
    };
    Sha256::digest(text).into_iter().flat_map(digits).collect()
}
