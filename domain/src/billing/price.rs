//! What a plan costs on a date: the seller's rows, and the overrides on the way to the buyer
//! (billing.md, section 4, Price).

use std::cmp::Reverse;
use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::calendar::following;
use super::chain::{Exchange, RateRow, Said, SellerPrices};
use super::component::{Charge, ComponentKey};
use super::rating::Cause;
use super::{BillingSettings, DayPolicy, Period, Suspended};
use crate::money::{Currency, Percent, Ratio};
use crate::property::Unit;
use crate::usage::Aggregation;
use crate::{PlanKey, PropertyKey};

/// A dated price of one of the service's plans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PriceRow {
    /// From when on it is the price; none: ever since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// Per unit and month, in minor units of the seller's currency.
    pub minor: i64,
    /// The plan it is the price of.
    pub plan: PlanKey,
    /// The event's place in the log.
    pub position: u64,
}

/// A dated component of one of the service's plans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentRow {
    /// What is charged; none: nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<Charge>,
    /// Which.
    pub component: ComponentKey,
    /// From when on; none: ever since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// How it is counted, where that is not what is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<Measure>,
    /// The plan that it is a part of.
    pub plan: PlanKey,
    /// The event's place in the log.
    pub position: u64,
}

/// How it is counted what a component is charged for: by a property or a meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measure {
    /// What the readings of a meter come to, where one counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregation: Option<Aggregation>,
    /// The unit in which a meter counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The units of a property's values, where they have any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<Unit>,
    /// What it is in the plan, for those who had it before the property drove a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A dated day policy of one of the service's plans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRow {
    /// From when on it is the policy; none: ever since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// The plan it is the policy of.
    pub plan: PlanKey,
    /// How its days are charged.
    pub policy: DayPolicy,
    /// The event's place in the log.
    pub position: u64,
    /// What the days cost on which it rests.
    #[serde(default, skip_serializing_if = "Suspended::is_default")]
    pub suspended: Suspended,
}

/// What an organisation on the buyer's path has set otherwise, or cleared again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// Who did it, as people read it.
    pub actor: String,
    /// How many organisations lie on the path of the one it is for; the nearer to the buyer (the
    /// deeper) wins.
    pub depth: usize,
    /// From when on it is in force; of a clear, from when on the cleared is not.
    pub from: DateTime<Utc>,
    /// What is set, or cleared.
    pub overridden: Overridden,
    /// The plan it is for; none: every plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanKey>,
    /// The event's place in the log.
    pub position: u64,
    /// Why, where somebody said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What an override is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Overridden {
    /// What a component costs, beside the plan's own price.
    Component {
        /// Which.
        key: ComponentKey,
        /// What it costs.
        setting: Setting<PriceOverride>,
    },
    /// The plan's own price, per unit and month.
    Price(Setting<PriceOverride>),
    /// A property.
    Property {
        /// Whether only those who publish services see it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        hidden: bool,
        /// Which.
        key: PropertyKey,
        /// Whether nobody below can set another value.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        locked: bool,
        /// Its value.
        setting: Setting<String>,
    },
}

impl Overridden {
    /// The component whose price it is about; none where it is about a property.
    #[must_use]
    pub fn component(&self) -> Option<&ComponentKey> {
        match self {
            Self::Price(_) => Some(ComponentKey::recurring()),
            Self::Component { key, .. } => Some(key),
            Self::Property { .. } => None,
        }
    }
}

/// An override, or the end of those recorded before it: at the same level, for the same subject
/// and the same plan (or for every plan).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Setting<T> {
    /// No longer set otherwise.
    Cleared,
    /// Set otherwise.
    Set {
        /// When it ends by itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        to: Option<DateTime<Utc>>,
        /// To what.
        value: T,
    },
}

/// What a price is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PriceOverride {
    /// So many minor units of the seller's currency.
    Amount(i64),
    /// More or less than the price without this override, which is that of the levels above.
    Percent(Percent),
}

/// Where a price comes from: the position of its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PriceSource {
    /// An [`Override`].
    Override(u64),
    /// A [`PriceRow`] or [`ComponentRow`].
    Row(u64),
    /// A row of a seller's price book.
    Book(u64),
    /// What a buyer is committed to ([`Commitment`](super::Commitment)).
    Commitment(u64),
}

impl PriceSource {
    /// The event's place in the log.
    #[must_use]
    pub const fn position(self) -> u64 {
        match self {
            Self::Book(position)
            | Self::Commitment(position)
            | Self::Override(position)
            | Self::Row(position) => position,
        }
    }
}

/// Everything that says what a service's plans cost one buyer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    /// What the sellers on the way to the buyer say of their own, the provider first: one for each that is above the buyer.
    /// Empty where none says anything and all have one currency.
    pub chain: Vec<SellerPrices>,
    /// What the plans cost beside their own prices.
    pub components: Vec<ComponentRow>,
    /// What the organisations on the buyer's path have set otherwise: prices and properties.
    pub overrides: Vec<Override>,
    /// Who pays what they say.
    pub payer: Payer,
    /// How the days of the plans are charged that are not charged day by day.
    pub policies: Vec<PolicyRow>,
    /// What currencies cost in others; only where sellers have different ones.
    pub rates: Vec<RateRow>,
    /// The provider's prices of the service's plans.
    pub rows: Vec<PriceRow>,
}

