//! Exporters that are slow, fail, come, go or freeze, in an in-memory network under a
//! paused clock.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use tokio::{
    io::{DuplexStream, copy_bidirectional, duplex},
    sync::{mpsc, watch},
    time::sleep,
};

use super::*;
use mesh_contract::export::SETTLED_KEY;
use mesh_net::connector::Connector;

/// One exporter, with its switches.
#[derive(Clone, Debug)]
struct Exporter {
    behavior: watch::Sender<Behavior>,
    requests: Arc<AtomicUsize>,
    /// True while its network drops all bytes.
    black_hole: watch::Sender<bool>,
    connections: mpsc::UnboundedSender<DuplexStream>,
}

#[derive(Clone, Copy, Debug)]
enum Behavior {
    /// Responds with a verdict after this time.
    Store(Duration),
    /// Asks for a retry, at once.
    Retry,
    /// Fails with an unknown outcome, at once.
    Fail,
}

/// Exporters by address. Connecting to another address never completes.
#[derive(Clone, Debug, Default)]
struct Network(Arc<Mutex<BTreeMap<String, Exporter>>>);

/// Number of requests by outcome.
#[derive(Clone, Copy, Debug, Default)]
struct Outcomes {
    stored: usize,
    retry: usize,
    unknown: usize,
    unsent: usize,
}

const QUICK: Behavior = Behavior::Store(Duration::from_millis(100));

#[tonic::async_trait]
impl MetricsService for Exporter {
    async fn export(
        &self,
        _: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let behavior = *self.behavior.borrow();
        match behavior {
            Behavior::Store(latency) => {
                sleep(latency).await;
                Ok(Response::new(ExportMetricsServiceResponse::default()))
            }
            Behavior::Fail => Err(Status::unknown("broken")),
            Behavior::Retry => {
                let mut status = Status::unavailable("the backend cannot be reached");
                let yes = "1".parse().unwrap();
                status.metadata_mut().insert(SETTLED_KEY, yes);
                Err(status)
            }
        }
    }
}

impl Exporter {
    fn take(&self) -> usize {
        self.requests.swap(0, Ordering::SeqCst)
    }
}

impl Network {
    fn add(&self, address: &str, behavior: Behavior) -> Exporter {
        let (connections, incoming) = mpsc::unbounded_channel();
        let exporter = Exporter {
            behavior: watch::Sender::new(behavior),
            requests: Arc::default(),
            black_hole: watch::Sender::new(false),
            connections,
        };
        let service = MetricsServiceServer::new(exporter.clone())
            .accept_compressed(CompressionEncoding::Zstd);
        let incoming = futures::stream::unfold(incoming, |mut incoming| async move {
            let stream = incoming.recv().await?;
            Some((Ok::<_, std::io::Error>(stream), incoming))
        });
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        self.0.lock().insert(address.to_owned(), exporter.clone());
        exporter
    }

    fn connector(&self) -> Connector {
        let network = self.clone();
        Connector::new(move |address| {
            let exporter = network.0.lock().get(&address).cloned();
            async move {
                match exporter {
                    Some(exporter) => Ok(exporter.connect()),
                    None => std::future::pending().await,
                }
            }
        })
    }

    fn balance(&self, addresses: &[&str]) -> (Balance, AddressSender) {
        let addresses = addresses.iter().map(|a| (*a).to_owned()).collect();
        let (sender, receiver) = watch::channel(Some(addresses));
        let metrics = BalanceMetrics::default();
        let balance = Balance::new(&args(), receiver, self.connector(), metrics);
        (balance, sender)
    }
}

impl Exporter {
    fn connect(&self) -> DuplexStream {
        let (ours, mut one) = duplex(64 << 10);
        let (mut other, theirs) = duplex(64 << 10);
        let mut black_hole = self.black_hole.subscribe();
        let _ = self.connections.send(theirs);
        tokio::spawn(async move {
            tokio::select! {
                _ = copy_bidirectional(&mut one, &mut other) => {}
                () = async { drop(black_hole.wait_for(|on| *on).await) } => {}
            }
            // The streams stay open: neither side sees the other close.
            std::future::pending::<()>().await;
        });
        ours
    }
}

