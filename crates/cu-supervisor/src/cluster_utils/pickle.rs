//! Decodes a pickle of plain data without running anything.
//!
//! A pickle is a program for a machine with a stack, and most of what it can say is "call this function".
//! This decoder knows the instructions that plain data need. It calls nothing: of the functions that a
//! pickle may name, it knows the enum of messages and the two by which NumPy writes a number, and it
//! computes what these would return. Everything else is refused.
//!
//! The crate serde-pickle reads more and less than that: it replaces what it does not know by `None`,
//! which would lose the kind of a message and each number of NumPy's instead of refusing or reading them,
//! and it copies shared objects, so that a short pickle can fill the memory.
//!
//! Memory is bounded by the length of the input and by [`Budget`]; nothing here can panic.

use std::fmt;

use super::numpy::{Dtype, ScalarError};
use super::value::Value;

/// Why a pickle is refused: a clause, as it follows "it".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    CutShort,
    /// Names a function or class.
    Names(String),
    Instruction(u8),
    /// The instructions don't fit together.
    Malformed,
    Number(String),
    Nested,
    Large,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort => out.write_str("is cut short"),
            Self::Names(name) => write!(out, "names {name}, which is not plain data"),
            Self::Instruction(code) => {
                write!(
                    out,
                    "has the instruction {code:#04x}, which plain data don't need"
                )
            }
            Self::Malformed => out.write_str("is not a valid pickle"),
            Self::Number(what) => write!(out, "has a number of NumPy's in another form: {what}"),
            Self::Nested => write!(out, "is nested more than {} times", Budget::DEEPEST),
            Self::Large => out.write_str("holds too much, since it repeats its parts"),
        }
    }
}

impl From<ScalarError> for Refusal {
    fn from(error: ScalarError) -> Self {
        Self::Number(error.0)
    }
}

/// How much may be made of a pickle whose parts are shared.
#[derive(Debug)]
struct Budget {
    values: usize,
    bytes: usize,
}

impl Budget {
    const DEEPEST: usize = 32;
    const VALUES: usize = 100_000;
    const BYTES: usize = 1 << 20;

    fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.values = self.values.checked_sub(1).ok_or(Refusal::Large)?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or(Refusal::Large)?;
        Ok(())
    }
}

/// The place of a node among all of them. Stack, memo and containers hold these, so that what is shared
/// exists once, and a container may be filled after it was noted.
type Place = usize;

/// What an instruction has made.
#[derive(Debug)]
enum Node<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    Tuple(Vec<Place>),
    List(Vec<Place>),
    Dict(Vec<(Place, Place)>),
    Function(Function),
    Dtype(Dtype),
    /// A number of NumPy's, or its text: read at last, since one that is shared counts again.
    Scalar(Dtype, &'a [u8]),
}

/// The functions that a pickle of plain data may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    MessageType,
    Dtype,
    Scalar,
}

impl Function {
    fn named(module: &[u8], name: &[u8]) -> Option<Self> {
        Some(match (module, name) {
            (b"cluster_utils.base.communication", b"MessageTypes") => Self::MessageType,
            (b"numpy", b"dtype") => Self::Dtype,
            (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"scalar") => Self::Scalar,
            _ => return None,
        })
    }
}

/// Decodes all of `bytes`.
///
/// # Errors
/// Anything that is not plain data.
pub(super) fn decode(bytes: &[u8]) -> Result<Value, Refusal> {
    let mut machine = Machine {
        input: bytes,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
    };
    let root = machine.run()?;
    let mut budget = Budget {
        values: Budget::VALUES,
        bytes: Budget::BYTES,
    };
    machine.value(root, 0, &mut budget)
}

