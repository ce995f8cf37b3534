//! What sellers say about their bills in a history: drawn from randomness of its own, so that the rest is drawn as it
//! would be without.

use commands::{Command, Submission};
use rand::Rng;
use serde_json::{Value, json};

use super::{History, PLANS, PROPERTIES, SERVICES, system};

/// Most rules or patterns that are set at a time.
const SET_MAX: usize = 3;

impl History {
    /// Rules and patterns that are set after the commands of a step.
    pub(super) fn rulebooks(&mut self) -> Vec<Submission> {
        std::mem::swap(&mut self.rng, &mut self.ruled);
        let is_said = self.rng.random_bool(0.5);
        let said = is_said.then(|| self.rulebook());
        std::mem::swap(&mut self.rng, &mut self.ruled);
        said.into_iter().collect()
    }

    fn rulebook(&mut self) -> Submission {
        // The provider's more often than others': what is set there is taken away again.
        let organization = match self.rng.random_range(0..10) {
            0..5 => self.organizations.first().map(|(id, _)| id.clone()),
            5..9 => Some(self.organization().0),
            _ => None,
        };
        let count = self.rng.random_range(0..=SET_MAX);
        let if_match = self.rng.random_bool(0.1).then(|| self.rng.random_range(0..4));
        let command = if self.rng.random_bool(0.6) {
            let rules: Vec<_> = (0..count).map(|_| self.rule()).collect();
            let body = json!({
                "organizationId": organization, "rules": rules, "reason": self.reason(),
            });
            Command::SetBillableRules { body: self.perhaps(body), if_match }
        } else if self.rng.random_bool(0.4) {
            let rates: Vec<_> = (0..count).map(|_| self.tax_rate()).collect();
            let body = json!({
                "organizationId": organization, "rates": rates, "reason": self.reason(),
            });
            Command::SetTaxRates { body: self.perhaps(body), if_match }
        } else {
            let patterns: Vec<_> = (0..count).map(|_| self.pattern()).collect();
            let body = json!({
                "organizationId": organization, "patterns": patterns, "reason": self.reason(),
            });
            Command::SetPatterns { body: self.perhaps(body), if_match }
        };
        if self.rng.random_bool(0.7) {
            return system(command);
        }
        Submission { caller: self.caller(), command, idempotency: None }
    }

    fn rule(&mut self) -> Value {
        let to = self.perhaps_of(0.3, &["2019-03-01", "2019-06-01", "2020-01-01"]);
        json!({
            "key": self.one_of(&["tests", "demo", "west", "no key"]),
            "reason": self.one_of(&["Test", "Agreed", ""]),
            "order": self.rng.random_range(0..3), "validTo": to,
            "validFrom": self.one_of(&["2019-01-01", "2019-02-28", "2019-04-01"]),
            "condition": self.condition(3),
        })
    }

    fn condition(&mut self, depth: u32) -> Value {
        match self.rng.random_range(0..6) {
            0 if depth > 0 => json!({ "not": self.condition(depth - 1) }),
            1 if depth > 0 => {
                json!({ "all": [self.condition(depth - 1), self.condition(depth - 1)] })
            }
            2 if depth > 0 => {
                json!({ "any": [self.condition(depth - 1), self.condition(depth - 1)] })
            }
            _ => {
                let property = self.one_of(&PROPERTIES);
                let property = format!("properties.{property}");
                let (field, values): (_, &[&str]) = match self.rng.random_range(0..7) {
                    0 => ("customer.type", &["test", "demo", "standard"]),
                    1 => ("user.status", &["active", "disabled", "deleted"]),
                    2 => ("plan", &PLANS),
                    3 => ("service", &SERVICES),
                    4 => ("customer.code", &["ACG", "Z"]),
                    5 => (property.as_str(), &["1", "2", "west"]),
                    _ => ("user.name", &["Ann"]),
                };
                json!({ "field": field, "values": [self.one_of(values)] })
            }
        }
    }

    fn tax_rate(&mut self) -> Value {
        json!({
            "category": self.one_of(&["standard", "standard", "standard", "reduced", "no key"]),
            "validFrom": self.one_of(&["2019-01-01", "2019-01-01", "2019-04-01", "soon"]),
            "percent": self.perhaps_of(0.8, &["19", "7.5", "200"]),
        })
    }

    fn pattern(&mut self) -> Value {
        json!({
            "service": self.one_of(&SERVICES), "plan": self.perhaps_of(0.4, &PLANS),
            "line": self.perhaps_of(0.5, &["{ServiceName} of {CustomerName}", "{nobody}"]),
            "summary": self.perhaps_of(0.8, &["{ServiceName}", "{PlanName}"]),
        })
    }
}
