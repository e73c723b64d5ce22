"""A model's noise schedule from diffusers' ``scheduler_config.json``, whatever its process."""

from collections.abc import Mapping
from typing import Any

from diffusion.schedules.edm import EDMSchedule
from diffusion.schedules.flow import FlowSchedule
from diffusion.schedules.flow_own import Ends
from diffusion.schedules.keys import EDM_SCHEDULERS, FLOW_SCHEDULERS
from diffusion.schedules.schedule import NoiseSchedule
from diffusion.schedules.vp import VPSchedule


def read_schedule(config: Mapping[str, Any], *, ends: Ends = "twice_shifted") -> NoiseSchedule:
    """Return the noise schedule of a configuration.

    A scheduler whose steps none of our samplers takes is no error: jobs take ours.

    Args:
        config: the file's content.
        ends: where a flow's levels end, which its pipeline decides: see
            :meth:`FlowSchedule.from_config`.

    Raises:
        ScheduleError: the process is not served, or a key that would change the images.
    """
    if config.get("_class_name") in FLOW_SCHEDULERS or config.get("use_flow_sigmas") is True:
        return FlowSchedule.from_config(config, ends=ends)
    if config.get("_class_name") in EDM_SCHEDULERS:
        return EDMSchedule.from_config(config)
    if _is_continuous(config):
        return EDMSchedule.from_continuous(config)
    return VPSchedule.from_config(config)


def _is_continuous(config: Mapping[str, Any]) -> bool:
    """Return whether the timesteps are ¼·ln σ; with another prediction, diffusers keeps its own."""
    return (
        config.get("_class_name") == "EulerDiscreteScheduler"
        and config.get("timestep_type") == "continuous"
        and config.get("prediction_type") == "v_prediction"
    )
