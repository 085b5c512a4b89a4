//! The cache under `target/testbed/`: what is fetched or made once and then
//! used by every test process, each entry made under one lock and seen whole
//! or not at all.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::done;
use crate::{Outcome, account};

/// The cache's folder. Only the workspace's own target folder is known here;
/// `CARGO_TARGET_DIR` is obeyed.
pub(crate) fn folder() -> Outcome<PathBuf> {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => PathBuf::from(target),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")),
    };
    let folder = target.join("testbed");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    folder.canonicalize().map_err(|e| format!("{}: {e}", folder.display()))
}

/// The entry `key`, made by `make` in an empty folder if it is not there. Test
/// processes that run side by side wait for the one that makes it.
pub(crate) fn entry(key: &str, make: impl FnOnce(&Path) -> Outcome<()>) -> Outcome<PathBuf> {
    let folder = folder()?;
    let entry = folder.join(key);
    if entry.exists() {
        return Ok(entry);
    }
    let _lock = lock(&folder, key)?;
    if entry.exists() {
        return Ok(entry);
    }
    let unfinished = folder.join(format!("{key}.unfinished"));
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(|e| format!("{}: {e}", unfinished.display()))?;
    }
    std::fs::create_dir(&unfinished).map_err(|e| format!("{}: {e}", unfinished.display()))?;
    make(&unfinished)?;
    std::fs::rename(&unfinished, &entry).map_err(|e| format!("{}: {e}", entry.display()))?;
    Ok(entry)
}

/// Holds the named lock of the cache until the answer is dropped (or the
/// process ends, however it ends).
pub(crate) fn lock(folder: &Path, name: &str) -> Outcome<File> {
    let path = folder.join(format!("{name}.lock"));
    let file = File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    file.lock().map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(file)
}

/// Copies a folder's content into an existing or a new folder.
pub(crate) fn copy(from: &Path, to: &Path) -> Outcome<()> {
    let mut copy = Command::new("cp");
    copy.args(["-R", "-p", "--reflink=auto"]).arg(from.join(".")).arg(to);
    done(&mut copy, "cp")
}

/// A new folder for one server, in the system's folder for temporary files:
/// the account that the server runs under can get there, and the path is short
/// enough for a socket. The supervisor removes it.
pub(crate) fn run_folder(account: &str) -> Outcome<PathBuf> {
    let folder = own_run_folder()?;
    account::give(&folder, account)?;
    Ok(folder)
}

/// As [`run_folder`], for a server that runs under our own account.
pub(crate) fn own_run_folder() -> Outcome<PathBuf> {
    let folder =
        tempfile::Builder::new().prefix("testbed-").tempdir().map_err(|e| format!("a temporary folder: {e}"))?;
    Ok(folder.keep())
}
