//! From a spec to layouts and rules.

use super::fit::Fit;
use super::keys::KeyRules;
use super::residue::FIX;
use super::rules::{Child, Column, Conversion, Declared, Elements, NullBack, ObjectRules, Origin, Presence};
use super::{Mapping, MappingError};
use crate::expr::Expr;
use crate::path::{Path, Step};
use crate::shape::{ChildShape, ColumnShape, DocumentLayout, Extras, FieldType, Layout, TableShape};
use crate::spec::{ChildRule, FieldRule, Kind, LayoutSpec, RuleFrom, Spec, StoreSpec, Unmapped};

pub(super) fn mapping(spec: &Spec) -> Result<Mapping, MappingError> {
    let residue = match &spec.unmapped {
        Unmapped::KeepIn(name) => Some(name.as_str()),
        Unmapped::Refuse => None,
    };
    let source = source_layout(&spec.source);
    let target = target_layout(&spec.target, &spec.fields, residue);
    let level = Level { residue, key: &spec.target.key, source: SourceLevel::of(&source) };
    let rules = object(&spec.fields, &level)?;
    let keys = match has_assigned_key(spec) {
        true => KeyRules::assigned(&spec.source.key, &spec.target.key),
        false => KeyRules::compile(&spec.source.key, &spec.target.key, &rules.columns)?,
    };
    Ok(Mapping { source, target, rules, keys })
}

fn source_layout(store: &StoreSpec) -> Layout {
    match &store.layout {
        LayoutSpec::Document { column } => document_layout(store, column),
        LayoutSpec::Rows { columns, residue } => rows_layout(store, columns, residue.as_deref()),
    }
}

fn target_layout(store: &StoreSpec, fields: &[FieldRule], residue: Option<&str>) -> Layout {
    match &store.layout {
        LayoutSpec::Document { column } => document_layout(store, column),
        LayoutSpec::Rows { .. } => rows_layout(store, fields, residue),
    }
}

fn document_layout(store: &StoreSpec, column: &str) -> Layout {
    Layout::Document(DocumentLayout { table: store.table.clone(), key: store.key.clone(), document: column.to_owned() })
}

fn rows_layout(store: &StoreSpec, fields: &[FieldRule], residue: Option<&str>) -> Layout {
    Layout::Rows(TableShape {
        table: store.table.clone(),
        key: store.key.clone(),
        columns: columns(fields, &store.key),
        children: children(fields, residue),
        residue: residue.map(str::to_owned),
        extras: Extras {
            unique: store.together.unique.clone(),
            foreign_keys: store.together.foreign_keys.clone(),
            defaults: fields.iter().filter_map(|rule| Some((rule.name.clone(), rule.when_omitted.clone()?))).collect(),
            identity: fields.iter().find(|rule| rule.identity).map(|rule| rule.name.clone()),
        },
    })
}

fn columns(fields: &[FieldRule], key: &[String]) -> Vec<ColumnShape> {
    fields
        .iter()
        .filter(|rule| rule.child.is_none())
        .map(|rule| ColumnShape {
            name: rule.name.clone(),
            ty: rule.ty,
            nullable: !rule.required && !key.contains(&rule.name),
            unique: rule.unique,
            native: rule.native.clone(),
            references: rule.references.clone(),
        })
        .collect()
}

fn children(fields: &[FieldRule], residue: Option<&str>) -> Vec<ChildShape> {
    fields
        .iter()
        .filter_map(|rule| {
            let child = rule.child.as_ref()?;
            Some(ChildShape {
                field: rule.name.clone(),
                table: child.table.clone(),
                columns: columns(&child.fields, &[]),
                children: children(&child.fields, residue),
                residue: residue.map(str::to_owned),
            })
        })
        .collect()
}

/// What the rules of one object need to know of what is around them.
struct Level<'a> {
    residue: Option<&'a str>,
    /// The key columns at the root; nothing in a child.
    key: &'a [String],
    source: SourceLevel<'a>,
}

/// What the source holds at this level: a document, or columns and child tables.
#[derive(Clone, Copy)]
enum SourceLevel<'a> {
    Document,
    Rows { columns: &'a [ColumnShape], children: &'a [ChildShape] },
}

