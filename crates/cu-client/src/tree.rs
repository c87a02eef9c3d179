//! Converts any serialisable value to a tree of plain ones, so that the same few functions flatten
//! and write settings and metrics, structs and maps. Unlike JSON it keeps NaN and infinities.

use std::collections::BTreeMap;
use std::fmt;

use cu_protocol::{MetricValue, Metrics};
use serde::ser::{self, Serialize};

use crate::python_text;

/// A plain value, or several.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree {
    Null,
    Boolean(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Tree>),
    Map(BTreeMap<String, Tree>),
}

/// Why a value has no tree: its `Serialize` fails, or its map keys are not names.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct NoTree(String);

impl ser::Error for NoTree {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl Tree {
    /// The tree of any value.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, NoTree> {
        value.serialize(ToTree)
    }

    /// The leaves below maps, by their names joined with dots. Lists are leaves. `None` if the
    /// value is not a map, since it has no names then.
    pub fn flattened(self) -> Option<BTreeMap<String, Self>> {
        let Self::Map(entries) = self else {
            return None;
        };
        let mut leaves = BTreeMap::new();
        flatten(String::new(), entries, &mut leaves);
        Some(leaves)
    }

    /// A leaf as a metric. Lists become their text, whole numbers that don't fit become floats.
    pub fn into_metric(self) -> MetricValue {
        match self {
            Self::Null => MetricValue::Null,
            Self::Boolean(value) => MetricValue::Boolean(value),
            Self::Integer(value) => {
                i64::try_from(value).map_or(MetricValue::Float(value as f64), MetricValue::Integer)
            }
            Self::Float(value) => MetricValue::Float(value),
            Self::Text(value) => MetricValue::Text(value),
            Self::List(_) | Self::Map(_) => MetricValue::Text(python_text::literal(&self)),
        }
    }

    /// A metric as a leaf.
    pub fn of_metric(value: &MetricValue) -> Self {
        match value {
            MetricValue::Null => Self::Null,
            MetricValue::Boolean(value) => Self::Boolean(*value),
            MetricValue::Integer(value) => Self::Integer(i128::from(*value)),
            MetricValue::Float(value) => Self::Float(*value),
            MetricValue::Text(value) => Self::Text(value.clone()),
        }
    }
}

/// Converts a struct or map to metrics. Nested values get dotted names.
pub(crate) fn metrics<T: Serialize + ?Sized>(value: &T) -> Result<Metrics, String> {
    let tree = Tree::of(value).map_err(|NoTree(reason)| reason)?;
    let leaves = tree
        .flattened()
        .ok_or("they are not a struct or a map of names to values")?;
    let metrics = leaves
        .into_iter()
        .map(|(name, leaf)| (name, leaf.into_metric()));
    Ok(metrics.collect())
}

fn flatten(prefix: String, entries: BTreeMap<String, Tree>, leaves: &mut BTreeMap<String, Tree>) {
    for (name, value) in entries {
        let name = format!("{prefix}{name}");
        match value {
            Tree::Map(below) => flatten(name + ".", below, leaves),
            leaf => {
                leaves.insert(name, leaf);
            }
        }
    }
}

struct ToTree;

/// A map or struct being built; `around` is the name of the enum variant around it.
struct Entries {
    around: Option<&'static str>,
    entries: BTreeMap<String, Tree>,
    key: Option<String>,
}

/// A list being built.
struct Items {
    around: Option<&'static str>,
    items: Vec<Tree>,
}

fn wrapped(around: Option<&'static str>, tree: Tree) -> Tree {
    match around {
        None => tree,
        Some(variant) => Tree::Map(BTreeMap::from([(variant.to_owned(), tree)])),
    }
}

macro_rules! integers {
    ($($method:ident: $integer:ty,)*) => {
        $(fn $method(self, value: $integer) -> Result<Tree, NoTree> {
            Ok(Tree::Integer(i128::from(value)))
        })*
    };
}

impl ser::Serializer for ToTree {
    type Ok = Tree;
    type Error = NoTree;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Entries;
    type SerializeStruct = Entries;
    type SerializeStructVariant = Entries;

