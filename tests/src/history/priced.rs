//! What sellers say of prices in a history: drawn from randomness of its own, so that the rest is drawn as it would be
//! without.

use commands::{Command, Submission};
use rand::Rng;
use serde_json::{Value, json};

use super::{History, system};

impl History {
    /// Prices, rates and settings that are handed over after the commands of a step.
    pub(super) fn prices(&mut self) -> Vec<Submission> {
        std::mem::swap(&mut self.rng, &mut self.priced);
        let said = match self.rng.random_range(0..6) {
            0 | 1 => Some(self.price_rows()),
            2 => Some(self.exchange_rates()),
            3 if self.rng.random_bool(0.3) => Some(self.billing_settings()),
            4 if self.rng.random_bool(0.5) => Some(self.commitments()),
            _ => None,
        };
        let said = said.map(|command| match self.rng.random_bool(0.7) {
            true => system(command),
            false => Submission { caller: self.caller(), command, idempotency: None },
        });
        std::mem::swap(&mut self.rng, &mut self.priced);
        said.into_iter().collect()
    }

    fn price_rows(&mut self) -> Command {
        let organization = match self.rng.random_bool(0.3) {
            true => self.organizations.first().map(|(id, _)| id.clone()).unwrap_or_default(),
            false => self.organization().0,
        };
        let rows: Vec<_> = (0..self.rng.random_range(1..3)).map(|_| self.price_row()).collect();
        let body = json!({ "rows": rows, "reason": self.one_of(&["list 2", "contract", ""]) });
        Command::SetPrices { organization, body: self.perhaps(body) }
    }

    fn price_row(&mut self) -> Value {
        let (field, value) = match self.rng.random_range(0..8) {
            0 => ("price", self.one_of(&["9.00", "12.50", "-1"])),
            1 => ("percent", self.one_of(&["-10", "5", "x"])),
            2 => ("percentOfList", self.one_of(&["70", "100", "2000"])),
            3 => ("percentOnCost", self.one_of(&["10", "-5"])),
            4 => ("amountOnCost", self.one_of(&["1.00", "0.333"])),
            5 => ("listPrice", self.one_of(&["15.00", "20"])),
            6 => ("costPrice", self.one_of(&["4.00", "5"])),
            _ => ("ends", self.one_of(&["price", "markup", "list", "some"])),
        };
        let mut row = json!({
            "service": self.service(),
            "plan": self.perhaps_of(0.4, &["basic", "plus", "none"]),
            "fromQuantity": if self.rng.random_bool(0.2) { json!(2) } else { Value::Null },
            "buyerId": if self.rng.random_bool(0.2) { json!(self.organization().0) } else { Value::Null },
            "subscriptionId": if self.rng.random_bool(0.1) { json!(self.subscription()) } else { Value::Null },
            "effectiveFrom": self.moment(),
        });
        row[field] = value.into();
        row
    }

    fn exchange_rates(&mut self) -> Command {
        let (from, to) = match self.rng.random_bool(0.5) {
            true => ("EUR", "USD"),
            false => ("USD", "EUR"),
        };
        let rate = json!({
            "from": from, "to": to, "rate": self.one_of(&["0.9015", "1.1", "0"]),
            "effectiveFrom": self.one_of(&["2018-01-01", "2019-02-01", "soon"]), "source": "ECB",
        });
        Command::SetRates { body: self.perhaps(json!({ "rates": [rate] })) }
    }

    fn commitments(&mut self) -> Command {
        let commitment = json!({
            "buyerId": self.organization().0,
            "service": self.service(),
            "amount": self.one_of(&["25.00", "100", "0.00", "-1", "1.005"]),
            "effectiveFrom": self.moment(),
        });
        let organization = match self.rng.random_bool(0.7) {
            true => self.organizations.first().map(|(id, _)| id.clone()).unwrap_or_default(),
            false => self.organization().0,
        };
        let body = json!({
            "organizationId": organization, "commitments": [commitment], "reason": "contract",
        });
        Command::SetCommitments { body: self.perhaps(body) }
    }

    fn billing_settings(&mut self) -> Command {
        let body = match self.rng.random_range(0..3) {
            0 => json!({ "timeZone": self.one_of(&["Pacific/Auckland", "UTC", "Mars/Base"]) }),
            1 => json!({ "calendar": self.one_of(&["fixed_day(25)", "calendar_month"]) }),
            _ => json!({ "currency": self.one_of(&["USD", "EUR", "JPY", "XXX"]) }),
        };
        let organization = self.organization().0;
        Command::ChangeBillingSettings { organization, body: self.perhaps(body) }
    }
}
