//! Commissions: what a reseller earns where somebody above it bills the customer (billing.md, section 8, law 8).

use std::collections::BTreeMap;
use std::ops::Range;

use chrono::NaiveDate;

use super::line::entry_id;
use super::{ComponentKey, Entry, Kind, Quarantine, QuarantineReason, Subject};
use crate::money::{Money, Ratio, UnitPrice};
use crate::{Bug, planted};

/// What a reseller is paid for a slot and a service period by the seller who bills the customer for it: for each stretch, what
/// the reseller's own buyer pays (`sold`) less what the reseller would pay (`bought`), as negative entries. Both are rated in
/// the paying seller's calendar, zone and currency; `subject` names the reseller as the buyer.
///
/// # Errors
/// [`Quarantine`] where a sum is beyond what can be held.
pub fn commissions(
    subject: &Subject,
    sold: &[Entry],
    bought: &[Entry],
) -> Result<Vec<Entry>, Quarantine> {
    let (sold, bought) = match planted(Bug::CommissionReversed) {
        true => (bought, sold),
        false => (sold, bought),
    };
    let mut stretches = BTreeMap::<_, Vec<Stretch<'_>>>::new();
    let both = sold.iter().map(|it| (it, true)).chain(bought.iter().map(|it| (it, false)));
    let mut both: Vec<_> = both.filter(|(entry, _)| entry.charges()).collect();
    both.sort_by_key(|(entry, is_sold)| (entry.service_from, entry.service_to, !is_sold));
    for (entry, is_sold) in both {
        let of: &mut Vec<_> = stretches.entry((&entry.component, entry.kind)).or_default();
        match of.last_mut() {
            Some(last) if last.touches(entry) => last.add(entry, is_sold),
            _ => {
                let mut stretch = Stretch::new(entry);
                stretch.add(entry, is_sold);
                of.push(stretch);
            }
        }
    }
    let mut entries = Vec::new();
    for stretch in stretches.into_values().flatten() {
        let first = stretch.sold.first().or(stretch.bought.first()).copied();
        let Some(first) = first else { continue };
        let earned = stretch.earned().ok_or_else(|| Quarantine {
            date: first.service_from,
            plan: first.plan.clone(),
            reason: QuarantineReason::TooLarge,
        })?;
        if earned.minor != 0 {
            entries.push(stretch.entry(subject, first, earned));
        }
    }
    entries.sort_by(|a: &Entry, b| of(a).cmp(&of(b)));
    Ok(entries)
}

fn of(entry: &Entry) -> (&ComponentKey, NaiveDate) {
    (&entry.component, entry.service_from)
}

/// Entries of both edges that are about the same dates.
struct Stretch<'a> {
    dates: Range<NaiveDate>,
    sold: Vec<&'a Entry>,
    bought: Vec<&'a Entry>,
}

/// What is earned by a stretch.
struct Earned {
    minor: i64,
    exact: Ratio,
    unit_price: UnitPrice,
}

impl<'a> Stretch<'a> {
    fn new(entry: &Entry) -> Self {
        let dates = entry.service_from..entry.service_to;
        Self { dates, sold: Vec::new(), bought: Vec::new() }
    }

    fn touches(&self, entry: &Entry) -> bool {
        entry.service_from < self.dates.end || entry.service_from == self.dates.start
    }

    fn add(&mut self, entry: &'a Entry, is_sold: bool) {
        self.dates.end = self.dates.end.max(entry.service_to);
        if is_sold { self.sold.push(entry) } else { self.bought.push(entry) }
    }

    fn earned(&self) -> Option<Earned> {
        let minor = |entries: &[&Entry]| {
            entries.iter().try_fold(0_i64, |sum, it| sum.checked_add(it.amount.minor))
        };
        let exact = |entries: &[&Entry]| {
            entries.iter().try_fold(Ratio::ZERO, |sum, it| sum.checked_add(it.exact))
        };
        // Per unit where one price stands against one.
        let unit = |entries: &[&'a Entry]| match entries {
            [] => Some(Ratio::ZERO),
            [one] => Some(one.unit_price.exact),
            _ => None,
        };
        let unit = unit(&self.bought).zip(unit(&self.sold));
        let unit = unit.map_or(Some(Ratio::ZERO), |(bought, sold)| bought.checked_sub(sold))?;
        let currency = self.sold.first().or(self.bought.first())?.amount.currency;
        Some(Earned {
            minor: minor(&self.bought)?.checked_sub(minor(&self.sold)?)?,
            exact: exact(&self.bought)?.checked_sub(exact(&self.sold)?)?,
            unit_price: UnitPrice::new(unit, currency)?,
        })
    }

    fn entry(self, subject: &Subject, first: &Entry, earned: Earned) -> Entry {
        let all = || self.sold.iter().chain(&self.bought);
        let together = |of: fn(&Entry) -> &Vec<_>| {
            let mut sources: Vec<_> = all().flat_map(|it| of(it).iter().copied()).collect();
            sources.sort_unstable();
            sources.dedup();
            sources
        };
        let mut causes: Vec<_> = all().flat_map(|it| it.causes.iter().copied()).collect();
        causes.sort_unstable();
        causes.dedup();
        let mut exchange: Vec<_> = all().flat_map(|it| it.exchange.iter().copied()).collect();
        exchange.sort_by_key(|it| it.position);
        exchange.dedup();
        let mut entry = Entry {
            amount: Money::new(earned.minor, first.amount.currency),
            buyer: subject.buyer,
            causes,
            count_after: 0,
            count_before: 0,
            days: first.days,
            exact: earned.exact,
            exchange,
            kind: Kind::Commission,
            price_losers: together(|it| &it.price_losers),
            price_sources: together(|it| &it.price_sources),
            seller: subject.seller,
            service_from: self.dates.start,
            service_to: self.dates.end,
            unit_price: earned.unit_price,
            ..first.clone()
        };
        entry.entry_id = entry_id(&entry);
        entry
    }
}
