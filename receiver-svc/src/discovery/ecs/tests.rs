use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use mesh_model::labels::ADDRESS;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;

use super::*;
use crate::discovery::aws::test_config;

/// A fake of the ECS and the EC2 API, with one cluster of three tasks.
#[derive(Clone, Default)]
struct Cloud(Arc<Mutex<CloudState>>);

#[derive(Default)]
struct CloudState {
    /// Action, body and authorization of each request.
    requests: Vec<(String, String, String)>,
    rejecting: bool,
}

const CLUSTER: &str = "arn:aws:ecs:eu-west-2:1:cluster/shop";
const INSTANCES: &str = r#"<DescribeInstancesResponse><reservationSet><item><instancesSet><item>
    <instanceId>i-1</instanceId><instanceType>t3.large</instanceType><subnetId>subnet-9</subnetId>
    <privateIpAddress>10.0.0.9</privateIpAddress><ipAddress>192.0.2.9</ipAddress>
    <tagSet><item><key>Name</key><value>host</value></item></tagSet>
  </item></instancesSet></item></reservationSet></DescribeInstancesResponse>"#;
const INTERFACES: &str = r#"<DescribeNetworkInterfacesResponse><networkInterfaceSet><item>
    <networkInterfaceId>eni-1</networkInterfaceId><association><publicIp>192.0.2.1</publicIp></association>
  </item><item><networkInterfaceId>eni-2</networkInterfaceId></item></networkInterfaceSet></DescribeNetworkInterfacesResponse>"#;

/// Answers an action of the ECS API.
fn answer(action: &str, body: &Value) -> Value {
    let interface = |id: &str, ip: &str| {
        let detail = |name: &str, value: &str| json!({"name": name, "value": value});
        let details = [
            detail("subnetId", "subnet-1"),
            json!({"name": "macAddress"}),
            detail("networkInterfaceId", id),
            detail("privateIPv4Address", ip),
        ];
        json!([{"type": "ElasticNetworkInterface", "details": details}])
    };
    match (action, body["nextToken"].as_str()) {
        ("ListClusters", None) => json!({"clusterArns": [CLUSTER], "nextToken": "2"}),
        ("ListClusters", Some(_)) => json!({"clusterArns": []}),
        ("DescribeClusters", _) => json!({"clusters": [
            {"clusterArn": CLUSTER, "clusterName": "shop", "tags": [{"key": "team/x", "value": "a"}]},
        ]}),
        ("ListServices", _) => json!({"serviceArns": ["s-1"]}),
        ("DescribeServices", _) => json!({"services": [
            {"serviceArn": "s-1", "serviceName": "web", "status": "ACTIVE", "tags": [{"key": "tier", "value": "1"}]},
        ]}),
        ("ListTasks", _) => json!({"taskArns": ["t-1", "t-2", "t-3"]}),
        ("DescribeTasks", _) => json!({"tasks": [
            {
                "taskArn": "t-1", "taskDefinitionArn": "d-1", "group": "service:web",
                "launchType": "FARGATE", "desiredStatus": "RUNNING", "lastStatus": "RUNNING",
                "healthStatus": "HEALTHY", "availabilityZone": "eu-west-2a",
                "platformFamily": "Linux", "platformVersion": "1.4.0",
                "attachments": interface("eni-1", "10.0.0.1"),
                "tags": [{"key": "run", "value": "7"}],
            },
            {
                "taskArn": "t-2", "group": "family:batch", "launchType": "EC2",
                "healthStatus": "UNKNOWN", "containerInstanceArn": "ci-1",
            },
            {"taskArn": "t-3", "launchType": "EC2", "containerInstanceArn": "ci-unknown"},
        ]}),
        ("DescribeContainerInstances", _) => json!({"containerInstances": [
            {"containerInstanceArn": "ci-1", "ec2InstanceId": "i-1"},
        ]}),
        (other, _) => panic!("{other}"),
    }
}

async fn serve(State(cloud): State<Cloud>, headers: HeaderMap, body: String) -> Response {
    let header = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let authorization = header("authorization").unwrap();
    let form = url::form_urlencoded::parse(body.as_bytes()).into_owned();
    let in_form = form
        .filter(|(name, _)| name == "Action")
        .map(|(_, action)| action)
        .next();
    let target = header("x-amz-target");
    let action = target
        .as_ref()
        .map(|t| t.rsplit('.').next().unwrap().to_owned());
    let action = action.or(in_form).unwrap();
    let mut state = cloud.0.lock();
    let rejecting = state.rejecting;
    state
        .requests
        .push((action.clone(), body.clone(), authorization));
    drop(state);
    match action.as_str() {
        "DescribeInstances" => INSTANCES.into_response(),
        "DescribeNetworkInterfaces" => INTERFACES.into_response(),
        _ if rejecting => {
            let problem = r#"{"__type": "AccessDeniedException", "Message": "no"}"#;
            (StatusCode::BAD_REQUEST, problem).into_response()
        }
        action => {
            assert!(
                target
                    .unwrap()
                    .starts_with("AmazonEC2ContainerServiceV20141113.")
            );
            assert_eq!(headers["content-type"], "application/x-amz-json-1.1");
            answer(action, &serde_json::from_str(&body).unwrap())
                .to_string()
                .into_response()
        }
    }
}

