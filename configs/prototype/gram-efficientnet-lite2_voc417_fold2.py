_base_ = './gram-efficientnet-lite2_voc417_fold0.py'

train_dataloader = dict(dataset=dict(fold=2))
val_dataloader = dict(dataset=dict(fold=2))
test_dataloader = dict(dataset=dict(fold=2))
