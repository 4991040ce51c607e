"""Files of monitoring tools are read by the names of their columns; what is wrong has a line."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from kfarm_twin.cli_thermal import asked_columns
from kfarm_twin.fit.thermal_columns import Role, split_labels
from kfarm_twin.fit.thermal_read import read_runs
from kfarm_twin.load import ManifestError

TIMES = range(0, 100, 5)


def write(folder: Path, text: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def gpuburn(end: str = "\n", devices: int = 2) -> str:
    rows = [
        "elapsed_seconds,gpu_id,gpu_temp_c,gpu_power_w,inlet_temp_c,fan_sys_avg_rpm,dcmi_power_w"
    ]
    rows += [
        f"{t},{d},{30 + t / 10},{100 + t + d},23.0,5000.0,2000.0"
        for t in TIMES
        for d in range(devices)
    ]
    return end.join(rows) + end


def test_gpuburntool_has_node_inlet_and_fans(tmp_path: Path) -> None:
    (run,) = read_runs(write(tmp_path, gpuburn()))
    assert run.devices == ("0", "1")
    assert run.power_w.shape == (2, len(TIMES))
    assert run.power_w[1, 3] == 116.0
    assert run.inlet_c is not None
    assert run.fan is not None
    assert run.node_power_w is not None
    assert not run.fan_percent


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_ends_of_lines_marks_and_gzip_do_not_matter(end: str, tmp_path: Path) -> None:
    plain = read_runs(write(tmp_path, gpuburn()))[0]
    packed = tmp_path / "b.csv.gz"
    packed.write_bytes(gzip.compress(("\ufeff" + gpuburn(end)).encode()))
    assert np.array_equal(read_runs(packed)[0].power_w, plain.power_w)


def test_zero_columns_were_not_measured(tmp_path: Path) -> None:
    text = gpuburn().replace(",23.0,5000.0,2000.0", ",0.0,0.0,0.0")
    (run,) = read_runs(write(tmp_path, text))
    assert run.inlet_c is None
    assert run.fan is None
    assert run.node_power_w is None


def test_dcgm_exporter_wide_with_hosts(tmp_path: Path) -> None:
    rows = ["timestamp,Hostname,gpu,modelName,DCGM_FI_DEV_GPU_TEMP,DCGM_FI_DEV_POWER_USAGE,"
            "DCGM_FI_DEV_MEMORY_TEMP"]  # fmt: skip
    rows += [
        f"2026-01-31T08:00:{t % 60:02d}Z,node-{h},{g},NVIDIA H100 80GB HBM3,{40 + g},{300 + t},50"
        for t in range(0, 60, 3) for h in "ab" for g in (10, 2)
    ]  # fmt: skip
    runs = read_runs(write(tmp_path, "\n".join(rows)))
    assert [run.node for run in runs] == ["node-a", "node-b"]
    assert runs[0].devices == ("2", "10")
    assert runs[0].device_name == "NVIDIA H100 80GB HBM3"
    assert runs[0].time_s[1] == 3.0


@pytest.mark.parametrize(
    ("temperature", "power"),
    [
        ("DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_POWER_USAGE"),
        ("rbln_npu_temperature", "rbln_npu_power"),
        ("furiosa_npu_hw_temperature", "furiosa_npu_hw_power"),
    ],
)
def test_long_forms_of_all_exporters(temperature: str, power: str, tmp_path: Path) -> None:
    rows = ["time,metric,gpu,value"]
    for t in TIMES:
        for device in "01":
            rows += [f"{t},{temperature},{device},{40 + t}", f"{t},{power},{device},{60 + t}"]
        rows.append(f"{t},something_else,0,7")
    (run,) = read_runs(write(tmp_path, "\n".join(rows)))
    assert run.devices == ("0", "1")
    assert run.temperature_c[0, 2] == 50.0


def test_labels_stand_in_the_metric_or_in_the_header(tmp_path: Path) -> None:
    long = ["time,metric,value"]
    wide = [
        'time,"furiosa_npu_hw_temperature{device=""npu0""}","furiosa_npu_hw_power{device=""npu0""}"'
    ]
    for t in TIMES:
        for label, more in (("peak", 0), ("ambient", -20)):
            long.append(
                f'{t},"furiosa_npu_hw_temperature{{device=""npu0"",label=""{label}""}}",'
                f"{40 + t + more}"
            )
        long.append(f'{t},"furiosa_npu_hw_power{{device=""npu0"",label=""rms""}}",{60 + t}')
        wide.append(f"{t},{40 + t},{60 + t}")
    first = read_runs(write(tmp_path, "\n".join(long)))[0]
    second = read_runs(write(tmp_path, "\n".join(wide), "w.csv"))[0]
    assert first.devices == second.devices == ("npu0",)
    assert np.array_equal(first.temperature_c, second.temperature_c)
    assert split_labels('m{a="1", b="x"}') == ("m", {"a": "1", "b": "x"})


def test_other_names_are_given(tmp_path: Path) -> None:
    text = gpuburn().replace("gpu_temp_c", "온도").replace("gpu_power_w", "draw")
    path = write(tmp_path, text)
    with pytest.raises(ManifestError, match="no column temperature, power"):
        read_runs(path)
    (run,) = read_runs(path, asked_columns(["temperature=온도", "power=draw"]))
    assert run.power_w[0, 0] == 100.0
    with pytest.raises(ManifestError, match="no column 'gone'"):
        read_runs(path, {Role.POWER: "gone"})


@pytest.mark.parametrize("text", ["power", "power=", "heat=x", "=x"])
def test_what_is_no_role_is_refused(text: str) -> None:
    with pytest.raises(ManifestError, match="each role once"):
        asked_columns([text])


BAD = {
    "nan": (lambda t: t.replace("30.5,105.0", "nan,105.0"), "line 4.*temperature from -50"),
    "negative power": (lambda t: t.replace(",105,", ",-5,"), "line 4.*power from 0"),
    "too hot": (lambda t: t.replace(",30.5,105,", ",3000,105,"), "line 4.*temperature from -50"),
    "text": (lambda t: t.replace(",105,", ",뜨거움,"), "line 4.*'뜨거움'"),
    "cells": (lambda t: t.replace(",105,", ",105,1,1,"), "line 4.*9 cells"),
    "twice": (lambda t: t.replace("\n5,1,", "\n5,0,"), "line 5.*a second temperature"),
    "time": (lambda t: t.replace("\n5,1,", "\nsoon,1,"), "line 5.*all times as numbers"),
    "infinite": (lambda t: t.replace("\n5,1,", "\ninf,1,"), "line 5.*finite time"),
    "column twice": (lambda t: t.replace("inlet_temp_c", "gpu_temp_c"), "line 1.*twice"),
    "no time": (lambda t: t.replace("elapsed_seconds", "x"), "line 1.*no column time"),
    "header only": (lambda t: t.splitlines()[0] + "\n", "a header and no values"),
    "blank": (lambda _: "\n\n", "blank lines only"),
    "empty": (lambda _: "", "empty"),
    "few": (lambda t: "\n".join(t.splitlines()[:6]) + "\n", "no device with enough samples"),
    "cut": (lambda t: t[:-30], "ends too early|cells"),
    "quotes": (lambda t: t.replace(",105,", ',"105,'), "closed quotes|cells|line"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_with_its_line(case: str, tmp_path: Path) -> None:
    change, expected = BAD[case]
    path = write(tmp_path, change(gpuburn().replace("30.5,105,", "30.5,105,", 1)))
    if case == "nan":
        path.write_text(gpuburn().replace("30.5,105,", "nan,105,", 1))
    with pytest.raises(ManifestError) as error:
        read_runs(path)
    assert re.search(expected, str(error.value)), str(error.value)


def test_a_cut_archive_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(gpuburn().encode())[:-20])
    with pytest.raises(ManifestError, match=r"a\.csv\.gz"):
        read_runs(path)


def test_gaps_are_gaps(tmp_path: Path) -> None:
    """A temperature that is not there is left out; a power that is not there held."""
    text = gpuburn().replace("5,0,30.5,105,", "5,0,,,", 1)
    (run,) = read_runs(write(tmp_path, text))
    assert np.isnan(run.temperature_c[0, 1])
    assert run.power_w[0, 1] == 100.0
