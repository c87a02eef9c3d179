//! Versions of the protocol: the range that an end speaks, and the one that two ends agree on.

use std::fmt;

/// A range of protocol versions, both ends included. The first version is 1.
///
/// ```
/// use cu_protocol::Versions;
///
/// let old = Versions { lowest: 1, highest: 2 };
/// let new = Versions { lowest: 2, highest: 4 };
/// assert_eq!(old.newest_common(new), Some(2));
/// assert_eq!(old.newest_common(Versions { lowest: 3, highest: 4 }), None);
/// assert_eq!(new.to_string(), "2 to 4");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Versions {
    /// The oldest version spoken.
    pub lowest: u16,
    /// The newest version spoken.
    pub highest: u16,
}

impl Versions {
    /// The versions that this release speaks. Version 2 adds two messages to version 1,
    /// version 3 three more, version 4 one to a supervisor.
    pub const SPOKEN: Self = Self {
        lowest: 1,
        highest: 4,
    };

    /// Returns the newest version in both ranges.
    #[must_use]
    pub fn newest_common(self, other: Self) -> Option<u16> {
        let newest = self.highest.min(other.highest);
        (newest >= self.lowest.max(other.lowest)).then_some(newest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lowest == self.highest {
            write!(out, "{}", self.lowest)
        } else {
            write!(out, "{} to {}", self.lowest, self.highest)
        }
    }
}
