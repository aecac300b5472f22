//! ServiceMonitor and PodMonitor: one job for each endpoint.

mod pod;
mod service;

pub(crate) use self::{pod::pod_monitor, service::service_monitor};

use serde_json::Value;

use crate::{
    Invalid, Kind, Reason, client,
    context::Context,
    kubernetes_sd,
    object::{Field, Object},
    relabeling::Rules,
    selector::Selector,
    yaml::{Map, Yaml},
};

/// A port by name or number.
#[derive(Clone, Debug, PartialEq)]
enum Port<'a> {
    Name(&'a str),
    Number(u64),
}

/// Adds everything to `job` except `relabel_configs`.
fn put_common(
    context: &Context<'_>,
    endpoint: &Object<'_>,
    role: &str,
    selector: &Selector,
    job: &mut Map,
) -> Result<(), Invalid> {
    let (spec, vault) = (&context.spec, context.vault);
    let is_service = context.monitor.kind == Kind::ServiceMonitor;
    context.put_honor_labels(endpoint.is_set("honorLabels")?, job);
    context.put_honor_timestamps(endpoint.flag("honorTimestamps")?, job);
    job.put_some(
        "track_timestamps_staleness",
        endpoint.flag("trackTimestampsStaleness")?,
    );
    let namespaces = spec.object_or_empty("namespaceSelector")?;
    let mut discovery = kubernetes_sd::entry(context, role, &namespaces)?;
    kubernetes_sd::put_attach_metadata(context, &mut discovery)?;
    if by_role(context)? {
        let roles = if is_service {
            &[role, "service"][..]
        } else {
            &[role]
        };
        let text = selector.to_text();
        let selectors = roles
            .iter()
            .map(|role| Map::from_iter([("role", *role), ("label", text.as_str())]));
        discovery.put("selectors", selectors.collect::<Vec<_>>());
    }
    job.put("kubernetes_sd_configs", vec![discovery]);
    context.put_interval(endpoint, "interval", job)?;
    job.put_some("metrics_path", endpoint.full_text("path")?);
    job.put_some("params", endpoint.lists_map("params")?);
    job.put_some("scheme", endpoint.scheme()?);
    job.put_some("follow_redirects", endpoint.flag("followRedirects")?);
    job.put_some("enable_http2", endpoint.flag("enableHttp2")?);
    client::check_methods(endpoint)?;
    client::check_authorization(endpoint)?;
    job.extend(client::proxy(endpoint, vault)?);
    job.put_some("oauth2", client::oauth2(endpoint, vault)?);
    job.put_some(
        "tls_config",
        context.class.tls(endpoint, is_service, vault)?,
    );
    job.put_some("bearer_token", client::bearer_token(endpoint, vault)?);
    job.put_some("basic_auth", client::basic_auth(endpoint, vault)?);
    let class = &context.class;
    job.put_some(
        "authorization",
        client::authorization_or_class(endpoint, class, vault)?,
    );
    context.put_limits(job)?;
    let body_size = spec.size("bodySizeLimit")?;
    context.settings.enforced.put_body_size(body_size, job);
    context.put_metric_relabelings(endpoint, job)
}

/// Returns true if the API server selects objects, not relabeling rules.
fn by_role(context: &Context<'_>) -> Result<bool, Invalid> {
    let known = ["RelabelConfig", "RoleSelector"];
    let mechanism = context.spec.one_of("selectorMechanism", &known)?;
    Ok(mechanism == Some("RoleSelector"))
}

/// Adds the user's rules and writes all of them.
fn finish(
    context: &Context<'_>,
    endpoint: &Object<'_>,
    mut rules: Rules,
    mut job: Map,
) -> Result<Yaml, Invalid> {
    rules.extend(context.class.relabelings()?);
    context.add_relabelings(endpoint, "relabelings", &mut rules)?;
    job.put("relabel_configs", rules);
    Ok(job.into())
}

/// Reads `targetPort`, a name or a number.
fn target_port<'a>(endpoint: &Object<'a>) -> Field<Port<'a>> {
    match endpoint.value("targetPort") {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(Port::Name(name))),
        Some(value) => match value.as_u64().filter(|number| *number <= 65535) {
            Some(number) => Ok(Some(Port::Number(number))),
            None => Err(endpoint.invalid(
                Reason::Schema,
                "targetPort",
                "expected the name or the number of a port",
            )),
        },
    }
}

/// Keeps the targets of a container's port.
fn keep_container_port(port: &Port<'_>, rules: &mut Rules) {
    match port {
        Port::Name("") | Port::Number(0) => {}
        Port::Name(name) => rules.keep("__meta_kubernetes_pod_container_port_name", *name),
        Port::Number(number) => {
            rules.keep("__meta_kubernetes_pod_container_port_number", *number);
        }
    }
}

/// Sets the label `endpoint` to the name of the port, or to the target port.
fn set_endpoint(port: Option<&str>, target: Option<&Port<'_>>, rules: &mut Rules) {
    match (port, target) {
        (Some(port), _) => rules.set("endpoint", port),
        (None, Some(Port::Name(""))) | (None, None) => {}
        (None, Some(Port::Name(name))) => rules.set("endpoint", name),
        (None, Some(Port::Number(number))) => rules.set("endpoint", &number.to_string()),
    }
}
