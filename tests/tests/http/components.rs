//! What plans cost beside their own prices (billing.md, section 4, Components), to the cent, as facts arrive over HTTP.

use anyhow::{Context, Result};
use atrium_tests::http::TestApp;
use reqwest::Method;
use serde_json::{Value, json};

use super::bills::lines;
use crate::BOTH;

/// Drafts and publishes a service for customers who can have many of it.
async fn sell(app: &TestApp, plans: Value) -> Result<()> {
    let document =
        json!({ "name": "Desk", "level": "customer", "instancing": "multi", "plans": plans });
    app.put("/api/v2/services/desk/draft", document).await?;
    let rolled_out = Some(json!({ "rollOut": true }));
    let path = "/api/v2/services/desk/publish";
    app.send(&app.token, Method::POST, path, rolled_out).await?.expect(200)?;
    Ok(())
}

fn plan(key: &str, price: Option<&str>, components: Value) -> Value {
    json!({ "key": key, "name": key, "price": price, "components": components })
}

fn yearly(price: &str, timing: &str) -> Value {
    json!([{
        "key": "year", "name": "A year", "kind": "recurring", "interval": "year", "timing": timing,
        "price": price,
    }])
}

/// Has somebody hold the desk; gives the subscription's id.
async fn provision(app: &TestApp, customer: &str, plan: &str, quantity: u32) -> Result<String> {
    let sent = json!({ "service": "desk", "plan": plan, "instance": plan, "quantity": quantity });
    let made = app.post(&format!("/api/v2/customers/{customer}/subscriptions"), sent).await?;
    Ok(made["id"].as_str().context("an id")?.to_owned())
}

/// Component, action and amount of each line of a period.
async fn bill(app: &TestApp, end_date: &str) -> Result<Vec<(String, String, String)>> {
    let lines = lines(app, end_date, ["component", "action", "amount"]).await?;
    Ok(lines.into_iter().map(Into::into).collect())
}

fn line(component: &str, action: &str, amount: &str) -> (String, String, String) {
    (component.to_owned(), action.to_owned(), amount.to_owned())
}