/// Keeps one request of each lane in flight for `span`.
async fn load(balance: &Balance, lanes: usize, span: Duration) -> Outcomes {
    let end = Instant::now() + span;
    let lanes = (0..lanes).map(|_| async {
        let mut outcomes = Outcomes::default();
        while Instant::now() < end {
            match balance.clone().oneshot(export()).await {
                Ok(_) => outcomes.stored += 1,
                Err(ExportError::Retry { .. }) => {
                    outcomes.retry += 1;
                    // A lane of the outbox also waits before a retry.
                    sleep(Duration::from_millis(100)).await;
                }
                Err(ExportError::Unknown { .. }) => outcomes.unknown += 1,
                Err(ExportError::Unsent(_)) => outcomes.unsent += 1,
            }
        }
        outcomes
    });
    let all = futures::future::join_all(lanes).await;
    all.into_iter()
        .fold(Outcomes::default(), |sum, one| Outcomes {
            stored: sum.stored + one.stored,
            retry: sum.retry + one.retry,
            unknown: sum.unknown + one.unknown,
            unsent: sum.unsent + one.unsent,
        })
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_frozen_exporter_gets_no_requests_after_two_seconds() {
    let network = Network::default();
    let (frozen, healthy) = (network.add("a:1", QUICK), network.add("b:1", QUICK));
    let (balance, _addresses) = network.balance(&["a:1", "b:1"]);
    load(&balance, 8, SECOND * 5).await;
    assert!(frozen.take() > 50 && healthy.take() > 50);
    frozen.black_hole.send_replace(true);
    let outcomes = load(&balance, 8, SECOND * 2).await;
    assert!(
        outcomes.unknown <= 8 && outcomes.unsent == 0,
        "{outcomes:?}"
    );
    // From now on no request is sent to it.
    let outcomes = load(&balance, 8, SECOND * 20).await;
    assert_eq!((outcomes.unknown, outcomes.unsent), (0, 0), "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn requests_do_not_wait_for_an_unreachable_exporter() {
    let network = Network::default();
    network.add("b:1", QUICK);
    let (balance, addresses) = network.balance(&["hole:1", "b:1"]);
    let start = Instant::now();
    balance.clone().oneshot(export()).await.unwrap();
    assert!(start.elapsed() < SECOND / 2);
    let outcomes = load(&balance, 8, SECOND * 20).await;
    assert_eq!((outcomes.unknown, outcomes.unsent), (0, 0), "{outcomes:?}");
    // Without another exporter, a request fails after the fail-fast time.
    addresses.send_replace(Some(BTreeSet::from(["hole:1".to_owned()])));
    sleep(SECOND).await;
    let start = Instant::now();
    let error = balance.clone().oneshot(export()).await.unwrap_err();
    assert!(matches!(error, ExportError::Unsent(_)), "{error}");
    assert_eq!(start.elapsed(), args().failfast);
}

#[tokio::test(start_paused = true)]
async fn a_slow_exporter_gets_fewer_requests() {
    let network = Network::default();
    let slow = network.add("a:1", Behavior::Store(Duration::from_millis(1000)));
    let others = [network.add("b:1", QUICK), network.add("c:1", QUICK)];
    let (balance, _addresses) = network.balance(&["a:1", "b:1", "c:1"]);
    load(&balance, 12, SECOND * 30).await;
    let (slow, others) = (slow.take(), others.map(|other| other.take()));
    assert!(
        slow > 0 && others.iter().all(|other| *other > slow * 5),
        "{slow} {others:?}"
    );
    assert!(others[0].abs_diff(others[1]) * 4 < others[0], "{others:?}");
}

#[tokio::test(start_paused = true)]
async fn an_exporter_that_fails_quickly_attracts_no_requests() {
    let network = Network::default();
    let failing = network.add("a:1", Behavior::Retry);
    let healthy = network.add("b:1", Behavior::Store(Duration::from_millis(200)));
    let (balance, _addresses) = network.balance(&["a:1", "b:1"]);
    let outcomes = load(&balance, 4, SECOND * 60).await;
    assert_eq!(outcomes.unknown, 0);
    assert!(outcomes.retry * 10 < outcomes.stored, "{outcomes:?}");
    // It gets its share again soon after it recovers.
    failing
        .behavior
        .send_replace(Behavior::Store(Duration::from_millis(200)));
    load(&balance, 4, SECOND * 10).await;
    let _ = (failing.take(), healthy.take());
    load(&balance, 4, SECOND * 10).await;
    let (one, other) = (failing.take(), healthy.take());
    assert!(one * 2 > other, "{one} {other}");
}

#[tokio::test(start_paused = true)]
async fn a_new_exporter_gets_requests_within_seconds_and_a_removed_one_none() {
    let network = Network::default();
    let (one, other) = (network.add("a:1", QUICK), network.add("b:1", QUICK));
    let (balance, addresses) = network.balance(&["a:1", "b:1"]);
    load(&balance, 9, SECOND * 10).await;
    let new = network.add("c:1", QUICK);
    let set = |all: &[&str]| Some(all.iter().map(|a| (*a).to_owned()).collect());
    addresses.send_replace(set(&["a:1", "b:1", "c:1"]));
    load(&balance, 9, SECOND * 2).await;
    let _ = [&one, &other, &new].map(Exporter::take);
    load(&balance, 9, SECOND * 2).await;
    let shares = [&one, &other, &new].map(Exporter::take);
    let all: usize = shares.iter().sum();
    assert!(shares.iter().all(|share| share * 5 > all), "{shares:?}");
    addresses.send_replace(set(&["c:1"]));
    // Requests in flight to removed exporters complete.
    let outcomes = load(&balance, 9, SECOND).await;
    assert_eq!((outcomes.unknown, outcomes.unsent), (0, 0));
    let _ = [&one, &other].map(Exporter::take);
    load(&balance, 9, SECOND).await;
    assert_eq!([&one, &other].map(Exporter::take), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn ejected_exporters_get_requests_only_if_no_other_is_connected() {
    let network = Network::default();
    let failing = ["a:1", "b:1"].map(|address| network.add(address, Behavior::Fail));
    let healthy = network.add("c:1", QUICK);
    let (balance, addresses) = network.balance(&["a:1", "b:1", "c:1"]);
    load(&balance, 6, SECOND * 20).await;
    let _ = failing.each_ref().map(Exporter::take);
    load(&balance, 6, SECOND * 5).await;
    let requests: usize = failing.iter().map(Exporter::take).sum();
    assert!(requests <= 6 && healthy.take() > 200, "{requests}");
    for exporter in &failing {
        exporter.behavior.send_replace(QUICK);
    }
    let set = BTreeSet::from(["a:1", "b:1"].map(str::to_owned));
    addresses.send_replace(Some(set));
    let outcomes = load(&balance, 6, SECOND).await;
    assert_eq!((outcomes.unknown, outcomes.unsent), (0, 0), "{outcomes:?}");
    assert!(outcomes.stored > 50, "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn an_exporter_gets_requests_again_after_its_ejection() {
    let network = Network::default();
    let failing = network.add("a:1", Behavior::Fail);
    network.add("b:1", QUICK);
    let (balance, _addresses) = network.balance(&["a:1", "b:1"]);
    load(&balance, 4, SECOND * 5).await;
    failing.behavior.send_replace(QUICK);
    load(&balance, 4, SECOND * 15).await;
    failing.take();
    load(&balance, 4, SECOND * 10).await;
    assert!(failing.take() > 50);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_is_sent_once_an_exporter_connects() {
    let network = Network::default();
    let (balance, addresses) = network.balance(&[]);
    network.add("a:1", QUICK);
    let requests = (0..8).map(|_| balance.clone().oneshot(export()));
    let connect = async {
        sleep(SECOND).await;
        addresses.send_replace(Some(BTreeSet::from(["a:1".to_owned()])));
    };
    let start = Instant::now();
    let (outcomes, ()) = tokio::join!(futures::future::join_all(requests), connect);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert!(start.elapsed() < SECOND * 3 / 2);
}

#[tokio::test(start_paused = true)]
async fn a_seed_repeats_the_picks() {
    async fn picks(seed: u64) -> Vec<usize> {
        mesh_base::random::seed(seed);
        let network = Network::default();
        let names = ["a:1", "b:1", "c:1", "d:1"];
        let exporters = names.map(|name| network.add(name, QUICK));
        let (balance, _addresses) = network.balance(&names);
        until_connected(&balance, names.len()).await;
        let mut picks = Vec::new();
        for _ in 0..50 {
            balance.clone().oneshot(export()).await.unwrap();
            let requests = exporters.each_ref().map(Exporter::take);
            picks.extend(requests.iter().position(|requests| *requests > 0));
        }
        picks
    }
    assert_eq!(picks(7).await, picks(7).await);
    assert_ne!(picks(7).await, picks(8).await);
}
