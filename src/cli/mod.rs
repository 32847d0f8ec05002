//! The command line, and everything between it and the running loop.
//!
//! * [`arguments`]: help, version, completions, and what a misspelt directive may have been meant for.
//! * [`check`]: what is wrong with a configuration.

mod arguments;
mod check;

use crate::command::config::update_title;
use crate::event_loop;
use crate::server::cluster;
use crate::server::config::{Config, ConfigError, Startup, Supervised};
use crate::server::flavour::Flavour;
use crate::server::observe::log::{Level, Log};
use crate::server::oom_score;
use crate::server::process::Origin;
use crate::server::startup;
use crate::server::table::{CommandTable, Row};
use crate::server::tls;
use crate::server::web;
use crate::server::{REDIS_VERSION, Server, VERSION};
use crate::sys::{crash, image, process, title};
use crate::util::alloc;
use crate::{aof, command, rdb, script};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// Descriptors that are not clients': listeners, files, the poll, standard streams.
const RESERVED_FILES: u64 = 32;

/// All families of commands.
const FAMILIES: &[&[Row]] = &[
    command::acl::COMMANDS,
    command::connection::COMMANDS,
    command::client::COMMANDS,
    command::tracking::COMMANDS,
    command::string::COMMANDS,
    command::lcs::COMMANDS,
    command::hyperloglog::COMMANDS,
    command::bits::COMMANDS,
    command::bitfield::COMMANDS,
    command::stream::COMMANDS,
    command::keys::COMMANDS,
    command::database::COMMANDS,
    command::dump::COMMANDS,
    command::migrate::COMMANDS,
    command::scan::COMMANDS,
    command::list::COMMANDS,
    command::expire::COMMANDS,
    command::set::COMMANDS,
    command::set_algebra::COMMANDS,
    command::hash::COMMANDS,
    command::hash_expire::COMMANDS,
    command::zset::COMMANDS,
    command::geo::COMMANDS,
    command::object::COMMANDS,
    command::info::COMMANDS,
    command::cluster::COMMANDS,
    command::clustertrace::COMMANDS,
    command::config::COMMANDS,
    command::server::COMMANDS,
    command::sort::COMMANDS,
    command::module::COMMANDS,
    command::monitor::COMMANDS,
    command::debug::COMMANDS,
    command::replication::COMMANDS,
    command::repltrace::COMMANDS,
    command::transaction::COMMANDS,
    command::pubsub::COMMANDS,
    command::script::COMMANDS,
    command::function::COMMANDS,
];

/// The table of all commands.
pub fn command_table() -> CommandTable {
    CommandTable::new(FAMILIES, script::run::HOST)
}

/// What is said where Redis's program would be a Sentinel.
const NO_SENTINEL: &str = "Sentinel is a program of its own, which is not part of Aeolis. Run redis-sentinel (or \
                           valkey-sentinel) with this configuration: it watches over Aeolis as it does over Redis.";

/// Runs the program with these arguments (the first is its name); answers the exit code.
pub fn run(args: impl Iterator<Item = OsString>) -> i32 {
    alloc::init();
    // Before the first large block: a huge page that it has got stays one, however little of it is used.
    process::allow_huge_pages(false);
    let args: Vec<OsString> = args.collect();
    if let Some(code) = other_program(&args) {
        return code;
    }
    if let Some(code) = arguments::without_server(&args, &mut std::io::stdout()) {
        return code;
    }
    let mut words: Vec<Vec<u8>> = args.iter().skip(1).cloned().map(OsString::into_vec).collect();
    let flavour = Flavour::of(args.first().map(OsString::as_os_str).unwrap_or_default());
    let base = Config::defaults_of(flavour);
    if words.first().is_some_and(|word| word == b"--check-config") {
        words.remove(0);
        return check::run(base, &words, &mut std::io::stdin(), &mut std::io::stdout());
    }
    let startup = match Config::from_args(base, &words, &mut std::io::stdin()) {
        Ok(startup) => startup,
        Err(error) => {
            eprintln!("{error}");
            arguments::tip(&error).inspect(|tip| eprintln!("{tip}"));
            return 1;
        }
    };
    serve(startup, &args.first().map(|a| a.to_string_lossy()).unwrap_or_default())
}

/// The programs that this one is too, by the name that it was called by.
fn other_program(args: &[OsString]) -> Option<i32> {
    let name = Path::new(args.first()?).file_name()?.to_str()?;
    let args: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    if name.ends_with("-check-aof") {
        Some(aof::check::run(&args, &mut input, &mut output))
    } else if name.ends_with("-check-rdb") {
        Some(rdb::check::run(&args, &mut output))
    } else if name.ends_with("-sentinel") || args.iter().any(|arg| arg == "--sentinel") {
        eprintln!("{NO_SENTINEL}");
        Some(1)
    } else {
        None
    }
}

/// Makes the server and runs its loop; answers the exit code.
fn serve(startup: Startup, executable: &str) -> i32 {
    let mut server = match make_server(startup, executable) {
        Ok(server) => server,
        Err(error) => {
            eprintln!("{error}");
            return 1;
        }
    };
    let outcome = start(&mut server).and_then(|()| {
        image::give_back_pages();
        Ok(event_loop::run(&mut server)
            .map_err(|error| format!("The event loop failed: {error}"))?)
    });
    outcome.unwrap_or_else(|error| {
        server.warning(&error.to_string());
        1
    })
}

