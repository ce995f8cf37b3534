//! What customers held at a moment (`asOf`), as it was known at another (`knownAt`); and random histories beside a fold of
//! the feed of events that knows nothing of ours.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use atrium_tests::http::{PASSWORD, TestApp};
use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, Utc};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

/// Plan, quantity and status of what somebody holds.
fn held(list: &Value) -> Vec<(String, u64, String)> {
    let rows = list["data"].as_array().into_iter().flatten();
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or("none").to_owned();
    rows.map(|row| (text(row, "plan"), row["quantity"].as_u64().unwrap_or(0), text(row, "status")))
        .collect()
}

fn one(plan: &str, quantity: u64, status: &str) -> Vec<(String, u64, String)> {
    vec![(plan.to_owned(), quantity, status.to_owned())]
}

async fn post(app: &TestApp, id: &str, verb: &str, sent: Value) -> Result<Value> {
    app.post(&format!("/api/v2/subscriptions/{id}/{verb}"), sent).await
}

async fn provision(app: &TestApp, holder: &str, sent: Value) -> Result<String> {
    let made = app.post(&format!("/api/v2/{holder}/subscriptions"), sent).await?;
    Ok(made["id"].as_str().context("an id")?.to_owned())
}

#[tokio::test]
async fn what_a_customer_held_at_a_moment_is_shown_as_it_was_and_nothing_of_now() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2020-01-01T00:00:00Z").await?;
        app.publish("backup").await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let sent = json!({ "service": "backup", "plan": "BU001", "effectiveAt": "2020-01-05" });
        let id = provision(&app, &format!("customers/{customer}"), sent).await?;
        let sent = json!({ "plan": "BU010", "quantity": 3, "effectiveAt": "2020-01-16" });
        post(&app, &id, "change", sent).await?;
        app.turn("2020-01-20T08:00:00Z").await?;
        post(&app, &id, "suspend", json!({})).await?;
        app.turn("2020-01-25T08:00:00Z").await?;
        post(&app, &id, "resume", json!({})).await?;
        // To come, and known from now on.
        post(&app, &id, "deprovision", json!({ "effectiveAt": "2020-02-10" })).await?;
        let list = format!("/api/v2/customers/{customer}/subscriptions");
        let then = async |parameters: &str| app.get(&format!("{list}?{parameters}")).await;
        for (parameters, expected) in [
            ("asOf=2020-01-04", vec![]),
            ("asOf=2020-01-05", one("BU001", 1, "Provisioned")),
            ("asOf=2020-01-15", one("BU001", 1, "Provisioned")),
            ("asOf=2020-01-16", one("BU010", 3, "Provisioned")),
            ("asOf=2020-01-16T01:00:00%2B01:00", one("BU010", 3, "Provisioned")),
            ("asOf=2020-01-15T23:59:59.999999Z", one("BU001", 1, "Provisioned")),
            ("asOf=2020-01-20T07:59:59Z", one("BU010", 3, "Provisioned")),
            ("asOf=2020-01-20T08:00:00Z", one("BU010", 3, "Suspended")),
            ("asOf=2020-01-25T08:00:00Z", one("BU010", 3, "Provisioned")),
            ("asOf=2020-02-09", one("BU010", 3, "Provisioned")),
            ("asOf=2020-02-10", vec![]),
            ("asOf=2020-02-10&knownAt=2020-01-24T00:00:00Z", one("BU010", 3, "Suspended")),
            ("asOf=2020-01-22&knownAt=2020-01-19T00:00:00Z", one("BU010", 3, "Provisioned")),
            ("knownAt=2020-01-24T00:00:00Z", one("BU010", 3, "Suspended")),
            ("knownAt=1&asOf=2020-01-16", vec![]),
        ] {
            assert_eq!(held(&then(parameters).await?), expected, "{parameters}");
        }
        // Taken away earlier, and told on 5 March.
        app.turn("2020-03-05T08:00:00Z").await?;
        let sent = json!({ "service": "backup", "plan": "BU001", "effectiveAt": "2020-02-15" });
        provision(&app, &format!("customers/{customer}"), sent).await?;
        post(&app, &id, "deprovision", json!({ "effectiveAt": "2020-02-20", "reason": "late" }))
            .await?;
        let before = "knownAt=2020-03-05T07:59:59Z";
        assert_eq!(held(&then("asOf=2020-02-17").await?), one("BU001", 1, "Provisioned"));
        assert_eq!(held(&then(&format!("asOf=2020-02-17&{before}")).await?), []);
        assert_eq!(held(&then("asOf=2020-02-12").await?), [], "between two times of holding it");

        // One by itself, also where it was not held.
        let path = format!("/api/v2/subscriptions/{id}");
        let then = format!("{path}?asOf=2020-01-18");
        let shown = app.send(&app.token, Method::GET, &then, None).await?;
        assert!(shown.headers.get("etag").is_none(), "nothing can be changed in the past");
        let shown = shown.expect(200)?;
        assert_eq!((&shown["plan"], &shown["quantity"]), (&json!("BU010"), &json!(3)));
        assert_eq!(shown["asOf"], "2020-01-18T00:00:00Z");
        for now in ["scheduled", "possibleActions", "approvalPending", "version", "knownAt"] {
            assert!(shown.get(now).is_none(), "{now} is not known of the past: {shown}");
        }
        let request = shown["requestId"].as_str().context("who said so")?;
        let request = app.get(&format!("/api/v2/requests/{request}")).await?;
        assert_eq!(request["ingredients"]["plan"]["key"], "BU010", "{request}");
        let gone = app.get(&format!("{path}?asOf=2020-01-04&knownAt=50")).await?;
        assert_eq!((&gone["status"], &gone["knownAt"]), (&json!("NotProvisioned"), &json!(50)));
        assert_eq!((&gone["plan"], &gone["requestId"]), (&Value::Null, &Value::Null));

        // GraphQL says the same, with the properties of then.
        let query = format!(
            "{{ organization(id: \"{customer}\") {{ subscriptions(asOf: \"2020-01-16\") {{ totalCount nodes {{ \
               uuid planKey plan {{ key }} quantity status since asOf knownAt version scheduled {{ verb }} \
               possibleActions {{ possible }} approvalPending approval {{ uuid }} request {{ planKey }} \
               properties {{ key value }} effectiveProperties {{ key set {{ value }} }} }} }} }} \
               before: subscriptions(asOf: \"2020-01-05\") {{ nodes {{ planKey properties {{ key value }} }} }} \
               known: subscriptions(asOf: \"2020-01-16\", knownAt: 1) {{ nodes {{ planKey }} }} \
               now: subscriptions {{ totalCount nodes {{ planKey asOf version }} }} }}"
        );
        let answer = app.post("/graphql", json!({ "query": query })).await?;
        let of = &answer["data"]["organization"]["subscriptions"];
        assert_eq!(of["totalCount"], Value::Null, "{answer}");
        let node = &of["nodes"][0];
        assert_eq!((&node["planKey"], &node["quantity"]), (&json!("BU010"), &json!(3)), "{answer}");
        assert_eq!(
            (&node["since"], &node["asOf"]),
            (&json!("2020-01-05T00:00:00+00:00"), &json!("2020-01-16T00:00:00+00:00"))
        );
        assert_eq!(
            (&node["request"]["planKey"], &node["plan"]["key"]),
            (&json!("BU010"), &json!("BU010"))
        );
        for now in ["version", "scheduled", "possibleActions", "approvalPending", "approval"] {
            assert_eq!(node[now], Value::Null, "{now}");
        }
        let storage = |node: &Value| {
            let all = node["properties"].as_array().into_iter().flatten();
            let mut own = all.filter(|it| it["key"] == "Storage").map(|it| it["value"].clone());
            own.next()
        };
        assert_eq!(storage(node), Some(json!("10 TB")));
        assert_eq!(storage(&answer["data"]["before"]["nodes"][0]), Some(json!("1 TB")));
        let effective = node["effectiveProperties"].as_array().context("properties")?;
        let effective = effective.iter().find(|it| it["key"] == "Storage");
        assert!(effective.context("the storage")?.to_string().contains("10 TB"), "{answer}");
        assert_eq!(answer["data"]["known"]["nodes"], json!([]));
        assert_eq!(answer["data"]["now"]["totalCount"], 1);
        assert!(answer["data"]["now"]["nodes"][0]["version"].is_number());
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn who_may_see_a_customer_now_sees_what_it_held_then_and_nobody_else() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-20T09:00:00Z").await?;
        app.publish("backup").await?;
        app.publish("mailbox").await?;
        let sellers = [app.reseller("East").await?, app.reseller("West").await?];
        let (_, east) = app.user(&sellers[0], "eve@east.test", &["Reseller Administrator"]).await?;
        let (_, west) = app.user(&sellers[1], "wim@west.test", &["Reseller Administrator"]).await?;
        let customer = app.customer("Aanimals Inc", Some(&sellers[0])).await?;
        let (ann, _) = app.user(&customer, "ann@aanimals.test", &[]).await?;
        let hold = async |holder: String, service: &str, plan: &str| {
            let sent = json!({ "service": service, "plan": plan, "effectiveAt": "2019-11-01" });
            provision(&app, &holder, sent).await
        };
        let backup = hold(format!("customers/{customer}"), "backup", "BU001").await?;
        hold(format!("users/{ann}"), "mailbox", "standard").await?;
        let sent =
            json!({ "parentId": sellers[1], "effectiveFrom": "2019-11-16", "reason": "Sold" });
        app.post(&format!("/api/v2/customers/{customer}/move"), sent).await?;
        let ann_herself = app.sign_in("ann@aanimals.test", PASSWORD).await?;
        for path in [
            format!("/api/v2/customers/{customer}/subscriptions?asOf=2019-11-10"),
            format!("/api/v2/users/{ann}/subscriptions?asOf=2019-11-10"),
            format!("/api/v2/subscriptions/{backup}?asOf=2019-11-10"),
        ] {
            let see = async |token: &str| app.send(token, Method::GET, &path, None).await;
            assert_eq!(see(&east).await?.problem(404)?, "not_found", "{path}");
            let shown = see(&west).await?.expect(200)?;
            let row = if shown["data"].is_array() { &shown["data"][0] } else { &shown };
            assert_eq!(row["status"], "Provisioned", "{path}: {shown}");
            let allowed = if path.contains("users") { 200 } else { 403 };
            assert_eq!(see(&ann_herself).await?.status.as_u16(), allowed, "{path}");
            for bad in ["yesterday", "2019-11-31", "7", ""] {
                let wrong = path.replace("2019-11-10", bad);
                let answer = app.send(&west, Method::GET, &wrong, None).await?;
                assert_eq!(answer.body["errors"][0]["pointer"], "?asOf", "{wrong}");
                assert_eq!(answer.problem(400)?, "bad_parameter");
            }
            let wrong = path.replace("asOf=2019-11-10", "knownAt=2019-11-10");
            let answer = app.send(&west, Method::GET, &wrong, None).await?;
            assert_eq!(answer.body["errors"][0]["pointer"], "?knownAt", "{wrong}");
        }
        let query = "{ subscriptions(asOf: \"2019-11-10\") { nodes { planKey } } }";
        for (token, expected) in [(&east, 0), (&west, 2), (&app.token, 2)] {
            let sent = Some(json!({ "query": query }));
            let answer = app.send(token, Method::POST, "/graphql", sent).await?.expect(200)?;
            let nodes = answer["data"]["subscriptions"]["nodes"].as_array().context("nodes")?;
            assert_eq!(nodes.len(), expected, "{answer}");
        }
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_date_begins_where_the_seller_is() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2020-01-01T00:00:00Z").await?;
        app.publish("backup").await?;
        let seller = app.reseller("Far").await?;
        let path = format!("/api/v2/organizations/{seller}/billing-settings");
        app.put(&path, json!({ "timeZone": "Pacific/Auckland" })).await?;
        let customer = app.customer("Kiwi", Some(&seller)).await?;
        let sent = json!({ "service": "backup", "plan": "BU001", "effectiveAt": "2020-01-05" });
        provision(&app, &format!("customers/{customer}"), sent).await?;
        let list = format!("/api/v2/customers/{customer}/subscriptions");
        for (as_of, expected) in [
            ("2020-01-05", 1),
            ("2020-01-04T11:00:00Z", 1),
            ("2020-01-04T10:59:59Z", 0),
            ("2020-01-04", 0),
        ] {
            let found = held(&app.get(&format!("{list}?asOf={as_of}")).await?);
            assert_eq!(found.len(), expected, "{as_of}");
            let query = format!(
                "{{ organization(id: \"{customer}\") {{ subscriptions(asOf: \"{as_of}\") {{ nodes {{ id }} }} }} \
                   subscriptions(asOf: \"{as_of}\", filter: {{ customerId: \"{customer}\" }}) {{ nodes {{ id }} }} }}"
            );
            let answer = app.post("/graphql", json!({ "query": query })).await?;
            for place in ["/data/organization/subscriptions/nodes", "/data/subscriptions/nodes"] {
                let nodes = answer.pointer(place).and_then(Value::as_array).context("nodes")?;
                assert_eq!(nodes.len(), expected, "{as_of}");
            }
            let bill = format!("/api/Billing/2020-01-31/detail?sellerId={seller}&asOf={as_of}");
            assert_eq!(app.get(&bill).await?["data"].as_array().map(Vec::len), Some(expected));
        }
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn pages_of_what_was_held_then_leave_nothing_out_and_say_nothing_twice() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2020-01-01T00:00:00Z").await?;
        let definition = json!({
            "name": "CRM", "level": "customer", "instancing": "multi",
            "plans": [{ "key": "team", "name": "Team", "price": "40.00" }],
        });
        app.put("/api/v2/services/crm/draft", definition).await?;
        app.post("/api/v2/services/crm/publish", json!({ "rollOut": true })).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let mut expected = Vec::new();
        for number in 0..23 {
            let instance = format!("i{number:02}");
            let is_held = number % 3 == 1;
            // Some end before, some begin after, some are held between two other times.
            let spans: &[(&str, Option<&str>)] = match number % 3 {
                0 => &[("2020-01-02", Some("2020-01-05"))],
                1 => &[("2020-01-02", Some("2020-02-01"))],
                _ => &[("2020-01-02", Some("2020-01-05")), ("2020-01-20", None)],
            };
            for (from, until) in spans {
                let sent = json!({ "service": "crm", "plan": "team", "instance": instance, "effectiveAt": from });
                let id = provision(&app, &format!("customers/{customer}"), sent).await?;
                if let Some(until) = until {
                    post(&app, &id, "deprovision", json!({ "effectiveAt": until })).await?;
                }
            }
            if is_held {
                expected.push(instance);
            }
        }
        app.turn("2020-03-01T08:00:00Z").await?;
        for known in ["", "&knownAt=100000"] {
            for limit in [1, 2, 7, 8, 500] {
                let mut found = Vec::new();
                let mut after = String::new();
                loop {
                    let list = format!("/api/v2/customers/{customer}/subscriptions");
                    let path = format!("{list}?asOf=2020-01-10&limit={limit}{known}{after}");
                    let page = app.get(&path).await?;
                    let rows = page["data"].as_array().context("rows")?;
                    ensure!(rows.len() <= limit, "{page}");
                    let names = rows.iter().filter_map(|row| row["instance"].as_str());
                    found.extend(names.map(str::to_owned));
                    let Some(next) = page["next"].as_str() else { break };
                    ensure!(rows.len() == limit, "only the last page is short: {page}");
                    after = format!("&after={next}");
                }
                assert_eq!(found, expected, "{limit} at a time");
            }
        }
        // From both ends in GraphQL, of the customer and of all.
        for (whose, pointer) in [
            (
                format!("organization(id: \"{customer}\") {{ all: subscriptions("),
                "/data/organization/all",
            ),
            ("all: subscriptions(".to_owned(), "/data/all"),
        ] {
            for is_first in [true, false] {
                let mut found = Vec::new();
                let mut behind = String::new();
                loop {
                    let size = if is_first { "first" } else { "last" };
                    let end = if whose.contains('{') { "}" } else { "" };
                    let query = format!(
                        "{{ {whose}asOf: \"2020-01-10\", {size}: 3{behind}) {{ nodes {{ instance }} pageInfo {{ \
                           startCursor endCursor hasNextPage hasPreviousPage }} }} {end} }}"
                    );
                    let answer = app.post("/graphql", json!({ "query": query })).await?;
                    let page = answer.pointer(pointer).with_context(|| answer.to_string())?;
                    let nodes = page["nodes"].as_array().with_context(|| answer.to_string())?;
                    let names = nodes.iter().filter_map(|node| node["instance"].as_str());
                    let names: Vec<_> = names.map(str::to_owned).collect();
                    let info = &page["pageInfo"];
                    if is_first {
                        found.extend(names);
                        behind = format!(", after: {}", info["endCursor"]);
                    } else {
                        found.splice(0..0, names);
                        behind = format!(", before: {}", info["startCursor"]);
                    }
                    let more = if is_first { "hasNextPage" } else { "hasPreviousPage" };
                    if info[more] != true {
                        break;
                    }
                }
                assert_eq!(found, expected, "{pointer}");
            }
        }
        app.finish().await?;
    }
    Ok(())
}

