"""A small network learns the sine, with Lightning. Install it by `pip install lightning`."""

import os

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint


class Sine(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))

    def training_step(self, batch, _):
        (x,) = batch
        return torch.nn.functional.mse_loss(self.layers(x), torch.sin(x))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


lightning.seed_everything(1)
data = torch.utils.data.TensorDataset(torch.rand(640, 1) * 6)
trainer = lightning.Trainer(
    max_epochs=40,
    accelerator="cpu",
    logger=False,
    callbacks=[ModelCheckpoint(dirpath="checkpoints", save_last=True)],
)
last = "checkpoints/last.ckpt"
trainer.fit(Sine(), torch.utils.data.DataLoader(data, batch_size=64), ckpt_path=last if os.path.exists(last) else None)
