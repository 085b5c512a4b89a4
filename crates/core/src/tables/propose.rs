//! A spec proposed from a table of plain columns, with a comment for every oddity.

use super::defaults::{is_none, portable};
use crate::path::Path;
use crate::plan::columns::{Holds, holds};
use crate::shape::FieldType;
use crate::store::{ForeignKey, Form, InspectedColumn, InspectedTable, Inspection};
use crate::toml_text::{comment_line, counted, list, quoted, toml_key};

/// The column for what makes the way back exact, where a rule needs it.
const RESIDUE: &str = "extra";

/// What a store does not say of its table.
pub struct Proposal<'a> {
    /// The migration's name.
    pub migration: String,
    /// The entity's name in the gateway's paths.
    pub entity: String,
    /// The source's URL as it is to stand in the spec.
    pub source_url: String,
    /// The key's columns.
    pub key: Vec<String>,
    /// The target's URL as it is to stand in the spec.
    pub target_url: String,
    /// The target's table.
    pub target_table: String,
    /// What the target's rows are.
    pub target_form: Form,
    /// The target's table when it is there already.
    pub target: Option<&'a InspectedTable>,
    /// A column's type in the target's own words, where they say exactly what
    /// the source's column is.
    pub native: &'a dyn Fn(&InspectedColumn) -> Option<String>,
    /// The target's names of another table of the source and of a column of it;
    /// `None`: it stays behind.
    pub other: &'a dyn Fn(&str, &str) -> Option<[String; 2]>,
}

/// The text of a spec that takes the table as it is.
pub fn propose(table: &InspectedTable, proposal: &Proposal<'_>) -> String {
    let fields: Vec<Field<'_>> =
        table.columns.iter().filter(|column| !column.generated).map(|c| Field::of(c, table, proposal)).collect();
    let mut out = format!(
        "# Proposed from the table {}, {}. Change names and types as you like, then run\n\
         # `plan`, which checks everything against both stores and writes nothing.\n",
        quoted(&table.name),
        rows(table)
    );
    table.hazards.iter().for_each(|hazard| comment_line(&mut out, &format!("Source: {hazard}.")));
    out.push_str(&format!(
        "migration = {}\nkind = \"move\"\nentity = {}\n\n[source]\nurl = {}\ntable = {}\nkey = {}\n\n[source.columns]\n",
        quoted(&proposal.migration),
        quoted(&proposal.entity),
        quoted(&proposal.source_url),
        quoted(&table.name),
        list(&proposal.key)
    ));
    for column in &table.columns {
        source_column(column, &mut out);
    }
    let key: Vec<String> = proposal.key.iter().map(|name| name_of(name, &fields)).collect();
    out.push_str(&format!(
        "\n[target]\nurl = {}\ntable = {}\nkey = {}\n{}",
        quoted(&proposal.target_url),
        quoted(&proposal.target_table),
        list(&key),
        if proposal.target_form == Form::Documents { "layout = \"document\"\n" } else { "" }
    ));
    if proposal.target_form == Form::Columns && proposal.target.is_none() {
        together(table, proposal, &fields, &mut out);
    }
    out.push_str("\n[fields]\n");
    for field in &fields {
        field.notes.iter().for_each(|note| comment_line(&mut out, note));
        out.push_str(&format!("{} = {{ {} }}\n", toml_key(&field.name), field.parts.join(", ")));
    }
    out.push_str("\n[unmapped]\n");
    out.push_str(&match fields.iter().any(|field| field.needs_residue) {
        true => format!(
            "# What makes the way back exact is kept in this column.\nkeep_in = {}\n",
            quoted(&residue(&fields))
        ),
        false => "# Every column has its rule.\nrefuse = true\n".to_owned(),
    });
    out
}

fn rows(table: &InspectedTable) -> String {
    let about = if table.estimate.exact { "" } else { "about " };
    format!("{about}{}", counted(table.estimate.records, "row"))
}

