"""Train a GAN: `python train_gan.py configs/gan/quickstart.yaml [key=value ...]`."""

import sys

from ganmix.commands import train_gan

if __name__ == "__main__":
    sys.exit(train_gan())
