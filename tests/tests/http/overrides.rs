//! Overrides: the report of those in force, with who feels them and what they come to, and how they reach what runs
//! (service-model.md, section 4).

use anyhow::{Context, Result};
use atrium_tests::http::TestApp;
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

/// What matters of each line of a report.
async fn report(app: &TestApp, token: &str, organization: &str, date: &str) -> Result<Vec<Value>> {
    let path = format!("/api/v2/organizations/{organization}/overrides-in-force?date={date}");
    let answer = app.send(token, Method::GET, &path, None).await?.expect(200)?;
    let lines = answer["data"].as_array().with_context(|| answer.to_string())?.iter();
    let short = |line: &Value| {
        json!([
            line["organizationName"],
            line["property"],
            line["without"],
            line["subscriptions"],
            line["monthlyEffect"],
            line["effectiveTo"],
        ])
    };
    Ok(lines.map(short).collect())
}

async fn root(app: &TestApp) -> Result<String> {
    let query = json!({ "query": "{ viewer { user { organization { uuid } } } }" });
    let answer = app.post("/graphql", query).await?;
    let root = answer["data"]["viewer"]["user"]["organization"]["uuid"].as_str();
    Ok(root.context("the provider")?.to_owned())
}

#[tokio::test]
async fn every_override_in_force_is_reported_with_who_feels_it_and_what_it_comes_to() -> Result<()>
{
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-01T09:00:00Z").await?;
        app.publish("crm").await?;
        app.publish("backup").await?;
        let provider = root(&app).await?;
        let seller = app.reseller("Contoso").await?;
        let (_, seller_token) =
            app.user(&seller, "ruth@contoso.test", &["Reseller Administrator"]).await?;
        let [first, second, other] = [
            app.customer("Aanimals Inc", Some(&seller)).await?,
            app.customer("Abacus", Some(&seller)).await?,
            app.customer("Elsewhere", None).await?,
        ];
        // CRM Team is 40.00 a month, CRM Company 145.00, Backup Standard 100.00.
        for (customer, service, plan, instance, quantity) in [
            (&first, "crm", "team", Some("production"), 3),
            (&first, "crm", "team", Some("tests"), 1),
            (&second, "crm", "company", Some("production"), 2),
            (&second, "backup", "BU001", None, 1),
            (&other, "backup", "BU001", None, 1),
        ] {
            let wish = json!({ "service": service, "plan": plan, "instance": instance, "quantity": quantity });
            app.post(&format!("/api/v2/customers/{customer}/subscriptions"), wish).await?;
        }
        for (organization, sent) in [
            (&seller, json!({ "service": "crm", "percent": "-10", "reason": "A partner" })),
            (
                &first,
                json!({ "service": "crm", "plan": "team", "price": "30.00", "reason": "A contract",
                "effectiveFrom": "2019-11-05", "effectiveTo": "2020-01-01" }),
            ),
            (
                &second,
                json!({ "service": "backup", "price": "120.00", "plan": "BU001", "reason": "More work" }),
            ),
            (
                &other,
                json!({ "service": "backup", "price": "1.00", "plan": "BU001", "reason": "A friend" }),
            ),
        ] {
            app.put(&format!("/api/v2/organizations/{organization}/prices"), sent).await?;
        }
        let storage = json!({ "property": "Storage", "value": "2 TB", "plan": "BU001", "reason": "Large files" });
        app.put(&format!("/api/v2/organizations/{seller}/overrides/backup"), storage).await?;

        // Ten per cent of 4 x 40.00 and 2 x 145.00, as long as nobody is nearer.
        let partner = |subscriptions: u32, effect: &str| {
            json!(["Contoso", null, null, subscriptions, effect, null])
        };
        let more = json!(["Abacus", null, "100.00", 1, "20.00", null]);
        let storage = json!(["Contoso", "Storage", "1 TB", 1, null, null]);
        let seen = report(&app, &seller_token, &seller, "2019-11-04").await?;
        assert_eq!(seen, [partner(3, "-45.00"), more.clone(), storage.clone()]);
        // 36.00 becomes 30.00, four times; the partner's discount is left for the others.
        let contract = json!(["Aanimals Inc", null, "36.00", 2, "-24.00", "2020-01-01T00:00:00Z"]);
        for day in ["2019-11-05", "2019-12-31"] {
            let seen = report(&app, &seller_token, &seller, day).await?;
            let expected = [partner(1, "-29.00"), contract.clone(), more.clone(), storage.clone()];
            assert_eq!(seen, expected, "{day}");
        }
        let seen = report(&app, &seller_token, &seller, "2020-01-01").await?;
        assert_eq!(seen, [partner(3, "-45.00"), more.clone(), storage.clone()]);
        assert_eq!(report(&app, &seller_token, &first, "2019-12-31").await?, [contract]);

        // A page at a time, here and in GraphQL; who lies elsewhere is nobody.
        let path = format!("/api/v2/organizations/{provider}/overrides-in-force?limit=2");
        let page = app.get(&path).await?;
        assert_eq!(page["data"].as_array().map(Vec::len), Some(2));
        let next = page["next"].as_str().context("more")?;
        let page = app.get(&format!("{path}&after={next}")).await?;
        assert_eq!(page["data"][0]["organizationName"], "Elsewhere");
        assert_eq!(page["next"], Value::Null);
        let path = format!("/api/v2/organizations/{other}/overrides-in-force");
        app.send(&seller_token, Method::GET, &path, None).await?.problem(404)?;
        let query = "{ overridesInForce(filter: { service: \"backup\" }, last: 1) { totalCount \
            pageInfo { hasPreviousPage } nodes { subscriptionCount without monthlyEffect { amount } \
            override { property value reason effectiveFrom organization { name } } } } }";
        let sent = json!({ "query": query });
        let answer =
            app.send(&seller_token, Method::POST, "/graphql", Some(sent)).await?.expect(200)?;
        let page = &answer["data"]["overridesInForce"];
        assert_eq!(
            (&page["totalCount"], &page["pageInfo"]["hasPreviousPage"]),
            (&json!(2), &json!(true))
        );
        let node = &page["nodes"][0];
        assert_eq!((&node["without"], &node["subscriptionCount"]), (&json!("1 TB"), &json!(1)));
        assert_eq!(node["monthlyEffect"], Value::Null);
        assert_eq!(node["override"]["organization"]["name"], "Contoso");

        // What is cleared is gone; the provider sees everybody's.
        let clear = json!({ "service": "crm", "clear": true, "reason": "No partner any more" });
        app.put(&format!("/api/v2/organizations/{seller}/prices"), clear).await?;
        let seen = report(&app, &seller_token, &seller, "2020-01-01").await?;
        assert_eq!(seen, [more.clone(), storage.clone()]);
        let friend = json!(["Elsewhere", null, "100.00", 1, "-99.00", null]);
        let seen = report(&app, &app.token, &provider, "2020-01-01").await?;
        assert_eq!(seen, [more, friend, storage]);
        for bad in ["date=soon", "limit=0", "after=x", "colour=red"] {
            let path = format!("/api/v2/organizations/{provider}/overrides-in-force?{bad}");
            app.send(&app.token, Method::GET, &path, None).await?.problem(400)?;
        }
        app.finish().await?;
    }
    Ok(())
}

