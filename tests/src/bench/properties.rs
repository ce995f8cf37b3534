//! Effective values: resolving them once everything is loaded, and a page of holders with them.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use commands::Command;
use domain::billing::{DayPolicy, Overridden, Setting, Suspended};
use domain::effective::{OverrideAt, resolve};
use domain::organization::Kind;
use domain::overrides::Overriding;
use domain::property::{Property, Scope};
use domain::service::{Definition, Instancing, Level, Plan, Process};
use domain::{OrganizationId, PlanKey, PropertyKey, ServiceKey, TenantPath};
use eventstore::Engine;
use projections::effective::{self, Question};
use projections::finder::{self, Query};
use projections::views::{PROVIDER_KEY, SubscriptionView};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Figure, Size, median, rate};
use crate::world::{World, body};

/// Organisations from the provider down to the holder.
const DEPTH: usize = 6;
/// Holders of a page.
const HOLDERS: usize = 20;
/// Properties of each holder of the page.
const PROPERTIES: usize = 30;
/// Resolutions of one measurement.
const TURNS: usize = 2_000;

/// Measures how long the properties of one holder take, 30 with 60 overrides and 50 with 200, and a page of twenty
/// holders with 30 each from the database.
///
/// # Errors
/// What the database says.
pub async fn properties(engine: Engine, size: Size, tell: &mut impl FnMut(Figure)) -> Result<()> {
    for (name, properties, overrides) in [("resolve-30", 30, 60), ("resolve-50", 50, 200)] {
        let micros = (0..size.runs).map(|_| resolution(properties, overrides)).collect();
        tell(Figure::new(name, engine, median(micros, |value| *value), "us"));
    }
    let world = World::new(engine).await?;
    let questions = page(&world).await?;
    let mut rates = Vec::new();
    let turns = (size.commands / HOLDERS).max(1);
    for _ in 0..size.runs {
        let began = Instant::now();
        for _ in 0..turns {
            let answers = effective::properties(&world.database, black_box(&questions)).await?;
            let resolved: usize = answers.iter().map(Vec::len).sum();
            ensure!(resolved == HOLDERS * PROPERTIES, "{resolved} properties");
        }
        rates.push(rate(turns, began.elapsed()));
    }
    tell(Figure::new("property-page", engine, median(rates, |value| *value), "pages/s"));
    Ok(())
}

/// Microseconds that all properties of one holder take.
fn resolution(properties: usize, overrides: usize) -> f64 {
    let definition = definition(properties);
    let moment = DateTime::UNIX_EPOCH + TimeDelta::days(18_000);
    let overriding: Vec<_> = (0..overrides)
        .map(|number| Overriding {
            overridden: Overridden::Property {
                hidden: false,
                key: definition.properties[number % properties].key.clone(),
                locked: number % 50 == 49,
                setting: match number % 10 {
                    9 => Setting::Cleared,
                    _ => Setting::Set { to: None, value: number.to_string() },
                },
            },
            plan: (number % 4 == 3).then(|| definition.plans[0].key.clone()),
            service: definition.key.clone(),
        })
        .collect();
    let overrides: Vec<_> = overriding
        .iter()
        .enumerate()
        .map(|(number, overriding)| OverrideAt {
            depth: number % DEPTH,
            from: moment - TimeDelta::hours(number.try_into().unwrap_or(0)),
            organization: OrganizationId(Uuid::from_u128(number as u128 % DEPTH as u128)),
            overriding,
            position: number as u64 + 1,
        })
        .collect();
    let began = Instant::now();
    for _ in 0..TURNS {
        let plan = definition.plans.first();
        black_box(resolve(black_box(&definition), plan, black_box(&overrides), &[], moment));
    }
    began.elapsed().as_secs_f64() * 1e6 / TURNS as f64
}

fn key(number: usize) -> PropertyKey {
    PropertyKey::parse(&format!("Property{number}")).expect("letters and digits")
}

