//! A DNS server on loopback with configurable answers.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use hickory_resolver::proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{RData, Record},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

/// Answer for a name. A name without one does not exist.
#[derive(Clone)]
pub(super) enum Answer {
    Records(Vec<RData>),
    NxDomain,
    ServFail,
    /// The server at 127.0.0.1 fails; the one at 127.0.0.2 returns the records.
    FirstFails(Vec<RData>),
    TooLongForUdp(Vec<RData>),
}

/// Two servers, at 127.0.0.1 and 127.0.0.2, with the same answers.
pub(super) struct Server {
    pub(super) port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    answers: HashMap<String, Answer>,
    queries: Vec<String>,
}

const FIRST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

// === impl Server ===

impl Server {
    pub(super) async fn start() -> Self {
        let state = Arc::default();
        let (port, sockets) = sockets().await;
        for (address, tcp, udp) in sockets {
            tokio::spawn(serve_udp(address, udp, Arc::clone(&state)));
            tokio::spawn(serve_tcp(address, tcp, Arc::clone(&state)));
        }
        Self { port, state }
    }

    pub(super) fn set(&self, name: &str, answer: Answer) {
        let mut state = self.state.lock();
        state.answers.insert(name.to_owned(), answer);
    }

    pub(super) fn queries(&self) -> Vec<String> {
        self.state.lock().queries.clone()
    }

    pub(super) fn clear_queries(&self) {
        self.state.lock().queries.clear();
    }
}

/// Binds one port at both addresses, for UDP and TCP.
async fn sockets() -> (u16, Vec<(Ipv4Addr, TcpListener, UdpSocket)>) {
    'port: for _ in 0..100 {
        let mut port = 0;
        let mut sockets = Vec::new();
        for address in [FIRST, SECOND] {
            let Ok(tcp) = TcpListener::bind((address, port)).await else {
                continue 'port;
            };
            port = tcp.local_addr().unwrap().port();
            let Ok(udp) = UdpSocket::bind((address, port)).await else {
                continue 'port;
            };
            sockets.push((address, tcp, udp));
        }
        return (port, sockets);
    }
    panic!("no port is free")
}

async fn serve_udp(address: Ipv4Addr, socket: UdpSocket, state: Arc<Mutex<State>>) {
    let mut buffer = [0; 1 << 12];
    loop {
        let (length, from): (_, SocketAddr) = socket.recv_from(&mut buffer).await.unwrap();
        let answer = answer(&buffer[..length], address, false, &state);
        let _ = socket.send_to(&answer, from).await;
    }
}

async fn serve_tcp(address: Ipv4Addr, listener: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve_stream(address, stream, state.clone()));
    }
}

async fn serve_stream(address: Ipv4Addr, mut stream: TcpStream, state: Arc<Mutex<State>>) {
    while let Ok(length) = stream.read_u16().await {
        let mut query = vec![0; length.into()];
        stream.read_exact(&mut query).await.unwrap();
        let answer = answer(&query, address, true, &state);
        let _ = stream.write_u16(answer.len() as u16).await;
        let _ = stream.write_all(&answer).await;
    }
}

fn answer(query: &[u8], address: Ipv4Addr, tcp: bool, state: &Mutex<State>) -> Vec<u8> {
    let query = Message::from_vec(query).unwrap();
    let question = query.queries[0].clone();
    let name = question.name().to_ascii();
    let mut state = state.lock();
    state.queries.push(name.clone());
    let answer = state.answers.get(&name).cloned();
    let (code, records, truncated) = match answer.unwrap_or(Answer::NxDomain) {
        Answer::FirstFails(_) if address == FIRST => (ResponseCode::ServFail, Vec::new(), false),
        Answer::TooLongForUdp(_) if !tcp => (ResponseCode::NoError, Vec::new(), true),
        Answer::Records(records) | Answer::FirstFails(records) | Answer::TooLongForUdp(records) => {
            (ResponseCode::NoError, records, false)
        }
        Answer::NxDomain => (ResponseCode::NXDomain, Vec::new(), false),
        Answer::ServFail => (ResponseCode::ServFail, Vec::new(), false),
    };
    let mut message = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    message.metadata.response_code = code;
    message.metadata.truncation = truncated;
    message.metadata.recursion_available = true;
    message.add_query(question.clone());
    for data in records {
        message.add_answer(Record::from_rdata(question.name().clone(), 5, data));
    }
    message.to_vec().unwrap()
}
