//! The `atrium` binary: the server, and around it what operators need, a file each in `tool`.

mod tool;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use api::config::{Access, DataArguments, ServeArguments, Settings};
use api::keys::{Keys, hex, random_bytes};
use api::server::{Installation, master_key, open_to_read, recorder};
use api::setup::{self, Demo};
use clap::{Args, Parser, Subcommand};
use commands::{Password, SystemAmbient};
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket};
use tool::checkpoint::Schedule;
use tracing_subscriber::EnvFilter;

/// Commands are many small allocations, made on one thread and freed on another: see
/// `docs/adr/0009-allocator.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Atrium runs the service business of a managed service provider: it provisions services, keeps
/// every provisioning, override and deprovision as an immutable event, and turns that history into
/// a billing ledger.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Commands,

    /// Log in JSON lines instead of readable ones
    #[arg(long, global = true, env = "ATRIUM_LOG_JSON")]
    log_json: bool,
}

#[derive(Subcommand)]
enum Commands {
    /// Start with a small MSP in it: twelve customers, two years of history
    ///
    /// The first start takes some seconds to make the history through the ordinary commands;
    /// started again, it goes on with the same data. Delete the folder to begin anew.
    Demo(DemoArguments),
    /// Start the server
    ///
    /// The first start makes the provider and its administrator, and prints his password once.
    /// With --read-only it answers questions from a database that others write to, such as a
    /// PostgreSQL standby or a restored backup, writes nothing, and refuses every command.
    Serve(ServeArguments),
    /// Bring the database up to date and stop; `serve` does so by itself
    Migrate(DataArguments),
    /// Fold all views and the ledger again from the log, compare, and switch over
    ///
    /// Exit code 0: as it was. 1: it differed (the fresh tables are in use now).
    Rebuild(tool::ToolArguments),
    Verify(tool::verify::VerifyArguments),
    Checkpoint(tool::checkpoint::CheckpointArguments),
    Doctor(tool::doctor::DoctorArguments),
    Backup(tool::backup::BackupArguments),
    Restore(tool::restore::RestoreArguments),
    Export(tool::export::ExportArguments),
    Import(tool::import::ImportArguments),
    Purge(tool::purge::PurgeArguments),
    Seed(tool::seed::SeedArguments),
    /// Print the settings in force, secrets masked
    Config(ServeArguments),
}

#[derive(Args)]
struct DemoArguments {
    #[command(flatten)]
    serve: ServeArguments,

    /// Only the provider and its administrator
    #[arg(long)]
    empty: bool,

    /// Print one JSON line when ready, and nothing else, on standard output
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    #[cfg(feature = "faults")]
    eventstore::failpoints_from_environment();
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("ATRIUM_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if cli.log_json {
        log.json().init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).init();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.context("no threads can be started").and_then(|runtime| {
        let outcome = runtime.block_on(run(cli.command));
        // Nobody waits for what an interrupted command has left running.
        runtime.shutdown_background();
        outcome
    });
    outcome.unwrap_or_else(|error| {
        eprintln!("atrium: {error:#}");
        ExitCode::from(2)
    })
}

async fn run(command: Commands) -> Result<ExitCode> {
    match command {
        Commands::Demo(arguments) => demo(arguments).await.map(|()| ExitCode::SUCCESS),
        Commands::Serve(arguments) => serve(&arguments).await.map(|()| ExitCode::SUCCESS),
        Commands::Migrate(data) => migrate(data).await.map(|()| ExitCode::SUCCESS),
        Commands::Config(arguments) => {
            print!("{}", Settings::load(&arguments)?.show());
            Ok(ExitCode::SUCCESS)
        }
        Commands::Rebuild(arguments) => tool::rebuild::run(&arguments).await,
        Commands::Verify(arguments) => tool::verify::run(&arguments).await,
        Commands::Checkpoint(arguments) => tool::checkpoint::run(&arguments).await,
        Commands::Doctor(arguments) => tool::doctor::run(&arguments).await,
        Commands::Backup(arguments) => unless_stopped(tool::backup::run(&arguments)).await,
        Commands::Restore(arguments) => unless_stopped(tool::restore::run(&arguments)).await,
        Commands::Export(arguments) => unless_stopped(tool::export::run(&arguments)).await,
        Commands::Import(arguments) => unless_stopped(tool::import::run(&arguments)).await,
        Commands::Purge(arguments) => tool::purge::run(&arguments).await,
        Commands::Seed(arguments) => tool::seed::run(&arguments).await,
    }
}

/// Runs a command that undoes what it has begun where it is interrupted.
async fn unless_stopped(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    tokio::select! {
        outcome = command => outcome,
        () = stopped() => anyhow::bail!("interrupted; what was there is as it was"),
    }
}

/// Connections that may wait to be accepted; the system lowers it to its own limit (`net.core.somaxconn`).
///
/// The default of 128 turns clients away in a storm, for minutes: their system waits longer after each attempt.
const BACKLOG: u32 = 4096;

fn listener(settings: &Settings) -> Result<TcpListener> {
    let socket = if settings.listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without it, a server could not be started again while connections of the one before it are ending.
    socket.set_reuseaddr(true)?;
    socket
        .bind(settings.listen)
        .and_then(|()| socket.listen(BACKLOG))
        .with_context(|| format!("{} is not free; choose another --listen", settings.listen))
}

