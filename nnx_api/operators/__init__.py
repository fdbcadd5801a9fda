"""Operators: what they do to one record, each with its learnable strengths as Variables.

Those that draw have `deterministic`, so that `pipeline.eval()` turns them off and `train()` on.
"""

from ._additive import BrightnessOperator as BrightnessOperator
from ._additive import NoiseOperator as NoiseOperator
from ._mixing import CutMix as CutMix
from ._mixing import MixUp as MixUp
from ._running import RunningNormalize as RunningNormalize
