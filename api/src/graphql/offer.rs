//! Offers: which services and plans reach an organisation.

use async_graphql::{Context, Object};
use commands::resource::OfferResource;
use domain::ServiceKey;

use super::reading::{Resolved, reading};
use super::service::Service;

/// How it stands with a service at an organisation.
pub(crate) struct Offer(pub(crate) OfferResource);

/// How it stands with a service at an organisation.
#[Object]
impl Offer {
    /// The key of the service.
    async fn service_key(&self) -> &str {
        &self.0.service
    }

    /// Which service.
    async fn service(&self, context: &Context<'_>) -> Resolved<Option<Service>> {
        let Some(key) = ServiceKey::parse(&self.0.service) else { return Ok(None) };
        Service::of(reading(context), &key).await
    }

    /// The keys of the plans that can be had here now, in the service's order. Empty: none of them.
    async fn plan_keys(&self) -> &[String] {
        &self.0.plans
    }

    /// Whether it is offered here by name; otherwise it comes from what was rolled out above, if it comes at all.
    async fn is_own(&self) -> bool {
        self.0.is_own
    }

    /// Whether it was withdrawn here.
    async fn is_withdrawn(&self) -> bool {
        self.0.is_withdrawn
    }

    /// Whether it is offered from here to all below.
    async fn is_rolled_out(&self) -> bool {
        self.0.is_rolled_out
    }
}
