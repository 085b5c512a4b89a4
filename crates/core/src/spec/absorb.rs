//! A spec of kind `absorb`: another company's records move one by one into a
//! store whose schema requires more than theirs has.

use toml::de::DeValue;

use super::check;
use super::fields::{read_path, read_rules, read_sql};
use super::identity::{self, Assign};
use super::joins::{self, Joins};
use super::lists::{Lists, read_lists};
use super::literal::constant;
use super::merge::{self, Merge};
use super::read::{Item, Reader, Section};
use super::references::{self, KeyReference};
use super::stores::{Draft, Head, Which, read_gates, read_pace, read_store, required_text};
use super::{FieldRule, Kind, Pace, RuleFrom, Spec, Unmapped};
use crate::path::Path;
use crate::value::Document;

/// The name under which the mapping gives what no rule names. It never becomes
/// a column: what the target cannot hold stays in the source's row.
pub const REST: &str = "_shearwater_rest";

/// The flag's name when the spec says none.
const FLAG_DEFAULT: &str = "migrated";

/// Stragglers deactivated in one day when the spec says nothing: a mistake in
/// the predicate must not reach everybody before somebody sees it.
const PER_DAY_MAX_DEFAULT: u64 = 1_000;

/// A checked spec of an `absorb`.
#[derive(Clone, Debug, PartialEq)]
pub struct AbsorbSpec {
    /// What it shares with a `move`: stores, rules, gates, pace. The required
    /// fields stand among the rules as fields of the target only.
    pub base: Spec,
    /// The source's column that says whether a record has moved.
    pub flag: String,
    /// The fields without which no record moves, in the order of the spec.
    pub require: Vec<String>,
    /// What becomes of a value that a record of the target has already.
    pub conflicts: Vec<(String, Conflict)>,
    /// Which records clients see.
    pub scope: Scope,
    /// In which orders they ask for lists.
    pub lists: Lists,
    /// How records get a key of the target that no rule computes; `None`: a
    /// rule computes it.
    pub identity: Option<Assign>,
    /// Whether the table of assigned keys stays after the end, for the
    /// references of other migrations.
    pub keep_keys: bool,
    /// Fields that name records whose keys were assigned.
    pub references: Vec<KeyReference>,
    /// Fields that are taken out of other tables of the source.
    pub joins: Joins,
    /// What becomes of records that nobody updates.
    pub stragglers: Option<Stragglers>,
}

/// What becomes of a record whose value another record of the target has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Conflict {
    /// It does not move: a dead letter with the reason.
    #[default]
    Refuse,
    /// The other record keeps the value; this one moves with NULL there, and
    /// has its own value back when it goes back.
    KeepTarget,
    /// Both keep one: this record's is changed by an expression over v2, and is
    /// as it was when it goes back.
    KeepBoth {
        /// The expression.
        sql: String,
    },
    /// The two records become one: those with one key, or, where keys are
    /// assigned, those with one value in this field.
    Merge(Merge),
}

impl Conflict {
    /// Its word in specs.
    pub fn word(&self) -> &'static str {
        match self {
            Conflict::Refuse => "refuse",
            Conflict::KeepTarget => "keep-target",
            Conflict::KeepBoth { .. } => "keep-both",
            Conflict::Merge(_) => "merge",
        }
    }
}

/// Which records clients see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those that came from the source, wherever they live.
    #[default]
    Origin,
    /// The target's own too, in shape v2.
    All,
}

