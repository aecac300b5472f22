//! The `sigv4` section.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    config::{Secret, remote_write::Sigv4Config},
    config_file::{scalar::Text, section::Problem},
};

/// `sigv4`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config_file) struct Sigv4 {
    region: Option<String>,
    access_key: Option<String>,
    secret_key: Option<Text<Secret>>,
    profile: Option<String>,
    role_arn: Option<String>,
    external_id: Option<String>,
    session_name: Option<String>,
    tags: Option<BTreeMap<String, String>>,
    use_fips_sts_endpoint: Option<bool>,
    service_name: Option<String>,
}

/// Limits of STS for the name and the tags of a session.
const SESSION_NAME: std::ops::RangeInclusive<usize> = 2..=64;
const MAX_TAGS: usize = 50;
const MAX_TAG_KEY: usize = 128;
const MAX_TAG_VALUE: usize = 256;

// === impl Sigv4 ===

impl Sigv4 {
    pub(super) fn build(self) -> Result<Sigv4Config, Problem> {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let secret_key = self.secret_key.map(|key| key.0);
        let config = Sigv4Config {
            region: filled(self.region),
            access_key: filled(self.access_key),
            secret_key: secret_key.filter(|key| !key.expose().is_empty()),
            profile: filled(self.profile),
            role_arn: filled(self.role_arn),
            external_id: filled(self.external_id),
            session_name: filled(self.session_name),
            tags: self.tags.unwrap_or_default(),
            use_fips_sts_endpoint: self.use_fips_sts_endpoint.unwrap_or(false),
            service_name: filled(self.service_name),
        };
        check(&config).map_err(|problem| Problem::new(format!("sigv4: {problem}")))?;
        Ok(config)
    }
}

fn check(config: &Sigv4Config) -> Result<(), String> {
    match (&config.access_key, &config.secret_key) {
        (Some(_), None) => return Err("access_key needs secret_key".to_owned()),
        (None, Some(_)) => return Err("secret_key needs access_key".to_owned()),
        _ => {}
    }
    let of_a_role = [
        ("external_id", config.external_id.is_some()),
        ("session_name", config.session_name.is_some()),
        ("tags", !config.tags.is_empty()),
    ];
    let mut given = of_a_role.iter().filter(|(_, given)| *given);
    if config.role_arn.is_none()
        && let Some((key, _)) = given.next()
    {
        return Err(format!("{key} can only be used with role_arn"));
    }
    if let Some(name) = &config.session_name {
        check_session_name(name)?;
    }
    check_tags(&config.tags)
}

fn check_session_name(name: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if SESSION_NAME.contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(format!(
        "session_name {name:?}: expected {} to {} letters, digits and characters of _+=,.@-",
        SESSION_NAME.start(),
        SESSION_NAME.end()
    ))
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), String> {
    if tags.len() > MAX_TAGS {
        let count = tags.len();
        return Err(format!("tags: {count} tags, STS takes at most {MAX_TAGS}"));
    }
    for (key, value) in tags {
        if key.is_empty() || key.len() > MAX_TAG_KEY || key.starts_with("aws:") {
            return Err(format!(
                "tags: {key:?}: expected a key of 1 to {MAX_TAG_KEY} bytes that does not begin with aws:"
            ));
        }
        if value.len() > MAX_TAG_VALUE {
            return Err(format!(
                "tags: value of {key:?}: expected at most {MAX_TAG_VALUE} bytes"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;

    fn parse(keys: &str) -> Result<Config, String> {
        let text = format!("remote_write: [{{url: 'http://h/', {keys}}}]\n");
        Config::parse(&text, Path::new("p.yml"), &|_| None).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_the_session_of_a_role() {
        let keys = "sigv4: {role_arn: r, external_id: e, session_name: my-prom, tags: {team: x}}";
        let config = parse(keys).unwrap();
        let sigv4 = config.remote_write[0].sigv4.as_ref().unwrap();
        assert_eq!(sigv4.session_name.as_deref(), Some("my-prom"));
        assert_eq!(sigv4.tags["team"], "x");
    }

    #[test]
    fn refuses_incomplete_settings() {
        for (keys, expected) in [
            ("sigv4: {access_key: a}", "access_key needs secret_key"),
            (
                "sigv4: {access_key: a, secret_key: ''}",
                "access_key needs secret_key",
            ),
            ("sigv4: {secret_key: a}", "secret_key needs access_key"),
            (
                "sigv4: {external_id: a}",
                "external_id can only be used with role_arn",
            ),
            (
                "sigv4: {session_name: ab}",
                "session_name can only be used with role_arn",
            ),
            (
                "sigv4: {tags: {a: b}}",
                "tags can only be used with role_arn",
            ),
            (
                "sigv4: {role_arn: r, session_name: a}",
                "session_name \"a\": expected 2 to 64",
            ),
            (
                "sigv4: {role_arn: r, session_name: 'a b'}",
                "session_name \"a b\": expected",
            ),
            (
                "sigv4: {role_arn: r, tags: {'': b}}",
                "tags: \"\": expected a key",
            ),
            (
                "sigv4: {role_arn: r, tags: {'aws:x': b}}",
                "tags: \"aws:x\": expected a key",
            ),
            (
                "headers: {X-Amz-Date: x}",
                "x-amz-date is a reserved header",
            ),
            (
                "headers: {x-amz-security-token: x}",
                "x-amz-security-token is a reserved header",
            ),
            (
                "http_headers: {X-Amz-Date: {values: [x]}}",
                "setting header \"X-Amz-Date\" is not allowed",
            ),
        ] {
            let error = parse(keys).unwrap_err();
            assert!(error.contains(expected), "{keys}: {error}");
        }
    }
}