/// Who pays a price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Payer {
    /// Whoever is below the last seller of the chain.
    #[default]
    Buyer,
    /// The provider itself, to somebody outside the tree: by its cost prices, and by nothing else.
    Provider,
}

/// A plan's price on a date, and why it is that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Priced {
    /// By which rates it was exchanged.
    pub exchange: Vec<Exchange>,
    /// What was in force as well, and lost; sorted.
    pub losers: Vec<PriceSource>,
    /// How many of something else than what is held are charged, where that is so.
    pub measured: Option<Measured>,
    /// Per unit and month, or term, in minor units.
    pub minor: Ratio,
    /// What won; after a percentage, what it was taken of.
    pub sources: Vec<PriceSource>,
}

impl Priced {
    /// What one of what is measured costs, or of what is held where nothing else is measured; none beyond what can be held.
    pub(super) fn of_unit(&self) -> Option<Ratio> {
        match &self.measured {
            Some(measured) if measured.amount != Ratio::ZERO => {
                self.minor.checked_div(measured.amount)
            }
            _ => Some(self.minor),
        }
    }
}

/// So much of a property, or so much that was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// How many.
    pub amount: Ratio,
    /// Of which unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// Why an instance cannot be rated. It is reported, never zero by silence, and holds up no other
/// (billing.md, section 4, Price).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("plan {plan} on {date}: {reason}")]
#[serde(rename_all = "camelCase")]
pub struct Quarantine {
    /// The first date that it fails on.
    pub date: NaiveDate,
    /// The plan held then.
    pub plan: PlanKey,
    /// What is missing or wrong.
    pub reason: QuarantineReason,
}

/// What keeps an instance from being rated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum QuarantineReason {
    /// The price is in a currency that nothing says the rate of.
    #[error("no exchange rate is known")]
    NoExchangeRate,
    /// Nothing says what the plan costs.
    #[error("no price is in force")]
    NoPrice,
    /// The amount is beyond what the ledger holds exactly.
    #[error("the amount is too large")]
    TooLarge,
}

impl QuarantineReason {
    /// As it is written in answers.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoExchangeRate => "no_exchange_rate",
            Self::NoPrice => "no_price",
            Self::TooLarge => "too_large",
        }
    }
}

impl Prices {
    /// What one unit of `plan` costs on the seller's local `date`, where so many are held.
    ///
    /// The nearest level with an override in force wins; within it one for the plan over one for
    /// every plan, then the latest from, then the later recorded. A percentage goes on to the next
    /// level above, at last to the provider's row: the latest from, then the later recorded. What sellers on the way say
    /// of their own comes in between ([`SellerPrices`]).
    ///
    /// # Errors
    /// [`Quarantine`] where nothing says the price or an exchange rate, or it is too large.
    pub fn on(
        &self,
        date: NaiveDate,
        plan: &PlanKey,
        quantity: u32,
        settings: &BillingSettings,
    ) -> Result<Priced, Quarantine> {
        let quarantine = |reason| Quarantine { date, plan: plan.clone(), reason };
        let key = &ComponentKey::RECURRING;
        let of = Of { date, exchanged_in: None, key, plan, quantity, settings };
        let mut said = self.said(&of, self.payer).map_err(quarantine)?;
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .filter(|row| row.plan == *plan && row.from.is_none_or(|from| from < of.day_end()))
            .collect();
        rows.sort_unstable_by_key(|row| Reverse((row.from, row.position)));
        let mut base = said.own_base();
        for row in rows {
            let source = PriceSource::Row(row.position);
            if base.is_some() {
                said.losers.push(source);
            } else {
                base = Some(Ratio::whole(row.minor));
                said.sources.push(source);
            }
        }
        let base = base.ok_or_else(|| quarantine(QuarantineReason::NoPrice))?;
        let minor = said.raised(base, Ratio::whole(1));
        let minor = minor.ok_or_else(|| quarantine(QuarantineReason::TooLarge))?;
        Ok(said.priced(minor))
    }

