//! Probable mistakes in settings that are valid to Prometheus.

use std::net::IpAddr;

use mesh_contract::ha::REPLICA;
use mesh_model::config::{
    Config, relabel::Action, remote_write::RemoteWriteConfig, scrape::ScrapeConfig,
};
use url::Host;

use super::{Problems, place_of_job, prefix};

/// Label that sets the scheme of a target.
const SCHEME: &str = "__scheme__";
/// Characters of the random parts of pod names.
const POD_SUFFIX: &str = "bcdfghjklmnpqrstvwxz2456789";
/// Domains of AWS endpoints, which refuse plain http.
const AWS_DOMAINS: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];

/// Finds the probable mistakes of a configuration.
pub(super) fn of(config: &Config) -> Problems {
    let mut problems = Problems::default();
    for scrape in &config.scrape_configs {
        let place = place_of_job(config, &scrape.job_name);
        let failure = scheme(scrape).map(|failure| format!("{place}{failure}"));
        problems.failures.extend(failure);
    }
    if let Some(replica) = config.external_labels.get(REPLICA)
        && is_name_of_a_process(replica)
    {
        let place = prefix(config.places.external_labels.get(REPLICA));
        problems.warnings.push(format!(
            "{place}external_labels: {REPLICA} {replica:?} looks like the name or address of a pod; all receivers of a group need the same value, since the backend stores one replica only. Name the group, for instance {REPLICA}: a"
        ));
    }
    for destination in &config.remote_write {
        let name = &destination.name;
        let place = prefix(config.places.destinations.get(name));
        let context = format!("{place}remote write {name:?}: url");
        match destination.url.scheme() {
            "https" => {}
            "http" => {
                let warning = plain_http(destination);
                problems
                    .warnings
                    .extend(warning.map(|warning| format!("{context}: {warning}")));
            }
            other => problems
                .failures
                .push(format!("{context}: scheme {other:?}, expected https")),
        }
    }
    problems
}

/// Describes a scheme that no scrape can use, unless relabeling may replace it.
fn scheme(scrape: &ScrapeConfig) -> Option<String> {
    let scheme = &scrape.scheme;
    // An empty scheme is http, as in Prometheus.
    let is_known = ["http", "https", ""].contains(&scheme.as_str());
    let replaced = scrape
        .relabel_configs
        .iter()
        .any(|rule| rule.target_label == SCHEME || rule.action == Action::LabelMap);
    (!is_known && !replaced).then(|| {
        format!(
            "job {:?}: unsupported scheme {scheme:?}, expected http or https; every scrape would fail",
            scrape.job_name
        )
    })
}

/// Returns true if a text looks like the name of a pod of a StatefulSet, Deployment or DaemonSet,
/// or like an IP address.
fn is_name_of_a_process(text: &str) -> bool {
    let is_random = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.chars().all(|c| POD_SUFFIX.contains(c))
    };
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let mut parts = text.rsplit('-');
    let (last, before, first) = (parts.next(), parts.next(), parts.next());
    match (last, before, first) {
        // A StatefulSet's pod has the number of the replica.
        (Some(last), Some(_), _) if last.len() <= 3 && last.parse::<u16>().is_ok() => true,
        // A Deployment's pod has the hash of its ReplicaSet before its own.
        (Some(last), Some(before), Some(_)) => is_random(last, 5..=5) && is_random(before, 6..=10),
        _ => false,
    }
}

/// Describes what is wrong with a URL with the scheme http, unless it stays on this machine.
fn plain_http(destination: &RemoteWriteConfig) -> Option<String> {
    let host = destination.url.host()?;
    let name = match &host {
        Host::Domain(name) => *name,
        Host::Ipv4(ip) if ip.is_loopback() => return None,
        Host::Ipv6(ip) if ip.is_loopback() => return None,
        _ => "",
    };
    if name == "localhost" {
        return None;
    }
    let is_aws = AWS_DOMAINS.iter().any(|domain| name.ends_with(domain));
    Some(match is_aws {
        true => format!("{host} accepts https only; use https"),
        false => "plain http sends samples unencrypted, and the exporter refuses it unless --remote-write.allow-http is set; use https".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn found(text: &str) -> (String, String) {
        let config = Config::parse(text, Path::new("p.yml"), &|_| None).unwrap();
        let Problems { failures, warnings } = of(&config);
        (failures.join("; "), warnings.join("; "))
    }

    #[test]
    fn recognizes_names_of_pods() {
        for name in [
            "receiver-a-0",
            "prometheus-k8s-1",
            "receiver-a-7c9d8f6b54-x2x9k",
            "10.0.3.7",
            "fd00::1",
        ] {
            assert!(is_name_of_a_process(name), "{name}");
        }
        for name in [
            "a",
            "b",
            "replica-a",
            "eu-west-1a",
            "0",
            "prod-green",
            "east-2024",
        ] {
            assert!(!is_name_of_a_process(name), "{name}");
        }
    }

    #[test]
    fn warns_of_a_replica_with_the_name_of_a_pod() {
        let text = |replica| {
            format!("global:\n  external_labels:\n    cluster: c\n    __replica__: {replica}\n")
        };
        let (failures, warnings) = found(&text("receiver-a-0"));
        assert_eq!(failures, "");
        let expected = "p.yml:4:18: external_labels: __replica__ \"receiver-a-0\" looks like ";
        assert!(warnings.starts_with(expected), "{warnings}");
        assert_eq!(found(&text("a")).1, "");
    }

    #[test]
    fn refuses_an_unknown_scheme_unless_relabeling_may_replace_it() {
        let text = "scrape_configs:\n- job_name: j\n  scheme: htps\n";
        let (failures, _) = found(text);
        assert_eq!(
            failures,
            "p.yml:2:3: job \"j\": unsupported scheme \"htps\", expected http or https; every scrape would fail"
        );
        let rule = "  relabel_configs: [{target_label: __scheme__, replacement: https}]\n";
        assert_eq!(found(&format!("{text}{rule}")).0, "");
    }

    #[test]
    fn warns_of_plain_http_to_other_machines() {
        let warnings = |url| found(&format!("remote_write:\n- {{name: n, url: '{url}'}}\n"));
        let place = "p.yml:2:3: remote write \"n\": url: ";
        let (_, amp) = warnings("http://aps-workspaces.eu-west-1.amazonaws.com/w");
        assert_eq!(
            amp,
            format!("{place}aps-workspaces.eu-west-1.amazonaws.com accepts https only; use https")
        );
        let (_, other) = warnings("http://mimir.example/push");
        assert!(
            other.starts_with(&format!("{place}plain http sends ")),
            "{other}"
        );
        let (scheme, _) = warnings("ftp://h/");
        assert_eq!(scheme, format!("{place}scheme \"ftp\", expected https"));
        for good in [
            "https://h/",
            "http://localhost:1/",
            "http://127.0.0.1:1/",
            "http://[::1]/",
        ] {
            assert_eq!(warnings(good), (String::new(), String::new()), "{good}");
        }
    }
}
