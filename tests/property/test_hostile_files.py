"""Files that want to crash, hang or swell whoever reads them, or to be taken for what they are not.

The readers of the command line run in a process of their own, which is killed when it hangs. What
they read is an object, or a bounded report of what is wrong with it; never an exception.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hostile import BASES, hostile, hostiles, to_json
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from kfarm_controlplane.figures import record
from watched import Watched

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))
READERS = ("manifests", "snapshot", "kube", "queues")
GROWTH_BYTES = 256 << 20
PROBLEMS, PROBLEM_CHARACTERS = 2500, 4000
seen: Counter[str] = Counter()
slowest = [0.0]
"""CPU time of the slowest input [s]."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with Watched(tmp_path_factory.mktemp("hostile")) as watched:
        yield watched
        figures = {**seen, "slowest CPU s": round(slowest[0], 2), "crashes": 0, "hangs": 0}
        record("hostile-files", {"inputs": watched.asked, **figures})


def read(reader: Watched, kind: str, name: str, raw: bytes) -> dict[str, Any]:
    """Ask, and require an answer that a person can use."""
    answer = reader.ask(kind, name, raw)
    for harm in ("hang", "dead", "crash"):
        assert harm not in answer, (answer, raw[:2000])
    problems = answer.get("problems", ())
    assert len(problems) < PROBLEMS
    for problem in problems:
        assert problem.isprintable(), problem
        assert len(problem) < PROBLEM_CHARACTERS, problem
    seen["taken" if "objects" in answer else "refused"] += 1
    slowest[0] = max(slowest[0], float(answer["cpu_s"]))
    return answer


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: "
DIRECTED: dict[str, bytes] = {
    "alias bomb": BOMB.encode(),
    "alias bomb in a pod": (BOMB.replace("\n", "\n  ").join([POD + "\n  ", ""])).encode(),
    "alias to itself": b"a: &a [*a, *a]\n",
    "merge keys": b"a: &a {b: 1}\nc: {<<: [*a, *a]}\n",
    "sequences in sequences": b"- " * 50_000,
    "flow in flow": b"[" * 100_000,
    "mappings in mappings": b"{a: " * 50_000,
    "questions": b"? " * 50_000,
    "JSON nesting": b'{"a":' * 50_000,
    "balanced nesting": b"[" * 5_000 + b"]" * 5_000,
    "one long scalar": b"a: " + b"x" * 900_000,
    "one long key": b"x" * 900_000 + b": a",
    "one long quoted scalar": b'a: "' + b"\\x41" * 200_000 + b'"',
    "unclosed quotes": b'"' + b'\\"' * 400_000,
    "many keys": b"".join(b"k%d: 1\n" % n for n in range(80_000)),
    "the same key": b"a: 1\n" * 100_000,
    "many documents": b"---\na: 1\n" * 50_000,
    "many empty documents": b"---\n" * 200_000,
    "many anchors": b"".join(b"- &a%d x\n" % n for n in range(60_000)),
    "many comments": b"#\n" * 500_000,
    "many tags": b"- !!python/object/apply:os.system [id]\n" * 10_000,
    "many directives": b"%TAG ! tag:x,2000:\n" * 20_000,
    "a long digit": b"a: " + b"9" * 900_000,
    "a long JSON digit": b'{"a": ' + b"9" * 900_000 + b"}",
    "a long exponent": b'{"a": 1e' + b"9" * 900_000 + b"}",
    "a long fraction": b"a: 0." + b"1" * 900_000,
    "sexagesimal": b"a: 1:30:00\nb: 190:20:30.15\n",
    "1.5 MB": b"apiVersion: kfarm.dev/v1alpha1\nkind: GPUFarm\nmetadata: {name: a}\nspec: {x: "
    + b"x" * (3 << 19) + b"}\n",
    "nine MB": b"a: 1\n" * (2 << 20),
    "no UTF-8": b"a: \xff\xfe\xc3\x28\n",
    "UTF-16": "a: 1\n".encode("utf-16"),
    "UTF-32": "a: 1\n".encode("utf-32"),
    "NUL": b"a: \x00\n",
    "line separators": "a: 1\u2028b: 2\u0085c: 3\u2029".encode(),
    "bidirectional": 'kind: "\u202emraFUPG"\napiVersion: kfarm.dev/v1alpha1\n'.encode(),
    "escape sequences": b'kind: "\\e[2J\\e]0;owned\\a"\napiVersion: kfarm.dev/v1alpha1\n',
    "a list of lists of nothing": b"apiVersion: v1\nkind: List\nitems: [[], [[]], null, 1]\n",
    "lists in lists": b"apiVersion: v1\nkind: List\nitems: [{kind: List, items: [{kind: List}]}]\n",
    "nothing": b"",
    "blank": b" \n\t\r\n",
}  # fmt: skip


