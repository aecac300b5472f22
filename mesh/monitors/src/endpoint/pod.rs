//! PodMonitor.

use super::{Port, by_role, finish, keep_container_port, put_common, set_endpoint, target_port};
use crate::{
    Invalid,
    context::Context,
    object::Object,
    relabeling::Rules,
    selector::Selector,
    yaml::{Map, Yaml},
};

/// Generates the jobs of a PodMonitor.
pub(crate) fn pod_monitor(context: &Context<'_>) -> Result<Vec<Yaml>, Invalid> {
    let spec = &context.spec;
    let selector = Selector::read(&spec.required_object("selector")?)?;
    let endpoints = spec.objects("podMetricsEndpoints")?;
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
    let (namespace, name) = (&monitor.namespace, &monitor.name);
    let mut job = Map::default();
    job.put("job_name", format!("podMonitor/{namespace}/{name}/{at}"));
    put_common(context, endpoint, "pod", selector, &mut job)?;

    let mut rules = Rules::new();
    if endpoint.flag("filterRunning")?.unwrap_or(true) {
        rules.drop_ended_pods();
    }
    if !by_role(context)? {
        selector.add_rules("pod", &mut rules);
    }
    let port = endpoint.full_text("port")?;
    let number = endpoint.port("portNumber")?.filter(|number| *number > 0);
    let target = target_port(endpoint)?;
    let kept = port.map(Port::Name).or(number.map(Port::Number));
    if let Some(kept) = kept.as_ref().or(target.as_ref()) {
        keep_container_port(kept, &mut rules);
    }
    rules.copy("__meta_kubernetes_namespace", "namespace");
    rules.copy("__meta_kubernetes_pod_container_name", "container");
    rules.copy("__meta_kubernetes_pod_name", "pod");
    let pod_label = "__meta_kubernetes_pod_label_";
    let labels = spec.texts("podTargetLabels")?.unwrap_or_default();
    let shared = context.settings.pod_target_labels();
    rules.copy_labels(pod_label, &[labels, shared].concat());
    rules.set("job", &format!("{namespace}/{name}"));
    rules.copy_job_label(pod_label, spec.full_text("jobLabel")?);
    set_endpoint(port, target.as_ref(), &mut rules);
    finish(context, endpoint, rules, job)
}
