"""The contract of a layer."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from allconv.layers.intercept import unobserved_attributes
from allconv.layers.nesting import check_registered, leaves_of, nested_layers, parameters_of
from allconv.layers.shapes import check_shape
from allconv.layers.signatures import accept_release, let_backward_take_release, output_and_cache, quiet_passes
from allconv.layers.summary import Summary, children_with_shapes, summarize
from allconv.parameter import Parameter
from allconv.typing import Array, Cache
from allconv.validation import describe


# Longer than 150 lines because its docstrings hold the contract and the equations; the code is short.
class Layer:
    """A differentiable function with a forward pass and a hand-derived backward pass.

    The contract, which `tests/test_contract.py` checks for every public layer:

    1. ``y, cache = layer.forward(x, training=...)`` computes the output and what backward needs.
       It writes neither to `x` nor to anything but the cache (BatchNorm's running statistics and
       Dropout's generator excepted, both under ``training=True`` only).
    2. ``dx = layer.backward(dy, cache)`` returns dL/dx for dy = dL/dy, and adds the gradients of the
       trainable parameters to them. It changes neither `dy` nor `cache`: the same cache may be used again.
       The cache may hold `x` and `y` themselves. A caller that writes to one of them before backward, as ``y *= 0.5``
       does, gets a wrong gradient; `allconv.gradcheck.guard_caches` finds such code.
    3. ``layer(x)`` is inference; it keeps nothing.
    4. Arrays are (N, H, W, C). A layer with parameters computes in their dtype; one without keeps the input's.
    5. An attribute that is a `Parameter` or a `Layer` belongs to the layer; its path is the attribute's name. A layer
       that keeps others in a list, tuple or dict overrides `children`.

    To write one's own, subclass and define `forward` and `backward`, and `output_shape` unless the shape is kept.

    Raises
    ------
    TypeError, ValueError
        From both passes and from `output_shape`, for an array or a shape that does not fit.

    Notes
    -----
    A caller that needs a cache only once says ``backward(dy, cache, release=True)``. A layer made of other layers takes
    the argument, hands it to theirs, and drops each of their caches after its use. Every other layer may leave it out
    of its signature, as ``backward(self, dy, cache)``, and still be called with it.

    Examples
    --------
    >>> class Square(Layer):
    ...     def forward(self, x, *, training=False):
    ...         return x * x, x
    ...     def backward(self, dy, cache):
    ...         x = cache
    ...         return 2 * x * dy
    >>> y, cache = Square().forward(np.array([3.0]))
    >>> y, Square().backward(np.ones(1), cache)
    (array([9.]), array([6.]))
    """

    side_by_side: ClassVar[bool] = False
    """Whether each layer that this one holds takes its input, and not the output of the one before."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Let the class's backward methods be called with ``release=``, whether they are written with it or not."""
        super().__init_subclass__(**options)
        let_backward_take_release(cls)
        quiet_passes(cls)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle of the layer consists of; observers stay with the layer itself."""
        return unobserved_attributes(self)

    def forward(self, x: Array, *, training: bool = False) -> tuple[Array, Cache]:
        """Return the output for a batch, and a cache for `backward`.

        Parameters
        ----------
        x : array, shape (N, ...)
            The batch.
        training : bool, default False
            Whether this is a step of training, in which `BatchNorm` and `Dropout` do something else than at inference.

        Returns
        -------
        y : array, shape (N, ...)
            The output.
        cache : object
            What `backward` needs of this pass.

        Raises
        ------
        TypeError, ValueError
            If `x` is no floating array, or one of another shape than the layer takes.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    @accept_release
    def backward(self, dy: Array, cache: Cache, *, release: bool = False) -> Array:
        """Return dL/dx, and add the gradients of the trainable parameters.

        Parameters
        ----------
        dy : array
            The gradient dL/dy at the output, in its shape.
        cache : object
            What `forward` has returned beside the output.
        release : bool, default False
            Whether the cache is used for the last time, so that the layer may free its parts on the way.

        Returns
        -------
        array
            The gradient dL/dx at the input, in its shape.

        Raises
        ------
        TypeError, ValueError
            If `dy` is no floating array, or one of another shape than the output.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backward")

    @accept_release
    def backward_parameters(self, dy: Array, cache: Cache, *, release: bool = False) -> None:
        """Add the parameters' gradients alone: what a model's first layer needs, whose dL/dx nobody reads.

        Parameters
        ----------
        dy, cache, release : see `backward`
            The same arguments.
        """
        if self.is_trainable():
            self.backward(dy, cache, release=release)

    def __call__(self, x: Array) -> Array:
        """Return the output for the batch `x` at inference."""
        return output_and_cache(self, self.forward(x))[0]

    def output_shape(self, in_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the output's shape for an input of shape `in_shape`, both without the batch axis.

        Parameters
        ----------
        in_shape : tuple of int
            The shape of one example, such as ``(32, 32, 3)``.

        Returns
        -------
        tuple of int
            The output's shape: `in_shape` itself, unless a layer defines another one.

        Raises
        ------
        TypeError, ValueError
            If `in_shape` is one that the forward pass refuses. In a model the message has the path of the layer.
        """
        return check_shape(in_shape)

    def multiply_adds(self, in_shape: tuple[int, ...]) -> int:
        """Return the multiply-adds of the forward pass of one example; 0 where they do not count.

        A layer that holds others has the sum of theirs. It is assumed to call them in the order of `children`, each
        with the output of the one before; a layer that does not should override this method. Where the shapes do not
        fit so, the result is 0.

        Parameters
        ----------
        in_shape : tuple of int
            The shape of one example, such as ``(32, 32, 3)``.

        Returns
        -------
        int
            The number of products that are added up.

        Raises
        ------
        TypeError, ValueError
            As for `output_shape`.
        """
        self.output_shape(in_shape)
        children = children_with_shapes(self, check_shape(in_shape)) or ()
        return sum(child.multiply_adds(shape) for _, child, shape in children)

    def summary(self, input_shape: tuple[int, ...]) -> Summary:
        """Return a table, which prints: each layer's output shape, parameters and multiply-adds an example.

        Parameters
        ----------
        input_shape : tuple of int
            The shape of one example, without the batch axis: ``(32, 32, 3)``.

        Returns
        -------
        Summary
            Layers that hold others in a row or side by side are listed by what they hold, and others by one row. No
            forward pass is made: a layer counts as a row where the shapes of what it holds fit one after the other.

        Raises
        ------
        TypeError, ValueError
            If `input_shape` is no shape, or does not fit the layer.
        """
        return summarize(self, input_shape)

    def children(self) -> Iterator[tuple[str, "Layer"]]:
        """Yield each layer that is an attribute of this one, in forward order.

        Yields
        ------
        (str, Layer)
            The attribute's name, and the layer.
        """
        for name, value in vars(self).items():
            if isinstance(value, Layer):
                yield name, value

    def leaves(self) -> Iterator[tuple[str, "Layer"]]:
        """Yield (path, layer) for each layer that computes, in forward order, and not for what only holds others.

        A layer computes if it has no `children`, or has parameters of its own.

        Returns
        -------
        iterator of (str, Layer)
            A layer that stands in several places is there once for each of them.
        """
        return leaves_of(self, "")

    def named_layers(self) -> Iterator[tuple[str, "Layer"]]:
        """Yield itself and all nested layers, depth first.

        Yields
        ------
        (str, Layer)
            The path, which is "" for itself, and the layer. A shared layer is there once, under its first path.

        Raises
        ------
        TypeError
            If a list, tuple or dict among a layer's attributes holds a layer that is not among those yielded.
        """
        found: dict[int, Layer] = {}
        yield from nested_layers(self, "", found)
        for layer in found.values():
            check_registered(layer, Layer, found)

    def walk(self) -> Iterator["Layer"]:
        """Return an iterator over itself and all nested layers, as `named_layers` yields them, without the paths.

        Returns
        -------
        iterator of Layer
            A shared layer is there once.
        """
        return (layer for _, layer in self.named_layers())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield its own parameters and those of nested layers, in forward order.

        Yields
        ------
        (str, Parameter)
            The path, which becomes the parameter's name, and the parameter. A shared parameter is there once.

        Raises
        ------
        TypeError
            If a list, tuple or dict among a layer's attributes holds a layer or a parameter that is not found so.
        """
        yield from parameters_of(list(self.named_layers()))

    def parameters(self) -> list[Parameter]:
        """Return all parameters, its own and the nested layers', in forward order.

        Returns
        -------
        list of Parameter
            As `named_parameters` yields them.
        """
        return [parameter for _, parameter in self.named_parameters()]

    def is_trainable(self) -> bool:
        """Tell whether any of its parameters is trained.

        Returns
        -------
        bool
            False for a layer without parameters too.
        """
        own = (value for value in vars(self).values() if isinstance(value, Parameter))
        return any(parameter.trainable for parameter in own) or any(
            child.is_trainable() for _, child in self.children()
        )

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold besides the parameters, as plain values.

        Returns
        -------
        dict
            Strings, numbers, lists and dicts of them; empty for most layers.
        """
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned.

        Parameters
        ----------
        state : dict
            The values.

        Raises
        ------
        TypeError, ValueError
            If `state` is no dict, or its keys are not those of `state`.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state must be a dict as from state(), got {describe(state)}")
        if set(state) != set(self.state()):
            raise ValueError(f"state must have the keys {sorted(self.state())}, got {describe(list(state))}")
