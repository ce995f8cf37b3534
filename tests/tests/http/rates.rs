//! How often somebody may ask.

use std::num::NonZeroU32;

use anyhow::{Context, Result};
use atrium_tests::http::{Answer, PASSWORD, TestApp};
use reqwest::Method;
use serde_json::json;

use crate::BOTH;

const NOW: &str = "2019-11-01T00:00:00Z";

fn told(answer: &Answer, name: &str) -> Result<u64> {
    let value = answer.headers.get(name).with_context(|| format!("{name} is missing"))?;
    Ok(value.to_str()?.parse()?)
}

#[tokio::test]
async fn each_caller_has_a_limit_of_his_own_and_is_told_of_it() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::limited(engine, NOW, NonZeroU32::new(20)).await?;
        let (user, session) =
            app.user(&app.customer("Aanimals Inc", None).await?, "u@x.test", &[]).await?;
        let own = format!("/api/v2/users/{user}");
        let mut refused = None;
        for made in 1..=30 {
            let answer = app.send(&session, Method::GET, &own, None).await?;
            assert_eq!(told(&answer, "ratelimit-limit")?, 20);
            // One is given back every three seconds.
            let remaining = told(&answer, "ratelimit-remaining")?;
            assert!(remaining < 20 && (remaining + made >= 20 || answer.status == 429));
            assert!((1..=60).contains(&told(&answer, "ratelimit-reset")?));
            if answer.status == 429 {
                refused = Some(answer);
                break;
            }
            assert_eq!(answer.status, 200);
        }
        let refused = refused.context("nothing is refused")?;
        assert!((1..=3).contains(&told(&refused, "retry-after")?));
        assert_eq!(refused.problem(429)?, "rate_limited");

        // It is by user and not by token; others are not concerned, and neither is who watches.
        let again = app.sign_in("u@x.test", PASSWORD).await?;
        let answer = app.send(&again, Method::GET, &own, None).await?;
        assert_eq!(answer.problem(429)?, "rate_limited");
        app.send(&app.token, Method::GET, &own, None).await?.expect(200)?;
        for path in ["/healthz", "/readyz", "/metrics"] {
            for _ in 0..30 {
                let answer = app.send(&session, Method::GET, path, None).await?;
                assert_eq!(answer.status, 200);
                assert!(!answer.headers.contains_key("ratelimit-limit"));
            }
        }

        // Whoever shows nothing, or nothing that is in force, is counted by where he comes from.
        let mut refused = 0;
        for number in 0..30 {
            let token = if number % 2 == 0 { "" } else { "a.b.c" };
            let path = if number % 3 == 0 { "/nowhere" } else { "/api/v2/customers" };
            let answer = app.send(token, Method::GET, path, None).await?;
            refused += u32::from(answer.status == 429);
        }
        assert!(refused >= 9, "{refused}");
        let sent = json!({ "login": "u@x.test", "password": PASSWORD });
        let answer = app.send("", Method::POST, "/api/v2/session", Some(sent)).await?;
        assert_eq!(answer.problem(429)?, "rate_limited");
        app.send(&app.token, Method::GET, &own, None).await?.expect(200)?;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_limit_can_be_left_out() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::limited(engine, NOW, None).await?;
        let answer = app.send(&app.token, Method::GET, "/api/v2/customers", None).await?;
        assert!(!answer.headers.contains_key("ratelimit-limit"));
        answer.expect(200)?;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_guesses_passwords_has_to_wait_even_with_the_right_one() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let try_with = async |login: &str, password: &str| {
            let sent = json!({ "login": login, "password": password });
            app.send("", Method::POST, "/api/v2/session", Some(sent)).await
        };
        // Right ones do not count, however many.
        for _ in 0..12 {
            try_with("admin@example.com", PASSWORD).await?.expect(201)?;
        }
        // One more is allowed every six seconds.
        let guess = async |login: &str, password: &str| {
            for number in 0..30 {
                let wrong = try_with(login, password).await?;
                if wrong.status == 429 {
                    assert!(number >= 10, "{number} tries were enough");
                    return Ok(());
                }
                assert_eq!(wrong.problem(401)?, "unauthenticated");
            }
            anyhow::bail!("{login} can be guessed")
        };
        guess("admin@example.com", "not the password").await?;
        for password in ["not the password", PASSWORD] {
            let refused = try_with("ADMIN@example.com", password).await?;
            assert!((1..=6).contains(&told(&refused, "retry-after")?));
            assert_eq!(refused.problem(429)?, "too_many_tries");
        }
        // A login that nobody has is counted alike, or it would show that nobody has it.
        guess("nobody@example.com", PASSWORD).await?;
        for login in ["", "no address", &"x".repeat(500_000)] {
            assert_eq!(try_with(login, PASSWORD).await?.problem(401)?, "unauthenticated");
        }
        app.finish().await?;
    }
    Ok(())
}
