//! The training, epoch by epoch. The next epoch depends only on the [`Training`]: saved and loaded,
//! it continues as if nothing had happened.

use std::num::{NonZeroU64, NonZeroUsize};

use serde::{Deserialize, Serialize};

use crate::data::Image;
use crate::network::Network;
use crate::random::Random;

/// The user's choices: the content of `settings.json`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The seed of the random numbers.
    pub seed: u64,
    /// The number of times that the network sees all training images.
    pub epochs: u32,
    /// The size of a step of gradient descent.
    pub learning_rate: f64,
    /// The number of images of a step.
    pub batch_size: NonZeroUsize,
    /// The greatest number of epochs of an attempt; no limit if `None`.
    #[serde(default)]
    pub epochs_per_attempt: Option<NonZeroU64>,
}

/// A training after some epochs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// The number of epochs that are done.
    pub epochs: u32,
    /// The mean loss in the last of them, in nats.
    pub loss: f64,
    /// The network, with its momentum.
    pub network: Network,
    random: Random,
}

impl Training {
    /// Before the first epoch.
    pub fn new(settings: &Settings) -> Self {
        let mut random = Random::new(settings.seed);
        Self {
            epochs: 0,
            loss: f64::NAN,
            network: Network::random(&mut random),
            random,
        }
    }

    /// Shows all `images` to the network once, in random order.
    pub fn epoch(&mut self, images: &[Image], settings: &Settings) {
        let mut order: Vec<_> = images.iter().collect();
        self.random.shuffle(&mut order);
        self.loss = 0.0;
        for images in order.chunks(settings.batch_size.get()) {
            let loss = self.network.train(images, settings.learning_rate);
            self.loss += loss * images.len() as f64 / order.len() as f64;
        }
        self.epochs += 1;
    }
}

#[cfg(test)]
mod tests {
    use cu_client::Checkpoints;

    use super::*;
    use crate::data::DataSet;

    fn settings(seed: u64) -> Settings {
        Settings {
            seed,
            epochs: 5,
            learning_rate: 0.01,
            batch_size: NonZeroUsize::new(32).unwrap(),
            epochs_per_attempt: None,
        }
    }

    fn trained(settings: &Settings, data: &DataSet) -> Training {
        let mut training = Training::new(settings);
        while training.epochs < settings.epochs {
            training.epoch(&data.training, settings);
        }
        training
    }

    /// The bits of a training: `==` would take 0.0 for -0.0.
    fn bits(training: &Training) -> String {
        format!("{training:?}")
    }

    #[test]
    fn saving_and_loading_every_epoch_changes_no_bit_of_the_result() {
        let data = DataSet::load();
        let settings = settings(3);
        let straight = trained(&settings, &data);

        let scratch = tempfile::tempdir().unwrap();
        let first = Training::new(&settings);
        Checkpoints::open(scratch.path())
            .unwrap()
            .save(&first)
            .unwrap();
        for attempt in 0..settings.epochs {
            let mut checkpoints = Checkpoints::open(scratch.path())
                .unwrap()
                .for_attempt(attempt);
            let mut training: Training = checkpoints.load().unwrap().unwrap().value;
            training.epoch(&data.training, &settings);
            checkpoints.save(&training).unwrap();
        }
        let chopped: Training = Checkpoints::open(scratch.path())
            .unwrap()
            .load()
            .unwrap()
            .unwrap()
            .value;
        assert_eq!(bits(&chopped), bits(&straight));
    }

    #[test]
    fn the_seed_decides_and_the_network_learns() {
        let data = DataSet::load();
        let training = trained(&settings(1), &data);
        assert_eq!(bits(&training), bits(&trained(&settings(1), &data)));
        assert_ne!(bits(&training), bits(&trained(&settings(2), &data)));
        let accuracy = training.network.accuracy(&data.test);
        assert!(accuracy > 0.8, "{accuracy}");
    }

    /// The same bits in every build and on every machine. Otherwise a training that moves to
    /// another machine would differ from an uninterrupted one.
    #[test]
    fn the_loss_has_the_bits_it_always_had() {
        let training = trained(&settings(1), &DataSet::load());
        assert_eq!(
            training.loss.to_bits(),
            0x3fd6_9098_bbe5_0310,
            "{:#x}",
            training.loss.to_bits()
        );
    }
}
