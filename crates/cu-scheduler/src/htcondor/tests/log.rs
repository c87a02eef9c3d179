//! The event log reader: any bytes, cut anywhere; events written by our own hand.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::recorded::{GATE, LOGS};
use crate::htcondor::event::{Event, Exit, Id, Kind};
use crate::htcondor::event_log::Decoder;

fn decode<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    for part in parts {
        decoder.feed(part, &mut events);
    }
    events
}

#[test]
fn a_log_cut_at_any_byte_holds_the_same_events() {
    for log in LOGS.map(|(log, ..)| log).into_iter().chain([GATE]) {
        let log = log.as_bytes();
        let whole = decode([log]);
        for cut in 0..log.len() {
            assert_eq!(decode([&log[..cut], &log[cut..]]), whole, "cut at {cut}");
        }
    }
}

#[test]
fn a_half_written_event_is_none_yet() {
    let log = LOGS[0].0.as_bytes();
    let whole = decode([log]);
    for length in 0..log.len() {
        let part = decode([&log[..length]]);
        assert!(
            part.len() < whole.len() && whole.starts_with(&part),
            "{length} bytes"
        );
    }
}

/// An event as HTCondor would write it.
fn text(event: &Event, zone: &str) -> String {
    let number = |number: u16, rest: &str| {
        let Id { cluster, proc } = event.id;
        format!("{number:03} ({cluster:03}.{proc:03}.000) {zone} {rest}\n")
    };
    let exit = |exit: &Exit| match exit {
        Exit::Code(code) => format!("\t(1) Normal termination (return value {code})\n"),
        Exit::Signal(signal) => format!("\t(0) Abnormal termination (signal {signal})\n"),
    };
    let bytes = "\t0  -  Run Bytes Sent By Job\n\t0  -  Run Bytes Received By Job\n";
    let mut text = match &event.kind {
        Kind::Submitted { name } => {
            let mut text = number(0, "Job submitted from host: <127.0.0.1:9618?alias=x>");
            if let Some(name) = name {
                writeln!(text, "    {name}").unwrap();
            }
            text
        }
        Kind::Executing { host } => {
            let mut text = number(1, "Job executing on host:");
            if let Some(host) = host {
                writeln!(text, "\tSlotName: slot1_2@{host}").unwrap();
            }
            text
        }
        Kind::Evicted { reason } => {
            let mut text = number(4, "Job was evicted.") + "\t(0) CPU times\n" + bytes;
            if let Some(reason) = reason {
                writeln!(text, "\t{reason}").unwrap();
            }
            text + "\tPartitionable Resources :    Usage  Request Allocated \n"
        }
        Kind::Requeued { exit: how } => {
            let begin = number(4, "Job was evicted.") + "\t(0) Job terminated and was requeued\n";
            begin + bytes + &exit(how)
        }
        Kind::Terminated { exit: how, .. } => number(5, "Job terminated.") + &exit(how),
        Kind::Aborted { reason } => number(9, "Job was aborted.") + "\t" + reason + "\n",
        Kind::Held {
            reason,
            code,
            subcode,
        } => {
            let codes = format!("\tCode {code} Subcode {subcode}\n");
            number(12, "Job was held.") + "\t" + reason + "\n" + &codes
        }
        Kind::Released => number(13, "Job was released.") + "\tvia condor_release\n",
        Kind::ReconnectFailed { reason } => {
            number(24, "Job reconnection failed") + "    " + reason + "\n"
        }
        Kind::Other(other) => number(*other, "Something new happened.") + "\tA line\n",
    };
    text.push_str("...\n");
    text
}

fn reason() -> impl Strategy<Value = String> {
    // Whatever people and daemons write; what looks like another line of the event is left out.
    let line = "[^\\pC\\s]([^\\pC]{0,30}[^\\pC\\s])?";
    line.prop_filter("a line of its own kind", |text| {
        !text.starts_with("Code ") && !text.starts_with('(') && !text.starts_with("Partitionable")
    })
}

