"""A split has each example once, in the shares that were asked for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allconv.data import Dataset, split


def numbered(labels):
    return Dataset(np.arange(float(len(labels)))[:, None], np.array(labels), classes=5)


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=40, max_size=200),
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
    stratify=st.booleans(),
)
def test_each_example_is_in_one_part_and_the_parts_have_their_shares(labels, cuts, seed, stratify):
    fractions = [cut / sum(cuts) for cut in cuts]
    dataset = numbered(labels)
    try:
        parts = split(dataset, fractions, seed=seed, stratify=stratify)
    except ValueError as error:
        assert "must leave each part an example" in str(error)  # noqa: PT017
        assert min(fractions) * len(labels) < (6 if stratify else 1)
        return
    rows = [part.inputs[:, 0].astype(int) for part in parts]
    assert sorted(np.concatenate(rows)) == list(range(len(labels)))
    for part, row, fraction in zip(parts, rows, fractions, strict=True):
        assert part.targets.tolist() == [labels[i] for i in row]
        wanted = fraction * len(labels)
        assert abs(len(part) - wanted) < (5 if stratify else 1) + 1e-6
        if stratify:
            for label in range(5):
                assert abs(np.count_nonzero(part.targets == label) - fraction * labels.count(label)) < 1 + 1e-6


def test_small_classes_leave_the_parts_their_share_of_the_whole():
    train, test = split(numbered([0, 0, 1, 1, 2, 2, 3, 3, 4, 4]), (0.75, 0.25), seed=0, stratify=True)
    assert (len(train), len(test)) in [(7, 3), (8, 2)]


def test_the_order_is_random_and_follows_from_the_seed():
    dataset = numbered([0] * 50 + [1] * 50)
    first, again, other = (
        split(dataset, (0.5, 0.5), seed=seed, stratify=True)[0].inputs.tolist() for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert first != sorted(first)


@pytest.mark.parametrize(
    ("fractions", "options", "error", "message"),
    [
        (0.5, {}, TypeError, r"fractions must be a sequence of positive numbers whose sum is 1, such as .*, got 0\.5"),
        ((0.5, 0.6), {}, ValueError, "fractions must be a sequence of positive numbers whose sum is 1, got"),
        ((1.5, -0.5), {}, ValueError, r"fractions\[1\] must be a positive number, got -0\.5"),
        (("0.5", 0.5), {}, TypeError, r"fractions\[0\] must be a positive number, got '0\.5'"),
        ((0.99, 0.01), {}, ValueError, "fractions must leave each part an example, got .* of 6 examples"),
        ((0.5, 0.5), {"seed": -1}, ValueError, "seed must be a non-negative int, got -1"),
        ((0.5, 0.5), {"stratify": 1}, TypeError, "stratify must be True or False, got 1"),
    ],
)
def test_what_cannot_be_split_is_refused(fractions, options, error, message):
    with pytest.raises(error, match=message):
        split(numbered([0, 1, 2, 0, 1, 2]), fractions, **{"seed": 0} | options)


def test_only_a_data_set_is_split_and_only_labels_are_stratified():
    with pytest.raises(TypeError, match="dataset must be a Dataset, got"):
        split(np.ones((3, 2)), (0.5, 0.5), seed=0)
    with pytest.raises(ValueError, match=r"stratify must be False unless the targets are labels \(N,\), got"):
        split(Dataset(np.ones((4, 2)), np.ones(4)), (0.5, 0.5), seed=0, stratify=True)
