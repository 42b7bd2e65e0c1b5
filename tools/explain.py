"""Explain what a model segments: ``python tools/explain.py CONFIG CHECKPOINT --explainer signed_affex random``."""
from mmfss.commands.explain import main

if __name__ == '__main__':
    main()
