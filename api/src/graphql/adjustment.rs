//! What is charged once, or given back, by hand.

use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, Object};
use chrono::{DateTime, Utc};
use domain::permission::Permission;
use projections::finder::Query as Wanted;
use projections::views::AdjustmentView;
use uuid::Uuid;

use super::connection::{Slice, ViewConnection, list};
use super::organization::{Organization, find as find_organization};
use super::reading::{Reading, Resolved, reading};
use super::scalar::{Money, Position};
use super::subscription::Subscription;

/// Something that a customer or a reseller was charged once, or given back, by hand.
#[derive(Clone)]
pub(crate) struct Adjustment(Arc<AdjustmentView>);

impl From<Arc<AdjustmentView>> for Adjustment {
    fn from(view: Arc<AdjustmentView>) -> Self {
        Self(view)
    }
}

/// Something that a customer or a reseller was charged once, or given back, by hand.
#[Object]
impl Adjustment {
    /// Its id in the REST API.
    async fn uuid(&self) -> Uuid {
        self.0.id.0
    }

    /// The position of its making.
    async fn position(&self) -> Position {
        Position(self.0.position)
    }

    /// Who was charged: a customer, or the reseller.
    async fn customer(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        Organization::of(reading(context), self.0.adjusted.customer).await
    }

    /// The reseller who was charged; none: the customer.
    async fn buyer(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        match self.0.adjusted.buyer {
            None => Ok(None),
            Some(buyer) => Organization::of(reading(context), buyer).await,
        }
    }

    /// Who charges it, if the caller can see it.
    async fn seller(&self, context: &Context<'_>) -> Resolved<Option<Organization>> {
        Organization::of(reading(context), self.0.adjusted.seller).await
    }

    /// What it is about; none: the account.
    async fn subscription(&self, context: &Context<'_>) -> Resolved<Option<Subscription>> {
        match &self.0.adjusted.of {
            None => Ok(None),
            Some(of) => Subscription::of(reading(context), of.subscription).await,
        }
    }

    /// So much; less than nothing is given back.
    async fn amount(&self) -> Money {
        self.0.adjusted.amount.into()
    }

    /// As who was charged reads it.
    async fn description(&self) -> &str {
        &self.0.adjusted.description
    }

    /// Why.
    async fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// When it is true.
    async fn effective_at(&self) -> DateTime<Utc> {
        self.0.effective_at
    }

    /// When it was made.
    async fn recorded_at(&self) -> DateTime<Utc> {
        self.0.recorded_at
    }

    /// Who made it: `user:<id>` or `system`.
    async fn actor(&self) -> String {
        self.0.actor.to_string()
    }

    /// The earlier one that it takes back.
    async fn reverses_uuid(&self) -> Option<Uuid> {
        self.0.adjusted.reverses.map(|id| id.0)
    }

    /// The later one that took it back.
    async fn reversed_by_uuid(&self) -> Option<Uuid> {
        self.0.reversed_by.map(|id| id.0)
    }
}

/// Which adjustments.
#[derive(Clone, Debug, Default, InputObject)]
pub(crate) struct AdjustmentFilter {
    /// Only those of this very customer, or reseller.
    customer_id: Option<ID>,
}

impl Adjustment {
    /// The adjustments in scope, in the order of recording.
    pub(crate) async fn list(
        reading: &Reading,
        filter: AdjustmentFilter,
        slice: &Slice,
    ) -> Resolved<Option<ViewConnection<AdjustmentView, Self>>> {
        reading.require(Permission::ViewBilling)?;
        let owner = match &filter.customer_id {
            None => None,
            Some(id) => Some(find_organization(reading, id).await?.id.to_string()),
        };
        let query = Wanted { owner, ..Wanted::default() };
        list(reading, reading.scope(), query, None, slice).await
    }
}
