"""The network of a pre-training: a LeMoRe's encoder and one linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from lemore_core.model.lemore import LeMoRe

UNTRAINED = ('fusions', 'head')  # parts of a LeMoRe that classifying does not use


class Classifier(nn.Module):
    """Stem, stages and bottleneck of ``encoder``, and a linear layer on the tokens' mean.

    The encoder's other parts are carried along as they are, since they belong into its checkpoint.
    """

    def __init__(self, encoder: LeMoRe, classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        for name in UNTRAINED:
            # several processes would wait for gradients that never come
            encoder.get_submodule(name).requires_grad_(requires_grad=False)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(sum(s.channels for s in encoder.config.stages), classes)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised RGB (N, 3, H, W) of the encoder's size to logits (N, classes)."""
        _, tokens = self.encoder.encode(x)
        logits: Tensor = self.linear(self.dropout(tokens.mean((2, 3))))
        return logits
