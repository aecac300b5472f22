//! Target for regular expressions, the texts they match and their templates.

use mesh_model::go_regexp::Regexp;

/// Maximum length of an expression. Longer ones cost time but reach no new code.
const MAX_LENGTH: usize = 256;

/// Reads the first line as an expression, the second as a template and the rest as
/// the text.
pub fn run(data: &[u8]) {
    let Ok(input) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = input.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (source, template, text) = (line(), line(), line());
    if source.len() > MAX_LENGTH {
        return;
    }
    match Regexp::new(source) {
        Ok(regexp) => assert_methods_agree(&regexp, template, text),
        Err(error) => {
            let position = error.character();
            assert!((1..=source.chars().count() + 1).contains(&position));
        }
    }
    if !text.contains("\\E") {
        assert_quoted_text_matches_itself(text);
    }
}

fn assert_methods_agree(regexp: &Regexp, template: &str, text: &str) {
    let captures = regexp.captures(text);
    assert_eq!(captures.is_some(), regexp.is_match(text));
    let replaced = regexp.replace_all(text, template);
    assert_eq!(captures.is_some(), replaced.is_some());
    let Some(captures) = captures else {
        return;
    };
    if captures.get(0) == Some(text) {
        let mut expanded = String::new();
        captures.expand(template, &mut expanded);
        assert_eq!(replaced, Some(expanded));
    }
}

fn assert_quoted_text_matches_itself(text: &str) {
    // A final backslash would escape the backslash of `\E`.
    if text.ends_with('\\') {
        return;
    }
    if let Ok(quoted) = Regexp::new(&format!("\\Q{text}\\E")) {
        assert!(quoted.is_match(text));
    }
}
