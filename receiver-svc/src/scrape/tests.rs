//! Loops and pools under a clock that stands still unless all wait for it.

use std::collections::BTreeSet;

use super::*;
use crate::{handover::GRACE, shard::Shard};

mod bench;

use bench::{Answer, Bench};

const TWO: &str = "a 1\nb 2\n";

#[tokio::test(start_paused = true)]
async fn a_target_is_scraped_in_its_slots() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(35).await;
    let times = bench.times("up");
    assert!((3..=4).contains(&times.len()), "{times:?}");
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] == 10_000),
        "{times:?}"
    );
    assert_eq!(bench.times("a"), times);
    assert_eq!(bench.values("up"), vec![Some(1.0); times.len()]);
    assert_eq!(bench.values("scrape_samples_scraped")[0], Some(2.0));
    assert_eq!(
        bench.values("scrape_series_added")[..2],
        [Some(2.0), Some(0.0)]
    );
    let account = bench.outbox.account();
    assert!(
        account.balances() && account.pushed == 7 * times.len() as u64,
        "{account}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_and_ends_the_series() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    bench.answer(Answer::Body("\nc\n"));
    bench.seconds(10).await;
    assert_eq!(bench.values("up"), [Some(1.0), Some(0.0)]);
    assert_eq!(bench.values("a"), [Some(1.0), None]);
    assert_eq!(bench.times("a"), bench.times("up"));
    let (reason, words) = bench.last().failure.unwrap();
    assert_eq!(reason, Reason::Parse);
    assert!(words.starts_with("line 2: expected a value"), "{words}");
    bench.answer(Answer::Body(TWO));
    bench.seconds(10).await;
    assert_eq!(bench.values("a")[2], Some(1.0));
    assert!(bench.last().failure.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_target_that_takes_too_long_is_down_and_keeps_its_rhythm() {
    let mut bench = Bench::scraping(TWO).await;
    bench.answer(Answer::Never);
    bench.seconds(40).await;
    let times = bench.times("up");
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] == 10_000),
        "{times:?}"
    );
    assert!(bench.values("up").iter().all(|value| *value == Some(0.0)));
    assert_eq!(bench.last().failure.unwrap().0, Reason::Timeout);
    assert_eq!(bench.values("scrape_duration_seconds")[0], Some(10.0));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_stops_no_scrape_and_no_time_comes_twice() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(30).await;
    for seconds in [60, 0, -60, 0] {
        let asked = bench.asked();
        bench.set_clock(seconds);
        bench.seconds(30).await;
        assert_eq!(bench.asked(), asked + 3, "{seconds}");
    }
    let times = bench.times("a");
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] >= 10_000),
        "{times:?}"
    );
    assert_eq!(times, bench.times("up"));
    // Three each at first, with the clock ahead, and once it is right for good.
    assert_eq!(times.len(), 9, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_gone_ends_with_markers_in_time() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    let last = bench.times("up")[0];
    bench.discover(&[]);
    bench.seconds(30).await;
    for name in ["a", "b", "up", "scrape_duration_seconds"] {
        assert_eq!(bench.times(name), [last, last + 10_000], "{name}");
        assert_eq!(bench.values(name)[1], None, "{name}");
    }
    // Too late for more than a fresh start.
    bench.discover(&["t:1"]);
    bench.seconds(10).await;
    assert_eq!(bench.values("scrape_series_added")[2], Some(2.0));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_comes_back_in_time_goes_on() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    bench.discover(&[]);
    bench.seconds(15).await;
    bench.answer(Answer::Body("a 1\n"));
    bench.discover(&["t:1"]);
    bench.seconds(10).await;
    assert_eq!(bench.values("up"), [Some(1.0), Some(1.0)]);
    assert_eq!(bench.values("a"), [Some(1.0), Some(1.0)]);
    // It is the target that no longer has it.
    assert_eq!(bench.values("b"), [Some(2.0), None]);
    bench.seconds(60).await;
    assert_eq!(
        bench
            .values("up")
            .iter()
            .filter(|value| value.is_none())
            .count(),
        0
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_that_moves_leaves_no_markers_and_keeps_its_rhythm() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    let first = bench.times("up")[0];
    let members = BTreeSet::from(["other:1".to_owned()]);
    bench.share(Shard::new("me:1", &members));
    bench.seconds(100).await;
    assert_eq!(bench.times("up"), [first]);
    assert_eq!(bench.times("a"), [first]);
    bench.share(Shard::alone());
    bench.seconds(20).await;
    let times = bench.times("up");
    assert_eq!((times[1] - first) % 10_000, 0);
    assert!(bench.values("up").iter().all(Option::is_some));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_becomes_another_s_is_scraped_until_that_one_takes_it() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    // Nobody is known who would take it.
    bench.share(Shard::new("me:1", &BTreeSet::new()));
    bench.seconds(50).await;
    let times = bench.times("up");
    assert!(times.len() >= 4, "{times:?}");
    bench.share(Shard::new("me:1", &BTreeSet::from(["other:1".to_owned()])));
    bench.seconds(3).await;
    let times = bench.times("up");
    bench.seconds(50).await;
    assert_eq!(bench.times("up"), times);
}

#[tokio::test(start_paused = true)]
async fn loops_of_targets_that_are_gone_end() {
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(60).await;
    let before = tasks();
    for n in 0..20 {
        bench.discover(&["t:1", &format!("gone:{n}")]);
        bench.seconds(20).await;
    }
    bench.discover(&["t:1"]);
    bench.seconds(60).await;
    bench.discover(&["t:1"]);
    bench.seconds(1).await;
    assert_eq!(tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn a_new_owner_waits_for_an_old_one_that_does_not_answer() {
    let mut bench = Bench::scraping(TWO).await;
    let members = BTreeSet::from(["me:1".to_owned(), "other:1".to_owned()]);
    let names: Vec<_> = (0..20).map(|n| format!("t:{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    bench.share(Shard::new("me:1", &members));
    bench.discover(&names);
    let shared_ms = bench.now_ms();
    bench.seconds(20).await;
    let times = bench.times("up");
    assert!(!times.is_empty());
    let grace = GRACE.as_millis() as i64;
    assert!(
        times.iter().all(|time| *time >= shared_ms + grace),
        "{times:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_cache_and_the_rhythm() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    bench.configure("  sample_limit: 100\n");
    bench.seconds(10).await;
    let times = bench.times("up");
    assert_eq!(times[1] - times[0], 10_000);
    assert_eq!(bench.values("scrape_series_added"), [Some(2.0), Some(0.0)]);
}

#[tokio::test(start_paused = true)]
async fn new_rules_over_samples_end_the_series_they_take_away() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    bench.configure(
        "  metric_relabel_configs:\n  - {source_labels: [__name__], regex: b, action: drop}\n",
    );
    bench.seconds(10).await;
    assert_eq!(bench.values("a"), [Some(1.0), Some(1.0)]);
    assert_eq!(bench.values("b"), [Some(2.0), None]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_no_longer_configured_leaves_no_markers() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    bench.forget_jobs();
    bench.seconds(60).await;
    assert_eq!(bench.values("up"), [Some(1.0)]);
}

#[tokio::test(start_paused = true)]
async fn too_many_targets_fail_all_of_them() {
    let mut bench = Bench::scraping(TWO).await;
    bench.configure("  target_limit: 1\n");
    bench.discover(&["t:1", "t:2", "t:1"]);
    bench.seconds(10).await;
    assert_eq!(bench.values("up"), [Some(0.0), Some(0.0)]);
    let (reason, words) = bench.last().failure.unwrap();
    assert_eq!(reason, Reason::TargetLimit);
    assert_eq!(
        words,
        "target_limit exceeded (number of targets: 2, limit: 1)"
    );
    bench.discover(&["t:1"]);
    bench.seconds(10).await;
    assert_eq!(*bench.values("up").last().unwrap(), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn without_room_in_the_outbox_nothing_is_acquired() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    bench.hold_exports();
    bench.fill_outbox();
    let pushed = bench.outbox.account().pushed;
    bench.seconds(30).await;
    assert_eq!(bench.outbox.account().pushed, pushed);
    assert_eq!(bench.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_scrapes_while_any_of_its_targets_answers() {
    let mut bench = Bench::scraping(TWO).await;
    assert!(!bench.is_scraping(), "before the first scrape");
    bench.seconds(10).await;
    assert!(bench.is_scraping());
    bench.answer(Answer::Body("\nc\n"));
    bench.seconds(10).await;
    assert!(!bench.is_scraping(), "its only target fails");
    bench.answer(Answer::Body(TWO));
    bench.seconds(10).await;
    assert!(bench.is_scraping());
    bench.hold_exports();
    bench.fill_outbox();
    bench.seconds(30).await;
    assert!(!bench.is_scraping(), "nothing is acquired");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_without_targets_of_its_own_does_not_scrape() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    bench.share(Shard::new("me:1", &BTreeSet::from(["other:1".to_owned()])));
    // That one does not answer, and takes them unasked.
    bench.seconds(3).await;
    assert!(!bench.is_scraping());
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_back_need_not_be_scraped_before_it_counts() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    bench.share(Shard::new("me:1", &BTreeSet::from(["other:1".to_owned()])));
    bench.seconds(3).await;
    assert!(!bench.is_scraping());
    let asked = bench.asked();
    bench.share(Shard::new("me:1", &BTreeSet::from(["me:1".to_owned()])));
    bench.seconds(1).await;
    assert_eq!(bench.asked(), asked);
    assert!(bench.is_scraping());
    bench.answer(Answer::Body("\nc\n"));
    bench.seconds(10).await;
    assert!(!bench.is_scraping(), "it fails here");
}

#[tokio::test(start_paused = true)]
async fn dropped_and_broken_targets_are_shown() {
    let mut bench = Bench::scraping(TWO).await;
    bench.configure(
        "  keep_dropped_targets: 1\n  relabel_configs:\n  - {source_labels: [__address__], regex: 'd.*', action: drop}\n",
    );
    bench.discover(&["t:1", "d:1", "d:2", "a/b"]);
    let status = bench.manager.status().borrow().clone();
    let job = &status.jobs[0];
    assert_eq!(
        (job.targets.len(), job.dropped.len(), job.dropped_count),
        (1, 1, 2)
    );
    let error =
        "{__address__=\"a/b\"}: \"a/b\" is not a valid hostname, expected HOST or HOST:PORT";
    assert_eq!(job.errors, [error]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_scrape_is_logged_where_the_configuration_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("failures.log");
    let keys = format!("  scrape_failure_log_file: {}", path.display());
    let mut bench = Bench::scraping(TWO).await;
    bench.configure(&keys);
    bench.seconds(10).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    bench.answer(Answer::Body("\nc\n"));
    bench.seconds(20).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(lines[0]["job_name"], "j");
    assert_eq!(lines[0]["target"], "http://t:1/metrics");
    let words = lines[0]["msg"].as_str().unwrap();
    assert!(words.starts_with("line 2: expected a value"), "{words}");
}
