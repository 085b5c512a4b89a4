//! The head that every spec has, and a `move`'s sections around its fields:
//! `[source]`, `[target]`, `[unmapped]`, `[gates]`, `[pace]`.

use super::extras::{Together, read_together};
use super::fields::{check_name, read_columns, read_rules};
use super::read::{Item, Reader, Section, Span, did_you_mean};
use super::{Gates, Kind, LayoutSpec, Migration, Pace, Spec, StoreSpec, Unmapped, absorb, check, require};

/// Schemes of store URLs that this version can open.
pub const STORE_SCHEMES: [&str; 8] =
    ["sqlite", "postgres", "postgresql", "mysql", "mariadb", "dynamodb", "mongodb", "mongodb+srv"];

/// Names of migrations become file names, labels and lease names.
const MIGRATION_NAME_CHARS_MAX: usize = 63;

/// A `move`'s spec with the places that checks across sections point at.
pub(super) struct Draft {
    pub(super) spec: Spec,
    pub(super) source: StorePlaces,
    pub(super) target: StorePlaces,
    pub(super) unmapped: Span,
}

/// Where the parts of a store's section stand.
#[derive(Default)]
pub(super) struct StorePlaces {
    pub(super) table: Span,
    /// The flag of an `absorb`'s source, if it is named.
    pub(super) flag: Option<(String, Span)>,
    pub(super) key: Vec<Span>,
    pub(super) residue: Span,
}

/// What every kind's spec begins with.
pub(super) struct Head {
    pub(super) migration: String,
    pub(super) entity: String,
}

/// Reads the whole spec. A spec of no known kind is read as a `move`, so that
/// its other problems are reported too.
pub(super) fn read_spec(reader: &mut Reader<'_>, mut root: Section<'_>) -> Option<Migration> {
    let migration = read_migration(reader, &mut root);
    let kind = read_kind(reader, &mut root);
    let entity = read_entity(reader, &mut root);
    let head = Head { migration, entity };
    match kind {
        Some(Kind::Move) => Some(Migration::Move(read_move(reader, root, head))),
        Some(Kind::Require) => require::read_spec(reader, root, head).map(Migration::Require),
        Some(Kind::Absorb) => Some(Migration::Absorb(Box::new(absorb::read_absorb(reader, root, head)))),
        None => {
            read_move(reader, root, head);
            None
        }
    }
}

/// Reads what a `move` has besides its head. Parts that are missing are
/// reported and stand as empty texts, so that reading can go on.
fn read_move(reader: &mut Reader<'_>, mut root: Section<'_>, head: Head) -> Spec {
    let Head { migration, entity } = head;
    let (source, source_places) = read_store(reader, &mut root, "source", Which::Source);
    let (target, target_places) = read_store(reader, &mut root, "target", Which::Target);
    let fields = match root.take("fields").map(|item| reader.section(item, "[fields]")) {
        Some(section) => section.map(|section| read_rules(reader, section)).unwrap_or_default(),
        None => {
            let hint = "`shearwater init` writes one line for each field that it finds".to_owned();
            reader.problem("spec/missing", root.span, "the spec has no [fields]", Some(hint));
            Vec::new()
        }
    };
    let (unmapped, unmapped_place) = read_unmapped(reader, &mut root);
    let gates = read_gates(reader, &mut root);
    let pace = read_pace(reader, &mut root, Pace::default());
    root.refuse_rest(reader);
    let draft = Draft {
        spec: Spec { migration, kind: Kind::Move, entity, source, target, fields, unmapped, gates, pace },
        source: source_places,
        target: target_places,
        unmapped: unmapped_place,
    };
    check::check(reader, &draft);
    draft.spec
}

/// A text that must be there; empty when it is not.
pub(super) fn required_text(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    key: &'static str,
    example: &str,
) -> (String, Span) {
    match section.take(key) {
        Some(item) => {
            let text = reader.text(&item);
            if text.as_deref() == Some("") {
                reader.problem("spec/missing", item.span(), format!("`{key}` is empty"), None);
            }
            (text.unwrap_or_default(), item.span())
        }
        None => {
            reader.missing(section, key, example);
            (String::new(), section.span)
        }
    }
}

