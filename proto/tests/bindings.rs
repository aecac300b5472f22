//! Compares the checked-in bindings with the `.proto` files.

#[path = "../codegen/mod.rs"]
mod codegen;

#[test]
fn matches_the_proto_files() {
    let fresh = tempfile::tempdir().unwrap();
    codegen::generate(fresh.path()).unwrap();
    let mut compared = 0;
    for entry in std::fs::read_dir(fresh.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let checked_in = std::fs::read_to_string(codegen::checked_in().join(&name)).unwrap();
        let fresh = std::fs::read_to_string(entry.path()).unwrap();
        assert!(
            fresh == checked_in,
            "{name:?} is out of date; run `cargo run -p proto --example codegen`"
        );
        compared += 1;
    }
    assert_eq!(compared, 4);
}
