//! Identity of resources: adds a missing `service.instance.id`, and detects two processes
//! with the same identity.
//!
//! Without a `service.instance.id`, all replicas of an application write the same series
//! and overwrite each other's counters.

mod conflicts;

use std::net::IpAddr;

use clap::ValueEnum;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::ResourceMetrics,
};

/// Flags for the identity of resources.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Identity")]
pub struct IdentityArgs {
    /// Source of a missing service.instance.id: the address that sent the push, or none.
    #[arg(
        long = "identity.source",
        env = "PROMESH_IDENTITY_SOURCE",
        default_value = "peer"
    )]
    pub source: Source,

    /// Use the last address of X-Forwarded-For as the client's address. Enable this only
    /// behind a proxy that sets the header, since any client can forge it.
    #[arg(
        long = "identity.trust-forwarded-for",
        env = "PROMESH_IDENTITY_TRUST_FORWARDED_FOR"
    )]
    pub trust_forwarded_for: bool,

    /// Maximum number of streams to check for two processes with the same identity. 0
    /// disables the check.
    #[arg(
        long = "identity.max-streams",
        env = "PROMESH_IDENTITY_MAX_STREAMS",
        default_value_t = 100_000
    )]
    pub max_streams: usize,
}

/// Source of a missing `service.instance.id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// Address that sent the push.
    #[default]
    Peer,
    /// No source: the resource stays unchanged.
    None,
}

pub(crate) use conflicts::{ConflictDetector, WriterMetrics};

/// Fills in missing attributes of resources.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResourceDefaults {
    source: Source,
}

const SERVICE_INSTANCE_ID: &str = "service.instance.id";

// === impl ResourceDefaults ===

impl ResourceDefaults {
    pub(crate) fn new(args: &IdentityArgs) -> Self {
        let source = args.source;
        Self { source }
    }

    /// Adds a `service.instance.id` if the resource has none.
    pub(crate) fn fill(&self, metrics: &mut ResourceMetrics, client: Option<IpAddr>) {
        let (Source::Peer, Some(client)) = (self.source, client) else {
            return;
        };
        let resource = metrics.resource.get_or_insert_default();
        let has_id = |pair: &KeyValue| pair.key == SERVICE_INSTANCE_ID && !is_empty(pair);
        if resource.attributes.iter().any(has_id) {
            return;
        }
        resource
            .attributes
            .retain(|pair| pair.key != SERVICE_INSTANCE_ID);
        resource.attributes.push(KeyValue {
            key: SERVICE_INSTANCE_ID.to_owned(),
            value: Some(AnyValue {
                value: Some(Value::StringValue(client.to_string())),
            }),
            ..Default::default()
        });
    }
}

fn is_empty(pair: &KeyValue) -> bool {
    match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        None => true,
        Some(Value::StringValue(text)) => text.is_empty(),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::resource::v1::Resource;

    use super::*;

    fn completed(source: Source, given: Option<Option<&str>>) -> Vec<(String, Option<Value>)> {
        let pair = |text: Option<&str>| KeyValue {
            key: SERVICE_INSTANCE_ID.to_owned(),
            value: text.map(|text| AnyValue {
                value: Some(Value::StringValue(text.to_owned())),
            }),
            ..Default::default()
        };
        let mut metrics = ResourceMetrics {
            resource: given.map(|text| Resource {
                attributes: vec![pair(text)],
                ..Default::default()
            }),
            ..Default::default()
        };
        let client = Some([10, 1, 2, 3].into());
        ResourceDefaults { source }.fill(&mut metrics, client);
        let attributes = metrics.resource.unwrap_or_default().attributes.into_iter();
        attributes
            .map(|pair| (pair.key, pair.value.and_then(|value| value.value)))
            .collect()
    }

    #[test]
    fn fills_in_only_a_missing_instance_id() {
        let named = |name: &str| {
            let value = Some(Value::StringValue(name.to_owned()));
            vec![(SERVICE_INSTANCE_ID.to_owned(), value)]
        };
        for given in [None, Some(None), Some(Some(""))] {
            assert_eq!(completed(Source::Peer, given), named("10.1.2.3"));
        }
        assert_eq!(completed(Source::Peer, Some(Some("mine"))), named("mine"));
        assert_eq!(completed(Source::None, None), vec![]);
    }
}
