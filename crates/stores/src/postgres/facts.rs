//! What the catalogue says about a layout's tables.

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::shape::{FieldType, Layout};

use super::native::{Collation, Native, Wire};
use super::session::{Session, get};
use crate::relational::{Tree, record_key_columns};

/// What is known of one column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    /// Its name.
    pub(super) name: String,
    /// Its type.
    pub(super) native: Native,
    /// Whether it may be NULL.
    pub(super) nullable: bool,
    /// Its default.
    pub(super) default: Option<String>,
    /// Whether the server computes it.
    pub(super) generated: bool,
    /// Whether the server numbers it.
    pub(super) identity: bool,
    /// The sequence that numbers it, where we may set that.
    pub(super) sequence: Option<String>,
    /// The collation's name where it is not by bytes.
    pub(super) collation: Option<String>,
}

/// The natives of a layout's columns, in the layout's order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Facts {
    /// As [`Tree::key`].
    pub(super) key: Vec<Column>,
    /// As [`Tree::values`].
    pub(super) values: Vec<Column>,
    /// As [`Tree::children`]: the columns of each table's values.
    pub(super) children: Vec<Vec<Column>>,
    /// Whether a backfill may copy straight into the tables.
    pub(super) copies: Copies,
}

/// Whether COPY's binary form can carry every column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copies {
    /// It can.
    Straight,
    /// A column's type is known to the server only, or is computed; or a trigger
    /// or a rule of the user may change what is written, which COPY does not tell.
    Never,
}

/// Whether tables of the layout may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AbsentTables {
    /// `provision` will make them.
    Allowed,
    /// They must be there.
    Refused,
}

