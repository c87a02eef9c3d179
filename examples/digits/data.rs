//! The data set: 1797 images of handwritten digits, compiled into the program. `DATA.md` gives
//! their source.

/// Pixels of an image, 8 rows of 8.
pub const PIXELS: usize = 64;
/// The digits 0 to 9.
pub const CLASSES: usize = 10;

/// The last images are for the test, all others for training.
const TEST_IMAGES: usize = 297;

/// One line an image: 64 characters `0` to `g` (ink, from 0 to 16), a space, the digit it shows.
const TEXT: &str = include_str!("digits.txt");

/// A handwritten digit.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Ink, row by row, from 0 (none) to 1.
    pub pixels: [f64; PIXELS],
    /// The digit that it shows.
    pub digit: usize,
}

/// All images, in two parts.
pub struct DataSet {
    /// The images for training.
    pub training: Vec<Image>,
    /// The images for the test.
    pub test: Vec<Image>,
}

impl DataSet {
    /// Reads the images that are part of this program.
    pub fn load() -> Self {
        let mut training: Vec<Image> = TEXT.lines().map(image).collect();
        let test = training.split_off(training.len() - TEST_IMAGES);
        Self { training, test }
    }
}

fn image(line: &str) -> Image {
    let (ink, digit) = line
        .split_once(' ')
        .expect("a space stands between pixels and digit in digits.txt");
    let mut pixels = [0.0; PIXELS];
    assert_eq!(ink.len(), PIXELS, "digits.txt has 64 pixels a line");
    for (pixel, character) in pixels.iter_mut().zip(ink.chars()) {
        let ink = character
            .to_digit(17)
            .expect("the ink in digits.txt is 0 to g");
        *pixel = f64::from(ink) / 16.0;
    }
    let digit = digit.parse().expect("a digit ends each line of digits.txt");
    Image { pixels, digit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_set_is_whole() {
        let DataSet { training, test } = DataSet::load();
        assert_eq!((training.len(), test.len()), (1500, 297));
        let mut counts = [0; CLASSES];
        let mut ink = 0.0;
        for image in training.iter().chain(&test) {
            counts[image.digit] += 1;
            ink += image.pixels.iter().sum::<f64>() * 16.0;
        }
        // The counts on UCI's page about its test set.
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        // The sum of all pixels of the original file.
        assert_eq!(ink, 561718.0);
    }
}
