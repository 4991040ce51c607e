"""What a run of a sweep calls: a whole comparison of policies in one process."""

from __future__ import annotations

from kfarm_twin.whatif_request import WhatIfRequest
from kfarm_twin.work.backend import Entry

VALIDATE = Entry()
COMPARE = Entry("kfarm_twin.sweep.play:compare_json", "kfarm_twin.whatif_play:warm")


def compare_json(request: bytes) -> bytes:
    """A `WhatIfRequest` as JSON in, its `WhatIf` as JSON out; on one thread."""
    from kfarm_twin.whatif import play  # noqa: PLC0415 - numba

    result = play(WhatIfRequest.model_validate_json(request), workers=1)
    return result.model_dump_json(by_alias=True).encode()
