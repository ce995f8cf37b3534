//! What the surroundings provide: time, ids and randomness, so that tests can provide others.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use chrono::{DateTime, SubsecRound, Utc};
use domain::seal::RANDOM_BYTES;
use tokio::sync::watch;
use uuid::Uuid;

/// Time, ids and randomness.
pub trait Ambient: Send + Sync + 'static {
    /// Now, in whole microseconds.
    fn now(&self) -> DateTime<Utc>;
    /// A new id: UUIDv7 (RFC 9562).
    fn id(&self) -> Uuid;

    /// Hears whenever the clock jumps; none where it only goes on.
    fn jumps(&self) -> Option<watch::Receiver<()>> {
        None
    }

    /// The `nth` new id, from 0, that a command needs whose first event will be at `position`.
    ///
    /// Surroundings that make the same log twice make the id of these: a command is often decided more
    /// than once, and the last time is the one that counts.
    fn id_at(&self, _position: u64, _nth: u32) -> Uuid {
        self.id()
    }

    /// The `nth` random bytes, from 0, that a command needs whose first event will be at `position`: for keys,
    /// and for what is sealed with them. Nobody may be able to guess them who is not meant to read it.
    fn random_at(&self, position: u64, nth: u32) -> [u8; RANDOM_BYTES];
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

    fn random_at(&self, _position: u64, _nth: u32) -> [u8; RANDOM_BYTES] {
        let mut bytes = [0; RANDOM_BYTES];
        SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
        bytes
    }
}
