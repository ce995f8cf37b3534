//! What it costs to record a fact: whatever history its slot has, and however many periods are open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use commands::{Caller, Command};
use eventstore::Engine;
use serde_json::json;

use super::{Figure, Size, Subject, closed_loop, made_id, median, percentile, rate};
use crate::world::body;

/// Slots whose quantity is changed, each by a client of its own.
const SLOTS: usize = 64;
/// Changes of each slot in one measurement.
const CHANGES: usize = 30;
/// Facts that each slot has when it is measured, for the least; and how the figures are called.
const FACTS: [(&str, usize); 3] = [("facts-1", 1), ("facts-500", 500), ("facts-4000", 4_000)];
/// When it is measured, in an installation that began in January 2019 and has closed nothing; the periods that are open
/// then are in the names.
const PERIODS: [(&str, &str); 3] = [
    ("periods-2", "2019-02-02T00:00:00Z"),
    ("periods-12", "2019-12-02T00:00:00Z"),
    ("periods-120", "2028-12-02T00:00:00Z"),
];

/// Measures how many facts are recorded a second, each of another quantity: with more and more periods open, and of slots with
/// more and more facts; and what is left of the rate in the worse case.
///
/// # Errors
/// What the database says.
pub async fn facts(engine: Engine, size: Size, tell: &mut impl FnMut(Figure)) -> Result<()> {
    let subject = Subject::new(engine, SLOTS).await?;
    let (mut with_periods, mut with_facts) = (Vec::new(), Vec::new());
    for (name, time) in PERIODS {
        let slots = slots(&subject, time).await?;
        let figure = measured(&subject, &slots, (name, engine), size).await?;
        with_periods.push(figure.value);
        tell(figure);
    }
    let slots = slots(&subject, "2029-01-02T00:00:00Z").await?;
    let mut facts = 1;
    for (name, wanted) in FACTS {
        change(&subject, &slots, wanted.saturating_sub(facts)).await?;
        let figure = measured(&subject, &slots, (name, engine), size).await?;
        with_facts.push(figure.value);
        tell(figure);
        facts = facts.max(wanted) + size.runs * CHANGES;
    }
    let left = |rates: &[f64]| rates[rates.len() - 1] / rates[0];
    let left = left(&with_periods).min(left(&with_facts));
    tell(Figure::new("facts-left", engine, left, "of the rate"));
    Ok(())
}

/// A new slot of each customer, provisioned at a time.
async fn slots(subject: &Subject, time: &str) -> Result<Arc<Vec<String>>> {
    subject.world.ambient.set(time);
    let mut ids = Vec::with_capacity(SLOTS);
    for customer in subject.customers.iter().cloned() {
        let sent = json!({ "service": "crm", "plan": "team", "instance": time });
        let provision = Command::ProvisionToCustomer { customer, body: body(sent) };
        ids.push(made_id(&subject.world.system(provision).await?)?);
    }
    Ok(Arc::new(ids))
}

/// The median of some runs.
async fn measured(
    subject: &Arc<Subject>,
    slots: &Arc<Vec<String>>,
    (name, engine): (&'static str, Engine),
    size: Size,
) -> Result<Figure> {
    let mut runs = Vec::with_capacity(size.runs);
    for _ in 0..size.runs {
        let (took, times) = change(subject, slots, CHANGES).await?;
        let figure = Figure::new(name, engine, rate(SLOTS * CHANGES, took), "facts/s");
        let [p50_ms, p99_ms] = [50, 99].map(|percent| Some(percentile(&times, percent)));
        runs.push(Figure { in_flight: Some(SLOTS), p50_ms, p99_ms, ..figure });
    }
    Ok(median(runs, |figure| figure.value))
}

/// Changes each slot so many times, all slots beside each other.
async fn change(
    subject: &Arc<Subject>,
    slots: &Arc<Vec<String>>,
    times: usize,
) -> Result<(Duration, Vec<Duration>)> {
    closed_loop(SLOTS, SLOTS * times, |slot, _| {
        let (subject, slots) = (subject.clone(), slots.clone());
        async move {
            let mut took = Vec::with_capacity(times);
            for number in 0..times {
                let asked = Instant::now();
                // No two in a row are the same: that would be no fact.
                let sent = json!({ "quantity": 2 + number % 7 });
                let id = slots[slot].clone();
                let change = Command::ChangeSubscription { id, body: body(sent) };
                subject.world.submit(Caller::SYSTEM, change).await?;
                took.push(asked.elapsed());
            }
            Ok(took)
        }
    })
    .await
}
