//! Periods as they would be if only that counted which was true by a moment: what was to come by then is left out, and what
//! was held then goes on (docs/adr/0033).
//!
//! What of a closed period comes after the moment is rated once more, as far as the log went at its cutoff: that is what it
//! was sealed from, so all else is as it is in the books.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use domain::OrganizationId;
use domain::billing::Period;
use eventstore::{Database, Error};

use super::names::Names;
use super::rater::{Customers, Rated, Rater};
use super::supposed::Supposed;
use super::{Quarantined, Question, Side, Statement};
use crate::views::OrganizationView;

/// The first moment after another: none of ours lies between.
pub(super) fn just_after(moment: DateTime<Utc>) -> DateTime<Utc> {
    moment.checked_add_signed(TimeDelta::microseconds(1)).unwrap_or(moment)
}

/// Some periods that are rated as far as the log went at one position.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) rater: Rater,
    /// The places of its periods among all.
    places: Vec<usize>,
    /// The cutoff of the closings that it is about; none: of none.
    cutoff: Option<u64>,
    /// The closed periods of sellers that are rated once more, each as far as the log went at its cutoff.
    again: Arc<Again>,
}

type Again = BTreeMap<(OrganizationId, NaiveDate), u64>;

/// What it takes to rate some periods: one pass, and one for each closing that did not end before the moment that is asked
/// about.
pub(super) async fn passes(
    database: &Database,
    question: &Question,
    (periods, supposed): (&[Period], Supposed),
    customers: &[Arc<OrganizationView>],
) -> Result<Vec<Pass>, Error> {
    let mut rater = Rater::begin(database, question, periods, customers).await?;
    let again = Arc::new(again(&rater, periods));
    let places_of = |wanted: &dyn Fn(&Period) -> bool| {
        let all = periods.iter().enumerate();
        all.filter(|(_, period)| wanted(period)).map(|(place, _)| place).collect::<Vec<_>>()
    };
    let of = |places: &[usize]| places.iter().map(|place| periods[*place]).collect::<Vec<_>>();
    // Of one seller they are all that there is.
    let is_all = |period: &Period| match question.side {
        Side::Sells(seller) => again.contains_key(&(seller, period.end)),
        Side::Buys(buyer) => rater.is_of_supply() && again.contains_key(&(buyer, period.end)),
    };
    let places = places_of(&|period| !is_all(period));
    rater.periods = of(&places);
    rater.suppose(supposed.clone());
    let mut passes = vec![Pass { rater, places, cutoff: None, again: again.clone() }];
    for cutoff in again.values().copied().collect::<BTreeSet<_>>() {
        let ends = again.iter().filter(|(_, it)| **it == cutoff).map(|((_, end), _)| *end);
        let ends: BTreeSet<_> = ends.collect();
        let places = places_of(&|period| ends.contains(&period.end));
        let then = Question { known_at: Some(cutoff), ..question.clone() };
        let mut rater = Rater::begin(database, &then, &of(&places), customers).await?;
        rater.suppose(supposed.clone());
        passes.push(Pass { rater, places, cutoff: Some(cutoff), again: again.clone() });
    }
    passes.retain(|pass| !pass.places.is_empty());
    Ok(passes)
}

/// The closed periods that were not over at the moment that is asked about; of what the provider pays, all of them: it is
/// in no books.
fn again(rater: &Rater, periods: &[Period]) -> Again {
    let mut again = Again::new();
    let (as_of, is_of_supply) = (rater.question.as_of, rater.is_of_supply());
    if as_of.is_none() && !is_of_supply {
        return again;
    }
    let sellers = rater.prices.sellers.all();
    for seller in sellers.filter(|seller| !is_of_supply || seller.path.parent().is_none()) {
        for period in periods.iter().filter_map(|period| Rater::period_of(seller, period)) {
            let was_on = |as_of| seller.settings.instants(&period).1 > just_after(as_of);
            if let Some(closed) = rater.books.sealed(seller.id, period.end)
                && (is_of_supply || as_of.is_some_and(was_on))
            {
                again.insert((seller.id, period.end), closed.cutoff);
            }
        }
    }
    again
}

impl Pass {
    /// Adds what some customers have to the statements of all periods.
    pub(super) fn add(&self, read: &Customers, names: &Names, statements: &mut [Statement]) {
        let Self { rater, places, cutoff, again } = self;
        rater.rate(read, |rated| {
            let Rated { customer, link, slot, service, period, known_at, outcome, .. } = rated;
            let place = (link.seller.id, rater.periods[period].end);
            if again.get(&place) != cutoff.as_ref() {
                return;
            }
            let statement = &mut statements[places[period]];
            match outcome {
                Ok(entries) => statement.lines.extend(entries.into_iter().map(|entry| {
                    let end = entry.period_end.succ_opt().unwrap_or(entry.period_end);
                    let end = link.seller.settings.midnight(end);
                    let between = (customer, link, rater.reseller(link));
                    let own = rater.own(&entry, service, end, known_at);
                    names.line(entry, slot, between, (service, known_at, end), own)
                })),
                Err(cause) => statement.quarantined.push(Quarantined {
                    subscription: slot.view.id,
                    customer: customer.id,
                    service: service.key.clone(),
                    cause,
                }),
            }
        });
    }
}

impl Statement {
    /// Puts lines in order that several passes gave.
    pub(super) fn sort(&mut self) {
        self.lines.sort_by_cached_key(|line| {
            let customer = (line.customer.details.name.to_lowercase(), line.customer.number);
            let slot = format!("{}/{}", line.entry.service, line.instance.as_deref().unwrap_or(""));
            (customer, slot, line.entry.subscription)
        });
    }
}
