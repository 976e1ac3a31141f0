"""ONNX files of other exporters, and our own, as models with the same outputs."""

import warnings

import numpy as np
import pytest
from helpers.onnx_files import NETS, agree, exported, run, stirred
from helpers.registry import LAYERS

import allconv as ac
from allconv.interop import assign, from_onnx, to_onnx

onnx = pytest.importorskip("onnx")
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_comes_back(tmp_path, name):
    row = LAYERS[name]
    for options in row.variants:
        if name == "AdaptiveAveragePool2D" and options.get("output_size") != (1, 6):
            continue
        layer = stirred(row.build(**options | ({"dtype": np.float32} if "dtype" in row.given else {})))
        to_onnx(layer, tmp_path / "a.onnx", row.shape[1:])
        x = RNG.standard_normal(row.shape).astype(np.float32)
        agree(from_onnx(tmp_path / "a.onnx"), x, layer(x), turn=False)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(("net", "shape"), NETS.values(), ids=NETS)
def test_networks_come_back_with_their_parameters(tmp_path, net, shape, layout):
    model = stirred(net())
    to_onnx(model, tmp_path / "a.onnx", shape, layout=layout)
    back = from_onnx(tmp_path / "a.onnx")
    x = RNG.standard_normal((2, *shape)).astype(np.float32)
    agree(back, x, model(x), turn=False)
    leaves = [id(layer) for _, layer in back.leaves()]
    assert len(set(leaves)) == len(leaves)  # each activation is a layer of its own
    count = sum(parameter.value.size for parameter in model.parameters())
    assert sum(parameter.value.size for parameter in back.parameters() if parameter.trainable) >= 0.9 * count
    y, cache = back.forward(x, training=True)
    back.backward(np.ones_like(y), cache)


def torch_nets(nn):
    """Return {name: (module, shape of an NCHW image)}."""
    import torch

    class Functional(nn.Module):
        """Flatten in another way each time, activations spelled out, and means in the place of pooling."""

        def __init__(self, flatten):
            super().__init__()
            self.flatten, self.conv, self.fc = flatten, nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.Linear(36, 4)

        def forward(self, x):
            return self.fc(self.flatten(torch.relu(self.conv(x))))

    class Block(nn.Module):
        """A residual block with a projection, and one without."""

        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU6(), nn.Conv2d(4, 4, 1))
            self.project, self.more = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, x):
            x = torch.relu(self.body(x) + self.project(x))
            x = torch.cat([x, self.more(x) + x, nn.functional.max_pool2d(x, 3, 1, 1)], 1)
            return nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)

    class Norm(nn.Module):
        """A normalization by numbers, and activations that exporters spell out."""

        def forward(self, x):
            x = (x - torch.tensor([0.1, 0.2]).view(1, 2, 1, 1)) / torch.tensor([0.5, 2.0]).view(1, 2, 1, 1)
            return nn.functional.gelu(nn.functional.silu(nn.functional.pad(x, (1, 2, 0, 1)))).mean((2, 3))

    def conv(*arguments, **options):
        return [nn.Conv2d(*arguments, bias=False, **options), nn.BatchNorm2d(arguments[1])]

    mobile = nn.Sequential(
        *conv(2, 4, 3, stride=2, padding=1), nn.ReLU6(), *conv(4, 4, 3, padding=1, groups=4), nn.ReLU6(),
        *conv(4, 8, 1), nn.Hardtanh(0, 6), nn.Dropout(), nn.AvgPool2d(2, ceil_mode=True), nn.Flatten(),
        nn.Linear(32, 3), nn.Softmax(1),
    )  # fmt: skip
    return {
        "Flatten": (Functional(nn.Flatten()), (2, 6, 8)),
        "view(-1, n)": (Functional(lambda x: x.view(-1, 36)), (2, 6, 8)),
        "view(size(0), -1)": (Functional(lambda x: x.view(x.size(0), -1)), (2, 6, 8)),
        "reshape by a product": (
            Functional(lambda x: x.reshape(len(x), x.shape[1] * x.shape[2] * x.shape[3])),
            (2, 6, 8),
        ),
        "NHWC before": (Functional(lambda x: x.permute(0, 2, 3, 1).flatten(1)), (2, 6, 8)),
        "residual, concat": (Block(), (2, 6, 5)),
        "numbers by channel": (Norm(), (2, 6, 5)),
        "MobileNet": (mobile, (2, 7, 8)),
        "transposed, groups": (
            nn.Sequential(
                nn.ConvTranspose2d(2, 4, 3, 2, 1, 1), nn.GroupNorm(2, 4), nn.PReLU(4), nn.LeakyReLU(0.2), nn.ELU(),
                nn.InstanceNorm2d(4, affine=True), nn.Upsample(scale_factor=2), nn.Tanh(), nn.Sigmoid(),
            ),
            (2, 5, 4),
        ),
        "rows": (
            nn.Sequential(
                nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3, bias=False), nn.LogSoftmax(1)
            ),
            (5,),
        ),
        "flattened norm": (
            nn.Sequential(nn.Conv2d(2, 3, 1), nn.Flatten(), nn.BatchNorm1d(60), nn.ReLU(), nn.Linear(60, 2)),
            (2, 4, 5),
        ),
    }  # fmt: skip


