"""Losses as functions of logits, and penalties, each as a table by name."""

from ganmix.losses.gan import GAN_LOSSES, GanLoss
from ganmix.losses.penalties import PENALTIES, Penalty

__all__ = ["GAN_LOSSES", "PENALTIES", "GanLoss", "Penalty"]
