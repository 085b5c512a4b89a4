//! Asking DynamoDB: how the client is made, what is asked again and how often,
//! what is left over of a batch, and what a transaction was refused for.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedHttpClient};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{ConsumedCapacity, KeysAndAttributes, ReturnConsumedCapacity, TransactWriteItem};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};

use super::budget::Budget;
use super::config::{Config, Tls};
use super::error::{Again, Effect, Unsent, again, failed, was_refused};
use super::value::Item;

/// How long one try may take: a page of a scan takes some tens of ms, a
/// transaction too.
const TRY_MAX: Duration = Duration::from_secs(10);

/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// Tries of a request that was throttled, or lost to other transactions: with
/// the pauses below about six seconds, after which the engine decides.
const THROTTLED_TRIES_MAX: u32 = 12;

/// Tries of a request that was not answered.
const UNANSWERED_TRIES_MAX: u32 = 3;

/// The pause before the second try; it doubles with each try.
const PAUSE_FIRST: Duration = Duration::from_millis(10);

/// No pause is longer.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Items in one `BatchGetItem`: DynamoDB's limit.
const BATCH_ITEMS_MAX: usize = 100;

/// Actions in one transaction: DynamoDB's limit.
pub(super) const TRANSACTION_ACTIONS_MAX: usize = 100;

/// Bytes of the items in one transaction: DynamoDB's limit of 4 MiB, less what
/// our own items beside them take.
pub(super) const TRANSACTION_BYTES_MAX: usize = 3_900_000;

/// What answered, or did not.
#[derive(Debug)]
pub(super) struct CallError<E> {
    /// The service's own answer, when there is one.
    pub(super) answer: Option<E>,
    /// As a kind.
    pub(super) error: StoreError,
}

impl<E> From<CallError<E>> for StoreError {
    fn from(failed: CallError<E>) -> StoreError {
        failed.error
    }
}

/// Why a transaction did nothing.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// The conditions of these actions did not hold.
    Conditions(Vec<usize>),
    /// The store never takes what one action says; its message.
    Refused(usize, StoreError),
    /// It failed, or nobody knows.
    Failed(StoreError),
}

/// Items by table.
pub(super) type Found = HashMap<String, Vec<Item>>;

/// One account's DynamoDB in one region.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) place: String,
    /// What background work may read.
    pub(super) reads: Budget,
    /// What background work may write.
    pub(super) writes: Budget,
}

impl Session {
    pub(super) fn open(config: &Config) -> Session {
        let http = match config.tls {
            Tls::Off => aws_smithy_http_client::Builder::new().build_http(),
            Tls::On => {
                aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
            }
        };
        Session::over(config, http)
    }

