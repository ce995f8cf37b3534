//! What services cost, and who set what otherwise.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::billing::{BillingSettings, Override, Payer, Prices, RateRow, SellerPrices};
use domain::money::Currency;
use domain::{OrganizationId, ServiceKey, SubscriptionId, TenantPath};
use eventstore::{Database, Error, Value, failpoint};

use super::sellers::{Seller, Sellers};
use super::supposed::Supposed;
use crate::document::View;
use crate::finder::{self, Query, Scope};
use crate::tables;
use crate::views::{CommitmentView, OverrideView, PriceView, RateView, ServiceView};

/// What services cost, and who set what otherwise.
#[derive(Debug)]
pub(super) struct PriceBook {
    pub(super) services: BTreeMap<String, Arc<ServiceView>>,
    /// By the path of who set them, in the order of recording.
    pub(super) overrides: HashMap<String, Vec<Arc<OverrideView>>>,
    pub(super) sellers: Sellers,
    /// Rows of sellers' price books, by the seller's path, in the order of recording.
    rows: HashMap<String, Vec<Arc<PriceView>>>,
    /// The subscriptions that any of them is for alone.
    instances: HashSet<SubscriptionId>,
    /// Exchange rates, by the path of the seller who set them, in the order of recording.
    rates: HashMap<String, Vec<RateRow>>,
    /// What buyers are committed to, in the order of recording.
    pub(super) commitments: Vec<Arc<CommitmentView>>,
    pub(super) known_at: u64,
}

/// On the way to whom something is priced, and where that is.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    /// The sellers whose prices lead there, the provider first.
    pub(super) sellers: &'a [Arc<Seller>],
    /// Who buys: a reseller, or the customer.
    pub(super) buyer: OrganizationId,
    /// Who pays.
    pub(super) payer: Payer,
    /// Where the customer was then, and where it is now: what it has set otherwise is there.
    pub(super) then: &'a TenantPath,
    pub(super) now: &'a TenantPath,
    /// Who bills, by whose settings.
    pub(super) biller: &'a Seller,
    /// Of which subscription.
    pub(super) subscription: Option<SubscriptionId>,
}

impl PriceBook {
    /// For what is in scope, and for some places beside it.
    pub(super) async fn load(
        database: &Database,
        scope: &Scope,
        known_at: u64,
        places: BTreeSet<TenantPath>,
    ) -> Result<Self, Error> {
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
        let sellers = Sellers::load(database, scope, places.iter().cloned()).await?;
        let mut overrides = HashMap::<_, Vec<_>>::new();
        for view in set_at::<OverrideView>(database, scope, &places).await? {
            overrides.entry(view.path.to_string()).or_default().push(view);
        }
        let rows = set_at::<PriceView>(database, scope, &places).await?;
        let mut rates = HashMap::<_, Vec<_>>::new();
        for view in set_at::<RateView>(database, scope, &places).await? {
            rates.entry(view.path.to_string()).or_default().push(view.for_rating());
        }
        let commitments = set_at::<CommitmentView>(database, scope, &places).await?;
        let (instances, none) = (HashSet::new(), HashMap::new());
        let mut book = Self {
            services,
            overrides,
            sellers,
            rows: none,
            instances,
            rates,
            commitments,
            known_at,
        };
        book.add_rows(rows);
        Ok(book)
    }

    fn add_rows(&mut self, rows: impl IntoIterator<Item = Arc<PriceView>>) {
        for row in rows {
            self.instances.extend(row.setting.subscription);
            self.rows.entry(row.path.to_string()).or_default().push(row);
        }
    }

    /// Without what is said only for later than a moment.
    pub(super) fn until(mut self, as_of: Option<DateTime<Utc>>) -> Self {
        let Some(as_of) = as_of else { return self };
        let counts = |from: Option<DateTime<Utc>>| from.is_none_or(|from| from <= as_of);
        for set in self.overrides.values_mut() {
            set.retain(|it| it.effective_from <= as_of);
        }
        for rows in self.rows.values_mut() {
            rows.retain(|row| row.effective_from <= as_of);
        }
        self.commitments.retain(|it| it.effective_from <= as_of);
        for seller in self.sellers.all() {
            let today = seller.settings.local_date(as_of);
            if let Some(rates) = self.rates.get_mut(seller.path.as_str()) {
                rates.retain(|rate| rate.since <= today);
            }
        }
        for service in self.services.values_mut() {
            let service = Arc::make_mut(service);
            service.components.retain(|row| counts(row.from));
            service.policies.retain(|row| counts(row.from));
            service.prices.retain(|row| counts(row.from));
            service.skus.retain(|row| counts(row.from));
            service.taxed.retain(|row| counts(row.from));
        }
        self
    }

    /// Adds what would be said otherwise.
    pub(super) fn suppose(&mut self, supposed: &Supposed) {
        for service in supposed.services() {
            self.services.insert(service.key.to_string(), service);
        }
        for view in supposed.overrides() {
            self.overrides.entry(view.path.to_string()).or_default().push(view);
        }
        self.add_rows(supposed.prices());
        for view in supposed.rates() {
            self.rates.entry(view.path.to_string()).or_default().push(view.for_rating());
        }
        self.commitments.extend(supposed.commitments());
    }

    /// The services that ever charged for usage.
    pub(super) fn metered(&self) -> HashSet<ServiceKey> {
        let metered = self.services.values().filter(|service| service.is_metered());
        metered.map(|service| service.key.clone()).collect()
    }

