"""WHAT A STAGE DOES to one record: functions of its arrays, without a batch axis, state or flax.

An image is `h w c` in [0, 1]; a random function takes `key`, and draws from nothing else. Modules
around them stand in `dagrax.nnx_api.operators`; mapped over a batch, they are stages of the core:
`dp.per_record(lambda record: {**record, "image": ops.invert(record["image"])})`.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING

# isort: off
from .._late import late as _late
from ._tone import adjust_brightness as adjust_brightness
from ._tone import adjust_contrast as adjust_contrast
from ._colour import adjust_saturation as adjust_saturation
from ._colour import adjust_hue as adjust_hue
from ._tone import adjust_gamma as adjust_gamma
from ._tone import adjust_sharpness as adjust_sharpness
from ._spaces import rgb_to_hsv as rgb_to_hsv
from ._spaces import hsv_to_rgb as hsv_to_rgb
from ._spaces import rgb_to_grayscale as rgb_to_grayscale
from ._spaces import random_grayscale as random_grayscale
from ._spaces import rgb_to_yuv as rgb_to_yuv
from ._spaces import yuv_to_rgb as yuv_to_rgb
from ._tone import invert as invert
from ._tone import solarize as solarize
from ._tone import posterize as posterize
from ._histogram import equalize as equalize
from ._histogram import autocontrast as autocontrast
from ._normal import normalize as normalize
from ._normal import denormalize as denormalize
from ._jitter import color_jitter as color_jitter
from ._tone import to_float as to_float
from ._tone import to_uint8 as to_uint8
from ._blur import gaussian_blur as gaussian_blur
from ._blur import gaussian_radius as gaussian_radius
from ._blur import box_blur as box_blur
from ._blur import motion_blur as motion_blur
from ._noise import gaussian_noise as gaussian_noise
from ._noise import salt_and_pepper as salt_and_pepper
from ._noise import poisson_noise as poisson_noise
from ._noise import speckle as speckle
from ._erase import erase as erase
from ._erase import coarse_dropout as coarse_dropout
from ._erase import random_erase as random_erase
from ._sizes import Padding as Padding
from ._sizes import Size as Size
from ._flip import flip_left_right as flip_left_right
from ._flip import flip_up_down as flip_up_down
from ._flip import rot90 as rot90
from ._flip import transpose as transpose
from ._crop import crop as crop
from ._crop import center_crop as center_crop
from ._crop import pad as pad
from ._resize import resize as resize
from ._matrices import translation as translation
from ._matrices import rotation as rotation
from ._matrices import scaling as scaling
from ._matrices import shear as shear
from ._matrices import perspective as perspective
from ._warp import warp as warp
from ._warp import warp_mask as warp_mask
from ._warp import warp_points as warp_points
from ._warp import warp_boxes as warp_boxes
from ._warp import rotate as rotate
from ._elastic import elastic as elastic
from ._waves import gain as gain
from ._waves import noise_at_snr as noise_at_snr
from ._waves import time_shift as time_shift
from ._waves import spectrogram as spectrogram
from ._waves import mel_spectrogram as mel_spectrogram
from ._tokens import mask_tokens as mask_tokens
from ._tokens import replace_tokens as replace_tokens
from ._features import one_hot as one_hot
from ._features import standardize as standardize
from ._features import quantile_clip as quantile_clip
from ._features import feature_dropout as feature_dropout
from ._features import window as window
from ._moments import Moments as Moments
from ._moments import no_moments as no_moments
from ._moments import moments as moments
from ._moments import merged as merged
from ._moments import running as running
from ._moments import running_normalize as running_normalize
from ._moments import normalized as normalized
from ._mixing import mixup as mixup
from ._mixing import cutmix as cutmix
from ._casts import cast as cast
from .._checking import checking as checking

if not _TYPE_CHECKING:  # or a type checker would take any name
    __getattr__, __dir__, __all__ = _late(__name__)
