//! Whose charges somebody asks about: what a seller bills, or what somebody buys.

use std::sync::Arc;

use domain::OrganizationId;
use domain::organization::Kind;
use projections::finder::{self, Scope};
use projections::ledger::{Seller, Side};
use projections::views::OrganizationView;

use crate::app::App;
use crate::problem::Problem;

/// Whose charges, and by whose calendar.
#[derive(Clone, Debug)]
pub(crate) struct Whose {
    /// Of which customers: at a place and below it.
    pub scope: Scope,
    /// Who bills, or who buys.
    pub side: Side,
    /// Whose calendar, zone and currency it is.
    pub seller: Arc<Seller>,
}

/// What somebody asks to see, of what he can see.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    /// What this seller bills.
    pub seller: Option<Arc<OrganizationView>>,
    /// Only what is for this customer.
    pub customer: Option<Arc<OrganizationView>>,
    /// What this reseller or customer buys.
    pub buyer: Option<Arc<OrganizationView>>,
}

impl Whose {
    /// Works it out for somebody at `own`: where nothing is said, what his organisation bills, or what it buys where it is a
    /// customer.
    ///
    /// # Errors
    /// Not found where it is not for him to see.
    pub(crate) async fn find(app: &App, own: &Scope, wish: Wish) -> Result<Self, Problem> {
        let Wish { seller, mut customer, mut buyer } = wish;
        // Who names a customer as the seller means the customer.
        let (seller, named) = match seller {
            Some(seller) if seller.kind == Kind::Customer => (None, Some(seller)),
            seller => (seller, None),
        };
        customer = customer.or(named);
        let at_home = app.seller_at(&own.0).await?;
        if at_home.path != own.0 && seller.is_none() && buyer.is_none() {
            buyer = finder::find_at(app.database(), &own.0).await?;
        }
        let (place, side, seller) = match (seller, buyer) {
            (Some(_), Some(_)) => {
                let detail = "Ask for what a seller bills, or for what somebody buys.";
                return Err(Problem::bad_parameter("buyerId", detail));
            }
            (Some(seller), None) => {
                let seller = app.seller_at(&seller.path).await?;
                (seller.path.clone(), Side::Sells(seller.id), seller)
            }
            (None, Some(buyer)) => {
                let seller = match buyer.kind {
                    Kind::Customer => crate::seals::biller(app, &buyer).await?.path.clone(),
                    Kind::Provider | Kind::Reseller => {
                        buyer.path.parent().ok_or_else(Problem::not_found)?
                    }
                };
                (buyer.path.clone(), Side::Buys(buyer.id), app.seller_at(&seller).await?)
            }
            (None, None) => (own.0.clone(), Side::Sells(at_home.id), at_home),
        };
        let scope = match customer {
            Some(customer) if place.contains(&customer.path) => Scope(customer.path.clone()),
            Some(_) => return Err(Problem::not_found()),
            None => Scope(place),
        };
        Ok(Self { scope, side, seller })
    }
}

/// Of which seller the rates and commitments are listed: the one who is named, or the caller's own organisation.
///
/// # Errors
/// Not found where that sells nothing.
pub(crate) async fn seller_of_list(
    app: &App,
    own: &Scope,
    named: Option<Arc<OrganizationView>>,
) -> Result<OrganizationId, Problem> {
    let Some(named) = named else {
        let at_home = app.seller_at(&own.0).await?;
        let is_own = at_home.path == own.0;
        return is_own.then_some(at_home.id).ok_or_else(Problem::not_found);
    };
    let sells = named.kind != Kind::Customer;
    sells.then_some(named.id).ok_or_else(Problem::not_found)
}
