//! Failures of real connections.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use mesh_model::config::http::{HttpClientConfig, ProxyConfig, TlsConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::http_client::HttpClient;

/// Starts a server that reads once from each connection, sends `response` and closes it. Returns
/// its address.
async fn server(response: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(response).await;
        }
    });
    address.to_string()
}

/// Returns the description of a request that fails.
async fn failure(config: &HttpClientConfig, url: &str) -> String {
    let client = HttpClient::new(config).unwrap();
    let request = Request::get(url).body(Bytes::new()).unwrap();
    match client.request(request).await {
        Err(error) => error.to_string(),
        Ok(response) => describe(&response.into_body().collect().await.unwrap_err()),
    }
}

#[tokio::test]
async fn names_the_failures_of_plain_connections() {
    let config = HttpClientConfig::default();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let refused = failure(&config, &format!("http://{address}/")).await;
    assert_eq!(refused, "connection refused");
    for (response, expected) in [
        (
            &b""[..],
            "EOF: the server closed the connection without a response",
        ),
        (
            b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
            "malformed status line \"SSH-2.0-OpenSSH_9.6\", expected HTTP/1.1 200 OK",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
            "unexpected EOF: the server closed the connection too early",
        ),
    ] {
        let address = server(response).await;
        let found = failure(&config, &format!("http://{address}/")).await;
        assert_eq!(found, expected, "{response:?}");
    }
    let unknown = failure(&config, "http://name.invalid/").await;
    assert!(unknown.starts_with("lookup name.invalid: "), "{unknown}");
}

#[tokio::test]
async fn names_the_failures_of_tls_connections() {
    let config = HttpClientConfig {
        tls: TlsConfig {
            insecure_skip_verify: true,
            ..TlsConfig::default()
        },
        ..HttpClientConfig::default()
    };
    for (response, expected) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            "server gave HTTP response to HTTPS client, or one that is not TLS; if it serves plain HTTP, set scheme: http",
        ),
        (
            b"",
            "EOF: the server closed the connection during the TLS handshake",
        ),
        // Alert: handshake_failure.
        (
            b"\x15\x03\x03\x00\x02\x02\x28",
            "remote error: tls: handshake failure: the server refused all cipher suites",
        ),
        // Alert: unrecognized_name.
        (
            b"\x15\x03\x03\x00\x02\x02\x70",
            "remote error: tls: unrecognised name",
        ),
    ] {
        let address = server(response).await;
        let found = failure(&config, &format!("https://{address}/")).await;
        assert!(found.starts_with(expected), "{response:?}: {found}");
    }
}

#[tokio::test]
async fn names_the_proxy_that_refuses() {
    for (response, expected) in [
        (
            &b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..],
            "the proxy requires authentication (407)",
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\n\r\n",
            "the proxy refused CONNECT",
        ),
    ] {
        let proxy = server(response).await;
        let config = HttpClientConfig {
            proxy: ProxyConfig {
                url: Some(format!("http://{proxy}").parse().unwrap()),
                ..ProxyConfig::default()
            },
            ..HttpClientConfig::default()
        };
        let found = failure(&config, "https://target.example/").await;
        assert!(found.starts_with(expected), "{found}");
    }
}

#[tokio::test(start_paused = true)]
async fn names_a_timeout_and_errors_of_the_system() {
    let elapsed = tokio::time::timeout(Duration::ZERO, std::future::pending::<()>()).await;
    let timeout = io::Error::new(io::ErrorKind::TimedOut, elapsed.unwrap_err());
    assert_eq!(describe(&timeout), "i/o timeout");
    for (number, expected) in [
        (113, "no route to host"),
        (101, "network is unreachable"),
        (104, "connection reset by peer"),
        (24, "too many open files"),
    ] {
        let error = io::Error::from_raw_os_error(number);
        assert_eq!(describe(&error), expected);
        assert_eq!(describe(&io::Error::other(error)), expected);
    }
    assert_eq!(describe(&io::Error::other("odd")), "odd");
}

#[tokio::test]
async fn names_the_error_code_of_http_2() {
    for (frame, expected) in [
        // GOAWAY, last stream 0, ENHANCE_YOUR_CALM.
        (
            &b"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0b"[..],
            "http2: server sent GOAWAY and closed the connection; ErrCode=ENHANCE_YOUR_CALM",
        ),
        // RST_STREAM of stream 1, INTERNAL_ERROR.
        (
            b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x02",
            "http2: stream error: INTERNAL_ERROR; reset by the server",
        ),
    ] {
        let (client, mut server) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            // The server's settings, then the frame once the request is there.
            let settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00";
            server.write_all(settings).await.unwrap();
            let mut seen = Vec::new();
            while !seen.windows(5).any(|w| w == b"\x01\x05\x00\x00\x00") {
                server.read_buf(&mut seen).await.unwrap();
            }
            server.write_all(frame).await.unwrap();
            std::future::pending::<()>().await;
        });
        let (send, connection) = h2::client::handshake(client).await.unwrap();
        tokio::spawn(connection);
        let mut send = send.ready().await.unwrap();
        let request = Request::get("https://h/").body(()).unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        let error = response.await.unwrap_err();
        assert_eq!(describe(&error), expected);
    }
}

#[tokio::test]
async fn keeps_the_words_of_other_errors_around_a_cause() {
    #[derive(Debug, thiserror::Error)]
    #[error("reading the list")]
    struct Reading(#[source] io::Error);

    let refused = TcpStream::connect("127.0.0.1:0").await.unwrap_err();
    let refused = Reading(refused);
    assert_eq!(describe(&refused), "reading the list: connection refused");
}