NAMES = ["Flatten", "view(-1, n)", "view(size(0), -1)", "reshape by a product", "NHWC before", "residual, concat",
         "numbers by channel", "MobileNet", "transposed, groups", "rows", "flattened norm"]  # fmt: skip


@pytest.mark.parametrize("options", [
    {"opset_version": 17, "dynamic_axes": {"x": {0: "batch"}, "y": {0: "batch"}}},
    {"opset_version": 9, "do_constant_folding": False},
    {"opset_version": 20, "keep_initializers_as_inputs": True, "dynamic_axes": {"x": {0: "batch"}}},
    {"opset_version": 12, "do_constant_folding": False, "dynamic_axes": {"x": {0: "batch"}}},
], ids=lambda options: f"opset{options['opset_version']}")  # fmt: skip
@pytest.mark.parametrize("name", NAMES)
def test_exports_of_pytorch(tmp_path, name, options):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module, shape = torch_nets(torch.nn)[name]
    for key, value in module.state_dict().items():
        value.copy_(torch.rand(value.shape) + 0.5) if "running_var" in key else None
    module.eval()
    (tmp_path / "a.onnx").write_bytes(exported(torch, module, shape, input_names=["x"], output_names=["y"], **options))
    model = from_onnx(tmp_path / "a.onnx")
    x = RNG.standard_normal((3, *shape)).astype(np.float32)
    agree(model, x.transpose(0, 2, 3, 1) if x.ndim == 4 else x, module(torch.from_numpy(x)).detach().numpy())


@pytest.mark.parametrize("name", NAMES)
def test_exports_of_the_newer_exporter_of_pytorch(tmp_path, name):
    """Whose weights lie in a file of their own."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    module, shape = torch_nets(torch.nn)[name]
    x = RNG.standard_normal((2, *shape)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), (torch.from_numpy(x),), tmp_path / "a.onnx", dynamo=True, verbose=False)
    wanted = module(torch.from_numpy(x)).detach().numpy()
    agree(from_onnx(tmp_path / "a.onnx"), x.transpose(0, 2, 3, 1) if x.ndim == 4 else x, wanted)


def test_weights_of_pytorch_leave_as_onnx(tmp_path):
    """From PyTorch here, to ONNX Runtime, and back."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    theirs = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5)
    ).eval()
    ours = ac.Sequential(
        ac.Conv2D(3, 4, 3, stride=2, padding=1), ac.BatchNorm(4), ac.ReLU(), ac.Flatten(), ac.Linear(48, 5)
    )
    assign(ours, {name: value.numpy() for name, value in theirs.state_dict().items()})
    to_onnx(ours, tmp_path / "a.onnx", (6, 8, 3), layout="NCHW")
    x = RNG.standard_normal((2, 3, 6, 8)).astype(np.float32)
    wanted = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(run(tmp_path / "a.onnx", x), wanted, atol=1e-5)
    agree(from_onnx(tmp_path / "a.onnx"), x.transpose(0, 2, 3, 1), wanted)
