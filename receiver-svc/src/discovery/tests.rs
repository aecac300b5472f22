use std::path::Path;

use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use mesh_model::config::Config;
use tokio::{net::TcpListener, time::timeout};

use super::*;

fn scrape_configs(text: &str, folder: &Path) -> Vec<ScrapeConfig> {
    let config = Config::parse(text, &folder.join("prometheus.yml"), &|_| None);
    config.unwrap().scrape_configs
}

fn discovery() -> Discovery {
    Discovery::new(DiscoveryMetrics::default(), Duration::from_millis(5))
}

/// Waits until a job has exactly the expected addresses.
async fn until(jobs: &mut watch::Receiver<Arc<Jobs>>, job: &str, expected: &[&str]) {
    let addresses = |jobs: &Jobs| -> Vec<String> {
        let groups = jobs.get(job).into_iter().flatten();
        let targets = groups.flat_map(|group| &group.targets);
        targets
            .map(|t| t.get("__address__").unwrap().to_owned())
            .collect()
    };
    let seen = jobs.wait_for(|jobs| addresses(jobs) == expected);
    let in_time = timeout(Duration::from_secs(30), seen).await.is_ok();
    assert!(
        in_time,
        "{job}: {:?}, expected {expected:?}",
        addresses(&jobs.borrow())
    );
}

#[tokio::test(start_paused = true)]
async fn publishes_static_targets_at_once_and_runs_equal_mechanisms_once() {
    let mut discovery = discovery();
    let mut jobs = discovery.jobs();
    let text = "scrape_configs:\n\
        - {job_name: a, static_configs: [{targets: ['h:1', 'h:2'], labels: {x: y}}]}\n\
        - {job_name: b, static_configs: [{targets: ['h:1', 'h:2'], labels: {x: y}}]}\n";
    discovery
        .apply(&scrape_configs(text, Path::new("")))
        .await
        .unwrap();
    until(&mut jobs, "a", &["h:1", "h:2"]).await;
    until(&mut jobs, "b", &["h:1", "h:2"]).await;
    assert_eq!(discovery.mechanisms.len(), 1);
    discovery
        .apply(&scrape_configs(
            "scrape_configs:\n- job_name: b\n",
            Path::new(""),
        ))
        .await
        .unwrap();
    until(&mut jobs, "b", &[]).await;
    assert!(!jobs.borrow().contains_key("a"));
}

