//! Parses escapes: `\n`, `\x41`, `\07`, `\.`, `\Q..\E`, `\b`, `\d`, `\pL`.

use regex_syntax::hir::{ClassUnicode, Hir, Look};

use super::{Parser, class, node::Node};
use crate::go_regexp::error::SyntaxError;

// === impl Parser ===

impl Parser<'_> {
    /// Parses an escape outside a bracketed class.
    pub(super) fn escape(&mut self) -> Result<(), SyntaxError> {
        let look = match self.cursor.rest().chars().nth(1) {
            Some('A') => Look::Start,
            Some('z') => Look::End,
            Some('b') => Look::WordAscii,
            Some('B') => Look::WordAsciiNegate,
            Some('Q') => return self.quoted(),
            _ => {
                if let Some(class) = self.escaped_class()? {
                    return self.push_class(class);
                }
                let code_point = self.escaped_char()?;
                return self.push_literal(code_point);
            }
        };
        self.cursor.bump();
        self.cursor.bump();
        self.push(Node::leaf(Hir::look(look)), self.cursor.at())
    }

    /// Parses `\Q` and all characters up to `\E` or the end as literals.
    fn quoted(&mut self) -> Result<(), SyntaxError> {
        self.cursor.eat(r"\Q");
        let quoted = match self.cursor.eat_until(r"\E") {
            Some(quoted) => quoted,
            None => self.cursor.eat_rest(),
        };
        quoted
            .chars()
            .try_for_each(|c| self.push_literal(u32::from(c)))
    }

    /// Parses `\d`, `\pL` and similar classes. Returns `None` and reads nothing if another
    /// escape follows.
    pub(super) fn escaped_class(&mut self) -> Result<Option<ClassUnicode>, SyntaxError> {
        let mut ahead = self.cursor.rest().chars();
        if ahead.next() != Some('\\') {
            return Ok(None);
        }
        let fold = self.flags.fold_case;
        let class = match ahead.next() {
            Some('p' | 'P') => return self.unicode_class().map(Some),
            Some('d') => class::from_ranges(class::DIGIT, fold, false),
            Some('D') => class::from_ranges(class::DIGIT, fold, true),
            Some('s') => class::from_ranges(class::PERL_SPACE, fold, false),
            Some('S') => class::from_ranges(class::PERL_SPACE, fold, true),
            Some('w') => class::from_ranges(class::WORD, fold, false),
            Some('W') => class::from_ranges(class::WORD, fold, true),
            _ => return Ok(None),
        };
        self.cursor.bump();
        self.cursor.bump();
        Ok(Some(class))
    }

    /// Parses an escape of one code point. The code point can be a surrogate: `\x{D800}` is
    /// valid and matches nothing.
    pub(super) fn escaped_char(&mut self) -> Result<u32, SyntaxError> {
        let start = self.cursor.at();
        self.cursor.bump();
        let Some(c) = self.cursor.bump() else {
            return Err(SyntaxError::new(
                "trailing backslash at end of expression",
                self.cursor.span(start),
                "a character after it",
            ));
        };
        let code_point = match c {
            '1'..='7' if !matches!(self.cursor.peek(), Some('0'..='7')) => None,
            '0'..='7' => Some(self.octal(c)),
            'x' => self.hexadecimal(),
            'a' => Some(0x07),
            'f' => Some(0x0c),
            'n' => Some(0x0a),
            'r' => Some(0x0d),
            't' => Some(0x09),
            'v' => Some(0x0b),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(u32::from(c)),
            _ => None,
        };
        code_point.ok_or_else(|| {
            SyntaxError::new(
                "invalid escape sequence",
                self.cursor.span(start),
                "an escape of RE2: \\ and punctuation, or one of \\a \\f \\n \\r \\t \\v \\123 \
                 \\x7F \\x{10FFFF} \\d \\D \\s \\S \\w \\W \\pN \\p{Greek} \\A \\b \\B \\z \\Q..\\E",
            )
        })
    }

    /// Parses up to three octal digits. `first` is the first digit, already read.
    fn octal(&mut self, first: char) -> u32 {
        let mut value = first.to_digit(8).unwrap_or_default();
        for _ in 0..2 {
            let Some(digit) = self.cursor.peek().and_then(|c| c.to_digit(8)) else {
                break;
            };
            self.cursor.bump();
            value = value * 8 + digit;
        }
        value
    }

    /// Parses two hexadecimal digits, or any number of them in braces.
    fn hexadecimal(&mut self) -> Option<u32> {
        if !self.cursor.eat("{") {
            let high = self.cursor.bump()?.to_digit(16)?;
            let low = self.cursor.bump()?.to_digit(16)?;
            return Some(high * 16 + low);
        }
        let mut value = self.cursor.bump()?.to_digit(16)?;
        loop {
            let c = self.cursor.bump()?;
            if c == '}' {
                return Some(value);
            }
            value = value * 16 + c.to_digit(16)?;
            if value > u32::from(char::MAX) {
                return None;
            }
        }
    }

    /// Adds a single code point, ignoring case if the flags say so.
    pub(super) fn push_literal(&mut self, code_point: u32) -> Result<(), SyntaxError> {
        let start = self.cursor.at();
        let Some(c) = char::from_u32(code_point) else {
            return self.push(Node::leaf(Hir::fail()), start);
        };
        if self.flags.fold_case {
            let any_case = class::from_ranges(&[(c, c)], true, false);
            return self.push_class(any_case);
        }
        let mut utf8 = [0; 4];
        let literal = c.encode_utf8(&mut utf8).as_bytes();
        self.push(Node::leaf(Hir::literal(literal)), start)
    }
}