/// A service with a property of its plans, one that is filled in, and one of its sellers.
fn disk(large: &str) -> Value {
    json!({
        "name": "Disk", "level": "customer", "instancing": "multi",
        "properties": [
            { "key": "Storage", "type": "quantity" },
            { "key": "Region", "scope": "reseller", "type": "text", "default": "eu" },
            { "key": "Years", "scope": "customer", "kind": "input", "type": "integer", "default": 1 },
        ],
        "plans": [
            { "key": "small", "name": "Small", "price": "5.00", "properties": { "Storage": "1 TB" } },
            { "key": "large", "name": "Large", "price": "9.00", "properties": { "Storage": large } },
        ],
    })
}

async fn sell(app: &TestApp, large: &str) -> Result<()> {
    app.put("/api/v2/services/disk/draft", disk(large)).await?;
    app.post("/api/v2/services/disk/publish", json!({ "rollOut": true })).await?;
    Ok(())
}

/// The values of the latest request of a subscription, and its verb, version and quantity.
async fn built(app: &TestApp, subscription: &str) -> Result<Value> {
    let query = json!({ "query": "{ subscriptions { nodes { uuid planKey quantity request { verb \
        status effectiveAt reason properties { key value } ingredients } } } }" });
    let answer = app.post("/graphql", query).await?;
    let nodes = answer["data"]["subscriptions"]["nodes"].as_array().into_iter().flatten();
    let node = nodes.clone().find(|node| node["uuid"] == subscription);
    let node = node.with_context(|| answer.to_string())?;
    let request = &node["request"];
    let values = [&request["properties"], &request["ingredients"]["properties"]];
    let values = values.into_iter().filter_map(Value::as_array).flatten();
    let values =
        values.map(|it| (it["key"].as_str().unwrap_or("").to_owned(), it["value"].clone()));
    Ok(json!({
        "verb": request["verb"], "at": request["effectiveAt"], "reason": request["reason"],
        "plan": node["planKey"], "quantity": node["quantity"],
        "version": request["ingredients"]["service"]["version"],
        "values": Value::Object(values.collect()),
    }))
}

