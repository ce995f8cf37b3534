//! The hash chain: each event's hash covers all history before it.

use domain::{Bug, planted};
use sha2::{Digest, Sha256};

/// SHA-256.
pub type Hash = [u8; 32];

/// The hash before the first event.
pub const GENESIS: Hash = [0; 32];

/// `hash = SHA-256(previous hash || the event's bytes)` (design.md, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain(pub Hash);

impl Chain {
    /// The hash of the event that comes next; the chain then ends with it.
    pub fn extend(&mut self, body: &[u8]) -> Hash {
        let mut hash = Sha256::new();
        if !planted(Bug::HashForgetsPast) {
            hash.update(self.0);
        }
        let skipped = if planted(Bug::HashSkipsField) { body.len().min(20) } else { 0 };
        hash.update(&body[skipped..]);
        self.0 = hash.finalize().into();
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_event_changes_every_hash_after_it() {
        let hashes = |bodies: [&[u8]; 3]| {
            let mut chain = Chain(GENESIS);
            bodies.map(|body| chain.extend(body))
        };
        let (ours, theirs) = (hashes([b"a", b"b", b"c"]), hashes([b"a", b"x", b"c"]));
        assert_eq!(ours[0], theirs[0]);
        assert_ne!(ours[1], theirs[1]);
        assert_ne!(ours[2], theirs[2]);
    }
}
