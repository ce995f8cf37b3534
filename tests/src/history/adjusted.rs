//! What is charged or given back by hand in a history: drawn from randomness of its own, so that the rest is drawn as it would
//! be without.

use commands::{Command, Submission};
use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::{History, system};

impl History {
    /// Adjustments that are handed over after the commands of a step: often none.
    pub(super) fn adjusted(&mut self) -> Vec<Submission> {
        std::mem::swap(&mut self.rng, &mut self.adjusted);
        let is_any = self.rng.random_bool(0.4);
        let drawn = is_any.then(|| self.adjustment()).into_iter().collect();
        std::mem::swap(&mut self.rng, &mut self.adjusted);
        drawn
    }

    fn adjustment(&mut self) -> Submission {
        let earlier = self.adjustments.choose(&mut self.rng).cloned();
        let reverses: Value = match earlier {
            Some(earlier) if self.rng.random_bool(0.25) => earlier.into(),
            _ => Value::Null,
        };
        let is_reversal = !reverses.is_null() && self.rng.random_bool(0.95);
        let none = Value::Null;
        let (customer, subscription, buyer) = match self.rng.random_range(0..12) {
            _ if is_reversal => (none.clone(), none.clone(), none),
            0..5 => (self.customer().into(), none.clone(), none),
            5..9 => (none.clone(), self.subscription().into(), none),
            9 => (self.customer().into(), self.subscription().into(), none),
            _ => (none.clone(), none, self.seller().into()),
        };
        let amount = self.one_of(&["-12.50", "80", "0.01", "-0.30", "0", "1.005", "much"]);
        let amount = if is_reversal { Value::Null } else { amount.into() };
        let body = json!({
            "customerId": customer, "subscriptionId": subscription, "buyerId": buyer, "amount": amount,
            "description": self.perhaps_of(0.95, &["Goodwill", "A visit"]), "reverses": reverses,
            "reason": self.one_of(&["an outage", "ticket 4711", "agreed", " "]),
            "effectiveAt": self.moment(),
        });
        let command = Command::Adjust { body: self.perhaps(body) };
        if self.rng.random_bool(0.7) {
            return system(command);
        }
        Submission { caller: self.caller(), command, idempotency: None }
    }
}
