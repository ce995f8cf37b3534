//! The read API, over HTTP, on both databases. Each test ends with the laws.

use anyhow::{Context, Result};
use atrium_tests::http::{Answer, TestApp};
use eventstore::Engine;
use reqwest::Method;
use serde_json::{Value, json};

/// Every test runs on both.
const BOTH: [Engine; 2] = [Engine::Sqlite, Engine::Postgres];
const NOW: &str = "2019-12-20T10:00:00Z";

/// Asks with a token.
async fn ask_as(app: &TestApp, token: &str, query: &str, variables: Value) -> Result<Answer> {
    let sent = json!({ "query": query, "variables": variables });
    app.send(token, Method::POST, "/graphql", Some(sent)).await
}

/// Asks as Ada, who must get an answer without an error.
async fn ask(app: &TestApp, query: &str) -> Result<Value> {
    let body = ask_as(app, &app.token, query, json!({})).await?.expect(200)?;
    assert_eq!(body["errors"], Value::Null, "{query}");
    Ok(body["data"].clone())
}

/// The codes of an answer's errors, by path.
fn codes(body: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let errors = body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let path = |error: &Value| {
        let path = error["path"].as_array().map(Vec::as_slice).unwrap_or_default();
        path.iter().map(text).collect::<Vec<_>>().join(".")
    };
    let mut codes: Vec<_> =
        errors.iter().map(|error| (path(error), text(&error["extensions"]["code"]))).collect();
    codes.sort();
    codes
}

/// A tenant with one of everything.
struct Tenant {
    seller: String,
    customer: String,
    user: String,
    /// Of the reseller's administrator.
    session: String,
    /// The global ids of what belongs to it.
    nodes: Vec<String>,
}

impl Tenant {
    async fn new(app: &TestApp, name: &str) -> Result<Self> {
        let seller = app.reseller(&format!("{name} Partners")).await?;
        let customer = app.customer(&format!("{name} Inc"), Some(&seller)).await?;
        let (_, session) = app
            .user(&seller, &format!("{name}@partners.test"), &["Reseller Administrator"])
            .await?;
        let (user, _) = app.user(&customer, &format!("{name}@inc.test"), &[]).await?;
        let backup = json!({ "service": "backup", "plan": "BU001", "effectiveAt": "2019-11-11" });
        app.post(&format!("/api/v2/customers/{customer}/subscriptions"), backup).await?;
        let mailbox =
            json!({ "service": "mailbox", "plan": "standard", "effectiveAt": "2019-12-01" });
        app.post(&format!("/api/v2/users/{user}/subscriptions"), mailbox).await?;
        let price = json!({ "service": "backup", "percent": "-20", "effectiveFrom": "2019-12-16",
            "reason": "agreed" });
        app.put(&format!("/api/v2/organizations/{customer}/prices"), price).await?;
        let query = "{ customers { nodes { id } } users { nodes { id } } overrides { nodes { id } } \
                     subscriptions { nodes { id } } requests { nodes { id } } \
                     events { nodes { id } } }";
        let body = ask_as(app, &session, query, json!({})).await?.expect(200)?;
        assert_eq!(codes(&body), [], "{body}");
        let mut nodes = Vec::new();
        for (field, least) in [
            ("customers", 1),
            ("users", 2),
            ("overrides", 1),
            ("subscriptions", 2),
            ("requests", 2),
            ("events", 12),
        ] {
            let found = body["data"][field]["nodes"].as_array().context("nodes")?;
            assert!(found.len() >= least, "{field}: {found:?}");
            nodes.extend(found.iter().filter_map(|it| it["id"].as_str().map(str::to_owned)));
        }
        Ok(Self { seller, customer, user, session, nodes })
    }
}

async fn with_services(engine: Engine) -> Result<TestApp> {
    let app = TestApp::new(engine, NOW).await?;
    app.publish("backup").await?;
    app.publish("mailbox").await?;
    Ok(app)
}

