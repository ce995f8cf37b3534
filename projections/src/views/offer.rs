//! Offers: which services an organisation and those below it are offered.

use domain::event::{Event, Recorded};
use domain::offer::{Offer, Withdrawal};
use domain::organization::OrganizationEvent;
use domain::{OrganizationId, ServiceKey, TenantPath};
use serde::{Deserialize, Serialize};

use super::held_in;
use crate::document::{Index, Touch, View};

/// How it stands with a service at one organisation, where anybody has said so there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfferView {
    /// Where.
    pub organization: OrganizationId,
    /// That organisation's place in the tree.
    pub path: TenantPath,
    /// Which service.
    pub service: ServiceKey,
    /// How it stands.
    #[serde(flatten)]
    pub offer: Offer,
}

/// The service that an event is about.
fn service(event: &Recorded) -> Option<&ServiceKey> {
    match &event.event {
        Event::Organization(OrganizationEvent::Offered(offering)) => Some(&offering.service),
        Event::Organization(OrganizationEvent::OfferWithdrawn(withdrawal)) => {
            Some(&withdrawal.service)
        }
        _ => None,
    }
}

impl View for OfferView {
    const TABLE: &'static str = "view_offer";
    const INDEXES: &'static [&'static str] = &["path, sort, key"];
    const SORT_STAYS: bool = true;
    const MOVES: bool = true;
    held_in!(offers);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match (service(event), event.stream.split_once('-')) {
            (Some(service), Some((_, id))) => vec![Touch::existing(format_args!("{id}/{service}"))],
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        let Some(service) = service(event) else {
            return before;
        };
        let organization = event.stream.split_once('-')?.1.parse().ok()?;
        let mut view = before.unwrap_or_else(|| Self {
            organization,
            path: event.path.clone(),
            service: service.clone(),
            offer: Offer::default(),
        });
        match &event.event {
            Event::Organization(OrganizationEvent::Offered(offering)) => {
                view.offer.extend(offering);
            }
            Event::Organization(OrganizationEvent::OfferWithdrawn(Withdrawal {
                reach, ..
            })) => {
                view.offer.withdraw(*reach);
            }
            _ => {}
        }
        Some(view)
    }

    fn relocate(&mut self, to: &TenantPath) {
        self.path = to.clone();
    }

    fn index(&self) -> Index {
        Index {
            path: self.path.to_string(),
            owner: self.organization.to_string(),
            sort: self.service.to_string(),
            ..Index::default()
        }
    }
}
