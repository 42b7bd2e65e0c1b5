_base_ = './resnet50_deepglobe.py'

test_dataloader = dict(dataset=dict(num_shots=5))
