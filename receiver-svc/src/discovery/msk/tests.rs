use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use mesh_model::labels::ADDRESS;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::discovery::aws::test_config;

/// A fake of the MSK API, with a provisioned and a serverless cluster. Keeps the path and the
/// authorization of each request.
#[derive(Clone, Default)]
struct Cloud(Arc<Mutex<Vec<(String, String)>>>);

const CLUSTER: &str = "arn:aws:kafka:eu-west-2:1:cluster/shop/1";
const ENCODED: &str = "arn%3Aaws%3Akafka%3Aeu-west-2%3A1%3Acluster%2Fshop%2F1";

async fn serve(State(cloud): State<Cloud>, request: Request) -> Response {
    let path = request.uri().to_string();
    let authorization = request.headers()["authorization"]
        .to_str()
        .unwrap()
        .to_owned();
    cloud.0.lock().push((path.clone(), authorization));
    let cluster = json!({
        "clusterArn": CLUSTER, "clusterName": "shop", "clusterType": "PROVISIONED",
        "state": "ACTIVE", "currentVersion": "K1", "tags": {"team/x": "a"},
        "provisioned": {
            "currentBrokerSoftwareInfo": {"kafkaVersion": "3.6.0", "configurationArn": "c-1", "configurationRevision": 2},
            "openMonitoring": {"prometheus": {
                "jmxExporter": {"enabledInBroker": true}, "nodeExporter": {"enabledInBroker": false},
            }},
        },
    });
    let broker = json!({
        "nodeARN": "n-1", "nodeType": "BROKER", "addedToClusterTime": "2026-01-01T00:00:00Z",
        "instanceType": "kafka.m5.large",
        "brokerNodeInfo": {
            "attachedENIId": "eni-1", "brokerId": 1.0, "clientSubnet": "subnet-1",
            "clientVpcIpAddress": "10.0.0.1", "endpoints": ["b-1.shop", "b-1.shop.internal"],
        },
    });
    let controller = json!({"nodeARN": "n-2", "controllerNodeInfo": {"endpoints": ["c-1.shop"]}});
    let nodes = format!("/v1/clusters/{ENCODED}/nodes?maxResults=100");
    let answer = match path.as_str() {
        "/api/v2/clusters?clusterTypeFilter=PROVISIONED&maxResults=100" => {
            json!({"clusterInfoList": [], "nextToken": "a+b"})
        }
        "/api/v2/clusters?clusterTypeFilter=PROVISIONED&maxResults=100&nextToken=a%2Bb" => {
            json!({"clusterInfoList": [cluster]})
        }
        path if *path == format!("/api/v2/clusters/{ENCODED}") => json!({"clusterInfo": cluster}),
        "/api/v2/clusters/serverless" => json!({"clusterInfo": {"clusterType": "SERVERLESS"}}),
        path if *path == nodes => json!({"nodeInfoList": [broker], "nextToken": "2"}),
        path if *path == format!("{nodes}&nextToken=2") => {
            json!({"nodeInfoList": [controller, {"nodeARN": "zookeeper"}]})
        }
        _ => return (StatusCode::NOT_FOUND, r#"{"message": "no such cluster"}"#).into_response(),
    };
    answer.to_string().into_response()
}

// === impl Cloud ===

impl Cloud {
    /// Creates a mechanism that talks to this cloud.
    async fn msk(&self, clusters: &[&str]) -> Msk {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/", listener.local_addr().unwrap());
        let app = Router::new().fallback(serve).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let aws = test_config(endpoint, 11001);
        Msk::new(AwsClustersConfig {
            aws,
            clusters: clusters.iter().map(|name| (*name).to_owned()).collect(),
            request_concurrency: 10,
        })
        .unwrap()
    }
}

#[tokio::test]
async fn makes_a_labeled_target_of_every_endpoint_of_a_node() {
    let cloud = Cloud::default();
    let group = cloud.msk(&[]).await.list().await.unwrap();
    let [first, second, controller] = &group.targets[..] else {
        panic!("{group:?}")
    };
    let cluster = [
        ("__meta_msk_cluster_arn", CLUSTER),
        ("__meta_msk_cluster_configuration_arn", "c-1"),
        ("__meta_msk_cluster_configuration_revision", "2"),
        ("__meta_msk_cluster_jmx_exporter_enabled", "true"),
        ("__meta_msk_cluster_kafka_version", "3.6.0"),
        ("__meta_msk_cluster_name", "shop"),
        ("__meta_msk_cluster_state", "ACTIVE"),
        ("__meta_msk_cluster_tag_team_x", "a"),
        ("__meta_msk_cluster_type", "PROVISIONED"),
        ("__meta_msk_cluster_version", "K1"),
    ];
    let broker = [
        (ADDRESS, "b-1.shop:11001"),
        ("__meta_msk_broker_client_subnet", "subnet-1"),
        ("__meta_msk_broker_client_vpc_ip", "10.0.0.1"),
        ("__meta_msk_broker_endpoint_index", "0"),
        ("__meta_msk_broker_id", "1"),
        ("__meta_msk_broker_node_exporter_enabled", "false"),
        ("__meta_msk_node_added_time", "2026-01-01T00:00:00Z"),
        ("__meta_msk_node_arn", "n-1"),
        ("__meta_msk_node_attached_eni", "eni-1"),
        ("__meta_msk_node_instance_type", "kafka.m5.large"),
        ("__meta_msk_node_type", "BROKER"),
    ];
    assert_eq!(*first, cluster.into_iter().chain(broker).collect());
    assert_eq!(second.get(ADDRESS), Some("b-1.shop.internal:11001"));
    assert_eq!(second.get("__meta_msk_broker_endpoint_index"), Some("1"));
    for (name, value) in [
        (ADDRESS, "c-1.shop:11001"),
        ("__meta_msk_controller_endpoint_index", "0"),
        ("__meta_msk_node_type", "CONTROLLER"),
    ] {
        assert_eq!(controller.get(name), Some(value));
    }
    assert_eq!(controller.get("__meta_msk_broker_id"), None);
    for (_, authorization) in &*cloud.0.lock() {
        assert!(authorization.contains("/eu-west-2/kafka/aws4_request"));
    }
}

#[tokio::test]
async fn lists_the_configured_clusters_that_have_nodes() {
    let cloud = Cloud::default();
    let group = cloud
        .msk(&["serverless", CLUSTER])
        .await
        .list()
        .await
        .unwrap();
    assert_eq!(group.targets.len(), 3);
    let error = cloud
        .msk(&["gone"])
        .await
        .list()
        .await
        .unwrap_err()
        .to_string();
    for part in ["DescribeClusterV2", "404", "no such cluster"] {
        assert!(error.contains(part), "{error}");
    }
}
