_base_ = './mobilenetv2_voc257_fold0.py'

test_dataloader = dict(dataset=dict(num_shots=5))
