"""A fitted law and predictions as data with stable keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kfarm_twin.arrays import Floats
from kfarm_twin.fit.thermal_fit import (
    ASSUMED_INLET,
    DESIGN_RISE_K,
    EXPONENT,
    SHARE,
    ThermalFit,
    law_of,
)
from kfarm_twin.fit.thermal_judge import DeviceErrors
from kfarm_twin.fit.thermal_overhead import FAN_EXPONENT, FAN_SHARE, IDLE_SHARE, SLOPE
from kfarm_twin.fit.thermal_predict import Prediction
from kfarm_twin.fit.thermal_profile import FanLaw

FIT_SCHEMA = "kfarm.dev/fit-thermal/v1"
PREDICT_SCHEMA = "kfarm.dev/predict-thermal/v1"
Z95 = 1.959964
METHOD = (
    "Gauss-Newton: curvature of the posterior at its maximum, priors included; samples closer than"
    " 100 s count as one"
)


def fit_data(
    fit: ThermalFit, fans: FanLaw | None, predictions: Sequence[Prediction]
) -> dict[str, Any]:
    """Parameters with intervals, goodness, priors."""
    return {
        "runs": [_run_data(one) for one in predictions],
        "devices": len(fit.runs[0].devices),
        "regime": _regime(fit),
        "parameters": _parameters(fit),
        "positions": _positions(fit),
        "nodeOverhead": _overhead(fit),
        "fans": _fans(fit, fans),
        "inlet": {"celsius": _round(fit.inlet_c), "measured": fit.inlet_measured},
        "goodness": {
            "rmseKelvin": _round(fit.rmse_k),
            "nodePowerRmseWatts": _round(fit.overhead.rmse_w),
            "samples": int(sum(np.isfinite(run.temperature_c).sum() for run in fit.runs)),
        },
        "intervals": {"level": 0.95, "method": METHOD},
        "priors": _priors(fit),
        "notes": list(fit.notes),
    }  # fmt: skip


def _regime(fit: ThermalFit) -> str:
    if fit.full_speed is None:
        return "Unknown"
    return "Fixed" if fit.is_fixed else "Automatic"


def _round(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(f"{value:.6g}")


def figure(value: float, spread: float, unit: str, *, log: bool = False) -> dict[str, Any]:
    """A value with its 95 % interval; `spread` is that of the logarithm where `log`."""
    if log:
        low, high = value * np.exp(-Z95 * spread), value * np.exp(Z95 * spread)
    else:
        low, high = value - Z95 * spread, value + Z95 * spread
    return {
        "value": _round(value),
        "low": _round(float(low)),
        "high": _round(float(high)),
        "unit": unit,
    }


def _parameters(fit: ThermalFit) -> dict[str, Any]:
    devices = len(fit.runs[0].devices)
    law = fit.law

    def logs(pick: Callable[[Floats], Floats]) -> float:
        return float(fit.spread(lambda x: np.atleast_1d(np.log(pick(x))))[0])

    def middle(values: Floats) -> Floats:
        return np.asarray(np.exp(np.mean(np.log(values), axis=-1)))

    die, sink = float(middle(law.die)), float(middle(law.sink))
    return {
        "die": figure(die, logs(lambda x: middle(law_of(x, devices).die)), "K/W", log=True),
        "sink": figure(sink, logs(lambda x: middle(law_of(x, devices).sink)), "K/W", log=True),
        "flowExponent": figure(float(law.exponent), float(np.sqrt(fit.covariance[2, 2])), ""),
        "dieTime": figure(float(law.die_time), float(np.sqrt(fit.covariance[3, 3])), "s", log=True),
        "sinkTime": figure(
            float(middle(law.sink_time)), logs(lambda x: middle(law_of(x, devices).sink_time)), "s",
            log=True,
        ),
        "inletRise": figure(float(law.rise), float(np.sqrt(fit.covariance[5, 5])), "K/W", log=True),
    }  # fmt: skip


def _positions(fit: ThermalFit) -> list[dict[str, Any]]:
    devices = len(fit.runs[0].devices)
    die = fit.spread(lambda x: np.log(law_of(x, devices).die))
    sink = fit.spread(lambda x: np.log(law_of(x, devices).sink))
    share = fit.spread(lambda x: law_of(x, devices).share)
    offset = fit.spread(lambda x: law_of(x, devices).offset)
    time = fit.spread(lambda x: np.log(law_of(x, devices).sink_time))
    return [
        {
            "device": name,
            "die": figure(float(fit.law.die[i]), float(die[i]), "K/W", log=True),
            "sink": figure(float(fit.law.sink[i]), float(sink[i]), "K/W", log=True),
            "inletShare": figure(float(fit.law.share[i]), float(share[i]), ""),
            "sinkTime": figure(float(fit.law.sink_time[i]), float(time[i]), "s", log=True),
            "offset": figure(float(fit.law.offset[i]), float(offset[i]), "K"),
        }
        for i, name in enumerate(fit.runs[0].devices)
    ]


def _overhead(fit: ThermalFit) -> dict[str, Any]:
    law, spread = fit.overhead.law, np.sqrt(np.diag(fit.overhead.covariance))
    return {
        "idle": figure(law.idle_w, float(spread[0]), "W"),
        "perDeviceWatt": figure(law.slope, float(spread[1]), "W/W"),
        "devicesIdle": _round(law.devices_idle_w),
        "measured": fit.overhead.samples > 0,
    }


def _fans(fit: ThermalFit, fans: FanLaw | None) -> dict[str, Any] | None:
    if fans is None:
        return None
    law, spread = fit.overhead.law, np.sqrt(np.diag(fit.overhead.covariance))
    out: dict[str, Any] = {
        "regime": "Fixed" if fans.is_fixed else "Automatic",
        "power": figure(law.fan_w, float(spread[2]), "W", log=True),
        "exponent": figure(law.exponent, float(spread[3]), ""),
        "fullSpeed": _round(fans.full_speed),
    }
    if fans.is_fixed:
        return out | {"speedPercent": _round(100 * fans.speed)}
    return out | {"leastPercent": _round(100 * fans.least), "targetCelsius": fans.target_c,
                  "dwellSeconds": _round(fans.dwell_s)}  # fmt: skip


def _priors(fit: ThermalFit) -> list[dict[str, Any]]:
    rows = [
        ("flowExponent", EXPONENT), ("inletRise as rise at greatest power [K], log", DESIGN_RISE_K),
        ("inletShare", SHARE), ("idle overhead as share of loaded", IDLE_SHARE),
        ("fan power as share of greatest node power", FAN_SHARE),
        ("fan exponent", FAN_EXPONENT), ("overhead per watt of devices", SLOPE),
    ]  # fmt: skip
    if not fit.inlet_measured:
        rows.append(("inlet [degC]", ASSUMED_INLET))
    said = [
        {"name": name, "value": p.value, "spread": p.spread, "source": p.source} for name, p in rows
    ]
    node = {"name": "node", "devices": fit.node.devices, "deviceTdpWatts": fit.node.tdp_w,
            "deviceIdleWatts": fit.node.idle_w, "loadedOverheadWatts": fit.node.loaded_w,
            "source": fit.node.source}  # fmt: skip
    return [*said, node]


def predict_data(predictions: Sequence[Prediction], *, series: bool) -> dict[str, Any]:
    """Errors of each run and device, and over all."""
    rows = [_run_data(one, series=series) for one in predictions]
    return {"runs": rows, "summary": _summary(predictions)}


def _run_data(one: Prediction, *, series: bool = False) -> dict[str, Any]:
    run, node = one.run, one.node
    out: dict[str, Any] = {
        "file": run.file,
        "node": run.node or None,
        "samples": run.samples,
        "inlet": {"meanCelsius": _round(float(one.inlet_c.mean())), "from": one.inlet_from},
        "fans": {"meanPercent": _round(100 * float(one.flow.mean())), "from": one.fan_from},
        "devices": [device_data(d) for d in one.devices],
        "meanOfDevices": device_data(one.together),
        "nodePower": {
            "measuredWatts": _round(node.measured_w),
            "predictedWatts": _round(node.predicted_w),
            "errorPercent": _percent(node.error),
            "rmseWatts": _round(node.rmse_w),
        },
    }
    if series:
        out["series"] = {
            "timeSeconds": _list(run.time_s),
            "temperatureCelsius": {
                name: _list(row) for name, row in zip(run.devices, one.temperature_c, strict=True)
            },
            "nodePowerWatts": _list(one.node_power_w),
            "fanPercent": _list(100 * one.flow),
        }
    return out


def device_data(one: DeviceErrors) -> dict[str, Any]:
    """Errors of one device."""
    return {
        "device": one.device,
        "steadyPowerWatts": _round(one.power_w),
        "steadyMeasuredCelsius": _round(one.steady_measured_c),
        "steadyPredictedCelsius": _round(one.steady_predicted_c),
        "steadyErrorKelvin": _round(one.steady_error_k),
        "riseTimeMeasuredSeconds": _round(one.rise_measured_s),
        "riseTimePredictedSeconds": _round(one.rise_predicted_s),
        "riseTimeErrorPercent": _percent(one.rise_error),
        "rmseKelvin": _round(one.rmse_k),
    }


def _percent(value: float | None) -> float | None:
    return None if value is None else _round(100 * value)


def _list(values: Floats) -> list[float]:
    return [float(f"{value:.6g}") for value in values.tolist()]


def _summary(predictions: Sequence[Prediction]) -> dict[str, Any]:
    devices = [d for one in predictions for d in one.devices]
    steady = [abs(d.steady_error_k) for d in devices if d.steady_error_k is not None]
    rise = [abs(d.rise_error) for d in devices if d.rise_error is not None]
    pooled = [abs(one.together.rise_error) for one in predictions
              if one.together.rise_error is not None]  # fmt: skip
    rmse = [d.rmse_k for d in devices if d.rmse_k is not None]
    power = [abs(one.node.error) for one in predictions if one.node.error is not None]
    return {
        "steadyErrorKelvin": _spread(steady),
        "riseTimeErrorPercent": _spread([100 * value for value in rise]),
        "riseTimeErrorPercentOfMean": _spread([100 * value for value in pooled]),
        "rmseKelvin": _spread(rmse),
        "nodePowerErrorPercent": _spread([100 * value for value in power]),
    }


def _spread(values: Sequence[float]) -> dict[str, float | None] | None:
    if not values:
        return None
    return {
        "mean": _round(float(np.mean(values))), "median": _round(float(np.median(values))),
        "max": _round(float(np.max(values))),
    }  # fmt: skip
