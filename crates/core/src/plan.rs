//! Plan: a spec checked against the live stores, with predictions and hazards.
