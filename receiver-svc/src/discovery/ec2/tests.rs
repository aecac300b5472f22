use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use mesh_model::labels::ADDRESS;
use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    sync::Notify,
    time::{sleep, timeout},
};

use super::*;
use crate::discovery::{
    DiscoveryMetrics, TargetGroups,
    aws::{run, test_config},
};

/// A fake EC2 API with two pages of instances.
#[derive(Clone, Default)]
struct Cloud(Arc<Mutex<CloudState>>);

#[derive(Default)]
struct CloudState {
    /// The posted forms with their authorization headers.
    requests: Vec<(BTreeMap<String, String>, String)>,
    rejecting: bool,
    zones_forbidden: bool,
}

const ZONES: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeAvailabilityZonesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <availabilityZoneInfo>
    <item><zoneName>eu-west-2a</zoneName><zoneState>available</zoneState><zoneId>euw2-az2</zoneId><messageSet/></item>
    <item><zoneName>eu-west-2b</zoneName><zoneId>euw2-az3</zoneId></item>
  </availabilityZoneInfo>
</DescribeAvailabilityZonesResponse>"#;

const FIRST_PAGE: &str = r#"<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>1</requestId>
  <reservationSet><item>
    <reservationId>r-1</reservationId><ownerId>123456789012</ownerId><groupSet/>
    <instancesSet>
      <item>
        <instanceId>i-1</instanceId><imageId>ami-1</imageId>
        <instanceState><code>16</code><name>running</name></instanceState>
        <privateDnsName>ip-10-0-0-1.internal</privateDnsName><dnsName>ec2-1.test</dnsName>
        <reason/><instanceType>t3.large</instanceType><launchTime>2026-01-01T00:00:00.000Z</launchTime>
        <placement><availabilityZone>eu-west-2a</availabilityZone><groupName/><tenancy>default</tenancy></placement>
        <platform>windows</platform><monitoring><state>disabled</state></monitoring>
        <subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId>
        <privateIpAddress>10.0.0.1</privateIpAddress><ipAddress>192.0.2.1</ipAddress>
        <architecture>x86_64</architecture><instanceLifecycle>spot</instanceLifecycle>
        <tagSet><item><key>Name</key><value>web &amp; co</value></item><item><key>aws:team/x</key><value>a</value></item></tagSet>
        <networkInterfaceSet>
          <item><subnetId>subnet-2</subnetId><attachment><deviceIndex>1</deviceIndex></attachment>
            <ipv6AddressesSet><item><ipv6Address>fd00::1</ipv6Address><isPrimaryIpv6>true</isPrimaryIpv6></item></ipv6AddressesSet></item>
          <item><subnetId>subnet-1</subnetId></item>
          <item><subnetId>subnet-2</subnetId><ipv6AddressesSet><item><ipv6Address>fd00::2</ipv6Address></item></ipv6AddressesSet></item>
          <item><networkInterfaceId>eni-of-no-subnet</networkInterfaceId></item>
        </networkInterfaceSet>
      </item>
      <item><instanceId>i-terminated</instanceId><instanceState><name>terminated</name></instanceState></item>
    </instancesSet>
  </item></reservationSet>
  <nextToken>more</nextToken>
</DescribeInstancesResponse>"#;

const LAST_PAGE: &str = r#"<DescribeInstancesResponse>
  <reservationSet><item><instancesSet>
    <item><instanceId>i-2</instanceId><vpcId>vpc-1</vpcId><instanceType>m7g.large</instanceType>
      <placement><availabilityZone>eu-west-2z</availabilityZone></placement>
      <networkInterfaceSet><item><subnetId>subnet-1</subnetId>
        <ipv6AddressesSet><item><ipv6Address>fd00::9</ipv6Address></item></ipv6AddressesSet></item></networkInterfaceSet></item>
  </instancesSet></item></reservationSet>
  <nextToken/>
</DescribeInstancesResponse>"#;

async fn ec2(State(cloud): State<Cloud>, headers: HeaderMap, body: String) -> Response {
    let form: BTreeMap<_, _> = url::form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    let authorization = headers["authorization"].to_str().unwrap().to_owned();
    let mut state = cloud.0.lock();
    state.requests.push((form.clone(), authorization));
    if state.rejecting {
        let rejection = "<Response><Errors><Error><Code>AuthFailure</Code><Message>no</Message></Error></Errors><RequestID>1</RequestID></Response>";
        return (StatusCode::UNAUTHORIZED, rejection).into_response();
    }
    match (form["Action"].as_str(), form.get("NextToken")) {
        ("DescribeAvailabilityZones", _) if state.zones_forbidden => {
            StatusCode::FORBIDDEN.into_response()
        }
        ("DescribeAvailabilityZones", _) => ZONES.into_response(),
        ("DescribeInstances", None) => FIRST_PAGE.into_response(),
        ("DescribeInstances", Some(_)) => LAST_PAGE.into_response(),
        (other, _) => panic!("{other}"),
    }
}

// === impl Cloud ===

impl Cloud {
    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().route("/", post(ec2)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        endpoint
    }

    fn request_count(&self) -> usize {
        self.0.lock().requests.len()
    }
}

