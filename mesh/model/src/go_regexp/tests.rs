use proptest::prelude::*;

use super::Regexp;

fn regexp(source: &str) -> Regexp {
    Regexp::new(source).unwrap_or_else(|error| panic!("{source}: {error}"))
}

/// Checks an expression against texts that it must match and texts that it must not match.
fn check(source: &str, matching: &[&str], others: &[&str]) {
    let regexp = regexp(source);
    for text in matching {
        assert!(regexp.is_match(text), "{source} must match {text:?}");
        assert!(regexp.captures(text).is_some(), "{source} on {text:?}");
    }
    for text in others {
        assert!(!regexp.is_match(text), "{source} must not match {text:?}");
        assert!(regexp.captures(text).is_none(), "{source} on {text:?}");
    }
}

fn error(source: &str) -> String {
    match Regexp::new(source) {
        Ok(_) => panic!("{source} must be rejected"),
        Err(error) => error.to_string(),
    }
}

fn expand(source: &str, text: &str, template: &str) -> String {
    let regexp = regexp(source);
    let captures = regexp.captures(text).expect("a match");
    let mut out = String::from("^");
    captures.expand(template, &mut out);
    out.split_off(1)
}

#[test]
fn matches_only_the_whole_text() {
    check("foo", &["foo"], &["foobar", "xfoo", ""]);
    check("a|b", &["a", "b"], &["ab"]);
    check("", &[""], &["a", "\n"]);
    check("a$", &["a"], &["a\n"]);
    check(".*", &["", "a\nb"], &[]);
    check("(?-s).", &["a"], &["\n"]);
    check("(?m)^a$", &["a"], &["b\na", "a\nb"]);
    check(r"(?m)b\n^a$\nb", &["b\na\nb"], &[]);
}

#[test]
fn perl_classes_are_ascii() {
    check(r"\d+", &["12"], &["\u{663}"]);
    check(r"\w+", &["a_1"], &["é"]);
    check(r"\s", &[" ", "\t", "\n", "\x0c", "\r"], &["\u{a0}", "\x0b"]);
    check(r"\D\W\S", &["éé\u{a0}"], &["1éé"]);
    check(r"\ba\b", &["a"], &[]);
    check(r"\bé\b", &[], &["é"]);
    check(r"a\Bb", &["ab"], &[]);
    check(r"[\d-z]", &["1", "-", "z"], &["a"]);
    check(r"[^\W\d]", &["a", "_"], &["1", "-"]);
}

#[test]
fn brackets_are_plain_sets() {
    check("[a&&b]", &["a", "b", "&"], &["&&"]);
    check("[a~~b]", &["~"], &[]);
    check("[[a]]", &["[]", "a]"], &["a"]);
    check("[a[]", &["[", "a"], &[]);
    check("[]a]", &["]", "a"], &[]);
    check("[^]a]", &["b", "\n"], &["]", "a"]);
    check("[a-]", &["-", "a"], &["b"]);
    check("[-a]", &["-", "a"], &["b"]);
    check(r"[\]\-\\]", &["]", "-", "\\"], &["a"]);
    check(r"[\x{D000}-\x{E001}]", &["\u{d7ff}", "\u{e000}"], &["a"]);
    check("[:alpha:]", &[":", "a", "l"], &["b"]);
}

#[test]
fn posix_classes_are_ascii() {
    check("[[:alpha:]]+", &["aZ"], &["é", "1"]);
    check("[[:^digit:]]", &["a", "\u{663}"], &["1"]);
    check("[[:space:]]", &["\x0b", " "], &["\u{a0}"]);
    check("[[:word:][:punct:]]+", &["a_1!"], &[" "]);
    check("[[:alpha]+", &["[", ":", "alph"], &["b"]);
}

#[test]
fn unicode_classes_use_go_names() {
    check(r"\pL+", &["éa"], &["1"]);
    check(r"\PN", &["a"], &["1"]);
    check(r"\p{^Lu}", &["a"], &["A"]);
    check(r"\P{^Lu}", &["A"], &["a"]);
    check(r"\p{Greek}\p{greek}", &["αβ"], &["ab"]);
    check(r"\p{Letter}\p{uppercase letter}", &["aB"], &["ab"]);
    check(r"\p{Thai}|\p{Miao}|\p{Yi}", &["ก", "𖼀", "ꀀ"], &["a"]);
    check(r"\p{Old_Italic}", &["𐌀"], &["a"]);
    check(
        r"\p{Any}\p{ASCII}\p{Assigned}",
        &["éaé"],
        &["ééé", "éa\u{378}"],
    );
    check(r"\p{Cs}", &[], &["a"]);
    check(r"\p{Zl}", &["\u{2028}"], &["a"]);
}

