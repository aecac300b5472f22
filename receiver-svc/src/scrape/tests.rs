//! Scrape loops and pools with paused time.

use std::{collections::BTreeSet, sync::Arc};

use mesh_model::{config::discovery::TargetGroup, labels::Labels};

use super::*;
use crate::{handover::GRACE, shard::Shard};

mod bench;

use bench::{Bench, Reply};

const TWO: &str = "a 1\nb 2\n";

#[tokio::test(start_paused = true)]
async fn scrapes_a_target_once_per_slot() {
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
async fn a_failed_scrape_is_reported_and_ends_the_series() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    bench.answer(Reply::Body("\nc\n"));
    bench.seconds(10).await;
    assert_eq!(bench.values("up"), [Some(1.0), Some(0.0)]);
    assert_eq!(bench.values("a"), [Some(1.0), None]);
    assert_eq!(bench.times("a"), bench.times("up"));
    let (reason, message) = bench.last().failure.unwrap();
    assert_eq!(reason, FailureReason::Parse);
    assert!(message.starts_with("line 2: expected a value"), "{message}");
    bench.answer(Reply::Body(TWO));
    bench.seconds(10).await;
    assert_eq!(bench.values("a")[2], Some(1.0));
    assert!(bench.last().failure.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_target_that_times_out_is_down_and_keeps_its_schedule() {
    let mut bench = Bench::scraping(TWO).await;
    bench.answer(Reply::Never);
    bench.seconds(40).await;
    let times = bench.times("up");
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] == 10_000),
        "{times:?}"
    );
    assert!(bench.values("up").iter().all(|value| *value == Some(0.0)));
    assert_eq!(bench.last().failure.unwrap().0, FailureReason::Timeout);
    assert_eq!(bench.values("scrape_duration_seconds")[0], Some(10.0));
}