    /// Whether a seller has rows for this subscription alone.
    pub(super) fn is_for_instance(&self, subscription: SubscriptionId) -> bool {
        self.instances.contains(&subscription)
    }

    /// What says the price of a service on a way, as it was known at a position.
    pub(super) fn at(&self, service: &ServiceView, way: &Way<'_>, known_at: u64) -> Prices {
        let mut above = way.then.lineage();
        above.pop();
        above.push(way.now.clone());
        // Prices are those of the buyer and above; properties count for everybody.
        let buyer = way.sellers.len() + 1;
        let overrides = above.iter().zip(1..).flat_map(|(path, depth)| {
            let views = self.overrides.get(path.as_str()).into_iter().flatten();
            let views = views
                .filter(move |it| it.position <= known_at && it.overriding.service == service.key)
                .filter(move |it| depth <= buyer || it.overriding.overridden.component().is_none());
            views.map(move |it| Override { depth, ..it.for_rating() })
        });
        let rows = service.prices.iter().filter(|row| row.position <= known_at);
        let components = service.components.iter().filter(|row| row.position <= known_at);
        let policies = service.policies.iter().filter(|row| row.position <= known_at);
        let chain = self.chain(service, way, known_at);
        let is_exchanged = chain.iter().any(|it| it.currency != way.biller.settings.currency)
            || chain.iter().any(|it| !it.rows.is_empty());
        Prices {
            chain,
            components: components.cloned().collect(),
            overrides: overrides.collect(),
            payer: way.payer,
            policies: policies.cloned().collect(),
            rates: if is_exchanged { self.rates_of(way.biller, known_at) } else { Vec::new() },
            rows: rows.cloned().collect(),
        }
    }

    /// What the sellers on a way say of their own; empty where none does, and all bill in one currency.
    fn chain(&self, service: &ServiceView, way: &Way<'_>, known_at: u64) -> Vec<SellerPrices> {
        let currency = way.biller.settings.currency;
        let buyers = way.sellers.iter().skip(1).map(|seller| seller.id).chain([way.buyer]);
        let chain: Vec<_> = way
            .sellers
            .iter()
            .zip(buyers)
            .map(|(seller, buyer)| {
                let rows = self.rows.get(seller.path.as_str()).into_iter().flatten();
                let rows = rows.filter(|row| {
                    let of = &row.setting;
                    row.position <= known_at
                        && of.service.as_ref().is_none_or(|it| *it == service.key)
                        && of.buyer.is_none_or(|it| it == buyer)
                        && (of.subscription.is_none() || of.subscription == way.subscription)
                });
                let rows = rows.map(|row| row.for_rating()).collect();
                SellerPrices { currency: seller.settings.currency, rows }
            })
            .collect();
        let is_plain = |it: &SellerPrices| it.rows.is_empty() && it.currency == currency;
        if chain.iter().all(is_plain) { Vec::new() } else { chain }
    }

    /// The rates that a seller goes by, as they were known at a position: his own, and for other currencies those of the
    /// nearest above him.
    pub(super) fn rates_of(&self, seller: &Seller, known_at: u64) -> Vec<RateRow> {
        let mut rates: Vec<RateRow> = Vec::new();
        let mut known = HashSet::<(Currency, Currency)>::new();
        for path in seller.path.lineage().iter().rev() {
            let rows = self.rates.get(path.as_str()).into_iter().flatten();
            let rows =
                rows.filter(|it| it.position <= known_at && !known.contains(&(it.from, it.to)));
            rates.extend(rows.copied().collect::<Vec<_>>());
            known.extend(rates.iter().map(|it| (it.from, it.to)));
        }
        rates
    }

    /// What says the price of a service for somebody at a path, as it is known.
    pub(super) fn of(
        &self,
        service: &ServiceView,
        (buyer, path): (OrganizationId, &TenantPath),
        settings: &BillingSettings,
    ) -> Prices {
        let mut above = path.lineage();
        above.pop();
        let sellers: Vec<_> = above.iter().filter_map(|it| self.sellers.at(it).cloned()).collect();
        // Nobody sells to the provider.
        let Some(biller) = sellers.last().or(self.sellers.at(path)) else {
            return Prices::default();
        };
        let biller = Seller { settings: Arc::new(settings.clone()), ..biller.as_ref().clone() };
        let way = Way {
            sellers: &sellers,
            buyer,
            payer: Payer::Buyer,
            then: path,
            now: path,
            biller: &biller,
            subscription: None,
        };
        self.at(service, &way, self.known_at)
    }
}

/// What is set in a scope, above it and at some other places, in the order of recording.
async fn set_at<V: View>(
    database: &Database,
    scope: &Scope,
    places: &BTreeSet<TenantPath>,
) -> Result<Vec<Arc<V>>, Error> {
    let above = scope.0.lineage();
    let above = above.iter().chain(places).map(ToString::to_string).collect();
    let sql = format!(
        "select key, document from {} where (path >= $1 and path < $2) or {} order by key",
        V::TABLE,
        database.engine().any_of("path", 3)
    );
    let values = [scope.0.as_str().into(), scope.0.end().into(), Value::Texts(above)];
    failpoint("projections::ledger::prices")?;
    let rows = database.fetch(&sql, &values).await?;
    rows.iter().map(|row| tables::read(row.text(0)?, row.bytes(1)?)).collect()
}
