//! Who a resource is: one that does not say gets the address it came from.
//!
//! Replicas of an application whose SDK sets no `service.instance.id` would all
//! write the same series, each overwriting the others' counters.

mod writers;

use std::net::IpAddr;

use clap::ValueEnum;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::ResourceMetrics,
};

/// Who a resource is, as flags.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Identity")]
pub struct IdentityArgs {
    /// Where the service.instance.id of a resource comes from that has none: the
    /// address its push came from, or nowhere.
    #[arg(
        long = "identity.source",
        env = "PROMESH_IDENTITY_SOURCE",
        default_value = "peer"
    )]
    pub source: Source,

    /// Take the last address of X-Forwarded-For for the client's. Only behind a
    /// proxy that sets it, as any client can write one.
    #[arg(
        long = "identity.trust-forwarded-for",
        env = "PROMESH_IDENTITY_TRUST_FORWARDED_FOR"
    )]
    pub trust_forwarded_for: bool,

    /// Streams whose writers are watched, so that two processes which say they are
    /// the same one are found out. 0 watches none.
    #[arg(
        long = "identity.max-streams",
        env = "PROMESH_IDENTITY_MAX_STREAMS",
        default_value_t = 100_000
    )]
    pub max_streams: usize,
}

/// Where a missing `service.instance.id` comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// The address that the push came from.
    #[default]
    Peer,
    /// Nowhere: the resource stays as it is.
    None,
}

pub(crate) use writers::{WriterMetrics, Writers};

/// Completes resources.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    source: Source,
}

const SERVICE_INSTANCE_ID: &str = "service.instance.id";

// === impl Identity ===

impl Identity {
    pub(crate) fn new(args: &IdentityArgs) -> Self {
        let source = args.source;
        Self { source }
    }

    /// Gives the resource a `service.instance.id` where it has none.
    pub(crate) fn complete(&self, metrics: &mut ResourceMetrics, client: Option<IpAddr>) {
        let (Source::Peer, Some(client)) = (self.source, client) else {
            return;
        };
        let resource = metrics.resource.get_or_insert_default();
        let says = |pair: &KeyValue| pair.key == SERVICE_INSTANCE_ID && !is_empty(pair);
        if resource.attributes.iter().any(says) {
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

/// The text of a resource's attribute.
fn text_of<'a>(metrics: &'a ResourceMetrics, key: &str) -> Option<&'a str> {
    let attributes = &metrics.resource.as_ref()?.attributes;
    let pair = attributes.iter().find(|pair| pair.key == key)?;
    match pair.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
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
        Identity { source }.complete(&mut metrics, client);
        let attributes = metrics.resource.unwrap_or_default().attributes.into_iter();
        attributes
            .map(|pair| (pair.key, pair.value.and_then(|value| value.value)))
            .collect()
    }

    #[test]
    fn only_who_does_not_say_is_named_after_its_address() {
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