#[test]
fn supports_the_escapes_of_re2() {
    check(r"\Qa.b\E", &["a.b"], &["axb"]);
    check(r"a\Q\E*", &["", "aa"], &["a*"]);
    check(r"a\Qb*\E+", &["ab*", "ab**"], &["abb"]);
    check(r"\<a\>", &["<a>"], &["a"]);
    check(r"\b{start}a", &[], &["a"]);
    check(r"\07\101\x41\x{41}", &["\x07AAA"], &[]);
    check(r"\x{1F600}", &["😀"], &[]);
    check(r"\x{D800}", &[], &["\u{fffd}", ""]);
    check(r"\a\f\t\n\r\v", &["\x07\x0c\t\n\r\x0b"], &[]);
    check(r"\A a \z", &[" a "], &["a"]);
    check(r"\_\-\/\@\%\ \'", &["_-/@% '"], &[]);
}

#[test]
fn braces_without_a_count_are_literal() {
    check("{", &["{"], &[""]);
    check("a{", &["a{"], &["a"]);
    check("a{,2}", &["a{,2}"], &["aa"]);
    check("a{01}", &["a{01}"], &["a"]);
    check("a{1", &["a{1"], &["a"]);
    check("}", &["}"], &[]);
    check("]", &["]"], &[]);
}

#[test]
fn repeats_items() {
    check("a{2}", &["aa"], &["a", "aaa"]);
    check("a{2,}", &["aa", "aaa"], &["a"]);
    check("a{1,2}", &["a", "aa"], &["", "aaa"]);
    check("a{0}b", &["b"], &["ab"]);
    check("(?:a{10}){100}", &[&"a".repeat(1000)], &[&"a".repeat(999)]);
    check("(|a)*", &["", "aa"], &["b"]);
    check("^*a$*", &["a"], &["aa"]);
    check("a(?i)*", &["", "aa"], &["A"]);
    assert_eq!(expand("(a+)(a*)", "aaa", "$1,$2"), "aaa,");
    assert_eq!(expand("(a+?)(a*)", "aaa", "$1,$2"), "a,aa");
    assert_eq!(expand("(?U)(a+)(a*)", "aaa", "$1,$2"), "a,aa");
    assert_eq!(expand("(?U)(a+?)(a*)", "aaa", "$1,$2"), "aaa,");
}

#[test]
fn folds_case_letter_by_letter() {
    check("(?i)k", &["k", "K", "\u{212a}"], &[]);
    check("(?i)stra\u{df}e", &["STRA\u{df}E"], &["STRASSE"]);
    check("(?i)[^k]", &["a"], &["k", "K", "\u{212a}"]);
    check("(?i)[a-c]", &["B"], &["d"]);
    check(r"(?i)\w", &["\u{17f}"], &["é"]);
    check(r"(?i)\W", &["é"], &["\u{17f}"]);
    check(r"(?i)\Qa\E\x62", &["AB"], &[]);
    check("(?i-i)A", &["A"], &["a"]);
    check("(?i:a)b|(?i)c", &["Ab", "C"], &["AB"]);
    check("(a(?i)b)c", &["aBc"], &["aBC", "ABc"]);
}

#[test]
fn supports_the_groups_of_go() {
    check("(?:)", &[""], &["a"]);
    check("()", &[""], &["a"]);
    check("(?s-m:a)", &["a"], &[]);
    check("(?P<n>a)(?<n>b)", &["ab"], &[]);
    check("(?P<1a>x)", &["x"], &[]);
    assert_eq!(expand("(a|ab)(c|bcd)(d*)", "abcd", "$1-$2-$3"), "a-bcd-");
    assert_eq!(expand("(a)?(b)", "b", "[$1][$2]"), "[][b]");
    assert_eq!(expand("(?P<n>a)|(?P<n>b)", "b", "$n"), "b");
    assert_eq!(expand("(a){0}(b)(c){0}", "b", "$1,$2,$3"), ",b,");
}

/// An expression can close the wrapper's group. It is then not anchored at both ends.
#[test]
fn an_expression_can_escape_its_anchors() {
    check("a)(b", &["ab"], &["a", "b"]);
    check("a)|(?s:b", &["a", "ax", "b", "xb"], &["xa", "bx"]);
    let regexp = regexp("a)|(b");
    assert_eq!(regexp.replace_all("abc", "x").as_deref(), Some("xbc"));
    assert_eq!(regexp.replace_all("cab", "<$1>").as_deref(), Some("ca<b>"));
    assert_eq!(regexp.replace_all("c", "x"), None);
}

