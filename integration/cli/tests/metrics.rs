//! Compares docs/metrics.md with the metrics of running services, and checks them with promtool.

#[path = "metrics/promtool.rs"]
mod promtool;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use harness::{
    in_process::{InProcess, Running},
    launcher::Service,
    metrics::Metrics,
    spec::Role,
    topology::{Mesh, Topology},
};
use stand_ins::{
    amp::{Amp, AmpOptions},
    sample_app::{SampleApp, SampleAppArgs},
};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(90);
/// Cluster whose API server does not answer.
const KUBECONFIG: &str = "{apiVersion: v1, kind: Config, current-context: c,
clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}],
users: [{name: c, user: {}}],
contexts: [{name: c, context: {cluster: c, user: c}}]}
";
/// Environment variable that lets the test write the table instead of comparing it.
const UPDATE: &str = "PROMESH_UPDATE_DOCS";
const HEAD: &str = "# Metrics

All metrics of the services, as `/metrics` of each admin port shows them in text 0.0.4. A test starts the
services and compares this table with them; `PROMESH_UPDATE_DOCS=1 cargo test -p integration --test
metrics` writes it.

- A histogram has the series `_bucket`, `_sum` and `_count`.
- The label `destination` of `outbox_` metrics is empty unless the exporters write to several destinations.
- The uptime of a process is `time() - process_start_time_seconds`.
";

/// Family of metrics, as a page shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Adds the families of a page in text 0.0.4.
fn parse(page: &str, families: &mut BTreeMap<String, Family>) {
    let mut name = String::new();
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (family, help) = help.split_once(' ').unwrap();
            family.clone_into(&mut name);
            families.entry(name.clone()).or_default().help = help.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (family, kind) = kind.split_once(' ').unwrap();
            assert_eq!(family, name, "TYPE without HELP");
            families.get_mut(&name).unwrap().kind = kind.to_owned();
        } else if let Some((_, labels)) = line.split_once('{') {
            assert!(line.starts_with(&name), "{line} after the family {name}");
            let (labels, _) = labels.rsplit_once('}').unwrap();
            let labels = labels.split("\",").filter_map(|it| it.split_once('='));
            let labels = labels.map(|(label, _)| label.trim_matches(',').to_owned());
            let labels = labels.filter(|label| label != "le");
            families.get_mut(&name).unwrap().labels.extend(labels);
        }
    }
}

/// Renders the families of a service.
fn table(service: &str, families: &BTreeMap<String, Family>) -> String {
    let mut table =
        format!("\n## {service}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for (name, Family { kind, help, labels }) in families {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (labels, help) = (labels.join(", "), help.trim_end_matches('.'));
        writeln!(table, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
    }
    table
}

async fn start(app: &SampleApp, amp: &Amp, folder: &Path) -> Mesh<Running> {
    let config = folder.join("prometheus.yml");
    // Nothing listens on port 1.
    let text = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs:\n\
         - {{job_name: app, static_configs: [{{targets: ['{}']}}]}}\n\
         - {{job_name: down, static_configs: [{{targets: ['127.0.0.1:1']}}]}}\n\
         - {{job_name: pods, kubernetes_sd_configs: [{{role: pod, api_server: 'http://127.0.0.1:1'}}]}}\n\
         remote_write:\n\
         - {{name: one, url: '{url}', sigv4: {{region: eu-west-1, access_key: a, secret_key: b}}}}\n\
         - {{name: two, url: '{url}'}}\n",
        app.address(),
        url = amp.remote_write_url(),
    );
    fs::write(&config, text).unwrap();
    let kubeconfig = folder.join("kubeconfig");
    fs::write(&kubeconfig, KUBECONFIG).unwrap();
    let monitors = [
        "--monitors.cluster".to_owned(),
        format!("--monitors.kubeconfig={}", kubeconfig.display()),
    ];
    let topology = Topology::with_config_file(&config);
    let topology = topology.exporters(1).receivers(2).gateways(1);
    let topology = topology.flags(Role::Receiver, monitors);
    topology.start(&InProcess).await.unwrap()
}

/// Pages of the services, by the name of the service.
async fn pages(mesh: &Mesh<Running>) -> Vec<(&'static str, String)> {
    let services = mesh.all().map(|it| it.addresses().web);
    let mut pages = Vec::new();
    for web in services {
        let page = Metrics::fetch(web).await.unwrap().into_text();
        let service = ["receiver-svc", "exporter-svc", "gateway"];
        let is_of = |it: &&str| page.contains(&format!("promesh_build_info{{service=\"{it}\""));
        pages.push((service.into_iter().find(is_of).unwrap(), page));
    }
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_metrics_agrees_with_the_services() {
    let options = AmpOptions {
        keys: None,
        ..AmpOptions::default()
    };
    let amp = Amp::start(options).await.unwrap();
    let args = SampleAppArgs {
        load: 5,
        change_interval: Duration::ZERO,
    };
    let app = SampleApp::start(&args).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mesh = start(&app, &amp, folder.path()).await;
    let scraped = async {
        loop {
            let (mut up, mut down, mut stored, mut connected) = (0.0, 0.0, 0.0, 0.0);
            for receiver in &mesh.receivers {
                let metrics = Metrics::fetch(receiver.addresses().web).await.unwrap();
                let health = "promesh_receiver_targets_health";
                up += metrics.sum_where(health, r#"health="up""#);
                down += metrics.sum_where(health, r#"health="down""#);
                stored += metrics.sum("promesh_receiver_outbox_delivery_delay_seconds_count");
                connected += metrics.sum("promesh_receiver_exporters_connected");
            }
            if up == 1.0 && down == 1.0 && stored > 0.0 && connected == 2.0 {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT, scraped).await.unwrap();
    let pages = pages(&mesh).await;
    mesh.stop().await.unwrap();

    let mut document = HEAD.to_owned();
    for service in ["receiver-svc", "exporter-svc", "gateway"] {
        let mut families = BTreeMap::new();
        for (_, page) in pages.iter().filter(|(of, _)| *of == service) {
            parse(page, &mut families);
        }
        document.push_str(&table(service, &families));
    }
    let path = root().join("docs/metrics.md");
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, &document).unwrap();
    }
    let actual = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        actual == document,
        "docs/metrics.md differs from the services: set {UPDATE}=1 to write it\n{document}"
    );
    for (service, page) in &pages {
        promtool::check_metrics(service, page);
    }
}
