//! A spec proposed from a census, with a comment for every oddity.

use super::names::{Taken, in_child, snake};
use super::{Census, Object, Place};
use crate::path::{Path, Step};
use crate::store::Form;
use crate::toml_text::{comment_line, counted, is_bare, list, quoted, toml_key};

/// Columns of one table; rarer fields stay in the residue.
const COLUMNS_MAX: usize = 100;

/// Fields of a nested document that become columns; more are a map, kept as JSON.
const FLAT_FIELDS_MAX: usize = 32;

/// Nested documents that become columns; deeper ones are kept as JSON.
const FLAT_DEPTH_MAX: usize = 4;

/// Child tables inside child tables; deeper arrays are kept as JSON.
const CHILD_DEPTH_MAX: usize = 3;

/// Numbers of an array of fixed length that become columns by position.
const POSITIONS_MAX: u64 = 3;

/// The column for what no rule names.
const RESIDUE: &str = "extra";

/// What a census cannot know.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The migration's name.
    pub migration: String,
    /// The entity's name in the gateway's paths.
    pub entity: String,
    /// The source's URL as it is to stand in the spec.
    pub source_url: String,
    /// The source's table.
    pub source_table: String,
    /// The source's key fields; empty: the likeliest candidate.
    pub source_key: Vec<String>,
    /// The source's JSON column, when it is not the default.
    pub source_document: Option<String>,
    /// The target's URL as it is to stand in the spec.
    pub target_url: String,
    /// The target's table.
    pub target_table: String,
    /// What the target's rows are.
    pub target_form: Form,
}

/// The text of a spec that fits every document of the census.
pub fn propose(census: &Census, proposal: &Proposal) -> String {
    let key = match proposal.source_key.as_slice() {
        [] => census.key_candidates().into_iter().take(1).collect(),
        given => given.to_vec(),
    };
    let mut writer = Writer {
        form: proposal.target_form,
        tables: Taken::with([proposal.source_table.as_str(), proposal.target_table.as_str()]),
    };
    let root = &census.root;
    let mut table = Table::new(TableKind::Root, proposal.target_table.clone());
    let mut target_key = Vec::new();
    for field in &key {
        let place = root.fields.iter().find(|(name, _)| name == field).map(|(_, place)| place);
        target_key.push(writer.key(field, place, &mut table));
    }
    let others = root.fields.iter().filter(|(name, _)| !key.contains(name));
    writer.fields(others, root.left_out, &Spot::top(0, root.seen), &mut table);
    let mut out = header(census, proposal, &key, &target_key);
    out.push_str("\n[fields]\n");
    table.write(&mut out, "");
    out.push_str(&format!(
        "\n[unmapped]\n# Fields that no rule names, and what makes the way back exact, are kept in this column.\nkeep_in = \"{RESIDUE}\"\n"
    ));
    out
}

/// What stands before the rules.
fn header(census: &Census, proposal: &Proposal, key: &[String], target_key: &[String]) -> String {
    let mut out = format!(
        "# Proposed from {}. Nothing is lost as it stands: change names and types as you like,\n\
         # then run `plan`, which checks everything against both stores and writes nothing.\n",
        counted(census.documents(), "record")
    );
    if key.is_empty() {
        out.push_str("# No field is in every record and different in each: name the key yourself.\n");
    }
    out.push_str(&format!("migration = {}\nkind = \"move\"\n", quoted(&proposal.migration)));
    out.push_str(&format!(
        "entity = {}\n\n[source]\nurl = {}\n",
        quoted(&proposal.entity),
        quoted(&proposal.source_url)
    ));
    out.push_str(&format!("table = {}\nkey = {}\n", quoted(&proposal.source_table), list(key)));
    if let Some(column) = &proposal.source_document {
        out.push_str(&format!("document = {}\n", quoted(column)));
    }
    out.push_str(&format!("\n[target]\nurl = {}\n", quoted(&proposal.target_url)));
    out.push_str(&format!("table = {}\nkey = {}\n", quoted(&proposal.target_table), list(target_key)));
    if proposal.target_form == Form::Documents {
        out.push_str("layout = \"document\"\n");
    }
    out
}

