//! Short ways of saying what the tests of the spine do again and again.

use std::sync::Arc;

use anyhow::Result;
pub(crate) use atrium_tests::world::at_once;
use atrium_tests::world::{TestAmbient, World, body};
use commands::{
    Caller, Command, Committed, Error, Idempotency, Submission, Writer, WriterSettings,
};
use domain::organization::Kind;
use eventstore::{Database, Engine, Log};
use serde_json::{Value, json};

/// Every test of the spine runs on both.
pub(crate) const BOTH: [Engine; 2] = [Engine::Sqlite, Engine::Postgres];

/// Something that Atrium itself asks for, without a key.
pub(crate) fn system(command: Command) -> Submission {
    Submission { caller: Caller::SYSTEM, command, idempotency: None }
}

/// The same with a key; `request` stands for what was sent.
pub(crate) fn keyed(command: Command, key: &str, request: u8) -> Submission {
    let idempotency = Idempotency { key: key.to_owned(), request: [request; 32] };
    Submission { caller: Caller::SYSTEM, command, idempotency: Some(idempotency) }
}

/// Founding an organisation below another.
pub(crate) fn create(kind: Kind, parent: &str, name: &str) -> Command {
    let sent = json!({ "name": name, "parentId": parent });
    Command::CreateOrganization { kind, body: body(sent) }
}

/// Adding a user with these roles.
pub(crate) fn create_user(organization: &str, login: &str, roles: &[&str]) -> Command {
    let sent = json!({
        "firstName": "Ann", "lastName": "Lee", "email": login, "roles": roles
    });
    Command::CreateUser { organization: organization.to_owned(), body: body(sent), password: None }
}

/// Renaming a customer.
pub(crate) fn rename(id: &str, name: &str) -> Command {
    Command::EditOrganization {
        id: id.to_owned(),
        kind: Kind::Customer,
        body: body(json!({ "name": name })),
        if_match: None,
    }
}

/// A service for customers with the plans `basic` and `plus`, drafted and published.
pub(crate) async fn sell(world: &World, key: &str, level: &str) -> Result<()> {
    let sent = json!({
        "name": key, "level": level, "instancing": "single",
        "plans": [
            { "key": "basic", "name": "Basic", "price": "10.00" },
            { "key": "plus", "name": "Plus", "price": "20.00" },
        ],
    });
    let key = key.to_owned();
    let draft = Command::DraftService { key: key.clone(), body: body(sent), if_match: None };
    world.system(draft).await?;
    world.system(Command::PublishService { key, body: body(json!({ "rollOut": true })) }).await?;
    Ok(())
}

/// The id of what was made.
pub(crate) fn id(resource: &Value) -> String {
    resource["id"].as_str().expect("a resource has an id").to_owned()
}

/// What was answered, as JSON.
pub(crate) fn resource(committed: &Committed) -> Value {
    serde_json::from_str(committed.reply.body.get()).expect("answers are JSON")
}

/// The provider's id.
pub(crate) async fn provider(world: &World) -> Result<String> {
    let sql = "select key from view_organization where kind = 'provider'";
    Ok(world.database.fetch(sql, &[]).await?[0].text(0)?.to_owned())
}

/// Another writer, as another process would have it: with its own connections.
pub(crate) async fn another_writer(world: &World) -> Result<(Database, Writer)> {
    let database = world.place.open().await?;
    let (writer, _) = start(&database, &world.ambient).await?;
    Ok((database, writer))
}

/// A writer and the thread that it runs on.
pub(crate) async fn start(
    database: &Database,
    ambient: &Arc<TestAmbient>,
) -> Result<(Writer, std::thread::JoinHandle<()>)> {
    let settings = WriterSettings::default();
    let vault = atrium_tests::world::vault();
    Ok(Writer::start(database.clone(), vault, ambient.clone(), settings, Box::new(|_| ())).await?)
}

/// How many events the log has.
pub(crate) async fn events(database: &Database) -> Result<u64> {
    Ok(Log::new(database.clone()).head().await?.position)
}

/// The code of a refusal.
pub(crate) fn refused(answer: &Result<Committed, Error>) -> Option<&'static str> {
    match answer {
        Err(Error::Refused(refusal)) => Some(refusal.code),
        _ => None,
    }
}
