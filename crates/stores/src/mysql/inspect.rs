//! Looking at a database without changing it.

use async_trait::async_trait;
use shearwater_core::error::StoreResult;
use shearwater_core::store::{Bounds, Estimate, Inspect, InspectedColumn, InspectedTable, Inspection};

use super::MySql;
use super::cell::Cell;
use super::facts::{self, Family, Server};
use super::names::{RESERVED_PREFIX, quoted};
use super::native::{Column, Kind, LowIsZero};
use super::session::{Session, bind, number_of, text_of};
use super::value::proposal;

/// Tables with more rows by the server's estimate are not counted.
const COUNTED_ROWS_MAX: u64 = 10_000;

/// Whether the URL names replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// It does.
    Some,
    /// It does not.
    None,
}

impl Watched {
    /// By how many it names.
    pub(super) fn of(replicas: usize) -> Watched {
        if replicas == 0 { Watched::None } else { Watched::Some }
    }
}

/// What is there.
pub(super) async fn inspect(session: &mut Session, watched: Watched) -> StoreResult<Inspection> {
    let server = Server::look(session).await?;
    let columns = facts::columns(session, &server, None).await?;
    let unique = facts::unique_indexes(session, None).await?;
    let foreign_keys = super::foreign_keys::all(session).await?;
    let mut inspection =
        Inspection { product: server.product(), hazards: settings(session, &server).await?, ..Inspection::default() };
    inspection.hazards.extend(privileges(session).await?);
    inspection.hazards.extend(replicas(session, watched).await?);
    for row in tables(session).await? {
        let name = row.name.clone();
        if let Some(hazard) = row.unfit() {
            inspection.hazards.push(hazard);
            if row.engine.is_none() {
                continue;
            }
        }
        let its: Vec<&Column> = columns.iter().filter(|(table, _)| *table == name).map(|(_, c)| c).collect();
        let mut table = InspectedTable {
            columns: its.iter().map(|column| inspected(column)).collect(),
            estimate: row.estimate(session).await?,
            foreign_keys: foreign_keys.iter().filter(|(table, _)| *table == name).map(|(_, key)| key.clone()).collect(),
            name,
            ..InspectedTable::default()
        };
        for index in unique.iter().filter(|index| index.table == table.name) {
            match index.is_primary() {
                true => table.key.clone_from(&index.columns),
                false => table.unique.push(index.columns.clone()),
            }
        }
        table.hazards = hazards(session, &table, &its).await?;
        inspection.tables.push(table);
    }
    Ok(inspection)
}

/// A table as the server lists it.
struct TableRow {
    name: String,
    /// `None`: a view.
    engine: Option<String>,
    rows: u64,
    bytes: u64,
    options: String,
}

async fn tables(session: &mut Session) -> StoreResult<Vec<TableRow>> {
    let sql = "SELECT table_name, table_type, engine, table_rows, data_length + index_length, create_options \
               FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY table_name";
    let rows = session.rows("listing tables", sql, Vec::new()).await?;
    let mut found = Vec::new();
    for row in &rows {
        let text = |at: usize| row.get(at).and_then(text_of);
        let number = |at: usize| row.get(at).and_then(number_of).unwrap_or(0);
        let (Some(name), Some(ty)) = (text(0), text(1)) else { continue };
        if name.starts_with(RESERVED_PREFIX) || ty == "SEQUENCE" {
            continue;
        }
        let engine = if ty == "BASE TABLE" { text(2) } else { None };
        found.push(TableRow { name, engine, rows: number(3), bytes: number(4), options: text(5).unwrap_or_default() });
    }
    Ok(found)
}

impl TableRow {
    fn unfit(&self) -> Option<String> {
        let name = &self.name;
        match self.engine.as_deref() {
            None => Some(format!("{name:?} is a view or another thing that takes no triggers: it cannot be migrated")),
            Some("InnoDB") if self.options.contains("partitioned") => Some(format!(
                "table {name:?} is partitioned: ALTER TABLE … TRUNCATE or EXCHANGE PARTITION is not captured"
            )),
            Some("InnoDB") => None,
            Some(engine) => Some(format!(
                "table {name:?} is kept by {engine}, which has no transactions: convert it (ALTER TABLE … ENGINE=InnoDB) first"
            )),
        }
    }

    async fn estimate(&self, session: &mut Session) -> StoreResult<Estimate> {
        if self.rows > COUNTED_ROWS_MAX {
            return Ok(Estimate { records: self.rows, exact: false, bytes: self.bytes });
        }
        let sql = format!("SELECT COUNT(*) FROM {}", quoted(&self.name));
        let rows = session.script("counting rows", &sql).await?;
        let records = rows.first().and_then(|row| row.first()).and_then(number_of).unwrap_or(0);
        Ok(Estimate { records, exact: true, bytes: self.bytes })
    }
}

