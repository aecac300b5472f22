//! Settings of HTTP clients: authentication, proxy, redirects.

use mesh_model::config::Secret;

use crate::{
    Invalid, Reason,
    material::{Source, Vault},
    object::{Field, Object, parse_url},
    scrape_class::ScrapeClass,
    tls,
    yaml::{Map, Yaml},
};

/// Methods of authentication that exclude each other.
const METHODS: [&str; 4] = ["authorization", "basicAuth", "bearerTokenSecret", "oauth2"];

/// Client settings that an entry of a discovery mechanism has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub(crate) basic_auth: bool,
    pub(crate) authorization: bool,
    pub(crate) oauth2: bool,
    pub(crate) tls: bool,
    pub(crate) proxy: bool,
    pub(crate) switches: bool,
}

/// Checks that at most one method of authentication is given.
pub(crate) fn check_methods(object: &Object<'_>) -> Result<(), Invalid> {
    let given: Vec<_> = METHODS.into_iter().filter(|key| object.has(key)).collect();
    match given[..] {
        [first, second, ..] => Err(object.invalid(
            Reason::Conflict,
            second,
            format!("{first} is given too, expected one method of authentication"),
        )),
        _ => Ok(()),
    }
}

/// Reads the client settings of an entry of a discovery mechanism.
pub(crate) fn read(object: &Object<'_>, parts: Parts, vault: Vault<'_>) -> Result<Map, Invalid> {
    let mut map = Map::default();
    if parts.basic_auth {
        map.put_some("basic_auth", basic_auth(object, vault)?);
    }
    if parts.authorization {
        map.put_some("authorization", authorization(object, vault)?);
    }
    if parts.oauth2 {
        map.put_some("oauth2", oauth2(object, vault)?);
    }
    if parts.tls {
        let tls = tls::read(object, false, vault)?;
        map.put_some("tls_config", tls.map(tls::Tls::into_map));
    }
    if parts.proxy {
        map.extend(proxy(object, vault)?);
    }
    if parts.switches {
        map.put_some("follow_redirects", object.flag("followRedirects")?);
        map.put_some("enable_http2", object.flag("enableHTTP2")?);
    }
    Ok(map)
}

/// Reads `basicAuth`.
pub(crate) fn basic_auth(object: &Object<'_>, vault: Vault<'_>) -> Field<Map> {
    let Some(auth) = object.object("basicAuth")? else {
        return Ok(None);
    };
    let mut map = Map::default();
    map.put("username", vault.required_secret(&auth, "username")?);
    map.put("password", vault.required_secret(&auth, "password")?);
    Ok(Some(map))
}

/// Reads `authorization`.
pub(crate) fn authorization(object: &Object<'_>, vault: Vault<'_>) -> Field<Map> {
    let Some(auth) = object.object("authorization")? else {
        return Ok(None);
    };
    check_scheme(&auth)?;
    let credentials = vault.secret(&auth, "credentials")?;
    Ok(Some(authorization_map(&auth, credentials, None)?))
}

/// Reads `authorization` of a resource that may have a scrape class.
pub(crate) fn authorization_or_class(
    object: &Object<'_>,
    class: &ScrapeClass<'_>,
    vault: Vault<'_>,
) -> Field<Map> {
    let own = object.object("authorization")?;
    let Some(own) = own.filter(|auth| !auth.is_empty()) else {
        return class.authorization(vault);
    };
    check_scheme(&own)?;
    if let Some(credentials) = vault.secret(&own, "credentials")? {
        return Ok(Some(authorization_map(&own, Some(credentials), None)?));
    }
    let (credentials, file) = class.credentials(vault)?;
    Ok(Some(authorization_map(&own, credentials, file)?))
}

/// Checks an `authorization` that must have credentials.
pub(crate) fn check_authorization(object: &Object<'_>) -> Result<(), Invalid> {
    let Some(auth) = object.object("authorization")? else {
        return Ok(());
    };
    refuse_basic(&auth)?;
    if auth.has("credentials") {
        return Ok(());
    }
    Err(auth.missing("credentials", "the name and key of a secret"))
}

fn check_scheme(auth: &Object<'_>) -> Result<(), Invalid> {
    if auth.has("credentials") {
        refuse_basic(auth)?;
    }
    Ok(())
}

pub(crate) fn refuse_basic(auth: &Object<'_>) -> Result<(), Invalid> {
    let kind = auth.text("type")?.unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("basic") {
        return Err(auth.invalid(
            Reason::Conflict,
            "type",
            "found \"basic\", expected another type; use basicAuth instead",
        ));
    }
    Ok(())
}

