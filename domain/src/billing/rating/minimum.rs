//! Least amounts: what the other charges of a period lack to come to them (billing.md, section 4).

use super::super::{Quarantine, QuarantineReason};
use super::line::{Line, entry_id};
use super::{Entry, Kind, Rating};
use crate::money::{Money, Ratio, UnitPrice};

impl Rating<'_> {
    /// The entry of what the charges of the period lack, given the lines of a least amount. What is charged by terms is none
    /// of them: it is not of this period.
    pub(super) fn lacking(
        &self,
        lines: Vec<Line<'_>>,
        charged: &[Entry],
    ) -> Result<Option<Entry>, Quarantine> {
        let parts = self.entries(lines)?;
        let Some(last) = parts.last() else { return Ok(None) };
        let too_large = || Quarantine {
            date: last.service_from,
            plan: last.plan.clone(),
            reason: QuarantineReason::TooLarge,
        };
        let charged = charged.iter().try_fold(0_i64, |sum, it| sum.checked_add(it.amount.minor));
        let charged = charged.ok_or_else(too_large)?;
        let least = parts.iter().try_fold(0_i64, |sum, it| sum.checked_add(it.amount.minor));
        let lacks = least.and_then(|least| least.checked_sub(charged)).ok_or_else(too_large)?;
        if lacks <= 0 {
            return Ok(None);
        }
        let exact = parts.iter().try_fold(Ratio::ZERO, |sum, it| sum.checked_add(it.exact));
        let exact = exact.and_then(|exact| exact.checked_sub(Ratio::whole(charged)));
        let of_all = last.unit_price.exact.checked_mul(Ratio::whole(last.quantity.into()));
        let unit_price = of_all.and_then(|minor| UnitPrice::new(minor, self.settings.currency));
        let mut causes: Vec<_> = parts.iter().flat_map(|it| it.causes.iter().copied()).collect();
        causes.sort_unstable();
        causes.dedup();
        let mut entry = Entry {
            amount: Money::new(lacks, self.settings.currency),
            causes,
            days: parts.iter().map(|it| it.days).sum(),
            exact: exact.ok_or_else(too_large)?,
            kind: Kind::Minimum,
            quantity: 1,
            service_from: parts[0].service_from,
            unit_price: unit_price.ok_or_else(too_large)?,
            ..last.clone()
        };
        entry.entry_id = entry_id(&entry);
        Ok(Some(entry))
    }
}
