//! Tests which requests are sent again over HTTP/2, against a server of single frames.

use tokio_rustls::server::TlsStream;

use super::*;

/// Reaction of the server to one request.
#[derive(Clone, Copy, Debug)]
enum Reaction {
    /// Responds with status 200.
    Ok,
    /// Responds with a field of this many bytes.
    Large(usize),
    /// Resets the stream with this code.
    Reset(u32),
    /// Ends the connection with this code, before the stream of the request.
    GoAway(u32),
}

use Reaction::{GoAway, Large, Ok as Answer, Reset as ResetStream};

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;
const ACK: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

fn reaction(reaction: Reaction, stream: u32) -> Vec<u8> {
    match reaction {
        // The one byte is ":status: 200" in the static table of HPACK.
        Answer => frame(1, 5, stream, &[0x88]),
        Large(length) => large(length, stream),
        ResetStream(code) => frame(3, 0, stream, &code.to_be_bytes()),
        GoAway(code) => {
            let last = (stream - 1).saturating_sub(1);
            let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
            frame(7, 0, 0, &payload)
        }
    }
}

/// Returns the frames of a response with the field `a` of `length` bytes.
fn large(length: usize, stream: u32) -> Vec<u8> {
    // ":status: 200", then a literal field with a new name (RFC 7541, section 6.2.2).
    let mut fields = vec![0x88, 0, 1, b'a', 0x7f];
    let mut rest = length - 0x7f;
    while rest >= 0x80 {
        fields.push(u8::try_from(rest % 0x80).unwrap() | 0x80);
        rest /= 0x80;
    }
    fields.push(u8::try_from(rest).unwrap());
    fields.resize(fields.len() + length, b'x');
    let mut pieces = fields.chunks(16 << 10).peekable();
    let mut frames = frame(1, 1, stream, pieces.next().unwrap());
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_some() { 0 } else { 4 };
        frames.extend(frame(9, flags, stream, piece));
    }
    frames
}

/// Reacts to the requests of one connection. Counts them.
async fn connection(
    mut stream: TlsStream<TcpStream>,
    reactions: &[Reaction],
    requests: &AtomicUsize,
) -> std::io::Result<()> {
    let mut reactions = reactions.iter();
    stream.read_exact(&mut [0; 24]).await?;
    stream.write_all(&frame(4, 0, 0, &[])).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        match kind {
            1 => {
                requests.fetch_add(1, Ordering::Relaxed);
                let next = reactions.next().expect("no more requests");
                let bytes = reaction(*next, u32::from_be_bytes(id));
                stream.write_all(&bytes).await?;
            }
            4 | 6 if flags & ACK == 0 => {
                let answer: &[u8] = if kind == 6 { &payload } else { &[] };
                stream.write_all(&frame(kind, ACK, 0, answer)).await?;
            }
            _ => {}
        }
    }
}

/// Sends `requests` to a server with these connections, one after the other. Returns the
/// last result and the number of requests that the server received.
async fn exchange(
    connections: &[&[Reaction]],
    requests: &[Method],
) -> (Result<Bytes, HttpClientError>, usize) {
    let connections: Vec<Vec<Reaction>> = connections.iter().map(|r| r.to_vec()).collect();
    let (acceptor, certificate) = http2_acceptor();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://localhost:{}/",
        listener.local_addr().unwrap().port()
    );
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        for reactions in connections {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = acceptor.accept(stream).await.unwrap();
            let counter = counter.clone();
            tokio::spawn(async move { connection(stream, &reactions, &counter).await });
        }
    });
    let config = HttpClientConfig {
        tls: TlsConfig {
            ca: Some(PemSource::Inline(Secret::new(certificate))),
            ..TlsConfig::default()
        },
        ..HttpClientConfig::default()
    };
    let client = HttpClient::new(&config).unwrap();
    let (last, before) = requests.split_last().unwrap();
    for method in before {
        send(&client, to(&url, method.clone())).await.unwrap();
    }
    let result = send(&client, to(&url, last.clone())).await;
    (result, count.load(Ordering::Relaxed))
}

#[tokio::test]
async fn resends_a_refused_stream() {
    for method in [Method::GET, Method::POST] {
        let script = &[&[ResetStream(REFUSED_STREAM), Answer][..]];
        let (result, requests) = exchange(script, &[method]).await;
        result.unwrap();
        assert_eq!(requests, 2);
    }
}

#[tokio::test]
async fn resends_what_a_go_away_excludes() {
    for code in [NO_ERROR, ENHANCE_YOUR_CALM] {
        let script: &[&[Reaction]] = match code {
            NO_ERROR => &[&[Answer, GoAway(NO_ERROR)], &[Answer]],
            _ => &[&[Answer, GoAway(ENHANCE_YOUR_CALM)], &[Answer]],
        };
        let (result, requests) = exchange(script, &[Method::GET, Method::POST]).await;
        result.unwrap();
        assert_eq!(requests, 3);
    }
    let (result, requests) = exchange(&[&[GoAway(NO_ERROR)], &[Answer]], &[Method::GET]).await;
    result.unwrap();
    assert_eq!(requests, 2);
}

#[tokio::test]
async fn does_not_resend_when_a_new_connection_ends_with_an_error() {
    let script = &[&[GoAway(ENHANCE_YOUR_CALM)][..], &[Answer]];
    let (result, requests) = exchange(script, &[Method::GET]).await;
    result.unwrap_err();
    assert_eq!(requests, 1);
}

#[tokio::test]
async fn resends_on_a_new_connection_after_a_protocol_error() {
    const SCRIPT: &[&[Reaction]] = &[&[Answer, ResetStream(PROTOCOL_ERROR)], &[Answer]];
    let (result, requests) = exchange(SCRIPT, &[Method::GET, Method::GET]).await;
    result.unwrap();
    assert_eq!(requests, 3);
    let (result, requests) = exchange(SCRIPT, &[Method::GET, Method::POST]).await;
    result.unwrap_err();
    assert_eq!(requests, 2);
}

#[tokio::test]
async fn does_not_resend_a_request_that_a_server_failed() {
    let script = &[&[Answer, ResetStream(INTERNAL_ERROR)][..], &[Answer]];
    let (result, requests) = exchange(script, &[Method::GET, Method::GET]).await;
    result.unwrap_err();
    assert_eq!(requests, 2);
}

#[tokio::test]
async fn reads_large_heads() {
    let script = &[&[Large(900_000)][..]];
    let (result, requests) = exchange(script, &[Method::GET]).await;
    result.unwrap();
    assert_eq!(requests, 1);
}