fn event() -> impl Strategy<Value = Event> {
    let exit = prop_oneof![
        (0..256).prop_map(Exit::Code),
        (1..64).prop_map(Exit::Signal)
    ];
    let name = proptest::option::of("[a-z0-9]{1,8}/[0-9]{1,5}/[0-9]{1,3}");
    let kind = prop_oneof![
        name.prop_map(|name| Kind::Submitted {
            name: name.map(|name| name.parse().unwrap()),
        }),
        proptest::option::of("[a-z][a-z0-9.-]{0,12}").prop_map(|host| Kind::Executing { host }),
        proptest::option::of(reason()).prop_map(|reason| Kind::Evicted { reason }),
        exit.clone().prop_map(|exit| Kind::Requeued { exit }),
        exit.prop_map(|exit| Kind::Terminated { exit, at: None }),
        reason().prop_map(|reason| Kind::Aborted { reason }),
        (reason(), 0..100, 0..300).prop_map(|(reason, code, subcode)| Kind::Held {
            reason,
            code,
            subcode,
        }),
        Just(Kind::Released),
        reason().prop_map(|reason| Kind::ReconnectFailed { reason }),
        (41..999_u16).prop_map(Kind::Other),
    ];
    let id = (1..100_000_u32, 0..10_000_u32).prop_map(|(cluster, proc)| Id { cluster, proc });
    (id, kind).prop_map(|(id, kind)| Event { id, kind })
}

fn parts<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.push(0);
    cuts.push(bytes.len());
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

proptest! {
    #[test]
    fn events_are_read_as_they_were_written(
        events in proptest::collection::vec(event(), 0..12),
        cuts in proptest::collection::vec(any::<usize>(), 0..6),
        old_dates in any::<bool>(),
    ) {
        let zone = if old_dates { "11/24 16:06:13" } else { "2026-11-24 16:06:13" };
        let log: String = events.iter().map(|event| text(event, zone)).collect();
        prop_assert_eq!(decode(parts(log.as_bytes(), &cuts)), events);
    }

    #[test]
    fn any_bytes_are_read_the_same_wherever_they_are_cut(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        cuts in proptest::collection::vec(any::<usize>(), 0..6),
    ) {
        prop_assert_eq!(decode(parts(&bytes, &cuts)), decode([&bytes[..]]));
    }

    /// Overflow is checked in tests.
    #[test]
    fn numbers_of_any_length_are_no_reason_to_panic(
        number in "[0-9]{1,3}",
        id in "[0-9]{1,24}\\.[0-9]{1,24}\\.[0-9]{1,24}",
        time in "[0-9]{0,24}-[0-9]{0,24}-[0-9]{0,24}T[0-9]{0,24}:[0-9]{0,24}:[0-9]{0,24}Z",
        value in "-?[0-9]{1,24}",
    ) {
        for line in [
            format!("(1) Normal termination (return value {value})"),
            format!("(0) Abnormal termination (signal {value})"),
            format!("Code {value} Subcode {value}"),
        ] {
            let body = format!("\t{line}\n\tJob terminated of its own accord at {time}\n...\n");
            for header in ["005 (1.0.0) x\n".to_owned(), format!("{number} ({id}) x\n")] {
                prop_assert!(decode([(header + &body).as_bytes()]).len() <= 1);
            }
        }
    }

    /// Damage ends with the event in which it is.
    #[test]
    fn events_around_damage_are_still_read(
        before in event(),
        after in event(),
        damage in "[^.]{0,200}",
    ) {
        let zone = "2026-11-24 16:06:13";
        let log = format!("{}{damage}\n...\n{}", text(&before, zone), text(&after, zone));
        let events = decode([log.as_bytes()]);
        prop_assert_eq!(events.first(), Some(&before));
        prop_assert_eq!(events.last(), Some(&after));
    }
}
