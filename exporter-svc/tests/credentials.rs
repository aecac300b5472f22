//! Sources of AWS credentials, and the reaction to rejected ones.
//!
//! Loopback stand-ins take the place of AWS. The exporter runs in its own process
//! because the provider chain reads the environment.

use std::{
    collections::VecDeque, net::SocketAddr, path::PathBuf, process::Stdio, sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{any, post},
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient,
    },
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// Stand-in for a backend and for AWS, which records requests and responds as scripted.
#[derive(Clone, Default)]
struct Cloud(Arc<Mutex<CloudState>>);

#[derive(Default)]
struct CloudState {
    /// Access key ID and signing time of each remote-write request.
    writes: Vec<(String, String)>,
    /// Requests for credentials: method, path with query, form and token.
    requests: Vec<String>,
    /// Status codes of the next remote-write responses; 200 if empty.
    script: VecDeque<StatusCode>,
    /// Lead of the `Date` header over the local clock.
    ahead: Duration,
}

/// Exporter process.
struct Exporter {
    _process: Child,
    grpc: SocketAddr,
    directory: tempfile::TempDir,
}

// === impl Cloud ===

impl Cloud {
    async fn serve(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new()
            .route("/api/v1/remote_write", post(remote_write))
            .fallback(any(aws))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        address
    }

    fn keys(&self) -> Vec<String> {
        self.0
            .lock()
            .writes
            .iter()
            .map(|(key, _)| key.clone())
            .collect()
    }

    fn requests(&self) -> String {
        self.0.lock().requests.join("\n")
    }
}

async fn remote_write(State(cloud): State<Cloud>, headers: HeaderMap) -> Response {
    let mut cloud = cloud.0.lock();
    let authorization = headers["authorization"].to_str().unwrap();
    let key = authorization.split(['=', '/']).nth(1).unwrap().to_owned();
    // A proxy may remove a configured header, so it is not signed.
    assert_eq!(headers["x-tenant"], "t");
    assert!(!authorization.contains("x-tenant"), "{authorization}");
    let date = headers["x-amz-date"].to_str().unwrap().to_owned();
    cloud.writes.push((key, date));
    let status = cloud.script.pop_front().unwrap_or(StatusCode::OK);
    let date = httpdate::fmt_http_date(std::time::SystemTime::now() + cloud.ahead);
    (status, [("date", date)]).into_response()
}

/// Returns credentials whose key has a sequence number.
async fn aws(State(cloud): State<Cloud>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 16).await.unwrap();
    let mut cloud = cloud.0.lock();
    let form = String::from_utf8(body.to_vec()).unwrap();
    let token = head
        .headers
        .get("authorization")
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    cloud
        .requests
        .push(format!("{} {} {form} {token}", head.method, head.uri));
    let key = format!("KEY{}", cloud.requests.len());
    match head.uri.path() {
        "/latest/api/token" => {
            ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], "token").into_response()
        }
        "/latest/meta-data/iam/security-credentials/"
        | "/latest/meta-data/iam/security-credentials" => "role".into_response(),
        "/" => sts(&form, &key).into_response(),
        _ => json(&key).into_response(),
    }
}

/// Response of the Pod Identity agent and of IMDS.
fn json(key: &str) -> String {
    format!(
        r#"{{"Code":"Success","Type":"AWS-HMAC","LastUpdated":"2026-01-01T00:00:00Z",
        "AccessKeyId":"{key}","SecretAccessKey":"secret","Token":"token",
        "Expiration":"2099-01-01T00:00:00Z"}}"#
    )
}

/// Response of STS.
fn sts(form: &str, key: &str) -> String {
    let action = form
        .split('&')
        .find_map(|pair| pair.strip_prefix("Action="))
        .unwrap();
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>\
         <AssumedRoleUser><AssumedRoleId>id</AssumedRoleId><Arn>arn:aws:sts::1:assumed-role/role/session</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
         <SessionToken>token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
         </Credentials></{action}Result></{action}Response>"
    )
}

// === impl Exporter ===

