//! GET, LIST and WATCH over HTTP.

use std::io;

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Query, State as Extract},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use futures::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    Cluster, Gone,
    objects::{Change, kind},
    selector::Selector,
};

/// Query parameters of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RequestParams {
    watch: bool,
    limit: Option<usize>,
    r#continue: Option<String>,
    resource_version: Option<u64>,
    label_selector: Option<String>,
    field_selector: Option<String>,
    allow_watch_bookmarks: bool,
}

/// State of one open watch.
struct WatchStream {
    cluster: Cluster,
    resource: String,
    selector: Selector,
    metadata: bool,
    bookmarks: bool,
    /// Resource version of the last change that was sent.
    version: u64,
    versions: watch::Receiver<u64>,
    connections: watch::Receiver<u64>,
    /// Set after the last chunk.
    finished: bool,
}

pub(super) fn router(cluster: Cluster) -> Router {
    Router::new().fallback(answer).with_state(cluster)
}

async fn answer(
    Extract(cluster): Extract<Cluster>,
    uri: Uri,
    Query(params): Query<RequestParams>,
    headers: HeaderMap,
) -> Response {
    let Some((resource, namespace, name)) = resource(uri.path()) else {
        return status(
            404,
            &format!("{} is not a resource of the stand-in", uri.path()),
        );
    };
    let accept = headers.get(header::ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok());
    let metadata = accept.is_some_and(|accept| accept.contains("as=PartialObjectMetadata"));
    let selector = Selector::parse(
        namespace.clone(),
        params.label_selector.as_deref(),
        params.field_selector.as_deref(),
    );
    let selector = match selector {
        Ok(selector) => selector,
        Err(error) => return status(400, &error),
    };
    {
        let mut state = cluster.state();
        state.requests.push(uri.to_string());
        let authorization = headers.get(header::AUTHORIZATION);
        let authorization = authorization.and_then(|value| value.to_str().ok());
        state
            .authorizations
            .extend(authorization.map(str::to_owned));
        if metadata {
            state.metadata_only.insert(resource.clone());
        }
        if let Some(code) = state.failures.pop() {
            return status(code, "failure requested by the test");
        }
        if state.forbidden.contains(&resource) {
            let verb = match name {
                Some(_) => "get",
                None if params.watch => "watch",
                None => "list",
            };
            let message = format!("{resource} is forbidden: the test cannot {verb} it");
            return status(403, &message);
        }
    }
    if let Some(name) = name {
        let namespace = namespace.unwrap_or_default();
        let state = cluster.state();
        return match state.objects.get(&resource, &namespace, &name) {
            Some(object) => Json(object.clone()).into_response(),
            None => status(404, &format!("{resource} {name:?} not found")),
        };
    }
    if params.watch {
        return watch(cluster, resource, selector, metadata, &params);
    }
    list(&cluster, &resource, &selector, metadata, &params)
}

/// Parses a path into its resource, namespace and name.
fn resource(path: &str) -> Option<(String, Option<String>, Option<String>)> {
    let mut parts = path.trim_matches('/').split('/');
    match parts.next()? {
        "api" => parts.next(),
        "apis" => parts.next().and_then(|_| parts.next()),
        _ => None,
    }?;
    let rest: Vec<_> = parts.collect();
    let (resource, namespace, name) = match rest.as_slice() {
        [resource] => (*resource, None, None),
        ["namespaces", namespace, resource] => (*resource, Some(*namespace), None),
        ["namespaces", namespace, resource, name] => (*resource, Some(*namespace), Some(*name)),
        _ => return None,
    };
    kind(resource)?;
    Some((
        resource.to_owned(),
        namespace.map(str::to_owned),
        name.map(str::to_owned),
    ))
}

fn list(
    cluster: &Cluster,
    resource: &str,
    selector: &Selector,
    metadata: bool,
    params: &RequestParams,
) -> Response {
    let mut state = cluster.state();
    // The continue token is the number of objects in the pages before.
    let from = params
        .r#continue
        .as_deref()
        .and_then(|token| token.parse().ok());
    if from.is_none() {
        *state.list_counts.entry(resource.to_owned()).or_default() += 1;
    }
    let from = from.unwrap_or(0);
    let all: Vec<_> = state
        .objects
        .of(resource)
        .filter(|o| selector.matches(o))
        .collect();
    let to = all.len().min(from + params.limit.unwrap_or(all.len()));
    let items = all.get(from..to).unwrap_or_default();
    let items: Vec<_> = items.iter().map(|object| shown(object, metadata)).collect();
    let version = state.objects.version().to_string();
    let mut meta = json!({ "resourceVersion": version });
    if to < all.len() {
        meta["continue"] = json!(to.to_string());
    }
    let kind = if metadata {
        "PartialObjectMetadata"
    } else {
        kind(resource).unwrap_or_default()
    };
    let kind = format!("{kind}List");
    Json(json!({"apiVersion": "v1", "kind": kind, "metadata": meta, "items": items}))
        .into_response()
}

