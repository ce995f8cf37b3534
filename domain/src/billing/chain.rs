//! What a price becomes on the way down from the provider to a buyer: what each seller says of it, from seller to seller
//! (billing.md, section 4, Price).

use std::collections::HashSet;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::ComponentKey;
use super::price::{Of, Override, PriceOverride, PriceSource, Priced, Prices, QuarantineReason};
use super::rating::Cause;
use crate::PlanKey;
use crate::money::{Currency, Money, Percent, Ratio};

/// What a seller on the way says of a service's prices: to the next one, or to the customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SellerPrices {
    /// In which the seller bills, and sets prices otherwise.
    pub currency: Currency,
    /// Rows of the seller's price book that are for everybody, or for the one to whom it sells here.
    pub rows: Vec<BookRow>,
}

/// A dated row of a seller's price book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookRow {
    /// Who set it, as people read it.
    pub actor: String,
    /// Which part of what a plan costs.
    pub component: ComponentKey,
    /// From when on; none: ever since.
    pub from: Option<DateTime<Utc>>,
    /// From how many on that are held.
    pub from_quantity: u32,
    /// Whether it is for one buyer only.
    pub is_for_buyer: bool,
    /// Whether it is for one subscription only.
    pub is_for_instance: bool,
    /// Whether it is for one service only.
    pub is_for_service: bool,
    /// Of which plan; none: of every plan.
    pub plan: Option<PlanKey>,
    /// The event's place in the log.
    pub position: u64,
    /// Why, where somebody said so.
    pub reason: Option<String>,
    /// What it says.
    pub says: Says,
    /// When it ends by itself.
    pub to: Option<DateTime<Utc>>,
}

/// What a row of a price book says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Says {
    /// What the seller pays for it where that is nobody in the tree: the provider's cost.
    Cost(Money),
    /// From then on the seller says nothing any more of that sort.
    Ended(Sort),
    /// The list price: nobody is charged by it but by way of [`Markup::PercentOfList`].
    List(Money),
    /// What it is sold for follows from something else.
    Markup(Markup),
    /// More or less than what it is sold for without this row.
    Percent(Percent),
    /// What it is sold for.
    Price(Money),
}

/// What rows of price books are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sort {
    /// What the provider pays.
    Cost,
    /// The list price.
    List,
    /// What follows from something else.
    Markup,
    /// What it is sold for.
    Price,
}

/// How a price follows from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Markup {
    /// So much on top of what the seller pays.
    AmountOnCost(Money),
    /// So many percent of the list price.
    PercentOfList(Percent),
    /// So many percent on top of what the seller pays.
    PercentOnCost(Percent),
}

impl Says {
    /// What it is about.
    #[must_use]
    pub const fn sort(self) -> Sort {
        match self {
            Self::Cost(_) => Sort::Cost,
            Self::Ended(sort) => sort,
            Self::List(_) => Sort::List,
            Self::Markup(_) => Sort::Markup,
            Self::Percent(_) | Self::Price(_) => Sort::Price,
        }
    }
}

/// What one unit of a currency costs in another, from a date on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateRow {
    /// What is exchanged.
    pub from: Currency,
    /// The event's place in the log.
    pub position: u64,
    /// So many units of the other currency for one of this.
    pub rate: Ratio,
    /// The first date.
    pub since: NaiveDate,
    /// Into what.
    pub to: Currency,
}

/// A rate by which a price was exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exchange {
    /// What was exchanged.
    pub from: Currency,
    /// The event's place in the log.
    pub position: u64,
    /// So many units of the other currency for one of this.
    pub rate: Ratio,
    /// Into what.
    pub to: Currency,
}

impl Exchange {
    /// The rate that `rates` have for a billing period that ends on `end`: the latest that has begun by then, then the later
    /// recorded.
    #[must_use]
    pub fn of(rates: &[RateRow], from: Currency, to: Currency, end: NaiveDate) -> Option<Self> {
        let known = rates.iter().filter(|it| it.from == from && it.to == to && it.since <= end);
        let RateRow { from, position, rate, to, .. } =
            *known.max_by_key(|it| (it.since, it.position))?;
        Some(Self { from, position, rate, to })
    }

