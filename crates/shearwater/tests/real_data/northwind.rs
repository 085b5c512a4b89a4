//! Northwind's customers, whose keys are five letters, into Chinook's, whose
//! keys are numbers: assigned once and kept through a rollback and the next
//! move; with values that Chinook has already, texts that are too long for it,
//! and records that it refuses only when they come. And their orders, which name
//! them by either key.

use std::fmt::Write as _;

use crate::absorb::Absorb;
use crate::databases::{chinook_postgres, northwind};

const SPEC: &str = r#"
migration = "northwind"
kind = "absorb"
entity = "customers"
[source]
url = "${SOURCE}"
table = "customers"
key = "customer_id"
[source.columns]
customer_id = "text"
company_name = "text"
contact_name = "text"
contact_title = "text"
address = "text"
city = "text"
region = "text"
postal_code = "text"
country = "text"
phone = "text"
fax = "text"
[target]
url = "${TARGET}"
table = "customer"
key = "customer_id"
[fields]
customer_id = { target_only = true, type = "int" }
first_name = { sql = '''split_part(contact_name, ' ', 1)''', type = "text", chars_max = 40, back = { contact_name = '''first_name || ' ' || last_name''' } }
last_name = { sql = '''substring(contact_name from position(' ' in contact_name) + 1)''', type = "text", chars_max = 20, derived = true }
company = { from = "company_name", type = "text", chars_max = 80 }
address = { from = "address", type = "text", chars_max = 70 }
city = { from = "city", type = "text", chars_max = 40 }
state = { from = "region", type = "text", chars_max = 40 }
country = { from = "country", type = "text", chars_max = 40 }
postal_code = { from = "postal_code", type = "text", chars_max = 10 }
phone = { from = "phone", type = "text", chars_max = 24 }
fax = { from = "fax", type = "text" }
[require]
support_rep_id = { type = "int" }
email = { type = "text", unique = true }
[conflicts]
phone = "keep-target"
[identity]
assign = "next"
"#;

type Rows = Vec<Vec<Option<String>>>;

const NORTHWINDS: &str = "SELECT customer_id, company_name, contact_name, contact_title, address, city, region, \
                          postal_code, country, phone, fax FROM customers ORDER BY customer_id";

/// The letters of Northwind's customers, in their order.
fn letters(theirs: &Rows) -> Vec<String> {
    theirs.iter().map(|row| row[0].clone().unwrap()).collect()
}

/// One line for each customer: who looks after it, and the e-mail that Chinook wants.
fn lines(of: &[String]) -> String {
    of.iter().zip(0..).fold("customer_id,support_rep_id,email\n".to_owned(), |mut csv, (letters, n)| {
        writeln!(csv, "{letters},{},{}@northwind.example", 3 + n % 3, letters.to_lowercase()).unwrap();
        csv
    })
}

fn text(value: Option<&serde_json::Value>) -> &str {
    value.and_then(serde_json::Value::as_str).unwrap()
}

