//! Pricing: rows of sellers' price books, exchange rates, and what buyers are committed to, each a fact of its own (billing.md,
//! section 4, Price and Components).

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::billing::{ComponentKey, Says};
use crate::decider::Decider;
use crate::money::{Currency, Money, Ratio};
use crate::{Invalid, OrganizationId, PlanKey, Refusal, ServiceKey, SubscriptionId};

/// Most decimals of an exchange rate.
const RATE_DECIMALS_MAX: usize = 10;
/// Most digits of an exchange rate before its point.
const RATE_DIGITS_MAX: usize = 8;

/// The exchange rate that somebody wrote as a plain decimal: above nothing, and exact.
///
/// # Errors
/// `not_a_rate`.
pub fn rate(text: &str) -> Result<Ratio, Invalid> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = is_number(whole)
        && is_number(part)
        && (1..=RATE_DIGITS_MAX).contains(&whole.len())
        && part.len() <= RATE_DECIMALS_MAX
        && (part.is_empty() != text.contains('.'));
    let rate = is_plain.then(|| {
        let digits: i128 = format!("{whole}{part}").parse().ok()?;
        let places = u32::try_from(part.len()).ok()?;
        Ratio::new(digits, 10_i128.pow(places)).filter(|rate| *rate > Ratio::ZERO)
    });
    rate.flatten().ok_or_else(|| {
        Invalid::new(
            "not_a_rate",
            "This is a decimal above 0, such as 0.9015, with at most 10 decimals.",
        )
    })
}

/// A row of a seller's price book. Its event's effective time is from when on it holds, unless it holds since ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PriceSetting {
    /// For one buyer only: a reseller or customer to whom the seller sells; none: for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buyer: Option<OrganizationId>,
    /// Of which part of what a plan costs.
    #[serde(default, skip_serializing_if = "ComponentKey::is_recurring")]
    pub component: ComponentKey,
    /// Only where so many are held, or more.
    #[serde(default, skip_serializing_if = "is_one_or_less")]
    pub from_quantity: u32,
    /// Of which plan; none: of every plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanKey>,
    /// What it says.
    pub says: Says,
    /// Whose price book it stands in.
    pub seller: OrganizationId,
    /// Of which service; none: of every service, which only rules can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceKey>,
    /// For one subscription only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<SubscriptionId>,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<DateTime<Utc>>,
}

fn is_one_or_less(quantity: &u32) -> bool {
    *quantity <= 1
}

/// What a currency costs in another, from a date on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateSetting {
    /// What is exchanged.
    pub from: Currency,
    /// So many units of the other currency for one of this.
    pub rate: Ratio,
    /// Whose: it holds for him and those below that have none of their own.
    pub seller: OrganizationId,
    /// The first date.
    pub since: NaiveDate,
    /// Where it is from, such as the name of a bank.
    pub source: String,
    /// Into what.
    pub to: Currency,
}

/// What all that a buyer holds of a service comes to at least, in a full period. Its event's effective time is from when on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitmentSetting {
    /// At least so much; nothing: the buyer is not committed any more.
    pub amount: Money,
    /// Who is: a reseller or customer whom the seller bills.
    pub buyer: OrganizationId,
    /// To whom.
    pub seller: OrganizationId,
    /// Of which service.
    pub service: ServiceKey,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<DateTime<Utc>>,
}

/// A wish about prices.
#[derive(Clone, Debug)]
pub enum PricingCommand {
    /// Set a row of a price book.
    SetPrice(PriceSetting),
    /// Set an exchange rate.
    SetRate(RateSetting),
    /// Commit a buyer.
    SetCommitment(CommitmentSetting),
}

/// A fact about prices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PricingEvent {
    /// A buyer was committed.
    #[serde(rename = "pricing.commitment_set")]
    CommitmentSet(CommitmentSetting),
    /// A row of a price book was set.
    #[serde(rename = "pricing.price_set")]
    PriceSet(PriceSetting),
    /// An exchange rate was set.
    #[serde(rename = "pricing.rate_set")]
    RateSet(RateSetting),
}

/// One row, rate or commitment: a stream of its own, so that setting one costs the same however many there are.
#[derive(Clone, Debug, Default)]
pub struct Pricing {
    is_set: bool,
}

impl Decider for Pricing {
    const CATEGORY: &'static str = "pricing";
    type Command = PricingCommand;
    type Event = PricingEvent;

    fn decide(
        &self,
        command: Self::Command,
        _effective_at: DateTime<Utc>,
    ) -> Result<Vec<Self::Event>, Refusal> {
        if self.is_set {
            return Ok(vec![]);
        }
        Ok(vec![match command {
            PricingCommand::SetPrice(setting) => PricingEvent::PriceSet(setting),
            PricingCommand::SetRate(setting) => PricingEvent::RateSet(setting),
            PricingCommand::SetCommitment(setting) => PricingEvent::CommitmentSet(setting),
        }])
    }

    fn evolve(self, _event: &Self::Event, _effective_at: DateTime<Utc>) -> Self {
        Self { is_set: true }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::decider::testing::given;
    #[test]
    fn a_rate_is_a_plain_decimal_above_nothing() {
        assert_eq!(rate("0.9015"), Ok(Ratio::new(9015, 10_000).unwrap()));
        assert_eq!(rate("157"), Ok(Ratio::whole(157)));
        for bad in ["", "0", "0.0", "-1", "1.", ".5", "1e3", "1,5", "123456789", "0.12345678901"] {
            assert_eq!(rate(bad).map_err(|it| it.code), Err("not_a_rate"), "{bad}");
        }
    }

    #[test]
    fn a_row_a_rate_and_a_commitment_are_set_once() {
        let seller = OrganizationId(Uuid::from_u128(4));
        let [usd, eur] = ["USD", "EUR"].map(|code| Currency::parse(code).unwrap());
        let price = PriceSetting {
            buyer: None,
            component: ComponentKey::RECURRING,
            from_quantity: 0,
            plan: PlanKey::parse("a"),
            says: Says::Price(Money::new(8500, eur)),
            seller,
            service: ServiceKey::parse("backup"),
            subscription: None,
            to: None,
        };
        let rate = RateSetting {
            from: usd,
            rate: Ratio::new(9015, 10_000).unwrap(),
            seller,
            since: "2019-11-30".parse().unwrap(),
            source: "ECB".to_owned(),
            to: eur,
        };
        let commitment = CommitmentSetting {
            amount: Money::new(10_000, eur),
            buyer: OrganizationId(Uuid::from_u128(5)),
            seller,
            service: ServiceKey::parse("backup").unwrap(),
            to: None,
        };
        for (command, event) in [
            (
                PricingCommand::SetCommitment(commitment.clone()),
                PricingEvent::CommitmentSet(commitment),
            ),
            (PricingCommand::SetPrice(price.clone()), PricingEvent::PriceSet(price)),
            (PricingCommand::SetRate(rate.clone()), PricingEvent::RateSet(rate)),
        ] {
            given::<Pricing>([]).when(1, command.clone()).then([event.clone()]);
            given::<Pricing>([(1, event)]).when(2, command).then_nothing();
        }
    }
}
