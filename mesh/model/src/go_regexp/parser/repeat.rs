//! Parses repetitions: `*`, `+`, `?`, `{n}`, `{n,}`, `{n,m}` and their lazy forms.

use super::{Parser, cursor::Cursor, node::Count};
use crate::go_regexp::error::SyntaxError;

/// Maximum count of one repetition.
const MAX_COUNT: u32 = 1000;

// === impl Parser ===

impl Parser<'_> {
    /// Parses a repetition operator that begins with `c`, one of `*+?{`. A brace without a
    /// count is literal. `before` is the start of a repetition operator directly before this
    /// one.
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

    /// Repeats the last item. `start` is the position of the operator.
    fn repeat(
        &mut self,
        count: Count,
        start: usize,
        before: Option<usize>,
    ) -> Result<(), SyntaxError> {
        let in_range = count.min <= MAX_COUNT && count.max.is_none_or(|max| max <= MAX_COUNT);
        if !in_range || count.max.is_some_and(|max| count.min > max) {
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
        if count.counted && multiplies && repeated.has_too_many_copies() {
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

/// Parses `{n}`, `{n,}` or `{n,m}`. Returns `None` and reads nothing if something else follows.
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

/// Parses a decimal number without leading zeros. A number that overflows becomes `u32::MAX`.
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
