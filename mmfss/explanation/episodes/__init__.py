"""Explanation runs of few-shot episodes."""
