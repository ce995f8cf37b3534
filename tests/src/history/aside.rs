//! What is drawn aside: from randomness of its own, so that the rest of a history is drawn as it would be without.

use commands::{Command, Submission};
use rand::Rng;
use serde_json::{Value, json};

use super::{History, system};

/// Most commands that are drawn aside in a step.
const ASIDE_MAX: usize = 3;

impl History {
    /// Commands that are handed over after those of a step.
    pub(super) fn aside(&mut self) -> Vec<Submission> {
        std::mem::swap(&mut self.rng, &mut self.aside);
        let count = self.rng.random_range(0..=ASIDE_MAX);
        let drawn = (0..count).map(|_| self.drawn_aside()).collect();
        std::mem::swap(&mut self.rng, &mut self.aside);
        drawn
    }

    fn drawn_aside(&mut self) -> Submission {
        let command = self.about_managers();
        if self.rng.random_bool(0.5) {
            return system(command);
        }
        Submission { caller: self.caller(), command, idempotency: None }
    }

    /// Somebody has a manager, another one, or none any more.
    fn about_managers(&mut self) -> Command {
        let manager: Value =
            if self.rng.random_bool(0.2) { Value::Null } else { self.user().into() };
        let body = json!({ "managerId": manager });
        Command::EditUser { id: self.user(), body: self.perhaps(body), if_match: None }
    }
}
