//! What the surroundings provide: time, ids and randomness, so that tests can provide others.

use chrono::{DateTime, SubsecRound, Utc};
use uuid::Uuid;

/// Time, ids and randomness.
pub trait Ambient: Send + Sync + 'static {
    /// Now, in whole microseconds.
    fn now(&self) -> DateTime<Utc>;
    /// A new id: UUIDv7 (RFC 9562).
    fn id(&self) -> Uuid;

    /// The `nth` new id, from 0, that a command needs whose first event will be at `position`.
    ///
    /// Surroundings that make the same log twice make the id of these: a command is often decided more
    /// than once, and the last time is the one that counts.
    fn id_at(&self, _position: u64, _nth: u32) -> Uuid {
        self.id()
    }
}

/// The machine's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemAmbient;

impl Ambient for SystemAmbient {
    #[expect(clippy::disallowed_methods, reason = "this is where the time comes from")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }

    #[expect(clippy::disallowed_methods, reason = "this is where ids come from")]
    fn id(&self) -> Uuid {
        Uuid::now_v7()
    }
}
