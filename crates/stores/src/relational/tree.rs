//! The tables of a layout: the root, and the child tables with their parents.

use shearwater_core::shape::{ChildShape, ColumnShape, Layout};

/// A child table, with its place in the tree.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    /// Its shape.
    pub(crate) shape: ChildShape,
    /// The place of its parent in [`Tree::children`]; `None`: the root.
    pub(crate) parent: Option<usize>,
    /// The columns after `id`, the record's key, `parent_id` and `position`:
    /// those of its shape, then the residue.
    pub(crate) values: Vec<String>,
}

/// One layout's tables.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// The layout.
    pub(crate) layout: Layout,
    /// The key columns.
    pub(crate) key: Vec<String>,
    /// The other columns that hold the record: of `document`, the JSON column;
    /// of `rows`, those that are not in the key, then the residue.
    pub(crate) values: Vec<String>,
    /// Child tables, parents before their children.
    pub(crate) children: Vec<Child>,
}

impl Tree {
    /// The tables of a layout.
    pub(crate) fn of(layout: &Layout) -> Tree {
        let key = layout.key_fields().to_vec();
        let values: Vec<String> = match layout {
            Layout::Document(document) => vec![document.document.clone()],
            Layout::Rows(shape) => value_columns(&shape.columns, shape.residue.as_ref())
                .into_iter()
                .filter(|column| !key.contains(column))
                .collect(),
        };
        let mut children = Vec::new();
        if let Layout::Rows(shape) = layout {
            flatten(&shape.children, None, &mut children);
        }
        Tree { layout: layout.clone(), key, values, children }
    }

    /// Columns of the root, key first.
    pub(crate) fn root_columns(&self) -> impl Iterator<Item = &String> {
        self.key.iter().chain(&self.values)
    }
}

/// The names of a child table's columns for the record's key.
pub(crate) fn record_key_columns(key: &[String]) -> Vec<String> {
    key.iter().map(|name| format!("record_{name}")).collect()
}

fn value_columns(columns: &[ColumnShape], residue: Option<&String>) -> Vec<String> {
    columns.iter().map(|c| c.name.clone()).chain(residue.cloned()).collect()
}

fn flatten(shapes: &[ChildShape], parent: Option<usize>, out: &mut Vec<Child>) {
    for shape in shapes {
        let at = out.len();
        let values = value_columns(&shape.columns, shape.residue.as_ref());
        out.push(Child { shape: shape.clone(), parent, values });
        flatten(&shape.children, Some(at), out);
    }
}
