use super::*;
use crate::{go_regexp::Regexp, labels::Labels, validation::ValidationScheme};

fn regexp(source: &str) -> Regexp {
    Regexp::new(source).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn rule(action: Action, source_labels: &[&str]) -> RelabelConfig {
    RelabelConfig {
        action,
        source_labels: source_labels.iter().map(|&name| name.to_owned()).collect(),
        ..RelabelConfig::default()
    }
}

fn replacing(source: &str, regex: &str, target: &str, replacement: &str) -> RelabelConfig {
    RelabelConfig {
        regex: regexp(regex),
        target_label: target.to_owned(),
        replacement: replacement.to_owned(),
        ..rule(Action::Replace, &[source])
    }
}

/// Returns the label set after the rules, or `None` if they drop it.
fn apply_all(configs: &[RelabelConfig], labels: &[(&str, &str)]) -> Option<String> {
    let labels: Labels = labels.iter().copied().collect();
    let mut builder = labels.to_builder();
    relabel(configs, &mut builder).then(|| builder.build().to_string())
}

fn some(labels: &str) -> Option<String> {
    Some(labels.to_owned())
}

#[test]
fn replace_sets_or_removes_the_target() {
    let labels = [("a", "foo"), ("b", "bar")];
    for (regex, target, replacement, expected) in [
        ("f(.*)", "c", "${1}x", r#"{a="foo", b="bar", c="oox"}"#),
        ("f(.*)", "b", "$1", r#"{a="foo", b="oo"}"#),
        // An empty result removes the label.
        ("f(.*)", "b", "$2", r#"{a="foo"}"#),
        // Without a match or a target name, nothing changes.
        ("g(.*)", "b", "$1", r#"{a="foo", b="bar"}"#),
        ("(f).*", "$2", "x", r#"{a="foo", b="bar"}"#),
        // The target is a template too.
        ("f(.*)", "${1}_$1", "x", r#"{a="foo", b="bar", oo_oo="x"}"#),
        ("f(.*)", "c-$1", "x", r#"{a="foo", b="bar", c-oo="x"}"#),
    ] {
        let config = replacing("a", regex, target, replacement);
        assert_eq!(apply_all(&[config], &labels), some(expected), "{target}");
    }
}

#[test]
fn replace_skips_invalid_target_names() {
    let config = RelabelConfig {
        name_validation_scheme: ValidationScheme::Legacy,
        ..replacing("a", "(.*)", "$1", "x")
    };
    let labels = [("a", "c-d")];
    assert_eq!(apply_all(&[config], &labels), some(r#"{a="c-d"}"#));
    let config = replacing("a", "(.*)", "$1", "x");
    assert_eq!(apply_all(&[config], &labels), some(r#"{a="c-d", c-d="x"}"#));
}

#[test]
fn joins_sources_and_treats_missing_ones_as_empty() {
    let config = RelabelConfig {
        target_label: "d".to_owned(),
        ..rule(Action::Replace, &["a", "nope", "b"])
    };
    let labels = [("a", "1"), ("b", "2")];
    let joined = r#"{a="1", b="2", d="1;;2"}"#;
    assert_eq!(
        apply_all(std::slice::from_ref(&config), &labels),
        some(joined)
    );
    let config = RelabelConfig {
        separator: String::new(),
        ..config
    };
    assert_eq!(
        apply_all(&[config], &labels),
        some(r#"{a="1", b="2", d="12"}"#)
    );
    let config = RelabelConfig {
        target_label: "d".to_owned(),
        replacement: "always".to_owned(),
        ..rule(Action::Replace, &[])
    };
    assert_eq!(apply_all(&[config], &[]), some(r#"{d="always"}"#));
}

#[test]
fn keep_and_drop_require_a_whole_match() {
    for (action, regex, is_kept) in [
        (Action::Keep, "fo+", true),
        (Action::Keep, "o+", false),
        (Action::Drop, "fo+", false),
        (Action::Drop, "o+", true),
    ] {
        let config = RelabelConfig {
            regex: regexp(regex),
            ..rule(action, &["a"])
        };
        let outcome = apply_all(&[config], &[("a", "foo")]);
        assert_eq!(outcome.is_some(), is_kept, "{action} {regex}");
    }
}

#[test]
fn keepequal_and_dropequal_compare_with_the_target() {
    for (target, equal) in [("b", true), ("c", false), ("nope", false)] {
        let labels = [("a", "1"), ("b", "1"), ("c", "2")];
        for (action, is_kept) in [(Action::KeepEqual, equal), (Action::DropEqual, !equal)] {
            let config = RelabelConfig {
                target_label: target.to_owned(),
                ..rule(action, &["a"])
            };
            let outcome = apply_all(&[config], &labels);
            assert_eq!(outcome.is_some(), is_kept, "{action} {target}");
        }
    }
}

#[test]
fn missing_labels_are_equal() {
    let config = RelabelConfig {
        target_label: "b".to_owned(),
        ..rule(Action::KeepEqual, &["a"])
    };
    assert_eq!(apply_all(&[config], &[]), some("{}"));
}

#[test]
fn hashmod_uses_the_last_bytes_of_md5() {
    // Computed with other implementations of MD5.
    for (value, hash) in [
        ("", "16825458760271544958"),
        ("a;b", "2420134994223480074"),
        ("10.0.0.1:9100", "5548061184049187645"),
    ] {
        assert_eq!(hash_mod(value, u64::MAX), hash, "{value}");
    }
    let config = RelabelConfig {
        modulus: 8,
        target_label: "shard".to_owned(),
        ..rule(Action::HashMod, &["a", "b"])
    };
    let labels = [("a", "a"), ("b", "b")];
    assert_eq!(
        apply_all(&[config], &labels),
        some(r#"{a="a", b="b", shard="2"}"#)
    );
}

#[test]
fn labelmap_copies_only_existing_labels() {
    let config = RelabelConfig {
        regex: regexp("_(.+)"),
        ..rule(Action::LabelMap, &[])
    };
    let labels = [("_a", "1"), ("__b", "2"), ("c", "3")];
    assert_eq!(
        apply_all(&[config], &labels),
        some(r#"{__b="2", _a="1", _b="2", a="1", c="3"}"#)
    );
}

#[test]
fn labelmap_takes_the_last_of_conflicting_labels() {
    let config = RelabelConfig {
        regex: regexp("[ab]"),
        replacement: "c".to_owned(),
        ..rule(Action::LabelMap, &[])
    };
    let labels = [("b", "2"), ("a", "1")];
    assert_eq!(
        apply_all(&[config], &labels),
        some(r#"{a="1", b="2", c="2"}"#)
    );
}

#[test]
fn labeldrop_and_labelkeep_match_names() {
    let labels = [("a", "1"), ("ab", "2"), ("b", "3")];
    for (action, expected) in [
        (Action::LabelDrop, r#"{b="3"}"#),
        (Action::LabelKeep, r#"{a="1", ab="2"}"#),
    ] {
        let config = RelabelConfig {
            regex: regexp("a.*"),
            ..rule(action, &[])
        };
        assert_eq!(apply_all(&[config], &labels), some(expected));
    }
}

#[test]
fn changes_case_letter_by_letter() {
    for (action, expected) in [
        (Action::Lowercase, r#"{a="Straße ÉΣ", b="straße éσ"}"#),
        (Action::Uppercase, r#"{a="Straße ÉΣ", b="STRAßE ÉΣ"}"#),
    ] {
        let config = RelabelConfig {
            target_label: "b".to_owned(),
            ..rule(action, &["a"])
        };
        assert_eq!(apply_all(&[config], &[("a", "Straße ÉΣ")]), some(expected));
    }
}

#[test]
fn stops_after_a_drop() {
    let drop = RelabelConfig {
        regex: regexp(".*"),
        ..rule(Action::Drop, &["a"])
    };
    let set = replacing("a", "(.*)", "b", "x");
    assert_eq!(apply_all(&[set.clone(), drop.clone()], &[("a", "1")]), None);
    let labels: Labels = [("a", "1")].into_iter().collect();
    let mut builder = labels.to_builder();
    assert!(!relabel(&[drop, set], &mut builder));
    assert_eq!(builder.build(), labels);
}
