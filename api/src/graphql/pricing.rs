//! What bills are made of beside services: sellers' price books, exchange rates, and what was used.

use std::sync::Arc;

use async_graphql::{Enum, ID, SimpleObject};
use chrono::{DateTime, Utc};
use commands::usecase::commitments::CommitmentResource;
use commands::usecase::pricing::{ExchangeRateResource, PriceRowResource};
use commands::usecase::usage::UsageResource;
use domain::SubscriptionId;
use domain::billing::{Markup, Says};
use domain::permission::Permission;
use projections::finder::{Query as Wanted, Scope};
use projections::views::{CommitmentView, PriceView, RateView, SubscriptionView, UsageView};
use uuid::Uuid;

use super::connection::{Slice, ViewConnection, list};
use super::id::GlobalId;
use super::organization::find as find_organization;
use super::reading::{Reading, Resolved};
use super::scalar::{Date, Money, Position};
use crate::billing::seller_of_list;
use crate::problem::Problem;

/// What a row of a price book says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(crate) enum PriceRowSays {
    /// What it is sold for.
    Price,
    /// More or less than it is sold for without this row, in percent.
    Percent,
    /// So many percent of the list price.
    PercentOfList,
    /// What the seller pays, and so many percent on top.
    PercentOnCost,
    /// What the seller pays, and this amount on top.
    AmountOnCost,
    /// The list price.
    ListPrice,
    /// What the provider pays for it.
    CostPrice,
    /// Nothing any more of this sort: `price`, `markup`, `list` or `cost`.
    Ends,
}

impl From<&Says> for PriceRowSays {
    fn from(says: &Says) -> Self {
        match says {
            Says::Cost(_) => Self::CostPrice,
            Says::Ended(_) => Self::Ends,
            Says::List(_) => Self::ListPrice,
            Says::Markup(Markup::AmountOnCost(_)) => Self::AmountOnCost,
            Says::Markup(Markup::PercentOfList(_)) => Self::PercentOfList,
            Says::Markup(Markup::PercentOnCost(_)) => Self::PercentOnCost,
            Says::Percent(_) => Self::Percent,
            Says::Price(_) => Self::Price,
        }
    }
}

/// A row of a seller's price book.
#[derive(Clone, SimpleObject)]
pub(crate) struct PriceRow {
    /// The position of its event.
    position: Position,
    /// In whose price book it stands: the id in the REST API.
    seller_uuid: Uuid,
    /// Of which service; none: of every service.
    service_key: Option<String>,
    /// Of which plan; none: of every plan.
    plan_key: Option<String>,
    /// Of which component: `recurring` is the plan's own price.
    component: String,
    /// Only where so many are held, or more.
    from_quantity: u32,
    /// Only for this buyer: its id in the REST API.
    buyer_uuid: Option<Uuid>,
    /// Only for this subscription: its id in the REST API.
    subscription_uuid: Option<Uuid>,
    /// What it says.
    says: PriceRowSays,
    /// To what it says it: a decimal text, or what ends.
    value: String,
    /// The code of ISO 4217 of the amount, where it says one.
    currency: Option<String>,
    /// From when.
    effective_from: DateTime<Utc>,
    /// Until when.
    effective_to: Option<DateTime<Utc>>,
    /// Who set it: `user:<id>` or `system`.
    actor: String,
    /// Why.
    reason: Option<String>,
}

impl From<Arc<PriceView>> for PriceRow {
    fn from(view: Arc<PriceView>) -> Self {
        let row = PriceRowResource::from(view.as_ref());
        Self {
            position: Position(row.position),
            seller_uuid: row.organization_id,
            service_key: row.service,
            plan_key: row.plan,
            component: row.component,
            from_quantity: row.from_quantity,
            buyer_uuid: row.buyer_id,
            subscription_uuid: row.subscription_id,
            says: (&view.setting.says).into(),
            value: row.value,
            currency: row.currency,
            effective_from: row.effective_from,
            effective_to: row.effective_to,
            actor: row.actor,
            reason: row.reason,
        }
    }
}

impl PriceRow {
    /// The rows of a seller's price book, in the order of recording.
    pub(crate) async fn list(
        reading: &Reading,
        organization: &ID,
        slice: &Slice,
    ) -> Resolved<Option<ViewConnection<PriceView, Self>>> {
        reading.require(Permission::ViewBilling)?;
        let view = find_organization(reading, organization).await?;
        reading.permit(Permission::ViewBilling, &view.path).await?;
        let query = Wanted { owner: Some(view.id.to_string()), ..Wanted::default() };
        list(reading, Scope::catalogue(), query, None, slice).await
    }
}

/// What one unit of a currency costs in another, from a date on.
#[derive(Clone, SimpleObject)]
pub(crate) struct ExchangeRate {
    /// The position of its event.
    position: Position,
    /// Whose: the seller's id in the REST API.
    seller_uuid: Uuid,
    /// What is exchanged, by ISO 4217.
    from: String,
    /// Into what.
    to: String,
    /// So many units of the other currency for one of this.
    rate: String,
    /// The first date.
    effective_from: Date,
    /// Where it is from.
    source: String,
    /// Who set it: `user:<id>` or `system`.
    actor: String,
    /// Why.
    reason: Option<String>,
}

