//! ServiceMonitor.

use super::{by_role, finish, keep_container_port, put_common, set_endpoint, target_port};
use crate::{
    Invalid, Reason,
    context::Context,
    object::Object,
    relabeling::{Rule, Rules},
    selector::Selector,
    tls,
    yaml::{Map, Yaml},
};

/// Generates the jobs of a ServiceMonitor.
pub(crate) fn service_monitor(context: &Context<'_>) -> Result<Vec<Yaml>, Invalid> {
    let spec = &context.spec;
    let selector = Selector::read(&spec.required_object("selector")?)?;
    let endpoints = spec.objects("endpoints")?;
    let jobs = endpoints.iter().enumerate();
    jobs.map(|(at, endpoint)| job(context, &selector, at, endpoint))
        .collect()
}

fn job(
    context: &Context<'_>,
    selector: &Selector,
    at: usize,
    endpoint: &Object<'_>,
) -> Result<Yaml, Invalid> {
    let (spec, monitor) = (&context.spec, context.monitor);
    let role = context.settings.endpoint_role(spec)?;
    let mut job = Map::default();
    let (namespace, name) = (&monitor.namespace, &monitor.name);
    job.put(
        "job_name",
        format!("serviceMonitor/{namespace}/{name}/{at}"),
    );
    if context.settings.deny_files {
        refuse_files(context, endpoint)?;
    }
    put_common(context, endpoint, role, selector, &mut job)?;
    job.put_some("bearer_token_file", endpoint.full_text("bearerTokenFile")?);

    let mut rules = Rules::new();
    if !by_role(context)? {
        selector.add_rules("service", &mut rules);
    }
    let meta = if role == "endpointslice" {
        "__meta_kubernetes_endpointslice"
    } else {
        "__meta_kubernetes_endpoint"
    };
    let (port, target) = (endpoint.full_text("port")?, target_port(endpoint)?);
    match (port, &target) {
        (Some(port), _) => rules.keep(&format!("{meta}_port_name"), port),
        (None, Some(target)) => keep_container_port(target, &mut rules),
        (None, None) => {}
    }
    let kind = format!("{meta}_address_target_kind");
    let target_name = format!("{meta}_address_target_name");
    for (regex, label) in [("Node;(.*)", "node"), ("Pod;(.*)", "pod")] {
        let rule = Rule::from(&[&kind, &target_name]).separator(";");
        rules.push(rule.regex(regex).replacement("${1}").to(label));
    }
    rules.copy("__meta_kubernetes_namespace", "namespace");
    rules.copy("__meta_kubernetes_service_name", "service");
    rules.copy("__meta_kubernetes_pod_name", "pod");
    rules.copy("__meta_kubernetes_pod_container_name", "container");
    if endpoint.flag("filterRunning")?.unwrap_or(true) {
        rules.drop_ended_pods();
    }
    let service_label = "__meta_kubernetes_service_label_";
    let labels = spec.texts("targetLabels")?.unwrap_or_default();
    rules.copy_labels(service_label, &labels);
    let pod_labels = spec.texts("podTargetLabels")?.unwrap_or_default();
    let shared = context.settings.pod_target_labels();
    rules.copy_labels(
        "__meta_kubernetes_pod_label_",
        &[pod_labels, shared].concat(),
    );
    let service = Rule::from(&["__meta_kubernetes_service_name"]);
    rules.push(service.to("job").replacement("${1}"));
    rules.copy_job_label(service_label, spec.full_text("jobLabel")?);
    set_endpoint(port, target.as_ref(), &mut rules);
    finish(context, endpoint, rules, job)
}

/// Rejects an endpoint that would read files of the receiver.
fn refuse_files(context: &Context<'_>, endpoint: &Object<'_>) -> Result<(), Invalid> {
    const MESSAGE: &str = "reads a file of the scraper, which arbitraryFSAccessThroughSMs denies; use a Secret or ConfigMap instead";
    let invalid = |key: &str| Err(endpoint.invalid(Reason::File, key, MESSAGE));
    if endpoint.full_text("bearerTokenFile")?.is_some() {
        return invalid("bearerTokenFile");
    }
    match tls::read(endpoint, true, context.vault)? {
        Some(tls) if tls.has_files() => invalid("tlsConfig"),
        _ => Ok(()),
    }
}