#[tokio::test(start_paused = true)]
async fn publishes_the_first_targets_at_once_after_an_empty_change() {
    let mut discovery = Discovery::new(DiscoveryMetrics::default(), Duration::from_secs(5));
    let mut jobs = discovery.jobs();
    discovery.shared.changed.notify_one();
    tokio::task::yield_now().await;
    let began = Instant::now();
    let text = "scrape_configs:\n- {job_name: a, static_configs: [{targets: ['h:1']}]}\n";
    let configs = scrape_configs(text, Path::new(""));
    discovery.apply(&configs).await.unwrap();
    until(&mut jobs, "a", &["h:1"]).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn rereads_files_and_keeps_the_targets_of_an_invalid_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.yml", "- targets: ['a:1']\n- targets: ['a:2']\n");
    write("b.json", r#"[{"targets": ["b:1"], "labels": {"k": "v"}}]"#);
    let text = "scrape_configs:\n- job_name: f\n  file_sd_configs: [{files: ['*.yml', '*.json'], refresh_interval: 50ms}]\n";
    let mut discovery = discovery();
    let mut jobs = discovery.jobs();
    discovery
        .apply(&scrape_configs(text, folder.path()))
        .await
        .unwrap();
    until(&mut jobs, "f", &["a:1", "a:2", "b:1"]).await;
    let path = folder.path().join("b.json");
    let groups = jobs.borrow()["f"].clone();
    assert_eq!(groups[2].labels.get("__meta_filepath"), path.to_str());
    assert_eq!(groups[2].labels.get("k"), Some("v"));

    write("a.yml", "- targets: ['a:3']\n");
    std::fs::remove_file(path).unwrap();
    until(&mut jobs, "f", &["a:3"]).await;
    write("a.yml", "targets: oops");
    write("c.yml", "- targets: ['c:1']\n");
    until(&mut jobs, "f", &["a:3", "c:1"]).await;
    // JSON allows no comments, and neither format allows unknown keys.
    write("b.json", "# none\n[{\"targets\": [\"b:2\"]}]");
    write("d.yml", "- targets: ['d:1']\n  label: {}\n");
    write(
        "e.json",
        "[{\"targets\": [\"e:1\"], \"labels\": {\"n\": 1}}]",
    );
    write("c.yml", "- targets: ['c:2']\n  labels: {n: 1}\n");
    until(&mut jobs, "f", &["a:3", "c:2"]).await;
}

#[tokio::test]
async fn picks_up_a_file_change_before_the_refresh_interval() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let text = "scrape_configs:\n- job_name: f\n  file_sd_configs: [{files: ['./t*-*.yml'], refresh_interval: 1d}]\n";
    write("t-1.yml", "- targets: ['a:1', 'http://a/']\n");
    let mut discovery = discovery();
    let mut jobs = discovery.jobs();
    discovery
        .apply(&scrape_configs(text, folder.path()))
        .await
        .unwrap();
    // Discovery passes an invalid address on; the scrape pool reports it.
    until(&mut jobs, "f", &["a:1", "http://a/"]).await;
    write("t-2.yml", "- targets: ['b:1']\n");
    until(&mut jobs, "f", &["a:1", "http://a/", "b:1"]).await;
    std::fs::remove_file(folder.path().join("t-1.yml")).unwrap();
    until(&mut jobs, "f", &["b:1"]).await;
    let labels = jobs.borrow()["f"][0].labels.clone();
    let path = folder.path().join("t-2.yml");
    assert_eq!(labels.get("__meta_filepath"), path.to_str());
}

