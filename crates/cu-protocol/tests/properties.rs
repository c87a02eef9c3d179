//! Any message arrives unchanged, and any other bytes are an error: never a panic, and never more
//! memory than the limits allow.
#![allow(clippy::unwrap_used, reason = "a test that meets an error fails")]

#[path = "support/memory.rs"]
mod memory;
#[path = "support/session.rs"]
mod session;
#[path = "support/strategies.rs"]
mod strategies;

use std::fmt::Debug;

use cu_protocol::frame::{self, Decoder};
use cu_protocol::handshake::{Handshake, Step, Then};
use cu_protocol::lines::{self, Line, LineDecoder};
use cu_protocol::{
    Error, FromServer, Message, MetricValue, Opener, ProgramAnswer, ProgramRequest, Result, Secret,
    ToServer, Versions, Wire,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use memory::peak_of;
use session::established;
use strategies::{from_server, metric_value, program_answer, program_request, to_server};

/// Cuts bytes at any places into pieces, empty ones among them.
fn pieces<'bytes>(bytes: &'bytes [u8], cuts: &[Index]) -> Vec<&'bytes [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

/// The output of a decoder that is fed piece by piece, up to the last piece or the first error.
fn all<T>(
    pieces: &[&[u8]],
    mut feed_and_drain: impl FnMut(&[u8], &mut Vec<T>) -> Result<()>,
) -> (Vec<T>, Option<Error>) {
    let mut values = Vec::new();
    for piece in pieces {
        if let Err(error) = feed_and_drain(piece, &mut values) {
            return (values, Some(error));
        }
    }
    (values, None)
}

fn decode<T: Wire>(mut decoder: Decoder, pieces: &[&[u8]]) -> (Vec<T>, Option<Error>) {
    all(pieces, |piece, messages| {
        decoder.feed(piece);
        while let Some(message) = decoder.next_message()? {
            messages.push(message);
        }
        Ok(())
    })
}

fn open<T: Wire>(opener: &mut Opener, pieces: &[&[u8]]) -> (Vec<T>, Option<Error>) {
    all(pieces, |piece, messages| {
        opener.feed(piece);
        while let Some(message) = opener.next_message()? {
            messages.push(message);
        }
        Ok(())
    })
}

fn read_lines<T: Line>(limit: usize, pieces: &[&[u8]]) -> (Vec<T>, Option<Error>) {
    let mut decoder = LineDecoder::with_limit(limit);
    all(pieces, |piece, values| {
        decoder.feed(piece);
        while let Some(value) = decoder.next_line()? {
            values.push(value);
        }
        Ok(())
    })
}

fn assert_frames_survive<T: Wire + Debug + PartialEq>(messages: &[T], cuts: &[Index]) {
    let frames: Vec<u8> = messages
        .iter()
        .flat_map(|message| frame::encode(message).unwrap())
        .collect();
    let (decoded, error) = decode::<T>(Decoder::new(), &pieces(&frames, cuts));
    assert!(error.is_none(), "{error:?}");
    assert_eq!(decoded, messages);
    let again = decoded
        .iter()
        .flat_map(|message| frame::encode(message).unwrap());
    assert!(again.eq(frames));
}

fn assert_lines_survive<T: Line + Debug + PartialEq>(values: &[T], cuts: &[Index]) {
    let text: Vec<u8> = values.iter().flat_map(lines::to_line).collect();
    let ends = text.iter().filter(|&&byte| byte == b'\n').count();
    assert_eq!(ends, values.len(), "one line a value");
    let (decoded, error) = read_lines::<T>(lines::LINE_LIMIT, &pieces(&text, cuts));
    assert!(error.is_none(), "{error:?}");
    assert_eq!(decoded, values);
    let again: Vec<u8> = decoded.iter().flat_map(lines::to_line).collect();
    assert_eq!(again, text);
}

proptest! {
    #[test]
    fn messages_survive_as_frames(
        requests in vec(to_server(), 0..5),
        answers in vec(from_server(), 0..5),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        assert_frames_survive(&requests, &cuts);
        assert_frames_survive(&answers, &cuts);
    }

    #[test]
    fn messages_survive_as_lines(
        requests in vec(program_request(), 0..5),
        answers in vec(program_answer(), 0..5),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        assert_lines_survive(&requests, &cuts);
        assert_lines_survive(&answers, &cuts);
    }

    #[test]
    fn both_forms_carry_the_same_message(message in strategies::message()) {
        let line = lines::to_line(&ProgramRequest::Say(message.clone()));
        let (read, _) = read_lines(lines::LINE_LIMIT, &[&line]);
        let Ok([ProgramRequest::Say(read)]) = <[ProgramRequest; 1]>::try_from(read) else {
            panic!("a message is read as one");
        };
        prop_assert_eq!(frame::encode(&read).unwrap(), frame::encode(&message).unwrap());
    }

    #[test]
    fn a_metric_value_survives_json_bit_for_bit(value in metric_value()) {
        let text = serde_json::to_string(&value).unwrap();
        let read: MetricValue = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(format!("{value:?}"), format!("{read:?}"));
        if let (MetricValue::Float(value), MetricValue::Float(read)) = (value, read) {
            prop_assert_eq!(value.to_bits(), read.to_bits());
        }
    }
}

