//! The testbed keeps its word: servers answer, databases are apart, what is
//! done to a server happens, and none outlives its test process.

mod ends;
mod lives;