    integers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
    }

    fn serialize_bool(self, value: bool) -> Result<Tree, NoTree> {
        Ok(Tree::Boolean(value))
    }

    fn serialize_f32(self, value: f32) -> Result<Tree, NoTree> {
        Ok(Tree::Float(f64::from(value)))
    }

    fn serialize_f64(self, value: f64) -> Result<Tree, NoTree> {
        Ok(Tree::Float(value))
    }

    fn serialize_char(self, value: char) -> Result<Tree, NoTree> {
        Ok(Tree::Text(value.to_string()))
    }

    fn serialize_str(self, value: &str) -> Result<Tree, NoTree> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Tree, NoTree> {
        let bytes = value.iter().map(|byte| Tree::Integer(i128::from(*byte)));
        Ok(Tree::List(bytes.collect()))
    }

    fn serialize_none(self) -> Result<Tree, NoTree> {
        Ok(Tree::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Tree, NoTree> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Tree, NoTree> {
        Ok(Tree::Null)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Tree, NoTree> {
        Ok(Tree::Null)
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<Tree, NoTree> {
        Ok(Tree::Text(variant.to_owned()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<Tree, NoTree> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Tree, NoTree> {
        Ok(wrapped(Some(variant), value.serialize(self)?))
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<Items, NoTree> {
        Ok(Items::new(None))
    }

    fn serialize_tuple(self, _length: usize) -> Result<Items, NoTree> {
        Ok(Items::new(None))
    }

    fn serialize_tuple_struct(self, _name: &'static str, _length: usize) -> Result<Items, NoTree> {
        Ok(Items::new(None))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Items, NoTree> {
        Ok(Items::new(Some(variant)))
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Entries, NoTree> {
        Ok(Entries::new(None))
    }

    fn serialize_struct(self, _name: &'static str, _length: usize) -> Result<Entries, NoTree> {
        Ok(Entries::new(None))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Entries, NoTree> {
        Ok(Entries::new(Some(variant)))
    }
}

impl Items {
    fn new(around: Option<&'static str>) -> Self {
        Self {
            around,
            items: Vec::new(),
        }
    }

    fn push<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), NoTree> {
        self.items.push(item.serialize(ToTree)?);
        Ok(())
    }

    fn finish(self) -> Tree {
        wrapped(self.around, Tree::List(self.items))
    }
}

impl Entries {
    fn new(around: Option<&'static str>) -> Self {
        Self {
            around,
            entries: BTreeMap::new(),
            key: None,
        }
    }

    fn insert<T: Serialize + ?Sized>(&mut self, key: String, value: &T) -> Result<(), NoTree> {
        self.entries.insert(key, value.serialize(ToTree)?);
        Ok(())
    }

    fn finish(self) -> Tree {
        wrapped(self.around, Tree::Map(self.entries))
    }
}

macro_rules! items {
    ($($kind:ident: $method:ident,)*) => {
        $(impl ser::$kind for Items {
            type Ok = Tree;
            type Error = NoTree;

            fn $method<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), NoTree> {
                self.push(item)
            }

            fn end(self) -> Result<Tree, NoTree> {
                Ok(self.finish())
            }
        })*
    };
}

items! {
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field,
}

macro_rules! fields {
    ($($kind:ident,)*) => {
        $(impl ser::$kind for Entries {
            type Ok = Tree;
            type Error = NoTree;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), NoTree> {
                self.insert(key.to_owned(), value)
            }

            fn end(self) -> Result<Tree, NoTree> {
                Ok(self.finish())
            }
        })*
    };
}

fields! { SerializeStruct, SerializeStructVariant, }

impl ser::SerializeMap for Entries {
    type Ok = Tree;
    type Error = NoTree;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NoTree> {
        self.key = Some(match key.serialize(ToTree)? {
            Tree::Text(name) => name,
            Tree::Integer(number) => number.to_string(),
            other => {
                let key = python_text::literal(&other);
                return Err(NoTree(format!("the key {key} is not a name")));
            }
        });
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NoTree> {
        let key = self.key.take();
        self.insert(
            key.ok_or_else(|| NoTree("a value without a key".into()))?,
            value,
        )
    }

    fn end(self) -> Result<Tree, NoTree> {
        Ok(self.finish())
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    enum Schedule {
        Constant,
        Cosine { warmup: u8 },
        Steps(Vec<u32>),
    }

    #[derive(Serialize)]
    struct Results {
        accuracy: f64,
        loss: Option<f32>,
        nested: BTreeMap<&'static str, (bool, char)>,
        schedules: [Schedule; 2],
        cosine: Schedule,
        beyond: u64,
    }

    #[test]
    fn nested_values_get_dotted_names_and_nan_stays_nan() {
        let flat = metrics(&Results {
            accuracy: f64::NAN,
            loss: None,
            nested: BTreeMap::from([("pair", (true, 'x'))]),
            schedules: [Schedule::Constant, Schedule::Steps(vec![1, 2])],
            cosine: Schedule::Cosine { warmup: 3 },
            beyond: u64::MAX,
        })
        .unwrap();
        let text = |value: &str| MetricValue::Text(value.to_owned());
        assert!(matches!(flat["accuracy"], MetricValue::Float(value) if value.is_nan()));
        assert_eq!(flat["loss"], MetricValue::Null);
        assert_eq!(flat["nested.pair"], text("[True, 'x']"));
        assert_eq!(flat["schedules"], text("['Constant', {'Steps': [1, 2]}]"));
        assert_eq!(flat["cosine.Cosine.warmup"], MetricValue::Integer(3));
        assert_eq!(
            flat["beyond"],
            MetricValue::Float(18_446_744_073_709_551_615.0)
        );
        assert_eq!(flat.len(), 6);
    }

    #[test]
    fn values_without_names_are_not_metrics() {
        assert!(metrics(&1.5).is_err());
        assert!(metrics(&[1, 2]).is_err());
        assert!(metrics(&BTreeMap::from([((1, 2), 3)])).is_err());
        assert!(metrics(&BTreeMap::from([(7, "seven")])).is_ok());
    }
}
