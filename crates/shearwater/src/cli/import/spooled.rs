//! A file that can be read twice, and what its beginning says about its form.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path as FilePath, PathBuf};

use shearwater_core::import::{Form, Input};

use super::FormatArg;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::wiring;

/// Bytes looked at to tell the form of a file.
const SNIFF_BYTES_MAX: u64 = 64 * 1024;

/// A file that can be read twice; standard input is copied to a temporary one.
pub(super) struct Spooled {
    pub(super) path: PathBuf,
    is_ours: bool,
}

impl Spooled {
    pub(super) fn of(file: &FilePath) -> Outcome<Spooled> {
        if file != FilePath::new("-") {
            File::open(file).map_err(|error| Failure::file("read", file, &error))?;
            if file.is_dir() {
                let message = format!("{} is a directory", file.display());
                return Err(Failure::new(Exit::Problems, "file/unusable", message).hint("name a file"));
            }
            return Ok(Spooled { path: file.to_owned(), is_ours: false });
        }
        let path = wiring::scratch_path("import");
        let spooled = Spooled { path: path.clone(), is_ours: true };
        let failed = |error: std::io::Error| Failure::file("copy standard input to", &path, &error);
        let mut out = File::create(&path).map_err(failed)?;
        std::io::copy(&mut std::io::stdin().lock(), &mut out).map_err(failed)?;
        Ok(spooled)
    }

    /// The file as its owner calls it.
    pub(super) fn shown(&self) -> String {
        if self.is_ours { "standard input".to_owned() } else { self.path.display().to_string() }
    }
}

pub(super) fn open(path: &FilePath) -> Outcome<BufReader<File>> {
    let file = File::open(path).map_err(|error| Failure::file("read", path, &error))?;
    Ok(BufReader::with_capacity(256 * 1024, file))
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if self.is_ours {
            // What stays in the temporary directory is the system's to clean.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

pub(super) fn form(format: FormatArg, spooled: &Spooled) -> Outcome<Form> {
    Ok(match format {
        FormatArg::Jsonl | FormatArg::Array => Form::Json,
        FormatArg::Export => Form::Tagged,
        FormatArg::Mongo => Form::MongoDb,
        FormatArg::Dynamodb => Form::DynamoDb,
        FormatArg::Auto => sniff(&head(spooled)?),
    })
}

/// What the numbers of records count: lines, or the elements of an array.
pub(super) fn unit(spooled: &Spooled, input: &Input) -> Outcome<&'static str> {
    let is_array = head(spooled)?.trim_ascii_start().starts_with(b"[");
    Ok(if is_array || input.root.is_some() { "element" } else { "line" })
}

fn head(spooled: &Spooled) -> Outcome<Vec<u8>> {
    let mut head = Vec::new();
    let read = open(&spooled.path)?.take(SNIFF_BYTES_MAX).read_to_end(&mut head);
    read.map_err(|error| Failure::file("read", &spooled.path, &error))?;
    Ok(head)
}

/// The form of a file from its beginning: each has marks that plain data hardly has.
fn sniff(head: &[u8]) -> Form {
    let compact: String = String::from_utf8_lossy(head).chars().filter(|c| !c.is_whitespace()).collect();
    let has = |marks: &[&str]| marks.iter().any(|mark| compact.contains(mark));
    if has(&[
        "{\"$oid\":\"",
        "{\"$date\":",
        "{\"$numberLong\":\"",
        "{\"$numberInt\":\"",
        "{\"$numberDouble\":\"",
        "{\"$numberDecimal\":\"",
        "{\"$binary\":",
    ]) {
        Form::MongoDb
    } else if compact.starts_with("{\"Item\":{")
        || compact.starts_with("{\"ModelName\":")
        || has(&[":{\"S\":\"", ":{\"N\":\"", "\"PutRequest\":{"])
    {
        Form::DynamoDb
    } else if has(&[
        "{\"@decimal\":\"",
        "{\"@instant\":\"",
        "{\"@date\":\"",
        "{\"@bytes\":\"",
        "{\"@document\":{",
        "{\"@extended\":",
    ]) {
        Form::Tagged
    } else {
        Form::Json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_told_from_marks() {
        for (head, expected) in [
            (r#"{"_id": 1}"#, Form::Json),
            (r#"[{"a": "S", "N": 1}]"#, Form::Json),
            (r#"{"_id": {"$oid": "573a1390f29313caabcd42e8"}}"#, Form::MongoDb),
            (r#"{"Item": {"id": {"S": "x"}}}"#, Form::DynamoDb),
            (r#"{"id": {"N": "1"}}"#, Form::DynamoDb),
            (r#"{"at": {"@instant": "2026-01-01T00:00:00Z"}}"#, Form::Tagged),
            ("", Form::Json),
        ] {
            assert_eq!(sniff(head.as_bytes()), expected, "{head}");
        }
    }
}
