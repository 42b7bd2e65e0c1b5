_base_ = './resnet50_isic.py'

test_dataloader = dict(dataset=dict(num_shots=5))
