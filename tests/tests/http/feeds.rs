//! The raw feed, live.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use atrium_tests::http::{Feed, Message, TestApp};
use eventstore::Engine;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::BOTH;

const NOW: &str = "2019-11-01T00:00:00Z";
/// Longest that anything may take to be felt.
const SOON: Duration = Duration::from_secs(1);

async fn open(app: &TestApp, token: &str, parameters: &str) -> Result<Feed> {
    let path = format!("/api/v2/events{parameters}");
    Feed::open(app.request(token, Method::GET, &path)).await
}

/// The next message, which must come soon.
async fn next(feed: &mut Feed) -> Result<Message> {
    timeout(SOON, feed.next()).await.context("nothing comes")??.context("the feed has ended")
}

/// Reads on until the feed ends, which must be soon.
async fn ends(feed: &mut Feed) -> Result<()> {
    let rest = async {
        while feed.next().await?.is_some() {}
        Ok(())
    };
    timeout(SOON, rest).await.context("the feed goes on")?
}

async fn list(app: &TestApp, token: &str) -> Result<Vec<Value>> {
    let path = "/api/v2/events?limit=500";
    let body = app.send(token, Method::GET, path, None).await?.expect(200)?;
    Ok(body["data"].as_array().context("a list")?.clone())
}

#[tokio::test]
async fn events_come_as_they_happen_and_who_was_cut_off_goes_on() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        // More than is read at once.
        for number in 0..120 {
            app.customer(&format!("Customer {number}"), None).await?;
        }
        let listed = list(&app, &app.token).await?;
        assert!(listed.len() > 120);
        let mut feed = open(&app, &app.token, "").await?;
        for event in &listed {
            let message = next(&mut feed).await?;
            assert_eq!(message.data, *event);
            assert_eq!(json!(message.id.to_string()), event["id"]);
        }
        let seen = listed.len() as u64;
        app.customer("New Inc", None).await?;
        let news = next(&mut feed).await?;
        assert_eq!((news.id, &news.data["type"]), (seen + 1, &json!("organization.created")));
        drop(feed);
        app.customer("Newer Inc", None).await?;

        // The header is what a browser adds to the address it began with.
        let request = app.request(&app.token, Method::GET, "/api/v2/events?after=3");
        let mut resumed =
            Feed::open(request.header("last-event-id", (seen + 1).to_string())).await?;
        assert_eq!(next(&mut resumed).await?.id, seen + 2);
        let mut behind = open(&app, &app.token, &format!("?after={seen}")).await?;
        assert_eq!(next(&mut behind).await?, news);
        for bad in ["", "x", "-1", "1.5", "99999999999999999999"] {
            let request = app.request(&app.token, Method::GET, "/api/v2/events");
            let request = request.header("accept", "text/event-stream");
            let answer = atrium_tests::http::answer(request.header("last-event-id", bad));
            let answer = timeout(SOON, answer).await.context("it is a position")??;
            assert_eq!(answer.problem(400)?, "malformed", "{bad}");
        }
        drop((resumed, behind));
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_feed_shows_what_its_caller_may_see_and_ends_when_he_may_not() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let seller = app.reseller("Contoso").await?;
        let own = app.customer("Near Inc", Some(&seller)).await?;
        let role = ["Reseller Administrator"];
        let (user, session) = app.user(&seller, "uli@example.com", &role).await?;
        let (nobody, nobodys) =
            app.user(&own, "nobody@example.com", &["Customer Administrator"]).await?;
        let mut feed = open(&app, &session, "").await?;
        for event in list(&app, &session).await? {
            assert_eq!(next(&mut feed).await?.data, event);
        }
        app.customer("Far Inc", None).await?;
        app.customer("Also Near Inc", Some(&seller)).await?;
        let news = next(&mut feed).await?;
        assert_eq!(news.data["data"]["details"]["name"], "Also Near Inc", "{}", news.data);

        // Whoever loses the permission, the session, or is disabled.
        let mut lost = open(&app, &nobodys, "").await?;
        let roles = json!({ "roles": [] });
        app.put(&format!("/api/v2/users/{nobody}/roles"), roles).await?;
        ends(&mut lost).await?;
        let out = app.send(&session, Method::DELETE, "/api/v2/session", None).await?;
        assert_eq!(out.status, 204);
        ends(&mut feed).await?;
        let session = app.sign_in("uli@example.com", atrium_tests::http::PASSWORD).await?;
        let mut disabled = open(&app, &session, "").await?;
        app.post(&format!("/api/v2/users/{user}/disable"), json!({})).await?;
        ends(&mut disabled).await?;
        app.post(&format!("/api/v2/users/{user}/enable"), json!({})).await?;
        let mut above = open(&app, &session, "").await?;
        app.post(&format!("/api/v2/resellers/{seller}/disable"), json!({})).await?;
        ends(&mut above).await?;
        app.post(&format!("/api/v2/resellers/{seller}/enable"), json!({})).await?;
        let mut expires = open(&app, &session, "").await?;
        app.ambient.set("2019-11-01T12:00:01Z");
        ends(&mut expires).await?;

        let refused = app.request(&nobodys, Method::GET, "/api/v2/events");
        assert!(Feed::open(refused).await.is_err());
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_other_processes_do_is_told_and_felt_too() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let seller = app.reseller("Contoso").await?;
        let role = ["Reseller Administrator"];
        let (user, session) = app.user(&seller, "uli@example.com", &role).await?;
        let (elsewhere, stop, served) = app.another().await?;
        let request = |path: &str| {
            let client = reqwest::Client::new();
            client.request(Method::GET, format!("{elsewhere}{path}")).bearer_auth(&session)
        };
        let seen = list(&app, &session).await?.last().context("events")?["id"].clone();
        let after = format!("/api/v2/events?after={}", seen.as_str().context("a position")?);
        let mut feed = Feed::open(request(&after)).await?;
        app.customer("Near Inc", Some(&seller)).await?;
        assert_eq!(next(&mut feed).await?.data["type"], "organization.created");
        app.post(&format!("/api/v2/users/{user}/disable"), json!({})).await?;
        ends(&mut feed).await?;
        let _ = stop.send(());
        served.await??;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn open_feeds_do_not_hold_up_a_stop_and_are_not_too_many() -> Result<()> {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let app = TestApp::new(engine, NOW).await?;
        let mut feeds = Vec::new();
        for _ in 0..32 {
            feeds.push(open(&app, &app.token, "").await?);
        }
        let request = app.request(&app.token, Method::GET, "/api/v2/events");
        let request = request.header("accept", "text/event-stream");
        let refused = timeout(SOON, atrium_tests::http::answer(request)).await;
        let refused = refused.context("one more is opened")??;
        assert!(refused.headers.contains_key("retry-after"));
        assert_eq!(refused.problem(429)?, "too_many_feeds");
        // The list is no feed.
        list(&app, &app.token).await?;
        feeds.truncate(1);
        let reopened = async {
            while open(&app, &app.token, "").await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(SOON, reopened).await.context("the places are not given back")?;

        let began = Instant::now();
        let (finished, ended) = tokio::join!(app.finish(), ends(&mut feeds[0]));
        finished?;
        ended?;
        ensure!(began.elapsed() < Duration::from_secs(10), "stopping took {:?}", began.elapsed());
    }
    Ok(())
}
