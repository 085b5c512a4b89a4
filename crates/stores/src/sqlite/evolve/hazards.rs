//! What outdated clients and other readers of the table must know.

use rusqlite::Connection;
use shearwater_core::error::StoreResult;
use shearwater_core::fill::FillClass;

use super::super::error::store_error;
use super::sql::Sql;

/// What to know of the table, each a sentence.
pub(super) fn told(conn: &Connection, sql: &Sql) -> StoreResult<Vec<String>> {
    let column = &sql.column;
    let mut told = vec![
        format!(
            "prepared `SELECT *` of running programs goes on, with one column more once {column} is added: one that reads \
             into a fixed count of columns breaks then"
        ),
        "`INSERT INTO … VALUES (…)` without a list of columns fails once the table has one column more: SQLite wants a value \
         for each"
            .to_owned(),
        match sql.class {
            FillClass::Constant => format!(
                "a program that reads the table itself, and not through the gateway, sees {column} from the moment at \
                 which it is added"
            ),
            FillClass::RowPure => "a program that reads the table itself, and not through the gateway, sees NULL until the \
                                   backfill has ended"
                .to_owned(),
        },
        "contract, and a rollback after it, build the table anew in one transaction: readers go on, writers wait for as long \
         as the plan says"
            .to_owned(),
    ];
    told.push(
        match sql.class {
            FillClass::Constant => "enforce changes nothing: the column refuses NULL, and heals it, from the start",
            FillClass::RowPure => {
                "enforce changes nothing: a trigger fills what a write leaves empty, in its transaction; NOT NULL comes \
                 with contract"
            }
        }
        .to_owned(),
    );
    told.push(
        match sql.class {
            FillClass::Constant => {
                "a connection with its triggers switched off is not noted as having chosen a value; tools that replicate \
                 the file take the column with it"
            }
            FillClass::RowPure => {
                "a connection with its triggers switched off passes the write default by; tools that replicate the file \
                 take the column with it"
            }
        }
        .to_owned(),
    );
    if !sql.values.is_empty() {
        told.push(format!(
            "the declared values of {column} are looked at by the gateway alone until contract, whose rebuild brings the CHECK"
        ));
    }
    let ask = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE \
               AND name NOT LIKE '\\_shearwater\\_%' ESCAPE '\\'";
    let count: i64 = conn
        .query_row(ask, [&sql.name], |row| row.get(0))
        .map_err(|error| store_error("looking for triggers", error))?;
    if count > 0 {
        told.push(format!("triggers on the table, not ours: {count}; they see NULL in what an outdated client writes"));
    }
    Ok(told)
}
