//! What sellers say about their bills beside prices.

use chrono::NaiveDate;
use domain::OrganizationId;
use domain::billing::rule::{Condition, Rule, Test};
use domain::billing::rulebook::Pattern;
use projections::views::RulebookView;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A seller's billable rules.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RulesResource {
    /// The seller.
    pub organization_id: Uuid,
    /// In the order in which they are gone through; the last one that fits says the reason.
    pub rules: Vec<RuleResource>,
    /// Their `ETag`.
    pub version: u64,
}

/// What a seller does not charge, and why.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleResource {
    /// Names it.
    pub key: String,
    /// What it is for.
    pub description: String,
    /// Why it is not charged, as bills say it.
    pub reason: String,
    /// Rules are gone through by this number, then by key.
    pub order: u32,
    /// The first date of its time: it counts for periods that end in it.
    pub valid_from: NaiveDate,
    /// The first date after its time; none: it goes on.
    pub valid_to: Option<NaiveDate>,
    /// Of what.
    pub condition: ConditionResource,
}

/// What has to be so: `all`, `any` or `not` of others, or a `field` compared with values.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionResource {
    /// All of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub all: Option<Vec<Self>>,
    /// One of these, or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub any: Option<Vec<Self>>,
    /// Not this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub not: Option<Box<Self>>,
    /// What is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// How it is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<&'static str>,
    /// With what: one of these is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
}

impl From<&Condition> for ConditionResource {
    fn from(condition: &Condition) -> Self {
        let nothing = Self::default();
        let each = |some: &[Condition]| Some(some.iter().map(Self::from).collect());
        match condition {
            Condition::All(all) => Self { all: each(all), ..nothing },
            Condition::Any(any) => Self { any: each(any), ..nothing },
            Condition::Not(not) => {
                Self { not: Some(Box::new(Self::from(not.as_ref()))), ..nothing }
            }
            Condition::Test(Test { field, operator, values }) => Self {
                field: Some(field.to_string()),
                operator: Some(operator.name()),
                values: (!values.is_empty()).then(|| values.clone()),
                ..nothing
            },
        }
    }
}

impl From<&Rule> for RuleResource {
    fn from(rule: &Rule) -> Self {
        Self {
            key: rule.key.to_string(),
            description: rule.description.clone(),
            reason: rule.reason.clone(),
            order: rule.order,
            valid_from: rule.from,
            valid_to: rule.to,
            condition: (&rule.condition).into(),
        }
    }
}

impl RulesResource {
    /// Those of a seller, if he has ever had any.
    #[must_use]
    pub fn new(seller: OrganizationId, view: Option<&RulebookView>) -> Self {
        let rules = view.map(|view| view.rules_known_at(u64::MAX)).unwrap_or_default();
        Self {
            organization_id: seller.0,
            rules: rules.iter().map(|it| it.rule.into()).collect(),
            version: view.map_or(0, |view| view.rules_version),
        }
    }
}

/// How a seller describes what he bills.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PatternsResource {
    /// The seller.
    pub organization_id: Uuid,
    /// By service, plan and component.
    pub patterns: Vec<PatternResource>,
    /// Their `ETag`.
    pub version: u64,
}

/// How something that is billed is described.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PatternResource {
    /// Of which service.
    pub service: String,
    /// Of which plan; none: of all.
    pub plan: Option<String>,
    /// Which component; none: all.
    pub component: Option<String>,
    /// Describes a line; none: as the service's definition says.
    pub line: Option<String>,
    /// Describes what lines are summed up by; none: as the service's definition says.
    pub summary: Option<String>,
}

impl From<&Pattern> for PatternResource {
    fn from(pattern: &Pattern) -> Self {
        Self {
            service: pattern.element.service.to_string(),
            plan: pattern.element.plan.as_ref().map(ToString::to_string),
            component: pattern.element.component.as_ref().map(ToString::to_string),
            line: pattern.line.clone(),
            summary: pattern.summary.clone(),
        }
    }
}

impl PatternsResource {
    /// Those of a seller, if he has ever had any.
    #[must_use]
    pub fn new(seller: OrganizationId, view: Option<&RulebookView>) -> Self {
        let known = view.into_iter().flat_map(|view| view.patterns_known_at(u64::MAX));
        let mut patterns: Vec<_> = known.map(PatternResource::from).collect();
        patterns.sort_by(|a, b| {
            (&a.service, &a.plan, &a.component).cmp(&(&b.service, &b.plan, &b.component))
        });
        let version = view.map_or(0, |view| view.patterns_version);
        Self { organization_id: seller.0, patterns, version }
    }
}

/// The taxes that a seller adds.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaxRatesResource {
    /// The seller.
    pub organization_id: Uuid,
    /// By category and first date. What no rate is of is computed elsewhere.
    pub rates: Vec<TaxRateResource>,
    /// Their `ETag`.
    pub version: u64,
}

/// Which tax a seller adds for a category, from a date on.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaxRateResource {
    /// The category, as plans and components of services carry it.
    pub category: String,
    /// The first date: it is for service periods that end then or later.
    pub valid_from: NaiveDate,
    /// A decimal text; none: from then on it is computed elsewhere.
    pub percent: Option<String>,
}

impl TaxRatesResource {
    /// Those of a seller, if he has ever had any.
    #[must_use]
    pub fn new(seller: OrganizationId, view: Option<&RulebookView>) -> Self {
        let known = view.into_iter().flat_map(|view| view.tax_rates_known_at(u64::MAX));
        let rates = known.map(|rate| TaxRateResource {
            category: rate.key.category.to_string(),
            valid_from: rate.key.from,
            percent: rate.percent.map(|percent| percent.to_string()),
        });
        let version = view.map_or(0, |view| view.tax_rates_version);
        Self { organization_id: seller.0, rates: rates.collect(), version }
    }
}
