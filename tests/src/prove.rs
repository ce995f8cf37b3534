//! The promises under fire: each [`Suite`] does something to a running installation, again and again, and has the
//! witness say what was lost. `scripts/prove` runs them.

mod cluster;
mod database;
mod disk;
mod gone;
mod kill;
mod lodging;
mod overload;
mod power;
mod proxy;
mod restore;
mod several;
mod volume;

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use eventstore::Engine;

use crate::witness::{Plan, Report};

/// How long the load goes on before something happens, in milliseconds.
const LOAD_MILLIS: std::ops::Range<u64> = 300..1_300;
/// How soon a server acknowledges commands again when the cause of a failure is gone.
const BACK_AGAIN: Duration = Duration::from_secs(30);

/// How long it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// A few minutes, with every run of the tests.
    Check,
    /// An hour or two.
    Nightly,
    /// A day.
    Release,
}

/// What is done to the installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// `kill -9` at a random moment under load
    Kill,
    /// The power fails: what was not synced is gone
    Power,
    /// PostgreSQL stops at once, or its sessions are terminated
    Database,
    /// Clients go away 0 to 5 ms after sending
    Gone,
    /// A proxy loses 20 % of the answers, and clients ask again
    Proxy,
    /// Disk full, disk read-only, out of descriptors
    Disk,
    /// Two and four servers on one PostgreSQL; one is killed or stalled
    Several,
    /// Five times the capacity, then nothing
    Overload,
    /// Backup under load, restored elsewhere
    Restore,
}

impl Suite {
    /// How often it is done, and what is counted.
    #[must_use]
    pub fn count(self, tier: Tier) -> u32 {
        let [check, nightly, release] = match self {
            Self::Kill => [20, 300, 3_000],
            Self::Power => [20, 150, 1_500],
            Self::Database => [6, 60, 600],
            Self::Gone => [1_000, 10_000, 100_000],
            Self::Proxy => [2_000, 20_000, 200_000],
            Self::Disk => [3, 30, 150],
            Self::Several => [3, 60, 300],
            Self::Overload => [1, 3, 10],
            Self::Restore => [2, 20, 100],
        };
        match tier {
            Tier::Check => check,
            Tier::Nightly => nightly,
            Tier::Release => release,
        }
    }

    /// On which databases there is something to do.
    #[must_use]
    pub fn engines(self) -> &'static [Engine] {
        match self {
            Self::Database | Self::Several => &[Engine::Postgres],
            Self::Kill
            | Self::Power
            | Self::Gone
            | Self::Proxy
            | Self::Disk
            | Self::Overload
            | Self::Restore => &[Engine::Sqlite, Engine::Postgres],
        }
    }

    /// Whether it is about time, so that nothing else may run beside it.
    #[must_use]
    pub fn is_timed(self) -> bool {
        self == Self::Overload
    }

    /// Does it. A trial that could not be brought to its end is a failed one.
    pub async fn run(self, trial: &Trial) -> Report {
        let report = match self {
            Self::Kill => kill::run(trial).await,
            Self::Power => power::run(trial).await,
            Self::Database => database::run(trial).await,
            Self::Gone => gone::run(trial).await,
            Self::Proxy => proxy::run(trial).await,
            Self::Disk => disk::run(trial).await,
            Self::Several => several::run(trial).await,
            Self::Overload => overload::run(trial).await,
            Self::Restore => restore::run(trial).await,
        };
        report.unwrap_or_else(|error| Report::of_failure(&error))
    }
}

/// With what a suite is to be run.
#[derive(Clone, Debug)]
pub struct Trial {
    /// On which database.
    pub engine: Engine,
    /// Begins all that is random.
    pub seed: u64,
    /// How often.
    pub count: u32,
    /// The `atrium` binary.
    pub binary: PathBuf,
    /// Whether that one was built with planted bugs and failpoints.
    pub has_faults: bool,
    /// Hears of every cycle.
    pub progress: fn(Engine, &str),
}

impl Trial {
    /// For the witness on one installation; the next one gets another number.
    fn plan(&self, installation: u64) -> Plan {
        Plan { engine: self.engine, seed: self.seed + installation, binary: self.binary.clone() }
    }

    fn tell(&self, what: &str) {
        (self.progress)(self.engine, what);
    }
}
