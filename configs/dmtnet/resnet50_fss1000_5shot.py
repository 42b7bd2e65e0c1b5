_base_ = './resnet50_fss1000.py'

test_dataloader = dict(dataset=dict(num_shots=5))
