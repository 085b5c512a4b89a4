//! The law over generated records.
