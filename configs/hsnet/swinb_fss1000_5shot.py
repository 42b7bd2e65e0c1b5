_base_ = './swinb_fss1000.py'

test_dataloader = dict(dataset=dict(num_shots=5))
