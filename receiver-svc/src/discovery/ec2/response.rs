//! Responses of the EC2 API, reduced to the fields that targets need.
//!
//! Every field is optional in the API.

use serde::Deserialize;

/// The `DescribeInstancesResponse` element.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instances {
    #[serde(default)]
    pub(super) reservation_set: Item<Reservation>,
    pub(super) next_token: Option<String>,
}

/// The `DescribeAvailabilityZonesResponse` element.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AvailabilityZones {
    #[serde(default)]
    pub(super) availability_zone_info: Item<Zone>,
}

/// A list of the API, with one `item` element per entry.
#[derive(Debug, Deserialize)]
pub(super) struct Item<T> {
    #[serde(default = "Vec::new")]
    pub(super) item: Vec<T>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Zone {
    pub(super) zone_name: Option<String>,
    pub(super) zone_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reservation {
    pub(super) owner_id: Option<String>,
    #[serde(default)]
    pub(super) instances_set: Item<Instance>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instance {
    pub(super) instance_id: Option<String>,
    pub(super) image_id: Option<String>,
    pub(super) instance_state: Option<State>,
    pub(super) private_dns_name: Option<String>,
    pub(super) dns_name: Option<String>,
    pub(super) instance_type: Option<String>,
    pub(super) placement: Option<Placement>,
    pub(super) platform: Option<String>,
    pub(super) subnet_id: Option<String>,
    pub(super) vpc_id: Option<String>,
    pub(super) private_ip_address: Option<String>,
    pub(super) ip_address: Option<String>,
    pub(super) architecture: Option<String>,
    pub(super) instance_lifecycle: Option<String>,
    #[serde(default)]
    pub(super) tag_set: Item<Tag>,
    #[serde(default)]
    pub(super) network_interface_set: Item<Interface>,
}

#[derive(Debug, Deserialize)]
pub(super) struct State {
    pub(super) name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Placement {
    pub(super) availability_zone: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tag {
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Interface {
    pub(super) subnet_id: Option<String>,
    pub(super) attachment: Option<Attachment>,
    #[serde(default)]
    pub(super) ipv6_addresses_set: Item<Ipv6>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Attachment {
    pub(super) device_index: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ipv6 {
    pub(super) ipv6_address: Option<String>,
    pub(super) is_primary_ipv6: Option<bool>,
}

/// The `Response` element of a rejected request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ErrorResponse {
    pub(super) errors: Errors,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Errors {
    pub(super) error: Error,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Error {
    pub(super) code: String,
    pub(super) message: String,
}

// === impl Item ===

impl<T> Default for Item<T> {
    fn default() -> Self {
        Self { item: Vec::new() }
    }
}