fn watch(
    cluster: Cluster,
    resource: String,
    selector: Selector,
    metadata: bool,
    params: &RequestParams,
) -> Response {
    let version = params.resource_version.unwrap_or_default();
    {
        let mut state = cluster.state();
        if state.gone == Gone::Status && state.objects.since(version).is_none() {
            return status(410, "too old resource version");
        }
        *state.open_watches.entry(resource.clone()).or_default() += 1;
    }
    let watch = WatchStream {
        versions: cluster.0.version.subscribe(),
        connections: cluster.0.connections.subscribe(),
        cluster: cluster.clone(),
        resource,
        selector,
        metadata,
        bookmarks: params.allow_watch_bookmarks,
        version,
        finished: false,
    };
    let chunks = stream::unfold(watch, WatchStream::next);
    (
        [(header::CONTENT_TYPE, "application/json")],
        Body::from_stream(chunks),
    )
        .into_response()
}

// === impl WatchStream ===

impl WatchStream {
    /// Returns the next chunk: all changes since the last one.
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if self.finished {
            return None;
        }
        loop {
            let changes = self.cluster.state().objects.since(self.version);
            let Some(changes) = changes else {
                self.finished = true;
                let gone = body(410, "too old resource version");
                return Some((Ok(line("ERROR", &gone)), self));
            };
            if let Some(last) = changes.last() {
                self.version = last.version;
                let lines: Vec<_> = changes.iter().flat_map(|c| self.line(c)).collect();
                if !lines.is_empty() {
                    return Some((Ok(lines.concat().into()), self));
                }
                if self.bookmarks {
                    let version = self.version.to_string();
                    let bookmark = json!({"kind": kind(&self.resource), "apiVersion": "v1", "metadata": {"resourceVersion": version}});
                    return Some((Ok(line("BOOKMARK", &bookmark)), self));
                }
            }
            let cut = tokio::select! {
                changed = self.versions.changed() => changed.is_err(),
                _ = self.connections.changed() => true,
            };
            if cut {
                self.finished = true;
                return Some((Err(io::ErrorKind::ConnectionReset.into()), self));
            }
        }
    }

    /// Formats a change as an event of this watch. Returns `None` if the watch does not
    /// cover the object.
    fn line(&self, change: &Change) -> Option<Bytes> {
        if change.resource != self.resource {
            return None;
        }
        let seen = |object: &Option<Value>| object.clone().filter(|o| self.selector.matches(o));
        let (event, object) = match (seen(&change.before), seen(&change.after)) {
            (None, Some(after)) => ("ADDED", after),
            (Some(_), Some(after)) => ("MODIFIED", after),
            (Some(mut before), None) => {
                let version = change.version.to_string();
                before["metadata"]["resourceVersion"] = json!(version);
                ("DELETED", before)
            }
            (None, None) => return None,
        };
        Some(line(event, &shown(&object, self.metadata)))
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        let mut state = self.cluster.state();
        if let Some(open) = state.open_watches.get_mut(&self.resource) {
            *open -= 1;
        }
    }
}

fn line(event: &str, object: &Value) -> Bytes {
    format!("{}\n", json!({"type": event, "object": object})).into()
}

fn shown(object: &Value, metadata: bool) -> Value {
    if metadata {
        json!({
            "apiVersion": "meta.k8s.io/v1",
            "kind": "PartialObjectMetadata",
            "metadata": object["metadata"],
        })
    } else {
        object.clone()
    }
}

fn status(code: u16, message: &str) -> Response {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(body(code, message))).into_response()
}

/// Builds a `Status` object of the Kubernetes API.
fn body(code: u16, message: &str) -> Value {
    let reason = match code {
        403 => "Forbidden",
        410 => "Expired",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code, "reason": reason, "message": message,
    })
}
