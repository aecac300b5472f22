//! The admin port every service has: probes, metrics, reload.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::net::TcpListener;

use crate::reload::Reloader;
use mesh_base::shutdown::Shutdown;

/// Whether the service wants traffic: what `/-/ready` answers.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

/// The admin port's state.
#[derive(Clone, Debug)]
pub struct Admin {
    service: &'static str,
    registry: Arc<Registry>,
    readiness: Readiness,
    reloader: Option<Reloader>,
    pages: Vec<&'static str>,
    routes: Router,
}

// === impl Readiness ===

impl Readiness {
    /// Says whether the service wants traffic.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    /// Whether the service wants traffic.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl Admin ===

impl Admin {
    /// An admin port for `service`, which shows the metrics of `registry`.
    pub fn new(service: &'static str, registry: Registry, readiness: Readiness) -> Self {
        Self {
            service,
            registry: Arc::new(registry),
            readiness,
            reloader: None,
            pages: vec!["/metrics", "/-/healthy", "/-/ready"],
            routes: Router::new(),
        }
    }

    /// Lets `POST /-/reload` reload the configuration.
    pub fn with_reload(mut self, reloader: Reloader) -> Self {
        self.reloader = Some(reloader);
        self
    }

    /// Adds a service's own pages; `pages` are linked from the index.
    pub fn with_routes(mut self, pages: &[&'static str], routes: Router) -> Self {
        self.pages.extend(pages);
        self.routes = self.routes.merge(routes);
        self
    }

    /// Serves until it is time to stop, and finishes the requests under way.
    ///
    /// # Errors
    /// Where accepting connections fails for good.
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown) -> std::io::Result<()> {
        axum::serve(listener, self.router())
            .with_graceful_shutdown(async move { shutdown.signaled().await })
            .await
    }

    fn router(self) -> Router {
        let routes = self.routes.clone();
        Router::new()
            .route("/", get(index))
            .route("/-/healthy", get(|| async { "Healthy\n" }))
            .route("/-/ready", get(ready))
            .route("/-/reload", post(reload))
            .route("/metrics", get(metrics))
            .with_state(Arc::new(self))
            .merge(routes)
    }
}

async fn index(State(admin): State<Arc<Admin>>) -> Html<String> {
    let links: String = admin
        .pages
        .iter()
        .map(|page| format!("<li><a href=\"{page}\">{page}</a></li>"))
        .collect();
    let (service, version) = (admin.service, env!("CARGO_PKG_VERSION"));
    Html(format!(
        "<!doctype html><title>{service}</title><h1>promesh {service} {version}</h1><ul>{links}</ul>"
    ))
}

async fn ready(State(admin): State<Arc<Admin>>) -> (StatusCode, &'static str) {
    if admin.readiness.get() {
        (StatusCode::OK, "Ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "Not ready\n")
    }
}

async fn reload(State(admin): State<Arc<Admin>>) -> Response {
    let Some(reloader) = &admin.reloader else {
        let why = "This service has no configuration file to reload\n";
        return (StatusCode::NOT_FOUND, why).into_response();
    };
    match reloader.reload().await {
        Ok(()) => (StatusCode::OK, "Reloaded\n").into_response(),
        Err(error) => {
            let why = format!("Not reloaded, the old configuration stays: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}

/// OpenMetrics for those who ask for it; text 0.0.4 for the rest, without the
/// end marker and the exemplars it does not have.
async fn metrics(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    let mut body = String::new();
    if encode(&mut body, &admin.registry).is_err() {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
        let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        return ([(header::CONTENT_TYPE, content_type)], body).into_response();
    }
    let text = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, text)], plain_text(&body)).into_response()
}

/// OpenMetrics names a counter's family without `_total`; text 0.0.4 with it.
fn plain_text(openmetrics: &str) -> String {
    let mut plain = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        match line
            .strip_prefix("# TYPE ")
            .and_then(|l| l.strip_suffix(" counter"))
        {
            Some(family) => plain.push_str(&format!("# TYPE {family}_total counter")),
            None => plain.push_str(line.split(" # {").next().unwrap_or(line)),
        }
        plain.push('\n');
    }
    plain
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
    use tower::ServiceExt;

    use super::*;

    fn admin(readiness: Readiness) -> Admin {
        let mut registry = Registry::with_prefix("test");
        let counter: Counter = Counter::default();
        counter.inc();
        registry.register("things", "Things", counter);
        registry.register("level", "Level", Gauge::<i64>::default());
        Admin::new("test-svc", registry, readiness)
    }

    async fn ask(admin: &Admin, method: &str, path: &str, accept: &str) -> (StatusCode, String) {
        let request = axum::http::Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, accept)
            .body(axum::body::Body::empty())
            .unwrap();
        let response = admin.clone().router().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_is_what_the_service_says() {
        let readiness = Readiness::default();
        let admin = admin(readiness.clone());
        let (status, _) = ask(&admin, "GET", "/-/ready", "").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        readiness.set(true);
        let (status, _) = ask(&admin, "GET", "/-/ready", "").await;
        assert_eq!(status, StatusCode::OK);
        let (status, _) = ask(&admin, "GET", "/-/healthy", "").await;
        assert_eq!(status, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_come_in_the_format_asked_for() {
        let admin = admin(Readiness::default());
        let (_, plain) = ask(&admin, "GET", "/metrics", "text/plain").await;
        assert!(plain.contains("# TYPE test_things_total counter\ntest_things_total 1\n"));
        assert!(!plain.contains("# EOF"));
        let (_, open) = ask(&admin, "GET", "/metrics", "application/openmetrics-text").await;
        assert!(open.contains("# TYPE test_things counter\n") && open.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn a_service_without_a_file_says_so() {
        let admin = admin(Readiness::default());
        let (status, body) = ask(&admin, "POST", "/-/reload", "").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(body.contains("no configuration file"));
    }
}
