//! Monitors of the Prometheus Operator, read from the API server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use stand_ins::kube_api::{Gone, KubeApi};

use crate::receiver::{NONE, Receiver, app, eventually};

/// Starts a receiver without jobs of its own that follows the monitors of `api`.
async fn receiver(api: &KubeApi, folder: &tempfile::TempDir, flags: &[&str]) -> Receiver {
    let kubeconfig = api.write_kubeconfig(folder.path()).unwrap();
    let kubeconfig = format!("--monitors.kubeconfig={}", kubeconfig.display());
    let flags = [&["--monitors.cluster", kubeconfig.as_str()], flags].concat();
    Receiver::start(&[], &flags).await
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    let version = if kind == "ScrapeConfig" {
        "v1alpha1"
    } else {
        "v1"
    };
    json!({
        "apiVersion": format!("monitoring.coreos.com/{version}"), "kind": kind,
        "metadata": {"namespace": "team", "name": name, "labels": {"name": name}},
        "spec": spec,
    })
}

fn scrape_config(name: &str, port: u16) -> Value {
    let targets = [format!("127.0.0.1:{port}")];
    let spec = json!({"staticConfigs": [{"targets": targets, "labels": {"of": name}}]});
    object("ScrapeConfig", name, spec)
}

#[tokio::test(flavor = "multi_thread")]
async fn scrapes_what_monitors_declare_until_they_are_deleted() {
    let api = KubeApi::start().await.unwrap();
    let port = app().await;
    api.apply(scrape_config("one", port));
    let folder = tempfile::tempdir().unwrap();
    let receiver = receiver(&api, &folder, &[]).await;
    let job = "scrapeConfig/team/one";
    receiver.until(job, "of", ["one"]).await;
    api.apply(scrape_config("two", port));
    receiver.until("scrapeConfig/team/two", "of", ["two"]).await;
    api.delete("scrapeconfigs", "team", "one");
    receiver.until(job, "of", NONE).await;
    receiver.until("scrapeConfig/team/two", "of", ["two"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_monitor_is_reported_and_does_not_stop_the_others() {
    let api = KubeApi::start().await.unwrap();
    let port = app().await;
    api.apply(scrape_config("good", port));
    api.apply(object(
        "ServiceMonitor",
        "bad",
        json!({"selector": {}, "endpoints": "none"}),
    ));
    let consul = json!({"consulSDConfigs": [{"server": "c:8500"}]});
    api.apply(object("ScrapeConfig", "consul", consul));
    api.forbid("probes");
    let folder = tempfile::tempdir().unwrap();
    let receiver = receiver(&api, &folder, &[]).await;
    receiver
        .until("scrapeConfig/team/good", "of", ["good"])
        .await;
    assert!((receiver.metric("promesh_receiver_monitors_invalid").await - 2.0).abs() < 0.1);
    let page = receiver.page("/monitors").await;
    let monitors = page["monitors"].as_array().unwrap();
    let of = |name: &str| {
        let mut all = monitors.iter();
        all.find(|monitor| monitor["monitor"] == name).unwrap()
    };
    let bad = of("ServiceMonitor team/bad");
    assert_eq!(bad["field"], "spec.endpoints");
    assert_eq!(bad["message"], "found \"none\", expected a list of objects");
    assert_eq!(of("ScrapeConfig team/consul")["reason"], "unsupported");
    let failure = page["failures"][0].as_str().unwrap();
    assert!(failure.contains("probes"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_jobs_while_the_api_server_is_away() {
    let mut api = KubeApi::start().await.unwrap();
    let port = app().await;
    api.apply(scrape_config("one", port));
    let folder = tempfile::tempdir().unwrap();
    let receiver = receiver(&api, &folder, &[]).await;
    receiver.until("scrapeConfig/team/one", "of", ["one"]).await;
    api.stop().await;
    receiver
        .wait_for_metric("promesh_receiver_discovery_kubernetes_failures_total", 1.0)
        .await;
    assert_eq!(
        receiver.values("scrapeConfig/team/one", "of").await.len(),
        1
    );
    api.apply(scrape_config("two", port));
    api.compact(Gone::Event);
    api.restart().await.unwrap();
    receiver.until("scrapeConfig/team/two", "of", ["two"]).await;
    receiver.until("scrapeConfig/team/one", "of", ["one"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn selects_as_the_named_prometheus_does() {
    let api = KubeApi::start().await.unwrap();
    let port = app().await;
    let prometheus = |selected: &str| {
        json!({
            "apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus",
            "metadata": {"namespace": "team", "name": "main"},
            "spec": {"scrapeConfigSelector": {"matchLabels": {"name": selected}}},
        })
    };
    api.apply(scrape_config("one", port));
    api.apply(scrape_config("two", port));
    api.apply(prometheus("one"));
    let folder = tempfile::tempdir().unwrap();
    let receiver = receiver(&api, &folder, &["--monitors.prometheus=team/main"]).await;
    receiver.until("scrapeConfig/team/one", "of", ["one"]).await;
    receiver.until("scrapeConfig/team/two", "of", NONE).await;
    api.apply(prometheus("two"));
    receiver.until("scrapeConfig/team/two", "of", ["two"]).await;
    receiver.until("scrapeConfig/team/one", "of", NONE).await;
}

/// An app that answers with 401 unless a scrape has its token, which can change.
struct LockedApp {
    port: u16,
    token: Arc<Mutex<&'static str>>,
    /// Number of scrapes with the token since it changed.
    accepted: Arc<AtomicUsize>,
}

impl LockedApp {
    async fn start(token: &'static str) -> Self {
        let token = Arc::new(Mutex::new(token));
        let accepted = Arc::new(AtomicUsize::new(0));
        let (expected, count) = (token.clone(), accepted.clone());
        let answer = async move |headers: axum::http::HeaderMap| {
            let expected = format!("Bearer {}", expected.lock());
            let found = headers.get("authorization");
            let status = if found.is_some_and(|value| *value == *expected) {
                count.fetch_add(1, Ordering::Relaxed);
                axum::http::StatusCode::OK
            } else {
                axum::http::StatusCode::UNAUTHORIZED
            };
            (
                status,
                [("content-type", "text/plain; version=0.0.4")],
                "a 1\n",
            )
        };
        let app = axum::Router::new().route("/metrics", axum::routing::get(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            port,
            token,
            accepted,
        }
    }

    fn change_token(&self, token: &'static str) {
        let mut expected = self.token.lock();
        *expected = token;
        self.accepted.store(0, Ordering::Relaxed);
    }

    async fn accepts(&self) {
        while self.accepted.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_a_secret_again_after_a_401_and_never_shows_it() {
    let api = KubeApi::start().await.unwrap();
    let app = LockedApp::start("old").await;
    let secret = |base64: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "data": {"token": base64},
            "metadata": {"namespace": "team", "name": "creds"},
        })
    };
    // "old" and "new" as base64.
    api.apply(secret("b2xk"));
    let mut monitor = scrape_config("locked", app.port);
    let credentials = json!({"credentials": {"name": "creds", "key": "token"}});
    monitor["spec"]["authorization"] = credentials;
    monitor["spec"]["scrapeInterval"] = json!("1s");
    api.apply(monitor);
    let folder = tempfile::tempdir().unwrap();
    let receiver = receiver(&api, &folder, &[]).await;
    app.accepts().await;
    // The secrets were just read, and would be read again after a minute without a 401.
    app.change_token("new");
    api.apply(secret("bmV3"));
    let accepted = tokio::time::timeout(Duration::from_secs(50), app.accepts());
    assert!(accepted.await.is_ok());
    let page = receiver.page("/monitors").await.to_string();
    assert!(
        page.contains("<secret>") && !page.contains("\"new\""),
        "{page}"
    );
    // Secrets are read one by one, and not listed.
    let requests = api.requests();
    let mut of_secrets = requests
        .iter()
        .filter(|request| request.contains("/secrets"));
    assert!(of_secrets.all(|request| request.ends_with("/namespaces/team/secrets/creds")));
    eventually("no watch of secrets", || api.open_watches("secrets") == 0).await;
}
