//! A certificate for a server, by an authority of its own.

use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::account::done;

/// Writes `ca.pem`, `server.pem` and `server.key` into the folder: valid for
/// `localhost` and 127.0.0.1, for two days.
pub(crate) fn make_certificate(folder: &Path) -> Outcome<()> {
    let names = folder.join("names");
    std::fs::write(&names, "subjectAltName=DNS:localhost,IP:127.0.0.1\n").map_err(|e| format!("openssl: {e}"))?;
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(folder, &format!("req -x509 {key} -days 2 -subj /CN=testbed-authority -keyout ca.key -out ca.pem"))?;
    openssl(folder, &format!("req {key} -subj /CN=localhost -keyout server.key -out server.csr"))?;
    openssl(
        folder,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    )?;
    done(Command::new("chmod").args(["600", "server.key", "ca.key"]).current_dir(folder), "chmod")
}

fn openssl(folder: &Path, words: &str) -> Outcome<()> {
    done(Command::new("openssl").args(words.split(' ')).current_dir(folder), "openssl")
}
