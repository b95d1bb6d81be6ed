"""What pictures larger than a model's own cost, and whether the windows that they are drawn by show; prints JSON.

    python benchmarks/canvas.py [--model illustrated-1024] [--count 32] [--stride X] [--falloff P] [--steps N] [--repeats 1]

Pictures 1, 2 and 4 times as wide as the model's, from nothing: seconds to the finished picture, and the peak memory of
a fresh process. Goal: 2 times the width in 2.3 times the time at most. Then COUNT pictures twice as wide: the mean
absolute step from pixel to pixel across the borders of windows, across all other borders of cells, and across those up
to two cells beside a window's border, where the picture shows much the same. Goals: at borders 5 % more at most than
beside them; and within 5 %, more or less, of all others, where the picture shows something else too.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.inpaint import ROOT, machine, median_seconds, rounded

TIME_GOAL, SEAM_GOAL = 2.3, 0.05
WIDTHS = (1, 2, 4)
BESIDE = 2  # cells
CHILD = """
import json, resource, sys
import sundae
from benchmarks.canvas import draw, wide
model = sundae.load(sys.argv[1])
draw(wide(model, int(sys.argv[2])), 0, **json.loads(sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def wide(model: Any, times: int) -> Any:
    """A blank picture so many times as wide as the model's own."""
    from sundae.pipeline import blank

    return blank(model, model.size[0] * times, model.size[1])


def draw(prepared: Any, seed: int, **settings: Any) -> Any:
    """A finished picture, uint8 ``(H, W, 3)``, with the default settings but for those given."""
    import dataclasses

    *_, last = prepared.run(dataclasses.replace(prepared.defaults, **settings), [seed])
    return last.patches[0]


def peak_memory(model: str, times: int, settings: dict[str, Any]) -> float:
    """Peak resident MB of a fresh process that draws one picture."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", CHILD, model, str(times), json.dumps(settings)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr.strip().splitlines()[-1].removeprefix("ValueError: "))
    return float(done.stdout) / (1024**2 if sys.platform == "darwin" else 1024)


def window_borders(model: Any, prepared: Any, **settings: Any) -> list[int]:
    """Columns of cells at which a window begins or ends inside the canvas."""
    import dataclasses

    from sundae.canvas import Canvas

    config = dataclasses.replace(prepared.defaults, **settings)
    places = Canvas(model.prior, tuple(model.prior.config.grid), config.stride).places(prepared.tokens[0])
    columns = {side for place in places for side in (place.columns.start, place.columns.stop)}
    return sorted(columns - {0, prepared.tokens.shape[2]})


def steps_across(picture: Any, f: int) -> Any:
    """Mean absolute difference across each border between columns of cells, ``(columns - 1,)``."""
    import numpy as np

    values = picture.astype(np.float32)
    at = np.arange(f, picture.shape[1], f)
    return np.abs(values[:, at] - values[:, at - 1]).mean((0, 2))


def seams(model: Any, count: int, **settings: Any) -> dict[str, Any]:
    """How much the borders of windows show in ``count`` pictures twice as wide as the model's."""
    import numpy as np

    prepared = wide(model, 2)
    borders = window_borders(model, prepared, **settings)
    drawn = [steps_across(draw(prepared, seed, **settings), model.downsample_factor) for seed in range(count)]
    mean = np.stack(drawn).mean(0)
    places = np.arange(1, len(mean) + 1)
    distance = np.abs(places[:, None] - np.array(borders)).min(1)
    at, near, far = mean[distance == 0], mean[(distance > 0) & (distance <= BESIDE)], mean[distance > 0]
    return {
        "pictures": count,
        "borders": borders,
        **compared(float(at.mean()), float(near.mean()), float(far.mean())),
    }


def compared(at: float, near: float, far: float) -> dict[str, Any]:
    """Mean steps across windows' borders, beside them and at all other borders of cells, their ratios, and the goals:
    no more than beside, within 5 %, and as much as elsewhere, within 5 % to both sides."""
    return {
        "across_borders": at,
        "beside_borders": near,
        "elsewhere": far,
        "to_beside": at / near,
        "to_elsewhere": at / far,
        "seam_goal_met": at / near <= 1 + SEAM_GOAL,
        "two_sided_goal_to_elsewhere_met": abs(at / far - 1) <= SEAM_GOAL,
    }


def costs(model: Any, name: str, repeats: int, **settings: Any) -> dict[str, Any]:
    """Seconds and peak memory by width."""
    rows = {}
    for times in WIDTHS:
        prepared = wide(model, times)
        _ = prepared.tokens
        seconds = median_seconds(lambda p=prepared: draw(p, 0, **settings), repeats)
        rows[times] = {"finished_s": seconds, "peak_memory_mb": peak_memory(name, times, settings)}
    ratios = {
        f"{b}_to_{a}_widths": rows[b]["finished_s"] / rows[a]["finished_s"]
        for a, b in itertools.pairwise(WIDTHS)
    }
    met = all(ratio <= TIME_GOAL for ratio in ratios.values())
    return {"by_widths": rows, "time_ratios": ratios, "time_goal_met": met}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the command line; returns what is printed."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/canvas.py", description="Time and judge canvases."
    )
    parser.add_argument("--model", default="illustrated-1024", help="name or folder of a bundle")
    parser.add_argument("--count", type=int, default=32, help="pictures whose seams are measured")
    parser.add_argument("--stride", type=float, help="of the windows (as suits the prior)")
    parser.add_argument("--falloff", type=float, help="of their weights (as suits the prior)")
    parser.add_argument("--steps", type=int, help="of the sampler (as suits the prior)")
    parser.add_argument("--repeats", type=int, default=1, help="runs of which the median is taken")
    given = parser.parse_args(arguments)
    for name in ("count", "repeats"):
        if getattr(given, name) < 1:
            parser.error(f"expected --{name} of at least 1, got {getattr(given, name)}")
    settings = {
        name: getattr(given, name)
        for name in ("stride", "falloff", "steps")
        if getattr(given, name) is not None
    }
    import sundae

    model = sundae.load(given.model)
    result = {
        "machine": machine(),
        "model": given.model,
        "hash": model.hash,
        "settings": settings,
        "cost": costs(model, given.model, given.repeats, **settings),
        "seams": seams(model, given.count, **settings),
    }
    print(json.dumps(rounded(result), indent=1))
    return result


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
