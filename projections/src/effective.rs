//! Effective values: what the properties of a service are for somebody, and why; also as they were at an
//! earlier moment, and as that was known then (service-model.md, section 3).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::effective::{self, Candidate, Level, OverrideAt, resolve};
use domain::event::{Actor, Event, Recorded};
use domain::overrides::ResolvedProperty;
use domain::property::Property;
use domain::service::{Definition, Service, ServiceEvent};
use domain::subscription::{Phase, Request, Subscription};
use domain::{
    Decider, OrganizationId, PlanKey, PropertyKey, ServiceKey, SubscriptionId, TenantPath,
};
use eventstore::{Database, Error, Value, failpoint};

use crate::finder::{self, Scope};
use crate::tables;
use crate::views::{OverrideView, Publication, ServiceView};

/// Whose properties, and when.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// At which moment of the business.
    pub as_of: DateTime<Utc>,
    /// As it was known at this position of the log; none: now.
    pub known_at: Option<u64>,
    /// The place of the organisation: the holder, or the customer of the user who is.
    pub path: TenantPath,
    /// Where it was then, for what was set above it; none: where it is.
    pub place_then: Option<TenantPath>,
    /// The plan; where there is a subscription, the one that it has at that moment.
    pub plan: Option<PlanKey>,
    /// Of which service.
    pub service: ServiceKey,
    /// What is held; none: as it would be for a new one.
    pub subscription: Option<SubscriptionId>,
}

/// A property of somebody.
#[derive(Clone, Debug)]
pub struct EffectiveProperty {
    /// The values that lost, the nearer first.
    pub losers: Vec<SetValue>,
    /// As the service defines it.
    pub property: Property,
    /// The value that holds; none where nobody says anything.
    pub winner: Option<SetValue>,
}

/// A value that somebody set.
#[derive(Clone, Debug)]
pub struct SetValue {
    /// Who set it.
    pub actor: Option<Actor>,
    /// Whether nobody below can set another.
    pub locked: bool,
    /// The organisation that it is set at, and its place.
    pub organization: Option<(OrganizationId, TenantPath)>,
    /// Where it comes from.
    pub origin: Origin,
    /// Why, where somebody said so.
    pub reason: Option<String>,
    /// Since when.
    pub since: Option<DateTime<Utc>>,
    /// Until when, where it ends by itself.
    pub until: Option<DateTime<Utc>>,
    /// It.
    pub value: String,
    /// What would hold if this had not been set.
    pub without: Option<String>,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The service's definition.
    Default,
    /// An organisation above.
    Inherited,
    /// Filled in when it was provisioned.
    Input,
    /// The very organisation asked about.
    Override,
    /// The plan.
    Plan,
}

/// The properties that are asked for, each question's in the order of the service's definition; none where the
/// service is not sold at that moment. Whatever the number of questions, there are three statements: for services,
/// for overrides, and for the histories of subscriptions (and of services, where what was sold before is asked for).
///
/// # Errors
/// What the database says, and what cannot be decoded.
pub async fn properties(
    mut database: &Database,
    questions: &[Question],
) -> Result<Vec<Vec<EffectiveProperty>>, Error> {
    let of_subscription =
        |subscription: &SubscriptionId| format!("{}-{subscription}", Subscription::CATEGORY);
    let of_service = |service: &ServiceKey| format!("{}-{service}", Service::CATEGORY);
    let keys = questions.iter().map(|question| question.service.to_string()).collect();
    let services = finder::find_many::<ServiceView>(database, &Scope::catalogue(), keys).await?;
    let service = |question: &Question| services.get(question.service.as_str());
    let mut streams = BTreeSet::new();
    for question in questions {
        streams.extend(question.subscription.as_ref().map(of_subscription));
        let is_older = |view: &Arc<ServiceView>| {
            question.publication(view).is_some_and(|it| Some(it) != view.publications.last())
        };
        if service(question).is_some_and(is_older) {
            streams.insert(of_service(&question.service));
        }
    }
    let mut histories = HashMap::<_, Vec<_>>::new();
    for event in eventstore::streams(&mut database, streams.into_iter().collect()).await? {
        histories.entry(event.stream.clone()).or_default().push(event);
    }
    let history = |stream: String| histories.get(&stream).map_or(&[][..], Vec::as_slice);
    let overrides = overrides(database, questions).await?;
    let answers = questions.iter().map(|question| {
        let view = service(question)?;
        let published = question.publication(view)?;
        let older = history(of_service(&question.service));
        let older = older.iter().find(|event| event.position == published.position);
        let definition = match older.map(|event| &event.event) {
            Some(Event::Service(ServiceEvent::Published { definition, .. })) => definition,
            _ => view.published.as_ref()?,
        };
        let subscription = question.subscription.as_ref().map(|id| history(of_subscription(id)));
        let subscription = subscription.unwrap_or_default();
        let overrides = &overrides;
        let ground = Ground { definition, overrides, published, question, subscription };
        Some(ground.properties())
    });
    Ok(answers.map(Option::unwrap_or_default).collect())
}

