_base_ = ['resnet50_voc12_20masks.py']

train_dataloader = dict(dataset=dict(num_masks=1464, uniform=0.0))
