"""Training stands between two steps or says that it does not, and a step knows no gradient from before."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

import allconv as ac


class Run:
    """A small training with BatchNorm, Dropout, momentum and augmentation: 3 steps an epoch, 2 epochs."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.model = ac.Sequential(
            ac.Conv2D(3, 4, 3, rng=rng),
            ac.BatchNorm(4),
            ac.Dropout(0.2, rng=rng),
            ac.GlobalAveragePool2D(),
            ac.Linear(4, 3, rng=rng),
        )
        images = np.random.default_rng(1).integers(0, 256, (30, 4, 4, 3), dtype=np.uint8)
        dataset = ac.data.Dataset(images, np.arange(30) % 3)
        self.loss, self.optimizer = ac.SoftmaxCrossEntropy(), ac.SGD(self.model.parameters(), 0.05, momentum=0.9)
        self.loader = ac.data.Loader(dataset, 10, augment=self.augment, seed=2)

    def augment(self, images, rng):
        return images[:, :, ::-1] if rng.random() < 0.5 else images

    def train(self, **options):
        options = {"epochs": 2, "schedule": ac.schedules.inverse_time(0.05, 1.0), "report_every": 1} | options
        return ac.train(self.model, self.loss, self.optimizer, self.loader, **options)

    def bits(self):
        values = [p.value.tobytes() for p in self.model.parameters()]
        layers = [repr(layer.state()) for layer in self.model.walk()]
        return values, layers, [np.asarray(v).tobytes() for v in self.optimizer.state().values()]


@pytest.mark.parametrize("steps", [2, 3])
def test_an_interrupt_at_any_line_of_the_library_leaves_no_state_between_two_steps(steps):
    """Each line of the loop, the step, the optimizer and the loader that a step runs, one by one.

    After two steps the last step of an epoch follows, and after three the first of the next.
    """
    package = Path(ac.__file__).parent
    names = ("training", "step", "evaluation")
    files = [*(f"training/{name}.py" for name in names), "optimizers/base.py", "data/loader.py"]
    traced = {str(package / file) for file in files}
    undisturbed = Run()
    bits = [undisturbed.bits(), *(undisturbed.bits() for _ in undisturbed.train())]

    def interrupted(line):
        """Make the next step with an interrupt at a line, and return how it left the run, or None without one."""
        run, seen = Run(), 0

        def trace(frame, event, argument):
            nonlocal seen
            if frame.f_code.co_filename not in traced:
                return None
            if event == "line":
                seen += 1
                if seen == line:
                    sys.settrace(None)
                    raise KeyboardInterrupt
            return trace

        training = run.train()
        record = list(itertools.islice(training, steps))[-1]
        state = training.state
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            next(training)
        except KeyboardInterrupt:
            pass
        else:
            return None
        finally:
            sys.settrace(before)
        try:
            reached = training.state["step"]
        except RuntimeError as error:
            place = f"got an error or an interrupt within epoch {steps // 3}, step {steps % 3}"
            assert place in str(error)  # noqa: PT017 - either outcome is right
            with pytest.raises(RuntimeError, match=place):
                next(training)
            with pytest.raises(RuntimeError, match=f"{place}|before the next record"):
                _ = record.state
            reached = "between"
            training.load_state(state)
        else:
            assert run.bits()[0] == bits[reached][0]
            resumed = Run(seed=3)
            list(resumed.train(resume=training.state))
            assert resumed.bits() == bits[6]
        list(training)
        assert run.bits() == bits[6]
        return reached

    reached = list(itertools.takewhile(lambda found: found is not None, map(interrupted, itertools.count(1))))
    assert len(reached) > 60
    assert set(reached) == {steps, "between", steps + 1}


def test_a_loader_that_gives_too_few_steps_raises_and_does_not_end_in_silence():
    class Short(ac.data.Loader):
        def epoch(self, epoch, start=0):
            return iter(list(super().epoch(epoch, start))[:2])

    run = Run()
    run.loader = Short(run.loader.dataset, 10)
    training = run.train()
    with pytest.raises(RuntimeError, match="loader must give 3 steps an epoch, got 2"):
        list(training)


# Gradients from before


class Net:
    def __init__(self):
        rng = np.random.default_rng(0)
        self.body, self.head = ac.Linear(48, 8, rng=rng), ac.Linear(8, 3, rng=rng)
        self.model = ac.Sequential(ac.Flatten(), self.body, ac.Tanh(), self.head)
        images = np.random.default_rng(1).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
        self.loader = ac.data.Loader(ac.data.Dataset(images, np.arange(20) % 3), 10)
        self.loss = ac.SoftmaxCrossEntropy()

    def train(self, optimizer, **options):
        return ac.train(self.model, self.loss, optimizer, self.loader, **{"epochs": 1} | options)

    def backward(self):
        images, labels = next(self.loader.epoch(0))
        scores, cache = self.model.forward(images, training=True)
        self.model.backward(self.loss(scores, labels)[1], cache)


def train_the_head_alone(net):
    list(net.train(ac.SGD(net.head.parameters(), 0.1)))


def look_at_the_saliency(net):
    net.backward()


def interrupt_before_the_update(net):
    class Stopped(ac.SGD):
        def step(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(net.train(Stopped(net.model.parameters(), 0.1)))


def freeze_and_thaw(net):
    net.backward()
    for parameter in net.body.parameters():
        parameter.trainable = False
    list(net.train(ac.SGD(net.model.parameters(), 0.1)))
    for parameter in net.body.parameters():
        parameter.trainable = True


@pytest.mark.parametrize(
    "before", [train_the_head_alone, look_at_the_saliency, interrupt_before_the_update, freeze_and_thaw]
)
def test_the_first_step_is_that_of_a_model_without_gradients(before):
    net, fresh = Net(), Net()
    before(net)
    for ours, theirs in zip(net.model.parameters(), fresh.model.parameters(), strict=True):
        theirs.value = ours.value
    for each in (net, fresh):
        next(each.train(ac.SGD(each.model.parameters(), 0.1), report_every=1))
    for ours, theirs in zip(net.model.parameters(), fresh.model.parameters(), strict=True):
        np.testing.assert_array_equal(ours.value, theirs.value)


def test_a_gradient_added_between_two_records_does_not_count():
    net, fresh = Net(), Net()
    for each in (net, fresh):
        for _ in each.train(ac.SGD(each.model.parameters(), 0.1), report_every=1):
            if each is net:
                net.backward()
    for ours, theirs in zip(net.model.parameters(), fresh.model.parameters(), strict=True):
        np.testing.assert_array_equal(ours.value, theirs.value)


@pytest.mark.parametrize("part", ["head", "body", "model"])
def test_training_leaves_no_gradient_behind(part):
    net = Net()
    for _ in net.train(ac.SGD(getattr(net, part).parameters(), 0.1), report_every=1):
        assert all(parameter.grad is None for parameter in net.model.parameters())
