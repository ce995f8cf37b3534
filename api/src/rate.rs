//! How often somebody may ask (api.md, section 3), counted in the memory of this process.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use domain::UserId;
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::problem::Problem;

/// Requests that a caller may make in a minute if nobody says otherwise.
pub const REQUESTS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");
/// Wrong passwords in a row that a login bears from one network before it has to wait.
pub(crate) const WRONG_PASSWORDS_AT_ONCE: NonZeroU32 = NonZeroU32::new(10).expect("not zero");
/// Seconds after which one more try is allowed.
pub(crate) const SECONDS_PER_TRY: u64 = 6;
/// Those who are counted at a time; beyond, who has been silent the longest begins anew.
const COUNTED_MAX: u64 = 100_000;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

type Counter = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asker {
    /// A user, whatever the token and the address.
    User(UserId),
    /// Whoever shows no credential that is in force.
    Network(Network),
}

/// What one customer of a network usually has for himself: an address, or with IPv6 a /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// Counts what each of many does.
pub struct Rates<K> {
    quota: Quota,
    counters: Cache<K, Arc<Counter>>,
}

impl<K> std::fmt::Debug for Rates<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rates").field("quota", &self.quota).finish_non_exhaustive()
    }
}

impl<K: Eq + Hash + Send + Sync + 'static> Rates<K> {
    /// So many in a minute, all at once if somebody likes.
    #[must_use]
    pub fn per_minute(limit: NonZeroU32) -> Self {
        Self::new(Quota::per_minute(limit), COUNTED_MAX)
    }

    /// So many at once, and one more after each `pause`.
    ///
    /// # Panics
    /// Where the pause is none.
    #[must_use]
    pub fn at_once(burst: NonZeroU32, pause: Duration) -> Self {
        let quota = Quota::with_period(pause).expect("a pause lasts").allow_burst(burst);
        Self::new(quota, COUNTED_MAX)
    }

    fn new(quota: Quota, counted_max: u64) -> Self {
        let counters = Cache::builder()
            .max_capacity(counted_max)
            .eviction_policy(EvictionPolicy::lru())
            // By then a counter is as good as new.
            .time_to_idle(quota.burst_size_replenished_in())
            .build();
        Self { quota, counters }
    }

    /// Counts one more.
    pub fn count(&self, key: K) -> Rate {
        let fresh = || {
            let counter = RateLimiter::direct(self.quota);
            Arc::new(counter.with_middleware::<StateInformationMiddleware>())
        };
        let counter = self.counters.get_with(key, fresh);
        let (remaining, wait) = match counter.check() {
            Ok(left) => (left.remaining_burst_capacity(), None),
            Err(not_until) => (0, Some(not_until.wait_time_from(DefaultClock::default().now()))),
        };
        let limit = self.quota.burst_size().get();
        let spent = limit.saturating_sub(remaining);
        Rate { limit, remaining, reset: self.quota.replenish_interval() * spent, wait }
    }

    /// Forgets what was counted of one.
    pub fn forget(&self, key: &K) {
        self.counters.invalidate(key);
    }
}

/// How often somebody may still ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    limit: u32,
    remaining: u32,
    reset: Duration,
    wait: Option<Duration>,
}

impl Rate {
    /// Lets it pass, or says when to come again.
    ///
    /// # Errors
    /// 429 with `Retry-After`.
    pub fn check(&self, code: &'static str, what: &str) -> Result<(), Problem> {
        let Some(wait) = self.wait else { return Ok(()) };
        let seconds = seconds(wait).max(1);
        let detail = format!("{what}; wait {seconds} s and try again.");
        let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, code, detail);
        problem.headers.push((header::RETRY_AFTER, HeaderValue::from(seconds)));
        Err(problem)
    }

    /// Tells the caller.
    pub fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(seconds(self.reset)));
    }
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_by_himself_and_told_when_to_come_again() {
        let rates = Rates::per_minute(NonZeroU32::new(3).unwrap());
        for remaining in [2, 1, 0] {
            let rate = rates.count("ann");
            assert_eq!((rate.limit, rate.remaining), (3, remaining));
            assert!(rate.check("x", "x").is_ok());
        }
        let refused = rates.count("ann");
        assert_eq!((refused.remaining, seconds(refused.reset)), (0, 60));
        let problem = refused.check("too_many", "Too many").unwrap_err();
        assert_eq!(problem.headers, [(header::RETRY_AFTER, HeaderValue::from(20))]);
        assert!(rates.count("bob").check("x", "x").is_ok());
        rates.forget(&"ann");
        assert_eq!(rates.count("ann").remaining, 2);
    }

    #[test]
    fn an_ipv6_network_is_counted_as_one_and_a_mapped_address_as_itself() {
        let network = |text: &str| Network::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff::2"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }

    #[test]
    fn however_many_ask_the_memory_is_bounded() {
        // So few that none comes back while this runs.
        let limit = NonZeroU32::new(10).unwrap();
        let rates = Rates::new(Quota::per_minute(limit), 100);
        for asker in 0..1_000 {
            rates.count(asker);
        }
        rates.counters.run_pending_tasks();
        assert_eq!(rates.counters.entry_count(), 100);
        // The last is still counted, the first begins anew.
        assert_eq!(rates.count(999).remaining, 8);
        assert_eq!(rates.count(0).remaining, 9);
    }
}
