//! Properties: what can be set where, what is refused, and what is in force and why (service-model.md, section 3).

use anyhow::{Context, Result};
use atrium_tests::http::{Answer, TestApp};
use eventstore::Engine;
use reqwest::Method;
use serde_json::{Value, json};

use crate::BOTH;

/// A service with a property of every type, and of every scope that a customer's service can have.
fn vault() -> Value {
    json!({
        "name": "Vault",
        "level": "customer",
        "instancing": "multi",
        "validations": [
            { "key": "account", "pattern": "[a-z]{3,8}", "message": "Three to eight letters." },
        ],
        "properties": [
            { "key": "Storage", "type": "quantity", "unlimited": true },
            { "key": "Support", "type": "choice", "options": [{ "value": "mail" }, { "value": "phone" }] },
            { "key": "Server", "scope": "service", "type": "url", "default": "https://a.test", "hidden": true },
            { "key": "Token", "scope": "service", "type": "secretRef", "default": "vault-token", "hidden": true },
            { "key": "Region", "scope": "reseller", "type": "text", "default": "eu" },
            { "key": "Account", "scope": "customer", "kind": "input", "validation": "account", "required": true },
            { "key": "Mail", "scope": "customer", "kind": "input", "type": "email" },
            { "key": "Years", "scope": "customer", "kind": "input", "type": "integer", "min": 1, "max": 5, "default": 1 },
            { "key": "Rate", "scope": "customer", "kind": "input", "type": "number", "max": "9.5" },
            { "key": "From", "scope": "customer", "kind": "input", "type": "date", "min": "2019-01-01" },
            { "key": "Hosts", "scope": "customer", "kind": "input", "type": "list", "maxItems": 2 },
            { "key": "Host", "scope": "customer", "kind": "input", "type": "hostname" },
            { "key": "Address", "scope": "customer", "kind": "input", "type": "ip" },
            { "key": "Encrypted", "scope": "customer", "kind": "input", "type": "boolean", "default": true },
            { "key": "Volume", "scope": "customer", "type": "text", "readOnly": true },
            { "key": "Endpoint", "scope": "customer", "type": "url", "hidden": true,
              "default": "https://canary-default.test" },
        ],
        "plans": [
            { "key": "small", "name": "Small", "price": "5.00",
              "properties": { "Storage": "1 TB", "Support": "mail" } },
            { "key": "large", "name": "Large", "price": "9.00",
              "properties": { "Storage": "unlimited", "Support": "phone" } },
        ],
    })
}

async fn sold(app: &TestApp) -> Result<()> {
    app.put("/api/v2/services/vault/draft", vault()).await?;
    app.post("/api/v2/services/vault/publish", json!({ "rollOut": true })).await?;
    Ok(())
}

/// An installation in November that sells it, a customer there, and where services are provisioned to him.
async fn shop(engine: Engine) -> Result<(TestApp, String, String)> {
    let app = TestApp::new(engine, "2019-11-10T09:00:00Z").await?;
    sold(&app).await?;
    let customer = app.customer("Aanimals Inc", None).await?;
    let path = format!("/api/v2/customers/{customer}/subscriptions");
    Ok((app, customer, path))
}

fn faults(answer: &Answer) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let errors = answer.body["errors"].as_array().into_iter().flatten();
    let mut faults: Vec<_> =
        errors.map(|error| (text(&error["pointer"]), text(&error["code"]))).collect();
    faults.sort();
    faults
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut pairs: Vec<_> =
        expected.iter().map(|(at, code)| ((*at).to_owned(), (*code).to_owned())).collect();
    pairs.sort();
    pairs
}

/// The effective properties of what an organisation holds, by key.
async fn effective(app: &TestApp, token: &str, subscription: &str, when: &str) -> Result<Value> {
    let query = format!(
        "{{ subscriptions(first: 5) {{ nodes {{ uuid effectiveProperties{when} {{ key value values \
         set {{ origin since until actor reason locked without organization {{ name }} }} \
         losers {{ value origin }} }} }} }} }}"
    );
    let sent = json!({ "query": query });
    let answer = app.send(token, Method::POST, "/graphql", Some(sent)).await?.expect(200)?;
    let nodes = answer["data"]["subscriptions"]["nodes"].as_array();
    let nodes = nodes.with_context(|| format!("{answer}"))?;
    let node = nodes.iter().find(|node| node["uuid"] == subscription).context("it is listed")?;
    let properties = node["effectiveProperties"].as_array().context("properties")?;
    let by_key =
        properties.iter().map(|it| (it["key"].as_str().unwrap_or("").to_owned(), it.clone()));
    Ok(Value::Object(by_key.collect()))
}

