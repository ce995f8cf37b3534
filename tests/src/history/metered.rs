//! What is used in a history: drawn from randomness of its own, so that the rest is drawn as it would be without.

use commands::{Command, Submission};
use rand::Rng;
use serde_json::{Value, json};

use super::{History, system};

/// Most readings in a step.
const READINGS_MAX: usize = 2;

impl History {
    /// Readings that are handed over after the commands of a step.
    pub(super) fn readings(&mut self) -> Vec<Submission> {
        std::mem::swap(&mut self.rng, &mut self.metered);
        let count = self.rng.random_range(0..=READINGS_MAX);
        let readings = (0..count).map(|_| self.reading()).collect();
        std::mem::swap(&mut self.rng, &mut self.metered);
        readings
    }

    fn reading(&mut self) -> Submission {
        let meter = self.one_of(&["calls", "calls", "devices", "none"]);
        let unique = match meter {
            "devices" => self.perhaps_of(0.9, &["one", "two", "three"]),
            _ => self.perhaps_of(0.05, &["one"]),
        };
        let quantity: Value = self.one_of(&["1", "12.5", "300", "-2", "0", "many"]).into();
        let body = json!({
            "subscriptionId": self.subscription(), "meter": meter, "quantity": quantity,
            "unique": unique, "effectiveAt": self.moment(), "reason": self.reason(),
        });
        let command = Command::RecordUsage { body: self.perhaps(body) };
        if self.rng.random_bool(0.7) {
            return system(command);
        }
        Submission { caller: self.caller(), command, idempotency: None }
    }
}