    /// What is charged for a component of `plan` on the seller's local `date`; none where it is no part of the plan then.
    ///
    /// Overrides win as they do for the plan's own price: an amount takes the place of the rate, a percentage is on all
    /// that it comes to.
    pub(super) fn component_on(
        &self,
        date: NaiveDate,
        plan: &PlanKey,
        key: &ComponentKey,
        quantity: u32,
        settings: &BillingSettings,
    ) -> Option<Tariff<'_>> {
        self.tariff(&Of { date, exchanged_in: None, key, plan, quantity, settings })
    }

    /// The same, as it is asked for.
    pub(super) fn tariff(&self, of: &Of<'_>) -> Option<Tariff<'_>> {
        let Of { key, plan, .. } = *of;
        let is_its = |row: &&ComponentRow| row.plan == *plan && row.component == *key;
        let rows = self.components.iter().filter(is_its);
        let mut rows: Vec<_> =
            rows.filter(|row| row.from.is_none_or(|from| from < of.day_end())).collect();
        rows.sort_unstable_by_key(|row| Reverse((row.from, row.position)));
        let (row, older) = rows.split_first()?;
        let charge = row.charge.as_ref()?;
        let said = self.said(of, self.payer).map(|mut said| {
            let is_open = said.own_base().is_none();
            let list = if is_open { &mut said.sources } else { &mut said.losers };
            list.push(PriceSource::Row(row.position));
            said.losers.extend(older.iter().map(|row| PriceSource::Row(row.position)));
            said
        });
        Some(Tariff { charge, measure: row.measure.as_ref(), said })
    }

    /// What there is beside the plans' own prices, in order.
    pub(super) fn component_keys(&self) -> BTreeSet<ComponentKey> {
        self.components.iter().map(|row| row.component.clone()).collect()
    }

    /// Whether a component is charged by terms, and not by billing periods.
    #[must_use]
    pub fn is_by_terms(&self, key: &ComponentKey) -> bool {
        let rows = self.components.iter().filter(|row| row.component == *key);
        rows.filter_map(|row| row.charge.as_ref()).any(|charge| charge.term().is_some())
    }

    /// Whether a plan has components on a date, so that it needs no price of its own. What is sold for one has a cost of
    /// its own, too.
    pub(super) fn has_components(
        &self,
        date: NaiveDate,
        plan: &PlanKey,
        settings: &BillingSettings,
    ) -> bool {
        let mut keys = self.components.iter().filter(|row| row.plan == *plan);
        keys.any(|row| self.component_on(date, plan, &row.component, 1, settings).is_some())
            && !(self.payer == Payer::Provider && self.is_sold_for_itself(date, plan, settings))
    }

    /// Whether anything says what a plan is sold for by its own price.
    fn is_sold_for_itself(
        &self,
        date: NaiveDate,
        plan: &PlanKey,
        settings: &BillingSettings,
    ) -> bool {
        let key = &ComponentKey::RECURRING;
        let of = Of { date, exchanged_in: None, key, plan, quantity: 1, settings };
        let mut rows = self.rows.iter().filter(|row| row.plan == *plan);
        rows.any(|row| row.from.is_none_or(|from| from < of.day_end()))
            || self.said(&of, Payer::Buyer).is_ok_and(|said| said.own_base().is_some())
    }

    /// What each of so many units of a component costs in a month on a date, where it is charged by months or years; of a
    /// year, a twelfth.
    #[must_use]
    pub fn monthly(
        &self,
        date: NaiveDate,
        plan: &PlanKey,
        key: &ComponentKey,
        quantity: u32,
        settings: &BillingSettings,
    ) -> Option<Priced> {
        if key.is_recurring() {
            return self.on(date, plan, quantity, settings).ok();
        }
        let tariff = self.component_on(date, plan, key, quantity, settings)?;
        let Charge::Recurring { interval, .. } = tariff.charge else { return None };
        let months = Ratio::whole(interval.months().into());
        let priced = tariff.price(Ratio::whole(quantity.into()), quantity).ok()?;
        Some(Priced { minor: priced.minor.checked_div(months)?, ..priced })
    }

    /// Whether a property drives a price of a plan on a date.
    pub(super) fn is_priced(
        &self,
        date: NaiveDate,
        plan: &PlanKey,
        property: &PropertyKey,
        settings: &BillingSettings,
    ) -> bool {
        self.component_keys().iter().any(|key| {
            let tariff = self.component_on(date, plan, key, 1, settings);
            tariff.is_some_and(
                |it| matches!(it.charge, Charge::Property { property: of, .. } if of == property),
            )
        })
    }

    /// What overrides and the sellers on the way say of a component's price, or what the provider says that it pays.
    fn said(&self, of: &Of<'_>, payer: Payer) -> Result<Said, QuarantineReason> {
        let mut said = Said::default();
        if payer == Payer::Provider {
            said.start_from_cost(self, of, of.settings.currency)?;
            return Ok(said);
        }
        let overrides = self.price_overrides_in_force(of.day_end(), of.plan, of.key);
        if self.chain.is_empty() {
            said.override_by(&overrides);
        } else {
            said.pass_down(self, of, &overrides)?;
        }
        Ok(said)
    }

    /// How a plan's days are charged in a period: by the policy in force when it ends, so that no period is
    /// charged by two.
    pub(super) fn policy(
        &self,
        plan: &PlanKey,
        period: &Period,
        settings: &BillingSettings,
    ) -> DayPolicy {
        self.policy_row(plan, period, settings).map(|row| row.policy).unwrap_or_default()
    }

    /// Whether the days of a period cost nothing on which a plan rests.
    pub(super) fn rests_for_nothing(
        &self,
        plan: &PlanKey,
        period: &Period,
        settings: &BillingSettings,
    ) -> bool {
        let row = self.policy_row(plan, period, settings);
        row.is_some_and(|row| row.suspended == Suspended::Free)
    }

    fn policy_row(
        &self,
        plan: &PlanKey,
        period: &Period,
        settings: &BillingSettings,
    ) -> Option<&PolicyRow> {
        if self.policies.is_empty() {
            return None;
        }
        let (_, end) = settings.instants(period);
        let rows = self.policies.iter().filter(|row| row.plan == *plan);
        let in_force = rows.filter(|row| row.from.is_none_or(|from| from < end));
        in_force.max_by_key(|row| (row.from, row.position))
    }

    /// The price overrides in force on the day that ends at `day_end`, the first to win first.
    fn price_overrides_in_force(
        &self,
        day_end: DateTime<Utc>,
        plan: &PlanKey,
        key: &ComponentKey,
    ) -> Vec<(PriceOverride, &Override)> {
        let mut in_force: Vec<_> = self
            .overrides
            .iter()
            .filter(|it| it.price_of(key).is_some() && it.is_for(plan))
            .filter(|it| self.in_force(it, day_end))
            .filter_map(|it| match it.price_of(key)? {
                Setting::Set { value, .. } => Some((*value, it)),
                Setting::Cleared => None,
            })
            .collect();
        in_force.sort_unstable_by_key(|(_, it)| {
            Reverse((it.depth, it.plan.is_some(), it.from, it.position))
        });
        in_force
    }

    /// Whether an override sets something otherwise on the seller's local `date`: it is none that clears others, and
    /// in force at the end of that day.
    #[must_use]
    pub fn sets_on(&self, it: &Override, date: NaiveDate, settings: &BillingSettings) -> bool {
        !it.is_clear() && self.in_force(it, settings.midnight(following(date)))
    }

    /// Whether an override is in force on the day that ends at `day_end`: it has begun, has not
    /// ended by itself, and none that was recorded later cleared it.
    pub(super) fn in_force(&self, it: &Override, day_end: DateTime<Utc>) -> bool {
        let has_ended = it.to().is_some_and(|to| to < day_end);
        let cleared = |by: &Override| {
            by.is_clear()
                && by.position > it.position
                && by.from < day_end
                && by.depth == it.depth
                && by.plan == it.plan
                && by.subject() == it.subject()
        };
        it.from < day_end && !has_ended && !self.overrides.iter().any(cleared)
    }

    /// The moments within `[from, to)` at which a plan's own price may change.
    pub(super) fn moments(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        let overridden = self.override_moments(&ComponentKey::RECURRING);
        let passed_down = self.book_moments(&ComponentKey::RECURRING);
        let moments = self.rows.iter().map(|row| row.from).chain(overridden).chain(passed_down);
        moments.flatten().filter(move |moment| (from..to).contains(moment))
    }

    /// The moments at which what a component costs may change.
    pub(super) fn component_moments(
        &self,
        key: &ComponentKey,
    ) -> impl Iterator<Item = DateTime<Utc>> {
        let rows = self.components.iter().filter(|row| row.component == *key);
        let passed_down = self.book_moments(key);
        rows.map(|row| row.from).chain(self.override_moments(key)).chain(passed_down).flatten()
    }

    fn book_moments(&self, key: &ComponentKey) -> impl Iterator<Item = Option<DateTime<Utc>>> {
        let rows = self.chain.iter().flat_map(|seller| &seller.rows);
        let rows = rows.filter(move |row| row.is_of(key));
        rows.flat_map(|row| [row.from, row.to])
    }

    fn override_moments(&self, key: &ComponentKey) -> impl Iterator<Item = Option<DateTime<Utc>>> {
        let priced = self.overrides.iter().filter(|it| it.price_of(key).is_some());
        priced.flat_map(|it| [Some(it.from), it.to()])
    }

    /// Who is behind a price of a component that is new on `date`: an override or a row of a price book that it comes from,
    /// or a clear.
    pub(super) fn cause_of(
        &self,
        priced: &Priced,
        date: NaiveDate,
        plan: &PlanKey,
        key: &ComponentKey,
        settings: &BillingSettings,
    ) -> Option<Cause<'_>> {
        let source = |it: &Override| priced.sources.contains(&PriceSource::Override(it.position));
        let by_override = self
            .overrides
            .iter()
            .filter(|it| it.price_of(key).is_some() && it.is_for(plan))
            .filter(|it| source(it) || it.is_clear())
            .filter(|it| settings.local_date(it.from) == date)
            .max_by_key(|it| (source(it), it.depth, it.position));
        let rows = self.chain.iter().flat_map(|seller| &seller.rows);
        let mut by_row = rows.filter(|row| {
            priced.sources.contains(&PriceSource::Book(row.position))
                && row.from.is_some_and(|from| settings.local_date(from) == date)
        });
        by_override.map(Cause::from).or_else(|| by_row.next_back().map(Cause::from))
    }
}

