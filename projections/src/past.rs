//! Subscriptions as they were: at a moment of the business, as far as was recorded up to a position of the log
//! (docs/adr/0033).
//!
//! Their timelines are those that bills are made of. What is not on them, such as how far a request was, is not known of
//! the past, and is not shown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{CommandId, PlanKey};
use eventstore::{Database, Error};

use crate::finder::{self, Cursor, End, LIST_MAX, Page, Query, Scope, Since};
use crate::ledger;
use crate::views::{SubscriptionStatus, SubscriptionView};

/// Parts of a list that are looked through for one page.
const PARTS_MAX: usize = 20;

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Then {
    /// At which moment of the business.
    pub as_of: DateTime<Utc>,
    /// As it was known at this position of the log; none: now.
    pub known_at: Option<u64>,
}

/// A subscription as it was.
#[derive(Clone, Debug)]
pub struct Past {
    /// It, as it is now: what never changes of it is true of then.
    pub view: Arc<SubscriptionView>,
    /// When.
    pub then: Then,
    /// What was held; none where nothing was.
    pub held: Option<Held>,
    /// Since when anything had been held by then.
    pub since: Option<DateTime<Utc>>,
}

/// What was held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The plan.
    pub plan: PlanKey,
    /// How many.
    pub quantity: u32,
    /// The request that said so.
    pub request: Option<CommandId>,
    /// Whether it rested.
    pub rests: bool,
}

impl Past {
    /// How it stood, as far as that is known: no request is.
    #[must_use]
    pub fn status(&self) -> SubscriptionStatus {
        match &self.held {
            Some(Held { rests: true, .. }) => SubscriptionStatus::Suspended,
            Some(_) => SubscriptionStatus::Provisioned,
            None => SubscriptionStatus::NotProvisioned,
        }
    }
}

/// Some subscriptions as they were, in their order: with one statement at most, for those with long histories.
///
/// # Errors
/// What the database says.
pub async fn of(
    database: &Database,
    views: Vec<Arc<SubscriptionView>>,
    then: Then,
) -> Result<Vec<Past>, Error> {
    let timelines = ledger::timelines(database, views, then.known_at.unwrap_or(u64::MAX)).await?;
    let past = timelines.into_iter().map(|(view, timeline)| {
        let held = timeline.run_at(then.as_of).and_then(|run| {
            let fact = run.facts.iter().rfind(|fact| fact.effective_at <= then.as_of)?;
            let held = fact.holding()?;
            Some(Held {
                plan: held.plan.clone(),
                quantity: held.quantity,
                request: fact.request,
                rests: timeline.rests_at(then.as_of),
            })
        });
        let first = timeline.runs().next().map(|run| run.began().effective_at);
        Past { view, then, held, since: first.filter(|first| *first <= then.as_of) }
    });
    Ok(past.collect())
}

/// A part of a list that is being looked through.
#[derive(Default)]
struct Looking {
    items: Vec<(Cursor, Arc<Past>)>,
}

impl Query {
    /// The same, without what cannot have been held then.
    fn held(&self, then: Then) -> Self {
        // What was learned since may have ended something earlier than was known then.
        let running_at = then.known_at.is_none().then_some(then.as_of);
        Self { since: Some(Since::Until(then.as_of)), running_at, ..self.clone() }
    }
}

impl Looking {
    /// Takes those of a page that were held then, and says where to look on, if that is needed.
    async fn take(
        &mut self,
        database: &Database,
        page: Page<SubscriptionView>,
        query: &Query,
        then: Then,
    ) -> Result<Option<Query>, Error> {
        let (cursors, views): (Vec<_>, Vec<_>) = page.items.into_iter().unzip();
        let edge = match query.end {
            End::First => cursors.last().cloned(),
            End::Last => cursors.first().cloned(),
        };
        let past = of(database, views, then).await?;
        let held = cursors.into_iter().zip(past).filter(|(_, past)| past.held.is_some());
        let held = held.map(|(cursor, past)| (cursor, Arc::new(past)));
        match query.end {
            End::First => self.items.extend(held),
            End::Last => self.items = held.chain(self.items.drain(..)).collect(),
        }
        let Some(edge) = edge.filter(|_| page.more) else { return Ok(None) };
        let on = Query { limit: LIST_MAX, ..query.clone() };
        Ok(Some(match query.end {
            End::First => Query { after: Some(edge), ..on },
            End::Last => Query { before: Some(edge), ..on },
        }))
    }

    /// So many of them; one more was looked for, so that it is known whether there are more.
    fn page(mut self, limit: usize, end: End) -> Page<Past> {
        let more = self.items.len() > limit;
        match end {
            End::First => self.items.truncate(limit),
            End::Last => {
                self.items.drain(..self.items.len().saturating_sub(limit));
            }
        }
        Page { items: self.items, more }
    }
}

/// A page of what was held then, in the order of the list. None where too much lies between that was not: nobody can look
/// through everything for one page.
///
/// # Errors
/// What the database says.
pub async fn list(
    database: &Database,
    scope: &Scope,
    query: &Query,
    then: Then,
) -> Result<Option<Page<Past>>, Error> {
    let limit = query.limit.min(LIST_MAX);
    let mut looking = Looking::default();
    let mut part = Query { limit: (limit + 1).min(LIST_MAX), ..query.held(then) };
    for _ in 0..PARTS_MAX {
        let page = finder::list::<SubscriptionView>(database, scope, &part).await?;
        match looking.take(database, page, &part, then).await? {
            Some(on) if looking.items.len() <= limit => part = on,
            _ => return Ok(Some(looking.page(limit, query.end))),
        }
    }
    Ok(None)
}

/// The same page of what many owners held then: pages by owner.
///
/// # Errors
/// What the database says.
pub async fn list_of_owners(
    database: &Database,
    scope: &Scope,
    owners: BTreeSet<String>,
    query: &Query,
    then: Then,
) -> Result<BTreeMap<String, Option<Page<Past>>>, Error> {
    let limit = query.limit.min(LIST_MAX);
    let part = Query { limit: LIST_MAX, ..query.held(then) };
    let found = finder::list_of_owners::<SubscriptionView>(database, scope, owners, &part).await?;
    let views = found.values().flat_map(|page| page.items.iter().map(|(_, view)| view.clone()));
    let mut past = of(database, views.collect(), then).await?.into_iter();
    let mut pages = BTreeMap::new();
    for (owner, page) in found {
        let own = page.items.into_iter().zip(&mut past);
        let held = own.filter(|(_, past)| past.held.is_some());
        let items = held.map(|((cursor, _), past)| (cursor, Arc::new(past))).collect();
        let looking = Looking { items };
        let is_full = looking.items.len() >= limit;
        let found = (is_full || !page.more).then(|| looking.page(limit, query.end));
        pages.insert(owner, found.map(|found| Page { more: found.more || page.more, ..found }));
    }
    Ok(pages)
}
