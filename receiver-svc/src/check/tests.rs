use std::path::Path;

use super::*;

async fn checked(folder: &Path, text: &str, arguments: &[&str]) -> Report {
    let file = folder.join("prometheus.yml");
    std::fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    let arguments = ["check", path].into_iter().chain(arguments.iter().copied());
    check(&file, &CheckArgs::try_parse_from(arguments).unwrap()).await
}

#[tokio::test]
async fn reports_the_line_of_an_unknown_field() {
    let folder = tempfile::tempdir().unwrap();
    let text = "global:\n  scrape_intervall: 1s\n";
    let report = checked(folder.path(), text, &[]).await;
    assert!(!report.is_success());
    let expected = format!(
        "  FAILED: {}:2:3: unknown key \"scrape_intervall\"",
        folder.path().join("prometheus.yml").display()
    );
    assert!(report.to_string().starts_with(&expected), "{report}");
}

#[tokio::test]
async fn reports_the_mistakes_of_every_job() {
    let folder = tempfile::tempdir().unwrap();
    let text = "scrape_configs:\n\
        - {job_name: a, scrape_timeout: 2m}\n\
        - {job_name: b, scrape_protocols: []}\n";
    let report = checked(folder.path(), text, &[]).await;
    let [a, b] = &report.failures[..] else {
        panic!("{report}")
    };
    assert!(a.contains("prometheus.yml:2:3: scrape timeout "), "{a}");
    assert!(b.contains("prometheus.yml:3:3: scrape_protocols "), "{b}");
}

#[tokio::test]
async fn summarizes_a_valid_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = "rule_files: [r.yml]\nalerting: {}\nremote_write: [{url: 'http://h/'}]\nscrape_configs:\n- {job_name: a, static_configs: [{targets: ['h:1']}]}\n- {job_name: b, static_configs: [{targets: ['h:2']}]}\n";
    let report = checked(folder.path(), text, &[]).await;
    assert!(report.is_success());
    let text = report.to_string();
    assert!(text.ends_with("  SUCCESS: 2 scrape jobs, 1 remote write destination; ignored sections: rule_files, alerting\n"), "{text}");
}

#[tokio::test]
async fn rejects_a_mechanism_that_a_receiver_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let text = "scrape_configs:\n- {job_name: b, consul_sd_configs: [{}]}\n";
    let report = checked(folder.path(), text, &[]).await;
    assert!(!report.is_success());
    let report = report.to_string();
    assert!(
        report.contains("prometheus.yml:2:3: job \"b\": consul_sd_configs is not supported"),
        "{report}"
    );
}

#[tokio::test]
async fn rejects_an_ha_replica_without_a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let text = "global: {external_labels: {__replica__: a}}\n";
    let report = checked(folder.path(), text, &[]).await;
    assert_eq!(report.failures.len(), 1, "{report}");
}

#[tokio::test]
async fn reports_missing_files() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("bad.yml", "- targets: oops\n");
    write("url.yml", "- targets: ['http://h/']\n");
    let text = "scrape_configs:\n\
        - job_name: a\n  \
          authorization: {credentials_file: token}\n  \
          tls_config: {ca_file: ca, cert_file: cert, key_file: key}\n  \
          http_headers: {X-A: {files: [header]}}\n  \
          file_sd_configs: [{files: ['none*.yml', bad.yml, url.yml]}]\n\
        - job_name: b\n  \
          basic_auth: {username: u, password_file: password}\n  \
          http_sd_configs: [{url: 'http://h/', oauth2: {client_id: i, client_secret_file: secret, token_url: 'http://h/'}}]\n";
    let report = checked(folder.path(), text, &[]).await;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let at = |line: u8| format!("{}:{line}:3: ", path("prometheus.yml"));
    let missing = |context: &str, key: &str, name: &str| {
        format!(
            "{context}: {key} {}: No such file or directory (os error 2)",
            path(name)
        )
    };
    let address = r#"target {__address__="http://h/"}: "http://h/" is not a valid hostname, expected HOST or HOST:PORT"#;
    let [ca, cert, key, token, header, bad, url, password, secret] = &report.failures[..] else {
        panic!("{report}")
    };
    let a = format!("{}job \"a\"", at(2));
    assert_eq!(*ca, missing(&a, "ca_file", "ca"));
    assert_eq!(*cert, missing(&a, "cert_file", "cert"));
    assert_eq!(*key, missing(&a, "key_file", "key"));
    assert_eq!(*token, missing(&a, "credentials_file", "token"));
    assert_eq!(*header, missing(&a, "http_headers of X-A", "header"));
    assert!(bad.starts_with(&format!("{a}: file_sd: {}:1:", path("bad.yml"))));
    assert_eq!(*url, format!("{a}: {address}"));
    let b = format!("{}job \"b\"", at(7));
    assert_eq!(*password, missing(&b, "password_file", "password"));
    let context = format!("{b}: http_sd_configs");
    assert_eq!(*secret, missing(&context, "client_secret_file", "secret"));
    let none = format!("{a}: file_sd file {} does not exist", path("none*.yml"));
    assert_eq!(report.warnings, [none]);
    assert!(!report.to_string().contains("SUCCESS"));
    let report = checked(folder.path(), text, &["--syntax-only"]).await;
    assert!(report.is_success(), "{report}");
}

