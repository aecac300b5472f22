//! Peers that join, leave, and stop answering.

use tokio::sync::watch;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);
const POLICY: WaitPolicy = WaitPolicy {
    members_are_ready: true,
    export_timeout: TIMEOUT,
    away_timeout: Duration::from_secs(60),
    spills: false,
    authenticated: true,
};

/// Peers of a receiver on a platform that does not list unready receivers.
fn peers() -> Peers {
    let (_, unready) = watch::channel(None);
    Peers::new("a:1".to_owned(), POLICY, unready)
}

fn polled(peers: &Peers) -> Vec<(&str, u64)> {
    peers
        .to_poll()
        .map(|(name, limit)| (name.as_str(), limit.as_millis() as u64))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_report_does_not_revive_a_drained_peer() {
    let mut peers = peers();
    let members = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    peers.set_members(&members(&["b:1", "c:1"]));
    assert_eq!(polled(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
    // Another process may have the name by now, and would answer at once.
    peers.record_shutdown("b:1", ShutdownPhase::Drained);
    assert_eq!(polled(&peers), [("b:1", 250), ("c:1", 1_000)]);
    peers.set_members(&members(&["c:1"]));
    peers.evict();
    peers.merge_report("b:1", &PeerReport::default(), Instant::now());
    assert_eq!(polled(&peers), [("c:1", 1_000)]);
    assert!(!peers.need_polling());
    // A peer that sends a request exists.
    peers.record_contact(
        "b:1",
        Process {
            id: 1,
            ..Process::default()
        },
    );
    peers.record_shutdown("b:1", ShutdownPhase::Drained);
    peers.record_contact(
        "b:1",
        Process {
            id: 2,
            ..Process::default()
        },
    );
    assert_eq!(polled(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
    peers.record_shutdown("b:1", ShutdownPhase::Drained);
    assert_eq!(peers.reports()["b:1"].drained_process, Some(2));
    tokio::time::advance(TIMEOUT * 2).await;
    peers.evict();
    peers.set_members(&members(&[]));
    peers.merge_report("b:1", &PeerReport::default(), Instant::now());
    assert_eq!(polled(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_returns_is_not_leaving() {
    let mut peers = peers();
    let members = BTreeSet::from(["b:1".to_owned()]);
    peers.set_members(&members);
    peers.record_shutdown("b:1", ShutdownPhase::Stopped);
    // The list of members lags behind the announcement of the peer.
    peers.set_members(&members);
    assert_eq!(peers.leaving(), members);
    peers.set_members(&BTreeSet::new());
    peers.set_members(&members);
    assert!(peers.leaving().is_empty());
}

#[tokio::test(start_paused = true)]
async fn does_not_poll_a_drained_peer_that_has_left() {
    let mut peers = peers();
    peers.add("b:1");
    assert!(!peers.is_empty());
    peers.record_shutdown("b:1", ShutdownPhase::Drained);
    assert!(peers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_older_response_does_not_undo_a_drain() {
    let mut peers = peers();
    peers.set_members(&BTreeSet::from(["b:1".to_owned(), "c:1".to_owned()]));
    peers.record_shutdown("b:1", ShutdownPhase::Stopped);
    peers.record_shutdown("b:1", ShutdownPhase::Drained);
    peers.record_shutdown("b:1", ShutdownPhase::Stopped);
    assert_eq!(polled(&peers), [("b:1", 250), ("c:1", 1_000)]);
}

#[tokio::test(start_paused = true)]
async fn a_report_marks_an_unknown_silent_peer_as_drained() {
    let drained = PeerReport {
        stated_ms: Some(0),
        drained_process: Some(1),
        ..PeerReport::default()
    };
    let mut peers = peers();
    // The list of members may be older than this process.
    peers.set_members(&BTreeSet::from(["b:1".to_owned(), "c:1".to_owned()]));
    peers.set_members(&BTreeSet::from(["c:1".to_owned()]));
    peers.merge_report("b:1", &drained, Instant::now());
    assert_eq!(polled(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
    // A new process may have the name.
    peers.record_silence("b:1", Instant::now(), 0);
    assert!(!peers.may_scrape("b:1") && !peers.may_deliver("b:1"));
    assert_eq!(polled(&peers), [("c:1", 1_000)]);
    // A new process announces itself.
    let process = |id| Process {
        id,
        ..Process::default()
    };
    peers.record_contact("b:1", process(2));
    assert_eq!(polled(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
    peers.record_silence("b:1", Instant::now(), 0);
    peers.merge_report("b:1", &drained, Instant::now());
    assert!(peers.may_scrape("b:1"));
}

#[tokio::test(start_paused = true)]
async fn the_latest_statement_counts() {
    let report_of = |stated_ms, away_ms| PeerReport {
        stated_ms,
        wait: WaitTimes {
            away_ms,
            ..WaitTimes::default()
        },
        ..PeerReport::default()
    };
    let mut peers = peers();
    peers.set_members(&BTreeSet::from(["b:1".to_owned()]));
    let mut away_ms = |report| {
        peers.merge_report("b:1", &report, Instant::now());
        peers.reports()["b:1"].wait.away_ms
    };
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(
        away_ms(report_of(None, 60_000)),
        0,
        "the report only assumes it"
    );
    assert_eq!(away_ms(report_of(Some(20_000), 60_000)), 60_000);
    assert_eq!(away_ms(report_of(Some(19_500), 0)), 60_000);
    assert_eq!(away_ms(report_of(Some(10_000), 0)), 0);
    assert_eq!(away_ms(report_of(Some(15_000), 60_000)), 0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_gets_a_short_timeout() {
    let mut peers = peers();
    peers.set_members(&BTreeSet::from(["b:1".to_owned(), "c:1".to_owned()]));
    peers.record_silence("b:1", Instant::now(), 0);
    assert_eq!(polled(&peers), [("b:1", 250), ("c:1", 1_000)]);
    peers.record_contact("b:1", Process::default());
    assert_eq!(polled(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_others_hear_may_deliver() {
    let mut peers = peers();
    peers.add("b:1");
    peers.record_silence("b:1", Instant::now(), 0);
    let heard = PeerReport {
        stated_ms: Some(0),
        ..PeerReport::default()
    };
    for _ in 0..3 {
        tokio::time::advance(TIMEOUT * 2 / 3).await;
        peers.merge_report("b:1", &heard, Instant::now());
        assert!(peers.may_deliver("b:1"));
    }
    // Its targets may be taken over nevertheless.
    assert!(!peers.may_scrape("b:1"));
    tokio::time::advance(TIMEOUT).await;
    assert!(!peers.may_deliver("b:1"));
    peers.merge_report("b:1", &heard, Instant::now());
    assert!(peers.may_deliver("b:1"));
    // The away timeout bounds the wait: a partition may last for days.
    tokio::time::advance(POLICY.away_timeout).await;
    peers.merge_report("b:1", &heard, Instant::now());
    assert!(!peers.may_deliver("b:1"));
}

#[tokio::test(start_paused = true)]
async fn forgets_an_unready_peer_that_is_no_longer_listed() {
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    let (sender, unready) = watch::channel(names(&["b:1", "c:1"]));
    let mut peers = Peers::new("a:1".to_owned(), POLICY, unready);
    peers.add_unready();
    peers.record_contact("c:1", Process::default());
    peers.evict_presumed(|_| true);
    assert_eq!(polled(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
    sender.send_replace(names(&[]));
    peers.evict_presumed(|_| true);
    assert_eq!(polled(&peers), [("c:1", 1_000)]);
}

#[tokio::test(start_paused = true)]
async fn a_report_marks_a_silent_peer_as_drained() {
    let mut peers = peers();
    peers.set_members(&BTreeSet::from(["b:1".to_owned()]));
    let process = |id| Process {
        id,
        ..Process::default()
    };
    peers.record_contact("b:1", process(1));
    peers.record_silence("b:1", Instant::now(), 0);
    let drained = PeerReport {
        stated_ms: Some(0),
        drained_process: Some(1),
        ..PeerReport::default()
    };
    peers.merge_report("b:1", &drained, Instant::now());
    assert!(!peers.may_deliver("b:1"));
    // The drained process has no exports in flight, so a restart need not wait.
    peers.record_contact("b:1", process(2));
    assert!(!peers.may_deliver("b:1"));
}

/// Peers with `b:1`, which was killed with a backlog on its disk and is no longer a member.
fn killed(unready: Addresses) -> Peers {
    let mut peers = Peers::new("a:1".to_owned(), POLICY, unready);
    peers.set_members(&BTreeSet::from(["b:1".to_owned()]));
    let wait = WaitTimes {
        away_ms: 60_000,
        ..WaitTimes::default()
    };
    peers.record_contact(
        "b:1",
        Process {
            wait,
            ..Process::default()
        },
    );
    peers.record_silence("b:1", Instant::now(), 0);
    peers.set_members(&BTreeSet::new());
    peers
}

#[tokio::test(start_paused = true)]
async fn does_not_wait_for_the_disk_of_a_deleted_pod() {
    let listed = BTreeSet::from(["b:1".to_owned()]);
    let (sender, unready) = watch::channel(Some(listed.clone()));
    let mut peers = killed(unready.clone());
    tokio::time::advance(TIMEOUT * 2).await;
    peers.update_pods();
    assert!(peers.may_deliver("b:1"));
    sender.send_replace(Some(BTreeSet::new()));
    peers.update_pods();
    // A pod that becomes ready may be in neither list for a moment.
    assert!(peers.may_deliver("b:1") && !peers.reports()["b:1"].is_pod_deleted);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(!peers.may_deliver("b:1"));
    let reported = peers.reports()["b:1"];
    assert!(reported.is_pod_deleted);
    // Receivers that do not know of the deletion yet may still report the peer.
    let late = PeerReport {
        is_pod_deleted: false,
        ..reported
    };
    peers.evict();
    peers.merge_report("b:1", &late, Instant::now());
    assert!(polled(&peers).is_empty() && !peers.need_polling());
    tokio::time::advance(POLICY.away_timeout * 2).await;
    peers.evict();
    assert!(peers.reports().is_empty());
    // Another pod may have the address by now.
    let mut peers = killed(unready.clone());
    peers.update_pods();
    tokio::time::advance(TIMEOUT * 2).await;
    sender.send_replace(Some(listed.clone()));
    peers.update_pods();
    assert!(peers.may_deliver("b:1"));

    // A receiver that starts learns it from the others, unless it finds a pod listed itself.
    for (unready, waits) in [(BTreeSet::new(), false), (listed, true)] {
        let (_, unready) = watch::channel(Some(unready));
        let mut starting = Peers::new("c:1".to_owned(), POLICY, unready);
        let report = PeerReport {
            silent_ms: 0,
            stated_ms: Some(22_000),
            ..reported
        };
        starting.merge_report("b:1", &report, Instant::now());
        starting.record_silence("b:1", Instant::now(), 22_000);
        starting.update_pods();
        assert_eq!(starting.may_deliver("b:1"), waits);
        assert_ne!(starting.reports()["b:1"].is_pod_deleted, waits);
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_no_longer_resolves_says_nothing_about_the_disk() {
    let (_, unready) = watch::channel(None);
    let mut peers = killed(unready);
    tokio::time::advance(TIMEOUT * 2).await;
    peers.update_pods();
    assert!(peers.may_deliver("b:1"));
}
