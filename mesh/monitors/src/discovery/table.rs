//! Fields of the discovery mechanisms and their keys.

use crate::{client::Parts, object::SCHEMES};

use super::ALL;

/// A discovery mechanism.
#[derive(Debug)]
pub(super) struct Mechanism {
    /// Field of the ScrapeConfig.
    pub(super) list: &'static str,
    /// Key of the scrape configuration.
    pub(super) key: &'static str,
    pub(super) client: Parts,
    pub(super) fields: &'static [Entry],
}

/// A field of a mechanism.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) field: &'static str,
    pub(super) key: &'static str,
    pub(super) kind: Type,
    pub(super) required: bool,
}

/// Type of a field, and the form in which its value is written.
#[derive(Debug)]
pub(super) enum Type {
    Text,
    Flag,
    Port,
    Duration,
    Texts,
    TextMap,
    Secret,
    Filters,
    /// One of these texts, as written.
    OneOf(&'static [&'static str]),
    /// One of these texts, in lower case.
    LowerCase(&'static [&'static str]),
    /// One of these texts, under another name.
    Renamed(&'static [(&'static str, &'static str)]),
    /// A URL of one of these schemes, or of any if there are none.
    Url(&'static [&'static str]),
}

const NO_BASIC: Parts = Parts {
    basic_auth: false,
    ..ALL
};
const NO_AUTH: Parts = Parts {
    authorization: false,
    oauth2: false,
    ..NO_BASIC
};
const NONE: Parts = Parts {
    tls: false,
    proxy: false,
    switches: false,
    ..NO_AUTH
};
const ONLY_TLS: Parts = Parts { tls: true, ..NONE };

const HTTP: Type = Type::Url(&["http", "https"]);
const PORT: Entry = Entry::new("port", "port", Type::Port);
const REFRESH: Entry = Entry::new("refreshInterval", "refresh_interval", Type::Duration);

