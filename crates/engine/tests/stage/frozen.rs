//! A journal that can be frozen: a member behind it renews its lease but sees
//! nothing new, as when its reads of the journal lag.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use shearwater_core::journal::*;
use shearwater_core::store::Side;

pub struct Frozen {
    inner: Arc<dyn Journal>,
    /// The last entry to be seen.
    last: AtomicU64,
    /// Whether leases can be renewed.
    renews: AtomicBool,
}

impl Frozen {
    pub fn new(inner: Arc<dyn Journal>) -> Arc<Frozen> {
        Arc::new(Frozen { inner, last: AtomicU64::new(u64::MAX), renews: AtomicBool::new(true) })
    }

    pub async fn freeze(&self) {
        self.last.store(self.inner.last_seq().await.unwrap(), Ordering::SeqCst);
    }

    pub fn thaw(&self) {
        self.last.store(u64::MAX, Ordering::SeqCst);
    }

    pub fn let_leases_end(&self) {
        self.renews.store(false, Ordering::SeqCst);
    }

    pub fn renew_again(&self) {
        self.renews.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Journal for Frozen {
    fn migration(&self) -> &str {
        self.inner.migration()
    }

    async fn append(&self, after_seq: u64, actor: &str, events: &[Event]) -> Result<u64, JournalError> {
        self.inner.append(after_seq, actor, events).await
    }

    async fn read(&self, after_seq: u64, entries_max: usize) -> Result<Vec<Entry>, JournalError> {
        let mut entries = self.inner.read(after_seq, entries_max).await?;
        entries.retain(|entry| entry.seq <= self.last.load(Ordering::SeqCst));
        Ok(entries)
    }

    async fn last_seq(&self) -> Result<u64, JournalError> {
        Ok(self.inner.last_seq().await?.min(self.last.load(Ordering::SeqCst)))
    }

    async fn renew(&self, member: &str, epoch: u64, ttl_ms: u64) -> Result<(), JournalError> {
        match self.renews.load(Ordering::SeqCst) {
            true => self.inner.renew(member, epoch, ttl_ms).await,
            false => Err(JournalError::Unavailable("the journal is away (on cue)".into())),
        }
    }

    async fn leave(&self, member: &str) -> Result<(), JournalError> {
        self.inner.leave(member).await
    }

    async fn members(&self) -> Result<Vec<Member>, JournalError> {
        self.inner.members().await
    }

    async fn acquire(&self, lease: &str, holder: &str, ttl_ms: u64) -> Result<bool, JournalError> {
        self.inner.acquire(lease, holder, ttl_ms).await
    }

    async fn release(&self, lease: &str, holder: &str) -> Result<(), JournalError> {
        self.inner.release(lease, holder).await
    }

    async fn ask(&self, command: Command) -> Result<u64, JournalError> {
        self.inner.ask(command).await
    }

    async fn open_requests(&self) -> Result<Vec<Request>, JournalError> {
        self.inner.open_requests().await
    }

    async fn request(&self, id: u64) -> Result<Option<Request>, JournalError> {
        self.inner.request(id).await
    }

    async fn finish(&self, id: u64, outcome: Result<serde_json::Value, Refusal>) -> Result<(), JournalError> {
        self.inner.finish(id, outcome).await
    }

    async fn bury(&self, letter: DeadLetter) -> Result<(), JournalError> {
        self.inner.bury(letter).await
    }

    async fn resolve(&self, authority: Side, key: &str) -> Result<bool, JournalError> {
        self.inner.resolve(authority, key).await
    }

    async fn dead_letters(&self, after_key: Option<&str>, letters_max: usize) -> Result<Vec<DeadLetter>, JournalError> {
        self.inner.dead_letters(after_key, letters_max).await
    }

    async fn dead_letter_count(&self) -> Result<u64, JournalError> {
        self.inner.dead_letter_count().await
    }

    async fn note(&self, name: &str) -> Result<Option<String>, JournalError> {
        self.inner.note(name).await
    }

    async fn set_note(&self, name: &str, text: &str) -> Result<(), JournalError> {
        self.inner.set_note(name, text).await
    }

    async fn note_once(&self, name: &str, text: &str) -> Result<String, JournalError> {
        self.inner.note_once(name, text).await
    }
}
