"""Interactive: set the weights of the losses, K and the temperature, and see the run that was trained with them."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from partlib_course.ablation import ALL, Outcome, Run
from partlib_course.figures_ablation import run_page, run_strip
from partlib_course.widgets import Controls, Interactive

from partlib.data.base import Sample
from partlib.errors import ConfigError

FIELDS = ("feature", "visual", "contrastive", "equivariance", "num_parts", "temperature", "seed")
MOST = 4  # images on a page


def nearest_run(outcomes: Mapping[Run, Outcome], values: Mapping[str, float]) -> tuple[Run, list[str]]:
    """The run that agrees with ``values`` in most fields, and the names of the fields where it does not.

    Where several do, one with the wanted seed comes first, then the one that was trained first.
    """

    def differing(run: Run) -> list[str]:
        config = outcomes[run].config
        return [name for name, value in values.items() if getattr(config, name) != value]

    best = min(outcomes, key=lambda run: (len(differing(run)), "seed" in differing(run)))
    return best, differing(best)


def weights_explorer(samples: Sequence[Sample], outcomes: Mapping[Run, Outcome]) -> Interactive:
    """Choose loss weights among the values that were trained; see the parts and scores of that run.

    Parameters
    ----------
    samples : the n images that the outcomes keep the labels of; at most four are drawn on a page.
    outcomes : (title, seed) -> outcome of every run; "all four" must be among them.

    Raises
    ------
    ConfigError : no run with all four losses, or labels of another number of images.
    """
    first = next((run for run in outcomes if run[0] == ALL), None)
    if first is None:
        raise ConfigError(f"no run is called {ALL!r}; expected it among the outcomes, to compare with")
    if any(len(one.labels) != len(samples) for one in outcomes.values()):
        raise ConfigError(f"{len(samples)} samples, but the outcomes keep labels of {len(outcomes[first].labels)}")
    choices = {name: sorted({getattr(o.config, name) for o in outcomes.values()}) for name in FIELDS}

    def draw(**values: Any) -> Figure:
        run, others = nearest_run(outcomes, values)
        one = outcomes[run]
        heading = f"{run[0]}, seed {run[1]}"
        if others:
            there = ", ".join(f"{name} {getattr(one.config, name):g}" for name in others)
            heading = f"this combination was not trained; the nearest that was: {heading} ({there})"
        few = Outcome(one.config, one.scores, one.labels[:MOST])
        return run_page(samples[:MOST], few, heading, outcomes[ALL, run[1]].scores)

    def controls() -> Controls:
        from ipywidgets import SelectionSlider

        base = outcomes[first].config
        return {
            name: SelectionSlider(
                options=values, value=getattr(base, name), description=name.replace("_", " "), continuous_update=False
            )
            for name, values in choices.items()
            if len(values) > 1
        }

    same_seed = {title: one for (title, seed), one in outcomes.items() if seed == first[1]}
    return Interactive(draw, controls, run_strip(samples[0], same_seed, 0))
