"""Views at test time: what they show, and the averages of their scores."""

import numpy as np
import pytest

import allconv as ac

IMAGES = np.random.default_rng(0).normal(size=(3, 5, 6, 2))


def reflected(image, row, column):
    """A pixel of an image that goes on by reflection at its border pixels."""
    height, width, _ = image.shape
    row, column = abs(row), abs(column)
    return image[min(row, 2 * (height - 1) - row), min(column, 2 * (width - 1) - column)]


@pytest.mark.parametrize("pixels", [1, 2])
def test_six_views(pixels):
    shown = [view(IMAGES) for _, view in ac.data.shift_views(pixels)]
    assert [weight for weight, _ in ac.data.shift_views(pixels)] == [0.25, 0.25, 0.125, 0.125, 0.125, 0.125]
    for index, shift in ((0, 0), (2, -pixels), (4, pixels)):
        expected = [
            [[reflected(image, row + shift, column + shift) for column in range(6)] for row in range(5)]
            for image in IMAGES
        ]
        np.testing.assert_array_equal(shown[index], expected)
        np.testing.assert_array_equal(shown[index + 1], shown[index][:, :, ::-1])


def test_evaluate_and_predict_average_the_scores():
    rng = np.random.default_rng(1)
    model = ac.Sequential(ac.Flatten(), ac.Linear(5 * 6 * 2, 4, dtype=np.float64, rng=rng))
    views = ac.data.mirror_views()
    expected = (model(IMAGES) + model(IMAGES[:, :, ::-1])) / 2
    np.testing.assert_allclose(ac.predict(model, IMAGES, batch_size=2, views=views), expected)
    labels, loss = np.array([0, 3, 1]), ac.SoftmaxCrossEntropy()
    found = ac.evaluate(model, loss, (IMAGES, labels), batch_size=2, views=views)
    assert found.loss == pytest.approx(loss(expected, labels)[0])
    assert found.accuracy == np.mean(expected.argmax(axis=1) == labels)


@pytest.mark.parametrize(("pixels", "size"), [(20, 8), (8, 8), (1, 1)])
def test_shifts_as_large_as_the_images_are_refused(pixels, size):
    _, shifted = ac.data.shift_views(pixels)[2]
    with pytest.raises(ValueError, match=f"pixels must be less than the height and width of {size}x9, got {pixels}"):
        shifted(np.zeros((2, size, 9, 3)))
