//! Every row of the answer contract (api.md, section 4), for every route that it concerns.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use atrium_tests::http::{Answer, TestApp, answer};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::published::{Route, routes, takes_list};
use super::tenants::{NO_ID, Tenants};
use crate::BOTH;

/// The pointers of a refusal, each with its code.
fn faults(answer: &Answer) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let errors = answer.body["errors"].as_array().into_iter().flatten();
    errors.map(|error| (text(&error["pointer"]), text(&error["code"]))).collect()
}

async fn send_text(app: &TestApp, method: &Method, path: &str, body: &str) -> Result<Answer> {
    let request = app.request(&app.token, method.clone(), path);
    let request = request.header("content-type", "application/json").body(body.to_owned());
    answer(request).await
}

/// The routes that take a body, with their addresses.
fn with_body(tenants: &Tenants) -> Result<Vec<(Route, String)>> {
    let routes = routes()?.into_iter().filter(|route| route.body.is_some());
    let all: Vec<_> = routes.map(|route| (tenants.address(&route.path), route)).collect();
    ensure!(all.len() > 20, "{all:?}");
    Ok(all.into_iter().map(|(path, route)| (route, path)).collect())
}

#[tokio::test]
async fn every_fault_of_every_bodys_shape_is_told_at_once() -> Result<()> {
    for engine in BOTH {
        let tenants = Tenants::new(engine).await?;
        let app = &tenants.app;
        for (route, path) in with_body(&tenants)? {
            let place = format!("{} {path}", route.method);
            // Each field of another type than it has, and one that there is not.
            let mut wrong = Map::new();
            let mut expected = BTreeMap::new();
            for (field, schema) in route.fields() {
                let wrong_value = if takes_list(schema) { json!({}) } else { json!([]) };
                wrong.insert(field.clone(), wrong_value);
                expected.insert(format!("/{field}"), "wrong_type".to_owned());
            }
            for odd in ["nonsense", "a/b~c"] {
                wrong.insert(odd.to_owned(), json!(1));
            }
            expected.insert("/nonsense".to_owned(), "unknown_field".to_owned());
            expected.insert("/a~1b~0c".to_owned(), "unknown_field".to_owned());
            let told =
                app.send(&app.token, route.method.clone(), &path, Some(wrong.into())).await?;
            let mut found = faults(&told);
            // A choice of texts says which.
            for (pointer, code) in &mut found {
                if code == "not_a_choice" && expected.contains_key(pointer) {
                    "wrong_type".clone_into(code);
                }
            }
            assert_eq!(found, expected, "{place}: {}", told.body);
            assert_eq!(told.problem(400).context(place.clone())?, "malformed");

            let missing: BTreeMap<_, _> =
                route.required().map(|field| (format!("/{field}"), "missing".to_owned())).collect();
            if !missing.is_empty() {
                for body in ["{}", "", " "] {
                    let told = send_text(app, &route.method, &path, body).await?;
                    assert_eq!(faults(&told), missing, "{place}");
                    assert_eq!(told.problem(400)?, "malformed", "{place}");
                }
            }
            for body in ["{", "[]", "null", "1", "\"x\"", "{\"x\":1}{}", "{'x':1}", "\u{feff}{}"] {
                let told = send_text(app, &route.method, &path, body).await?;
                ensure!(!faults(&told).is_empty(), "{place}: {body}: {}", told.body);
                assert_eq!(told.problem(400).context(body)?, "malformed", "{place}: {body}");
            }
            let twice = r#"{"reason":"x","reason":"y","é":1,"é":2}"#;
            let told = send_text(app, &route.method, &path, twice).await?;
            let found: BTreeSet<_> = faults(&told).into_iter().collect();
            let duplicate = |field: &str| (format!("/{field}"), "duplicate_field".to_owned());
            assert_eq!(found, BTreeSet::from(["reason", "é"].map(duplicate)), "{place}");
            assert_eq!(told.problem(400)?, "malformed", "{place}");

            let body = app.request(&app.token, route.method.clone(), &path).body("{}");
            assert_eq!(answer(body).await?.problem(415)?, "unsupported_media_type", "{place}");
            let many = format!("{{\"reason\":\"{}\"}}", "x".repeat(1024 * 1024));
            let large = send_text(app, &route.method, &path, &many).await?;
            assert_eq!(large.problem(413)?, "too_large", "{place}");
        }
        tenants.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_fault_of_a_bodys_values_is_told_at_once() -> Result<()> {
    for engine in BOTH {
        let tenants = Tenants::new(engine).await?;
        let app = &tenants.app;
        let own = &tenants.own;
        let long = "x".repeat(3_000);
        let organization = json!({
            "name": "\n", "code": "a-b", "billingIdentifier": " ",
            "contact": { "name": long, "email": "a@", "phone": "\u{0}" },
        });
        let of_organization = "/name /code /billingIdentifier /contact/name /contact/email \
                               /contact/phone";
        let mut founded = organization.clone();
        founded["currency"] = json!("XXX");
        let person = json!({
            "firstName": " ", "lastName": long, "email": "no", "login": "no@no@no",
        });
        let of_person = "/firstName /lastName /email /login";
        let mut added = person.clone();
        added["roles"] = json!(["Root", "Provider Administrator"]);
        added["password"] = json!("short");
        let (soon, reason) = (json!("soon"), json!(long));
        let users = format!("/api/v2/users/{}", own.user);
        let customers = format!("/api/v2/customers/{}", own.customer);
        let of_customer = format!("/api/v2/organizations/{}", own.customer);
        let services = "/api/v2/services/new";
        for (method, path, body, pointers) in [
            ("POST", "/api/v2/customers", founded.clone(), format!("{of_organization} /currency")),
            ("POST", "/api/v2/resellers", founded, format!("{of_organization} /currency")),
            ("PATCH", &customers, organization, of_organization.to_owned()),
            (
                "POST",
                &format!("{customers}/users"),
                added,
                format!("{of_person} /roles/0 /roles/1 /password"),
            ),
            ("PATCH", &users, person, of_person.to_owned()),
            (
                "PUT",
                &format!("{users}/roles"),
                json!({ "roles": ["Root", "Reseller Administrator"], "reason": reason }),
                "/roles/0 /roles/1 /reason".to_owned(),
            ),
            (
                "POST",
                &format!("{users}/disable"),
                json!({ "reason": reason }),
                "/reason".to_owned(),
            ),
            (
                "POST",
                &format!("/api/v2/users/{}/tokens", app.administrator),
                json!({ "name": "", "days": 0 }),
                "/name /days".to_owned(),
            ),
            (
                "POST",
                &format!("{customers}/subscriptions"),
                json!({ "service": "mailbox", "plan": "none", "quantity": -1, "instance": "x",
                    "effectiveAt": soon, "reason": reason }),
                "/service /plan /quantity /instance /effectiveAt /reason".to_owned(),
            ),
            (
                "POST",
                &format!("/api/v2/subscriptions/{}/change", own.mailbox),
                json!({ "plan": "none", "quantity": 1_000_001, "effectiveAt": "1989-12-31",
                    "reason": reason }),
                "/plan /quantity /effectiveAt /reason".to_owned(),
            ),
            (
                "POST",
                &format!("/api/v2/subscriptions/{}/deprovision", own.mailbox),
                json!({ "effectiveAt": "2200-01-02", "reason": reason }),
                "/effectiveAt /reason".to_owned(),
            ),
            (
                "PUT",
                &format!("{of_customer}/overrides/backup"),
                json!({ "plan": "none", "property": "none", "value": "x", "clear": true,
                    "effectiveFrom": soon, "effectiveTo": "2019-01-01", "reason": " " }),
                "/plan /property /value /effectiveFrom /effectiveTo /reason".to_owned(),
            ),
            (
                "PUT",
                &format!("{of_customer}/prices"),
                json!({ "service": "backup", "plan": "none", "price": "1", "percent": "1",
                    "effectiveFrom": "2020-01-01", "effectiveTo": "2020-01-01", "reason": "" }),
                "/plan /price /effectiveTo /reason".to_owned(),
            ),
            (
                "PUT",
                &format!("{services}/draft"),
                json!({ "key": "other", "name": "", "level": "user", "instancing": "single",
                    "description": long, "category": "\u{0}",
                    "properties": [{ "key": " ", "label": "" }],
                    "plans": [{ "key": "!", "name": "", "sku": "", "price": "-1",
                        "properties": { "a/b": "" } }] }),
                "/key /name /description /category /properties/0/key /properties/0/label \
                 /plans/0/key /plans/0/name /plans/0/sku /plans/0/price /plans/0/properties/a~1b"
                    .to_owned(),
            ),
            (
                "POST",
                "/api/v2/roles",
                json!({ "name": "\n", "description": long, "permissions": ["a b", "users.view"],
                    "includes": ["L1 Help Desk", "Root"] }),
                "/name /description /permissions/0 /includes/1".to_owned(),
            ),
            (
                "PUT",
                "/api/v2/permissions/reports",
                json!({ "name": "", "description": long }),
                "/name /description".to_owned(),
            ),
            (
                "POST",
                "/api/v2/services/backup/publish",
                json!({ "effectiveAt": soon, "reason": reason }),
                "/effectiveAt /reason".to_owned(),
            ),
        ] {
            let place = format!("{method} {path}");
            let told = app.send(&app.token, method.parse()?, path, Some(body)).await?;
            let found: BTreeSet<_> = faults(&told).into_keys().collect();
            let expected: BTreeSet<_> = pointers.split_whitespace().map(str::to_owned).collect();
            assert_eq!(found, expected, "{place}: {}", told.body);
            assert_eq!(told.problem(422).context(place)?, "invalid");
        }
        tenants.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_in_the_way_is_a_conflict() -> Result<()> {
    for engine in BOTH {
        let tenants = Tenants::new(engine).await?;
        let app = &tenants.app;
        let own = &tenants.own;
        let customers = format!("/api/v2/customers/{}", own.customer);
        let disabled = format!("/api/v2/users/{}", tenants.other.user);
        app.post(&format!("{disabled}/disable"), json!({})).await?;
        let other = format!("/api/v2/customers/{}", tenants.other.customer);
        app.post(&format!("{other}/disable"), json!({})).await?;
        let backup = json!({ "service": "backup", "plan": "BU001" });
        for (method, path, body, code) in [
            ("POST", "/api/v2/customers", json!({ "name": "New", "code": "oi" }), "name_taken"),
            ("PATCH", &customers, json!({ "code": "OP" }), "name_taken"),
            (
                "POST",
                &format!("{customers}/users"),
                json!({ "firstName": "A", "lastName": "B", "email": "ULI@own.test" }),
                "name_taken",
            ),
            (
                "POST",
                &format!("/api/v2/users/{}/disable", app.administrator),
                json!({}),
                "yourself",
            ),
            (
                "POST",
                &format!("{customers}/subscriptions"),
                json!({ "service": "backup", "plan": "BU010" }),
                "already_provisioned",
            ),
            ("POST", &format!("{other}/subscriptions"), backup.clone(), "organization_disabled"),
            (
                "POST",
                &format!("{other}/users"),
                json!({ "firstName": "A", "lastName": "B",
                "email": "a@b.test" }),
                "organization_disabled",
            ),
            ("DELETE", "/api/v2/session", Value::Null, "not_a_session"),
        ] {
            let body = (!body.is_null()).then_some(body);
            let told = app.send(&app.token, method.parse()?, path, body).await?;
            let place = format!("{method} {path}: {}", told.body);
            // Where a name is in the way, it says which.
            assert_eq!(faults(&told).is_empty(), code != "name_taken", "{place}");
            assert_eq!(told.problem(409).context(place)?, code);
        }
        tenants.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_edit_of_another_version_than_was_seen_is_refused() -> Result<()> {
    for engine in BOTH {
        let tenants = Tenants::new(engine).await?;
        let app = &tenants.app;
        let mut definition = app.get("/api/v2/services/backup").await?["draft"].clone();
        definition["description"] = json!("Another one.");
        // The customer has an override and the user has signed in: events that do not show.
        for (path, edits, method, body) in [
            (
                format!("/api/v2/customers/{}", tenants.own.customer),
                "",
                "PATCH",
                json!({ "name": "New" }),
            ),
            (
                format!("/api/v2/resellers/{}", tenants.own.reseller),
                "",
                "PATCH",
                json!({ "name": "Newer" }),
            ),
            (
                format!("/api/v2/users/{}", tenants.callers[4].user),
                "",
                "PATCH",
                json!({ "lastName": "New" }),
            ),
            (format!("/api/v2/roles/{}", tenants.own.role), "", "PATCH", json!({ "name": "New" })),
            ("/api/v2/services/backup".to_owned(), "/draft", "PUT", definition),
        ] {
            let read = app.send(&app.token, Method::GET, &path, None).await?;
            let seen = read.headers["etag"].to_str()?.to_owned();
            let edit = async |token: &str, seen: &str| {
                let request = app.request(token, method.parse()?, &format!("{path}{edits}"));
                answer(request.header("if-match", seen).json(&body)).await
            };
            for stale in ["\"0\"", "\"99\"", "\"x\"", "", "\"", "1.5", "\"-1\"", "W/\"x\""] {
                let refused = edit(&app.token, stale).await?;
                assert_eq!(refused.problem(412)?, "stale_version", "{path} {stale}");
            }
            let edited = edit(&app.token, &seen).await?;
            edited.clone().expect(200).context(path.clone())?;
            assert_ne!(edited.headers["etag"].to_str()?, seen);
            assert_eq!(edit(&app.token, &seen).await?.problem(412)?, "stale_version");
            edit(&app.token, "*").await?.expect(200)?;
            // Whether it is stale is not told to who may not edit it.
            let caller = &tenants.callers[4].token;
            for stale in ["\"0\"", "nonsense"] {
                let refused = edit(caller, stale).await?.status;
                assert!(refused == 403 || refused == 404, "{path}: {refused}");
            }
        }
        tenants.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn every_address_takes_its_methods_and_no_other() -> Result<()> {
    for engine in BOTH {
        let tenants = Tenants::new(engine).await?;
        let app = &tenants.app;
        let mut methods = BTreeMap::<String, BTreeSet<String>>::new();
        for route in routes()? {
            methods.entry(route.path).or_default().insert(route.method.to_string());
        }
        methods.insert("/graphql".to_owned(), BTreeSet::from(["POST".to_owned()]));
        for path in ["/healthz", "/readyz", "/metrics"] {
            methods.insert(path.to_owned(), BTreeSet::from(["GET".to_owned()]));
        }
        for (path, taken) in methods {
            let address = tenants.address(&path);
            for method in ["GET", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE"] {
                if taken.contains(method) {
                    continue;
                }
                for token in ["", &app.token] {
                    let told = app.send(token, method.parse()?, &address, None).await?;
                    let allowed = told.headers.get("allow").context("Allow")?.to_str()?.to_owned();
                    let allowed: BTreeSet<_> =
                        allowed.split(',').map(str::trim).filter(|it| *it != "HEAD").collect();
                    let expected: BTreeSet<_> = taken.iter().map(String::as_str).collect();
                    assert_eq!(allowed, expected, "{method} {path}");
                    assert_eq!(told.problem(405)?, "method_not_allowed", "{method} {path}");
                }
            }
        }
        tenants.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_too_long_is_told_from_what_is_too_large() -> Result<()> {
    for engine in BOTH {
        let tenants = Tenants::new(engine).await?;
        let app = &tenants.app;
        let long = format!("/api/v2/customers?after={}", "x".repeat(9_000));
        let told = app.send(&app.token, Method::GET, &long, None).await?;
        assert_eq!(told.problem(414)?, "uri_too_long");
        for (name, value) in
            [("x-odd", "x".repeat(17 * 1024)), ("authorization", "x".repeat(20_000))]
        {
            let request = app.request("", Method::GET, "/api/v2/customers").header(name, value);
            assert_eq!(answer(request).await?.problem(431)?, "headers_too_large");
        }
        let query = json!({ "query": "x".repeat(1024 * 1024) });
        let told = app.send(&app.token, Method::POST, "/graphql", Some(query)).await?;
        assert_eq!(told.problem(413)?, "too_large");
        // Whoever is nobody cannot make us read that much.
        let large = json!({ "query": "x".repeat(1024 * 1024) });
        for path in ["/graphql", "/api/v2/customers"] {
            let told = app.send("", Method::POST, path, Some(large.clone())).await?;
            assert_eq!(told.problem(401)?, "unauthenticated");
        }
        let request = app.request(&app.token, Method::POST, "/graphql").body("{}");
        assert_eq!(answer(request).await?.problem(415)?, "unsupported_media_type");
        tenants.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn parameters_are_known_and_within_their_bounds() -> Result<()> {
    for engine in BOTH {
        let tenants = Tenants::new(engine).await?;
        let app = &tenants.app;
        for route in routes()?.into_iter().filter(|route| route.method == Method::GET) {
            let path = tenants.address(&route.path);
            let mut bad: Vec<String> = Vec::new();
            for (name, schema) in &route.parameters {
                if schema["type"] == "integer" {
                    bad.extend(
                        ["-1", "1.5", "x", "", "99999999999999999999"]
                            .map(|it| format!("{name}={it}")),
                    );
                }
                if name == "limit" {
                    bad.extend(["501", "0", "1e2", "%00"].map(|it| format!("{name}={it}")));
                    bad.push("limit=1&limit=1".to_owned());
                    let most = format!("{path}?limit=500");
                    app.send(&app.token, Method::GET, &most, None).await?.expect(200)?;
                }
                if schema["type"] == "boolean" {
                    bad.push(format!("{name}=maybe"));
                }
                if name == "after" {
                    bad.extend(["%F0%9F", "x", "W10", "%00"].map(|it| format!("after={it}")));
                }
            }
            // Those that take none at all ignore them.
            if !route.parameters.is_empty() {
                bad.push("colour=red".to_owned());
            }
            for parameter in bad {
                let path = format!("{path}?{parameter}");
                let told = app.send(&app.token, Method::GET, &path, None).await?;
                told.problem(400).context(path)?;
            }
        }
        // Commands: how long to wait, and nothing else; and only for who may command.
        for (route, path) in with_body(&tenants)? {
            for (parameter, pointer) in [
                ("wait=31", "?wait"),
                ("wait=-1", "?wait"),
                ("wait=soon", "?wait"),
                ("wait=", "?wait"),
                ("wait=1&wait=2", "?"),
                ("colour=red", "?"),
            ] {
                let path = format!("{path}?{parameter}");
                let told = send_text(app, &route.method, &path, r#"{"nonsense":1}"#).await?;
                let found = faults(&told);
                assert_eq!(found.get(pointer).map(String::as_str), Some("bad_parameter"), "{path}");
                assert!(found.contains_key("/nonsense"), "{path}: {}", told.body);
                told.problem(400).context(path)?;
            }
        }
        let foreign = format!("/api/v2/customers/{NO_ID}/disable?wait=31");
        send_text(app, &Method::POST, &foreign, "{}").await?.problem(404)?;
        let path = format!("/api/v2/users/{}/subscriptions?wait=30", tenants.callers[1].user);
        let mailbox = json!({ "service": "mailbox", "plan": "standard" });
        let told = app.send(&app.token, Method::POST, &path, Some(mailbox.clone())).await?;
        assert_eq!(told.problem(409)?, "not_a_customer");
        let (id, _) = app.user(&tenants.own.customer, "wait@own.test", &[]).await?;
        let path = format!("/api/v2/users/{id}/subscriptions?wait=30");
        let made = app.send(&app.token, Method::POST, &path, Some(mailbox)).await?.expect(201)?;
        assert_eq!(made["status"], "Provisioned");
        tenants.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_its_caller_and_its_request() -> Result<()> {
    for engine in BOTH {
        let tenants = Tenants::new(engine).await?;
        let app = &tenants.app;
        let post = async |token: &str, path: &str, key: &str, body: Value| {
            let request = app.request(token, Method::POST, path).header("idempotency-key", key);
            answer(request.json(&body)).await
        };
        let found = |name: &str| json!({ "name": name });
        let path = "/api/v2/customers";
        let longest = "k".repeat(128);
        let first = post(&app.token, path, &longest, found("One")).await?;
        assert!(!first.headers.contains_key("idempotent-replay"));
        let again = post(&app.token, path, &longest, found("One")).await?;
        assert_eq!(again.headers["idempotent-replay"], "true");
        assert_eq!((again.status, again.body), (first.status, first.body));
        for (other, body) in [(path, found("Two")), ("/api/v2/resellers", found("One"))] {
            let refused = post(&app.token, other, &longest, body).await?;
            assert_eq!(refused.problem(422)?, "idempotency_key_reused");
        }
        // Another caller's key is another key.
        let reseller = &tenants.callers[1].token;
        let theirs = post(reseller, path, &longest, found("One")).await?;
        assert!(!theirs.headers.contains_key("idempotent-replay"));
        theirs.expect(201)?;
        for bad in [&"k".repeat(129), "", " ", "\t"] {
            let refused = post(&app.token, path, bad, found("Three")).await?;
            assert_eq!(refused.problem(400)?, "malformed", "{bad:?}");
        }
        let request = app.request(&app.token, Method::POST, path).json(&found("Four"));
        let key = reqwest::header::HeaderValue::from_bytes(b"k\xff")?;
        let refused = answer(request.header("idempotency-key", key)).await?;
        assert_eq!(refused.problem(400)?, "malformed");
        // What was refused is judged anew.
        let path = format!("/api/v2/customers/{}/subscriptions", tenants.own.customer);
        let wish = json!({ "service": "later", "plan": "one" });
        let refused = post(&app.token, &path, "later", wish.clone()).await?;
        assert_eq!(refused.problem(422)?, "invalid");
        let definition = json!({ "name": "Later", "level": "customer", "instancing": "single",
            "plans": [{ "key": "one", "name": "One", "price": "1.00" }] });
        app.put("/api/v2/services/later/draft", definition).await?;
        app.post("/api/v2/services/later/publish", json!({ "rollOut": true })).await?;
        post(&app.token, &path, "later", wish).await?.expect(201)?;
        tenants.app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_storage_that_does_not_answer_is_told_without_saying_what_it_is() -> Result<()> {
    for engine in BOTH {
        let tenants = Tenants::new(engine).await?;
        let app = &tenants.app;
        let rename = async |from: &str, to: &str| -> Result<()> {
            let mut connection = app.database.writer_connection().await?;
            connection.execute(&format!("alter table {from} rename to {to}"), &[]).await?;
            connection.close().await;
            Ok(())
        };
        // Warm: who calls is known.
        app.get("/api/v2/customers").await?;
        for table in ["view_organization", "event", "view_subscription"] {
            rename(table, "gone").await?;
            let mut told = Vec::new();
            let provision = format!("/api/v2/customers/{}/subscriptions", tenants.own.customer);
            let backup = json!({ "service": "unpriced", "plan": "one", "quantity": 7 });
            for (method, path, body) in [
                (Method::GET, "/api/v2/customers", None),
                (Method::GET, "/api/v2/events", None),
                (Method::GET, &provision, None),
                (Method::GET, "/api/Billing/2019-11-30", None),
                (Method::POST, &provision, Some(backup)),
                (Method::POST, "/api/v2/customers", Some(json!({ "name": "New" }))),
            ] {
                let answer = app.send(&app.token, method, path, body).await?;
                if answer.status.is_server_error() {
                    told.push(answer);
                }
            }
            let query = json!({ "query": "{ customers { totalCount } events { totalCount } \
                subscriptions { totalCount } }" });
            let read = app.send(&app.token, Method::POST, "/graphql", Some(query)).await?;
            assert!(read.body.to_string().contains("\"unavailable\""), "{table}: {}", read.body);
            rename("gone", table).await?;
            ensure!(!told.is_empty(), "nobody needs {table}");
            let texts = told.iter().map(|answer| answer.body.to_string());
            for text in texts.chain([read.body.to_string()]) {
                for secret in ["select", "view_", "table", "relation", "sqlx", "\"event\""] {
                    assert!(!text.to_lowercase().contains(secret), "{text}");
                }
            }
            for answer in told {
                assert!(answer.headers.contains_key("retry-after"), "{table}: {}", answer.body);
                let code = answer.problem(503)?;
                assert!(code == "unavailable" || code == "outcome_unknown", "{table}: {code}");
            }
        }
        app.get("/api/v2/customers").await?;
        app.customer("Well again", None).await?;
        tenants.app.finish().await?;
    }
    Ok(())
}
