"""The errors of this package.

DiffusionError
├── ScheduleError     noise levels that cannot be computed
├── SamplerError      a sampler that does not exist or cannot take these steps
├── NoiseError        a noise key out of range
├── DenoiseError      a batch that does not fit the denoiser
├── PromptError       a prompt that is not what the model takes
├── NonFiniteError    a network returned NaN or infinity
└── BundleError       a model directory that cannot be loaded
"""


class DiffusionError(Exception):
    """A diffusion computation is impossible."""


class ScheduleError(DiffusionError):
    """These noise levels cannot be computed."""


class SamplerError(DiffusionError):
    """This sampler does not exist or cannot take these steps."""


class NoiseError(DiffusionError):
    """A noise key is out of range."""


class DenoiseError(DiffusionError):
    """A batch does not fit the denoiser."""


class PromptError(DiffusionError):
    """A prompt is not what the model takes."""


class NonFiniteError(DiffusionError):
    """A network returned NaN or infinity."""


class BundleError(DiffusionError):
    """A model directory cannot be loaded; the message is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
