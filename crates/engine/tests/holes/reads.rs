//! H6, H7, H11: what a reader must not see.

use shearwater_core::lifecycle::Phase;
use shearwater_core::path::Path;
use shearwater_core::query::{CompareOp, Filter, Literal};
use shearwater_core::store::Side;
use shearwater_engine::records::{Protection as Switch, Shape};

use crate::stage::bent::Bend;
use crate::stage::{Stage, by};
use crate::{Protection, Seen, check, options};

const ONE: &str = r#"{"_id": "k", "name": "1"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn h6_a_client_does_not_read_its_own_write() {
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::ReadRamp, &[ONE]).await;
        let server = stage.serve(protection.options(Switch::DirtyKeysFromAuthority)).await;
        stage.target.bend(Bend::ApplyFails);
        server.patch(Shape::V1, "k", r#"{"name": "2"}"#).await.unwrap();
        Seen::sound_if(server.name(Shape::V1, "k").await.as_deref() == Some("2"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h7_reads_go_backwards() {
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::ReadRamp, &[ONE]).await;
        let server = stage.serve(protection.options(Switch::RampByKey)).await;
        stage.target.bend(Bend::ApplyFails);
        server.patch(Shape::V1, "k", r#"{"name": "2"}"#).await.unwrap();
        let mut read = Vec::new();
        for _ in 0..4 {
            read.push(server.name(Shape::V1, "k").await.unwrap());
        }
        Seen::sound_if(read.is_sorted())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn h11_the_two_stores_order_text_differently() {
    // Ties, nulls, missing values, case, and letters beyond ASCII, in pages
    // that go on in the other store.
    let names = ["null", "\"a\"", "\"A\"", "\"é\"", "\"Z\"", "\"a\"", "\"z\"", "\"\"", "null", "\"a\"", "\"ß\""];
    let mut records: Vec<String> =
        names.iter().enumerate().map(|(n, name)| format!(r#"{{"_id": "k{n:02}", "name": {name}}}"#)).collect();
    records.push(r#"{"_id": "missing"}"#.to_owned());
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    check(async |protection: Protection| {
        let stage = Stage::at(Phase::DualWrite, &records).await;
        let server = stage.serve(options()).await;
        let mut ask = by(Shape::V1, "name", 1_000);
        let whole = server.walk(ask.clone()).await;
        assert_eq!(whole.len(), records.len());
        ask.limit = 2;
        let mut walked = Vec::new();
        loop {
            let page = server.list(ask.clone()).await;
            walked.extend(page.records.iter().map(|got| got.key.to_text()));
            if walked.len() == 4 {
                stage.go(Phase::ReadRamp).await;
                stage.switch(Side::Source).await;
                server.sync().await;
            }
            let Some(next) = page.next else { break };
            match (protection, next.values[0].clone()) {
                (Protection::On, _) => ask.after = Some(next),
                // The naive cursor: after the last value.
                (Protection::Off, last) => {
                    let (path, op, literal) = (Path::field("name"), CompareOp::Gt, Literal::Typed(last));
                    ask.filter = Filter::Compare { path, op, literal };
                }
            }
        }
        Seen::sound_if(walked == whole)
    })
    .await;
}
