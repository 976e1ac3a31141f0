"""What summing the gradients costs beside a step, by a model of latency and bandwidth; prints a table in Markdown.

    python benchmarks/allreduce_model.py

Every rank has B bytes of gradients; a message of n bytes takes L + n / W. Both algorithms send 2 (p - 1) / p B from
each rank, the least possible; the ring in 2 (p - 1) messages, recursive halving and doubling in 2 log2(p). MPI
libraries choose between these and others by p and B: Thakur, Rabenseifner and Gropp (2005), Optimization of collective
communication operations in MPICH.
"""

import math

GRADIENT_BYTES = 4 * 1_617_312  # the article's ConvPool-CNN in float32
STEP = 0.375  # seconds: its step of 50 images, on two cores
IMAGES = 50
RANKS = (2, 16, 256)
LINKS = {  # latency of a message in seconds, bytes a second each way
    "shared memory": (1e-6, 10e9),
    "10 Gbit/s Ethernet": (30e-6, 1.25e9),
    "100 Gbit/s InfiniBand": (2e-6, 12.5e9),
}


def ring(ranks: int, latency: float, bandwidth: float) -> float:
    """Return the seconds of an all-reduce around a ring: each of 2 (p - 1) messages holds a p-th of the gradients."""
    return 2 * (ranks - 1) * latency + 2 * (ranks - 1) / ranks * GRADIENT_BYTES / bandwidth


def halving_doubling(ranks: int, latency: float, bandwidth: float) -> float:
    """Return the seconds by recursive halving (B/2, B/4, ...) and then doubling, for a power of two."""
    return 2 * math.log2(ranks) * latency + 2 * (ranks - 1) / ranks * GRADIENT_BYTES / bandwidth


def table() -> str:
    """Return one row for each number of ranks and link.

    Shared memory for two alone: more ranks of a machine share its bandwidth, which the model does not have.
    """
    lines = [
        "| ranks | link | ring, ms | halving, ms | share of a step, 50 images a rank | the same, 50 images in all |",
        "|---|---|---|---|---|---|",
    ]
    for ranks in RANKS:
        for link, costs in LINKS.items():
            if link == "shared memory" and ranks > 2:
                continue
            times = ring(ranks, *costs), halving_doubling(ranks, *costs)
            weak = share(min(times), STEP)
            strong = share(min(times), STEP / ranks) if ranks <= IMAGES else "too few images"
            lines.append(f"| {ranks} | {link} | {times[0] * 1e3:.1f} | {times[1] * 1e3:.1f} | {weak} | {strong} |")
    return "\n".join(lines)


def share(summing: float, computing: float) -> str:
    """Return which part of the whole the summing is."""
    return f"{summing / (summing + computing):.1%}"


if __name__ == "__main__":
    print(table())
