//! What sellers say about their bills beside prices.

use async_graphql::{Json, SimpleObject};
use commands::resource::{PatternResource, RuleResource, TaxRateResource};

use super::scalar::Date;

/// What a seller does not charge, and why.
#[derive(Clone, SimpleObject)]
pub(crate) struct BillableRule {
    /// Names it.
    key: String,
    /// What it is for.
    description: String,
    /// Why it is not charged, as bills say it.
    reason: String,
    /// Rules are gone through by this number, then by key.
    order: u32,
    /// The first date of its time: it counts for periods that end in it.
    valid_from: Date,
    /// The first date after its time; none: it goes on.
    valid_to: Option<Date>,
    /// Of what: as in the REST API.
    condition: Json<serde_json::Value>,
}

impl From<RuleResource> for BillableRule {
    fn from(rule: RuleResource) -> Self {
        Self {
            key: rule.key,
            description: rule.description,
            reason: rule.reason,
            order: rule.order,
            valid_from: Date(rule.valid_from),
            valid_to: rule.valid_to.map(Date),
            condition: Json(serde_json::to_value(rule.condition).expect("it has text keys only")),
        }
    }
}

/// How a seller describes something that is billed.
#[derive(Clone, SimpleObject)]
pub(crate) struct BillingPattern {
    /// The key of the service.
    service_key: String,
    /// The key of the plan; none: of all.
    plan_key: Option<String>,
    /// Which component; none: all.
    component: Option<String>,
    /// Describes a line; none: as the service's definition says.
    line: Option<String>,
    /// Describes what lines are summed up by; none: as the service's definition says.
    summary: Option<String>,
}

impl From<PatternResource> for BillingPattern {
    fn from(pattern: PatternResource) -> Self {
        let PatternResource { service, plan, component, line, summary } = pattern;
        Self { service_key: service, plan_key: plan, component, line, summary }
    }
}

/// Which tax a seller adds for a category, from a date on.
#[derive(Clone, SimpleObject)]
pub(crate) struct TaxRate {
    /// The category, as plans and components of services carry it.
    category: String,
    /// The first date: it is for service periods that end then or later.
    valid_from: Date,
    /// In percent; none: from then on it is computed elsewhere.
    percent: Option<String>,
}

impl From<TaxRateResource> for TaxRate {
    fn from(rate: TaxRateResource) -> Self {
        let TaxRateResource { category, valid_from, percent } = rate;
        Self { category, valid_from: Date(valid_from), percent }
    }
}
