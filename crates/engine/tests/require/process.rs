//! A process that serves the table, and what its clients and commands ask of it.
#![allow(dead_code)]

use std::sync::Arc;
use std::time::Duration;

use shearwater_core::journal::{Command, Entry, Journal, Refusal};
use shearwater_core::lifecycle::Lifecycle;
use shearwater_core::lifecycle::require::{Filling, Phase, State};
use shearwater_core::store::ChunkMax;
use shearwater_core::value::json;
use shearwater_core::{Document, Key};
use shearwater_engine::records::{ClientChange, Condition, Edit, Got, ListAsk, ServeError, Shape, WriteDone};
use shearwater_engine::require::{Member, Served, Setup};
use shearwater_engine::run::ask_in;
use shearwater_engine::serve::Serve;

pub struct Process {
    pub setup: Setup,
    pub member: Arc<Member>,
    pub served: Arc<Served>,
}

pub fn doc(text: &str) -> Document {
    json::parse_document(text.as_bytes()).unwrap()
}

impl Process {
    pub async fn ask(&self, command: Command) -> Result<serde_json::Value, Refusal> {
        ask_in(self.setup.journal.as_ref(), command, Duration::from_secs(60)).await.unwrap()
    }

    pub async fn must(&self, command: Command) -> serde_json::Value {
        self.ask(command.clone()).await.unwrap_or_else(|e| panic!("{command:?}: {} {e} {:?}", e.code, e.hint))
    }

    pub fn state(&self) -> State {
        self.member.view().state.clone()
    }

    pub async fn until(&self, what: &str, is: impl Fn(&State) -> bool) -> State {
        let reached = async {
            loop {
                let view = self.member.view();
                if is(&view.state) {
                    return view.state.clone();
                }
                self.member.seen_above(view.seq).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reached).await.unwrap_or_else(|_| panic!("never: {what}"))
    }

    /// On to a phase, with whatever it takes.
    pub async fn forward(&self, to: Phase) {
        loop {
            let state = self.until("settled", |state| !state.is_unsettled()).await;
            if state.phase == to {
                return;
            }
            if state.phase == Phase::Backfill {
                self.until("filled", |state| matches!(state.filling, Filling::Done { .. })).await;
                self.must(Command::Verify).await;
            }
            let command = if state.phase == Phase::Contract { Command::Complete } else { Command::Advance };
            self.must(command).await;
            self.until("entered", |now| now.phase != state.phase).await;
        }
    }

    pub async fn get(&self, shape: Shape, id: i64) -> Option<Document> {
        self.served.get(shape, &Key::single(id)).await.unwrap().map(|got| got.record)
    }

    pub async fn got(&self, shape: Shape, id: i64) -> Got {
        self.served.get(shape, &Key::single(id)).await.unwrap().unwrap()
    }

    pub async fn status_of(&self, id: i64) -> String {
        match self.get(Shape::V2, id).await.unwrap().get("status") {
            Some(shearwater_core::Value::Text(text)) => text.clone(),
            other => format!("{other:?}"),
        }
    }

    pub async fn write(&self, shape: Shape, id: i64, edit: Edit) -> Result<WriteDone, ServeError> {
        let change = ClientChange { key: Key::single(id), edit, condition: Condition::None };
        self.served.write(shape, vec![change], None).await
    }

    pub async fn list(&self, ask: ListAsk) -> Vec<Document> {
        self.served.list(ask).await.unwrap().records.into_iter().map(|got| got.record).collect()
    }

    /// Every record as the store has it.
    pub async fn stored(&self) -> Vec<Document> {
        let store = self.setup.opener.open(&self.setup.v2).await.unwrap();
        let mut records = Vec::new();
        for range in store.split(1).await.unwrap() {
            let mut after = None;
            loop {
                let chunk =
                    store.scan(&range, after.as_ref(), ChunkMax { records: 500, bytes: 1 << 20 }).await.unwrap();
                records.extend(chunk.records.into_iter().map(|r| r.unwrap().image.unwrap().record));
                after = chunk.next;
                if after.is_none() {
                    break;
                }
            }
        }
        records
    }

    pub async fn entries(&self) -> Vec<Entry> {
        self.setup.journal.read(0, 10_000).await.unwrap()
    }

    pub async fn stop(self) {
        self.served.retire().await.unwrap();
        self.served.leave().await;
    }
}

/// The state that the journal adds up to.
pub async fn journalled(journal: &dyn Journal) -> State {
    State::replay(&journal.read(0, 10_000).await.unwrap()).unwrap()
}
