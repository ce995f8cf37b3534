//! Planted bugs: mistakes that a test build can be told to make, one at a time, to see that the tests find them
//! (docs/adr/0013-failpoints-and-planted-bugs.md). The promises are those of the design, section 11.

/// Declares the bugs: the enum, its list, and the names by which `ATRIUM_PLANTED` chooses one.
macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $bug:ident = $name:literal,)*) => {
        /// A mistake, and the promise that it breaks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $doc])+ $bug,)*
        }

        impl Bug {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$bug),*];

            /// What `ATRIUM_PLANTED` calls it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => $name,)*
                }
            }
        }
    };
}

bugs! {
    /// Commands are answered before they are written. Breaks: what is answered 2xx survives.
    AcknowledgeBeforeCommit = "acknowledge-before-commit",
    /// SQLite writes with `synchronous=NORMAL`, and nobody looks; PostgreSQL commits with `synchronous_commit=off`.
    /// Breaks: what is answered 2xx survives a power cut.
    NormalForFull = "normal-for-full",
    /// A commit that gave no answer is reported as not done. Breaks: an answer that got lost can be asked again.
    UnknownIsNotDone = "unknown-is-not-done",
    /// A panic of one command drops what those before it in its batch decided. Breaks: what is answered survives.
    PanicTakesNeighbours = "panic-takes-neighbours",
    /// Replies are kept in a transaction of their own, after the events. Breaks: one effect per idempotency key.
    IdempotencyOutside = "idempotency-outside",
    /// A key is looked up without its caller. Breaks: tenants cannot notice each other.
    KeyWithoutCaller = "key-without-caller",
    /// A kept reply is given to another request, too. Breaks: same key and another body is an error.
    ReplayWithoutComparing = "replay-without-comparing",
    /// That a key was not used yet is remembered. Breaks: one effect per idempotency key, whoever is asked.
    UnusedKeyRemembered = "unused-key-remembered",
    /// A refused command uses up its key. Breaks: what was not done can be asked again.
    RefusalUsesKey = "refusal-uses-key",
    /// What other processes wrote is not forgotten by the cache. Breaks: positions, versions and checks of several
    /// processes.
    CacheKeepsOthers = "cache-keeps-others",
    /// The catch-up begins one event too late. Breaks: no view is skipped.
    CatchUpSkipsOne = "catch-up-skips-one",
    /// A refusal is given though the head of the log has moved since. Breaks: refusals are judged on what is there.
    HeadNotCompared = "head-not-compared",
    /// `If-Match` is not looked at. Breaks: nobody overwrites what he has not seen.
    VersionNotChecked = "version-not-checked",
    /// The second event of a command is not folded into the views. Breaks: rebuild equals live.
    FoldSkipped = "fold-skipped",
    /// The events of one command are stored in the wrong order. Breaks: position, version and hash order are one.
    EventsSwapped = "events-swapped",
    /// An event is hashed without its beginning. Breaks: an edit of the stored history is found.
    HashSkipsField = "hash-skips-field",
    /// An event is hashed without the hash before it. Breaks: an edit of the stored history is found.
    HashForgetsPast = "hash-forgets-past",
    /// Recorded times follow a clock that goes back. Breaks: time order is position order.
    TimeGoesBack = "time-goes-back",
    /// A rebuild leaves out the last event. Breaks: rebuild equals live.
    RebuildForgetsLast = "rebuild-forgets-last",
    /// A rebuild does not compare. Breaks: a row that is not as the log says is found.
    RebuildComparesNothing = "rebuild-compares-nothing",
    /// Whoever belongs to a disabled organisation goes on. Breaks: disabling is felt at once.
    DisabledGoesOn = "disabled-goes-on",
    /// What the server remembers of a user outlives his changes. Breaks: a revocation is felt within a second.
    GateForgetsNothing = "gate-forgets-nothing",
    /// Persons are stored as they are sent. Breaks: nothing personal is on disk in clear.
    PersonInClear = "person-in-clear",
    /// Erasing somebody leaves his key where it is. Breaks: whom was erased nobody can read any more.
    ErasedKeyStays = "erased-key-stays",
    /// Organisations are found by number outside one's scope. Breaks: tenants cannot see each other.
    ScopeForgotten = "scope-forgotten",
    /// `/1/3/` contains `/1/30/`. Breaks: tenants cannot see each other.
    ScopeByText = "scope-by-text",
    /// A custom role is in force below though an organisation on the way was not given it. Breaks: a role can be
    /// granted only if every organisation above has it.
    RoleNotGiven = "role-not-given",
    /// A service's role acts on every customer. Breaks: such roles take effect only where the service is held.
    ServiceRoleEverywhere = "service-role-everywhere",
    /// What a slot held before is not taken out of its customer's counts. Breaks: the same.
    HoldingCountsTwice = "holding-counts-twice",
    /// Whoever grants a role is not looked at. Breaks: nobody grants what he does not hold.
    GrantsWhatHeLacks = "grants-what-he-lacks",
    /// Whoever acts as another may do all that the other may. Breaks: nobody gets more by impersonation.
    ImpersonatorUnbounded = "impersonator-unbounded",
    /// A page begins with the last item of the one before it (`>=` for `>`). Breaks: lists show everything once.
    PageOverlaps = "page-overlaps",
    /// Halves are rounded up and not away from zero. Breaks: every amount is right to the cent.
    HalfUp = "half-up",
    /// Amounts are divided as floating point numbers. Breaks: every amount is right to the cent.
    FloatMoney = "float-money",
    /// Every month has thirty days. Breaks: every bill is right to the cent.
    MonthLength = "month-length",
    /// The day of the deprovisioning is charged, too. Breaks: every bill is right to the cent.
    EndDateInclusive = "end-date-inclusive",
    /// What happens at midnight belongs to the day before (`<=` for `<`). Breaks: every bill is right to the cent.
    MidnightIsYesterday = "midnight-is-yesterday",
    /// Of two facts at one moment the earlier recorded wins. Breaks: the same bill, whatever the order of arrival.
    EarlierRecordedWins = "earlier-recorded-wins",
    /// What was recorded last before somebody asked to close is not in the close. Breaks: what is sealed is what was known.
    CutoffMissesLast = "cutoff-misses-last",
    /// Two parts of the tree over sealed entries change places. Breaks: a proof leads to the root.
    SubtreesSwapped = "subtrees-swapped",
    /// A closed period is set right by the prices that are known now. Breaks: a price does not reach behind a close.
    LatePriceReachesBack = "late-price-reaches-back",
    /// What agrees is taken back and booked again. Breaks: entries that agree are left alone.
    AgreeingIsReversed = "agreeing-is-reversed",
    /// What was taken back is taken back again. Breaks: a reversal is made at most once.
    ReversedTwice = "reversed-twice",
    /// What was charged by hand can be taken back twice. Breaks: the same.
    AdjustmentReversedTwice = "adjustment-reversed-twice",
    /// The provider sells nothing to the first reseller. Breaks: a charge is rated on every edge.
    EdgeSkipped = "edge-skipped",
    /// Who earns a commission pays it. Breaks: margins telescope, whoever bills.
    CommissionReversed = "commission-reversed",
    /// The first rule that fits says why. Breaks: the last match's reason is recorded.
    FirstRuleSaysWhy = "first-rule-says-why",
    /// A rule counts for the period that ends with the date after its time. Breaks: `to` is exclusive.
    RuleEndInclusive = "rule-end-inclusive",
    /// Parts of what is lacking are rounded down, and that is all. Breaks: the parts add up to the whole.
    SharesRoundedDown = "shares-rounded-down",
    /// What a rule waives is lacking. Breaks: what is waived counts as if it were charged.
    WaivedIsLacking = "waived-is-lacking",
    /// A date is the moment that it is at the customer's seller. Breaks: a date is midnight at each seller.
    DateIsMoment = "date-is-moment",
    /// A date is midnight at the provider, whoever sells. Breaks: the same.
    DateAtProvider = "date-at-provider",
    /// What was said to be true at another moment is true at both. Breaks: it replaces the old fact on the timeline.
    SupersededCounts = "superseded-counts",
    /// What is true from the moment on that is asked about does not count. Breaks: a bill as of a moment has what was true by
    /// then.
    AsOfLeavesOutMoment = "as-of-leaves-out-moment",
    /// Tax is rounded line by line. Breaks: tax is on the summed net.
    TaxByLine = "tax-by-line",
}

/// Whether this mistake is to be made. Never in what is shipped.
#[cfg(not(feature = "faults"))]
#[must_use]
pub const fn planted(_bug: Bug) -> bool {
    false
}

/// Whether this mistake is to be made: where the environment variable `ATRIUM_PLANTED` names it.
///
/// # Panics
/// Where it names none of [`Bug::ALL`].
#[cfg(feature = "faults")]
#[must_use]
pub fn planted(bug: Bug) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Bug>> = std::sync::OnceLock::new();
    let choose = || {
        let name = std::env::var("ATRIUM_PLANTED").ok().filter(|name| !name.is_empty())?;
        let chosen = Bug::ALL.iter().find(|bug| bug.name() == name);
        Some(*chosen.unwrap_or_else(|| panic!("ATRIUM_PLANTED={name} is no planted bug")))
    };
    *CHOSEN.get_or_init(choose) == Some(bug)
}