/// The overrides of all organisations on the way down to those asked about, by place.
async fn overrides(
    database: &Database,
    questions: &[Question],
) -> Result<BTreeMap<TenantPath, Vec<Arc<OverrideView>>>, Error> {
    let paths: BTreeSet<_> = questions.iter().flat_map(Question::lineage).collect();
    let paths = paths.iter().map(ToString::to_string).collect();
    let sql = format!(
        "select key, document from view_override where {} order by key",
        database.engine().any_of("path", 1)
    );
    failpoint("projections::effective::overrides")?;
    let rows = database.fetch(&sql, &[Value::Texts(paths)]).await?;
    let mut overrides = BTreeMap::<_, Vec<_>>::new();
    for row in &rows {
        let view: Arc<OverrideView> = tables::read(row.text(0)?, row.bytes(1)?)?;
        overrides.entry(view.path.clone()).or_default().push(view);
    }
    Ok(overrides)
}

/// All that an answer is made of.
struct Ground<'a> {
    /// What is sold at the moment.
    definition: &'a Definition,
    overrides: &'a BTreeMap<TenantPath, Vec<Arc<OverrideView>>>,
    /// What made it so.
    published: &'a Publication,
    question: &'a Question,
    /// The subscription's events.
    subscription: &'a [Recorded],
}

impl Question {
    /// Those above it, from the top, and itself.
    fn lineage(&self) -> Vec<TenantPath> {
        let Some(then) = &self.place_then else { return self.path.lineage() };
        let mut lineage = then.lineage();
        lineage.pop();
        lineage.push(self.path.clone());
        lineage
    }

    fn knows(&self, position: u64) -> bool {
        self.known_at.is_none_or(|known_at| position <= known_at)
    }

    /// What made the definition of the moment the one that is sold: the last publication until then, or the first
    /// one, whose prices hold since ever.
    fn publication<'a>(&self, service: &'a ServiceView) -> Option<&'a Publication> {
        let known = service.publications.iter().filter(|it| self.knows(it.position));
        let until = known.clone().filter(|it| it.effective_at <= self.as_of);
        let last = until.max_by_key(|it| (it.effective_at, it.position));
        last.or_else(|| known.min_by_key(|it| it.position))
    }
}

impl<'a> Ground<'a> {
    /// The requests that came to something until the moment, with the events that asked, each with the moment and
    /// the place of its outcome.
    fn requests(&self) -> impl Iterator<Item = ((DateTime<Utc>, u64), &'a Recorded, &'a Request)> {
        let known = || self.subscription.iter().filter(|it| self.question.knows(it.position));
        let mut outcomes = HashMap::new();
        for event in known() {
            let Event::Subscription(happened) = &event.event else { continue };
            match happened.phase() {
                Phase::Done if event.effective_at <= self.question.as_of => {
                    let outcome = (event.effective_at, event.position);
                    outcomes.insert(happened.request(), outcome);
                }
                Phase::Superseded => {
                    outcomes.remove(&happened.request());
                    if event.effective_at <= self.question.as_of {
                        let outcome = (event.effective_at, event.position);
                        outcomes.insert(happened.request(), outcome);
                    }
                }
                Phase::Withdrawn => {
                    outcomes.remove(&happened.request());
                }
                _ => {}
            }
        }
        known().filter_map(move |event| match &event.event {
            Event::Subscription(happened) => match happened.phase() {
                Phase::Asked { built: Some(built), .. } => {
                    Some((*outcomes.get(&built.id)?, event, built))
                }
                _ => None,
            },
            _ => None,
        })
    }

