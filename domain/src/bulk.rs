//! One request for many: each of its parts is a request of its own.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::decider::Decider;
use crate::{CommandId, Refusal};

/// A wish about a request for many.
#[derive(Clone, Copy, Debug)]
pub enum BulkCommand {
    /// Ask for it. The request is named by its command.
    Ask(CommandId),
    /// Every part has come to an end.
    Complete,
}

/// A fact about a request for many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum BulkEvent {
    /// It was asked for. The parts follow, each at its own subscription.
    #[serde(rename = "bulk.requested")]
    Requested {
        /// The request.
        request: CommandId,
    },
    /// Every part has come to an end.
    #[serde(rename = "bulk.completed")]
    Completed {
        /// The request.
        request: CommandId,
    },
}

/// A request for many as its stream tells.
#[derive(Clone, Debug, Default)]
pub struct Bulk {
    request: Option<CommandId>,
    is_completed: bool,
}

impl Decider for Bulk {
    const CATEGORY: &'static str = "bulk";
    type Command = BulkCommand;
    type Event = BulkEvent;

    fn decide(
        &self,
        command: Self::Command,
        _effective_at: DateTime<Utc>,
    ) -> Result<Vec<Self::Event>, Refusal> {
        match (self.request, command) {
            (None, BulkCommand::Ask(request)) => Ok(vec![BulkEvent::Requested { request }]),
            (Some(_), BulkCommand::Ask(_)) => Ok(vec![]),
            (Some(request), BulkCommand::Complete) if !self.is_completed => {
                Ok(vec![BulkEvent::Completed { request }])
            }
            (Some(_), BulkCommand::Complete) => Ok(vec![]),
            (None, BulkCommand::Complete) => Err(Refusal::not_found()),
        }
    }

    fn evolve(self, event: &Self::Event, _effective_at: DateTime<Utc>) -> Self {
        match event {
            BulkEvent::Requested { request } => Self { request: Some(*request), ..self },
            BulkEvent::Completed { .. } => Self { is_completed: true, ..self },
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::decider::testing::given;

    #[test]
    fn it_is_asked_for_once_and_done_once() {
        let request = CommandId(Uuid::from_u128(9));
        let (asked, done) = (BulkEvent::Requested { request }, BulkEvent::Completed { request });
        let ask = BulkCommand::Ask(request);
        given::<Bulk>([]).when(1, ask).then([asked.clone()]);
        given::<Bulk>([(1, asked.clone())]).when(2, ask).then_nothing();
        given::<Bulk>([(1, asked.clone())]).when(2, BulkCommand::Complete).then([done.clone()]);
        given::<Bulk>([(1, asked), (2, done)]).when(3, BulkCommand::Complete).then_nothing();
        given::<Bulk>([]).when(1, BulkCommand::Complete).then_refused("not_found");
    }
}
