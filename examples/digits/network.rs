//! The network: 64 pixels, 32 hidden units, 10 digits, trained by gradient descent with momentum.
//!
//! Sums are added up in a fixed order, and `exp` and `ln` are those of `libm`, so the same seed
//! gives the same bits in every build and on every machine.

use serde::{Deserialize, Serialize};

use crate::data::{CLASSES, Image, PIXELS};
use crate::random::Random;

const HIDDEN: usize = 32;
const MOMENTUM: f64 = 0.9;

/// One layer of units: for each, the sum of its weighted inputs and a bias.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Layer {
    /// The number of inputs of each unit.
    inputs: usize,
    /// Unit by unit: a weight per input, then the bias.
    weights: Vec<f64>,
    /// The gradient of the present batch, of the same shape.
    #[serde(skip)]
    gradient: Vec<f64>,
    /// The momentum from earlier steps, of the same shape.
    velocity: Vec<f64>,
}

impl Layer {
    /// Uniform weights with variance 2 / `inputs` (He et al., 2015), no bias.
    fn random(inputs: usize, units: usize, random: &mut Random) -> Self {
        let limit = (6.0 / inputs as f64).sqrt();
        let mut weights = Vec::new();
        for _ in 0..units {
            weights.extend((0..inputs).map(|_| limit * (2.0 * random.fraction() - 1.0)));
            weights.push(0.0);
        }
        Self {
            inputs,
            velocity: vec![0.0; weights.len()],
            gradient: Vec::new(),
            weights,
        }
    }

    fn forward<const UNITS: usize>(&self, input: &[f64]) -> [f64; UNITS] {
        let mut sums = [0.0; UNITS];
        for (sum, weights) in sums.iter_mut().zip(self.weights.chunks(self.inputs + 1)) {
            *sum = weights[self.inputs];
            for (weight, value) in weights.iter().zip(input) {
                *sum += weight * value;
            }
        }
        sums
    }

    /// Adds the gradient of one image, and returns the slope of the loss by each input.
    fn backward<const INPUTS: usize>(
        &mut self,
        input: &[f64; INPUTS],
        slopes: &[f64],
    ) -> [f64; INPUTS] {
        self.gradient.resize(self.weights.len(), 0.0);
        let mut by_input = [0.0; INPUTS];
        let width = self.inputs + 1;
        let units = self
            .weights
            .chunks(width)
            .zip(self.gradient.chunks_mut(width));
        for ((weights, gradient), slope) in units.zip(slopes) {
            for place in 0..INPUTS {
                gradient[place] += slope * input[place];
                by_input[place] += slope * weights[place];
            }
            gradient[INPUTS] += slope;
        }
        by_input
    }

    /// One step downhill; the next batch starts with an empty gradient.
    fn step(&mut self, rate: f64) {
        let steps = self.weights.iter_mut().zip(&mut self.velocity);
        for ((weight, velocity), slope) in steps.zip(self.gradient.drain(..)) {
            *velocity = MOMENTUM * *velocity - rate * slope;
            *weight += *velocity;
        }
    }
}

/// The network with its momentum: all that training changes but the random numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    hidden: Layer,
    output: Layer,
}

impl Network {
    /// An untrained network.
    pub fn random(random: &mut Random) -> Self {
        Self {
            hidden: Layer::random(PIXELS, HIDDEN, random),
            output: Layer::random(HIDDEN, CLASSES, random),
        }
    }

    /// One step of gradient descent on a batch of images. Returns the mean loss
    /// (cross-entropy, in nats) before the step.
    pub fn train(&mut self, batch: &[&Image], learning_rate: f64) -> f64 {
        let loss = self.accumulate(batch);
        let rate = learning_rate / batch.len() as f64;
        self.hidden.step(rate);
        self.output.step(rate);
        loss
    }

    fn accumulate(&mut self, batch: &[&Image]) -> f64 {
        let mut loss = 0.0;
        for image in batch {
            let (active, mut slopes) = self.forward(&image.pixels);
            loss -= libm::log(slopes[image.digit]);
            // The slope of softmax and cross-entropy taken together.
            slopes[image.digit] -= 1.0;
            let mut by_hidden = self.output.backward(&active, &slopes);
            for (slope, active) in by_hidden.iter_mut().zip(active) {
                if active == 0.0 {
                    *slope = 0.0;
                }
            }
            self.hidden.backward(&image.pixels, &by_hidden);
        }
        loss / batch.len() as f64
    }

    /// The fraction of `images` that it classifies correctly.
    pub fn accuracy(&self, images: &[Image]) -> f64 {
        let right = |image: &&Image| {
            let (_, probabilities) = self.forward(&image.pixels);
            let best = (0..CLASSES).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
            best == Some(image.digit)
        };
        images.iter().filter(right).count() as f64 / images.len() as f64
    }

    /// The output of the hidden units, and the probability of each digit.
    fn forward(&self, pixels: &[f64; PIXELS]) -> ([f64; HIDDEN], [f64; CLASSES]) {
        let active = self.hidden.forward(pixels).map(|sum: f64| sum.max(0.0));
        (active, softmax(self.output.forward(&active)))
    }
}

fn softmax(sums: [f64; CLASSES]) -> [f64; CLASSES] {
    // Less the largest, so that no exponential overflows.
    let largest = sums.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let exponentials = sums.map(|sum| libm::exp(sum - largest));
    let total: f64 = exponentials.iter().sum();
    exponentials.map(|exponential| exponential / total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DataSet;

    /// The gradient against the loss's difference quotient, weight by weight.
    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let mut network = Network::random(&mut Random::new(7));
        let data = DataSet::load();
        let batch: Vec<_> = data.training[..5].iter().collect();
        network.accumulate(&batch);
        let gradients = [
            network.hidden.gradient.clone(),
            network.output.gradient.clone(),
        ];
        let width = 1e-6;
        for (layer, gradient) in gradients.iter().enumerate() {
            // Every seventh weight: 7 shares no factor with the rows' lengths 65 and 33.
            for place in (0..gradient.len()).step_by(7) {
                let loss_at = |change: f64| {
                    let mut network = network.clone();
                    let layers = [&mut network.hidden, &mut network.output];
                    layers.into_iter().nth(layer).unwrap().weights[place] += change;
                    network.accumulate(&batch)
                };
                let quotient = (loss_at(width) - loss_at(-width)) / (2.0 * width);
                let slope = gradient[place] / batch.len() as f64;
                assert!(
                    (quotient - slope).abs() < 1e-7,
                    "layer {layer}, weight {place}: {slope} instead of {quotient}"
                );
            }
        }
        assert!(gradients.concat().iter().any(|slope| slope.abs() > 0.1));
    }

    #[test]
    fn probabilities_add_up_even_where_exponentials_would_overflow() {
        let mut sums = [1.0; CLASSES];
        sums[3] = 2000.0;
        let probabilities = softmax(sums);
        assert_eq!(probabilities[3], 1.0);
        let total: f64 = softmax([0.5; CLASSES]).iter().sum();
        assert!((total - 1.0).abs() < 1e-15);
    }
}
