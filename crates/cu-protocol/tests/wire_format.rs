//! Freezes the bytes on the wire: this release reads the messages of older releases, and sends the
//! same bytes.
//!
//! `fixtures/v1`, and `fixtures/v2` to `v4` for what came with these versions, hold one line per sample: its
//! name, then its frame in hexadecimal digits or its JSON line. A change of a line breaks that version of the
//! protocol: it needs a new version in `Versions::SPOKEN` and fixtures of its own, and the old ones stay.
#![allow(clippy::unwrap_used, reason = "a test that meets an error fails")]

#[path = "support/samples.rs"]
mod samples;

use std::collections::BTreeSet;
use std::fmt::{Debug, Write};

use cu_protocol::frame::{self, Decoder};
use cu_protocol::lines::{self, Line, LineDecoder};
use cu_protocol::{FromServer, ToServer, Wire};

use samples::Samples;

fn to_digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").unwrap();
        digits
    })
}

fn from_digits(digits: &str) -> Vec<u8> {
    assert!(digits.is_ascii(), "{digits}");
    (0..digits.len())
        .step_by(2)
        .map(|start| u8::from_str_radix(&digits[start..start + 2], 16).unwrap())
        .collect()
}

/// Compares a fixture with what this release writes, then reads it.
fn check<T: Debug + PartialEq>(
    fixture: &str,
    samples: &Samples<T>,
    write: impl Fn(&T) -> String,
    read: impl Fn(&str) -> T,
) {
    let written = samples
        .iter()
        .map(|(name, sample)| format!("{name}: {}\n", write(sample)))
        .collect::<String>();
    assert_eq!(fixture, written, "the fixture would now be:\n{written}");
    for (line, (name, sample)) in fixture.lines().zip(samples) {
        let (_, encoded) = line.split_once(": ").unwrap();
        assert_eq!(read(encoded), *sample, "{name}");
    }
}

fn check_frames<T: Wire + Debug + PartialEq>(fixture: &str, samples: &Samples<T>) {
    check(
        fixture,
        samples,
        |sample| to_digits(&frame::encode(sample).unwrap()),
        |digits| {
            let mut decoder = Decoder::new();
            decoder.feed(&from_digits(digits));
            decoder.next_message().unwrap().unwrap()
        },
    );
}

fn check_lines<T: Line + Debug + PartialEq>(fixture: &str, samples: &Samples<T>) {
    check(
        fixture,
        samples,
        |sample| {
            let line = String::from_utf8(lines::to_line(sample)).unwrap();
            line.strip_suffix('\n').unwrap().to_owned()
        },
        |line| {
            let mut decoder = LineDecoder::new();
            decoder.feed(line.as_bytes());
            decoder.feed(b"\n");
            decoder.next_line().unwrap().unwrap()
        },
    );
}

#[test]
fn frames_to_the_server_stay_as_they_are() {
    let fixture = include_str!("fixtures/v1/to_server.txt");
    check_frames::<ToServer>(fixture, &samples::to_server());
}

#[test]
fn frames_that_came_with_version_2_stay_as_they_are() {
    let fixture = include_str!("fixtures/v2/to_server.txt");
    let samples = samples::to_server_of_version_2();
    check_frames::<ToServer>(fixture, &samples);
    for (name, sample) in samples {
        let ToServer::Message(envelope) = sample else {
            continue;
        };
        assert_eq!(envelope.message.since(), 2, "{name}");
        assert!(envelope.message.is_of_supervisor(), "{name}");
    }
}

#[test]
fn frames_that_came_with_version_3_stay_as_they_are() {
    let fixture = include_str!("fixtures/v3/to_server.txt");
    let samples = samples::to_server_of_version_3();
    check_frames::<ToServer>(fixture, &samples);
    for (name, sample) in samples {
        let ToServer::Message(envelope) = sample else {
            continue;
        };
        assert_eq!(envelope.message.since(), 3, "{name}");
        assert!(envelope.message.is_of_supervisor(), "{name}");
    }
}

