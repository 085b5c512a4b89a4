//! Which fields a shape has, and what may be asked of each.

use shearwater_core::path::{Path, Step};
use shearwater_core::shape::{ChildShape, ColumnShape, FieldType, Layout};

use super::field_path::shown;
use super::problem::{Kind, Problem};

/// Fields named in a hint: enough to find the right one.
const HINT_FIELDS_MAX: usize = 20;

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A value of a declared type.
    Typed(FieldType),
    /// A value that says its own type.
    Any,
    /// A list of documents.
    List,
}

/// What a path leads to in this layout, or that there is no such field. Every
/// path of a document may exist.
pub fn kind(layout: &Layout, path: &Path) -> Result<FieldKind, Problem> {
    match layout {
        Layout::Document(_) => Ok(FieldKind::Any),
        Layout::Rows(table) => within(&table.columns, &table.children, table.residue.as_deref(), path.steps())
            .map_err(|why| why.problem(path, || layout.field_names())),
    }
}

/// As [`kind`], for a filter or an order, which cannot take a list.
pub fn scalar(layout: &Layout, path: &Path) -> Result<FieldKind, Problem> {
    match kind(layout, path)? {
        FieldKind::List => {
            let shown = shown(path);
            Err(Problem::new(Kind::BadQuery, format!("{shown} is a list"))
                .field(shown.clone())
                .hint(format!("name one of its elements, for example {shown}[0]")))
        }
        kind => Ok(kind),
    }
}

enum Why {
    Unknown,
    Plain(FieldType),
    NeedsIndex,
}

impl Why {
    fn problem<'a>(self, path: &Path, names: impl Fn() -> Vec<&'a str>) -> Problem {
        let shown = shown(path);
        let problem = match self {
            Why::Unknown => {
                let mut hint = format!(
                    "its fields are {}",
                    names().into_iter().take(HINT_FIELDS_MAX).collect::<Vec<_>>().join(", ")
                );
                if names().len() > HINT_FIELDS_MAX {
                    hint.push_str(", …");
                }
                Problem::new(Kind::UnknownField, format!("there is no field {shown}")).hint(hint)
            }
            Why::Plain(ty) => Problem::new(
                Kind::UnknownField,
                format!(
                    "there is no field {shown}: {} is of type {}, which has nothing inside",
                    path.root(),
                    ty.name()
                ),
            ),
            Why::NeedsIndex => {
                Problem::new(Kind::UnknownField, format!("there is no field {shown}: {} is a list", path.root()))
                    .hint(format!("name one of its elements, for example {}[0]", path.root()))
            }
        };
        problem.field(shown)
    }
}

fn within(
    columns: &[ColumnShape],
    children: &[ChildShape],
    residue: Option<&str>,
    steps: &[Step],
) -> Result<FieldKind, Why> {
    let Some((Step::Field(name), inner)) = steps.split_first() else { return Err(Why::NeedsIndex) };
    if let Some(column) = columns.iter().find(|column| column.name == *name) {
        return match (column.ty, inner.is_empty()) {
            (FieldType::Json, _) => Ok(FieldKind::Any),
            (ty, true) => Ok(FieldKind::Typed(ty)),
            (ty, false) => Err(Why::Plain(ty)),
        };
    }
    if residue == Some(name) {
        return Ok(FieldKind::Any);
    }
    let child = children.iter().find(|child| child.field == *name).ok_or(Why::Unknown)?;
    match inner.split_first() {
        None => Ok(FieldKind::List),
        Some((Step::Index(_), [])) => Ok(FieldKind::Any),
        Some((Step::Index(_), rest)) => within(&child.columns, &child.children, child.residue.as_deref(), rest),
        Some((Step::Field(_), _)) => Err(Why::NeedsIndex),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::gateway::field_path::whole;
    use shearwater_core::shape::{DocumentLayout, TableShape};

    fn column(name: &str, ty: FieldType) -> ColumnShape {
        ColumnShape { name: name.into(), ty, nullable: true, unique: false, native: None, references: None }
    }

    /// The v2 layout that the gateway's unit tests speak of.
    pub fn users() -> Layout {
        Layout::Rows(TableShape {
            extras: Default::default(),
            table: "users".into(),
            key: vec!["id".into()],
            columns: vec![
                column("id", FieldType::Text),
                column("age", FieldType::Int),
                column("score", FieldType::Float),
                column("balance", FieldType::Decimal),
                column("active", FieldType::Bool),
                column("joined", FieldType::Instant),
                column("born", FieldType::Date),
                column("tag", FieldType::Uuid),
                column("photo", FieldType::Bytes),
                column("prefs", FieldType::Json),
            ],
            children: vec![ChildShape {
                field: "addresses".into(),
                table: "user_addresses".into(),
                columns: vec![column("city", FieldType::Text), column("since", FieldType::Date)],
                children: vec![],
                residue: Some("extra".into()),
            }],
            residue: Some("extra".into()),
        })
    }

    /// A v1 layout.
    pub fn documents() -> Layout {
        Layout::Document(DocumentLayout { table: "legacy".into(), key: vec!["_id".into()], document: "doc".into() })
    }

    fn check(path: &str, expect: Result<FieldKind, &str>) {
        let found = kind(&users(), &whole(path).unwrap());
        let found = found.map_err(|problem| problem.detail);
        assert_eq!(found.as_ref().map_err(String::as_str).copied(), expect, "{path}");
    }

    #[test]
    fn columns_children_and_residue_are_fields() {
        check("age", Ok(FieldKind::Typed(FieldType::Int)));
        check("prefs", Ok(FieldKind::Any));
        check("prefs.theme.dark", Ok(FieldKind::Any));
        check("extra.anything", Ok(FieldKind::Any));
        check("addresses", Ok(FieldKind::List));
        check("addresses[0]", Ok(FieldKind::Any));
        check("addresses[0].since", Ok(FieldKind::Typed(FieldType::Date)));
        check("addresses[0].nope", Err("there is no field addresses[0].nope"));
        check("addresses.city", Err("there is no field addresses.city: addresses is a list"));
        check("aeg", Err("there is no field aeg"));
        check("age.x", Err("there is no field age.x: age is of type int, which has nothing inside"));
    }

    #[test]
    fn a_document_may_have_any_field() {
        assert_eq!(kind(&documents(), &whole("what.ever[3]").unwrap()), Ok(FieldKind::Any));
    }

    #[test]
    fn a_list_is_neither_filtered_nor_sorted_as_a_whole() {
        let problem = scalar(&users(), &whole("addresses").unwrap()).unwrap_err();
        assert_eq!(problem.hint.as_deref(), Some("name one of its elements, for example addresses[0]"));
    }
}
