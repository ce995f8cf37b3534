//! Services as people see them, and what their plans cost.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use domain::billing::component::{Charge, ComponentKey};
use domain::billing::{ComponentRow, Measure, PolicyRow, PriceRow};
use domain::event::{Actor, Event, Recorded};
use domain::service::{Definition, Plan, ServiceEvent};
use domain::{PlanKey, ServiceKey, TaxCategory, TenantPath};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// A service: what is sold, what is being edited, and every price it ever had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    /// Names it.
    pub key: ServiceKey,
    /// What is sold; none before the first publication.
    pub published: Option<Definition>,
    /// Of what is sold: 1, 2, 3, ...
    pub published_version: u32,
    /// When and by whom each version was published, in the order of recording.
    pub publications: Vec<Publication>,
    /// What is being edited.
    pub draft: Option<Definition>,
    /// Dated components of the plans.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<ComponentRow>,
    /// How the days of plans are charged that are, or were, not charged day by day; dated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyRow>,
    /// Dated prices of the plans.
    pub prices: Vec<PriceRow>,
    /// Dated stock codes of the plans.
    pub skus: Vec<SkuRow>,
    /// How plans and components are taxed; dated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taxed: Vec<TaxedRow>,
    /// Of its stream; its `ETag`.
    pub version: u64,
}

/// The publication of a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Publication {
    /// Who published it.
    pub actor: Actor,
    /// From when on it is what is sold.
    pub effective_at: DateTime<Utc>,
    /// The position of the fact.
    pub position: u64,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A plan's stock code, from when on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SkuRow {
    /// From when; none: ever since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// Of which plan.
    pub plan: PlanKey,
    /// The position of the publication.
    pub position: u64,
    /// It.
    pub sku: String,
}

/// How a plan, or one of its components, is taxed from when on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaxedRow {
    /// How; none: not otherwise any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<TaxCategory>,
    /// Which component; none: the plan, and those that say nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<ComponentKey>,
    /// From when; none: ever since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// Of which plan.
    pub plan: PlanKey,
    /// The position of the publication.
    pub position: u64,
}

impl ServiceView {
    /// How a component of a plan is taxed just before a moment, as it was known at a position.
    #[must_use]
    pub fn taxed_before(
        &self,
        (plan, component): (&PlanKey, &ComponentKey),
        moment: DateTime<Utc>,
        known_at: u64,
    ) -> Option<&TaxCategory> {
        let last = |of: Option<&ComponentKey>| {
            let rows = self.taxed.iter().filter(|row| {
                row.plan == *plan && row.component.as_ref() == of && row.position <= known_at
            });
            let begun = rows.filter(|row| row.from.is_none_or(|from| from < moment));
            begun.max_by_key(|row| (row.from, row.position))?.category.as_ref()
        };
        last(Some(component)).or_else(|| last(None))
    }

    /// Whether anything that it ever sold is charged by what is used.
    #[must_use]
    pub fn is_metered(&self) -> bool {
        let mut charges = self.components.iter().filter_map(|row| row.charge.as_ref());
        charges.any(|charge| matches!(charge, Charge::Usage { .. }))
    }

    /// A plan's stock code just before a moment, as it was known at a position; a label that may change without
    /// splitting history (billing.md, section 4).
    #[must_use]
    pub fn sku_before(&self, plan: &PlanKey, moment: DateTime<Utc>, known_at: u64) -> Option<&str> {
        let rows = self.skus.iter().filter(|row| row.plan == *plan && row.position <= known_at);
        let begun = rows.filter(|row| row.from.is_none_or(|from| from < moment));
        begun.max_by_key(|row| (row.from, row.position)).map(|row| row.sku.as_str())
    }
}

