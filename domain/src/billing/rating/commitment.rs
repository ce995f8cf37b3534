//! Commitments: what all that a buyer holds of a service comes to at least, in a period. What its charges lack is shared among what
//! is held (billing.md, section 4: a minimum shared by a buyer's instances of a service).

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};

use super::super::calendar::{days_between, following};
use super::super::chain::{Exchange, RateRow};
use super::super::{
    BillingSettings, ComponentKey, DayPolicy, Period, PriceSource, QuarantineReason,
};
use super::line::entry_id;
use super::{Entry, Kind};
use crate::money::{Money, Ratio, UnitPrice};
use crate::{Bug, OrganizationId, SubscriptionId, planted};

/// What a buyer's instances of a service come to at least: of several that have begun, the latest from counts, then the later
/// recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commitment {
    /// In a full period; nothing ends those before it.
    pub amount: Money,
    /// From when on.
    pub from: DateTime<Utc>,
    /// The event's place in the log.
    pub position: u64,
    /// When it ends by itself.
    pub to: Option<DateTime<Utc>>,
}

/// What all slots of a service charge of a period between two, slot by slot: who shares what is lacking.
#[derive(Debug)]
pub struct Sharing {
    period: Period,
    sharers: BTreeMap<Place, Sharer>,
}

/// The customer and the slot: in the order in which equals come first.
type Place = (OrganizationId, SubscriptionId);

/// One slot.
#[derive(Debug)]
struct Sharer {
    /// In minor units.
    charged: i128,
    /// Which dates of the period are charged by days.
    dates: Vec<bool>,
    /// The last of its charges by days.
    last: Entry,
}

impl Sharing {
    /// Nobody shares yet.
    #[must_use]
    pub fn new(period: Period) -> Self {
        Self { period, sharers: BTreeMap::new() }
    }

    /// Adds what a slot charges of the period: nothing of that is charged by terms.
    pub fn add(&mut self, entry: &Entry) {
        if !entry.charges() {
            return;
        }
        let days = usize::try_from(self.period.days()).unwrap_or_default();
        let nothing = || Sharer { charged: 0, dates: vec![false; days], last: entry.clone() };
        let sharer =
            self.sharers.entry((entry.customer, entry.subscription)).or_insert_with(nothing);
        let charged = if planted(Bug::WaivedIsLacking) { entry.amount } else { entry.due() };
        sharer.charged = sharer.charged.saturating_add(charged.minor.into());
        if entry.kind == Kind::Recurring && entry.days > 0 {
            // Who pays for the whole period however long he holds it is committed for all of it.
            let is_whole = entry.days >= entry.period_days && entry.policy != DayPolicy::Daily;
            let place = |date: NaiveDate| {
                let days = days_between(self.period.start, date.max(self.period.start));
                usize::try_from(days).unwrap_or(usize::MAX)
            };
            let (from, to) = match is_whole {
                true => (0, days),
                false => (place(entry.service_from), place(entry.service_to)),
            };
            sharer.dates[from.min(days)..to.min(days)].fill(true);
            sharer.last = entry.clone();
        }
    }

