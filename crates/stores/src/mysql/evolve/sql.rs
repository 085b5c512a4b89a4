//! The statements of each alteration.

use shearwater_core::Value;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::{Alteration, Effect, Wanted};
use shearwater_core::expr::Words as _;
use shearwater_core::fill::FillClass;
use shearwater_core::shape::FieldType;
use shearwater_core::value::json;

use super::super::facts::{Family, Server};
use super::super::names::{list, literal, own_name, quoted};
use super::words::Prefixed;

/// Characters of a column for a constant text: enough for any word that stands
/// for a state, and it can be indexed.
const CONSTANT_CHARS: usize = 255;

/// Characters of a UUID's text.
const UUID_CHARS: usize = 36;

/// Everything that is said about one column.
pub(super) struct Sql {
    pub(super) name: String,
    pub(super) table: String,
    pub(super) column_name: String,
    pub(super) column: String,
    pub(super) ty: String,
    pub(super) key: Vec<String>,
    pub(super) class: FillClass,
    pub(super) fill: String,
    fill_new: String,
    is_text: bool,
    /// A value that the column takes and that means nothing.
    neutral: String,
    /// Whether values are declared: the column is an enumeration of them.
    pub(super) has_values: bool,
    family: Family,
}

/// What one alteration runs.
pub(super) struct Plan {
    /// Whether the table is locked while the statements run; else each takes its own.
    pub(super) locked: Option<String>,
    pub(super) effect: Effect,
    pub(super) statements: Vec<String>,
}

impl Sql {
    pub(super) fn new(server: &Server, wanted: &Wanted) -> StoreResult<Sql> {
        let told = |error: shearwater_core::fill::FillError| {
            StoreError::new(StoreErrorKind::Unsupported, format!("MySQL: {}", error.message)).with_hint(error.hint)
        };
        let domain = wanted.fill.domain();
        let text = |ty: &str| format!("{ty} CHARACTER SET utf8mb4 COLLATE {}", server.exact_collation());
        let short = wanted.fill.class() == FillClass::Constant;
        let labels = || domain.values.iter().map(|value| literal(value)).collect::<Vec<_>>().join(",");
        let chosen = match domain.ty {
            FieldType::Bool => "TINYINT(1)".to_owned(),
            FieldType::Int => "BIGINT".to_owned(),
            FieldType::Float => "DOUBLE".to_owned(),
            FieldType::Decimal => match domain.digits {
                Some(digits) => format!("DECIMAL({},{})", digits.precision, digits.scale),
                None => text("LONGTEXT"),
            },
            FieldType::Date => "DATE".to_owned(),
            FieldType::Time => "TIME(6)".to_owned(),
            FieldType::Timestamp | FieldType::Instant => "DATETIME(6)".to_owned(),
            FieldType::Uuid => text(&format!("VARCHAR({UUID_CHARS})")),
            FieldType::Bytes if short => format!("VARBINARY({CONSTANT_CHARS})"),
            FieldType::Bytes => "LONGBLOB".to_owned(),
            // A CHECK would be a copy of the table.
            FieldType::Text if !domain.values.is_empty() => text(&format!("ENUM({})", labels())),
            FieldType::Text if short => text(&format!("VARCHAR({CONSTANT_CHARS})")),
            FieldType::Text | FieldType::Json | FieldType::Extended => text("LONGTEXT"),
        };
        let neutral = match domain.ty {
            FieldType::Bool | FieldType::Int | FieldType::Float => "0",
            FieldType::Decimal if domain.digits.is_some() => "0",
            FieldType::Date => "'2000-01-01'",
            FieldType::Time => "'00:00:00'",
            FieldType::Timestamp | FieldType::Instant => "'2000-01-01 00:00:00'",
            _ => "''",
        };
        let neutral = domain.values.first().map_or_else(|| neutral.to_owned(), |value| literal(value));
        check_values(wanted)?;
        Ok(Sql {
            name: wanted.table.clone(),
            table: quoted(&wanted.table),
            column_name: wanted.column.clone(),
            column: quoted(&wanted.column),
            ty: wanted.native.clone().unwrap_or(chosen),
            key: wanted.key.iter().map(|(name, _)| name.clone()).collect(),
            class: wanted.fill.class(),
            fill: wanted.fill.sql(&Prefixed("")).map_err(told)?,
            fill_new: wanted.fill.sql(&Prefixed("NEW.")).map_err(told)?,
            // What stands as a text compares by its bytes.
            is_text: matches!(domain.ty, FieldType::Text | FieldType::Uuid | FieldType::Json),
            neutral,
            has_values: !domain.values.is_empty(),
            family: server.family,
        })
    }