/// A fact as the feed tells it, of one subscription.
#[derive(Clone, Debug)]
struct Told {
    at: DateTime<Utc>,
    position: u64,
    request: String,
    what: What,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Held(String, u64),
    Changed(String, u64),
    Gone,
    Rests(bool),
}

/// What the feed tells of each subscription, up to a position and by a moment, in business order.
fn told(
    events: &[Value],
    as_of: DateTime<Utc>,
    known_at: u64,
) -> Result<BTreeMap<String, Vec<Told>>> {
    let mut all = BTreeMap::<String, Vec<Told>>::new();
    for event in events {
        let position: u64 = event["id"].as_str().context("a position")?.parse()?;
        let Some(id) = event["subject"].as_str().and_then(|it| it.strip_prefix("subscription-"))
        else {
            continue;
        };
        if position > known_at {
            continue;
        }
        let kind = event["type"].as_str().context("a kind")?;
        let data = &event["data"];
        let request = data["request"].as_str().unwrap_or_default().to_owned();
        let own = all.entry(id.to_owned()).or_default();
        let plan = || data["plan"].as_str().unwrap_or_default().to_owned();
        let quantity = data["quantity"].as_u64().unwrap_or(0);
        let what = match kind {
            "subscription.provisioned" => What::Held(plan(), quantity),
            "subscription.changed" => What::Changed(plan(), quantity),
            "subscription.deprovision_requested" => What::Gone,
            "subscription.suspended" => What::Rests(true),
            "subscription.resumed" => What::Rests(false),
            "subscription.request_cancelled" => {
                own.retain(|it| it.request != request);
                continue;
            }
            _ => continue,
        };
        let at = event["effectiveat"].as_str().context("a moment")?.parse()?;
        own.push(Told { at, position, request, what });
    }
    for own in all.values_mut() {
        own.retain(|it| it.at <= as_of);
        own.sort_by_key(|it| (it.at, it.position));
    }
    Ok(all)
}

