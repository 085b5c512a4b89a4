//! Northwind's customers, whose keys are five letters, into Chinook's, whose
//! keys are numbers: assigned once and kept through a rollback and the next
//! move; with values that Chinook has already, texts that are too long for it,
//! and records that it refuses only when they come.

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