    pub(super) fn chosen_name(&self) -> String {
        own_name(&self.name, "chosen")
    }

    pub(super) fn fills_name(&self) -> String {
        own_name(&self.name, "fills")
    }

    pub(super) fn outdated_name(&self) -> String {
        own_name(&self.name, "outdated")
    }

    /// The triggers that fill.
    pub(super) fn fill_triggers(&self) -> [String; 2] {
        ["fill_insert", "fill_update"].map(|what| own_name(&self.name, what))
    }

    /// The triggers that note what somebody chose.
    pub(super) fn note_triggers(&self) -> [String; 2] {
        ["note_insert", "note_update"].map(|what| own_name(&self.name, what))
    }

    /// What an alteration runs.
    pub(super) fn plan(&self, what: Alteration) -> Plan {
        let (table, column) = (&self.table, &self.column);
        let alone = |statements: Vec<String>| Plan {
            locked: Some(format!("LOCK TABLES {table} WRITE")),
            effect: Effect::Catalogue,
            statements,
        };
        let own = |statements: Vec<String>| Plan { locked: None, effect: Effect::Catalogue, statements };
        match what {
            Alteration::AddSidecar => own(self.add_sidecar()),
            Alteration::AddColumn => {
                let rest = match self.class {
                    FillClass::Constant => format!(" NOT NULL DEFAULT {}", self.fill),
                    FillClass::RowPure => " NULL".to_owned(),
                };
                own(vec![format!("ALTER TABLE {table} ADD COLUMN {column} {}{rest}, ALGORITHM=INSTANT", self.ty)])
            }
            Alteration::AddWriteDefault => {
                // Each statement flushes while the table is locked: as few as can be.
                let mut statements = match self.family {
                    Family::MariaDb => Vec::new(),
                    Family::MySql => self.drop_all_triggers(),
                };
                statements.extend(self.make_triggers());
                if self.class == FillClass::Constant {
                    statements.push(format!("ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {}", self.fill));
                }
                alone(statements)
            }
            Alteration::SetNotNull => Plan {
                locked: None,
                effect: Effect::Rewrite,
                statements: vec![format!(
                    "ALTER TABLE {table} MODIFY COLUMN {column} {} NOT NULL, ALGORITHM=INPLACE, LOCK=NONE",
                    self.ty
                )],
            },
            Alteration::DropWriteDefault => {
                let mut statements = self.drop_triggers(&self.fill_triggers());
                if self.class == FillClass::Constant {
                    statements.push(format!("ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT"));
                }
                alone(statements)
            }
            Alteration::DropColumn => {
                // Were we to die between the two, a NOT NULL column without a trigger would refuse everybody.
                let mut statements =
                    vec![format!("ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {}", self.neutral)];
                statements.extend(self.drop_all_triggers());
                statements.push(format!("ALTER TABLE {table} DROP COLUMN {column}, ALGORITHM=INSTANT"));
                alone(statements)
            }
            Alteration::DropSidecar => {
                let mut statements = self.drop_all_triggers();
                let names = [self.chosen_name(), self.fills_name(), self.outdated_name()].map(|name| quoted(&name));
                statements.push(format!("DROP TABLE IF EXISTS {}", names.join(", ")));
                own(statements)
            }
            Alteration::AddCheck
            | Alteration::ValidateCheck
            | Alteration::AddValues
            | Alteration::ValidateValues
            | Alteration::DropCheck
            | Alteration::DropValues
            | Alteration::DropNotNull => own(Vec::new()),
        }
    }

