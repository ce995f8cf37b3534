//! Sellers, and between whom what is charged for a customer's services: the provider sells to a reseller, who sells to the
//! next, and the last one to the customer, unless somebody above bills the customer (billing.md, section 4, Edge).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::billing::{BillingSettings, Turn};
use domain::organization::Kind;
use domain::{Bug, OrganizationId, TenantPath, planted};
use eventstore::{Database, Error, Value, failpoint};

use super::Side;
use crate::finder::Scope;
use crate::tables;
use crate::views::{CalendarView, OrganizationView};

/// Somebody who sells: the provider or a reseller.
#[derive(Clone, Debug)]
pub struct Seller {
    /// Who.
    pub id: OrganizationId,
    /// His place in the tree; sellers stay where they are.
    pub path: TenantPath,
    /// By which he bills: his own, or those of the nearest above who has any.
    pub settings: Arc<BillingSettings>,
    /// The organisation.
    pub view: Arc<OrganizationView>,
}

impl Seller {
    /// As people call him.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.view.details.name
    }
}

/// The sellers in a scope and above some places, by their places.
#[derive(Debug)]
pub(super) struct Sellers(BTreeMap<String, Arc<Seller>>);

impl Sellers {
    /// Those in a scope and above it, and those at some other places.
    ///
    /// # Errors
    /// What the database says; where there is no provider yet.
    pub(super) async fn load(
        database: &Database,
        scope: &Scope,
        places: impl IntoIterator<Item = TenantPath>,
    ) -> Result<Self, Error> {
        let above = scope.0.lineage().into_iter().chain(places);
        let above = above.map(|path| path.to_string()).collect();
        let sql = format!(
            "select key, document from view_organization \
             where kind in ('provider', 'reseller', 'deleted reseller', 'deleted and purged reseller') \
             and ((path >= $1 and path < $2) or {}) order by path",
            database.engine().any_of("path", 3)
        );
        let values = [scope.0.as_str().into(), scope.0.end().into(), Value::Texts(above)];
        failpoint("projections::ledger::sellers")?;
        let rows = database.fetch(&sql, &values).await?;
        let views = rows
            .iter()
            .map(|row| tables::read(row.text(0)?, row.bytes(1)?))
            .collect::<Result<Vec<Arc<OrganizationView>>, Error>>()?;
        let calendars = calendars(database).await?;
        let mut sellers = BTreeMap::new();
        for view in views {
            let nearest = view.path.lineage().into_iter().rev();
            let mut nearest = nearest.filter_map(|path| calendars.get(path.as_str()));
            let settings = nearest.next().ok_or_else(no_provider)?.clone();
            let (id, path) = (view.id, view.path.clone());
            sellers.insert(path.to_string(), Arc::new(Seller { id, path, settings, view }));
        }
        Ok(Self(sellers))
    }

