//! Entries of `kubernetes_sd_configs`.

use mesh_model::config_file::{check_field_selector, check_label_selector};

use crate::{
    Invalid, Reason, client,
    context::Context,
    material::Vault,
    object::Object,
    scrape_class::attach_node,
    tls::{self, Tls},
    yaml::Map,
};

/// Roles and the roles of the selectors that each may have.
const ROLES: [(&str, &[&str]); 6] = [
    ("Pod", &["Pod"]),
    ("Endpoints", &["Pod", "Service", "Endpoints"]),
    ("Ingress", &["Ingress"]),
    ("Service", &["Service"]),
    ("Node", &["Node"]),
    ("EndpointSlice", &["Pod", "Service", "EndpointSlice"]),
];

/// Generates the entry of a ServiceMonitor, PodMonitor or Probe.
pub(crate) fn entry(
    context: &Context<'_>,
    role: &str,
    selector: &Object<'_>,
) -> Result<Map, Invalid> {
    let mut entry = Map::default();
    entry.put("role", role);
    let own = vec![context.monitor.namespace.as_str()];
    let names = selector.texts("matchNames")?.unwrap_or_default();
    let names = if context.settings.ignore_namespace_selectors {
        Some(own)
    } else if selector.is_set("any")? {
        None
    } else {
        Some(if names.is_empty() { own } else { names })
    };
    if let Some(names) = names {
        entry.put("namespaces", Map::from_iter([("names", names)]));
    }
    if let Some(api_server) = context.settings.api_server()? {
        let vault = Vault {
            namespace: &context.settings.namespace,
            ..context.vault
        };
        entry.extend(self::api_server(&api_server, vault)?);
    }
    Ok(entry)
}

/// Adds `attach_metadata` of the monitor or its scrape class.
pub(crate) fn put_attach_metadata(context: &Context<'_>, entry: &mut Map) -> Result<(), Invalid> {
    let node = attach_node(&context.spec)?.or(context.class.attach_node()?);
    if let Some(node) = node {
        entry.put("attach_metadata", Map::from_iter([("node", node)]));
    }
    Ok(())
}

/// Reads `apiserverConfig` of a Prometheus object.
fn api_server(config: &Object<'_>, vault: Vault<'_>) -> Result<Map, Invalid> {
    let mut map = client::proxy(config, vault)?;
    map.put("api_server", config.required_text("host")?);
    map.put_some("basic_auth", client::basic_auth(config, vault)?);
    let token = config.full_text("bearerToken")?;
    map.put_some("bearer_token", token.map(mesh_model::config::Secret::new));
    map.put_some("bearer_token_file", config.full_text("bearerTokenFile")?);
    if let Some(auth) = config.object("authorization")? {
        let credentials = vault.secret(&auth, "credentials")?;
        let file = auth.full_text("credentialsFile")?;
        map.put(
            "authorization",
            client::authorization_map(&auth, credentials, file)?,
        );
    }
    let tls = tls::read(config, true, vault)?;
    map.put_some("tls_config", tls.map(Tls::into_map));
    Ok(map)
}

/// Reads an entry of `kubernetesSDConfigs`.
pub(crate) fn read(config: &Object<'_>, vault: Vault<'_>) -> Result<Map, Invalid> {
    let names = ROLES.map(|(name, _)| name);
    let role = config.one_of("role", &names)?;
    let role = role.ok_or_else(|| config.missing("role", &names.join(", ")))?;
    let mut map = client::read(config, super::discovery::ALL, vault)?;
    map.put("role", role.to_lowercase());
    let api_server = config.full_text("apiServer")?;
    map.put_some("api_server", api_server);
    if let Some(namespaces) = config.object("namespaces")? {
        let own = namespaces.flag("ownNamespace")?;
        if api_server.is_some() && own == Some(true) {
            return Err(namespaces.invalid(
                Reason::Conflict,
                "ownNamespace",
                "given together with apiServer, expected one",
            ));
        }
        let mut written = Map::default();
        written.put("names", namespaces.texts("names")?.unwrap_or_default());
        written.put_some("own_namespace", own);
        map.put("namespaces", written);
    }
    let selectors = config.objects("selectors")?;
    if !selectors.is_empty() {
        let selectors = selectors
            .iter()
            .map(|selector| read_selector(selector, role));
        map.put("selectors", selectors.collect::<Result<Vec<_>, _>>()?);
    }
    // The other roles have no node.
    let has_node = ["Pod", "Endpoints", "EndpointSlice"].contains(&role);
    if let Some(attach) = config.object("attachMetadata")?
        && has_node
    {
        let mut written = Map::default();
        written.put_some("node", attach.flag("node")?);
        map.put("attach_metadata", written);
    }
    Ok(map)
}

fn read_selector(selector: &Object<'_>, role: &str) -> Result<Map, Invalid> {
    let known = ROLES.iter().find(|(name, _)| *name == role);
    let allowed = known.map_or(&[][..], |(_, allowed)| allowed);
    let own = selector.required_text("role")?;
    if !allowed.contains(&own) {
        let message = format!(
            "found {own:?}, expected one of {} for the role {role}",
            allowed.join(", ")
        );
        return Err(selector.invalid(Reason::Conflict, "role", message));
    }
    let (label, field) = (selector.text("label")?, selector.text("field")?);
    if let Some(label) = label {
        check_label_selector(label)
            .map_err(|why| selector.invalid(Reason::Schema, "label", why))?;
    }
    if let Some(field) = field {
        check_field_selector(field)
            .map_err(|why| selector.invalid(Reason::Schema, "field", why))?;
    }
    let mut map = Map::default();
    map.put("role", own.to_lowercase());
    map.put_some("label", label);
    map.put_some("field", field);
    Ok(map)
}
