//! Every bound in one place, each with its unit and its reason.

/// Nesting of JSON and of documents: MongoDB allows 100 levels, and a parser
/// that recurses needs a bound against a text of brackets.
pub const JSON_DEPTH_MAX: usize = 128;

/// Records in one list page: a page must fit comfortably in memory and in one
/// answer.
pub const LIST_RECORDS_MAX: usize = 1_000;

/// Records in a list page when the client names no limit.
pub const LIST_RECORDS_DEFAULT: usize = 100;

/// Records in one backfill chunk: small enough that a chunk is written within
/// the pace's target latency, large enough to make the commit cheap.
pub const CHUNK_RECORDS_MAX: usize = 5_000;

/// Bytes of documents in the chunks of all workers, so that huge documents
/// cannot fill memory: as values they take about ten times as much, in up to
/// four forms at once.
pub const CHUNK_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Changes in one atomic bulk write: it holds the store's writer while it runs.
pub const BULK_RECORDS_MAX: usize = 1_000;

/// Bytes of one request body.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Attempts of a read-modify-write that lost its race to other writers.
pub const REWRITE_ATTEMPTS_MAX: usize = 32;

/// Bytes of one record's text in a file that is imported: MongoDB's largest
/// document, 16 MiB, written as extended JSON; a file without line ends must
/// not fill memory.
pub const IMPORT_RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Rows that a `require`'s backfill fills before the store may clean up. Measured,
/// the heap stays flat so.
pub const FILL_ROWS_PER_TIDYING: u64 = 100_000;