#[tokio::test]
async fn warns_of_tls_settings_that_are_not_supported() {
    let folder = tempfile::tempdir().unwrap();
    let text = "scrape_configs:\n\
        - job_name: a\n  \
          tls_config: {min_version: TLS10}\n";
    let report = checked(folder.path(), text, &[]).await;
    assert!(report.is_success(), "{report}");
    let [warning] = &report.warnings[..] else {
        panic!("{report}")
    };
    let expected = "prometheus.yml:2:3: job \"a\": tls_config: min_version TLS10: TLS 1.0 and 1.1 are not supported, servers need TLS 1.2 or 1.3";
    assert!(warning.ends_with(expected), "{warning}");
}

#[tokio::test]
async fn rejects_unusable_certificates() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["ca", "cert", "key"] {
        std::fs::write(folder.path().join(name), "junk").unwrap();
    }
    let text = "scrape_configs:\n\
        - job_name: a\n  \
          tls_config: {ca_file: ca, cert_file: cert, key_file: key}\n";
    let report = checked(folder.path(), text, &[]).await;
    let [ca, cert] = &report.failures[..] else {
        panic!("{report}")
    };
    for (failure, key) in [(ca, "ca"), (cert, "cert")] {
        let place = "prometheus.yml:2:3: job \"a\": tls_config: ";
        assert!(
            failure.contains(&format!("{place}{key}_file ")),
            "{failure}"
        );
        assert!(failure.contains("no usable CERTIFICATE in it"), "{failure}");
    }
}

#[tokio::test]
async fn warns_of_unset_variables_and_of_second_documents() {
    let folder = tempfile::tempdir().unwrap();
    let targets = "- targets: ['h:1']\n---\n- targets: ['h:2']\n";
    std::fs::write(folder.path().join("t.yml"), targets).unwrap();
    let text = "global: {external_labels: {region: '${PROMESH_TEST_UNSET}'}}\n\
        scrape_configs:\n\
        - {job_name: a, file_sd_configs: [{files: [t.yml]}]}\n\
        ---\n\
        scrape_configs: []\n";
    let report = checked(folder.path(), text, &[]).await;
    assert!(report.is_success(), "{report}");
    let [unset, main, in_target_file] = &report.warnings[..] else {
        panic!("{report}")
    };
    assert!(
        unset.contains("prometheus.yml:1:36: external_labels: region: "),
        "{unset}"
    );
    assert!(
        main.contains("prometheus.yml:5:1: a second YAML document"),
        "{main}"
    );
    let expected = "t.yml:3:1: a second YAML document";
    assert!(in_target_file.contains(expected), "{in_target_file}");
}

#[tokio::test]
async fn lists_active_and_dropped_targets() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.yml"), "- targets: ['f:1']\n").unwrap();
    let text = "scrape_configs:\n\
        - job_name: a\n  \
          scrape_interval: 15s\n  \
          static_configs: [{targets: ['h:2', 'h:1'], labels: {env: x}}, {targets: ['h:3']}]\n  \
          file_sd_configs: [{files: [t.yml]}]\n  \
          relabel_configs: [{source_labels: [__address__], regex: 'h:3', action: drop}]\n\
        - job_name: c\n  consul_sd_configs: [{}]\n";
    let report = checked(folder.path(), text, &["--targets"]).await;
    assert_eq!(report.failures.len(), 1, "{report}");
    let text = report.to_string();
    assert!(text.contains(": job \"c\": consul_sd_configs is not supported"));
    let list = &text[text.find("job \"a\": 3").unwrap()..];
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(
        lines[..4],
        [
            "job \"a\": 3 scraped, 1 dropped",
            r#"  http://f:1/metrics every 15s {instance="f:1", job="a"}"#,
            r#"  http://h:1/metrics every 15s {env="x", instance="h:1", job="a"}"#,
            r#"  http://h:2/metrics every 15s {env="x", instance="h:2", job="a"}"#,
        ]
    );
    assert!(
        lines[4].starts_with(r#"  dropped {__address__="h:3", "#),
        "{text}"
    );
}

#[tokio::test]
async fn limits_the_time_of_discovery() {
    let folder = tempfile::tempdir().unwrap();
    // Accepts connections and never responds.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let text = format!(
        "scrape_configs:\n- job_name: a\n  http_sd_configs: [{{url: 'http://{address}/'}}]\n  static_configs: [{{targets: ['h:1']}}]\n"
    );
    let arguments = ["--targets", "--discovery.timeout=1"];
    let report = checked(folder.path(), &text, &arguments).await;
    let [failure] = &report.failures[..] else {
        panic!("{report}")
    };
    let expected =
        "prometheus.yml:2:3: job \"a\": discovery did not complete within 1s (--discovery.timeout)";
    assert!(failure.ends_with(expected), "{failure}");
    assert!(report.to_string().contains("job \"a\": 1 scraped"));
}
