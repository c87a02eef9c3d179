//! Pickles as Python and NumPy write them, pickles that nobody should run, and any bytes.

use proptest::prelude::*;

use super::*;

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<char> = hexadecimal.chars().collect();
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// What Python prints for an expression that has pickled something.
fn python(expression: &str) -> Vec<u8> {
    let program = format!("import os, pickle, sys, pathlib\nprint(({expression}).hex())");
    let mut python = std::process::Command::new("python3");
    let output = python.args(["-c", &program]).output().expect("python3");
    assert!(output.status.success(), "{output:?}");
    bytes(String::from_utf8(output.stdout).unwrap().trim())
}

/// As Python's `json` writes it, for comparison.
fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::None => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Bytes(bytes) => bytes.as_slice().into(),
        Value::List(values) => values.iter().map(json).collect(),
        Value::Dict(pairs) => {
            let pairs = pairs.iter().map(|(name, value)| match name {
                Value::Text(name) => (name.clone(), json(value)),
                other => panic!("{other:?}"),
            });
            serde_json::Value::Object(pairs.collect())
        }
    }
}

/// All sizes at which Python changes the instruction, and shared objects.
const PLAIN: &str = "x = ['shared', {'a': 1}]
value = [None, True, False, 0, 255, 256, 65535, 65536, -1, -129, 2**31 - 1, -2**31, 2**31, -2**31 - 1,
  2**62, -2**63, 0.1, -0.0, 1e300, '', 'a' * 255, 'b' * 256, 'ä😀', [], {}, [[]], [1], list(range(2500)),
  {str(i): i for i in range(2500)}, x, x, {'k': x}]
tuples = (value, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4))";

#[test]
fn plain_data_of_each_protocol_are_read_as_python_wrote_them() {
    let program = |what: &str| format!("exec({PLAIN:?}) or {what}");
    let expected = python(&program("__import__('json').dumps(tuples).encode()"));
    let expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
    for protocol in [4, 5] {
        let pickle = python(&program(&format!("pickle.dumps(tuples, {protocol})")));
        let read = decode(&pickle).unwrap();
        assert_eq!(json(&read), expected, "protocol {protocol}");
        // Cut anywhere, and nothing of it is believed.
        for length in (0..pickle.len()).step_by(101) {
            assert!(decode(&pickle[..length]).is_err(), "{length}");
        }
    }
    let huge = decode(&python(
        "pickle.dumps([2**64, -2**64, -2**70 + 1, {3}, frozenset([4]), b'xy'], 4)",
    ));
    let expected = [
        Value::Float(2.0_f64.powi(64)),
        Value::Float(-2.0_f64.powi(64)),
        Value::Float(-2.0_f64.powi(70)),
        Value::List(vec![Value::Int(3)]),
        Value::List(vec![Value::Int(4)]),
        Value::Bytes(b"xy".to_vec()),
    ];
    assert_eq!(huge, Ok(Value::List(expected.into())));
    // Python lets half of a pair through.
    let lossy = decode(&python(r"pickle.dumps('a\udc80', 4)"));
    assert_eq!(
        lossy,
        Ok(Value::Text("a\u{fffd}\u{fffd}\u{fffd}".to_owned()))
    );
}

#[test]
fn the_enum_of_messages_is_its_number() {
    let captured = "80049546000000000000008c20636c75737465725f7574696c732e626173652e636f6d6d756e69\
                    636174696f6e948c0c4d65737361676554797065739493944b00859452944b078c02766d94869486942e";
    let started = Value::List(vec![Value::Int(7), Value::Text("vm".to_owned())]);
    assert_eq!(
        decode(&bytes(captured)),
        Ok(Value::List(vec![Value::Int(0), started]))
    );
}