/// Makes the process what the configuration wants it to be, and a server in it that has no data yet.
///
/// # Errors
/// A line for the terminal: there is no log yet.
fn make_server(startup: Startup, executable: &str) -> Result<Server, Box<dyn Error>> {
    let Startup { mut config, config_file, log: lines } = startup;
    if config.set_proc_title {
        title::init();
    }
    std::env::set_current_dir(&config.dir)
        .map_err(|error| format!("Can't chdir to '{}': {error}", config.dir.display()))?;
    let supervised = supervision(config.supervised);
    if config.daemonize && supervised.is_none() {
        process::daemonize().map_err(|error| format!("Can't daemonize: {error}"))?;
    }
    let file = (!config.logfile.is_empty()).then(|| config.dir.join(&config.logfile));
    crash::install(file.as_deref());
    let log = Log::new(config.loglevel, file);
    crash::report_crashes(config.crash_log_enabled);
    let (commands, faults) = renamed_commands(&config);
    if let Some(fault) = faults.into_iter().next() {
        return Err(fault.into());
    }
    let wanted = config.maxclients;
    let visitors = if config.metrics_port == 0 { 0 } else { web::MAX_VISITORS as u64 };
    let reserved = RESERVED_FILES + visitors;
    let limit = process::raise_open_files(u64::from(wanted) + reserved);
    config.maxclients = wanted.min(limit.saturating_sub(reserved).max(1) as u32);

    let mut server = Server::new(config, commands, SmallRng::from_os_rng(), log);
    let origin =
        Origin { executable: absolute(executable), config_file: config_file.unwrap_or_default() };
    server.process.came_from(origin, supervised);
    introduce(&server);
    for line in &lines {
        server.warning(line);
    }
    if server.config.maxclients != wanted {
        server.warning(&format!(
            "You requested maxclients of {wanted} requiring at least {} max file descriptors. Current maximum open \
             files is {limit}. maxclients has been reduced to {} to compensate for low ulimit.",
            u64::from(wanted) + reserved,
            server.config.maxclients
        ));
    }
    Ok(server)
}

/// All commands, by the names that `rename-command` gives them, and what is wrong with these.
fn renamed_commands(config: &Config) -> (CommandTable, Vec<ConfigError>) {
    let mut commands = command_table();
    commands.adapt(config.flavour);
    let mut faults = Vec::new();
    for line in &config.rename_command {
        if !commands.rename(&line.args[1], &line.args[2]) {
            let why = "No such command in rename-command, or the new name is taken";
            faults.push(line.error(why));
        }
    }
    (commands, faults)
}

/// The first lines of the log.
fn introduce(server: &Server) {
    server.notice("oO0OoO0OoO0Oo Aeolis is starting oO0OoO0OoO0Oo");
    server.notice(&format!(
        "Aeolis version={VERSION}, Redis version={REDIS_VERSION}, bits=64, pid={}, just started",
        std::process::id()
    ));
    if server.process.origin().config_file.as_os_str().is_empty() {
        server.warning(
            "Warning: no config file specified, using the default config. In order to specify a config file use \
             aeolis /path/to/redis.conf",
        );
    } else {
        server.notice("Configuration loaded");
    }
}

/// Reads what a server needs beside its data, opens its ports, and begins to load or to replicate.
///
/// # Errors
/// A line for the log.
fn start(server: &mut Server) -> Result<(), Box<dyn Error>> {
    startup::load_setup(server)?;
    if let Err(error) = tls::configure_tls(server) {
        server.warning(&error.to_string());
        return Err("Failed to configure TLS. Check logs for more info.".into());
    }
    event_loop::open(server).map_err(|error| format!("Failed to start: {error}"))?;
    if !server.config.disable_thp {
        process::allow_huge_pages(true);
    }
    update_title(server);
    write_pid_file(server);
    greet(server);
    server.notice("Server initialized");
    server.process.set_startup_memory(alloc::used_memory());
    // What failed has been logged; it is no reason not to serve.
    let _ = oom_score::apply_oom_score(server);
    Ok(startup::begin(server)?)
}

/// The name of the supervisor that expects to hear from us.
fn supervision(mode: Supervised) -> Option<&'static str> {
    let systemd = std::env::var_os("NOTIFY_SOCKET").is_some();
    let upstart = std::env::var_os("UPSTART_JOB").is_some();
    match mode {
        Supervised::Systemd => Some("systemd"),
        Supervised::Upstart => Some("upstart"),
        Supervised::Auto if upstart => Some("upstart"),
        Supervised::Auto if systemd => Some("systemd"),
        Supervised::Auto | Supervised::No => None,
    }
}

fn absolute(path: &str) -> String {
    std::path::absolute(path).map_or_else(|_| path.to_string(), |p| p.display().to_string())
}

/// Says who is here: a picture on a terminal, or if `always-show-logo` wants it; else a line.
fn greet(server: &Server) {
    let config = &server.config;
    let mode = cluster::mode(server);
    let on_terminal = config.logfile.is_empty() && std::io::stdout().is_terminal();
    if !on_terminal && !config.always_show_logo {
        server.notice(&format!("Running mode={mode}, port={}.", config.main_port()));
        return;
    }
    let (port, pid) = (config.main_port(), std::process::id());
    server.notice(&format!(
        "\n\n    ~~~~~   ~~~~   Aeolis {VERSION} (Redis {REDIS_VERSION}), 64 bit\n  ~~~  ~~~~~    ~~ \n ~~~~~~~   ~~~~~   Running in \
         {mode} mode\n   ~~~  ~~~~  ~~~  Port: {port}\n     ~~~~   ~~~~   PID: {pid}\n"
    ));
}

fn write_pid_file(server: &Server) {
    let path = match &server.config.pidfile {
        Some(path) => path.clone(),
        None if server.config.daemonize => "/var/run/redis.pid".to_string(),
        None => return,
    };
    let written = File::create(&path).and_then(|mut f| writeln!(f, "{}", std::process::id()));
    if let Err(error) = written {
        server.log(Level::Warning, &format!("Failed to write PID file {path}: {error}"));
    }
}