fn inspected(column: &Column) -> InspectedColumn {
    InspectedColumn {
        name: column.name.clone(),
        declared: column.declared.clone(),
        nullable: column.nullable,
        default: column.default.clone(),
        generated: column.generated,
        identity: column.identity,
        // Rows that are inserted with their numbers bring the counter past them.
        renumber: None,
        ty: proposal(column),
        bounds: bounds(column),
        collation: column.collation.clone().filter(|_| column.folds()),
        folds: column.folds(),
    }
}

/// What the values of a column must be.
fn bounds(column: &Column) -> Bounds {
    let mut bounds = Bounds::default();
    match &column.kind {
        Kind::Int { low, high } => bounds.integers = Some((*low, *high)),
        Kind::Year => bounds.integers = Some((0, 2_155)),
        Kind::Bits(bits) => bounds.integers = Some((0, u64::MAX >> 64_u32.saturating_sub(*bits).min(63))),
        Kind::Decimal { digits, scale, low_is_zero } => {
            bounds.digits = Some((*digits, i32::try_from(*scale).unwrap_or(0)));
            if *low_is_zero == LowIsZero::Yes {
                bounds.integers = Some((0, u64::MAX));
            }
        }
        Kind::Text { chars_max, bytes_max, .. } => {
            bounds.chars_max = *chars_max;
            bounds.bytes_max = chars_max.is_none().then_some(*bytes_max);
            bounds.charset = column.charset.clone().filter(|charset| charset != "utf8mb4");
        }
        Kind::Enum(labels) => bounds.labels = Some(labels.clone()),
        Kind::Binary(bytes) | Kind::Bytes(bytes) => bounds.bytes_max = Some(*bytes),
        Kind::Time(digits) | Kind::Datetime(digits) | Kind::Timestamp(digits) => bounds.fraction_digits = Some(*digits),
        Kind::Float
        | Kind::Double
        | Kind::Set(_)
        | Kind::Date
        | Kind::Json
        | Kind::Uuid
        | Kind::Inet
        | Kind::Geometry
        | Kind::Unknown => {}
    }
    bounds
}

/// Settings of the server that matter.
async fn settings(session: &mut Session, server: &Server) -> StoreResult<Vec<String>> {
    let mut hazards = Vec::new();
    let sql = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'super_read_only', 'log_bin', 'binlog_format', \
               'innodb_flush_log_at_trx_commit', 'sync_binlog', 'log_bin_trust_function_creators', \
               'slave_run_triggers_for_rbr', 'wsrep_on')";
    let rows = session.script("reading settings", sql).await?;
    let value = |name: &str| {
        let row = rows.iter().find(|row| row.first().and_then(text_of).is_some_and(|n| n.eq_ignore_ascii_case(name)));
        row.and_then(|row| row.get(1)).and_then(text_of).unwrap_or_default().to_ascii_uppercase()
    };
    let is_on = |name: &str| matches!(value(name).as_str(), "ON" | "1");
    if is_on("read_only") || is_on("super_read_only") {
        hazards.push("the server is read-only (a replica?): nothing can be installed or written there".to_owned());
    }
    if value("innodb_flush_log_at_trx_commit") != "1" {
        hazards.push(
            "innodb_flush_log_at_trx_commit is not 1: a power cut may lose writes that were answered as done"
                .to_owned(),
        );
    }
    if is_on("log_bin") {
        if value("binlog_format") == "STATEMENT" {
            hazards.push("binlog_format is STATEMENT: writes would be refused; set it to ROW or MIXED".to_owned());
        }
        if value("sync_binlog") != "1" {
            hazards.push("sync_binlog is not 1: after a power cut replicas may lack writes".to_owned());
        }
        if !is_on("log_bin_trust_function_creators") && !has_super(session).await? {
            hazards.push(
                "the binary log is on and log_bin_trust_function_creators is off: only a user with SUPER creates triggers; \
                 ask for SET GLOBAL log_bin_trust_function_creators = 1"
                    .to_owned(),
            );
        }
    }
    if is_on("wsrep_on") {
        hazards.push(
            "the server is part of a Galera cluster: the fence holds for writers of this node; let all write here"
                .to_owned(),
        );
    }
    if server.family == Family::MariaDb && value("slave_run_triggers_for_rbr") == "NO" {
        let sql = "SHOW ALL SLAVES STATUS";
        if matches!(session.script("looking for replication", sql).await, Ok(rows) if !rows.is_empty()) {
            hazards.push(
                "the server is a replica: what it applies from its primary's row events runs no triggers and is not captured"
                    .to_owned(),
            );
        }
    }
    Ok(hazards)
}

