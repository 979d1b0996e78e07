"""The routes under ``/mend``: start a restoration, ask how far it is, stop it, fetch its files.

    POST   /mend/jobs               a form: ``asked`` (JSON), and ``input`` (a file) or ``example``; ``mask`` (a file)
    GET    /mend/jobs/ID            how far it is; the results when it is done
    POST   /mend/jobs/ID/stop       stops it
    POST   /mend/jobs/ID/leave      stops it, and removes its files
    GET    /mend/jobs/ID/NAME       a file of it; ``?save=1`` to download it under its own name
    GET    /mend/examples/NAME      the file of an example, or its mask
    GET    /mend/static/NAME        what the page is made of

A client is a cookie that the server drew. It sees its own restorations only: any other is not found. Errors are
``{"error": "in plain words"}``.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from .. import data_path
from ..errors import InvalidArgument, KintsugiError
from ..sounds.reading import SUFFIXES
from .asked import Asked, Craft
from .door import COOKIE
from .examples import EXAMPLES, Example
from .limits import Limits
from .words import file_name, plain
from .workshop import Full, Job, Workshop, status

STATIC = Path(__file__).parent / "static"
KINDS = {
    ".js": "text/javascript", ".css": "text/css", ".png": "image/png", ".webp": "image/webp", ".wav": "audio/wav",
    ".flac": "audio/flac",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Service:
    """What the routes share. ``priors``: the names of the models that visitors may choose from; of what each is."""

    workshop: Workshop
    limits: Limits
    priors: Mapping[str, Craft]

    @property
    def examples(self) -> dict[str, Example]:
        """Those that there is a model for."""
        crafts = set(self.priors.values())
        return {name: each for name, each in EXAMPLES.items() if each.craft in crafts}

    def routes(self) -> list[Route]:
        """The routes, for starlette."""
        return [
            Route("/mend/jobs", told(self.start), methods=["POST"]),
            Route("/mend/jobs/{id}", told(self.look), methods=["GET"]),
            Route("/mend/jobs/{id}/stop", told(self.stop), methods=["POST"]),
            Route("/mend/jobs/{id}/leave", told(self.leave), methods=["POST"]),
            Route("/mend/jobs/{id}/{name}", told(self.fetch), methods=["GET"]),
            Route("/mend/examples/{name}", told(self.example), methods=["GET"]),
            Route("/mend/static/{name}", told(self.static), methods=["GET"]),
        ]

    async def start(self, request: Request) -> Response:
        client = client_of(request)
        self.workshop.sweep()
        self.workshop.room(client)  # before a file is read from the network
        async with request.form(max_files=2, max_fields=3, max_part_size=2**14) as form:
            try:
                given = json.loads(str(form.get("asked", "{}")))
            except ValueError:
                raise InvalidArgument("asked", "text", "JSON") from None
            asked = Asked.parse(given, self.limits, self.priors)
            job = await self._receive(client, asked, form)
        self.workshop.submit(job)
        return JSONResponse(status(job, self.workshop.place(job)), status_code=202)

    async def _receive(self, client: str, asked: Asked, form: FormData) -> Job:
        """A job with the files of the form in a folder of its own."""
        upload, example, mask = form.get("input"), form.get("example"), form.get("mask")
        offered = {name for name, each in self.examples.items() if each.craft == asked.craft}
        if not isinstance(upload, UploadFile) and example not in offered:
            raise InvalidArgument("input", "none", "a file, or an example of this page")
        folder = self.workshop.new_folder()
        try:
            if isinstance(upload, UploadFile):
                name = _name_of(upload.filename, asked.craft)
                source = folder / ("input" + Path(name).suffix.lower())
                await _save(upload, source)
            else:
                name, source = f"example:{example}", data_path(str(example))
            covered = None
            if isinstance(mask, UploadFile) and asked.wrong == "holes":
                covered = folder / "mask.png"
                await _save(mask, covered)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return Job(client, asked, folder, source, covered, name)

    async def look(self, request: Request) -> Response:
        return self._status(self._job(request))

    async def stop(self, request: Request) -> Response:
        job = self._job(request)
        self.workshop.cancel(job)
        return self._status(job)

    async def leave(self, request: Request) -> Response:
        self.workshop.forget(self._job(request))
        return Response(status_code=204)

    async def fetch(self, request: Request) -> Response:
        job, name = self._job(request), request.path_params["name"]
        files = dict(job.result.files) if job.result is not None else {}
        known = job.result.open if job.result is not None else ()
        step = re.fullmatch(r"step([1-9][0-9]?)\.webp", name)
        if not (name in known or (step and int(step[1]) <= job.report.frames)):
            raise KeyError(name)
        path = job.folder / name
        if not path.is_file():
            raise KeyError(name)
        saved = files.get(name, name) if "save" in request.query_params else None
        return FileResponse(path, media_type=KINDS.get(path.suffix), filename=saved)

    async def example(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not any(name in (each.file, each.mask) for each in self.examples.values()):
            raise KeyError(name)
        return FileResponse(data_path(name), media_type=KINDS[Path(name).suffix])

    async def static(self, request: Request) -> Response:
        path = STATIC / request.path_params["name"]
        if path.parent != STATIC or path.suffix not in KINDS or not path.is_file():
            raise KeyError(path.name)
        return FileResponse(path, media_type=KINDS[path.suffix], headers={"Cache-Control": "no-cache"})

    def _job(self, request: Request) -> Job:
        return self.workshop.find(client_of(request), request.path_params["id"])

    def _status(self, job: Job) -> Response:
        return JSONResponse(status(job, self.workshop.place(job)))


def client_of(request: Request) -> str:
    """The client's cookie, or the one that ``door.py`` has drawn for it."""
    return str(request.scope.get("kintsugi_client") or request.cookies.get(COOKIE) or secrets.token_urlsafe(24))


def told(route: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """``route``, with its errors as answers."""

    async def answer(request: Request) -> Response:
        try:
            return await route(request)
        except KeyError:
            return _error(404, "There is no such file any more. Start again.")
        except Full as error:
            return _error(429 if error.alone else 503, str(error))
        except KintsugiError as error:
            return _error(400, plain(error, {}))
        except HTTPException as error:
            return _error(error.status_code, error.detail if error.status_code == 413 else "The form cannot be read.")

    return answer


def _error(code: int, text: str) -> Any:
    return JSONResponse({"error": text}, status_code=code, headers={"Retry-After": "30"} if code == 503 else None)


def _name_of(given: str | None, craft: Craft) -> str:
    """The name of an upload. Errors: :class:`InvalidArgument` where ``kintsugi restore`` would take it for another
    kind of file: it goes by the name."""
    name = file_name(given, "sound.wav" if craft == "sounds" else "picture.png")
    if (Path(name).suffix.lower() in SUFFIXES) != (craft == "sounds"):
        expected = f"a sound whose name ends in {', '.join(sorted(SUFFIXES))}" if craft == "sounds" else "a picture"
        raise InvalidArgument("input", name, expected)
    return name


async def _save(upload: Any, path: Path) -> None:
    with path.open("wb") as file:
        while chunk := await upload.read(2**20):
            file.write(chunk)
