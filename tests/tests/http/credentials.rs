//! Tokens of every malformed kind (api.md, section 1; RFC 8725): all are one and the same to the server.

use anyhow::{Context, Result, ensure};
use api::keys::Keys;
use atrium_tests::http::{MASTER_KEY, PASSWORD, TestApp, answer};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::BOTH;

const NOW: &str = "2019-11-01T00:00:00Z";

fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// HMAC-SHA256 (RFC 2104), by hand: what is forged must not be made by what is tested.
fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

fn signed(key: &[u8], header: &Value, claims: &Value) -> String {
    let text = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
    let signature = base64(hmac(key, &text));
    format!("{text}.{signature}")
}

/// What a token says.
fn parts(token: &str) -> Result<(Value, Value)> {
    let mut parts = token.split('.').map(|part| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(part)?;
        Ok::<Value, anyhow::Error>(serde_json::from_slice(&bytes)?)
    });
    let header = parts.next().context("a header")??;
    Ok((header, parts.next().context("claims")??))
}

/// The answers to whoever shows this, which must all be the one 401.
async fn is_nobody(app: &TestApp, authorization: &[&str]) -> Result<()> {
    for (method, path, accept) in [
        (Method::GET, "/api/v2/customers", "*/*"),
        (Method::GET, "/api/v2/events", "text/event-stream"),
        (Method::GET, "/api/Billing/parameters", "text/plain"),
        (Method::POST, "/api/v2/customers", "*/*"),
        (Method::POST, "/graphql", "*/*"),
    ] {
        let mut request = app.request("", method, path).header("accept", accept);
        for value in authorization {
            request = request.header("authorization", HeaderValue::from_str(value)?);
        }
        let answer = answer(request).await?;
        ensure!(answer.headers.get("www-authenticate").is_some_and(|it| it == "Bearer"), "{path}");
        let mut body = answer.body.clone();
        body["instance"] = json!("");
        let expected = json!({
            "type": "urn:atrium:problem:unauthenticated", "title": "Unauthorized", "status": 401,
            "code": "unauthenticated", "instance": "",
            "detail": "Send a valid token: `Authorization: Bearer <token>`.",
        });
        ensure!(body == expected, "{path}: {body}");
        answer.problem(401)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_token_is_taken_by_the_letter_or_not_at_all() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let session = app.sign_in("admin@example.com", PASSWORD).await?;
        let key = Keys::derive(&MASTER_KEY).token;
        let (header, claims) = parts(&app.token)?;
        let (session_header, session_claims) = parts(&session)?;
        // Forged as it is, it is good: whatever is refused below is refused for what it changes.
        for forged in
            [signed(&key, &header, &claims), signed(&key, &session_header, &session_claims)]
        {
            app.send(&forged, Method::GET, "/api/v2/customers", None).await?.expect(200)?;
        }

        let with = |base: &Value, name: &str, value: Value| {
            let mut changed = base.clone();
            changed[name] = value;
            changed
        };
        let without = |base: &Value, name: &str| {
            let mut changed = base.clone();
            changed.as_object_mut().expect("an object").remove(name);
            changed
        };
        let mut bad: Vec<(String, String)> = Vec::new();
        let mut add = |what: &str, token: String| bad.push((what.to_owned(), token));

        // The algorithm is ours to choose, and so is the key (RFC 8725, sections 3.1 and 3.2).
        for algorithm in [
            "none", "None", "nOnE", "", "HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA",
            "hs256",
        ] {
            let header = with(&header, "alg", json!(algorithm));
            add(algorithm, signed(&key, &header, &claims));
            let unsigned = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
            add(algorithm, format!("{unsigned}."));
            add(algorithm, unsigned);
        }
        add("no algorithm", signed(&key, &without(&header, "alg"), &claims));
        let shown = b"-----BEGIN PUBLIC KEY-----";
        for other in [&b""[..], &[0; 32], &MASTER_KEY, shown, &Keys::derive(&[8; 32]).token] {
            add("another key", signed(other, &header, &claims));
        }
        // The header, and what it could have us fetch, or understand otherwise (3.10 to 3.12).
        for kind in ["JWT", "jwt", "at+jwt", "atrium-session+jwt", "ATRIUM-API+JWT", ""] {
            add(kind, signed(&key, &with(&header, "typ", json!(kind)), &claims));
        }
        add("no typ", signed(&key, &without(&header, "typ"), &claims));
        for (name, value) in [
            ("kid", json!("1")),
            ("kid", json!("../../../../dev/null")),
            ("kid", json!("' or 1=1 --")),
            ("jku", json!("https://example.com/keys")),
            ("x5u", json!("https://example.com/key")),
            ("jwk", json!({ "kty": "oct", "k": "AAAA" })),
            ("crit", json!(["exp"])),
            ("crit", json!([])),
            ("b64", json!(false)),
            ("cty", json!("JWT")),
            ("zip", json!("DEF")),
            ("enc", json!("A128GCM")),
            ("nonce", json!("x")),
        ] {
            add(name, signed(&key, &with(&header, name, value), &claims));
        }
        // The claims, all of them (3.8, 3.9).
        let other_user = json!("016e2441-b400-7000-8000-0000000000ff");
        for (name, value) in [
            ("iss", json!("other")),
            ("iss", json!(["atrium"])),
            ("aud", json!("other")),
            ("aud", json!(["atrium-api", "other"])),
            ("sub", other_user),
            ("sub", json!("nobody")),
            ("sub", json!("user-\u{0}")),
            ("jti", json!("0123456789abcdef0123456789abcdef")),
            ("jti", json!("")),
            ("jti", session_claims["jti"].clone()),
            ("exp", json!(1_572_566_400)),
            ("exp", json!(-1)),
            ("exp", json!("9999999999")),
            ("exp", json!(1e300)),
            ("exp", Value::Null),
            ("iat", json!(1_572_566_401)),
            ("iat", json!("0")),
            ("nbf", json!(0)),
            ("typ", json!("session")),
            ("admin", json!(true)),
        ] {
            add(name, signed(&key, &header, &with(&claims, name, value)));
        }
        for name in ["iss", "aud", "sub", "jti", "exp", "iat", "typ"] {
            add(name, signed(&key, &header, &without(&claims, name)));
        }
        add("no claims", signed(&key, &header, &json!({})));
        add("a list of claims", signed(&key, &header, &json!([claims])));
        let twice = claims.to_string().replacen('{', "{\"exp\":1,", 1);
        let text = format!("{}.{}", base64(header.to_string()), base64(twice));
        let signature = base64(hmac(&key, &text));
        add("a claim twice", format!("{text}.{signature}"));
        // A token of one kind is none of the other, whatever it says of itself.
        let as_session = with(&claims, "typ", json!("session"));
        add("API token as session", signed(&key, &session_header, &as_session));
        add(
            "session as API token",
            signed(&key, &header, &with(&session_claims, "typ", json!("api"))),
        );
        add("session's header", signed(&key, &session_header, &claims));
        // Its form.
        let token = &app.token;
        let [head, body, signature] = token.split('.').collect::<Vec<_>>()[..] else {
            anyhow::bail!("three parts")
        };
        for form in [
            "",
            ".",
            "..",
            "...",
            "null",
            "undefined",
            "Bearer",
            head,
            &format!("{head}."),
            &format!("{head}.{body}"),
            &format!("{head}.{body}."),
            &format!(".{body}.{signature}"),
            &format!("{head}..{signature}"),
            &format!("{token}."),
            &format!("{token}.x"),
            &format!("{head}.{body}.{signature}.{signature}.x"),
            &format!("{token}="),
            &format!("{head}=.{body}.{signature}"),
            &token[1..],
            &token[..token.len() - 1],
            &format!("{body}.{head}.{signature}"),
            &token.to_lowercase(),
            &token.replace('.', " "),
            &token.replace('.', ","),
            &format!("{token} {token}"),
            &format!("\"{token}\""),
            &format!("{token},{token}"),
            &format!("{token}\t{token}"),
            &format!(
                "{head}.{body}.{}",
                BASE64_URL_SAFE.encode(hmac(&key, &format!("{head}.{body}")))
            ),
            &format!("{head}.{}.{signature}", BASE64_STANDARD.encode(claims.to_string())),
            &format!("{head}.{body}.{}", "A".repeat(3_000)),
            &"A".repeat(10_000),
            &"a.".repeat(4_000),
        ] {
            add("its form", form.to_owned());
        }
        for (what, token) in &bad {
            is_nobody(&app, &[&format!("Bearer {token}")])
                .await
                .with_context(|| format!("{what}: {token}"))?;
        }

        // How it is shown.
        for schemes in [
            vec![],
            vec!["Bearer".to_owned()],
            vec![token.clone()],
            vec![format!("Basic {token}")],
            vec![format!("Token {token}")],
            vec![format!("BearerX {token}")],
            vec![format!("Bearer:{token}")],
            vec![format!("Bearer,{token}")],
            vec![format!("Bearer {token}"), format!("Bearer {token}")],
            vec![format!("Bearer {token}"), "Basic x".to_owned()],
            vec![format!("Basic x, Bearer {token}")],
        ] {
            let schemes: Vec<_> = schemes.iter().map(String::as_str).collect();
            is_nobody(&app, &schemes).await.with_context(|| format!("{schemes:?}"))?;
        }
        for path in ["access_token", "token", "authorization"] {
            let path = format!("/api/v2/customers?{path}={token}");
            app.send("", Method::GET, &path, None).await?.problem(401)?;
        }
        let cookie = app.request("", Method::GET, "/api/v2/customers");
        let cookie =
            cookie.header("cookie", format!("token={token}; authorization=Bearer {token}"));
        answer(cookie).await?.problem(401)?;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_token_ends_with_what_it_rests_on() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, NOW).await?;
        let seller = app.reseller("Contoso").await?;
        let customer = app.customer("Aanimals Inc", Some(&seller)).await?;
        let developer = "Service Provider Developer";
        let roles = ["Customer Administrator", developer];
        let (user, session) = app.user(&customer, "dev@x.test", &roles).await?;
        let tokens = format!("/api/v2/users/{user}/tokens");
        let make = async |days: i64| -> Result<(String, String)> {
            let sent = Some(json!({ "name": "program", "days": days }));
            let made = app.send(&session, Method::POST, &tokens, sent).await?;
            assert_eq!(made.headers["cache-control"], "no-store");
            let made = made.expect(201)?;
            let text = |name: &str| made[name].as_str().map(str::to_owned).context("a text");
            Ok((text("id")?, text("token")?))
        };
        let (id, deleted) = make(1).await?;
        let (_, expired) = make(1).await?;
        let (_, kept) = make(30).await?;
        let asks = async |token: &str| -> Result<u16> {
            let answer = app.send(token, Method::GET, "/api/v2/customers", None).await?;
            Ok(answer.status.as_u16())
        };
        for token in [&deleted, &expired, &kept] {
            assert_eq!(asks(token).await?, 200);
        }
        let gone = app.send(&session, Method::DELETE, &format!("{tokens}/{id}"), None).await?;
        assert_eq!(gone.status, 204);
        is_nobody(&app, &[&format!("Bearer {deleted}")]).await?;

        // Without the role a token is nothing; a session is what it was, for what is left.
        let of_user = format!("/api/v2/users/{user}");
        app.put(&format!("{of_user}/roles"), json!({ "roles": ["Customer Administrator"] }))
            .await?;
        is_nobody(&app, &[&format!("Bearer {kept}")]).await?;
        assert_eq!(asks(&session).await?, 200);
        app.put(&format!("{of_user}/roles"), json!({ "roles": roles })).await?;
        assert_eq!(asks(&kept).await?, 200);

        let of_customer = format!("/api/v2/customers/{customer}");
        let of_seller = format!("/api/v2/resellers/{seller}");
        for place in [&of_user, &of_customer, &of_seller] {
            app.post(&format!("{place}/disable"), json!({})).await?;
            for token in [&kept, &session] {
                is_nobody(&app, &[&format!("Bearer {token}")]).await.context(place.clone())?;
            }
            app.post(&format!("{place}/enable"), json!({})).await?;
            for token in [&kept, &session] {
                assert_eq!(asks(token).await?, 200, "{place}");
            }
        }
        app.ambient.set("2019-11-02T00:00:00Z");
        is_nobody(&app, &[&format!("Bearer {expired}")]).await?;
        is_nobody(&app, &[&format!("Bearer {session}")]).await?;
        assert_eq!(asks(&kept).await?, 200);
        app.finish().await?;
    }
    Ok(())
}
