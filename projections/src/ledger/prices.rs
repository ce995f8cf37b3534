//! What services cost, and who set what otherwise.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use domain::billing::{Override, Prices};
use domain::{ServiceKey, TenantPath};
use eventstore::{Database, Error, Value, failpoint};

use super::Question;
use crate::finder::{self, Query, Scope};
use crate::tables;
use crate::views::{OverrideView, ServiceView};

/// What services cost, and who set what otherwise.
#[derive(Debug)]
pub(super) struct PriceBook {
    pub(super) services: BTreeMap<String, Arc<ServiceView>>,
    /// By the path of who set them, in the order of recording.
    pub(super) overrides: HashMap<String, Vec<Arc<OverrideView>>>,
    pub(super) known_at: u64,
}

impl PriceBook {
    /// For what is in scope, and for some places beside it.
    pub(super) async fn load(
        database: &Database,
        question: &Question,
        places: BTreeSet<TenantPath>,
    ) -> Result<Self, Error> {
        let known_at = question.known_at.unwrap_or(u64::MAX);
        let mut services = BTreeMap::new();
        let mut query = Query { limit: finder::LIST_MAX, ..Query::default() };
        loop {
            let page = finder::list(database, &Scope::catalogue(), &query).await?;
            query.after = page.items.last().map(|(cursor, _)| cursor.clone());
            services.extend(
                page.items
                    .into_iter()
                    .map(|(cursor, view): (_, Arc<ServiceView>)| (cursor.key, view)),
            );
            if !page.more {
                break;
            }
        }
        let above = question.scope.0.lineage();
        let above = above.iter().chain(&places).map(ToString::to_string).collect();
        let sql = format!(
            "select key, document from view_override where (path >= $1 and path < $2) or {} \
             order by key",
            database.engine().any_of("path", 3)
        );
        let scope = &question.scope.0;
        let values = [scope.as_str().into(), scope.end().into(), Value::Texts(above)];
        failpoint("projections::ledger::prices")?;
        let rows = database.fetch(&sql, &values).await?;
        let mut overrides = HashMap::<_, Vec<_>>::new();
        for row in &rows {
            let view: Arc<OverrideView> = tables::read(row.text(0)?, row.bytes(1)?)?;
            overrides.entry(view.path.to_string()).or_default().push(view);
        }
        Ok(Self { services, overrides, known_at })
    }

    /// The services that ever charged for usage.
    pub(super) fn metered(&self) -> HashSet<ServiceKey> {
        let metered = self.services.values().filter(|service| service.is_metered());
        metered.map(|service| service.key.clone()).collect()
    }

    /// What says the price of a service for somebody at `path`.
    pub(super) fn of(&self, service: &ServiceView, path: &TenantPath) -> Prices {
        self.at(service, (path, path), self.known_at)
    }

    /// What says the price of a service for somebody who is at `own` now and was at `path` then, as it was known at a
    /// position.
    pub(super) fn at(
        &self,
        service: &ServiceView,
        (path, own): (&TenantPath, &TenantPath),
        known_at: u64,
    ) -> Prices {
        let mut above = path.lineage();
        above.pop();
        above.push(own.clone());
        let overrides = above.iter().zip(1..).flat_map(|(path, depth)| {
            let views = self.overrides.get(path.as_str()).into_iter().flatten();
            let views = views
                .filter(move |it| it.position <= known_at && it.overriding.service == service.key);
            views.map(move |it| Override { depth, ..it.for_rating() })
        });
        let rows = service.prices.iter().filter(|row| row.position <= known_at);
        let components = service.components.iter().filter(|row| row.position <= known_at);
        let policies = service.policies.iter().filter(|row| row.position <= known_at);
        Prices {
            components: components.cloned().collect(),
            overrides: overrides.collect(),
            policies: policies.cloned().collect(),
            rows: rows.cloned().collect(),
        }
    }
}
