"""Networks for the tests of ONNX, and ONNX Runtime to run their files."""

import io
import warnings

import numpy as np

import allconv as ac

RNG = np.random.default_rng(0)


def stirred(model):
    """Return the model with other parameters than at the start, running statistics among them."""
    for name, parameter in model.named_parameters():
        noise = RNG.uniform(0.5, 1.5, parameter.value.shape)
        parameter.value = (noise if "var" in name else parameter.value + 0.3 * (noise - 1)).astype(
            parameter.value.dtype
        )
    return model


def run(path, x):
    import onnxruntime as runtime

    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def nchw(x):
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


def agree(model, x, wanted, turn=True):
    """Check the outputs of a model for NHWC images against those of the file, NCHW if `turn`."""
    found = model(x)
    found = nchw(found) if turn else found
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * max(1, np.abs(wanted).max()))


def exported(torch, module, shape, **options):
    """Return the bytes of the ONNX file that PyTorch writes of a module."""
    target = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns that it is the old one
        torch.onnx.export(module, torch.randn(1, *shape), target, dynamo=False, **options)
    return target.getvalue()


def graph_of(nodes, weights, shape=(1, 3, 4, 5), outputs=("y",), opset=13):
    """Return an ONNX model of nodes (operator, inputs, outputs, attributes)."""
    import onnx

    make = onnx.helper
    made = [
        make.make_node(kind, inputs, out, name=f"{kind}{k}", **more)
        for k, (kind, inputs, out, more) in enumerate(nodes)
    ]
    ends = (
        [make.make_tensor_value_info("x", 1, shape)],
        [make.make_tensor_value_info(name, 1, None) for name in outputs],
    )
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()]
    return make.make_model(
        make.make_graph(made, "g", *ends, tensors), opset_imports=[make.make_opsetid("", opset)], ir_version=8
    )


def numbers(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


NETS = {
    "the article's": (lambda: ac.models.article_net("convpool", rng=RNG), (32, 32, 3)),
    "All-CNN-C": (lambda: ac.models.all_cnn("C", "allcnn", rng=RNG), (32, 32, 3)),
    "LeNet": (lambda: ac.models.lenet(rng=RNG), (28, 28, 1)),
    "ResNet-20 A": (lambda: ac.models.resnet20("A", rng=RNG), (16, 16, 3)),
    "ResNet-20 B": (lambda: ac.models.resnet20("B", rng=RNG), (16, 16, 3)),
    "MLP": (lambda: ac.Sequential(ac.Branches(ac.Linear(5, 2), ac.GroupNorm(1, 5)), ac.Softmax()), (5,)),
    "images in, images out": (lambda: ac.Sequential(ac.Conv2D(3, 4, 3, stride=2), ac.Upsample2D(2)), (7, 6, 3)),
    "flatten": (lambda: ac.Sequential(ac.Conv2D(3, 4, 3, stride=2), ac.Flatten(), ac.Linear(48, 2)), (7, 6, 3)),
    "adaptive pooling": (lambda: ac.Sequential(*map(ac.AdaptiveAveragePool2D, [(2, 1), 1])), (4, 3, 2)),
}  # fmt: skip
