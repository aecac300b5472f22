//! Probe: a prober such as the blackbox exporter, and the targets that it probes.

use std::net::IpAddr;

use crate::{
    Invalid, Reason, client,
    context::{Context, static_labels},
    kubernetes_sd,
    object::Object,
    relabeling::{Rule, Rules},
    selector::Selector,
    yaml::{Map, Yaml},
};

/// Generates the job of a Probe.
pub(crate) fn generate(context: &Context<'_>) -> Result<Yaml, Invalid> {
    let (spec, monitor, vault) = (&context.spec, context.monitor, context.vault);
    let (namespace, name) = (&monitor.namespace, &monitor.name);
    let prober = spec.required_object("prober")?;
    let url = prober.required_text("url")?;
    check_prober(&prober, url)?;
    let mut job = Map::default();
    job.put("job_name", format!("probe/{namespace}/{name}"));
    context.put_honor_timestamps(Some(true), &mut job);
    job.put("metrics_path", prober.text("path")?.unwrap_or("/probe"));
    job.put_some("scheme", prober.scheme()?);
    context.put_interval(spec, "interval", &mut job)?;
    let params = params(spec)?;
    job.put_some(
        "params",
        (!params.is_empty()).then(|| params.into_iter().collect::<Map>()),
    );
    context.put_limits(&mut job)?;
    context.settings.enforced.put_body_size(None, &mut job);
    job.extend(client::proxy(&prober, vault)?);
    job.put_some("follow_redirects", spec.flag("followRedirects")?);
    job.put_some("enable_http2", spec.flag("enableHttp2")?);
    job.put_some("tls_config", context.class.tls(spec, false, vault)?);
    let token = vault.secret(spec, "bearerTokenSecret")?;
    job.put_some("bearer_token", token);
    job.put_some("basic_auth", client::basic_auth(spec, vault)?);
    job.put_some("oauth2", client::oauth2(spec, vault)?);
    job.put_some(
        "authorization",
        client::authorization_or_class(spec, &context.class, vault)?,
    );
    context.put_metric_relabelings(spec, &mut job)?;

    let mut rules = Rules::new();
    if let Some(job_name) = spec.full_text("jobName")? {
        rules.set("job", job_name);
    }
    add_targets(context, url, &mut rules, &mut job)?;
    job.put("relabel_configs", rules);
    Ok(job.into())
}

/// Reads `module` and `params`. The module hides a parameter of the same name.
fn params<'a>(spec: &Object<'a>) -> Result<Vec<(&'a str, Vec<&'a str>)>, Invalid> {
    let module = spec.full_text("module")?;
    let mut params: Vec<_> = module
        .map(|module| ("module", vec![module]))
        .into_iter()
        .collect();
    for param in spec.objects("params")? {
        let name = param.required_text("name")?;
        if module.is_none() || name != "module" {
            params.push((name, param.texts("values")?.unwrap_or_default()));
        }
    }
    Ok(params)
}

/// Adds the targets and the rules that hand them to the prober. Static targets win over
/// ingresses.
fn add_targets(
    context: &Context<'_>,
    prober: &str,
    rules: &mut Rules,
    job: &mut Map,
) -> Result<(), Invalid> {
    const RELABELINGS: &str = "relabelingConfigs";
    let targets = context.spec.object_or_empty("targets")?;
    let (fixed, ingress) = (targets.object("staticConfig")?, targets.object("ingress")?);
    // Both are checked, even if one is not used.
    for object in [&fixed, &ingress].into_iter().flatten() {
        crate::relabeling::rules(object, RELABELINGS)?;
    }
    let relabeled = match (fixed, ingress) {
        (Some(fixed), _) => {
            add_static(context, &fixed, rules, job)?;
            fixed
        }
        (None, Some(ingress)) => {
            add_ingress(context, &ingress, rules, job)?;
            ingress
        }
        (None, None) => {
            return Err(context.spec.missing("targets", "staticConfig or ingress"));
        }
    };
    rules.copy("__param_target", "instance");
    rules.set("__address__", prober);
    rules.extend(context.class.relabelings()?);
    context.add_relabelings(&relabeled, RELABELINGS, rules)
}

fn add_static(
    context: &Context<'_>,
    config: &Object<'_>,
    rules: &mut Rules,
    job: &mut Map,
) -> Result<(), Invalid> {
    let mut labels = static_labels(config)?.unwrap_or_default();
    labels
        .entry("namespace")
        .or_insert(&context.monitor.namespace);
    let mut group = Map::default();
    group.put("targets", config.texts("static")?.unwrap_or_default());
    group.put("labels", labels);
    job.put("static_configs", vec![group]);
    rules.copy("__address__", "__param_target");
    Ok(())
}

fn add_ingress(
    context: &Context<'_>,
    config: &Object<'_>,
    rules: &mut Rules,
    job: &mut Map,
) -> Result<(), Invalid> {
    let selector = Selector::read(&config.object_or_empty("selector")?)?;
    selector.add_rules("ingress", rules);
    let namespaces = config.object_or_empty("namespaceSelector")?;
    let discovery = kubernetes_sd::entry(context, "ingress", &namespaces)?;
    job.put("kubernetes_sd_configs", vec![discovery]);
    let url = Rule::from(&[
        "__meta_kubernetes_ingress_scheme",
        "__address__",
        "__meta_kubernetes_ingress_path",
    ]);
    let url = url.separator(";").regex("(.+);(.+);(.+)");
    let url = url.to("__param_target").replacement("${1}://${2}${3}");
    rules.push(url.action("replace"));
    rules.copy("__meta_kubernetes_namespace", "namespace");
    rules.copy("__meta_kubernetes_ingress_name", "ingress");
    let address = Rule::from(&["__address__"]).separator(";").regex("(.*)");
    let address = address.to("__tmp_ingress_address").replacement("$1");
    rules.push(address.action("replace"));
    Ok(())
}

/// Checks that the prober is `HOST` or `HOST:PORT`.
fn check_prober(prober: &Object<'_>, url: &str) -> Result<(), Invalid> {
    let valid = match split_port(url) {
        Some((host, port)) => is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0),
        None => is_host(url),
    };
    if valid {
        return Ok(());
    }
    Err(prober.invalid(
        Reason::Schema,
        "url",
        format!("found {url:?}, expected HOST or HOST:PORT, without a scheme"),
    ))
}

/// Splits `HOST:PORT` or `[IPv6]:PORT`. Returns `None` for other texts.
fn split_port(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once("]:");
    }
    let (host, port) = text.split_once(':')?;
    (!port.contains(':')).then_some((host, port))
}

fn is_host(host: &str) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let is_label = |label: &str| {
        let mut characters = label.chars();
        let first = characters.next();
        label.len() <= 63
            && first.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
            && characters.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    host.len() <= 255 && name.split('.').all(is_label)
}