struct Machine<'a> {
    /// What is left of it.
    input: &'a [u8],
    nodes: Vec<Node<'a>>,
    stack: Vec<Place>,
    /// The heights of the stack at which a container begins.
    marks: Vec<usize>,
    memo: Vec<Place>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Place, Refusal> {
        loop {
            let [code] = self.bytes()?;
            match code {
                // PROTO, FRAME: the end of a frame is where it is.
                0x80 => {
                    let [version] = self.bytes()?;
                    if version > 5 {
                        return Err(Refusal::Malformed);
                    }
                }
                0x95 => {
                    let _: [u8; 8] = self.bytes()?;
                }
                // STOP
                b'.' => {
                    let root = self.pop()?;
                    let is_whole = self.stack.is_empty() && self.input.is_empty();
                    return is_whole.then_some(root).ok_or(Refusal::Malformed);
                }
                // MEMOIZE, BINGET, LONG_BINGET
                0x94 => self
                    .memo
                    .push(*self.stack.last().ok_or(Refusal::Malformed)?),
                b'h' => {
                    let [place] = self.bytes()?;
                    self.recall(usize::from(place))?;
                }
                b'j' => {
                    let place = self.length()?;
                    self.recall(place)?;
                }
                b'N' => self.push(Node::None),
                0x88 => self.push(Node::Bool(true)),
                0x89 => self.push(Node::Bool(false)),
                // BININT, BININT1, BININT2, LONG1, LONG4, BINFLOAT
                b'J' => {
                    let number = i32::from_le_bytes(self.bytes()?);
                    self.push(Node::Int(number.into()));
                }
                b'K' => {
                    let [number] = self.bytes()?;
                    self.push(Node::Int(number.into()));
                }
                b'M' => {
                    let number = u16::from_le_bytes(self.bytes()?);
                    self.push(Node::Int(number.into()));
                }
                0x8a => {
                    let [length] = self.bytes()?;
                    let digits = self.slice(length.into())?;
                    self.push(integer(digits));
                }
                0x8b => {
                    let length = self.length()?;
                    let digits = self.slice(length)?;
                    self.push(integer(digits));
                }
                b'G' => {
                    let number = f64::from_be_bytes(self.bytes()?);
                    self.push(Node::Float(number));
                }
                // SHORT_BINUNICODE, BINUNICODE, SHORT_BINBYTES, BINBYTES
                0x8c => {
                    let [length] = self.bytes()?;
                    let text = self.slice(length.into())?;
                    self.push(Node::Text(text));
                }
                b'X' => {
                    let length = self.length()?;
                    let text = self.slice(length)?;
                    self.push(Node::Text(text));
                }
                b'C' => {
                    let [length] = self.bytes()?;
                    let bytes = self.slice(length.into())?;
                    self.push(Node::Bytes(bytes));
                }
                b'B' => {
                    let length = self.length()?;
                    let bytes = self.slice(length)?;
                    self.push(Node::Bytes(bytes));
                }
                // EMPTY_TUPLE, TUPLE1 to TUPLE3, MARK, TUPLE
                b')' => self.push(Node::Tuple(Vec::new())),
                0x85..=0x87 => {
                    let from = self.stack.len().checked_sub(usize::from(code - 0x84));
                    let from = from.filter(|from| *from >= self.floor());
                    let items = self.stack.split_off(from.ok_or(Refusal::Malformed)?);
                    self.push(Node::Tuple(items));
                }
                b'(' => self.marks.push(self.stack.len()),
                b't' => {
                    let items = self.since_mark()?;
                    self.push(Node::Tuple(items));
                }
                // EMPTY_LIST, EMPTY_SET, APPEND, APPENDS, ADDITEMS, FROZENSET
                b']' | 0x8f => self.push(Node::List(Vec::new())),
                b'a' => {
                    let item = self.pop()?;
                    self.extend_list(vec![item])?;
                }
                b'e' | 0x90 => {
                    let items = self.since_mark()?;
                    self.extend_list(items)?;
                }
                0x91 => {
                    let items = self.since_mark()?;
                    self.push(Node::List(items));
                }
                // EMPTY_DICT, SETITEM, SETITEMS
                b'}' => self.push(Node::Dict(Vec::new())),
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.extend_dict(&[key, value])?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    self.extend_dict(&items)?;
                }
                // STACK_GLOBAL, REDUCE, BUILD
                0x93 => {
                    let name = self.pop()?;
                    let module = self.pop()?;
                    self.name(module, name)?;
                }
                b'R' => {
                    let arguments = self.pop()?;
                    let function = self.pop()?;
                    let made = self.call(function, arguments)?;
                    self.push(made);
                }
                b'b' => {
                    let state = self.pop()?;
                    self.build(state)?;
                }
                // GLOBAL: two lines of text, as older protocols name a function.
                b'c' => return Err(self.names_in_text()),
                code => return Err(Refusal::Instruction(code)),
            }
        }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (bytes, rest) = self.input.split_first_chunk().ok_or(Refusal::CutShort)?;
        self.input = rest;
        Ok(*bytes)
    }

    fn length(&mut self) -> Result<usize, Refusal> {
        let length = u32::from_le_bytes(self.bytes()?);
        usize::try_from(length).map_err(|_| Refusal::CutShort)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], Refusal> {
        let (slice, rest) = self
            .input
            .split_at_checked(length)
            .ok_or(Refusal::CutShort)?;
        self.input = rest;
        Ok(slice)
    }

    fn push(&mut self, node: Node<'a>) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    /// Below this height, the stack belongs to an outer container.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or_default()
    }

    fn pop(&mut self) -> Result<Place, Refusal> {
        if self.stack.len() <= self.floor() {
            return Err(Refusal::Malformed);
        }
        self.stack.pop().ok_or(Refusal::Malformed)
    }

    fn since_mark(&mut self) -> Result<Vec<Place>, Refusal> {
        let mark = self.marks.pop().ok_or(Refusal::Malformed)?;
        Ok(self.stack.split_off(mark))
    }

    fn recall(&mut self, place: usize) -> Result<(), Refusal> {
        let place = self.memo.get(place).ok_or(Refusal::Malformed)?;
        self.stack.push(*place);
        Ok(())
    }

    /// The container on top of the stack, which a mark no longer hides.
    fn top(&mut self) -> Result<&mut Node<'a>, Refusal> {
        let place = self
            .stack
            .last()
            .filter(|_| self.stack.len() > self.floor());
        self.nodes
            .get_mut(*place.ok_or(Refusal::Malformed)?)
            .ok_or(Refusal::Malformed)
    }

    fn extend_list(&mut self, items: Vec<Place>) -> Result<(), Refusal> {
        match self.top()? {
            Node::List(list) => list.extend(items),
            _ => return Err(Refusal::Malformed),
        }
        Ok(())
    }

    fn extend_dict(&mut self, items: &[Place]) -> Result<(), Refusal> {
        let (pairs, []) = items.as_chunks::<2>() else {
            return Err(Refusal::Malformed);
        };
        match self.top()? {
            Node::Dict(dict) => dict.extend(pairs.iter().map(|[key, value]| (*key, *value))),
            _ => return Err(Refusal::Malformed),
        }
        Ok(())
    }

    fn node(&self, place: Place) -> Result<&Node<'a>, Refusal> {
        self.nodes.get(place).ok_or(Refusal::Malformed)
    }

    fn text(&self, place: Place) -> Result<&'a [u8], Refusal> {
        match self.node(place)? {
            Node::Text(text) => Ok(text),
            _ => Err(Refusal::Malformed),
        }
    }

    fn tuple(&self, place: Place) -> Result<&[Place], Refusal> {
        match self.node(place)? {
            Node::Tuple(items) => Ok(items),
            _ => Err(Refusal::Malformed),
        }
    }

    fn name(&mut self, module: Place, name: Place) -> Result<(), Refusal> {
        let (module, name) = (self.text(module)?, self.text(name)?);
        match Function::named(module, name) {
            Some(function) => self.push(Node::Function(function)),
            None => return Err(names(module, name)),
        }
        Ok(())
    }

    fn names_in_text(&self) -> Refusal {
        let mut lines = self.input.split(|byte| *byte == b'\n');
        names(
            lines.next().unwrap_or_default(),
            lines.next().unwrap_or_default(),
        )
    }

    /// What the function would return.
    fn call(&self, function: Place, arguments: Place) -> Result<Node<'a>, Refusal> {
        let Node::Function(function) = self.node(function)? else {
            return Err(Refusal::Malformed);
        };
        let arguments = self.tuple(arguments)?;
        match (function, arguments) {
            (Function::MessageType, [number]) => match self.node(*number)? {
                Node::Int(number) => Ok(Node::Int(*number)),
                _ => Err(Refusal::Malformed),
            },
            (Function::Dtype, [code, align, copy]) => {
                let is_usual = matches!(self.node(*align)?, Node::Bool(false))
                    && matches!(self.node(*copy)?, Node::Bool(true));
                let dtype = Dtype::of(self.text(*code)?)?;
                is_usual
                    .then_some(Node::Dtype(dtype))
                    .ok_or(Refusal::Malformed)
            }
            (Function::Scalar, [dtype, bytes]) => match (self.node(*dtype)?, self.node(*bytes)?) {
                (Node::Dtype(dtype), Node::Bytes(bytes)) => Ok(Node::Scalar(dtype.clone(), bytes)),
                _ => Err(Refusal::Malformed),
            },
            _ => Err(Refusal::Malformed),
        }
    }

    /// Gives the dtype on top of the stack its byte order. Nothing else has a state.
    fn build(&mut self, state: Place) -> Result<(), Refusal> {
        let mut read = Vec::new();
        for place in self.tuple(state)? {
            read.push(match self.node(*place)? {
                Node::None => Value::None,
                Node::Int(number) => Value::Int(*number),
                Node::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                _ => return Err(Refusal::Malformed),
            });
        }
        match self.top()? {
            Node::Dtype(dtype) => Ok(dtype.set_state(&read)?),
            _ => Err(Refusal::Malformed),
        }
    }

    /// The tree below a node. What is shared is repeated, within the budget; a container within itself is
    /// nested too deep.
    fn value(&self, place: Place, depth: usize, budget: &mut Budget) -> Result<Value, Refusal> {
        if depth > Budget::DEEPEST {
            return Err(Refusal::Nested);
        }
        let node = self.node(place)?;
        budget.take(match node {
            Node::Text(bytes) | Node::Bytes(bytes) | Node::Scalar(_, bytes) => bytes.len(),
            _ => 0,
        })?;
        Ok(match node {
            Node::None => Value::None,
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(value) => Value::Int(*value),
            Node::Float(value) => Value::Float(*value),
            Node::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
            Node::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
            Node::Scalar(dtype, bytes) => dtype.read(bytes)?,
            Node::Tuple(items) | Node::List(items) => {
                let mut values = Vec::new();
                for item in items {
                    values.push(self.value(*item, depth + 1, budget)?);
                }
                Value::List(values)
            }
            Node::Dict(pairs) => {
                let mut values = Vec::new();
                for (key, value) in pairs {
                    let key = self.value(*key, depth + 1, budget)?;
                    values.push((key, self.value(*value, depth + 1, budget)?));
                }
                Value::Dict(values)
            }
            Node::Function(_) | Node::Dtype(_) => return Err(Refusal::Malformed),
        })
    }
}

/// An integer with any number of digits: least byte first, in two's complement.
fn integer<'a>(digits: &[u8]) -> Node<'a> {
    let is_negative = digits.last().is_some_and(|last| *last >= 0x80);
    let fill = if is_negative { 0xff } else { 0 };
    if digits.len() <= 8 {
        let mut bytes = [fill; 8];
        bytes[..digits.len()].copy_from_slice(digits);
        return Node::Int(i64::from_le_bytes(bytes));
    }
    let magnitude = digits
        .iter()
        .rev()
        .fold(0.0_f64, |sum, digit| 256.0 * sum + f64::from(digit ^ fill));
    // Minus one is all ones.
    Node::Float(if is_negative {
        -1.0 - magnitude
    } else {
        magnitude
    })
}

fn names(module: &[u8], name: &[u8]) -> Refusal {
    let full = [module, b".", name].concat();
    let full = String::from_utf8_lossy(&full);
    // For people, on one line.
    let shown: String = full.chars().take(80).flat_map(char::escape_debug).collect();
    Refusal::Names(shown)
}

#[cfg(test)]
mod tests;
