//! Our own writers where they could pass the fence, or each other.

use shearwater_core::Stamp;
use shearwater_core::error::StoreErrorKind;
use shearwater_core::store::{Applied, Put, Role, Written};

use crate::place::{TABLE, accounts, change, direct, fence, key, made, open, put, until, waiting, write};

const WAITS: &str = "wait_event = 'advisory'";

/// A write that is admitted and not yet committed holds the fence up: what it
/// writes afterwards would be missing in the other store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fence_waits_for_our_own_writer() {
    let url = shearwater_testbed::postgres().database("own_writer");
    let store = made(&url, Role::Authority).await;
    let (holder, watcher) = (direct(&url).await, direct(&url).await);
    store.write(write(vec![change(1, 1, "a")], "first")).await.unwrap();
    // A lock that fires no trigger, so that it holds up the write alone.
    holder.batch_execute("BEGIN; SELECT 1 FROM accounts WHERE id = 1 FOR UPDATE").await.unwrap();
    let writer = tokio::spawn({
        let store = store.clone();
        async move { store.write(write(vec![change(1, 2, "a")], "second")).await }
    });
    waiting(&watcher, "wait_event_type = 'Lock'").await;
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.set_fence(fence(Role::Authority, 1), fence(Role::Closed, 2)).await }
    });
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'shearwater' \
                 AND datname = current_database() AND wait_event = 'advisory'";
    while !closing.is_finished() && !watcher.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) {
        tokio::task::yield_now().await;
    }
    let was_closed = closing.is_finished();
    holder.batch_execute("COMMIT").await.unwrap();
    assert!(matches!(writer.await.unwrap(), Ok(Written::Applied(_))));
    match closing.await.unwrap() {
        Ok(now) => assert_eq!((was_closed, now), (false, fence(Role::Closed, 2)), "closed before the write was in"),
        // Its patience is bounded: a busy machine may exhaust it.
        Err(error) => assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}"),
    }
    assert_eq!(store.dirty_count().await.unwrap(), 1);
    assert_eq!(store.fetch(&key(1)).await.unwrap().image.unwrap().record.get("n"), Some(&2_i64.into()));
}

/// A deletion of a record that is not there has no row to wait for: if it ran
/// beside an older put of the same key, that one's row would stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_does_not_pass_an_older_put_on_its_way() {
    a_deletion_waits_for(Stamp::new(1, 3)).await;
}

/// What was never written while it was captured is copied without a mark, which
/// a deletion could wait for neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_does_not_pass_a_copy_on_its_way() {
    a_deletion_waits_for(Stamp::ZERO).await;
}

async fn a_deletion_waits_for(older: Stamp) {
    const GATE: i64 = 4712;
    let url = shearwater_testbed::postgres().database("deletion");
    let client = direct(&url).await;
    let gate = format!(
        "{TABLE}; CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NEW; END $$;
         CREATE TRIGGER gate BEFORE INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION gate();
         ALTER TABLE accounts ENABLE ALWAYS TRIGGER gate;"
    );
    client.batch_execute(&gate).await.unwrap();
    let store = open(&url, accounts()).await;
    store.install(fence(Role::Follower, 1)).await.unwrap();
    client.execute("SELECT pg_advisory_lock($1)", &[&GATE]).await.unwrap();
    let putting = tokio::spawn({
        let store = store.clone();
        async move { store.apply(1, vec![Put { stamp: older, ..put(1, 1, "a") }], None).await }
    });
    waiting(&client, WAITS).await;
    let deleting = tokio::spawn({
        let store = store.clone();
        let tombstone = Put { key: key(1), image: None, stamp: Stamp::new(1, 5) };
        async move { store.apply(1, vec![tombstone], None).await }
    });
    let both = "SELECT count(*) = 2 FROM pg_stat_activity WHERE application_name = 'shearwater' \
                AND datname = current_database() AND wait_event = 'advisory'";
    while !deleting.is_finished() && !client.query_one(both, &[]).await.unwrap().get::<_, bool>(0) {
        tokio::task::yield_now().await;
    }
    client.execute("SELECT pg_advisory_unlock($1)", &[&GATE]).await.unwrap();
    let answers = putting.await.unwrap().unwrap();
    assert!(matches!(answers[0], Applied::Changed | Applied::Stale { .. }), "{answers:?}");
    deleting.await.unwrap().unwrap();
    let found = store.fetch(&key(1)).await.unwrap();
    assert_eq!((found.image, found.stamp), (None, Some(Stamp::new(1, 5))));
    until(&client, "SELECT count(*) = 0 FROM accounts").await;
}

/// Two puts of a record that has no mark yet: neither sees the other's. The older
/// one waits for the row, and must see at the mark what came before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_put_does_not_undo_a_later_one() {
    const GATE: i64 = 4713;
    let url = shearwater_testbed::postgres().database("twins");
    let client = direct(&url).await;
    client.batch_execute(TABLE).await.unwrap();
    let store = open(&url, accounts()).await;
    store.install(fence(Role::Follower, 1)).await.unwrap();
    let marks = "_shearwater.\"public.accounts_marks\"";
    let gate = format!(
        "CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NEW; END $$;
         CREATE TRIGGER gate BEFORE INSERT ON {marks} FOR EACH ROW WHEN (NEW.counter = 5) EXECUTE FUNCTION gate();
         ALTER TABLE {marks} ENABLE ALWAYS TRIGGER gate;"
    );
    client.batch_execute(&gate).await.unwrap();
    client.execute("SELECT pg_advisory_lock($1)", &[&GATE]).await.unwrap();
    let putting = |n: i64, counter: u64| {
        let (store, put) = (store.clone(), Put { stamp: Stamp::new(1, counter), ..put(1, n, "a") });
        tokio::spawn(async move { store.apply(1, vec![put], None).await.unwrap() })
    };
    let later = putting(5, 5);
    waiting(&client, WAITS).await;
    let older = putting(3, 3);
    waiting(&client, "wait_event = 'transactionid'").await;
    client.execute("SELECT pg_advisory_unlock($1)", &[&GATE]).await.unwrap();
    assert_eq!(later.await.unwrap(), [Applied::Changed]);
    let answers = older.await.unwrap();
    assert!(matches!(answers[..], [Applied::Stale { .. }]), "{answers:?}");
    let found = store.fetch(&key(1)).await.unwrap();
    assert_eq!(found.stamp, Some(Stamp::new(1, 5)));
    assert_eq!(found.image.unwrap().record.get("n"), Some(&5_i64.into()));
}