impl<'a> SourceLevel<'a> {
    fn of(layout: &'a Layout) -> SourceLevel<'a> {
        match layout {
            Layout::Document(_) => SourceLevel::Document,
            Layout::Rows(table) => SourceLevel::Rows { columns: &table.columns, children: &table.children },
        }
    }

    /// A table's column is null where a document leaves a field out.
    fn null_back(self, path: &Path) -> NullBack {
        match (self, path.steps()) {
            (SourceLevel::Rows { columns, .. }, [Step::Field(name)]) if columns.iter().any(|c| c.name == *name) => {
                NullBack::Null
            }
            _ => NullBack::Missing,
        }
    }

    fn child(self, path: &Path) -> SourceLevel<'a> {
        let SourceLevel::Rows { children, .. } = self else { return SourceLevel::Document };
        match path.steps() {
            [Step::Field(name)] => match children.iter().find(|child| child.field == *name) {
                Some(child) => SourceLevel::Rows { columns: &child.columns, children: &child.children },
                None => SourceLevel::Document,
            },
            _ => SourceLevel::Document,
        }
    }
}

/// Whether the target's key is no rule's: an `absorb` may assign it.
fn has_assigned_key(spec: &Spec) -> bool {
    let is_assigned = |rule: &FieldRule| rule.from == RuleFrom::TargetOnly && spec.target.key.contains(&rule.name);
    spec.kind == Kind::Absorb && spec.fields.iter().any(is_assigned)
}

fn object(fields: &[FieldRule], level: &Level<'_>) -> Result<ObjectRules, MappingError> {
    let residue = level.residue.map(str::to_owned);
    let mut rules = ObjectRules { columns: Vec::new(), children: Vec::new(), declared: Vec::new(), residue };
    for (at, rule) in fields.iter().enumerate() {
        let is_taken = fields[..at].iter().any(|other| other.name == rule.name);
        if is_taken || level.residue == Some(rule.name.as_str()) || rule.name == FIX {
            return Err(bad(&rule.name, "the name of this field is taken"));
        }
        match &rule.child {
            Some(child) => {
                rules.declared.push(Declared::Child(rules.children.len()));
                rules.children.push(child_rules(rule, child, level)?);
            }
            None => {
                rules.declared.push(Declared::Column(rules.columns.len()));
                rules.columns.push(column(rule, level)?);
            }
        }
    }
    Ok(rules)
}

fn child_rules(rule: &FieldRule, child: &ChildRule, level: &Level<'_>) -> Result<Child, MappingError> {
    let RuleFrom::Path(path) = &rule.from else {
        return Err(bad(&rule.name, "a child table needs `from` with the path of an array"));
    };
    let level = Level { residue: level.residue, key: &[], source: level.source.child(path) };
    let mut rules = object(&child.fields, &level)?;
    let elements = match &child.scalar {
        None => Elements::Documents,
        Some(name) => {
            match rules.columns.iter_mut().find(|column| column.name == *name) {
                Some(column) => {
                    column.origin = Origin::Element;
                    if rule.cast {
                        column.conversion = Conversion::Exact;
                    }
                }
                None => return Err(bad(&rule.name, "the column of the array's elements is not declared")),
            }
            Elements::Scalars
        }
    };
    Ok(Child { field: rule.name.clone(), path: path.clone(), elements, rules })
}

fn column(rule: &FieldRule, level: &Level<'_>) -> Result<Column, MappingError> {
    let is_key = level.key.contains(&rule.name);
    let (origin, null_back) = match &rule.from {
        RuleFrom::Path(path) if is_key && rule.cast && rule.ty == FieldType::Text => {
            (Origin::KeyText(path.clone()), NullBack::Missing)
        }
        RuleFrom::Path(_) if is_key && rule.cast => {
            return Err(bad(&rule.name, "a key field with cast = true must have type = \"text\""));
        }
        RuleFrom::Path(path) => (Origin::Path(path.clone()), level.source.null_back(path)),
        RuleFrom::Sql { sql, back } => {
            let null_back = match back.iter().all(|(path, _)| level.source.null_back(path) == NullBack::Null) {
                true => NullBack::Null,
                false => NullBack::Missing,
            };
            let expression = |text: &str| Expr::parse(text).map_err(|error| bad(&rule.name, &error.to_string()));
            let back = back
                .iter()
                .map(|(path, text)| Ok((path.clone(), expression(text)?)))
                .collect::<Result<Vec<_>, MappingError>>()?;
            (Origin::Sql { expr: expression(sql)?, back }, null_back)
        }
        RuleFrom::Constant(value) => (Origin::Constant(value.clone()), NullBack::Missing),
        RuleFrom::TargetOnly => (Origin::TargetOnly, NullBack::Missing),
    };
    Ok(Column {
        name: rule.name.clone(),
        ty: rule.ty,
        presence: if rule.required || (is_key && rule.from != RuleFrom::TargetOnly) {
            Presence::Required
        } else {
            Presence::Nullable
        },
        fit: Fit::of(rule),
        conversion: if rule.cast { Conversion::Exact } else { Conversion::None },
        default: rule.default.clone(),
        origin,
        null_back,
    })
}

fn bad(field: &str, message: &str) -> MappingError {
    MappingError::new("mapping/spec", field, message)
}
