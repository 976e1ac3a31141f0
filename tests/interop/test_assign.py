"""Weights of PyTorch in models of this library: the same outputs, and a refusal of all that does not fit."""

import numpy as np
import pytest

import allconv as ac
from allconv.interop import assign, assigning, load_safetensors, load_torch, save_safetensors

RNG = np.random.default_rng(0)


def numbers(model):
    return {name: parameter.value.copy() for name, parameter in model.named_parameters()}


def torch_state(module):
    """Return the state dict of a module of PyTorch after some moves of its running statistics, as arrays."""
    import torch

    for name, value in module.state_dict().items():
        if value.dtype == torch.float32:
            value.copy_(torch.rand(value.shape) * 0.4 + 0.3 if "var" in name else torch.randn(value.shape) * 0.3)
    return {name: value.numpy() for name, value in module.eval().state_dict().items()}


def pairs(nn):
    """Return {what is tried: (module of PyTorch, model of this library, shape of an image)}."""
    return {
        "conv, norm, flatten": (
            nn.Sequential(
                nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                nn.Linear(60, 5),
            ),
            ac.Sequential(
                ac.Conv2D(3, 4, 3), ac.BatchNorm(4), ac.ReLU(), ac.MaxPool2D(2), ac.Flatten(), ac.Linear(60, 5)
            ),
            (6, 10, 3),
        ),
        "norm and PReLU behind flatten": (
            nn.Sequential(
                nn.Conv2d(2, 3, 1), nn.Flatten(), nn.BatchNorm1d(60), nn.PReLU(60), nn.Dropout(), nn.Linear(60, 4),
                nn.Linear(4, 3),
            ),
            ac.Sequential(
                ac.Conv2D(2, 3, 1), ac.Flatten(), ac.BatchNorm(60), ac.PReLU(60), ac.Dropout(0.5), ac.Linear(60, 4),
                ac.Linear(4, 3),
            ),
            (4, 5, 2),
        ),
        "flatten first": (
            nn.Sequential(nn.Flatten(), nn.Linear(60, 4), nn.Linear(4, 3)),
            ac.Sequential(ac.Flatten(), ac.Linear(60, 4), ac.Linear(4, 3)),
            (4, 5, 3),
        ),
        "depthwise, transposed, groups": (
            nn.Sequential(
                nn.Conv2d(4, 8, 3, groups=4, padding=1),
                nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1, groups=2),
                nn.GroupNorm(2, 6),
                nn.Conv2d(6, 4, (1, 3), groups=2, padding=(0, 1), bias=False),
            ),
            ac.Sequential(
                ac.Conv2D(4, 8, 3, groups=4),
                ac.ConvTranspose2D(8, 6, 4, stride=2, groups=2),
                ac.GroupNorm(2, 6),
                ac.Conv2D(6, 4, (1, 3), groups=2, bias=False),
            ),
            (4, 5, 4),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("case", ["conv, norm, flatten", "norm and PReLU behind flatten", "flatten first",
                                  "depthwise, transposed, groups"])  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "module.", "net.features."])
def test_a_model_with_the_weights_of_pytorch_has_its_outputs(case, prefix):
    torch = pytest.importorskip("torch")
    theirs, ours, shape = pairs(torch.nn)[case]
    arrays = {prefix + name: array for name, array in torch_state(theirs).items()}
    report = assign(ours, arrays, input_shape=shape if case == "flatten first" else None)
    assert report.missing == report.unexpected == []
    assert all(prefix + path == name for path, name in report.names.items())
    x = RNG.standard_normal((2, *shape)).astype(np.float32)
    wanted = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).detach().numpy()
    found = ours(x)
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2) if found.ndim == 4 else found, wanted, atol=1e-5)


def test_a_missed_permutation_is_caught_by_the_outputs(monkeypatch):
    """The test above would see rows of a linear layer that are not reordered: the outputs are far apart."""
    torch = pytest.importorskip("torch")
    theirs, ours, shape = pairs(torch.nn)["conv, norm, flatten"]
    monkeypatch.setattr(assigning, "from_channels_first", lambda array, channels: array)
    assign(ours, torch_state(theirs))
    x = RNG.standard_normal((2, *shape)).astype(np.float32)
    wanted = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).detach().numpy()
    assert np.abs(ours(x) - wanted).max() > 0.1


def test_names_that_differ_are_matched_by_order_and_shape():
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Net(nn.Module):
        """A residual network, whose layers have names of their own, and are made in another order than they run."""

        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 3)
            self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
            self.conv2, self.bn2 = nn.Conv2d(4, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
            self.downsample = nn.Sequential(nn.Conv2d(4, 8, 1, bias=False), nn.BatchNorm2d(8))

        def forward(self, x):
            x = torch.relu(self.bn1(self.conv1(x)))
            x = torch.relu(self.bn2(self.conv2(x)) + self.downsample(x))
            return self.fc(x.mean((2, 3)))

    theirs = Net()
    ours = ac.Sequential(
        ac.Conv2D(3, 4, 3, bias=False), ac.BatchNorm(4), ac.ReLU(),
        ac.Skip(ac.Sequential(ac.Conv2D(4, 8, 3, bias=False), ac.BatchNorm(8)),
                shortcut=ac.Sequential(ac.Conv2D(4, 8, 1, bias=False), ac.BatchNorm(8))),
        ac.ReLU(), ac.GlobalAveragePool2D(), ac.Linear(8, 3),
    )  # fmt: skip
    assert assign(ours, torch_state(theirs)).names["3.shortcut.1.running_var"] == "downsample.1.running_var"
    x = RNG.standard_normal((2, 5, 6, 3)).astype(np.float32)
    wanted = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).detach().numpy()
    np.testing.assert_allclose(ours(x), wanted, atol=1e-5)


