//! Exporters of a pipeline that scrapes.

use serde_json::{Map, Value, json};

use super::type_of;
use crate::{
    notes::Notes,
    part::Part,
    value::{at, copy, entries, text},
};

/// Translates an exporter into an entry of `remote_write`.
pub(super) fn translate(id: &str, config: &Value, part: &mut Part, notes: &mut Notes) {
    let settings = &config["exporters"][id];
    match type_of(id) {
        "prometheusremotewrite" | "prometheus_remote_write" => {}
        "awsprometheusremotewrite" => {
            let text = "awsprometheusremotewrite with aws_auth is remote_write with sigv4";
            notes.add(format!("exporters.{id}"), text);
        }
        "debug" | "logging" => {
            let text = "prints samples; the pages of each receiver show its targets";
            notes.add(format!("exporters.{id}"), text);
            return;
        }
        _ => {
            let text = "promesh writes by remote write only; keep a Collector for it";
            notes.add(format!("exporters.{id}"), text);
            return;
        }
    }
    let mut entry = Map::new();
    for (key, value) in entries(settings) {
        setting(id, key, value, &mut entry, part, notes);
    }
    if let Some(name) = text(at(settings, &["auth", "authenticator"])) {
        authenticator(&name, &config["extensions"][&name], &mut entry, notes);
    }
    if entry.contains_key("url") {
        part.remote_write.push(Value::Object(entry));
    } else {
        let text = "has no endpoint; add a remote_write entry with your url";
        notes.add(format!("exporters.{id}"), text);
    }
}

/// Translates one key of the exporter.
fn setting(
    id: &str,
    key: &str,
    value: &Value,
    entry: &mut Map<String, Value>,
    part: &mut Part,
    notes: &mut Notes,
) {
    let place = format!("exporters.{id}.{key}");
    match key {
        "endpoint" => {
            if let Some(url) = text(value) {
                entry.insert("url".into(), json!(url));
            }
        }
        "headers" => {
            entry.insert("headers".into(), value.clone());
        }
        "timeout" => {
            entry.insert("remote_timeout".into(), value.clone());
        }
        "external_labels" => {
            for (name, value) in entries(value) {
                part.external_label(name, value.clone());
            }
        }
        "namespace" => {
            let Some(namespace) = text(value).filter(|name| !name.is_empty()) else {
                return;
            };
            let rule = json!({
                "source_labels": ["__name__"], "regex": "(.+)",
                "target_label": "__name__", "replacement": format!("{namespace}_$1"),
            });
            entry.insert("write_relabel_configs".into(), json!([rule]));
            let text = format!(
                "names begin with {namespace}_, as before, by a rule of write_relabel_configs"
            );
            notes.add(place, text);
        }
        "tls" => {
            let mut tls = Map::new();
            for key in ["ca_file", "cert_file", "key_file", "insecure_skip_verify"] {
                copy(value, key, &mut tls, key);
            }
            copy(value, "server_name_override", &mut tls, "server_name");
            if !tls.is_empty() {
                entry.insert("tls_config".into(), Value::Object(tls));
            }
        }
        "aws_auth" => {
            let mut sigv4 = Map::new();
            copy(value, "region", &mut sigv4, "region");
            copy(value, "role_arn", &mut sigv4, "role_arn");
            entry.insert("sigv4".into(), Value::Object(sigv4));
        }
        "auth" | "compression" => {}
        "resource_to_telemetry_conversion" if value["enabled"] == json!(true) => notes.add(
            place,
            "put all resource attributes on every series (service_name, server_address, \
             url_scheme and what processors add); these labels are gone unless you add them \
             by relabel_configs",
        ),
        "add_metric_suffixes" if value == &json!(false) => {
            notes.add(place, "names stay as they are; promesh does the same");
        }
        "wal" => notes.add(
            place,
            "no counterpart in the exporter; the outbox of receivers keeps samples on disk \
             (--outbox.spill-dir)",
        ),
        "remote_write_queue" | "sending_queue" => notes.add(
            place,
            "queue_size counts requests of the Collector and has no counterpart; the outbox \
             of receivers is bounded by --outbox.max-bytes",
        ),
        "retry_on_failure" => notes.add(
            place,
            "the Collector dropped data after max_elapsed_time; promesh retries for \
             --outbox.max-age (55m)",
        ),
        "resource_to_telemetry_conversion" | "add_metric_suffixes" => {}
        _ => notes.add(place, "no counterpart"),
    }
}

fn authenticator(name: &str, extension: &Value, entry: &mut Map<String, Value>, notes: &mut Notes) {
    match type_of(name) {
        "sigv4auth" => {
            let mut sigv4 = Map::new();
            if let Some(region) = text(&extension["region"]) {
                sigv4.insert("region".into(), json!(region));
            }
            copy(&extension["assume_role"], "arn", &mut sigv4, "role_arn");
            entry.insert("sigv4".into(), Value::Object(sigv4));
        }
        "basicauth" => {
            let client = &extension["client_auth"];
            let mut basic = Map::new();
            copy(client, "username", &mut basic, "username");
            copy(client, "password", &mut basic, "password");
            if !client["htpasswd"].is_null() || basic.is_empty() {
                notes.add(
                    format!("extensions.{name}"),
                    "write it as basic_auth by hand",
                );
            } else {
                entry.insert("basic_auth".into(), Value::Object(basic));
            }
        }
        "bearertokenauth" => {
            let mut authorization = Map::new();
            copy(extension, "scheme", &mut authorization, "type");
            copy(extension, "token", &mut authorization, "credentials");
            copy(
                extension,
                "filename",
                &mut authorization,
                "credentials_file",
            );
            entry.insert("authorization".into(), Value::Object(authorization));
        }
        _ => notes.add(
            format!("extensions.{name}"),
            "authenticator without a translation; add its counterpart to remote_write by hand",
        ),
    }
}
