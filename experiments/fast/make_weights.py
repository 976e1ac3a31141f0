"""Keep the weights of a run of the fast recipe in docs/weights, rounded to float16, for `models.pretrained`.

    python experiments/fast/make_weights.py RUN [--data PATH]

RUN is the folder of a finished run for 0.94. The facts about the weights go to a table beside them.
"""

import argparse
from pathlib import Path

import numpy as np

import allconv as ac
from allconv.checkpoint import atomic_write, load_model_state
from allconv.tables import markdown

WEIGHTS = Path(__file__).resolve().parents[2] / "docs" / "weights" / "fast_net.npz"


def accuracies(model: ac.Sequential, data: str | None) -> tuple[str, str]:
    """Return the test accuracy with one view, and with six."""
    train_set, test_set = ac.data.cifar10(data)
    normalize = ac.data.Standardize.fit(train_set.inputs)
    loader = ac.data.Loader(test_set, 500, shuffle=False, normalize=normalize)
    loss, views = ac.SoftmaxCrossEntropy(), ac.data.shift_views()
    one, six = ac.evaluate(model, loss, loader), ac.evaluate(model, loss, loader, views=views)
    return f"{one.accuracy:.4f}", f"{six.accuracy:.4f}"


def main() -> None:
    """Write the two files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", help="default: look on this machine")
    arguments = parser.parse_args()
    state = ac.checkpoint.load(arguments.run / "checkpoints")
    config = state["config"]
    if config["target"] != 0.94:
        parser.error(f"argument run: must be a run for 0.94, got one for {config['target']}")
    model = ac.models.fast_net(np.zeros((2, 2, 3, 24), np.float32))
    load_model_state(model, state)
    ac.save_weights(model, WEIGHTS, dtype="float16")
    ac.load_weights(model, WEIGHTS)
    one, six = accuracies(model, arguments.data)
    rows = [
        ["optimizer", config["optimizer"]],
        ["seed", f"{config['seed']}"],
        ["accuracy on the 10,000 test images, one view", one],
        ["the same, six views", six],
        ["bytes", f"{WEIGHTS.stat().st_size}"],
    ]
    with atomic_write(WEIGHTS.with_suffix(".txt")) as file:
        file.write(markdown([["", ""], *rows]).encode())


if __name__ == "__main__":
    main()