#[tokio::test(start_paused = true)]
async fn a_clock_step_skips_no_scrape_and_repeats_no_timestamp() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(30).await;
    for seconds in [60, 0, -60, 0] {
        let requests = bench.requests();
        bench.set_clock(seconds);
        bench.seconds(30).await;
        assert_eq!(bench.requests(), requests + 3, "{seconds}");
    }
    let times = bench.times("a");
    assert!(
        times.windows(2).all(|pair| pair[1] - pair[0] >= 10_000),
        "{times:?}"
    );
    assert_eq!(times, bench.times("up"));
    // Three before the steps, three with the clock ahead, three after the last step.
    assert_eq!(times.len(), 9, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_removed_target_ends_with_staleness_markers() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    let last = bench.times("up")[0];
    bench.discover(&[]);
    bench.seconds(30).await;
    for name in ["a", "b", "up", "scrape_duration_seconds"] {
        assert_eq!(bench.times(name), [last, last + 10_000], "{name}");
        assert_eq!(bench.values(name)[1], None, "{name}");
    }
    // The series have ended, so all of them are new.
    bench.discover(&["t:1"]);
    bench.seconds(10).await;
    assert_eq!(bench.values("scrape_series_added")[2], Some(2.0));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_comes_back_in_time_keeps_its_series() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    bench.discover(&[]);
    bench.seconds(15).await;
    bench.answer(Reply::Body("a 1\n"));
    bench.discover(&["t:1"]);
    bench.seconds(10).await;
    assert_eq!(bench.values("up"), [Some(1.0), Some(1.0)]);
    assert_eq!(bench.values("a"), [Some(1.0), Some(1.0)]);
    // The target itself no longer exposes it.
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
async fn a_removed_target_whose_scrapes_take_the_whole_interval_ends() {
    let mut bench = Bench::scraping(TWO).await;
    bench.answer(Reply::Never);
    bench.seconds(35).await;
    bench.discover(&[]);
    bench.seconds(60).await;
    let ups = bench.values("up");
    assert_eq!(ups.last(), Some(&None), "{ups:?}");
    let last_ms = bench.times("up").last().copied();
    bench.seconds(60).await;
    assert_eq!(bench.times("up").last().copied(), last_ms);
}

/// Gives all targets the label `instance` of a pod that keeps its name.
const SAME_INSTANCE: &str = "  relabel_configs:\n  - {target_label: instance, replacement: db-0}\n";

#[tokio::test(start_paused = true)]
async fn a_target_that_comes_back_at_another_address_gets_no_markers() {
    let mut bench = Bench::scraping(TWO).await;
    bench.configure(SAME_INSTANCE);
    bench.seconds(20).await;
    for address in ["t:2", "t:1", "t:3"] {
        bench.discover(&[address]);
        bench.seconds(60).await;
    }
    for name in ["a", "b", "up", "scrape_duration_seconds"] {
        assert!(bench.values(name).iter().all(Option::is_some), "{name}");
        assert!(bench.times(name).is_sorted(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_series_that_the_successor_of_a_target_lacks_ends_once() {
    let mut bench = Bench::scraping(TWO).await;
    bench.configure(SAME_INSTANCE);
    bench.seconds(10).await;
    bench.answer(Reply::Body("a 1\n"));
    bench.discover(&["t:2"]);
    bench.seconds(60).await;
    assert!(bench.values("a").iter().all(Option::is_some));
    assert_eq!(bench.values("b"), [Some(2.0), None]);
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_changes_path_parameters_or_interval_writes_no_markers() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(20).await;
    for keys in [
        "  metrics_path: /other\n",
        "  params: {collect: [x]}\n",
        "  relabel_configs:\n  - {target_label: __scrape_interval__, replacement: 50s}\n",
    ] {
        bench.configure(keys);
        bench.seconds(60).await;
    }
    for name in ["a", "up"] {
        assert!(bench.values(name).iter().all(Option::is_some), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_whose_successor_another_receiver_scrapes_gets_no_markers() {
    let mut bench = Bench::scraping(TWO).await;
    bench.configure(SAME_INSTANCE);
    bench.seconds(10).await;
    bench.discover(&["t:2"]);
    bench.update_shard(Shard::new("me:1", &BTreeSet::from(["other:1".to_owned()])));
    bench.seconds(60).await;
    for name in ["a", "up"] {
        assert!(bench.values(name).iter().all(Option::is_some), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_scrape_that_hangs_while_its_target_is_replaced_leaves_no_markers() {
    let mut bench = Bench::scraping(TWO).await;
    bench.configure(SAME_INSTANCE);
    bench.seconds(20).await;
    bench.silence("http://t:1/metrics");
    let requests = bench.requests();
    while bench.requests() == requests {
        bench.seconds(1).await;
    }
    bench.discover(&["t:2"]);
    bench.seconds(60).await;
    for name in ["a", "b", "up"] {
        let values = bench.values(name);
        assert!(values.iter().all(Option::is_some), "{name}: {values:?}");
        assert!(bench.times(name).is_sorted(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_scrape_leaves_no_markers_behind_samples_of_a_twin() {
    let mut bench = Bench::scraping(TWO).await;
    bench.configure(SAME_INSTANCE);
    bench.discover(&["t:1", "t:2"]);
    bench.seconds(20).await;
    bench.silence("http://t:1/metrics");
    bench.seconds(60).await;
    assert!(bench.values("up").contains(&Some(0.0)));
    let values = bench.values("a");
    assert!(values.iter().all(Option::is_some), "{values:?}");
}

#[tokio::test(start_paused = true)]
async fn one_of_two_targets_with_the_same_series_leaves_no_markers() {
    let mut bench = Bench::scraping("a{instance=\"db-0\"} 1\n").await;
    bench.configure("  honor_labels: true\n");
    bench.discover(&["t:1", "t:2"]);
    bench.seconds(20).await;
    bench.discover(&["t:2"]);
    bench.seconds(60).await;
    assert!(bench.values("a").iter().all(Option::is_some));
    // The report series of the two targets differ.
    let markers = bench
        .values("up")
        .iter()
        .filter(|value| value.is_none())
        .count();
    assert_eq!(markers, 1);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_moves_gets_no_markers_and_keeps_its_schedule() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    let first = bench.times("up")[0];
    let members = BTreeSet::from(["other:1".to_owned()]);
    bench.update_shard(Shard::new("me:1", &members));
    bench.seconds(100).await;
    assert_eq!(bench.times("up"), [first]);
    assert_eq!(bench.times("a"), [first]);
    bench.update_shard(Shard::alone());
    bench.seconds(20).await;
    let times = bench.times("up");
    assert_eq!((times[1] - first) % 10_000, 0);
    assert!(bench.values("up").iter().all(Option::is_some));
}

#[tokio::test(start_paused = true)]
async fn scrapes_a_lost_target_until_the_new_owner_takes_it() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    // No other member could take the target.
    bench.update_shard(Shard::new("me:1", &BTreeSet::new()));
    bench.seconds(50).await;
    let times = bench.times("up");
    assert!(times.len() >= 4, "{times:?}");
    bench.update_shard(Shard::new("me:1", &BTreeSet::from(["other:1".to_owned()])));
    bench.seconds(3).await;
    let times = bench.times("up");
    bench.seconds(50).await;
    assert_eq!(bench.times("up"), times);
}

#[tokio::test(start_paused = true)]
async fn loops_of_removed_targets_end() {
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
async fn a_new_owner_waits_for_an_unreachable_previous_owner() {
    let mut bench = Bench::scraping(TWO).await;
    let members = BTreeSet::from(["me:1".to_owned(), "other:1".to_owned()]);
    let names: Vec<_> = (0..20).map(|n| format!("t:{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    bench.update_shard(Shard::new("me:1", &members));
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
async fn a_reload_keeps_the_cache_and_the_schedule() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    bench.configure("  sample_limit: 100\n");
    bench.seconds(10).await;
    let times = bench.times("up");
    assert_eq!(times[1] - times[0], 10_000);
    assert_eq!(bench.values("scrape_series_added"), [Some(2.0), Some(0.0)]);
}

#[tokio::test(start_paused = true)]
async fn new_metric_relabeling_ends_the_series_it_drops() {
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
async fn a_removed_job_gets_no_markers() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    bench.remove_jobs();
    bench.seconds(60).await;
    assert_eq!(bench.values("up"), [Some(1.0)]);
}

#[tokio::test(start_paused = true)]
async fn exceeding_the_target_limit_fails_all_targets() {
    let mut bench = Bench::scraping(TWO).await;
    bench.configure("  target_limit: 1\n");
    bench.discover(&["t:1", "t:2", "t:1"]);
    bench.seconds(10).await;
    assert_eq!(bench.values("up"), [Some(0.0), Some(0.0)]);
    let (reason, message) = bench.last().failure.unwrap();
    assert_eq!(reason, FailureReason::TargetLimit);
    assert_eq!(
        message,
        "target_limit exceeded (number of targets: 2, limit: 1)"
    );
    bench.discover(&["t:1"]);
    bench.seconds(10).await;
    assert_eq!(*bench.values("up").last().unwrap(), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn skips_scrapes_while_the_outbox_is_full() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    bench.block_exports();
    bench.fill_outbox();
    let pushed = bench.outbox.account().pushed;
    bench.seconds(30).await;
    assert_eq!(bench.outbox.account().pushed, pushed);
    assert_eq!(bench.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn is_scraping_while_any_target_is_up() {
    let mut bench = Bench::scraping(TWO).await;
    assert!(!bench.is_scraping(), "before the first scrape");
    bench.seconds(10).await;
    assert!(bench.is_scraping());
    bench.answer(Reply::Body("\nc\n"));
    bench.seconds(10).await;
    assert!(!bench.is_scraping(), "its only target is down");
    bench.answer(Reply::Body(TWO));
    bench.seconds(10).await;
    assert!(bench.is_scraping());
    bench.block_exports();
    bench.fill_outbox();
    bench.seconds(30).await;
    assert!(!bench.is_scraping(), "all scrapes are skipped");
}

#[tokio::test(start_paused = true)]
async fn is_not_scraping_without_own_targets() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    bench.update_shard(Shard::new("me:1", &BTreeSet::from(["other:1".to_owned()])));
    // The other receiver is unreachable; after the grace period it counts as the owner.
    bench.seconds(3).await;
    assert!(!bench.is_scraping());
}

#[tokio::test(start_paused = true)]
async fn is_scraping_counts_a_regained_target_before_its_first_scrape() {
    let mut bench = Bench::scraping(TWO).await;
    bench.seconds(10).await;
    bench.update_shard(Shard::new("me:1", &BTreeSet::from(["other:1".to_owned()])));
    bench.seconds(3).await;
    assert!(!bench.is_scraping());
    let requests = bench.requests();
    bench.update_shard(Shard::new("me:1", &BTreeSet::from(["me:1".to_owned()])));
    bench.seconds(1).await;
    assert_eq!(bench.requests(), requests);
    assert!(bench.is_scraping());
    bench.answer(Reply::Body("\nc\n"));
    bench.seconds(10).await;
    assert!(!bench.is_scraping(), "the target is down");
}

#[tokio::test(start_paused = true)]
async fn status_lists_dropped_and_invalid_targets() {
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
    let dropped = job.dropped[0].labels();
    assert_eq!(dropped.get("__address__"), Some("d:1"));
    assert_eq!(dropped.get("__scheme__"), Some("http"));
    let error =
        "{__address__=\"a/b\"}: \"a/b\" is not a valid hostname, expected HOST or HOST:PORT";
    assert_eq!(job.errors, [error]);
}

#[tokio::test(start_paused = true)]
async fn relabels_only_the_groups_that_changed() {
    let mut bench = Bench::scraping(TWO).await;
    let group = |address: &str| {
        let labels: Labels = [("__address__", address)].into_iter().collect();
        Arc::new(TargetGroup {
            targets: vec![labels],
            ..TargetGroup::default()
        })
    };
    let target = |bench: &Bench, url: &str| {
        let status = bench.manager.status().borrow().clone();
        let mut targets = status.jobs[0].targets.iter();
        targets
            .find(|status| status.target.url == url)
            .unwrap()
            .target
            .clone()
    };
    let (stays, changes) = (group("a:1"), group("b:1"));
    bench.discover_groups(vec![stays.clone(), changes]);
    let before = target(&bench, "http://a:1/metrics");
    bench.discover_groups(vec![group("b:2"), stays.clone()]);
    assert!(Arc::ptr_eq(&before, &target(&bench, "http://a:1/metrics")));
    target(&bench, "http://b:2/metrics");
    // A reload can change the relabeling.
    bench.configure("  relabel_configs: [{target_label: x, replacement: y}]\n");
    bench.discover_groups(vec![stays]);
    let after = target(&bench, "http://a:1/metrics");
    assert_eq!(after.public.get("x"), Some("y"));
}

#[tokio::test(start_paused = true)]
async fn writes_failed_scrapes_to_the_failure_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("failures.log");
    let keys = format!("  scrape_failure_log_file: {}", path.display());
    let mut bench = Bench::scraping(TWO).await;
    bench.configure(&keys);
    bench.seconds(10).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    bench.answer(Reply::Body("\nc\n"));
    bench.seconds(20).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(lines[0]["job_name"], "j");
    assert_eq!(lines[0]["target"], "http://t:1/metrics");
    let message = lines[0]["msg"].as_str().unwrap();
    assert!(message.starts_with("line 2: expected a value"), "{message}");
}
