//! Records that are not there yet, by COPY's binary form, straight into their tables.

use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, pin_mut};

use super::cell::Cell;
use super::change::cells_of_element;
use super::error::Failure;
use super::session::Session;
use super::tables::{RawRecord, Tables};

/// Bytes in one message: large enough to make a message cheap, small enough
/// for the server to work while the next one is made.
const MESSAGE_BYTES: usize = 64 * 1024;

/// What every binary COPY begins with: a signature, no flags, no extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Copies records and their elements. Fails as a whole.
pub(super) async fn copy(session: &Session, tables: &Tables, records: &[&RawRecord]) -> Result<(), Failure> {
    let mut rows = Rows::begin();
    for record in records {
        rows.row(record.key.len() + record.values.len(), record.key.iter().chain(&record.values));
    }
    send(session, &tables.copy, rows).await?;
    for (at, child) in tables.children.iter().enumerate() {
        let is_nested = tables.tree.children.get(at).is_some_and(|child| child.parent.is_some());
        let mut rows = Rows::begin();
        for record in records {
            for element in record.children.get(at).into_iter().flatten() {
                let count = record.key.len() + 2 + usize::from(is_nested) + element.values.len();
                rows.row(count, cells_of_element(&record.key, element, is_nested));
            }
        }
        if rows.count > 0 {
            send(session, &child.copy, rows).await?;
        }
    }
    Ok(())
}

/// Rows in COPY's binary form, as messages.
struct Rows {
    count: usize,
    full: Vec<Bytes>,
    filling: BytesMut,
}

impl Rows {
    fn begin() -> Rows {
        let mut filling = BytesMut::with_capacity(MESSAGE_BYTES + 4096);
        filling.put_slice(HEADER);
        Rows { count: 0, full: Vec::new(), filling }
    }

    fn row<'a>(&mut self, count: usize, cells: impl Iterator<Item = &'a Cell>) {
        self.count += 1;
        self.filling.put_i16(i16::try_from(count).unwrap_or(i16::MAX));
        cells.for_each(|cell| cell.put(&mut self.filling));
        if self.filling.len() >= MESSAGE_BYTES {
            self.full.push(self.filling.split().freeze());
        }
    }
}

async fn send(session: &Session, sql: &str, mut rows: Rows) -> Result<(), Failure> {
    rows.full.push(rows.filling.split().freeze());
    send_messages(session, sql, rows.full.into_iter()).await
}

/// Sends what follows [`HEADER`] and that, and the end of the rows.
pub(super) async fn send_messages(
    session: &Session,
    sql: &str,
    messages: impl Iterator<Item = Bytes>,
) -> Result<(), Failure> {
    const END: &[u8] = &(-1_i16).to_be_bytes();
    let failed = |e: tokio_postgres::Error| session.failed("copying records", &e);
    let statement = session.prepared(sql).await?;
    let sink = session.client.copy_in::<_, Bytes>(&statement).await.map_err(failed)?;
    pin_mut!(sink);
    for message in messages.chain(std::iter::once(Bytes::from_static(END))) {
        // What the server says about an earlier message is told at the end.
        if sink.feed(message).await.is_err() {
            break;
        }
    }
    sink.finish().await.map_err(failed)?;
    Ok(())
}
