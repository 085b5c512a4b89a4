//! The control API: the verbs of the CLI over HTTP, on a port of its own.
