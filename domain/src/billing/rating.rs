//! Rating: one slot, one period, one edge; the entries that follow from the facts (billing.md,
//! sections 4 to 6).

use std::fmt::Write as _;
use std::ops::Range;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Correction;
use super::calendar::following;
use super::policy::Share;
use super::price::PriceSource;
use super::{
    BillingSettings, ComponentKey, DayPolicy, Fact, Holding, Override, Period, Priced, Prices,
    Quarantine, Timeline,
};
use crate::money::{Money, Ratio, UnitPrice};
use crate::{OrganizationId, PlanKey, PropertyKey, ServiceKey, SubscriptionId};

mod recurring;
mod stay;

use stay::Stay;

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
    /// Again and again, for holding the plan.
    Recurring,
    /// Once, for setting it up.
    OneOff,
    /// For what was used.
    Usage,
    /// What the other charges lack to come to a least amount.
    Minimum,
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

/// An entry before its amount.
struct Line<'a> {
    action: Action,
    added_by: &'a Fact,
    cause: Cause<'a>,
    component: ComponentKey,
    count_after: u32,
    count_before: u32,
    dates: Range<NaiveDate>,
    fact: &'a Fact,
    held: Holding<'a>,
    is_first_partial: bool,
    kind: Kind,
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

impl Rating<'_> {
    fn entry(
        &self,
        line: Line<'_>,
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
            component: line.component,
            correction: None,
            count_after: line.count_after,
            count_before: line.count_before,
            customer: self.subject.customer,
            days: share.days,
            effective_at: line.cause.effective_at,
            entry_id: String::new(),
            exact,
            kind: line.kind,
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
    if !entry.component.is_recurring() {
        let _ = write!(text, " {}", entry.component);
    }
    let digits = |byte: u8| {
        [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
    };
    Sha256::digest(text).into_iter().flat_map(digits).collect()
}

#[cfg(test)]
mod tests;
