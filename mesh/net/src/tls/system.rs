//! The TLS configuration of clients that trust the system's certificates.
//!
//! The parsed certificates and the session cache take about 250 KB. A receiver has a client
//! for each job, and thousands of jobs, so all of them share one configuration.

use std::{io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::time::Instant;

use super::{provider, trust::TrustVerifier};

/// Time after which the next client reads the system's certificates again.
const MAX_AGE: Duration = Duration::from_secs(60);

/// The configuration that was built last.
static SHARED: Mutex<Option<Shared>> = Mutex::new(None);

struct Shared {
    read_at: Instant,
    verifier: Arc<TrustVerifier>,
    config: ClientConfig,
}

/// Returns a configuration that trusts the system's certificates, as of a minute ago at most.
///
/// # Errors
/// Returns an error if the system has no certificate.
pub(super) fn client_config() -> io::Result<ClientConfig> {
    let mut shared = SHARED.lock();
    if let Some(shared) = &*shared
        && shared.read_at.elapsed() < MAX_AGE
    {
        return Ok(shared.config.clone());
    }
    let verifier = Arc::new(TrustVerifier::of_the_system(provider())?);
    match &mut *shared {
        Some(shared) if shared.verifier.trusts_the_same(&verifier) => {
            shared.read_at = Instant::now();
            Ok(shared.config.clone())
        }
        shared => {
            let config = build(verifier.clone())?;
            let read_at = Instant::now();
            *shared = Some(Shared {
                read_at,
                verifier,
                config: config.clone(),
            });
            Ok(config)
        }
    }
}

fn build(verifier: Arc<TrustVerifier>) -> io::Result<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_share_the_session_cache_and_the_certificates() {
        let clones: Vec<_> = (0..10).filter_map(|_| client_config().ok()).collect();
        let shared = SHARED.lock();
        let holders = shared
            .as_ref()
            .map(|shared| Arc::strong_count(&shared.verifier));
        // A machine without certificates has nothing to share.
        assert!(holders.unwrap_or(1) > clones.len());
    }
}
