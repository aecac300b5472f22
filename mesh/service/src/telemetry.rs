//! Logging of a service.

use std::{env, fmt, io::IsTerminal, str::FromStr, sync::OnceLock};

use mesh_model::config;
use tracing_subscriber::{
    EnvFilter, Registry,
    filter::ParseError,
    fmt::{layer, time::SystemTime},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

pub use tracing_subscriber::fmt::{format::Writer, time::FormatTime};

/// Settings of the log, as flags.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// Minimum severity of log lines. HTTP, DNS and TLS libraries log at most at
    /// info, unless --log.filter names them.
    #[arg(long = "log.level", env = "PROMESH_LOG_LEVEL", default_value = "info")]
    pub level: LogLevel,

    /// Levels by module, in addition to --log.level, such as
    /// mesh_balance=debug,h2=trace.
    #[arg(long = "log.filter", env = "PROMESH_LOG_FILTER")]
    pub filter: Option<LogFilter>,

    /// Format of log lines.
    #[arg(
        long = "log.format",
        env = "PROMESH_LOG_FORMAT",
        default_value = "auto"
    )]
    pub format: LogFormat,
}

/// Minimum severity of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum LogLevel {
    /// No log lines.
    Off,
    /// Failures that somebody must act on now.
    Error,
    /// Failures that somebody should look at.
    Warn,
    /// Changes of state.
    #[default]
    Info,
    /// Single requests and scrapes.
    Debug,
    /// Everything.
    Trace,
}

/// Levels by module: `MODULE=LEVEL[,MODULE=LEVEL…]`, as `tracing_subscriber` defines them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object per line.
    Json,
}

/// Error for a text that is not a log filter.
#[derive(Debug, thiserror::Error)]
#[error(
    "{found:?}: {source}; expected MODULE=LEVEL[,MODULE=LEVEL…], such as mesh_balance=debug,h2=trace"
)]
pub struct ParseFilterError {
    found: String,
    source: ParseError,
}

/// Maximum levels of libraries.
///
/// - kube logs failed attempts, which our watches log once.
/// - The others log every frame, handshake or poll.
const LIBRARIES: [(&str, LogLevel); 10] = [
    ("kube_runtime", LogLevel::Error),
    ("kube_client", LogLevel::Error),
    ("h2", LogLevel::Info),
    ("hyper", LogLevel::Info),
    ("hyper_util", LogLevel::Info),
    ("hyper_rustls", LogLevel::Info),
    ("rustls", LogLevel::Info),
    ("tower", LogLevel::Info),
    ("hickory_proto", LogLevel::Info),
    ("hickory_resolver", LogLevel::Info),
];

/// Log of this process, once [`LogArgs::init`] has installed it.
static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// Settings of the installed log, and the means to change its filter.
struct Installed {
    args: LogArgs,
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Replaces the level of `--log.level` by that of the configuration file; `None` restores it.
/// Does nothing if this process has no log.
pub fn set_level(level: Option<config::LogLevel>) {
    if let Some(Installed { args, filter }) = INSTALLED.get() {
        let level = level.map_or(args.level, LogLevel::from);
        // Fails only after the subscriber is gone, and it lives as long as the process.
        let _ = filter.reload(EnvFilter::new(args.directives(level)));
    }
}

/// Formats the current time as in log lines: RFC 3339, in UTC.
pub fn timestamp() -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

// === impl LogArgs ===

impl LogArgs {
    /// Installs the log subscriber of the process, which writes to standard error.
    pub fn init(&self) {
        self.init_with(SystemTime);
    }

    /// Installs the log subscriber with another clock than the system's.
    pub fn init_with<T>(&self, time: T)
    where
        T: FormatTime + Send + Sync + 'static,
    {
        let is_terminal = std::io::stderr().is_terminal();
        let json = match self.format {
            LogFormat::Auto => !is_terminal,
            LogFormat::Text => false,
            LogFormat::Json => true,
        };
        let (filter, handle) = reload::Layer::new(EnvFilter::new(self.directives(self.level)));
        let registry = tracing_subscriber::registry().with(filter);
        let layer = layer()
            .with_timer(time)
            .with_ansi(is_terminal && !is_colour_refused())
            .with_writer(std::io::stderr);
        // A second call, as tests make, leaves the first subscriber in place.
        let installed = if json {
            registry.with(layer.json().flatten_event(true)).try_init()
        } else {
            registry.with(layer).try_init()
        };
        if installed.is_ok() {
            let _ = INSTALLED.set(Installed {
                args: self.clone(),
                filter: handle,
            });
        }
    }

