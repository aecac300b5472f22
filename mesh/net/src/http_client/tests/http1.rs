//! Tests HTTP/1 responses as devices send them.

use mesh_base::budget::Budget;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Serves the same bytes for each request, in pieces of `piece` bytes. Closes each connection
/// afterwards.
async fn serve(response: Vec<u8>, piece: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            for piece in response.chunks(piece) {
                // The client closes the connection when it has read a malformed head.
                let _ = stream.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut request).await;
        }
    });
    url
}

async fn fetch(response: &[u8], piece: usize) -> Result<(http::HeaderMap, Bytes), String> {
    let url = serve(response.to_vec(), piece).await;
    let client = HttpClient::new(&HttpClientConfig::default()).unwrap();
    let request = Request::get(&url).body(Bytes::new()).unwrap();
    let response = client.request(request).await;
    let (head, body) = response.map_err(|e| e.to_string())?.into_parts();
    let body = body.collect().await.map_err(|e| e.to_string())?;
    Ok((head.headers, body.to_bytes()))
}

#[tokio::test]
async fn reads_responses_in_pieces_of_any_size() {
    for response in [
        &b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 4\r\n\r\nbody"[..],
        b"HTTP/1.1 200\nA:\n b\nConnection: close\n\nbody",
        b"HTTP/1.0 200 OK\r\nA: b\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nB: c\r\n\r\n\
          HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 4\r\n\r\nbody",
    ] {
        for piece in [1, 7, response.len()] {
            let (headers, body) = fetch(response, piece).await.unwrap();
            assert_eq!(
                (&headers["a"], body.as_ref()),
                (&"b".parse().unwrap(), &b"body"[..])
            );
        }
    }
}

#[tokio::test]
async fn reads_large_heads_and_many_fields() {
    let long = "x".repeat(3 << 20);
    let head = format!("HTTP/1.1 200 OK\r\nA: {long}\r\nContent-Length: 4\r\n\r\nbody");
    let (headers, body) = fetch(head.as_bytes(), head.len()).await.unwrap();
    assert_eq!((headers["a"].len(), &body[..]), (long.len(), &b"body"[..]));
    let fields: String = (0..1000).map(|i| format!("X-{i}: {i}\r\n")).collect();
    let cookies = "Set-Cookie: a=b\r\n".repeat(20_000);
    let head = format!("HTTP/1.1 200 OK\r\n{cookies}{fields}Content-Length: 4\r\n\r\nbody");
    let (headers, body) = fetch(head.as_bytes(), head.len()).await.unwrap();
    assert_eq!(
        (&headers["x-999"], &body[..]),
        (&"999".parse().unwrap(), &b"body"[..])
    );
}

#[tokio::test]
async fn names_what_is_wrong_with_a_head() {
    for (head, expected) in [
        ("\r\nHTTP/1.1 200 OK", r#"malformed status line """#),
        ("ICY 200 OK", r#"malformed status line "ICY 200 OK""#),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity",
            "unsupported Transfer-Encoding",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 4, 4",
            r#"invalid Content-Length "4, 4""#,
        ),
        (
            "HTTP/1.1 200 OK\r\ngarbage",
            r#"malformed header line "garbage""#,
        ),
    ] {
        let response = format!("{head}\r\n\r\nbody");
        let error = fetch(response.as_bytes(), response.len())
            .await
            .unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let endless = "HTTP/1.1 102 Processing\r\n\r\n".repeat(500_000);
    let error = fetch(endless.as_bytes(), endless.len()).await.unwrap_err();
    assert!(
        error.contains("response head of more than 10 MiB"),
        "{error}"
    );
}

#[tokio::test]
async fn an_incomplete_response_is_an_error() {
    for response in [
        "HTTP/1.1 200 O",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbody",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n",
    ] {
        fetch(response.as_bytes(), 100).await.unwrap_err();
    }
}

#[tokio::test]
async fn large_heads_share_a_budget() {
    let budget = Budget::new(1 << 20);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls::client_config(&TlsConfig::default()).unwrap())
        .https_or_http()
        .enable_http1()
        .wrap_connector(Connect::new(&ProxyConfig::default(), None));
    let transport = Transport::with_head_budget(connector, budget.clone());
    let fetch = async |length: usize| {
        let field = "x".repeat(length);
        let head = format!("HTTP/1.1 200 OK\r\nA: {field}\r\nContent-Length: 4\r\n\r\nbody");
        let url = serve(head.into_bytes(), usize::MAX).await;
        let request = Request::get(&url).body(Bytes::new()).unwrap();
        let response = transport.request(request).await?;
        assert!(length < 64 << 10 || budget.peak() > length);
        response.into_body().collect().await.unwrap();
        Ok::<_, TransportError>(())
    };
    fetch(60_000).await.unwrap();
    assert_eq!(budget.peak(), 0);
    for _ in 0..3 {
        fetch(200_000).await.unwrap();
    }
    let error = fetch(300_000).await.unwrap_err().to_string();
    assert!(
        error.contains("all large response heads together use more than 1 MiB"),
        "{error}"
    );
}