/// All mechanisms except static, Kubernetes and Azure, which have rules of their own.
pub(super) const MECHANISMS: &[Mechanism] = &[
    Mechanism {
        list: "fileSDConfigs",
        key: "file_sd_configs",
        client: NONE,
        fields: &[Entry::needed("files", "files", Type::Texts), REFRESH],
    },
    Mechanism {
        list: "httpSDConfigs",
        key: "http_sd_configs",
        client: ALL,
        fields: &[Entry::needed("url", "url", HTTP), REFRESH],
    },
    Mechanism {
        list: "dnsSDConfigs",
        key: "dns_sd_configs",
        client: NONE,
        fields: &[
            Entry::needed("names", "names", Type::Texts),
            Entry::new(
                "type",
                "type",
                Type::OneOf(&["A", "AAAA", "MX", "NS", "SRV"]),
            ),
            PORT,
            REFRESH,
        ],
    },
    Mechanism {
        list: "ec2SDConfigs",
        key: "ec2_sd_configs",
        client: NO_AUTH,
        fields: &[
            Entry::text("region", "region"),
            Entry::new("accessKey", "access_key", Type::Secret),
            Entry::new("secretKey", "secret_key", Type::Secret),
            Entry::text("roleARN", "role_arn"),
            Entry::new("filters", "filters", Type::Filters),
            PORT,
            REFRESH,
        ],
    },
    Mechanism {
        list: "consulSDConfigs",
        key: "consul_sd_configs",
        client: ALL,
        fields: &[
            Entry::needed("server", "server", Type::Text),
            Entry::text("pathPrefix", "path_prefix"),
            Entry::new("tokenRef", "token", Type::Secret),
            Entry::text("datacenter", "datacenter"),
            Entry::text("namespace", "namespace"),
            Entry::text("partition", "partition"),
            Entry::new("scheme", "scheme", Type::LowerCase(SCHEMES)),
            Entry::new("services", "services", Type::Texts),
            Entry::new("tags", "tags", Type::Texts),
            Entry::text("tagSeparator", "tag_separator"),
            Entry::new("nodeMeta", "node_meta", Type::TextMap),
            Entry::text("filter", "filter"),
            Entry::text("healthFilter", "health_filter"),
            Entry::new("allowStale", "allow_stale", Type::Flag),
            REFRESH,
        ],
    },
    Mechanism {
        list: "gceSDConfigs",
        key: "gce_sd_configs",
        client: NONE,
        fields: &[
            Entry::needed("project", "project", Type::Text),
            Entry::needed("zone", "zone", Type::Text),
            Entry::text("filter", "filter"),
            Entry::text("tagSeparator", "tag_separator"),
            PORT,
            REFRESH,
        ],
    },
    Mechanism {
        list: "openstackSDConfigs",
        key: "openstack_sd_configs",
        client: ONLY_TLS,
        fields: &[
            Entry::needed(
                "role",
                "role",
                Type::LowerCase(&["Instance", "Hypervisor", "LoadBalancer"]),
            ),
            Entry::needed("region", "region", Type::Text),
            Entry::new("identityEndpoint", "identity_endpoint", HTTP),
            Entry::text("username", "username"),
            Entry::text("userid", "userid"),
            Entry::new("password", "password", Type::Secret),
            Entry::text("domainName", "domain_name"),
            Entry::text("domainID", "domain_id"),
            Entry::text("projectName", "project_name"),
            Entry::text("projectID", "project_id"),
            Entry::text("applicationCredentialName", "application_credential_name"),
            Entry::text("applicationCredentialId", "application_credential_id"),
            Entry::new(
                "applicationCredentialSecret",
                "application_credential_secret",
                Type::Secret,
            ),
            Entry::new("allTenants", "all_tenants", Type::Flag),
            Entry::new(
                "availability",
                "availability",
                Type::OneOf(&["Public", "public", "Admin", "admin", "Internal", "internal"]),
            ),
            PORT,
            REFRESH,
        ],
    },
    Mechanism {
        list: "digitalOceanSDConfigs",
        key: "digitalocean_sd_configs",
        client: NO_BASIC,
        fields: &[PORT, REFRESH],
    },
    Mechanism {
        list: "kumaSDConfigs",
        key: "kuma_sd_configs",
        client: ALL,
        fields: &[
            Entry::needed("server", "server", HTTP),
            Entry::text("clientID", "client_id"),
            Entry::new("fetchTimeout", "fetch_timeout", Type::Duration),
            REFRESH,
        ],
    },
    Mechanism {
        list: "eurekaSDConfigs",
        key: "eureka_sd_configs",
        client: ALL,
        fields: &[Entry::needed("server", "server", HTTP), REFRESH],
    },
    Mechanism {
        list: "dockerSDConfigs",
        key: "docker_sd_configs",
        client: ALL,
        fields: &[
            Entry::needed("host", "host", Type::Url(&[])),
            Entry::text("hostNetworkingHost", "host_networking_host"),
            Entry::new("matchFirstNetwork", "match_first_network", Type::Flag),
            Entry::new("filters", "filters", Type::Filters),
            PORT,
            REFRESH,
        ],
    },
    Mechanism {
        list: "dockerSwarmSDConfigs",
        key: "dockerswarm_sd_configs",
        client: ALL,
        fields: &[
            Entry::needed("host", "host", Type::Url(&[])),
            Entry::needed(
                "role",
                "role",
                Type::LowerCase(&["Services", "Tasks", "Nodes"]),
            ),
            Entry::new("filters", "filters", Type::Filters),
            PORT,
            REFRESH,
        ],
    },
    Mechanism {
        list: "linodeSDConfigs",
        key: "linode_sd_configs",
        client: NO_BASIC,
        fields: &[
            Entry::text("region", "region"),
            Entry::text("tagSeparator", "tag_separator"),
            PORT,
            REFRESH,
        ],
    },
    Mechanism {
        list: "hetznerSDConfigs",
        key: "hetzner_sd_configs",
        client: ALL,
        fields: &[
            Entry::needed(
                "role",
                "role",
                Type::LowerCase(&["hcloud", "Hcloud", "robot", "Robot"]),
            ),
            Entry::text("labelSelector", "label_selector"),
            PORT,
            REFRESH,
        ],
    },
    Mechanism {
        list: "nomadSDConfigs",
        key: "nomad_sd_configs",
        client: ALL,
        fields: &[
            Entry::needed("server", "server", HTTP),
            Entry::new("allowStale", "allow_stale", Type::Flag),
            Entry::text("namespace", "namespace"),
            Entry::text("region", "region"),
            Entry::text("tagSeparator", "tag_separator"),
            REFRESH,
        ],
    },
    Mechanism {
        list: "puppetDBSDConfigs",
        key: "puppetdb_sd_configs",
        client: ALL,
        fields: &[
            Entry::needed("url", "url", HTTP),
            Entry::needed("query", "query", Type::Text),
            Entry::new("includeParameters", "include_parameters", Type::Flag),
            PORT,
            REFRESH,
        ],
    },
    Mechanism {
        list: "lightSailSDConfigs",
        key: "lightsail_sd_configs",
        client: ALL,
        fields: &[
            Entry::text("region", "region"),
            Entry::new("accessKey", "access_key", Type::Secret),
            Entry::new("secretKey", "secret_key", Type::Secret),
            Entry::text("roleARN", "role_arn"),
            Entry::text("endpoint", "endpoint"),
            PORT,
            REFRESH,
        ],
    },
    Mechanism {
        list: "ovhcloudSDConfigs",
        key: "ovhcloud_sd_configs",
        client: NONE,
        fields: &[
            Entry::needed("applicationKey", "application_key", Type::Text),
            Entry::needed("applicationSecret", "application_secret", Type::Secret),
            Entry::needed("consumerKey", "consumer_key", Type::Secret),
            Entry::needed(
                "service",
                "service",
                Type::Renamed(&[("VPS", "vps"), ("DedicatedServer", "dedicated_server")]),
            ),
            Entry::text("endpoint", "endpoint"),
            REFRESH,
        ],
    },
    Mechanism {
        list: "scalewaySDConfigs",
        key: "scaleway_sd_configs",
        client: NO_AUTH,
        fields: &[
            Entry::needed("accessKey", "access_key", Type::Text),
            Entry::needed("secretKey", "secret_key", Type::Secret),
            Entry::needed("projectID", "project_id", Type::Text),
            Entry::needed("role", "role", Type::LowerCase(&["Instance", "Baremetal"])),
            Entry::text("zone", "zone"),
            Entry::new("apiURL", "api_url", HTTP),
            Entry::text("nameFilter", "name_filter"),
            Entry::new("tagsFilter", "tags_filter", Type::Texts),
            PORT,
            REFRESH,
        ],
    },
    Mechanism {
        list: "ionosSDConfigs",
        key: "ionos_sd_configs",
        client: NO_BASIC,
        fields: &[
            Entry::needed("datacenterID", "datacenter_id", Type::Text),
            PORT,
            REFRESH,
        ],
    },
];