#[tokio::test]
async fn case_6c_a_year_paid_in_advance_is_given_back_from_the_day_it_is_cancelled() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2020-01-01T00:00:00Z").await?;
        let plans = json!([
            plan("advance", None, yearly("1200.00", "advance")),
            plan("arrears", None, yearly("1200.00", "arrears")),
            plan("double", None, yearly("2400.00", "advance")),
        ]);
        sell(&app, plans).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let cancelled = provision(&app, &customer, "advance", 1).await?;
        assert_eq!(
            bill(&app, "2020-01-31").await?,
            [line("recurring", "Added", "0.00"), line("year", "Added", "1200.00")]
        );
        let detail = app.get("/api/Billing/2020-01-31/detail").await?;
        let (base, year) = (&detail["data"][0], &detail["data"][1]);
        assert_eq!((&year["days"], &year["periodDays"]), (&json!(366), &json!(366)));
        assert_eq!((&year["kind"], &year["unitPrice"]), (&json!("recurring"), &json!("1200.00")));
        let described = base["lineDescription"].as_str().context("a description")?;
        assert_eq!(year["lineDescription"], format!("{described}: A year"));
        app.ambient.set("2020-03-01T00:00:00Z");
        app.post(&format!("/api/v2/subscriptions/{cancelled}/deprovision"), json!({})).await?;
        assert_eq!(bill(&app, "2020-02-29").await?, [line("recurring", "Carried", "0.00")]);
        let march = [line("recurring", "Removed", "0.00"), line("year", "Removed", "-1003.28")];
        assert_eq!(bill(&app, "2020-03-31").await?, march);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_rest_of_a_term_is_exchanged_with_the_plan_and_follows_to_another_seller() -> Result<()>
{
    for engine in BOTH {
        let app = TestApp::new(engine, "2020-01-01T00:00:00Z").await?;
        let setup = json!({ "key": "setup", "kind": "oneOff", "price": "50.00" });
        let mut plans = [("a", "1200.00"), ("b", "2400.00")].map(|(key, price)| {
            let mut components = yearly(price, "advance");
            components.as_array_mut().expect("a list").push(setup.clone());
            plan(key, None, components)
        });
        sell(&app, json!(plans)).await?;
        let seller = app.reseller("Contoso").await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let id = provision(&app, &customer, "a", 2).await?;
        // A set-up fee is for each subscription, a year for each unit.
        let january = [
            line("recurring", "Added", "0.00"),
            line("setup", "Added", "50.00"),
            line("year", "Added", "2400.00"),
        ];
        assert_eq!(bill(&app, "2020-01-31").await?, january);
        app.ambient.set("2020-03-01T00:00:00Z");
        let changed = json!({ "plan": "b", "quantity": 1 });
        app.post(&format!("/api/v2/subscriptions/{id}/change"), changed).await?;
        // The same for the rest of the year; nothing is set up.
        let march = [
            line("recurring", "Changed", "0.00"),
            line("recurring", "Changed", "0.00"),
            line("year", "Changed", "-2006.56"),
            line("year", "Changed", "2006.56"),
        ];
        assert_eq!(bill(&app, "2020-03-31").await?, march);

        app.ambient.set("2020-05-01T00:00:00Z");
        let moved = json!({ "parentId": seller, "effectiveFrom": "2020-05-01", "reason": "Sold" });
        let path = format!("/api/v2/customers/{customer}/move");
        app.send(&app.token, Method::POST, &path, Some(moved)).await?.expect(200)?;
        // What the one has not delivered is the other's, whose year begins with him.
        let may = [
            line("recurring", "Removed", "0.00"),
            line("year", "Removed", "-1606.56"),
            line("recurring", "Added", "0.00"),
            line("year", "Added", "2400.00"),
        ];
        assert_eq!(bill(&app, "2020-05-31").await?, may);

        // Another price list changes the rest of the year from its day on.
        app.ambient.set("2020-06-01T00:00:00Z");
        plans[1]["components"] = yearly("1200.00", "advance");
        sell(&app, json!(plans)).await?;
        let june = bill(&app, "2020-06-30").await?;
        assert_eq!(
            june[1..],
            [line("year", "Changed", "-2196.16"), line("year", "Changed", "1098.08")]
        );
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_10d_and_12a_seats_by_tiers_and_a_fee_that_is_charged_once() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-10-01T00:00:00Z").await?;
        let tiers = json!([{ "above": 0, "price": "5.00" }, { "above": "14", "price": "4.00" }]);
        let seats =
            json!([{ "key": "seats", "kind": "recurring", "rate": "volume", "tiers": tiers }]);
        let setup = json!([{ "key": "setup", "kind": "oneOff", "price": "50.00" }]);
        sell(&app, json!([plan("seats", None, seats), plan("BU001", Some("100.00"), setup)]))
            .await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let backup = provision(&app, &customer, "BU001", 1).await?;
        let october = [line("recurring", "Added", "100.00"), line("setup", "Added", "50.00")];
        assert_eq!(bill(&app, "2019-10-31").await?, october);
        let id = provision(&app, &customer, "seats", 12).await?;
        app.ambient.set("2019-11-10T10:00:00Z");
        app.post(&format!("/api/v2/subscriptions/{backup}/deprovision"), json!({})).await?;
        app.ambient.set("2019-11-10T15:00:00Z");
        provision(&app, &customer, "BU001", 1).await?;
        app.ambient.set("2019-11-16T10:00:00Z");
        app.post(&format!("/api/v2/subscriptions/{id}/change"), json!({ "quantity": 15 })).await?;
        let november = [
            line("recurring", "Removed", "30.00"),
            line("recurring", "Added", "70.00"),
            line("recurring", "Changed", "0.00"),
            line("recurring", "Changed", "0.00"),
            line("seats", "Changed", "30.00"),
            line("seats", "Changed", "30.00"),
        ];
        assert_eq!(bill(&app, "2019-11-30").await?, november);

        // In December a discount on the seats, and none on the rest.
        let sent = json!({
            "service": "desk", "component": "seats", "percent": "-50", "effectiveFrom": "2019-12-01",
            "reason": "Many",
        });
        app.put(&format!("/api/v2/organizations/{customer}/prices"), sent).await?;
        app.ambient.set("2019-12-02T10:00:00Z");
        let december = [
            line("recurring", "Carried", "100.00"),
            line("recurring", "Carried", "0.00"),
            line("seats", "Changed", "30.00"),
        ];
        assert_eq!(bill(&app, "2019-12-31").await?, december);
        let path = format!("/api/v2/organizations/{customer}/overrides-in-force");
        let report = app.get(&path).await?;
        let row = &report["data"][0];
        assert_eq!((&row["component"], &row["monthlyEffect"]), (&json!("seats"), &json!("-30.00")));
        assert_eq!((&row["without"], &row["subscriptions"]), (&Value::Null, &json!(1)));
        let query = "{ overrides { nodes { component percent } } services { nodes { plans { \
            key components { key name kind interval timing rate price { amount } packageSize \
            tiers { above price { amount } } } } } } \
            ledgerEntries(endDate: \"2019-12-31\") { nodes { component kind } } }";
        let told = app.post("/graphql", json!({ "query": query })).await?;
        let override_ = &told["data"]["overrides"]["nodes"][0];
        assert_eq!(*override_, json!({ "component": "seats", "percent": "-50" }));
        let plans = &told["data"]["services"]["nodes"][0]["plans"];
        let tier =
            |above: &str, price: &str| json!({ "above": above, "price": { "amount": price } });
        assert_eq!(
            plans[0]["components"],
            json!([{
                "key": "seats", "name": "seats", "kind": "RECURRING", "interval": "MONTH",
                "timing": "ARREARS", "rate": "VOLUME", "price": null, "packageSize": null,
                "tiers": [tier("0", "5.00"), tier("14", "4.00")],
            }])
        );
        assert_eq!(plans[1]["components"][0]["kind"], "ONE_OFF");
        let entry = &told["data"]["ledgerEntries"]["nodes"][2];
        assert_eq!(*entry, json!({ "component": "seats", "kind": "RECURRING" }));
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_component_is_told_at_once() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2020-01-01T00:00:00Z").await?;
        let components = json!([
            { "key": "no key", "kind": "oneOff", "price": "1.00" },
            { "key": "a", "kind": "oneOff", "price": "1.001", "interval": "year" },
            { "key": "b", "kind": "recurring" },
            { "key": "c", "kind": "recurring", "rate": "volume", "price": "1.00",
              "tiers": [{ "above": "-1", "price": "1.00" }] },
            { "key": "d", "kind": "recurring", "rate": "package", "price": "1.00" },
        ]);
        let document = |components: &Value| {
            json!({
                "name": "Desk", "level": "customer", "instancing": "single",
                "plans": [plan("a", None, components.clone())],
            })
        };
        let path = "/api/v2/services/desk/draft";
        let refused = app.send(&app.token, Method::PUT, path, Some(document(&components))).await?;
        assert_eq!(refused.status, 422, "{}", refused.body);
        let at = "/plans/0/components";
        let told: Vec<_> = refused.body["errors"]
            .as_array()
            .context("faults")?
            .iter()
            .map(|it| (it["pointer"].clone(), it["code"].clone()))
            .collect();
        let expected = [
            ("0/key", "not_a_key"),
            ("0/name", ""),
            ("1/interval", "other_kind"),
            ("1/price", "amount_too_precise"),
            ("2/price", "missing"),
            ("3/price", "other_kind"),
            ("3/tiers/0/above", "not_a_number"),
            ("4/packageSize", "missing"),
        ];
        let expected: Vec<_> = expected
            .iter()
            .filter(|(_, code)| !code.is_empty())
            .map(|(pointer, code)| (json!(format!("{at}/{pointer}")), json!(code)))
            .collect();
        assert_eq!(told, expected);

        // What is well formed may still be no price.
        let components = json!([
            { "key": "recurring", "kind": "oneOff", "price": "-1.00" },
            { "key": "a", "kind": "recurring", "rate": "graduated",
              "tiers": [{ "above": 1, "price": "1.00" }] },
            { "key": "a", "kind": "recurring", "rate": "package", "packageSize": 0, "price": "1.00" },
        ]);
        app.put(path, document(&components)).await?;
        let publish = "/api/v2/services/desk/publish";
        let refused = app.send(&app.token, Method::POST, publish, Some(json!({}))).await?;
        assert_eq!(refused.status, 422, "{}", refused.body);
        let told: Vec<_> = refused.body["errors"]
            .as_array()
            .context("faults")?
            .iter()
            .map(|it| (it["pointer"].clone(), it["code"].clone()))
            .collect();
        let expected = [
            ("0/key", "reserved"),
            ("0/price", "negative"),
            ("1/tiers", "bad_tiers"),
            ("2/key", "duplicate"),
            ("2/packageSize", "out_of_range"),
        ];
        let expected =
            expected.map(|(pointer, code)| (json!(format!("{at}/{pointer}")), json!(code)));
        assert_eq!(told, expected);

        sell(&app, json!([plan("a", Some("1.00"), json!([]))])).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let sent =
            json!({ "service": "desk", "component": "seats", "percent": "-50", "reason": "x" });
        let path = format!("/api/v2/organizations/{customer}/prices");
        let refused = app.send(&app.token, Method::PUT, &path, Some(sent)).await?;
        assert_eq!(refused.status, 422);
        assert_eq!(refused.body["errors"][0]["code"], "unknown_component");
        app.finish().await?;
    }
    Ok(())
}

