//! Connectors: one folder for each kind of store, with the same file names;
//! the conformance suite that each of them passes; the journal.

use std::sync::Arc;

#[cfg(any(feature = "dynamodb", feature = "mongodb"))]
use futures::FutureExt as _;
use shearwater_core::Document;
use shearwater_core::error::{StoreError, StoreErrorKind, StoreResult};
use shearwater_core::evolve::{Evolve, Wanted};
use shearwater_core::shape::{FieldType, Layout};
use shearwater_core::store::{Form, InspectedColumn, Inspection, Store};

use self::outsider::{Collection, Outsider};

pub mod conformance;
#[cfg(feature = "dynamodb")]
mod dynamodb;
pub mod faults;
pub mod journal;
#[cfg(feature = "mongodb")]
mod mongodb;
mod mysql;
pub mod outsider;
mod postgres;
mod relational;
mod seen_size;
mod sqlite;

/// Opens a store. The one place that knows the kinds. Fails with a clear error
/// when the store or the table is not there, unless `create` says that a
/// missing database may be made (for a target, whose tables `provision` makes).
///
/// URLs: `sqlite:PATH[?sync=full|normal]`;
/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE[?schema=NAME&connections=N&sslmode=MODE&sslrootcert=FILE]`
/// (`postgresql:` is the same);
/// `mysql://USER:PASSWORD@HOST:PORT/DATABASE[?connections=N&tls=on|off|unchecked&tls_ca=FILE&socket=FILE&replica=HOST:PORT]`
/// (`mariadb:` is the same);
/// `dynamodb://HOST:PORT/?region=NAME[&tls=on|off&access_key=ID&secret_key=KEY&session_token=TOKEN&rcu=N&wcu=N
/// &key_types=S,N&pk_prefix=TEXT&sk_prefix=TEXT]` (an endpoint) or `dynamodb:?region=NAME[&…]` (AWS);
/// `mongodb://USER:PASSWORD@HOST:PORT,…/DATABASE?replicaSet=NAME&…` and `mongodb+srv://…`, as MongoDB writes them.
pub async fn open(url: &str, layout: Layout, create: Create) -> StoreResult<Arc<dyn Store>> {
    match Kind::of(url)? {
        #[cfg(feature = "mongodb")]
        Kind::MongoDb => Ok(Arc::new(mongodb::open(url, layout, create).boxed().await?)),
        Kind::MySql => Ok(Arc::new(mysql::open(url, layout, create).await?)),
        Kind::Sqlite => Ok(Arc::new(sqlite::open(url, layout, create).await?)),
        Kind::Postgres => Ok(Arc::new(postgres::open(url, layout, create).await?)),
        #[cfg(feature = "dynamodb")]
        Kind::DynamoDb => Ok(Arc::new(dynamodb::open(url, layout, create).boxed().await?)),
    }
}

/// Connects to a database as a program would that has never heard of us; a
/// server's database must be there, a file is made.
pub async fn open_outsider(url: &str, collection: Collection) -> StoreResult<Box<dyn Outsider>> {
    Ok(match Kind::of(url)? {
        #[cfg(feature = "mongodb")]
        Kind::MongoDb => Box::new(mongodb::outsider::open(url, collection).boxed().await?),
        Kind::MySql => Box::new(mysql::outsider::open(url, collection).await?),
        Kind::Sqlite => Box::new(sqlite::outsider::open(url, collection)?),
        Kind::Postgres => Box::new(postgres::outsider::open(url, collection).await?),
        #[cfg(feature = "dynamodb")]
        Kind::DynamoDb => Box::new(dynamodb::outsider::open(url, collection).boxed().await?),
    })
}

/// Whether opening may make a missing database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// It must be there.
    Never,
    /// An empty one is made.
    IfMissing,
}

/// Opens a table that is to have a new required field, on connections of its own.
///
/// # Errors
/// [`StoreErrorKind::Unsupported`] where the store cannot, or the fill is not
/// proven to be the same there.
pub async fn open_evolve(url: &str, wanted: Wanted) -> StoreResult<Arc<dyn Evolve>> {
    match Kind::of(url)? {
        Kind::Postgres => Ok(Arc::new(postgres::evolve::open(url, wanted).await?)),
        Kind::MySql => Ok(Arc::new(mysql::evolve::open(url, wanted).await?)),
        Kind::Sqlite => Ok(Arc::new(sqlite::evolve::open(url, wanted)?)),
        #[cfg(feature = "dynamodb")]
        Kind::DynamoDb => Ok(Arc::new(dynamodb::evolve::open(url, wanted).boxed().await?)),
        #[cfg(feature = "mongodb")]
        Kind::MongoDb => Ok(Arc::new(mongodb::evolve::open(url, wanted).boxed().await?)),
    }
}

