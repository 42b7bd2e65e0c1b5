_base_ = './resnet18_shapes_fold0.py'

test_dataloader = dict(dataset=dict(num_shots=5))
