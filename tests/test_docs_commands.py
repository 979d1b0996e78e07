"""Every command and every example on the pages of docs/, README.md and CONTRIBUTING.md.

Each ``kintsugi`` command is parsed by the real command line, options and their values included, without being run;
blocks after a line ``<!-- runs -->`` are run too, in a folder with small pictures, and so are the README's. Scripts
must be there and know their options, extras must exist, and Python must compile and import what is there.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from kintsugi.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
# Commands of others, which are not checked beyond their names.
OTHERS = {
    ".", "bash", "cd", "do", "done", "export", "for", "mypy", "pre-commit", "ray", "ruff", "sbatch", "sleep", "source",
    "srun", "until", "docker", "sphinx-build",
}  # fmt: skip
# Words of a page that stand for a value of the reader's.
PLACEHOLDERS = {"$SLURM_CPUS_PER_TASK": "8", "HOST:PORT": "h:1"}

pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="docs/ is not part of a source distribution")


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: each with the line before it."""
    fenced = rf"(?:^(<!--[^\n]*-->)\n)?^```{language}\n(.*?)^```$"
    found = re.findall(fenced, page.read_text(), re.MULTILINE | re.DOTALL)
    return [(before, text) for before, text in found]


def commands(text: str) -> list[list[str]]:
    """The commands of a block of bash as lists of words, comments left out."""
    out = []
    for line in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"\$\{\w+[#%:]+[^}]*\}|\$\w+", lambda found: PLACEHOLDERS.get(found[0], "1"), line)
        line = re.sub(r"\$\(.*?\)", "1", line)
        line = re.sub(r"\d?>&?\s*\S+", "", re.sub(r"^\w+=\(.*\)$", "", line))  # redirections, arrays
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";&|"):
                out += [words] if words else []
                words = []
            else:
                words.append(word)
    return out


def as_kintsugi(words: list[str]) -> list[str] | None:
    """The arguments of a command that is kintsugi, however it is started; else None."""
    for start in (["kintsugi"], ["-m", "kintsugi"], ["bin/kintsugi"]):
        for i in range(len(words)):
            if words[i : i + len(start)] == start or (i == 0 and words[0].endswith(f"/{start[-1]}")):
                return words[i + len(start) :]
    return None


def parse(arguments: list[str]) -> None:
    """As the command line does before it runs anything; raises for what it does not know."""
    group: Any = typer.main.get_command(app)
    if arguments[0].startswith("-"):  # would be done at once: completion would be installed
        assert arguments[0] in {option for param in group.params for option in param.opts}
        return
    with group.make_context("kintsugi", list(arguments)) as context:
        name, command, rest = group.resolve_command(context, list(arguments))
        command.make_context(name, list(rest), parent=context).close()


def check(words: list[str]) -> None:
    arguments = as_kintsugi(words)
    if arguments is not None:
        with contextlib.suppress(typer.Exit):  # an option that prints and stops
            parse(arguments)
        return
    words = [w for w in words if "=" not in w.split("-")[0]] or ["export"]  # NAME=value before a command
    if words[0] in ("python", "accelerate") and any(w.endswith(".py") for w in words):
        script = next(w for w in words if w.endswith(".py"))
        source = (ROOT / script).read_text()
        options = [w.split("=")[0] for w in words if w.startswith("--")]
        assert not [o for o in options if o not in source and o[2:].replace("-", "_") not in source], words
    elif words[0] == "pip":
        extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
        named = re.findall(r"\[([\w,]+)\]", " ".join(words))
        assert {extra for group in named for extra in group.split(",")} <= extras, words
    elif words[:3] == ["python", "-m", "venv"] or words[0] == "pytest":
        pass
    else:
        assert words[0] in OTHERS, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_commands(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wrong = []
    for _, text in blocks(page, "bash"):
        for words in commands(text):
            try:
                check(words)
            except Exception as error:  # all of a page at once
                wrong.append(f"{shlex.join(words)}: {type(error).__name__} {error}")
    assert not wrong, "\n".join(wrong)


def test_what_the_check_refuses(tmp_path: Path) -> None:
    """The check itself: a wrong option, value, command, script, extra."""
    for text in (
        "kintsugi restore in.png -o out.png --task sr --no-such", "kintsugi restore in.png -o out.png --task no-such",
        "kintsugi restore in.png --task sr", "kintsugi no-such", "python docs/no_such.py", "pip install '.[no_such]'",
        "python benchmarks/quality.py denoise KODAK --no-such", "no-such command",
        "true && kintsugi samplers --steps 3",
        "accelerate launch -m kintsugi bench s -o run --no-such", "kintsugi restore in.png -o o.png -t sr --steps five",
    ):  # fmt: skip
        with pytest.raises(Exception):  # noqa: B017
            for words in commands(text):
                check([w for w in words if w != "true"] or ["cd"])
    assert commands("kintsugi a \\\n  b  # c d\nx | y") == [["kintsugi", "a", "b"], ["x"], ["y"]]


def test_every_block_is_found_with_the_line_before_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- a -->\n```bash\none\n```\n\n```bash\ntwo\n```\n<!-- b -->\n```bash\nthree\n```\n")
    assert blocks(page, "bash") == [("<!-- a -->", "one\n"), ("", "two\n"), ("<!-- b -->", "three\n")]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages name."""
    generator = torch.Generator().manual_seed(0)
    values = (torch.rand(24, 24, 3, generator=generator) * 255).to(torch.uint8).numpy()
    picture = Image.fromarray(values)
    for name in ("in.png", "small.png", "torn.jpg", "blurred.jpg", "noisy.png", "blocky.jpg", "faded.jpg"):
        picture.save(tmp_path / name)
    picture.convert("L").save(tmp_path / "grey.png")
    holes = Image.new("L", (24, 24))
    holes.paste(255, (8, 8, 14, 14))
    for name in ("holes.png", "m.png", "mask.png"):
        holes.save(tmp_path / name)
    (tmp_path / "photos").mkdir()
    picture.save(tmp_path / "photos" / "one.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def runnable() -> list[tuple[str, str]]:
    found = [
        (page.name, text) for page in PAGES for before, text in blocks(page, "bash") if before == "<!-- runs -->"
    ] if (ROOT / "docs").is_dir() else []  # fmt: skip
    own = re.search(r"## Your own files\n\n```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [*found, *([("README.md", own[1])] if own else [])]


@pytest.mark.parametrize(("page", "text"), runnable(), ids=lambda value: value if value.endswith(".md") else "")
def test_commands_run(page: str, text: str, small: Path) -> None:
    for words in commands(text):
        arguments = as_kintsugi(words)
        assert arguments is not None
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, (words, result.output, result.exception)
        for flag in ("-o", "--output"):
            if flag in arguments:
                assert (small / arguments[arguments.index(flag) + 1]).exists()


def imports(tree: ast.AST) -> list[tuple[str, str | None]]:
    """(module, name) of each import."""
    out: list[tuple[str, str | None]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            out += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            out += [(str(node.module), alias.name) for alias in node.names]
    return out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_imports_what_is_there(page: Path) -> None:
    for _, text in blocks(page, "python"):
        for module, name in imports(ast.parse(text)):
            if module.split(".")[0] == "kintsugi":
                found = importlib.import_module(module)
                assert name is None or hasattr(found, name), f"{module}.{name}"