impl Scope {
    /// Both, with the words of specs.
    pub const WORDS: [(&'static str, Scope); 2] = [("origin", Scope::Origin), ("all", Scope::All)];
}

/// What becomes of records that nobody updates.
#[derive(Clone, Debug, PartialEq)]
pub struct Stragglers {
    /// The v1 field with the time of the last activity (a date, a timestamp or
    /// an instant).
    pub activity: Path,
    /// The v1 field by which a record without an activity is judged, of the
    /// same type, for example when it was created; `None`: such a record is
    /// never deactivated.
    pub without_activity: Option<Path>,
    /// How long without activity, days.
    pub deactivate_after_days: u64,
    /// The v2 fields that a deactivated record is moved with.
    pub deactivate: Document,
    /// The most records deactivated in one day (UTC).
    pub per_day_max: u64,
}

/// Reads what an `absorb` has besides its head.
pub(super) fn read_absorb(reader: &mut Reader<'_>, mut root: Section<'_>, head: Head) -> AbsorbSpec {
    let (source, source_places) = read_store(reader, &mut root, "source", Which::Absorbed);
    let (target, target_places) = read_store(reader, &mut root, "target", Which::Target);
    let flag = source_places.flag.as_ref().map_or(FLAG_DEFAULT.to_owned(), |(flag, _)| flag.clone());
    let mut fields = read_fields(reader, &mut root);
    let require = read_require(reader, &mut root, &mut fields);
    let (identity, keep_keys) = identity::read(reader, &mut root, &target.key, &fields).unzip();
    let conflicts = read_conflicts(reader, &mut root, Keyed { fields: &target.key, assign: identity }, &fields);
    let scope = read_scope(reader, &mut root);
    let lists = read_lists(reader, &mut root, &fields);
    let keep_keys = keep_keys.unwrap_or(false);
    let references = references::read(reader, &mut root, &source, &target.key, &mut fields);
    let joins = joins::read(reader, &mut root, &source, &target.key, &mut fields);
    let stragglers = read_stragglers(reader, &mut root, &fields, &require);
    let gates = read_gates(reader, &mut root);
    let pace = read_pace(reader, &mut root, Pace::default());
    root.refuse_rest(reader);
    let unmapped = Unmapped::KeepIn(REST.to_owned());
    if let Some(stragglers) = &stragglers {
        same_time(reader, &source.layout, stragglers);
    }
    let Head { migration, entity } = head;
    let draft = Draft {
        spec: Spec { migration, kind: Kind::Absorb, entity, source, target, fields, unmapped, gates, pace },
        source: source_places,
        target: target_places,
        unmapped: (0, 0),
    };
    check::check(reader, &draft);
    let base = draft.spec;
    if let Some(rule) = source_column(&base, &flag) {
        let message = format!("`{flag}` is the flag, which the start adds, and a column of the source too");
        let hint = "name the flag otherwise: flag = \"moved_to_us\"".to_owned();
        reader.problem("spec/duplicate", rule.span, message, Some(hint));
    }
    AbsorbSpec { base, flag, require, conflicts, scope, lists, identity, keep_keys, references, joins, stragglers }
}

fn source_column<'s>(spec: &'s Spec, name: &str) -> Option<&'s FieldRule> {
    match &spec.source.layout {
        super::LayoutSpec::Rows { columns, .. } => columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)),
        super::LayoutSpec::Document { .. } => None,
    }
}

