//! Tests of the generators.

use std::{collections::BTreeMap, sync::Arc};

use mesh_model::config::Config;
use serde_json::{Value, json};

use super::*;

/// Secrets and ConfigMaps by reference, with values by key.
#[derive(Default)]
struct Fixed(BTreeMap<Reference, Arc<Data>>);

impl Fixed {
    fn secret(mut self, namespace: &str, name: &str, key: &str, value: &[u8]) -> Self {
        let reference = Reference {
            source: Source::Secret,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let data = Data([(key.to_owned(), value.to_vec())].into());
        self.0.insert(reference, Arc::new(data));
        self
    }
}

impl Materials for Fixed {
    fn find(&self, reference: &Reference) -> Result<Arc<Data>, String> {
        self.0.get(reference).cloned().ok_or("not found".to_owned())
    }
}

fn monitor(kind: Kind, spec: Value) -> Monitor {
    let metadata = json!({"namespace": "team", "name": "web"});
    Monitor::read(kind, &json!({"metadata": metadata, "spec": spec})).unwrap()
}

fn settings(spec: Value) -> Settings {
    let metadata = json!({"namespace": "mon", "name": "main"});
    let object = json!({"kind": "Prometheus", "metadata": metadata, "spec": spec});
    Settings::read(&object).unwrap()
}

fn service_monitor(endpoint: Value) -> Monitor {
    monitor(
        Kind::ServiceMonitor,
        json!({"selector": {"matchLabels": {"app": "web"}}, "endpoints": [endpoint]}),
    )
}

fn shown(monitor: &Monitor, settings: &Settings, materials: &dyn Materials) -> Value {
    let jobs = generate(monitor, settings, materials).unwrap();
    jobs.iter()
        .map(|job| job.to_json(Shown::WithoutSecrets))
        .collect()
}

fn invalid(monitor: &Monitor, settings: &Settings) -> Invalid {
    generate(monitor, settings, &Fixed::default()).unwrap_err()
}

#[test]
fn reports_the_field_the_reason_and_the_expectation() {
    for (endpoint, reason, field, expected) in [
        (
            json!({"interval": "5 minutes"}),
            Reason::Schema,
            "spec.endpoints[0].interval",
            "found \"5 minutes\", expected a duration such as 30s",
        ),
        (
            json!({"honorLabels": "yes"}),
            Reason::Schema,
            "spec.endpoints[0].honorLabels",
            "found \"yes\", expected true or false",
        ),
        (
            json!({"interval": "10s", "scrapeTimeout": "11s"}),
            Reason::Conflict,
            "spec.endpoints[0].scrapeTimeout",
            "11s is longer than the scrape interval 10s",
        ),
        (
            json!({"relabelings": [{"targetLabel": "a"}, {"regex": "(", "targetLabel": "x"}]}),
            Reason::Relabeling,
            "spec.endpoints[0].relabelings[1].regex",
            "missing closing )",
        ),
        (
            json!({"basicAuth": {"username": {"name": "s", "key": "u"}}}),
            Reason::Reference,
            "spec.endpoints[0].basicAuth.username",
            "secret team/s: not found",
        ),
        (
            json!({"basicAuth": {}, "oauth2": {}}),
            Reason::Conflict,
            "spec.endpoints[0].oauth2",
            "expected one method of authentication",
        ),
        (
            json!({"scheme": "ftp"}),
            Reason::Schema,
            "spec.endpoints[0].scheme",
            "expected one of http, https",
        ),
        (
            json!({"targetPort": 99_999}),
            Reason::Schema,
            "spec.endpoints[0].targetPort",
            "expected the name or the number of a port",
        ),
        (
            json!({"params": {"a": "b"}}),
            Reason::Schema,
            "spec.endpoints[0].params",
            "found an object, expected a map of lists of texts",
        ),
    ] {
        let found = invalid(&service_monitor(endpoint), &Settings::default());
        assert_eq!(
            (found.reason, found.field.as_str()),
            (reason, field),
            "{found}"
        );
        assert!(found.message.contains(expected), "{found}");
    }
}

#[test]
fn never_looks_into_another_namespace() {
    let materials = Fixed::default().secret("other", "creds", "token", b"t");
    let endpoint = json!({"authorization": {"credentials": {"name": "creds", "key": "token"}}});
    let monitor = service_monitor(endpoint);
    let invalid = generate(&monitor, &Settings::default(), &materials).unwrap_err();
    assert_eq!(invalid.reason, Reason::Reference);
    assert!(invalid.message.contains("secret team/creds"), "{invalid}");
}

#[test]
fn hides_secrets_and_keeps_them_for_the_parser() {
    let materials = Fixed::default().secret("team", "creds", "token", b"s3cret");
    let endpoint = json!({"authorization": {"credentials": {"name": "creds", "key": "token"}}});
    let monitor = service_monitor(endpoint);
    let jobs = generate(&monitor, &Settings::default(), &materials).unwrap();
    assert!(!format!("{jobs:?}").contains("s3cret"));
    let hidden = jobs[0].to_json(Shown::WithoutSecrets);
    assert_eq!(hidden["authorization"]["credentials"], "<secret>");
    let real = jobs[0].to_json(Shown::WithSecrets);
    assert_eq!(real["authorization"]["credentials"], "s3cret");
}

#[test]
fn refuses_a_secret_that_is_not_utf_8_without_quoting_it() {
    let materials = Fixed::default().secret("team", "creds", "token", b"\xffabc");
    let endpoint = json!({"authorization": {"credentials": {"name": "creds", "key": "token"}}});
    let monitor = service_monitor(endpoint);
    let invalid = generate(&monitor, &Settings::default(), &materials).unwrap_err();
    let expected = "the key \"token\" of secret team/creds is not UTF-8, expected a text";
    assert_eq!(invalid.message, expected);
}

#[test]
fn denies_files_of_the_scraper() {
    let deny = settings(json!({"arbitraryFSAccessThroughSMs": {"deny": true}}));
    for endpoint in [
        json!({"bearerTokenFile": "/var/run/token"}),
        json!({"tlsConfig": {"caFile": "/etc/ca"}}),
    ] {
        let monitor = service_monitor(endpoint);
        assert_eq!(invalid(&monitor, &deny).reason, Reason::File);
        assert!(generate(&monitor, &settings(json!({})), &NoMaterials).is_ok());
    }
}

#[test]
fn one_mistake_rejects_the_whole_object() {
    let spec = json!({"selector": {}, "podMetricsEndpoints": [{"port": "a"}, {"port": 5}]});
    let invalid = invalid(&monitor(Kind::PodMonitor, spec), &Settings::default());
    assert_eq!(invalid.field, "spec.podMetricsEndpoints[1].port");
}

#[test]
fn enforces_limits_and_the_namespace_label() {
    let settings = settings(json!({
        "enforcedSampleLimit": 100,
        "enforcedBodySizeLimit": "1MB",
        "enforcedNamespaceLabel": "ns",
        "excludedFromEnforcement": [
            {"resource": "probes", "namespace": "team", "name": ""},
        ],
    }));
    let spec = json!({
        "selector": {},
        "sampleLimit": 500,
        "bodySizeLimit": "2MB",
        "endpoints": [{"relabelings": [{"targetLabel": "ns", "replacement": "forged"}]}],
    });
    let jobs = shown(
        &monitor(Kind::ServiceMonitor, spec),
        &settings,
        &NoMaterials,
    );
    assert_eq!(jobs[0]["sample_limit"], 100);
    assert_eq!(jobs[0]["body_size_limit"], "1MB");
    let enforced = json!({"target_label": "ns", "replacement": "team"});
    let rules = jobs[0]["relabel_configs"].as_array().unwrap();
    assert_eq!(rules.last(), Some(&enforced));
    assert_eq!(jobs[0]["metric_relabel_configs"], json!([enforced]));
    // An excluded object is spared.
    let probe = json!({
        "prober": {"url": "blackbox:9115"},
        "targets": {"staticConfig": {"static": ["a"]}},
    });
    let jobs = shown(&monitor(Kind::Probe, probe), &settings, &NoMaterials);
    assert_eq!(jobs[0]["metric_relabel_configs"], Value::Null);
    assert_eq!(
        settings.global().to_json(Shown::WithSecrets)["sample_limit"],
        100
    );
}

#[test]
fn uses_the_named_scrape_class_else_the_default() {
    let rule = |name: &str| json!([{"targetLabel": "class", "replacement": name}]);
    let settings = settings(json!({"scrapeClasses": [
        {"name": "a", "relabelings": rule("a")},
        {"name": "b", "default": true, "relabelings": rule("b")},
    ]}));
    let class = |class: Value| {
        let spec = json!({"selector": {}, "endpoints": [{}], "scrapeClass": class});
        let monitor = monitor(Kind::ServiceMonitor, spec);
        generate(&monitor, &settings, &NoMaterials).map(|jobs| {
            let job = jobs[0].to_json(Shown::WithSecrets);
            let rules = job["relabel_configs"].as_array().unwrap();
            rules.last().unwrap()["replacement"].clone()
        })
    };
    assert_eq!(class(json!("a")).unwrap(), "a");
    assert_eq!(class(Value::Null).unwrap(), "b");
    assert_eq!(class(json!("c")).unwrap_err().reason, Reason::ScrapeClass);
}

#[test]
fn rejects_settings_with_two_default_classes() {
    let classes = json!([{"name": "a", "default": true}, {"name": "b", "default": true}]);
    let object = json!({"metadata": {"name": "p"}, "spec": {"scrapeClasses": classes}});
    let invalid = Settings::read(&object).unwrap_err();
    assert_eq!(invalid.field, "spec.scrapeClasses[1].default");
}

#[test]
fn accepts_only_hosts_as_probers() {
    let probe = |url: &str| {
        let spec = json!({
            "prober": {"url": url},
            "targets": {"staticConfig": {"static": ["a"]}},
        });
        generate(
            &monitor(Kind::Probe, spec),
            &Settings::default(),
            &NoMaterials,
        )
        .is_ok()
    };
    for url in [
        "h",
        "h:1",
        "a.b.svc:9115",
        "a.b.",
        "10.0.0.1:80",
        "::1",
        "[::1]:80",
        "_a-b",
    ] {
        assert!(probe(url), "{url}");
    }
    for url in [
        "", "http://h", "h:0", "h:65536", "h:", ":1", "-h", "h/p", "[::1]", "a..b",
    ] {
        assert!(!probe(url), "{url}");
    }
}

#[test]
fn selects_by_labels_and_namespaces() {
    let settings = settings(json!({
        "serviceMonitorSelector": {"matchExpressions": [
            {"key": "tier", "operator": "NotIn", "values": ["test"]},
        ]},
        "podMonitorSelector": {},
        "podMonitorNamespaceSelector": {"matchLabels": {"scrape": "yes"}},
    }));
    let verdict = |kind: Kind, namespace: &str, tier: &str, scrape: &str| {
        let metadata = json!({"namespace": namespace, "name": "x", "labels": {"tier": tier}});
        let monitor = Monitor::read(kind, &json!({"metadata": metadata})).unwrap();
        let labels = [("scrape".to_owned(), scrape.to_owned())].into();
        verdict(&settings, &monitor, &labels) == Verdict::Selected
    };
    // Without a namespace selector only the own namespace counts.
    assert!(verdict(Kind::ServiceMonitor, "mon", "prod", "no"));
    assert!(!verdict(Kind::ServiceMonitor, "mon", "test", "no"));
    assert!(!verdict(Kind::ServiceMonitor, "team", "prod", "yes"));
    assert!(verdict(Kind::PodMonitor, "team", "test", "yes"));
    assert!(!verdict(Kind::PodMonitor, "team", "test", "no"));
    // Without a label selector no object is selected.
    assert!(!verdict(Kind::Probe, "mon", "prod", "yes"));
}

#[test]
fn writes_selectors_as_kubernetes_does() {
    let spec = json!({
        "selectorMechanism": "RoleSelector",
        "selector": {
            "matchLabels": {"z": "1", "a": "2"},
            "matchExpressions": [
                {"key": "env", "operator": "NotIn", "values": ["qa", "dev"]},
                {"key": "m", "operator": "DoesNotExist"},
            ],
        },
        "podMetricsEndpoints": [{}],
    });
    let jobs = shown(
        &monitor(Kind::PodMonitor, spec),
        &Settings::default(),
        &NoMaterials,
    );
    let expected = json!([{"role": "pod", "label": "a=2,env notin (dev,qa),!m,z=1"}]);
    assert_eq!(jobs[0]["kubernetes_sd_configs"][0]["selectors"], expected);
}

#[test]
fn generated_jobs_are_valid_configurations() {
    let materials = Fixed::default().secret("team", "creds", "k", "\u{e9}\"\\\n\u{7}".as_bytes());
    let credentials = json!({"credentials": {"name": "creds", "key": "k"}});
    let monitor = service_monitor(json!({"port": "web", "authorization": credentials}));
    let settings = Settings::default();
    let jobs = generate(&monitor, &settings, &materials).unwrap();
    let jobs: Vec<_> = jobs
        .iter()
        .map(|job| job.to_json(Shown::WithSecrets))
        .collect();
    let global = settings.global().to_json(Shown::WithSecrets);
    let text = json!({"global": global, "scrape_configs": jobs}).to_string();
    let config = Config::parse(&text, "m.json".as_ref(), &|_| None).unwrap();
    let scrape = &config.scrape_configs[0];
    assert_eq!(scrape.job_name, "serviceMonitor/team/web/0");
    assert_eq!(scrape.scrape_interval.as_secs(), 30);
    let auth = scrape.http.auth.as_ref().unwrap();
    let mesh_model::config::http::Auth::Authorization { credentials, .. } = auth else {
        panic!("{auth:?}")
    };
    let mesh_model::config::http::SecretSource::Inline(secret) = credentials else {
        panic!("{credentials:?}")
    };
    assert_eq!(secret.expose(), "\u{e9}\"\\\n\u{7}");
}
