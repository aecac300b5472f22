//! Tests HTTPS: certificates, TLS versions and proxy tunnels.

use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use mesh_base::watched_file;
use mesh_model::config::http::TlsVersion;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use super::*;

/// A server at `localhost` with its self-signed certificate.
struct Secure {
    port: u16,
    certificate: String,
}

/// Responds with a token, the `Authorization` header, or the protocol versions.
fn reply(request: &http::Request<Incoming>, tls: rustls::ProtocolVersion) -> String {
    let authorization = request.headers().get(header::AUTHORIZATION);
    match (request.uri().path(), authorization) {
        ("/token", _) => r#"{"access_token": "t0k3n"}"#.to_owned(),
        (_, Some(authorization)) => authorization.to_str().unwrap().to_owned(),
        (_, None) => format!("{:?} {tls:?}", request.version()),
    }
}

// === impl Secure ===

impl Secure {
    /// Starts a server with these TLS versions. It requires the certificate `client`, if given.
    async fn start(versions: &[TlsVersion], client: Option<&rcgen::Certificate>) -> Self {
        let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = issued.signing_key.serialize_der();
        let key = rustls_pki_types::PrivateKeyDer::try_from(key).unwrap();
        let versions: Vec<_> = versions
            .iter()
            .map(|version| match version {
                TlsVersion::Tls13 => &rustls::version::TLS13,
                _ => &rustls::version::TLS12,
            })
            .collect();
        let builder = ServerConfig::builder_with_provider(tls::provider())
            .with_protocol_versions(&versions)
            .unwrap();
        let builder = match client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let mut roots = RootCertStore::empty();
                roots.add(client.der().clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots.into(), tls::provider());
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut config = builder
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config))));
        Self {
            port,
            certificate: issued.cert.pem(),
        }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/", self.port)
    }

    /// Returns the TLS settings of a client that trusts the server.
    fn tls(&self) -> TlsConfig {
        TlsConfig {
            ca: Some(PemSource::Inline(Secret::new(&self.certificate))),
            ..TlsConfig::default()
        }
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let tls = stream.get_ref().1.protocol_version().unwrap();
            let service = hyper::service::service_fn(move |request| async move {
                Ok::<_, std::convert::Infallible>(Response::new(reply(&request, tls)))
            });
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn with(tls: TlsConfig) -> HttpClientConfig {
    HttpClientConfig {
        tls,
        ..Default::default()
    }
}

const BOTH: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];

#[tokio::test]
async fn verifies_the_server_certificate() {
    let server = Secure::start(&BOTH, None).await;
    get(&with(server.tls()), &server.url()).await.unwrap();
    let by_address = format!("https://127.0.0.1:{}/", server.port);
    assert!(get(&with(server.tls()), &by_address).await.is_err());
    let by_name = TlsConfig {
        server_name: Some("localhost".to_owned()),
        ..server.tls()
    };
    get(&with(by_name), &by_address).await.unwrap();
    let careless = TlsConfig {
        insecure_skip_verify: true,
        ..Default::default()
    };
    get(&with(careless), &by_address).await.unwrap();
    let error = get(&HttpClientConfig::default(), &server.url()).await;
    let error = error.unwrap_err();
    assert!(error.is_tls() && error.to_string().contains("certificate"));
}

#[tokio::test]
async fn uses_http_2_unless_disabled() {
    let server = Secure::start(&BOTH, None).await;
    let mut config = with(server.tls());
    let answer = get(&config, &server.url()).await.unwrap();
    assert_eq!(answer, "HTTP/2.0 TLSv1_3");
    config.enable_http2 = false;
    let answer = get(&config, &server.url()).await.unwrap();
    assert_eq!(answer, "HTTP/1.1 TLSv1_3");
}

/// The network silently drops everything after the first response.
#[tokio::test]
async fn abandons_a_silent_http_2_connection() {
    let server = Secure::start(&BOTH, None).await;
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/", front.local_addr().unwrap().port());
    let swallow = Arc::new(tokio::sync::Notify::new());
    let (port, swallows) = (server.port, swallow.clone());
    let network = tokio::spawn(async move {
        let mut swallowed = Vec::new();
        loop {
            let (mut client, _) = front.accept().await.unwrap();
            let mut behind = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut behind) => {}
                () = swallows.notified() => swallowed.push((client, behind)),
            }
        }
    });
    let client = HttpClient::new(&with(server.tls())).unwrap();
    let get = || client.request(Request::get(&url).body(Bytes::new()).unwrap());
    get().await.unwrap();
    swallow.notify_one();
    // Without pings this request would never end.
    get().await.unwrap_err();
    get().await.unwrap();
    network.abort();
}

