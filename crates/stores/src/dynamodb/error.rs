//! DynamoDB's errors as kinds with a policy.

use std::error::Error as StdError;
use std::io;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use shearwater_core::error::{StoreError, StoreErrorKind};

/// What an unanswered request may have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: it only reads.
    Reads,
    /// Perhaps everything.
    Writes,
}

/// Whether asking again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// The store asks to be asked again later: it did nothing.
    Throttled,
    /// The answer is missing; it may have been done.
    Unanswered,
    /// No.
    Never,
}

/// Whether and why to ask again.
pub(super) fn again<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Again {
    match error {
        SdkError::ServiceError(service) => match service.err().code() {
            Some(
                "ProvisionedThroughputExceededException"
                | "ThrottlingException"
                | "ThrottledException"
                | "RequestLimitExceeded"
                | "TransactionInProgressException"
                | "LimitExceededException",
            ) => Again::Throttled,
            Some("InternalServerError" | "InternalFailure" | "ServiceUnavailable") => Again::Unanswered,
            _ => Again::Never,
        },
        SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) | SdkError::ResponseError(_) => Again::Unanswered,
        _ => Again::Never,
    }
}

/// Whether the request never left: nobody listens there.
pub(super) fn was_refused<E: StdError + 'static, R: std::fmt::Debug + 'static>(error: &SdkError<E, R>) -> bool {
    let SdkError::DispatchFailure(failure) = error else { return false };
    let mut next: Option<&dyn StdError> = failure.as_connector_error().and_then(StdError::source);
    while let Some(at) = next {
        let refused = |e: &io::Error| e.kind() == io::ErrorKind::ConnectionRefused;
        if at.downcast_ref::<io::Error>().is_some_and(refused) || at.to_string().contains("dns error") {
            return true;
        }
        next = at.source();
    }
    false
}

/// The error as a kind. `unsent`: the request never reached the store.
pub(super) fn failed<E, R>(
    place: &str,
    doing: &str,
    effect: Effect,
    unsent: Unsent,
    error: &SdkError<E, R>,
) -> StoreError
where
    E: ProvideErrorMetadata,
{
    let told = |kind, what: &str| StoreError::new(kind, format!("DynamoDB ({place}), {doing}: {what}"));
    if let SdkError::ServiceError(service) = error {
        let code = service.err().code().unwrap_or("an error without a code");
        let message = service.err().message().unwrap_or_default();
        return of_code(&told, code, message, effect);
    }
    if let SdkError::ConstructionFailure(_) = error {
        return told(StoreErrorKind::Unsupported, "the request cannot be made");
    }
    let what = match error {
        SdkError::TimeoutError(_) => "no answer in time",
        SdkError::ResponseError(_) => "the answer cannot be read",
        SdkError::DispatchFailure(failure) if failure.is_timeout() => "no answer in time",
        _ => "the connection failed",
    };
    let kind = match (effect, unsent) {
        (Effect::Writes, Unsent::No) => StoreErrorKind::OutcomeUnknown,
        _ => StoreErrorKind::Unavailable,
    };
    told(kind, what).with_hint("is the endpoint right, and reached from here?")
}

/// Whether no try of the request has reached the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    Yes,
    No,
}

fn of_code(told: &dyn Fn(StoreErrorKind, &str) -> StoreError, code: &str, message: &str, effect: Effect) -> StoreError {
    let what = format!("{code}: {message}");
    match code {
        "ResourceNotFoundException" | "TableNotFoundException" => {
            told(StoreErrorKind::NotFound, &what).with_hint("is there such a table in this region, for this account?")
        }
        "ExpiredTokenException" | "ExpiredToken" | "RequestExpired" => told(StoreErrorKind::Denied, &what)
            .with_hint("the session has ended: get a new AWS_SESSION_TOKEN with its keys"),
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationTokenException"
        | "MissingAuthenticationToken" => {
            told(StoreErrorKind::Denied, &what).with_hint("check the access key, the secret key, and the clock")
        }
        "AccessDeniedException" | "NotAuthorized" | "OptInRequired" => told(StoreErrorKind::Denied, &what)
            .with_hint("the account's policy must allow this action on the table and on tables named _shearwater.*"),
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestLimitExceeded" => told(StoreErrorKind::Unavailable, &what)
            .with_hint("lower rcu= and wcu= in the URL, or raise the table's capacity"),
        "InternalServerError" | "InternalFailure" | "ServiceUnavailable" if effect == Effect::Writes => {
            told(StoreErrorKind::OutcomeUnknown, &what)
        }
        "InternalServerError"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "TransactionConflictException"
        | "ResourceInUseException"
        | "LimitExceededException"
        | "TransactionInProgressException" => told(StoreErrorKind::Unavailable, &what),
        "ItemCollectionSizeLimitExceededException" => told(StoreErrorKind::Full, &what),
        "ValidationException" if effect == Effect::Writes => told(StoreErrorKind::Refused { field: None }, &what),
        _ => told(StoreErrorKind::Unsupported, &what),
    }
}

/// A record that can never be held as it is.
pub(super) fn refused(table: &str, field: &str, what: impl std::fmt::Display) -> StoreError {
    StoreError::new(
        StoreErrorKind::Refused { field: Some(field.to_owned()) },
        format!("table {table:?}, field {field:?}: {what}"),
    )
}

/// An item that cannot be read.
pub(super) fn corrupt(table: &str, field: &str, what: impl std::fmt::Display) -> StoreError {
    StoreError::new(StoreErrorKind::Corrupt, format!("table {table:?}, attribute {field:?}: {what}"))
}

/// The error of a call that needs the sidecar.
pub(super) fn no_sidecar(table: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Sidecar, format!("table {table:?} has no sidecar"))
        .with_hint("the migration is not started, or complete")
}
