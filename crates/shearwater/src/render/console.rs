//! The two streams: answers on standard output, everything else on standard error.

use std::io::{IsTerminal, Write};

use serde_json::Value;
use shearwater_core::spec::Colour;

use crate::cli::exit::{Exit, Failure, Outcome};

/// What answers look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text for people.
    Text,
    /// One JSON object for programs.
    Json,
}

/// Where a command speaks.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    /// What answers look like.
    pub format: Format,
    /// Whether messages may be coloured.
    pub colour: Colour,
    /// Whether somebody watches standard error.
    pub watched: bool,
}

impl Console {
    /// The process's own streams. Colours only on a terminal, and never with `NO_COLOR`.
    pub fn new(format: Format) -> Console {
        let watched = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = if watched && !no_colour { Colour::Ansi } else { Colour::Never };
        Console { format, colour, watched }
    }

    /// The answer: `text` for people, `json` for programs.
    pub fn answer(&self, json: &Value, text: &str) -> Outcome<()> {
        match self.format {
            Format::Text => write_out(text),
            Format::Json => write_out(&format!("{json}\n")),
        }
    }

    /// Part of an answer that is the same in both formats, for example exported records.
    pub fn raw(&self, text: &str) -> Outcome<()> {
        write_out(text)
    }

    /// Something on the way, for people only.
    pub fn note(&self, text: &str) {
        if self.format == Format::Text {
            // Nobody reads it: nothing to be done.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// How the command failed.
    pub fn failure(&self, failure: &Failure) {
        let text = match self.format {
            Format::Text => failure.text(),
            Format::Json => format!("{}\n", failure.json()),
        };
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

fn write_out(text: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        // The reader has seen enough, as `head` does.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            Err(Failure::new(Exit::Failed, "output/failed", format!("cannot write to standard output: {error}")))
        }
    }
}
