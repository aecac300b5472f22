//! Relabeling rules with vmagent's extensions.

use serde_json::{Map, Value, json};

use crate::{
    notes::Notes,
    value::{list, text, texts},
};

/// Translates a list of rules. A rule without counterpart is left out with a note.
pub(super) fn translate(rules: &Value, place: &str, notes: &mut Notes) -> Value {
    let mut translated = Vec::new();
    for (index, rule) in list(rules).iter().enumerate() {
        let place = format!("{place}[{index}]");
        match one(rule) {
            Ok(Changed { rule, note }) => {
                translated.push(rule);
                if let Some(note) = note {
                    notes.add(place, note);
                }
            }
            Err(why) => notes.add(place, format!("left out: {why}")),
        }
    }
    Value::Array(translated)
}

struct Changed {
    rule: Value,
    note: Option<String>,
}

fn one(rule: &Value) -> Result<Changed, String> {
    let mut new = rule.as_object().cloned().unwrap_or_default();
    let condition = new.remove("if");
    let action = text(&rule["action"]).unwrap_or_else(|| "replace".to_owned());
    if let Some(condition) = condition {
        let condition = text(&condition).unwrap_or_default();
        return conditional(new, &action, &condition);
    }
    if let Some(Value::Array(_)) = new.get("regex") {
        let regex = texts(&rule["regex"]).join("|");
        new.insert("regex".into(), json!(regex));
    }
    let note = match action.as_str() {
        "keep_if_equal" | "drop_if_equal" => {
            let labels = texts(&rule["source_labels"]);
            let [first, second] = labels.as_slice() else {
                return Err(format!("{action} needs two source_labels"));
            };
            let name = action.replace("_if_", "");
            new.insert("action".into(), json!(name));
            new.insert("source_labels".into(), json!([first]));
            new.insert("target_label".into(), json!(second));
            Some(format!(
                "{action} is {name} with the second label as target_label"
            ))
        }
        "keep_metrics" | "drop_metrics" => {
            let name = action.trim_end_matches("_metrics");
            new.insert("action".into(), json!(name));
            new.insert("source_labels".into(), json!(["__name__"]));
            Some(format!("{action} is {name} with source_labels [__name__]"))
        }
        "replace" | "keep" | "drop" | "hashmod" | "labelmap" | "labeldrop" | "labelkeep"
        | "lowercase" | "uppercase" | "keepequal" | "dropequal" => None,
        _ => return Err(format!("Prometheus has no action {action}")),
    };
    Ok(Changed {
        rule: Value::Object(new),
        note,
    })
}

/// Writes a rule with `if` as a rule that tests the labels of the condition.
fn conditional(
    mut new: Map<String, Value>,
    action: &str,
    condition: &str,
) -> Result<Changed, String> {
    let refuse = || {
        format!(
            "the `if` expression {condition} with action {action} has no counterpart; write it \
             as several rules with a temporary label __tmp_*"
        )
    };
    let is_plain = new.get("source_labels").is_none() && new.get("regex").is_none();
    let constant = new
        .get("replacement")
        .and_then(Value::as_str)
        .is_some_and(|text| !text.contains('$'));
    let is_possible = match action {
        "keep" | "drop" => is_plain,
        "replace" => is_plain && constant,
        _ => false,
    };
    let matchers = matchers(condition)
        .filter(|_| is_possible)
        .ok_or_else(refuse)?;
    let (labels, regexes): (Vec<_>, Vec<_>) = matchers.into_iter().unzip();
    new.insert("source_labels".into(), json!(labels));
    new.insert("regex".into(), json!(regexes.join(";")));
    let note = format!("the `if` expression {condition} is source_labels and regex now");
    Ok(Changed {
        rule: Value::Object(new),
        note: Some(note),
    })
}

/// Reads `name{a="x",b=~"y"}` as labels and regular expressions. Returns `None` for other
/// expressions.
fn matchers(condition: &str) -> Option<Vec<(String, String)>> {
    let (name, rest) = condition.trim().split_once('{')?;
    let mut rest = rest.strip_suffix('}')?.trim();
    let mut found = Vec::new();
    if !name.trim().is_empty() {
        found.push(("__name__".to_owned(), name.trim().to_owned()));
    }
    while !rest.is_empty() {
        let (label, after) = rest.split_once('=')?;
        if label.ends_with('!') || after.starts_with('!') {
            return None;
        }
        let is_regex = after.starts_with('~');
        let after = after
            .trim_start_matches('~')
            .trim_start()
            .strip_prefix('"')?;
        let (value, after) = after.split_once('"')?;
        if value.contains(['\\', ';']) || value.is_empty() {
            return None;
        }
        let regex = if is_regex { group(value) } else { quote(value) };
        found.push((label.trim().to_owned(), regex));
        rest = after.trim().trim_start_matches(',').trim();
    }
    (!found.is_empty()).then_some(found)
}

/// Groups alternatives, so that they can stand between separators.
fn group(regex: &str) -> String {
    match regex.contains('|') {
        true => format!("(?:{regex})"),
        false => regex.to_owned(),
    }
}

fn quote(text: &str) -> String {
    let mut quoted = String::new();
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(rule: Value) -> Result<Value, String> {
        one(&rule).map(|changed| changed.rule)
    }

    #[test]
    fn translates_a_condition_into_source_labels() {
        let rule = json!({"if": "up{job=\"a.b\",mode=~\"x|y\"}", "action": "drop"});
        let expected = json!({
            "action": "drop",
            "source_labels": ["__name__", "job", "mode"],
            "regex": "up;a\\.b;(?:x|y)",
        });
        assert_eq!(translated(rule), Ok(expected));
    }

    #[test]
    fn leaves_out_a_rule_that_has_no_counterpart() {
        for rule in [
            json!({"if": "{job!=\"a\"}", "action": "drop"}),
            json!({"if": "{job=\"a\"}", "action": "keep_if_equal", "source_labels": ["a", "b"]}),
            json!({"if": "{job=\"a\"}", "target_label": "x", "source_labels": ["y"]}),
            json!({"action": "graphite"}),
        ] {
            assert!(translated(rule.clone()).is_err(), "{rule}");
        }
    }
}
