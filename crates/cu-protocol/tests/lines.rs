//! JSON lines as a person would write them from a shell, with the mistakes a person makes.
#![allow(clippy::unwrap_used, reason = "a test that meets an error fails")]

use cu_protocol::lines::{LINE_LIMIT, LineDecoder};
use cu_protocol::{Error, Failure, Fraction, Message, ProgramRequest, ResumeRequest};

fn read(line: &str) -> Result<ProgramRequest, Error> {
    let mut decoder = LineDecoder::new();
    decoder.feed(line.as_bytes());
    decoder.feed(b"\n");
    let outcome = decoder.next_line();
    assert!(decoder.is_empty());
    outcome.map(|request| request.expect("a line with something on it is a request or an error"))
}

fn say(message: Message) -> ProgramRequest {
    ProgramRequest::Say(message)
}

#[test]
fn examples_of_the_documentation_parse() {
    let half = Message::Progress(Fraction::new(0.5).unwrap());
    assert_eq!(read(r#"{"say":{"progress":0.5}}"#).unwrap(), say(half));
    let done = Message::Progress(Fraction::new(1.0).unwrap());
    assert_eq!(
        read(r#"  { "say" : { "progress" : 1 } } "#).unwrap(),
        say(done)
    );
    let resume = Message::ResumeRequest(ResumeRequest::default());
    assert_eq!(
        read(r#"{"say":{"resume_request":{}}}"#).unwrap(),
        say(resume)
    );
    let failed = Message::Failed(Failure {
        text: "the input file is empty".into(),
    });
    assert_eq!(
        read(r#"{"say":{"failed":{"text":"the input file is empty"}}}"#).unwrap(),
        say(failed)
    );
    let results = read(r#"{"say":{"results":{"accuracy":0.97,"label":"best","n":3}}}"#).unwrap();
    assert!(
        matches!(results, ProgramRequest::Say(Message::Results(metrics)) if metrics.len() == 3)
    );
}

#[test]
fn a_mistake_is_reported_with_its_column_and_an_example() {
    for (line, expected) in [
        (
            r#"{"say":{"progress":1.5}}"#,
            &["1.5 is not a fraction", "from 0 to 1"][..],
        ),
        (
            r#"{"say":{"progress":"half"}}"#,
            &["column 25", "string \"half\"", "f64"],
        ),
        (
            r#"{"say":{"progres":0.5}}"#,
            &["`progres`", "`progress`", "column 17"],
        ),
        (
            r#"{"say":{"resume_request":{"checkpont":1}}}"#,
            &["`checkpont`", "`checkpoint`"],
        ),
        (
            r#"{"say":{"results":{"loss":[1]}}}"#,
            &["sequence", "a number"],
        ),
        (
            r#"{"say":{"results":{"loss":NaN}}}"#,
            &["expected value", "column 27"],
        ),
        (
            r#"{"say":{"results":{"loss":{"float":"nan"}}}}"#,
            &["\"nan\"", "NaN, Infinity or -Infinity"],
        ),
        (
            r#"{"say":{"results":{"loss":{"mean":1}}}}"#,
            &["map", r#"{"float":"NaN"}"#],
        ),
        (r#"{"say":"#, &["EOF"]),
        (
            "should_exit",
            &["expected value", r#"{"say":{"progress":0.5}}"#],
        ),
        (
            r#""should_exit" "#.repeat(2).trim(),
            &["trailing characters", "column 15"],
        ),
        ("\u{0}", &["a request looks like"]),
    ] {
        let error = read(line).unwrap_err();
        assert!(matches!(error, Error::Line(_)), "{error:?}");
        let text = error.to_string();
        for part in expected {
            assert!(text.contains(part), "{line}: {text}");
        }
        assert!(!text.contains("at line 1"), "{text}");
    }
}

#[test]
fn an_error_does_not_repeat_all_that_was_sent() {
    let line = format!(r#"{{"say":{{"{}":1}}}}"#, "x".repeat(100_000));
    let text = read(&line).unwrap_err().to_string();
    assert!(text.len() < 400 && text.contains('…'), "{text}");
}

#[test]
fn line_ends_of_any_system_and_empty_lines_are_taken() {
    let mut decoder = LineDecoder::<ProgramRequest>::new();
    decoder.feed(b"\n\r\n  \n\"should_exit\"\r\n\n\"should_exit\"\n\"should");
    for _ in 0..2 {
        assert_eq!(
            decoder.next_line().unwrap(),
            Some(ProgramRequest::ShouldExit)
        );
    }
    assert_eq!(decoder.next_line().unwrap(), None);
    assert!(!decoder.is_empty(), "half a line is left");
}

#[test]
fn a_line_that_is_too_long_is_refused_once_and_skipped() {
    for pieces in [
        &[&b"\"0123456789 01234567890\"\n\"should_exit\"\n"[..]][..],
        &[
            b"\"0123456789 0123",
            b"4567890",
            b"\"\n\"should_",
            b"exit\"\n",
        ],
        &[b"\"0123456789 0123", b"\n", b"\"should_exit\"\n"],
    ] {
        let mut decoder = LineDecoder::<ProgramRequest>::with_limit(15);
        let mut outcomes = Vec::new();
        for piece in pieces {
            decoder.feed(piece);
            loop {
                match decoder.next_line() {
                    Ok(None) => break,
                    Ok(Some(request)) => outcomes.push(format!("{request:?}")),
                    Err(error) => outcomes.push(error.to_string()),
                }
            }
        }
        assert_eq!(
            outcomes,
            [
                "the line is longer than 15 bytes; send less at once",
                "ShouldExit"
            ]
        );
        assert!(decoder.is_empty());
    }
}

#[test]
fn no_limit_exceeds_that_of_all_lines() {
    let mut decoder = LineDecoder::<ProgramRequest>::with_limit(usize::MAX);
    decoder.feed(&vec![b' '; LINE_LIMIT]);
    assert_eq!(decoder.next_line().unwrap(), None);
    decoder.feed(b" ");
    let error = decoder.next_line().unwrap_err();
    assert!(matches!(error, Error::LineTooLong { limit: LINE_LIMIT }));
}