    /// So many minor units of the one currency in minor units of the other; none beyond what can be held.
    #[must_use]
    pub fn apply(&self, minor: Ratio) -> Option<Ratio> {
        let ten = |digits: u32| Some(Ratio::whole(10_i64.checked_pow(digits)?));
        let major = minor.checked_div(ten(self.from.minor_digits())?)?;
        major.checked_mul(self.rate)?.checked_mul(ten(self.to.minor_digits())?)
    }
}

/// For an instance, for a buyer, for a service, for a plan, and from how many on.
type Place = (bool, bool, bool, bool, u32);

impl BookRow {
    /// Whether it is of a component.
    pub(super) fn is_of(&self, key: &ComponentKey) -> bool {
        self.component == *key
    }

    /// What it stands in a series with: the latest of a series that has begun counts.
    fn series(&self) -> (Sort, Option<&PlanKey>, Place) {
        (self.says.sort(), self.plan.as_ref(), self.place())
    }

    /// What it is for, the narrower the higher.
    fn place(&self) -> Place {
        let Self { is_for_instance, is_for_buyer, is_for_service, plan, from_quantity, .. } = self;
        (*is_for_instance, *is_for_buyer, *is_for_service, plan.is_some(), *from_quantity)
    }

    fn source(&self) -> PriceSource {
        PriceSource::Book(self.position)
    }
}

impl<'a> From<&'a BookRow> for Cause<'a> {
    fn from(row: &'a BookRow) -> Self {
        Self {
            actor: &row.actor,
            effective_at: row.from.unwrap_or_default(),
            position: row.position,
            reason: row.reason.as_deref(),
        }
    }
}

impl SellerPrices {
    /// What the seller says of a sort, the first to win first: for the instance, then for the buyer, then for the service, then
    /// for the plan, then for the most that are held; of a series the latest from, then the later recorded.
    fn in_force(&self, of: &Of<'_>, sort: Sort) -> Vec<&BookRow> {
        let day_end = of.day_end();
        let is_in_force = |row: &&BookRow| {
            row.says.sort() == sort
                && row.is_of(of.key)
                && row.plan.as_ref().is_none_or(|plan| plan == of.plan)
                && row.from_quantity <= of.quantity
                && row.from.is_none_or(|from| from < day_end)
                && row.to.is_none_or(|to| to >= day_end)
        };
        let mut rows: Vec<_> = self.rows.iter().filter(is_in_force).collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.place(), row.from, row.position)));
        let mut seen = HashSet::new();
        rows.retain(|row| seen.insert(row.series()) && !matches!(row.says, Says::Ended(_)));
        rows
    }

    /// The first that says an amount of a sort, where that is no more than an amount.
    fn amount(&self, of: &Of<'_>, sort: Sort) -> Option<(&BookRow, Money)> {
        self.in_force(of, sort).into_iter().find_map(|row| match row.says {
            Says::Cost(money) | Says::List(money) => Some((row, money)),
            Says::Ended(_) | Says::Markup(_) | Says::Percent(_) | Says::Price(_) => None,
        })
    }
}

/// What says a price, gathered from the buyer up to the provider.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// Of a unit, in minor units, before the steps; none: what the plan's own row or rate says.
    amount: Option<Ratio>,
    exchange: Vec<Exchange>,
    /// Whether what is further up says nothing any more.
    is_closed: bool,
    pub losers: Vec<PriceSource>,
    pub sources: Vec<PriceSource>,
    /// What becomes of it on the way down, the last step first.
    steps: Vec<Step>,
}

/// What becomes of a price.
#[derive(Clone, Copy, Debug)]
enum Step {
    Exchanged(Exchange),
    /// So many percent of it.
    Part(Percent),
    /// So many percent more.
    Percent(Percent),
    /// So many minor units more for each unit.
    Plus(Ratio),
}

