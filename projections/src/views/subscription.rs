//! Subscriptions as people see them.

use chrono::{DateTime, Utc};
use domain::billing::{Change, Fact, Holding, held_at};
use domain::event::{Event, Recorded};
use domain::subscription::{Request, Subscription, SubscriptionEvent};
use domain::{CommandId, Decider, OrganizationId, ServiceKey, SubscriptionId, TenantPath, UserId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::held_in;
use crate::document::{Index, Touch, View};

/// Latest facts kept in the document: it stays small, whatever the history. All are in the log.
const FACTS_KEPT: usize = 32;

/// Who holds a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Holder {
    /// A customer.
    Customer(OrganizationId),
    /// A customer's user.
    User(UserId),
}

impl Holder {
    /// The customer's or the user's id.
    #[must_use]
    pub fn id(self) -> Uuid {
        match self {
            Self::Customer(id) => id.0,
            Self::User(id) => id.0,
        }
    }
}

/// How it stands with a subscription (service-model.md, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubscriptionStatus {
    /// Nothing is held: not yet, or not any more.
    NotProvisioned,
    /// Asked for; work has not begun.
    Requested,
    /// Being worked on.
    InProgress,
    /// Held.
    Provisioned,
}

/// A service held by a customer or a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionView {
    /// Its slot's id.
    pub id: SubscriptionId,
    /// Who holds it.
    pub holder: Holder,
    /// The customer who holds it, or whose user does.
    pub customer: OrganizationId,
    /// The customer's place in the tree.
    pub path: TenantPath,
    /// What is held.
    pub service: ServiceKey,
    /// The instance's name, where the service has many.
    pub instance: Option<String>,
    /// The latest request.
    pub request: CommandId,
    /// Whether that request is still being worked on, and how far it is.
    pub pending: Option<SubscriptionStatus>,
    /// The slot's timeline: its latest facts, in business order.
    pub facts: Vec<Fact>,
    /// Whether there are older facts, which only the log has.
    pub is_abridged: bool,
    /// The first moment at which anything was held.
    pub since: Option<DateTime<Utc>>,
    /// Of its stream.
    pub version: u64,
}

impl SubscriptionView {
    /// What is held at a moment.
    #[must_use]
    pub fn held_at(&self, moment: DateTime<Utc>) -> Option<Holding<'_>> {
        held_at(&self.facts, moment)
    }

    /// How it stands at a moment.
    #[must_use]
    pub fn status_at(&self, moment: DateTime<Utc>) -> SubscriptionStatus {
        match (self.pending, self.held_at(moment)) {
            (Some(pending), _) => pending,
            (None, Some(_)) => SubscriptionStatus::Provisioned,
            (None, None) => SubscriptionStatus::NotProvisioned,
        }
    }

    /// The facts that are still to come after a moment.
    pub fn scheduled_after(&self, moment: DateTime<Utc>) -> impl Iterator<Item = &Fact> {
        self.facts.iter().filter(move |fact| fact.effective_at > moment)
    }

    fn of(request: &Request, event: &Recorded) -> Self {
        Self {
            id: request.subscription,
            holder: match &request.user {
                Some(user) => Holder::User(user.id),
                None => Holder::Customer(request.customer.id),
            },
            customer: request.customer.id,
            path: event.path.clone(),
            service: request.service.key.clone(),
            instance: request.instance.clone(),
            request: request.id,
            pending: None,
            facts: Vec::new(),
            is_abridged: false,
            since: None,
            version: event.version,
        }
    }

    /// Puts a fact in its place. Of what is older than the facts kept, there stays only what says
    /// how it stood with them: the last beginning or end, and the last fact.
    fn record(&mut self, fact: Fact) {
        if !matches!(fact.change, Change::Deprovisioned) {
            self.since =
                Some(self.since.map_or(fact.effective_at, |since| since.min(fact.effective_at)));
        }
        let place = self.facts.partition_point(|old| {
            (old.effective_at, old.position) <= (fact.effective_at, fact.position)
        });
        self.facts.insert(place, fact);
        let older = self.facts.len().saturating_sub(FACTS_KEPT);
        let last_turn =
            self.facts[..older].iter().rposition(|it| !matches!(it.change, Change::Changed { .. }));
        let mut place = 0;
        self.facts.retain(|_| {
            let keep = place + 1 >= older || Some(place) == last_turn;
            place += 1;
            keep
        });
        self.is_abridged |= self.facts.len() < place;
    }

    /// The stream that its facts come from.
    #[must_use]
    pub fn stream(&self) -> String {
        format!("{}-{}", Subscription::CATEGORY, self.id)
    }
}

impl View for SubscriptionView {
    const TABLE: &'static str = "view_subscription";
    const INDEXES: &'static [&'static str] = &["sort, key"];
    const SORTS_BY_TENANT: bool = true;
    const OWNER_IN_KEY: usize = SubscriptionId::OF_HOLDER;
    const MOVES: bool = true;
    held_in!(subscriptions);

    fn touched(event: &Recorded) -> Vec<Touch> {
        match (&event.event, event.stream.split_once('-')) {
            (Event::Subscription(_), Some((_, id))) => vec![Touch::own(id, event)],
            _ => vec![],
        }
    }

    fn evolve(before: Option<Self>, event: &Recorded) -> Option<Self> {
        use SubscriptionEvent as E;
        let Event::Subscription(happened) = &event.event else {
            return before;
        };
        let mut view = match (before, happened) {
            (Some(view), _) => view,
            (None, E::ProvisionRequested { request }) => Self::of(request, event),
            (None, _) => return None,
        };
        view.version = event.version;
        match happened {
            E::ProvisionRequested { request } | E::ChangeRequested { request } => {
                view.request = request.id;
                view.pending = Some(SubscriptionStatus::Requested);
            }
            E::DeprovisionRequested { request } => {
                view.request = *request;
                view.pending = Some(SubscriptionStatus::Requested);
            }
            E::ProvisionStarted { .. } | E::ChangeStarted { .. } | E::DeprovisionStarted { .. } => {
                view.pending = Some(SubscriptionStatus::InProgress);
            }
            E::Provisioned { .. } | E::Changed { .. } | E::Deprovisioned { .. } => {
                view.pending = None;
            }
        }
        if let Some(fact) = crate::ledger::fact(event) {
            view.record(fact);
        }
        Some(view)
    }

    fn relocate(&mut self, to: &TenantPath) {
        self.path = to.clone();
    }

    fn index(&self) -> Index {
        let ended = self
            .facts
            .last()
            .filter(|last| last.change == Change::Deprovisioned)
            .map(|last| last.effective_at);
        Index {
            path: self.path.to_string(),
            owner: self.holder.id().to_string(),
            kind: self.service.to_string(),
            sort: format!(
                "{}{}/{}",
                self.path,
                self.service,
                self.instance.as_deref().unwrap_or_default()
            ),
            since: self.since.map_or(i64::MAX, |since| since.timestamp_micros()),
            until: ended.map_or(i64::MAX, |until| until.timestamp_micros()),
        }
    }
}
