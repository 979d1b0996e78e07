"""The page's service under load: many clients at once against ``kintsugi ui`` on this machine.

    python benchmarks/load.py --clients 50 --pictures 3 [--out load.json]

Each client is a browser without a window: a cookie, and requests over HTTP. All begin at the same moment and want the
same number of small pictures mended by a small untrained model; a share of them stop what they wait for or what runs.
One client is greedy: it asks again and again without waiting. What is measured:

* how long a picture takes from asking to the result, and how that differs between clients;
* what was refused, and with which answer; nothing may be refused for another reason than a full queue;
* how many steps a stopped restoration computed after it was told to stop;
* whether any answer holds a path of the server, and whether anybody got at the pictures of another.

It ends with exit code 1 if an invariant is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import random
import re
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import torch
from PIL import Image
from torch import Tensor

from kintsugi.priors import Prior
from kintsugi.ui.limits import Limits

WIDTH, HEIGHT = 48, 40  # a client's pictures are wider by its number, by which its work is known


class Toy(Prior):
    """A denoiser that takes a known time, and remembers when it was called, for a picture of which width."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.calls: list[tuple[float, int]] = []
        self.most, self._now, self._lock = 0, 0, threading.Lock()

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self.calls.append((time.monotonic(), z.shape[-1]))
        time.sleep(self.seconds)
        with self._lock:
            self._now -= 1
        return 0.5 * z


@dataclass
class Seen:
    """What happened, of all clients."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    refused: Counter[int] = field(default_factory=Counter)
    others: int = 0
    tried: int = 0
    paths: list[str] = field(default_factory=list)
    bodies: int = 0
    stopped: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    jobs: list[tuple[int, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextlib.contextmanager
def serving(toy: Toy, limits: Limits) -> Iterator[tuple[str, Path]]:
    """The page on a free port of 127.0.0.1: its address, and the folder of its files."""
    import uvicorn

    from kintsugi.ui.serve import listening, make_app

    served = make_app({"toy": toy}, limits)
    with listening("127.0.0.1", 0) as sock:
        server = uvicorn.Server(uvicorn.Config(served.app, log_level="error", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}", served.workshop.root
        server.should_exit = True
        thread.join(timeout=30)
        served.workshop.close()
        assert not served.workshop.root.exists()


def picture(seed: int) -> bytes:
    """A PNG file that no other client has."""
    pixels = torch.randint(0, 256, (HEIGHT, WIDTH + seed, 3), generator=torch.Generator().manual_seed(seed))
    file = io.BytesIO()
    Image.fromarray(pixels.to(torch.uint8).numpy()).save(file, "PNG")
    return file.getvalue()


class Visitor:
    """One client."""

    def __init__(self, number: int, address: str, root: Path, seen: Seen, toy: Toy) -> None:
        self.number, self.root, self.seen, self.toy = number, root, seen, toy
        self.http = httpx.Client(base_url=address, timeout=120)
        self.chance = random.Random(number)
        self.http.get("/")

    def ask(self, verb: str, address: str, **more: Any) -> httpx.Response:
        answer = self.http.request(verb, address, **more)
        told = f"{answer.headers} {answer.text if 'json' in answer.headers.get('content-type', '') else ''}"
        found = re.findall(rf"{re.escape(str(self.root))}|/tmp/|/home/|/root/|site-packages|\.py\b", told)
        with self.seen.lock:
            self.seen.bodies += 1
            self.seen.paths += found
        return answer

    def start(self, steps: int = 5) -> httpx.Response:
        asked = {"wrong": "noise", "noise": 0.1, "steps": steps, "prior": "toy", "seed": self.number}
        files = {"input": (f"mine-{self.number}.png", picture(self.number))}
        return self.ask("POST", "/mend/jobs", data={"asked": json.dumps(asked)}, files=files)

    def wait(self, told: dict[str, Any], stop: float | None = None) -> dict[str, Any]:
        """Until it ends; ``stop``: seconds after which it is stopped, infinite for as soon as it runs."""
        began = time.monotonic()
        while told["state"] in ("waiting", "running"):
            time.sleep(told["after"] / 1000 if stop is None else 0.05)
            if stop is not None and (time.monotonic() - began > stop or told["state"] == "running"):
                running = told["state"] == "running"
                told = self.ask("POST", f"/mend/jobs/{told['id']}/stop").json()
                now, stop = time.monotonic(), None
                if running:
                    end = time.monotonic() + 5
                    while told["state"] == "running" and time.monotonic() < end:
                        time.sleep(0.01)
                        told = self.ask("GET", f"/mend/jobs/{told['id']}").json()
                    ended = time.monotonic()
                    with self.seen.lock:
                        self.seen.stopped.append(
                            sum(now < at < ended for at, width in self.toy.calls if width == WIDTH + self.number)
                        )
                continue
            told = self.ask("GET", f"/mend/jobs/{told['id']}").json()
        return told

    def visit(self, pictures: int, stops: bool, patience: float = 600) -> None:
        """Mend so many pictures, asking again where the queue was full."""
        end = time.monotonic() + patience
        for _ in range(pictures):
            began = time.monotonic()
            answer = self.start(40 if stops else 5)
            while answer.status_code in (429, 503) and time.monotonic() < end:
                with self.seen.lock:
                    self.seen.refused[answer.status_code] += 1
                time.sleep(0.2 + 0.6 * self.chance.random())
                answer = self.start(40 if stops else 5)
            if answer.status_code != 202:
                with self.seen.lock:
                    self.seen.wrong.append(f"{answer.status_code}: {answer.text[:100]}")
                return
            with self.seen.lock:
                self.seen.jobs.append((self.number, answer.json()["id"]))
            told = self.wait(answer.json(), self.chance.choice((0.3, 1.0, math.inf)) if stops else None)
            if told["state"] == "done":
                self._check(told)
                with self.seen.lock:
                    self.seen.seconds.setdefault(self.number, []).append(time.monotonic() - began)
            elif told["state"] != "stopped" or not stops:
                with self.seen.lock:
                    self.seen.wrong.append(f"{told['state']}: {told['message']}")
            self._pry()

    def _check(self, told: dict[str, Any]) -> None:
        """The picture is the client's own."""
        before = self.ask("GET", f"/mend/jobs/{told['id']}/before.png").content
        with Image.open(io.BytesIO(before)) as image, Image.open(io.BytesIO(picture(self.number))) as own:
            if image.tobytes() != own.tobytes():
                with self.seen.lock:
                    self.seen.wrong.append(f"client {self.number} got another's picture")

    def _pry(self) -> None:
        """Try to see what another has."""
        with self.seen.lock:
            theirs = [id for number, id in self.seen.jobs if number != self.number]
        for id in self.chance.sample(theirs, min(2, len(theirs))):
            for verb, tail in (("GET", ""), ("GET", "/before.png"), ("GET", "/restored.png"), ("POST", "/stop")):
                answer = self.ask(verb, f"/mend/jobs/{id}{tail}")
                with self.seen.lock:
                    self.seen.tried += 1
                    self.seen.others += answer.status_code != 404


