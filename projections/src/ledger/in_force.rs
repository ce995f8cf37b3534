//! The overrides that are in force on a day, who feels them, and what they come to: a report.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use domain::billing::{BillingSettings, ComponentKey, Overridden, PriceSource, Prices, Timeline};
use domain::effective::{self, Level, OverrideAt, resolve};
use domain::event::Event;
use domain::money::{Money, Ratio};
use domain::property::{Property, Scope as PropertyScope};
use domain::service::{Definition, Plan};
use domain::subscription::{Request, SubscriptionEvent};
use domain::{OrganizationId, PlanKey, TenantPath};
use eventstore::{Database, Error, Value, failpoint};

use super::{PriceBook, histories};
use crate::finder::{self, Scope};
use crate::tables;
use crate::views::{OrganizationView, OverrideView, ServiceView, SubscriptionView};

/// Subscriptions that are read at a time.
const READ_AT_A_TIME: u64 = 2_000;

/// The overrides that are in force at the end of a day, of a tenant and all below it.
#[derive(Debug)]
pub struct InForce {
    book: PriceBook,
    date: NaiveDate,
    /// The last moment of the day.
    moment: DateTime<Utc>,
    overrides: Vec<Arc<OverrideView>>,
    scope: Scope,
    settings: BillingSettings,
}

/// An override that is in force, and what it comes to.
#[derive(Clone, Debug)]
pub struct Effect {
    /// It.
    pub view: Arc<OverrideView>,
    /// Who set it.
    pub organization: Option<Arc<OrganizationView>>,
    /// Subscriptions that run and are what they are because of it.
    pub subscriptions: u64,
    /// What those cost more in a month than they would without it; below zero: less. None for a property, which has
    /// no price.
    pub monthly: Option<Money>,
    /// What would hold for its organisation without it; none where nothing would, or not the same for every plan.
    pub without: Option<String>,
}

impl InForce {
    /// Finds them, in the order of recording.
    ///
    /// # Errors
    /// What the database says.
    pub async fn on(
        database: &Database,
        scope: &Scope,
        settings: &BillingSettings,
        date: NaiveDate,
    ) -> Result<Self, Error> {
        let book = PriceBook::load(database, scope, u64::MAX, BTreeSet::new()).await?;
        let mut overrides = Vec::new();
        for views in book.overrides.values() {
            for view in views.iter().filter(|view| scope.0.contains(&view.path)) {
                // What clears it is of the same organisation and service.
                let same =
                    views.iter().filter(|it| it.overriding.service == view.overriding.service);
                let all = Prices {
                    overrides: same.map(|it| it.for_rating()).collect(),
                    ..Prices::default()
                };
                if all.sets_on(&view.for_rating(), date, settings) {
                    overrides.push(view.clone());
                }
            }
        }
        overrides.sort_unstable_by_key(|view| view.position);
        let moment = settings.last_moment(date);
        Ok(Self { book, date, moment, overrides, scope: scope.clone(), settings: settings.clone() })
    }

    /// They.
    #[must_use]
    pub fn overrides(&self) -> &[Arc<OverrideView>] {
        &self.overrides
    }

    /// What some of them come to. A few statements whatever their number, and one or two more for every two
    /// thousand subscriptions that run below them.
    ///
    /// # Errors
    /// What the database says; where an effect is beyond what can be held.
    pub async fn effects(
        &self,
        database: &Database,
        page: &[Arc<OverrideView>],
    ) -> Result<Vec<Effect>, Error> {
        let ids = page.iter().map(|view| view.organization.to_string()).collect();
        let organizations =
            finder::find_many::<OrganizationView>(database, &self.scope, ids).await?;
        let mut felt: BTreeMap<_, _> =
            page.iter().map(|view| (view.position, Felt::default())).collect();
        let mut after = None;
        while let Some(part) = self.running(database, page, after).await? {
            self.feel(database, page, &part, &mut felt).await?;
            after = part.next;
            if after.is_none() {
                break;
            }
        }
        let effects = page.iter().map(|view| {
            let felt = felt.remove(&view.position).unwrap_or_default();
            let is_price = view.overriding.overridden.component().is_some();
            let monthly = is_price.then(|| Money::new(felt.minor, self.settings.currency));
            let organization = organizations.get(&view.organization.to_string()).cloned();
            let without = self.without(view);
            let view = view.clone();
            Effect { view, organization, subscriptions: felt.subscriptions, monthly, without }
        });
        Ok(effects.collect())
    }