/// Fields of `azureSDConfigs`.
pub(super) const AZURE: &[Entry] = &[
    Entry::text("environment", "environment"),
    Entry::text("authenticationMethod", "authentication_method"),
    Entry::needed("subscriptionID", "subscription_id", Type::Text),
    Entry::text("tenantID", "tenant_id"),
    Entry::text("clientID", "client_id"),
    Entry::new("clientSecret", "client_secret", Type::Secret),
    Entry::text("resourceGroup", "resource_group"),
    PORT,
    REFRESH,
];

// === impl Mechanism ===

impl Mechanism {
    /// Returns true if `accessKey` and `secretKey` are both secrets.
    pub(super) fn has_key_pair(&self) -> bool {
        self.fields
            .iter()
            .any(|entry| entry.field == "accessKey" && matches!(entry.kind, Type::Secret))
    }
}

// === impl Entry ===

impl Entry {
    const fn new(field: &'static str, key: &'static str, kind: Type) -> Self {
        Self {
            field,
            key,
            kind,
            required: false,
        }
    }

    const fn text(field: &'static str, key: &'static str) -> Self {
        Self::new(field, key, Type::Text)
    }

    const fn needed(field: &'static str, key: &'static str, kind: Type) -> Self {
        Self {
            required: true,
            ..Self::new(field, key, kind)
        }
    }
}
