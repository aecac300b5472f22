//! Replays the seeds of `fuzz/corpus` and the inputs that fuzzing found, on the stable
//! toolchain and without libFuzzer.
//!
//! The fuzz crate links libFuzzer, which needs a C++ compiler. This test includes only the
//! source of its targets.

use std::{collections::BTreeSet, fs, path::PathBuf};

#[path = "../../../fuzz/src/lib.rs"]
#[expect(
    unreachable_pub,
    reason = "the items are public where they are a crate"
)]
mod targets;

fn corpus() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus"))
}

fn entries(directory: PathBuf) -> Vec<PathBuf> {
    fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect()
}

#[test]
fn no_target_panics_on_its_corpus() {
    for (name, run) in targets::ALL {
        let inputs = entries(corpus().join(name));
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in inputs {
            // Shown only if the target panics.
            println!("{}", input.display());
            run(&fs::read(&input).expect("a readable input"));
        }
    }
}

#[test]
fn every_corpus_has_a_target() {
    let names = targets::ALL.iter().map(|(name, _)| (*name).to_owned());
    let directories = entries(corpus())
        .into_iter()
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    assert_eq!(
        directories.collect::<BTreeSet<_>>(),
        names.collect::<BTreeSet<_>>()
    );
}