    /// Some of the subscriptions of their services that run where they reach.
    async fn running(
        &self,
        database: &Database,
        page: &[Arc<OverrideView>],
        after: Option<(String, String)>,
    ) -> Result<Option<Running>, Error> {
        if page.is_empty() {
            return Ok(None);
        }
        let mut places: Vec<&TenantPath> = page.iter().map(|view| &view.path).collect();
        places.sort_unstable();
        // Who is below another one is found with that one.
        places.dedup_by(|below, above| above.contains(below));
        let places = places.into_iter().map(ToString::to_string).collect();
        let services: BTreeSet<_> =
            page.iter().map(|view| view.overriding.service.to_string()).collect();
        let engine = database.engine();
        let inner = format!(
            "where sort >= places.path and sort < places.path || '~' and (sort, key) > ($2, $3) \
             and since <= $4 and until > $4 and {} order by sort, key limit $6",
            engine.any_of("kind", 5)
        );
        let sql = engine.first_of_each(
            &engine.each_of(1, "places", "path"),
            "key, document, sort",
            "view_subscription",
            &inner,
        ) + " order by sort, key limit $6";
        let (sort, key) = after.unwrap_or_default();
        let values = [
            Value::Texts(places),
            Value::Text(sort),
            Value::Text(key),
            self.moment.timestamp_micros().into(),
            Value::Texts(services.into_iter().collect()),
            READ_AT_A_TIME.into(),
        ];
        failpoint("projections::ledger::in_force::running")?;
        let rows = database.fetch(&sql, &values).await?;
        let views = rows
            .iter()
            .map(|row| tables::read::<SubscriptionView>(row.text(0)?, row.bytes(1)?))
            .collect::<Result<Vec<_>, Error>>()?;
        let next = match rows.last() {
            Some(last) if rows.len() as u64 == READ_AT_A_TIME => {
                Some((last.text(2)?.to_owned(), last.text(0)?.to_owned()))
            }
            Some(_) | None => None,
        };
        Ok(Some(Running { views, next }))
    }

