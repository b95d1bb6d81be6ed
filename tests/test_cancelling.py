"""page.cancelling: a job that ends while it is cancelled."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import gradio as gr
import pytest
from fastapi.testclient import TestClient

from page.cancelling import Running, cancel_calmly


class Ended:
    """A job that is over by the time that it would be closed."""

    def __init__(self, jobs: dict) -> None:
        self.jobs = jobs

    async def aclose(self) -> None:
        self.jobs.pop("7", None)


@pytest.mark.parametrize("calm", [True, False])
def test_cancelling_a_job_that_has_just_ended_is_no_error(calm):
    """Without it, gradio fails: the day that it does not, this can go."""
    with gr.Blocks() as demo:
        pass
    demo.launch(prevent_thread_lock=True, server_name="127.0.0.1", quiet=True, ssr_mode=False)
    try:
        if calm:
            cancel_calmly(demo)
        demo.app.iterators["7"] = Ended(demo.app.iterators)
        client = TestClient(demo.app, raise_server_exceptions=False)
        asked = {"session_hash": "a", "fn_index": 0, "event_id": "7"}
        assert client.post("/gradio_api/cancel", json=asked).status_code == (200 if calm else 500)
    finally:
        demo.close()


def test_running_jobs_are_kept():
    jobs = Running({"1": "one", "2": "two"})
    del jobs["1"]
    del jobs["1"]
    assert jobs == {"2": "two"}
