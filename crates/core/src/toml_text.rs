//! Pieces of a spec's text: quoted names, lists, comments.

/// `1 record`, `2 records`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A text as TOML writes it.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether a name needs no quotes.
pub(crate) fn is_bare(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A name as TOML writes it before `=`.
pub(crate) fn toml_key(name: &str) -> String {
    if is_bare(name) { name.to_owned() } else { quoted(name) }
}

/// One text alone, several as an array.
pub(crate) fn list(names: &[String]) -> String {
    match names {
        [one] => quoted(one),
        names => format!("[{}]", names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")),
    }
}

/// A comment on a line of its own, whatever names it holds.
pub(crate) fn comment_line(out: &mut String, text: &str) {
    out.push_str("# ");
    out.extend(text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }));
    out.push('\n');
}
