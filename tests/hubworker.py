"""Runs pieces of Python, one after the other, each as if in a process of its own environment.

huggingface_hub reads ``HF_ENDPOINT`` and its like when it is imported: this program is started with them, imports
once, and then takes a JSON line ``{"code": ...}`` and answers one with what the code left in ``result``, what it
printed, and the error that ended it.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys


def run(code: str) -> dict:
    out, err, space = io.StringIO(), io.StringIO(), {"result": None}
    answer = {"error": None, "kind": None}
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            exec(code, space)
        except BaseException as error:
            answer = {"error": str(error), "kind": type(error).__name__}
    return answer | {"result": space["result"], "out": out.getvalue(), "err": err.getvalue()}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line)["code"])), flush=True)
