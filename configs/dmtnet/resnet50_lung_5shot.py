_base_ = './resnet50_lung.py'

test_dataloader = dict(dataset=dict(num_shots=5))
