//! Patterns of file names in Go's notation.

/// Translates a pattern of Go's `path/filepath` into one of the `glob` crate.
///
/// They differ in three things: Go negates a class by `^`, escapes with a backslash, and has no
/// `**`. A class without an end stands for itself, so such a pattern matches no file, as in Go.
pub(super) fn of_go(pattern: &str) -> String {
    let mut translated = String::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' if translated.ends_with('*') => {}
            '\\' => translated.push_str(&literal(rest.next().unwrap_or('\\'))),
            '[' => match Class::parse(rest.as_str()) {
                Some((class, after)) => {
                    translated.push_str(&class.to_glob());
                    rest = after.chars();
                }
                None => translated.push_str(&literal('[')),
            },
            c => translated.push(c),
        }
    }
    translated
}

/// Returns a pattern that matches one character only.
fn literal(c: char) -> String {
    glob::Pattern::escape(c.encode_utf8(&mut [0; 4]))
}

/// A set of characters in brackets.
struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

// === impl Class ===

impl Class {
    /// Parses a class after its opening bracket. Returns it with the rest of the pattern.
    fn parse(text: &str) -> Option<(Self, &str)> {
        let negated = text.starts_with('^');
        let mut rest = text[usize::from(negated)..].chars();
        let mut ranges = Vec::new();
        loop {
            if !ranges.is_empty()
                && let Some(after) = rest.as_str().strip_prefix(']')
            {
                return Some((Self { negated, ranges }, after));
            }
            let low = Self::character(&mut rest)?;
            let high = match rest.as_str().strip_prefix('-') {
                Some(after) => {
                    rest = after.chars();
                    Self::character(&mut rest)?
                }
                None => low,
            };
            ranges.push((low, high));
        }
    }

    fn character(rest: &mut std::str::Chars<'_>) -> Option<char> {
        match rest.next()? {
            '\\' => rest.next(),
            '-' | ']' => None,
            c => Some(c),
        }
    }

    fn to_glob(&self) -> String {
        let mut singles = Vec::new();
        let mut ranges = String::new();
        for &(mut low, mut high) in &self.ranges {
            // A bound of a range cannot be one of the characters that have a place of their own.
            while low < high && is_special(low) {
                singles.push(low);
                low = after(low);
            }
            if low < high && high == ']' {
                singles.push(high);
                high = '\\';
            }
            if low == high && is_special(low) {
                singles.push(low);
            } else {
                ranges.push(low);
                if low != high {
                    ranges.extend(['-', high]);
                }
            }
        }
        let single = |c| {
            if singles.contains(&c) {
                c.to_string()
            } else {
                String::new()
            }
        };
        let (first, last) = (single(']') + &ranges, single('-') + &single('!'));
        // Alone, it would negate the class.
        if !self.negated && first.is_empty() && last == "!" {
            return literal('!');
        }
        let negation = if self.negated { "!" } else { "" };
        format!("[{negation}{first}{last}]")
    }
}

/// Returns true for characters that the `glob` crate takes literally only at one place of a
/// class: `]` at the start, `-` and `!` at the end.
fn is_special(c: char) -> bool {
    matches!(c, ']' | '-' | '!')
}

/// Returns the character after one of the special ones.
fn after(special: char) -> char {
    char::from(special as u8 + 1)
}

#[cfg(test)]
mod tests {
    use super::of_go;

    #[test]
    fn matches_as_go_does() {
        for (pattern, matching, other) in [
            ("[^b].yml", "a.yml", "b.yml"),
            ("[!b].yml", "!.yml", "a.yml"),
            ("[!].yml", "!.yml", "a.yml"),
            ("[^a-cx].yml", "d.yml", "b.yml"),
            ("[\\-x].yml", "-.yml", "a.yml"),
            ("[\\]x].yml", "].yml", "a.yml"),
            ("[a\\^].yml", "^.yml", "b.yml"),
            ("\\[a].yml", "[a].yml", "a.yml"),
            ("[!-.].yml", "#.yml", "/.yml"),
            ("[!-.].yml", "!.yml", "a.yml"),
            ("[^!-.].yml", "a.yml", "!.yml"),
            ("[^!-.].yml", "/.yml", "..yml"),
            ("[A-\\]].yml", "].yml", "^.yml"),
            ("[A-\\]].yml", "[.yml", "a.yml"),
            ("[x\\]-a].yml", "^.yml", "b.yml"),
            ("[x\\--/].yml", "..yml", "0.yml"),
            ("[x!-\\-].yml", "-.yml", "..yml"),
            ("[z-a!].yml", "!.yml", "b.yml"),
            ("a\\*.yml", "a*.yml", "ab.yml"),
            ("**.yml", "ab.yml", "a.json"),
            ("*.yml", ".a.yml", "a.json"),
            ("t?.yml", "t1.yml", "t.yml"),
            ("é*.yml", "éa.yml", "e.yml"),
        ] {
            let glob = glob::Pattern::new(&of_go(pattern)).unwrap();
            assert!(glob.matches(matching), "{pattern} {glob}");
            assert!(!glob.matches(other), "{pattern} {glob}");
        }
        for invalid in ["[.yml", "[].yml", "[]a].yml", "[a-].yml", "[-a].yml"] {
            let glob = glob::Pattern::new(&of_go(invalid)).unwrap();
            assert!(!glob.matches("a.yml"), "{invalid} {glob}");
        }
    }
}
