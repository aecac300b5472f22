//! Cases with a response of the backend. They check the requests that follow it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use harness::{
    metrics::Metrics,
    sender_peers::{RecordedRequest, Recorder, Reply, SentSeries, Target},
};
use judge::sender::{Sender, SenderArgs};

/// Groups of the suite that this module covers.
pub(crate) const GROUPS: &[&str] = &[
    "TestBackoffBehavior",
    "TestFallbackBehavior",
    "TestRemoteWrite1Compatibility",
    "TestRemoteWrite1Configuration",
    "TestResponseProcessing",
    "TestRetryBehavior",
];

const V2: &str = "io.prometheus.write.v2.Request";

/// Runs a sender against a backend that answers by `script`, until `enough` returns `true` for
/// the recorded requests.
async fn requests(
    what: &str,
    script: impl Fn(usize, &[SentSeries]) -> Reply + Send + Sync + 'static,
    enough: impl Fn(&[RecordedRequest]) -> bool,
) -> Vec<RecordedRequest> {
    let target = Target::start(&["test_metric 42\n"]).await.unwrap();
    let recorder = Recorder::start(script).await.unwrap();
    let args = SenderArgs::new(&[target.address.to_string()], &recorder.url(), V2);
    let sender = Sender::start(&args).await.unwrap();
    let seen = recorder.wait(what, enough).await.unwrap();
    sender.stop().await.unwrap();
    seen
}

/// Status codes of the responses to each scrape, by the scrape's timestamp.
fn deliveries(seen: &[RecordedRequest]) -> HashMap<i64, Vec<u16>> {
    let mut deliveries: HashMap<_, Vec<_>> = HashMap::new();
    for request in seen {
        let series = request.series().unwrap();
        let metric = series.iter().find(|series| series.name() == "test_metric");
        for time in metric.into_iter().flat_map(SentSeries::times) {
            deliveries
                .entry(time)
                .or_default()
                .push(request.status.as_u16());
        }
    }
    deliveries
}

fn gaps(seen: &[RecordedRequest]) -> Vec<Duration> {
    let times: Vec<Instant> = seen.iter().map(|request| request.at).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn at_least(n: usize) -> impl Fn(&[RecordedRequest]) -> bool {
    move |seen| seen.len() >= n
}

/// A sample that the backend refuses permanently is not retried. The next scrape is sent.
#[tokio::test(flavor = "multi_thread")]
async fn does_not_retry_a_permanent_rejection() {
    let rejections = [400, 409, 422].map(|code| async move {
        let script = move |n, _: &[SentSeries]| match n {
            0 => Reply::status(code).with_body("user=1: out of bounds"),
            _ => Reply::default(),
        };
        let seen = requests("three requests", script, at_least(3)).await;
        for (time, answers) in deliveries(&seen) {
            assert_eq!(answers.len(), 1, "{code}: {time} was answered {answers:?}");
        }
        assert_eq!(seen[0].status.as_u16(), code);
    });
    futures::future::join_all(rejections).await;
}

/// A backend that refuses everything gets at most two requests in eight seconds, as the suite
/// counts them. Nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn slows_down_when_the_backend_refuses_everything() {
    let rejections = [400, 401, 404, 413].map(|code| async move {
        let script = move |n, _: &[SentSeries]| match n {
            0 | 1 => Reply::status(code).with_body("Bad request"),
            _ => Reply::default(),
        };
        let seen = requests("five requests", script, at_least(5)).await;
        let third = seen[2].at - seen[0].at;
        assert!(third > Duration::from_secs(8), "{code}: {third:?}");
        let stored = deliveries(&seen);
        let first = stored.keys().min().unwrap();
        assert_eq!(stored[first].last(), Some(&204), "{code}");
    });
    futures::future::join_all(rejections).await;
}