/// The stock codes that a publication changes. A plan's first one holds since ever.
fn new_skus<'a>(
    skus: &'a [SkuRow],
    plans: &'a [Plan],
    event: &'a Recorded,
) -> impl Iterator<Item = SkuRow> + 'a {
    plans.iter().filter_map(move |plan| {
        let last = skus.iter().rfind(|row| row.plan == plan.key);
        (last.map(|row| &row.sku) != Some(&plan.sku)).then(|| SkuRow {
            from: last.map(|_| event.effective_at),
            plan: plan.key.clone(),
            position: event.position,
            sku: plan.sku.clone(),
        })
    })
}

/// How plans and components are taxed otherwise from a publication on. What a plan begins with holds since ever.
fn new_taxed(view: &ServiceView, plans: &[Plan], event: &Recorded) -> Vec<TaxedRow> {
    let mut new = Vec::new();
    for plan in plans {
        let is_known =
            view.published.as_ref().is_some_and(|published| published.plan(&plan.key).is_some());
        let rows = || view.taxed.iter().filter(|row| row.plan == plan.key);
        let components = plan.components.iter().map(|it| (Some(&it.key), &it.tax_category));
        let said: Vec<_> = components.chain([(None, &plan.tax_category)]).collect();
        let gone = rows().map(|row| row.component.as_ref());
        let gone = gone.filter(|key| said.iter().all(|(said, _)| said != key));
        let gone: BTreeSet<_> = gone.collect();
        let gone: Vec<_> = gone.into_iter().map(|key| (key, &None)).collect();
        for (component, category) in said.iter().copied().chain(gone) {
            let last = rows().rfind(|row| row.component.as_ref() == component);
            if last.and_then(|row| row.category.as_ref()) != category.as_ref() {
                new.push(TaxedRow {
                    category: category.clone(),
                    component: component.cloned(),
                    from: is_known.then_some(event.effective_at),
                    plan: plan.key.clone(),
                    position: event.position,
                });
            }
        }
    }
    new
}

/// The prices that a publication changes. A plan's first price holds since ever, unless it had components before.
fn new_prices<'a>(
    prices: &'a [PriceRow],
    components: &'a [ComponentRow],
    plans: &'a [Plan],
    event: &'a Recorded,
) -> impl Iterator<Item = PriceRow> + 'a {
    plans.iter().filter_map(move |plan| {
        let minor = plan.price?.minor;
        let last = prices.iter().rfind(|row| row.plan == plan.key);
        (last.map(|row| row.minor) != Some(minor)).then(|| PriceRow {
            from: (last.is_some() || components.iter().any(|row| row.plan == plan.key))
                .then_some(event.effective_at),
            minor,
            plan: plan.key.clone(),
            position: event.position,
        })
    })
}

/// The components that a publication changes, adds or ends. Those of a plan that had no price before hold since ever.
fn new_components<'a>(
    view: &'a ServiceView,
    Definition { meters, plans, properties, .. }: &'a Definition,
    event: &'a Recorded,
) -> impl Iterator<Item = ComponentRow> + 'a {
    plans.iter().flat_map(move |plan| {
        let rows = || view.components.iter().filter(|row| row.plan == plan.key);
        let is_priced = rows().next().is_some() || view.prices.iter().any(|it| it.plan == plan.key);
        let last = move |key: &ComponentKey| rows().rfind(|row| row.component == *key);
        let measure = move |charge: Option<&Charge>| match charge? {
            Charge::Property { property, .. } => {
                let property = properties.iter().find(|it| it.key == *property)?;
                let value = plan.properties.get(&property.key).or(property.default.as_ref());
                let units = property.value_type.units().to_vec();
                Some(Measure { aggregation: None, unit: None, units, value: value.cloned() })
            }
            Charge::Usage { meter, .. } => {
                let meter = meters.iter().find(|it| it.key == *meter)?;
                Some(Measure {
                    aggregation: Some(meter.aggregation),
                    unit: Some(meter.unit.clone()),
                    units: Vec::new(),
                    value: None,
                })
            }
            Charge::Minimum { .. } | Charge::OneOff { .. } | Charge::Recurring { .. } => None,
        };
        let row = move |component: &ComponentKey, charge: Option<&Charge>| ComponentRow {
            measure: measure(charge),
            charge: charge.cloned(),
            component: component.clone(),
            from: is_priced.then_some(event.effective_at),
            plan: plan.key.clone(),
            position: event.position,
        };
        let charged = plan.components.iter().filter_map(move |it| {
            let new = row(&it.key, Some(&it.charge));
            let is_same = last(&it.key)
                .is_some_and(|old| old.charge == new.charge && old.measure == new.measure);
            (!is_same).then_some(new)
        });
        let known: BTreeSet<_> = rows().map(|row| &row.component).collect();
        let gone = known.into_iter().filter_map(move |key| {
            let is_there = plan.components.iter().any(|it| it.key == *key);
            let was_there = last(key).is_some_and(|row| row.charge.is_some());
            (was_there && !is_there).then(|| row(key, None))
        });
        charged.chain(gone)
    })
}