@pytest.mark.parametrize("told", DIRECTED)
@pytest.mark.parametrize("kind", READERS)
def test_bombs(reader: Watched, kind: str, told: str) -> None:
    for name in ("f.yaml", "f.json") if kind == "manifests" else ("f.yaml",):
        read(reader, kind, name, DIRECTED[told])


@pytest.mark.parametrize("told", ["alias bomb", "alias to itself", "merge keys", "the same key"])
def test_what_must_be_refused_is(reader: Watched, told: str) -> None:
    raw = b"apiVersion: kfarm.dev/v1alpha1\nkind: GPUFarm\nmetadata: {name: a}\n" + DIRECTED[told]
    words = {"merge keys": "merge key", "the same key": "twice"}.get(told, "alias")
    answer = read(reader, "manifests", "f.yaml", raw)
    assert any(words in problem for problem in answer["problems"])


TOKENS = (
    *("- ", "? ", ": ", ", ", "{", "}", "[", "]", "&a ", "*a", "<<: *a", "!!str ", "!x ", "|\n"),
    *(">-\n", "'", '"', "\n", "\n  ", "\n    ", "---\n", "...\n", "%YAML 1.3\n", "# "),
    *("\t", "\r\n", ".inf", "kind: ", "spec: "),
    *("\u0085", "\u2028", "\ufeff", "\x00", "\\", "~", "null", "yes", "012", "1_000", ".nan"),
    *("1e999", "0x1F", "12:30:45", "2026-01-01", "한글", "\u202e", "apiVersion: "),
    *("kfarm.dev/v1alpha1", "GPUFarm", "PlacementPlan", "List", "items: ", "metadata: ", "name: "),
    *("v1", "Node", "Pod", "NodeList", "kueue.x-k8s.io/v1beta2", "ClusterQueue", "FarmSnapshot"),
)  # fmt: skip


