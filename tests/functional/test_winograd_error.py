"""What Winograd's convolution loses in float32: the stated bounds hold, and the page and the docstring state them."""

import itertools
import re
import runpy

import numpy as np
import pytest
from helpers.programs import ROOT

import allconv as ac
from allconv.functional import tuning
from allconv.functional.choice import choose
from allconv.functional.geometry import geometry_of
from allconv.functional.winograd.bilinear import matrices
from allconv.functional.winograd.error import error_bound
from allconv.functional.winograd.tiling import best_tile


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "benchmarks" / "winograd_error.py"))


def bound_of(kernel, stride, channels):
    sizes = kernel, stride, (channels, channels)
    return error_bound(kernel, stride, best_tile(*sizes), (channels, channels))


@pytest.mark.parametrize(
    ("kernel", "stride", "channels"),
    [
        ((3, 3), (1, 1), 16),
        ((3, 3), (1, 1), 192),
        ((3, 3), (2, 2), 96),
        ((3, 5), (1, 2), 32),
        ((4, 4), (1, 1), 64),
        ((5, 5), (1, 1), 64),
        ((5, 5), (1, 1), 144),
        ((7, 7), (1, 1), 32),
        ((7, 7), (2, 2), 64),
    ],
)
def test_fresh_draws_keep_to_the_bound(script, kernel, stride, channels):
    case = script["draw"](kernel, stride, channels, seed=10)
    for name, (ours, direct) in script["errors"](case).items():
        assert ours < bound_of(kernel, stride, channels), name
        assert direct < 1e-6, name


@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), (1, 1)), ((3, 3), (2, 2)), ((5, 5), (1, 1))])
@pytest.mark.parametrize("outlier", [1e3, 1e6])
def test_an_outlier_disturbs_the_outputs_of_its_tiles_within_the_bound(script, kernel, stride, outlier):
    case = script["draw"](kernel, stride, 32, 10, images=1)
    ours, direct = script["outlier_errors"](case, outlier)
    assert 1e-8 * outlier < ours < bound_of(kernel, stride, 32) * outlier * np.abs(case.weight).max()
    assert direct < 1e-5


def test_what_is_not_finite_spreads_to_the_outputs_of_its_tiles_alone(script):
    case = script["draw"]((3, 3), (1, 1), 16, 10, images=1)
    for value in (np.nan, np.inf, 1e38):
        ours, direct = script["spoiled"](case, value)
        assert ours == 64  # four tiles, where their windows overlap
        assert direct in (0, 9)


def test_the_choice_by_cost_keeps_to_the_bound():
    taken = set()
    for kernel in itertools.product(range(3, 8), repeat=2):
        for stride, channels, backward in itertools.product(
            [(1, 1), (2, 2), (2, 1)], [3, 32, 128, 1024], [False, True]
        ):
            shape = (16, 32, 32, channels)
            geometry = geometry_of(shape, (*kernel, channels, channels), stride, "same", (1, 1), 1)
            if choose(geometry, backward=backward) == "winograd":
                taken.add(kernel)
                assert bound_of(kernel, stride, channels) <= tuning.WINOGRAD.most_error == 2**-16
    assert {(3, 3), (5, 5), (3, 7), (7, 7)} <= taken


@pytest.mark.parametrize(
    ("kernel", "channels", "tile", "algorithm"),
    [
        ((3, 3), 2048, 4, "winograd"),
        ((5, 5), 64, 4, "winograd"),
        ((5, 5), 512, 2, "winograd"),  # tiles of 4 outputs would lose 1.9e-5
        ((7, 7), 64, 2, "im2col"),  # even tiles of 2 outputs would lose 2.4e-5
    ],
)
def test_smaller_tiles_or_im2col_are_taken_where_the_bound_asks_for_it(kernel, channels, tile, algorithm):
    geometry = geometry_of((16, 32, 32, channels), (*kernel, channels, channels), (1, 1), "same", (1, 1), 1)
    assert best_tile(kernel, (1, 1), (channels, channels)) == tile
    assert choose(geometry) == choose(geometry, backward=True) == algorithm


