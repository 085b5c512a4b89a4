//! What an `absorb` refuses of clients' writes that another kind of migration
//! would take, for the description of the API.

use crate::serve::{Requests, WriteRefusal};

/// Every code with which a write ends in 422 here and nowhere else.
pub const REFUSALS: &[WriteRefusal] = &[
    WriteRefusal {
        code: "absorb/atomic",
        what: "the records live in different stores, or move, so that no one write holds them all: \
               send one change at a time",
        requests: Requests::OfSeveral,
    },
    WriteRefusal {
        code: "absorb/required",
        what: "a new record lacks a field without which the target has none",
        requests: Requests::All,
    },
    WriteRefusal {
        code: "absorb/taken",
        what: "a record of the target's own has the same key, or the same value in a field that is unique there",
        requests: Requests::All,
    },
    WriteRefusal {
        code: "absorb/key",
        what: "a record keeps its key, and v2 makes none whose key v1 could not say",
        requests: Requests::All,
    },
    WriteRefusal {
        code: "absorb/reference",
        what: "the other version could not say which record this one would name",
        requests: Requests::All,
    },
    WriteRefusal {
        code: "absorb/unmoved-reference",
        what: "the record names one that has not moved yet, which the spec does not allow",
        requests: Requests::All,
    },
    WriteRefusal {
        code: "absorb/unassigned",
        what: "records have their keys of the target from the phase prepare on",
        requests: Requests::All,
    },
];