/// Whether the user may do what only administrators may.
async fn has_super(session: &mut Session) -> StoreResult<bool> {
    let grants = session.script("reading privileges", "SHOW GRANTS").await?;
    let grants = grants.iter().filter_map(|row| row.first().and_then(text_of));
    let mut on_all = grants.filter_map(|grant| grant.split_once(" ON *.* ").map(|(what, _)| what.to_owned()));
    Ok(on_all.any(|what| what.contains("ALL PRIVILEGES") || what.split([' ', ',']).any(|word| word == "SUPER")))
}

/// Replicas whose lag nobody watches, and what the user may not see.
async fn replicas(session: &mut Session, watched: Watched) -> StoreResult<Vec<String>> {
    let mut hazards = Vec::new();
    let sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
    let rows = session.script("looking for replicas", sql).await?;
    let found = rows.first().and_then(|row| row.first()).and_then(number_of).unwrap_or(0);
    if found > 0 && watched == Watched::None {
        hazards.push(format!(
            "{found} replicas follow this server and the URL names none (replica=HOST:PORT): background work does not \
             slow down for them"
        ));
    }
    if session.script("reading lock waits", "SELECT COUNT(*) FROM information_schema.innodb_trx").await.is_err() {
        hazards.push(
            "the user has no PROCESS privilege: every lock wait on the server counts as if our own work caused it"
                .to_owned(),
        );
    }
    Ok(hazards)
}

/// Privileges that a migration needs and that the user does not seem to have.
async fn privileges(session: &mut Session) -> StoreResult<Vec<String>> {
    let rows = session.script("reading privileges", "SELECT DATABASE(); SHOW GRANTS").await?;
    let mut texts = rows.iter().filter_map(|row| row.first().and_then(text_of));
    let database = texts.next().unwrap_or_default();
    let grants: Vec<String> = texts.collect();
    let on_all = |grant: &&String| grant.contains(" ON *.* ");
    // Patterns in a database's name are written with backslashes.
    let on_this = |grant: &&String| grant.replace('\\', "").contains(&format!(" ON {}.* ", quoted(&database)));
    let its: Vec<&String> = grants.iter().filter(|grant| on_all(grant) || on_this(grant)).collect();
    if its.iter().any(|grant| grant.starts_with("GRANT ALL PRIVILEGES ON")) {
        return Ok(Vec::new());
    }
    let has = |word: &str| {
        its.iter().any(|grant| {
            let list = grant.strip_prefix("GRANT ").and_then(|g| g.split(" ON ").next()).unwrap_or_default();
            list.split(", ").any(|granted| granted == word)
        })
    };
    let needed = ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "INDEX", "TRIGGER", "LOCK TABLES"];
    let missing: Vec<&str> = needed.into_iter().filter(|word| !has(word)).collect();
    Ok(if missing.is_empty() {
        Vec::new()
    } else {
        vec![format!(
            "the user has not been granted {} on the whole database (roles and single tables aside): \
             installing the sidecar needs it",
            missing.join(", ")
        )]
    })
}

async fn hazards(session: &mut Session, table: &InspectedTable, columns: &[&Column]) -> StoreResult<Vec<String>> {
    let name = &table.name;
    let mut hazards = vec![];
    if table.key.is_empty() && table.unique.is_empty() {
        hazards.push(format!("table {name:?} has no key: no index identifies its rows"));
    }
    hazards.push(format!("table {name:?}: TRUNCATE runs no triggers and is not captured; verification finds it"));
    for key in table.foreign_keys.iter().filter(|key| key.cascades) {
        hazards.push(format!(
            "table {name:?}: rows that the foreign key {:?} changes by itself (CASCADE, SET NULL) run no triggers and are \
             not captured; verification finds them",
            key.name
        ));
    }
    let sql = "SELECT trigger_name FROM information_schema.triggers WHERE event_object_schema = DATABASE() \
               AND event_object_table = ? ORDER BY trigger_name";
    let rows = session.rows("reading triggers", sql, bind([&Cell::text(name.as_str())])).await?;
    for trigger in rows.iter().filter_map(|row| row.first().and_then(text_of)) {
        if !trigger.starts_with(RESERVED_PREFIX) {
            hazards.push(format!(
                "table {name:?}: the trigger {trigger:?} also runs when Shearwater writes, and may change what was written"
            ));
        }
    }
    for column in columns {
        let is_key = table.key.contains(&column.name);
        if is_key && column.folds() {
            hazards.push(format!(
                "table {name:?}: the key column {:?} has a collation that takes different texts for equal",
                column.name
            ));
        }
        if column.generated {
            hazards.push(format!(
                "table {name:?}: the column {:?} is computed: it can be read and not written",
                column.name
            ));
        }
    }
    Ok(hazards)
}

#[async_trait]
impl Inspect for MySql {
    async fn inspect(&self) -> StoreResult<Inspection> {
        inspect(&mut self.0.pool.session().await?, Watched::of(self.0.replicas.len())).await
    }
}