async fn set(app: &TestApp, token: &str, organization: &str, sent: Value) -> Result<Answer> {
    let path = format!("/api/v2/organizations/{organization}/overrides/vault");
    app.send(token, Method::PUT, &path, Some(sent)).await
}

#[tokio::test]
async fn every_problem_of_a_definition_is_told_at_once_before_it_is_published() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-10T09:00:00Z").await?;
        let mut broken = vault();
        broken["properties"][0]["default"] = json!("much");
        broken["properties"][5]["validation"] = json!("nobody");
        broken["properties"][7]["max"] = json!(0);
        broken["properties"][2]["scope"] = json!("user");
        broken["validations"][0]["pattern"] = json!("(");
        broken["plans"][0]["properties"]["Storage"] = json!("7 parsecs");
        broken["plans"][1]["properties"]["Region"] = json!("us");
        app.put("/api/v2/services/vault/draft", broken).await?;
        let expected = pairs(&[
            ("/validations/0/pattern", "not_a_pattern"),
            ("/properties/0/default", "not_a_quantity"),
            ("/properties/2/scope", "no_users"),
            ("/properties/5/validation", "unknown_validation"),
            ("/properties/7/default", "out_of_range"),
            ("/properties/7/max", "bad_bounds"),
            ("/plans/0/properties/Storage", "not_a_quantity"),
            ("/plans/1/properties/Region", "not_the_plan_s"),
        ]);
        let publish = "/api/v2/services/vault/publish";
        let refused = app.send(&app.token, Method::POST, publish, Some(json!({}))).await?;
        refused.clone().problem(422)?;
        assert_eq!(faults(&refused), expected);
        let problems = app.get("/api/v2/services/vault/problems").await?;
        let told = problems["data"].as_array().context("a list")?.len();
        assert_eq!(told, expected.len());
        sold(&app).await?;
        let problems = app.get("/api/v2/services/vault/problems").await?;
        assert_eq!(problems["data"], json!([]));
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_filled_in_is_checked_as_its_type_and_validation_say_and_kept_in_one_form()
-> Result<()> {
    for engine in BOTH {
        let (app, _, path) = shop(engine).await?;
        let bad = json!({
            "service": "vault", "plan": "small", "instance": "a",
            "properties": {
                "Account": "Harbour!", "Mail": "nobody", "Years": 6, "Rate": "1e3", "From": "2018-12-31",
                "Hosts": ["a", "b", "c"], "Host": "-x", "Address": "1.2.3", "Encrypted": "perhaps",
                "Storage": "2 TB", "Server": "https://b.test", "Volume": "v", "Nothing": "x",
            },
        });
        let refused = app.send(&app.token, Method::POST, &path, Some(bad)).await?;
        refused.clone().problem(422)?;
        let expected = pairs(&[
            ("/properties/Account", "does_not_match"),
            ("/properties/Mail", "not_an_address"),
            ("/properties/Years", "out_of_range"),
            ("/properties/Rate", "not_a_number"),
            ("/properties/From", "out_of_range"),
            ("/properties/Hosts", "wrong_count"),
            ("/properties/Host", "not_a_hostname"),
            ("/properties/Address", "not_an_ip"),
            ("/properties/Encrypted", "not_a_boolean"),
            ("/properties/Storage", "not_an_input"),
            ("/properties/Server", "not_an_input"),
            ("/properties/Volume", "not_an_input"),
            ("/properties/Nothing", "not_an_input"),
        ]);
        assert_eq!(faults(&refused), expected);
        assert!(refused.body.to_string().contains("Three to eight letters."));
        let missing = json!({ "service": "vault", "plan": "small", "instance": "a" });
        let refused = app.send(&app.token, Method::POST, &path, Some(missing)).await?;
        assert_eq!(faults(&refused), pairs(&[("/properties/Account", "missing")]));

        let good = json!({
            "service": "vault", "plan": "small", "instance": "a",
            "properties": {
                "Account": "harbour", "Years": "03", "Rate": 1.50, "Hosts": ["b", "a"], "Encrypted": false,
                "Address": "2001:DB8::1",
            },
        });
        let made = app.post(&path, good.clone()).await?;
        let id = made["id"].as_str().context("an id")?.to_owned();
        let shown = effective(&app, &app.token, &id, "").await?;
        for (key, value) in [
            ("Account", "harbour"),
            ("Years", "3"),
            ("Rate", "1.5"),
            ("Hosts", "b\na"),
            ("Encrypted", "false"),
            ("Address", "2001:db8::1"),
            ("Storage", "1 TB"),
            ("Region", "eu"),
        ] {
            assert_eq!(shown[key]["value"], value, "{key}");
        }
        assert_eq!(shown["Hosts"]["values"], json!(["b", "a"]));
        assert_eq!(shown["Years"]["set"]["origin"], "INPUT");
        assert_eq!(shown["Years"]["losers"], json!([{ "value": "1", "origin": "DEFAULT" }]));
        assert_eq!(shown["Mail"]["value"], Value::Null);

        // The same wish again, written otherwise, adds nothing; another one is refused.
        let mut again = good.clone();
        again["properties"]["Years"] = json!(3);
        app.send(&app.token, Method::POST, &path, Some(again.clone())).await?.expect(200)?;
        again["properties"]["Years"] = json!(4);
        let other = app.send(&app.token, Method::POST, &path, Some(again)).await?;
        assert_eq!(other.problem(409)?, "already_provisioned");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_change_of_properties_alone_keeps_the_rest_and_the_bill() -> Result<()> {
    for engine in BOTH {
        let (app, _, path) = shop(engine).await?;
        let sent = json!({
            "service": "vault", "plan": "small", "instance": "a", "effectiveAt": "2019-11-01",
            "properties": { "Account": "harbour", "Mail": "a@b.test", "Rate": 1 }, "reason": "Signed",
        });
        let id = app.post(&path, sent).await?["id"].as_str().context("an id")?.to_owned();
        let bill = app.get("/api/Billing/2019-11-30/detail").await?;
        let change = format!("/api/v2/subscriptions/{id}/change");
        let sent = json!({
            "effectiveAt": "2019-11-15", "properties": { "Account": "seaside", "Mail": null },
            "reason": "Renamed",
        });
        app.post(&change, sent).await?;
        let shown = effective(&app, &app.token, &id, "(asOf: \"2019-11-20T00:00:00Z\")").await?;
        assert_eq!(shown["Account"]["value"], "seaside");
        assert_eq!(shown["Account"]["set"]["reason"], "Renamed");
        assert_eq!(shown["Rate"]["set"]["reason"], "Signed", "what is kept was said before");
        assert_eq!(shown["Rate"]["set"]["since"], "2019-11-01T00:00:00+00:00");
        assert_eq!(shown["Mail"]["value"], Value::Null);
        let before = effective(&app, &app.token, &id, "(asOf: \"2019-11-14T00:00:00Z\")").await?;
        assert_eq!(before["Account"]["value"], "harbour");
        assert_eq!(before["Mail"]["value"], "a@b.test");
        let after = app.get("/api/Billing/2019-11-30/detail").await?;
        let amounts = |bill: &Value| -> Vec<Value> {
            let rows = bill["data"].as_array().into_iter().flatten();
            rows.map(|row| json!([row["amount"], row["days"], row["action"]])).collect()
        };
        assert_eq!(amounts(&after), amounts(&bill));
        assert_eq!(amounts(&after).len(), 1);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_nearest_value_wins_a_lock_keeps_it_and_each_says_who_and_why() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-10T09:00:00Z").await?;
        sold(&app).await?;
        let reseller = app.reseller("Contoso").await?;
        let (seller, seller_token) =
            app.user(&reseller, "ruth@contoso.test", &["Reseller Administrator"]).await?;
        let customer = app.customer("Aanimals Inc", Some(&reseller)).await?;
        let path = format!("/api/v2/customers/{customer}/subscriptions");
        let sent = json!({
            "service": "vault", "plan": "small", "instance": "a", "properties": { "Account": "harbour" },
        });
        let id = app.post(&path, sent).await?["id"].as_str().context("an id")?.to_owned();

        let sent = json!({ "property": "Storage", "value": "2tb", "reason": "A good year" });
        set(&app, &seller_token, &reseller, sent).await?.expect(200)?;
        let sent = json!({
            "property": "Storage", "value": "3 TB", "reason": "Asked for", "plan": "small",
            "effectiveTo": "2019-12-01",
        });
        set(&app, &seller_token, &customer, sent).await?.expect(200)?;
        let shown = effective(&app, &seller_token, &id, "").await?;
        let storage = &shown["Storage"];
        assert_eq!(storage["value"], "3 TB");
        assert_eq!(storage["set"]["origin"], "OVERRIDE");
        assert_eq!(storage["set"]["reason"], "Asked for");
        assert_eq!(storage["set"]["actor"], format!("user:{seller}"));
        assert_eq!(storage["set"]["without"], "2 TB");
        assert_eq!(storage["set"]["organization"]["name"], "Aanimals Inc");
        assert_eq!(
            storage["losers"],
            json!([{ "value": "2 TB", "origin": "INHERITED" }, { "value": "1 TB", "origin": "PLAN" }])
        );
        let later = effective(&app, &seller_token, &id, "(asOf: \"2019-12-02T00:00:00Z\")").await?;
        assert_eq!(later["Storage"]["value"], "2 TB");
        let then = effective(&app, &app.token, &id, "(knownAt: \"2019-11-10T08:00:00Z\")").await?;
        assert_eq!(then, json!({}), "nothing was sold yet");

        // The provider locks it: those below see that it is so, and not who.
        let root = root(&app).await?;
        let sent = json!({ "property": "Storage", "value": "9 TB", "locked": true, "reason": "Full disks" });
        set(&app, &app.token, &root, sent).await?.expect(200)?;
        let shown = effective(&app, &seller_token, &id, "").await?;
        let winner = &shown["Storage"]["set"];
        assert_eq!(shown["Storage"]["value"], "9 TB");
        assert_eq!((&winner["locked"], &winner["origin"]), (&json!(true), &json!("INHERITED")));
        assert_eq!((&winner["reason"], &winner["actor"]), (&Value::Null, &Value::Null));
        assert_eq!(winner["organization"], Value::Null);
        let sent = json!({ "property": "Storage", "value": "4 TB", "reason": "More" });
        assert_eq!(set(&app, &seller_token, &customer, sent).await?.problem(409)?, "locked");
        // What is wrong with it is told first, and everything at once.
        let sent =
            json!({ "property": "Storage", "value": "4 parsecs", "plan": "x", "reason": " " });
        let refused = set(&app, &seller_token, &customer, sent).await?;
        let expected =
            [("/value", "not_a_quantity"), ("/plan", "unknown_plan"), ("/reason", "empty")];
        assert_eq!(faults(&refused), pairs(&expected));

        // What is locked is not filled in either.
        let sent =
            json!({ "property": "Years", "value": 2, "locked": true, "reason": "A campaign" });
        set(&app, &seller_token, &reseller, sent).await?.expect(200)?;
        let wish = |properties: Value| json!({ "service": "vault", "plan": "small", "instance": "b", "properties": properties });
        let locked = wish(json!({ "Account": "harbour", "Years": 3 }));
        let refused = app.send(&seller_token, Method::POST, &path, Some(locked)).await?;
        assert_eq!(faults(&refused), pairs(&[("/properties/Years", "locked")]));
        let made = app.post(&path, wish(json!({ "Account": "harbour" }))).await?;
        let shown = effective(&app, &seller_token, made["id"].as_str().unwrap_or(""), "").await?;
        assert_eq!(shown["Years"]["value"], "2");
        app.finish().await?;
    }
    Ok(())
}

/// The id of the provider.
async fn root(app: &TestApp) -> Result<String> {
    let query = json!({ "query": "{ viewer { user { organization { uuid } } } }" });
    let answer = app.post("/graphql", query).await?;
    let uuid = answer["data"]["viewer"]["user"]["organization"]["uuid"].as_str();
    Ok(uuid.with_context(|| format!("{answer}"))?.to_owned())
}

#[tokio::test]
async fn a_property_is_set_only_where_its_scope_is_and_by_whom_its_kind_allows() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-10T09:00:00Z").await?;
        sold(&app).await?;
        let reseller = app.reseller("Contoso").await?;
        let (_, seller) =
            app.user(&reseller, "ruth@contoso.test", &["Reseller Administrator"]).await?;
        let customer = app.customer("Aanimals Inc", Some(&reseller)).await?;
        let root = root(&app).await?;
        let wish = |property: &str, value: &str| json!({ "property": property, "value": value, "reason": "To see" });
        let provider = &app.token;
        for (token, at, property, value, fault) in [
            (provider, &root, "Server", "https://b.test", None),
            (provider, &reseller, "Server", "https://b.test", Some("out_of_scope")),
            (provider, &reseller, "Region", "us", None),
            (provider, &customer, "Region", "us", Some("out_of_scope")),
            (&seller, &reseller, "Region", "us", Some("configuration")),
            (&seller, &customer, "Years", "2", None),
            (&seller, &customer, "Years", "7", Some("out_of_range")),
            (&seller, &customer, "Volume", "v", Some("read_only")),
            (&seller, &customer, "Support", "phone", None),
            (&seller, &customer, "Support", "pigeon", Some("not_a_choice")),
        ] {
            let answer = set(&app, token, at, wish(property, value)).await?;
            match fault {
                None => drop(answer.expect(200).with_context(|| property.to_owned())?),
                Some(code) => {
                    answer.clone().problem(422).with_context(|| property.to_owned())?;
                    let told = faults(&answer);
                    assert!(told.iter().any(|(_, it)| it == code), "{property}: {told:?}");
                }
            }
        }
        // Hidden properties do not exist for those who do not publish.
        let query =
            json!({ "query": "{ services { nodes { key published { properties { key } } } } }" });
        for (token, sees) in [(provider, true), (&seller, false)] {
            let shown =
                app.send(token, Method::GET, "/api/v2/services/vault", None).await?.expect(200)?;
            assert_eq!(shown.to_string().contains("Server"), sees);
            let shown = app
                .send(token, Method::POST, "/graphql", Some(query.clone()))
                .await?
                .expect(200)?;
            assert_eq!(shown.to_string().contains("Server"), sees, "{shown}");
        }
        app.finish().await?;
    }
    Ok(())
}