def test_layers_of_different_sizes_find_each_other_in_any_order():
    """As in a file of Keras, which has the layers of a graph by their depth."""
    theirs = {"head.weight": np.ones((4, 3)), "head.bias": np.ones(4), "stem.weight": np.zeros((3, 2))}
    model = ac.Sequential(ac.Linear(2, 3), ac.Linear(3, 4))
    assert assign(model, theirs | {"stem.bias": np.zeros(3)}).names["0.weight"] == "stem.weight"
    assert not model[0].weight.value.any()


def test_alphabetical_names_are_taken_by_their_numbers():
    """As safetensors has them: block10 comes before block2, and bias before weight."""
    theirs = ac.Sequential(*(ac.Linear(2, 2, rng=RNG) for _ in range(12)))
    ours = ac.Sequential(*(ac.Linear(2, 2) for _ in range(12)))
    arrays = {f"block{name.replace('.', '.fc.')}": value for name, value in numbers(theirs).items()}
    assign(ours, dict(sorted(arrays.items())), source="allconv")
    for name, value in numbers(theirs).items():
        np.testing.assert_array_equal(numbers(ours)[name], value)


def test_what_is_saved_here_comes_back(tmp_path):
    path = tmp_path / "a.safetensors"
    trained, fresh = (ac.models.resnet20(option="B", rng=np.random.default_rng(seed)) for seed in (0, 1))
    save_safetensors(trained, path)
    assign(fresh, load_safetensors(path), source="allconv")
    assert all(np.array_equal(numbers(trained)[name], value) for name, value in numbers(fresh).items())


def test_a_file_of_pytorch_goes_into_a_model(tmp_path):
    torch = pytest.importorskip("torch")
    theirs, ours, _ = pairs(torch.nn)["conv, norm, flatten"]
    torch.save({"state_dict": theirs.state_dict(), "epoch": 7}, tmp_path / "a.pt")
    assign(ours, load_torch(tmp_path / "a.pt"))
    np.testing.assert_array_equal(ours[0].weight.value, theirs[0].weight.detach().numpy().transpose(2, 3, 1, 0))


LINEAR = {"0.weight": np.ones((3, 2)), "0.bias": np.ones(3), "1.weight": np.ones((4, 3)), "1.bias": np.ones(4)}
MISFITS = {
    "missing": ({"1.bias": None}, "parameter '1.bias' has no array"),
    "unexpected": ({"2.weight": np.ones(2)}, "array '2.weight' has no parameter"),
    "another shape": ({"1.weight": np.ones((3, 3))}, "'1.weight' of shape (3, 4) cannot take '1.weight' of (3, 3)"),
    "no numbers": ({"0.bias": np.ones(3, int)}, "parameter '0.bias' must be floating of shape (3,)"),
    "too large": ({"0.bias": np.full(3, 1e300)}, "parameter '0.bias' must fit float32"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "reason"), MISFITS.values(), ids=MISFITS)
def test_a_misfit_is_named_and_changes_nothing(change, reason):
    model = ac.Sequential(ac.Linear(2, 3), ac.Linear(3, 4))
    before = numbers(model)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        assign(model, {name: array for name, array in (LINEAR | change).items() if array is not None})
    assert reason in str(caught.value)
    assert all(np.array_equal(before[name], value) for name, value in numbers(model).items())


def test_a_new_head_keeps_its_start_if_not_strict():
    model = ac.Sequential(ac.Linear(2, 3), ac.Linear(3, 9))
    head = model[1].weight.value.copy()
    report = assign(model, LINEAR, strict=False, rename={"1.weight": None, "1.bias": "old.bias"})
    assert (report.missing, report.unexpected) == (["1.weight", "1.bias"], ["old.bias"])
    np.testing.assert_array_equal(model[1].weight.value, head)
    assert (model[0].weight.value == 1).all()


def test_unknown_channels_before_flatten_are_asked_for():
    model = ac.Sequential(ac.Flatten(), ac.Linear(2, 3), ac.Linear(3, 4))
    arrays = {f"{int(name[0]) + 1}{name[1:]}": array for name, array in LINEAR.items()}
    with pytest.raises(ValueError, match="^input_shape must be given, since no layer tells the channels .* '1' sees"):
        assign(model, arrays)
    assign(model, arrays, input_shape=(1, 2, 1))


def test_a_state_dict_needs_no_file():
    torch = pytest.importorskip("torch")
    theirs, model = torch.nn.Linear(3, 2), ac.Linear(3, 2)
    ac.interop.assign(model, theirs.state_dict())
    ac.interop.assign(model, dict(theirs.named_parameters()))
    wanted = theirs.weight.detach().numpy().T.copy()
    theirs.weight.data.zero_()
    np.testing.assert_array_equal(model.weight.value, wanted)
    with pytest.raises(TypeError, match=r"arrays\['weight'\] must be an array, got tensor"):
        ac.interop.assign(model, theirs.to(torch.bfloat16).state_dict())