const COLUMNS: &str = "\
WITH RECURSIVE rel AS (
  SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
), base AS (
  SELECT a.attnum, a.atttypid AS typ, a.atttypmod AS typmod, false AS is_domain
  FROM pg_attribute a JOIN rel ON a.attrelid = rel.oid WHERE a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT b.attnum, t.typbasetype, CASE WHEN t.typtypmod >= 0 THEN t.typtypmod ELSE b.typmod END, true
  FROM base b JOIN pg_type t ON t.oid = b.typ WHERE t.typtype = 'd'
)
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), 
  CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN format_type(b.typ, -1)
    ELSE quote_ident(y.nspname) || '.' || quote_ident(t.typname) END, b.typmod, b.is_domain,
  t.typname::text, t.typtype::text, t.typnamespace = 'pg_catalog'::regnamespace AS is_builtin,
  CASE WHEN t.typcategory = 'A' THEN e.typname::text END AS element,
  coalesce(e.typnamespace = 'pg_catalog'::regnamespace, false) AS element_is_builtin,
  NOT a.attnotnull AS nullable, pg_get_expr(d.adbin, d.adrelid) AS default_text, a.attgenerated <> '' AS generated,
  a.attidentity <> '' OR coalesce(pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%', false) AS identity,
  coalesce(l.collisdeterministic, true) AS deterministic,
  CASE WHEN l.oid IS NULL THEN NULL WHEN l.collprovider = 'd'
    THEN (SELECT datcollate::text FROM pg_database WHERE datname = current_database()) ELSE l.collname::text END,
  ARRAY(SELECT x.enumlabel::text FROM pg_enum x WHERE x.enumtypid = t.oid ORDER BY x.enumsortorder) AS labels,
  (SELECT s.seqrelid::regclass::text FROM pg_depend p JOIN pg_sequence s ON s.seqrelid = p.objid
    WHERE p.classid = 'pg_class'::regclass AND p.refclassid = 'pg_class'::regclass AND p.refobjid = a.attrelid
      AND p.refobjsubid = a.attnum AND p.deptype IN ('a', 'i') AND s.seqincrement > 0
      AND has_sequence_privilege(s.seqrelid, 'UPDATE') AND has_sequence_privilege(s.seqrelid, 'SELECT') LIMIT 1) AS sequence
FROM base b
JOIN pg_attribute a ON a.attrelid = (SELECT oid FROM rel) AND a.attnum = b.attnum
JOIN pg_type t ON t.oid = b.typ AND t.typtype <> 'd'
JOIN pg_namespace y ON y.oid = t.typnamespace
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typelem <> 0
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation l ON l.oid = a.attcollation
ORDER BY a.attnum";

/// The columns of a table; none when there is no such table.
pub(super) async fn columns_of(session: &Session, schema: &str, table: &str) -> StoreResult<Vec<Column>> {
    let rows = session.rows(COLUMNS, &[&schema, &table]).await?;
    rows.iter().map(column_of).collect()
}

fn column_of(row: &tokio_postgres::Row) -> StoreResult<Column> {
    let (base, typname, typtype): (String, String, String) = (get(row, 2)?, get(row, 5)?, get(row, 6)?);
    let typmod: i32 = get(row, 3)?;
    let is_builtin: bool = get(row, 7)?;
    let element: Option<String> = get(row, 8)?;
    let element_is_builtin: bool = get(row, 9)?;
    let deterministic: bool = get(row, 14)?;
    let collation: Option<String> = get(row, 15)?;
    let wire = match element {
        Some(element) if is_builtin && element_is_builtin => match Wire::of(&element) {
            Wire::Server | Wire::Blank | Wire::Json | Wire::Jsonb => Wire::Server,
            known => Wire::Array(Box::new(known)),
        },
        Some(_) => Wire::Server,
        None if is_builtin => Wire::of(&typname),
        None => Wire::Server,
    };
    let order = match &collation {
        _ if !deterministic || typname == "citext" => Collation::Folding,
        Some(name) if !is_by_bytes(name) => Collation::Language,
        _ => Collation::Bytes,
    };
    let native = Native {
        declared: get(row, 1)?,
        base,
        chars_max: chars_max(&wire, typmod),
        digits: digits(&wire, typmod),
        fraction_digits: fraction_digits(&wire, typmod),
        labels: get(row, 16)?,
        collation: order,
        is_builtin: is_builtin || typtype == "e",
        is_domain: get(row, 4)?,
        wire,
    };
    Ok(Column {
        name: get(row, 0)?,
        native,
        nullable: get(row, 10)?,
        default: get(row, 11)?,
        generated: get(row, 12)?,
        identity: get(row, 13)?,
        sequence: get(row, 17)?,
        collation: collation.filter(|_| order != Collation::Bytes),
    })
}

/// Collations that compare the bytes of UTF-8.
fn is_by_bytes(name: &str) -> bool {
    matches!(name, "C" | "POSIX" | "ucs_basic" | "C.UTF-8" | "C.utf8" | "C.UTF8" | "pg_c_utf8")
}

fn chars_max(wire: &Wire, typmod: i32) -> Option<usize> {
    match wire {
        Wire::Text | Wire::Blank if typmod >= 4 => usize::try_from(typmod - 4).ok(),
        _ => None,
    }
}

/// A numeric's modifier holds its precision, and its scale as eleven bits with a sign.
fn digits(wire: &Wire, typmod: i32) -> Option<(i32, i32)> {
    match wire {
        Wire::Numeric if typmod >= 4 => {
            let packed = typmod - 4;
            Some(((packed >> 16) & 0xffff, ((packed & 0x7ff) ^ 0x400) - 0x400))
        }
        _ => None,
    }
}

fn fraction_digits(wire: &Wire, typmod: i32) -> u32 {
    match wire {
        Wire::Time | Wire::Timestamp | Wire::Instant => u32::try_from(typmod).unwrap_or(6).min(6),
        _ => 6,
    }
}

impl Facts {
    /// Looks. `None`: a table is absent, and may be.
    pub(super) async fn look(
        session: &Session,
        tree: &Tree,
        schema: &str,
        absent: AbsentTables,
    ) -> StoreResult<Option<Facts>> {
        let root = columns_of(session, schema, tree.layout.table()).await?;
        let mut all_there = !root.is_empty();
        if root.is_empty() && absent == AbsentTables::Refused {
            return Err(no_table(session, schema, tree.layout.table()).await?);
        }
        let mut children = Vec::new();
        for child in &tree.children {
            let columns = columns_of(session, schema, &child.shape.table).await?;
            if columns.is_empty() && absent == AbsentTables::Refused {
                return Err(no_table(session, schema, &child.shape.table).await?);
            }
            all_there &= !columns.is_empty();
            children.push(columns);
        }
        if !all_there {
            return Ok(None);
        }
        let changes = check_kind(session, schema, tree).await?;
        let mut facts = Facts::pick(tree, &root, &children)?;
        if changes == Changes::Possible {
            facts.copies = Copies::Never;
        }
        facts.check_types(tree)?;
        Ok(Some(facts))
    }

    fn pick(tree: &Tree, root: &[Column], children: &[Vec<Column>]) -> StoreResult<Facts> {
        let table = tree.layout.table();
        let key = tree.key.iter().map(|name| find(table, root, name)).collect::<StoreResult<Vec<_>>>()?;
        let values = tree.values.iter().map(|name| find(table, root, name)).collect::<StoreResult<Vec<_>>>()?;
        let mut picked = Vec::new();
        let mut straight = true;
        for (child, columns) in tree.children.iter().zip(children) {
            let table = &child.shape.table;
            straight &= check_places(child, columns, &tree.key, &key)?;
            picked.push(child.values.iter().map(|name| find(table, columns, name)).collect::<StoreResult<Vec<_>>>()?);
        }
        straight &= key
            .iter()
            .chain(&values)
            .chain(picked.iter().flatten())
            .all(|column| column.native.wire != Wire::Server && !column.generated);
        let copies = if straight { Copies::Straight } else { Copies::Never };
        Ok(Facts { key, values, children: picked, copies })
    }

    /// Refuses a column whose type does not go with its field's.
    fn check_types(&self, tree: &Tree) -> StoreResult<()> {
        let table = tree.layout.table();
        let Layout::Rows(shape) = &tree.layout else {
            let Some(document) = self.values.first() else { return Ok(()) };
            return check_json(table, document);
        };
        for column in &shape.columns {
            if let Some(found) = self.key.iter().chain(&self.values).find(|c| c.name == column.name) {
                check_fit(table, found, column.ty)?;
            }
        }
        if shape.residue.is_some()
            && let Some(residue) = self.values.last()
        {
            check_json(table, residue)?;
        }
        for (child, found) in tree.children.iter().zip(&self.children) {
            for (column, found) in child.shape.columns.iter().zip(found) {
                check_fit(&child.shape.table, found, column.ty)?;
            }
            if child.shape.residue.is_some()
                && let Some(residue) = found.last()
            {
                check_json(&child.shape.table, residue)?;
            }
        }
        Ok(())
    }

    /// All columns of the root, key first.
    pub(super) fn root(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().chain(&self.values)
    }
}

/// The columns of a child table that no shape lists. Whether COPY can carry them.
fn check_places(
    child: &crate::relational::Child,
    columns: &[Column],
    key_names: &[String],
    key: &[Column],
) -> StoreResult<bool> {
    let table = &child.shape.table;
    let mut straight = true;
    for name in ["id"].into_iter().chain(child.parent.map(|_| "parent_id")) {
        let found = find(table, columns, name)?;
        if found.native.wire != Wire::Text {
            return Err(misfit(table, &found, "holds the elements' keys and must be text"));
        }
    }
    let position = find(table, columns, "position")?;
    match position.native.wire {
        Wire::Int8 => {}
        Wire::Int4 => straight = false,
        _ => return Err(misfit(table, &position, "holds the elements' places and must be bigint")),
    }
    for (name, key) in record_key_columns(key_names).iter().zip(key) {
        let found = find(table, columns, name)?;
        if found.native.wire != key.native.wire {
            return Err(misfit(table, &found, &format!("must have the type of the key, {}", key.native.declared)));
        }
    }
    Ok(straight)
}

fn check_json(table: &str, column: &Column) -> StoreResult<()> {
    match column.native.wire {
        Wire::Json | Wire::Jsonb | Wire::Text => Ok(()),
        _ => Err(misfit(table, column, "holds documents and must be json, jsonb or text")),
    }
}

fn check_fit(table: &str, column: &Column, ty: FieldType) -> StoreResult<()> {
    let fits = match (&column.native.wire, ty) {
        (Wire::Text, ty) => !matches!(ty, FieldType::Bool | FieldType::Bytes),
        (Wire::Blank, ty) => ty == FieldType::Text,
        (Wire::Server, ty) => matches!(ty, FieldType::Text | FieldType::Extended),
        (Wire::Numeric, ty) => matches!(ty, FieldType::Decimal | FieldType::Int),
        (Wire::Int2 | Wire::Int4 | Wire::Int8 | Wire::Oid, ty) => matches!(ty, FieldType::Decimal | FieldType::Int),
        (Wire::Json | Wire::Jsonb, ty) => matches!(ty, FieldType::Json | FieldType::Extended),
        (wire, ty) => wire.field_type() == ty,
    };
    match fits {
        true => Ok(()),
        false => Err(misfit(table, column, &format!("does not hold {} values", ty.name()))),
    }
}

fn misfit(table: &str, column: &Column, what: &str) -> StoreError {
    let declared = &column.native.declared;
    StoreError::new(
        StoreErrorKind::NotFound,
        format!("PostgreSQL: table {table:?}, column {:?} is {declared}: it {what}", column.name),
    )
    .with_hint(format!("its own field type is {:?}", column.native.wire.field_type().name()))
}

fn find(table: &str, columns: &[Column], name: &str) -> StoreResult<Column> {
    columns.iter().find(|column| column.name == name).cloned().ok_or_else(|| {
        let there: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        StoreError::new(StoreErrorKind::NotFound, format!("PostgreSQL: table {table:?} has no column {name:?}"))
            .with_hint(format!("its columns are {}", there.join(", ")))
    })
}

async fn no_table(session: &Session, schema: &str, table: &str) -> StoreResult<StoreError> {
    let sql = "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') ORDER BY 1 LIMIT 20";
    let rows = session.rows(sql, &[&schema]).await?;
    let names = rows.iter().map(|row| get(row, 0)).collect::<StoreResult<Vec<String>>>()?;
    let error = StoreError::new(
        StoreErrorKind::NotFound,
        format!("PostgreSQL: there is no table {table:?} in the schema {schema:?}"),
    );
    Ok(error.with_hint(match names.is_empty() {
        true => format!("the schema {schema:?} has no tables; schema= in the URL names another one"),
        false => format!("its tables are {}; schema= in the URL names another schema", names.join(", ")),
    }))
}

/// Whether something of the user may change what is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Changes {
    Possible,
    None,
}

