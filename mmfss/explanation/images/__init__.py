"""Explanation runs of ordinary segmentation models."""
