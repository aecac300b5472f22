//! Label selectors.

use std::collections::BTreeMap;

use mesh_model::{
    config_file::{check_label_key, check_label_value},
    validation::sanitize_label_name,
};

use crate::{
    Invalid, Reason,
    object::Object,
    relabeling::{Rule, Rules},
};

/// A `LabelSelector` of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    labels: BTreeMap<String, String>,
    expressions: Vec<Expression>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Expression {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

// === impl Selector ===

impl Selector {
    pub(crate) fn read(selector: &Object<'_>) -> Result<Self, Invalid> {
        let labels = selector.text_map("matchLabels")?.unwrap_or_default();
        for (key, value) in &labels {
            let field = format!("matchLabels.{key}");
            let invalid = |why: String| selector.invalid(Reason::Schema, &field, why);
            check_label_key(key).map_err(invalid)?;
            check_label_value(value).map_err(invalid)?;
        }
        let expressions = selector.objects("matchExpressions")?;
        Ok(Self {
            labels: labels
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            expressions: expressions
                .iter()
                .map(Expression::read)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Returns true if an object with these labels is selected.
    pub(crate) fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let mut wanted = self.labels.iter();
        wanted.all(|(key, value)| labels.get(key) == Some(value))
            && self.expressions.iter().all(|expression| {
                let value = labels.get(&expression.key);
                let listed = value.is_some_and(|value| expression.values.contains(value));
                match expression.operator {
                    Operator::In => listed,
                    Operator::NotIn => !listed,
                    Operator::Exists => value.is_some(),
                    Operator::DoesNotExist => value.is_none(),
                }
            })
    }

    /// Adds the rules that keep the targets of selected objects. `object` is the part of the
    /// meta labels that names the kind of object, such as `service`. Values are regular
    /// expressions, as with the Operator.
    pub(crate) fn add_rules(&self, object: &str, rules: &mut Rules) {
        for (key, value) in &self.labels {
            rules.push(has_value(object, key, value).action("keep"));
        }
        for expression in &self.expressions {
            let key = &expression.key;
            let values = expression.values.join("|");
            rules.push(match expression.operator {
                Operator::In => has_value(object, key, &values).action("keep"),
                Operator::NotIn => has_value(object, key, &values).action("drop"),
                Operator::Exists => is_present(object, key).action("keep"),
                Operator::DoesNotExist => is_present(object, key).action("drop"),
            });
        }
    }

    /// Returns the selector as a text, sorted by key, as Kubernetes writes it.
    pub(crate) fn to_text(&self) -> String {
        let labels = self.labels.iter();
        let labels = labels.map(|(key, value)| (key, format!("{key}={value}")));
        let expressions = self.expressions.iter().map(|expression| {
            let key = &expression.key;
            let mut values = expression.values.clone();
            values.sort();
            let values = values.join(",");
            let text = match expression.operator {
                Operator::In => format!("{key} in ({values})"),
                Operator::NotIn => format!("{key} notin ({values})"),
                Operator::Exists => key.clone(),
                Operator::DoesNotExist => format!("!{key}"),
            };
            (key, text)
        });
        let mut terms: Vec<_> = labels.chain(expressions).collect();
        terms.sort_by(|one, other| one.0.cmp(other.0));
        let terms: Vec<_> = terms.into_iter().map(|(_, text)| text).collect();
        terms.join(",")
    }
}

/// Rule that matches if an object has a label with one of the values.
fn has_value(object: &str, key: &str, values: &str) -> Rule {
    let key = sanitize_label_name(key);
    let label = format!("__meta_kubernetes_{object}_label_{key}");
    let present = format!("__meta_kubernetes_{object}_labelpresent_{key}");
    Rule::from(&[&label, &present]).regex(format!("({values});true"))
}

/// Rule that matches if an object has a label.
fn is_present(object: &str, key: &str) -> Rule {
    let key = sanitize_label_name(key);
    let present = format!("__meta_kubernetes_{object}_labelpresent_{key}");
    Rule::from(&[&present]).regex("true")
}

// === impl Expression ===

impl Expression {
    fn read(expression: &Object<'_>) -> Result<Self, Invalid> {
        let key = expression.required_text("key")?;
        check_label_key(key).map_err(|why| expression.invalid(Reason::Schema, "key", why))?;
        let known = ["In", "NotIn", "Exists", "DoesNotExist"];
        let operator = match expression.one_of("operator", &known)? {
            Some("In") => Operator::In,
            Some("NotIn") => Operator::NotIn,
            Some("Exists") => Operator::Exists,
            Some(_) => Operator::DoesNotExist,
            None => return Err(expression.missing("operator", "In, NotIn, Exists or DoesNotExist")),
        };
        let values = expression.texts("values")?.unwrap_or_default();
        let lists = matches!(operator, Operator::In | Operator::NotIn);
        let wrong = match (lists, values.is_empty()) {
            (true, true) => Some("empty, expected the values of the operators In and NotIn"),
            (false, false) => Some("not empty, the operators Exists and DoesNotExist take none"),
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(expression.invalid(Reason::Schema, "values", wrong));
        }
        for value in &values {
            check_label_value(value)
                .map_err(|why| expression.invalid(Reason::Schema, "values", why))?;
        }
        Ok(Self {
            key: key.to_owned(),
            operator,
            values: values.into_iter().map(str::to_owned).collect(),
        })
    }
}
