//! Targets that a receiver scrapes although another one owns them.

use super::*;
use crate::shard::Shard;

/// Time in which two orphan checks have finished.
const CHECKED: Duration = Duration::from_secs(11);

// === impl Receiver ===

impl Receiver {
    /// Sets the assignment that follows from these members and targets.
    fn assign(&self, members: &[&str], targets: &[u64]) {
        self.handover.set_assignment(Arc::new(Assignment::new(
            shard(&self.name, members),
            &targets.iter().copied().collect(),
        )));
    }

    fn retains(&self, target: u64) -> bool {
        self.handover
            .overrides()
            .borrow()
            .retained
            .contains(&target)
    }

    /// Waits until a target is retained, or is no longer retained.
    async fn until_retained(&self, target: u64, is_retained: bool) {
        let mut overrides = self.handover.overrides();
        let seen = overrides.wait_for(|it| it.retained.contains(&target) == is_retained);
        let seen = timeout(Duration::from_secs(60), seen).await;
        assert!(seen.is_ok(), "target {target} retained: {}", !is_retained);
    }
}

fn shard(me: &str, members: &[&str]) -> Shard {
    Shard::new(me, &members.iter().map(|name| (*name).to_owned()).collect())
}

/// Targets that rendezvous hashing gives to `member`.
fn best_of<'a>(member: &'a str, members: &'a [&'a str]) -> impl Iterator<Item = u64> + 'a {
    let owns = move |target: &u64| shard(member, members).owns(*target);
    (0..).filter(owns)
}

/// Targets that rendezvous hashing gives to `c`, of three members; one of them that the
/// assignment gives to another member, since `c` has too many; and that member.
fn displaced() -> (Vec<u64>, u64, Arc<str>) {
    let group = ["a:1", "b:1", "c:1"];
    let targets: Vec<_> = best_of("c:1", &group).take(6).collect();
    let all = targets.iter().copied().collect();
    let view = Assignment::new(shard("c:1", &group), &all);
    let given_away = *targets.iter().find(|target| !view.owns(**target)).unwrap();
    (targets, given_away, view.owner(given_away).unwrap().clone())
}

#[tokio::test(start_paused = true)]
async fn retains_a_target_until_the_new_owner_claims_it() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let target = best_of("b:1", &["a:1", "b:1"]).next().unwrap();
    let (old, _) = granted(a.claim(target)).await;
    a.assign(&["a:1", "b:1"], &[target]);
    sleep(Duration::from_secs(300)).await;
    assert!(
        a.retains(target),
        "the target was released although nobody claimed it"
    );
    let new = b.claim(target);
    let start = Instant::now();
    a.until_retained(target, false).await;
    drop(old);
    granted(new).await;
    assert!(start.elapsed() < Duration::from_millis(500));
}

#[tokio::test(start_paused = true)]
async fn retains_only_scraped_targets_of_others() {
    let net = Net::default();
    let (a, _b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let group = ["a:1", "b:1"];
    let own = best_of("a:1", &group).next().unwrap();
    let others: Vec<_> = best_of("b:1", &group).take(2).collect();
    let (_own, _) = granted(a.claim(own)).await;
    let (_gone, _) = granted(a.claim(others[0])).await;
    a.assign(&group, &[own, others[1]]);
    assert_eq!(*a.handover.overrides().borrow(), Overrides::default());
}

#[tokio::test(start_paused = true)]
async fn releases_a_retained_target_before_a_partitioned_owner_takes_it() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let target = best_of("b:1", &["a:1", "b:1"]).next().unwrap();
    let (_old, _) = granted(a.claim(target)).await;
    granted(b.claim(target + 1)).await;
    net.0.lock().clear();
    a.assign(&["a:1", "b:1"], &[target]);
    let start = Instant::now();
    let new = b.claim(target);
    a.until_retained(target, false).await;
    let released = start.elapsed();
    granted(new).await;
    assert!(released < start.elapsed(), "{released:?}");
}

#[tokio::test(start_paused = true)]
async fn adopts_a_target_that_nobody_claims() {
    let net = Net::default();
    let group = ["a:1", "b:1", "c:1"];
    let receivers = [
        net.start("a:1", &["b:1", "c:1"]),
        net.start("b:1", &["a:1", "c:1"]),
        net.start("c:1", &["a:1", "b:1"]),
    ];
    let (targets, given_away, owner) = displaced();
    // Only `c` knows so many targets that it gives one away. The others leave it to `c`.
    let [a, b, c] = &receivers;
    a.assign(&group, &[given_away]);
    b.assign(&group, &[given_away]);
    c.assign(&group, &targets);
    sleep(CHECKED).await;
    assert!(c.retains(given_away));
    let (claim, _) = granted(c.claim(given_away)).await;
    // Later its owner claims it.
    let owner = receivers.iter().find(|receiver| receiver.name == *owner);
    let owners = owner.unwrap().claim(given_away);
    c.until_retained(given_away, false).await;
    drop(claim);
    granted(owners).await;
}

#[tokio::test(start_paused = true)]
async fn does_not_adopt_a_scraped_or_ended_target() {
    let net = Net::default();
    let group = ["a:1", "b:1"];
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    let targets: Vec<_> = best_of("b:1", &group).take(3).collect();
    let (_scraped, _) = granted(b.claim(targets[0])).await;
    let (ended, _) = granted(b.claim(targets[1])).await;
    ended.end();
    a.assign(&group, &targets[..2]);
    sleep(CHECKED * 20).await;
    assert_eq!(*a.handover.overrides().borrow(), Overrides::default());
    // A target that its owner does not know is adopted one check later.
    a.assign(&group, &targets[1..]);
    a.until_retained(targets[2], true).await;
    // The end of the target is forgotten by now.
    sleep(CHECKED * 10).await;
    assert!(a.retains(targets[1]));
}

#[tokio::test(start_paused = true)]
async fn adopts_nothing_while_a_member_is_silent() {
    let net = Net::default();
    let group = ["a:1", "b:1", "c:1"];
    let a = net.start("a:1", &["b:1", "c:1"]);
    let _b = net.start("b:1", &["a:1", "c:1"]);
    let target = best_of("b:1", &group).find(|target| {
        let targets = [*target].into();
        Assignment::new(shard("a:1", &group), &targets)
            .backups()
            .contains_key(target)
    });
    let target = target.unwrap();
    a.assign(&group, &[target]);
    sleep(CHECKED * 10).await;
    assert!(!a.retains(target));
    let _c = net.start("c:1", &["a:1", "b:1"]);
    a.until_retained(target, true).await;
}

#[tokio::test(start_paused = true)]
async fn reports_a_member_as_leaving_until_it_restarts() {
    let net = Net::default();
    let (a, b) = (net.start("a:1", &["b:1"]), net.start("b:1", &["a:1"]));
    granted(a.claim(TARGET)).await;
    let mut overrides = b.handover.overrides();
    let leaving = |name: &str| BTreeSet::from([name.to_owned()]);
    a.handover.stop();
    let announced = overrides.wait_for(|it| it.leaving == leaving("a:1"));
    timeout(Duration::from_secs(1), announced)
        .await
        .unwrap()
        .unwrap();
    a.handover.announce_drained().await;
    a.kill();
    sleep(Duration::from_secs(30)).await;
    assert_eq!(overrides.borrow().leaving, leaving("a:1"));
    let a = net.start("a:1", &["b:1"]);
    granted(a.claim(TARGET)).await;
    assert_eq!(*overrides.borrow(), Overrides::default());
}
