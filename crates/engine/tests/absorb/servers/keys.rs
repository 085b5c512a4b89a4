//! Assigned keys and merges between real servers: there, back to the record as
//! both stores had it, again, and to the end; and movers that ask for the next
//! key at the same time.

use std::collections::BTreeSet;

use shearwater_core::Key;
use shearwater_core::journal::Command;
use shearwater_core::lifecycle::absorb::Phase;
use shearwater_engine::absorb::bulk::Moved;
use shearwater_engine::records::Shape;

use super::{Bob, CODES, NEXT, Servers, bobs, move_all};
use crate::scene::planned;

async fn there_back_and_to_the_end(servers: &Servers) {
    let process = servers.world.in_phase(Phase::Prepare).await;
    let before = (bobs(&process).await, servers.alices());
    process.forward_to(Phase::Lazy).await;
    let keys = process.all(Shape::V2).await.into_keys().collect::<BTreeSet<_>>();
    assert_eq!((keys.len(), process.all(Shape::V1).await.len()), (CODES.len(), CODES.len()));
    assert_eq!(move_all(&process, false, &CODES).await, vec![Moved::Yes; CODES.len()]);
    assert_eq!(process.all(Shape::V2).await.into_keys().collect::<BTreeSet<_>>(), keys);
    let alfki = Key::single("ALFKI");
    process.patch(Shape::V1, &alfki, &[("fax", "031".into())]).await;
    servers.sql("UPDATE customer SET name = 'Directly' WHERE email = 'BERGS@bob.example'");
    assert_eq!(process.field(Shape::V1, &Key::single("BERGS"), "name").await, "Directly".into());
    process.reconciled().await;
    assert_eq!(process.done(Command::Verify).await["mismatches"].as_u64(), Some(0));
    process.back().await;
    let expect: Vec<String> =
        before.0.iter().map(|row| row.replace("\"030\"", "\"031\"").replace("Name BERGS", "Directly")).collect();
    assert_eq!((bobs(&process).await, servers.alices()), (expect, before.1));
    // And again, under the same keys, to the end.
    process.forward_to(Phase::Drain).await;
    assert_eq!(process.all(Shape::V2).await.into_keys().collect::<BTreeSet<_>>(), keys);
    assert_eq!(move_all(&process, true, &CODES).await, vec![Moved::Yes; CODES.len()]);
    process.done(Command::Complete).await;
    process.until("complete", |state| state.phase == Phase::Complete).await;
    assert_eq!(servers.left(), Vec::<String>::new());
    process.stop().await;
}

#[tokio::test]
async fn keys_are_assigned_between_servers() {
    for bob in Bob::BOTH {
        let servers = Servers::numbered(bob, "").await;
        there_back_and_to_the_end(&servers).await;
        let ids: Vec<String> = servers.alices().iter().map(|row| row.split('|').next().unwrap().to_owned()).collect();
        assert_eq!(ids, ["7", "8", "9", "10", "11", "12"], "{bob:?}");
        let uuid5 = "[identity]\nassign = \"uuid5\"\nnamespace = \"6ba7b811-9dad-11d1-80b4-00c04fd430c8\"";
        let servers = Servers::new(bob, "{ target_only = true, type = \"uuid\" }", "uuid", uuid5).await;
        there_back_and_to_the_end(&servers).await;
    }
}

#[tokio::test]
async fn movers_ask_for_the_next_key_at_the_same_time() {
    for bob in Bob::BOTH {
        let servers = Servers::new(bob, "{ target_only = true, type = \"int\" }", "bigint", NEXT).await;
        let one = servers.world.in_phase(Phase::Lazy).await;
        let two = servers.world.process("q").await;
        let codes: Vec<String> = (0..24).map(|n| format!("N{n:02}")).collect();
        let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
        let epoch = one.state().await.epoch;
        servers.add(one.setup.plain.as_ref(), Some(epoch), &codes).await;
        let (mine, theirs) = tokio::join!(move_all(&one, false, &codes), move_all(&two, true, &codes));
        for moved in mine.iter().chain(&theirs) {
            assert!(matches!(moved, Moved::Yes | Moved::Already), "{bob:?}: {moved:?}");
        }
        one.reconciled().await;
        let rows = servers.alices();
        let names: BTreeSet<&str> = rows.iter().map(|row| row.split('|').nth(1).unwrap()).collect();
        assert_eq!((rows.len(), names.len()), (codes.len(), codes.len()), "{bob:?}: each landed once: {rows:?}");
        // And whoever only assigns assigns the same.
        let keys = |from: usize| -> Vec<Key> { (from..from + 20).map(|n| Key::single(format!("K{n}"))).collect() };
        let [first, second] = [&one, &two].map(|process| process.setup.crosswalk.clone().unwrap());
        let (mine, theirs) = (keys(0), keys(10));
        let (first, second) = tokio::join!(first.assign(&mine), second.assign(&theirs));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first[10..], second[..10], "{bob:?}");
        assert_eq!(first.iter().chain(&second).collect::<BTreeSet<_>>().len(), 30, "{bob:?}");
        two.stop().await;
        one.stop().await;
    }
}

#[tokio::test]
async fn records_with_one_key_are_merged_between_servers() {
    for bob in Bob::BOTH {
        let id = format!("{{ from = \"{}\", type = \"text\" }}", bob.key("code"));
        let merge = "[conflicts]\nid = { merge = { name = \"source\", email = \"target\" } }";
        let servers = Servers::new(bob, &id, "text COLLATE \"C\"", merge).await;
        servers.sql(
            "INSERT INTO customer VALUES ('CHOPS', 'Hers', 'hers@alice.example', 1), ('Øst', 'Hers too', NULL, 2)",
        );
        let process = servers.world.in_phase(Phase::Lazy).await;
        move_all(&process, false, &["CHOPS", "Øst"]).await;
        assert!(
            servers.alices().contains(&"CHOPS|Name CHOPS|hers@alice.example|1".to_owned()),
            "{:?}",
            servers.alices()
        );
        assert!(servers.alices().contains(&"Øst|Name Øst|2".to_owned()), "{:?}", servers.alices());
        process.reconciled().await;
        process.back().await;
        process.done(Command::Rollback).await;
        planned(&process).await;
        assert_eq!(servers.alices(), ["CHOPS|Hers|hers@alice.example|1", "Øst|Hers too|2"]);
        process.stop().await;
        // There, back and to the end where nothing else is Alice's.
        servers.sql("DELETE FROM customer WHERE id <> 'CHOPS'");
        let process = servers.world.in_phase(Phase::Lazy).await;
        let before = bobs(&process).await;
        assert_eq!(move_all(&process, false, &CODES).await, vec![Moved::Yes; CODES.len()]);
        process.back().await;
        assert_eq!(
            (bobs(&process).await, servers.alices()),
            (before, vec!["CHOPS|Hers|hers@alice.example|1".to_owned()])
        );
        process.stop().await;
    }
}

#[tokio::test]
async fn records_with_one_email_are_merged_between_servers() {
    for bob in Bob::BOTH {
        let servers = Servers::numbered(bob, "[conflicts]\nemail = { merge = { name = \"source\" } }").await;
        servers.sql("INSERT INTO customer VALUES (3, 'Hers', 'CHOPS@bob.example', 1)");
        there_back_and_to_the_end(&servers).await;
        let expect = ["3|Name CHOPS|CHOPS@bob.example|1", "7|Own|own@alice.example|1", "8|Name 12|12@bob.example|3"];
        assert_eq!(servers.alices()[..3], expect, "{bob:?}");
    }
}