    /// The one that says what is held.
    fn request(&self) -> Option<&'a Request> {
        let last = self.requests().max_by_key(|(outcome, ..)| *outcome);
        last.map(|(.., request)| request)
    }

    /// The one that filled in a value first: those after it only keep it.
    fn filled_in_by(&self, key: &PropertyKey, input: &Candidate<'_>) -> Option<&'a Recorded> {
        let said = |it: &ResolvedProperty| {
            it.key == *key && it.since == input.since && it.value == input.value
        };
        let filled_in = self.requests().filter(|(_, event, request)| {
            Some(event.effective_at) == input.since && request.inputs().any(said)
        });
        filled_in.map(|(_, event, _)| event).min_by_key(|event| event.position)
    }

    fn properties(&self) -> Vec<EffectiveProperty> {
        let definition = self.definition;
        let request = self.request();
        let held = self.subscription.iter().filter(|event| self.question.knows(event.position));
        let held = held.fold(Subscription::default(), |state, event| match &event.event {
            Event::Subscription(happened) => state.evolve(happened, event.effective_at),
            _ => state,
        });
        let held = held.held_at(self.question.as_of).map(|held| held.plan.clone());
        let plan = held.as_ref().or(self.question.plan.as_ref());
        let plan = plan.and_then(|plan| definition.plan(plan));
        let lineage = self.question.lineage();
        let all = lineage.iter().enumerate().flat_map(|(depth, path)| {
            let views = self.overrides.get(path).into_iter().flatten();
            views.map(move |view| (depth, view))
        });
        let overrides: Vec<_> = all
            .filter(|(_, view)| {
                view.overriding.service == self.question.service
                    && self.question.knows(view.position)
            })
            .map(|(depth, view)| OverrideAt {
                depth,
                from: view.effective_from,
                organization: view.organization,
                overriding: &view.overriding,
                position: view.position,
            })
            .collect();
        let inputs: Vec<_> =
            request.into_iter().flat_map(Request::inputs).map(effective::Input::from).collect();
        resolve(definition, plan, &overrides, &inputs, self.question.as_of)
            .into_iter()
            .map(|effective| {
                let set = |candidate: &Candidate<'_>| {
                    let without = effective.without(candidate).map(|it| it.value.to_owned());
                    self.told(&effective.property.key, candidate, without)
                };
                EffectiveProperty {
                    losers: effective.losers().iter().map(set).collect(),
                    property: effective.property.clone(),
                    winner: effective.winner().map(set),
                }
            })
            .collect()
    }

    /// The override of a position, at an organisation on the way down.
    fn override_of(&self, depth: usize, position: u64) -> Option<&'a Arc<OverrideView>> {
        let views = self.overrides.get(self.question.lineage().get(depth)?)?;
        let place = views.binary_search_by_key(&position, |view| view.position).ok()?;
        Some(&views[place])
    }

    /// Who said a value, when and why.
    fn told(
        &self,
        key: &PropertyKey,
        candidate: &Candidate<'_>,
        without: Option<String>,
    ) -> SetValue {
        let set = SetValue {
            actor: None,
            locked: candidate.locked,
            organization: None,
            origin: Origin::Default,
            reason: None,
            since: candidate.since,
            until: candidate.until,
            value: candidate.value.to_owned(),
            without,
        };
        let published = self.published;
        let by_publication = |origin| SetValue {
            actor: Some(published.actor),
            origin,
            reason: published.reason.clone(),
            since: Some(published.effective_at),
            ..set.clone()
        };
        match candidate.level {
            Level::Default => by_publication(Origin::Default),
            Level::Plan => by_publication(Origin::Plan),
            Level::Subscription => {
                let request = self.filled_in_by(key, candidate);
                SetValue {
                    actor: request.map(|request| request.actor),
                    origin: Origin::Input,
                    reason: request.and_then(|request| request.reason.clone()),
                    ..set
                }
            }
            Level::Organization { depth, id } => {
                let Some(view) = self.override_of(depth, candidate.position) else {
                    return set;
                };
                let own = view.path == self.question.path;
                SetValue {
                    actor: Some(view.actor),
                    organization: Some((id, view.path.clone())),
                    origin: if own { Origin::Override } else { Origin::Inherited },
                    reason: view.reason.clone(),
                    ..set
                }
            }
        }
    }
}
