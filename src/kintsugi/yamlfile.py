"""Reading YAML files of others: names and values, never objects, and never more than a person would write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import InvalidFile

LARGEST = 2**19  # bytes of a file
DEEPEST = 100  # brackets that are open at once
MOST = 100_000  # values, each counted as often as an alias repeats it


def find_shipped(path: Path, what: str, shipped: Path) -> Path:
    """``path``, or the file of that name in ``shipped``. Errors: :class:`InvalidFile` that says what there is."""
    known = {file.stem: file for file in shipped.glob("*.yaml")}
    if not path.exists() and str(path) in known:
        return known[str(path)]
    if not path.is_file():
        raise InvalidFile(path, f"no such {what}; those that come with the package: {', '.join(sorted(known))}")
    return path


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """The names and values that the file holds; ``what`` it is called in errors.

    Errors: :class:`InvalidFile` for a file that cannot be read, is no YAML or no mapping, is larger than 512 KiB, or
    whose aliases make it endless or larger than 100,000 values.
    """
    import yaml

    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise InvalidFile(path, f"not a readable {what} ({size} bytes; expected at most {LARGEST})")
        text = path.read_text(encoding="utf-8")
        _check_depth(path, text, what)
        content = yaml.safe_load(text)
        if not isinstance(content, dict):
            raise InvalidFile(path, f"not a {what}: expected names and values")
        _count(content, MOST)
    except InvalidFile:
        raise
    except RecursionError as error:
        raise InvalidFile(path, f"not a readable {what} (nested too deeply, or an alias of itself)") from error
    # Beside its own errors, PyYAML raises those of int(), float() and datetime() for values that look like such.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, yaml.YAMLError) as error:
        raise InvalidFile(path, f"not a readable {what} ({' '.join(str(error).split())[:200]})") from error
    return content


def _check_depth(path: Path, text: str, what: str) -> None:
    """PyYAML takes time with the square of the depth: refuse what nobody writes before it is parsed."""
    depth = 0
    for sign in text:
        if sign in "[{":
            depth += 1
            if depth > DEEPEST:
                raise InvalidFile(path, f"not a readable {what} (more than {DEEPEST} brackets are open)")
        elif sign in "]}":
            depth = max(depth - 1, 0)


def _count(value: Any, left: int) -> int:
    """How many of ``left`` values remain; ``ValueError`` where there are more, ``RecursionError`` for a ring."""
    left -= 1
    if left < 0:
        raise ValueError(f"more than {MOST} values, as aliases repeat them")
    if isinstance(value, dict):
        for key, item in value.items():
            left = _count(item, _count(key, left))
    elif isinstance(value, list | tuple | set):
        for item in value:
            left = _count(item, left)
    return left