#[test]
fn replaces_every_match_once() {
    let replaced = |source, text| regexp(source).replace_all(text, "<$0>");
    assert_eq!(replaced("(.*)", "ab").as_deref(), Some("<ab>"));
    assert_eq!(replaced("(.*)", "").as_deref(), Some("<>"));
    assert_eq!(replaced("b)|(?:é*", "ab").as_deref(), Some("ab<>"));
    assert_eq!(replaced("é*)|(?:", "éa").as_deref(), Some("<é>a<>"));
    assert_eq!(replaced("x)|(?m:^y$", "y\ny").as_deref(), Some("y\n<y>"));
}

#[test]
fn references_use_the_longest_name() {
    let endpoint = r"(?P<host>.*):(?P<port>\d+)";
    for (template, expected) in [
        ("$1", "h"),
        ("${1}x", "hx"),
        ("$1x", ""),
        ("$1_$2", "80"),
        ("${1}_${2}", "h_80"),
        ("$host-$port", "h-80"),
        ("$host_x|${host}_x", "|h_x"),
        ("$nope|$3|$99999999999|", "|||"),
        ("$0", "h:80"),
        ("$01${01}", ""),
        ("$1é", ""),
        ("$host\u{663}", ""),
        ("$1\u{2167}", "h\u{2167}"),
        ("$1\u{301}", "h\u{301}"),
    ] {
        assert_eq!(expand(endpoint, "h:80", template), expected, "{template}");
    }
}

#[test]
fn other_dollars_are_literal() {
    for (template, expected) in [
        ("$$1", "$1"),
        ("$", "$"),
        ("a$", "a$"),
        ("$ 1", "$ 1"),
        ("$-1", "$-1"),
        ("$²", "$²"),
        ("$[1]", "$[1]"),
        ("${}", "${}"),
        ("${1", "${1"),
        ("${1 }", "${1 }"),
        ("${ 1 }", "${ 1 }"),
        ("${a-b}|", "${a-b}|"),
        ("${1}$", "h$"),
        ("$1$$", "h$"),
        (r"\1", r"\1"),
    ] {
        assert_eq!(expand("(.*)", "h", template), expected, "{template}");
    }
}

#[test]
fn errors_state_the_place_and_the_expected_syntax() {
    for (source, message) in [
        (
            "ab(c",
            "missing closing ): `(c` at character 3; expected a ) for this (",
        ),
        (
            "é)",
            "unexpected ): `)` at character 2; expected a ( before it",
        ),
        (
            "a)b)",
            "unexpected ): `)` at character 2; expected a ( before it",
        ),
        (
            r"ab\",
            r"missing closing ): `ab\` at character 1; expected a ) for each (, an \E for each \Q, and no \ at the end",
        ),
        (
            "x[a",
            "missing closing ]: `[a` at character 2; expected a ] for this [",
        ),
        (
            "a**",
            "invalid nested repetition operator: `**` at character 2; \
             expected a single repetition, or a group around the inner one",
        ),
        (
            "|*",
            "missing argument to repetition operator: `*` at character 2; \
             expected something to repeat before it",
        ),
        (
            "(?P<a.b>x)",
            "invalid named capture: `(?P<a.b>` at character 1; \
             expected a name of ASCII letters, digits and underscores between < and >",
        ),
        (
            "[b-a]",
            "invalid character class range: `b-a` at character 2; \
             expected the lower end first, or - as the last character of the class",
        ),
        (
            "a(?=b)",
            "invalid or unsupported Perl syntax: `(?=` at character 2; \
             expected (?:, (?P<name>, (?<name> or flags of i, m, s, U and then : or )",
        ),
        (
            "a{2,1}",
            "invalid repeat count: `{2,1}` at character 2; expected at most 1000 \
             repetitions, nested ones multiplied, and {min,max} in that order",
        ),
    ] {
        assert_eq!(error(source), format!("error parsing regexp: {message}"));
    }
    assert_eq!(Regexp::new("éa**").map_err(|e| e.character()), Err(3));
}