/// What a price is asked for.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub date: NaiveDate,
    /// The billing period whose exchange rates count, and what was known of them when it was closed, if it is; none: that
    /// of the date.
    pub exchanged_in: Option<(Period, &'a [RateRow])>,
    pub key: &'a ComponentKey,
    pub plan: &'a PlanKey,
    /// How many are held.
    pub quantity: u32,
    pub settings: &'a BillingSettings,
}

impl Of<'_> {
    /// The first moment after the date.
    pub(super) fn day_end(&self) -> DateTime<Utc> {
        self.settings.midnight(following(self.date))
    }

    /// The last date of the billing period whose exchange rates count.
    pub(super) fn exchanged_on(&self) -> NaiveDate {
        let period = self.exchanged_in.map(|(period, _)| period);
        period.unwrap_or_else(|| self.settings.period_containing(self.date)).end
    }

    /// By which rate one currency is exchanged into another: of the rates that are known now, if none was when the
    /// billing period was closed.
    pub(super) fn exchange(
        &self,
        rates: &[RateRow],
        from: Currency,
        to: Currency,
    ) -> Option<Exchange> {
        let on = self.exchanged_on();
        let pinned = self.exchanged_in.and_then(|(_, known)| Exchange::of(known, from, to, on));
        pinned.or_else(|| Exchange::of(rates, from, to, on))
    }
}

