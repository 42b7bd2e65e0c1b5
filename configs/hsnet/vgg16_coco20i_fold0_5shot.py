_base_ = './vgg16_coco20i_fold0.py'

test_dataloader = dict(dataset=dict(num_shots=5))
