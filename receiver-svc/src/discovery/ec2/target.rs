//! Builds a target from an EC2 instance.

use std::collections::BTreeMap;

use mesh_model::{
    labels::{ADDRESS, Labels},
    validation::sanitize_label_name,
};

use super::{super::host_and_port, response::Instance};

const PREFIX: &str = "__meta_ec2_";

/// The IPv6 addresses of an instance in a VPC.
#[derive(Default)]
struct Ipv6Addresses {
    all: Vec<String>,
    /// Primary addresses, each at the device index of its interface.
    primary: Vec<String>,
}

/// Builds the target of an instance. Returns `None` if it has no address. A field
/// that the API omits makes no label.
pub(super) fn target(
    instance: &Instance,
    owner: Option<&str>,
    region: &str,
    zones: &BTreeMap<String, String>,
    port: u16,
) -> Option<Labels> {
    let non_empty = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let ipv6 = Ipv6Addresses::of(instance);
    let private_ip = non_empty(&instance.private_ip_address);
    let address = private_ip.clone().or(ipv6.preferred())?;
    let zone = instance.placement.as_ref();
    let zone = zone.and_then(|placement| placement.availability_zone.clone());
    let in_vpc = instance.vpc_id.is_some();
    let public_ip = non_empty(&instance.ip_address);
    let labels = [
        ("ami", instance.image_id.clone()),
        ("architecture", instance.architecture.clone()),
        (
            "availability_zone_id",
            zone.as_ref().and_then(|zone| zones.get(zone).cloned()),
        ),
        ("availability_zone", zone),
        ("default_ipv6_address", ipv6.preferred()),
        ("instance_id", instance.instance_id.clone()),
        ("instance_lifecycle", instance.instance_lifecycle.clone()),
        (
            "instance_state",
            instance
                .instance_state
                .as_ref()
                .and_then(|s| s.name.clone()),
        ),
        ("instance_type", instance.instance_type.clone()),
        ("ipv6_addresses", list_label(&ipv6.all)),
        ("owner_id", owner.map(str::to_owned)),
        ("platform", instance.platform.clone()),
        ("primary_ipv6_addresses", list_label(&ipv6.primary)),
        (
            "primary_subnet_id",
            instance.subnet_id.clone().filter(|_| in_vpc),
        ),
        ("private_dns_name", instance.private_dns_name.clone()),
        ("private_ip", private_ip),
        (
            "public_dns_name",
            instance.dns_name.clone().filter(|_| public_ip.is_some()),
        ),
        ("public_ip", public_ip),
        ("region", Some(region.to_owned())),
        ("subnet_id", in_vpc.then(|| subnets(instance))),
        ("vpc_id", instance.vpc_id.clone()),
    ];
    let labels = labels
        .into_iter()
        .filter_map(|(name, value)| Some((format!("{PREFIX}{name}"), value?)));
    let tags = instance.tag_set.item.iter().filter_map(|tag| {
        let name = sanitize_label_name(tag.key.as_ref()?);
        Some((format!("{PREFIX}tag_{name}"), tag.value.clone()?))
    });
    let address = (ADDRESS.to_owned(), host_and_port(&address, port));
    Some(labels.chain(tags).chain([address]).collect())
}

/// Joins the distinct subnets of all interfaces.
fn subnets(instance: &Instance) -> String {
    let mut subnets: Vec<&str> = Vec::new();
    for interface in &instance.network_interface_set.item {
        if let Some(subnet) = &interface.subnet_id
            && !subnets.contains(&subnet.as_str())
        {
            subnets.push(subnet);
        }
    }
    format!(",{},", subnets.join(","))
}

/// Joins a list into a label value. A comma on both sides of each entry lets a
/// regular expression match any entry. Returns `None` for an empty list.
fn list_label(entries: &[String]) -> Option<String> {
    (!entries.is_empty()).then(|| format!(",{},", entries.join(",")))
}

// === impl Ipv6Addresses ===

impl Ipv6Addresses {
    fn of(instance: &Instance) -> Self {
        let mut found = Self::default();
        if instance.vpc_id.is_none() {
            return found;
        }
        let interfaces = instance.network_interface_set.item.iter();
        for interface in interfaces.filter(|interface| interface.subnet_id.is_some()) {
            let index = interface.attachment.as_ref().and_then(|a| a.device_index);
            for ipv6 in &interface.ipv6_addresses_set.item {
                let Some(address) = &ipv6.ipv6_address else {
                    continue;
                };
                found.all.push(address.clone());
                if let (Some(true), Some(index)) = (ipv6.is_primary_ipv6, index) {
                    found.set_primary(index, address);
                }
            }
        }
        found
    }

    /// Records the primary address of an interface. Indexes without one stay empty.
    /// The limit, above that of EC2, bounds what a response can make us allocate.
    fn set_primary(&mut self, index: usize, address: &str) {
        const MAX_INTERFACES: usize = 1024;
        if index >= MAX_INTERFACES {
            return;
        }
        if self.primary.len() <= index {
            self.primary.resize(index + 1, String::new());
        }
        self.primary[index] = address.to_owned();
    }

    /// Returns the address to use for an instance without an IPv4 address.
    fn preferred(&self) -> Option<String> {
        let candidates = self.primary.iter().chain(&self.all);
        candidates.into_iter().find(|a| !a.is_empty()).cloned()
    }
}