/// What is charged for a component on a date, and why it costs what it does.
#[derive(Clone, Debug)]
pub(super) struct Tariff<'a> {
    pub charge: &'a Charge,
    pub measure: Option<&'a Measure>,
    said: Result<Said, QuarantineReason>,
}

impl Tariff<'_> {
    /// What `units` cost together, told as the price of each of `of`.
    ///
    /// # Errors
    /// Why it cannot be said.
    pub(super) fn price(self, units: Ratio, of: u32) -> Result<Priced, QuarantineReason> {
        let said = self.said?;
        let price = || {
            let cost = match said.own_base() {
                Some(minor) => units.checked_mul(minor)?,
                None => self.charge.rate().cost(units)?,
            };
            said.raised(cost, units)?.checked_div(Ratio::whole(of.into()))
        };
        let minor = price().ok_or(QuarantineReason::TooLarge)?;
        Ok(said.priced(minor))
    }
}

impl Override {
    /// Whether it is for `plan`, or for every plan.
    pub(super) fn is_for(&self, plan: &PlanKey) -> bool {
        self.plan.as_ref().is_none_or(|of| of == plan)
    }

    /// What it says of the price of a component; none where it is about something else.
    fn price_of(&self, component: &ComponentKey) -> Option<&Setting<PriceOverride>> {
        match &self.overridden {
            Overridden::Price(setting) if component.is_recurring() => Some(setting),
            Overridden::Component { key, setting } if key == component => Some(setting),
            Overridden::Price(_) | Overridden::Component { .. } | Overridden::Property { .. } => {
                None
            }
        }
    }

    /// What it is about: a component's price, or a property.
    fn subject(&self) -> (bool, &str) {
        match &self.overridden {
            Overridden::Price(_) => (true, ComponentKey::OWN),
            Overridden::Component { key, .. } => (true, key.as_str()),
            Overridden::Property { key, .. } => (false, key.as_str()),
        }
    }

    /// When it ends by itself.
    fn to(&self) -> Option<DateTime<Utc>> {
        match &self.overridden {
            Overridden::Price(Setting::Set { to, .. })
            | Overridden::Component { setting: Setting::Set { to, .. }, .. }
            | Overridden::Property { setting: Setting::Set { to, .. }, .. } => *to,
            Overridden::Price(Setting::Cleared)
            | Overridden::Component { setting: Setting::Cleared, .. }
            | Overridden::Property { setting: Setting::Cleared, .. } => None,
        }
    }

