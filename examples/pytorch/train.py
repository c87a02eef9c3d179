"""Trains a small network in PyTorch, through cu_job.py, and may stop after any batch.

The checkpoint has the weights, the optimizer, the random numbers (of dropout) and the place in the order of the data,
so that the weights in the end are those of a training without a break, bit for bit. On a GPU add
`torch.cuda.get_rng_state_all()`, and `torch.use_deterministic_algorithms(True)`.
"""

import io
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

# Only for those who have not installed it: a program of your own does without this line.
sys.path.append(str(Path(__file__).resolve().parents[2] / "crates/cu-client/python"))

import cu_job


def examples() -> TensorDataset:
    """2,000 points of a surface."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(2000, 2, generator=generator) * 4 - 2
    return TensorDataset(points, torch.sin(points[:, :1]) * points[:, 1:])


def main() -> None:
    # The order in which threads add up changes the last bits.
    torch.set_num_threads(1)
    with cu_job.Job() as job:
        torch.manual_seed(job.settings.seed)
        model = torch.nn.Sequential(
            torch.nn.Linear(2, 64), torch.nn.Tanh(), torch.nn.Dropout(0.05), torch.nn.Linear(64, 1)
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=job.settings.rate)
        order = torch.Generator().manual_seed(job.settings.seed)
        loader = DataLoader(examples(), batch_size=50, shuffle=True, generator=order)
        loss_of = torch.nn.functional.mse_loss
        epoch, batches = 0, 0

        saved = job.load_bytes()
        if saved is not None:
            state = torch.load(io.BytesIO(saved))
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["random"])
            order.set_state(state["order"])
            epoch, batches = state["epoch"], state["batches"]

        while epoch < job.settings.epochs:
            order_of_epoch = order.get_state()
            for number, (points, values) in enumerate(loader):
                # An earlier attempt has learned from these.
                if number < batches:
                    continue
                optimizer.zero_grad()
                loss_of(model(points), values).backward()
                optimizer.step()
                batches = number + 1
                if job.should_exit():
                    file = io.BytesIO()
                    state = {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "random": torch.get_rng_state(),
                        "order": order_of_epoch,
                        "epoch": epoch,
                        "batches": batches,
                    }
                    torch.save(state, file)
                    job.save_bytes(file.getvalue())
                    job.exit_for_resume()
            epoch, batches = epoch + 1, 0
            job.announce_fraction_finished(epoch / job.settings.epochs)
            print("epoch", epoch, flush=True)

        model.eval()
        points, values = examples().tensors
        with torch.no_grad():
            loss = loss_of(model(points), values).item()
        with open(job.output_dir / "weights.txt", "w") as file:
            for name, weights in model.state_dict().items():
                for weight in weights.flatten().tolist():
                    print(name, weight.hex(), file=file)
        job.finalize({"loss": loss})


if __name__ == "__main__":
    main()
