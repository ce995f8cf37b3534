//! Overrides: a price or a plan's property, set otherwise for one organisation and all below it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::billing::{BillingSettings, Overridden, Override, Prices};
use crate::service::Plan;
use crate::{OrganizationId, PlanKey, PropertyKey, ServiceKey};

/// What an organisation sets otherwise, or clears.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Overriding {
    /// What, and to what.
    pub overridden: Overridden,
    /// Of which plan; none: of every plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanKey>,
    /// Of which service.
    pub service: ServiceKey,
}

/// The overrides of one organisation on the way down to a holder.
#[derive(Clone, Copy, Debug)]
pub struct Level<'a> {
    /// Who set them.
    pub organization: OrganizationId,
    /// Each with when it is from, in the order of recording.
    pub overrides: &'a [(DateTime<Utc>, Overriding)],
}

/// A property's value, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedProperty {
    /// Which.
    pub key: PropertyKey,
    /// The organisation that overrides it; none: it is the plan's own value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overridden_by: Option<OrganizationId>,
    /// Its value.
    pub value: String,
}

/// The plan's properties as they are at a moment for somebody below `levels` (the provider first).
#[must_use]
pub fn resolve(
    service: &ServiceKey,
    plan: &Plan,
    levels: &[Level<'_>],
    moment: DateTime<Utc>,
    settings: &BillingSettings,
) -> Vec<ResolvedProperty> {
    let overrides = levels.iter().enumerate().flat_map(|(above, level)| {
        let of_service = level.overrides.iter().filter(|(_, it)| it.service == *service);
        of_service.zip(1..).map(move |((from, it), order)| Override {
            actor: String::new(),
            depth: above + 1,
            from: *from,
            overridden: it.overridden.clone(),
            plan: it.plan.clone(),
            position: order,
            reason: None,
        })
    });
    let prices = Prices { overrides: overrides.collect(), rows: Vec::new() };
    let date = settings.local_date(moment);
    plan.properties
        .iter()
        .map(|(key, value)| match prices.property_on(date, &plan.key, key, settings) {
            Some((by, value)) => ResolvedProperty {
                key: key.clone(),
                overridden_by: Some(levels[by.depth - 1].organization),
                value: value.to_owned(),
            },
            None => {
                ResolvedProperty { key: key.clone(), overridden_by: None, value: value.clone() }
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use uuid::Uuid;

    use super::*;
    use crate::billing::{CalendarRule, Setting};
    use crate::decider::testing::november;
    use crate::money::Currency;

    const PROVIDER: OrganizationId = OrganizationId(Uuid::from_u128(1));
    const CUSTOMER: OrganizationId = OrganizationId(Uuid::from_u128(30));

    fn service(key: &str) -> ServiceKey {
        ServiceKey::parse(key).unwrap()
    }

    fn quota(service_key: &str, value: &str) -> Overriding {
        let setting = Setting::Set { to: None, value: value.to_owned() };
        let key = PropertyKey::parse("Quota").unwrap();
        Overriding {
            overridden: Overridden::Property { key, setting },
            plan: None,
            service: service(service_key),
        }
    }

    /// What the quota of a mailbox is on the tenth, and who says so.
    fn resolved(
        provider: &[(DateTime<Utc>, Overriding)],
        customer: &[(DateTime<Utc>, Overriding)],
    ) -> (String, Option<OrganizationId>) {
        let key = PropertyKey::parse("Quota").unwrap();
        let plan = Plan {
            key: PlanKey::parse("a").unwrap(),
            name: "A".to_owned(),
            price: None,
            properties: BTreeMap::from([(key.clone(), "1 GB".to_owned())]),
            retired: false,
            sku: "A".to_owned(),
        };
        let settings = BillingSettings {
            currency: Currency::parse("EUR").unwrap(),
            rule: CalendarRule::CalendarMonth,
            zone: chrono_tz::UTC,
        };
        let levels = [
            Level { organization: PROVIDER, overrides: provider },
            Level { organization: CUSTOMER, overrides: customer },
        ];
        let properties = resolve(&service("mailbox"), &plan, &levels, november(10), &settings);
        let [quota] = <[_; 1]>::try_from(properties).unwrap();
        assert_eq!(quota.key, key);
        (quota.value, quota.overridden_by)
    }

    #[test]
    fn a_property_that_nobody_overrides_is_the_plan_s_own() {
        assert_eq!(resolved(&[], &[]), ("1 GB".to_owned(), None));
        let tomorrow = [(november(11), quota("mailbox", "2 GB"))];
        assert_eq!(resolved(&[], &tomorrow), ("1 GB".to_owned(), None));
    }

    #[test]
    fn an_override_of_another_service_is_none() {
        let other = [(november(1), quota("backup", "2 GB"))];
        assert_eq!(resolved(&other, &other), ("1 GB".to_owned(), None));
    }

    #[test]
    fn the_nearest_organisation_wins_and_is_named() {
        let far = [(november(9), quota("mailbox", "2 GB"))];
        let near = [(november(1), quota("mailbox", "3 GB"))];
        assert_eq!(resolved(&far, &[]), ("2 GB".to_owned(), Some(PROVIDER)));
        assert_eq!(resolved(&far, &near), ("3 GB".to_owned(), Some(CUSTOMER)));
        assert_eq!(resolved(&[], &near), ("3 GB".to_owned(), Some(CUSTOMER)));
    }

    #[test]
    fn of_two_at_one_moment_the_later_recorded_wins() {
        let twice =
            [(november(9), quota("mailbox", "2 GB")), (november(9), quota("mailbox", "3 GB"))];
        assert_eq!(resolved(&twice, &[]), ("3 GB".to_owned(), Some(PROVIDER)));
    }
}
