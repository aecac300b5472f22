use std::{net::Ipv4Addr, path::Path, sync::Arc, time::Duration};

use hickory_resolver::proto::rr::rdata::{A, AAAA, MX, NS, SRV};
use mesh_model::config::discovery::DnsRecord;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::*;

mod server;

use server::{Answer, Server};

/// Running discovery of some names, with its own `resolv.conf`.
struct Setup {
    groups: TargetGroups,
    _folder: tempfile::TempDir,
}

// === impl Setup ===

impl Setup {
    fn new(server: &Server, resolv_conf: &str, record: DnsRecord, names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        std::fs::write(&path, resolv_conf).unwrap();
        let config = DnsConfig {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            record,
            port: 9100,
            refresh_interval: Duration::from_millis(20),
        };
        let groups = TargetGroups::new(Arc::new(Notify::new()));
        let resolver = Resolver::new(path, server.port);
        tokio::spawn(run_with(
            config,
            groups.clone(),
            DiscoveryMetrics::default(),
            resolver,
        ));
        Self {
            groups,
            _folder: folder,
        }
    }

    fn addresses(&self) -> Vec<String> {
        let groups = self.groups.all();
        let targets = groups.iter().flat_map(|group| &group.targets);
        targets
            .map(|target| target.get(ADDRESS).unwrap().to_owned())
            .collect()
    }

    async fn until(&self, expected: &[&str]) {
        let reached = timeout(Duration::from_secs(60), async {
            while self.addresses() != expected {
                sleep(Duration::from_millis(5)).await;
            }
        });
        let in_time = reached.await.is_ok();
        assert!(in_time, "{:?}, expected {expected:?}", self.addresses());
    }
}

const SERVER: &str = "nameserver 127.0.0.1\n";

fn a(last: u8) -> RData {
    RData::A(A(Ipv4Addr::new(10, 0, 0, last)))
}

fn dns_name(text: &str) -> hickory_resolver::proto::rr::Name {
    hickory_resolver::proto::rr::Name::from_ascii(text).unwrap()
}