/// Looks at a whole store without a layout, for `init`.
pub async fn inspect(url: &str) -> StoreResult<Inspection> {
    match Kind::of(url)? {
        #[cfg(feature = "mongodb")]
        Kind::MongoDb => mongodb::inspect(url).boxed().await,
        Kind::MySql => mysql::inspect(url).await,
        Kind::Sqlite => sqlite::inspect(url).await,
        Kind::Postgres => postgres::inspect(url).await,
        #[cfg(feature = "dynamodb")]
        Kind::DynamoDb => dynamodb::inspect(url).boxed().await,
    }
}

/// A type in the words of the store at `url` that holds exactly what a column
/// of the store at `from` holds, for a table that `provision` makes; `None`: the
/// connector's own choice for the field type does.
pub fn native(url: &str, from: &str, column: &InspectedColumn, role: Role) -> StoreResult<Option<String>> {
    let kind = Kind::of(url)?;
    let origin = if Kind::of(from)? == kind { Origin::SameKind } else { Origin::OtherKind };
    Ok(match kind {
        // A collection declares no types.
        #[cfg(feature = "mongodb")]
        Kind::MongoDb => None,
        Kind::MySql => mysql::words_for(column, origin, role),
        Kind::Sqlite => sqlite::words_for(column, origin),
        Kind::Postgres => postgres::words_for(column, origin, role),
        // Its attributes have no declared types.
        #[cfg(feature = "dynamodb")]
        Kind::DynamoDb => None,
    })
}

/// Whether a store of documents at `url` has values of this type, and gives them
/// back as such once no migration runs there; a store that has not says them as
/// texts or as numbers of its own.
pub fn has_type(url: &str, ty: FieldType) -> StoreResult<bool> {
    Ok(match Kind::of(url)? {
        Kind::MySql | Kind::Sqlite | Kind::Postgres => true,
        #[cfg(feature = "dynamodb")]
        Kind::DynamoDb => dynamodb::has_type(ty),
        #[cfg(feature = "mongodb")]
        Kind::MongoDb => mongodb::has_type(ty),
    })
}

/// A record, or a part of one, as a store at `url` gives it back once no migration
/// runs there.
pub fn kept(url: &str, record: Document) -> StoreResult<Document> {
    Ok(match Kind::of(url)? {
        Kind::MySql | Kind::Sqlite | Kind::Postgres => record,
        #[cfg(feature = "dynamodb")]
        Kind::DynamoDb => dynamodb::kept(record),
        #[cfg(feature = "mongodb")]
        Kind::MongoDb => record,
    })
}

/// What the rows of a store at `url` are.
pub fn form(url: &str) -> StoreResult<Form> {
    Ok(match Kind::of(url)? {
        Kind::MySql | Kind::Sqlite | Kind::Postgres => Form::Columns,
        #[cfg(feature = "dynamodb")]
        Kind::DynamoDb => Form::Documents,
        #[cfg(feature = "mongodb")]
        Kind::MongoDb => Form::Documents,
    })
}

/// Where a column stands, for [`native`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Beside the key.
    Plain,
    /// In the key, or in a unique index: texts are compared there.
    Indexed,
}

/// Whether a column comes from a store of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    SameKind,
    OtherKind,
}

/// The kinds of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(feature = "mongodb")]
    MongoDb,
    MySql,
    Sqlite,
    Postgres,
    #[cfg(feature = "dynamodb")]
    DynamoDb,
}

impl Kind {
    fn of(url: &str) -> StoreResult<Kind> {
        let scheme = url.split(':').next().unwrap_or_default();
        match scheme {
            #[cfg(feature = "mongodb")]
            "mongodb" | "mongodb+srv" if url.contains(':') => Ok(Kind::MongoDb),
            "mysql" | "mariadb" if url.contains(':') => Ok(Kind::MySql),
            "sqlite" if url.contains(':') => Ok(Kind::Sqlite),
            "postgres" | "postgresql" if url.contains(':') => Ok(Kind::Postgres),
            #[cfg(feature = "dynamodb")]
            "dynamodb" if url.contains(':') => Ok(Kind::DynamoDb),
            "mongodb" | "mongodb+srv" | "dynamodb" => {
                Err(unknown(format!("this program was built without a connector for {scheme}")))
            }
            _ if !url.contains(':') => Err(unknown("the URL has no scheme".to_owned())),
            // The scheme only: the rest of a URL may hold a password.
            _ => Err(unknown(format!("there is no kind of store called {scheme:?}"))),
        }
    }
}

fn unknown(what: String) -> StoreError {
    StoreError::new(StoreErrorKind::Unsupported, what)
        .with_hint("stores that can be opened: sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE, mysql://USER:PASSWORD@HOST/DATABASE, mongodb://USER:PASSWORD@HOST/DATABASE?replicaSet=NAME, dynamodb:?region=NAME")
}