    /// Over a given HTTP client.
    pub(super) fn over(config: &Config, http: SharedHttpClient) -> Session {
        let given = &config.credentials;
        let credentials = Credentials::new(
            given.access_key.as_str(),
            given.secret_key.as_str(),
            given.session_token.clone(),
            None,
            "shearwater",
        );
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_MAX).operation_attempt_timeout(TRY_MAX).build();
        let mut builder = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .credentials_provider(credentials)
            .http_client(http)
            .timeout_config(timeouts)
            // What is asked again is decided here, where it is known what it may have done.
            .retry_config(RetryConfig::disabled());
        if let Some(endpoint) = &config.endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        Session {
            client: Client::from_conf(builder.build()),
            place: config.place.clone(),
            reads: Budget::of(config.read_units_per_s),
            writes: Budget::of(config.write_units_per_s),
        }
    }

    /// Asks, and asks again what is worth it. A request that writes must be one
    /// that may be sent twice.
    pub(super) async fn call<T, E, R, F>(
        &self,
        doing: &str,
        effect: Effect,
        mut ask: impl FnMut() -> F,
    ) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, SdkError<E, R>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug + 'static,
    {
        let (mut tries, mut unsent) = (0, Unsent::Yes);
        loop {
            let error = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            tries += 1;
            let refused = was_refused(&error);
            if !refused {
                unsent = Unsent::No;
            }
            let tries_max = match again(&error) {
                // Nobody listens: whoever asked knows best when to ask again.
                Again::Unanswered if refused => 1,
                Again::Unanswered => UNANSWERED_TRIES_MAX,
                Again::Throttled => THROTTLED_TRIES_MAX,
                Again::Never => 1,
            };
            if tries >= tries_max {
                let told = failed(&self.place, doing, effect, unsent, &error);
                return Err(CallError { answer: error.into_service_error_if_any(), error: told });
            }
            tokio::time::sleep(pause(tries)).await;
        }
    }

    /// Reads items by key, each as of now, from one table or several; what the
    /// store left over is asked for again. Keys must differ.
    pub(super) async fn batch_get(
        &self,
        doing: &str,
        keys: Vec<(&str, Item)>,
    ) -> Result<Found, CallError<BatchGetItemError>> {
        let mut found = Found::new();
        for some in keys.chunks(BATCH_ITEMS_MAX) {
            let mut wanted: HashMap<String, Vec<Item>> = HashMap::new();
            for (table, key) in some {
                wanted.entry((*table).to_owned()).or_default().push(key.clone());
            }
            let mut fruitless = 0;
            while !wanted.is_empty() {
                let asked = wanted.values().map(Vec::len).sum::<usize>();
                let request = self.keys_and_attributes(wanted)?;
                let answer = self
                    .call(doing, Effect::Reads, || {
                        self.client
                            .batch_get_item()
                            .set_request_items(Some(request.clone()))
                            .return_consumed_capacity(ReturnConsumedCapacity::Total)
                            .send()
                    })
                    .await?;
                self.reads.used(units(answer.consumed_capacity.as_deref().unwrap_or_default()));
                for (table, items) in answer.responses.unwrap_or_default() {
                    found.entry(table).or_default().extend(items);
                }
                let left = answer.unprocessed_keys.unwrap_or_default();
                wanted = left.into_iter().map(|(table, keys)| (table, keys.keys)).collect();
                let still = wanted.values().map(Vec::len).sum::<usize>();
                fruitless = if still < asked { 0 } else { fruitless + 1 };
                if still > 0 {
                    self.wait_for_capacity(doing, fruitless).await?;
                }
            }
        }
        Ok(found)
    }

    fn keys_and_attributes(
        &self,
        wanted: HashMap<String, Vec<Item>>,
    ) -> Result<HashMap<String, KeysAndAttributes>, StoreError> {
        let request = wanted.into_iter().map(|(table, keys)| {
            let keys = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
            Ok((table, keys.map_err(|error| unbuilt(&error))?))
        });
        request.collect()
    }

    /// Waits before what was left over is asked for again; gives up when
    /// nothing comes any more.
    async fn wait_for_capacity(&self, doing: &str, fruitless: u32) -> StoreResult<()> {
        if fruitless >= THROTTLED_TRIES_MAX {
            let what = format!("DynamoDB ({}), {doing}: the table's capacity is used up", self.place);
            return Err(StoreError::new(StoreErrorKind::Unavailable, what)
                .with_hint("lower rcu= and wcu= in the URL, or raise the table's capacity"));
        }
        tokio::time::sleep(pause(fruitless + 1)).await;
        Ok(())
    }

    /// Writes all or nothing. Asked again under one token, so that a write
    /// whose answer was lost is not done twice.
    pub(super) async fn transact(&self, doing: &str, actions: &[TransactWriteItem]) -> Result<(), Unwritten> {
        let mut tries = 0;
        loop {
            let token = uuid::Uuid::new_v4().to_string();
            let asked = self.call(doing, Effect::Writes, || {
                self.client
                    .transact_write_items()
                    .set_transact_items(Some(actions.to_vec()))
                    .client_request_token(token.clone())
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
            });
            let failed = match asked.await {
                Ok(answer) => {
                    self.writes.used(units(answer.consumed_capacity.as_deref().unwrap_or_default()));
                    return Ok(());
                }
                Err(failed) => failed,
            };
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = &failed.answer else {
                return Err(Unwritten::Failed(failed.error));
            };
            let with_code = |code: &str| -> Vec<usize> {
                let reasons = cancelled.cancellation_reasons().iter().enumerate();
                reasons.filter(|(_, reason)| reason.code() == Some(code)).map(|(at, _)| at).collect()
            };
            let unmet = with_code("ConditionalCheckFailed");
            if !unmet.is_empty() {
                return Err(Unwritten::Conditions(unmet));
            }
            if let Some(at) = with_code("ValidationError").first().copied() {
                let message = cancelled.cancellation_reasons().get(at).and_then(|reason| reason.message());
                let what = format!("DynamoDB ({}), {doing}: {}", self.place, message.unwrap_or("not valid"));
                return Err(Unwritten::Refused(at, StoreError::new(StoreErrorKind::Refused { field: None }, what)));
            }
            // Other transactions at work on the same items, or no capacity.
            tries += 1;
            if tries >= THROTTLED_TRIES_MAX {
                let what = format!("DynamoDB ({}), {doing}: other transactions hold the same items", self.place);
                return Err(Unwritten::Failed(StoreError::new(StoreErrorKind::Unavailable, what)));
            }
            tokio::time::sleep(pause(tries)).await;
        }
    }
}

impl<E> From<StoreError> for CallError<E> {
    fn from(error: StoreError) -> CallError<E> {
        CallError { answer: None, error }
    }
}

/// A request that lacks something: a mistake of ours, told and not hidden.
pub(super) fn unbuilt(error: &dyn std::error::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, format!("DynamoDB: a request cannot be made: {error}"))
}

/// Units of an answer, over all tables.
pub(super) fn units(consumed: &[ConsumedCapacity]) -> f64 {
    consumed.iter().filter_map(|one| one.capacity_units).sum()
}

/// A pause that doubles with each try; of a random length, so that those who
/// met do not meet again.
fn pause(tries: u32) -> Duration {
    let longest = PAUSE_FIRST.saturating_mul(1 << tries.min(10)).min(PAUSE_MAX);
    let random = f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
    longest.mul_f64(0.5 + random / 2.0)
}

/// The service's answer in an error.
trait Answered<E> {
    fn into_service_error_if_any(self) -> Option<E>;
}

impl<E, R> Answered<E> for SdkError<E, R> {
    fn into_service_error_if_any(self) -> Option<E> {
        match self {
            SdkError::ServiceError(service) => Some(service.into_err()),
            _ => None,
        }
    }
}