/// A request that may be retried is retried until it is stored, and no request overtakes it.
#[tokio::test(flavor = "multi_thread")]
async fn retries_until_the_request_is_stored() {
    let failures = [429, 500, 502, 503, 504].map(|code| async move {
        let script = move |n, _: &[SentSeries]| match n {
            0 | 1 => Reply::status(code).with_body("not now"),
            _ => Reply::default(),
        };
        let seen = requests("four requests", script, at_least(4)).await;
        let deliveries = deliveries(&seen);
        let first = deliveries.keys().min().unwrap();
        assert_eq!(deliveries[first], [code, code, 204], "{code}");
        let messages: Vec<_> = seen[..3].iter().map(|r| r.message().unwrap()).collect();
        assert!(
            messages.windows(2).all(|pair| pair[0] == pair[1]),
            "{code}: the retry is not identical"
        );
    });
    futures::future::join_all(failures).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_for_retry_after() {
    let script = |n, _: &[SentSeries]| match n {
        0 => Reply::status(429).with_header("retry-after", "3"),
        _ => Reply::default(),
    };
    let seen = requests("two requests", script, at_least(2)).await;
    let gap = seen[1].at - seen[0].at;
    assert!(gap >= Duration::from_secs(3), "{gap:?}");
}

/// The backoff grows, has jitter, and is bounded.
#[tokio::test(flavor = "multi_thread")]
async fn retries_with_exponential_backoff() {
    let backoffs = [502, 503].map(|code| async move {
        let script = move |_, _: &[SentSeries]| Reply::status(code);
        let seen = requests("eight requests", script, at_least(8)).await;
        let gaps = gaps(&seen);
        for pair in gaps.windows(2) {
            // A busy machine is late, which lengthens a gap.
            let late = Duration::from_millis(250);
            assert!(pair[1] + late >= pair[0].mul_f64(0.8), "{code}: {gaps:?}");
        }
        assert!(gaps.iter().all(|gap| *gap >= Duration::from_millis(1)));
        assert!(gaps.iter().all(|gap| *gap <= Duration::from_secs(60)));
        assert!(gaps[gaps.len() - 1] >= 4 * gaps[0], "{gaps:?}");
        gaps
    });
    let gaps = futures::future::join_all(backoffs).await;
    // With jitter, two runs differ.
    assert_ne!(gaps[0], gaps[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn falls_back_to_version_1() {
    let script = |n, _: &[SentSeries]| match n {
        0 => Reply::status(415).with_body("RW 2.0 not supported, please use RW 1.0"),
        _ => Reply::default(),
    };
    let seen = requests("five requests", script, at_least(5)).await;
    assert!(seen[0].is_v2());
    assert_eq!(
        seen[0].header("x-prometheus-remote-write-version"),
        Some("2.0.0")
    );
    for request in &seen[1..] {
        assert_eq!(
            request.header("content-type"),
            Some("application/x-protobuf")
        );
        assert_eq!(
            request.header("x-prometheus-remote-write-version"),
            Some("0.1.0")
        );
        request.v1().unwrap();
    }
    // The rejected request is retried in version 1.0.
    let deliveries = deliveries(&seen);
    let first = deliveries.keys().min().unwrap();
    assert_eq!(deliveries[first], [415, 204]);
}

/// The receiver counts as stored and rejected what the backend's response states.
#[tokio::test(flavor = "multi_thread")]
async fn counts_samples_as_the_response_states() {
    let written = "x-prometheus-remote-write-samples-written";
    let rejected = |answer: Reply| answer.with_body("user=1: err: out of order sample");
    // Response to a scrape of six samples, and the samples counted as stored.
    let answers = [
        (Reply::status(200), 6.0),
        (Reply::status(204), 6.0),
        (Reply::status(200).with_body("error: not stored"), 6.0),
        (rejected(Reply::status(400)), 0.0),
        (
            rejected(Reply::status(400)).with_body("user=1: ".repeat(1 << 19)),
            0.0,
        ),
        (rejected(Reply::status(400).with_header(written, "4")), 4.0),
        (rejected(Reply::status(400).with_header(written, "6")), 6.0),
    ];
    let counts = answers.map(|(answer, stored)| async move {
        let what = format!("{:?} {:?}", answer.status, answer.headers);
        assert_eq!(counted(answer).await, (stored, 6.0 - stored), "{what}");
    });
    futures::future::join_all(counts).await;
}

/// Numbers of samples that the receiver counts as stored and rejected, if the backend answers
/// the first scrape with `answer` and no other.
async fn counted(answer: Reply) -> (f64, f64) {
    let target = Target::start(&["test_metric 42\n"]).await.unwrap();
    let script = move |n, _: &[SentSeries]| match n {
        0 => answer.clone(),
        _ => Reply {
            delay: Duration::from_secs(3600),
            ..Reply::default()
        },
    };
    let recorder = Recorder::start(script).await.unwrap();
    let args = SenderArgs::new(&[target.address.to_string()], &recorder.url(), V2);
    let sender = Sender::start(&args).await.unwrap();
    // The receiver sends the second scrape after it has counted the first.
    recorder.wait("two requests", at_least(2)).await.unwrap();
    let web = sender.mesh.receivers[0].addresses.web;
    let metrics = Metrics::fetch(web).await.unwrap();
    let sum = |name: &str| metrics.sum(&format!("promesh_receiver_outbox_samples_{name}_total"));
    (sum("stored"), sum("rejected"))
}
