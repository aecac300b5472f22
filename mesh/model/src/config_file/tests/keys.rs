//! Compares the table of keys in `docs/configuration.md` with the code, in both directions.
//!
//! - Each row's example is parsed in its section. An obeyed key changes the configuration, a
//!   key without effect does not, and a refused key is an error that names it.
//! - Each field of a section's struct is a row, and each row is a field.

use std::{collections::BTreeSet, sync::LazyLock};

use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor, value},
    forward_to_deserialize_any,
};
use tempfile::TempDir;

use crate::{
    config::{Config, Places, discovery::DiscoveryConfig},
    config_file::{aws, discovery, document, http, relabel, remote_write, scrape},
};

const PAGE: &str = include_str!("../../../../../docs/configuration.md");

/// Version of Prometheus whose keys the page lists.
const PROMETHEUS: &str = "3.16";

/// One row of a table of the page.
#[derive(Debug)]
struct Row {
    section: &'static str,
    key: &'static str,
    example: &'static str,
    status: &'static str,
    notes: &'static str,
}

fn rows() -> Vec<Row> {
    let mut section = "";
    let mut rows = Vec::new();
    for line in PAGE.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.trim_matches('`');
        }
        let cells: Vec<_> = line
            .split(" | ")
            .map(|cell| cell.trim_matches(['|', ' ']))
            .collect();
        if let [key, example, status, notes] = cells[..]
            && key.starts_with('`')
        {
            let (key, example) = (key.trim_matches('`'), example.trim_matches('`'));
            rows.push(Row {
                section,
                key,
                example,
                status,
                notes,
            });
        }
    }
    rows
}

/// Places keys of a section: the text around them, and the keys that the section requires,
/// with values.
fn place(section: &str) -> (&'static str, &'static [&'static str]) {
    match section {
        "Top level" => ("{KEYS}", &[]),
        "global" => ("{global: {KEYS}, scrape_configs: [{job_name: j}]}", &[]),
        "runtime" => ("{runtime: {KEYS}}", &[]),
        "scrape_configs" | "HTTP client" => ("{scrape_configs: [{KEYS}]}", &["job_name: j"]),
        "basic_auth" => ("{scrape_configs: [{job_name: j, basic_auth: {KEYS}}]}", &[]),
        "authorization" => (
            "{scrape_configs: [{job_name: j, authorization: {KEYS}}]}",
            &[],
        ),
        "oauth2" => (
            "{scrape_configs: [{job_name: j, oauth2: {KEYS}}]}",
            &["client_id: c", "client_secret: s", "token_url: 'http://t/'"],
        ),
        "tls_config" => ("{scrape_configs: [{job_name: j, tls_config: {KEYS}}]}", &[]),
        "http_headers" => (
            "{scrape_configs: [{job_name: j, http_headers: {X: {KEYS}}}]}",
            &[],
        ),
        "Relabeling rules" => (
            "{scrape_configs: [{job_name: j, relabel_configs: [{KEYS}]}]}",
            &["target_label: a"],
        ),
        "static_configs" => (
            "{scrape_configs: [{job_name: j, static_configs: [{KEYS}]}]}",
            &[],
        ),
        "file_sd_configs" => (
            "{scrape_configs: [{job_name: j, file_sd_configs: [{KEYS}]}]}",
            &["files: [a.yml]"],
        ),
        "http_sd_configs" => (
            "{scrape_configs: [{job_name: j, http_sd_configs: [{KEYS}]}]}",
            &["url: 'http://a/'"],
        ),
        "dns_sd_configs" => (
            "{scrape_configs: [{job_name: j, dns_sd_configs: [{KEYS}]}]}",
            &["names: [a]"],
        ),
        "kubernetes_sd_configs" => (
            "{scrape_configs: [{job_name: j, kubernetes_sd_configs: [{KEYS}]}]}",
            &["role: node"],
        ),
        "namespaces" => (
            "{scrape_configs: [{job_name: j, kubernetes_sd_configs: [{role: pod, namespaces: {KEYS}}]}]}",
            &[],
        ),
        "selectors" => (
            "{scrape_configs: [{job_name: j, kubernetes_sd_configs: [{role: pod, selectors: [{KEYS}]}]}]}",
            &["role: pod"],
        ),
        "attach_metadata" => (
            "{scrape_configs: [{job_name: j, kubernetes_sd_configs: [{role: pod, attach_metadata: {KEYS}}]}]}",
            &[],
        ),
        "ec2_sd_configs" => (
            "{scrape_configs: [{job_name: j, ec2_sd_configs: [{KEYS}]}]}",
            &[],
        ),
        "ecs_sd_configs" => (
            "{scrape_configs: [{job_name: j, ecs_sd_configs: [{KEYS}]}]}",
            &[],
        ),
        "msk_sd_configs" => (
            "{scrape_configs: [{job_name: j, msk_sd_configs: [{KEYS}]}]}",
            &[],
        ),
        "aws_sd_configs" => (
            "{scrape_configs: [{job_name: j, aws_sd_configs: [{KEYS}]}]}",
            &["role: ec2"],
        ),
        "filters" => (
            "{scrape_configs: [{job_name: j, ec2_sd_configs: [{filters: [{KEYS}]}]}]}",
            &["name: a", "values: [b]"],
        ),
        "remote_write" => ("{remote_write: [{KEYS}]}", &["url: 'http://b/'"]),
        "queue_config" => (
            "{remote_write: [{url: 'http://b/', queue_config: {KEYS}}]}",
            &[],
        ),
        "metadata_config" => (
            "{remote_write: [{url: 'http://b/', metadata_config: {KEYS}}]}",
            &[],
        ),
        "sigv4" => ("{remote_write: [{url: 'http://b/', sigv4: {KEYS}}]}", &[]),
        "otlp" => ("{otlp: {KEYS}}", &[]),
        other => panic!("the page has a section {other:?} that the test does not know"),
    }
}

/// Returns the file to compare a section with: the section without keys. The debug text of a
/// secret hides its value, so the sections that always have one compare with no section.
fn without_keys(section: &str) -> String {
    match section {
        "basic_auth" | "authorization" | "oauth2" => file_with("scrape_configs", ""),
        section => file_with(section, ""),
    }
}

/// Parses a file in a folder that has the scrape configuration file `jobs/a.yml`.
fn parse(text: &str) -> Result<Config, String> {
    static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("jobs")).unwrap();
        let job = "scrape_configs: [{job_name: a}]";
        std::fs::write(folder.path().join("jobs/a.yml"), job).unwrap();
        folder
    });
    let path = FOLDER.path().join("p.yml");
    Config::parse(text, &path, &|_| None).map_err(|error| error.to_string())
}