#[tokio::test]
async fn discovers_targets_in_a_recreated_folder() {
    let folder = tempfile::tempdir().unwrap();
    let targets = folder.path().join("targets");
    let text = "scrape_configs:\n- job_name: f\n  file_sd_configs: [{files: ['targets/*.yml'], refresh_interval: 50ms}]\n";
    let mut discovery = discovery();
    let mut jobs = discovery.jobs();
    discovery
        .apply(&scrape_configs(text, folder.path()))
        .await
        .unwrap();
    for address in ["a:1", "b:1"] {
        std::fs::create_dir(&targets).unwrap();
        let list = format!("- targets: ['{address}']\n");
        std::fs::write(targets.join("t.yml"), list).unwrap();
        until(&mut jobs, "f", &[address]).await;
        std::fs::remove_dir_all(&targets).unwrap();
        until(&mut jobs, "f", &[]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn publishes_a_change_of_several_jobs_at_once_and_constant_changes_per_interval() {
    let mut discovery = Discovery::new(DiscoveryMetrics::default(), UPDATE_INTERVAL);
    let mut jobs = discovery.jobs();
    let text = "scrape_configs:\n\
        - {job_name: a, static_configs: [{targets: ['h:1']}]}\n\
        - {job_name: b, static_configs: [{targets: ['h:2']}]}\n";
    let configs = scrape_configs(text, Path::new(""));
    discovery.apply(&configs).await.unwrap();
    until(&mut jobs, "b", &["h:2"]).await;
    let change = |discovery: &Discovery, mechanism: usize, address: String| {
        discovery.mechanisms[mechanism]
            .input
            .groups
            .update([TargetGroup {
                targets: vec![[("__address__", address)].into_iter().collect()],
                source: "0".to_owned(),
                ..TargetGroup::default()
            }]);
    };
    for round in 3..5 {
        sleep(Duration::from_secs(20)).await;
        let began = Instant::now();
        for (mechanism, job) in ["a", "b"].into_iter().enumerate() {
            let address = format!("h:{round}");
            change(&discovery, mechanism, address.clone());
            until(&mut jobs, job, &[&address]).await;
        }
        assert!(
            began.elapsed() <= MIN_UPDATE_INTERVAL,
            "{:?}",
            began.elapsed()
        );
    }
    let (mut published, mut second) = (0, jobs.clone());
    for change_number in 0..120 {
        change(&discovery, 0, format!("h:{change_number}"));
        sleep(Duration::from_millis(500)).await;
        published += usize::from(second.has_changed().unwrap());
        second.mark_unchanged();
    }
    // 60 s with intervals of 0.1 s to 5 s.
    assert!((12..20).contains(&published), "{published}");
}

#[tokio::test]
async fn keeps_the_targets_of_a_failing_http_endpoint() {
    let answers = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = answers.clone();
    let app = Router::new().route(
        "/targets",
        get(move || async move {
            match counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => (
                    [("content-type", "application/json; charset=utf-8")],
                    r#"[{"targets": ["h:1"]}]"#,
                )
                    .into_response(),
                1 => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
                _ => ([("content-type", "text/html")], "[]").into_response(),
            }
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let text = format!(
        "scrape_configs:\n- job_name: h\n  http_sd_configs: [{{url: 'http://{address}/targets', refresh_interval: 50ms}}]\n"
    );
    let mut discovery = discovery();
    let mut jobs = discovery.jobs();
    discovery
        .apply(&scrape_configs(&text, Path::new("")))
        .await
        .unwrap();
    until(&mut jobs, "h", &["h:1"]).await;
    while answers.load(std::sync::atomic::Ordering::SeqCst) < 5 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until(&mut jobs, "h", &["h:1"]).await;
    let labels = jobs.borrow()["h"][0].labels.clone();
    assert_eq!(
        labels.get("__meta_url"),
        Some(format!("http://{address}/targets").as_str())
    );
}

#[tokio::test]
async fn rejects_an_unsupported_mechanism_by_name() {
    let text = "scrape_configs:\n- {job_name: a, consul_sd_configs: [{}]}\n";
    let mut discovery = discovery();
    let error = discovery
        .apply(&scrape_configs(text, Path::new("")))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("job \"a\": consul_sd_configs is not supported, use")
    );
}

#[tokio::test(start_paused = true)]
async fn keeps_the_targets_of_a_job_during_the_reconfigure_grace() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Accepts connections and never responds.
    let silent = listener.local_addr().unwrap();
    let fixed = "scrape_configs:\n- {job_name: a, static_configs: [{targets: ['h:1']}]}\n";
    let mut discovery = discovery();
    let mut jobs = discovery.jobs();
    let apply = async |discovery: &mut Discovery, text: &str| {
        let configs = scrape_configs(text, folder.path());
        discovery.apply(&configs).await
    };
    apply(&mut discovery, fixed).await.unwrap();
    until(&mut jobs, "a", &["h:1"]).await;
    let began = Instant::now();
    let text = format!(
        "scrape_configs:\n\
         - {{job_name: a, static_configs: [{{targets: ['h:2']}}], http_sd_configs: [{{url: 'http://{silent}'}}]}}\n\
         - {{job_name: b, http_sd_configs: [{{url: 'http://{silent}'}}]}}\n"
    );
    apply(&mut discovery, &text).await.unwrap();
    // A job without previous targets does not wait.
    let published = jobs.wait_for(|jobs| jobs.contains_key("b")).await.unwrap();
    assert_eq!(published["a"][0].targets[0].get("__address__"), Some("h:1"));
    drop(published);
    jobs.wait_for(|jobs| jobs["a"][0].targets[0].get("__address__") == Some("h:2"))
        .await
        .unwrap();
    assert!(began.elapsed() >= RECONFIGURE_GRACE);
}

#[tokio::test]
async fn keeps_running_after_a_rejected_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(folder.path().join("a.yml"), text).unwrap();
    write("- targets: ['a:1']\n");
    let text = "scrape_configs:\n- {job_name: f, file_sd_configs: [{files: ['a.yml'], refresh_interval: 50ms}]}\n";
    let mut discovery = discovery();
    let mut jobs = discovery.jobs();
    let good = scrape_configs(text, folder.path());
    discovery.apply(&good).await.unwrap();
    until(&mut jobs, "f", &["a:1"]).await;
    let bad = format!("{text}- {{job_name: b, consul_sd_configs: [{{}}]}}\n");
    let bad = scrape_configs(&bad, folder.path());
    discovery.apply(&bad).await.unwrap_err();
    write("- targets: ['a:2']\n");
    until(&mut jobs, "f", &["a:2"]).await;
}

#[tokio::test]
async fn an_unreadable_file_hides_and_delays_no_other_target() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.yml", "- targets: ['a:1']\n");
    write("b.yml", "- targets: {}\n");
    let mut discovery = discovery();
    let mut jobs = discovery.jobs();
    let failures = discovery.failures();
    let files = "scrape_configs:\n- job_name: f\n  file_sd_configs: [{files: ['*.yml']}]\n";
    discovery
        .apply(&scrape_configs(files, folder.path()))
        .await
        .unwrap();
    until(&mut jobs, "f", &["a:1"]).await;
    let failed = discovery.first_refresh().await;
    assert_eq!(failed.len(), 1);
    assert!(
        failed[0].contains("b.yml:1:12: expected a list"),
        "{failed:?}"
    );
    assert_eq!(failures.by_job()["f"], failed);
    // The file stays unreadable, and a reload takes effect all the same.
    let began = std::time::Instant::now();
    let more = format!("{files}  static_configs: [{{targets: ['s:1']}}]\n");
    discovery
        .apply(&scrape_configs(&more, folder.path()))
        .await
        .unwrap();
    until(&mut jobs, "f", &["s:1", "a:1"]).await;
    assert!(began.elapsed() < RECONFIGURE_GRACE / 2);
    write("b.yml", "- targets: ['b:1']\n");
    until(&mut jobs, "f", &["s:1", "a:1", "b:1"]).await;
    assert!(failures.by_job().is_empty());
}

#[tokio::test]
async fn a_new_mechanism_that_fails_delays_no_other() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("b.yml"), "nonsense").unwrap();
    let mut discovery = discovery();
    let mut jobs = discovery.jobs();
    let before = "scrape_configs:\n- job_name: f\n  static_configs: [{targets: ['s:1']}]\n";
    discovery
        .apply(&scrape_configs(before, folder.path()))
        .await
        .unwrap();
    until(&mut jobs, "f", &["s:1"]).await;
    let began = std::time::Instant::now();
    let after = before.replace("s:1", "s:2") + "  file_sd_configs: [{files: [b.yml]}]\n";
    discovery
        .apply(&scrape_configs(&after, folder.path()))
        .await
        .unwrap();
    until(&mut jobs, "f", &["s:2"]).await;
    assert!(began.elapsed() < RECONFIGURE_GRACE / 2);
}

