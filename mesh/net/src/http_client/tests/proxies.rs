//! Tests requests through proxies, and credentials in URLs.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
};

use super::*;

fn through(url: &str) -> HttpClientConfig {
    let proxy = ProxyConfig {
        url: Some(url.parse().unwrap()),
        ..Default::default()
    };
    HttpClientConfig {
        proxy,
        ..Default::default()
    }
}

#[tokio::test]
async fn authorizes_a_plain_request_to_the_proxy() {
    let (proxy, seen) = server().await;
    let proxy = proxy.replace("://", "://user:p%40ss@");
    get(&through(&proxy), "http://u:p@far.test/x")
        .await
        .unwrap();
    let (_, uri, headers) = seen.last();
    assert_eq!(uri, "http://far.test/x");
    assert_eq!(headers["proxy-authorization"], "Basic dXNlcjpwQHNz");
    assert_eq!(headers["host"], "far.test");
    assert_eq!(seen.authorization(), "Basic dTpw");
}

/// Starts a SOCKS proxy for one connection to `port`. Its task returns the user name, the
/// password, and the name and port of the destination.
async fn socks(port: u16) -> (String, tokio::task::JoinHandle<[String; 4]>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = [0; 3];
        stream.read_exact(&mut hello).await.unwrap();
        assert_eq!(hello, [5, 1, 2]);
        stream.write_all(&[5, 2]).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 1);
        let user = text(&mut stream).await;
        let password = text(&mut stream).await;
        stream.write_all(&[1, 0]).await.unwrap();
        let mut connect = [0; 4];
        stream.read_exact(&mut connect).await.unwrap();
        assert_eq!(connect, [5, 1, 0, 3]);
        let host = text(&mut stream).await;
        let wanted = stream.read_u16().await.unwrap().to_string();
        let accepted = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        stream.write_all(&accepted).await.unwrap();
        let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        tokio::spawn(async move { copy_bidirectional(&mut stream, &mut server).await });
        [user, password, host, wanted]
    });
    (format!("socks5://user:word@{address}"), asked)
}

/// Reads a text after its length.
async fn text(stream: &mut TcpStream) -> String {
    let length = stream.read_u8().await.unwrap();
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn connects_through_a_socks_proxy() {
    let (target, seen) = server().await;
    let port = target.rsplit_once(':').unwrap().1.parse().unwrap();
    let (url, asked) = socks(port).await;
    get(&through(&url), "http://far.test/x").await.unwrap();
    let asked = asked.await.unwrap();
    assert_eq!(asked, ["user", "word", "far.test", "80"]);
    let (_, uri, headers) = seen.last();
    assert_eq!(uri, "/x");
    assert!(!headers.contains_key("proxy-authorization"));
}

#[tokio::test]
async fn names_a_proxy_that_does_not_answer() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", closed.local_addr().unwrap());
    drop(closed);
    let error = get(&through(&url), "http://far.test/").await.unwrap_err();
    assert!(
        error.to_string().contains(&format!("proxy {url}")),
        "{error}"
    );
}

#[tokio::test]
async fn credentials_of_the_url_precede_configured_ones() {
    let (url, seen) = server().await;
    let with_credentials = url.replace("://", "://u:p%40@");
    let basic = HttpClientConfig {
        auth: Some(Auth::Basic {
            username: inline("other"),
            password: None,
        }),
        ..Default::default()
    };
    for config in [HttpClientConfig::default(), basic] {
        get(&config, &with_credentials).await.unwrap();
        assert_eq!(seen.authorization(), "Basic dTpwQA==");
    }
    let token = with_token(&format!("{url}/token"));
    get(&token, &with_credentials).await.unwrap();
    assert_eq!(seen.authorization(), "Bearer t0k3n");
}
