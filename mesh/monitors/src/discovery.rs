//! Discovery mechanisms of a ScrapeConfig: a table of their fields.
//!
//! The generator writes every mechanism. Whoever parses the result refuses those that
//! promesh does not have, by name.

mod table;

use std::collections::BTreeMap;

use self::table::{Entry, MECHANISMS, Mechanism, Type};
use crate::{
    Invalid, Reason,
    client::{self, Parts},
    context::static_labels,
    kubernetes_sd,
    material::Vault,
    object::{Object, parse_url},
    yaml::{Map, Yaml},
};

/// Client settings of mechanisms that have all of them.
pub(crate) const ALL: Parts = Parts {
    basic_auth: true,
    authorization: true,
    oauth2: true,
    tls: true,
    proxy: true,
    switches: true,
};

/// Reads the discovery mechanisms of a ScrapeConfig.
pub(crate) fn read(spec: &Object<'_>, vault: Vault<'_>) -> Result<Map, Invalid> {
    let mut map = Map::default();
    let mut put = |key: &str, entries: Vec<Map>| {
        map.put_some(key, Some(entries).filter(|entries| !entries.is_empty()));
    };
    put("static_configs", list(spec, "staticConfigs", static_group)?);
    put(
        "kubernetes_sd_configs",
        list(spec, "kubernetesSDConfigs", |config| {
            kubernetes_sd::read(config, vault)
        })?,
    );
    put(
        "azure_sd_configs",
        list(spec, "azureSDConfigs", |config| azure(config, vault))?,
    );
    for mechanism in MECHANISMS {
        let entries = list(spec, mechanism.list, |config| {
            read_entry(mechanism, config, vault)
        })?;
        put(mechanism.key, entries);
    }
    Ok(map)
}

fn list<'a>(
    spec: &Object<'a>,
    key: &str,
    read: impl Fn(&Object<'a>) -> Result<Map, Invalid>,
) -> Result<Vec<Map>, Invalid> {
    spec.objects(key)?.iter().map(read).collect()
}

fn static_group(group: &Object<'_>) -> Result<Map, Invalid> {
    let targets = group.texts("targets")?;
    let targets = targets.ok_or_else(|| group.missing("targets", "a list of HOST:PORT"))?;
    let mut map = Map::default();
    map.put("targets", targets);
    map.put("labels", static_labels(group)?.unwrap_or_default());
    Ok(map)
}

/// Reads an entry of `azureSDConfigs`. As with the Operator, the environment hides the
/// client settings, and TLS settings are never written.
fn azure(config: &Object<'_>, vault: Vault<'_>) -> Result<Map, Invalid> {
    let methods = ["OAuth", "ManagedIdentity", "SDK", "WorkloadIdentity"];
    let method = config.one_of("authenticationMethod", &methods)?;
    if matches!(method, None | Some("OAuth")) {
        for key in ["tenantID", "clientID"] {
            config.required_text(key)?;
        }
        if !config.has("clientSecret") {
            return Err(config.missing("clientSecret", "the name and key of a secret"));
        }
        // All settings are read, so that a missing Secret is reported.
        client::read(config, ALL, vault)?;
    }
    let mut map = if config.has("environment") {
        Map::default()
    } else {
        let parts = Parts {
            tls: false,
            switches: false,
            ..ALL
        };
        client::read(config, parts, vault)?
    };
    map.extend(read_fields(table::AZURE, config, vault)?);
    Ok(map)
}

fn read_entry(
    mechanism: &Mechanism,
    config: &Object<'_>,
    vault: Vault<'_>,
) -> Result<Map, Invalid> {
    let mut map = client::read(config, mechanism.client, vault)?;
    // IONOS requires an authorization, which oauth2 replaces.
    if mechanism.list == "ionosSDConfigs" && config.has("oauth2") {
        map.remove("authorization");
    }
    map.extend(read_fields(mechanism.fields, config, vault)?);
    // AWS keys count only as a pair.
    if config.has("accessKey") != config.has("secretKey") && mechanism.has_key_pair() {
        map.remove("access_key");
        map.remove("secret_key");
    }
    let has_record = config.text("type")?.is_some_and(|record| record != "SRV");
    if mechanism.list == "dnsSDConfigs" && has_record && !config.has("port") {
        return Err(config.missing("port", "a port, since only SRV records contain one"));
    }
    Ok(map)
}

