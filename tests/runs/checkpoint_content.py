"""What a checkpoint of these tests holds: its files, and a state to train on from."""

import torch

FILES = ("model.safetensors", "training_state.pt", "config.yaml", "tokenizer.json")
STATE = {
    "step": 1000,
    "cursor": {"epoch": 3, "index": 17},
    "optimizer": [{"exp_avg": torch.linspace(-1, 1, 7, dtype=torch.float64)}, {"step": torch.tensor(5)}],
    "wandb": None,
    "best": 3.25,
}
