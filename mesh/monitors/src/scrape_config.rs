//! ScrapeConfig: one entry of `scrape_configs`, almost field by field.

use crate::{
    Invalid, client,
    context::Context,
    discovery, limits,
    object::Object,
    relabeling::{Rule, Rules},
    yaml::{Map, Yaml},
};

/// Generates the job of a ScrapeConfig.
pub(crate) fn generate(context: &Context<'_>) -> Result<Yaml, Invalid> {
    let (spec, monitor, vault) = (&context.spec, context.monitor, context.vault);
    let mut job = Map::default();
    let (namespace, name) = (&monitor.namespace, &monitor.name);
    job.put("job_name", format!("scrapeConfig/{namespace}/{name}"));
    if let Some(honor) = spec.flag("honorTimestamps")? {
        context.put_honor_timestamps(Some(honor), &mut job);
    }
    if let Some(honor) = spec.flag("honorLabels")? {
        context.put_honor_labels(honor, &mut job);
    }
    let staleness = spec.flag("trackTimestampsStaleness")?;
    job.put_some("track_timestamps_staleness", staleness);
    job.put_some("metrics_path", spec.text("metricsPath")?);
    let params = spec.lists_map("params")?;
    job.put_some("params", params.filter(|params| !params.is_empty()));
    job.put_some("enable_compression", spec.flag("enableCompression")?);
    job.put_some("enable_http2", spec.flag("enableHTTP2")?);
    context.put_interval(spec, "scrapeInterval", &mut job)?;
    job.put_some("scheme", spec.scheme()?);
    job.extend(client::proxy(spec, vault)?);
    job.put_some("basic_auth", client::basic_auth(spec, vault)?);
    job.put_some(
        "authorization",
        client::authorization_or_class(spec, &context.class, vault)?,
    );
    job.put_some("oauth2", client::oauth2(spec, vault)?);
    job.put_some("tls_config", context.class.tls(spec, false, vault)?);
    context.put_limits(&mut job)?;
    let body_size = spec.size("bodySizeLimit")?;
    context.settings.enforced.put_body_size(body_size, &mut job);
    limits::put_name_schemes(spec, &mut job)?;
    job.extend(discovery::read(spec, vault)?);
    job.put("relabel_configs", relabelings(context, spec)?);
    context.put_metric_relabelings(spec, &mut job)?;
    Ok(job.into())
}

fn relabelings(context: &Context<'_>, spec: &Object<'_>) -> Result<Rules, Invalid> {
    let mut rules = Rules::new();
    rules.extend(context.class.relabelings()?);
    if let Some(name) = spec.text("jobName")? {
        let rule = Rule::default().to("job").action("replace");
        rules.push(rule.replacement(name));
    }
    // As with the Operator, the enforced label comes only with rules of the user. The
    // metric_relabel_configs set it in any case.
    if !spec.objects("relabelings")?.is_empty() {
        context.add_relabelings(spec, "relabelings", &mut rules)?;
    }
    Ok(rules)
}