#[tokio::test]
async fn limits_the_tls_versions() {
    let both = Secure::start(&BOTH, None).await;
    let bounded = |server: &Secure, min, max| {
        with(TlsConfig {
            min_version: min,
            max_version: max,
            ..server.tls()
        })
    };
    let old = bounded(&both, Some(TlsVersion::Tls10), Some(TlsVersion::Tls12));
    let answer = get(&old, &both.url()).await.unwrap();
    assert_eq!(answer, "HTTP/2.0 TLSv1_2");
    let only_old = Secure::start(&[TlsVersion::Tls12], None).await;
    let new = bounded(&only_old, Some(TlsVersion::Tls13), None);
    assert!(get(&new, &only_old.url()).await.is_err());
    let ancient = bounded(&both, None, Some(TlsVersion::Tls11));
    let error = get(&ancient, &both.url()).await.unwrap_err().to_string();
    assert_eq!(error, "max_version: only TLS 1.2 and 1.3 are supported");
}

#[tokio::test]
async fn uses_a_replaced_client_certificate() {
    let trusted = rcgen::generate_simple_self_signed(vec!["client".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["client".to_owned()]).unwrap();
    let server = Secure::start(&BOTH, Some(&trusted.cert)).await;
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert"), folder.path().join("key"));
    let write = |issued: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        std::fs::write(&cert, issued.cert.pem()).unwrap();
        std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    };
    write(&other);
    let client = HttpClient::new(&with(TlsConfig {
        cert: Some(PemSource::File(cert.clone())),
        key: Some(PemSource::File(key.clone())),
        ..server.tls()
    }))
    .unwrap();
    let ask = async || {
        let request = Request::get(server.url()).body(Bytes::new()).unwrap();
        client.request(request).await
    };
    assert!(ask().await.is_err());
    write(&trusted);
    tokio::time::pause();
    tokio::time::sleep(watched_file::INTERVAL * 2).await;
    tokio::time::resume();
    ask().await.unwrap();
}

#[tokio::test]
async fn uses_a_certificate_that_appears_later() {
    let server = Secure::start(&BOTH, None).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca");
    let client = HttpClient::new(&with(TlsConfig {
        ca: Some(PemSource::File(ca.clone())),
        ..server.tls()
    }))
    .unwrap();
    let ask = async || {
        let request = Request::get(server.url()).body(Bytes::new()).unwrap();
        client.request(request).await
    };
    let error = ask().await.unwrap_err();
    assert!(matches!(error, HttpClientError::Tls(_)), "{error}");
    std::fs::write(&ca, &server.certificate).unwrap();
    ask().await.unwrap();
}

#[tokio::test]
async fn fetches_tokens_over_tls() {
    let server = Secure::start(&BOTH, None).await;
    let oauth2 = OAuth2Config {
        client_id: "id".to_owned(),
        client_secret: inline("s3cret"),
        scopes: Vec::new(),
        token_url: format!("{}token", server.url()).parse().unwrap(),
        endpoint_params: Default::default(),
        tls: server.tls(),
        proxy: ProxyConfig::default(),
    };
    let (target, seen) = super::server().await;
    let config = HttpClientConfig {
        auth: Some(Auth::OAuth2(Box::new(oauth2))),
        ..Default::default()
    };
    get(&config, &target).await.unwrap();
    assert_eq!(seen.authorization(), "Bearer t0k3n");
}

/// Starts a proxy for one tunnel to `port`. Its task returns the head of the request.
async fn proxy(port: u16) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://u:p@{}", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            stream.read_line(&mut head).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tokio::spawn(async move { copy_bidirectional(&mut stream, &mut server).await });
        head.to_lowercase()
    });
    (url, asked)
}

#[tokio::test]
async fn speaks_tls_with_an_https_proxy() {
    let proxy = Secure::start(&BOTH, None).await;
    let mut config = with(proxy.tls());
    config.proxy.url = Some(proxy.url().parse().unwrap());
    let answer = get(&config, "http://far.test/").await.unwrap();
    assert_eq!(answer, "HTTP/1.1 TLSv1_3");
}

#[tokio::test]
async fn sends_the_configured_headers_to_a_proxy() {
    let server = Secure::start(&BOTH, None).await;
    let (url, asked) = proxy(server.port).await;
    let mut config = with(server.tls());
    config.proxy = ProxyConfig {
        url: Some(url.parse().unwrap()),
        connect_header: [("X-Tunnel".to_owned(), vec![Secret::new("a")])].into(),
        ..Default::default()
    };
    let answer = get(&config, &server.url()).await.unwrap();
    assert_eq!(answer, "HTTP/2.0 TLSv1_3");
    let head = asked.await.unwrap();
    let line = format!("connect localhost:{} http/1.1\r\n", server.port);
    assert!(head.starts_with(&line), "{head}");
    assert!(head.contains("x-tunnel: a\r\n"), "{head}");
    assert!(
        head.contains("proxy-authorization: basic dtpw\r\n"),
        "{head}"
    );
}