#[tokio::test]
async fn discovers_targets_with_labels_for_every_record_type() {
    let server = Server::start().await;
    server.set("a.test.", Answer::Records(vec![a(2), a(1)]));
    let aaaa = RData::AAAA(AAAA("fd00::1".parse().unwrap()));
    server.set("aaaa.test.", Answer::Records(vec![aaaa]));
    let srv = SRV::new(1, 2, 8080, dns_name("Node1.test."));
    server.set("_http._tcp.test.", Answer::Records(vec![RData::SRV(srv)]));
    let mx = MX::new(10, dns_name("mail.test."));
    server.set("mx.test.", Answer::Records(vec![RData::MX(mx)]));
    let ns = NS(dns_name("ns1.test."));
    server.set("ns.test.", Answer::Records(vec![RData::NS(ns)]));

    for (record, name, expected) in [
        (
            DnsRecord::A,
            "a.test",
            vec![
                r#"{__address__="10.0.0.1:9100", __meta_dns_name="a.test"}"#,
                r#"{__address__="10.0.0.2:9100", __meta_dns_name="a.test"}"#,
            ],
        ),
        (
            DnsRecord::Aaaa,
            "aaaa.test.",
            vec![r#"{__address__="[fd00::1]:9100", __meta_dns_name="aaaa.test."}"#],
        ),
        (
            DnsRecord::Srv,
            "_http._tcp.test",
            vec![
                r#"{__address__="Node1.test:8080", __meta_dns_name="_http._tcp.test", __meta_dns_srv_record_port="8080", __meta_dns_srv_record_target="Node1.test."}"#,
            ],
        ),
        (
            DnsRecord::Mx,
            "mx.test",
            vec![
                r#"{__address__="mail.test:9100", __meta_dns_mx_record_target="mail.test.", __meta_dns_name="mx.test"}"#,
            ],
        ),
        (
            DnsRecord::Ns,
            "ns.test",
            vec![
                r#"{__address__="ns1.test:9100", __meta_dns_name="ns.test", __meta_dns_ns_record_target="ns1.test."}"#,
            ],
        ),
    ] {
        let setup = Setup::new(&server, SERVER, record, &[name]);
        let found = timeout(Duration::from_secs(60), async {
            while setup.groups.all().is_empty() {
                sleep(Duration::from_millis(5)).await;
            }
        });
        found.await.unwrap();
        let groups = setup.groups.all();
        assert_eq!(groups[0].source, name);
        let targets: Vec<_> = groups[0].targets.iter().map(Labels::to_string).collect();
        assert_eq!(targets, expected);
    }
}

#[tokio::test]
async fn keeps_targets_on_failure_and_removes_them_on_nxdomain() {
    let server = Server::start().await;
    server.set("one.test.", Answer::Records(vec![a(1)]));
    server.set("two.test.", Answer::Records(vec![a(2)]));
    let names = ["one.test", "two.test"];
    let setup = Setup::new(&server, SERVER, DnsRecord::A, &names);
    setup.until(&["10.0.0.1:9100", "10.0.0.2:9100"]).await;

    server.set("one.test.", Answer::ServFail);
    server.set("two.test.", Answer::Records(vec![a(3)]));
    setup.until(&["10.0.0.1:9100", "10.0.0.3:9100"]).await;

    server.set("one.test.", Answer::NxDomain);
    setup.until(&["10.0.0.3:9100"]).await;

    // The name exists, without such records.
    server.set("two.test.", Answer::Records(Vec::new()));
    setup.until(&[]).await;
}

#[tokio::test]
async fn applies_the_search_domains_of_resolv_conf() {
    let server = Server::start().await;
    let conf = format!("{SERVER}search first.test second.test\noptions ndots:2\n");
    server.set("app.ns.second.test.", Answer::Records(vec![a(1)]));
    let setup = Setup::new(&server, &conf, DnsRecord::A, &["app.ns"]);
    setup.until(&["10.0.0.1:9100"]).await;
    assert_eq!(
        server.queries()[..2],
        ["app.ns.first.test.", "app.ns.second.test."]
    );

    // A name that exists ends the search, whatever its records.
    server.set("app.ns.first.test.", Answer::Records(Vec::new()));
    setup.until(&[]).await;
    server.set("app.ns.first.test.", Answer::NxDomain);
    setup.until(&["10.0.0.1:9100"]).await;

    // One of the candidates may exist, so the targets stay.
    server.set("app.ns.first.test.", Answer::ServFail);
    server.set("app.ns.second.test.", Answer::NxDomain);
    server.clear_queries();
    while server.queries().iter().filter(|n| *n == "app.ns.").count() < 3 {
        sleep(Duration::from_millis(5)).await;
    }
    setup.until(&["10.0.0.1:9100"]).await;

    // A name with enough dots is tried without a search domain first.
    server.set("a.b.c.", Answer::Records(vec![a(9)]));
    server.clear_queries();
    let absolute = Setup::new(&server, &conf, DnsRecord::A, &["a.b.c"]);
    absolute.until(&["10.0.0.9:9100"]).await;
    assert!(
        !server
            .queries()
            .iter()
            .any(|n| n.starts_with("a.b.c.first"))
    );
}

#[tokio::test]
async fn queries_the_second_server_when_the_first_fails() {
    let server = Server::start().await;
    server.set("a.test.", Answer::FirstFails(vec![a(1)]));
    let conf = format!("{SERVER}nameserver 127.0.0.2\n");
    let setup = Setup::new(&server, &conf, DnsRecord::A, &["a.test"]);
    setup.until(&["10.0.0.1:9100"]).await;
}

#[tokio::test]
async fn retries_a_truncated_answer_over_tcp() {
    let server = Server::start().await;
    server.set("a.test.", Answer::TooLongForUdp((0..=255).map(a).collect()));
    let setup = Setup::new(&server, SERVER, DnsRecord::A, &["a.test"]);
    let found = timeout(Duration::from_secs(60), async {
        while setup.addresses().len() != 256 {
            sleep(Duration::from_millis(5)).await;
        }
    });
    found.await.unwrap();
}

#[tokio::test]
async fn names_an_unreadable_resolv_conf_in_the_error() {
    let mut resolver = Resolver::new(Path::new("/nowhere/resolv.conf").to_owned(), 53);
    let error = resolver.reload().await.unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/resolv.conf: "), "{error}");
}