impl Exporter {
    /// Starts an exporter with this `sigv4` section and only these environment
    /// variables. `DIR` in a variable is a directory with the files `token`, `config`
    /// and `credentials`.
    async fn start(cloud: SocketAddr, sigv4: &str, variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| -> PathBuf { directory.path().join(name) };
        std::fs::write(path("token"), "a-web-identity-token").unwrap();
        std::fs::write(path("config"), "").unwrap();
        std::fs::write(path("credentials"), profile("PROFILE")).unwrap();
        let file = format!(
            "remote_write:\n  - url: http://{cloud}/api/v1/remote_write\n    headers: {{X-Tenant: t}}\n    sigv4: {sigv4}\n"
        );
        std::fs::write(path("prometheus.yml"), file).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_exporter-svc"));
        command
            .env_clear()
            .env("AWS_CONFIG_FILE", path("config"))
            .env("AWS_SHARED_CREDENTIALS_FILE", path("credentials"))
            .env("AWS_ENDPOINT_URL_STS", format!("http://{cloud}"))
            .arg(format!(
                "--config.file={}",
                path("prometheus.yml").display()
            ))
            .args([
                "--grpc.listen-address=127.0.0.1:0",
                "--web.listen-address=127.0.0.1:0",
            ])
            .arg("--log.format=json")
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for (name, value) in variables {
            let value = value.replace("DIR", directory.path().to_str().unwrap());
            command.env(name, value.replace("CLOUD", &cloud.to_string()));
        }
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut log = Vec::new();
        let grpc = loop {
            let line = lines.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("the exporter ended: {}", log.join("\n")));
            if let Ok(line) = serde_json::from_str::<serde_json::Value>(&line)
                && line["message"] == "Exporter ready"
            {
                break line["grpc"].as_str().unwrap().parse().unwrap();
            }
            log.push(line);
        };
        // Drains the log so that the process does not block on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            _process: process,
            grpc,
            directory,
        }
    }

    async fn export(&self) -> Result<(), tonic::Status> {
        let data_points = vec![NumberDataPoint {
            time_unix_nano: 1,
            ..Default::default()
        }];
        let metric = Metric {
            name: "m".to_owned(),
            data: Some(Data::Gauge(Gauge { data_points })),
            ..Default::default()
        };
        let scope = ScopeMetrics {
            metrics: vec![metric],
            ..Default::default()
        };
        let resource = ResourceMetrics {
            scope_metrics: vec![scope],
            ..Default::default()
        };
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![resource],
        };
        let url = format!("http://{}", self.grpc);
        let mut client = MetricsServiceClient::connect(url).await.unwrap();
        client.export(request).await.map(drop)
    }
}

/// Credentials file with one profile.
fn profile(key: &str) -> String {
    format!("[other]\naws_access_key_id = {key}\naws_secret_access_key = secret\n")
}

/// Runs an exporter and returns the key that signed its request, and the requests for
/// credentials.
async fn key(sigv4: &str, variables: &[(&str, &str)]) -> (String, String) {
    let cloud = Cloud::default();
    let exporter = Exporter::start(cloud.serve().await, sigv4, variables).await;
    exporter.export().await.unwrap();
    (cloud.keys().remove(0), cloud.requests())
}

const NO_IMDS: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");

#[tokio::test]
async fn uses_keys_of_the_configuration() {
    let sigv4 = "{region: r, access_key: STATIC, secret_key: secret}";
    assert_eq!(key(sigv4, &[NO_IMDS]).await.0, "STATIC");
}

#[tokio::test]
async fn uses_keys_of_the_environment() {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "ENV"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    let region = [("AWS_REGION", "eu-west-1")];
    let variables: Vec<_> = variables.into_iter().chain(region).collect();
    assert_eq!(key("{}", &variables).await.0, "ENV");
}

#[tokio::test]
async fn uses_a_profile() {
    assert_eq!(
        key("{region: r, profile: other}", &[NO_IMDS]).await.0,
        "PROFILE"
    );
}

#[tokio::test]
async fn reloads_rotated_keys_of_a_profile() {
    let cloud = Cloud::default();
    let sigv4 = "{region: r, profile: other}";
    let exporter = Exporter::start(cloud.serve().await, sigv4, &[NO_IMDS]).await;
    exporter.export().await.unwrap();
    std::fs::write(
        exporter.directory.path().join("credentials"),
        profile("NEW"),
    )
    .unwrap();
    let rejection = [StatusCode::FORBIDDEN];
    cloud.0.lock().script.extend(rejection);
    exporter.export().await.unwrap();
    assert_eq!(cloud.keys(), ["PROFILE", "PROFILE", "NEW"]);
}

#[tokio::test]
async fn assumes_a_role_with_web_identity() {
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "DIR/token"),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/irsa"),
        NO_IMDS,
    ];
    let (key, requests) = key("{region: us-east-1}", &variables).await;
    assert_eq!(key, "KEY1");
    assert!(
        requests.contains("Action=AssumeRoleWithWebIdentity"),
        "{requests}"
    );
    assert!(
        requests.contains("WebIdentityToken=a-web-identity-token"),
        "{requests}"
    );
}

