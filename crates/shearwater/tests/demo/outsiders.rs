//! The programs that have never heard of us, as which the demo acts.

use shearwater_core::error::Policy;
use shearwater_stores::open_outsider;
use shearwater_stores::outsider::{self, is_fence};
use shearwater_testbed::{mariadb, postgres};

#[tokio::test(flavor = "multi_thread")]
async fn outsiders_of_every_kind_do_what_they_are_asked() {
    let directory = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", directory.path().join("it.db").display());
    for url in [file, postgres().database("outsider"), mariadb().database("outsider")] {
        let names = ["odd \"table\"", "_id", "do`c"].map(str::to_owned);
        let [table, key, document] = names;
        let collection = outsider::Collection { table: table.clone(), key, document };
        let mut one = open_outsider(&url, collection.clone()).await.unwrap();
        assert_eq!(one.tables().await.unwrap(), Vec::<String>::new(), "{url}");
        let documents = (0..250).map(|n| (format!("k{n}"), format!("{{\"n\":{n}, \"zero\":-0.0}}")));
        one.make(&mut documents.clone()).await.unwrap();
        let mut two = open_outsider(&url, collection).await.unwrap();
        assert_eq!(two.tables().await.unwrap(), std::slice::from_ref(&table), "{url}");
        let taken = two.insert("k7", "{}").await.unwrap_err();
        assert!(!is_fence(&taken) && taken.policy() != Policy::Retry, "{url}: {taken:?}");
        two.insert("it's", "{\"new\":true}").await.unwrap();
        assert!(two.update("k7", &mut |old| Some(old.replace('7', "700"))).await.unwrap(), "{url}");
        assert!(!two.update("k8", &mut |_| None).await.unwrap(), "{url}");
        assert!(!two.update("nobody", &mut |_| Some("{}".to_owned())).await.unwrap(), "{url}");
        assert!(two.delete("k9").await.unwrap() && !two.delete("k9").await.unwrap(), "{url}");
        let mut left = one.documents().await.unwrap();
        let mut expect: Vec<String> = documents.map(|(_, document)| document).filter(|d| !d.contains(":9,")).collect();
        expect[7] = expect[7].replace('7', "700");
        expect.push("{\"new\":true}".to_owned());
        left.sort();
        expect.sort();
        assert_eq!(left, expect, "{url}");
        drop(two);
        one.drop_tables(&[&table, "not there"]).await.unwrap();
        assert_eq!(one.tables().await.unwrap(), Vec::<String>::new(), "{url}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "the file that was made is gone");
}
