_base_ = '../hsnet/resnet18_shapes_fold0.py'

model = dict(head=dict(_delete_=True, type='PrototypeMatchingHead', layers=[(-2, -1)]))
