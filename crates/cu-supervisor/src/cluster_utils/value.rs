//! What the messages of cluster_utils consist of.

/// Plain data.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// Also an integer that 64 bits don't hold.
    Float(f64),
    /// Surrogates, which Python lets through, have become replacement characters.
    Text(String),
    Bytes(Vec<u8>),
    /// A list, a tuple or a set.
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
}
