//! What a plan costs on a date: the seller's rows, and the overrides on the way to the buyer
//! (billing.md, section 4, Price).

use std::cmp::Reverse;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::BillingSettings;
use super::calendar::following;
use crate::money::{Percent, Ratio};
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
    /// The price per unit and month.
    Price(Setting<PriceOverride>),
    /// A property that has no price.
    Property {
        /// Which.
        key: PropertyKey,
        /// Its value.
        setting: Setting<String>,
    },
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
    /// A [`PriceRow`].
    Row(u64),
}

impl PriceSource {
    /// The event's place in the log.
    #[must_use]
    pub const fn position(self) -> u64 {
        match self {
            Self::Override(position) | Self::Row(position) => position,
        }
    }
}

/// Everything that says what a service's plans cost one buyer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    /// What the organisations on the buyer's path have set otherwise: prices and properties.
    pub overrides: Vec<Override>,
    /// The seller's prices of the service's plans.
    pub rows: Vec<PriceRow>,
}

/// A plan's price on a date, and why it is that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priced {
    /// What was in force as well, and lost; sorted.
    pub losers: Vec<PriceSource>,
    /// Per unit and month, in minor units.
    pub minor: Ratio,
    /// What won; after a percentage, what it was taken of.
    pub sources: Vec<PriceSource>,
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
    /// Nothing says what the plan costs.
    #[error("no price is in force")]
    NoPrice,
    /// The amount is beyond what the ledger holds exactly.
    #[error("the amount is too large")]
    TooLarge,
}

impl Prices {
    /// What one unit of `plan` costs on the seller's local `date`.
    ///
    /// The nearest level with an override in force wins; within it one for the plan over one for
    /// every plan, then the latest from, then the later recorded. A percentage goes on to the next
    /// level above, at last to the seller's row: the latest from, then the later recorded.
    ///
    /// # Errors
    /// [`Quarantine`] where nothing says the price, or it is too large.
    pub fn on(
        &self,
        date: NaiveDate,
        plan: &PlanKey,
        settings: &BillingSettings,
    ) -> Result<Priced, Quarantine> {
        let quarantine = |reason| Quarantine { date, plan: plan.clone(), reason };
        let day_end = settings.midnight(following(date));
        let mut sources = Vec::new();
        let mut losers = Vec::new();
        let mut percents: Vec<Percent> = Vec::new();
        let mut amount = None;
        let mut level = None;
        for (price_override, it) in self.price_overrides_in_force(day_end, plan) {
            let source = PriceSource::Override(it.position);
            if amount.is_some() || level == Some(it.depth) {
                losers.push(source);
                continue;
            }
            level = Some(it.depth);
            sources.push(source);
            match price_override {
                PriceOverride::Amount(minor) => amount = Some(minor),
                PriceOverride::Percent(percent) => percents.push(percent),
            }
        }
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .filter(|row| row.plan == *plan && row.from.is_none_or(|from| from < day_end))
            .collect();
        rows.sort_unstable_by_key(|row| Reverse((row.from, row.position)));
        for row in rows {
            let source = PriceSource::Row(row.position);
            if amount.is_some() {
                losers.push(source);
            } else {
                amount = Some(row.minor);
                sources.push(source);
            }
        }
        losers.sort_unstable();
        let base = amount.ok_or_else(|| quarantine(QuarantineReason::NoPrice))?;
        let minor = percents
            .iter()
            .try_fold(Ratio::whole(base), |price, percent| percent.apply(price))
            .ok_or_else(|| quarantine(QuarantineReason::TooLarge))?;
        Ok(Priced { losers, minor, sources })
    }

    /// The price overrides in force on the day that ends at `day_end`, the first to win first.
    fn price_overrides_in_force(
        &self,
        day_end: DateTime<Utc>,
        plan: &PlanKey,
    ) -> Vec<(PriceOverride, &Override)> {
        let mut in_force: Vec<_> = self
            .overrides
            .iter()
            .filter(|it| it.is_for(plan) && self.in_force(it, day_end))
            .filter_map(|it| match &it.overridden {
                Overridden::Price(Setting::Set { value, .. }) => Some((*value, it)),
                Overridden::Price(Setting::Cleared) | Overridden::Property { .. } => None,
            })
            .collect();
        in_force.sort_unstable_by_key(|(_, it)| {
            Reverse((it.depth, it.plan.is_some(), it.from, it.position))
        });
        in_force
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
                && by.property() == it.property()
        };
        it.from < day_end && !has_ended && !self.overrides.iter().any(cleared)
    }

    /// The moments within `[from, to)` at which a price may change.
    pub(super) fn moments(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        let priced = self.overrides.iter().filter(|it| it.property().is_none());
        let overridden = priced.flat_map(|it| [Some(it.from), it.to()]);
        let moments = self.rows.iter().map(|row| row.from).chain(overridden);
        moments.flatten().filter(move |moment| (from..to).contains(moment))
    }

    /// The override to which a price new on `date` is due: one that it comes from, or a clear.
    pub(super) fn cause_of(
        &self,
        priced: &Priced,
        date: NaiveDate,
        plan: &PlanKey,
        settings: &BillingSettings,
    ) -> Option<&Override> {
        let source = |it: &Override| priced.sources.contains(&PriceSource::Override(it.position));
        self.overrides
            .iter()
            .filter(|it| it.property().is_none() && it.is_for(plan))
            .filter(|it| source(it) || it.is_clear())
            .filter(|it| settings.local_date(it.from) == date)
            .max_by_key(|it| (source(it), it.depth, it.position))
    }
}

impl Override {
    /// Whether it is for `plan`, or for every plan.
    pub(super) fn is_for(&self, plan: &PlanKey) -> bool {
        self.plan.as_ref().is_none_or(|of| of == plan)
    }

    /// The property it is about; none where it is about the price.
    fn property(&self) -> Option<&PropertyKey> {
        match &self.overridden {
            Overridden::Price(_) => None,
            Overridden::Property { key, .. } => Some(key),
        }
    }

    /// When it ends by itself.
    fn to(&self) -> Option<DateTime<Utc>> {
        match &self.overridden {
            Overridden::Price(Setting::Set { to, .. })
            | Overridden::Property { setting: Setting::Set { to, .. }, .. } => *to,
            Overridden::Price(Setting::Cleared)
            | Overridden::Property { setting: Setting::Cleared, .. } => None,
        }
    }

    fn is_clear(&self) -> bool {
        matches!(
            self.overridden,
            Overridden::Price(Setting::Cleared)
                | Overridden::Property { setting: Setting::Cleared, .. }
        )
    }
}
