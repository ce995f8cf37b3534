//! Rating: one slot, one period, one edge; the entries that follow from the facts (billing.md,
//! sections 4 to 6).

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::adjustment::Manual;
use super::calendar::following;
use super::chain::Exchange;
use super::component::Charge;
use super::price::PriceSource;
use super::rule::Waiver;
use super::{
    BillingSettings, ComponentKey, Correction, DayPolicy, Measured, Period, Prices, Quarantine,
    QuarantineReason, Timeline,
};
use crate::money::{Money, Ratio, UnitPrice};
use crate::{OrganizationId, PlanKey, PropertyKey, ServiceKey, SubscriptionId};

mod commission;
mod commitment;
mod line;
mod minimum;
mod once;
mod recurring;
mod stay;
mod terms;
mod usage;

pub use commission::commissions;
pub use commitment::{Commitment, Sharing};
pub(super) use line::Cause;
use line::Line;
use stay::Stay;

/// Whose charges are rated, and between whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The reseller who buys, or is paid a commission; none: the customer buys.
    pub buyer: Option<OrganizationId>,
    /// Who has it in the end.
    pub customer: OrganizationId,
    /// Who sells, by its own calendar, zone and currency.
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
    /// The reseller who buys, or is paid a commission; none: the customer buys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buyer: Option<OrganizationId>,
    /// The positions of the events that the line follows from, in order.
    pub causes: Vec<u64>,
    /// Whether it is the charge itself.
    pub class: Class,
    /// Which part of what the plan costs.
    #[serde(default, skip_serializing_if = "ComponentKey::is_recurring")]
    pub component: ComponentKey,
    /// What it corrects, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<Correction>,
    /// What the line adds to its plan's count at the period's end.
    pub count_after: u32,
    /// What the line adds to its plan's count at the previous period's end.
    pub count_before: u32,
    /// Who has it in the end, and buys it where no `buyer` is named.
    pub customer: OrganizationId,
    /// How many days are charged, or given back; of months of 30 days where the policy says so.
    pub days: u32,
    /// When what caused the line became true.
    pub effective_at: DateTime<Utc>,
    /// SHA-256, in hex, over what the line is and what it was computed from: the same facts give
    /// the same id.
    pub entry_id: String,
    /// What is charged before rounding, in minor units.
    pub exact: Ratio,
    /// By which rates its price was exchanged, where sellers bill in different currencies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exchange: Vec<Exchange>,
    /// What sort of charge it is.
    pub kind: Kind,
    /// What it says of itself, where somebody made it by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<Manual>,
    /// How much of a property, or how much that was used, is charged: for each of what is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
    /// How many days a full period has, or the term.
    pub period_days: u32,
    /// The service period's name: its last date. Of what is charged by terms, the period that it is booked in.
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
    /// Per unit and full period, or term.
    pub unit_price: UnitPrice,
    /// What it would charge, where a rule says that it is not charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiver: Option<Waiver>,
}

impl Entry {
    /// Whether it is charged.
    #[must_use]
    pub fn is_billable(&self) -> bool {
        self.waiver.is_none()
    }

    /// What it comes to, or would if a rule did not say otherwise.
    #[must_use]
    pub fn due(&self) -> Money {
        self.waiver.as_ref().map_or(self.amount, |waiver| waiver.amount)
    }
}

/// Charges nothing for an entry any more; its id says so, too. `rules` are the positions of the events that said the rules.
pub(super) fn waive(entry: &mut Entry, waiver: Waiver, rules: impl Iterator<Item = u64>) {
    entry.amount = Money::new(0, entry.amount.currency);
    entry.waiver = Some(waiver);
    entry.causes.extend(rules);
    entry.causes.sort_unstable();
    entry.causes.dedup();
    entry.entry_id = line::entry_id(entry);
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Again and again, for holding the plan.
    Recurring,
    /// Once, for setting it up.
    OneOff,
    /// For what was used.
    Usage,
    /// What the other charges lack to come to a least amount.
    Minimum,
    /// What a reseller earns whose customer is billed by somebody above it: less than nothing.
    Commission,
    /// What somebody charges once, or gives back, by hand.
    Manual,
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

/// The entries of one slot for one service period, in order of their components, then of their first date. Pure: the same
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
    rate_after(&[], subject, timeline, prices, settings, period)
}

/// A period that was closed before, and the prices that it was closed with.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// Which.
    pub period: Period,
    /// What was known of prices.
    pub prices: Prices,
}

/// The same where earlier periods are closed: what they have of a term that is paid in advance costs what it cost when they
/// were closed. A price that was set for the past since then counts from the first date on that is not closed.
///
/// # Errors
/// See [`rate`].
pub fn rate_after(
    pinned: &[Pinned],
    subject: &Subject,
    timeline: &Timeline,
    prices: &Prices,
    settings: &BillingSettings,
    period: &Period,
) -> Result<Vec<Entry>, Quarantine> {
    let (begin, end) = settings.instants(period);
    let rating = Rating { begin, end, period, pinned, prices, settings, subject, timeline };
    let mut lines = Vec::new();
    let mut runs = timeline.runs().peekable();
    let mut before: Option<Stay<'_>> = None;
    let keys = prices.component_keys();
    let mut least: Vec<_> = keys.iter().map(|_| Vec::new()).collect();
    while let Some(run) = runs.next() {
        if let Some(stay) = rating.stay(run, runs.peek(), before.as_ref()) {
            rating.add_recurring_lines(&stay, &mut lines)?;
            for (key, least) in keys.iter().zip(&mut least) {
                rating.add_component_lines(&stay, key, Charge::is_by_period, &mut lines)?;
                rating.add_component_lines(&stay, key, Charge::is_minimum, least)?;
            }
            before = Some(stay);
        }
    }
    if keys.is_empty() {
        lines.sort_by_key(|line| line.dates.start);
        return rating.entries(lines);
    }
    for key in &keys {
        rating.add_one_off_lines(key, &mut lines)?;
        rating.add_usage_line(key, &mut lines)?;
    }
    lines.sort_by(Line::order);
    let mut entries = rating.entries(lines)?;
    for mut lines in least {
        lines.sort_by(Line::order);
        entries.extend(rating.lacking(lines, &entries)?);
    }
    let mut by_term = Vec::new();
    rating.add_term_lines(&mut by_term)?;
    by_term.sort_by(Line::order);
    entries.append(&mut rating.entries(by_term)?);
    entries.sort_by(|a, b| {
        a.component.cmp(&b.component).then_with(|| a.service_from.cmp(&b.service_from))
    });
    Ok(entries)
}

/// What every step of rating looks at.
struct Rating<'a> {
    /// The period's first instant.
    begin: DateTime<Utc>,
    /// The first instant after the period.
    end: DateTime<Utc>,
    period: &'a Period,
    /// Earlier periods that are closed, as far as other prices were known then.
    pinned: &'a [Pinned],
    prices: &'a Prices,
    settings: &'a BillingSettings,
    subject: &'a Subject,
    timeline: &'a Timeline,
}

impl Entry {
    /// Who buys, or is paid a commission.
    #[must_use]
    pub fn bought_by(&self) -> OrganizationId {
        self.buyer.unwrap_or(self.customer)
    }
}

impl Rating<'_> {
    /// The first instant after the local `date`.
    fn day_end(&self, date: NaiveDate) -> DateTime<Utc> {
        self.settings.midnight(following(date))
    }
}

#[cfg(test)]
mod tests;