    fn add_sidecar(&self) -> Vec<String> {
        let (chosen, fills, keys) = (quoted(&self.chosen_name()), quoted(&self.fills_name()), list(&self.key));
        let outdated = quoted(&self.outdated_name());
        vec![
            format!(
                "CREATE TABLE IF NOT EXISTS {outdated} (second BIGINT NOT NULL, session BIGINT UNSIGNED NOT NULL, \
                 PRIMARY KEY (second, session)) ENGINE=InnoDB"
            ),
            format!(
                "CREATE TABLE IF NOT EXISTS {chosen} (PRIMARY KEY ({keys})) ENGINE=InnoDB AS SELECT {keys} FROM {} LIMIT 0",
                self.table
            ),
            format!(
                "CREATE TABLE IF NOT EXISTS {fills} (run VARBINARY(64) NOT NULL, part INT UNSIGNED NOT NULL, place LONGTEXT \
                 CHARACTER SET utf8mb4, done TINYINT NOT NULL, looked BIGINT UNSIGNED NOT NULL, filled BIGINT UNSIGNED NOT NULL, \
                 PRIMARY KEY (run, part)) ENGINE=InnoDB"
            ),
        ]
    }

    fn make_triggers(&self) -> Vec<String> {
        let (table, column, fill) = (&self.table, &self.column, &self.fill_new);
        let keys: Vec<String> = self.key.iter().map(|key| format!("NEW.{}", quoted(key))).collect();
        let create = match self.family {
            Family::MariaDb => "CREATE OR REPLACE TRIGGER",
            Family::MySql => "CREATE TRIGGER",
        };
        let words = Prefixed("");
        let compared = |sql: &str| if self.is_text { words.by_bytes(sql) } else { format!("({sql})") };
        let differs = format!("NOT ({} <=> {})", compared(&format!("NEW.{column}")), compared(fill));
        let mut out = Vec::new();
        let [insert, update] = self.fill_triggers().map(|name| quoted(&name));
        // One row for each second and session: nobody waits for another's commit, and it stays small.
        out.push(format!(
            "{create} {insert} BEFORE INSERT ON {table} FOR EACH ROW BEGIN IF NEW.{column} IS NULL THEN \
             INSERT IGNORE INTO {} VALUES (UNIX_TIMESTAMP(), CONNECTION_ID()); SET NEW.{column} = {fill}; END IF; END",
            quoted(&self.outdated_name())
        ));
        out.push(format!(
            "{create} {update} BEFORE UPDATE ON {table} FOR EACH ROW SET NEW.{column} = COALESCE(NEW.{column}, {fill})"
        ));
        for (name, event) in self.note_triggers().iter().zip(["INSERT", "UPDATE"]) {
            out.push(format!(
                "{create} {} AFTER {event} ON {table} FOR EACH ROW INSERT IGNORE INTO {} SELECT {} FROM DUAL WHERE {differs}",
                quoted(name),
                quoted(&self.chosen_name()),
                keys.join(", ")
            ));
        }
        out
    }

    fn drop_triggers(&self, names: &[String]) -> Vec<String> {
        names.iter().map(|name| format!("DROP TRIGGER IF EXISTS {}", quoted(name))).collect()
    }

    fn drop_all_triggers(&self) -> Vec<String> {
        let mut names = self.fill_triggers().to_vec();
        names.extend(self.note_triggers());
        self.drop_triggers(&names)
    }
}

/// Declared values that an enumeration holds as they are, and a constant that its
/// column's default does.
fn check_values(wanted: &Wanted) -> StoreResult<()> {
    let refused = |what: &str, hint: &str| {
        Err(StoreError::new(StoreErrorKind::Unsupported, format!("MySQL: {what}")).with_hint(hint))
    };
    let domain = wanted.fill.domain();
    if domain.values.iter().any(|value| value.is_empty() || value.ends_with(' ')) {
        return refused(
            "an enumeration holds no empty value, and none that ends with a blank",
            "declare other values, or none",
        );
    }
    let text = match (domain.ty, wanted.fill.constant()) {
        (FieldType::Json, Some(value)) => json::to_string(value),
        (FieldType::Text, Some(Value::Text(text))) => text.clone(),
        _ => return Ok(()),
    };
    let is_long = match &wanted.native {
        Some(native) => native.to_ascii_lowercase().contains("text"),
        None => domain.ty == FieldType::Json,
    };
    if is_long && !text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && !matches!(byte, b'\'' | b'\\')) {
        return refused(
            "the default of a long text loses what is not plain ASCII, quotes and backslashes",
            "leave them out of the constant, or take a short column: native = \"varchar(4000)\"",
        );
    }
    Ok(())
}