    /// The one at a place.
    #[must_use]
    pub(super) fn at(&self, path: &TenantPath) -> Option<&Arc<Seller>> {
        self.0.get(path.as_str())
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Seller>> {
        self.0.values()
    }

    /// Those above a place, the provider first.
    fn above(&self, path: &TenantPath) -> Vec<Arc<Seller>> {
        let mut lineage = path.lineage();
        lineage.pop();
        lineage.iter().filter_map(|path| self.at(path).cloned()).collect()
    }

    /// Between whom what is charged for a customer, as it was known at a position, and as if only that counted which was
    /// true by a moment: in the order of time. What the provider itself pays is among them where that is asked about.
    #[must_use]
    pub(super) fn links(
        &self,
        customer: &OrganizationView,
        (as_of, known_at): (Option<DateTime<Utc>>, u64),
        side: Side,
    ) -> Vec<Link> {
        if customer.kind != Kind::Customer {
            return self.account(customer).into_iter().collect();
        }
        let edges = customer.edges_known_at(known_at);
        let mut links: Vec<Link> = Vec::new();
        for (place, edge) in edges.iter().enumerate() {
            let until = edges.get(place + 1).and_then(|next| next.turn.clone());
            let above = self.above(&edge.path);
            let Some(last) = above.len().checked_sub(1) else { continue };
            let biller = above.iter().position(|it| it.id == edge.seller).unwrap_or(last);
            let link = |role, way: &[Arc<Seller>], seller: &Arc<Seller>, buyer| Link {
                buyer,
                from: edge.turn.clone(),
                path: edge.path.clone(),
                role,
                seller: seller.clone(),
                until: until.clone(),
                way: way.to_vec(),
            };
            let first = 1 + usize::from(planted(Bug::EdgeSkipped));
            let buys = (first..=biller)
                .map(|at| link(Role::Sale, &above[..at], &above[at - 1], Some(above[at].id)));
            let sale = link(Role::Sale, &above, &above[biller], None);
            let earns = (biller + 1..=last).map(|at| {
                // What the next one pays less what this one pays.
                link(Role::Commission, &above[..=at], &above[biller], Some(above[at].id))
            });
            let provider = &above[0];
            let supply = (side == Side::Buys(provider.id))
                .then(|| link(Role::Supply, &above[..1], provider, Some(provider.id)));
            for mut link in supply.into_iter().chain(buys).chain([sale]).chain(earns) {
                // A date begins at each seller with his own midnight.
                let settings = link.seller.settings.clone();
                let counts = |turn: &Turn| as_of.is_none_or(|it| turn.seen_by(&settings).at <= it);
                if !link.from.as_ref().is_none_or(counts) {
                    continue;
                }
                link.until = link.until.filter(counts);
                let goes_on = links.iter_mut().find(|it| it.goes_on_as(&link));
                match goes_on {
                    Some(before) => before.until = link.until,
                    None => links.push(link),
                }
            }
        }
        links
    }

    /// Between whom a reseller is charged by hand: it buys from the one above, and has that for itself.
    fn account(&self, reseller: &OrganizationView) -> Option<Link> {
        let way = self.above(&reseller.path);
        let seller = way.last()?.clone();
        Some(Link {
            buyer: Some(reseller.id),
            from: None,
            path: reseller.path.clone(),
            role: Role::Sale,
            seller,
            until: None,
            way,
        })
    }
}

/// How each seller bills who has settings of his own: by his place.
pub(super) async fn calendars(
    database: &Database,
) -> Result<BTreeMap<String, Arc<BillingSettings>>, Error> {
    failpoint("projections::ledger::calendars")?;
    let rows = database.fetch("select key, document from view_calendar", &[]).await?;
    let mut calendars = BTreeMap::new();
    for row in &rows {
        let view: Arc<CalendarView> = tables::read(row.text(0)?, row.bytes(1)?)?;
        calendars.insert(view.path.clone(), Arc::new(view.settings.clone()));
    }
    Ok(calendars)
}

fn no_provider() -> Error {
    Error::Unsuitable("there is no provider yet; start `atrium serve` or `demo` once".into())
}

/// Between whom something is charged for a customer, over a stretch of time.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// Who buys, or is paid a commission: a reseller, or the provider; none: the customer buys.
    pub(super) buyer: Option<OrganizationId>,
    /// Since when; none: ever since.
    pub(super) from: Option<Turn>,
    /// Where the customer is then.
    pub(super) path: TenantPath,
    /// What it is.
    pub(super) role: Role,
    /// Who bills, or pays.
    pub(super) seller: Arc<Seller>,
    /// Until when.
    pub(super) until: Option<Turn>,
    /// Whose prices lead to it, the provider first: the last one sells to the buyer, or is paid the commission.
    pub(super) way: Vec<Arc<Seller>>,
}

/// What a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Something is sold.
    Sale,
    /// A reseller earns what the customer pays more than the reseller would pay.
    Commission,
    /// The provider pays somebody outside the tree for what it sells. It is in nobody's bill and in no books: rated where
    /// somebody asks what is left to the provider (docs/adr/0036).
    Supply,
}

impl Link {
    /// Whether it leads to whom it is about: to the customer, or to a reseller who has something for itself.
    #[must_use]
    pub(super) fn is_last(&self, customer: OrganizationId) -> bool {
        self.bought_by(customer) == customer
    }

    /// Who buys, or is paid.
    #[must_use]
    pub(super) fn bought_by(&self, customer: OrganizationId) -> OrganizationId {
        self.buyer.unwrap_or(customer)
    }

    /// The place below so many sellers on the way to the customer: of the reseller who buys from the last of them, or
    /// the customer's.
    pub(super) fn below(&self, sellers: usize) -> Option<TenantPath> {
        self.path.lineage().get(sellers).cloned()
    }

    /// Whether it is one with another that begins where it ends: nothing that it is about has changed. What the customer
    /// itself buys begins anew.
    fn goes_on_as(&self, next: &Self) -> bool {
        let ids = |link: &Self| link.way.iter().map(|it| it.id).collect::<Vec<_>>();
        let turn = |turn: &Option<Turn>| turn.as_ref().map(|it| it.position);
        self.buyer.is_some()
            && self.role != Role::Commission
            && self.until.is_some()
            && (self.buyer, self.role, self.seller.id) == (next.buyer, next.role, next.seller.id)
            && turn(&self.until) == turn(&next.from)
            && ids(self) == ids(next)
            && self.below(self.way.len()) == next.below(next.way.len())
    }
}

/// Whose places have to be known for some customers: all that they ever had.
pub(super) fn places<'a>(
    customers: impl IntoIterator<Item = &'a Arc<OrganizationView>>,
    known_at: u64,
) -> BTreeSet<TenantPath> {
    let turned = customers.into_iter().filter(|customer| !customer.edges.is_empty());
    turned
        .flat_map(|customer| customer.edges_known_at(known_at))
        .flat_map(|edge| edge.path.lineage())
        .collect()
}
