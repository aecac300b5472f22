//! Targets that one receiver takes for another's.

use super::*;
use crate::shard::Shard;

/// Time in which two looks at what is guarded are over.
const LOOKED: Duration = Duration::from_secs(11);

// === impl Receiver ===

impl Receiver {
    /// The receiver reckons with these members, and knows these targets.
    fn reckons(&self, members: &[&str], targets: &[u64]) {
        self.handover.assign(Arc::new(Assignment::new(
            shard(&self.name, members),
            &targets.iter().copied().collect(),
        )));
    }

    fn keeps(&self, target: u64) -> bool {
        self.handover.standing().borrow().kept.contains(&target)
    }

    /// Waits until it keeps a target, or does not any more.
    async fn until_kept(&self, target: u64, kept: bool) {
        let mut standing = self.handover.standing();
        let seen = standing.wait_for(|it| it.kept.contains(&target) == kept);
        let seen = timeout(Duration::from_secs(60), seen).await;
        assert!(seen.is_ok(), "target {target} kept: {}", !kept);
    }
}

fn shard(me: &str, members: &[&str]) -> Shard {
    Shard::new(me, &members.iter().map(|name| (*name).to_owned()).collect())
}

/// Targets that this member is placed best in, of these.
fn best_of<'a>(member: &'a str, members: &'a [&'a str]) -> impl Iterator<Item = u64> + 'a {
    let owns = move |target: &u64| shard(member, members).owns(*target);
    (0..).filter(owns)
}

/// Targets that c is placed best in, of three members; one of them that is given away,
/// as they are too many; and to whom.
fn displaced() -> (Vec<u64>, u64, Arc<str>) {
    let group = ["a:1", "b:1", "c:1"];
    let targets: Vec<_> = best_of("c:1", &group).take(6).collect();
    let all = targets.iter().copied().collect();
    let view = Assignment::new(shard("c:1", &group), &all);
    let given_away = *targets.iter().find(|target| !view.owns(**target)).unwrap();
    (targets, given_away, view.owner(given_away).unwrap().clone())
}

#[tokio::test(start_paused = true)]
async fn a_target_that_becomes_another_s_is_kept_until_that_one_claims_it() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let target = best_of("b:1", &["a:1", "b:1"]).next().unwrap();
    let (old, _) = granted(a.handover.claim(target, "j")).await;
    a.reckons(&["a:1", "b:1"], &[target]);
    sleep(Duration::from_secs(300)).await;
    assert!(
        a.keeps(target),
        "nobody scrapes it though nobody claimed it"
    );
    let new = b.handover.claim(target, "j");
    let begun = Instant::now();
    a.until_kept(target, false).await;
    drop(old);
    granted(new).await;
    assert!(begun.elapsed() < Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_what_is_not_scraped_or_is_its_own_or_gone() {
    let net = Net::default();
    let (a, _b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let group = ["a:1", "b:1"];
    let own = best_of("a:1", &group).next().unwrap();
    let others: Vec<_> = best_of("b:1", &group).take(2).collect();
    let (_own, _) = granted(a.handover.claim(own, "j")).await;
    let (_gone, _) = granted(a.handover.claim(others[0], "j")).await;
    a.reckons(&group, &[own, others[1]]);
    assert_eq!(*a.handover.standing().borrow(), Standing::default());
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_for_one_that_is_cut_off_is_let_go_before_that_one_takes_it() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let target = best_of("b:1", &["a:1", "b:1"]).next().unwrap();
    let (_old, _) = granted(a.handover.claim(target, "j")).await;
    granted(b.handover.claim(target + 1, "j")).await;
    net.0.lock().unwrap().clear();
    a.reckons(&["a:1", "b:1"], &[target]);
    let begun = Instant::now();
    let new = b.handover.claim(target, "j");
    a.until_kept(target, false).await;
    let let_go = begun.elapsed();
    granted(new).await;
    assert!(let_go < begun.elapsed(), "{let_go:?}");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_everybody_takes_for_another_s_is_scraped() {
    let net = Net::default();
    let group = ["a:1", "b:1", "c:1"];
    let receivers = [
        net.start("a:1", &["b:1", "c:1"]),
        net.start("b:1", &["a:1", "c:1"]),
        net.start("c:1", &["a:1", "b:1"]),
    ];
    let (targets, given_away, owner) = displaced();
    // Only c knows of as many targets that it gives one away, to one for whom it is c's.
    let [a, b, c] = &receivers;
    a.reckons(&group, &[given_away]);
    b.reckons(&group, &[given_away]);
    c.reckons(&group, &targets);
    sleep(LOOKED).await;
    assert!(c.keeps(given_away));
    let (claim, _) = granted(c.handover.claim(given_away, "j")).await;
    // The one it was given to hears of the others, too.
    let owner = receivers.iter().find(|receiver| receiver.name == *owner);
    let owners = owner.unwrap().handover.claim(given_away, "j");
    c.until_kept(given_away, false).await;
    drop(claim);
    granted(owners).await;
}

#[tokio::test(start_paused = true)]
async fn what_somebody_scrapes_or_has_ended_is_left_alone() {
    let net = Net::default();
    let group = ["a:1", "b:1"];
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let targets: Vec<_> = best_of("b:1", &group).take(3).collect();
    let (_scraped, _) = granted(b.handover.claim(targets[0], "j")).await;
    let (ended, _) = granted(b.handover.claim(targets[1], "j")).await;
    ended.ended();
    a.reckons(&group, &targets[..2]);
    sleep(LOOKED * 20).await;
    assert_eq!(*a.handover.standing().borrow(), Standing::default());
    // What its owner does not know of is scraped all the same, a look later.
    a.reckons(&group, &targets[1..]);
    a.until_kept(targets[2], true).await;
    // Once the end is so long ago that the owner's word has no weight any more.
    sleep(LOOKED * 10).await;
    assert!(a.keeps(targets[1]));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_while_a_member_does_not_answer() {
    let net = Net::default();
    let group = ["a:1", "b:1", "c:1"];
    let a = net.start("a:1", &["b:1", "c:1"]);
    let _b = net.start("b:1", &["a:1", "c:1"]);
    let target = best_of("b:1", &group).find(|target| {
        let targets = [*target].into();
        Assignment::new(shard("a:1", &group), &targets)
            .guarded()
            .contains_key(target)
    });
    let target = target.unwrap();
    a.reckons(&group, &[target]);
    sleep(LOOKED * 10).await;
    assert!(!a.keeps(target));
    let _c = net.start("c:1", &["a:1", "b:1"]);
    a.until_kept(target, true).await;
}

#[tokio::test(start_paused = true)]
async fn who_says_goodbye_is_known_to_part_until_it_is_back() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    granted(a.handover.claim(TARGET, "j")).await;
    let mut standing = b.handover.standing();
    let parted = |name: &str| BTreeSet::from([name.to_owned()]);
    a.handover.stop();
    let told = standing.wait_for(|it| it.parted == parted("a:1"));
    timeout(Duration::from_secs(1), told)
        .await
        .unwrap()
        .unwrap();
    a.handover.drained().await;
    a.kill();
    sleep(Duration::from_secs(30)).await;
    assert_eq!(standing.borrow().parted, parted("a:1"));
    let a = net.start("a:1", &["b:1"]);
    granted(a.handover.claim(TARGET, "j")).await;
    assert_eq!(*standing.borrow(), Standing::default());
}