fn read_fields(fields: &[Entry], config: &Object<'_>, vault: Vault<'_>) -> Result<Map, Invalid> {
    let mut map = Map::default();
    for entry in fields {
        let value = read_field(entry, config, vault)?;
        if value.is_none() && entry.required {
            return Err(config.missing(entry.field, "a value"));
        }
        map.put_some(entry.key, value);
    }
    Ok(map)
}

fn read_field(
    entry: &Entry,
    config: &Object<'_>,
    vault: Vault<'_>,
) -> Result<Option<Yaml>, Invalid> {
    let field = entry.field;
    Ok(match entry.kind {
        Type::Text => config.full_text(field)?.map(Yaml::from),
        Type::Flag => config.flag(field)?.map(Yaml::from),
        Type::Port => config.port(field)?.map(Yaml::from),
        Type::Duration => config.duration(field)?.map(Yaml::from),
        Type::Texts => config
            .texts(field)?
            .filter(|list| !list.is_empty())
            .map(Yaml::from),
        Type::TextMap => config
            .text_map(field)?
            .filter(|map| !map.is_empty())
            .map(Yaml::from),
        Type::Secret => vault.secret(config, field)?.map(Yaml::from),
        Type::OneOf(known) => config.one_of(field, known)?.map(Yaml::from),
        Type::LowerCase(known) => {
            let value = config.one_of(field, known)?;
            value.map(|value| Yaml::from(value.to_lowercase()))
        }
        Type::Renamed(names) => {
            let known: Vec<_> = names.iter().map(|(name, _)| *name).collect();
            let value = config.one_of(field, &known)?;
            let renamed = names.iter().find(|(name, _)| Some(*name) == value);
            renamed.map(|(_, written)| Yaml::from(*written))
        }
        Type::Url(schemes) => url(config, field, schemes)?.map(Yaml::from),
        Type::Filters => filters(config)?,
    })
}

/// Reads a URL with a host and one of the schemes. No scheme in the list allows any.
fn url<'a>(config: &Object<'a>, field: &str, schemes: &[&str]) -> Result<Option<&'a str>, Invalid> {
    let Some(text) = config.full_text(field)? else {
        return Ok(None);
    };
    let valid = parse_url(text)
        .is_some_and(|url| schemes.is_empty() || url.has_host() && schemes.contains(&url.scheme()));
    if valid {
        return Ok(Some(text));
    }
    let expected = if schemes.is_empty() {
        "a URL"
    } else {
        "a URL such as http://host:8080"
    };
    // A URL can contain a password, so the message does not quote it.
    let message = format!("found another text, expected {expected}");
    Err(config.invalid(Reason::Schema, field, message))
}

/// Reads `filters`, sorted by name.
fn filters(config: &Object<'_>) -> Result<Option<Yaml>, Invalid> {
    let mut filters = Vec::new();
    for filter in config.objects("filters")? {
        let name = filter.required_text("name")?;
        filters.push((name, filter.texts("values")?.unwrap_or_default()));
    }
    filters.sort_by_key(|(name, _)| *name);
    let filters: Vec<_> = filters
        .into_iter()
        .map(|(name, values)| {
            let entries: BTreeMap<&str, Yaml> =
                [("name", Yaml::from(name)), ("values", Yaml::from(values))].into();
            Map::from_iter(entries)
        })
        .collect();
    Ok(Some(filters)
        .filter(|filters| !filters.is_empty())
        .map(Yaml::from))
}
