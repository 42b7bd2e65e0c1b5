_base_ = './dcama_swinb_coco20i.py'

test_dataloader = dict(dataset=dict(num_shots=2))
test_evaluator = _base_.paper_losses
