mod keys;

use std::{path::Path, time::Duration};

use crate::config::{Config, discovery::DiscoveryConfig};

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("p.yml"), &|_| None).map_err(|error| error.to_string())
}

#[test]
fn reports_each_mistake_with_its_place() {
    for (text, expected) in [
        (
            "global:\n  scrape_intervall: 1s\n",
            "p.yml:2:3: unknown key \"scrape_intervall\", did you mean \"scrape_interval\"?",
        ),
        (
            "global:\n  scrape_interval: 1 minute\n",
            "p.yml:2:20: \"1 minute\" is not a duration",
        ),
        (
            "scrape_configs:\n- job_name: a\n  sample_limit: many\n",
            "p.yml:3:17: found the text \"many\", expected a whole number, 0 or more",
        ),
        (
            "scrape_configs:\n- job_name: a\n  bogus: 1\n",
            "p.yml:3:3: unknown key \"bogus\", expected one of ",
        ),
        (
            "scrape_configs:\n- job_name: a\n- job_name: a\n",
            "p.yml:3:3: found multiple scrape configs with job name \"a\", the first at p.yml:2:3",
        ),
        (
            "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - regex: '('\n    action: keep\n",
            "p.yml:4:12: ",
        ),
        (
            "scrape_configs:\n- job_name: a\n  scrape_timeout: 2m\n",
            "p.yml:2:3: scrape timeout greater than scrape interval",
        ),
        (
            "scrape_configs:\n- job_name: a\n  dns_sd_configs:\n  - {names: [x], refresh_interval: 0s}\n",
            "p.yml:4:5: refresh_interval is 0, expected at least 1ms",
        ),
        (
            "scrape_configs:\n- job_name: a\n  dns_sd_configs:\n  - {names: [x], type: A, port: 0}\n",
            "p.yml:4:5: a port is required",
        ),
        (
            "remote_write:\n- {name: a, url: 'http://h/'}\n- {name: a, url: 'http://i/'}\n",
            "p.yml:3:3: found multiple remote write configs with job name \"a\", the first at p.yml:2:3",
        ),
        (
            "global:\n  external_labels:\n    a-b: x\n",
            "p.yml:3:10: external_labels: \"a-b\" is not a valid label name",
        ),
        (
            "scrape_configs:\n- job_name: a\n  etcd_sd_configs: []\n",
            "p.yml:3:3: etcd_sd_configs: neither Prometheus nor promesh has this discovery mechanism; use one of static_configs, ",
        ),
        (
            "scrape_configs:\n- job_name: a\n  kuberentes_sd_configs: []\n",
            "p.yml:3:3: unknown key \"kuberentes_sd_configs\", did you mean \"kubernetes_sd_configs\"?",
        ),
        ("scrape_configs: [}\n", "p.yml:1:17: not valid YAML: "),
        (
            "global:\n  scrape_interval: 1s\n  scrape_interval: 2s\n",
            "p.yml:3:3: key \"scrape_interval\" is given twice, remove one",
        ),
        ("scrape_configs: {}\n", "p.yml:1:17: expected a list"),
        (
            "global: [a]\n",
            "p.yml:1:9: expected a mapping, lines of KEY: VALUE",
        ),
        (
            "scrape_configs:\n- job_name: [a]\n",
            "p.yml:2:13: expected a single value",
        ),
        (
            "scrape_configs:\n- job_name: a\n  honor_labels: [a]\n",
            "p.yml:3:17: found a list, expected true or false",
        ),
        (
            "scrape_configs:\n- job_name: a\n  honor_labels: 'true'\n",
            "p.yml:3:17: found the text \"true\", expected true or false",
        ),
        (
            "scrape_configs:\n- job_name: a\n  ec2_sd_configs: [{port: 70000}]\n",
            "p.yml:3:21: found integer `70000`, expected a whole number that fits u16",
        ),
        (
            "scrape_configs:\n- job_name: a\n  scrape_protocols: []\n",
            "p.yml:2:3: scrape_protocols is an empty list",
        ),
        ("scrape_configs:\n- job_name: *a\n", "p.yml:2:13: "),
        (
            "scrape_configs:\n- job_name: a\n  kubernetes_sd_configs:\n  - role: pod\n    selectors:\n    - role: pod\n      label: '!!a'\n",
            "p.yml:7:14: \"!!a\" is not a label selector: ",
        ),
        (
            "scrape_configs:\n- job_name: a\n  kubernetes_sd_configs:\n  - {role: pod, selectors: [{role: pod, field: a}]}\n",
            "p.yml:4:48: \"a\" is not a field selector: ",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

#[test]
fn collects_the_mistakes_of_all_files_and_entries() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("1.yml", "scrape_configs:\n- {job_name: x, bogus: 1}\n");
    write(
        "2.yml",
        "scrape_configs:\n- {job_name: y, scrape_timeout: 2h}\n",
    );
    let text = "global:\n  scrape_timeout: 2m\n  external_labels: {a-b: x}\n\
        remote_write:\n- {url: 'http://h/', headers: {host: x}, sigv4: {access_key: k}}\n\
        scrape_configs:\n\
        - job_name: a\n  scrape_timeout: 3m\n  \
          relabel_configs:\n  - {action: hashmod}\n  - {action: replace}\n  \
          dns_sd_configs: [{names: [x], type: A}]\n\
        - basic_auth: {username: u, username_file: f}\n\
        scrape_config_files: ['*.yml', '*/a.yml']\n";
    let path = folder.path().join("p.yaml");
    let errors = Config::parse_thoroughly(text, &path, &|_| None).unwrap_err();
    let found: Vec<_> = errors
        .iter()
        .map(|error| {
            let file = error.place().file().file_name().unwrap();
            let (line, _) = error.place().position().unwrap();
            let words = error.message().split(' ').take(4).collect::<Vec<_>>();
            format!("{} {line} {}", file.display(), words.join(" "))
        })
        .collect();
    assert_eq!(
        found,
        [
            "p.yaml 2 global scrape timeout greater",
            "p.yaml 3 external_labels: \"a-b\" is not",
            "p.yaml 5 host is a reserved",
            "p.yaml 5 sigv4: access_key needs secret_key",
            "p.yaml 7 scrape timeout greater than",
            "p.yaml 10 relabel configuration for hashmod",
            "p.yaml 11 relabel configuration for replace",
            "p.yaml 12 a port is required",
            "p.yaml 13 job_name is empty",
            "1.yml 2 unknown key \"bogus\", expected",
            "2.yml 2 scrape timeout greater than",
            "p.yaml 14 invalid scrape config file",
        ]
    );
}

#[test]
fn warns_of_unset_variables_and_of_a_second_document() {
    let text = "global:\n  external_labels:\n    region: eu-$UNSET\n    zone: '${SET}'\n---\nscrape_configs: []\n";
    let variable = |name: &str| (name == "SET").then(|| "z".to_owned());
    let config = Config::parse(text, Path::new("p.yml"), &variable).unwrap();
    let external = config.external_labels.to_string();
    assert_eq!(external, r#"{region="eu-", zone="z"}"#);
    let warnings: Vec<_> = config.warnings.iter().map(|w| w.to_string()).collect();
    assert_eq!(
        warnings,
        [
            "p.yml:3:13: external_labels: region: the environment variable UNSET is not set or empty, it expands to nothing",
            "p.yml:6:1: a second YAML document begins here and is ignored, as in Prometheus; remove the line --- before it, or move it to a file of its own",
        ]
    );
}

#[test]
fn an_explicit_default_is_not_a_custom_setting() {
    let text = "scrape_configs:\n- job_name: a\n  kubernetes_sd_configs:\n  - role: pod\n    enable_http2: true\n    follow_redirects: true\n";
    assert!(parse(text).is_ok());
    let error = parse(&text.replace("http2: true", "http2: false")).unwrap_err();
    assert!(error.contains("api_server"), "{error}");
}

#[test]
fn a_null_regex_matches_only_the_empty_text() {
    let text = "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - {regex: null, target_label: b}\n  - {target_label: b}\n";
    let config = parse(text).unwrap();
    let rules = config.scrape_configs[0].relabel_configs.iter();
    let matching: Vec<_> = rules
        .map(|rule| rule.regex.captures("x").is_some())
        .collect();
    assert_eq!(matching, [false, true]);
}

#[test]
fn allows_a_url_as_target_only_with_relabeling() {
    let text = "scrape_configs:\n- job_name: probe\n  static_configs: [{targets: ['http://h/']}]\n";
    assert!(
        parse(text)
            .unwrap_err()
            .contains("\"http://h/\" is not a valid hostname")
    );
    let relabeled =
        format!("{text}  relabel_configs: [{{target_label: __address__, replacement: b:1}}]\n");
    assert!(parse(&relabeled).is_ok());
}

#[test]
fn never_prints_a_secret() {
    let text = "remote_write:\n- url: http://h/\n  basic_auth:\n    username: u\n    password: hunter2\n    bogus: x\n";
    assert!(!parse(text).unwrap_err().contains("hunter2"));
    let good = text.replace("    bogus: x\n", "");
    assert!(!format!("{:?}", parse(&good).unwrap()).contains("hunter2"));
}

#[test]
fn rejects_an_alias_bomb() {
    let mut text = "alerting:\n  a0: &a0 [x, x]\n".to_owned();
    for i in 1..40 {
        text.push_str(&format!("  a{i}: &a{i} [*a{}, *a{}]\n", i - 1, i - 1));
    }
    let error = parse(&text).unwrap_err();
    assert!(error.contains("repeat fewer anchors"), "{error}");
}

#[test]
fn rejects_aliases_of_a_long_text() {
    let long = "x".repeat(1 << 20);
    let aliases = "*a, ".repeat(100);
    let text = format!("scrape_config_files: [&a \"{long}\", {aliases}]\n");
    let error = parse(&text).unwrap_err();
    assert!(error.contains("repeat fewer anchors"), "{error}");
}

#[test]
fn scrape_configs_inherit_from_global() {
    let config = parse(
        "global: {scrape_interval: 15s, sample_limit: 7, body_size_limit: 1KB}\n\
         scrape_configs:\n\
         - job_name: a\n\
         - {job_name: b, scrape_interval: 5s, sample_limit: 9}\n",
    )
    .unwrap();
    let [a, b] = &config.scrape_configs[..] else {
        panic!("{config:?}")
    };
    assert_eq!(
        (a.scrape_interval, a.scrape_timeout),
        (Duration::from_secs(15), Duration::from_secs(10))
    );
    assert_eq!(
        (b.scrape_interval, b.scrape_timeout),
        (Duration::from_secs(5), Duration::from_secs(5))
    );
    assert_eq!(
        (a.sample_limit, b.sample_limit, b.body_size_limit),
        (7, 9, 1024)
    );
}

#[test]
fn names_unsupported_sections() {
    let config = parse(
        "rule_files: [a.yml]\n\
         scrape_configs:\n\
         - job_name: a\n  consul_sd_configs: [{server: x}]\n",
    )
    .unwrap();
    assert_eq!(config.ignored_sections, ["rule_files"]);
    let unsupported = DiscoveryConfig::Unsupported("consul_sd_configs".to_owned());
    assert_eq!(config.scrape_configs[0].discovery, [unsupported]);
}

#[test]
fn inherits_the_scrape_failure_log_relative_to_its_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("jobs")).unwrap();
    let more = "scrape_configs:\n- job_name: c\n- {job_name: d, scrape_failure_log_file: d.log}\n";
    std::fs::write(folder.path().join("jobs/more.yml"), more).unwrap();
    let text = "global: {scrape_failure_log_file: all.log}\n\
        scrape_config_files: [jobs/*.yml]\n\
        scrape_configs:\n- job_name: a\n- {job_name: b, scrape_failure_log_file: /b.log}\n";
    let path = folder.path().join("p.yml");
    let config = Config::parse(text, &path, &|_| None).unwrap();
    let logs = config.scrape_configs.iter();
    let logs: Vec<_> = logs
        .map(|c| c.scrape_failure_log_file.clone().unwrap())
        .collect();
    let in_folder = |name: &str| folder.path().join(name);
    let expected = ["all.log", "/b.log", "all.log", "jobs/d.log"];
    assert_eq!(logs, expected.map(in_folder));
}

#[test]
fn keys_with_no_value_are_what_go_makes_of_them() {
    let rule = |rule: &str| {
        let text = format!("scrape_configs:\n- job_name: a\n  relabel_configs:\n  - {{{rule}}}\n");
        parse(&text).map(|config| config.scrape_configs[0].relabel_configs[0].clone())
    };
    let empty = rule("source_labels: [a, ~], target_label: t, replacement: , separator: ").unwrap();
    assert_eq!((&*empty.replacement, &*empty.separator), ("", ""));
    assert_eq!(empty.source_labels, ["a", ""]);
    assert!(rule("target_label: t, action: ").is_err());
    assert!(rule("source_labels: [a], target_label: ").is_err());
    assert!(rule("regex: a.*, action: labelmap, replacement: ").is_err());

    let text = "scrape_configs:\n- job_name: a\n  honor_timestamps:\n  enable_compression:\n  \
        follow_redirects:\n  enable_http2:\n  scrape_interval:\n  sample_limit:\n  metrics_path:\n  \
        params: {x: , y: [~]}\n  http_headers: {X-A: , X-B: {values: }}\n  scrape_protocols:\n  \
        basic_auth:\n  authorization: {type: , credentials: }\n";
    let config = parse(text).unwrap();
    let job = &config.scrape_configs[0];
    assert!(!job.honor_timestamps && !job.enable_compression);
    assert!(!job.http.follow_redirects && !job.http.enable_http2);
    assert_eq!(job.scrape_interval, Duration::from_secs(60));
    assert_eq!(job.metrics_path, "");
    assert_eq!(job.params["x"], [] as [&str; 0]);
    assert_eq!(job.params["y"], [""]);
    assert_eq!(job.http.http_headers.len(), 2);
    assert_eq!(job.scrape_protocols.len(), 4);

    for text in [
        "",
        "global:\n",
        "global: {external_labels: {a: }}\n",
        "scrape_configs:\n",
        "scrape_configs: []\n---\nbogus: 1\n",
        "otlp:\n",
        "remote_write:\n",
        "remote_write: [{url: 'http://h/', headers: {a: }, queue_config: , sigv4: }]\n",
        "remote_write: [{url: 'http://h/', queue_config: {capacity: 1e+04}}]\n",
    ] {
        assert!(parse(text).is_ok(), "{text}: {:?}", parse(text));
    }
}

#[test]
fn a_keyword_with_no_value_is_refused() {
    let dns = "scrape_configs:\n- job_name: a\n  dns_sd_configs: [{names: [x], type: }]\n";
    assert!(parse(dns).is_err());
    assert!(parse("remote_write: [{url: 'http://h/', protobuf_message: }]\n").is_err());
}

#[test]
fn an_empty_secret_does_not_count_as_given() {
    let text = "scrape_configs:\n- job_name: a\n  basic_auth: {username: '', username_file: /u}\n";
    assert!(parse(text).is_ok());
    let public =
        "scrape_configs:\n- job_name: a\n  oauth2: {client_id: a, token_url: 'http://h/'}\n";
    assert!(parse(public).is_ok());
    let both = "scrape_configs:\n- job_name: a\n  bearer_token: x\n  bearer_token_file: /x\n";
    assert!(parse(both).is_err());
}

#[test]
fn allows_the_headers_that_prometheus_allows() {
    let with = |name: &str| {
        let text = format!(
            "scrape_configs:\n- job_name: a\n  http_headers: {{{name}: {{values: [x]}}}}\n"
        );
        parse(&text)
    };
    for name in ["Accept", "Proxy-Foo", "X-Scope-OrgID"] {
        assert!(with(name).is_ok(), "{name}");
    }
    for name in ["Keep-Alive", "Proxy-Authorization", "X-Amz-Date", "Host"] {
        assert!(with(name).is_err(), "{name}");
    }
}
