"""Trains the segmenter that reads generated photographs back, on the real photographs of the same dataset.

The idea of pix2pix's FCN-score (arXiv 1611.07004, section 4.1), with a network that any dataset can train in minutes: it is never
the FCN-8s or the PSPNet of the papers, and its numbers are compared with its own on real photographs (the oracle).

settings       how long and how
photographs    what is learned from, and what it goes by
training       the loop
held_out       scores on photographs that it did not learn from
cache          trained once, then kept
locking        one process at a time
"""

from gesso.segmenter_training.cache import cached_segmenter
from gesso.segmenter_training.photographs import data_digest
from gesso.segmenter_training.settings import SegmenterSettings
from gesso.segmenter_training.training import train_segmenter

__all__ = ["SegmenterSettings", "cached_segmenter", "data_digest", "train_segmenter"]
