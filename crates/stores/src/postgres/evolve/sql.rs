//! The statements of each alteration.

use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::{Alteration, Effect, Wanted};
use shearwater_core::fill::FillClass;
use shearwater_core::shape::FieldType;

use super::super::names::{SIDECAR_SCHEMA, SidecarNames, list, literal, qualified, quoted};
use super::super::value::{Place, declared};
use super::words::{Prefixed, one_of};

/// Fires after the user's triggers, which fire in the order of their names: so
/// it fills from what they made of the row.
const FILL_TRIGGER: &str = "~_shearwater_fill";

/// Notes rows whose value is not the fill's.
const NOTE_TRIGGER: &str = "~_shearwater_note";

/// The check that stands in until NOT NULL is set.
const CHECK: &str = "_shearwater_required";

/// Bytes of a name that the server keeps.
const NAME_BYTES_MAX: usize = 63;

/// Everything that is said about one column.
pub(super) struct Sql {
    pub(super) table: String,
    pub(super) column: String,
    pub(super) ty: String,
    pub(super) key: Vec<String>,
    pub(super) class: FillClass,
    names: SidecarNames,
    fill_new: String,
    pub(super) fill: String,
    /// The declared values.
    pub(super) values: Vec<String>,
    /// The name of their check, which stays.
    values_check: String,
    is_json: bool,
}

/// What one alteration runs.
pub(super) struct Plan {
    /// The lock that it takes on the table, as `LOCK TABLE` has it; `None`: none.
    pub(super) lock: Option<&'static str>,
    pub(super) effect: Effect,
    pub(super) statements: Vec<String>,
}

const ACCESS_EXCLUSIVE: Option<&str> = Some("ACCESS EXCLUSIVE");

impl Sql {
    pub(super) fn new(schema: &str, wanted: &Wanted) -> StoreResult<Sql> {
        let told = |error: shearwater_core::fill::FillError| {
            StoreError::new(StoreErrorKind::Unsupported, format!("PostgreSQL: {}", error.message)).with_hint(error.hint)
        };
        let domain = wanted.fill.domain();
        let chosen = match domain.digits {
            Some(digits) => format!("numeric({},{})", digits.precision, digits.scale),
            None => declared(domain.ty, Place::Value).to_owned(),
        };
        Ok(Sql {
            table: qualified(schema, &wanted.table),
            column: quoted(&wanted.column),
            ty: wanted.native.clone().unwrap_or(chosen),
            key: wanted.key.iter().map(|(name, _)| name.clone()).collect(),
            class: wanted.fill.class(),
            names: SidecarNames::of(schema, &wanted.table),
            fill_new: wanted.fill.sql(&Prefixed("NEW")).map_err(told)?,
            fill: wanted.fill.sql(&Prefixed("")).map_err(told)?,
            values: domain.values.clone(),
            values_check: values_check(&wanted.table, &wanted.column),
            is_json: domain.ty == FieldType::Json,
        })
    }

    pub(super) fn chosen(&self) -> String {
        self.names.chosen()
    }

    pub(super) fn fills(&self) -> String {
        self.names.fills()
    }

    pub(super) fn outdated(&self) -> String {
        self.names.outdated()
    }

    /// That a row has no value, or none of the field's.
    pub(super) fn is_wrong(&self) -> String {
        let column = &self.column;
        match self.values.is_empty() {
            true => format!("{column} IS NULL"),
            false => format!("{column} IS NULL OR NOT {}", one_of(column, &self.values)),
        }
    }

    /// One row: the type of the column, whether it is NOT NULL, whether the write default is whole, whether the
    /// checks are valid, whether anything of ours is there.
    pub(super) fn look(&self) -> String {
        let (table, column) = (literal(&self.table), literal(&unquote(&self.column)));
        format!(
            "SELECT format_type(a.atttypid, a.atttypmod), coalesce(a.attnotnull, false), 2 = \
             (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname IN ({fill}, {note}) AND t.tgenabled = 'A'), \
             (SELECT k.convalidated FROM pg_constraint k WHERE k.conrelid = c.oid AND k.conname = {check}), \
             to_regclass({chosen}) IS NOT NULL AND to_regclass({fills}) IS NOT NULL AND to_regclass({outdated}) IS NOT NULL, \
             to_regclass({chosen}) IS NOT NULL OR to_regclass({fills}) IS NOT NULL OR to_regclass({outdated}) IS NOT NULL OR EXISTS \
             (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname IN ({fill}, {note})), c.relkind::text, \
             EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = {fill}) OR {dropped}, \
             (SELECT k.convalidated FROM pg_constraint k WHERE k.conrelid = c.oid AND k.conname = {values}) \
             FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = {column} AND NOT a.attisdropped \
             WHERE c.oid = to_regclass({table})",
            fill = literal(FILL_TRIGGER),
            note = literal(NOTE_TRIGGER),
            check = literal(CHECK),
            values = literal(&self.values_check),
            chosen = literal(&self.chosen()),
            fills = literal(&self.fills()),
            outdated = literal(&self.outdated()),
            dropped = match self.class {
                FillClass::Constant => "coalesce(a.atthasdef, false)",
                FillClass::RowPure => "false",
            },
        )
    }

