//! A program of its own beside us: AWS's client, and nothing of ours.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;

pub type Item = HashMap<String, AttributeValue>;

pub struct Direct {
    pub client: Client,
}

impl Direct {
    /// To the place of a URL of the testbed's.
    pub fn connect(url: &str) -> Direct {
        let rest = url.strip_prefix("dynamodb://").unwrap();
        let (place, query) = rest.split_once("/?").unwrap();
        let of = |name: &str| {
            let pair = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            pair.unwrap().to_owned()
        };
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(of("region")))
            .credentials_provider(Credentials::new(of("access_key"), of("secret_key"), None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(format!("http://{place}"))
            .build();
        Direct { client: Client::from_conf(config) }
    }

    pub async fn get(&self, table: &str, key: &str, id: &str) -> Option<Item> {
        let got = self.client.get_item().table_name(table).key(key, AttributeValue::S(id.to_owned()));
        got.consistent_read(true).send().await.unwrap().item
    }

    pub async fn put(&self, table: &str, item: Item) {
        self.client.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
    }

    pub async fn set(&self, table: &str, key: &str, id: &str, name: &str, value: AttributeValue) {
        let update = self.client.update_item().table_name(table).key(key, AttributeValue::S(id.to_owned()));
        let update = update.update_expression("SET #n = :v").expression_attribute_names("#n", name);
        update.expression_attribute_values(":v", value).send().await.unwrap();
    }

    pub async fn delete(&self, table: &str, key: &str, id: &str) {
        let delete = self.client.delete_item().table_name(table).key(key, AttributeValue::S(id.to_owned()));
        delete.send().await.unwrap();
    }
}
