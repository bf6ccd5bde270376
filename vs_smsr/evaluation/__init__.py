"""How good and how sparse: benchmark figures as the literature defines them."""

from __future__ import annotations

from vs_smsr.evaluation.evaluate import Evaluation, ImageScore, evaluate

__all__ = ["Evaluation", "ImageScore", "evaluate"]