    /// Joins a level, the limits of the libraries and the filter. Later parts win over earlier
    /// ones.
    fn directives(&self, level: LogLevel) -> String {
        let mut directives = level.to_string();
        for (library, max) in LIBRARIES {
            directives.push_str(&format!(",{library}={}", level.min(max)));
        }
        if let Some(filter) = &self.filter {
            directives.push_str(&format!(",{}", filter.0));
        }
        directives
    }
}

/// Returns true if the environment asks for no colours (no-color.org).
fn is_colour_refused() -> bool {
    env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

// === impl LogLevel ===

impl From<config::LogLevel> for LogLevel {
    fn from(level: config::LogLevel) -> Self {
        match level {
            config::LogLevel::Debug => Self::Debug,
            config::LogLevel::Info => Self::Info,
            config::LogLevel::Warn => Self::Warn,
            config::LogLevel::Error => Self::Error,
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

// === impl LogFilter ===

impl FromStr for LogFilter {
    type Err = ParseFilterError;

    fn from_str(text: &str) -> Result<Self, ParseFilterError> {
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(source) => Err(ParseFilterError {
                found: text.to_owned(),
                source,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use clap::Parser;
    use tracing::{Event, Subscriber};
    use tracing_subscriber::layer::{Context, Layer};

    use super::*;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        log: LogArgs,
    }

    fn parse(flags: &[&str]) -> Result<LogArgs, String> {
        let all = [&["service"], flags].concat();
        let parsed = Only::try_parse_from(all);
        parsed.map(|it| it.log).map_err(|error| error.to_string())
    }

    #[test]
    fn accepts_only_levels_as_the_level() {
        for level in ["off", "error", "warn", "info", "debug", "trace"] {
            let args = parse(&[&format!("--log.level={level}")]).unwrap();
            assert_eq!(args.level.to_string(), level);
        }
        for level in ["", "INFO", "warning", "info,mesh_balance=debug", "3"] {
            let error = parse(&[&format!("--log.level={level}")]).unwrap_err();
            for part in ["--log.level", "off, error, warn, info, debug, trace"] {
                assert!(error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn reports_an_invalid_filter() {
        let error = parse(&["--log.filter=mesh_balance=loud"]).unwrap_err();
        for part in ["--log.filter", "mesh_balance=loud", "h2=trace"] {
            assert!(error.contains(part), "{error}");
        }
    }

    /// Sends target and level of each event.
    struct Recorder(mpsc::Sender<String>);

    impl<S: Subscriber> Layer<S> for Recorder {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let metadata = event.metadata();
            let line = format!("{} {}", metadata.target(), metadata.level());
            let _ = self.0.send(line);
        }
    }

    /// Emits one event of each kind and returns those that the flags let through.
    fn recorded(flags: &[&str]) -> Vec<String> {
        let args = parse(flags).unwrap();
        let filter = EnvFilter::new(args.directives(args.level));
        let (recorder, lines) = mpsc::channel();
        let subscriber = tracing_subscriber::registry().with(filter);
        tracing::subscriber::with_default(subscriber.with(Recorder(recorder)), || {
            tracing::error!(target: "kube_client", "x");
            tracing::warn!(target: "kube_client", "x");
            tracing::info!(target: "h2", "x");
            tracing::debug!(target: "h2::codec", "x");
            tracing::info!(target: "mesh_balance", "x");
            tracing::debug!(target: "mesh_balance", "x");
            tracing::debug!(target: "gateway", "x");
            tracing::trace!(target: "gateway", "x");
        });
        lines.try_iter().collect()
    }

    #[test]
    fn filters_by_level_library_and_module() {
        let info = ["kube_client ERROR", "h2 INFO", "mesh_balance INFO"];
        let debug = ["mesh_balance DEBUG", "gateway DEBUG"];
        let all = |more: &[&'static str]| [&info, more].concat();
        for (flags, expected) in [
            (&["--log.level=off"][..], vec![]),
            (&["--log.level=warn"], vec!["kube_client ERROR"]),
            (&[], all(&[])),
            (&["--log.level=debug"], all(&debug)),
            (
                &["--log.level=trace"],
                all(&[&debug[..], &["gateway TRACE"]].concat()),
            ),
            (
                &["--log.filter=mesh_balance=debug"],
                all(&["mesh_balance DEBUG"]),
            ),
            (&["--log.filter=debug"], all(&debug)),
            (
                &["--log.level=off", "--log.filter=gateway=debug"],
                vec!["gateway DEBUG"],
            ),
            (
                &["--log.level=error", "--log.filter=h2=debug"],
                vec!["kube_client ERROR", "h2 INFO", "h2::codec DEBUG"],
            ),
        ] {
            assert_eq!(recorded(flags), expected, "{flags:?}");
        }
    }

    #[test]
    fn the_configuration_file_replaces_the_level_of_the_flag() {
        // The log belongs to the process, so no other test of this crate may install one.
        let args = parse(&["--log.level=warn", "--log.filter=gateway=debug"]).unwrap();
        args.init();
        let enabled = || {
            [
                tracing::enabled!(target: "mesh_balance", tracing::Level::WARN),
                tracing::enabled!(target: "mesh_balance", tracing::Level::DEBUG),
                tracing::enabled!(target: "gateway", tracing::Level::DEBUG),
            ]
        };
        assert_eq!(enabled(), [true, false, true]);
        set_level(Some(config::LogLevel::Debug));
        assert_eq!(enabled(), [true, true, true]);
        set_level(Some(config::LogLevel::Error));
        assert_eq!(enabled(), [false, false, true]);
        set_level(None);
        assert_eq!(enabled(), [true, false, true]);
    }
}