/// What is held at a moment, and whether it rests.
fn state(told: &[Told], moment: DateTime<Utc>) -> Option<(String, u64, bool)> {
    let mut held: Option<(String, u64, bool)> = None;
    for it in told.iter().filter(|it| it.at <= moment) {
        held = match (&it.what, held) {
            (What::Held(plan, quantity) | What::Changed(plan, quantity), Some((.., rests))) => {
                Some((plan.clone(), *quantity, rests))
            }
            (What::Held(plan, quantity), None) => Some((plan.clone(), *quantity, false)),
            (What::Changed(..) | What::Gone | What::Rests(_), None) | (What::Gone, Some(_)) => None,
            (What::Rests(rests), Some((plan, quantity, _))) => Some((plan, quantity, *rests)),
        };
    }
    held
}

/// What a month comes to in cents, day by day.
fn month(told: &BTreeMap<String, Vec<Told>>, first: NaiveDate) -> u64 {
    let dates: Vec<_> =
        first.iter_days().take_while(|date| date.month() == first.month()).collect();
    let of_one = |told: &Vec<Told>| {
        let days = dates.iter().filter_map(|date| {
            let (plan, quantity, _) = state(told, date.and_time(NaiveTime::MIN).and_utc())?;
            let price = if plan == "BU001" { 10_000 } else { 18_000 };
            Some(price * quantity)
        });
        let (sum, length) = (days.sum::<u64>(), dates.len() as u64);
        (2 * sum + length) / (2 * length)
    };
    told.values().map(of_one).sum()
}

