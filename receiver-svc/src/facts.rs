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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn receivers_that_share_targets_are_no_replicas_of_their_own() {
        let text = "global: {external_labels: {cluster: c, __replica__: '${POD_NAME}', r: x}}";
        let variable = |name: &str| (name == "POD_NAME").then(|| "receiver-0".to_owned());
        let config = Config::parse(text, Path::new("p.yml"), &variable).unwrap();
        let own = "receiver-0".to_owned();
        let error = facts(&config, std::slice::from_ref(&own)).unwrap_err();
        assert_eq!(error, HaError::OwnName(own));
        // One that is alone may be called what it likes.
        let facts = facts(&config, &[]).unwrap();
        assert_eq!(facts.ha.unwrap().replica, "receiver-0");
        assert_eq!(facts.external_labels.to_string(), r#"{r="x"}"#);
    }
}