/// What NumPy 1 writes for a type, up to its bytes; NumPy 2 calls the module otherwise.
fn scalar(code: &str, state: &str, data: &str) -> Vec<u8> {
    let text = |text: &str| {
        let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        format!("8c{:02x}{digits}94", text.len())
    };
    let name = [
        text("numpy.core.multiarray"),
        text("scalar"),
        text("numpy"),
        text("dtype"),
    ];
    let [module, function, numpy, dtype] = name;
    let code = text(code);
    let length = data.len() / 2;
    bytes(&format!(
        "8004{module}{function}9394{numpy}{dtype}9394{code}898887945294284b03{state}74946243{length:02x}\
         {data}94869452942e"
    ))
}

const NUMBER: &str = "8c013c944e4e4e4affffffff4affffffff4b00";

#[test]
fn numbers_of_numpy_are_numbers() {
    // Written by NumPy 1.26.4 and 2.4.6.
    let first = "80049569000000000000008c156e756d70792e636f72652e6d756c74696172726179948c067363616c6172\
        9493948c056e756d7079948c0564747970659493948c02663894898887945294284b038c013c944e4e4e4affffffff\
        4affffffff4b0074946243089a9999999999b93f94869452942e";
    let second = "8004956a000000000000008c166e756d70792e5f636f72652e6d756c74696172726179948c067363616c61\
        729493948c056e756d7079948c0564747970659493948c02663894898887945294284b038c013c944e4e4e4affffff\
        ff4affffffff4b0074946243089a9999999999b93f94869452942e";
    for pickle in [first, second] {
        assert_eq!(decode(&bytes(pickle)), Ok(Value::Float(0.1)));
    }
    let big = NUMBER.replace("8c013c", "8c013e");
    let plain = NUMBER.replace("8c013c", "8c017c");
    let text = "8c013c944e4e4e4b084b044b08";
    for (code, state, data, expected) in [
        ("f4", NUMBER, "0000003f", Value::Float(0.5)),
        ("f2", NUMBER, "00be", Value::Float(-1.5)),
        ("f2", NUMBER, "007c", Value::Float(f64::INFINITY)),
        ("f2", NUMBER, "0100", Value::Float(2.0_f64.powi(-24))),
        ("f8", &big, "3fb999999999999a", Value::Float(0.1)),
        ("i1", &plain, "fe", Value::Int(-2)),
        ("i2", &big, "fffe", Value::Int(-2)),
        ("i8", NUMBER, "feffffffffffffff", Value::Int(-2)),
        ("u1", &plain, "fe", Value::Int(254)),
        (
            "u8",
            NUMBER,
            "ffffffffffffffff",
            Value::Float(2.0_f64.powi(64)),
        ),
        ("b1", &plain, "01", Value::Bool(true)),
        ("U2", text, "61000000e4000000", Value::Text("aä".to_owned())),
    ] {
        assert_eq!(decode(&scalar(code, state, data)), Ok(expected), "{code}");
    }
    for (code, state, data) in [
        ("f16", NUMBER, "00000000000000000000000000000000"),
        ("c8", NUMBER, "0000803f00000000"),
        ("M8", NUMBER, "3200000000000000"),
        ("V8", NUMBER, "3200000000000000"),
        ("O8", NUMBER, "3200000000000000"),
        ("f8", NUMBER, "00"),
        (
            "f8",
            &NUMBER.replace("8c013c", "8c0178"),
            "0000000000000000",
        ),
        ("f8", &NUMBER.replace("4b00", "4b01"), "0000000000000000"),
        ("f8", text, "0000000000000000"),
        ("U2", NUMBER, "61000000e4000000"),
        ("U99999999999999999999", text, "61000000e4000000"),
        ("i+1", NUMBER, "00"),
    ] {
        let read = decode(&scalar(code, state, data));
        assert!(
            matches!(read, Err(Refusal::Number(_))),
            "{code} {state}: {read:?}"
        );
    }
}