#[test]
fn rejects_expressions_that_go_rejects() {
    for (mistake, sources) in [
        (
            "invalid escape sequence",
            &[
                r"\e",
                r"\é",
                r"\C",
                r"\Z",
                r"\1",
                r"(a)\1",
                r"\8",
                r"\u0041",
                r"\N",
                r"\h",
                r"\x",
                r"\x4",
                r"\x{}",
                r"\x{110000}",
                r"[a-\d]",
                r"[\b]",
            ][..],
        ),
        (
            "invalid character class range",
            &[
                "[a--b]",
                "[[:foo:]]",
                "[[:alpha:z:]]",
                r"\pX",
                r"\p{}",
                r"\p{Grek}",
                r"\p{IsGreek}",
                r"\p{Script=Greek}",
                r"\p{Alphabetic}",
                r"\p{Lu",
                r"\pé",
            ],
        ),
        (
            "invalid or unsupported Perl syntax",
            &[
                "(?x)a", "(?R)a", "(?u)a", "(?-u)a", "(?#c)a", "(?=a)a", "(?!a)", "(?'n'a)",
                "(?-)", "(?i--s)",
            ],
        ),
        (
            "invalid named capture",
            &["(?P<>x)", "(?<a-b>x)", "(?P<é>x)", "(?P<n"],
        ),
        (
            "invalid nested repetition operator",
            &["x{2}{3}", "a**", "a+++", "a*?+", "a?*"],
        ),
        (
            "invalid repeat count",
            &[
                "a{1001}",
                "a{1001,}",
                "a{0,1001}",
                "(a{100}){11}",
                "a{99999999999}",
            ],
        ),
        ("missing argument to repetition operator", &["(*)", "(?i)*"]),
        ("missing closing )", &["(", "(?i", r"a\", r"\Qa", r"\Q\"]),
        (
            "missing closing ]",
            &["[", "[]", "[^]", "[a", r"[\]", "[[:alpha:]"],
        ),
        ("unexpected )", &[")", "a)b)c"]),
    ] {
        for source in sources {
            let message = error(source);
            let expected = format!("error parsing regexp: {mistake}: `");
            assert!(message.starts_with(&expected), "{source}: {message}");
        }
    }
}

#[test]
fn limits_the_size() {
    assert!(error(&"a".repeat((1 << 20) + 1)).contains("expected at most 1048576 bytes"));
    assert!(error(r"(?:\pL\pL){1000}").contains("expected a program of at most"));
    assert!(error(&r"\pL".repeat(10_000)).contains("1048576 character ranges"));
    regexp(r"\pL{500}");
}

#[test]
fn limits_the_nesting() {
    let nested = |levels| format!("{}a{}", "(".repeat(levels), ")".repeat(levels));
    regexp(&nested(90));
    assert!(error(&nested(110)).contains("expected at most 100 levels"));
    let branching = |levels| format!("{}a{}", "(?:x|".repeat(levels), "b)*".repeat(levels));
    regexp(&branching(30));
    error(&branching(50));
}

#[test]
fn an_explicit_expression_is_not_the_default() {
    assert!(Regexp::default().is_default());
    assert!(!regexp("(.*)").is_default());
    assert_eq!(Regexp::default(), regexp("(.*)"));
}

fn quoted(literal: &str) -> String {
    regex_syntax::escape(literal)
}

proptest! {
    #[test]
    fn a_literal_matches_only_itself(literal in "\\PC{0,12}", other in "\\PC{0,12}") {
        let regexp = regexp(&quoted(&literal));
        prop_assert!(regexp.is_match(&literal));
        prop_assert_eq!(regexp.is_match(&other), literal == other);
    }

    #[test]
    fn branches_match_their_literals(
        literals in proptest::collection::vec("[a-c.é]{0,4}", 1..6),
        text in "[a-c.é]{0,4}",
    ) {
        let branches: Vec<String> = literals.iter().map(|literal| quoted(literal)).collect();
        let regexp = regexp(&branches.join("|"));
        prop_assert_eq!(regexp.is_match(&text), literals.contains(&text));
    }

    #[test]
    fn never_panics(
        source in "[a-c(){}|*+?.^$\\\\\\[\\]:<>PQEdpLix0-2,é-]{0,24}",
        text in "[a-c(é\n]{0,8}",
        template in "[$1{}aé]{0,8}",
    ) {
        if let Ok(regexp) = Regexp::new(&source) {
            let captures = regexp.captures(&text);
            prop_assert_eq!(captures.is_some(), regexp.is_match(&text));
            prop_assert_eq!(
                captures.is_some(),
                regexp.replace_all(&text, &template).is_some()
            );
        }
    }
}
