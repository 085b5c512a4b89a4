//! What outdated clients and other readers of the table must know, and what
//! cannot be done.

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::Wanted;
use shearwater_core::fill::FillClass;
use shearwater_core::shape::FieldType;

use super::super::cell::Cell;
use super::super::facts::Family;
use super::super::session::{Session, bind, number_of, text_of};
use super::sql::Sql;

/// Types whose comparison or text is not that of the value as we read it.
pub(super) async fn check_inputs(session: &mut Session, sql: &Sql, wanted: &Wanted) -> StoreResult<()> {
    let ask = "SELECT column_name, data_type FROM information_schema.columns \
               WHERE table_schema = DATABASE() AND table_name = ?";
    let name = bind(&[Cell::text(sql.name.as_str())]);
    let inputs = wanted.fill.inputs();
    for row in session.rows("looking at the fill's columns", ask, name).await? {
        let (Some(name), Some(ty)) = (row.first().and_then(text_of), row.get(1).and_then(text_of)) else {
            continue;
        };
        let is_pushed = wanted.fill.type_of_field(&name).is_some_and(FieldType::is_read_by_fills);
        let is_plain = matches!(
            ty.to_ascii_lowercase().as_str(),
            "tinyint"
                | "smallint"
                | "mediumint"
                | "int"
                | "bigint"
                | "char"
                | "varchar"
                | "tinytext"
                | "text"
                | "mediumtext"
                | "longtext"
                | "date"
                | "time"
                | "datetime"
                | "uuid"
                | "binary"
                | "varbinary"
                | "tinyblob"
                | "blob"
                | "mediumblob"
                | "longblob"
        );
        if inputs.contains(&name) && is_pushed && !is_plain {
            let what = format!("MySQL: the fill reads {name:?} of type {ty}: not proven to be the same there as here");
            return Err(StoreError::new(StoreErrorKind::Unsupported, what).with_hint(
                "a fill reads integers, booleans and texts; as they are also dates, times, uuids and bytes, but no \
                     TIMESTAMP, which each session sees in its own zone",
            ));
        }
    }
    Ok(())
}

/// What to know of the table, each a sentence.
pub(super) async fn told(session: &mut Session, sql: &Sql, family: Family) -> StoreResult<Vec<String>> {
    let column = &sql.column;
    let mut told = vec![
        format!(
            "prepared `SELECT *` of running programs goes on, with one column more once {column} is added: one that reads \
             its columns by number or into a fixed count breaks then"
        ),
        format!(
            "`INSERT INTO … VALUES (…)` without a list of columns fails once {column} is added: the server wants a value \
             for each column"
        ),
        match sql.class {
            FillClass::Constant => format!(
                "a program that reads the table itself, and not through the gateway, sees {column} from the moment at \
                 which it is added"
            ),
            FillClass::RowPure => "a program that reads the table itself, and not through the gateway, sees NULL until the \
                                   backfill has ended"
                .to_owned(),
        },
        "changes that a foreign key cascades fire no triggers; replicas in row format take the rows as the primary made \
         them, and on a server that is a replica itself such rows pass the write default by"
            .to_owned(),
    ];
    if sql.has_values {
        told.push(format!(
            "{column} is an enumeration, so that the server refuses other values from the moment at which it is added; \
             after contract a session without strict mode stores an empty text instead"
        ));
    }
    if family == Family::MySql {
        told.push(
            "a table takes 64 instant changes of its columns; then the server wants a rebuild, which is refused here"
                .to_owned(),
        );
    }
    let ask = "SELECT (SELECT COUNT(*) FROM information_schema.triggers WHERE event_object_schema = DATABASE() \
               AND event_object_table = ? AND LEFT(trigger_name, 11) <> LEFT(?, 11)), \
               (SELECT COUNT(*) FROM information_schema.views \
               WHERE LOCATE(CONCAT('`', DATABASE(), '`.`', REPLACE(?, '`', '``'), '`'), view_definition) > 0)";
    let name = Cell::text(sql.name.as_str());
    let bound = [name.clone(), Cell::text(sql.fills_name()), name];
    let rows = session.rows("looking for triggers and views", ask, bind(&bound)).await?;
    let sentences = [
        "triggers on the table, not ours: {n}; ours fire after them",
        "views that read the table: {n}; those made with `SELECT *` do not get the new column",
    ];
    for (cell, sentence) in rows.iter().flatten().zip(sentences) {
        match number_of(cell) {
            Some(count) if count > 0 => told.push(sentence.replace("{n}", &count.to_string())),
            _ => {}
        }
    }
    Ok(told)
}