fn read_fields(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Vec<FieldRule> {
    let Some(item) = root.take("fields") else {
        let hint = "one line for each field of the target that the source has".to_owned();
        reader.problem("spec/missing", root.span, "the spec has no [fields]", Some(hint));
        return Vec::new();
    };
    let Some(section) = reader.section(item, "[fields]") else { return Vec::new() };
    let rules = read_rules(reader, section);
    for rule in rules.iter().filter(|rule| rule.child.is_some()) {
        let message = format!("the field `{}` has a child table, which `absorb` does not have", rule.name);
        let hint = "leave the array as JSON: type = \"json\"".to_owned();
        reader.problem("spec/conflict", rule.span, message, Some(hint));
    }
    rules
}

/// The required fields, which become fields of the target only.
fn read_require(reader: &mut Reader<'_>, root: &mut Section<'_>, fields: &mut Vec<FieldRule>) -> Vec<String> {
    let Some(item) = root.take("require") else {
        let hint = "add:\n[require]\nmanager = { type = \"text\" }".to_owned();
        let message = "the spec has no [require]: every record could move at once, which is a `move`";
        reader.problem("spec/missing", root.span, message, Some(hint));
        return Vec::new();
    };
    let Some(section) = reader.section(item, "[require]") else { return Vec::new() };
    let mut names = Vec::new();
    for mut rule in read_rules(reader, section) {
        let plain = rule.from == RuleFrom::Path(Path::field(&rule.name)) && rule.child.is_none();
        if !plain || rule.default.is_some() {
            let message = format!("the required field `{}` comes with the update that moves the record", rule.name);
            let hint = format!("only its type stands here: {} = {{ type = \"text\" }}", rule.name);
            reader.problem("spec/conflict", rule.span, message, Some(hint));
        }
        if let Some(other) = fields.iter().find(|other| other.name.eq_ignore_ascii_case(&rule.name)) {
            let message = format!("`{}` is required, and made from the source in [fields]", other.name);
            reader.problem("spec/duplicate", rule.span, message, None);
            continue;
        }
        rule.from = RuleFrom::TargetOnly;
        // NULL until it moves: what makes it required is the move itself.
        rule.required = false;
        names.push(rule.name.clone());
        fields.push(rule);
    }
    names
}

/// The target's key, and how it is assigned if no rule computes it.
struct Keyed<'a> {
    fields: &'a [String],
    assign: Option<Assign>,
}

impl Keyed<'_> {
    /// Why nothing of that kind can become of a conflict in a field.
    fn refuses(&self, name: &str, conflict: &Conflict) -> Option<String> {
        let is_key = self.fields.iter().any(|field| field == name);
        match (conflict, is_key, self.assign) {
            (Conflict::Refuse, ..) | (Conflict::KeepTarget | Conflict::KeepBoth { .. }, false, _) => None,
            (Conflict::Merge(_), true, None) | (Conflict::Merge(_), false, Some(_)) => None,
            (Conflict::KeepTarget | Conflict::KeepBoth { .. }, true, _) => {
                Some(format!("`{name}` is in the key; a record whose key is taken is refused, or merged"))
            }
            (Conflict::Merge(_), true, Some(_)) => Some(format!(
                "`{name}` is assigned by [identity], so who has it is nobody's twin; merge by another field"
            )),
            (Conflict::Merge(_), false, None) => Some(format!(
                "`{name}` is not the key; records with different keys become one where [identity] assigns the key"
            )),
        }
    }
}

fn read_conflicts(
    reader: &mut Reader<'_>,
    root: &mut Section<'_>,
    key: Keyed<'_>,
    fields: &[FieldRule],
) -> Vec<(String, Conflict)> {
    let Some(mut section) = root.take("conflicts").and_then(|item| reader.section(item, "[conflicts]")) else {
        return Vec::new();
    };
    let mut conflicts = Vec::new();
    for item in section.take_all() {
        if !fields.iter().any(|field| field.name == item.key) {
            let message = format!("[conflicts] names `{}`, which is not in [fields]", item.key);
            reader.problem("spec/field", item.key_span, message, None);
        }
        let (name, span) = (item.key.clone(), item.key_span);
        let Some(conflict) = read_conflict(reader, item, fields) else { continue };
        if let Some(why) = key.refuses(&name, &conflict) {
            reader.problem("spec/conflicts", span, why, None);
        }
        let is_merge = |conflict: &Conflict| matches!(conflict, Conflict::Merge(_));
        if is_merge(&conflict) && conflicts.iter().any(|(_, other)| is_merge(other)) {
            let message = format!("`{name}` is the second field that makes two records one; one of them decides");
            reader.problem("spec/conflicts", span, message, None);
        }
        conflicts.push((name, conflict));
    }
    conflicts
}

