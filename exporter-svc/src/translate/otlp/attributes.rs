//! Converts attributes of a point, its scope and its resource to labels.
//!
//! A resource's `service.name` and `service.instance.id` become `job` and `instance`.
//! Its other attributes become labels of `target_info`, and of all series if they are
//! promoted.

use mesh_model::labels::{INSTANCE, JOB, LabelsBuilder, METRIC_NAME};
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};

use super::OtlpRules;
use crate::translate::{labels::text, limits::LabelLimits, name::NameError};

/// Attributes that identify a resource.
pub(super) const SERVICE_NAME: &str = "service.name";
pub(super) const SERVICE_NAMESPACE: &str = "service.namespace";
pub(super) const SERVICE_INSTANCE_ID: &str = "service.instance.id";

/// Labels that the points of one resource and scope share.
#[derive(Debug)]
pub(super) struct Attributes<'a> {
    rules: &'a OtlpRules,
    job: String,
    instance: String,
    /// Promoted labels of the resource, which do not override those of a point.
    promoted: Vec<(String, String)>,
    /// Labels of the scope, which override those of a point.
    scope: Vec<(String, String)>,
}

// === impl Attributes ===

impl<'a> Attributes<'a> {
    /// Reads the attributes of a resource.
    pub(super) fn of_resource(rules: &'a OtlpRules, resource: &[KeyValue]) -> Self {
        let value = |key: &str| {
            let pair = resource.iter().find(|pair| pair.key == key);
            pair.map(|pair| text(pair.value.as_ref()))
        };
        let job = match (value(SERVICE_NAMESPACE), value(SERVICE_NAME)) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            (None, Some(name)) => name,
            (_, None) => String::new(),
        };
        let promoted = resource.iter().filter(|pair| is_promoted(rules, &pair.key));
        let label = |pair: &KeyValue| {
            let name = rules.namer.label(&pair.key).ok()?;
            Some((name, text(pair.value.as_ref())))
        };
        Self {
            rules,
            job,
            instance: value(SERVICE_INSTANCE_ID).unwrap_or_default(),
            promoted: promoted.filter_map(label).collect(),
            scope: Vec::new(),
        }
    }

    /// Replaces the scope; the following points belong to it.
    pub(super) fn enter_scope(&mut self, scope: Option<&InstrumentationScope>, schema_url: &str) {
        self.scope.clear();
        let Some(scope) = scope.filter(|scope| !scope.name.is_empty()) else {
            return;
        };
        if !self.rules.config.promote_scope_metadata {
            return;
        }
        for pair in &scope.attributes {
            if let Ok(name) = self.rules.namer.label(&format!("otel_scope_{}", pair.key)) {
                self.scope.push((name, text(pair.value.as_ref())));
            }
        }
        let own = [
            ("otel_scope_name", &*scope.name),
            ("otel_scope_version", &*scope.version),
            ("otel_scope_schema_url", schema_url),
        ];
        self.scope
            .extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    /// Checks the labels that all points share.
    ///
    /// # Errors
    /// Returns a description of the first limit that is exceeded.
    pub(super) fn check(&self, limits: &LabelLimits) -> Result<(), String> {
        let labels: Vec<_> = self.shared().collect();
        limits.check(labels.into_iter())
    }

    /// Bytes of the labels that all points share, as encoded labels.
    pub(super) fn bytes(&self) -> usize {
        let bytes = self
            .shared()
            .map(|(name, value)| name.len() + value.len() + 8);
        bytes.sum()
    }

    fn shared(&self) -> impl Iterator<Item = (&str, &str)> {
        let identity = [(JOB, &*self.job), (INSTANCE, &*self.instance)];
        let identity = identity.into_iter().filter(|(_, value)| !value.is_empty());
        let pairs = self.promoted.iter().chain(&self.scope);
        identity.chain(pairs.map(|(name, value)| (&**name, &**value)))
    }

    /// Labels of a point with these attributes, without the name.
    ///
    /// # Errors
    /// Returns an error if an attribute key has no legal name.
    pub(super) fn labels(&self, own: &[KeyValue]) -> Result<LabelsBuilder, NameError> {
        let (mut labels, invalid) = joined(self.rules, own, |key| key != METRIC_NAME);
        if let Some(error) = invalid {
            return Err(error);
        }
        for (name, value) in &self.promoted {
            if labels.get(name).is_none() {
                labels.set(&**name, &**value);
            }
        }
        self.identify(&mut labels);
        for (name, value) in &self.scope {
            labels.set(&**name, &**value);
        }
        Ok(labels)
    }

    /// Sets `job` and `instance` if the resource has them.
    pub(super) fn identify(&self, labels: &mut LabelsBuilder) {
        for (name, value) in [(JOB, &self.job), (INSTANCE, &self.instance)] {
            if !value.is_empty() {
                labels.set(name, &**value);
            }
        }
    }
}

/// Converts the attributes that `keep` selects to labels. If two keys yield the same
/// name, joins their values with `;` in the order of the keys.
///
/// Skips attributes whose key has no legal name, and returns the error of the first one.
pub(super) fn joined(
    rules: &OtlpRules,
    attributes: &[KeyValue],
    keep: impl Fn(&str) -> bool,
) -> (LabelsBuilder, Option<NameError>) {
    let mut pairs: Vec<_> = attributes
        .iter()
        .filter(|pair| keep(&pair.key))
        .map(|pair| (&*pair.key, text(pair.value.as_ref())))
        .collect();
    pairs.sort_by_key(|(key, _)| *key);
    let (mut labels, mut invalid) = (LabelsBuilder::default(), None);
    for (key, value) in pairs {
        let name = match rules.namer.own_label(key) {
            Ok(name) => name,
            Err(error) => {
                invalid.get_or_insert(error);
                continue;
            }
        };
        let first = labels.get(&name).filter(|_| !rules.namer.keeps_utf8());
        let value = match first {
            Some(first) => format!("{first};{value}"),
            None => value,
        };
        labels.set(name, value);
    }
    (labels, invalid)
}

fn is_promoted(rules: &OtlpRules, key: &str) -> bool {
    let config = &rules.config;
    let among = |keys: &[String]| keys.iter().any(|other| other == key);
    if config.promote_all_resource_attributes {
        !among(&config.ignore_resource_attributes)
    } else {
        among(&config.promote_resource_attributes)
    }
}
