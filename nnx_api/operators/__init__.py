"""Operators: what they do to one record, each with its learnable strengths as Variables.

Those that draw have `deterministic`, so that `pipeline.eval()` turns them off and `train()` on.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

# isort: off
from dagrax.pure._late import late as _late
from ._additive import BrightnessOperator as BrightnessOperator
from ._additive import NoiseOperator as NoiseOperator
from ._affine import RandomAffine as RandomAffine
from ._affine import RandomPerspective as RandomPerspective
from ._affine import RandomRotation as RandomRotation
from ._affine import RandomTranslation as RandomTranslation
from ._choice import Apply as Apply
from ._choice import OneOf as OneOf
from ._choice import PerBatch as PerBatch
from ._choice import RandomApply as RandomApply
from ._choice import Sequence as Sequence
from ._elastic import RandomElastic as RandomElastic
from ._flips import RandomFlip as RandomFlip
from ._flips import RandomRot90 as RandomRot90
from ._mixing import CutMix as CutMix
from ._mixing import MixUp as MixUp
from ._resizing import RandomResizedCrop as RandomResizedCrop
from ._resizing import Resize as Resize
from ._policies import AugMix as AugMix
from ._policies import RandAugment as RandAugment
from ._policies import TrivialAugment as TrivialAugment
from ._running import RunningNormalize as RunningNormalize
from ._soft import SoftChoice as SoftChoice
from ._standardize import Standardize as Standardize
from ._structure import Cast as Cast
from ._structure import Drop as Drop
from ._structure import OneHot as OneHot
from ._structure import Rename as Rename
from ._structure import Select as Select
from ._warp import Warp as Warp
from ._windows import CenterCrop as CenterCrop
from ._windows import Pad as Pad
from ._windows import RandomCrop as RandomCrop
from ._tones import Brightness as Brightness
from ._tones import Contrast as Contrast
from ._tones import Saturation as Saturation
from ._tones import Hue as Hue
from ._tones import Gamma as Gamma
from ._tones import Sharpness as Sharpness
from ._random_tones import RandomBrightness as RandomBrightness
from ._random_tones import RandomContrast as RandomContrast
from ._random_tones import RandomSaturation as RandomSaturation
from ._random_tones import RandomHue as RandomHue
from ._random_tones import RandomGamma as RandomGamma
from ._random_tones import RandomSharpness as RandomSharpness
from ._jitter import ColorJitter as ColorJitter
from ._levels import Grayscale as Grayscale
from ._levels import RandomGrayscale as RandomGrayscale
from ._levels import Invert as Invert
from ._levels import Solarize as Solarize
from ._levels import Posterize as Posterize
from ._levels import Equalize as Equalize
from ._levels import AutoContrast as AutoContrast
from ._levels import Normalize as Normalize
from ._levels import ToFloat as ToFloat
from ._levels import ToUint8 as ToUint8
from ._blurs import GaussianBlur as GaussianBlur
from ._blurs import RandomGaussianBlur as RandomGaussianBlur
from ._noises import GaussianNoise as GaussianNoise
from ._noises import SaltAndPepper as SaltAndPepper
from ._noises import PoissonNoise as PoissonNoise
from ._erasing import CoarseDropout as CoarseDropout
from ._erasing import RandomErasing as RandomErasing

if not _TYPE_CHECKING:  # or a type checker would take any name
    __getattr__, __dir__, __all__ = _late(__name__)
