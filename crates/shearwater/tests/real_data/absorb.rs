//! Sakila's customers (MariaDB) into Chinook's (PostgreSQL), whose sales
//! representative is what Sakila's do not have: with addresses out of three other
//! tables, renumbered keys, e-mails
//! that both have, names that are too long there, programs that write directly,
//! a rollback in the middle, and the last exit.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::databases::{Database, chinook_postgres, sakila};

const SPEC: &str = include_str!("../../../../examples/customers-absorb.toml");

/// A migration in a place of its own, through the program.
pub struct Absorb<'a> {
    pub place: &'a Path,
    pub source: &'a Database,
    pub target: &'a Database,
}

impl Absorb<'_> {
    pub fn run(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shearwater"));
        command.current_dir(self.place).args(line.split_whitespace());
        command.env("SOURCE", &self.source.url).env("TARGET", &self.target.url).env_remove("SHEARWATER_JOURNAL");
        command.output().unwrap()
    }

    pub fn ok(&self, line: &str) -> serde_json::Value {
        let output = self.run(&format!("{line} --json"));
        assert!(
            output.status.success(),
            "{line}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Writes a file of the place.
    pub fn write(&self, file: &str, text: &str) {
        std::fs::write(self.place.join(file), text).unwrap();
    }
}

impl Absorb<'_> {
    /// What was theirs before, row by row.
    fn theirs(&self) -> [Vec<Vec<Option<String>>>; 2] {
        let customers = "SELECT customer_id, store_id, first_name, last_name, email, address_id, active, \
                         create_date, last_update FROM customer ORDER BY customer_id";
        [self.source.rows(customers), self.target.rows("SELECT c.*::text FROM customer c ORDER BY customer_id")]
    }

    /// Where Sakila's customers live, as its tables say or as Chinook has it.
    fn addresses(&self, up_to: u32) -> [Vec<Vec<Option<String>>>; 2] {
        let source = format!(
            "SELECT customer_id + 10000, address, city, district, country, postal_code, phone FROM customer \
             JOIN address USING (address_id) JOIN city USING (city_id) JOIN country USING (country_id) \
             WHERE customer_id <= {up_to} ORDER BY 1"
        );
        let target = "SELECT customer_id, address, city, state, country, postal_code, phone FROM customer \
                      WHERE customer_id > 10000 ORDER BY 1";
        [self.source.rows(&source), self.target.rows(target)]
    }

    fn in_target(&self) -> usize {
        self.target.one("SELECT count(*) FROM customer WHERE customer_id > 10000").parse().unwrap()
    }
}

#[test]
fn sakilas_customers_into_chinooks() {
    let (source, target) = (sakila(), chinook_postgres());
    source.load("UPDATE customer SET last_name = 'Featherstonehaugh-Cholmondeley', last_update = last_update WHERE customer_id = 7;");
    let mary = source.one("SELECT email FROM customer WHERE customer_id = 1");
    target.load(&format!(
        "INSERT INTO customer (customer_id, first_name, last_name, email) VALUES (9001, 'Own', 'Mary', '{mary}');"
    ));
    let place = tempfile::tempdir().unwrap();
    let spec =
        SPEC.replace("mysql://localhost/sakila", "${SOURCE}").replace("postgres://localhost/chinook", "${TARGET}");
    std::fs::write(place.path().join("sakila.toml"), spec).unwrap();
    let absorb = Absorb { place: place.path(), source: &source, target: &target };
    let before = absorb.theirs();
    assert_eq!((before[0].len(), before[1].len()), (599, 60));

    let plan = absorb.ok("plan sakila.toml");
    assert_eq!((plan["records"].as_u64(), plan["refused"].as_u64()), (Some(599), Some(0)), "{plan}");
    assert_eq!(plan["collisions"].to_string(), r#"[{"field":"email","records":1}]"#);
    absorb.ok("start sakila.toml");
    absorb.ok("advance");

    let lines = |range: std::ops::RangeInclusive<u32>| {
        range.fold("customer_id,support_rep_id,company\n".to_owned(), |mut csv, n| {
            writeln!(csv, "{},{},Sakila {n}", n + 10_000, 3 + n % 3).unwrap();
            csv
        })
    };
    std::fs::write(place.path().join("some.csv"), lines(1..=300)).unwrap();
    let bulk = absorb.ok("bulk sakila --from some.csv");
    assert_eq!((bulk["moved"].as_u64(), bulk["failed"].as_u64()), (Some(300), Some(0)), "{bulk}");
    assert_eq!(absorb.in_target(), 300);
    assert_eq!(target.one("SELECT email FROM customer WHERE customer_id = 10001"), format!("sakila+{mary}"));
    assert_eq!(target.one("SELECT last_name FROM customer WHERE customer_id = 10007"), "Featherstonehaugh-Ch");
    let [expected, found] = absorb.addresses(300);
    assert_eq!(found, expected);
    assert_eq!(absorb.ok("verify")["report"]["mismatches"].as_u64(), Some(0));
    let tables = || ["address", "city", "country"].map(|table| source.rows(&format!("CHECKSUM TABLE {table}")));
    let normalised = tables();

    // Chinook's own programs write what came from Sakila too, and it goes back with that.
    target.load("UPDATE customer SET first_name = 'DIRECT', company = 'By hand', city = 'Elsewhere' WHERE customer_id IN (10005, 10006);");
    absorb.ok("rollback");
    let mut expect = before.clone();
    expect[0][4][2] = Some("DIRECT".to_owned());
    expect[0][5][2] = Some("DIRECT".to_owned());
    assert_eq!(absorb.theirs(), expect, "nothing is lost, and nothing else is changed");
    assert_eq!(tables(), normalised, "other customers may live there too");
    // Customer 6 has moved house since, as far as Sakila knows.
    source.load("UPDATE customer SET address_id = 5, last_update = last_update WHERE customer_id = 6;");

    absorb.ok("advance");
    std::fs::write(place.path().join("all.csv"), lines(1..=599)).unwrap();
    assert_eq!(absorb.ok("bulk sakila --from all.csv")["moved"].as_u64(), Some(599));
    absorb.ok("advance");
    let status = absorb.ok("status");
    assert_eq!(status["counts"].to_string(), r#"{"moved":599,"remaining":0}"#);
    let [mut expected, found] = absorb.addresses(599);
    expected[4][2] = Some("Elsewhere".to_owned());
    assert_eq!(found, expected, "what Chinook wrote came back, unless Sakila says otherwise since");
    absorb.ok("complete");
    assert_eq!(absorb.in_target(), 599);
    assert_eq!(target.one("SELECT first_name FROM customer WHERE customer_id = 10005"), "DIRECT");
    let columns = source.one(
        "SELECT count(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'customer'",
    );
    assert_eq!(columns, "9", "the flag is gone");
    let ours = source.one("SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name LIKE '\\_shearwater%'");
    assert_eq!(ours, "0");
}
