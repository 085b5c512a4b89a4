//! The control flow of a `require`: whoever holds the coordinator's lease does
//! requests one by one and keeps the backfill going.

use std::sync::Arc;

use async_trait::async_trait;
use shearwater_core::journal::Journal;

use super::desk::Desk;
use super::{Helm, Member, Setup};
use crate::coordinator::{Coordinator, CoordinatorOptions, Lead, Standby};
use crate::helm::backoff;
use crate::ledger::{Halt, Lease, Ledger};

/// Runs a coordinator in the background.
pub fn spawn(setup: Setup, member: Arc<Member>, options: CoordinatorOptions) -> Coordinator {
    Coordinator::spawn(Leader { setup, member }, options)
}

struct Leader {
    setup: Setup,
    member: Arc<Member>,
}

#[async_trait]
impl Lead for Leader {
    fn journal(&self) -> &Arc<dyn Journal> {
        &self.setup.journal
    }

    fn holder(&self) -> &str {
        self.member.id()
    }

    async fn lead(&self, lease: &Arc<Lease>, standby: &Standby) -> Result<(), Halt> {
        let helm = Helm {
            setup: self.setup.clone(),
            ledger: Arc::new(Ledger::load(self.setup.journal.clone(), lease.clone()).await?),
            member: self.member.clone(),
            foreground: self.member.foreground().clone(),
        };
        let mut desk = Desk::take_over(helm.clone()).await?;
        let mut stop = standby.stop.clone();
        let mut failures = 0;
        loop {
            helm.check()?;
            if *stop.borrow() {
                return desk.stop().await;
            }
            if desk.unsettled {
                match desk.recover().await {
                    Ok(()) => failures = 0,
                    Err(halt) => {
                        let refusal = halt.into_refusal()?;
                        tracing::warn!(code = refusal.code, "not settled yet: {}", refusal.message);
                        failures += 1;
                        tokio::time::sleep(backoff(failures)).await;
                        continue;
                    }
                }
            }
            desk.tend().await?;
            tokio::select! {
                () = tokio::time::sleep(standby.poll) => {}
                () = standby.woken.notified() => {}
                _ = stop.changed() => {}
            }
        }
    }
}
