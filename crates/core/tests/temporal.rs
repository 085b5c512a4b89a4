//! Dates and times: exact, in the stores' ranges, by RFC 3339.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod given;

use std::fmt::{Debug, Display};
use std::str::FromStr;

use proptest::prelude::*;
use shearwater_core::value::{Date, Instant, LocalTimestamp, TemporalError, Time, json};

/// Reads, compares, prints, reads again.
fn check<T>(text: &str, expect: T, printed: &str)
where
    T: FromStr<Err = TemporalError> + Display + Debug + PartialEq,
{
    let read: T = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(read, expect, "{text}");
    assert_eq!(read.to_string(), printed, "{text}");
    assert_eq!(printed.parse::<T>(), Ok(expect), "{printed}");
}

#[test]
fn dates() {
    let same = |text: &str, days: i32| check(text, Date::Days(days), text);
    same("1970-01-01", 0);
    same("1969-12-31", -1);
    same("2000-02-29", 11_016);
    same("0001-01-01", -719_162);
    same("0000-12-31", -719_163);
    same("9999-12-31", 2_932_896);
    same("+010000-01-01", 2_932_897);
    same("-000043-03-15", -735_160);
    same("+5881580-07-11", i32::MAX);
    same("-5877641-06-23", i32::MIN);
    check("0044-03-15 BC", Date::Days(-735_160), "-000043-03-15");
    check("0001-12-31 BC", Date::Days(-719_163), "0000-12-31");
    check("+002000-01-01", Date::Days(10_957), "2000-01-01");
    check("infinity", Date::Infinity, "infinity");
    check("-infinity", Date::NegInfinity, "-infinity");
}

#[test]
fn times_and_timestamps() {
    let time = |text: &str, micros: i64, printed: &str| check(text, Time { micros }, printed);
    time("00:00:00", 0, "00:00:00");
    time("23:59:59.999999", 86_399_999_999, "23:59:59.999999");
    time("24:00:00", 86_400_000_000, "24:00:00");
    time("12:30:15.5", 45_015_500_000, "12:30:15.500");
    time("12:30:15.000001000", 45_015_000_001, "12:30:15.000001");
    let local = |text: &str, micros: i64, printed: &str| check(text, LocalTimestamp::Micros(micros), printed);
    local("1970-01-01T00:00:00", 0, "1970-01-01T00:00:00");
    local("1969-12-31 23:59:59.999999", -1, "1969-12-31T23:59:59.999999");
    local("0044-03-15t00:00:00 BC", -735_160 * 86_400_000_000, "-000043-03-15T00:00:00");
    check("infinity", LocalTimestamp::Infinity, "infinity");
    local("+294247-01-10T04:00:54.775807", i64::MAX, "+294247-01-10T04:00:54.775807");
    local("-290308-12-21T19:59:05.224192", i64::MIN, "-290308-12-21T19:59:05.224192");
}

#[test]
fn instants() {
    let instant = |text: &str, micros: i64, printed: &str| check(text, Instant::Micros(micros), printed);
    instant("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z");
    instant("1985-04-12T23:20:50.52Z", 482_196_050_520_000, "1985-04-12T23:20:50.520Z");
    instant("1996-12-19T16:39:57-08:00", 851_042_397_000_000, "1996-12-20T00:39:57Z");
    instant("1937-01-01T12:00:27.87+00:20", -1_041_337_172_130_000, "1937-01-01T11:40:27.870Z");
    instant("1970-01-01t00:00:00z", 0, "1970-01-01T00:00:00Z");
    instant("1970-01-01T00:00:00-00:00", 0, "1970-01-01T00:00:00Z");
    instant("1970-01-01 00:00:00+23:59", -86_340_000_000, "1969-12-31T00:01:00Z");
    check("-infinity", Instant::NegInfinity, "-infinity");
    assert_eq!(Instant::from_millis(-1), Some(Instant::Micros(-1_000)));
    assert_eq!(Instant::from_millis(i64::MAX), None);
    for offset in ["-0700", "-07:00", "-07"] {
        let text = format!("2009-04-01T00:00:00.000{offset}");
        assert_eq!(Instant::parse_lenient(&text), "2009-04-01T07:00:00Z".parse(), "{text}");
        assert_eq!(text.parse::<Instant>().is_ok(), offset == "-07:00", "{text}");
    }
}

