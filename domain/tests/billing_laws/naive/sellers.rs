//! What the sellers on the way make of a price, asked from the buyer up: whoever says an amount first is believed
//! (billing.md, section 4, Price).

use chrono::{DateTime, NaiveDate, Utc};
use domain::PlanKey;
use domain::billing::{
    BookRow, ComponentKey, Markup, Overridden, Override, Payer, PriceOverride, Prices, Says,
    Setting, Sort,
};
use domain::money::{Currency, Money, Percent};

use super::Fraction;

/// What is asked: what some units of a component cost on a date.
pub(crate) struct Asked<'a> {
    /// How many are held.
    pub(crate) count: u32,
    /// What the units cost by the definition, in the provider's currency, if it says so.
    pub(crate) defined: Option<Fraction>,
    /// When the date ends.
    pub(crate) end: DateTime<Utc>,
    pub(crate) key: &'a ComponentKey,
    pub(crate) plan: &'a PlanKey,
    pub(crate) prices: &'a Prices,
    /// The last date of the billing period whose exchange rates count.
    pub(crate) rates_on: NaiveDate,
    /// How many units are charged.
    pub(crate) units: u32,
}

/// What keeps a price from being said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    Price,
    Rate,
}

/// What somebody says at one level.
enum Said {
    Amount(Money),
    Percent(Percent),
}

/// For the instance or for all, and for the buyer or for all.
const WHOM: [(bool, bool); 4] = [(true, true), (true, false), (false, true), (false, false)];