#[test]
fn northwinds_customers_into_chinooks() {
    let (source, target) = (northwind(), chinook_postgres());
    // Chinook has room for 20 characters of a last name, and for 24 of a fax number, of which the spec says nothing.
    source.load(
        "UPDATE customers SET contact_name = 'Zoe Featherstonehaugh-Smythe' WHERE customer_id = 'WOLZA'; \
         ALTER TABLE customers ALTER COLUMN fax TYPE varchar(60); \
         UPDATE customers SET fax = repeat('9', 30) WHERE customer_id = 'ALFKI';",
    );
    let phone = source.one("SELECT phone FROM customers WHERE customer_id = 'BERGS'");
    target.load(&format!("UPDATE customer SET phone = '{phone}' WHERE customer_id = 1;"));
    let place = tempfile::tempdir().unwrap();
    let absorb = Absorb { place: place.path(), source: &source, target: &target };
    absorb.write("northwind.toml", SPEC);
    let chinooks = || target.rows("SELECT c.*::text FROM customer c ORDER BY customer_id");
    let before = (source.rows(NORTHWINDS), chinooks());
    assert_eq!((before.0.len(), before.1.len()), (91, 59));
    let all = letters(&before.0);

    let plan = absorb.ok("plan northwind.toml");
    assert_eq!((plan["records"].as_u64(), plan["refused"].as_u64()), (Some(91), Some(1)), "{plan}");
    assert_eq!(plan["collisions"].to_string(), r#"[{"field":"phone","records":1}]"#);
    let listed = r#"[{"key":"WOLZA","field":"last_name (mapping/unfit)","becomes":"refuse"},{"key":"BERGS","field":"phone","becomes":"keep-target"}]"#;
    assert_eq!(plan["listed"].to_string(), listed);
    absorb.ok("start northwind.toml");
    let pairs = |letters: &str| {
        let table =
            target.one("SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'shearwater_keys_%'");
        target.one(&format!("SELECT target_key FROM {table} WHERE source_key = '{letters}'"))
    };
    assert_eq!((pairs("ALFKI"), pairs("WOLZA")), ("60".to_owned(), "150".to_owned()), "above Chinook's 59");
    absorb.ok("advance");

    // One has an e-mail of Chinook's own, one comes with a fax number that is too long, one cannot be shown in v2.
    let mut some: Vec<String> = all[..40].to_vec();
    some.push("WOLZA".to_owned());
    absorb.write("some.csv", &lines(&some).replace("anton@northwind.example", "luisg@embraer.com.br"));
    let output = absorb.run("bulk northwind --by v1 --from some.csv --json");
    let bulk: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((bulk["moved"].as_u64(), bulk["failed"].as_u64()), (Some(38), Some(3)), "{bulk}");
    let kept = std::fs::read_to_string(place.path().join("some.csv.errors.jsonl")).unwrap();
    let whys: Vec<&str> = kept.lines().collect();
    let named = ["dead-letters", "email", "last_name"];
    assert!(whys.len() == 3 && whys.iter().zip(named).all(|(why, name)| why.contains(name)), "{kept}");
    let dead = absorb.ok("dead-letters");
    let letters: Vec<&str> = dead["dead_letters"].as_array().unwrap().iter().map(|one| text(one.get("key"))).collect();
    assert_eq!(letters, ["ALFKI", "WOLZA"], "{dead}");
    assert!(!dead.to_string().contains("99999"), "values stay out of reasons: {dead}");
    assert_eq!(chinooks().len(), 59 + 38);
    assert_eq!(target.one("SELECT coalesce(phone, '-') FROM customer WHERE customer_id = 64"), "-", "BERGS");
    assert_eq!(
        target.one("SELECT first_name || '/' || last_name FROM customer WHERE customer_id = 81"),
        "Diego/Roel",
        "FISSA"
    );
    let verified: serde_json::Value = serde_json::from_slice(&absorb.run("verify --json").stdout).unwrap();
    let counts = ["compared", "different", "refused"].map(|name| verified["report"][name].as_u64());
    assert_eq!(counts, [Some(91), Some(0), Some(1)], "WOLZA cannot be shown in v2: {verified}");

    // Chinook's programs write what came from Northwind too, and it goes back with that.
    target.load("UPDATE customer SET last_name = 'Berg', company = 'By hand' WHERE customer_id = 64;");
    absorb.ok("rollback");
    let mut expect = before.clone();
    let bergs = all.iter().position(|letters| letters == "BERGS").unwrap();
    expect.0[bergs][1] = Some("By hand".to_owned());
    expect.0[bergs][2] = Some("Christina Berg".to_owned());
    assert_eq!((source.rows(NORTHWINDS), chinooks()), expect, "nothing is lost, and nothing else is changed");

    // Mended where it was wrong: the rest goes, under the numbers of the first time.
    source.load(
        "UPDATE customers SET contact_name = 'Zoe Smythe' WHERE customer_id = 'WOLZA'; \
         UPDATE customers SET fax = '030-0076545' WHERE customer_id = 'ALFKI';",
    );
    absorb.ok("advance");
    absorb.write("all.csv", &lines(&all));
    assert_eq!(absorb.ok("bulk northwind --by v1 --from all.csv")["moved"].as_u64(), Some(91));
    assert_eq!(absorb.ok("dead-letters retry")["left"].as_u64(), Some(0));
    absorb.ok("advance");
    assert_eq!(absorb.ok("status")["counts"].to_string(), r#"{"moved":91,"remaining":0}"#);
    assert_eq!(absorb.ok("verify")["report"]["mismatches"].as_u64(), Some(0));
    absorb.ok("complete");
    let moved = target.rows("SELECT customer_id, email FROM customer WHERE customer_id > 59 ORDER BY customer_id");
    let emails = (60..)
        .zip(&all)
        .map(|(n, letters)| vec![Some(n.to_string()), Some(format!("{}@northwind.example", letters.to_lowercase()))]);
    assert_eq!(moved, emails.collect::<Rows>());
    for (database, columns) in [(&source, 11), (&target, 13)] {
        let tables = "FROM information_schema.columns WHERE table_schema NOT IN ('pg_catalog', 'information_schema')";
        let ours = format!("SELECT count(*) {tables} AND (table_name LIKE '%shearwater%' OR column_name = 'migrated')");
        assert_eq!(database.one(&ours), "0", "what is ours is gone");
        let theirs = format!("SELECT count(*) {tables} AND table_name IN ('customers', 'customer')");
        assert_eq!(database.one(&theirs), columns.to_string());
    }
}

/// Northwind's orders of the first three months, each with what it came to.
const ORDERS: &str = "DELETE FROM order_details WHERE order_id > 10320; DELETE FROM orders WHERE order_id > 10320;";

#[test]
fn northwinds_orders_follow_their_customers() {
    let (source, target) = (northwind(), chinook_postgres());
    // One order names nobody, which Chinook does not allow.
    source.load(&format!("{ORDERS} UPDATE orders SET customer_id = NULL WHERE order_id = 10300;"));
    let place = tempfile::tempdir().unwrap();
    let absorb = Absorb { place: place.path(), source: &source, target: &target };
    let spec = include_str!("../../../../examples/orders-absorb.toml");
    let spec = spec.replace("postgres://localhost/northwind", "${SOURCE}");
    absorb.write("orders.toml", &spec.replace("postgres://localhost/chinook", "${TARGET}"));
    absorb.write("northwind.toml", &format!("{SPEC}keep = true\n"));
    let orders = || {
        source.rows("SELECT o.*::text FROM (SELECT order_id, customer_id, employee_id, order_date, required_date, \
        shipped_date, ship_via, freight, ship_name, ship_address, ship_city, ship_region, ship_postal_code, ship_country \
        FROM orders) o ORDER BY order_id")
    };
    let invoices = || target.rows("SELECT i.*::text FROM invoice i ORDER BY invoice_id");
    let chinooks = || target.rows("SELECT c.*::text FROM customer c ORDER BY customer_id");
    let (before, customers) = ((orders(), invoices()), (source.rows(NORTHWINDS), chinooks()));
    let early = absorb.run("plan orders.toml");
    let told = String::from_utf8_lossy(&early.stderr);
    assert!(told.contains("no keys of migration \"northwind\"") && told.contains("prepare that"), "{told}");

    absorb.ok("start northwind.toml");
    absorb.ok("advance --migration northwind");
    let plan = absorb.ok("plan orders.toml");
    assert_eq!((plan["records"].as_u64(), plan["refused"].as_u64()), (Some(73), Some(1)), "{plan}");
    assert_eq!(plan["listed"][0]["field"], "customer_id (mapping/required)");
    absorb.ok("start orders.toml");
    absorb.ok("advance --migration northwind-orders");
    let all = letters(&source.rows(NORTHWINDS));
    let totals = source.rows(
        "SELECT o.order_id, coalesce(round(sum(unit_price * quantity * (1 - discount))::numeric, 2), 0) \
         FROM orders o LEFT JOIN order_details d USING (order_id) GROUP BY 1 ORDER BY 1",
    );
    let lines = totals.iter().fold("order_id,total\n".to_owned(), |mut csv, row| {
        writeln!(csv, "{},{}", row[0].as_ref().unwrap(), row[1].as_ref().unwrap()).unwrap();
        csv
    });
    absorb.write("orders.csv", &lines);
    let bulk = |file: &str, migration: &str| -> serde_json::Value {
        let output = absorb.run(&format!("bulk {migration} --by v1 --from {file} --json"));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let counts = |done: &serde_json::Value| ["moved", "already", "failed"].map(|name| done[name].as_u64().unwrap());

    // Half of the customers, and the orders that name them; then the rest.
    absorb.write("half.csv", &self::lines(&all[..45]));
    assert_eq!(counts(&bulk("half.csv", "northwind")), [45, 0, 0]);
    let theirs = format!("SELECT count(*) FROM orders WHERE customer_id <= '{}'", all[44]);
    let theirs: u64 = source.one(&theirs).parse().unwrap();
    assert_eq!(counts(&bulk("orders.csv", "northwind-orders")), [theirs, 0, 73 - theirs]);
    let kept = std::fs::read_to_string(place.path().join("orders.csv.errors.jsonl")).unwrap();
    assert_eq!(kept.matches("move it first").count() as u64, 72 - theirs, "{kept}");
    assert_eq!(absorb.ok("dead-letters --migration northwind-orders")["dead_letters"][0]["key"], "10300");
    absorb.write("all.csv", &self::lines(&all));
    assert_eq!(counts(&bulk("all.csv", "northwind")), [46, 45, 0]);
    assert_eq!(counts(&bulk("orders.csv", "northwind-orders")), [72 - theirs, theirs, 1]);

    // Each invoice names the customer that its order named.
    let named = "SELECT i.invoice_id, upper(split_part(c.email, '@', 1)) FROM invoice i JOIN customer c USING (customer_id) \
                 WHERE i.invoice_id > 10000 ORDER BY 1";
    let of_orders = "SELECT order_id, customer_id FROM orders WHERE customer_id IS NOT NULL ORDER BY 1";
    assert_eq!(target.rows(named), source.rows(of_orders));

    // Chinook gives an invoice to another of Northwind's: that goes back too, in letters.
    target.load("UPDATE invoice SET customer_id = 61 WHERE invoice_id = 10248;");
    // Chinook's invoices hold their customers back: those go first, then the customers by themselves.
    let held = absorb.run("rollback --migration northwind --json");
    assert!(String::from_utf8_lossy(&held.stderr).contains("absorb/held"), "{held:?}");
    absorb.ok("rollback --migration northwind-orders");
    let expect = before.0.iter().map(|row| {
        let text = row[0].as_ref().map(|text| text.replace("(10248,VINET,", "(10248,ANATR,"));
        vec![text]
    });
    assert_eq!((orders(), invoices()), (expect.collect::<Rows>(), before.1.clone()), "nothing is lost or changed");
    assert_eq!(absorb.ok("verify --migration northwind")["phase"], "prepare");
    assert_eq!((source.rows(NORTHWINDS), chinooks()), customers);

    // Again, and to the end, the customers first.
    source.load("UPDATE orders SET customer_id = 'VINET' WHERE order_id IN (10248, 10300);");
    absorb.ok("advance --migration northwind");
    assert_eq!(counts(&bulk("all.csv", "northwind")), [91, 0, 0]);
    absorb.ok("advance --migration northwind-orders");
    assert_eq!(counts(&bulk("orders.csv", "northwind-orders")), [73, 0, 0]);
    for migration in ["northwind", "northwind-orders"] {
        absorb.ok(&format!("dead-letters retry --migration {migration}"));
    }
    for migration in ["northwind", "northwind-orders"] {
        absorb.ok(&format!("advance --migration {migration}"));
        let verified = absorb.ok(&format!("verify --migration {migration}"));
        assert_eq!(verified["report"]["mismatches"].as_u64(), Some(0), "{verified}");
        absorb.ok(&format!("complete --migration {migration}"));
    }
    assert_eq!(target.rows(named), source.rows(of_orders));
    assert_eq!(invoices().len(), before.1.len() + 73);
}