// === impl Cloud ===

impl Cloud {
    /// Creates a mechanism that talks to this cloud.
    async fn ecs(&self, clusters: &[&str]) -> Ecs {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/", post(serve))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let config = AwsClustersConfig {
            aws: test_config(endpoint, 9100),
            clusters: clusters.iter().map(|name| (*name).to_owned()).collect(),
            request_concurrency: 20,
        };
        let client = HttpClient::new(&config.aws.http).unwrap();
        let ec2 = Api::new(&config.aws, "ec2", client);
        Ecs {
            ec2,
            ..Ecs::new(config).unwrap()
        }
    }
}

#[tokio::test]
async fn makes_a_labeled_target_of_every_task_with_an_address() {
    let cloud = Cloud::default();
    let group = cloud.ecs(&[]).await.list().await.unwrap();
    assert_eq!(group.source, "eu-west-2");
    let [on_fargate, on_ec2] = &group.targets[..] else {
        panic!("{group:?}")
    };
    let expected = [
        (ADDRESS, "10.0.0.1:9100"),
        ("__meta_ecs_availability_zone", "eu-west-2a"),
        ("__meta_ecs_cluster", "shop"),
        ("__meta_ecs_cluster_arn", CLUSTER),
        ("__meta_ecs_desired_status", "RUNNING"),
        ("__meta_ecs_health_status", "HEALTHY"),
        ("__meta_ecs_ip_address", "10.0.0.1"),
        ("__meta_ecs_last_status", "RUNNING"),
        ("__meta_ecs_launch_type", "FARGATE"),
        ("__meta_ecs_network_mode", "awsvpc"),
        ("__meta_ecs_platform_family", "Linux"),
        ("__meta_ecs_platform_version", "1.4.0"),
        ("__meta_ecs_public_ip", "192.0.2.1"),
        ("__meta_ecs_region", "eu-west-2"),
        ("__meta_ecs_service", "web"),
        ("__meta_ecs_service_arn", "s-1"),
        ("__meta_ecs_service_status", "ACTIVE"),
        ("__meta_ecs_subnet_id", "subnet-1"),
        ("__meta_ecs_tag_cluster_team_x", "a"),
        ("__meta_ecs_tag_service_tier", "1"),
        ("__meta_ecs_tag_task_run", "7"),
        ("__meta_ecs_task_arn", "t-1"),
        ("__meta_ecs_task_definition", "d-1"),
        ("__meta_ecs_task_group", "service:web"),
    ];
    assert_eq!(*on_fargate, expected.into_iter().collect());
    let expected = [
        (ADDRESS, "10.0.0.9:9100"),
        ("__meta_ecs_cluster", "shop"),
        ("__meta_ecs_cluster_arn", CLUSTER),
        ("__meta_ecs_container_instance_arn", "ci-1"),
        ("__meta_ecs_ec2_instance_id", "i-1"),
        ("__meta_ecs_ec2_instance_private_ip", "10.0.0.9"),
        ("__meta_ecs_ec2_instance_public_ip", "192.0.2.9"),
        ("__meta_ecs_ec2_instance_type", "t3.large"),
        ("__meta_ecs_health_status", "UNKNOWN"),
        ("__meta_ecs_ip_address", "10.0.0.9"),
        ("__meta_ecs_launch_type", "EC2"),
        ("__meta_ecs_network_mode", "bridge"),
        ("__meta_ecs_public_ip", "192.0.2.9"),
        ("__meta_ecs_region", "eu-west-2"),
        ("__meta_ecs_subnet_id", "subnet-9"),
        ("__meta_ecs_tag_cluster_team_x", "a"),
        ("__meta_ecs_tag_ec2_Name", "host"),
        ("__meta_ecs_task_arn", "t-2"),
        ("__meta_ecs_task_group", "family:batch"),
    ];
    assert_eq!(*on_ec2, expected.into_iter().collect());
    let requests = std::mem::take(&mut cloud.0.lock().requests);
    for (action, _, authorization) in &requests {
        let ec2 = ["DescribeInstances", "DescribeNetworkInterfaces"].contains(&action.as_str());
        let service = if ec2 { "ec2" } else { "ecs" };
        assert!(authorization.contains(&format!("/eu-west-2/{service}/aws4_request")));
    }
}

#[tokio::test]
async fn lists_the_configured_clusters_only() {
    let cloud = Cloud::default();
    cloud.ecs(&["shop"]).await.list().await.unwrap();
    let requests = std::mem::take(&mut cloud.0.lock().requests);
    let (action, body, _) = &requests[0];
    assert_eq!(action, "DescribeClusters");
    assert_eq!(*body, r#"{"clusters":["shop"],"include":["TAGS"]}"#);
}

#[tokio::test]
async fn reports_the_aws_error() {
    let cloud = Cloud::default();
    cloud.0.lock().rejecting = true;
    let error = cloud.ecs(&[]).await.list().await.unwrap_err().to_string();
    assert!(error.contains("ListClusters"), "{error}");
    assert!(error.contains("AccessDeniedException: no"), "{error}");
}