pub(super) fn read_migration(reader: &mut Reader<'_>, root: &mut Section<'_>) -> String {
    let (name, span) = required_text(reader, root, "migration", "\"users-to-tables\"");
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.is_empty() && (!name.chars().all(fits) || name.starts_with('-') || name.len() > MIGRATION_NAME_CHARS_MAX) {
        let message = format!("{name:?} cannot name a migration");
        let hint =
            format!("lower-case letters, digits and hyphens, not a hyphen first, at most {MIGRATION_NAME_CHARS_MAX}");
        reader.problem("spec/name", span, message, Some(hint));
    }
    name
}

pub(super) fn read_entity(reader: &mut Reader<'_>, root: &mut Section<'_>) -> String {
    let (name, span) = required_text(reader, root, "entity", "\"users\"");
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && (!name.chars().all(fits) || !name.starts_with(|c: char| c.is_ascii_alphabetic())) {
        let hint = "it stands in the gateway's paths: a letter, then letters, digits, hyphens, underscores";
        reader.problem("spec/name", span, format!("{name:?} cannot name an entity"), Some(hint.to_owned()));
    }
    name
}

fn read_kind(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Option<Kind> {
    let (name, span) = required_text(reader, root, "kind", "\"move\"");
    match name.as_str() {
        "move" => return Some(Kind::Move),
        "require" => return Some(Kind::Require),
        "absorb" => return Some(Kind::Absorb),
        "" => {}
        _ => {
            let hint = "this version does `move`, `require` and `absorb`".to_owned();
            reader.problem("spec/kind", span, format!("unknown kind `{name}`"), Some(hint));
        }
    }
    None
}

/// Which of the two sections is read; they differ in who declares the columns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Source,
    /// The source of an `absorb`, which has a flag.
    Absorbed,
    Target,
}

pub(super) fn read_store(
    reader: &mut Reader<'_>,
    root: &mut Section<'_>,
    name: &'static str,
    which: Which,
) -> (StoreSpec, StorePlaces) {
    let layout = LayoutSpec::Document { column: "doc".to_owned() };
    let empty = StoreSpec {
        url: String::new(),
        shown_url: String::new(),
        table: String::new(),
        key: vec![],
        layout,
        together: Together::default(),
    };
    let Some(item) = root.take(name) else {
        let hint = format!("add:\n[{name}]\nurl = \"sqlite:app.db\"\ntable = \"users\"\nkey = \"id\"");
        reader.problem("spec/missing", root.span, format!("the spec has no [{name}]"), Some(hint));
        return (empty, StorePlaces::default());
    };
    let Some(mut section) = reader.section(item, format!("[{name}]")) else { return (empty, StorePlaces::default()) };
    let (shown_url, url_span) = required_text(reader, &mut section, "url", "\"sqlite:app.db\"");
    // A URL with a missing secret is incomplete; more about it would be guessed.
    let url = expand(reader, &shown_url, url_span);
    if let Some(url) = url.as_deref().filter(|_| !shown_url.is_empty()) {
        check_scheme(reader, &shown_url, url, url_span);
    }
    let url = url.unwrap_or_default();
    let (table, table_span) = required_text(reader, &mut section, "table", "\"users\"");
    if !table.is_empty() {
        check_name(reader, "table", &table, table_span);
    }
    let mut places = StorePlaces { table: table_span, ..StorePlaces::default() };
    let mut key = Vec::new();
    match section.take("key") {
        Some(item) => {
            for (name, span) in reader.texts(&item).unwrap_or_default() {
                check_name(reader, "key field", &name, span);
                if key.contains(&name) {
                    reader.problem("spec/duplicate", span, format!("the key names `{name}` twice"), None);
                }
                key.push(name);
                places.key.push(span);
            }
        }
        None => reader.missing(&section, "key", "\"id\""),
    }
    if which == Which::Absorbed
        && let Some(item) = section.take("flag")
        && let Some(flag) = reader.text(&item)
    {
        check_name(reader, "flag", &flag, item.span());
        places.flag = Some((flag, item.span()));
    }
    let layout = read_layout(reader, &mut section, which, &mut places);
    let together = match which {
        Which::Target if matches!(layout, LayoutSpec::Rows { .. }) => read_together(reader, &mut section),
        _ => Together::default(),
    };
    section.refuse_rest(reader);
    (StoreSpec { url, shown_url, table, key, layout, together }, places)
}