impl From<Arc<RateView>> for ExchangeRate {
    fn from(view: Arc<RateView>) -> Self {
        let rate = ExchangeRateResource::from(view.as_ref());
        Self {
            position: Position(rate.position),
            seller_uuid: rate.organization_id,
            from: rate.from,
            to: rate.to,
            rate: rate.rate,
            effective_from: Date(rate.effective_from),
            source: rate.source,
            actor: rate.actor,
            reason: rate.reason,
        }
    }
}

impl ExchangeRate {
    /// The rates that a seller has set, in the order of recording; the caller's own where none is named.
    pub(crate) async fn list(
        reading: &Reading,
        organization: Option<&ID>,
        slice: &Slice,
    ) -> Resolved<Option<ViewConnection<RateView, Self>>> {
        let query = of_seller(reading, organization).await?;
        list(reading, Scope::catalogue(), query, None, slice).await
    }
}

/// What all that a buyer holds of a service comes to at least, in a period.
#[derive(Clone, SimpleObject)]
pub(crate) struct Commitment {
    /// The position of its event.
    position: Position,
    /// To whom: the seller's id in the REST API.
    seller_uuid: Uuid,
    /// Who is committed: its id in the REST API.
    buyer_uuid: Uuid,
    /// Of which service.
    service_key: String,
    /// At least so much in a full period; nothing ends an earlier one.
    amount: Money,
    /// From when.
    effective_from: DateTime<Utc>,
    /// Until when.
    effective_to: Option<DateTime<Utc>>,
    /// Who set it: `user:<id>` or `system`.
    actor: String,
    /// Why.
    reason: Option<String>,
}

impl From<Arc<CommitmentView>> for Commitment {
    fn from(view: Arc<CommitmentView>) -> Self {
        let it = CommitmentResource::from(view.as_ref());
        Self {
            position: Position(it.position),
            seller_uuid: it.organization_id,
            buyer_uuid: it.buyer_id,
            service_key: it.service,
            amount: view.setting.amount.into(),
            effective_from: it.effective_from,
            effective_to: it.effective_to,
            actor: it.actor,
            reason: it.reason,
        }
    }
}

impl Commitment {
    /// What buyers are committed to at a seller, in the order of recording; the caller's own where none is named.
    pub(crate) async fn list(
        reading: &Reading,
        organization: Option<&ID>,
        slice: &Slice,
    ) -> Resolved<Option<ViewConnection<CommitmentView, Self>>> {
        let query = of_seller(reading, organization).await?;
        list(reading, Scope::catalogue(), query, None, slice).await
    }
}

/// What a seller has set.
async fn of_seller(reading: &Reading, organization: Option<&ID>) -> Resolved<Wanted> {
    reading.require(Permission::ViewBilling)?;
    let named = match organization {
        Some(id) => Some(find_organization(reading, id).await?),
        None => None,
    };
    let seller = seller_of_list(&reading.app, &reading.scope(), named).await?;
    Ok(Wanted { owner: Some(seller.to_string()), ..Wanted::default() })
}

/// What was read of a meter: what was used of a subscription.
#[derive(Clone, SimpleObject)]
pub(crate) struct UsageReading {
    /// The position of its event.
    position: Position,
    /// Whose usage it is: the subscription's id in the REST API.
    subscription_uuid: Uuid,
    /// The key of the meter.
    meter: String,
    /// How much, as a decimal text.
    quantity: String,
    /// What was seen, where different things are counted.
    unique: Option<String>,
    /// When it was so.
    effective_at: DateTime<Utc>,
    /// Who recorded it: `user:<id>` or `system`.
    actor: String,
    /// Why.
    reason: Option<String>,
}

impl From<Arc<UsageView>> for UsageReading {
    fn from(view: Arc<UsageView>) -> Self {
        let read = UsageResource::from(view.as_ref());
        Self {
            position: Position(read.position),
            subscription_uuid: read.subscription_id,
            meter: read.meter,
            quantity: read.quantity,
            unique: read.unique,
            effective_at: read.effective_at,
            actor: read.actor,
            reason: read.reason,
        }
    }
}

impl UsageReading {
    /// What was used of a subscription, by time.
    pub(crate) async fn list(
        reading: &Reading,
        subscription: &ID,
        slice: &Slice,
    ) -> Resolved<Option<ViewConnection<UsageView, Self>>> {
        reading.require(Permission::ViewBilling)?;
        let id = match GlobalId::decode(subscription) {
            Some(GlobalId::Subscription(id)) => Some(id),
            Some(_) => None,
            None => subscription.parse::<SubscriptionId>().ok(),
        };
        let id = id.ok_or_else(Problem::not_found)?;
        let view = reading.find::<SubscriptionView>(id).await?.ok_or_else(Problem::not_found)?;
        reading.permit(Permission::ViewBilling, &view.path).await?;
        let query = Wanted { owner: Some(view.id.to_string()), ..Wanted::default() };
        list(reading, Scope::catalogue(), query, None, slice).await
    }
}
