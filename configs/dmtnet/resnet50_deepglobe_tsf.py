_base_ = './resnet50_deepglobe.py'

# Test-time self-finetuning. Order, batch size and dropout as published: see mmfss.engine.SelfFinetuningTestLoop.
test_cfg = dict(type='SelfFinetuningTestLoop', lr=1e-6)