impl Said {
    /// What it starts from, of a unit, in minor units; none where that is the plan's own row or rate.
    pub(super) fn own_base(&self) -> Option<Ratio> {
        self.amount
    }

    /// What a price of so many units becomes; none beyond what can be held.
    pub(super) fn raised(&self, base: Ratio, units: Ratio) -> Option<Ratio> {
        self.steps.iter().rev().try_fold(base, |price, step| match step {
            Step::Exchanged(exchange) => exchange.apply(price),
            Step::Part(percent) => percent.apply(price)?.checked_sub(price),
            Step::Percent(percent) => percent.apply(price),
            Step::Plus(minor) => price.checked_add(minor.checked_mul(units)?),
        })
    }

    pub(super) fn priced(mut self, minor: Ratio) -> Priced {
        self.losers.sort_unstable();
        let Self { exchange, losers, sources, .. } = self;
        Priced { exchange, losers, measured: None, minor, sources }
    }

    /// Takes in overrides, the nearest level first: one of each level counts, until one says an amount.
    pub(super) fn override_by(&mut self, overrides: &[(PriceOverride, &Override)]) {
        let mut level = None;
        for (price_override, it) in overrides {
            let source = PriceSource::Override(it.position);
            if self.is_closed || level == Some(it.depth) {
                self.losers.push(source);
                continue;
            }
            level = Some(it.depth);
            self.sources.push(source);
            match price_override {
                PriceOverride::Amount(minor) => self.start_from(Ratio::whole(*minor)),
                PriceOverride::Percent(percent) => self.steps.push(Step::Percent(*percent)),
            }
        }
    }

