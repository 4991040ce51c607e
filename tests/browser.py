"""Pages in a headless Chromium: the document after its scripts, and after a script of the test."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome")
     if (found := shutil.which(name))),
    None,
)  # fmt: skip


def dump(html: str, folder: Path, width: int = 1280) -> str:
    """The page's document after its scripts ran."""
    assert CHROMIUM is not None
    path = folder / "page.html"
    path.write_text(html, encoding="utf-8")
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900",
             f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000", "--dump-dom",
             path.as_uri()]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


def probed(html: str, probe: str, folder: Path) -> Any:
    """What the script `probe` left in its variable `seen` after the page's own scripts."""
    tell = (
        "const out = document.createElement('pre'); out.id = 'seen';"
        "out.textContent = JSON.stringify(seen); document.body.append(out);"
    )
    out = dump(html.replace("</body>", f"<script>{probe}{tell}</script></body>"), folder)
    found = re.search(r'<pre id="seen">(.*?)</pre>', out, re.DOTALL)
    assert found is not None, out[-3000:]
    return json.loads(unescape(found.group(1)))
