//! Reading a fill's expression: what changes by itself, what looks at other
//! records, and what stores do not do alike is refused for that reason.

use super::FillError;
use crate::expr::Expr;

/// Words that change from one call to the next, or from one session to the next.
const VOLATILE: [&str; 24] = [
    "clock_timestamp",
    "curdate",
    "current_date",
    "current_time",
    "current_timestamp",
    "current_user",
    "curtime",
    "gen_random_uuid",
    "getdate",
    "last_insert_id",
    "localtimestamp",
    "nextval",
    "now",
    "rand",
    "random",
    "rownum",
    "session_user",
    "statement_timestamp",
    "sysdate",
    "timeofday",
    "uuid",
    "uuid_generate_v4",
    "uuid_short",
    "version",
];

/// Words that look beyond the one record.
const OTHER_RECORDS: [&str; 18] = [
    "array_agg",
    "avg",
    "count",
    "dense_rank",
    "exists",
    "first_value",
    "group_concat",
    "lag",
    "last_value",
    "lead",
    "max",
    "min",
    "over",
    "rank",
    "row_number",
    "select",
    "string_agg",
    "sum",
];

/// Reads a fill expression; what changes by itself, and what looks at other
/// records, is refused for that reason.
///
/// # Errors
/// `fill/volatile`, `fill/other-records`, `fill/expression`.
pub fn read_expression(sql: &str) -> Result<Expr, FillError> {
    let expr = Expr::parse(sql).map_err(|error| {
        let words: Vec<String> = words_of(sql);
        let found = |list: &[&'static str]| list.iter().copied().find(|word| words.iter().any(|found| found == word));
        if let Some(word) = found(&OTHER_RECORDS) {
            return FillError::new(
                "fill/other-records",
                format!("the expression looks at other records (`{word}`)"),
                "a fill is made from the one record that it fills; compute the value in your application, or in a \
                 column of the table, first",
            );
        }
        if let Some(word) = found(&VOLATILE) {
            return FillError::new(
                "fill/volatile",
                format!("the expression is volatile (`{word}`): it gives another value each time"),
                "the gateway, the write default, the backfill and verification must agree on one value; use a constant \
                 or the record's own fields",
            );
        }
        let hint = error.hint.clone().unwrap_or_else(|| "see the expressions that a spec can have".to_owned());
        FillError::new("fill/expression", error.message, hint)
    })?;
    if expr.division().is_some() {
        return Err(FillError::new(
            "fill/not-proven",
            "division: some stores give the whole number, others a fraction, others an error",
            "multiply instead, take the rest with %, or compute the value in your application",
        ));
    }
    Ok(expr.total())
}

fn words_of(sql: &str) -> Vec<String> {
    sql.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_ascii_lowercase).collect()
}
