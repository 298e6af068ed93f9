"""Train a classifier: `python train_classifier.py configs/classifier/CONFIG.yaml [key=value ...]`."""

import sys

from ganmix.commands import train_classifier

if __name__ == "__main__":
    sys.exit(train_classifier())