fn read_conflict(reader: &mut Reader<'_>, item: Item<'_>, fields: &[FieldRule]) -> Option<Conflict> {
    let hint = "\"refuse\", \"keep-target\", { keep_both = '''expression over the record''' }, \
                or for the key, or with [identity] for another field, { merge = { field = \"source\" } }";
    match item.value.get_ref() {
        DeValue::String(word) => match word.as_ref() {
            "refuse" => return Some(Conflict::Refuse),
            "keep-target" => return Some(Conflict::KeepTarget),
            word => {
                let message = format!("{word:?} is nothing that can become of a conflict");
                reader.problem("spec/conflicts", item.span(), message, Some(hint.to_owned()));
            }
        },
        DeValue::Table(_) => {
            let place = format!("[conflicts] {}", item.key);
            let mut section = reader.section(item, place)?;
            if let Some(item) = section.take("merge") {
                let merge = merge::read(reader, &mut section, item, fields);
                section.refuse_rest(reader);
                return merge.map(Conflict::Merge);
            }
            let sql = section.take("keep_both");
            if sql.is_none() {
                reader.missing(&section, "keep_both", "'''concat('bob-', email)'''");
            }
            let sql = sql.and_then(|item| read_sql(reader, &item));
            section.refuse_rest(reader);
            return sql.map(|sql| Conflict::KeepBoth { sql });
        }
        _ => {
            let message = format!("`{}` must be a text or a table", item.key);
            reader.problem("spec/type", item.span(), message, Some(hint.to_owned()));
        }
    }
    None
}

