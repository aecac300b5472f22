use std::io::Write;

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::any};
use http::{Method, Uri, header};
use http_body_util::BodyExt;
use mesh_model::config::{
    Secret,
    http::{Auth, OAuth2Config, PemSource, ProxyConfig, TlsConfig},
};
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

mod http1;
mod proxies;
mod resend;
mod secure;
mod streams;

/// Acceptor of HTTP/2 over TLS for `localhost`, and its certificate in PEM.
fn http2_acceptor() -> (TlsAcceptor, String) {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = issued.signing_key.serialize_der().try_into().unwrap();
    let mut tls = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    (TlsAcceptor::from(Arc::new(tls)), issued.cert.pem())
}

/// Requests that a server received.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(Method, String, http::HeaderMap)>>>);

async fn answer(
    State(seen): State<Seen>,
    method: Method,
    uri: Uri,
    headers: http::HeaderMap,
) -> axum::response::Response {
    let by_basic = headers.contains_key(header::AUTHORIZATION);
    seen.0.lock().push((method, uri.to_string(), headers));
    match uri.path() {
        "/loop" => (StatusCode::FOUND, [(header::LOCATION, "/loop")]).into_response(),
        "/moved" => (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, "/here")]).into_response(),
        "/kept" => (
            StatusCode::TEMPORARY_REDIRECT,
            [(header::LOCATION, "/here")],
        )
            .into_response(),
        "/basic" if !by_basic => StatusCode::UNAUTHORIZED.into_response(),
        "/body" if by_basic => StatusCode::UNAUTHORIZED.into_response(),
        "/token" | "/basic" | "/body" => (
            [(header::CONTENT_TYPE, "application/json")],
            r#"{"access_token": "t0k3n", "token_type": "bearer", "expires_in": 3600}"#,
        )
            .into_response(),
        _ => "hello".into_response(),
    }
}

async fn server() -> (String, Seen) {
    let seen = Seen::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(any(answer)).with_state(seen.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (format!("http://{address}"), seen)
}

impl Seen {
    fn last(&self) -> (Method, String, http::HeaderMap) {
        self.0.lock().last().unwrap().clone()
    }

    fn paths(&self) -> Vec<String> {
        let seen = self.0.lock();
        seen.iter().map(|(_, path, _)| path.clone()).collect()
    }

    fn authorization(&self) -> String {
        let (_, _, headers) = self.last();
        headers
            .get(header::AUTHORIZATION)
            .map_or("", |v| v.to_str().unwrap())
            .to_owned()
    }
}

async fn get(config: &HttpClientConfig, url: &str) -> Result<String, HttpClientError> {
    let client = HttpClient::new(config)?;
    let request = Request::get(url).body(Bytes::new()).unwrap();
    let response = client.request(request).await?;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

fn inline(text: &str) -> SecretSource {
    SecretSource::Inline(Secret::new(text))
}

#[tokio::test]
async fn sends_credentials() {
    let (url, seen) = server().await;
    let auth = Some(Auth::Basic {
        username: inline("user"),
        password: Some(inline("pass")),
    });
    get(
        &HttpClientConfig {
            auth,
            ..Default::default()
        },
        &url,
    )
    .await
    .unwrap();
    assert_eq!(seen.authorization(), "Basic dXNlcjpwYXNz");

    let auth = Some(Auth::Authorization {
        scheme: "Token".to_owned(),
        credentials: inline("abc"),
    });
    get(
        &HttpClientConfig {
            auth,
            ..Default::default()
        },
        &url,
    )
    .await
    .unwrap();
    assert_eq!(seen.authorization(), "Token abc");
}

#[tokio::test]
async fn uses_a_rotated_secret() {
    let (url, seen) = server().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"first\n").unwrap();
    let credentials = SecretSource::File(file.path().to_owned());
    let auth = Some(Auth::Authorization {
        scheme: "Bearer".to_owned(),
        credentials,
    });
    let config = HttpClientConfig {
        auth,
        ..Default::default()
    };
    let client = HttpClient::new(&config).unwrap();
    let request = Request::get(&url).body(Bytes::new()).unwrap();
    client.request(request.clone()).await.unwrap();
    assert_eq!(seen.authorization(), "Bearer first");
    std::fs::write(file.path(), "second").unwrap();
    client.request(request.clone()).await.unwrap();
    assert_eq!(seen.authorization(), "Bearer second");
    drop(file);
    let error = client.request(request).await.unwrap_err();
    assert!(matches!(error, HttpClientError::Secret { .. }));
}

#[tokio::test]
async fn caches_a_token() {
    let (url, seen) = server().await;
    let client = HttpClient::new(&with_token(&format!("{url}/token"))).unwrap();
    for _ in 0..3 {
        client
            .request(Request::get(&url).body(Bytes::new()).unwrap())
            .await
            .unwrap();
        assert_eq!(seen.authorization(), "Bearer t0k3n");
    }
    assert_eq!(seen.paths(), ["/token", "/", "/", "/"]);
}

/// Returns settings with a token from `url`.
fn with_token(url: &str) -> HttpClientConfig {
    let oauth2 = OAuth2Config {
        client_id: "id".to_owned(),
        client_secret: inline("s3cret"),
        scopes: Vec::new(),
        token_url: url.parse().unwrap(),
        endpoint_params: Default::default(),
        tls: TlsConfig::default(),
        proxy: ProxyConfig::default(),
    };
    HttpClientConfig {
        auth: Some(Auth::OAuth2(Box::new(oauth2))),
        ..Default::default()
    }
}

#[tokio::test]
async fn sends_the_client_credentials_where_the_token_endpoint_takes_them() {
    for (path, expected) in [
        ("/basic", &["/basic", "/"][..]),
        ("/body", &["/body", "/body", "/"]),
    ] {
        let (url, seen) = server().await;
        get(&with_token(&format!("{url}{path}")), &url)
            .await
            .unwrap();
        assert_eq!(seen.paths(), expected);
        assert_eq!(seen.authorization(), "Bearer t0k3n");
    }
    let (url, _) = server().await;
    let error = get(&with_token(&format!("{url}/loop")), &url).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("oauth2: {url}/loop: ")),
        "{error}"
    );
}