    /// What an alteration runs.
    pub(super) fn plan(&self, what: Alteration) -> Plan {
        let (table, column) = (&self.table, &self.column);
        let one = |lock, effect, sql: String| Plan { lock, effect, statements: vec![sql] };
        let alter = |sql: String| one(ACCESS_EXCLUSIVE, Effect::Catalogue, format!("ALTER TABLE {table} {sql}"));
        match what {
            Alteration::AddSidecar => Plan { lock: None, effect: Effect::Catalogue, statements: self.add_sidecar() },
            Alteration::AddColumn => {
                let rest = match self.class {
                    FillClass::Constant => format!(" NOT NULL DEFAULT {}", self.fill),
                    FillClass::RowPure => String::new(),
                };
                alter(format!("ADD COLUMN {column} {}{rest}", self.ty))
            }
            Alteration::AddWriteDefault => Plan {
                lock: match self.class {
                    FillClass::Constant => ACCESS_EXCLUSIVE,
                    FillClass::RowPure => Some("SHARE ROW EXCLUSIVE"),
                },
                effect: Effect::Catalogue,
                statements: self.add_write_default(),
            },
            Alteration::AddCheck => alter(format!("ADD CONSTRAINT {CHECK} CHECK ({column} IS NOT NULL) NOT VALID")),
            Alteration::ValidateCheck => one(
                Some("SHARE UPDATE EXCLUSIVE"),
                Effect::Scan,
                format!("ALTER TABLE {table} VALIDATE CONSTRAINT {CHECK}"),
            ),
            Alteration::AddValues => alter(format!(
                "ADD CONSTRAINT {} CHECK {} NOT VALID",
                quoted(&self.values_check),
                one_of(column, &self.values)
            )),
            Alteration::ValidateValues => one(
                Some("SHARE UPDATE EXCLUSIVE"),
                Effect::Scan,
                format!("ALTER TABLE {table} VALIDATE CONSTRAINT {}", quoted(&self.values_check)),
            ),
            Alteration::DropValues => alter(format!("DROP CONSTRAINT IF EXISTS {}", quoted(&self.values_check))),
            Alteration::SetNotNull => alter(format!("ALTER COLUMN {column} SET NOT NULL")),
            Alteration::DropCheck => alter(format!("DROP CONSTRAINT IF EXISTS {CHECK}")),
            Alteration::DropNotNull => alter(format!("ALTER COLUMN {column} DROP NOT NULL")),
            Alteration::DropWriteDefault => {
                Plan { lock: ACCESS_EXCLUSIVE, effect: Effect::Catalogue, statements: self.drop_write_default() }
            }
            Alteration::DropColumn => {
                let mut statements = self.drop_triggers();
                statements.push(format!("ALTER TABLE {table} DROP COLUMN IF EXISTS {column}"));
                statements.extend(self.drop_functions());
                Plan { lock: ACCESS_EXCLUSIVE, effect: Effect::Catalogue, statements }
            }
            Alteration::DropSidecar => {
                let mut statements = self.drop_triggers();
                statements.extend(self.drop_functions());
                statements.push(format!(
                    "DROP TABLE IF EXISTS {}, {}, {}",
                    self.chosen(),
                    self.fills(),
                    self.outdated()
                ));
                statements.push(format!(
                    "DO $$ BEGIN DROP SCHEMA IF EXISTS {SIDECAR_SCHEMA} RESTRICT; \
                     EXCEPTION WHEN dependent_objects_still_exist THEN NULL; END $$"
                ));
                Plan { lock: ACCESS_EXCLUSIVE, effect: Effect::Catalogue, statements }
            }
        }
    }