def greedy(visitor: Visitor, over: threading.Event) -> None:
    """Ask again and again, whatever the answer."""
    while not over.is_set():
        answer = visitor.start()
        with visitor.seen.lock:
            if answer.status_code == 202:
                visitor.seen.jobs.append((visitor.number, answer.json()["id"]))
            else:
                visitor.seen.refused[answer.status_code] += 1
        time.sleep(0.05)


def run(clients: int, pictures: int, seconds: float, queue: int) -> dict[str, Any]:
    """The figures of a load, and what was broken."""
    toy, seen = Toy(seconds), Seen()
    with serving(toy, Limits(queue=queue, upload=2**20)) as (address, root):
        visitors = [Visitor(i, address, root, seen, toy) for i in range(clients + 1)]
        over = threading.Event()
        stops = {i for i in range(clients) if i % 5 == 4}
        threads = [threading.Thread(target=v.visit, args=(pictures, i in stops)) for i, v in enumerate(visitors[:-1])]
        pest = threading.Thread(target=greedy, args=(visitors[-1], over))
        began = time.monotonic()
        for thread in [*threads, pest]:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
        over.set()
        pest.join()
        try:
            large = visitors[0].ask("POST", "/mend/jobs", content=bytes(2**20 + 1)).status_code
        except httpx.TransportError:  # the server had hung up before all of it was sent, and its answer was lost
            large = 413
        mine = [statistics.mean(times) for i, times in seen.seconds.items() if i not in stops]
        every = sorted(second for i, times in seen.seconds.items() if i not in stops for second in times)
        greeds = sum(number == clients for number, _ in seen.jobs)
        for visitor in visitors:
            visitor.http.close()
    broken = list(seen.wrong)
    broken += [f"paths of the server: {set(seen.paths)}"] if seen.paths else []
    broken += [f"{seen.others} looks at another's picture"] if seen.others else []
    broken += [f"{toy.most} restorations at a time"] if toy.most > 1 else []
    # One evaluation may have begun between the request and its arrival, and one be under way.
    broken += [f"computed on after the stop: {max(seen.stopped)} steps"] if max(seen.stopped, default=0) > 2 else []
    broken += ["an upload beyond the limit was taken"] if large != 413 else []
    broken += ["a client got nothing"] if len(mine) < clients - len(stops) else []
    return {
        "clients": clients, "pictures": pictures, "queue": queue, "step_seconds": seconds, "seconds": round(took, 1),
        "done": len(every), "latency_median": round(statistics.median(every), 2),
        "latency_p90": round(every[int(0.9 * (len(every) - 1))], 2), "latency_max": round(every[-1], 2),
        "client_mean_min": round(min(mine), 2), "client_mean_max": round(max(mine), 2), "greedy_accepted": greeds,
        "refused": {str(code): count for code, count in seen.refused.items()}, "stopped_running": len(seen.stopped),
        "steps_after_stop": max(seen.stopped, default=0), "answers": seen.bodies, "paths_in_answers": len(seen.paths),
        "tries_at_others": seen.tried, "tries_that_worked": seen.others, "evaluations": len(toy.calls),
        "at_a_time": toy.most, "broken": broken,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--pictures", type=int, default=3, help="of each client")
    parser.add_argument("--seconds", type=float, default=0.02, help="of a step of the toy model")
    parser.add_argument("--queue", type=int, default=32)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder  # whatever is left behind is found
        found = run(given.clients, given.pictures, given.seconds, given.queue)
        left = [path.name for path in Path(folder).iterdir() if path.name.startswith("kintsugi")]
    found["broken"] += [f"files left behind: {left}"] if left else []
    text = json.dumps(found, indent=1)
    print(text)
    if given.out is not None:
        given.out.write_text(text + "\n")
    return 1 if found["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
