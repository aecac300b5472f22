//! `scrapeClasses` of a Prometheus object: settings that monitors share.

use mesh_model::config::Secret;

use crate::{
    Invalid, Reason,
    client::{authorization_map, refuse_basic},
    material::{Materials, NoMaterials, Source, Vault},
    object::{Field, Object, PROTOCOLS},
    relabeling::rules,
    tls::{self, Tls},
    yaml::{Map, Yaml},
};

/// The scrape class of a monitor. Has no fields if there is none.
#[derive(Clone, Debug)]
pub(crate) struct ScrapeClass<'a>(pub(crate) Object<'a>);

// === impl ScrapeClass ===

impl ScrapeClass<'_> {
    /// Checks everything that needs no Secret.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        let object = &self.0;
        object.required_text("name")?;
        object.is_set("default")?;
        self.relabelings()?;
        self.metric_relabelings()?;
        self.attach_node()?;
        self.fallback_protocol()?;
        if let Some(auth) = object.object("authorization")? {
            refuse_basic(&auth)?;
            if auth.has("credentials") && auth.full_text("credentialsFile")?.is_some() {
                return Err(auth.invalid(
                    Reason::Conflict,
                    "credentialsFile",
                    "given together with credentials, expected one",
                ));
            }
        }
        let nothing: &dyn Materials = &NoMaterials;
        let vault = Vault {
            materials: nothing,
            namespace: "",
        };
        match tls::read(object, true, vault) {
            // Secrets are looked up for each monitor.
            Err(invalid) if invalid.reason != Reason::Reference => Err(invalid),
            _ => Ok(()),
        }
    }

    pub(crate) fn relabelings(&self) -> Result<Vec<Yaml>, Invalid> {
        rules(&self.0, "relabelings")
    }

    pub(crate) fn metric_relabelings(&self) -> Result<Vec<Yaml>, Invalid> {
        rules(&self.0, "metricRelabelings")
    }

    /// Reads `attachMetadata.node`. Returns `None` if `attachMetadata` is absent.
    pub(crate) fn attach_node(&self) -> Field<bool> {
        attach_node(&self.0)
    }

    pub(crate) fn fallback_protocol(&self) -> Field<&str> {
        self.0.one_of("fallbackScrapeProtocol", PROTOCOLS)
    }

    /// Reads the whole `authorization`.
    pub(crate) fn authorization(&self, vault: Vault<'_>) -> Field<Map> {
        let Some(auth) = self.0.object("authorization")? else {
            return Ok(None);
        };
        let (credentials, file) = self.credentials(vault)?;
        authorization_map(&auth, credentials, file).map(Some)
    }

    /// Reads the credentials of `authorization`: the secret, or a path. As with the
    /// Operator, a Secret that the monitor's namespace does not have counts as absent.
    pub(crate) fn credentials(
        &self,
        vault: Vault<'_>,
    ) -> Result<(Option<Secret>, Option<&str>), Invalid> {
        let auth = self.0.object_or_empty("authorization")?;
        match auth.object("credentials")? {
            Some(selector) => Ok((vault.value(Source::Secret, &selector).ok(), None)),
            None => Ok((None, auth.full_text("credentialsFile")?)),
        }
    }

    /// Completes the `tlsConfig` of `object`. `files` is true if that may name files.
    pub(crate) fn tls(&self, object: &Object<'_>, files: bool, vault: Vault<'_>) -> Field<Map> {
        // An empty tlsConfig hides the class's only where files are possible.
        let own = if files || tls::is_given(object)? {
            tls::read(object, files, vault)?
        } else {
            None
        };
        let class = tls::read(&self.0, true, vault)?;
        let merged = match (own, class) {
            (None, class) => class,
            (Some(own), Some(class)) => Some(complete(own, class)),
            (own, None) => own,
        };
        Ok(merged.map(Tls::into_map))
    }
}

/// Reads `attachMetadata.node`. Returns `None` if `attachMetadata` is absent.
pub(crate) fn attach_node(object: &Object<'_>) -> Field<bool> {
    match object.object("attachMetadata")? {
        Some(attach) => Ok(Some(attach.is_set("node")?)),
        None => Ok(None),
    }
}

fn complete(mut own: Tls, class: Tls) -> Tls {
    for (own, class) in [
        (&mut own.ca, class.ca),
        (&mut own.cert, class.cert),
        (&mut own.key, class.key),
    ] {
        if !own.is_given() {
            own.file = class.file;
        }
    }
    own
}
