//! Failpoints: a name beside every step that can fail, so that tests can have each of them fail once.

/// Goes right before a step that can fail. In a build with the feature `faults`, tests have it give an error,
/// panic, or take long (`fail::cfg`); in every other build it is nothing at all.
///
/// # Errors
/// What a test has asked for.
#[cfg(not(feature = "faults"))]
#[inline]
pub fn failpoint(_name: &'static str) -> std::io::Result<()> {
    Ok(())
}

#[cfg(feature = "faults")]
pub use armed::{failpoint, failpoints_from_environment, failpoints_met};

#[cfg(feature = "faults")]
mod armed {
    use std::collections::BTreeSet;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    static MET: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

    /// Goes right before a step that can fail: tests have it give an error, panic, or take long (`fail::cfg`).
    ///
    /// # Errors
    /// What a test has asked for.
    pub fn failpoint(name: &'static str) -> std::io::Result<()> {
        met().insert(name);
        fail::fail_point!(name, |_| {
            Err(std::io::Error::other(format!("the failpoint {name} was told to fail")))
        });
        Ok(())
    }

    /// Has this process do what the environment variable `FAILPOINTS` says, until it ends
    /// (`eventstore::append::commit=delay(800)`).
    pub fn failpoints_from_environment() {
        std::mem::forget(fail::FailScenario::setup());
    }

    /// The failpoints that this process has come to so far.
    #[must_use]
    pub fn failpoints_met() -> BTreeSet<&'static str> {
        met().clone()
    }

    fn met() -> MutexGuard<'static, BTreeSet<&'static str>> {
        // It is whole between any two of its changes.
        MET.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