fn read_scope(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Scope {
    let Some(item) = root.take("scope") else { return Scope::default() };
    let Some(word) = reader.text(&item) else { return Scope::default() };
    match Scope::WORDS.into_iter().find(|(known, _)| *known == word) {
        Some((_, scope)) => scope,
        None => {
            let hint = "\"origin\": the source's records only; \"all\": the target's own too".to_owned();
            reader.problem("spec/scope", item.span(), format!("unknown scope `{word}`"), Some(hint));
            Scope::default()
        }
    }
}

/// Both times are compared with one moment, so they must be of one type.
fn same_time(reader: &mut Reader<'_>, layout: &super::LayoutSpec, stragglers: &Stragglers) {
    let super::LayoutSpec::Rows { columns, .. } = layout else { return };
    let column = |path: &Path| columns.iter().find(|column| Path::field(&column.name) == *path);
    let (activity, since) = (column(&stragglers.activity), stragglers.without_activity.as_ref().and_then(column));
    if let (Some(activity), Some(since)) = (activity, since)
        && activity.ty != since.ty
    {
        let message = format!(
            "`{}` is of type {}, and the activity `{}` of type {}",
            since.name,
            since.ty.name(),
            activity.name,
            activity.ty.name()
        );
        let hint = "`without_activity` takes a field of the same type".to_owned();
        reader.problem("spec/type", since.span, message, Some(hint));
    }
}

/// What a record without an activity is judged by.
fn read_without(reader: &mut Reader<'_>, item: &Item<'_>) -> Option<Option<Path>> {
    let hint = "\"never\": it is never deactivated; { since = \"created_at\" }: as if it had been active then";
    if let DeValue::Table(table) = item.value.get_ref() {
        if let Some((_, since)) = table.iter().find(|(name, _)| name.get_ref() == "since").filter(|_| table.len() == 1)
            && let DeValue::String(path) = since.get_ref()
        {
            return read_path(reader, path, item.span()).map(Some);
        }
    } else if reader.text(item)? == "never" {
        return Some(None);
    }
    reader.problem("spec/value", item.span(), "`without_activity` says nothing known", Some(hint.to_owned()));
    None
}

fn read_stragglers(
    reader: &mut Reader<'_>,
    root: &mut Section<'_>,
    fields: &[FieldRule],
    require: &[String],
) -> Option<Stragglers> {
    // A century; longer is no inactivity but a mistake.
    const DAYS_MAX: u64 = 36_525;
    let item = root.take("stragglers")?;
    let mut section = reader.section(item, "[stragglers]")?;
    let (activity, span) = required_text(reader, &mut section, "activity", "\"last_login_at\"");
    let activity = read_path(reader, &activity, span);
    let without_activity = section.take("without_activity").and_then(|item| read_without(reader, &item));
    let days = match section.take("deactivate_after_days") {
        Some(item) => reader.number(&item, 1, DAYS_MAX, "days"),
        None => {
            reader.missing(&section, "deactivate_after_days", "180");
            None
        }
    };
    let per_day_max = section.take("per_day_max").and_then(|item| reader.number(&item, 1, i64::MAX as u64, "records"));
    let deactivate = match section.take("deactivate") {
        Some(item) => read_values(reader, item, fields),
        None => {
            reader.missing(&section, "deactivate", "{ status = \"DEACTIVATED\", manager = \"nobody\" }");
            None
        }
    };
    let span = section.span;
    section.refuse_rest(reader);
    let deactivate = deactivate?;
    for name in require.iter().filter(|name| !deactivate.contains(name)) {
        let message = format!("`deactivate` has no `{name}`, which is required: no record could move with it");
        reader.problem("spec/missing", span, message, None);
    }
    let per_day_max = per_day_max.unwrap_or(PER_DAY_MAX_DEFAULT);
    Some(Stragglers {
        activity: activity?,
        without_activity: without_activity.flatten(),
        deactivate_after_days: days?,
        deactivate,
        per_day_max,
    })
}

/// Values of v2 fields, each of its field's type.
fn read_values(reader: &mut Reader<'_>, item: Item<'_>, fields: &[FieldRule]) -> Option<Document> {
    let mut section = reader.section(item, "`deactivate`")?;
    let mut values = Document::new();
    for item in section.take_all() {
        let Some(field) = fields.iter().find(|field| field.name == item.key) else {
            let message = format!("`deactivate` sets `{}`, which is in neither [fields] nor [require]", item.key);
            reader.problem("spec/field", item.key_span, message, None);
            continue;
        };
        if let Some(value) = constant(reader, &item, field.ty) {
            values.set(item.key.as_str(), value);
        }
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Migration, parse};

    fn without(stragglers: &str) -> Result<Option<Path>, String> {
        let text = format!(
            "migration = \"m\"\nkind = \"absorb\"\nentity = \"e\"\n\
             [source]\nurl = \"sqlite:a.db\"\ntable = \"a\"\nkey = \"id\"\n\
             [source.columns]\nid = \"int\"\nlogin = \"instant\"\ncreated = \"instant\"\nborn = \"date\"\n\
             [target]\nurl = \"sqlite:b.db\"\ntable = \"b\"\nkey = \"id\"\n\
             [fields]\nid = \"id\"\n[require]\nrep = {{ type = \"int\" }}\n\
             [stragglers]\nactivity = \"login\"\ndeactivate_after_days = 9\ndeactivate = {{ rep = 1 }}\n{stragglers}"
        );
        match parse(&text, &|_| None) {
            Ok(Migration::Absorb(spec)) => Ok(spec.stragglers.unwrap().without_activity),
            Ok(other) => panic!("{other:?}"),
            Err(problems) => {
                Err(problems.into_iter().map(|problem| format!("{}: {}", problem.code, problem.message)).collect())
            }
        }
    }

    #[test]
    fn what_a_record_without_an_activity_is_judged_by() {
        assert_eq!(without(""), Ok(None));
        assert_eq!(without("without_activity = \"never\""), Ok(None));
        assert_eq!(without("without_activity = { since = \"created\" }"), Ok(Some(Path::field("created"))));
        let wrong = |text: &str, expect: &str| assert!(without(text).unwrap_err().starts_with(expect), "{text}");
        wrong("without_activity = { since = \"born\" }", "spec/type: `born` is of type date, and the activity");
        wrong("without_activity = { since = \"created\", or = \"x\" }", "spec/value");
        wrong("without_activity = \"always\"", "spec/value");
        wrong("without_activity = 7", "spec/type");
    }
}