/// What several columns are together, in a table that the start makes.
fn together(table: &InspectedTable, proposal: &Proposal<'_>, fields: &[Field<'_>], out: &mut String) {
    let names = |columns: &[String]| columns.iter().map(|name| name_of(name, fields)).collect::<Vec<_>>();
    let is_there = |column: &String| fields.iter().any(|field| field.source.name == *column);
    let unique: Vec<String> = (table.unique.iter())
        .filter(|columns| columns.len() > 1 && columns.iter().all(is_there))
        .map(|columns| format!("[{}]", quoted_list(&names(columns))))
        .collect();
    if !unique.is_empty() {
        out.push_str(&format!("unique_together = [{}]\n", unique.join(", ")));
    }
    let mut keys = Vec::new();
    for key in table.foreign_keys.iter().filter(|key| key.columns.len() > 1) {
        let columns = key.columns.join(", ");
        let others: Option<Vec<[String; 2]>> =
            key.references.iter().map(|column| (proposal.other)(&key.table, column)).collect();
        let Some(others) = others.filter(|_| key.columns.iter().all(is_there)) else {
            comment_line(
                out,
                &format!("({columns}) refer to {}, which is not moved: the target does not check them.", key.table),
            );
            continue;
        };
        if key.cascades {
            let what = "the source changes them by itself with their row in";
            comment_line(out, &format!("({columns}): {what} {}; the target will not.", key.table));
        }
        let Some([other_table, _]) = others.first().cloned() else { continue };
        let others: Vec<String> = others.into_iter().map(|[_, column]| column).collect();
        keys.push(format!(
            "{{ columns = [{}], table = {}, references = [{}] }}",
            quoted_list(&names(&key.columns)),
            quoted(&other_table),
            quoted_list(&others)
        ));
    }
    if !keys.is_empty() {
        out.push_str(&format!("foreign_keys = [{}]\n", keys.join(", ")));
    }
}

fn quoted_list(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

fn source_column(column: &InspectedColumn, out: &mut String) {
    if column.generated {
        comment_line(out, &format!("{} is computed by the source from others, and left out.", column.name));
        return;
    }
    if column.ty.is_none() {
        let declared = &column.declared;
        comment_line(out, &format!("{declared}: nothing reads all of its values exactly; `plan` refuses it.",));
    }
    let ty = column.ty.unwrap_or(FieldType::Text);
    let mut line = String::new();
    if !column.declared.is_empty() {
        comment_line(&mut line, &column.declared);
    }
    let line = if line.is_empty() { "\n".to_owned() } else { format!(" {line}") };
    out.push_str(&format!("{} = \"{}\"{line}", toml_key(&column.name), ty.name()));
}

/// A rule on its way to text.
struct Field<'a> {
    source: &'a InspectedColumn,
    /// The target's column.
    name: String,
    parts: Vec<String>,
    notes: Vec<String>,
    needs_residue: bool,
}

