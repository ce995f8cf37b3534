//! The overrides that are in force on a day, and what they come to: a report.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::NaiveDate;
use domain::billing::{BillingSettings, Overridden, PriceSource, Prices};
use domain::money::{Money, Ratio};
use domain::{PlanKey, ServiceKey};
use eventstore::{Database, Error};

use super::{PriceBook, Question, RATED_AT_A_TIME, customers, slots};
use crate::finder::Scope;
use crate::views::OverrideView;

/// An override that is in force, and what it comes to.
#[derive(Clone, Debug)]
pub struct InForce {
    /// It.
    pub view: Arc<OverrideView>,
    /// Subscriptions that are held at its organisation or below, of its service and plan.
    pub subscriptions: u64,
    /// What those cost more in a month than they would without it; below zero: less. None for a property, which has
    /// no price.
    pub monthly: Option<Money>,
}

/// What is known of an override so far; what it changes in minor units.
struct Effect {
    view: Arc<OverrideView>,
    subscriptions: u64,
    monthly: Ratio,
}

/// What one unit of a plan has to do with an override: its position, and the minor units that the unit costs more.
type UnitEffect = (u64, Ratio);

/// The overrides of a tenant and all below it that are in force at the end of a day, in the order of recording.
///
/// # Errors
/// What the database says; where an effect is beyond what can be held.
pub async fn overrides_in_force(
    database: &Database,
    scope: &Scope,
    settings: &BillingSettings,
    date: NaiveDate,
) -> Result<Vec<InForce>, Error> {
    let question = Question { scope: scope.clone(), known_at: None };
    let book = PriceBook::load(database, &question).await?;
    let mut effects = in_force(&book, scope, settings, date);
    let too_large = || Error::Unsuitable("what an override comes to is too large".to_owned());
    let moment = settings.last_moment(date);
    let customers = if effects.is_empty() { vec![] } else { customers(database, scope).await? };
    for customers in customers.chunks(RATED_AT_A_TIME) {
        let held = slots(database, &question, (moment, moment), customers).await?;
        for customer in customers {
            let mut known = HashMap::<(&ServiceKey, PlanKey), Vec<UnitEffect>>::new();
            for slot in held.get(customer.path.as_str()).into_iter().flatten() {
                let service = book.services.get(slot.view.service.as_str());
                let (Some(service), Some(held)) = (service, slot.timeline.state_at(moment)) else {
                    continue;
                };
                let units = known.entry((&service.key, held.plan.clone())).or_insert_with(|| {
                    unit_effects(&book.of(service, &customer.path), held.plan, settings, date)
                });
                for (position, unit) in units {
                    let Some(effect) = effects.get_mut(position) else { continue };
                    effect.subscriptions += 1;
                    let all = unit.checked_mul(Ratio::whole(held.quantity.into()));
                    let sum = all.and_then(|all| effect.monthly.checked_add(all));
                    effect.monthly = sum.ok_or_else(too_large)?;
                }
            }
        }
    }
    let told = effects.into_values().map(|Effect { view, subscriptions, monthly }| {
        let minor = monthly.round_half_away().ok_or_else(too_large)?;
        let is_price = matches!(view.overriding.overridden, Overridden::Price(_));
        let monthly = is_price.then(|| Money::new(minor, settings.currency));
        Ok(InForce { view, subscriptions, monthly })
    });
    told.collect()
}

/// Those in scope that are in force, by position; nothing is known of what they come to.
fn in_force(
    book: &PriceBook,
    scope: &Scope,
    settings: &BillingSettings,
    date: NaiveDate,
) -> BTreeMap<u64, Effect> {
    let mut found = BTreeMap::new();
    for views in book.overrides.values() {
        for view in views.iter().filter(|view| scope.0.contains(&view.path)) {
            // What clears it is of the same organisation and service.
            let same = views.iter().filter(|it| it.overriding.service == view.overriding.service);
            let all = Prices { overrides: same.map(|it| it.for_rating()).collect(), rows: vec![] };
            if all.sets_on(&view.for_rating(), date, settings) {
                let effect =
                    Effect { view: view.clone(), subscriptions: 0, monthly: Ratio::ZERO };
                found.insert(view.position, effect);
            }
        }
    }
    found
}

/// The overrides that are in force for a plan, each with what one unit costs more because of it. Where nothing else
/// says a price, that is all of it.
fn unit_effects(
    prices: &Prices,
    plan: &PlanKey,
    settings: &BillingSettings,
    date: NaiveDate,
) -> Vec<UnitEffect> {
    let cost = |prices: &Prices| prices.on(date, plan, settings).ok();
    let priced = cost(prices);
    let reaching = prices.overrides.iter().filter(|it| it.is_for(plan));
    let in_force = reaching.filter(|it| prices.sets_on(it, date, settings));
    let unit = |position| {
        let priced = priced.as_ref()?;
        priced.sources.contains(&PriceSource::Override(position)).then_some(())?;
        let mut others = prices.clone();
        others.overrides.retain(|it| it.position != position);
        let without = cost(&others).map_or(Ratio::ZERO, |without| without.minor);
        priced.minor.checked_sub(without)
    };
    in_force.map(|it| (it.position, unit(it.position).unwrap_or(Ratio::ZERO))).collect()
}
