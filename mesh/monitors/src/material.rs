//! Secrets and ConfigMaps that monitors refer to.

use std::{collections::BTreeMap, fmt, sync::Arc};

use mesh_model::config::Secret;

use crate::{
    Invalid, Reason,
    object::{Field, Object},
};

/// Kind of object that holds material.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

/// A Secret or a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Kind of the object.
    pub source: Source,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

/// Values of a Secret or ConfigMap, by key. `Debug` does not print them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Data(pub BTreeMap<String, Vec<u8>>);

/// Looks up Secrets and ConfigMaps.
pub trait Materials {
    /// Returns the values of the object.
    ///
    /// # Errors
    /// Returns the reason why the values are not available, such as `not found`.
    fn find(&self, reference: &Reference) -> Result<Arc<Data>, String>;
}

/// [`Materials`] without any object.
#[derive(Clone, Copy, Debug)]
pub struct NoMaterials;

/// Finds material in one namespace, so that no monitor reaches another one.
#[derive(Clone, Copy)]
pub(crate) struct Vault<'a> {
    pub(crate) materials: &'a dyn Materials,
    pub(crate) namespace: &'a str,
}

impl Materials for NoMaterials {
    fn find(&self, _: &Reference) -> Result<Arc<Data>, String> {
        Err("not found".to_owned())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret => "secret",
            Self::ConfigMap => "configmap",
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.source, self.namespace, self.name)
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

// === impl Vault ===

impl Vault<'_> {
    /// Reads the value of the `key` that `selector` names in the object that it names.
    pub(crate) fn value(&self, source: Source, selector: &Object<'_>) -> Result<Secret, Invalid> {
        let name = selector.full_text("name")?.unwrap_or_default();
        let key = selector.required_text("key")?;
        let invalid =
            |message: String| Invalid::new(Reason::Reference, selector.own_path(), message);
        if name.is_empty() {
            return Err(invalid(format!(
                "the name is empty, expected the name of a {source} in the namespace {}",
                self.namespace
            )));
        }
        let reference = Reference {
            source,
            namespace: self.namespace.to_owned(),
            name: name.to_owned(),
        };
        let data = self.materials.find(&reference);
        let data = data.map_err(|why| invalid(format!("{reference}: {why}")))?;
        let value = data
            .0
            .get(key)
            .ok_or_else(|| invalid(format!("{reference} has no key {key:?}")))?;
        match std::str::from_utf8(value) {
            Ok(text) => Ok(Secret::new(text)),
            Err(_) => Err(invalid(format!(
                "the key {key:?} of {reference} is not UTF-8, expected a text"
            ))),
        }
    }

    /// Reads the value that a field of the type `SecretKeySelector` names.
    pub(crate) fn secret(&self, object: &Object<'_>, key: &str) -> Field<Secret> {
        match object.object(key)? {
            Some(selector) => self.value(Source::Secret, &selector).map(Some),
            None => Ok(None),
        }
    }

    /// Reads the value that a required field of the type `SecretKeySelector` names.
    pub(crate) fn required_secret(
        &self,
        object: &Object<'_>,
        key: &str,
    ) -> Result<Secret, Invalid> {
        self.secret(object, key)?
            .ok_or_else(|| object.missing(key, "the name and key of a secret"))
    }

    /// Reads the value that a field of the type `SecretOrConfigMap` names.
    pub(crate) fn secret_or_config_map(&self, object: &Object<'_>, key: &str) -> Field<Secret> {
        let Some(either) = object.object(key)? else {
            return Ok(None);
        };
        let (secret, config_map) = (either.object("secret")?, either.object("configMap")?);
        match (secret, config_map) {
            (Some(_), Some(_)) => Err(object.invalid(
                Reason::Conflict,
                key,
                "found both secret and configMap, expected one",
            )),
            (Some(secret), None) => self.value(Source::Secret, &secret).map(Some),
            (None, Some(map)) => self.value(Source::ConfigMap, &map).map(Some),
            (None, None) => Ok(None),
        }
    }
}
