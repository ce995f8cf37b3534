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
/// Measurements of each for a run: they are short.
const TURNS: usize = 3;
/// Facts that each slot has when it is measured, for the least; and how the figures are called.
const FACTS: [(&str, usize); 3] = [("facts-1", 1), ("facts-500", 500), ("facts-4000", 4_000)];
/// When it is measured, in an installation that began in January 2019 and has closed nothing; the periods that are open
/// then are in the names.
const PERIODS: [(&str, &str); 3] = [
    ("periods-2", "2019-02-02T00:00:00Z"),
    ("periods-12", "2019-12-02T00:00:00Z"),
    ("periods-120", "2028-12-02T00:00:00Z"),
];

/// Some slots that are measured beside others, and how their figure is called.
struct Beside {
    name: &'static str,
    subject: Arc<Subject>,
    slots: Arc<Vec<String>>,
}

/// Measures how many facts are recorded a second, each of another quantity: with more and more periods open, and of slots with
/// more and more facts; and what is left of the rate in the worse case.
///
/// # Errors
/// What the database says.
pub async fn facts(engine: Engine, size: Size, tell: &mut impl FnMut(Figure)) -> Result<()> {
    let mut with_periods = Vec::new();
    for (name, time) in PERIODS {
        let subject = Subject::new(engine, SLOTS).await?;
        subject.world.ambient.set(time);
        let slots = slots(&subject, name).await?;
        with_periods.push(Beside { name, subject, slots });
    }
    let of_periods = left(&with_periods, engine, size, tell).await?;
    drop(with_periods);
    // In one installation, so that nothing else differs.
    let subject = Subject::new(engine, SLOTS).await?;
    let mut with_facts = Vec::new();
    for (name, wanted) in FACTS {
        let slots = slots(&subject, name).await?;
        change(&subject, &slots, wanted - 1).await?;
        with_facts.push(Beside { name, subject: subject.clone(), slots });
    }
    let of_facts = left(&with_facts, engine, size, tell).await?;
    tell(Figure::new("facts-left", engine, of_periods.min(of_facts), "of the rate"));
    Ok(())
}

/// A new slot of each customer.
async fn slots(subject: &Subject, instance: &str) -> Result<Arc<Vec<String>>> {
    let mut ids = Vec::with_capacity(SLOTS);
    for customer in subject.customers.iter().cloned() {
        let sent = json!({ "service": "crm", "plan": "team", "instance": instance });
        let provision = Command::ProvisionToCustomer { customer, body: body(sent) };
        ids.push(made_id(&subject.world.system(provision).await?)?);
    }
    Ok(Arc::new(ids))
}

/// What is left of the first's rate with the last, by the medians of some runs. They take turns: what differs is not that a
/// database has grown meanwhile, or that the machine does something else.
async fn left(
    all: &[Beside],
    engine: Engine,
    size: Size,
    tell: &mut impl FnMut(Figure),
) -> Result<f64> {
    let mut runs: Vec<Vec<Figure>> = all.iter().map(|_| Vec::new()).collect();
    for _ in 0..TURNS * size.runs {
        for (Beside { name, subject, slots }, runs) in all.iter().zip(&mut runs) {
            let (took, times) = change(subject, slots, CHANGES).await?;
            let figure = Figure::new(name, engine, rate(SLOTS * CHANGES, took), "facts/s");
            let [p50_ms, p99_ms] = [50, 99].map(|percent| Some(percentile(&times, percent)));
            runs.push(Figure { in_flight: Some(SLOTS), p50_ms, p99_ms, ..figure });
        }
    }
    let medians: Vec<_> =
        runs.into_iter().map(|runs| median(runs, |figure| figure.value)).collect();
    let left = medians[medians.len() - 1].value / medians[0].value;
    medians.into_iter().for_each(tell);
    Ok(left)
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
