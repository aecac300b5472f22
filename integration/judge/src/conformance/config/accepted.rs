//! Invalid configuration files that promesh accepts.

const FOREIGN_SECTION: &str = "the mistake is in a section that promesh does not use; it logs the name and ignores the section";
const UNSUPPORTED_DISCOVERY: &str = "the mistake is in a discovery mechanism that promesh does not support; it rejects the mechanism at the start";

/// Accepted invalid files, each with the reason.
pub(super) const ACCEPTED: &[(&str, &str)] = &[
    ("agent_mode.with_alert_manager.yml", FOREIGN_SECTION),
    ("agent_mode.with_alert_relabels.yml", FOREIGN_SECTION),
    ("agent_mode.with_remote_reads.yml", FOREIGN_SECTION),
    ("agent_mode.with_rule_files.yml", FOREIGN_SECTION),
    ("azure_bearertoken_basicauth.bad.yml", UNSUPPORTED_DISCOVERY),
    ("azure_client_id_missing.bad.yml", UNSUPPORTED_DISCOVERY),
    ("azure_client_secret_missing.bad.yml", UNSUPPORTED_DISCOVERY),
    (
        "azure_subscription_id_missing.bad.yml",
        UNSUPPORTED_DISCOVERY,
    ),
    ("azure_tenant_id_missing.bad.yml", UNSUPPORTED_DISCOVERY),
    ("config_with_deprecated_am_api_config.yml", FOREIGN_SECTION),
    ("empty_alert_relabel_config.bad.yml", FOREIGN_SECTION),
    ("empty_alertmanager_relabel_config.bad.yml", FOREIGN_SECTION),
    ("empty_rr_config.bad.yml", FOREIGN_SECTION),
    ("eureka_invalid_server.bad.yml", UNSUPPORTED_DISCOVERY),
    ("eureka_no_server.bad.yml", UNSUPPORTED_DISCOVERY),
    ("lightsail_token_file.bad.yml", UNSUPPORTED_DISCOVERY),
    (
        "marathon_authtoken_authorization.bad.yml",
        UNSUPPORTED_DISCOVERY,
    ),
    (
        "marathon_authtoken_authtokenfile.bad.yml",
        UNSUPPORTED_DISCOVERY,
    ),
    (
        "marathon_authtoken_basicauth.bad.yml",
        UNSUPPORTED_DISCOVERY,
    ),
    (
        "marathon_authtoken_bearertoken.bad.yml",
        UNSUPPORTED_DISCOVERY,
    ),
    ("marathon_no_servers.bad.yml", UNSUPPORTED_DISCOVERY),
    ("outscale_no_region.bad.yml", UNSUPPORTED_DISCOVERY),
    ("outscale_no_secret.bad.yml", UNSUPPORTED_DISCOVERY),
    ("outscale_two_secrets.bad.yml", UNSUPPORTED_DISCOVERY),
    ("puppetdb_token_file.bad.yml", UNSUPPORTED_DISCOVERY),
    ("remote_read_dup.bad.yml", FOREIGN_SECTION),
    ("remote_read_header.bad.yml", FOREIGN_SECTION),
    ("remote_read_url_missing.bad.yml", FOREIGN_SECTION),
    ("rules.bad.yml", FOREIGN_SECTION),
    ("stackit_endpoint.bad.yml", UNSUPPORTED_DISCOVERY),
    (
        "tracing_invalid_authorization_header.bad.yml",
        FOREIGN_SECTION,
    ),
    ("tracing_invalid_compression.bad.yml", FOREIGN_SECTION),
    ("tracing_invalid_header.bad.yml", FOREIGN_SECTION),
    ("tracing_missing_endpoint.bad.yml", FOREIGN_SECTION),
    ("tsdb_chunk_encoding_floats.bad.yml", FOREIGN_SECTION),
    (
        "tsdb_chunk_encoding_floats_wrong_case.bad.yml",
        FOREIGN_SECTION,
    ),
    (
        "tsdb_chunk_encoding_floats_wrong_case_xor2.bad.yml",
        FOREIGN_SECTION,
    ),
    ("tsdb_retention_percentage.bad.yml", FOREIGN_SECTION),
    (
        "tsdb_retention_percentage_negative.bad.yml",
        FOREIGN_SECTION,
    ),
    ("tsdb_retention_size.bad.yml", FOREIGN_SECTION),
    ("tsdb_retention_time.bad.yml", FOREIGN_SECTION),
    ("uyuni_no_server.bad.yml", UNSUPPORTED_DISCOVERY),
    ("uyuni_token_file.bad.yml", UNSUPPORTED_DISCOVERY),
];
