//! Sellers on the way to a customer, drawn: what each says of prices, and what their currencies cost in each other.

use chrono::{Days, NaiveDate};
use domain::billing::{BookRow, ComponentKey, Markup, RateRow, Says, SellerPrices, Sort};
use domain::money::{Currency, Money, Percent, Ratio};
use proptest::prelude::*;

use crate::drawn::{FIRST, KEYS, component, minute, moment, plan};

/// With two decimals, none and three.
const CURRENCIES: [&str; 4] = ["EUR", "USD", "JPY", "KWD"];
const PERCENTS: [&str; 8] = ["-50", "-20", "-10", "5", "10", "12.5", "25", "150"];
const PARTS_OF_LIST: [&str; 4] = ["70", "50", "112.5", "100"];
/// What one unit of a currency may cost in another.
const RATES: [(i128, i128); 6] = [(9015, 10_000), (1, 2), (5, 4), (441, 4), (1, 125), (3, 1)];

/// One to four sellers, the provider first, and exchange rates.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) rates: Vec<RateRow>,
    pub(crate) sellers: Vec<SellerPrices>,
}

/// A row of a price book before it is known who says it: in the seller's currency, where it names no other.
#[derive(Clone, Debug)]
struct DrawnRow {
    currency: Option<usize>,
    kind: u8,
    minor: i64,
    percent: usize,
    row: BookRow,
}

pub(crate) fn currency(index: usize) -> Currency {
    Currency::parse(CURRENCIES[index]).unwrap()
}

/// Sellers who all bill in euros.
pub(crate) fn way() -> impl Strategy<Value = Way> {
    ways(Just(false))
}

/// Sellers who mostly bill in euros, and often in other currencies; nothing lacks a rate.
pub(crate) fn mixed_way() -> impl Strategy<Value = Way> {
    ways(prop::bool::weighted(0.4))
}

fn ways(is_mixed: impl Strategy<Value = bool>) -> impl Strategy<Value = Way> {
    let seller = (0..CURRENCIES.len(), prop::collection::vec(drawn_row(), 0..5));
    let sellers = prop::collection::vec(seller, 1..=4);
    (sellers, is_mixed, any::<u16>(), 0..150_u64).prop_map(|(sellers, is_mixed, seed, days)| {
        let sellers = sellers.into_iter().zip(1..).map(|((index, rows), place)| {
            let own = currency(if is_mixed { index } else { 0 });
            let rows = rows.into_iter().zip(1_000 * place..);
            let rows = rows.map(|(drawn, position)| drawn.said(own, is_mixed, position));
            let costs = (place == 1).then(|| costs(own)).into_iter().flatten();
            SellerPrices { currency: own, rows: costs.chain(rows).collect() }
        });
        let rates = if is_mixed { rates(seed.into(), days) } else { Vec::new() };
        Way { rates, sellers: sellers.collect() }
    })
}

fn drawn_row() -> impl Strategy<Value = DrawnRow> {
    let place = (
        prop::bool::weighted(0.25),
        prop::bool::weighted(0.15),
        any::<bool>(),
        prop::option::weighted(0.4, 0..3_usize),
        prop::sample::select(vec![0, 0, 0, 2, 3]),
    );
    let key = prop::option::weighted(0.3, prop::sample::select(KEYS.to_vec()));
    let dates = (prop::option::of(minute()), prop::option::weighted(0.2, minute()));
    let says = (0..12_u8, 0..20_000_i64, 0..8_usize, prop::option::weighted(0.2, 0..4_usize));
    (place, key, dates, says).prop_map(|(place, key, (from, to), says)| {
        let (is_for_buyer, is_for_instance, is_for_service, of, from_quantity) = place;
        let (kind, minor, percent, currency) = says;
        let row = BookRow {
            actor: "Pat".to_owned(),
            component: key.map_or(ComponentKey::RECURRING, component),
            from: from.map(moment),
            from_quantity,
            is_for_buyer,
            is_for_instance,
            is_for_service,
            plan: of.map(plan),
            position: 0,
            reason: None,
            says: Says::Ended(Sort::Price),
            to: to.map(moment),
        };
        DrawnRow { currency, kind, minor, percent, row }
    })
}

impl DrawnRow {
    fn said(self, own: Currency, is_mixed: bool, position: u64) -> BookRow {
        let other = self.currency.filter(|_| is_mixed).map(currency);
        let money = Money::new(self.minor, other.unwrap_or(own));
        let percent = || Percent::parse(PERCENTS[self.percent]).unwrap();
        let says = match self.kind {
            0..=3 => Says::Price(money),
            4 => Says::Percent(percent()),
            5 => Says::Markup(Markup::PercentOnCost(percent())),
            6 => Says::Markup(Markup::AmountOnCost(money)),
            7 | 8 => {
                let part = PARTS_OF_LIST[self.percent % PARTS_OF_LIST.len()];
                Says::Markup(Markup::PercentOfList(Percent::parse(part).unwrap()))
            }
            9 => Says::List(money),
            10 => Says::Cost(money),
            _ => Says::Ended([Sort::Price, Sort::Markup, Sort::List][self.percent % 3]),
        };
        BookRow { position, says, ..self.row }
    }
}

/// What the provider pays for everything where nothing narrower says so.
fn costs(currency: Currency) -> impl Iterator<Item = BookRow> {
    let keys = KEYS.map(component).into_iter().chain([ComponentKey::RECURRING]);
    keys.zip(900..).map(move |(component, position)| BookRow {
        actor: "Pat".to_owned(),
        component,
        from: None,
        from_quantity: 0,
        is_for_buyer: false,
        is_for_instance: false,
        is_for_service: false,
        plan: None,
        position,
        reason: None,
        says: Says::Cost(Money::new(4_000, currency)),
        to: None,
    })
}

/// What every currency costs in every other, since ever and, often otherwise, from a date on; the later recorded of two
/// that begin together counts.
fn rates(seed: usize, days: u64) -> Vec<RateRow> {
    let ever = NaiveDate::from_ymd_opt(2000, 1, 1).unwrap();
    let places =
        (0..CURRENCIES.len()).flat_map(|from| (0..CURRENCIES.len()).map(move |to| (from, to)));
    let pairs = places.filter(|(from, to)| from != to);
    let sinces = [ever, FIRST + Days::new(days), FIRST + Days::new(days)];
    let all = pairs.flat_map(|pair| sinces.map(|since| (pair, since)));
    let row = |(place, ((from, to), since)): (usize, ((usize, usize), NaiveDate))| {
        let (numerator, denominator) = RATES[(seed / (place + 1) + place) % RATES.len()];
        RateRow {
            from: currency(from),
            position: 8_000 + place as u64,
            rate: Ratio::new(numerator, denominator).unwrap(),
            since,
            to: currency(to),
        }
    };
    all.enumerate().map(row).collect()
}
