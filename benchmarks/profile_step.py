"""Show where a training step of a network of the experiment spends its time, layer by layer.

    python benchmarks/profile_step.py [--network convpool] [--batch 50] [--threads 2]

The last column compares the multiply-adds of the layer's definition with those that a large matrix product does in the
same time. Winograd's algorithm needs fewer than the definition, so the share may exceed 100 %.
"""

import argparse

import numpy as np

import allconv as ac


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=("convpool", "allcnn"), default="convpool")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    ac.set_num_threads(arguments.threads)
    model = ac.models.article_net(arguments.network, activation="relu", rng=np.random.default_rng(0))
    images = np.random.default_rng(1).standard_normal((arguments.batch, 32, 32, 3)).astype(np.float32)
    profile = ac.profile(model, images)
    print(f"{arguments.network}, batch {arguments.batch}, {arguments.threads} threads; ms of forward and backward")
    print(f"{'layer':44} {'output':>12} {'algorithm':>12} {'ms':>6} {'of the peak':>12}")
    for row in profile.rows:
        shape = "x".join(map(str, row.output_shape[1:]))
        share = f"{row.peak_share:.0%}" if row.multiply_adds else ""
        print(f"{row.layer[:44]:44} {shape:>12} {row.algorithm:>12} {row.forward + row.backward:6.1f} {share:>12}")
    print(f"{'all':44} {'':12} {'':12} {profile.forward + profile.backward:6.1f}")


if __name__ == "__main__":
    main()
