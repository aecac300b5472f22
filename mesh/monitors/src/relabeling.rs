//! Relabeling rules: those that users write, and the ones that every job begins with.

use mesh_model::{
    config::relabel::{Action, RelabelConfig},
    go_regexp::Regexp,
    validation::sanitize_label_name,
};

use crate::{
    Invalid, Reason,
    object::Object,
    yaml::{Map, Yaml},
};

/// Rules of one job, in order.
#[derive(Debug, Default)]
pub(crate) struct Rules(Vec<Yaml>);

/// A rule in the making.
#[derive(Debug, Default)]
pub(crate) struct Rule(Map);

/// Reads the rules in the list `key`.
pub(crate) fn rules(object: &Object<'_>, key: &str) -> Result<Vec<Yaml>, Invalid> {
    object.objects(key)?.iter().map(rule).collect()
}

fn rule(rule: &Object<'_>) -> Result<Yaml, Invalid> {
    let source_labels = rule.texts("sourceLabels")?.unwrap_or_default();
    let (separator, replacement) = (rule.text("separator")?, rule.text("replacement")?);
    let (target, regex) = (rule.full_text("targetLabel")?, rule.full_text("regex")?);
    let modulus = rule.count("modulus")?.filter(|modulus| *modulus > 0);
    let action = rule.full_text("action")?.map(str::to_lowercase);
    let broken =
        |key: &str, why: &dyn std::fmt::Display| rule.invalid(Reason::Relabeling, key, why);
    let mut config = RelabelConfig {
        source_labels: source_labels.iter().map(|&name| name.to_owned()).collect(),
        modulus: modulus.unwrap_or_default(),
        target_label: target.unwrap_or_default().to_owned(),
        ..RelabelConfig::default()
    };
    if let Some(action) = &action {
        config.action = action
            .parse::<Action>()
            .map_err(|error| broken("action", &error))?;
    }
    if let Some(regex) = regex {
        config.regex = Regexp::new(regex).map_err(|error| broken("regex", &error))?;
    }
    if let Some(separator) = separator {
        config.separator = separator.to_owned();
    }
    if let Some(replacement) = replacement {
        config.replacement = replacement.to_owned();
    }
    config
        .validate()
        .map_err(|error| Invalid::new(Reason::Relabeling, rule.own_path(), error))?;
    let mut written = Map::default();
    written.put_some(
        "source_labels",
        Some(source_labels).filter(|labels| !labels.is_empty()),
    );
    written.put_some("separator", separator);
    written.put_some("target_label", target);
    written.put_some("regex", regex);
    written.put_some("modulus", modulus);
    written.put_some("replacement", replacement);
    written.put_some("action", action);
    Ok(written.into())
}

// === impl Rules ===

impl Rules {
    /// Rules of a new job. The first keeps the job's name, since `job` is overwritten.
    pub(crate) fn new() -> Self {
        let mut rules = Self::default();
        rules.copy("job", "__tmp_prometheus_job_name");
        rules
    }

    pub(crate) fn push(&mut self, rule: Rule) {
        self.0.push(rule.into());
    }

    pub(crate) fn extend(&mut self, rules: impl IntoIterator<Item = Yaml>) {
        self.0.extend(rules);
    }

    /// Copies a label.
    pub(crate) fn copy(&mut self, from: &str, to: &str) {
        self.push(Rule::from(&[from]).to(to));
    }

    /// Sets a label to a text.
    pub(crate) fn set(&mut self, label: &str, value: &str) {
        self.push(Rule::default().to(label).replacement(value));
    }

    /// Copies a label unless it is empty.
    pub(crate) fn copy_full(&mut self, from: &str, to: &str) {
        let rule = Rule::from(&[from]).to(to);
        self.push(rule.regex("(.+)").replacement("${1}"));
    }

    /// Copies Kubernetes labels, whose meta labels begin with `prefix`.
    pub(crate) fn copy_labels(&mut self, prefix: &str, names: &[&str]) {
        for name in names {
            let name = sanitize_label_name(name);
            self.copy_full(&format!("{prefix}{name}"), &name);
        }
    }

    /// Sets `job` to the Kubernetes label `name` unless that is empty.
    pub(crate) fn copy_job_label(&mut self, prefix: &str, name: Option<&str>) {
        if let Some(name) = name {
            self.copy_full(&format!("{prefix}{}", sanitize_label_name(name)), "job");
        }
    }

    /// Keeps the targets whose label equals a value, as a regular expression.
    pub(crate) fn keep(&mut self, label: &str, regex: impl Into<Yaml>) {
        self.push(Rule::from(&[label]).action("keep").regex(regex));
    }

    /// Drops the targets of pods that have ended.
    pub(crate) fn drop_ended_pods(&mut self) {
        let rule = Rule::from(&["__meta_kubernetes_pod_phase"]);
        self.push(rule.action("drop").regex("(Failed|Succeeded)"));
    }
}

impl From<Rules> for Yaml {
    fn from(rules: Rules) -> Self {
        Yaml::List(rules.0)
    }
}

impl From<Rule> for Yaml {
    fn from(rule: Rule) -> Self {
        rule.0.into()
    }
}

// === impl Rule ===

impl Rule {
    pub(crate) fn from(source_labels: &[&str]) -> Self {
        let mut rule = Self::default();
        rule.0.put("source_labels", source_labels.to_vec());
        rule
    }

    fn with(mut self, key: &str, value: impl Into<Yaml>) -> Self {
        self.0.put(key, value);
        self
    }

    pub(crate) fn to(self, label: &str) -> Self {
        self.with("target_label", label)
    }

    pub(crate) fn action(self, action: &str) -> Self {
        self.with("action", action)
    }

    pub(crate) fn regex(self, regex: impl Into<Yaml>) -> Self {
        self.with("regex", regex)
    }

    pub(crate) fn replacement(self, replacement: &str) -> Self {
        self.with("replacement", replacement)
    }

    pub(crate) fn separator(self, separator: &str) -> Self {
        self.with("separator", separator)
    }
}
