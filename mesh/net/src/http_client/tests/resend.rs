//! Tests which requests are sent again, against scripted servers.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use super::*;

mod http2;

/// Reaction of a server to one request.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Sends these bytes.
    Send(&'static str),
    /// Closes the connection.
    Close,
    /// Resets the connection.
    Reset,
    /// Closes the connection, and opens no other one.
    Stop,
}

use Step::{Close, Reset, Send, Stop};

const OK: Step = Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");

/// Server whose connections follow a script.
struct Scripted {
    url: String,
    requests: Arc<AtomicUsize>,
}

// === impl Scripted ===

impl Scripted {
    /// Starts a server that accepts one connection per element of `connections`. It closes a
    /// connection after the last step.
    async fn start(connections: &[&[Step]]) -> Self {
        let connections: Vec<Vec<Step>> = connections.iter().map(|s| s.to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let count = requests.clone();
        tokio::spawn(async move {
            for steps in connections {
                let (stream, _) = listener.accept().await.unwrap();
                if run(stream, &steps, &count).await.is_none() {
                    return;
                }
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

/// Follows the script of one connection. Returns `None` if it stops the server.
async fn run(stream: TcpStream, steps: &[Step], requests: &AtomicUsize) -> Option<()> {
    let mut stream = BufReader::new(stream);
    for step in steps {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap() == 0 {
                return Some(());
            }
            match line.trim_end().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                None if line == "\r\n" => break,
                _ => {}
            }
        }
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        requests.fetch_add(1, Ordering::Relaxed);
        match step {
            Send(bytes) => stream.write_all(bytes.as_bytes()).await.unwrap(),
            Close => return Some(()),
            Reset => {
                stream.get_ref().set_zero_linger().unwrap();
                return Some(());
            }
            Stop => return None,
        }
    }
    Some(())
}

async fn send(client: &HttpClient, request: Request<Bytes>) -> Result<Bytes, HttpClientError> {
    let response = client.request(request).await?;
    Ok(response.into_body().collect().await.unwrap().to_bytes())
}

fn to(url: &str, method: Method) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    if method == Method::POST {
        *request.body_mut() = Bytes::from("body");
    }
    *request.method_mut() = method;
    *request.uri_mut() = url.parse().unwrap();
    request
}

/// Sends `first`, then `second`, which the server fails on the same connection. Returns the
/// result and the number of requests that the server received.
async fn second(
    connections: &[&[Step]],
    change: impl Fn(&mut Request<Bytes>),
) -> (Result<Bytes, HttpClientError>, usize) {
    let server = Scripted::start(connections).await;
    let client = HttpClient::new(&HttpClientConfig::default()).unwrap();
    send(&client, to(&server.url, Method::GET)).await.unwrap();
    let mut request = to(&server.url, Method::GET);
    change(&mut request);
    let result = send(&client, request).await;
    (result, server.requests())
}

fn post(request: &mut Request<Bytes>) {
    *request.method_mut() = Method::POST;
    *request.body_mut() = Bytes::from("body");
}

#[tokio::test]
async fn resends_when_a_reused_connection_ends_without_a_response() {
    for connections in [&[&[OK, Close][..], &[OK]], &[&[OK, Reset][..], &[OK]]] {
        let (result, requests) = second(connections, |_| {}).await;
        assert_eq!(result.unwrap(), "ok");
        assert_eq!(requests, 3);
    }
}

#[tokio::test]
async fn does_not_resend_after_the_first_byte_of_the_response() {
    let (result, requests) = second(&[&[OK, Send("H")], &[OK]], |_| {}).await;
    result.unwrap_err();
    assert_eq!(requests, 2);
}

#[tokio::test]
async fn does_not_resend_on_a_new_connection() {
    for connections in [&[&[Close][..], &[OK]], &[&[Reset][..], &[OK]]] {
        let server = Scripted::start(connections).await;
        let client = HttpClient::new(&HttpClientConfig::default()).unwrap();
        let result = send(&client, to(&server.url, Method::GET)).await;
        result.unwrap_err();
        assert_eq!(server.requests(), 1);
    }
}

#[tokio::test]
async fn resends_a_post_only_if_the_server_may_process_it_twice() {
    const SCRIPT: &[&[Step]] = &[&[OK, Close], &[OK]];
    let (result, requests) = second(SCRIPT, post).await;
    result.unwrap_err();
    assert_eq!(requests, 2);
    let replayable = |request: &mut Request<Bytes>| {
        post(request);
        request.extensions_mut().insert(Replayable);
    };
    let (result, requests) = second(SCRIPT, replayable).await;
    assert_eq!((result.unwrap(), requests), ("ok".into(), 3));
    let keyed = |request: &mut Request<Bytes>| {
        post(request);
        let value = HeaderValue::from_static("1");
        request.headers_mut().insert("idempotency-key", value);
    };
    let (result, requests) = second(SCRIPT, keyed).await;
    assert_eq!((result.unwrap(), requests), ("ok".into(), 3));
}

/// A caller must not conclude that the server received nothing.
#[tokio::test]
async fn a_refused_connection_does_not_hide_an_attempt_that_may_have_arrived() {
    let (result, requests) = second(&[&[OK, Stop]], |_| {}).await;
    let HttpClientError::Connection(error) = result.unwrap_err() else {
        panic!("not a connection error");
    };
    assert!(!error.is_connect(), "{error}");
    assert!(error.to_string().starts_with("sent again: "), "{error}");
    assert_eq!(requests, 2);
    let client = HttpClient::new(&HttpClientConfig::default()).unwrap();
    let refused = send(&client, to("http://127.0.0.1:1/", Method::GET));
    let HttpClientError::Connection(error) = refused.await.unwrap_err() else {
        panic!("not a connection error");
    };
    assert!(error.is_connect(), "{error}");
}
