"""ganmix: GAN training with discriminator mixup. `ganmix.mixup` is the core and needs nothing else from here."""

__version__ = "0.1.0"
