//! The triggers that capture every write, whoever makes it.
//!
//! They run with the privileges of who installs them, so that a writer needs
//! none on the sidecar. They are silent in our own transactions, which set
//! `@_shearwater_applying` to a number that only the sidecar knows.
//!
//! A stamp's counter is `UUID_SHORT()` without the server's number: it rises
//! with every call, over restarts too, and no writer waits for another one's
//! commit to get it. It is taken when the key's mark is locked, so that the
//! stamps of one key rise as its commits do; should the server's clock ever
//! have gone back, the key's last counter plus one is taken.

use super::error::CLOSED_ERRNO;
use super::names::{literal, own_name, quoted};
use super::native::Column;
use super::tables::{Tables, mark_key_list};

/// The part of `UUID_SHORT()` that is not the server's number.
pub(super) const COUNTER: &str = "(UUID_SHORT() & 0x00ffffffffffffff)";

/// The roles as numbers, in the order of [`shearwater_core::store::Role`].
pub(super) const AUTHORITY: u64 = 1;
/// Takes puts, notes foreign writes.
pub(super) const FOLLOWER: u64 = 2;
/// Refuses every write but puts.
pub(super) const CLOSED: u64 = 3;

/// What becomes of parked fields when a key is marked.
#[derive(Clone, Copy)]
enum Parked {
    /// They stay: who wrote the record does not know them (H13, H20).
    Stay,
    /// They go with the record.
    Drop,
    /// They come along from the record's old key.
    MoveHere,
}

/// The names of a layout's triggers, by root and child tables.
pub(super) fn trigger_names<'t>(tables: impl Iterator<Item = &'t str>) -> Vec<String> {
    tables.flat_map(|table| ["insert", "update", "delete"].map(|event| own_name(table, event))).collect()
}

/// The statements that make every trigger of a layout, for a sidecar with this token.
pub(super) fn triggers(tables: &Tables, token: u64) -> Vec<String> {
    let root = Capture { tables, table: &tables.name, key: &tables.key, deleted: Parked::Drop, token };
    let children = tables.children.iter().map(|child| Capture {
        tables,
        table: &child.child.shape.table,
        key: &child.record_key,
        deleted: Parked::Stay,
        token,
    });
    std::iter::once(root)
        .chain(children)
        .flat_map(|capture| [capture.insert(), capture.update(), capture.delete()])
        .collect()
}

struct Capture<'a> {
    tables: &'a Tables,
    table: &'a str,
    key: &'a [Column],
    deleted: Parked,
    token: u64,
}

impl Capture<'_> {
    fn insert(&self) -> String {
        self.trigger("insert", &self.mark("NEW.", Parked::Stay))
    }

    fn update(&self) -> String {
        let moved: Vec<String> =
            self.key.iter().map(|k| format!("NOT ({} <=> {})", k.exact("OLD."), k.exact("NEW."))).collect();
        let here = match self.deleted {
            Parked::Drop => Parked::MoveHere,
            other => other,
        };
        let body = format!(
            "IF {} THEN {}{} ELSE {} END IF; ",
            moved.join(" OR "),
            self.mark("NEW.", here),
            self.mark("OLD.", self.deleted),
            self.mark("NEW.", Parked::Stay),
        );
        self.trigger("update", &body)
    }

    fn delete(&self) -> String {
        self.trigger("delete", &self.mark("OLD.", self.deleted))
    }

    fn trigger(&self, event: &str, body: &str) -> String {
        let name = own_name(self.table, event);
        let message = format!("shearwater: table {} is closed for writes: its records moved", self.tables.name);
        format!(
            "CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW sw: BEGIN \
             DECLARE sw_role TINYINT; DECLARE sw_epoch BIGINT UNSIGNED; DECLARE sw_parked LONGTEXT; \
             IF @_shearwater_applying <=> {token} THEN LEAVE sw; END IF; \
             SELECT role, epoch INTO sw_role, sw_epoch FROM {state} WHERE one = 1 LOCK IN SHARE MODE; \
             IF sw_role = {CLOSED} THEN \
             SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {CLOSED_ERRNO}, MESSAGE_TEXT = {message}; END IF; \
             {body}END",
            name = quoted(&name),
            event = event.to_uppercase(),
            table = quoted(self.table),
            token = self.token,
            state = self.tables.own.state,
            message = literal(&message),
        )
    }

    /// Stamps and dirty-marks the key of `row` (`NEW.` or `OLD.`) as authority,
    /// notes it as foreign as follower. A key with a NULL is no record's.
    fn mark(&self, row: &str, parked: Parked) -> String {
        let (marks, foreign) = (&self.tables.own.marks, &self.tables.own.foreign);
        let cells: Vec<String> = self.key.iter().map(|k| k.exact(row)).collect();
        let keys = mark_key_list(cells.len());
        let is_key: Vec<String> = self.key.iter().map(|k| format!("{row}{} IS NOT NULL", quoted(&k.name))).collect();
        let (is_key, cells) = (is_key.join(" AND "), cells.join(", "));
        let (before, value, update) = match parked {
            Parked::Stay => (String::new(), "NULL", ""),
            Parked::Drop => (String::new(), "NULL", ", parked = NULL"),
            Parked::MoveHere => {
                let old: Vec<String> =
                    self.key.iter().enumerate().map(|(at, k)| format!("k{at} = {}", k.exact("OLD."))).collect();
                let select =
                    format!("SET sw_parked = (SELECT parked FROM {marks} WHERE {} FOR UPDATE); ", old.join(" AND "));
                (select, "sw_parked", ", parked = sw_parked")
            }
        };
        format!(
            "IF sw_role = {AUTHORITY} AND {is_key} THEN {before}\
             INSERT INTO {marks} ({keys}, epoch, counter, dirty, parked) \
             VALUES ({cells}, sw_epoch, {COUNTER}, 1, {value}) \
             ON DUPLICATE KEY UPDATE counter = GREATEST(IF(epoch = sw_epoch, counter + 1, 0), {COUNTER}), \
             epoch = sw_epoch, dirty = 1{update}; \
             ELSEIF sw_role = {FOLLOWER} AND {is_key} THEN \
             INSERT INTO {foreign} ({keys}) VALUES ({cells}) ON DUPLICATE KEY UPDATE k0 = {foreign}.k0; END IF; "
        )
    }
}
