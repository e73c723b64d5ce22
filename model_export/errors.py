"""Everything that can go wrong on the way from data to a bundle.

ExportError
├── DataError         pictures or labels that cannot be used
├── CheckpointError   a training run that cannot be taken up
├── GalleryError      reference pictures that are missing or broken
├── OutputError       a place that what is made cannot take
└── VerificationError an ONNX export that is not the model it came from
"""


class ExportError(Exception):
    """A model cannot be made from this."""


class DataError(ExportError):
    """These pictures or labels cannot be used."""


class CheckpointError(ExportError):
    """This training run cannot be taken up."""


class GalleryError(ExportError):
    """The reference pictures are missing or broken."""


class OutputError(ExportError):
    """What is made cannot take this place."""


class VerificationError(ExportError):
    """The ONNX export differs from torch by more than it may."""