#[tokio::test]
async fn reloads_a_rotated_web_identity_token() {
    let cloud = Cloud::default();
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "DIR/token"),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/irsa"),
        NO_IMDS,
    ];
    let sigv4 = "{region: us-east-1}";
    let exporter = Exporter::start(cloud.serve().await, sigv4, &variables).await;
    // Kubernetes rotates the token before the session expires.
    std::fs::write(exporter.directory.path().join("token"), "rotated").unwrap();
    let rejection = [StatusCode::FORBIDDEN];
    cloud.0.lock().script.extend(rejection);
    exporter.export().await.unwrap();
    assert_eq!(cloud.keys(), ["KEY1", "KEY2"]);
    let requests = cloud.requests();
    assert!(requests.contains("WebIdentityToken=rotated"), "{requests}");
}

#[tokio::test]
async fn uses_pod_identity() {
    let variables = [
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://CLOUD/v1/credentials",
        ),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "DIR/token"),
        NO_IMDS,
    ];
    let (key, requests) = key("{region: us-east-1}", &variables).await;
    assert_eq!(key, "KEY1");
    assert!(requests.contains("GET /v1/credentials"), "{requests}");
    assert!(requests.contains("a-web-identity-token"), "{requests}");
}

#[tokio::test]
async fn uses_the_instance_role() {
    let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://CLOUD")];
    let (key, requests) = key("{region: us-east-1}", &variables).await;
    assert!(key.starts_with("KEY"), "{key}");
    assert!(requests.contains("PUT /latest/api/token"), "{requests}");
}

#[tokio::test]
async fn assumes_a_role() {
    let sigv4 = "{region: us-east-1, access_key: STATIC, secret_key: secret, \
                 role_arn: 'arn:aws:iam::2:role/writer', external_id: shared, session_name: my-prom, \
                 tags: {team: x}}";
    let (key, requests) = key(sigv4, &[NO_IMDS]).await;
    assert_eq!(key, "KEY1");
    assert!(requests.contains("Action=AssumeRole&"), "{requests}");
    assert!(requests.contains("ExternalId=shared"), "{requests}");
    assert!(requests.contains("RoleSessionName=my-prom"), "{requests}");
    let tag = "Tags.member.1.Key=team&Tags.member.1.Value=x";
    assert!(requests.contains(tag), "{requests}");
    assert!(requests.contains("Credential=STATIC/"), "{requests}");
}

#[tokio::test]
async fn refreshes_once_after_a_rejected_signature() {
    let cloud = Cloud::default();
    let variables = [
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "http://CLOUD/v1/credentials",
        ),
        NO_IMDS,
    ];
    let exporter = Exporter::start(cloud.serve().await, "{region: r}", &variables).await;
    cloud.0.lock().script.extend([StatusCode::FORBIDDEN]);
    exporter.export().await.unwrap();
    assert_eq!(cloud.keys(), ["KEY1", "KEY2"]);
    cloud.0.lock().script.extend([StatusCode::FORBIDDEN]);
    let status = exporter.export().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    // The new credentials are rejected as well, so the exporter does not refresh again.
    assert_eq!(cloud.keys(), ["KEY1", "KEY2", "KEY2"]);
}

#[tokio::test]
async fn corrects_the_clock_by_the_date_of_the_backend() {
    let cloud = Cloud::default();
    let sigv4 = "{region: r, access_key: STATIC, secret_key: secret}";
    let exporter = Exporter::start(cloud.serve().await, sigv4, &[NO_IMDS]).await;
    {
        let mut cloud = cloud.0.lock();
        cloud.script.push_back(StatusCode::FORBIDDEN);
        cloud.ahead = Duration::from_secs(86_400);
    }
    exporter.export().await.unwrap();
    let dates: Vec<_> = cloud
        .0
        .lock()
        .writes
        .iter()
        .map(|(_, date)| date[..8].to_owned())
        .collect();
    assert!(dates[0] < dates[1], "{dates:?}");
}

#[tokio::test]
async fn missing_credentials_lead_to_a_retry() {
    let cloud = Cloud::default();
    let exporter = Exporter::start(cloud.serve().await, "{region: r}", &[NO_IMDS]).await;
    let status = exporter.export().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.message().contains("no credentials"), "{status:?}");
    assert!(cloud.keys().is_empty());
}
