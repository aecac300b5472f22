//! The receiver as a service: starts its parts, and stops them in order.
//!
//! ```text
//! bind ─▶ environment (clock, listener, network, peers)
//!   └───▶ wiring: balance ─▶ outbox ─▶ handover ─▶ scraping ─▶ heartbeat
//!            └─▶ bound: run until shutdown, drain, announce
//! ```

mod bound;
mod environment;
mod error;
mod pages;
mod scraping;
mod wiring;

use mesh_balance::Balance;
use mesh_contract::{
    export::{Export, ExportError},
    report::ExportResponse,
};
use mesh_model::config::Config;
use mesh_service::reload::ConfigWatch;
use tower::{Layer, Service};

pub use self::{
    bound::Bound,
    environment::{Addresses, Environment},
    error::{ApplyError, Error},
};
use crate::args::Args;

/// Loads the configuration, opens the ports and starts to connect to exporters.
///
/// # Errors
/// Returns an error if the configuration cannot be applied, a port is in use, or exporters or
/// members cannot be discovered.
pub async fn bind(args: Args) -> Result<Bound, Error> {
    // An invalid configuration opens no port.
    let loaded = Loaded::new(&args)?;
    let environment = Environment::system(&args).await?;
    wiring::wire(args, loaded, environment).await
}

/// Starts a receiver like [`bind`], in another environment. The flags for listen address,
/// exporters and members do not apply then.
///
/// # Errors
/// Returns an error if the configuration cannot be applied.
pub async fn bind_with<L, X, E>(
    args: Args,
    environment: Environment<L, X>,
) -> Result<Bound<L>, Error>
where
    X: Layer<Balance, Service = E>,
    E: Service<Export, Response = ExportResponse, Error = ExportError> + Clone + Send + 'static,
    E::Future: Send,
{
    let loaded = Loaded::new(&args)?;
    wiring::wire(args, loaded, environment).await
}

/// Configuration that was loaded, and the watch of its files.
struct Loaded {
    config: Config,
    watch: ConfigWatch,
}

// === impl Loaded ===

impl Loaded {
    fn new(args: &Args) -> Result<Self, Error> {
        let watch = ConfigWatch::new(&args.config_file, &args.config_watch);
        let config = Config::load(&args.config_file)?;
        Ok(Self { config, watch })
    }
}