#[tokio::test]
async fn random_histories_at_random_moments_are_what_a_fold_of_the_feed_says() -> Result<()> {
    for (engine, seed) in [(BOTH[0], 1), (BOTH[0], 2), (BOTH[1], 3)] {
        let mut rng = StdRng::seed_from_u64(seed);
        let app = TestApp::new(engine, "2020-01-01T08:00:00Z").await?;
        app.publish("backup").await?;
        let mut customers = Vec::new();
        for name in ["Aanimals Inc", "Bats", "Cats"] {
            customers.push(app.customer(name, None).await?);
        }
        let start: NaiveDate = "2020-01-01".parse()?;
        let mut today = start;
        let mut ids = BTreeMap::<String, String>::new();
        // At one midnight one thing happens to a subscription: then each day has one state.
        let mut used = BTreeSet::new();
        let (mut done, mut refused) = (0, 0);
        for _ in 0..60 {
            if rng.random_bool(0.5) {
                today = today + Days::new(rng.random_range(1..5));
                app.turn(&format!("{today}T08:00:00Z")).await?;
            }
            let customer = customers.choose(&mut rng).context("one")?.clone();
            let shift = rng.random_range(-25..15);
            let date = start.max(today + chrono::TimeDelta::days(shift));
            if !used.insert((customer.clone(), date)) {
                continue;
            }
            let plan = *["BU001", "BU010"].choose(&mut rng).context("one")?;
            let quantity = rng.random_range(1..4);
            let known = ids.get(&customer);
            let (verb, sent) = match (known, rng.random_range(0..8)) {
                (None, _) | (_, 0..2) => (
                    "provision",
                    json!({ "service": "backup", "plan": plan, "quantity": quantity, "effectiveAt": date, "reason": "r" }),
                ),
                (_, 2..4) => (
                    "change",
                    json!({ "plan": plan, "quantity": quantity, "effectiveAt": date, "reason": "r" }),
                ),
                (_, 4) => ("suspend", json!({ "reason": "r" })),
                (_, 5) => ("resume", json!({ "reason": "r" })),
                (_, 6) => ("cancel", json!({ "reason": "r" })),
                _ => ("deprovision", json!({ "effectiveAt": date, "reason": "r" })),
            };
            let path = match (verb, known) {
                ("provision", _) | (_, None) => {
                    format!("/api/v2/customers/{customer}/subscriptions")
                }
                (verb, Some(id)) => format!("/api/v2/subscriptions/{id}/{verb}"),
            };
            let answer = app.send(&app.token, Method::POST, &path, Some(sent)).await?;
            ensure!(answer.status.as_u16() < 500, "{}", answer.body);
            if answer.status.is_success() {
                done += 1;
                if let Some(id) = answer.body["id"].as_str() {
                    ids.insert(customer.clone(), id.to_owned());
                }
            } else {
                refused += 1;
            }
        }
        ensure!(done >= 15, "{done} done, {refused} refused");
        let mut events = Vec::new();
        loop {
            let after =
                events.last().map_or("0", |last: &Value| last["id"].as_str().unwrap_or("0"));
            let page = app.get(&format!("/api/v2/events?limit=500&after={after}")).await?;
            let page = page["data"].as_array().context("events")?;
            if page.is_empty() {
                break;
            }
            events.extend(page.iter().cloned());
        }
        let head: u64 = events.last().context("events")?["id"].as_str().context("id")?.parse()?;
        let mut seen = BTreeSet::new();
        for _ in 0..40 {
            let day = start
                + Days::new(rng.random_range(0..u64::try_from((today - start).num_days())? + 20));
            let as_of: DateTime<Utc> =
                format!("{day}T{:02}:00:00Z", rng.random_range(0..24)).parse()?;
            let known_at = if rng.random_bool(0.3) { head } else { rng.random_range(1..=head) };
            let parameters =
                format!("asOf={}&knownAt={known_at}", as_of.format("%Y-%m-%dT%H:%M:%SZ"));
            let known = told(&events, as_of, known_at)?;
            for customer in &customers {
                let list = format!("/api/v2/customers/{customer}/subscriptions?{parameters}");
                let found = held(&app.get(&list).await?);
                let own = ids.get(customer).and_then(|id| state(known.get(id)?, as_of));
                let own = own.map(|(plan, quantity, rests)| {
                    (plan, quantity, if rests { "Suspended" } else { "Provisioned" }.to_owned())
                });
                let own: Vec<_> = own.into_iter().collect();
                assert_eq!(found, own, "seed {seed}, {customer}, {parameters}");
                seen.extend(found);
            }
            let first = NaiveDate::from_ymd_opt(2020, rng.random_range(1..=today.month()), 1)
                .context("a month")?;
            let end = first + chrono::Months::new(1) - Days::new(1);
            let bill = app.get(&format!("/api/Billing/{end}/detail?{parameters}")).await?;
            let rows = bill["data"].as_array().context("rows")?.iter();
            let cents =
                rows.filter_map(|row| row["amount"].as_str()?.replace('.', "").parse::<u64>().ok());
            assert_eq!(
                cents.sum::<u64>(),
                month(&known, first),
                "seed {seed}, {end}, {parameters}"
            );
            // As of the end of time, with all that is known, it is the bill.
            let path = format!("/api/Billing/{end}/detail");
            let all = format!("{path}?asOf=9999-12-31T23:59:59Z&knownAt={head}");
            assert_eq!(app.get(&all).await?, app.get(&path).await?, "seed {seed}, {end}");
        }
        ensure!(seen.len() >= 4, "too much alike: {seen:?}");
        app.finish().await?;
    }
    Ok(())
}