def rows_of(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]


def sizes_of(row):
    return tuple(int(size) for size in row[0].split("x")), (int(row[1]),) * 2


def test_the_tables_of_the_page_are_within_the_bounds_that_the_code_has(script):
    page = (ROOT / "docs" / "understand" / "winograd.md").read_text(encoding="utf-8")
    for name in ("errors", "outliers", "nets"):
        assert f"{{include}} ../_static/results/winograd_{name}.md" in page
    text = (ROOT / "docs" / "_static" / "results" / "winograd_errors.md").read_text(encoding="utf-8")
    *measured, bounds = (rows_of(part)[2:] for part in text.split("\n\n|")[1:] for part in [f"|{part}"])
    assert len(measured) == 3
    for row in bounds:
        kernel, stride = sizes_of(row)
        for cell, channels in zip(row[2:], script["CHANNELS"], strict=True):
            assert cell == script["bound_cell"](kernel, stride, channels)
    assert len(bounds) == len(script["KERNELS"]) * len(script["STRIDES"])
    for rows in measured:
        for row, limits in zip(rows, bounds, strict=True):
            assert row[:2] == limits[:2]
            for cell, limit in zip(row[2:], limits[2:], strict=True):
                ours, direct = (float(number) for number in re.findall(r"[\d.]+", cell))
                assert ours <= float(limit.split(",")[0])
                assert direct < 1


def test_the_docstring_states_the_bounds_that_the_code_has():
    table = re.findall(r"^ *(\dx\d[^.]*?) +(\d) +(\S+) +(\S+) +(\S+)$", ac.Conv2D.__doc__, re.MULTILINE)
    assert len(table) == 6
    for kernels, stride, *cells in table:
        for kernel, (cell, channels) in itertools.product(
            re.findall(r"(\d)x\d", kernels), zip(cells, (16, 96, 256), strict=True)
        ):
            bound = bound_of((int(kernel),) * 2, (int(stride),) * 2, channels)
            assert f"{bound:.1e}" == f"{float(cell):.1e}", (kernel, stride, channels)
            assert channels < 256 or bound == bound_of((int(kernel),) * 2, (int(stride),) * 2, 4096)
    assert f"at most {tuning.WINOGRAD.most_error:.1e}".replace("e-0", "e-") in ac.Conv2D.__doc__


@pytest.fixture(scope="module")
def points():
    return runpy.run_path(str(ROOT / "benchmarks" / "winograd_points.py"))


@pytest.mark.parametrize(("m", "r"), [(2, 3), (4, 3), (6, 3), (4, 5)])
def test_the_measured_algorithms_compute_the_convolution_and_its_gradients(points, m, r):
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((2, points["SIDE"], points["SIDE"], c)) for c in (3, 4))
    arrays = x, rng.standard_normal((r, r, 3, 4)), dy
    found = points["passes"](points["algorithm"](m, r, points["POINTS"], np.float64), *arrays)
    for ours, exact in zip(found, points["definition"](*arrays), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-11)


def test_the_measured_points_are_the_library_s(points):
    for m, r in ((2, 3), (4, 3), (6, 3), (4, 5)):
        ours = points["algorithm"](m, r, points["POINTS"], np.float64)
        for matrix, exact in zip(ours, matrices(m, r), strict=False):
            np.testing.assert_array_equal(matrix, np.array(exact, np.float64))


def test_the_library_s_points_have_less_than_half_the_error_of_the_usual_ones(points):
    lines = points["TABLE"].read_text(encoding="utf-8").splitlines()
    usual, ours = ([float(cell) for cell in line.strip("| ").split(" | ")[-3:]] for line in lines[4:6])
    assert "-2 |" in lines[4]
    assert "-1/2 |" in lines[5]
    assert all(2 * a < b for a, b in zip(ours, usual, strict=True))
