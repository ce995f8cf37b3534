//! The raw feed, live: events as server-sent events, for as long as the caller may see them.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use domain::UserId;
use domain::permission::Permission;
use eventstore::{Error, Log, Stored};
use futures_util::stream::{self, Stream, StreamExt as _};
use projections::finder;
use tokio::sync::watch;
use tokio::time::Instant;

use super::call::Answer;
use super::events::shown_events;
use crate::app::App;
use crate::auth::Principal;
use crate::problem::Problem;

/// Feeds that are open at a time.
const FEEDS_MAX: usize = 1_024;
/// Feeds that one user has open at a time, so that nobody takes the places of all others.
const FEEDS_OF_USER_MAX: usize = 32;
/// Events that are read at once: all that a feed holds in memory.
const PAGE_EVENTS: u64 = 100;
/// How often a feed asks whether it may go on: a revocation must be felt within a second.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How often something is sent where nothing happens, so that nobody on the way hangs up.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
/// When a client that was cut off should come again.
const COME_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The position behind which a client that was cut off goes on.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How many feeds each user has open.
#[derive(Debug, Default)]
pub struct Feeds(Mutex<HashMap<UserId, usize>>);

impl Feeds {
    /// A place for one more.
    ///
    /// # Errors
    /// 429 where the user has too many, 503 where all together are.
    fn open(self: &Arc<Self>, user: UserId) -> Result<Place, Problem> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let together: usize = open.values().sum();
        let own = open.get(&user).copied().unwrap_or(0);
        if own >= FEEDS_OF_USER_MAX {
            let detail = format!("You have {own} feeds of events open; close one first.");
            let status = StatusCode::TOO_MANY_REQUESTS;
            let mut problem = Problem::new(status, "too_many_feeds", detail);
            let seconds = HeaderValue::from(COME_AGAIN_AFTER.as_secs());
            problem.headers.push((header::RETRY_AFTER, seconds));
            return Err(problem);
        }
        if together >= FEEDS_MAX {
            return Err(Problem::unavailable("Too many feeds of events are open; try again."));
        }
        open.insert(user, own + 1);
        Ok(Place { feeds: self.clone(), user })
    }
}

/// A place among the open feeds; given back when it is dropped.
#[derive(Debug)]
struct Place {
    feeds: Arc<Feeds>,
    user: UserId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.feeds.0.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.user) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                open.remove(&self.user);
            }
        }
    }
}

/// Whether the caller asks for a feed.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| {
        let essence = kind.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("text/event-stream")
    })
}

/// Where a client that was cut off wants to go on.
///
/// # Errors
/// 400 where it says something else than a position.
pub(super) fn resumes_after(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let position = value.to_str().ok().and_then(|text| text.parse().ok());
    position
        .map(Some)
        .ok_or_else(|| Problem::malformed("Last-Event-ID is a position that we gave."))
}

/// The events behind a position, and from then on those that happen.
pub(super) fn answer(app: App, principal: Principal, after: u64) -> Answer {
    let place = app.feeds().open(principal.person())?;
    let end_of_log = app.gate().end_of_log();
    let log = app.log();
    let page = VecDeque::new();
    let asked = Instant::now();
    let feed = Following { app, log, principal, asked, after, end_of_log, page, _place: place };
    // Sent at once: the client learns that it is connected, and whoever buffers passes it on.
    let hello = Event::default().retry(COME_AGAIN_AFTER).comment("events follow");
    let events = stream::once(async { Ok(hello) }).chain(feed.into_stream());
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE_EVERY);
    let mut response: Response = Sse::new(events).keep_alive(keep_alive).into_response();
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(unbuffered, HeaderValue::from_static("no"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

struct Following {
    app: App,
    log: Log,
    principal: Principal,
    /// When the principal was last found to be in force.
    asked: Instant,
    /// What lies at or before this position has been sent, or is in `page`.
    after: u64,
    end_of_log: watch::Receiver<u64>,
    page: VecDeque<Event>,
    _place: Place,
}

impl Following {
    fn into_stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut feed| async {
            match feed.next().await {
                Ok(Some(event)) => Some((Ok(event), feed)),
                Ok(None) => None,
                Err(error) => {
                    // The client comes again, and goes on where it was.
                    let cause: &dyn std::error::Error = &error;
                    tracing::error!(error = cause, "a feed of events ends");
                    None
                }
            }
        })
    }

    /// The next event, whenever it happens; none where the feed has to end.
    async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if self.asked.elapsed() >= ASK_EVERY && !self.may_go_on().await? {
                return Ok(None);
            }
            if let Some(event) = self.page.pop_front() {
                return Ok(Some(event));
            }
            let end = *self.end_of_log.borrow_and_update();
            if end > self.after {
                self.read(end).await?;
            } else {
                // Whether there is news or not: both is looked at above.
                let _ = tokio::time::timeout(ASK_EVERY, self.end_of_log.changed()).await;
            }
        }
    }

    async fn may_go_on(&mut self) -> Result<bool, Error> {
        self.asked = Instant::now();
        let Some(principal) = self.principal.renewed(&self.app).await? else { return Ok(false) };
        self.principal = principal;
        let may_see = self.principal.holds(Permission::ViewEvents);
        Ok(may_see && !self.app.is_stopping())
    }

    async fn read(&mut self, end: u64) -> Result<(), Error> {
        let path = &self.principal.authority.path;
        let left = finder::former_places(self.app.database(), path).await?;
        let stored = self.log.below(path, &left, (self.after, end), PAGE_EVENTS).await?;
        // Whether there is more before the end, the next read tells.
        self.after = stored.last().map_or(end, |last| last.position);
        let events = stored.iter().map(Stored::decode).collect::<Result<Vec<_>, _>>()?;
        for event in shown_events(&self.app, &self.principal, &events).await? {
            let json = serde_json::to_string(&event).expect("events have text keys only");
            self.page.push_back(Event::default().id(event.id).data(json));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn nobody_takes_the_places_of_all_others() {
        let feeds = Arc::new(Feeds::default());
        let user = |number| UserId(Uuid::from_u128(number));
        let mut own: Vec<_> =
            (0..FEEDS_OF_USER_MAX).map(|_| feeds.open(user(0)).unwrap()).collect();
        assert_eq!(feeds.open(user(0)).unwrap_err().code, "too_many_feeds");
        own.pop();
        own.push(feeds.open(user(0)).unwrap());
        let all = FEEDS_MAX - FEEDS_OF_USER_MAX;
        let others: Vec<_> =
            (0..all).map(|number| feeds.open(user(1 + number as u128 / 8)).unwrap()).collect();
        assert_eq!(feeds.open(user(9_999)).unwrap_err().code, "unavailable");
        drop((own, others));
        assert!(feeds.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_feed_is_asked_for_by_its_media_type() {
        for (accept, wanted) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; q=0.9, */*", true),
            ("application/json, text/event-stream", true),
            ("application/json", false),
            ("*/*", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(is_wanted(&headers), wanted, "{accept}");
        }
        assert!(!is_wanted(&HeaderMap::new()));
    }
}
