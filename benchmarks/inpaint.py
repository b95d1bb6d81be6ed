"""How long a redraw takes on this machine; prints JSON.

    python benchmarks/inpaint.py [--model illustrated-1024] [--repeats 3]

Times are medians in seconds unless the name says ms. Loading and peak memory are measured in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

SEED = 10_000_000  # a held-out portrait
TIMED_STEPS = 4
# Torch is imported late: where there is no /proc, a child's peak memory counts what its parent held.
CHILD = """
import json, resource, sys, time
began = float(sys.argv[2])
import sundae
model = sundae.load(sys.argv[1])
ready = time.time() - began
import numpy as np
picture = np.full((model.resolution, model.resolution, 3), 128, np.uint8)
prepared = sundae.Inpainter(model).prepare(picture, np.ones(picture.shape[:2], bool))
for frame in prepared.run(sundae.SamplerConfig(steps=2)):
    frame.image()
try:  # of this program alone: what Linux gives below counts what the parent held
    peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
except OSError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([ready, peak]))
"""


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def cpu_model() -> str:
    """The processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def fresh_process(model: str) -> tuple[float, float]:
    """Seconds from starting Python to a model ready to redraw, and peak resident MB after a whole picture."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", CHILD, model, repr(time.time())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr.strip().splitlines()[-1].removeprefix("ValueError: "))
    ready, peak = json.loads(done.stdout)
    return ready, peak / (1024**2 if sys.platform == "darwin" else 1024)


def median_seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median wall-clock seconds of ``repeats`` calls, after one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def picture_and_holes(size: int) -> tuple[Any, dict[str, Any], str]:
    """A portrait, uint8 (size, size, 3), holes of usual sizes, bool (size, size), and what is shown.

    Without skia nothing can be drawn: a gradient stands in.
    """
    import numpy as np

    y, x = (np.mgrid[:size, :size] + 0.5) * (1024 / size)
    face = ((x - 512) / 230) ** 2 + ((y - 490) / 290) ** 2 <= 1
    holes = {
        "mouth": ((x - 512) / 120) ** 2 + ((y - 662) / 65) ** 2 <= 1,
        "half_face": face & (x >= 512),
        "face": face,
        "whole_picture": np.ones_like(face),
    }
    try:
        from train import portraits

        return portraits.draw(SEED, size).image, holes, f"portrait {SEED}"
    except ImportError:
        return np.stack([x / 4, y / 4, 255 - x / 4], -1).astype(np.uint8), holes, "gradient"


def time_redraw(model: Any, picture: Any, hole: Any, repeats: int) -> dict[str, float]:
    """From click to the last frame, every step shown as the page does: composited and made a JPEG."""
    import sundae
    from sundae.image import jpeg_bytes

    prepare, first, changed, finished, steps = [], [], [], [], 0
    for attempt in range(repeats + 1):
        began = time.perf_counter()
        prepared = sundae.Inpainter(model).prepare(picture, hole)
        _ = prepared.tokens
        times = [time.perf_counter() - began]
        for frame in prepared.run():
            jpeg_bytes(frame.patches[0])
            times.append(time.perf_counter() - began)
            steps = frame.index
        if attempt:  # the first one warms up
            for record, i in ((prepare, 0), (first, 1), (changed, 2), (finished, -1)):
                record.append(times[i])
    return {
        "prepare_s": statistics.median(prepare),
        "noise_shown_s": statistics.median(first),
        "first_step_shown_s": statistics.median(changed),
        "finished_s": statistics.median(finished),
        "steps": steps,
        "hidden_tokens": int(prepared.token_mask.sum()),
        "ms_per_step": 1000 * time_steps(model, prepared, repeats),
    }


def time_steps(model: Any, prepared: Any, repeats: int) -> float:
    """Seconds a step of the prior's own sampler takes by itself, nothing decoded: of a few steps, but of all that are
    usual where a step is a share of the cells and not a pass."""
    import dataclasses

    from sundae.priors.autoregressive import Autoregressive

    usual = prepared.defaults
    steps = usual.steps if isinstance(model.prior, Autoregressive) else TIMED_STEPS
    config, taken = dataclasses.replace(usual, steps=steps, early_stop=False), 0

    def work() -> None:
        nonlocal taken
        for step in model.prior.sample(prepared.tokens, prepared.token_mask, config, [0]):
            taken = step.index

    return median_seconds(work, repeats) / taken


def time_tokenizer(model: Any, picture: Any, hole: Any, repeats: int) -> dict[str, float]:
    """Encoding, decoding everything, and decoding the window around the mouth, in ms."""
    import sundae
    from sundae.image import to_tensor

    image = to_tensor(picture).to(model.device)
    tokens = model.tokenizer.encode(image)
    cells = sundae.Inpainter(model).prepare(picture, hole).cells
    return {
        "encode_ms": 1000 * median_seconds(lambda: model.tokenizer.encode(image), repeats),
        "decode_ms": 1000 * median_seconds(lambda: model.tokenizer.decode(tokens), repeats),
        "decode_mouth_ms": 1000
        * median_seconds(lambda: model.tokenizer.decode_window(tokens, *cells), repeats),
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the command line; returns what is printed."""
    parser = argparse.ArgumentParser(prog="python benchmarks/inpaint.py", description="Time a redraw.")
    parser.add_argument("--model", default="illustrated-1024", help="name or folder of a bundle")
    parser.add_argument("--repeats", type=int, default=3, help="runs of which the median is taken")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    if given.repeats < 1:
        parser.error(f"expected --repeats of at least 1, got {given.repeats}")
    fresh = [fresh_process(given.model) for _ in range(given.repeats)]
    import sundae

    model = sundae.load(given.model, given.device)
    picture, holes, subject = picture_and_holes(model.resolution)
    result = {
        "machine": machine(),
        "model": model.name,
        "hash": model.hash,
        "resolution": model.resolution,
        "picture": subject,
        "device": given.device,
        "repeats": given.repeats,
        "load_s": statistics.median(ready for ready, _ in fresh),
        "peak_memory_mb": max(peak for _, peak in fresh),
        **time_tokenizer(model, picture, holes["mouth"], given.repeats),
        "redraw": {name: time_redraw(model, picture, hole, given.repeats) for name, hole in holes.items()},
    }
    print(json.dumps(rounded(result), indent=1))
    return result


def rounded(value: Any) -> Any:
    """Numbers to three digits after the point, everything else as it is."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
