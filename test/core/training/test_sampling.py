from __future__ import annotations

import numpy as np
import pytest

from lemore_core.training.sampling import Order, StepSampler, balanced_shares, frequency_weights


def test_each_pass_covers_each_image_once_in_another_order() -> None:
    order = Order(7, seed=3)
    drawn = list(order.positions(0, 21))
    assert [position for position, _ in drawn] == list(range(21))
    passes = [[index for _, index in drawn[i : i + 7]] for i in (0, 7, 14)]
    assert all(sorted(indices) == list(range(7)) for indices in passes)
    assert len({tuple(indices) for indices in passes}) == 3
    assert list(Order(7, seed=4).positions(0, 7)) != drawn[:7]


def test_a_position_says_the_same_wherever_one_begins() -> None:
    order = Order(5, seed=0)
    assert list(order.positions(8, 13)) == list(order.positions(0, 20))[8:13]


def test_epochs_continue_where_the_last_one_ended() -> None:
    steps = iter([0, 3, 5])  # the second epoch was broken off after two of its three steps
    sampler = StepSampler(Order(5, seed=1), lambda: next(steps), steps=3, batch=4)
    assert len(sampler) == 12
    seen = list(sampler) + list(sampler)[:8] + list(sampler)
    assert seen == list(Order(5, seed=1).positions(0, 32))


def test_two_processes_see_together_what_one_sees() -> None:
    order = Order(9, seed=2)
    alone = StepSampler(order, lambda: 8, steps=4, batch=6)
    shares = [
        StepSampler(order, lambda: 8, steps=4, batch=6, process=i, processes=2) for i in (0, 1)
    ]
    first, second = (list(share) for share in shares)
    assert len(first) == len(second) == len(shares[0]) == 12
    together = [pair for pairs in zip(first, second, strict=True) for pair in pairs]
    assert together == list(alone)
    # so the images of each step are the same ones, whoever takes them
    assert {i for _, i in first[:3] + second[:3]} == {i for _, i in list(alone)[:6]}


def test_shares_are_how_often_a_image_is_drawn() -> None:
    order = Order(3, seed=0, shares=np.array([0.7, 0.3, 0.0]))
    indices = [index for _, index in order.positions(0, 6000)]
    assert np.bincount(indices, minlength=3) / 6000 == pytest.approx([0.7, 0.3, 0], abs=0.02)
    assert list(order.positions(0, 10)) == list(order.positions(0, 20))[:10]


def test_the_image_with_the_rare_class_is_favoured() -> None:
    counts = np.array([[100, 0, 0], [100, 0, 0], [90, 10, 0]])
    shares = balanced_shares(counts, 0.5)
    assert shares.sum() == pytest.approx(1)
    # by hand: classes are drawn as exp((1 - 29/30) / T) to exp((1 - 1/30) / T)
    common, rare = np.exp(2 / 30), np.exp(2 * 29 / 30)
    share = rare / (rare + common) + common / (rare + common) / 3
    assert shares[2] == pytest.approx(share)
    assert shares[0] == shares[1] == pytest.approx((1 - share) / 2)
    # the colder, the more so; hot enough, all classes count alike
    assert balanced_shares(counts, 0.1)[2] > shares[2] > balanced_shares(counts, 100.0)[2]
    assert balanced_shares(counts, 1e6)[2] == pytest.approx(1 / 2 + 1 / 6, abs=1e-4)


def test_images_without_labels_are_not_drawn() -> None:
    shares = balanced_shares(np.array([[0, 0], [5, 0]]), 0.01)
    assert shares.tolist() == [0.0, 1.0]


def test_very_low_temperatures_do_not_overflow() -> None:
    shares = balanced_shares(np.array([[1000, 0, 1], [1000, 5, 0]]), 1e-4)
    assert np.isfinite(shares).all()
    assert shares.sum() == pytest.approx(1)
    assert shares[0] == pytest.approx(1)


def test_rare_classes_weigh_more_and_pixels_one_on_average() -> None:
    counts = np.array([[50, 10], [30, 0]])
    weights = frequency_weights(counts, 0.5)
    assert weights.dtype == np.float32
    assert weights[1] / weights[0] == pytest.approx((80 / 10) ** 0.5)
    assert float(weights[0] * 80 + weights[1] * 10) / 90 == pytest.approx(1.0)
    assert frequency_weights(counts, 0.0).tolist() == [1, 1]
    inverse = frequency_weights(counts, 1.0)
    assert inverse[1] / inverse[0] == pytest.approx(8)


def test_absent_classes_have_a_finite_weight() -> None:
    weights = frequency_weights(np.array([[90, 10, 0]]), 0.5)
    assert np.isfinite(weights).all()
    assert weights[2] > weights[1] > weights[0]
