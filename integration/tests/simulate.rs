//! A few seeds of the simulation; `integration simulate` runs thousands.

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
fn a_seed_repeats_all_that_happens() {
    let digests = [5, 5, 6].map(|seed| simulate(seed).unwrap().digest);
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0], digests[2]);
}
