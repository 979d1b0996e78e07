"""References as docstrings write them: ``:class:`InvalidFile``` from anywhere, by the last part of a name.

Sphinx looks a name up in the module that it stands in. Here what is exported is documented under its public name only,
and annotations know the module that it was defined in; so a name that Sphinx does not find is looked for

1. among all that is documented, by its end (``Mask`` for ``kintsugi.operators.selection.Mask``): a link;
2. in the package itself: something internal that exists, and stays text.

What is in neither is a dead reference, and with ``-n -W`` an error.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from docutils import nodes


def documented(domain: Any, target: str) -> str | None:
    """The documented name that ends like ``target``, by its last two parts where they are, else by its last."""
    parts = target.split(".")
    for count in (2, 1):
        if len(parts) < count:
            continue
        end = ".".join(("", *parts[-count:]))
        names = [name for name in domain.objects if f".{name}".endswith(end)]
        if names:
            return min(names, key=lambda name: (name.count("."), name))
    return None


def exists(target: str, module: str | None, cls: str | None) -> bool:
    """Whether the package has something of this name, documented or not."""
    if _module(target) or (module and _module(f"{module}.{target}")):
        return True
    names = target.rsplit(".", 1)[1] if target.startswith("kintsugi.") else target
    loaded = [m for key, m in list(sys.modules.items()) if key.split(".")[0] == "kintsugi" and m is not None]
    roots: list[Any] = [*loaded]
    if cls:
        roots += [vars(m)[cls] for m in loaded if cls in vars(m)]
    return any(_has(root, names.split(".")) for root in roots)


def _module(name: str) -> bool:
    if not name.startswith("kintsugi."):
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _has(root: Any, parts: list[str]) -> bool:
    *path, last = parts
    for part in path:
        if part not in vars(root):
            return False
        root = vars(root)[part]
        if not hasattr(root, "__dict__"):
            return False
    bases = root.__mro__ if isinstance(root, type) else (root,)
    return any(last in vars(base) or last in vars(base).get("__annotations__", {}) for base in bases)


def _resolve(app: Any, env: Any, node: Any, contnode: nodes.Node) -> nodes.Node | None:
    if node.get("refdomain") != "py":
        return None
    domain, target = env.get_domain("py"), node["reftarget"]
    name = documented(domain, target)
    if name is not None and node.get("refdoc"):
        entry = domain.objects[name]
        from sphinx.util.nodes import make_refnode

        return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, name)
    return contnode if exists(target, node.get("py:module"), node.get("py:class")) else None


def setup(app: Any) -> dict[str, Any]:
    """Sphinx calls this."""
    app.connect("missing-reference", _resolve)
    return {"version": "1", "parallel_read_safe": True}
