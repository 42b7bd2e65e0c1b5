# The main table.
_base_ = './dcama_swinb_pascal5i.py'

test_dataloader = dict(dataset=dict(num_shots=5))
test_evaluator = [*_base_.paper_areas, _base_.paper_top_percent, *_base_.paper_losses]
