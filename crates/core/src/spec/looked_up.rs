//! Fields whose values are looked up for each record: what `[joins]` and
//! `[references]` ask of their rules, and what becomes of these.

use super::read::{Item, Reader, Section};
use super::{FieldRule, RuleFrom};

/// The lines of a section; none where it is not there.
pub(super) fn lines<'t>(reader: &mut Reader<'_>, root: &mut Section<'t>, name: &'static str) -> Vec<Item<'t>> {
    let section = root.take(name).and_then(|item| reader.section(item, format!("[{name}]")));
    section.map(|mut section| section.take_all()).unwrap_or_default()
}

impl FieldRule {
    /// Whether the rule does no more than name a value.
    pub(super) fn only_names(&self) -> bool {
        !self.cast && self.default.is_none() && self.unfit.is_none() && self.child.is_none()
    }

    /// To the mapping it is a field that only the target has from here on: what
    /// is looked up stands beside the record. What is required is looked at then.
    pub(super) fn look_up(&mut self) {
        self.from = RuleFrom::TargetOnly;
        self.required = false;
    }
}
