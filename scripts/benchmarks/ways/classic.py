"""The classic loop: frozen by requires_grad=False, every epoch through the whole network, best epoch kept."""

import copy
import json
import sys
from pathlib import Path

import torch
from torch import nn

from benchmarks.ways.network import LEARNING_RATE, WEIGHT_DECAY, accuracy, loaders, pretrained


def main(root: Path, epochs: int) -> None:
    """Train the head, and print the accuracies of the best epoch."""
    torch.manual_seed(0)
    batches = loaders(root)
    network = pretrained(len(batches["train"].dataset.classes))  # type: ignore[attr-defined]
    network[0].requires_grad_(False)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(network[1].parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(batches["train"]))
    best, best_state = -1.0, network.state_dict()
    for _ in range(epochs):
        network.train()
        for images, labels in batches["train"]:
            optimizer.zero_grad()
            criterion(network(images), labels).backward()
            optimizer.step()
            scheduler.step()
        reached = accuracy(network, batches["val"])
        if reached > best:
            best, best_state = reached, copy.deepcopy(network.state_dict())
    network.load_state_dict(best_state)
    sys.stdout.write(json.dumps({"val": best, "test": accuracy(network, batches["test"])}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
