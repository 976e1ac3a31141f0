"""A graph of layers as a model: what lies in a row becomes a Sequential, what lies side by side Skips and Branches."""

from collections.abc import Sequence
from dataclasses import dataclass

from allconv.layers.base import Layer
from allconv.layers.branches import Branches
from allconv.layers.dropout import Dropout
from allconv.layers.sequential import Sequential
from allconv.layers.skip import Skip

_STEPS = 1_000_000  # bounds the time to find where branches begin, and so the joins in deep graphs


@dataclass
class Node:
    """A step of the graph.

    Attributes
    ----------
    name : str
        Its name, for errors.
    inputs : list of str
        The keys of the nodes that it takes: one for a layer, at least two for a merge. The start has none.
    layer : Layer or None
        What it computes, if it is no merge.
    merge : {"", "sum", "concat"}
        How it joins its inputs.
    scale : float or None
        The factor, if all that it does is to multiply by a number.
    """

    name: str
    inputs: list[str]
    layer: Layer | None = None
    merge: str = ""
    scale: float | None = None


def nest(nodes: dict[str, Node], end: str) -> Sequential:
    """Return the model that leads from the start of a graph to its end.

    Parameters
    ----------
    nodes : dict of str to Node
        The nodes, each after those that it takes; the first is the start. Some may lead nowhere.
    end : str
        The key of the node whose output is that of the model.

    Returns
    -------
    Sequential
        The model.

    Raises
    ------
    ValueError
        If branches share a layer, or one of them begins outside of what the others have in common.
    """
    graph = _Graph(nodes)
    return Sequential(*(graph.between(next(iter(nodes)), end) or [Dropout(0.0)]))


class _Graph:
    """The nodes, and for each the last node through which all ways to it lead: its dominator."""

    def __init__(self, nodes: dict[str, Node]) -> None:
        self.nodes = nodes
        self.steps = 0
        self.used: set[str] = set()
        self.depth: dict[str, int] = {}
        self.dominator: dict[str, str] = {}
        for key, node in nodes.items():
            if not node.inputs:
                self.depth[key] = 0
                continue
            common = node.inputs[0]
            for other in node.inputs[1:]:
                common = self._common(common, other)
            self.dominator[key], self.depth[key] = common, self.depth[common] + 1

    def _common(self, one: str, other: str) -> str:
        """Return the last node through which all ways to both lead, which may be one of them."""
        while one != other:
            self.steps += 1
            if self.steps > _STEPS:
                raise ValueError(f"joins branches in a graph so deep that it takes more than {_STEPS} steps to nest")
            if self.depth[one] >= self.depth[other]:
                one = self.dominator[one]
            else:
                other = self.dominator[other]
        return one

    def between(self, start: str, end: str) -> list[Layer]:
        """Return the layers from the output of `start` to that of `end`."""
        found: list[Layer] = []
        while end != start:
            node = self.nodes[end]
            if end in self.used:
                raise ValueError(f"node {node.name!r} is part of two branches, which layers here cannot share")
            self.used.add(end)
            before = self.dominator[end]
            found.append(self._merged(node, before) if node.merge else node.layer)  # type: ignore[arg-type]
            end = before
        return found[::-1]

    def _merged(self, node: Node, before: str) -> Layer:
        """Return the layer that joins the branches between the node `before` and `node`."""
        scales = [self.nodes[key].scale if key != before else None for key in node.inputs]
        branches = [self.between(before, key) for key in node.inputs]
        if node.merge == "concat" or len(branches) > 2:
            return Branches(*map(_row, branches), merge=node.merge)
        for beside, scale in enumerate(scales):
            if scale is not None:  # the last layer of that branch is the factor
                shortcut = branches[beside][:-1]
                return Skip(_row(branches[1 - beside]), scale=scale, shortcut=_row(shortcut) if shortcut else None)
        branches.sort(key=len)
        return Skip(_row(branches[1]), shortcut=_row(branches[0]) if branches[0] else None)


def _row(layers: Sequence[Layer]) -> Layer:
    """Return layers in a row as one; without any it is the identity."""
    if not layers:
        return Dropout(0.0)
    return layers[0] if len(layers) == 1 else Sequential(*layers)
