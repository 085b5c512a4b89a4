//! Counts and times of the gateway and the engine, for `/metrics`.
