use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use super::parse;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Values {
    flag: bool,
    count: u64,
    offset: i64,
    port: Option<u16>,
    factor: f64,
    text: String,
    list: Vec<String>,
    map: BTreeMap<String, Vec<String>>,
    pointer: Option<BTreeMap<String, String>>,
}

fn values(text: &str) -> Result<Values, String> {
    parse(text, Path::new("v.yml")).map_err(|error| error.to_string())
}

#[test]
fn a_null_is_the_zero_of_its_type() {
    for null in ["", "~", "null"] {
        let keys = [
            "flag", "count", "offset", "port", "factor", "text", "list", "map", "pointer",
        ];
        let text: String = keys.iter().map(|key| format!("{key}: {null}\n")).collect();
        assert_eq!(values(&text), Ok(Values::default()), "{null}");
    }
    let text = "list: [a, ~, ]\nmap: {a: , b: [~], c: [null, 'null']}\n";
    let values = values(text).unwrap();
    assert_eq!(values.list, ["a", ""]);
    let lists: Vec<_> = values.map.values().map(|list| list.join(",")).collect();
    assert_eq!(lists, ["", "", ",null"]);
}

#[test]
fn reads_whole_numbers_as_go_does() {
    for (text, expected) in [
        ("1e+06", 1_000_000),
        ("1.5", 1),
        ("1_000", 1000),
        ("0x10", 16),
        ("0o17", 15),
        ("017", 15),
        ("080", 80),
        ("0b11", 3),
        ("+5", 5),
        ("18446744073709551615", u64::MAX),
    ] {
        let found = values(&format!("count: {text}\n")).map(|values| values.count);
        assert_eq!(found, Ok(expected), "{text}");
    }
    for bad in ["-1", "'5'", ".inf", ".nan", "1e30", "true", "5x", "[5]"] {
        let error = values(&format!("count: {bad}\n")).unwrap_err();
        assert!(error.starts_with("v.yml:1:"), "{bad}: {error}");
        assert!(error.contains("expected a whole number"), "{bad}: {error}");
    }
    assert_eq!(values("offset: -1e3\n").unwrap().offset, -1000);
    assert_eq!(values("port: 9.1e+03\n").unwrap().port, Some(9100));
    assert_eq!(values("factor: 2\n").unwrap().factor, 2.0);
    assert!(values("factor: '1.1'\n").is_err());
}

#[test]
fn reads_booleans_as_go_does() {
    for (text, expected) in [
        ("yes", true),
        ("On", true),
        ("y", true),
        ("Off", false),
        ("NO", false),
    ] {
        let found = values(&format!("flag: {text}\n")).map(|values| values.flag);
        assert_eq!(found, Ok(expected), "{text}");
    }
    for bad in ["'true'", "1", "truth"] {
        assert!(values(&format!("flag: {bad}\n")).is_err(), "{bad}");
    }
}

#[test]
fn a_text_is_written_as_in_the_file() {
    for text in [
        "no",
        "1.50",
        "0o17",
        "017",
        "1e3",
        "2024-01-01",
        "0x1F",
        "1_000",
        ".inf",
        "12:30",
        "-0",
        "=",
    ] {
        let found = values(&format!("text: {text}\n")).map(|values| values.text);
        assert_eq!(found.as_deref(), Ok(text));
    }
    assert_eq!(values("text: 'null'\n").unwrap().text, "null");
    assert_eq!(values("text: !!str 5\n").unwrap().text, "5");
    assert_eq!(values("text: !!binary dmFs\n").unwrap().text, "val");
}