/// A frame with any content: random, or that of a message with some bytes changed.
fn hostile_content() -> impl Strategy<Value = Vec<u8>> {
    let changed =
        (to_server(), vec((any::<Index>(), any::<u8>()), 1..4)).prop_map(|(message, changes)| {
            let mut content = frame::encode(&message).unwrap().split_off(4);
            for (place, byte) in changes {
                let place = place.index(content.len());
                content[place] = byte;
            }
            content
        });
    prop_oneof![vec(any::<u8>(), 0..200), changed]
}

fn framed(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap();
    [&length.to_le_bytes(), content].concat()
}

/// The memory that decoding may take for input up to a kibibyte: 32 KiB of claims, and the input a
/// few times over, since feeding copies it and buffers double.
fn allowance(input: usize) -> usize {
    assert!(input <= 1024, "the test feeds less");
    32 * 1024 + 8 * input + 1024
}

fn assert_harmless<T: Wire>(input: &[u8], cuts: &[Index]) {
    let pieces = pieces(input, cuts);
    let (_, peak) = peak_of(|| decode::<T>(Decoder::new(), &pieces));
    assert!(
        peak <= allowance(input.len()),
        "{peak} bytes for {} of input",
        input.len()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_messages_or_an_error(
        input in vec(any::<u8>(), 0..300),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        assert_harmless::<ToServer>(&input, &cuts);
        assert_harmless::<FromServer>(&input, &cuts);
    }

    #[test]
    fn any_content_of_a_frame_is_a_message_or_an_error(
        content in hostile_content(),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        prop_assume!(content.len() < 1000);
        let input = framed(&content);
        assert_harmless::<ToServer>(&input, &cuts);
        assert_harmless::<FromServer>(&input, &cuts);
        assert_harmless::<Message>(&input, &cuts);
    }

    #[test]
    fn any_bytes_are_lines_or_an_error(
        input in prop_oneof![
            vec(any::<u8>(), 0..300),
            vec(prop::sample::select(&b"{}[]\",:\n\\us0.-e1 saytrue"[..]), 0..300),
        ],
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let pieces = pieces(&input, &cuts);
        let ((), peak) = peak_of(|| {
            read_lines::<ProgramRequest>(200, &pieces);
            read_lines::<ProgramAnswer>(200, &pieces);
        });
        prop_assert!(peak <= allowance(input.len()), "{} bytes", peak);
    }

    #[test]
    fn any_bytes_end_or_advance_a_handshake(received in vec(any::<u8>(), 0..80)) {
        let secret = Secret::from_bytes([1; 32]);
        for step in [
            Handshake::client(&secret, Versions::SPOKEN),
            Handshake::server(&secret, Versions::SPOKEN),
        ] {
            let Then::Receive { handshake, .. } = step.then else {
                panic!("a fresh handshake waits");
            };
            let Step { then, .. } = handshake.advance(&received);
            prop_assert!(!matches!(then, Then::Established(_)));
        }
    }
}

/// A mishap of one of several records on its way.
#[derive(Clone, Debug)]
enum Mishap {
    Flipped(Index, u8),
    Dropped,
    Repeated,
    Swapped,
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        (any::<Index>(), 0_u8..8).prop_map(|(place, bit)| Mishap::Flipped(place, bit)),
        Just(Mishap::Dropped),
        Just(Mishap::Repeated),
        Just(Mishap::Swapped),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_session_delivers_all_before_a_mishap_then_fails(
        messages in vec(to_server(), 2..6),
        victim in any::<Index>(),
        mishap in mishap(),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let (client, server) = established();
        let (mut sealer, _) = client.split();
        let (_, mut opener) = server.split();
        let mut records: Vec<Vec<u8>> = messages
            .iter()
            .map(|message| sealer.seal(message).unwrap())
            .collect();
        // Not the last one: a session can't notice that its last record is missing.
        let victim = victim.index(messages.len() - 1);
        let mut intact = victim;
        match mishap {
            Mishap::Flipped(place, bit) => {
                // After the length: a changed length makes the session wait for more, see below.
                let place = 2 + place.index(records[victim].len() - 2);
                records[victim][place] ^= 1 << bit;
            }
            Mishap::Dropped => {
                records.remove(victim);
            }
            Mishap::Repeated => {
                records.insert(victim, records[victim].clone());
                intact += 1;
            }
            Mishap::Swapped => records.swap(victim, victim + 1),
        }
        let bytes = records.concat();
        let (opened, error) = open::<ToServer>(&mut opener, &pieces(&bytes, &cuts));
        assert_eq!(opened, messages[..intact]);
        prop_assert!(matches!(error, Some(Error::Tampered)), "{:?}", error);
        // Every later call fails, too.
        prop_assert!(matches!(opener.next_message::<ToServer>(), Err(Error::Tampered)));
    }

    #[test]
    fn any_bytes_within_a_session_are_an_error_or_not_enough(
        before in vec(to_server(), 0..3),
        input in vec(any::<u8>(), 0..400),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let (client, server) = established();
        let (mut sealer, _) = client.split();
        let (_, mut opener) = server.split();
        let sealed: Vec<u8> = before
            .iter()
            .flat_map(|message| sealer.seal(message).unwrap())
            .collect();
        let (opened, error) = open::<ToServer>(&mut opener, &[&sealed]);
        assert_eq!(opened, before);
        prop_assert!(error.is_none());
        let pieces = pieces(&input, &cuts);
        let ((opened, error), peak) = peak_of(|| open::<ToServer>(&mut opener, &pieces));
        prop_assert!(opened.is_empty());
        prop_assert!(matches!(error, None | Some(Error::Tampered)), "{:?}", error);
        prop_assert!(peak <= allowance(input.len()), "{} bytes", peak);
    }
}

/// The first bytes of messages that claim to contain more than they bring.
#[test]
fn a_claim_of_billions_costs_nothing() {
    const BILLIONS: [u8; 9] = [253, 0, 0, 0, 0, 2, 0, 0, 0];
    let text = [&[2][..], &[1], &BILLIONS].concat();
    let jobs = [&[2][..], &[1], &[1], &BILLIONS].concat();
    let metrics = [&[1][..], &[0, 0, 0], &[3], &BILLIONS].concat();
    let failure = [&[1][..], &[0, 0, 0], &[5], &BILLIONS].concat();
    for content in [text, jobs, metrics, failure] {
        let input = framed(&content);
        let ((messages, error), peak) = peak_of(|| decode::<ToServer>(Decoder::new(), &[&input]));
        assert!(messages.is_empty());
        assert!(matches!(error, Some(Error::Malformed(_))), "{error:?}");
        assert!(peak < 1024, "{peak} bytes for {content:?}");
    }
}

#[test]
fn a_frame_beyond_the_limit_is_refused_at_its_length() {
    for (mut decoder, length) in [
        (Decoder::with_limit(1000), 1001_u32),
        (Decoder::with_limit(usize::MAX), 1024 * 1024 + 1),
        (Decoder::new(), u32::MAX),
    ] {
        let (error, peak) = peak_of(|| {
            decoder.feed(&length.to_le_bytes());
            decoder.next_message::<ToServer>()
        });
        let error = error.unwrap_err();
        assert!(error.to_string().contains(&length.to_string()), "{error}");
        assert!(peak < 1024, "{peak} bytes");
        decoder.feed(&[0; 100]);
        assert!(
            decoder.next_message::<ToServer>().is_err(),
            "and so it stays"
        );
    }
}

#[test]
fn bytes_after_a_message_in_its_frame_are_refused() {
    let mut content = frame::encode(&FromServer::Refused("no".into()))
        .unwrap()
        .split_off(4);
    content.push(0);
    let (messages, error) = decode::<FromServer>(Decoder::new(), &[&framed(&content)]);
    assert!(messages.is_empty());
    assert!(matches!(error, Some(Error::Malformed(_))), "{error:?}");
}

#[test]
fn a_fraction_out_of_range_is_refused_in_a_frame() {
    for number in [1.5, -0.1, f64::NAN, f64::INFINITY] {
        let content = [&[1][..], &number.to_le_bytes()].concat();
        let (messages, error) = decode::<Message>(Decoder::new(), &[&framed(&content)]);
        assert!(messages.is_empty());
        assert!(error.unwrap().to_string().contains("not a fraction"));
    }
}

/// The message with the most memory per byte: many short names without values.
#[test]
fn the_densest_message_that_can_be_sent_is_accepted() {
    let letters = || (0..128_u8).map(char::from);
    let mut names: Vec<String> = vec![String::new()];
    names.extend(letters().map(String::from));
    names.extend(
        letters().flat_map(|first| letters().map(move |second| [first, second].iter().collect())),
    );
    let threes = letters()
        .flat_map(|first| letters().map(move |second| (first, second)))
        .flat_map(|(first, second)| {
            letters().map(move |third| [first, second, third].iter().collect())
        });
    names.extend(threes.take(190_000));
    for count in [0, 1, 100, 280, 300, 8_200, 8_400, names.len()] {
        let metrics = names[..count]
            .iter()
            .map(|name| (name.clone(), MetricValue::Null))
            .collect();
        let message = Message::Results(metrics);
        let frame = frame::encode(&message).unwrap();
        let ((messages, error), peak) = peak_of(|| decode::<Message>(Decoder::new(), &[&frame]));
        assert!(
            error.is_none(),
            "{count} names in {} bytes: {error:?}",
            frame.len()
        );
        let allowed = 32 * frame.len().max(1024) + 2 * frame.len();
        assert!(peak <= allowed, "{peak} bytes for {} of input", frame.len());
        assert_eq!(messages, [message]);
    }
}