/// A service whose storage drives a price, above what each plan includes.
fn vault(extra: &str) -> Value {
    let storage = |included: &str| {
        json!([{
            "key": "storage", "name": "More storage", "kind": "property", "property": "Storage",
            "unit": "TB", "included": included, "price": extra,
        }])
    };
    let plan = |key: &str, price: &str, storage_of: &str, components: Value| {
        json!({
            "key": key, "name": key, "price": price, "components": components,
            "suspended": "free", "properties": { "Storage": storage_of },
        })
    };
    json!({
        "name": "Vault", "level": "customer", "instancing": "single",
        "properties": [
            { "key": "Storage", "type": "quantity", "priced": true },
            { "key": "Users", "scope": "customer", "kind": "input", "type": "integer", "min": 0,
              "priced": true },
            { "key": "Support" , "default": "mail" },
        ],
        "plans": [
            plan("small", "100.00", "1 TB", storage("1")),
            plan("large", "180.00", "2 TB", storage("2")),
            plan("crowd", "0.00", "1 TB", json!([{
                "key": "users", "kind": "property", "property": "Users", "rate": "graduated",
                "tiers": [{ "above": 0, "price": "3.00" }, { "above": 10, "price": "2.00" }],
            }])),
        ],
    })
}

async fn publish_vault(app: &TestApp, extra: &str) -> Result<()> {
    app.put("/api/v2/services/vault/draft", vault(extra)).await?;
    let path = "/api/v2/services/vault/publish";
    let rolled_out = Some(json!({ "rollOut": true }));
    app.send(&app.token, Method::POST, path, rolled_out).await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn case_4b_what_a_property_is_above_what_is_included_is_charged() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-12-01T00:00:00Z").await?;
        publish_vault(&app, "12.00").await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let sent = json!({ "service": "vault", "plan": "small" });
        let subscriptions = format!("/api/v2/customers/{customer}/subscriptions");
        let made = app.post(&subscriptions, sent).await?;
        let id = made["id"].as_str().context("an id")?.to_owned();
        assert_eq!(bill(&app, "2019-12-31").await?, [line("recurring", "Added", "100.00")]);

        app.ambient.set("2020-01-16T09:00:00Z");
        let overrides = format!("/api/v2/organizations/{customer}/overrides/vault");
        let more = json!({
            "property": "Storage", "value": "3 TB", "effectiveFrom": "2020-01-16", "reason": "Grows",
        });
        app.put(&overrides, more).await?;
        // One that drives no price is a line of nothing, as ever.
        let support = json!({ "property": "Support", "value": "phone", "apply": "later", "reason": "Goodwill" });
        app.put(&overrides, support).await?;
        let january = [
            line("recurring", "Carried", "100.00"),
            line("recurring", "Changed", "0.00"),
            line("storage", "Changed", "12.39"),
        ];
        assert_eq!(bill(&app, "2020-01-31").await?, january);
        let detail = app.get("/api/Billing/2020-01-31/detail").await?;
        let storage = &detail["data"][2];
        assert_eq!((&storage["measured"], &storage["measuredUnit"]), (&json!("2"), &json!("TB")));
        assert_eq!((&storage["days"], &storage["unitPrice"]), (&json!(16), &json!("12.00")));
        let query = "{ ledgerEntries(endDate: \"2020-01-31\", last: 1) { nodes { component measured \
            measuredUnit reason } } services { nodes { plans { suspended components { kind property \
            unit included } } } } }";
        let told = app.post("/graphql", json!({ "query": query })).await?;
        assert_eq!(
            told["data"]["ledgerEntries"]["nodes"][0],
            json!({ "component": "storage", "measured": "2", "measuredUnit": "TB", "reason": "Grows" })
        );
        assert_eq!(
            told["data"]["services"]["nodes"][0]["plans"][1],
            json!({ "suspended": "FREE", "components": [
                { "kind": "PROPERTY", "property": "Storage", "unit": "TB", "included": "2" }
            ] })
        );

        // Another plan includes more. The override is as it was.
        app.ambient.set("2020-02-01T00:00:00Z");
        app.post(&format!("/api/v2/subscriptions/{id}/change"), json!({ "plan": "large" })).await?;
        let february = bill(&app, "2020-02-29").await?;
        assert_eq!(february.last(), Some(&line("storage", "Changed", "12.00")));
        // A discount on it, for this customer.
        let sent = json!({
            "service": "vault", "component": "storage", "price": "10.00",
            "effectiveFrom": "2020-03-01", "reason": "Much of it",
        });
        app.put(&format!("/api/v2/organizations/{customer}/prices"), sent).await?;
        app.ambient.set("2020-03-02T00:00:00Z");
        let march = [line("recurring", "Carried", "180.00"), line("storage", "Changed", "10.00")];
        assert_eq!(bill(&app, "2020-03-31").await?, march);
        // As it was known before.
        let path = "/api/Billing/2020-01-31/detail?knownAt=2020-01-15T00:00:00Z";
        assert_eq!(app.get(path).await?["data"].as_array().map(Vec::len), Some(1));

        // What is filled in drives a price as well.
        let other = app.customer("Abacus", None).await?;
        let sent = json!({ "service": "vault", "plan": "crowd", "quantity": 2, "effectiveAt": "2020-03-01",
            "properties": { "Users": 12 } });
        app.post(&format!("/api/v2/customers/{other}/subscriptions"), sent).await?;
        let march = bill(&app, "2020-03-31").await?;
        // Twice: ten by 3.00 and two by 2.00.
        assert_eq!(march.last(), Some(&line("users", "Added", "68.00")));
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_20_what_is_suspended_is_not_billed_where_the_plan_says_so() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-10-01T00:00:00Z").await?;
        publish_vault(&app, "12.00").await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let sent = json!({ "service": "vault", "plan": "small" });
        let made = app.post(&format!("/api/v2/customers/{customer}/subscriptions"), sent).await?;
        let id = made["id"].as_str().context("an id")?.to_owned();
        let rest = async |verb: &str, at: &str| {
            app.ambient.set(&format!("{at}T09:00:00Z"));
            app.post(&format!("/api/v2/subscriptions/{id}/{verb}"), json!({ "reason": verb })).await
        };
        rest("suspend", "2019-11-11").await?;
        let before = app.database.fetch("select position from head", &[]).await?[0].unsigned(0)?;
        rest("resume", "2019-11-21").await?;
        let november =
            [line("recurring", "Changed", "33.33"), line("recurring", "Changed", "33.34")];
        assert_eq!(bill(&app, "2019-11-30").await?, november);
        let detail = app.get("/api/Billing/2019-11-30/detail").await?;
        assert_eq!(detail["data"][1]["actionedDate"], "2019-11-21T09:00:00Z");
        let path = format!("/api/Billing/2019-11-30/detail?knownAt={before}");
        let known = app.get(&path).await?;
        assert_eq!(
            (&known["data"][0]["amount"], &known["data"][1]),
            (&json!("33.33"), &Value::Null)
        );

        // Taken back before its day, it never was; and more often than documents keep, the log says it.
        app.ambient.set("2019-12-01T00:00:00Z");
        let later = json!({ "effectiveAt": "2019-12-10" });
        app.post(&format!("/api/v2/subscriptions/{id}/suspend"), later).await?;
        assert_eq!(bill(&app, "2019-12-31").await?, [line("recurring", "Changed", "29.03")]);
        app.post(&format!("/api/v2/subscriptions/{id}/cancel"), json!({})).await?;
        assert_eq!(bill(&app, "2019-12-31").await?, [line("recurring", "Carried", "100.00")]);
        for day in 1..=20 {
            rest("suspend", &format!("2020-01-{day:02}")).await?;
            app.ambient.set(&format!("2020-01-{day:02}T20:00:00Z"));
            app.post(&format!("/api/v2/subscriptions/{id}/resume"), json!({})).await?;
        }
        rest("suspend", "2020-01-31").await?;
        let january = bill(&app, "2020-01-31").await?;
        assert_eq!(january, [line("recurring", "Changed", "96.77")]);
        assert_eq!(bill(&app, "2019-11-30").await?, november, "by the log");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_22_what_is_used_is_rated_with_all_that_is_known_of_its_period() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-12-01T00:00:00Z").await?;
        let tiers = json!([{ "above": 0, "price": "10.00" }, { "above": 100, "price": "9.00" }]);
        let usage = |key: &str, meter: &str| json!({ "key": key, "kind": "usage", "meter": meter, "included": 1, "price": "2.00" });
        let document = json!({
            "name": "Desk", "level": "customer", "instancing": "multi",
            "meters": [
                { "key": "calls", "name": "Calls", "unit": "call" },
                { "key": "peak", "aggregation": "max" },
                { "key": "stock", "aggregation": "last" },
                { "key": "devices", "aggregation": "unique" },
            ],
            "plans": [
                { "key": "calls", "name": "Calls", "components": [
                    { "key": "calls", "kind": "usage", "meter": "calls", "rate": "volume", "tiers": tiers },
                ] },
                { "key": "others", "name": "Others", "components": [
                    usage("peak", "peak"), usage("stock", "stock"), usage("devices", "devices"),
                    { "key": "packs", "kind": "usage", "meter": "calls", "rate": "package",
                      "packageSize": 100, "price": "5.00" },
                ] },
            ],
        });
        app.put("/api/v2/services/desk/draft", document).await?;
        let rolled_out = Some(json!({ "rollOut": true }));
        let publish = "/api/v2/services/desk/publish";
        app.send(&app.token, Method::POST, publish, rolled_out).await?.expect(200)?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let id = provision(&app, &customer, "calls", 1).await?;
        app.ambient.set("2020-01-31T00:00:00Z");
        let used =
            async |id: &str, meter: &str, quantity: Value, at: &str, unique: Option<&str>| {
                let sent = json!({
                    "subscriptionId": id, "meter": meter, "quantity": quantity, "effectiveAt": at,
                    "unique": unique,
                });
                app.post("/api/v2/billing/usage", sent).await
            };
        used(&id, "calls", json!("40.5"), "2020-01-10", None).await?;
        let made = used(&id, "calls", json!(49.5), "2020-01-20", None).await?;
        assert_eq!((&made["quantity"], &made["meter"]), (&json!("49.5"), &json!("calls")));
        let january = [line("calls", "Carried", "900.00"), line("recurring", "Carried", "0.00")];
        assert_eq!(bill(&app, "2020-01-31").await?, january);
        let before = app.database.fetch("select position from head", &[]).await?[0].unsigned(0)?;
        // What arrives late is rated with the rest of its period.
        app.ambient.set("2020-03-05T00:00:00Z");
        used(&id, "calls", json!(60), "2020-01-15", None).await?;
        let late = [line("calls", "Carried", "1350.00"), line("recurring", "Carried", "0.00")];
        assert_eq!(bill(&app, "2020-01-31").await?, late);
        let detail = app.get("/api/Billing/2020-01-31/detail").await?;
        let calls = &detail["data"][0];
        assert_eq!((&calls["measured"], &calls["unitPrice"]), (&json!("150"), &json!("9.00")));
        assert_eq!((&calls["kind"], &calls["measuredUnit"]), (&json!("usage"), &json!("call")));
        let known = format!("/api/Billing/2020-01-31/detail?knownAt={before}");
        assert_eq!(app.get(&known).await?["data"][0]["amount"], "900.00");
        let list = app.get(&format!("/api/v2/subscriptions/{id}/usage?limit=2")).await?;
        let quantities: Vec<_> =
            list["data"].as_array().context("readings")?.iter().map(|it| &it["quantity"]).collect();
        assert_eq!(quantities, ["40.5", "60"], "by time");
        let next = list["next"].as_str().context("more")?;
        let list =
            app.get(&format!("/api/v2/subscriptions/{id}/usage?limit=2&after={next}")).await?;
        assert_eq!(list["data"][0]["quantity"], "49.5");

        let other = provision(&app, &customer, "others", 3).await?;
        for (meter, quantity, unique) in [
            ("peak", 7, None),
            ("peak", 5, None),
            ("stock", 9, None),
            ("stock", 4, None),
            ("devices", 1, Some("phone")),
            ("devices", 1, Some("desk")),
            ("devices", 1, Some("phone")),
            ("calls", 250, None),
            ("calls", -10, None),
        ] {
            let sent = json!({
                "subscriptionId": other, "meter": meter, "quantity": quantity, "unique": unique,
            });
            app.post("/api/v2/billing/usage", sent).await?;
        }
        let march: Vec<_> = bill(&app, "2020-03-31").await?.into_iter().skip(1).collect();
        let expected = [
            line("devices", "Added", "2.00"),
            line("packs", "Added", "15.00"),
            line("peak", "Added", "12.00"),
            line("recurring", "Added", "0.00"),
            line("stock", "Added", "6.00"),
        ];
        assert_eq!(march, expected);

        // Everything that is wrong is told, and what is not there is not there.
        let refused = async |sent: Value| {
            let path = "/api/v2/billing/usage";
            let answer = app.send(&app.token, Method::POST, path, Some(sent)).await?;
            let faults = answer.body["errors"].as_array().cloned().unwrap_or_default();
            let codes: Vec<_> = faults.iter().map(|it| it["code"].clone()).collect();
            anyhow::Ok((answer.status.to_string(), codes, answer.body["code"].clone()))
        };
        let (status, codes, _) = refused(json!({
            "subscriptionId": id, "meter": "peak", "quantity": "-1", "effectiveAt": "2020-05-01",
            "unique": "x",
        }))
        .await?;
        assert!(status.starts_with("422"), "{status}");
        assert_eq!(codes, ["not_yet", "not_a_number", "not_unique"]);
        let (_, codes, _) =
            refused(json!({ "subscriptionId": id, "meter": "x", "quantity": 1 })).await?;
        assert_eq!(codes, ["unknown_meter"]);
        let (_, codes, _) =
            refused(json!({ "subscriptionId": id, "meter": "devices", "quantity": 1 })).await?;
        assert_eq!(codes, ["missing"]);
        let early = json!({
            "subscriptionId": id, "meter": "calls", "quantity": 1, "effectiveAt": "2019-11-01",
        });
        assert_eq!(refused(early).await?.2, "not_provisioned");
        let unknown = json!({ "subscriptionId": customer, "meter": "calls", "quantity": 1 });
        assert!(refused(unknown).await?.0.starts_with("404"));
        let (_, token) = {
            let seller = app.reseller("Contoso").await?;
            app.user(&seller, "ruth@contoso.test", &["Reseller Administrator"]).await?
        };
        let sent = json!({ "subscriptionId": id, "meter": "calls", "quantity": 1 });
        let path = "/api/v2/billing/usage";
        app.send(&token, Method::POST, path, Some(sent)).await?.problem(404)?;
        let path = format!("/api/v2/subscriptions/{id}/usage");
        app.send(&token, Method::GET, &path, None).await?.problem(404)?;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_minimum_is_what_the_charges_of_the_period_lack() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2020-01-16T00:00:00Z").await?;
        let components = json!([
            { "key": "setup", "kind": "oneOff", "price": "4.00" },
            { "key": "least", "name": "At least", "kind": "minimum", "price": "50.00" },
        ]);
        let mut annual = components.clone();
        annual[0] = yearly("1200.00", "advance")[0].clone();
        sell(&app, json!([plan("a", Some("31.00"), components), plan("b", None, annual)])).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        provision(&app, &customer, "a", 1).await?;
        // 16 of 31 days: 25.81 at least, 16.00 for holding it and 4.00 for setting it up.
        let january = [
            line("least", "Added", "5.81"),
            line("recurring", "Added", "16.00"),
            line("setup", "Added", "4.00"),
        ];
        assert_eq!(bill(&app, "2020-01-31").await?, january);
        app.ambient.set("2020-02-01T00:00:00Z");
        let id = provision(&app, &customer, "b", 1).await?;
        // What is paid for a year is not of the month.
        let february = [
            line("least", "Carried", "19.00"),
            line("recurring", "Carried", "31.00"),
            line("least", "Added", "50.00"),
            line("recurring", "Added", "0.00"),
            line("year", "Added", "1200.00"),
        ];
        assert_eq!(bill(&app, "2020-02-29").await?, february);
        let detail = app.get("/api/Billing/2020-02-29/detail").await?;
        let least = &detail["data"][0];
        assert_eq!((&least["kind"], &least["unitPrice"]), (&json!("minimum"), &json!("50.00")));
        let sent = json!({
            "service": "desk", "component": "least", "percent": "-50", "effectiveFrom": "2020-02-01",
            "reason": "agreed",
        });
        app.put(&format!("/api/v2/organizations/{customer}/prices"), sent).await?;
        app.post(&format!("/api/v2/subscriptions/{id}/deprovision"), json!({})).await?;
        let february = bill(&app, "2020-02-29").await?;
        assert_eq!(february[0], line("recurring", "Carried", "31.00"), "more than 25.00");
        app.finish().await?;
    }
    Ok(())
}