    fn is_clear(&self) -> bool {
        matches!(
            self.overridden,
            Overridden::Price(Setting::Cleared)
                | Overridden::Component { setting: Setting::Cleared, .. }
                | Overridden::Property { setting: Setting::Cleared, .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::CalendarRule;
    use super::super::chain::{BookRow, Says};
    use super::super::component::{Interval, Rate, Timing};
    use super::*;
    use crate::decider::testing::november;
    use crate::money::Money;

    fn settings() -> BillingSettings {
        BillingSettings::new(
            Currency::parse("EUR").unwrap(),
            CalendarRule::CalendarMonth,
            chrono_tz::UTC,
        )
    }

    fn plan(key: &str) -> PlanKey {
        PlanKey::parse(key).unwrap()
    }

    fn date(day: u32) -> NaiveDate {
        november(day).date_naive()
    }

    /// A price of plan `a`.
    fn row(position: u64, from: Option<u32>, minor: i64) -> PriceRow {
        PriceRow { from: from.map(november), minor, plan: plan("a"), position }
    }

    /// An override of the customer's, in force from the first on, of the price of every plan.
    fn override_of(position: u64, overridden: Overridden) -> Override {
        Override {
            actor: "Bob".to_owned(),
            depth: 3,
            from: november(1),
            overridden,
            plan: None,
            position,
            reason: None,
        }
    }

    fn set(position: u64, minor: i64) -> Override {
        let value = PriceOverride::Amount(minor);
        override_of(position, Overridden::Price(Setting::Set { to: None, value }))
    }

    fn set_until(position: u64, minor: i64, to: DateTime<Utc>) -> Override {
        let value = PriceOverride::Amount(minor);
        override_of(position, Overridden::Price(Setting::Set { to: Some(to), value }))
    }

    fn clear(position: u64) -> Override {
        override_of(position, Overridden::Price(Setting::Cleared))
    }

    fn reduce(position: u64, percent: &str) -> Override {
        let value = PriceOverride::Percent(Percent::parse(percent).unwrap());
        override_of(position, Overridden::Price(Setting::Set { to: None, value }))
    }

    fn property(position: u64, key: &str, setting: Setting<String>) -> Override {
        let key = PropertyKey::parse(key).unwrap();
        override_of(position, Overridden::Property { hidden: false, key, locked: false, setting })
    }

    /// What plan `a` costs on a day of November, in whole minor units.
    fn minor(prices: &Prices, day: u32) -> i64 {
        let priced = prices.on(date(day), &plan("a"), 1, &settings()).unwrap();
        assert_eq!(priced.minor.denominator(), 1);
        i64::try_from(priced.minor.numerator()).unwrap()
    }

    fn with(overrides: impl IntoIterator<Item = Override>) -> Prices {
        Prices {
            overrides: overrides.into_iter().collect(),
            rows: vec![row(1, None, 100)],
            ..Prices::default()
        }
    }

    #[test]
    fn the_latest_row_that_has_begun_is_the_price_and_the_others_lose() {
        let rows = vec![row(1, None, 100), row(3, Some(11), 300), row(2, Some(10), 200)];
        let prices = Prices { rows, ..Prices::default() };
        assert_eq!([9, 10, 11].map(|day| minor(&prices, day)), [100, 200, 300]);
        let priced = prices.on(date(11), &plan("a"), 1, &settings()).unwrap();
        assert_eq!(priced.sources, [PriceSource::Row(3)]);
        assert_eq!(priced.losers, [PriceSource::Row(1), PriceSource::Row(2)]);
    }

    #[test]
    fn of_two_rows_from_one_moment_the_later_recorded_is_the_price() {
        let rows = vec![row(3, Some(10), 300), row(2, Some(10), 200)];
        assert_eq!(minor(&Prices { rows, ..Prices::default() }, 10), 300);
    }

    #[test]
    fn a_plan_that_nothing_prices_is_quarantined() {
        let prices = with([]);
        let refused = prices.on(date(9), &plan("b"), 1, &settings()).unwrap_err();
        assert_eq!((refused.date, &refused.plan), (date(9), &plan("b")));
        assert_eq!(refused.reason, QuarantineReason::NoPrice);
        let later = Prices { rows: vec![row(1, Some(10), 100)], ..Prices::default() };
        assert!(later.on(date(9), &plan("a"), 1, &settings()).is_err());
    }

    #[test]
    fn an_override_is_in_force_from_the_day_it_begins_on() {
        let prices = with([Override { from: november(10), ..set(5, 80) }]);
        assert_eq!([9, 10].map(|day| minor(&prices, day)), [100, 80]);
    }

    #[test]
    fn an_override_is_in_force_until_the_day_that_it_ends_within() {
        let within = with([set_until(5, 80, november(10) - chrono::TimeDelta::seconds(1))]);
        assert_eq!([8, 9].map(|day| minor(&within, day)), [80, 100]);
        let at_the_end = with([set_until(5, 80, november(10))]);
        assert_eq!([9, 10].map(|day| minor(&at_the_end, day)), [80, 100]);
    }

    #[test]
    fn a_clear_ends_what_was_recorded_before_it_from_its_day_on() {
        let prices = with([set(5, 80), Override { from: november(10), ..clear(6) }]);
        assert_eq!([9, 10].map(|day| minor(&prices, day)), [80, 100]);
        let set_again = with([set(5, 80), clear(6), set(7, 70)]);
        assert_eq!(minor(&set_again, 10), 70);
    }

    #[test]
    fn a_clear_ends_nothing_of_another_level_plan_or_subject() {
        let for_plan = || Override { plan: Some(plan("a")), ..clear(6) };
        let quota = |setting| property(6, "Quota", setting);
        for other in [Override { depth: 2, ..clear(6) }, for_plan(), quota(Setting::Cleared)] {
            assert_eq!(minor(&with([set(5, 80), other.clone()]), 10), 80, "{other:?}");
        }
        let own = with([Override { plan: Some(plan("a")), ..set(5, 80) }, for_plan()]);
        assert_eq!(minor(&own, 10), 100);
    }

    #[test]
    fn the_nearest_level_wins_and_a_percentage_asks_the_one_above() {
        let prices = with([
            Override { depth: 2, ..set(5, 80) },
            reduce(6, "-50"),
            Override { depth: 1, ..set(7, 10) },
        ]);
        let priced = prices.on(date(10), &plan("a"), 1, &settings()).unwrap();
        assert_eq!(priced.minor, Ratio::whole(40));
        assert_eq!(priced.sources, [PriceSource::Override(6), PriceSource::Override(5)]);
        assert_eq!(priced.losers, [PriceSource::Override(7), PriceSource::Row(1)]);
    }

    #[test]
    fn within_a_level_the_plan_s_own_wins_then_the_latest_from_then_the_later_recorded() {
        let own = Override { plan: Some(plan("a")), ..set(4, 90) };
        let from_later = Override { from: november(5), ..set(5, 80) };
        let all = [own.clone(), from_later.clone(), set(6, 70), set(7, 60)];
        assert_eq!(minor(&with(all.clone()), 10), 90);
        assert_eq!(minor(&with(all[1..].to_vec()), 10), 80);
        assert_eq!(minor(&with(all[2..].to_vec()), 10), 60);
        let losers = with(all).on(date(10), &plan("a"), 1, &settings()).unwrap().losers;
        let positions: Vec<_> = losers.iter().map(|source| source.position()).collect();
        assert_eq!(positions, [5, 6, 7, 1]);
    }

    #[test]
    fn a_price_beyond_what_can_be_held_is_quarantined() {
        let mut prices = with([]);
        prices.rows[0].minor = i64::MAX;
        // Ten levels, each of which multiplies the price by a fraction of its own.
        prices.overrides = (1..=10)
            .map(|depth| Override { depth, ..reduce(depth as u64 + 10, "33.3333") })
            .collect();
        let refused = prices.on(date(10), &plan("a"), 1, &settings()).unwrap_err();
        assert_eq!(refused.reason, QuarantineReason::TooLarge);
    }

    /// The position of the override that the price of `a` on the tenth is due to.
    fn due_to(overrides: impl IntoIterator<Item = Override>) -> Option<u64> {
        let prices = with(overrides);
        let priced = prices.on(date(10), &plan("a"), 1, &settings()).unwrap();
        let by =
            prices.cause_of(&priced, date(10), &plan("a"), &ComponentKey::RECURRING, &settings());
        by.map(|it| it.position)
    }

    #[test]
    fn a_new_price_is_due_to_the_override_that_it_comes_from_or_to_a_clear_of_that_day() {
        let on_the_tenth = |it: Override| Override { from: november(10), ..it };
        assert_eq!(due_to([on_the_tenth(set(5, 80))]), Some(5));
        assert_eq!(due_to([set(5, 80)]), None);
        assert_eq!(due_to([set(5, 80), on_the_tenth(clear(6))]), Some(6));
        assert_eq!(due_to([set(5, 80), clear(6)]), None);
        // One that loses is not to blame, and neither is a property, nor another plan's.
        assert_eq!(due_to([set(5, 80), on_the_tenth(Override { depth: 2, ..set(6, 70) })]), None);
        assert_eq!(due_to([on_the_tenth(property(6, "Quota", Setting::Cleared))]), None);
        let other_plan = Override { plan: Some(plan("b")), ..clear(6) };
        assert_eq!(due_to([on_the_tenth(other_plan)]), None);
        // What the price comes from goes before what was cleared on the same day.
        assert_eq!(
            due_to([on_the_tenth(set(5, 80)), on_the_tenth(Override { depth: 4, ..clear(6) })]),
            Some(5)
        );
    }

    #[test]
    fn a_new_price_is_due_to_the_book_s_row_that_it_comes_from_and_that_begins_that_day() {
        let book_row = |position, from: u32, minor| BookRow {
            actor: "Bob".to_owned(),
            component: ComponentKey::RECURRING,
            from: Some(november(from)),
            from_quantity: 1,
            is_for_buyer: false,
            is_for_instance: false,
            is_for_service: false,
            plan: Some(plan("a")),
            position,
            reason: None,
            says: Says::Price(Money::new(minor, settings().currency)),
            to: None,
        };
        let due_to = |rows| {
            let seller = SellerPrices { currency: settings().currency, rows };
            let prices = Prices { chain: vec![seller], ..with([]) };
            let priced = prices.on(date(10), &plan("a"), 1, &settings()).unwrap();
            let key = ComponentKey::RECURRING;
            let by = prices.cause_of(&priced, date(10), &plan("a"), &key, &settings());
            by.map(|it| it.position)
        };
        assert_eq!(due_to(vec![book_row(5, 10, 80)]), Some(5));
        // It was in force before, or begins only with the next day.
        assert_eq!(due_to(vec![book_row(5, 9, 80)]), None);
        assert_eq!(due_to(vec![book_row(5, 11, 80)]), None);
        let seller =
            SellerPrices { currency: settings().currency, rows: vec![book_row(5, 10, 80)] };
        let prices = Prices { chain: vec![seller], ..with([]) };
        assert_eq!([9, 10].map(|day| minor(&prices, day)), [100, 80]);
        // What begins that day and is not what it comes from.
        let other_component =
            BookRow { component: ComponentKey::parse("users").unwrap(), ..book_row(6, 10, 70) };
        assert_eq!(due_to(vec![book_row(5, 9, 80), other_component]), None);
    }

    #[test]
    fn an_override_sets_a_price_on_the_days_on_which_it_is_in_force_and_a_clear_sets_none() {
        let (cleared, later) = (set(5, 80), Override { from: november(10), ..clear(6) });
        let ends = set_until(7, 70, november(4));
        let prices = with([cleared.clone(), later.clone(), ends.clone()]);
        let sets = |it: &Override, day| prices.sets_on(it, date(day), &settings());
        assert_eq!([1, 9, 10].map(|day| sets(&cleared, day)), [true, true, false]);
        assert_eq!([9, 10, 11].map(|day| sets(&later, day)), [false, false, false]);
        assert_eq!([1, 3, 4].map(|day| sets(&ends, day)), [true, true, false]);
        let begins = Override { from: november(3), ..set(8, 60) };
        assert_eq!([2, 3].map(|day| sets(&begins, day)), [false, true]);
    }

    #[test]
    fn what_is_charged_by_the_year_costs_a_twelfth_in_a_month() {
        let rate = || Rate::Unit(Money::new(1_000, settings().currency));
        let charge =
            |interval| Charge::Recurring { interval, rate: rate(), timing: Timing::Arrears };
        let key = |key: &str| ComponentKey::parse(key).unwrap();
        let part = |component: &str, charge| ComponentRow {
            charge: Some(charge),
            component: key(component),
            from: None,
            measure: None,
            plan: plan("a"),
            position: 1,
        };
        let components = vec![
            part("support", charge(Interval::Month)),
            part("backup", charge(Interval::Year)),
            part("setup", Charge::OneOff { price: Money::new(1_000, settings().currency) }),
        ];
        let prices = Prices { components, rows: vec![row(1, None, 100)], ..Prices::default() };
        let monthly = |component: &str| {
            let priced = prices.monthly(date(1), &plan("a"), &key(component), 3, &settings());
            priced.map(|priced| priced.minor)
        };
        assert_eq!(monthly("support"), Some(Ratio::whole(1_000)));
        assert_eq!(monthly("backup"), Ratio::new(1_000, 12));
        assert_eq!(monthly("setup"), None);
    }

    #[test]
    fn what_is_charged_by_terms_at_any_time_is_so() {
        let price = Money::new(5, settings().currency);
        let yearly = Charge::Recurring {
            interval: Interval::Year,
            rate: Rate::Unit(price),
            timing: Timing::Advance,
        };
        let row = |key: &str, charge| ComponentRow {
            charge,
            component: ComponentKey::parse(key).unwrap(),
            from: None,
            measure: None,
            plan: plan("a"),
            position: 1,
        };
        let components = vec![
            row("support", None),
            row("support", Some(yearly)),
            row("setup", Some(Charge::OneOff { price })),
        ];
        let prices = Prices { components, ..Prices::default() };
        let is_by_terms = ["support", "setup", "other"]
            .map(|it| prices.is_by_terms(&ComponentKey::parse(it).unwrap()));
        assert_eq!(is_by_terms, [true, false, false]);
    }

    #[test]
    fn what_has_a_cost_of_its_own_needs_it_from_the_day_on_that_it_is_sold_for_itself() {
        let users = ComponentRow {
            charge: Some(Charge::OneOff { price: Money::new(5, settings().currency) }),
            component: ComponentKey::parse("users").unwrap(),
            from: None,
            measure: None,
            plan: plan("a"),
            position: 1,
        };
        let has_components = |payer, day| {
            let rows = vec![row(2, Some(10), 100)];
            let prices =
                Prices { components: vec![users.clone()], payer, rows, ..Prices::default() };
            prices.has_components(date(day), &plan("a"), &settings())
        };
        assert_eq!([9, 10, 11].map(|day| has_components(Payer::Buyer, day)), [true, true, true]);
        assert_eq!(
            [9, 10, 11].map(|day| has_components(Payer::Provider, day)),
            [true, false, false]
        );
    }

    #[test]
    fn prices_may_change_where_rows_and_overrides_of_prices_begin_or_end() {
        let prices = Prices {
            overrides: vec![
                Override { from: november(3), ..set_until(5, 80, november(4)) },
                Override { from: november(5), ..property(6, "Quota", Setting::Cleared) },
                Override { from: november(6), ..clear(7) },
            ],
            rows: vec![row(1, None, 100), row(2, Some(7), 200), row(3, Some(8), 300)],
            ..Prices::default()
        };
        let mut moments: Vec<_> = prices.moments(november(4), november(8)).collect();
        moments.sort();
        assert_eq!(moments, [november(4), november(6), november(7)]);
    }
}
