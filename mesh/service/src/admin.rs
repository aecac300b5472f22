//! The admin port of a service: probes, metrics and reloads.

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
use mesh_base::shutdown::Shutdown;
use mesh_net::server::Accept;
use prometheus_client::{
    encoding::text::{encode_eof, encode_registry},
    registry::Registry,
};

use crate::{html::escape, process, reload::Reloader, web::WebServer};

/// Readiness of a service, as reported by `/-/ready`. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

/// Serves the admin port of a service.
#[derive(Clone, Debug)]
pub struct Admin {
    service: &'static str,
    registry: Arc<Registry>,
    process: Arc<Registry>,
    readiness: Readiness,
    reloader: Option<Reloader>,
    pages: Vec<&'static str>,
    routes: Router,
}

// === impl Readiness ===

impl Readiness {
    /// Sets whether the service accepts traffic.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    /// Returns true if the service accepts traffic.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl Admin ===

impl Admin {
    /// Creates the admin port of `service`, with the metrics of `registry` and of the process.
    pub fn new(service: &'static str, registry: Registry, readiness: Readiness) -> Self {
        Self {
            service,
            registry: Arc::new(registry),
            process: Arc::new(process::registry(service)),
            readiness,
            reloader: None,
            pages: vec!["/metrics", "/-/healthy", "/-/ready"],
            routes: Router::new(),
        }
    }

    /// Enables `POST /-/reload`.
    pub fn with_reload(mut self, reloader: Reloader) -> Self {
        self.reloader = Some(reloader);
        self
    }

    /// Adds routes of the service. The index page links to `pages`.
    pub fn with_routes(mut self, pages: &[&'static str], routes: Router) -> Self {
        self.pages.extend(pages);
        self.routes = self.routes.merge(routes);
        self
    }

    /// Serves requests until shutdown, then completes those in flight.
    pub async fn serve<L: Accept>(self, server: WebServer<L>, shutdown: Shutdown) {
        server.serve(self.router(), shutdown).await;
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
    let (service, version) = (admin.service, crate::VERSION);
    let failure = admin.reloader.as_ref().and_then(Reloader::failure);
    let failure = failure.map_or_else(String::new, |failure| {
        format!(
            "<p><strong>The configuration file is not in use:</strong> {}</p>",
            escape(&failure)
        )
    });
    Html(format!(
        "<!doctype html><title>{service}</title><h1>promesh {service} {version}</h1>{failure}<ul>{links}</ul>"
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
            let why = format!("Reload failed, keeping the old configuration: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
        }
    }
}

/// Returns the metrics, in OpenMetrics if the client accepts it and in text 0.0.4 otherwise.
async fn metrics(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    let mut body = String::new();
    let encoded = encode_registry(&mut body, &admin.registry)
        .and_then(|()| encode_registry(&mut body, &admin.process))
        .and_then(|()| encode_eof(&mut body));
    if encoded.is_err() {
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

/// Converts OpenMetrics to text 0.0.4, where the family name of a counter ends in `_total`.
/// Removes the end marker, units and exemplars, which text 0.0.4 does not have.
fn plain_text(openmetrics: &str) -> String {
    let mut plain = String::with_capacity(openmetrics.len());
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        // HELP comes before TYPE, which says that the family is a counter.
        let metadata = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' '));
        let next = lines.peek().copied();
        match (counter_family(line), metadata) {
            (Some(family), _) => plain.push_str(&format!("# TYPE {family}_total counter")),
            (None, Some((family, help))) if next.and_then(counter_family) == Some(family) => {
                plain.push_str(&format!("# HELP {family}_total {help}"));
            }
            _ => plain.push_str(without_exemplar(line)),
        }
        plain.push('\n');
    }
    plain
}

/// Removes the exemplar at the end of a sample. Comments and label values may contain the text
/// that begins one.
fn without_exemplar(line: &str) -> &str {
    if line.starts_with('#') {
        return line;
    }
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ' ' if !is_quoted && line[at..].starts_with(" # {") => return &line[..at],
            _ => {}
        }
    }
    line
}

/// Returns the family name in the TYPE line of a counter.
fn counter_family(line: &str) -> Option<&str> {
    line.strip_prefix("# TYPE ")?.strip_suffix(" counter")
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
    use tower::ServiceExt;

    use super::*;
    use crate::reload;

    fn admin(readiness: Readiness) -> Admin {
        let mut registry = Registry::with_prefix("test");
        let counter: Counter = Counter::default();
        counter.inc();
        registry.register("things", "Things", counter);
        registry.register("level", "Level", Gauge::<i64>::default());
        Admin::new("test-svc", registry, readiness)
    }

    async fn send(admin: &Admin, method: &str, path: &str, accept: &str) -> (StatusCode, String) {
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

    #[test]
    fn removes_exemplars_only() {
        for (line, expected) in [
            ("a 1 # {t=\"x\"} 1", "a 1"),
            ("a{l=\" # {\"} 1 # {t=\"x\"} 1", "a{l=\" # {\"} 1"),
            ("a{l=\"\\\" # {\"} 1", "a{l=\"\\\" # {\"} 1"),
            (
                "# HELP a Lines that begin with # {",
                "# HELP a Lines that begin with # {",
            ),
            ("a 1", "a 1"),
        ] {
            assert_eq!(without_exemplar(line), expected);
        }
    }

    #[tokio::test]
    async fn reports_the_readiness_of_the_service() {
        let readiness = Readiness::default();
        let admin = admin(readiness.clone());
        let (status, _) = send(&admin, "GET", "/-/ready", "").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        readiness.set(true);
        let (status, _) = send(&admin, "GET", "/-/ready", "").await;
        assert_eq!(status, StatusCode::OK);
        let (status, _) = send(&admin, "GET", "/-/healthy", "").await;
        assert_eq!(status, StatusCode::OK);
    }

    #[tokio::test]
    async fn returns_metrics_in_the_accepted_format() {
        let admin = admin(Readiness::default());
        let (_, plain) = send(&admin, "GET", "/metrics", "text/plain").await;
        let counter = "# HELP test_things_total Things.\n\
                       # TYPE test_things_total counter\n\
                       test_things_total 1\n";
        assert!(plain.contains(counter), "{plain}");
        assert!(plain.contains("# HELP test_level Level.\n# TYPE test_level gauge\n"));
        assert!(plain.contains("promesh_build_info{service=\"test-svc\""));
        assert!(!plain.contains("# EOF"));
        let (_, open) = send(&admin, "GET", "/metrics", "application/openmetrics-text").await;
        assert!(open.contains("# HELP test_things Things.\n# TYPE test_things counter\n"));
        assert!(open.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn the_index_page_shows_why_the_configuration_file_is_not_in_use() {
        let (reloader, mut requests) = reload::channel(&mut Registry::default());
        let admin = admin(Readiness::default()).with_reload(reloader.clone());
        let (_, body) = send(&admin, "GET", "/", "").await;
        assert!(!body.contains("not in use"), "{body}");
        let service = async { requests.next().await.respond(Err("line 3: <b>")) };
        let (result, ()) = tokio::join!(reloader.reload(), service);
        assert!(result.is_err());
        let (_, body) = send(&admin, "GET", "/", "").await;
        let expected = "not in use:</strong> line 3: &lt;b&gt;</p>";
        assert!(body.contains(expected), "{body}");
    }

    #[tokio::test]
    async fn rejects_a_reload_without_a_configuration_file() {
        let admin = admin(Readiness::default());
        let (status, body) = send(&admin, "POST", "/-/reload", "").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(body.contains("no configuration file"));
    }
}
