//! `dns_sd_configs`: targets from DNS records.

mod resolver;

use futures::future::join_all;
use hickory_resolver::proto::rr::{RData, RecordType};
use mesh_model::{
    config::discovery::{DnsConfig, DnsRecord, TargetGroup},
    labels::{ADDRESS, Labels},
};
use tracing::warn;

use self::resolver::Resolver;
use super::{DiscoveryMetrics, TargetGroups, host_and_port, refresh};

const NAME: &str = "__meta_dns_name";
const SRV_TARGET: &str = "__meta_dns_srv_record_target";
const SRV_PORT: &str = "__meta_dns_srv_record_port";
const MX_TARGET: &str = "__meta_dns_mx_record_target";
const NS_TARGET: &str = "__meta_dns_ns_record_target";

/// Looks up the names at every refresh interval.
///
/// Each name is a target group. A failed lookup keeps the last targets of the name;
/// a name that does not exist loses them.
pub(super) async fn run(config: DnsConfig, groups: TargetGroups, metrics: DiscoveryMetrics) {
    run_with(config, groups, metrics, Resolver::default()).await;
}

async fn run_with(
    config: DnsConfig,
    groups: TargetGroups,
    metrics: DiscoveryMetrics,
    mut resolver: Resolver,
) {
    let mut refresh = refresh(config.refresh_interval);
    loop {
        refresh.tick().await;
        if let Err(error) = resolver.reload().await {
            metrics.failed("dns");
            warn!(%error, "Loading resolv.conf failed, keeping the last DNS targets");
            groups.failed(error.to_string());
            continue;
        }
        let lookups = config.names.iter().map(async |name| {
            match resolver.lookup(name, record_type(config.record)).await {
                Ok(records) => {
                    groups.update([group(name, &records, config.port)]);
                    Ok(())
                }
                Err(error) => {
                    metrics.failed("dns");
                    warn!(name, %error, "DNS lookup failed, keeping the last targets of the name");
                    Err(format!("{name}: {error}"))
                }
            }
        });
        let outcome: Result<(), String> = join_all(lookups).await.into_iter().collect();
        match outcome {
            Ok(()) => groups.mark_synced(),
            Err(error) => groups.failed(error),
        }
    }
}

/// Builds the target group of a name. Sorts the targets, since name servers
/// rotate the order of their records.
fn group(name: &str, records: &[RData], port: u16) -> TargetGroup {
    let mut targets: Vec<_> = records
        .iter()
        .filter_map(|record| target(name, record, port))
        .collect();
    targets.sort_by(|a, b| a.iter().cmp(b.iter()));
    TargetGroup {
        targets,
        labels: Labels::default(),
        source: name.to_owned(),
    }
}

/// Builds the target of a record. Returns `None` for other record types, such as
/// the CNAME records that lead to it.
fn target(name: &str, record: &RData, port: u16) -> Option<Labels> {
    let named = |label: &'static str, target: String, port| {
        let address = host_and_port(target.trim_end_matches('.'), port);
        (address, vec![(label, target)])
    };
    let (address, mut labels) = match record {
        RData::A(address) => (host_and_port(&address.0.to_string(), port), Vec::new()),
        RData::AAAA(address) => (host_and_port(&address.0.to_string(), port), Vec::new()),
        RData::SRV(srv) => {
            let (address, mut labels) = named(SRV_TARGET, srv.target.to_ascii(), srv.port);
            labels.push((SRV_PORT, srv.port.to_string()));
            (address, labels)
        }
        RData::MX(mx) => named(MX_TARGET, mx.exchange.to_ascii(), port),
        RData::NS(ns) => named(NS_TARGET, ns.to_ascii(), port),
        _ => return None,
    };
    labels.extend([(ADDRESS, address), (NAME, name.to_owned())]);
    Some(labels.into_iter().collect())
}

fn record_type(record: DnsRecord) -> RecordType {
    match record {
        DnsRecord::A => RecordType::A,
        DnsRecord::Aaaa => RecordType::AAAA,
        DnsRecord::Srv => RecordType::SRV,
        DnsRecord::Mx => RecordType::MX,
        DnsRecord::Ns => RecordType::NS,
    }
}

#[cfg(test)]
mod tests;