#[test]
fn an_older_server_receives_only_messages_it_knows() {
    for (name, sample) in samples::to_server() {
        if let ToServer::Message(envelope) = sample {
            assert_eq!(envelope.message.since(), 1, "{name}");
        }
    }
}

#[test]
fn frames_from_the_server_stay_as_they_are() {
    let fixture = include_str!("fixtures/v1/from_server.txt");
    check_frames::<FromServer>(fixture, &samples::from_server());
    for (name, sample) in samples::from_server() {
        assert_eq!(sample.since(), 1, "{name}");
        assert_eq!(sample.clone().for_version(1), sample, "{name}");
    }
}

#[test]
fn frames_from_the_server_of_version_4_stay_as_they_are() {
    let fixture = include_str!("fixtures/v4/from_server.txt");
    let samples = samples::from_server_of_version_4();
    check_frames::<FromServer>(fixture, &samples);
    for (name, sample) in samples {
        assert_eq!(sample.since(), 4, "{name}");
        assert_eq!(sample.clone().for_version(4), sample, "{name}");
    }
}

#[test]
fn an_older_supervisor_hears_an_acknowledgement_instead() {
    let acknowledgement = cu_protocol::Acknowledgement {
        sequence: cu_protocol::Sequence(7),
        wish: None,
    };
    let known = FromServer::Stay(cu_protocol::Sequence(7)).for_version(3);
    assert_eq!(known, FromServer::Acknowledgement(acknowledgement));
}

#[test]
fn lines_from_a_program_stay_as_they_are() {
    let fixture = include_str!("fixtures/v1/program_requests.txt");
    check_lines(fixture, &samples::program_requests());
}

#[test]
fn lines_to_a_program_stay_as_they_are() {
    let fixture = include_str!("fixtures/v1/program_answers.txt");
    check_lines(fixture, &samples::program_answers());
}

#[test]
fn every_kind_of_everything_has_a_sample() {
    let names = |names: Vec<String>| -> BTreeSet<String> {
        names
            .iter()
            .flat_map(|name| name.split(' ').map(str::to_owned))
            .collect()
    };
    fn only<T>(samples: Samples<T>) -> Vec<String> {
        samples.into_iter().map(|(name, _)| name).collect()
    }
    let to_server = samples::to_server();
    let mut words = names(only(samples::to_server()));
    words.extend(names(only(samples::to_server_of_version_2())));
    words.extend(names(only(samples::to_server_of_version_3())));
    for (_, sample) in to_server {
        if let ToServer::Message(envelope) = sample
            && let cu_protocol::Message::EarlyMetrics(metrics) = envelope.message
        {
            words.extend(names(metrics.into_keys().collect()));
        }
    }
    let mut from_server = names(only(samples::from_server()));
    from_server.extend(names(only(samples::from_server_of_version_4())));
    let mut requests = names(only(samples::program_requests()));
    // Programs may not send the messages that came with versions 2 and 3.
    requests.extend(names(only(samples::to_server_of_version_2())));
    requests.extend(names(only(samples::to_server_of_version_3())));
    let answers = names(only(samples::program_answers()));
    for (kinds, seen) in [
        (samples::TO_SERVER, &words),
        (samples::ROLES, &words),
        (samples::MESSAGES, &words),
        (samples::ENDS, &words),
        (samples::CAUSES, &words),
        (samples::CHANGES, &words),
        (samples::CONDITIONS, &words),
        (samples::VALUES, &words),
        (samples::REQUESTS, &words),
        (samples::SELECTIONS, &words),
        (samples::FROM_SERVER, &from_server),
        (samples::WISHES, &from_server),
        (samples::ANSWERS, &from_server),
        (samples::PROGRAM_REQUESTS, &requests),
        (samples::MESSAGES, &requests),
        (samples::PROGRAM_ANSWERS, &answers),
        (samples::CAUSES, &answers),
    ] {
        for &kind in kinds {
            assert!(seen.contains(kind), "no sample of {kind}");
        }
    }
}
