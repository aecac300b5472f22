use std::path::Path;

use super::{parse_target_groups, parse_target_groups_json};
use crate::labels::ADDRESS;

/// Addresses and labels of all groups, or the error.
fn yaml(content: impl AsRef<[u8]>) -> Result<String, String> {
    read(parse_target_groups(content, Path::new("t.yml")))
}

fn json(content: impl AsRef<[u8]>) -> Result<String, String> {
    read(parse_target_groups_json(content, Path::new("t.json")))
}

fn read(
    groups: Result<Vec<crate::config::discovery::TargetGroup>, crate::config::ConfigError>,
) -> Result<String, String> {
    let groups = groups.map_err(|error| error.to_string())?;
    let groups = groups.iter().map(|group| {
        let targets = group.targets.iter();
        let targets = targets.map(|target| target.get(ADDRESS).unwrap_or("-"));
        format!("{} {}", targets.collect::<Vec<_>>().join(","), group.labels)
    });
    Ok(groups.collect::<Vec<_>>().join("; "))
}

#[test]
fn reads_only_the_first_yaml_document() {
    for text in [
        "- targets: ['a:1']\n",
        "---\n- targets: ['a:1']\n---\n",
        "- targets: ['a:1']\n---\n- targets: ['b:1']\n",
        "- targets: ['a:1']\n---\n]]]{\n",
        "- targets: ['a:1']\n...\nx\n",
        "\u{feff}- targets: ['a:1']\n",
    ] {
        assert_eq!(yaml(text).as_deref(), Ok("a:1 {}"), "{text}");
    }
    for empty in ["", "---\n", "null\n", "# nothing\n", "[]\n"] {
        assert_eq!(yaml(empty).as_deref(), Ok(""), "{empty}");
    }
}

#[test]
fn reads_utf_16_with_a_byte_order_mark() {
    let text = "\u{feff}- {targets: ['a:1'], labels: {zone: é}}\n";
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(yaml(&units).as_deref(), Ok("a:1 {zone=\"é\"}"));
    let error = json(&units).unwrap_err();
    assert!(error.contains("byte order mark"), "{error}");
}

#[test]
fn reads_nulls_in_yaml_as_empty() {
    let text = "- {targets: ['a:1', ~], labels: {a: , b: ~, c: null, d: 1.50, e: yes}}\n\
        - {targets: , labels: }\n- {}\n";
    assert_eq!(
        yaml(text).as_deref(),
        Ok("a:1,- {d=\"1.50\", e=\"yes\"};  {};  {}")
    );
    assert_eq!(
        yaml("- targets: ['a:1']\n-\n").unwrap_err(),
        "t.yml:2:2: empty or null target group"
    );
}

#[test]
fn allows_an_alias_in_every_group() {
    let mut text = "- {targets: ['a:1'], labels: &l {zone: a, rack: b}}\n".to_owned();
    for i in 0..2000 {
        text.push_str(&format!("- {{targets: ['a:{i}'], labels: *l}}\n"));
    }
    let groups = parse_target_groups(&text, Path::new("t.yml")).unwrap();
    assert_eq!(groups.len(), 2001);
    assert_eq!(groups[2000].labels.get("rack"), Some("b"));
}

#[test]
fn reads_more_values_than_the_parser_allows_by_default() {
    let text = format!("- targets: [{}]\n", "a,".repeat(260_000));
    let groups = parse_target_groups(&text, Path::new("t.yml")).unwrap();
    assert_eq!(groups[0].targets.len(), 260_000);
}

#[test]
fn reads_json_as_go_does() {
    for (text, expected) in [
        (
            r#"[{"Targets":["a:1"],"LABELS":{"zone":"a"}}]"#,
            "a:1 {zone=\"a\"}",
        ),
        (r#"[{"targets":["a:1"],"labels":null}]"#, "a:1 {}"),
        (r#"[{"targets":["a:1"],"labels":{"a":null}}]"#, "a:1 {}"),
        (r#"[{"targets":null},{}]"#, " {};  {}"),
        (r#"[{"targets":["a:1"],"Targets":["b:1"]}]"#, "b:1 {}"),
        (r#"[{"targets":["a:1",null]}]"#, "a:1,- {}"),
        ("null", ""),
        ("[]\n", ""),
    ] {
        assert_eq!(json(text).as_deref(), Ok(expected), "{text}");
    }
    let invalid = json(b"[{\"targets\":[\"a:1\"],\"labels\":{\"a\":\"\xff\"}}]");
    assert_eq!(invalid.as_deref(), Ok("a:1 {a=\"\u{fffd}\"}"));
}

#[test]
fn reports_mistakes_in_json_in_plain_words() {
    for (text, expected) in [
        ("", "t.json:1:0: not valid JSON: EOF while parsing a value"),
        (
            r#"[{"targets":["a:1"],"port":1}]"#,
            "t.json:1:26: unknown key \"port\", expected targets and labels",
        ),
        (
            r#"[{"targets":"a:1"}]"#,
            "t.json:1:17: found string \"a:1\", expected a list",
        ),
        (
            r#"[{"targets":["a:1"],"labels":{"a":1}}]"#,
            "t.json:1:35: found integer `1`, expected a string",
        ),
        (
            r#"[{"targets":[]}] x"#,
            "t.json:1:18: not valid JSON: trailing characters",
        ),
        ("[null]", "t.json: target group 0: it is null"),
        (
            r#"["a:1"]"#,
            "t.json:1:6: found string \"a:1\", expected a target group, an object with targets and labels",
        ),
    ] {
        assert_eq!(json(text).unwrap_err(), expected, "{text}");
    }
}
