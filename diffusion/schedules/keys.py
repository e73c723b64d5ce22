"""Every key of a ``scheduler_config.json``, by the process of its scheduler."""

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers

from diffusion.config import FLAG, HARMLESS, WORD, Table, each, number, only, whole

OFF = only(False, None)
NONE = only(None)
SPREAD_FLAGS = ("use_beta_sigmas", "use_exponential_sigmas", "use_karras_sigmas")

VP_SCHEDULERS = (
    "DDIMParallelScheduler", "DDIMScheduler", "DDPMParallelScheduler", "DDPMScheduler",
    "DEISMultistepScheduler", "DPMSolverMultistepScheduler", "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler", "EulerAncestralDiscreteScheduler", "EulerDiscreteScheduler",
    "HeunDiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler",
    "LCMScheduler", "LMSDiscreteScheduler", "PNDMScheduler", "SASolverScheduler", "TCDScheduler",
    "UniPCMultistepScheduler",
)  # fmt: skip
"""diffusers' schedulers of the process x_t = sqrt(ᾱ_t)·x_0 + sqrt(1 − ᾱ_t)·ε."""
FLOW_SCHEDULERS = (
    "FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler",
)  # fmt: skip
"""Those of x_t = (1 − t)·x_0 + t·ε; some of the others are, too, with ``use_flow_sigmas``."""
EDM_SCHEDULERS = ("EDMDPMSolverMultistepScheduler", "EDMEulerScheduler")
"""Those of x = x_0 + σ·ε with the preconditioning of Karras et al. 2022."""
SCHEDULERS = frozenset((*VP_SCHEDULERS, *FLOW_SCHEDULERS, *EDM_SCHEDULERS))
"""All that are read."""

# Of the model's own steps, which diffusion/schedules/own.py follows or declines by name.
_STEPS: Table = {
    **dict.fromkeys(("algorithm_type", "final_sigmas_type", "solver_type"), WORD),
    **dict.fromkeys(("euler_at_final", "lower_order_final", "predict_x0"), FLAG),
    "solver_order": whole(1, 3),
    "corrector_order": HARMLESS,  # of a scheduler that we do not follow
    "predictor_order": HARMLESS,
    "disable_corrector": HARMLESS,
    "solver_p": HARMLESS,
    "tau_func": HARMLESS,
    "noise_sampler_seed": HARMLESS,  # of the noise, which is a job's own
    "eta": HARMLESS,
}
# Of what is off.
_CLIPPING: Table = {
    "clip_sample": OFF,
    "thresholding": OFF,
    **dict.fromkeys(
        ("clip_sample_range", "dynamic_thresholding_ratio", "sample_max_value"), HARMLESS
    ),
}
_SHIFTS: Table = {
    "base_shift": number(-20, 20).nullable,
    "max_shift": number(-20, 20).nullable,
    "base_image_seq_len": whole(1, 2**24),
    "max_image_seq_len": whole(1, 2**24),
}

VP: Table = {
    "_class_name": only(*VP_SCHEDULERS),
    "num_train_timesteps": whole(2, 100_000),
    "beta_schedule": WORD,
    "beta_start": number(-1, 1),
    "beta_end": number(-1, 1),
    "trained_betas": each(number(-10, 10), 100_000).nullable,
    "prediction_type": WORD,
    "steps_offset": whole(0, 1000),
    "interpolation_type": WORD,
    "timestep_spacing": WORD,
    "timestep_type": only("continuous", "discrete"),
    **dict.fromkeys(("set_alpha_to_one", "skip_prk_steps", *SPREAD_FLAGS), FLAG.nullable),
    **_STEPS,
    **_CLIPPING,
    "clip_sample": FLAG.nullable,  # diffusion/schedules/clip.py
    "clip_sample_range": number(1e-6, 1e6),
    "lambda_min_clipped": number(float("-inf"), float("inf")),
    "original_inference_steps": whole(1, 1000),
    "rescale_betas_zero_snr": FLAG,
    "sigma_min": number(1e-6, 1e6).nullable,
    "sigma_max": number(1e-6, 1e6).nullable,
    "timestep_scaling": only(10, 10.0),
    "variance_type": only("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", None),
    # Another process than the one above, or levels that we do not model.
    "use_flow_sigmas": OFF,
    "use_dynamic_shifting": OFF,
    "use_lu_lambdas": OFF,
    "invert_sigmas": OFF,
    "stochastic_sampling": OFF,
    "sigma_data": NONE,
    "shift": only(1, 1.0, None),
    "shift_terminal": NONE,
    "snr_shift_scale": only(1, 1.0, None),
    # Of a flow's levels, which are off.
    **dict.fromkeys(("flow_shift", "rho", "sigma_schedule", "time_shift_type", *_SHIFTS), HARMLESS),
}
_OF_OTHERS: Table = dict.fromkeys(VP, HARMLESS)
"""A scheduler passes over the keys of others, which it keeps when it was made from them."""

FLOW: Table = {
    **_OF_OTHERS,
    "_class_name": only(*FLOW_SCHEDULERS),
    "num_train_timesteps": whole(2, 100_000),
    "shift": number(1e-3, 1e3),
    "shift_terminal": number(0, 0.999).nullable,
    "use_dynamic_shifting": FLAG,
    "time_shift_type": only("exponential", "linear"),
    **_SHIFTS,
    **dict.fromkeys(SPREAD_FLAGS, FLAG.nullable),
    "stochastic_sampling": FLAG,
    "invert_sigmas": OFF,
    "scale_factors": only(None, []),
    "upscale_mode": HARMLESS,  # of the scales above
}
FLOW_SOLVER: Table = {
    **VP,
    "use_flow_sigmas": only(True),
    "flow_shift": number(1e-3, 1e3),
    "shift_terminal": number(0, 0.999).nullable,
    "use_dynamic_shifting": FLAG,
    "time_shift_type": only("exponential"),
    **_SHIFTS,
    "rescale_betas_zero_snr": HARMLESS,  # betas of a process that it is not
}
EDM: Table = {
    **_OF_OTHERS,
    **_STEPS,
    **_CLIPPING,
    "_class_name": only(*EDM_SCHEDULERS),
    "num_train_timesteps": whole(2, 100_000),
    "prediction_type": only("epsilon", "v_prediction"),
    "sigma_min": number(1e-6, 1e6),
    "sigma_max": number(1e-6, 1e6),
    "sigma_data": number(1e-6, 1e6),
    "sigma_schedule": only("exponential", "karras"),
    "rho": number(1, 100),
}


def completed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that the configuration's scheduler has, those left out at its defaults."""
    kind = getattr(diffusers, str(config.get("_class_name")), None)
    known = {} if kind is None else dict(inspect.signature(kind.__init__).parameters)
    defaults = {
        name: known[name].default
        for name in known
        if known[name].default is not inspect.Parameter.empty
    }
    if not defaults:  # no such scheduler here, as LMS without scipy
        return dict(config)
    return defaults | {k: v for k, v in config.items() if k in defaults or k.startswith("_")}