fn definition(properties: usize) -> Definition {
    let property = |number: usize| Property {
        default: Some("default".to_owned()),
        scope: if number.is_multiple_of(2) { Scope::Plan } else { Scope::Customer },
        ..Property::of_plan(key(number), "A property")
    };
    let plan = Plan {
        components: vec![],
        day_policy: DayPolicy::Daily,
        key: PlanKey::parse("plan").expect("letters"),
        level: None,
        name: "Plan".to_owned(),
        price: None,
        properties: (0..properties).step_by(2).map(|it| (key(it), "plan".to_owned())).collect(),
        retired: false,
        sku: "plan".to_owned(),
        suspended: Suspended::Billed,
        tax_category: None,
    };
    Definition {
        category: String::new(),
        description: String::new(),
        icon: None,
        instancing: Instancing::Single,
        key: ServiceKey::parse("service").expect("letters"),
        level: Level::Customer,
        line_description: None,
        max_instances: None,
        meters: vec![],
        name: "Service".to_owned(),
        permissions: vec![],
        plans: vec![plan],
        process: Process::Immediate,
        properties: (0..properties).map(property).collect(),
        roles: vec![],
        summary_description: None,
        validations: vec![],
    }
}

fn id(made: &Value) -> Result<String> {
    Ok(made["id"].as_str().context("what was made has an id")?.to_owned())
}

/// Twenty customers at the bottom of the tree, each with a subscription and overrides all the way down to it.
async fn page(world: &World) -> Result<Vec<Question>> {
    let properties: Vec<_> = (0..PROPERTIES)
        .map(|number| json!({ "key": key(number), "scope": "customer", "kind": "input", "default": "x" }))
        .collect();
    let draft = json!({
        "name": "Service", "level": "customer", "instancing": "single", "properties": properties,
        "plans": [{ "key": "plan", "name": "Plan" }],
    });
    let service = "service".to_owned();
    let draft = Command::DraftService { key: service.clone(), body: body(draft), if_match: None };
    world.system(draft).await?;
    world
        .system(Command::PublishService { key: service, body: body(json!({ "rollOut": true })) })
        .await?;
    let provider = finder::find_name(&world.database, PROVIDER_KEY).await?;
    let mut seller = provider.context("the world has a provider")?.owner.to_string();
    for depth in 1..DEPTH - 1 {
        let sent = json!({ "name": format!("Seller {depth}"), "parentId": seller });
        let made = Command::CreateOrganization { kind: Kind::Reseller, body: body(sent) };
        seller = id(&world.system(made).await?)?;
        set(world, &seller, depth).await?;
    }
    for number in 0..HOLDERS {
        let sent = json!({ "name": format!("Customer {number}"), "parentId": seller });
        let made = Command::CreateOrganization { kind: Kind::Customer, body: body(sent) };
        let customer = id(&world.system(made).await?)?;
        set(world, &customer, number).await?;
        let wish =
            json!({ "service": "service", "plan": "plan", "properties": { "Property0": "y" } });
        world.system(Command::ProvisionToCustomer { customer, body: body(wish) }).await?;
    }
    let everything = finder::Scope(TenantPath::provider());
    let query = Query { limit: HOLDERS, ..Query::default() };
    let found = finder::list::<SubscriptionView>(&world.database, &everything, &query).await?;
    let question = |(_, held): &(_, std::sync::Arc<SubscriptionView>)| Question {
        as_of: DateTime::<Utc>::MAX_UTC,
        known_at: None,
        path: held.path.clone(),
        place_then: None,
        plan: None,
        service: held.service.clone(),
        subscription: Some(held.id),
    };
    Ok(found.items.iter().map(question).collect())
}

async fn set(world: &World, organization: &str, number: usize) -> Result<()> {
    let sent = json!({ "property": key(number % PROPERTIES), "value": "z", "reason": "agreed" });
    let command = Command::OverrideProperty {
        organization: organization.to_owned(),
        service: "service".to_owned(),
        body: body(sent),
    };
    world.system(command).await?;
    Ok(())
}