impl<'a> Field<'a> {
    fn of(column: &'a InspectedColumn, table: &InspectedTable, proposal: &Proposal<'_>) -> Field<'a> {
        let existing = proposal.target.map(|target| alike(target, &column.name));
        let name = existing.flatten().map_or(&column.name, |found| &found.name).clone();
        let mut field = Field { source: column, name, parts: Vec::new(), notes: Vec::new(), needs_residue: false };
        if field.name != column.name {
            field.parts.push(format!("from = {}", quoted(&Path::field(column.name.as_str()).to_string())));
        }
        match existing {
            Some(None) => {
                field.notes.push(format!("The target's table has no column for {}: name it, or add it.", column.name));
                field.like_source();
            }
            Some(Some(found)) => field.like_target(found, proposal),
            None => {
                field.like_source();
                field.for_new_table(table, proposal);
            }
        }
        field
    }

    fn ty(&mut self, ty: FieldType) {
        self.parts.push(format!("type = \"{}\"", ty.name()));
    }

    fn like_source(&mut self) {
        self.ty(self.source.ty.unwrap_or(FieldType::Text));
    }

    /// For a column that is there already.
    fn like_target(&mut self, found: &InspectedColumn, proposal: &Proposal<'_>) {
        let own = self.source.ty.unwrap_or(FieldType::Text);
        match found.ty {
            Some(ty) if holds(ty, own) == Holds::No => {
                self.notes.push(format!("{} in the source, {} in the target.", self.source.declared, found.declared));
                self.ty(ty);
                self.parts.push("cast = true".to_owned());
                self.needs_residue = true;
            }
            _ => self.ty(own),
        }
        self.required(proposal);
    }

    /// For a column that the start makes.
    fn for_new_table(&mut self, table: &InspectedTable, proposal: &Proposal<'_>) {
        let column = self.source;
        let alone = |columns: &Vec<String>| columns.len() == 1 && columns[0] == column.name;
        let is_key = proposal.key.contains(&column.name);
        self.required(proposal);
        if table.unique.iter().any(alone) && !is_key {
            self.parts.push("unique = true".to_owned());
        }
        match (proposal.native)(column) {
            Some(native) => self.parts.push(format!("native = {}", quoted(&native))),
            None if column.ty == Some(FieldType::Extended) => self.notes.push(format!(
                "Only the source has {}: the target keeps it with its tag. For plain text: type = \"text\", cast = true.",
                column.declared
            )),
            None => {}
        }
        self.references(table, proposal);
        self.omitted(proposal, is_key);
        if let Some(collation) = &column.collation {
            self.notes.push(format!("{}: the source compares it by {collation}, the target by bytes.", column.name));
        }
    }

    /// What the store puts where a program leaves the column out.
    fn omitted(&mut self, proposal: &Proposal<'_>, is_key: bool) {
        let column = self.source;
        if column.identity {
            if is_key && proposal.key.len() == 1 && column.ty == Some(FieldType::Int) {
                self.parts.push("identity = true".to_owned());
            } else {
                let what = "the source numbers it by itself; the target that the start makes does not";
                self.notes.push(format!("{}: {what}.", column.name));
            }
            return;
        }
        let Some(default) = column.default.as_ref().filter(|default| !is_none(default)) else { return };
        let is_mysql = ["mysql:", "mariadb:"].iter().any(|scheme| proposal.target_url.starts_with(scheme));
        let found = portable(default, column.ty.unwrap_or(FieldType::Text))
            .filter(|found| !(is_mysql && *found == quoted("now") && (proposal.native)(column).is_none()));
        match found {
            Some(found) => self.parts.push(format!("column_default = {found}")),
            None => self.notes.push(format!(
                "{}: the source's default is {default}; the start makes none for the target.",
                column.name
            )),
        }
    }

    fn references(&mut self, table: &InspectedTable, proposal: &Proposal<'_>) {
        let of_this = |key: &&ForeignKey| key.columns.len() == 1 && key.columns[0] == self.source.name;
        let Some(key) = table.foreign_keys.iter().find(of_this) else { return };
        let other = key.references.first().and_then(|column| (proposal.other)(&key.table, column));
        let Some(other) = other else {
            self.notes.push(format!(
                "{} refers to {}, which is not moved: the target does not check it.",
                self.source.name, key.table
            ));
            return;
        };
        if key.cascades {
            self.notes.push(format!(
                "{}: the source changes it by itself with its row in {}; the target will not.",
                self.source.name, key.table
            ));
        }
        let path = other.map(|name| Path::field(name).to_string()).join(".");
        self.parts.push(format!("references = {}", quoted(&path)));
    }

    fn required(&mut self, proposal: &Proposal<'_>) {
        if !self.source.nullable && !proposal.key.contains(&self.source.name) {
            self.parts.push("required = true".to_owned());
        }
    }
}

/// The column of a table that is meant: by its name, in any letter case, or
/// written with or without underscores.
pub fn alike<'t>(table: &'t InspectedTable, name: &str) -> Option<&'t InspectedColumn> {
    let exact = table.columns.iter().find(|column| column.name == name);
    exact.or_else(|| table.columns.iter().find(|column| plain(&column.name) == plain(name)))
}

/// The table that is meant, likewise.
pub fn alike_table<'l>(look: &'l Inspection, name: &str) -> Option<&'l InspectedTable> {
    let exact = look.tables.iter().find(|table| table.name == name);
    exact.or_else(|| look.tables.iter().find(|table| plain(&table.name) == plain(name)))
}

/// A name without letter case and underscores.
fn plain(name: &str) -> String {
    name.chars().filter(|c| *c != '_' && *c != ' ').flat_map(char::to_lowercase).collect()
}

fn name_of(column: &str, fields: &[Field<'_>]) -> String {
    fields.iter().find(|field| field.source.name == column).map_or(column, |field| &field.name).to_owned()
}

fn residue(fields: &[Field<'_>]) -> String {
    let mut name = RESIDUE.to_owned();
    while fields.iter().any(|field| field.name.eq_ignore_ascii_case(&name)) {
        name.push('_');
    }
    name
}