    fn add_sidecar(&self) -> Vec<String> {
        let (chosen, fills) = (self.chosen(), self.fills());
        vec![
            format!("CREATE SCHEMA IF NOT EXISTS {SIDECAR_SCHEMA}"),
            format!(
                "CREATE TABLE IF NOT EXISTS {chosen} AS SELECT {} FROM {} WITH NO DATA",
                list(&self.key),
                self.table
            ),
            format!(
                "DO $do$ BEGIN IF NOT EXISTS (SELECT FROM pg_index WHERE indrelid = {}::regclass AND indisprimary) THEN \
                 ALTER TABLE {chosen} ADD PRIMARY KEY ({}); END IF; END $do$",
                literal(&chosen),
                list(&self.key)
            ),
            format!(
                "CREATE TABLE IF NOT EXISTS {fills} (run text, part bigint, place text, done boolean NOT NULL, \
                 looked bigint NOT NULL, filled bigint NOT NULL, PRIMARY KEY (run, part))"
            ),
            format!(
                "CREATE TABLE IF NOT EXISTS {} (second bigint, session int, PRIMARY KEY (second, session))",
                self.outdated()
            ),
        ]
    }

    fn add_write_default(&self) -> Vec<String> {
        let (table, column) = (&self.table, &self.column);
        let (fill_fn, note_fn) = (self.names.fill_function(), self.names.note_function());
        let (fill, note) = (quoted(FILL_TRIGGER), quoted(NOTE_TRIGGER));
        let keys: Vec<String> = self.key.iter().map(|key| format!("NEW.{}", quoted(key))).collect();
        let mut out = vec![
            format!(
                // One row for each second and session: nobody waits for another's commit, and it stays small.
                "CREATE OR REPLACE FUNCTION {fill_fn}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
                 SET search_path = pg_catalog AS $fill$ BEGIN IF TG_OP = 'INSERT' THEN \
                 INSERT INTO {} VALUES (extract(epoch FROM clock_timestamp())::bigint, pg_backend_pid()) ON CONFLICT DO NOTHING; \
                 END IF; NEW.{column} := {}; RETURN NEW; END $fill$",
                self.outdated(),
                self.fill_new
            ),
            format!(
                "CREATE OR REPLACE FUNCTION {note_fn}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
                 SET search_path = pg_catalog AS $note$ BEGIN INSERT INTO {} VALUES ({}) ON CONFLICT DO NOTHING; \
                 RETURN NULL; END $note$",
                self.chosen(),
                keys.join(", ")
            ),
            format!("DROP TRIGGER IF EXISTS {fill} ON {table}"),
            format!("DROP TRIGGER IF EXISTS {note} ON {table}"),
            format!(
                "CREATE TRIGGER {fill} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW WHEN (NEW.{column} IS NULL) \
                 EXECUTE FUNCTION {fill_fn}()"
            ),
            format!(
                "CREATE TRIGGER {note} AFTER INSERT OR UPDATE ON {table} FOR EACH ROW WHEN ({}) EXECUTE FUNCTION {note_fn}()",
                self.differs()
            ),
            format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {fill}, ENABLE ALWAYS TRIGGER {note}"),
        ];
        if self.class == FillClass::Constant {
            // The trigger fills as well, and sees who leaves the field out.
            out.push(format!("ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT"));
        }
        out
    }

    /// That a row's value is not the fill's; JSON compares as its text, which is kept.
    fn differs(&self) -> String {
        let (column, fill, ty) = (&self.column, &self.fill_new, &self.ty);
        match self.is_json {
            true => format!("NEW.{column}::text IS DISTINCT FROM ({fill})::{ty}::text"),
            false => format!("NEW.{column} IS DISTINCT FROM {fill}"),
        }
    }

    fn drop_write_default(&self) -> Vec<String> {
        let mut out = vec![
            format!("DROP TRIGGER IF EXISTS {} ON {}", quoted(FILL_TRIGGER), self.table),
            format!("DROP FUNCTION IF EXISTS {}()", self.names.fill_function()),
        ];
        if self.class == FillClass::Constant {
            out.push(format!("ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT", self.table, self.column));
        }
        out
    }

    fn drop_triggers(&self) -> Vec<String> {
        [FILL_TRIGGER, NOTE_TRIGGER]
            .map(|name| format!("DROP TRIGGER IF EXISTS {} ON {}", quoted(name), self.table))
            .to_vec()
    }

    fn drop_functions(&self) -> Vec<String> {
        [self.names.fill_function(), self.names.note_function()]
            .map(|name| format!("DROP FUNCTION IF EXISTS {name}()"))
            .to_vec()
    }
}

/// The name of the check of the declared values: the user's for good, so as one
/// would call it.
fn values_check(table: &str, column: &str) -> String {
    let mut name = format!("{table}_{column}_values");
    if name.len() > NAME_BYTES_MAX {
        let hash = shearwater_core::Key::single(name.as_str()).hash();
        let kept = NAME_BYTES_MAX - 17;
        let kept = (0..=kept).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
        name.truncate(kept);
        name.push_str(&format!("~{hash:016x}"));
    }
    name
}

/// A quoted name as the catalogue holds it.
fn unquote(name: &str) -> String {
    name.trim_matches('"').replace("\"\"", "\"")
}