#[test]
fn what_cannot_be_held_is_refused_by_name() {
    fn refused<T: FromStr<Err = TemporalError> + Debug>(text: &str, expect: &str) {
        let error = text.parse::<T>().unwrap_err();
        assert!(error.0.contains(expect), "{text}: {error}");
    }
    refused::<Date>("", "a year of four digits");
    refused::<Date>("20-01-01", "a year of four digits");
    refused::<Date>("12024-01-01", "a year of four digits");
    refused::<Date>("2023-02-29", "no such day");
    refused::<Date>("1900-02-29", "no such day");
    refused::<Date>("2023-13-01", "no such day");
    refused::<Date>("2023-00-01", "no such day");
    refused::<Date>("2023-04-31", "no such day");
    refused::<Date>("2023-1-1", "a month of two digits");
    refused::<Date>("2023-01-01T", "something follows");
    refused::<Date>("-000000-01-01", "no year -000000");
    refused::<Date>("+2000-01-01", "or a sign and at least six");
    refused::<Date>("0000-01-01 BC", "before Christ");
    refused::<Date>("+5881580-07-12", "outside the range");
    refused::<Date>("+999999999-01-01", "outside the range");
    refused::<Date>("Infinity", "a year of four digits");
    refused::<Time>("24:00:00.000001", "no such time");
    refused::<Time>("25:00:00", "no such time");
    refused::<Time>("12:60:00", "no such time");
    refused::<Time>("12:00:61", "no such time");
    refused::<Time>("23:59:60", "leap second");
    refused::<Time>("12:00", "`:` after the minute");
    refused::<Time>("12:00:00.", "digits after the point");
    refused::<Time>("12:00:00.0000001", "finer than a microsecond");
    refused::<Time>("12:00:00Z", "something follows");
    refused::<LocalTimestamp>("2023-01-01T24:00:00", "the next day");
    refused::<LocalTimestamp>("2023-01-01", "expected `T`");
    refused::<LocalTimestamp>("2023-01-01T00:00:00Z", "something follows");
    refused::<LocalTimestamp>("+294247-01-10T04:00:54.775808", "outside the range");
    refused::<Instant>("2023-01-01T00:00:00", "`Z` or an offset");
    refused::<Instant>("2023-01-01T00:00:00+24:00", "no such offset");
    refused::<Instant>("2023-01-01T00:00:00+01:60", "no such offset");
    refused::<Instant>("2023-01-01T00:00:00+0100", "an offset such as");
    assert_eq!(Date::from_ymd(2023, 2, 29), None);
    assert_eq!(Date::from_ymd(0, 2, 29).unwrap().to_string(), "0000-02-29");
    assert_eq!(Time::from_micros(86_400_000_001), None);
}

/// What the suite holds valid and microseconds since 1970 cannot hold: a leap
/// second, a nanosecond.
fn refused_on_purpose(text: &str) -> bool {
    let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
    text.contains(":60") || fraction.bytes().take_while(u8::is_ascii_digit).count() > 6
}

#[test]
fn the_schema_suites_verdicts() {
    let mut verdicts = 0;
    let mut suite = |file: &str, accepts: &dyn Fn(&str) -> bool| {
        let text = given::bytes(&format!("nasty/json-schema-formats/format/{file}.json"));
        let groups: serde_json::Value = serde_json::from_slice(&text).unwrap();
        for test in groups.as_array().unwrap().iter().flat_map(|group| group["tests"].as_array().unwrap()) {
            let Some(text) = test["data"].as_str() else { continue };
            let valid = test["valid"].as_bool().unwrap();
            verdicts += 1;
            let expect = valid && !refused_on_purpose(text);
            assert_eq!(accepts(text), expect, "{file}: {text:?}: {}", test["description"]);
        }
    };
    suite("date", &|text| text.parse::<Date>().is_ok());
    // The suite's times carry an offset, which a time of day has not: on a day they are instants.
    suite("time", &|text| format!("1998-12-31T{text}").parse::<Instant>().is_ok());
    suite("date-time", &|text| text.parse::<Instant>().is_ok());
    suite("uuid", &|text| json::parse(serde_json::json!({ "@uuid": text }).to_string().as_bytes()).is_ok());
    assert!(verdicts > 100, "only {verdicts} texts");
}

proptest! {
    #[test]
    fn dates_come_back(days: i32) {
        let date = Date::Days(days);
        prop_assert_eq!(date.to_string().parse(), Ok(date));
        let (year, month, day) = date.to_ymd().unwrap();
        prop_assert_eq!(Date::from_ymd(year, month, day), Some(date));
    }

    #[test]
    fn a_day_later_is_the_next_in_the_calendar(days in -3_000_000..3_000_000) {
        let (year, month, day) = Date::Days(days).to_ymd().unwrap();
        let next = Date::from_ymd(year, month, day + 1)
            .or_else(|| Date::from_ymd(year, month + 1, 1))
            .or_else(|| Date::from_ymd(year + 1, 1, 1));
        prop_assert_eq!(next, Some(Date::Days(days + 1)));
    }

    #[test]
    fn another_calendar_agrees(days in -4_371_587_i32..2_932_896) {
        let (year, month, day) = Date::Days(days).to_ymd().unwrap();
        let theirs = jiff::civil::date(1970, 1, 1) + jiff::ToSpan::days(i64::from(days));
        prop_assert_eq!((year, month as i8, day as i8), (i64::from(theirs.year()), theirs.month(), theirs.day()));
    }

    #[test]
    fn timestamps_and_instants_come_back(micros: i64) {
        let (local, instant) = (LocalTimestamp::Micros(micros), Instant::Micros(micros));
        prop_assert_eq!(local.to_string().parse(), Ok(local));
        prop_assert_eq!(instant.to_string().parse(), Ok(instant));
    }

    #[test]
    fn an_offset_moves_the_instant(micros in -1_000_000_000_000_000_i64..1_000_000_000_000_000, minutes in -1439_i64..1440) {
        let local = LocalTimestamp::Micros(micros + minutes * 60_000_000);
        let sign = if minutes < 0 { '-' } else { '+' };
        let text = format!("{local}{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60);
        prop_assert_eq!(text.parse(), Ok(Instant::Micros(micros)), "{}", text);
    }

    #[test]
    fn noise_is_no_crash(text in "[0-9TZ:+. BC-]{0,30}") {
        let _ = (text.parse::<Date>(), text.parse::<Time>(), text.parse::<LocalTimestamp>(), text.parse::<Instant>());
    }
}
