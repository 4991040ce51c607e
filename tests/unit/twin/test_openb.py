"""Reading the openb lists: what is taken, and what is said of what is wrong."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from kfarm_twin.load import ManifestError
from kfarm_twin.traces.openb import UNSAID, read_openb_nodes, read_openb_pods

NODES = (
    "sn,cpu_milli,memory_mib,gpu,model\nn0,64000,262144,2,P100\nn1,32000,131072,0,\nn2,8000,8,8,A\n"
)
LONG = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,"
    "deletion_time,scheduled_time\n"
    "p0,12000,16384,1,1000,,LS,Running,0,12537496,0\n"
    "p1,6000,12288,1,460,V100M16|V100M32,LS,Pending,427061,12902960,\n"
    "p2,6000,12288,0,0,,BE,Running,427061,,5\n"
    "p3,6000,12288,4,1000,|T4,BE,Running,1,2,5\n"
)
SHORT = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\np0,12000,16384,1,1000\np1,6000,0,8,1000\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def to_file(text: str | bytes, name: str = "list.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return to_file


def test_nodes(write: Callable[[str | bytes], Path]) -> None:
    nodes = read_openb_nodes(write(NODES))
    assert nodes.names.tolist() == ["n0", "n1", "n2"]
    assert nodes.cpu_milli.tolist() == [64_000, 32_000, 8_000]
    assert nodes.memory_mib.tolist() == [262_144, 131_072, 8]
    assert nodes.gpus.tolist() == [2, 0, 8]
    assert nodes.models == ("", "A", "P100")
    assert nodes.model.tolist() == [2, 0, 1]


def test_pods_of_the_long_form(write: Callable[[str | bytes], Path]) -> None:
    pods = read_openb_pods(write(LONG))
    assert pods.gpus.tolist() == [1, 1, 0, 4]
    assert pods.gpu_milli.tolist() == [1000, 460, 0, 1000]
    specs = [pods.specs[spec] for spec in pods.spec]
    assert specs == [(), ("V100M16", "V100M32"), (), ("T4",)]
    assert pods.creation_s.tolist() == [0, 427_061, 427_061, 1]
    assert pods.deletion_s.tolist() == [12_537_496, 12_902_960, UNSAID, 2]
    assert pods.line.tolist() == [2, 3, 4, 5]


def test_pods_of_the_short_form(write: Callable[[str | bytes], Path]) -> None:
    pods = read_openb_pods(write(SHORT))
    assert pods.gpus.tolist() == [1, 8]
    assert pods.memory_mib.tolist() == [16_384, 0]
    assert pods.creation_s.tolist() == [UNSAID, UNSAID]
    assert pods.specs == ((),)


def test_without_shares_pods_take_whole_gpus(write: Callable[[str | bytes], Path]) -> None:
    pods = read_openb_pods(write("name,cpu_milli,memory_mib,num_gpu\na,1,1,2\nb,1,1,0\n"))
    assert pods.gpu_milli.tolist() == [1000, 0]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: gzip.compress(text.encode()),
        lambda text: ("\n" + text.replace("\n", "\n\n")).encode(),
        lambda text: text.replace(",", " , ").encode(),
        lambda text: text.replace("p0", '"p0"').encode(),
        lambda text: text.rstrip("\n").encode(),
    ],
    ids=["CRLF", "BOM", "gzip", "blank lines", "blanks", "quotes", "no last newline"],
)
def test_forms_of_the_file(
    write: Callable[[str | bytes], Path], change: Callable[[str], bytes]
) -> None:
    pods = read_openb_pods(write(change(SHORT)))
    assert pods.names.tolist() == ["p0", "p1"]
    assert pods.cpu_milli.tolist() == [12_000, 6_000]


def test_names_in_any_script(write: Callable[[str | bytes], Path]) -> None:
    text = NODES.replace("n0", "노드-0").replace("P100", "국산")
    assert read_openb_nodes(write(text)).models == ("", "A", "국산")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("n1,32000", "n1,-1", "line 3: cpu_milli: found -1; expected a whole number from 0"),
        ("n1,32000", "n1,NaN", "line 3: cpu_milli: found NaN"),
        ("n1,32000", "n1,1e9", "line 3: cpu_milli: found 1e9"),
        ("n1,32000", "n1,", "line 3: cpu_milli: found nothing"),
        ("n1,32000", "n1,99999999999", "line 3: cpu_milli: found 99999999999"),
        ("n1,32000", "n1,٣", "line 3: cpu_milli: found ٣"),
        ("8,8,A", "8,63,A", "line 4: gpu: found 63; expected a whole number from 0 to 62"),
        ("0,\n", "0,P100\n", "line 3: gpu: found 0 with the model P100"),
        ("P100", "P100|T4", "line 2: model: found P100|T4; expected one model"),
        ("n1,", "n0,", "line 3: sn: found n0 again (first in line 2)"),
        ("n1,", ",", "line 3: sn: found nothing; expected a name"),
        ("n1,32000", "n1", "line 3: found 4 fields; expected 5, as in the header"),
        ("n1,", "n1,,", "line 3: found 6 fields"),
        ("memory_mib", "memory", "line 1: found a header without memory_mib"),
        ("model", "gpu", "line 1: found a header without model"),
        ("n1", '"n1', "line 3: found unexpected end of data; expected comma-separated values"),
    ],
)
def test_bad_nodes(write: Callable[[str | bytes], Path], old: str, new: str, expected: str) -> None:
    path = write(NODES.replace(old, new, 1))
    with pytest.raises(ManifestError) as caught:
        read_openb_nodes(path)
    assert f"{path}, {expected}" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "1,460",
            "1,1001",
            "line 3: gpu_milli: found 1001; expected a whole number from 1 to 1,000",
        ),
        ("1,460", "1,0", "line 3: gpu_milli: found 0; expected a whole number from 1"),
        ("1,460", "2,460", "line 3: gpu_milli: found 460 of each of 2 GPUs; expected 1000"),
        (
            "0,0,,BE",
            "0,500,,BE",
            "line 4: gpu_milli: found 500; expected a whole number from 0 to 0",
        ),
        ("427061", "-5", "line 3: creation_time: found -5"),
        ("p1,", "p0,", "line 3: name: found p0 again (first in line 2)"),
    ],
)
def test_bad_pods(write: Callable[[str | bytes], Path], old: str, new: str, expected: str) -> None:
    path = write(LONG.replace(old, new, 1))
    with pytest.raises(ManifestError) as caught:
        read_openb_pods(path)
    assert f"{path}, {expected}" in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_file(write: Callable[[str | bytes], Path], text: str) -> None:
    with pytest.raises(ManifestError, match="found an empty file; expected a header with name"):
        read_openb_pods(write(text))


def test_a_header_alone(write: Callable[[str | bytes], Path]) -> None:
    with pytest.raises(ManifestError, match="found a header and no pods"):
        read_openb_pods(write(SHORT.splitlines()[0]))


def test_a_gzip_file_that_ends_too_early(write: Callable[[str | bytes], Path]) -> None:
    rows = "".join(f"p{row},{row * 37 % 9999},1,1,1000\n" for row in range(9_000))
    packed = gzip.compress((SHORT.splitlines()[0] + "\n" + rows).encode())
    with pytest.raises(ManifestError, match=r"line \d+: found a damaged gzip file"):
        read_openb_pods(write(packed[: len(packed) // 2]))
    broken = packed[:400] + b"\0" * 400 + packed[800:]
    with pytest.raises(ManifestError, match="found a damaged gzip file"):
        read_openb_pods(write(broken))


def test_bytes_that_are_no_text(write: Callable[[str | bytes], Path]) -> None:
    with pytest.raises(ManifestError, match="line 2: found bytes that are no UTF-8"):
        read_openb_pods(write(SHORT.encode().replace(b"p0", b"\xff\xfe")))


def test_a_line_without_end(write: Callable[[str | bytes], Path]) -> None:
    with pytest.raises(ManifestError, match="line 2: found a very long line"):
        read_openb_pods(write(SHORT.splitlines()[0] + "\n" + "x" * 70_000))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.csv: found no such file or directory"):
        read_openb_pods(tmp_path / "none.csv")
    with pytest.raises(ManifestError, match="found is a directory"):
        read_openb_nodes(tmp_path)


def test_many_problems_end_the_reading(write: Callable[[str | bytes], Path]) -> None:
    rows = "".join(f"p{row},x,1,1,1000\n" for row in range(500))
    with pytest.raises(ManifestError) as caught:
        read_openb_pods(write(SHORT.splitlines()[0] + "\n" + rows))
    assert len(caught.value.problems) == 21
    assert "the rest is unread" in str(caught.value.problems[-1])
