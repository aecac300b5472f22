//! Context that a configuration gives to all batches: origin, HA replica and external labels.

use mesh_contract::{
    batch::{BatchContext, Origin},
    ha::{self, HaError},
};
use mesh_model::config::Config;

/// Context of all batches that are scraped with this configuration.
///
/// `own_names` are the names of this receiver. None of them may be the replica label.
///
/// # Errors
/// Returns an error if the external labels do not describe an HA replica.
pub fn batch_context(config: &Config, own_names: &[String]) -> Result<BatchContext, HaError> {
    ha::reject_own_name(config, own_names)?;
    let (ha, external_labels) = ha::split(config)?;
    Ok(BatchContext {
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
    fn rejects_the_receivers_own_name_as_the_replica() {
        let text = "global: {external_labels: {cluster: c, __replica__: '${POD_NAME}', r: x}}";
        let variable = |name: &str| (name == "POD_NAME").then(|| "receiver-0".to_owned());
        let config = Config::parse(text, Path::new("p.yml"), &variable).unwrap();
        let own = "receiver-0".to_owned();
        let error = batch_context(&config, std::slice::from_ref(&own)).unwrap_err();
        assert_eq!(error, HaError::OwnName(own));
        // A receiver that shares its targets with no other may use its own name.
        let context = batch_context(&config, &[]).unwrap();
        assert_eq!(context.ha.unwrap().replica, "receiver-0");
        assert_eq!(context.external_labels.to_string(), r#"{r="x"}"#);
    }
}
