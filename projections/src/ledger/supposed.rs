//! What would be if some commands were carried out: what they would change, laid over what is read.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::ServiceKey;
use domain::event::Recorded;
use eventstore::{Database, Error};

use super::slots::{self, Slot};
use crate::document::View as _;
use crate::views::{
    AdjustmentView, BackdatedView, CommitmentView, OrganizationView, OverrideView, PriceView,
    RateView, RulebookView, ServiceView, Views,
};

/// What would follow from some commands.
#[derive(Clone, Debug, Default)]
pub struct Supposed {
    /// What would happen, in order.
    pub events: Vec<Recorded>,
    /// The documents that would be changed, as they would be.
    pub views: Views,
}

impl Supposed {
    /// Services as they would be sold.
    pub(super) fn services(&self) -> impl Iterator<Item = Arc<ServiceView>> {
        self.views.services.iter().map(|(_, view)| view.clone())
    }

    /// What sellers would not charge, and how they would describe lines.
    pub(super) fn rulebooks(&self) -> impl Iterator<Item = Arc<RulebookView>> {
        self.views.rulebooks.iter().map(|(_, view)| view.clone())
    }

    /// What would be set otherwise, in the order of recording.
    pub(super) fn overrides(&self) -> Vec<Arc<OverrideView>> {
        let mut all: Vec<_> = self.views.overrides.iter().map(|(_, view)| view.clone()).collect();
        all.sort_by_key(|view| view.position);
        all
    }

    /// What sellers would say of prices, in the order of recording.
    pub(super) fn prices(&self) -> Vec<Arc<PriceView>> {
        let mut all: Vec<_> = self.views.prices.iter().map(|(_, view)| view.clone()).collect();
        all.sort_by_key(|view| view.position);
        all
    }

    /// What currencies would cost, in the order of recording.
    pub(super) fn rates(&self) -> Vec<Arc<RateView>> {
        let mut all: Vec<_> = self.views.rates.iter().map(|(_, view)| view.clone()).collect();
        all.sort_by_key(|view| view.position);
        all
    }

    /// What buyers would be committed to, in the order of recording.
    pub(super) fn commitments(&self) -> Vec<Arc<CommitmentView>> {
        let mut all: Vec<_> = self.views.commitments.iter().map(|(_, view)| view.clone()).collect();
        all.sort_by_key(|view| view.position);
        all
    }

    /// What would be charged or given back by hand, in the order of recording.
    pub(super) fn adjustments(&self) -> Vec<Arc<AdjustmentView>> {
        let mut all: Vec<_> = self.views.adjustments.iter().map(|(_, view)| view.clone()).collect();
        all.sort_by_key(|view| view.position);
        all
    }

    /// What would be true of the past, of some customers.
    pub(super) fn backdated(
        &self,
        customers: &[Arc<OrganizationView>],
    ) -> impl Iterator<Item = Arc<BackdatedView>> {
        let paths: BTreeSet<_> = customers.iter().map(|customer| customer.path.clone()).collect();
        let all = self.views.backdated.iter().map(|(_, view)| view.clone());
        all.filter(move |view| paths.contains(&view.path))
    }

    /// Puts slots of some customers as they would be in the place of what they are.
    pub(super) async fn replace(
        &self,
        database: &Database,
        known_at: u64,
        span: Option<(DateTime<Utc>, DateTime<Utc>)>,
        metered: &HashSet<ServiceKey>,
        customers: &[Arc<OrganizationView>],
        slots: &mut HashMap<String, Vec<Slot>>,
    ) -> Result<(), Error> {
        let paths: HashSet<_> = customers.iter().map(|customer| &customer.path).collect();
        let views = self.views.subscriptions.iter().map(|(_, view)| view.clone());
        let views: Vec<_> = views.filter(|view| paths.contains(&view.path)).collect();
        if views.is_empty() {
            return Ok(());
        }
        let known = (known_at, &self.events[..]);
        for slot in slots::with_facts(database, views, known, span, metered).await? {
            let of_customer: &mut Vec<_> = slots.entry(slot.view.path.to_string()).or_default();
            of_customer.retain(|it| it.view.id != slot.view.id);
            of_customer.push(slot);
            of_customer.sort_by_cached_key(|slot| (slot.view.index().sort, slot.view.id));
        }
        Ok(())
    }
}
