"""A small network learns the sine. The loop saves after each epoch, and continues from the last save."""

import os

import torch

EPOCHS = 150
torch.manual_seed(1)
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Linear(1, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
epoch = 0

if os.path.exists("last.pt"):
    state = torch.load("last.pt")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"])
    epoch = state["epoch"]

while epoch < EPOCHS:
    for _ in range(20):
        x = torch.rand(64, 1) * 6
        loss = torch.nn.functional.mse_loss(model(x), torch.sin(x))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    epoch += 1
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "epoch": epoch,
    }
    torch.save(state, "last.part")
    os.replace("last.part", "last.pt")
    print("epoch", epoch, "loss", loss.item(), flush=True)

with open("weights.txt", "w") as file:
    for name, values in model.state_dict().items():
        for value in values.flatten().tolist():
            print(name, float(value).hex(), file=file)
