"""All drills of the library at the size of the 510-node cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from drills_ground import LIBRARY
from kfarm_controlplane.drillhost import DrillHost
from kfarm_controlplane.drillrecord import ANNOTATION_RESIDUE


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "path", sorted(LIBRARY.glob("[0-9]*.yaml")), ids=lambda path: str(path.stem)
)
def test_the_library_at_510_nodes(big_host: DrillHost, path: Path) -> None:
    code, drill, text = big_host.run(path)
    assert code == 0, text
    assert (drill["status"]["phase"], drill["status"]["verdict"]) == ("Completed", "Passed")
    assert drill["metadata"]["annotations"][ANNOTATION_RESIDUE] == "0", text
