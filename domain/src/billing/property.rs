//! What a plan's property is on a date, where an override says so.

use std::cmp::Reverse;

use chrono::NaiveDate;

use super::calendar::following;
use super::{BillingSettings, Overridden, Override, Prices, Setting};
use crate::{PlanKey, PropertyKey};

impl Prices {
    /// The override of a property that wins on the seller's local `date`, and its value; none where
    /// the plan's own value holds. The same rule as for prices decides who wins.
    #[must_use]
    pub fn property_on(
        &self,
        date: NaiveDate,
        plan: &PlanKey,
        property: &PropertyKey,
        settings: &BillingSettings,
    ) -> Option<(&Override, &str)> {
        let day_end = settings.midnight(following(date));
        self.overrides
            .iter()
            .filter(|it| it.is_for(plan) && self.in_force(it, day_end))
            .filter_map(|it| match &it.overridden {
                Overridden::Property { key, setting: Setting::Set { value, .. } }
                    if key == property =>
                {
                    Some((it, value.as_str()))
                }
                Overridden::Price(_) | Overridden::Property { .. } => None,
            })
            .min_by_key(|(it, _)| Reverse((it.depth, it.plan.is_some(), it.from, it.position)))
    }
}
