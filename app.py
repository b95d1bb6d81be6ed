"""The browser page: paint a hole in a picture and watch a discrete model rewrite it, step by step.

python app.py [--model illustrated-1024 ...] [--host 127.0.0.1] [--port 7860]
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Read when torch is imported: of its usual 1,024 oneDNN kernels one stays for every size of hole and window that ever
# came, and the memory of a server grows for hours. With 32 redraws are as quick as with 128, and the few bytes that each
# keeps among what was freed hold half as many pages.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
# Read when numpy is imported: it asks for huge pages for its large arrays, in memory that others have afterwards. Whatever
# small thing comes to lie there holds 2 MB.
os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")

import gradio as gr

from page.cancelling import cancel_calmly
from page.checks import MAX_CANDIDATES, MAX_STEPS
from page.desk import Desk
from page.examples import example_files, examples
from page.fields import OpenNumber, OpenRadio, OpenSlider
from page.gpu import on_zero_gpu
from page.header import header
from page.leaving import IDLE, forgetter, unloader
from page.look import launch_settings
from page.memory import one_arena
from page.painter import page_file, painter
from page.picker import picker
from page.programs import Programs
from page.settings import more_settings, more_to_save, whole_picture
from page.shelf import Shelf, in_the_box

EXAMPLES = Path(__file__).parent / "examples"
WAITING = 20  # redraws that may wait for the model; the next visitor is asked to come back
TAKE_MASK = """(session, painter, ...rest) =>
  [session, window.sundae.takeMask(), ...rest.slice(0, -2), window.sundae.model(), window.sundae.settings()]"""
STOPPING = "(...inputs) => { window.sundae.stopping(); return inputs; }"
SIGHT_FAILED = "() => window.sundae.sightFailed()"
FILM_MADE, FILM_FAILED = "() => window.sundae.filmMade(true)", "() => window.sundae.filmMade(false)"
ENDED, FAILED = "() => window.sundae.ended(true)", "() => window.sundae.ended(false)"
TURN_OVER = "() => window.sundae.turnOver()"
ANOTHER_SEED = "() => crypto.getRandomValues(new Uint32Array(1))[0]"  # 0 to MAX_SEED
ALONE = {"concurrency_id": "model", "concurrency_limit": 1}  # everything that runs the model
AT_ONCE = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
EACH = {"trigger_mode": "multiple"}  # gradio would drop what is asked for while an answer is on its way


def build(shelf: Shelf, example_folder: Path = EXAMPLES) -> gr.Blocks:
    """The page; its models may still be loading."""
    paths = example_files(example_folder)
    desk = Desk(shelf, paths)
    with gr.Blocks(
        title="Sundae", fill_width=True, analytics_enabled=False, delete_cache=(600, 3600)
    ) as demo:
        session = gr.State(time_to_live=IDLE, delete_callback=forgetter(demo, desk.uploads))
        with gr.Row(elem_id="desk"):
            header(elem_id="head")
            canvas = painter(elem_id="painter")
            controls = place_controls(shelf.labels)
            examples(paths)
        wire(demo, desk, session, canvas, controls)
    return demo.queue(max_size=WAITING)


def place_controls(models: list[str]) -> dict[str, gr.Component]:
    """The column beside the picture."""
    with gr.Column(scale=0, elem_id="controls"):
        with gr.Row(elem_id="buttons"):
            redraw = gr.Button("Redraw", variant="primary", elem_id="redraw")
            cancel = gr.Button("Cancel", elem_id="cancel")
        with gr.Row(elem_id="seeds"):
            seed = OpenNumber(0, label="Seed", precision=0, elem_id="seed")
            lock = gr.Checkbox(False, label="Lock", elem_id="lock")
            dice = gr.Button("Another seed", elem_id="dice")
        steps = OpenSlider(1, MAX_STEPS, 24, step=1, label="Steps", elem_id="steps")
        candidates = OpenRadio(
            list(range(1, MAX_CANDIDATES + 1)), value=1, label="Candidates", elem_id="candidates"
        )
        model = picker(models, elem_id="model")
        more = more_settings(elem_id="more")
        with gr.Row(elem_id="leave"):
            keep_going = gr.Button("Keep going", elem_id="keep-going")
            use = gr.Button("Use as input", elem_id="use")
            download = gr.Button("Download PNG", elem_id="download")
            go_back = gr.Button("Back to former picture", elem_id="go-back")
            go_forward = gr.Button("Forward to later picture", elem_id="go-forward")
        more_to_save(elem_id="saving")
        whole_picture(elem_id="whole")
        gr.HTML(html_template=page_file("keys.html"), apply_default_css=False)
    fields = {
        "seed": seed,
        "dice": dice,
        "lock": lock,
        "steps": steps,
        "candidates": candidates,
        "model": model,
        "more": more,
    }
    buttons = {"redraw": redraw, "cancel": cancel, "keep_going": keep_going, "use": use, "download": download}
    buttons |= {"go_back": go_back, "go_forward": go_forward}
    return fields | buttons


def wire(
    demo: gr.Blocks,
    desk: Desk,
    session: gr.State,
    canvas: gr.HTML,
    controls: dict[str, gr.Component],
) -> None:
    """Connect what the visitor does to the desk."""
    shown = [session, canvas]
    demo.load(desk.open, None, shown, **AT_ONCE)
    demo.unload(unloader(demo))
    fields = [controls[name] for name in ("seed", "lock", "steps", "candidates", "model", "more")]
    redraw = controls["redraw"].click(
        desk.redraw,
        [*shown, *fields],
        [*shown, controls["seed"]],
        js=TAKE_MASK,
        show_progress="hidden",
        api_visibility="private",
        **ALONE,
    )
    redraw.success(None, js=ENDED)
    redraw.failure(None, js=FAILED)  # a cancelled event counts as failed
    stops = {"cancels": [redraw], "js": STOPPING, **AT_ONCE}
    controls["dice"].click(None, None, controls["seed"], js=ANOTHER_SEED)
    controls["cancel"].click(desk.cancel, session, shown, **stops)
    controls["keep_going"].click(None, js="() => window.sundae.keepGoing()")
    controls["download"].click(desk.download, session, shown, **AT_ONCE)
    canvas.picture(desk.uploaded, session, shown, **AT_ONCE, **EACH)
    canvas.fit(desk.fit, session, shown, **AT_ONCE, **EACH)
    canvas.adopt(desk.adopted, session, shown, **AT_ONCE, **EACH)
    canvas.keep(desk.kept, session, shown, **AT_ONCE, **EACH)
    waits = {"show_progress": "hidden", "api_visibility": "private", **ALONE, **EACH}
    sight = canvas.sight(desk.seen, session, shown, **waits)
    sight.failure(None, js=SIGHT_FAILED)
    film = canvas.film(desk.filmed, session, shown, **waits)
    film.success(None, js=FILM_MADE)
    film.failure(None, js=FILM_FAILED)
    canvas.abandon(desk.abandoned, session, shown, **AT_ONCE, **EACH)
    canvas.difference(desk.difference, session, shown, **AT_ONCE, **EACH)
    canvas.forget(desk.forget, session, shown, **AT_ONCE)
    bring = [  # another picture: one after the other, as turns.js has it
        controls["use"].click(desk.use_as_input, session, shown, **stops, **EACH),
        controls["go_back"].click(desk.go_back, session, shown, **stops, **EACH),
        controls["go_forward"].click(desk.go_forward, session, shown, **stops, **EACH),
        canvas.take(desk.taken, session, shown, **stops, **EACH),
        canvas.recall(desk.recalled, session, shown, **stops, **EACH),
        canvas.blank(desk.blanked, session, shown, **AT_ONCE, **EACH),
        canvas.extend(desk.extended, session, shown, **AT_ONCE, **EACH),
    ]
    if desk.examples:
        bring.append(canvas.pick(desk.picked, session, shown, **stops, **EACH))
    for request in bring:
        request.success(None, js=TURN_OVER)
        request.failure(None, js=TURN_OVER)  # of these "then" knows nothing
    programs = Programs(desk)
    for work in (programs.inpaint, programs.sample, programs.reconstruct):
        gr.api(work, **ALONE)
    gr.api(programs.models, queue=False)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", nargs="+", help="bundled names or folders to choose from (default: all in the box)"
    )
    parser.add_argument("--device", default="cpu", help="where the model runs (default: %(default)s)")
    parser.add_argument(
        "--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), help="default: %(default)s"
    )
    parser.add_argument(
        "--port", type=int, default=None, help="default: GRADIO_SERVER_PORT, else 7860 or the next free"
    )
    parser.add_argument("--examples", type=Path, default=EXAMPLES, help="a folder of pictures to offer")
    parser.add_argument("--open", action="store_true", help="open the page in this machine's browser")
    parser.add_argument(
        "--share", action="store_true", help="a public link through gradio's relay (default: no)"
    )
    parser.add_argument(
        "--mcp", action="store_true", help="offer what programs may ask for as MCP tools too (docs/api.md)"
    )
    return parser.parse_args()


def main() -> None:
    one_arena()
    options = arguments()
    if options.mcp and find_spec("mcp") is None:
        sys.exit("app.py: --mcp needs the package mcp: pip install 'mcp>=1.21,<2'")
    shelf = Shelf(options.model or in_the_box(), options.device)
    loading = shelf.start(0)  # in a thread, while the page is built
    demo = build(shelf, options.examples)
    try:
        loading.result()
    except (ValueError, OSError) as error:
        sys.exit(f"app.py: {error}")
    if on_zero_gpu():
        shelf.wait_for_all()  # what is launched now is what the GPU's processes will have
    address = {"server_name": options.host, "server_port": options.port, "prevent_thread_lock": True}
    offered = {"share": options.share, "inbrowser": options.open, "mcp_server": options.mcp}
    demo.launch(**address, **offered, **launch_settings())
    cancel_calmly(demo)
    shelf.start_all()  # the page is up: nobody waits for the others
    demo.block_thread()


if __name__ == "__main__":
    main()