fn read_layout(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    which: Which,
    places: &mut StorePlaces,
) -> LayoutSpec {
    let named = section.take("layout").and_then(|item| {
        let name = reader.text(&item)?;
        if !matches!(name.as_str(), "document" | "rows") {
            let hint = match did_you_mean(&name, &["document", "rows"]) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "layouts: document, rows".to_owned(),
            };
            reader.problem("spec/layout", item.span(), format!("unknown layout `{name}`"), Some(hint));
            return None;
        }
        Some(name)
    });
    let document = section.take("document");
    let (columns, residue) = match which {
        Which::Source | Which::Absorbed => (section.take("columns"), section.take("residue")),
        Which::Target => (None, None),
    };
    let rows = match (&named, which) {
        (Some(name), _) => name == "rows",
        (None, Which::Source | Which::Absorbed) => columns.is_some(),
        (None, Which::Target) => document.is_none(),
    };
    if !rows {
        for item in [&columns, &residue].into_iter().flatten() {
            not_in_this_layout(reader, item, "rows");
        }
        return LayoutSpec::Document { column: document.map_or("doc".to_owned(), |item| column_name(reader, &item)) };
    }
    if let Some(item) = &document {
        not_in_this_layout(reader, item, "document");
    }
    let columns = match columns {
        Some(item) => {
            let place = "[source.columns]";
            reader.section(item, place).map(|section| read_columns(reader, section)).unwrap_or_default()
        }
        None => {
            if which != Which::Target {
                let message = "[source] has layout `rows` but no columns";
                let hint = "add:\n[source.columns]\nid = \"int\"\nemail = \"text\"".to_owned();
                reader.problem("spec/missing", section.span, message, Some(hint));
            }
            Vec::new()
        }
    };
    let residue = residue.map(|item| {
        places.residue = item.span();
        column_name(reader, &item)
    });
    LayoutSpec::Rows { columns, residue }
}

fn column_name(reader: &mut Reader<'_>, item: &Item<'_>) -> String {
    let name = reader.text(item).unwrap_or_default();
    check_name(reader, "column", &name, item.span());
    name
}

fn not_in_this_layout(reader: &mut Reader<'_>, item: &Item<'_>, wanted: &str) {
    let message = format!("`{}` goes with layout `{wanted}`", item.key);
    reader.problem("spec/conflict", item.key_span, message, None);
}

/// Replaces `${NAME}` by the environment's variables; `None` when one is missing.
fn expand(reader: &mut Reader<'_>, text: &str, span: Span) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut complete = true;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let at = text.len() - after.len();
        let Some((name, tail)) = after.split_once('}') else {
            let place = reader.within(span, text, (at - 2, text.len()));
            reader.problem("spec/env", place, "`${` without `}`", Some("write ${NAME}".to_owned()));
            return None;
        };
        let place = reader.within(span, text, (at - 2, at + name.len() + 1));
        match (reader.env)(name) {
            Some(value) => out.push_str(&value),
            None => {
                complete = false;
                let message = format!("the environment has no variable {name:?}");
                let hint = format!("set it before the command: {name}=… shearwater …");
                reader.problem("spec/env", place, message, Some(hint));
            }
        }
        rest = tail;
    }
    out.push_str(rest);
    complete.then_some(out)
}

/// Looks at the scheme only; whether the store is there is for `plan` to find out.
fn check_scheme(reader: &mut Reader<'_>, shown: &str, url: &str, span: Span) {
    let known = STORE_SCHEMES.join(", ");
    let Some((scheme, rest)) = url.split_once(':') else {
        let message = "this is no store URL: it has no scheme";
        let hint = format!("for example sqlite:app.db; schemes: {known}");
        reader.problem("spec/store", span, message, Some(hint));
        return;
    };
    if !STORE_SCHEMES.contains(&scheme) {
        let hint = match did_you_mean(scheme, &STORE_SCHEMES) {
            Some(meant) => format!("did you mean `{meant}:`?"),
            None => format!("this version opens: {known}"),
        };
        // The scheme may have come out of a variable: then it is not for output.
        let message = match shown.starts_with(scheme) {
            true => format!("unknown store `{scheme}:`"),
            false => "unknown store in the variable's URL".to_owned(),
        };
        reader.problem("spec/store", span, message, Some(hint));
    } else if rest.is_empty() {
        let message = format!("`{scheme}:` names no database");
        reader.problem("spec/store", span, message, Some("for example sqlite:app.db".to_owned()));
    }
}