#[tokio::test]
async fn refuses_a_target_file_beyond_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.yml"), "- targets: ['a:1']\n").unwrap();
    let mut discovery = discovery().with_max_list_bytes(10);
    let files = "scrape_configs:\n- job_name: f\n  file_sd_configs: [{files: ['*.yml']}]\n";
    discovery
        .apply(&scrape_configs(files, folder.path()))
        .await
        .unwrap();
    let failed = discovery.first_refresh().await;
    assert!(
        failed[0].contains("--discovery.max-list-bytes"),
        "{failed:?}"
    );
}

#[tokio::test]
async fn files_that_are_missing_stop_no_other_job() {
    let folder = tempfile::tempdir().unwrap();
    let text = "scrape_configs:\n\
        - job_name: k\n  kubernetes_sd_configs: [{role: pod, kubeconfig_file: missing}]\n\
        - job_name: h\n  http_sd_configs: [{url: 'https://localhost:1/', tls_config: {ca_file: missing}}]\n\
        - job_name: s\n  static_configs: [{targets: ['s:1']}]\n";
    let mut discovery = discovery();
    let mut jobs = discovery.jobs();
    discovery
        .apply(&scrape_configs(text, folder.path()))
        .await
        .unwrap();
    until(&mut jobs, "s", &["s:1"]).await;
    let failed = discovery.first_refresh().await;
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(
        failed.iter().all(|failure| failure.contains("missing")),
        "{failed:?}"
    );
    let failures = discovery.failures().by_job();
    assert_eq!((failures["k"].len(), failures["h"].len()), (1, 1));
}