impl Asked<'_> {
    /// What it costs in the biller's currency.
    pub(crate) fn costs(&self, currency: Currency) -> Result<Fraction, Lack> {
        let chain = &self.prices.chain;
        if self.prices.payer == Payer::Provider {
            return self.paid_by(0);
        }
        let Some(last) = chain.last() else {
            // All is the provider's, or was set for somebody on the way.
            let levels = (1..=5).rev().map(|depth| self.overridden(depth, currency));
            return self.first_of(levels.collect(), currency, || self.by_definition());
        };
        let rate = self.rate(last.currency, currency)?;
        Ok(self.sold_by(chain.len() - 1)?.by(rate))
    }

    /// What a seller's buyer pays, in the seller's currency.
    fn sold_by(&self, place: usize) -> Result<Fraction, Lack> {
        let own = self.prices.chain[place].currency;
        let says = |whom| match self.row(place, whom, Sort::Price)?.says {
            Says::Price(money) => Some(Said::Amount(money)),
            Says::Percent(percent) => Some(Said::Percent(percent)),
            other => panic!("{other:?} says no price"),
        };
        let mut levels = vec![says((true, true)), says((true, false))];
        levels.push(self.overridden(place + 2, own));
        if place == 0 {
            levels.push(self.overridden(1, own));
        }
        levels.extend([says((false, true)), says((false, false))]);
        self.first_of(levels, own, || self.marked_up(place))
    }

    /// The first amount, and the percentages before it upon it.
    fn first_of(
        &self,
        levels: Vec<Option<Said>>,
        own: Currency,
        without: impl Fn() -> Result<Fraction, Lack>,
    ) -> Result<Fraction, Lack> {
        let mut more = Fraction(1, 1);
        for said in levels.into_iter().flatten() {
            match said {
                Said::Amount(money) => return Ok(self.all_units(money, own)?.by(more)),
                Said::Percent(percent) => more = more.by(one_and(percent)),
            }
        }
        Ok(without()?.by(more))
    }

    /// What the seller's markup rule makes of what it pays, or of the list price; without one, what it pays.
    fn marked_up(&self, place: usize) -> Result<Fraction, Lack> {
        let own = self.prices.chain[place].currency;
        let rule = WHOM.iter().find_map(|whom| self.row(place, *whom, Sort::Markup));
        let Some(rule) = rule else {
            return if place == 0 { self.by_definition() } else { self.paid_by(place) };
        };
        let Says::Markup(markup) = rule.says else { panic!("{rule:?} is no rule") };
        match markup {
            Markup::PercentOfList(percent) => Ok(self.list_price(place)?.by(parsed(percent))),
            Markup::PercentOnCost(percent) => Ok(self.paid_by(place)?.by(one_and(percent))),
            Markup::AmountOnCost(money) => {
                let more = self.all_units(money, own)?;
                Ok(self.paid_by(place)?.plus(more))
            }
        }
    }

    /// What a seller pays: to the one above, or, at the top, to somebody who is nowhere in the tree.
    fn paid_by(&self, place: usize) -> Result<Fraction, Lack> {
        let own = self.prices.chain[place].currency;
        if place > 0 {
            let rate = self.rate(self.prices.chain[place - 1].currency, own)?;
            return Ok(self.sold_by(place - 1)?.by(rate));
        }
        let row = WHOM.iter().find_map(|whom| self.row(0, *whom, Sort::Cost)).ok_or(Lack::Price)?;
        let Says::Cost(money) = row.says else { panic!("{row:?} is no cost") };
        self.all_units(money, own)
    }

    /// The seller's list price, or that of the nearest above; where nobody has one, what the definition says.
    fn list_price(&self, place: usize) -> Result<Fraction, Lack> {
        let own = self.prices.chain[place].currency;
        for above in (0..=place).rev() {
            let row = WHOM.iter().find_map(|whom| self.row(above, *whom, Sort::List));
            let Some(row) = row else { continue };
            let Says::List(money) = row.says else { panic!("{row:?} is no list price") };
            return self.all_units(money, own);
        }
        let rate = self.rate(self.prices.chain[0].currency, own)?;
        Ok(self.by_definition()?.by(rate))
    }

    fn by_definition(&self) -> Result<Fraction, Lack> {
        self.defined.ok_or(Lack::Price)
    }

    /// The row of a seller's price book that counts for somebody: for the service before all services, for the plan before all
    /// plans, for the most that are held; of those alike the one that began last, then the one recorded last. Where that
    /// one ends them, the next narrower ones.
    fn row(&self, place: usize, (instance, buyer): (bool, bool), sort: Sort) -> Option<&BookRow> {
        let is_about = |says: Says| match says {
            Says::Ended(of) => of == sort,
            Says::Price(_) | Says::Percent(_) => sort == Sort::Price,
            Says::Markup(_) => sort == Sort::Markup,
            Says::List(_) => sort == Sort::List,
            Says::Cost(_) => sort == Sort::Cost,
        };
        let rows = self.prices.chain[place].rows.iter().filter(|row| {
            is_about(row.says)
                && row.component == *self.key
                && (row.is_for_instance, row.is_for_buyer) == (instance, buyer)
                && row.from.is_none_or(|from| from < self.end)
                && row.to.is_none_or(|to| to >= self.end)
        });
        let rows: Vec<_> = rows.collect();
        if rows.is_empty() {
            return None;
        }
        for is_for_service in [true, false] {
            for plan in [Some(self.plan), None] {
                for band in (0..=self.count).rev() {
                    let alike = rows.iter().filter(|row| {
                        (row.is_for_service, row.plan.as_ref(), row.from_quantity)
                            == (is_for_service, plan, band)
                    });
                    match alike.max_by_key(|row| (row.from, row.position)) {
                        Some(row) if !matches!(row.says, Says::Ended(_)) => return Some(row),
                        _ => {}
                    }
                }
            }
        }
        None
    }

    /// What is set otherwise for those at a depth: the latest from, then the later recorded; one for the plan before.
    fn overridden(&self, depth: usize, own: Currency) -> Option<Said> {
        let at_level: Vec<_> =
            self.prices.overrides.iter().filter(|it| it.depth == depth).collect();
        let mut best: Option<(&Override, PriceOverride)> = None;
        for it in &at_level {
            let Some(Setting::Set { to, value }) = self.of_component(it) else { continue };
            let cleared = at_level.iter().any(|by| {
                self.of_component(by) == Some(Setting::Cleared)
                    && by.plan == it.plan
                    && by.from < self.end
                    && by.position > it.position
            });
            let fits = it.plan.is_none() || it.plan.as_ref() == Some(self.plan);
            let runs = it.from < self.end && to.is_none_or(|to| to >= self.end);
            if cleared || !fits || !runs {
                continue;
            }
            let key = |it: &Override| (it.plan.is_some(), it.from, it.position);
            if best.is_none_or(|(so_far, _)| key(it) > key(so_far)) {
                best = Some((it, value));
            }
        }
        best.map(|(_, value)| match value {
            PriceOverride::Amount(minor) => Said::Amount(Money::new(minor, own)),
            PriceOverride::Percent(percent) => Said::Percent(percent),
        })
    }

    fn of_component(&self, it: &Override) -> Option<Setting<PriceOverride>> {
        match &it.overridden {
            Overridden::Price(setting) if *self.key == ComponentKey::RECURRING => {
                Some(setting.clone())
            }
            Overridden::Component { key, setting } if key == self.key => Some(setting.clone()),
            _ => None,
        }
    }

    /// What all units cost where each costs so much.
    fn all_units(&self, money: Money, own: Currency) -> Result<Fraction, Lack> {
        let rate = self.rate(money.currency, own)?;
        Ok(Fraction(money.minor.into(), 1).times(self.units.into(), 1).by(rate))
    }

    /// So many minor units of the other currency for one of this: the last rate that has begun when the period ends.
    fn rate(&self, from: Currency, to: Currency) -> Result<Fraction, Lack> {
        if from == to {
            return Ok(Fraction(1, 1));
        }
        let is_its = |from_to: (Currency, Currency)| from_to == (from, to);
        let mut known: Vec<_> =
            self.prices.rates.iter().filter(|it| is_its((it.from, it.to))).collect();
        known.retain(|it| it.since <= self.rates_on);
        known.sort_by_key(|it| (it.since, it.position));
        let rate = known.last().ok_or(Lack::Rate)?.rate;
        let ten = |currency: Currency| 10_i128.pow(currency.minor_digits());
        Ok(Fraction(rate.numerator(), rate.denominator()).times(ten(to), ten(from)))
    }
}

/// A percentage as a fraction of one.
fn parsed(percent: Percent) -> Fraction {
    let text = percent.to_string();
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let digits: i128 = format!("{whole}{part}").parse().unwrap();
    Fraction(digits, 100 * 10_i128.pow(u32::try_from(part.len()).unwrap())).reduced()
}

fn one_and(percent: Percent) -> Fraction {
    Fraction(1, 1).plus(parsed(percent))
}
