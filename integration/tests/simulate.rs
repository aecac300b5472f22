//! A few seeds of the simulation; `integration simulate` runs thousands.

use std::process::Command;

use integration::simulate::simulate;

#[test]
fn the_laws_hold_whatever_goes_wrong() {
    for seed in 1..=4 {
        let verdict = simulate(seed).unwrap();
        assert!(verdict.is_good(), "{verdict}");
        assert!(verdict.scrapes > 0, "{verdict}");
    }
}

#[test]
fn a_seed_repeats_all_that_happens_in_every_process() {
    let here = [1, 2, 5].map(|seed| simulate(seed).unwrap().digest);
    assert_ne!(here[0], here[1]);
    for _ in 0..2 {
        assert_eq!([1, 2, 5].map(digest_elsewhere), here);
    }
}

/// What another process says of a seed, as it prints it.
fn digest_elsewhere(seed: u64) -> u64 {
    let program = env!("CARGO_BIN_EXE_integration");
    let seed = format!("--seed={seed}");
    let run = Command::new(program)
        .args(["simulate", &seed, "--log.level=off"])
        .output()
        .unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    let (_, rest) = said.split_once("digest ").expect("a digest is printed");
    u64::from_str_radix(&rest[..16], 16).unwrap()
}
