//! What is charged once: with the first day of a run, and not again when another run of the slot ended on that date
//! (billing.md, section 4).

use super::super::calendar::following;
use super::super::component::Charge;
use super::super::{ComponentKey, Quarantine};
use super::line::{Line, Span};
use super::{Action, Kind, Rating};
use crate::money::Ratio;

impl<'a> Rating<'a> {
    /// Adds the set-up fees of the runs that began in the period.
    pub(super) fn add_one_off_lines(
        &self,
        key: &ComponentKey,
        lines: &mut Vec<Line<'a>>,
    ) -> Result<(), Quarantine> {
        let mut ended = None;
        for run in self.timeline.runs() {
            let began = run.began();
            let ended_before = std::mem::replace(&mut ended, run.ended);
            if !(self.begin..self.end).contains(&began.effective_at)
                || self.timeline.took_over(began)
            {
                continue;
            }
            let date = self.settings.local_date(began.effective_at);
            let ended_before = ended_before.map(|it| self.settings.local_date(it.effective_at));
            let last = run.last_before(self.day_end(date));
            let Some((fact, held)) = last.and_then(|fact| Some((fact, fact.holding()?))) else {
                continue;
            };
            let tariff =
                self.prices.component_on(date, held.plan, key, held.quantity, self.settings);
            let tariff = tariff.filter(|it| matches!(it.charge, Charge::OneOff { .. }));
            let Some(tariff) = tariff.filter(|_| ended_before != Some(date)) else { continue };
            let priced = tariff.price(Ratio::whole(1), 1);
            let priced =
                priced.map_err(|reason| Quarantine { date, plan: held.plan.clone(), reason })?;
            lines.push(Line {
                action: Action::Added,
                added_by: began,
                cause: began.into(),
                component: key.clone(),
                count_after: 0,
                count_before: 0,
                dates: date..following(date),
                fact,
                // It is for setting up, however many are held.
                held: super::super::Holding { quantity: 1, ..held },
                kind: Kind::OneOff,
                policy: self.policy(held.plan),
                priced,
                property_change: None,
                removal: None,
                span: Span::Once,
            });
        }
        Ok(())
    }
}
