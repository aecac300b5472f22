//! Exporters that are slow, refuse, come, go or fall silent, in a network in memory
//! and under a paused clock.

use std::collections::BTreeMap;

use tokio::{
    io::{DuplexStream, copy_bidirectional, duplex},
    sync::{mpsc, watch},
    time::sleep,
};

use super::*;
use mesh_contract::export::SETTLED_KEY;

/// What one exporter does.
#[derive(Clone, Debug)]
struct Exporter {
    does: watch::Sender<Does>,
    requests: Arc<AtomicUsize>,
    /// Whether its network swallows everything.
    silent: watch::Sender<bool>,
    connections: mpsc::UnboundedSender<DuplexStream>,
}

#[derive(Clone, Copy, Debug)]
enum Does {
    /// Answers with a verdict this much later.
    Store(Duration),
    /// Has its senders come again, at once.
    Refuse,
}

/// The exporters by their addresses. Connecting to any other never ends.
#[derive(Clone, Debug, Default)]
struct Network(Arc<Mutex<BTreeMap<String, Exporter>>>);

/// What came of many requests.
#[derive(Clone, Copy, Debug, Default)]
struct Outcomes {
    stored: usize,
    again: usize,
    lost: usize,
    unsent: usize,
}

const QUICK: Does = Does::Store(Duration::from_millis(100));

