_base_ = './resnet50_pascal5i_fold0.py'

test_dataloader = dict(dataset=dict(num_shots=5))
