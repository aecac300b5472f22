//! What is known of others as they come, go and fall silent.

use tokio::sync::watch;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);
const PATIENT: super::Patience = super::Patience {
    are_ready: true,
    timeout: TIMEOUT,
    away: Duration::from_secs(60),
    spills: false,
};

/// Those of a receiver that is told of nobody who is not ready.
fn peers() -> Peers {
    let (_, unready) = watch::channel(None);
    Peers::new("a:1".to_owned(), PATIENT, unready)
}

fn asked(peers: &Peers) -> Vec<(&str, u64)> {
    let asked = peers.to_ask();
    asked
        .map(|(name, has)| (name.as_str(), has.as_millis() as u64))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_rumour_does_not_bring_back_one_that_has_drained() {
    let mut peers = peers();
    let members = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    peers.follow(&members(&["b:1", "c:1"]));
    assert_eq!(asked(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
    // Its name may be another's by now, who would answer at once.
    peers.parts("b:1", Parting::Drained);
    assert_eq!(asked(&peers), [("b:1", 250), ("c:1", 1_000)]);
    peers.follow(&members(&["c:1"]));
    peers.forget();
    peers.learn_of("b:1", &Rumour::default(), Instant::now());
    assert_eq!(asked(&peers), [("c:1", 1_000)]);
    assert!(!peers.are_watched());
    // Whoever asks is there.
    peers.heard(
        "b:1",
        Life {
            number: 1,
            ..Life::default()
        },
    );
    peers.parts("b:1", Parting::Drained);
    peers.heard(
        "b:1",
        Life {
            number: 2,
            ..Life::default()
        },
    );
    assert_eq!(asked(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
    peers.parts("b:1", Parting::Drained);
    assert_eq!(peers.rumours()["b:1"].drained, Some(2));
    tokio::time::advance(TIMEOUT * 2).await;
    peers.forget();
    peers.follow(&members(&[]));
    peers.learn_of("b:1", &Rumour::default(), Instant::now());
    assert_eq!(asked(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_back_has_not_parted() {
    let mut peers = peers();
    let members = BTreeSet::from(["b:1".to_owned()]);
    peers.follow(&members);
    peers.parts("b:1", Parting::Stopped);
    // News of the members are older than what it says.
    peers.follow(&members);
    assert_eq!(peers.parted(), members);
    peers.follow(&BTreeSet::new());
    peers.follow(&members);
    assert!(peers.parted().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_that_has_drained_and_left_is_nobody_to_ask() {
    let mut peers = peers();
    peers.learn("b:1");
    assert!(!peers.is_empty());
    peers.parts("b:1", Parting::Drained);
    assert!(peers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_older_answer_does_not_undo_that_one_has_drained() {
    let mut peers = peers();
    peers.follow(&BTreeSet::from(["b:1".to_owned(), "c:1".to_owned()]));
    peers.parts("b:1", Parting::Stopped);
    peers.parts("b:1", Parting::Drained);
    peers.parts("b:1", Parting::Stopped);
    assert_eq!(asked(&peers), [("b:1", 250), ("c:1", 1_000)]);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_gone_before_is_taken_for_drained_by_what_others_say() {
    let drained = Rumour {
        said_ms: Some(0),
        drained: Some(1),
        ..Rumour::default()
    };
    let mut peers = peers();
    // News of the members may be older than this process.
    peers.follow(&BTreeSet::from(["b:1".to_owned(), "c:1".to_owned()]));
    peers.follow(&BTreeSet::from(["c:1".to_owned()]));
    peers.learn_of("b:1", &drained, Instant::now());
    assert_eq!(asked(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
    // It may be a new process of the name that is there.
    peers.silent("b:1", Instant::now(), 0);
    assert!(!peers.may_scrape("b:1") && !peers.may_export("b:1"));
    assert_eq!(asked(&peers), [("c:1", 1_000)]);
    // A new process of the name says itself that it is there.
    let process = |number| Life {
        number,
        ..Life::default()
    };
    peers.heard("b:1", process(2));
    assert_eq!(asked(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
    peers.silent("b:1", Instant::now(), 0);
    peers.learn_of("b:1", &drained, Instant::now());
    assert!(peers.may_scrape("b:1"));
}

#[tokio::test(start_paused = true)]
async fn of_what_others_tell_the_latest_word_counts() {
    let word = |said_ms, away_ms| Rumour {
        said_ms,
        legacy: Legacy {
            away_ms,
            ..Legacy::default()
        },
        ..Rumour::default()
    };
    let mut peers = peers();
    peers.follow(&BTreeSet::from(["b:1".to_owned()]));
    let mut away_ms = |rumour| {
        peers.learn_of("b:1", &rumour, Instant::now());
        peers.rumours()["b:1"].legacy.away_ms
    };
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(away_ms(word(None, 60_000)), 0, "it is presumed only");
    assert_eq!(away_ms(word(Some(20_000), 60_000)), 60_000);
    assert_eq!(away_ms(word(Some(19_500), 0)), 60_000);
    assert_eq!(away_ms(word(Some(10_000), 0)), 0);
    assert_eq!(away_ms(word(Some(15_000), 60_000)), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_answer_slows_nothing_down() {
    let mut peers = peers();
    peers.follow(&BTreeSet::from(["b:1".to_owned(), "c:1".to_owned()]));
    peers.silent("b:1", Instant::now(), 0);
    assert_eq!(asked(&peers), [("b:1", 250), ("c:1", 1_000)]);
    peers.heard("b:1", Life::default());
    assert_eq!(asked(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
}

#[tokio::test(start_paused = true)]
async fn one_that_others_still_hear_may_deliver() {
    let mut peers = peers();
    peers.learn("b:1");
    peers.silent("b:1", Instant::now(), 0);
    let heard = Rumour {
        said_ms: Some(0),
        ..Rumour::default()
    };
    for _ in 0..3 {
        tokio::time::advance(TIMEOUT * 2 / 3).await;
        peers.learn_of("b:1", &heard, Instant::now());
        assert!(peers.may_export("b:1"));
    }
    // What it scrapes may be taken nevertheless.
    assert!(!peers.may_scrape("b:1"));
    tokio::time::advance(TIMEOUT).await;
    assert!(!peers.may_export("b:1"));
    peers.learn_of("b:1", &heard, Instant::now());
    assert!(peers.may_export("b:1"));
    // Some are cut off for days.
    tokio::time::advance(PATIENT.away).await;
    peers.learn_of("b:1", &heard, Instant::now());
    assert!(!peers.may_export("b:1"));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_not_ready_and_is_gone_is_not_waited_for() {
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    let (sender, unready) = watch::channel(names(&["b:1", "c:1"]));
    let mut peers = Peers::new("a:1".to_owned(), PATIENT, unready);
    peers.learn_of_unready();
    peers.heard("c:1", Life::default());
    peers.dispel(|_| true);
    assert_eq!(asked(&peers), [("b:1", 1_000), ("c:1", 1_000)]);
    sender.send_replace(names(&[]));
    peers.dispel(|_| true);
    assert_eq!(asked(&peers), [("c:1", 1_000)]);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_reached_has_drained_where_others_heard_it_say_so() {
    let mut peers = peers();
    peers.follow(&BTreeSet::from(["b:1".to_owned()]));
    let process = |number| Life {
        number,
        ..Life::default()
    };
    peers.heard("b:1", process(1));
    peers.silent("b:1", Instant::now(), 0);
    let drained = Rumour {
        said_ms: Some(0),
        drained: Some(1),
        ..Rumour::default()
    };
    peers.learn_of("b:1", &drained, Instant::now());
    assert!(!peers.may_export("b:1"));
    // It has left nothing for which a new process of its name is waited for.
    peers.heard("b:1", process(2));
    assert!(!peers.may_export("b:1"));
}

/// Another that has left a backlog on its disk, and is listed in this way.
fn killed(unready: Addresses) -> Peers {
    let mut peers = Peers::new("a:1".to_owned(), PATIENT, unready);
    peers.follow(&BTreeSet::from(["b:1".to_owned()]));
    let legacy = Legacy {
        away_ms: 60_000,
        ..Legacy::default()
    };
    peers.heard(
        "b:1",
        Life {
            legacy,
            ..Life::default()
        },
    );
    peers.silent("b:1", Instant::now(), 0);
    peers.follow(&BTreeSet::new());
    peers
}

#[tokio::test(start_paused = true)]
async fn one_whose_pod_is_gone_is_not_waited_for_as_if_it_would_be_back() {
    let listed = BTreeSet::from(["b:1".to_owned()]);
    let (sender, unready) = watch::channel(Some(listed.clone()));
    let mut peers = killed(unready.clone());
    tokio::time::advance(TIMEOUT * 2).await;
    peers.look_up();
    assert!(peers.may_export("b:1"));
    sender.send_replace(Some(BTreeSet::new()));
    peers.look_up();
    // As one that becomes ready it may be in neither list for a moment.
    assert!(peers.may_export("b:1") && !peers.rumours()["b:1"].deleted);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(!peers.may_export("b:1"));
    let told = peers.rumours()["b:1"];
    assert!(told.deleted);
    // Others may tell of it that have not heard yet that it is gone.
    let late = Rumour {
        deleted: false,
        ..told
    };
    peers.forget();
    peers.learn_of("b:1", &late, Instant::now());
    assert!(asked(&peers).is_empty() && !peers.are_watched());
    tokio::time::advance(PATIENT.away * 2).await;
    peers.forget();
    assert!(peers.rumours().is_empty());
    // An address may be another pod's by now.
    let mut peers = killed(unready.clone());
    peers.look_up();
    tokio::time::advance(TIMEOUT * 2).await;
    sender.send_replace(Some(listed.clone()));
    peers.look_up();
    assert!(peers.may_export("b:1"));

    // One that begins hears that from others, unless it sees a pod there itself.
    for (unready, waits) in [(BTreeSet::new(), false), (listed, true)] {
        let (_, unready) = watch::channel(Some(unready));
        let mut newborn = Peers::new("c:1".to_owned(), PATIENT, unready);
        let word = Rumour {
            silent_ms: 0,
            said_ms: Some(22_000),
            ..told
        };
        newborn.learn_of("b:1", &word, Instant::now());
        newborn.silent("b:1", Instant::now(), 22_000);
        newborn.look_up();
        assert_eq!(newborn.may_export("b:1"), waits);
        assert_ne!(newborn.rumours()["b:1"].deleted, waits);
    }
}

#[tokio::test(start_paused = true)]
async fn that_a_name_resolves_no_more_says_nothing_of_the_disk() {
    let (_, unready) = watch::channel(None);
    let mut peers = killed(unready);
    tokio::time::advance(TIMEOUT * 2).await;
    peers.look_up();
    assert!(peers.may_export("b:1"));
}