#[tonic::async_trait]
impl MetricsService for Exporter {
    async fn export(
        &self,
        _: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let does = *self.does.borrow();
        match does {
            Does::Store(latency) => {
                sleep(latency).await;
                Ok(Response::new(ExportMetricsServiceResponse::default()))
            }
            Does::Refuse => {
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
    fn add(&self, address: &str, does: Does) -> Exporter {
        let (connections, incoming) = mpsc::unbounded_channel();
        let exporter = Exporter {
            does: watch::Sender::new(does),
            requests: Arc::default(),
            silent: watch::Sender::new(false),
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
        lock(&self.0).insert(address.to_owned(), exporter.clone());
        exporter
    }

    fn connector(&self) -> Connector {
        let network = self.clone();
        Connector::new(move |address| {
            let exporter = lock(&network.0).get(&address).cloned();
            async move {
                match exporter {
                    Some(exporter) => Ok(exporter.connect()),
                    None => std::future::pending().await,
                }
            }
        })
    }

    fn balance(&self, addresses: &[&str]) -> (Balance, Known) {
        let known = addresses.iter().map(|a| (*a).to_owned()).collect();
        let (sender, receiver) = watch::channel(Some(known));
        let metrics = BalanceMetrics::default();
        let balance = Balance::new(&args(), receiver, self.connector(), metrics);
        (balance, sender)
    }
}

impl Exporter {
    fn connect(&self) -> DuplexStream {
        let (ours, mut one) = duplex(64 << 10);
        let (mut other, theirs) = duplex(64 << 10);
        let mut silent = self.silent.subscribe();
        let _ = self.connections.send(theirs);
        tokio::spawn(async move {
            tokio::select! {
                _ = copy_bidirectional(&mut one, &mut other) => {}
                () = async { drop(silent.wait_for(|silent| *silent).await) } => {}
            }
            // Neither side hears that the other is gone.
            std::future::pending::<()>().await;
        });
        ours
    }
}

/// Keeps `lanes` requests under way for a while.
async fn load(balance: &Balance, lanes: usize, span: Duration) -> Outcomes {
    let end = Instant::now() + span;
    let lanes = (0..lanes).map(|_| async {
        let mut outcomes = Outcomes::default();
        while Instant::now() < end {
            match balance.clone().oneshot(export()).await {
                Ok(_) => outcomes.stored += 1,
                Err(ExportError::Again { .. }) => {
                    outcomes.again += 1;
                    // As a lane does.
                    sleep(Duration::from_millis(100)).await;
                }
                Err(ExportError::Unknown { .. }) => outcomes.lost += 1,
                Err(ExportError::Unsent(_)) => outcomes.unsent += 1,
            }
        }
        outcomes
    });
    let all = futures::future::join_all(lanes).await;
    all.into_iter()
        .fold(Outcomes::default(), |sum, one| Outcomes {
            stored: sum.stored + one.stored,
            again: sum.again + one.again,
            lost: sum.lost + one.lost,
            unsent: sum.unsent + one.unsent,
        })
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn one_that_falls_silent_is_out_within_two_seconds() {
    let network = Network::default();
    let (silent, well) = (network.add("a:1", QUICK), network.add("b:1", QUICK));
    let (balance, _known) = network.balance(&["a:1", "b:1"]);
    load(&balance, 8, SECOND * 5).await;
    assert!(silent.take() > 50 && well.take() > 50);
    silent.silent.send_replace(true);
    let outcomes = load(&balance, 8, SECOND * 2).await;
    assert!(outcomes.lost <= 8 && outcomes.unsent == 0, "{outcomes:?}");
    // Nobody waits for it any more, and nobody tries it.
    let outcomes = load(&balance, 8, SECOND * 20).await;
    assert_eq!((outcomes.lost, outcomes.unsent), (0, 0), "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_connected_to_is_never_waited_for() {
    let network = Network::default();
    network.add("b:1", QUICK);
    let (balance, known) = network.balance(&["hole:1", "b:1"]);
    let begun = Instant::now();
    balance.clone().oneshot(export()).await.unwrap();
    assert!(begun.elapsed() < SECOND / 2);
    let outcomes = load(&balance, 8, SECOND * 20).await;
    assert_eq!((outcomes.lost, outcomes.unsent), (0, 0), "{outcomes:?}");
    // Where there is no other a request is given back after the fail-fast time.
    known.send_replace(Some(BTreeSet::from(["hole:1".to_owned()])));
    sleep(SECOND).await;
    let begun = Instant::now();
    let error = balance.clone().oneshot(export()).await.unwrap_err();
    assert!(matches!(error, ExportError::Unsent(_)), "{error}");
    assert_eq!(begun.elapsed().as_millis(), args().failfast_ms.into());
}

#[tokio::test(start_paused = true)]
async fn a_slow_one_gets_less() {
    let network = Network::default();
    let slow = network.add("a:1", Does::Store(Duration::from_millis(1000)));
    let others = [network.add("b:1", QUICK), network.add("c:1", QUICK)];
    let (balance, _known) = network.balance(&["a:1", "b:1", "c:1"]);
    load(&balance, 12, SECOND * 30).await;
    let (slow, others) = (slow.take(), others.map(|other| other.take()));
    assert!(
        slow > 0 && others.iter().all(|other| *other > slow * 5),
        "{slow} {others:?}"
    );
    assert!(others[0].abs_diff(others[1]) * 4 < others[0], "{others:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_refuses_quickly_does_not_attract_requests() {
    let network = Network::default();
    let refusing = network.add("a:1", Does::Refuse);
    let well = network.add("b:1", Does::Store(Duration::from_millis(200)));
    let (balance, _known) = network.balance(&["a:1", "b:1"]);
    let outcomes = load(&balance, 4, SECOND * 60).await;
    assert_eq!(outcomes.lost, 0);
    assert!(outcomes.again * 10 < outcomes.stored, "{outcomes:?}");
    // It gets its share again soon after it is well.
    refusing
        .does
        .send_replace(Does::Store(Duration::from_millis(200)));
    load(&balance, 4, SECOND * 10).await;
    let _ = (refusing.take(), well.take());
    load(&balance, 4, SECOND * 10).await;
    let (one, other) = (refusing.take(), well.take());
    assert!(one * 2 > other, "{one} {other}");
}

#[tokio::test(start_paused = true)]
async fn a_new_one_gets_requests_within_seconds_and_a_removed_one_none() {
    let network = Network::default();
    let (one, other) = (network.add("a:1", QUICK), network.add("b:1", QUICK));
    let (balance, known) = network.balance(&["a:1", "b:1"]);
    load(&balance, 9, SECOND * 10).await;
    let new = network.add("c:1", QUICK);
    let addresses = |all: &[&str]| Some(all.iter().map(|a| (*a).to_owned()).collect());
    known.send_replace(addresses(&["a:1", "b:1", "c:1"]));
    load(&balance, 9, SECOND * 2).await;
    let _ = [&one, &other, &new].map(Exporter::take);
    load(&balance, 9, SECOND * 2).await;
    let shares = [&one, &other, &new].map(Exporter::take);
    let all: usize = shares.iter().sum();
    assert!(shares.iter().all(|share| share * 5 > all), "{shares:?}");
    known.send_replace(addresses(&["c:1"]));
    // What is under way to those that leave is answered.
    let outcomes = load(&balance, 9, SECOND).await;
    assert_eq!((outcomes.lost, outcomes.unsent), (0, 0));
    let _ = [&one, &other].map(Exporter::take);
    load(&balance, 9, SECOND).await;
    assert_eq!([&one, &other].map(Exporter::take), [0, 0]);
}
