from __future__ import annotations

import torch

from lemore_core.model.lemore import LeMoRe
from lemore_core.model.variants import variant
from lemore_core.training.pretraining.classifier import Classifier


def classifier() -> Classifier:
    torch.manual_seed(0)
    encoder = LeMoRe(variant('nano', classes=5, height=96, width=64), drop_path=0.0)
    return Classifier(encoder, 5)


def test_the_logits_are_those_of_the_mean_token() -> None:
    model = classifier().eval()
    images = torch.randn(2, 3, 96, 64)
    features, tokens = model.encoder.encode(images)
    assert [tuple(f.shape) for f in features] == [
        (2, 8, 24, 16),
        (2, 16, 12, 8),
        (2, 32, 6, 4),
        (2, 64, 3, 2),
    ]
    assert tokens.shape == (2, 120, 2, 1)
    mean = tokens.flatten(2).mean(2)
    expected = mean @ model.linear.weight.t() + model.linear.bias
    assert torch.allclose(model(images), expected, atol=1e-6)


def test_every_parameter_that_wants_a_gradient_gets_one() -> None:
    # several processes wait for each other's gradients of exactly these
    model = classifier().train()
    model(torch.randn(2, 3, 96, 64)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.requires_grad == (not name.startswith(('encoder.fusions', 'encoder.head')))