/// Builds a file that has `example` in its section.
fn file_with(section: &str, example: &str) -> String {
    let (text, required) = place(section);
    let missing = required.iter().filter(|required| {
        let key = required.split(": ").next().unwrap();
        let given = |key: &str| example.starts_with(key) || example.contains(&format!(", {key}"));
        let replaced = key == "client_secret" && given("client_secret_");
        !given(&format!("{key}: ")) && !replaced
    });
    let keys: Vec<_> = [example]
        .into_iter()
        .filter(|e| !e.is_empty())
        .chain(missing.copied())
        .collect();
    text.replacen("KEYS", &keys.join(", "), 1)
}

/// Returns everything that a configuration means: not its list of ignored sections, and no places.
fn meaning(mut config: Config) -> String {
    config.ignored_sections.clear();
    config.places = Places::default();
    format!("{config:?}")
}

fn is_refused_at_start(config: &Config, key: &str) -> bool {
    let refused = DiscoveryConfig::Unsupported(key.to_owned());
    config
        .scrape_configs
        .iter()
        .any(|job| job.discovery.contains(&refused))
}

#[test]
fn the_page_names_the_version_of_prometheus() {
    assert!(PAGE.contains(&format!("every key of **Prometheus {PROMETHEUS}**")));
}

#[test]
fn treats_each_key_as_the_page_says() {
    for row in rows() {
        let Row {
            section,
            key,
            example,
            status,
            notes,
        } = row;
        assert!(
            example.contains(&format!("{key}: ")),
            "{section}: {key} is not in its example"
        );
        assert!(
            status == "obeyed" || !notes.is_empty(),
            "{section}: {key} has no reason"
        );
        let text = file_with(section, example);
        let parsed = parse(&text);
        let without = parse(&without_keys(section)).map(meaning);
        let without = without.unwrap_or_else(|error| panic!("{section}: {error}"));
        match (status, parsed) {
            ("obeyed", Ok(config)) => {
                assert!(!is_refused_at_start(&config, key), "{text}");
                assert_ne!(meaning(config), without, "{text}: {key} has no effect");
            }
            ("no effect", Ok(config)) => {
                assert_eq!(meaning(config), without, "{text}: {key} has an effect");
            }
            ("refused", Ok(config)) => {
                assert!(
                    is_refused_at_start(&config, key),
                    "{text}: {key} is accepted"
                );
            }
            ("refused", Err(error)) => {
                let named = error.contains(&format!("{key} is not supported: "));
                assert!(named, "{text}: {error}");
            }
            (status, Ok(_)) => panic!("{section}: {key}: unknown status {status:?}"),
            (status, Err(error)) => panic!("{key} is {status}, but {text}: {error}"),
        }
    }
}

