//! Bad configuration files that are not refused.

const SECTION_OF_OTHERS: &str =
    "a mistake in a section that belongs to others, which is accepted unread and named";
const MECHANISM_OF_OTHERS: &str = "a mistake in a discovery mechanism that promesh does not have, which is refused by name when run";

/// Bad files that are accepted, each with its reason.
pub(super) const ACCEPTED: &[(&str, &str)] = &[
    ("agent_mode.with_alert_manager.yml", SECTION_OF_OTHERS),
    ("agent_mode.with_alert_relabels.yml", SECTION_OF_OTHERS),
    ("agent_mode.with_remote_reads.yml", SECTION_OF_OTHERS),
    ("agent_mode.with_rule_files.yml", SECTION_OF_OTHERS),
    ("azure_bearertoken_basicauth.bad.yml", MECHANISM_OF_OTHERS),
    ("azure_client_id_missing.bad.yml", MECHANISM_OF_OTHERS),
    ("azure_client_secret_missing.bad.yml", MECHANISM_OF_OTHERS),
    ("azure_subscription_id_missing.bad.yml", MECHANISM_OF_OTHERS),
    ("azure_tenant_id_missing.bad.yml", MECHANISM_OF_OTHERS),
    (
        "config_with_deprecated_am_api_config.yml",
        SECTION_OF_OTHERS,
    ),
    ("empty_alert_relabel_config.bad.yml", SECTION_OF_OTHERS),
    (
        "empty_alertmanager_relabel_config.bad.yml",
        SECTION_OF_OTHERS,
    ),
    ("empty_rr_config.bad.yml", SECTION_OF_OTHERS),
    ("eureka_invalid_server.bad.yml", MECHANISM_OF_OTHERS),
    ("eureka_no_server.bad.yml", MECHANISM_OF_OTHERS),
    ("lightsail_token_file.bad.yml", MECHANISM_OF_OTHERS),
    (
        "marathon_authtoken_authorization.bad.yml",
        MECHANISM_OF_OTHERS,
    ),
    (
        "marathon_authtoken_authtokenfile.bad.yml",
        MECHANISM_OF_OTHERS,
    ),
    ("marathon_authtoken_basicauth.bad.yml", MECHANISM_OF_OTHERS),
    (
        "marathon_authtoken_bearertoken.bad.yml",
        MECHANISM_OF_OTHERS,
    ),
    ("marathon_no_servers.bad.yml", MECHANISM_OF_OTHERS),
    ("outscale_no_region.bad.yml", MECHANISM_OF_OTHERS),
    ("outscale_no_secret.bad.yml", MECHANISM_OF_OTHERS),
    ("outscale_two_secrets.bad.yml", MECHANISM_OF_OTHERS),
    ("puppetdb_token_file.bad.yml", MECHANISM_OF_OTHERS),
    ("remote_read_dup.bad.yml", SECTION_OF_OTHERS),
    ("remote_read_header.bad.yml", SECTION_OF_OTHERS),
    ("remote_read_url_missing.bad.yml", SECTION_OF_OTHERS),
    ("rules.bad.yml", SECTION_OF_OTHERS),
    ("stackit_endpoint.bad.yml", MECHANISM_OF_OTHERS),
    (
        "tracing_invalid_authorization_header.bad.yml",
        SECTION_OF_OTHERS,
    ),
    ("tracing_invalid_compression.bad.yml", SECTION_OF_OTHERS),
    ("tracing_invalid_header.bad.yml", SECTION_OF_OTHERS),
    ("tracing_missing_endpoint.bad.yml", SECTION_OF_OTHERS),
    ("tsdb_chunk_encoding_floats.bad.yml", SECTION_OF_OTHERS),
    (
        "tsdb_chunk_encoding_floats_wrong_case.bad.yml",
        SECTION_OF_OTHERS,
    ),
    (
        "tsdb_chunk_encoding_floats_wrong_case_xor2.bad.yml",
        SECTION_OF_OTHERS,
    ),
    ("tsdb_retention_percentage.bad.yml", SECTION_OF_OTHERS),
    (
        "tsdb_retention_percentage_negative.bad.yml",
        SECTION_OF_OTHERS,
    ),
    ("tsdb_retention_size.bad.yml", SECTION_OF_OTHERS),
    ("tsdb_retention_time.bad.yml", SECTION_OF_OTHERS),
    ("uyuni_no_server.bad.yml", MECHANISM_OF_OTHERS),
    ("uyuni_token_file.bad.yml", MECHANISM_OF_OTHERS),
];
