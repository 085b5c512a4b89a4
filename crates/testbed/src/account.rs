//! The system account under which a server runs: servers refuse to be root.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::Outcome;

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// The words in front of a command so that it runs as `account` when we are
/// root; none when we are somebody else already.
pub(crate) fn prefix(account: &str) -> Vec<String> {
    if !is_root() {
        return Vec::new();
    }
    let words = ["setpriv", &format!("--reuid={account}"), &format!("--regid={account}"), "--init-groups"];
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Gives a folder and all in it to `account` when we are root.
pub(crate) fn give(folder: &Path, account: &str) -> Outcome<()> {
    if !is_root() {
        return Ok(());
    }
    let mut chown = Command::new("chown");
    chown.arg("-R").arg(format!("{account}:{account}")).arg(folder);
    done(&mut chown, "chown")
}

/// Whether `account` can run this file: a checkout in root's home is closed to others.
pub(crate) fn can_run(account: &str, file: &Path) -> bool {
    let mut words = prefix(account);
    words.extend(["test".to_owned(), "-x".to_owned(), file.display().to_string()]);
    command(&words).status().is_ok_and(|status| status.success())
}

/// A command from its words.
pub(crate) fn command(words: &[String]) -> Command {
    let mut command = Command::new(words.first().map_or("false", String::as_str));
    command.args(words.iter().skip(1));
    command
}

/// Runs a command to its end; its output is told only when it fails.
pub(crate) fn done(command: &mut Command, what: &str) -> Outcome<()> {
    let output = command.stdin(std::process::Stdio::null()).output().map_err(|e| format!("{what}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let told = [output.stdout, output.stderr].concat();
    Err(format!("{what} ended with {}:\n{}", output.status, String::from_utf8_lossy(&told)))
}
