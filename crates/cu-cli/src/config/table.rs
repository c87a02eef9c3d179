//! The macro that declares a table of the config once: a struct for serde, and its part of the
//! reference.

use super::units::PathKind;

/// A key of the config, as the reference shows it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name within its table.
    pub name: &'static str,
    /// What it is for, line by line.
    pub doc: &'static [&'static str],
    /// What the reference shows as its value.
    pub shown: Shown,
    /// When its value is a path.
    pub path: Option<PathKind>,
    /// What its values are in JSON Schema.
    pub schema: fn() -> serde_json::Value,
}

/// What the reference shows as the value of a key, in TOML.
#[derive(Clone, Copy, Debug)]
pub enum Shown {
    /// Its value when it is left out.
    Default(&'static str),
    /// An example; left out, it has no value, or it must be given.
    Example(&'static str),
}

/// A table with its dotted path, as the reference shows it.
#[derive(Clone, Debug)]
pub struct Section {
    /// The dotted path; empty for the top.
    pub path: String,
    /// What it is for, line by line.
    pub doc: &'static [&'static str],
    /// Its keys.
    pub keys: &'static [Key],
    /// If a user chooses the names of its keys: what their values are in JSON Schema. `keys` is then an
    /// example.
    pub free: Option<fn() -> serde_json::Value>,
}

/// A table of the config.
pub trait Table {
    /// Appends this table, called `path`, and those inside it.
    fn describe(path: &str, sections: &mut Vec<Section>);
}

/// The dotted path of `name` within `path`.
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Declares a table. Each key has its documentation, its type, and what the reference shows; it
/// becomes an `Option`. A `#[serde(…)]` below the documentation goes to the field. `tables` are the
/// tables inside it. A `free` table wraps a map.
macro_rules! table {
    (
        $(#[doc = $doc:literal])*
        free $name:ident($map:ty) { $($key:literal = $shown:literal,)* }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $map);

        impl $crate::config::table::Table for $name {
            fn describe(path: &str, sections: &mut Vec<$crate::config::table::Section>) {
                use $crate::config::values::Schema;
                use $crate::config::table::{Key, Section, Shown};
                sections.push(Section {
                    path: path.to_owned(),
                    doc: &[$($doc),*],
                    keys: &[$(Key {
                        name: $key,
                        doc: &[],
                        shown: Shown::Example($shown),
                        path: None,
                        schema: <$map as Schema>::schema,
                    }),*],
                    free: Some(<$map as Schema>::schema),
                });
            }
        }
    };
    (
        $(#[doc = $doc:literal])*
        $name:ident {
            $(
                $(#[doc = $key_doc:literal])*
                $(#[serde($($serde:tt)*)])?
                $key:ident: $type:ty = $shown:ident($text:literal),
            )*
        }
        $(tables { $($inner:ident: $inner_type:ty,)* })?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[doc = $key_doc])* $(#[serde($($serde)*)])? pub $key: Option<$type>,)*
            $($(
                #[doc = concat!("The table `", stringify!($inner), "`.")]
                pub $inner: $inner_type,
            )*)?
        }

        impl $crate::config::table::Table for $name {
            fn describe(path: &str, sections: &mut Vec<$crate::config::table::Section>) {
                use $crate::config::values::Schema;
                use $crate::config::table::{Key, Section, Shown};
                use $crate::config::units::NoPath as _;
                sections.push(Section {
                    path: path.to_owned(),
                    doc: &[$($doc),*],
                    keys: &[$(Key {
                        name: stringify!($key),
                        doc: &[$($key_doc),*],
                        shown: Shown::$shown($text),
                        path: <$type>::PATH,
                        schema: <$type as Schema>::schema,
                    }),*],
                    free: None,
                });
                $($(<$inner_type as $crate::config::table::Table>::describe(
                    &$crate::config::table::join(path, stringify!($inner)),
                    sections,
                );)*)?
            }
        }
    };
}

pub(crate) use table;
