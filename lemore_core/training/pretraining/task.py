"""One step of pre-training and of validation, as Lightning calls them."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional
from torchmetrics.classification import MulticlassAccuracy

from lemore_core.checkpoint import ModelCard
from lemore_core.evaluation.metrics import rounded
from lemore_core.training.images import Batch
from lemore_core.training.pretraining.classifier import Classifier
from lemore_core.training.pretraining.recipe import PretrainRecipe
from lemore_core.training.task import Score, Task, full_precision


class PretrainTask(Task):
    """Trains a classifier of whole images; its checkpoints hold the encoder's LeMoRe."""

    recipe: PretrainRecipe
    network: Classifier

    def __init__(self, recipe: PretrainRecipe, card: ModelCard, network: Classifier) -> None:
        super().__init__(recipe, card, network)
        classes = card.config.classes
        self.top_1, self.top_5 = (
            MulticlassAccuracy(classes, top_k=k, average='micro', validate_args=False)
            for k in (1, min(5, classes))
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of RGB (N, 3, H, W) uint8 and class ids (N,) int64."""
        del batch_idx
        images, labels = batch
        logits = full_precision(self.network(self.normalised(images)))
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.recipe.smoothing)
        self.log('train/loss', loss)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self.top_1.reset()
        self.top_5.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count how often the true class is the first, and among the first five."""
        del batch_idx
        images, labels = batch
        logits = full_precision(self.network(self.normalised(images)))
        self.top_1.update(logits, labels)
        self.top_5.update(logits, labels)

    def score(self) -> Score:
        """Return top-1 and top-5 accuracy, over all processes, which all must ask."""
        top_1, top_5 = float(self.top_1.compute()), float(self.top_5.compute())
        return Score(
            'top-1',
            top_1,
            {'top_1': rounded(top_1), 'top_5': rounded(top_5)},
            {'val/top_1': top_1, 'val/top_5': top_5},
        )

    def weights(self) -> dict[str, Tensor]:
        """Return the state of the whole LeMoRe, of which only the encoder was trained."""
        return self.network.encoder.state_dict()