/// What is hidden has values with `canary` in them: they are in nothing that is for others.
#[tokio::test]
async fn what_is_hidden_is_nowhere_but_with_those_who_publish() -> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-12-10T09:00:00Z").await?;
        sold(&app).await?;
        let reseller = app.reseller("Contoso").await?;
        let customer = app.customer("Aanimals Inc", Some(&reseller)).await?;
        let (_, seller) =
            app.user(&reseller, "ruth@contoso.test", &["Reseller Administrator"]).await?;
        let (_, buyer) =
            app.user(&customer, "ann@aanimals.test", &["Customer Administrator"]).await?;
        let own = json!({ "property": "Endpoint", "value": "https://canary-own.test", "reason": "Its own",
            "effectiveFrom": "2019-11-15" });
        set(&app, &app.token, &customer, own).await?.expect(200)?;
        let path = format!("/api/v2/customers/{customer}/subscriptions");
        let wish = json!({ "service": "vault", "plan": "small", "instance": "a", "effectiveAt": "2019-11-01",
            "properties": { "Account": "harbour" } });
        let made = app.send(&seller, Method::POST, &path, Some(wish)).await?.expect(201)?;
        let request = made["requestId"].as_str().context("a request")?;
        let answers = async |token: &str| -> Result<Vec<(String, String)>> {
            let mut answers = Vec::new();
            for path in [
                "/api/v2/services".to_owned(),
                "/api/v2/services/vault".to_owned(),
                format!("/api/v2/requests/{request}"),
                format!("/api/v2/organizations/{customer}/overrides"),
                "/api/v2/events?limit=500".to_owned(),
                "/api/Billing/2019-11-30/detail".to_owned(),
            ] {
                let answer = app.send(token, Method::GET, &path, None).await?.expect(200)?;
                answers.push((path, answer.to_string()));
            }
            for query in [
                "services { nodes { published { properties { key default } plans { properties { key } } } } }",
                "subscriptions { nodes { properties { key value } effectiveProperties { key value } \
                 request { ingredients properties { key value } } } }",
                "overrides { nodes { property value } }",
                "events(last: 500) { nodes { payload } }",
                "ledgerEntries(endDate: \"2019-11-30\") { nodes { propertyChange { property value } } }",
            ] {
                let sent = json!({ "query": format!("{{ {query} }}") });
                let answer = app.send(token, Method::POST, "/graphql", Some(sent)).await?;
                let answer = answer.expect(200)?;
                assert_eq!(answer["errors"], Value::Null, "{query}");
                answers.push((query.to_owned(), answer.to_string()));
            }
            Ok(answers)
        };
        for token in [&seller, &buyer] {
            for (what, answer) in answers(token).await? {
                for hidden in ["canary", "Endpoint", "Server", "vault-token"] {
                    assert!(!answer.contains(hidden), "{what}: {answer}");
                }
            }
        }
        let whole = answers(&app.token).await?;
        let told = whole.iter().filter(|(_, answer)| answer.contains("canary")).count();
        assert_eq!(told, whole.len() - 2, "all but the bills: {whole:?}");

        // Whoever does not see it cannot set it, and is not told that it is there.
        let sent = json!({ "property": "Endpoint", "value": "https://b.test", "reason": "To see" });
        let refused = set(&app, &seller, &customer, sent).await?;
        assert_eq!(faults(&refused), pairs(&[("/property", "unknown_property")]));
        let wish = json!({ "service": "vault", "plan": "small", "instance": "b",
            "properties": { "Account": "harbour", "Endpoint": "https://b.test" } });
        let not_filled_in = app.send(&seller, Method::POST, &path, Some(wish)).await?;
        assert_eq!(faults(&not_filled_in), pairs(&[("/properties/Endpoint", "not_an_input")]));
        for refused in [refused, not_filled_in] {
            let detail = refused.body["errors"][0]["detail"].as_str().context("a detail")?;
            assert!(detail.contains("Years") && !detail.contains("Endpoint"), "{detail}");
        }
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_provider_configures_a_single_subscription_and_others_change_the_rest_of_it()
-> Result<()> {
    for engine in BOTH {
        let app = TestApp::new(engine, "2019-11-10T09:00:00Z").await?;
        let desk = json!({
            "name": "Desk", "level": "user", "instancing": "single",
            "properties": [
                { "key": "Image", "scope": "user", "type": "choice", "required": true,
                  "options": [{ "value": "2019" }, { "value": "2016" }] },
                { "key": "Name", "scope": "user", "kind": "input" },
                { "key": "Domain", "scope": "customer", "kind": "input", "type": "hostname", "required": true },
                { "key": "Licence", "scope": "customer", "hidden": true, "required": true },
            ],
            "plans": [{ "key": "one", "name": "One" }],
        });
        app.put("/api/v2/services/vault/draft", desk).await?;
        app.post("/api/v2/services/vault/publish", json!({ "rollOut": true })).await?;
        let customer = app.customer("Aanimals Inc", None).await?;
        let (user, _) = app.user(&customer, "uli@aanimals.test", &[]).await?;
        let (_, buyer) =
            app.user(&customer, "ann@aanimals.test", &["Customer Administrator"]).await?;
        let path = format!("/api/v2/users/{user}/subscriptions");
        let wish = |properties: Value| json!({ "service": "vault", "plan": "one", "properties": properties });
        let provision = async |token: &str, properties: Value| {
            app.send(token, Method::POST, &path, Some(wish(properties))).await
        };
        let missing = provision(&buyer, json!({})).await?;
        let expected = [
            ("/properties/Image", "not_configured"),
            ("/properties/Domain", "not_configured"),
            ("/service", "not_configured"),
        ];
        assert_eq!(faults(&missing), pairs(&expected));
        assert!(!missing.body.to_string().contains("Licence"), "{}", missing.body);
        let licence = json!({ "property": "Licence", "value": "A-1", "reason": "Bought" });
        set(&app, &app.token, &customer, licence).await?.expect(200)?;
        let domain =
            json!({ "property": "Domain", "value": "Aanimals.Test", "reason": "Its domain" });
        set(&app, &app.token, &customer, domain).await?.expect(200)?;
        let other = provision(&buyer, json!({ "Image": "2016", "Domain": "b.test" })).await?;
        let expected =
            [("/properties/Image", "not_an_input"), ("/properties/Domain", "not_an_input")];
        assert_eq!(faults(&other), pairs(&expected));
        let missing = provision(&app.token, json!({})).await?;
        assert_eq!(faults(&missing), pairs(&[("/properties/Image", "missing")]));
        let made = provision(&app.token, json!({ "Image": "2016" })).await?.expect(201)?;
        let id = made["id"].as_str().context("an id")?;
        let change = format!("/api/v2/subscriptions/{id}/change");
        let named = json!({ "properties": { "Name": "Front desk" } });
        app.send(&buyer, Method::POST, &change, Some(named)).await?.expect(200)?;
        let shown = effective(&app, &buyer, id, "").await?;
        for (key, value, origin) in [
            ("Image", "2016", "INPUT"),
            ("Name", "Front desk", "INPUT"),
            ("Domain", "aanimals.test", "OVERRIDE"),
        ] {
            let told = (&shown[key]["value"], &shown[key]["set"]["origin"]);
            assert_eq!(told, (&json!(value), &json!(origin)), "{key}");
        }
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_scheduled_to_be_filled_in_is_so_from_its_day_and_not_before() -> Result<()> {
    for engine in BOTH {
        let (app, _, path) = shop(engine).await?;
        let wish = json!({
            "service": "vault", "plan": "small", "instance": "a", "effectiveAt": "2019-11-01",
            "properties": { "Account": "harbour", "Mail": "a@b.test" },
        });
        let id = app.post(&path, wish).await?["id"].as_str().context("an id")?.to_owned();
        let change = format!("/api/v2/subscriptions/{id}/change");
        for (from, properties) in [
            ("2019-12-01", json!({ "Account": "seaside" })),
            ("2019-11-15", json!({ "Mail": "c@d.test" })),
        ] {
            app.post(&change, json!({ "effectiveAt": from, "properties": properties })).await?;
        }
        for (day, account, mail) in [
            ("2019-11-14", "harbour", "a@b.test"),
            ("2019-11-16", "harbour", "c@d.test"),
            // As that request said, which was made before.
            ("2019-12-02", "seaside", "a@b.test"),
        ] {
            let shown =
                effective(&app, &app.token, &id, &format!("(asOf: \"{day}T00:00:00Z\")")).await?;
            assert_eq!(
                (&shown["Account"]["value"], &shown["Mail"]["value"]),
                (&json!(account), &json!(mail)),
                "{day}"
            );
        }
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_acceptable_any_more_has_to_be_said_anew_before_anything_else_changes()
-> Result<()> {
    for engine in BOTH {
        let (app, customer, path) = shop(engine).await?;
        let wish = json!({ "service": "vault", "plan": "small", "instance": "a",
            "properties": { "Account": "harbour", "Years": 5 } });
        let id = app.post(&path, wish).await?["id"].as_str().context("an id")?.to_owned();
        let support = json!({ "property": "Support", "value": "phone", "reason": "A friend" });
        set(&app, &app.token, &customer, support).await?.expect(200)?;
        let mut next = vault();
        next["properties"][7]["max"] = json!(3);
        next["properties"][1]["options"] = json!([{ "value": "mail" }, { "value": "chat" }]);
        next["plans"][1]["properties"]["Support"] = json!("chat");
        app.put("/api/v2/services/vault/draft", next).await?;
        app.post("/api/v2/services/vault/publish", json!({ "rollOut": true })).await?;
        let change = format!("/api/v2/subscriptions/{id}/change");
        let more = json!({ "quantity": 2 });
        let refused = app.send(&app.token, Method::POST, &change, Some(more.clone())).await?;
        let expected =
            [("/properties/Years", "out_of_range"), ("/properties/Support", "not_a_choice")];
        assert_eq!(faults(&refused), pairs(&expected));
        let support = json!({ "property": "Support", "value": "chat", "reason": "A friend" });
        set(&app, &app.token, &customer, support).await?.expect(200)?;
        let said = json!({ "quantity": 2, "properties": { "Years": 3 } });
        app.send(&app.token, Method::POST, &change, Some(said)).await?.expect(200)?;
        app.send(&app.token, Method::POST, &change, Some(more)).await?.expect(200)?;
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_choice_can_be_among_the_instances_that_the_customer_holds() -> Result<()> {
    for engine in BOTH {
        let (app, customer, path) = shop(engine).await?;
        let licence = |more: Value| {
            let mut property = json!({ "key": "Vault", "scope": "user", "kind": "input", "type": "choice",
                "optionsFrom": { "instancesOf": "vault" } });
            for (key, value) in more.as_object().into_iter().flatten() {
                property[key] = value.clone();
            }
            json!({ "name": "Licence", "level": "user", "instancing": "single", "properties": [property],
                "plans": [{ "key": "seat", "name": "Seat", "price": "2.00" }] })
        };
        let draft = "/api/v2/services/licence/draft";
        let put =
            async |more: Value| app.send(&app.token, Method::PUT, draft, Some(licence(more))).await;
        for (more, pointer, code) in [
            (json!({ "options": [{ "value": "a" }] }), "/properties/0/options", "other_type"),
            (json!({ "type": "text" }), "/properties/0/optionsFrom", "other_type"),
            (
                json!({ "optionsFrom": { "instancesOf": "no key" } }),
                "/properties/0/optionsFrom/instancesOf",
                "not_a_key",
            ),
        ] {
            assert_eq!(faults(&put(more).await?), pairs(&[(pointer, code)]));
        }
        put(json!({ "kind": "configuration", "default": "a" })).await?.expect(200)?;
        let publish = "/api/v2/services/licence/publish";
        let refused = app.send(&app.token, Method::POST, publish, Some(json!({}))).await?;
        let expected = [
            ("/properties/0/optionsFrom", "options_of_holder"),
            ("/properties/0/default", "options_of_holder"),
        ];
        assert_eq!(faults(&refused), pairs(&expected));
        put(json!({})).await?.expect(200)?;
        app.post(publish, json!({ "rollOut": true })).await?;

        let held = |instance: &str| {
            json!({ "service": "vault", "plan": "small", "instance": instance,
            "properties": { "Account": "harbour" } })
        };
        let first = app.post(&path, held("first")).await?;
        app.post(&path, held("second")).await?;
        let other = app.customer("Abacus", None).await?;
        app.post(&format!("/api/v2/customers/{other}/subscriptions"), held("third")).await?;
        let (ann, _) = app.user(&customer, "ann@example.com", &[]).await?;
        let at = format!("/api/v2/users/{ann}/subscriptions");
        let ask = async |vault: &str| {
            let sent =
                json!({ "service": "licence", "plan": "seat", "properties": { "Vault": vault } });
            app.send(&app.token, Method::POST, &at, Some(sent)).await
        };
        for none in ["third", "First", "vault"] {
            let refused = ask(none).await?;
            assert_eq!(faults(&refused), pairs(&[("/properties/Vault", "not_a_choice")]), "{none}");
        }
        let seat = ask("first").await?.expect(201)?;
        let query = format!(
            "{{ services {{ nodes {{ key published {{ properties {{ optionsFromInstancesOf }} }} }} }} \
             customer: organization(id: \"{customer}\") {{ subscriptions {{ nodes {{ instance service {{ key }} }} }} }} }}"
        );
        let shown = app.post("/graphql", json!({ "query": query })).await?;
        let services = shown["data"]["services"]["nodes"].as_array().context("services")?;
        let licence = services.iter().find(|it| it["key"] == "licence").context("the licence")?;
        assert_eq!(licence["published"]["properties"][0]["optionsFromInstancesOf"], "vault");

        // What was chosen stays when the instance is gone; it cannot be chosen anew.
        let gone =
            format!("/api/v2/subscriptions/{}/deprovision", first["id"].as_str().context("an id")?);
        app.post(&gone, json!({})).await?;
        let change =
            format!("/api/v2/subscriptions/{}/change", seat["id"].as_str().context("an id")?);
        app.post(&change, json!({ "quantity": 2 })).await?;
        app.post(&change, json!({ "properties": { "Vault": "second" } })).await?;
        let back = json!({ "properties": { "Vault": "first" } });
        let refused = app.send(&app.token, Method::POST, &change, Some(back)).await?;
        assert_eq!(faults(&refused), pairs(&[("/properties/Vault", "not_a_choice")]));
        let property = json!({ "property": "Vault", "value": "second", "reason": "all" });
        let overridden = format!("/api/v2/organizations/{customer}/overrides/licence");
        let refused = app.send(&app.token, Method::PUT, &overridden, Some(property)).await?;
        assert_eq!(faults(&refused), pairs(&[("/property", "options_of_holder")]));
        app.finish().await?;
    }
    Ok(())
}