/// A table of rules on its way to text.
struct Table {
    kind: TableKind,
    /// Its name in the target.
    table: String,
    names: Taken,
    rules: Vec<Rule>,
    /// Comments about what stays in the residue.
    notes: Vec<String>,
    columns: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TableKind {
    Root,
    Child,
}

enum Rule {
    Column { comment: Vec<String>, name: String, text: String },
    Child { comment: Vec<String>, name: String, from: String, rules: Table },
}

impl Table {
    fn new(kind: TableKind, table: String) -> Table {
        Table { kind, table, names: Taken::with([RESIDUE]), rules: Vec::new(), notes: Vec::new(), columns: 0 }
    }

    fn name(&mut self, parts: &[&str]) -> String {
        let name = snake(&parts.join("_"));
        let name = if self.kind == TableKind::Child { in_child(&name) } else { name };
        self.names.free(&name)
    }

    fn column(&mut self, comment: Vec<String>, name: String, text: String) {
        self.columns += 1;
        self.rules.push(Rule::Column { comment, name, text });
    }

    /// Columns first, then child tables in sections of their own, as TOML wants it.
    fn write(&self, out: &mut String, section: &str) {
        self.notes.iter().for_each(|note| comment_line(out, note));
        for rule in &self.rules {
            if let Rule::Column { comment, name, text } = rule {
                comment.iter().for_each(|line| comment_line(out, line));
                out.push_str(&format!("{} = {text}\n", toml_key(name)));
            }
        }
        for rule in &self.rules {
            if let Rule::Child { comment, name, from, rules } = rule {
                let section = if section.is_empty() { "fields".to_owned() } else { format!("{section}.fields") };
                let section = format!("{section}.{}", toml_key(name));
                out.push('\n');
                comment.iter().for_each(|line| comment_line(out, line));
                out.push_str(&format!("[{section}]\nfrom = {}\ntable = {}\n", quoted(from), quoted(&rules.table)));
                out.push_str(&format!("[{section}.fields]\n"));
                rules.write(out, &section);
            }
        }
    }
}

/// Writes rules; knows which tables there are already.
struct Writer {
    form: Form,
    tables: Taken,
}

/// Where a place is, seen from the table that it goes to.
#[derive(Clone)]
struct Spot<'a> {
    /// From the record, or from the element.
    at: Vec<Step>,
    /// What its column is named after.
    names: Vec<&'a str>,
    /// Nested documents around it in this table.
    flat_depth: usize,
    /// Child tables around it.
    child_depth: usize,
    /// Documents around it: how often it could have been there.
    around: u64,
}

impl<'a> Spot<'a> {
    fn top(child_depth: usize, around: u64) -> Spot<'a> {
        Spot { at: Vec::new(), names: Vec::new(), flat_depth: 0, child_depth, around }
    }

    fn field(&self, name: &'a str) -> Spot<'a> {
        let mut spot = self.clone();
        spot.at.push(Step::Field(name.to_owned()));
        spot.names.push(name);
        spot
    }

    fn path(&self) -> String {
        Path::from_steps(self.at.clone()).map(|path| path.to_string()).unwrap_or_default()
    }

    fn position(&self, index: u64) -> String {
        format!("{}[{index}]", self.path())
    }

    /// `from = …, `, or nothing where the column is named as the field.
    fn from(&self, name: &str) -> String {
        match self.at.as_slice() {
            [Step::Field(field)] if field == name && is_bare(name) => String::new(),
            _ => format!("from = {}, ", quoted(&self.path())),
        }
    }
}