    /// What the charges lack to what the buyer is committed to, as an entry for each slot that has a part of it.
    ///
    /// The amount goes by the dates on which any slot is charged by days. It is shared as the charges are; where there are none, as
    /// the dates are: by largest remainder, of equals the lowest customer's, then the lowest slot's first.
    ///
    /// # Errors
    /// Where no rate says what the amount is in the seller's currency, or a sum is beyond what the ledger holds.
    pub fn share(
        &self,
        commitments: &[Commitment],
        rates: &[RateRow],
        settings: &BillingSettings,
    ) -> Result<Vec<Entry>, QuarantineReason> {
        let too_large = QuarantineReason::TooLarge;
        let dates: Vec<_> =
            std::iter::successors(Some(self.period.start), |it| Some(following(*it)))
                .take_while(|date| *date <= self.period.end)
                .collect();
        let mut committed = Committed { causes: Vec::new(), exact: Ratio::ZERO, last: None };
        for (place, date) in dates.iter().enumerate() {
            if self.sharers.values().any(|sharer| sharer.dates[place])
                && let Some(commitment) = in_force(commitments, *date, settings)
            {
                committed.add(commitment, rates, settings, &self.period)?;
            }
        }
        let Some((full_price, exchange)) = committed.last else { return Ok(Vec::new()) };
        let charged = self.sharers.values().map(|sharer| sharer.charged).sum::<i128>();
        let charged = i64::try_from(charged).map_err(|_| too_large)?;
        let rounded = committed.exact.round_half_away().ok_or(too_large)?;
        let lacking = rounded.checked_sub(charged).ok_or(too_large)?;
        if lacking <= 0 {
            return Ok(Vec::new());
        }
        let lacking_exactly =
            committed.exact.checked_sub(Ratio::whole(charged)).ok_or(too_large)?;
        let is_charged = self.sharers.values().any(|sharer| sharer.charged > 0);
        let weights = self.sharers.values().map(|sharer| match is_charged {
            true => sharer.charged.max(0),
            false => sharer.dates.iter().map(|is_charged| i128::from(*is_charged)).sum(),
        });
        let weights: Vec<_> = weights.collect();
        let whole: i128 = weights.iter().sum();
        let parts = by_largest_remainder(lacking, &weights).ok_or(too_large)?;
        let unit_price = UnitPrice::new(full_price, settings.currency).ok_or(too_large)?;
        let mut entries = Vec::new();
        for ((sharer, weight), minor) in self.sharers.values().zip(weights).zip(parts) {
            if minor == 0 {
                continue;
            }
            let part = Ratio::new(weight, whole).and_then(|part| part.checked_mul(lacking_exactly));
            let held = || sharer.dates.iter().zip(&dates).filter(|(is_held, _)| **is_held);
            let first = held().next().map_or(self.period.start, |(_, date)| *date);
            let after = held().next_back().map_or(self.period.after(), |(_, it)| following(*it));
            let mut causes = sharer.last.causes.clone();
            causes.extend(&committed.causes);
            causes.sort_unstable();
            causes.dedup();
            let sources = committed.causes.iter().map(|it| PriceSource::Commitment(*it));
            let mut entry = Entry {
                amount: Money::new(minor, settings.currency),
                causes,
                component: ComponentKey::COMMITMENT,
                count_after: 0,
                count_before: 0,
                days: u32::try_from(held().count()).unwrap_or(u32::MAX),
                exact: part.ok_or(too_large)?,
                exchange: exchange.iter().copied().collect(),
                kind: Kind::Minimum,
                measured: None,
                period_days: self.period.full_days(),
                policy: DayPolicy::default(),
                price_losers: Vec::new(),
                price_sources: sources.collect(),
                property_change: None,
                quantity: 1,
                service_from: first,
                service_to: after,
                unit_price: unit_price.clone(),
                waiver: None,
                ..sharer.last.clone()
            };
            entry.entry_id = entry_id(&entry);
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// The amount that is committed to, day by day.
struct Committed {
    /// The positions of the commitments that count, in their order.
    causes: Vec<u64>,
    exact: Ratio,
    /// Of the last date: for a full period, in minor units, and by which rate.
    last: Option<(Ratio, Option<Exchange>)>,
}

impl Committed {
    /// Adds a date.
    fn add(
        &mut self,
        commitment: &Commitment,
        rates: &[RateRow],
        settings: &BillingSettings,
        period: &Period,
    ) -> Result<(), QuarantineReason> {
        let Money { minor, currency } = commitment.amount;
        let exchange = match currency == settings.currency {
            true => None,
            false => Some(
                Exchange::of(rates, currency, settings.currency, period.end)
                    .ok_or(QuarantineReason::NoExchangeRate)?,
            ),
        };
        let minor = Ratio::whole(minor);
        let full = exchange.as_ref().map_or(Some(minor), |it| it.apply(minor));
        let full = full.ok_or(QuarantineReason::TooLarge)?;
        let of_day = Ratio::new(1, period.full_days().into());
        let sum = of_day.and_then(|day| self.exact.checked_add(full.checked_mul(day)?));
        self.exact = sum.ok_or(QuarantineReason::TooLarge)?;
        self.last = Some((full, exchange));
        if let Err(place) = self.causes.binary_search(&commitment.position) {
            self.causes.insert(place, commitment.position);
        }
        Ok(())
    }
}

fn in_force<'a>(
    commitments: &'a [Commitment],
    date: NaiveDate,
    settings: &BillingSettings,
) -> Option<&'a Commitment> {
    let day_end = settings.midnight(following(date));
    let is_in_force = |it: &&Commitment| it.from < day_end && it.to.is_none_or(|to| to >= day_end);
    commitments.iter().filter(is_in_force).max_by_key(|it| (it.from, it.position))
}

/// An amount in parts that go by weights: each rounded down, and what is left over a unit each to those that were rounded down the
/// most, of equals to the first. None where there are no weights.
fn by_largest_remainder(amount: i64, weights: &[i128]) -> Option<Vec<i64>> {
    let whole = weights.iter().try_fold(0_i128, |sum, it| sum.checked_add(*it))?;
    let mut parts = Vec::with_capacity(weights.len());
    let mut remainders = Vec::with_capacity(weights.len());
    for (place, weight) in weights.iter().enumerate() {
        let product = i128::from(amount).checked_mul(*weight)?;
        parts.push(i64::try_from(product.checked_div(whole)?).ok()?);
        remainders.push((std::cmp::Reverse(product.checked_rem(whole)?), place));
    }
    let left = match planted(Bug::SharesRoundedDown) {
        true => 0,
        false => amount.checked_sub(parts.iter().sum())?,
    };
    remainders.sort_unstable();
    for (_, place) in remainders.into_iter().take(usize::try_from(left).ok()?) {
        parts[place] += 1;
    }
    Some(parts)
}
