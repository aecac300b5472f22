//! What the configuration says of all samples: the facts that travel with batches.

use mesh::{
    batch::{Facts, Origin},
    config::Config,
    ha::{self, HaError},
};

/// The facts of everything that is scraped with this configuration, by a receiver
/// whose own names are no replica's.
///
/// # Errors
/// Where the external labels make an HA pair impossible.
pub fn facts(config: &Config, own_names: &[String]) -> Result<Facts, HaError> {
    ha::refuse_own_name(config, own_names)?;
    let (ha, external_labels) = ha::split(config)?;
    Ok(Facts {
        origin: Origin::Scrape,
        ha,
        external_labels,
    })
}
