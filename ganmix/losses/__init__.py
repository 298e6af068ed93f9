"""Losses as functions of logits, and penalties, each as a table by name."""

from ganmix.losses.classification import CLASSIFICATION_LOSSES, smooth
from ganmix.losses.gan import GAN_LOSSES, GanLoss
from ganmix.losses.penalties import PENALTIES, Penalty

__all__ = ["CLASSIFICATION_LOSSES", "GAN_LOSSES", "PENALTIES", "GanLoss", "Penalty", "smooth"]