/// Refuses what is no plain table: a view has no rows of its own, and a table
/// that others inherit from shows rows that its triggers do not see.
async fn check_kind(session: &Session, schema: &str, tree: &Tree) -> StoreResult<Changes> {
    let sql = "SELECT c.relkind::text, EXISTS (SELECT 1 FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent \
               WHERE p.relkind = 'r' AND (i.inhparent = c.oid OR i.inhrelid = c.oid)), \
               EXISTS (SELECT 1 FROM pg_trigger t WHERE t.tgrelid IN (SELECT c.oid UNION SELECT relid FROM \
               pg_partition_tree(c.oid)) AND NOT t.tgisinternal AND NOT starts_with(t.tgname::text, '_shearwater_')) \
               OR EXISTS (SELECT 1 FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1') FROM pg_class c \
               JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
    let children = tree.children.iter().map(|child| child.shape.table.as_str());
    let mut changes = Changes::None;
    for table in std::iter::once(tree.layout.table()).chain(children) {
        let row = session.one(sql, &[&schema, &table]).await?;
        let (kind, inherits): (String, bool) = (get(&row, 0)?, get(&row, 1)?);
        if get(&row, 2)? {
            changes = Changes::Possible;
        }
        let what = match kind.as_str() {
            "r" | "p" if inherits => "has or is an inheriting table: rows of one show in the other, uncaptured",
            "r" | "p" => continue,
            "v" | "m" => "is a view: it has no rows of its own",
            "f" => "is a foreign table: its writes cannot be captured",
            _ => "is no table",
        };
        return Err(StoreError::new(StoreErrorKind::Unsupported, format!("PostgreSQL: {table:?} {what}")));
    }
    Ok(changes)
}

