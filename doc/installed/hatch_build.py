# SPDX-License-Identifier: MIT
"""What the wheel brings beside the Python code: manual pages, completion of the commands, units, examples.

They are made when the wheel is, from the source tree alone: an environment to build in has hatchling and nothing else.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PAGES = "share/man/man{section}"
BASH, ZSH = "share/bash-completion/completions", "share/zsh/site-functions"
UNITS, EXAMPLES = "share/miredo/systemd", "share/doc/miredo/examples"


class Installed(BuildHookInterface[BuilderConfig]):
    """Adds them; an editable install is for developers, and has none."""

    def initialize(self, version: str, build_data: dict[str, object]) -> None:
        if version == "editable":
            return
        self._made = tempfile.TemporaryDirectory(prefix="miredo-wheel-")
        files = made(Path(self.root), self.metadata.version, Path(self._made.name))
        build_data["shared_data"] = {str(path): place for place, path in files.items()}

    def finalize(self, version: str, build_data: dict[str, object], artifact_path: str) -> None:
        del build_data, artifact_path
        if version != "editable":
            self._made.cleanup()


def made(root: Path, version: str, folder: Path) -> dict[str, Path]:
    """Where each file is to be installed, below the environment's folder, and where it is now."""
    sys.path.insert(0, str(root))
    try:
        from doc.installed.completion import bash, zsh
        from doc.installed.pages import pages
        from miredo.commands.usage import COMMANDS
    finally:
        sys.path.remove(str(root))
    texts = {f"{PAGES.format(section=name[-1])}/{name}": text for name, text in pages(root, version).items()}
    texts |= {f"{BASH}/{one.name}": bash(one) for one in COMMANDS}
    texts |= {f"{ZSH}/_{one.name}": zsh(one) for one in COMMANDS}
    for place, text in texts.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    units = {f"{UNITS}/{unit.name}": unit for unit in sorted((root / "etc" / "systemd").glob("*.service"))}
    examples = {f"{EXAMPLES}/{file.name}": file for file in sorted((root / "etc").glob("*.conf"))}
    return {place: folder / place for place in texts} | units | examples