fn read_unmapped(reader: &mut Reader<'_>, root: &mut Section<'_>) -> (Unmapped, Span) {
    let kept = Unmapped::KeepIn("extra".to_owned());
    let Some(item) = root.take("unmapped") else { return (kept, root.span) };
    let Some(mut section) = reader.section(item, "[unmapped]") else { return (kept, root.span) };
    let (keep_in, refuse) = (section.take("keep_in"), section.take("refuse"));
    let mut place = section.span;
    let mut unmapped = kept;
    if let Some(item) = &keep_in {
        place = item.span();
        unmapped = Unmapped::KeepIn(column_name(reader, item));
    }
    if let Some(item) = &refuse {
        match (reader.flag(item), &keep_in) {
            (Some(true), Some(_)) => {
                let message = "[unmapped] has `keep_in` and `refuse`; it can have one of them";
                reader.problem("spec/conflict", section.span, message, None);
            }
            (Some(true), None) => unmapped = Unmapped::Refuse,
            (Some(false), _) => {
                let hint = Some("leave `refuse` out to keep them in a column".to_owned());
                reader.problem("spec/value", item.span(), "`refuse` can only be true", hint);
            }
            (None, _) => {}
        }
    }
    section.refuse_rest(reader);
    (unmapped, place)
}

pub(super) fn read_gates(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Gates {
    let mut gates = Gates::default();
    let Some(mut section) = root.take("gates").and_then(|item| reader.section(item, "[gates]")) else { return gates };
    const COUNT_MAX: u64 = i64::MAX as u64;
    // Longer than a minute is no pause but an outage.
    const PAUSE_MS_MAX: u64 = 60_000;
    let numbers = [
        ("mismatches_max", &mut gates.mismatches_max, 0, COUNT_MAX, "mismatches"),
        ("pause_ms_max", &mut gates.pause_ms_max, 1, PAUSE_MS_MAX, "ms"),
        ("shadow_reads_min", &mut gates.shadow_reads_min, 0, COUNT_MAX, "reads"),
        ("backlog_max", &mut gates.backlog_max, 0, COUNT_MAX, "keys"),
    ];
    for (key, slot, low, high, unit) in numbers {
        if let Some(number) = section.take(key).and_then(|item| reader.number(&item, low, high, unit)) {
            *slot = number;
        }
    }
    section.refuse_rest(reader);
    gates
}

/// `[pace]`, where the kind's own pace is not overruled; what that does not look
/// at cannot be asked for.
pub(super) fn read_pace(reader: &mut Reader<'_>, root: &mut Section<'_>, mut pace: Pace) -> Pace {
    let Some(mut section) = root.take("pace").and_then(|item| reader.section(item, "[pace]")) else { return pace };
    // More readers than this only queue for the store's one writer.
    const WORKERS_MAX: u64 = 64;
    const MS_MAX: u64 = 60_000;
    // Below 105 it would be chance; at 10,000 nobody would be looked after.
    const PERCENT: (u64, u64) = (105, 10_000);
    // A replica that is a day behind is no replica that anybody reads.
    const LAG_MS_MAX: u64 = 86_400_000;
    let mut workers = pace.workers as u64;
    let mut duty = u64::from(pace.duty_percent_max);
    let numbers = [
        ("workers", &mut workers, 1, WORKERS_MAX, "workers"),
        ("chunk_ms_target", &mut pace.chunk_ms_target, 1, MS_MAX, "ms"),
        ("foreground_ms_max", &mut pace.foreground_ms_max, 1, MS_MAX, "ms"),
        ("duty_percent_max", &mut duty, 1, 100, "percent"),
        ("lock_waits_max", &mut pace.lock_waits_max, 0, i64::MAX as u64, "sessions"),
        ("replica_lag_ms_max", &mut pace.replica_lag_ms_max, 1, LAG_MS_MAX, "ms"),
    ];
    if let Some(usual) = pace.foreground_percent_max {
        let asked = section.take("foreground_percent_max");
        let asked = asked.and_then(|item| reader.number(&item, PERCENT.0, PERCENT.1, "percent"));
        pace.foreground_percent_max = asked.map_or(Some(usual), |percent| u32::try_from(percent).ok());
    }
    for (key, slot, low, high, unit) in numbers {
        if let Some(number) = section.take(key).and_then(|item| reader.number(&item, low, high, unit)) {
            *slot = number;
        }
    }
    pace.workers = usize::try_from(workers).unwrap_or(pace.workers);
    pace.duty_percent_max = u8::try_from(duty).unwrap_or(pace.duty_percent_max);
    section.refuse_rest(reader);
    pace
}