/// Refuses a table whose key does not identify its rows exactly.
pub(super) async fn check_key(session: &Session, schema: &str, tree: &Tree, facts: &Facts) -> StoreResult<()> {
    let (table, columns) = (tree.layout.table(), tree.key.join(", "));
    let error = |what: String| StoreError::new(StoreErrorKind::NotFound, what);
    let sql = "SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
               JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relname = $2 AND i.indisunique AND i.indisvalid AND i.indimmediate \
               AND i.indpred IS NULL AND i.indexprs IS NULL AND \
               (SELECT array_agg(a.attname::text ORDER BY a.attname) FROM unnest(i.indkey[0:i.indnkeyatts - 1]) k(n) \
                JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.n) = $3 LIMIT 1";
    let mut sorted = tree.key.clone();
    sorted.sort();
    if session.rows(sql, &[&schema, &table, &sorted]).await?.is_empty() {
        return Err(error(format!(
            "table {table:?} has no PRIMARY KEY and no UNIQUE constraint over exactly ({columns})"
        ))
        .with_hint("name the table's key in the spec, or create a unique index that is not deferrable"));
    }
    for column in &facts.key {
        if column.native.collation == Collation::Folding || !column.native.is_builtin {
            return Err(error(format!(
                "table {table:?}: the key column {:?} is {}, whose collation or equality takes different keys for equal",
                column.name, column.native.declared
            ))
            .with_hint("use a key column of a type and a collation that tell all values apart, for example text"));
        }
        if matches!(column.native.wire, Wire::Json | Wire::Jsonb | Wire::Array(_)) {
            return Err(error(format!(
                "table {table:?}: the key column {:?} is {}, which cannot be a key here",
                column.name, column.native.declared
            ))
            .with_hint("use a key column of a scalar type"));
        }
    }
    Ok(())
}
