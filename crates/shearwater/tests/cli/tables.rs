//! `init` and `plan` over tables of plain columns: what is proposed for each
//! oddity, and what is found before anything is written.

use crate::transcript::Transcript;

/// A small store of everything that a table can be.
const MUSIC: &str = "
CREATE TABLE track (
    track_id INTEGER PRIMARY KEY, name VARCHAR(40) NOT NULL, album_id INTEGER NOT NULL REFERENCES album (album_id),
    price NUMERIC(10, 2) NOT NULL, added DATETIME, explicit BOOLEAN NOT NULL DEFAULT 0,
    minutes REAL GENERATED ALWAYS AS (price * 60) VIRTUAL
);
CREATE TABLE album (album_id INTEGER PRIMARY KEY, title TEXT NOT NULL, artist_id INT NOT NULL REFERENCES artist ON DELETE CASCADE,
    UNIQUE (artist_id, title));
CREATE TABLE artist (artist_id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE UNIQUE, leader INT REFERENCES artist);
CREATE TABLE playlist_track (playlist TEXT NOT NULL, position INT NOT NULL, track_id INT NOT NULL REFERENCES track,
    PRIMARY KEY (playlist, position)) WITHOUT ROWID;
CREATE TABLE notes (note TEXT);
CREATE TABLE players (_id PRIMARY KEY, doc TEXT);
INSERT INTO artist VALUES (1, 'Accept', NULL), (2, 'Aerosmith', 1);
INSERT INTO album VALUES (1, 'Balls to the Wall', 1), (2, 'Big Ones', 2);
INSERT INTO track VALUES (1, 'Fast As a Shark', 1, 0.99, '2009-01-01 00:00:00', 0), (2, 'Walk On Water', 2, 2, NULL, 1);
INSERT INTO playlist_track VALUES ('a', 1, 1), ('a', 2, 2), ('b', 1, 1);
INSERT INTO notes VALUES ('x');
INSERT INTO players VALUES (1, '{\"_id\":1,\"name\":\"Ann\"}');
";

fn sqlite(t: &Transcript, file: &str, sql: &str) {
    rusqlite::Connection::open(t.path(file)).unwrap().execute_batch(sql).unwrap();
}

fn music() -> Transcript {
    let t = Transcript::new();
    sqlite(&t, "music.db", MUSIC);
    t
}

#[test]
fn specs_for_all_tables() {
    let mut t = music();
    t.fails("init sqlite:music.db sqlite:app.db --all", 2);
    t.fails("init sqlite:music.db sqlite:app.db --all --output specs", 3);
    for file in ["1-artist", "2-album", "5-track", "6-playlist_track"] {
        let text = t.read(&format!("specs/{file}.toml"));
        t.say(&format!("specs/{file}.toml\n{text}"));
    }
    t.say("the files are somebody's now");
    t.fails("init sqlite:music.db sqlite:app.db --all --output specs", 3);
    t.fails("plan specs/5-track.toml", 0);
    t.check("tables");
}

#[test]
fn a_table_without_a_key_needs_one_to_be_named() {
    let mut t = music();
    t.fails("init sqlite:music.db sqlite:app.db --table notes", 3);
    t.ok("init sqlite:music.db sqlite:app.db --table notes --key note --output notes.toml");
    t.fails("plan notes.toml", 3);
    t.check("tables_keyless");
}

#[test]
fn a_target_that_is_there_already() {
    let mut t = music();
    sqlite(
        &t,
        "app.db",
        "CREATE TABLE Artist (ArtistId INTEGER PRIMARY KEY, Name TEXT NOT NULL UNIQUE, Leader INT, Country TEXT NOT NULL)",
    );
    t.ok("init sqlite:music.db sqlite:app.db --table artist --output artist.toml");
    let text = t.read("artist.toml");
    t.say(&text);
    t.fails("plan artist.toml", 3);
    t.check("tables_existing");
}

#[test]
fn thorough_looks_at_every_record() {
    let mut t = music();
    let more: String =
        (3..3_000).map(|n| format!("INSERT INTO artist VALUES ({n}, 'artist {n}', {});", n / 2)).collect();
    sqlite(&t, "music.db", &format!("BEGIN; {more} COMMIT"));
    t.ok("init sqlite:music.db sqlite:app.db --table artist --output artist.toml");
    let spec = t.read("artist.toml").replace("leader = { type = \"int\"", "leader = { type = \"int\", unique = true");
    t.write("artist.toml", &spec);
    t.ok("plan artist.toml --thorough");
    t.check("tables_thorough");
}

/// A chain of tables, moved in order with their foreign keys, and back again.
#[test]
fn tables_with_foreign_keys_are_moved_one_after_the_other() {
    let mut t = music();
    t.run("init sqlite:music.db sqlite:app.db --all --output specs");
    let files = ["1-artist", "2-album", "5-track", "6-playlist_track"];
    let names = ["artist-move", "album-move", "track-move", "playlist-track-move"];
    for (file, name) in files.iter().zip(names) {
        let text = t.read(&format!("specs/{file}.toml"));
        t.write(&format!("specs/{file}.toml"), &(text + "\n[gates]\npause_ms_max = 60_000\n"));
        t.ok(&format!("start specs/{file}.toml"));
        for step in ["verify", "advance", "advance", "ramp 100%", "advance"] {
            t.ok(&format!("{step} --migration {name}"));
        }
    }
    t.say("an orphan cannot be left behind");
    sqlite(&t, "app.db", "PRAGMA foreign_keys = OFF; DELETE FROM album WHERE album_id = 2");
    t.fails("complete --migration track-move", 1);
    t.ok("rollback --migration album-move");
    t.check("tables_moved");
}
