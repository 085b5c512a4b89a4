//! A new required field under clients of both shapes and a program that knows
//! nothing of us: there, all the way back, and there again.

mod clients;
mod direct;
mod documents;
mod http;
mod plan;
mod scene;
mod serving;

use shearwater_testbed::Server;
use tokio::sync::watch;

use self::scene::Scene;
use crate::dice::seed;

/// The records that everybody writes, each one another column of them.
const SHARED: i64 = 40;

/// What a record without the field gets; whether it is active follows from its key.
fn fill(key: i64) -> &'static str {
    if key % 2 == 0 { "ACTIVE" } else { "INACTIVE" }
}

/// What may be refused at this time, and whether the traffic is to end.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// There is no column, or it is coming or going: v2 cannot send the field.
    planned: bool,
    /// Nothing fills the field for others: v1 and direct writers cannot create records.
    contracted: bool,
    stop: bool,
}

/// From planned to contract, with traffic in each phase.
async fn all_the_way(scene: &Scene<'_>, rules: &watch::Sender<Rules>) {
    scene.go(&["start", "status.toml"], "expand");
    rules.send_modify(|rules| rules.planned = false);
    scene.traffic().await;
    scene.go(&["advance"], "backfill");
    scene.traffic().await;
    scene.verify();
    scene.go(&["advance"], "enforce");
    assert!(scene.is_not_null());
    scene.traffic().await;
    rules.send_modify(|rules| rules.contracted = true);
    scene.go(&["advance"], "contract");
    scene.traffic().await;
}

async fn required_under_traffic(server: &Server) {
    let seed = seed();
    let (rules, told) = watch::channel(Rules { planned: true, contracted: false, stop: false });
    let mut scene = Scene::open(server);
    let before = scene.schema();
    scene.begin(seed, &told);
    scene.traffic().await;

    all_the_way(&scene, &rules).await;
    scene.go(&["rollback"], "expand");
    rules.send_modify(|rules| rules.contracted = false);
    scene.traffic().await;
    rules.send_modify(|rules| rules.planned = true);
    scene.go(&["rollback"], "planned");
    scene.traffic().await;
    assert_eq!(scene.schema(), before, "the rollback left something, or took something away");

    all_the_way(&scene, &rules).await;
    scene.go(&["complete"], "complete");
    scene.traffic().await;
    rules.send_modify(|rules| rules.stop = true);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_under_clients_of_both_shapes_and_a_direct_writer() {
    required_under_traffic(shearwater_testbed::postgres()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_under_clients_of_both_shapes_and_a_direct_writer() {
    required_under_traffic(shearwater_testbed::mariadb()).await;
}
