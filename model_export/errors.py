"""The errors of this package.

ExportError
├── DataError         images or labels that cannot be used
├── CheckpointError   a training run that cannot be resumed
├── GalleryError      reference images that are missing or broken
├── OutputError       a place that cannot be written to
└── VerificationError an ONNX export that differs from its model
"""


class ExportError(Exception):
    """A model cannot be made from this."""


class DataError(ExportError):
    """These images or labels cannot be used."""


class CheckpointError(ExportError):
    """This training run cannot be resumed."""


class GalleryError(ExportError):
    """The reference images are missing or broken."""


class OutputError(ExportError):
    """This place cannot be written to."""


class VerificationError(ExportError):
    """The ONNX export differs from torch by more than it may."""
