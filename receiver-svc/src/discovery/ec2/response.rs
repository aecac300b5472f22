//! Responses of the EC2 API, reduced to the fields that targets need.
//!
//! Every field is optional in the API.

use serde::Deserialize;

/// The `DescribeInstancesResponse` element.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::discovery) struct Instances {
    #[serde(default)]
    pub(in crate::discovery) reservation_set: Item<Reservation>,
    pub(in crate::discovery) next_token: Option<String>,
}

/// The `DescribeAvailabilityZonesResponse` element.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::discovery) struct AvailabilityZones {
    #[serde(default)]
    pub(in crate::discovery) availability_zone_info: Item<Zone>,
}

/// A list of the API, with one `item` element per entry.
#[derive(Debug, Deserialize)]
pub(in crate::discovery) struct Item<T> {
    #[serde(default = "Vec::new")]
    pub(in crate::discovery) item: Vec<T>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::discovery) struct Zone {
    pub(in crate::discovery) zone_name: Option<String>,
    pub(in crate::discovery) zone_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::discovery) struct Reservation {
    pub(in crate::discovery) owner_id: Option<String>,
    #[serde(default)]
    pub(in crate::discovery) instances_set: Item<Instance>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::discovery) struct Instance {
    pub(in crate::discovery) instance_id: Option<String>,
    pub(in crate::discovery) image_id: Option<String>,
    pub(in crate::discovery) instance_state: Option<State>,
    pub(in crate::discovery) private_dns_name: Option<String>,
    pub(in crate::discovery) dns_name: Option<String>,
    pub(in crate::discovery) instance_type: Option<String>,
    pub(in crate::discovery) placement: Option<Placement>,
    pub(in crate::discovery) platform: Option<String>,
    pub(in crate::discovery) subnet_id: Option<String>,
    pub(in crate::discovery) vpc_id: Option<String>,
    pub(in crate::discovery) private_ip_address: Option<String>,
    pub(in crate::discovery) ip_address: Option<String>,
    pub(in crate::discovery) architecture: Option<String>,
    pub(in crate::discovery) instance_lifecycle: Option<String>,
    #[serde(default)]
    pub(in crate::discovery) tag_set: Item<Tag>,
    #[serde(default)]
    pub(in crate::discovery) network_interface_set: Item<Interface>,
}

#[derive(Debug, Deserialize)]
pub(in crate::discovery) struct State {
    pub(in crate::discovery) name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::discovery) struct Placement {
    pub(in crate::discovery) availability_zone: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(in crate::discovery) struct Tag {
    pub(in crate::discovery) key: Option<String>,
    pub(in crate::discovery) value: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::discovery) struct Interface {
    pub(in crate::discovery) subnet_id: Option<String>,
    pub(in crate::discovery) attachment: Option<Attachment>,
    #[serde(default)]
    pub(in crate::discovery) ipv6_addresses_set: Item<Ipv6>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::discovery) struct Attachment {
    pub(in crate::discovery) device_index: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::discovery) struct Ipv6 {
    pub(in crate::discovery) ipv6_address: Option<String>,
    pub(in crate::discovery) is_primary_ipv6: Option<bool>,
}

/// The `Response` element of a rejected request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::discovery) struct ErrorResponse {
    pub(in crate::discovery) errors: Errors,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::discovery) struct Errors {
    pub(in crate::discovery) error: Error,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::discovery) struct Error {
    pub(in crate::discovery) code: String,
    pub(in crate::discovery) message: String,
}

// === impl Item ===

impl<T> Default for Item<T> {
    fn default() -> Self {
        Self { item: Vec::new() }
    }
}
