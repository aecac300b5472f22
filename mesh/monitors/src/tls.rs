//! `tlsConfig`: certificates and keys, inlined from Secrets and ConfigMaps.

use mesh_model::config::Secret;
use rustls::{crypto::ring, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::{
    Invalid, Reason,
    material::Vault,
    object::{Field, Object},
    yaml::Map,
};

const VERSIONS: &[&str] = &["TLS10", "TLS11", "TLS12", "TLS13"];

/// A `tlsConfig` that was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    pub(crate) ca: Item,
    pub(crate) cert: Item,
    pub(crate) key: Item,
    rest: Map,
}

/// A certificate or key: the PEM text, or a path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Item {
    pem: Option<Secret>,
    pub(crate) file: Option<String>,
}

/// Reads the `tlsConfig` of `object`. The path fields are read only if `files` is true,
/// since most resources do not have them.
pub(crate) fn read(object: &Object<'_>, files: bool, vault: Vault<'_>) -> Field<Tls> {
    let Some(tls) = object.object("tlsConfig")? else {
        return Ok(None);
    };
    let file = |key: &str| -> Field<String> {
        if !files {
            return Ok(None);
        }
        Ok(tls.full_text(key)?.map(str::to_owned))
    };
    let item = |names: [&str; 2], pem: Option<Secret>| -> Result<Item, Invalid> {
        let [name, file_name] = names;
        let file = file(file_name)?;
        // An empty object does not count as given, an empty value does.
        let given = tls.object(name)?.is_some_and(|given| !given.is_empty());
        if given && file.is_some() {
            let message = format!("found both {name} and {file_name}, expected one");
            return Err(tls.invalid(Reason::Conflict, name, message));
        }
        Ok(Item { pem, file })
    };
    let read = Tls {
        ca: item(["ca", "caFile"], vault.secret_or_config_map(&tls, "ca")?)?,
        cert: item(
            ["cert", "certFile"],
            vault.secret_or_config_map(&tls, "cert")?,
        )?,
        key: item(["keySecret", "keyFile"], vault.secret(&tls, "keySecret")?)?,
        rest: rest(&tls)?,
    };
    if read.cert.is_given() != read.key.is_given() {
        let (found, missing) = if read.cert.is_given() {
            ("cert", "keySecret")
        } else {
            ("keySecret", "cert")
        };
        return Err(tls.invalid(
            Reason::Conflict,
            found,
            format!("found a client {found} without {missing}, expected both or neither"),
        ));
    }
    check(&tls, &read)?;
    Ok(Some(read))
}

/// Returns true if `object` has a `tlsConfig` that sets something.
pub(crate) fn is_given(object: &Object<'_>) -> Result<bool, Invalid> {
    Ok(object
        .object("tlsConfig")?
        .is_some_and(|tls| !tls.is_empty()))
}

fn rest(tls: &Object<'_>) -> Result<Map, Invalid> {
    let (min, max) = (
        tls.one_of("minVersion", VERSIONS)?,
        tls.one_of("maxVersion", VERSIONS)?,
    );
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        let message = format!("{max} is older than the minVersion {min}");
        return Err(tls.invalid(Reason::Conflict, "maxVersion", message));
    }
    let mut rest = Map::default();
    rest.put_some("insecure_skip_verify", tls.flag("insecureSkipVerify")?);
    rest.put_some("server_name", tls.full_text("serverName")?);
    rest.put_some("min_version", min);
    rest.put_some("max_version", max);
    Ok(rest)
}

/// Checks that certificates are PEM, and that a key fits its certificate.
fn check(tls: &Object<'_>, read: &Tls) -> Result<(), Invalid> {
    let invalid = |key: &str, why: String| tls.invalid(Reason::Tls, key, why);
    if let Some(ca) = read.ca.text() {
        certificates(ca).map_err(|why| invalid("ca", why))?;
    }
    if let (Some(cert), Some(key)) = (read.cert.text(), read.key.text()) {
        let chain = certificates(cert).map_err(|why| invalid("cert", why))?;
        // The parser's error could quote the text.
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
            invalid(
                "keySecret",
                "not a private key, expected one in PEM".to_owned(),
            )
        })?;
        CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(|error| invalid("keySecret", format!("does not fit the cert: {error}")))?;
    }
    Ok(())
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err("not a certificate, expected one in PEM".to_owned()),
    }
}

// === impl Tls ===

impl Tls {
    pub(crate) fn into_map(self) -> Map {
        let mut map = self.rest;
        for (item, inline, file) in [
            (self.ca, "ca", "ca_file"),
            (self.cert, "cert", "cert_file"),
            (self.key, "key", "key_file"),
        ] {
            map.put_some(inline, item.pem);
            map.put_some(file, item.file);
        }
        map
    }

    /// Returns true if a path is given.
    pub(crate) fn has_files(&self) -> bool {
        let mut items = [&self.ca, &self.cert, &self.key].into_iter();
        items.any(|item| item.file.is_some())
    }
}

// === impl Item ===

impl Item {
    pub(crate) fn is_given(&self) -> bool {
        self.pem.is_some() || self.file.is_some()
    }

    fn text(&self) -> Option<&str> {
        let pem = self.pem.as_ref()?.expose();
        Some(pem).filter(|pem| !pem.is_empty())
    }
}
