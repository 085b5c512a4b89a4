//! `LIKE` patterns.

/// Whether upper and lower case differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Exact,
    Folded,
}

/// One part of a pattern.
#[derive(PartialEq, Eq)]
enum Part {
    /// `%`.
    Run,
    /// `_`.
    One,
    Char(char),
}

/// Whether the whole text matches the pattern. A backslash at the end of the
/// pattern stands for itself.
pub(super) fn matches(pattern: &str, text: &str, case: Case) -> bool {
    let parts = parse(pattern, case);
    let chars: Vec<char> = text.chars().map(|c| fold(c, case)).collect();
    let (mut part, mut at) = (0, 0);
    // Where to go on when a match fails: after the last `%`, one character later.
    let mut retry: Option<(usize, usize)> = None;
    while at < chars.len() {
        let is_step = match parts.get(part) {
            Some(Part::Run) => {
                retry = Some((part + 1, at));
                part += 1;
                continue;
            }
            Some(Part::One) => true,
            Some(Part::Char(c)) => *c == chars[at],
            None => false,
        };
        if is_step {
            part += 1;
            at += 1;
        } else if let Some((after, from)) = retry {
            part = after;
            at = from + 1;
            retry = Some((after, from + 1));
        } else {
            return false;
        }
    }
    parts[part..].iter().all(|part| *part == Part::Run)
}

fn parse(pattern: &str, case: Case) -> Vec<Part> {
    let mut parts = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '%' => Part::Run,
            '_' => Part::One,
            '\\' => Part::Char(fold(chars.next().unwrap_or('\\'), case)),
            c => Part::Char(fold(c, case)),
        });
    }
    parts
}

/// Simple case folding: to upper case and then to lower case, each step only
/// where one character becomes one character.
fn fold(c: char, case: Case) -> char {
    if case == Case::Exact {
        return c;
    }
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let upper = only(c.to_uppercase()).unwrap_or(c);
    only(upper.to_lowercase()).unwrap_or(upper)
}

fn only(mut chars: impl Iterator<Item = char>) -> Option<char> {
    let first = chars.next();
    if chars.next().is_some() { None } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |pattern: &str, text: &str, exact: bool, folded: bool| {
            assert_eq!(matches(pattern, text, Case::Exact), exact, "{text:?} like {pattern:?}");
            assert_eq!(matches(pattern, text, Case::Folded), folded, "{text:?} ilike {pattern:?}");
        };
        check("", "", true, true);
        check("", "a", false, false);
        check("%", "", true, true);
        check("_", "", false, false);
        check("_", "é", true, true);
        check("a%", "abc", true, true);
        check("A%", "abc", false, true);
        check("%b%", "abc", true, true);
        check("%bc", "abcbc", true, true);
        check("%bc", "abcbd", false, false);
        check("a_c", "abc", true, true);
        check("a_c", "ac", false, false);
        check("a%b%c", "aXbXbXc", true, true);
        check("100\\%", "100%", true, true);
        check("100\\%", "1000", false, false);
        check("a\\_b", "a_b", true, true);
        check("a\\_b", "axb", false, false);
        check("a\\", "a\\", true, true);
        check("straße", "STRAßE", false, true);
        check("ΣΊΣΥΦΟΣ", "σίσυφος", false, true);
        check("k", "\u{212a}", false, true);
        check("%%%_%%", "x", true, true);
        check("[a-z]*", "abc", false, false);
    }

    #[test]
    fn a_pattern_of_many_runs_ends() {
        let text = "a".repeat(3_000);
        assert!(!matches(&"a%".repeat(60).replace("%a", "%b"), &text, Case::Exact));
    }
}
