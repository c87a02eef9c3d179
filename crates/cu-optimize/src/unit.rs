//! Values as places in the unit interval. Each value of an integer or a choice has a cell of it.

use serde_json::Value;

use crate::{Distribution, Scale};

/// What is searched of a number: itself, or its logarithm.
impl Scale {
    pub(crate) fn apply(self, number: f64) -> f64 {
        match self {
            Self::Linear => number,
            Self::Log => number.ln(),
        }
    }

    pub(crate) fn undo(self, number: f64) -> f64 {
        match self {
            Self::Linear => number,
            Self::Log => number.exp(),
        }
    }
}

impl Distribution {
    /// The value at this place of the unit interval.
    pub(crate) fn at(&self, place: f64) -> Value {
        let (low, high) = self.ends();
        match self {
            Self::Real { scale, .. } => self.number(scale.undo(low + place * (high - low))),
            Self::Integer { scale, .. } => self.number(scale.undo(low + place * (high - low))),
            Self::Choice { options } => {
                let place = (place * high).clamp(0.0, high - 1.0);
                options[truncated(place)].clone()
            }
        }
    }

    /// The cell of a value that the distribution allows: its two ends in the unit interval.
    pub(crate) fn cell(&self, value: &Value) -> (f64, f64) {
        let (low, high) = self.ends();
        let place = |number: f64| {
            let place = (number - low) / (high - low);
            if place.is_finite() {
                place.clamp(0.0, 1.0)
            } else {
                0.5
            }
        };
        match self {
            Self::Real { scale, .. } => {
                let place = place(scale.apply(value.as_f64().unwrap_or_default()));
                (place, place)
            }
            Self::Integer { scale, .. } => {
                let number = value.as_f64().unwrap_or_default();
                (
                    place(scale.apply(number - 0.5)),
                    place(scale.apply(number + 0.5)),
                )
            }
            Self::Choice { options } => {
                let option = options.iter().position(|option| option == value);
                let option = float(option.unwrap_or_default());
                (place(option), place(option + 1.0))
            }
        }
    }

    /// The nearest value of a parameter that is a number.
    pub(crate) fn number(&self, number: f64) -> Value {
        match self {
            Self::Real { low, high, .. } => Value::from(number.clamp(*low, *high)),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "clamped to integers below 2^53"
            )]
            #[expect(clippy::cast_precision_loss, reason = "the bounds lie below 2^53")]
            Self::Integer { low, high, .. } => {
                let nearest = (number + 0.5).floor();
                Value::from(nearest.clamp(*low as f64, *high as f64) as i64)
            }
            Self::Choice { .. } => Value::Null,
        }
    }

    /// The ends of what is searched: those of the outermost cells.
    #[expect(clippy::cast_precision_loss, reason = "the bounds lie below 2^53")]
    fn ends(&self) -> (f64, f64) {
        match self {
            Self::Real { low, high, scale } => (scale.apply(*low), scale.apply(*high)),
            Self::Integer { low, high, scale } => {
                let (low, high) = (*low as f64 - 0.5, *high as f64 + 0.5);
                (scale.apply(low), scale.apply(high))
            }
            Self::Choice { options } => (0.0, float(options.len())),
        }
    }
}

/// A count as a float.
#[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 of anything")]
pub(crate) fn float(count: usize) -> f64 {
    count as f64
}

/// A float that is not negative as a count.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small and not negative"
)]
pub(crate) fn truncated(number: f64) -> usize {
    number as usize
}