@st.composite
def torn(draw: st.DrawFn) -> bytes:
    """A file of the examples that was cut, doubled, or in which bytes were exchanged."""
    raw = draw(st.sampled_from(EXAMPLES)).read_bytes()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(raw)))
        end = min(len(raw), start + draw(st.integers(0, 200)))
        part = draw(st.sampled_from((b"", raw[start:end] * 2, b"\n", b"\xff", b"- ", b"\t", b"*a")))
        raw = raw[:start] + part + raw[end:]
    return raw[: draw(st.sampled_from((len(raw), len(raw) // 2)))]


@st.composite
def said(draw: st.DrawFn) -> bytes:
    """A hostile object as JSON or YAML."""
    body = draw(hostiles(BASES[draw(st.sampled_from(sorted(BASES)))]))
    if draw(st.booleans()):
        return to_json(body)
    try:
        return yaml.safe_dump(body, allow_unicode=draw(st.booleans())).encode()
    except UnicodeEncodeError:
        return to_json(body)


@st.composite
def foreign(draw: st.DrawFn) -> bytes:
    """A Node, Pod or queue of which a few parts are hostile."""
    body = copy.deepcopy(draw(st.sampled_from(FOREIGN)))
    for _ in range(draw(st.integers(1, 3))):
        holder, keys = body, []
        while isinstance(holder, dict | list) and holder:
            some = sorted(holder) if isinstance(holder, dict) else range(len(holder))
            key = draw(st.sampled_from(some))
            keys.append((holder, key))
            if draw(st.integers(0, 3)) == 0:
                break
            holder = holder[key]
        parent, key = keys[-1]
        parent[key] = draw(hostile)
    return to_json(body)


_SIZE = {"cpu": "64", "memory": "1Ti", "pods": "110", "nvidia.com/gpu": "8"}
_SELECTOR = {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
_SPEC: dict[str, Any] = {
    "containers": [{"name": "a", "resources": {"requests": {"cpu": "1", "nvidia.com/gpu": "1"}},
                    "ports": [{"hostPort": 80}]}],
    "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule"}],
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
                                   "whenUnsatisfiable": "DoNotSchedule",
                                   "labelSelector": _SELECTOR}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [_SELECTOR]}}},
    "priority": 5,
}  # fmt: skip
_FLAVORS = [{"name": "f", "resources": [{"name": "nvidia.com/gpu", "nominalQuota": 8}]}]
FOREIGN: tuple[dict[str, Any], ...] = (
    {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": {"zone": "a"}},
     "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]},
     "status": {"allocatable": _SIZE, "images": [{"names": ["a"], "sizeBytes": 5}]}},
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}},
     "spec": _SPEC, "status": {"phase": "Pending", "startTime": "2026-01-01T00:00:00Z"}},
    {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
     "spec": {"selector": _SELECTOR}, "status": {"disruptionsAllowed": 1}},
    {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ClusterQueue", "metadata": {"name": "q"},
     "spec": {"cohortName": "c", "resourceGroups": [
         {"coveredResources": ["nvidia.com/gpu"], "flavors": _FLAVORS}],
         "preemption": {"reclaimWithinCohort": "Any"}}},
    {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "ResourceFlavor", "metadata": {"name": "f"},
     "spec": {"nodeLabels": {"a": "b"}}},
)  # fmt: skip

files = st.one_of(
    said(),
    said(),
    torn(),
    st.lists(st.sampled_from(TOKENS), max_size=60).map(lambda parts: "".join(parts).encode()),
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
cases = st.one_of(
    st.tuples(st.sampled_from(READERS), files),
    st.tuples(st.just("manifests"), files),
    st.tuples(st.sampled_from(("kube", "queues")), foreign()),
)
names = st.sampled_from(("f.yaml", "f.json", "f.txt"))


def fuzzed(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Settings of a campaign, the same each time."""
    return settings(
        max_examples=count, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture,
                               HealthCheck.data_too_large],
    )  # fmt: skip


def _campaign(reader: Watched, case: tuple[str, bytes], name: str) -> None:
    answer = read(reader, case[0], name, case[1])
    event(f"{case[0]}: {'taken' if 'objects' in answer else 'refused'}")


@fuzzed(400)
@given(case=cases, name=names)
def test_random_files(reader: Watched, case: tuple[str, bytes], name: str) -> None:
    _campaign(reader, case, name)


@pytest.mark.slow
@fuzzed(50_000)
@given(case=cases, name=names)
def test_many_random_files(reader: Watched, case: tuple[str, bytes], name: str) -> None:
    _campaign(reader, case, name)


def test_the_reader_does_not_grow(reader: Watched) -> None:
    """The same once more changes nothing: what was read is not kept."""
    for _ in range(2):
        before = reader.resident_bytes()
        for raw in DIRECTED.values():
            read(reader, "manifests", "f.yaml", raw)
    assert reader.resident_bytes() - before < GROWTH_BYTES