    /// Notes who of some subscriptions feels which override.
    async fn feel(
        &self,
        mut database: &Database,
        page: &[Arc<OverrideView>],
        running: &Running,
        felt: &mut BTreeMap<u64, Felt>,
    ) -> Result<(), Error> {
        let views = &running.views;
        let mut long = histories(database, views, u64::MAX).await?;
        let with_inputs = views.iter().filter(|view| self.may_fill_in(page, view));
        let with_inputs = with_inputs.map(|view| view.stream()).collect();
        let mut requests = HashMap::<_, ((DateTime<Utc>, u64), Request)>::new();
        for event in eventstore::streams(&mut database, with_inputs).await? {
            let (
                Event::Subscription(
                    SubscriptionEvent::ProvisionRequested { request }
                    | SubscriptionEvent::ChangeRequested { request },
                ),
                true,
            ) = (event.event, event.effective_at <= self.moment)
            else {
                continue;
            };
            let place = (event.effective_at, event.position);
            let is_last = requests.get(&event.stream).is_none_or(|(last, _)| *last < place);
            if is_last {
                requests.insert(event.stream, (place, *request));
            }
        }
        let mut known = HashMap::<(&str, &TenantPath, PlanKey, u32), Vec<OfPlan>>::new();
        // The price of a unit may depend on how many there are, but not the plan's own.
        let has_rates = page
            .iter()
            .any(|view| matches!(view.overriding.overridden, Overridden::Component { .. }));
        for view in views {
            let Some(service) = self.book.services.get(view.service.as_str()) else { continue };
            let Some(definition) = service.published.as_ref() else { continue };
            let timeline = long.remove(&view.stream());
            let timeline = timeline.unwrap_or_else(|| Timeline::new(view.facts.clone()));
            let Some(held) = timeline.state_at(self.moment) else { continue };
            let Some(plan) = definition.plan(held.plan) else { continue };
            let request = requests.get(&view.stream()).map(|(_, request)| request);
            let whose = (view.customer, &view.path);
            // What nobody filled in is the same for all of one customer and plan.
            let own;
            let felt_here = if request.is_some_and(|request| request.inputs().next().is_some()) {
                let units = held.quantity;
                own = self.of_plan(page, service, (definition, plan, units), whose, request);
                &own
            } else {
                let units = if has_rates { held.quantity } else { 1 };
                let of = (view.service.as_str(), &view.path, held.plan.clone(), units);
                known.entry(of).or_insert_with(|| {
                    self.of_plan(page, service, (definition, plan, units), whose, None)
                })
            };
            for OfPlan { position, prices } in felt_here {
                let Some(felt) = felt.get_mut(position) else { continue };
                felt.subscriptions += 1;
                if let Some((with, without)) = prices {
                    let units = Ratio::whole(held.quantity.into());
                    let cost = |unit: &Ratio| unit.checked_mul(units)?.round_half_away();
                    let more = cost(with).zip(cost(without));
                    let more = more.and_then(|(with, without)| with.checked_sub(without));
                    let sum = more.and_then(|more| felt.minor.checked_add(more));
                    felt.minor = sum.ok_or_else(|| {
                        Error::Unsuitable("what an override comes to is too large".to_owned())
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Whether a subscription may have been given a value of its own for something that is overridden.
    fn may_fill_in(&self, page: &[Arc<OverrideView>], subscription: &SubscriptionView) -> bool {
        page.iter().any(|view| {
            let property = self.property(view);
            view.overriding.service == subscription.service
                && view.path.contains(&subscription.path)
                && property.is_some_and(|it| {
                    matches!(it.scope, PropertyScope::Customer | PropertyScope::User)
                })
        })
    }

    /// What is sold of the service that an override is of.
    fn definition(&self, view: &OverrideView) -> Option<(&ServiceView, &Definition)> {
        let service = self.book.services.get(view.overriding.service.as_str())?;
        Some((service, service.published.as_ref()?))
    }

    /// The property that an override is of; none where it is of the price.
    fn property(&self, view: &OverrideView) -> Option<&Property> {
        match &view.overriding.overridden {
            Overridden::Price(_) | Overridden::Component { .. } => None,
            Overridden::Property { key, .. } => self.definition(view)?.1.property(key),
        }
    }

    /// What every holder of a plan at `path` feels of some overrides, where `request` says what was filled in.
    fn of_plan(
        &self,
        page: &[Arc<OverrideView>],
        service: &ServiceView,
        (definition, plan, units): (&Definition, &Plan, u32),
        (buyer, path): (OrganizationId, &TenantPath),
        request: Option<&Request>,
    ) -> Vec<OfPlan> {
        let prices = self.book.of(service, (buyer, path), &self.settings);
        let above = self.above(service, path);
        let inputs: Vec<_> =
            request.into_iter().flat_map(Request::inputs).map(effective::Input::from).collect();
        let resolved = resolve(definition, Some(plan), &above, &inputs, self.moment);
        let winners: BTreeSet<_> = resolved
            .iter()
            .filter_map(|effective| effective.winner())
            .filter(|winner| matches!(winner.level, Level::Organization { .. }))
            .map(|winner| winner.position)
            .collect();
        let here = page
            .iter()
            .filter(|view| view.overriding.service == service.key && view.path.contains(path));
        let felt = here.filter_map(|view| match &view.overriding.overridden {
            Overridden::Property { .. } => winners
                .contains(&view.position)
                .then_some(OfPlan { position: view.position, prices: None }),
            of_price @ (Overridden::Price(_) | Overridden::Component { .. }) => {
                let key = of_price.component()?;
                let priced = self.cost(&prices, &plan.key, key, units)?;
                let source = PriceSource::Override(view.position);
                priced.sources.contains(&source).then(|| OfPlan {
                    position: view.position,
                    prices: Some((
                        priced.minor,
                        self.cost_without(&prices, view, &plan.key, key, units),
                    )),
                })
            }
        });
        felt.collect()
    }

    /// What each of some units costs in a month.
    fn cost(
        &self,
        prices: &Prices,
        plan: &PlanKey,
        key: &ComponentKey,
        units: u32,
    ) -> Option<domain::billing::Priced> {
        prices.monthly(self.date, plan, key, units, &self.settings)
    }

    /// What a unit would cost without an override. Where nothing else says a price, nothing.
    fn cost_without(
        &self,
        prices: &Prices,
        view: &OverrideView,
        plan: &PlanKey,
        key: &ComponentKey,
        units: u32,
    ) -> Ratio {
        let mut others = prices.clone();
        others.overrides.retain(|it| it.position != view.position);
        self.cost(&others, plan, key, units).map_or(Ratio::ZERO, |priced| priced.minor)
    }

    /// What is set for a service on the way down to somebody.
    fn above(&self, service: &ServiceView, path: &TenantPath) -> Vec<OverrideAt<'_>> {
        let lineage = path.lineage();
        let set = lineage.iter().enumerate().flat_map(|(depth, path)| {
            let views = self.book.overrides.get(path.as_str()).into_iter().flatten();
            views.map(move |view| (depth, view))
        });
        set.filter(|(_, view)| view.overriding.service == service.key)
            .map(|(depth, view)| OverrideAt {
                depth,
                from: view.effective_from,
                organization: view.organization,
                overriding: &view.overriding,
                position: view.position,
            })
            .collect()
    }

    /// What would hold at an override's organisation without it.
    fn without(&self, view: &OverrideView) -> Option<String> {
        let (service, definition) = self.definition(view)?;
        let is_meant = |plan: &&Plan| {
            view.overriding.plan.as_ref().map_or(!plan.retired, |of| *of == plan.key)
        };
        let plans: Vec<_> = definition.plans.iter().filter(is_meant).collect();
        let values: BTreeSet<_> = match &view.overriding.overridden {
            of_price @ (Overridden::Price(_) | Overridden::Component { .. }) => {
                let key = of_price.component()?;
                let whose = (view.organization, &view.path);
                let prices = self.book.of(service, whose, &self.settings);
                let cost = |plan: &&Plan| {
                    let mut others = prices.clone();
                    others.overrides.retain(|it| it.position != view.position);
                    let minor = self.cost(&others, &plan.key, key, 1)?.minor.round_half_away()?;
                    Some(Money::new(minor, self.settings.currency).to_string())
                };
                plans.iter().map(cost).collect()
            }
            Overridden::Property { key, .. } => {
                let above = self.above(service, &view.path);
                let value = |plan: &&Plan| {
                    let resolved = resolve(definition, Some(*plan), &above, &[], self.moment);
                    let effective = resolved.iter().find(|it| it.property.key == *key)?;
                    let mut all = effective.winner().into_iter().chain(effective.losers());
                    let own = all.find(|it| it.position == view.position)?;
                    effective.without(own).map(|it| it.value.to_owned())
                };
                plans.iter().map(value).collect()
            }
        };
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value,
            _ => None,
        }
    }
}

/// Subscriptions that run, and where the next ones begin.
struct Running {
    views: Vec<Arc<SubscriptionView>>,
    next: Option<(String, String)>,
}

/// Who feels an override, and what that comes to in minor units a month.
#[derive(Default)]
struct Felt {
    subscriptions: u64,
    minor: i64,
}

/// An override that the holders of a plan feel; what a unit costs with it and without it.
struct OfPlan {
    position: u64,
    prices: Option<(Ratio, Ratio)>,
}
