//! Repetitions: `*`, `+`, `?`, `{n}`, `{n,}`, `{n,m}` and their lazy forms.

use super::{Parser, cursor::Cursor, node::Count};
use crate::go_regexp::error::SyntaxError;

/// The largest count of one repetition.
const MAX_COUNT: u32 = 1000;

// === impl Parser ===

impl Parser<'_> {
    /// Reads what begins with `c`, one of `*+?{`. A brace that does not begin a
    /// count is a literal. `before` is where a repetition begins that ends here.
    pub(super) fn repeat_or_brace(
        &mut self,
        c: char,
        before: Option<usize>,
    ) -> Result<(), SyntaxError> {
        let start = self.cursor.at();
        let plain = |min, max| Count {
            min,
            max,
            counted: false,
        };
        let count = match c {
            '*' => plain(0, None),
            '+' => plain(1, None),
            '?' => plain(0, Some(1)),
            _ => {
                return match braces(&mut self.cursor) {
                    Some(count) => self.repeat(count, start, before),
                    None => {
                        self.cursor.bump();
                        self.push_literal(u32::from('{'))
                    }
                };
            }
        };
        self.cursor.bump();
        self.repeat(count, start, before)
    }

    /// Repeats the last item by a count that was read from `start` on.
    fn repeat(
        &mut self,
        count: Count,
        start: usize,
        before: Option<usize>,
    ) -> Result<(), SyntaxError> {
        let sane = count.min <= MAX_COUNT && count.max.is_none_or(|max| max <= MAX_COUNT);
        if !sane || count.max.is_some_and(|max| count.min > max) {
            return Err(self.invalid_count(start));
        }
        let greedy = self.cursor.eat("?") == self.flags.swap_greed;
        if let Some(before) = before {
            return Err(SyntaxError::new(
                "invalid nested repetition operator",
                self.cursor.span(before),
                "a single repetition, or a group around the inner one",
            ));
        }
        let Some(item) = self.frame().pop() else {
            return Err(SyntaxError::new(
                "missing argument to repetition operator",
                self.cursor.span(start),
                "something to repeat before it",
            ));
        };
        let repeated = item.repeat(count, greedy);
        let multiplies = count.min >= 2 || count.max.is_some_and(|max| max >= 2);
        if count.counted && multiplies && repeated.is_too_often() {
            return Err(self.invalid_count(start));
        }
        self.repetition = Some(start);
        self.push(repeated, start)
    }

    fn invalid_count(&self, start: usize) -> SyntaxError {
        SyntaxError::new(
            "invalid repeat count",
            self.cursor.span(start),
            "at most 1000 repetitions, nested ones multiplied, and {min,max} in that order",
        )
    }
}

/// Reads `{n}`, `{n,}` or `{n,m}`; nothing where there is something else.
fn braces(cursor: &mut Cursor<'_>) -> Option<Count> {
    let mut ahead = cursor.clone();
    ahead.eat("{");
    let min = number(&mut ahead)?;
    let max = if !ahead.eat(",") {
        Some(min)
    } else if ahead.rest().starts_with('}') {
        None
    } else {
        Some(number(&mut ahead)?)
    };
    if !ahead.eat("}") {
        return None;
    }
    *cursor = ahead;
    Some(Count {
        min,
        max,
        counted: true,
    })
}

/// Reads a decimal number without leading zeros; one that is too large to hold
/// counts as the largest.
fn number(cursor: &mut Cursor<'_>) -> Option<u32> {
    let start = cursor.at();
    while cursor.peek().is_some_and(|c| c.is_ascii_digit()) {
        cursor.bump();
    }
    match cursor.since(start) {
        "" => None,
        digits if digits.len() > 1 && digits.starts_with('0') => None,
        digits => Some(digits.parse().unwrap_or(u32::MAX)),
    }
}