/// How the values of a place can be held.
enum Held {
    /// A column of this type; `Cast::Yes` where some values are of another.
    Scalar(&'static str, Cast),
    /// Columns for the fields.
    Flat,
    /// A child table for the documents of an array.
    Rows,
    /// A child table for the scalars of an array.
    Scalars(&'static str),
    /// A column for each number of an array of fixed length.
    Positions(u64),
    Json,
    /// Nothing was seen but nulls.
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cast {
    No,
    Yes,
}

impl Writer {
    /// The rule of a key field; returns its name.
    fn key(&mut self, field: &str, place: Option<&Place>, table: &mut Table) -> String {
        let renamed = field == "_id" && self.form == Form::Columns;
        let name = table.names.free(&if renamed { "id".to_owned() } else { snake(field) });
        let spot = Spot::top(0, 0).field(field);
        let from = spot.from(&name);
        let kinds = place.map(|place| place.kinds.names()).unwrap_or_default();
        let (comment, rest) = match (kinds.as_slice(), place) {
            ([kind @ ("int" | "text" | "uuid" | "decimal" | "date" | "instant")], _) => {
                (Vec::new(), format!("type = \"{kind}\""))
            }
            (_, Some(place)) => {
                let comment = format!("{}: as the text of a key, values of different types stay apart", shares(place));
                (vec![comment], "type = \"text\", cast = true".to_owned())
            }
            (_, None) => {
                let comment = "in no record that was seen".to_owned();
                (vec![comment], "type = \"text\", cast = true".to_owned())
            }
        };
        table.column(comment, name.clone(), format!("{{ {from}{rest}, required = true }}"));
        name
    }

    /// The fields of a record, of an element, or of a nested document.
    fn fields<'f>(
        &mut self,
        fields: impl Iterator<Item = &'f (String, Place)>,
        left_out: u64,
        spot: &Spot<'f>,
        table: &mut Table,
    ) {
        if left_out > 0 {
            let what = counted(left_out, "value");
            table.notes.push(format!("{what} had names beyond those that were told apart; they stay in {RESIDUE}"));
        }
        for (name, place) in fields {
            self.place(place, &spot.field(name), table);
        }
    }

    fn place(&mut self, place: &Place, spot: &Spot<'_>, table: &mut Table) {
        if table.columns >= COLUMNS_MAX {
            let note = format!("{}: the table has {COLUMNS_MAX} columns already; stays in {RESIDUE}", spot.path());
            table.notes.push(note);
            return;
        }
        let mut comment = oddities(place, spot.around);
        match held(place, spot) {
            // A document of the target holds it as it is.
            Held::Flat | Held::Positions(_) | Held::Scalars(_) | Held::Rows if self.form == Form::Documents => {
                json_column(comment, spot, table);
            }
            Held::Nothing => table.notes.push(format!("{}: only null was seen; stays in {RESIDUE}", spot.path())),
            Held::Scalar(ty, cast) => {
                let name = table.name(&spot.names);
                let mut text = format!("{{ {}type = \"{ty}\"", spot.from(&name));
                if cast == Cast::Yes {
                    comment.push(format!("values of other types are converted to {ty}, and come back as they were"));
                    text.push_str(", cast = true");
                }
                table.column(comment, name, text + " }");
            }
            Held::Json => json_column(comment, spot, table),
            Held::Flat => {
                if let Some(object) = &place.object {
                    let inner = Spot { flat_depth: spot.flat_depth + 1, around: object.seen, ..spot.clone() };
                    self.fields(object.fields.iter(), object.left_out, &inner, table);
                }
            }
            Held::Positions(count) => {
                comment.push(format!("always {count} numbers, so each has a column of its own"));
                for index in 0..count {
                    let name = table.name(&[&spot.names.join("_"), &index.to_string()]);
                    let from = quoted(&spot.position(index));
                    let text = format!("{{ from = {from}, type = \"float\", cast = true }}");
                    table.column(std::mem::take(&mut comment), name, text);
                }
            }
            Held::Scalars(ty) => {
                let name = table.name(&spot.names);
                let child = self.child_table(spot, table);
                let from = spot.from(&name);
                let text = format!("{{ {from}table = {}, scalar = \"value\", type = \"{ty}\" }}", quoted(&child));
                table.column(comment, name, text);
            }
            Held::Rows => self.rows(place, comment, spot, table),
        }
    }

    fn rows(&mut self, place: &Place, comment: Vec<String>, spot: &Spot<'_>, table: &mut Table) {
        let Some(object) = place.elements.as_ref().and_then(|elements| elements.object.as_ref()) else { return };
        let mut rules = Table::new(TableKind::Child, self.child_table(spot, table));
        let top = Spot::top(spot.child_depth + 1, object.seen);
        self.fields(object.fields.iter(), object.left_out, &top, &mut rules);
        if rules.rules.is_empty() {
            return json_column(comment, spot, table);
        }
        let name = table.name(&spot.names);
        table.rules.push(Rule::Child { comment, name, from: spot.path(), rules });
    }

    fn child_table(&mut self, spot: &Spot<'_>, parent: &Table) -> String {
        self.tables.free(&format!("{}_{}", parent.table, snake(&spot.names.join("_"))))
    }
}

fn json_column(mut comment: Vec<String>, spot: &Spot<'_>, table: &mut Table) {
    let name = table.name(&spot.names);
    comment.push("kept as JSON".to_owned());
    let text = format!("{{ {}type = \"json\" }}", spot.from(&name));
    table.column(comment, name, text);
}

/// The types that a column can have besides json; others are a store's own.
const COLUMN_TYPES: &[&str] =
    &["bool", "int", "float", "decimal", "text", "bytes", "date", "time", "timestamp", "instant", "uuid"];

fn held(place: &Place, spot: &Spot<'_>) -> Held {
    match place.kinds.names().as_slice() {
        [] => Held::Nothing,
        ["document"] => match &place.object {
            Some(object) if is_record(object) && spot.flat_depth < FLAT_DEPTH_MAX => Held::Flat,
            _ => Held::Json,
        },
        ["array"] => place.elements.as_deref().map_or(Held::Json, |elements| of_array(place, elements, spot)),
        [one] if COLUMN_TYPES.contains(one) => Held::Scalar(one, Cast::No),
        kinds if kinds.iter().any(|kind| !COLUMN_TYPES.contains(kind) || *kind == "bytes") => Held::Json,
        kinds => {
            let only = |types: [&str; 2]| kinds.iter().all(|kind| types.contains(kind));
            if only(["int", "float"]) && place.ints_beyond_float == 0 {
                Held::Scalar("float", Cast::Yes)
            } else if only(["int", "decimal"]) {
                Held::Scalar("decimal", Cast::Yes)
            } else {
                Held::Scalar("text", Cast::Yes)
            }
        }
    }
}

/// Whether documents have the same few fields, rather than names that are values.
fn is_record(object: &Object) -> bool {
    !object.fields.is_empty() && object.fields.len() <= FLAT_FIELDS_MAX && object.left_out == 0
}

fn of_array(array: &Place, elements: &Place, spot: &Spot<'_>) -> Held {
    if spot.child_depth >= CHILD_DEPTH_MAX {
        return Held::Json;
    }
    let kinds = elements.kinds.names();
    let is_number = |kind: &&str| ["int", "float"].contains(kind);
    match (kinds.as_slice(), array.length.0) {
        ([], _) => Held::Json,
        (["document"], _) => match &elements.object {
            Some(object) if is_record(object) => Held::Rows,
            _ => Held::Json,
        },
        (kinds, Some((low, high)))
            if low == high
                && (2..=POSITIONS_MAX).contains(&low)
                && kinds.iter().all(is_number)
                && elements.kinds.count("null") == 0
                && elements.ints_beyond_float == 0 =>
        {
            Held::Positions(low)
        }
        ([one], _) if COLUMN_TYPES.contains(one) => Held::Scalars(one),
        (kinds, _) if kinds.iter().all(|kind| COLUMN_TYPES.contains(kind)) => Held::Scalars("json"),
        _ => Held::Json,
    }
}

/// What a reader should know of a place, with counts.
fn oddities(place: &Place, around: u64) -> Vec<String> {
    let mut told = Vec::new();
    let nulls = place.kinds.count("null");
    let missing = around.saturating_sub(place.present);
    let absent: Vec<String> = [(missing, "missing"), (nulls, "null")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{what} in {count}"))
        .collect();
    match absent.is_empty() {
        false => told.push(format!("{} of {around}", absent.join(", "))),
        true if place.is_unique() == Some(true) => told.push("in every record, no value twice".to_owned()),
        true => {}
    }
    if place.kinds.names().len() > 1 {
        told.push(shares(place));
    }
    if place.empty_texts > 0 {
        told.push(format!("the empty text in {}", place.empty_texts));
    }
    if place.texts_with_nul > 0 {
        told.push(format!("{} with U+0000, which some stores cannot hold", counted(place.texts_with_nul, "text")));
    }
    if let (Some((low, high)), Some(elements)) = (place.length.0, &place.elements) {
        told.push(format!("{low} to {high} elements: {}", shares(elements)));
    }
    told
}

/// `int in 69, float in 1638`.
fn shares(place: &Place) -> String {
    let mut kinds = place.kinds.0.clone();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let shares: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} in {count}")).collect();
    if shares.is_empty() { "none seen".to_owned() } else { shares.join(", ") }
}