/// The day policies that a publication changes. A plan's first one holds since ever.
fn new_policies<'a>(
    policies: &'a [PolicyRow],
    published: Option<&'a Definition>,
    plans: &'a [Plan],
    event: &'a Recorded,
) -> impl Iterator<Item = PolicyRow> + 'a {
    plans.iter().filter_map(move |plan| {
        let last = policies.iter().rfind(|row| row.plan == plan.key);
        let before = last.map(|row| (row.policy, row.suspended)).unwrap_or_default();
        let is_known = published.is_some_and(|published| published.plan(&plan.key).is_some());
        (before != (plan.day_policy, plan.suspended)).then(|| PolicyRow {
            from: is_known.then_some(event.effective_at),
            plan: plan.key.clone(),
            policy: plan.day_policy,
            position: event.position,
            suspended: plan.suspended,
        })
    })
}

impl View for ServiceView {
    const TABLE: &'static str = "view_service";
    const INDEXES: &'static [&'static str] = &["path, sort, key"];
    held_in!(services);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match (&event.event, event.stream.split_once('-')) {
            (Event::Service(_), Some((_, key))) => vec![Touch::own(key, event)],
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let Event::Service(happened) = &event.event else {
            return before;
        };
        let (ServiceEvent::Drafted { definition } | ServiceEvent::Published { definition, .. }) =
            happened;
        let mut view = before.unwrap_or_else(|| Self {
            key: definition.key.clone(),
            published: None,
            published_version: 0,
            publications: Vec::new(),
            draft: None,
            components: Vec::new(),
            policies: Vec::new(),
            prices: Vec::new(),
            skus: Vec::new(),
            taxed: Vec::new(),
            version: 0,
        });
        view.version = event.version;
        match happened {
            ServiceEvent::Drafted { definition } => view.draft = Some(definition.clone()),
            ServiceEvent::Published { definition, version } => {
                let prices = new_prices(&view.prices, &view.components, &definition.plans, event);
                let prices: Vec<_> = prices.collect();
                let components: Vec<_> = new_components(&view, definition, event).collect();
                view.prices.extend(prices);
                view.components.extend(components);
                let new: Vec<_> = new_skus(&view.skus, &definition.plans, event).collect();
                view.skus.extend(new);
                let new = new_taxed(&view, &definition.plans, event);
                view.taxed.extend(new);
                let published = view.published.as_ref();
                let new = new_policies(&view.policies, published, &definition.plans, event);
                let new: Vec<_> = new.collect();
                view.policies.extend(new);
                view.publications.push(Publication {
                    actor: event.actor,
                    effective_at: event.effective_at,
                    position: event.position,
                    reason: event.reason.clone(),
                });
                view.published = Some(definition.clone());
                view.published_version = *version;
            }
        }
        Some(view)
    }

    fn index(&self) -> Index {
        let name = self.published.as_ref().or(self.draft.as_ref()).map(|known| &known.name);
        Index {
            path: TenantPath::provider().to_string(),
            kind: if self.published.is_some() { "published" } else { "draft" }.to_owned(),
            sort: name.map(|name| name.to_lowercase()).unwrap_or_default(),
            ..Index::default()
        }
    }
}
