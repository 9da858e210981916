"""Seeds every epoch anew, so that a resumed run draws what the uninterrupted one would have drawn."""

import lightning as L
import torch


class SeedEachEpoch(L.Callback):
    """Makes dropout, stochastic depth and mixing a function of seed, epoch and process alone.

    Checkpoints hold no state of the random generators. (The images' order and augmentation have
    seeds of their own: `graft.data.dataset`.)
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randint(2**31, (trainer.current_epoch + 1,), generator=generator)[-1].item()
        torch.manual_seed(int(drawn) + trainer.global_rank)
