use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::*;

type Owners = BTreeMap<u64, Arc<str>>;

fn targets(names: impl IntoIterator<Item = String>) -> BTreeSet<u64> {
    names.into_iter().map(|n| xxh3_64(n.as_bytes())).collect()
}

/// Targets of one seed; no other seed has the same.
fn some(n: usize, seed: u32) -> BTreeSet<u64> {
    targets((0..n).map(|i| format!("10.{seed}.{}.{}:9100", i / 250, i % 250)))
}

fn members(n: usize, seed: u32) -> BTreeSet<String> {
    (0..n)
        .map(|i| format!("receiver-{seed}-{i}:8080"))
        .collect()
}

fn assignment(members: &BTreeSet<String>, targets: &BTreeSet<u64>) -> Assignment {
    let me = members.first().map_or("", String::as_str);
    Assignment::new(Shard::new(me, members), targets)
}

fn owners(members: &BTreeSet<String>, targets: &BTreeSet<u64>) -> Owners {
    let it = assignment(members, targets);
    let owner = |target: &u64| Some((*target, it.owner(*target)?.clone()));
    targets.iter().filter_map(owner).collect()
}

/// Number of targets of each member, including members without any.
fn counts(members: &BTreeSet<String>, owners: &Owners) -> Vec<usize> {
    let count = |member: &String| owners.values().filter(|owner| ***owner == **member).count();
    members.iter().map(count).collect()
}

fn moved(before: &Owners, after: &Owners) -> usize {
    let both = before
        .iter()
        .filter_map(|(t, owner)| Some((owner, after.get(t)?)));
    both.filter(|(before, after)| before != after).count()
}

/// Asserts that every member is within 10 % of the mean, or within one target.
fn assert_even(members: &BTreeSet<String>, targets: &BTreeSet<u64>) {
    let owners = owners(members, targets);
    assert_eq!(owners.len(), targets.len());
    let mean = targets.len() as f64 / members.len() as f64;
    let slack = (mean * 0.1).max(1.0);
    let counts = counts(members, &owners);
    let is_even = |n: &usize| (*n as f64 - mean).abs() <= slack;
    assert!(counts.iter().all(is_even), "mean {mean}: {counts:?}");
}

#[test]
fn spreads_a_thousand_targets_within_ten_percent_of_even() {
    for n in 1..=20 {
        for seed in 0..3 {
            assert_even(&members(n, seed), &some(1000, seed));
        }
    }
}

/// Rendezvous hashing alone moves 1/n of the targets. The even spread moves some more, at most
/// 1.5 % of all targets on average.
#[test]
fn a_new_or_removed_member_moves_little_more_than_its_share() {
    let rounds = 3;
    for n in 2..=20 {
        let mut all = 0;
        for seed in 0..rounds {
            let (targets, group) = (some(1000, seed), members(n + 1, seed));
            let smaller: BTreeSet<_> = group.iter().skip(1).cloned().collect();
            all += moved(&owners(&smaller, &targets), &owners(&group, &targets));
        }
        let mean = all as f64 / f64::from(rounds);
        let share = 1000.0 / (n + 1) as f64;
        assert!(
            (share * 0.9..share + 20.0).contains(&mean),
            "{n} members: {mean} moved, a share is {share}"
        );
    }
}

#[test]
fn a_new_or_removed_target_moves_few_others() {
    for n in [2, 3, 5, 10, 20] {
        let group = members(n, 0);
        let mut targets = some(1000, 0);
        let mut before = owners(&group, &targets);
        let (mut all, mut most) = (0, 0);
        for target in some(100, 1) {
            targets.insert(target);
            let after = owners(&group, &targets);
            let moves = moved(&before, &after);
            (all, most) = (all + moves, most.max(moves));
            before = after;
        }
        assert!(
            all <= 300 && most <= n,
            "{n} members: {all} moved, {most} at once"
        );
    }
}

#[test]
fn displaces_nothing_if_rendezvous_is_even() {
    let (group, targets) = (members(3, 0), some(10_000, 0));
    let it = assignment(&group, &targets);
    assert_eq!(it.displaced(), 0);
    let by_rendezvous = targets.iter().filter(|target| it.shard().owns(**target));
    assert_eq!(by_rendezvous.count(), it.owned());
}

#[test]
fn a_target_has_two_backup_owners_besides_its_owner() {
    let (group, targets) = (members(10, 0), some(1000, 0));
    let views = group
        .iter()
        .map(|me| Assignment::new(Shard::new(me, &group), &targets));
    let views: Vec<_> = views.collect();
    for target in targets {
        let ranks = views.iter().filter_map(|view| view.backups().get(&target));
        let mut ranks: Vec<_> = ranks.copied().collect();
        ranks.sort_unstable();
        let best = views
            .iter()
            .position(|view| view.shard().owns(target))
            .unwrap();
        let expected: &[u32] = if views[best].owns(target) {
            &[1]
        } else if ranks.len() == 1 {
            // The owner itself has the second highest score.
            &[0]
        } else {
            &[0, 1]
        };
        assert_eq!(ranks, expected);
    }
}

#[test]
fn a_non_member_owns_nothing_and_a_lone_receiver_owns_all() {
    let targets = some(100, 0);
    let of = |shard| Assignment::new(shard, &targets).owned();
    assert_eq!(of(Shard::new("me:1", &members(3, 0))), 0);
    assert_eq!(of(Shard::new("me:1", &BTreeSet::new())), 0);
    assert_eq!(of(Shard::alone()), 100);
}

proptest! {
    #[test]
    fn spreads_any_names_evenly(
        members in prop::collection::btree_set("[a-z0-9.-]{1,12}:[0-9]{2,5}", 2..=20),
        names in prop::collection::btree_set("\\PC{0,8}", 0..400),
    ) {
        assert_even(&members, &targets(names));
    }

    #[test]
    fn all_members_agree_on_one_owner(
        members in prop::collection::btree_set("[a-z]{1,5}", 2..=8),
        names in prop::collection::btree_set("[a-z]{1,5}", 0..100),
    ) {
        let targets = targets(names);
        let views = members.iter().map(|me| Assignment::new(Shard::new(me, &members), &targets));
        let views: Vec<_> = views.collect();
        for target in targets {
            prop_assert_eq!(views.iter().filter(|view| view.owns(target)).count(), 1);
        }
    }
}