pub(crate) fn authorization_map(
    auth: &Object<'_>,
    credentials: Option<Secret>,
    file: Option<&str>,
) -> Result<Map, Invalid> {
    let mut map = Map::default();
    let kind = auth.full_text("type")?.unwrap_or("Bearer");
    map.put("type", kind.trim());
    map.put_some("credentials", credentials);
    map.put_some("credentials_file", file);
    Ok(map)
}

/// Reads `bearerTokenSecret`. A name that is empty counts as absent.
pub(crate) fn bearer_token(object: &Object<'_>, vault: Vault<'_>) -> Field<Secret> {
    let Some(selector) = object.object("bearerTokenSecret")? else {
        return Ok(None);
    };
    match selector.full_text("name")? {
        Some(_) => vault.value(Source::Secret, &selector).map(Some),
        None => Ok(None),
    }
}

/// Reads `oauth2`.
pub(crate) fn oauth2(object: &Object<'_>, vault: Vault<'_>) -> Field<Map> {
    let Some(oauth2) = object.object("oauth2")? else {
        return Ok(None);
    };
    let mut map = Map::default();
    map.put("token_url", oauth2.required_text("tokenUrl")?);
    let id = vault.secret_or_config_map(&oauth2, "clientId")?;
    let id = id.ok_or_else(|| oauth2.missing("clientId", "a secret or a configMap"))?;
    // An ID from a ConfigMap is no secret, one from a Secret may be.
    map.put("client_id", id);
    map.put(
        "client_secret",
        vault.required_secret(&oauth2, "clientSecret")?,
    );
    map.put_some(
        "scopes",
        oauth2.texts("scopes")?.filter(|scopes| !scopes.is_empty()),
    );
    let params = oauth2.text_map("endpointParams")?;
    map.put_some(
        "endpoint_params",
        params.filter(|params| !params.is_empty()),
    );
    map.extend(proxy(&oauth2, vault)?);
    let tls = tls::read(&oauth2, false, vault)?;
    map.put_some("tls_config", tls.map(tls::Tls::into_map));
    Ok(Some(map))
}

/// Reads the proxy fields.
pub(crate) fn proxy(object: &Object<'_>, vault: Vault<'_>) -> Result<Map, Invalid> {
    let url = object.text("proxyUrl")?;
    let no_proxy = object.text("noProxy")?;
    let from_environment = object.flag("proxyFromEnvironment")?;
    let headers = object.object("proxyConnectHeader")?;
    check_proxy(object, url, no_proxy, from_environment, headers.as_ref())?;
    let mut map = Map::default();
    map.put_some("proxy_url", url);
    map.put_some("no_proxy", no_proxy);
    map.put_some("proxy_from_environment", from_environment);
    if let Some(headers) = headers {
        map.put("proxy_connect_header", connect_headers(&headers, vault)?);
    }
    Ok(map)
}

fn check_proxy(
    object: &Object<'_>,
    url: Option<&str>,
    no_proxy: Option<&str>,
    from_environment: Option<bool>,
    headers: Option<&Object<'_>>,
) -> Result<(), Invalid> {
    let conflict = |key: &str, why: &str| Err(object.invalid(Reason::Conflict, key, why));
    let has_url = url.is_some_and(|url| !url.is_empty());
    let has_exceptions = no_proxy.is_some_and(|list| !list.is_empty());
    let from_environment = from_environment.unwrap_or(false);
    let has_headers = headers.is_some_and(|headers| headers.entries().next().is_some());
    if has_headers && !from_environment && !has_url {
        return conflict(
            "proxyConnectHeader",
            "given without a proxy, expected proxyUrl or proxyFromEnvironment too",
        );
    }
    if from_environment && has_url {
        return conflict(
            "proxyUrl",
            "given together with proxyFromEnvironment, expected one",
        );
    }
    if from_environment && has_exceptions {
        return conflict(
            "noProxy",
            "given together with proxyFromEnvironment, expected one",
        );
    }
    if has_exceptions && !has_url {
        return conflict("noProxy", "given without proxyUrl, expected both");
    }
    if let Some(url) = url.filter(|_| has_url)
        && parse_url(url).is_none()
    {
        return Err(object.invalid(
            Reason::Schema,
            "proxyUrl",
            "not a URL, expected one such as http://proxy:3128",
        ));
    }
    Ok(())
}

fn connect_headers(headers: &Object<'_>, vault: Vault<'_>) -> Result<Map, Invalid> {
    let names = headers.entries().map(|(name, _)| name);
    let values = names.map(|name| {
        let selectors = headers.objects(name)?;
        if selectors.is_empty() {
            return Err(headers.missing(name, "the names and keys of secrets"));
        }
        let values = selectors.iter();
        let values: Result<Vec<_>, _> = values
            .map(|selector| vault.value(Source::Secret, selector))
            .collect();
        Ok((name, Yaml::from(values?)))
    });
    values.collect()
}
