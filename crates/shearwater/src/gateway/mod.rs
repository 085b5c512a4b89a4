//! The gateway: an entity's HTTP API, in both shapes, in every phase.