    /// Takes in what the sellers on the way to the buyer say, the one who sells to him first. `overrides` are those in
    /// force, the nearest level first.
    pub(super) fn pass_down(
        &mut self,
        prices: &Prices,
        of: &Of<'_>,
        overrides: &[(PriceOverride, &Override)],
    ) -> Result<(), QuarantineReason> {
        let mut currency = of.settings.currency;
        for (place, seller) in prices.chain.iter().enumerate().rev() {
            if !self.is_closed {
                self.exchange(seller.currency, currency, &prices.rates, of)?;
                currency = seller.currency;
            }
            let rows = seller.in_force(of, Sort::Price);
            let (own, book): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.is_for_instance);
            self.take_rows(&own, seller.currency, &prices.rates, of)?;
            // The provider is overridden at its own level, too.
            let levels = if place == 0 { 1..=2 } else { place + 2..=place + 2 };
            let its = overrides.iter().filter(|(_, it)| levels.contains(&it.depth));
            self.override_by(&its.copied().collect::<Vec<_>>());
            self.take_rows(&book, seller.currency, &prices.rates, of)?;
            self.mark_up(prices, place, of)?;
        }
        Ok(())
    }

    /// Takes in rows of a price book that are in force, the first to win first: a percentage is on what the next ones say
    /// that are for more than this one is.
    fn take_rows(
        &mut self,
        rows: &[&&BookRow],
        currency: Currency,
        rates: &[RateRow],
        of: &Of<'_>,
    ) -> Result<(), QuarantineReason> {
        let mut taken = None;
        for row in rows {
            if self.is_closed || taken == Some(row.is_for_buyer) {
                self.losers.push(row.source());
                continue;
            }
            taken = Some(row.is_for_buyer);
            self.sources.push(row.source());
            match row.says {
                Says::Price(money) => self.start_from_money(money, currency, rates, of)?,
                Says::Percent(percent) => self.steps.push(Step::Percent(percent)),
                Says::Cost(_) | Says::Ended(_) | Says::List(_) | Says::Markup(_) => {}
            }
        }
        Ok(())
    }

    /// Takes in a seller's markup rule, where there is one.
    fn mark_up(
        &mut self,
        prices: &Prices,
        place: usize,
        of: &Of<'_>,
    ) -> Result<(), QuarantineReason> {
        let (seller, rates) = (&prices.chain[place], &prices.rates);
        let mut is_taken = false;
        for row in seller.in_force(of, Sort::Markup) {
            let Says::Markup(markup) = row.says else { continue };
            if self.is_closed || is_taken {
                self.losers.push(row.source());
                continue;
            }
            is_taken = true;
            self.sources.push(row.source());
            match markup {
                Markup::PercentOfList(percent) => {
                    self.steps.push(Step::Part(percent));
                    self.start_from_list(prices, place, of)?;
                    continue;
                }
                Markup::PercentOnCost(percent) => self.steps.push(Step::Percent(percent)),
                Markup::AmountOnCost(money) => {
                    let minor = Ratio::whole(money.minor);
                    let minor = match money.currency == seller.currency {
                        true => Some(minor),
                        false => {
                            let exchange = rate(rates, money.currency, seller.currency, of)?;
                            self.exchange.push(exchange);
                            exchange.apply(minor)
                        }
                    };
                    self.steps.push(Step::Plus(minor.ok_or(QuarantineReason::TooLarge)?));
                }
            }
            // What the provider pays, nobody in the tree sells to it.
            if place == 0 {
                self.start_from_cost(prices, of, seller.currency)?;
            }
        }
        Ok(())
    }

    /// Starts from what the provider pays, in a currency.
    pub(super) fn start_from_cost(
        &mut self,
        prices: &Prices,
        of: &Of<'_>,
        currency: Currency,
    ) -> Result<(), QuarantineReason> {
        let provider = prices.chain.first();
        let cost = provider.and_then(|provider| provider.amount(of, Sort::Cost));
        let (row, cost) = cost.ok_or(QuarantineReason::NoPrice)?;
        self.sources.push(row.source());
        self.start_from_money(cost, currency, &prices.rates, of)
    }

    /// Starts from the list price: that of the seller, or of the nearest above who has one, or else what the plan costs.
    fn start_from_list(
        &mut self,
        prices: &Prices,
        place: usize,
        of: &Of<'_>,
    ) -> Result<(), QuarantineReason> {
        let currency = prices.chain[place].currency;
        for seller in prices.chain[..=place].iter().rev() {
            if let Some((row, list)) = seller.amount(of, Sort::List) {
                self.sources.push(row.source());
                return self.start_from_money(list, currency, &prices.rates, of);
            }
        }
        self.exchange(prices.chain[0].currency, currency, &prices.rates, of)?;
        self.is_closed = true;
        Ok(())
    }

    fn start_from(&mut self, minor: Ratio) {
        self.amount = Some(minor);
        self.is_closed = true;
    }

    fn start_from_money(
        &mut self,
        money: Money,
        into: Currency,
        rates: &[RateRow],
        of: &Of<'_>,
    ) -> Result<(), QuarantineReason> {
        self.exchange(money.currency, into, rates, of)?;
        self.start_from(Ratio::whole(money.minor));
        Ok(())
    }

    fn exchange(
        &mut self,
        from: Currency,
        to: Currency,
        rates: &[RateRow],
        of: &Of<'_>,
    ) -> Result<(), QuarantineReason> {
        if from != to {
            let exchange = rate(rates, from, to, of)?;
            self.exchange.push(exchange);
            self.steps.push(Step::Exchanged(exchange));
        }
        Ok(())
    }
}

/// The rate in force when the billing period ends in which a price is exchanged.
fn rate(
    rates: &[RateRow],
    from: Currency,
    to: Currency,
    of: &Of<'_>,
) -> Result<Exchange, QuarantineReason> {
    of.exchange(rates, from, to).ok_or(QuarantineReason::NoExchangeRate)
}

/// Money in another currency, by the rate for a billing period that ends on `end`: rounded once to the minor unit. None
/// where no rate is known.
#[must_use]
pub fn exchanged(money: Money, into: Currency, rates: &[RateRow], end: NaiveDate) -> Option<Money> {
    if money.currency == into {
        return Some(money);
    }
    let exchange = Exchange::of(rates, money.currency, into, end)?;
    let minor = exchange.apply(Ratio::whole(money.minor))?.round_half_away()?;
    Some(Money::new(minor, into))
}
