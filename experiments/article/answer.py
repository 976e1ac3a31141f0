"""Say in four sentences or fewer what the main runs came to."""

from comparisons import LAST, backward_changes, distance, last_distance
from conclusions import verdicts
from curves import CASES, EPOCHS, Curve, Run, main_runs, published_curves

NEAR = 0.01  # Over the last ten epochs, a mean absolute difference of the test accuracy up to here was expected.


def answer(found: dict[Run, Curve]) -> str:
    """Return what the runs say, a line a sentence."""
    ours = {case: curve for case, curve in main_runs(found).items() if curve}
    if not ours:
        return "No epoch of a main run on the original images has been logged yet.\n"
    whole = {case: curve for case, curve in ours.items() if len(curve) == EPOCHS}
    if len(whole) == len(CASES):
        sentences = [
            at_the_end(whole, f"On the original images all eight cases have run {EPOCHS} epochs, and their last")
        ]
        sentences += [over_the_last(whole), confirmed(found), *effect(found)]
    else:
        sentences = so_far(ours)
        sentences += [at_the_end(whole, "The last"), over_the_last(whole)] if whole else []
    return "\n".join(sentences) + "\n"


def so_far(ours: dict[str, Curve]) -> list[str]:
    """Return how many epochs have been run, and how far they lie from the published ones."""
    published = published_curves()
    counts = ", ".join(f"{case} {len(curve)}" for case, curve in ours.items())
    apart = {case: distance(curve, published[case]) for case, curve in ours.items()}
    return [
        f"On the original images, these epochs of {EPOCHS} have been run: {counts}.",
        f"The mean absolute difference of their test accuracy to the published one is {span(apart)}.",
    ]


def at_the_end(whole: dict[str, Curve], beginning: str) -> str:
    """Return how far the last test accuracy of whole runs lies from the published one."""
    published = published_curves()
    apart = {case: curve[-1].test_accuracy - published[case][-1].test_accuracy for case, curve in whole.items()}
    return f"{beginning} test accuracy differs from the published one by {span(apart, '+.4f')} (ours minus published)."


def over_the_last(whole: dict[str, Curve]) -> str:
    """Return how far whole runs lie from the published ones over the last ten epochs."""
    published = published_curves()
    late = {case: last_distance(curve, published[case]) or 0.0 for case, curve in whole.items()}
    near = sum(value <= NEAR for value in late.values())
    expected = f"{near} of {len(late)} whole runs keep to the expected {NEAR}"
    return f"Over the last {LAST} epochs the mean absolute difference is {span(late)}, and {expected}."


def confirmed(found: dict[Run, Curve]) -> str:
    """Return how many of the article's conclusions the runs confirm."""
    confirmations = verdicts(found)
    return f"Of the article's {len(confirmations)} conclusions the runs confirm {confirmations.count(True)}."


def effect(found: dict[Run, Curve]) -> list[str]:
    """Return what the published backward pass changes; nothing as long as no case has both passes."""
    changes = backward_changes(found)
    return (
        [f"The published backward pass changes the mean test accuracy by {span(changes, '+.4f')}."] if changes else []
    )


def span(values: dict[str, float], form: str = ".4f") -> str:
    """Return the smallest and the largest of the cases' values, each with its case."""
    low, high = min(values, key=lambda case: values[case]), max(values, key=lambda case: values[case])
    cases = dict.fromkeys((low, high))
    return " to ".join(f"{values[case]:{form}} ({case})" for case in cases)