#[tokio::test]
async fn a_page_comes_with_what_belongs_to_it_in_the_order_that_was_asked_for() -> Result<()> {
    for engine in BOTH {
        let app = with_services(engine).await?;
        let tenant = Tenant::new(&app, "Beta").await?;
        app.customer("alpha Ltd", None).await?;
        let query = "{ customers(first: 2) { totalCount pageInfo { hasNextPage } nodes { \
            name parent { name } users(first: 10) { totalCount nodes { name subscriptions { nodes { \
            plan { name } properties { key value overridden } } } } } \
            subscriptions { totalCount nodes { status quantity serviceKey } } } } }";
        let request = app.request(&app.token, Method::POST, "/graphql");
        let text = request.json(&json!({ "query": query })).send().await?.text().await?;
        let expected =
            r#"{"data":{"customers":{"totalCount":2,"pageInfo":{"hasNextPage":false},"nodes":["#
                .to_owned()
                + r#"{"name":"alpha Ltd","parent":{"name":"Northwind Managed Services"},"#
                + r#""users":{"totalCount":0,"nodes":[]},"subscriptions":{"totalCount":0,"nodes":[]}},"#
                + r#"{"name":"Beta Inc","parent":{"name":"Beta Partners"},"users":{"totalCount":1,"#
                + r#""nodes":[{"name":"Uli Beta@inc.test","subscriptions":{"nodes":[{"#
                + r#""plan":{"name":"Mailbox Standard"},"properties":["#
                + r#"{"key":"Archive","value":"None","overridden":false},"#
                + r#"{"key":"Quota","value":"50 GB","overridden":false}]}]}}]},"subscriptions":"#
                + r#"{"totalCount":1,"nodes":[{"status":"PROVISIONED","quantity":1,"#
                + r#""serviceKey":"backup"}]}}]}}}"#;
        assert_eq!(text, expected);

        // From either end, in either order.
        let names = async |arguments: &str| -> Result<String> {
            let query = format!("{{ customers({arguments}) {{ nodes {{ name }} }} }}");
            let data = ask(&app, &query).await?;
            let nodes = data["customers"]["nodes"].as_array().context("nodes")?.iter();
            Ok(nodes.filter_map(|node| node["name"].as_str()).collect::<Vec<_>>().join(", "))
        };
        assert_eq!(names("first: 1").await?, "alpha Ltd");
        assert_eq!(names("last: 1").await?, "Beta Inc");
        assert_eq!(names("first: 1, orderBy: { direction: DESC }").await?, "Beta Inc");
        assert_eq!(names("filter: { status: DISABLED }").await?, "");
        assert_eq!(
            names(&format!("filter: {{ sellerId: \"{}\" }}", tenant.seller)).await?,
            "Beta Inc"
        );
        app.post(&format!("/api/v2/customers/{}/disable", tenant.customer), json!({})).await?;
        assert_eq!(names("filter: { status: DISABLED }").await?, "Beta Inc");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn tenants_do_not_exist_for_each_other() -> Result<()> {
    for engine in BOTH {
        let app = with_services(engine).await?;
        let tenants = [Tenant::new(&app, "Left").await?, Tenant::new(&app, "Right").await?];
        for (tenant, other) in [(&tenants[0], &tenants[1]), (&tenants[1], &tenants[0])] {
            assert!(tenant.nodes.iter().all(|node| !other.nodes.contains(node)));
            for (nodes, seen) in [(&tenant.nodes, true), (&other.nodes, false)] {
                for id in nodes {
                    let query = "query($id: ID!) { node(id: $id) { id } }";
                    let answer = ask_as(&app, &tenant.session, query, json!({ "id": id })).await?;
                    let body = answer.expect(200)?;
                    if seen {
                        assert_eq!(body["data"]["node"]["id"], json!(id));
                    } else {
                        assert_eq!(body["data"], json!({ "node": null }));
                        assert_eq!(codes(&body), [("node".to_owned(), "not_found".to_owned())]);
                    }
                }
            }
            let query = "query($seller: ID!, $customer: ID!, $user: ID!) { \
                organization(id: $customer) { name } \
                customers(filter: { sellerId: $seller }) { totalCount } \
                users(filter: { organizationId: $customer }) { totalCount } \
                subscriptions(filter: { customerId: $customer }) { totalCount } \
                own: subscriptions(filter: { userId: $user }) { totalCount } \
                requests(filter: { customerId: $customer }) { totalCount } \
                overrides(filter: { organizationId: $customer }) { totalCount } \
                billingPeriods(filter: { customerId: $customer }) { totalCount } \
                ledgerEntries(endDate: \"2019-11-30\", filter: { sellerId: $seller }) { totalCount } \
                billingSummary(endDate: \"2019-11-30\", filter: { customerId: $customer }) \
                { totalCount } }";
            let ids = |tenant: &Tenant| {
                json!({
                    "seller": tenant.seller, "customer": tenant.customer, "user": tenant.user,
                })
            };
            let body = ask_as(&app, &tenant.session, query, ids(tenant)).await?.expect(200)?;
            assert_eq!(codes(&body), [], "{body}");
            let body = ask_as(&app, &tenant.session, query, ids(other)).await?.expect(200)?;
            let fields = body["data"].as_object().context("fields")?;
            assert!(fields.len() == 10 && fields.values().all(Value::is_null), "{body}");
            assert!(codes(&body).iter().all(|(_, code)| code == "not_found"), "{body}");
            let shown = ask_as(
                &app,
                &tenant.session,
                "{ ledgerEntries(endDate: \"2019-12-31\") \
                { nodes { customerName seller { name } } } }",
                json!({}),
            )
            .await?
            .expect(200)?;
            let other_name = if tenant.seller == tenants[0].seller { "Right" } else { "Left" };
            assert!(!shown.to_string().contains(other_name), "{shown}");
        }
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_user_without_roles_sees_himself_and_what_he_holds() -> Result<()> {
    for engine in BOTH {
        let app = with_services(engine).await?;
        let tenant = Tenant::new(&app, "Beta").await?;
        let session = app.sign_in("Beta@inc.test", atrium_tests::http::PASSWORD).await?;
        let query = "{ viewer { permissions user { uuid subscriptions { totalCount nodes { planKey \
            service { name } request { id } } } } } \
            customers { totalCount } users { totalCount } services { totalCount } \
            subscriptions { totalCount } requests { totalCount } overrides { totalCount } \
            events { totalCount } billingPeriods { totalCount } \
            ledgerEntries(endDate: \"2019-11-30\") { totalCount } \
            billingSummary(endDate: \"2019-11-30\") { totalCount } }";
        let body = ask_as(&app, &session, query, json!({})).await?.expect(200)?;
        let viewer = json!({
            "permissions": [],
            "user": { "uuid": tenant.user, "subscriptions": { "totalCount": 1, "nodes": [
                { "planKey": "standard", "service": null, "request": null },
            ] } },
        });
        assert_eq!(body["data"]["viewer"], viewer);
        let codes = codes(&body);
        assert_eq!(codes.len(), 12, "{codes:?}");
        assert!(codes.iter().all(|(_, code)| code == "forbidden"), "{codes:?}");
        let nulls = body["data"].as_object().context("fields")?.values().filter(|it| it.is_null());
        assert_eq!(nulls.count(), 10);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_ledger_is_that_of_the_billing_api() -> Result<()> {
    for engine in BOTH {
        let app = with_services(engine).await?;
        Tenant::new(&app, "Beta").await?;
        Tenant::new(&app, "Alpha").await?;
        let rows = |body: &Value| body["data"].as_array().cloned().unwrap_or_default();
        let detail = rows(&app.get("/api/Billing/2019-12-31/detail").await?);
        let wanted: Vec<_> = detail.iter().map(|row| row["entryId"].clone()).collect();
        assert_eq!(wanted.len(), 4, "a line for each service of each reseller's customer");
        let (mut found, mut after) = (Vec::new(), Value::Null);
        let query = "query($after: String) { ledgerEntries(endDate: \"2019-12-31\", first: 3, \
            after: $after) { totalCount pageInfo { hasNextPage endCursor } nodes { entryId } } }";
        loop {
            let variables = json!({ "after": after });
            let body = ask_as(&app, &app.token, query, variables).await?.expect(200)?;
            let page = &body["data"]["ledgerEntries"];
            assert_eq!(page["totalCount"], 4);
            let nodes = page["nodes"].as_array().context("nodes")?.iter();
            found.extend(nodes.map(|node| node["entryId"].clone()));
            after = page["pageInfo"]["endCursor"].clone();
            if page["pageInfo"]["hasNextPage"] == false {
                break;
            }
        }
        assert_eq!(found, wanted);

        let data = ask(
            &app,
            "{ billingPeriods { nodes { endDate state entryCount \
            quarantinedCount totals { amount minor currency } } } \
            before: billingPeriods(knownAt: 1) { nodes { entryCount } } }",
        )
        .await?;
        assert_eq!(data["before"]["nodes"][0]["entryCount"], 0);
        let periods = data["billingPeriods"]["nodes"].as_array().context("periods")?;
        assert_eq!(periods.len(), 2);
        let november = json!({
            "endDate": "2019-11-30", "state": "ENDED", "entryCount": 2, "quarantinedCount": 0,
            "totals": [{ "amount": "133.34", "minor": "13334", "currency": "EUR" }],
        });
        assert_eq!(periods[0], november);
        let cents = |row: &Value| -> i64 {
            let text = row["amount"].as_str().unwrap_or_default().replace('.', "");
            text.parse().expect("an amount with two decimals")
        };
        let december: i64 = detail.iter().map(cents).sum();
        assert_eq!(periods[1]["totals"][0]["minor"], json!(december.to_string()));
        assert_eq!(periods[1]["state"], "OPEN");

        let missing = "{ ledgerEntries(endDate: \"2019-12-30\") { totalCount } }";
        let body = ask_as(&app, &app.token, missing, json!({})).await?.expect(200)?;
        assert_eq!(codes(&body), [("ledgerEntries".to_owned(), "no_such_period".to_owned())]);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_document_that_does_not_fit_is_a_problem_that_graphql_clients_can_read() -> Result<()> {
    for engine in BOTH {
        let app = with_services(engine).await?;
        let tenant = Tenant::new(&app, "Beta").await?;
        let many = "{ customers(first: 500) { nodes { users(first: 500) { nodes { name } } } } }";
        let aliases: String =
            (0..31).map(|number| format!("a{number}: viewer {{ roles }} ")).collect();
        for (query, code) in [
            ("{ viewer { roles }", "graphql_parse_failed"),
            ("{ viewer { rolls } }", "graphql_validation_failed"),
            ("mutation { viewer { roles } }", "graphql_validation_failed"),
            (
                "query($n: Int!) { customers(first: $n) { totalCount } }",
                "graphql_validation_failed",
            ),
            ("{ ledgerEntries(endDate: \"never\") { totalCount } }", "graphql_validation_failed"),
            (many, "query_too_complex"),
            (&format!("{{ {aliases} }}"), "too_many_aliases"),
        ] {
            let answer = ask_as(&app, &app.token, query, json!({})).await?;
            let error = answer.body["errors"][0].clone();
            assert_eq!(error["extensions"]["code"], code, "{query}");
            assert_eq!((&error["code"], &error["pointer"]), (&json!(code), &json!("/query")));
            assert_eq!(error["message"], error["detail"]);
            assert_eq!(answer.problem(400)?, code, "{query}");
        }

        // Only developers are helped to find out what there is.
        let introspection = "{ __schema { queryType { name } } }";
        let said = async |token: &str, query| ask_as(&app, token, query, json!({})).await;
        said(&app.token, introspection).await?.expect(200)?;
        let refused = said(&tenant.session, introspection).await?;
        assert_eq!(refused.problem(400)?, "introspection_disabled");
        let wrong = "{ viewer { rolls } }";
        assert!(said(&app.token, wrong).await?.body.to_string().contains("Did you mean"));
        assert!(!said(&tenant.session, wrong).await?.body.to_string().contains("Did you mean"));

        // Pages that are none are errors of their fields.
        let query = "{ a: customers(first: 501) { totalCount } b: users(after: \"x\") { totalCount } \
            c: events(first: 1, last: 1) { totalCount } viewer { permissions } }";
        let body = said(&app.token, query).await?.expect(200)?;
        let bad = |field: &str| (field.to_owned(), "bad_parameter".to_owned());
        assert_eq!(codes(&body), ["a", "b", "c"].map(bad));
        assert!(body["data"]["viewer"]["permissions"].is_array());

        let post = async |kind: &str, body: &str| {
            let request = app.request(&app.token, Method::POST, "/graphql");
            let request = request.header("content-type", kind).body(body.to_owned());
            atrium_tests::http::answer(request).await
        };
        let json = "application/json";
        for body in ["", "{", "[]", "{}", r#"{"query":1}"#, r#"{"query":"{viewer{roles}}","x":1}"#]
        {
            assert_eq!(post(json, body).await?.problem(400)?, "malformed", "{body}");
        }
        let twice = r#"{"query":"{viewer{roles}}","variables":{"a":1,"a":2}}"#;
        let twice = post(json, twice).await?;
        assert_eq!(twice.body["errors"][0]["pointer"], "/variables/a");
        assert_eq!(twice.problem(400)?, "malformed");
        let text = post("text/plain", r#"{"query":"{viewer{roles}}"}"#).await?;
        assert_eq!(text.problem(415)?, "unsupported_media_type");
        let nobody = app.send("", Method::POST, "/graphql", Some(json!({ "query": "{" }))).await?;
        assert_eq!(nobody.problem(401)?, "unauthenticated");
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn events_are_filtered_and_shown_without_proofs() -> Result<()> {
    for engine in BOTH {
        let app = with_services(engine).await?;
        Tenant::new(&app, "Beta").await?;
        let query = "{ events(last: 2, filter: { kinds: [\"user.password_set\"] }) { totalCount \
            pageInfo { hasPreviousPage hasNextPage } nodes { position kind payload } } }";
        let events = ask(&app, query).await?["events"].clone();
        assert_eq!(events["totalCount"], 3);
        assert_eq!(events["pageInfo"], json!({ "hasPreviousPage": true, "hasNextPage": false }));
        for node in events["nodes"].as_array().context("nodes")? {
            assert_eq!(
                (&node["kind"], &node["payload"]),
                (&json!("user.password_set"), &json!({}))
            );
        }
        let last = events["nodes"][1]["position"].as_str().context("a position")?.to_owned();
        let query = format!(
            "{{ events(filter: {{ afterPosition: {last} }}, first: 1) {{ totalCount \
            nodes {{ position }} }} }}"
        );
        let behind = ask(&app, &query).await?["events"].clone();
        let next = last.parse::<u64>()? + 1;
        assert_eq!(behind["nodes"][0]["position"], json!(next.to_string()));
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn activity_is_told_day_by_day_the_newest_first() -> Result<()> {
    for engine in BOTH {
        let app = with_services(engine).await?;
        let tenant = Tenant::new(&app, "Beta").await?;
        app.customer("alpha Ltd", None).await?;
        app.ambient.set("2019-12-21T00:00:00Z");
        let because = json!({ "reason": "unpaid" });
        app.post(&format!("/api/v2/customers/{}/disable", tenant.customer), because).await?;
        app.ambient.set("2019-12-23T00:00:00Z");
        app.post(&format!("/api/v2/customers/{}/enable", tenant.customer), json!({})).await?;
        app.post(&format!("/api/v2/users/{}/disable", tenant.user), json!({})).await?;
        let session = app.sign_in("Beta@partners.test", atrium_tests::http::PASSWORD).await?;

        let fields = "totalCount pageInfo { hasNextPage hasPreviousPage endCursor } nodes { day \
            total counts { category count } firstPosition lastPosition }";
        let of = async |token: &str, arguments: &str, id: &str| -> Result<Value> {
            let query = format!(
                "query($id: ID!) {{ organization(id: $id) {{ activity{arguments} {{ {fields} }} }} }}"
            );
            let body = ask_as(&app, token, &query, json!({ "id": id })).await?.expect(200)?;
            assert_eq!(codes(&body), [], "{body}");
            Ok(body["data"]["organization"]["activity"].clone())
        };
        let whole = of(&app.token, "", &tenant.customer).await?;
        let days = |activity: &Value| -> Vec<Value> {
            let nodes = activity["nodes"].as_array().cloned().unwrap_or_default();
            nodes.iter().map(|node| node["day"].clone()).collect()
        };
        assert_eq!(days(&whole), ["2019-12-23", "2019-12-21", "2019-12-20"].map(|it| json!(it)));
        assert_eq!(whole["totalCount"], 3);
        let newest = &whole["nodes"][0];
        let (organization, user) = (
            json!({ "category": "organization", "count": 1 }),
            json!({ "category": "user", "count": 1 }),
        );
        assert_eq!(
            (&newest["total"], &newest["counts"]),
            (&json!(2), &json!([organization, user]))
        );
        // The positions lead to the very events.
        let first: u64 = newest["firstPosition"].as_str().context("a position")?.parse()?;
        let query = format!(
            "{{ events(first: 2, filter: {{ afterPosition: {} }}) {{ nodes {{ position kind }} }} }}",
            first - 1
        );
        let events = ask(&app, &query).await?["events"]["nodes"].clone();
        assert_eq!(
            events,
            json!([
                { "position": newest["firstPosition"], "kind": "organization.enabled" },
                { "position": newest["lastPosition"], "kind": "user.disabled" },
            ])
        );

        // From either end, and on from a cursor.
        let page = of(&app.token, "(first: 2)", &tenant.customer).await?;
        assert_eq!(days(&page), days(&whole)[..2]);
        assert_eq!(page["pageInfo"]["hasNextPage"], true);
        let cursor = page["pageInfo"]["endCursor"].as_str().context("a cursor")?;
        let rest = of(&app.token, &format!("(after: \"{cursor}\")"), &tenant.customer).await?;
        assert_eq!((days(&rest), &rest["totalCount"]), (days(&whole)[2..].to_vec(), &json!(3)));
        assert_eq!(rest["pageInfo"]["hasPreviousPage"], true);
        let last = of(&app.token, "(last: 1)", &tenant.customer).await?;
        assert_eq!(days(&last), days(&whole)[2..]);
        assert_eq!(last["pageInfo"]["hasPreviousPage"], true);

        // Many organisations at once say what each says; what is below one is not its own.
        for page in ["", "(first: 1)", "(last: 1)"] {
            let query = format!(
                "{{ customers(first: 20) {{ nodes {{ uuid activity{page} {{ {fields} }} }} }} }}"
            );
            let customers = ask(&app, &query).await?["customers"]["nodes"].clone();
            let customers = customers.as_array().context("nodes")?;
            assert_eq!(customers.len(), 2);
            for customer in customers {
                let id = customer["uuid"].as_str().context("an id")?;
                assert_eq!(customer["activity"], of(&app.token, page, id).await?);
            }
        }
        let seller = of(&session, "", &tenant.seller).await?;
        assert_eq!(days(&seller), ["2019-12-23", "2019-12-20"].map(|it| json!(it)));
        assert_eq!(of(&session, "", &tenant.customer).await?, whole);
        let query = "{ customers(first: 5) { nodes { activity(first: 501) { totalCount } } } }";
        let body = ask_as(&app, &app.token, query, json!({})).await?.expect(200)?;
        assert!(codes(&body).iter().all(|(_, code)| code == "bad_parameter"), "{body}");
        assert_eq!(codes(&body).len(), 2);
        app.finish().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_requests_of_a_subscription_are_found_where_it_is() -> Result<()> {
    for engine in BOTH {
        let app = with_services(engine).await?;
        let ours = Tenant::new(&app, "Ours").await?;
        let theirs = Tenant::new(&app, "Theirs").await?;
        let held = |customer: &str| {
            format!(
                "{{subscriptions(filter:{{customerId:\"{customer}\"}}, first:1){{nodes{{id uuid}}}}}}"
            )
        };
        let data = ask(&app, &held(&ours.customer)).await?;
        let own = &data["subscriptions"]["nodes"][0];
        let uuid = own["uuid"].as_str().context("a subscription")?;
        let change = format!("/api/v2/subscriptions/{uuid}/change");
        app.post(&change, json!({ "quantity": 2, "effectiveAt": "2019-12-11" })).await?;
        let asked = |filter: String| {
            format!(
                "{{requests(filter:{{{filter}}}){{totalCount nodes{{verb subscription{{id}}}}}}}}"
            )
        };
        for id in [&own["id"], &own["uuid"]] {
            let data = ask(&app, &asked(format!("subscriptionId:{id}"))).await?;
            assert_eq!(
                data["requests"],
                json!({ "totalCount": 2, "nodes": [
                    { "verb": "PROVISION", "subscription": { "id": own["id"] } },
                    { "verb": "CHANGE", "subscription": { "id": own["id"] } },
                ] })
            );
        }
        // Another customer has none of them; who does not see it is told what he is told of none.
        let other = format!("subscriptionId:{}, customerId:\"{}\"", own["id"], theirs.customer);
        assert_eq!(ask(&app, &asked(other)).await?["requests"]["totalCount"], 0);
        let foreign = asked(format!("subscriptionId:{}", own["id"]));
        let none = asked(format!("subscriptionId:\"{}\"", ours.customer));
        for (token, query) in [(&theirs.session, foreign), (&ours.session, none)] {
            let body = ask_as(&app, token, &query, json!({})).await?.expect(200)?;
            assert_eq!(codes(&body), [("requests".to_owned(), "not_found".to_owned())]);
        }
        app.finish().await?;
    }
    Ok(())
}