#[test]
fn no_pickle_runs_code_or_makes_an_object() {
    let run = "type('X', (), {'__reduce__': lambda self: (os.system, ('touch ran',))})()";
    for (what, protocol, expected) in [
        (run, 4, "names posix.system, which is not plain data"),
        (run, 0, "names posix.system, which is not plain data"),
        (run, 2, "names posix.system, which is not plain data"),
        ("pathlib.PurePosixPath('a')", 4, "names pathlib"),
        ("eval", 4, "names builtins.eval"),
        (
            "__import__('decimal').Decimal(1)",
            4,
            "names decimal.Decimal",
        ),
        ("bytearray(b'x')", 5, "has the instruction 0x96"),
        ("'x'", 0, "has the instruction 0x56"),
    ] {
        let pickle = python(&format!("pickle.dumps({what}, {protocol})"));
        let refusal = decode(&pickle).expect_err(what).to_string();
        assert!(refusal.starts_with(expected), "{what}: {refusal}");
    }
    // A name for people, whatever it holds.
    let refusal = decode(b"\x80\x04cos\x1b[2J\nsystem\n.")
        .unwrap_err()
        .to_string();
    assert!(refusal.contains(r"os\u{1b}[2J.system"), "{refusal}");
}

#[test]
fn a_short_pickle_can_t_fill_the_memory() {
    let many_marks = [&b"\x80\x04"[..], &[b'('; 60_000]].concat();
    let within_itself = b"\x80\x04]\x94h\x00a.";
    // A text of 60,000 bytes, a thousand times.
    let mut repeated = b"\x80\x04]\x94(X\x60\xea\x00\x00".to_vec();
    repeated.extend([b'x'; 60_000]);
    repeated.push(0x94);
    repeated.extend([b'h', 1].repeat(1000));
    repeated.extend(b"e.");
    let claims = [
        &b"\x80\x04B\xff\xff\xff\xff"[..],
        b"\x80\x04\x8b\xff\xff\xff\xff",
        b"\x80\x04X\xff\xff\xff\xff",
    ];
    for claim in claims {
        assert_eq!(decode(claim), Err(Refusal::CutShort));
    }
    assert_eq!(decode(&many_marks), Err(Refusal::CutShort));
    assert_eq!(decode(within_itself), Err(Refusal::Nested));
    assert_eq!(decode(&repeated), Err(Refusal::Large));
    let deep = python("pickle.dumps(exec('x = []\\nfor _ in range(100): x = [x]') or x, 4)");
    assert_eq!(decode(&deep), Err(Refusal::Nested));
    let wide = python("pickle.dumps(exec('x = 1\\nfor _ in range(25): x = [x, x]') or x, 4)");
    assert_eq!(decode(&wide), Err(Refusal::Large));
}

/// Instructions in a likelier order than any bytes have.
fn any_program() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(&b"Nh(tae}su])Rb.\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94"[..])
            .prop_map(|code| vec![code]),
        any::<u8>().prop_map(|place| vec![b'h', place % 8]),
        any::<u8>().prop_map(|number| vec![b'K', number]),
        Just(b"\x8c\x05numpy\x8c\x05dtype\x93\x8c\x02f8\x89\x88\x87R".to_vec()),
        Just(b"\x8c\x15numpy.core.multiarray\x8c\x06scalar\x93".to_vec()),
        Just(b"(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb".to_vec()),
        Just(b"C\x08abcdefgh\x86R".to_vec()),
        any::<Vec<u8>>(),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn no_program_makes_it_panic_or_grow(program in any_program()) {
        for end in [&b""[..], b"."] {
            if let Ok(value) = decode(&[&b"\x80\x04"[..], &program, end].concat()) {
                prop_assert!(size(&value) <= Budget::VALUES);
            }
        }
    }
}

fn size(value: &Value) -> usize {
    1 + match value {
        Value::List(values) => values.iter().map(size).sum(),
        Value::Dict(pairs) => {
            let pairs = pairs.iter();
            pairs.map(|(name, value)| size(name) + size(value)).sum()
        }
        _ => 0,
    }
}
