//! Reads objects from the manifests of a folder.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use mesh_monitors::{Data, Invalid, Kind, Monitor, Reason, Reference, Settings, Source};
use serde_json::Value;

use super::collect::{Known, Objects};

/// A folder of manifests that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A file or folder cannot be read.
    #[error("{}: {source}", .path.display())]
    Read {
        /// Path of the file or folder.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A file is not YAML.
    #[error("{}: not YAML: {message}", .path.display())]
    Parse {
        /// Path of the file.
        path: PathBuf,
        /// Place and kind of the mistake.
        message: String,
    },
    /// A Prometheus object is invalid.
    #[error("{name}: {source}")]
    Settings {
        /// Kind, namespace and name of the object.
        name: String,
        /// Mistake.
        source: Invalid,
    },
    /// The folder has several Prometheus objects.
    #[error(
        "found the Prometheus objects {0}, expected at most one; move the others to another folder"
    )]
    Ambiguous(String),
}

/// Extensions of manifests.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Reads all manifests below a folder: monitors, Secrets, ConfigMaps, Namespaces, and at most
/// one Prometheus or PrometheusAgent. Ignores other kinds.
///
/// # Errors
/// Returns an error if a file is not YAML, or if there are several Prometheus objects.
pub(crate) fn read(folder: &Path) -> Result<(Objects, Known), DirectoryError> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    let (mut objects, mut materials) = (Objects::default(), Known::default());
    let mut settings = BTreeMap::new();
    for path in files {
        let text = fs::read_to_string(&path).map_err(|source| DirectoryError::Read {
            path: path.clone(),
            source,
        })?;
        let documents: Result<Vec<Value>, _> = serde_saphyr::from_multiple(&text);
        let documents = documents.map_err(|error| DirectoryError::Parse {
            path: path.clone(),
            message: error.without_snippet().to_string(),
        })?;
        for document in documents {
            add(document, &mut objects, &mut materials, &mut settings)?;
        }
    }
    if settings.len() > 1 {
        let names: Vec<_> = settings.into_keys().collect();
        return Err(DirectoryError::Ambiguous(names.join(" and ")));
    }
    if let Some((_, found)) = settings.pop_first() {
        objects.settings = found;
    }
    objects.settings.deny_files = true;
    Ok((objects, materials))
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), DirectoryError> {
    let failed = |source| DirectoryError::Read {
        path: folder.to_owned(),
        source,
    };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            list(&path, files)?;
        } else if extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
            files.push(path);
        }
    }
    Ok(())
}

fn add(
    mut object: Value,
    objects: &mut Objects,
    materials: &mut Known,
    settings: &mut BTreeMap<String, Settings>,
) -> Result<(), DirectoryError> {
    if let Some(Value::Array(items)) = object.get_mut("items").map(Value::take) {
        // A List, as `kubectl get` prints it.
        return items
            .into_iter()
            .try_for_each(|item| add(item, objects, materials, settings));
    }
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
    let namespace = Some(text("namespace")).filter(|namespace| !namespace.is_empty());
    let namespace = namespace.unwrap_or("default").to_owned();
    let name = text("name").to_owned();
    let title = format!("{kind} {namespace}/{name}");
    let group = object["apiVersion"].as_str().unwrap_or_default();
    let is_monitoring = group.starts_with("monitoring.coreos.com/");
    match kind.as_str() {
        "Secret" | "ConfigMap" => {
            let is_secret = kind == "Secret";
            let source = if is_secret {
                Source::Secret
            } else {
                Source::ConfigMap
            };
            match data(&object, is_secret) {
                Ok(data) => {
                    let reference = Reference {
                        source,
                        namespace,
                        name,
                    };
                    materials.0.insert(reference, Arc::new(data));
                }
                Err(invalid) => objects.unreadable.push((title, invalid)),
            }
        }
        "Namespace" => {
            let labels = object["metadata"]["labels"].clone();
            let labels = serde_json::from_value(labels).unwrap_or_default();
            objects.namespaces.insert(name, labels);
        }
        "Prometheus" | "PrometheusAgent" if is_monitoring => {
            let read = Settings::read(&object).map_err(|source| DirectoryError::Settings {
                name: title.clone(),
                source,
            })?;
            settings.insert(title, read);
        }
        _ if is_monitoring => {
            let known = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
            let Some(known) = known else { return Ok(()) };
            match Monitor::read(known, &object) {
                Ok(monitor) => objects.monitors.push(monitor),
                Err(invalid) => objects.unreadable.push((title, invalid)),
            }
        }
        _ => {}
    }
    Ok(())
}

/// Reads the values of a Secret or ConfigMap.
fn data(object: &Value, is_secret: bool) -> Result<Data, Invalid> {
    let mut data = Data::default();
    let values = |field: &str| {
        let values = object[field].as_object().cloned().unwrap_or_default();
        values.into_iter()
    };
    for (key, value) in values("data") {
        let text = value.as_str().unwrap_or_default();
        let value = if is_secret {
            BASE64_STANDARD.decode(text).map_err(|_| {
                let field = format!("data.{key}");
                Invalid::new(
                    Reason::Reference,
                    field,
                    "not base64, use stringData for texts",
                )
            })?
        } else {
            text.as_bytes().to_vec()
        };
        data.0.insert(key, value);
    }
    for (key, value) in values("stringData") {
        let text = value.as_str().unwrap_or_default();
        data.0.insert(key, text.as_bytes().to_vec());
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::{
        super::collect::{Collected, Collector},
        *,
    };

    const MANIFESTS: &str = r#"
apiVersion: v1
kind: Secret
metadata: {namespace: team, name: creds}
stringData: {token: s3cret}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {namespace: team, name: web}
spec:
  selector: {}
  endpoints:
  - authorization: {credentials: {name: creds, key: token}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: other}
"#;

    fn collected(folder: &Path) -> Collected {
        let (objects, materials) = read(folder).unwrap();
        Collector::default().collect(&objects, &materials)
    }

    #[test]
    fn reads_monitors_and_secrets_of_several_documents() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("sub/all.yaml"), MANIFESTS).unwrap();
        std::fs::write(folder.path().join("note.txt"), "not: [yaml").unwrap();
        let collected = collected(folder.path());
        assert!(collected.is_valid(), "{collected:?}");
        assert_eq!(collected.outcomes.len(), 1);
        let job = &collected.outcomes[0].shown[0];
        assert!(job.contains("<secret>") && !job.contains("s3cret"), "{job}");
    }

    #[test]
    fn uses_the_only_prometheus_object() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let text = format!(
                "{{apiVersion: monitoring.coreos.com/v1, kind: Prometheus, metadata: {{name: {name}}}}}"
            );
            std::fs::write(folder.path().join(format!("{name}.yml")), text).unwrap();
        };
        std::fs::write(folder.path().join("all.yaml"), MANIFESTS).unwrap();
        write("one");
        // It has no selectors, so it selects nothing.
        let collected = collected(folder.path());
        assert!(collected.outcomes[0].configs.is_none());
        write("two");
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("Prometheus default/one and Prometheus default/two"),
            "{error}"
        );
    }
}