#[test]
fn lists_each_key_that_the_parser_knows() {
    let listed = |sections: &[&'static str]| -> BTreeSet<&str> {
        let rows = rows().into_iter();
        let of_sections = rows.filter(|row| sections.contains(&row.section));
        of_sections.map(|row| row.key).collect()
    };
    let check = |known: BTreeSet<&str>, sections: &[&'static str]| {
        assert_eq!(
            known,
            listed(sections),
            "parser and page differ in {sections:?}"
        );
    };
    const HTTP: &str = "HTTP client";
    check(keys::<document::File>(), &["Top level"]);
    check(keys::<scrape::Global>(), &["global"]);
    check(keys::<document::Runtime>(), &["runtime"]);
    check(keys::<scrape::Scrape>(), &["scrape_configs", HTTP]);
    check(keys::<http::BasicAuth>(), &["basic_auth"]);
    check(keys::<http::Authorization>(), &["authorization"]);
    check(keys::<http::OAuth2>(), &["oauth2"]);
    check(keys::<http::Tls>(), &["tls_config"]);
    check(keys::<http::Header>(), &["http_headers"]);
    check(keys::<relabel::Rule>(), &["Relabeling rules"]);
    check(keys::<discovery::StaticGroup>(), &["static_configs"]);
    check(keys::<discovery::FileSd>(), &["file_sd_configs"]);
    check(keys::<discovery::HttpSd>(), &["http_sd_configs", HTTP]);
    check(keys::<discovery::DnsSd>(), &["dns_sd_configs"]);
    check(
        keys::<discovery::KubernetesSd>(),
        &["kubernetes_sd_configs", HTTP],
    );
    check(keys::<discovery::Namespaces>(), &["namespaces"]);
    check(keys::<discovery::Selector>(), &["selectors"]);
    check(keys::<discovery::Attach>(), &["attach_metadata"]);
    check(keys::<aws::Ec2Sd>(), &["ec2_sd_configs", HTTP]);
    check(keys::<aws::EcsSd>(), &["ecs_sd_configs", HTTP]);
    check(keys::<aws::MskSd>(), &["msk_sd_configs", HTTP]);
    check(keys::<aws::AwsSd>(), &["aws_sd_configs", HTTP]);
    check(keys::<aws::Filter>(), &["filters"]);
    check(keys::<remote_write::RemoteWrite>(), &["remote_write", HTTP]);
    check(keys::<remote_write::Queue>(), &["queue_config"]);
    check(keys::<remote_write::Metadata>(), &["metadata_config"]);
    check(keys::<remote_write::sigv4::Sigv4>(), &["sigv4"]);
    check(keys::<remote_write::Otlp>(), &["otlp"]);
}

#[test]
fn refuses_openmetrics_2_by_name() {
    for key in [
        "scrape_protocols: [OpenMetricsText2.0.0]",
        "fallback_scrape_protocol: OpenMetricsText2.0.0",
    ] {
        let error = parse(&file_with("scrape_configs", key)).unwrap_err();
        assert!(
            error.contains("OpenMetricsText2.0.0 is not supported: "),
            "{error}"
        );
    }
}

/// Returns the keys of a strict struct.
fn keys<'de, T: Deserialize<'de>>() -> BTreeSet<&'static str> {
    let mut recorder = Recorder::default();
    assert!(T::deserialize(&mut recorder).is_err());
    recorder.fields.iter().copied().collect()
}

/// Deserializer without data. Records the fields of the struct that is read from it.
#[derive(Default)]
struct Recorder {
    fields: &'static [&'static str],
}

// === impl Recorder ===

impl<'de> Deserializer<'de> for &mut Recorder {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(Error::custom("no data"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.fields = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
        ignored_any
    }
}
