//! Runs a few seeds of the simulation. `integration simulate` runs thousands.

use std::process::Command;

use simulate::simulate;

#[test]
fn no_seed_breaks_a_law() {
    for seed in 1..=4 {
        let report = simulate(seed).unwrap();
        assert!(report.passed(), "{report}");
        assert!(report.scrapes > 0, "{report}");
    }
}

#[test]
fn a_seed_gives_the_same_run_in_every_process() {
    let digests = [1, 2, 5].map(|seed| simulate(seed).unwrap().digest);
    assert_ne!(digests[0], digests[1]);
    for _ in 0..2 {
        assert_eq!([1, 2, 5].map(digest_of_process), digests);
    }
}

/// Digest of a seed's run as another process prints it.
fn digest_of_process(seed: u64) -> u64 {
    let program = env!("CARGO_BIN_EXE_integration");
    let seed = format!("--seed={seed}");
    let run = Command::new(program)
        .args(["simulate", &seed, "--log.level=off"])
        .output()
        .unwrap();
    let stdout = String::from_utf8(run.stdout).unwrap();
    let (_, rest) = stdout.split_once("digest ").expect("a digest is printed");
    u64::from_str_radix(&rest[..16], 16).unwrap()
}