/// What is charged, without what only tells of overrides.
async fn charges(app: &TestApp, end: &str) -> Result<Vec<Value>> {
    let bill = app.get(&format!("/api/Billing/{end}/detail")).await?;
    let rows = bill["data"].as_array().into_iter().flatten();
    let rows = rows.map(|row| json!([row["amount"], row["days"], row["action"], row["quantity"]]));
    Ok(rows.filter(|row| row[0] != "0.00").collect())
}

#[tokio::test]
async fn what_is_overridden_reaches_what_runs_by_a_change_request_that_changes_nothing_else()
-> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-10T09:00:00Z").await?;
        sell(&app, "4 TB").await?;
        let seller = app.reseller("Contoso").await?;
        let customer = app.customer("Aanimals Inc", Some(&seller)).await?;
        let beside = app.customer("Elsewhere", None).await?;
        let hold =
            async |customer: &str, instance: &str, plan: &str, from: &str| -> Result<String> {
                let sent = json!({
                    "service": "disk", "plan": plan, "instance": instance, "quantity": 2,
                    "properties": { "Years": 3 }, "effectiveAt": from,
                });
                let made =
                    app.post(&format!("/api/v2/customers/{customer}/subscriptions"), sent).await?;
                Ok(made["id"].as_str().context("an id")?.to_owned())
            };
        let small = hold(&customer, "a", "small", "2019-11-01").await?;
        let large = hold(&customer, "b", "large", "2019-11-01").await?;
        let elsewhere = hold(&beside, "a", "small", "2019-11-01").await?;
        let before = charges(&app, "2019-11-30").await?;
        assert_eq!(before.len(), 3);
        // A new version by itself reaches nobody.
        sell(&app, "5 TB").await?;

        let at =
            |organization: &str| format!("/api/v2/organizations/{organization}/overrides/disk");
        let set = async |organization: &str, sent: Value| app.put(&at(organization), sent).await;
        let storage = |more: Value| {
            let mut sent =
                json!({ "property": "Storage", "value": "2 TB", "reason": "A good year" });
            let fields = more.as_object().cloned().unwrap_or_default();
            sent.as_object_mut().into_iter().for_each(|sent| sent.extend(fields.clone()));
            sent
        };
        let sent = storage(json!({ "plan": "small", "effectiveFrom": "2019-11-05" }));
        let made = set(&seller, sent).await?;
        assert_eq!(made["changeRequests"], 1, "{made}");
        let now = built(&app, &small).await?;
        assert_eq!(
            now,
            json!({
                "verb": "CHANGE", "at": "2019-11-05T00:00:00+00:00", "reason": "A good year",
                "plan": "small", "quantity": 2, "version": 1,
                "values": { "Storage": "2 TB", "Region": "eu", "Years": "3" },
            })
        );
        assert_eq!(built(&app, &large).await?["verb"], "PROVISION");
        assert_eq!(built(&app, &elsewhere).await?["values"]["Storage"], "1 TB");
        assert_eq!(charges(&app, "2019-11-30").await?, before);

        // The same again changes nothing; what is set for later waits until somebody asks for it.
        assert_eq!(set(&seller, storage(json!({ "plan": "small" }))).await?["changeRequests"], 0);
        let sent =
            storage(json!({ "value": "3 TB", "apply": "later", "effectiveTo": "2019-12-01" }));
        assert_eq!(set(&seller, sent).await?["changeRequests"], 0);
        assert_eq!(built(&app, &large).await?["values"]["Storage"], "4 TB");
        let apply = format!("{}/apply", at(&customer));
        let applied = app.post(&apply, json!({ "reason": "As agreed" })).await?;
        // The large one now, and at the end of the month again. The small one has a value of its plan.
        assert_eq!(applied["changeRequests"], 2, "{applied}");
        let last = built(&app, &large).await?;
        assert_eq!(
            (&last["at"], &last["values"]["Storage"]),
            (&json!("2019-12-01T00:00:00+00:00"), &json!("5 TB"))
        );
        assert_eq!(app.post(&apply, json!({})).await?["changeRequests"], 0);
        app.ambient.set("2019-12-02T09:00:00Z");
        assert_eq!(app.post(&apply, json!({})).await?["changeRequests"], 0);
        assert_eq!(charges(&app, "2019-11-30").await?, before);

        // What is locked hides what was filled in, and gives it back.
        let years =
            json!({ "property": "Years", "value": 1, "locked": true, "reason": "A campaign" });
        assert_eq!(set(&seller, years).await?["changeRequests"], 2);
        assert_eq!(built(&app, &small).await?["values"]["Years"], "1");
        let years = json!({ "property": "Years", "clear": true, "reason": "It is over" });
        assert_eq!(set(&seller, years).await?["changeRequests"], 2);
        assert_eq!(built(&app, &small).await?["values"]["Years"], "3");

        // What is frozen takes it over when it is asked for afterwards.
        app.post(&format!("/api/v2/customers/{customer}/disable"), json!({})).await?;
        let region = json!({ "property": "Region", "value": "us", "reason": "Moved" });
        assert_eq!(set(&seller, region).await?["changeRequests"], 0);
        app.post(&format!("/api/v2/customers/{customer}/enable"), json!({})).await?;
        assert_eq!(app.post(&apply, json!({})).await?["changeRequests"], 2);
        assert_eq!(built(&app, &large).await?["values"]["Region"], "us");
        assert_eq!(built(&app, &elsewhere).await?["values"]["Region"], "eu");
        let bad = app
            .send(&app.token, Method::PUT, &at(&seller), Some(storage(json!({ "apply": "soon" }))))
            .await?;
        bad.problem(422)?;
        let unknown = apply.replace("disk", "nothing");
        app.send(&app.token, Method::POST, &unknown, Some(json!({}))).await?.problem(404)?;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_override_is_a_change_request_that_somebody_has_to_report_where_the_service_is_made_outside()
-> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-05T08:00:00Z").await?;
        let definition = json!({
            "name": "Rack", "level": "customer", "instancing": "multi", "process": "reported",
            "properties": [{ "key": "Power", "type": "quantity", "priced": false }],
            "plans": [{ "key": "half", "name": "Half", "price": "30.00", "properties": { "Power": "1 GB" } }],
        });
        app.put("/api/v2/services/rack/draft", definition).await?;
        app.post("/api/v2/services/rack/publish", json!({ "rollOut": true })).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let report = async |request: &Value, what: &str| -> Result<Value> {
            let id = request["id"].as_str().context("an id")?;
            app.post(&format!("/api/v2/requests/{id}/{what}"), json!({})).await
        };
        let path = format!("/api/v2/customers/{customer}/subscriptions");
        let mut held = Vec::new();
        for instance in ["done", "waits"] {
            let wish = json!({ "service": "rack", "plan": "half", "instance": instance });
            let asked = app.post(&path, wish).await?;
            if instance == "done" {
                report(&asked, "start").await?;
                report(&asked, "complete").await?;
            }
            held.push(asked["subscriptionId"].as_str().context("an id")?.to_owned());
        }
        let overrides = format!("/api/v2/organizations/{customer}/overrides/rack");
        let sent = json!({ "property": "Power", "value": "2 GB", "reason": "A good year" });
        let made = app.put(&overrides, sent).await?;
        // What is still being made takes it over when somebody asks for it afterwards.
        assert_eq!(made["changeRequests"], 1, "{made}");
        let subscription = async |id: &str| app.get(&format!("/api/v2/subscriptions/{id}")).await;
        let pending = subscription(&held[0]).await?;
        assert_eq!(pending["status"], "Pending", "{pending}");
        assert_eq!(subscription(&held[1]).await?["status"], "Requested");
        let request = json!({ "id": pending["requestId"] });
        let asked = app
            .get(&format!("/api/v2/requests/{}", request["id"].as_str().context("an id")?))
            .await?;
        assert_eq!((&asked["verb"], &asked["status"]), (&json!("change"), &json!("Requested")));
        let power = &asked["ingredients"]["plan"]["properties"][0]["value"];
        assert_eq!(power, "2 GB", "{asked}");
        report(&request, "start").await?;
        report(&request, "complete").await?;
        assert_eq!(subscription(&held[0]).await?["status"], "Provisioned");
        app.finish().await?;
    }
    Ok(())
}
