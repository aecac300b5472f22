use std::net::{IpAddr, SocketAddr};

use http_body_util::Full;
use mesh_base::clock::Clock;
use mesh_contract::{
    export::{Export, ExportError},
    report::ExportResponse,
};
use mesh_outbox::{Outbox, OutboxArgs};
use tokio::sync::watch;
use tonic::Code;

use super::{
    super::{gossip::Process, metrics::HandoverMetrics, peers::WaitPolicy, state::State},
    *,
};

const ME: &str = "10.0.0.1:9095";
const MEMBER: &str = "10.0.0.2:9095";

/// A server of a receiver with one other member.
fn server() -> HandoverServer {
    let policy = WaitPolicy {
        export_timeout: Duration::from_secs(10),
        away_timeout: Duration::from_secs(60),
        members_are_ready: true,
        spills: true,
        authenticated: false,
    };
    let (_, unready) = watch::channel(None);
    let mut state = State::new(ME.to_owned(), policy, unready);
    state.set_members(&[MEMBER.to_owned()].into());
    let clock = Clock::tokio(0);
    let exports =
        tower::service_fn(|_: Export| async { Ok::<_, ExportError>(ExportResponse::default()) });
    let (outbox, _workers) = Outbox::sharing_keys(&OutboxArgs::default(), clock.clone(), exports);
    let shared = Shared::new(state, clock, outbox, HandoverMetrics::default());
    HandoverServer::new(Arc::new(shared), Access::default())
}

async fn send(server: &HandoverServer, caller: &str, body: Bytes) -> Status {
    let mut request = Request::post(PATH).body(Full::new(body)).unwrap();
    let caller: IpAddr = caller.parse().unwrap();
    request
        .extensions_mut()
        .insert(Peer(SocketAddr::new(caller, 40_000)));
    let response = server.clone().respond(request).await;
    Status::from_header_map(response.headers()).unwrap_or_else(|| Status::ok(""))
}

fn from(sender: &str) -> Bytes {
    let request = HandoverRequest {
        sender: sender.to_owned(),
        process: Process::default(),
        shutdown: None,
        claimed: vec![7],
        watched: Vec::new(),
        held_back: Vec::new(),
    };
    frame::encode(false, &request.encode())
}

fn known(server: &HandoverServer) -> Vec<String> {
    let reports = server.shared.lock().peers.reports();
    reports.into_keys().collect()
}

#[tokio::test(start_paused = true)]
async fn an_invented_sender_changes_nothing() {
    let server = server();
    for (caller, sender, code) in [
        ("10.9.9.9", "victim:80", Code::PermissionDenied),
        ("10.9.9.9", MEMBER, Code::PermissionDenied),
        ("10.0.0.2", "victim:80", Code::PermissionDenied),
        ("10.0.0.1", ME, Code::PermissionDenied),
    ] {
        let status = send(&server, caller, from(sender)).await;
        assert_eq!(status.code(), code, "{caller} as {sender}: {status:?}");
        assert_eq!(known(&server), [MEMBER]);
    }
    let status = send(&server, "10.0.0.2", from(MEMBER)).await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn a_former_member_is_served_for_the_away_timeout() {
    let server = server();
    server.shared.lock().set_members(&Default::default());
    tokio::time::advance(Duration::from_secs(59)).await;
    let status = send(&server, "10.0.0.2", from(MEMBER)).await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
    tokio::time::advance(Duration::from_secs(2)).await;
    let status = send(&server, "10.0.0.2", from(MEMBER)).await;
    assert_eq!(status.code(), Code::PermissionDenied);
}

#[tokio::test(start_paused = true)]
async fn rejects_malformed_messages() {
    let server = server();
    let frames = [
        Bytes::from_static(b""),
        Bytes::from_static(b"\0\0\0\0\x09ab"),
        frame::encode(false, b"{\"sender\":\"a:1\"}"),
        from(""),
        Bytes::from(vec![0; MAX_REQUEST_BYTES + 1]),
    ];
    for body in frames {
        let status = send(&server, "10.0.0.2", body).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
}
