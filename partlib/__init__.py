"""Unsupervised part discovery from contrastive reconstruction: a small, tested teaching implementation."""

__version__ = "0.1.0"