#[tokio::test]
async fn follows_redirects_as_go_does() {
    let (url, seen) = server().await;
    let client = HttpClient::new(&HttpClientConfig::default()).unwrap();
    for (path, method) in [("moved", Method::GET), ("kept", Method::POST)] {
        let request = Request::post(format!("{url}/{path}"))
            .body(Bytes::from("x"))
            .unwrap();
        client.request(request).await.unwrap();
        let (last, uri, _) = seen.last();
        assert_eq!((last, uri.as_str()), (method, "/here"));
    }
    let error = get(&HttpClientConfig::default(), &format!("{url}/loop"))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "redirect: stopped after 10 redirects");
    let config = HttpClientConfig {
        follow_redirects: false,
        ..Default::default()
    };
    get(&config, &format!("{url}/moved")).await.unwrap();
    assert_eq!(seen.last().1, "/moved");
}

#[tokio::test]
async fn sends_no_credentials_to_another_host() {
    let (url, seen) = server().await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = elsewhere.local_addr().unwrap();
    // Another port is the same host, and another name is not.
    let to = format!("{}/stolen", url.replace("127.0.0.1", "localhost"));
    let app = Router::new().fallback(any(move || async move {
        (StatusCode::FOUND, [(header::LOCATION, to)])
    }));
    tokio::spawn(async move { axum::serve(elsewhere, app).await.unwrap() });
    let auth = Some(Auth::Authorization {
        scheme: "Bearer".to_owned(),
        credentials: inline("abc"),
    });
    let config = HttpClientConfig {
        auth,
        http_headers: [("X-Key".to_owned(), vec![inline("k")])].into(),
        ..Default::default()
    };
    get(&config, &format!("http://{address}/")).await.unwrap();
    let (_, path, headers) = seen.last();
    assert_eq!(path, "/stolen");
    assert!(!headers.contains_key(header::AUTHORIZATION) && !headers.contains_key("x-key"));
}

#[tokio::test]
async fn sends_absolute_urls_to_a_proxy() {
    let (proxy, seen) = server().await;
    let proxy = ProxyConfig {
        url: Some(proxy.parse().unwrap()),
        no_proxy: "direct.test:1".to_owned(),
        ..Default::default()
    };
    let config = HttpClientConfig {
        proxy,
        ..Default::default()
    };
    assert_eq!(
        get(&config, "http://far.test/metrics?x=1").await.unwrap(),
        "hello"
    );
    assert_eq!(seen.last().1, "http://far.test/metrics?x=1");
    assert!(get(&config, "http://direct.test:1/").await.is_err());
}

#[tokio::test]
async fn reads_headers_from_values_and_files() {
    let (url, seen) = server().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"first\n").unwrap();
    let values = vec![inline("a"), SecretSource::File(file.path().to_owned())];
    let config = HttpClientConfig {
        http_headers: [("X-Scope".to_owned(), values)].into(),
        ..Default::default()
    };
    let client = HttpClient::new(&config).unwrap();
    for expected in [["a", "first"], ["a", "second"]] {
        let request = Request::get(&url).body(Bytes::new()).unwrap();
        client.request(request).await.unwrap();
        let (_, _, headers) = seen.last();
        let values: Vec<_> = headers.get_all("x-scope").iter().collect();
        assert_eq!(values, expected);
        std::fs::write(file.path(), "second").unwrap();
    }
    drop(file);
    let request = Request::get(&url).body(Bytes::new()).unwrap();
    let error = client.request(request).await.unwrap_err();
    assert!(matches!(error, HttpClientError::Secret { .. }), "{error}");
}