async fn demo(arguments: DemoArguments) -> Result<()> {
    let settings = Settings::load(&arguments.serve)?;
    if settings.access != Access::ReadWrite {
        anyhow::bail!(
            "a demo is written; to read one that was made, use `atrium serve --read-only`"
        );
    }
    // Before the long work: an address that is not free would waste it.
    let listener = listener(&settings)?;
    Schedule::make_folder(&settings)?;
    let database = tool::open(&settings).await?;
    let keys = Keys::derive(&master_key(&settings, &database).await?);
    keys.check(&database).await?;
    let bar = tool::progress("Making two years of history", "{msg}: day {pos}", 0);
    let demo = setup::demo(&database, &keys, &settings.billing, arguments.empty, |day| {
        bar.set_position(day);
    })
    .await?;
    bar.finish_and_clear();
    recorder();
    let ambient = Arc::new(SystemAmbient);
    let mut installation =
        Installation::start(database, keys.clone(), ambient, settings.rate_limit).await?;
    installation.look_every = settings.look_every;
    installation.retention_days = settings.retention_days;
    let checkpoints = Schedule::begin(&settings, &keys, installation.app.database());
    let tokens = setup::demo_tokens(&installation.app, arguments.empty).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let password = match demo {
        Demo::Made => Some(api::demo::password(&keys).0),
        Demo::Seeded => None,
    };
    let login = api::population::PROVIDER_ADMINISTRATOR;
    let (token, customer_token) = (&tokens.administrator, tokens.customer.as_deref());
    let stopped = stopped();
    let mut out = std::io::stdout();
    if arguments.json {
        let line = json!({
            "url": url,
            "login": login,
            "password": password,
            "token": token,
            "customerToken": customer_token,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(
            out,
            "Atrium is ready at {url}\n\n  \
             Sign in as  {login}\n  \
             Password    {password}\n  \
             API token   {token}\n\n\
             Try:\n\n  \
             TOKEN={token}\n  \
             curl -s -H \"Authorization: Bearer $TOKEN\" {url}/api/Billing/parameters\n  \
             curl -s -H \"Authorization: Bearer $TOKEN\" '{url}/api/Billing/{period}?aggregateByCustomer=true'\n  \
             curl -s -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \
             -d '{{\"query\":\"{{customers(first:3){{nodes{{name users{{totalCount}}}}}}}}\"}}' {url}/graphql\n\n\
             Stop with Ctrl-C; started again, it goes on with the same data.",
            password = password.as_deref().unwrap_or("none: the token is the way in"),
            period = setup::last_full_period(&installation.app).await?,
        )?;
    }
    out.flush()?;
    serve_to_the_end(installation, listener, stopped, checkpoints).await
}

async fn serve(arguments: &ServeArguments) -> Result<()> {
    let settings = Settings::load(arguments)?;
    let listener = listener(&settings)?;
    Schedule::make_folder(&settings)?;
    recorder();
    let ambient = Arc::new(SystemAmbient);
    if let Access::ReadOnly { commands_at } = &settings.access {
        let database = open_to_read(&settings).await?;
        let keys = Keys::derive(&master_key(&settings, &database).await?);
        let (rate, elsewhere) = (settings.rate_limit, commands_at.as_deref());
        let installation =
            Installation::start_to_read(database, keys.clone(), ambient, rate, elsewhere).await?;
        let checkpoints = Schedule::begin(&settings, &keys, installation.app.database());
        let stopped = stopped();
        eprintln!("Atrium is ready, only to read, at http://{}", listener.local_addr()?);
        return serve_to_the_end(installation, listener, stopped, checkpoints).await;
    }
    let database = tool::open(&settings).await?;
    let keys = Keys::derive(&master_key(&settings, &database).await?);
    let mut installation =
        Installation::start(database, keys.clone(), ambient, settings.rate_limit).await?;
    installation.look_every = settings.look_every;
    installation.retention_days = settings.retention_days;
    let password = Password(hex(&random_bytes::<10>()));
    if let Some(login) = setup::first(&installation.app, &settings.billing, &password).await? {
        let Password(password) = password;
        eprintln!(
            "This is a new installation. Its administrator, shown this once:\n\n  \
             Login     {login}\n  Password  {password}\n"
        );
    }
    let checkpoints = Schedule::begin(&settings, &keys, installation.app.database());
    let stopped = stopped();
    eprintln!("Atrium is ready at http://{}", listener.local_addr()?);
    serve_to_the_end(installation, listener, stopped, checkpoints).await
}

/// Serves until it is stopped; then the last checkpoint is made, where they are wanted.
async fn serve_to_the_end(
    installation: Installation,
    listener: TcpListener,
    stopped: impl Future<Output = ()> + Send + 'static,
    checkpoints: Option<Schedule>,
) -> Result<()> {
    let served = installation.serve(listener, stopped).await;
    if let Some(checkpoints) = checkpoints {
        checkpoints.end().await;
    }
    served
}

/// Waits for Ctrl-C or SIGTERM. They are listened for from the call on, not only from the first wait: somebody may
/// have it stop as soon as it says that it is ready.
fn stopped() -> impl Future<Output = ()> + Send + 'static {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = signal(SignalKind::interrupt()).and_then(|interrupt| {
        signal(SignalKind::terminate()).map(|terminate| (interrupt, terminate))
    });
    async {
        let Ok((mut interrupt, mut terminate)) = signals else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}

async fn migrate(data: DataArguments) -> Result<()> {
    let database = tool::open(&tool::settings_of(&data)?).await?;
    database.close().await;
    eprintln!("The database is up to date.");
    Ok(())
}