fn config(endpoint: String) -> Ec2Config {
    Ec2Config {
        aws: test_config(endpoint, 9100),
        filters: vec![(
            "instance-state-name".to_owned(),
            vec!["running".to_owned(), "pending".to_owned()],
        )],
    }
}

#[tokio::test]
async fn makes_a_labeled_target_of_every_instance_with_an_address() {
    let cloud = Cloud::default();
    let mut ec2 = Ec2::new(config(cloud.serve().await)).unwrap();
    let group = ec2.list().await.unwrap();
    assert_eq!(group.source, "eu-west-2");
    let [first, second] = &group.targets[..] else {
        panic!("{group:?}")
    };
    let expected = [
        (ADDRESS, "10.0.0.1:9100"),
        ("__meta_ec2_ami", "ami-1"),
        ("__meta_ec2_architecture", "x86_64"),
        ("__meta_ec2_availability_zone", "eu-west-2a"),
        ("__meta_ec2_availability_zone_id", "euw2-az2"),
        ("__meta_ec2_default_ipv6_address", "fd00::1"),
        ("__meta_ec2_instance_id", "i-1"),
        ("__meta_ec2_instance_lifecycle", "spot"),
        ("__meta_ec2_instance_state", "running"),
        ("__meta_ec2_instance_type", "t3.large"),
        ("__meta_ec2_ipv6_addresses", ",fd00::1,fd00::2,"),
        ("__meta_ec2_owner_id", "123456789012"),
        ("__meta_ec2_platform", "windows"),
        ("__meta_ec2_primary_ipv6_addresses", ",,fd00::1,"),
        ("__meta_ec2_primary_subnet_id", "subnet-1"),
        ("__meta_ec2_private_dns_name", "ip-10-0-0-1.internal"),
        ("__meta_ec2_private_ip", "10.0.0.1"),
        ("__meta_ec2_public_dns_name", "ec2-1.test"),
        ("__meta_ec2_public_ip", "192.0.2.1"),
        ("__meta_ec2_region", "eu-west-2"),
        ("__meta_ec2_subnet_id", ",subnet-2,subnet-1,"),
        ("__meta_ec2_tag_Name", "web & co"),
        ("__meta_ec2_tag_aws_team_x", "a"),
        ("__meta_ec2_vpc_id", "vpc-1"),
    ];
    assert_eq!(*first, expected.into_iter().collect());
    assert_eq!(second.get(ADDRESS), Some("[fd00::9]:9100"));
    assert_eq!(second.get("__meta_ec2_availability_zone_id"), None);
    assert_eq!(second.get("__meta_ec2_private_ip"), None);
}

#[tokio::test]
async fn signs_filters_and_pages_requests() {
    let cloud = Cloud::default();
    let mut ec2 = Ec2::new(config(cloud.serve().await)).unwrap();
    ec2.list().await.unwrap();
    ec2.list().await.unwrap();
    let requests = std::mem::take(&mut cloud.0.lock().requests);
    // One request for the zones, then two pages per list.
    let actions: Vec<_> = requests.iter().map(|(form, _)| &form["Action"]).collect();
    assert_eq!(actions.len(), 5);
    assert_eq!(actions[0], "DescribeAvailabilityZones");
    for (form, authorization) in &requests {
        assert_eq!(form["Version"], "2016-11-15");
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"));
        assert!(authorization.contains("/eu-west-2/ec2/aws4_request"));
    }
    let page = &requests[2].0;
    assert_eq!(page["Filter.1.Name"], "instance-state-name");
    assert_eq!(page["Filter.1.Value.1"], "running");
    assert_eq!(page["Filter.1.Value.2"], "pending");
    assert_eq!(page["NextToken"], "more");
}

#[tokio::test]
async fn keeps_targets_on_failure_and_reports_the_aws_error() {
    let cloud = Cloud::default();
    let mut config = config(cloud.serve().await);
    config.aws.refresh_interval = Duration::from_millis(200);
    let groups = TargetGroups::new(Arc::new(Notify::new()));
    let ec2 = Ec2::new(config.clone()).unwrap();
    tokio::spawn(run(ec2, groups.clone(), DiscoveryMetrics::default()));
    let found = timeout(Duration::from_secs(60), async {
        while groups.all().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    });
    found.await.unwrap();
    cloud.0.lock().rejecting = true;
    let before = cloud.request_count();
    while cloud.request_count() < before + 3 {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(groups.all()[0].targets.len(), 2);
    let error = Ec2::new(config).unwrap().list().await.unwrap_err();
    assert!(error.to_string().contains("AuthFailure: no"), "{error}");
}

#[tokio::test]
async fn lists_instances_without_permission_for_zones() {
    let cloud = Cloud::default();
    cloud.0.lock().zones_forbidden = true;
    let mut ec2 = Ec2::new(config(cloud.serve().await)).unwrap();
    let group = ec2.list().await.unwrap();
    assert_eq!(group.targets.len(), 2);
    let zone = group.targets[0].get("__meta_ec2_availability_zone");
    assert_eq!(zone, Some("eu-west-2a"));
}
